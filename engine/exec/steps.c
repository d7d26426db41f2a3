// engine/exec/steps.c: steps of a specialization: kernels on the host, launches on devices.
#include "engine/exec/maker.h"

#include "engine/base/size.h"
#include "engine/exec/cost.h"
#include <stddef.h>
#include <string.h>

weir__step_t *weir__maker_new_step(weir__maker_t *maker, weir__step_kind_t kind)
{
    weir__spec_t *spec = maker->spec;
    if (spec->step_count == spec->step_capacity) {
        // A node is a step at most, but for copies and waits. What is not used is not touched.
        uint64_t bytes, first = spec->depth ? 16 : maker->plan->listing_count + 16ull;
        uint64_t capacity = spec->step_capacity ? spec->step_capacity * 2ull : first;
        if (capacity > UINT32_MAX || !weir__mul_u64(capacity, sizeof(weir__step_t), &bytes))
            return NULL;
        weir__step_t *steps = weir__zone_raw(&spec->zone, bytes);
        if (!steps)
            return NULL;
        if (spec->step_count)
            memcpy(steps, spec->steps, spec->step_count * sizeof *steps);
        spec->steps = steps;
        spec->step_capacity = (uint32_t)capacity;
    }
    weir__step_t *step = &spec->steps[spec->step_count++];
    memset(step, 0, offsetof(weir__step_t, tasks)); // whoever makes tasks sets those
    step->kind = kind;
    step->tasks.phase_count = 0;
    return step;
}

// Asks the candidates of a node whose rank only this run tells.
static weir_status_t pick_kernel(const weir__plan_node_t *node, weir__step_t *step)
{
    step->kernel = node->choice.kernel;
    step->plugin = node->choice.device->plugin;
    weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
    for (uint32_t i = 0; i < node->candidate_count; i++) {
        const weir_kernel_t *kernel = node->candidates[i].kernel;
        weir_dtype_t dtype =
            step->view.input_count ? step->view.inputs[0].dtype : step->view.outputs[0].dtype;
        step->kernel = kernel;
        step->plugin = node->candidates[i].device->plugin;
        step->view.op = kernel->op;
        if ((!kernel->dtypes || (kernel->dtypes & dtype)) &&
            (!kernel->supports || kernel->supports(&step->view, &answer) == WEIR_OK))
            return NULL;
    }
    return node->candidate_count ? WEIR_ERR(WEIR_UNSUPPORTED,
                                       "%s: no device can run it at the shapes of this run: %.*s",
                                       node->label, (int)sizeof answer.reason - 1, answer.reason)
                                 : NULL;
}

static weir_status_t prepare_kernel(
    weir__maker_t *maker, const weir__plan_node_t *node, weir__step_t *step)
{
    weir_prepared_t prepared = {.head = WEIR_HEAD(weir_prepared_t)};
    if (step->kernel->prepare) {
        weir_code_t code = step->kernel->prepare(&step->plugin->host.abi, &step->view, &prepared);
        if (code != WEIR_OK)
            return weir__status_prefix(
                weir__plugin_status(step->plugin, code, "prepare"), "%s", node->label);
        step->state = prepared.state;
    }
    step->tasks =
        (weir_tasks_t){.head = WEIR_HEAD(weir_tasks_t), .phase_count = 1, .task_count = {1}};
    if (step->kernel->tasks)
        step->kernel->tasks(&step->view, step->state, &step->tasks);
    if (step->tasks.phase_count > WEIR_PHASES_MAX)
        return WEIR_ERR(WEIR_INTERNAL, "%s: kernel \"%s\" has %u phases, at most %d are allowed",
            node->label, step->kernel->name, step->tasks.phase_count, WEIR_PHASES_MAX);
    step->wide_phases = weir__step_wide_phases(step);
    step->shared_bytes = prepared.shared_bytes;
    if (!weir__align_u64(prepared.scratch_bytes, 64, &step->scratch_bytes))
        return weir__status_no_memory();
    maker->spec->scratch_bytes = WEIR_MAX(maker->spec->scratch_bytes, step->scratch_bytes);
    return NULL;
}

