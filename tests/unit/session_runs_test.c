// tests/unit/session_runs_test.c: many runs: sessions side by side, failures that come late, the
// caller's floating point modes.
//
// Labels: threads
// Timeout: 120
#include "tests/unit/engine_world.h"

#include "engine/base/float_mode.h"
#include <pthread.h>
#include <sched.h>

// ---- Sessions of one plan, side by side --------------------------------------------------------

// y = Softmax(Relu(x w) w), s = Range(0, n) doubled: a plan with epilogues and a size that is data.
static message_t make_shared(void)
{
    static const int64_t zero = 0, one = 1, dims[] = {8, 8};
    float w[64];
    message_t graph = {0};
    fill_floats(w, 64, 5);
    add_input(&graph, "x", 1, "N,8");
    add_input(&graph, "n", 7, "");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    put_message(&graph, 5, raw_tensor("zero", 7, 0, NULL, &zero, 8));
    put_message(&graph, 5, raw_tensor("one", 7, 0, NULL, &one, 8));
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Relu", "relu", "a", "b", (message_t){0});
    add_node(&graph, "MatMul", "second", "b,w", "c", (message_t){0});
    add_node(&graph, "Softmax", "softmax", "c", "y", (message_t){0});
    add_node(&graph, "Range", "range", "zero,n,one", "r", (message_t){0});
    add_node(&graph, "Add", "twice", "r,r", "s", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "s");
    return graph;
}

enum { WORKERS = 4, ROWS = 40, ROUNDS = 120 };

typedef struct worker {
    weir_plan_t *plan;
    const float *x, *wanted; // of ROWS rows; a row's answer is the same in every batch
    uint64_t seed;
    const char *problem;
} worker_t;

static void *run_worker(void *user)
{
    worker_t *worker = user;
    weir_session_t *session;
    if (weir_session_create(worker->plan, NULL, &session))
        return worker->problem = "no session", NULL;
    for (int round = 0; round < ROUNDS && !worker->problem; round++) {
        worker->seed = worker->seed * 6364136223846793005ull + 1442695040888963407ull;
        int64_t rows = 1 + (int64_t)((worker->seed >> 33) % ROWS);
        int64_t n = (int64_t)((worker->seed >> 50) % 24);
        weir_value_t in[] = {weir_f32(worker->x, 2, rows, 8), weir_tensor(WEIR_I64, &n, 0, NULL)};
        weir_value_t out[] = {weir_view(), weir_view()};
        if (weir_session_run(session, NULL, 2, in, 2, out))
            worker->problem = "a run failed";
        else if (memcmp(out[0].data, worker->wanted, (size_t)rows * 32) != 0)
            worker->problem = "other bits";
        else if (out[1].dims[0] != n || (n && ((int64_t *)out[1].data)[n - 1] != 2 * (n - 1)))
            worker->problem = "a wrong range";
    }
    weir_session_free(session);
    return NULL;
}

// Goal:   sessions of one plan run at the same time, through more shapes and more data-dependent
//         sizes than the plan keeps; a row's answer has the same bits in every batch.
static void sessions_side_by_side(void **state)
{
    (void)state;
    static float x[ROWS * 8], wanted[ROWS * 8];
    world_t world;
    world_options_t options = {.threads = 3};
    world_open(&world, make_shared(), &options);
    fill_floats(x, ROWS * 8, 77);
    int64_t n = 3;
    weir_value_t in[] = {weir_f32(x, 2, ROWS, 8), weir_tensor(WEIR_I64, &n, 0, NULL)}, out[2];
    world_run(&world, 2, in, 2, out);
    memcpy(wanted, out[0].data, sizeof wanted);
    pthread_t threads[WORKERS];
    worker_t workers[WORKERS];
    for (uint64_t i = 0; i < WORKERS; i++) {
        workers[i] = (worker_t){.plan = world.plan, .x = x, .wanted = wanted, .seed = i + 1};
        assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
    }
    for (int i = 0; i < WORKERS; i++) {
        pthread_join(threads[i], NULL);
        if (workers[i].problem)
            fail_msg("thread %d: %s", i, workers[i].problem);
    }
    assert_true(world_info(&world).specialization_count <= 32);
    world_close(&world);
}

// ---- Life --------------------------------------------------------------------------------------

