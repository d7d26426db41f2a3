// engine/onnx/normalise_custom.c: nodes of domains that ONNX does not define, by what the graph's
// op source says of them.
//
// There are no rules here: a node becomes the operator of its name. Its inputs are filled up with
// absent ones and its attributes with their defaults, so that whoever runs it need not count.
#include "engine/onnx/normalise.h"

#include <inttypes.h>
#include <string.h>

static weir_status_t find(const weir__norm_t *norm, const weir__op_t **out_op)
{
    const weir__onnx_node_t *node = norm->node;
    weir__graph_t *graph = norm->context->graph;
    const weir__op_source_t *source = &graph->op_source;
    if (norm->opset <= 0)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "the model does not import the operator set \"%s\" of %s::%s", node->domain,
            node->domain, node->op_type);
    if (source->find)
        return source->find(source->user, graph, node->domain, node->op_type, norm->opset, out_op);
    return WEIR_ERR(WEIR_UNSUPPORTED,
        "operator %s::%s (version %" PRId64
        ") is of a domain that ONNX does not define, and custom "
        "operators are not available here",
        node->domain, node->op_type, norm->opset);
}

static weir_status_t check_attributes(const weir__norm_t *norm, const weir__op_t *op)
{
    for (uint32_t i = 0; i < norm->node->attribute_count; i++) {
        const char *name = norm->node->attributes[i].name;
        bool known = false;
        for (uint32_t j = 0; j < op->attribute_count && !known; j++)
            known = strcmp(op->attributes[j].name, name) == 0;
        if (!known)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s has no attribute \"%s\" in its revision %u",
                op->name, name, op->revision);
        if (weir__norm_find(norm, name) != &norm->node->attributes[i])
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "attribute %s is given twice", name);
    }
    return NULL;
}

static weir_status_t read_attributes(
    const weir__norm_t *norm, const weir__op_t *op, weir_attribute_t **out_attributes)
{
    weir_status_t status;
    WEIR_TRY(check_attributes(norm, op));
    weir_attribute_t *attributes =
        weir__onnx_alloc(norm->context, op->attribute_count, sizeof *attributes, &status);
    if (!attributes)
        return status;
    for (uint32_t i = 0; i < op->attribute_count; i++) {
        const weir_attribute_t *declared = &op->attributes[i];
        const weir__onnx_attribute_t *given = weir__norm_find(norm, declared->name);
        attributes[i] = *declared;
        if (given)
            WEIR_TRY(weir__norm_value(declared->name, declared->type, given, &attributes[i]));
    }
    *out_attributes = attributes;
    return NULL;
}

// `count` values, then absent ones up to `whole`.
static weir_status_t fill_up(const weir__norm_t *norm, const uint32_t *values, uint32_t count,
    uint32_t whole, uint32_t **out_values)
{
    weir_status_t status;
    *out_values = weir__onnx_alloc(norm->context, whole, sizeof **out_values, &status);
    if (!*out_values)
        return status;
    for (uint32_t i = 0; i < whole; i++)
        (*out_values)[i] = i < count ? values[i] : WEIR__NONE;
    return NULL;
}

weir_status_t weir__norm_custom(const weir__norm_t *norm)
{
    const weir__op_t *op;
    weir_attribute_t *attributes = NULL;
    uint32_t *inputs, *outputs, node;
    WEIR_TRY(find(norm, &op));
    if (norm->input_count < op->min_inputs || norm->input_count > op->max_inputs)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has %u inputs; %s takes %u to %u",
            norm->input_count, op->name, op->min_inputs, op->max_inputs);
    if (norm->output_count > op->max_outputs)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it has %u outputs; %s makes %u", norm->output_count,
            op->name, op->max_outputs);
    for (uint32_t i = 0; i < op->min_inputs; i++)
        if (norm->inputs[i] == WEIR__NONE)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "its input %u is missing", i);
    WEIR_TRY(read_attributes(norm, op, &attributes));
    WEIR_TRY(fill_up(norm, norm->inputs, norm->input_count, op->max_inputs, &inputs));
    WEIR_TRY(fill_up(norm, norm->outputs, norm->output_count, op->max_outputs, &outputs));
    return weir__graph_add_node(norm->context->graph, norm->region, op, inputs, op->max_inputs,
        outputs, op->max_outputs, attributes, op->attribute_count, norm->origin, &node);
}
