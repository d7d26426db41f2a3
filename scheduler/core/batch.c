// scheduler/core/batch.c: which lane is next, and which of its rows go.
//
// A batch is led by the flow whose turn it is. Where more waits than its share of a batch, heads
// that could not make a batch of that size are dropped: served late they would help nobody, served
// in a small batch they would make everybody after them late. Where less waits, the batch is made
// small enough for them instead.
#include "scheduler/core/state.h"

typedef struct batch_plan {
    uint32_t lane, instance;
    uint32_t rows_max;
    uint64_t burst_ns;
    uint64_t row_cost_ns;
    const weir__curve_t *curve;
    int stale; // predictions are not to be believed
} batch_plan_t;

static void begin(weir__core_t *core, uint32_t instance, uint32_t lane)
{
    weir__instance_t *it = &core->instances[instance];
    it->batch = ++core->batch_sequence << 24 | instance;
    it->lane = lane;
    it->rows = it->member_count = it->waiting_count = 0;
    it->deadline_ns = WEIR__CORE_NEVER;
}

static void add(weir__core_t *core, const batch_plan_t *plan, uint32_t request)
{
    weir__instance_t *it = &core->instances[plan->instance];
    weir__request_t *row = &core->requests[request];
    weir__queue_take(core, request);
    weir__fair_charge(core, request, plan->row_cost_ns * row->rows);
    row->state = WEIR__REQUEST_RUNNING;
    row->instance = plan->instance;
    core->members[(size_t)plan->instance * core->limits.batch_rows + it->member_count++] = request;
    it->waiting_count++;
    it->rows += row->rows;
    if (row->deadline_ns < it->deadline_ns)
        it->deadline_ns = row->deadline_ns;
}

// Eight times what it should take. One of more rows than any before is predicted to be as cheap as
// those, so that it is tried; it may take as much more as it has more rows, up to what is given
// where nothing is known: a slow model is no device that hangs.
static uint64_t budget_of(const weir__core_t *core, const weir__curve_t *curve, uint32_t rows)
{
    uint64_t most = core->limits.watchdog_unknown_ns, budget = 8 * weir__curve_p95(curve, rows);
    if (!curve->learned)
        return most;
    uint32_t seen = 1u << (31 - (uint32_t)__builtin_clz(curve->seen_log | 1));
    uint32_t times = (weir__curve_run_rows(curve, rows) + seen - 1) / seen;
    if (times > 1 && budget < most)
        budget = budget * times < most ? budget * times : most;
    return budget > core->limits.watchdog_min_ns ? budget : core->limits.watchdog_min_ns;
}

static void leave(weir__core_t *core, const batch_plan_t *plan, weir__core_why_t why)
{
    weir__instance_t *it = &core->instances[plan->instance];
    weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_DISPATCH);
    if (!action)
        return; // weir__batch_dispatch() made sure that there is room
    it->budget_ns = budget_of(core, plan->curve, it->rows);
    it->started_ns = core->now_ns;
    it->expected_ns = core->now_ns + weir__curve_mean(plan->curve, it->rows);
    it->started_count = it->member_count;
    it->batch_state = WEIR__BATCH_RUNNING;
    weir__instance_set_idle(core, plan->instance, 0);
    core->devices[it->device].busy_count++;
    core->team_busy[it->team]++;
    core->lanes[plan->lane].batch_count++;
    weir__core_want(core, it->deadline_ns);
    weir__core_want(core, it->started_ns + it->budget_ns);
    action->batch = it->batch;
    action->instance = plan->instance;
    action->device = it->device;
    action->model = core->models[it->model].model;
    action->version = core->models[it->model].version;
    action->rows = it->rows;
    action->count = it->member_count;
    action->why = why;
}

// The flow that leads, trimmed; *out_rows is how large the batch may be. WEIR__NONE: nothing is
// left.
static uint32_t lead(weir__core_t *core, const batch_plan_t *plan, uint32_t *out_rows)
{
    const weir__lane_t *lane = &core->lanes[plan->lane];
    uint32_t flow;
    while ((flow = weir__fair_flow(core, plan->lane, plan->burst_ns)) != WEIR__NONE) {
        uint32_t rows = lane->queued_rows < plan->rows_max ? lane->queued_rows : plan->rows_max;
        weir__trim_t trim = {plan->curve, core->now_ns, rows,
            weir__trim_share(core, plan->lane, plan->rows_max), UINT32_MAX, plan->stale};
        if (!weir__trim(core, flow, &trim)) {
            if (core->more)
                return WEIR__NONE;
            continue;
        }
        const weir__request_t *head = &core->requests[core->flows[flow].heap];
        if (lane->queued_rows < rows)
            rows = lane->queued_rows;
        uint32_t within =
            weir__curve_rows_within(plan->curve, rows, head->deadline_ns - core->now_ns);
        *out_rows = within < head->rows ? head->rows : within;
        return flow;
    }
    return WEIR__NONE;
}

