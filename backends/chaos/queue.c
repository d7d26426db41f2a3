// backends/chaos/queue.c: in-order queues, and the device's thread that works them off.
//
// A call only queues. The thread takes the first entry of a queue when what it waits for has been
// signalled and its time has come; queues do not wait for each other. What becomes of an entry (the
// schedule's fault) is decided then, once.
#include "backends/chaos/chaos.h"

#include <errno.h>
#include <string.h>
#include <time.h>

static weir_chaos_queue_t *queue_of(weir_handle_t handle)
{
    return (weir_chaos_queue_t *)(uintptr_t)handle;
}

weir_code_t weir_chaos_queue_create(weir_handle_t handle, weir_handle_t *out_queue)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_state_t *state = device->state;
    weir_code_t code = weir_chaos_enter(state, device, WEIR_CHAOS_QUEUE_CREATE);
    if (code != WEIR_OK)
        return code;
    weir_chaos_queue_t *queue = state->host->alloc(state->host, sizeof *queue);
    if (!queue)
        return WEIR_RESOURCE_EXHAUSTED;
    *queue = (weir_chaos_queue_t){.device = device};
    queue->last = &queue->first;
    pthread_mutex_lock(&state->lock);
    queue->next = device->queues;
    device->queues = queue;
    pthread_mutex_unlock(&state->lock);
    *out_queue = (weir_handle_t)(uintptr_t)queue;
    return WEIR_OK;
}

void weir_chaos_queue_destroy(weir_handle_t handle, weir_handle_t queue_handle)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_state_t *state = device->state;
    weir_chaos_queue_t *queue = queue_of(queue_handle);
    (void)weir_chaos_enter(state, device, WEIR_CHAOS_QUEUE_DESTROY);
    weir_chaos_forget(device, NULL, queue);
    pthread_mutex_lock(&state->lock);
    weir_chaos_queue_t **link = &device->queues;
    while (*link && *link != queue)
        link = &(*link)->next;
    if (*link)
        *link = queue->next;
    pthread_mutex_unlock(&state->lock);
    state->host->free(state->host, queue);
}

// ---- Adding work --------------------------------------------------------------------------------

static weir_code_t submit(weir_chaos_queue_t *queue, weir_chaos_entry_t *entry)
{
    weir_chaos_device_t *device = queue->device;
    weir_chaos_state_t *state = device->state;
    entry->queue = queue;
    pthread_mutex_lock(&state->lock);
    weir_code_t code = atomic_load(&device->is_lost)
                           ? WEIR_DEVICE_LOST
                           : weir_chaos_points_expect(state, entry->signals, entry->signal_count);
    if (code == WEIR_OK) {
        uint64_t jitter_us = state->jitter_us ? weir_chaos_random(state) % state->jitter_us : 0;
        entry->due_ns = weir_chaos_now_ns() + (state->delay_us + jitter_us) * 1000;
        *queue->last = entry;
        queue->last = &entry->next;
        pthread_cond_broadcast(&state->changed);
    }
    pthread_mutex_unlock(&state->lock);
    if (code != WEIR_OK)
        weir_chaos_entry_retire(device, entry);
    return code;
}

weir_code_t weir_chaos_copy(weir_handle_t handle, const weir_copy_region_t *regions,
    uint32_t region_count, const weir_timeline_point_t *waits, uint32_t wait_count,
    const weir_timeline_point_t *signals, uint32_t signal_count)
{
    weir_chaos_queue_t *queue = queue_of(handle);
    weir_chaos_state_t *state = queue->device->state;
    weir_code_t code = weir_chaos_enter(state, queue->device, WEIR_CHAOS_COPY);
    if (code != WEIR_OK)
        return code;
    for (uint32_t i = 0; i < region_count; i++)
        if (regions[i].from.bytes != regions[i].to.bytes)
            return weir_chaos_misuse(
                state, WEIR_INVALID_ARGUMENT, "copy between regions of unequal bytes");
    weir_chaos_entry_t like = {.kind = WEIR_CHAOS_ENTRY_COPY,
        .regions = (weir_copy_region_t *)(uintptr_t)regions,
        .region_count = region_count,
        .waits = (weir_timeline_point_t *)(uintptr_t)waits,
        .wait_count = wait_count,
        .signals = (weir_timeline_point_t *)(uintptr_t)signals,
        .signal_count = signal_count};
    void *extra;
    weir_chaos_entry_t *entry = weir_chaos_entry_new(queue->device, &like, 0, &extra);
    return entry ? submit(queue, entry) : WEIR_RESOURCE_EXHAUSTED;
}

