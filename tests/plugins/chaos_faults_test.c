// tests/plugins/chaos_faults_test.c: each fault of the chaos device strikes where, how and when its
// schedule says, and nowhere else.
//
// A fault matrix of an engine proves nothing if the faults are not met; so every rule's own count
// is looked at too.
#include "tests/plugins/chaos_world.h"

// ---- Calls --------------------------------------------------------------------------------------

typedef struct bench {
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    weir_export_t exported;
    uint8_t artifact[256];
    uint64_t artifact_bytes, point;
} bench_t;

static void bench_init(bench_t *bench, const char *options)
{
    world_open(&bench->world, options);
    const weir_device_table_t *table = bench->world.table;
    model_init(&bench->model, &bench->world);
    placed_init(&bench->placed, &bench->world, &bench->model);
    bench->point = 0;
    if (!table->compile)
        return;
    compiled_init(&bench->compiled, &bench->world, &bench->model);
    bench->artifact_bytes = sizeof bench->artifact;
    assert_int_equal(
        table->program_save(bench->compiled.program, bench->artifact, &bench->artifact_bytes),
        WEIR_OK);
    bench->exported = (weir_export_t){.head = WEIR_HEAD(weir_export_t)};
    (void)table->export_buffer(bench->world.device, bench->placed.arena, &bench->exported);
}

static void bench_free(bench_t *bench)
{
    if (bench->world.table->compile)
        compiled_free(&bench->compiled, &bench->world);
    placed_free(&bench->placed, &bench->world);
    world_close(&bench->world);
}

static weir_code_t call_enumerate(bench_t *bench)
{
    weir_device_info_t info = {.head = WEIR_HEAD(weir_device_info_t)};
    return bench->world.table->enumerate(&bench->world.host, 0, &info);
}

static weir_code_t call_open(bench_t *bench)
{
    weir_handle_t device;
    weir_code_t code = bench->world.table->open(&bench->world.host, 1, &device);
    if (code == WEIR_OK)
        bench->world.table->close(device);
    return code;
}

static weir_code_t call_alloc(bench_t *bench)
{
    weir_handle_t buffer;
    weir_code_t code =
        bench->world.table->alloc(bench->world.device, WEIR_MEMORY_DEVICE, 64, &buffer);
    if (code == WEIR_OK)
        bench->world.table->free(bench->world.device, buffer);
    return code;
}

static weir_code_t call_map(bench_t *bench)
{
    void *mapped;
    weir_code_t code = bench->world.table->map(bench->world.device, bench->placed.staging, &mapped);
    if (code == WEIR_OK)
        bench->world.table->unmap(bench->world.device, bench->placed.staging);
    return code;
}

static weir_code_t call_wrap_host(bench_t *bench)
{
    weir_handle_t buffer;
    weir_code_t code = bench->world.table->wrap_host(
        bench->world.device, bench->model.a, sizeof bench->model.a, &buffer);
    if (code == WEIR_OK)
        bench->world.table->free(bench->world.device, buffer);
    return code;
}

static weir_code_t call_queue_create(bench_t *bench)
{
    weir_handle_t queue;
    weir_code_t code = bench->world.table->queue_create(bench->world.device, &queue);
    if (code == WEIR_OK)
        bench->world.table->queue_destroy(bench->world.device, queue);
    return code;
}

static weir_code_t call_copy(bench_t *bench)
{
    weir_timeline_point_t done = {1, ++bench->point};
    weir_code_t code = placed_copy(&bench->placed, &bench->world, TENSOR_A, true, done);
    return code == WEIR_OK ? world_wait(&bench->world, 1, done.value) : code;
}

static weir_code_t call_execute(bench_t *bench)
{
    const weir_slice_node_t *from = &bench->model.nodes[1];
    weir_timeline_point_t done = {1, ++bench->point};
    weir_execution_t execution = {.head = WEIR_HEAD(weir_execution_t),
        .node = &from->node,
        .kernel = from->kernel,
        .bindings = &bench->placed.bindings[TENSOR_C],
        .binding_count = 2,
        .scratch = bench->placed.bindings[TENSORS]};
    weir_code_t code =
        bench->world.table->execute(bench->world.queue, &execution, NULL, 0, &done, 1);
    return code == WEIR_OK ? world_wait(&bench->world, 1, done.value) : code;
}

