// engine/exec/profile.c: what was noted of the last run, as weir/profile.h shows it.
//
// A run notes two times per step into memory that the session keeps (run.c); all texts and counts
// are worked out here, when somebody asks.
#include "engine/exec/cost.h"
#include "engine/exec/session.h"
#include <stdio.h>
#include <string.h>
#include <weir/profile.h>

weir_status_t weir__profile_reserve(weir_session_t *session, uint32_t step_count)
{
    weir__profile_t *profile = &session->profile;
    uint64_t wanted = (uint64_t)profile->count + step_count;
    if (wanted <= profile->capacity)
        return NULL;
    if (wanted > UINT32_MAX)
        return weir__status_no_memory();
    weir__profiled_t *steps =
        weir__heap_realloc(&session->runtime->heap, profile->steps, (size_t)wanted * sizeof *steps);
    if (!steps)
        return weir__status_no_memory();
    profile->steps = steps;
    profile->capacity = (uint32_t)wanted;
    return NULL;
}

void weir_session_profile_run(const weir_session_t *session, weir_profile_run_t *out_run)
{
    const weir__profile_t *profile = &session->profile;
    weir_profile_run_t known = {.size = out_run->size};
    if (profile->on) {
        known.step_count = profile->count;
        known.start_ns = profile->start_ns;
        known.duration_ns = profile->end_ns - profile->start_ns;
    }
    memcpy(out_run, &known, WEIR_MIN(out_run->size, sizeof known));
}

// "f32[1, 16, 384]"; cut to fit.
static void write_shape(const weir_tensor_t *tensor, char *text, size_t text_bytes)
{
    size_t used = (size_t)snprintf(text, text_bytes, "%s[", weir_dtype_name(tensor->dtype));
    for (uint32_t d = 0; d < tensor->rank && used < text_bytes; d++)
        used += (size_t)snprintf(
            text + used, text_bytes - used, d ? ", %lld" : "%lld", (long long)tensor->dims[d]);
    if (used < text_bytes)
        snprintf(text + used, text_bytes - used, "]");
}

static void describe_kernel(const weir__step_t *step, weir_profile_step_t *out_step)
{
    const weir__plan_node_t *node = step->node;
    out_step->op = node->op;
    out_step->origins = node->origins;
    // A node of unknown rank got its device in this run.
    out_step->device = node->candidate_count ? step->plugin->name : node->choice.device->name;
    out_step->kernel = step->kernel->name;
    out_step->fused = node->fused;
    if (step->view.output_count)
        write_shape(&step->view.outputs[0], out_step->shape, sizeof out_step->shape);
}

static void describe_transfer(
    const weir_session_t *session, const weir__step_t *step, weir_profile_step_t *out_step)
{
    bool copies = step->kind == WEIR__STEP_COPY;
    out_step->op = copies ? "Copy" : "Wait";
    out_step->origins = "";
    out_step->device = session->plan->devices[step->lane].opened->device->name;
    out_step->kernel = copies ? "copy" : "wait";
    out_step->fused = "";
    for (const weir__copy_t *copy = step->copies; copy; copy = copy->next)
        out_step->bytes += copy->to->bytes;
}

static void describe_launch(const weir__step_t *step, weir_profile_step_t *out_step)
{
    const weir_slice_t *view = step->slice_view;
    out_step->op = "Program";
    out_step->origins = step->slice->origins;
    out_step->device = step->slice->device->name;
    out_step->kernel = "program";
    out_step->fused = "";
    if (view->output_count)
        write_shape(&view->tensors[view->outputs[0]], out_step->shape, sizeof out_step->shape);
}

int weir_session_profile(
    const weir_session_t *session, uint32_t index, weir_profile_step_t *out_step)
{
    const weir__profile_t *profile = &session->profile;
    if (!profile->on || index >= profile->count)
        return 0;
    const weir__profiled_t *profiled = &profile->steps[index];
    const weir__step_t *step = profiled->step;
    weir__cost_t cost = {0};
    if (step->kind == WEIR__STEP_KERNEL || step->kind == WEIR__STEP_LAUNCH)
        cost = weir__step_cost(step);
    weir_profile_step_t known = {.size = out_step->size,
        .start_ns = profiled->start_ns,
        .duration_ns = profiled->end_ns - profiled->start_ns,
        .bytes = cost.bytes,
        .flop = cost.flop};
    if (step->kind == WEIR__STEP_KERNEL)
        describe_kernel(step, &known);
    else if (step->kind == WEIR__STEP_LAUNCH)
        describe_launch(step, &known);
    else
        describe_transfer(session, step, &known);
    memcpy(out_step, &known, WEIR_MIN(out_step->size, sizeof known));
    return 1;
}
