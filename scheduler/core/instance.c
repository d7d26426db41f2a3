// scheduler/core/instance.c: instances: what can run one batch of one model on one device.
#include "scheduler/core/state.h"

void weir__instance_set_idle(weir__core_t *core, uint32_t instance, int idle)
{
    weir__instance_t *it = &core->instances[instance];
    if (idle && !it->idle)
        core->models[it->model].idle_count++;
    if (!idle && it->idle)
        core->models[it->model].idle_count--;
    it->idle = idle != 0;
    it->idle_since_ns = core->now_ns;
    const weir__model_t *model = &core->models[it->model];
    if (idle && model->instance_count > model->keep_count)
        weir__core_want(core, core->now_ns + core->limits.scale_down_ns);
}

void weir__instance_free(weir__core_t *core, uint32_t instance)
{
    weir__instance_t *it = &core->instances[instance];
    uint32_t *link = &core->models[it->model].instance;
    weir__instance_set_idle(core, instance, 0);
    while (*link != instance)
        link = &core->instances[*link].next;
    *link = it->next;
    core->models[it->model].instance_count--;
    it->state = WEIR__INSTANCE_ABSENT;
    core->sweep = 1;
    weir__place_recount(core);
}

static weir_code_t add(weir__core_t *core, const weir__core_event_t *event)
{
    weir__instance_t *it = &core->instances[event->instance];
    uint32_t model = weir__model_find(core, event->model, event->version);
    if (it->state != WEIR__INSTANCE_ABSENT || it->settling || model == WEIR__NONE ||
        event->device >= core->limits.device_count || event->count >= WEIR__CORE_TEAM_COUNT)
        return WEIR_INVALID_ARGUMENT;
    uint8_t state = core->devices[event->device].state;
    if (state != WEIR__DEVICE_HEALTHY && state != WEIR__DEVICE_SUSPECT &&
        state != WEIR__DEVICE_PROBATION)
        return WEIR_INVALID_ARGUMENT;
    *it = (weir__instance_t){
        .model = model,
        .device = event->device,
        .team = event->count,
        .next = core->models[model].instance,
        .state = WEIR__INSTANCE_LIVE,
        .batch_state = WEIR__BATCH_NONE,
        .deadline_ns = WEIR__CORE_NEVER,
    };
    core->models[model].instance = event->instance;
    core->models[model].instance_count++;
    core->models[model].pressure_ns = WEIR__CORE_NEVER;
    core->look_all = core->sweep = 1;
    weir__place_recount(core);
    return WEIR_OK;
}

static weir_code_t take_away(weir__core_t *core, uint32_t instance)
{
    weir__instance_t *it = &core->instances[instance];
    weir__instance_set_idle(core, instance, 0);
    if (it->state == WEIR__INSTANCE_LIVE)
        it->state = WEIR__INSTANCE_LEAVING;
    if (it->batch_state == WEIR__BATCH_NONE)
        weir__settle_mark(core, instance);
    weir__place_recount(core);
    core->look_all = core->sweep = 1;
    return WEIR_OK;
}

weir_code_t weir__instance_event(weir__core_t *core, const weir__core_event_t *event)
{
    if (event->instance >= core->limits.instance_count)
        return WEIR_INVALID_ARGUMENT;
    if (event->kind == WEIR__EVENT_INSTANCE_ADD)
        return add(core, event);
    weir__instance_t *it = &core->instances[event->instance];
    if (it->state == WEIR__INSTANCE_ABSENT)
        return WEIR_INVALID_ARGUMENT;
    if (event->kind == WEIR__EVENT_INSTANCE_REMOVE)
        return take_away(core, event->instance);
    if (it->state != WEIR__INSTANCE_LIVE)
        return WEIR_OK; // on its way out, which the driver is about to hear
    if (it->batch_state == WEIR__BATCH_RUNNING)
        return WEIR_INVALID_ARGUMENT;
    weir__instance_set_idle(core, event->instance, 1);
    it->asked_down = 0;
    if (!WEIR__MUTANT(1))
        core->look_all = 1;
    return WEIR_OK;
}
