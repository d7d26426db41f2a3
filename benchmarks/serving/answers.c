// How soon a cancelled or refused request is answered, and what an idle scheduler costs.
#include <stdlib.h>
#include <string.h>

#include "benchmarks/serving/serving.h"

enum { TRIES = 100, FLOOR_TURNS = 500, QUEUE = 64, CHAIN = 40, SECOND_NS = 1000000000 };

typedef struct call {
    serving_gate_t gate;
    float x[SERVING_COLUMNS], y[SERVING_COLUMNS];
    weir_value_t input, output;
    weir_ticket_t ticket;
    uint64_t done_ns;
    weir_code_t code;
    uint32_t left;
    bool is_ended;
} call_t;

static void on_event(const weir_event_t *event, void *user_data)
{
    call_t *call = user_data;
    call->done_ns = serving_now_ns();
    call->code = weir_status_code(event->status);
    call->left = event->receipt.left;
    serving_gate_open(&call->gate);
}

static weir_status_t submit(serving_world_t *world, call_t *call, uint64_t deadline_ns)
{
    *call = (call_t){.x = {1}};
    call->input = weir_f32(call->x, 2, 1, SERVING_COLUMNS);
    call->output = weir_f32_out(call->y, SERVING_COLUMNS);
    weir_request_t request = {.size = sizeof(request),
        .model = "m",
        .inputs = &call->input,
        .outputs = &call->output,
        .input_count = 1,
        .output_count = 1,
        .deadline_ns = deadline_ns};
    return weir_submit(world->scheduler, &request, &call->ticket, on_event, call);
}

static void open_pace(
    const serving_t *bench, serving_world_t *world, int node_count, uint32_t requests)
{
    const weir_scheduler_options_t scheduling = {.size = sizeof(scheduling), .requests = requests};
    const float row[SERVING_COLUMNS] = {1};
    const weir_value_t sample = weir_f32(row, 2, 1, SERVING_COLUMNS);
    const weir_serving_options_t serving = {.size = sizeof(serving),
        .max_batch = 1,
        .devices = "pace",
        .warm_rows = 1,
        .sample = &sample};
    serving_open(world, "Cos", node_count, bench->pace, &scheduling, &serving);
}

static double microseconds(uint64_t *times_ns, size_t count, uint32_t permille)
{
    return (double)serving_percentile(times_ns, count, permille) / 1e3;
}

// The second of two requests of an unbatched model waits; then it is cancelled.
static void cancel_queued(serving_t *bench)
{
    serving_world_t world;
    static call_t first, second;
    uint64_t times_ns[TRIES];
    uint32_t executed = 0, count = 0;
    open_pace(bench, &world, 1, 0);
    for (int i = 0; i < TRIES; i++) {
        serving_need(submit(&world, &first, 0));
        serving_need(submit(&world, &second, 0));
        serving_sleep_until(serving_now_ns() + WEIR_MS / 2);
        const uint64_t start_ns = serving_now_ns();
        weir_cancel(world.scheduler, second.ticket);
        serving_gate_wait(&second.gate);
        const uint64_t ns = serving_now_ns() - start_ns;
        serving_gate_wait(&first.gate);
        if (first.done_ns < second.done_ns)
            continue; // this thread was late: the second was not waiting any more
        times_ns[count++] = ns;
        executed += second.code != WEIR_CANCELLED || second.left != WEIR_LEFT_NEVER;
    }
    serving_close(&world);
    const double floor_us =
        (double)serving_floor_ns(2, FLOOR_TURNS, SERVING_ALL, SERVING_ALL) / 1e3;
    serving_row(bench, "cancel, queued", "floor: a round trip", floor_us, "us", SERVING_NONE, 0);
    serving_row(bench, "cancel, queued", "answered after, p50", microseconds(times_ns, count, 500),
        "us", SERVING_AT_MOST, floor_us + 20);
    serving_row(
        bench, "cancel, queued", "p99", microseconds(times_ns, count, 990), "us", SERVING_NONE, 0);
    serving_row(bench, "cancel, queued", "executed all the same", executed, "", SERVING_AT_MOST, 0);
}

