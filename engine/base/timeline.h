// engine/base/timeline.h: 64-bit counters that devices signal from any thread, and who waits for
// them.
//
// Handles carry a generation, so that a late, double or stray signal to a timeline that is gone
// does nothing. A failure is sticky: the timeline counts as having reached every value, with that
// code.
#ifndef WEIR_BASE_TIMELINE_H
#define WEIR_BASE_TIMELINE_H

#include "engine/base/heap.h"
#include "engine/base/status.h"
#include <pthread.h>
#include <stdbool.h>

typedef struct weir__timeline weir__timeline_t;

typedef struct weir__timelines {
    weir__heap_t *heap;
    pthread_mutex_t lock;
    weir__timeline_t **slots; // blocks never move, handles index them
    uint32_t slot_count, slot_capacity;
    uint32_t free_head; // UINT32_MAX: none
} weir__timelines_t;

void weir__timelines_init(weir__timelines_t *timelines, weir__heap_t *heap);
void weir__timelines_free(weir__timelines_t *timelines);

weir_status_t weir__timeline_create(weir__timelines_t *timelines, uint64_t *out_handle);
void weir__timeline_release(weir__timelines_t *timelines, uint64_t handle);

// NOT_FOUND for a stale handle; INVALID_ARGUMENT for a value that is not larger than the current
// one. Neither harms anything.
weir_code_t weir__timeline_signal(weir__timelines_t *timelines, uint64_t handle, uint64_t value);
weir_code_t weir__timeline_fail(
    weir__timelines_t *timelines, uint64_t handle, weir_code_t code, const char *text);

typedef struct weir__waiter {
    void (*wake)(
        struct weir__waiter *waiter); // called once, on the signalling thread, under no lock
    uint64_t value;
    bool armed; // under the timelines' lock
} weir__waiter_t;

// Has the timeline reached `value` (or failed)? If not, `waiter` (the timeline's only one) is armed
// and woken when it does. waiter NULL: only asks. A stale handle counts as reached.
bool weir__timeline_reached(
    weir__timelines_t *timelines, uint64_t handle, uint64_t value, weir__waiter_t *waiter);
// Takes the waiter back. After it returns `wake` is not called any more (but may have been).
void weir__timeline_disarm(weir__timelines_t *timelines, uint64_t handle, weir__waiter_t *waiter);
// How far it came, whether it failed or not. 0 for a stale handle.
uint64_t weir__timeline_value(weir__timelines_t *timelines, uint64_t handle);
// OK, or the sticky failure; text (never NULL) says why, lives as long as the timeline.
weir_code_t weir__timeline_status(
    weir__timelines_t *timelines, uint64_t handle, const char **out_text);

#endif
