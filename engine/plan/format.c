// engine/plan/format.c: in which format each activation lies, and Reorder nodes where that changes.
//
// The graph's values are always row-major. A value that a node writes in another format gets a
// second number (an *own value* of the plan); a Reorder node makes the other form where somebody
// needs it, once. One pass in execution order: kernels that want a format for its own sake (Conv)
// get it, those that merely accept it follow their inputs, all others read row-major. Decided by
// layer, never by batch or threads.
#include "engine/plan/fuse.h"

#include <string.h>

#define BLOCKED WEIR_FORMAT_NCHW16C
#define IS_BLOCKED_BIT WEIR_FORMAT_BIT(BLOCKED)

typedef struct formatter {
    weir_plan_t *plan;
    const weir__plan_region_t *region;
    // By value of the graph: the number of its blocked form (WEIR__NONE: it has none), and which
    // exist yet.
    uint32_t *blocked;
    bool *blocked_made, *row_made;
    weir__plan_node_t *nodes; // the region's new list
    uint32_t node_count, node_capacity;
} formatter_t;

static weir_status_t emit(formatter_t *formatter, const weir__plan_node_t *node)
{
    if (formatter->node_count == formatter->node_capacity) {
        uint32_t capacity = WEIR_MAX(formatter->node_capacity * 2, 64);
        weir__plan_node_t *nodes =
            weir__zone_array(&formatter->plan->zone, capacity, sizeof *nodes);
        if (!nodes)
            return weir__status_no_memory();
        if (formatter->node_count)
            memcpy(nodes, formatter->nodes, formatter->node_count * sizeof *nodes);
        formatter->nodes = nodes;
        formatter->node_capacity = capacity;
    }
    formatter->nodes[formatter->node_count++] = *node;
    return NULL;
}

// The number of a value's blocked form, made up when it has none.
static weir_status_t blocked_form(formatter_t *formatter, uint32_t value, uint32_t *out_value)
{
    weir_plan_t *plan = formatter->plan;
    if (formatter->blocked[value] == WEIR__NONE) {
        if (plan->own_count == plan->own_capacity) {
            uint32_t capacity = WEIR_MAX(plan->own_capacity * 2, 64);
            weir__own_value_t *own = weir__zone_array(&plan->zone, capacity, sizeof *own);
            if (!own)
                return weir__status_no_memory();
            if (plan->own_count)
                memcpy(own, plan->own_values, plan->own_count * sizeof *own);
            plan->own_values = own;
            plan->own_capacity = capacity;
        }
        formatter->blocked[value] = plan->model->graph->value_count + plan->own_count;
        plan->own_values[plan->own_count++] =
            (weir__own_value_t){.original = value, .format = BLOCKED};
    }
    *out_value = formatter->blocked[value];
    return NULL;
}

// ---- Reorders
// --------------------------------------------------------------------------------------

// A node that copies `from` into `to`; *out_node NULL: the device has no kernel for that.
static weir_status_t make_reorder(formatter_t *formatter, weir__device_t *device, uint32_t from,
    uint32_t to, weir__plan_node_t **out_node)
{
    weir_plan_t *plan = formatter->plan;
    weir__plan_node_t *node = weir__zone_alloc(&plan->zone, sizeof *node);
    uint32_t *values = weir__zone_array(&plan->zone, 2, sizeof *values);
    const char *name = plan->model->graph->values[weir__plan_original(plan, from)].name;
    const char *label = weir__zone_format(&plan->zone, "reorder of \"%s\"", name ? name : "");
    if (!node || !values || !label)
        return weir__status_no_memory();
    values[0] = from;
    values[1] = to;
    *node = (weir__plan_node_t){.op = "Reorder",
        .choice.device = device,
        .input_count = 1,
        .output_count = 1,
        .inputs = &values[0],
        .outputs = &values[1],
        .slice = UINT32_MAX,
        .label = label,
        .origins = name ? name : "",
        .fused = "",
        .why = ""};
    *out_node = NULL;
    for (uint32_t i = 0; i < device->plugin->kernel_count && !*out_node; i++) {
        const weir_kernel_t *kernel = &device->plugin->kernels[i];
        if (strcmp(kernel->op, "Reorder") != 0 || !weir__plan_kernel_takes(plan, kernel, node))
            continue;
        node->choice.kernel = kernel;
        *out_node = node;
    }
    return NULL;
}

