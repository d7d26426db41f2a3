// tests/faults/graph_edges_test.c: graphs that no file can bring, and sizes at the end of their
// range.
//
// Goal:   builder, verifier and memory refuse what would be out of bounds, whoever made the
// mistake:
//         the reader, a rewrite, an operator source.
// Method: a sound graph is bent in one place, by hand, and verified or built on.
#include "tests/unit/graph_support.h"

#include "engine/base/status.h"
#include "engine/graph/build.h"
#include <stdlib.h>

// The graph's constants are const to everybody but this test, which bends them.
static weir__tensor_t *constant_of(uint32_t value)
{
    return (weir__tensor_t *)(uintptr_t)graph->values[value].constant;
}

static void verify_refuses(weir_code_t code, const char *text, int line)
{
    refused_at(weir__graph_verify(graph), code, text, line);
    another_graph();
}
#define VERIFY_REFUSES(code, text) verify_refuses(code, text, __LINE__)

// x -> Relu -> y, and a constant that is read, too. Returns the node of the Relu.
static weir__node_t *sound(uint32_t *out_constant)
{
    uint32_t x = INPUT("x", WEIR_F32, 2), c = RAMP(0, 1, 2), y = OP("Relu", x);
    output(OP("Add", y, c));
    OK(weir__graph_verify(graph));
    if (out_constant)
        *out_constant = c;
    return &graph->nodes[graph->values[y].producer];
}

static void constants(void **state)
{
    (void)state;
    static const int64_t many[] = {1ll << 40, 1ll << 40}, large[] = {1ll << 62, 1};
    uint32_t c;
    sound(&c), constant_of(c)->rank = WEIR_RANK_MAX + 1;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its dtype or rank is not possible");
    sound(&c), constant_of(c)->dtype = 0;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its dtype or rank is not possible");
    sound(&c), constant_of(c)->rank = 2, constant_of(c)->dims = many;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its dims and bytes disagree");
    sound(&c), constant_of(c)->rank = 2, constant_of(c)->dims = large;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its dims and bytes disagree");
    sound(&c), constant_of(c)->count = 3;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its dims and bytes disagree");
    sound(&c), constant_of(c)->bytes = 4;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its dims and bytes disagree");
    sound(&c), constant_of(c)->data = NULL;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has no contents");
    sound(&c), graph->values[c].producer = 0;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "a node produces it, too");
    // Nothing needs no contents.
    const int64_t none[] = {0};
    OK(weir__graph_add_constant(graph, "none", WEIR_F32, 1, none, NULL, true, &c));
    OK(weir__graph_verify(graph));
}

static void inputs(void **state)
{
    (void)state;
    weir__node_t *node = sound(NULL);
    OK(weir__graph_add_input(graph, node->outputs[0]));
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "the graph produces it, too");
    uint32_t c;
    sound(&c);
    OK(weir__graph_add_input(graph, c));
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "the graph produces it, too");
    node = sound(NULL);
    OK(weir__graph_add_input(graph, node->inputs[0]));
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it is there twice");
    node = sound(NULL), graph->values[node->inputs[0]].type.dtype = 0;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its type is not known");
}

static void counts(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2);
    output(OP("Relu", x, x));
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has 2 inputs");
    sound(NULL)->input_count = 0;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has 0 inputs");
    sound(NULL)->output_count = 0;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has 0 outputs");
    sound(NULL)->output_count = 2;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has 2 outputs");
    x = INPUT("x", WEIR_F32, 2);
    uint32_t y = OP("Concat", x, x);
    output(y);
    OK(weir__graph_verify(graph));
    graph->nodes[graph->values[y].producer].inputs[1] = WEIR__NONE;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its input 1 is missing");
    x = INPUT("x", WEIR_F32, 2);
    y = OP("Clip", x, scalar(0), scalar(1));
    output(y);
    graph->nodes[graph->values[y].producer].inputs[2] = WEIR__NONE;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "its input 2 is missing");
    x = INPUT("x", WEIR_F32, 2);
    output(OP("Squeeze", x, WEIR__NONE)); // an optional one may be
    OK(weir__graph_verify(graph));
    another_graph();
    output(OP("If", INPUT("c", WEIR_BOOL, 1)));
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has 0 sub-graphs, 2 are needed");
}

