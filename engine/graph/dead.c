// engine/graph/dead.c: removes nodes that nobody reads.
//
// Inputs and outputs of the model stay as they are. Iterative: a stack of nodes, no recursion on
// the graph; recursion on branches is bounded by limits.subgraph_depth.
#include "engine/graph/rewrite.h"

#include <string.h>

typedef struct sweep {
    weir__graph_t *graph;
    uint8_t *live;   // [node]
    uint8_t *read;   // [value]
    uint32_t *stack; // [node]
    uint32_t depth;
} sweep_t;

static void mark(sweep_t *sweep, uint32_t value)
{
    if (value == WEIR__NONE)
        return;
    sweep->read[value] = 1;
    uint32_t producer = sweep->graph->values[value].producer;
    if (producer == WEIR__NONE || sweep->live[producer])
        return;
    sweep->live[producer] = 1;
    sweep->stack[sweep->depth++] = producer;
}

static void drain(sweep_t *sweep)
{
    while (sweep->depth) {
        const weir__node_t *node = &sweep->graph->nodes[sweep->stack[--sweep->depth]];
        for (uint32_t i = 0; i < node->input_count; i++)
            mark(sweep, node->inputs[i]);
        for (uint32_t r = 0; r < node->region_count; r++)
            for (uint32_t i = 0; i < node->regions[r]->output_count; i++)
                mark(sweep, node->regions[r]->outputs[i]);
    }
}

static void filter(sweep_t *sweep, weir__region_t *region)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < region->node_count; i++) {
        uint32_t number = region->nodes[i];
        if (!sweep->live[number])
            continue;
        region->nodes[kept++] = number;
        weir__node_t *node = &sweep->graph->nodes[number];
        // Optional outputs that nobody reads need not be computed.
        for (uint32_t j = 0; j < node->output_count; j++) {
            bool optional = node->op->max_outputs != UINT16_MAX &&
                            (j >= node->op->min_outputs || weir__rewrite_is(node, "LSTM"));
            if (optional && node->outputs[j] != WEIR__NONE && !sweep->read[node->outputs[j]]) {
                sweep->graph->values[node->outputs[j]].producer = WEIR__NONE;
                node->outputs[j] = WEIR__NONE;
            }
        }
        for (uint32_t r = 0; r < node->region_count; r++)
            filter(sweep, node->regions[r]);
    }
    region->node_count = kept;
}

weir_status_t weir__remove_dead(weir__graph_t *graph)
{
    sweep_t sweep = {.graph = graph};
    sweep.live = weir__heap_calloc(graph->heap, graph->node_count, 1);
    sweep.read = weir__heap_calloc(graph->heap, graph->value_count, 1);
    sweep.stack = weir__heap_calloc(graph->heap, graph->node_count, sizeof *sweep.stack);
    weir_status_t status = NULL;
    if (sweep.live && sweep.read && sweep.stack) {
        for (uint32_t i = 0; i < graph->main.output_count; i++)
            mark(&sweep, graph->main.outputs[i]);
        drain(&sweep);
        filter(&sweep, &graph->main);
    } else {
        status = weir__status_no_memory();
    }
    weir__heap_free(graph->heap, sweep.live);
    weir__heap_free(graph->heap, sweep.read);
    weir__heap_free(graph->heap, sweep.stack);
    return status;
}
