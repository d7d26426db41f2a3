// engine/onnx/reader.c: ModelProto, and the loop that takes nodes from the stack of frames.
#include "engine/onnx/reader.h"

#include <inttypes.h>
#include <string.h>

// ---- One node --------------------------------------------------------------------------------

static weir_status_t make_origin(weir__onnx_reader_t *reader, const weir__frame_t *frame,
    const weir__onnx_node_t *node, const char **out_origin)
{
    weir__zone_t *zone = &reader->zone;
    uint32_t index = frame->next - 1;
    if (node->name[0])
        *out_origin = weir__zone_format(zone, "%s%s", frame->prefix, node->name);
    else
        *out_origin = weir__zone_format(zone, "%s%s#%u -> %s", frame->prefix, node->op_type, index,
            node->output_count ? node->outputs[0] : "");
    return *out_origin ? NULL : weir__status_no_memory();
}

static weir_status_t resolve_values(weir__onnx_reader_t *reader, const weir__frame_t *frame,
    const weir__onnx_node_t *node, weir__norm_t *norm)
{
    weir_status_t status;
    uint32_t *inputs =
        weir__onnx_alloc(&reader->context, node->input_count, sizeof *inputs, &status);
    if (!inputs)
        return status;
    uint32_t *outputs =
        weir__onnx_alloc(&reader->context, node->output_count, sizeof *outputs, &status);
    if (!outputs)
        return status;
    for (uint32_t i = 0; i < node->input_count; i++) {
        inputs[i] = WEIR__NONE;
        if (node->inputs[i][0] && !weir__frame_resolve(frame, node->inputs[i], &inputs[i]))
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "its input %u, %s, is made by no node, and is neither an input nor a constant", i,
                node->inputs[i]);
    }
    for (uint32_t i = 0; i < node->output_count; i++) {
        outputs[i] = WEIR__NONE;
        if (node->outputs[i][0])
            weir__map_get(&frame->names, node->outputs[i], &outputs[i]);
    }
    norm->inputs = inputs;
    norm->input_count = node->input_count;
    while (norm->input_count && inputs[norm->input_count - 1] == WEIR__NONE)
        norm->input_count--;
    norm->outputs = outputs;
    norm->output_count = node->output_count;
    return NULL;
}

static weir_status_t open_branch(weir__onnx_reader_t *reader, const weir__norm_t *norm,
    const weir__frame_t *outer, const char *name, weir__region_t *region)
{
    weir__frame_t *frame;
    const weir__onnx_attribute_t *branch = weir__norm_find(norm, name);
    if (!branch || branch->type != WEIR__ONNX_GRAPH)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s must be a graph", name);
    WEIR_TRY(weir__frame_make(reader, &frame));
    frame->outer = outer;
    frame->region = region;
    frame->opsets = outer->opsets;
    frame->opset_count = outer->opset_count;
    frame->actuals = outer->actuals;
    frame->actual_count = outer->actual_count;
    frame->in_function = outer->in_function;
    frame->call_depth = outer->call_depth;
    frame->prefix = outer->prefix;
    weir__frame_push(reader, frame);
    WEIR_TRY(weir__status_prefix(
        weir__frame_open_graph(reader, frame, branch->span, false), "%s", name));
    if (region->output_count != norm->output_count)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s has %u outputs, but the node has %u", name,
            region->output_count, norm->output_count);
    return NULL;
}

static weir_status_t add_if(weir__onnx_reader_t *reader, const weir__norm_t *norm)
{
    weir__graph_t *graph = reader->context.graph;
    const weir__frame_t *outer = reader->top;
    if (norm->node->attribute_count != 2)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "If has the attributes then_branch and else_branch only");
    weir__region_t **regions = weir__zone_array(&graph->zone, 2, sizeof *regions);
    if (!regions)
        return weir__status_no_memory();
    WEIR_TRY(weir__norm_emit(
        norm, "If", norm->inputs, norm->input_count, norm->outputs, norm->output_count, NULL, 0));
    WEIR_TRY(weir__graph_add_region(graph, norm->region, &regions[0]));
    WEIR_TRY(weir__graph_add_region(graph, norm->region, &regions[1]));
    weir__node_t *node = &graph->nodes[graph->node_count - 1];
    node->regions = regions;
    node->region_count = 2;
    WEIR_TRY(open_branch(reader, norm, outer, "else_branch", regions[1]));
    return open_branch(reader, norm, outer, "then_branch", regions[0]);
}

