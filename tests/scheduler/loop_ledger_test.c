// tests/scheduler/loop_ledger_test.c: many models under one bound of memory.
//
// Goal:   models come and go as requests need them; the books stay below the bound at every moment
//         and agree with what the engine holds; answers are right; what is in use is never evicted.
// Method: files of four megabytes each with weights of their own, in the build's folder; Zipf
// traffic
//         through a loop thread; threads are counted.
#include "tests/scheduler/loop_calls.h"

#include <dirent.h>

// Writing the files byte by byte takes a sanitizer long; then the books are not held to 3 %, since
// what comes with a model besides its weights counts for more: up to 90 kB for the shapes it met.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SIDE = 512, PERCENT = 15 };
#else
enum { SIDE = 1024, PERCENT = 3 };
#endif

enum { MODELS = 12, ROOM = 4, REQUESTS = 600 };

typedef struct big_call {
    call_t call;
    float x[SIDE], y[SIDE];
    uint32_t model;
} big_call_t;

static void model_path(uint32_t index, char *path, size_t bytes)
{
    snprintf(path, bytes, WEIR_TEST_PLUGINS "/ledger_%u.onnx", index);
}

// y = x w with w = (index + 1) on the diagonal.
static void write_model(uint32_t index, float scale)
{
    static const int64_t dims[] = {SIDE, SIDE};
    static float w[SIDE * SIDE];
    char path[512];
    message_t graph = {0};
    memset(w, 0, sizeof w);
    for (int i = 0; i < SIDE; i++)
        w[i * SIDE + i] = scale;
    snprintf(path, sizeof path, "N,%d", SIDE);
    add_input(&graph, "x", 1, path);
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    add_node(&graph, "MatMul", "product", "x,w", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, path);
    message_t model = make_model(graph, 17);
    model_path(index, path, sizeof path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(model.count, fwrite(model.data, 1, model.count, file));
    fclose(file);
    free(model.data);
}

static uint64_t add_models(world_t *world)
{
    weir_served_t served = {.size = sizeof served};
    char name[16], path[512];
    for (uint32_t m = 0; m < MODELS; m++) {
        snprintf(name, sizeof name, "m%u", m);
        model_path(m, path, sizeof path);
        expect_ok(weir_scheduler_add(world->scheduler, name, "1", NULL,
            &(weir_serving_options_t){
                .size = sizeof(weir_serving_options_t), .max_batch = 4, .path = path}));
    }
    assert_int_equal(1, weir_scheduler_served(world->scheduler, 0, &served));
    assert_int_equal(served.resident, 0);
    return served.memory_bytes;
}

static void submit_big(world_t *world, big_call_t *big, uint32_t model)
{
    char name[16];
    memset(big, 0, sizeof *big);
    snprintf(name, sizeof name, "m%u", model);
    big->model = model;
    big->x[model] = 3;
    big->call.in = weir_f32(big->x, 2, 1, SIDE);
    big->call.out = weir_f32_out(big->y, SIDE);
    weir_request_t request = {.size = sizeof request,
        .model = name,
        .inputs = &big->call.in,
        .outputs = &big->call.out,
        .input_count = 1,
        .output_count = 1};
    expect_ok(weir_submit(world->scheduler, &request, &big->call.ticket, NULL, NULL));
}

static uint32_t count_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    uint32_t count = 0;
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static uint64_t books(world_t *world)
{
    weir_scheduler_info_t info = {.size = sizeof info};
    weir_scheduler_describe(world->scheduler, &info);
    return info.memory_bytes;
}

// Zipf: model k as often as 1 / (k + 1).
static uint32_t draw_model(uint64_t *random)
{
    double sum = 0, at;
    for (int k = 0; k < MODELS; k++)
        sum += 1.0 / (k + 1);
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    at = (double)(*random >> 11) / (double)((uint64_t)1 << 53) * sum;
    for (uint32_t k = 0; k < MODELS; k++)
        if ((at -= 1.0 / (k + 1)) < 0)
            return k;
    return MODELS - 1;
}

static void more_models_than_memory(void **state)
{
    (void)state;
    world_t world;
    static big_call_t calls[REQUESTS];
    world_open(&world, rows_graph(), NULL);
    uint64_t each = add_models(&world);
    assert_true(each >= SIDE * SIDE * sizeof(float));
    weir_scheduler_free(world.scheduler);
    weir_scheduler_options_t options = {
        .size = sizeof options, .memory_bytes = ROOM * each + each / 2};
    uint64_t before, after, peak, random = 9;
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    add_models(&world);
    assert_int_equal(books(&world), 0);
    weir_engine_memory(world.engine, &before, &peak);
    uint32_t threads = 0;
    for (uint32_t i = 0; i < REQUESTS; i += 4) {
        for (uint32_t k = 0; k < 4; k++)
            submit_big(&world, &calls[i + k], draw_model(&random));
        for (uint32_t k = 0; k < 4; k++) {
            big_call_t *big = &calls[i + k];
            expect_ok(weir_wait(world.scheduler, big->call.ticket, 0, NULL));
            assert_true(big->y[big->model] == 3 * (float)(big->model + 1));
            assert_true(books(&world) <= options.memory_bytes);
        }
        threads = threads ? threads : count_threads();
    }
    assert_int_equal(count_threads(), threads);
    uint32_t resident, instances;
    do { // until nothing is on its way out
        weir_served_t served = {.size = sizeof served};
        resident = instances = 0;
        for (uint32_t m = 0; weir_scheduler_served(world.scheduler, m, &served); m++)
            resident += served.resident, instances += served.instances;
    } while (books(&world) != resident * each);
    assert_true(resident >= 3 && resident <= ROOM);
    assert_int_equal(instances, resident);
    // The engine holds what the books say. An eviction is in them until its memory is free.
    weir_engine_memory(world.engine, &after, &peak);
    assert_true(after - before >= books(&world) * (100 - PERCENT) / 100);
    assert_true(after - before <= books(&world) * (100 + PERCENT) / 100);
    weir_scheduler_free(world.scheduler);
    world.scheduler = NULL;
    world_close(&world);
}

static void a_file_that_changed_is_not_served(void **state)
{
    (void)state;
    world_t world;
    static big_call_t call;
    world_open(&world, rows_graph(), NULL);
    add_models(&world);
    write_model(2, 77);
    submit_big(&world, &call, 2);
    weir_event_t event;
    expect_status(weir_wait(world.scheduler, call.call.ticket, 0, &event), WEIR_UNAVAILABLE,
        "could not be loaded");
    assert_int_equal(books(&world), 0);
    write_model(2, 3);
    submit_big(&world, &call, 2); // the file is what it was, so it is served again
    expect_ok(weir_wait(world.scheduler, call.call.ticket, 0, NULL));
    assert_true(call.y[2] == 9);
    submit_big(&world, &call, 1);
    expect_ok(weir_wait(world.scheduler, call.call.ticket, 0, NULL));
    world_close(&world);
}

// Weights that are mapped out of the cache take memory as others do.
static void what_the_cache_holds_is_charged(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) { // empty or not, and certainly not
        world_t world = {0};
        weir_engine_options_t options = {.size = sizeof options,
            .threads = 1,
            .plugin_path = "",
            .cache_dir = WEIR_TEST_PLUGINS "/ledger_cache"};
        expect_ok(weir_engine_create(&options, &world.engine));
        expect_ok(weir_scheduler_create(world.engine, NULL, &world.scheduler));
        uint64_t each = add_models(&world);
        // As they are and packed, in both rounds.
        assert_true(each >= 2 * SIDE * SIDE * sizeof(float));
        assert_true(each <= 2 * SIDE * SIDE * sizeof(float) * (100 + PERCENT) / 100);
        world_close(&world);
    }
}

