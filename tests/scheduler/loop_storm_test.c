// tests/scheduler/loop_storm_test.c: many submitters, random rows, cancels and deadlines.
//
// Goal:   each accepted request has exactly one FINAL, an answer is that of a run alone, bit by
//         bit, and when everything has been met once no request allocates.
// Method: threads with their own random numbers keep some requests in flight each; a callback
//         compares the bytes with those of a single run and counts. malloc is counted (but under a
//         sanitizer, which has replaced it). The number of requests is the first argument.
#include "tests/scheduler/loop_world.h"

#include "tests/support/count_malloc.h"
#include <pthread.h>

enum { SUBMITTERS = 3, DEPTH = 48, ROWS_MAX = 4, KINDS = 64 };

static long request_count = 100000;

// What a request of a kind is and what it must answer.
static float inputs[KINDS][ROWS_MAX * WORLD_IN];
static float answers[KINDS][ROWS_MAX * WORLD_OUT];

typedef struct call {
    struct submitter *from;
    weir_value_t in, out;
    float y[ROWS_MAX * WORLD_OUT];
    uint32_t kind, rows;
    uint64_t deadline_ns;
    atomic_int busy;
} call_t;

typedef struct submitter {
    world_t *world;
    pthread_t thread;
    uint64_t random;
    long submitted, refused, goal;
    bool calm; // no deadlines, no cancels
    atomic_long finals, answered, wrong, twice, late, failed, cancelled;
    call_t calls[DEPTH];
} submitter_t;

static uint64_t draw(submitter_t *it)
{
    it->random ^= it->random << 13;
    it->random ^= it->random >> 7;
    it->random ^= it->random << 17;
    return it->random >> 11;
}

static void on_event(const weir_event_t *event, void *user_data)
{
    call_t *call = user_data;
    submitter_t *from = call->from;
    if (event->kind != WEIR_EVENT_FINAL)
        return;
    atomic_fetch_add(&from->finals, 1);
    switch (weir_status_code(event->status)) {
    case WEIR_OK:
        atomic_fetch_add(&from->answered, 1);
        if (memcmp(call->y, answers[call->kind], call->rows * WORLD_OUT * sizeof(float)) != 0 ||
            call->out.dims[0] != call->rows || call->out.rank != 2 ||
            event->receipt.batch_size < call->rows)
            atomic_fetch_add(&from->wrong, 1);
        break;
    case WEIR_CANCELLED:
        atomic_fetch_add(&from->cancelled, 1);
        break;
    case WEIR_DEADLINE_EXCEEDED:
    case WEIR_INFEASIBLE:
        atomic_fetch_add(&from->late, 1);
        break;
    default:
        atomic_fetch_add(&from->failed, 1);
    }
    if (!atomic_exchange(&call->busy, 0))
        atomic_fetch_add(&from->twice, 1);
}

static void submit_one(submitter_t *it, call_t *call)
{
    call->from = it;
    call->kind = (uint32_t)(draw(it) % KINDS);
    call->rows = 1 + call->kind % ROWS_MAX;
    call->in = weir_f32(inputs[call->kind], 2, call->rows, WORLD_IN);
    call->out = weir_f32_out(call->y, ROWS_MAX * WORLD_OUT);
    memset(call->y, 0xff, sizeof call->y);
    weir_request_t request = {.size = sizeof request,
        .model = draw(it) % 2 ? "rows" : "rows@^1",
        .inputs = &call->in,
        .outputs = &call->out,
        .input_count = 1,
        .output_count = 1,
        .priority = (uint32_t)(draw(it) % 3),
        .flags = draw(it) % 8 == 0 ? WEIR_REQUEST_INLINE : 0};
    if (!it->calm && draw(it) % 4 == 0)
        request.deadline_ns = weir_now_ns() + draw(it) % (2 * WEIR_MS) + 1;
    weir_ticket_t ticket;
    atomic_store(&call->busy, 1);
    weir_status_t status = weir_submit(it->world->scheduler, &request, &ticket, on_event, call);
    it->submitted++;
    if (status) {
        atomic_store(&call->busy, 0);
        it->refused++;
        weir_status_free(status);
        return;
    }
    if (!it->calm && draw(it) % 8 == 0)
        weir_cancel(it->world->scheduler, ticket);
    if (!it->calm && draw(it) % 64 == 0)
        weir_cancel(it->world->scheduler, ticket + ((uint64_t)1 << 32)); // nobody's
}

static void *run_submitter(void *user_data)
{
    submitter_t *it = user_data;
    while (it->submitted < it->goal)
        for (uint32_t i = 0; i < DEPTH && it->submitted < it->goal; i++)
            if (!atomic_load(&it->calls[i].busy))
                submit_one(it, &it->calls[i]);
    return NULL;
}

