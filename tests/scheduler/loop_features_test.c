// tests/scheduler/loop_features_test.c: what the public header promises, one promise a test.
//
// Most of them use a POLLED loop: nothing happens between two polls, so that what is queued when is
// the test's to say.
#include "tests/scheduler/loop_calls.h"

#include <dirent.h>
#include <sys/resource.h>
#include <uv.h>

// ---- Refusals ----------------------------------------------------------------------------------

static void wrong_requests_are_refused_with_reasons(void **state)
{
    (void)state;
    world_t world;
    call_t call;
    world_open(&world, rows_graph(), NULL);
    weir_request_t request = request_of(&call, 1, 2);
    expect_status(submit(&world, &call, &request), WEIR_NOT_FOUND, "nothing is served yet");
    world_add(&world, NULL);
    request.model = "cols";
    expect_status(submit(&world, &call, &request), WEIR_NOT_FOUND, "model \"cols\": no such name");
    request = request_of(&call, 1, 2);
    call.in.dims[1] = 7;
    expect_status(submit(&world, &call, &request), WEIR_INVALID_ARGUMENT,
        "input \"x\" of rows@1.0.0: dims [2, 7], expected [N, 8]");
    request = request_of(&call, 1, 2);
    call.in.dtype = WEIR_I32;
    expect_status(
        submit(&world, &call, &request), WEIR_INVALID_ARGUMENT, "it is i32, expected f32");
    request = request_of(&call, 1, 2);
    call.in.capacity_bytes--;
    expect_status(submit(&world, &call, &request), WEIR_INVALID_ARGUMENT, "more bytes than the 63");
    request = request_of(&call, 1, 2);
    call.in.dims[0] = 33;
    call.in.capacity_bytes = 33 * 32;
    expect_status(submit(&world, &call, &request), WEIR_INVALID_ARGUMENT, "has 33 rows; 1 to 32");
    request = request_of(&call, 1, 2);
    call.in.dims[0] = INT64_MAX;
    expect_status(submit(&world, &call, &request), WEIR_INVALID_ARGUMENT, "more bytes than");
    request = request_of(&call, 1, 2);
    request.input_count = 0;
    expect_status(submit(&world, &call, &request), WEIR_INVALID_ARGUMENT, "1 inputs and 1 outputs");
    request = request_of(&call, 1, 2);
    call.out = weir_view();
    expect_status(submit(&world, &call, &request), WEIR_INVALID_ARGUMENT, "caller's buffers");
    request = request_of(&call, 1, 2);
    request.tenant = 1;
    expect_status(submit(&world, &call, &request), WEIR_INVALID_ARGUMENT, "tenants 0 to 0");
    request = request_of(&call, 1, 2);
    request.deadline_ns = 1;
    expect_status(submit(&world, &call, &request), WEIR_DEADLINE_EXCEEDED, "had passed");
    assert_int_equal(call.finals, 0);
    world_close(&world);
}

static void a_full_queue_refuses_at_once(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[9];
    weir_scheduler_options_t options = polled;
    options.requests = 8;
    world_open(&world, rows_graph(), &options);
    world_add(&world, NULL);
    for (uint32_t i = 0; i < 9; i++) {
        weir_request_t request = request_of(&calls[i], i, 1);
        weir_status_t status = submit(&world, &calls[i], &request);
        if (i < 8) {
            expect_ok(status);
            assert_true(calls[i].ticket != 0);
            continue;
        }
        expect_status(status, WEIR_RESOURCE_EXHAUSTED, "the queue is full");
        assert_true(request.retry_after_ns > 0);
        assert_int_equal(calls[i].ticket, 0);
    }
    for (uint32_t i = 0; i < 8; i++)
        poll_until(&world, &calls[i].finals, 1);
    for (uint32_t i = 0; i < 8; i++)
        check_answer(&world, &calls[i]);
    world_close(&world);
}

