// Goodput, classes, low load and fairness on a device of known speed (weir_pace): open-loop Poisson
// arrivals, latency from the scheduled arrival, every answer's bytes compared.
//
// Capacity is what the device does in full batches, one after another, without a scheduler,
// measured just before: what hand-offs cost under load is the scheduler's loss. Settings are the
// defaults everywhere.
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "benchmarks/serving/serving.h"

enum {
    ROWS = 32,     // of a full batch
    SLOTS = 16384, // requests in flight, of the benchmark
    STREAMS_MAX = 2,
    TICK_NS = 100000000, // goodput is looked at in pieces of 100 ms
    TICKS_MAX = 6000,
    LATENCIES_MAX = 1 << 20,
    SECOND_NS = 1000000000
};

typedef struct stream {
    // Asked for.
    double qps;
    uint64_t slo_ns; // 0: no deadline
    uint32_t tenant;
    double until; // part of the time after which no more come; 0: to the end
    // Counted.
    uint64_t offered, in_slo, answered, refused, other, wrong;
    uint64_t latency_count;
    uint64_t *latencies_ns; // [LATENCIES_MAX]
    uint64_t refusal_count;
    uint64_t *refusals_ns;     // [LATENCIES_MAX], from the submission until it was told
    uint32_t ticks[TICKS_MAX]; // answers in time, by when they were due
    uint32_t offered_ticks[TICKS_MAX];
    uint64_t next_ns, end_ns;
} stream_t;

typedef struct slot {
    struct slot *next;
    struct traffic *traffic;
    stream_t *stream;
    float x[SERVING_COLUMNS], y[SERVING_COLUMNS];
    weir_value_t input, output;
    uint64_t scheduled_ns, submitted_ns, done_ns;
    bool is_refusal; // when it arrived, not later
    weir_code_t code;
} slot_t;

typedef struct traffic {
    serving_world_t world;
    stream_t streams[STREAMS_MAX];
    uint32_t stream_count;
    _Atomic(slot_t *) done;
    slot_t *free;
    slot_t *slots; // [SLOTS]
    uint64_t random, start_ns, in_flight;
    uint64_t slow_ns; // from then on the device is half as fast; 0: never
} traffic_t;

// splitmix64 (Steele, Lea, Flood 2014).
static uint64_t draw(traffic_t *it)
{
    uint64_t word = (it->random += 0x9e3779b97f4a7c15u);
    word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
    word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
    return word ^ (word >> 31);
}

static uint64_t gap_ns(traffic_t *it, double qps)
{
    const double uniform = ((double)(draw(it) >> 11) + 0.5) / 9007199254740992.0;
    return (uint64_t)(-log(uniform) / qps * SECOND_NS);
}

// ---- One request
// ------------------------------------------------------------------------------------

static void on_event(const weir_event_t *event, void *user_data)
{
    slot_t *slot = user_data;
    traffic_t *it = slot->traffic;
    slot->done_ns = serving_now_ns();
    slot->code = weir_status_code(event->status);
    slot->is_refusal = slot->code == WEIR_INFEASIBLE && event->retry_after_ns;
    slot->next = atomic_load_explicit(&it->done, memory_order_relaxed);
    while (!atomic_compare_exchange_weak_explicit(
        &it->done, &slot->next, slot, memory_order_release, memory_order_relaxed)) {
    }
}

static void count(stream_t *stream, const traffic_t *it, const slot_t *slot)
{
    const uint64_t ns = slot->done_ns - slot->scheduled_ns;
    if (slot->code == WEIR_INFEASIBLE || slot->code == WEIR_RESOURCE_EXHAUSTED ||
        slot->code == WEIR_DEADLINE_EXCEEDED) {
        stream->refused++;
        if (slot->is_refusal && stream->refusal_count < LATENCIES_MAX)
            stream->refusals_ns[stream->refusal_count++] = slot->done_ns - slot->submitted_ns;
        return;
    }
    if (slot->code != WEIR_OK) {
        stream->other++;
        return;
    }
    stream->answered++;
    stream->wrong += memcmp(slot->x, slot->y, sizeof(slot->x)) != 0;
    if (stream->latency_count < LATENCIES_MAX)
        stream->latencies_ns[stream->latency_count++] = ns;
    if (stream->slo_ns && ns > stream->slo_ns)
        return;
    stream->in_slo++;
    const uint64_t tick = (slot->scheduled_ns - it->start_ns) / TICK_NS;
    if (tick < TICKS_MAX)
        stream->ticks[tick]++;
}

