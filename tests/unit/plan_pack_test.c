// tests/unit/plan_pack_test.c: constants packed by two threads, failures on either, a disk that is
// full, a cache that is too small. The plugin is tests/support/plugins/packer.c.
//
// Labels: threads
#include "tests/unit/cache_folder.h"
#include "tests/unit/engine_world.h"

#include "engine/base/clock.h"
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/resource.h>

#define PLUGIN WEIR_TEST_PLUGINS "/packer/weir_packer.so"
enum { PRODUCTS = 8, DEPTH = 4, LEAST = 200 };

static int64_t columns_of(int product)
{
    return LEAST * (product + 1);
}

static uint64_t bytes_of(int product)
{
    return (uint64_t)columns_of(product) * DEPTH * sizeof(float);
}

// x [N, 4] times eight constants of different sizes.
static message_t make_bytes(void)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,4");
    for (int i = 0; i < PRODUCTS; i++) {
        const int64_t dims[2] = {DEPTH, columns_of(i)};
        char weights[16], inputs[24], output[16];
        float *values = malloc(bytes_of(i));
        assert_non_null(values);
        fill_floats(values, bytes_of(i) / sizeof(float), (uint64_t)i);
        snprintf(weights, sizeof weights, "w%d", i);
        snprintf(inputs, sizeof inputs, "x,w%d", i);
        snprintf(output, sizeof output, "y%d", i);
        put_message(&graph, 5, raw_tensor(weights, 1, 2, dims, values, bytes_of(i)));
        add_node(&graph, "MatMul", output, inputs, output, (message_t){0});
        add_output(&graph, output);
        free(values);
    }
    return make_model(graph, 17);
}

typedef weir_code_t hook_t(void);

static void set_hook(hook_t *hook)
{
    void *handle = dlopen(PLUGIN, RTLD_NOW | RTLD_NOLOAD);
    assert_non_null(handle);
    void *symbol = dlsym(handle, "packer_set_hook");
    void (*set)(hook_t *);
    assert_non_null(symbol);
    memcpy(&set, &symbol, sizeof set);
    set(hook);
    dlclose(handle);
}

// An engine with the model, no plan yet.
static void open_model(world_t *world, const char *cache_dir)
{
    message_t bytes = make_bytes();
    weir_model_options_t model = {.size = sizeof model};
    expect_ok(
        world_engine(world, &(world_options_t){.plugin_path = PLUGIN, .cache_dir = cache_dir}));
    expect_ok(weir_model_load_bytes(world->engine, bytes.data, bytes.count, &model, &world->model));
    free(bytes.data);
}

static void expect_products(world_t *world)
{
    float x[2 * DEPTH];
    weir_value_t outputs[PRODUCTS];
    fill_floats(x, 2 * DEPTH, 77);
    weir_value_t input = weir_f32(x, 2, 2, DEPTH);
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    world_run(world, 1, &input, PRODUCTS, outputs);
    for (int i = 0; i < PRODUCTS; i++) {
        const int64_t columns = columns_of(i);
        float *w = malloc(bytes_of(i)), *wanted = calloc(2 * (size_t)columns, sizeof *wanted);
        assert_true(w && wanted);
        fill_floats(w, bytes_of(i) / sizeof(float), (uint64_t)i);
        for (int64_t y = 0; y < 2 * columns; y++)
            for (int64_t k = 0; k < DEPTH; k++)
                wanted[y] += x[y / columns * DEPTH + k] * w[k * columns + y % columns];
        expect_floats(&outputs[i], 2 * (size_t)columns, wanted, 1e-5f);
        free(w);
        free(wanted);
    }
}

static weir_plan_info_t plan_info(const world_t *world)
{
    weir_plan_info_t info = {.size = sizeof info};
    weir_plan_describe(world->plan, &info);
    return info;
}

// ---- Two threads -------------------------------------------------------------------------------

static atomic_uint threads_here, round_number;
static pthread_t caller;

