// tests/scheduler/trace_reader.h: reads trace events back, and says whether slices nest and arrows
// connect.
//
// A small JSON reader that knows nothing of traces; events are found by their members.
#ifndef WEIR_TEST_TRACE_READER_H
#define WEIR_TEST_TRACE_READER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct text {
    char *bytes;
    size_t count, capacity;
} text_t;

static inline int take(void *user_data, const char *bytes, size_t count)
{
    text_t *text = user_data;
    if (text->count + count >= text->capacity)
        return 1;
    memcpy(text->bytes + text->count, bytes, count);
    text->count += count;
    text->bytes[text->count] = '\0';
    return 0;
}

// Reads one JSON value; returns what follows it, or fails.
static inline const char *skip_value(const char *at)
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

static inline const char *member(const char *object, const char *end, const char *key)
{
    const char *found = strstr(object, key);
    return found && found < end ? found + strlen(key) : NULL;
}

static inline void copy_member(
    const char *object, const char *end, const char *key, const char *stop, char *out, size_t bytes)
{
    const char *at = member(object, end, key);
    (void)snprintf(out, bytes, "%.*s", at ? (int)strcspn(at, stop) : 0, at ? at : "");
}

static inline uint32_t read_events(const text_t *text, event_t *out, uint32_t most)
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
static inline void expect_nesting(const event_t *events, uint32_t count)
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
static inline void expect_arrows(const event_t *events, uint32_t count, uint32_t arrows)
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

static inline uint32_t count_named(const event_t *events, uint32_t count, const char *name)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++)
        found += strcmp(events[i].name, name) == 0 && *events[i].phase == 'X';
    return found;
}

#endif
