// scheduler/core/queue.c: requests: where they wait, how they end.
//
// Heaps are pairing heaps (Fredman, Sedgewick, Sleator, Tarjan 1986) whose links are in the
// requests: putting is constant time, taking any one of them, as a cancel does, is logarithmic on
// the whole, and nothing is allocated. Every request
// ends in one place, weir__queue_end(): that is where "exactly one FINAL" is kept.
#include "scheduler/core/state.h"

static int before(const weir__request_t *a, const weir__request_t *b)
{
    if (a->deadline_ns != b->deadline_ns)
        return a->deadline_ns < b->deadline_ns;
    return a->order_ns != b->order_ns ? a->order_ns < b->order_ns : a->sequence < b->sequence;
}

static uint32_t meld(weir__core_t *core, uint32_t a, uint32_t b)
{
    if (a == WEIR__NONE)
        return b;
    if (b == WEIR__NONE)
        return a;
    weir__request_t *requests = core->requests;
    if (before(&requests[b], &requests[a])) {
        uint32_t swap = a;
        a = b;
        b = swap;
    }
    requests[b].prev = a;
    requests[b].next = requests[a].child;
    if (requests[b].next != WEIR__NONE)
        requests[requests[b].next].prev = b;
    requests[a].child = b;
    requests[a].next = requests[a].prev = WEIR__NONE;
    return a;
}

// Two passes: neighbours in pairs, then the pairs from the last to the first.
static uint32_t meld_siblings(weir__core_t *core, uint32_t first)
{
    weir__request_t *requests = core->requests;
    uint32_t pairs = WEIR__NONE;
    while (first != WEIR__NONE) {
        uint32_t a = first, b = requests[a].next;
        first = b == WEIR__NONE ? WEIR__NONE : requests[b].next;
        requests[a].next = requests[a].prev = WEIR__NONE;
        if (b != WEIR__NONE)
            requests[b].next = requests[b].prev = WEIR__NONE;
        a = meld(core, a, b);
        requests[a].next = pairs;
        pairs = a;
    }
    uint32_t root = WEIR__NONE;
    while (pairs != WEIR__NONE) {
        uint32_t next = requests[pairs].next;
        requests[pairs].next = WEIR__NONE;
        root = meld(core, root, pairs);
        pairs = next;
    }
    return root;
}

// Requests mostly come in the order in which they go. Each of those becomes the only child of the
// one before it, and taking the first one compares nothing. (Any place below one that goes before
// it is right, and the bounds hold: the sizes of a request's ancestors are all different, so one
// more below them adds the sum of their inverses at most to the potential, a logarithm.)
void weir__heap_push(weir__core_t *core, uint32_t *root, uint32_t request, uint32_t near)
{
    weir__request_t *requests = core->requests, *it = &requests[request];
    it->child = it->next = it->prev = WEIR__NONE;
    if (near == WEIR__NONE || before(it, &requests[near])) {
        *root = meld(core, *root, request);
        return;
    }
    it->prev = near;
    it->next = requests[near].child;
    if (it->next != WEIR__NONE)
        requests[it->next].prev = request;
    requests[near].child = request;
}

void weir__heap_remove(weir__core_t *core, uint32_t *root, uint32_t request)
{
    weir__request_t *requests = core->requests, *it = &requests[request];
    // What was below it takes its place: all of that goes after what it went after itself.
    uint32_t below = meld_siblings(core, it->child);
    if (*root == request) {
        *root = below;
    } else {
        uint32_t here = below == WEIR__NONE ? it->next : below;
        if (requests[it->prev].child == request)
            requests[it->prev].child = here;
        else
            requests[it->prev].next = here;
        if (below != WEIR__NONE) {
            requests[below].prev = it->prev;
            requests[below].next = it->next;
            if (it->next != WEIR__NONE)
                requests[it->next].prev = below;
        } else if (it->next != WEIR__NONE) {
            requests[it->next].prev = it->prev;
        }
    }
    it->child = it->next = it->prev = WEIR__NONE;
}

