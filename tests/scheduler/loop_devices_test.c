// tests/scheduler/loop_devices_test.c: devices that are lost, hang, fail, and come back, under
// load.
//
// Goal:   nothing is lost, nothing answered twice, no late write is seen: every request ends OK
//         with the bits of the CPU, or at its deadline where it has one, and the devices work again
//         afterwards.
// Method: two chaos devices beside the CPU, whose kernels they run, with a schedule of faults; rows
//         go through a loop thread and the receipts say where they ran.
#include "tests/scheduler/loop_calls.h"

#include "scheduler/loop/loop.h"
#include <sched.h>

enum { CALLS = 64 };

typedef struct tally {
    uint64_t within_ns; // deadlines from the submission; 0: none
    atomic_int ended, wrong;
    atomic_int on_chaos, on_chaos_1, on_cpu;
} tally_t;

typedef struct device_call {
    call_t call;
    tally_t *tally;
    float wanted[WORLD_OUT * 4];
    atomic_int busy, finals;
    int submitted;
    bool answered; // the last time
} device_call_t;

static void on_answer(const weir_event_t *event, void *user_data)
{
    device_call_t *it = user_data;
    tally_t *tally = it->tally;
    const char *device = event->receipt.device;
    size_t bytes = (size_t)(it->call.in.dims[0] * WORLD_OUT) * sizeof(float);
    weir_code_t code = weir_status_code(event->status);
    // What cannot be done in time is said at once.
    bool late = tally->within_ns && (code == WEIR_DEADLINE_EXCEEDED || code == WEIR_INFEASIBLE);
    it->answered = !event->status;
    if (!late && (event->status || memcmp(it->call.y, it->wanted, bytes) != 0)) {
        fprintf(stderr, "%s on %s\n", weir_status_text(event->status), device);
        atomic_fetch_add(&tally->wrong, 1);
    }
    atomic_fetch_add(&tally->on_chaos, it->answered && strcmp(device, "chaos") == 0);
    atomic_fetch_add(&tally->on_chaos_1, it->answered && strcmp(device, "chaos:1") == 0);
    atomic_fetch_add(&tally->on_cpu, it->answered && strcmp(device, "cpu") == 0);
    atomic_fetch_add(&it->finals, 1);
    atomic_fetch_add(&tally->ended, 1);
    atomic_store(&it->busy, 0);
}

static void open_logged(world_t *world, const char *options, const char *devices, weir_log_fn log)
{
    world_engine(world, WEIR_TEST_CHAOS, options);
    weir_plan_options_t plan = {.size = sizeof plan, .devices = "cpu"};
    world->model = world_load(world->engine, rows_graph());
    expect_ok(weir_plan_create(world->model, &plan, &world->plan));
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    expect_ok(weir_scheduler_create(world->engine,
        &(weir_scheduler_options_t){
            .size = sizeof(weir_scheduler_options_t), .log = log, .log_level = WEIR_LOG_DEBUG},
        &world->scheduler));
    world_add(world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                         .max_batch = 4,
                         .batching = WEIR_BATCHING_ON,
                         .devices = devices});
}

static void open_devices(world_t *world, const char *options, const char *devices)
{
    open_logged(world, options, devices, world_log);
}

static device_call_t calls[CALLS];

// Keeps all calls busy until `goal` have ended. What a request must answer is known beforehand.
static void load_devices(world_t *world, tally_t *tally, int goal)
{
    int submitted = 0;
    while (submitted < goal)
        for (uint32_t i = 0; i < CALLS && submitted < goal; i++) {
            device_call_t *it = &calls[i];
            if (atomic_load(&it->busy))
                continue;
            memset(it->wanted, 0, sizeof it->wanted);
            weir_request_t request = request_of(&it->call, (uint32_t)submitted, 1 + i % 4);
            weir_value_t out = weir_f32_out(it->wanted, WORLD_OUT * 4);
            expect_ok(weir_session_run(world->session, NULL, 1, &it->call.in, 1, &out));
            it->tally = tally;
            it->submitted++;
            if (tally->within_ns)
                request.deadline_ns = weir_now_ns() + tally->within_ns;
            atomic_store(&it->busy, 1);
            expect_ok(weir_submit(world->scheduler, &request, NULL, on_answer, it));
            submitted++;
        }
    for (uint32_t i = 0; i < CALLS; i++)
        while (atomic_load(&calls[i].busy))
            sched_yield();
}

