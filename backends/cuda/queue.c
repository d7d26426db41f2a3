// backends/cuda/queue.c: queues: a stream each, and the operations that are under way in it.
//
// The engine's queue is in order, so one stream holds launches and copies alike: streams for copies
// of their own would wait for it and it for them. An operation is an event behind what it asked
// for. Operations are kept for the next time, so that a launch allocates nothing once as many as
// are ever under way have been made. Must not wait for the device.
#include "backends/cuda/cuda.h"

#include <string.h>

static weir_cuda_queue_t *queue_of(weir_handle_t handle)
{
    return (weir_cuda_queue_t *)(uintptr_t)handle;
}

// ---- Life ---------------------------------------------------------------------------------------

static weir_code_t make_stream(weir_cuda_device_t *device, weir_cuda_queue_t *queue)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    weir_code_t code = weir_cuda_check(
        device, driver->cuStreamCreate(&queue->stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    if (code != WEIR_OK)
        return code;
    code = weir_cuda_word_take(device, &queue->word);
    if (code != WEIR_OK)
        (void)driver->cuStreamDestroy(queue->stream);
    return code;
}

weir_code_t weir_cuda_queue_create(weir_handle_t handle, weir_handle_t *out_queue)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    const weir_host_t *host = device->host;
    weir_cuda_queue_t *queue = host->alloc(host, sizeof *queue);
    if (!queue)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a queue");
    *queue = (weir_cuda_queue_t){.device = device};
    queue->last = &queue->first;
    weir_code_t code = weir_cuda_enter(device);
    if (code == WEIR_OK) {
        code = make_stream(device, queue);
        weir_cuda_leave(device);
    }
    if (code != WEIR_OK) {
        host->free(host, queue);
        return code;
    }
    pthread_mutex_lock(&device->lock);
    queue->next = device->queues;
    device->queues = queue;
    pthread_mutex_unlock(&device->lock);
    *out_queue = (weir_handle_t)(uintptr_t)queue;
    return WEIR_OK;
}

void weir_cuda_queue_free(weir_cuda_queue_t *queue)
{
    weir_cuda_device_t *device = queue->device;
    *queue->last = queue->spare; // what never ended, if the device is being closed
    while (queue->first) {
        weir_cuda_operation_t *operation = queue->first;
        queue->first = operation->next;
        weir_cuda_operation_free(device, operation);
    }
    weir_cuda_convs_forget(device->convs, queue->stream);
    (void)device->state->driver.cuStreamDestroy(queue->stream);
    weir_cuda_word_give(device, queue->word);
    device->host->free(device->host, queue);
}

void weir_cuda_queue_destroy(weir_handle_t handle, weir_handle_t number)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    weir_cuda_queue_t *queue = queue_of(number);
    weir_cuda_reaper_wait(device, NULL, NULL, queue);
    pthread_mutex_lock(&device->lock);
    weir_cuda_queue_t **link = &device->queues;
    while (*link != queue)
        link = &(*link)->next;
    *link = queue->next;
    pthread_mutex_unlock(&device->lock);
    const bool is_in = weir_cuda_enter_to_free(device);
    weir_cuda_queue_free(queue);
    if (is_in)
        weir_cuda_leave(device);
}

// ---- Operations ---------------------------------------------------------------------------------

void weir_cuda_operation_free(weir_cuda_device_t *device, weir_cuda_operation_t *operation)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    const weir_host_t *host = device->host;
    for (uint32_t i = 0; i < operation->stamp_capacity; i++)
        if (operation->stamps[i])
            (void)driver->cuEventDestroy(operation->stamps[i]);
    if (operation->event)
        (void)driver->cuEventDestroy(operation->event);
    host->free(host, operation->stamps);
    host->free(host, operation->stamp_nodes);
    host->free(host, operation->signals);
    host->free(host, operation);
}

static weir_code_t make_operation(weir_cuda_queue_t *queue, weir_cuda_operation_t **out_operation)
{
    weir_cuda_device_t *device = queue->device;
    weir_cuda_operation_t *operation = device->host->alloc(device->host, sizeof *operation);
    if (!operation)
        return device->host->fail(
            device->host, WEIR_RESOURCE_EXHAUSTED, "no memory for an operation");
    *operation = (weir_cuda_operation_t){.queue = queue};
    weir_code_t code = weir_cuda_check(device,
        device->state->driver.cuEventCreate(&operation->event, CU_EVENT_DISABLE_TIMING),
        "cuEventCreate");
    if (code != WEIR_OK)
        device->host->free(device->host, operation);
    *out_operation = code == WEIR_OK ? operation : NULL;
    return code;
}

