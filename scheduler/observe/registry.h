// scheduler/observe/registry.h: the list of series, between observe.c, which keeps it, and text.c,
// which reads it. Nothing outside this folder includes it.
#ifndef WEIR_SCHEDULER_REGISTRY_H
#define WEIR_SCHEDULER_REGISTRY_H

#include <pthread.h>

#include "scheduler/observe/observe.h"

typedef struct weir__observe_registry {
    pthread_mutex_t mutex;
    weir__observe_series_t *first[WEIR__OBSERVE_KINDS];
} weir__observe_registry_t;

#endif
