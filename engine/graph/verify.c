// engine/graph/verify.c: what no later stage and no device has to check again, and topological
// order.
//
// One walk over the regions checks nodes and records who reads whom; then each region is sorted by
// an iterative depth-first search that keeps the file's order where that was right already. An If
// depends on all that its branches read of its surroundings. Recursion goes as deep as branches are
// nested.
#include "engine/graph/build.h"

#include "engine/base/size.h"
#include <string.h>

#define NO_EDGE UINT32_MAX

typedef struct edge {
    uint32_t producer;
    uint32_t next; // of the same reader
} edge_t;

// One level of nesting while the regions are walked.
typedef struct level {
    weir__region_t *region;
    uint32_t node; // the node of `region` that the walk is in
    const struct level *outer;
} level_t;

typedef struct verify {
    weir__graph_t *graph;
    uint8_t *is_input; // [value]
    uint8_t *listed;   // [node]: it is in a region
    uint8_t *colour;   // [node]: 0 not met, 1 on the stack, 2 sorted
    uint32_t *first;   // [node]: its first edge
    uint32_t *stack;   // [node]
    uint32_t *sorted;  // [node]
    edge_t *edges;
    uint64_t edge_count, edge_capacity;
} verify_t;

typedef struct label {
    char text[256];
} label_t;
#define LABEL(node) weir__node_label((node), (label_t){{0}}.text, sizeof(label_t))

static const char *name_of(const weir__graph_t *graph, uint32_t value)
{
    return graph->values[value].name;
}

static weir_status_t check_constant(const weir__value_t *value)
{
    const weir__tensor_t *tensor = value->constant;
    uint64_t count, bytes;
    if (tensor->rank > WEIR_RANK_MAX || weir_dtype_bytes(tensor->dtype) == 0)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "constant %s: its dtype or rank is not possible", value->name);
    if (!weir__dims_count(tensor->dims, tensor->rank, &count) ||
        !weir__tensor_bytes(tensor->dims, tensor->rank, tensor->dtype, &bytes) ||
        count != tensor->count || bytes != tensor->bytes)
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "constant %s: its dims and bytes disagree", value->name);
    if (!tensor->data && !tensor->external && tensor->count)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "constant %s: it has no contents", value->name);
    if (value->producer != WEIR__NONE)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "constant %s: a node produces it, too", value->name);
    return NULL;
}

static weir_status_t check_values(verify_t *verify)
{
    weir__graph_t *graph = verify->graph;
    for (uint32_t i = 0; i < graph->value_count; i++)
        if (graph->values[i].constant)
            WEIR_TRY(check_constant(&graph->values[i]));
    for (uint32_t i = 0; i < graph->main.input_count; i++) {
        uint32_t value = graph->main.inputs[i];
        if (graph->values[value].producer != WEIR__NONE || graph->values[value].constant)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "input %s: the graph produces it, too",
                name_of(graph, value));
        if (verify->is_input[value])
            return WEIR_ERR(
                WEIR_INVALID_ARGUMENT, "input %s: it is there twice", name_of(graph, value));
        if (!graph->values[value].type.dtype)
            return WEIR_ERR(
                WEIR_INVALID_ARGUMENT, "input %s: its type is not known", name_of(graph, value));
        verify->is_input[value] = 1;
    }
    return NULL;
}

static weir_status_t check_counts(const weir__node_t *node)
{
    const weir__op_t *op = node->op;
    if (node->input_count < op->min_inputs ||
        (op->max_inputs != UINT16_MAX && node->input_count > op->max_inputs))
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "%s: it has %u inputs", LABEL(node), node->input_count);
    if (node->output_count < op->min_outputs ||
        (op->max_outputs != UINT16_MAX && node->output_count > op->max_outputs))
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "%s: it has %u outputs", LABEL(node), node->output_count);
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] == WEIR__NONE && (i < op->min_inputs || op->max_inputs == UINT16_MAX))
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s: its input %u is missing", LABEL(node), i);
    uint32_t regions = op->flags & WEIR__OP_REGIONS ? 2 : 0;
    if (node->region_count != regions)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s: it has %u sub-graphs, %u are needed",
            LABEL(node), node->region_count, regions);
    for (uint32_t i = 0; i < node->region_count; i++)
        if (node->regions[i]->output_count != node->output_count)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s: it has %u outputs, its branch %u has %u",
                LABEL(node), node->output_count, i, node->regions[i]->output_count);
    return NULL;
}

// Records that the node at `level` reads `value`: the node of the producer's region that the walk
// is in comes after the producer.
static weir_status_t read_value(
    verify_t *verify, const level_t *level, const char *reader, uint32_t value)
{
    weir__graph_t *graph = verify->graph;
    if (value >= graph->value_count)
        return WEIR_ERR(WEIR_INTERNAL, "%s reads value %u, which is none", reader, value);
    uint32_t producer = graph->values[value].producer;
    if (producer == WEIR__NONE) {
        if (graph->values[value].constant || verify->is_input[value])
            return NULL;
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s reads %s, which nothing produces", reader,
            name_of(graph, value));
    }
    const level_t *at = level;
    while (at && at->region != graph->nodes[producer].region)
        at = at->outer;
    if (!at || !verify->listed[producer])
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s reads %s, which is not visible there", reader,
            name_of(graph, value));
    if (at->node == WEIR__NONE) // an output of the region that makes it
        return NULL;
    uint32_t edge = (uint32_t)verify->edge_count++;
    verify->edges[edge] = (edge_t){.producer = producer, .next = verify->first[at->node]};
    verify->first[at->node] = edge;
    return NULL;
}

