// tests/scheduler/loop_teams_test.c: instances over the teams of an engine.
//
// Two teams of one CPU each; on a machine with one CPU both are there.
#include "tests/scheduler/loop_calls.h"

#include "scheduler/loop/loop.h"
#include <sched.h>

enum { SIDE = 256, CALLS = 128, TEAMS = 2 };

// y = relu(x w) w: some tenths of a millisecond in plain C, so that requests wait for each other.
static message_t slow_graph(void)
{
    static const int64_t dims[] = {SIDE, SIDE};
    static float w[SIDE * SIDE];
    message_t graph = {0};
    for (int i = 0; i < SIDE * SIDE; i++)
        w[i] = (float)(i * 37 % 19 - 9) / 64;
    add_input(&graph, "x", 1, "N,256");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, sizeof w));
    add_node(&graph, "MatMul", "first", "x,w", "p", (message_t){0});
    add_node(&graph, "Relu", "relu", "p", "q", (message_t){0});
    add_node(&graph, "MatMul", "second", "q,w", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, "N,256");
    return graph;
}

static void open_teams(world_t *world, weir_loop_t loop)
{
    static char texts[TEAMS][24];
    weir_team_options_t teams[TEAMS];
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    size_t first = 0, last = CPU_SETSIZE - 1;
    while (!CPU_ISSET(first, &set))
        first++;
    while (!CPU_ISSET(last, &set))
        last--;
    for (int i = 0; i < TEAMS; i++) {
        snprintf(texts[i], sizeof texts[i], "%zu", i ? last : first);
        teams[i] = (weir_team_options_t){.cpus = texts[i]};
    }
    memset(world, 0, sizeof *world);
    weir_engine_options_t engine = {.size = sizeof engine,
        .plugin_path = "",
        .cache_dir = "",
        .teams = teams,
        .team_count = TEAMS};
    weir_scheduler_options_t options = {
        .size = sizeof options, .loop = loop, .log = world_log, .log_level = WEIR_LOG_DEBUG};
    expect_ok(weir_engine_create(&engine, &world->engine));
    world->model = world_load(world->engine, slow_graph());
    expect_ok(weir_plan_create(world->model, NULL, &world->plan));
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    expect_ok(weir_scheduler_create(world->engine, &options, &world->scheduler));
}

static uint32_t seats_on(const world_t *world, uint32_t team)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < world->scheduler->limits.instance_count; i++) {
        const weir__instance_t *instance = &world->scheduler->instances[i];
        count += atomic_load(&instance->served) != NULL && atomic_load(&instance->team) == team;
    }
    return count;
}

typedef struct asked {
    float x[SIDE], y[SIDE], wanted[SIDE];
    weir_value_t in, out;
    atomic_int busy;
    bool is_answered;
} asked_t;

static asked_t calls[CALLS];

static void on_end(const weir_event_t *event, void *user_data)
{
    asked_t *call = user_data;
    call->is_answered = !event->status;
    atomic_store(&call->busy, 0);
}

static void prepare(world_t *world)
{
    for (int c = 0; c < CALLS; c++) {
        for (int i = 0; i < SIDE; i++)
            calls[c].x[i] = (float)((c * 31 + i * 17) % 101) / 64 - 1;
        calls[c].in = weir_f32(calls[c].x, 2, (int64_t)1, (int64_t)SIDE);
        weir_value_t out = weir_f32_out(calls[c].wanted, SIDE);
        expect_ok(weir_session_run(world->session, NULL, 1, &calls[c].in, 1, &out));
        atomic_store(&calls[c].busy, 0);
    }
}

static void ask(world_t *world, asked_t *call, const char *model)
{
    memset(call->y, 0, sizeof call->y);
    call->out = weir_f32_out(call->y, SIDE);
    call->is_answered = false;
    atomic_store(&call->busy, 1);
    weir_request_t request = {.size = sizeof request,
        .model = model,
        .inputs = &call->in,
        .outputs = &call->out,
        .input_count = 1,
        .output_count = 1};
    expect_ok(weir_submit(world->scheduler, &request, NULL, on_end, call));
}

static void await_all(void)
{
    for (int c = 0; c < CALLS; c++)
        while (atomic_load(&calls[c].busy))
            sched_yield();
}

static const weir_serving_options_t one_row = {
    .size = sizeof(weir_serving_options_t), .batching = WEIR_BATCHING_OFF};

// Goal:   a model's instances are on different teams, models that have one each too; all of them
//         work, and an answer has the bits of a run alone.
static void instances_are_spread(void **state)
{
    (void)state;
    world_t world;
    open_teams(&world, WEIR_LOOP_OWN);
    weir_serving_options_t two = one_row;
    two.instances_min = 2;
    expect_ok(weir_scheduler_add(world.scheduler, "both", "1.0.0", world.model, &two));
    for (uint32_t team = 0; team < TEAMS; team++)
        assert_int_equal(seats_on(&world, team), 1);
    expect_ok(weir_scheduler_add(world.scheduler, "one", "1.0.0", world.model, &one_row));
    expect_ok(weir_scheduler_add(world.scheduler, "other", "1.0.0", world.model, &one_row));
    for (uint32_t team = 0; team < TEAMS; team++)
        assert_int_equal(seats_on(&world, team), 2);
    prepare(&world);
    static const char *const names[] = {"both", "both", "one", "other"};
    for (int c = 0; c < CALLS; c++)
        ask(&world, &calls[c], names[c % 4]);
    await_all();
    expect_ok(weir_drain(world.scheduler, 0, NULL, NULL));
    for (int c = 0; c < CALLS; c++) {
        assert_true(calls[c].is_answered);
        assert_memory_equal(calls[c].y, calls[c].wanted, sizeof calls[c].y);
    }
    for (uint32_t i = 0; i < world.scheduler->limits.instance_count; i++)
        if (atomic_load(&world.scheduler->instances[i].served))
            assert_true(world.scheduler->instances[i].batch != 0); // it has run something
    world_close(&world);
}

// What the core does when it asks for an instance; when it does, core_test.c shows.
static void want_one_more(world_t *world)
{
    world->scheduler->models[0].wants_up = true;
    world->scheduler->chores = true;
    weir_scheduler_poll(world->scheduler);
}

// Goal: a model that nobody gave numbers of instances grows to one on each team when the core asks,
//       and not further; one with numbers keeps to them.
static void traffic_spreads_a_model(void **state)
{
    (void)state;
    for (uint32_t most = 0; most < 2; most++) {
        world_t world;
        open_teams(&world, WEIR_LOOP_POLLED);
        weir_serving_options_t options = one_row;
        options.instances_max = most;
        expect_ok(weir_scheduler_add(world.scheduler, "rows", "1.0.0", world.model, &options));
        weir_scheduler_poll(world.scheduler);
        const weir__served_t *served = &world.scheduler->models[0];
        assert_int_equal(served->instance_count, 1);
        want_one_more(&world);
        // It is being made, or has been already.
        assert_int_equal(served->making_count + served->instance_count, most ? 1 : 2);
        struct pollfd fd = {.fd = weir_scheduler_fd(world.scheduler), .events = POLLIN};
        while (!most && served->instance_count < TEAMS) {
            assert_true(poll(&fd, 1, 60000) > 0);
            weir_scheduler_poll(world.scheduler);
        }
        for (uint32_t team = 0; !most && team < TEAMS; team++)
            assert_int_equal(seats_on(&world, team), 1);
        want_one_more(&world);
        assert_int_equal(served->making_count, 0);
        world_close(&world);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(instances_are_spread),
        cmocka_unit_test(traffic_spreads_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
