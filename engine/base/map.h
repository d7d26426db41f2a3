// engine/base/map.h: a hash map from strings to 32-bit numbers. Keys are borrowed. Not thread-safe.
#ifndef WEIR_BASE_MAP_H
#define WEIR_BASE_MAP_H

#include "engine/base/heap.h"
#include <stdbool.h>

typedef struct weir__map_slot weir__map_slot_t;

typedef struct weir__map {
    weir__heap_t *heap;
    weir__map_slot_t *slots;
    uint64_t capacity; // 0 or a power of two
    uint64_t count;
} weir__map_t;

void weir__map_init(weir__map_t *map, weir__heap_t *heap);
void weir__map_free(weir__map_t *map);
// false: no memory. An existing key gets the new number.
bool weir__map_put(weir__map_t *map, const char *key, uint32_t number);
bool weir__map_get(const weir__map_t *map, const char *key, uint32_t *out_number);
void weir__map_remove(weir__map_t *map, const char *key);

#endif
