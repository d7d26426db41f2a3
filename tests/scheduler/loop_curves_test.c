// tests/scheduler/loop_curves_test.c: what batches cost is known again after a restart.
//
// Goal:   a scheduler of a new engine knows the curves of the one before, point by point; a note
//         that is cut off or damaged is no harm; another version of a plan begins anew.
// Method: the core is told what it knew, seen in the trace of what it was told. Notes are cut at
//         every length and their bytes turned over.
#include "tests/scheduler/loop_calls.h"

#include "scheduler/core/core.h"
#include "scheduler/loop/trace.h"

#define FOLDER WEIR_TEST_PLUGINS "/loop_curves"
#define TRACE WEIR_TEST_PLUGINS "/loop_curves.trace"

typedef struct told {
    uint32_t count; // of kept points
    uint64_t rows[32], mean_ns[32];
    uint32_t bad; // that the core refused
} told_t;

static void read_trace(told_t *out_told)
{
    FILE *file = fopen(TRACE, "rb");
    weir__trace_head_t head;
    weir__trace_record_t record;
    *out_told = (told_t){0};
    assert_non_null(file);
    assert_int_equal(fread(&head, sizeof head, 1, file), 1);
    while (fread(&record, sizeof record, 1, file) == 1)
        if (record.event.kind == WEIR__EVENT_CURVE && out_told->count < 32) {
            out_told->rows[out_told->count] = record.event.rows;
            out_told->mean_ns[out_told->count++] = record.event.elapsed_ns;
            out_told->bad += record.hash != weir__trace_hash(WEIR_OK, NULL, 0);
        }
    fclose(file);
    remove(TRACE);
}

// out_name: of the model's note.
static void answer_some(world_t *world, uint32_t requests, uint32_t max_batch, char out_name[256])
{
    world_add(world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                         .max_batch = max_batch,
                         .batching = WEIR_BATCHING_ON,
                         .threads = 1});
    for (uint32_t i = 0; i < requests; i++) {
        call_t call;
        weir_event_t event;
        weir_request_t request = request_of(&call, i, 1 + i % 4);
        expect_ok(weir_submit(world->scheduler, &request, &call.ticket, NULL, NULL));
        expect_ok(weir_wait(world->scheduler, call.ticket, 0, &event));
        snprintf(out_name, 256, "scheduler curves %s %s %s 1 %u", event.receipt.digest,
            event.receipt.fingerprint, event.receipt.device, max_batch);
    }
}

// A scheduler of an engine of its own that answers some requests.
static void serve(uint32_t requests, uint32_t max_batch, char out_name[256], told_t *out_told)
{
    world_t world = {0};
    weir_engine_options_t engine = {
        .size = sizeof engine, .threads = 2, .plugin_path = "", .cache_dir = FOLDER};
    weir_scheduler_options_t options = {.size = sizeof options, .trace_path = TRACE};
    expect_ok(weir_engine_create(&engine, &world.engine));
    world.model = world_load(world.engine, rows_graph());
    expect_ok(weir_scheduler_create(world.engine, &options, &world.scheduler));
    answer_some(&world, requests, max_batch, out_name);
    weir_scheduler_free(world.scheduler);
    weir_model_free(world.model);
    weir_engine_free(world.engine);
    read_trace(out_told);
}

static weir_engine_t *open_folder(void)
{
    weir_engine_t *engine;
    weir_engine_options_t options = {
        .size = sizeof options, .threads = 1, .plugin_path = "", .cache_dir = FOLDER};
    expect_ok(weir_engine_create(&options, &engine));
    return engine;
}

static void curves_outlive_the_process(void **state)
{
    (void)state;
    char name[256], same[256];
    told_t told, again;
    serve(40, 8, name, &told);
    serve(0, 8, same, &told);
    assert_in_range(told.count, 3, 4); // 1, 2, 4 rows were run, and perhaps 3
    assert_int_equal(told.bad, 0);
    for (uint32_t i = 0; i < told.count; i++) {
        assert_int_equal(told.rows[i], (uint64_t)1 << i);
        assert_true(told.mean_ns[i] > 0 && (i == 0 || told.mean_ns[i] >= told.mean_ns[i - 1]));
    }
    // Nothing was run meanwhile: it is still the same.
    serve(0, 8, same, &again);
    assert_memory_equal(&told, &again, sizeof told);
    // Other batches are another plan's.
    serve(0, 4, same, &again);
    assert_int_equal(again.count, 0);
}