static void fill(weir__core_t *core, const batch_plan_t *plan, uint32_t flow, uint32_t rows_max)
{
    const weir__instance_t *it = &core->instances[plan->instance];
    const weir__trim_t trim = {plan->curve, core->now_ns, rows_max,
        weir__trim_share(core, plan->lane, plan->rows_max), UINT32_MAX, plan->stale};
    uint64_t end = core->now_ns + weir__curve_p95(plan->curve, rows_max);
    add(core, plan, core->flows[flow].heap);
    while (it->rows < rows_max &&
           (flow = weir__fair_flow(core, plan->lane, plan->burst_ns)) != WEIR__NONE) {
        const weir__request_t *head = &core->requests[core->flows[flow].heap];
        if (head->deadline_ns < end) {
            if (!weir__trim(core, flow, &trim)) {
                if (core->flows[flow].heap != WEIR__NONE)
                    core->flows[flow].left_out = core->batch_sequence;
                continue;
            }
            head = &core->requests[core->flows[flow].heap];
        }
        // Not in time here, or too large for what is left: it leads a batch of its own.
        if (head->deadline_ns < end || head->rows > rows_max - it->rows)
            core->flows[flow].left_out = core->batch_sequence;
        else
            add(core, plan, core->flows[flow].heap);
    }
}

static void form(weir__core_t *core, uint32_t lane, uint32_t instance, weir__core_why_t why)
{
    const weir__instance_t *it = &core->instances[instance];
    uint32_t batch_rows = core->models[it->model].batch_rows;
    const weir__curve_t *curve = weir__place_curve(core, lane, it->device);
    uint64_t full = weir__curve_mean(curve, batch_rows);
    batch_plan_t plan = {lane, instance, why == WEIR__DISPATCH_PROBE ? 1 : batch_rows, full / 4,
        full / batch_rows + 1, curve, weir__place_stale(core, lane)};
    begin(core, instance, lane);
    if (why == WEIR__DISPATCH_RERUN) {
        add(core, &plan, core->lanes[lane].alone);
    } else {
        uint32_t rows = 0, flow = lead(core, &plan, &rows);
        if (flow == WEIR__NONE)
            return;
        if (why == WEIR__DISPATCH_PROBE)
            add(core, &plan, core->flows[flow].heap);
        else
            fill(core, &plan, flow, rows);
    }
    leave(core, &plan, why);
}

typedef struct candidate {
    uint64_t tenant_ns, lane_ns, start_ns, burst_ns;
    uint32_t lane, instance;
    weir__core_why_t why;
} candidate_t;

static int consider(weir__core_t *core, uint32_t lane, candidate_t *out_candidate)
{
    uint32_t instance = WEIR__NONE;
    weir__core_why_t why = weir__decide(core, lane, &instance);
    if (why == WEIR__WHY_NONE)
        return 0;
    const weir__lane_t *it = &core->lanes[lane];
    uint32_t batch_rows = core->models[it->model].batch_rows;
    const weir__curve_t *curve = weir__place_curve(core, lane, core->instances[instance].device);
    uint64_t order = WEIR__CORE_NEVER, needed = weir__curve_p95(curve, batch_rows);
    for (uint32_t i = it->flow; i != WEIR__NONE; i = core->flows[i].next) {
        const weir__flow_t *flow = &core->flows[i];
        if (flow->heap == WEIR__NONE)
            continue;
        uint64_t here =
            core->requests[flow->heap].order_ns + flow->priority * core->limits.ageing_ns;
        order = here < order ? here : order;
    }
    if (it->alone != WEIR__NONE && core->requests[it->alone].order_ns < order)
        order = core->requests[it->alone].order_ns;
    *out_candidate = (candidate_t){weir__fair_lane_account(core, lane), it->account_ns,
        order > needed ? order - needed : 0, weir__curve_mean(curve, batch_rows), lane, instance,
        why};
    return 1;
}

