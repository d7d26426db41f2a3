// backends/cuda/pool.c: physical memory in chunks, mapped to one address range per buffer.
//
// What a buffer gives back is kept for the next one, up to a bound, so that an arena that is grown
// takes the chunks of the one before it and another size costs no allocation. Where the device
// cannot map, or for what is small, buffers are allocations of their own. No lock is held while the
// driver is called.
#include "backends/cuda/cuda.h"

#include <string.h>

#define PAGE_BYTES (2ull << 20) // where the driver does not say of how much it gives memory

static CUmemAllocationProp properties_of(const weir_cuda_device_t *device)
{
    return (CUmemAllocationProp){.type = CU_MEM_ALLOCATION_TYPE_PINNED,
        .location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = device->number}};
}

void weir_cuda_pool_open(weir_cuda_device_t *device)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    weir_cuda_pool_t *pool = &device->pool;
    int can_map = 0;
    size_t grain = 0;
    pool->grain_bytes = PAGE_BYTES;
    if (!device->state->uses_mapping)
        return;
    CUmemAllocationProp properties = properties_of(device);
    if (driver->cuDeviceGetAttribute(&can_map,
            CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED,
            device->number) != CUDA_SUCCESS ||
        !can_map ||
        driver->cuMemGetAllocationGranularity(
            &grain, &properties, CU_MEM_ALLOC_GRANULARITY_RECOMMENDED) != CUDA_SUCCESS ||
        !grain)
        return;
    pool->grain_bytes = grain;
    pool->chunk_bytes = (device->state->chunk_bytes + grain - 1) / grain * grain;
    pool->is_on = true;
}

// A free chunk; false: there is none.
static bool take(weir_cuda_device_t *device, CUmemGenericAllocationHandle *out_chunk)
{
    weir_cuda_pool_t *pool = &device->pool;
    pthread_mutex_lock(&device->lock);
    bool has = pool->free_count > 0;
    if (has)
        *out_chunk = pool->free[--pool->free_count];
    pthread_mutex_unlock(&device->lock);
    return has;
}

// Keeps a chunk; false: there is no room for it.
static bool keep(weir_cuda_device_t *device, CUmemGenericAllocationHandle chunk)
{
    weir_cuda_pool_t *pool = &device->pool;
    const weir_host_t *host = device->host;
    pthread_mutex_lock(&device->lock);
    if (pool->free_count == pool->free_capacity) {
        uint32_t capacity = pool->free_capacity ? pool->free_capacity * 2 : 64;
        CUmemGenericAllocationHandle *grown = host->alloc(host, capacity * sizeof *grown);
        if (grown && pool->free_count)
            memcpy(grown, pool->free, pool->free_count * sizeof *grown);
        if (grown) {
            host->free(host, pool->free);
            pool->free = grown;
            pool->free_capacity = capacity;
        }
    }
    bool fits = pool->free_count < pool->free_capacity;
    if (fits)
        pool->free[pool->free_count++] = chunk;
    pthread_mutex_unlock(&device->lock);
    return fits;
}

static void give(weir_cuda_device_t *device, CUmemGenericAllocationHandle chunk)
{
    if (!keep(device, chunk))
        (void)device->state->driver.cuMemRelease(chunk);
}

void weir_cuda_pool_trim(weir_cuda_device_t *device, uint64_t keep_bytes)
{
    weir_cuda_pool_t *pool = &device->pool;
    for (;;) {
        CUmemGenericAllocationHandle chunk = 0;
        pthread_mutex_lock(&device->lock);
        bool is_over = pool->free_count && pool->free_count * pool->chunk_bytes > keep_bytes;
        if (is_over)
            chunk = pool->free[--pool->free_count];
        pthread_mutex_unlock(&device->lock);
        if (!is_over)
            return;
        (void)device->state->driver.cuMemRelease(chunk);
    }
}

void weir_cuda_pool_close(weir_cuda_device_t *device)
{
    weir_cuda_pool_trim(device, 0);
    device->host->free(device->host, device->pool.free);
    device->pool = (weir_cuda_pool_t){.is_on = false};
}

static weir_code_t map_chunks(weir_cuda_device_t *device, weir_cuda_buffer_t *buffer)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    uint64_t chunk_bytes = device->pool.chunk_bytes;
    CUmemAllocationProp properties = properties_of(device);
    for (uint64_t at = 0; at < buffer->mapped_bytes; at += chunk_bytes) {
        CUmemGenericAllocationHandle chunk = 0;
        CUresult result = CUDA_SUCCESS;
        if (!take(device, &chunk))
            result = driver->cuMemCreate(&chunk, chunk_bytes, &properties, 0);
        if (result != CUDA_SUCCESS)
            return weir_cuda_check(device, result, "cuMemCreate");
        result = driver->cuMemMap(buffer->address + at, chunk_bytes, 0, chunk, 0);
        if (result != CUDA_SUCCESS) {
            give(device, chunk);
            return weir_cuda_check(device, result, "cuMemMap");
        }
        buffer->chunks[buffer->chunk_count++] = chunk;
    }
    // Its own device, and those that may read it without the host.
    CUmemAccessDesc access[WEIR_CUDA_DEVICES_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < device->state->device_count; i++)
        if (i == device->index || (device->peers >> i & 1))
            access[count++] =
                (CUmemAccessDesc){.location = {.type = CU_MEM_LOCATION_TYPE_DEVICE, .id = (int)i},
                    .flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE};
    return weir_cuda_check(device,
        driver->cuMemSetAccess(buffer->address, buffer->mapped_bytes, access, count),
        "cuMemSetAccess");
}

weir_code_t weir_cuda_pool_map(weir_cuda_device_t *device, weir_cuda_buffer_t *buffer)
{
    const weir_host_t *host = device->host;
    uint64_t chunk_bytes = device->pool.chunk_bytes;
    uint64_t count = (buffer->bytes + chunk_bytes - 1) / chunk_bytes;
    buffer->chunks = host->alloc(host, count * sizeof *buffer->chunks);
    if (!buffer->chunks)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a list of chunks");
    uint64_t mapped_bytes = count * chunk_bytes;
    weir_code_t code = weir_cuda_check(device,
        device->state->driver.cuMemAddressReserve(&buffer->address, mapped_bytes, 0, 0, 0),
        "cuMemAddressReserve");
    if (code == WEIR_OK) {
        buffer->mapped_bytes = mapped_bytes;
        code = map_chunks(device, buffer);
    }
    if (code != WEIR_OK)
        weir_cuda_pool_unmap(device, buffer);
    return code;
}

void weir_cuda_pool_unmap(weir_cuda_device_t *device, weir_cuda_buffer_t *buffer)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    uint64_t chunk_bytes = device->pool.chunk_bytes;
    for (uint32_t i = 0; i < buffer->chunk_count; i++) {
        (void)driver->cuMemUnmap(buffer->address + i * chunk_bytes, chunk_bytes);
        give(device, buffer->chunks[i]);
    }
    if (buffer->mapped_bytes)
        (void)driver->cuMemAddressFree(buffer->address, buffer->mapped_bytes);
    device->host->free(device->host, buffer->chunks);
    buffer->chunks = NULL;
    buffer->chunk_count = 0;
    buffer->mapped_bytes = 0;
    weir_cuda_pool_trim(device, device->state->keep_bytes);
}
