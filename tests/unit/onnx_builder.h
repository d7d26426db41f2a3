// tests/unit/onnx_builder.h: writes small ONNX models, right or wrong ones, byte by byte.
//
// A message is a growing run of bytes; a nested one is appended whole and freed. Nothing here is
// shared with the reader, so a mistake about the format would have to be made twice.
#ifndef WEIR_UNIT_ONNX_BUILDER_H
#define WEIR_UNIT_ONNX_BUILDER_H

#include "engine/onnx/onnx.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct message {
    uint8_t *data;
    size_t count, capacity;
} message_t;

static inline void put_byte(message_t *message, unsigned byte)
{
    if (message->count == message->capacity) {
        message->capacity = message->capacity ? message->capacity * 2 : 64;
        message->data = realloc(message->data, message->capacity);
        assert_non_null(message->data);
    }
    message->data[message->count++] = (uint8_t)byte;
}

static inline void put_varint(message_t *message, uint64_t value)
{
    for (; value > 127; value >>= 7)
        put_byte(message, (unsigned)(value & 127) | 128);
    put_byte(message, (unsigned)value);
}

static inline void put_int(message_t *message, uint32_t field, int64_t value)
{
    put_varint(message, (uint64_t)field << 3);
    put_varint(message, (uint64_t)value);
}

static inline void put_bytes(message_t *message, uint32_t field, const void *data, size_t count)
{
    put_varint(message, (uint64_t)field << 3 | 2);
    put_varint(message, count);
    for (size_t i = 0; i < count; i++)
        put_byte(message, ((const uint8_t *)data)[i]);
}

static inline void put_text(message_t *message, uint32_t field, const char *text)
{
    put_bytes(message, field, text, strlen(text));
}

static inline void put_float(message_t *message, uint32_t field, float value)
{
    uint8_t bytes[4];
    memcpy(bytes, &value, sizeof bytes);
    put_varint(message, (uint64_t)field << 3 | 5);
    for (int i = 0; i < 4; i++)
        put_byte(message, bytes[i]);
}

// Appends `child` and frees it.
static inline void put_message(message_t *message, uint32_t field, message_t child)
{
    put_bytes(message, field, child.data, child.count);
    free(child.data);
}

// ---- Attributes: appended to a list of fields that goes into a node ---------------------------

static inline message_t attribute_head(const char *name, int64_t type)
{
    message_t attribute = {0};
    put_text(&attribute, 1, name);
    put_int(&attribute, 20, type);
    return attribute;
}

static inline void attribute_int(message_t *list, const char *name, int64_t value)
{
    message_t attribute = attribute_head(name, 2);
    put_int(&attribute, 3, value);
    put_message(list, 5, attribute);
}

static inline void attribute_float(message_t *list, const char *name, float value)
{
    message_t attribute = attribute_head(name, 1);
    put_float(&attribute, 2, value);
    put_message(list, 5, attribute);
}

static inline void attribute_text(message_t *list, const char *name, const char *value)
{
    message_t attribute = attribute_head(name, 3);
    put_text(&attribute, 4, value);
    put_message(list, 5, attribute);
}

static inline void attribute_ints(
    message_t *list, const char *name, size_t count, const int64_t *values)
{
    message_t attribute = attribute_head(name, 7);
    for (size_t i = 0; i < count; i++)
        put_int(&attribute, 8, values[i]);
    put_message(list, 5, attribute);
}

static inline void attribute_floats(
    message_t *list, const char *name, size_t count, const float *values)
{
    message_t attribute = attribute_head(name, 6);
    for (size_t i = 0; i < count; i++)
        put_float(&attribute, 7, values[i]);
    put_message(list, 5, attribute);
}

static inline void attribute_texts(
    message_t *list, const char *name, size_t count, const char *const *values)
{
    message_t attribute = attribute_head(name, 8);
    for (size_t i = 0; i < count; i++)
        put_text(&attribute, 9, values[i]);
    put_message(list, 5, attribute);
}

