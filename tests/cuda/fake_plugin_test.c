// tests/cuda/fake_plugin_test.c: the host part of the CUDA plugin over the fakes, through its
// table.
//
// The slice is softmax(A B) on one device. What is asynchronous is proved by streams that are held,
// not by time.
#include "tests/cuda/fake_world.h"

// ---- There is no GPU ----------------------------------------------------------------------------

static void expect_unusable(const char *options, const char *text)
{
    world_t world;
    weir_device_info_t info = {.head = WEIR_HEAD(weir_device_info_t)};
    char reason[WEIR_REASON_BYTES];
    weir_handle_t device;
    assert_int_equal(fake_load(&world, options, reason), WEIR_UNAVAILABLE);
    if (!strstr(reason, text))
        fail_msg("\"%s\" does not say \"%s\"", reason, text);
    assert_int_not_equal(world.table->enumerate(&world.host, 0, &info), WEIR_OK);
    assert_int_not_equal(world.table->open(&world.host, 0, &device), WEIR_OK);
    world_unload(&world);
}

static void says_why_it_cannot_work(void **state)
{
    (void)state;
    fake_cuda_reset(1, 1);
    expect_unusable("driver=/nowhere/libcuda.so.1", "/nowhere/libcuda.so.1");
    expect_unusable("driver=none", "option driver=none");
    expect_unusable("precision=f8", "precision=f8: expected f32, tf32, f16");
    fake_cuda_reset(0, 1);
    expect_unusable("", "CUDA_ERROR_NO_DEVICE");
    fake_cuda_reset(1, 1);
    fake_cuda_fail("cuInit", FAKE_ALL, 999);
    expect_unusable("", "cuInit");
}

// Each library that is missing is said by name, and the answer is the same.
static void works_without_libraries(void **state)
{
    static const struct {
        const char *options, *said;
        uint64_t matmuls;
    } cases[] = {
        {"", "cuBLASLt 13", 1},
        {"cublaslt=none", "cuBLASLt: option cublaslt=none", 0},
        {"cublaslt=/nowhere/lib", "/nowhere/lib", 0},
        {"cudnn=none", "cuDNN: option cudnn=none", 1},
        {"nvrtc=none", "NVRTC: option nvrtc=none", 1},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        world_t world;
        model_t model;
        placed_t placed;
        compiled_t compiled;
        fake_cuda_reset(1, i);
        world_open(&world, cases[i].options);
        model_init(&model, &world);
        placed_init(&placed, &world, &model);
        compiled_init(&compiled, &world, &model);
        fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_OK, &world);
        model_expect(&model, placed_answer(&placed));
        if (!world_logged(&world, cases[i].said))
            fail_msg("\"%s\" does not say \"%s\"", world.log, cases[i].said);
        assert_int_equal(fake_cuda_count("cublasLtMatmul"), cases[i].matmuls);
        compiled_free(&compiled, &world);
        placed_free(&placed, &world);
        fake_close(&world);
    }
    fake_cache_clear();
}

// ---- Memory -------------------------------------------------------------------------------------

static void maps_what_was_freed_again(void **state)
{
    world_t world;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "chunk_mib=4,keep_mib=64");
    weir_handle_t small = fake_take(&world, WEIR_MEMORY_DEVICE, 4096);
    assert_int_equal(fake_cuda_count("cuMemCreate"), 0);
    weir_handle_t first = fake_take(&world, WEIR_MEMORY_DEVICE, 30 * FAKE_MIB);
    assert_int_equal(fake_cuda_count("cuMemCreate"), 8);
    fake_expect_holds(&world, first, 30 * FAKE_MIB - 8, 1);
    fake_expect_holds(&world, first, 4 * FAKE_MIB - 4, 2); // over the border of two chunks
    fake_give(&world, first);
    weir_handle_t second = fake_take(&world, WEIR_MEMORY_DEVICE, 40 * FAKE_MIB);
    assert_int_equal(fake_cuda_count("cuMemCreate"), 10); // eight of them for the second time
    fake_expect_holds(&world, second, 39 * FAKE_MIB, 3);
    fake_give(&world, second);
    assert_int_equal(fake_cuda_count("cuMemRelease"), 0);
    fake_give(&world, small);
    fake_close(&world);
    // Chunks of any size: an address range is aligned as the driver likes it.
    fake_cuda_reset(1, 1);
    world_open(&world, "chunk_mib=6");
    first = fake_take(&world, WEIR_MEMORY_DEVICE, 30 * FAKE_MIB);
    assert_int_equal(fake_cuda_count("cuMemCreate"), 5);
    fake_expect_holds(&world, first, 30 * FAKE_MIB - 8, 4);
    fake_give(&world, first);
    fake_close(&world);
}

