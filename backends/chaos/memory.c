// backends/chaos/memory.c: the device's memory: numbered buffers that the host cannot touch.
//
// A buffer is pages of its own with a page behind it that cannot be touched, filled with 0xA5 so
// that what nobody wrote does not look like zeros. Its handle is a number: generation, device,
// index. A handle that is stale, or another device's, is found out when it is used, and so is a
// binding that leaves its buffer. What is freed while it is worked on goes when the work ends, and
// is noted as a misuse.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define POISON 0xa5
#define ALIGNMENT 256u

static weir_handle_t handle_of(const weir_chaos_memory_t *memory, uint32_t index)
{
    return (weir_handle_t)memory->buffers[index].generation << 32 |
           (weir_handle_t)(memory->slot + 1) << 24 | (index + 1);
}

static uint32_t slot_of(weir_handle_t handle)
{
    return ((uint32_t)handle >> 24) - 1;
}

// Under the memory's lock.
static weir_chaos_buffer_t *find(weir_chaos_memory_t *memory, weir_handle_t handle)
{
    uint32_t index = ((uint32_t)handle & 0xffffff) - 1;
    if (slot_of(handle) != memory->slot || index >= WEIR_CHAOS_BUFFERS_MAX)
        return NULL;
    weir_chaos_buffer_t *buffer = &memory->buffers[index];
    return buffer->kind && buffer->generation == handle >> 32 ? buffer : NULL;
}

weir_chaos_memory_t *weir_chaos_memory_new(weir_chaos_state_t *state, uint32_t slot, uint64_t bytes)
{
    weir_chaos_memory_t *memory = state->host->alloc(state->host, sizeof *memory);
    if (!memory)
        return NULL;
    memset(memory, 0, sizeof *memory);
    memory->state = state;
    memory->slot = slot;
    memory->total_bytes = bytes;
    atomic_init(&memory->references, 1);
    pthread_mutex_init(&memory->lock, NULL);
    return memory;
}

// Under the memory's lock.
static void give_up(weir_chaos_memory_t *memory, weir_chaos_buffer_t *buffer)
{
    if (buffer->map) {
        munmap(buffer->map, buffer->map_bytes);
        memory->used_bytes -= buffer->bytes;
    }
    *buffer = (weir_chaos_buffer_t){.generation = buffer->generation};
}

void weir_chaos_memory_release(weir_chaos_memory_t *memory)
{
    const weir_host_t *host = memory->state->host;
    if (atomic_fetch_sub(&memory->references, 1) != 1)
        return;
    for (uint32_t i = 0; i < WEIR_CHAOS_BUFFERS_MAX; i++)
        if (memory->buffers[i].kind)
            give_up(memory, &memory->buffers[i]);
    pthread_mutex_destroy(&memory->lock);
    host->free(host, memory);
}

// Under the memory's lock. A free number; NULL: there is none left.
static weir_chaos_buffer_t *take_number(weir_chaos_memory_t *memory, weir_handle_t *out_handle)
{
    for (uint32_t i = 0; i < WEIR_CHAOS_BUFFERS_MAX; i++) {
        uint32_t index = (memory->hint + i) % WEIR_CHAOS_BUFFERS_MAX;
        weir_chaos_buffer_t *buffer = &memory->buffers[index];
        if (buffer->kind)
            continue;
        memory->hint = index + 1;
        *buffer = (weir_chaos_buffer_t){.generation = buffer->generation + 1};
        *out_handle = handle_of(memory, index);
        return buffer;
    }
    return NULL;
}

