// tests/unit/teams_test.c: an engine with several teams: where runs are computed, and with which
// bits.
//
// Labels: threads
#include "tests/unit/engine_world.h"

#include "engine/base/quota.h"
#include <dirent.h>
#include <sched.h>

enum { SIDE = 48 };

// y = Softmax(Relu(x w) w).
static message_t make_products(void)
{
    static const int64_t dims[] = {SIDE, SIDE};
    static float w[SIDE * SIDE];
    message_t graph = {0};
    fill_floats(w, SIDE * SIDE, 3);
    add_input(&graph, "x", 1, "N,48");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Relu", "relu", "a", "b", (message_t){0});
    add_node(&graph, "MatMul", "second", "b,w", "c", (message_t){0});
    add_node(&graph, "Softmax", "softmax", "c", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

typedef struct machine {
    size_t first, last; // CPUs that this process may use
    char texts[2][24];
    weir_team_options_t teams[2];
} machine_t;

static machine_t two_teams(void)
{
    static machine_t machine;
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    machine.first = 0;
    while (!CPU_ISSET(machine.first, &set))
        machine.first++;
    machine.last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(machine.last, &set))
        machine.last--;
    snprintf(machine.texts[0], sizeof machine.texts[0], "%zu", machine.first);
    snprintf(machine.texts[1], sizeof machine.texts[1], "%zu", machine.last);
    for (int i = 0; i < 2; i++)
        machine.teams[i] = (weir_team_options_t){.cpus = machine.texts[i]};
    return machine;
}

static weir_status_t make_engine(
    const weir_team_options_t *teams, uint32_t count, weir_engine_t **out_engine)
{
    weir_engine_options_t options = {.size = sizeof options,
        .plugin_path = "",
        .cache_dir = "",
        .teams = teams,
        .team_count = count};
    return weir_engine_create(&options, out_engine);
}

typedef struct end {
    atomic_uint done;
    weir_code_t code;
    cpu_set_t mask; // of the thread that made the last step
} end_t;

static void note_end(void *user_data, weir_status_t status)
{
    end_t *end = user_data;
    end->code = weir_status_code(status);
    weir_status_free(status);
    sched_getaffinity(0, sizeof end->mask, &end->mask);
    atomic_store(&end->done, 1);
}

static void run_started(weir_session_t *session, const weir_run_options_t *options,
    weir_value_t *in, weir_value_t *out, end_t *end)
{
    *end = (end_t){.code = WEIR_INTERNAL};
    expect_ok(weir_session_start(session, options, 1, in, 1, out, note_end, end));
    while (!atomic_load(&end->done))
        sched_yield();
    assert_int_equal(end->code, WEIR_OK);
}

// Goal:   a run that is started is computed by its session's team, on that team's CPUs, and has the
//         bits of every other team and number of threads.
// Method: two teams of a CPU each; the thread of the last step says where it may run.
static void runs_stay_with_their_team(void **state)
{
    (void)state;
    machine_t machine = two_teams();
    world_t world = {0};
    expect_ok(make_engine(machine.teams, 2, &world.engine));
    assert_int_equal(weir_engine_threads(world.engine), 2);
    assert_int_equal(weir_engine_team_threads(world.engine, 0), 1);
    assert_int_equal(weir_engine_team_threads(world.engine, 1), 1);
    assert_int_equal(weir_engine_team_threads(world.engine, 2), 0);
    message_t bytes = make_model(make_products(), 17);
    expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
    free(bytes.data);
    expect_ok(world_plan(&world, NULL));
    static float x[40 * SIDE], wanted[40 * SIDE], y[40 * SIDE];
    fill_floats(x, 40 * SIDE, 9);
    weir_value_t in = weir_f32(x, 2, 40, SIDE), out;
    for (uint32_t team = 0; team < 2; team++) {
        weir_session_options_t options = {.size = sizeof options, .team = team};
        weir_session_t *session;
        expect_ok(weir_session_create(world.plan, &options, &session));
        end_t end;
        out = weir_f32_out(team ? y : wanted, 40 * SIDE);
        run_started(session, NULL, &in, &out, &end);
        assert_int_equal(CPU_COUNT(&end.mask), 1);
        assert_true(CPU_ISSET(team ? machine.last : machine.first, &end.mask));
        // The blocking way: the caller works, with the team beside it.
        out = weir_f32_out(y, 40 * SIDE);
        expect_ok(weir_session_run(session, NULL, 1, &in, 1, &out));
        assert_memory_equal(y, wanted, sizeof y);
        weir_session_free(session);
    }
    weir_session_options_t third = {.size = sizeof third, .team = 2};
    expect_status(weir_session_create(world.plan, &third, &world.session), WEIR_NOT_FOUND,
        "team 2: the engine has 2, counted from 0");
    weir_plan_free(world.plan);
    weir_model_free(world.model);
    weir_engine_free(world.engine);
}

// Goal: a run may be told to take fewer threads than its session, never more, with the same bits.
static void a_run_takes_fewer_threads(void **state)
{
    (void)state;
    world_t world;
    world_options_t three = {.threads = 3};
    world_open(&world, make_products(), &three);
    static float x[64 * SIDE], wanted[64 * SIDE], y[64 * SIDE];
    fill_floats(x, 64 * SIDE, 4);
    weir_value_t in = weir_f32(x, 2, 64, SIDE), out = weir_f32_out(wanted, 64 * SIDE);
    expect_ok(weir_session_run(world.session, NULL, 1, &in, 1, &out));
    for (uint32_t threads = 1; threads <= 9; threads += 2) {
        weir_run_options_t options = {.size = sizeof options, .threads = threads};
        memset(y, 0, sizeof y);
        out = weir_f32_out(y, 64 * SIDE);
        expect_ok(weir_session_run(world.session, &options, 1, &in, 1, &out));
        assert_memory_equal(y, wanted, sizeof y);
        end_t end;
        out = weir_f32_out(y, 64 * SIDE);
        run_started(world.session, &options, &in, &out, &end);
        assert_memory_equal(y, wanted, sizeof y);
    }
    world_close(&world);
}

// Goal: what is no set of teams is refused with the reason, and nothing is left of the teams that
//       had been started.
static void wrong_teams_are_refused(void **state)
{
    (void)state;
    machine_t machine = two_teams();
    weir_engine_t *engine = NULL;
    weir_team_options_t none[] = {machine.teams[0], {.threads = 1}};
    expect_status(make_engine(none, 2, &engine), WEIR_INVALID_ARGUMENT, "team 1 has no cpus");
    weir_team_options_t absent[] = {machine.teams[0], {.cpus = "1023"}};
    expect_status(make_engine(absent, 2, &engine), WEIR_NOT_FOUND, "...CPUs \"1023\"");
    weir_team_options_t large[] = {machine.teams[0], {.cpus = machine.texts[0], .threads = 65}};
    expect_status(make_engine(large, 2, &engine), WEIR_INVALID_ARGUMENT, "...65 threads");
    expect_status(make_engine(NULL, 2, &engine), WEIR_INVALID_ARGUMENT, "...with their number");
    expect_status(
        make_engine(machine.teams, 0, &engine), WEIR_INVALID_ARGUMENT, "...with their number");
    expect_status(
        make_engine(machine.teams, WEIR_TEAMS_MAX + 1, &engine), WEIR_INVALID_ARGUMENT, "...257");
    weir_engine_options_t both = {
        .size = sizeof both, .threads = 2, .teams = machine.teams, .team_count = 2};
    expect_status(
        weir_engine_create(&both, &engine), WEIR_INVALID_ARGUMENT, "...without threads and cpus");
    assert_null(engine);
}

// Goal: teams of given sizes have them, whatever the CPUs; the others what the quota leaves.
static void teams_have_their_threads(void **state)
{
    (void)state;
    machine_t machine = two_teams();
    machine.teams[0].threads = 3;
    weir_engine_t *engine;
    expect_ok(make_engine(machine.teams, 2, &engine));
    assert_int_equal(weir_engine_team_threads(engine, 0), 3);
    assert_int_equal(weir_engine_team_threads(engine, 1), 1); // never none
    assert_int_equal(weir_engine_threads(engine), 4);
    weir_engine_free(engine);
    assert_int_equal(weir_quota_read("/nowhere"), 0);
    assert_int_equal(weir_quota_read(""), weir__quota_milli(""));
}

// The CPUs that the first thread of this name may run on; none when there is no such thread.
static cpu_set_t mask_of(const char *name)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    DIR *tasks = opendir("/proc/self/task");
    assert_non_null(tasks);
    for (struct dirent *task; (task = readdir(tasks)) != NULL;) {
        char path[300], text[32] = "";
        snprintf(path, sizeof path, "/proc/self/task/%s/comm", task->d_name);
        FILE *file = fopen(path, "re");
        if (file && fgets(text, sizeof text, file) && strncmp(text, name, strlen(name)) == 0)
            assert_int_equal(sched_getaffinity(atoi(task->d_name), sizeof set, &set), 0);
        if (file)
            fclose(file);
    }
    closedir(tasks);
    return set;
}

