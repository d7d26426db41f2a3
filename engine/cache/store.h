// engine/cache/store.h: the cache's own struct, for the files of engine/cache.
#ifndef WEIR_CACHE_STORE_H
#define WEIR_CACHE_STORE_H

#include "engine/cache/cache.h"
#include <limits.h>
#include <stdatomic.h>

struct weir__cache {
    weir__heap_t *heap;
    const weir__log_t *log;
    int folder;    // -1: off
    uint64_t boot; // which start of the machine this is, hashed; 0: unknown
    atomic_uint_fast64_t temporary_count;
    char dir[PATH_MAX];
};

#define WEIR__CACHE_SUFFIX ".weir"
#define WEIR__CACHE_TEMPORARY ".weir-new-"

#endif