// Pages for `bytes` with a wall behind them.
static bool make_pages(weir_chaos_buffer_t *buffer, uint64_t bytes)
{
    uint64_t size = WEIR_MAX(bytes, 1u) + ALIGNMENT - 1;
    size -= size % ALIGNMENT;
    uint64_t pages = WEIR_DIV_UP(size, PAGE) * PAGE;
    void *map =
        mmap(NULL, pages + PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (map == MAP_FAILED)
        return false;
    if (mprotect(map, pages, PROT_READ | PROT_WRITE) != 0) {
        munmap(map, pages + PAGE);
        return false;
    }
    buffer->map = map;
    buffer->map_bytes = pages + PAGE;
    buffer->data = (uint8_t *)map + pages - size;
    buffer->bytes = bytes;
    memset(buffer->data, POISON, size);
    return true;
}

weir_code_t weir_chaos_alloc(
    weir_handle_t handle, uint32_t kind, uint64_t bytes, weir_handle_t *out_buffer)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_memory_t *memory = device->memory;
    const weir_host_t *host = device->host;
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_ALLOC);
    if (code != WEIR_OK)
        return code;
    if (kind != WEIR_MEMORY_DEVICE && (kind != WEIR_MEMORY_PINNED || !device->state->has_pinned))
        return host->fail(host, WEIR_UNSUPPORTED, "memory of kind %u is not offered", kind);
    pthread_mutex_lock(&memory->lock);
    weir_chaos_buffer_t *buffer = NULL;
    if (bytes <= memory->total_bytes - memory->used_bytes)
        buffer = take_number(memory, out_buffer);
    if (buffer && make_pages(buffer, bytes)) {
        buffer->kind = kind;
        memory->used_bytes += bytes;
    } else {
        code = WEIR_RESOURCE_EXHAUSTED;
    }
    uint64_t used = memory->used_bytes;
    pthread_mutex_unlock(&memory->lock);
    return code == WEIR_OK ? code
                           : host->fail(host, code, "%llu bytes: %llu of %llu are in use",
                                 (unsigned long long)bytes, (unsigned long long)used,
                                 (unsigned long long)memory->total_bytes);
}

weir_code_t weir_chaos_wrap_host(
    weir_handle_t handle, void *data, uint64_t bytes, weir_handle_t *out_buffer)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_WRAP_HOST);
    if (code != WEIR_OK)
        return code;
    if (!data || !device->state->has_pinned)
        return device->host->fail(device->host, WEIR_UNSUPPORTED, "this cannot be wrapped");
    pthread_mutex_lock(&device->memory->lock);
    weir_chaos_buffer_t *buffer = take_number(device->memory, out_buffer);
    if (buffer) {
        buffer->kind = WEIR_MEMORY_PINNED;
        buffer->data = data;
        buffer->bytes = bytes;
    }
    pthread_mutex_unlock(&device->memory->lock);
    return buffer ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
}

weir_code_t weir_chaos_memory_import(
    weir_chaos_device_t *device, weir_handle_t peer, uint64_t bytes, weir_handle_t *out_buffer)
{
    pthread_mutex_lock(&device->memory->lock);
    weir_chaos_buffer_t *buffer = take_number(device->memory, out_buffer);
    if (buffer) {
        buffer->kind = WEIR_MEMORY_DEVICE;
        buffer->peer = peer;
        buffer->bytes = bytes;
    }
    pthread_mutex_unlock(&device->memory->lock);
    return buffer ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
}

void weir_chaos_free(weir_handle_t handle, weir_handle_t number)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_chaos_memory_t *memory = device->memory;
    (void)weir_chaos_enter(device->state, device, WEIR_CHAOS_FREE);
    pthread_mutex_lock(&memory->lock);
    weir_chaos_buffer_t *buffer = find(memory, number);
    bool is_known = buffer && !buffer->is_doomed, is_used = is_known && buffer->uses;
    if (is_used)
        buffer->is_doomed = true;
    else if (is_known)
        give_up(memory, buffer);
    pthread_mutex_unlock(&memory->lock);
    if (!is_known)
        (void)weir_chaos_misuse(device->state, WEIR_INVALID_ARGUMENT, "free of no buffer");
    else if (is_used)
        (void)weir_chaos_misuse(
            device->state, WEIR_INVALID_ARGUMENT, "free of a buffer that work uses now");
}

weir_code_t weir_chaos_map(weir_handle_t handle, weir_handle_t number, void **out_pointer)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_MAP);
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&device->memory->lock);
    weir_chaos_buffer_t *buffer = find(device->memory, number);
    bool can = buffer && buffer->kind == WEIR_MEMORY_PINNED;
    if (can) {
        buffer->maps++;
        *out_pointer = buffer->data;
    }
    pthread_mutex_unlock(&device->memory->lock);
    return can ? WEIR_OK
               : weir_chaos_misuse(
                     device->state, WEIR_INVALID_ARGUMENT, "map of what is not pinned");
}

void weir_chaos_unmap(weir_handle_t handle, weir_handle_t number)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    (void)weir_chaos_enter(device->state, device, WEIR_CHAOS_UNMAP);
    pthread_mutex_lock(&device->memory->lock);
    weir_chaos_buffer_t *buffer = find(device->memory, number);
    bool can = buffer && buffer->maps;
    if (can)
        buffer->maps--;
    pthread_mutex_unlock(&device->memory->lock);
    if (!can)
        (void)weir_chaos_misuse(
            device->state, WEIR_INVALID_ARGUMENT, "unmap of what is not mapped");
}

