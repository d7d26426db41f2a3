// backends/chaos/program.c: programs: which kernel runs which node, and the artifacts of that.
//
// A program is a list of kernels' numbers, bound to its slice by a digest. Its artifact is that
// list with a stamp of the build and a checksum, which artifact_check() demands. With
// own_constants=1 it holds copies of the constants.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <string.h>

#define ARTIFACT_MAGIC 0x5745495243484131ull

typedef struct artifact {
    uint64_t magic;
    uint64_t checksum; // of what follows
    uint64_t build;    // digest of the plugin's build
    uint64_t digest;   // of the slice
    uint64_t node_count;
    uint32_t kernels[];
} artifact_t;

static uint64_t build_stamp(const weir_chaos_state_t *state)
{
    return weir_chaos_digest(0, state->build, strlen(state->build));
}

static uint64_t artifact_bytes(uint64_t node_count)
{
    return sizeof(artifact_t) + node_count * sizeof(uint32_t);
}

static uint64_t checksum_of(const artifact_t *artifact, uint64_t bytes)
{
    const size_t first = offsetof(artifact_t, build);
    return weir_chaos_digest(1, (const uint8_t *)artifact + first, bytes - first);
}

static weir_chaos_program_t *program_of(weir_handle_t handle)
{
    return (weir_chaos_program_t *)(uintptr_t)handle;
}

static void program_free(weir_chaos_program_t *program)
{
    weir_chaos_device_t *device = program->device;
    for (uint32_t i = 0; i < program->constant_count; i++)
        if (program->constants[i])
            weir_chaos_free((weir_handle_t)(uintptr_t)device, program->constants[i]);
    device->host->free(device->host, program->constants);
    device->host->free(device->host, program);
}

static weir_chaos_program_t *program_new(weir_chaos_device_t *device, const weir_slice_t *slice)
{
    weir_chaos_program_t *program = device->host->alloc(
        device->host, sizeof *program + slice->node_count * sizeof program->kernels[0]);
    if (!program)
        return NULL;
    *program = (weir_chaos_program_t){.device = device,
        .digest = weir_chaos_slice_digest(slice),
        .node_count = slice->node_count};
    return program;
}

// Copies of the constants, in buffers of their own. Nothing else knows the buffers yet, so the
// caller's thread may write them.
static weir_code_t copy_constants(weir_chaos_program_t *program, const weir_slice_t *slice)
{
    weir_chaos_device_t *device = program->device;
    const weir_host_t *host = device->host;
    if (!device->state->owns_constants)
        return WEIR_OK;
    program->constants = host->alloc(host, (slice->tensor_count + 1) * sizeof(weir_handle_t));
    if (!program->constants)
        return WEIR_RESOURCE_EXHAUSTED;
    memset(program->constants, 0, (slice->tensor_count + 1) * sizeof(weir_handle_t));
    program->constant_count = slice->tensor_count;
    for (uint32_t i = 0; i < slice->tensor_count; i++) {
        const weir_tensor_t *tensor = &slice->tensors[i];
        if (!(tensor->flags & WEIR_TENSOR_CONSTANT) || !tensor->bytes)
            continue;
        char reason[WEIR_REASON_BYTES];
        void *data;
        weir_chaos_hold_t hold;
        weir_code_t code = weir_chaos_alloc((weir_handle_t)(uintptr_t)device, WEIR_MEMORY_DEVICE,
            tensor->bytes, &program->constants[i]);
        if (code != WEIR_OK)
            return code;
        weir_binding_t binding = {.buffer = program->constants[i], .bytes = tensor->bytes};
        if (!weir_chaos_resolve(device, &binding, false, &data, &hold, reason))
            return host->fail(host, WEIR_INTERNAL, "%s", reason);
        memcpy(data, tensor->data, tensor->bytes);
        weir_chaos_drop(&hold);
    }
    return WEIR_OK;
}

static weir_code_t finish(
    weir_chaos_program_t *program, const weir_slice_t *slice, weir_handle_t *out_program)
{
    weir_code_t code = copy_constants(program, slice);
    if (code == WEIR_OK)
        *out_program = (weir_handle_t)(uintptr_t)program;
    else
        program_free(program);
    return code;
}

weir_code_t weir_chaos_compile(
    weir_handle_t handle, const weir_slice_t *slice, weir_handle_t *out_program)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    const weir_host_t *host = device->host;
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_COMPILE);
    if (code != WEIR_OK)
        return code;
    weir_chaos_program_t *program = program_new(device, slice);
    if (!program)
        return WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < slice->node_count; i++) {
        const weir_slice_node_t *node = &slice->nodes[i];
        weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
        uint32_t number = node->kernel ? weir_chaos_kernel_number(device->state, node->kernel)
                                       : weir_chaos_kernel_for(device->state, &node->node, &answer);
        if (number == WEIR_CHAOS_NONE) {
            program_free(program);
            return host->fail(host, WEIR_UNSUPPORTED, "node %u, %s: no kernel of ours: %.100s", i,
                node->node.op, answer.reason);
        }
        program->kernels[i] = number;
    }
    return finish(program, slice, out_program);
}

