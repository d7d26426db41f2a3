// tests/opencl/in_front.h: for tests that stand in front of the ICD loader: functions of its names
// that count, or fail, or hold back, and then call the loader's. The plugin's calls come here
// because the program exports them.
#ifndef WEIR_TEST_OPENCL_IN_FRONT_H
#define WEIR_TEST_OPENCL_IN_FRONT_H

#include "tests/scheduler/loop_world.h"

#include <CL/cl.h>
#include <dlfcn.h>

#define SHOWN __attribute__((visibility("default")))

// The loader's function of this name.
static inline void *in_front_of(const char *name)
{
    void *loader = dlopen("libOpenCL.so.1", RTLD_NOW);
    void *function = loader ? dlsym(loader, name) : NULL;
    if (!function)
        fail_msg("%s: there is no loader", name);
    return function;
}

// Fills in a pointer to the loader's function.
#define REAL(name, pointer)                                                                        \
    void *address_ = in_front_of(name);                                                            \
    memcpy(&(pointer), &address_, sizeof address_)

// An engine, a plan of rows_graph() and a session. false: no device here; says so.
static inline bool open_world(world_t *world, const char *options, const char *devices)
{
    memset(world, 0, sizeof *world);
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 1,
        .plugin_path = WEIR_TEST_OPENCL,
        .plugin_options = options,
        .cache_dir = ""};
    weir_plan_options_t plan = {.size = sizeof plan, .devices = devices};
    expect_ok(weir_engine_create(&engine, &world->engine));
    world->model = world_load(world->engine, rows_graph());
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
