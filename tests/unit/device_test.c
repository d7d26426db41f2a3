// tests/unit/device_test.c: devices with memory of their own, in every form that the contract
// knows.
//
// The device is backends/chaos over the kernels of the CPU plugin, so that what it answers is
// known: what the CPU answers for the same plan. It counts what the engine does against the
// contract, and each world counts what is left. Labels: threads Timeout: 120
#include "tests/unit/device_graphs.h"

#include <pthread.h>

#define OUTPUTS_MAX 4
#define ROWS_MAX 24

static weir_status_t plan_chaos(
    world_t *world, const device_graph_t *graph, const char *devices, bool is_placed)
{
    weir_plan_options_t plan = {
        .size = sizeof plan, .devices = devices, .placement = is_placed ? graph->placement : NULL};
    return weir_plan_create(world->model, &plan, &world->plan);
}

static void open_model(world_t *world, const device_graph_t *graph, const char *options)
{
    world_options_t known = {.plugin_path = WEIR_TEST_CHAOS, .plugin_options = options};
    message_t bytes = make_model(graph->make(), 17);
    expect_ok(world_engine(world, &known));
    expect_ok(weir_model_load_bytes(world->engine, bytes.data, bytes.count, NULL, &world->model));
    free(bytes.data);
}

static void open_chaos(
    world_t *world, const device_graph_t *graph, const char *options, const char *devices)
{
    bool refuses = options && strstr(options, "MatMul");
    open_model(world, graph, options);
    expect_ok(plan_chaos(world, graph, devices, !refuses && strchr(devices, ',')));
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
}

static void run_both(world_t *on, world_t *host, const device_graph_t *graph, int64_t rows,
    uint64_t seed, const char *label)
{
    float x[ROWS_MAX * SIDE];
    weir_value_t found[OUTPUTS_MAX], wanted[OUTPUTS_MAX];
    fill_floats(x, (size_t)rows * SIDE, seed);
    weir_value_t in[] = {weir_f32(x, 2, rows, SIDE)};
    world_run(host, 1, in, graph->output_count, wanted);
    world_run(on, 1, in, graph->output_count, found);
    for (size_t i = 0; i < graph->output_count; i++) {
        expect_dims(&found[i], wanted[i].rank, wanted[i].dims);
        const float *a = found[i].data, *b = wanted[i].data;
        for (size_t e = 0; e < weir_value_count(&wanted[i]); e++)
            if (!(fabsf(a[e] - b[e]) <= 1e-5f * (1 + fabsf(b[e]))))
                fail_msg("%s, %s, %d rows: output %zu, element %zu: %.9g, expected %.9g",
                    graph->name, label, (int)rows, i, e, (double)a[e], (double)b[e]);
    }
}

static const char *const forms[] = {
    "chaos.level=2",
    "chaos.level=1",
    "chaos.level=2,chaos.refuse=Softmax",
    "chaos.level=1,chaos.refuse=Softmax",
    "chaos.level=2,chaos.refuse=MatMul|Gather",
    "chaos.level=2,chaos.refuse=Softmax,chaos.pinned=0",
    "chaos.level=1,chaos.refuse=Softmax,chaos.pinned=0",
    "chaos.level=2,chaos.refuse=Softmax,chaos.own_constants=1",
    "chaos.level=2,chaos.refuse=Softmax,chaos.claim=1",
    "chaos.level=2,chaos.refuse=Softmax,chaos.host_memory=1",
    "chaos.level=1,chaos.refuse=Softmax,chaos.host_memory=1",
    "chaos.level=2,chaos.refuse=Softmax,chaos.delay_us=200,chaos.jitter_us=300",
    "chaos.level=2,chaos.refuse=Softmax,chaos.replay=fixed",
    "chaos.level=2,chaos.refuse=Softmax,chaos.replay=none",
};
#define FORMS (sizeof forms / sizeof forms[0])

