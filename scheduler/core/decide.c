// scheduler/core/decide.c: when a batch leaves.
//
// At the earliest of: it is full; it is the latest start that still meets the earliest deadline; an
// instance is idle and waiting gains nothing. Waiting gains when the sum of latencies falls: n rows
// wait for one more gap and run a row larger, the one that comes saves waiting for them and a batch
// of its own.
#include "scheduler/core/state.h"

static int waiting_gains(const weir__lane_t *lane, const weir__curve_t *curve, uint32_t rows)
{
    if (!curve->learned || lane->gap_ns == 0)
        return 0;
    uint64_t now = weir__curve_mean(curve, rows), one = weir__curve_mean(curve, 1);
    uint64_t more = weir__curve_mean(curve, rows + 1);
    uint64_t loss = lane->gap_ns + rows * (lane->gap_ns + (more - now));
    return now + one > more && loss < now + one - more;
}

static void wait_until(weir__core_t *core, uint32_t lane, uint64_t when_ns)
{
    if (when_ns < core->lanes[lane].due_ns)
        core->lanes[lane].due_ns = when_ns;
    weir__core_want(core, core->lanes[lane].due_ns);
}

static weir__core_why_t decide_stack(weir__core_t *core, uint32_t lane, uint32_t *out_instance)
{
    const weir__lane_t *it = &core->lanes[lane];
    const weir__model_t *model = &core->models[it->model];
    uint32_t rows = it->queued_rows < model->batch_rows ? it->queued_rows : model->batch_rows;
    uint32_t usable = 0;
    uint64_t wait = WEIR__CORE_NEVER;
    *out_instance = weir__place_choose(core, lane, rows, &usable, &wait);
    if (*out_instance == WEIR__NONE) {
        if (wait != WEIR__CORE_NEVER)
            wait_until(core, lane, wait);
        return WEIR__WHY_NONE;
    }
    if (rows == model->batch_rows)
        return WEIR__DISPATCH_FULL;
    if (core->draining)
        return WEIR__DISPATCH_DRAIN;
    const weir__curve_t *curve =
        weir__place_curve(core, lane, core->instances[*out_instance].device);
    uint64_t deadline = weir__expire_next(core, lane);
    uint64_t needed = weir__curve_p95(curve, rows + 1) + core->limits.timer_margin_ns;
    uint64_t start = deadline > needed ? deadline - needed : 0;
    if (core->now_ns >= start)
        return WEIR__DISPATCH_LATEST_START;
    uint64_t patience = it->arrived_ns + 2 * it->gap_ns;
    if (usable > 1 || core->now_ns >= patience || !waiting_gains(it, curve, rows))
        return WEIR__DISPATCH_IDLE;
    wait_until(core, lane, start < patience ? start : patience);
    return WEIR__WHY_NONE;
}

weir__core_why_t weir__decide(weir__core_t *core, uint32_t lane, uint32_t *out_instance)
{
    const weir__lane_t *it = &core->lanes[lane];
    if (core->models[it->model].idle_count == 0 || it->queued_count == 0)
        return WEIR__WHY_NONE;
    *out_instance = weir__place_probation(core, lane);
    if (*out_instance != WEIR__NONE)
        return it->queued_rows ? WEIR__DISPATCH_PROBE : WEIR__DISPATCH_RERUN;
    if (it->alone != WEIR__NONE) {
        uint32_t usable = 0;
        uint64_t wait = WEIR__CORE_NEVER;
        *out_instance =
            weir__place_choose(core, lane, core->requests[it->alone].rows, &usable, &wait);
        if (*out_instance != WEIR__NONE)
            return WEIR__DISPATCH_RERUN;
        if (wait != WEIR__CORE_NEVER)
            wait_until(core, lane, wait);
    }
    return it->queued_rows ? decide_stack(core, lane, out_instance) : WEIR__WHY_NONE;
}