// Every request has ended, and once; what was answered has not been touched since.
static void close_devices(world_t *world, tally_t *tally)
{
    weir_scheduler_free(world->scheduler);
    world->scheduler = NULL;
    for (uint32_t i = 0; i < CALLS; i++) {
        device_call_t *it = &calls[i];
        assert_int_equal(atomic_load(&it->finals), it->submitted);
        if (it->answered)
            assert_memory_equal(it->call.y, it->wanted, sizeof it->wanted);
    }
    assert_int_equal(atomic_load(&tally->wrong), 0);
    world_close(world);
    memset(calls, 0, sizeof calls);
}

static void devices_share_the_work(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    open_devices(&world, "chaos.devices=2,chaos.delay_us=200", "chaos,chaos:1,cpu");
    load_devices(&world, &tally, 2000);
    assert_int_equal(atomic_load(&tally.ended), 2000);
    assert_true(atomic_load(&tally.on_chaos) > 0 && atomic_load(&tally.on_chaos_1) > 0 &&
                atomic_load(&tally.on_cpu) > 0);
    close_devices(&world, &tally);
}

// Until the device has answered again.
static void wait_for(world_t *world, tally_t *tally, atomic_int *count)
{
    int before = atomic_load(count);
    uint64_t until_ns = weir_now_ns() + 40000 * WEIR_MS;
    while (atomic_load(count) == before && weir_now_ns() < until_ns)
        load_devices(world, tally, CALLS);
    assert_true(atomic_load(count) > before);
}

static void a_lost_device_comes_back(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    open_devices(
        &world, "chaos.devices=2,chaos.delay_us=200,chaos.faults=run:lost:30", "chaos,chaos:1,cpu");
    load_devices(&world, &tally, 3000);
    wait_for(&world, &tally, &tally.on_chaos);
    wait_for(&world, &tally, &tally.on_chaos_1);
    close_devices(&world, &tally);
}

static void a_device_that_hangs_comes_back(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    open_devices(
        &world, "chaos.devices=2,chaos.delay_us=200,chaos.faults=run:hang:50", "chaos,chaos:1,cpu");
    load_devices(&world, &tally, 3000);
    wait_for(&world, &tally, &tally.on_chaos);
    wait_for(&world, &tally, &tally.on_chaos_1);
    close_devices(&world, &tally);
}

static void a_late_write_is_not_seen(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    open_devices(&world, "chaos.devices=2,chaos.delay_us=200,chaos.faults=run:late=2500:40",
        "chaos,chaos:1,cpu");
    uint64_t until_ns = weir_now_ns() + 3000 * WEIR_MS; // the late writes are over then
    load_devices(&world, &tally, 3000);
    wait_for(&world, &tally, &tally.on_chaos);
    wait_for(&world, &tally, &tally.on_chaos_1);
    while (weir_now_ns() < until_ns)
        poll(NULL, 0, 10);
    close_devices(&world, &tally);
}

// The run ends at its requests' deadline, long before anybody takes the device for dead.
static void a_hanging_device_is_noticed_in_spite_of_deadlines(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {.within_ns = 20 * WEIR_MS};
    open_devices(
        &world, "chaos.devices=2,chaos.delay_us=200,chaos.faults=run:hang:50", "chaos,chaos:1,cpu");
    load_devices(&world, &tally, 3000);
    wait_for(&world, &tally, &tally.on_chaos);
    wait_for(&world, &tally, &tally.on_chaos_1);
    close_devices(&world, &tally);
}

// What the log has said of each device: [lost, hangs][chaos, chaos:1].
static atomic_int troubles[2][2];

static void note_trouble(void *user_data, weir_log_level_t level, const char *module,
    uint64_t request_id, const char *text)
{
    world_log(user_data, level, module, request_id, text);
    bool lost = strstr(text, "is lost"), hangs = strstr(text, "quarantined");
    for (int d = 0; d < 2 && (lost || hangs); d++)
        if (strstr(text, d ? "device \"chaos:1\"" : "device \"chaos\""))
            atomic_fetch_add(&troubles[hangs][d], 1);
}

