// scheduler/loop/devices.c: instances come and go, devices are given up and come back.
//
// What the core gives up may still be written by a device that does not answer: such an instance is
// kept until its run has ended, whatever the core thinks of it, and its memory is never used again.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

#define REOPEN_NS (1000 * WEIR_MS) // between attempts to open a device that is away
// Between attempts to make a plan or an instance, twice as long each time.
#define AGAIN_NS (500 * WEIR_MS)
#define AGAIN_DOUBLINGS 7u

static bool is_away(const weir__loop_device_t *device)
{
    return device->state == WEIR__DEVICE_QUARANTINED || device->state == WEIR__DEVICE_LOST;
}

void weir__device_tell_new(weir_scheduler_t *scheduler, const weir__placed_t *placed)
{
    weir__loop_device_t *device = &scheduler->devices[placed->device];
    if (!device->told) {
        device->told = true;
        weir__observe_set(&device->series->state, WEIR__DEVICE_HEALTHY);
        weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                                       .device = placed->device,
                                       .state = WEIR__DEVICE_HEALTHY,
                                       .count = device->slots});
    }
    if (placed->missing && !is_away(device)) // from here on it is looked for
        weir__device_lost(scheduler, placed->device, WEIR__DEVICE_LOST);
}

bool weir__seat_tell(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    if (is_away(&scheduler->devices[instance->placed->device])) {
        weir__seat_free(instance);
        return false;
    }
    served->instance_count++;
    instance->placed->instance_count++;
    instance->known = true;
    weir__ledger_seat(scheduler, instance);
    weir_code_t code =
        weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_ADD,
                                       .instance = instance->index,
                                       .model = served->index,
                                       .version = served->core_version,
                                       .device = instance->placed->device,
                                       .count = weir__seat_team(instance)});
    if (code != WEIR_OK) { // it will never say that this one is gone
        weir__ledger_leave(instance);
        served->instance_count--;
        instance->placed->instance_count--;
        weir__ledger_free_seat(scheduler, instance);
        return false;
    }
    weir__served_gauges(served);
    weir__turn_feed(scheduler,
        &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_IDLE, .instance = instance->index});
    return true;
}

static void forget(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    served->instance_count--;
    weir__served_gauges(served);
    weir__ledger_free_seat(scheduler, instance);
    weir__served_settle(scheduler, served);
}

void weir__seat_gone(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__instance_t *instance = &scheduler->instances[index];
    instance->known = false;
    weir__ledger_leave(instance);
    instance->placed->instance_count--;
    if (!instance->running) {
        forget(scheduler, instance);
        return;
    }
    instance->gone = true;
    scheduler->devices[instance->placed->device].held_count++;
    weir__run_stop(scheduler, index);
}

void weir__device_released(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    scheduler->devices[instance->placed->device].held_count--;
    scheduler->chores = true;
    forget(scheduler, instance);
}

void weir__device_changed(weir_scheduler_t *scheduler, const weir__core_action_t *action)
{
    static const char *const words[] = {"absent", "healthy", "suspect: a batch takes too long",
        "quarantined: a batch never ended, its requests run elsewhere",
        "on probation: one request at a time", "lost"};
    weir__loop_device_t *device = &scheduler->devices[action->device];
    device->state = action->state;
    weir__observe_set(&device->series->state, action->state);
    weir__loop_log(scheduler,
        action->state == WEIR__DEVICE_HEALTHY ? WEIR_LOG_INFO : WEIR_LOG_WARNING, 0,
        "device \"%s\" is %s", device->name, words[action->state]);
    scheduler->chores = true;
}

// ---- What takes more than one step -------------------------------------------------------------

