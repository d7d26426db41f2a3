// tests/plugins/chaos_test.c: the fake device when it behaves: memory, order, levels, programs.
//
// The table is driven directly, without an engine. What must hold here is what the tests of the
// engine lean on.
#include "tests/plugins/chaos_world.h"

// Goal:   programs and single nodes, chosen by the engine or claimed, with every order of tasks
// that
//         two seeds give, compute the same.
static void chaos_levels(void **state)
{
    (void)state;
    static const char *const options[] = {
        "seed=1", "seed=99,delay_us=300,jitter_us=500", "claim=1", "own_constants=1", "isa=plain"};
    for (uint32_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        world_t world;
        model_t model;
        placed_t placed;
        compiled_t compiled;
        world_open(&world, options[i]);
        model_init(&model, &world);
        placed_init(&placed, &world, &model);
        compiled_init(&compiled, &world, &model);
        weir_program_info_t info = {.head = WEIR_HEAD(weir_program_info_t)};
        assert_int_equal(world.table->program_info(compiled.program, &info), WEIR_OK);
        if (info.head.flags & WEIR_PROGRAM_OWN_CONSTANTS)
            placed.bindings[TENSOR_B] = (weir_binding_t){.buffer = 0};
        else
            assert_int_not_equal(i, 3);
        for (uint64_t run = 1; run <= 3 && i != 3; run++) {
            assert_int_equal(model_run(&compiled, &world, &placed, run), WEIR_OK);
            model_expect(&model, placed_answer(&placed));
        }
        if (i == 3) { // B is not uploaded
            weir_timeline_point_t none = {0, 0};
            assert_int_equal(placed_copy(&placed, &world, TENSOR_A, true, none), WEIR_OK);
            assert_int_equal(
                compiled_launch(&compiled, &world, &placed, 0, (weir_timeline_point_t){1, 1}),
                WEIR_OK);
            assert_int_equal(
                placed_copy(&placed, &world, TENSOR_Y, false, (weir_timeline_point_t){1, 2}),
                WEIR_OK);
            assert_int_equal(world_wait(&world, 1, 2), WEIR_OK);
            model_expect(&model, placed_answer(&placed));
        }
        compiled_free(&compiled, &world);
        placed_free(&placed, &world);
        world_close(&world);
        assert_true(world_logged(&world, "0 misuses"));
    }
}

static weir_code_t execute(world_t *world, const model_t *model, placed_t *placed, uint32_t node,
    weir_timeline_point_t signal)
{
    const weir_slice_node_t *from = &model->nodes[node];
    weir_binding_t bindings[3];
    uint32_t inputs = from->node.input_count;
    for (uint32_t i = 0; i < inputs; i++)
        bindings[i] = placed->bindings[from->inputs[i]];
    bindings[inputs] = placed->bindings[from->outputs[0]];
    weir_execution_t execution = {.head = WEIR_HEAD(weir_execution_t),
        .node = &from->node,
        .kernel = from->kernel,
        .bindings = bindings,
        .binding_count = inputs + 1,
        .node_number = node,
        .scratch = placed->bindings[TENSORS],
        .launch_id = 5};
    return world->table->execute(world->queue, &execution, NULL, 0, &signal, 1);
}

// Goal:   an L1 device runs nodes one by one after the call, when all it was given is gone.
static void chaos_executes_nodes(void **state)
{
    (void)state;
    for (uint32_t claims = 0; claims < 2; claims++) {
        world_t world;
        placed_t placed;
        world_open(&world, claims ? "level=1,claim=1,delay_us=500" : "level=1,delay_us=500");
        assert_null(world.table->compile);
        assert_int_equal(claims, world.table->claim != NULL);
        model_t *model = malloc(sizeof *model);
        model_t kept;
        model_init(model, &world);
        model_init(&kept, &world);
        placed_init(&placed, &world, model);
        weir_timeline_point_t none = {0, 0};
        assert_int_equal(placed_copy(&placed, &world, TENSOR_A, true, none), WEIR_OK);
        assert_int_equal(placed_copy(&placed, &world, TENSOR_B, true, none), WEIR_OK);
        for (uint32_t node = 0; node < 2; node++)
            assert_int_equal(
                execute(&world, model, &placed, node, (weir_timeline_point_t){1, node + 1}),
                WEIR_OK);
        memset(model, 0xee, sizeof *model);
        free(model);
        assert_int_equal(
            placed_copy(&placed, &world, TENSOR_Y, false, (weir_timeline_point_t){1, 3}), WEIR_OK);
        assert_int_equal(world_wait(&world, 1, 3), WEIR_OK);
        model_expect(&kept, placed_answer(&placed));
        placed_free(&placed, &world);
        world_close(&world);
        assert_true(world_logged(&world, "0 misuses"));
    }
}

