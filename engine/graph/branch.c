// engine/graph/branch.c: an If whose condition is a constant becomes the nodes of the branch it
// takes.
#include "engine/graph/rewrite.h"

// Everyone reads `from` instead of the If's output `value`; an Identity is left where that is
// impossible.
static weir_status_t connect(
    weir__rewrite_t *rewrite, uint32_t number, uint32_t value, uint32_t from)
{
    weir__graph_t *graph = rewrite->graph;
    if (value == WEIR__NONE || weir__rewrite_replace(rewrite, &graph->nodes[number], value, from))
        return NULL;
    uint32_t output = graph->values[value].producer_output, added;
    graph->nodes[number].outputs[output] = WEIR__NONE;
    graph->values[value].producer = WEIR__NONE;
    weir__region_t *region = graph->nodes[number].region;
    from = weir__rewrite_resolve(rewrite, from);
    WEIR_TRY(weir__graph_add_node(
        graph, region, weir__op_find("Identity", 1), &from, 1, &value, 1, NULL, 0, NULL, &added));
    graph->nodes[added].origins = graph->nodes[number].origins;
    graph->nodes[added].origin_count = graph->nodes[number].origin_count;
    rewrite->uses[from]++;
    return weir__rewrite_grow(rewrite);
}

static weir_status_t inline_branch(weir__rewrite_t *rewrite, uint32_t number, uint32_t choice)
{
    weir__graph_t *graph = rewrite->graph;
    weir__region_t *region = graph->nodes[number].region;
    weir__region_t *branch = graph->nodes[number].regions[choice];
    for (uint32_t i = 0; i < branch->node_count; i++) {
        weir__node_t *moved = &graph->nodes[branch->nodes[i]];
        moved->region = region;
        for (uint32_t r = 0; r < moved->region_count; r++)
            moved->regions[r]->parent = region;
        WEIR_TRY(weir__graph_append(
            graph, &region->nodes, &region->node_count, &region->node_capacity, branch->nodes[i]));
    }
    branch->node_count = 0;
    for (uint32_t i = 0; i < branch->output_count; i++)
        WEIR_TRY(connect(rewrite, number, graph->nodes[number].outputs[i], branch->outputs[i]));
    rewrite->change_count++;
    // The If itself goes away with the dead nodes: nobody reads it.
    weir__node_t *node = &graph->nodes[number];
    for (uint32_t i = 0; i < node->output_count; i++) {
        if (node->outputs[i] != WEIR__NONE)
            graph->values[node->outputs[i]].producer = WEIR__NONE;
        node->outputs[i] = WEIR__NONE;
    }
    return weir__rewrite_count(rewrite, "if-inline");
}

static weir_status_t inline_region(weir__rewrite_t *rewrite, weir__region_t *region)
{
    weir__graph_t *graph = rewrite->graph;
    // Nodes that come out of a branch are looked at in the next round.
    uint32_t count = region->node_count;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t number = region->nodes[i];
        uint32_t region_count = graph->nodes[number].region_count;
        if (region_count != 2)
            continue;
        uint32_t condition = weir__rewrite_input(rewrite, &graph->nodes[number], 0);
        const weir__tensor_t *constant = weir__rewrite_constant(rewrite, condition);
        if (constant && constant->count == 1 && constant->dtype == WEIR_BOOL) {
            WEIR_TRY(inline_branch(rewrite, number, weir__tensor_int(constant, 0) ? 0 : 1));
            continue;
        }
        for (uint32_t r = 0; r < region_count; r++)
            WEIR_TRY(inline_region(rewrite, graph->nodes[number].regions[r]));
    }
    return NULL;
}

weir_status_t weir__inline_branches(weir__rewrite_t *rewrite)
{
    return inline_region(rewrite, &rewrite->graph->main);
}
