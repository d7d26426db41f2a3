// scheduler/core/config.c: models, tenants, limits, samples and the drain: what the driver sets.
#include "scheduler/core/state.h"

#include <string.h>

static weir_code_t model_add(weir__core_t *core, const weir__core_event_t *event)
{
    uint32_t found = weir__model_find(core, event->model, event->version);
    if (found != WEIR__NONE && core->models[found].model == event->model &&
        core->models[found].version == event->version)
        return WEIR_INVALID_ARGUMENT;
    if (event->rows == 0 || event->rows > core->limits.batch_rows)
        return WEIR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < core->limits.model_count; i++) {
        if (core->models[i].used)
            continue;
        core->models[i] = (weir__model_t){
            .pressure_ns = WEIR__CORE_NEVER,
            .model = event->model,
            .version = event->version,
            .batch_rows = event->rows,
            .keep_count = event->count,
            .instance = WEIR__NONE,
            .used = 1,
        };
        return WEIR_OK;
    }
    return WEIR_RESOURCE_EXHAUSTED;
}

static weir_code_t model_remove(weir__core_t *core, const weir__core_event_t *event)
{
    uint32_t found = weir__model_find(core, event->model, event->version);
    if (found == WEIR__NONE)
        return WEIR_NOT_FOUND;
    core->removed_count += !core->models[found].removed;
    core->models[found].removed = 1;
    return WEIR_OK;
}

static weir_code_t set_limits(weir__core_t *core, const weir__core_event_t *event)
{
    if (event->count > core->limits.request_count || event->bytes > core->limits.queue_bytes)
        return WEIR_INVALID_ARGUMENT;
    core->count_max = event->count;
    core->bytes_max = event->bytes;
    return WEIR_OK;
}

static weir_code_t sample(weir__core_t *core, const weir__core_event_t *event)
{
    uint32_t model = weir__model_find(core, event->model, event->version);
    if (model == WEIR__NONE || event->device >= core->limits.device_count || event->rows == 0 ||
        event->rows > core->models[model].batch_rows)
        return WEIR_INVALID_ARGUMENT;
    uint32_t lane = weir__lane_get(core, model, event->dtype, event->shape);
    if (lane == WEIR__NONE)
        return WEIR_RESOURCE_EXHAUSTED;
    weir__curve_learn(weir__place_curve(core, lane, event->device), event->rows, event->elapsed_ns);
    core->lanes[lane].learned_ns = core->now_ns;
    return WEIR_OK;
}

// A point of a curve that was kept. The whole of them is a sample; none of it is older than it
// says.
static weir_code_t restore(weir__core_t *core, const weir__core_event_t *event)
{
    uint32_t model = weir__model_find(core, event->model, event->version), rows = event->rows;
    if (model == WEIR__NONE || event->device >= core->limits.device_count || rows == 0 ||
        rows > WEIR__CORE_BATCH_ROWS_MAX || (rows & (rows - 1)))
        return WEIR_INVALID_ARGUMENT;
    uint32_t lane = weir__lane_get(core, model, event->dtype, event->shape);
    if (lane == WEIR__NONE)
        return WEIR_RESOURCE_EXHAUSTED;
    weir__curve_restore(weir__place_curve(core, lane, event->device), rows, event->elapsed_ns,
        event->count, event->once != 0);
    core->lanes[lane].learned_ns = core->now_ns;
    return WEIR_OK;
}

int weir__core_curve(const weir__core_t *core, uint32_t model, uint32_t version, uint32_t dtype,
    uint32_t shape, uint32_t device, weir__core_curve_t *out_curve)
{
    uint32_t found = weir__model_find(core, model, version);
    uint32_t lane = found == WEIR__NONE ? WEIR__NONE : weir__lane_find(core, found, dtype, shape);
    if (lane == WEIR__NONE || device >= core->limits.device_count)
        return 0;
    const weir__curve_t *curve = weir__place_curve(core, lane, device);
    memcpy(out_curve->mean_ns, curve->mean_ns, sizeof out_curve->mean_ns);
    out_curve->tail = curve->tail;
    out_curve->seen_log = curve->seen_log;
    return curve->learned != 0;
}

weir_code_t weir__config_event(weir__core_t *core, const weir__core_event_t *event)
{
    switch (event->kind) {
    case WEIR__EVENT_MODEL_ADD:
        return model_add(core, event);
    case WEIR__EVENT_MODEL_REMOVE:
        return model_remove(core, event);
    case WEIR__EVENT_CURVE:
        return restore(core, event);
    case WEIR__EVENT_TENANT:
        if (event->tenant >= core->limits.tenant_count || event->count == 0)
            return WEIR_INVALID_ARGUMENT;
        core->tenants[event->tenant].weight = event->count;
        return WEIR_OK;
    case WEIR__EVENT_LIMITS:
        return set_limits(core, event);
    case WEIR__EVENT_SAMPLE:
        return sample(core, event);
    case WEIR__EVENT_DRAIN:
        core->draining = 1;
        core->drain_ns = event->deadline_ns;
        core->look_all = core->sweep = 1;
        return WEIR_OK;
    default:
        return WEIR_INVALID_ARGUMENT;
    }
}

void weir__config_forget(weir__core_t *core)
{
    for (uint32_t i = 0; i < core->limits.model_count && core->removed_count; i++) {
        weir__model_t *it = &core->models[i];
        if (!it->used || !it->removed || it->request_count)
            continue;
        if (it->instance_count) {
            core->sweep |= it->idle_count > 0; // they are given back
            continue;
        }
        weir__lane_forget_model(core, i);
        it->used = 0;
        core->removed_count--;
    }
}
