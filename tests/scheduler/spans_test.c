// scheduler/observe/spans: traces that are JSON, whose slices nest and whose arrows connect.
//
// The text is read by a small JSON reader of this file, which knows nothing of traces; events are
// found by their members.
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "scheduler/observe/spans.h"

typedef struct text {
    char *bytes;
    size_t count, capacity;
} text_t;

static int take(void *user_data, const char *bytes, size_t count)
{
    text_t *text = user_data;
    if (text->count + count >= text->capacity)
        return 1;
    memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    text->bytes[text->count] = '\0';
    return 0;
}

static text_t write_trace(weir__spans_t *spans)
{
    text_t text = {.capacity = 8 << 20, .bytes = malloc(8 << 20)};
    assert_non_null(text.bytes);
    assert_int_equal(weir__spans_write(spans, take, &text), WEIR_OK);
    return text;
}

// Reads one JSON value; returns what follows it, or fails.
static const char *skip_value(const char *at)
{
    at += strspn(at, " \n");
    if (*at == '"') {
        for (at++; *at != '"'; at += *at == '\\' ? 2 : 1)
            assert_true((unsigned char)*at >= ' ');
        return at + 1;
    }
    if (*at == '{' || *at == '[') {
        const char close = *at == '{' ? '}' : ']';
        const bool is_object = *at == '{';
        for (at++, at += strspn(at, " \n"); *at != close;) {
            if (is_object) {
                assert_int_equal(*at, '"');
                at = skip_value(at);
                assert_int_equal(*at++, ':');
            }
            at = skip_value(at);
            at += strspn(at, " \n");
            assert_true(*at == ',' || *at == close);
            if (*at == ',') {
                at += 1 + strspn(at + 1, " \n");
                assert_true(*at != close);
            }
        }
        return at + 1;
    }
    char *end = NULL;
    (void)strtod(at, &end);
    assert_true(end > at);
    return end;
}

typedef struct event {
    char name[64], phase[4], category[16], args[256];
    unsigned process, lane;
    double start, end;
    unsigned long long flow;
} event_t;

static const char *member(const char *object, const char *end, const char *key)
{
    const char *found = strstr(object, key);
    return found && found < end ? found + strlen(key) : NULL;
}

static void copy_member(
    const char *object, const char *end, const char *key, const char *stop, char *out, size_t bytes)
{
    const char *at = member(object, end, key);
    (void)snprintf(out, bytes, "%.*s", at ? (int)strcspn(at, stop) : 0, at ? at : "");
}

static uint32_t read_events(const text_t *text, event_t *out, uint32_t most)
{
    const char *end = skip_value(text->bytes);
    assert_string_equal(end, "\n");
    const char *at = strstr(text->bytes, "\"traceEvents\":[");
    assert_non_null(at);
    uint32_t count = 0;
    for (at += strlen("\"traceEvents\":["); *at != ']'; at += *at == ',') {
        at += strspn(at, " \n");
        const char *next = skip_value(at);
        assert_true(count < most);
        event_t *event = &out[count++];
        *event = (event_t){0};
        copy_member(at, next, "\"name\":\"", "\"", event->name, sizeof(event->name));
        copy_member(at, next, "\"ph\":\"", "\"", event->phase, sizeof(event->phase));
        copy_member(at, next, "\"cat\":\"", "\"", event->category, sizeof(event->category));
        copy_member(at, next, "\"args\":{", "}", event->args, sizeof(event->args));
        assert_int_equal(sscanf(member(at, next, "\"pid\":"), "%u", &event->process), 1);
        assert_int_equal(sscanf(member(at, next, "\"tid\":"), "%u", &event->lane), 1);
        event->start = strtod(member(at, next, "\"ts\":"), NULL);
        const char *duration = member(at, next, "\"dur\":"), *id = member(at, next, "\"id\":");
        event->end = event->start + (duration ? strtod(duration, NULL) : 0);
        event->flow = id ? strtoull(id, NULL, 10) : 0;
        at = next;
    }
    return count;
}

// Slices of a lane lie one after the other or one inside the other.
static void expect_nesting(const event_t *events, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t j = 0; j < count; j++) {
            const event_t *a = &events[i], *b = &events[j];
            if (i == j || *a->phase != 'X' || *b->phase != 'X' || a->process != b->process ||
                a->lane != b->lane)
                continue;
            assert_true(a->end <= b->start + 1e-6 || b->end <= a->start + 1e-6 ||
                        (a->start >= b->start - 1e-6 && a->end <= b->end + 1e-6) ||
                        (b->start >= a->start - 1e-6 && b->end <= a->end + 1e-6));
        }
}

