// scheduler/loop/trace.h: the file of options.trace_path, for whoever replays it.
#ifndef WEIR_SCHEDULER_TRACE_H
#define WEIR_SCHEDULER_TRACE_H

#include "scheduler/core/core.h"

#define WEIR__TRACE_MAGIC 0x31656361727477u // "wtrace1"
#define WEIR__TRACE_ACTIONS 512u            // the array that each step was given

typedef struct weir__trace_head {
    uint64_t magic;
    uint64_t record_bytes;
    weir__core_limits_t limits;
} weir__trace_head_t;

typedef struct weir__trace_record {
    uint64_t now_ns;
    weir__core_event_t event;
    uint64_t action_count;
    uint64_t hash; // weir__trace_hash() of what the step said
} weir__trace_record_t;

static inline uint64_t weir__trace_hash(
    weir_code_t code, const weir__core_action_t *actions, size_t count)
{
    uint64_t hash = 0xcbf29ce484222325u ^ (uint64_t)(uint32_t)code;
    for (size_t i = 0; i < count; i++) {
        const weir__core_action_t *it = &actions[i];
        const uint64_t words[] = {it->kind, it->why, (uint32_t)it->code, it->state, it->ticket,
            it->batch, it->time_ns, it->instance, it->device, it->model, it->version, it->rows,
            it->count};
        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++)
            hash = (hash ^ words[w]) * 0x100000001b3u;
    }
    return hash;
}

#endif
