// engine/plan/place.c: who runs each node.
//
// Region by region: nodes of the plan are made (here), every device is asked about each (claim.c),
// what would be fused is grouped (group.c), and the groups get the devices that cost least
// (assign.c, partition.c). Must not fuse or reorder: that comes after, on what was placed here.
#include "engine/plan/place.h"

#include <stdio.h>
#include <string.h>

// ---- Arithmetic on sizes
// -------------------------------------------------------------------------

// Marks the values that some shape depends on, back to Shape nodes, constants and inputs. What is
// marked is kept out of fusion and of slices, so that a specialization can work it out on the host.
typedef struct shape_marks {
    const weir__graph_t *graph;
    bool *values; // [graph->value_count]
    uint32_t *stack;
    uint32_t depth;
} shape_marks_t;

static void mark(shape_marks_t *marks, uint32_t value)
{
    if (value == WEIR__NONE || marks->values[value])
        return;
    marks->values[value] = true;
    marks->stack[marks->depth++] = value; // each value is pushed once: the stack has room for all
}

static void mark_node_operands(shape_marks_t *marks, const weir__node_t *node)
{
    for (uint32_t i = 0; i < node->input_count && i < 32; i++)
        if (node->op->value_inputs >> i & 1)
            mark(marks, node->inputs[i]);
    if (node->op->flags & WEIR__OP_REGIONS)
        mark(marks, node->inputs[0]);
}

static bool *mark_shapes(weir_plan_t *plan)
{
    const weir__graph_t *graph = plan->model->graph;
    shape_marks_t marks = {.graph = graph};
    marks.values = weir__zone_array(&plan->zone, graph->value_count, sizeof(bool));
    marks.stack = weir__heap_calloc(&plan->runtime->heap, graph->value_count, sizeof(uint32_t));
    if (!marks.values || !marks.stack) {
        weir__heap_free(&plan->runtime->heap, marks.stack);
        return NULL;
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        mark_node_operands(&marks, &graph->nodes[i]);
    while (marks.depth) {
        const weir__value_t *value = &graph->values[marks.stack[--marks.depth]];
        if (value->producer == WEIR__NONE)
            continue;
        const weir__node_t *node = &graph->nodes[value->producer];
        if (node->op->flags & (WEIR__OP_DIMS_ONLY | WEIR__OP_REGIONS))
            continue;
        for (uint32_t i = 0; i < node->input_count; i++)
            mark(&marks, node->inputs[i]);
    }
    weir__heap_free(&plan->runtime->heap, marks.stack);
    return marks.values;
}

// ---- One node
// --------------------------------------------------------------------------------------

static bool fill_node(weir_plan_t *plan, const weir__node_t *source, const bool *shape_values,
    weir__plan_node_t *node)
{
    weir__zone_t *zone = &plan->zone;
    char label[256];
    *node = (weir__plan_node_t){.anchor = source,
        .op = source->op->name,
        .input_count = source->input_count,
        .output_count = source->output_count,
        .slice = UINT32_MAX,
        .fused = "",
        .why = ""};
    node->inputs = weir__zone_copy(zone, source->inputs, source->input_count * sizeof(uint32_t));
    node->outputs = weir__zone_copy(zone, source->outputs, source->output_count * sizeof(uint32_t));
    weir__node_label(source, label, sizeof label);
    node->label = weir__zone_string(zone, label, strlen(label));
    size_t length = 1;
    for (uint32_t i = 0; i < source->origin_count; i++)
        length += strlen(source->origins[i]) + 1;
    char *origins = weir__zone_alloc(zone, length);
    if (!node->inputs || !node->outputs || !node->label || !origins)
        return false;
    for (uint32_t i = 0; i < source->origin_count; i++)
        snprintf(origins + strlen(origins), length - strlen(origins), i ? "+%s" : "%s",
            source->origins[i]);
    node->origins = origins;
    if (source->output_count && source->outputs[0] != WEIR__NONE)
        node->is_shape = shape_values[source->outputs[0]];
    if (source->op->flags & WEIR__OP_DIMS_ONLY)
        node->is_shape = true;
    if (source->op->flags & WEIR__OP_ELEMENTWISE)
        return weir__expression_of_node(zone, plan->model->graph, source, &node->body);
    return true;
}

// Values that a specialization can always work out: from constants and dims alone.
static void note_known_sizes(weir_plan_t *plan, const weir__plan_node_t *node)
{
    const weir__graph_t *graph = plan->model->graph;
    bool known = !(node->anchor->op->flags & WEIR__OP_REGIONS);
    for (uint32_t i = 0; i < node->input_count; i++) {
        uint32_t value = node->inputs[i];
        if (value != WEIR__NONE && graph->values[value].constant)
            plan->size_known[value] = true;
        known &= value == WEIR__NONE || plan->size_known[value];
    }
    known |= (node->anchor->op->flags & WEIR__OP_DIMS_ONLY) != 0;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE)
            plan->size_known[node->outputs[i]] = known;
}

