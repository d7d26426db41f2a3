// tests/scheduler/loop_stage_test.c: rows that are packed while another batch runs.
//
// Goal:   they are packed, each answer has the bits of a run alone, and whoever gives up after his
//         rows were packed only leaves a gap.
// Method: a chaos device that is slow enough for requests to wait behind a batch. Rounds of
//         requests of random sizes, some of them cancelled, some with deadlines, until the metrics
//         say that rows were packed ahead in so many rounds. The core's guess is looked at by
//         itself, too.
#include "tests/scheduler/loop_calls.h"

#include "scheduler/core/core.h"
#include <sched.h>

enum { CALLS = 40, ROUNDS = 60, BATCH = 8 };

typedef struct staged {
    call_t call;
    float wanted[WORLD_OUT * 4];
    bool is_cancelled;
    atomic_int is_ended;
} staged_t;

static void on_answer(const weir_event_t *event, void *user_data)
{
    staged_t *it = user_data;
    note_event(event, &it->call);
    atomic_store(&it->is_ended, 1);
}

static void open_slow(world_t *world, uint32_t max_batch)
{
    world_engine(world, WEIR_TEST_CHAOS, "chaos.delay_us=2000");
    weir_plan_options_t plan = {.size = sizeof plan, .devices = "cpu"};
    world->model = world_load(world->engine, rows_graph());
    expect_ok(weir_plan_create(world->model, &plan, &world->plan));
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    weir_scheduler_options_t options = {
        .size = sizeof options, .log = world_log, .log_level = WEIR_LOG_DEBUG};
    expect_ok(weir_scheduler_create(world->engine, &options, &world->scheduler));
    world_add(world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                         .max_batch = max_batch,
                         .batching = max_batch > 1 ? WEIR_BATCHING_ON : WEIR_BATCHING_OFF,
                         .devices = "chaos"});
}

static int read_ahead(void *user_data, const char *text, size_t bytes)
{
    static const char name[] = "weir_rows_ahead_total{";
    (void)bytes;
    const char *at = strncmp(text, name, sizeof name - 1) == 0 ? strrchr(text, ' ') : NULL;
    if (at)
        *(unsigned long *)user_data = strtoul(at + 1, NULL, 10);
    return 0;
}

static unsigned long rows_ahead(world_t *world)
{
    unsigned long rows = 0;
    expect_ok(weir_scheduler_metrics(world->scheduler, read_ahead, &rows));
    return rows;
}

static uint32_t draw(uint32_t *random)
{
    *random = *random * 1664525u + 1013904223u;
    return *random >> 8;
}

// Where this machine stands still for so long that the watchdog gives the device up, a request may
// be lost with it.
static bool may_be(weir_code_t code)
{
    return code == WEIR_INFEASIBLE || code == WEIR_DEADLINE_EXCEEDED || code == WEIR_DEVICE_LOST ||
           code == WEIR_UNAVAILABLE;
}

// All requests of a round at once, then some cancels, then every answer.
static void play_round(world_t *world, uint32_t rows_max, uint32_t *random)
{
    static staged_t calls[CALLS];
    for (uint32_t i = 0; i < CALLS; i++) {
        staged_t *it = &calls[i];
        memset(it->wanted, 0, sizeof it->wanted);
        weir_request_t request = request_of(&it->call, draw(random), 1 + draw(random) % rows_max);
        weir_value_t out = weir_f32_out(it->wanted, WORLD_OUT * 4);
        expect_ok(weir_session_run(world->session, NULL, 1, &it->call.in, 1, &out));
        if (draw(random) % 8 == 0)
            request.deadline_ns = weir_now_ns() + draw(random) % 20 * WEIR_MS;
        it->is_cancelled = false;
        atomic_store(&it->is_ended, 0);
        weir_status_t status =
            weir_submit(world->scheduler, &request, &it->call.ticket, on_answer, it);
        if (status) { // a deadline that has come already
            it->call.code = weir_status_code(status);
            assert_true(may_be(it->call.code));
            it->call.finals = 1;
            atomic_store(&it->is_ended, 1);
            weir_status_free(status);
        }
    }
    for (uint32_t i = 0; i < CALLS; i++)
        if (draw(random) % 4 == 0) {
            calls[i].is_cancelled = true;
            weir_cancel(world->scheduler, calls[i].call.ticket);
        }
    for (uint32_t i = 0; i < CALLS; i++) {
        staged_t *it = &calls[i];
        while (!atomic_load(&it->is_ended))
            sched_yield();
        assert_int_equal(it->call.finals, 1);
        if (it->call.code == WEIR_OK)
            assert_memory_equal(
                it->call.y, it->wanted, (size_t)(it->call.in.dims[0] * WORLD_OUT) * sizeof(float));
        else if (it->call.code == WEIR_CANCELLED ? !it->is_cancelled : !may_be(it->call.code))
            fail_msg("%s: %s", weir_code_name(it->call.code), it->call.text);
    }
}