static void bytes_of_the_queue_are_bounded(void **state)
{
    (void)state;
    world_t world;
    call_t first, second;
    weir_scheduler_options_t options = polled;
    options.queue_bytes = 3 * WORLD_IN * sizeof(float);
    world_open(&world, rows_graph(), &options);
    world_add(&world, NULL);
    weir_request_t request = request_of(&first, 1, 2);
    expect_ok(submit(&world, &first, &request));
    request = request_of(&second, 2, 2);
    expect_status(submit(&world, &second, &request), WEIR_RESOURCE_EXHAUSTED, "as many bytes");
    poll_until(&world, &first.finals, 1);
    expect_ok(submit(&world, &second, &request));
    poll_until(&world, &second.finals, 1);
    check_answer(&world, &second);
    world_close(&world);
}

// ---- Batches -----------------------------------------------------------------------------------

static void what_waits_leaves_together(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[8];
    open_polled(&world);
    for (uint32_t i = 0; i < 8; i++) {
        weir_request_t request = request_of(&calls[i], i, 1 + i % 3);
        expect_ok(submit(&world, &calls[i], &request));
    }
    for (uint32_t i = 0; i < 8; i++) {
        poll_until(&world, &calls[i].finals, 1);
        check_answer(&world, &calls[i]);
    }
    weir_scheduler_info_t info = {.size = sizeof info};
    weir_scheduler_describe(world.scheduler, &info);
    assert_int_equal(info.batch_rows, 15);
    assert_true(info.batches < 8);
    world_close(&world);
}

// y[i] = table[index[i]]: an index out of range is an error of the run.
static message_t picking_graph(void)
{
    static const int64_t dims[] = {5, WORLD_OUT};
    float table[5 * WORLD_OUT];
    message_t graph = {0};
    for (int i = 0; i < 5 * WORLD_OUT; i++)
        table[i] = (float)i;
    add_input(&graph, "index", 7, "N");
    put_message(&graph, 5, raw_tensor("table", 1, 2, dims, table, sizeof table));
    add_node(&graph, "Gather", "pick", "table,index", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, "N,4");
    return graph;
}

static void a_bad_request_fails_alone(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[6];
    int64_t indices[6] = {0, 3, 9, 2, 4, 1};
    world_open(&world, picking_graph(), &polled);
    world_add(&world, NULL);
    for (uint32_t i = 0; i < 6; i++) {
        weir_request_t request = request_of(&calls[i], i, 1);
        calls[i].in = weir_i64(&indices[i], 1, 1);
        expect_ok(submit(&world, &calls[i], &request));
    }
    for (uint32_t i = 0; i < 6; i++) {
        poll_until(&world, &calls[i].finals, 1);
        assert_int_equal(calls[i].finals, 1);
        assert_int_equal(calls[i].code, i == 2 ? WEIR_INVALID_ARGUMENT : WEIR_OK);
        for (int k = 0; k < WORLD_OUT && i != 2; k++)
            assert_true(calls[i].y[k] == (float)(indices[i] * WORLD_OUT + k));
    }
    assert_non_null(strstr(calls[2].text, "pick"));
    assert_int_equal(calls[2].receipt.left, WEIR_LEFT_RERUN);
    world_close(&world);
}

static void a_small_buffer_fails_alone(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[3];
    open_polled(&world);
    for (uint32_t i = 0; i < 3; i++) {
        weir_request_t request = request_of(&calls[i], i, 2);
        if (i == 1)
            calls[i].out.capacity_bytes = 2 * WORLD_OUT * sizeof(float) - 1;
        expect_ok(submit(&world, &calls[i], &request));
    }
    for (uint32_t i = 0; i < 3; i++) {
        poll_until(&world, &calls[i].finals, 1);
        if (i != 1)
            check_answer(&world, &calls[i]);
    }
    assert_int_equal(calls[1].code, WEIR_RESOURCE_EXHAUSTED);
    assert_int_equal(calls[1].out.rank, 2);
    assert_int_equal(calls[1].out.dims[0], 2);
    assert_int_equal(calls[1].out.dims[1], WORLD_OUT);
    world_close(&world);
}

