// tests/opencl/device_world.h: an engine whose OpenCL device runs a small model.
#ifndef WEIR_TEST_OPENCL_DEVICE_WORLD_H
#define WEIR_TEST_OPENCL_DEVICE_WORLD_H

#include "tests/scheduler/loop_world.h"

#define SKIPPED 77 // to CTest

static bool lacks_device;

// What a test whose cases were skipped for want of a device ends with; failed: how many did.
static inline int world_code(int failed)
{
    return failed == 0 && lacks_device ? SKIPPED : failed;
}

// The status of the first plan on the device, which is taken: is there one? Otherwise says so and
// closes the world.
static inline bool has_device(world_t *world, weir_status_t status)
{
    if (!status)
        return true;
    fprintf(stderr, "skipped: %s\n", weir_status_message(status));
    weir_status_free(status);
    world_close(world);
    lacks_device = true;
    return false;
}

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
    if (status && weir_status_code(status) != WEIR_UNAVAILABLE)
        fail_msg("%s", weir_status_text(status));
    if (!has_device(world, status))
        return false;
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    return true;
}

#endif
