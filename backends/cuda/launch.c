// backends/cuda/launch.c: the hot call, and recordings of it as CUDA graphs.
//
// A launch enqueues the commands of its specialization, or one graph that was recorded with the
// very same bindings. record() captures what a launch enqueues, on a stream of its own and in the
// background. Graphs that are kept are bounded: the one used longest ago goes, and its launches
// enqueue again. Must not wait for the device or allocate.
#include "backends/cuda/cuda.h"

#include <stdio.h>
#include <string.h>

static weir_cuda_specialization_t *specialization_of(weir_handle_t handle)
{
    return (weir_cuda_specialization_t *)(uintptr_t)handle;
}

static weir_cuda_recording_t *recording_of(weir_handle_t handle)
{
    return (weir_cuda_recording_t *)(uintptr_t)handle;
}

// ---- Enqueueing ---------------------------------------------------------------------------------

// What one launch works with.
typedef struct run {
    const weir_cuda_specialization_t *specialization;
    const weir_binding_t *bindings; // [tensor_count + 1]
    uint32_t *word;
    CUstream stream;
    weir_cuda_asked_t asked;
    weir_cuda_operation_t *operation; // NULL: a capture
    bool is_ready;                    // the specialization, when the run began
} run_t;

static bool address_of(const run_t *run, const weir_cuda_spot_t *spot, CUdeviceptr *out_address)
{
    *out_address = 0;
    if (spot->tensor == WEIR_CUDA_NO_TENSOR)
        return true;
    if (spot->tensor == WEIR_CUDA_IS_ERROR) {
        *out_address = (CUdeviceptr)(uintptr_t)run->word;
        return true;
    }
    uint32_t tensor =
        spot->tensor == WEIR_CUDA_IS_SCRATCH ? run->specialization->tensor_count : spot->tensor;
    if (!weir_cuda_address(&run->bindings[tensor], out_address))
        return false;
    *out_address += *out_address ? spot->offset : 0;
    return true;
}

// A kernel's parameters go to the driver as one block of bytes, which it copies.
static weir_code_t enqueue_kernel(const run_t *run, const weir_cuda_command_t *command)
{
    const weir_cuda_specialization_t *of = run->specialization;
    uint64_t params[WEIR_CUDA_PARAMS_MAX / 8];
    size_t bytes = command->params_bytes;
    memcpy(params, of->params + command->params_at, bytes);
    for (uint32_t i = 0; i < command->spot_count; i++) {
        const weir_cuda_spot_t *spot = &of->spots[command->first_spot + i];
        CUdeviceptr address;
        if (!address_of(run, spot, &address))
            return WEIR_INVALID_ARGUMENT;
        memcpy((char *)params + spot->at, &address, sizeof address);
    }
    void *extra[] = {CU_LAUNCH_PARAM_BUFFER_POINTER, params, CU_LAUNCH_PARAM_BUFFER_SIZE, &bytes,
        CU_LAUNCH_PARAM_END};
    return weir_cuda_check(of->device,
        of->device->state->driver.cuLaunchKernel(command->function, command->grid.x,
            command->grid.y, command->grid.z, command->block.x, command->block.y, command->block.z,
            command->shared_bytes, run->stream, NULL, extra),
        "cuLaunchKernel");
}

static weir_code_t enqueue_command(const run_t *run, const weir_cuda_command_t *command)
{
    const weir_cuda_specialization_t *of = run->specialization;
    weir_cuda_device_t *device = of->device;
    const weir_cuda_spot_t scratch = {
        .tensor = WEIR_CUDA_IS_SCRATCH, .offset = command->workspace_offset};
    CUdeviceptr addresses[5], workspace;
    if (run->operation)
        run->operation->is_dirty = true;
    if (command->kind == WEIR_CUDA_STEP_KERNEL)
        return enqueue_kernel(run, command);
    for (uint32_t i = 0; i < command->spot_count; i++)
        if (!address_of(run, &of->spots[command->first_spot + i], &addresses[i]))
            return WEIR_INVALID_ARGUMENT;
    if (!address_of(run, &scratch, &workspace))
        return WEIR_INVALID_ARGUMENT;
    if (command->kind == WEIR_CUDA_STEP_MATMUL)
        return weir_cuda_matmul_enqueue(
            device, command->plan, addresses, workspace, run->stream, run->asked);
    if (command->kind == WEIR_CUDA_STEP_CONV)
        return weir_cuda_conv_enqueue(
            device, command->plan, addresses, workspace, run->stream, run->asked);
    return weir_cuda_check(device,
        device->state->driver.cuMemcpyAsync(
            addresses[1], addresses[0], command->copy_bytes, run->stream),
        "cuMemcpyAsync");
}

