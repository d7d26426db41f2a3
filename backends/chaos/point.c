// backends/chaos/point.c: which values of which timelines are still to come, for entries that wait.
//
// The timelines are the engine's and cannot be asked; but an entry only waits for points that we
// were told to signal. The table is of fixed size: a timeline that nothing is expected of any more
// may be forgotten, and counts as reached. It must not signal under a lock: that wakes runs. What
// does not signal is called under the state's lock.
#include "backends/chaos/chaos.h"

static weir_chaos_timeline_t *find(weir_chaos_state_t *state, weir_handle_t timeline)
{
    weir_chaos_timeline_t *set =
        state->timelines[(timeline * 0x9e3779b97f4a7c15ull >> 40) % WEIR_CHAOS_SETS];
    for (uint32_t i = 0; i < WEIR_CHAOS_WAYS; i++)
        if (set[i].timeline == timeline)
            return &set[i];
    return NULL;
}

// Room for a timeline: its own, a free one, or one that nobody waits for.
static weir_chaos_timeline_t *take(weir_chaos_state_t *state, weir_handle_t timeline)
{
    weir_chaos_timeline_t *found = find(state, timeline);
    weir_chaos_timeline_t *set =
        state->timelines[(timeline * 0x9e3779b97f4a7c15ull >> 40) % WEIR_CHAOS_SETS];
    for (uint32_t i = 0; i < WEIR_CHAOS_WAYS && !found; i++)
        if (!set[i].timeline)
            found = &set[i];
    for (uint32_t i = 0; i < WEIR_CHAOS_WAYS && !found; i++)
        if (!set[i].pending)
            found = &set[i];
    if (found && found->timeline != timeline)
        *found = (weir_chaos_timeline_t){.timeline = timeline};
    return found;
}

weir_code_t weir_chaos_points_expect(
    weir_chaos_state_t *state, const weir_timeline_point_t *points, uint32_t count)
{
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < count && code == WEIR_OK; i++) {
        weir_chaos_timeline_t *timeline = take(state, points[i].timeline);
        if (timeline)
            timeline->pending++;
        else
            code = WEIR_RESOURCE_EXHAUSTED;
        for (uint32_t j = 0; !timeline && j < i; j++)
            find(state, points[j].timeline)->pending--;
    }
    return code;
}

void weir_chaos_points_forget(
    weir_chaos_state_t *state, const weir_timeline_point_t *points, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        weir_chaos_timeline_t *timeline = find(state, points[i].timeline);
        if (timeline && timeline->pending)
            timeline->pending--;
    }
}

bool weir_chaos_points_reached(weir_chaos_state_t *state, const weir_timeline_point_t *points,
    uint32_t count, weir_code_t *out_failed)
{
    bool all = true;
    *out_failed = WEIR_OK;
    for (uint32_t i = 0; i < count; i++) {
        const weir_chaos_timeline_t *timeline = find(state, points[i].timeline);
        if (timeline && timeline->failed != WEIR_OK)
            *out_failed = timeline->failed;
        else if (timeline && timeline->pending && timeline->reached < points[i].value)
            all = false;
    }
    return all || *out_failed != WEIR_OK;
}

// One of each point's signals has come: its value is reached, or (failed is not OK) never will be.
static void settle(weir_chaos_state_t *state, const weir_timeline_point_t *points, uint32_t count,
    weir_code_t failed)
{
    pthread_mutex_lock(&state->lock);
    for (uint32_t i = 0; i < count; i++) {
        weir_chaos_timeline_t *timeline = find(state, points[i].timeline);
        if (!timeline)
            continue;
        timeline->pending -= timeline->pending != 0;
        if (failed == WEIR_OK)
            timeline->reached = WEIR_MAX(timeline->reached, points[i].value);
        else
            timeline->failed = failed;
    }
    pthread_cond_broadcast(&state->changed);
    pthread_mutex_unlock(&state->lock);
}

void weir_chaos_points_signal(
    weir_chaos_state_t *state, const weir_timeline_point_t *points, uint32_t count)
{
    settle(state, points, count, WEIR_OK);
    weir_signal_all(state->host, points, count);
}

void weir_chaos_points_fail(weir_chaos_state_t *state, const weir_timeline_point_t *points,
    uint32_t count, weir_code_t code, const char *text)
{
    settle(state, points, count, code);
    for (uint32_t i = 0; i < count; i++)
        (void)state->host->timeline_fail(state->host, points[i].timeline, code, text);
}
