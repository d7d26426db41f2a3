// engine/plan/place.c: who runs each node.
//
// Devices are asked in the caller's order of preference and the first that can run a node gets it;
// every "no" is kept with its reason. Must not fuse or reorder: that comes after, on what was
// placed here.
#include "engine/plan/plan.h"

#include <stdio.h>
#include <string.h>

// ---- Arithmetic on sizes
// -------------------------------------------------------------------------

// Marks the values that some shape depends on, back to Shape nodes, constants and inputs. What is
// marked is kept out of fusion and of slices, so that a specialization can work it out on the host.
typedef struct shape_marks {
    const weir__graph_t *graph;
    bool *values; // [graph->value_count]
    uint32_t *stack;
    uint32_t depth;
} shape_marks_t;

static void mark(shape_marks_t *marks, uint32_t value)
{
    if (value == WEIR__NONE || marks->values[value])
        return;
    marks->values[value] = true;
    marks->stack[marks->depth++] = value; // each value is pushed once: the stack has room for all
}

static void mark_node_operands(shape_marks_t *marks, const weir__node_t *node)
{
    for (uint32_t i = 0; i < node->input_count && i < 32; i++)
        if (node->op->value_inputs >> i & 1)
            mark(marks, node->inputs[i]);
    if (node->op->flags & WEIR__OP_REGIONS)
        mark(marks, node->inputs[0]);
}

static bool *mark_shapes(weir_plan_t *plan)
{
    const weir__graph_t *graph = plan->model->graph;
    shape_marks_t marks = {.graph = graph};
    marks.values = weir__zone_array(&plan->zone, graph->value_count, sizeof(bool));
    marks.stack = weir__heap_calloc(&plan->runtime->heap, graph->value_count, sizeof(uint32_t));
    if (!marks.values || !marks.stack) {
        weir__heap_free(&plan->runtime->heap, marks.stack);
        return NULL;
    }
    for (uint32_t i = 0; i < graph->node_count; i++)
        mark_node_operands(&marks, &graph->nodes[i]);
    while (marks.depth) {
        const weir__value_t *value = &graph->values[marks.stack[--marks.depth]];
        if (value->producer == WEIR__NONE)
            continue;
        const weir__node_t *node = &graph->nodes[value->producer];
        if (node->op->flags & (WEIR__OP_DIMS_ONLY | WEIR__OP_REGIONS))
            continue;
        for (uint32_t i = 0; i < node->input_count; i++)
            mark(&marks, node->inputs[i]);
    }
    weir__heap_free(&plan->runtime->heap, marks.stack);
    return marks.values;
}

// ---- One node
// --------------------------------------------------------------------------------------

static bool fill_node(weir_plan_t *plan, const weir__node_t *source, const bool *shape_values,
    weir__plan_node_t *node)
{
    weir__zone_t *zone = &plan->zone;
    char label[256];
    *node = (weir__plan_node_t){.anchor = source,
        .op = source->op->name,
        .input_count = source->input_count,
        .output_count = source->output_count,
        .slice = UINT32_MAX,
        .fused = "",
        .why = ""};
    node->inputs = weir__zone_copy(zone, source->inputs, source->input_count * sizeof(uint32_t));
    node->outputs = weir__zone_copy(zone, source->outputs, source->output_count * sizeof(uint32_t));
    weir__node_label(source, label, sizeof label);
    node->label = weir__zone_string(zone, label, strlen(label));
    size_t length = 1;
    for (uint32_t i = 0; i < source->origin_count; i++)
        length += strlen(source->origins[i]) + 1;
    char *origins = weir__zone_alloc(zone, length);
    if (!node->inputs || !node->outputs || !node->label || !origins)
        return false;
    for (uint32_t i = 0; i < source->origin_count; i++)
        snprintf(origins + strlen(origins), length - strlen(origins), i ? "+%s" : "%s",
            source->origins[i]);
    node->origins = origins;
    if (source->output_count && source->outputs[0] != WEIR__NONE)
        node->is_shape = shape_values[source->outputs[0]];
    if (source->op->flags & WEIR__OP_DIMS_ONLY)
        node->is_shape = true;
    if (source->op->flags & WEIR__OP_ELEMENTWISE)
        return weir__expression_of_node(zone, plan->model->graph, source, &node->body);
    return true;
}

