// tests/unit/suspension_test.c: runs over a device that answers later, from another thread.
//
// The device is tests/support/async. What is proved by a gate or by order is not proved by time: no
// test here sleeps, and times only bound what must not take long. Labels: threads Timeout: 120
#include "tests/unit/onnx_builder.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <weir/weir.h>

#define WIDTH 8

typedef struct world {
    weir_engine_t *engine;
    weir_model_t *model;
    weir_plan_t *plan;
} world_t;

// y = Exp(Relu(x W) V) + x: the device takes all but Exp, so a run goes device, host, device.
static message_t make_alternating(void)
{
    static const int64_t dims[] = {WIDTH, WIDTH};
    float w[WIDTH * WIDTH], v[WIDTH * WIDTH];
    for (int i = 0; i < WIDTH * WIDTH; i++) {
        w[i] = (float)((i * 7) % 11 - 5) / 16;
        v[i] = (float)((i * 5) % 13 - 6) / 16;
    }
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,8");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    put_message(&graph, 5, raw_tensor("v", 1, 2, dims, v, sizeof v));
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Relu", "relu", "a", "b", (message_t){0});
    add_node(&graph, "MatMul", "second", "b,v", "c", (message_t){0});
    add_node(&graph, "Exp", "exp", "c", "d", (message_t){0});
    add_node(&graph, "Add", "sum", "d,x", "y", (message_t){0});
    add_output(&graph, "y");
    return make_model(graph, 17);
}

static void world_begin(world_t *world, uint32_t threads, const char *options, const char *devices)
{
    message_t bytes = make_alternating();
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = threads,
        .cache_dir = "",
        .plugin_path = WEIR_TEST_PLUGINS,
        .plugin_options = options};
    weir_plan_options_t plan = {.size = sizeof plan, .devices = devices};
    assert_null(weir_engine_create(&engine, &world->engine));
    assert_null(weir_model_load_bytes(world->engine, bytes.data, bytes.count, NULL, &world->model));
    assert_null(weir_plan_create(world->model, &plan, &world->plan));
    free(bytes.data);
}

static void world_end(world_t *world)
{
    weir_plan_free(world->plan);
    weir_model_free(world->model);
    weir_engine_free(world->engine);
}

static void fill_input(float *x, int rows, int seed)
{
    for (int i = 0; i < rows * WIDTH; i++)
        x[i] = (float)((i * 3 + seed * 17) % 19 - 9) / 8;
}

// Compares with what `reference`, a session of the same model on the host alone, answers.
static void expect_same(weir_session_t *reference, const float *x, int rows, const float *y)
{
    float wanted[4 * WIDTH];
    weir_value_t in[] = {weir_f32(x, 2, rows, WIDTH)}, out[] = {weir_f32_out(wanted, 4 * WIDTH)};
    assert_null(weir_session_run(reference, NULL, 1, in, 1, out));
    assert_memory_equal(y, wanted, (size_t)rows * WIDTH * sizeof(float));
}