// y = relu(x) of up to 7, and its sum: filling with zeros changes neither.
static message_t lengths_graph(void)
{
    static const int64_t axis[] = {1};
    message_t graph = {0};
    message_t attributes = {0};
    attribute_int(&attributes, "keepdims", 0);
    add_input(&graph, "x", 1, "N,L");
    add_int64s(&graph, "axis", 1, axis);
    add_node(&graph, "Relu", "relu", "x", "y", (message_t){0});
    add_node(&graph, "ReduceSum", "sum", "y,axis", "s", attributes);
    add_port(&graph, 12, "y", 1, "N,L");
    add_port(&graph, 12, "s", 1, "N");
    return graph;
}

static void declared_lengths_are_filled_and_cut_back(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[6];
    float y[6][WORLD_IN], sums[6];
    weir_value_t outs[6][2];
    static const int64_t lengths[] = {5, 6, 7, 7, 5, 6}; // run at 6 and 7
    weir_padding_t padding = {
        .input = 0, .axis = 1, .output = 0, .output_axis = 1, .length_max = 7};
    world_open(&world, lengths_graph(), &polled);
    world_add(&world,
        &(weir_serving_options_t){
            .size = sizeof(weir_serving_options_t), .paddings = &padding, .padding_count = 1});
    for (uint32_t i = 0; i < 6; i++) {
        weir_request_t request = request_of(&calls[i], i, 1);
        calls[i].in = weir_f32(calls[i].x, 2, 1, lengths[i]);
        outs[i][0] = weir_f32_out(y[i], WORLD_IN);
        outs[i][1] = weir_f32_out(&sums[i], 1);
        request.outputs = outs[i];
        request.output_count = 2;
        request.flags = WEIR_REQUEST_INLINE; // nothing is filled there
        expect_ok(submit(&world, &calls[i], &request));
        assert_int_equal(calls[i].finals, 0);
    }
    uint32_t together = 0;
    for (uint32_t i = 0; i < 6; i++) {
        poll_until(&world, &calls[i].finals, 1);
        assert_int_equal(calls[i].code, WEIR_OK);
        assert_int_equal(outs[i][0].dims[1], lengths[i]);
        float sum = 0;
        for (int64_t k = 0; k < lengths[i]; k++) {
            float expected = calls[i].x[k] > 0 ? calls[i].x[k] : 0;
            assert_true(y[i][k] == expected);
            sum += expected;
        }
        assert_true(sums[i] == sum); // sixteenths: exact in any order
        together += calls[i].receipt.batch_size > 1;
    }
    assert_true(together >= 3); // different lengths did run together
    world_close(&world);
}

// ---- Ends --------------------------------------------------------------------------------------

static void a_cancelled_request_never_runs(void **state)
{
    (void)state;
    world_t world;
    call_t call, kept;
    open_polled(&world);
    weir_request_t request = request_of(&call, 1, 1);
    expect_ok(submit(&world, &call, &request));
    weir_request_t second = request_of(&kept, 2, 1);
    expect_ok(submit(&world, &kept, &second));
    weir_cancel(world.scheduler, call.ticket);
    weir_cancel(world.scheduler, call.ticket); // idempotent
    weir_cancel(world.scheduler, 0);
    weir_cancel(world.scheduler, ~(weir_ticket_t)0);
    poll_until(&world, &kept.finals, 1);
    poll_until(&world, &call.finals, 1);
    weir_cancel(world.scheduler, call.ticket); // stale
    weir_scheduler_poll(world.scheduler);
    assert_int_equal(call.finals, 1);
    assert_int_equal(call.code, WEIR_CANCELLED);
    check_answer(&world, &kept);
    world_close(&world);
}

static void a_deadline_in_the_queue_is_met_by_an_answer(void **state)
{
    (void)state;
    world_t world;
    call_t call;
    open_polled(&world);
    weir_request_t request = request_of(&call, 1, 1);
    request.deadline_ns = weir_now_ns() + WEIR_MS / 10;
    expect_ok(submit(&world, &call, &request));
    while (weir_now_ns() < request.deadline_ns)
        ;
    poll_until(&world, &call.finals, 1);
    assert_int_equal(call.code, WEIR_DEADLINE_EXCEEDED);
    assert_int_equal(call.receipt.batch_id, 0);
    world_close(&world);
}