// Goal:   a device's helper thread runs where its feeder belongs, found by the device's address;
//         without one it runs where the process may.
// Method: the chaos device, which says that it is at "chaos:0", runs a model.
static void feeders_are_bound(void **state)
{
    (void)state;
    machine_t machine = two_teams();
    weir_feeder_options_t feeders[] = {{.pci = "0000:99:00.0", .cpus = machine.texts[0]},
        {.pci = "CHAOS:0", .cpus = machine.texts[1]}};
    cpu_set_t all;
    assert_int_equal(sched_getaffinity(0, sizeof all, &all), 0);
    for (uint32_t count = 1; count <= 2; count++) {
        world_t world = {0};
        weir_engine_options_t options = {.size = sizeof options,
            .threads = 1,
            .plugin_path = WEIR_TEST_CHAOS,
            .cache_dir = "",
            .feeders = feeders,
            .feeder_count = count};
        expect_ok(weir_engine_create(&options, &world.engine));
        message_t bytes = make_model(make_products(), 17);
        expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
        free(bytes.data);
        expect_ok(world_plan(&world, "chaos"));
        cpu_set_t mask = mask_of("weir-chaos");
        if (count == 1)
            assert_true(CPU_EQUAL(&mask, &all));
        else
            assert_true(CPU_COUNT(&mask) == 1 && CPU_ISSET(machine.last, &mask));
        weir_plan_free(world.plan);
        weir_model_free(world.model);
        weir_engine_free(world.engine);
    }
    weir_feeder_options_t wrong = {.pci = "chaos:0", .cpus = "1023"};
    weir_engine_options_t options = {
        .size = sizeof options, .plugin_path = "", .feeders = &wrong, .feeder_count = 1};
    weir_engine_t *engine;
    expect_status(weir_engine_create(&options, &engine), WEIR_NOT_FOUND, "...CPUs \"1023\"");
    wrong.pci = NULL;
    expect_status(weir_engine_create(&options, &engine), WEIR_INVALID_ARGUMENT,
        "feeder 0 has no address or no cpus");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_stay_with_their_team),
        cmocka_unit_test(a_run_takes_fewer_threads),
        cmocka_unit_test(wrong_teams_are_refused),
        cmocka_unit_test(teams_have_their_threads),
        cmocka_unit_test(feeders_are_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
