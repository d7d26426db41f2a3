// engine/plan/assign.c: units out of groups, and a device for each.
//
// A group whose nodes the same devices can run is one unit; otherwise it falls into connected parts
// of which that is true. The sum of work, copies and launches is then made small (partition.c) with
// the costs that decide_costs() finds comparable. Must not look into nodes: what they cost is
// estimate.c's, who can run them claim.c's.
#include "engine/plan/place.h"

#include <stdio.h>
#include <string.h>

typedef struct assigner {
    weir__region_placer_t *at;
    weir_plan_t *plan;
    weir__placement_t *placement;
    uint32_t total;       // devices
    uint32_t *unit_of;    // [node_count] of the region; UINT32_MAX: in none
    uint32_t *last_nodes; // [unit_count] of the region: where a unit stands in its order
    weir__unit_t *units;  // [unit_count] the region's, in the plan's zone
    uint32_t unit_count;
    weir__problem_t problem;
    uint64_t *costs;
    bool *breaks;
    uint64_t launch_ns[WEIR__MEMORIES_MAX];
    uint32_t *flow_values; // [flow_capacity]
    weir__flow_t *flows;
    uint32_t flow_capacity;
    bool is_starved; // there was no memory for a flow
    uint32_t *readers;
} assigner_t;

static weir__verdict_t *verdicts_of(const assigner_t *assigner, uint32_t node)
{
    return assigner->at->verdicts + (size_t)node * assigner->total;
}

static uint64_t able_mask(const assigner_t *assigner, uint32_t node)
{
    uint64_t mask = 0;
    for (uint32_t d = 0; d < assigner->total; d++)
        mask |= (uint64_t)!verdicts_of(assigner, node)[d].reason << d;
    return mask;
}

// ---- Units -------------------------------------------------------------------------------------

static uint32_t find_root(uint32_t *parents, uint32_t number)
{
    while (parents[number] != number)
        number = parents[number] = parents[parents[number]];
    return number;
}

// Joins neighbours of one group that the same devices can run. parents: [node_count].
static void join_units(const assigner_t *assigner, uint32_t *parents)
{
    const uint32_t *producers = assigner->at->placer->producers;
    const weir__plan_region_t *region = assigner->at->region;
    const uint32_t *groups = assigner->at->groups;
    for (uint32_t i = 0; i < region->node_count; i++)
        parents[i] = i;
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__plan_node_t *node = &region->nodes[i];
        for (uint32_t j = 0; j < node->input_count && groups[i] != UINT32_MAX; j++) {
            uint32_t before =
                node->inputs[j] == WEIR__NONE ? UINT32_MAX : producers[node->inputs[j]];
            if (before != UINT32_MAX && groups[before] == groups[i] &&
                able_mask(assigner, before) == able_mask(assigner, i))
                parents[find_root(parents, before)] = find_root(parents, i);
        }
    }
}

// Numbers the units by their last node, and lists their nodes.
static weir_status_t number_units(assigner_t *assigner, uint32_t *parents)
{
    const weir__plan_region_t *region = assigner->at->region;
    weir__zone_t *zone = &assigner->plan->zone;
    const weir__graph_t *graph = assigner->plan->model->graph;
    uint32_t count = region->node_count;
    memset(assigner->unit_of, 0xff, count * sizeof *assigner->unit_of);
    for (uint32_t i = count; i-- > 0;) {
        if (assigner->at->groups[i] == UINT32_MAX)
            continue;
        uint32_t root = find_root(parents, i);
        if (assigner->unit_of[root] == UINT32_MAX) {
            assigner->last_nodes[assigner->unit_count] = i;
            assigner->unit_of[root] = assigner->unit_count++;
        }
        assigner->unit_of[i] = assigner->unit_of[root];
    }
    for (uint32_t i = 0; i < assigner->unit_count / 2; i++) {
        uint32_t other = assigner->unit_count - 1 - i, kept = assigner->last_nodes[i];
        assigner->last_nodes[i] = assigner->last_nodes[other];
        assigner->last_nodes[other] = kept;
    }
    assigner->units = weir__zone_array(zone, assigner->unit_count, sizeof *assigner->units);
    if (!assigner->units)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < count; i++)
        if (assigner->unit_of[i] != UINT32_MAX) {
            assigner->unit_of[i] = assigner->unit_count - 1 - assigner->unit_of[i];
            assigner->units[assigner->unit_of[i]].node_count++;
        }
    for (uint32_t u = 0; u < assigner->unit_count; u++) {
        weir__unit_t *unit = &assigner->units[u];
        unit->nodes = weir__zone_array(zone, unit->node_count, sizeof *unit->nodes);
        unit->candidacies = weir__zone_array(zone, assigner->total, sizeof *unit->candidacies);
        if (!unit->nodes || !unit->candidacies)
            return weir__status_no_memory();
        unit->node_count = 0;
    }
    for (uint32_t i = 0; i < count; i++)
        if (assigner->unit_of[i] != UINT32_MAX) {
            weir__unit_t *unit = &assigner->units[assigner->unit_of[i]];
            unit->nodes[unit->node_count++] = (uint32_t)(region->nodes[i].anchor - graph->nodes);
        }
    return NULL;
}

