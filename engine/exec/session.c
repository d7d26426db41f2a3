// engine/exec/session.c: sessions and the two ways to run one.
#include "engine/exec/session.h"

#include "engine/base/clock.h"
#include "engine/base/float_mode.h"
#include <string.h>

// ---- Life
// --------------------------------------------------------------------------------------------

weir_status_t weir_session_create(
    weir_plan_t *plan, const weir_session_options_t *options, weir_session_t **out_session)
{
    weir_session_options_t known = {.size = sizeof known};
    if (options)
        memcpy(&known, options, WEIR_MIN(options->size, sizeof known));
    weir__runtime_t *runtime = plan->runtime;
    if (known.team >= runtime->team_count)
        return WEIR_ERR(WEIR_NOT_FOUND, "team %u: the engine has %u, counted from 0", known.team,
            runtime->team_count);
    weir__quarantine_sweep(runtime, false);
    weir_session_t *session = weir__heap_calloc(&runtime->heap, 1, sizeof *session);
    if (!session)
        return weir__status_no_memory();
    weir__team_t *team = runtime->teams[known.team];
    uint32_t threads = weir__team_threads(team);
    session->plan = plan;
    session->runtime = runtime;
    session->threads = known.threads ? WEIR_MIN(known.threads, threads) : threads;
    session->run.team = team;
    // Made now: a device that fails in the first run must not also meet a lack of memory.
    weir_status_t status = weir__lanes_create(plan, &session->lanes);
    if (status) {
        weir__heap_free(&runtime->heap, session);
        return status;
    }
    weir_plan_retain(plan);
    *out_session = session;
    return NULL;
}

// A child that is bound holds its own specialization alone: its parents may go before it, so it is
// only run when they have led to it, and goes with them at the latest.
static void unbind_children(weir_session_t *session)
{
    for (uint32_t i = 0; i < WEIR__CHAIN_MAX; i++)
        if (session->children[i].spec)
            weir__unbind(session, &session->children[i]);
}

static void unbind_all(weir_session_t *session)
{
    unbind_children(session);
    for (uint32_t i = 0; i < session->bound_count; i++)
        weir__unbind(session, &session->bounds[i]);
    session->bound_count = 0;
}

void weir_session_free(weir_session_t *session)
{
    if (!session)
        return;
    weir__runtime_t *runtime = session->runtime;
    weir_plan_t *plan = session->plan;
    weir__withdraw_replays(session);
    // What devices may still touch of that which goes below is kept from here on.
    weir__lanes_free(runtime, session->lanes, session->arena);
    session->lanes = NULL;
    unbind_all(session);
    weir__trace_give(session->profile.sink);
    weir__heap_free(&runtime->heap, session->scratch);
    weir__heap_free(&runtime->heap, session->profile.steps);
    weir__heap_free(&runtime->heap, session);
    weir_plan_free(plan);
}

void weir_session_describe(const weir_session_t *session, weir_session_info_t *out_info)
{
    weir_session_info_t info = session->info;
    info.size = out_info->size;
    info.specialization_count = weir__spec_cache_count(session->plan);
    info.device_bytes = weir__lanes_bytes(session->lanes);
    memcpy(out_info, &info, WEIR_MIN(out_info->size, sizeof info));
}

// ---- The beginning of a run
// ----------------------------------------------------------------------------

// The root for these inputs, bound to this session, most recently used first.
static weir_status_t find_root(
    weir_session_t *session, const weir_value_t *inputs, weir__bound_t **out_bound)
{
    if (session->bound_count && weir__spec_fits(session->bounds[0].spec, inputs)) {
        *out_bound = &session->bounds[0];
        return NULL;
    }
    const uint64_t hash = weir__spec_hash(session->plan, inputs);
    for (uint32_t i = 1; i < session->bound_count; i++) {
        if (session->bounds[i].hash != hash || !weir__spec_fits(session->bounds[i].spec, inputs))
            continue;
        weir__bound_t found = session->bounds[i];
        memmove(&session->bounds[1], &session->bounds[0], i * sizeof found);
        session->bounds[0] = found;
        *out_bound = &session->bounds[0];
        return NULL;
    }
    uint64_t start_ns = weir__now_ns();
    weir__spec_t *spec;
    bool made;
    weir__bound_t bound;
    WEIR_TRY(weir__spec_get(session->plan, inputs, NULL, NULL, &spec, &made));
    // Children belong to a root; what they were bound for may go with it.
    unbind_children(session);
    weir_status_t status = weir__bind(session, spec, &bound);
    if (status) {
        weir__unbind(session, &bound);
        return status;
    }
    if (session->bound_count == WEIR__BOUND_MAX)
        weir__unbind(session, &session->bounds[--session->bound_count]);
    memmove(&session->bounds[1], &session->bounds[0], session->bound_count * sizeof bound);
    session->bounds[0] = bound;
    session->bounds[0].hash = hash;
    session->bound_count++;
    *out_bound = &session->bounds[0];
    // Another session of the plan, or this one long ago, may have made it: then it only was bound.
    session->info.specialize_count += made;
    session->info.specialize_ns += made ? weir__now_ns() - start_ns : 0;
    return NULL;
}

