// tests/opencl/device_world.h: an engine whose OpenCL device runs a small model.
#ifndef WEIR_TEST_OPENCL_DEVICE_WORLD_H
#define WEIR_TEST_OPENCL_DEVICE_WORLD_H

#include "tests/scheduler/loop_world.h"

#define SKIPPED 77 // to CTest

static bool lacks_device, had_device; // some world

// What a test whose cases were skipped for want of a device ends with; failed: how many did. A
// device that was there and is not in another world has failed.
static inline int world_code(int failed)
{
    if (lacks_device && had_device)
        return failed + 1;
    return failed == 0 && lacks_device ? SKIPPED : failed;
}

// y = x[indices] of x [8, 4], indices [N].
static inline message_t gather_graph(void)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, "8,4");
    add_input(&graph, "indices", 7, "N");
    add_node(&graph, "Gather", "gather", "x,indices", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, "N,4");
    return graph;
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
    had_device |= !status;
    lacks_device |= status != NULL;
    if (status) {
        fprintf(stderr, "skipped: %s\n", weir_status_message(status));
        weir_status_free(status);
        world_close(world);
        return false;
    }
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    return true;
}

#endif
