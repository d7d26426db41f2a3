// tests/unit/graph_build_test.c: building graphs, their limits, and what the verifier refuses.
#include "tests/unit/graph_support.h"

#include "engine/base/status.h"

// Goal:   attributes, names and dims are copies.
// Method: build from buffers and overwrite them.
static void graph_build_copies(void **state)
{
    (void)state;
    char name[] = "axis", text[] = "NOTSET";
    int64_t ints[] = {1, 2};
    uint32_t x = INPUT("x", WEIR_F32, 2, 3), y, node;
    weir_attribute_t attributes[] = {
        {.name = name, .type = WEIR_ATTR_INTS, .count = 2, .ints = ints},
        {.name = "mode", .type = WEIR_ATTR_STRING, .s = text}};
    OK(weir__graph_add_value(graph, "y", &y));
    OK(weir__graph_add_node(
        graph, &graph->main, weir__op_find("Relu", 1), &x, 1, &y, 1, attributes, 2, "r", &node));
    name[0] = 'X', text[0] = 'X', ints[0] = 9;
    const weir__node_t *made = &graph->nodes[node];
    assert_int_equal(weir__node_attribute(made, "axis")->ints[0], 1);
    assert_string_equal(weir__node_attribute(made, "mode")->s, "NOTSET");
    assert_int_equal(graph->values[y].producer, node);
    char label[64];
    assert_string_equal(weir__node_label(made, label, sizeof label), "node r (Relu)");
    assert_string_equal(weir__node_label(made, label, 8), "node r ");
}

// Goal:   a value has one producer.
static void graph_build_refuses_second_producer(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2), y = OP("Relu", x), node, twice[2] = {0, 0};
    const weir__op_t *relu = weir__op_find("Relu", 1);
    REFUSED(weir__graph_add_node(graph, &graph->main, relu, &x, 1, &y, 1, NULL, 0, "b", &node),
        WEIR_INVALID_ARGUMENT, "output of another node");
    uint32_t c = scalar(1);
    REFUSED(weir__graph_add_node(graph, &graph->main, relu, &x, 1, &c, 1, NULL, 0, "b", &node),
        WEIR_INVALID_ARGUMENT, "name of a constant");
    OK(weir__graph_add_value(graph, "z", &twice[0]));
    twice[1] = twice[0];
    REFUSED(weir__graph_add_node(graph, &graph->main, weir__op_find("Split", 1), &x, 1, twice, 2,
                NULL, 0, "s", &node),
        WEIR_INVALID_ARGUMENT, "output of another node");
}

// Goal:   the limits hold exactly at their edge and name their field.
static void graph_build_limits(void **state)
{
    (void)state;
    uint32_t value, node;
    graph->limits.values = 2;
    OK(weir__graph_add_value(graph, "a", &value));
    OK(weir__graph_add_value(graph, "b", &value));
    REFUSED(weir__graph_add_value(graph, "c", &value), WEIR_LIMIT, "values = 2");
    graph->limits.values = 100;
    graph->limits.name_bytes = 3;
    OK(weir__graph_add_value(graph, "abc", &value));
    REFUSED(weir__graph_add_value(graph, "abcd", &value), WEIR_LIMIT, "name_bytes = 3");
    graph->limits.name_bytes = 100;
    graph->limits.nodes = 1;
    uint32_t y = OP("Relu", value), z;
    OK(weir__graph_add_value(graph, "z", &z));
    REFUSED(weir__graph_add_node(
                graph, &graph->main, weir__op_find("Relu", 1), &y, 1, &z, 1, NULL, 0, "n", &node),
        WEIR_LIMIT, "nodes = 1");
    int64_t dims[17] = {0};
    REFUSED(weir__graph_add_constant(graph, "r", WEIR_F32, 17, dims, NULL, false, &value),
        WEIR_LIMIT, "rank = 16");
    graph->limits.tensor_bytes = 8;
    OK(weir__graph_add_constant(graph, "ok", WEIR_F32, 1, INTS(2), "12345678", true, &value));
    REFUSED(weir__graph_add_constant(graph, "big", WEIR_F32, 1, INTS(3), NULL, false, &value),
        WEIR_LIMIT, "tensor_bytes = 8");
    REFUSED(weir__graph_add_constant(graph, "neg", WEIR_F32, 1, INTS(-3), NULL, false, &value),
        WEIR_INVALID_ARGUMENT, "dim 0 is -3");
    REFUSED(weir__graph_add_constant(
                graph, "huge", WEIR_F32, 2, INTS(INT64_MAX, INT64_MAX), NULL, false, &value),
        WEIR_LIMIT, "tensor_bytes");
    weir__region_t *region = &graph->main;
    for (int i = 0; i < 4; i++)
        OK(weir__graph_add_region(graph, region, &region));
    REFUSED(weir__graph_add_region(graph, region, &region), WEIR_LIMIT, "subgraph_depth = 4");
}