// An event in front of a node's first command, or at the end.
static weir_code_t stamp(weir_cuda_operation_t *operation, uint32_t node, CUstream stream)
{
    weir_cuda_device_t *device = operation->queue->device;
    const weir_cuda_driver_t *driver = &device->state->driver;
    CUevent *event = &operation->stamps[operation->stamp_count];
    weir_code_t code = WEIR_OK;
    if (!*event)
        code = weir_cuda_check(
            device, driver->cuEventCreate(event, CU_EVENT_DEFAULT), "cuEventCreate");
    if (code == WEIR_OK)
        code = weir_cuda_check(device, driver->cuEventRecord(*event, stream), "cuEventRecord");
    operation->stamp_nodes[operation->stamp_count++] = node;
    return code;
}

static weir_code_t enqueue(const run_t *run, bool wants_stamps)
{
    const weir_cuda_specialization_t *of = run->specialization;
    weir_cuda_operation_t *operation = run->operation;
    const bool is_profiled = wants_stamps && operation->stamp_capacity > of->command_count;
    uint32_t node = UINT32_MAX;
    weir_code_t code = WEIR_OK;
    for (uint32_t i = 0; i < of->command_count && code == WEIR_OK; i++) {
        const weir_cuda_command_t *command = &of->commands[i];
        if (!(run->is_ready ? command->is_late : command->is_early))
            continue;
        if (is_profiled && command->node != node)
            code = stamp(operation, command->node, run->stream);
        node = command->node;
        if (code == WEIR_OK)
            code = enqueue_command(run, command);
    }
    if (code == WEIR_OK && is_profiled)
        code = stamp(operation, UINT32_MAX, run->stream);
    if (code == WEIR_INVALID_ARGUMENT)
        (void)weir_cuda_fail(of->device, code,
            "a binding leaves its buffer, or is in memory that the device does not see");
    return code;
}

// ---- Launching ----------------------------------------------------------------------------------

// Room for the stamps of a profiled launch; without it there are no records.
static void make_stamps(weir_cuda_operation_t *operation, uint32_t count)
{
    const weir_host_t *host = operation->queue->device->host;
    if (operation->stamp_capacity >= count)
        return;
    CUevent *stamps = host->alloc(host, count * sizeof *stamps);
    uint32_t *nodes = host->alloc(host, count * sizeof *nodes);
    if (!stamps || !nodes) {
        host->free(host, stamps);
        host->free(host, nodes);
        return;
    }
    memset(stamps, 0, count * sizeof *stamps);
    if (operation->stamp_capacity)
        memcpy(stamps, operation->stamps, operation->stamp_capacity * sizeof *stamps);
    host->free(host, operation->stamps);
    host->free(host, operation->stamp_nodes);
    operation->stamps = stamps;
    operation->stamp_nodes = nodes;
    operation->stamp_capacity = count;
}

// The graph to launch, held until the operation ends; NULL: there is none now.
static CUgraphExec hold_graph(weir_cuda_operation_t *operation, weir_cuda_recording_t *recording)
{
    weir_cuda_device_t *device = recording->device;
    pthread_mutex_lock(&device->lock);
    CUgraphExec exec = recording->exec;
    if (exec) {
        recording->uses++;
        recording->replay_count++;
        recording->used = ++device->launch_count;
        operation->recording = recording;
    }
    pthread_mutex_unlock(&device->lock);
    return exec;
}

static weir_code_t begin(
    weir_cuda_queue_t *queue, const weir_launch_t *launch, weir_cuda_operation_t *operation)
{
    weir_cuda_device_t *device = queue->device;
    weir_cuda_specialization_t *specialization = specialization_of(launch->specialization);
    const run_t run = {.specialization = specialization,
        .bindings = launch->bindings,
        .word = queue->word,
        .stream = queue->stream,
        .asked = WEIR_CUDA_ASKED_LAUNCH,
        .operation = operation,
        .is_ready = atomic_load_explicit(&specialization->is_ready, memory_order_acquire)};
    weir_code_t code = weir_cuda_operation_wait(queue, launch->waits, launch->wait_count);
    if (code != WEIR_OK)
        return code;
    operation->specialization = specialization;
    operation->launch_id = launch->id;
    CUgraphExec exec = launch->recording && !launch->profiled
                           ? hold_graph(operation, recording_of(launch->recording))
                           : NULL;
    if (specialization->may_fail)
        operation->word = exec ? operation->recording->word : queue->word;
    if (exec) {
        operation->is_dirty = true;
        return weir_cuda_check(
            device, device->state->driver.cuGraphLaunch(exec, queue->stream), "cuGraphLaunch");
    }
    if (launch->profiled)
        make_stamps(operation, specialization->command_count + 1);
    return enqueue(&run, launch->profiled);
}