static weir_code_t call_wait_idle(bench_t *bench)
{
    return bench->world.table->wait_idle(bench->world.device);
}

static weir_code_t call_memory_info(bench_t *bench)
{
    uint64_t used, total;
    return bench->world.table->memory_info(bench->world.device, &used, &total);
}

static weir_code_t call_edge(bench_t *bench)
{
    weir_edge_t edge = {.head = WEIR_HEAD(weir_edge_t)};
    return bench->world.table->edge(bench->world.device, 0, &edge);
}

static weir_code_t call_export_buffer(bench_t *bench)
{
    weir_export_t exported = {.head = WEIR_HEAD(weir_export_t)};
    return bench->world.table->export_buffer(bench->world.device, bench->placed.arena, &exported);
}

static weir_code_t call_import_buffer(bench_t *bench)
{
    weir_handle_t buffer;
    weir_code_t code =
        bench->world.table->import_buffer(bench->world.device, &bench->exported, &buffer);
    if (code == WEIR_OK)
        bench->world.table->free(bench->world.device, buffer);
    return code;
}

static weir_code_t call_claim(bench_t *bench)
{
    weir_claim_t claims[2] = {{.head = WEIR_HEAD(weir_claim_t)}, {.head = WEIR_HEAD(weir_claim_t)}};
    return bench->world.table->claim(bench->world.device, &bench->model.slice, claims);
}

static weir_code_t call_compile(bench_t *bench)
{
    weir_handle_t program;
    weir_code_t code =
        bench->world.table->compile(bench->world.device, &bench->model.slice, &program);
    if (code == WEIR_OK)
        bench->world.table->program_release(program);
    return code;
}

static weir_code_t call_program_info(bench_t *bench)
{
    weir_program_info_t info = {.head = WEIR_HEAD(weir_program_info_t)};
    return bench->world.table->program_info(bench->compiled.program, &info);
}

static weir_code_t call_program_save(bench_t *bench)
{
    uint64_t bytes = 0;
    return bench->world.table->program_save(bench->compiled.program, NULL, &bytes);
}

static weir_code_t call_artifact_check(bench_t *bench)
{
    return bench->world.table->artifact_check(
        bench->world.device, bench->artifact, bench->artifact_bytes);
}

static weir_code_t call_program_load(bench_t *bench)
{
    weir_handle_t program;
    weir_code_t code = bench->world.table->program_load(
        bench->world.device, &bench->model.slice, bench->artifact, bench->artifact_bytes, &program);
    if (code == WEIR_OK)
        bench->world.table->program_release(program);
    return code;
}

static weir_code_t call_specialize(bench_t *bench)
{
    weir_specialized_t specialized = {.head = WEIR_HEAD(weir_specialized_t)};
    weir_code_t code =
        bench->world.table->specialize(bench->compiled.program, &bench->model.slice, &specialized);
    if (code == WEIR_OK)
        bench->world.table->specialization_release(specialized.specialization);
    return code;
}

static weir_code_t call_record(bench_t *bench)
{
    weir_handle_t recording;
    weir_code_t code = bench->world.table->record(bench->compiled.specialized.specialization,
        bench->placed.bindings, TENSORS + 1, &recording);
    if (code == WEIR_OK)
        bench->world.table->recording_release(recording);
    return code;
}

static weir_code_t call_launch(bench_t *bench)
{
    weir_timeline_point_t done = {1, ++bench->point};
    weir_code_t code = compiled_launch(&bench->compiled, &bench->world, &bench->placed, 0, done);
    return code == WEIR_OK ? world_wait(&bench->world, 1, done.value) : code;
}

static weir_code_t call_clock(bench_t *bench)
{
    uint64_t device_ns, host_ns;
    return bench->world.table->clock(bench->world.device, &device_ns, &host_ns);
}