weir_status_t weir__maker_kernel_step(
    weir__maker_t *maker, const weir__plan_node_t *node, weir__slot_t *const *inputs)
{
    weir__spec_t *spec = maker->spec;
    uint32_t count = node->input_count + node->output_count;
    weir__step_t *step = weir__maker_new_step(maker, WEIR__STEP_KERNEL);
    uint64_t tensor_bytes = (uint64_t)count * sizeof(weir_tensor_t);
    uint64_t slot_bytes = (uint64_t)count * sizeof(weir__slot_t *);
    weir_tensor_t *tensors = weir__zone_raw(&spec->zone, tensor_bytes); // all are set
    weir__slot_t **slots = weir__zone_raw(&spec->zone, slot_bytes);
    if (!step || !tensors || !slots)
        return weir__status_no_memory();
    step->node = node;
    step->slots = slots;
    step->slot_count = count;
    step->first_tensor = spec->tensor_count;
    spec->tensor_count += count;
    for (uint32_t i = 0; i < node->input_count; i++) {
        slots[i] = inputs[i];
        tensors[i] = weir__slot_tensor(slots[i]);
    }
    for (uint32_t i = 0; i < node->output_count; i++) {
        uint32_t value = node->outputs[i];
        slots[node->input_count + i] = value == WEIR__NONE ? NULL : spec->slot_of_value[value];
        tensors[node->input_count + i] = weir__slot_tensor(slots[node->input_count + i]);
    }
    weir__view_head(node, &step->view);
    step->view.inputs = tensors;
    step->view.outputs = tensors + node->input_count;
    WEIR_TRY(pick_kernel(node, step));
    // Packed constants are for the kernel that was chosen when the plan was made.
    for (uint32_t i = 0;
         node->packed && step->kernel == node->choice.kernel && i < node->input_count; i++)
        if (node->packed[i].format) {
            tensors[i].data = (void *)(uintptr_t)node->packed[i].view.data;
            tensors[i].bytes = node->packed[i].view.bytes;
            tensors[i].format = node->packed[i].format;
        }
    return prepare_kernel(maker, node, step);
}

// ---- Launches ----------------------------------------------------------------------------------

typedef struct launch {
    weir__maker_t *maker;
    const weir__plan_slice_t *slice;
    weir__slot_t **slots; // per tensor of the slice
} launch_t;

static void slice_tensor(
    void *user, const weir__plan_slice_t *slice, uint32_t t, weir_tensor_t *out_tensor)
{
    const launch_t *launch = user;
    // A value that became known while specializing is data for the plugin too, wherever it lies;
    // but a constant is what was one when the program was compiled.
    const weir__slot_t *slot = launch->maker->spec->slot_of_value[slice->values[t]];
    *out_tensor =
        weir__slot_tensor(slot && slot->kind == WEIR__SLOT_CONSTANT ? slot : launch->slots[t]);
    const void *data;
    uint64_t bytes;
    if (weir__slice_constant(launch->maker->plan, slice, t, &data, &bytes))
        out_tensor->flags |= WEIR_TENSOR_CONSTANT;
    else
        out_tensor->flags &= ~WEIR_TENSOR_CONSTANT;
    if (!slice->packed[t])
        return;
    out_tensor->data = (void *)(uintptr_t)slice->packed[t]->view.data;
    out_tensor->bytes = slice->packed[t]->view.bytes;
    out_tensor->format = slice->packed[t]->format;
}

// A constant of the slice, in the device's memory or (host memory) as the plan has it.
static weir_status_t constant_slot(launch_t *launch, uint32_t t, bool own_memory)
{
    weir__maker_t *maker = launch->maker;
    const weir__plan_slice_t *slice = launch->slice;
    const weir__slot_t *known = weir__maker_slot_of(maker, slice->values[t]);
    weir__slot_t *slot =
        known ? weir__maker_new_slot(maker, WEIR__SLOT_CONSTANT, &known->type, 0) : NULL;
    if (!slot)
        return weir__status_no_memory();
    (void)weir__slice_constant(maker->plan, slice, t, &slot->data, &slot->bytes);
    if (own_memory) {
        slot->place = slice->plan_device + 1;
        slot->offset = slice->residents[t];
    }
    launch->slots[t] = slot;
    return NULL;
}

// Where each tensor of the slice lies, and the copies and waits that it takes.
static weir_status_t find_tensors(launch_t *launch, bool own_memory)
{
    weir__maker_t *maker = launch->maker;
    const weir__plan_slice_t *slice = launch->slice;
    weir__copy_t *copies = NULL;
    for (uint32_t t = 0; t < slice->value_count; t++) {
        const void *data;
        uint64_t bytes;
        if (weir__slice_constant(maker->plan, slice, t, &data, &bytes))
            WEIR_TRY(constant_slot(launch, t, own_memory));
        else if (own_memory)
            WEIR_TRY(weir__maker_device_slot(
                maker, slice->values[t], slice->plan_device, &copies, &launch->slots[t]));
        else
            WEIR_TRY(weir__maker_host_slot(
                maker, slice->values[t], slice->device->name, &launch->slots[t]));
    }
    return weir__maker_copy_step(maker, slice->plan_device, copies);
}

static weir_status_t specialize(weir__step_t *step, weir__opened_t *opened)
{
    weir_specialized_t made = {.head = WEIR_HEAD(weir_specialized_t)};
    weir_code_t code = opened->plugin->device.specialize(
        weir__made_handle(step->slice->program), step->slice_view, &made);
    WEIR_TRY(weir__opened_status(opened, code, "specialize"));
    step->shared_bytes = made.scratch_bytes;
    step->specialization = weir__made_new(opened, WEIR__MADE_SPECIALIZATION, made.specialization);
    return step->specialization ? NULL : weir__status_no_memory();
}