// Goal:   what a device computes is what the host computes, in each form of a device, for values
//         that cross in each way, for shapes that come, go and come again.
static void answers_are_right(void **state)
{
    (void)state;
    for (size_t g = 0; g < DEVICE_GRAPHS; g++)
        for (size_t f = 0; f < FORMS; f++) {
            world_t on, host;
            open_chaos(&on, &device_graphs[g], forms[f], "chaos,cpu");
            open_chaos(&host, &device_graphs[g], NULL, "cpu");
            if (!strstr(forms[f], "MatMul"))
                assert_non_null(strstr(world_listing(&on, false), "@chaos"));
            for (uint64_t i = 0; i < 12; i++)
                run_both(&on, &host, &device_graphs[g],
                    (const int64_t[]){1, 5, ROWS_MAX, 2, 0, 7}[i % 6], i / 2, forms[f]);
            world_close(&on);
            world_close(&host);
        }
}

// Goal:   all kernels are the same and nothing is split: the same bits, not just close ones.
static void whole_plans_give_the_same_bits(void **state)
{
    (void)state;
    for (size_t g = 0; g < DEVICE_GRAPHS; g++) {
        world_t on, host;
        float x[5 * SIDE];
        weir_value_t found[OUTPUTS_MAX], wanted[OUTPUTS_MAX];
        fill_floats(x, 5 * SIDE, 21);
        weir_value_t in[] = {weir_f32(x, 2, 5, SIDE)};
        open_chaos(&on, &device_graphs[g], NULL, "chaos");
        open_chaos(&host, &device_graphs[g], NULL, "cpu");
        world_run(&on, 1, in, device_graphs[g].output_count, found);
        world_run(&host, 1, in, device_graphs[g].output_count, wanted);
        for (size_t i = 0; i < device_graphs[g].output_count; i++)
            assert_memory_equal(
                found[i].data, wanted[i].data, weir_value_count(&wanted[i]) * sizeof(float));
        world_close(&on);
        world_close(&host);
    }
}

// Goal:   a shape that was seen allocates nothing of the engine's, whatever it copies.
static void steady_runs_allocate_nothing(void **state)
{
    (void)state;
    world_t world;
    float x[2 * SIDE], y[2 * SIDE];
    // Node by node the device copies each node for its queue: only launches are counted.
    open_chaos(&world, &device_graphs[0], "chaos.refuse=Softmax,chaos.replay=none", "chaos,cpu");
    fill_floats(x, 2 * SIDE, 1);
    weir_value_t in[] = {weir_f32(x, 2, 2, SIDE)};
    long live = 0;
    for (int i = 0; i < 50; i++) {
        weir_value_t out[] = {weir_f32_out(y, 2 * SIDE)};
        expect_ok(weir_session_run(world.session, NULL, 1, in, 1, out));
        if (i == 10)
            live = atomic_load(&world.live);
    }
    // Some tensors of the device, and the copies of some; none is more than `y`.
    uint64_t bytes = world_info(&world).device_bytes;
    assert_true(bytes >= 4 * sizeof y && bytes < 64 * 1024);
    // An entry that was just answered may be on its way back.
    assert_true(atomic_load(&world.live) <= live + 4);
    world_close(&world);
}

// Goal:   constants go to the device once for a plan, however many sessions and shapes there are,
//         and not at all when its programs have their own.
static void constants_are_shared(void **state)
{
    (void)state;
    for (int own = 0; own < 2; own++) {
        world_t world;
        open_chaos(&world, &device_graphs[0], own ? "chaos.own_constants=1" : NULL, "chaos,cpu");
        weir_plan_info_t info = {.size = sizeof info};
        weir_plan_describe(world.plan, &info);
        // Two matrices, as they are packed.
        if (own)
            assert_int_equal(info.resident_bytes, 0);
        else
            assert_true(info.resident_bytes >= 2 * SIDE * SIDE * sizeof(float) &&
                        info.resident_bytes < 64 * 1024);
        world_close(&world);
    }
}

