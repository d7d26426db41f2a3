// engine/base/map.c: open addressing, linear probing, backward-shift deletion, at most 3/4 full.
#include "engine/base/map.h"

#include "engine/base/hash.h"
#include <string.h>

struct weir__map_slot {
    const char *key; // NULL: free
    uint64_t hash;
    uint32_t number;
};

void weir__map_init(weir__map_t *map, weir__heap_t *heap)
{
    *map = (weir__map_t){.heap = heap};
}

void weir__map_free(weir__map_t *map)
{
    weir__heap_free(map->heap, map->slots);
    *map = (weir__map_t){.heap = map->heap};
}

// The slot of `key`, or the free slot where it would go. capacity > 0.
static weir__map_slot_t *find(const weir__map_t *map, const char *key, uint64_t hash)
{
    uint64_t mask = map->capacity - 1;
    for (uint64_t i = hash & mask;; i = (i + 1) & mask) {
        weir__map_slot_t *slot = &map->slots[i];
        if (!slot->key || (slot->hash == hash && strcmp(slot->key, key) == 0))
            return slot;
    }
}

static uint64_t hash_key(const char *key)
{
    return weir__hash64(key, strlen(key), 0);
}

static bool grow(weir__map_t *map)
{
    weir__map_t grown = {.heap = map->heap, .capacity = map->capacity ? map->capacity * 2 : 64};
    grown.slots = weir__heap_calloc(map->heap, grown.capacity, sizeof *grown.slots);
    if (!grown.slots)
        return false;
    for (uint64_t i = 0; i < map->capacity; i++)
        if (map->slots[i].key)
            *find(&grown, map->slots[i].key, map->slots[i].hash) = map->slots[i];
    grown.count = map->count;
    weir__heap_free(map->heap, map->slots);
    *map = grown;
    return true;
}

bool weir__map_put(weir__map_t *map, const char *key, uint32_t number)
{
    if (map->count + 1 > map->capacity / 4 * 3 && !grow(map))
        return false;
    uint64_t hash = hash_key(key);
    weir__map_slot_t *slot = find(map, key, hash);
    map->count += !slot->key;
    *slot = (weir__map_slot_t){.key = slot->key ? slot->key : key, .hash = hash, .number = number};
    return true;
}

bool weir__map_get(const weir__map_t *map, const char *key, uint32_t *out_number)
{
    if (!map->capacity)
        return false;
    const weir__map_slot_t *slot = find(map, key, hash_key(key));
    if (slot->key)
        *out_number = slot->number;
    return slot->key != NULL;
}

void weir__map_remove(weir__map_t *map, const char *key)
{
    if (!map->capacity)
        return;
    weir__map_slot_t *slot = find(map, key, hash_key(key));
    if (!slot->key)
        return;
    uint64_t mask = map->capacity - 1, hole = (uint64_t)(slot - map->slots);
    map->count--;
    for (uint64_t i = (hole + 1) & mask; map->slots[i].key; i = (i + 1) & mask) {
        uint64_t home = map->slots[i].hash & mask;
        // Entry i may move into the hole unless its home lies cyclically in (hole, i].
        if (((i - home) & mask) >= ((i - hole) & mask)) {
            map->slots[hole] = map->slots[i];
            hole = i;
        }
    }
    map->slots[hole].key = NULL;
}