static inline void attribute_message(
    message_t *list, const char *name, int64_t type, uint32_t field, message_t value)
{
    message_t attribute = attribute_head(name, type);
    put_message(&attribute, field, value);
    put_message(list, 5, attribute);
}
#define attribute_tensor(list, name, tensor) attribute_message(list, name, 4, 5, tensor)
#define attribute_graph(list, name, graph) attribute_message(list, name, 5, 6, graph)

static inline void attribute_reference(
    message_t *list, const char *name, int64_t type, const char *outer)
{
    message_t attribute = attribute_head(name, type);
    put_text(&attribute, 21, outer);
    put_message(list, 5, attribute);
}

// ---- Nodes, tensors, graphs, models ------------------------------------------------------------

// Names separated by commas, in their order; "" between two commas.
static inline void put_names(message_t *message, uint32_t field, const char *names)
{
    for (const char *at = names; *names;) {
        size_t length = strcspn(at, ",");
        put_bytes(message, field, at, length);
        if (!at[length])
            break;
        at += length + 1;
    }
}

// attributes: freed.
static inline message_t make_node(
    const char *op, const char *name, const char *inputs, const char *outputs, message_t attributes)
{
    message_t node = {0};
    put_names(&node, 1, inputs);
    put_names(&node, 2, outputs);
    put_text(&node, 3, name);
    put_text(&node, 4, op);
    for (size_t i = 0; i < attributes.count; i++)
        put_byte(&node, attributes.data[i]);
    free(attributes.data);
    return node;
}

static inline void add_node(message_t *graph, const char *op, const char *name, const char *inputs,
    const char *outputs, message_t attributes)
{
    put_message(graph, 1, make_node(op, name, inputs, outputs, attributes));
}

static inline message_t tensor_head(
    const char *name, int64_t type, size_t rank, const int64_t *dims)
{
    message_t tensor = {0};
    for (size_t i = 0; i < rank; i++)
        put_int(&tensor, 1, dims[i]);
    put_int(&tensor, 2, type);
    put_text(&tensor, 8, name);
    return tensor;
}

static inline message_t raw_tensor(const char *name, int64_t type, size_t rank, const int64_t *dims,
    const void *data, size_t bytes)
{
    message_t tensor = tensor_head(name, type, rank, dims);
    put_bytes(&tensor, 9, data, bytes);
    return tensor;
}

static inline void add_floats(message_t *graph, const char *name, size_t count, const float *values)
{
    int64_t dim = (int64_t)count;
    put_message(graph, 5, raw_tensor(name, 1, 1, &dim, values, count * sizeof *values));
}

static inline void add_int64s(
    message_t *graph, const char *name, size_t count, const int64_t *values)
{
    int64_t dim = (int64_t)count;
    put_message(graph, 5, raw_tensor(name, 7, 1, &dim, values, count * sizeof *values));
}

// field 11: an input, 12: an output. dims: "2,N,?"; numbers are sizes; NULL: no shape.
static inline void add_port(
    message_t *graph, uint32_t field, const char *name, int64_t type, const char *dims)
{
    message_t info = {0}, value_type = {0}, tensor = {0}, shape = {0};
    put_int(&tensor, 1, type);
    for (const char *at = dims; at && *at;) {
        size_t length = strcspn(at, ",");
        message_t dim = {0};
        char *end;
        long long size = strtoll(at, &end, 10);
        if (end == at + length)
            put_int(&dim, 1, size);
        else
            put_bytes(&dim, 2, at, length);
        put_message(&shape, 1, dim);
        at += length + (at[length] == ',');
    }
    if (dims)
        put_message(&tensor, 2, shape);
    put_message(&value_type, 1, tensor);
    put_text(&info, 1, name);
    put_message(&info, 2, value_type);
    put_message(graph, field, info);
}
#define add_input(graph, name, type, dims) add_port(graph, 11, name, type, dims)
#define add_output(graph, name) add_port(graph, 12, name, 1, NULL)

static inline void add_opset(message_t *model, uint32_t field, const char *domain, int64_t version)
{
    message_t opset = {0};
    put_text(&opset, 1, domain);
    put_int(&opset, 2, version);
    put_message(model, field, opset);
}

