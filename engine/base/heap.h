// engine/base/heap.h: accounted memory over the embedder's allocator, with a budget.
//
// Thread-safe. Every block is 64-byte aligned and remembers its size.
#ifndef WEIR_BASE_HEAP_H
#define WEIR_BASE_HEAP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/engine.h>

typedef struct weir__heap {
    weir_allocator_t allocator;
    atomic_uint_fast64_t now_bytes;
    atomic_uint_fast64_t peak_bytes;
    uint64_t limit_bytes; // 0: none
} weir__heap_t;

// allocator NULL: the C library's.
void weir__heap_init(weir__heap_t *heap, const weir_allocator_t *allocator, uint64_t limit_bytes);

// NULL when there is no memory or the budget is spent. 0 bytes give a valid block.
void *weir__heap_alloc(weir__heap_t *heap, uint64_t bytes);
void *weir__heap_calloc(
    weir__heap_t *heap, uint64_t count, uint64_t bytes); // checked product, zeroed
void *weir__heap_realloc(weir__heap_t *heap, void *memory, uint64_t bytes); // contents kept
void weir__heap_free(weir__heap_t *heap, void *memory);                     // NULL is allowed

#endif
