// engine/api/objects.h: what is behind the public handles that no other part of the engine needs to
// know.
#ifndef WEIR_API_OBJECTS_H
#define WEIR_API_OBJECTS_H

#include "engine/exec/session.h"
#include "engine/plan/plan.h"

#ifndef WEIR_VERSION
#error "WEIR_VERSION comes from the build (project version)"
#endif

#define WEIR__BLOBS_MAX 1024 // artifacts that plugins may have open at a time

struct weir_engine {
    weir__runtime_t runtime; // first: the parts of the engine know only this
    atomic_uint references;
    bool registry_made;
    weir__view_t *blobs[WEIR__BLOBS_MAX]; // open, under registry.lock
};

// The graph takes nodes of the operators that plugins declare (operators.c). The registry outlives
// it.
weir_status_t weir__operators_offer(const weir__registry_t *registry, weir__graph_t *graph);
uint32_t weir__operators_used(const weir__graph_t *graph);
// What such nodes need of a graph that is ready.
weir_status_t weir__operators_check(const weir__graph_t *graph);

// Defaults where the caller's struct says 0 or is shorter (NULL: all defaults).
void weir__limits_fill(const weir_limits_t *limits, weir_limits_t *out_limits);

#endif
