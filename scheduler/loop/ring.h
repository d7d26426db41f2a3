// scheduler/loop/ring.h: a bounded queue of numbers: any thread puts, the loop takes.
//
// (The idea: D. Vyukov's bounded queue, 2010: each cell carries the turn at which it may be written
// or read.) A put is one compare-and-swap. It must not lock, allocate or wait: a full ring says so.
#ifndef WEIR_SCHEDULER_RING_H
#define WEIR_SCHEDULER_RING_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct weir__ring_cell {
    atomic_size_t turn;
    uint64_t value;
} weir__ring_cell_t;

typedef struct weir__ring {
    weir__ring_cell_t *cells;
    size_t mask;
    _Alignas(64) atomic_size_t tail; // next to be put
    _Alignas(64) size_t head;        // next to be taken; the loop's
} weir__ring_t;

// count: a power of two.
static inline void weir__ring_init(weir__ring_t *ring, weir__ring_cell_t *cells, size_t count)
{
    ring->cells = cells;
    ring->mask = count - 1;
    for (size_t i = 0; i < count; i++)
        atomic_init(&cells[i].turn, i);
    atomic_init(&ring->tail, 0);
    ring->head = 0;
}

// 0: full. What was written before the put is seen by whoever takes it, and by whoever has read
// weir__ring_tail() behind it.
static inline int weir__ring_put(weir__ring_t *ring, uint64_t value)
{
    size_t at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    for (;;) {
        weir__ring_cell_t *cell = &ring->cells[at & ring->mask];
        size_t turn = atomic_load_explicit(&cell->turn, memory_order_acquire);
        if (turn == at) {
            if (atomic_compare_exchange_weak_explicit(
                    &ring->tail, &at, at + 1, memory_order_acq_rel, memory_order_relaxed)) {
                cell->value = value;
                atomic_store_explicit(&cell->turn, at + 1, memory_order_release);
                return 1;
            }
        } else if ((ptrdiff_t)(turn - at) < 0) {
            return 0;
        } else {
            at = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        }
    }
}

static inline size_t weir__ring_tail(weir__ring_t *ring)
{
    return atomic_load_explicit(&ring->tail, memory_order_acquire);
}

// Takes the oldest. 0: there is none, or it is just being put. The loop's thread only.
static inline int weir__ring_take(weir__ring_t *ring, uint64_t *out_value)
{
    weir__ring_cell_t *cell = &ring->cells[ring->head & ring->mask];
    if (atomic_load_explicit(&cell->turn, memory_order_acquire) != ring->head + 1)
        return 0;
    *out_value = cell->value;
    atomic_store_explicit(&cell->turn, ring->head + ring->mask + 1, memory_order_release);
    ring->head++;
    return 1;
}

// What will be taken when `ahead` others have been. 0: it is not there yet. As weir__ring_take().
static inline int weir__ring_peek(weir__ring_t *ring, size_t ahead, uint64_t *out_value)
{
    size_t at = ring->head + ahead;
    const weir__ring_cell_t *cell = &ring->cells[at & ring->mask];
    if (atomic_load_explicit(&cell->turn, memory_order_acquire) != at + 1)
        return 0;
    *out_value = cell->value;
    return 1;
}

static inline int weir__ring_is_empty(weir__ring_t *ring)
{
    return weir__ring_tail(ring) == ring->head;
}

#endif