weir_code_t weir_chaos_memory_info(weir_handle_t handle, uint64_t *out_used, uint64_t *out_total)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_MEMORY_INFO);
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&device->memory->lock);
    *out_used = device->memory->used_bytes;
    *out_total = device->memory->total_bytes;
    pthread_mutex_unlock(&device->memory->lock);
    return WEIR_OK;
}

uint64_t weir_chaos_memory_bytes(weir_chaos_device_t *device, weir_handle_t number)
{
    pthread_mutex_lock(&device->memory->lock);
    const weir_chaos_buffer_t *buffer = find(device->memory, number);
    uint64_t bytes = buffer ? buffer->bytes : 0;
    pthread_mutex_unlock(&device->memory->lock);
    return bytes;
}

// ---- Bindings -----------------------------------------------------------------------------------

// The memory that a handle names; a reference more of it. NULL: none that this device may see.
static weir_chaos_memory_t *memory_of(
    weir_chaos_device_t *device, weir_handle_t handle, bool is_import)
{
    weir_chaos_state_t *state = device->state;
    uint32_t slot = slot_of(handle);
    weir_chaos_memory_t *memory = NULL;
    if (slot == device->slot) {
        memory = device->memory;
        atomic_fetch_add(&memory->references, 1);
        return memory;
    }
    if (slot >= WEIR_CHAOS_DEVICES_MAX || (!is_import && state->edge_kind != WEIR_EDGE_NATIVE))
        return NULL;
    pthread_mutex_lock(&state->lock);
    if (state->devices[slot]) {
        memory = state->devices[slot]->memory;
        atomic_fetch_add(&memory->references, 1);
    }
    pthread_mutex_unlock(&state->lock);
    return memory;
}

static bool hold(weir_chaos_device_t *device, const weir_binding_t *binding, weir_handle_t handle,
    bool is_import, void **out_data, weir_chaos_hold_t *out_hold, char *out_reason)
{
    weir_chaos_memory_t *memory = memory_of(device, handle, is_import);
    if (!memory) {
        snprintf(out_reason, WEIR_REASON_BYTES, "a binding names a buffer of another device");
        return false;
    }
    pthread_mutex_lock(&memory->lock);
    weir_chaos_buffer_t *buffer = find(memory, handle);
    weir_handle_t peer = buffer ? buffer->peer : 0;
    bool fits = buffer && !buffer->is_doomed && binding->offset <= buffer->bytes &&
                binding->bytes <= buffer->bytes - binding->offset;
    if (!fits)
        snprintf(out_reason, WEIR_REASON_BYTES,
            buffer ? "a binding leaves its buffer: %llu bytes at %llu of %llu"
                   : "a binding names a buffer that was freed",
            (unsigned long long)binding->bytes, (unsigned long long)binding->offset,
            buffer ? (unsigned long long)buffer->bytes : 0ull);
    if (fits && !peer) {
        buffer->uses++;
        *out_data = buffer->data + binding->offset;
        *out_hold = (weir_chaos_hold_t){memory, handle};
    }
    pthread_mutex_unlock(&memory->lock);
    if (fits && !peer)
        return true;
    weir_chaos_memory_release(memory);
    return fits && !is_import && hold(device, binding, peer, true, out_data, out_hold, out_reason);
}

bool weir_chaos_resolve(weir_chaos_device_t *device, const weir_binding_t *binding, bool plain,
    void **out_data, weir_chaos_hold_t *out_hold, char *out_reason)
{
    *out_hold = (weir_chaos_hold_t){NULL, 0};
    *out_data = binding->pointer;
    if (binding->buffer)
        return hold(device, binding, binding->buffer, false, out_data, out_hold, out_reason);
    if (binding->pointer && binding->bytes && !plain && !device->state->is_host_memory) {
        snprintf(out_reason, WEIR_REASON_BYTES, "a binding is in host memory");
        return false;
    }
    return true;
}

void weir_chaos_drop(const weir_chaos_hold_t *held)
{
    weir_chaos_memory_t *memory = held->memory;
    if (!memory)
        return;
    pthread_mutex_lock(&memory->lock);
    weir_chaos_buffer_t *buffer = find(memory, held->buffer);
    if (buffer && --buffer->uses == 0 && buffer->is_doomed)
        give_up(memory, buffer);
    pthread_mutex_unlock(&memory->lock);
    weir_chaos_memory_release(memory);
}