static weir_status_t make_units(assigner_t *assigner)
{
    weir__heap_t *heap = &assigner->plan->runtime->heap;
    uint32_t *parents =
        weir__heap_alloc(heap, (uint64_t)assigner->at->region->node_count * sizeof *parents);
    if (!parents)
        return weir__status_no_memory();
    join_units(assigner, parents);
    weir_status_t status = number_units(assigner, parents);
    weir__heap_free(heap, parents);
    return status;
}

// ---- Costs -------------------------------------------------------------------------------------

// Is that the plain C that runs only what nobody before it can?
static bool is_last_resort(const assigner_t *assigner, uint32_t device)
{
    return device && device + 1 >= assigner->placement->device_count &&
           assigner->placement->devices[device]->plugin ==
               assigner->plan->runtime->registry.plugins[0];
}

static bool has_open_sizes(const weir_plan_t *plan, const weir__unit_t *unit)
{
    const weir__graph_t *graph = plan->model->graph;
    for (uint32_t n = 0; n < unit->node_count; n++) {
        const weir__node_t *node = &graph->nodes[unit->nodes[n]];
        for (uint32_t i = 0; i < node->input_count + node->output_count; i++) {
            uint32_t value =
                i < node->input_count ? node->inputs[i] : node->outputs[i - node->input_count];
            if (value == WEIR__NONE || graph->values[value].constant)
                continue;
            for (int32_t d = 0; d < graph->values[value].type.rank; d++)
                if (graph->values[value].type.dims[d] < 0)
                    return true;
        }
    }
    return false;
}

static uint32_t distance(uint32_t a, uint32_t b)
{
    return a > b ? a - b : b - a;
}

// The size class of which most of these devices have a time, the one nearest to `wanted` if there
// are several. keys: [total].
static uint32_t common_class(
    const assigner_t *assigner, const weir__unit_t *unit, const weir__hash_t *keys, uint32_t wanted)
{
    const weir__times_t *times = assigner->at->placer->times;
    uint32_t best = wanted, best_count = 0;
    for (uint32_t d = 0; d < assigner->total; d++) {
        const weir__time_t *time;
        for (uint32_t i = 0;
             !unit->candidacies[d].reason && (time = weir__times_of(times, keys[d], i)) != NULL;
             i++) {
            uint32_t count = 0;
            for (uint32_t e = 0; e < assigner->total; e++)
                count += !unit->candidacies[e].reason &&
                         weir__times_find(times, keys[e], time->size_class) != NULL;
            if (count > best_count || (count == best_count && distance(time->size_class, wanted) <
                                                                  distance(best, wanted))) {
                best_count = count;
                best = time->size_class;
            }
        }
    }
    return best;
}