static void a_default_deadline_does_not_wrap(void **state)
{
    (void)state;
    world_t world;
    call_t call;
    world_open(&world, rows_graph(), &polled);
    world_add(&world, &(weir_serving_options_t){
                          .size = sizeof(weir_serving_options_t), .deadline_ns = UINT64_MAX});
    weir_request_t request = request_of(&call, 1, 1);
    expect_ok(submit(&world, &call, &request));
    poll_until(&world, &call.finals, 1);
    check_answer(&world, &call);
    world_close(&world);
}

static void a_lone_request_may_run_inline(void **state)
{
    (void)state;
    world_t world;
    call_t call, queued, beside;
    world_open(&world, rows_graph(), &polled);
    world_add(&world, NULL);
    weir_request_t request = request_of(&call, 3, 3);
    request.flags = WEIR_REQUEST_INLINE;
    expect_ok(submit(&world, &call, &request));
    check_answer(&world, &call); // it ended before the return
    assert_int_equal(call.receipt.left, WEIR_LEFT_INLINE);
    assert_true(pthread_equal(call.thread, pthread_self()));
    assert_int_equal(call.ticket, 0);
    // Not where something is queued.
    weir_request_t other = request_of(&queued, 4, 1);
    expect_ok(submit(&world, &queued, &other));
    request = request_of(&beside, 5, 1);
    request.flags = WEIR_REQUEST_INLINE;
    expect_ok(submit(&world, &beside, &request));
    assert_int_equal(beside.finals, 0);
    poll_until(&world, &beside.finals, 1);
    poll_until(&world, &queued.finals, 1);
    check_answer(&world, &beside);
    world_close(&world);
}

static void a_caller_may_wait(void **state)
{
    (void)state;
    world_t world;
    call_t call;
    world_open(&world, rows_graph(), NULL);
    world_add(&world, NULL);
    for (uint32_t i = 0; i < 100; i++) {
        weir_request_t request = request_of(&call, i, 2);
        weir_event_t event;
        expect_ok(weir_submit(world.scheduler, &request, &call.ticket, NULL, NULL));
        expect_ok(weir_wait(world.scheduler, call.ticket, 0, &event));
        call.finals = 1;
        check_answer(&world, &call);
        assert_int_equal(event.request_id, i);
        expect_status(
            weir_wait(world.scheduler, call.ticket, 0, NULL), WEIR_NOT_FOUND, "no request");
    }
    weir_request_t request = request_of(&call, 1, 2);
    call.out.capacity_bytes = 1;
    expect_ok(weir_submit(world.scheduler, &request, &call.ticket, NULL, NULL));
    expect_status(weir_wait(world.scheduler, call.ticket, 0, NULL), WEIR_RESOURCE_EXHAUSTED,
        "buffer is too small");
    world_close(&world);
}

static void note_drained(void *user_data)
{
    ++*(int *)user_data;
}

static void a_drain_ends_what_was_taken(void **state)
{
    (void)state;
    world_t world;
    static call_t calls[20];
    int drained = 0;
    open_polled(&world);
    for (uint32_t i = 0; i < 20; i++) {
        weir_request_t request = request_of(&calls[i], i, 1);
        expect_ok(submit(&world, &calls[i], &request));
    }
    expect_ok(weir_drain(world.scheduler, 0, note_drained, &drained));
    call_t late;
    weir_request_t request = request_of(&late, 1, 1);
    expect_status(submit(&world, &late, &request), WEIR_DRAINING, "takes nothing new");
    expect_status(
        weir_drain(world.scheduler, 0, note_drained, &drained), WEIR_UNAVAILABLE, "drains already");
    poll_until(&world, &drained, 1);
    for (uint32_t i = 0; i < 20; i++)
        check_answer(&world, &calls[i]);
    weir_scheduler_poll(world.scheduler);
    assert_int_equal(drained, 1);
    world_close(&world);
}