// Makes the row-major form of a value that so far has only its blocked one.
static weir_status_t ensure_row(formatter_t *formatter, uint32_t value)
{
    if (value == WEIR__NONE || !formatter->blocked_made[value] || formatter->row_made[value])
        return NULL;
    // The device that made the blocked form had a Reorder kernel: that was asked before.
    weir__plan_node_t *reorder = NULL;
    for (uint32_t i = formatter->node_count; i-- > 0 && !reorder;)
        if (formatter->nodes[i].output_count &&
            formatter->nodes[i].outputs[0] == formatter->blocked[value])
            WEIR_TRY(make_reorder(formatter, formatter->nodes[i].choice.device,
                formatter->blocked[value], value, &reorder));
    if (!reorder)
        return WEIR_ERR(WEIR_INTERNAL, "no device can make value \"%s\" row-major again",
            formatter->plan->model->graph->values[value].name);
    formatter->row_made[value] = true;
    return emit(formatter, reorder);
}

static weir_status_t ensure_rows_of(formatter_t *formatter, const weir__region_t *region)
{
    const weir__graph_t *graph = formatter->plan->model->graph;
    for (uint32_t i = 0; i < region->node_count; i++) {
        const weir__node_t *node = &graph->nodes[region->nodes[i]];
        for (uint32_t j = 0; j < node->input_count; j++)
            WEIR_TRY(ensure_row(formatter, node->inputs[j]));
        for (uint32_t r = 0; r < node->region_count; r++)
            WEIR_TRY(ensure_rows_of(formatter, node->regions[r]));
    }
    for (uint32_t i = 0; i < region->output_count; i++)
        WEIR_TRY(ensure_row(formatter, region->outputs[i]));
    return NULL;
}

// ---- One node
// --------------------------------------------------------------------------------------

static bool is_activation(const formatter_t *formatter, uint32_t value)
{
    if (value == WEIR__NONE)
        return false;
    const weir__value_t *source = &formatter->plan->model->graph->values[value];
    return !source->constant && source->type.rank == 4;
}

// The node as `kernel` would run it in blocked format, its new values numbered; *out_fits: it takes
// it.
static weir_status_t try_kernel(formatter_t *formatter, const weir__plan_node_t *node,
    const weir_kernel_t *kernel, weir__plan_node_t *out_node, bool *out_fits)
{
    weir_plan_t *plan = formatter->plan;
    bool wants = (kernel->head.flags & WEIR_KERNEL_BLOCKED) != 0, any = false;
    *out_fits = false;
    for (uint32_t i = 0; i < node->input_count; i++)
        any |=
            is_activation(formatter, node->inputs[i]) && formatter->blocked_made[node->inputs[i]];
    if (!((kernel->input_formats | kernel->output_formats) & IS_BLOCKED_BIT) || (!wants && !any))
        return NULL;
    *out_node = *node;
    out_node->choice.kernel = kernel;
    out_node->inputs =
        weir__zone_copy(&plan->zone, node->inputs, node->input_count * sizeof *node->inputs);
    out_node->outputs =
        weir__zone_copy(&plan->zone, node->outputs, node->output_count * sizeof *node->outputs);
    if (!out_node->inputs || !out_node->outputs)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < node->input_count; i++) {
        uint32_t value = node->inputs[i];
        if (!is_activation(formatter, value))
            continue;
        bool keeps = formatter->blocked_made[value] ? false : wants;
        if (!(kernel->input_formats & IS_BLOCKED_BIT) ||
            (keeps && (kernel->input_formats & WEIR_FORMAT_BIT(WEIR_FORMAT_ROW_MAJOR))))
            continue;
        WEIR_TRY(blocked_form(formatter, value, &out_node->inputs[i]));
    }
    for (uint32_t i = 0; i < node->output_count && (kernel->output_formats & IS_BLOCKED_BIT); i++)
        if (is_activation(formatter, node->outputs[i]))
            WEIR_TRY(blocked_form(formatter, node->outputs[i], &out_node->outputs[i]));
    *out_fits = weir__plan_kernel_takes(plan, kernel, out_node);
    return NULL;
}

