// engine/onnx/scope.c: opening a graph: its nodes, constants, inputs, outputs, and who is called
// what.
//
// Every name is declared before any node is processed, so that nodes may come in any order; the
// verifier sorts them and refuses cycles.
#include "engine/onnx/reader.h"

#include <inttypes.h>
#include <string.h>

weir_status_t weir__frame_make(weir__onnx_reader_t *reader, weir__frame_t **out_frame)
{
    weir_status_t status;
    weir__frame_t *frame = weir__onnx_alloc(&reader->context, 1, sizeof *frame, &status);
    if (!frame)
        return status;
    frame->prefix = "";
    weir__map_init(&frame->names, reader->context.graph->heap);
    weir__map_init(&frame->exports, reader->context.graph->heap);
    *out_frame = frame;
    return NULL;
}

void weir__frame_push(weir__onnx_reader_t *reader, weir__frame_t *frame)
{
    frame->below = reader->top;
    reader->top = frame;
}

void weir__frame_pop(weir__onnx_reader_t *reader)
{
    weir__frame_t *frame = reader->top;
    reader->top = frame->below;
    weir__map_free(&frame->names);
    weir__map_free(&frame->exports);
}

weir_status_t weir__frame_bind(weir__frame_t *frame, const char *name, uint32_t value)
{
    uint32_t other;
    if (weir__map_get(&frame->names, name, &other))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "two tensors of one graph are called %s: the model is not valid", name);
    return weir__map_put(&frame->names, name, value) ? NULL : weir__status_no_memory();
}

bool weir__frame_resolve(const weir__frame_t *frame, const char *name, uint32_t *out_value)
{
    for (; frame; frame = frame->outer)
        if (weir__map_get(&frame->names, name, out_value))
            return true;
    return false;
}

int64_t weir__frame_opset(const weir__frame_t *frame, const char *domain)
{
    for (uint32_t i = 0; i < frame->opset_count; i++)
        if (strcmp(frame->opsets[i].domain, domain) == 0)
            return frame->opsets[i].version;
    return 0;
}

bool weir__is_constant_node(const weir__onnx_node_t *node)
{
    return !node->domain[0] && strcmp(node->op_type, "Constant") == 0;
}

// ---- Nodes -----------------------------------------------------------------------------------

// Puts the call's attributes in the place of references to them. One that the call does not give
// goes.
static void resolve_references(const weir__frame_t *frame, weir__onnx_node_t *node)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < node->attribute_count; i++) {
        weir__onnx_attribute_t attribute = node->attributes[i];
        bool found = !attribute.reference[0] || !frame->in_function;
        for (uint32_t j = 0; j < frame->actual_count && !found; j++) {
            found = strcmp(frame->actuals[j].name, attribute.reference) == 0;
            const char *name = attribute.name;
            if (found) {
                attribute = frame->actuals[j];
                attribute.name = name;
            }
        }
        if (found)
            node->attributes[kept++] = attribute;
    }
    node->attribute_count = kept;
}

weir_status_t weir__frame_read_nodes(weir__onnx_reader_t *reader, weir__frame_t *frame,
    weir__span_t span, const char *message, uint32_t number, uint64_t count)
{
    const weir_limits_t *limits = reader->context.limits;
    weir_status_t status;
    weir__wire_t wire;
    weir__wire_field_t field;
    reader->node_count += count;
    if (reader->node_count > limits->nodes || count > UINT32_MAX)
        return WEIR_ERR(WEIR_LIMIT,
            "the model has %" PRIu64 " nodes or more, over the limit nodes (%" PRIu64 ")",
            reader->node_count, limits->nodes);
    frame->nodes = weir__onnx_alloc(&reader->context, count, sizeof *frame->nodes, &status);
    if (!frame->nodes)
        return status;
    weir__wire_reopen(&wire, span, message);
    while (weir__wire_again(&wire, &field)) {
        if (field.number != number)
            continue;
        WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_BYTES));
        weir__onnx_node_t *node = &frame->nodes[frame->node_count];
        WEIR_TRY(weir__onnx_node_read(&reader->context, field.span, node));
        resolve_references(frame, node);
        frame->node_count++;
    }
    return NULL;
}