void weir_chaos_program_release(weir_handle_t handle)
{
    weir_chaos_program_t *program = program_of(handle);
    (void)weir_chaos_enter(program->device->state, program->device, WEIR_CHAOS_PROGRAM_RELEASE);
    program_free(program);
}

weir_code_t weir_chaos_program_info(weir_handle_t handle, weir_program_info_t *out_info)
{
    weir_chaos_program_t *program = program_of(handle);
    weir_chaos_state_t *state = program->device->state;
    weir_code_t code = weir_chaos_enter(state, program->device, WEIR_CHAOS_PROGRAM_INFO);
    if (code != WEIR_OK)
        return code;
    out_info->head.flags = state->owns_constants ? WEIR_PROGRAM_OWN_CONSTANTS : 0;
    out_info->replay = state->replay;
    return WEIR_OK;
}

// ---- Artifacts ----------------------------------------------------------------------------------

weir_code_t weir_chaos_program_save(weir_handle_t handle, void *destination, uint64_t *inout_bytes)
{
    weir_chaos_program_t *program = program_of(handle);
    weir_chaos_state_t *state = program->device->state;
    weir_code_t code = weir_chaos_enter(state, program->device, WEIR_CHAOS_PROGRAM_SAVE);
    if (code != WEIR_OK)
        return code;
    uint64_t room = *inout_bytes, bytes = artifact_bytes(program->node_count);
    *inout_bytes = bytes;
    if (!destination)
        return WEIR_OK;
    if (room < bytes)
        return state->host->fail(
            state->host, WEIR_RESOURCE_EXHAUSTED, "room for %llu bytes", (unsigned long long)room);
    artifact_t *artifact = destination;
    *artifact = (artifact_t){.magic = ARTIFACT_MAGIC,
        .build = build_stamp(state),
        .digest = program->digest,
        .node_count = program->node_count};
    memcpy(artifact->kernels, program->kernels, program->node_count * sizeof(uint32_t));
    artifact->checksum = checksum_of(artifact, bytes);
    return WEIR_OK;
}

static weir_code_t check(weir_chaos_state_t *state, const artifact_t *artifact, uint64_t bytes)
{
    const weir_host_t *host = state->host;
    if (bytes < sizeof *artifact || artifact->magic != ARTIFACT_MAGIC)
        return host->fail(host, WEIR_DATA_LOSS, "no artifact of this plugin");
    if (artifact->node_count > (bytes - sizeof *artifact) / sizeof(uint32_t) ||
        bytes != artifact_bytes(artifact->node_count) ||
        artifact->checksum != checksum_of(artifact, bytes))
        return host->fail(host, WEIR_DATA_LOSS, "a damaged artifact");
    if (artifact->build != build_stamp(state))
        return host->fail(host, WEIR_UNSUPPORTED, "an artifact of another build");
    return WEIR_OK;
}

weir_code_t weir_chaos_artifact_check(weir_handle_t handle, const void *data, uint64_t bytes)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_ARTIFACT_CHECK);
    return code == WEIR_OK ? check(device->state, data, bytes) : code;
}

weir_code_t weir_chaos_program_load(weir_handle_t handle, const weir_slice_t *slice,
    const void *data, uint64_t bytes, weir_handle_t *out_program)
{
    weir_chaos_device_t *device = weir_chaos_device(handle);
    const weir_host_t *host = device->host;
    const artifact_t *artifact = data;
    weir_code_t code = weir_chaos_enter(device->state, device, WEIR_CHAOS_PROGRAM_LOAD);
    if (code == WEIR_OK)
        code = check(device->state, artifact, bytes);
    if (code != WEIR_OK)
        return code;
    if (artifact->digest != weir_chaos_slice_digest(slice) ||
        artifact->node_count != slice->node_count)
        return host->fail(host, WEIR_DATA_LOSS, "an artifact of another slice");
    weir_chaos_program_t *program = program_new(device, slice);
    if (!program)
        return WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < slice->node_count; i++) {
        program->kernels[i] = artifact->kernels[i];
        if (program->kernels[i] >= device->state->kernel_count) {
            program_free(program);
            return host->fail(host, WEIR_DATA_LOSS, "an artifact that names no kernel of ours");
        }
    }
    return finish(program, slice, out_program);
}