// The scheduler lives on: it need not end for what was learned of a model to be kept.
static void a_model_that_is_removed_leaves_its_note(void **state)
{
    (void)state;
    char name[256], note[4096];
    uint64_t bytes = 0;
    world_t world = {0};
    told_t told;
    (void)system("rm -rf '" FOLDER "'");
    weir_engine_options_t engine = {
        .size = sizeof engine, .threads = 2, .plugin_path = "", .cache_dir = FOLDER};
    expect_ok(weir_engine_create(&engine, &world.engine));
    world.model = world_load(world.engine, rows_graph());
    expect_ok(weir_scheduler_create(world.engine, NULL, &world.scheduler));
    answer_some(&world, 40, 8, name);
    expect_status(
        weir_engine_read_note(world.engine, name, note, sizeof note, &bytes), WEIR_NOT_FOUND, "");
    expect_ok(weir_scheduler_remove(world.scheduler, "rows", "1.0.0"));
    weir_status_t status;
    do
        status = weir_engine_read_note(world.engine, name, note, sizeof note, &bytes);
    while (weir_status_code(status) == WEIR_NOT_FOUND && (weir_status_free(status), true));
    expect_ok(status);
    assert_in_range(bytes, 64, sizeof note);
    weir_scheduler_free(world.scheduler);
    weir_model_free(world.model);
    weir_engine_free(world.engine);
    serve(0, 8, name, &told);
    assert_in_range(told.count, 3, 4);
}

static void a_damaged_note_is_no_harm(void **state)
{
    (void)state;
    char name[256], same[256], note[4096], damaged[4096];
    uint64_t bytes = 0;
    told_t told;
    serve(40, 8, name, &told);
    weir_engine_t *engine = open_folder();
    expect_ok(weir_engine_read_note(engine, name, note, sizeof note, &bytes));
    weir_engine_free(engine);
    assert_in_range(bytes, 64, sizeof note);
    for (uint64_t at = 0; at < bytes; at += 7) {
        memcpy(damaged, note, bytes);
        for (uint64_t i = at; i < at + 8 && i < bytes; i++)
            damaged[i] = (char)~damaged[i];
        engine = open_folder();
        // Cut off there, or turned over.
        expect_ok(weir_engine_keep_note(engine, name, damaged, at % 2 && at ? at : bytes));
        weir_engine_free(engine);
        serve(4, 8, same, &told);
        assert_int_equal(told.bad, 0);
    }
}

// A key of another length than its shape's: what is looked at for the next request is its own.
static void a_key_that_is_too_short_is_refused(void **state)
{
    (void)state;
    enum { KEY_COUNT_AT = 16 + sizeof(weir__core_curve_t), KEY_AT = KEY_COUNT_AT + 8 };
    char name[256], same[256], note[4096], odd[4096];
    uint64_t bytes = 0;
    told_t told;
    (void)system("rm -rf '" FOLDER "'");
    serve(40, 8, name, &told);
    weir_engine_t *engine = open_folder();
    expect_ok(weir_engine_read_note(engine, name, note, sizeof note, &bytes));
    weir_engine_free(engine);
    uint32_t whole;
    memcpy(&whole, note + KEY_COUNT_AT, sizeof whole);
    assert_int_equal(whole, 3); // a rank and two dims
    assert_int_equal(bytes, KEY_AT + whole * sizeof(int64_t));
    for (uint32_t count = 0; count <= whole + 1; count++) {
        memcpy(odd, note, bytes);
        memset(odd + bytes, 0, sizeof(int64_t));
        memcpy(odd + KEY_COUNT_AT, &count, sizeof count);
        engine = open_folder();
        expect_ok(weir_engine_keep_note(engine, name, odd, KEY_AT + count * sizeof(int64_t)));
        weir_engine_free(engine);
        serve(0, 8, same, &told);
        assert_int_equal(told.count != 0, count == whole);
        assert_int_equal(told.bad, 0);
        engine = open_folder(); // again, as the run before has written its own
        expect_ok(weir_engine_keep_note(engine, name, odd, KEY_AT + count * sizeof(int64_t)));
        weir_engine_free(engine);
        serve(4, 8, same, &told);
    }
}