static weir_status_t begin(weir_session_t *session)
{
    weir__run_t *run = &session->run;
    weir__bound_t *bound;
    unsigned before = weir__float_enter(); // shape arithmetic is computed here
    weir_status_t status = find_root(session, run->inputs, &bound);
    weir__float_leave(before);
    if (status)
        return status;
    if (session->profile.on)
        WEIR_TRY(weir__profile_reserve(session, bound->spec->step_count));
    WEIR_TRY(weir__bind_inputs(session, bound, run->inputs));
    const weir__region_t *main = &session->plan->model->graph->main;
    for (uint32_t i = 0; i < main->input_count; i++) {
        const weir__slot_t *slot = bound->spec->slot_of_value[main->inputs[i]];
        if (slot->kind == WEIR__SLOT_ARENA && slot->bytes)
            memcpy(session->arena + slot->offset, run->inputs[i].data, (size_t)slot->bytes);
    }
    weir__run_mark_lanes(session);
    run->chain[0] = bound;
    run->chain_length = 1;
    return NULL;
}

// A device that still works for an earlier run must not meet the next one. A lane that failed after
// its run had ended (by its deadline, say) is renewed; the run waits for that before it begins.
static weir_status_t check_lanes(weir_session_t *session)
{
    for (uint32_t i = 0; session->lanes && i < session->lanes->count; i++) {
        weir__lane_t *lane = &session->lanes->lanes[i];
        bool has_failed = weir__lane_has_failed(session->runtime, lane);
        if (has_failed)
            weir__lane_renew(session->runtime, lane);
        if (lane->is_given_up || (!has_failed && !weir__lane_is_idle(session->runtime, lane)))
            return weir__lane_unanswered_status(lane);
    }
    return NULL;
}

// Takes the session for one run and resets the cursor.
static weir_status_t claim(weir_session_t *session, const weir_run_options_t *options,
    size_t input_count, const weir_value_t *inputs, size_t output_count, weir_value_t *outputs)
{
    if (atomic_exchange_explicit(&session->busy, 1, memory_order_acquire))
        return weir__status_static(WEIR_UNAVAILABLE);
    weir_status_t status = NULL;
    const weir_model_t *model = session->plan->model;
    uint64_t start_ns = options && options->profile_level ? weir__now_ns() : 0;
    if ((status = weir__lanes_enter(session->lanes)) != NULL) {
        atomic_store_explicit(&session->busy, 0, memory_order_release);
        return status;
    }
    status = check_lanes(session);
    if (!status && output_count != model->graph->main.output_count)
        status = WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%s gives %u outputs, room for %zu was given; give one weir_value_t per output",
            model->label, model->graph->main.output_count, output_count);
    if (!status)
        status = weir__check_inputs(model, input_count, inputs);
    if (status) {
        weir__lanes_leave(session->lanes);
        atomic_store_explicit(&session->busy, 0, memory_order_release);
        return status;
    }
    weir__run_t *run = &session->run;
    run->options = (weir_run_options_t){.size = sizeof run->options};
    if (options)
        memcpy(&run->options, options, WEIR_MIN(options->size, sizeof run->options));
    run->inputs = inputs;
    run->outputs = outputs;
    run->threads =
        run->options.threads ? WEIR_MIN(run->options.threads, session->threads) : session->threads;
    run->status = NULL;
    run->chain_length = run->next_step = run->steps_done = 0;
    run->waiting = false;
    run->failure_status = NULL;
    session->profile.on = run->options.profile_level > 0;
    session->profile.count = 0;
    session->profile.start_ns = start_ns;
    if (session->profile.on)
        weir__profile_clocks(session, 0);
    run->failure[0] = '\0';
    atomic_store_explicit(&run->failure_taken, 0, memory_order_relaxed);
    return NULL;
}

// The end of every run that was claimed: exactly once.
static weir_status_t finish(weir_session_t *session)
{
    weir_status_t status = session->run.status;
    session->info.run_count++;
    session->info.step_count = session->run.steps_done;
    if (session->profile.on) {
        session->profile.end_ns = weir__now_ns();
        weir__profile_clocks(session, 1);
    }
    weir__lanes_leave(session->lanes);
    atomic_store_explicit(&session->busy, 0, memory_order_release);
    return status;
}

// ---- Running
// -------------------------------------------------------------------------------------------

weir_status_t weir_session_run(weir_session_t *session, const weir_run_options_t *options,
    size_t input_count, const weir_value_t *inputs, size_t output_count, weir_value_t *outputs)
{
    WEIR_TRY(claim(session, options, input_count, inputs, output_count, outputs));
    session->run.blocking = true;
    while (!weir__run_settle(session))
        weir__run_wait(session);
    if (!session->run.status)
        session->run.status = begin(session);
    if (!session->run.status)
        while (!weir__run_advance(session))
            weir__run_wait(session);
    return finish(session);
}

static void run_job(weir__job_t *job)
{
    weir_session_t *session =
        (weir_session_t *)(void *)((char *)job - offsetof(weir_session_t, run.job));
    weir__run_t *run = &session->run;
    if (!run->chain_length) {
        if (!weir__run_settle(session))
            return;
        run->status = run->status ? run->status : begin(session);
    }
    if (!run->status && !weir__run_advance(session))
        return;
    // `done` may start the next run of this session: nothing of this one is touched after finish().
    weir_done_fn done = run->done;
    void *user_data = run->user_data;
    done(user_data, finish(session));
}

weir_status_t weir_session_start(weir_session_t *session, const weir_run_options_t *options,
    size_t input_count, const weir_value_t *inputs, size_t output_count, weir_value_t *outputs,
    weir_done_fn done, void *user_data)
{
    WEIR_TRY(claim(session, options, input_count, inputs, output_count, outputs));
    session->run.blocking = false;
    session->run.done = done;
    session->run.user_data = user_data;
    session->run.job.run = run_job;
    weir__team_post(session->run.team, &session->run.job);
    return NULL;
}
