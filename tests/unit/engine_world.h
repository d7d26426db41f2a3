// tests/unit/engine_world.h: from a hand-built model to a session, and the answer of a run.
//
// Every world uses an allocator that counts; closing one checks that nothing is left.
#ifndef WEIR_UNIT_ENGINE_WORLD_H
#define WEIR_UNIT_ENGINE_WORLD_H

#include "tests/unit/onnx_builder.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <weir/weir.h>

#define WORLD_PLUGINS WEIR_TEST_PLUGINS "/plugins"
#define WORLD_MISFITS WEIR_TEST_PLUGINS "/misfits"

typedef struct world {
    weir_engine_t *engine;
    weir_model_t *model;
    weir_plan_t *plan;
    weir_session_t *session;
    atomic_long live; // blocks of the engine's allocator
    atomic_long allocations;
    atomic_long failing_in; // 1: the next allocation fails; 0: none does
} world_t;

typedef struct world_options {
    const char *devices;     // NULL: "ref"
    const char *plugin_path; // NULL: none
    const char *plugin_options;
    const char *cache_dir; // NULL: no cache
    const weir_limits_t *limits;
    uint32_t threads; // 0: 2
    bool keep_as_is;
} world_options_t;

static inline void *world_alloc(void *user_data, size_t bytes, size_t alignment)
{
    world_t *world = user_data;
    if (atomic_load(&world->failing_in) && atomic_fetch_sub(&world->failing_in, 1) == 1)
        return NULL;
    atomic_fetch_add(&world->live, 1);
    atomic_fetch_add(&world->allocations, 1);
    return aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
}

static inline void world_free(void *user_data, void *memory)
{
    world_t *world = user_data;
    atomic_fetch_sub(&world->live, 1);
    free(memory);
}

static inline weir_status_t world_engine(world_t *world, const world_options_t *options)
{
    memset(world, 0, sizeof *world);
    weir_allocator_t allocator = {.user_data = world, .alloc = world_alloc, .free = world_free};
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = options->threads ? options->threads : 2,
        .plugin_path = options->plugin_path ? options->plugin_path : "",
        .cache_dir = options->cache_dir ? options->cache_dir : "",
        .plugin_options = options->plugin_options,
        .limits = options->limits,
        .allocator = &allocator};
    return weir_engine_create(&engine, &world->engine);
}

static inline weir_status_t world_plan(world_t *world, const char *devices)
{
    weir_plan_options_t plan = {.size = sizeof plan, .devices = devices ? devices : "ref"};
    return weir_plan_create(world->model, &plan, &world->plan);
}

// graph: taken over.
static inline void world_open(world_t *world, message_t graph, const world_options_t *options)
{
    static const world_options_t none = {.devices = NULL};
    options = options ? options : &none;
    message_t bytes = make_model(graph, 17);
    weir_model_options_t model = {.size = sizeof model, .keep_as_is = options->keep_as_is};
    weir_status_t status = world_engine(world, options);
    if (!status)
        status =
            weir_model_load_bytes(world->engine, bytes.data, bytes.count, &model, &world->model);
    if (!status)
        status = world_plan(world, options->devices);
    if (!status)
        status = weir_session_create(world->plan, NULL, &world->session);
    if (status)
        fail_msg("%s", weir_status_text(status));
    free(bytes.data);
}

static inline void world_close(world_t *world)
{
    weir_session_free(world->session);
    weir_plan_free(world->plan);
    weir_model_free(world->model);
    weir_engine_free(world->engine);
    assert_int_equal(atomic_load(&world->live), 0);
}

static inline void expect_ok(weir_status_t status)
{
    if (status)
        fail_msg("%s", weir_status_text(status));
}

// The status is of this code and its text is `text`, or holds it when that starts with "...".
static inline void expect_status(weir_status_t status, weir_code_t code, const char *text)
{
    bool part = strncmp(text, "...", 3) == 0;
    const char *message = weir_status_message(status);
    bool fits = part ? strstr(message, text + 3) != NULL : strcmp(message, text) == 0;
    if (weir_status_code(status) != code || !fits)
        fail_msg(
            "expected %s: %s\n     got %s", weir_code_name(code), text, weir_status_text(status));
    weir_status_free(status);
}

// One run with views as outputs.
static inline void world_run(world_t *world, size_t input_count, const weir_value_t *inputs,
    size_t output_count, weir_value_t *outputs)
{
    for (size_t i = 0; i < output_count; i++)
        outputs[i] = weir_view();
    expect_ok(weir_session_run(world->session, NULL, input_count, inputs, output_count, outputs));
}

static inline weir_session_info_t world_info(const world_t *world)
{
    weir_session_info_t info = {.size = sizeof info};
    weir_session_describe(world->session, &info);
    return info;
}

// The plan in one line: "Pointwise[Add+Relu]@ref MatMul@cpu"; nodes worked out by the engine itself
// (sizes, views, control flow) only with all.
static inline const char *world_listing(const world_t *world, bool all)
{
    static char text[4096];
    size_t used = 0;
    text[0] = '\0';
    weir_plan_node_t node = {.size = sizeof node};
    for (uint32_t i = 0; weir_plan_node(world->plan, i, &node); i++)
        if (all || strcmp(node.device, "engine") != 0)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%s%s%s%s@%s",
                used ? " " : "", node.op, node.fused[0] ? "[" : "", node.fused,
                node.fused[0] ? "]" : "", node.device);
    return text;
}

static inline void expect_floats(
    const weir_value_t *value, size_t count, const float *wanted, float tolerance)
{
    assert_int_equal(value->dtype, WEIR_F32);
    assert_int_equal(weir_value_count(value), count);
    const float *found = value->data;
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(found[i] - wanted[i]) <= tolerance * (1 + fabsf(wanted[i]))))
            fail_msg("element %zu: %.9g, expected %.9g", i, (double)found[i], (double)wanted[i]);
}

static inline void expect_dims(const weir_value_t *value, uint32_t rank, const int64_t *dims)
{
    assert_int_equal(value->rank, rank);
    for (uint32_t d = 0; d < rank; d++)
        assert_int_equal(value->dims[d], dims[d]);
}

// Numbers in [-2, 2], from a seed.
static inline void fill_floats(float *values, size_t count, uint64_t seed)
{
    for (size_t i = 0; i < count; i++) {
        seed = seed * 6364136223846793005ull + 1442695040888963407ull;
        values[i] = (float)((seed >> 40) % 4001) / 1000 - 2;
    }
}

#endif
