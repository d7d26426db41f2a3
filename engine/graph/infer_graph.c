// engine/graph/infer_graph.c: types and shape values of a whole graph, in topological order.
//
// Recursion goes as deep as branches are nested, which limits.subgraph_depth bounds. Work space is
// taken once, for the node with the most inputs and outputs.
#include "engine/graph/infer.h"

#include <string.h>

typedef struct work {
    weir__graph_t *graph;
    const weir__type_t **inputs;
    const weir__tensor_t **values;
    const weir__shape_value_t **shapes;
    weir__type_t *outputs;
    weir__shape_value_t *out_shapes;
    const weir__type_t **branches[2];
} work_t;

static bool same_shape_value(const weir__shape_value_t *a, const weir__shape_value_t *b)
{
    return a && a->count == b->count && a->symbol_mask == b->symbol_mask &&
           memcmp(a->elements, b->elements, a->count * sizeof a->elements[0]) == 0;
}

// Keeps what was inferred. A shape value that has not changed is not stored again.
static weir_status_t keep(weir__graph_t *graph, const weir__node_t *node, const work_t *work)
{
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] == WEIR__NONE)
            continue;
        weir__value_t *value = &graph->values[node->outputs[i]];
        value->type = work->outputs[i];
        const weir__shape_value_t *shape = &work->out_shapes[i];
        if (shape->count == 0) {
            value->shape = NULL;
            continue;
        }
        if (same_shape_value(value->shape, shape))
            continue;
        weir_status_t status;
        weir__shape_value_t *copy = weir__graph_array(graph, 1, sizeof *copy, &status);
        if (!copy)
            return status;
        *copy = *shape;
        value->shape = copy;
    }
    return NULL;
}

static weir_status_t infer_region(work_t *work, const weir__region_t *region);

static weir_status_t infer_one(work_t *work, uint32_t number)
{
    weir__graph_t *graph = work->graph;
    const weir__node_t *node = &graph->nodes[number];
    // Branches first: they use the same work space.
    for (uint32_t r = 0; r < node->region_count; r++)
        WEIR_TRY(infer_region(work, node->regions[r]));
    weir__infer_t infer = {.node = node,
        .input_count = node->input_count,
        .output_count = node->output_count,
        .inputs = work->inputs,
        .values = work->values,
        .shapes = work->shapes,
        .outputs = work->outputs,
        .out_shapes = work->out_shapes,
        .graph = graph};
    for (uint32_t i = 0; i < node->input_count; i++) {
        const weir__value_t *value =
            node->inputs[i] == WEIR__NONE ? NULL : &graph->values[node->inputs[i]];
        work->inputs[i] = value ? &value->type : NULL;
        work->values[i] = value ? value->constant : NULL;
        work->shapes[i] = value ? value->shape : NULL;
    }
    for (uint32_t r = 0; r < node->region_count; r++) {
        for (uint32_t i = 0; i < node->output_count; i++)
            work->branches[r][i] = &graph->values[node->regions[r]->outputs[i]].type;
        infer.region_outputs[r] = work->branches[r];
    }
    WEIR_TRY(weir__infer_node(&infer));
    return keep(graph, node, work);
}

static weir_status_t infer_region(work_t *work, const weir__region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++)
        WEIR_TRY(infer_one(work, region->nodes[i]));
    return NULL;
}

static bool take_work(work_t *work, weir__heap_t *heap, uint32_t inputs, uint32_t outputs)
{
    work->inputs = weir__heap_calloc(heap, inputs, sizeof *work->inputs);
    work->values = weir__heap_calloc(heap, inputs, sizeof *work->values);
    work->shapes = weir__heap_calloc(heap, inputs, sizeof *work->shapes);
    work->outputs = weir__heap_calloc(heap, outputs, sizeof *work->outputs);
    work->out_shapes = weir__heap_calloc(heap, outputs, sizeof *work->out_shapes);
    work->branches[0] = weir__heap_calloc(heap, outputs, sizeof *work->branches[0]);
    work->branches[1] = weir__heap_calloc(heap, outputs, sizeof *work->branches[1]);
    return work->inputs && work->values && work->shapes && work->outputs && work->out_shapes &&
           work->branches[0] && work->branches[1];
}

weir_status_t weir__graph_infer(weir__graph_t *graph)
{
    uint32_t inputs = 1, outputs = 1;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        inputs = WEIR_MAX(inputs, graph->nodes[i].input_count);
        outputs = WEIR_MAX(outputs, graph->nodes[i].output_count);
    }
    work_t work = {.graph = graph};
    weir_status_t status = take_work(&work, graph->heap, inputs, outputs)
                               ? infer_region(&work, &graph->main)
                               : weir__status_no_memory();
    weir__heap_free(graph->heap, work.inputs);
    weir__heap_free(graph->heap, work.values);
    weir__heap_free(graph->heap, work.shapes);
    weir__heap_free(graph->heap, work.outputs);
    weir__heap_free(graph->heap, work.out_shapes);
    weir__heap_free(graph->heap, work.branches[0]);
    weir__heap_free(graph->heap, work.branches[1]);
    return status;
}
