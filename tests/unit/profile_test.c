// tests/unit/profile_test.c: what a profiled run says of its steps; every value as an output.
//
// Only order, counts and identity are checked of times: how long anything takes is no test.
// Labels: threads
#include "tests/unit/onnx_builder.h"

#include <stdio.h>
#include <weir/weir.h>

#define WIDTH 8

typedef struct world {
    weir_engine_t *engine;
    weir_model_t *model;
    weir_plan_t *plan;
    weir_session_t *session;
} world_t;

// y = Exp(Relu(x W)) V.
static message_t make_chain(void)
{
    static const int64_t dims[] = {WIDTH, WIDTH};
    float w[WIDTH * WIDTH];
    for (int i = 0; i < WIDTH * WIDTH; i++)
        w[i] = (float)((i * 7) % 11 - 5) / 16;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,8");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    put_message(&graph, 5, raw_tensor("v", 1, 2, dims, w, sizeof w));
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Relu", "relu", "a", "b", (message_t){0});
    add_node(&graph, "Exp", "exp", "b", "c", (message_t){0});
    add_node(&graph, "MatMul", "second", "c,v", "y", (message_t){0});
    add_output(&graph, "y");
    return make_model(graph, 17);
}

static void world_begin(world_t *world, const weir_model_options_t *model_options,
    const char *plugin_options, const char *devices)
{
    message_t bytes = make_chain();
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 2,
        .cache_dir = "",
        .plugin_path = WEIR_TEST_PLUGINS,
        .plugin_options = plugin_options};
    weir_plan_options_t plan = {.size = sizeof plan, .devices = devices};
    assert_null(weir_engine_create(&engine, &world->engine));
    assert_null(weir_model_load_bytes(
        world->engine, bytes.data, bytes.count, model_options, &world->model));
    assert_null(weir_plan_create(world->model, &plan, &world->plan));
    assert_null(weir_session_create(world->plan, NULL, &world->session));
    free(bytes.data);
}

static void world_end(world_t *world)
{
    weir_session_free(world->session);
    weir_plan_free(world->plan);
    weir_model_free(world->model);
    weir_engine_free(world->engine);
}

static void run(world_t *world, int rows, uint32_t level)
{
    float x[4 * WIDTH];
    weir_value_t out[8];
    for (int i = 0; i < 4 * WIDTH; i++)
        x[i] = (float)(i % 5 - 2) / 4;
    const weir_run_options_t options = {.size = sizeof options, .profile_level = level};
    const weir_value_t in[] = {weir_f32(x, 2, rows, WIDTH)};
    const uint32_t count = weir_model_output_count(world->model);
    assert_true(count <= 8);
    for (uint32_t i = 0; i < count; i++)
        out[i] = weir_view();
    assert_null(weir_session_run(world->session, &options, 1, in, count, out));
}

static uint32_t step_count(const world_t *world)
{
    weir_profile_run_t run = {.size = sizeof run};
    weir_session_profile_run(world->session, &run);
    return run.step_count;
}

// Goal:   a profile has each step of the last run once, in order, one after the other, within the
// run. Method: two shapes, so that notes of one are not taken for the other's.
static void steps_are_those_of_the_run(void **state)
{
    (void)state;
    world_t world;
    world_begin(&world, NULL, NULL, "ref");
    for (int rows = 1; rows <= 2; rows++) {
        const uint64_t before_ns = weir_now_ns();
        run(&world, rows, 1);
        weir_profile_run_t whole = {.size = sizeof whole};
        weir_session_info_t info = {.size = sizeof info};
        weir_session_profile_run(world.session, &whole);
        weir_session_describe(world.session, &info);
        assert_int_equal(whole.step_count, info.step_count);
        assert_true(whole.step_count >= 2);
        assert_true(whole.start_ns >= before_ns);
        uint64_t at_ns = whole.start_ns;
        for (uint32_t i = 0; i < whole.step_count; i++) {
            weir_profile_step_t step = {.size = sizeof step};
            char shape[32];
            assert_int_equal(weir_session_profile(world.session, i, &step), 1);
            assert_true(step.start_ns >= at_ns);
            at_ns = step.start_ns + step.duration_ns;
            assert_string_equal(step.device, "ref");
            snprintf(shape, sizeof shape, "f32[%d, 8]", rows);
            assert_string_equal(step.shape, shape);
        }
        assert_true(at_ns <= whole.start_ns + whole.duration_ns);
        weir_profile_step_t past = {.size = sizeof past};
        assert_int_equal(weir_session_profile(world.session, whole.step_count, &past), 0);
    }
    world_end(&world);
}

// Goal:   flop and bytes are those of the shapes, and names those of the file.
// Method: two products and two elementwise nodes, which may be fused into one.
static void counts_are_exact(void **state)
{
    (void)state;
    world_t world;
    uint64_t flop = 0, first_bytes = 0;
    char names[256] = "";
    world_begin(&world, NULL, NULL, "ref");
    run(&world, 3, 1);
    weir_profile_step_t step = {.size = sizeof step};
    for (uint32_t i = 0; weir_session_profile(world.session, i, &step); i++) {
        flop += step.flop;
        if (i == 0)
            first_bytes = step.bytes;
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s+", step.origins);
    }
    assert_int_equal(flop, 2 * (2 * 3 * WIDTH * WIDTH) + 2 * 3 * WIDTH);
    assert_int_equal(first_bytes, (3 * WIDTH + WIDTH * WIDTH + 3 * WIDTH) * 4);
    assert_string_equal(names, "first+relu+exp+second+");
    world_end(&world);
}