static void a_drain_may_be_waited_for(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        world_t world;
        static call_t calls[20];
        world_open(&world, rows_graph(), own ? NULL : &polled);
        world_add(&world, NULL);
        for (uint32_t i = 0; i < 20; i++) {
            weir_request_t request = request_of(&calls[i], i, 1);
            expect_ok(submit(&world, &calls[i], &request));
        }
        expect_ok(weir_drain(world.scheduler, 0, NULL, NULL));
        for (uint32_t i = 0; i < 20; i++)
            check_answer(&world, &calls[i]);
        world_close(&world);
    }
}

static void freeing_ends_what_is_in_flight(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        world_t world;
        static call_t calls[50];
        world_open(&world, rows_graph(), own ? NULL : &polled);
        world_add(&world, NULL);
        for (uint32_t i = 0; i < 50; i++) {
            weir_request_t request = request_of(&calls[i], i, 1);
            expect_ok(submit(&world, &calls[i], &request));
        }
        weir_scheduler_free(world.scheduler);
        world.scheduler = NULL;
        for (uint32_t i = 0; i < 50; i++) {
            assert_int_equal(calls[i].finals, 1);
            assert_true(calls[i].code == WEIR_OK || calls[i].code == WEIR_DRAINING);
        }
        world_close(&world);
    }
}

// ---- A borrowed loop ---------------------------------------------------------------------------

typedef struct borrowed {
    world_t *world;
    call_t *calls;
    uint32_t submitted;
    uv_async_t all_done;
} borrowed_t;

static void *submit_from_elsewhere(void *user_data)
{
    borrowed_t *it = user_data;
    for (uint32_t i = 0; i < 200; i++) {
        weir_request_t request = request_of(&it->calls[i], i, 1 + i % 4);
        expect_ok(weir_submit(it->world->scheduler, &request, NULL, note_event, &it->calls[i]));
    }
    return NULL;
}

static void a_loop_may_be_borrowed(void **state)
{
    (void)state;
    world_t world;
    uv_loop_t loop;
    static call_t calls[200];
    assert_int_equal(0, uv_loop_init(&loop));
    world_open(&world, rows_graph(),
        &(weir_scheduler_options_t){.size = sizeof(weir_scheduler_options_t),
            .loop = WEIR_LOOP_BORROWED,
            .uv_loop = &loop});
    world_add(&world, NULL);
    expect_status(weir_drain(world.scheduler, 0, NULL, NULL), WEIR_INVALID_ARGUMENT,
        "wait for itself"); // before the first turn as well
    borrowed_t borrowed = {.world = &world, .calls = calls};
    pthread_t thread;
    assert_int_equal(0, pthread_create(&thread, NULL, submit_from_elsewhere, &borrowed));
    weir_scheduler_info_t info = {.size = sizeof info};
    while (info.ended < 200) {
        uv_run(&loop, UV_RUN_ONCE);
        weir_scheduler_describe(world.scheduler, &info);
    }
    pthread_join(thread, NULL);
    for (uint32_t i = 0; i < 200; i++)
        check_answer(&world, &calls[i]);
    expect_status(
        weir_drain(world.scheduler, 0, NULL, NULL), WEIR_INVALID_ARGUMENT, "wait for itself");
    weir_scheduler_free(world.scheduler);
    world.scheduler = NULL;
    uv_run(&loop, UV_RUN_DEFAULT); // the handles are closed
    assert_int_equal(0, uv_loop_close(&loop));
    world_close(&world);
}

// How often a thread of this process has gone to sleep; an offer of its CPU is none.
static uint64_t sleeps_of(const char *thread)
{
    uint64_t sleeps = UINT64_MAX;
    DIR *folder = opendir("/proc/self/task");
    assert_non_null(folder);
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        char path[300], line[128], name[32] = "";
        unsigned long long count = 0;
        snprintf(path, sizeof path, "/proc/self/task/%s/status", entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "r");
        while (file && fgets(line, sizeof line, file)) {
            (void)sscanf(line, "Name: %31s", name);
            (void)sscanf(line, "voluntary_ctxt_switches: %llu", &count);
        }
        if (file)
            fclose(file);
        if (strcmp(name, thread) == 0)
            sleeps = count;
    }
    closedir(folder);
    return sleeps;
}