// A run of CHAIN operators of 2.25 ms each, cancelled on its way. How soon its instance is free
// again is seen from a request behind it, which runs its whole chain.
static void cancel_running(serving_t *bench)
{
    enum { FEW = TRIES / 10 };
    serving_world_t world;
    static call_t call, next;
    uint64_t chain_ns[FEW], times_ns[FEW], behind_ns[FEW];
    open_pace(bench, &world, CHAIN, 0);
    for (int i = 0; i < FEW; i++) {
        uint64_t start_ns = serving_now_ns();
        serving_need(submit(&world, &call, 0));
        serving_gate_wait(&call.gate);
        chain_ns[i] = call.done_ns - start_ns;
        serving_need(submit(&world, &call, 0));
        serving_sleep_until(serving_now_ns() + 20 * WEIR_MS);
        start_ns = serving_now_ns();
        weir_cancel(world.scheduler, call.ticket);
        serving_gate_wait(&call.gate);
        times_ns[i] = call.done_ns - start_ns;
        serving_need(submit(&world, &next, 0));
        serving_gate_wait(&next.gate);
        behind_ns[i] = next.done_ns - start_ns;
    }
    serving_close(&world);
    const double operator_us = microseconds(chain_ns, FEW, 500) / CHAIN;
    serving_row(bench, "cancel, running", "an operator", operator_us, "us", SERVING_NONE, 0);
    serving_row(bench, "cancel, running", "answered after, p50", microseconds(times_ns, FEW, 500),
        "us", SERVING_NONE, 0);
    serving_row(bench, "cancel, running", "operators until it is free",
        microseconds(behind_ns, FEW, 500) / operator_us - CHAIN, "", SERVING_AT_MOST, 1.1);
}

void serving_cancel(serving_t *bench)
{
    cancel_queued(bench);
    cancel_running(bench);
}

// A full queue, and deadlines that cannot be met.
void serving_refusal(serving_t *bench)
{
    serving_world_t world;
    static call_t queue[QUEUE], call;
    uint64_t full_ns[TRIES], late_ns[TRIES];
    uint32_t full_count = 0, late_count = 0;
    open_pace(bench, &world, 1, QUEUE);
    for (int i = 0; i < QUEUE; i++)
        serving_need(submit(&world, &queue[i], 0));
    for (int i = 0; i < TRIES; i++) {
        const uint64_t start_ns = serving_now_ns();
        weir_status_t status = submit(&world, &call, 0);
        full_ns[full_count] = serving_now_ns() - start_ns;
        if (!status) // one had been answered meanwhile
            serving_gate_wait(&call.gate);
        full_count += status != NULL;
        weir_status_free(status);
    }
    for (int i = 0; i < QUEUE; i++)
        serving_gate_wait(&queue[i].gate);
    for (int i = 0; i < TRIES; i++) {
        serving_need(submit(&world, &queue[0], 0));
        serving_need(submit(&world, &queue[1], 0));
        serving_sleep_until(serving_now_ns() + WEIR_MS / 2);
        const uint64_t start_ns = serving_now_ns();
        // Two before it take 4 ms more; it has two.
        weir_status_t status = submit(&world, &call, start_ns + 2 * WEIR_MS);
        if (!status)
            serving_gate_wait(&call.gate);
        late_ns[late_count] = serving_now_ns() - start_ns;
        late_count += status || call.code == WEIR_INFEASIBLE;
        weir_status_free(status);
        serving_gate_wait(&queue[0].gate);
        serving_gate_wait(&queue[1].gate);
    }
    serving_close(&world);
    serving_row(bench, "refusal", "queue full, p99", microseconds(full_ns, full_count, 990), "us",
        SERVING_AT_MOST, 1000);
    serving_row(bench, "refusal", "of tries", (double)full_count / TRIES, "", SERVING_NONE, 0);
    serving_row(bench, "refusal", "cannot be in time, p99", microseconds(late_ns, late_count, 990),
        "us", SERVING_AT_MOST, 1000);
    serving_row(bench, "refusal", "of tries", (double)late_count / TRIES, "", SERVING_NONE, 0);
}

void serving_idle(serving_t *bench)
{
    serving_world_t world;
    static call_t call;
    const double seconds = bench->seconds < 10 ? 10 : bench->seconds;
    open_pace(bench, &world, 1, 0);
    serving_need(submit(&world, &call, 0));
    serving_gate_wait(&call.gate);
    serving_sleep_until(serving_now_ns() + SECOND_NS); // spins and timers of that request
    const uint64_t cpu_ns = serving_cpu_ns();
    serving_sleep_until(serving_now_ns() + (uint64_t)(seconds * SECOND_NS));
    serving_row(bench, "idle", "of a CPU", (double)(serving_cpu_ns() - cpu_ns) / (seconds * 1e7),
        "%", SERVING_AT_MOST, 0.02);
    serving_close(&world);
}
