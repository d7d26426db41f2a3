// tests/unit/device_artifact_test.c: programs of devices between processes: kept, found, refused.
//
// The device is backends/chaos, whose artifacts carry a stamp and a checksum; how often it compiles
// and loads is what its schedule of faults counted.
#include "tests/unit/device_graphs.h"

#include "tests/unit/cache_folder.h"

typedef struct counts {
    char text[2048];
} counts_t;

static void on_log(void *user_data, weir_log_level_t level, const char *module, uint64_t request_id,
    const char *text)
{
    counts_t *counts = user_data;
    size_t used = strlen(counts->text);
    (void)level, (void)module, (void)request_id;
    if (strncmp(text, "chaos: fault ", 13) == 0)
        snprintf(counts->text + used, sizeof counts->text - used, "%s\n", text + 13);
}

static unsigned count_of(const counts_t *counts, const char *rule)
{
    const char *line = strstr(counts->text, rule);
    unsigned hit = 0, seen = 0;
    assert_non_null(line);
    line = strstr(line, " hit ");
    assert_int_equal(sscanf(line, " hit %u of %u", &hit, &seen), 2);
    return seen;
}

typedef struct made {
    unsigned compiled, loaded, saved;
    uint32_t programs, cached;
} made_t;

// One engine, as one process: plans the chain, runs it, and says what that took.
static made_t plan_once(const folder_t *folder, const char *options)
{
    counts_t counts = {.text = ""};
    char text[512];
    float x[2 * SIDE], y[2 * SIDE];
    snprintf(text, sizeof text,
        "chaos.refuse=Softmax,%s,chaos.faults=%scompile:slow=0:*;program_load:slow=0:*;"
        "program_save:slow=0:*",
        strstr(options, "fault=") ? "chaos.seed=1" : options,
        strstr(options, "fault=") ? options + strlen("fault=") : "");
    weir_engine_options_t known = {.size = sizeof known,
        .threads = 1,
        .plugin_path = WEIR_TEST_CHAOS,
        .plugin_options = text,
        .cache_dir = folder->cache_path,
        .log = on_log,
        .log_user_data = &counts,
        .log_level = WEIR_LOG_INFO};
    weir_plan_options_t wanted = {
        .size = sizeof wanted, .devices = "chaos,cpu", .placement = device_graphs[0].placement};
    world_t world = {.engine = NULL};
    message_t bytes = make_model(graph_chain(), 17);
    expect_ok(weir_engine_create(&known, &world.engine));
    expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
    free(bytes.data);
    expect_ok(weir_plan_create(world.model, &wanted, &world.plan));
    expect_ok(weir_session_create(world.plan, NULL, &world.session));
    weir_plan_info_t info = {.size = sizeof info};
    weir_plan_describe(world.plan, &info);
    fill_floats(x, 2 * SIDE, 1);
    weir_value_t in[] = {weir_f32(x, 2, 2, SIDE)}, out[] = {weir_f32_out(y, 2 * SIDE)};
    expect_ok(weir_session_run(world.session, NULL, 1, in, 1, out));
    world_close(&world);
    return (made_t){.compiled = count_of(&counts, "compile:"),
        .loaded = count_of(&counts, "program_load:slow=0:*"),
        .saved = count_of(&counts, "program_save:"),
        .programs = info.program_count,
        .cached = info.program_cached_count};
}

// Goal:   the second process compiles nothing; another arch's options, or a build of other kernels,
//         never meet what the first one kept.
static void programs_are_kept(void **state)
{
    const folder_t *folder = *state;
    made_t first = plan_once(folder, "chaos.seed=1");
    assert_int_equal(first.programs, 2);
    assert_int_equal(first.cached, 0);
    assert_int_equal(first.compiled, 2);
    assert_int_equal(first.loaded, 0);
    assert_int_equal(first.saved, 4); // how much it is, then what it is
    made_t again = plan_once(folder, "chaos.seed=1");
    assert_int_equal(again.cached, 2);
    assert_int_equal(again.compiled, 0);
    assert_int_equal(again.loaded, 2);
    assert_int_equal(again.saved, 0);
    made_t other = plan_once(folder, "chaos.own_constants=1");
    assert_int_equal(other.cached, 0);
    assert_int_equal(other.compiled, 2);
}

// Goal:   what the device refuses, or cannot load, is compiled as if it were not there and kept
//         anew; what cannot be kept is no error.
static void refused_artifacts_are_made_again(void **state)
{
    const folder_t *folder = *state;
    (void)plan_once(folder, "fault=artifact_check:fail=12:3;");
    made_t stale = plan_once(folder, "fault=artifact_check:fail=12:1;");
    assert_int_equal(stale.compiled, 2); // the options are part of the key
    made_t refused = plan_once(folder, "fault=artifact_check:fail=12:1;");
    assert_int_equal(refused.compiled, 1);
    assert_int_equal(refused.cached, 1);
    assert_int_equal(refused.saved, 2);
    (void)plan_once(folder, "fault=program_load:fail:2;");
    made_t broken = plan_once(folder, "fault=program_load:fail:2;");
    assert_int_equal(broken.compiled, 1);
    assert_int_equal(broken.cached, 1);
    made_t unsaved = plan_once(folder, "fault=program_save:oom:2;");
    assert_int_equal(unsaved.compiled, 2);
    made_t after = plan_once(folder, "fault=program_save:oom:2;");
    assert_int_equal(after.cached, 1);
    assert_int_equal(after.compiled, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(programs_are_kept, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(
            refused_artifacts_are_made_again, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
