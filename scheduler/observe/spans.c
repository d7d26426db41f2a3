// scheduler/observe/spans.c: a ring of requests, and trace events from it; see spans.h.
#include "scheduler/observe/spans.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/observe/sink.h"

enum { REQUESTS_PROCESS = 2, DEVICES_PROCESS = 3, LANES = 256 }; // 1 is a profile's run

struct weir__spans {
    pthread_mutex_t mutex;
    uint32_t capacity;
    uint64_t noted; // since the beginning
    weir__span_t ring[];
};

weir_code_t weir__spans_create(uint32_t capacity, weir__spans_t **out_spans)
{
    const size_t count = capacity ? capacity : 1;
    weir__spans_t *spans = calloc(1, sizeof(*spans) + count * sizeof(spans->ring[0]));
    if (!spans || pthread_mutex_init(&spans->mutex, NULL) != 0) {
        free(spans);
        return WEIR_RESOURCE_EXHAUSTED;
    }
    spans->capacity = (uint32_t)count;
    *out_spans = spans;
    return WEIR_OK;
}

void weir__spans_free(weir__spans_t *spans)
{
    if (spans)
        pthread_mutex_destroy(&spans->mutex);
    free(spans);
}

void weir__spans_note(weir__spans_t *spans, const weir__span_t *span)
{
    pthread_mutex_lock(&spans->mutex);
    spans->ring[spans->noted++ % spans->capacity] = *span;
    pthread_mutex_unlock(&spans->mutex);
}

// ---- Events
// -----------------------------------------------------------------------------------------

typedef struct sink {
    weir__observe_sink_t to;
    uint64_t origin_ns;
    bool needs_comma;
} sink_t;

typedef struct json_text {
    char text[320];
} json_text_t;

// A text as JSON wants it between quotes; control characters become '?'.
static json_text_t json_of(const char *text)
{
    json_text_t out;
    size_t used = 0;
    for (; *text && used + 2 < sizeof(out.text); text++) {
        if (*text == '"' || *text == '\\')
            out.text[used++] = '\\';
        out.text[used++] = (unsigned char)*text < ' ' ? '?' : *text;
    }
    out.text[used] = '\0';
    return out;
}

typedef struct micros {
    char text[32];
} micros_t;

static micros_t micros_of(uint64_t ns)
{
    micros_t out;
    (void)snprintf(out.text, sizeof(out.text), "%" PRIu64 ".%03" PRIu64, ns / 1000, ns % 1000);
    return out;
}

// Begins an event; its object is left open for more members and put_end().
static void put_event(
    sink_t *sink, const char *name, const char *phase, int process, uint32_t lane, uint64_t at_ns)
{
    weir__observe_put(&sink->to, "%s{\"name\":\"%s\",\"ph\":\"%s\",\"pid\":%d,\"tid\":%u,\"ts\":%s",
        sink->needs_comma ? ",\n" : "\n", name, phase, process, lane,
        micros_of(at_ns - sink->origin_ns).text);
    sink->needs_comma = true;
}

static void put_slice(sink_t *sink, const char *name, const char *category, int process,
    uint32_t lane, uint64_t from_ns, uint64_t to_ns)
{
    put_event(sink, name, "X", process, lane, from_ns);
    weir__observe_put(
        &sink->to, ",\"cat\":\"%s\",\"dur\":%s", category, micros_of(to_ns - from_ns).text);
}

static void put_end(sink_t *sink)
{
    weir__observe_put(&sink->to, "}");
}

static void put_name(sink_t *sink, const char *kind, int process, uint32_t lane, const char *name)
{
    put_event(sink, kind, "M", process, lane, sink->origin_ns);
    weir__observe_put(&sink->to, ",\"args\":{\"name\":\"%s\"}}", name);
}

// A step of the arrow of one request. The last one ends at the slice around it.
static void put_flow(
    sink_t *sink, const char *phase, uint64_t id, int process, uint32_t lane, uint64_t at_ns)
{
    put_event(sink, "request", phase, process, lane, at_ns);
    weir__observe_put(&sink->to, ",\"cat\":\"flow\",\"id\":%" PRIu64 "%s}", id,
        *phase == 'f' ? ",\"bp\":\"e\"" : "");
}

static void put_part(
    sink_t *sink, const char *name, uint32_t lane, uint64_t from_ns, uint64_t to_ns)
{
    put_slice(sink, name, "part", REQUESTS_PROCESS, lane, from_ns, to_ns);
    put_end(sink);
}

