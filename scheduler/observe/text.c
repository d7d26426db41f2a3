// scheduler/observe/text.c: Prometheus' text format 0.0.4.
//
// Families are rows of one table: name, type, help, what to read. It allocates nothing: each line
// is made on the stack and handed on.
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/observe/observe.h"
#include "scheduler/observe/registry.h"
#include "scheduler/observe/sink.h"
#include "scheduler/observe/spans.h"

// The `le` bounds lie between these powers of two: 1 us and 69 s of nanoseconds, 1 and 1024 rows.
enum { NS_FIRST = 10, NS_LAST = 36, ROWS_FIRST = 0, ROWS_LAST = 10, LABEL_BYTES = 256 };

typedef struct sink {
    weir__observe_sink_t to;
    uint32_t per_octave;
} sink_t;

// ---- Reasons
// ----------------------------------------------------------------------------------------

typedef struct reason {
    weir__core_why_t why;
    const char *name;
} reason_t;

static const reason_t refusals[] = {
    {WEIR__REFUSE_TICKET, "ticket"},
    {WEIR__REFUSE_REQUEST, "request"},
    {WEIR__REFUSE_MODEL, "model"},
    {WEIR__REFUSE_EXPIRED, "expired"},
    {WEIR__REFUSE_INFEASIBLE, "infeasible"},
    {WEIR__REFUSE_COUNT, "queue_count"},
    {WEIR__REFUSE_BYTES, "queue_bytes"},
    {WEIR__REFUSE_TENANT, "tenant"},
    {WEIR__REFUSE_LANES, "lanes"},
    {WEIR__REFUSE_NO_INSTANCE, "no_instance"},
    {WEIR__REFUSE_DRAINING, "draining"},
    {WEIR__WHY_NONE, NULL},
};
static const reason_t dispatches[] = {
    {WEIR__DISPATCH_FULL, "full"},
    {WEIR__DISPATCH_LATEST_START, "latest_start"},
    {WEIR__DISPATCH_IDLE, "idle"},
    {WEIR__DISPATCH_RERUN, "rerun"},
    {WEIR__DISPATCH_PROBE, "probe"},
    {WEIR__DISPATCH_DRAIN, "drain"},
    {WEIR__WHY_NONE, NULL},
};
static const reason_t finals[] = {
    {WEIR__FINAL_DONE, "done"},
    {WEIR__FINAL_FAILED, "failed"},
    {WEIR__FINAL_EXPIRED_QUEUED, "expired_queued"},
    {WEIR__FINAL_EXPIRED_RUNNING, "expired_running"},
    {WEIR__FINAL_DROPPED, "dropped"},
    {WEIR__FINAL_CANCELLED, "cancelled"},
    {WEIR__FINAL_LOST, "lost"},
    {WEIR__FINAL_STRANDED, "stranded"},
    {WEIR__FINAL_DRAINED, "drained"},
    {WEIR__WHY_NONE, NULL},
};
static const char *const states[] = {
    [WEIR__DEVICE_ABSENT] = "absent",
    [WEIR__DEVICE_HEALTHY] = "healthy",
    [WEIR__DEVICE_SUSPECT] = "suspect",
    [WEIR__DEVICE_QUARANTINED] = "quarantined",
    [WEIR__DEVICE_PROBATION] = "probation",
    [WEIR__DEVICE_LOST] = "lost",
};

static const char *name_in(const reason_t *reasons, weir__core_why_t why)
{
    for (const reason_t *at = reasons; at->name; at++)
        if (at->why == why)
            return at->name;
    return NULL;
}

const char *weir__observe_why_name(weir__core_why_t why)
{
    const reason_t *const tables[] = {refusals, dispatches, finals};
    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        const char *name = name_in(tables[i], why);
        if (name)
            return name;
    }
    return "";
}

// ---- Families
// ---------------------------------------------------------------------------------------

typedef enum reading {
    READ_REFUSALS,
    READ_DISPATCHES,
    READ_FINALS,
    READ_COUNT,    // of both parts; offset in weir__observe_part_t
    READ_SECONDS,  // the same, kept in nanoseconds
    READ_GAUGE,    // offset in weir__observe_series_t
    READ_STATE,    // one line for each state, one of them 1
    READ_DURATION, // a histogram of nanoseconds, shown in seconds
    READ_SIZE,     // a histogram of counts
} reading_t;

typedef struct family {
    const char *name;
    const char *type;
    const char *help;
    weir__observe_kind_t kind;
    reading_t reading;
    size_t offset;
} family_t;