weir_code_t weir_chaos_launch(weir_handle_t handle, const weir_launch_t *launch)
{
    weir_chaos_queue_t *queue = queue_of(handle);
    weir_chaos_state_t *state = queue->device->state;
    weir_chaos_specialization_t *specialization =
        (weir_chaos_specialization_t *)(uintptr_t)launch->specialization;
    const weir_chaos_recording_t *recording =
        (const weir_chaos_recording_t *)(uintptr_t)launch->recording;
    weir_code_t code = weir_chaos_enter(state, queue->device, WEIR_CHAOS_LAUNCH);
    if (code != WEIR_OK)
        return code;
    if (specialization->device != queue->device)
        return weir_chaos_misuse(
            state, WEIR_INVALID_ARGUMENT, "launch on a queue of another device");
    if (recording && (recording->specialization != specialization ||
                         recording->binding_count != launch->binding_count))
        return weir_chaos_misuse(
            state, WEIR_INVALID_ARGUMENT, "launch with a recording of something else");
    if (recording && state->replay == WEIR_REPLAY_FIXED &&
        memcmp(recording->bindings, launch->bindings,
            launch->binding_count * sizeof *launch->bindings) != 0)
        return weir_chaos_misuse(state, WEIR_INVALID_ARGUMENT,
            "launch of a fixed recording with other bindings than those recorded");
    weir_chaos_entry_t like = {.kind = WEIR_CHAOS_ENTRY_LAUNCH,
        .specialization = specialization,
        .bindings = (weir_binding_t *)(uintptr_t)launch->bindings,
        .binding_count = launch->binding_count,
        .waits = (weir_timeline_point_t *)(uintptr_t)launch->waits,
        .wait_count = launch->wait_count,
        .signals = (weir_timeline_point_t *)(uintptr_t)launch->signals,
        .signal_count = launch->signal_count,
        .is_profiled = launch->profiled != 0,
        .id = launch->id};
    void *extra;
    weir_chaos_entry_t *entry = weir_chaos_entry_new(queue->device, &like, 0, &extra);
    return entry ? submit(queue, entry) : WEIR_RESOURCE_EXHAUSTED;
}

// The kernel is prepared here and not with the engine's state: how the scratch divides into what
// tasks share and what each has is known to prepare()'s caller alone.
static weir_code_t prepare(weir_chaos_state_t *state, weir_chaos_node_t *node)
{
    weir_prepared_t prepared = {.head = WEIR_HEAD(weir_prepared_t)};
    node->view.op = node->kernel->op;
    if (node->kernel->prepare) {
        weir_code_t code = node->kernel->prepare(&state->inner.abi, &node->view, &prepared);
        if (code != WEIR_OK)
            return code;
        node->owns_state = true;
    }
    node->state = prepared.state;
    node->shared_bytes = prepared.shared_bytes;
    node->scratch_bytes = prepared.scratch_bytes;
    return WEIR_OK;
}