static void expect_answer(const float *x, int rows, const float *y)
{
    world_t world;
    weir_session_t *session;
    world_begin(&world, 1, NULL, "ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    expect_same(session, x, rows, y);
    weir_session_free(session);
    world_end(&world);
}

// What a started run reports, and a way to wait for it.
typedef struct outcome {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int done;
    weir_status_t status;
} outcome_t;

static void outcome_begin(outcome_t *outcome)
{
    memset(outcome, 0, sizeof *outcome);
    pthread_mutex_init(&outcome->lock, NULL);
    pthread_cond_init(&outcome->changed, NULL);
}

static void on_done(void *user_data, weir_status_t status)
{
    outcome_t *outcome = user_data;
    pthread_mutex_lock(&outcome->lock);
    outcome->done++;
    outcome->status = status;
    pthread_cond_broadcast(&outcome->changed);
    pthread_mutex_unlock(&outcome->lock);
}

static weir_code_t await_outcome(outcome_t *outcome)
{
    pthread_mutex_lock(&outcome->lock);
    while (!outcome->done)
        pthread_cond_wait(&outcome->changed, &outcome->lock);
    assert_int_equal(outcome->done, 1);
    weir_code_t code = weir_status_code(outcome->status);
    weir_status_free(outcome->status);
    pthread_mutex_unlock(&outcome->lock);
    pthread_cond_destroy(&outcome->changed);
    pthread_mutex_destroy(&outcome->lock);
    return code;
}

// Goal:   the device really is used, in two launches around a host step.
// Method: the plan's listing.
static void plan_alternates(void **state)
{
    (void)state;
    world_t world;
    char devices[64] = "";
    world_begin(&world, 2, "async.refuse=Exp", "async,ref");
    weir_plan_node_t node = {.size = sizeof node};
    for (uint32_t i = 0; weir_plan_node(world.plan, i, &node); i++) {
        strcat(devices, node.device);
        strcat(devices, " ");
    }
    assert_string_equal(devices, "async async async ref async ");
    world_end(&world);
}

// Goal:   64 runs are in flight at once on 2 threads; none blocks a thread; all end right.
// Method: the device answers nothing before 64 launches are queued: with a blocked thread it never
// would.
static void many_runs_in_flight(void **state)
{
    (void)state;
    enum { RUNS = 64 };
    world_t world, host;
    weir_session_t *reference;
    static float x[RUNS][2 * WIDTH], y[RUNS][2 * WIDTH];
    static outcome_t outcomes[RUNS];
    weir_session_t *sessions[RUNS];
    weir_value_t in[RUNS], out[RUNS];
    world_begin(&host, 1, NULL, "ref");
    assert_null(weir_session_create(host.plan, NULL, &reference));
    world_begin(&world, 2, "async.refuse=Exp,async.gate=64,async.delay_us=200", "async,ref");
    for (int i = 0; i < RUNS; i++) {
        fill_input(x[i], 2, i);
        in[i] = weir_f32(x[i], 2, 2, WIDTH);
        out[i] = weir_f32_out(y[i], 2 * WIDTH);
        outcome_begin(&outcomes[i]);
        assert_null(weir_session_create(world.plan, NULL, &sessions[i]));
        assert_null(
            weir_session_start(sessions[i], NULL, 1, &in[i], 1, &out[i], on_done, &outcomes[i]));
    }
    for (int i = 0; i < RUNS; i++) {
        assert_int_equal(await_outcome(&outcomes[i]), WEIR_OK);
        expect_same(reference, x[i], 2, y[i]);
        weir_session_free(sessions[i]);
    }
    world_end(&world);
    weir_session_free(reference);
    world_end(&host);
}

// Goal:   the blocking call waits for the device too, on the caller's thread.
static void blocking_run(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *session;
    float x[2 * WIDTH], y[2 * WIDTH];
    world_begin(&world, 1, "async.refuse=Exp,async.delay_us=500", "async,ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    for (int i = 0; i < 20; i++) {
        fill_input(x, 2, i);
        weir_value_t in[] = {weir_f32(x, 2, 2, WIDTH)}, out[] = {weir_f32_out(y, 2 * WIDTH)};
        assert_null(weir_session_run(session, NULL, 1, in, 1, out));
    }
    expect_answer(x, 2, y);
    weir_session_free(session);
    world_end(&world);
}

// Goal:   a run that waits for a device that never answers ends when it is cancelled; the session
// is set
//         aside, and a new one works.
static void cancel_ends_a_wait(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *session, *other;
    weir_cancel_t *cancel;
    outcome_t outcome;
    float x[2 * WIDTH], y[2 * WIDTH];
    fill_input(x, 2, 1);
    world_begin(&world, 2, "async.refuse=Exp,async.hang=1", "async,ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    assert_null(weir_cancel_create(&cancel));
    weir_run_options_t options = {.size = sizeof options, .cancel = cancel};
    weir_value_t in[] = {weir_f32(x, 2, 2, WIDTH)}, out[] = {weir_f32_out(y, 2 * WIDTH)};
    outcome_begin(&outcome);
    assert_null(weir_session_start(session, &options, 1, in, 1, out, on_done, &outcome));
    weir_cancel_trigger(cancel);
    weir_cancel_trigger(cancel);
    assert_int_equal(await_outcome(&outcome), WEIR_CANCELLED);
    weir_cancel_free(cancel);
    assert_null(weir_session_create(world.plan, NULL, &other));
    weir_value_t again[] = {weir_f32_out(y, 2 * WIDTH)};
    // The flag may have come before the first launch; then launch 1 is this run's, and hangs.
    weir_run_options_t soon = {.size = sizeof soon, .deadline_ns = weir_now_ns() + 100 * WEIR_MS};
    weir_status_t status = weir_session_run(other, &soon, 1, in, 1, again);
    if (!status)
        expect_answer(x, 2, y);
    else
        assert_int_equal(weir_status_code(status), WEIR_DEADLINE_EXCEEDED);
    weir_status_free(status);
    weir_session_free(session);
    weir_session_free(other);
    world_end(&world);
}

// Goal:   a flag that is up before the start: not one step is made.
static void cancelled_before_the_start(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *session;
    weir_cancel_t *cancel;
    float x[WIDTH], y[WIDTH];
    fill_input(x, 1, 1);
    world_begin(&world, 1, NULL, "ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    assert_null(weir_cancel_create(&cancel));
    weir_run_options_t options = {.size = sizeof options, .cancel = cancel};
    weir_value_t in[] = {weir_f32(x, 2, 1, WIDTH)}, out[] = {weir_f32_out(y, WIDTH)};
    assert_null(weir_session_run(session, &options, 1, in, 1, out));
    weir_session_info_t info = {.size = sizeof info};
    weir_session_describe(session, &info);
    assert_true(info.step_count > 1);
    weir_cancel_trigger(cancel);
    weir_status_t status = weir_session_run(session, &options, 1, in, 1, out);
    assert_int_equal(weir_status_code(status), WEIR_CANCELLED);
    weir_status_free(status);
    weir_session_describe(session, &info);
    assert_int_equal(info.step_count, 0);
    weir_cancel_free(cancel);
    weir_session_free(session);
    world_end(&world);
}

// x W W … W: CHAIN products, each a step of its own, by the plugin in tests/support/plugins/bell.c.
#define CHAIN 6

static message_t make_chain(void)
{
    static const int64_t dims[] = {WIDTH, WIDTH};
    float w[WIDTH * WIDTH];
    for (int i = 0; i < WIDTH * WIDTH; i++)
        w[i] = (float)((i * 7) % 11 - 5) / 16;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,8");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    for (int i = 0; i < CHAIN; i++) {
        char name[16], from[32], to[16];
        snprintf(name, sizeof name, "product%d", i);
        snprintf(from, sizeof from, i ? "v%d,w" : "x,w", i);
        snprintf(to, sizeof to, "v%d", i + 1);
        add_node(&graph, "MatMul", name, from, to, (message_t){0});
    }
    char last[16];
    snprintf(last, sizeof last, "v%d", CHAIN);
    add_output(&graph, last);
    return make_model(graph, 17);
}

typedef struct bell {
    atomic_uint count;
    uint32_t cancel_at; // the number of the kernel that raises the flag, 1 …; 0: none does
    weir_cancel_t *cancel;
} bell_t;

// Called by the plugin from inside each of its kernels.
static void on_ring(void *user)
{
    bell_t *bell = user;
    if (atomic_fetch_add(&bell->count, 1) + 1 == bell->cancel_at)
        weir_cancel_trigger(bell->cancel);
}

// One run, by a call that waits or by one that does not, of which kernel `cancel_at` is cancelled.
static void check_cancel_at(
    weir_session_t *session, bell_t *bell, uint32_t cancel_at, bool blocking)
{
    float x[WIDTH], y[WIDTH];
    outcome_t outcome;
    weir_code_t code;
    fill_input(x, 1, 1);
    assert_null(weir_cancel_create(&bell->cancel));
    bell->cancel_at = cancel_at;
    atomic_store(&bell->count, 0);
    weir_run_options_t options = {.size = sizeof options, .cancel = bell->cancel};
    weir_value_t in[] = {weir_f32(x, 2, 1, WIDTH)}, out[] = {weir_f32_out(y, WIDTH)};
    if (blocking) {
        weir_status_t status = weir_session_run(session, &options, 1, in, 1, out);
        code = weir_status_code(status);
        weir_status_free(status);
    } else {
        outcome_begin(&outcome);
        assert_null(weir_session_start(session, &options, 1, in, 1, out, on_done, &outcome));
        code = await_outcome(&outcome);
    }
    assert_int_equal(code, cancel_at ? WEIR_CANCELLED : WEIR_OK);
    weir_session_info_t info = {.size = sizeof info};
    weir_session_describe(session, &info);
    assert_int_equal(info.step_count, cancel_at ? cancel_at : CHAIN);
    assert_int_equal(atomic_load(&bell->count), cancel_at ? cancel_at : CHAIN);
    weir_cancel_free(bell->cancel);
}

// Goal:   a cancelled run stops at the next operator: the one under way ends, none comes after it.
// Method: the flag is raised from inside kernel k, for each k; the kernels count themselves.
static void cancel_stops_at_the_next_operator(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *session;
    bell_t bell = {.cancel_at = 0};
    void (*listen)(void (*function)(void *user), void *user);
    message_t bytes = make_chain();
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 2,
        .cache_dir = "",
        .plugin_path = WEIR_TEST_PLUGINS "/bell/weir_bell.so"};
    weir_plan_options_t plan = {.size = sizeof plan, .devices = "bell,ref"};
    void *library = dlopen(engine.plugin_path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(library);
    void *symbol = dlsym(library, "weir_bell_listen");
    assert_non_null(symbol);
    memcpy(&listen, &symbol, sizeof listen); // a function pointer, as POSIX promises
    listen(on_ring, &bell);
    assert_null(weir_engine_create(&engine, &world.engine));
    assert_null(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
    assert_null(weir_plan_create(world.model, &plan, &world.plan));
    assert_null(weir_session_create(world.plan, NULL, &session));
    for (uint32_t k = 0; k <= CHAIN; k++) {
        check_cancel_at(session, &bell, k, true);
        check_cancel_at(session, &bell, k, false);
    }
    listen(NULL, NULL);
    weir_session_free(session);
    world_end(&world);
    dlclose(library);
    free(bytes.data);
}

static void check_deadline(bool blocking)
{
    world_t world;
    weir_session_t *session;
    outcome_t outcome;
    float x[2 * WIDTH], y[2 * WIDTH];
    fill_input(x, 2, 1);
    world_begin(&world, 2, "async.refuse=Exp,async.hang=1", "async,ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    weir_value_t in[] = {weir_f32(x, 2, 2, WIDTH)}, out[] = {weir_f32_out(y, 2 * WIDTH)};
    uint64_t start_ns = weir_now_ns();
    weir_run_options_t options = {.size = sizeof options, .deadline_ns = start_ns + 20 * WEIR_MS};
    weir_code_t code;
    if (blocking) {
        weir_status_t status = weir_session_run(session, &options, 1, in, 1, out);
        code = weir_status_code(status);
        weir_status_free(status);
    } else {
        outcome_begin(&outcome);
        assert_null(weir_session_start(session, &options, 1, in, 1, out, on_done, &outcome));
        code = await_outcome(&outcome);
    }
    assert_int_equal(code, WEIR_DEADLINE_EXCEEDED);
    assert_true(weir_now_ns() - start_ns < 2000 * WEIR_MS);
    // The device may still write into this session's memory: it is not used again.
    weir_status_t status = weir_session_run(session, NULL, 1, in, 1, out);
    assert_int_equal(weir_status_code(status), WEIR_UNAVAILABLE);
    weir_status_free(status);
    weir_session_free(session);
    world_end(&world);
}

// Goal:   a run past its deadline ends in time even when the device never answers.
static void deadline_ends_a_started_run(void **state)
{
    (void)state;
    check_deadline(false);
}

static void deadline_ends_a_blocking_run(void **state)
{
    (void)state;
    check_deadline(true);
}

// Goal:   a late write harms nothing: not the caller's buffers, not another session; when the
// answer has
//         come the session works again.
// Method: the first launch answers after 150 ms, the run's deadline is 10 ms. The caller's memory
// is
//         overwritten at once; then other sessions run while the late answer is written.
static void late_write_harms_nothing(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *late, *other;
    float x[2 * WIDTH], y[2 * WIDTH], guard[2 * WIDTH];
    fill_input(x, 2, 1);
    world_begin(&world, 2, "async.refuse=Exp,async.late_us=150000", "async,ref");
    assert_null(weir_session_create(world.plan, NULL, &late));
    weir_value_t in[] = {weir_f32(x, 2, 2, WIDTH)}, out[] = {weir_f32_out(y, 2 * WIDTH)};
    weir_run_options_t options = {
        .size = sizeof options, .deadline_ns = weir_now_ns() + 10 * WEIR_MS};
    weir_status_t status = weir_session_run(late, &options, 1, in, 1, out);
    assert_int_equal(weir_status_code(status), WEIR_DEADLINE_EXCEEDED);
    weir_status_free(status);
    memset(y, 0x55, sizeof y);
    memset(guard, 0x55, sizeof guard);
    float x2[2 * WIDTH], y2[2 * WIDTH];
    fill_input(x2, 2, 2);
    assert_null(weir_session_create(world.plan, NULL, &other));
    weir_value_t in2[] = {weir_f32(x2, 2, 2, WIDTH)}, out2[] = {weir_f32_out(y2, 2 * WIDTH)};
    // Goes on until the late answer has come and its session is free again.
    weir_code_t code = WEIR_UNAVAILABLE;
    for (uint64_t until = weir_now_ns() + 20000 * WEIR_MS;
         code == WEIR_UNAVAILABLE && weir_now_ns() < until;) {
        assert_null(weir_session_run(other, NULL, 1, in2, 1, out2));
        weir_value_t probe[] = {weir_f32_out(y2, 2 * WIDTH)};
        status = weir_session_run(late, NULL, 1, in2, 1, probe);
        code = weir_status_code(status);
        weir_status_free(status);
    }
    assert_int_equal(code, WEIR_OK);
    expect_answer(x2, 2, y2);
    assert_memory_equal(y, guard, sizeof y);
    weir_session_free(late);
    weir_session_free(other);
    world_end(&world);
}

// Goal:   a session freed while its device still works: its memory is kept until the answer, then
// freed. Method: the sanitizers watch the late write and the end.
static void session_freed_before_the_answer(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *session;
    float x[2 * WIDTH], y[2 * WIDTH];
    fill_input(x, 2, 1);
    world_begin(&world, 2, "async.refuse=Exp,async.late_us=30000", "async,ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    weir_value_t in[] = {weir_f32(x, 2, 2, WIDTH)}, out[] = {weir_f32_out(y, 2 * WIDTH)};
    weir_run_options_t options = {
        .size = sizeof options, .deadline_ns = weir_now_ns() + 2 * WEIR_MS};
    weir_status_t status = weir_session_run(session, &options, 1, in, 1, out);
    assert_int_equal(weir_status_code(status), WEIR_DEADLINE_EXCEEDED);
    weir_status_free(status);
    weir_session_free(session);
    assert_null(weir_session_create(world.plan, NULL, &session));
    weir_value_t again[] = {weir_f32_out(y, 2 * WIDTH)};
    assert_null(weir_session_run(session, NULL, 1, in, 1, again));
    expect_answer(x, 2, y);
    weir_session_free(session);
    world_end(&world);
}

// Goal:   a lost device ends the run with its name and the cause; until it is reopened, whoever
//         wants it is told so, and a plan made before stays without it.
static void failure_names_the_device(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *session;
    weir_plan_t *plan;
    float x[2 * WIDTH], y[2 * WIDTH];
    fill_input(x, 2, 1);
    world_begin(&world, 2, "async.refuse=Exp,async.fail=2", "async,ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    weir_value_t in[] = {weir_f32(x, 2, 2, WIDTH)}, out[] = {weir_f32_out(y, 2 * WIDTH)};
    weir_status_t status = weir_session_run(session, NULL, 1, in, 1, out);
    assert_string_equal(
        weir_status_text(status), "weir: DEVICE_LOST: device \"async\": launch 2 was made to fail");
    weir_status_free(status);
    status = weir_session_run(session, NULL, 1, in, 1, out);
    assert_string_equal(weir_status_text(status),
        "weir: DEVICE_LOST: device \"async\" was lost (launch 2 was made to fail): reopen it "
        "(weir_device_reopen) and make a new plan, or leave it out");
    weir_status_free(status);
    weir_plan_options_t options = {.size = sizeof options, .devices = "async,ref"};
    status = weir_plan_create(world.model, &options, &plan);
    assert_int_equal(weir_status_code(status), WEIR_UNAVAILABLE);
    weir_status_free(status);
    assert_null(weir_device_reopen(world.engine, "async"));
    status = weir_session_run(session, NULL, 1, in, 1, out);
    assert_string_equal(weir_status_text(status),
        "weir: DEVICE_LOST: device \"async\" was reopened after this plan was made (launch 2 was "
        "made to fail): make a new plan");
    weir_status_free(status);
    assert_null(weir_plan_create(world.model, &options, &plan));
    weir_plan_free(plan);
    weir_session_free(session);
    world_end(&world);
}

// Goal:   one session, one run at a time: a second one is refused, not mixed in.
static void second_run_is_refused(void **state)
{
    (void)state;
    world_t world;
    weir_session_t *session;
    outcome_t outcome;
    float x[2 * WIDTH], y[2 * WIDTH];
    fill_input(x, 2, 1);
    world_begin(&world, 2, "async.refuse=Exp,async.gate=2", "async,ref");
    assert_null(weir_session_create(world.plan, NULL, &session));
    weir_value_t in[] = {weir_f32(x, 2, 2, WIDTH)}, out[] = {weir_f32_out(y, 2 * WIDTH)};
    outcome_begin(&outcome);
    assert_null(weir_session_start(session, NULL, 1, in, 1, out, on_done, &outcome));
    weir_status_t status = weir_session_run(session, NULL, 1, in, 1, out);
    assert_int_equal(weir_status_code(status), WEIR_UNAVAILABLE);
    weir_status_free(status);
    // A second session's launch opens the gate for both.
    weir_session_t *other;
    float y2[2 * WIDTH];
    weir_value_t out2[] = {weir_f32_out(y2, 2 * WIDTH)};
    assert_null(weir_session_create(world.plan, NULL, &other));
    assert_null(weir_session_run(other, NULL, 1, in, 1, out2));
    assert_int_equal(await_outcome(&outcome), WEIR_OK);
    expect_answer(x, 2, y);
    weir_session_free(session);
    weir_session_free(other);
    world_end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plan_alternates),
        cmocka_unit_test(many_runs_in_flight),
        cmocka_unit_test(blocking_run),
        cmocka_unit_test(cancel_ends_a_wait),
        cmocka_unit_test(cancelled_before_the_start),
        cmocka_unit_test(cancel_stops_at_the_next_operator),
        cmocka_unit_test(deadline_ends_a_started_run),
        cmocka_unit_test(deadline_ends_a_blocking_run),
        cmocka_unit_test(late_write_harms_nothing),
        cmocka_unit_test(session_freed_before_the_answer),
        cmocka_unit_test(failure_names_the_device),
        cmocka_unit_test(second_run_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