static void places(void **state)
{
    (void)state;
    sound(NULL)->inputs[0] = 1000;
    VERIFY_REFUSES(WEIR_INTERNAL, "reads value 1000, which is none");
    sound(NULL), graph->main.outputs[0] = 1000;
    VERIFY_REFUSES(WEIR_INTERNAL, "an output of a graph reads value 1000");
    sound(NULL), graph->main.nodes[0] = graph->main.nodes[1];
    VERIFY_REFUSES(WEIR_INTERNAL, "is in two places");
    weir__region_t other = {0};
    sound(NULL)->region = &other;
    VERIFY_REFUSES(WEIR_INTERNAL, "is in two places");
    sound(NULL); // the Relu is in no list
    graph->main.nodes[0] = graph->main.nodes[1];
    graph->main.node_count = 1;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "which is not visible there");
    sound(NULL), graph->main.output_count = UINT32_MAX;
    VERIFY_REFUSES(WEIR_LIMIT, "more than 2^32 edges");
}

// An If whose branches each make one value, and the first node of the first branch.
static weir__node_t *with_branches(void)
{
    weir__region_t **regions = calloc(2, sizeof *regions);
    assert_non_null(regions);
    uint32_t x = INPUT("x", WEIR_F32, 2), y = OP("If", INPUT("c", WEIR_BOOL, 1)), inside = 0;
    for (uint32_t i = 0; i < 2; i++) {
        OK(weir__graph_add_region(graph, &graph->main, &regions[i]));
        inside = op_in(regions[i], "Relu", NULL, 0, VALUES(x));
        OK(weir__graph_add_output(graph, regions[i], inside));
    }
    weir_status_t status;
    weir__node_t *node = &graph->nodes[graph->values[y].producer];
    node->regions = weir__graph_array(graph, 2, sizeof *regions, &status);
    OK(status);
    memcpy(node->regions, regions, 2 * sizeof *regions);
    node->region_count = 2;
    free(regions);
    output(y);
    OK(weir__graph_verify(graph));
    return &graph->nodes[node->regions[0]->nodes[0]];
}

static void branches(void **state)
{
    (void)state;
    with_branches()->input_count = 0;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has 0 inputs");
    with_branches()->inputs[0] = 1000;
    VERIFY_REFUSES(WEIR_INTERNAL, "which is none");
    with_branches()->region->output_count = 0;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "it has 1 outputs, its branch 0 has 0");
    with_branches(), graph->limits.subgraph_depth = 0;
    VERIFY_REFUSES(WEIR_LIMIT, "deeper than subgraph_depth = 0");
    with_branches();
    graph->values[graph->main.outputs[0]].producer = WEIR__NONE;
    VERIFY_REFUSES(WEIR_INVALID_ARGUMENT, "which nothing produces");
    // One without surroundings is the first level.
    weir__region_t *region;
    OK(weir__graph_add_region(graph, NULL, &region));
    assert_null(region->parent);
}

static void built_wrongly(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2), wrong = 1000, y, node;
    const weir__op_t *relu = weir__op_find("Relu", 1);
    REFUSED(weir__graph_add_input(graph, wrong), WEIR_INTERNAL, "is no value");
    REFUSED(weir__graph_add_output(graph, &graph->main, wrong), WEIR_INTERNAL, "is no value");
    OK(weir__graph_add_value(graph, "y", &y));
    REFUSED(weir__graph_add_node(graph, &graph->main, relu, &wrong, 1, &y, 1, NULL, 0, "n", &node),
        WEIR_INTERNAL, "node n: input 0 is no value");
    REFUSED(weir__graph_add_node(graph, &graph->main, relu, &x, 1, &wrong, 1, NULL, 0, "n", &node),
        WEIR_INTERNAL, "node n: output 0 is no value");
    // Contents of every type are copied; a text that is absent is an empty one.
    const float floats[] = {1, 2};
    const weir_attribute_t attributes[] = {
        {.name = "floats", .type = WEIR_ATTR_FLOATS, .count = 2, .floats = floats},
        {.name = "none", .type = WEIR_ATTR_FLOATS}, {.name = "text", .type = WEIR_ATTR_STRING}};
    OK(weir__graph_add_node(graph, &graph->main, relu, &x, 1, &y, 1, attributes, 3, "n", &node));
    const weir_attribute_t *copies = graph->nodes[node].attributes;
    assert_true(copies[0].floats != floats && copies[0].floats[1] == floats[1]);
    assert_string_equal(copies[2].s, "");
    graph->zone.limit_bytes = graph->zone.used_bytes + (sizeof attributes[0] + 15) / 16 * 16 + 16;
    const weir_attribute_t *more;
    REFUSED(weir__graph_copy_attributes(graph, attributes, 1, &more), WEIR_LIMIT, "graph_bytes");
}