// Goal:   a claim covers what the wrapped kernels take and gives a reason for the rest; asked twice
//         it answers the same.
static void chaos_claims(void **state)
{
    (void)state;
    world_t world;
    model_t model;
    world_open(&world, "claim=1,refuse=Softmax|Conv");
    model_init(&model, &world);
    weir_claim_t claims[2][2];
    for (uint32_t i = 0; i < 4; i++)
        claims[i / 2][i % 2] = (weir_claim_t){.head = WEIR_HEAD(weir_claim_t)};
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(world.table->claim(world.device, &model.slice, claims[i]), WEIR_OK);
    assert_int_equal(claims[0][0].claimed, 1);
    assert_int_equal(claims[0][1].claimed, 0);
    assert_non_null(strstr(claims[0][1].reason, "no such operator"));
    assert_memory_equal(claims[0], claims[1], sizeof claims[0]);
    world_close(&world);
}

// Goal:   a queue keeps its order whatever the delays, and one queue waits for points of another.
static void chaos_order(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, "delay_us=200,jitter_us=2000,seed=7");
    const weir_device_table_t *table = world.table;
    weir_handle_t pinned, first, second, queue;
    void *mapped;
    assert_int_equal(table->queue_create(world.device, &queue), WEIR_OK);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_PINNED, 4096, &pinned), WEIR_OK);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, 4096, &first), WEIR_OK);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, 4096, &second), WEIR_OK);
    assert_int_equal(table->map(world.device, pinned, &mapped), WEIR_OK);
    uint64_t *words = mapped;
    for (uint64_t i = 0; i < 512; i++)
        words[i] = i + 1;
    // Word i goes to first[0], from there to second[i % 256], from there to the host's second half,
    // on another queue that waits.
    for (uint64_t i = 0; i < 256; i++) {
        weir_copy_region_t up = {{NULL, pinned, i * 8, 8}, {NULL, first, 0, 8}};
        weir_copy_region_t over = {{NULL, first, 0, 8}, {NULL, second, i * 8, 8}};
        weir_copy_region_t down = {{NULL, second, i * 8, 8}, {NULL, pinned, 2048 + i * 8, 8}};
        weir_timeline_point_t done = {2, i + 1}, back = {3, i + 1};
        assert_int_equal(table->copy(world.queue, &up, 1, NULL, 0, NULL, 0), WEIR_OK);
        assert_int_equal(table->copy(world.queue, &over, 1, NULL, 0, &done, 1), WEIR_OK);
        assert_int_equal(table->copy(queue, &down, 1, &done, 1, &back, 1), WEIR_OK);
    }
    assert_int_equal(world_wait(&world, 3, 256), WEIR_OK);
    for (uint64_t i = 0; i < 256; i++)
        assert_int_equal(words[256 + i], i + 1);
    assert_int_equal(world.timelines[2].signals, 256);
    assert_int_equal(table->wait_idle(world.device), WEIR_OK);
    table->queue_destroy(world.device, queue);
    world_close(&world); // with buffers left: they go with the device
    assert_true(world_logged(&world, "0 misuses"));
}

// Fails the timeline with INTERNAL and leaves the device in order.
static void expect_misuse(world_t *world, weir_binding_t from, weir_binding_t to, uint64_t number)
{
    weir_copy_region_t region = {from, to};
    weir_timeline_point_t done = {number, 1};
    assert_int_equal(world->table->copy(world->queue, &region, 1, NULL, 0, &done, 1), WEIR_OK);
    assert_int_equal(world_wait(world, number, 1), WEIR_INTERNAL);
    assert_non_null(strstr(world->timelines[number].text, "a binding"));
}

