// engine/base/heap.c: see heap.h. A block is preceded by a 64-byte header that holds its size.
#include "engine/base/heap.h"

#include "engine/base/size.h"
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 64

// A place in a block of malloc(), whose address lies before the place: aligned_alloc() goes past
// the caches of small blocks, which a new shape asks for by the hundred.
static void *libc_alloc(void *user_data, size_t bytes, size_t alignment)
{
    (void)user_data;
    char *block = malloc(bytes + alignment + sizeof block);
    if (!block)
        return NULL;
    char *memory = block + sizeof block;
    memory += (alignment - (uintptr_t)memory % alignment) % alignment;
    memcpy(memory - sizeof block, &block, sizeof block);
    return memory;
}

static void libc_free(void *user_data, void *memory)
{
    (void)user_data;
    void *block = NULL;
    if (memory)
        memcpy(&block, (char *)memory - sizeof block, sizeof block);
    free(block);
}

void weir__heap_init(weir__heap_t *heap, const weir_allocator_t *allocator, uint64_t limit_bytes)
{
    heap->allocator =
        allocator ? *allocator : (weir_allocator_t){.alloc = libc_alloc, .free = libc_free};
    atomic_init(&heap->now_bytes, 0);
    atomic_init(&heap->peak_bytes, 0);
    heap->limit_bytes = limit_bytes;
}

void *weir__heap_alloc(weir__heap_t *heap, uint64_t bytes)
{
    uint64_t total;
    if (!weir__add_u64(bytes, HEADER_BYTES, &total) || total > SIZE_MAX / 2)
        return NULL;
    uint64_t now = atomic_fetch_add_explicit(&heap->now_bytes, total, memory_order_relaxed) + total;
    char *memory = NULL;
    if (!heap->limit_bytes || now <= heap->limit_bytes)
        memory = heap->allocator.alloc(heap->allocator.user_data, (size_t)total, HEADER_BYTES);
    if (!memory) {
        atomic_fetch_sub_explicit(&heap->now_bytes, total, memory_order_relaxed);
        return NULL;
    }
    uint64_t peak = atomic_load_explicit(&heap->peak_bytes, memory_order_relaxed);
    while (peak < now && !atomic_compare_exchange_weak_explicit(&heap->peak_bytes, &peak, now,
                             memory_order_relaxed, memory_order_relaxed)) {
    }
    memcpy(memory, &total, sizeof total);
    return memory + HEADER_BYTES;
}

void *weir__heap_calloc(weir__heap_t *heap, uint64_t count, uint64_t bytes)
{
    uint64_t total;
    if (!weir__mul_u64(count, bytes, &total))
        return NULL;
    void *memory = weir__heap_alloc(heap, total);
    if (memory)
        memset(memory, 0, (size_t)total);
    return memory;
}

void *weir__heap_realloc(weir__heap_t *heap, void *memory, uint64_t bytes)
{
    void *grown = weir__heap_alloc(heap, bytes);
    if (!grown || !memory)
        return grown;
    uint64_t total;
    memcpy(&total, (char *)memory - HEADER_BYTES, sizeof total);
    uint64_t kept = total - HEADER_BYTES < bytes ? total - HEADER_BYTES : bytes;
    memcpy(grown, memory, (size_t)kept);
    weir__heap_free(heap, memory);
    return grown;
}

void weir__heap_free(weir__heap_t *heap, void *memory)
{
    if (!memory)
        return;
    char *start = (char *)memory - HEADER_BYTES;
    uint64_t total;
    memcpy(&total, start, sizeof total);
    atomic_fetch_sub_explicit(&heap->now_bytes, total, memory_order_relaxed);
    heap->allocator.free(heap->allocator.user_data, start);
}