static weir_status_t add_node(weir__onnx_reader_t *reader, const weir__norm_t *norm)
{
    const weir__onnx_node_t *node = norm->node;
    const weir__span_t *function = weir__function_find(reader, node);
    if (function)
        return weir__function_call(reader, *function, norm);
    if (!node->domain[0] && strcmp(node->op_type, "If") == 0)
        return add_if(reader, norm);
    return weir__norm_apply(norm);
}

static weir_status_t check_opset(int64_t opset)
{
    if (opset >= WEIR__ONNX_OPSET_FIRST && opset <= WEIR__ONNX_OPSET_LAST)
        return NULL;
    if (!opset)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "the model imports no version of the default operator set, or version 0");
    return WEIR_ERR(WEIR_UNSUPPORTED,
        "opset %" PRId64 " is not supported: export or convert the model to opset %d to %d", opset,
        WEIR__ONNX_OPSET_FIRST, WEIR__ONNX_OPSET_LAST);
}

static weir_status_t next_node(weir__onnx_reader_t *reader)
{
    weir__frame_t *frame = reader->top;
    const weir__onnx_node_t *node = &frame->nodes[frame->next++];
    if (weir__is_constant_node(node))
        return NULL;
    weir__norm_t norm = {.context = &reader->context,
        .hints = &reader->hints,
        .region = frame->region,
        .node = node,
        .opset = weir__frame_opset(frame, node->domain)};
    WEIR_TRY(make_origin(reader, frame, node, &norm.origin));
    weir_status_t status = resolve_values(reader, frame, node, &norm);
    if (!status && !node->domain[0])
        status = check_opset(norm.opset);
    if (!status)
        status = add_node(reader, &norm);
    return weir__status_prefix(status, "node %s (%s)", norm.origin, node->op_type);
}

// ---- The model -------------------------------------------------------------------------------

typedef struct model {
    weir__span_t graph;
    weir__onnx_opset_t *opsets;
    uint32_t opset_count;
} model_t;

static weir_status_t count_model(
    weir__onnx_reader_t *reader, weir__span_t span, uint64_t *out_opsets, uint64_t *out_functions)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    *out_opsets = *out_functions = 0;
    WEIR_TRY(weir__wire_open(&wire, span, "ModelProto", reader->context.limits));
    for (;;) {
        WEIR_TRY(weir__wire_next(&wire, &field));
        if (!field.number)
            break;
        *out_opsets += field.number == 8;
        *out_functions += field.number == 25;
    }
    if (*out_functions > reader->context.limits->nodes || *out_functions > UINT32_MAX)
        return WEIR_ERR(WEIR_LIMIT,
            "the model has %" PRIu64 " functions, over the limit nodes (%" PRIu64 ")",
            *out_functions, reader->context.limits->nodes);
    return NULL;
}

static weir_status_t read_model_field(weir__onnx_reader_t *reader, const weir__wire_t *wire,
    const weir__wire_field_t *field, model_t *model)
{
    switch (field->number) {
    case 1:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_VARINT));
        reader->info->ir_version = (int64_t)field->value;
        return NULL;
    case 2:
        return weir__onnx_text(&reader->context, wire, field, &reader->info->producer);
    case 3:
        return weir__onnx_text(&reader->context, wire, field, &reader->info->producer_version);
    case 7:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        if (model->graph.data)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "the file has a second graph at byte %" PRIu64,
                field->offset);
        model->graph = field->span;
        return NULL;
    case 8:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        return weir__onnx_opset_read(
            &reader->context, field->span, &model->opsets[model->opset_count++]);
    case 25:
        WEIR_TRY(weir__wire_expect(wire, field, WEIR__WIRE_BYTES));
        reader->function_spans[reader->function_count++] = field->span;
        return NULL;
    default:
        return NULL;
    }
}

