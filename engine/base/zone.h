// engine/base/zone.h: many small blocks with one lifetime, freed together. Not thread-safe.
//
// (The word arena is kept for the memory that a session works in.)
#ifndef WEIR_BASE_ZONE_H
#define WEIR_BASE_ZONE_H

#include "engine/base/heap.h"
#include "engine/base/status.h"
#include <stdbool.h>

typedef struct weir__zone_chunk weir__zone_chunk_t;

typedef struct weir__zone {
    weir__heap_t *heap;
    weir__zone_chunk_t *chunks;
    weir__zone_chunk_t *spare; // adopted, not in use yet
    uint64_t used_bytes;
    uint64_t limit_bytes; // 0: none
    bool refused;         // something was not given because of limit_bytes
} weir__zone_t;

void weir__zone_init(weir__zone_t *zone, weir__heap_t *heap, uint64_t limit_bytes);
void weir__zone_free(weir__zone_t *zone);

// For zones that follow one another: the blocks that one used, for the next to use first: their
// pages are there. They are the caller's, to be adopted by a new zone of the same heap or dropped.
// NULL: none.
weir__zone_chunk_t *weir__zone_leave(weir__zone_t *zone);
void weir__zone_adopt(weir__zone_t *zone, weir__zone_chunk_t *blocks);
void weir__zone_drop(weir__heap_t *heap, weir__zone_chunk_t *blocks);

// Zeroed, 16-byte aligned (blocks of 64 bytes and more: 64). NULL: no memory or over the limit.
void *weir__zone_alloc(weir__zone_t *zone, uint64_t bytes);
void *weir__zone_raw(weir__zone_t *zone, uint64_t bytes);                   // the same, not cleared
void *weir__zone_array(weir__zone_t *zone, uint64_t count, uint64_t bytes); // checked product
char *weir__zone_string(weir__zone_t *zone, const char *text, size_t length); // a copy, NUL added
char *weir__zone_format(weir__zone_t *zone, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void *weir__zone_copy(weir__zone_t *zone, const void *data, uint64_t bytes);

// What a stage that worked in this zone returns: `status`, but when that says that there is no
// memory and the zone's limit, which is graph_bytes, was the reason, a LIMIT that says so.
weir_status_t weir__zone_status(const weir__zone_t *zone, weir_status_t status);

#endif