// Goal:   objects may be freed in any order; what they need stays.
static void freed_in_any_order(void **state)
{
    (void)state;
    world_t world;
    float x[8] = {1};
    int64_t n = 2;
    world_open(&world, make_shared(), NULL);
    weir_engine_free(world.engine);
    weir_model_free(world.model);
    weir_plan_free(world.plan);
    world.engine = NULL, world.model = NULL, world.plan = NULL;
    weir_value_t in[] = {weir_f32(x, 2, 1, 8), weir_tensor(WEIR_I64, &n, 0, NULL)}, out[2];
    world_run(&world, 2, in, 2, out);
    assert_true(((float *)out[0].data)[0] > 0);
    world_close(&world);
}

// Goal:   a run that gets no memory says so, and the session still runs what it could before.
// Method: the budget is what small shapes need and a little more; shapes grow until one fails.
static void no_memory_harms_nothing(void **state)
{
    (void)state;
    world_t world;
    weir_limits_t limits = {.size = sizeof limits, .peak_bytes = 1 << 20};
    world_options_t options = {.limits = &limits};
    world_open(&world, make_shared(), &options);
    static float x[40000 * 8], first[16];
    fill_floats(x, 40000 * 8, 3);
    int64_t n = 5, failures = 0;
    weir_value_t in[] = {weir_f32(x, 2, 2, 8), weir_tensor(WEIR_I64, &n, 0, NULL)}, out[2];
    world_run(&world, 2, in, 2, out);
    memcpy(first, out[0].data, sizeof first);
    for (int64_t rows = 1000; rows <= 40000; rows += 3000) {
        in[0] = weir_f32(x, 2, rows, 8);
        out[0] = out[1] = weir_view();
        weir_status_t status = weir_session_run(world.session, NULL, 2, in, 2, out);
        failures += status != NULL;
        if (status)
            assert_int_equal(weir_status_code(status), WEIR_RESOURCE_EXHAUSTED);
        weir_status_free(status);
        in[0] = weir_f32(x, 2, 2, 8);
        world_run(&world, 2, in, 2, out);
        assert_memory_equal(out[0].data, first, sizeof first);
    }
    assert_true(failures > 0);
    world_close(&world);
}

// Goal:   whichever allocation of a new shape fails, the run says so and shapes that ran before run
//         as they did.
// Method: the n-th one fails, for every n, until none is left to fail.
static void every_allocation_may_fail(void **state)
{
    (void)state;
    for (int wide = 0; wide < 2; wide++) {
        message_t graph = {0};
        world_t world;
        static float x[3 * 700];
        float first[6];
        long failures = 0;
        fill_floats(x, 3 * 700, 6);
        add_input(&graph, "x", 1, "N,M");
        add_input(&graph, "n", 7, "");
        put_message(&graph, 5, raw_tensor("one", 7, 0, NULL, &(int64_t){1}, 8));
        add_node(&graph, "Softmax", "rows", "x", "a", (message_t){0}); // its kernel has scratch
        add_node(&graph, "Range", "range", "one,n,one", "r", (message_t){0});
        add_output(&graph, "a");
        add_output(&graph, "r");
        world_open(&world, graph, NULL);
        int64_t few = 3, many = 60;
        weir_value_t small[] = {weir_f32(x, 2, 2, 3), weir_tensor(WEIR_I64, &few, 0, NULL)};
        weir_value_t large[] = {
            wide ? weir_f32(x, 2, 3, 700) : small[0], weir_tensor(WEIR_I64, &many, 0, NULL)};
        weir_value_t out[2];
        world_run(&world, 2, small, 2, out);
        memcpy(first, out[0].data, sizeof first);
        for (;;) {
            atomic_store(&world.failing_in, ++failures);
            out[0] = out[1] = weir_view();
            weir_status_t status = weir_session_run(world.session, NULL, 2, large, 2, out);
            bool failed = atomic_exchange(&world.failing_in, 0) == 0;
            assert_int_equal(weir_status_code(status), failed ? WEIR_RESOURCE_EXHAUSTED : WEIR_OK);
            weir_status_free(status);
            world_run(&world, 2, small, 2, out);
            assert_memory_equal(out[0].data, first, sizeof first);
            assert_int_equal(out[1].dims[0], 2);
            if (!failed)
                break;
        }
        assert_true(failures > 3);
        world_close(&world);
    }
}

// ---- A failure that comes after its run has ended ----------------------------------------------

