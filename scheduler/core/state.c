// scheduler/core/state.c: how large a core is, and an empty one.
//
// One layout function serves both, so that they can't disagree.
#include <string.h>

#include "scheduler/core/state.h"

weir__core_limits_t weir__core_limits_default(void)
{
    return (weir__core_limits_t){
        .request_count = 16384,
        .model_count = 128,
        .lane_count = 256,
        .flow_count = 1024,
        .instance_count = 256,
        .device_count = 16,
        .tenant_count = 64,
        .batch_rows = 256,
        .queue_bytes = (uint64_t)1 << 30,
        .ageing_ns = 50000000,
        .patience_ns = 1000000000,
        .stranded_ns = 5000000000,
        .watchdog_min_ns = 100000000,
        .watchdog_unknown_ns = 10000000000,
        .timer_margin_ns = 50000,
        .scale_up_ns = 300000000,
        .scale_down_ns = 10000000000,
        .retry_ns = 100000000,
    };
}

// Sums of a few of them and of a monotonic clock stay within 64 bits.
#define TIME_MAX ((uint64_t)1 << 58)

typedef struct layout {
    uint8_t *base; // NULL: only measures
    size_t bytes;
    int overflow;
} layout_t;

static void *place(layout_t *layout, size_t count, size_t each)
{
    size_t begin = layout->bytes;
    if (count > (SIZE_MAX / 2 - begin) / each) {
        layout->overflow = 1;
        return NULL;
    }
    layout->bytes += (count * each + 15) / 16 * 16;
    return layout->base ? layout->base + begin : NULL;
}

static uint32_t bucket_count_for(uint32_t lane_count)
{
    uint32_t count = 1;
    while (count < lane_count)
        count *= 2;
    return count;
}

static void lay_out(layout_t *layout, const weir__core_limits_t *limits, weir__core_t *core)
{
    core->bucket_count = bucket_count_for(limits->lane_count);
    core->requests = place(layout, limits->request_count, sizeof *core->requests);
    core->flows = place(layout, limits->flow_count, sizeof *core->flows);
    core->lanes = place(layout, limits->lane_count, sizeof *core->lanes);
    core->curves =
        place(layout, (size_t)limits->lane_count * limits->device_count, sizeof *core->curves);
    core->buckets = place(layout, core->bucket_count, sizeof *core->buckets);
    core->active = place(layout, limits->lane_count, sizeof *core->active);
    core->models = place(layout, limits->model_count, sizeof *core->models);
    core->instances = place(layout, limits->instance_count, sizeof *core->instances);
    core->members =
        place(layout, (size_t)limits->instance_count * limits->batch_rows, sizeof *core->members);
    core->devices = place(layout, limits->device_count, sizeof *core->devices);
    core->tenants = place(layout, limits->tenant_count, sizeof *core->tenants);
}

static int limits_ok(const weir__core_limits_t *limits)
{
    const uint32_t counts[] = {limits->request_count, limits->model_count, limits->lane_count,
        limits->flow_count, limits->instance_count, limits->device_count, limits->tenant_count,
        limits->batch_rows};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++)
        if (counts[i] == 0 || counts[i] > (uint32_t)1 << 24)
            return 0;
    const uint64_t times[] = {limits->ageing_ns, limits->patience_ns, limits->stranded_ns,
        limits->watchdog_min_ns, limits->watchdog_unknown_ns, limits->timer_margin_ns,
        limits->scale_up_ns, limits->scale_down_ns, limits->retry_ns};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++)
        if (times[i] > TIME_MAX)
            return 0;
    return limits->batch_rows <= WEIR__CORE_BATCH_ROWS_MAX && limits->queue_bytes > 0;
}

weir_code_t weir__core_size(const weir__core_limits_t *limits, size_t *out_bytes)
{
    if (!limits_ok(limits))
        return WEIR_INVALID_ARGUMENT;
    weir__core_t core;
    layout_t layout = {NULL, 0, 0};
    place(&layout, 1, sizeof core);
    lay_out(&layout, limits, &core);
    if (layout.overflow)
        return WEIR_INVALID_ARGUMENT;
    *out_bytes = layout.bytes;
    return WEIR_OK;
}

weir_code_t weir__core_init(
    void *memory, size_t bytes, const weir__core_limits_t *limits, weir__core_t **out_core)
{
    size_t needed = 0;
    weir_code_t code = weir__core_size(limits, &needed);
    if (code != WEIR_OK)
        return code;
    if (bytes < needed)
        return WEIR_RESOURCE_EXHAUSTED;
    memset(memory, 0, needed);
    layout_t layout = {memory, 0, 0};
    weir__core_t *core = place(&layout, 1, sizeof *core);
    lay_out(&layout, limits, core);
    core->limits = *limits;
    core->count_max = limits->request_count;
    core->bytes_max = limits->queue_bytes;
    core->timer_ns = core->wanted_ns = core->drain_ns = WEIR__CORE_NEVER;
    core->look_lane = WEIR__NONE;
    for (uint32_t i = 0; i < limits->lane_count; i++) {
        core->lanes[i].model = core->lanes[i].flow = core->lanes[i].alone = WEIR__NONE;
        core->lanes[i].next_in_bucket = WEIR__NONE;
    }
    for (uint32_t i = 0; i < core->bucket_count; i++)
        core->buckets[i] = WEIR__NONE;
    for (uint32_t i = 0; i < limits->flow_count; i++)
        core->flows[i].lane = core->flows[i].heap = WEIR__NONE;
    for (uint32_t i = 0; i < limits->model_count; i++)
        core->models[i].instance = WEIR__NONE;
    for (uint32_t i = 0; i < limits->tenant_count; i++)
        core->tenants[i].weight = 1;
    *out_core = core;
    return WEIR_OK;
}
