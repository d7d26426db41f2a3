// tests/scheduler/loop_models_test.c: models under names and versions, state between requests, the
// tap, the metrics.
#include "tests/scheduler/loop_calls.h"

// ---- Models ------------------------------------------------------------------------------------

static void add_version(world_t *world, const char *version, const char *label)
{
    expect_ok(weir_scheduler_add(world->scheduler, "rows", version, world->model,
        &(weir_serving_options_t){
            .size = sizeof(weir_serving_options_t), .batching = WEIR_BATCHING_ON, .label = label}));
}

static void expect_version(world_t *world, const char *selector, const char *version)
{
    call_t call;
    weir_request_t request = request_of(&call, 5, 1);
    request.model = selector;
    expect_ok(submit(world, &call, &request));
    poll_until(world, &call.finals, 1);
    check_answer(world, &call);
    assert_string_equal(call.receipt.version, version);
    assert_string_equal(call.receipt.model, "rows");
    assert_int_equal(strlen(call.receipt.digest), 32);
    assert_int_equal(strlen(call.receipt.fingerprint), 16);
}

static void selectors_find_versions(void **state)
{
    (void)state;
    world_t world;
    call_t call;
    world_open(&world, rows_graph(), &polled);
    add_version(&world, "1.9.0", "stable");
    add_version(&world, "1.10.0", NULL);
    add_version(&world, "2.0.0", NULL);
    expect_version(&world, "rows", "2.0.0");
    expect_version(&world, "rows@^1", "1.10.0");
    expect_version(&world, "rows@^1.9", "1.10.0");
    expect_version(&world, "rows@1.9.0", "1.9.0");
    expect_version(&world, "rows@stable", "1.9.0");
    expect_ok(weir_scheduler_label(world.scheduler, "rows", "2.0.0", "stable"));
    expect_version(&world, "rows@stable", "2.0.0");
    weir_request_t request = request_of(&call, 1, 1);
    static const char *const unknown[] = {"rows@^3", "rows@^1.11", "rows@1", "rows@new", "row", ""};
    for (size_t i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
        request.model = unknown[i];
        expect_status(submit(&world, &call, &request), WEIR_NOT_FOUND, "no such name");
    }
    expect_status(weir_scheduler_add(world.scheduler, "rows", "2.0.0", world.model, NULL),
        WEIR_INVALID_ARGUMENT, "is served already");
    expect_status(weir_scheduler_label(world.scheduler, "rows", "2.0.0", "7up"),
        WEIR_INVALID_ARGUMENT, "begins with a letter");
    world_close(&world);
}

static void a_removed_version_ends_what_it_took(void **state)
{
    (void)state;
    world_t world;
    call_t old, other;
    world_open(&world, rows_graph(), &polled);
    add_version(&world, "1.0.0", NULL);
    for (uint32_t round = 0; round < 300; round++) { // more often than there are places
        weir_request_t request = request_of(&old, round, 1);
        expect_ok(submit(&world, &old, &request));
        expect_ok(weir_scheduler_remove(world.scheduler, "rows", round % 2 ? "2.0.0" : "1.0.0"));
        expect_status(submit(&world, &other, &request), WEIR_NOT_FOUND, "no such name");
        add_version(&world, round % 2 ? "1.0.0" : "2.0.0", NULL);
        poll_until(&world, &old.finals, 1);
        check_answer(&world, &old);
    }
    expect_status(
        weir_scheduler_remove(world.scheduler, "rows", "3.0.0"), WEIR_NOT_FOUND, "is not served");
    world_close(&world);
}

// ---- Rollouts, with somebody who asks all the time ---------------------------------------------

typedef struct asker {
    world_t *world;
    const char *selector;
    atomic_int stop;
    uint32_t asked;
} asker_t;