// `before`: calls of it that bench_init() makes.
static const struct entry_point {
    const char *name, *options;
    weir_code_t (*call)(bench_t *bench);
    uint32_t before;
    const char *after; // a call without a result that follows each; NULL: none
} entry_points[] = {
    {"enumerate", "", call_enumerate, 0, NULL},
    {"open", "devices=2", call_open, 1, NULL},
    {"alloc", "", call_alloc, 2, "free"},
    {"map", "", call_map, 1, "unmap"},
    {"wrap_host", "", call_wrap_host, 0, "free"},
    {"queue_create", "", call_queue_create, 1, "queue_destroy"},
    {"copy", "", call_copy, 0, NULL},
    {"copied", "", call_copy, 0, NULL},
    {"execute", "level=1", call_execute, 0, NULL},
    {"run", "level=1", call_execute, 0, NULL},
    {"wait_idle", "", call_wait_idle, 0, NULL},
    {"memory_info", "", call_memory_info, 0, NULL},
    {"edge", "", call_edge, 0, NULL},
    {"export_buffer", "edge=import", call_export_buffer, 1, NULL},
    {"import_buffer", "edge=import", call_import_buffer, 0, NULL},
    {"claim", "claim=1", call_claim, 0, NULL},
    {"compile", "", call_compile, 1, "program_release"},
    {"program_info", "", call_program_info, 0, NULL},
    {"program_save", "", call_program_save, 1, NULL},
    {"artifact_check", "", call_artifact_check, 0, NULL},
    {"program_load", "", call_program_load, 0, "program_release"},
    {"specialize", "", call_specialize, 1, "specialization_release"},
    {"record", "", call_record, 0, "recording_release"},
    {"launch", "", call_launch, 0, NULL},
    {"run", "", call_launch, 0, NULL},
    {"clock", "", call_clock, 0, NULL},
};
#define ENTRY_POINTS (sizeof entry_points / sizeof entry_points[0])

// Is a failure of this one a failure of its timeline, for good?
static bool is_completion(const struct entry_point *point)
{
    return strcmp(point->name, "run") == 0 || strcmp(point->name, "copied") == 0;
}

static bool has_device(const struct entry_point *point)
{
    return strcmp(point->name, "enumerate") != 0 && strcmp(point->name, "open") != 0;
}

static void options_for(
    char *out, size_t bytes, const struct entry_point *point, const char *what, uint32_t when)
{
    snprintf(out, bytes, "%s%sfaults=%s:%s:%u", point->options, point->options[0] ? "," : "",
        point->name, what, point->before + when);
}

// Goal:   fail and oom strike the second call of each entry point, no other, and say so.
static void chaos_calls_fail(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENTRY_POINTS; i++)
        for (uint32_t kind = 0; kind < 2; kind++) {
            const struct entry_point *point = &entry_points[i];
            weir_code_t code = kind ? WEIR_RESOURCE_EXHAUSTED : WEIR_UNAVAILABLE;
            char options[128], line[128];
            bench_t *bench = malloc(sizeof *bench);
            options_for(options, sizeof options, point, kind ? "oom" : "fail=9", 2);
            bench_init(bench, options);
            assert_int_equal(point->call(bench), WEIR_OK);
            assert_int_equal(point->call(bench), code);
            const char *said =
                is_completion(point) ? bench->world.timelines[1].text : bench->world.failure;
            assert_non_null(strstr(said, "by schedule"));
            memset(&bench->world.timelines[1], 0, sizeof bench->world.timelines[1]);
            assert_int_equal(point->call(bench), WEIR_OK);
            bench_free(bench);
            snprintf(line, sizeof line, "hit 1 of %u", point->before + 3);
            if (!world_logged(&bench->world, line))
                fail_msg("%s: no \"%s\" in: %s", options, line, bench->world.log);
            free(bench);
        }
}

