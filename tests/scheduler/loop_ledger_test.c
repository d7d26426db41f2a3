// tests/scheduler/loop_ledger_test.c: many models under one bound of memory.
//
// Goal:   models come and go as requests need them; the books stay below the bound at every moment
//         and agree with what the engine holds; answers are right; what is in use is never evicted.
// Method: files of four megabytes each with weights of their own, in the build's folder; Zipf
// traffic
//         through a loop thread; threads are counted.
#include "tests/scheduler/big_models.h"

#include "scheduler/loop/loop.h"

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
    uint32_t instances, resident = big_settle(&world, &instances);
    assert_true(resident >= 3 && resident <= ROOM);
    assert_int_equal(instances, resident);
    // The engine holds what the books say.
    weir_engine_memory(world.engine, &after, &peak);
    assert_true(after - before >= big_books(&world) * (100 - PERCENT) / 100);
    assert_true(after - before <= big_books(&world) * (100 + PERCENT) / 100);
    // All of it goes.
    for (uint32_t m = 0; m < MODELS; m++) {
        char name[16];
        snprintf(name, sizeof name, "m%u", m);
        expect_ok(weir_scheduler_remove(world.scheduler, name, "1"));
    }
    big_await_books(&world, 0);
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

static void add_path(world_t *world, uint32_t model, const char *devices)
{
    char name[16], path[512];
    snprintf(name, sizeof name, "m%u", model);
    big_path(model, path, sizeof path);
    expect_ok(weir_scheduler_add(world->scheduler, name, "1", NULL,
        &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
            .batching = WEIR_BATCHING_ON,
            .path = path,
            .devices = devices}));
}