// Goal:   graph_bytes ends a graph that grows for ever.
static void graph_build_graph_bytes(void **state)
{
    (void)state;
    weir_limits_t limits = test_limits();
    weir__graph_t *small;
    limits.graph_bytes = 10000;
    OK(weir__graph_create(&test_heap, &limits, &small));
    weir_status_t status = NULL;
    for (int i = 0; i < 10000 && !status; i++) {
        uint32_t value;
        status = weir__graph_add_value(small, "abc", &value);
    }
    REFUSED(status, WEIR_LIMIT, "graph_bytes = 10000");
    weir__graph_free(small);
}

// Goal:   equal keys are equal symbols, names are found again, many of them too.
static void graph_build_symbols(void **state)
{
    (void)state;
    int64_t a = sym("n"), b, c, many[200];
    assert_true(a < 0);
    assert_int_equal(sym("n"), a);
    OK(weir__graph_symbol(graph, NULL, 7, &b));
    OK(weir__graph_symbol(graph, NULL, 7, &c));
    assert_int_equal(b, c);
    assert_int_not_equal(a, b);
    for (uint64_t i = 0; i < 200; i++)
        OK(weir__graph_symbol(graph, NULL, 1000 + i * 64, &many[i]));
    for (uint64_t i = 0; i < 200; i++) {
        OK(weir__graph_symbol(graph, NULL, 1000 + i * 64, &c));
        assert_int_equal(c, many[i]);
    }
}

// Goal:   nodes in any order come out sorted; an order that was right stays.
static void graph_verify_sorts(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2), a = OP("Relu", x), b = OP("Abs", a), c = OP("Neg", b);
    output(c);
    uint32_t *nodes = graph->main.nodes;
    uint32_t first = nodes[0], second = nodes[1], third = nodes[2];
    nodes[0] = third, nodes[2] = first;
    OK(weir__graph_verify(graph));
    assert_int_equal(graph->main.nodes[0], first);
    assert_int_equal(graph->main.nodes[1], second);
    assert_int_equal(graph->main.nodes[2], third);
}

// Goal:   a cyclic graph is refused and nothing leaks (the teardown looks).
static void graph_verify_refuses_cycle(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2), a = OP("Add", x, x), b = OP("Relu", a);
    graph->nodes[graph->values[a].producer].inputs[1] = b;
    output(b);
    REFUSED(weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "cycle");
}

static void graph_verify_refuses_missing(void **state)
{
    (void)state;
    uint32_t ghost;
    OK(weir__graph_add_value(graph, "ghost", &ghost));
    output(OP("Relu", ghost));
    REFUSED(
        weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "reads ghost, which nothing produces");
}

static void graph_verify_refuses_counts(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2);
    output(OP("Add", x));
    REFUSED(weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "(Add): it has 1 inputs");
}

static void graph_verify_refuses_bad_constant(void **state)
{
    (void)state;
    uint32_t c = CONST_INTS(1, 2);
    ((weir__tensor_t *)(uintptr_t)graph->values[c].constant)->bytes = 8;
    REFUSED(weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "dims and bytes disagree");
}

static void graph_verify_refuses_double_input(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2);
    OK(weir__graph_add_input(graph, x));
    REFUSED(weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "input x: it is there twice");
}