// Does `kernel` name this node? An elementwise node also answers to Pointwise.
static bool matches(const weir_kernel_t *kernel, const weir__plan_node_t *node)
{
    if (strcmp(kernel->op, node->op) == 0)
        return kernel->revision == node->anchor->op->revision;
    return node->body && strcmp(kernel->op, "Pointwise") == 0 && kernel->revision == 1;
}

// The node under the name that the kernel asked for.
static void name_for(const weir_kernel_t *kernel, weir_node_t *view)
{
    if (strcmp(kernel->op, "Pointwise") == 0) {
        view->op = "Pointwise";
        view->attributes = NULL;
        view->attribute_count = 0;
    }
}

// Does the device say itself what it can run? Otherwise the kernels of its plugin are asked.
static bool claims_itself(const weir__device_t *device)
{
    return device->programs && device->plugin->device.claim;
}

// May the kernel run on the device? run() is the engine's to call only for host memory.
static bool offers(const weir__device_t *device, const weir_kernel_t *kernel)
{
    return device->programs || kernel->run;
}

// The first of the device's kernels that takes the node. Otherwise *reason says why none does.
static const weir_kernel_t *find_kernel(const weir__device_t *device, const weir__plan_node_t *node,
    const weir_node_t *view, char reason[WEIR_REASON_BYTES])
{
    snprintf(reason, WEIR_REASON_BYTES, "has no kernel for %s", node->op);
    for (uint32_t i = 0; i < device->plugin->kernel_count; i++) {
        const weir_kernel_t *kernel = &device->plugin->kernels[i];
        if (!offers(device, kernel) || !matches(kernel, node))
            continue;
        weir_dtype_t dtype = view->input_count ? view->inputs[0].dtype : view->outputs[0].dtype;
        if (kernel->dtypes && !(kernel->dtypes & dtype)) {
            snprintf(reason, WEIR_REASON_BYTES, "its %s does not take this dtype", kernel->op);
            continue;
        }
        weir_node_t named = *view;
        name_for(kernel, &named);
        weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
        if (!kernel->supports || kernel->supports(&named, &answer) == WEIR_OK)
            return kernel;
        answer.reason[sizeof answer.reason - 1] = '\0';
        snprintf(
            reason, WEIR_REASON_BYTES, "%s", answer.reason[0] ? answer.reason : "does not take it");
    }
    return NULL;
}

// A node of unknown rank: whoever has a kernel of that name may get it once the rank is known.
static weir_status_t list_candidates(
    weir_plan_t *plan, const weir__device_list_t *devices, weir__plan_node_t *node)
{
    uint32_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        count = 0;
        for (uint32_t d = 0; d < devices->count; d++) {
            weir__device_t *device = devices->devices[d];
            for (uint32_t k = 0; k < device->plugin->kernel_count && !device->programs; k++) {
                const weir_kernel_t *kernel = &device->plugin->kernels[k];
                if (!offers(device, kernel) || !matches(kernel, node))
                    continue;
                if (pass)
                    node->candidates[count] =
                        (weir__candidate_t){.device = device, .kernel = kernel};
                count++;
            }
        }
        if (!pass) {
            node->candidates = weir__zone_array(&plan->zone, count, sizeof *node->candidates);
            if (!node->candidates)
                return weir__status_no_memory();
        }
    }
    node->candidate_count = count;
    if (!count)
        return WEIR_ERR(WEIR_UNSUPPORTED, "%s: no device has a kernel for it", node->label);
    node->choice = node->candidates[0];
    node->why = "the rank of its inputs is known only in a run";
    return NULL;
}

static weir_status_t nobody(
    const weir__plan_node_t *node, const weir__device_list_t *devices, const char *why)
{
    return WEIR_ERR(WEIR_UNSUPPORTED, "%s: no device can run it (%s)%s", node->label, why,
        devices->required ? "; leave require_devices off to let the plain C device run it" : "");
}

