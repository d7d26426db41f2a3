// engine/plan/slice_view.c: a slice as its device sees it: numbered tensors, borders, flat arrays.
#include "engine/plan/plan.h"

#include <string.h>

// ---- Numbering ---------------------------------------------------------------------------------

typedef struct numbering {
    weir__plan_slice_t *slice;
    uint32_t *numbers; // by value: the first tensor that it is; UINT32_MAX: none
} numbering_t;

static bool is_tensor(
    const weir__plan_slice_t *slice, uint32_t t, uint32_t value, const weir__packed_t *packed)
{
    return slice->values[t] == value &&
           (packed ? slice->packed[t] && slice->packed[t]->view.data == packed->view.data &&
                         slice->packed[t]->format == packed->format
                   : !slice->packed[t]);
}

// A constant that two members want packed in different ways is two tensors.
static uint32_t number_of(numbering_t *numbering, uint32_t value, const weir__packed_t *packed)
{
    weir__plan_slice_t *slice = numbering->slice;
    if (value == WEIR__NONE)
        return UINT32_MAX;
    for (uint32_t t = numbering->numbers[value]; t < slice->value_count; t++)
        if (is_tensor(slice, t, value, packed))
            return t;
    if (numbering->numbers[value] == UINT32_MAX)
        numbering->numbers[value] = slice->value_count;
    slice->values[slice->value_count] = value;
    slice->packed[slice->value_count] = packed;
    return slice->value_count++;
}

static bool is_constant(const weir_plan_t *plan, uint32_t value)
{
    const weir__graph_t *graph = plan->model->graph;
    return value < graph->value_count && graph->values[value].constant;
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
        if (made[t] && inside[t] < plan->reader_counts[value])
            slice->outputs[slice->output_count++] = t;
        else if (!made[t] && !is_constant(plan, value))
            slice->inputs[slice->input_count++] = t;
    }
}

static const weir__packed_t *packed_input(const weir__plan_node_t *node, uint32_t input)
{
    return node->packed && node->packed[input].format ? &node->packed[input] : NULL;
}

weir_status_t weir__slice_number(weir_plan_t *plan, weir__plan_slice_t *slice)
{
    weir__zone_t *zone = &plan->zone;
    uint32_t total = 0;
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[m]];
        total += node->input_count + node->output_count;
    }
    uint32_t value_count = weir__plan_value_count(plan);
    numbering_t numbering = {.slice = slice};
    numbering.numbers = weir__heap_alloc(&plan->runtime->heap, value_count * sizeof(uint32_t));
    slice->values = weir__zone_array(zone, total, sizeof(uint32_t));
    slice->packed = weir__zone_array(zone, total, sizeof(void *));
    slice->residents = weir__zone_array(zone, total, sizeof(uint64_t));
    slice->inputs = weir__zone_array(zone, total, sizeof(uint32_t));
    slice->outputs = weir__zone_array(zone, total, sizeof(uint32_t));
    slice->member_inputs = weir__zone_array(zone, slice->member_count, sizeof(void *));
    slice->member_outputs = weir__zone_array(zone, slice->member_count, sizeof(void *));
    uint32_t *numbers = weir__zone_array(zone, total, sizeof(uint32_t));
    uint8_t *made = weir__zone_array(zone, total, 1);
    uint32_t *inside = weir__zone_array(zone, total, sizeof(uint32_t));
    if (!numbering.numbers || !slice->values || !slice->packed || !slice->residents ||
        !slice->inputs || !slice->outputs || !slice->member_inputs || !slice->member_outputs ||
        !numbers || !made || !inside) {
        weir__heap_free(&plan->runtime->heap, numbering.numbers);
        return weir__status_no_memory();
    }
    memset(numbering.numbers, 0xff, value_count * sizeof(uint32_t));
    memset(slice->residents, 0xff, total * sizeof(uint64_t)); // WEIR__NOT_RESIDENT
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[m]];
        slice->member_inputs[m] = numbers;
        for (uint32_t i = 0; i < node->input_count; i++)
            *numbers++ = number_of(&numbering, node->inputs[i], packed_input(node, i));
        slice->member_outputs[m] = numbers;
        for (uint32_t i = 0; i < node->output_count; i++)
            *numbers++ = number_of(&numbering, node->outputs[i], NULL);
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
        tensor(user, slice, t, &tensors[t]);
    for (uint32_t m = 0; m < slice->member_count; m++) {
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[m]];
        uint32_t count = node->input_count + node->output_count;
        weir_tensor_t *own = weir__zone_array(zone, count, sizeof *own);
        if (!own)
            return weir__status_no_memory();
        weir__view_head(node, &nodes[m].node);
        nodes[m].kernel = node->choice.kernel;
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

bool weir__slice_constant(const weir_plan_t *plan, const weir__plan_slice_t *slice, uint32_t t,
    const void **out_data, uint64_t *out_bytes)
{
    const weir__packed_t *packed = slice->packed[t];
    if (!is_constant(plan, slice->values[t]))
        return false;
    const weir__tensor_t *constant = plan->model->graph->values[slice->values[t]].constant;
    *out_data = packed ? packed->view.data : constant->data;
    *out_bytes = packed ? packed->view.bytes : constant->bytes;
    return true;
}