// Goal:   tensors go from device to device by each kind of edge, or through the host.
static void edges_are_right(void **state)
{
    (void)state;
    static const char *const edges[] = {"staged", "import", "native"};
    static const device_graph_t split[] = {
        {"chain", graph_chain, 1, "first=chaos;second=chaos:1"},
        {"shared", graph_shared, 3, "first=chaos;second=chaos:1;third=chaos"},
        {"views", graph_views, 3, "first=chaos:1;second=chaos;third=chaos:1"},
        {"branch", graph_branch, 1, "first=chaos;left=chaos:1;right=chaos;second=chaos:1"},
        {"sizes", graph_sizes, 2, "first=chaos;second=chaos:1;third=chaos;exp=chaos:1"},
    };
    for (size_t g = 0; g < sizeof split / sizeof split[0]; g++)
        for (size_t e = 0; e < 6; e++) {
            world_t on, host;
            char options[160];
            snprintf(options, sizeof options, "chaos.devices=2,chaos.level=%d,chaos.edge=%s%s",
                e % 2 ? 1 : 2, edges[e / 2], g % 2 ? ",chaos.delay_us=100" : "");
            open_chaos(&on, &split[g], options, "chaos,chaos:1,cpu");
            open_chaos(&host, &split[g], NULL, "cpu");
            assert_non_null(strstr(world_listing(&on, false), "@chaos:1"));
            for (uint64_t i = 0; i < 6; i++)
                run_both(&on, &host, &split[g], (const int64_t[]){2, 9, 1}[i % 3], i, options);
            world_close(&on);
            world_close(&host);
        }
}

typedef struct hits {
    char text[2048];
} hits_t;

// What the device says when it ends: how often each rule of its schedule was met.
static void on_log(void *user_data, weir_log_level_t level, const char *module, uint64_t request_id,
    const char *text)
{
    hits_t *hits = user_data;
    (void)level, (void)module, (void)request_id;
    if (strncmp(text, "chaos: ", 7) == 0)
        snprintf(
            hits->text + strlen(hits->text), sizeof hits->text - strlen(hits->text), "%s\n", text);
}

// Goal:   launches that come again and again are recorded, once for each session, in the
//         background; what is launched with a recording is right; other addresses are noticed.
static void popular_launches_are_recorded(void **state)
{
    (void)state;
    for (int fixed = 0; fixed < 2; fixed++) {
        world_t host;
        hits_t hits = {.text = ""};
        char options[160];
        float x[16 * SIDE], y[16 * SIDE], wanted[16 * SIDE];
        snprintf(options, sizeof options,
            "chaos.replay=%s,chaos.refuse=Softmax,chaos.faults=record:slow=1:*",
            fixed ? "fixed" : "rebind");
        weir_engine_options_t known = {.size = sizeof known,
            .threads = 2,
            .plugin_path = WEIR_TEST_CHAOS,
            .plugin_options = options,
            .cache_dir = "",
            .log = on_log,
            .log_user_data = &hits,
            .log_level = WEIR_LOG_DEBUG};
        world_t world = {.engine = NULL};
        message_t bytes = make_model(graph_chain(), 17);
        expect_ok(weir_engine_create(&known, &world.engine));
        expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
        free(bytes.data);
        expect_ok(plan_chaos(&world, &device_graphs[0], "chaos,cpu", true));
        expect_ok(weir_session_create(world.plan, NULL, &world.session));
        open_chaos(&host, &device_graphs[0], NULL, "cpu");
        for (uint64_t i = 0; i < 600; i++) {
            int64_t rows = i < 500 ? 2 : 2 + (int64_t)(i % 5); // these make the memory grow
            fill_floats(x, (size_t)rows * SIDE, i);
            weir_value_t in[] = {weir_f32(x, 2, rows, SIDE)};
            weir_value_t out[] = {weir_f32_out(y, 16 * SIDE)};
            weir_value_t out2[] = {weir_f32_out(wanted, 16 * SIDE)};
            expect_ok(weir_session_run(world.session, NULL, 1, in, 1, out));
            expect_ok(weir_session_run(host.session, NULL, 1, in, 1, out2));
            for (size_t e = 0; e < (size_t)rows * SIDE; e++)
                assert_true(fabsf(y[e] - wanted[e]) <= 1e-5f * (1 + fabsf(wanted[e])));
        }
        world_close(&host);
        world_close(&world);
        unsigned hit = 0;
        const char *rule = strstr(hits.text, "record:slow=1:* hit ");
        assert_non_null(rule);
        assert_int_equal(sscanf(rule, "record:slow=1:* hit %u", &hit), 1);
        assert_true(hit >= 2 && hit < 60); // two launches, for some shapes
        assert_non_null(strstr(hits.text, " 0 misuses"));
    }
}