// The loader makes it. false: it can't, or there is no memory for it.
static bool add_instance(
    weir_scheduler_t *scheduler, weir__served_t *served, weir__placed_t *placed)
{
    uint64_t reserved_bytes;
    if (!weir__ledger_reserve_seat(scheduler, served, placed, &reserved_bytes))
        return false;
    weir__job_t *job = calloc(1, sizeof *job);
    weir_status_t status = job ? weir__loader_start(scheduler) : weir__loop_no_memory();
    if (status) {
        weir__loop_log(scheduler, WEIR_LOG_WARNING, 0, "%s@%s: no further instance: %s",
            served->name, served->version, weir_status_text(status));
        weir_status_free(status);
        free(job);
        weir__ledger_unseat(scheduler, reserved_bytes);
        return false;
    }
    job->kind = WEIR__JOB_SEAT;
    job->reserved_bytes = reserved_bytes;
    job->served = served;
    job->placed = (uint32_t)(placed - served->placed);
    job->plan = placed->plan;
    weir_plan_retain(job->plan);
    atomic_fetch_add(&served->pins, 1);
    served->making_count++;
    placed->making_count++;
    weir__loader_post(scheduler, job);
    return true;
}

static bool takes_instances(const weir_scheduler_t *scheduler, const weir__placed_t *placed)
{
    return !is_away(&scheduler->devices[placed->device]);
}

// What failed lately is not tried again at once. false: the chores come back when it is time.
static bool is_due(weir_scheduler_t *scheduler, uint64_t retry_ns)
{
    if (retry_ns <= weir_now_ns())
        return true;
    scheduler->held_due_ns = WEIR_MIN(scheduler->held_due_ns, retry_ns);
    return false;
}

static void note_failure(weir_scheduler_t *scheduler, const weir__served_t *served,
    weir__placed_t *placed, const char *what, weir_status_t status)
{
    uint32_t doublings = WEIR_MIN(placed->failure_count, AGAIN_DOUBLINGS);
    weir__loop_log(scheduler, placed->failure_count ? WEIR_LOG_DEBUG : WEIR_LOG_WARNING, 0,
        "%s@%s on device \"%s\": no %s for now: %s", served->name, served->version,
        scheduler->devices[placed->device].name, what, weir_status_text(status));
    placed->failure_count++;
    placed->retry_ns = weir_now_ns() + (AGAIN_NS << doublings);
    scheduler->chores = true;
}

static uint32_t seats(const weir__placed_t *placed)
{
    return placed->instance_count + placed->making_count;
}

// One more, on the device that has fewest.
static void scale_up(weir_scheduler_t *scheduler, weir__served_t *served)
{
    if (atomic_load(&served->residency) != WEIR__RESIDENT)
        return;
    weir__placed_t *best = NULL;
    for (uint32_t p = 0; p < served->placed_count; p++) {
        weir__placed_t *placed = &served->placed[p];
        if (placed->plan && takes_instances(scheduler, placed) &&
            is_due(scheduler, placed->retry_ns) && seats(placed) < placed->instances_max &&
            (!best || seats(placed) < seats(best)))
            best = placed;
    }
    if (best)
        (void)add_instance(scheduler, served, best);
}

static void forbid_inline(weir_scheduler_t *scheduler, uint32_t device)
{
    for (uint32_t m = 0; m < scheduler->options.models; m++)
        if (scheduler->models[m].in_core && !scheduler->models[m].path &&
            scheduler->models[m].placed[0].device == device)
            atomic_store(&scheduler->models[m].no_inline, 1);
}

void weir__device_lost(weir_scheduler_t *scheduler, uint32_t index, weir__device_state_t state)
{
    weir__loop_device_t *device = &scheduler->devices[index];
    device->state = state;
    weir__observe_set(&device->series->state, state);
    weir__loop_log(scheduler, WEIR_LOG_WARNING, 0, "device \"%s\" %s", device->name,
        state == WEIR__DEVICE_LOST ? "is lost" : "does not answer: it is quarantined");
    if (state == WEIR__DEVICE_LOST)
        forbid_inline(scheduler, index);
    scheduler->chores = true;
    weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                                   .device = index,
                                   .state = state,
                                   .count = device->slots});
}

// ---- A device comes back -----------------------------------------------------------------------