static void collect(traffic_t *it)
{
    slot_t *at = atomic_exchange_explicit(&it->done, NULL, memory_order_acquire);
    while (at) {
        slot_t *next = at->next;
        count(at->stream, it, at);
        at->next = it->free;
        it->free = at;
        it->in_flight--;
        at = next;
    }
}

static void submit(traffic_t *it, stream_t *stream, uint64_t now_ns)
{
    stream->offered++;
    const uint64_t tick = (stream->next_ns - it->start_ns) / TICK_NS;
    if (tick < TICKS_MAX)
        stream->offered_ticks[tick]++;
    slot_t *slot = it->free;
    if (!slot) {
        stream->refused++;
        return;
    }
    it->free = slot->next;
    slot->stream = stream;
    slot->scheduled_ns = stream->next_ns;
    slot->submitted_ns = serving_now_ns();
    slot->is_refusal = false;
    slot->x[0] = it->slow_ns && now_ns >= it->slow_ns ? 2 : 1;
    slot->output = weir_f32_out(slot->y, SERVING_COLUMNS);
    weir_request_t request = {.size = sizeof(request),
        .model = "m",
        .inputs = &slot->input,
        .outputs = &slot->output,
        .input_count = 1,
        .output_count = 1,
        .deadline_ns = stream->slo_ns ? stream->next_ns + stream->slo_ns : 0,
        .tenant = stream->tenant};
    weir_status_t status = weir_submit(it->world.scheduler, &request, NULL, on_event, slot);
    if (!status) {
        it->in_flight++;
        return;
    }
    slot->code = weir_status_code(status);
    slot->done_ns = serving_now_ns();
    slot->is_refusal = true;
    weir_status_free(status);
    count(stream, it, slot);
    slot->next = it->free;
    it->free = slot;
}

// ---- A run
// ------------------------------------------------------------------------------------------

static void run_traffic(traffic_t *it, double seconds)
{
    it->start_ns = serving_now_ns();
    const uint64_t end_ns = it->start_ns + (uint64_t)(seconds * SECOND_NS);
    it->slow_ns = it->slow_ns ? it->start_ns + (end_ns - it->start_ns) / 2 : 0;
    for (uint32_t i = 0; i < it->stream_count; i++) {
        stream_t *stream = &it->streams[i];
        stream->next_ns = it->start_ns + gap_ns(it, stream->qps);
        stream->end_ns = end_ns;
        if (stream->until > 0)
            stream->end_ns =
                it->start_ns + (uint64_t)(stream->until * (double)(end_ns - it->start_ns));
    }
    for (;;) {
        stream_t *next = &it->streams[0];
        for (uint32_t i = 1; i < it->stream_count; i++)
            if (it->streams[i].next_ns < next->next_ns)
                next = &it->streams[i];
        if (next->next_ns >= end_ns)
            break;
        collect(it);
        const uint64_t now_ns = serving_now_ns();
        if (now_ns < next->next_ns) {
            serving_sleep_until(next->next_ns);
            continue;
        }
        submit(it, next, now_ns);
        next->next_ns += gap_ns(it, next->qps);
        if (next->next_ns >= next->end_ns)
            next->next_ns = UINT64_MAX;
    }
    while (it->in_flight) {
        serving_sleep_until(serving_now_ns() + WEIR_MS);
        collect(it);
    }
}

