// scheduler/core/lane.c: which requests may be stacked, and which share one part of the device's
// time.
//
// A lane is one (model, version, dtype, shape class): only requests of one lane ever share a batch.
// Lanes and flows keep what they learned while they are empty, until their place is needed for
// another.
#include "scheduler/core/state.h"

uint32_t weir__model_find(const weir__core_t *core, uint32_t model, uint32_t version)
{
    for (uint32_t i = 0; i < core->limits.model_count; i++) {
        const weir__model_t *it = &core->models[i];
        if (it->used && it->model == model && (it->version == version || WEIR__MUTANT(7)))
            return i;
    }
    return WEIR__NONE;
}

static uint32_t *bucket_of(const weir__core_t *core, uint32_t model, uint32_t dtype, uint32_t shape)
{
    uint64_t key = (uint64_t)model * 0x9E3779B97F4A7C15u ^ (uint64_t)dtype * 0xC2B2AE3D27D4EB4Fu ^
                   (uint64_t)shape * 0x165667B19E3779F9u;
    key ^= key >> 29;
    return &core->buckets[(uint32_t)(key * 0x9E3779B97F4A7C15u >> 40) & (core->bucket_count - 1)];
}

static void lane_forget(weir__core_t *core, uint32_t lane)
{
    weir__lane_t *it = &core->lanes[lane];
    uint32_t *link = bucket_of(core, it->model, it->dtype, it->shape);
    while (*link != lane)
        link = &core->lanes[*link].next_in_bucket;
    *link = it->next_in_bucket;
    for (uint32_t flow = it->flow; flow != WEIR__NONE; flow = core->flows[flow].next)
        core->flows[flow].lane = WEIR__NONE;
    it->model = WEIR__NONE;
}

// Free, or empty for the longest time.
static uint32_t lane_victim(const weir__core_t *core)
{
    uint32_t best = WEIR__NONE;
    for (uint32_t i = 0; i < core->limits.lane_count; i++) {
        const weir__lane_t *it = &core->lanes[i];
        if (it->model == WEIR__NONE)
            return i;
        if (it->request_count == 0 && it->batch_count == 0 &&
            (best == WEIR__NONE || it->arrived_ns < core->lanes[best].arrived_ns))
            best = i;
    }
    return best;
}

static int is_lane(const weir__lane_t *lane, uint32_t model, uint32_t dtype, uint32_t shape)
{
    return lane->model == model && lane->dtype == dtype && lane->shape == shape;
}

uint32_t weir__lane_find(const weir__core_t *core, uint32_t model, uint32_t dtype, uint32_t shape)
{
    uint32_t i = *bucket_of(core, model, dtype, shape);
    while (i != WEIR__NONE && !is_lane(&core->lanes[i], model, dtype, shape))
        i = core->lanes[i].next_in_bucket;
    return i;
}

uint32_t weir__lane_get(weir__core_t *core, uint32_t model, uint32_t dtype, uint32_t shape)
{
    if (is_lane(&core->lanes[core->last_lane], model, dtype, shape))
        return core->last_lane;
    uint32_t lane = weir__lane_find(core, model, dtype, shape);
    if (lane != WEIR__NONE)
        return core->last_lane = lane;
    lane = lane_victim(core);
    if (lane == WEIR__NONE)
        return WEIR__NONE;
    if (core->lanes[lane].model != WEIR__NONE)
        lane_forget(core, lane);
    core->lanes[lane] = (weir__lane_t){
        .model = model,
        .dtype = dtype,
        .shape = shape,
        .next_in_bucket = *bucket_of(core, model, dtype, shape),
        .flow = WEIR__NONE,
        .alone = WEIR__NONE,
        .due_ns = WEIR__CORE_NEVER,
        .stranded_ns = WEIR__CORE_NEVER,
    };
    *bucket_of(core, model, dtype, shape) = lane;
    const uint32_t step_rows = core->limits.row_steps ? core->models[model].batch_rows : 0;
    for (uint32_t i = 0; i < core->limits.device_count; i++)
        core->curves[(size_t)lane * core->limits.device_count + i] =
            (weir__curve_t){.step_rows = step_rows};
    return lane;
}

void weir__lane_forget_model(weir__core_t *core, uint32_t model)
{
    for (uint32_t i = 0; i < core->limits.lane_count; i++)
        if (core->lanes[i].model == model)
            lane_forget(core, i);
}

// log2 in quarters: 10 ms and 25 ms are different kinds of deadlines, 10.0 and 10.1 ms are not.
static uint32_t tightness_of(uint64_t deadline_ns, uint64_t now_ns)
{
    if (deadline_ns == WEIR__CORE_NEVER)
        return 0;
    uint64_t left = deadline_ns - now_ns;
    left = left < UINT64_MAX - 4 ? left + 4 : UINT64_MAX;
    uint32_t log = 63 - (uint32_t)__builtin_clzll(left);
    return log * 4 + (uint32_t)(left >> (log - 2)) % 4;
}

static void flow_unlink(weir__core_t *core, uint32_t flow)
{
    uint32_t *link = &core->lanes[core->flows[flow].lane].flow;
    while (*link != flow)
        link = &core->flows[*link].next;
    *link = core->flows[flow].next;
}

static uint32_t flow_victim(const weir__core_t *core)
{
    uint32_t best = WEIR__NONE;
    for (uint32_t i = 0; i < core->limits.flow_count; i++) {
        if (core->flows[i].lane == WEIR__NONE)
            return i;
        if (core->flows[i].request_count == 0)
            best = i;
    }
    return best;
}

uint32_t weir__flow_get(weir__core_t *core, uint32_t lane, uint32_t tenant, uint32_t priority,
    uint64_t deadline_ns, uint64_t now_ns)
{
    uint32_t tightness = tightness_of(deadline_ns, now_ns), near = WEIR__NONE, near_by = WEIR__NONE;
    for (uint32_t i = core->lanes[lane].flow; i != WEIR__NONE; i = core->flows[i].next) {
        const weir__flow_t *it = &core->flows[i];
        if (it->tenant != tenant || it->priority != priority || !it->tightness != !tightness)
            continue;
        uint32_t by =
            it->tightness > tightness ? it->tightness - tightness : tightness - it->tightness;
        if (by == 0)
            return i;
        if (by < near_by) {
            near = i;
            near_by = by;
        }
    }
    uint32_t flow = flow_victim(core);
    if (flow == WEIR__NONE)
        return near; // they share one part then, which is less fair, but nobody is sent away
    if (core->flows[flow].lane != WEIR__NONE)
        flow_unlink(core, flow);
    core->flows[flow] = (weir__flow_t){
        .account_ns = 0,
        .lane = lane,
        .tenant = tenant,
        .priority = priority,
        .tightness = tightness,
        .next = core->lanes[lane].flow,
        .heap = WEIR__NONE,
        .last = WEIR__NONE,
    };
    core->lanes[lane].flow = flow;
    return flow;
}
