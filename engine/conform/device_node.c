// engine/conform/device_node.c: one node through a device, by execute() or as a program of one.
//
// On a device with memory of its own all tensors lie in one buffer, as in the engine's arena, with
// guards between them: the whole buffer is read back, so a stray write is seen wherever it lands.
#include "engine/conform/device.h"

#include <stdlib.h>
#include <string.h>

#define ALIGNMENT 64u
#define SCRATCH_ALIGNMENT 256u // as the engine lays out a device's arena; libraries ask for it
#define GUARD 64u
#define GUARD_BYTE 0x5Au

// ---- The slice ---------------------------------------------------------------------------------

static void fill_slice(weir__kit_work_t *work)
{
    weir__kit_case_t *c = work->c;
    uint32_t count = 0;
    weir_slice_t *slice = &work->slice;
    *slice = (weir_slice_t){.head = WEIR_HEAD(weir_slice_t),
        .nodes = &work->node,
        .tensors = work->tensors,
        .inputs = work->slice_inputs,
        .outputs = work->slice_outputs,
        .node_count = 1};
    for (uint32_t i = 0; i < c->node.input_count; i++) {
        work->numbers[i] = c->inputs[i].dtype ? count : UINT32_MAX;
        if (!c->inputs[i].dtype)
            continue;
        work->tensors[count] = c->inputs[i];
        if (!(c->inputs[i].flags & WEIR_TENSOR_CONSTANT)) {
            work->tensors[count].data = NULL;
            work->slice_inputs[slice->input_count++] = count;
        }
        count++;
    }
    for (uint32_t o = 0; o < c->node.output_count; o++) {
        uint32_t *number = &work->numbers[WEIR__KIT_INPUTS + o];
        *number = c->outputs[o].dtype ? count : UINT32_MAX;
        if (!c->outputs[o].dtype)
            continue;
        work->tensors[count] = c->outputs[o];
        work->tensors[count].data = NULL;
        work->slice_outputs[slice->output_count++] = count++;
    }
    slice->tensor_count = count;
    work->node = (weir_slice_node_t){.node = c->node,
        .inputs = work->numbers,
        .outputs = work->numbers + WEIR__KIT_INPUTS,
        .kernel = work->kernel};
    for (uint32_t i = 0; i < c->node.input_count; i++)
        work->node_inputs[i] =
            work->numbers[i] == UINT32_MAX ? c->inputs[i] : work->tensors[work->numbers[i]];
    for (uint32_t o = 0; o < c->node.output_count; o++) {
        uint32_t number = work->numbers[WEIR__KIT_INPUTS + o];
        work->node_outputs[o] = number == UINT32_MAX ? c->outputs[o] : work->tensors[number];
    }
    work->node.node.inputs = work->node_inputs;
    work->node.node.outputs = work->node_outputs;
}

static bool claims(weir__kit_work_t *work, bool *out_takes)
{
    weir__kit_device_t *device = work->device;
    weir_claim_t answers[2];
    for (uint32_t i = 0; i < 2; i++) {
        answers[i] = (weir_claim_t){.head = WEIR_HEAD(weir_claim_t)};
        weir_code_t code = device->table->claim(device->handle, &work->slice, &answers[i]);
        if (!weir__kit_device_expect(device, code, "claim()"))
            return false;
        if (!memchr(answers[i].reason, 0, sizeof answers[i].reason))
            return weir__kit_fail(device->subject, "claim() gave a reason without an end");
    }
    if (answers[0].claimed != answers[1].claimed || answers[0].cost_ns != answers[1].cost_ns)
        return weir__kit_fail(device->subject,
            "claim() is not pure: asked again about the same node it answers %u, before it was %u",
            answers[1].claimed, answers[0].claimed);
    if (!answers[0].claimed && !answers[0].reason[0])
        return weir__kit_fail(device->subject, "claim() said no and gave no reason");
    *out_takes = answers[0].claimed != 0;
    return true;
}

bool weir__kit_device_takes(weir__kit_device_t *device, const weir_kernel_t *kernel,
    weir__kit_case_t *c, weir__kit_work_t *work, bool *out_takes)
{
    memset(work, 0, sizeof *work);
    work->device = device;
    work->kernel = kernel;
    work->c = c;
    fill_slice(work);
    if (!kernel)
        return claims(work, out_takes);
    return weir__kit_supports(device->subject, kernel, &work->node.node, out_takes);
}

// ---- Made ready --------------------------------------------------------------------------------

static bool compile(weir__kit_work_t *work, const void *artifact, uint64_t artifact_bytes)
{
    weir__kit_device_t *device = work->device;
    const weir_device_table_t *table = device->table;
    weir_code_t code = artifact ? table->program_load(device->handle, &work->slice, artifact,
                                      artifact_bytes, &work->program)
                                : table->compile(device->handle, &work->slice, &work->program);
    if (!weir__kit_device_expect(device, code, artifact ? "program_load()" : "compile()"))
        return false;
    work->info = (weir_program_info_t){.head = WEIR_HEAD(weir_program_info_t)};
    if (table->program_info &&
        !weir__kit_device_expect(
            device, table->program_info(work->program, &work->info), "program_info()"))
        return false;
    work->specialized = (weir_specialized_t){.head = WEIR_HEAD(weir_specialized_t)};
    return weir__kit_device_expect(
        device, table->specialize(work->program, &work->slice, &work->specialized), "specialize()");
}