static void notes(void **state)
{
    (void)state;
    char text[16];
    uint64_t bytes;
    weir_engine_t *engine = open_folder();
    expect_status(
        weir_engine_read_note(engine, "nobody's", text, sizeof text, &bytes), WEIR_NOT_FOUND, "no");
    expect_ok(weir_engine_keep_note(engine, "mine", "first", 6));
    expect_ok(weir_engine_keep_note(engine, "mine", "the second", 11));
    weir_engine_free(engine);
    engine = open_folder();
    expect_status(
        weir_engine_read_note(engine, "mine", text, 4, &bytes), WEIR_RESOURCE_EXHAUSTED, "11");
    assert_int_equal(bytes, 11);
    expect_ok(weir_engine_read_note(engine, "mine", text, sizeof text, &bytes));
    assert_string_equal(text, "the second");
    expect_status(weir_engine_keep_note(engine, "", "x", 1), WEIR_INVALID_ARGUMENT, "name");
    expect_status(
        weir_engine_keep_note(engine, "mine", text, (16u << 20) + 1), WEIR_LIMIT, "at most");
    weir_engine_free(engine);
    weir_engine_options_t none = {
        .size = sizeof none, .threads = 1, .plugin_path = "", .cache_dir = ""};
    expect_ok(weir_engine_create(&none, &engine));
    expect_status(weir_engine_keep_note(engine, "mine", "x", 1), WEIR_UNAVAILABLE, "cache_dir");
    expect_status(
        weir_engine_read_note(engine, "mine", text, sizeof text, &bytes), WEIR_NOT_FOUND, "mine");
    weir_engine_free(engine);
}

// Goal:   a core that is told a kept curve knows it to the last bit.
// Method: samples of a machine of known costs into one core, its curve into another one.
static void a_curve_is_taken_over(void **state)
{
    (void)state;
    weir__core_limits_t limits = weir__core_limits_default();
    weir__core_t *cores[2];
    weir__core_action_t actions[16];
    weir__core_curve_t curve, taken;
    void *memory[2];
    size_t bytes, count;
    assert_int_equal(weir__core_size(&limits, &bytes), WEIR_OK);
    for (int c = 0; c < 2; c++) {
        memory[c] = malloc(bytes);
        assert_int_equal(weir__core_init(memory[c], bytes, &limits, &cores[c]), WEIR_OK);
        weir__core_event_t add = {.kind = WEIR__EVENT_MODEL_ADD, .rows = 32};
        assert_int_equal(weir__core_step(cores[c], &add, 1, actions, 16, &count), WEIR_OK);
        assert_int_equal(weir__core_curve(cores[c], 0, 0, 0, 5, 0, &curve), 0);
    }
    for (uint32_t i = 0; i < 200; i++) {
        uint32_t rows = 1 + i * 7 % 13;
        weir__core_event_t sample = {.kind = WEIR__EVENT_SAMPLE,
            .shape = 5,
            .rows = rows,
            .elapsed_ns = 2000000 + 250000 * rows + i * 7919 % 100000};
        assert_int_equal(weir__core_step(cores[0], &sample, 2, actions, 16, &count), WEIR_OK);
    }
    assert_true(weir__core_curve(cores[0], 0, 0, 0, 5, 0, &curve));
    for (uint32_t i = 0; curve.seen_log >> i; i++) {
        weir__core_event_t point = {.kind = WEIR__EVENT_CURVE,
            .shape = 5,
            .rows = (uint32_t)1 << i,
            .elapsed_ns = curve.mean_ns[i],
            .count = curve.tail,
            .once = curve.seen_log >> i & 1};
        assert_int_equal(weir__core_step(cores[1], &point, 2, actions, 16, &count), WEIR_OK);
    }
    assert_true(weir__core_curve(cores[1], 0, 0, 0, 5, 0, &taken));
    assert_memory_equal(&curve, &taken, sizeof curve);
    weir__core_event_t odd = {.kind = WEIR__EVENT_CURVE, .shape = 5, .rows = 3};
    assert_int_equal(
        weir__core_step(cores[1], &odd, 2, actions, 16, &count), WEIR_INVALID_ARGUMENT);
    for (int c = 0; c < 2; c++)
        free(memory[c]);
}

static int empty_folder(void **state)
{
    (void)state;
    return system("rm -rf '" FOLDER "'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(curves_outlive_the_process),
        cmocka_unit_test(a_model_that_is_removed_leaves_its_note),
        cmocka_unit_test(a_damaged_note_is_no_harm),
        cmocka_unit_test(a_key_that_is_too_short_is_refused),
        cmocka_unit_test(notes),
        cmocka_unit_test(a_curve_is_taken_over),
    };
    return cmocka_run_group_tests(tests, empty_folder, empty_folder);
}
