// engine/exec/launch.c: what a run gives to devices: copies and launches. Never waits for one.
//
// Each operation that is given to a device signals the next value of the lane's timeline, so that
// it is always known whether the device may still be at work. One that is refused was not begun:
// its value goes to the next.
#include "engine/exec/session.h"

#include <stdio.h>
#include <string.h>

// The point that the next operation signals.
static weir_status_t next_point(
    weir_session_t *session, weir__lane_t *lane, weir_timeline_point_t *out_point)
{
    if (!lane->timeline) {
        WEIR_TRY(weir__timeline_create(&session->runtime->timelines, &lane->timeline));
        if (!weir__watch_change(lane->opened, &lane->watch, lane->timeline))
            return weir__opened_lost_status(lane->opened, WEIR_DEVICE_LOST);
    }
    *out_point = (weir_timeline_point_t){.timeline = lane->timeline, .value = ++lane->value};
    return NULL;
}

static weir_status_t given(weir__lane_t *lane, weir_code_t code, const char *call)
{
    if (code == WEIR_OK)
        return NULL;
    lane->value--;
    return weir__opened_status(lane->opened, code, call);
}

weir_status_t weir__session_copy(
    weir_session_t *session, weir__bound_t *bound, const weir__step_t *step)
{
    weir__lane_t *lane = &session->lanes->lanes[step->lane];
    weir_timeline_point_t signal;
    for (const weir__copy_t *copy = step->copies; copy; copy = copy->next)
        if (copy->source && copy->source->bytes)
            memcpy(weir__slot_data(session, copy->from, NULL),
                weir__slot_data(session, copy->source, session->run.inputs),
                (size_t)copy->source->bytes);
    if (!step->region_count)
        return NULL;
    WEIR_TRY(next_point(session, lane, &signal));
    weir_code_t code = lane->opened->plugin->device.copy(weir__made_handle(lane->queue),
        bound->regions + step->first_region, step->region_count, NULL, 0, &signal, 1);
    return given(lane, code, "copy");
}

static weir_status_t launch_program(
    weir_session_t *session, weir__bound_t *bound, const weir__step_t *step)
{
    weir__lane_t *lane = &session->lanes->lanes[step->lane];
    weir_timeline_point_t signal;
    WEIR_TRY(next_point(session, lane, &signal));
    weir_handle_t recording = weir__replay_next(session->runtime->recorder,
        &bound->replays[step->launch], bound->bindings + step->first_tensor, bound->epoch,
        step->slice->replay == WEIR_REPLAY_FIXED);
    weir_launch_t launch = {.head = WEIR_HEAD(weir_launch_t),
        .recording = recording,
        .specialization = step->specialization->handle,
        .bindings = bound->bindings + step->first_tensor,
        .binding_count = step->slot_count + 1,
        .signals = &signal,
        .signal_count = 1,
        .profiled = session->profile.on,
        .id = weir__profile_launch_id(session)};
    weir_code_t code = lane->opened->plugin->device.launch(weir__made_handle(lane->queue), &launch);
    return given(lane, code, "launch");
}

// Node by node: each has a point of its own, because a later one may be refused.
static weir_status_t execute_nodes(
    weir_session_t *session, weir__bound_t *bound, const weir__step_t *step)
{
    weir__lane_t *lane = &session->lanes->lanes[step->lane];
    for (uint32_t n = 0; n < step->slice_view->node_count; n++) {
        const weir__launch_part_t *part = &step->parts[n];
        const weir_node_t *node = &part->node->node;
        weir_timeline_point_t signal;
        WEIR_TRY(next_point(session, lane, &signal));
        weir_execution_t execution = {.head = WEIR_HEAD(weir_execution_t),
            .node = node,
            .kernel = part->node->kernel,
            .state = part->state ? part->state->pointer : NULL,
            .bindings = bound->bindings + step->first_tensor + part->first_binding,
            .binding_count = node->input_count + node->output_count,
            .node_number = n,
            .scratch = bound->bindings[step->first_tensor + step->slot_count],
            .launch_id = weir__profile_launch_id(session)};
        weir_code_t code = lane->opened->plugin->device.execute(
            weir__made_handle(lane->queue), &execution, NULL, 0, &signal, 1);
        WEIR_TRY(given(lane, code, "execute"));
    }
    return NULL;
}

weir_status_t weir__session_launch(
    weir_session_t *session, weir__bound_t *bound, const weir__step_t *step)
{
    WEIR_TRY(
        step->parts ? execute_nodes(session, bound, step) : launch_program(session, bound, step));
    return weir__session_copy(session, bound, step);
}

weir_status_t weir__session_result(weir_session_t *session, weir__lane_t *lane)
{
    const char *text;
    weir_code_t code = weir__timeline_status(&session->runtime->timelines, lane->timeline, &text);
    if (code == WEIR_OK)
        return NULL;
    weir_status_t status = WEIR_ERR(code, "device \"%s\": %s", lane->opened->device->name,
        text[0] ? text : "a launch failed without saying why");
    weir__lane_renew(session->runtime, lane); // a failure is sticky
    return status;
}
