// tests/cuda/fake_runs_test.c: the engine on 0 to 8 fake GPUs: who is there, whose answers are
// right, what an index out of range costs.
#include "tests/cuda/fake_engine.h"

#include <pthread.h>

#define DEVICES_MAX 8
#define RUNS 6
#define ROWS 3

typedef struct answers {
    float x[RUNS][ROWS * 2 * FAKE_SIDE * FAKE_SIDE], y[RUNS][ROWS * FAKE_CLASSES];
} answers_t;

// What the CPU says.
static void fill_answers(answers_t *answers)
{
    world_t world;
    expect_ok(fake_start(&world, fake_graph(), "cpu,ref", NULL));
    for (uint64_t i = 0; i < RUNS; i++) {
        weir_value_t y;
        fake_input(answers->x[i], ROWS, i + 10);
        world_run(&world, 1, (weir_value_t[]){fake_value(answers->x[i], ROWS)}, 1, &y);
        memcpy(answers->y[i], y.data, sizeof answers->y[i]);
    }
    world_close(&world);
}

static uint32_t count_usable(const weir_engine_t *engine, char *out_text, size_t bytes)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < weir_device_count(engine); i++) {
        weir_device_description_t device = {.size = sizeof device};
        expect_ok(weir_device_describe(engine, i, &device));
        if (strncmp(device.name, "cuda", 4) != 0)
            continue;
        count += device.usable;
        if (!device.usable)
            snprintf(out_text, bytes, "%s", device.text);
    }
    return count;
}

typedef struct ends {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t count;
} ends_t;

static void run_ended(void *user, weir_status_t status)
{
    ends_t *ends = user;
    pthread_mutex_lock(&ends->lock);
    if (status)
        fail_msg("%s", weir_status_text(status));
    ends->count++;
    pthread_cond_broadcast(&ends->changed);
    pthread_mutex_unlock(&ends->lock);
}

// A session on each device; all of them run at once, again and again.
static void expect_right_on_all(world_t *world, uint32_t devices, answers_t *answers)
{
    weir_plan_t *plans[DEVICES_MAX];
    weir_session_t *sessions[DEVICES_MAX];
    weir_value_t outputs[DEVICES_MAX], inputs[DEVICES_MAX];
    ends_t ends = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    char name[16] = "cuda";
    for (uint32_t d = 0; d < devices; d++) {
        if (d)
            snprintf(name, sizeof name, "cuda:%u", d);
        weir_plan_options_t options = {.size = sizeof options, .devices = name};
        expect_ok(weir_plan_create(world->model, &options, &plans[d]));
        expect_ok(weir_session_create(plans[d], NULL, &sessions[d]));
    }
    for (uint32_t r = 0; r < 3 * RUNS; r++) { // enough of them to be recorded
        for (uint32_t d = 0; d < devices; d++) {
            inputs[d] = fake_value(answers->x[(r + d) % RUNS], ROWS);
            outputs[d] = weir_view();
            expect_ok(weir_session_start(
                sessions[d], NULL, 1, &inputs[d], 1, &outputs[d], run_ended, &ends));
        }
        pthread_mutex_lock(&ends.lock);
        while (ends.count < (r + 1) * devices)
            pthread_cond_wait(&ends.changed, &ends.lock);
        pthread_mutex_unlock(&ends.lock);
        for (uint32_t d = 0; d < devices; d++)
            assert_true(fake_is_near(&outputs[d], answers->y[(r + d) % RUNS], ROWS * FAKE_CLASSES));
    }
    for (uint32_t d = 0; d < devices; d++) {
        weir_session_free(sessions[d]);
        weir_plan_free(plans[d]);
    }
}

static void runs_on_0_to_8_devices(void **state)
{
    static answers_t answers;
    (void)state;
    fake_cuda_reset(0, 1);
    fill_answers(&answers);
    for (uint32_t devices = 0; devices <= DEVICES_MAX; devices++) {
        world_t world;
        char why[256] = "";
        fake_cuda_reset(devices, devices + 1);
        expect_ok(fake_start(&world, fake_graph(), NULL, NULL));
        assert_int_equal(count_usable(world.engine, why, sizeof why), devices);
        if (!devices) // it says why, and all else works
            assert_non_null(strstr(why, "CUDA_ERROR_NO_DEVICE"));
        expect_right_on_all(&world, devices, &answers);
        world_close(&world);
        assert_int_equal(fake_cuda_alive(), 0);
    }
    print_message(
        "0 to %d devices, %u kernels\n", DEVICES_MAX, (unsigned)fake_cuda_count("kernel"));
}

