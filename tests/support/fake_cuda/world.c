// tests/support/fake_cuda/world.c: the fake driver's world: call sites, faults, the thread that
// works streams off.
#include "tests/support/fake_cuda/driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SITES_MAX 512
#define RULES_MAX 16

typedef struct site {
    const char *name;
    const void *from;
    uint64_t calls;
    int result; // of a fault; 0: none
} site_t;

typedef struct rule {
    char name[64];
    uint64_t nth, seen;
    int result;
} rule_t;

fake_world_t fake_world = {.lock = PTHREAD_MUTEX_INITIALIZER,
    .changed = PTHREAD_COND_INITIALIZER,
    .device_count = 1,
    .arch = 90,
    .memory_bytes = 4ull << 30};
static site_t sites[SITES_MAX];
static uint32_t site_count;
static rule_t rules[RULES_MAX];
static uint32_t rule_count;

void fake_lock(void)
{
    pthread_mutex_lock(&fake_world.lock);
}

void fake_unlock(void)
{
    pthread_mutex_unlock(&fake_world.lock);
}

// ---- Sites and faults ---------------------------------------------------------------------------

static site_t *site_of(const char *name, const void *from)
{
    for (uint32_t i = 0; i < site_count; i++)
        if (sites[i].from == from && strcmp(sites[i].name, name) == 0)
            return &sites[i];
    if (site_count == SITES_MAX)
        abort(); // the test's table is too small
    sites[site_count] = (site_t){.name = name, .from = from};
    return &sites[site_count++];
}

int fake_cuda_enter(const char *name, const void *from)
{
    int result = 0;
    fake_lock();
    fake_world_start();
    site_t *site = site_of(name, from);
    site->calls++;
    result = site->result;
    for (uint32_t i = 0; i < rule_count; i++)
        if (strcmp(rules[i].name, name) == 0) {
            rules[i].seen++;
            if (rules[i].nth == FAKE_ALL || rules[i].seen == rules[i].nth)
                result = rules[i].result;
        }
    fake_unlock();
    return result;
}

void fake_cuda_reset(uint32_t device_count, uint64_t seed)
{
    fake_lock();
    fake_world_start();
    fake_world.device_count = device_count;
    fake_world.memory_bytes = 4ull << 30;
    fake_world.seed = seed;
    fake_world.kernels = fake_world.nodes = fake_world.kernel_to_fail = 0;
    fake_world.is_paused = fake_world.is_captured_elsewhere = false;
    fake_world.arch = 90;
    rule_count = 0;
    for (uint32_t i = 0; i < site_count; i++) {
        sites[i].calls = 0;
        sites[i].result = 0;
    }
    pthread_cond_broadcast(&fake_world.changed);
    fake_unlock();
}

void fake_cuda_memory(uint64_t bytes)
{
    fake_lock();
    fake_world.memory_bytes = bytes;
    fake_unlock();
}

void fake_cuda_arch(uint32_t arch)
{
    fake_lock();
    fake_world.arch = arch;
    fake_unlock();
}

void fake_cuda_capture_elsewhere(bool is_on)
{
    fake_lock();
    fake_world.is_captured_elsewhere = is_on;
    fake_unlock();
}

void fake_cuda_fail(const char *name, uint64_t nth, int result)
{
    fake_lock();
    if (rule_count == RULES_MAX)
        abort();
    rule_t *rule = &rules[rule_count++];
    *rule = (rule_t){.nth = nth, .result = result};
    (void)snprintf(rule->name, sizeof rule->name, "%s", name);
    fake_unlock();
}

void fake_cuda_fail_site(uint32_t site, int result)
{
    fake_lock();
    sites[site].result = result;
    fake_unlock();
}

void fake_cuda_fail_kernel(uint64_t nth, int result)
{
    fake_lock();
    fake_world.kernel_to_fail = fake_world.kernels + nth;
    fake_world.kernel_result = (CUresult)result;
    fake_unlock();
}

void fake_cuda_pause(bool is_paused)
{
    fake_lock();
    fake_world.is_paused = is_paused;
    pthread_cond_broadcast(&fake_world.changed);
    fake_unlock();
}

uint32_t fake_cuda_site_count(void)
{
    fake_lock();
    uint32_t count = site_count;
    fake_unlock();
    return count;
}

const char *fake_cuda_site(uint32_t site, uint64_t *out_calls, const void **out_from)
{
    fake_lock();
    const char *name = site < site_count ? sites[site].name : NULL;
    if (name) {
        *out_calls = sites[site].calls;
        *out_from = sites[site].from;
    }
    fake_unlock();
    return name;
}

uint64_t fake_cuda_count(const char *name)
{
    uint64_t count = 0;
    fake_lock();
    for (uint32_t i = 0; i < site_count; i++)
        if (strcmp(sites[i].name, name) == 0)
            count += sites[i].calls;
    if (strcmp(name, "kernel") == 0)
        count = fake_world.kernels;
    if (strcmp(name, "graph node") == 0)
        count = fake_world.nodes;
    fake_unlock();
    return count;
}

