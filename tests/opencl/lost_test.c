// tests/opencl/lost_test.c: two parts of an OpenCL device and the CPU under load; one is taken
// away.
//
// Goal:   nothing is lost and nothing answered twice: every request ends OK with the CPU's values,
//         and the part works again afterwards.
// Method: the plugin's option lose_after makes the second part be lost with its 40th launch, while
//         requests keep all three busy. Receipts say where each one ran. Without PoCL, or with one
//         processor, which has no two parts, the test says so and is skipped.
#include "tests/opencl/device_world.h"
#include "tests/scheduler/loop_calls.h"

#include <math.h>
#include <sched.h>

#define POCL "opencl.platform=Portable" // other devices may have no parts

enum { CALLS = 32, ROWS = 4 };

static const char *const places[] = {"opencl", "opencl:1", "cpu"};

typedef struct tally {
    atomic_int ended, wrong, on[3];
} tally_t;

static atomic_int losses;

static void note_loss(void *user_data, weir_log_level_t level, const char *module,
    uint64_t request_id, const char *text)
{
    if (strcmp(module, "device") == 0 && strstr(text, "opencl:1 was lost"))
        atomic_fetch_add(&losses, 1);
    world_log(user_data, level, module, request_id, text);
}

typedef struct part_call {
    call_t call;
    tally_t *tally;
    float wanted[WORLD_OUT * ROWS];
    atomic_int busy, finals;
    int submitted;
} part_call_t;

static bool is_near(const part_call_t *it)
{
    for (int64_t i = 0; i < it->call.in.dims[0] * WORLD_OUT; i++)
        if (!(fabsf(it->call.y[i] - it->wanted[i]) <= 1e-5f))
            return false;
    return true;
}

static void note_answer(const weir_event_t *event, void *user_data)
{
    part_call_t *it = user_data;
    tally_t *tally = it->tally;
    if (event->status || !is_near(it)) {
        fprintf(stderr, "%s on %s\n", weir_status_text(event->status), event->receipt.device);
        atomic_fetch_add(&tally->wrong, 1);
    }
    for (int i = 0; i < 3; i++)
        atomic_fetch_add(&tally->on[i], strcmp(event->receipt.device, places[i]) == 0);
    atomic_fetch_add(&it->finals, 1);
    atomic_fetch_add(&tally->ended, 1);
    atomic_store(&it->busy, 0);
}

// Is there a device that can be divided? false: says why not.
static bool has_parts(void)
{
    world_t whole;
    if (!open_world(&whole, rows_graph(), POCL, "opencl"))
        return false;
    world_close(&whole);
    cpu_set_t usable;
    CPU_ZERO(&usable);
    assert_int_equal(sched_getaffinity(0, sizeof usable, &usable), 0);
    if (CPU_COUNT(&usable) >= 2)
        return true;
    fprintf(stderr, "skipped: one processor\n");
    had_device = false; // none of use
    lacks_device = true;
    return false;
}

static void open_parts(world_t *world, const char *options)
{
    weir_plan_t *plan = NULL;
    memset(world, 0, sizeof *world);
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 2,
        .plugin_path = WEIR_TEST_OPENCL,
        .plugin_options = options,
        .log = note_loss,
        .log_level = WEIR_LOG_WARNING,
        .cache_dir = ""};
    expect_ok(weir_engine_create(&engine, &world->engine));
    world->model = world_load(world->engine, rows_graph());
    weir_plan_options_t there = {.size = sizeof there, .devices = "opencl:1"};
    expect_ok(weir_plan_create(world->model, &there, &plan));
    weir_plan_free(plan);
    weir_plan_options_t host = {.size = sizeof host, .devices = "cpu"};
    expect_ok(weir_plan_create(world->model, &host, &world->plan));
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    expect_ok(weir_scheduler_create(world->engine,
        &(weir_scheduler_options_t){.size = sizeof(weir_scheduler_options_t),
            .log = world_log,
            .log_level = WEIR_LOG_DEBUG},
        &world->scheduler));
    world_add(world, &(weir_serving_options_t){.size = sizeof(weir_serving_options_t),
                         .max_batch = ROWS,
                         .batching = WEIR_BATCHING_ON,
                         .devices = "opencl,opencl:1,cpu"});
}

static part_call_t calls[CALLS];

static void give(world_t *world, tally_t *tally, int number, part_call_t *it)
{
    memset(it->wanted, 0, sizeof it->wanted);
    weir_request_t request = request_of(&it->call, (uint32_t)number, 1 + (uint32_t)number % ROWS);
    weir_value_t out = weir_f32_out(it->wanted, WORLD_OUT * ROWS);
    expect_ok(weir_session_run(world->session, NULL, 1, &it->call.in, 1, &out));
    it->tally = tally;
    it->submitted++;
    atomic_store(&it->busy, 1);
    expect_ok(weir_submit(world->scheduler, &request, NULL, note_answer, it));
}

// Keeps all calls busy until `goal` more were given, and waits for them.
static void load_parts(world_t *world, tally_t *tally, int goal)
{
    for (int given = 0; given < goal;)
        for (uint32_t i = 0; i < CALLS && given < goal; i++)
            if (!atomic_load(&calls[i].busy))
                give(world, tally, given++, &calls[i]);
    for (uint32_t i = 0; i < CALLS; i++)
        while (atomic_load(&calls[i].busy))
            sched_yield();
}

static void load_until(world_t *world, tally_t *tally, atomic_int *count, int before)
{
    uint64_t until_ns = weir_now_ns() + 60000 * WEIR_MS;
    while (atomic_load(count) == before && weir_now_ns() < until_ns)
        load_parts(world, tally, CALLS);
    assert_true(atomic_load(count) > before);
}

static void a_part_that_is_taken_away_loses_nothing(void **state)
{
    (void)state;
    world_t world;
    tally_t tally = {0};
    if (!has_parts())
        skip();
    open_parts(&world, POCL ",opencl.sub_devices=2,opencl.lose_device=1,opencl.lose_after=40");
    load_parts(&world, &tally, 3000);
    load_until(&world, &tally, &losses, 0);
    for (int i = 0; i < 3; i++) // the one that was lost among them
        load_until(&world, &tally, &tally.on[i], atomic_load(&tally.on[i]));
    int ended = atomic_load(&tally.ended), submitted = 0;
    weir_scheduler_free(world.scheduler);
    world.scheduler = NULL;
    for (uint32_t i = 0; i < CALLS; i++) {
        assert_int_equal(atomic_load(&calls[i].finals), calls[i].submitted);
        submitted += calls[i].submitted;
    }
    assert_int_equal(ended, submitted);
    assert_int_equal(atomic_load(&tally.wrong), 0);
    fprintf(stderr, "%d requests: %d on opencl, %d on opencl:1, %d on cpu\n", ended,
        atomic_load(&tally.on[0]), atomic_load(&tally.on[1]), atomic_load(&tally.on[2]));
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_part_that_is_taken_away_loses_nothing),
    };
    return world_code(cmocka_run_group_tests(tests, NULL, NULL));
}