// ---- Constants -------------------------------------------------------------------------------

static weir_status_t add_numbers(const weir__onnx_context_t *context, const char *name,
    weir_dtype_t dtype, uint32_t rank, const void *data, uint64_t count, uint32_t *out_value)
{
    int64_t dim = (int64_t)count;
    return weir__graph_add_constant(context->graph, name, dtype, rank, &dim, data, true, out_value);
}

static weir_status_t read_constant_node(
    weir__onnx_reader_t *reader, const weir__onnx_node_t *node, uint32_t *out_value)
{
    const weir__onnx_context_t *context = &reader->context;
    if (node->attribute_count != 1 || node->output_count != 1 || node->input_count)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "a Constant has one value, one output and no inputs");
    const weir__onnx_attribute_t *value = &node->attributes[0];
    const char *name = node->outputs[0];
    if (strcmp(value->name, "value") == 0 && value->type == WEIR__ONNX_TENSOR)
        return weir__onnx_tensor_read(context, value->span, name, out_value);
    if (strcmp(value->name, "value_int") == 0 && value->type == WEIR__ONNX_INT)
        return add_numbers(context, name, WEIR_I64, 0, &value->i, 1, out_value);
    if (strcmp(value->name, "value_float") == 0 && value->type == WEIR__ONNX_FLOAT)
        return add_numbers(context, name, WEIR_F32, 0, &value->f, 1, out_value);
    if (strcmp(value->name, "value_ints") == 0 && value->type == WEIR__ONNX_INTS)
        return add_numbers(context, name, WEIR_I64, 1, value->ints, value->count, out_value);
    if (strcmp(value->name, "value_floats") == 0 && value->type == WEIR__ONNX_FLOATS)
        return add_numbers(context, name, WEIR_F32, 1, value->floats, value->count, out_value);
    return WEIR_ERR(WEIR_UNSUPPORTED,
        "a Constant with attribute %s (type %u) is not supported: only numbers and dense tensors "
        "are",
        value->name, value->type);
}

static weir_status_t declare_output(
    weir__onnx_reader_t *reader, weir__frame_t *frame, const char *name)
{
    uint32_t value = WEIR__NONE;
    if (frame->in_function && weir__map_get(&frame->exports, name, &value) && value != WEIR__NONE)
        return weir__frame_bind(frame, name, value);
    // Values inside a function get made-up names: each call would need others.
    bool made_up = frame->in_function && !frame->outer;
    WEIR_TRY(weir__graph_add_value(reader->context.graph, made_up ? NULL : name, &value));
    return weir__frame_bind(frame, name, value);
}

weir_status_t weir__frame_declare(weir__onnx_reader_t *reader, weir__frame_t *frame)
{
    for (uint32_t i = 0; i < frame->node_count; i++) {
        const weir__onnx_node_t *node = &frame->nodes[i];
        uint32_t value;
        if (weir__is_constant_node(node)) {
            const char *name = node->output_count ? node->outputs[0] : "";
            WEIR_TRY(weir__status_prefix(read_constant_node(reader, node, &value),
                "node %s (Constant)", node->name[0] ? node->name : name));
            WEIR_TRY(weir__frame_bind(frame, name, value));
            continue;
        }
        for (uint32_t j = 0; j < node->output_count; j++)
            if (node->outputs[j][0])
                WEIR_TRY(declare_output(reader, frame, node->outputs[j]));
    }
    return NULL;
}

// ---- Graphs ----------------------------------------------------------------------------------

static weir_status_t read_initializer(
    weir__onnx_reader_t *reader, weir__frame_t *frame, weir__span_t span)
{
    uint32_t value;
    const weir_limits_t *limits = reader->context.limits;
    if (++reader->initializer_count > limits->initializers)
        return WEIR_ERR(WEIR_LIMIT,
            "the model has more constants than the limit initializers (%" PRIu64 ")",
            limits->initializers);
    WEIR_TRY(weir__onnx_tensor_read(&reader->context, span, NULL, &value));
    return weir__frame_bind(frame, reader->context.graph->values[value].name, value);
}

