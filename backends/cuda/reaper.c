// backends/cuda/reaper.c: the one thread of a device that waits for it: polls events, signals
// timelines.
//
// The first operation of each queue is asked for; what has ended is taken off, its errors are read,
// its records are given to the engine and its points signalled. A thread that launches never waits
// for the device. Between two looks it gives way, and after a while sleeps for some microseconds;
// with nothing under way it waits for the condition. Must not hold the lock while it calls out.
#include "backends/cuda/cuda.h"

#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HEADS_MAX 64      // queues that are looked at in one round
#define EAGER_ROUNDS 2000 // rounds without an end before it begins to sleep
#define SLEEP_NS 20000

typedef struct ended {
    weir_code_t code;
    char text[WEIR_REASON_BYTES];
} ended_t;

// ---- What an operation leaves -------------------------------------------------------------------

static void read_word(const weir_cuda_operation_t *operation, ended_t *ended)
{
    if (!operation->word)
        return;
    uint32_t word = __atomic_exchange_n(operation->word, 0, __ATOMIC_ACQUIRE);
    if (!word || ended->code != WEIR_OK)
        return;
    ended->code = WEIR_INVALID_ARGUMENT;
    snprintf(ended->text, sizeof ended->text, "%s",
        word & WEIR_CUDA_BAD_INDEX ? "an index is out of range" : "an integer is divided by 0");
}

// The device's clock is the host's: the end is when it was seen, the rest is the events' distance
// from there.
static void trace(weir_cuda_device_t *device, const weir_cuda_operation_t *operation)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    uint64_t end_ns = weir_cuda_now_ns();
    uint32_t last = operation->stamp_count - 1;
    uint64_t before_ns = 0;
    for (uint32_t i = 0; i <= last; i++) {
        float ms = 0;
        if (driver->cuEventElapsedTime(&ms, operation->stamps[i], operation->stamps[last]) !=
            CUDA_SUCCESS)
            return;
        uint64_t to_end_ns = ms > 0 ? (uint64_t)((double)ms * 1e6) : 0;
        if (i > 0) {
            weir_trace_record_t record = {.head = WEIR_HEAD(weir_trace_record_t),
                .launch_id = operation->launch_id,
                .node = operation->stamp_nodes[i - 1],
                .start_ns = end_ns - before_ns,
                .end_ns = end_ns - to_end_ns};
            device->host->trace(device->host, &record, 1);
        }
        before_ns = to_end_ns;
    }
}

static void announce(
    weir_cuda_device_t *device, const weir_cuda_operation_t *operation, const ended_t *ended)
{
    const weir_host_t *host = device->host;
    for (uint32_t i = 0; i < operation->signal_count; i++) {
        const weir_timeline_point_t *point = &operation->signals[i];
        if (ended->code == WEIR_OK)
            (void)host->timeline_signal(host, point->timeline, point->value);
        else
            (void)host->timeline_fail(host, point->timeline, ended->code, ended->text);
    }
}

// An operation that is off its queue.
static void finish(weir_cuda_device_t *device, weir_cuda_operation_t *operation, ended_t *ended)
{
    if (operation->failure != WEIR_OK && ended->code == WEIR_OK) {
        ended->code = operation->failure;
        memcpy(ended->text, operation->failure_text, sizeof ended->text);
    }
    read_word(operation, ended);
    if (ended->code == WEIR_OK && operation->stamp_count > 1 && device->host->trace)
        trace(device, operation);
    announce(device, operation, ended);
    weir_cuda_operation_drop(operation);
}

// ---- Rounds -------------------------------------------------------------------------------------

// Takes the first operation off its queue. Under the lock.
static void take_off(weir_cuda_device_t *device, weir_cuda_operation_t *operation)
{
    weir_cuda_queue_t *queue = operation->queue;
    queue->first = operation->next;
    if (!queue->first)
        queue->last = &queue->first;
    device->finishing = operation;
}

// The first operation of each queue. Only this thread takes them off, so that they stay. Under the
// lock.
static uint32_t list_heads(
    const weir_cuda_device_t *device, weir_cuda_operation_t *heads[HEADS_MAX])
{
    uint32_t count = 0;
    for (weir_cuda_queue_t *queue = device->queues; queue && count < HEADS_MAX; queue = queue->next)
        if (queue->first)
            heads[count++] = queue->first;
    return count;
}