// Counts what the arrays need and marks the nodes that are in use. walk_region() meets the same
// nodes, each once, so that its edges fit.
static weir_status_t list_region(verify_t *verify, weir__region_t *region, uint64_t depth)
{
    weir__graph_t *graph = verify->graph;
    if (depth > graph->limits.subgraph_depth)
        return WEIR_ERR(WEIR_LIMIT, "sub-graphs are nested deeper than subgraph_depth = %llu",
            (unsigned long long)graph->limits.subgraph_depth);
    verify->edge_capacity += region->output_count;
    for (uint32_t i = 0; i < region->node_count; i++) {
        uint32_t number = region->nodes[i];
        weir__node_t *node = &graph->nodes[number];
        if (verify->listed[number] || node->region != region)
            return WEIR_ERR(WEIR_INTERNAL, "%s is in two places", LABEL(node));
        verify->listed[number] = 1;
        verify->edge_capacity += node->input_count;
        WEIR_TRY(check_counts(node));
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(list_region(verify, node->regions[r], depth + 1));
    }
    return NULL;
}

static weir_status_t walk_region(verify_t *verify, weir__region_t *region, const level_t *outer)
{
    weir__graph_t *graph = verify->graph;
    level_t level = {.region = region, .node = WEIR__NONE, .outer = outer};
    for (uint32_t i = 0; i < region->node_count; i++) {
        level.node = region->nodes[i];
        const weir__node_t *node = &graph->nodes[level.node];
        for (uint32_t j = 0; j < node->input_count; j++)
            if (node->inputs[j] != WEIR__NONE)
                WEIR_TRY(read_value(verify, &level, LABEL(node), node->inputs[j]));
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(walk_region(verify, node->regions[r], &level));
    }
    level.node = WEIR__NONE;
    for (uint32_t i = 0; i < region->output_count; i++)
        WEIR_TRY(read_value(verify, &level, "an output of a graph", region->outputs[i]));
    return NULL;
}

// Emits `start` after all that it reads.
static weir_status_t sort_node(verify_t *verify, uint32_t start, uint32_t *inout_count)
{
    uint32_t depth = 0;
    if (verify->colour[start] == 2)
        return NULL;
    verify->stack[depth++] = start;
    verify->colour[start] = 1;
    while (depth) {
        uint32_t node = verify->stack[depth - 1], edge = verify->first[node];
        if (edge == NO_EDGE) {
            verify->colour[node] = 2;
            verify->sorted[(*inout_count)++] = node;
            depth--;
            continue;
        }
        verify->first[node] = verify->edges[edge].next;
        uint32_t producer = verify->edges[edge].producer;
        if (verify->colour[producer] == 1)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%s is part of a cycle",
                LABEL(&verify->graph->nodes[producer]));
        if (verify->colour[producer] == 0) {
            verify->colour[producer] = 1;
            verify->stack[depth++] = producer;
        }
    }
    return NULL;
}

static weir_status_t sort_region(verify_t *verify, weir__region_t *region)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < region->node_count; i++)
        WEIR_TRY(sort_node(verify, region->nodes[i], &count));
    for (uint32_t i = 0; i < count; i++)
        region->nodes[i] = verify->sorted[i];
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__node_t *node = &verify->graph->nodes[region->nodes[i]];
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(sort_region(verify, node->regions[r]));
    }
    return NULL;
}

static weir_status_t verify_all(verify_t *verify)
{
    weir__graph_t *graph = verify->graph;
    weir__heap_t *heap = graph->heap;
    uint64_t nodes = graph->node_count;
    verify->is_input = weir__heap_calloc(heap, graph->value_count, 1);
    verify->listed = weir__heap_calloc(heap, nodes, 1);
    verify->colour = weir__heap_calloc(heap, nodes, 1);
    verify->first = weir__heap_calloc(heap, nodes, sizeof *verify->first);
    verify->stack = weir__heap_calloc(heap, nodes, sizeof *verify->stack);
    verify->sorted = weir__heap_calloc(heap, nodes, sizeof *verify->sorted);
    if (!verify->is_input || !verify->listed || !verify->colour || !verify->first ||
        !verify->stack || !verify->sorted)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < graph->node_count; i++)
        verify->first[i] = NO_EDGE;
    WEIR_TRY(check_values(verify));
    WEIR_TRY(list_region(verify, &graph->main, 0));
    if (verify->edge_capacity >= NO_EDGE)
        return WEIR_ERR(WEIR_LIMIT, "the graph has more than 2^32 edges");
    verify->edges = weir__heap_calloc(heap, verify->edge_capacity, sizeof *verify->edges);
    if (!verify->edges)
        return weir__status_no_memory();
    WEIR_TRY(walk_region(verify, &graph->main, NULL));
    return sort_region(verify, &graph->main);
}

weir_status_t weir__graph_verify(weir__graph_t *graph)
{
    verify_t verify = {.graph = graph};
    weir_status_t status = verify_all(&verify);
    weir__heap_free(graph->heap, verify.is_input);
    weir__heap_free(graph->heap, verify.listed);
    weir__heap_free(graph->heap, verify.colour);
    weir__heap_free(graph->heap, verify.first);
    weir__heap_free(graph->heap, verify.stack);
    weir__heap_free(graph->heap, verify.sorted);
    weir__heap_free(graph->heap, verify.edges);
    return status;
}
