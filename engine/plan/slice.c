// engine/plan/slice.c: neighbours on one device with programs become slices: one launch each.
#include "engine/plan/plan.h"

#include <string.h>

// Does nothing stand between this node and the slice before it? Shape arithmetic is worked out
// while specializing and a view moves nothing, unless its shape is data: then a specialization ends
// there, and with it the slice.
static bool is_transparent(const weir_plan_t *plan, const weir__plan_node_t *node)
{
    if (node->anchor && (node->anchor->op->flags & WEIR__OP_VIEW)) {
        for (uint32_t i = 0; i < node->input_count && i < 32; i++)
            if ((node->anchor->op->value_inputs >> i & 1) && node->inputs[i] != WEIR__NONE &&
                !plan->size_known[weir__plan_original(plan, node->inputs[i])])
                return false;
        return true;
    }
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE &&
            !plan->size_known[weir__plan_original(plan, node->outputs[i])])
            return false;
    return node->is_shape;
}

static weir__plan_slice_t *add_slice(weir_plan_t *plan)
{
    if (plan->slice_count == plan->slice_capacity) {
        uint32_t capacity = plan->slice_capacity ? plan->slice_capacity * 2 : 16;
        weir__plan_slice_t *slices = weir__zone_array(&plan->zone, capacity, sizeof *slices);
        if (!slices)
            return NULL;
        if (plan->slice_count)
            memcpy(slices, plan->slices, plan->slice_count * sizeof *slices);
        plan->slices = slices;
        plan->slice_capacity = capacity;
    }
    return &plan->slices[plan->slice_count++];
}

static void symbolic_tensor(
    void *user, const weir__plan_slice_t *slice, uint32_t t, weir_tensor_t *out_tensor)
{
    weir__view_tensor(user, slice->values[t], out_tensor);
    if (!slice->packed[t])
        return;
    out_tensor->data = (void *)(uintptr_t)slice->packed[t]->view.data;
    out_tensor->bytes = slice->packed[t]->view.bytes;
    out_tensor->format = slice->packed[t]->format;
}

// The ONNX names of all members, for messages and profiles.
static weir_status_t join_origins(weir_plan_t *plan, weir__plan_slice_t *slice)
{
    size_t length = 1;
    for (uint32_t m = 0; m < slice->member_count; m++)
        length += strlen(slice->region->nodes[slice->members[m]].origins) + 1;
    char *origins = weir__zone_alloc(&plan->zone, length);
    if (!origins)
        return weir__status_no_memory();
    char *at = origins;
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const char *name = slice->region->nodes[slice->members[m]].origins;
        size_t bytes = strlen(name);
        if (m)
            *at++ = '+';
        memcpy(at, name, bytes);
        at += bytes;
    }
    *at = '\0';
    slice->origins = origins;
    return NULL;
}

// The device's number among those of the plan, which it joins now if it is new.
static weir_status_t join_devices(weir_plan_t *plan, weir__plan_slice_t *slice)
{
    const weir__device_t *device = slice->device;
    for (slice->plan_device = 0; slice->plan_device < plan->device_count; slice->plan_device++)
        if (plan->devices[slice->plan_device].opened->device == device)
            return NULL;
    if (plan->device_count == WEIR__PLAN_DEVICES_MAX)
        return WEIR_ERR(WEIR_LIMIT, "more than %d devices in one plan", WEIR__PLAN_DEVICES_MAX);
    plan->devices[plan->device_count++] = (weir__plan_device_t){
        .opened = device->opened, .own_memory = device->own_memory, .stepwise = device->stepwise};
    return NULL;
}

static weir_status_t describe_program(weir__opened_t *opened, weir__plan_slice_t *slice)
{
    weir_program_info_t info = {.head = WEIR_HEAD(weir_program_info_t)};
    const weir_device_table_t *table = &opened->plugin->device;
    if (table->program_info)
        WEIR_TRY(weir__opened_status(
            opened, table->program_info(slice->program->handle, &info), "program_info"));
    slice->owns_constants = (info.head.flags & WEIR_PROGRAM_OWN_CONSTANTS) != 0;
    slice->replay = info.replay;
    return NULL;
}

static weir_status_t compile(weir_plan_t *plan, weir__plan_slice_t *slice)
{
    weir_slice_t *view;
    weir_handle_t program = 0;
    WEIR_TRY(join_devices(plan, slice));
    WEIR_TRY(weir__slice_number(plan, slice));
    WEIR_TRY(join_origins(plan, slice));
    weir__opened_t *opened = plan->devices[slice->plan_device].opened;
    if (slice->device->stepwise)
        return NULL;
    WEIR_TRY(weir__slice_view(&plan->zone, slice, symbolic_tensor, plan, &view));
    weir_status_t status = weir__plan_compile(plan, slice, view, &program);
    if (status) {
        if (weir_status_code(status) == WEIR_UNSUPPORTED)
            plan->refuser = slice->device;
        return status;
    }
    slice->program = weir__made_new(opened, WEIR__MADE_PROGRAM, program);
    return slice->program ? describe_program(opened, slice) : weir__status_no_memory();
}

weir_status_t weir__plan_slice(weir_plan_t *plan, weir__plan_region_t *region)
{
    weir__plan_slice_t *slice = NULL;
    uint32_t first_new = plan->slice_count;
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[i];
        weir__device_t *device = node->choice.device;
        if (device && device->programs) {
            if (!slice || slice->device != device) {
                slice = add_slice(plan);
                uint32_t *members =
                    weir__zone_array(&plan->zone, region->node_count - i, sizeof *members);
                if (!slice || !members)
                    return weir__status_no_memory();
                *slice = (weir__plan_slice_t){
                    .device = device, .region = region, .first = i, .members = members};
            }
            node->slice = plan->slice_count - 1;
            slice->last = i;
            slice->members[slice->member_count++] = i;
        } else if (!is_transparent(plan, node)) {
            slice = NULL;
        }
        for (uint32_t r = 0; r < 2; r++)
            if (node->regions[r]) {
                WEIR_TRY(weir__plan_slice(plan, node->regions[r]));
                slice = NULL;
            }
    }
    for (uint32_t s = first_new; s < plan->slice_count; s++)
        if (plan->slices[s].region == region)
            WEIR_TRY(compile(plan, &plan->slices[s]));
    return NULL;
}