weir_code_t weir_cuda_launch(weir_handle_t handle, const weir_launch_t *launch)
{
    weir_cuda_queue_t *queue = (weir_cuda_queue_t *)(uintptr_t)handle;
    weir_cuda_device_t *device = queue->device;
    const weir_cuda_specialization_t *specialization = specialization_of(launch->specialization);
    weir_cuda_operation_t *operation;
    if (launch->binding_count != specialization->tensor_count + 1)
        return device->host->fail(device->host, WEIR_INVALID_ARGUMENT,
            "%u bindings for %u tensors and the scratch", launch->binding_count,
            specialization->tensor_count);
    weir_code_t code = weir_cuda_enter(device);
    if (code != WEIR_OK)
        return code;
    code = weir_cuda_operation_new(queue, launch->signals, launch->signal_count, &operation);
    if (code == WEIR_OK) {
        weir_cuda_range_push(device, launch->recording ? "weir launch (graph)" : "weir launch");
        code = begin(queue, launch, operation);
        weir_cuda_range_pop(device);
        code = code == WEIR_OK ? weir_cuda_operation_begin(operation)
                               : weir_cuda_operation_fail(operation, code);
    }
    weir_cuda_leave(device);
    return code;
}

// ---- Recording ----------------------------------------------------------------------------------

// Captures what a launch would enqueue. The capture is ended whatever happens in it. It is relaxed:
// libraries and the driver load a kernel when it is launched for the first time, which no other
// mode lets this thread do, and nothing here takes an order from what is not captured.
static weir_code_t capture(weir_cuda_device_t *device, const run_t *run, CUgraph *out_graph)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    *out_graph = NULL;
    weir_code_t code = weir_cuda_check(device,
        driver->cuStreamBeginCapture(run->stream, CU_STREAM_CAPTURE_MODE_RELAXED),
        "cuStreamBeginCapture");
    if (code != WEIR_OK)
        return code;
    code = enqueue(run, false);
    CUresult result = driver->cuStreamEndCapture(run->stream, out_graph);
    if (code == WEIR_OK)
        code = weir_cuda_check(device, result, "cuStreamEndCapture");
    if (code == WEIR_OK && !*out_graph)
        code = weir_cuda_fail(device, WEIR_UNSUPPORTED, "the capture was invalidated");
    return code;
}

