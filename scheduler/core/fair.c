// scheduler/core/fair.c: whose turn it is, by measured device time.
//
// Tenants, the flows of a tenant, and lanes each have an account: the device time that was spent
// for them (tenants: divided by their weight). Whoever is within a burst of the lowest account may
// go, and among those the earliest deadline goes first. So time is shared evenly whenever there is
// too little of it, and within a burst urgency decides. An account that was idle comes in at the
// level of those that were not: absence saves nothing up. This is deficit round robin with the
// deficits written as differences of accounts (Shreedhar and Varghese 1995; start levels as in
// start-time fair queueing, Goyal et al. 1996).
#include "scheduler/core/state.h"

void weir__fair_enter(weir__core_t *core, uint32_t flow)
{
    weir__flow_t *it = &core->flows[flow];
    weir__tenant_t *tenant = &core->tenants[it->tenant];
    if (tenant->queued_count == 0 && tenant->account_ns < core->tenant_level_ns)
        tenant->account_ns = core->tenant_level_ns;
    if (it->queued_rows == 0 && it->account_ns < tenant->flow_level_ns)
        it->account_ns = tenant->flow_level_ns;
}

void weir__fair_charge(weir__core_t *core, uint32_t request, uint64_t cost_ns)
{
    weir__request_t *it = &core->requests[request];
    weir__flow_t *flow = &core->flows[it->flow];
    weir__tenant_t *tenant = &core->tenants[flow->tenant];
    if (core->tenant_level_ns < tenant->account_ns)
        core->tenant_level_ns = tenant->account_ns;
    if (tenant->flow_level_ns < flow->account_ns)
        tenant->flow_level_ns = flow->account_ns;
    it->charged_ns = cost_ns;
    flow->account_ns += cost_ns;
    tenant->account_ns += cost_ns / tenant->weight;
    core->lanes[flow->lane].account_ns += cost_ns;
}

static uint64_t moved(uint64_t account_ns, uint64_t from_ns, uint64_t to_ns)
{
    if (to_ns >= from_ns)
        return account_ns + (to_ns - from_ns);
    return account_ns > from_ns - to_ns ? account_ns - (from_ns - to_ns) : 0;
}

void weir__fair_correct(weir__core_t *core, uint32_t request, uint64_t cost_ns)
{
    weir__request_t *it = &core->requests[request];
    weir__flow_t *flow = &core->flows[it->flow];
    weir__tenant_t *tenant = &core->tenants[flow->tenant];
    weir__lane_t *lane = &core->lanes[flow->lane];
    flow->account_ns = moved(flow->account_ns, it->charged_ns, cost_ns);
    tenant->account_ns =
        moved(tenant->account_ns, it->charged_ns / tenant->weight, cost_ns / tenant->weight);
    lane->account_ns = moved(lane->account_ns, it->charged_ns, cost_ns);
    it->charged_ns = cost_ns;
}

// Empty, or left out of the batch that is being put together.
static int is_out(const weir__core_t *core, const weir__flow_t *flow)
{
    return flow->heap == WEIR__NONE || flow->left_out == core->batch_sequence;
}

static uint64_t order_of(const weir__core_t *core, const weir__flow_t *flow)
{
    return core->requests[flow->heap].order_ns + flow->priority * core->limits.ageing_ns;
}

// The lowest account of each tenant's flows of one priority, and the lowest tenant's. Returns how
// many flows take part.
static uint32_t lowest_accounts(
    weir__core_t *core, uint32_t lane, uint64_t *out_lowest, uint32_t *out_only)
{
    uint32_t first = core->lanes[lane].flow, count = 0;
    *out_lowest = UINT64_MAX;
    *out_only = WEIR__NONE;
    for (uint32_t i = first; i != WEIR__NONE; i = core->flows[i].next) {
        const weir__flow_t *it = &core->flows[i];
        weir__tenant_t *tenant = &core->tenants[it->tenant];
        if (is_out(core, it))
            continue;
        *out_only = i;
        count++;
        tenant->lowest_ns[it->priority] = UINT64_MAX;
        if (tenant->account_ns < *out_lowest)
            *out_lowest = tenant->account_ns;
    }
    for (uint32_t i = first; i != WEIR__NONE && count > 1; i = core->flows[i].next) {
        const weir__flow_t *it = &core->flows[i];
        uint64_t *lowest = &core->tenants[it->tenant].lowest_ns[it->priority];
        if (!is_out(core, it) && it->account_ns < *lowest)
            *lowest = it->account_ns;
    }
    return count;
}

uint32_t weir__fair_flow(weir__core_t *core, uint32_t lane, uint64_t burst_ns)
{
    uint64_t lowest = 0;
    uint32_t only = WEIR__NONE, best = WEIR__NONE;
    if (lowest_accounts(core, lane, &lowest, &only) < 2)
        return only;
    if (WEIR__MUTANT(3))
        return only;
    for (uint32_t i = core->lanes[lane].flow; i != WEIR__NONE; i = core->flows[i].next) {
        const weir__flow_t *it = &core->flows[i];
        const weir__tenant_t *tenant = &core->tenants[it->tenant];
        if (is_out(core, it) || tenant->account_ns > lowest + burst_ns ||
            it->account_ns > tenant->lowest_ns[it->priority] + burst_ns)
            continue;
        if (best == WEIR__NONE || order_of(core, it) < order_of(core, &core->flows[best]))
            best = i;
    }
    return best;
}

// The lowest account of a tenant that waits in this lane.
uint64_t weir__fair_lane_account(const weir__core_t *core, uint32_t lane)
{
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = core->lanes[lane].flow; i != WEIR__NONE; i = core->flows[i].next) {
        uint64_t account = core->tenants[core->flows[i].tenant].account_ns;
        if (core->flows[i].heap != WEIR__NONE && account < lowest)
            lowest = account;
    }
    return lowest;
}
