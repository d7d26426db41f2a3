// Added latency of one outstanding request on an identity model: inline, through loop and worker,
// with a brief spin; beside the floor of as many hops with the same placement.
//
// Turns of each kind alternate, so that a machine that becomes busy does so for all of them; the
// figure is the median of the turns' medians.
#include <string.h>

#include "benchmarks/serving/serving.h"

enum { TURNS = 7, RUNS = 1000, INLINE_RUNS = 10000, SPIN_NS = 100000 };

typedef struct lone {
    serving_world_t world;
    float x[SERVING_COLUMNS], y[SERVING_COLUMNS];
    serving_gate_t gate;
    weir_request_t request;
    weir_value_t input, output;
    bool is_waited; // by weir_wait(), which spins where the scheduler does; else by the gate
} lone_t;

static void on_event(const weir_event_t *event, void *user_data)
{
    lone_t *it = user_data;
    serving_need(event->status);
    serving_gate_open(&it->gate);
}

static void open_lone(
    lone_t *it, weir_batching_t batching, uint64_t spin_ns, uint32_t flags, serving_place_t others)
{
    const weir_scheduler_options_t scheduling = {.size = sizeof(scheduling), .spin_ns = spin_ns};
    const weir_serving_options_t serving = {
        .size = sizeof(serving), .batching = batching, .warm_rows = UINT32_MAX};
    *it = (lone_t){.is_waited = spin_ns > 0,
        .request = {.size = sizeof(it->request),
            .flags = flags,
            .model = "m",
            .inputs = &it->input,
            .outputs = &it->output,
            .input_count = 1,
            .output_count = 1}};
    serving_pin(others); // its threads; the client chooses its own place later
    serving_open(&it->world, "Identity", 1, NULL, &scheduling, &serving);
    serving_pin(SERVING_ALL);
    it->input = weir_f32(it->x, 2, 1, SERVING_COLUMNS);
}

static void ask(lone_t *it)
{
    weir_ticket_t ticket;
    if (it->is_waited) {
        serving_need(weir_submit(it->world.scheduler, &it->request, &ticket, NULL, NULL));
        serving_need(weir_wait(it->world.scheduler, ticket, 0, NULL));
    } else {
        serving_need(weir_submit(it->world.scheduler, &it->request, NULL, on_event, it));
        serving_gate_wait(&it->gate);
    }
}

// The median of `count` requests, each from the submission to the thread that waited having it.
static uint64_t time_requests(lone_t *it, uint32_t count)
{
    static uint64_t times_ns[INLINE_RUNS];
    for (uint32_t i = 0; i < count; i++) {
        it->x[0] = (float)i;
        it->output = weir_f32_out(it->y, SERVING_COLUMNS);
        const uint64_t start_ns = serving_now_ns();
        ask(it);
        times_ns[i] = serving_now_ns() - start_ns;
        if (memcmp(it->x, it->y, sizeof(it->x)) != 0)
            (void)fputs("a wrong answer\n", stderr);
    }
    return serving_percentile(times_ns, count, 500);
}

// A run without a scheduler.
static uint64_t time_runs(lone_t *it)
{
    static uint64_t times_ns[INLINE_RUNS];
    for (uint32_t i = 0; i < INLINE_RUNS; i++) {
        it->output = weir_f32_out(it->y, SERVING_COLUMNS);
        const uint64_t start_ns = serving_now_ns();
        serving_need(weir_session_run(it->world.session, NULL, 1, &it->input, 1, &it->output));
        times_ns[i] = serving_now_ns() - start_ns;
    }
    return serving_percentile(times_ns, INLINE_RUNS, 500);
}

static void added_inline(serving_t *bench)
{
    lone_t it;
    uint64_t run_ns[TURNS], added_ns[TURNS];
    open_lone(&it, WEIR_BATCHING_AUTO, 0, WEIR_REQUEST_INLINE, SERVING_ALL);
    for (int i = 0; i < TURNS; i++) {
        run_ns[i] = time_runs(&it);
        const uint64_t request_ns = time_requests(&it, INLINE_RUNS);
        added_ns[i] = request_ns > run_ns[i] ? request_ns - run_ns[i] : 0;
    }
    serving_row(bench, "added latency", "a run without scheduler",
        (double)serving_percentile(run_ns, TURNS, 500) / 1e3, "us", SERVING_NONE, 0);
    serving_row(bench, "added latency", "inline, beside that",
        (double)serving_percentile(added_ns, TURNS, 500) / 1e3, "us", SERVING_AT_MOST, 1);
    serving_close(&it.world);
}

typedef struct place {
    const char *name;
    serving_place_t client, others;
} place_t;

static void added_loop(serving_t *bench, const place_t *place, uint64_t spin_ns)
{
    static const weir_batching_t kinds[] = {WEIR_BATCHING_OFF, WEIR_BATCHING_ON};
    static const char *const names[] = {"unbatched", "batched"};
    lone_t its[2];
    uint64_t floor_ns[TURNS], request_ns[2][TURNS];
    for (int k = 0; k < 2; k++)
        open_lone(&its[k], kinds[k], spin_ns, 0, place->others);
    for (int i = 0; i < TURNS; i++) {
        floor_ns[i] = serving_floor_ns(4, RUNS, place->client, place->others);
        serving_pin(place->client);
        for (int k = 0; k < 2; k++)
            request_ns[k][i] = time_requests(&its[k], RUNS);
        serving_pin(SERVING_ALL);
    }
    const double floor_us = (double)serving_percentile(floor_ns, TURNS, 500) / 1e3;
    char figure[64];
    (void)snprintf(figure, sizeof(figure), "floor of 4 hops, %s", place->name);
    serving_row(bench, "added latency", figure, floor_us, "us", SERVING_NONE, 0);
    for (int k = 0; k < 2; k++) {
        const double us = (double)serving_percentile(request_ns[k], TURNS, 500) / 1e3;
        (void)snprintf(
            figure, sizeof(figure), "%s%s, %s", names[k], spin_ns ? ", all spin" : "", place->name);
        serving_row(bench, "added latency", figure, us, "us", SERVING_AT_MOST,
            spin_ns ? 3 : floor_us + 1 + k);
        serving_close(&its[k].world);
    }
}

// Two CPUs: the submitter on one, loop and worker on the other.
void serving_latency(serving_t *bench)
{
    static const place_t one = {"one CPU", SERVING_FIRST, SERVING_FIRST},
                         two = {"two CPUs", SERVING_FIRST, SERVING_SECOND},
                         any = {"anywhere", SERVING_ALL, SERVING_ALL};
    serving_row(bench, "floor", "futex round trip, one CPU",
        (double)serving_floor_ns(2, RUNS, one.client, one.others) / 1e3, "us", SERVING_NONE, 0);
    added_loop(bench, &one, 0);
    if (serving_has_two()) {
        serving_row(bench, "floor", "futex round trip, two CPUs",
            (double)serving_floor_ns(2, RUNS, two.client, two.others) / 1e3, "us", SERVING_NONE, 0);
        added_loop(bench, &two, 0);
    }
    added_loop(bench, &any, 0);
    added_loop(bench, &any, SPIN_NS);
    if (serving_has_two())
        added_loop(bench, &two, SPIN_NS);
    added_loop(bench, &one, SPIN_NS);
    added_inline(bench);
}
