// backends/chaos/device.c: devices: listing, opening, losing and closing them, and their clock.
//
// A device is a thread and a memory. close() ends always: what hangs is abandoned, and the thread
// has ended, so nothing touches memory any more.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

weir_chaos_device_t *weir_chaos_device(weir_handle_t handle)
{
    return (weir_chaos_device_t *)(uintptr_t)handle;
}

uint64_t weir_chaos_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

weir_code_t weir_chaos_enumerate(
    const weir_host_t *host, uint32_t index, weir_device_info_t *out_info)
{
    weir_chaos_state_t *state = weir_chaos_state(host);
    char reason[WEIR_REASON_BYTES];
    if (!weir_chaos_configure(state, reason))
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s", reason);
    if (index >= state->device_count)
        return WEIR_NOT_FOUND;
    weir_code_t code = weir_chaos_enter(state, NULL, WEIR_CHAOS_ENUMERATE);
    if (code != WEIR_OK)
        return code;
    out_info->head.flags = state->is_host_memory ? WEIR_DEVICE_HOST_MEMORY : 0;
    snprintf(out_info->name, sizeof out_info->name, "%s", state->label);
    snprintf(out_info->arch, sizeof out_info->arch, "chaos-%.20s", state->wrapped.name);
    snprintf(out_info->pci, sizeof out_info->pci, "chaos:%u", index % 100);
    memcpy(out_info->uuid, "weir-chaos-dev-", 15);
    out_info->uuid[15] = (uint8_t)('0' + index);
    out_info->numa_node = -1;
    out_info->memory_bytes = state->memory_bytes;
    return WEIR_OK;
}

// Takes the place of device `index`, if it is free.
static bool enlist(weir_chaos_device_t *device, weir_chaos_device_t *now)
{
    weir_chaos_state_t *state = device->state;
    pthread_mutex_lock(&state->lock);
    bool is_free = !now || !state->devices[device->slot];
    if (is_free)
        state->devices[device->slot] = now;
    pthread_mutex_unlock(&state->lock);
    return is_free;
}

weir_code_t weir_chaos_open(const weir_host_t *host, uint32_t index, weir_handle_t *out_device)
{
    weir_chaos_state_t *state = weir_chaos_state(host);
    char reason[WEIR_REASON_BYTES];
    if (!weir_chaos_configure(state, reason))
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s", reason);
    if (index >= state->device_count)
        return host->fail(host, WEIR_NOT_FOUND, "there are %u devices", state->device_count);
    weir_code_t code = weir_chaos_enter(state, NULL, WEIR_CHAOS_OPEN);
    if (code != WEIR_OK)
        return code;
    weir_chaos_device_t *device = host->alloc(host, sizeof *device);
    if (!device)
        return WEIR_RESOURCE_EXHAUSTED;
    memset(device, 0, sizeof *device);
    device->state = state;
    device->host = host;
    device->index = device->slot = index;
    device->started_ns = weir_chaos_now_ns();
    device->memory = weir_chaos_memory_new(state, index, state->memory_bytes);
    code = WEIR_RESOURCE_EXHAUSTED;
    if (device->memory && !enlist(device, device))
        code = host->fail(host, WEIR_UNAVAILABLE, "device %u is open", index);
    else if (device->memory) {
        code =
            host->thread_start(host, "weir-chaos", weir_chaos_device_main, device, &device->thread);
        if (code == WEIR_OK) {
            *out_device = (weir_handle_t)(uintptr_t)device;
            return WEIR_OK;
        }
        (void)enlist(device, NULL);
    }
    if (device->memory)
        weir_chaos_memory_release(device->memory);
    host->free(host, device);
    return code;
}

static void free_entries(const weir_host_t *host, weir_chaos_entry_t *entry)
{
    while (entry) {
        weir_chaos_entry_t *next = entry->next;
        host->free(host, entry);
        entry = next;
    }
}

void weir_chaos_close(weir_handle_t handle)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_state_t *state = device->state;
    const weir_host_t *host = device->host;
    (void)weir_chaos_enter(state, device, WEIR_CHAOS_CLOSE);
    pthread_mutex_lock(&state->lock);
    device->is_stopping = true;
    state->devices[device->slot] = NULL;
    pthread_cond_broadcast(&state->changed);
    pthread_mutex_unlock(&state->lock);
    host->thread_join(host, device->thread);
    while (device->queues) {
        weir_chaos_queue_t *queue = device->queues;
        weir_chaos_forget(device, NULL, queue);
        device->queues = queue->next;
        host->free(host, queue);
    }
    free_entries(host, device->spare);
    weir_chaos_memory_release(device->memory);
    host->free(host, device);
}

void weir_chaos_lose(weir_chaos_device_t *device)
{
    pthread_mutex_lock(&device->state->lock);
    atomic_store(&device->is_lost, true);
    pthread_cond_broadcast(&device->state->changed);
    pthread_mutex_unlock(&device->state->lock);
}

// ---- Its clock ----------------------------------------------------------------------------------

// Another zero than the host's, and a fifth faster.
uint64_t weir_chaos_device_ns(const weir_chaos_device_t *device, uint64_t host_ns)
{
    return 1000000000000ull * (device->index + 1) + (host_ns - device->started_ns) / 5 * 6;
}

weir_code_t weir_chaos_clock(weir_handle_t handle, uint64_t *out_device_ns, uint64_t *out_host_ns)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_CLOCK);
    if (code != WEIR_OK)
        return code;
    *out_host_ns = weir_chaos_now_ns();
    *out_device_ns = weir_chaos_device_ns(device, *out_host_ns);
    return WEIR_OK;
}

void weir_chaos_trace(weir_chaos_device_t *device, uint64_t id, uint32_t node, uint64_t start_ns)
{
    const uint32_t room = sizeof device->traces / sizeof device->traces[0];
    if (device->trace_count == room)
        weir_chaos_trace_flush(device);
    device->traces[device->trace_count++] =
        (weir_trace_record_t){.head = WEIR_HEAD(weir_trace_record_t),
            .launch_id = id,
            .node = node,
            .start_ns = weir_chaos_device_ns(device, start_ns),
            .end_ns = weir_chaos_device_ns(device, weir_chaos_now_ns())};
}

void weir_chaos_trace_flush(weir_chaos_device_t *device)
{
    if (device->trace_count && device->host->trace)
        device->host->trace(device->host, device->traces, device->trace_count);
    device->trace_count = 0;
}
