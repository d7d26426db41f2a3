// engine/exec/learn.c: hands the times of a profiled run to placement.
//
// Which steps have a time of their own: kernels, and launches on devices that work in host memory,
// which are waited for. What other devices are given runs on while the host goes on; of them only
// their own records tell, node by node.
#include "engine/exec/session.h"
#include "engine/plan/learn.h"
#include <weir/profile.h>

static void learn_dims(weir__learner_t *learner, const weir__step_t *step)
{
    if (step->kind == WEIR__STEP_LAUNCH)
        for (uint32_t t = 0; t < step->slice_view->tensor_count; t++) {
            const weir_tensor_t *tensor = &step->slice_view->tensors[t];
            weir__learner_dims(learner, step->slice->values[t], tensor->rank, tensor->dims);
        }
    if (step->kind != WEIR__STEP_KERNEL)
        return;
    for (uint32_t i = 0; i < step->view.input_count; i++)
        weir__learner_dims(
            learner, step->node->inputs[i], step->view.inputs[i].rank, step->view.inputs[i].dims);
    for (uint32_t i = 0; i < step->view.output_count; i++)
        weir__learner_dims(learner, step->node->outputs[i], step->view.outputs[i].rank,
            step->view.outputs[i].dims);
}

static weir_status_t learn_launch(
    weir__learner_t *learner, weir__heap_t *heap, const weir__step_t *step, uint64_t ns)
{
    const weir__plan_slice_t *slice = step->slice;
    const weir__plan_node_t **nodes =
        weir__heap_alloc(heap, (uint64_t)slice->member_count * sizeof *nodes);
    if (!nodes)
        return weir__status_no_memory();
    for (uint32_t m = 0; m < slice->member_count; m++)
        nodes[m] = &slice->region->nodes[slice->members[m]];
    weir__learner_time(learner, nodes, slice->member_count, ns);
    weir__heap_free(heap, nodes);
    return NULL;
}

static void learn_records(weir__learner_t *learner, const weir_session_t *session)
{
    weir__profile_record_t record;
    for (uint32_t i = 0; weir__profile_record(session, i, &record); i++) {
        const weir__plan_slice_t *slice = session->profile.steps[record.step].step->slice;
        const weir__plan_node_t *node = &slice->region->nodes[slice->members[record.node]];
        if (slice->device->own_memory)
            weir__learner_time(learner, &node, 1, record.duration_ns);
    }
}

static weir_status_t learn_steps(weir__learner_t *learner, const weir_session_t *session)
{
    const weir__profile_t *profile = &session->profile;
    for (uint32_t i = 0; i < profile->count; i++)
        learn_dims(learner, profile->steps[i].step);
    for (uint32_t i = 0; i < profile->count; i++) {
        const weir__profiled_t *profiled = &profile->steps[i];
        const weir__step_t *step = profiled->step;
        uint64_t ns = profiled->end_ns - profiled->start_ns;
        if (step->kind == WEIR__STEP_KERNEL && !step->node->candidate_count)
            weir__learner_time(learner, &step->node, 1, ns);
        else if (step->kind == WEIR__STEP_LAUNCH && !step->slice->device->own_memory)
            WEIR_TRY(learn_launch(learner, &session->runtime->heap, step, ns));
    }
    learn_records(learner, session);
    return NULL;
}

weir_status_t weir_session_learn(const weir_session_t *session)
{
    if (!session->profile.on || !session->profile.count)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "the last run was not profiled: set profile_level of weir_run_options_t");
    weir__learner_t *learner;
    WEIR_TRY(weir__learner_open(session->plan, &learner));
    weir_status_t status = learn_steps(learner, session);
    if (!status)
        status = weir__learner_save(learner);
    weir__learner_close(learner);
    return status;
}
