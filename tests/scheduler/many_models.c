// tests/scheduler/many_models.c: many models of eight megabytes and more, memory for a quarter of
// them.
//
//     many_models [MODELS [REQUESTS]]
//
// Goal:   Zipf traffic never holds more than the bound; the books agree with what the process grew
//         by (PSS) within 3 %; threads do not grow with models; idle costs at most 0.05 % of a CPU.
// Method: generated models through a loop thread; PSS from /proc/self/smaps_rollup, after malloc
//         has given back what is free. Not among the tests: PSS is the whole process's, and a
//         second of idleness takes a second. tests/scheduler/loop_ledger_test.c is the small form.
#include "tests/scheduler/big_models.h"

#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SIDE = 1448, GROUP = 8, IDLE_MS = 10000 }; // 8.4 MB each

static uint32_t model_count = 100, request_count = 3000;

static uint64_t read_pss(void)
{
    unsigned long long kilobytes = 0;
    char line[256];
    malloc_trim(0);
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    assert_non_null(file);
    while (fgets(line, sizeof line, file) && sscanf(line, "Pss: %llu", &kilobytes) != 1)
        ;
    fclose(file);
    assert_true(kilobytes > 0);
    return kilobytes * 1024;
}

static uint64_t used_cpu_ns(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000u +
           (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000u;
}

static void open_bounded(world_t *world, uint64_t bytes)
{
    weir_scheduler_options_t options = {
        .size = sizeof options, .models = model_count, .memory_bytes = bytes};
    options.log = world_log;
    options.log_level = WEIR_LOG_DEBUG;
    expect_ok(weir_scheduler_create(world->engine, &options, &world->scheduler));
}

// What one model takes, by the books.
static uint64_t measure_one(world_t *world)
{
    open_bounded(world, 0);
    uint64_t each = big_add(world, 0, 1);
    weir_scheduler_free(world->scheduler);
    return each;
}

// Requests in groups of eight, half as many models at most. The most that was held above `base`.
static uint64_t send(world_t *world, uint32_t count, uint64_t bound, uint64_t base, uint32_t models)
{
    static big_call_t calls[GROUP];
    uint64_t random = 9, most = 0;
    for (uint32_t i = 0; i < count; i += GROUP) {
        for (uint32_t k = 0; k < GROUP; k++)
            big_submit(world, &calls[k], SIDE, big_draw(&random, models));
        for (uint32_t k = 0; k < GROUP; k++) {
            big_answer(world, &calls[k]);
            assert_true(big_books(world) <= bound);
        }
        if (i % (GROUP * 16) == 0)
            most = WEIR_MAX(most, read_pss() - base);
    }
    return most;
}

static double percent(uint64_t part, uint64_t whole)
{
    return 100 * (double)part / (double)whole;
}

static void many_models(void **state)
{
    (void)state;
    world_t world = {0};
    weir_engine_options_t engine = {
        .size = sizeof engine, .threads = 2, .plugin_path = "", .cache_dir = ""};
    expect_ok(weir_engine_create(&engine, &world.engine));
    uint64_t each = measure_one(&world), bound = (model_count / 4) * each;
    assert_true(each >= (uint64_t)SIDE * SIDE * sizeof(float));
    open_bounded(&world, bound);
    big_add(&world, 0, 1);
    (void)send(&world, GROUP, bound, 0, 1); // threads are started, buffers are there
    uint32_t threads = big_threads();
    big_add(&world, 1, model_count);
    uint64_t base = read_pss() - big_books(&world);
    uint64_t most = send(&world, request_count, bound, base, model_count);
    uint32_t instances, resident = big_settle(&world, &instances);
    uint64_t books = big_books(&world), held = read_pss() - base;
    printf("%u models of %.1f MB, memory for %u: %u resident, books %.1f MB, PSS grew by %.1f MB "
           "(%.2f %%), at most %.1f MB\n",
        model_count, (double)each / 1e6, model_count / 4, resident, (double)books / 1e6,
        (double)held / 1e6, percent(held, books) - 100, (double)most / 1e6);
    assert_true(resident + 2 >= model_count / 4 && resident <= model_count / 4);
    assert_true(percent(held, books) > 97 && percent(held, books) < 103);
    assert_true(percent(most, bound) < 103);
    printf("threads: %u with one model, %u with %u\n", threads, big_threads(), model_count);
    assert_int_equal(big_threads(), threads);
    uint64_t before_ns = used_cpu_ns();
    (void)poll(NULL, 0, IDLE_MS);
    uint64_t idle_ns = used_cpu_ns() - before_ns;
    printf("idle: %.4f %% of a CPU\n", percent(idle_ns, IDLE_MS * (uint64_t)1000000));
    assert_true(percent(idle_ns, IDLE_MS * (uint64_t)1000000) <= 0.05);
    weir_scheduler_free(world.scheduler);
    weir_engine_free(world.engine);
}

static int write_models(void **state)
{
    (void)state;
    for (uint32_t m = 0; m < model_count; m++)
        big_write(m, SIDE, (float)(m + 1));
    return 0;
}

static int remove_models(void **state)
{
    (void)state;
    char path[512];
    for (uint32_t m = 0; m < model_count; m++) {
        big_path(m, path, sizeof path);
        (void)unlink(path);
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        model_count = (uint32_t)strtoul(argv[1], NULL, 10);
    if (argc > 2)
        request_count = (uint32_t)strtoul(argv[2], NULL, 10);
    if (model_count < 8 || model_count > BIG_SIDE_MAX) {
        fprintf(stderr, "usage: many_models [MODELS [REQUESTS]], 8 models at least\n");
        return 2;
    }
    const struct CMUnitTest tests[] = {cmocka_unit_test(many_models)};
    return cmocka_run_group_tests_name("many_models", tests, write_models, remove_models);
}