static void keeps_no_more_than_it_may(void **state)
{
    world_t world;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "chunk_mib=4,keep_mib=8");
    fake_give(&world, fake_take(&world, WEIR_MEMORY_DEVICE, 32 * FAKE_MIB));
    assert_int_equal(fake_cuda_count("cuMemRelease"), 6);
    fake_close(&world);
    fake_cuda_reset(1, 1);
    world_open(&world, "mapping=0");
    weir_handle_t whole = fake_take(&world, WEIR_MEMORY_DEVICE, 32 * FAKE_MIB);
    fake_expect_holds(&world, whole, 31 * FAKE_MIB, 4);
    assert_int_equal(fake_cuda_count("cuMemCreate"), 0);
    fake_give(&world, whole);
    fake_close(&world);
}

static void keeps_to_its_budget(void **state)
{
    world_t world;
    weir_handle_t buffer;
    uint64_t used, total;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "budget_mib=40,chunk_mib=4");
    weir_handle_t first = fake_take(&world, WEIR_MEMORY_DEVICE, 24 * FAKE_MIB);
    fake_expect(world.table->alloc(world.device, WEIR_MEMORY_DEVICE, 17 * FAKE_MIB, &buffer),
        WEIR_RESOURCE_EXHAUSTED, &world);
    assert_non_null(strstr(world.failure, "budget"));
    assert_int_equal(world.table->memory_info(world.device, &used, &total), WEIR_OK);
    assert_int_equal(used, 24 * FAKE_MIB);
    assert_int_equal(total, 40 * FAKE_MIB);
    weir_handle_t second = fake_take(&world, WEIR_MEMORY_DEVICE, 16 * FAKE_MIB);
    fake_give(&world, first);
    fake_give(&world, second);
    fake_close(&world);
}

// Out of memory: chunks that are kept go first, then the caller is told, and the device goes on.
static void runs_out_of_memory(void **state)
{
    world_t world;
    weir_handle_t buffer;
    uint64_t used, total;
    (void)state;
    fake_cuda_reset(1, 1);
    fake_cuda_memory(64 * FAKE_MIB);
    world_open(&world, "chunk_mib=4");
    fake_give(&world, fake_take(&world, WEIR_MEMORY_DEVICE, 48 * FAKE_MIB)); // kept
    assert_int_equal(world.table->memory_info(world.device, &used, &total), WEIR_OK);
    assert_int_equal(total - used, 64 * FAKE_MIB); // what is kept is there to be had
    weir_handle_t odd = 0;
    for (int i = 0; i < 12; i++) { // too small for chunks: these have to be freed for them
        weir_handle_t next = fake_take(&world, WEIR_MEMORY_DEVICE, 1 * FAKE_MIB);
        if (odd)
            fake_give(&world, odd);
        odd = next;
    }
    fake_expect(world.table->alloc(world.device, WEIR_MEMORY_DEVICE, 72 * FAKE_MIB, &buffer),
        WEIR_RESOURCE_EXHAUSTED, &world);
    assert_non_null(strstr(world.failure, "CUDA_ERROR_OUT_OF_MEMORY"));
    fake_expect_holds(&world, odd, 0, 5);
    fake_give(&world, odd);
    weir_handle_t most = fake_take(&world, WEIR_MEMORY_DEVICE, 56 * FAKE_MIB);
    fake_expect_holds(&world, most, 0, 6);
    fake_give(&world, most);
    fake_close(&world);
}

