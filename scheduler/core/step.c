// scheduler/core/step.c: one event in, actions out.
//
// An event changes the state a little; then the pump does all that may follow from it: settles
// batches that ended, looks at what time has brought about, lets batches leave, sets the timer.
// Each part stops where the caller's array is full and goes on in the next step, so a step is
// bounded however much follows.
#include "scheduler/core/state.h"

weir__core_action_t *weir__core_emit(weir__core_t *core, weir__core_action_kind_t kind)
{
    if (core->action_count + 1 >= core->action_capacity) {
        core->more = 1;
        return NULL;
    }
    weir__core_action_t *action = &core->actions[core->action_count++];
    *action = (weir__core_action_t){.kind = kind};
    return action;
}

void weir__core_want(weir__core_t *core, uint64_t when_ns)
{
    if (when_ns < core->wanted_ns)
        core->wanted_ns = when_ns;
}

static weir_code_t cancel(weir__core_t *core, uint64_t ticket)
{
    uint32_t request = weir__queue_find(core, ticket);
    if (request == WEIR__NONE)
        return WEIR_OK;
    int running = core->requests[request].state == WEIR__REQUEST_RUNNING;
    if (!weir__queue_end(core, request, WEIR_CANCELLED, WEIR__FINAL_CANCELLED))
        return WEIR_OK;
    if (running)
        weir__batch_forget(core, request);
    if (WEIR__MUTANT(2) && core->action_count + 1 < core->action_capacity) {
        core->actions[core->action_count] = core->actions[0];
        core->action_count++;
    }
    return WEIR_OK;
}

static weir_code_t apply(weir__core_t *core, const weir__core_event_t *event)
{
    switch (event->kind) {
    case WEIR__EVENT_ARRIVAL:
        return weir__admit(core, event);
    case WEIR__EVENT_CANCEL:
        return cancel(core, event->ticket);
    case WEIR__EVENT_TIMER:
        return WEIR_OK;
    case WEIR__EVENT_BATCH_DONE:
        return weir__settle_done(core, event);
    case WEIR__EVENT_DEVICE_STATE:
        return weir__device_event(core, event);
    case WEIR__EVENT_INSTANCE_IDLE:
    case WEIR__EVENT_INSTANCE_ADD:
    case WEIR__EVENT_INSTANCE_REMOVE:
        return weir__instance_event(core, event);
    default:
        return weir__config_event(core, event);
    }
}

// What a device's end means is told after the end itself.
static void settle(weir__core_t *core)
{
    if (core->untold)
        weir__device_tell(core);
    if (core->settling_count && !core->more)
        weir__settle(core);
}

static void pump(weir__core_t *core)
{
    settle(core);
    if (core->removed_count)
        weir__config_forget(core);
    if (core->sweep && !core->more) {
        core->sweep = 0;
        weir__expire_sweep(core);
        core->sweep = core->more;
        if (!core->more)
            settle(core);
    }
    if (!core->more)
        weir__batch_dispatch(core);
    if (core->draining && core->request_count == 0 && !core->drained_told &&
        weir__core_emit(core, WEIR__ACTION_DRAINED))
        core->drained_told = 1;
}

static void set_timer(weir__core_t *core)
{
    uint64_t want = core->more || core->sweep ? core->now_ns : core->wanted_ns;
    if (WEIR__MUTANT(12) && core->timer_ns != WEIR__CORE_NEVER)
        return;
    // A timer that is too early does no harm; it is moved only forward.
    if (want >= core->timer_ns)
        return;
    core->timer_ns = want;
    core->actions[core->action_count++] =
        (weir__core_action_t){.kind = WEIR__ACTION_SET_TIMER, .time_ns = want};
}

weir_code_t weir__core_step(weir__core_t *core, const weir__core_event_t *event, uint64_t now_ns,
    weir__core_action_t *actions, size_t capacity, size_t *out_count)
{
    *out_count = 0;
    if (capacity < WEIR__CORE_ACTION_COUNT_MIN)
        return WEIR_INVALID_ARGUMENT;
    if (now_ns > core->now_ns)
        core->now_ns = now_ns;
    core->actions = actions;
    core->action_count = 0;
    core->action_capacity = capacity;
    core->more = 0;
    if (core->timer_ns <= core->now_ns) {
        core->timer_ns = WEIR__CORE_NEVER;
        core->sweep = 1;
    }
    weir_code_t code = apply(core, event);
    pump(core);
    set_timer(core);
    core->actions = NULL;
    *out_count = core->action_count;
    return code;
}