// Goal:   a profiled run shows what the device did inside its launches, in our time though its
//         clock has another offset and another pace.
static void profiles_show_what_devices_did(void **state)
{
    (void)state;
    for (int level = 1; level <= 2; level++) {
        world_t world;
        char options[96];
        float x[2 * SIDE], y[2 * SIDE];
        snprintf(options, sizeof options, "chaos.refuse=Softmax,chaos.delay_us=2000,chaos.level=%d",
            level);
        open_chaos(&world, &device_graphs[0], options, "chaos,cpu");
        fill_floats(x, 2 * SIDE, 1);
        weir_run_options_t profiled = {.size = sizeof profiled, .profile_level = 1};
        for (int i = 0; i < 3; i++) {
            weir_value_t in[] = {weir_f32(x, 2, 2, SIDE)}, out[] = {weir_f32_out(y, 2 * SIDE)};
            uint64_t before_ns = weir_now_ns();
            expect_ok(weir_session_run(world.session, &profiled, 1, in, 1, out));
            uint64_t after_ns = weir_now_ns();
            weir_profile_node_t node = {.size = sizeof node};
            uint32_t count = 0;
            char seen[256] = "";
            for (; weir_session_profile_node(world.session, count, &node); count++) {
                weir_profile_step_t step = {.size = sizeof step};
                assert_int_equal(weir_session_profile(world.session, node.step, &step), 1);
                assert_string_equal(step.op, "Program");
                assert_non_null(strstr(step.origins, node.origins));
                assert_true(node.start_ns + 1000000 >= before_ns);
                assert_true(node.start_ns + node.duration_ns <= after_ns + 1000000);
                assert_true(node.start_ns >= step.start_ns + 1000000); // the device's delay
                strcat(seen, node.op);
                strcat(seen, " ");
            }
            assert_string_equal(seen, "MatMul MatMul ");
            assert_int_equal(weir_session_profile_dropped(world.session), 0);
        }
        weir_value_t in[] = {weir_f32(x, 2, 2, SIDE)}, out[] = {weir_f32_out(y, 2 * SIDE)};
        weir_profile_node_t node = {.size = sizeof node};
        expect_ok(weir_session_run(world.session, NULL, 1, in, 1, out));
        assert_int_equal(weir_session_profile_node(world.session, 0, &node), 0);
        world_close(&world);
    }
}

// ---- Faults
// --------------------------------------------------------------------------------------

static weir_status_t run_once(world_t *world, const float *x, float *y)
{
    weir_value_t in[] = {weir_f32(x, 2, 2, SIDE)}, out[] = {weir_f32_out(y, 2 * SIDE)};
    return weir_session_run(world->session, NULL, 1, in, 1, out);
}

// What the host alone answers.
static void expect_chain(const float *x, const float *y)
{
    world_t host;
    float wanted[2 * SIDE];
    open_chaos(&host, &device_graphs[0], NULL, "cpu");
    expect_ok(run_once(&host, x, wanted));
    for (size_t i = 0; i < 2 * SIDE; i++)
        assert_true(fabsf(y[i] - wanted[i]) <= 1e-5f * (1 + fabsf(wanted[i])));
    world_close(&host);
}