// Goal:   a device that was lost at any entry point answers DEVICE_LOST everywhere, until it is
//         closed and opened again.
static void chaos_calls_lose_the_device(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENTRY_POINTS; i++)
        for (uint32_t kind = 0; kind < 2; kind++) {
            const struct entry_point *point = &entry_points[i];
            char options[128];
            struct entry_point lost = *point;
            lost.name = kind ? point->after : point->name;
            if (!lost.name || !has_device(point))
                continue;
            lost.before = kind ? 0 : point->before;
            bench_t *bench = malloc(sizeof *bench);
            options_for(options, sizeof options, &lost, "lost", 1);
            bench_init(bench, options);
            assert_int_equal(point->call(bench), kind ? WEIR_OK : WEIR_DEVICE_LOST);
            assert_int_equal(call_alloc(bench), WEIR_DEVICE_LOST);
            assert_int_equal(call_memory_info(bench), WEIR_DEVICE_LOST);
            assert_int_equal(point->call(bench), WEIR_DEVICE_LOST);
            if (bench->world.table->compile)
                compiled_free(&bench->compiled, &bench->world);
            placed_free(&bench->placed, &bench->world);
            bench->world.table->close(bench->world.device);
            assert_int_equal(
                bench->world.table->open(&bench->world.host, 0, &bench->world.device), WEIR_OK);
            assert_int_equal(call_alloc(bench), WEIR_OK);
            world_close(&bench->world);
            free(bench);
        }
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// Goal:   slow takes the time it says, of calls with and without a result, and harms nothing.
static void chaos_calls_are_slow(void **state)
{
    (void)state;
    for (size_t i = 0; i < ENTRY_POINTS; i++) {
        const struct entry_point *point = &entry_points[i];
        char options[128];
        bench_t *bench = malloc(sizeof *bench);
        options_for(options, sizeof options, point, "slow=25", 1);
        bench_init(bench, options);
        uint64_t begin_ms = now_ms();
        assert_int_equal(point->call(bench), WEIR_OK);
        assert_true(now_ms() - begin_ms >= 24);
        assert_int_equal(point->call(bench), WEIR_OK);
        bench_free(bench);
        free(bench);
    }
}

// ---- Completions --------------------------------------------------------------------------------

static void launch_on(bench_t *bench, uint64_t timeline)
{
    assert_int_equal(compiled_launch(&bench->compiled, &bench->world, &bench->placed, 0,
                         (weir_timeline_point_t){timeline, 1}),
        WEIR_OK);
}

// Goal:   a hung launch stops its queue and nothing else; close() ends.
static void chaos_hangs(void **state)
{
    (void)state;
    bench_t bench;
    bench_init(&bench, "faults=run:hang:2");
    for (uint64_t i = 1; i <= 3; i++)
        launch_on(&bench, i);
    assert_int_equal(world_wait(&bench.world, 1, 1), WEIR_OK);
    // It hangs by now: what comes on another queue is not the second run.
    assert_int_equal(call_wait_idle(&bench), WEIR_UNAVAILABLE);
    weir_handle_t queue, first = bench.world.queue;
    assert_int_equal(bench.world.table->queue_create(bench.world.device, &queue), WEIR_OK);
    bench.world.queue = queue;
    assert_int_equal(call_copy(&bench), WEIR_OK);
    launch_on(&bench, 4); // on the second queue
    assert_int_equal(world_wait(&bench.world, 4, 1), WEIR_OK);
    assert_int_equal(call_wait_idle(&bench), WEIR_UNAVAILABLE);
    assert_int_equal(world_value(&bench.world, 2), 0);
    assert_int_equal(world_value(&bench.world, 3), 0);
    bench.world.table->queue_destroy(bench.world.device, first);
    assert_int_equal(call_wait_idle(&bench), WEIR_OK);
    bench_free(&bench);
    assert_int_equal(bench.world.timelines[2].signals, 0);
}

