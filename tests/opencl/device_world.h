// tests/opencl/device_world.h: an engine whose OpenCL device runs a small model.
#ifndef WEIR_TEST_OPENCL_DEVICE_WORLD_H
#define WEIR_TEST_OPENCL_DEVICE_WORLD_H

#include "tests/scheduler/loop_world.h"

// An engine with these options of the plugin (NULL: none), a plan of the graph, which is taken
// over, for these devices, and a session. false: there is no OpenCL device here; says so.
static inline bool open_world(
    world_t *world, message_t graph, const char *options, const char *devices)
{
    memset(world, 0, sizeof *world);
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 1,
        .plugin_path = WEIR_TEST_OPENCL,
        .plugin_options = options,
        .cache_dir = ""};
    weir_plan_options_t plan = {.size = sizeof plan, .devices = devices};
    expect_ok(weir_engine_create(&engine, &world->engine));
    world->model = world_load(world->engine, graph);
    weir_status_t status = weir_plan_create(world->model, &plan, &world->plan);
    if (!status) {
        expect_ok(weir_session_create(world->plan, NULL, &world->session));
        return true;
    }
    fprintf(stderr, "skipped: %s\n", weir_status_message(status));
    assert_int_equal(weir_status_code(status), WEIR_UNAVAILABLE);
    weir_status_free(status);
    world_close(world);
    return false;
}

#endif
