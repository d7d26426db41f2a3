// scheduler/core/trim.c: who is given up so that the others are in time.
//
// Under overload somebody is late whatever one does. Serving the earliest deadline first then makes
// every request wait until it can hardly make it, and every batch small enough for its most hurried
// row. So where more waits than a flow's share of a batch, heads that would be late in a full batch
// are dropped, at once, and the batch stays full. It must not happen where waiting is short: there
// the batch is made smaller.
#include "scheduler/core/state.h"

int weir__trim_room(weir__core_t *core)
{
    if (core->action_count + 2 < core->action_capacity)
        return 1;
    core->more = 1;
    return 0;
}

uint32_t weir__trim_share(const weir__core_t *core, uint32_t lane, uint32_t batch_rows)
{
    uint32_t count = 0;
    for (uint32_t i = core->lanes[lane].flow; i != WEIR__NONE; i = core->flows[i].next)
        count += core->flows[i].heap != WEIR__NONE;
    return count ? (batch_rows + count - 1) / count : batch_rows;
}

// Would the rows behind a head make so much better a batch that it is better given up? Only where
// lately not everything could be served anyway, and compared with the best that this flow could
// have, not with others: a flow of tight deadlines is not dropped for being tight.
static int holds_up(
    const weir__core_t *core, const weir__flow_t *flow, const weir__trim_t *trim, uint64_t slack_ns)
{
    const weir__curve_t *curve = trim->curve;
    const weir__lane_t *lane = &core->lanes[flow->lane];
    if (lane->pressed_ns == 0 ||
        core->now_ns - lane->pressed_ns > 2 * weir__curve_mean(curve, trim->rows))
        return 0;
    uint32_t behind = flow->queued_rows - core->requests[flow->heap].rows;
    uint64_t newest = flow->newest_ns > trim->start_ns ? flow->newest_ns - trim->start_ns : 0;
    uint32_t best =
        weir__curve_rows_within(curve, behind < trim->rows ? behind : trim->rows, newest);
    uint32_t with = weir__curve_rows_within(curve, trim->rows, slack_ns);
    // Rows a time: with / mean(with) against 31/32 of best / mean(best).
    return best > with && 32 * (uint64_t)with * weir__curve_mean(curve, best) <
                              31 * (uint64_t)best * weir__curve_mean(curve, with ? with : 1);
}

int weir__trim(weir__core_t *core, uint32_t flow, const weir__trim_t *trim)
{
    weir__flow_t *it = &core->flows[flow];
    for (uint32_t told = 0; it->heap != WEIR__NONE; told++) {
        const weir__request_t *head = &core->requests[it->heap];
        uint64_t slack =
            head->deadline_ns > trim->start_ns ? head->deadline_ns - trim->start_ns : 0;
        if (weir__curve_p95(trim->curve, trim->rows) <= slack)
            return 1;
        int hopeless =
            slack == 0 || (weir__curve_mean(trim->curve, head->rows) > slack && !trim->stale);
        if (!hopeless && it->queued_rows <= trim->share && !holds_up(core, it, trim, slack))
            return 1;
        if (told == trim->most)
            return 1;
        int expired = head->deadline_ns <= core->now_ns;
        if (!weir__trim_room(core) ||
            !weir__queue_end(core, it->heap, WEIR_DEADLINE_EXCEEDED,
                expired ? WEIR__FINAL_EXPIRED_QUEUED : WEIR__FINAL_DROPPED))
            return 0;
        core->lanes[it->lane].pressed_ns = core->now_ns;
    }
    return 0;
}
