// backends/chaos/specialize.c: a program at concrete dims: prepared kernels, recordings, and the
// run of it all on the device's thread.
//
// A specialization keeps views of the slice's nodes with tensors of its own, whose data are set for
// each launch. specialization_release() makes the device forget what is queued of it and waits for
// what runs, so that the slice may go.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <string.h>

static weir_chaos_specialization_t *specialization_of(weir_handle_t handle)
{
    return (weir_chaos_specialization_t *)(uintptr_t)handle;
}

static void specialization_free(weir_chaos_specialization_t *specialization)
{
    weir_chaos_state_t *state = specialization->device->state;
    const weir_host_t *host = state->host;
    for (uint32_t i = 0; specialization->nodes && i < specialization->slice->node_count; i++) {
        weir_chaos_node_t *node = &specialization->nodes[i];
        if (node->owns_state && node->kernel->release)
            node->kernel->release(&state->inner.abi, node->state);
        host->free(host, node->tensors);
    }
    host->free(host, specialization->nodes);
    host->free(host, specialization->data);
    host->free(host, specialization->holds);
    host->free(host, specialization);
}

static weir_code_t prepare(weir_chaos_state_t *state, const weir_slice_node_t *from,
    const weir_kernel_t *kernel, weir_chaos_node_t *node)
{
    uint32_t inputs = from->node.input_count, count = inputs + from->node.output_count;
    node->tensors = state->host->alloc(state->host, (count + 1) * sizeof *node->tensors);
    if (!node->tensors)
        return WEIR_RESOURCE_EXHAUSTED;
    if (inputs)
        memcpy(node->tensors, from->node.inputs, inputs * sizeof *node->tensors);
    if (count > inputs)
        memcpy(
            node->tensors + inputs, from->node.outputs, (count - inputs) * sizeof *node->tensors);
    node->view = from->node;
    node->view.op = kernel->op;
    node->view.inputs = node->tensors;
    node->view.outputs = node->tensors + inputs;
    node->kernel = kernel;
    weir_prepared_t prepared = {.head = WEIR_HEAD(weir_prepared_t)};
    if (kernel->prepare) {
        weir_code_t code = kernel->prepare(&state->inner.abi, &node->view, &prepared);
        if (code != WEIR_OK)
            return code;
        node->owns_state = true;
    }
    node->state = prepared.state;
    node->scratch_bytes = prepared.scratch_bytes;
    node->shared_bytes = prepared.shared_bytes;
    return WEIR_OK;
}

static weir_code_t fill(
    weir_chaos_specialization_t *specialization, const weir_chaos_program_t *program)
{
    const weir_slice_t *slice = specialization->slice;
    weir_chaos_state_t *state = specialization->device->state;
    const weir_host_t *host = state->host;
    specialization->nodes =
        host->alloc(host, (slice->node_count + 1) * sizeof *specialization->nodes);
    specialization->data =
        host->alloc(host, (slice->tensor_count + 1) * sizeof *specialization->data);
    specialization->holds =
        host->alloc(host, (slice->tensor_count + 1) * sizeof *specialization->holds);
    if (specialization->nodes)
        memset(specialization->nodes, 0, (slice->node_count + 1) * sizeof *specialization->nodes);
    if (!specialization->nodes || !specialization->data || !specialization->holds)
        return WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < slice->node_count; i++) {
        weir_chaos_node_t *node = &specialization->nodes[i];
        weir_code_t code =
            prepare(state, &slice->nodes[i], &state->kernels[program->kernels[i]], node);
        if (code != WEIR_OK)
            return code;
        uint64_t bytes = (node->shared_bytes + 63) / 64 * 64 + node->scratch_bytes;
        specialization->scratch_bytes = WEIR_MAX(specialization->scratch_bytes, bytes);
    }
    return WEIR_OK;
}

weir_code_t weir_chaos_specialize(
    weir_handle_t handle, const weir_slice_t *slice, weir_specialized_t *out_specialized)
{
    weir_chaos_program_t *program = (weir_chaos_program_t *)(uintptr_t)handle;
    weir_chaos_device_t *device = program->device;
    weir_chaos_state_t *state = device->state;
    weir_code_t code = weir_chaos_enter(state, device, WEIR_CHAOS_SPECIALIZE);
    if (code != WEIR_OK)
        return code;
    if (slice->node_count != program->node_count ||
        weir_chaos_slice_digest(slice) != program->digest)
        return weir_chaos_misuse(
            state, WEIR_INVALID_ARGUMENT, "specialize with another slice than the program's");
    weir_chaos_specialization_t *specialization =
        state->host->alloc(state->host, sizeof *specialization);
    if (!specialization)
        return WEIR_RESOURCE_EXHAUSTED;
    *specialization =
        (weir_chaos_specialization_t){.program = program, .device = device, .slice = slice};
    code = fill(specialization, program);
    if (code != WEIR_OK) {
        specialization_free(specialization);
        return code;
    }
    out_specialized->specialization = (weir_handle_t)(uintptr_t)specialization;
    out_specialized->scratch_bytes = specialization->scratch_bytes;
    return WEIR_OK;
}

void weir_chaos_specialization_release(weir_handle_t handle)
{
    weir_chaos_specialization_t *specialization = specialization_of(handle);
    weir_chaos_device_t *device = specialization->device;
    (void)weir_chaos_enter(device->state, device, WEIR_CHAOS_SPECIALIZATION_RELEASE);
    weir_chaos_forget(device, specialization, NULL);
    specialization_free(specialization);
}

