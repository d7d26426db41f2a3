// tests/unit/plan_place_test.c: who gets a node and why, and what is fused with what.
//
// The device "picky" (tests/support/plugins) takes some operators and some fusions. Whatever is
// placed or fused, the answer is that of the plain C device.
#include "tests/unit/engine_world.h"

static const int64_t SQUARE[] = {6, 6};

static void add_matrix(message_t *graph, const char *name, uint64_t seed)
{
    float values[36];
    fill_floats(values, 36, seed);
    put_message(graph, 5, raw_tensor(name, 1, 2, SQUARE, values, sizeof values));
}

// The graph on picky, then on ref alone, both with x of [rows, 6]; the listing is as expected.
static void expect_plan(
    message_t (*make)(void), const char *devices, const char *listing, float tolerance)
{
    world_options_t picky = {.plugin_path = WORLD_PLUGINS, .devices = devices};
    world_t world, plain;
    world_open(&world, make(), &picky);
    world_open(&plain, make(), NULL);
    if (strcmp(world_listing(&world, false), listing) != 0)
        fail_msg("expected %s\n     got %s", listing, world_listing(&world, false));
    for (int rows = 1; rows <= 4; rows += 3) {
        float x[4 * 6];
        fill_floats(x, 4 * 6, (uint64_t)rows);
        weir_value_t in[] = {weir_f32(x, 2, rows, 6)}, out[4], wanted[4];
        uint32_t count = weir_model_output_count(world.model);
        world_run(&world, 1, in, count, out);
        world_run(&plain, 1, in, count, wanted);
        for (uint32_t i = 0; i < count; i++) {
            expect_dims(&out[i], wanted[i].rank, wanted[i].dims);
            expect_floats(&out[i], weir_value_count(&wanted[i]), wanted[i].data, tolerance);
        }
    }
    world_close(&world);
    world_close(&plain);
}

static message_t start_graph(void)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,6");
    add_matrix(&graph, "w", 3);
    add_matrix(&graph, "v", 4);
    return graph;
}

// ---- Placement ---------------------------------------------------------------------------------