// Measured times, then what devices say of themselves. source stays NONE where neither is known.
static void find_known(assigner_t *assigner, weir__unit_t *unit, weir__cost_t cost)
{
    weir__placer_t *placer = assigner->at->placer;
    weir__hash_t keys[WEIR__MEMORIES_MAX];
    uint32_t size_class = weir__size_class(cost);
    if (placer->times && weir__times_count(placer->times)) {
        for (uint32_t d = 0; d < assigner->total; d++)
            keys[d] = weir__nodes_key(
                assigner->plan, unit->nodes, unit->node_count, assigner->placement->devices[d]);
        if (has_open_sizes(assigner->plan, unit))
            size_class = common_class(assigner, unit, keys, size_class);
        for (uint32_t d = 0; d < assigner->total; d++) {
            const weir__time_t *time = weir__times_find(placer->times, keys[d], size_class);
            if (unit->candidacies[d].reason || !time)
                continue;
            unit->candidacies[d].cost_ns = time->ns;
            unit->candidacies[d].source = WEIR_COST_MEASURED;
        }
    }
    for (uint32_t d = 0; d < assigner->total; d++)
        if (!unit->candidacies[d].reason && !unit->candidacies[d].source &&
            unit->candidacies[d].cost_ns)
            unit->candidacies[d].source = WEIR_COST_CLAIMED;
}

#define PREFERENCE 4 // a device that is named later counts as slower by 1 / PREFERENCE at least

// What decides: known costs if every device has one that can run the unit and is no last resort;
// else guesses, of which none contradicts the caller's order.
static void decide_costs(assigner_t *assigner, weir__unit_t *unit)
{
    weir__cost_t cost =
        weir__nodes_cost(assigner->plan, unit->nodes, unit->node_count, assigner->placement->sizes);
    bool known = true, alone = true;
    find_known(assigner, unit, cost);
    for (uint32_t d = 0; d < assigner->total; d++)
        if (!unit->candidacies[d].reason && !is_last_resort(assigner, d)) {
            known &= unit->candidacies[d].source != WEIR_COST_NONE;
            alone = false;
        }
    uint64_t least = 0;
    for (uint32_t d = 0; d < assigner->total; d++) {
        weir__candidacy_t *candidacy = &unit->candidacies[d];
        if (candidacy->reason)
            continue;
        candidacy->is_last = !alone && is_last_resort(assigner, d);
        bool keeps = candidacy->is_last || alone ? candidacy->source != WEIR_COST_NONE : known;
        if (keeps)
            continue;
        uint64_t guess = weir__guess_ns(assigner->plan, assigner->placement->devices[d], cost);
        candidacy->cost_ns = candidacy->is_last ? guess : WEIR_MAX(guess, least);
        candidacy->source = WEIR_COST_ESTIMATED;
        if (!candidacy->is_last)
            least = weir__cost_sum(candidacy->cost_ns, candidacy->cost_ns / PREFERENCE);
    }
}

// What the devices said of all nodes of a unit, together.
static void add_verdicts(assigner_t *assigner)
{
    for (uint32_t i = 0; i < assigner->at->region->node_count; i++) {
        if (assigner->unit_of[i] == UINT32_MAX)
            continue;
        weir__unit_t *unit = &assigner->units[assigner->unit_of[i]];
        const weir__verdict_t *verdicts = verdicts_of(assigner, i);
        for (uint32_t d = 0; d < assigner->total; d++) {
            weir__candidacy_t *candidacy = &unit->candidacies[d];
            if (verdicts[d].reason && !candidacy->reason)
                candidacy->reason = verdicts[d].reason;
            // One node of unknown cost makes the sum unknown.
            if (!verdicts[d].cost_ns)
                candidacy->source = WEIR_COST_ESTIMATED;
            candidacy->cost_ns = weir__cost_sum(candidacy->cost_ns, verdicts[d].cost_ns);
        }
    }
    for (uint32_t u = 0; u < assigner->unit_count; u++)
        for (uint32_t d = 0; d < assigner->total; d++) {
            weir__candidacy_t *candidacy = &assigner->units[u].candidacies[d];
            if (candidacy->reason || candidacy->source == WEIR_COST_ESTIMATED)
                candidacy->cost_ns = 0;
            candidacy->source = WEIR_COST_NONE;
        }
}

static weir_status_t nobody(const assigner_t *assigner, uint32_t number)
{
    char why[1024] = "";
    const weir__plan_node_t *node = &assigner->at->region->nodes[number];
    for (uint32_t d = 0; d < assigner->placement->device_count; d++) {
        size_t used = strlen(why);
        snprintf(why + used, sizeof why - used, "%s%s: %s", used ? "; " : "",
            assigner->placement->devices[d]->name, verdicts_of(assigner, number)[d].reason);
    }
    const char *advice = "";
    if (node->anchor && (node->anchor->op->flags & WEIR__OP_CUSTOM))
        advice = "; only a plugin that has a kernel for it can (WEIR_PLUGIN_PATH, weir devices)";
    else if (assigner->at->placer->list->required)
        advice = "; name more devices, such as ref, the plain C device";
    return WEIR_ERR(WEIR_UNSUPPORTED, "%s: no device can run it (%s)%s", node->label, why, advice);
}