// An If over x with one node per branch; returns its node number.
static uint32_t make_if(uint32_t condition, uint32_t x, uint32_t *out_inner)
{
    uint32_t node, y;
    weir__region_t **regions = weir__zone_array(&graph->zone, 2, sizeof *regions);
    OK(weir__graph_add_value(graph, "y", &y));
    OK(weir__graph_add_node(
        graph, &graph->main, weir__op_find("If", 1), &condition, 1, &y, 1, NULL, 0, "if", &node));
    for (int i = 0; i < 2; i++) {
        OK(weir__graph_add_region(graph, &graph->main, &regions[i]));
        *out_inner = op_in(regions[i], i ? "Neg" : "Relu", NULL, 0, VALUES(x));
        OK(weir__graph_add_output(graph, regions[i], *out_inner));
    }
    graph->nodes[node].regions = regions;
    graph->nodes[node].region_count = 2;
    return node;
}

// Goal:   an If comes after what its branches read, wherever the file put it.
static void graph_verify_sorts_if(void **state)
{
    (void)state;
    uint32_t inner, c = INPUT("c", WEIR_BOOL, 1), x = INPUT("x", WEIR_F32, 2),
                    hidden = OP("Abs", x);
    uint32_t node = make_if(c, hidden, &inner);
    output(graph->nodes[node].outputs[0]);
    uint32_t *nodes = graph->main.nodes, first = nodes[0];
    nodes[0] = nodes[1], nodes[1] = first;
    OK(weir__graph_verify(graph));
    assert_int_equal(graph->main.nodes[1], node);
}

// Goal:   what a branch makes cannot be read outside of it.
static void graph_verify_refuses_escape(void **state)
{
    (void)state;
    uint32_t inner, c = INPUT("c", WEIR_BOOL, 1), x = INPUT("x", WEIR_F32, 2);
    uint32_t node = make_if(c, x, &inner);
    output(graph->nodes[node].outputs[0]);
    output(OP("Abs", inner));
    REFUSED(weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "not visible there");
}

// Goal:   an If that reads its own output through a branch is a cycle.
static void graph_verify_refuses_if_cycle(void **state)
{
    (void)state;
    uint32_t inner, c = INPUT("c", WEIR_BOOL, 1), x = INPUT("x", WEIR_F32, 2);
    uint32_t node = make_if(c, x, &inner), y = graph->nodes[node].outputs[0];
    graph->nodes[graph->values[inner].producer].inputs[0] = y;
    output(y);
    REFUSED(weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "cycle");
}

static void graph_verify_refuses_branch_outputs(void **state)
{
    (void)state;
    uint32_t inner, c = INPUT("c", WEIR_BOOL, 1), x = INPUT("x", WEIR_F32, 2);
    uint32_t node = make_if(c, x, &inner);
    graph->nodes[node].regions[1]->output_count = 0;
    REFUSED(weir__graph_verify(graph), WEIR_INVALID_ARGUMENT, "its branch 1 has 0");
}

// Goal:   every operator of the table can be found, has a rule and names its dtypes.
static void graph_ops_table(void **state)
{
    (void)state;
    uint32_t count;
    const weir__op_t *ops = weir__op_table(&count);
    assert_true(count > 80);
    for (uint32_t i = 0; i < count; i++) {
        assert_ptr_equal(weir__op_find(ops[i].name, 1), &ops[i]);
        assert_non_null(ops[i].infer);
        assert_true(ops[i].dtypes != 0 && ops[i].min_inputs <= ops[i].max_inputs);
        assert_true(
            ((ops[i].flags & WEIR__OP_ELEMENTWISE) != 0) == (ops[i].opcode != WEIR_OP_NONE));
    }
    assert_null(weir__op_find("Relu", 2));
    assert_null(weir__op_find("Nonsense", 1));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, graph_setup, graph_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {TEST(graph_build_copies),
        TEST(graph_build_refuses_second_producer), TEST(graph_build_limits),
        TEST(graph_build_graph_bytes), TEST(graph_build_symbols), TEST(graph_verify_sorts),
        TEST(graph_verify_refuses_cycle), TEST(graph_verify_refuses_missing),
        TEST(graph_verify_refuses_counts), TEST(graph_verify_refuses_bad_constant),
        TEST(graph_verify_refuses_double_input), TEST(graph_verify_sorts_if),
        TEST(graph_verify_refuses_escape), TEST(graph_verify_refuses_if_cycle),
        TEST(graph_verify_refuses_branch_outputs), TEST(graph_ops_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
