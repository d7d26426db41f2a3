// scheduler/loop/slots.c: the slab of requests: any thread takes a slot and gives one back.
//
// A stack of free indices (R. K. Treiber, 1986) whose head carries a tag, so that a slot that was
// taken and given back meanwhile is noticed. The last one given back is taken first: it is warm.
#include "scheduler/loop/loop.h"

void weir__slots_init(weir_scheduler_t *scheduler)
{
    uint32_t count = scheduler->options.requests;
    for (uint32_t i = 0; i < count; i++) {
        atomic_init(&scheduler->slots[i].generation, 1); // generation 0 is none
        atomic_init(&scheduler->slots[i].next_free, i + 1 < count ? i + 2 : 0);
    }
    atomic_init(&scheduler->free_head, 1);
}

uint32_t weir__slot_take(weir_scheduler_t *scheduler)
{
    uint64_t head = atomic_load_explicit(&scheduler->free_head, memory_order_acquire);
    for (;;) {
        uint32_t first = (uint32_t)head;
        if (!first)
            return WEIR__NO_INDEX;
        weir__slot_t *slot = &scheduler->slots[first - 1];
        uint64_t next =
            ((head >> 32) + 1) << 32 | atomic_load_explicit(&slot->next_free, memory_order_relaxed);
        if (!atomic_compare_exchange_weak_explicit(
                &scheduler->free_head, &head, next, memory_order_acq_rel, memory_order_acquire))
            continue;
        if ((uint32_t)next) { // the next one was the loop's last: it is on its way here meanwhile
            const weir__slot_t *following = &scheduler->slots[(uint32_t)next - 1];
            __builtin_prefetch(following, 1);
            __builtin_prefetch((const char *)following + 64, 1);
        }
        return first - 1;
    }
}

// From here on the ticket is stale.
static void forget(weir__slot_t *slot)
{
    uint32_t generation = atomic_load_explicit(&slot->generation, memory_order_relaxed) + 1;
    atomic_store_explicit(&slot->generation, generation ? generation : 1, memory_order_relaxed);
    // Else a mark would meet its generation again when those have gone round.
    atomic_store_explicit(&slot->cancelled, 0, memory_order_relaxed);
}

// A chain of slots that is already linked from `first` to `last`.
static void give_chain(weir_scheduler_t *scheduler, uint32_t first, weir__slot_t *last)
{
    uint64_t head = atomic_load_explicit(&scheduler->free_head, memory_order_relaxed);
    uint64_t next;
    do {
        atomic_store_explicit(&last->next_free, (uint32_t)head, memory_order_relaxed);
        next = ((head >> 32) + 1) << 32 | (first + 1);
    } while (!atomic_compare_exchange_weak_explicit(
        &scheduler->free_head, &head, next, memory_order_acq_rel, memory_order_relaxed));
}

void weir__slot_give(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__slot_t *slot = &scheduler->slots[index];
    forget(slot);
    give_chain(scheduler, index, slot);
}

void weir__slots_give(weir_scheduler_t *scheduler, const weir__answer_t *answers, uint32_t count)
{
    uint32_t first = WEIR__NO_INDEX;
    weir__slot_t *last = NULL;
    for (uint32_t i = 0; i < count; i++) {
        if (!answers[i].callback) // weir_wait() gives it back
            continue;
        weir__slot_t *slot = &scheduler->slots[answers[i].slot];
        forget(slot);
        if (last)
            atomic_store_explicit(&last->next_free, answers[i].slot + 1, memory_order_relaxed);
        else
            first = answers[i].slot;
        last = slot;
    }
    if (last)
        give_chain(scheduler, first, last);
}
