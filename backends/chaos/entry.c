// backends/chaos/entry.c: one piece of work: its memory, and what is done for it.
//
// It runs on the device's thread, under no lock. However it ends, its signals are given, or the
// timelines failed, once; but where a fault says otherwise.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <string.h>

#define SPARES_MAX 64
#define ORPHANED 0xdb

// ---- Memory -------------------------------------------------------------------------------------

static uint64_t rounded(uint64_t bytes)
{
    return (bytes + 15) / 16 * 16;
}

static uint64_t arrays_bytes(const weir_chaos_entry_t *like)
{
    return rounded(like->binding_count * sizeof *like->bindings) +
           rounded(like->region_count * sizeof *like->regions) +
           rounded(like->wait_count * sizeof *like->waits) +
           rounded(like->signal_count * sizeof *like->signals);
}

static void *place(uint8_t **cursor, const void *from, uint64_t bytes)
{
    void *to = *cursor;
    if (bytes)
        memcpy(to, from, bytes);
    *cursor += rounded(bytes);
    return to;
}

// One that was used before, so that a device that has warmed up allocates nothing.
static weir_chaos_entry_t *take_spare(weir_chaos_device_t *device, uint64_t bytes)
{
    weir_chaos_entry_t *found = NULL;
    pthread_mutex_lock(&device->state->lock);
    for (weir_chaos_entry_t **link = &device->spare; *link; link = &(*link)->next)
        if ((*link)->capacity_bytes >= bytes) {
            found = *link;
            *link = found->next;
            device->spare_count--;
            break;
        }
    pthread_mutex_unlock(&device->state->lock);
    return found;
}

weir_chaos_entry_t *weir_chaos_entry_new(weir_chaos_device_t *device,
    const weir_chaos_entry_t *like, uint64_t extra_bytes, void **out_extra)
{
    uint64_t bytes = arrays_bytes(like) + extra_bytes, head = rounded(sizeof *like);
    weir_chaos_entry_t *entry = take_spare(device, bytes);
    uint64_t capacity = entry ? entry->capacity_bytes : bytes;
    if (!entry)
        entry = device->host->alloc(device->host, head + bytes);
    if (!entry)
        return NULL;
    *entry = *like;
    entry->capacity_bytes = capacity;
    uint8_t *cursor = (uint8_t *)entry + head;
    entry->bindings = place(&cursor, like->bindings, like->binding_count * sizeof *like->bindings);
    entry->regions = place(&cursor, like->regions, like->region_count * sizeof *like->regions);
    entry->waits = place(&cursor, like->waits, like->wait_count * sizeof *like->waits);
    entry->signals = place(&cursor, like->signals, like->signal_count * sizeof *like->signals);
    *out_extra = cursor;
    return entry;
}

void weir_chaos_entry_retire(weir_chaos_device_t *device, weir_chaos_entry_t *entry)
{
    weir_chaos_state_t *state = device->state;
    const weir_chaos_node_t *node = &entry->node;
    if (node->owns_state && node->kernel->release)
        node->kernel->release(&state->inner.abi, node->state);
    pthread_mutex_lock(&state->lock);
    bool is_kept = device->spare_count < SPARES_MAX;
    if (is_kept) {
        entry->next = device->spare;
        device->spare = entry;
        device->spare_count++;
    }
    pthread_mutex_unlock(&state->lock);
    if (!is_kept)
        device->host->free(device->host, entry);
}

// ---- Work ---------------------------------------------------------------------------------------

static weir_code_t run_copy(
    weir_chaos_device_t *device, const weir_chaos_entry_t *entry, char *out_error)
{
    for (uint32_t i = 0; i < entry->region_count; i++) {
        const weir_copy_region_t *region = &entry->regions[i];
        weir_chaos_hold_t from_hold, to_hold;
        void *from, *to;
        if (!weir_chaos_resolve(device, &region->from, true, &from, &from_hold, out_error))
            return weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
        bool is_bound = weir_chaos_resolve(device, &region->to, true, &to, &to_hold, out_error);
        if (is_bound && region->from.bytes)
            memmove(to, from, region->from.bytes);
        weir_chaos_drop(&from_hold);
        if (!is_bound)
            return weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
        weir_chaos_drop(&to_hold);
    }
    atomic_fetch_add(&device->state->copies, 1);
    return WEIR_OK;
}