// Goal:   nothing is noted unless asked for, and nothing stays from the run before.
// Method: on, off, on.
static void off_means_off(void **state)
{
    (void)state;
    world_t world;
    weir_profile_step_t step = {.size = sizeof step};
    world_begin(&world, NULL, NULL, "ref");
    run(&world, 1, 0);
    assert_int_equal(step_count(&world), 0);
    assert_int_equal(weir_session_profile(world.session, 0, &step), 0);
    run(&world, 1, 1);
    assert_int_not_equal(step_count(&world), 0);
    run(&world, 1, 0);
    assert_int_equal(step_count(&world), 0);
    world_end(&world);
}

static void *counted_alloc(void *user_data, size_t bytes, size_t alignment)
{
    ++*(uint64_t *)user_data;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void counted_free(void *user_data, void *memory)
{
    (void)user_data;
    free(memory);
}

// Goal:   a profiled run allocates nothing once it was profiled at that shape.
// Method: the engine's allocator counts.
static void profiled_runs_allocate_nothing(void **state)
{
    (void)state;
    uint64_t allocation_count = 0;
    const weir_allocator_t allocator = {
        .user_data = &allocation_count, .alloc = counted_alloc, .free = counted_free};
    weir_engine_options_t options = {
        .size = sizeof options, .threads = 2, .cache_dir = "", .allocator = &allocator};
    message_t bytes = make_chain();
    world_t world;
    assert_null(weir_engine_create(&options, &world.engine));
    assert_null(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
    assert_null(weir_plan_create(world.model, NULL, &world.plan));
    assert_null(weir_session_create(world.plan, NULL, &world.session));
    free(bytes.data);
    run(&world, 2, 0);
    const uint64_t unprofiled_count = allocation_count;
    run(&world, 2, 1);
    assert_true(allocation_count > unprofiled_count); // the room for the notes: the counter works
    const uint64_t before_count = allocation_count;
    for (int i = 0; i < 20; i++)
        run(&world, 2, 1);
    assert_int_equal(allocation_count, before_count);
    world_end(&world);
}

// Goal:   a launch is one step that lasts until the device has answered, under the names of its
// nodes. Method: the asynchronous device, which leaves Exp to the host.
static void launches_are_steps(void **state)
{
    (void)state;
    world_t world;
    char seen[256] = "";
    world_begin(&world, NULL, "async.refuse=Exp", "async,ref");
    run(&world, 2, 1);
    weir_profile_step_t step = {.size = sizeof step};
    uint64_t flop = 0;
    for (uint32_t i = 0; weir_session_profile(world.session, i, &step); i++) {
        snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%s %s %s; ", step.device,
            step.op, step.origins);
        flop += step.flop;
        assert_string_equal(step.shape, "f32[2, 8]");
    }
    assert_string_equal(
        seen, "async Program first+relu; ref Pointwise exp; async Program second; ");
    assert_int_equal(flop, 2 * (2 * 2 * WIDTH * WIDTH) + 2 * 2 * WIDTH);
    world_end(&world);
}

// Goal:   all_outputs shows each value of the file, in order, with the node that makes it.
// Method: names of outputs and producers; the last value is the model's own output.
static void every_value_is_an_output(void **state)
{
    (void)state;
    static const char *const values[] = {"a", "b", "c", "y"};
    static const char *const origins[] = {"first", "relu", "exp", "second"};
    static const char *const ops[] = {"MatMul", "Relu", "Exp", "MatMul"};
    const weir_model_options_t options = {
        .size = sizeof options, .keep_as_is = 1, .all_outputs = 1};
    world_t world;
    world_begin(&world, &options, NULL, "ref");
    assert_int_equal(weir_model_output_count(world.model), 4);
    for (uint32_t i = 0; i < 4; i++) {
        weir_port_t port;
        weir_producer_t producer;
        assert_null(weir_model_output(world.model, i, &port));
        assert_null(weir_model_producer(world.model, i, &producer));
        assert_string_equal(port.name, values[i]);
        assert_string_equal(producer.origin, origins[i]);
        assert_string_equal(producer.op, ops[i]);
    }
    weir_producer_t none;
    weir_status_t status = weir_model_producer(world.model, 4, &none);
    assert_int_equal(weir_status_code(status), WEIR_NOT_FOUND);
    weir_status_free(status);
    run(&world, 2, 1);
    assert_int_equal(step_count(&world), 4);
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_are_those_of_the_run),
        cmocka_unit_test(counts_are_exact),
        cmocka_unit_test(off_means_off),
        cmocka_unit_test(profiled_runs_allocate_nothing),
        cmocka_unit_test(launches_are_steps),
        cmocka_unit_test(every_value_is_an_output),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
