// engine/exec/run.c: the cursor: steps of a run, suspension, the end.
//
// A run is advanced by one thread at a time. It suspends where it waits for a device; whoever turns
// `suspended` from 1 to 0 (the device's signal, the deadline, a cancel) lets it go on: by waking
// the blocked caller, or by posting it to the team. Nothing here allocates once a shape has been
// seen.
#include "engine/exec/session.h"

#include "engine/base/clock.h"
#include "engine/base/float_mode.h"
#include "engine/base/futex.h"
#include <stdio.h>
#include <string.h>

// ---- Kernels
// -----------------------------------------------------------------------------------------

typedef struct phase {
    weir_session_t *session;
    const weir__step_t *step;
    weir_task_t task; // what all tasks of the phase share
} phase_t;

static weir_code_t run_tasks(void *user, uint32_t worker, uint64_t first, uint64_t count)
{
    const phase_t *phase = user;
    char error[WEIR_REASON_BYTES] = "";
    weir_task_t task = phase->task;
    task.first = first;
    task.count = count;
    if (phase->step->scratch_bytes)
        task.scratch = phase->session->scratch + worker * phase->step->scratch_bytes;
    task.error = error;
    task.error_bytes = sizeof error;
    weir_code_t code = phase->step->kernel->run(&task);
    if (code != WEIR_OK && !atomic_exchange(&phase->session->run.failure_taken, 1))
        memcpy(phase->session->run.failure, error, sizeof error);
    return code;
}

// The workers of a run: claimed at the first step that has work for them, because waking one costs
// more than a small run.
typedef struct crew {
    bool claimed;
    weir__lease_t lease;
} crew_t;

static weir_code_t run_phase(crew_t *crew, phase_t *phase, uint64_t task_count)
{
    weir_session_t *session = phase->session;
    if (!(phase->step->wide_phases >> phase->task.phase & 1) || session->run.threads < 2)
        return task_count ? run_tasks(phase, 0, 0, task_count) : WEIR_OK;
    if (!crew->claimed) {
        weir__lease_begin(session->run.team, session->run.threads, &crew->lease);
        crew->claimed = true;
    }
    return weir__lease_run(&crew->lease, task_count, run_tasks, phase);
}

static void dismiss(crew_t *crew)
{
    if (crew->claimed)
        weir__lease_end(&crew->lease);
    crew->claimed = false;
}

static weir_status_t run_kernel(
    weir_session_t *session, crew_t *crew, weir__bound_t *bound, const weir__step_t *step)
{
    phase_t phase = {.session = session, .step = step};
    phase.task = (weir_task_t){.head = WEIR_HEAD(weir_task_t),
        .node = &step->view,
        .state = step->state,
        .inputs = bound->tensors + step->first_tensor,
        .outputs = bound->tensors + step->first_tensor + step->view.input_count,
        .shared = session->arena + step->shared_offset};
    weir_code_t code = WEIR_OK;
    for (uint32_t p = 0; p < step->tasks.phase_count && code == WEIR_OK; p++) {
        phase.task.phase = p;
        code = run_phase(crew, &phase, step->tasks.task_count[p]);
    }
    if (code == WEIR_OK)
        return NULL;
    weir__run_t *run = &session->run;
    run->failure[sizeof run->failure - 1] = '\0';
    return WEIR_ERR(code, "%s on device \"%s\": %s", step->node->label, step->plugin->name,
        run->failure[0] ? run->failure : "its kernel failed without saying why");
}

// ---- Suspension
// --------------------------------------------------------------------------------------

// The parties that may wake a run see it SUSPENDING while it still registers with others, and only
// mark it; the run then goes on by itself. Once it is SUSPENDED the one who marks it also wakes it.
// Nobody touches a run that was woken: resume() takes back every registration, which waits for
// calls that are being made.
enum { RUNNING = 0, SUSPENDING, SUSPENDED, WOKEN };

// true: the run was asleep and the caller must make it go on.
static bool mark(weir__run_t *run)
{
    unsigned state = SUSPENDING;
    if (atomic_compare_exchange_strong(&run->state, &state, WOKEN))
        return false; // it has not gone to sleep yet and will see the mark
    return state == SUSPENDED && atomic_compare_exchange_strong(&run->state, &state, WOKEN);
}

static void wake(weir__run_t *run)
{
    if (!mark(run))
        return;
    if (run->blocking) {
        atomic_store(&run->signal, 1);
        weir__futex_wake(&run->signal, 1);
    } else {
        weir__team_post(run->team, &run->job);
    }
}