// The row of costs of one unit.
static weir_status_t price(assigner_t *assigner, uint32_t number)
{
    weir__unit_t *unit = &assigner->units[number];
    uint64_t *row = assigner->costs + (size_t)number * assigner->total;
    uint32_t pin;
    WEIR_TRY(weir__pins_find(assigner->at->placer, unit->nodes, unit->node_count, &pin));
    decide_costs(assigner, unit);
    bool any = false;
    for (uint32_t d = 0; d < assigner->total; d++) {
        const weir__candidacy_t *candidacy = &unit->candidacies[d];
        bool may = !candidacy->reason && (pin == UINT32_MAX ? !candidacy->is_last : d == pin);
        // However dear, it can: a claim may be as large as the mark of those that cannot.
        row[d] = may ? WEIR_MIN(candidacy->cost_ns, WEIR__CANNOT - 1) : WEIR__CANNOT;
        any |= may;
    }
    if (any) {
        unit->is_pinned = pin != UINT32_MAX;
        return NULL;
    }
    uint32_t node = assigner->last_nodes[number];
    const char *label = assigner->at->region->nodes[node].label;
    if (pin != UINT32_MAX)
        return WEIR_ERR(WEIR_UNSUPPORTED, "%s: is to run on %s, which cannot: %s", label,
            assigner->placement->devices[pin]->name, unit->candidacies[pin].reason);
    for (uint32_t i = 0; i <= node; i++) // nobody can run a unit of which nobody can run a node
        if (assigner->unit_of[i] == number)
            return nobody(assigner, i);
    return NULL;
}

// ---- Flows -------------------------------------------------------------------------------------

// Whose bytes a value is: views move nothing.
static uint32_t source_of(const weir__graph_t *graph, uint32_t value)
{
    for (;;) {
        uint32_t producer = graph->values[value].producer;
        if (producer == WEIR__NONE || !(graph->nodes[producer].op->flags & WEIR__OP_VIEW))
            return value;
        value = graph->nodes[producer].inputs[0];
    }
}

static bool reserve_flow(assigner_t *assigner)
{
    weir__heap_t *heap = &assigner->plan->runtime->heap;
    if (assigner->problem.flow_count < assigner->flow_capacity)
        return true;
    uint32_t capacity = WEIR_MAX(assigner->flow_capacity * 2, 64);
    weir__flow_t *flows =
        weir__heap_realloc(heap, assigner->flows, (uint64_t)capacity * sizeof *flows);
    if (flows)
        assigner->flows = flows;
    uint32_t *values =
        weir__heap_realloc(heap, assigner->flow_values, (uint64_t)capacity * sizeof *values);
    if (values)
        assigner->flow_values = values;
    assigner->is_starved |= !flows || !values;
    if (assigner->is_starved)
        return false;
    assigner->flow_capacity = capacity;
    return true;
}

// The flow of a value; NULL: it is a constant or absent, or there is no memory. Valid until the
// next one is made.
static weir__flow_t *flow_of(assigner_t *assigner, uint32_t value)
{
    const weir__graph_t *graph = assigner->plan->model->graph;
    if (value == WEIR__NONE)
        return NULL;
    value = source_of(graph, value);
    if (graph->values[value].constant)
        return NULL;
    uint32_t *number = &assigner->at->placer->flow_of[value];
    if (*number == UINT32_MAX) {
        if (!reserve_flow(assigner))
            return NULL;
        *number = assigner->problem.flow_count++;
        assigner->flow_values[*number] = value;
        assigner->flows[*number] = (weir__flow_t){.maker = UINT32_MAX,
            .bytes = weir__value_bytes(assigner->plan, value, assigner->placement->sizes)};
    }
    return &assigner->flows[*number];
}

