// engine/base/timeline.c: see timeline.h. One lock for all: signals are per launch, not per
// operator.
#include "engine/base/timeline.h"

#include <sched.h>
#include <stdio.h>

struct weir__timeline {
    uint32_t generation; // odd: in use
    uint32_t next_free;
    uint64_t value;
    weir_code_t failure;
    char text[160];
    weir__waiter_t *waiter;
    uint32_t waking; // wakes being called right now, outside the lock
};

#define SLOTS_MAX (1u << 20)

void weir__timelines_init(weir__timelines_t *timelines, weir__heap_t *heap)
{
    *timelines = (weir__timelines_t){.heap = heap, .free_head = UINT32_MAX};
    pthread_mutex_init(&timelines->lock, NULL);
}

void weir__timelines_free(weir__timelines_t *timelines)
{
    for (uint32_t i = 0; i < timelines->slot_count; i++)
        weir__heap_free(timelines->heap, timelines->slots[i]);
    weir__heap_free(timelines->heap, timelines->slots);
    pthread_mutex_destroy(&timelines->lock);
}

// The timeline of a handle, or NULL. Under the lock.
static weir__timeline_t *find(weir__timelines_t *timelines, uint64_t handle)
{
    uint32_t index = (uint32_t)handle;
    if (index >= timelines->slot_count)
        return NULL;
    weir__timeline_t *timeline = timelines->slots[index];
    return timeline->generation == (uint32_t)(handle >> 32) ? timeline : NULL;
}

static weir__timeline_t *new_slot(weir__timelines_t *timelines, uint32_t *out_index)
{
    if (timelines->slot_count == timelines->slot_capacity) {
        uint32_t capacity = timelines->slot_capacity ? timelines->slot_capacity * 2 : 16;
        weir__timeline_t **slots =
            capacity > SLOTS_MAX
                ? NULL
                : weir__heap_realloc(timelines->heap, timelines->slots, capacity * sizeof *slots);
        if (!slots)
            return NULL;
        timelines->slots = slots;
        timelines->slot_capacity = capacity;
    }
    weir__timeline_t *timeline = weir__heap_calloc(timelines->heap, 1, sizeof *timeline);
    if (timeline) {
        *out_index = timelines->slot_count;
        timelines->slots[timelines->slot_count++] = timeline;
    }
    return timeline;
}

weir_status_t weir__timeline_create(weir__timelines_t *timelines, uint64_t *out_handle)
{
    pthread_mutex_lock(&timelines->lock);
    uint32_t index = timelines->free_head;
    weir__timeline_t *timeline;
    if (index != UINT32_MAX) {
        timeline = timelines->slots[index];
        timelines->free_head = timeline->next_free;
    } else {
        timeline = new_slot(timelines, &index);
    }
    if (timeline) {
        timeline->generation++;
        timeline->value = 0;
        timeline->failure = WEIR_OK;
        timeline->text[0] = '\0';
        timeline->waiter = NULL;
        *out_handle = (uint64_t)timeline->generation << 32 | index;
    }
    pthread_mutex_unlock(&timelines->lock);
    return timeline ? NULL : weir__status_no_memory();
}

void weir__timeline_release(weir__timelines_t *timelines, uint64_t handle)
{
    pthread_mutex_lock(&timelines->lock);
    weir__timeline_t *timeline = find(timelines, handle);
    if (timeline) {
        timeline->generation++;
        timeline->next_free = timelines->free_head;
        timelines->free_head = (uint32_t)handle;
    }
    pthread_mutex_unlock(&timelines->lock);
}

// Takes the waiter when its value is reached. Under the lock.
static weir__waiter_t *take_due(weir__timeline_t *timeline)
{
    weir__waiter_t *waiter = timeline->waiter;
    if (!waiter || (timeline->failure == WEIR_OK && timeline->value < waiter->value))
        return NULL;
    timeline->waiter = NULL;
    waiter->armed = false;
    timeline->waking++;
    return waiter;
}

static void wake(weir__timelines_t *timelines, weir__timeline_t *timeline, weir__waiter_t *waiter)
{
    if (!waiter)
        return;
    waiter->wake(waiter);
    pthread_mutex_lock(&timelines->lock);
    timeline->waking--;
    pthread_mutex_unlock(&timelines->lock);
}

weir_code_t weir__timeline_signal(weir__timelines_t *timelines, uint64_t handle, uint64_t value)
{
    weir__waiter_t *waiter = NULL;
    weir_code_t code = WEIR_OK;
    pthread_mutex_lock(&timelines->lock);
    weir__timeline_t *timeline = find(timelines, handle);
    if (!timeline) {
        code = WEIR_NOT_FOUND;
    } else if (value <= timeline->value) {
        code = WEIR_INVALID_ARGUMENT;
    } else {
        timeline->value = value;
        waiter = take_due(timeline);
    }
    pthread_mutex_unlock(&timelines->lock);
    wake(timelines, timeline, waiter);
    return code;
}

weir_code_t weir__timeline_fail(
    weir__timelines_t *timelines, uint64_t handle, weir_code_t code, const char *text)
{
    weir__waiter_t *waiter = NULL;
    pthread_mutex_lock(&timelines->lock);
    weir__timeline_t *timeline = find(timelines, handle);
    if (timeline && timeline->failure == WEIR_OK) {
        timeline->failure = code == WEIR_OK ? WEIR_INTERNAL : code;
        snprintf(timeline->text, sizeof timeline->text, "%s", text ? text : "");
        waiter = take_due(timeline);
    }
    pthread_mutex_unlock(&timelines->lock);
    wake(timelines, timeline, waiter);
    return timeline ? WEIR_OK : WEIR_NOT_FOUND;
}

bool weir__timeline_reached(
    weir__timelines_t *timelines, uint64_t handle, uint64_t value, weir__waiter_t *waiter)
{
    pthread_mutex_lock(&timelines->lock);
    weir__timeline_t *timeline = find(timelines, handle);
    bool reached = !timeline || timeline->failure != WEIR_OK || timeline->value >= value;
    if (!reached && waiter) {
        waiter->value = value;
        waiter->armed = true;
        timeline->waiter = waiter;
    }
    pthread_mutex_unlock(&timelines->lock);
    return reached;
}

void weir__timeline_disarm(weir__timelines_t *timelines, uint64_t handle, weir__waiter_t *waiter)
{
    for (;;) {
        pthread_mutex_lock(&timelines->lock);
        weir__timeline_t *timeline = find(timelines, handle);
        if (timeline && timeline->waiter == waiter) {
            timeline->waiter = NULL;
            waiter->armed = false;
        }
        bool quiet = !timeline || !timeline->waking;
        pthread_mutex_unlock(&timelines->lock);
        if (quiet)
            return;
        // A wake is being called on another thread; it is a few instructions long.
        sched_yield();
    }
}

uint64_t weir__timeline_value(weir__timelines_t *timelines, uint64_t handle)
{
    pthread_mutex_lock(&timelines->lock);
    const weir__timeline_t *timeline = find(timelines, handle);
    uint64_t value = timeline ? timeline->value : 0;
    pthread_mutex_unlock(&timelines->lock);
    return value;
}

weir_code_t weir__timeline_status(
    weir__timelines_t *timelines, uint64_t handle, const char **out_text)
{
    pthread_mutex_lock(&timelines->lock);
    weir__timeline_t *timeline = find(timelines, handle);
    weir_code_t code = timeline ? timeline->failure : WEIR_NOT_FOUND;
    *out_text = timeline ? timeline->text : "";
    pthread_mutex_unlock(&timelines->lock);
    return code;
}
