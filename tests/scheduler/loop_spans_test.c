// The real loop's spans: every request of a storm has its way in the trace, in the right order.
#include "tests/scheduler/loop_world.h"
#include "tests/scheduler/trace_reader.h"

enum { REQUESTS = 300, EVENTS_MAX = 6000 };

static atomic_uint ended;

static void on_event(const weir_event_t *event, void *user_data)
{
    (void)event;
    (void)user_data;
    atomic_fetch_add(&ended, 1);
}

// Goal:   requests that are answered, cancelled or cannot be in time are all in the trace; its
// slices
//         nest, so a part never begins before the one before it has ended.
// Method: bursts, so that batches form; cancels right away; deadlines of a nanosecond.
static void storm(void **state)
{
    (void)state;
    static float x[REQUESTS][WORLD_IN], y[REQUESTS][WORLD_OUT];
    static weir_value_t inputs[REQUESTS], outputs[REQUESTS];
    static event_t events[EVENTS_MAX];
    const weir_scheduler_options_t options = {.size = sizeof options, .spans = REQUESTS};
    world_t world;
    world_open(&world, rows_graph(), &options);
    world_add(&world, NULL);
    atomic_store(&ended, 0);
    uint32_t accepted = 0;
    for (uint32_t i = 0; i < REQUESTS; i++) {
        inputs[i] = weir_f32(x[i], 2, 1, WORLD_IN);
        outputs[i] = weir_f32_out(y[i], WORLD_OUT);
        weir_request_t request = {.size = sizeof request,
            .model = "rows",
            .inputs = &inputs[i],
            .input_count = 1,
            .outputs = &outputs[i],
            .output_count = 1,
            .request_id = 1000 + i,
            .deadline_ns = i % 10 == 3 ? weir_now_ns() + 20000 : 0};
        weir_ticket_t ticket = 0;
        weir_status_t status = weir_submit(world.scheduler, &request, &ticket, on_event, NULL);
        accepted += !status;
        weir_status_free(status);
        if (i % 10 == 7)
            weir_cancel(world.scheduler, ticket);
    }
    expect_ok(weir_drain(world.scheduler, 0, NULL, NULL));
    assert_int_equal(atomic_load(&ended), accepted);
    text_t text = {.capacity = 4 << 20, .bytes = malloc(4 << 20)};
    assert_non_null(text.bytes);
    expect_ok(weir_scheduler_spans(world.scheduler, take, &text));
    const uint32_t count = read_events(&text, events, EVENTS_MAX);
    expect_nesting(events, count);
    uint32_t requests = 0, batches = 0, arrows = 0;
    for (uint32_t i = 0; i < count; i++) {
        requests += strcmp(events[i].category, "request") == 0;
        batches += strcmp(events[i].category, "batch") == 0;
        arrows += events[i].flow && *events[i].phase == 's';
    }
    const char *left_out = strstr(text.bytes, "\"left_out\":");
    assert_non_null(left_out);
    assert_int_equal(requests + strtoul(left_out + strlen("\"left_out\":"), NULL, 10), accepted);
    expect_arrows(events, count, arrows);
    assert_true(batches > 0 && arrows >= batches);
    assert_non_null(strstr(text.bytes, "\"name\":\"rows@1.0.0\""));
    free(text.bytes);
    world_close(&world);
}

// Goal: who did not ask for spans is told so.
static void none(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, rows_graph(), NULL);
    expect_status(weir_scheduler_spans(world.scheduler, take, NULL), WEIR_UNAVAILABLE, "spans");
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(storm),
        cmocka_unit_test(none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