static void host_reads(assigner_t *assigner, uint32_t value)
{
    weir__flow_t *flow = flow_of(assigner, value);
    if (flow)
        flow->host_reads = true;
}

static void region_reads(assigner_t *assigner, const weir__region_t *region)
{
    const weir__graph_t *graph = assigner->plan->model->graph;
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__node_t *node = &graph->nodes[region->nodes[i]];
        for (uint32_t j = 0; j < node->input_count; j++)
            host_reads(assigner, node->inputs[j]);
        for (uint32_t r = 0; r < node->region_count; r++)
            region_reads(assigner, node->regions[r]); // as deep as limits.subgraph_depth allows
    }
    for (uint32_t i = 0; i < region->output_count; i++)
        host_reads(assigner, region->outputs[i]);
}

// What a node that is in no unit reads on the host.
static void host_node_reads(assigner_t *assigner, const weir__plan_node_t *node)
{
    const weir__op_t *op = node->anchor->op;
    if (op->flags & WEIR__OP_DIMS_ONLY)
        return;
    for (uint32_t i = op->flags & WEIR__OP_VIEW ? 1 : 0; i < node->input_count; i++)
        host_reads(assigner, node->inputs[i]);
    for (uint32_t r = 0; r < node->anchor->region_count; r++)
        region_reads(assigner, node->anchor->regions[r]);
}

// Calls of a unit's node: first to count readers, then to list them.
static void unit_node_reads(assigner_t *assigner, uint32_t number, bool lists)
{
    const weir__plan_node_t *node = &assigner->at->region->nodes[number];
    uint32_t unit = assigner->unit_of[number];
    for (uint32_t i = 0; i < node->input_count; i++) {
        weir__flow_t *flow = flow_of(assigner, node->inputs[i]);
        if (!flow || flow->maker == unit)
            continue;
        if (lists)
            assigner->readers[flow->first_reader + flow->reader_count] = unit;
        flow->reader_count++;
    }
}

static weir_status_t find_flows(assigner_t *assigner)
{
    const weir__plan_region_t *region = assigner->at->region;
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__plan_node_t *node = &region->nodes[i];
        if (assigner->unit_of[i] == UINT32_MAX) {
            host_node_reads(assigner, node);
            continue;
        }
        for (uint32_t o = 0; o < node->output_count; o++) {
            weir__flow_t *flow = flow_of(assigner, node->outputs[o]);
            if (flow)
                flow->maker = assigner->unit_of[i];
        }
        unit_node_reads(assigner, i, false);
    }
    for (uint32_t i = 0; i < region->source->output_count; i++)
        host_reads(assigner, region->source->outputs[i]);
    if (assigner->is_starved)
        return weir__status_no_memory();
    for (uint32_t f = 0; f < assigner->problem.flow_count; f++) {
        assigner->flows[f].first_reader = assigner->problem.reader_count;
        assigner->problem.reader_count += assigner->flows[f].reader_count;
        assigner->flows[f].reader_count = 0;
    }
    for (uint32_t i = 0; i < region->node_count; i++)
        if (assigner->unit_of[i] != UINT32_MAX)
            unit_node_reads(assigner, i, true);
    return NULL;
}

// Does this node, which is in no unit, end the launch before it?
static bool ends_launch(const weir_plan_t *plan, const weir__plan_node_t *node)
{
    for (uint32_t i = 0; i < node->input_count && i < 32; i++)
        if ((node->anchor->op->value_inputs >> i & 1) && node->inputs[i] != WEIR__NONE &&
            !plan->size_known[node->inputs[i]])
            return true;
    if (node->anchor->op->flags & WEIR__OP_VIEW)
        return false;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE && !plan->size_known[node->outputs[i]])
            return true;
    return !node->is_shape;
}

static void find_breaks(assigner_t *assigner)
{
    bool broken = false;
    for (uint32_t i = 0; i < assigner->at->region->node_count; i++) {
        uint32_t unit = assigner->unit_of[i];
        if (unit == UINT32_MAX)
            broken |= ends_launch(assigner->plan, &assigner->at->region->nodes[i]);
        else if (assigner->last_nodes[unit] == i) {
            assigner->breaks[unit] = broken;
            broken = false;
        }
    }
}

// ---- The result --------------------------------------------------------------------------------