// Goal:   a device that fails a launch whose run had passed its deadline fails that run alone: the
//         session's next one neither reports that failure nor takes its launch for done.
// Method: the first launch fails after 60 ms, the run gives up after 5; the session says
// UNAVAILABLE
//         until then, and runs right afterwards.
static void late_failure_stays_with_its_run(void **state)
{
    (void)state;
    world_t world;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N");
    add_node(&graph, "Neg", "neg", "x", "y", (message_t){0});
    add_output(&graph, "y");
    world_options_t options = {.plugin_path = WEIR_TEST_PLUGINS,
        .devices = "async,ref",
        .plugin_options = "async.fail=1,async.spare=1,async.late_us=60000,async.delay_us=3000"};
    world_open(&world, graph, &options);
    float x[] = {1, -2, 3};
    weir_value_t in[] = {weir_f32(x, 1, 3)}, out[1] = {weir_view()};
    weir_run_options_t run = {.size = sizeof run, .deadline_ns = weir_now_ns() + 5 * WEIR_MS};
    expect_status(weir_session_run(world.session, &run, 1, in, 1, out), WEIR_DEADLINE_EXCEEDED,
        "...passed its deadline");
    weir_status_t status;
    while (weir_status_code(status = weir_session_run(world.session, NULL, 1, in, 1, out)) ==
           WEIR_UNAVAILABLE)
        weir_status_free(status), sched_yield();
    expect_ok(status);
    expect_floats(out, 3, (const float[]){-1, 2, -3}, 0);
    for (int i = 0; i < 3; i++)
        world_run(&world, 1, in, 1, out);
    world_close(&world);
}

// ---- Floating point modes of the caller --------------------------------------------------------

#if defined(__x86_64__)
// y = x * 1e-20 (denormal), f = (1e-20 * 1e-20) folded at load, s = size * 1e-40 at specialization.
static message_t make_tiny(void)
{
    static const float tiny[] = {1e-20f, 3e-20f}, least[] = {1e-40f};
    message_t graph = {0}, to = {0};
    add_input(&graph, "x", 1, "2");
    add_floats(&graph, "t", 2, tiny);
    add_floats(&graph, "u", 2, tiny);
    add_floats(&graph, "least", 1, least);
    add_input(&graph, "z", 1, "N");
    add_node(&graph, "Mul", "run", "x,t", "y", (message_t){0});
    add_node(&graph, "Mul", "load", "t,u", "f", (message_t){0});
    add_node(&graph, "Shape", "shape", "z", "d", (message_t){0});
    attribute_int(&to, "to", 1);
    add_node(&graph, "Cast", "cast", "d", "g", to);
    add_node(&graph, "Mul", "special", "g,least", "s", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "f");
    add_output(&graph, "s");
    return graph;
}

static void run_tiny(float answers[5])
{
    world_t world;
    float x[] = {1.00000012e-20f, 0.333333343f}, z[3] = {0};
    world_open(&world, make_tiny(), NULL);
    weir_value_t in[] = {weir_f32(x, 1, 2), weir_f32(z, 1, 3)}, out[3];
    world_run(&world, 2, in, 3, out);
    memcpy(answers, out[0].data, 8);
    memcpy(answers + 2, out[1].data, 8);
    memcpy(answers + 4, out[2].data, 4);
    world_close(&world);
}

// Goal:   denormals flushed to zero, or another rounding, on the caller's thread changes no bit of
//         what is folded, specialized and run, and is as it was afterwards.
static void modes_of_the_caller(void **state)
{
    (void)state;
    float usual[5], strange[5];
    run_tiny(usual);
    for (int i = 0; i < 5; i++)
        assert_true(usual[i] > 0); // denormals are there to be lost
    static const unsigned modes[] = {0x1f80 | 0x8040, 0x1f80 | 0x6000, 0x1f80 | 0x4000};
    unsigned before = _mm_getcsr();
    for (int m = 0; m < 3; m++) {
        _mm_setcsr(modes[m]);
        run_tiny(strange);
        unsigned after = _mm_getcsr();
        _mm_setcsr(before);
        assert_int_equal(after & ~0x3fu, modes[m] & ~0x3fu); // but for the sticky flags
        assert_memory_equal(usual, strange, sizeof usual);
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sessions_side_by_side),
        cmocka_unit_test(freed_in_any_order),
        cmocka_unit_test(no_memory_harms_nothing),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(late_failure_stays_with_its_run),
#if defined(__x86_64__)
        cmocka_unit_test(modes_of_the_caller),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