static inline message_t make_model(message_t graph, int64_t opset)
{
    message_t model = {0};
    put_int(&model, 1, 8);
    put_text(&model, 2, "by hand");
    add_opset(&model, 8, "", opset);
    put_message(&model, 7, graph);
    return model;
}

// ---- Reading -----------------------------------------------------------------------------------

static inline weir_limits_t test_limits(void)
{
    return (weir_limits_t){.size = sizeof(weir_limits_t),
        .function_nodes = 100000,
        .operands = 10000,
        .rank = 16,
        .file_bytes = 1u << 30,
        .external_bytes = 1u << 30,
        .nodes = 1000,
        .values = 10000,
        .initializers = 100,
        .attributes = 32,
        .name_bytes = 200,
        .tensor_bytes = 1u << 20,
        .subgraph_depth = 8,
        .wire_depth = 60,
        .fold_node_bytes = 1u << 20,
        .fold_total_bytes = 1u << 20,
        .graph_bytes = 8u << 20,
        .peak_bytes = 1u << 30,
        .arena_bytes = 1u << 30,
        .load_ns = 1000000000};
}

// A model being read: the graph borrows from the bytes.
typedef struct loaded {
    weir__heap_t heap;
    message_t model;
    weir__graph_t *graph;
    weir__onnx_info_t info;
    weir_status_t status;
} loaded_t;

// model: taken over.
static inline void load_with(loaded_t *loaded, message_t model, const weir_limits_t *limits)
{
    *loaded = (loaded_t){.model = model};
    weir__heap_init(&loaded->heap, NULL, 0);
    assert_null(weir__graph_create(&loaded->heap, limits, &loaded->graph));
    loaded->status =
        weir__onnx_read(model.data, model.count, "m.onnx", loaded->graph, &loaded->info);
}

static inline void load(loaded_t *loaded, message_t model)
{
    weir_limits_t limits = test_limits();
    load_with(loaded, model, &limits);
}

// Frees everything and checks that nothing is left.
static inline void unload(loaded_t *loaded)
{
    weir_status_free(loaded->status);
    weir__graph_free(loaded->graph);
    assert_int_equal(atomic_load(&loaded->heap.now_bytes), 0);
    free(loaded->model.data);
}

// The model is refused with this code and a message that holds `text`.
static inline void expect_refused(
    message_t model, const weir_limits_t *limits, weir_code_t code, const char *text)
{
    loaded_t loaded;
    load_with(&loaded, model, limits);
    assert_non_null(loaded.status);
    const char *message = weir_status_message(loaded.status);
    if (weir_status_code(loaded.status) != code || !strstr(message, text))
        fail_msg("expected %s ... %s ..., got %s", weir_code_name(code), text,
            weir_status_text(loaded.status));
    assert_memory_equal(message, "m.onnx: ", 8);
    unload(&loaded);
}

static inline void expect_error(message_t model, weir_code_t code, const char *text)
{
    weir_limits_t limits = test_limits();
    expect_refused(model, &limits, code, text);
}

// The number of the value of that name.
static inline uint32_t value_of(const weir__graph_t *graph, const char *name)
{
    for (uint32_t i = 0; i < graph->value_count; i++)
        if (strcmp(graph->values[i].name, name) == 0)
            return i;
    fail_msg("no value is called %s", name);
    return WEIR__NONE;
}

// The node that makes the value of that name.
static inline const weir__node_t *maker_of(const weir__graph_t *graph, const char *name)
{
    uint32_t producer = graph->values[value_of(graph, name)].producer;
    assert_int_not_equal(producer, WEIR__NONE);
    return &graph->nodes[producer];
}

// The constant that is input `index` of a node.
static inline const weir__tensor_t *constant_input(
    const weir__graph_t *graph, const weir__node_t *node, uint32_t index)
{
    assert_true(index < node->input_count);
    assert_int_not_equal(node->inputs[index], WEIR__NONE);
    const weir__tensor_t *constant = graph->values[node->inputs[index]].constant;
    assert_non_null(constant);
    return constant;
}

#endif
