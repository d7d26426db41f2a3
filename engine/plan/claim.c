// engine/plan/claim.c: asks every device about every node, and keeps each "no" with its reason.
//
// Plugins promise that asking is pure, so nothing is remembered here but the answers. Must not
// choose: that is assign.c.
#include "engine/plan/place.h"

#include <stdio.h>
#include <string.h>

// ---- Reasons: the same few texts for thousands of nodes, kept once ------------------------------

static weir_status_t keep_reason(weir__placer_t *placer, const char *text, const char **out_reason)
{
    uint32_t number;
    if (weir__map_get(&placer->reasons, text, &number)) {
        *out_reason = placer->texts[number];
        return NULL;
    }
    weir__zone_t *zone = &placer->plan->zone;
    if (placer->text_count == placer->text_capacity) {
        uint32_t capacity = placer->text_capacity ? placer->text_capacity * 2 : 32;
        const char **texts = weir__heap_realloc(
            &placer->plan->runtime->heap, placer->texts, capacity * sizeof *texts);
        if (!texts)
            return weir__status_no_memory();
        placer->texts = texts;
        placer->text_capacity = capacity;
    }
    char *kept = weir__zone_string(zone, text, strlen(text));
    if (!kept || !weir__map_put(&placer->reasons, kept, placer->text_count))
        return weir__status_no_memory();
    placer->texts[placer->text_count++] = kept;
    *out_reason = kept;
    return NULL;
}

// ---- Kernels -----------------------------------------------------------------------------------

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

// The first of the device's kernels that takes the node. Otherwise `text` says why none does.
static const weir_kernel_t *find_kernel(const weir_plan_t *plan, const weir__device_t *device,
    const weir__plan_node_t *node, const weir_node_t *view, uint64_t *out_cost_ns,
    char text[WEIR_REASON_BYTES])
{
    snprintf(text, WEIR_REASON_BYTES, "has no kernel for %s", node->op);
    for (uint32_t i = 0; i < device->plugin->kernel_count; i++) {
        const weir_kernel_t *kernel = &device->plugin->kernels[i];
        if (!offers(device, kernel) || !matches(kernel, node) || !weir__plan_allows(plan, kernel))
            continue;
        weir_dtype_t dtype = view->input_count ? view->inputs[0].dtype : view->outputs[0].dtype;
        if (kernel->dtypes && !(kernel->dtypes & dtype)) {
            snprintf(text, WEIR_REASON_BYTES, "its %s does not take this dtype", kernel->op);
            continue;
        }
        weir_node_t named = *view;
        name_for(kernel, &named);
        weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
        if (!kernel->supports || kernel->supports(&named, &answer) == WEIR_OK) {
            *out_cost_ns = answer.cost_ns;
            return kernel;
        }
        answer.reason[sizeof answer.reason - 1] = '\0';
        snprintf(
            text, WEIR_REASON_BYTES, "%s", answer.reason[0] ? answer.reason : "does not take it");
    }
    return NULL;
}

// Lists the kernels of the first `devices` devices that may turn out to take the node; NULL: counts
// them.
static uint32_t list_candidates(const weir_plan_t *plan, const weir__placement_t *placement,
    uint32_t devices, const weir__plan_node_t *node, weir__candidate_t *candidates)
{
    uint32_t count = 0;
    for (uint32_t d = 0; d < devices; d++) {
        weir__device_t *device = placement->devices[d];
        for (uint32_t k = 0; k < device->plugin->kernel_count && !device->programs; k++) {
            const weir_kernel_t *kernel = &device->plugin->kernels[k];
            if (!offers(device, kernel) || !matches(kernel, node) ||
                !weir__plan_allows(plan, kernel))
                continue;
            if (candidates)
                candidates[count] = (weir__candidate_t){.device = device, .kernel = kernel};
            count++;
        }
    }
    return count;
}

weir_status_t weir__place_candidates(
    weir_plan_t *plan, const weir__placement_t *placement, weir__plan_node_t *node)
{
    uint32_t devices = placement->device_count;
    uint32_t count = list_candidates(plan, placement, devices, node, NULL);
    if (!count) {
        devices = weir__placement_total(placement);
        count = list_candidates(plan, placement, devices, node, NULL);
    }
    if (!count)
        return WEIR_ERR(WEIR_UNSUPPORTED, "%s: no device has a kernel for it", node->label);
    node->candidates = weir__zone_array(&plan->zone, count, sizeof *node->candidates);
    if (!node->candidates)
        return weir__status_no_memory();
    node->candidate_count = list_candidates(plan, placement, devices, node, node->candidates);
    node->choice = node->candidates[0];
    node->why = "the rank of its inputs is known only in a run";
    return NULL;
}

// ---- What stays on the host --------------------------------------------------------------------

// A size that depends on data ends a slice, because nothing behind it can be laid out before the
// data is there.
const char *weir__place_host_only(const weir_plan_t *plan, const weir__plan_node_t *node)
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

bool weir__place_rank_known(const weir_plan_t *plan, const weir__plan_node_t *node)
{
    const weir__value_t *values = plan->model->graph->values;
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i] != WEIR__NONE && !values[node->inputs[i]].constant &&
            values[node->inputs[i]].type.rank < 0)
            return false;
    for (uint32_t i = 0; i < node->output_count; i++)
        if (node->outputs[i] != WEIR__NONE && values[node->outputs[i]].type.rank < 0)
            return false;
    return true;
}

