// backends/opencl/queue.c: in-order queues, copies, and waiting for what another queue was given.
#include "backends/opencl/opencl.h"

#include <string.h>

static weir_cl_queue_t *queue_of(weir_handle_t handle)
{
    return (weir_cl_queue_t *)(uintptr_t)handle;
}

cl_command_queue weir_cl_commands_new(const weir_cl_device_t *device, cl_int *out_error)
{
    return clCreateCommandQueue(device->context, device->id, CL_QUEUE_PROFILING_ENABLE, out_error);
}

weir_code_t weir_cl_queue_create(weir_handle_t handle, weir_handle_t *out_queue)
{
    static const uint8_t zeros[WEIR_CL_ERROR_SLOTS * WEIR_CL_ERROR_STEP];
    weir_cl_device_t *device = weir_cl_device(handle);
    const weir_host_t *host = device->host;
    cl_int error = CL_SUCCESS;
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    weir_cl_queue_t *queue = host->alloc(host, sizeof *queue);
    if (!queue)
        return WEIR_RESOURCE_EXHAUSTED;
    *queue =
        (weir_cl_queue_t){.device = device, .serial = atomic_fetch_add(&device->serials, 1) + 1};
    queue->last = &queue->first;
    queue->commands = weir_cl_commands_new(device, &error);
    if (error == CL_SUCCESS)
        queue->errors = clCreateBuffer(device->context, CL_MEM_READ_WRITE | CL_MEM_COPY_HOST_PTR,
            sizeof zeros, (void *)(uintptr_t)zeros, &error);
    if (error != CL_SUCCESS) {
        if (queue->commands)
            (void)clReleaseCommandQueue(queue->commands);
        host->free(host, queue);
        return weir_cl_failure(device, error, "a queue");
    }
    pthread_mutex_lock(&device->lock);
    queue->next = device->queues;
    device->queues = queue;
    pthread_mutex_unlock(&device->lock);
    *out_queue = (weir_handle_t)(uintptr_t)queue;
    return WEIR_OK;
}

void weir_cl_queue_destroy(weir_handle_t handle, weir_handle_t queue_handle)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    weir_cl_queue_t *queue = queue_of(queue_handle);
    const weir_host_t *host = device->host;
    if (!queue)
        return;
    if (!weir_cl_settle_queue(queue))
        return; // what hangs in it still has its memory; close() sees to it
    pthread_mutex_lock(&device->lock);
    weir_cl_queue_t **link = &device->queues;
    while (*link && *link != queue)
        link = &(*link)->next;
    if (*link)
        *link = queue->next;
    pthread_mutex_unlock(&device->lock);
    weir_cl_flights_free(queue);
    (void)clReleaseMemObject(queue->errors);
    (void)clReleaseCommandQueue(queue->commands);
    host->free(host, queue);
}

// ---- Waits --------------------------------------------------------------------------------------

// The event of the flight that reaches the point, one reference more; NULL: it has been reached, or
// comes earlier in the same queue. Under the device's lock.
static cl_event event_of(const weir_cl_queue_t *waiting, const weir_timeline_point_t *point)
{
    for (weir_cl_queue_t *queue = waiting->device->queues; queue; queue = queue->next)
        for (weir_cl_flight_t *flight = queue->first; flight && queue != waiting;
             flight = flight->next) {
            const weir_timeline_point_t *signals = weir_cl_flight_signals(flight);
            for (uint32_t i = 0; i < flight->signal_count; i++)
                if (signals[i].timeline == point->timeline && signals[i].value >= point->value) {
                    (void)clRetainEvent(flight->event);
                    return flight->event;
                }
        }
    return NULL;
}

cl_int weir_cl_await(
    weir_cl_flight_t *flight, const weir_timeline_point_t *waits, uint32_t wait_count)
{
    weir_cl_queue_t *queue = flight->queue;
    weir_cl_device_t *device = queue->device;
    cl_int error = CL_SUCCESS;
    for (uint32_t first = 0; first < wait_count && error == CL_SUCCESS;
         first += WEIR_CL_WAITS_MAX) {
        cl_event events[WEIR_CL_WAITS_MAX];
        cl_uint count = 0;
        pthread_mutex_lock(&device->lock);
        for (uint32_t i = first; i < WEIR_MIN(wait_count, first + WEIR_CL_WAITS_MAX); i++)
            if ((events[count] = event_of(queue, &waits[i])) != NULL)
                count++;
        pthread_mutex_unlock(&device->lock);
        if (count)
            error = clEnqueueBarrierWithWaitList(
                queue->commands, count, events, weir_cl_flight_event(flight));
        if (count && error == CL_SUCCESS)
            weir_cl_flight_flown(flight, WEIR_CL_NO_NODE);
        for (cl_uint i = 0; i < count; i++)
            (void)clReleaseEvent(events[i]);
    }
    return error;
}

