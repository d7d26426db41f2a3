// engine/onnx/call.c: functions of the model, put in place of the nodes that call them.
//
// A body is read anew at every call and its nodes are charged each time, so functions that call
// others twice, many deep, meet the limit function_nodes, and one that calls itself meets
// subgraph_depth.
#include "engine/onnx/reader.h"

#include <inttypes.h>
#include <string.h>

static weir_status_t function_key(const weir__onnx_context_t *context, const char *domain,
    const char *name, const char *overload, const char **out_key)
{
    *out_key = weir__zone_format(context->zone, "%s\n%s\n%s", domain, name, overload);
    return *out_key ? NULL : weir__status_no_memory();
}

weir_status_t weir__functions_index(weir__onnx_reader_t *reader)
{
    const weir__onnx_context_t *context = &reader->context;
    for (uint32_t i = 0; i < reader->function_count; i++) {
        weir__wire_t wire;
        weir__wire_field_t field;
        const char *name = "", *domain = "", *overload = "", *key;
        uint32_t other;
        WEIR_TRY(
            weir__wire_open(&wire, reader->function_spans[i], "FunctionProto", context->limits));
        for (;;) {
            WEIR_TRY(weir__wire_next(&wire, &field));
            if (!field.number)
                break;
            if (field.number == 1)
                WEIR_TRY(weir__onnx_text(context, &wire, &field, &name));
            else if (field.number == 10)
                WEIR_TRY(weir__onnx_text(context, &wire, &field, &domain));
            else if (field.number == 13)
                WEIR_TRY(weir__onnx_text(context, &wire, &field, &overload));
        }
        if (strcmp(domain, "ai.onnx") == 0)
            domain = "";
        WEIR_TRY(function_key(context, domain, name, overload, &key));
        if (weir__map_get(&reader->functions, key, &other))
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "two functions of the model are called %s::%s",
                domain, name);
        if (!weir__map_put(&reader->functions, key, i))
            return weir__status_no_memory();
    }
    return NULL;
}

const weir__span_t *weir__function_find(weir__onnx_reader_t *reader, const weir__onnx_node_t *node)
{
    const char *key;
    uint32_t index;
    if (!reader->function_count)
        return NULL;
    weir_status_t status =
        function_key(&reader->context, node->domain, node->op_type, node->overload, &key);
    // Without memory for the key the node itself fails next, with a better message.
    bool found = !status && weir__map_get(&reader->functions, key, &index);
    weir_status_free(status);
    return found ? &reader->function_spans[index] : NULL;
}

// What a FunctionProto holds, by count.
typedef struct counts {
    uint64_t nodes, inputs, outputs, opsets, defaults;
} counts_t;

typedef struct body {
    weir__frame_t *frame;
    const char **outputs;
    weir__onnx_opset_t *opsets;
    weir__onnx_attribute_t *actuals;
    uint32_t input_count, output_count;
} body_t;

static weir_status_t count_body(weir__span_t function, counts_t *out_counts)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    counts_t counts = {0};
    weir__wire_reopen(&wire, function, "FunctionProto"); // its name was read before
    while (weir__wire_again(&wire, &field)) {
        counts.inputs += field.number == 4;
        counts.outputs += field.number == 5;
        counts.nodes += field.number == 7;
        counts.opsets += field.number == 9;
        counts.defaults += field.number == 11;
    }
    if (counts.opsets > WEIR__ONNX_IMPORTS_MAX)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "a function imports %" PRIu64 " operator sets; at most %d make sense", counts.opsets,
            WEIR__ONNX_IMPORTS_MAX);
    *out_counts = counts;
    return NULL;
}

static weir_status_t read_body_field(weir__onnx_reader_t *reader, const weir__norm_t *call,
    const weir__wire_t *wire, const weir__wire_field_t *field, body_t *body)
{
    const weir__onnx_context_t *context = &reader->context;
    weir__frame_t *frame = body->frame;
    const char *name;
    uint32_t value = WEIR__NONE;
    switch (field->number) {
    case 4:
        WEIR_TRY(weir__onnx_text(context, wire, field, &name));
        return weir__frame_bind(frame, name, weir__norm_input(call, body->input_count++));
    case 5:
        WEIR_TRY(weir__onnx_text(context, wire, field, &name));
        if (body->output_count < call->output_count)
            value = call->outputs[body->output_count];
        body->outputs[body->output_count++] = name;
        return weir__map_put(&frame->exports, name, value) ? NULL : weir__status_no_memory();
    case 9:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        return weir__onnx_opset_read(context, field->span, &body->opsets[frame->opset_count++]);
    case 11: // the default of an attribute; what the call gives stands before it
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        return weir__onnx_attribute_read(
            context, field->span, &body->actuals[frame->actual_count++]);
    default:
        return NULL;
    }
}

