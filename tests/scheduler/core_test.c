// tests/scheduler/core_test.c: the decision core, one decision at a time. The simulator tests them
// together.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/core/core.h"
#include "scheduler/core/curve.h"
#include "tests/scheduler/random.h"

#define MS 1000000ull
#define ACTION_COUNT 64

typedef struct bench {
    weir__core_t *core;
    void *memory;
    uint64_t now_ns;
    weir__core_action_t actions[ACTION_COUNT];
    size_t count;
} bench_t;

static weir_code_t step(bench_t *bench, weir__core_event_t event)
{
    return weir__core_step(
        bench->core, &event, bench->now_ns, bench->actions, ACTION_COUNT, &bench->count);
}

static const weir__core_action_t *find(const bench_t *bench, weir__core_action_kind_t kind)
{
    for (size_t i = 0; i < bench->count; i++)
        if (bench->actions[i].kind == kind)
            return &bench->actions[i];
    return NULL;
}

static uint64_t ticket(uint32_t generation, uint32_t index)
{
    return (uint64_t)generation << 32 | index;
}

static weir__core_event_t arrival(uint64_t which, uint64_t deadline_ns)
{
    return (weir__core_event_t){.kind = WEIR__EVENT_ARRIVAL,
        .ticket = which,
        .deadline_ns = deadline_ns,
        .bytes = 10,
        .version = 1,
        .rows = 1};
}

static weir__core_event_t idle(uint32_t instance)
{
    return (weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_IDLE, .instance = instance};
}

static weir__core_event_t done(uint64_t batch, weir_code_t code, uint32_t rows)
{
    return (weir__core_event_t){
        .kind = WEIR__EVENT_BATCH_DONE, .batch = batch, .code = code, .rows = rows};
}

static void add_instance(bench_t *bench, uint32_t instance, uint32_t device)
{
    assert_int_equal(step(bench, (weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_ADD,
                                     .instance = instance,
                                     .version = 1,
                                     .device = device}),
        WEIR_OK);
    assert_int_equal(step(bench, idle(instance)), WEIR_OK);
}

static void add_device(bench_t *bench, uint32_t device)
{
    assert_int_equal(step(bench, (weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                                     .device = device,
                                     .state = WEIR__DEVICE_HEALTHY,
                                     .count = 1}),
        WEIR_OK);
}

// One model of batches of 4 on one device with one instance.
static int setup(void **state)
{
    bench_t *bench = calloc(1, sizeof *bench);
    assert_non_null(bench);
    weir__core_limits_t limits = weir__core_limits_default();
    limits.request_count = 32;
    limits.device_count = 2;
    size_t bytes = 0;
    assert_int_equal(weir__core_size(&limits, &bytes), WEIR_OK);
    bench->memory = malloc(bytes);
    assert_non_null(bench->memory);
    assert_int_equal(weir__core_init(bench->memory, bytes, &limits, &bench->core), WEIR_OK);
    bench->now_ns = MS;
    add_device(bench, 0);
    step(bench,
        (weir__core_event_t){.kind = WEIR__EVENT_MODEL_ADD, .version = 1, .rows = 4, .count = 1});
    add_instance(bench, 0, 0);
    *state = bench;
    return 0;
}

static int teardown(void **state)
{
    bench_t *bench = *state;
    free(bench->memory);
    free(bench);
    return 0;
}

// The cost of a batch as the core knows it: 1 ms and 1 ms a row.
static void teach(bench_t *bench)
{
    for (uint32_t times = 0; times < 200; times++)
        for (uint32_t rows = 1; rows <= 4; rows *= 2)
            assert_int_equal(step(bench, (weir__core_event_t){.kind = WEIR__EVENT_SAMPLE,
                                             .version = 1,
                                             .rows = rows,
                                             .elapsed_ns = MS + rows * MS}),
                WEIR_OK);
}

// The instance takes request 0 alone; requests 1 .. count wait behind it.
static uint64_t fill_behind(bench_t *bench, uint32_t count)
{
    step(bench, arrival(ticket(1, 0), WEIR__CORE_NEVER));
    const weir__core_action_t *first = find(bench, WEIR__ACTION_DISPATCH);
    assert_non_null(first);
    uint64_t batch = first->batch;
    for (uint32_t i = 1; i <= count; i++) {
        step(bench, arrival(ticket(1, i), WEIR__CORE_NEVER));
        assert_non_null(find(bench, WEIR__ACTION_ADMIT));
        assert_null(find(bench, WEIR__ACTION_DISPATCH));
    }
    return batch;
}