static void wake_by_signal(weir__waiter_t *waiter)
{
    wake((weir__run_t *)(void *)((char *)waiter - offsetof(weir__run_t, waiter)));
}

// A run past its deadline has nothing left to compute: it ends here, on the timer's thread, however
// busy the team is with other runs.
static void wake_by_alarm(weir__alarm_t *alarm)
{
    weir__run_t *run = (weir__run_t *)(void *)((char *)alarm - offsetof(weir__run_t, alarm));
    if (mark(run))
        run->job.run(&run->job);
}

static void wake_by_cancel(weir__cancel_link_t *link)
{
    wake((weir__run_t *)(void *)((char *)link - offsetof(weir__run_t, cancel_link)));
}

// Takes back what suspend() registered. The run is the calling thread's again.
static void resume(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    weir__timeline_disarm(&session->runtime->timelines, run->lane->timeline, &run->waiter);
    if (run->alarm_set)
        weir__timer_clear(&session->runtime->timer, &run->alarm);
    if (run->cancel_linked)
        weir__cancel_unlink(run->options.cancel, &run->cancel_link);
    run->alarm_set = run->cancel_linked = false;
    atomic_store(&run->state, RUNNING);
}

// Waits until run->lane has reached run->value. true: the run is suspended, and another thread may
// already go on with it. false: no need to wait, or run->status says why it cannot.
static bool suspend(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    run->waiter.wake = wake_by_signal;
    run->alarm.ring = wake_by_alarm;
    run->cancel_link.wake = wake_by_cancel;
    atomic_store(&run->signal, 0);
    atomic_store(&run->state, SUSPENDING);
    if (run->options.deadline_ns && !run->blocking) {
        run->alarm.deadline_ns = run->options.deadline_ns;
        run->status = weir__timer_set(&session->runtime->timer, &run->alarm);
        run->alarm_set = run->status == NULL;
    }
    if (run->options.cancel) {
        weir__cancel_link(run->options.cancel, &run->cancel_link);
        run->cancel_linked = true;
    }
    bool ready = run->status ||
                 weir__timeline_reached(
                     &session->runtime->timelines, run->lane->timeline, run->value, &run->waiter) ||
                 weir__cancel_is_set(run->options.cancel);
    unsigned state = SUSPENDING;
    if (!ready && atomic_compare_exchange_strong(&run->state, &state, SUSPENDED))
        return true;
    resume(session);
    return false;
}

void weir__run_wait(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    uint64_t deadline_ns = run->options.deadline_ns;
    while (!atomic_load(&run->signal)) {
        weir__futex_wait(&run->signal, 0, deadline_ns);
        if (deadline_ns && weir__now_ns() >= deadline_ns)
            wake(run);
    }
}

// ---- The end of a specialization
// -------------------------------------------------------------------

static weir_status_t write_output(
    weir_session_t *session, const weir__slot_t *slot, const char *name, weir_value_t *output)
{
    const char *model = session->plan->model->label;
    void *data = weir__slot_data(session, slot, session->run.inputs);
    output->rank = (uint32_t)slot->type.rank;
    memcpy(output->dims, slot->type.dims, output->rank * sizeof output->dims[0]);
    if (output->placement == WEIR_PLACE_VIEW) {
        output->dtype = slot->type.dtype;
        output->data = data;
        output->capacity_bytes = slot->bytes;
        return NULL;
    }
    if (output->placement != WEIR_PLACE_CALLER)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "output \"%s\" of %s: placement %u is not known; use WEIR_PLACE_CALLER or "
            "WEIR_PLACE_VIEW",
            name, model, output->placement);
    // The caller's dtype stays: asking again with the same struct must fail again.
    if (output->dtype != slot->type.dtype)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "output \"%s\" of %s: it is %s, the buffer given is for %s; give one for %s", name,
            model, weir_dtype_name(slot->type.dtype), weir_dtype_name(output->dtype),
            weir_dtype_name(slot->type.dtype));
    uint64_t capacity = output->data ? output->capacity_bytes : 0;
    if (capacity < slot->bytes)
        return WEIR_ERR(WEIR_RESOURCE_EXHAUSTED,
            "output \"%s\" of %s: it needs %llu bytes (its dims are filled in), the buffer has "
            "%llu; give a larger one",
            name, model, (unsigned long long)slot->bytes, (unsigned long long)capacity);
    if (slot->bytes)
        memcpy(output->data, data, (size_t)slot->bytes);
    return NULL;
}