// A device that was there when the models were added is lost at some run and does not come
// back: models are loaded and evicted as before, without it.
static void models_do_without_a_device_that_is_away(void **state)
{
    (void)state;
    world_t world = {0};
    static big_call_t call;
    char name[16], path[512];
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 2,
        .plugin_path = WEIR_TEST_CHAOS,
        .plugin_options = "chaos.devices=1,chaos.faults=run:lost:40;open:fail:2+",
        .cache_dir = ""};
    expect_ok(weir_engine_create(&engine, &world.engine));
    weir_scheduler_options_t options = {
        .size = sizeof options, .memory_bytes = 5 * 4 * SIDE * SIDE * sizeof(float)};
    options.log = world_log;
    options.log_level = WEIR_LOG_DEBUG;
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    for (uint32_t m = 0; m < MODELS; m++) {
        snprintf(name, sizeof name, "m%u", m);
        model_path(m, path, sizeof path);
        expect_ok(weir_scheduler_add(world.scheduler, name, "1", NULL,
            &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                .batching = WEIR_BATCHING_ON,
                .path = path,
                .devices = "chaos,cpu"}));
    }
    uint32_t on_cpu = 0;
    for (uint32_t i = 0; i < 10 * MODELS; i++) {
        weir_event_t event;
        submit_big(&world, &call, i % MODELS);
        expect_ok(weir_wait(world.scheduler, call.call.ticket, 0, &event));
        assert_true(call.y[call.model] == 3 * (float)(call.model + 1));
        on_cpu += strcmp(event.receipt.device, "cpu") == 0;
    }
    assert_true(on_cpu >= 6 * MODELS); // all since the loss
    world_close(&world);
}