static void wraps_host_memory(void **state)
{
    static _Alignas(4096) uint64_t memory[512];
    world_t world;
    weir_handle_t wrapped, again;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    weir_handle_t buffer = fake_take(&world, WEIR_MEMORY_DEVICE, 4096);
    fake_expect(
        world.table->wrap_host(world.device, memory, sizeof memory, &wrapped), WEIR_OK, &world);
    fake_expect(world.table->wrap_host(world.device, memory, 64, &again), WEIR_UNSUPPORTED, &world);
    memory[3] = 77;
    weir_copy_region_t up = {
        {.buffer = wrapped, .offset = 24, .bytes = 8}, {.buffer = buffer, .bytes = 8}};
    weir_copy_region_t down = {up.to, {.buffer = wrapped, .bytes = 8}};
    weir_timeline_point_t done = {1, 1};
    assert_int_equal(world.table->copy(world.queue, &up, 1, NULL, 0, NULL, 0), WEIR_OK);
    assert_int_equal(world.table->copy(world.queue, &down, 1, NULL, 0, &done, 1), WEIR_OK);
    assert_int_equal(world_wait(&world, 1, 1), WEIR_OK);
    assert_true(memory[0] == 77);
    up.to.bytes = 16;
    fake_expect(
        world.table->copy(world.queue, &up, 1, NULL, 0, NULL, 0), WEIR_INVALID_ARGUMENT, &world);
    up.from.offset = sizeof memory;
    up.to.bytes = 8;
    fake_expect(
        world.table->copy(world.queue, &up, 1, NULL, 0, NULL, 0), WEIR_INVALID_ARGUMENT, &world);
    fake_give(&world, wrapped);
    fake_give(&world, buffer);
    fake_close(&world);
}

// ---- Queues -------------------------------------------------------------------------------------

// A copy in one queue waits for one in another; nothing is signalled before its turn.
static void waits_for_other_queues(void **state)
{
    world_t world;
    weir_handle_t other;
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        fake_cuda_reset(1, seed);
        world_open(&world, "");
        assert_int_equal(world.table->queue_create(world.device, &other), WEIR_OK);
        weir_handle_t staging = fake_take(&world, WEIR_MEMORY_PINNED, 4096);
        void *mapped;
        assert_int_equal(world.table->map(world.device, staging, &mapped), WEIR_OK);
        uint64_t *words = mapped;
        memset(words, 0, 4096);
        words[0] = 9;
        fake_cuda_pause(true);
        for (uint64_t i = 0; i < 8; i++) { // a chain from queue to queue, a word further each
            weir_copy_region_t step = {{.buffer = staging, .offset = 8 * i, .bytes = 8},
                {.buffer = staging, .offset = 8 * i + 8, .bytes = 8}};
            weir_timeline_point_t before = {3, i}, done = {3, i + 1};
            assert_int_equal(world.table->copy(i % 2 ? other : world.queue, &step, 1, &before,
                                 i ? 1 : 0, &done, 1),
                WEIR_OK);
        }
        assert_int_equal(world_value(&world, 3), 0);
        fake_cuda_pause(false);
        assert_int_equal(world_wait(&world, 3, 8), WEIR_OK);
        assert_true(words[8] == 9);
        assert_int_equal(world.table->wait_idle(world.device), WEIR_OK);
        world.table->queue_destroy(world.device, other);
        fake_give(&world, staging);
        fake_close(&world);
    }
}

// ---- Programs and graphs ------------------------------------------------------------------------

