// tests/support/async/weir_async.c: an asynchronous device for tests.
//
// It works on host memory with the reference kernels, but later, on a thread of its own, as an
// accelerator would: launch() only queues. Options make it misbehave: answer late, never, with a
// failure, or not before a number of launches has gathered (which shows that no thread of the
// engine is blocked on an earlier one). It refuses some operators, so that a model alternates
// between it and the host.
#include "backends/ref/ref_plugin.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NODES_MAX 64
#define TENSORS_MAX 256

typedef struct program {
    struct device *device;
} program_t;

typedef struct specialization {
    struct device *device;
    const weir_slice_t *slice;
} specialization_t;

typedef struct entry {
    struct entry *next;
    specialization_t *specialization;
    weir_binding_t bindings[TENSORS_MAX];
    weir_timeline_point_t signal;
    struct timespec due;
    uint64_t number; // 1 …
} entry_t;

typedef struct device {
    const weir_host_t *host;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *thread;
    bool stopping;
    entry_t *first; // in the order of arrival
    entry_t *running;
    uint64_t launches, queued;
    uint64_t delay_us, gate, hang, fail, late_us, spare;
    const char *refuse;
} device_t;

static uint64_t number_option(const weir_host_t *host, const char *name)
{
    const char *text = host->option(host, name);
    return text ? strtoull(text, NULL, 10) : 0;
}

// ---- The device's thread -----------------------------------------------------------------------

static weir_code_t compute(
    device_t *device, const entry_t *entry, char *error, uint32_t error_bytes)
{
    const weir_slice_t *slice = entry->specialization->slice;
    weir_code_t code = WEIR_OK;
    for (uint32_t n = 0; n < slice->node_count && code == WEIR_OK; n++) {
        const weir_slice_node_t *node = &slice->nodes[n];
        weir_tensor_t tensors[64];
        weir_node_t view = node->node;
        uint32_t inputs = view.input_count;
        memcpy(tensors, view.inputs, inputs * sizeof tensors[0]);
        memcpy(tensors + inputs, view.outputs, view.output_count * sizeof tensors[0]);
        for (uint32_t i = 0; i < inputs; i++)
            if (node->inputs[i] != UINT32_MAX)
                tensors[i].data = entry->bindings[node->inputs[i]].pointer;
        for (uint32_t i = 0; i < view.output_count; i++)
            if (node->outputs[i] != UINT32_MAX)
                tensors[inputs + i].data = entry->bindings[node->outputs[i]].pointer;
        view.inputs = tensors;
        view.outputs = tensors + inputs;
        view.op = view.body ? "Pointwise" : view.op;
        code = weir_ref_run(device->host, &view, error, error_bytes);
    }
    return code;
}

static bool is_due(const entry_t *entry)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec > entry->due.tv_sec ||
           (now.tv_sec == entry->due.tv_sec && now.tv_nsec >= entry->due.tv_nsec);
}

// The first entry that may be answered; *out_until: when to look again (0: when something changes).
static entry_t *next_entry(device_t *device, struct timespec *out_until)
{
    *out_until = (struct timespec){0};
    if (device->queued < device->gate)
        return NULL;
    device->gate = 0; // open for good
    for (entry_t **link = &device->first; *link; link = &(*link)->next) {
        entry_t *entry = *link;
        if (entry->number == device->hang)
            continue;
        if (is_due(entry)) {
            *link = entry->next;
            device->queued--;
            return entry;
        }
        if (!out_until->tv_sec || entry->due.tv_sec < out_until->tv_sec ||
            (entry->due.tv_sec == out_until->tv_sec && entry->due.tv_nsec < out_until->tv_nsec))
            *out_until = entry->due;
    }
    return NULL;
}

static void answer(device_t *device, entry_t *entry)
{
    char error[WEIR_REASON_BYTES] = "";
    weir_code_t code = WEIR_OK;
    if (entry->number == device->fail) {
        code = device->spare ? WEIR_INTERNAL : WEIR_DEVICE_LOST;
        snprintf(
            error, sizeof error, "launch %llu was made to fail", (unsigned long long)entry->number);
    } else {
        code = compute(device, entry, error, sizeof error);
    }
    const weir_host_t *host = device->host;
    if (code == WEIR_OK) {
        // Twice: the second one must do no harm.
        host->timeline_signal(host, entry->signal.timeline, entry->signal.value);
        host->timeline_signal(host, entry->signal.timeline, entry->signal.value);
    } else {
        host->timeline_fail(host, entry->signal.timeline, code, error);
    }
}

