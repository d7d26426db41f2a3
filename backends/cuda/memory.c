// backends/cuda/memory.c: buffers: device memory, pinned memory, wrapped host memory; and the words
// in which kernels say errors.
//
// A buffer's handle is its address here, so that looking one up costs nothing. When the device has
// no memory left, kept chunks go first, then graphs that nothing uses, then the caller is refused.
#include "backends/cuda/cuda.h"

#include <string.h>

#define PINNED_FLAGS (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP)
#define LEAST_BYTES 512         // an allocation of the driver takes at least
#define WORDS 1024              // of a block
#define WORDS_OF_ALL (1u << 20) // a device whose graphs and queues are more has a leak

static weir_cuda_buffer_t *buffer_of(weir_handle_t handle)
{
    return (weir_cuda_buffer_t *)(uintptr_t)handle;
}

// ---- Lists --------------------------------------------------------------------------------------

static weir_cuda_buffer_t *new_buffer(weir_cuda_device_t *device, uint32_t kind, uint64_t bytes)
{
    weir_cuda_buffer_t *buffer = device->host->alloc(device->host, sizeof *buffer);
    if (!buffer) {
        device->host->fail(device->host, WEIR_RESOURCE_EXHAUSTED, "no memory for a buffer");
        return NULL;
    }
    *buffer = (weir_cuda_buffer_t){.device = device, .kind = kind, .bytes = bytes};
    return buffer;
}

static void enlist(weir_cuda_buffer_t *buffer)
{
    weir_cuda_device_t *device = buffer->device;
    pthread_mutex_lock(&device->lock);
    buffer->next = device->buffers;
    buffer->from = &device->buffers;
    if (buffer->next)
        buffer->next->from = &buffer->next;
    device->buffers = buffer;
    pthread_mutex_unlock(&device->lock);
}

static void strike(weir_cuda_buffer_t *buffer)
{
    weir_cuda_device_t *device = buffer->device;
    pthread_mutex_lock(&device->lock);
    *buffer->from = buffer->next;
    if (buffer->next)
        buffer->next->from = buffer->from;
    if (buffer->kind == WEIR_MEMORY_DEVICE)
        device->used_bytes -= buffer->cost_bytes;
    pthread_mutex_unlock(&device->lock);
}

// ---- Device memory ------------------------------------------------------------------------------

static bool is_mapped(const weir_cuda_device_t *device, uint64_t bytes)
{
    return device->pool.is_on && bytes >= device->pool.chunk_bytes / 2;
}

// What a buffer takes of the device, which gives memory in chunks here and in pages else; false:
// more than can be counted.
static bool find_cost(const weir_cuda_device_t *device, uint64_t bytes, uint64_t *out_bytes)
{
    const weir_cuda_pool_t *pool = &device->pool;
    const uint64_t unit = is_mapped(device, bytes)    ? pool->chunk_bytes
                          : bytes > pool->grain_bytes ? pool->grain_bytes
                                                      : LEAST_BYTES;
    if (bytes > UINT64_MAX - unit)
        return false;
    *out_bytes = (bytes + unit - 1) / unit * unit;
    return true;
}

// Books a buffer against the budget; kept chunks count, too, and make way.
static bool book(weir_cuda_device_t *device, const weir_cuda_buffer_t *buffer)
{
    const uint64_t budget = device->state->budget_bytes, cost = buffer->cost_bytes;
    pthread_mutex_lock(&device->lock);
    bool fits = !budget || (cost <= budget && device->used_bytes <= budget - cost);
    if (fits)
        device->used_bytes += cost;
    uint64_t left = budget - device->used_bytes;
    pthread_mutex_unlock(&device->lock);
    if (fits && budget)
        weir_cuda_pool_trim(device, left + (is_mapped(device, buffer->bytes) ? cost : 0));
    return fits;
}

static void unbook(weir_cuda_device_t *device, uint64_t bytes)
{
    pthread_mutex_lock(&device->lock);
    device->used_bytes -= bytes;
    pthread_mutex_unlock(&device->lock);
}

static weir_code_t allocate(weir_cuda_device_t *device, weir_cuda_buffer_t *buffer)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    if (buffer->kind == WEIR_MEMORY_PINNED)
        return weir_cuda_check(device,
            driver->cuMemHostAlloc(&buffer->host, buffer->bytes, PINNED_FLAGS), "cuMemHostAlloc");
    if (is_mapped(device, buffer->bytes))
        return weir_cuda_pool_map(device, buffer);
    return weir_cuda_check(
        device, driver->cuMemAlloc(&buffer->address, buffer->bytes), "cuMemAlloc");
}