static void keeps_artifacts_and_choices(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    uint64_t bytes = 0, less = 8;
    (void)state;
    fake_cuda_reset(1, 1);
    fake_cache_clear();
    world_open(&world, "");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_OK, &world);
    assert_int_equal(world.table->program_save(compiled.program, NULL, &bytes), WEIR_OK);
    uint64_t *artifact = malloc(bytes);
    assert_int_equal(
        world.table->program_save(compiled.program, artifact, &less), WEIR_RESOURCE_EXHAUSTED);
    assert_int_equal(world.table->program_save(compiled.program, artifact, &bytes), WEIR_OK);
    compiled_free(&compiled, &world);
    assert_int_equal(fake_cuda_count("cublasLtMatmulAlgoGetHeuristic"), 1);
    // The same again, out of the artifact; the product's algorithm is known by now.
    assert_int_equal(world.table->artifact_check(world.device, artifact, bytes), WEIR_OK);
    assert_int_equal(
        world.table->program_load(world.device, &model.slice, artifact, bytes, &compiled.program),
        WEIR_OK);
    assert_int_equal(
        world.table->specialize(compiled.program, &model.slice, &compiled.specialized), WEIR_OK);
    fake_expect(model_run(&compiled, &world, &placed, 2), WEIR_OK, &world);
    model_expect(&model, placed_answer(&placed));
    compiled_free(&compiled, &world);
    ((unsigned char *)artifact)[bytes - 1] ^= 1;
    assert_int_equal(world.table->artifact_check(world.device, artifact, bytes), WEIR_DATA_LOSS);
    assert_int_equal(world.table->artifact_check(world.device, artifact, 7), WEIR_DATA_LOSS);
    free(artifact);
    placed_free(&placed, &world);
    fake_close(&world);
    // And in another process, so to speak.
    world_open(&world, "");
    model_init(&model, &world);
    compiled_init(&compiled, &world, &model);
    assert_int_equal(fake_cuda_count("cublasLtMatmulAlgoGetHeuristic"), 1);
    assert_int_equal(fake_cuda_count("cublasLtMatmulAlgoCheck"), 2);
    compiled_free(&compiled, &world);
    fake_close(&world);
    // A cache that was damaged costs a heuristic, no more.
    for (uint32_t i = 0; i < fake_cache.count; i++)
        if (strstr(fake_cache.blobs[i].key, "choices"))
            ((unsigned char *)fake_cache.blobs[i].data)[20] ^= 1;
    world_open(&world, "");
    model_init(&model, &world);
    compiled_init(&compiled, &world, &model);
    assert_int_equal(fake_cuda_count("cublasLtMatmulAlgoGetHeuristic"), 2);
    compiled_free(&compiled, &world);
    fake_close(&world);
    fake_cache_clear();
}

static weir_code_t launch_recorded(const compiled_t *compiled, world_t *world, placed_t *placed,
    weir_handle_t recording, uint64_t value)
{
    weir_timeline_point_t none = {0, 0}, launched = {4, 2 * value - 1}, done = {4, 2 * value};
    weir_launch_t launch = {.head = WEIR_HEAD(weir_launch_t),
        .specialization = compiled->specialized.specialization,
        .recording = recording,
        .bindings = placed->bindings,
        .binding_count = TENSORS + 1,
        .signals = &launched,
        .signal_count = 1};
    memset(placed->mapped + TENSOR_Y * SLOT_BYTES, 0, SLOT_BYTES);
    weir_code_t code = placed_copy(placed, world, TENSOR_A, true, none);
    if (code == WEIR_OK)
        code = placed_copy(placed, world, TENSOR_B, true, none);
    if (code == WEIR_OK)
        code = world->table->launch(world->queue, &launch);
    if (code == WEIR_OK)
        code = placed_copy(placed, world, TENSOR_Y, false, done);
    return code == WEIR_OK ? world_wait(world, 4, done.value) : code;
}

static void replays_graphs(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    weir_handle_t recordings[3];
    weir_program_info_t info = {.head = WEIR_HEAD(weir_program_info_t)};
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "graphs=2");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    assert_int_equal(world.table->program_info(compiled.program, &info), WEIR_OK);
    assert_int_equal(info.replay, WEIR_REPLAY_FIXED);
    for (uint32_t i = 0; i < 3; i++)
        fake_expect(world.table->record(compiled.specialized.specialization, placed.bindings,
                        TENSORS + 1, &recordings[i]),
            WEIR_OK, &world);
    assert_int_equal(fake_cuda_count("cuGraphExecDestroy"), 1); // the first made way
    for (uint64_t i = 0; i < 3; i++) {
        fake_expect(
            launch_recorded(&compiled, &world, &placed, recordings[i], i + 1), WEIR_OK, &world);
        model_expect(&model, placed_answer(&placed));
        assert_int_equal(fake_cuda_count("cuGraphLaunch"), i); // the first is enqueued
    }
    // Out of memory: graphs that nothing uses go, and their launches are enqueued from then on.
    weir_handle_t buffer;
    fake_cuda_fail("cuMemAlloc_v2", FAKE_ALL, FAKE_OUT_OF_MEMORY);
    fake_expect(world.table->alloc(world.device, WEIR_MEMORY_DEVICE, 4096, &buffer),
        WEIR_RESOURCE_EXHAUSTED, &world);
    assert_int_equal(fake_cuda_count("cuGraphExecDestroy"), 3);
    fake_expect(launch_recorded(&compiled, &world, &placed, recordings[2], 4), WEIR_OK, &world);
    model_expect(&model, placed_answer(&placed));
    assert_int_equal(fake_cuda_count("cuGraphLaunch"), 2);
    for (uint32_t i = 0; i < 3; i++)
        world.table->recording_release(recordings[i]);
    assert_true(world_logged(&world, " commands is recorded"));
    assert_true(world_logged(&world, "cuda:0: a graph was launched 1 times"));
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    fake_close(&world);
    fake_cache_clear();
}