static void device_main(void *user)
{
    device_t *device = user;
    pthread_mutex_lock(&device->lock);
    while (!device->stopping) {
        struct timespec until;
        entry_t *entry = next_entry(device, &until);
        if (entry) {
            device->running = entry;
            pthread_mutex_unlock(&device->lock);
            answer(device, entry);
            pthread_mutex_lock(&device->lock);
            device->running = NULL;
            pthread_cond_broadcast(&device->changed);
            free(entry);
        } else if (until.tv_sec) {
            pthread_cond_timedwait(&device->changed, &device->lock, &until);
        } else {
            pthread_cond_wait(&device->changed, &device->lock);
        }
    }
    pthread_mutex_unlock(&device->lock);
}

// ---- The device table --------------------------------------------------------------------------

static weir_code_t async_enumerate(
    const weir_host_t *host, uint32_t index, weir_device_info_t *out_info)
{
    (void)host;
    if (index)
        return WEIR_NOT_FOUND;
    out_info->head.flags = WEIR_DEVICE_HOST_MEMORY;
    snprintf(out_info->name, sizeof out_info->name, "a device for tests that answers later");
    return WEIR_OK;
}

static weir_code_t async_open(const weir_host_t *host, uint32_t index, weir_handle_t *out_device)
{
    (void)index;
    device_t *device = calloc(1, sizeof *device);
    if (!device)
        return WEIR_RESOURCE_EXHAUSTED;
    device->host = host;
    device->delay_us = number_option(host, "delay_us");
    device->gate = number_option(host, "gate");
    device->hang = number_option(host, "hang");
    device->fail = number_option(host, "fail");
    device->spare = number_option(host, "spare");
    device->late_us = number_option(host, "late_us");
    device->refuse = host->option(host, "refuse");
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&device->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&device->lock, NULL);
    weir_code_t code = host->thread_start(host, "async", device_main, device, &device->thread);
    if (code != WEIR_OK) {
        free(device);
        return code;
    }
    *out_device = (weir_handle_t)(uintptr_t)device;
    return WEIR_OK;
}

static void async_close(weir_handle_t handle)
{
    device_t *device = (device_t *)(uintptr_t)handle;
    pthread_mutex_lock(&device->lock);
    device->stopping = true;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    device->host->thread_join(device->host, device->thread);
    while (device->first) {
        entry_t *entry = device->first;
        device->first = entry->next;
        free(entry);
    }
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->lock);
    free(device);
}

// The kernel of the reference table for a node, or NULL.
static const weir_kernel_t *find_kernel(const weir_node_t *node)
{
    const weir_plugin_t *ref = weir_ref_plugin(NULL);
    const char *op = node->body ? "Pointwise" : node->op;
    for (uint32_t i = 0; i < ref->kernels.count; i++) {
        const weir_kernel_t *kernel =
            (const weir_kernel_t *)(const void *)((const char *)ref->kernels.data +
                                                  (size_t)i * ref->kernels.stride);
        if (strcmp(kernel->op, op) == 0)
            return kernel;
    }
    return NULL;
}

static weir_code_t async_claim(
    weir_handle_t handle, const weir_slice_t *graph, weir_claim_t *claims)
{
    const device_t *device = (const device_t *)(uintptr_t)handle;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        weir_node_t view = graph->nodes[i].node;
        const weir_kernel_t *kernel = find_kernel(&view);
        weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
        bool refused = device->refuse && strcmp(device->refuse, view.op) == 0;
        view.op = view.body ? "Pointwise" : view.op;
        claims[i].claimed = !refused && kernel && view.input_count + view.output_count <= 64 &&
                            (!kernel->supports || kernel->supports(&view, &answer) == WEIR_OK);
        snprintf(claims[i].reason, sizeof claims[i].reason, "%s",
            refused ? "was told to refuse it" : answer.reason);
    }
    return WEIR_OK;
}

static weir_code_t async_compile(
    weir_handle_t handle, const weir_slice_t *slice, weir_handle_t *out_program)
{
    device_t *device = (device_t *)(uintptr_t)handle;
    if (slice->tensor_count > TENSORS_MAX)
        return device->host->fail(device->host, WEIR_UNSUPPORTED,
            "a slice of %u tensors, at most %d", slice->tensor_count, TENSORS_MAX);
    program_t *program = calloc(1, sizeof *program);
    if (!program)
        return WEIR_RESOURCE_EXHAUSTED;
    program->device = device;
    *out_program = (weir_handle_t)(uintptr_t)program;
    return WEIR_OK;
}