// Goal:   close() ends while a launch hangs and others wait behind it.
static void chaos_closes_while_it_hangs(void **state)
{
    (void)state;
    world_t world;
    model_t model;
    placed_t placed;
    compiled_t compiled;
    world_open(&world, "faults=run:hang:1;copied:hang:3");
    model_init(&model, &world);
    placed_init(&placed, &world, &model);
    compiled_init(&compiled, &world, &model);
    weir_timeline_point_t done = {1, 1};
    for (uint32_t i = 0; i < 2; i++)
        assert_int_equal(placed_copy(&placed, &world, TENSOR_A, true, done), WEIR_OK);
    assert_int_equal(compiled_launch(&compiled, &world, &placed, 0, done), WEIR_OK);
    compiled_free(&compiled, &world); // forgets the launch, hung or not
    assert_int_equal(placed_copy(&placed, &world, TENSOR_A, true, done), WEIR_OK);
    world_close(&world);
}

// Goal:   a completion that is missing, and one that comes twice: the work is done, once.
static void chaos_signals_too_little_and_too_much(void **state)
{
    (void)state;
    bench_t bench;
    bench_init(&bench, "faults=run:missing:1;run:double:2");
    for (uint64_t i = 1; i <= 3; i++)
        launch_on(&bench, i);
    assert_int_equal(world_wait(&bench.world, 3, 1), WEIR_OK);
    bench_free(&bench);
    assert_int_equal(bench.world.timelines[1].signals, 0);
    assert_int_equal(bench.world.timelines[2].signals, 2);
    assert_int_equal(bench.world.timelines[3].signals, 1);
    assert_true(world_logged(&bench.world, "chaos: 3 runs"));
}

// A machine may hold this thread up for longer than a fault leaves it: then it is tried again with
// more time. `attempt`: false where it came too late.
static void with_time(bool (*attempt)(uint32_t ms))
{
    uint32_t ms = 10;
    while (!attempt(ms))
        assert_true((ms *= 4) < 60000);
}

static bool is_late_by(uint32_t ms)
{
    bench_t bench;
    char options[64];
    snprintf(options, sizeof options, "faults=run:late=%u:2", ms);
    bench_init(&bench, options);
    placed_t *placed = &bench.placed;
    assert_int_equal(model_run(&bench.compiled, &bench.world, placed, 1), WEIR_OK);
    launch_on(&bench, 2);
    compiled_free(&bench.compiled, &bench.world);
    bool in_time = world_value(&bench.world, 2) == 0; // else it may have run before it was given up
    assert_int_equal(world_wait(&bench.world, 2, 1), WEIR_OK);
    assert_int_equal(
        placed_copy(placed, &bench.world, TENSOR_A, false, (weir_timeline_point_t){3, 1}), WEIR_OK);
    assert_int_equal(
        placed_copy(placed, &bench.world, TENSOR_Y, false, (weir_timeline_point_t){3, 2}), WEIR_OK);
    assert_int_equal(world_wait(&bench.world, 3, 2), WEIR_OK);
    assert_memory_equal(
        placed->mapped + TENSOR_A * SLOT_BYTES, bench.model.a, sizeof bench.model.a);
    for (uint32_t i = 0; in_time && i < sizeof bench.model.expected; i++)
        assert_int_equal(placed->mapped[TENSOR_Y * SLOT_BYTES + i], 0xdb);
    placed_free(placed, &bench.world);
    world_close(&bench.world);
    assert_true(world_logged(&bench.world, "0 misuses"));
    return in_time;
}

// Goal:   a late launch outlives its specialization: it writes to its outputs, and only there, and
//         signals.
static void chaos_is_late(void **state)
{
    (void)state;
    with_time(is_late_by);
}