weir_code_t weir_chaos_execute(weir_handle_t handle, const weir_execution_t *execution,
    const weir_timeline_point_t *waits, uint32_t wait_count, const weir_timeline_point_t *signals,
    uint32_t signal_count)
{
    weir_chaos_queue_t *queue = queue_of(handle);
    weir_chaos_state_t *state = queue->device->state;
    const weir_host_t *host = state->host;
    weir_code_t code = weir_chaos_enter(state, queue->device, WEIR_CHAOS_EXECUTE);
    if (code != WEIR_OK)
        return code;
    weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
    uint32_t number = execution->kernel ? weir_chaos_kernel_number(state, execution->kernel)
                                        : weir_chaos_kernel_for(state, execution->node, &answer);
    if (number == WEIR_CHAOS_NONE)
        return host->fail(host, WEIR_UNSUPPORTED, "%s: no kernel of ours: %.100s",
            execution->node->op, answer.reason);
    weir_chaos_entry_t like = {.kind = WEIR_CHAOS_ENTRY_EXECUTE,
        .bindings = (weir_binding_t *)(uintptr_t)execution->bindings,
        .binding_count = execution->binding_count,
        .waits = (weir_timeline_point_t *)(uintptr_t)waits,
        .wait_count = wait_count,
        .signals = (weir_timeline_point_t *)(uintptr_t)signals,
        .signal_count = signal_count,
        .scratch = execution->scratch,
        .node_number = execution->node_number,
        .is_profiled = true,
        .id = execution->launch_id};
    void *block;
    weir_chaos_entry_t *entry =
        weir_chaos_entry_new(queue->device, &like, weir_chaos_node_bytes(execution->node), &block);
    if (!entry)
        return WEIR_RESOURCE_EXHAUSTED;
    weir_chaos_node_copy(execution->node, block, &entry->node);
    entry->node.kernel = &state->kernels[number];
    code = prepare(state, &entry->node);
    if (code == WEIR_OK)
        return submit(queue, entry);
    weir_chaos_entry_retire(queue->device, entry);
    return code;
}

// ---- The thread ---------------------------------------------------------------------------------

// What becomes of an entry, once.
static void decide(weir_chaos_state_t *state, weir_chaos_entry_t *entry)
{
    if (entry->is_struck)
        return;
    entry->is_struck = true;
    entry->fault = weir_chaos_fault(
        state, entry->kind == WEIR_CHAOS_ENTRY_COPY ? WEIR_CHAOS_COPIED : WEIR_CHAOS_RUN);
    entry->due_ns += entry->fault.ms * 1000000;
    if (entry->fault.what == WEIR_CHAOS_HANG) // who waits for the device to be idle is told
        pthread_cond_broadcast(&state->changed);
}

// The entry that may run now, taken off its queue; NULL: none, and *out_until_ns says when to look
// again (UINT64_MAX: when something changes).
static weir_chaos_entry_t *next_entry(weir_chaos_device_t *device, uint64_t *out_until_ns)
{
    weir_chaos_state_t *state = device->state;
    bool is_lost = atomic_load(&device->is_lost);
    uint64_t now_ns = weir_chaos_now_ns();
    *out_until_ns = UINT64_MAX;
    for (weir_chaos_queue_t *queue = device->queues; queue; queue = queue->next) {
        weir_chaos_entry_t *entry = queue->first;
        weir_code_t failed;
        if (!entry || (!is_lost && !weir_chaos_points_reached(
                                       state, entry->waits, entry->wait_count, &failed)))
            continue;
        if (!is_lost)
            decide(state, entry);
        if (!is_lost && entry->fault.what == WEIR_CHAOS_HANG)
            continue;
        if (!is_lost && entry->due_ns > now_ns) {
            *out_until_ns = WEIR_MIN(*out_until_ns, entry->due_ns);
            continue;
        }
        queue->first = entry->next;
        if (!queue->first)
            queue->last = &queue->first;
        return entry;
    }
    return NULL;
}

static void wait_until(weir_chaos_state_t *state, uint64_t until_ns)
{
    struct timespec until = {(time_t)(until_ns / 1000000000), (long)(until_ns % 1000000000)};
    if (until_ns == UINT64_MAX)
        pthread_cond_wait(&state->changed, &state->lock);
    else
        pthread_cond_timedwait(&state->changed, &state->lock, &until);
}