#define PART(field) offsetof(weir__observe_part_t, field)
#define SERIES(field) offsetof(weir__observe_series_t, field)
#define MODEL WEIR__OBSERVE_MODEL
#define DEVICE WEIR__OBSERVE_DEVICE
#define TENANT WEIR__OBSERVE_TENANT
static const family_t families[] = {
    {"weir_requests_total", "counter", "Accepted requests that have ended, by how.", MODEL,
        READ_FINALS, 0},
    {"weir_requests_refused_total", "counter", "Requests that were not accepted, by why.", MODEL,
        READ_REFUSALS, 0},
    {"weir_requests_inline_total", "counter", "Requests that ran on the thread of their caller.",
        MODEL, READ_COUNT, PART(inline_count)},
    {"weir_batches_total", "counter", "Batches that have ended, by why they left the queue.", MODEL,
        READ_DISPATCHES, 0},
    {"weir_rows_total", "counter", "Rows that were in batches.", MODEL, READ_COUNT, PART(rows)},
    {"weir_rows_ahead_total", "counter", "Of those, rows that were packed while another batch ran.",
        MODEL, READ_COUNT, PART(ahead_rows)},
    {"weir_device_seconds_total", "counter", "Time that devices spent on batches of a model.",
        MODEL, READ_SECONDS, PART(device_ns)},
    {"weir_request_duration_seconds", "histogram", "From the submission to the final answer.",
        MODEL, READ_DURATION, PART(request_ns)},
    {"weir_queue_duration_seconds", "histogram", "From the submission to the start of the batch.",
        MODEL, READ_DURATION, PART(queue_ns)},
    {"weir_compute_duration_seconds", "histogram", "Time that a batch took.", MODEL, READ_DURATION,
        PART(compute_ns)},
    {"weir_batch_rows", "histogram", "Rows of a batch.", MODEL, READ_SIZE, PART(batch_rows)},
    {"weir_queued_requests", "gauge", "Requests that wait.", MODEL, READ_GAUGE, SERIES(queued)},
    {"weir_running_batches", "gauge", "Batches that run.", MODEL, READ_GAUGE, SERIES(running)},
    {"weir_instances", "gauge", "Instances of a model.", MODEL, READ_GAUGE, SERIES(instances)},
    {"weir_model_memory_bytes", "gauge", "Memory that the ledger holds for a model.", MODEL,
        READ_GAUGE, SERIES(memory_bytes)},
    {"weir_model_loads_total", "counter", "How often a model became resident.", MODEL, READ_GAUGE,
        SERIES(loads)},
    {"weir_tap_dropped_total", "counter",
        "Samples that a tap dropped: its consumer was too slow, or they were too large.", MODEL,
        READ_GAUGE, SERIES(tap_dropped)},
    {"weir_device_batches_total", "counter",
        "Batches that have ended on a device, by why they left the queue.", DEVICE, READ_DISPATCHES,
        0},
    {"weir_device_rows_total", "counter", "Rows that ran on a device.", DEVICE, READ_COUNT,
        PART(rows)},
    {"weir_device_busy_seconds_total", "counter",
        "Time that batches took on a device; batches at the same time count twice.", DEVICE,
        READ_SECONDS, PART(device_ns)},
    {"weir_device_compute_duration_seconds", "histogram", "Time that a batch took on a device.",
        DEVICE, READ_DURATION, PART(compute_ns)},
    {"weir_device_running_batches", "gauge", "Batches that run on a device.", DEVICE, READ_GAUGE,
        SERIES(running)},
    {"weir_device_state", "gauge", "1 for the state that a device is in.", DEVICE, READ_STATE,
        SERIES(state)},
    {"weir_tenant_requests_total", "counter",
        "Accepted requests of a tenant that have ended, by how.", TENANT, READ_FINALS, 0},
    {"weir_tenant_requests_refused_total", "counter",
        "Requests of a tenant that were not accepted, by why.", TENANT, READ_REFUSALS, 0},
    {"weir_tenant_request_duration_seconds", "histogram",
        "From the submission to the final answer.", TENANT, READ_DURATION, PART(request_ns)},
};

// ---- Values
// -----------------------------------------------------------------------------------------

static uint64_t both(const weir__observe_series_t *series, size_t offset)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WEIR__OBSERVE_WRITERS; i++) {
        const weir__observe_counter_t *counter =
            (const void *)((const char *)&series->parts[i] + offset);
        sum += atomic_load_explicit(counter, memory_order_relaxed);
    }
    return sum;
}

// Nanoseconds as seconds, to the last of them: no rounding, no locale.
typedef struct seconds {
    char text[32];
} seconds_t;