// Why the devices that the caller prefers to this one did not get the node.
static const char *why_not_before(const assigner_t *assigner, uint32_t number, uint32_t device)
{
    const weir__unit_t *unit = &assigner->units[assigner->unit_of[number]];
    char why[1024] = "";
    for (uint32_t d = 0; d < device; d++) {
        const char *reason = verdicts_of(assigner, number)[d].reason;
        size_t used = strlen(why);
        if (!reason)
            reason = unit->candidacies[d].reason;
        if (!reason)
            reason = unit->is_pinned ? "was placed elsewhere by request" : "would cost more";
        snprintf(why + used, sizeof why - used, "%s%s: %s", used ? "; " : "",
            assigner->placement->devices[d]->name, reason);
    }
    return weir__zone_string(&assigner->plan->zone, why, strlen(why));
}

static weir_status_t choose(assigner_t *assigner, uint32_t number)
{
    weir__plan_node_t *node = &assigner->at->region->nodes[number];
    uint32_t device = assigner->units[assigner->unit_of[number]].device;
    node->choice = (weir__candidate_t){.device = assigner->placement->devices[device],
        .kernel = verdicts_of(assigner, number)[device].kernel};
    node->why = why_not_before(assigner, number, device);
    return node->why ? NULL : weir__status_no_memory();
}

static weir_status_t add_cut(assigner_t *assigner, const weir__flow_t *flow, uint32_t to)
{
    weir__placement_t *placement = assigner->placement;
    uint32_t from = flow->maker == UINT32_MAX ? UINT32_MAX : assigner->units[flow->maker].device;
    const weir__placer_t *placer = assigner->at->placer;
    uint32_t memories[2] = {from == UINT32_MAX ? 0 : placer->memories[from],
        to == UINT32_MAX ? 0 : placer->memories[to]};
    // Between the host and a device that works in its memory nothing is cut.
    if (from == to || ((from == UINT32_MAX || to == UINT32_MAX) && memories[0] == memories[1]))
        return NULL;
    if (placement->cut_count == placement->cut_capacity) {
        uint32_t capacity = WEIR_MAX(placement->cut_capacity * 2, 16);
        weir__cut_t *cuts = weir__zone_array(&assigner->plan->zone, capacity, sizeof *cuts);
        if (!cuts)
            return weir__status_no_memory();
        if (placement->cut_count)
            memcpy(cuts, placement->cuts, placement->cut_count * sizeof *cuts);
        placement->cuts = cuts;
        placement->cut_capacity = capacity;
    }
    placement->cuts[placement->cut_count++] =
        (weir__cut_t){.value = assigner->flow_values[flow - assigner->flows],
            .from = from == UINT32_MAX ? NULL : placement->devices[from],
            .to = to == UINT32_MAX ? NULL : placement->devices[to],
            .bytes = flow->bytes,
            .cost_ns = memories[0] == memories[1]
                           ? 0
                           : weir__link_ns(&placer->links[memories[0]][memories[1]], flow->bytes)};
    return NULL;
}

static weir_status_t find_cuts(assigner_t *assigner)
{
    for (uint32_t f = 0; f < assigner->problem.flow_count; f++) {
        const weir__flow_t *flow = &assigner->flows[f];
        uint64_t reached = 0;
        for (uint32_t r = 0; r < flow->reader_count; r++)
            reached |= 1ull << assigner->units[assigner->readers[flow->first_reader + r]].device;
        for (uint32_t d = 0; d < assigner->total; d++)
            if (reached >> d & 1)
                WEIR_TRY(add_cut(assigner, flow, d));
        if (flow->host_reads)
            WEIR_TRY(add_cut(assigner, flow, UINT32_MAX));
    }
    return NULL;
}

static weir_status_t keep_units(assigner_t *assigner)
{
    weir__placement_t *placement = assigner->placement;
    uint32_t count = placement->unit_count + assigner->unit_count;
    if (count > placement->unit_capacity) {
        uint32_t capacity = WEIR_MAX(count, placement->unit_capacity * 2);
        weir__unit_t *units = weir__zone_array(&assigner->plan->zone, capacity, sizeof *units);
        if (!units)
            return weir__status_no_memory();
        if (placement->unit_count)
            memcpy(units, placement->units, placement->unit_count * sizeof *units);
        placement->units = units;
        placement->unit_capacity = capacity;
    }
    for (uint32_t u = 0; u < assigner->unit_count; u++) {
        const weir__unit_t *unit = &assigner->units[u];
        for (uint32_t n = 0; n < unit->node_count; n++)
            placement->node_units[unit->nodes[n]] = placement->unit_count + u;
        placement->units[placement->unit_count + u] = *unit;
    }
    placement->unit_count = count;
    return NULL;
}