static void *ask(void *user_data)
{
    asker_t *asker = user_data;
    static call_t calls[2];
    call_t *call = &calls[asker->selector[4] == '@'];
    while (!atomic_load(&asker->stop)) {
        weir_request_t request = request_of(call, asker->asked++, 1);
        request.model = asker->selector;
        expect_ok(weir_submit(asker->world->scheduler, &request, &call->ticket, NULL, NULL));
        expect_ok(weir_wait(asker->world->scheduler, call->ticket, 0, NULL));
    }
    return NULL;
}

static void a_rollout_is_never_between_versions(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, rows_graph(), NULL);
    asker_t askers[] = {
        {.world = &world, .selector = "rows"}, {.world = &world, .selector = "rows@stable"}};
    pthread_t threads[2];
    add_version(&world, "1.0.0", "stable");
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    for (uint32_t round = 0; round < 200; round++) { // places before and behind the old one
        add_version(&world, round % 2 ? "1.0.0" : "2.0.0", "stable");
        expect_ok(weir_scheduler_remove(world.scheduler, "rows", round % 2 ? "2.0.0" : "1.0.0"));
    }
    for (int i = 0; i < 2; i++) {
        atomic_store(&askers[i].stop, 1);
        pthread_join(threads[i], NULL);
        assert_true(askers[i].asked > 0);
    }
    world_close(&world);
}

// y = x - the mean over the rows.
static message_t mixing_graph(void)
{
    static const int64_t axis[] = {0};
    message_t graph = {0};
    message_t attributes = {0};
    attribute_ints(&attributes, "axes", 1, axis);
    attribute_int(&attributes, "keepdims", 1);
    add_input(&graph, "x", 1, "N,8");
    add_node(&graph, "ReduceMean", "mean", "x", "m", attributes);
    add_node(&graph, "Sub", "sub", "x,m", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, "N,8");
    return graph;
}

static void rows_that_see_each_other_are_not_stacked(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[4];
    float y[4][WORLD_IN];
    world_open(&world, mixing_graph(), &polled);
    world_add(&world, NULL);
    weir_served_t served = {.size = sizeof served};
    assert_int_equal(1, weir_scheduler_served(world.scheduler, 0, &served));
    assert_int_equal(served.max_batch, 1);
    assert_string_equal(
        served.batching, "not stacked: rows alone and in a batch of 2 have other bits");
    for (uint32_t i = 0; i < 4; i++) {
        weir_request_t request = request_of(&calls[i], i, 1);
        calls[i].out = weir_f32_out(y[i], WORLD_IN);
        expect_ok(submit(&world, &calls[i], &request));
    }
    for (uint32_t i = 0; i < 4; i++) {
        poll_until(&world, &calls[i].finals, 1);
        for (uint32_t k = 0; k < WORLD_IN; k++)
            assert_true(y[i][k] == 0);
    }
    world_close(&world);
}

// ---- State and tap -----------------------------------------------------------------------------

// y = x + s, and that is the next s.
static message_t adding_graph(void)
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

// y = x - the mean over the rows, of indices.
static message_t mixing_indices_graph(void)
{
    static const int64_t axis[] = {0};
    message_t graph = {0}, mean = {0}, cast = {0};
    attribute_ints(&mean, "axes", 1, axis);
    attribute_int(&mean, "keepdims", 1);
    attribute_int(&cast, "to", 1);
    add_input(&graph, "i", 7, "N,8");
    add_node(&graph, "Cast", "cast", "i", "x", cast);
    add_node(&graph, "ReduceMean", "mean", "x", "m", mean);
    add_node(&graph, "Sub", "sub", "x,m", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, "N,8");
    return graph;
}

