// backends/opencl/launch.c: the hot call: places are set where they changed, kernels enqueued in
// order. No waiting, no memory once it has warmed up.
#include "backends/opencl/opencl.h"

#define EXTRA_EVENTS 2 // the error word is cleared and read

// What a launch needs besides its bindings.
typedef struct launching {
    const weir_launch_t *launch;
    weir_cl_specialization_t *made;
    weir_cl_queue_t *queue;
    weir_cl_flight_t *flight;
} launching_t;

static weir_code_t check_bindings(const launching_t *launching)
{
    const weir_cl_specialization_t *made = launching->made;
    const weir_launch_t *launch = launching->launch;
    const weir_host_t *host = made->device->host;
    if (launch->binding_count != made->tensor_count + 1)
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%u bindings for %u tensors and the scratch",
            launch->binding_count, made->tensor_count);
    for (uint32_t t = 0; t <= made->tensor_count; t++) {
        const weir_binding_t *binding = &launch->bindings[t];
        const weir_cl_buffer_t *buffer = weir_cl_buffer(binding->buffer);
        if (!buffer) // only tensors that no kernel reads may be without a place
            continue;
        if (!buffer->memory || binding->bytes < made->bytes[t] || binding->offset > buffer->bytes ||
            binding->bytes > buffer->bytes - binding->offset)
            return host->fail(host, WEIR_INVALID_ARGUMENT,
                "tensor %u: bound to %llu bytes at %llu of a buffer of %llu, has %llu", t,
                (unsigned long long)binding->bytes, (unsigned long long)binding->offset,
                (unsigned long long)buffer->bytes, (unsigned long long)made->bytes[t]);
    }
    return WEIR_OK;
}

static cl_int set_place(cl_kernel kernel, const weir_cl_use_t *use, const weir_cl_bound_t *wanted,
    weir_cl_bound_t *bound)
{
    cl_int error = CL_SUCCESS;
    const cl_ulong offset = wanted->offset;
    if (bound->offset == UINT64_MAX || bound->serial != wanted->serial)
        error = clSetKernelArg(kernel, use->argument, sizeof wanted->memory, &wanted->memory);
    if (error == CL_SUCCESS && bound->offset != wanted->offset)
        error = clSetKernelArg(kernel, use->argument + 1, sizeof offset, &offset);
    *bound = *wanted;
    if (error != CL_SUCCESS)
        bound->offset = UINT64_MAX;
    return error;
}

static cl_int enqueue(const launching_t *launching, const weir_cl_step_t *step)
{
    weir_cl_specialization_t *made = launching->made;
    weir_cl_flight_t *flight = launching->flight;
    cl_int error = CL_SUCCESS;
    for (uint32_t i = 0; i < step->use_count && error == CL_SUCCESS; i++) {
        const weir_cl_use_t *use = &made->uses[step->first_use + i];
        weir_cl_bound_t wanted = {.memory = launching->queue->errors,
            .serial = launching->queue->serial,
            .offset = (uint64_t)flight->slot * WEIR_CL_ERROR_STEP};
        if (use->binding != UINT32_MAX) {
            const weir_binding_t *binding = &launching->launch->bindings[use->binding];
            const weir_cl_buffer_t *buffer = weir_cl_buffer(binding->buffer);
            wanted = (weir_cl_bound_t){0};
            if (buffer)
                wanted = (weir_cl_bound_t){.memory = buffer->memory,
                    .serial = buffer->serial,
                    .offset = binding->offset + use->offset};
        }
        error = set_place(step->kernel, use, &wanted, &made->bound[step->first_use + i]);
    }
    if (error == CL_SUCCESS)
        error = clEnqueueNDRangeKernel(launching->queue->commands, step->kernel, 3, NULL,
            step->global, step->local, 0, NULL, weir_cl_flight_event(flight));
    if (error == CL_SUCCESS)
        weir_cl_flight_flown(flight, step->node);
    return error;
}

static cl_int enqueue_all(const launching_t *launching)
{
    static const cl_int zero = 0;
    weir_cl_specialization_t *made = launching->made;
    weir_cl_flight_t *flight = launching->flight;
    cl_command_queue commands = launching->queue->commands;
    size_t at = (size_t)flight->slot * WEIR_CL_ERROR_STEP;
    cl_int error = CL_SUCCESS;
    if (made->has_errors && flight->is_dirty)
        error = clEnqueueWriteBuffer(commands, launching->queue->errors, CL_FALSE, at, sizeof zero,
            &zero, 0, NULL, weir_cl_flight_event(flight));
    if (made->has_errors && flight->is_dirty && error == CL_SUCCESS)
        weir_cl_flight_flown(flight, WEIR_CL_NO_NODE);
    if (made->has_errors)
        flight->is_dirty = true; // until it lands well: a launch that is dropped may write it, too
    for (uint32_t i = 0; i < made->step_count && error == CL_SUCCESS; i++)
        error = enqueue(launching, &made->steps[i]);
    if (made->has_errors && error == CL_SUCCESS) {
        error = clEnqueueReadBuffer(commands, launching->queue->errors, CL_FALSE, at,
            sizeof flight->error_word, &flight->error_word, 0, NULL, weir_cl_flight_event(flight));
        flight->reads_error = error == CL_SUCCESS; // refused: the word is that of a launch before
        if (error == CL_SUCCESS)
            weir_cl_flight_flown(flight, WEIR_CL_NO_NODE);
    }
    return error;
}

// The device may be lost with this launch, by option.
static void count_launch(weir_cl_device_t *device)
{
    uint64_t number = atomic_fetch_add(&device->launches, 1) + 1;
    if (!device->lose_after || number != device->lose_after)
        return;
    pthread_mutex_lock(&device->state->lock);
    device->state->has_lost_once = true;
    pthread_mutex_unlock(&device->state->lock);
    atomic_store(&device->is_lost, true); // this launch and those before it fail when they land
}

weir_code_t weir_cl_launch(weir_handle_t handle, const weir_launch_t *launch)
{
    weir_cl_queue_t *queue = (weir_cl_queue_t *)(uintptr_t)handle;
    weir_cl_device_t *device = queue->device;
    weir_cl_specialization_t *made = (weir_cl_specialization_t *)(uintptr_t)launch->specialization;
    launching_t launching = {.launch = launch, .made = made, .queue = queue};
    weir_code_t code = weir_cl_enter(device);
    if (code == WEIR_OK && made->device != device)
        code = device->host->fail(
            device->host, WEIR_INVALID_ARGUMENT, "launch on a queue of another device");
    if (code == WEIR_OK)
        code = check_bindings(&launching);
    if (code != WEIR_OK)
        return code;
    count_launch(device);
    launching.flight = weir_cl_flight_new(queue, launch->wait_count,
        made->step_count + EXTRA_EVENTS, launch->signals, launch->signal_count);
    if (!launching.flight)
        return WEIR_RESOURCE_EXHAUSTED;
    launching.flight->specialization = made;
    launching.flight->is_profiled = launch->profiled != 0;
    launching.flight->launch_id = launch->id;
    cl_int error = weir_cl_await(launching.flight, launch->waits, launch->wait_count);
    if (error == CL_SUCCESS) {
        pthread_mutex_lock(&made->lock);
        error = enqueue_all(&launching);
        pthread_mutex_unlock(&made->lock);
    }
    return weir_cl_flight_start(launching.flight, error, "a launch");
}