// Has it ended? How: in out_ended.
static bool has_ended(
    weir_cuda_device_t *device, const weir_cuda_operation_t *operation, ended_t *out_ended)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    *out_ended = (ended_t){.code = WEIR_OK};
    if (!atomic_load(&device->is_lost)) {
        const bool is_by_stream = operation->is_without_event;
        const char *call = is_by_stream ? "cuStreamQuery" : "cuEventQuery";
        CUresult result = is_by_stream ? driver->cuStreamQuery(operation->queue->stream)
                                       : driver->cuEventQuery(operation->event);
        if (result == CUDA_ERROR_NOT_READY)
            return false;
        const char *name = NULL;
        if (result != CUDA_SUCCESS)
            (void)driver->cuGetErrorName(result, &name);
        // What cannot be asked may still run, in memory that the engine would give away: the device
        // is lost, whatever the error.
        if (weir_cuda_check(device, result, call) != WEIR_OK) {
            char text[WEIR_REASON_BYTES];
            snprintf(text, sizeof text, "%s: %s", call, name ? name : "");
            weir_cuda_lose(device, text);
        }
    }
    if (atomic_load(&device->is_lost)) {
        out_ended->code = WEIR_DEVICE_LOST;
        pthread_mutex_lock(&device->lock);
        memcpy(out_ended->text, device->lost_text, sizeof out_ended->text);
        pthread_mutex_unlock(&device->lock);
    }
    return true;
}

static void rest(uint32_t *inout_rounds)
{
    const struct timespec nap = {0, SLEEP_NS};
    if (++*inout_rounds < EAGER_ROUNDS)
        sched_yield();
    else
        nanosleep(&nap, NULL);
}

void weir_cuda_reaper_main(void *user)
{
    weir_cuda_device_t *device = user;
    weir_cuda_operation_t *heads[HEADS_MAX];
    uint32_t rounds = 0;
    ended_t ended;
    // Somebody else's capture may forbid other threads to ask for events; this one never captures.
    CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
    // Without its context the thread cannot ask for anything.
    CUresult result = device->state->driver.cuCtxPushCurrent(device->context);
    if (weir_cuda_check(device, result, "cuCtxPushCurrent") != WEIR_OK)
        weir_cuda_lose(device, "the reaper's thread has no context");
    (void)device->state->driver.cuThreadExchangeStreamCaptureMode(&mode);
    pthread_mutex_lock(&device->lock);
    while (!device->is_stopping) {
        uint32_t count = list_heads(device, heads), ends = 0;
        if (!count) {
            rounds = 0;
            pthread_cond_wait(&device->changed, &device->lock);
            continue;
        }
        pthread_mutex_unlock(&device->lock);
        for (uint32_t i = 0; i < count; i++) {
            if (!has_ended(device, heads[i], &ended))
                continue;
            pthread_mutex_lock(&device->lock);
            take_off(device, heads[i]);
            pthread_mutex_unlock(&device->lock);
            finish(device, heads[i], &ended);
            ends++;
        }
        if (ends)
            rounds = 0;
        else
            rest(&rounds);
        pthread_mutex_lock(&device->lock);
    }
    pthread_mutex_unlock(&device->lock);
}

// ---- Waiting for it -----------------------------------------------------------------------------

static bool is_of(const weir_cuda_operation_t *operation,
    const weir_cuda_specialization_t *specialization, const weir_cuda_recording_t *recording,
    const weir_cuda_queue_t *queue)
{
    if (specialization)
        return operation->specialization == specialization;
    if (recording)
        return operation->recording == recording;
    return !queue || operation->queue == queue;
}

void weir_cuda_reaper_wait(weir_cuda_device_t *device,
    const weir_cuda_specialization_t *specialization, const weir_cuda_recording_t *recording,
    const weir_cuda_queue_t *queue)
{
    pthread_mutex_lock(&device->lock);
    for (;;) {
        const weir_cuda_operation_t *finishing = device->finishing;
        bool is_there = finishing && is_of(finishing, specialization, recording, queue);
        for (weir_cuda_queue_t *each = device->queues; each && !is_there; each = each->next)
            for (weir_cuda_operation_t *operation = each->first; operation && !is_there;
                 operation = operation->next)
                is_there = is_of(operation, specialization, recording, queue);
        if (!is_there)
            break;
        pthread_cond_wait(&device->changed, &device->lock);
    }
    pthread_mutex_unlock(&device->lock);
}
