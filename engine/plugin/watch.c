// engine/plugin/watch.c: timelines that fail with their device, and waiting for one.
#include "engine/base/clock.h"
#include "engine/base/futex.h"
#include "engine/plugin/device.h"
#include <stdio.h>

void weir__watch_add(weir__opened_t *opened, weir__watch_t *watch, uint64_t timeline)
{
    pthread_mutex_lock(&opened->lock);
    watch->timeline = timeline;
    watch->next = opened->watches;
    watch->from = &opened->watches;
    if (watch->next)
        watch->next->from = &watch->next;
    opened->watches = watch;
    pthread_mutex_unlock(&opened->lock);
}

bool weir__watch_change(weir__opened_t *opened, weir__watch_t *watch, uint64_t timeline)
{
    pthread_mutex_lock(&opened->lock);
    watch->timeline = timeline;
    bool works = !atomic_load(&opened->lost);
    pthread_mutex_unlock(&opened->lock);
    return works;
}

void weir__watch_remove(weir__opened_t *opened, weir__watch_t *watch)
{
    pthread_mutex_lock(&opened->lock);
    if (watch->from) {
        *watch->from = watch->next;
        if (watch->next)
            watch->next->from = watch->from;
        watch->from = NULL;
    }
    pthread_mutex_unlock(&opened->lock);
}

typedef struct sleeper {
    weir__waiter_t waiter; // first
    atomic_uint awake;
} sleeper_t;

static void wake_sleeper(weir__waiter_t *waiter)
{
    sleeper_t *sleeper = (sleeper_t *)(void *)waiter;
    atomic_store(&sleeper->awake, 1);
    weir__futex_wake(&sleeper->awake, 1);
}

weir_status_t weir__opened_wait(
    weir__opened_t *opened, uint64_t timeline, uint64_t value, uint64_t patience_ns)
{
    weir__timelines_t *timelines = opened->registry->timelines;
    sleeper_t sleeper = {.waiter.wake = wake_sleeper};
    uint64_t deadline_ns = weir__now_ns() + patience_ns;
    bool reached = weir__timeline_reached(timelines, timeline, value, &sleeper.waiter);
    while (!reached && !atomic_load(&sleeper.awake) && weir__now_ns() < deadline_ns)
        weir__futex_wait(&sleeper.awake, 0, deadline_ns);
    weir__timeline_disarm(timelines, timeline, &sleeper.waiter);
    const char *text;
    if (!weir__timeline_reached(timelines, timeline, value, NULL)) {
        char why[96];
        snprintf(why, sizeof why, "it did not answer within %llu s",
            (unsigned long long)(patience_ns / 1000000000));
        weir__opened_lose(opened, why);
        return weir__opened_lost_status(opened, WEIR_UNAVAILABLE);
    }
    weir_code_t code = weir__timeline_status(timelines, timeline, &text);
    if (code == WEIR_OK)
        return NULL;
    weir_status_t status = WEIR_ERR(code, "device \"%s\": %s", opened->device->name,
        text[0] ? text : "its work failed without saying why");
    if (code == WEIR_DEVICE_LOST)
        weir__opened_lose(opened, text);
    return status;
}