static void put_request(sink_t *sink, const weir__span_t *span, uint32_t lane, uint64_t flow)
{
    put_slice(sink, json_of(span->model).text, "request", REQUESTS_PROCESS, lane,
        span->submitted_ns, span->returned_ns);
    weir__observe_put(&sink->to,
        ",\"args\":{\"request\":%" PRIu64 ",\"batch\":%" PRIu64 ",\"rows\":%u,", //
        span->request_id, span->batch, span->batch_rows);
    weir__observe_put(&sink->to, "\"left\":\"%s\",\"result\":\"%s\"}",
        weir__observe_why_name(span->left), weir__observe_why_name(span->why));
    put_end(sink);
    uint64_t at_ns = span->submitted_ns;
    const struct {
        const char *name;
        uint64_t end_ns;
    } parts[] = {{"queued", span->packing_ns}, {"packed", span->started_ns},
        {"run", span->ended_ns}, {"scatter", span->final_ns}};
    size_t i = 0;
    for (; i < 4 && parts[i].end_ns; i++) {
        put_part(sink, parts[i].name, lane, at_ns, parts[i].end_ns);
        at_ns = parts[i].end_ns;
    }
    if (i < 3) // it went from here to its end
        put_part(sink, parts[i].name, lane, at_ns, span->final_ns);
    put_part(sink, "callback", lane, span->final_ns, span->returned_ns);
    if (span->batch && span->packing_ns && span->started_ns) {
        put_flow(sink, "s", flow, REQUESTS_PROCESS, lane, span->packing_ns);
        put_flow(sink, "t", flow, DEVICES_PROCESS, span->instance, span->started_ns);
        put_flow(sink, "f", flow, REQUESTS_PROCESS, lane, span->final_ns);
    }
}

// ---- The document
// -----------------------------------------------------------------------------------

static int by_submission(const void *left, const void *right)
{
    const weir__span_t *a = left, *b = right;
    return a->submitted_ns < b->submitted_ns ? -1 : a->submitted_ns > b->submitted_ns;
}

static int by_batch(const void *left, const void *right)
{
    const weir__span_t *a = left, *b = right;
    return a->batch < b->batch ? -1 : a->batch > b->batch;
}

// Those that never ran in a batch come last.
static int by_instance(const void *left, const void *right)
{
    const weir__span_t *a = left, *b = right;
    if (!a->batch != !b->batch)
        return a->batch ? -1 : 1;
    return a->instance < b->instance ? -1 : a->instance > b->instance;
}

// Each request on the first lane that is free when it comes. Returns how many found none.
static uint64_t put_requests(sink_t *sink, weir__span_t *spans, uint32_t count)
{
    uint64_t free_at_ns[LANES] = {0}, left_out = 0;
    qsort(spans, count, sizeof(*spans), by_submission);
    for (uint32_t i = 0; i < count && !sink->to.is_ended; i++) {
        uint32_t lane = 0;
        while (lane < LANES && free_at_ns[lane] > spans[i].submitted_ns)
            lane++;
        if (lane < LANES) {
            free_at_ns[lane] = spans[i].returned_ns;
            put_request(sink, &spans[i], lane, i + 1);
        } else {
            left_out++;
        }
    }
    return left_out;
}

static void put_batches(sink_t *sink, weir__span_t *spans, uint32_t count)
{
    uint64_t last = 0;
    qsort(spans, count, sizeof(*spans), by_batch);
    for (uint32_t i = 0; i < count && !sink->to.is_ended; i++) {
        const weir__span_t *span = &spans[i];
        if (span->batch == last || !span->started_ns)
            continue;
        last = span->batch;
        put_slice(sink, json_of(span->model).text, "batch", DEVICES_PROCESS, span->instance,
            span->started_ns, span->ended_ns ? span->ended_ns : span->final_ns);
        weir__observe_put(&sink->to,
            ",\"args\":{\"batch\":%" PRIu64 ",\"rows\":%u,\"left\":\"%s\"}}", span->batch,
            span->batch_rows, weir__observe_why_name(span->left));
    }
    qsort(spans, count, sizeof(*spans), by_instance);
    for (uint32_t i = 0; i < count && !sink->to.is_ended; i++) {
        char name[sizeof(spans[0].device) + 16];
        if (!spans[i].batch || (i && spans[i - 1].instance == spans[i].instance))
            continue;
        (void)snprintf(name, sizeof(name), "%s, instance %u", spans[i].device, spans[i].instance);
        put_name(sink, "thread_name", DEVICES_PROCESS, spans[i].instance, json_of(name).text);
    }
}

weir_code_t weir__spans_write(weir__spans_t *spans, weir__observe_write_fn write, void *user_data)
{
    weir__span_t *copy = malloc(spans->capacity * sizeof(*copy));
    if (!copy)
        return WEIR_RESOURCE_EXHAUSTED;
    pthread_mutex_lock(&spans->mutex);
    const uint32_t count =
        spans->noted < spans->capacity ? (uint32_t)spans->noted : spans->capacity;
    memcpy(copy, spans->ring, count * sizeof(*copy));
    pthread_mutex_unlock(&spans->mutex);
    sink_t sink = {.to = {.write = write, .user_data = user_data}, .origin_ns = UINT64_MAX};
    for (uint32_t i = 0; i < count; i++)
        if (copy[i].submitted_ns < sink.origin_ns)
            sink.origin_ns = copy[i].submitted_ns;
    sink.origin_ns = count ? sink.origin_ns : 0;
    weir__observe_put(&sink.to, "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[");
    put_name(&sink, "process_name", REQUESTS_PROCESS, 0, "requests");
    put_name(&sink, "process_name", DEVICES_PROCESS, 0, "devices");
    const uint64_t left_out = put_requests(&sink, copy, count);
    put_batches(&sink, copy, count);
    weir__observe_put(&sink.to, "],\n\"otherData\":{\"left_out\":%" PRIu64 "}}\n", left_out);
    free(copy);
    return sink.to.is_ended ? WEIR_CANCELLED : WEIR_OK;
}