static void activate(weir__core_t *core, uint32_t lane)
{
    if (core->lanes[lane].queued_count++ == 0) {
        core->lanes[lane].active_index = core->active_count;
        core->active[core->active_count++] = lane;
        if (core->lanes[lane].account_ns < core->lane_level_ns)
            core->lanes[lane].account_ns = core->lane_level_ns;
    }
}

static void deactivate(weir__core_t *core, uint32_t lane)
{
    if (--core->lanes[lane].queued_count == 0) {
        uint32_t last = core->active[--core->active_count], hole = core->lanes[lane].active_index;
        core->active[hole] = last;
        core->lanes[last].active_index = hole;
    }
}

// The request that was put last into a flow's heap, if it is still there.
static uint32_t last_of(const weir__core_t *core, uint32_t flow)
{
    uint32_t last = core->flows[flow].last;
    if (last == WEIR__NONE)
        return last;
    const weir__request_t *it = &core->requests[last];
    int is_there = it->state == WEIR__REQUEST_QUEUED && it->flow == flow && !it->alone;
    return is_there ? last : WEIR__NONE;
}

void weir__queue_put(weir__core_t *core, uint32_t request)
{
    weir__request_t *it = &core->requests[request];
    weir__flow_t *flow = &core->flows[it->flow];
    weir__lane_t *lane = &core->lanes[flow->lane];
    activate(core, flow->lane);
    if (!it->alone)
        weir__fair_enter(core, it->flow);
    core->tenants[flow->tenant].queued_count++;
    if (it->alone) {
        weir__heap_push(core, &lane->alone, request, WEIR__NONE);
    } else {
        weir__heap_push(core, &flow->heap, request, last_of(core, it->flow));
        flow->last = request;
        flow->queued_rows += it->rows;
        lane->queued_rows += it->rows;
        if (it->deadline_ns > flow->newest_ns)
            flow->newest_ns = it->deadline_ns;
    }
    it->state = WEIR__REQUEST_QUEUED;
    it->instance = WEIR__NONE;
    uint64_t due = it->deadline_ns;
    if (due < lane->due_ns || lane->queued_count == 1)
        lane->due_ns = due;
    weir__core_want(core, due);
}

void weir__queue_take(weir__core_t *core, uint32_t request)
{
    weir__request_t *it = &core->requests[request];
    weir__flow_t *flow = &core->flows[it->flow];
    weir__lane_t *lane = &core->lanes[flow->lane];
    if (it->alone) {
        weir__heap_remove(core, &lane->alone, request);
    } else {
        weir__heap_remove(core, &flow->heap, request);
        flow->queued_rows -= it->rows;
        lane->queued_rows -= it->rows;
    }
    core->tenants[flow->tenant].queued_count--;
    deactivate(core, flow->lane);
}

int weir__queue_end(weir__core_t *core, uint32_t request, weir_code_t code, weir__core_why_t why)
{
    weir__request_t *it = &core->requests[request];
    weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_FINAL);
    if (!action)
        return 0;
    action->ticket = (uint64_t)it->generation << 32 | request;
    action->code = code;
    action->why = why;
    if (it->state == WEIR__REQUEST_RUNNING) {
        action->instance = it->instance;
        action->batch = core->instances[it->instance].batch;
    } else {
        weir__queue_take(core, request);
    }
    weir__flow_t *flow = &core->flows[it->flow];
    flow->request_count--;
    core->lanes[flow->lane].request_count--;
    core->models[core->lanes[flow->lane].model].request_count--;
    core->tenants[flow->tenant].request_count--;
    core->request_count--;
    core->bytes -= it->bytes;
    it->state = WEIR__REQUEST_FREE;
    return 1;
}

uint32_t weir__queue_find(const weir__core_t *core, uint64_t ticket)
{
    uint32_t index = (uint32_t)ticket, generation = (uint32_t)(ticket >> 32);
    if (index >= core->limits.request_count || core->requests[index].state == WEIR__REQUEST_FREE)
        return WEIR__NONE;
    if (WEIR__MUTANT(6))
        return index;
    return core->requests[index].generation == generation ? index : WEIR__NONE;
}