// ---- Nodes that no device is chosen for by cost ------------------------------------------------

// Arithmetic on sizes: the first host kernel that takes it, should it have to run as a step.
static weir_status_t place_shape_node(
    const weir__region_placer_t *at, uint32_t number, weir__plan_node_t *node)
{
    const weir__placement_t *placement = at->placer->placement;
    uint32_t total = weir__placement_total(placement);
    const weir__verdict_t *verdicts = at->verdicts + (size_t)number * total;
    node->why = "";
    for (uint32_t d = 0; d < total; d++)
        if (verdicts[d].kernel && !placement->devices[d]->programs) {
            node->choice =
                (weir__candidate_t){.device = placement->devices[d], .kernel = verdicts[d].kernel};
            return NULL;
        }
    return WEIR_ERR(WEIR_UNSUPPORTED, "%s: no device has a kernel for it", node->label);
}

static weir_status_t place_others(weir__region_placer_t *at, uint32_t number)
{
    weir_plan_t *plan = at->placer->plan;
    weir__plan_node_t *node = &at->region->nodes[number];
    if (node->anchor->op->flags & (WEIR__OP_REGIONS | WEIR__OP_VIEW))
        return NULL;
    if (!weir__place_rank_known(plan, node))
        return weir__place_candidates(plan, at->placer->placement, node);
    if (node->is_shape)
        WEIR_TRY(place_shape_node(at, number, node));
    if (node->choice.kernel && strcmp(node->choice.kernel->op, "Pointwise") == 0) {
        node->fused = node->op;
        node->op = "Pointwise";
    }
    return NULL;
}

// ---- A region
// ------------------------------------------------------------------------------------

// Notes which node of the region makes each value, or forgets it.
static void note_producers(weir__placer_t *placer, const weir__plan_region_t *region, bool forgets)
{
    for (uint32_t i = 0; i < region->node_count; i++)
        for (uint32_t o = 0; o < region->nodes[i].output_count; o++)
            if (region->nodes[i].outputs[o] != WEIR__NONE)
                placer->producers[region->nodes[i].outputs[o]] = forgets ? UINT32_MAX : i;
}

static weir_status_t place_nodes(weir__placer_t *placer, weir__plan_region_t *region)
{
    weir__heap_t *heap = &placer->plan->runtime->heap;
    weir__region_placer_t at = {.placer = placer, .region = region};
    uint64_t count = region->node_count;
    at.verdicts = weir__heap_calloc(
        heap, count, weir__placement_total(placer->placement) * sizeof *at.verdicts);
    at.groups = weir__heap_alloc(heap, count * sizeof *at.groups);
    weir_status_t status = at.verdicts && at.groups ? NULL : weir__status_no_memory();
    if (!status) {
        memset(at.groups, 0xff, count * sizeof *at.groups);
        note_producers(placer, region, false);
        status = weir__place_ask(&at);
    }
    if (!status)
        status = weir__place_group(&at);
    if (!status)
        status = weir__place_assign(&at);
    for (uint32_t i = 0; i < region->node_count && !status; i++)
        status = place_others(&at, i);
    note_producers(placer, region, true);
    weir__heap_free(heap, at.groups);
    weir__heap_free(heap, at.verdicts);
    return status;
}