static weir_code_t make_graph(weir_cuda_recording_t *recording, const weir_binding_t *bindings)
{
    weir_cuda_device_t *device = recording->device;
    const weir_cuda_driver_t *driver = &device->state->driver;
    run_t run = {.specialization = recording->specialization,
        .bindings = bindings,
        .word = recording->word,
        .asked = WEIR_CUDA_ASKED_CAPTURE,
        .is_ready =
            atomic_load_explicit(&recording->specialization->is_ready, memory_order_acquire)};
    CUgraph graph = NULL;
    weir_code_t code = weir_cuda_check(
        device, driver->cuStreamCreate(&run.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    if (code != WEIR_OK)
        return code;
    code = capture(device, &run, &graph);
    if (code == WEIR_OK)
        code = weir_cuda_check(
            device, driver->cuGraphInstantiate(&recording->exec, graph, 0), "cuGraphInstantiate");
    if (graph)
        (void)driver->cuGraphDestroy(graph);
    weir_cuda_convs_forget(device->convs, run.stream);
    (void)driver->cuStreamDestroy(run.stream);
    return code;
}

static void enlist(weir_cuda_recording_t *recording)
{
    weir_cuda_device_t *device = recording->device;
    pthread_mutex_lock(&device->lock);
    recording->used = ++device->launch_count;
    recording->next = device->recordings;
    recording->from = &device->recordings;
    if (recording->next)
        recording->next->from = &recording->next;
    device->recordings = recording;
    pthread_mutex_unlock(&device->lock);
}

// This is a thread of the background: what a launch must not wait for is made here.
static weir_code_t furnish(weir_cuda_recording_t *recording, const weir_binding_t *bindings)
{
    weir_cuda_device_t *device = recording->device;
    weir_code_t code = weir_cuda_word_take(device, &recording->word);
    if (code != WEIR_OK)
        return code;
    weir_cuda_specialization_ready(recording->specialization);
    // What enqueues nothing has no graph: its launches enqueue nothing.
    if (recording->specialization->command_count)
        code = make_graph(recording, bindings);
    if (code == WEIR_OK)
        weir_cuda_recordings_drop(device, device->state->graphs_max - 1);
    return code;
}

// Once a specialization for each: who asks whether graphs are there finds it in the log.
static void say_recorded(weir_cuda_specialization_t *of, weir_code_t code)
{
    weir_cuda_device_t *device = of->device;
    char why[WEIR_REASON_BYTES] = "", text[WEIR_REASON_BYTES + 96];
    if (atomic_exchange(code == WEIR_OK ? &of->has_said_recorded : &of->has_said_refused, true))
        return;
    if (code != WEIR_OK)
        weir_cuda_failed_text(device, why, sizeof why);
    snprintf(text, sizeof text, "cuda:%u: a graph of %u commands is %s%s", device->index,
        of->command_count, code == WEIR_OK ? "recorded" : "refused: ", why);
    device->host->log(device->host, 2, text);
}

weir_code_t weir_cuda_record(weir_handle_t handle, const weir_binding_t *bindings,
    uint32_t binding_count, weir_handle_t *out_recording)
{
    weir_cuda_specialization_t *specialization = specialization_of(handle);
    weir_cuda_device_t *device = specialization->device;
    const weir_host_t *host = device->host;
    if (!device->state->graphs_max || binding_count != specialization->tensor_count + 1)
        return host->fail(host, WEIR_UNSUPPORTED, "this is not recorded");
    weir_cuda_recording_t *recording = host->alloc(host, sizeof *recording);
    if (!recording)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a recording");
    *recording = (weir_cuda_recording_t){.device = device, .specialization = specialization};
    weir_code_t code = weir_cuda_enter(device);
    if (code == WEIR_OK) {
        code = furnish(recording, bindings);
        say_recorded(specialization, code);
        weir_cuda_leave(device);
    }
    if (code != WEIR_OK) {
        weir_cuda_word_give(device, recording->word);
        host->free(host, recording);
        return code;
    }
    enlist(recording);
    *out_recording = (weir_handle_t)(uintptr_t)recording;
    return WEIR_OK;
}

static void recording_free(weir_cuda_recording_t *recording)
{
    weir_cuda_device_t *device = recording->device;
    if (recording->exec)
        (void)device->state->driver.cuGraphExecDestroy(recording->exec);
    weir_cuda_word_give(device, recording->word);
    device->host->free(device->host, recording);
}

void weir_cuda_recording_release(weir_handle_t handle)
{
    weir_cuda_recording_t *recording = recording_of(handle);
    weir_cuda_device_t *device = recording->device;
    weir_cuda_reaper_wait(device, NULL, recording, NULL);
    pthread_mutex_lock(&device->lock);
    *recording->from = recording->next;
    if (recording->next)
        recording->next->from = recording->from;
    pthread_mutex_unlock(&device->lock);
    if (recording->replay_count) { // said here, because a launch must not
        char text[96];
        snprintf(text, sizeof text, "cuda:%u: a graph was launched %llu times", device->index,
            (unsigned long long)recording->replay_count);
        device->host->log(device->host, 2, text);
    }
    const bool is_in = weir_cuda_enter_to_free(device);
    recording_free(recording);
    if (is_in)
        weir_cuda_leave(device);
}

void weir_cuda_recordings_drop(weir_cuda_device_t *device, uint32_t keep)
{
    for (;;) {
        weir_cuda_recording_t *oldest = NULL;
        CUgraphExec exec = NULL;
        uint32_t count = 0;
        pthread_mutex_lock(&device->lock);
        for (weir_cuda_recording_t *each = device->recordings; each; each = each->next) {
            count += each->exec != NULL;
            if (each->exec && !each->uses && (!oldest || each->used < oldest->used))
                oldest = each;
        }
        if (oldest && count > keep) {
            exec = oldest->exec;
            oldest->exec = NULL;
        }
        pthread_mutex_unlock(&device->lock);
        if (!exec)
            return;
        (void)device->state->driver.cuGraphExecDestroy(exec);
    }
}

void weir_cuda_recordings_close(weir_cuda_device_t *device)
{
    while (device->recordings) {
        weir_cuda_recording_t *recording = device->recordings;
        device->recordings = recording->next;
        recording_free(recording);
    }
}
