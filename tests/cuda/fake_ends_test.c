// tests/cuda/fake_ends_test.c: the plugin and those around it: the embedder's context and captures,
// calls that fail behind others, and how much there may be of everything.
#include "tests/cuda/fake_world.h"

// Whatever context is current on the caller's thread is so again after each call.
static void leaves_the_callers_context(void **state)
{
    static _Alignas(4096) uint64_t memory[512];
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    weir_handle_t other, wrapped, recording;
    uint64_t used, total;
    (void)state;
#define EXPECT_LEFT(call)                                                                          \
    do {                                                                                           \
        call;                                                                                      \
        if (fake_cuda_embedded() != 1)                                                             \
            fail_msg("another context is current behind %s", #call);                               \
    } while (0)
    fake_cuda_reset(2, 1);
    fake_cuda_embed(1);
    EXPECT_LEFT(world_open(&world, "chunk_mib=2"));
    EXPECT_LEFT(model_init(&model, &world));
    EXPECT_LEFT(placed_init(&placed, &world, &model));
    EXPECT_LEFT(compiled_init(&compiled, &world, &model));
    EXPECT_LEFT(fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_OK, &world));
    model_expect(&model, placed_answer(&placed));
    EXPECT_LEFT(assert_int_equal(world.table->record(compiled.specialized.specialization,
                                     placed.bindings, TENSORS + 1, &recording),
        WEIR_OK));
    EXPECT_LEFT(world.table->recording_release(recording));
    EXPECT_LEFT(assert_int_equal(world.table->queue_create(world.device, &other), WEIR_OK));
    EXPECT_LEFT(world.table->queue_destroy(world.device, other));
    EXPECT_LEFT(fake_give(&world, fake_take(&world, WEIR_MEMORY_DEVICE, 8 * FAKE_MIB)));
    EXPECT_LEFT(assert_int_equal(
        world.table->wrap_host(world.device, memory, sizeof memory, &wrapped), WEIR_OK));
    EXPECT_LEFT(fake_give(&world, wrapped));
    EXPECT_LEFT(assert_int_equal(world.table->memory_info(world.device, &used, &total), WEIR_OK));
    EXPECT_LEFT(assert_int_equal(world.table->wait_idle(world.device), WEIR_OK));
    EXPECT_LEFT(compiled_free(&compiled, &world));
    EXPECT_LEFT(placed_free(&placed, &world));
    EXPECT_LEFT(fake_close(&world));
#undef EXPECT_LEFT
    fake_cuda_embed(-1);
    fake_cache_clear();
}

// A capture of the embedder's forbids questions to threads that are not relaxed; the reaper asks.
static void reaps_while_somebody_captures(void **state)
{
    world_t world;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    weir_handle_t buffer = fake_take(&world, WEIR_MEMORY_DEVICE, 4096);
    fake_cuda_capture_elsewhere(true);
    fake_expect_holds(&world, buffer, 0, 7);
    fake_cuda_capture_elsewhere(false);
    fake_give(&world, buffer);
    fake_close(&world);
}

// A call that fails behind others: what they enqueued still uses memory, so that the failure is
// said when it has ended.
static void expect_said_late(const char *call, int result, const char *options)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    pthread_t thread;
    const weir_timeline_point_t point = {6, 1};
    fake_cuda_reset(1, 1);
    world_open(&world, options);
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_cuda_pause(true);
    fake_cuda_fail(call, FAKE_ALL, result);
    const weir_launch_t launch = {.head = WEIR_HEAD(weir_launch_t),
        .specialization = compiled.specialized.specialization,
        .bindings = placed.bindings,
        .binding_count = TENSORS + 1,
        .signals = &point,
        .signal_count = 1};
    fake_expect(world.table->launch(world.queue, &launch), WEIR_OK, &world);
    fake_releasing_t releasing = {&world, compiled.specialized.specialization, false};
    assert_int_equal(pthread_create(&thread, NULL, fake_release_main, &releasing), 0);
    for (int i = 0; i < 100; i++)
        sched_yield();
    assert_false(atomic_load(&releasing.has_ended));
    assert_int_equal(world_value(&world, 6), 0);
    fake_cuda_pause(false);
    assert_int_equal(world_wait(&world, 6, 1), WEIR_RESOURCE_EXHAUSTED);
    pthread_join(thread, NULL);
    fake_cuda_reset(1, 1);
    world.table->program_release(compiled.program);
    placed_free(&placed, &world);
    fake_close(&world);
    fake_cache_clear();
}