// What is idle makes way: chunks that are kept, then graphs.
static weir_code_t allocate_by_all_means(weir_cuda_device_t *device, weir_cuda_buffer_t *buffer)
{
    weir_code_t code = allocate(device, buffer);
    if (code == WEIR_RESOURCE_EXHAUSTED) {
        weir_cuda_pool_trim(device, 0);
        code = allocate(device, buffer);
    }
    if (code == WEIR_RESOURCE_EXHAUSTED) {
        weir_cuda_recordings_drop(device, 0);
        code = allocate(device, buffer);
    }
    return code;
}

weir_code_t weir_cuda_alloc(
    weir_handle_t handle, uint32_t kind, uint64_t bytes, weir_handle_t *out_buffer)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    const weir_host_t *host = device->host;
    if (kind != WEIR_MEMORY_DEVICE && kind != WEIR_MEMORY_PINNED)
        return host->fail(host, WEIR_UNSUPPORTED, "memory of kind %u is not offered", kind);
    weir_cuda_buffer_t *buffer = new_buffer(device, kind, bytes ? bytes : 256);
    if (!buffer)
        return WEIR_RESOURCE_EXHAUSTED;
    bool is_device = kind == WEIR_MEMORY_DEVICE;
    if (is_device &&
        (!find_cost(device, buffer->bytes, &buffer->cost_bytes) || !book(device, buffer))) {
        host->free(host, buffer);
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED,
            "%llu bytes are over the budget of %llu (option budget_mib)", (unsigned long long)bytes,
            (unsigned long long)device->state->budget_bytes);
    }
    weir_code_t code = weir_cuda_enter(device);
    if (code == WEIR_OK) {
        code = allocate_by_all_means(device, buffer);
        weir_cuda_leave(device);
    }
    if (code != WEIR_OK) {
        if (is_device)
            unbook(device, buffer->cost_bytes);
        host->free(host, buffer);
        return code;
    }
    if (!is_device)
        buffer->address = (CUdeviceptr)(uintptr_t)buffer->host; // unified addresses
    enlist(buffer);
    *out_buffer = (weir_handle_t)(uintptr_t)buffer;
    return WEIR_OK;
}

// ---- Words --------------------------------------------------------------------------------------

typedef struct weir_cuda_words {
    struct weir_cuda_words *next;
    uint32_t *words; // [WORDS] pinned
    uint64_t taken[WORDS / 64];
} words_t;

static void close_words(weir_cuda_device_t *device)
{
    while (device->words) {
        words_t *block = device->words;
        device->words = block->next;
        (void)device->state->driver.cuMemFreeHost(block->words);
        device->host->free(device->host, block);
    }
}

// A word of the blocks that are there; NULL: all are taken. out_count: how many words there are.
static uint32_t *find_word(weir_cuda_device_t *device, uint32_t *out_count)
{
    uint32_t *word = NULL;
    *out_count = 0;
    pthread_mutex_lock(&device->lock);
    for (words_t *block = device->words; block && !word; block = block->next) {
        *out_count += WORDS;
        for (uint32_t i = 0; i < WORDS && !word; i++)
            if (!(block->taken[i / 64] >> (i % 64) & 1)) {
                block->taken[i / 64] |= 1ull << (i % 64);
                word = &block->words[i];
                *word = 0;
            }
    }
    pthread_mutex_unlock(&device->lock);
    return word;
}

static weir_code_t add_words(weir_cuda_device_t *device)
{
    const weir_host_t *host = device->host;
    words_t *block = host->alloc(host, sizeof *block);
    if (!block)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for words of errors");
    memset(block, 0, sizeof *block);
    weir_code_t code = weir_cuda_check(device,
        device->state->driver.cuMemHostAlloc(
            (void **)&block->words, WORDS * sizeof *block->words, PINNED_FLAGS),
        "cuMemHostAlloc");
    if (code != WEIR_OK) {
        host->free(host, block);
        return code;
    }
    pthread_mutex_lock(&device->lock);
    block->next = device->words;
    device->words = block;
    pthread_mutex_unlock(&device->lock);
    return WEIR_OK;
}

weir_code_t weir_cuda_word_take(weir_cuda_device_t *device, uint32_t **out_word)
{
    uint32_t count;
    while (!(*out_word = find_word(device, &count))) {
        if (count >= WORDS_OF_ALL)
            return device->host->fail(device->host, WEIR_RESOURCE_EXHAUSTED,
                "a device has at most %u queues and graphs", WORDS_OF_ALL);
        weir_code_t code = add_words(device);
        if (code != WEIR_OK)
            return code;
    }
    return WEIR_OK;
}

void weir_cuda_word_give(weir_cuda_device_t *device, uint32_t *word)
{
    if (!word)
        return;
    pthread_mutex_lock(&device->lock);
    for (words_t *block = device->words; block; block = block->next)
        if (word >= block->words && word < block->words + WORDS) {
            const uint32_t i = (uint32_t)(word - block->words);
            block->taken[i / 64] &= ~(1ull << (i % 64));
        }
    pthread_mutex_unlock(&device->lock);
}

// ---- Giving back
// ---------------------------------------------------------------------------------

