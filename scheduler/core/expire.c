// scheduler/core/expire.c: what time alone brings about: deadlines, stranded requests, the drain's
// end.
#include "scheduler/core/state.h"

uint64_t weir__expire_next(const weir__core_t *core, uint32_t lane)
{
    const weir__lane_t *it = &core->lanes[lane];
    uint64_t next =
        it->alone == WEIR__NONE ? WEIR__CORE_NEVER : core->requests[it->alone].deadline_ns;
    for (uint32_t i = it->flow; i != WEIR__NONE; i = core->flows[i].next) {
        uint32_t head = core->flows[i].heap;
        if (head != WEIR__NONE && core->requests[head].deadline_ns < next)
            next = core->requests[head].deadline_ns;
    }
    return next;
}

static void end_heap(weir__core_t *core, const uint32_t *root, uint64_t until_ns, weir_code_t code,
    weir__core_why_t why)
{
    while (*root != WEIR__NONE && core->requests[*root].deadline_ns <= until_ns)
        if (!weir__queue_end(core, *root, code, why))
            return;
}

static void end_lane(
    weir__core_t *core, uint32_t lane, uint64_t until_ns, weir_code_t code, weir__core_why_t why)
{
    end_heap(core, &core->lanes[lane].alone, until_ns, code, why);
    for (uint32_t i = core->lanes[lane].flow; i != WEIR__NONE; i = core->flows[i].next)
        end_heap(core, &core->flows[i].heap, until_ns, code, why);
}

// No instance can run what waits here: for a while one may come back.
static void watch_stranded(weir__core_t *core, uint32_t lane)
{
    weir__lane_t *it = &core->lanes[lane];
    if (core->models[it->model].parallel_count) {
        it->stranded_ns = WEIR__CORE_NEVER;
        return;
    }
    if (it->stranded_ns == WEIR__CORE_NEVER)
        it->stranded_ns = core->now_ns;
    if (core->now_ns - it->stranded_ns >= core->limits.stranded_ns)
        end_lane(core, lane, WEIR__CORE_NEVER, WEIR_UNAVAILABLE, WEIR__FINAL_STRANDED);
    else if (it->stranded_ns + core->limits.stranded_ns < it->due_ns)
        it->due_ns = it->stranded_ns + core->limits.stranded_ns;
}

static void end_running(weir__core_t *core, uint32_t instance, uint64_t until_ns, weir_code_t code,
    weir__core_why_t why)
{
    weir__instance_t *it = &core->instances[instance];
    const uint32_t *members = &core->members[(size_t)instance * core->limits.batch_rows];
    it->deadline_ns = WEIR__CORE_NEVER;
    for (uint32_t i = 0; i < it->member_count; i++) {
        uint32_t request = members[i];
        if (request == WEIR__NONE)
            continue;
        uint64_t deadline = core->requests[request].deadline_ns;
        if (deadline <= until_ns && weir__queue_end(core, request, code, why))
            weir__batch_forget(core, request);
        else if (deadline < it->deadline_ns)
            it->deadline_ns = deadline;
    }
}

static void end_drain(weir__core_t *core)
{
    while (core->active_count && !core->more)
        end_lane(core, core->active[0], WEIR__CORE_NEVER, WEIR_DRAINING, WEIR__FINAL_DRAINED);
    for (uint32_t i = 0; i < core->limits.instance_count && !core->more; i++)
        if (core->instances[i].batch_state == WEIR__BATCH_RUNNING)
            end_running(core, i, WEIR__CORE_NEVER, WEIR_DRAINING, WEIR__FINAL_DRAINED);
}

void weir__expire_sweep(weir__core_t *core)
{
    core->wanted_ns = WEIR__CORE_NEVER;
    if (core->draining && core->now_ns >= core->drain_ns)
        end_drain(core);
    else if (core->draining)
        weir__core_want(core, core->drain_ns);
    // From the end: a lane that becomes empty leaves its place to the last one.
    for (uint32_t i = core->active_count; i-- > 0;) {
        uint32_t lane = core->active[i];
        weir__lane_t *it = &core->lanes[lane];
        if (it->due_ns <= core->now_ns) {
            if (!WEIR__MUTANT(4))
                end_lane(
                    core, lane, core->now_ns, WEIR_DEADLINE_EXCEEDED, WEIR__FINAL_EXPIRED_QUEUED);
            it->due_ns = weir__expire_next(core, lane);
            core->look_all = 1;
        }
        watch_stranded(core, lane);
        if (it->queued_count)
            weir__core_want(core, it->due_ns);
    }
    for (uint32_t i = 0; i < core->limits.instance_count; i++) {
        weir__instance_t *it = &core->instances[i];
        if (it->state == WEIR__INSTANCE_ABSENT)
            continue;
        if (it->batch_state == WEIR__BATCH_RUNNING && it->deadline_ns <= core->now_ns)
            end_running(core, i, core->now_ns, WEIR_DEADLINE_EXCEEDED, WEIR__FINAL_EXPIRED_RUNNING);
        weir__device_watch(core, i);
    }
}