// Is `a` to go before `b`? Tenants first, then lanes, and within a burst the more urgent one.
static int goes_before(const candidate_t *a, const candidate_t *b)
{
    uint64_t burst = a->burst_ns > b->burst_ns ? a->burst_ns : b->burst_ns;
    if (WEIR__MUTANT(14))
        return a->lane < b->lane;
    if (a->tenant_ns + burst < b->tenant_ns || b->tenant_ns + burst < a->tenant_ns)
        return a->tenant_ns < b->tenant_ns;
    if (a->lane_ns + burst < b->lane_ns || b->lane_ns + burst < a->lane_ns)
        return a->lane_ns < b->lane_ns;
    return a->start_ns < b->start_ns;
}

void weir__batch_dispatch(weir__core_t *core)
{
    while (core->look_all || core->look_lane != WEIR__NONE) {
        if (!weir__trim_room(core))
            return;
        candidate_t best = {0}, here;
        int found = 0;
        if (core->look_all) {
            for (uint32_t i = 0; i < core->active_count; i++) {
                if (consider(core, core->active[i], &here) &&
                    (!found || goes_before(&here, &best))) {
                    best = here;
                    found = 1;
                }
            }
        } else {
            found = consider(core, core->look_lane, &best);
        }
        if (!found) {
            core->look_all = 0;
            core->look_lane = WEIR__NONE;
            return;
        }
        if (core->lanes[best.lane].account_ns > core->lane_level_ns)
            core->lane_level_ns = core->lanes[best.lane].account_ns;
        form(core, best.lane, best.instance, best.why);
        if (core->more)
            return;
    }
}

void weir__batch_forget(weir__core_t *core, uint32_t request)
{
    uint32_t instance = core->requests[request].instance;
    weir__instance_t *it = &core->instances[instance];
    uint32_t *members = &core->members[(size_t)instance * core->limits.batch_rows];
    for (uint32_t i = 0; i < it->member_count; i++)
        if (members[i] == request)
            members[i] = WEIR__NONE;
    if (--it->waiting_count > 0 || it->batch_state != WEIR__BATCH_RUNNING)
        return;
    // Without room for it the batch runs to its end for nothing, which does no harm.
    weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_STOP);
    if (action) {
        action->batch = it->batch;
        action->instance = instance;
        action->device = it->device;
    }
}

size_t weir__core_batch(
    const weir__core_t *core, uint32_t instance, uint64_t *out_tickets, size_t capacity)
{
    if (instance >= core->limits.instance_count)
        return 0;
    const weir__instance_t *it = &core->instances[instance];
    const uint32_t *members = &core->members[(size_t)instance * core->limits.batch_rows];
    size_t count = 0;
    for (uint32_t i = 0; i < it->member_count && count < capacity; i++)
        if (members[i] != WEIR__NONE)
            out_tickets[count++] =
                (uint64_t)core->requests[members[i]].generation << 32 | members[i];
    return count;
}

// The one that follows in a heap when each is followed by its children, from the newest on; where
// requests came in their order, that is the order of the heap.
static uint32_t next_in_heap(const weir__core_t *core, uint32_t root, uint32_t request)
{
    const weir__request_t *requests = core->requests;
    if (requests[request].child != WEIR__NONE)
        return requests[request].child;
    while (request != root && requests[request].next == WEIR__NONE) {
        // Up: past the siblings before it.
        while (requests[requests[request].prev].child != request)
            request = requests[request].prev;
        request = requests[request].prev;
    }
    return request == root ? WEIR__NONE : requests[request].next;
}

size_t weir__core_next(
    const weir__core_t *core, uint32_t instance, uint64_t *out_tickets, size_t capacity)
{
    if (instance >= core->limits.instance_count ||
        core->instances[instance].batch_state != WEIR__BATCH_RUNNING)
        return 0;
    uint32_t lane = core->instances[instance].lane;
    uint32_t share = weir__trim_share(core, lane, (uint32_t)capacity);
    size_t count = 0;
    for (uint32_t i = core->lanes[lane].flow; i != WEIR__NONE; i = core->flows[i].next) {
        uint32_t root = core->flows[i].heap, at = root;
        for (uint32_t n = 0; n < share && at != WEIR__NONE && count < capacity; n++) {
            out_tickets[count++] = (uint64_t)core->requests[at].generation << 32 | at;
            at = next_in_heap(core, root, at);
        }
    }
    return count;
}