// Goal:   device memory cannot be mapped; a binding that leaves its buffer or names one that is
// gone
//         is found out; what was not written is no zero; memory runs out and comes back.
static void chaos_memory(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, "memory_mib=1");
    const weir_device_table_t *table = world.table;
    weir_handle_t buffer, stale, pinned, wrapped;
    void *mapped;
    uint64_t used, total, words[2] = {0, 0};
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, 100, &stale), WEIR_OK);
    table->free(world.device, stale);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, 100, &buffer), WEIR_OK);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_PINNED, 100, &pinned), WEIR_OK);
    assert_true(stale != buffer && buffer != pinned);
    assert_int_equal(table->map(world.device, buffer, &mapped), WEIR_INVALID_ARGUMENT);
    assert_int_equal(table->map(world.device, pinned, &mapped), WEIR_OK);
    expect_misuse(
        &world, (weir_binding_t){NULL, pinned, 0, 8}, (weir_binding_t){NULL, buffer, 93, 8}, 4);
    expect_misuse(
        &world, (weir_binding_t){NULL, pinned, 0, 8}, (weir_binding_t){NULL, stale, 0, 8}, 5);
    expect_misuse(&world, (weir_binding_t){NULL, buffer, UINT64_MAX - 3, 8},
        (weir_binding_t){NULL, pinned, 0, 8}, 6);
    assert_int_equal(table->wrap_host(world.device, words, sizeof words, &wrapped), WEIR_OK);
    weir_copy_region_t region = {{NULL, buffer, 0, 16}, {NULL, wrapped, 0, 16}};
    weir_timeline_point_t done = {7, 1};
    assert_int_equal(table->copy(world.queue, &region, 1, NULL, 0, &done, 1), WEIR_OK);
    assert_int_equal(world_wait(&world, 7, 1), WEIR_OK);
    assert_true(words[0] == 0xa5a5a5a5a5a5a5a5ull && words[1] == words[0]);
    table->free(world.device, wrapped);
    assert_int_equal(table->memory_info(world.device, &used, &total), WEIR_OK);
    assert_int_equal(used, 200);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, total - used + 1, &stale),
        WEIR_RESOURCE_EXHAUSTED);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, total - used, &stale), WEIR_OK);
    world_close(&world);
    assert_true(world_logged(&world, "4 misuses"));
}

// Goal:   a device without pinned memory says so and copies from plain host memory.
static void chaos_without_pinned(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, "pinned=0");
    const weir_device_table_t *table = world.table;
    weir_handle_t buffer;
    uint32_t from = 42, to = 0;
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_PINNED, 8, &buffer), WEIR_UNSUPPORTED);
    assert_int_equal(table->wrap_host(world.device, &from, 4, &buffer), WEIR_UNSUPPORTED);
    assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, 4, &buffer), WEIR_OK);
    weir_copy_region_t regions[2] = {
        {{&from, 0, 0, 4}, {NULL, buffer, 0, 4}}, {{NULL, buffer, 0, 4}, {&to, 0, 0, 4}}};
    weir_timeline_point_t done = {1, 1};
    assert_int_equal(table->copy(world.queue, regions, 2, NULL, 0, &done, 1), WEIR_OK);
    assert_int_equal(world_wait(&world, 1, 1), WEIR_OK);
    assert_int_equal(to, 42);
    world_close(&world);
}