static bool prepare(weir__kit_work_t *work)
{
    weir__kit_subject_t *subject = work->device->subject;
    work->prepared = (weir_prepared_t){.head = WEIR_HEAD(weir_prepared_t)};
    if (!work->kernel || !work->kernel->prepare)
        return true;
    weir_code_t code = work->kernel->prepare(&subject->host.abi, &work->node.node, &work->prepared);
    return weir__kit_device_expect(work->device, code, "prepare()");
}

static uint64_t scratch_bytes(const weir__kit_work_t *work)
{
    if (work->program)
        return work->specialized.scratch_bytes;
    return WEIR_DIV_UP(work->prepared.scratch_bytes, ALIGNMENT) * ALIGNMENT +
           work->prepared.shared_bytes;
}

static bool is_bound(const weir__kit_work_t *work, uint32_t t)
{
    return !((work->tensors[t].flags & WEIR_TENSOR_CONSTANT) &&
             (work->info.head.flags & WEIR_PROGRAM_OWN_CONSTANTS));
}

// Bytes of the arena; each tensor's offset goes to its binding (by number in the slice).
static uint64_t lay_out(weir__kit_work_t *work, weir_binding_t *tensors)
{
    uint64_t end = GUARD;
    for (uint32_t t = 0; t < work->slice.tensor_count; t++) {
        if (!is_bound(work, t))
            continue;
        tensors[t] = (weir_binding_t){.offset = end, .bytes = work->tensors[t].bytes};
        end += WEIR_DIV_UP(work->tensors[t].bytes, ALIGNMENT) * ALIGNMENT + GUARD;
    }
    end = WEIR_DIV_UP(end, SCRATCH_ALIGNMENT) * SCRATCH_ALIGNMENT;
    tensors[work->slice.tensor_count] =
        (weir_binding_t){.offset = end, .bytes = scratch_bytes(work)};
    return end + WEIR_DIV_UP(scratch_bytes(work), ALIGNMENT) * ALIGNMENT + GUARD;
}

static uint8_t *host_data(const weir__kit_work_t *work, uint32_t t)
{
    for (uint32_t i = 0; i < work->c->node.input_count; i++)
        if (work->numbers[i] == t)
            return work->c->inputs[i].data;
    for (uint32_t o = 0; o < work->c->node.output_count; o++)
        if (work->numbers[WEIR__KIT_INPUTS + o] == t)
            return work->c->outputs[o].data;
    return NULL;
}

static bool bind(weir__kit_work_t *work)
{
    weir__kit_device_t *device = work->device;
    weir_binding_t tensors[WEIR__KIT_TENSORS + 1] = {{0}};
    work->arena_bytes = lay_out(work, tensors);
    if (device->own_memory &&
        !weir__kit_device_alloc(device, WEIR_MEMORY_DEVICE, work->arena_bytes, &work->arena))
        return false;
    if (!device->own_memory)
        work->scratch = weir__kit_block(scratch_bytes(work), "scratch", true);
    for (uint32_t t = 0; t <= work->slice.tensor_count; t++) {
        if (t < work->slice.tensor_count && !is_bound(work, t))
            continue;
        tensors[t].buffer = work->arena;
        if (!device->own_memory) {
            tensors[t].offset = 0;
            tensors[t].pointer =
                t < work->slice.tensor_count ? host_data(work, t) : work->scratch.data;
        }
    }
    memcpy(work->places, tensors, sizeof tensors);
    if (work->program) {
        work->binding_count = work->slice.tensor_count + 1;
        memcpy(work->bindings, tensors, work->binding_count * sizeof tensors[0]);
        return true;
    }
    for (uint32_t i = 0; i < work->c->node.input_count + work->c->node.output_count; i++) {
        uint32_t inputs = work->c->node.input_count;
        uint32_t t = work->numbers[i < inputs ? i : WEIR__KIT_INPUTS + i - inputs];
        work->bindings[i] = t == UINT32_MAX ? (weir_binding_t){0} : tensors[t];
    }
    return true;
}

bool weir__kit_work_make(weir__kit_work_t *work, const void *artifact, uint64_t artifact_bytes)
{
    bool is_program = work->device->table->compile != NULL;
    return (is_program ? compile(work, artifact, artifact_bytes) : prepare(work)) && bind(work);
}

// ---- Given and taken back ----------------------------------------------------------------------

// The arena as it is before a run: guards, inputs, rubbish where outputs and scratch are.
static uint8_t *arena_image(const weir__kit_work_t *work)
{
    uint8_t *image = malloc(work->arena_bytes);
    if (!image)
        return NULL;
    memset(image, GUARD_BYTE, work->arena_bytes);
    for (uint32_t t = 0; t < work->slice.tensor_count; t++) {
        const weir_binding_t *place = &work->places[t];
        bool is_input = false;
        for (uint32_t i = 0; i < work->c->node.input_count; i++)
            is_input |= work->numbers[i] == t;
        if (place->bytes && is_bound(work, t)) {
            if (is_input)
                memcpy(image + place->offset, host_data(work, t), place->bytes);
            else
                memset(image + place->offset, 0xCC, place->bytes);
        }
    }
    return image;
}