static seconds_t seconds_of(uint64_t ns)
{
    seconds_t out;
    (void)snprintf(
        out.text, sizeof(out.text), "%" PRIu64 ".%09" PRIu64, ns / 1000000000u, ns % 1000000000u);
    return out;
}

static void put_reasons(sink_t *sink, const family_t *family, const char *labels,
    const weir__observe_series_t *series, const reason_t *reasons, const char *key)
{
    for (const reason_t *at = reasons; at->name; at++)
        weir__observe_put(&sink->to, "%s{%s,%s=\"%s\"} %" PRIu64 "\n", family->name, labels, key,
            at->name, both(series, PART(why) + at->why * sizeof(weir__observe_counter_t)));
}

static void put_bound(
    sink_t *sink, const family_t *family, const char *labels, uint64_t bound, uint64_t below)
{
    if (family->reading == READ_SIZE)
        weir__observe_put(&sink->to, "%s_bucket{%s,le=\"%" PRIu64 "\"} %" PRIu64 "\n", family->name,
            labels, bound, below);
    else
        weir__observe_put(&sink->to, "%s_bucket{%s,le=\"%s\"} %" PRIu64 "\n", family->name, labels,
            seconds_of(bound).text, below);
}

// Is this bound shown: power of two * (1 + i / per_octave), within the family's range?
static bool is_shown(const sink_t *sink, const family_t *family, uint64_t bound)
{
    const uint32_t first = family->reading == READ_SIZE ? ROWS_FIRST : NS_FIRST;
    const uint32_t last = family->reading == READ_SIZE ? ROWS_LAST : NS_LAST;
    if (bound < 1ull << first || bound > 1ull << last)
        return false;
    const uint64_t octave = 1ull << (63 - __builtin_clzll(bound));
    return (bound - octave) * sink->per_octave % octave == 0;
}