// Why a node stays on the host whatever a device says; NULL: it need not. A size that depends on
// data ends a slice, because nothing behind it can be laid out before the data is there.
static const char *host_only(const weir_plan_t *plan, const weir__plan_node_t *node)
{
    const weir__op_t *op = node->anchor->op;
    if (node->is_shape || op->flags & (WEIR__OP_REGIONS | WEIR__OP_VIEW))
        return "shape arithmetic, views and control flow stay on the host";
    for (uint32_t i = 0; i < node->input_count && i < 32; i++)
        if ((op->value_inputs >> i & 1) && node->inputs[i] != WEIR__NONE &&
            !plan->size_known[node->inputs[i]])
            return "its size depends on data";
    return NULL;
}

static weir_status_t place_node(weir_plan_t *plan, const weir__device_list_t *devices,
    const weir_claim_t *const *claims, uint32_t number, weir__plan_node_t *node)
{
    char why[1024] = "", reason[WEIR_REASON_BYTES];
    weir_tensor_t few[16], *tensors = few;
    uint32_t count = node->input_count + node->output_count;
    if (count > 16)
        tensors = weir__zone_array(&plan->zone, count, sizeof *tensors);
    if (!tensors)
        return weir__status_no_memory();
    weir_node_t view;
    if (!weir__view_node(plan, node, tensors, &view))
        return list_candidates(plan, devices, node);
    for (uint32_t d = 0; d < devices->count; d++) {
        weir__device_t *device = devices->devices[d];
        const weir_kernel_t *kernel = NULL;
        const char *stays = device->programs ? host_only(plan, node) : NULL;
        if (stays)
            snprintf(reason, sizeof reason, "%s", stays);
        else if (claims_itself(device))
            snprintf(reason, sizeof reason, "%s", claims[d][number].reason);
        else
            kernel = find_kernel(device, node, &view, reason);
        if (kernel || (claims_itself(device) && claims[d][number].claimed)) {
            node->choice = (weir__candidate_t){.device = device, .kernel = kernel};
            break;
        }
        size_t used = strlen(why);
        snprintf(why + used, sizeof why - used, "%s%s: %s", used ? "; " : "", device->name, reason);
    }
    if (!node->choice.device)
        return nobody(node, devices, why);
    node->why = weir__zone_string(&plan->zone, why, strlen(why));
    if (node->choice.kernel && strcmp(node->choice.kernel->op, "Pointwise") == 0) {
        node->fused = node->op;
        node->op = "Pointwise";
    }
    return node->why ? NULL : weir__status_no_memory();
}

// ---- Devices with programs ---------------------------------------------------------------------

// Shows the region to a device; claims[i] answers for node i.
static weir_status_t ask_device(weir_plan_t *plan, weir__device_t *device,
    const weir__plan_region_t *region, const weir_claim_t **out_claims)
{
    weir__zone_t *zone = &plan->zone;
    uint32_t count = region->node_count;
    weir_claim_t *claims = weir__zone_array(zone, count, sizeof *claims);
    weir_slice_node_t *nodes = weir__zone_array(zone, count, sizeof *nodes);
    if (!claims || !nodes)
        return weir__status_no_memory();
    WEIR_TRY(weir__device_open(&plan->runtime->registry, device));
    uint32_t shown = 0;
    uint32_t *numbers = weir__zone_array(zone, count, sizeof *numbers);
    if (!numbers)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < count; i++) {
        const weir__plan_node_t *node = &region->nodes[i];
        claims[i] = (weir_claim_t){.head = WEIR_HEAD(weir_claim_t)};
        weir_tensor_t *tensors =
            weir__zone_array(zone, node->input_count + node->output_count, sizeof *tensors);
        if (!tensors)
            return weir__status_no_memory();
        const char *stays = host_only(plan, node);
        if (stays)
            snprintf(claims[i].reason, sizeof claims[i].reason, "%s", stays);
        if (stays || !weir__view_node(plan, node, tensors, &nodes[shown].node))
            continue;
        nodes[shown].inputs = node->inputs;
        nodes[shown].outputs = node->outputs;
        numbers[shown++] = i;
    }
    weir_slice_t slice = {.head = WEIR_HEAD(weir_slice_t), .nodes = nodes, .node_count = shown};
    weir_claim_t *answers = weir__zone_array(zone, shown, sizeof *answers);
    if (!answers)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < shown; i++)
        answers[i] = (weir_claim_t){.head = WEIR_HEAD(weir_claim_t)};
    weir_code_t code = device->plugin->device.claim(device->handle, &slice, answers);
    if (code != WEIR_OK)
        return weir__plugin_status(device->plugin, code, "claim");
    for (uint32_t i = 0; i < shown; i++) {
        claims[numbers[i]] = answers[i];
        claims[numbers[i]].reason[WEIR_REASON_BYTES - 1] = '\0';
    }
    *out_claims = claims;
    return NULL;
}