// Goal:   a curve learns points, stays monotone, and follows a machine that becomes twice as slow.
// Method: samples of 2 ms + 0.25 ms a row, then the same doubled.
static void curve_learns(void **state)
{
    (void)state;
    weir__curve_t curve = {.learned = 0};
    assert_int_equal(weir__curve_mean(&curve, 8), 0);
    for (uint64_t factor = 1; factor <= 2; factor++) {
        for (uint32_t i = 0; i < 400; i++) {
            uint32_t rows = 1 + i * 7 % 32;
            weir__curve_learn(&curve, rows, factor * (2000000 + rows * 250000));
        }
        for (uint32_t rows = 1; rows <= 32; rows++) {
            uint64_t truth = factor * (2000000 + rows * 250000);
            assert_in_range(weir__curve_mean(&curve, rows), truth * 95 / 100, truth * 105 / 100);
            assert_true(weir__curve_p95(&curve, rows) >= weir__curve_mean(&curve, rows));
            assert_true(
                rows == 1 || weir__curve_mean(&curve, rows) >= weir__curve_mean(&curve, rows - 1));
        }
    }
    assert_int_equal(weir__curve_rows_within(&curve, 32, 1000), 0);
    assert_int_equal(weir__curve_rows_within(&curve, 32, UINT64_MAX), 32);
}

// Goal:   one accident does not change a prediction much, and about one sample in 20 is above p95.
static void curve_has_a_tail(void **state)
{
    (void)state;
    weir__curve_t curve = {.learned = 0};
    uint32_t above = 0;
    uint64_t draw = 1;
    for (uint32_t i = 0; i < 4000; i++) {
        draw = draw * 6364136223846793005u + 1442695040888963407u;
        uint64_t ns = 1000000 + (draw >> 40) % 200000;
        above += i >= 1000 && ns > weir__curve_p95(&curve, 4);
        weir__curve_learn(&curve, 4, ns);
    }
    assert_in_range(above, 60, 300); // of 3000
    uint64_t before = weir__curve_mean(&curve, 4);
    weir__curve_learn(&curve, 4, 50 * MS);
    assert_in_range(weir__curve_mean(&curve, 4), before, before + before / 20);
}

// Goal:   limits that can't be are refused, memory that is too small too.
static void limits_are_checked(void **state)
{
    (void)state;
    weir__core_limits_t limits = weir__core_limits_default();
    size_t bytes = 0;
    limits.lane_count = 0;
    assert_int_equal(weir__core_size(&limits, &bytes), WEIR_INVALID_ARGUMENT);
    limits = weir__core_limits_default();
    limits.batch_rows = WEIR__CORE_BATCH_ROWS_MAX + 1;
    assert_int_equal(weir__core_size(&limits, &bytes), WEIR_INVALID_ARGUMENT);
    limits = weir__core_limits_default();
    assert_int_equal(weir__core_size(&limits, &bytes), WEIR_OK);
    weir__core_t *core = NULL;
    assert_int_equal(weir__core_init(NULL, bytes - 1, &limits, &core), WEIR_RESOURCE_EXHAUSTED);
    assert_null(core);
}

// Goal:   a lone request leaves at once; a full batch leaves as soon as the instance is idle; the
// answers go
//         to the tickets that asked.
static void batches_leave(void **state)
{
    bench_t *bench = *state;
    uint64_t batch = fill_behind(bench, 5);
    bench->now_ns += MS;
    step(bench, done(batch, WEIR_OK, 1));
    const weir__core_action_t *end = find(bench, WEIR__ACTION_FINAL);
    assert_non_null(end);
    assert_int_equal(end->ticket, ticket(1, 0));
    assert_int_equal(end->code, WEIR_OK);
    assert_null(find(bench, WEIR__ACTION_DISPATCH));
    step(bench, idle(0));
    const weir__core_action_t *next = find(bench, WEIR__ACTION_DISPATCH);
    assert_non_null(next);
    assert_int_equal(next->why, WEIR__DISPATCH_FULL);
    assert_int_equal(next->rows, 4);
    uint64_t tickets[8];
    assert_int_equal(weir__core_batch(bench->core, 0, tickets, 8), 4);
    for (uint32_t i = 0; i < 4; i++)
        assert_int_equal(tickets[i], ticket(1, i + 1));
}

