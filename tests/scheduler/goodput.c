// tests/scheduler/goodput.c: how much is answered in time, against the targets, in the simulator.
//
//     bench_goodput [--check]
//
// The model is that of the peers' measurements: 2 ms and 0.25 ms a row, batches of 32, so a full
// one takes 10 ms; the deadline is 2.5 times that. The machine jitters by 3 %. No setting of the
// core differs from its defaults in any row. One JSON object a line; --check: exit code 1 where a
// target is missed. Time is virtual: this says what the decisions are worth, not what a real loop
// costs.
#include <stdio.h>
#include <string.h>

#include "tests/scheduler/sim.h"

#define SECONDS 20ull
#define SECOND_NS 1000000000ull
#define FULL_NS 10000000ull
#define CAPACITY 3200ull // rows a second
#define BUCKETS 10ull    // a second

static int failed_count;

static void base(sim_scenario_t *scenario, uint64_t seed)
{
    memset(scenario, 0, sizeof *scenario);
    scenario->seed = seed;
    scenario->step_count = UINT32_MAX;
    scenario->end_ns = SECONDS * SECOND_NS;
    scenario->warm_ns = SECOND_NS;
    scenario->bucket_ns = SECOND_NS / BUCKETS;
    scenario->count_max = SIM_REQUEST_MAX - 100;
    scenario->bytes_max = 1u << 30;
    scenario->lane_count = 16;
    scenario->flow_count = 64;
    scenario->action_capacity = 512;
    scenario->honest = 1;
    scenario->model_count = scenario->device_count = scenario->stream_count = 1;
    scenario->tenant_count = 1;
    scenario->weights[0] = scenario->weights[1] = 1;
    scenario->devices[0] = (sim_device_t){1, 100, 30, 1};
    scenario->models[0] = (sim_model_t){32, 1, 2000000, 250000};
}

static void stream(
    sim_scenario_t *scenario, uint32_t index, uint64_t rate, uint64_t slo_ns, uint32_t tenant)
{
    scenario->streams[index] = (sim_stream_t){.version = 1,
        .shape_count = 1,
        .tenant = tenant,
        .rows_max = 1,
        .burst = 1,
        .slo_ns = slo_ns,
        .gap_ns = SECOND_NS / rate};
    if (index >= scenario->stream_count)
        scenario->stream_count = index + 1;
    if (tenant >= scenario->tenant_count)
        scenario->tenant_count = tenant + 1;
}

static void run(const char *name, const sim_scenario_t *scenario, sim_result_t *result)
{
    if (sim_run(scenario, 0, result)) {
        printf("{\"case\": \"%s\", \"failure\": \"%s\"}\n", name, result->failure);
        failed_count++;
    }
}

// value and target in 1/1000; `least`: the value must be at least the target, else at most.
static void report(const char *name, const char *what, uint64_t value, uint64_t target, int least)
{
    int ok = least ? value >= target : value <= target;
    printf("{\"case\": \"%s\", \"%s\": %llu.%03llu, \"target\": \"%s %llu.%03llu\", \"ok\": %s}\n",
        name, what, (unsigned long long)value / 1000, (unsigned long long)value % 1000,
        least ? ">=" : "<=", (unsigned long long)target / 1000, (unsigned long long)target % 1000,
        ok ? "true" : "false");
    failed_count += !ok;
}

static void overload(const char *name, uint64_t times, uint32_t jitter_permille)
{
    static sim_scenario_t scenario;
    static sim_result_t result;
    base(&scenario, 1);
    scenario.devices[0].jitter_permille = jitter_permille;
    stream(&scenario, 0, times * CAPACITY, FULL_NS * 5 / 2, 0);
    run(name, &scenario, &result);
    report(
        name, "goodput_of_capacity", result.in_time[0] * 1000 / (CAPACITY * (SECONDS - 1)), 970, 1);
}

