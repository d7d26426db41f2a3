// tests/unit/graph_support.h: building small graphs in tests, and an evaluator for a handful of
// operators.
//
// Each test file includes this once; everything is static. A builder that fails fails the test.
#ifndef WEIR_TESTS_GRAPH_SUPPORT_H
#define WEIR_TESTS_GRAPH_SUPPORT_H

// cmocka.h wants these four before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "engine/graph/graph.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

#define UNUSED __attribute__((unused))

static weir__heap_t test_heap;
static weir__graph_t *graph;

static weir_limits_t test_limits(void)
{
    return (weir_limits_t){.size = sizeof(weir_limits_t),
        .rank = 16,
        .nodes = 100000,
        .values = 100000,
        .initializers = 100000,
        .attributes = 64,
        .name_bytes = 1000,
        .tensor_bytes = 1u << 30,
        .subgraph_depth = 4,
        .fold_node_bytes = 1u << 20,
        .fold_total_bytes = 1u << 22,
        .graph_bytes = 64u << 20};
}

static UNUSED int graph_setup(void **state)
{
    (void)state;
    weir_limits_t limits = test_limits();
    weir__heap_init(&test_heap, NULL, 0);
    return weir__graph_create(&test_heap, &limits, &graph) ? -1 : 0;
}

// Also shows that nothing leaks.
static UNUSED int graph_teardown(void **state)
{
    (void)state;
    weir__graph_free(graph);
    graph = NULL;
    return atomic_load(&test_heap.now_bytes) == 0 ? 0 : -1;
}

// For a test of several graphs: the one before is gone, without a leak.
static UNUSED void another_graph(void)
{
    assert_int_equal(graph_teardown(NULL), 0);
    assert_int_equal(graph_setup(NULL), 0);
}

static UNUSED void ok_at(weir_status_t status, int line)
{
    if (status)
        fail_msg("line %d: %s", line, weir_status_text(status));
}
#define OK(expression) ok_at((expression), __LINE__)

// The expression fails with `code` and a message that has `text` in it.
static UNUSED void refused_at(weir_status_t status, weir_code_t code, const char *text, int line)
{
    if (!status)
        fail_msg("line %d: it was not refused", line);
    if (weir_status_code(status) != code || !strstr(weir_status_message(status), text))
        fail_msg("line %d: %s", line, weir_status_text(status));
    weir_status_free(status);
}
#define REFUSED(expression, code, text) refused_at((expression), (code), (text), __LINE__)

#define INTS(...) ((int64_t[]){__VA_ARGS__})
#define COUNT(...) ((uint32_t)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)))

static UNUSED int64_t sym(const char *name)
{
    int64_t dim;
    OK(weir__graph_symbol(graph, name, 0, &dim));
    return dim;
}

static UNUSED uint32_t add_input(
    const char *name, weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    uint32_t value;
    OK(weir__graph_add_value(graph, name, &value));
    weir__type_t *type = &graph->values[value].type;
    type->dtype = dtype;
    type->rank = (int32_t)rank;
    memcpy(type->dims, dims, rank * sizeof *dims);
    OK(weir__graph_add_input(graph, value));
    return value;
}
#define INPUT(name, dtype, ...) add_input(name, dtype, COUNT(__VA_ARGS__), INTS(__VA_ARGS__))

static UNUSED uint32_t ints_constant(uint32_t count, const int64_t *ints)
{
    uint32_t value;
    int64_t dims[1] = {count};
    OK(weir__graph_add_constant(graph, NULL, WEIR_I64, 1, dims, ints, true, &value));
    return value;
}
#define CONST_INTS(...) ints_constant(COUNT(__VA_ARGS__), INTS(__VA_ARGS__))

static UNUSED uint32_t scalar(float number)
{
    uint32_t value;
    OK(weir__graph_add_constant(graph, NULL, WEIR_F32, 0, NULL, &number, true, &value));
    return value;
}

// An f32 constant whose element i is start + i * step.
static UNUSED uint32_t ramp(float start, float step, uint32_t rank, const int64_t *dims)
{
    static float data[1 << 16];
    uint64_t count = 1;
    uint32_t value;
    for (uint32_t i = 0; i < rank; i++)
        count *= (uint64_t)dims[i];
    assert_true(count <= sizeof data / sizeof data[0]);
    for (uint64_t i = 0; i < count; i++)
        data[i] = start + (float)i * step;
    OK(weir__graph_add_constant(graph, NULL, WEIR_F32, rank, dims, data, true, &value));
    return value;
}
#define RAMP(start, step, ...) ramp(start, step, COUNT(__VA_ARGS__), INTS(__VA_ARGS__))

static UNUSED uint32_t made_nodes;