// Goal:   wrong bits: in the node that is named by its operator or its origin, in the run that is
//         named, one element.
static void chaos_is_wrong(void **state)
{
    (void)state;
    static const char *const names[] = {"Softmax", "probabilities", "proba"};
    for (uint32_t i = 0; i < 3; i++) {
        bench_t bench;
        char options[64];
        snprintf(options, sizeof options, "faults=run:wrong=%s:2,seed=%u", names[i], i);
        bench_init(&bench, options);
        assert_int_equal(model_run(&bench.compiled, &bench.world, &bench.placed, 1), WEIR_OK);
        model_expect(&bench.model, placed_answer(&bench.placed));
        assert_int_equal(model_run(&bench.compiled, &bench.world, &bench.placed, 2), WEIR_OK);
        uint32_t wrong = 0;
        for (uint32_t j = 0; j < ROWS * COLUMNS; j++)
            wrong += !(fabsf(placed_answer(&bench.placed)[j] - bench.model.expected[j]) < 1e-5f);
        assert_int_equal(wrong, 1);
        assert_int_equal(model_run(&bench.compiled, &bench.world, &bench.placed, 3), WEIR_OK);
        model_expect(&bench.model, placed_answer(&bench.placed));
        bench_free(&bench);
        assert_true(world_logged(&bench.world, "hit 1 of 3"));
    }
    bench_t bench; // a node before: its row is wrong in the answer
    bench_init(&bench, "faults=run:wrong=MatMul:1");
    assert_int_equal(model_run(&bench.compiled, &bench.world, &bench.placed, 1), WEIR_OK);
    assert_memory_not_equal(
        placed_answer(&bench.placed), bench.model.expected, sizeof bench.model.expected);
    bench_free(&bench);
}

// Each run begins `ms` after it was queued: the last must be queued before the one that loses the
// device begins.
static bool passes_failures_in(uint32_t ms)
{
    bench_t bench;
    char options[64];
    snprintf(options, sizeof options, "delay_us=%u,faults=run:fail=4:1;run:lost:3", ms * 1000);
    bench_init(&bench, options);
    launch_on(&bench, 1);
    weir_timeline_point_t failed = {1, 1}, after = {2, 1}, last = {5, 1};
    weir_copy_region_t region = {bench.placed.bindings[TENSOR_A], bench.placed.bindings[TENSOR_A]};
    assert_int_equal(
        bench.world.table->copy(bench.world.queue, &region, 1, &failed, 1, &after, 1), WEIR_OK);
    launch_on(&bench, 3);
    launch_on(&bench, 4);
    weir_code_t code = compiled_launch(&bench.compiled, &bench.world, &bench.placed, 0, last);
    assert_true(code == WEIR_OK || code == WEIR_DEVICE_LOST);
    assert_int_equal(world_wait(&bench.world, 1, 1), WEIR_LIMIT);
    assert_int_equal(world_wait(&bench.world, 2, 1), WEIR_LIMIT);
    assert_int_equal(world_wait(&bench.world, 3, 1), WEIR_OK);
    assert_int_equal(world_wait(&bench.world, 4, 1), WEIR_DEVICE_LOST);
    if (code == WEIR_OK)
        assert_int_equal(world_wait(&bench.world, 5, 1), WEIR_DEVICE_LOST);
    bench_free(&bench);
    return code == WEIR_OK;
}

// Goal:   what waits for a point that failed fails too; what is queued behind a loss is lost.
static void chaos_passes_failures_on(void **state)
{
    (void)state;
    with_time(passes_failures_in);
}

// ---- Schedules ----------------------------------------------------------------------------------

// The calls of memory_info that fail among the first 8, as a mask.
static uint32_t struck(const char *options)
{
    bench_t *bench = malloc(sizeof *bench);
    uint32_t mask = 0;
    bench_init(bench, options);
    for (uint32_t i = 0; i < 8; i++)
        mask |= (uint32_t)(call_memory_info(bench) != WEIR_OK) << i;
    bench_free(bench);
    free(bench);
    return mask;
}