static void release(weir_cuda_buffer_t *buffer)
{
    weir_cuda_device_t *device = buffer->device;
    const weir_cuda_driver_t *driver = &device->state->driver;
    if (buffer->is_wrapped)
        (void)driver->cuMemHostUnregister(buffer->host);
    else if (buffer->kind == WEIR_MEMORY_PINNED)
        (void)driver->cuMemFreeHost(buffer->host);
    else if (buffer->mapped_bytes)
        weir_cuda_pool_unmap(device, buffer);
    else
        (void)driver->cuMemFree(buffer->address);
    device->host->free(device->host, buffer);
}

void weir_cuda_free(weir_handle_t handle, weir_handle_t number)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    // Of a lost device too: it frees nothing then, and close() takes the context with all in it.
    const bool is_in = weir_cuda_enter_to_free(device);
    strike(buffer_of(number));
    release(buffer_of(number));
    if (is_in)
        weir_cuda_leave(device);
}

void weir_cuda_memory_close(weir_cuda_device_t *device)
{
    while (device->buffers) {
        weir_cuda_buffer_t *buffer = device->buffers;
        strike(buffer);
        release(buffer);
    }
    close_words(device);
}

// ---- Host memory --------------------------------------------------------------------------------

weir_code_t weir_cuda_map(weir_handle_t handle, weir_handle_t number, void **out_pointer)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    const weir_cuda_buffer_t *buffer = buffer_of(number);
    if (buffer->kind != WEIR_MEMORY_PINNED)
        return device->host->fail(
            device->host, WEIR_INVALID_ARGUMENT, "map() of memory that is not pinned");
    *out_pointer = buffer->host;
    return WEIR_OK;
}

void weir_cuda_unmap(weir_handle_t handle, weir_handle_t number)
{
    (void)handle; // pinned memory is mapped as long as it lives
    (void)number;
}

weir_code_t weir_cuda_wrap_host(
    weir_handle_t handle, void *memory, uint64_t bytes, weir_handle_t *out_buffer)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    const weir_host_t *host = device->host;
    if (!memory || !bytes)
        return host->fail(host, WEIR_UNSUPPORTED, "there is nothing to wrap");
    weir_cuda_buffer_t *buffer = new_buffer(device, WEIR_MEMORY_PINNED, bytes);
    if (!buffer)
        return WEIR_RESOURCE_EXHAUSTED;
    weir_code_t code = weir_cuda_enter(device);
    if (code == WEIR_OK) {
        CUresult result = device->state->driver.cuMemHostRegister(
            memory, bytes, CU_MEMHOSTREGISTER_PORTABLE | CU_MEMHOSTREGISTER_DEVICEMAP);
        if (result == CUDA_ERROR_INVALID_VALUE || result == CUDA_ERROR_OPERATING_SYSTEM ||
            result == CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED)
            code = host->fail(host, WEIR_UNSUPPORTED, "this memory cannot be pinned");
        else
            code = weir_cuda_check(device, result, "cuMemHostRegister");
        weir_cuda_leave(device);
    }
    if (code != WEIR_OK) {
        host->free(host, buffer);
        return code;
    }
    buffer->host = memory;
    buffer->address = (CUdeviceptr)(uintptr_t)memory;
    buffer->is_wrapped = true;
    enlist(buffer);
    *out_buffer = (weir_handle_t)(uintptr_t)buffer;
    return WEIR_OK;
}

weir_code_t weir_cuda_memory_info(weir_handle_t handle, uint64_t *out_used, uint64_t *out_total)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    size_t free_bytes = 0, total_bytes = 0;
    weir_code_t code = weir_cuda_enter(device);
    if (code != WEIR_OK)
        return code;
    code = weir_cuda_check(
        device, device->state->driver.cuMemGetInfo(&free_bytes, &total_bytes), "cuMemGetInfo");
    weir_cuda_leave(device);
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&device->lock);
    uint64_t kept_bytes = device->pool.free_count * device->pool.chunk_bytes;
    uint64_t own_bytes = device->used_bytes;
    pthread_mutex_unlock(&device->lock);
    uint64_t budget = device->state->budget_bytes;
    // Chunks that are kept are there to be had.
    uint64_t used_bytes = total_bytes - free_bytes;
    *out_used = budget ? own_bytes : used_bytes - WEIR_MIN(used_bytes, kept_bytes);
    *out_total = budget ? budget : total_bytes;
    return WEIR_OK;
}

bool weir_cuda_address(const weir_binding_t *binding, CUdeviceptr *out_address)
{
    *out_address = 0;
    if (!binding->buffer)
        return !binding->pointer || !binding->bytes;
    const weir_cuda_buffer_t *buffer = buffer_of(binding->buffer);
    if (binding->offset > buffer->bytes || binding->bytes > buffer->bytes - binding->offset)
        return false;
    *out_address = buffer->address + binding->offset;
    return true;
}