// An index that only the device sees is the caller's mistake, enqueued and replayed, and the next
// run is none the worse.
static void says_what_indices_are_wrong(void **state)
{
    static const int64_t dims[] = {4, 3};
    const float table[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};
    world_t world;
    message_t graph = {0};
    weir_value_t y;
    (void)state;
    fake_cuda_reset(1, 1);
    add_input(&graph, "i", 7, "N");
    put_message(&graph, 5, raw_tensor("t", 1, 2, dims, table, sizeof table));
    add_node(&graph, "Gather", "gather", "t,i", "y", (message_t){0});
    add_output(&graph, "y");
    expect_ok(fake_start(&world, graph, "cuda", NULL));
    for (uint64_t run = 0; run < 400; run++) {
        int64_t indices[2] = {1, run % 7 == 3 ? 9 : 3};
        weir_value_t i = weir_tensor(WEIR_I64, indices, 1, (int64_t[]){2});
        y = weir_view();
        weir_status_t status = weir_session_run(world.session, NULL, 1, &i, 1, &y);
        if (run % 7 == 3) {
            expect_status(status, WEIR_INVALID_ARGUMENT, "...an index is out of range");
            continue;
        }
        expect_ok(status);
        assert_true(fake_is_near(&y, (float[]){3, 4, 5, 9, 10, 11}, 6));
        if (run > 40 && fake_cuda_count("cuGraphLaunch") > 14)
            break;
    }
    assert_true(fake_cuda_count("cuGraphLaunch") > 0);
    world_close(&world);
    assert_int_equal(fake_cuda_alive(), 0);
}

// A GPU that is newer than the compiler gets PTX, an older one than it knows is told so.
static void compiles_for_what_the_compiler_knows(void **state)
{
    static answers_t answers;
    world_t world;
    weir_value_t y;
    (void)state;
    fake_cuda_reset(0, 1);
    fill_answers(&answers);
    for (uint32_t arch = 90; arch <= 121; arch += 31) {
        fake_cuda_reset(1, 1);
        fake_cuda_arch(arch);
        expect_ok(fake_start(&world, fake_graph(), "cuda", NULL));
        weir_value_t x = fake_value(answers.x[0], ROWS);
        world_run(&world, 1, &x, 1, &y);
        assert_true(fake_is_near(&y, answers.y[0], ROWS * FAKE_CLASSES));
        assert_int_equal(fake_cuda_count("nvrtcGetPTX") > 0, arch == 121);
        assert_int_equal(fake_cuda_count("nvrtcGetCUBIN") > 0, arch != 121);
        world_close(&world);
    }
    fake_cuda_reset(1, 1);
    fake_cuda_arch(70);
    expect_status(fake_start(&world, fake_graph(), "cuda", NULL), WEIR_UNSUPPORTED, "...sm_70 ");
    world_close(&world);
    assert_int_equal(fake_cuda_alive(), 0);
}