// Goes through all of them also after a failure, so that one run tells a caller every size.
static weir_status_t write_outputs(weir_session_t *session, const weir__spec_t *spec)
{
    const weir__graph_t *graph = session->plan->model->graph;
    weir_status_t first = NULL;
    for (uint32_t i = 0; i < graph->main.output_count; i++) {
        uint32_t value = graph->main.outputs[i];
        weir_status_t status = write_output(session, weir__spec_host_slot(spec, value),
            graph->values[value].name, &session->run.outputs[i]);
        if (first)
            weir_status_free(status);
        else
            first = status;
    }
    return first;
}

// Where `child` is bound already, or else the place for it: an empty one, or the one that was
// longest unused (never one of this run: there are more places than a run can fill).
static weir__bound_t *place_of_child(weir_session_t *session, const weir__spec_t *child)
{
    weir__bound_t *oldest = &session->children[0];
    for (uint32_t i = 0; i < WEIR__CHAIN_MAX; i++) {
        weir__bound_t *bound = &session->children[i];
        if (bound->spec == child)
            return bound;
        if (oldest->spec && (!bound->spec || bound->last_run < oldest->last_run))
            oldest = bound;
    }
    return oldest;
}

void weir__run_mark_lanes(weir_session_t *session)
{
    for (uint32_t i = 0; session->lanes && i < session->lanes->count; i++)
        session->lanes->lanes[i].base = session->lanes->lanes[i].value;
}

// Reads what the specialization waits for and goes on with the child for it.
static weir_status_t enter_child(weir_session_t *session, weir__spec_t *spec)
{
    weir__run_t *run = &session->run;
    const void *contents[32];
    if (run->chain_length == WEIR__CHAIN_MAX)
        return WEIR_ERR(
            WEIR_LIMIT, "more than %d sizes of this run depend on data", WEIR__CHAIN_MAX);
    for (uint32_t i = 0; i < spec->wait_count; i++)
        contents[i] =
            weir__slot_data(session, weir__spec_host_slot(spec, spec->waits[i]), run->inputs);
    weir__spec_t *child;
    bool made;
    uint64_t start_ns = weir__now_ns();
    WEIR_TRY(weir__spec_get(session->plan, NULL, spec, contents, &child, &made));
    weir__bound_t *bound = place_of_child(session, child);
    if (bound->spec != child) {
        if (bound->spec)
            weir__unbind(session, bound);
        weir_status_t status = weir__bind(session, child, bound);
        if (status) {
            weir__unbind(session, bound);
            return status;
        }
        session->info.specialize_ns += made ? weir__now_ns() - start_ns : 0;
    } else {
        weir__spec_release(child); // `bound` has a reference already
    }
    if (session->profile.on)
        WEIR_TRY(weir__profile_reserve(session, child->step_count));
    WEIR_TRY(weir__bind_inputs(session, bound, run->inputs));
    bound->last_run = session->info.run_count;
    weir__run_mark_lanes(session);
    run->chain[run->chain_length++] = bound;
    run->next_step = 0;
    return NULL;
}

// ---- The cursor
// ----------------------------------------------------------------------------------

// lane: the one that the run waits for; NULL: none.
static weir_status_t interrupted(const weir__run_t *run, const weir__lane_t *lane)
{
    if (weir__cancel_is_set(run->options.cancel))
        return weir__status_static(WEIR_CANCELLED);
    if (!run->options.deadline_ns || weir__now_ns() < run->options.deadline_ns)
        return NULL;
    if (!lane)
        return weir__status_static(WEIR_DEADLINE_EXCEEDED);
    return WEIR_ERR(WEIR_DEADLINE_EXCEEDED,
        "the run passed its deadline: device \"%s\" has not answered", lane->opened->device->name);
}

static void note_start(weir_session_t *session, const weir__step_t *step)
{
    weir__profile_t *profile = &session->profile;
    profile->steps[profile->count] = (weir__profiled_t){.step = step, .start_ns = weir__now_ns()};
}

static void note_end(weir_session_t *session)
{
    weir__profile_t *profile = &session->profile;
    profile->steps[profile->count++].end_ns = weir__now_ns();
}

// The step waits until its device has reached `value`; false: it has waited.
static bool must_wait(weir_session_t *session, const weir__step_t *step, uint64_t value)
{
    weir__run_t *run = &session->run;
    if (run->waiting) {
        run->waiting = false;
        return false;
    }
    run->waiting = true;
    run->lane = &session->lanes->lanes[step->lane];
    run->value = value;
    return true;
}