// Nothing that was given up works there any more: it is opened anew, which may take long.
static void reopen(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__loop_device_t *device = &scheduler->devices[index];
    if (!is_away(device) || device->held_count || device->returning ||
        atomic_load(&scheduler->closing) || !is_due(scheduler, device->retry_ns))
        return;
    weir__job_t *job = calloc(1, sizeof *job);
    weir_status_t status = job ? weir__loader_start(scheduler) : weir__loop_no_memory();
    if (status) {
        weir__loop_log(scheduler, WEIR_LOG_ERROR, 0, "device \"%s\" stays away: %s", device->name,
            weir_status_text(status));
        weir_status_free(status);
        free(job);
        device->retry_ns = weir_now_ns() + REOPEN_NS;
        (void)is_due(scheduler, device->retry_ns);
        return;
    }
    job->kind = WEIR__JOB_REOPEN;
    job->device = index;
    memcpy(job->device_name, device->name, sizeof job->device_name);
    device->returning = true;
    weir__loader_post(scheduler, job);
}

static bool is_there(const weir__served_t *served)
{
    return served->in_core && atomic_load(&served->state) == WEIR__SERVED_SERVING &&
           atomic_load(&served->residency) == WEIR__RESIDENT;
}

static void fill_up(weir_scheduler_t *scheduler, weir__served_t *served, weir__placed_t *placed)
{
    while (seats(placed) < served->instances_min && add_instance(scheduler, served, placed))
        ;
}

// A plan that was made before the device was opened does not run there any more.
static void plan_again(weir_scheduler_t *scheduler, weir__served_t *served, uint32_t placed)
{
    weir__job_t *job = calloc(1, sizeof *job);
    if (!job)
        return;
    served->placed[placed].planning = true;
    job->kind = WEIR__JOB_PLAN;
    job->served = served;
    job->placed = placed;
    job->model = served->model;
    weir_model_retain(job->model);
    job->old_plans[0] = served->placed[placed].plan; // its sessions keep it while they are there
    served->placed[placed].plan = NULL;
    memcpy(job->device_name, scheduler->devices[served->placed[placed].device].name,
        sizeof job->device_name);
    atomic_fetch_add(&served->pins, 1);
    weir__loader_post(scheduler, job);
}

void weir__device_mend(weir_scheduler_t *scheduler, weir__served_t *served)
{
    for (uint32_t p = 0; is_there(served) && p < served->placed_count; p++)
        if (takes_instances(scheduler, &served->placed[p]) &&
            seats(&served->placed[p]) < served->instances_min && !served->placed[p].planning &&
            is_due(scheduler, served->placed[p].retry_ns)) {
            // One that was just made is as good as another.
            if (served->placed[p].plan)
                fill_up(scheduler, served, &served->placed[p]);
            else
                plan_again(scheduler, served, p);
        }
}

void weir__device_reopened(weir_scheduler_t *scheduler, const weir__job_t *job)
{
    weir__loop_device_t *device = &scheduler->devices[job->device];
    // One that works on host memory cannot be opened anew, and its plans are as good as before.
    bool same = weir_status_code(job->status) == WEIR_INVALID_ARGUMENT;
    device->returning = false;
    if (job->status && !same) {
        weir__loop_log(scheduler, device->retry_ns ? WEIR_LOG_DEBUG : WEIR_LOG_WARNING, 0,
            "device \"%s\" is not back: %s", device->name, weir_status_text(job->status));
        device->retry_ns = weir_now_ns() + REOPEN_NS;
        scheduler->chores = true;
        return;
    }
    device->state = WEIR__DEVICE_PROBATION;
    device->retry_ns = 0;
    weir__observe_set(&device->series->state, WEIR__DEVICE_PROBATION);
    weir__loop_log(
        scheduler, WEIR_LOG_INFO, 0, "device \"%s\" is back, on probation", device->name);
    weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                                   .device = job->device,
                                   .state = WEIR__DEVICE_PROBATION,
                                   .count = device->slots});
    for (uint32_t m = 0; m < scheduler->options.models; m++) {
        weir__served_t *served = &scheduler->models[m];
        for (uint32_t p = 0; is_there(served) && p < served->placed_count; p++) {
            if (served->placed[p].device != job->device)
                continue;
            if (same && served->placed[p].plan)
                fill_up(scheduler, served, &served->placed[p]);
            else
                plan_again(scheduler, served, p);
            if (!same)
                forbid_inline(scheduler, job->device);
        }
    }
}

