// engine/conform/timeline.c: the host's timelines, as strict as they can be.
//
// The kit asks for one point after the other of a timeline. Each must be signalled once, in order,
// and none that nobody asked for: double, missing and early completions of a device show here.
#include "engine/conform/device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static weir__kit_timeline_t *find(weir__kit_host_t *host, uint64_t handle)
{
    return handle && handle <= host->timeline_count ? &host->timelines[handle - 1] : NULL;
}

static void misuse(weir__kit_host_t *host, const char *what, uint64_t value)
{
    if (!host->misuse[0])
        snprintf(
            host->misuse, sizeof host->misuse, "%s (value %llu)", what, (unsigned long long)value);
}

weir_code_t weir__kit_timeline_signal(const weir_host_t *abi, uint64_t handle, uint64_t value)
{
    weir__kit_host_t *host = (weir__kit_host_t *)(uintptr_t)abi;
    pthread_mutex_lock(&host->timeline_lock);
    weir__kit_timeline_t *timeline = find(host, handle);
    if (!timeline)
        misuse(host, "it signalled a timeline that is not there", value);
    else if (value > timeline->asked)
        misuse(host, "it signalled a point that it was not asked for", value);
    else if (value <= timeline->value && !timeline->code)
        misuse(host, "it signalled a point twice", value);
    else if (value != timeline->value + 1 && !timeline->code)
        misuse(host, "it signalled a point before the one in front of it in the queue", value);
    else if (!timeline->code)
        timeline->value = value;
    pthread_cond_broadcast(&host->timeline_changed);
    pthread_mutex_unlock(&host->timeline_lock);
    return timeline ? WEIR_OK : WEIR_NOT_FOUND;
}

weir_code_t weir__kit_timeline_fail(
    const weir_host_t *abi, uint64_t handle, weir_code_t code, const char *text)
{
    weir__kit_host_t *host = (weir__kit_host_t *)(uintptr_t)abi;
    pthread_mutex_lock(&host->timeline_lock);
    weir__kit_timeline_t *timeline = find(host, handle);
    if (!timeline) {
        misuse(host, "it failed a timeline that is not there", handle);
    } else if (!timeline->code) {
        timeline->code = code ? code : WEIR_INTERNAL;
        snprintf(timeline->text, sizeof timeline->text, "%s", text ? text : "");
    }
    pthread_cond_broadcast(&host->timeline_changed);
    pthread_mutex_unlock(&host->timeline_lock);
    return timeline ? WEIR_OK : WEIR_NOT_FOUND;
}

weir_handle_t weir__kit_timeline_new(weir__kit_host_t *host)
{
    pthread_mutex_lock(&host->timeline_lock);
    weir_handle_t handle = 0;
    if (host->timeline_count < WEIR__KIT_TIMELINES) {
        memset(&host->timelines[host->timeline_count], 0, sizeof host->timelines[0]);
        handle = ++host->timeline_count;
    }
    pthread_mutex_unlock(&host->timeline_lock);
    return handle;
}

weir_timeline_point_t weir__kit_timeline_next(weir__kit_host_t *host, weir_handle_t handle)
{
    pthread_mutex_lock(&host->timeline_lock);
    weir_timeline_point_t point = {
        .timeline = handle, .value = ++host->timelines[handle - 1].asked};
    pthread_mutex_unlock(&host->timeline_lock);
    return point;
}

void weir__kit_timeline_take_back(weir__kit_host_t *host, weir_handle_t handle)
{
    pthread_mutex_lock(&host->timeline_lock);
    host->timelines[handle - 1].asked--;
    pthread_mutex_unlock(&host->timeline_lock);
}

uint64_t weir__kit_timeline_value(weir__kit_host_t *host, weir_handle_t handle)
{
    pthread_mutex_lock(&host->timeline_lock);
    uint64_t value = host->timelines[handle - 1].value;
    pthread_mutex_unlock(&host->timeline_lock);
    return value;
}

bool weir__kit_timeline_wait(
    weir__kit_subject_t *subject, weir_handle_t handle, weir_code_t *out_code)
{
    weir__kit_host_t *host = &subject->host;
    weir__kit_timeline_t *timeline = &host->timelines[handle - 1];
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)subject->patience_s;
    int late = 0;
    pthread_mutex_lock(&host->timeline_lock);
    while (!late && !timeline->code && timeline->value < timeline->asked && !host->misuse[0])
        late = pthread_cond_timedwait(&host->timeline_changed, &host->timeline_lock, &until);
    *out_code = timeline->code;
    uint64_t value = timeline->value, asked = timeline->asked;
    snprintf(host->failure, sizeof host->failure, "%s", timeline->text);
    pthread_mutex_unlock(&host->timeline_lock);
    if (host->misuse[0])
        return weir__kit_fail(subject, "%s", host->misuse);
    if (late)
        return weir__kit_fail(subject,
            "point %llu of a timeline was not signalled within %u s (%llu was)",
            (unsigned long long)asked, subject->patience_s, (unsigned long long)value);
    return true;
}

// ---- Helper threads ----------------------------------------------------------------------------

typedef struct helper {
    void (*body)(void *user);
    void *user;
    pthread_t thread;
} helper_t;

static void *helper_main(void *user)
{
    helper_t *helper = user;
    helper->body(helper->user);
    return NULL;
}

weir_code_t weir__kit_thread_start(const weir_host_t *abi, const char *name,
    void (*body)(void *user), void *user, void **out_thread)
{
    weir__kit_host_t *host = (weir__kit_host_t *)(uintptr_t)abi;
    (void)name;
    if (!host->has_device)
        return abi->fail(abi, WEIR_UNSUPPORTED, "helper threads are for devices");
    helper_t *helper = malloc(sizeof *helper);
    if (!helper)
        return WEIR_RESOURCE_EXHAUSTED;
    *helper = (helper_t){.body = body, .user = user};
    if (pthread_create(&helper->thread, NULL, helper_main, helper)) {
        free(helper);
        return WEIR_RESOURCE_EXHAUSTED;
    }
    atomic_fetch_add(&host->thread_count, 1);
    *out_thread = helper;
    return WEIR_OK;
}

void weir__kit_thread_join(const weir_host_t *abi, void *thread)
{
    weir__kit_host_t *host = (weir__kit_host_t *)(uintptr_t)abi;
    helper_t *helper = thread;
    if (!helper)
        return;
    pthread_join(helper->thread, NULL);
    atomic_fetch_sub(&host->thread_count, 1);
    free(helper);
}
