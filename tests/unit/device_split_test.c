// tests/unit/device_split_test.c: a model split at random over the CPU and devices that answer
// late, by runs that are under way at once.
//
// The device is backends/chaos over the CPU's own kernels, with memory of its own, so the bytes are
// known: those of the CPU alone. What must not block is proved by a device that never answers, not
// by time. Real models are split by tests/models/check_splits.py. Labels: threads Timeout: 120
#include "tests/unit/engine_world.h"

#include <pthread.h>

#define SIDE 32
#define ROWS 3
#define LAYERS 6
#define RUNS 12
#define SPLITS 18

// LAYERS times h = Tanh(Softmax(h Q) M) + h: values that are read at once and much later.
static message_t make_layers(void)
{
    static const int64_t dims[] = {SIDE, SIDE};
    static float weights[SIDE * SIDE];
    message_t graph = {0};
    char from[32], names[6][16];
    add_input(&graph, "h0", 1, "N,32");
    for (int i = 0; i < LAYERS; i++) {
        for (int n = 0; n < 6; n++)
            snprintf(names[n], sizeof names[n], "%c%d", "QMqsmt"[n], i);
        for (int n = 0; n < 2; n++) {
            fill_floats(weights, SIDE * SIDE, (uint64_t)(2 * i + n + 1));
            put_message(&graph, 5, raw_tensor(names[n], 1, 2, dims, weights, sizeof weights));
        }
        snprintf(from, sizeof from, "h%d,%s", i, names[0]);
        add_node(&graph, "MatMul", names[2], from, names[2], (message_t){0});
        add_node(&graph, "Softmax", names[3], names[2], names[3], (message_t){0});
        snprintf(from, sizeof from, "%s,%s", names[3], names[1]);
        add_node(&graph, "MatMul", names[4], from, names[4], (message_t){0});
        add_node(&graph, "Tanh", names[5], names[4], names[5], (message_t){0});
        snprintf(from, sizeof from, "%s,h%d", names[5], i);
        snprintf(names[0], sizeof names[0], "h%d", i + 1);
        add_node(&graph, "Add", names[0], from, names[0], (message_t){0});
    }
    add_output(&graph, names[0]);
    return graph;
}

static uint64_t next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 33;
}

// A device for each product and Softmax: runs of neighbours, longer or shorter from seed to seed.
static void place_at_random(uint64_t seed, uint32_t device_count, char *text, size_t bytes)
{
    static const char *const devices[] = {"cpu", "chaos", "chaos:1"};
    uint64_t stay = 2 + seed % 5, device = 1;
    size_t used = 0;
    for (int i = 0; i < LAYERS * 3; i++) {
        if (next(&seed) % stay == 0)
            device = (device + 1 + next(&seed) % device_count) % (device_count + 1);
        used += (size_t)snprintf(
            text + used, bytes - used, "%c%d=%s;", "qsm"[i % 3], i / 3, devices[device]);
    }
}

static void open_split(world_t *world, const char *options, const char *devices, uint64_t seed)
{
    char placement[512];
    world_options_t known = {.plugin_path = WEIR_TEST_CHAOS, .plugin_options = options};
    message_t bytes = make_model(make_layers(), 17);
    expect_ok(world_engine(world, &known));
    expect_ok(weir_model_load_bytes(world->engine, bytes.data, bytes.count, NULL, &world->model));
    free(bytes.data);
    weir_plan_options_t plan = {.size = sizeof plan, .devices = devices};
    if (seed) {
        place_at_random(seed, strstr(devices, "chaos:1") ? 2 : 1, placement, sizeof placement);
        plan.placement = placement;
    }
    expect_ok(weir_plan_create(world->model, &plan, &world->plan));
}

// Runs that were started and not waited for.
typedef struct race {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint32_t done, codes[WEIR_CANCELLED + 1], others;
} race_t;

static void on_done(void *user_data, weir_status_t status)
{
    race_t *race = user_data;
    weir_code_t code = weir_status_code(status);
    pthread_mutex_lock(&race->lock);
    if (code <= WEIR_CANCELLED)
        race->codes[code]++;
    else
        race->others++;
    race->done++;
    pthread_cond_signal(&race->changed);
    pthread_mutex_unlock(&race->lock);
    weir_status_free(status);
}

static void await(race_t *race, uint32_t count)
{
    pthread_mutex_lock(&race->lock);
    while (race->done < count)
        pthread_cond_wait(&race->changed, &race->lock);
    pthread_mutex_unlock(&race->lock);
}

typedef struct bundle {
    weir_session_t *sessions[RUNS];
    weir_value_t in[RUNS], out[RUNS];
    float x[RUNS][ROWS * SIDE], y[RUNS][ROWS * SIDE];
} bundle_t;