static void async_program_release(weir_handle_t program)
{
    free((void *)(uintptr_t)program);
}

static weir_code_t async_specialize(
    weir_handle_t program, const weir_slice_t *slice, weir_specialized_t *out_specialized)
{
    specialization_t *made = calloc(1, sizeof *made);
    if (!made)
        return WEIR_RESOURCE_EXHAUSTED;
    *made = (specialization_t){.device = ((program_t *)(uintptr_t)program)->device, .slice = slice};
    out_specialized->specialization = (weir_handle_t)(uintptr_t)made;
    return WEIR_OK;
}

// Forgets launches that are not answered yet and waits for the one that is being computed.
static void async_specialization_release(weir_handle_t handle)
{
    specialization_t *specialization = (specialization_t *)(uintptr_t)handle;
    device_t *device = specialization->device;
    pthread_mutex_lock(&device->lock);
    for (entry_t **link = &device->first; *link;) {
        entry_t *entry = *link;
        if (entry->specialization != specialization) {
            link = &entry->next;
            continue;
        }
        *link = entry->next;
        device->queued--;
        free(entry);
    }
    while (device->running && device->running->specialization == specialization)
        pthread_cond_wait(&device->changed, &device->lock);
    pthread_mutex_unlock(&device->lock);
    free(specialization);
}

static weir_code_t async_launch(weir_handle_t queue, const weir_launch_t *launch)
{
    (void)queue;
    specialization_t *specialization = (specialization_t *)(uintptr_t)launch->specialization;
    device_t *device = specialization->device;
    if (launch->binding_count > TENSORS_MAX || launch->wait_count || launch->signal_count != 1)
        return WEIR_UNSUPPORTED;
    entry_t *entry = calloc(1, sizeof *entry);
    if (!entry)
        return WEIR_RESOURCE_EXHAUSTED;
    entry->specialization = specialization;
    memcpy(entry->bindings, launch->bindings, launch->binding_count * sizeof *launch->bindings);
    entry->signal = launch->signals[0];
    pthread_mutex_lock(&device->lock);
    entry->number = ++device->launches;
    // Only the first launch is late, so that a test can see the ones after it do well.
    uint64_t delay_us = device->late_us && entry->number == 1 ? device->late_us : device->delay_us;
    clock_gettime(CLOCK_MONOTONIC, &entry->due);
    uint64_t ns = (uint64_t)entry->due.tv_nsec + delay_us % 1000000 * 1000;
    entry->due.tv_sec += (time_t)(delay_us / 1000000 + ns / 1000000000);
    entry->due.tv_nsec = (long)(ns % 1000000000);
    entry_t **link = &device->first;
    while (*link)
        link = &(*link)->next;
    *link = entry;
    device->queued++;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    return WEIR_OK;
}

// ---- The plugin --------------------------------------------------------------------------------

#define COUNT(name_, doc_)                                                                         \
    {                                                                                              \
        .head = WEIR_HEAD(weir_option_t), .name = name_, .default_value = "0", .doc = doc_,        \
        .type = WEIR_OPTION_INT, .min = 0, .max = 1000000000                                       \
    }

static const weir_option_t options[] = {
    COUNT("delay_us", "microseconds from a launch to its answer"),
    COUNT("late_us", "the same, for the first launch alone"),
    COUNT("gate", "nothing is answered before so many launches are queued"),
    COUNT("hang", "the launch of this number is never answered"),
    COUNT("fail", "the launch of this number loses the device"),
    COUNT("spare", "1: it only fails, and the device goes on"),
    {.head = WEIR_HEAD(weir_option_t),
        .name = "refuse",
        .default_value = "",
        .doc = "an operator that it does not take",
        .type = WEIR_OPTION_STRING},
};

static const weir_device_table_t table = {
    .head = WEIR_HEAD(weir_device_table_t),
    .enumerate = async_enumerate,
    .open = async_open,
    .close = async_close,
    .claim = async_claim,
    .compile = async_compile,
    .program_release = async_program_release,
    .specialize = async_specialize,
    .specialization_release = async_specialization_release,
    .launch = async_launch,
};

static const weir_plugin_t plugin = {
    .head = WEIR_PLUGIN_HEAD,
    .name = "async",
    .vendor = "weir",
    .version = "0.1.0",
    .build = "test",
    .options = WEIR_ARRAY(options),
    .device = &table,
};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
