// tests/scheduler/loop_world.h: an engine, a scheduler and small models for tests of the loop.
#ifndef WEIR_TEST_LOOP_WORLD_H
#define WEIR_TEST_LOOP_WORLD_H

#include "tests/unit/onnx_builder.h"

#include <stdatomic.h>
#include <stdio.h>
#include <weir/scheduler.h>
#include <weir/weir.h>

#define WORLD_IN 8
#define WORLD_OUT 4

typedef struct world {
    weir_engine_t *engine;
    weir_scheduler_t *scheduler;
    weir_model_t *model;
    weir_session_t *session; // for what a request must answer
    weir_plan_t *plan;
} world_t;

static inline void expect_ok(weir_status_t status)
{
    if (status)
        fail_msg("%s", weir_status_text(status));
}

// The status is of this code and its message holds `text`.
static inline void expect_status(weir_status_t status, weir_code_t code, const char *text)
{
    if (weir_status_code(status) != code || !strstr(weir_status_message(status), text))
        fail_msg(
            "expected %s: %s\n     got %s", weir_code_name(code), text, weir_status_text(status));
    weir_status_free(status);
}

// y = op(x w)
static inline message_t product_graph(const float w[WORLD_IN * WORLD_OUT], const char *op)
{
    static const int64_t dims[] = {WORLD_IN, WORLD_OUT};
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,8");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof(float) * WORLD_IN * WORLD_OUT));
    add_node(&graph, "MatMul", "product", "x,w", "p", (message_t){0});
    add_node(&graph, op, "after", "p", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, "N,4");
    return graph;
}

// y = relu(x w): a row's answer depends on that row alone.
static inline message_t rows_graph(void)
{
    float w[WORLD_IN * WORLD_OUT];
    for (int i = 0; i < WORLD_IN * WORLD_OUT; i++)
        w[i] = (float)(i * 37 % 19 - 9) / 8;
    return product_graph(w, "Relu");
}

// y = relu(x), both f32 of these dims.
static inline message_t relu_graph(const char *dims)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, dims);
    add_node(&graph, "Relu", "relu", "x", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, dims);
    return graph;
}

// An empty world, but for an engine of 2 threads with this plugin, its options, and no cache.
static inline void world_engine(world_t *world, const char *plugin_path, const char *options)
{
    memset(world, 0, sizeof *world);
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 2,
        .plugin_path = plugin_path,
        .plugin_options = options,
        .cache_dir = ""};
    expect_ok(weir_engine_create(&engine, &world->engine));
}

static inline weir_model_t *world_load(weir_engine_t *engine, message_t graph)
{
    weir_model_t *model;
    message_t bytes = make_model(graph, 17);
    expect_ok(weir_model_load_bytes(engine, bytes.data, bytes.count, NULL, &model));
    free(bytes.data);
    return model;
}

static inline void world_log(void *user_data, weir_log_level_t level, const char *module,
    uint64_t request_id, const char *text)
{
    (void)user_data;
    (void)request_id;
    if (getenv("WEIR_TEST_LOG"))
        fprintf(stderr, "%d %s: %s\n", (int)level, module, text);
}

// graph: taken over. options: NULL for the defaults.
static inline void world_open(
    world_t *world, message_t graph, const weir_scheduler_options_t *options)
{
    memset(world, 0, sizeof *world);
    weir_engine_options_t engine = {
        .size = sizeof engine, .threads = 2, .plugin_path = "", .cache_dir = ""};
    weir_scheduler_options_t known = {.size = sizeof known};
    if (options)
        known = *options;
    known.log = world_log;
    known.log_level = WEIR_LOG_DEBUG;
    expect_ok(weir_engine_create(&engine, &world->engine));
    world->model = world_load(world->engine, graph);
    expect_ok(weir_plan_create(world->model, NULL, &world->plan));
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    expect_ok(weir_scheduler_create(world->engine, &known, &world->scheduler));
}

static inline void world_close(world_t *world)
{
    weir_scheduler_free(world->scheduler);
    weir_session_free(world->session);
    weir_plan_free(world->plan);
    weir_model_free(world->model);
    weir_engine_free(world->engine);
}

static inline void world_add(world_t *world, const weir_serving_options_t *options)
{
    expect_ok(weir_scheduler_add(world->scheduler, "rows", "1.0.0", world->model, options));
}

#endif
