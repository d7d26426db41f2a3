// engine/cache/times.h: how long work took on a device, kept between processes.
//
// One small file in the cache's folder: a table of times under 128-bit keys, checked as a whole. A
// file that is missing, damaged or of another version counts as empty, and one that cannot be
// written is a warning: times are advice. Writers merge what they know into what is there and
// rename; of two that do so at once one may lose what it has just learnt, never what was there.
#ifndef WEIR_CACHE_TIMES_H
#define WEIR_CACHE_TIMES_H

#include "engine/cache/cache.h"

#define WEIR__TIMES_MAX 16384 // of them the least recently measured go first

typedef struct weir__time {
    weir__hash_t key;    // what was done, and by what
    uint32_t size_class; // times of different classes are not comparable
    uint32_t count;      // how often it was measured
    uint64_t ns;
    uint64_t stamp; // when it was measured last: a number that grows from save to save
} weir__time_t;

typedef struct weir__times weir__times_t;

// Reads what is kept. cache: outlives the times; off or NULL: they are empty and saving does
// nothing. Errors: RESOURCE_EXHAUSTED.
weir_status_t weir__times_open(weir__cache_t *cache, weir__heap_t *heap, weir__times_t **out_times);
void weir__times_close(weir__times_t *times); // NULL is allowed

uint32_t weir__times_count(const weir__times_t *times);
// The time of this key and class, or NULL. Valid until the next note. times NULL: NULL.
const weir__time_t *weir__times_find(
    const weir__times_t *times, weir__hash_t key, uint32_t size_class);
// Time `index` among those of the key, by class; NULL past the last.
const weir__time_t *weir__times_of(const weir__times_t *times, weir__hash_t key, uint32_t index);

// Takes a time in. A smaller one than before counts as it is, because what disturbs a measurement
// makes it longer; a larger one moves the time a quarter of the way.
// Errors: RESOURCE_EXHAUSTED.
weir_status_t weir__times_note(
    weir__times_t *times, weir__hash_t key, uint32_t size_class, uint64_t ns);
// Writes what was noted since the times were opened or saved, beside what others wrote. A file that
// cannot be written is no error. Errors: RESOURCE_EXHAUSTED.
weir_status_t weir__times_save(weir__times_t *times);

#endif