void weir__device_planned(weir_scheduler_t *scheduler, weir__job_t *job)
{
    weir__served_t *served = job->served;
    weir__placed_t *placed = &served->placed[job->placed];
    bool is_wanted = is_there(served) && takes_instances(scheduler, placed);
    if (is_there(served))
        placed->planning = false; // else they are others by now
    if (job->status && is_wanted) {
        note_failure(scheduler, served, placed, "plan", job->status);
    } else if (is_wanted) {
        weir_plan_t *old = placed->plan; // goes with the job
        placed->plan = job->plan;
        job->plan = old;
        weir__ledger_planned(scheduler, served, placed);
        fill_up(scheduler, served, placed);
    }
    weir__served_unpin(served);
    weir__served_settle(scheduler, served);
}

void weir__device_seated(weir_scheduler_t *scheduler, weir__job_t *job)
{
    weir__served_t *served = job->served;
    weir__placed_t *placed = &served->placed[job->placed];
    served->making_count--;
    placed->making_count--;
    weir__ledger_unseat(scheduler, job->reserved_bytes);
    if (job->status)
        note_failure(scheduler, served, placed, "further instance", job->status);
    else if (is_there(served) && placed->plan == job->plan) {
        placed->failure_count = 0;
        placed->retry_ns = 0;
        (void)weir__seat_tell(scheduler, job->instance);
    } else { // it was planned anew meanwhile
        weir__seat_free(job->instance);
        if (is_there(served) && placed->plan && takes_instances(scheduler, placed))
            fill_up(scheduler, served, placed);
    }
    weir__served_unpin(served);
    weir__served_settle(scheduler, served);
}

void weir__device_noted(weir_scheduler_t *scheduler, weir__job_t *job)
{
    weir__served_unpin(job->served);
    weir__served_settle(scheduler, job->served);
}

// What could not be made is tried again.
static void make_again(weir_scheduler_t *scheduler, weir__served_t *served)
{
    bool has_failed = false;
    for (uint32_t p = 0; is_there(served) && p < served->placed_count; p++)
        has_failed |= served->placed[p].failure_count > 0;
    if (has_failed)
        weir__device_mend(scheduler, served);
}

void weir__chores(weir_scheduler_t *scheduler)
{
    scheduler->chores = false;
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
        weir__instance_t *instance = &scheduler->instances[i];
        const weir__served_t *served = atomic_load(&instance->served);
        // What is being loaded is the loader's.
        if (!served || !served->in_core || atomic_load(&served->residency) != WEIR__RESIDENT ||
            !instance->wants_down)
            continue;
        instance->wants_down = false;
        weir__turn_feed(
            scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_REMOVE, .instance = i});
    }
    pthread_mutex_lock(&scheduler->lock);
    uint32_t device_count = scheduler->device_count;
    pthread_mutex_unlock(&scheduler->lock);
    for (uint32_t d = 0; d < device_count; d++)
        reopen(scheduler, d);
    for (uint32_t m = 0; m < scheduler->options.models; m++) {
        weir__served_t *served = &scheduler->models[m];
        if (!served->in_core)
            continue;
        if (served->wants_up) {
            served->wants_up = false;
            scale_up(scheduler, served);
        }
        make_again(scheduler, served);
        weir__served_settle(scheduler, served);
    }
    if (scheduler->memory_over)
        weir__ledger_make_room(scheduler);
    if (scheduler->loads_waiting)
        weir__ledger_retry(scheduler);
}