// Returns once two threads pack; else, after long, an error.
static weir_code_t await_both(void)
{
    static _Thread_local unsigned seen;
    const uint64_t until_ns = weir__now_ns() + 30000000000u;
    if (seen != atomic_load(&round_number))
        atomic_fetch_add(&threads_here, 1);
    seen = atomic_load(&round_number);
    while (atomic_load(&threads_here) < 2 && weir__now_ns() < until_ns)
        sched_yield();
    return atomic_load(&threads_here) < 2 ? WEIR_DEADLINE_EXCEEDED : WEIR_OK;
}

static weir_code_t fail_on_worker(void)
{
    const weir_code_t code = await_both();
    return code == WEIR_OK && !pthread_equal(pthread_self(), caller) ? WEIR_DATA_LOSS : code;
}

static weir_code_t fail_on_caller(void)
{
    const weir_code_t code = await_both();
    return code == WEIR_OK && pthread_equal(pthread_self(), caller) ? WEIR_DATA_LOSS : code;
}

// Goal: the caller and a worker pack side by side; what fails on either fails the plan with its
// text, leaves nothing behind, and the next plan of the same engine is whole.
static void two_threads_pack(void **state)
{
    static hook_t *const hooks[] = {await_both, fail_on_worker, fail_on_caller};
    folder_t *folder = *state;
    caller = pthread_self();
    for (size_t i = 0; i < sizeof hooks / sizeof hooks[0]; i++) {
        world_t world;
        char cache[300];
        snprintf(cache, sizeof cache, "%s-%zu", folder->cache_path, i);
        open_model(&world, cache);
        atomic_store(&threads_here, 0);
        atomic_fetch_add(&round_number, 1);
        set_hook(hooks[i]);
        weir_status_t status = world_plan(&world, "packer,ref");
        set_hook(NULL);
        if (i) {
            expect_status(status, WEIR_DATA_LOSS, "...pack");
            expect_ok(world_plan(&world, "packer,ref"));
        } else {
            expect_ok(status);
            assert_int_equal(plan_info(&world).packed_cached_bytes, 0);
        }
        expect_products(&world);
        world_close(&world);
    }
}

// ---- The cache ---------------------------------------------------------------------------------

// Goal: a disk that is full for some of the constants keeps those in memory; the others are there
// for the next engine.
// Method: a limit on the size of files.
static void disk_is_full_for_some(void **state)
{
    folder_t *folder = *state;
    world_t world;
    struct rlimit before, small;
    open_model(&world, folder->cache_path);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){16384, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    weir_status_t status = world_plan(&world, "packer,ref");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    expect_ok(status);
    expect_products(&world);
    world_close(&world);
    for (int round = 0; round < 2; round++) {
        open_model(&world, folder->cache_path);
        expect_ok(world_plan(&world, "packer,ref"));
        const weir_plan_info_t info = plan_info(&world);
        // Header and trailer come to a page and a bit: the fourth is too large.
        assert_int_equal(info.packed_cached_bytes,
            round ? info.packed_bytes : bytes_of(0) + bytes_of(1) + bytes_of(2));
        expect_products(&world);
        world_close(&world);
    }
}

// Goal: a model that takes more than the cache may hold is told so, with what it needs; one that
// fits is not.
static void too_small_a_cache_is_a_warning(void **state)
{
    folder_t *folder = *state;
    for (int fits = 0; fits < 2; fits++) {
        world_t world = {0};
        message_t bytes = make_bytes();
        weir_model_options_t model = {.size = sizeof model};
        weir_engine_options_t options = {.size = sizeof options,
            .threads = 1,
            .plugin_path = PLUGIN,
            .cache_dir = folder->cache_path,
            .cache_bytes = fits ? 1u << 20 : 100000,
            .log = note_warning,
            .log_user_data = folder,
            .log_level = WEIR_LOG_WARNING};
        expect_ok(weir_engine_create(&options, &world.engine));
        expect_ok(
            weir_model_load_bytes(world.engine, bytes.data, bytes.count, &model, &world.model));
        folder->warning[0] = 0;
        expect_ok(world_plan(&world, "packer,ref"));
        if (fits)
            assert_string_equal(folder->warning, "");
        else
            assert_non_null(strstr(folder->warning, "set cache_bytes to "));
        world_close(&world);
        free(bytes.data);
    }
}

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(two_threads_pack, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(disk_is_full_for_some, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(
            too_small_a_cache_is_a_warning, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