static weir_status_t read_model(weir__onnx_reader_t *reader, weir__span_t span, model_t *model)
{
    weir__wire_t wire;
    weir__wire_field_t field;
    uint64_t opsets, functions;
    weir_status_t status;
    WEIR_TRY(count_model(reader, span, &opsets, &functions));
    model->opsets = weir__onnx_alloc(&reader->context, opsets, sizeof *model->opsets, &status);
    if (!model->opsets)
        return status;
    reader->function_spans =
        weir__onnx_alloc(&reader->context, functions, sizeof *reader->function_spans, &status);
    if (!reader->function_spans)
        return status;
    weir__wire_reopen(&wire, span, "ModelProto");
    while (weir__wire_again(&wire, &field))
        WEIR_TRY(read_model_field(reader, &wire, &field, model));
    if (!model->graph.data)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has no graph: this is not an ONNX model");
    return weir__functions_index(reader);
}

// One version for each domain: nothing says which of two is meant. Every node looks its domain up,
// so there are few.
static weir_status_t check_imports(const model_t *model)
{
    if (model->opset_count > WEIR__ONNX_IMPORTS_MAX)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it imports %u operator sets; at most %d make sense",
            model->opset_count, WEIR__ONNX_IMPORTS_MAX);
    for (uint32_t i = 0; i < model->opset_count; i++)
        for (uint32_t j = 0; j < i; j++)
            if (model->opsets[i].version != model->opsets[j].version &&
                strcmp(model->opsets[i].domain, model->opsets[j].domain) == 0)
                return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                    "it imports versions %" PRId64 " and %" PRId64 " of the operator set \"%s\"",
                    model->opsets[j].version, model->opsets[i].version, model->opsets[i].domain);
    return NULL;
}

// The texts of info must outlive the reader.
static weir_status_t keep_info(weir__onnx_reader_t *reader)
{
    weir__onnx_info_t *info = reader->info;
    weir__zone_t *zone = &reader->context.graph->zone;
    info->producer = weir__zone_string(zone, info->producer, strlen(info->producer));
    info->producer_version =
        weir__zone_string(zone, info->producer_version, strlen(info->producer_version));
    return info->producer && info->producer_version ? NULL : weir__status_no_memory();
}

static weir_status_t read_all(weir__onnx_reader_t *reader, weir__span_t span)
{
    model_t model = {0};
    weir__frame_t *frame;
    WEIR_TRY(read_model(reader, span, &model));
    WEIR_TRY(check_imports(&model));
    WEIR_TRY(keep_info(reader));
    WEIR_TRY(weir__frame_make(reader, &frame));
    frame->region = &reader->context.graph->main;
    frame->opsets = model.opsets;
    frame->opset_count = model.opset_count;
    weir__frame_push(reader, frame);
    reader->info->opset = weir__frame_opset(frame, "");
    if (reader->info->opset) // a model of custom operators only needs none
        WEIR_TRY(check_opset(reader->info->opset));
    WEIR_TRY(weir__frame_open_graph(reader, frame, model.graph, true));
    while (reader->top) {
        if (reader->top->next == reader->top->node_count)
            weir__frame_pop(reader);
        else
            WEIR_TRY(next_node(reader));
    }
    return weir__graph_place_symbols(reader->context.graph);
}

weir_status_t weir__onnx_read(const void *bytes, uint64_t byte_count, const char *source_name,
    weir__graph_t *graph, weir__onnx_info_t *out_info)
{
    weir__onnx_reader_t reader = {.info = out_info};
    weir__span_t span = {.data = bytes, .bytes = byte_count, .depth = 1};
    *out_info = (weir__onnx_info_t){.producer = "", .producer_version = ""};
    weir__zone_init(&reader.zone, graph->heap, graph->limits.graph_bytes);
    reader.context =
        (weir__onnx_context_t){.graph = graph, .zone = &reader.zone, .limits = &graph->limits};
    weir__map_init(&reader.functions, graph->heap);
    weir_status_t status = read_all(&reader, span);
    status = weir__zone_status(&graph->zone, weir__zone_status(&reader.zone, status));
    while (reader.top)
        weir__frame_pop(&reader);
    weir__map_free(&reader.functions);
    weir__zone_free(&reader.zone);
    if (status) // the texts may lie in the zone that has just gone
        *out_info = (weir__onnx_info_t){.producer = "", .producer_version = ""};
    return weir__status_prefix(status, "%s", source_name);
}