// Goal:   an artifact gives the program back; a damaged one, one of another slice or of another
//         build does not.
static void chaos_artifacts(void **state)
{
    (void)state;
    world_t world, other;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    uint8_t artifact[256], damaged[256];
    uint64_t needed = 0, bytes = sizeof artifact;
    weir_handle_t loaded;
    world_open(&world, "");
    const weir_device_table_t *table = world.table;
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    assert_int_equal(table->program_save(compiled.program, NULL, &needed), WEIR_OK);
    assert_true(needed && needed <= bytes);
    assert_int_equal(table->program_save(compiled.program, artifact, &bytes), WEIR_OK);
    assert_int_equal(bytes, needed);
    compiled_free(&compiled, &world);
    assert_int_equal(table->artifact_check(world.device, artifact, bytes), WEIR_OK);
    for (uint64_t i = 0; i < bytes; i++) {
        memcpy(damaged, artifact, bytes);
        damaged[i] ^= 0x10;
        assert_int_equal(table->artifact_check(world.device, damaged, bytes), WEIR_DATA_LOSS);
        assert_int_equal(table->artifact_check(world.device, artifact, i), WEIR_DATA_LOSS);
    }
    assert_int_equal(
        table->program_load(world.device, &model.slice, artifact, bytes, &loaded), WEIR_OK);
    compiled = (compiled_t){loaded, {.head = WEIR_HEAD(weir_specialized_t)}};
    assert_int_equal(table->specialize(loaded, &model.slice, &compiled.specialized), WEIR_OK);
    assert_int_equal(model_run(&compiled, &world, &placed, 1), WEIR_OK);
    model_expect(&model, placed_answer(&placed));
    compiled_free(&compiled, &world);
    model.nodes[1].node.op = "LogSoftmax";
    assert_int_equal(
        table->program_load(world.device, &model.slice, artifact, bytes, &loaded), WEIR_DATA_LOSS);
    placed_free(&placed, &world);
    world_close(&world);
    // A plugin that wraps other kernels is another build: here, fewer of them.
    world_open(&other, "refuse=Conv");
    assert_int_equal(other.table->artifact_check(other.device, artifact, bytes), WEIR_UNSUPPORTED);
    world_close(&other);
}

static void expect_replay(const char *options, weir_code_t record_code, weir_code_t moved_code)
{
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    weir_handle_t recording = 0;
    world_open(&world, options);
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    weir_handle_t specialization = compiled.specialized.specialization;
    assert_int_equal(model_run(&compiled, &world, &placed, 1), WEIR_OK);
    assert_int_equal(
        world.table->record(specialization, placed.bindings, TENSORS + 1, &recording), record_code);
    if (record_code == WEIR_OK) {
        weir_timeline_point_t again = {2, 1}, moved = {2, 2};
        assert_int_equal(compiled_launch(&compiled, &world, &placed, recording, again), WEIR_OK);
        assert_int_equal(world_wait(&world, 2, 1), WEIR_OK);
        placed.bindings[TENSOR_C].offset = 7 * SLOT_BYTES;
        assert_int_equal(compiled_launch(&compiled, &world, &placed, recording, moved), moved_code);
        if (moved_code == WEIR_OK)
            assert_int_equal(world_wait(&world, 2, 2), WEIR_OK);
        world.table->recording_release(recording);
    }
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    world_close(&world);
}

// Goal:   the three classes of replay: none records nothing, rebind takes other bindings, fixed
//         finds them out.
static void chaos_replays(void **state)
{
    (void)state;
    expect_replay("replay=none", WEIR_UNSUPPORTED, WEIR_OK);
    expect_replay("replay=rebind", WEIR_OK, WEIR_OK);
    expect_replay("replay=fixed", WEIR_OK, WEIR_INVALID_ARGUMENT);
}

static weir_code_t copy_between(world_t *world, weir_handle_t from, weir_handle_t to,
    weir_timeline_point_t done, const char **out_text)
{
    weir_copy_region_t region = {{NULL, from, 0, 8}, {NULL, to, 0, 8}};
    assert_int_equal(world->table->copy(world->queue, &region, 1, NULL, 0, &done, 1), WEIR_OK);
    weir_code_t code = world_wait(world, done.timeline, done.value);
    *out_text = world->timelines[done.timeline].text;
    return code;
}