static message_t make_three(void)
{
    message_t graph = start_graph();
    add_node(&graph, "MatMul", "first", "x,w", "a", (message_t){0});
    add_node(&graph, "Exp", "second", "a", "b", (message_t){0});
    add_node(&graph, "Softmax", "third", "b", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

static message_t make_prologue_only(void)
{
    message_t graph = start_graph();
    add_node(&graph, "Mul", "square", "x,x", "a", (message_t){0});
    add_node(&graph, "Softmax", "rows", "a", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   the first device of the list that can run a node gets it; every "no" is kept.
static void order_and_reasons(void **state)
{
    (void)state;
    expect_plan(make_three, "picky,ref", "MatMul@picky Pointwise[Exp]@ref Softmax@picky", 1e-5f);
    expect_plan(make_prologue_only, "picky", "Softmax[Mul]@picky", 1e-5f);
    expect_plan(make_three, "mine,picky", "MatMul@picky Pointwise[Exp]@ref Softmax@picky", 1e-5f);
    expect_plan(make_three, "ref,picky", "MatMul@ref Pointwise[Exp]@ref Softmax@ref", 0);
    expect_plan(make_three, NULL, "MatMul@ref Pointwise[Exp]@ref Softmax@ref", 0);
    world_t world;
    world_options_t options = {.plugin_path = WORLD_PLUGINS, .devices = "mine,picky,ref"};
    static const char *const why[] = {"mine: has no kernel for MatMul",
        "mine: has no kernel for Exp; picky: takes sums, products and Relu only",
        "mine: has no kernel for Softmax"};
    world_open(&world, make_three(), &options);
    weir_plan_node_t node = {.size = sizeof node};
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(weir_plan_node(world.plan, i, &node), 1);
        assert_string_equal(node.why, why[i]);
    }
    assert_int_equal(weir_plan_node(world.plan, 3, &node), 0);
    weir_plan_info_t info = {.size = sizeof info};
    weir_plan_describe(world.plan, &info);
    assert_int_equal(info.node_count, 3);
    assert_int_equal(info.ref_node_count, 1);
    world_close(&world);
}

static void expect_no_plan(
    world_t *world, const char *devices, bool required, weir_code_t code, const char *text)
{
    weir_plan_options_t options = {
        .size = sizeof options, .devices = devices, .require_devices = required};
    weir_plan_t *plan;
    expect_status(weir_plan_create(world->model, &options, &plan), code, text);
}

// Goal:   a device that is required never falls back in silence; one that is not there is named,
//         with those that are.
static void devices_that_cannot(void **state)
{
    (void)state;
    world_t world;
    world_options_t options = {
        .plugin_path = WORLD_PLUGINS ":" WORLD_MISFITS "/weir_probe.so", .devices = "ref"};
    world_open(&world, make_three(), &options);
    expect_no_plan(&world, "picky", false, WEIR_UNSUPPORTED,
        "model from memory: node second (Exp): no device can run it (picky: takes sums, products "
        "and Relu only); name more devices, such as ref, the plain C device");
    expect_no_plan(&world, "picky", true, WEIR_UNSUPPORTED,
        "model from memory: node second (Exp): no device can run it (picky: takes sums, products "
        "and Relu only); name more devices, such as ref, the plain C device");
    expect_no_plan(&world, "picky,mine", true, WEIR_UNSUPPORTED,
        "...(picky: takes sums, products and Relu only; mine: has no kernel for Exp)");
    expect_no_plan(&world, "cuda", false, WEIR_NOT_FOUND,
        "model from memory: device \"cuda\": no plugin offers it (there are: mine, picky, ref); "
        "put weir_cuda.so on WEIR_PLUGIN_PATH, or name another device");
    expect_no_plan(&world, "picky,cuda:1", false, WEIR_NOT_FOUND, "...put weir_cuda.so on");
    expect_no_plan(&world, "misfit", false, WEIR_UNAVAILABLE,
        "...device \"misfit\" cannot be used: needs a machine with three suns (");
    expect_no_plan(&world, "pick", false, WEIR_NOT_FOUND, "...\"pick\"");
    weir_plan_options_t required = {
        .size = sizeof required, .devices = "picky,ref", .require_devices = 1};
    weir_plan_t *plan;
    expect_ok(weir_plan_create(world.model, &required, &plan));
    weir_plan_free(plan);
    world_close(&world);
}

// ---- Fusion ------------------------------------------------------------------------------------

static message_t make_chain(void)
{
    message_t graph = start_graph();
    add_node(&graph, "Add", "one", "x,x", "a", (message_t){0});
    add_node(&graph, "Exp", "two", "a", "b", (message_t){0});
    add_node(&graph, "Mul", "three", "b,x", "c", (message_t){0});
    add_node(&graph, "Tanh", "four", "c", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

static message_t make_chain_read_twice(void)
{
    message_t graph = make_chain();
    add_output(&graph, "b"); // a second reader in the middle
    return graph;
}

static message_t make_chain_two_arms(void)
{
    message_t graph = start_graph(); // both readers of a are inside
    add_node(&graph, "Add", "one", "x,x", "a", (message_t){0});
    add_node(&graph, "Exp", "two", "a", "b", (message_t){0});
    add_node(&graph, "Neg", "three", "a", "c", (message_t){0});
    add_node(&graph, "Mul", "four", "b,c", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   elementwise neighbours become one Pointwise node, named after all of them; a value that
//         somebody outside reads ends it; a device's border ends it.
static void chains_become_pointwise(void **state)
{
    (void)state;
    expect_plan(make_chain, "ref", "Pointwise[Add+Exp+Mul+Tanh]@ref", 0);
    expect_plan(make_chain_two_arms, "ref", "Pointwise[Add+Exp+Neg+Mul]@ref", 0);
    expect_plan(make_chain_read_twice, "ref", "Pointwise[Add+Exp]@ref Pointwise[Mul+Tanh]@ref", 0);
    expect_plan(make_chain, "picky,ref",
        "Pointwise[Add]@picky Pointwise[Exp]@ref Pointwise[Mul]@picky Pointwise[Tanh]@ref", 1e-6f);
    world_t world;
    world_open(&world, make_chain(), NULL);
    weir_plan_node_t node = {.size = sizeof node};
    assert_int_equal(weir_plan_node(world.plan, 0, &node), 1);
    assert_string_equal(node.origins, "one+two+three+four");
    assert_string_equal(node.kernel, "ref Pointwise");
    world_close(&world);
}

static message_t make_epilogue(void)
{
    message_t graph = start_graph();
    add_node(&graph, "MatMul", "product", "x,w", "a", (message_t){0});
    add_node(&graph, "Relu", "first", "a", "b", (message_t){0});
    add_node(&graph, "Add", "second", "b,x", "c", (message_t){0});
    add_node(&graph, "Mul", "third", "c,x", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

static message_t make_epilogue_refused(void)
{
    message_t graph = start_graph(); // it begins with what picky's MatMul does not take
    add_node(&graph, "MatMul", "product", "x,w", "a", (message_t){0});
    add_node(&graph, "Add", "first", "a,x", "b", (message_t){0});
    add_node(&graph, "Relu", "second", "b", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

static message_t make_epilogue_read_twice(void)
{
    message_t graph = start_graph();
    add_node(&graph, "MatMul", "product", "x,w", "a", (message_t){0});
    add_node(&graph, "Relu", "first", "a", "b", (message_t){0});
    add_node(&graph, "MatMul", "again", "a,v", "c", (message_t){0});
    add_node(&graph, "Add", "sum", "b,c", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   an expression goes behind the node that takes it, peeled from its end as far as that
//         node's kernel says no; what was peeled is one Pointwise node; the product is not taken
//         away from a second reader.
static void epilogues_are_peeled(void **state)
{
    (void)state;
    expect_plan(make_epilogue, "picky,ref", "MatMul[Relu]@picky Pointwise[Add+Mul]@picky", 1e-5f);
    expect_plan(
        make_epilogue_refused, "picky,ref", "MatMul@picky Pointwise[Add+Relu]@picky", 1e-5f);
    expect_plan(make_epilogue_read_twice, "picky,ref",
        "MatMul@picky MatMul@picky Pointwise[Relu+Add]@picky", 1e-5f);
    world_t world;
    world_options_t options = {.plugin_path = WORLD_PLUGINS, .devices = "picky"};
    world_open(&world, make_epilogue(), &options);
    weir_plan_node_t node = {.size = sizeof node};
    assert_int_equal(weir_plan_node(world.plan, 0, &node), 1);
    assert_string_equal(node.origins, "product+first");
    world_close(&world);
}

static message_t make_prologue(void)
{
    static const float row[] = {1, -1, 0.5f, 2, 0, 3};
    message_t graph = start_graph();
    add_floats(&graph, "row", 6, row);
    add_node(&graph, "MatMul", "product", "x,w", "a", (message_t){0});
    add_node(&graph, "Add", "shift", "row,a", "b", (message_t){0});
    add_node(&graph, "Mul", "square", "b,a", "c", (message_t){0});
    add_node(&graph, "Softmax", "rows", "c", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

static message_t make_prologue_read_twice(void)
{
    message_t graph = make_prologue();
    add_output(&graph, "c");
    return graph;
}

static message_t make_prologue_swapped(void)
{
    message_t graph = start_graph(); // the operand it stands on is not the first
    add_node(&graph, "MatMul", "product", "x,w", "a", (message_t){0});
    put_message(&graph, 5, raw_tensor("half", 1, 0, NULL, &(float){0.5f}, 4));
    add_node(&graph, "Mul", "scale", "half,a", "b", (message_t){0});
    add_node(&graph, "Softmax", "rows", "b", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   an expression in front of a node whose kernel takes one moves into it, with its operands.
static void prologues_are_bound(void **state)
{
    (void)state;
    expect_plan(make_prologue, "picky", "MatMul@picky Softmax[Add+Mul]@picky", 1e-5f);
    expect_plan(make_prologue_swapped, "picky", "MatMul@picky Softmax[Mul]@picky", 1e-5f);
    expect_plan(make_prologue_read_twice, "picky",
        "MatMul@picky Pointwise[Add+Mul]@picky Softmax@picky", 1e-5f);
}

static message_t make_integers(void)
{
    message_t graph = {0}, to_int = {0}, to_float = {0};
    add_input(&graph, "x", 1, "N,6");
    attribute_int(&to_int, "to", 7);
    attribute_int(&to_float, "to", 1);
    add_node(&graph, "Cast", "down", "x", "a", to_int);
    add_node(&graph, "Add", "one", "a,a", "b", (message_t){0});
    add_node(&graph, "Mul", "two", "b,a", "c", (message_t){0});
    add_node(&graph, "Cast", "up", "c", "y", to_float);
    add_output(&graph, "y");
    return graph;
}

// Goal:   integers stay node by node: sizes are made of them, and no device has to fuse them.
static void integers_are_not_fused(void **state)
{
    (void)state;
    expect_plan(make_integers, "ref",
        "Pointwise[Cast]@ref Pointwise[Add]@ref Pointwise[Mul]@ref Pointwise[Cast]@ref", 0);
}

// ---- What a model tells ------------------------------------------------------------------------

// Goal:   tallies of operators and rewrites are sorted by name, as documented.
static void tallies_are_sorted(void **state)
{
    (void)state;
    static const float zero[] = {0}, half[] = {0.5f}, one[] = {1}, root[] = {1.4142135f};
    message_t graph = start_graph(), to = {0};
    add_floats(&graph, "zero", 1, zero);
    add_floats(&graph, "half", 1, half);
    add_floats(&graph, "one", 1, one);
    add_floats(&graph, "root", 1, root);
    attribute_int(&to, "to", 1);
    add_node(&graph, "Cast", "same", "x", "x0", to);
    add_node(&graph, "Identity", "id", "x0", "x1", (message_t){0});
    add_node(&graph, "Mul", "once", "x1,one", "x2", (message_t){0});
    add_node(&graph, "Add", "nothing", "x2,zero", "x3", (message_t){0});
    add_node(&graph, "MatMul", "product", "x3,w", "a", (message_t){0});
    add_node(&graph, "Div", "g1", "a,root", "b", (message_t){0});
    add_node(&graph, "Erf", "g2", "b", "c", (message_t){0});
    add_node(&graph, "Add", "g3", "c,one", "d", (message_t){0});
    add_node(&graph, "Mul", "g4", "a,d", "e", (message_t){0});
    add_node(&graph, "Mul", "g5", "e,half", "f", (message_t){0});
    add_node(&graph, "Sigmoid", "s1", "f", "g", (message_t){0});
    add_node(&graph, "Mul", "s2", "f,g", "y", (message_t){0});
    add_output(&graph, "y");
    world_t world;
    world_open(&world, graph, NULL);
    weir_tally_t tally, before = {.name = ""};
    uint32_t count = 0;
    for (; weir_model_rewrite(world.model, count, &tally); count++, before = tally) {
        assert_true(strcmp(before.name, tally.name) < 0);
        assert_true(tally.count > 0);
    }
    assert_true(count >= 2);
    before.name = "";
    for (count = 0; weir_model_operator(world.model, count, &tally); count++, before = tally)
        assert_true(strcmp(before.name, tally.name) < 0);
    assert_true(count >= 2);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_and_reasons),
        cmocka_unit_test(devices_that_cannot),
        cmocka_unit_test(chains_become_pointwise),
        cmocka_unit_test(epilogues_are_peeled),
        cmocka_unit_test(prologues_are_bound),
        cmocka_unit_test(integers_are_not_fused),
        cmocka_unit_test(tallies_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
