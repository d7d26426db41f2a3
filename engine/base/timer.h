// engine/base/timer.h: one thread that calls back at deadlines; started with the first one set.
#ifndef WEIR_BASE_TIMER_H
#define WEIR_BASE_TIMER_H

#include "engine/base/status.h"
#include <pthread.h>
#include <stdbool.h>

typedef struct weir__alarm {
    struct weir__alarm *next;
    uint64_t deadline_ns;
    void (*ring)(
        struct weir__alarm *alarm); // on the timer's thread, under its lock: short, must not block
    bool set;
} weir__alarm_t;

typedef struct weir__timer {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    bool running, stopping;
    weir__alarm_t *first;   // by deadline
    weir__alarm_t *ringing; // its ring() is being called
} weir__timer_t;

void weir__timer_init(weir__timer_t *timer);
void weir__timer_free(weir__timer_t *timer);
// The alarm is the caller's and stays until it rang or was cleared.
weir_status_t weir__timer_set(weir__timer_t *timer, weir__alarm_t *alarm);
// After it returns the alarm will not ring any more (but may have, and the call has ended unless it
// is the caller's own).
void weir__timer_clear(weir__timer_t *timer, weir__alarm_t *alarm);

#endif