// Goal:   an operation that is refused, or fails, ends its run with the device's name and reason
//         and no other; the next run of the same session is right.
static void failures_pass(void **state)
{
    (void)state;
    static const char *const faults[] = {
        "copy:oom:2", // 1 is of the constants
        "copy:fail:3",
        "launch:oom:1",
        "launch:fail:2",
        "run:fail:1",
        "run:fail:2",
        "copied:fail:2",
        "copied:oom:3",
        "run:double:*",
        "copied:double:*",
        "specialize:oom:1",
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        world_t world;
        char options[128];
        float x[2 * SIDE], y[2 * SIDE];
        fill_floats(x, 2 * SIDE, 5);
        snprintf(options, sizeof options, "chaos.refuse=Softmax,chaos.delay_us=300,chaos.faults=%s",
            faults[i]);
        open_chaos(&world, &device_graphs[0], options, "chaos,cpu");
        weir_status_t status = run_once(&world, x, y);
        if (strstr(faults[i], "double")) {
            expect_ok(status);
        } else {
            weir_code_t code = weir_status_code(status);
            if (code != (strstr(faults[i], "oom") ? WEIR_RESOURCE_EXHAUSTED : WEIR_INTERNAL) ||
                !strstr(weir_status_message(status), "device \"chaos\": "))
                fail_msg("%s: %s", faults[i], weir_status_text(status));
            weir_status_free(status);
        }
        for (int again = 0; again < 3; again++) {
            memset(y, 0, sizeof y);
            expect_ok(run_once(&world, x, y));
            expect_chain(x, y);
        }
        world_close(&world);
    }
}

// Goal:   no memory on the device, at whatever allocation: a plan, a session or a run ends with
//         RESOURCE_EXHAUSTED; what was made is given back; the next attempt succeeds.
static void out_of_memory_passes(void **state)
{
    (void)state;
    for (int n = 1; n <= 6; n++) {
        world_t world;
        char options[128];
        float x[2 * SIDE], y[2 * SIDE];
        fill_floats(x, 2 * SIDE, 5);
        snprintf(options, sizeof options, "chaos.refuse=Softmax,chaos.faults=alloc:oom:%d", n);
        open_model(&world, &device_graphs[0], options);
        int refused = 0;
        weir_status_t status = plan_chaos(&world, &device_graphs[0], "chaos,cpu", true);
        if (status) {
            refused++;
            expect_status(status, WEIR_RESOURCE_EXHAUSTED, "...device \"chaos\": alloc");
            expect_ok(plan_chaos(&world, &device_graphs[0], "chaos,cpu", true));
        }
        expect_ok(weir_session_create(world.plan, NULL, &world.session));
        status = run_once(&world, x, y);
        if (status) {
            refused++;
            expect_status(status, WEIR_RESOURCE_EXHAUSTED, "...device \"chaos\": alloc");
            expect_ok(run_once(&world, x, y));
        }
        expect_chain(x, y);
        assert_int_equal(refused, n <= 4); // constants and their staging, arena and staging
        world_close(&world);
    }
}

// Plan, session and a run, of which the `nth` allocation fails. true: it was met.
static bool fail_allocation(const char *options, long nth)
{
    world_t world;
    float x[2 * SIDE], y[2 * SIDE];
    fill_floats(x, 2 * SIDE, 5);
    open_model(&world, &device_graphs[4], options);
    atomic_store(&world.failing_in, nth);
    weir_status_t status = plan_chaos(&world, &device_graphs[4], "chaos,cpu", true);
    if (!status)
        status = weir_session_create(world.plan, NULL, &world.session);
    if (!status)
        status = run_once(&world, x, y);
    bool met = atomic_load(&world.failing_in) <= 0;
    atomic_store(&world.failing_in, 0);
    if (status)
        assert_int_equal(weir_status_code(status), WEIR_RESOURCE_EXHAUSTED);
    weir_status_free(status);
    if (!world.plan)
        expect_ok(plan_chaos(&world, &device_graphs[4], "chaos,cpu", true));
    if (!world.session)
        expect_ok(weir_session_create(world.plan, NULL, &world.session));
    expect_ok(run_once(&world, x, y));
    world_close(&world);
    return met;
}