// With as much time as they may need, neither the loop nor who waits for an answer goes to sleep
// between requests; and what is put otherwise (a model, the end) need not wait for them.
static void a_loop_that_spins_does_not_sleep(void **state)
{
    (void)state;
    enum { COUNT = 500 };
    world_t world;
    call_t call;
    struct rusage before, after;
    world_open(&world, rows_graph(),
        &(weir_scheduler_options_t){
            .size = sizeof(weir_scheduler_options_t), .spin_ns = 100 * 1000 * WEIR_MS});
    world_add(&world, NULL);
    uint64_t begin_ns = weir_now_ns(), loop_before = 0, slept = 0;
    for (uint32_t i = 0; i < COUNT + 1; i++) {
        weir_request_t request = request_of(&call, i, 1);
        if (i == 1) // the loop has been awake since the first one
            loop_before = sleeps_of("weir-loop");
        getrusage(RUSAGE_THREAD, &before);
        expect_ok(weir_submit(world.scheduler, &request, &call.ticket, NULL, NULL));
        expect_ok(weir_wait(world.scheduler, call.ticket, 0, NULL));
        getrusage(RUSAGE_THREAD, &after);
        slept += (uint64_t)(after.ru_nvcsw - before.ru_nvcsw);
        call.finals = 1;
        check_answer(&world, &call);
    }
    // Not none: memory may be away, and a tool may have threads of its own.
    assert_in_range(slept, 0, COUNT / 5);
    assert_in_range(sleeps_of("weir-loop") - loop_before, 0, COUNT / 5);
    world_close(&world);
    assert_true(weir_now_ns() - begin_ns < 100 * 1000 * WEIR_MS);
}

// A thread that only lends itself is never kept: there the time to look for work is none.
static void a_poll_does_not_spin(void **state)
{
    (void)state;
    enum { COUNT = 10 };
    static call_t calls[COUNT];
    world_t world;
    weir_scheduler_options_t options = polled;
    options.spin_ns = 100 * 1000 * WEIR_MS;
    uint64_t begin_ns = weir_now_ns();
    world_open(&world, rows_graph(), &options);
    world_add(&world, NULL);
    for (uint32_t i = 0; i < COUNT; i++) {
        weir_request_t request = request_of(&calls[i], i, 1);
        expect_ok(submit(&world, &calls[i], &request));
        poll_until(&world, &calls[i].finals, 1);
        check_answer(&world, &calls[i]);
    }
    world_close(&world);
    assert_true(weir_now_ns() - begin_ns < 100 * 1000 * WEIR_MS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_requests_are_refused_with_reasons),
        cmocka_unit_test(a_full_queue_refuses_at_once),
        cmocka_unit_test(bytes_of_the_queue_are_bounded),
        cmocka_unit_test(what_waits_leaves_together),
        cmocka_unit_test(a_bad_request_fails_alone),
        cmocka_unit_test(a_small_buffer_fails_alone),
        cmocka_unit_test(declared_lengths_are_filled_and_cut_back),
        cmocka_unit_test(a_cancelled_request_never_runs),
        cmocka_unit_test(a_deadline_in_the_queue_is_met_by_an_answer),
        cmocka_unit_test(a_default_deadline_does_not_wrap),
        cmocka_unit_test(a_lone_request_may_run_inline),
        cmocka_unit_test(a_caller_may_wait),
        cmocka_unit_test(a_drain_ends_what_was_taken),
        cmocka_unit_test(a_drain_may_be_waited_for),
        cmocka_unit_test(freeing_ends_what_is_in_flight),
        cmocka_unit_test(a_loop_may_be_borrowed),
        cmocka_unit_test(a_loop_that_spins_does_not_sleep),
        cmocka_unit_test(a_poll_does_not_spin),
    };
    return cmocka_run_group_tests_name("loop_features", tests, NULL, NULL);
}
