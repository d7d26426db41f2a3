// tests/unit/device_reopen_test.c: a device is reopened under the feet of those who use it.
//
// Labels: threads Timeout: 120
#include "tests/unit/device_graphs.h"

#include <pthread.h>
#include <sched.h>

#define USERS 4
#define REOPENS 6

typedef struct shared {
    weir_engine_t *engine;
    weir_model_t *model;
    atomic_int stop;
    atomic_int answers, lost;
    float x[2 * SIDE], wanted[2 * SIDE];
} shared_t;

// A plan, some runs, until the device goes; then all over again.
static void use_until_lost(shared_t *shared)
{
    weir_plan_options_t options = {
        .size = sizeof options, .devices = "chaos,cpu", .placement = device_graphs[0].placement};
    weir_plan_t *plan;
    weir_session_t *session;
    weir_status_t status = weir_plan_create(shared->model, &options, &plan);
    if (status) {
        assert_int_equal(weir_status_code(status), WEIR_UNAVAILABLE);
        weir_status_free(status);
        return;
    }
    status = weir_session_create(plan, NULL, &session);
    if (status) {
        assert_int_equal(weir_status_code(status), WEIR_DEVICE_LOST);
        weir_status_free(status);
        weir_plan_free(plan);
        return;
    }
    while (!status && !atomic_load(&shared->stop)) {
        float y[2 * SIDE];
        weir_value_t in[] = {weir_f32(shared->x, 2, 2, SIDE)}, out[] = {weir_f32_out(y, 2 * SIDE)};
        status = weir_session_run(session, NULL, 1, in, 1, out);
        if (status) {
            if (weir_status_code(status) != WEIR_DEVICE_LOST ||
                !strstr(weir_status_message(status), "\"chaos\""))
                fail_msg("%s", weir_status_text(status));
            atomic_fetch_add(&shared->lost, 1);
        } else {
            assert_memory_equal(y, shared->wanted, sizeof y);
            atomic_fetch_add(&shared->answers, 1);
        }
    }
    weir_status_free(status);
    weir_session_free(session);
    weir_plan_free(plan);
}

static void *user_main(void *argument)
{
    shared_t *shared = argument;
    while (!atomic_load(&shared->stop))
        use_until_lost(shared);
    return NULL;
}

// Goal:   runs under way on a device that is reopened end with an answer or DEVICE_LOST, plans are
//         refused or good, nothing is called on what was closed (the device would know), and
//         nothing is left.
static void reopened_in_use(void **state)
{
    (void)state;
    for (int level = 1; level <= 2; level++) {
        world_t world;
        shared_t shared = {.engine = NULL};
        char options[128];
        snprintf(options, sizeof options, "chaos.refuse=Softmax,chaos.delay_us=100,chaos.level=%d",
            level);
        world_options_t known = {.plugin_path = WEIR_TEST_CHAOS, .plugin_options = options};
        message_t bytes = make_model(graph_chain(), 17);
        expect_ok(world_engine(&world, &known));
        expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
        free(bytes.data);
        shared.engine = world.engine;
        shared.model = world.model;
        fill_floats(shared.x, 2 * SIDE, 9);
        expect_ok(world_plan(&world, "cpu"));
        expect_ok(weir_session_create(world.plan, NULL, &world.session));
        weir_value_t in[] = {weir_f32(shared.x, 2, 2, SIDE)};
        weir_value_t out[] = {weir_f32_out(shared.wanted, 2 * SIDE)};
        expect_ok(weir_session_run(world.session, NULL, 1, in, 1, out));
        pthread_t users[USERS];
        for (int i = 0; i < USERS; i++)
            assert_int_equal(pthread_create(&users[i], NULL, user_main, &shared), 0);
        for (int i = 0; i < REOPENS; i++) {
            int answers = atomic_load(&shared.answers);
            while (atomic_load(&shared.answers) < answers + 2 * USERS)
                sched_yield();
            expect_ok(weir_device_reopen(world.engine, "chaos"));
        }
        atomic_store(&shared.stop, 1);
        for (int i = 0; i < USERS; i++)
            pthread_join(users[i], NULL);
        assert_true(atomic_load(&shared.lost) > 0);
        world_close(&world);
    }
}

static void *planner_main(void *argument)
{
    world_t *world = argument;
    weir_status_t status = world_plan(world, "chaos");
    if (status && weir_status_code(status) != WEIR_UNAVAILABLE)
        fail_msg("%s", weir_status_text(status));
    weir_status_free(status);
    return NULL;
}

// Goal:   a plan is made while a device that nobody has opened yet is reopened: it waits its turn,
//         or is told so.
static void reopened_before_it_was_open(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        world_t world;
        pthread_t planner;
        world_options_t known = {
            .plugin_path = WEIR_TEST_CHAOS, .plugin_options = "chaos.faults=open:slow=5:1"};
        message_t bytes = make_model(graph_chain(), 17);
        expect_ok(world_engine(&world, &known));
        expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
        free(bytes.data);
        assert_int_equal(pthread_create(&planner, NULL, planner_main, &world), 0);
        if (i % 2)
            sched_yield();
        expect_ok(weir_device_reopen(world.engine, "chaos"));
        pthread_join(planner, NULL);
        world_close(&world);
    }
}

// Goal:   what never was lost, or is not there, says so.
static void what_cannot_be_reopened(void **state)
{
    (void)state;
    world_t world;
    world_options_t known = {.plugin_path = WEIR_TEST_CHAOS};
    expect_ok(world_engine(&world, &known));
    expect_status(weir_device_reopen(world.engine, "cpu"), WEIR_INVALID_ARGUMENT,
        "device \"cpu\" runs on host memory: it is never lost and cannot be reopened");
    expect_status(weir_device_reopen(world.engine, "chaos:1"), WEIR_NOT_FOUND, "...chaos:1");
    expect_ok(weir_device_reopen(world.engine, "chaos:0")); // it was not open yet
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reopened_in_use),
        cmocka_unit_test(reopened_before_it_was_open),
        cmocka_unit_test(what_cannot_be_reopened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