// A device that was there when the models were added is lost at some run and does not come
// back: models are loaded and evicted as before, without it.
static void models_do_without_a_device_that_is_away(void **state)
{
    (void)state;
    world_t world;
    static big_call_t call;
    world_engine(&world, WEIR_TEST_CHAOS, "chaos.devices=1,chaos.faults=run:lost:40;open:fail:2+");
    weir_scheduler_options_t options = {
        .size = sizeof options, .memory_bytes = 5 * 4 * SIDE * SIDE * sizeof(float)};
    options.log = world_log;
    options.log_level = WEIR_LOG_DEBUG;
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    for (uint32_t m = 0; m < MODELS; m++)
        add_path(&world, m, "chaos,cpu");
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

// Models that are always there leave too little for one of the others: that one is told so at
// once, with the numbers; nobody waits behind it, and nobody goes for it.
static void what_can_never_fit_is_refused_at_once(void **state)
{
    (void)state;
    enum { SMALL = MODELS };
    world_t world;
    char path[512];
    static big_call_t large, small;
    weir_model_t *fixed;
    world_open(&world, rows_graph(), NULL);
    uint64_t each = big_add(&world, 0, 1);
    weir_scheduler_free(world.scheduler);
    big_write(SMALL, SIDE / 4, SMALL + 1);
    weir_scheduler_options_t options = {.size = sizeof options, .memory_bytes = each + each / 2};
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    big_path(1, path, sizeof path);
    expect_ok(weir_model_load(world.engine, path, NULL, &fixed));
    add_path(&world, 0, NULL);
    add_path(&world, SMALL, NULL);
    big_submit(&world, &small, SIDE / 4, SMALL);
    big_answer(&world, &small);
    expect_ok(weir_scheduler_add(world.scheduler, "fixed", "1", fixed,
        &(weir_serving_options_t){.size = sizeof(weir_serving_options_t), .max_batch = 4}));
    big_submit(&world, &large, SIDE, 0);
    big_submit(&world, &small, SIDE / 4, SMALL);
    weir_event_t event;
    expect_status(weir_wait(world.scheduler, large.call.ticket, 0, &event), WEIR_RESOURCE_EXHAUSTED,
        "always there");
    big_answer(&world, &small);
    weir_served_t served = {.size = sizeof served};
    for (uint32_t m = 0; weir_scheduler_served(world.scheduler, m, &served); m++)
        assert_int_equal(served.resident, strcmp(served.name, "m0") != 0);
    // With that one gone there is room.
    expect_ok(weir_scheduler_remove(world.scheduler, "fixed", "1"));
    big_settle(&world, &served.instances);
    big_submit(&world, &large, SIDE, 0);
    big_answer(&world, &large);
    weir_model_free(fixed);
    world_close(&world);
}

// What a batch of a shape takes that nobody knew of is in the books as soon as it is met.
static void memory_that_grows_is_charged(void **state)
{
    (void)state;
    enum { LENGTH = 1 << 16 };
    world_t world;
    static float x[LENGTH], y[LENGTH];
    world_open(&world, relu_graph("N,L"), NULL);
    world_add(&world, NULL);
    weir_value_t in = weir_f32(x, 2, 1, 16), out = weir_f32_out(y, LENGTH);
    weir_request_t request = {.size = sizeof request,
        .model = "rows",
        .inputs = &in,
        .outputs = &out,
        .input_count = 1,
        .output_count = 1};
    uint64_t books[2];
    for (uint32_t i = 0; i < 4; i++) {
        weir_ticket_t ticket;
        in = weir_f32(x, 2, 1, i < 2 ? 16 : LENGTH);
        expect_ok(weir_submit(world.scheduler, &request, &ticket, NULL, NULL));
        expect_ok(weir_wait(world.scheduler, ticket, 0, NULL));
        books[i / 2] = big_books(&world);
    }
    assert_true(books[1] >= books[0] + sizeof x);
    weir_served_t served = {.size = sizeof served};
    assert_int_equal(1, weir_scheduler_served(world.scheduler, 0, &served));
    assert_int_equal(served.memory_bytes, big_books(&world));
    expect_ok(weir_scheduler_remove(world.scheduler, "rows", "1.0.0"));
    big_await_books(&world, 0);
    world_close(&world);
}

static void run_length(world_t *world, uint32_t length)
{
    static float x[SIDE * SIDE / 16], y[SIDE * SIDE / 16];
    weir_value_t in = weir_f32(x, 2, 1, length), out = weir_f32_out(y, length);
    weir_request_t request = {.size = sizeof request,
        .model = "grows",
        .inputs = &in,
        .outputs = &out,
        .input_count = 1,
        .output_count = 1};
    weir_ticket_t ticket;
    expect_ok(weir_submit(world->scheduler, &request, &ticket, NULL, NULL));
    expect_ok(weir_wait(world->scheduler, ticket, 0, NULL));
}

// A model that is always there grows, until one of the others would not fit any more: that one is
// refused at once, and nobody goes for it.
static void what_can_never_fit_again_is_refused(void **state)
{
    (void)state;
    enum { SMALL = MODELS, LENGTH = SIDE * SIDE / 16 };
    world_t world;
    static big_call_t large, small;
    const weir_serving_options_t one_row = {.size = sizeof one_row, .batching = WEIR_BATCHING_OFF};
    world_open(&world, relu_graph("N,L"), NULL);
    big_write(SMALL, SIDE / 4, SMALL + 1);
    uint64_t each = big_add(&world, 0, 1);
    expect_ok(weir_scheduler_add(world.scheduler, "grows", "1", world.model, &one_row));
    run_length(&world, 16);
    uint64_t fixed = big_books(&world);
    run_length(&world, LENGTH);
    uint64_t grown = big_books(&world) - fixed;
    assert_true(grown >= LENGTH * sizeof(float) && grown < each / 2);
    weir_scheduler_free(world.scheduler);
    weir_scheduler_options_t options = {
        .size = sizeof options, .memory_bytes = fixed + each + grown / 2};
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    big_add(&world, 0, 1);
    big_add(&world, SMALL, SMALL + 1);
    expect_ok(weir_scheduler_add(world.scheduler, "grows", "1", world.model, &one_row));
    run_length(&world, 16);
    big_submit(&world, &small, SIDE / 4, SMALL);
    big_answer(&world, &small);
    run_length(&world, LENGTH);
    big_submit(&world, &large, SIDE, 0);
    weir_event_t event;
    expect_status(weir_wait(world.scheduler, large.call.ticket, 0, &event), WEIR_RESOURCE_EXHAUSTED,
        "always there");
    weir_served_t served = {.size = sizeof served};
    for (uint32_t m = 0; weir_scheduler_served(world.scheduler, m, &served); m++)
        assert_int_equal(served.resident, strcmp(served.name, "m0") != 0);
    big_submit(&world, &small, SIDE / 4, SMALL);
    big_answer(&world, &small);
    // What it had grown to goes with it.
    expect_ok(weir_scheduler_remove(world.scheduler, "grows", "1"));
    big_settle(&world, &served.instances);
    big_submit(&world, &large, SIDE, 0);
    big_answer(&world, &large);
    world_close(&world);
}

// While a request waits for memory a model comes to stay, and what is waited for can never fit any
// more: that is known at once, not when what is in use is over.
static void what_waits_is_refused_once_it_can_never_fit(void **state)
{
    (void)state;
    world_t world;
    static big_call_t first, second;
    world_open(&world, rows_graph(), NULL);
    uint64_t each = big_add(&world, 0, 1);
    weir_scheduler_free(world.scheduler);
    weir_scheduler_options_t options = polled;
    options.memory_bytes = each * 7 / 4;
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    big_add(&world, 0, 2);
    big_submit(&world, &first, SIDE, 0);
    weir__served_t *used = &world.scheduler->models[0];
    struct pollfd fd = {.fd = weir_scheduler_fd(world.scheduler), .events = POLLIN};
    for (weir_scheduler_poll(world.scheduler); used->held_count || used->in_loop;
         weir_scheduler_poll(world.scheduler))
        assert_true(poll(&fd, 1, 60000) > 0);
    big_answer(&world, &first);
    used->batch_count++; // the loop is ours: as if a batch ran
    big_submit(&world, &second, SIDE, 1);
    weir_scheduler_poll(world.scheduler);
    assert_int_equal(world.scheduler->loads_waiting, 1);
    weir_model_t *fixed;
    char path[512];
    big_path(2, path, sizeof path);
    expect_ok(weir_model_load(world.engine, path, NULL, &fixed));
    expect_ok(weir_scheduler_add(world.scheduler, "fixed", "1", fixed,
        &(weir_serving_options_t){.size = sizeof(weir_serving_options_t), .max_batch = 1}));
    weir_scheduler_poll(world.scheduler);
    weir_event_t event;
    expect_status(weir_wait(world.scheduler, second.call.ticket, 1, &event),
        WEIR_RESOURCE_EXHAUSTED, "always there");
    used->batch_count--;
    weir_model_free(fixed);
    world_close(&world);
}

// A device that was away when the model was added: its weights there are in the books from when
// it is used.
static void a_device_that_comes_is_charged(void **state)
{
    (void)state;
    world_t world;
    static big_call_t call;
    world_engine(&world, WEIR_TEST_CHAOS, "chaos.devices=1,chaos.faults=open:fail=9:1");
    expect_ok(weir_scheduler_create(world.engine, NULL, &world.scheduler));
    add_path(&world, 0, "chaos,cpu");
    weir_served_t served = {.size = sizeof served};
    assert_int_equal(1, weir_scheduler_served(world.scheduler, 0, &served));
    uint64_t before = served.memory_bytes;
    weir_event_t event;
    do {
        big_submit(&world, &call, SIDE, 0);
        expect_ok(weir_wait(world.scheduler, call.call.ticket, 0, &event));
        assert_true(call.y[0] == 3);
    } while (strcmp(event.receipt.device, "chaos") != 0);
    assert_true(big_books(&world) >= before + SIDE * SIDE * sizeof(float));
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
        cmocka_unit_test(what_can_never_fit_is_refused_at_once),
        cmocka_unit_test(memory_that_grows_is_charged),
        cmocka_unit_test(what_can_never_fit_again_is_refused),
        cmocka_unit_test(what_waits_is_refused_once_it_can_never_fit),
        cmocka_unit_test(a_device_that_comes_is_charged),
        cmocka_unit_test(requests_for_models_that_wait_end_in_time),
    };
    return cmocka_run_group_tests_name("loop_ledger", tests, write_models, NULL);
}
