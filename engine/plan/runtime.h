// engine/plan/runtime.h: what every stage after loading needs of the engine, in one place.
#ifndef WEIR_PLAN_RUNTIME_H
#define WEIR_PLAN_RUNTIME_H

#include "engine/base/heap.h"
#include "engine/base/log.h"
#include "engine/base/team.h"
#include "engine/base/timeline.h"
#include "engine/base/timer.h"
#include "engine/cache/cache.h"
#include "engine/plugin/registry.h"
#include <weir/limits.h>

typedef struct weir__runtime {
    weir__heap_t heap;
    weir__log_t log;
    weir_limits_t limits;
    weir__team_t **teams; // [team_count]
    uint32_t team_count;
    weir__team_t *team; // the first: it makes plans, and what they cost is estimated for it
    weir__timelines_t timelines;
    weir__timer_t timer;
    weir__registry_t registry;
    weir__cache_t *cache;
    pthread_mutex_t quarantine_lock;
    struct weir__lanes *quarantine;
    struct weir__recorder *recorder; // exec/recorder.h
    // Runs one node with the plain C kernels on the calling thread: shape arithmetic and folding.
    weir_code_t (*evaluate)(
        const weir_host_t *host, const weir_node_t *node, char *error, uint32_t error_bytes);
    // References of models, plans and sessions keep the engine; the last one frees it.
    void (*retain)(struct weir__runtime *runtime);
    void (*release)(struct weir__runtime *runtime);
} weir__runtime_t;

#endif