// Each of two devices is lost and hangs, again and again, the other one meanwhile well or not, and
// comes back each time.
static void devices_are_lost_and_hang_by_turns(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    uint64_t until_ns = weir_now_ns() + 60000 * WEIR_MS;
    memset(troubles, 0, sizeof troubles);
    open_logged(&world,
        "chaos.devices=2,chaos.delay_us=200,chaos.faults=run:lost:/150;run:hang:/220",
        "chaos,chaos:1,cpu", note_trouble);
    for (int kind = 0; kind < 2; kind++)
        for (int d = 0; d < 2; d++)
            while (!atomic_load(&troubles[kind][d]) && weir_now_ns() < until_ns)
                load_devices(&world, &tally, CALLS);
    for (int i = 0; i < 4; i++)
        assert_true(atomic_load(&troubles[i / 2][i % 2]) > 0);
    wait_for(&world, &tally, &tally.on_chaos);
    wait_for(&world, &tally, &tally.on_chaos_1);
    close_devices(&world, &tally);
}

// One request that may run on this thread, and its answer.
static void ask_inline(world_t *world, tally_t *tally)
{
    device_call_t *it = &calls[0];
    memset(it->wanted, 0, sizeof it->wanted);
    weir_request_t request = request_of(&it->call, (uint32_t)it->submitted, 2);
    weir_value_t out = weir_f32_out(it->wanted, WORLD_OUT * 4);
    expect_ok(weir_session_run(world->session, NULL, 1, &it->call.in, 1, &out));
    it->tally = tally;
    it->submitted++;
    request.flags = WEIR_REQUEST_INLINE;
    atomic_store(&it->busy, 1);
    expect_ok(weir_submit(world->scheduler, &request, NULL, on_answer, it));
    while (atomic_load(&it->busy))
        sched_yield();
}

static void inline_runs_move_away(const char *options)
{
    world_t world;
    tally_t tally = {0};
    open_devices(&world, options, "chaos,cpu");
    for (uint32_t i = 0; i < 100; i++)
        ask_inline(&world, &tally);
    weir_scheduler_info_t info = {.size = sizeof info};
    weir_scheduler_describe(world.scheduler, &info);
    assert_true(info.inline_runs > 0 && info.inline_runs < 100);
    assert_int_equal(info.refused, 0);
    close_devices(&world, &tally);
}

static void an_inline_run_moves_away_from_a_lost_device(void **state)
{
    (void)state;
    inline_runs_move_away("chaos.delay_us=20,chaos.faults=run:lost:30");
}

// Its request has no deadline: the device is given up all the same.
static void an_inline_run_moves_away_from_a_device_that_hangs(void **state)
{
    (void)state;
    inline_runs_move_away("chaos.delay_us=20,chaos.faults=run:hang:30");
}

// A model is served by the devices that are there; the one that was away gets its share later.
static void a_device_that_is_away_at_first_comes(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    open_devices(&world, "chaos.delay_us=200,chaos.faults=open:fail=9:1", "chaos,cpu");
    load_devices(&world, &tally, CALLS);
    wait_for(&world, &tally, &tally.on_chaos);
    expect_status(weir_scheduler_add(world.scheduler, "typo", "1", world.model,
                      &(weir_serving_options_t){
                          .size = sizeof(weir_serving_options_t), .devices = "cpu,chaso"}),
        WEIR_NOT_FOUND, "chaso");
    close_devices(&world, &tally);
}

static atomic_int complaints[2]; // [said once, said again]

static void note_complaint(void *user_data, weir_log_level_t level, const char *module,
    uint64_t request_id, const char *text)
{
    world_log(user_data, level, module, request_id, text);
    if (strstr(text, "for now"))
        atomic_fetch_add(&complaints[level == WEIR_LOG_DEBUG], 1);
}

// The device is there, but nothing can be made on it for some time: that is said once, and tried
// again until it can.
static void what_cannot_be_made_is_tried_again(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    memset(complaints, 0, sizeof complaints);
    open_logged(&world, "chaos.delay_us=200,chaos.faults=open:fail=9:1;queue_create:fail:1-2",
        "chaos,cpu", note_complaint);
    wait_for(&world, &tally, &tally.on_chaos);
    assert_int_equal(atomic_load(&complaints[0]), 1);
    assert_int_equal(atomic_load(&complaints[1]), 1);
    close_devices(&world, &tally);
}

