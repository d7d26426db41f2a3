// tests/unit/placement_test.c: what a plan's placement promises: units that no border cuts, places
// by request, costs that decide, and an answer to "why not there?" for each node and device.
//
// The devices: "chaos", which has memory of its own and the kernels of "cpu"; "picky", a few
// kernels on the host. Labels: threads
#include "tests/unit/cache_folder.h"
#include "tests/unit/device_graphs.h"

#include "engine/plan/place.h"

#define ROWS 5
#define PLUGINS WEIR_TEST_CHAOS ":" WORLD_PLUGINS

// Two products with an expression behind each, and Softmax with one in front of it.
static message_t make_blocks(void)
{
    message_t graph = start_device_graph();
    add_node(&graph, "MatMul", "one", "x,w", "a", (message_t){0});
    add_node(&graph, "Add", "one_add", "a,x", "b", (message_t){0});
    add_node(&graph, "Tanh", "one_tanh", "b", "c", (message_t){0});
    add_node(&graph, "MatMul", "two", "c,v", "d", (message_t){0});
    add_node(&graph, "Sigmoid", "two_sigmoid", "d", "e", (message_t){0});
    add_node(&graph, "Mul", "two_mul", "e,d", "f", (message_t){0});
    add_node(&graph, "Softmax", "soft", "f", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

static void open_model(world_t *world, message_t graph, const char *plugins, const char *cache_dir)
{
    memset(world, 0, sizeof *world);
    weir_allocator_t allocator = {.user_data = world, .alloc = world_alloc, .free = world_free};
    weir_engine_options_t engine = {.size = sizeof engine,
        .threads = 2,
        .plugin_path = plugins,
        .cache_dir = cache_dir ? cache_dir : "",
        .allocator = &allocator};
    message_t bytes = make_model(graph, 17);
    expect_ok(weir_engine_create(&engine, &world->engine));
    expect_ok(weir_model_load_bytes(world->engine, bytes.data, bytes.count, NULL, &world->model));
    free(bytes.data);
}

static weir_status_t make_plan(world_t *world, const char *devices, const char *placement)
{
    weir_plan_options_t options = {
        .size = sizeof options, .devices = devices, .placement = placement};
    return weir_plan_create(world->model, &options, &world->plan);
}

static void drop_plan(world_t *world)
{
    weir_session_free(world->session);
    weir_plan_free(world->plan);
    world->session = NULL;
    world->plan = NULL;
}

static void expect_listing(
    world_t *world, const char *devices, const char *placement, const char *listing)
{
    expect_ok(make_plan(world, devices, placement));
    if (strcmp(world_listing(world, false), listing) != 0)
        fail_msg("%s, %s: expected %s\n     got %s", devices, placement ? placement : "-", listing,
            world_listing(world, false));
}

static void run_world(world_t *world, float *out_y)
{
    float x[ROWS * SIDE];
    weir_value_t out;
    fill_floats(x, ROWS * SIDE, 9);
    weir_value_t in[] = {weir_f32(x, 2, ROWS, SIDE)};
    expect_ok(weir_session_create(world->plan, NULL, &world->session));
    world_run(world, 1, in, 1, &out);
    memcpy(out_y, out.data, ROWS * SIDE * sizeof *out_y);
}

// ---- Units and requests ------------------------------------------------------------------------

// Goal:   whichever node of a unit is placed by request, all of the unit goes there, and the bits
//         stay what they are on one device.
static void a_unit_is_not_cut(void **state)
{
    (void)state;
    static const struct {
        const char *placement, *listing;
    } cases[] = {
        {"one=chaos", "MatMul[Add+Tanh]@chaos MatMul[Sigmoid+Mul]@cpu Softmax@cpu"},
        {"one_add=chaos", "MatMul[Add+Tanh]@chaos MatMul[Sigmoid+Mul]@cpu Softmax@cpu"},
        {"one_tanh=chaos;soft=cpu", "MatMul[Add+Tanh]@chaos MatMul[Sigmoid+Mul]@cpu Softmax@cpu"},
        {"two_sigmoid=chaos", "MatMul[Add+Tanh]@cpu MatMul[Sigmoid+Mul]@chaos Softmax@cpu"},
        {"two=chaos;two_mul=chaos;one=cpu",
            "MatMul[Add+Tanh]@cpu MatMul[Sigmoid+Mul]@chaos Softmax@cpu"},
        {";soft=chaos;", "MatMul[Add+Tanh]@cpu MatMul[Sigmoid+Mul]@cpu Softmax@chaos"},
        {"one=chaos;two=cpu;soft=chaos:0",
            "MatMul[Add+Tanh]@chaos MatMul[Sigmoid+Mul]@cpu Softmax@chaos"},
    };
    world_t world;
    float wanted[ROWS * SIDE], found[ROWS * SIDE];
    open_model(&world, make_blocks(), PLUGINS, NULL);
    expect_listing(
        &world, "cpu,chaos", NULL, "MatMul[Add+Tanh]@cpu MatMul[Sigmoid+Mul]@cpu Softmax@cpu");
    run_world(&world, wanted);
    drop_plan(&world);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_listing(&world, "cpu,chaos", cases[i].placement, cases[i].listing);
        run_world(&world, found);
        assert_memory_equal(found, wanted, sizeof found);
        drop_plan(&world);
    }
    world_close(&world);
}

static message_t make_odd(void)
{
    static const int64_t flat[] = {-1};
    message_t graph = start_device_graph();
    add_int64s(&graph, "flat", 1, flat);
    add_node(&graph, "MatMul", "one", "x,w", "a", (message_t){0});
    add_node(&graph, "Exp", "a=b", "a", "b", (message_t){0});
    add_node(&graph, "Reshape", "view", "b,flat", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   a request that cannot be met is an error that says why; a name may hold a '='.
static void requests_that_fail(void **state)
{
    (void)state;
    static const struct {
        const char *devices, *placement;
        weir_code_t code;
        const char *text;
    } cases[] = {
        {"cpu,chaos", "one", WEIR_INVALID_ARGUMENT, "...placement: \"one\" is not NODE=DEVICE"},
        {"cpu,chaos", "=chaos", WEIR_INVALID_ARGUMENT, "...\"=chaos\" is not NODE=DEVICE"},
        {"cpu,chaos", "one=", WEIR_INVALID_ARGUMENT, "...\"one=\" is not NODE=DEVICE"},
        {"cpu,chaos", "one=cuda", WEIR_NOT_FOUND, "...device \"cuda\": no plugin offers it"},
        {"cpu,ref", "one=chaos", WEIR_INVALID_ARGUMENT,
            "...device \"chaos\" is not among the devices of this plan; add it to them"},
        {"cpu,chaos", "one=chaos;one=cpu", WEIR_INVALID_ARGUMENT,
            "...node \"one\" is placed twice"},
        {"cpu,chaos", "one=chaos;a=b=cpu", WEIR_INVALID_ARGUMENT,
            "...nodes \"one\" and \"a=b\" are fused, so they cannot run on chaos and cpu"},
        {"cpu,chaos", "none=chaos", WEIR_NOT_FOUND,
            "...stands for node \"none\": there is no node of that name"},
        {"cpu,chaos", "view=chaos", WEIR_NOT_FOUND, "...stands for node \"view\""},
        {"picky,cpu", "a=b=picky", WEIR_UNSUPPORTED,
            "...node a=b (Exp): is to run on picky, which cannot: takes sums, products and Relu"},
    };
    world_t world;
    open_model(&world, make_odd(), PLUGINS, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect_status(
            make_plan(&world, cases[i].devices, cases[i].placement), cases[i].code, cases[i].text);
    expect_listing(&world, "cpu,chaos", "a=b=chaos", "MatMul[Exp]@chaos");
    drop_plan(&world);
    // A device that cannot run the end of an expression may still get its beginning.
    expect_listing(&world, "picky,cpu", NULL, "MatMul@picky Pointwise[Exp]@cpu");
    drop_plan(&world);
    world_close(&world);
}

// ---- Costs -------------------------------------------------------------------------------------

// Goal:   a device with memory of its own gets work that pays for the copies and launches, and no
//         other; plain C gets nothing that somebody else can run, however the rest lies.
static void copies_decide(void **state)
{
    (void)state;
    static const int64_t large[] = {1024, 1024};
    world_t world;
    open_model(&world, make_blocks(), PLUGINS, NULL);
    expect_listing(
        &world, "chaos,cpu", NULL, "MatMul[Add+Tanh]@cpu MatMul[Sigmoid+Mul]@cpu Softmax@cpu");
    drop_plan(&world);
    expect_listing(&world, "chaos,ref", NULL,
        "MatMul[Add+Tanh]@chaos MatMul[Sigmoid+Mul]@chaos Softmax@chaos");
    drop_plan(&world);
    expect_listing(
        &world, "chaos", NULL, "MatMul[Add+Tanh]@chaos MatMul[Sigmoid+Mul]@chaos Softmax@chaos");
    drop_plan(&world);
    world_close(&world);
    message_t graph = {0};
    float *w = calloc(1024 * 1024, sizeof *w);
    add_input(&graph, "x", 1, "N,1024");
    put_message(&graph, 5, raw_tensor("w", 1, 2, large, w, 4 << 20));
    add_input(&graph, "small", 1, "3,2");
    add_node(&graph, "MatMul", "one", "x,w", "a", (message_t){0});
    add_node(&graph, "MatMul", "two", "a,w", "y", (message_t){0});
    add_node(&graph, "Softmax", "soft", "small", "z", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "z");
    free(w);
    open_model(&world, graph, PLUGINS, NULL);
    expect_listing(&world, "chaos,cpu", NULL, "MatMul@chaos MatMul@chaos Softmax@cpu");
    weir_plan_cut_t cut = {.size = sizeof cut};
    static const char *const cuts[][3] = {{"x", "host", "chaos"}, {"y", "chaos", "host"}};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(weir_plan_cut(world.plan, i, &cut), 1);
        assert_string_equal(cut.value, cuts[i][0]);
        assert_string_equal(cut.from, cuts[i][1]);
        assert_string_equal(cut.to, cuts[i][2]);
        assert_int_equal(cut.bytes, 4096); // one row: N is the first axis of an input
        assert_true(cut.cost_ns > 0);
    }
    assert_int_equal(weir_plan_cut(world.plan, 2, &cut), 0);
    drop_plan(&world);
    world_close(&world);
}

// Goal:   each node has a device, a cost, and for each other device a reason or what it would cost.
static void every_why_not(void **state)
{
    (void)state;
    static const char *const devices[] = {"picky", "cpu", "ref"};
    world_t world;
    open_model(&world, make_odd(), PLUGINS, NULL);
    expect_listing(&world, "picky,cpu,ref", NULL, "MatMul@picky Pointwise[Exp]@cpu");
    weir_plan_candidate_t candidate = {.size = sizeof candidate};
    weir_plan_node_t node = {.size = sizeof node};
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(weir_plan_node(world.plan, i, &node), 1);
        assert_true(node.cost_ns > 0 && node.cost_source == WEIR_COST_ESTIMATED);
        assert_int_equal(node.group, i);
        for (uint32_t d = 0; d < 3; d++) {
            assert_int_equal(weir_plan_candidate(world.plan, i, d, &candidate), 1);
            bool refused = i == 1 && d == 0;
            assert_string_equal(candidate.device, devices[d]);
            assert_string_equal(
                candidate.reason, refused ? "takes sums, products and Relu only" : "");
            assert_int_equal(candidate.is_chosen, d == i);
            assert_int_equal(candidate.is_last, d == 2);
            assert_int_equal(candidate.cost_ns != 0, !refused);
            if (d == i)
                assert_true(candidate.cost_ns == node.cost_ns);
        }
        assert_int_equal(weir_plan_candidate(world.plan, i, 3, &candidate), 0);
    }
    // The view is no work.
    assert_int_equal(weir_plan_node(world.plan, 2, &node), 1);
    assert_string_equal(node.device, "engine");
    assert_int_equal(node.group, UINT32_MAX);
    assert_int_equal(weir_plan_candidate(world.plan, 2, 0, &candidate), 0);
    assert_int_equal(weir_plan_candidate(world.plan, 3, 0, &candidate), 0);
    weir_plan_input_t input = {.size = sizeof input};
    assert_int_equal(weir_plan_input(world.plan, 1, 0, &input), 1);
    assert_int_equal(input.producer, 0);
    assert_string_equal(input.value, "a");
    assert_int_equal(weir_plan_input(world.plan, 0, 1, &input), 1);
    assert_true(input.is_constant && input.producer == UINT32_MAX);
    assert_int_equal(weir_plan_input(world.plan, 0, 2, &input), 0);
    assert_int_equal(weir_plan_cut(world.plan, 1, &(weir_plan_cut_t){.size = 0}), 0);
    drop_plan(&world);
    world_close(&world);
}

// ---- Measured times ----------------------------------------------------------------------------

// Notes a time for the first unit of the plan on a device, as if it had been measured.
static void note_time(const world_t *world, uint32_t device, uint32_t off_class, uint64_t ns)
{
    weir_plan_t *plan = world->plan;
    const weir__unit_t *unit = &plan->placement->units[0];
    weir__hash_t key =
        weir__nodes_key(plan, unit->nodes, unit->node_count, plan->placement->devices[device]);
    weir__cost_t cost =
        weir__nodes_cost(plan, unit->nodes, unit->node_count, plan->placement->sizes);
    weir__times_t *times;
    assert_null(weir__times_open(plan->runtime->cache, &plan->runtime->heap, &times));
    assert_null(weir__times_note(times, key, weir__size_class(cost) + off_class, ns));
    assert_null(weir__times_save(times));
    weir__times_close(times);
}

static message_t make_product(void)
{
    message_t graph = start_device_graph();
    add_node(&graph, "MatMul", "one", "x,w", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   times decide against the caller's order once both devices have one for about as much
//         work, and not before.
static void times_decide(void **state)
{
    folder_t *folder = *state;
    world_t world;
    weir_plan_node_t node = {.size = sizeof node};
    open_model(&world, make_product(), PLUGINS, folder->cache_path);
    expect_listing(&world, "picky,cpu", NULL, "MatMul@picky");
    note_time(&world, 1, 0, 2000);
    drop_plan(&world);
    expect_listing(&world, "picky,cpu", NULL, "MatMul@picky"); // picky's is not known
    note_time(&world, 0, 40, 5000);
    drop_plan(&world);
    expect_listing(&world, "picky,cpu", NULL, "MatMul@picky"); // it is, for other sizes
    assert_int_equal(weir_plan_node(world.plan, 0, &node), 1);
    assert_int_equal(node.cost_source, WEIR_COST_ESTIMATED);
    note_time(&world, 0, 0, 5000);
    drop_plan(&world);
    expect_listing(&world, "picky,cpu", NULL, "MatMul@cpu");
    assert_int_equal(weir_plan_node(world.plan, 0, &node), 1);
    assert_int_equal(node.cost_source, WEIR_COST_MEASURED);
    assert_int_equal(node.cost_ns, 2000);
    assert_string_equal(node.why, "picky: would cost more");
    drop_plan(&world);
    // A request is above it.
    expect_listing(&world, "picky,cpu", "one=picky", "MatMul@picky");
    drop_plan(&world);
    world_close(&world);
}

static message_t make_relu(void)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,8");
    add_node(&graph, "Relu", "one", "x", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   what devices say of themselves decides against the caller's order, beside each other and
//         beside a measured time; alone it does not.
static void claims_decide(void **state)
{
    folder_t *folder = *state;
    world_t world;
    weir_plan_node_t node = {.size = sizeof node};
    open_model(&world, make_relu(), PLUGINS ":" WEIR_TEST_PLUGINS "/priced", folder->cache_path);
    expect_listing(&world, "dear,cheap", NULL, "Relu@cheap");
    assert_int_equal(weir_plan_node(world.plan, 0, &node), 1);
    assert_int_equal(node.cost_source, WEIR_COST_CLAIMED);
    assert_int_equal(node.cost_ns, 3000);
    drop_plan(&world);
    expect_listing(&world, "cheap,dear,ref", NULL, "Relu@cheap");
    drop_plan(&world);
    expect_listing(&world, "dear,cpu", NULL, "Relu@dear"); // the CPU says nothing
    note_time(&world, 1, 0, 5000);
    drop_plan(&world);
    expect_listing(&world, "dear,cpu", NULL, "Pointwise[Relu]@cpu");
    drop_plan(&world);
    expect_listing(&world, "dear,cpu,cheap", NULL, "Relu@cheap");
    weir_plan_candidate_t candidate = {.size = sizeof candidate};
    static const struct {
        uint64_t cost_ns;
        uint32_t source;
    } wanted[] = {{9000, WEIR_COST_CLAIMED}, {5000, WEIR_COST_MEASURED}, {3000, WEIR_COST_CLAIMED}};
    for (uint32_t d = 0; d < 3; d++) {
        assert_int_equal(weir_plan_candidate(world.plan, 0, d, &candidate), 1);
        assert_int_equal(candidate.cost_ns, wanted[d].cost_ns);
        assert_int_equal(candidate.cost_source, wanted[d].source);
    }
    drop_plan(&world);
    world_close(&world);
}

// Goal:   a device that says it costs as much as a number can say still gets what the others
// refuse,
//         and loses to any that can.
static void any_cost_beats_cannot(void **state)
{
    (void)state;
    world_t world;
    weir_plan_node_t node = {.size = sizeof node};
    float x[ROWS * SIDE];
    weir_value_t out;
    message_t bytes = make_model(make_relu(), 17);
    world_options_t options = {.plugin_path = PLUGINS ":" WEIR_TEST_PLUGINS "/priced",
        .plugin_options = "chaos.refuse=Pointwise|Relu"};
    expect_ok(world_engine(&world, &options));
    expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, NULL, &world.model));
    free(bytes.data);
    expect_listing(&world, "chaos,priceless", NULL, "Relu@priceless");
    assert_int_equal(weir_plan_node(world.plan, 0, &node), 1);
    assert_int_equal(node.cost_source, WEIR_COST_CLAIMED);
    assert_true(node.cost_ns == UINT64_MAX);
    fill_floats(x, ROWS * SIDE, 9);
    weir_value_t in[] = {weir_f32(x, 2, ROWS, SIDE)};
    expect_ok(weir_session_create(world.plan, NULL, &world.session));
    world_run(&world, 1, in, 1, &out);
    for (size_t i = 0; i < ROWS * SIDE; i++)
        assert_true(((const float *)out.data)[i] == (x[i] > 0 ? x[i] : 0));
    drop_plan(&world);
    expect_listing(&world, "priceless,dear", NULL, "Relu@dear");
    drop_plan(&world);
    world_close(&world);
}

// Goal:   a profiled run is learnt from: the next plan knows what its nodes took.
static void runs_are_learnt_from(void **state)
{
    folder_t *folder = *state;
    world_t world;
    float x[ROWS * SIDE];
    weir_value_t out = weir_view();
    weir_plan_node_t node = {.size = sizeof node};
    fill_floats(x, ROWS * SIDE, 9);
    weir_value_t in[] = {weir_f32(x, 2, ROWS, SIDE)};
    open_model(&world, make_blocks(), PLUGINS, folder->cache_path);
    expect_ok(make_plan(&world, "cpu,ref", NULL));
    expect_ok(weir_session_create(world.plan, NULL, &world.session));
    expect_ok(weir_session_run(world.session, NULL, 1, in, 1, &out));
    expect_status(weir_session_learn(world.session), WEIR_INVALID_ARGUMENT,
        "the last run was not profiled: set profile_level of weir_run_options_t");
    weir_run_options_t profiled = {.size = sizeof profiled, .profile_level = 1};
    out = weir_view();
    expect_ok(weir_session_run(world.session, &profiled, 1, in, 1, &out));
    expect_ok(weir_session_learn(world.session));
    drop_plan(&world);
    expect_ok(make_plan(&world, "cpu,ref", NULL));
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(weir_plan_node(world.plan, i, &node), 1);
        assert_int_equal(node.cost_source, WEIR_COST_MEASURED);
        assert_true(node.cost_ns > 0 && node.cost_ns < 1000000000);
    }
    drop_plan(&world);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_unit_is_not_cut),
        cmocka_unit_test(requests_that_fail),
        cmocka_unit_test(copies_decide),
        cmocka_unit_test(every_why_not),
        cmocka_unit_test_setup_teardown(times_decide, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(claims_decide, folder_setup, folder_teardown),
        cmocka_unit_test(any_cost_beats_cannot),
        cmocka_unit_test_setup_teardown(runs_are_learnt_from, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