// Goal:   where rows come fast, a batch waits for more of them, but not past the latest start.
static void waiting_ends_in_time(void **state)
{
    bench_t *bench = *state;
    teach(bench);
    uint64_t batch = fill_behind(bench, 0);
    for (uint32_t i = 1; i < 4; i++) { // arrivals every microsecond: they come fast
        bench->now_ns += 1000;
        step(bench, arrival(ticket(1, i), WEIR__CORE_NEVER));
    }
    for (uint32_t i = 1; i < 4; i++)
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_CANCEL, .ticket = ticket(1, i)});
    bench->now_ns += 2 * MS;
    step(bench, done(batch, WEIR_OK, 1));
    step(bench, idle(0));
    // Four milliseconds are what two rows may need, with the tail.
    step(bench, arrival(ticket(2, 1), bench->now_ns + 50 * MS));
    const weir__core_action_t *leaves = find(bench, WEIR__ACTION_DISPATCH);
    const weir__core_action_t *timer = find(bench, WEIR__ACTION_SET_TIMER);
    if (!leaves) {
        assert_non_null(timer);
        assert_true(timer->time_ns <= bench->now_ns + 47 * MS);
        bench->now_ns = timer->time_ns;
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
        leaves = find(bench, WEIR__ACTION_DISPATCH);
    }
    assert_non_null(leaves);
}

// Goal:   what can't be answered in time is refused at once, and what waits is told at its
// deadline.
static void deadlines_are_kept(void **state)
{
    bench_t *bench = *state;
    teach(bench);
    fill_behind(bench, 0);
    step(bench, arrival(ticket(1, 1), bench->now_ns + MS));
    const weir__core_action_t *refused = find(bench, WEIR__ACTION_REFUSE);
    assert_non_null(refused);
    assert_int_equal(refused->code, WEIR_INFEASIBLE);
    assert_true(refused->time_ns > 0);
    uint64_t deadline = bench->now_ns + 6 * MS;
    step(bench, arrival(ticket(2, 1), deadline));
    assert_non_null(find(bench, WEIR__ACTION_ADMIT));
    bench->now_ns = deadline; // the batch before hangs
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
    const weir__core_action_t *end = find(bench, WEIR__ACTION_FINAL);
    assert_non_null(end);
    assert_int_equal(end->ticket, ticket(2, 1));
    assert_int_equal(end->code, WEIR_DEADLINE_EXCEEDED);
}

// Goal:   a bad request fails alone: a failed batch runs again one by one.
static void a_bad_request_fails_alone(void **state)
{
    bench_t *bench = *state;
    step(bench, done(fill_behind(bench, 4), WEIR_OK, 1));
    step(bench, idle(0));
    uint64_t batch = find(bench, WEIR__ACTION_DISPATCH)->batch;
    step(bench, done(batch, WEIR_OK, 3)); // a row too few
    assert_null(find(bench, WEIR__ACTION_FINAL));
    for (uint32_t i = 0; i < 4; i++) {
        step(bench, idle(0));
        const weir__core_action_t *again = find(bench, WEIR__ACTION_DISPATCH);
        assert_non_null(again);
        assert_int_equal(again->why, WEIR__DISPATCH_RERUN);
        assert_int_equal(again->count, 1);
        weir_code_t code = i == 2 ? WEIR_INVALID_ARGUMENT : WEIR_OK;
        step(bench, done(again->batch, code, 1));
        const weir__core_action_t *end = find(bench, WEIR__ACTION_FINAL);
        assert_non_null(end);
        assert_int_equal(end->code, code);
    }
}

// Goal:   a lost device's requests run once more elsewhere, and then fail with its loss.
static void loss_is_survived_once(void **state)
{
    bench_t *bench = *state;
    uint64_t batch = fill_behind(bench, 0);
    add_device(bench, 1);
    add_instance(bench, 1, 1);
    step(bench, (weir__core_event_t){
                    .kind = WEIR__EVENT_DEVICE_STATE, .device = 0, .state = WEIR__DEVICE_LOST});
    assert_null(find(bench, WEIR__ACTION_FINAL));
    const weir__core_action_t *again = find(bench, WEIR__ACTION_DISPATCH);
    assert_non_null(again);
    assert_int_equal(again->instance, 1);
    assert_non_null(find(bench, WEIR__ACTION_GONE));
    step(bench, done(batch, WEIR_OK, 1)); // the lost device answers after all: too late
    assert_null(find(bench, WEIR__ACTION_FINAL));
    step(bench, (weir__core_event_t){
                    .kind = WEIR__EVENT_DEVICE_STATE, .device = 1, .state = WEIR__DEVICE_LOST});
    const weir__core_action_t *end = find(bench, WEIR__ACTION_FINAL);
    assert_non_null(end);
    assert_int_equal(end->code, WEIR_DEVICE_LOST);
}

