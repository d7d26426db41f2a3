// scheduler/observe/spans: traces that are JSON, whose slices nest and whose arrows connect.
#include "scheduler/observe/spans.h"
#include "tests/scheduler/trace_reader.h"

static text_t write_trace(weir__spans_t *spans)
{
    text_t text = {.capacity = 8 << 20, .bytes = malloc(8 << 20)};
    assert_non_null(text.bytes);
    assert_int_equal(weir__spans_write(spans, take, &text), WEIR_OK);
    return text;
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
