// engine/graph/fill.c: completes attributes once ranks are known, so that kernels need not: axes
// become non-negative, an empty perm or kernel_shape, strides, dilations, pads get their defaults.
#include "engine/graph/rewrite.h"

#include <string.h>

// An attribute of ints that replaces the one of that name or is added.
static weir_status_t set_ints(
    weir__graph_t *graph, weir__node_t *node, const char *name, const int64_t *ints, uint32_t count)
{
    weir_attribute_t copies[32];
    uint32_t total = node->attribute_count;
    if (total >= sizeof copies / sizeof copies[0])
        return NULL;
    if (total)
        memcpy(copies, node->attributes, total * sizeof copies[0]);
    uint32_t at = 0;
    while (at < total && strcmp(copies[at].name, name) != 0)
        at++;
    total += at == total;
    copies[at] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_INTS, .count = count, .ints = ints};
    WEIR_TRY(weir__graph_copy_attributes(graph, copies, total, &node->attributes));
    node->attribute_count = total;
    return NULL;
}

static weir_status_t fill_list(
    weir__graph_t *graph, weir__node_t *node, const char *name, uint32_t count, int64_t number)
{
    int64_t ints[2 * WEIR_RANK_MAX];
    const weir_attribute_t *attribute = weir__node_attribute(node, name);
    if (attribute && attribute->count)
        return NULL;
    for (uint32_t i = 0; i < count; i++)
        ints[i] = number;
    return set_ints(graph, node, name, ints, count);
}

static weir_status_t fill_window(weir__graph_t *graph, weir__node_t *node, int32_t rank)
{
    if (rank < 3)
        return NULL;
    uint32_t axes = (uint32_t)rank - 2;
    const weir_attribute_t *kernel = weir__node_attribute(node, "kernel_shape");
    if ((!kernel || !kernel->count) && node->input_count > 1) {
        const weir__type_t *weights = &graph->values[node->inputs[1]].type;
        bool known = weights->rank == rank;
        for (uint32_t i = 0; known && i < axes; i++)
            known = weights->dims[i + 2] >= 0;
        if (known)
            WEIR_TRY(set_ints(graph, node, "kernel_shape", weights->dims + 2, axes));
    }
    WEIR_TRY(fill_list(graph, node, "strides", axes, 1));
    WEIR_TRY(fill_list(graph, node, "dilations", axes, 1));
    WEIR_TRY(fill_list(graph, node, "pads", 2 * axes, 0));
    if (weir__rewrite_is(node, "ConvTranspose"))
        WEIR_TRY(fill_list(graph, node, "output_padding", axes, 0));
    return NULL;
}

// Axis attributes count from the front.
static weir_status_t fill_axis(weir__graph_t *graph, weir__node_t *node, int32_t rank)
{
    const weir_attribute_t *axis = weir__node_attribute(node, "axis");
    if (!axis || axis->type != WEIR_ATTR_INT || axis->i >= 0)
        return NULL;
    weir_attribute_t *copies;
    weir_status_t status;
    copies = weir__graph_array(graph, node->attribute_count, sizeof *copies, &status);
    if (!copies)
        return status;
    memcpy(copies, node->attributes, node->attribute_count * sizeof *copies);
    copies[axis - node->attributes].i += rank;
    node->attributes = copies;
    return NULL;
}

static weir_status_t fill_node(weir__graph_t *graph, weir__node_t *node)
{
    if (node->input_count == 0 || node->inputs[0] == WEIR__NONE)
        return NULL;
    int32_t rank = graph->values[node->inputs[0]].type.rank;
    if (rank < 0)
        return NULL;
    WEIR_TRY(fill_axis(graph, node, rank));
    if (weir__rewrite_is(node, "Transpose")) {
        const weir_attribute_t *perm = weir__node_attribute(node, "perm");
        int64_t reversed[WEIR_RANK_MAX];
        for (int32_t i = 0; i < rank; i++)
            reversed[i] = rank - 1 - i;
        if (!perm || !perm->count)
            return set_ints(graph, node, "perm", reversed, (uint32_t)rank);
    }
    if (weir__rewrite_is(node, "Conv") || weir__rewrite_is(node, "ConvTranspose") ||
        weir__rewrite_is(node, "MaxPool") || weir__rewrite_is(node, "AveragePool"))
        return fill_window(graph, node, rank);
    return NULL;
}

static weir_status_t fill_region(weir__graph_t *graph, const weir__region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__node_t *node = &graph->nodes[region->nodes[i]];
        WEIR_TRY(fill_node(graph, node));
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(fill_region(graph, node->regions[r]));
    }
    return NULL;
}

weir_status_t weir__fill_attributes(weir__graph_t *graph)
{
    return fill_region(graph, &graph->main);
}