// Goal:   a batch that never ends makes its device suspect, then quarantined; its request ends.
static void hangs_are_noticed(void **state)
{
    bench_t *bench = *state;
    teach(bench);
    fill_behind(bench, 0);
    weir__device_state_t states[4];
    size_t told = 0;
    int ended = 0;
    for (int i = 0; i < 20 && !ended; i++) {
        bench->now_ns += 50 * MS;
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
        const weir__core_action_t *device = find(bench, WEIR__ACTION_DEVICE);
        if (device && told < 4)
            states[told++] = device->state;
        const weir__core_action_t *end = find(bench, WEIR__ACTION_FINAL);
        ended = end != NULL;
    }
    assert_int_equal(told, 2);
    assert_int_equal(states[0], WEIR__DEVICE_SUSPECT);
    assert_int_equal(states[1], WEIR__DEVICE_QUARANTINED);
    // No other device came: after stranded_ns it is told so.
    bench->now_ns += 6000 * MS;
    for (int i = 0; i < 3 && !ended; i++) {
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
        const weir__core_action_t *end = find(bench, WEIR__ACTION_FINAL);
        ended = end && end->code == WEIR_UNAVAILABLE;
    }
    assert_true(ended);
}

// Goal:   tickets: one in use is refused, a stale one is ignored, a cancelled one ends once.
static void tickets_are_told_apart(void **state)
{
    bench_t *bench = *state;
    fill_behind(bench, 1);
    step(bench, arrival(ticket(9, 1), WEIR__CORE_NEVER));
    assert_int_equal(find(bench, WEIR__ACTION_REFUSE)->why, WEIR__REFUSE_TICKET);
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_CANCEL, .ticket = ticket(7, 1)});
    assert_null(find(bench, WEIR__ACTION_FINAL));
    for (uint32_t i = 0; i < 2; i++) {
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_CANCEL, .ticket = ticket(1, 1)});
        assert_int_equal(find(bench, WEIR__ACTION_FINAL) != NULL, i == 0);
    }
    // The one that runs: its batch is stopped.
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_CANCEL, .ticket = ticket(1, 0)});
    assert_int_equal(find(bench, WEIR__ACTION_FINAL)->code, WEIR_CANCELLED);
    assert_non_null(find(bench, WEIR__ACTION_STOP));
}

// Goal:   a machine that has become so slow that every batch is stopped, its rows being late, is
//         known to be slow: requests that cannot be in time are refused.
static void stopped_batches_are_learned_from(void **state)
{
    bench_t *bench = *state;
    teach(bench);
    weir__core_curve_t before, after;
    assert_true(weir__core_curve(bench->core, 0, 1, 0, 0, 0, &before));
    int refused = 0;
    for (uint32_t i = 1; i < 20 && !refused; i++) { // it takes 6 ms instead of 2
        step(bench, arrival(ticket(i, 0), bench->now_ns + 3 * MS));
        refused = find(bench, WEIR__ACTION_REFUSE) != NULL;
        if (refused)
            break;
        uint64_t batch = find(bench, WEIR__ACTION_DISPATCH)->batch;
        bench->now_ns += 3 * MS;
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
        assert_non_null(find(bench, WEIR__ACTION_STOP));
        bench->now_ns += 3 * MS;
        step(bench, done(batch, WEIR_CANCELLED, 0));
        step(bench, idle(0));
    }
    assert_true(refused);
    assert_true(weir__core_curve(bench->core, 0, 1, 0, 0, 0, &after));
    assert_true(after.mean_ns[0] > before.mean_ns[0]);
    // One that was stopped early says nothing.
    bench->now_ns += 100 * MS;
    step(bench, arrival(ticket(99, 0), WEIR__CORE_NEVER));
    uint64_t batch = find(bench, WEIR__ACTION_DISPATCH)->batch;
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_CANCEL, .ticket = ticket(99, 0)});
    assert_true(weir__core_curve(bench->core, 0, 1, 0, 0, 0, &before));
    bench->now_ns += 1;
    step(bench, done(batch, WEIR_CANCELLED, 0));
    assert_true(weir__core_curve(bench->core, 0, 1, 0, 0, 0, &after));
    assert_memory_equal(&before, &after, sizeof before);
}