// Goal:   every way to say when; chance is the seed's.
static void chaos_schedules(void **state)
{
    (void)state;
    assert_int_equal(struck("faults=memory_info:oom:3"), 0x04);
    assert_int_equal(struck("faults=memory_info:oom:3+"), 0xfc);
    assert_int_equal(struck("faults=memory_info:oom:3-5"), 0x1c);
    assert_int_equal(struck("faults=memory_info:oom:/3"), 0x24);
    assert_int_equal(struck("faults=memory_info:oom:*"), 0xff);
    assert_int_equal(struck("faults=memory_info:oom:1;memory_info:fail:8;clock:oom:*"), 0x81);
    uint32_t first = struck("seed=5,faults=memory_info:oom:50%");
    assert_int_equal(first, struck("seed=5,faults=memory_info:oom:50%"));
    uint32_t others = 0;
    for (uint32_t seed = 6; seed < 12; seed++) {
        char options[64];
        snprintf(options, sizeof options, "seed=%u,faults=memory_info:oom:50%%", seed);
        others += struck(options) != first;
    }
    assert_true(others >= 4);
    assert_int_equal(struck("faults=memory_info:oom:100%"), 0xff);
}

// Goal:   what is no schedule, or no value of another option, is refused by probe() with a reason.
static void chaos_refuses_bad_options(void **state)
{
    (void)state;
    static const char *const bad[] = {"faults=x", "faults=alloc:oom",
        "faults=alloc:oom:", "faults=alloc:oom:0", "faults=alloc:oom:5-3", "faults=alloc:oom:/0",
        "faults=alloc:oom:-1x", "faults=alloc:oom:101%", "faults=alloc:melt:1",
        "faults=malloc:oom:1", "faults=alloc:hang:1", "faults=copied:wrong:1", "faults=free:fail:1",
        "faults=alloc:fail=0:1", "faults=alloc:fail=99:1", "faults=alloc:slow:1",
        "faults=alloc:oom=3:1", "faults=alloc:oom:1;x", "replay=often", "edge=near"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        world_t world;
        weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
        weir_device_info_t info = {.head = WEIR_HEAD(weir_device_info_t)};
        assert_non_null(world_load(&world, bad[i]));
        if (world.plugin->probe(&world.host, &answer) != WEIR_UNAVAILABLE)
            fail_msg("%s is taken", bad[i]);
        assert_non_null(strstr(answer.reason, "option "));
        assert_int_equal(world.table->enumerate(&world.host, 0, &info), WEIR_INVALID_ARGUMENT);
        world_unload(&world);
    }
    world_t world;
    assert_null(world_load(&world, "wraps=nothing"));
    assert_non_null(strstr(world.failure, "wraps=nothing"));
    world_unload(&world);
}

// Goal:   open, work and close, over and over, with work under way: nothing is left.
static void chaos_open_close(void **state)
{
    (void)state;
    bench_t bench;
    bench_init(&bench, "delay_us=50,jitter_us=200,faults=run:fail:10%;copied:lost:2%");
    const weir_device_table_t *table = bench.world.table;
    for (uint32_t i = 0; i < 100; i++) {
        for (uint64_t k = 0; k < 4; k++) {
            weir_timeline_point_t done = {k + 1, i + 1};
            (void)placed_copy(&bench.placed, &bench.world, TENSOR_A, true, done);
            (void)compiled_launch(&bench.compiled, &bench.world, &bench.placed, 0, done);
        }
        compiled_free(&bench.compiled, &bench.world);
        table->close(bench.world.device);
        assert_int_equal(table->open(&bench.world.host, 0, &bench.world.device), WEIR_OK);
        assert_int_equal(table->queue_create(bench.world.device, &bench.world.queue), WEIR_OK);
        placed_init(&bench.placed, &bench.world, &bench.model);
        compiled_init(&bench.compiled, &bench.world, &bench.model);
    }
    bench_free(&bench);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chaos_calls_fail),
        cmocka_unit_test(chaos_calls_lose_the_device),
        cmocka_unit_test(chaos_calls_are_slow),
        cmocka_unit_test(chaos_hangs),
        cmocka_unit_test(chaos_closes_while_it_hangs),
        cmocka_unit_test(chaos_signals_too_little_and_too_much),
        cmocka_unit_test(chaos_is_late),
        cmocka_unit_test(chaos_is_wrong),
        cmocka_unit_test(chaos_passes_failures_on),
        cmocka_unit_test(chaos_schedules),
        cmocka_unit_test(chaos_refuses_bad_options),
        cmocka_unit_test(chaos_open_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
