// engine/api/plan.c: the public functions of plans.
#include "engine/api/objects.h"

#include "engine/base/float_mode.h"
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
        .why = node->why};
    if (node->is_shape && !control) {
        known.device = "engine";
        known.kernel = "sizes";
    }
    memcpy(out_node, &known, WEIR_MIN(out_node->size, sizeof known));
    return 1;
}

void weir_plan_describe(const weir_plan_t *plan, weir_plan_info_t *out_info)
{
    weir_plan_info_t info = plan->info;
    info.size = out_info->size;
    memcpy(out_info, &info, WEIR_MIN(out_info->size, sizeof info));
}