// The buckets are read once and added up, so that what is written agrees with itself.
static void put_histogram(
    sink_t *sink, const family_t *family, const char *labels, const weir__observe_series_t *series)
{
    uint64_t below = 0;
    for (uint32_t i = 0; i < WEIR__HISTOGRAM_BUCKETS; i++) {
        below += both(series, family->offset + offsetof(weir__histogram_t, buckets) +
                                  i * sizeof(weir__observe_counter_t));
        const uint64_t bound = weir__histogram_bound(i);
        if (i < WEIR__HISTOGRAM_BUCKETS - 1 && is_shown(sink, family, bound))
            put_bound(sink, family, labels, bound, below);
    }
    weir__observe_put(
        &sink->to, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", family->name, labels, below);
    const uint64_t sum = both(series, family->offset + offsetof(weir__histogram_t, sum));
    if (family->reading == READ_SIZE)
        weir__observe_put(&sink->to, "%s_sum{%s} %" PRIu64 "\n", family->name, labels, sum);
    else
        weir__observe_put(&sink->to, "%s_sum{%s} %s\n", family->name, labels, seconds_of(sum).text);
    weir__observe_put(&sink->to, "%s_count{%s} %" PRIu64 "\n", family->name, labels, below);
}

static uint64_t gauge_of(const weir__observe_series_t *series, size_t offset)
{
    const weir__observe_gauge_t *gauge = (const void *)((const char *)series + offset);
    return atomic_load_explicit(gauge, memory_order_relaxed);
}

static void put_state(
    sink_t *sink, const family_t *family, const char *labels, const weir__observe_series_t *series)
{
    const uint64_t now = gauge_of(series, family->offset);
    for (uint32_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
        weir__observe_put(
            &sink->to, "%s{%s,state=\"%s\"} %d\n", family->name, labels, states[i], now == i);
}

static void put_series(
    sink_t *sink, const family_t *family, const char *labels, const weir__observe_series_t *series)
{
    switch (family->reading) {
    case READ_REFUSALS:
        put_reasons(sink, family, labels, series, refusals, "reason");
        break;
    case READ_DISPATCHES:
        put_reasons(sink, family, labels, series, dispatches, "reason");
        break;
    case READ_FINALS:
        put_reasons(sink, family, labels, series, finals, "result");
        break;
    case READ_COUNT:
        weir__observe_put(
            &sink->to, "%s{%s} %" PRIu64 "\n", family->name, labels, both(series, family->offset));
        break;
    case READ_SECONDS:
        weir__observe_put(&sink->to, "%s{%s} %s\n", family->name, labels,
            seconds_of(both(series, family->offset)).text);
        break;
    case READ_GAUGE:
        weir__observe_put(&sink->to, "%s{%s} %" PRIu64 "\n", family->name, labels,
            gauge_of(series, family->offset));
        break;
    case READ_STATE:
        put_state(sink, family, labels, series);
        break;
    case READ_DURATION:
    case READ_SIZE:
        put_histogram(sink, family, labels, series);
        break;
    }
}

// ---- Labels
// -----------------------------------------------------------------------------------------

// A label's value as the format escapes it; what does not fit is cut before a whole character.
static void escape(const char *text, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (; *text; text++) {
        const bool is_escaped = *text == '\\' || *text == '"' || *text == '\n';
        if (used + (is_escaped ? 2 : 1) >= out_bytes)
            break;
        if (is_escaped)
            out[used++] = '\\';
        out[used++] = *text;
        if (*text == '\n')
            out[used - 1] = 'n';
    }
    // Not in the middle of a character of UTF-8.
    while (*text && used && ((unsigned char)*text & 0xc0) == 0x80)
        text--, used--;
    out[used] = '\0';
}

static void label(const weir__observe_series_t *series, char *out, size_t out_bytes)
{
    static const char *const keys[] = {[MODEL] = "model", [DEVICE] = "device", [TENANT] = "tenant"};
    char name[LABEL_BYTES], version[LABEL_BYTES];
    escape(series->name, name, sizeof(name));
    escape(series->version ? series->version : "", version, sizeof(version));
    if (series->kind == MODEL)
        (void)snprintf(out, out_bytes, "model=\"%s\",version=\"%s\"", name, version);
    else
        (void)snprintf(out, out_bytes, "%s=\"%s\"", keys[series->kind], name);
}

// ---- The scheduler itself
// ---------------------------------------------------------------------------

static void put_single(
    sink_t *sink, const char *name, const char *type, const char *help, uint64_t value)
{
    weir__observe_put(&sink->to, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name,
        type, name, value);
}

static uint64_t read_of(const weir__observe_counter_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void put_scheduler(sink_t *sink, const weir__observe_scheduler_t *it)
{
    put_single(sink, "weir_scheduler_submitted_total", "counter",
        "Requests that were submitted, refused ones included.",
        read_of(&it->submitted[WEIR__OBSERVE_LOOP]) + read_of(&it->submitted[WEIR__OBSERVE_ANY]));
    put_single(sink, "weir_scheduler_wakeups_total", "counter", "Turns of the loop.",
        read_of(&it->wakeups));
    put_single(sink, "weir_scheduler_steps_total", "counter", "Steps of the decision core.",
        read_of(&it->steps));
    put_single(sink, "weir_scheduler_queue_bytes", "gauge",
        "Inputs and outputs of requests that have not ended.", read_of(&it->queue_bytes));
    put_single(sink, "weir_scheduler_in_flight_requests", "gauge",
        "Requests that were accepted and have not ended.", read_of(&it->in_flight));
    put_single(sink, "weir_scheduler_memory_bytes", "gauge",
        "Memory that the ledger holds, of all models.", read_of(&it->memory_bytes));
    const char *name = "weir_scheduler_unmatched_total";
    weir__observe_put(
        &sink->to, "# HELP %s Requests that were refused before they had a model, by why.\n", name);
    weir__observe_put(&sink->to, "# TYPE %s counter\n", name);
    for (const reason_t *at = refusals; at->name; at++)
        weir__observe_put(&sink->to, "%s{reason=\"%s\"} %" PRIu64 "\n", name, at->name,
            read_of(&it->unmatched[at->why]));
}

weir_code_t weir__observe_text(weir__observe_t *observe, uint32_t buckets_per_octave,
    weir__observe_write_fn write, void *user_data)
{
    const uint32_t n = buckets_per_octave;
    sink_t sink = {.to = {.write = write, .user_data = user_data},
        .per_octave = n <= 16 && n && (n & (n - 1)) == 0 ? n : 1};
    weir__observe_registry_t *registry = observe->registry;
    put_scheduler(&sink, &observe->scheduler);
    weir__observe_read_begin(registry);
    for (size_t i = 0; i < sizeof(families) / sizeof(families[0]) && !sink.to.is_ended; i++) {
        const family_t *family = &families[i];
        weir__observe_put(&sink.to, "# HELP %s %s\n", family->name, family->help);
        weir__observe_put(&sink.to, "# TYPE %s %s\n", family->name, family->type);
        const weir__observe_series_t *at = NULL;
        while (!sink.to.is_ended && (at = weir__observe_next(registry, family->kind, at))) {
            char labels[2 * LABEL_BYTES + 32];
            label(at, labels, sizeof(labels));
            put_series(&sink, family, labels, at);
        }
    }
    weir__observe_read_end(registry);
    return sink.to.is_ended ? WEIR_CANCELLED : WEIR_OK;
}
