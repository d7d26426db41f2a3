// scheduler/core/device.c: devices: which of them can be trusted.
//
// healthy -> suspect (a batch is over its budget) -> quarantined (twice over) -> probation (the
// driver says that it is back) -> healthy (some requests came back right). A device that is given
// up takes its instances with it: a late write may still reach their arenas, so they are never used
// again.
#include "scheduler/core/state.h"

#define RIGHT_COUNT 3u

void weir__device_tell(weir__core_t *core)
{
    for (uint32_t i = 0; i < core->limits.device_count && core->untold; i++) {
        weir__device_t *it = &core->devices[i];
        if (it->told == it->state)
            continue;
        weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_DEVICE);
        if (!action)
            return;
        action->device = i;
        action->state = (weir__device_state_t)it->state;
        it->told = it->state;
    }
    core->untold = 0;
}

static void set_state(weir__core_t *core, uint32_t device, weir__device_state_t state)
{
    weir__device_t *it = &core->devices[device];
    it->state = (uint8_t)state;
    it->right_count = 0;
    core->look_all = core->sweep = core->untold = 1;
    if (state == WEIR__DEVICE_LOST || state == WEIR__DEVICE_QUARANTINED ||
        state == WEIR__DEVICE_ABSENT) {
        it->busy_count = 0;
        for (uint32_t i = 0; i < core->limits.instance_count; i++) {
            weir__instance_t *instance = &core->instances[i];
            if (instance->state == WEIR__INSTANCE_ABSENT || instance->device != device)
                continue;
            if (instance->batch_state == WEIR__BATCH_RUNNING) {
                instance->batch_state = WEIR__BATCH_LOST;
                core->team_busy[instance->team]--;
            }
            weir__instance_set_idle(core, i, 0);
            instance->state = WEIR__INSTANCE_DEAD;
            weir__settle_mark(core, i);
        }
    }
    weir__place_recount(core);
}

weir_code_t weir__device_event(weir__core_t *core, const weir__core_event_t *event)
{
    if (event->device >= core->limits.device_count || event->state > WEIR__DEVICE_LOST)
        return WEIR_INVALID_ARGUMENT;
    weir__device_t *it = &core->devices[event->device];
    if (it->state == WEIR__DEVICE_ABSENT) {
        if (event->state != WEIR__DEVICE_HEALTHY || event->count == 0)
            return WEIR_INVALID_ARGUMENT;
        it->slot_count = event->count;
    }
    if (event->state != (weir__device_state_t)it->state)
        set_state(core, event->device, event->state);
    it->told = (uint8_t)event->state;
    return WEIR_OK;
}

void weir__device_right(weir__core_t *core, uint32_t device)
{
    weir__device_t *it = &core->devices[device];
    int back = it->state == WEIR__DEVICE_SUSPECT ||
               (it->state == WEIR__DEVICE_PROBATION && ++it->right_count >= RIGHT_COUNT);
    if (!back)
        return;
    set_state(core, device, WEIR__DEVICE_HEALTHY);
}

static void watch_batch(weir__core_t *core, weir__instance_t *it)
{
    weir__device_t *device = &core->devices[it->device];
    uint64_t ran = core->now_ns - it->started_ns;
    int trusted = device->state == WEIR__DEVICE_HEALTHY || device->state == WEIR__DEVICE_SUSPECT;
    if (ran >= it->budget_ns * (trusted ? 2 : 1)) {
        set_state(core, it->device, WEIR__DEVICE_QUARANTINED);
        return;
    }
    if (ran >= it->budget_ns && device->state == WEIR__DEVICE_HEALTHY)
        set_state(core, it->device, WEIR__DEVICE_SUSPECT);
    weir__core_want(core, it->started_ns + it->budget_ns * (ran >= it->budget_ns ? 2 : 1));
    weir__core_want(core, it->deadline_ns);
}

// Instances of a model that the driver was not asked to give back.
static uint32_t staying_count(const weir__core_t *core, const weir__model_t *model)
{
    uint32_t count = 0;
    for (uint32_t i = model->instance; i != WEIR__NONE; i = core->instances[i].next)
        count += core->instances[i].state == WEIR__INSTANCE_LIVE && !core->instances[i].asked_down;
    return count;
}

static void watch_idle(weir__core_t *core, uint32_t instance)
{
    weir__instance_t *it = &core->instances[instance];
    const weir__model_t *model = &core->models[it->model];
    int unwanted = model->removed && model->request_count == 0;
    if (staying_count(core, model) <= model->keep_count && !unwanted)
        return;
    uint64_t due = unwanted ? core->now_ns : it->idle_since_ns + core->limits.scale_down_ns;
    if (core->now_ns < due) {
        weir__core_want(core, due);
        return;
    }
    weir__core_action_t *action = weir__core_emit(core, WEIR__ACTION_SCALE_DOWN);
    if (action) {
        action->instance = instance;
        action->device = it->device;
        it->asked_down = 1;
    }
}

void weir__device_watch(weir__core_t *core, uint32_t instance)
{
    weir__instance_t *it = &core->instances[instance];
    if (it->batch_state == WEIR__BATCH_RUNNING)
        watch_batch(core, it);
    else if (it->state == WEIR__INSTANCE_LIVE && it->idle && !it->asked_down)
        watch_idle(core, instance);
}