static traffic_t *open_traffic(const serving_t *bench, uint32_t max_batch)
{
    traffic_t *it = calloc(1, sizeof(*it));
    slot_t *slots = calloc(SLOTS, sizeof(*slots));
    static const weir_tenant_t tenants[] = {{.name = "a"}, {.name = "b"}};
    const weir_scheduler_options_t scheduling = {
        .size = sizeof(scheduling), .tenants = tenants, .tenant_count = 2};
    const float row[SERVING_COLUMNS] = {1};
    const weir_value_t sample = weir_f32(row, 2, 1, SERVING_COLUMNS);
    const weir_serving_options_t serving = {.size = sizeof(serving),
        .max_batch = max_batch,
        .devices = "pace",
        .warm_rows = UINT32_MAX,
        .sample = &sample};
    if (!it || !slots)
        abort();
    serving_open(&it->world, "Cos", 1, bench->pace, &scheduling, &serving);
    it->slots = slots;
    it->random = 1;
    for (size_t i = 0; i < SLOTS; i++) {
        slots[i].traffic = it;
        slots[i].x[1] = (float)i;
        slots[i].input = weir_f32(slots[i].x, 2, 1, SERVING_COLUMNS);
        slots[i].next = it->free;
        it->free = &slots[i];
    }
    return it;
}

static stream_t *add_stream(traffic_t *it, double qps, uint64_t slo_ns, uint32_t tenant)
{
    stream_t *stream = &it->streams[it->stream_count++];
    *stream = (stream_t){.qps = qps,
        .slo_ns = slo_ns,
        .tenant = tenant,
        .latencies_ns = malloc(LATENCIES_MAX * sizeof(uint64_t)),
        .refusals_ns = malloc(LATENCIES_MAX * sizeof(uint64_t))};
    if (!stream->latencies_ns || !stream->refusals_ns)
        abort();
    // So that they are resident now. Not zeros: a compiler makes calloc() of that.
    memset(stream->latencies_ns, 0xff, LATENCIES_MAX * sizeof(uint64_t));
    memset(stream->refusals_ns, 0xff, LATENCIES_MAX * sizeof(uint64_t));
    return stream;
}

// As new, for the next run.
static void reset_stream(stream_t *stream)
{
    const stream_t asked = {.qps = stream->qps,
        .slo_ns = stream->slo_ns,
        .tenant = stream->tenant,
        .until = stream->until,
        .latencies_ns = stream->latencies_ns,
        .refusals_ns = stream->refusals_ns};
    *stream = asked;
}

