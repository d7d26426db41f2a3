// tests/scheduler/loop_ledger_test.c: many models under one bound of memory.
//
// Goal:   models come and go as requests need them; the books stay below the bound at every moment
//         and agree with what the engine holds; answers are right; what is in use is never evicted.
// Method: files of four megabytes each with weights of their own, in the build's folder; Zipf
// traffic
//         through a loop thread; threads are counted.
#include "tests/scheduler/big_models.h"

// Writing the files byte by byte takes a sanitizer long; then the books are not held to 3 %, since
// what comes with a model besides its weights counts for more: up to 90 kB for the shapes it met.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SIDE = 256, PERCENT = 30, REQUESTS = 240 };
#else
enum { SIDE = 1024, PERCENT = 3, REQUESTS = 600 };
#endif

enum { MODELS = 12, ROOM = 4 };

static void more_models_than_memory(void **state)
{
    (void)state;
    world_t world;
    static big_call_t calls[REQUESTS];
    world_open(&world, rows_graph(), NULL);
    uint64_t each = big_add(&world, 0, MODELS);
    assert_true(each >= SIDE * SIDE * sizeof(float));
    weir_scheduler_free(world.scheduler);
    weir_scheduler_options_t options = {
        .size = sizeof options, .memory_bytes = ROOM * each + each / 2};
    uint64_t before, after, peak, random = 9;
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    big_add(&world, 0, MODELS);
    assert_int_equal(big_books(&world), 0);
    weir_engine_memory(world.engine, &before, &peak);
    uint32_t threads = 0;
    for (uint32_t i = 0; i < REQUESTS; i += 4) {
        for (uint32_t k = 0; k < 4; k++)
            big_submit(&world, &calls[i + k], SIDE, big_draw(&random, MODELS));
        for (uint32_t k = 0; k < 4; k++) {
            big_answer(&world, &calls[i + k]);
            assert_true(big_books(&world) <= options.memory_bytes);
        }
        threads = threads ? threads : big_threads();
    }
    assert_int_equal(big_threads(), threads);
    uint32_t instances, resident = big_settle(&world, each, &instances);
    assert_true(resident >= 3 && resident <= ROOM);
    assert_int_equal(instances, resident);
    // The engine holds what the books say.
    weir_engine_memory(world.engine, &after, &peak);
    assert_true(after - before >= big_books(&world) * (100 - PERCENT) / 100);
    assert_true(after - before <= big_books(&world) * (100 + PERCENT) / 100);
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
    big_add(&world, 0, MODELS);
    big_write(2, SIDE, 77);
    big_submit(&world, &call, SIDE, 2);
    weir_event_t event;
    expect_status(weir_wait(world.scheduler, call.call.ticket, 0, &event), WEIR_UNAVAILABLE,
        "could not be loaded");
    assert_int_equal(big_books(&world), 0);
    big_write(2, SIDE, 3);
    big_submit(&world, &call, SIDE, 2); // the file is what it was, so it is served again
    expect_ok(weir_wait(world.scheduler, call.call.ticket, 0, NULL));
    assert_true(call.y[2] == 9);
    big_submit(&world, &call, SIDE, 1);
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
        uint64_t each = big_add(&world, 0, MODELS);
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
        big_path(m, path, sizeof path);
        expect_ok(weir_scheduler_add(world.scheduler, name, "1", NULL,
            &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                .batching = WEIR_BATCHING_ON,
                .path = path,
                .devices = "chaos,cpu"}));
    }
    uint32_t on_cpu = 0;
    for (uint32_t i = 0; i < 10 * MODELS; i++) {
        weir_event_t event;
        big_submit(&world, &call, SIDE, i % MODELS);
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
    big_path(0, path, sizeof path);
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
    big_add(&world, 0, MODELS);
    for (uint32_t m = 0; m < MODELS; m++) {
        big_submit(&world, &calls[m], SIDE, m);
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
        big_submit(&world, &calls[m], SIDE, m);
    world_close(&world);
}

static int write_models(void **state)
{
    (void)state;
    for (uint32_t m = 0; m < MODELS; m++)
        big_write(m, SIDE, (float)(m + 1));
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