uint64_t fake_cuda_alive(void)
{
    fake_lock();
    uint64_t alive = fake_world.alive;
    fake_unlock();
    return alive;
}

void fake_cuda_forget(void)
{
    fake_lock();
    fake_world.alive = 0;
    fake_memory_forget();
    for (uint32_t i = 0; i < FAKE_DEVICES_MAX; i++)
        fake_world.contexts[i] = (fake_context_t){.device = i};
    fake_unlock();
}

// ---- Streams ------------------------------------------------------------------------------------

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static bool is_runnable(const fake_stream_t *stream)
{
    const fake_task_t *task = stream->first;
    return task && !stream->is_running &&
           (task->kind != FAKE_WAIT || task->event->reached >= task->ticket);
}

// One of the streams that can go on, by seed; NULL: none can.
static fake_stream_t *draw_stream(void)
{
    uint32_t count = 0;
    fake_stream_t *drawn = NULL;
    for (fake_stream_t *stream = fake_world.streams; stream; stream = stream->next) {
        if (!is_runnable(stream))
            continue;
        fake_world.seed = fake_world.seed * 6364136223846793005ull + 1442695040888963407ull;
        if ((fake_world.seed >> 33) % ++count == 0)
            drawn = stream;
    }
    return drawn;
}

// Does what the task says; the lock is let go while it runs. After a sticky error of the context
// only events go on.
static void do_task(fake_stream_t *stream, fake_task_t *task)
{
    if (task->kind == FAKE_RECORD) {
        task->event->reached = task->ticket;
        task->event->ns = now_ns();
        return;
    }
    if (task->kind != FAKE_RUN || stream->context->error)
        return;
    fake_world.kernels += task->is_kernel;
    if (task->is_kernel && fake_world.kernels == fake_world.kernel_to_fail) {
        stream->context->error = fake_world.kernel_result;
        return;
    }
    fake_unlock();
    task->run(task->data);
    fake_lock();
}

static void *work(void *unused)
{
    (void)unused;
    fake_lock();
    for (;;) {
        fake_stream_t *stream = fake_world.is_paused ? NULL : draw_stream();
        if (!stream) {
            pthread_cond_wait(&fake_world.changed, &fake_world.lock);
            continue;
        }
        fake_task_t *task = stream->first;
        stream->is_running = true;
        stream->first = task->next;
        if (!stream->first)
            stream->last = &stream->first;
        do_task(stream, task);
        stream->is_running = false;
        free(task);
        pthread_cond_broadcast(&fake_world.changed);
    }
    return NULL;
}

// The thread lives as long as the process: nobody unloads a driver.
void fake_world_start(void)
{
    if (fake_world.is_started)
        return;
    fake_world.is_started = true;
    const char *devices = getenv("WEIR_FAKE_CUDA_DEVICES");
    if (devices)
        fake_world.device_count = (uint32_t)strtoul(devices, NULL, 10);
    if (pthread_create(&fake_world.thread, NULL, work, NULL) != 0)
        abort();
    pthread_detach(fake_world.thread);
}

fake_task_t *fake_task_new(fake_task_kind_t kind, const void *data, size_t bytes)
{
    fake_task_t *task = calloc(1, sizeof *task + bytes);
    if (!task)
        return NULL;
    task->kind = kind;
    task->bytes = bytes;
    if (bytes)
        memcpy(task->data, data, bytes);
    return task;
}

CUresult fake_task_add(CUstream handle, fake_task_t *task)
{
    fake_stream_t *stream = (fake_stream_t *)handle;
    if (!task)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (!stream || stream->context->error) {
        CUresult result = stream ? stream->context->error : CUDA_ERROR_INVALID_HANDLE;
        free(task);
        return result;
    }
    if (stream->capture) {
        *stream->capture->last = task;
        stream->capture->last = &task->next;
        return CUDA_SUCCESS;
    }
    *stream->last = task;
    stream->last = &task->next;
    pthread_cond_broadcast(&fake_world.changed);
    return CUDA_SUCCESS;
}

int fake_cuda_enqueue(void *stream, void (*run)(const void *data), const void *data, size_t bytes)
{
    fake_task_t *task = fake_task_new(FAKE_RUN, data, bytes);
    if (task) {
        task->run = run;
        task->is_kernel = true;
    }
    fake_lock();
    CUresult result = fake_task_add(stream, task);
    fake_unlock();
    return (int)result;
}

void fake_wait(fake_context_t *context, fake_stream_t *stream)
{
    for (;;) {
        bool is_busy = false;
        for (fake_stream_t *each = fake_world.streams; each; each = each->next)
            if ((each == stream || (!stream && each->context == context)) &&
                (each->first || each->is_running))
                is_busy = true;
        if (!is_busy)
            return;
        pthread_cond_wait(&fake_world.changed, &fake_world.lock);
    }
}