static uint64_t resident_bytes(void)
{
    unsigned long long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    if (file && fscanf(file, "%llu %llu", &pages, &resident) != 2)
        resident = 0;
    if (file)
        (void)fclose(file);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void close_traffic(traffic_t *it)
{
    serving_close(&it->world);
    for (uint32_t i = 0; i < it->stream_count; i++) {
        if (it->streams[i].wrong || it->streams[i].other)
            (void)fprintf(stderr, "%llu wrong answers, %llu errors\n",
                (unsigned long long)it->streams[i].wrong, (unsigned long long)it->streams[i].other);
        free(it->streams[i].latencies_ns);
        free(it->streams[i].refusals_ns);
    }
    free(it->slots);
    free(it);
}

static double p99_ms(stream_t *stream)
{
    return (double)serving_percentile(stream->latencies_ns, stream->latency_count, 990) / 1e6;
}

// Nanoseconds of a batch on the device alone, the least of some: a busy machine makes none faster.
static double full_batch_ns(traffic_t *it, uint32_t rows)
{
    static float x[ROWS][SERVING_COLUMNS], y[ROWS][SERVING_COLUMNS];
    uint64_t times_ns[15];
    x[0][0] = 1;
    const weir_value_t input = weir_f32(x, 2, rows, SERVING_COLUMNS);
    for (int i = 0; i < 15; i++) {
        weir_value_t output = weir_f32_out(y, ROWS * SERVING_COLUMNS);
        const uint64_t start_ns = serving_now_ns();
        serving_need(weir_session_run(it->world.session, NULL, 1, &input, 1, &output));
        times_ns[i] = serving_now_ns() - start_ns;
    }
    return (double)serving_percentile(times_ns, 15, 0);
}

// ---- Rows
// -------------------------------------------------------------------------------------------

// Answers in time a second, from tick `first` to before tick `last`.
static double goodput(const stream_t *stream, uint64_t first, uint64_t last)
{
    uint64_t sum = 0;
    for (uint64_t i = first; i < last && i < TICKS_MAX; i++)
        sum += stream->ticks[i];
    return last > first ? (double)sum * SECOND_NS / ((double)(last - first) * TICK_NS) : 0;
}

static void steady(serving_t *bench, double load)
{
    traffic_t *it = open_traffic(bench, ROWS);
    const double batch_ns = full_batch_ns(it, ROWS), capacity = ROWS * 1e9 / batch_ns;
    const stream_t *stream = add_stream(it, load * capacity, (uint64_t)(2.5 * batch_ns), 0);
    char row[64];
    run_traffic(it, bench->seconds);
    (void)snprintf(row, sizeof(row), "load %.2gx", load);
    if (load > 1) {
        serving_row(bench, row, "goodput of capacity",
            (double)stream->in_slo / bench->seconds / capacity, "", SERVING_AT_LEAST, 0.97);
        serving_row(
            bench, row, "capacity, full batches alone", capacity, "rows/s", SERVING_NONE, 0);
    } else {
        serving_row(bench, row, "goodput of offered",
            (double)stream->in_slo / (double)stream->offered, "", SERVING_AT_LEAST, 0.99);
    }
    close_traffic(it);
}

// Three times what it can do for a while, then half of it: is it well meanwhile, and a second
// later, and has it grown?
static void storm(serving_t *bench, double storm_seconds, double calm_seconds)
{
    traffic_t *it = open_traffic(bench, ROWS);
    const double batch_ns = full_batch_ns(it, ROWS), capacity = ROWS * 1e9 / batch_ns;
    const double seconds = storm_seconds + calm_seconds;
    const uint64_t ticks = (uint64_t)(seconds * SECOND_NS / TICK_NS);
    const uint64_t calm = (uint64_t)(storm_seconds * SECOND_NS / TICK_NS);
    const uint64_t slo_ns = (uint64_t)(2.5 * batch_ns);
    stream_t *base = add_stream(it, capacity / 2, slo_ns, 0);
    stream_t *above = add_stream(it, 2.5 * capacity, slo_ns, 0);
    above->until = storm_seconds / seconds;
    run_traffic(it, 0.5); // everything has been touched once
    reset_stream(base);
    reset_stream(above);
    const uint64_t resident = resident_bytes();
    run_traffic(it, seconds);
    const double growth = (double)resident_bytes() - (double)resident;
    uint64_t offered = 0, in_slo = 0;
    for (uint64_t i = calm + SECOND_NS / TICK_NS; i < ticks && i < TICKS_MAX; i++) {
        offered += base->offered_ticks[i];
        in_slo += base->ticks[i];
    }
    serving_row(bench, "3x, then 0.5x", "goodput of capacity",
        (goodput(base, 0, calm) + goodput(above, 0, calm)) / capacity, "", SERVING_AT_LEAST, 0.95);
    serving_row(bench, "3x, then 0.5x", "refused on arrival, p99",
        (double)serving_percentile(above->refusals_ns, above->refusal_count, 990) / 1e3, "us",
        SERVING_AT_MOST, 1000);
    serving_row(bench, "3x, then 0.5x", "of offered",
        (double)above->refusal_count / (double)above->offered, "", SERVING_NONE, 0);
    serving_row(bench, "3x, then 0.5x", "goodput of offered, after 1 s",
        offered ? (double)in_slo / (double)offered : 0, "", SERVING_AT_LEAST, 0.99);
    serving_row(bench, "3x, then 0.5x", "resident memory grew by", growth / 1048576, "MiB",
        SERVING_AT_MOST, 1);
    close_traffic(it);
}

void serving_storm(serving_t *bench)
{
    storm(bench, bench->seconds, 5);
}

// Half of the time at full speed, half at half the speed, twice the first capacity offered
// throughout.
static void slower(serving_t *bench)
{
    traffic_t *it = open_traffic(bench, ROWS);
    const double batch_ns = full_batch_ns(it, ROWS), capacity = ROWS * 1e9 / batch_ns;
    const double seconds = bench->seconds < 4 ? 4 : bench->seconds;
    const uint64_t ticks = (uint64_t)(seconds * SECOND_NS / TICK_NS), half = ticks / 2;
    const uint64_t second = SECOND_NS / TICK_NS;
    it->slow_ns = 1;
    const stream_t *stream = add_stream(it, 2 * capacity, (uint64_t)(2.5 * batch_ns), 0);
    run_traffic(it, seconds);
    uint64_t recovered = half;
    while (recovered < ticks - 5 && goodput(stream, recovered, recovered + 5) < 0.45 * capacity)
        recovered++;
    serving_row(bench, "2x, then half as fast", "goodput of capacity before",
        goodput(stream, 0, half) / capacity, "", SERVING_AT_LEAST, 0.97);
    serving_row(bench, "2x, then half as fast", "goodput after a second",
        goodput(stream, half + second, ticks) / (capacity / 2), "", SERVING_AT_LEAST, 0.97);
    serving_row(bench, "2x, then half as fast", "recovered (0.9 for 0.5 s) after",
        (double)(recovered - half) * TICK_NS / 1e9, "s", SERVING_AT_MOST, 1);
    close_traffic(it);
}

void serving_overload(serving_t *bench)
{
    steady(bench, 2);
    steady(bench, 3);
    const double half = bench->seconds < 4 ? 2 : bench->seconds / 2;
    storm(bench, half, half);
    slower(bench);
}

void serving_classes(serving_t *bench)
{
    traffic_t *it = open_traffic(bench, ROWS);
    const double batch_ns = full_batch_ns(it, ROWS), capacity = ROWS * 1e9 / batch_ns;
    const stream_t *tight = add_stream(it, capacity, (uint64_t)(2.5 * batch_ns), 0);
    const stream_t *loose = add_stream(it, capacity, (uint64_t)(5 * batch_ns), 0);
    run_traffic(it, bench->seconds);
    const double whole = capacity * bench->seconds;
    serving_row(bench, "2x in two SLO classes", "goodput of capacity",
        (double)(tight->in_slo + loose->in_slo) / whole, "", SERVING_AT_LEAST, 0.97);
    serving_row(bench, "2x in two SLO classes", "tight of its fair share",
        (double)tight->in_slo / (whole / 2), "", SERVING_AT_LEAST, 0.9);
    serving_row(bench, "2x in two SLO classes", "loose of its fair share",
        (double)loose->in_slo / (whole / 2), "", SERVING_AT_LEAST, 0.9);
    close_traffic(it);
}

void serving_below(serving_t *bench)
{
    steady(bench, 0.9);
    double p99[2] = {0};
    for (int batched = 0; batched < 2; batched++) {
        traffic_t *it = open_traffic(bench, batched ? ROWS : 1);
        const double row_ns = full_batch_ns(it, 1);
        stream_t *stream = add_stream(it, 0.3 * 1e9 / row_ns, 0, 0);
        run_traffic(it, bench->seconds);
        p99[batched] = p99_ms(stream);
        close_traffic(it);
    }
    serving_row(bench, "load 0.3", "p99, unbatched", p99[0], "ms", SERVING_NONE, 0);
    serving_row(
        bench, "load 0.3", "p99 of that unbatched", p99[1] / p99[0], "", SERVING_AT_MOST, 1.1);
}

void serving_fairness(serving_t *bench)
{
    double p99[2] = {0}, batch_ms = 0, in_time = 0;
    for (int beside = 0; beside < 2; beside++) {
        traffic_t *it = open_traffic(bench, ROWS);
        const double batch_ns = full_batch_ns(it, ROWS), capacity = ROWS * 1e9 / batch_ns;
        stream_t *victim = add_stream(it, capacity / 10, (uint64_t)(2.5 * batch_ns), 0);
        if (beside)
            (void)add_stream(it, capacity * 10, (uint64_t)(2.5 * batch_ns), 1);
        run_traffic(it, bench->seconds);
        p99[beside] = p99_ms(victim);
        batch_ms = batch_ns / 1e6;
        in_time = (double)victim->in_slo / (double)victim->offered;
        close_traffic(it);
    }
    serving_row(bench, "a tenant at 10x", "victim's p99 alone", p99[0], "ms", SERVING_NONE, 0);
    serving_row(bench, "a tenant at 10x", "victim's p99 beside it", p99[1], "ms", SERVING_AT_MOST,
        2 * p99[0] + batch_ms);
    serving_row(bench, "a tenant at 10x", "victim in time beside it", in_time, "", SERVING_NONE, 0);
}
