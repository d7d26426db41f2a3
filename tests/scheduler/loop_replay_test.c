// tests/scheduler/loop_replay_test.c: a recorded run of the real loop, through a core of its own.
//
// Goal:   what the loop told the decision core, and when, is all that decides: the same events at
//         the same times give the same actions, so that a production trace can be looked at here.
// Method: requests with deadlines and cancels through a polled loop; the file is read back and each
//         step's actions are compared by their hash.
#include "tests/scheduler/loop_calls.h"

#include "scheduler/loop/trace.h"

enum { CALLS = 2000, CANCELS = 50 };

static call_t calls[CALLS];
static uint32_t answered;
static weir_scheduler_t *scheduler;

// The loop looks at arrivals 128 at a time and at sixteen batches in between: when so many have
// been answered all are in the core, and most of the last ones wait there.
static void note_and_cancel(const weir_event_t *event, void *user_data)
{
    note_event(event, user_data);
    if (event->status || ++answered != CALLS * 2 / 3)
        return;
    for (uint32_t i = 0; i < CANCELS; i++)
        weir_cancel(scheduler, calls[CALLS - 1 - i].ticket);
}

static void record(const char *path)
{
    world_t world;
    weir_scheduler_options_t options = polled;
    options.trace_path = path;
    world_open(&world, rows_graph(), &options);
    world_add(&world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                          .max_batch = 8,
                          .instances_min = 2,
                          .warm_rows = 8});
    scheduler = world.scheduler;
    for (uint32_t i = 0; i < CALLS; i++) {
        weir_request_t request = request_of(&calls[i], i, 1 + i % 4);
        if (i % 10 == 0 && i < CALLS - CANCELS)
            request.deadline_ns = weir_now_ns() + WEIR_MS * (10 + i % 7);
        expect_ok(weir_submit(scheduler, &request, &calls[i].ticket, note_and_cancel, &calls[i]));
    }
    expect_ok(weir_drain(world.scheduler, 0, NULL, NULL));
    for (uint32_t i = 0; i < CALLS; i++)
        assert_int_equal(calls[i].finals, 1);
    world_close(&world);
}

static void replay(const char *path, uint64_t *kinds)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    weir__trace_head_t head;
    assert_int_equal(1, fread(&head, sizeof head, 1, file));
    assert_true(head.magic == WEIR__TRACE_MAGIC);
    assert_int_equal(head.record_bytes, sizeof(weir__trace_record_t));
    size_t bytes;
    weir__core_t *core;
    assert_int_equal(WEIR_OK, weir__core_size(&head.limits, &bytes));
    void *memory = malloc(bytes);
    assert_int_equal(WEIR_OK, weir__core_init(memory, bytes, &head.limits, &core));
    static weir__core_action_t actions[WEIR__TRACE_ACTIONS];
    weir__trace_record_t record;
    while (fread(&record, sizeof record, 1, file) == 1) {
        size_t count;
        weir_code_t code = weir__core_step(
            core, &record.event, record.now_ns, actions, WEIR__TRACE_ACTIONS, &count);
        kinds[record.event.kind]++;
        assert_int_equal(count, record.action_count);
        assert_true(weir__trace_hash(code, actions, count) == record.hash);
    }
    fclose(file);
    free(memory);
}

static void a_recorded_run_replays(void **state)
{
    (void)state;
    static const char path[] = WEIR_TEST_PLUGINS "/loop_replay.trace"; // in the build's folder
    uint64_t kinds[WEIR__EVENT_DRAIN + 1] = {0};
    record(path);
    replay(path, kinds);
    remove(path);
    assert_true(kinds[WEIR__EVENT_ARRIVAL] == CALLS);
    assert_true(kinds[WEIR__EVENT_BATCH_DONE] > 10);
    assert_true(kinds[WEIR__EVENT_CANCEL] > CANCELS / 2);
    assert_true(kinds[WEIR__EVENT_SAMPLE] == 4); // 1, 2, 4, 8 rows
    assert_true(kinds[WEIR__EVENT_DRAIN] >= 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_recorded_run_replays)};
    return cmocka_run_group_tests_name("loop_replay", tests, NULL, NULL);
}
