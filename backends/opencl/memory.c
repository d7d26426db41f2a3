// backends/opencl/memory.c: buffers.
//
// Where the device works in the host's memory (CPUs, integrated GPUs) a buffer is host memory that
// the driver uses as it is, aligned to 256 bytes. Pinned memory is never given to a kernel, so
// there it needs no object of the driver's at all; of a discrete device it is a buffer that stays
// mapped.
#include "backends/opencl/opencl.h"

#include <string.h>

#define ALIGNMENT 256u

weir_cl_buffer_t *weir_cl_buffer(weir_handle_t handle)
{
    return (weir_cl_buffer_t *)(uintptr_t)handle;
}

// A mapping of all of it is made, or ended, when it is known that it is.
static cl_int map_memory(weir_cl_device_t *device, weir_cl_buffer_t *buffer, size_t bytes)
{
    cl_event event;
    cl_int error = CL_SUCCESS;
    buffer->host = clEnqueueMapBuffer(device->commands, buffer->memory, CL_FALSE,
        CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0, NULL, &event, &error);
    if (error != CL_SUCCESS)
        return error;
    buffer->is_mapped_memory = true;
    error = weir_cl_wait(device, device->commands, event);
    (void)clReleaseEvent(event);
    return error;
}

static void unmap_memory(weir_cl_device_t *device, weir_cl_buffer_t *buffer)
{
    cl_event event;
    if (clEnqueueUnmapMemObject(device->commands, buffer->memory, buffer->host, 0, NULL, &event) !=
        CL_SUCCESS)
        return;
    (void)weir_cl_wait(device, device->commands, event);
    (void)clReleaseEvent(event);
}

static void release(weir_cl_device_t *device, weir_cl_buffer_t *buffer)
{
    const weir_host_t *host = device->host;
    if (buffer->is_mapped_memory)
        unmap_memory(device, buffer);
    if (buffer->memory)
        (void)clReleaseMemObject(buffer->memory);
    if (buffer->block)
        host->free(host, buffer->block);
    host->free(host, buffer);
}

static void enlist(weir_cl_device_t *device, weir_cl_buffer_t *buffer)
{
    pthread_mutex_lock(&device->lock);
    buffer->next = device->buffers;
    buffer->from = &device->buffers;
    if (buffer->next)
        buffer->next->from = &buffer->next;
    device->buffers = buffer;
    device->used_bytes += buffer->bytes;
    pthread_mutex_unlock(&device->lock);
}

static weir_cl_buffer_t *buffer_new(weir_cl_device_t *device, uint64_t bytes)
{
    weir_cl_buffer_t *buffer = device->host->alloc(device->host, sizeof *buffer);
    if (buffer)
        *buffer =
            (weir_cl_buffer_t){.bytes = bytes, .serial = atomic_fetch_add(&device->serials, 1) + 1};
    return buffer;
}

// Host memory behind the buffer, whole cache lines of it.
static bool add_block(weir_cl_device_t *device, weir_cl_buffer_t *buffer)
{
    uint64_t bytes = (buffer->bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    buffer->block = device->host->alloc(device->host, bytes);
    if (!buffer->block)
        return false;
    uintptr_t at = ((uintptr_t)buffer->block + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    buffer->host = (void *)at;
    return true;
}

static cl_int make_memory(weir_cl_device_t *device, weir_cl_buffer_t *buffer, bool is_pinned)
{
    cl_int error = CL_SUCCESS;
    size_t bytes = (size_t)WEIR_MAX(buffer->bytes, 1u);
    if (device->is_unified) {
        if (!add_block(device, buffer))
            return CL_OUT_OF_HOST_MEMORY;
        if (!is_pinned)
            buffer->memory = clCreateBuffer(device->context,
                CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, bytes, buffer->host, &error);
        return error;
    }
    cl_mem_flags flags = CL_MEM_READ_WRITE | (is_pinned ? CL_MEM_ALLOC_HOST_PTR : 0);
    buffer->memory = clCreateBuffer(device->context, flags, bytes, NULL, &error);
    if (error != CL_SUCCESS || !is_pinned)
        return error;
    return map_memory(device, buffer, bytes);
}

weir_code_t weir_cl_alloc(
    weir_handle_t handle, uint32_t kind, uint64_t bytes, weir_handle_t *out_buffer)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    const weir_host_t *host = device->host;
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    if (kind != WEIR_MEMORY_DEVICE && kind != WEIR_MEMORY_PINNED)
        return host->fail(host, WEIR_UNSUPPORTED, "memory of kind %u is not offered", kind);
    if (bytes > device->buffer_bytes_max)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED,
            "%llu bytes: one buffer holds at most %llu", (unsigned long long)bytes,
            (unsigned long long)device->buffer_bytes_max);
    weir_cl_buffer_t *buffer = buffer_new(device, bytes);
    cl_int error =
        buffer ? make_memory(device, buffer, kind == WEIR_MEMORY_PINNED) : CL_OUT_OF_HOST_MEMORY;
    if (error != CL_SUCCESS) {
        if (buffer)
            release(device, buffer);
        // Out of memory, in the words of some drivers.
        if (error == CL_OUT_OF_RESOURCES)
            error = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        return weir_cl_failure(device, error, "a buffer");
    }
    enlist(device, buffer);
    *out_buffer = (weir_handle_t)(uintptr_t)buffer;
    return WEIR_OK;
}

weir_code_t weir_cl_wrap_host(
    weir_handle_t handle, void *memory, uint64_t bytes, weir_handle_t *out_buffer)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    if (!memory)
        return device->host->fail(device->host, WEIR_INVALID_ARGUMENT, "there is no memory");
    weir_cl_buffer_t *buffer = buffer_new(device, bytes);
    if (!buffer)
        return WEIR_RESOURCE_EXHAUSTED;
    buffer->host = memory;
    enlist(device, buffer);
    *out_buffer = (weir_handle_t)(uintptr_t)buffer;
    return WEIR_OK;
}

void weir_cl_free(weir_handle_t handle, weir_handle_t number)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    weir_cl_buffer_t *buffer = weir_cl_buffer(number);
    if (!buffer)
        return;
    pthread_mutex_lock(&device->lock);
    *buffer->from = buffer->next;
    if (buffer->next)
        buffer->next->from = buffer->from;
    device->used_bytes -= buffer->bytes;
    pthread_mutex_unlock(&device->lock);
    release(device, buffer);
}

void weir_cl_buffers_free(weir_cl_device_t *device)
{
    while (device->buffers)
        weir_cl_free((weir_handle_t)(uintptr_t)device, (weir_handle_t)(uintptr_t)device->buffers);
}

weir_code_t weir_cl_map(weir_handle_t handle, weir_handle_t number, void **out_pointer)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    weir_cl_buffer_t *buffer = weir_cl_buffer(number);
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    if (!buffer->host)
        return device->host->fail(
            device->host, WEIR_INVALID_ARGUMENT, "memory of the device is not mapped");
    *out_pointer = buffer->host;
    return WEIR_OK;
}

// It stays mapped as long as it lives.
void weir_cl_unmap(weir_handle_t device, weir_handle_t buffer)
{
    (void)device;
    (void)buffer;
}

weir_code_t weir_cl_memory_info(weir_handle_t handle, uint64_t *out_used, uint64_t *out_total)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    pthread_mutex_lock(&device->lock);
    *out_used = device->used_bytes;
    *out_total = device->memory_bytes;
    pthread_mutex_unlock(&device->lock);
    return WEIR_OK;
}