void weir_chaos_device_main(void *user)
{
    weir_chaos_device_t *device = user;
    weir_chaos_state_t *state = device->state;
    pthread_mutex_lock(&state->lock);
    while (!device->is_stopping) {
        uint64_t until_ns;
        weir_chaos_entry_t *entry = next_entry(device, &until_ns);
        if (!entry) {
            wait_until(state, until_ns);
            continue;
        }
        device->running = entry;
        pthread_mutex_unlock(&state->lock);
        weir_chaos_entry_run(device, entry);
        pthread_mutex_lock(&state->lock);
        device->running = NULL;
        pthread_cond_broadcast(&state->changed);
        pthread_mutex_unlock(&state->lock);
        weir_chaos_entry_retire(device, entry);
        pthread_mutex_lock(&state->lock);
    }
    pthread_mutex_unlock(&state->lock);
}

weir_code_t weir_chaos_wait_idle(weir_handle_t handle)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_state_t *state = device->state;
    weir_code_t code = weir_chaos_enter(state, device, WEIR_CHAOS_WAIT_IDLE);
    bool is_idle = code != WEIR_OK;
    pthread_mutex_lock(&state->lock);
    while (!is_idle && code == WEIR_OK) {
        is_idle = !device->running;
        for (weir_chaos_queue_t *queue = device->queues; queue; queue = queue->next) {
            is_idle = is_idle && !queue->first;
            if (queue->first && queue->first->fault.what == WEIR_CHAOS_HANG)
                code = WEIR_UNAVAILABLE;
        }
        if (atomic_load(&device->is_lost))
            code = WEIR_DEVICE_LOST;
        if (!is_idle && code == WEIR_OK)
            pthread_cond_wait(&state->changed, &state->lock);
    }
    pthread_mutex_unlock(&state->lock);
    return code;
}

// ---- Forgetting ---------------------------------------------------------------------------------

// What is late stays: it will write to what it was bound to and signal. Of its bindings only those
// that the slice writes are kept.
static void make_orphan(weir_chaos_entry_t *entry)
{
    const weir_slice_t *slice = entry->specialization->slice;
    uint32_t count = WEIR_MIN(entry->binding_count, slice->tensor_count);
    for (uint32_t t = 0; t < entry->binding_count; t++) {
        bool is_written = false;
        for (uint32_t n = 0; t < count && n < slice->node_count && !is_written; n++)
            for (uint32_t i = 0; i < slice->nodes[n].node.output_count; i++)
                is_written = is_written || slice->nodes[n].outputs[i] == t;
        if (!is_written)
            entry->bindings[t] = (weir_binding_t){.buffer = 0};
    }
    entry->specialization = NULL;
}

void weir_chaos_forget(weir_chaos_device_t *device,
    const weir_chaos_specialization_t *specialization, const weir_chaos_queue_t *queue)
{
    weir_chaos_state_t *state = device->state;
    weir_chaos_entry_t *forgotten = NULL;
    pthread_mutex_lock(&state->lock);
    for (weir_chaos_queue_t *each = device->queues; each; each = each->next) {
        weir_chaos_entry_t **link = &each->first;
        while (*link) {
            weir_chaos_entry_t *entry = *link;
            bool is_of = queue ? each == queue : entry->specialization == specialization;
            if (is_of && !queue)
                decide(state, entry);
            if (is_of && !queue && entry->fault.what == WEIR_CHAOS_LATE)
                make_orphan(entry);
            else if (is_of) {
                *link = entry->next;
                weir_chaos_points_forget(state, entry->signals, entry->signal_count);
                entry->next = forgotten;
                forgotten = entry;
                continue;
            }
            link = &entry->next;
        }
        each->last = link;
    }
    while (device->running && (queue ? device->running->queue == queue
                                     : device->running->specialization == specialization))
        pthread_cond_wait(&state->changed, &state->lock);
    pthread_cond_broadcast(&state->changed);
    pthread_mutex_unlock(&state->lock);
    while (forgotten) {
        weir_chaos_entry_t *entry = forgotten;
        forgotten = entry->next;
        weir_chaos_entry_retire(device, entry);
    }
}
