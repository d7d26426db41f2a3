// engine/exec/join.c: what a Concat joins is written where it belongs in the first place.
//
// Where all inputs of a Concat on the host are made by kernels of this specialization and each is
// one piece of the output, their slots become parts of the output's memory and the step does
// nothing. All or none: kernels never see a Concat that is half done. What a run returns keeps
// memory of its own. Runs before the layout, which
// then knows no difference between a part and a view.
#include "engine/exec/spec.h"

#include <string.h>

#define PART_ALIGNMENT 64 // what kernels may expect of a tensor in an arena

// The step's axis if its inputs are one after the other in the output, whole; -1: they are not.
static int64_t axis_of(const weir__step_t *step)
{
    if (step->kind != WEIR__STEP_KERNEL || !step->node->anchor || step->view.prologue ||
        step->view.epilogue || step->view.output_count != 1 || strcmp(step->view.op, "Concat") != 0)
        return -1;
    const weir__slot_t *output = step->slots[step->view.input_count];
    int64_t axis = weir__node_int(step->node->anchor, "axis", 0);
    axis += axis < 0 ? output->type.rank : 0;
    if (axis < 0 || axis >= output->type.rank)
        return -1;
    for (int64_t d = 0; d < axis; d++)
        if (output->type.dims[d] != 1)
            return -1;
    return output->format == WEIR_FORMAT_ROW_MAJOR || axis < 2 ? axis : -1;
}

// May slot `i` of the step lie in the output's memory, `shift` bytes behind its beginning?
static bool fits(
    const weir__spec_t *spec, const weir__step_t *step, uint32_t i, int64_t axis, uint64_t shift)
{
    const weir__slot_t *part = step->slots[i], *whole = step->slots[step->view.input_count];
    if (!part || part->root != part || part->kind != WEIR__SLOT_ARENA || part->pinned ||
        part->place != WEIR__HOST || part->depth != spec->depth || part->format != whole->format ||
        part->made_by != UINT32_MAX || shift % PART_ALIGNMENT)
        return false;
    bool is_last = i + 1 == step->view.input_count;
    if (whole->format != WEIR_FORMAT_ROW_MAJOR && axis == 1 && !is_last &&
        part->type.dims[1] % 16 != 0)
        return false;
    for (uint32_t j = 0; j < i; j++)
        if (step->slots[j] == part)
            return false;
    return true;
}

static bool join(weir__spec_t *spec, weir__step_t *step)
{
    int64_t axis = axis_of(step);
    if (axis < 0)
        return false;
    weir__slot_t *whole = step->slots[step->view.input_count];
    uint64_t shift = 0;
    for (uint32_t i = 0; i < step->view.input_count; i++) {
        if (!fits(spec, step, i, axis, shift))
            return false;
        shift += step->slots[i]->bytes;
    }
    if (shift != whole->bytes || whole->root != whole || whole->kind != WEIR__SLOT_ARENA)
        return false;
    shift = 0;
    for (uint32_t i = 0; i < step->view.input_count; i++) {
        step->slots[i]->root = whole;
        step->slots[i]->shift = shift;
        // Memory is as long in use as any part of it: also within a launch.
        whole->last_member = WEIR_MAX(whole->last_member, step->slots[i]->last_member);
        shift += step->slots[i]->bytes;
    }
    step->tasks.phase_count = 0;
    step->scratch_bytes = step->shared_bytes = 0;
    return true;
}

// A part of a part, or a view of one, becomes a part of what has memory of its own.
static void resolve(weir__slot_t *slot)
{
    while (slot && slot->root->root != slot->root) {
        slot->shift += slot->root->shift;
        slot->root = slot->root->root;
    }
}

void weir__spec_join(weir__spec_t *spec)
{
    if (spec->copies) // values may be copied to devices: those know whole memories only
        return;
    const weir__region_t *main = &spec->plan->model->graph->main;
    for (uint32_t i = 0; spec->complete && i < main->output_count; i++) {
        weir__slot_t *root = spec->slot_of_value[main->outputs[i]]->root;
        if (root->depth == spec->depth) // the parents' are shared, and laid out already
            root->pinned = true;
    }
    bool any = false;
    for (uint32_t s = 0; s < spec->step_count; s++)
        any |= join(spec, &spec->steps[s]);
    if (!any)
        return;
    for (uint32_t s = 0; s < spec->step_count; s++)
        for (uint32_t i = 0; i < spec->steps[s].slot_count; i++)
            resolve(spec->steps[s].slots[i]);
    uint64_t count = weir__plan_value_count(spec->plan);
    for (uint64_t i = 0; i < count; i++)
        resolve(spec->slot_of_value[i]);
}