// Rows of indices are made to differ, and where they cannot the check says so.
static void rows_of_indices_are_checked(void **state)
{
    (void)state;
    world_t world;
    int64_t numbers[WORLD_IN] = {3, 1, 4, 1, 5, 9, 2, 6};
    weir_value_t sample = {.dtype = WEIR_I64,
        .rank = 2,
        .dims = {1, WORLD_IN},
        .data = numbers,
        .capacity_bytes = sizeof numbers};
    weir_serving_options_t options = {.size = sizeof options, .sample = &sample};
    weir_served_t served = {.size = sizeof served};
    world_open(&world, mixing_indices_graph(), &polled);
    world_add(&world, &options);
    for (int i = 0; i < WORLD_IN; i++)
        numbers[i] = 7;
    expect_ok(weir_scheduler_add(world.scheduler, "rows", "2.0.0", world.model, &options));
    for (uint32_t m = 0; m < 2; m++) {
        assert_int_equal(1, weir_scheduler_served(world.scheduler, m, &served));
        assert_int_equal(served.max_batch, 1);
        assert_non_null(strstr(served.batching, m ? "all alike" : "have other bits"));
    }
    sample.dtype = 77; // nothing that has a size
    expect_status(weir_scheduler_add(world.scheduler, "rows", "3.0.0", world.model, &options),
        WEIR_INVALID_ARGUMENT, "another type than the model's input");
    world_close(&world);
}

static void state_is_kept_in_order(void **state)
{
    (void)state;
    enum { STREAMS = 3, STEPS = 20 };
    world_t world;
    weir_state_t *streams[STREAMS];
    static call_t calls[STREAMS][STEPS];
    static float y[STREAMS][STEPS][WORLD_IN];
    static weir_value_t ins[STREAMS][STEPS][2], outs[STREAMS][STEPS][2];
    world_open(&world, adding_graph(), &polled);
    world_add(&world,
        &(weir_serving_options_t){.size = sizeof(weir_serving_options_t), .instances_min = 2});
    weir_state_pair_t pair = {"s", "t"};
    weir_state_options_t options = {.size = sizeof options, .pair_count = 1, .pairs = &pair};
    weir_state_pair_t wrong = {"s", "u"};
    expect_status(
        weir_state_create(world.scheduler, "rows",
            &(weir_state_options_t){.size = sizeof options, .pair_count = 1, .pairs = &wrong},
            &streams[0]),
        WEIR_NOT_FOUND, "no output \"u\"");
    for (uint32_t s = 0; s < STREAMS; s++)
        expect_ok(weir_state_create(world.scheduler, "rows", &options, &streams[s]));
    for (uint32_t i = 0; i < STEPS; i++)
        for (uint32_t s = 0; s < STREAMS; s++) {
            call_t *call = &calls[s][i];
            weir_request_t request = request_of(call, 1, 1);
            for (uint32_t k = 0; k < WORLD_IN; k++)
                call->x[k] = (float)(s + 1);
            ins[s][i][0] = call->in;
            ins[s][i][1] = (weir_value_t){0};
            outs[s][i][0] = weir_f32_out(y[s][i], WORLD_IN);
            outs[s][i][1] = (weir_value_t){0};
            request.inputs = ins[s][i];
            request.outputs = outs[s][i];
            request.input_count = request.output_count = 2;
            request.state = streams[s];
            expect_ok(submit(&world, call, &request));
        }
    // One of them does not count: cancelled, it leaves the state as it was.
    weir_cancel(world.scheduler, calls[1][7].ticket);
    for (uint32_t i = 0; i < STEPS; i++)
        for (uint32_t s = 0; s < STREAMS; s++) {
            poll_until(&world, &calls[s][i].finals, 1);
            bool cancelled = s == 1 && i == 7;
            assert_int_equal(calls[s][i].code, cancelled ? WEIR_CANCELLED : WEIR_OK);
            uint32_t steps = i + 1 - (s == 1 && i > 7);
            if (!cancelled)
                assert_true(y[s][i][3] == (float)((s + 1) * steps));
        }
    expect_ok(weir_state_reset(streams[0]));
    weir_request_t request = request_of(&calls[0][0], 1, 1);
    request.inputs = ins[0][0];
    request.outputs = outs[0][0];
    request.input_count = request.output_count = 2;
    request.state = streams[0];
    calls[0][0].x[3] = 5;
    expect_ok(submit(&world, &calls[0][0], &request));
    expect_status(weir_state_reset(streams[0]), WEIR_UNAVAILABLE, "in flight");
    poll_until(&world, &calls[0][0].finals, 1);
    assert_true(y[0][0][3] == 5);
    for (uint32_t s = 0; s < STREAMS; s++)
        weir_state_free(streams[s]);
    world_close(&world);
}