// Binds the tensors one after the other; what was held is let go in any case.
static weir_code_t execute_bound(
    weir_chaos_device_t *device, weir_chaos_entry_t *entry, uint32_t next, char *out_error)
{
    weir_chaos_node_t *node = &entry->node;
    uint32_t inputs = node->view.input_count, count = inputs + node->view.output_count;
    bool is_scratch = next == count;
    const weir_binding_t *binding = is_scratch ? &entry->scratch : &entry->bindings[next];
    weir_chaos_hold_t held;
    void *data;
    if (!is_scratch && binding->bytes < node->tensors[next].bytes) {
        snprintf(out_error, WEIR_REASON_BYTES, "tensor %u: bound to %llu bytes, has %llu", next,
            (unsigned long long)binding->bytes, (unsigned long long)node->tensors[next].bytes);
        return weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
    }
    if (!weir_chaos_resolve(device, binding, false, &data, &held, out_error))
        return weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
    weir_code_t code;
    if (is_scratch) {
        weir_chaos_scratch_t scratch = {data, binding->bytes};
        code = weir_chaos_compute(device->state, node, &scratch, out_error);
    } else {
        node->tensors[next].data = node->tensors[next].dtype ? data : NULL;
        code = execute_bound(device, entry, next + 1, out_error);
    }
    weir_chaos_drop(&held);
    return code;
}

static weir_code_t run_execution(
    weir_chaos_device_t *device, weir_chaos_entry_t *entry, char *out_error)
{
    const weir_node_t *view = &entry->node.view;
    uint64_t start_ns = weir_chaos_now_ns();
    if (entry->binding_count != view->input_count + view->output_count) {
        snprintf(out_error, WEIR_REASON_BYTES, "%u bindings for %u inputs and %u outputs",
            entry->binding_count, view->input_count, view->output_count);
        return weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
    }
    weir_code_t code = execute_bound(device, entry, 0, out_error);
    weir_chaos_trace(device, entry->id, entry->node_number, start_ns);
    return code;
}

// A launch that was given up and is not dead: it writes where it was told to.
static weir_code_t run_orphan(
    weir_chaos_device_t *device, const weir_chaos_entry_t *entry, char *out_error)
{
    for (uint32_t i = 0; i < entry->binding_count; i++) {
        const weir_binding_t *binding = &entry->bindings[i];
        weir_chaos_hold_t held;
        void *data;
        if (!binding->bytes)
            continue;
        if (!weir_chaos_resolve(device, binding, false, &data, &held, out_error))
            return weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
        memset(data, ORPHANED, binding->bytes);
        weir_chaos_drop(&held);
    }
    return WEIR_OK;
}

static weir_code_t work(weir_chaos_device_t *device, weir_chaos_entry_t *entry, char *out_error)
{
    switch (entry->kind) {
    case WEIR_CHAOS_ENTRY_COPY:
        return run_copy(device, entry, out_error);
    case WEIR_CHAOS_ENTRY_EXECUTE:
        atomic_fetch_add(&device->state->runs, 1);
        return run_execution(device, entry, out_error);
    default:
        atomic_fetch_add(&device->state->runs, 1);
        return entry->specialization ? weir_chaos_run_slice(entry->specialization, entry, out_error)
                                     : run_orphan(device, entry, out_error);
    }
}

// OK, or why the entry ends before it begins.
static weir_code_t strike(
    weir_chaos_device_t *device, const weir_chaos_entry_t *entry, char *out_error)
{
    weir_chaos_state_t *state = device->state;
    weir_code_t failed = WEIR_OK;
    pthread_mutex_lock(&state->lock);
    (void)weir_chaos_points_reached(state, entry->waits, entry->wait_count, &failed);
    pthread_mutex_unlock(&state->lock);
    if (entry->fault.what == WEIR_CHAOS_LOST)
        weir_chaos_lose(device);
    const char *why = "";
    weir_code_t code = WEIR_OK;
    if (atomic_load(&device->is_lost)) {
        why = "the device was lost, by schedule";
        code = WEIR_DEVICE_LOST;
    } else if (failed != WEIR_OK) {
        why = "what it waited for failed";
        code = failed;
    } else if (entry->fault.what == WEIR_CHAOS_FAIL) {
        why = "it failed, by schedule";
        code = entry->fault.code;
    } else if (entry->fault.what == WEIR_CHAOS_OOM) {
        why = "out of memory, by schedule";
        code = WEIR_RESOURCE_EXHAUSTED;
    }
    snprintf(out_error, WEIR_REASON_BYTES, "%s", why);
    return code;
}

void weir_chaos_entry_run(weir_chaos_device_t *device, weir_chaos_entry_t *entry)
{
    weir_chaos_state_t *state = device->state;
    char error[WEIR_REASON_BYTES] = "";
    device->trace_count = 0;
    weir_code_t code = strike(device, entry, error);
    if (code == WEIR_OK)
        code = work(device, entry, error);
    if (entry->is_profiled)
        weir_chaos_trace_flush(device);
    if (code != WEIR_OK) {
        weir_chaos_points_fail(state, entry->signals, entry->signal_count, code, error);
        return;
    }
    if (entry->fault.what == WEIR_CHAOS_MISSING)
        return;
    weir_chaos_points_signal(state, entry->signals, entry->signal_count);
    if (entry->fault.what == WEIR_CHAOS_DOUBLE)
        weir_chaos_points_signal(state, entry->signals, entry->signal_count);
}