// Emits the node with the reorders before it. false in *out_done: some reorder has no kernel.
static weir_status_t emit_blocked(formatter_t *formatter, const weir__plan_node_t *node,
    const weir__plan_node_t *made, bool *out_done)
{
    weir__plan_node_t *reorders[64];
    uint32_t count = 0;
    *out_done = false;
    for (uint32_t i = 0; i < node->input_count; i++) {
        uint32_t value = node->inputs[i];
        if (made->inputs[i] == value || formatter->blocked_made[value])
            continue;
        bool known = false;
        for (uint32_t j = 0; j < count; j++)
            known |= reorders[j]->inputs[0] == value;
        if (known)
            continue;
        if (count == 64)
            return NULL;
        WEIR_TRY(
            make_reorder(formatter, node->choice.device, value, made->inputs[i], &reorders[count]));
        if (!reorders[count])
            return NULL;
        count++;
    }
    // Somebody may want the output row-major: that there is a way back is settled now.
    for (uint32_t i = 0; i < node->output_count; i++) {
        weir__plan_node_t *back = NULL;
        if (made->outputs[i] == node->outputs[i])
            continue;
        WEIR_TRY(make_reorder(
            formatter, node->choice.device, made->outputs[i], node->outputs[i], &back));
        if (!back)
            return NULL;
    }
    for (uint32_t j = 0; j < count; j++) {
        formatter->blocked_made[reorders[j]->inputs[0]] = true;
        WEIR_TRY(emit(formatter, reorders[j]));
    }
    // An input that stays row-major must exist as such.
    for (uint32_t i = 0; i < node->input_count; i++)
        if (made->inputs[i] == node->inputs[i])
            WEIR_TRY(ensure_row(formatter, node->inputs[i]));
    for (uint32_t i = 0; i < node->output_count; i++)
        if (made->outputs[i] != node->outputs[i]) {
            formatter->blocked_made[node->outputs[i]] = true;
            formatter->row_made[node->outputs[i]] = false;
        }
    *out_done = true;
    return emit(formatter, made);
}

static weir_status_t format_node(formatter_t *formatter, const weir__plan_node_t *node)
{
    const weir__device_t *device = node->choice.device;
    bool may_block = node->choice.kernel && !node->is_shape && !node->candidate_count;
    for (uint32_t i = 0; may_block && i < device->plugin->kernel_count; i++) {
        const weir_kernel_t *kernel = &device->plugin->kernels[i];
        weir__plan_node_t made;
        bool fits = false;
        if (strcmp(kernel->op, node->op) == 0 && weir__plan_allows(formatter->plan, kernel) &&
            kernel->revision == node->choice.kernel->revision)
            WEIR_TRY(try_kernel(formatter, node, kernel, &made, &fits));
        if (fits)
            WEIR_TRY(emit_blocked(formatter, node, &made, &fits));
        if (fits)
            return NULL;
    }
    weir__plan_node_t kept = *node;
    // Shape and Size read no bytes: any form will do.
    bool dims_only = node->anchor && (node->anchor->op->flags & WEIR__OP_DIMS_ONLY);
    for (uint32_t i = 0; i < node->input_count; i++) {
        uint32_t value = node->inputs[i];
        bool only_blocked =
            value != WEIR__NONE && formatter->blocked_made[value] && !formatter->row_made[value];
        if (dims_only && only_blocked)
            kept.inputs[i] = formatter->blocked[value];
        else
            WEIR_TRY(ensure_row(formatter, value));
    }
    for (uint32_t r = 0; r < 2; r++)
        if (node->regions[r]) {
            WEIR_TRY(ensure_rows_of(formatter, node->regions[r]->source));
            WEIR_TRY(weir__plan_format(formatter->plan, node->regions[r]));
        }
    return emit(formatter, &kept);
}

static weir_status_t format_region(formatter_t *formatter, weir__plan_region_t *region)
{
    for (uint32_t i = 0; i < region->node_count; i++)
        WEIR_TRY(format_node(formatter, &region->nodes[i]));
    for (uint32_t i = 0; i < region->source->output_count; i++)
        WEIR_TRY(ensure_row(formatter, region->source->outputs[i]));
    region->nodes = formatter->nodes;
    region->node_count = formatter->node_count;
    return NULL;
}

weir_status_t weir__plan_format(weir_plan_t *plan, weir__plan_region_t *region)
{
    // Tables of all values are given back at once: there may be as many regions as values.
    weir__heap_t *heap = &plan->runtime->heap;
    uint64_t count = plan->model->graph->value_count;
    formatter_t formatter = {.plan = plan, .region = region};
    formatter.blocked = weir__heap_alloc(heap, count * (sizeof *formatter.blocked + 2));
    if (!formatter.blocked)
        return weir__status_no_memory();
    formatter.blocked_made = (bool *)(formatter.blocked + count);
    formatter.row_made = formatter.blocked_made + count;
    memset(formatter.blocked, 0xff, (size_t)count * sizeof *formatter.blocked);
    memset(formatter.blocked_made, false, (size_t)count);
    memset(formatter.row_made, true, (size_t)count);
    weir_status_t status = format_region(&formatter, region);
    weir__heap_free(heap, formatter.blocked);
    return status;
}
