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
                !plan->size_known[node->inputs[i]])
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

// ---- Numbering the tensors of a slice --------------------------------------------------------

typedef struct numbering {
    weir__plan_slice_t *slice;
    uint32_t *numbers; // by value; UINT32_MAX: not in the slice
} numbering_t;

static uint32_t number_of(numbering_t *numbering, uint32_t value)
{
    if (value == WEIR__NONE)
        return UINT32_MAX;
    if (numbering->numbers[value] == UINT32_MAX) {
        numbering->numbers[value] = numbering->slice->value_count;
        numbering->slice->values[numbering->slice->value_count++] = value;
    }
    return numbering->numbers[value];
}

// Tensors that a member reads and none makes, and those that somebody outside reads.
static void find_borders(
    weir_plan_t *plan, weir__plan_slice_t *slice, uint8_t *made, uint32_t *inside)
{
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[m]];
        for (uint32_t i = 0; i < node->input_count; i++)
            if (slice->member_inputs[m][i] != UINT32_MAX)
                inside[slice->member_inputs[m][i]]++;
        for (uint32_t i = 0; i < node->output_count; i++)
            if (slice->member_outputs[m][i] != UINT32_MAX)
                made[slice->member_outputs[m][i]] = 1;
    }
    for (uint32_t t = 0; t < slice->value_count; t++) {
        uint32_t value = slice->values[t];
        if (made[t] && inside[t] < plan->use_counts[value])
            slice->outputs[slice->output_count++] = t;
        else if (!made[t] && !plan->model->graph->values[value].constant)
            slice->inputs[slice->input_count++] = t;
    }
}

static weir_status_t number_tensors(weir_plan_t *plan, weir__plan_slice_t *slice)
{
    weir__zone_t *zone = &plan->zone;
    uint32_t total = 0;
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[m]];
        total += node->input_count + node->output_count;
    }
    uint32_t value_count = plan->model->graph->value_count;
    numbering_t numbering = {.slice = slice};
    numbering.numbers = weir__heap_alloc(&plan->runtime->heap, value_count * sizeof(uint32_t));
    slice->values = weir__zone_array(zone, total, sizeof(uint32_t));
    slice->inputs = weir__zone_array(zone, total, sizeof(uint32_t));
    slice->outputs = weir__zone_array(zone, total, sizeof(uint32_t));
    slice->member_inputs = weir__zone_array(zone, slice->member_count, sizeof(void *));
    slice->member_outputs = weir__zone_array(zone, slice->member_count, sizeof(void *));
    uint32_t *numbers = weir__zone_array(zone, total, sizeof(uint32_t));
    uint8_t *made = weir__zone_array(zone, total, 1);
    uint32_t *inside = weir__zone_array(zone, total, sizeof(uint32_t));
    if (!numbering.numbers || !slice->values || !slice->inputs || !slice->outputs ||
        !slice->member_inputs || !slice->member_outputs || !numbers || !made || !inside) {
        weir__heap_free(&plan->runtime->heap, numbering.numbers);
        return weir__status_no_memory();
    }
    memset(numbering.numbers, 0xff, value_count * sizeof(uint32_t));
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[m]];
        slice->member_inputs[m] = numbers;
        for (uint32_t i = 0; i < node->input_count; i++)
            *numbers++ = number_of(&numbering, node->inputs[i]);
        slice->member_outputs[m] = numbers;
        for (uint32_t i = 0; i < node->output_count; i++)
            *numbers++ = number_of(&numbering, node->outputs[i]);
    }
    weir__heap_free(&plan->runtime->heap, numbering.numbers);
    find_borders(plan, slice, made, inside);
    return NULL;
}

// ---- What the plugin sees --------------------------------------------------------------------

weir_status_t weir__slice_view(weir__zone_t *zone, const weir__plan_slice_t *slice,
    weir__slice_tensor_fn tensor, void *user, weir_slice_t **out_view)
{
    weir_slice_t *view = weir__zone_alloc(zone, sizeof *view);
    weir_tensor_t *tensors = weir__zone_array(zone, slice->value_count, sizeof *tensors);
    weir_slice_node_t *nodes = weir__zone_array(zone, slice->member_count, sizeof *nodes);
    if (!view || !tensors || !nodes)
        return weir__status_no_memory();
    for (uint32_t t = 0; t < slice->value_count; t++)
        tensor(user, slice->values[t], &tensors[t]);
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[m]];
        uint32_t count = node->input_count + node->output_count;
        weir_tensor_t *own = weir__zone_array(zone, count, sizeof *own);
        if (!own)
            return weir__status_no_memory();
        weir__view_head(node, &nodes[m].node);
        nodes[m].inputs = slice->member_inputs[m];
        nodes[m].outputs = slice->member_outputs[m];
        nodes[m].node.inputs = own;
        nodes[m].node.outputs = own + node->input_count;
        for (uint32_t i = 0; i < node->input_count; i++)
            if (nodes[m].inputs[i] != UINT32_MAX)
                own[i] = tensors[nodes[m].inputs[i]];
        for (uint32_t i = 0; i < node->output_count; i++)
            if (nodes[m].outputs[i] != UINT32_MAX)
                own[node->input_count + i] = tensors[nodes[m].outputs[i]];
    }
    *view = (weir_slice_t){.head = WEIR_HEAD(weir_slice_t),
        .nodes = nodes,
        .tensors = tensors,
        .inputs = slice->inputs,
        .outputs = slice->outputs,
        .node_count = slice->member_count,
        .tensor_count = slice->value_count,
        .input_count = slice->input_count,
        .output_count = slice->output_count};
    *out_view = view;
    return NULL;
}

static void symbolic_tensor(void *user, uint32_t value, weir_tensor_t *out_tensor)
{
    weir__view_tensor(user, value, out_tensor);
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

static weir_status_t compile(weir_plan_t *plan, weir__plan_slice_t *slice)
{
    weir_slice_t *view;
    WEIR_TRY(number_tensors(plan, slice));
    WEIR_TRY(join_origins(plan, slice));
    WEIR_TRY(weir__slice_view(&plan->zone, slice, symbolic_tensor, plan, &view));
    weir__plugin_t *plugin = slice->device->plugin;
    weir_code_t code = plugin->device.compile(slice->device->handle, view, &slice->program);
    return weir__plugin_status(plugin, code, "compile");
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
        if (!plan->slices[s].program && plan->slices[s].region == region)
            WEIR_TRY(compile(plan, &plan->slices[s]));
    return NULL;
}