// ---- Copies -------------------------------------------------------------------------------------

// One end of a copy: a buffer of the device, or memory that the host sees.
typedef struct end {
    cl_mem memory; // NULL: `data`
    size_t offset;
    uint8_t *data;
} end_t;

static bool resolve(const weir_binding_t *binding, end_t *out_end)
{
    const weir_cl_buffer_t *buffer = weir_cl_buffer(binding->buffer);
    *out_end = (end_t){.data = binding->pointer};
    if (!buffer)
        return binding->pointer != NULL;
    if (binding->offset > buffer->bytes || binding->bytes > buffer->bytes - binding->offset)
        return false;
    if (buffer->memory && !buffer->is_mapped_memory)
        *out_end = (end_t){.memory = buffer->memory, .offset = (size_t)binding->offset};
    else
        out_end->data = (uint8_t *)buffer->host + binding->offset;
    return true;
}

static cl_int copy_region(
    weir_cl_flight_t *flight, const end_t *from, const end_t *to, size_t bytes)
{
    cl_command_queue commands = flight->queue->commands;
    cl_event *event = weir_cl_flight_event(flight);
    cl_int error;
    if (from->memory && to->memory) {
        error = clEnqueueCopyBuffer(
            commands, from->memory, to->memory, from->offset, to->offset, bytes, 0, NULL, event);
    } else if (to->memory) {
        error = clEnqueueWriteBuffer(
            commands, to->memory, CL_FALSE, to->offset, bytes, from->data, 0, NULL, event);
    } else if (from->memory) {
        error = clEnqueueReadBuffer(
            commands, from->memory, CL_FALSE, from->offset, bytes, to->data, 0, NULL, event);
    } else { // OpenCL has no command for it: when all before it has ended
        error = clEnqueueMarkerWithWaitList(commands, 0, NULL, event);
        if (error != CL_SUCCESS)
            return error;
        weir_cl_flight_flown(flight, WEIR_CL_NO_NODE);
        error = weir_cl_wait(flight->queue->device, commands, *event);
        if (error == CL_SUCCESS)
            memmove(to->data, from->data, bytes);
        return error;
    }
    if (error == CL_SUCCESS)
        weir_cl_flight_flown(flight, WEIR_CL_NO_NODE);
    return error;
}

weir_code_t weir_cl_copy(weir_handle_t handle, const weir_copy_region_t *regions,
    uint32_t region_count, const weir_timeline_point_t *waits, uint32_t wait_count,
    const weir_timeline_point_t *signals, uint32_t signal_count)
{
    weir_cl_queue_t *queue = queue_of(handle);
    weir_cl_device_t *device = queue->device;
    const weir_host_t *host = device->host;
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    for (uint32_t i = 0; i < region_count; i++) {
        end_t from, to;
        if (regions[i].from.bytes != regions[i].to.bytes || !resolve(&regions[i].from, &from) ||
            !resolve(&regions[i].to, &to))
            return host->fail(host, WEIR_INVALID_ARGUMENT,
                "region %u of a copy leaves its buffer, or its ends differ in size", i);
    }
    weir_cl_flight_t *flight =
        weir_cl_flight_new(queue, wait_count, region_count, signals, signal_count);
    if (!flight)
        return WEIR_RESOURCE_EXHAUSTED;
    cl_int error = weir_cl_await(flight, waits, wait_count);
    for (uint32_t i = 0; i < region_count && error == CL_SUCCESS; i++) {
        end_t from, to;
        (void)resolve(&regions[i].from, &from);
        (void)resolve(&regions[i].to, &to);
        if (regions[i].from.bytes)
            error = copy_region(flight, &from, &to, (size_t)regions[i].from.bytes);
    }
    return weir_cl_flight_start(flight, error, "a copy");
}