// Each step of an arrow lies within a slice of its lane; steps come in order.
static void expect_arrows(const event_t *events, uint32_t count, uint32_t arrows)
{
    uint32_t seen = 0;
    for (uint32_t i = 0; i < count; i++) {
        const event_t *step = &events[i];
        if (!step->flow)
            continue;
        bool is_inside = false;
        for (uint32_t j = 0; j < count; j++)
            is_inside |= *events[j].phase == 'X' && events[j].process == step->process &&
                         events[j].lane == step->lane && events[j].start <= step->start + 1e-6 &&
                         events[j].end >= step->start - 1e-6;
        assert_true(is_inside);
        if (*step->phase != 's')
            continue;
        assert_true(i + 2 < count);
        assert_string_equal(step[1].phase, "t");
        assert_string_equal(step[2].phase, "f");
        assert_true(step[1].flow == step->flow && step[2].flow == step->flow);
        assert_true(step->start <= step[1].start && step[1].start <= step[2].start);
        seen++;
    }
    assert_int_equal(seen, arrows);
}

static uint32_t count_named(const event_t *events, uint32_t count, const char *name)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++)
        found += strcmp(events[i].name, name) == 0 && *events[i].phase == 'X';
    return found;
}

static weir__span_t span_at(uint64_t submitted_ns, uint64_t batch)
{
    weir__span_t span = {.request_id = submitted_ns,
        .batch = batch,
        .submitted_ns = submitted_ns,
        .packing_ns = batch * 100000,
        .started_ns = batch * 100000 + 5000,
        .ended_ns = batch * 100000 + 80000,
        .final_ns = batch * 100000 + 82000,
        .returned_ns = batch * 100000 + 83000,
        .instance = (uint32_t)batch % 2,
        .batch_rows = 4,
        .left = WEIR__DISPATCH_FULL,
        .why = WEIR__FINAL_DONE,
        .device = "cpu"};
    (void)snprintf(span.model, sizeof(span.model), "mini\"lm\\@1");
    return span;
}

// Goal:   batches of four overlapping requests, one that expired in the queue and one that ran
// inline
//         become slices that nest, with an arrow each.
static void overlapping(void **state)
{
    (void)state;
    static event_t events[4000];
    weir__spans_t *spans = NULL;
    assert_int_equal(weir__spans_create(500, &spans), WEIR_OK);
    for (uint64_t batch = 10; batch < 30; batch++)
        for (uint64_t i = 0; i < 4; i++) {
            const weir__span_t span = span_at(batch * 100000 - 150000 + i * 30000, batch);
            weir__spans_note(spans, &span);
        }
    weir__span_t lone = {.submitted_ns = 1000000,
        .final_ns = 1500000,
        .returned_ns = 1500100,
        .why = WEIR__FINAL_EXPIRED_QUEUED,
        .model = "minilm@1"};
    weir__spans_note(spans, &lone);
    lone.packing_ns = lone.started_ns = 1000100;
    lone.ended_ns = 1400000;
    lone.why = WEIR__FINAL_DONE;
    weir__spans_note(spans, &lone);
    const text_t text = write_trace(spans);
    const uint32_t count = read_events(&text, events, 4000);
    expect_nesting(events, count);
    expect_arrows(events, count, 80);
    assert_int_equal(count_named(events, count, "queued"), 82);
    assert_int_equal(count_named(events, count, "packed"), 81);
    assert_int_equal(count_named(events, count, "run"), 81);
    assert_int_equal(count_named(events, count, "scatter"), 81);
    assert_int_equal(count_named(events, count, "callback"), 82);
    uint32_t batches = 0, names = 0;
    for (uint32_t i = 0; i < count; i++) {
        batches += strcmp(events[i].category, "batch") == 0;
        names += strcmp(events[i].name, "thread_name") == 0;
    }
    assert_int_equal(batches, 20);
    assert_int_equal(names, 2);
    assert_non_null(strstr(text.bytes, "\"result\":\"expired_queued\""));
    assert_non_null(strstr(text.bytes, "\"name\":\"cpu, instance 1\""));
    assert_non_null(strstr(text.bytes, "mini\\\"lm\\\\@1"));
    assert_non_null(strstr(text.bytes, "\"left_out\":0"));
    free(text.bytes);
    weir__spans_free(spans);
}

// Goal: the last ones are kept; more than the lanes hold are counted, not drawn over each other.
static void bounds(void **state)
{
    (void)state;
    static event_t events[8000];
    weir__spans_t *spans = NULL;
    assert_int_equal(weir__spans_create(300, &spans), WEIR_OK);
    text_t text = write_trace(spans); // of nothing
    assert_int_equal(read_events(&text, events, 8000), 2);
    free(text.bytes);
    for (uint64_t i = 0; i < 1000; i++) {
        const weir__span_t span = span_at(900000 + i, 20);
        weir__spans_note(spans, &span);
    }
    text = write_trace(spans);
    const uint32_t count = read_events(&text, events, 8000);
    assert_int_equal(count_named(events, count, "queued"), 256);
    assert_non_null(strstr(text.bytes, "\"left_out\":44"));
    assert_null(strstr(text.bytes, "\"request\":900699,")); // the last 300
    assert_non_null(strstr(text.bytes, "\"request\":900700,"));
    assert_int_equal(weir__spans_write(spans, take, &(text_t){.capacity = 1}), WEIR_CANCELLED);
    free(text.bytes);
    weir__spans_free(spans);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(overlapping),
        cmocka_unit_test(bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