// ---- Asking ------------------------------------------------------------------------------------

static weir__verdict_t *verdict_of(const weir__region_placer_t *at, uint32_t node, uint32_t device)
{
    return &at->verdicts[(size_t)node * weir__placement_total(at->placer->placement) + device];
}

static bool is_asked(const weir_plan_t *plan, const weir__plan_node_t *node)
{
    return !(node->anchor->op->flags & (WEIR__OP_REGIONS | WEIR__OP_VIEW)) &&
           weir__place_rank_known(plan, node);
}

// One node, all devices with kernels.
static weir_status_t ask_kernels(weir__region_placer_t *at, uint32_t number)
{
    weir_plan_t *plan = at->placer->plan;
    const weir__plan_node_t *node = &at->region->nodes[number];
    const weir__placement_t *placement = at->placer->placement;
    weir_tensor_t few[16], *tensors = few;
    uint32_t count = node->input_count + node->output_count;
    if (count > 16)
        tensors = weir__heap_calloc(&plan->runtime->heap, count, sizeof *tensors);
    if (!tensors)
        return weir__status_no_memory();
    weir_node_t view;
    weir__view_node(plan, node, tensors, &view);
    const char *stays = weir__place_host_only(plan, node);
    weir_status_t status = NULL;
    for (uint32_t d = 0; d < weir__placement_total(placement) && !status; d++) {
        const weir__device_t *device = placement->devices[d];
        weir__verdict_t *verdict = verdict_of(at, number, d);
        char text[WEIR_REASON_BYTES];
        if (claims_itself(device))
            continue;
        const char *refusal = weir__plan_refusal(at->placer->list, device);
        if (device->programs && stays)
            snprintf(text, sizeof text, "%s", stays);
        else if (d >= placement->device_count && !stays)
            snprintf(text, sizeof text, "was not asked for");
        else if (refusal)
            snprintf(text, sizeof text, "%s", refusal);
        else
            verdict->kernel = find_kernel(plan, device, node, &view, &verdict->cost_ns, text);
        if (!verdict->kernel)
            status = keep_reason(at->placer, text, &verdict->reason);
    }
    if (tensors != few)
        weir__heap_free(&plan->runtime->heap, tensors);
    return status;
}

// The region as a device with a claim of its own sees it, and its answers; `zone` is for the call.
static weir_status_t ask_claim(weir__region_placer_t *at, uint32_t number, weir__zone_t *zone)
{
    weir_plan_t *plan = at->placer->plan;
    weir__device_t *device = at->placer->placement->devices[number];
    uint32_t count = at->region->node_count, shown = 0;
    const char *refusal = weir__plan_refusal(at->placer->list, device);
    weir_slice_node_t *nodes = weir__zone_array(zone, count, sizeof *nodes);
    weir_claim_t *claims = weir__zone_array(zone, count, sizeof *claims);
    uint32_t *numbers = weir__zone_array(zone, count, sizeof *numbers);
    if (!nodes || !claims || !numbers)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < count; i++) {
        const weir__plan_node_t *node = &at->region->nodes[i];
        if (!is_asked(plan, node))
            continue;
        const char *stays = weir__place_host_only(plan, node);
        stays = stays ? stays : refusal;
        if (stays) {
            WEIR_TRY(keep_reason(at->placer, stays, &verdict_of(at, i, number)->reason));
            continue;
        }
        weir_tensor_t *tensors =
            weir__zone_array(zone, node->input_count + node->output_count, sizeof *tensors);
        if (!tensors)
            return weir__status_no_memory();
        weir__view_node(plan, node, tensors, &nodes[shown].node);
        nodes[shown].inputs = node->inputs;
        nodes[shown].outputs = node->outputs;
        claims[shown] = (weir_claim_t){.head = WEIR_HEAD(weir_claim_t)};
        numbers[shown++] = i;
    }
    if (refusal)
        return NULL;
    weir_slice_t slice = {.head = WEIR_HEAD(weir_slice_t), .nodes = nodes, .node_count = shown};
    weir_code_t code = device->plugin->device.claim(device->handle, &slice, claims);
    if (code != WEIR_OK)
        return weir__opened_status(device->opened, code, "claim");
    for (uint32_t i = 0; i < shown; i++) {
        weir__verdict_t *verdict = verdict_of(at, numbers[i], number);
        verdict->cost_ns = claims[i].cost_ns;
        claims[i].reason[WEIR_REASON_BYTES - 1] = '\0';
        if (!claims[i].claimed)
            WEIR_TRY(keep_reason(at->placer,
                claims[i].reason[0] ? claims[i].reason : "does not take it", &verdict->reason));
    }
    return NULL;
}

weir_status_t weir__place_ask(weir__region_placer_t *at)
{
    weir_plan_t *plan = at->placer->plan;
    for (uint32_t i = 0; i < at->region->node_count; i++)
        if (is_asked(plan, &at->region->nodes[i]))
            WEIR_TRY(ask_kernels(at, i));
    for (uint32_t d = 0; d < weir__placement_total(at->placer->placement); d++) {
        if (!claims_itself(at->placer->placement->devices[d]))
            continue;
        weir__zone_t zone;
        weir__zone_init(&zone, &plan->runtime->heap, plan->runtime->limits.graph_bytes);
        weir_status_t status = weir__zone_status(&zone, ask_claim(at, d, &zone));
        weir__zone_free(&zone);
        WEIR_TRY(status);
    }
    return NULL;
}