static weir_status_t prepare_part(const weir__maker_t *maker, weir__step_t *step,
    weir__opened_t *opened, weir__launch_part_t *part)
{
    const weir_kernel_t *kernel = part->node->kernel;
    weir_prepared_t prepared = {.head = WEIR_HEAD(weir_prepared_t)};
    uint64_t bytes;
    if (!kernel || !kernel->prepare)
        return NULL;
    const weir_host_t *host = &opened->plugin->host.abi;
    WEIR_TRY(weir__opened_status(
        opened, kernel->prepare(host, &part->node->node, &prepared), "prepare"));
    part->state = weir__made_state(opened, kernel, prepared.state);
    if (part->state)
        part->state->owner = maker->plan;
    // In whichever order the device lays the two out.
    if (!part->state || !weir__align_u64(prepared.scratch_bytes, 64, &bytes) ||
        !weir__add_u64(bytes, prepared.shared_bytes, &bytes) || !weir__align_u64(bytes, 64, &bytes))
        return weir__status_no_memory();
    step->shared_bytes = WEIR_MAX(step->shared_bytes, bytes); // nodes run one after the other
    return NULL;
}

// For a device that runs node by node: bindings are those of each node's tensors in turn.
static weir_status_t divide(weir__maker_t *maker, launch_t *launch, weir__step_t *step)
{
    const weir_slice_t *view = step->slice_view;
    weir__zone_t *zone = &maker->spec->zone;
    uint32_t total = 0;
    for (uint32_t n = 0; n < view->node_count; n++)
        total += view->nodes[n].node.input_count + view->nodes[n].node.output_count;
    step->slots = weir__zone_array(zone, total, sizeof *step->slots);
    step->parts = weir__zone_array(zone, view->node_count, sizeof *step->parts);
    if (!step->slots || !step->parts)
        return weir__status_no_memory();
    for (uint32_t n = 0; n < view->node_count; n++) {
        const weir_slice_node_t *node = &view->nodes[n];
        step->parts[n] = (weir__launch_part_t){.node = node, .first_binding = step->slot_count};
        for (uint32_t i = 0; i < node->node.input_count + node->node.output_count; i++) {
            uint32_t t = i < node->node.input_count ? node->inputs[i]
                                                    : node->outputs[i - node->node.input_count];
            step->slots[step->slot_count++] = t == UINT32_MAX ? NULL : launch->slots[t];
        }
    }
    weir__opened_t *opened = maker->plan->devices[step->lane].opened;
    for (uint32_t n = 0; n < view->node_count; n++)
        WEIR_TRY(prepare_part(maker, step, opened, &step->parts[n]));
    return NULL;
}

static void note_reader(weir__slot_t *slot, uint32_t member)
{
    if (slot && !slot->root->placed) // parents share theirs, which stay until the end
        slot->root->last_member = member;
}

// Which member of the slice reads each tensor last.
static void note_readers(const launch_t *launch, const weir_slice_t *view)
{
    for (uint32_t t = 0; t < view->tensor_count; t++)
        note_reader(launch->slots[t], 0);
    for (uint32_t n = 0; n < view->node_count; n++) {
        const weir_slice_node_t *node = &view->nodes[n];
        for (uint32_t i = 0; i < node->node.input_count; i++)
            if (node->inputs[i] != UINT32_MAX)
                note_reader(launch->slots[node->inputs[i]], n);
        for (uint32_t i = 0; i < node->node.output_count; i++)
            if (node->outputs[i] != UINT32_MAX)
                note_reader(launch->slots[node->outputs[i]], n);
    }
}

weir_status_t weir__maker_launch(weir__maker_t *maker, const weir__plan_slice_t *slice)
{
    weir__spec_t *spec = maker->spec;
    const weir__plan_device_t *device = &maker->plan->devices[slice->plan_device];
    launch_t launch = {.maker = maker, .slice = slice};
    launch.slots = weir__zone_array(&spec->zone, slice->value_count, sizeof *launch.slots);
    if (!launch.slots)
        return weir__status_no_memory();
    WEIR_TRY(find_tensors(&launch, device->own_memory));
    weir_slice_t *view;
    WEIR_TRY(weir__slice_view(&spec->zone, slice, slice_tensor, &launch, &view));
    uint32_t number = spec->step_count;
    weir__step_t *step = weir__maker_new_step(maker, WEIR__STEP_LAUNCH);
    if (!step)
        return weir__status_no_memory();
    step->slice = slice;
    step->slice_view = view;
    step->plugin = slice->device->plugin;
    step->lane = slice->plan_device;
    step->launch = spec->launch_count++;
    spec->needs[step->lane].used = true;
    if (device->stepwise) {
        WEIR_TRY(divide(maker, &launch, step));
    } else {
        step->slots = launch.slots;
        step->slot_count = slice->value_count;
        WEIR_TRY(specialize(step, device->opened));
    }
    note_readers(&launch, view);
    step->first_tensor = spec->binding_count;
    spec->binding_count += step->slot_count + 1; // its scratch comes last
    for (uint32_t m = 0; m < slice->member_count; m++)
        for (uint32_t i = 0; i < slice->region->nodes[slice->members[m]].output_count; i++)
            if (slice->member_outputs[m][i] != UINT32_MAX)
                launch.slots[slice->member_outputs[m][i]]->made_by = number;
    return NULL;
}
