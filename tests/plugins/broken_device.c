// tests/plugins/broken_device.c: a device that keeps every rule of <weir/plugin.h>, but for the one
// that WEIR_BROKEN names.
//
// L2, memory of its own, a thread for each queue, claims Relu of f32. conform_test.py runs the kit
// on it once per rule. It must do nothing wrong that it was not told to.
#include <weir/plugin.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BUFFERS 512
#define ENTRIES 256
#define TENSORS 8
#define REGIONS 16

static int breaks(const char *rule)
{
    const char *broken = getenv("WEIR_BROKEN");
    return broken && strcmp(broken, rule) == 0;
}

typedef struct device {
    const weir_host_t *host;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    void *buffers[BUFFERS]; // handle: place + 1
    int pinned[BUFFERS];
    uint64_t sizes[BUFFERS], used;
    uint64_t reached[64]; // of the host's timelines, as this device signalled them
    uint32_t queue_count;
} device_t;

typedef struct specialization {
    device_t *device;
    uint64_t count;
    int doubled; // a loaded program that gives another answer
} specialization_t;

typedef struct entry {
    weir_copy_region_t regions[REGIONS];
    uint32_t region_count;
    specialization_t *specialization; // NULL: a copy
    weir_binding_t from, to;
    weir_timeline_point_t wait, signal;
} entry_t;

typedef struct queue {
    device_t *device;
    entry_t entries[ENTRIES];
    uint64_t first, last; // entries that wait, and end
    int is_ending;
    uint32_t number;
    void *thread;
} queue_t;

// What is under way takes time.
static void take_ms(long ms)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += ms * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&lock);
    while (pthread_cond_timedwait(&never, &lock, &until) == 0)
        ;
    pthread_mutex_unlock(&lock);
}

// ---- The work ----------------------------------------------------------------------------------

static char *at(device_t *device, const weir_binding_t *binding)
{
    if (!binding->buffer)
        return binding->pointer;
    if (device->pinned[binding->buffer - 1]) // there is such a buffer for "pinned_pointer" alone
        return binding->pointer;
    return (char *)device->buffers[binding->buffer - 1] +
           (breaks("copy_offset") ? 0 : binding->offset);
}

static void work(device_t *device, const entry_t *entry)
{
    uint32_t count = breaks("copy_first") ? WEIR_MIN(entry->region_count, 1u) : entry->region_count;
    for (uint32_t i = 0; i < count; i++)
        memmove(at(device, &entry->regions[i].to), at(device, &entry->regions[i].from),
            entry->regions[i].to.bytes);
    if (!entry->specialization)
        return;
    const float *x = (const float *)(const void *)at(device, &entry->from);
    float *y = (float *)(void *)at(device, &entry->to);
    for (uint64_t i = 0; i < entry->specialization->count; i++)
        y[i] = x[i] < 0 && !breaks("value") ? 0 : entry->specialization->doubled ? 2 * x[i] : x[i];
    if (breaks("write_outside"))
        y[entry->specialization->count + 15] = 1;
}

static void signal_point(device_t *device, weir_timeline_point_t point)
{
    const weir_host_t *host = device->host;
    if (breaks("signal_missing"))
        return;
    if (breaks("signal_unasked"))
        point.value += 100;
    host->timeline_signal(host, point.timeline, point.value);
    if (breaks("signal_twice"))
        host->timeline_signal(host, point.timeline, point.value);
}

static int may_begin(const device_t *device, const entry_t *entry)
{
    return !entry->wait.timeline || breaks("wait_ignored") ||
           device->reached[entry->wait.timeline] >= entry->wait.value;
}

static void queue_main(void *user)
{
    queue_t *queue = user;
    device_t *device = queue->device;
    pthread_mutex_lock(&device->lock);
    for (;;) {
        while (
            !queue->is_ending && (queue->first == queue->last ||
                                     !may_begin(device, &queue->entries[queue->first % ENTRIES])))
            pthread_cond_wait(&device->changed, &device->lock);
        if (queue->first == queue->last)
            break;
        entry_t *entry = &queue->entries[queue->first % ENTRIES];
        pthread_mutex_unlock(&device->lock);
        if (breaks("wait_ignored") && queue->number == 0)
            take_ms(2);
        if (breaks("signal_early") && entry->region_count && !entry->regions[0].to.buffer) {
            signal_point(device, entry->signal);
            take_ms(20);
            work(device, entry);
        } else {
            work(device, entry);
            signal_point(device, entry->signal);
        }
        pthread_mutex_lock(&device->lock);
        device->reached[entry->signal.timeline] = entry->signal.value;
        queue->first++;
        pthread_cond_broadcast(&device->changed);
    }
    pthread_mutex_unlock(&device->lock);
}

