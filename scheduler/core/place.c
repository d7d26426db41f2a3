// scheduler/core/place.c: where a batch would end first.
#include "scheduler/core/state.h"

static const weir__curve_t unknown_curve = {.learned = 0};

weir__curve_t *weir__place_curve(const weir__core_t *core, uint32_t lane, uint32_t device)
{
    return &core->curves[(size_t)lane * core->limits.device_count + device];
}

static int works(const weir__core_t *core, const weir__instance_t *instance)
{
    return instance->state == WEIR__INSTANCE_LIVE &&
           core->devices[instance->device].state == WEIR__DEVICE_HEALTHY;
}

const weir__curve_t *weir__place_best_curve(const weir__core_t *core, uint32_t lane, uint32_t rows)
{
    const weir__curve_t *best = NULL;
    for (uint32_t i = core->models[core->lanes[lane].model].instance; i != WEIR__NONE;
         i = core->instances[i].next) {
        if (!works(core, &core->instances[i]))
            continue;
        const weir__curve_t *curve = weir__place_curve(core, lane, core->instances[i].device);
        // One device is the common case, and this is part of each arrival.
        if (!best || (curve != best && weir__curve_p95(curve, rows) < weir__curve_p95(best, rows)))
            best = curve;
    }
    return best ? best : &unknown_curve;
}

// Per model: the sum over devices of the lesser of its instances there and the device's slots.
void weir__place_recount(weir__core_t *core)
{
    for (uint32_t m = 0; m < core->limits.model_count; m++)
        core->models[m].parallel_count = 0;
    for (uint32_t i = 0; i < core->limits.instance_count; i++) {
        const weir__instance_t *it = &core->instances[i];
        if (it->state != WEIR__INSTANCE_LIVE)
            continue;
        const weir__device_t *device = &core->devices[it->device];
        uint32_t before = 0;
        for (uint32_t j = core->models[it->model].instance; j != WEIR__NONE;
             j = core->instances[j].next)
            before += j < i && core->instances[j].state == WEIR__INSTANCE_LIVE &&
                      core->instances[j].device == it->device;
        int alive = device->state == WEIR__DEVICE_HEALTHY ||
                    device->state == WEIR__DEVICE_SUSPECT ||
                    device->state == WEIR__DEVICE_PROBATION;
        core->models[it->model].parallel_count += alive && before < device->slot_count;
    }
}

uint64_t weir__place_residual(const weir__core_t *core, uint32_t model)
{
    uint64_t least = WEIR__CORE_NEVER;
    for (uint32_t i = core->models[model].instance; i != WEIR__NONE; i = core->instances[i].next) {
        const weir__instance_t *it = &core->instances[i];
        if (!works(core, it))
            continue;
        uint64_t left = it->batch_state == WEIR__BATCH_RUNNING && it->expected_ns > core->now_ns
                            ? it->expected_ns - core->now_ns
                            : 0;
        if (left < least)
            least = left;
    }
    return least == WEIR__CORE_NEVER ? 0 : least;
}

static int is_ready(const weir__core_t *core, const weir__instance_t *instance)
{
    const weir__device_t *device = &core->devices[instance->device];
    return instance->state == WEIR__INSTANCE_LIVE && instance->idle &&
           instance->batch_state == WEIR__BATCH_NONE && device->busy_count < device->slot_count;
}

// Of two that should end at the same time: the one whose team has less to do, else the first.
static int is_freer(
    const weir__core_t *core, const weir__instance_t *one, const weir__instance_t *other)
{
    uint32_t busy = core->team_busy[one->team], busy_there = core->team_busy[other->team];
    return busy != busy_there ? busy < busy_there : one < other;
}

uint32_t weir__place_choose(const weir__core_t *core, uint32_t lane, uint32_t rows,
    uint32_t *out_usable_count, uint64_t *out_wait_ns)
{
    const weir__lane_t *it = &core->lanes[lane];
    const weir__instance_t *chosen = NULL;
    uint32_t best = WEIR__NONE, count = 0;
    uint64_t best_ns = 0, busy_ns = WEIR__CORE_NEVER;
    for (uint32_t i = core->models[it->model].instance; i != WEIR__NONE;
         i = core->instances[i].next) {
        const weir__instance_t *instance = &core->instances[i];
        if (!works(core, instance))
            continue;
        const weir__curve_t *curve = weir__place_curve(core, lane, instance->device);
        uint64_t ns = weir__curve_mean(curve, rows);
        if (is_ready(core, instance)) {
            count++;
            if (!chosen || ns < best_ns || (ns == best_ns && is_freer(core, instance, chosen))) {
                chosen = instance;
                best = i;
                best_ns = ns;
            }
        } else if (instance->batch_state == WEIR__BATCH_RUNNING && curve->learned &&
                   instance->expected_ns > core->now_ns &&
                   instance->expected_ns - core->now_ns + ns < busy_ns) {
            busy_ns = instance->expected_ns - core->now_ns + ns;
        }
    }
    *out_usable_count = count;
    *out_wait_ns = WEIR__CORE_NEVER;
    // A faster device that is busy would still be first: leave the little that waits to it. Not
    // what would be late there.
    if (best != WEIR__NONE && busy_ns < best_ns &&
        it->queued_rows < core->models[it->model].batch_rows) {
        uint64_t until = core->now_ns + busy_ns;
        if (until + busy_ns / 4 < weir__expire_next(core, lane)) {
            *out_wait_ns = until;
            return WEIR__NONE;
        }
    }
    return best;
}

uint32_t weir__place_probation(const weir__core_t *core, uint32_t lane)
{
    for (uint32_t i = core->models[core->lanes[lane].model].instance; i != WEIR__NONE;
         i = core->instances[i].next) {
        const weir__device_t *device = &core->devices[core->instances[i].device];
        int tried =
            device->state == WEIR__DEVICE_PROBATION || device->state == WEIR__DEVICE_SUSPECT;
        if (tried && device->busy_count == 0 && is_ready(core, &core->instances[i]))
            return i;
    }
    return WEIR__NONE;
}

int weir__place_stale(const weir__core_t *core, uint32_t lane)
{
    const weir__curve_t *curve = weir__place_best_curve(core, lane, 1);
    return core->now_ns - core->lanes[lane].learned_ns > 8 * weir__curve_p95(curve, 1);
}