// Goal:   no memory for the engine, or for the device's own, at whatever allocation: an error that
//         says so, nothing left, and the next attempt succeeds.
static void every_allocation_may_fail(void **state)
{
    (void)state;
    static const char *const options[] = {"chaos.level=2", "chaos.level=1", "chaos.pinned=0"};
    for (size_t o = 0; o < sizeof options / sizeof options[0]; o++) {
        long nth = 1;
        while (fail_allocation(options[o], nth))
            nth++;
        assert_true(nth > 50);
    }
}

// Goal:   a lost device ends its runs, refuses what is asked of it, leaves others alone; reopened,
//         it takes new plans, and what was made before goes without harm.
static void a_lost_device_comes_back(void **state)
{
    (void)state;
    static const char *const faults[] = {
        "launch:lost:2", "run:lost:1", "copied:lost:2", "copy:lost:2", "run:lost:2"};
    for (size_t i = 0; i < 2 * sizeof faults / sizeof faults[0]; i++) {
        world_t world;
        char options[128];
        float x[2 * SIDE], y[2 * SIDE];
        fill_floats(x, 2 * SIDE, 5);
        // Node by node there is no launch; what fails is then the run.
        const char *fault = faults[i / 2];
        bool stepwise = i % 2 && !strstr(fault, "launch");
        snprintf(options, sizeof options, "chaos.refuse=Softmax,chaos.level=%d,chaos.faults=%s",
            stepwise ? 1 : 2, fault);
        open_chaos(&world, &device_graphs[0], options, "chaos,cpu");
        expect_status(run_once(&world, x, y), WEIR_DEVICE_LOST, "...device \"chaos\"");
        expect_status(run_once(&world, x, y), WEIR_DEVICE_LOST, "...device \"chaos\" was lost");
        weir_plan_t *before = world.plan;
        expect_status(
            world_plan(&world, "chaos"), WEIR_UNAVAILABLE, "...device \"chaos\" was lost");
        world.plan = before;
        world_t other = world; // the same engine without the device
        expect_ok(world_plan(&other, "cpu"));
        expect_ok(weir_session_create(other.plan, NULL, &other.session));
        expect_ok(run_once(&other, x, y));
        expect_chain(x, y);
        weir_session_free(other.session);
        weir_plan_free(other.plan);
        expect_ok(weir_device_reopen(world.engine, "chaos:0"));
        expect_status(
            run_once(&world, x, y), WEIR_DEVICE_LOST, "...was reopened after this plan was made");
        weir_session_free(world.session);
        weir_plan_free(world.plan);
        expect_ok(plan_chaos(&world, &device_graphs[0], "chaos,cpu", true));
        expect_ok(weir_session_create(world.plan, NULL, &world.session));
        memset(y, 0, sizeof y);
        expect_ok(run_once(&world, x, y));
        expect_chain(x, y);
        world_close(&world);
    }
}

// Goal:   a device that never answers costs a run its deadline and nothing else: all that it may
//         still touch stays until it is closed, and nothing is left then.
static void a_hanging_device_is_set_aside(void **state)
{
    (void)state;
    static const char *const faults[] = {"run:hang:1", "run:missing:2", "copied:hang:2",
        "copied:missing:3", "run:late=600:1", "copied:late=600:3"};
    for (size_t i = 0; i < 2 * sizeof faults / sizeof faults[0]; i++) {
        world_t world;
        char options[128];
        float x[2 * SIDE], y[2 * SIDE];
        fill_floats(x, 2 * SIDE, 5);
        snprintf(options, sizeof options, "chaos.refuse=Softmax,chaos.level=%d,chaos.faults=%s",
            i % 2 ? 1 : 2, faults[i / 2]);
        open_chaos(&world, &device_graphs[0], options, "chaos,cpu");
        weir_value_t in[] = {weir_f32(x, 2, 2, SIDE)}, out[] = {weir_f32_out(y, 2 * SIDE)};
        weir_run_options_t soon = {
            .size = sizeof soon, .deadline_ns = weir_now_ns() + 300 * WEIR_MS};
        weir_status_t status = weir_session_run(world.session, &soon, 1, in, 1, out);
        // An answer that is missing or late is covered by that of what came after it.
        if (!strstr(faults[i / 2], "hang") && !status)
            expect_chain(x, y);
        else
            expect_status(status, WEIR_DEADLINE_EXCEEDED, "...");
        weir_session_free(world.session);
        expect_ok(weir_session_create(world.plan, NULL, &world.session));
        memset(y, 0, sizeof y);
        expect_ok(run_once(&world, x, y));
        expect_chain(x, y);
        world_close(&world);
    }
}

