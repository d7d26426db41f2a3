// engine/api/plan.c: the public functions of plans.
#include "engine/api/objects.h"

#include "engine/base/float_mode.h"
#include "engine/plan/place.h"
#include <string.h>

weir_status_t weir_plan_create(
    weir_model_t *model, const weir_plan_options_t *options, weir_plan_t **out_plan)
{
    weir_plan_options_t known = {.size = sizeof known};
    if (options)
        memcpy(&known, options, WEIR_MIN(options->size, sizeof known));
    weir_plan_t *plan;
    unsigned before = weir__float_enter(); // weights are packed here
    weir_status_t status = weir__plan_create(model, &known, &plan);
    weir__float_leave(before);
    WEIR_TRY(weir__status_prefix(status, "%s", model->label));
    status = weir__spec_cache_create(plan);
    if (status) {
        weir__plan_free(plan);
        return status;
    }
    *out_plan = plan;
    return NULL;
}

void weir_plan_retain(weir_plan_t *plan)
{
    atomic_fetch_add_explicit(&plan->references, 1, memory_order_relaxed);
}

void weir_plan_free(weir_plan_t *plan)
{
    if (plan && atomic_fetch_sub_explicit(&plan->references, 1, memory_order_acq_rel) == 1)
        weir__plan_free(plan);
}

weir_model_t *weir_plan_model(const weir_plan_t *plan)
{
    return plan->model;
}

// The place of a node's device in the plan's list.
static uint32_t place_of(const weir_plan_t *plan, const weir__plan_node_t *node)
{
    uint32_t device = 0, total = weir__placement_total(plan->placement);
    while (device < total && plan->placement->devices[device] != node->choice.device)
        device++;
    return device;
}

int weir_plan_node(const weir_plan_t *plan, uint32_t index, weir_plan_node_t *out_node)
{
    if (index >= plan->listing_count)
        return 0;
    const weir__plan_node_t *node = plan->listing[index];
    const weir_kernel_t *kernel = node->choice.kernel;
    bool control = node->regions[0] || node->regions[1];
    weir_plan_node_t known = {.size = out_node->size,
        .depth = plan->listing_depths[index],
        .op = node->op,
        .origins = node->origins,
        .device = node->choice.device ? node->choice.device->name : "engine",
        .kernel = kernel                ? kernel->name
                  : control             ? "control flow"
                  : node->choice.device ? "program"
                                        : "view",
        .fused = node->fused,
        .why = node->why,
        .group = UINT32_MAX,
        .slice = node->slice};
    weir__candidacy_t chosen;
    if (weir__plan_candidate(plan, node, place_of(plan, node), &chosen)) {
        weir__shares_t shares;
        weir__plan_shares(plan, node, plan->placement->sizes, &shares);
        known.cost_ns = chosen.cost_ns;
        known.cost_source = chosen.source;
        known.group = shares.shares[0].unit;
        known.is_requested = plan->placement->units[known.group].is_pinned;
    }
    if (node->is_shape && !control) {
        known.device = "engine";
        known.kernel = "sizes";
    }
    memcpy(out_node, &known, WEIR_MIN(out_node->size, sizeof known));
    return 1;
}

int weir_plan_candidate(
    const weir_plan_t *plan, uint32_t node, uint32_t index, weir_plan_candidate_t *out_candidate)
{
    if (node >= plan->listing_count)
        return 0;
    const weir__plan_node_t *of = plan->listing[node];
    uint32_t place = place_of(plan, of);
    weir__candidacy_t candidacy;
    // Plain C that was not asked for is no candidate, unless it was needed.
    if (index >= plan->placement->device_count && place != index)
        return 0;
    if (!weir__plan_candidate(plan, of, index, &candidacy))
        return 0;
    weir_plan_candidate_t known = {.size = out_candidate->size,
        .is_chosen = index == place,
        .device = plan->placement->devices[index]->name,
        .reason = candidacy.reason ? candidacy.reason : "",
        .cost_ns = candidacy.cost_ns,
        .cost_source = candidacy.source,
        .is_last = candidacy.is_last};
    memcpy(out_candidate, &known, WEIR_MIN(out_candidate->size, sizeof known));
    return 1;
}

// The node before `node` that writes this value.
static uint32_t producer_of(const weir_plan_t *plan, uint32_t node, uint32_t value)
{
    while (node-- > 0)
        for (uint32_t i = 0; i < plan->listing[node]->output_count; i++)
            if (plan->listing[node]->outputs[i] == value)
                return node;
    return UINT32_MAX;
}

int weir_plan_input(
    const weir_plan_t *plan, uint32_t node, uint32_t index, weir_plan_input_t *out_input)
{
    if (node >= plan->listing_count || index >= plan->listing[node]->input_count)
        return 0;
    uint32_t value = plan->listing[node]->inputs[index];
    weir_plan_input_t known = {.size = out_input->size, .producer = UINT32_MAX, .value = ""};
    if (value != WEIR__NONE) {
        const weir__value_t *source = &plan->model->graph->values[weir__plan_original(plan, value)];
        known.value = source->name ? source->name : "";
        known.is_constant = source->constant != NULL;
        if (!known.is_constant)
            known.producer = producer_of(plan, node, value);
    }
    memcpy(out_input, &known, WEIR_MIN(out_input->size, sizeof known));
    return 1;
}

int weir_plan_cut(const weir_plan_t *plan, uint32_t index, weir_plan_cut_t *out_cut)
{
    if (index >= plan->placement->cut_count)
        return 0;
    const weir__cut_t *cut = &plan->placement->cuts[index];
    weir_plan_cut_t known = {.size = out_cut->size,
        .value = plan->model->graph->values[cut->value].name,
        .from = cut->from ? cut->from->name : "host",
        .to = cut->to ? cut->to->name : "host",
        .bytes = cut->bytes,
        .cost_ns = cut->cost_ns};
    memcpy(out_cut, &known, WEIR_MIN(out_cut->size, sizeof known));
    return 1;
}

void weir_plan_describe(const weir_plan_t *plan, weir_plan_info_t *out_info)
{
    weir_plan_info_t info = plan->info;
    info.size = out_info->size;
    memcpy(out_info, &info, WEIR_MIN(out_info->size, sizeof info));
}