// ---- The device --------------------------------------------------------------------------------

static weir_code_t enumerate(const weir_host_t *host, uint32_t index, weir_device_info_t *out)
{
    (void)host;
    if (index > 0 && !breaks("enumerate_endless"))
        return WEIR_NOT_FOUND;
    snprintf(out->name, sizeof out->name, "a device");
    snprintf(out->arch, sizeof out->arch, "any");
    if (breaks("enumerate_overrun"))
        memset((char *)out + sizeof *out, 0, 4);
    return WEIR_OK;
}

static void *own_main(void *user)
{
    return user;
}

static weir_code_t device_open(const weir_host_t *host, uint32_t index, weir_handle_t *out)
{
    (void)index;
    device_t *device = host->alloc(host, sizeof *device);
    if (!device)
        return WEIR_RESOURCE_EXHAUSTED;
    memset(device, 0, sizeof *device);
    device->host = host;
    pthread_mutex_init(&device->lock, NULL);
    pthread_cond_init(&device->changed, NULL);
    pthread_t thread;
    if (breaks("open_thread") && !pthread_create(&thread, NULL, own_main, NULL))
        pthread_join(thread, NULL);
    *out = (weir_handle_t)(uintptr_t)device;
    return WEIR_OK;
}

static void device_close(weir_handle_t handle)
{
    device_t *device = (device_t *)(uintptr_t)handle;
    for (uint32_t i = 0; i < BUFFERS && !breaks("close_keeps_buffers"); i++)
        free(device->buffers[i]);
    pthread_mutex_destroy(&device->lock);
    pthread_cond_destroy(&device->changed);
    if (!breaks("close_leaks"))
        device->host->free(device->host, device);
}

static weir_code_t buffer_alloc(
    weir_handle_t handle, uint32_t memory, uint64_t bytes, weir_handle_t *out)
{
    device_t *device = (device_t *)(uintptr_t)handle;
    uint32_t i = 0;
    int is_pinned = memory == WEIR_MEMORY_PINNED && breaks("pinned_pointer");
    if (memory != WEIR_MEMORY_DEVICE && !is_pinned)
        return WEIR_UNSUPPORTED;
    if (bytes > (1u << 30))
        return breaks("alloc_code") ? WEIR_INTERNAL : WEIR_RESOURCE_EXHAUSTED;
    while (i < BUFFERS && device->buffers[i])
        i++;
    if (i == BUFFERS || !(device->buffers[i] = malloc(bytes + 256)))
        return WEIR_RESOURCE_EXHAUSTED;
    device->sizes[i] = bytes;
    device->pinned[i] = is_pinned;
    if (!breaks("memory_info"))
        device->used += bytes;
    *out = breaks("alloc_handles") ? 1 : i + 1;
    return WEIR_OK;
}

static void buffer_free(weir_handle_t handle, weir_handle_t buffer)
{
    device_t *device = (device_t *)(uintptr_t)handle;
    if (!buffer)
        return;
    if (!breaks("memory_info"))
        device->used -= device->sizes[buffer - 1];
    free(device->buffers[buffer - 1]);
    device->buffers[buffer - 1] = NULL;
}

static weir_code_t buffer_map(weir_handle_t handle, weir_handle_t buffer, void **out)
{
    *out = ((device_t *)(uintptr_t)handle)->buffers[buffer - 1];
    return WEIR_OK;
}

static void buffer_unmap(weir_handle_t handle, weir_handle_t buffer)
{
    (void)handle, (void)buffer;
}

static weir_code_t memory_info(weir_handle_t handle, uint64_t *out_used, uint64_t *out_total)
{
    *out_used = ((device_t *)(uintptr_t)handle)->used;
    *out_total = 1u << 30;
    return WEIR_OK;
}