static void make_answers(world_t *world)
{
    for (uint32_t k = 0; k < KINDS; k++) {
        uint32_t rows = 1 + k % ROWS_MAX;
        for (uint32_t i = 0; i < rows * WORLD_IN; i++)
            inputs[k][i] = (float)((k * 131 + i * 71) % 257) / 64 - 2;
        weir_value_t in = weir_f32(inputs[k], 2, rows, WORLD_IN);
        weir_value_t out = weir_f32_out(answers[k], ROWS_MAX * WORLD_OUT);
        expect_ok(weir_session_run(world->session, NULL, 1, &in, 1, &out));
    }
}

static void storm(world_t *world, submitter_t *submitters, long goal, bool calm, uint64_t seed)
{
    for (uint32_t s = 0; s < SUBMITTERS; s++) {
        submitter_t *it = &submitters[s];
        memset(it, 0, sizeof *it);
        it->world = world;
        it->goal = goal / SUBMITTERS;
        it->calm = calm;
        it->random = seed * 7919 + s + 1;
        assert_int_equal(0, pthread_create(&it->thread, NULL, run_submitter, it));
    }
    for (uint32_t s = 0; s < SUBMITTERS; s++)
        pthread_join(submitters[s].thread, NULL);
    for (uint32_t s = 0; s < SUBMITTERS; s++)
        for (uint32_t i = 0; i < DEPTH; i++)
            while (atomic_load(&submitters[s].calls[i].busy))
                sched_yield();
}

static void check_counts(const submitter_t *submitters)
{
    for (uint32_t s = 0; s < SUBMITTERS; s++) {
        const submitter_t *it = &submitters[s];
        assert_int_equal(atomic_load(&it->wrong), 0);
        assert_int_equal(atomic_load(&it->twice), 0);
        assert_int_equal(atomic_load(&it->failed), 0);
        assert_int_equal(atomic_load(&it->finals), it->submitted - it->refused);
        assert_int_equal(atomic_load(&it->finals),
            atomic_load(&it->answered) + atomic_load(&it->late) + atomic_load(&it->cancelled));
    }
}

static submitter_t submitters[SUBMITTERS];

static void every_request_ends_once(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, rows_graph(), NULL);
    make_answers(&world);
    world_add(&world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                          .max_batch = 16,
                          .instances_min = 2,
                          .warm_rows = UINT32_MAX});
    weir_served_t served = {.size = sizeof served};
    assert_int_equal(1, weir_scheduler_served(world.scheduler, 0, &served));
    assert_string_equal(served.batching, "rows are independent");
    storm(&world, submitters, request_count, false, 1);
    check_counts(submitters);
    long answered = 0, ended_otherwise = 0;
    for (uint32_t s = 0; s < SUBMITTERS; s++) {
        answered += atomic_load(&submitters[s].answered);
        ended_otherwise += atomic_load(&submitters[s].late) + atomic_load(&submitters[s].cancelled);
    }
    // All ways out were taken, and most requests were answered.
    assert_true(answered > request_count / 2);
    assert_true(ended_otherwise > request_count / 100);
    weir_scheduler_info_t info = {.size = sizeof info};
    weir_scheduler_describe(world.scheduler, &info);
    assert_int_equal(info.in_flight, 0);
    assert_int_equal(info.ended, info.accepted);
    printf("%ld requests: %ld answered, %ld late or cancelled; %.2f rows a batch, %llu inline\n",
        request_count, answered, ended_otherwise, (double)info.batch_rows / (double)info.batches,
        (unsigned long long)info.inline_runs);
    world_close(&world);
}

static void no_request_allocates(void **state)
{
    (void)state;
    if (!COUNTS_MALLOC)
        skip();
    world_t world;
    world_open(&world, rows_graph(), NULL);
    make_answers(&world);
    world_add(
        &world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t), .max_batch = 16});
    // Until nothing new is met in a whole round; then one more.
    long before = -1, rounds = 0;
    while (before != 0 && rounds++ < 20) {
        long start = atomic_load(&mallocs);
        storm(&world, submitters, 20000, true, 3);
        before = atomic_load(&mallocs) - start - 0;
        // What threads cost is not a request's: the storm starts as many each time.
        if (before <= SUBMITTERS * 2)
            before = 0;
    }
    assert_int_equal(before, 0);
    check_counts(submitters);
    world_close(&world);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        request_count = atol(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_request_ends_once),
        cmocka_unit_test(no_request_allocates),
    };
    return cmocka_run_group_tests_name("loop_storm", tests, NULL, NULL);
}