// A library that fails in a capture costs the graph, not the device.
static void keeps_the_device_when_a_capture_fails(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    weir_handle_t recording;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_cuda_fail("cublasLtMatmul", 1, FAKE_CUBLAS_EXECUTION_FAILED);
    fake_expect(world.table->record(
                    compiled.specialized.specialization, placed.bindings, TENSORS + 1, &recording),
        WEIR_UNSUPPORTED, &world);
    assert_true(world_logged(&world, " commands is refused: cublasLtMatmul"));
    fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_OK, &world);
    model_expect(&model, placed_answer(&placed));
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    fake_close(&world);
    fake_cache_clear();
}

static void releases_after_launches(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    pthread_t thread;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_cuda_pause(true);
    fake_expect(compiled_launch(&compiled, &world, &placed, 0, (weir_timeline_point_t){1, 1}),
        WEIR_OK, &world);
    fake_releasing_t releasing = {&world, compiled.specialized.specialization, false};
    assert_int_equal(pthread_create(&thread, NULL, fake_release_main, &releasing), 0);
    for (int i = 0; i < 100; i++)
        sched_yield();
    assert_false(atomic_load(&releasing.has_ended));
    assert_int_equal(world_value(&world, 1), 0);
    fake_cuda_pause(false);
    pthread_join(thread, NULL);
    assert_int_equal(world_wait(&world, 1, 1), WEIR_OK);
    world.table->program_release(compiled.program);
    placed_free(&placed, &world);
    fake_close(&world);
    fake_cache_clear();
}

static void records_what_nodes_took(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_OK, &world);
    assert_int_equal(world.trace_count, 2);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(world.traces[i].node, i);
        assert_int_equal(world.traces[i].launch_id, 77);
        assert_true(world.traces[i].start_ns <= world.traces[i].end_ns);
    }
    assert_true(world.traces[0].end_ns <= world.traces[1].start_ns + 1);
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    fake_close(&world);
    fake_cache_clear();
}

// ---- Lost devices -------------------------------------------------------------------------------

static void is_lost_and_opened_again(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    weir_handle_t buffer, queue;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_cuda_fail_kernel(2, FAKE_ILLEGAL_ADDRESS);
    // The call may hear of it, or the timeline.
    fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_DEVICE_LOST, &world);
    fake_expect(world.table->alloc(world.device, WEIR_MEMORY_DEVICE, 64, &buffer), WEIR_DEVICE_LOST,
        &world);
    if (!strstr(world.failure, "CUDA_ERROR_ILLEGAL_ADDRESS"))
        fail_msg("\"%s\"", world.failure);
    fake_expect(world.table->queue_create(world.device, &queue), WEIR_DEVICE_LOST, &world);
    fake_expect(world.table->wait_idle(world.device), WEIR_DEVICE_LOST, &world);
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    world.table->close(world.device);
    memset(world.timelines, 0, sizeof world.timelines);
    assert_int_equal(world.table->open(&world.host, 0, &world.device), WEIR_OK);
    assert_int_equal(world.table->queue_create(world.device, &world.queue), WEIR_OK);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_OK, &world);
    model_expect(&model, placed_answer(&placed));
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    fake_close(&world);
    fake_cache_clear();
}

// ---- Calls that fail ----------------------------------------------------------------------------