// ---- All of it ---------------------------------------------------------------------------------

static weir_status_t reserve(assigner_t *assigner, const weir__plan_region_t *region)
{
    weir__heap_t *heap = &assigner->plan->runtime->heap;
    uint64_t nodes = region->node_count, reads = 0;
    for (uint32_t i = 0; i < region->node_count; i++)
        reads += region->nodes[i].input_count;
    assigner->unit_of = weir__heap_alloc(heap, nodes * sizeof(uint32_t));
    assigner->last_nodes = weir__heap_alloc(heap, nodes * sizeof(uint32_t));
    assigner->costs = weir__heap_calloc(heap, nodes, assigner->total * sizeof(uint64_t));
    assigner->breaks = weir__heap_calloc(heap, nodes, sizeof(bool));
    assigner->readers = weir__heap_calloc(heap, reads, sizeof(uint32_t));
    return assigner->unit_of && assigner->last_nodes && assigner->costs && assigner->breaks &&
                   assigner->readers
               ? NULL
               : weir__status_no_memory();
}

static weir_status_t assign(assigner_t *assigner)
{
    weir__heap_t *heap = &assigner->plan->runtime->heap;
    const weir__placer_t *placer = assigner->at->placer;
    const weir__plan_region_t *region = assigner->at->region;
    WEIR_TRY(reserve(assigner, region));
    WEIR_TRY(make_units(assigner));
    add_verdicts(assigner);
    for (uint32_t u = 0; u < assigner->unit_count; u++)
        WEIR_TRY(price(assigner, u));
    WEIR_TRY(find_flows(assigner));
    find_breaks(assigner);
    for (uint32_t d = 0; d < assigner->total; d++)
        assigner->launch_ns[d] = weir__launch_ns(assigner->placement->devices[d]);
    assigner->problem.unit_count = assigner->unit_count;
    assigner->problem.place_count = assigner->total;
    assigner->problem.costs = assigner->costs;
    assigner->problem.breaks = assigner->breaks;
    assigner->problem.launch_ns = assigner->launch_ns;
    assigner->problem.memories = placer->memories;
    assigner->problem.links = (const weir__link_t(*)[WEIR__MEMORIES_MAX])placer->links;
    assigner->problem.flows = assigner->flows;
    assigner->problem.readers = assigner->readers;
    // last_nodes is needed no more: it takes the answer.
    WEIR_TRY(weir__partition(heap, &assigner->problem, assigner->last_nodes));
    for (uint32_t u = 0; u < assigner->unit_count; u++)
        assigner->units[u].device = assigner->last_nodes[u];
    for (uint32_t i = 0; i < region->node_count; i++)
        if (assigner->unit_of[i] != UINT32_MAX)
            WEIR_TRY(choose(assigner, i));
    WEIR_TRY(find_cuts(assigner));
    return keep_units(assigner);
}

weir_status_t weir__place_assign(weir__region_placer_t *at)
{
    weir_plan_t *plan = at->placer->plan;
    weir__heap_t *heap = &plan->runtime->heap;
    assigner_t assigner = {.at = at,
        .plan = plan,
        .placement = at->placer->placement,
        .total = weir__placement_total(at->placer->placement)};
    weir_status_t status = assign(&assigner);
    for (uint32_t f = 0; f < assigner.problem.flow_count; f++)
        at->placer->flow_of[assigner.flow_values[f]] = UINT32_MAX;
    weir__heap_free(heap, assigner.readers);
    weir__heap_free(heap, assigner.flows);
    weir__heap_free(heap, assigner.flow_values);
    weir__heap_free(heap, assigner.breaks);
    weir__heap_free(heap, assigner.costs);
    weir__heap_free(heap, assigner.last_nodes);
    weir__heap_free(heap, assigner.unit_of);
    return status;
}
