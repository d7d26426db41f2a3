// tests/unit/device_ends_test.c: what comes after a run that ended before its device did.
//
// The device is backends/chaos; what it may still touch, and what it no longer may, shows in its
// own checks, in what is left when a world is closed, and under the sanitizers.
//
// Labels: threads Timeout: 120
#include "tests/unit/device_graphs.h"

#include <sched.h>

static void open_world(
    world_t *world, const device_graph_t *graph, const char *options, const char *devices)
{
    world_options_t known = {.plugin_path = WEIR_TEST_CHAOS, .plugin_options = options};
    message_t bytes = make_model(graph->make(), 17);
    expect_ok(world_engine(world, &known));
    expect_ok(weir_model_load_bytes(world->engine, bytes.data, bytes.count, NULL, &world->model));
    free(bytes.data);
    weir_plan_options_t plan = {.size = sizeof plan,
        .devices = devices,
        .placement = strchr(devices, ',') ? graph->placement : NULL};
    expect_ok(weir_plan_create(world->model, &plan, &world->plan));
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
}

static weir_status_t run_rows(world_t *world, int64_t rows, uint64_t deadline_ns, float *y)
{
    float x[24 * SIDE];
    fill_floats(x, (size_t)rows * SIDE, (uint64_t)rows);
    weir_run_options_t options = {.size = sizeof options, .deadline_ns = deadline_ns};
    weir_value_t in[] = {weir_f32(x, 2, rows, SIDE)}, out[] = {weir_f32_out(y, 24 * SIDE)};
    return weir_session_run(world->session, &options, 1, in, 1, out);
}

// What the host alone answers to the same.
static void expect_rows(const device_graph_t *graph, int64_t rows, const float *y)
{
    world_t host;
    float wanted[24 * SIDE];
    open_world(&host, graph, NULL, "cpu");
    expect_ok(run_rows(&host, rows, 0, wanted));
    for (size_t i = 0; i < (size_t)rows * SIDE; i++)
        assert_true(fabsf(y[i] - wanted[i]) <= 1e-5f * (1 + fabsf(wanted[i])));
    world_close(&host);
}

static const char *const forms[] = {"level=2", "level=1", "level=1,chaos.host_memory=1"};
#define FORMS (sizeof forms / sizeof forms[0])

// Goal:   an operation fails after its run's deadline, with more behind it: the next run of the
//         session is refused while the device works, and right after that; a session that is freed
//         at any moment takes nothing away from the device.
static void late_failures_are_waited_for(void **state)
{
    (void)state;
    static const char *const faults[] = {"run:fail:1", "copied:fail:2", "copied:fail:3"};
    for (size_t i = 0; i < 2 * 3 * FORMS; i++) {
        world_t world;
        char options[160];
        float y[24 * SIDE];
        bool frees = i % 2;
        const char *form = forms[i / 2 % FORMS];
        snprintf(options, sizeof options, "chaos.%s,chaos.delay_us=120000,chaos.faults=%s", form,
            strstr(form, "host") ? faults[0] : faults[i / 6]);
        open_world(&world, &device_graphs[0], options, "chaos");
        expect_status(run_rows(&world, 2, weir_now_ns() + 50 * WEIR_MS, y), WEIR_DEADLINE_EXCEEDED,
            "the run passed its deadline: device \"chaos\" has not answered");
        if (frees) {
            weir_session_free(world.session);
            expect_ok(weir_session_create(world.plan, NULL, &world.session));
        }
        weir_status_t status;
        while (weir_status_code(status = run_rows(&world, 2, 0, y)) == WEIR_UNAVAILABLE) {
            assert_non_null(strstr(weir_status_message(status), "device \"chaos\""));
            weir_status_free(status);
            sched_yield();
        }
        // A new session's run may be the one that meets the fault.
        if (frees && status) {
            expect_status(status, WEIR_INTERNAL, "...device \"chaos\"");
            status = run_rows(&world, 2, 0, y);
        }
        expect_ok(status);
        expect_rows(&device_graphs[0], 2, y);
        world_close(&world);
    }
}