static weir_code_t queue_create(weir_handle_t handle, weir_handle_t *out)
{
    device_t *device = (device_t *)(uintptr_t)handle;
    queue_t *queue = device->host->alloc(device->host, sizeof *queue);
    if (!queue)
        return WEIR_RESOURCE_EXHAUSTED;
    memset(queue, 0, sizeof *queue);
    queue->device = device;
    queue->number = device->queue_count++;
    *out = (weir_handle_t)(uintptr_t)queue;
    return device->host->thread_start(device->host, "queue", queue_main, queue, &queue->thread);
}

static void queue_destroy(weir_handle_t handle, weir_handle_t number)
{
    device_t *device = (device_t *)(uintptr_t)handle;
    queue_t *queue = (queue_t *)(uintptr_t)number;
    pthread_mutex_lock(&device->lock);
    queue->is_ending = 1;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    if (breaks("thread_left"))
        return;
    device->host->thread_join(device->host, queue->thread);
    device->host->free(device->host, queue);
}

// ---- Given to a queue --------------------------------------------------------------------------

static weir_code_t give(queue_t *queue, const entry_t *entry)
{
    device_t *device = queue->device;
    weir_code_t code = WEIR_OK;
    pthread_mutex_lock(&device->lock);
    if (queue->last - queue->first == ENTRIES)
        code = WEIR_RESOURCE_EXHAUSTED;
    else
        queue->entries[queue->last++ % ENTRIES] = *entry;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    return code;
}

static weir_code_t copy(weir_handle_t queue, const weir_copy_region_t *regions, uint32_t count,
    const weir_timeline_point_t *waits, uint32_t wait_count, const weir_timeline_point_t *signals,
    uint32_t signal_count)
{
    entry_t entry = {.region_count = count};
    if (count > REGIONS || wait_count > 1 || signal_count != 1)
        return WEIR_UNSUPPORTED;
    if (count)
        memcpy(entry.regions, regions, count * sizeof *regions);
    if (wait_count)
        entry.wait = waits[0];
    entry.signal = signals[0];
    return give((queue_t *)(uintptr_t)queue, &entry);
}

// ---- Programs ----------------------------------------------------------------------------------

typedef struct program {
    device_t *device;
    int doubled;
} program_t;

typedef struct recording {
    weir_binding_t from, to;
} recording_t;

static weir_code_t claim(weir_handle_t device, const weir_slice_t *graph, weir_claim_t *claims)
{
    static uint32_t asked;
    (void)device;
    for (uint32_t i = 0; i < graph->node_count; i++) {
        const weir_node_t *node = &graph->nodes[i].node;
        claims[i].claimed = strcmp(node->op, "Relu") == 0 && node->inputs[0].dtype == WEIR_F32;
        claims[i].cost_ns = breaks("claim_impure") ? ++asked : 1000;
        if (!claims[i].claimed && !breaks("claim_reason"))
            snprintf(claims[i].reason, sizeof claims[i].reason, "takes Relu of f32 alone");
    }
    return WEIR_OK;
}

static weir_code_t compile(weir_handle_t device, const weir_slice_t *slice, weir_handle_t *out)
{
    (void)slice;
    program_t *program = malloc(sizeof *program);
    if (!program)
        return WEIR_RESOURCE_EXHAUSTED;
    *program = (program_t){.device = (device_t *)(uintptr_t)device};
    *out = (weir_handle_t)(uintptr_t)program;
    return WEIR_OK;
}

static void program_release(weir_handle_t program)
{
    free((void *)(uintptr_t)program);
}

static weir_code_t program_info(weir_handle_t program, weir_program_info_t *out)
{
    (void)program;
    out->replay = WEIR_REPLAY_REBIND;
    return WEIR_OK;
}

static const char artifact[] = "relu of f32, first build";

static weir_code_t program_save(weir_handle_t program, void *to, uint64_t *inout_bytes)
{
    (void)program;
    if (to)
        memcpy(to, artifact, WEIR_MIN(sizeof artifact, *inout_bytes));
    *inout_bytes = sizeof artifact;
    return WEIR_OK;
}

static weir_code_t artifact_check(weir_handle_t device, const void *data, uint64_t bytes)
{
    (void)device;
    if (breaks("artifact_stale"))
        return WEIR_OK;
    return bytes == sizeof artifact && memcmp(data, artifact, bytes) == 0 ? WEIR_OK
                                                                          : WEIR_DATA_LOSS;
}