// What the whole engine does not come by (fake_faults_test.c has the rest): large buffers, wrapped
// memory, copies between devices, waits, choices that were kept. The first code that is not OK.
static weir_code_t play_memory(world_t *world)
{
    static _Alignas(4096) uint64_t memory[512];
    const weir_device_table_t *table = world->table;
    weir_handle_t peer = 0, other = 0, buffers[4] = {0};
    uint64_t used, total;
    weir_code_t code = table->open(&world->host, 1, &peer);
    if (code == WEIR_OK)
        code = table->queue_create(world->device, &other);
    if (code == WEIR_OK)
        code = table->memory_info(world->device, &used, &total);
    if (code == WEIR_OK)
        code = table->wrap_host(world->device, memory, sizeof memory, &buffers[0]);
    if (code == WEIR_OK)
        code = table->alloc(world->device, WEIR_MEMORY_DEVICE, 8 * FAKE_MIB, &buffers[1]);
    if (code == WEIR_OK)
        code = table->alloc(peer, WEIR_MEMORY_DEVICE, 8 * FAKE_MIB, &buffers[2]);
    memory[0] = 55;
    memory[1] = 0;
    fake_cuda_pause(true); // so that each still has something to wait for
    for (uint64_t i = 0; i < 3 && code == WEIR_OK; i++) { // up, over, back; from queue to queue
        const weir_binding_t ends[4] = {{.buffer = buffers[0], .bytes = 8},
            {.buffer = buffers[2], .offset = 7 * FAKE_MIB, .bytes = 8},
            {.buffer = buffers[1], .offset = 3 * FAKE_MIB, .bytes = 8},
            {.buffer = buffers[0], .offset = 8, .bytes = 8}};
        weir_copy_region_t step = {ends[i], ends[i + 1]};
        weir_timeline_point_t before = {5, i}, done = {5, i + 1};
        code = table->copy(i % 2 ? other : world->queue, &step, 1, &before, i ? 1 : 0, &done, 1);
    }
    fake_cuda_pause(false);
    if (code == WEIR_OK)
        code = world_wait(world, 5, 3);
    if (code == WEIR_OK)
        assert_true(memory[1] == 55);
    for (uint32_t i = 0; i < 2; i++)
        if (buffers[i]) {
            (void)table->wait_idle(world->device);
            table->free(world->device, buffers[i]);
        }
    if (buffers[2])
        table->free(peer, buffers[2]);
    if (other)
        table->queue_destroy(world->device, other);
    if (peer)
        table->close(peer);
    return code;
}

static weir_code_t play(void)
{
    world_t world;
    model_t model;
    compiled_t compiled = {.program = 0};
    char reason[WEIR_REASON_BYTES];
    weir_code_t code = fake_load(&world, "chunk_mib=2,peer=1", reason);
    if (code == WEIR_OK)
        code = world.table->open(&world.host, 0, &world.device);
    if (code == WEIR_OK)
        code = world.table->queue_create(world.device, &world.queue);
    if (code == WEIR_OK)
        code = play_memory(&world);
    if (code == WEIR_OK) {
        model_init(&model, &world);
        code = world.table->compile(world.device, &model.slice, &compiled.program);
    }
    compiled.specialized = (weir_specialized_t){.head = WEIR_HEAD(weir_specialized_t)};
    if (code == WEIR_OK)
        code = world.table->specialize(compiled.program, &model.slice, &compiled.specialized);
    if (compiled.specialized.specialization)
        world.table->specialization_release(compiled.specialized.specialization);
    if (compiled.program)
        world.table->program_release(compiled.program);
    world_close(&world);
    return code;
}

// Whether an operation has ended cannot be asked: it may still run, so the device is lost.
static void is_lost_when_it_cannot_be_asked(void **state)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    weir_handle_t queue;
    (void)state;
    fake_cuda_reset(1, 1);
    world_open(&world, "");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    fake_cuda_fail("cuEventQuery", FAKE_ALL, FAKE_INVALID_VALUE);
    fake_expect(model_run(&compiled, &world, &placed, 1), WEIR_DEVICE_LOST, &world);
    fake_expect(world.table->queue_create(world.device, &queue), WEIR_DEVICE_LOST, &world);
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    const uint64_t before = fake_cuda_count("cuCtxSynchronize");
    fake_close(&world);
    assert_int_equal(fake_cuda_count("cuCtxSynchronize"), before + 1);
    fake_cache_clear();
}