// A node with one output in `region`; returns the output.
static UNUSED uint32_t op_in(weir__region_t *region, const char *name,
    const weir_attribute_t *attributes, uint32_t attribute_count, const uint32_t *inputs,
    uint32_t input_count)
{
    uint32_t output, node;
    char text[64];
    snprintf(text, sizeof text, "%s_%u", name, made_nodes++);
    assert_non_null(weir__op_find(name, 1));
    OK(weir__graph_add_value(graph, text, &output));
    OK(weir__graph_add_node(graph, region, weir__op_find(name, 1), inputs, input_count, &output, 1,
        attributes, attribute_count, text, &node));
    return output;
}
#define VALUES(...)                                                                                \
    (uint32_t[]){__VA_ARGS__}, (uint32_t)(sizeof((uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))
#define OP(name, ...) op_in(&graph->main, name, NULL, 0, VALUES(__VA_ARGS__))
#define ATTRIBUTES(...)                                                                            \
    (weir_attribute_t[]){__VA_ARGS__},                                                             \
        (uint32_t)(sizeof((weir_attribute_t[]){__VA_ARGS__}) / sizeof(weir_attribute_t))
#define INT_ATTR(n, v)                                                                             \
    {                                                                                              \
        .name = (n), .type = WEIR_ATTR_INT, .i = (v)                                               \
    }
#define FLOAT_ATTR(n, v)                                                                           \
    {                                                                                              \
        .name = (n), .type = WEIR_ATTR_FLOAT, .f = (v)                                             \
    }
#define INTS_ATTR(n, ...)                                                                          \
    {                                                                                              \
        .name = (n), .type = WEIR_ATTR_INTS, .count = COUNT(__VA_ARGS__),                          \
        .ints = INTS(__VA_ARGS__)                                                                  \
    }
#define TEXT_ATTR(n, v)                                                                            \
    {                                                                                              \
        .name = (n), .type = WEIR_ATTR_STRING, .s = (v)                                            \
    }

static UNUSED void output(uint32_t value)
{
    OK(weir__graph_add_output(graph, &graph->main, value));
}

static UNUSED void check_dims(uint32_t value, uint32_t rank, const int64_t *dims, int line)
{
    const weir__type_t *type = &graph->values[value].type;
    if (type->rank != (int32_t)rank || memcmp(type->dims, dims, rank * sizeof *dims) != 0) {
        char text[256];
        fail_msg("line %d: %s is %s", line, graph->values[value].name,
            weir__type_text(graph, type, text, sizeof text));
    }
}
#define DIMS(value, ...) check_dims(value, COUNT(__VA_ARGS__), INTS(__VA_ARGS__), __LINE__)

static UNUSED uint64_t tally(const char *rule)
{
    for (uint32_t i = 0; i < graph->rewrite_count; i++)
        if (strcmp(graph->rewrites[i].name, rule) == 0)
            return graph->rewrites[i].count;
    return 0;
}

// How many nodes of an operator the main graph has; name NULL: of any.
static UNUSED uint32_t node_count(const char *name)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < graph->main.node_count; i++)
        count += !name || strcmp(graph->nodes[graph->main.nodes[i]].op->name, name) == 0;
    return count;
}

static UNUSED const weir__node_t *producer(uint32_t value)
{
    uint32_t node = graph->values[value].producer;
    return node == WEIR__NONE ? NULL : &graph->nodes[node];
}

static UNUSED float element(const weir__tensor_t *tensor, uint64_t index)
{
    return ((const float *)tensor->data)[tensor->count == 1 ? 0 : index];
}

// Evaluates f32 Add, Mul, Sqrt of equal shapes or with scalars; everything else is UNSUPPORTED.
static UNUSED weir_status_t evaluate(void *user, const weir__node_t *node,
    const weir__tensor_t *const *inputs, const weir__tensor_t *outputs)
{
    uint32_t *calls = user;
    if (calls)
        (*calls)++;
    float *y = (float *)(uintptr_t)outputs[0].data;
    bool add = strcmp(node->op->name, "Add") == 0, mul = strcmp(node->op->name, "Mul") == 0;
    bool root = strcmp(node->op->name, "Sqrt") == 0;
    if ((!add && !mul && !root) || inputs[0]->dtype != WEIR_F32)
        return weir__status_make(WEIR_UNSUPPORTED, __FILE__, __LINE__, "not in this test");
    for (uint64_t i = 0; i < outputs[0].count; i++) {
        float a = element(inputs[0], i), b = root ? 0 : element(inputs[1], i);
        y[i] = add ? a + b : mul ? a * b : sqrtf(a);
    }
    return NULL;
}

static UNUSED void prepare(void)
{
    OK(weir__graph_verify(graph));
    OK(weir__graph_infer(graph));
}

static UNUSED void simplify(void)
{
    prepare();
    OK(weir__graph_simplify(graph, evaluate, NULL));
}

#endif