// Goal:   the three kinds of edges between two devices: a native one takes the peer's buffer, an
//         import one a buffer that stands for it, a staged one neither.
static void chaos_edges(void **state)
{
    (void)state;
    static const char *const kinds[] = {"staged", "import", "native"};
    for (uint32_t kind = 0; kind < 3; kind++) {
        char options[64];
        const char *text;
        world_t world;
        snprintf(options, sizeof options, "devices=2,edge=%s", kinds[kind]);
        world_open(&world, options);
        const weir_device_table_t *table = world.table;
        weir_handle_t peer, theirs, mine, imported;
        assert_int_equal(table->open(&world.host, 1, &peer), WEIR_OK);
        assert_int_equal(table->alloc(peer, WEIR_MEMORY_DEVICE, 8, &theirs), WEIR_OK);
        assert_int_equal(table->alloc(world.device, WEIR_MEMORY_DEVICE, 8, &mine), WEIR_OK);
        weir_edge_t edge = {.head = WEIR_HEAD(weir_edge_t)};
        assert_int_equal(table->edge(world.device, peer, &edge), WEIR_OK);
        assert_int_equal(edge.kind, kind);
        assert_int_equal(copy_between(&world, theirs, mine, (weir_timeline_point_t){1, 1}, &text),
            kind == WEIR_EDGE_NATIVE ? WEIR_OK : WEIR_INTERNAL);
        weir_export_t exported = {.head = WEIR_HEAD(weir_export_t)};
        weir_code_t code = table->export_buffer(peer, theirs, &exported);
        assert_int_equal(code, kind == WEIR_EDGE_STAGED ? WEIR_UNSUPPORTED : WEIR_OK);
        if (code == WEIR_OK) {
            assert_int_equal(table->import_buffer(world.device, &exported, &imported), WEIR_OK);
            assert_int_equal(
                copy_between(&world, imported, mine, (weir_timeline_point_t){2, 1}, &text),
                WEIR_OK);
            table->free(world.device, imported);
            exported.data[1]++;
            assert_int_equal(
                table->import_buffer(world.device, &exported, &imported), WEIR_UNSUPPORTED);
        }
        table->close(peer);
        world_close(&world);
    }
}

// Goal:   the device's clock is another than the host's, and what it traces lies between its
//         readings before and after.
static void chaos_clock(void **state)
{
    (void)state;
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    uint64_t device_ns[2], host_ns[2];
    world_open(&world, "delay_us=2000");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    assert_int_equal(world.table->clock(world.device, &device_ns[0], &host_ns[0]), WEIR_OK);
    assert_int_equal(model_run(&compiled, &world, &placed, 1), WEIR_OK);
    assert_int_equal(world.table->clock(world.device, &device_ns[1], &host_ns[1]), WEIR_OK);
    double rate = (double)(device_ns[1] - device_ns[0]) / (double)(host_ns[1] - host_ns[0]);
    assert_true(rate > 1.19 && rate < 1.21);
    assert_int_equal(world.trace_count, 2);
    uint64_t last_ns = device_ns[0];
    for (uint32_t i = 0; i < 2; i++) {
        const weir_trace_record_t *record = &world.traces[i];
        assert_int_equal(record->launch_id, 77);
        assert_int_equal(record->node, i);
        assert_true(last_ns <= record->start_ns && record->start_ns <= record->end_ns);
        last_ns = record->end_ns;
    }
    assert_true(last_ns <= device_ns[1]);
    compiled_free(&compiled, &world);
    placed_free(&placed, &world);
    world_close(&world);
}

// Goal:   a specialization that is released is forgotten by the device, at once, however long its
//         launches would have taken.
static void chaos_forgets(void **state)
{
    (void)state;
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    world_open(&world, "delay_us=60000000");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(
            compiled_launch(&compiled, &world, &placed, 0, (weir_timeline_point_t){1, i}), WEIR_OK);
    compiled_free(&compiled, &world);
    assert_int_equal(world.table->wait_idle(world.device), WEIR_OK);
    assert_int_equal(world_value(&world, 1), 0);
    placed_free(&placed, &world);
    world_close(&world);
    assert_true(world_logged(&world, "chaos: 0 runs, 0 copies, 0 misuses"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chaos_levels),
        cmocka_unit_test(chaos_executes_nodes),
        cmocka_unit_test(chaos_claims),
        cmocka_unit_test(chaos_order),
        cmocka_unit_test(chaos_memory),
        cmocka_unit_test(chaos_without_pinned),
        cmocka_unit_test(chaos_artifacts),
        cmocka_unit_test(chaos_replays),
        cmocka_unit_test(chaos_edges),
        cmocka_unit_test(chaos_clock),
        cmocka_unit_test(chaos_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