// target: of the goodput after a second.
static void slower(const char *name, uint64_t seed, uint32_t row_steps, uint64_t target)
{
    static sim_scenario_t scenario;
    static sim_result_t result;
    base(&scenario, seed);
    scenario.row_steps = row_steps;
    scenario.fault_count = 1;
    scenario.faults[0] = (sim_fault_t){SIM_FAULT_SLOW, SECONDS / 2 * SECOND_NS, 0, 0, 200};
    stream(&scenario, 0, 2 * CAPACITY, FULL_NS * 5 / 2, 0);
    run(name, &scenario, &result);
    const uint64_t *over = result.in_time_over, half = SECONDS / 2 * BUCKETS;
    uint64_t first = 0, second = 0, recovered = 0;
    for (uint64_t i = BUCKETS; i < half; i++)
        first += over[i];
    for (uint64_t i = half + BUCKETS; i < 2 * half; i++)
        second += over[i];
    // Recovered: two buckets in a row at 0.95 of the capacity, which is half of what it was.
    for (uint64_t i = half; i < 2 * half && !recovered; i++)
        if ((over[i] + over[i + 1]) * BUCKETS * 1000 >= CAPACITY * 950)
            recovered = (i + 1 - half) * 1000 / BUCKETS;
    uint64_t seconds = SECONDS / 2 - 1;
    report(name, "goodput_before", first * 1000 / (CAPACITY * seconds), 970, 1);
    report(name, "goodput_after_a_second", second * 1000 / (CAPACITY / 2 * seconds), target, 1);
    report(name, "recovered_s", recovered ? recovered : 99000, 1000, 0);
}

static void two_classes(const char *name, uint64_t slo_a, uint64_t slo_b)
{
    static sim_scenario_t scenario;
    static sim_result_t result;
    base(&scenario, 3);
    stream(&scenario, 0, CAPACITY, slo_a, 0);
    stream(&scenario, 1, CAPACITY, slo_b, 0);
    run(name, &scenario, &result);
    uint64_t all = CAPACITY * (SECONDS - 1);
    report(
        name, "goodput_of_capacity", (result.in_time[0] + result.in_time[1]) * 1000 / all, 970, 1);
    report(name, "tight_of_fair_share", result.in_time[0] * 2000 / all, 900, 1);
    report(name, "loose_of_fair_share", result.in_time[1] * 2000 / all, 900, 1);
}

static void below_capacity(const char *name)
{
    static sim_scenario_t scenario;
    static sim_result_t result;
    base(&scenario, 4);
    stream(&scenario, 0, CAPACITY * 9 / 10, FULL_NS * 5 / 2, 0);
    run(name, &scenario, &result);
    report(name, "goodput_of_offered", result.in_time[0] * 1000 / result.offered_by[0], 990, 1);
}

// 0.3 of what the machine does without batches.
static void low_load(const char *name)
{
    static sim_scenario_t scenario;
    static sim_result_t result;
    uint64_t p99[2];
    for (int batched = 0; batched < 2; batched++) {
        base(&scenario, 5);
        scenario.models[0].batch_rows = batched ? 32 : 1;
        stream(&scenario, 0, SECOND_NS / 2250000 * 3 / 10, 0, 0);
        run(name, &scenario, &result);
        p99[batched] = sim_percentile(&result, 0, 990);
    }
    report(name, "p99_of_unbatched", p99[1] * 1000 / p99[0], 1100, 0);
}

// A tenant with a tenth of the load, alone and beside one that asks for ten times as much as there
// is.
static void aggressor(const char *name)
{
    static sim_scenario_t scenario;
    static sim_result_t result;
    uint64_t p99[2];
    for (uint32_t beside = 0; beside < 2; beside++) {
        base(&scenario, 6);
        stream(&scenario, 0, CAPACITY / 10, 0, 0);
        if (beside)
            stream(&scenario, 1, CAPACITY * 10, 0, 1);
        run(name, &scenario, &result);
        p99[beside] = sim_percentile(&result, 0, 990);
    }
    // Twice alone and one batch of the aggressor, which the jitter makes up to 3 % longer.
    uint64_t most = 2 * p99[0] + FULL_NS * 1030 / 1000;
    report(name, "victim_p99_ms", p99[1] / 1000, most / 1000, 0);
}

int main(int argc, char **argv)
{
    overload("overload 2x", 2, 30);
    overload("overload 3x", 3, 30);
    overload("overload 2x, jitter 10 %", 2, 100);
    slower("overload 2x, 2x slower halfway", 2, 0, 970);
    slower("the same, another seed", 12, 0, 970);
    // A batch of 27 rows takes as long as one of 28, and with 5 ms to spare for each there are not
    // always 32: the best that can be is less.
    slower("overload 2x, 2x slower halfway, batches filled up", 2, 1, 960);
    slower("the same, another seed", 12, 1, 960);
    two_classes("two SLO classes, 2.5 and 5", FULL_NS * 5 / 2, FULL_NS * 5);
    two_classes("two SLO classes, 2.5 and 3", FULL_NS * 5 / 2, FULL_NS * 3);
    two_classes("two SLO classes, 2.5 and 25", FULL_NS * 5 / 2, FULL_NS * 25);
    below_capacity("load 0.9");
    low_load("load 0.3");
    aggressor("one tenant at 10x");
    return argc > 1 && !strcmp(argv[1], "--check") && failed_count ? 1 : 0;
}
