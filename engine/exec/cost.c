// engine/exec/cost.c: bytes and floating-point operations of a step, and whether to share it out.
//
// What a node costs is plan/cost.c. It must not be used to choose kernels or layouts: that is the
// plugins' business.
#include "engine/exec/cost.h"

weir__cost_t weir__step_cost(const weir__step_t *step)
{
    if (!step->slice)
        return weir__node_cost(&step->view);
    weir__cost_t cost = {0};
    for (uint32_t i = 0; i < step->slice_view->node_count; i++)
        cost.flop =
            weir__cost_sum(cost.flop, weir__node_cost(&step->slice_view->nodes[i].node).flop);
    // What stays inside the device is its own business.
    const weir_slice_t *view = step->slice_view;
    for (uint32_t i = 0; i < view->input_count; i++)
        cost.bytes = weir__cost_sum(cost.bytes, view->tensors[view->inputs[i]].bytes);
    for (uint32_t i = 0; i < view->output_count; i++)
        cost.bytes = weir__cost_sum(cost.bytes, view->tensors[view->outputs[i]].bytes);
    for (uint32_t i = 0; i < view->tensor_count; i++)
        if (view->tensors[i].flags & WEIR_TENSOR_CONSTANT)
            cost.bytes = weir__cost_sum(cost.bytes, view->tensors[i].bytes);
    return cost;
}

// ---- Is it worth a second thread?
// ----------------------------------------------------------------

#define SHARE_NS 6000 // about 20,000 cycles: what handing over a share may cost, a few times over

uint32_t weir__step_wide_phases(const weir__step_t *step)
{
    uint32_t wide = 0;
    uint64_t guess = UINT64_MAX; // of all phases together, for kernels that say nothing
    for (uint32_t p = 0; p < step->tasks.phase_count; p++) {
        uint64_t total = weir__cost_product(step->tasks.task_count[p], step->tasks.task_cost_ns[p]);
        if (!step->tasks.task_cost_ns[p]) {
            // Plain C at about one operation and four bytes a nanosecond.
            if (guess == UINT64_MAX) {
                weir__cost_t cost = weir__node_cost(&step->view);
                guess = weir__cost_sum(cost.flop, cost.bytes / 4);
            }
            total = guess;
        }
        if (step->tasks.task_count[p] > 1 && total >= 2 * SHARE_NS)
            wide |= 1u << p;
    }
    return wide;
}
