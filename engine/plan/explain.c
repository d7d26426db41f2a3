// engine/plan/explain.c: what placement knew, for each node of the finished plan.
//
// Fusing, formats and slices come after placement, so a node of the plan may be several units, or a
// part of one; which nodes of the graph it stands for follows from what it reads and writes.
#include "engine/plan/place.h"

#include <string.h>

#define STANDS_MAX 96 // nodes of the graph behind one node of the plan: an anchor, two expressions

typedef struct stands {
    uint32_t nodes[STANDS_MAX];
    uint32_t count;
} stands_t;

static bool reads(const weir_plan_t *plan, const weir__plan_node_t *node, uint32_t value)
{
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] != WEIR__NONE && weir__plan_original(plan, node->inputs[i]) == value)
            return true;
    return false;
}

static void add(
    const weir_plan_t *plan, const weir__plan_node_t *node, uint32_t value, stands_t *stands)
{
    if (value == WEIR__NONE || reads(plan, node, value))
        return;
    uint32_t producer = plan->model->graph->values[value].producer;
    for (uint32_t i = 0; i < stands->count; i++)
        if (stands->nodes[i] == producer)
            return;
    if (producer != WEIR__NONE && stands->count < STANDS_MAX)
        stands->nodes[stands->count++] = producer;
}

// From what the node writes back to what it reads.
static void find_stands(
    const weir_plan_t *plan, const weir__plan_node_t *node, stands_t *out_stands)
{
    out_stands->count = 0;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE)
            add(plan, node, weir__plan_original(plan, node->outputs[i]), out_stands);
    for (uint32_t n = 0; n < out_stands->count; n++) {
        const weir__node_t *source = &plan->model->graph->nodes[out_stands->nodes[n]];
        for (uint32_t i = 0; i < source->input_count; i++)
            add(plan, node, source->inputs[i], out_stands);
    }
}

static uint64_t work_of(
    const weir_plan_t *plan, const uint32_t *nodes, uint32_t count, const int64_t *sizes)
{
    weir__cost_t cost = weir__nodes_cost(plan, nodes, count, sizes);
    return weir__cost_sum(weir__cost_sum(cost.flop, cost.bytes), 1);
}

void weir__plan_shares(const weir_plan_t *plan, const weir__plan_node_t *node, const int64_t *sizes,
    weir__shares_t *out_shares)
{
    stands_t stands;
    out_shares->count = 0;
    if (!plan->placement || node->regions[0] || node->regions[1])
        return;
    find_stands(plan, node, &stands);
    for (uint32_t first = 0; first < stands.count; first++) {
        uint32_t unit = plan->placement->node_units[stands.nodes[first]], mine[STANDS_MAX];
        uint32_t count = 0;
        bool seen = unit == UINT32_MAX;
        for (uint32_t p = 0; p < out_shares->count; p++)
            seen |= out_shares->shares[p].unit == unit;
        if (seen || out_shares->count == WEIR__PARTS_MAX)
            continue;
        for (uint32_t n = 0; n < stands.count; n++)
            if (plan->placement->node_units[stands.nodes[n]] == unit)
                mine[count++] = stands.nodes[n];
        const weir__unit_t *whole = &plan->placement->units[unit];
        double share = 1;
        if (count < whole->node_count)
            share = (double)work_of(plan, mine, count, sizes) /
                    (double)work_of(plan, whole->nodes, whole->node_count, sizes);
        out_shares->shares[out_shares->count++] =
            (weir__share_t){.unit = unit, .share = share < 1 ? share : 1};
    }
}

// ---- Candidates --------------------------------------------------------------------------------

bool weir__plan_candidate(const weir_plan_t *plan, const weir__plan_node_t *node, uint32_t device,
    weir__candidacy_t *out_candidacy)
{
    weir__shares_t shares;
    if (!plan->placement || node->is_shape || node->candidate_count ||
        device >= weir__placement_total(plan->placement))
        return false;
    weir__plan_shares(plan, node, plan->placement->sizes, &shares);
    if (!shares.count)
        return false;
    *out_candidacy = (weir__candidacy_t){.source = WEIR_COST_MEASURED};
    double cost_ns = 0;
    for (uint32_t p = 0; p < shares.count; p++) {
        const weir__candidacy_t *part =
            &plan->placement->units[shares.shares[p].unit].candidacies[device];
        cost_ns += shares.shares[p].share * (double)part->cost_ns;
        if (!out_candidacy->reason)
            out_candidacy->reason = part->reason;
        out_candidacy->source = WEIR_MIN(out_candidacy->source, part->source);
        out_candidacy->is_last |= part->is_last;
    }
    if (out_candidacy->reason)
        out_candidacy->source = WEIR_COST_NONE;
    else
        out_candidacy->cost_ns = cost_ns < 1 ? 1 : cost_ns < 1e18 ? (uint64_t)cost_ns : UINT64_MAX;
    return true;
}