// Goal:   the drain refuses what comes, answers what is there, and says when it is over.
static void drain_ends(void **state)
{
    bench_t *bench = *state;
    uint64_t batch = fill_behind(bench, 2);
    step(bench,
        (weir__core_event_t){.kind = WEIR__EVENT_DRAIN, .deadline_ns = bench->now_ns + 100 * MS});
    step(bench, arrival(ticket(1, 9), WEIR__CORE_NEVER));
    assert_int_equal(find(bench, WEIR__ACTION_REFUSE)->code, WEIR_DRAINING);
    step(bench, done(batch, WEIR_OK, 1));
    step(bench, idle(0));
    batch = find(bench, WEIR__ACTION_DISPATCH)->batch;
    assert_null(find(bench, WEIR__ACTION_DRAINED));
    step(bench, done(batch, WEIR_OK, 2));
    assert_non_null(find(bench, WEIR__ACTION_DRAINED));
}

// Goal:   a removed version answers what it took, gives its instance back and can come again.
static void versions_go_quietly(void **state)
{
    bench_t *bench = *state;
    uint64_t batch = fill_behind(bench, 1);
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_MODEL_REMOVE, .version = 1});
    step(bench, arrival(ticket(1, 5), WEIR__CORE_NEVER));
    assert_int_equal(find(bench, WEIR__ACTION_REFUSE)->code, WEIR_NOT_FOUND);
    step(bench, done(batch, WEIR_OK, 1));
    step(bench, idle(0));
    batch = find(bench, WEIR__ACTION_DISPATCH)->batch;
    step(bench, done(batch, WEIR_OK, 1));
    assert_int_equal(find(bench, WEIR__ACTION_FINAL)->code, WEIR_OK);
    step(bench, idle(0));
    assert_non_null(find(bench, WEIR__ACTION_SCALE_DOWN));
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_REMOVE});
    assert_non_null(find(bench, WEIR__ACTION_GONE));
    assert_int_equal(step(bench,
                         (weir__core_event_t){
                             .kind = WEIR__EVENT_MODEL_ADD, .version = 1, .rows = 4, .count = 1}),
        WEIR_OK);
}

// What runs ends well; *runs is what leaves after it, if anything.
static void answer(bench_t *bench, weir__core_action_t *runs)
{
    bench->now_ns += 5 * MS;
    step(bench, done(runs->batch, WEIR_OK, runs->rows));
    step(bench, idle(0));
    const weir__core_action_t *next = find(bench, WEIR__ACTION_DISPATCH);
    *runs = next ? *next : (weir__core_action_t){.batch = 0};
}

// Goal:   instances are asked for when the delay stays too long, and given back when idle for long.
static void instances_follow_the_load(void **state)
{
    bench_t *bench = *state;
    teach(bench);
    int up = 0, down = 0;
    step(bench, arrival(ticket(1, 31), WEIR__CORE_NEVER));
    weir__core_action_t runs = *find(bench, WEIR__ACTION_DISPATCH);
    for (uint32_t round = 0; round < 100; round++) { // three times what it can do
        for (uint32_t i = 0; i < 15; i++) {
            step(bench, arrival(ticket(round + 2, i + round % 2 * 16), bench->now_ns + 30 * MS));
            up += find(bench, WEIR__ACTION_SCALE_UP) != NULL;
        }
        answer(bench, &runs);
    }
    assert_in_range(up, 1, 2);
    while (runs.batch)
        answer(bench, &runs);
    add_instance(bench, 1, 0);
    for (uint32_t i = 0; i < 30; i++) {
        bench->now_ns += 1000 * MS;
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
        down += find(bench, WEIR__ACTION_SCALE_DOWN) != NULL;
    }
    assert_int_equal(down, 1);
}