static weir_status_t read_body(weir__onnx_reader_t *reader, weir__span_t function,
    const weir__norm_t *call, const counts_t *counts, body_t *body)
{
    const weir__onnx_context_t *context = &reader->context;
    weir__frame_t *frame = body->frame;
    weir__wire_t wire;
    weir__wire_field_t field;
    weir_status_t status;
    uint32_t given = call->node->attribute_count;
    body->outputs = weir__onnx_alloc(context, counts->outputs, sizeof *body->outputs, &status);
    if (!body->outputs)
        return status;
    body->opsets = weir__onnx_alloc(context, counts->opsets, sizeof *body->opsets, &status);
    if (!body->opsets)
        return status;
    body->actuals =
        weir__onnx_alloc(context, counts->defaults + given, sizeof *body->actuals, &status);
    if (!body->actuals)
        return status;
    if (given)
        memcpy(body->actuals, call->node->attributes, given * sizeof *body->actuals);
    frame->actual_count = given;
    frame->actuals = body->actuals;
    frame->opsets = body->opsets;
    weir__wire_reopen(&wire, function, "FunctionProto");
    while (weir__wire_again(&wire, &field))
        WEIR_TRY(read_body_field(reader, call, &wire, &field, body));
    if (call->input_count > body->input_count || call->output_count > body->output_count)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "the call has %u inputs and %u outputs, but its function has %u and %u",
            call->input_count, call->output_count, body->input_count, body->output_count);
    return NULL;
}

// An output that is an input or a constant of the function has no node that makes the caller's
// value.
static weir_status_t pass_through(const weir__norm_t *call, const body_t *body)
{
    for (uint32_t i = 0; i < call->output_count; i++) {
        uint32_t inside;
        if (call->outputs[i] == WEIR__NONE)
            continue;
        if (!weir__map_get(&body->frame->names, body->outputs[i], &inside) || inside == WEIR__NONE)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "output %s of the function is made by no node of it", body->outputs[i]);
        if (inside != call->outputs[i])
            WEIR_TRY(weir__norm_emit_plain(call, "Identity", &inside, 1, call->outputs[i]));
    }
    return NULL;
}

weir_status_t weir__function_call(
    weir__onnx_reader_t *reader, weir__span_t function, const weir__norm_t *call)
{
    const weir__onnx_context_t *context = &reader->context;
    const weir__frame_t *caller = reader->top;
    counts_t counts;
    body_t body = {0};
    if (caller->call_depth >= context->limits->subgraph_depth)
        return WEIR_ERR(WEIR_LIMIT,
            "functions call one another deeper than the limit subgraph_depth (%" PRIu64 ")",
            context->limits->subgraph_depth);
    WEIR_TRY(count_body(function, &counts));
    reader->function_node_count += counts.nodes;
    if (reader->function_node_count > context->limits->function_nodes)
        return WEIR_ERR(WEIR_LIMIT,
            "calls of functions make %" PRIu64
            " nodes or more, over the limit function_nodes (%" PRIu64 ")",
            reader->function_node_count, context->limits->function_nodes);
    WEIR_TRY(weir__frame_make(reader, &body.frame));
    weir__frame_t *frame = body.frame;
    weir__frame_push(reader, frame);
    frame->in_function = true;
    frame->region = call->region;
    frame->call_depth = caller->call_depth + 1;
    frame->prefix = weir__zone_format(context->zone, "%s/", call->origin);
    if (!frame->prefix)
        return weir__status_no_memory();
    WEIR_TRY(read_body(reader, function, call, &counts, &body));
    WEIR_TRY(weir__frame_read_nodes(reader, frame, function, "FunctionProto", 7, counts.nodes));
    WEIR_TRY(weir__frame_declare(reader, frame));
    return pass_through(call, &body);
}