// ---- Recordings ---------------------------------------------------------------------------------

weir_code_t weir_chaos_record(weir_handle_t handle, const weir_binding_t *bindings,
    uint32_t binding_count, weir_handle_t *out_recording)
{
    weir_chaos_specialization_t *specialization = specialization_of(handle);
    weir_chaos_device_t *device = specialization->device;
    const weir_host_t *host = device->host;
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_RECORD);
    if (code != WEIR_OK)
        return code;
    if (device->state->replay == WEIR_REPLAY_NONE)
        return weir_chaos_misuse(
            device->state, WEIR_UNSUPPORTED, "record on a device that replays nothing");
    weir_chaos_recording_t *recording =
        host->alloc(host, sizeof *recording + binding_count * sizeof *bindings);
    if (!recording)
        return WEIR_RESOURCE_EXHAUSTED;
    recording->device = device;
    recording->specialization = specialization;
    recording->binding_count = binding_count;
    memcpy(recording->bindings, bindings, binding_count * sizeof *bindings);
    *out_recording = (weir_handle_t)(uintptr_t)recording;
    return WEIR_OK;
}

void weir_chaos_recording_release(weir_handle_t handle)
{
    weir_chaos_recording_t *recording = (weir_chaos_recording_t *)(uintptr_t)handle;
    weir_chaos_device_t *device = recording->device;
    (void)weir_chaos_enter(device->state, device, WEIR_CHAOS_RECORDING_RELEASE);
    device->host->free(device->host, recording);
}

// ---- Running ------------------------------------------------------------------------------------

static bool is_own_constant(const weir_chaos_specialization_t *specialization, uint32_t tensor)
{
    return specialization->program->constants && specialization->program->constants[tensor];
}

// Looks all bindings up. On a failure the first *out_count have been.
static bool bind(weir_chaos_specialization_t *specialization, const weir_binding_t *bindings,
    uint32_t *out_count, char *out_error)
{
    const weir_slice_t *slice = specialization->slice;
    for (uint32_t i = 0; i <= slice->tensor_count; i++) {
        const weir_tensor_t *tensor = i < slice->tensor_count ? &slice->tensors[i] : NULL;
        weir_binding_t binding = bindings[i];
        void *scratch;
        *out_count = i;
        if (tensor && is_own_constant(specialization, i))
            binding = (weir_binding_t){
                .buffer = specialization->program->constants[i], .bytes = tensor->bytes};
        uint64_t needed = tensor ? tensor->bytes : specialization->scratch_bytes;
        bool is_absent = !binding.buffer && !binding.pointer; // no node of the slice may use it
        if (!is_absent && binding.bytes < needed) {
            snprintf(out_error, WEIR_REASON_BYTES, "tensor %u: bound to %llu bytes, has %llu", i,
                (unsigned long long)binding.bytes, (unsigned long long)needed);
            return false;
        }
        if (!weir_chaos_resolve(specialization->device, &binding, false,
                tensor ? &specialization->data[i] : &scratch, &specialization->holds[i], out_error))
            return false;
        if (!tensor)
            specialization->data[i] = scratch;
    }
    *out_count = slice->tensor_count + 1;
    return true;
}

static bool set_data(weir_chaos_specialization_t *specialization, uint32_t number, char *out_error)
{
    const weir_slice_node_t *from = &specialization->slice->nodes[number];
    weir_chaos_node_t *node = &specialization->nodes[number];
    uint32_t inputs = from->node.input_count;
    for (uint32_t i = 0; i < inputs + from->node.output_count; i++) {
        uint32_t tensor = i < inputs ? from->inputs[i] : from->outputs[i - inputs];
        void *data = tensor == UINT32_MAX ? NULL : specialization->data[tensor];
        if (tensor != UINT32_MAX && !data && node->tensors[i].bytes) {
            snprintf(out_error, WEIR_REASON_BYTES, "node %u, %.40s: tensor %u is not bound", number,
                node->view.op, tensor);
            return false;
        }
        node->tensors[i].data = data;
    }
    return true;
}

weir_code_t weir_chaos_run_slice(
    weir_chaos_specialization_t *specialization, const weir_chaos_entry_t *entry, char *out_error)
{
    weir_chaos_device_t *device = specialization->device;
    const weir_slice_t *slice = specialization->slice;
    uint32_t held = 0;
    if (entry->binding_count != slice->tensor_count + 1) {
        snprintf(out_error, WEIR_REASON_BYTES, "%u bindings for %u tensors and the scratch",
            entry->binding_count, slice->tensor_count);
        return weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
    }
    bool is_bound = bind(specialization, entry->bindings, &held, out_error);
    weir_code_t code = WEIR_OK;
    weir_chaos_scratch_t scratch = {is_bound ? specialization->data[slice->tensor_count] : NULL,
        entry->bindings[slice->tensor_count].bytes};
    for (uint32_t i = 0; is_bound && i < slice->node_count && code == WEIR_OK; i++) {
        uint64_t start_ns = weir_chaos_now_ns();
        is_bound = set_data(specialization, i, out_error);
        if (is_bound)
            code =
                weir_chaos_compute(device->state, &specialization->nodes[i], &scratch, out_error);
        if (is_bound && entry->is_profiled)
            weir_chaos_trace(device, entry->id, i, start_ns);
    }
    for (uint32_t i = 0; i < held; i++)
        weir_chaos_drop(&specialization->holds[i]);
    return is_bound ? code : weir_chaos_misuse(device->state, WEIR_INTERNAL, out_error);
}
