// tests/scheduler/loop_streams_test.c: requests that are accepted and held outside of the decision
// core: those of a stream, one behind the other, while other things happen.
//
// Goal:   they run in the order in which they came, at the version that their state was made for,
//         and a drain treats them like all others.
// Method: a POLLED loop; callbacks submit, drain and poll, which is where the orders may get mixed.
#include "tests/scheduler/loop_calls.h"

enum { STEPS = 8 };

typedef struct stream stream_t;

typedef struct step {
    call_t call;
    stream_t *stream;
    weir_value_t ins[2], outs[2];
    float y[WORLD_IN];
} step_t;

struct stream {
    world_t world;
    weir_state_t *state;
    step_t steps[STEPS];
    uint32_t order[STEPS], ended;
    void (*first_ended)(stream_t *stream); // called from the callback of step 0
    weir_status_t drain_status;
    int drained;
};

// y = x + s, and that is the next s.
static message_t summing_graph(void)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,8");
    add_input(&graph, "s", 1, "N,8");
    add_node(&graph, "Add", "add", "x,s", "y", (message_t){0});
    add_node(&graph, "Identity", "copy", "y", "t", (message_t){0});
    add_port(&graph, 12, "y", 1, "N,8");
    add_port(&graph, 12, "t", 1, "N,8");
    return graph;
}

static void note_step(const weir_event_t *event, void *user_data)
{
    step_t *step = user_data;
    stream_t *stream = step->stream;
    note_event(event, &step->call);
    stream->order[stream->ended++] = (uint32_t)(step - stream->steps);
    if (step == stream->steps && stream->first_ended)
        stream->first_ended(stream);
}

static weir_status_t take_step(stream_t *stream, uint32_t index, const char *selector)
{
    step_t *step = &stream->steps[index];
    weir_request_t request = request_of(&step->call, 1, 1);
    for (uint32_t k = 0; k < WORLD_IN; k++)
        step->call.x[k] = 1;
    step->stream = stream;
    step->ins[0] = step->call.in;
    step->outs[0] = weir_f32_out(step->y, WORLD_IN);
    request.model = selector;
    request.inputs = step->ins;
    request.outputs = step->outs;
    request.input_count = request.output_count = 2;
    request.state = stream->state;
    return weir_submit(stream->world.scheduler, &request, &step->call.ticket, note_step, step);
}

static void open_stream(stream_t *stream)
{
    weir_state_pair_t pair = {"s", "t"};
    weir_state_options_t options = {.size = sizeof options, .pair_count = 1, .pairs = &pair};
    memset(stream, 0, sizeof *stream);
    world_open(&stream->world, summing_graph(), &polled);
    world_add(&stream->world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                                  .batching = WEIR_BATCHING_ON});
    weir_scheduler_poll(stream->world.scheduler);
    expect_ok(weir_state_create(stream->world.scheduler, "rows", &options, &stream->state));
}

static void close_stream(stream_t *stream)
{
    weir_state_free(stream->state);
    world_close(&stream->world);
}

// All of them ended well, in the order of their numbers.
static void check_steps(stream_t *stream, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        poll_until(&stream->world, &stream->steps[i].call.finals, 1);
        assert_int_equal(stream->steps[i].call.finals, 1);
        assert_int_equal(stream->steps[i].call.code, WEIR_OK);
        assert_int_equal(stream->order[i], i);
        assert_true(stream->steps[i].y[3] == (float)(i + 1));
    }
    assert_int_equal(stream->ended, count);
}

static void submit_third(stream_t *stream)
{
    expect_ok(take_step(stream, 2, "rows"));
}

static void who_comes_between_two_waits_its_turn(void **state)
{
    (void)state;
    static stream_t stream;
    open_stream(&stream);
    stream.first_ended = submit_third;
    expect_ok(take_step(&stream, 0, "rows"));
    expect_ok(take_step(&stream, 1, "rows"));
    check_steps(&stream, 3);
    close_stream(&stream);
}

static void a_stream_stays_with_its_version(void **state)
{
    (void)state;
    static stream_t stream;
    open_stream(&stream);
    expect_ok(take_step(&stream, 0, "rows"));
    expect_ok(weir_scheduler_add(stream.world.scheduler, "rows", "2.0.0", stream.world.model,
        &(weir_serving_options_t){.size = sizeof(weir_serving_options_t)}));
    expect_ok(take_step(&stream, 1, "rows"));
    expect_ok(take_step(&stream, 2, "rows@^1"));
    check_steps(&stream, 3);
    assert_string_equal(stream.steps[1].call.receipt.version, "1.0.0");
    expect_status(take_step(&stream, 3, "row"), WEIR_INVALID_ARGUMENT, "was made for rows@1.0.0");
    expect_status(take_step(&stream, 3, "rows2"), WEIR_INVALID_ARGUMENT, "was made for");
    expect_ok(weir_scheduler_remove(stream.world.scheduler, "rows", "1.0.0"));
    expect_status(take_step(&stream, 3, "rows"), WEIR_NOT_FOUND, "was removed");
    close_stream(&stream);
}