static bool set_signals(const weir_host_t *host, weir_cuda_operation_t *operation,
    const weir_timeline_point_t *signals, uint32_t count)
{
    if (count > operation->signal_capacity) {
        weir_timeline_point_t *grown = host->alloc(host, count * sizeof *grown);
        if (!grown)
            return false;
        host->free(host, operation->signals);
        operation->signals = grown;
        operation->signal_capacity = count;
    }
    if (count)
        memcpy(operation->signals, signals, count * sizeof *signals);
    operation->signal_count = count;
    return true;
}

weir_code_t weir_cuda_operation_new(weir_cuda_queue_t *queue, const weir_timeline_point_t *signals,
    uint32_t signal_count, weir_cuda_operation_t **out_operation)
{
    weir_cuda_device_t *device = queue->device;
    pthread_mutex_lock(&device->lock);
    weir_cuda_operation_t *operation = queue->spare;
    if (operation)
        queue->spare = operation->next;
    pthread_mutex_unlock(&device->lock);
    if (!operation) {
        weir_code_t code = make_operation(queue, &operation);
        if (code != WEIR_OK)
            return code;
    }
    operation->next = NULL;
    operation->specialization = NULL;
    operation->recording = NULL;
    operation->word = NULL;
    operation->is_dirty = operation->is_without_event = false;
    operation->failure = WEIR_OK;
    operation->stamp_count = 0;
    *out_operation = operation;
    if (set_signals(device->host, operation, signals, signal_count))
        return WEIR_OK;
    weir_cuda_operation_drop(operation);
    return device->host->fail(device->host, WEIR_RESOURCE_EXHAUSTED, "no memory for an operation");
}

void weir_cuda_operation_drop(weir_cuda_operation_t *operation)
{
    weir_cuda_queue_t *queue = operation->queue;
    pthread_mutex_lock(&queue->device->lock);
    if (operation->recording)
        operation->recording->uses--;
    operation->recording = NULL;
    operation->specialization = NULL;
    operation->next = queue->spare;
    queue->spare = operation;
    if (queue->device->finishing == operation) {
        queue->device->finishing = NULL;
        pthread_cond_broadcast(&queue->device->changed);
    }
    pthread_mutex_unlock(&queue->device->lock);
}

static void put_under_way(weir_cuda_operation_t *operation)
{
    weir_cuda_queue_t *queue = operation->queue;
    weir_cuda_device_t *device = queue->device;
    pthread_mutex_lock(&device->lock);
    *queue->last = operation;
    queue->last = &operation->next;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
}

static weir_code_t record_event(weir_cuda_operation_t *operation)
{
    weir_cuda_queue_t *queue = operation->queue;
    return weir_cuda_check(queue->device,
        queue->device->state->driver.cuEventRecord(operation->event, queue->stream),
        "cuEventRecord");
}

weir_code_t weir_cuda_operation_begin(weir_cuda_operation_t *operation)
{
    weir_code_t code = record_event(operation);
    if (code != WEIR_OK) {
        operation->is_without_event = true;
        return weir_cuda_operation_fail(operation, code);
    }
    put_under_way(operation);
    return WEIR_OK;
}

weir_code_t weir_cuda_operation_fail(weir_cuda_operation_t *operation, weir_code_t code)
{
    weir_cuda_device_t *device = operation->queue->device;
    if (!operation->is_dirty || atomic_load(&device->is_lost)) {
        weir_cuda_operation_drop(operation);
        return code;
    }
    const bool is_heard = operation->signal_count > 0;
    operation->failure = code;
    weir_cuda_failed_text(device, operation->failure_text, sizeof operation->failure_text);
    if (!operation->is_without_event)
        operation->is_without_event = record_event(operation) != WEIR_OK;
    put_under_way(operation);
    return is_heard ? WEIR_OK : code;
}

// Does it signal this point, or a later one of the same timeline?
static bool signals_point(
    const weir_cuda_operation_t *operation, const weir_timeline_point_t *point)
{
    for (uint32_t i = 0; i < operation->signal_count; i++)
        if (operation->signals[i].timeline == point->timeline &&
            operation->signals[i].value >= point->value)
            return true;
    return false;
}

// The operation under way in another queue that signals the point; NULL: none does any more.
static weir_cuda_operation_t *find_signaller(
    const weir_cuda_queue_t *other, const weir_timeline_point_t *point)
{
    weir_cuda_operation_t *operation = other->first;
    while (operation && !signals_point(operation, point))
        operation = operation->next;
    return operation;
}