static void start_all(
    bundle_t *bundle, weir_plan_t *plan, weir_cancel_t *cancel, race_t *race, uint64_t seed)
{
    weir_run_options_t options = {.size = sizeof options, .cancel = cancel};
    for (uint32_t i = 0; i < RUNS; i++) {
        int64_t rows = 1 + (int64_t)((i + seed) % ROWS);
        fill_floats(bundle->x[i], ROWS * SIDE, seed * RUNS + i);
        bundle->in[i] = weir_f32(bundle->x[i], 2, rows, SIDE);
        bundle->out[i] = weir_f32_out(bundle->y[i], ROWS * SIDE);
        expect_ok(weir_session_create(plan, NULL, &bundle->sessions[i]));
        expect_ok(weir_session_start(
            bundle->sessions[i], &options, 1, &bundle->in[i], 1, &bundle->out[i], on_done, race));
    }
}

static void free_all(bundle_t *bundle)
{
    for (uint32_t i = 0; i < RUNS; i++)
        weir_session_free(bundle->sessions[i]);
}

static const char *const forms[] = {
    "chaos.level=2",
    "chaos.level=1",
    "chaos.level=2,chaos.delay_us=200,chaos.jitter_us=200",
    "chaos.level=2,chaos.devices=2,chaos.edge=staged,chaos.jitter_us=100",
    "chaos.level=2,chaos.devices=2,chaos.edge=native,chaos.delay_us=100",
    "chaos.level=1,chaos.devices=2,chaos.edge=import,chaos.jitter_us=100",
};
#define FORMS (sizeof forms / sizeof forms[0])

static const char *devices_of(const char *form)
{
    return strstr(form, "devices=2") ? "cpu,chaos,chaos:1" : "cpu,chaos";
}

// Goal:   however a model is split, and however many runs of it are under way on two threads, each
//         answers with the bytes of the CPU alone.
static void splits_give_the_same_bytes(void **state)
{
    (void)state;
    static bundle_t bundle;
    float wanted[ROWS * SIDE];
    world_t host;
    open_split(&host, NULL, "cpu", 0);
    expect_ok(weir_session_create(host.plan, NULL, &host.session));
    for (uint64_t seed = 1; seed <= SPLITS; seed++) {
        const char *form = forms[seed % FORMS];
        world_t world;
        race_t race = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
        open_split(&world, form, devices_of(form), seed);
        assert_non_null(strstr(world_listing(&world, false), "@chaos"));
        start_all(&bundle, world.plan, NULL, &race, seed);
        await(&race, RUNS);
        assert_int_equal(race.codes[WEIR_OK], RUNS);
        for (uint32_t i = 0; i < RUNS; i++) {
            weir_value_t out[] = {weir_f32_out(wanted, ROWS * SIDE)};
            expect_ok(weir_session_run(host.session, NULL, 1, &bundle.in[i], 1, out));
            size_t bytes = weir_value_count(&out[0]) * sizeof(float);
            if (memcmp(bundle.y[i], wanted, bytes) != 0)
                fail_msg("seed %d (%s), run %u: other bytes", (int)seed, form, i);
        }
        free_all(&bundle);
        world_close(&world);
    }
    world_close(&host);
}

// Goal:   no thread of the team ever waits for a device, wherever in a split model its answer is
//         missing: more runs than threads hang, and runs on the host alone still end.
// Method: from launch k on the device answers nothing, for many k. A thread that waited for it
// would
//         wait for good: with k = 1 the first two runs would keep both threads, and no run on the
//         host would begin; with any k the engine could not join that thread at the end.
static void no_thread_waits_for_a_device(void **state)
{
    (void)state;
    static bundle_t bundle;
    for (uint64_t k = 1; k <= 40; k += k < 8 ? 1 : 8) {
        char options[160];
        const char *form = forms[k % FORMS];
        float x[SIDE], y[SIDE];
        world_t world;
        weir_plan_t *host;
        weir_session_t *probe;
        weir_cancel_t *cancel;
        race_t race = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
        race_t probes = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
        snprintf(options, sizeof options, "%s,chaos.faults=run:hang:%d+", form, (int)k);
        open_split(&world, options, devices_of(form), k);
        assert_non_null(strstr(world_listing(&world, false), "@chaos"));
        expect_ok(weir_plan_create(world.model,
            &(weir_plan_options_t){.size = sizeof(weir_plan_options_t), .devices = "cpu"}, &host));
        expect_ok(weir_session_create(host, NULL, &probe));
        expect_ok(weir_cancel_create(&cancel));
        start_all(&bundle, world.plan, cancel, &race, k);
        fill_floats(x, SIDE, k);
        weir_value_t in = weir_f32(x, 2, 1, SIDE);
        for (uint32_t i = 1; i <= 20; i++) {
            weir_value_t out = weir_f32_out(y, SIDE);
            expect_ok(weir_session_start(probe, NULL, 1, &in, 1, &out, on_done, &probes));
            await(&probes, i);
        }
        assert_int_equal(probes.codes[WEIR_OK], 20);
        weir_cancel_trigger(cancel);
        await(&race, RUNS);
        assert_int_equal(race.codes[WEIR_OK] + race.codes[WEIR_CANCELLED], RUNS);
        if (k == 1)
            assert_int_equal(race.codes[WEIR_CANCELLED], RUNS);
        free_all(&bundle);
        weir_cancel_free(cancel);
        weir_session_free(probe);
        weir_plan_free(host);
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_give_the_same_bytes),
        cmocka_unit_test(no_thread_waits_for_a_device),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