static void a_tensor_is_in_one_pair(void **state)
{
    (void)state;
    static stream_t stream;
    open_stream(&stream);
    weir_state_t *refused;
    weir_state_pair_t twice[2][2] = {{{"s", "t"}, {"x", "t"}}, {{"s", "t"}, {"s", "y"}}};
    for (int i = 0; i < 2; i++)
        expect_status(
            weir_state_create(stream.world.scheduler, "rows",
                &(weir_state_options_t){
                    .size = sizeof(weir_state_options_t), .pair_count = 2, .pairs = twice[i]},
                &refused),
            WEIR_INVALID_ARGUMENT, "one pair of a state");
    close_stream(&stream);
}

// ---- Drains ------------------------------------------------------------------------------------

static void note_drained(void *user_data)
{
    ++*(int *)user_data;
}

static void a_drain_waits_for_who_is_held(void **state)
{
    (void)state;
    static stream_t stream;
    open_stream(&stream);
    for (uint32_t i = 0; i < STEPS; i++)
        expect_ok(take_step(&stream, i, "rows"));
    expect_ok(weir_drain(stream.world.scheduler, 0, note_drained, &stream.drained));
    poll_until(&stream.world, &stream.drained, 1);
    check_steps(&stream, STEPS);
    close_stream(&stream);
}

static void a_drains_deadline_is_for_who_is_held_too(void **state)
{
    (void)state;
    static stream_t stream;
    open_stream(&stream);
    for (uint32_t i = 0; i < STEPS; i++)
        expect_ok(take_step(&stream, i, "rows"));
    expect_ok(weir_drain(stream.world.scheduler, 1, note_drained, &stream.drained));
    poll_until(&stream.world, &stream.drained, 1);
    assert_int_equal(stream.ended, STEPS);
    uint32_t drained = 0;
    for (uint32_t i = 0; i < STEPS; i++) {
        assert_int_equal(stream.steps[i].call.finals, 1);
        assert_true(
            stream.steps[i].call.code == WEIR_OK || stream.steps[i].call.code == WEIR_DRAINING);
        drained += stream.steps[i].call.code == WEIR_DRAINING;
    }
    assert_true(drained >= STEPS - 1);
    close_stream(&stream);
}

static void freeing_ends_a_drain_that_waits(void **state)
{
    (void)state;
    static stream_t stream;
    open_stream(&stream);
    for (uint32_t i = 0; i < STEPS; i++)
        expect_ok(take_step(&stream, i, "rows"));
    expect_ok(weir_drain(stream.world.scheduler, 0, note_drained, &stream.drained));
    weir_state_free(stream.state);
    stream.state = NULL;
    weir_scheduler_free(stream.world.scheduler);
    stream.world.scheduler = NULL;
    assert_int_equal(stream.ended, STEPS);
    assert_int_equal(stream.drained, 1);
    for (uint32_t i = 0; i < STEPS; i++)
        assert_int_equal(stream.steps[i].call.finals, 1);
    close_stream(&stream);
}

static void drain_and_poll(stream_t *stream)
{
    stream->drain_status = weir_drain(stream->world.scheduler, 0, NULL, NULL);
    weir_scheduler_poll(stream->world.scheduler);
}

static void a_callback_neither_waits_nor_polls(void **state)
{
    (void)state;
    static stream_t stream;
    open_stream(&stream);
    stream.first_ended = drain_and_poll;
    for (uint32_t i = 0; i < STEPS; i++)
        expect_ok(take_step(&stream, i, "rows"));
    check_steps(&stream, STEPS);
    expect_status(stream.drain_status, WEIR_INVALID_ARGUMENT, "wait for itself");
    expect_ok(weir_drain(stream.world.scheduler, 0, NULL, NULL)); // outside of callbacks it does
    close_stream(&stream);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_comes_between_two_waits_its_turn),
        cmocka_unit_test(a_stream_stays_with_its_version),
        cmocka_unit_test(a_tensor_is_in_one_pair),
        cmocka_unit_test(a_drain_waits_for_who_is_held),
        cmocka_unit_test(a_drains_deadline_is_for_who_is_held_too),
        cmocka_unit_test(freeing_ends_a_drain_that_waits),
        cmocka_unit_test(a_callback_neither_waits_nor_polls),
    };
    return cmocka_run_group_tests_name("loop_streams", tests, NULL, NULL);
}