static void a_tap_has_copies(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[10];
    weir_tap_t *tap, *other;
    weir_tap_sample_t sample;
    open_polled(&world);
    expect_ok(weir_tap_open(world.scheduler, "rows@1.0.0",
        &(weir_tap_options_t){.size = sizeof(weir_tap_options_t), .every = 2, .count = 3}, &tap));
    expect_status(weir_tap_open(world.scheduler, "rows", NULL, &other), WEIR_UNAVAILABLE,
        "has a tap already");
    for (uint32_t i = 0; i < 10; i++) {
        weir_request_t request = request_of(&calls[i], i, 1);
        expect_ok(submit(&world, &calls[i], &request));
        poll_until(&world, &calls[i].finals, 1);
    }
    for (uint32_t i = 0; i < 3; i++) { // of five, two were dropped
        assert_int_equal(1, weir_tap_next(tap, &sample));
        assert_int_equal(sample.request_id, 2 * i);
        assert_memory_equal(sample.inputs[0].data, calls[2 * i].x, WORLD_IN * sizeof(float));
        assert_memory_equal(sample.outputs[0].data, calls[2 * i].y, WORLD_OUT * sizeof(float));
        assert_int_equal(sample.outputs[0].dims[1], WORLD_OUT);
    }
    assert_int_equal(0, weir_tap_next(tap, &sample));
    assert_int_equal(weir_tap_dropped(tap), 2);
    weir_tap_free(tap);
    weir_scheduler_poll(world.scheduler);
    expect_ok(weir_tap_open(world.scheduler, "rows", NULL, &other));
    weir_tap_free(other);
    weir_scheduler_poll(world.scheduler);
    world_close(&world);
}

// ---- Metrics -----------------------------------------------------------------------------------

typedef struct text {
    char data[1 << 17];
    size_t count;
} text_t;

static int append(void *user_data, const char *piece, size_t bytes)
{
    text_t *text = user_data;
    assert_true(text->count + bytes < sizeof text->data);
    memcpy(text->data + text->count, piece, bytes);
    text->count += bytes;
    text->data[text->count] = '\0';
    return 0;
}

static void requests_are_counted(void **state)
{
    (void)state;
    world_t world;
    call_t call;
    static text_t text;
    static const weir_tenant_t tenants[] = {{.name = "a", .weight = 1}, {.name = "b"}};
    weir_scheduler_options_t options = polled;
    options.tenants = tenants;
    options.tenant_count = 2;
    world_open(&world, rows_graph(), &options);
    world_add(&world, NULL);
    for (uint32_t i = 0; i < 7; i++) {
        weir_request_t request = request_of(&call, i, 1);
        request.tenant = 1;
        expect_ok(submit(&world, &call, &request));
        poll_until(&world, &call.finals, 1);
    }
    expect_ok(weir_scheduler_metrics(world.scheduler, append, &text));
    assert_non_null(strstr(
        text.data, "weir_requests_total{model=\"rows\",version=\"1.0.0\",result=\"done\"} 7\n"));
    assert_non_null(
        strstr(text.data, "weir_tenant_requests_total{tenant=\"b\",result=\"done\"} 7\n"));
    assert_non_null(strstr(text.data, "weir_rows_total{model=\"rows\",version=\"1.0.0\"} 7\n"));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(selectors_find_versions),
        cmocka_unit_test(a_removed_version_ends_what_it_took),
        cmocka_unit_test(a_rollout_is_never_between_versions),
        cmocka_unit_test(rows_that_see_each_other_are_not_stacked),
        cmocka_unit_test(rows_of_indices_are_checked),
        cmocka_unit_test(state_is_kept_in_order),
        cmocka_unit_test(a_tap_has_copies),
        cmocka_unit_test(requests_are_counted),
    };
    return cmocka_run_group_tests_name("loop_models", tests, NULL, NULL);
}