// What is waited for in the queue itself comes before it anyway. The events are waited for under
// the lock, so that none is recorded anew meanwhile. What waits for an operation that failed fails
// with it.
weir_code_t weir_cuda_operation_wait(
    weir_cuda_queue_t *queue, const weir_timeline_point_t *waits, uint32_t wait_count)
{
    weir_cuda_device_t *device = queue->device;
    CUresult result = CUDA_SUCCESS;
    weir_code_t code = WEIR_OK;
    char text[WEIR_REASON_BYTES];
    if (!wait_count)
        return WEIR_OK;
    pthread_mutex_lock(&device->lock);
    for (uint32_t w = 0; w < wait_count; w++)
        for (weir_cuda_queue_t *other = device->queues; other; other = other->next) {
            const weir_cuda_operation_t *operation =
                other == queue ? NULL : find_signaller(other, &waits[w]);
            if (operation && operation->failure != WEIR_OK) {
                code = operation->failure;
                memcpy(text, operation->failure_text, sizeof text);
            } else if (operation && result == CUDA_SUCCESS) {
                result = device->state->driver.cuStreamWaitEvent(
                    queue->stream, operation->event, CU_EVENT_WAIT_DEFAULT);
            }
        }
    pthread_mutex_unlock(&device->lock);
    if (code != WEIR_OK)
        return weir_cuda_fail(device, code, text);
    return weir_cuda_check(device, result, "cuStreamWaitEvent");
}

// ---- Copies -------------------------------------------------------------------------------------

// One end of a copy. Plain host memory will do: the driver then copies it within the call.
static bool end_of(
    const weir_binding_t *binding, CUdeviceptr *out_address, weir_cuda_device_t **out_device)
{
    const weir_cuda_buffer_t *buffer = (const weir_cuda_buffer_t *)(uintptr_t)binding->buffer;
    *out_device = buffer && buffer->kind == WEIR_MEMORY_DEVICE ? buffer->device : NULL;
    if (buffer)
        return weir_cuda_address(binding, out_address);
    *out_address = (CUdeviceptr)(uintptr_t)binding->pointer;
    return binding->pointer || !binding->bytes;
}

static weir_code_t copy_region(
    weir_cuda_queue_t *queue, const weir_copy_region_t *region, weir_cuda_operation_t *operation)
{
    const weir_cuda_driver_t *driver = &queue->device->state->driver;
    weir_cuda_device_t *from_device, *to_device;
    CUdeviceptr from, to;
    if (region->from.bytes != region->to.bytes || !end_of(&region->from, &from, &from_device) ||
        !end_of(&region->to, &to, &to_device))
        return weir_cuda_fail(queue->device, WEIR_INVALID_ARGUMENT,
            "a copy of unequal ends, or one that leaves its buffer");
    if (!region->from.bytes)
        return WEIR_OK;
    operation->is_dirty = true;
    if (from_device && to_device && from_device != to_device)
        return weir_cuda_check(queue->device,
            driver->cuMemcpyPeerAsync(to, to_device->context, from, from_device->context,
                region->from.bytes, queue->stream),
            "cuMemcpyPeerAsync");
    return weir_cuda_check(queue->device,
        driver->cuMemcpyAsync(to, from, region->from.bytes, queue->stream), "cuMemcpyAsync");
}

weir_code_t weir_cuda_copy(weir_handle_t handle, const weir_copy_region_t *regions,
    uint32_t region_count, const weir_timeline_point_t *waits, uint32_t wait_count,
    const weir_timeline_point_t *signals, uint32_t signal_count)
{
    weir_cuda_queue_t *queue = queue_of(handle);
    weir_cuda_operation_t *operation;
    weir_code_t code = weir_cuda_enter(queue->device);
    if (code != WEIR_OK)
        return code;
    code = weir_cuda_operation_new(queue, signals, signal_count, &operation);
    if (code == WEIR_OK) {
        code = weir_cuda_operation_wait(queue, waits, wait_count);
        for (uint32_t i = 0; i < region_count && code == WEIR_OK; i++)
            code = copy_region(queue, &regions[i], operation);
        code = code == WEIR_OK ? weir_cuda_operation_begin(operation)
                               : weir_cuda_operation_fail(operation, code);
    }
    weir_cuda_leave(queue->device);
    return code;
}

weir_code_t weir_cuda_wait_idle(weir_handle_t handle)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    weir_cuda_reaper_wait(device, NULL, NULL, NULL);
    weir_code_t code = weir_cuda_enter(device); // it says whether the device is lost
    if (code == WEIR_OK)
        weir_cuda_leave(device);
    return code;
}