// Goal:   a batch that is larger than any before is given time for all its rows: a model that takes
//         200 ms a row is not taken for a device that hangs.
static void larger_batches_have_time(void **state)
{
    bench_t *bench = *state;
    uint64_t batch = fill_behind(bench, 5);
    bench->now_ns += 200 * MS;
    step(bench, done(batch, WEIR_OK, 1));
    step(bench, idle(0));
    const weir__core_action_t *next = find(bench, WEIR__ACTION_DISPATCH);
    assert_non_null(next);
    assert_int_equal(next->rows, 4);
    batch = next->batch;
    bench->now_ns += 3000 * MS; // 8 times what one row took would be over
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
    assert_null(find(bench, WEIR__ACTION_DEVICE));
    bench->now_ns += 5000 * MS; // and 8 times what four could take
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_TIMER});
    const weir__core_action_t *device = find(bench, WEIR__ACTION_DEVICE);
    assert_non_null(device);
    assert_int_equal(device->state, WEIR__DEVICE_SUSPECT);
    step(bench, done(batch, WEIR_OK, 4));
}

static const weir__core_action_t *ask(bench_t *bench, uint32_t model, uint32_t index)
{
    weir__core_event_t event = arrival(ticket(1, index), WEIR__CORE_NEVER);
    event.model = model;
    step(bench, event);
    return find(bench, WEIR__ACTION_DISPATCH);
}

static void add_to_team(
    bench_t *bench, uint32_t instance, uint32_t model, uint32_t device, uint32_t team)
{
    assert_int_equal(step(bench, (weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_ADD,
                                     .instance = instance,
                                     .model = model,
                                     .version = 1,
                                     .device = device,
                                     .count = team}),
        WEIR_OK);
    assert_int_equal(step(bench, idle(instance)), WEIR_OK);
}

// Goal:   of instances that are equally fast, the one is taken whose team has less to do, whichever
//         model gave it that; a batch that ends, or is lost, does not count any more.
// Method: two models with an instance on each of two teams.
static void the_freer_team_is_taken(void **state)
{
    bench_t *bench = *state;
    step(bench, (weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                    .device = 1,
                    .state = WEIR__DEVICE_HEALTHY,
                    .count = 4});
    for (uint32_t model = 1; model <= 2; model++) {
        step(bench, (weir__core_event_t){.kind = WEIR__EVENT_MODEL_ADD,
                        .model = model,
                        .version = 1,
                        .rows = 1,
                        .count = 2});
        add_to_team(bench, 2 * model - 1, model, 1, 1);
        add_to_team(bench, 2 * model, model, 1, 2);
    }
    const weir__core_action_t *first = ask(bench, 1, 0);
    assert_non_null(first);
    assert_int_equal(first->instance, 1);
    uint64_t batch = first->batch;
    const weir__core_action_t *second = ask(bench, 2, 1);
    assert_non_null(second);
    assert_int_equal(second->instance, 4); // the first model's batch is on team 1
    bench->now_ns += MS;
    step(bench, done(batch, WEIR_OK, 1));
    step(bench, idle(1));
    const weir__core_action_t *third = ask(bench, 2, 2);
    assert_non_null(third);
    assert_int_equal(third->instance, 3); // its other one runs
    step(bench, done(third->batch, WEIR_OK, 1));
    step(bench, (weir__core_event_t){
                    .kind = WEIR__EVENT_DEVICE_STATE, .device = 1, .state = WEIR__DEVICE_LOST});
    add_to_team(bench, 5, 1, 0, 2);
    add_to_team(bench, 6, 1, 0, 1);
    const weir__core_action_t *fourth = ask(bench, 1, 3);
    assert_non_null(fourth);
    assert_int_equal(fourth->instance, 5); // nothing runs on either
    assert_int_equal(step(bench, (weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_ADD,
                                     .instance = 7,
                                     .model = 1,
                                     .version = 1,
                                     .count = WEIR__CORE_TEAM_COUNT}),
        WEIR_INVALID_ARGUMENT);
}