static void ends_of_ranges(void **state)
{
    (void)state;
    uint32_t value, list_count = 1u << 31, capacity = 1u << 31, *list = NULL;
    weir_status_t status;
    const int64_t dims[WEIR_RANK_MAX + 1] = {0}, many[] = {1ll << 40, 1ll << 40};
    const int64_t large[] = {1ll << 62};
    REFUSED(weir__graph_append(graph, &list, &list_count, &capacity, 0), WEIR_LIMIT,
        "more than 2^31 entries");
    OK(weir__graph_add_value(graph, "x", &value));
    assert_null(weir__graph_array(graph, UINT64_MAX, 2, &status));
    REFUSED(status, WEIR_LIMIT, "graph_bytes");
    assert_null(weir__graph_array(graph, UINT64_MAX - 8, 1, &status));
    REFUSED(status, WEIR_LIMIT, "graph_bytes");
    graph->zone.limit_bytes = 0;
    test_heap.limit_bytes = test_heap.now_bytes + 1000;
    assert_null(weir__graph_array(graph, 2000, 1000, &status));
    assert_int_equal(weir_status_code(status), WEIR_RESOURCE_EXHAUSTED);
    weir_status_free(status);
    graph->limits.rank = WEIR_RANK_MAX + 5;
    REFUSED(weir__graph_add_constant(
                graph, "c", WEIR_F32, WEIR_RANK_MAX + 1, dims, NULL, false, &value),
        WEIR_LIMIT, "rank 17 is more than rank = 16");
    REFUSED(weir__graph_add_constant(graph, "c", WEIR_F32, 2, many, NULL, false, &value),
        WEIR_LIMIT, "tensor_bytes");
    REFUSED(weir__graph_add_constant(graph, "c", WEIR_F32, 1, large, NULL, false, &value),
        WEIR_LIMIT, "tensor_bytes");
    uint32_t count = graph->value_count;
    graph->value_count = WEIR__NONE - 1;
    REFUSED(weir__graph_add_value(graph, NULL, &value), WEIR_LIMIT, "values");
    graph->value_count = count;
    graph->node_count = WEIR__NONE - 1;
    REFUSED(weir__graph_add_node(graph, &graph->main, weir__op_find("Relu", 1), NULL, 0, NULL, 0,
                NULL, 0, NULL, &value),
        WEIR_LIMIT, "nodes");
    graph->node_count = 0;
}

// Goal:   a shape value is kept while it stays the same, and replaced when any part of it changes.
static void shapes_change(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, 2, 3), shape = OP("Shape", x);
    output(shape);
    prepare();
    const weir__shape_value_t *first = graph->values[shape].shape;
    prepare();
    assert_ptr_equal(graph->values[shape].shape, first);
    graph->values[x].type.dims[1] = 4;
    prepare();
    assert_int_equal(graph->values[shape].shape->elements[1], 4);
    graph->values[x].type.dims[1] = n;
    prepare();
    assert_int_equal(graph->values[shape].shape->symbol_mask, 2);
    graph->values[x].type.rank = 1;
    prepare();
    assert_int_equal(graph->values[shape].shape->count, 1);
}

static void memory(void **state)
{
    (void)state;
    weir__zone_t zone;
    weir__zone_init(&zone, &test_heap, 0);
    // A first block that is large has a chunk of its own, in which the next one has no room.
    char *large = weir__zone_alloc(&zone, 3000), *second = weir__zone_alloc(&zone, 3000);
    assert_true(large && second && (second + 3000 <= large || large + 3000 <= second));
    assert_non_null(weir__zone_copy(&zone, NULL, 0));
    assert_null(weir__zone_alloc(&zone, UINT64_MAX));
    assert_null(weir__zone_alloc(&zone, INT64_MAX));
    weir__zone_free(&zone);
    weir__heap_t heap;
    weir__heap_init(&heap, NULL, 0);
    assert_null(weir__heap_alloc(&heap, SIZE_MAX / 2 + 1));
    assert_null(weir__heap_alloc(&heap, SIZE_MAX - 8));
#ifndef WEIR_FAULTS_SANITIZED // which would end the process at such a size
    assert_null(weir__heap_alloc(&heap, 1ull << 60));
#endif
    assert_int_equal(heap.now_bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, graph_setup, graph_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(constants), TEST(inputs), TEST(counts), TEST(places),
        TEST(branches), TEST(built_wrongly), TEST(ends_of_ranges), TEST(shapes_change),
        TEST(memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