// A step of a device. *out_wait: it waits for what it was given.
static weir_status_t device_step(
    weir_session_t *session, weir__bound_t *bound, const weir__step_t *step, bool *out_wait)
{
    weir__lane_t *lane = &session->lanes->lanes[step->lane];
    if (step->kind == WEIR__STEP_COPY)
        return weir__session_copy(session, bound, step);
    if (step->kind == WEIR__STEP_LAUNCH && !session->run.waiting)
        WEIR_TRY(weir__session_launch(session, bound, step));
    // Queue order carries a launch; only on host memory the very next step may read what it wrote.
    if (step->kind == WEIR__STEP_LAUNCH && lane->own_memory)
        return NULL;
    uint64_t value = step->kind == WEIR__STEP_WAIT ? lane->base + step->point : lane->value;
    if ((*out_wait = must_wait(session, step, value)) == true)
        return NULL;
    return weir__session_result(session, lane);
}

// One step, or the end of a specialization. *out_wait: a device is waited for.
static weir_status_t step_once(
    weir_session_t *session, crew_t *crew, bool *out_done, bool *out_wait)
{
    weir__run_t *run = &session->run;
    weir__bound_t *bound = run->chain[run->chain_length - 1];
    weir__spec_t *spec = bound->spec;
    if (run->next_step == spec->step_count) {
        *out_done = spec->complete;
        return spec->complete ? write_outputs(session, spec) : enter_child(session, spec);
    }
    const weir__step_t *step = &spec->steps[run->next_step];
    if (session->profile.on && !run->waiting)
        note_start(session, step);
    if (step->kind == WEIR__STEP_KERNEL)
        WEIR_TRY(run_kernel(session, crew, bound, step));
    else
        WEIR_TRY(device_step(session, bound, step, out_wait));
    if (*out_wait)
        return NULL;
    if (session->profile.on)
        note_end(session);
    run->next_step++;
    run->steps_done += step->kind == WEIR__STEP_KERNEL || step->kind == WEIR__STEP_LAUNCH;
    return NULL;
}

// Until every device has answered. true: they have, or are given up, or run->status says why it was
// not waited for; false: the run is suspended.
static bool wait_for_lanes(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    for (uint32_t i = 0; session->lanes && i < session->lanes->count && !run->status; i++) {
        weir__lane_t *lane = &session->lanes->lanes[i];
        while (!run->status && !lane->is_given_up && !weir__lane_is_idle(session->runtime, lane)) {
            if (weir__lane_has_failed(session->runtime, lane)) {
                weir__lane_renew(session->runtime, lane);
                if (!lane->timeline)
                    run->status = weir__status_no_memory();
                continue;
            }
            run->lane = lane;
            run->value = lane->value;
            run->status = interrupted(run, lane);
            if (!run->status && suspend(session))
                return false;
        }
    }
    return true;
}

bool weir__run_settle(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    if (atomic_load(&run->state) == WOKEN)
        resume(session);
    if (!wait_for_lanes(session))
        return false;
    for (uint32_t i = 0; session->lanes && i < session->lanes->count && !run->status; i++)
        if (session->lanes->lanes[i].is_given_up)
            run->status = weir__lane_unanswered_status(&session->lanes->lanes[i]);
    return true;
}

// A run that failed still ends only when its devices have, so that its session can be used again at
// once. true: they have, or the caller gives up; false: it waits.
static bool drain(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    run->failure_status = run->failure_status ? run->failure_status : run->status;
    run->status = NULL;
    if (!wait_for_lanes(session))
        return false;
    weir_status_free(run->status);
    run->status = run->failure_status;
    run->failure_status = NULL;
    return true;
}

// Steps until the run ends (true) or waits (false; it must not be touched any more).
static bool make_steps(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    crew_t crew;
    crew.claimed = false; // the rest is for weir__lease_begin() to fill in
    if (atomic_load(&run->state) == WOKEN)
        resume(session);
    bool given_up = false;
    for (bool done = false, wait = false; !done && !run->status && !run->failure_status;
         wait = false) {
        run->status = interrupted(run, run->waiting ? run->lane : NULL);
        given_up = run->status != NULL;
        if (!run->status)
            run->status = step_once(session, &crew, &done, &wait);
        if (!wait)
            continue;
        // Workers are for computing: a run that waits has none.
        dismiss(&crew);
        if (suspend(session))
            return false;
    }
    dismiss(&crew);
    if ((!run->status || given_up) && !run->failure_status)
        return true;
    return drain(session);
}

bool weir__run_advance(weir_session_t *session)
{
    unsigned before = weir__float_enter();
    bool ended = make_steps(session);
    weir__float_leave(before);
    return ended;
}