static void says_late_what_failed_half_way(void **state)
{
    (void)state;
    expect_said_late("cuLaunchKernel", FAKE_OUT_OF_MEMORY, "");
    expect_said_late("cuLaunchKernel", FAKE_OUT_OF_MEMORY, "nvtx=0");
    expect_said_late("cuEventRecord", FAKE_OUT_OF_MEMORY, "");
}

// Without a point that could fail the call itself does, and waiting still waits.
static void says_at_once_what_nobody_hears(void **state)
{
    world_t world;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    weir_handle_t from = fake_take(&world, WEIR_MEMORY_DEVICE, 4096);
    weir_handle_t to = fake_take(&world, WEIR_MEMORY_DEVICE, 4096);
    weir_copy_region_t regions[2] = {{{.buffer = from, .bytes = 64}, {.buffer = to, .bytes = 64}},
        {{.buffer = from, .bytes = 8}, {.buffer = to, .bytes = 64}}};
    const weir_timeline_point_t point = {6, 1};
    assert_int_equal(
        world.table->copy(world.queue, regions, 2, NULL, 0, NULL, 0), WEIR_INVALID_ARGUMENT);
    // Where somebody hears of it, it is this failure's text and not an older one's.
    fake_cuda_fail("cuMemcpyAsync", 1, FAKE_OUT_OF_MEMORY);
    assert_int_equal(
        world.table->copy(world.queue, regions, 1, NULL, 0, NULL, 0), WEIR_RESOURCE_EXHAUSTED);
    assert_int_equal(world.table->copy(world.queue, regions, 2, NULL, 0, &point, 1), WEIR_OK);
    assert_int_equal(world_wait(&world, 6, 1), WEIR_INVALID_ARGUMENT);
    assert_non_null(strstr(world.timelines[6].text, "unequal ends"));
    assert_int_equal(world.table->wait_idle(world.device), WEIR_OK);
    fake_give(&world, from);
    fake_give(&world, to);
    fake_close(&world);
}

// More queues than one block of words is for.
static void has_words_for_many_queues(void **state)
{
    enum { QUEUES = 1100 };
    static weir_handle_t queues[QUEUES];
    world_t world;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    for (uint32_t i = 0; i < QUEUES; i++)
        fake_expect(world.table->queue_create(world.device, &queues[i]), WEIR_OK, &world);
    assert_int_equal(fake_cuda_count("cuMemHostAlloc"), 2);
    for (uint32_t i = 0; i < QUEUES; i++)
        world.table->queue_destroy(world.device, queues[i]);
    fake_close(&world);
}

// A budget counts what the device has less, which comes in chunks.
static void counts_chunks(void **state)
{
    world_t world;
    weir_handle_t buffer;
    uint64_t used, total;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "budget_mib=16,chunk_mib=4");
    weir_handle_t first = fake_take(&world, WEIR_MEMORY_DEVICE, 9 * FAKE_MIB);
    assert_int_equal(world.table->memory_info(world.device, &used, &total), WEIR_OK);
    assert_int_equal(used, 12 * FAKE_MIB);
    fake_expect(world.table->alloc(world.device, WEIR_MEMORY_DEVICE, 5 * FAKE_MIB, &buffer),
        WEIR_RESOURCE_EXHAUSTED, &world);
    fake_expect(world.table->alloc(world.device, WEIR_MEMORY_DEVICE, UINT64_MAX - 5, &buffer),
        WEIR_RESOURCE_EXHAUSTED, &world);
    fake_give(&world, fake_take(&world, WEIR_MEMORY_DEVICE, 4 * FAKE_MIB));
    fake_give(&world, first);
    fake_close(&world);
}

// A library that fails while a product is planned is done without.
static void plans_without_a_library_that_fails(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    (void)state;
    fake_cuda_reset(1, 1);
    fake_cache_clear();
    fake_cuda_fail("cublasLtMatmulAlgoGetHeuristic", FAKE_ALL, FAKE_CUBLAS_INTERNAL_ERROR);
    world_open(&world, "");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_OK, &world);
    model_expect(&model, placed_answer(&placed));
    assert_int_equal(fake_cuda_count("cublasLtMatmul"), 0);
    assert_true(world_logged(&world, "cuda:0: own kernel: cublasLtMatmulAlgoGetHeuristic: "));
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    fake_close(&world);
    fake_cache_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(leaves_the_callers_context),
        cmocka_unit_test(reaps_while_somebody_captures),
        cmocka_unit_test(says_late_what_failed_half_way),
        cmocka_unit_test(says_at_once_what_nobody_hears),
        cmocka_unit_test(has_words_for_many_queues),
        cmocka_unit_test(counts_chunks),
        cmocka_unit_test(plans_without_a_library_that_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