// relu(conv(x) + b) with the dims of `dims`.
static message_t conv_graph(const char *dims)
{
    static const int64_t w_dims[] = {4, 2, 3, 3};
    float w[72], b[4];
    message_t graph = {0}, window = {0};
    fill_floats(w, 72, 1);
    fill_floats(b, 4, 2);
    add_input(&graph, "x", 1, dims);
    put_message(&graph, 5, raw_tensor("w", 1, 4, w_dims, w, sizeof w));
    add_floats(&graph, "b", 4, b);
    attribute_ints(&window, "pads", 4, (int64_t[]){1, 1, 1, 1});
    add_node(&graph, "Conv", "conv", "x,w,b", "p", window);
    add_node(&graph, "Relu", "relu", "p", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

enum { CONV_COUNT = ROWS * 4 * FAKE_SIDE * FAKE_SIDE };

static void run_conv(world_t *world, float *x, float *out_y)
{
    weir_value_t y = weir_view(), value = fake_value(x, ROWS);
    expect_ok(weir_session_run(world->session, NULL, 1, &value, 1, &y));
    assert_int_equal(weir_value_count(&y), CONV_COUNT);
    memcpy(out_y, y.data, CONV_COUNT * sizeof *out_y);
}

static void expect_near(const float *found, const float *wanted)
{
    for (uint32_t i = 0; i < CONV_COUNT; i++)
        assert_true(fabsf(found[i] - wanted[i]) <= 1e-5f);
}

// A convolution with bias and Relu runs on the library, whose plan a run never waits for: with dims
// that are known it is there from the start, else it comes with the graph.
static void convolves_in_the_library(void **state)
{
    static const char *const dims[] = {"3,2,6,6", "N,2,6,6"};
    static float x[ROWS * 2 * FAKE_SIDE * FAKE_SIDE], wanted[CONV_COUNT], y[CONV_COUNT];
    world_t world;
    (void)state;
    fake_input(x, ROWS, 5);
    fake_cuda_reset(0, 1);
    expect_ok(fake_start(&world, conv_graph(dims[0]), "cpu,ref", NULL));
    run_conv(&world, x, wanted);
    world_close(&world);
    for (uint32_t i = 0; i < 2; i++) {
        fake_cuda_reset(1, 1);
        expect_ok(fake_start(&world, conv_graph(dims[i]), "cuda", NULL));
        const uint64_t modules = fake_cuda_count("cuModuleLoadData");
        const uint64_t functions = fake_cuda_count("cuModuleGetFunction");
        assert_true(modules > 0 && functions > 0);
        run_conv(&world, x, y);
        expect_near(y, wanted);
        assert_int_equal(fake_cuda_count("cudnnBackendExecute"), i == 0);
        assert_int_equal(fake_cuda_count("cuModuleLoadData"), modules);
        assert_int_equal(fake_cuda_count("cuModuleGetFunction"), functions);
        while (!fake_cuda_count("cuGraphLaunch")) {
            run_conv(&world, x, y);
            expect_near(y, wanted);
        }
        assert_true(fake_cuda_count("cudnnBackendExecute") > 0);
        // The library loads a plan's code in the capture, if it was not executed before.
        assert_int_equal(fake_cuda_count("cuStreamBeginCapture_v2"), 1);
        world_close(&world);
        assert_int_equal(fake_cuda_alive(), 0);
        fake_cuda_reset(1, 1); // without graphs nothing would make it later
        expect_ok(fake_start(&world, conv_graph(dims[i]), "cuda", "cuda.graphs=0"));
        run_conv(&world, x, y);
        expect_near(y, wanted);
        assert_int_equal(fake_cuda_count("cudnnBackendExecute"), 1);
        world_close(&world);
        assert_int_equal(fake_cuda_alive(), 0);
    }
}

// A heuristic that knows no engine leaves the turn to the fallback list. The library's handles are
// made with the first plan: a device alone needs none.
static void convolves_with_the_fallback_list(void **state)
{
    static float x[ROWS * 2 * FAKE_SIDE * FAKE_SIDE], wanted[CONV_COUNT], y[CONV_COUNT];
    world_t world;
    (void)state;
    fake_input(x, ROWS, 5);
    fake_cuda_reset(1, 1);
    expect_ok(fake_start(&world, conv_graph("N,2,6,6"), "cpu,ref", NULL));
    run_conv(&world, x, wanted);
    world_close(&world);
    fake_cuda_fail("cudnnBackendGetAttribute", 1, 3000 /* CUDNN_STATUS_NOT_SUPPORTED */);
    expect_ok(fake_start(&world, conv_graph("N,2,6,6"), "cuda", "cuda.graphs=0"));
    assert_int_equal(fake_cuda_count("cudnnCreate"), 0);
    run_conv(&world, x, y);
    expect_near(y, wanted);
    assert_int_equal(fake_cuda_count("cudnnCreate"), 2);
    assert_int_equal(fake_cuda_count("cudnnBackendExecute"), 1);
    world_close(&world);
    assert_int_equal(fake_cuda_alive(), 0);
}

// What the library turns down stays on the own kernel, and the log says so.
static void convolves_without_an_engine(void **state)
{
    static float x[ROWS * 2 * FAKE_SIDE * FAKE_SIDE], first[CONV_COUNT], y[CONV_COUNT];
    world_t world;
    (void)state;
    fake_input(x, ROWS, 5);
    fake_cuda_reset(1, 1);
    fake_cuda_fail("cudnnBackendFinalize", FAKE_ALL, 3000 /* CUDNN_STATUS_NOT_SUPPORTED */);
    expect_ok(fake_start(&world, conv_graph("N,2,6,6"), "cuda", NULL));
    run_conv(&world, x, first);
    while (!fake_cuda_count("cuGraphLaunch")) {
        run_conv(&world, x, y);
        assert_memory_equal(y, first, sizeof y);
    }
    assert_int_equal(fake_cuda_count("cudnnBackendExecute"), 0);
    world_close(&world);
    assert_int_equal(fake_cuda_alive(), 0);
}

enum { PLANNERS = 4, SHAPES = 8 };

typedef struct planner {
    weir_plan_t *plan;
    pthread_barrier_t *start;
    uint32_t number, good_count;
} planner_t;

// A shape that nobody has a plan of, and at once a run of it: again and again.
static void *plan_and_run(void *user)
{
    planner_t *planner = user;
    const int64_t rows_max = PLANNERS * SHAPES;
    float *x = calloc((size_t)rows_max * 2 * FAKE_SIDE * FAKE_SIDE, sizeof *x);
    weir_session_t *session = NULL;
    weir_status_t status = weir_session_create(planner->plan, NULL, &session);
    pthread_barrier_wait(planner->start);
    for (uint32_t i = 0; x && !status && i < SHAPES; i++) {
        const int64_t rows = 1 + i * PLANNERS + planner->number;
        weir_value_t value = fake_value(x, rows), y = weir_view();
        status = weir_session_run(session, NULL, 1, &value, 1, &y);
        planner->good_count +=
            !status && weir_value_count(&y) == (uint64_t)rows * 4 * FAKE_SIDE * FAKE_SIDE;
    }
    weir_status_free(status);
    weir_session_free(session);
    free(x);
    return NULL;
}

// Plans are made while others are executed: the library's handle is one thread's at a time, which
// the fake insists on.
static void plans_beside_launches(void **state)
{
    world_t world;
    pthread_t threads[PLANNERS];
    planner_t planners[PLANNERS];
    pthread_barrier_t start;
    (void)state;
    fake_cuda_reset(1, 1);
    expect_ok(fake_start(&world, conv_graph("N,2,6,6"), "cuda", "cuda.graphs=0"));
    assert_int_equal(pthread_barrier_init(&start, NULL, PLANNERS), 0);
    for (uint32_t i = 0; i < PLANNERS; i++) {
        planners[i] = (planner_t){world.plan, &start, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, plan_and_run, &planners[i]), 0);
    }
    for (uint32_t i = 0; i < PLANNERS; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(planners[i].good_count, SHAPES);
    }
    pthread_barrier_destroy(&start);
    world_close(&world);
    assert_int_equal(fake_cuda_alive(), 0);
}

// What was refused once is recorded some launches later; what always is, three times.
static void records_what_was_refused(void **state)
{
    static float x[ROWS * 2 * FAKE_SIDE * FAKE_SIDE], y[CONV_COUNT];
    world_t world;
    (void)state;
    fake_input(x, ROWS, 5);
    fake_cuda_reset(1, 1);
    fake_cuda_fail("cuStreamBeginCapture_v2", 1, 900 /* CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED */);
    expect_ok(fake_start(&world, conv_graph("N,2,6,6"), "cuda", NULL));
    while (!fake_cuda_count("cuGraphLaunch"))
        run_conv(&world, x, y);
    assert_int_equal(fake_cuda_count("cuStreamBeginCapture_v2"), 2);
    world_close(&world);
    fake_cuda_reset(1, 1);
    fake_cuda_fail("cuStreamBeginCapture_v2", FAKE_ALL, 900);
    expect_ok(fake_start(&world, conv_graph("N,2,6,6"), "cuda", NULL));
    while (fake_cuda_count("cuStreamBeginCapture_v2") < 3)
        run_conv(&world, x, y);
    for (uint32_t i = 0; i < 40; i++)
        run_conv(&world, x, y);
    assert_int_equal(fake_cuda_count("cuStreamBeginCapture_v2"), 3);
    assert_int_equal(fake_cuda_count("cuGraphLaunch"), 0);
    world_close(&world);
    assert_int_equal(fake_cuda_alive(), 0);
}

// A device that is lost is opened again, and a new plan runs on it.
static void is_reopened(void **state)
{
    static answers_t answers;
    world_t world;
    weir_value_t y;
    (void)state;
    fake_cuda_reset(1, 1);
    fill_answers(&answers);
    expect_ok(fake_start(&world, fake_graph(), "cuda", NULL));
    weir_value_t x = fake_value(answers.x[0], ROWS);
    fake_cuda_fail_kernel(3, 700 /* CUDA_ERROR_ILLEGAL_ADDRESS */);
    y = weir_view();
    // The driver says so where the work is looked at, or cuBLASLt does that is called meanwhile.
    expect_status(weir_session_run(world.session, NULL, 1, &x, 1, &y), WEIR_DEVICE_LOST,
        "...device \"cuda\"");
    weir_session_free(world.session);
    weir_plan_free(world.plan);
    expect_ok(weir_device_reopen(world.engine, "cuda"));
    expect_ok(world_plan(&world, "cuda"));
    expect_ok(weir_session_create(world.plan, NULL, &world.session));
    world_run(&world, 1, &x, 1, &y);
    assert_true(fake_is_near(&y, answers.y[0], ROWS * FAKE_CLASSES));
    world_close(&world);
    assert_int_equal(fake_cuda_alive(), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_on_0_to_8_devices),
        cmocka_unit_test(says_what_indices_are_wrong),
        cmocka_unit_test(compiles_for_what_the_compiler_knows),
        cmocka_unit_test(convolves_in_the_library),
        cmocka_unit_test(convolves_with_the_fallback_list),
        cmocka_unit_test(convolves_without_an_engine),
        cmocka_unit_test(plans_beside_launches),
        cmocka_unit_test(records_what_was_refused),
        cmocka_unit_test(is_reopened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