static weir_status_t place_region(weir__placer_t *placer, const weir__region_t *source,
    uint32_t depth, weir__plan_region_t *region)
{
    weir_plan_t *plan = placer->plan;
    if (depth > plan->runtime->limits.subgraph_depth)
        return WEIR_ERR(WEIR_LIMIT, "regions are nested deeper than limits.subgraph_depth");
    *region = (weir__plan_region_t){.source = source};
    region->nodes = weir__zone_array(&plan->zone, source->node_count, sizeof *region->nodes);
    if (!region->nodes)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < source->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[region->node_count++];
        if (!fill_node(
                plan, &plan->model->graph->nodes[source->nodes[i]], placer->shape_values, node))
            return weir__status_no_memory();
        note_known_sizes(plan, node);
    }
    WEIR_TRY(place_nodes(placer, region));
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[i];
        for (uint32_t r = 0; r < node->anchor->region_count && r < 2; r++) {
            node->regions[r] = weir__zone_alloc(&plan->zone, sizeof *node->regions[r]);
            if (!node->regions[r])
                return weir__status_no_memory();
            WEIR_TRY(place_region(placer, node->anchor->regions[r], depth + 1, node->regions[r]));
        }
    }
    return NULL;
}

// ---- All of it
// -----------------------------------------------------------------------------------

// The devices asked for, and plain C behind them for what must stay on the host.
static weir_status_t open_placement(
    weir_plan_t *plan, const weir__device_list_t *devices, weir__placement_t **out_placement)
{
    uint32_t node_count = plan->model->graph->node_count;
    weir__placement_t *placement = weir__zone_alloc(&plan->zone, sizeof *placement);
    if (!placement)
        return weir__status_no_memory();
    placement->node_units = weir__zone_array(&plan->zone, node_count, sizeof(uint32_t));
    if (!placement->node_units)
        return weir__status_no_memory();
    memset(placement->node_units, 0xff, node_count * sizeof(uint32_t));
    const weir__registry_t *registry = &plan->runtime->registry;
    placement->is_spare = true;
    for (uint32_t d = 0; d < devices->count; d++) {
        placement->devices[placement->device_count++] = devices->devices[d];
        placement->is_spare &= devices->devices[d]->plugin != registry->plugins[0];
    }
    for (uint32_t i = 0; i < registry->device_count && placement->is_spare; i++)
        if (registry->devices[i].plugin == registry->plugins[0])
            placement->devices[placement->device_count] = &registry->devices[i];
    WEIR_TRY(weir__nominal_sizes(plan, &placement->sizes));
    *out_placement = placement;
    return NULL;
}

static weir_status_t place_all(weir__placer_t *placer, const weir__region_t *source,
    const weir__device_list_t *devices, weir__plan_region_t *out_region)
{
    weir_plan_t *plan = placer->plan;
    weir__heap_t *heap = &plan->runtime->heap;
    uint64_t value_count = plan->model->graph->value_count;
    placer->shape_values = mark_shapes(plan);
    placer->producers = weir__heap_alloc(heap, value_count * sizeof *placer->producers);
    placer->flow_of = weir__heap_alloc(heap, value_count * sizeof *placer->flow_of);
    plan->size_known = weir__zone_array(&plan->zone, value_count, sizeof *plan->size_known);
    if (!placer->shape_values || !placer->producers || !placer->flow_of || !plan->size_known)
        return weir__status_no_memory();
    memset(placer->producers, 0xff, value_count * sizeof *placer->producers);
    memset(placer->flow_of, 0xff, value_count * sizeof *placer->flow_of);
    WEIR_TRY(open_placement(plan, devices, &plan->placement));
    placer->placement = plan->placement;
    weir__links(placer->placement->devices, weir__placement_total(placer->placement), placer->links,
        placer->memories);
    WEIR_TRY(weir__times_open(plan->runtime->cache, heap, &placer->times));
    WEIR_TRY(weir__pins_read(placer, devices->placement));
    WEIR_TRY(place_region(placer, source, 0, out_region));
    return weir__pins_check(placer);
}

weir_status_t weir__plan_place(weir_plan_t *plan, const weir__region_t *source,
    const weir__device_list_t *devices, weir__plan_region_t *out_region)
{
    weir__heap_t *heap = &plan->runtime->heap;
    weir__placer_t *placer = weir__heap_calloc(heap, 1, sizeof *placer); // links make it large
    if (!placer)
        return weir__status_no_memory();
    placer->plan = plan;
    placer->list = devices;
    weir__map_init(&placer->reasons, heap);
    weir__map_init(&placer->pin_names, heap);
    weir_status_t status = place_all(placer, source, devices, out_region);
    weir__times_close(placer->times);
    weir__heap_free(heap, placer->texts);
    weir__map_free(&placer->pin_names);
    weir__map_free(&placer->reasons);
    weir__heap_free(heap, placer->flow_of);
    weir__heap_free(heap, placer->producers);
    weir__heap_free(heap, placer);
    return status;
}