// Goal:   the more urgent priority goes first, but one that has waited for longer than the handicap
// goes before. Method: the model takes one row at a time, so the order of the batches is the order
// of the rows.
static void priorities_age(void **state)
{
    bench_t *bench = *state;
    step(
        bench, (weir__core_event_t){
                   .kind = WEIR__EVENT_MODEL_ADD, .model = 1, .version = 1, .rows = 1, .count = 1});
    step(bench, (weir__core_event_t){
                    .kind = WEIR__EVENT_INSTANCE_ADD, .instance = 1, .model = 1, .version = 1});
    step(bench, idle(1));
    const uint64_t after_ms[] = {0, 1, 0, 70}; // since the one before; the handicap is 50 ms
    const uint32_t priorities[] = {0, 1, 0, 0};
    const uint32_t order[] = {0, 2, 1, 3};
    weir__core_action_t runs = {.batch = 0};
    for (uint32_t i = 0; i < 4; i++) {
        weir__core_event_t event = arrival(ticket(1, i), WEIR__CORE_NEVER);
        event.model = 1;
        event.priority = priorities[i];
        bench->now_ns += after_ms[i] * MS;
        step(bench, event);
        if (i == 0)
            runs = *find(bench, WEIR__ACTION_DISPATCH);
    }
    for (uint32_t i = 0; i < 4; i++) {
        uint64_t which = 0;
        assert_int_equal(weir__core_batch(bench->core, runs.instance, &which, 1), 1);
        assert_int_equal(which, ticket(1, order[i]));
        step(bench, done(runs.batch, WEIR_OK, 1));
        step(bench, idle(1));
        if (i < 3)
            runs = *find(bench, WEIR__ACTION_DISPATCH);
    }
}

// Goal:   however small the caller's array is, everything is told in the end.
static void actions_are_bounded(void **state)
{
    bench_t *bench = *state;
    fill_behind(bench, 26);
    size_t ended = 0;
    weir__core_event_t event = {.kind = WEIR__EVENT_DRAIN, .deadline_ns = bench->now_ns};
    assert_int_equal(weir__core_step(bench->core, &event, bench->now_ns, bench->actions,
                         WEIR__CORE_ACTION_COUNT_MIN - 1, &bench->count),
        WEIR_INVALID_ARGUMENT);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(weir__core_step(bench->core, &event, bench->now_ns, bench->actions,
                             WEIR__CORE_ACTION_COUNT_MIN, &bench->count),
            WEIR_OK);
        assert_true(bench->count <= WEIR__CORE_ACTION_COUNT_MIN);
        for (size_t j = 0; j < bench->count; j++)
            ended += bench->actions[j].kind == WEIR__ACTION_FINAL;
        event.kind = WEIR__EVENT_TIMER;
    }
    assert_int_equal(ended, 27);
}

// Goal:   events that make no sense do no harm, and the bounds hold.
// Method: random kinds with random fields, small numbers mostly; the sanitizers watch. An event
// that is refused
//         must give no FINAL that an accepted request does not have.
static void nonsense_does_no_harm(void **state)
{
    bench_t *bench = *state;
    sim_random_t random = {7};
    uint64_t admitted = 0, ended = 0, dispatched = 0, last_batch = 0;
    for (uint32_t i = 0; i < 200000; i++) {
        // Drawn before they are used: an initialiser has no order.
        uint32_t fields[12], wild[4];
        uint64_t wide[3];
        for (size_t j = 0; j < 12; j++)
            fields[j] = sim_random_permille(&random, 20) ? (uint32_t)sim_random_next(&random)
                                                         : sim_random_below(&random, 4);
        for (size_t j = 0; j < 3; j++)
            wide[j] = sim_random_next(&random) >> sim_random_below(&random, 64);
        for (size_t j = 0; j < 4; j++)
            wild[j] = (uint32_t)sim_random_next(&random);
        weir__core_event_t event = {
            .kind = (weir__core_event_kind_t)(wild[0] % WEIR__EVENT_DRAIN),
            .ticket = ticket(wild[1] % 1000, wild[2] % 34),
            .batch = wild[3] % 2 ? last_batch : wide[0],
            .deadline_ns = wild[3] & 2 ? bench->now_ns + fields[0] * MS : wide[1],
            .bytes = fields[1],
            .elapsed_ns = wide[2],
            .model = fields[2],
            .version = fields[3] % 3,
            .dtype = fields[4] % 2,
            .shape = fields[5],
            .tenant = fields[6],
            .priority = fields[7],
            .rows = fields[8],
            .count = fields[9] + 1,
            .instance = fields[10],
            .device = fields[11],
            .state = (weir__device_state_t)(wild[3] >> 8 & 7),
            .code = (weir_code_t)(wild[3] & 0x30000 ? 0 : fields[1] % 14),
            .idle = fields[2] % 2,
            .once = fields[3] % 2,
        };
        static const weir__core_event_kind_t usual[] = {WEIR__EVENT_ARRIVAL,
            WEIR__EVENT_INSTANCE_IDLE, WEIR__EVENT_BATCH_DONE, WEIR__EVENT_INSTANCE_ADD,
            WEIR__EVENT_MODEL_ADD};
        if (sim_random_below(&random, 8))
            event.kind = usual[sim_random_below(&random, 5)];
        if (i % 16 == 0) { // devices come back, else nothing could be taken
            event.kind = WEIR__EVENT_DEVICE_STATE;
            event.device = i / 16 % 2;
            event.state = WEIR__DEVICE_HEALTHY;
        }
        if (event.kind == WEIR__EVENT_MODEL_ADD)
            event.model %= 4; // their number is bounded, and few of them are removed
        if (event.kind == WEIR__EVENT_LIMITS) { // nor then
            event.count = 32;
            event.bytes = 1 << 20;
        }
        bench->now_ns += sim_random_next(&random) >> (36 + sim_random_below(&random, 28));
        step(bench, event);
        assert_true(bench->count <= ACTION_COUNT);
        for (size_t j = 0; j < bench->count; j++) {
            admitted += bench->actions[j].kind == WEIR__ACTION_ADMIT;
            ended += bench->actions[j].kind == WEIR__ACTION_FINAL;
            if (bench->actions[j].kind != WEIR__ACTION_DISPATCH)
                continue;
            dispatched++;
            last_batch = bench->actions[j].batch;
        }
        assert_true(ended <= admitted && admitted - ended <= 32);
    }
    assert_true(dispatched > 1000);
}

