// engine/base/zone.c: see zone.h. Chunks grow from 4 KiB to 1 MiB; a large block gets its own.
#include "engine/base/zone.h"

#include "engine/base/size.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct weir__zone_chunk {
    weir__zone_chunk_t *next;
    uint64_t capacity_bytes;
    uint64_t used_bytes;
    uint64_t padding[5]; // so that the data is 64-byte aligned
};
_Static_assert(sizeof(weir__zone_chunk_t) == 64, "data behind the header is 64-byte aligned");

#define FIRST_CHUNK_BYTES 4096
#define LARGEST_CHUNK_BYTES (1u << 20)

void weir__zone_init(weir__zone_t *zone, weir__heap_t *heap, uint64_t limit_bytes)
{
    *zone = (weir__zone_t){.heap = heap, .limit_bytes = limit_bytes};
}

void weir__zone_drop(weir__heap_t *heap, weir__zone_chunk_t *blocks)
{
    while (blocks) {
        weir__zone_chunk_t *next = blocks->next;
        weir__heap_free(heap, blocks);
        blocks = next;
    }
}

void weir__zone_free(weir__zone_t *zone)
{
    weir__zone_drop(zone->heap, weir__zone_leave(zone));
}

weir__zone_chunk_t *weir__zone_leave(weir__zone_t *zone)
{
    weir__zone_chunk_t *blocks = zone->chunks;
    weir__zone_drop(zone->heap, zone->spare);
    zone->chunks = zone->spare = NULL;
    zone->used_bytes = 0;
    return blocks;
}

void weir__zone_adopt(weir__zone_t *zone, weir__zone_chunk_t *blocks)
{
    zone->spare = blocks;
}

// A chunk for one large block goes behind the head, which may still have room.
static void put_chunk(weir__zone_t *zone, weir__zone_chunk_t *chunk, bool behind)
{
    weir__zone_chunk_t **link = behind ? &zone->chunks->next : &zone->chunks;
    chunk->next = *link;
    *link = chunk;
}

static weir__zone_chunk_t *take_spare(weir__zone_t *zone, uint64_t bytes)
{
    for (weir__zone_chunk_t **link = &zone->spare; *link; link = &(*link)->next)
        if ((*link)->capacity_bytes >= bytes) {
            weir__zone_chunk_t *chunk = *link, *head = zone->chunks;
            *link = chunk->next;
            chunk->used_bytes = 0;
            put_chunk(zone, chunk,
                head && head->capacity_bytes - head->used_bytes > chunk->capacity_bytes - bytes);
            return chunk;
        }
    return NULL;
}

static weir__zone_chunk_t *add_chunk(weir__zone_t *zone, uint64_t bytes)
{
    weir__zone_chunk_t *head = zone->chunks, *spare = take_spare(zone, bytes);
    uint64_t capacity = FIRST_CHUNK_BYTES;
    if (spare)
        return spare;
    if (head && head->capacity_bytes >= FIRST_CHUNK_BYTES)
        capacity = WEIR_MIN(head->capacity_bytes * 2, LARGEST_CHUNK_BYTES);
    bool own = bytes > capacity / 2;
    if (own)
        capacity = bytes;
    weir__zone_chunk_t *chunk = weir__heap_alloc(zone->heap, sizeof *chunk + capacity);
    if (!chunk)
        return NULL;
    *chunk = (weir__zone_chunk_t){.capacity_bytes = capacity};
    put_chunk(zone, chunk, own && head);
    return chunk;
}

void *weir__zone_raw(weir__zone_t *zone, uint64_t bytes)
{
    uint64_t alignment = bytes >= 64 ? 64 : 16, rounded, total;
    if (!weir__align_u64(bytes, 16, &rounded) || rounded > INT64_MAX / 2 ||
        !weir__add_u64(zone->used_bytes, rounded, &total) ||
        (zone->limit_bytes && total > zone->limit_bytes)) {
        zone->refused = zone->limit_bytes != 0;
        return NULL;
    }
    weir__zone_chunk_t *chunk = zone->chunks;
    uint64_t at = chunk ? (chunk->used_bytes + alignment - 1) & ~(alignment - 1) : 0;
    if (!chunk || at + rounded > chunk->capacity_bytes) {
        chunk = add_chunk(zone, rounded);
        if (!chunk)
            return NULL;
        at = 0;
    }
    char *memory = (char *)(chunk + 1) + at;
    chunk->used_bytes = at + rounded;
    zone->used_bytes = total;
    return memory;
}

void *weir__zone_alloc(weir__zone_t *zone, uint64_t bytes)
{
    void *memory = weir__zone_raw(zone, bytes);
    if (memory)
        memset(memory, 0, (size_t)bytes);
    return memory;
}

void *weir__zone_array(weir__zone_t *zone, uint64_t count, uint64_t bytes)
{
    uint64_t total;
    return weir__mul_u64(count, bytes, &total) ? weir__zone_alloc(zone, total) : NULL;
}

void *weir__zone_copy(weir__zone_t *zone, const void *data, uint64_t bytes)
{
    void *copy = weir__zone_alloc(zone, bytes);
    if (copy && bytes)
        memcpy(copy, data, (size_t)bytes);
    return copy;
}

char *weir__zone_string(weir__zone_t *zone, const char *text, size_t length)
{
    char *copy = weir__zone_alloc(zone, (uint64_t)length + 1);
    if (copy && length)
        memcpy(copy, text, length);
    return copy;
}

char *weir__zone_format(weir__zone_t *zone, const char *format, ...)
{
    va_list arguments, again;
    va_start(arguments, format);
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    char *text = length < 0 ? NULL : weir__zone_alloc(zone, (uint64_t)length + 1);
    if (text)
        vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    return text;
}

weir_status_t weir__zone_status(const weir__zone_t *zone, weir_status_t status)
{
    if (!zone->refused || weir_status_code(status) != WEIR_RESOURCE_EXHAUSTED)
        return status;
    weir_status_free(status);
    return WEIR_ERR(WEIR_LIMIT,
        "the graph takes more memory than the limit graph_bytes (%llu): it is too large, or raise "
        "the "
        "limit",
        (unsigned long long)zone->limit_bytes);
}
