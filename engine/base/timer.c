// engine/base/timer.c: see timer.h.
#include "engine/base/timer.h"

#include "engine/base/clock.h"
#include <string.h>
#include <time.h>

void weir__timer_init(weir__timer_t *timer)
{
    pthread_condattr_t attributes;
    memset(timer, 0, sizeof *timer);
    pthread_mutex_init(&timer->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&timer->changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void weir__timer_free(weir__timer_t *timer)
{
    pthread_mutex_lock(&timer->lock);
    bool running = timer->running;
    timer->stopping = true;
    pthread_cond_broadcast(&timer->changed);
    pthread_mutex_unlock(&timer->lock);
    if (running)
        pthread_join(timer->thread, NULL);
    pthread_cond_destroy(&timer->changed);
    pthread_mutex_destroy(&timer->lock);
}

static void *timer_main(void *argument)
{
    weir__timer_t *timer = argument;
    pthread_mutex_lock(&timer->lock);
    while (!timer->stopping) {
        weir__alarm_t *alarm = timer->first;
        if (!alarm) {
            pthread_cond_wait(&timer->changed, &timer->lock);
        } else if (alarm->deadline_ns <= weir__now_ns()) {
            timer->first = alarm->next;
            alarm->set = false;
            // Not under the lock: it may end a run, whose owner may start the next one. The alarm
            // itself may be gone when ring() returns.
            timer->ringing = alarm;
            pthread_mutex_unlock(&timer->lock);
            alarm->ring(alarm);
            pthread_mutex_lock(&timer->lock);
            timer->ringing = NULL;
            pthread_cond_broadcast(&timer->changed);
        } else {
            struct timespec until = {.tv_sec = (time_t)(alarm->deadline_ns / 1000000000u),
                .tv_nsec = (long)(alarm->deadline_ns % 1000000000u)};
            pthread_cond_timedwait(&timer->changed, &timer->lock, &until);
        }
    }
    pthread_mutex_unlock(&timer->lock);
    return NULL;
}

weir_status_t weir__timer_set(weir__timer_t *timer, weir__alarm_t *alarm)
{
    int error = 0;
    pthread_mutex_lock(&timer->lock);
    if (!timer->running) {
        error = pthread_create(&timer->thread, NULL, timer_main, timer);
        timer->running = error == 0;
        if (!error)
            pthread_setname_np(timer->thread, "weir-timer");
    }
    if (!error) {
        weir__alarm_t **link = &timer->first;
        while (*link && (*link)->deadline_ns <= alarm->deadline_ns)
            link = &(*link)->next;
        alarm->next = *link;
        *link = alarm;
        alarm->set = true;
        pthread_cond_broadcast(&timer->changed);
    }
    pthread_mutex_unlock(&timer->lock);
    return error ? WEIR_ERR(WEIR_RESOURCE_EXHAUSTED, "the timer thread could not be started: %s",
                       strerror(error))
                 : NULL;
}

void weir__timer_clear(weir__timer_t *timer, weir__alarm_t *alarm)
{
    pthread_mutex_lock(&timer->lock);
    for (weir__alarm_t **link = &timer->first; alarm->set && *link; link = &(*link)->next)
        if (*link == alarm) {
            *link = alarm->next;
            alarm->set = false;
            break;
        }
    while (timer->ringing == alarm && !pthread_equal(timer->thread, pthread_self()))
        pthread_cond_wait(&timer->changed, &timer->lock);
    pthread_mutex_unlock(&timer->lock);
}
