// scheduler/core/settle.c: a batch has ended: every one of its rows gets an answer, or another try.
//
// A failed batch is run again row by row, so that a bad request fails alone. A lost device's rows
// run again elsewhere once. What must run only once is not run again at all.
#include "scheduler/core/state.h"

void weir__settle_mark(weir__core_t *core, uint32_t instance)
{
    core->settling_count += !core->instances[instance].settling;
    core->instances[instance].settling = 1;
}

// What a batch that ran to its end took, also where all of its rows have ended early: that is when
// there is most to learn. One that was stopped, as nobody waited for it any more, took that long
// at least: where the machine became slower there may be none but those.
static void learn(weir__core_t *core, const weir__instance_t *it)
{
    weir__curve_t *curve = weir__place_curve(core, it->lane, it->device);
    uint64_t elapsed_ns = core->now_ns - it->started_ns;
    int stopped = it->code == WEIR_CANCELLED || it->code == WEIR_DEADLINE_EXCEEDED;
    if (it->code != WEIR_OK && !(stopped && elapsed_ns > weir__curve_mean(curve, it->rows)))
        return;
    weir__curve_learn(curve, it->rows, elapsed_ns);
    core->lanes[it->lane].learned_ns = core->now_ns;
}

weir_code_t weir__settle_done(weir__core_t *core, const weir__core_event_t *event)
{
    uint32_t instance = (uint32_t)event->batch & 0xFFFFFFu;
    if (instance >= core->limits.instance_count)
        return WEIR_INVALID_ARGUMENT;
    weir__instance_t *it = &core->instances[instance];
    // Of a batch that was given up: its rows have run elsewhere, or have ended.
    if (it->batch != event->batch || it->batch_state != WEIR__BATCH_RUNNING)
        return WEIR_OK;
    it->code = event->code;
    if (event->code == WEIR_OK && event->rows != it->rows)
        it->code = WEIR_INTERNAL;
    weir__device_t *device = &core->devices[it->device];
    if (!(WEIR__MUTANT(5) && it->code != WEIR_OK))
        device->busy_count--;
    core->team_busy[it->team]--;
    learn(core, it);
    if (it->code == WEIR_OK) {
        it->batch_state = WEIR__BATCH_ENDED_WELL;
        weir__device_right(core, it->device);
    } else {
        it->batch_state = it->code == WEIR_DEVICE_LOST ? WEIR__BATCH_LOST : WEIR__BATCH_FAILED;
        device->right_count = 0;
    }
    if (event->idle && it->state == WEIR__INSTANCE_LIVE && !WEIR__MUTANT(1))
        weir__instance_set_idle(core, instance, 1);
    weir__settle_mark(core, instance);
    core->look_all = 1;
    return WEIR_OK;
}

static int again(weir__core_t *core, uint32_t request)
{
    weir__queue_put(core, request);
    core->look_all = 1;
    return 1;
}

static int settle_failed(weir__core_t *core, const weir__instance_t *batch, uint32_t request)
{
    weir__request_t *it = &core->requests[request];
    int only = batch->started_count == 1;
    if (WEIR__MUTANT(9))
        only = 0;
    if (only || it->once)
        return weir__queue_end(core, request, batch->code, WEIR__FINAL_FAILED);
    if (WEIR__MUTANT(8) && request % 4 == 0)
        return 1;
    it->alone = 1;
    return again(core, request);
}

static int settle_lost(weir__core_t *core, uint32_t request)
{
    weir__request_t *it = &core->requests[request];
    if (it->once || (it->lost_count > 0 && !WEIR__MUTANT(15)))
        return weir__queue_end(core, request, WEIR_DEVICE_LOST, WEIR__FINAL_LOST);
    it->lost_count = 1;
    return again(core, request);
}

static int settle_row(weir__core_t *core, const weir__instance_t *batch, uint32_t request)
{
    const weir__request_t *it = &core->requests[request];
    if (batch->batch_state == WEIR__BATCH_FAILED)
        return settle_failed(core, batch, request);
    if (batch->batch_state == WEIR__BATCH_LOST)
        return settle_lost(core, request);
    weir__fair_correct(core, request, (core->now_ns - batch->started_ns) * it->rows / batch->rows);
    if (it->deadline_ns <= core->now_ns && !WEIR__MUTANT(4))
        return weir__queue_end(core, request, WEIR_DEADLINE_EXCEEDED, WEIR__FINAL_EXPIRED_RUNNING);
    return weir__queue_end(core, request, WEIR_OK, WEIR__FINAL_DONE);
}

// Returns 0 when the actions are full.
static int settle_batch(weir__core_t *core, uint32_t instance)
{
    weir__instance_t *it = &core->instances[instance];
    const uint32_t *members = &core->members[(size_t)instance * core->limits.batch_rows];
    while (it->member_count) {
        uint32_t request = members[it->member_count - 1];
        if (request != WEIR__NONE && !settle_row(core, it, request))
            return 0;
        it->member_count--;
        it->waiting_count -= request != WEIR__NONE;
    }
    it->batch_state = WEIR__BATCH_NONE;
    core->lanes[it->lane].batch_count--;
    return 1;
}

void weir__settle(weir__core_t *core)
{
    for (uint32_t i = 0; i < core->limits.instance_count && core->settling_count; i++) {
        weir__instance_t *it = &core->instances[i];
        if (!it->settling)
            continue;
        if (it->batch_state != WEIR__BATCH_NONE && !settle_batch(core, i))
            return;
        if (it->state == WEIR__INSTANCE_LEAVING || it->state == WEIR__INSTANCE_DEAD) {
            weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_GONE);
            if (!action)
                return;
            action->instance = i;
            action->device = it->device;
            weir__instance_free(core, i);
        }
        it->settling = 0;
        core->settling_count--;
        core->look_all = 1;
    }
}