static void play(uint32_t max_batch, uint32_t rows_max)
{
    world_t world;
    uint32_t random = 7 + max_batch;
    open_slow(&world, max_batch);
    // How many of them the loop comes to pack in time depends on the machine; that it never does
    // is what the timeout of this test is for.
    for (uint32_t ahead = 0, round = 0; round < ROUNDS || ahead < ROUNDS / 4; round++) {
        unsigned long before = rows_ahead(&world);
        play_round(&world, rows_max, &random);
        ahead += rows_ahead(&world) > before;
    }
    world_close(&world);
}

static void rows_are_packed_ahead(void **state)
{
    (void)state;
    play(BATCH, 1);
}

static void requests_of_many_sizes_leave_gaps(void **state)
{
    (void)state;
    play(BATCH, 4);
}

static void unbatched_requests_are_packed_ahead(void **state)
{
    (void)state;
    play(1, 1);
}

// ---- The core's guess --------------------------------------------------------------------------

static weir__core_action_t actions[64];

static size_t step(weir__core_t *core, weir__core_event_t event, uint64_t now_ns)
{
    size_t count = 0;
    assert_int_equal(weir__core_step(core, &event, now_ns, actions, 64, &count), WEIR_OK);
    return count;
}

// Goal:   the tickets that are guessed are those that leave next, in their order, and only such as
//         wait.
// Method: one instance that is busy; arrivals with deadlines in rising order, one cancelled.
static void the_guess_is_what_leaves(void **state)
{
    (void)state;
    const uint64_t ms = 1000000;
    weir__core_limits_t limits = weir__core_limits_default();
    limits.batch_rows = 8;
    size_t bytes;
    assert_int_equal(weir__core_size(&limits, &bytes), WEIR_OK);
    void *memory = malloc(bytes);
    weir__core_t *core;
    assert_int_equal(weir__core_init(memory, bytes, &limits, &core), WEIR_OK);
    step(core,
        (weir__core_event_t){
            .kind = WEIR__EVENT_DEVICE_STATE, .state = WEIR__DEVICE_HEALTHY, .count = 1},
        ms);
    step(core, (weir__core_event_t){.kind = WEIR__EVENT_MODEL_ADD, .rows = 8, .count = 1}, ms);
    step(core, (weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_ADD}, ms);
    step(core, (weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_IDLE}, ms);
    uint64_t guess[16], left[16];
    assert_int_equal(weir__core_next(core, 0, guess, 16), 0); // nothing runs
    for (uint64_t i = 0; i < 12; i++)
        step(core,
            (weir__core_event_t){.kind = WEIR__EVENT_ARRIVAL,
                .ticket = (uint64_t)1 << 32 | i,
                .rows = 1,
                .deadline_ns = (10000 + i) * ms},
            2 * ms);
    step(core, (weir__core_event_t){.kind = WEIR__EVENT_CANCEL, .ticket = (uint64_t)1 << 32 | 5},
        3 * ms);
    assert_int_equal(weir__core_batch(core, 0, left, 16), 1);
    uint64_t batch = (uint64_t)1 << 24; // the first one, of instance 0
    assert_int_equal(weir__core_next(core, 0, guess, 16), 10);
    assert_int_equal(weir__core_next(core, 0, guess, 8), 8);
    size_t count = step(core,
        (weir__core_event_t){
            .kind = WEIR__EVENT_BATCH_DONE, .batch = batch, .rows = 1, .elapsed_ns = ms, .idle = 1},
        4 * ms);
    bool has_left = false;
    for (size_t i = 0; i < count; i++)
        has_left |= actions[i].kind == WEIR__ACTION_DISPATCH;
    assert_true(has_left);
    assert_int_equal(weir__core_batch(core, 0, left, 16), 8);
    assert_memory_equal(guess, left, 8 * sizeof *guess);
    assert_int_equal(weir__core_next(core, 0, guess, 16), 2);
    assert_int_equal(guess[1], (uint64_t)1 << 32 | 11);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_packed_ahead),
        cmocka_unit_test(requests_of_many_sizes_leave_gaps),
        cmocka_unit_test(unbatched_requests_are_packed_ahead),
        cmocka_unit_test(the_guess_is_what_leaves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
