// scheduler/observe/registry.h: the list of series, between observe.c, which keeps it, and text.c,
// which reads it. Nothing outside this folder includes it.
#ifndef WEIR_SCHEDULER_REGISTRY_H
#define WEIR_SCHEDULER_REGISTRY_H

#include <pthread.h>

#include "scheduler/observe/observe.h"

typedef struct weir__observe_registry {
    pthread_mutex_t mutex; // held for some steps along a list, never while a receiver is called
    weir__observe_series_t *first[WEIR__OBSERVE_KINDS];
    weir__observe_series_t *removed; // while somebody reads: freed when nobody does
    uint32_t reader_count;
} weir__observe_registry_t;

// From begin to end, what was in the lists stays in memory, and where it leads to.
void weir__observe_read_begin(weir__observe_registry_t *registry);
void weir__observe_read_end(weir__observe_registry_t *registry);
// The next one that is shown; after: NULL for the first.
const weir__observe_series_t *weir__observe_next(weir__observe_registry_t *registry,
    weir__observe_kind_t kind, const weir__observe_series_t *after);

#endif