static weir_code_t program_load(weir_handle_t device, const weir_slice_t *slice, const void *data,
    uint64_t bytes, weir_handle_t *out)
{
    (void)data, (void)bytes;
    weir_code_t code = compile(device, slice, out);
    if (code == WEIR_OK)
        ((program_t *)(uintptr_t)*out)->doubled = breaks("artifact_other");
    return code;
}

static weir_code_t specialize(
    weir_handle_t handle, const weir_slice_t *slice, weir_specialized_t *out)
{
    const program_t *program = (const program_t *)(uintptr_t)handle;
    specialization_t *made = malloc(sizeof *made);
    if (!made)
        return WEIR_RESOURCE_EXHAUSTED;
    *made = (specialization_t){.device = program->device,
        .count = slice->tensors[1].element_count,
        .doubled = program->doubled};
    out->specialization = (weir_handle_t)(uintptr_t)made;
    return WEIR_OK;
}

static void specialization_release(weir_handle_t handle)
{
    specialization_t *made = (specialization_t *)(uintptr_t)handle;
    device_t *device = made->device;
    if (breaks("release_early")) {
        memset(made, 0xFF, sizeof *made); // what is under way reads it still
        return;
    }
    // All that was given before has ended when this much has: queues are few and short.
    pthread_mutex_lock(&device->lock);
    pthread_mutex_unlock(&device->lock);
    take_ms(20);
    free(made);
}

static weir_code_t record(weir_handle_t specialization, const weir_binding_t *bindings,
    uint32_t count, weir_handle_t *out)
{
    (void)specialization;
    recording_t *recording = malloc(sizeof *recording);
    if (!recording || count < 2)
        return WEIR_RESOURCE_EXHAUSTED;
    *recording = (recording_t){.from = bindings[0], .to = bindings[1]};
    *out = (weir_handle_t)(uintptr_t)recording;
    return WEIR_OK;
}

static void recording_release(weir_handle_t recording)
{
    free((void *)(uintptr_t)recording);
}

static weir_code_t launch(weir_handle_t queue, const weir_launch_t *launch_)
{
    static void *volatile kept; // or the compiler takes the pair away
    const recording_t *recording = (const recording_t *)(uintptr_t)launch_->recording;
    entry_t entry = {.specialization = (specialization_t *)(uintptr_t)launch_->specialization,
        .from = launch_->bindings[0],
        .to = launch_->bindings[1],
        .signal = launch_->signals[0]};
    if (recording && breaks("record_stale"))
        entry.to = recording->to;
    if (breaks("launch_allocates"))
        kept = malloc(64), free(kept);
    if (breaks("launch_waits"))
        take_ms(1);
    return give((queue_t *)(uintptr_t)queue, &entry);
}

static weir_code_t device_clock(weir_handle_t device, uint64_t *out_device, uint64_t *out_host)
{
    static uint64_t falling = 1u << 30;
    struct timespec now;
    (void)device;
    clock_gettime(CLOCK_MONOTONIC, &now);
    *out_host = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    *out_device = breaks("clock_back") ? falling-- : *out_host / 2;
    return WEIR_OK;
}

// ---- The plugin --------------------------------------------------------------------------------

static const weir_device_table_t table = {.head = WEIR_HEAD(weir_device_table_t),
    .enumerate = enumerate,
    .open = device_open,
    .close = device_close,
    .alloc = buffer_alloc,
    .free = buffer_free,
    .map = buffer_map,
    .unmap = buffer_unmap,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .copy = copy,
    .memory_info = memory_info,
    .claim = claim,
    .compile = compile,
    .program_release = program_release,
    .program_info = program_info,
    .program_save = program_save,
    .artifact_check = artifact_check,
    .program_load = program_load,
    .specialize = specialize,
    .specialization_release = specialization_release,
    .record = record,
    .recording_release = recording_release,
    .launch = launch,
    .clock = device_clock};

static const weir_device_table_t no_launch = {.head = WEIR_HEAD(weir_device_table_t),
    .enumerate = enumerate,
    .open = device_open,
    .close = device_close,
    .compile = compile,
    .program_release = program_release,
    .specialize = specialize,
    .specialization_release = specialization_release};

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = "broken_device",
    .version = "0.1.0",
    .build = "1",
    .device = &table};
static const weir_plugin_t plugin_no_launch = {.head = WEIR_PLUGIN_HEAD,
    .name = "broken_device",
    .version = "0.1.0",
    .build = "1",
    .device = &no_launch};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return breaks("no_launch") ? &plugin_no_launch : &plugin;
}