// Goal:   node by node on host memory: a node fails with another behind it; the run ends when both
//         have, so that the session may go, or run again, at once.
static void nodes_behind_a_failure_end_first(void **state)
{
    (void)state;
    for (int again = 0; again < 2; again++) {
        world_t world;
        float y[24 * SIDE];
        open_world(&world, &device_graphs[0],
            "chaos.level=1,chaos.host_memory=1,chaos.delay_us=1000,chaos.faults=run:fail:1",
            "chaos");
        expect_status(run_rows(&world, 2, 0, y), WEIR_INTERNAL, "...device \"chaos\"");
        if (again) {
            expect_ok(run_rows(&world, 2, 0, y));
            expect_rows(&device_graphs[0], 2, y);
        }
        world_close(&world);
    }
}

// Goal:   one run that hangs keeps what it may touch, and nothing that others give back.
static void others_give_back_at_once(void **state)
{
    (void)state;
    world_t world;
    float y[24 * SIDE];
    long live = 0;
    open_world(
        &world, &device_graphs[0], "chaos.refuse=Softmax,chaos.faults=run:hang:1", "chaos,cpu");
    expect_status(run_rows(&world, 2, weir_now_ns() + 100 * WEIR_MS, y), WEIR_DEADLINE_EXCEEDED,
        "...device \"chaos\"");
    for (int i = 0; i < 24; i++) {
        weir_session_free(world.session);
        expect_ok(weir_session_create(world.plan, NULL, &world.session));
        expect_ok(run_rows(&world, 2, 0, y));
        if (i == 4)
            live = atomic_load(&world.live);
    }
    assert_true(atomic_load(&world.live) <= live + 4);
    world_close(&world);
}

// Goal:   no memory for a larger shape: the smaller one, which reads another device's memory, still
//         runs, whichever allocation failed.
static void growth_that_fails_changes_nothing(void **state)
{
    (void)state;
    static const device_graph_t split = {"chain", graph_chain, 1, "first=chaos;second=chaos:1"};
    int refused = 0;
    for (int n = 1; n <= 16; n++) {
        world_t world;
        char options[160];
        float y[24 * SIDE];
        snprintf(options, sizeof options,
            "chaos.devices=2,chaos.edge=import,chaos.faults=alloc:oom:%d", n + 4);
        open_world(&world, &split, options, "chaos,chaos:1,cpu");
        weir_status_t status = run_rows(&world, 2, 0, y);
        if (weir_status_code(status) == WEIR_RESOURCE_EXHAUSTED) {
            weir_status_free(status);
            status = run_rows(&world, 2, 0, y);
        }
        expect_ok(status);
        status = run_rows(&world, 24, 0, y);
        refused += status != NULL;
        if (status)
            expect_status(status, WEIR_RESOURCE_EXHAUSTED, "...alloc");
        expect_ok(run_rows(&world, 2, 0, y));
        expect_rows(&split, 2, y);
        expect_ok(run_rows(&world, 24, 0, y));
        expect_rows(&split, 24, y);
        world_close(&world);
    }
    assert_true(refused >= 2);
}

// Goal:   a device that says it is lost, wherever that is, is lost.
static void lost_wherever_it_says_so(void **state)
{
    (void)state;
    static const char *const options[] = {
        "chaos.devices=2,chaos.edge=native,chaos.faults=edge:lost:1",
        "chaos.claim=1,chaos.faults=claim:lost:1",
    };
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        world_t world;
        world_options_t known = {.plugin_path = WEIR_TEST_CHAOS, .plugin_options = options[i]};
        message_t bytes = make_model(graph_chain(), 17);
        expect_ok(world_engine(&world, &known));
        expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
        free(bytes.data);
        weir_status_free(world_plan(&world, "chaos,cpu"));
        weir_plan_free(world.plan);
        world.plan = NULL;
        expect_status(world_plan(&world, "chaos,cpu"), WEIR_UNAVAILABLE, "...was lost");
        expect_ok(weir_device_reopen(world.engine, "chaos"));
        expect_ok(world_plan(&world, "chaos,cpu"));
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(late_failures_are_waited_for),
        cmocka_unit_test(nodes_behind_a_failure_end_first),
        cmocka_unit_test(others_give_back_at_once),
        cmocka_unit_test(growth_that_fails_changes_nothing),
        cmocka_unit_test(lost_wherever_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