// ---- Many at once
// --------------------------------------------------------------------------------

typedef struct crowd {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    int left;
} crowd_t;

typedef struct outcome {
    crowd_t *crowd;
    weir_status_t status;
} outcome_t;

static void on_done(void *user_data, weir_status_t status)
{
    outcome_t *outcome = user_data;
    outcome->status = status;
    pthread_mutex_lock(&outcome->crowd->lock);
    outcome->crowd->left--;
    pthread_cond_signal(&outcome->crowd->changed);
    pthread_mutex_unlock(&outcome->crowd->lock);
}

typedef struct user {
    float x[2 * SIDE];
    weir_session_t *session;
    weir_value_t in, out[OUTPUTS_MAX];
    outcome_t outcome;
} user_t;

// Sessions of one plan, all under way at once, on two threads.
static void check_crowd(const device_graph_t *graph, const char *options)
{
    enum { RUNS = 24 };
    static user_t users[RUNS];
    world_t world, host;
    crowd_t crowd = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, RUNS};
    open_chaos(&world, graph, options, "chaos,cpu");
    open_chaos(&host, graph, NULL, "cpu");
    for (int i = 0; i < RUNS; i++) {
        user_t *user = &users[i];
        fill_floats(user->x, 2 * SIDE, (uint64_t)i);
        user->in = weir_f32(user->x, 2, 2, SIDE);
        user->outcome = (outcome_t){.crowd = &crowd};
        for (size_t o = 0; o < graph->output_count; o++)
            user->out[o] = weir_view();
        expect_ok(weir_session_create(world.plan, NULL, &user->session));
        expect_ok(weir_session_start(user->session, NULL, 1, &user->in, graph->output_count,
            user->out, on_done, &user->outcome));
    }
    pthread_mutex_lock(&crowd.lock);
    while (crowd.left)
        pthread_cond_wait(&crowd.changed, &crowd.lock);
    pthread_mutex_unlock(&crowd.lock);
    for (int i = 0; i < RUNS; i++) {
        weir_value_t wanted[OUTPUTS_MAX];
        expect_ok(users[i].outcome.status);
        world_run(&host, 1, &users[i].in, graph->output_count, wanted);
        for (size_t o = 0; o < graph->output_count; o++)
            expect_floats(&users[i].out[o], weir_value_count(&wanted[o]), wanted[o].data, 1e-5f);
        weir_session_free(users[i].session);
    }
    world_close(&world);
    world_close(&host);
}

// Goal:   many sessions of a plan, each with copies, waits, branches and sizes of its own, which
//         they all specialize for at the same time, end right.
static void many_runs_at_once(void **state)
{
    (void)state;
    for (size_t g = 0; g < DEVICE_GRAPHS; g++)
        for (int level = 1; level <= 2; level++) {
            char options[128];
            snprintf(options, sizeof options,
                "chaos.refuse=Softmax,chaos.delay_us=300,chaos.level=%d", level);
            check_crowd(&device_graphs[g], options);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_right),
        cmocka_unit_test(whole_plans_give_the_same_bits),
        cmocka_unit_test(steady_runs_allocate_nothing),
        cmocka_unit_test(constants_are_shared),
        cmocka_unit_test(edges_are_right),
        cmocka_unit_test(popular_launches_are_recorded),
        cmocka_unit_test(profiles_show_what_devices_did),
        cmocka_unit_test(failures_pass),
        cmocka_unit_test(out_of_memory_passes),
        cmocka_unit_test(every_allocation_may_fail),
        cmocka_unit_test(a_lost_device_comes_back),
        cmocka_unit_test(a_hanging_device_is_set_aside),
        cmocka_unit_test(many_runs_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