// Who runs the model looks through these for the names of sizes.
static weir_status_t check_port_count(
    const weir__onnx_reader_t *reader, const char *what, uint32_t count)
{
    uint64_t most = reader->context.limits->operands;
    return count < most
               ? NULL
               : WEIR_ERR(WEIR_LIMIT, "the model has more %s than the limit operands (%" PRIu64 ")",
                     what, most);
}

// Old files list initialisers among the inputs; those are constants here.
static weir_status_t read_input(
    weir__onnx_reader_t *reader, weir__frame_t *frame, weir__span_t span, bool is_main)
{
    weir__graph_t *graph = reader->context.graph;
    const char *name;
    bool has_type;
    weir__type_t type;
    uint32_t value;
    WEIR_TRY(weir__status_prefix(
        weir__onnx_value_info_read(&reader->context, span, &name, &has_type, &type), "input"));
    if (weir__map_get(&frame->names, name, &value) && graph->values[value].constant)
        return NULL;
    if (!is_main)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "a branch of an If has the input %s; it may have none", name);
    if (!has_type)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "input %s has no type: the file must say its element type and shape", name);
    WEIR_TRY(check_port_count(reader, "inputs", graph->main.input_count));
    WEIR_TRY(weir__graph_add_value(graph, name, &value));
    graph->values[value].type = type;
    WEIR_TRY(weir__frame_bind(frame, graph->values[value].name, value));
    return weir__graph_add_input(graph, value);
}

static weir_status_t read_output(
    weir__onnx_reader_t *reader, weir__frame_t *frame, weir__span_t span)
{
    const char *name;
    bool has_type;
    weir__type_t type;
    uint32_t value;
    WEIR_TRY(weir__status_prefix(
        weir__onnx_value_info_read(&reader->context, span, &name, &has_type, &type), "output"));
    if (!weir__frame_resolve(frame, name, &value) || value == WEIR__NONE)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "output %s is made by no node, and is neither an input nor a constant", name);
    WEIR_TRY(check_port_count(reader, "outputs", frame->region->output_count));
    return weir__graph_add_output(reader->context.graph, frame->region, value);
}

// Handles every field `number` of a GraphProto.
static weir_status_t for_each(weir__onnx_reader_t *reader, weir__frame_t *frame, weir__span_t span,
    uint32_t number, bool is_main)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    weir__wire_reopen(&wire, span, "GraphProto");
    while (weir__wire_again(&wire, &field)) {
        if (field.number != number)
            continue;
        WEIR_TRY(weir__wire_expect(&wire, &field, WEIR__WIRE_BYTES));
        if (number == 5)
            WEIR_TRY(read_initializer(reader, frame, field.span));
        else if (number == 11)
            WEIR_TRY(read_input(reader, frame, field.span, is_main));
        else
            WEIR_TRY(read_output(reader, frame, field.span));
    }
    return NULL;
}

weir_status_t weir__frame_open_graph(
    weir__onnx_reader_t *reader, weir__frame_t *frame, weir__span_t span, bool is_main)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    uint64_t nodes = 0;
    const char *name = "";
    WEIR_TRY(weir__wire_open(&wire, span, "GraphProto", reader->context.limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        nodes += field.number == 1;
        if (field.number == 2)
            WEIR_TRY(weir__onnx_text(&reader->context, &wire, &field, &name));
        if (field.number == 15)
            return WEIR_ERR(WEIR_UNSUPPORTED,
                "the sparse initialiser at byte %" PRIu64
                " of the file is not supported: save it as a dense tensor",
                field.offset);
    }
    if (is_main) {
        weir__graph_t *graph = reader->context.graph;
        graph->name = weir__zone_string(&graph->zone, name, strlen(name));
        if (!graph->name)
            return weir__status_no_memory();
    }
    WEIR_TRY(weir__frame_read_nodes(reader, frame, span, "GraphProto", 1, nodes));
    reader->info->file_node_count += nodes;
    WEIR_TRY(for_each(reader, frame, span, 5, is_main));
    WEIR_TRY(for_each(reader, frame, span, 11, is_main));
    WEIR_TRY(weir__frame_declare(reader, frame));
    return for_each(reader, frame, span, 12, is_main);
}