// A device that does not come back is tried again when it is time; the loop has nothing to do until
// then.
static void nothing_is_done_until_it_is_tried_again(void **state)
{
    (void)state;
    world_t world;
    world_engine(&world, WEIR_TEST_CHAOS, "chaos.devices=1,chaos.faults=open:fail=9:1+");
    world.model = world_load(world.engine, rows_graph());
    expect_ok(weir_scheduler_create(world.engine, &polled, &world.scheduler));
    world_add(&world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                          .batching = WEIR_BATCHING_OFF,
                          .devices = "chaos,cpu"});
    struct pollfd fd = {.fd = weir_scheduler_fd(world.scheduler), .events = POLLIN};
    weir_scheduler_poll(world.scheduler);
    const weir__loop_device_t *device = &world.scheduler->devices[0];
    assert_string_equal(device->name, "chaos");
    for (uint64_t before = 0, round = 0; round < 2; round++, before = device->retry_ns) {
        while (device->retry_ns == before) {
            assert_true(poll(&fd, 1, 60000) > 0);
            weir_scheduler_poll(world.scheduler);
        }
        assert_false(world.scheduler->chores);
        // It may be time already.
        assert_true(device->returning || world.scheduler->held_due_ns <= device->retry_ns);
    }
    world_close(&world);
}

// What a device computes is none of the teams' even when it keeps no constants.
static void a_device_without_constants_is_no_host(void **state)
{
    (void)state;
    static const char *const devices[] = {"chaos", "cpu"};
    for (uint32_t i = 0; i < 2; i++) {
        world_t world;
        world_engine(&world, WEIR_TEST_CHAOS, "chaos.devices=1");
        world.model = world_load(world.engine, relu_graph("N,8"));
        expect_ok(weir_scheduler_create(world.engine, &polled, &world.scheduler));
        world_add(&world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                              .batching = WEIR_BATCHING_OFF,
                              .devices = devices[i]});
        weir_scheduler_poll(world.scheduler);
        const weir__served_t *served = &world.scheduler->models[0];
        assert_string_equal(served->placed[0].receipt.device, devices[i]);
        assert_int_equal(served->placed[0].on_host, i);
        world_close(&world);
    }
}

// One run is so slow that it is taken for a hang; when the device has answered others it is used
// again.
static void a_slow_run_does_not_forbid_inline_runs(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    weir_scheduler_info_t info = {.size = sizeof info};
    uint64_t before = UINT64_MAX, until_ns = weir_now_ns() + 60000 * WEIR_MS;
    open_devices(&world, "chaos.devices=1,chaos.faults=run:slow=1100:8", "chaos");
    do {
        ask_inline(&world, &tally);
        weir_scheduler_describe(world.scheduler, &info);
        if (info.ended && before == UINT64_MAX) // the slow one went through the loop
            before = info.inline_runs;
    } while ((before == UINT64_MAX || info.inline_runs == before) && weir_now_ns() < until_ns);
    assert_true(info.inline_runs > before); // and there was a slow one
    close_devices(&world, &tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_share_the_work),
        cmocka_unit_test(a_lost_device_comes_back),
        cmocka_unit_test(a_device_that_hangs_comes_back),
        cmocka_unit_test(a_late_write_is_not_seen),
        cmocka_unit_test(a_hanging_device_is_noticed_in_spite_of_deadlines),
        cmocka_unit_test(devices_are_lost_and_hang_by_turns),
        cmocka_unit_test(an_inline_run_moves_away_from_a_lost_device),
        cmocka_unit_test(an_inline_run_moves_away_from_a_device_that_hangs),
        cmocka_unit_test(a_device_that_is_away_at_first_comes),
        cmocka_unit_test(what_cannot_be_made_is_tried_again),
        cmocka_unit_test(nothing_is_done_until_it_is_tried_again),
        cmocka_unit_test(a_device_without_constants_is_no_host),
        cmocka_unit_test(a_slow_run_does_not_forbid_inline_runs),
    };
    return cmocka_run_group_tests_name("loop_devices", tests, NULL, NULL);
}