static void what_is_too_large_is_refused(void **state)
{
    (void)state;
    world_t world;
    char path[512];
    weir_scheduler_options_t options = {.size = sizeof options, .memory_bytes = 1000};
    world_open(&world, rows_graph(), &options);
    model_path(0, path, sizeof path);
    expect_status(
        weir_scheduler_add(world.scheduler, "m", "1", NULL,
            &(weir_serving_options_t){.size = sizeof(weir_serving_options_t), .path = path}),
        WEIR_RESOURCE_EXHAUSTED, "memory_bytes");
    expect_status(weir_scheduler_add(world.scheduler, "m", "1", NULL, NULL), WEIR_INVALID_ARGUMENT,
        "either a model is given, or a path");
    world_close(&world);
}

static void requests_for_models_that_wait_end_in_time(void **state)
{
    (void)state;
    world_t world;
    static big_call_t calls[MODELS];
    world_open(&world, rows_graph(), NULL);
    add_models(&world);
    for (uint32_t m = 0; m < MODELS; m++) {
        submit_big(&world, &calls[m], m);
        if (m % 2)
            weir_cancel(world.scheduler, calls[m].call.ticket);
    }
    for (uint32_t m = 0; m < MODELS; m++) {
        weir_status_t status = weir_wait(world.scheduler, calls[m].call.ticket, 0, NULL);
        weir_code_t code = weir_status_code(status);
        weir_status_free(status);
        assert_true(code == WEIR_OK || (m % 2 && code == WEIR_CANCELLED));
    }
    // Freed while others load.
    for (uint32_t m = 0; m < MODELS; m++)
        submit_big(&world, &calls[m], m);
    world_close(&world);
}

static int write_models(void **state)
{
    (void)state;
    for (uint32_t m = 0; m < MODELS; m++)
        write_model(m, (float)(m + 1));
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(more_models_than_memory),
        cmocka_unit_test(a_file_that_changed_is_not_served),
        cmocka_unit_test(what_the_cache_holds_is_charged),
        cmocka_unit_test(models_do_without_a_device_that_is_away),
        cmocka_unit_test(what_is_too_large_is_refused),
        cmocka_unit_test(requests_for_models_that_wait_end_in_time),
    };
    return cmocka_run_group_tests_name("loop_ledger", tests, write_models, NULL);
}