// ---- A region
// ------------------------------------------------------------------------------------

// Values that a specialization can always work out: from constants and dims alone.
static void note_known_sizes(weir_plan_t *plan, const weir__plan_node_t *node)
{
    const weir__graph_t *graph = plan->model->graph;
    bool known = !(node->anchor->op->flags & WEIR__OP_REGIONS);
    for (uint32_t i = 0; i < node->input_count; i++) {
        uint32_t value = node->inputs[i];
        if (value != WEIR__NONE && graph->values[value].constant)
            plan->size_known[value] = true;
        known &= value == WEIR__NONE || plan->size_known[value];
    }
    known |= (node->anchor->op->flags & WEIR__OP_DIMS_ONLY) != 0;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE)
            plan->size_known[node->outputs[i]] = known;
}

static weir_status_t place_region(weir_plan_t *plan, const weir__region_t *source,
    const weir__device_list_t *devices, const bool *shapes, uint32_t depth,
    weir__plan_region_t *region)
{
    if (depth > plan->runtime->limits.subgraph_depth)
        return WEIR_ERR(WEIR_LIMIT, "regions are nested deeper than limits.subgraph_depth");
    *region = (weir__plan_region_t){.source = source};
    region->nodes = weir__zone_array(&plan->zone, source->node_count, sizeof *region->nodes);
    if (!region->nodes)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < source->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[region->node_count++];
        if (!fill_node(plan, &plan->model->graph->nodes[source->nodes[i]], shapes, node))
            return weir__status_no_memory();
        note_known_sizes(plan, node);
    }
    const weir_claim_t *claims[32] = {NULL};
    for (uint32_t d = 0; d < devices->count; d++)
        if (claims_itself(devices->devices[d]))
            WEIR_TRY(ask_device(plan, devices->devices[d], region, &claims[d]));
        else if (devices->devices[d]->programs)
            WEIR_TRY(weir__device_open(&plan->runtime->registry, devices->devices[d]));
    for (uint32_t i = 0; i < region->node_count; i++) {
        weir__plan_node_t *node = &region->nodes[i];
        if (node->anchor->op->flags & WEIR__OP_REGIONS) {
            for (uint32_t r = 0; r < node->anchor->region_count && r < 2; r++) {
                node->regions[r] = weir__zone_alloc(&plan->zone, sizeof *node->regions[r]);
                if (!node->regions[r])
                    return weir__status_no_memory();
                WEIR_TRY(place_region(
                    plan, node->anchor->regions[r], devices, shapes, depth + 1, node->regions[r]));
            }
        } else if (!(node->anchor->op->flags & WEIR__OP_VIEW)) {
            WEIR_TRY(place_node(plan, devices, claims, i, node));
        }
    }
    return NULL;
}

weir_status_t weir__plan_place(weir_plan_t *plan, const weir__region_t *source,
    const weir__device_list_t *devices, weir__plan_region_t *out_region)
{
    const bool *shapes = mark_shapes(plan);
    plan->size_known =
        weir__zone_array(&plan->zone, plan->model->graph->value_count, sizeof *plan->size_known);
    if (!shapes || !plan->size_known)
        return weir__status_no_memory();
    return place_region(plan, source, devices, shapes, 0, out_region);
}