static void every_memory_call_fails_once(void **state)
{
    uint32_t bad = 0, places = 0;
    (void)state;
    fake_cuda_reset(2, 1);
    fake_cache_clear();
    assert_int_equal(play(), WEIR_OK);
    fake_cuda_reset(2, 1); // and once more, with what was chosen then
    assert_int_equal(play(), WEIR_OK);
    assert_int_equal(fake_cuda_alive(), 0);
    bool was_called[512] = {false};
    const uint32_t count = fake_cuda_site_count();
    const void *from;
    uint64_t calls;
    for (uint32_t s = 0; s < count; s++)
        was_called[s] = fake_cuda_site(s, &calls, &from) && calls;
    for (uint32_t s = 0; s < count; s++)
        for (int gone = 0; was_called[s] && gone < 2; gone++) {
            const char *name = fake_cuda_site(s, &calls, &from);
            bool is_driver = strncmp(name, "cu", 2) == 0 && name[2] >= 'A' && name[2] <= 'Z';
            bool is_nvrtc = strncmp(name, "nvrtc", 5) == 0,
                 is_cudnn = strncmp(name, "cudnn", 5) == 0;
            int result =
                is_driver ? (gone ? FAKE_ILLEGAL_ADDRESS : FAKE_OUT_OF_MEMORY)
                : is_cudnn
                    ? (gone ? FAKE_CUDNN_EXECUTION_FAILED : FAKE_CUDNN_HOST_ALLOCATION_FAILED)
                : is_nvrtc ? FAKE_NVRTC_COMPILATION
                           : (gone ? FAKE_CUBLAS_EXECUTION_FAILED : FAKE_CUBLAS_ALLOC_FAILED);
            fake_cuda_reset(2, s + 2);
            fake_cuda_fail_site(s, result);
            weir_code_t code = play();
            fake_cuda_reset(2, 1);
            bool is_fair = code == WEIR_OK || code == WEIR_UNAVAILABLE || code == WEIR_NOT_FOUND ||
                           code == (gone ? WEIR_DEVICE_LOST : WEIR_RESOURCE_EXHAUSTED) ||
                           ((strncmp(name, "cuCtxPushCurrent", 16) == 0 ||
                                strcmp(name, "cuEventQuery") == 0) &&
                               code == WEIR_DEVICE_LOST) ||
                           is_nvrtc;
            // Without its context nothing can be freed but the context itself.
            bool is_clean = fake_cuda_alive() == 0 || strncmp(name, "cuCtxPushCurrent", 16) == 0;
            if (!is_fair || !is_clean)
                print_error("%s, site %u, fault %d: code %d, %u things are left\n", name, s, gone,
                    code, (unsigned)fake_cuda_alive());
            bad += !is_fair || !is_clean;
            places += (uint32_t)gone;
            fake_cuda_forget();
        }
    print_message("%u call sites failed in 2 ways\n", places);
    assert_int_equal(bad, 0);
    assert_true(places >= 50);
    fake_cache_clear();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_why_it_cannot_work),
        cmocka_unit_test(works_without_libraries),
        cmocka_unit_test(maps_what_was_freed_again),
        cmocka_unit_test(keeps_no_more_than_it_may),
        cmocka_unit_test(keeps_to_its_budget),
        cmocka_unit_test(runs_out_of_memory),
        cmocka_unit_test(wraps_host_memory),
        cmocka_unit_test(waits_for_other_queues),
        cmocka_unit_test(keeps_artifacts_and_choices),
        cmocka_unit_test(replays_graphs),
        cmocka_unit_test(keeps_the_device_when_a_capture_fails),
        cmocka_unit_test(releases_after_launches),
        cmocka_unit_test(records_what_nodes_took),
        cmocka_unit_test(is_lost_and_opened_again),
        cmocka_unit_test(is_lost_when_it_cannot_be_asked),
        cmocka_unit_test(every_memory_call_fails_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