// Goal: batches that are filled up are predicted as what they are run as: one of 31 rows as one
// of 32.
static void row_steps(void **state)
{
    (void)state;
    static const uint32_t steps[] = {
        1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16, 18, 18, 19};
    for (uint32_t rows = 1; rows <= 19; rows++)
        assert_int_equal(weir__core_row_step(rows, 19), steps[rows - 1]);
    assert_int_equal(weir__core_row_step(25, 32), 26);
    assert_int_equal(weir__core_row_step(1023, 1024), 1024);
    assert_int_equal(weir__core_row_step(33, 32), 36); // above the most: as it is
    assert_int_equal(weir__core_row_step(65, 128), 72);
    assert_int_equal(weir__core_row_step(65, 129), 96);
    assert_int_equal(weir__core_row_step(65, 1024), 96);
    // As many sizes as the engine keeps shapes of one plan.
    for (uint32_t most = 1; most <= WEIR__CORE_BATCH_ROWS_MAX; most++) {
        uint32_t count = 0;
        for (uint32_t rows = 0; rows < most; count++)
            rows = weir__core_row_step(rows + 1, most);
        assert_true(count <= 32);
    }
    weir__curve_t curve = {.step_rows = 32};
    for (int i = 0; i < 100; i++) {
        weir__curve_learn(&curve, 31, 10000); // 32
        weir__curve_learn(&curve, 13, 6000);  // 16
    }
    assert_int_equal(weir__curve_mean(&curve, 32), weir__curve_mean(&curve, 31));
    assert_in_range(weir__curve_mean(&curve, 32), 9900, 10100);
    assert_in_range(weir__curve_mean(&curve, 16), 5900, 6100);
    assert_in_range(weir__curve_mean(&curve, 17), 6400, 6600); // 18
    const uint64_t slack = weir__curve_p95(&curve, 24);
    assert_int_equal(weir__curve_rows_within(&curve, 32, slack), 24);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curve_learns),
        cmocka_unit_test(curve_has_a_tail),
        cmocka_unit_test(row_steps),
        cmocka_unit_test(limits_are_checked),
        cmocka_unit_test_setup_teardown(batches_leave, setup, teardown),
        cmocka_unit_test_setup_teardown(waiting_ends_in_time, setup, teardown),
        cmocka_unit_test_setup_teardown(deadlines_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(a_bad_request_fails_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(loss_is_survived_once, setup, teardown),
        cmocka_unit_test_setup_teardown(hangs_are_noticed, setup, teardown),
        cmocka_unit_test_setup_teardown(tickets_are_told_apart, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_batches_are_learned_from, setup, teardown),
        cmocka_unit_test_setup_teardown(drain_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(versions_go_quietly, setup, teardown),
        cmocka_unit_test_setup_teardown(instances_follow_the_load, setup, teardown),
        cmocka_unit_test_setup_teardown(the_freer_team_is_taken, setup, teardown),
        cmocka_unit_test_setup_teardown(larger_batches_have_time, setup, teardown),
        cmocka_unit_test_setup_teardown(priorities_age, setup, teardown),
        cmocka_unit_test_setup_teardown(nonsense_does_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(actions_are_bounded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