static bool upload(weir__kit_work_t *work)
{
    weir__kit_device_t *device = work->device;
    for (uint32_t o = 0; o < work->c->node.output_count; o++)
        if (work->c->outputs[o].bytes)
            memset(work->c->outputs[o].data, 0xCC, work->c->outputs[o].bytes);
    if (!device->own_memory)
        return true;
    uint8_t *image = arena_image(work);
    if (!image)
        return weir__kit_fail(device->subject, "the kit has no memory");
    bool is_written = weir__kit_device_write(device, work->arena, 0, image, work->arena_bytes);
    free(image);
    return is_written;
}

bool weir__kit_work_launch(weir__kit_work_t *work, weir_handle_t recording)
{
    return upload(work) && weir__kit_work_give(work, recording);
}

bool weir__kit_work_give(weir__kit_work_t *work, weir_handle_t recording)
{
    weir__kit_device_t *device = work->device;
    weir__kit_host_t *host = &device->subject->host;
    weir_timeline_point_t signal = weir__kit_timeline_next(host, device->timeline);
    weir_code_t code;
    weir__kit_hooks_watch(true);
    if (work->program) {
        weir_launch_t launch = {.head = WEIR_HEAD(weir_launch_t),
            .specialization = work->specialized.specialization,
            .recording = recording,
            .bindings = work->bindings,
            .binding_count = work->binding_count,
            .signals = &signal,
            .signal_count = 1,
            .id = signal.value};
        code = device->table->launch(device->queue, &launch);
    } else {
        weir_execution_t execution = {.head = WEIR_HEAD(weir_execution_t),
            .node = &work->node.node,
            .kernel = work->kernel,
            .state = work->prepared.state,
            .bindings = work->bindings,
            .binding_count = work->c->node.input_count + work->c->node.output_count,
            .scratch = work->places[work->slice.tensor_count],
            .launch_id = signal.value};
        code = device->table->execute(device->queue, &execution, NULL, 0, &signal, 1);
    }
    weir__kit_hooks_watch(false);
    if (code == WEIR_OK)
        return true;
    // A device that works inside the call may refuse there what only the data tells.
    weir__kit_timeline_take_back(host, device->timeline);
    work->refused = code;
    return true;
}

static bool download(weir__kit_work_t *work)
{
    weir__kit_device_t *device = work->device;
    uint8_t *image = malloc(work->arena_bytes);
    bool is_fine = image && weir__kit_device_read(device, work->arena, 0, image, work->arena_bytes);
    uint64_t at = 0;
    for (uint32_t t = 0; is_fine && t <= work->slice.tensor_count; t++) {
        const weir_binding_t *place = &work->places[t];
        if (t < work->slice.tensor_count && !is_bound(work, t))
            continue;
        for (; at < place->offset && is_fine; at++)
            if (image[at] != GUARD_BYTE)
                is_fine = weir__kit_fail(device->subject,
                    "it wrote outside its tensors: at byte %llu of an arena where tensor %u "
                    "begins at %llu",
                    (unsigned long long)at, t, (unsigned long long)place->offset);
        at = place->offset + place->bytes;
    }
    for (uint32_t o = 0; is_fine && o < work->c->node.output_count; o++) {
        uint32_t t = work->numbers[WEIR__KIT_INPUTS + o];
        if (t != UINT32_MAX && work->places[t].bytes)
            memcpy(work->c->outputs[o].data, image + work->places[t].offset, work->places[t].bytes);
    }
    free(image);
    return is_fine;
}

bool weir__kit_work_finish(weir__kit_work_t *work, weir_code_t *out_code)
{
    weir__kit_device_t *device = work->device;
    *out_code = work->refused;
    work->refused = WEIR_OK;
    if (*out_code != WEIR_OK)
        return true;
    if (!weir__kit_timeline_wait(device->subject, device->timeline, out_code))
        return false;
    if (*out_code != WEIR_OK) { // a failure is sticky
        device->timeline = weir__kit_timeline_new(&device->subject->host);
        return device->timeline || weir__kit_fail(device->subject, "the kit has no timelines left");
    }
    return !device->own_memory || download(work);
}

void weir__kit_work_free(weir__kit_work_t *work)
{
    weir__kit_device_t *device = work->device;
    if (!device || !device->handle)
        return;
    if (work->specialized.specialization)
        device->table->specialization_release(work->specialized.specialization);
    if (work->program)
        device->table->program_release(work->program);
    if (work->prepared.state && work->kernel->release)
        work->kernel->release(&device->subject->host.abi, work->prepared.state);
    if (work->arena)
        device->table->free(device->handle, work->arena);
    weir__kit_block_free(&work->scratch);
    work->device = NULL;
}
