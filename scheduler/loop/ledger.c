// scheduler/loop/ledger.c: many models under one bound of memory: who is resident, who is evicted.
//
// A model that was given by path is loaded by a request that needs it. Its memory is reserved
// before that, and where there is not enough the least valuable models go: reload time x rate of
// requests / bytes, never one in use. (The idea: GreedyDual-Size-Frequency, L. Cherkasova, 1998.)
// What goes is in the books until it has been freed, so they are never below what is held; models
// that wait for memory get it in the order in which they asked.
//
// What must not be here: a load on the loop.
#include "scheduler/loop/loop.h"

#include <stdlib.h>

#define RATE_HALF_NS 60e9 // after a minute a request counts half

// ---- The books ---------------------------------------------------------------------------------

static void charge(weir_scheduler_t *scheduler, uint64_t bytes)
{
    scheduler->memory_used += bytes;
    atomic_store(&scheduler->memory_bytes, scheduler->memory_used);
    weir__observe_set(&scheduler->observe->scheduler.memory_bytes, scheduler->memory_used);
}

static void discharge(weir_scheduler_t *scheduler, uint64_t bytes)
{
    scheduler->memory_used -= bytes;
    atomic_store(&scheduler->memory_bytes, scheduler->memory_used);
    weir__observe_set(&scheduler->observe->scheduler.memory_bytes, scheduler->memory_used);
}

static double decayed(const weir__served_t *served, uint64_t now_ns)
{
    double halves = (double)(now_ns - served->rate_ns) / RATE_HALF_NS;
    double rate = served->rate;
    for (; halves >= 1 && rate > 0; halves -= 1)
        rate /= 2;
    return rate * (1 - halves / 2); // straight between the halves: exact enough to compare
}

static double worth(const weir__served_t *served, uint64_t now_ns)
{
    return decayed(served, now_ns) * (double)served->reload_ns /
           (double)(served->charge_bytes ? served->charge_bytes : 1);
}

// On the loop. Its instances are idle, since no batch of it runs.
static bool evict(weir_scheduler_t *scheduler, weir__served_t *served)
{
    weir__job_t *job = calloc(1, sizeof *job);
    if (!job)
        return false;
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++)
        if (scheduler->instances[i].served == served && scheduler->instances[i].known)
            weir__turn_feed(scheduler,
                &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_REMOVE, .instance = i});
    for (uint32_t i = 0; i < WEIR__PLACED_MAX; i++) {
        job->old_plans[i] = served->placed[i].plan;
        served->placed[i].plan = NULL;
    }
    job->old_model = served->model;
    served->model = NULL;
    job->freed_bytes = served->charge_bytes;
    scheduler->memory_leaving += job->freed_bytes;
    weir__stage_clear(served);
    atomic_store(&served->residency, WEIR__COLD);
    weir__observe_set(&served->series->memory_bytes, 0);
    weir__loop_log(scheduler, WEIR_LOG_INFO, 0, "%s@%s is evicted: %llu bytes", served->name,
        served->version, (unsigned long long)served->charge_bytes);
    weir__loader_post(scheduler, job);
    return true;
}

static weir__served_t *least_worth(const weir_scheduler_t *scheduler)
{
    weir__served_t *least = NULL;
    for (uint32_t i = 0; i < scheduler->options.models; i++) {
        weir__served_t *served = &scheduler->models[i];
        // A batch may run on when its requests have ended: by a deadline, or on a device that
        // hangs.
        if (!served->in_core || !served->path || served->in_loop || served->batch_count ||
            served->making_count || served->instance_count == 0 ||
            atomic_load(&served->residency) != WEIR__RESIDENT)
            continue;
        if (!least || worth(served, scheduler->now_ns) < worth(least, scheduler->now_ns))
            least = served;
    }
    return least;
}

static bool reserve(weir_scheduler_t *scheduler, const weir__served_t *served)
{
    uint64_t most = scheduler->options.memory_bytes;
    while (
        most && scheduler->memory_used - scheduler->memory_leaving + served->charge_bytes > most) {
        weir__served_t *victim = least_worth(scheduler);
        if (!victim || !evict(scheduler, victim))
            return false;
    }
    if (most && scheduler->memory_used + served->charge_bytes > most)
        return false; // what is on its way out will be enough
    charge(scheduler, served->charge_bytes);
    return true;
}

static bool begin_load(weir_scheduler_t *scheduler, weir__served_t *served)
{
    weir__job_t *job = calloc(1, sizeof *job);
    if (!job || !reserve(scheduler, served)) {
        free(job);
        return false;
    }
    job->kind = WEIR__JOB_LOAD;
    job->served = served;
    atomic_store(&served->residency, WEIR__LOADING);
    weir__loader_post(scheduler, job);
    return true;
}

// ---- Requests that wait for a model; the loop --------------------------------------------------

bool weir__ledger_enter(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__slot_t *slot = &scheduler->slots[index];
    weir__served_t *served = slot->served;
    if (!served->path)
        return true;
    uint64_t now_ns = weir_now_ns();
    served->rate = decayed(served, now_ns) + 1;
    served->rate_ns = now_ns;
    if (atomic_load(&served->residency) == WEIR__RESIDENT)
        return true;
    slot->phase = WEIR__SLOT_LOADING;
    slot->next_held = WEIR__NO_INDEX;
    if (served->first_waiting == WEIR__NO_INDEX)
        served->first_waiting = index;
    else
        scheduler->slots[served->last_waiting].next_held = index;
    served->last_waiting = index;
    if (atomic_load(&served->residency) == WEIR__COLD && !served->wants_load &&
        (scheduler->loads_waiting || !begin_load(scheduler, served))) {
        served->wants_load = true;
        served->wants_load_order = scheduler->load_orders++;
        scheduler->loads_waiting++;
    }
    return false;
}

void weir__ledger_drop(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__served_t *served = scheduler->slots[index].served;
    uint32_t before = WEIR__NO_INDEX, at = served->first_waiting;
    while (at != WEIR__NO_INDEX && at != index) {
        before = at;
        at = scheduler->slots[at].next_held;
    }
    if (at == WEIR__NO_INDEX)
        return;
    uint32_t next = scheduler->slots[index].next_held;
    if (before == WEIR__NO_INDEX)
        served->first_waiting = next;
    else
        scheduler->slots[before].next_held = next;
    if (served->last_waiting == index)
        served->last_waiting = before;
}

void weir__ledger_forget(weir_scheduler_t *scheduler, weir__served_t *served)
{
    scheduler->loads_waiting -= served->wants_load;
    served->wants_load = false;
}

static weir__served_t *longest_waiting(const weir_scheduler_t *scheduler)
{
    weir__served_t *longest = NULL;
    for (uint32_t i = 0; i < scheduler->options.models; i++) {
        weir__served_t *served = &scheduler->models[i];
        if (served->in_core && served->wants_load &&
            (!longest || served->wants_load_order < longest->wants_load_order))
            longest = served;
    }
    return longest;
}

void weir__ledger_retry(weir_scheduler_t *scheduler)
{
    weir__served_t *served;
    while ((served = longest_waiting(scheduler)) != NULL) {
        bool wanted = served->first_waiting != WEIR__NO_INDEX;
        if (wanted && !begin_load(scheduler, served))
            return;
        weir__ledger_forget(scheduler, served);
    }
}

void weir__ledger_loaded(weir_scheduler_t *scheduler, weir__served_t *served, weir_status_t status)
{
    if (status) {
        weir__loop_log(scheduler, WEIR_LOG_ERROR, 0, "%s@%s could not be loaded: %s", served->name,
            served->version, weir_status_text(status));
        discharge(scheduler, served->charge_bytes);
        atomic_store(&served->residency, WEIR__COLD);
    } else {
        atomic_store(&served->residency, WEIR__RESIDENT);
        weir__observe_add(WEIR__OBSERVE_LOOP, &served->series->loads, 1);
        weir__observe_set(&served->series->memory_bytes, served->charge_bytes);
        for (uint32_t i = 0; i < scheduler->limits.instance_count; i++)
            if (scheduler->instances[i].served == served && !scheduler->instances[i].known)
                (void)weir__seat_tell(scheduler, &scheduler->instances[i]);
        weir__device_mend(scheduler, served);
    }
    while (served->first_waiting != WEIR__NO_INDEX) {
        uint32_t index = served->first_waiting;
        weir__ledger_drop(scheduler, index);
        if (!status) {
            weir__turn_arrive(scheduler, index);
            continue;
        }
        served->held_count--;
        weir__turn_final(scheduler, index, WEIR_UNAVAILABLE, WEIR__REFUSE_MODEL, NULL,
            scheduler->limits.retry_ns);
    }
    weir__served_settle(scheduler, served);
}

// ---- Models come and go ------------------------------------------------------------------------

// What an instance of this plan needs: as much as the one that was tried.
static uint64_t seat_bytes(
    weir_scheduler_t *scheduler, const weir__served_t *served, const weir__placed_t *placed)
{
    uint64_t most = 0;
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
        const weir__instance_t *instance = &scheduler->instances[i];
        if (instance->served != served || instance->placed != placed)
            continue;
        weir_session_info_t info = {.size = sizeof info};
        weir_session_describe(instance->session, &info);
        most = WEIR_MAX(most, info.arena_bytes + info.device_bytes);
    }
    return most;
}

// The model's constants, and what its plans have packed of them and put on devices, in mapped files
// of the cache too. Not what the engine holds more than before: others are built at the same time.
static void count_bytes(weir_scheduler_t *scheduler, weir__served_t *served)
{
    uint64_t weights = 0, seats = 0;
    served->seat_bytes = 0;
    for (uint32_t p = 0; p < served->placed_count; p++) {
        const weir__placed_t *placed = &served->placed[p];
        weir_plan_info_t info = {.size = sizeof info};
        if (!placed->plan)
            continue;
        weir_plan_describe(placed->plan, &info);
        uint64_t one = seat_bytes(scheduler, served, placed);
        weights += info.packed_bytes + info.resident_bytes;
        seats += one * (served->instances_min + (p || served->path ? 0u : WEIR__INLINE_MAX));
        served->seat_bytes = WEIR_MAX(served->seat_bytes, one);
    }
    served->charge_bytes = served->info.parameter_bytes + weights + seats;
}

void weir__ledger_unload(weir_scheduler_t *scheduler, weir__served_t *served)
{
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++)
        if (scheduler->instances[i].served == served)
            weir__seat_free(&scheduler->instances[i]);
    for (uint32_t i = 0; i < WEIR__PLACED_MAX; i++) {
        weir_plan_free(served->placed[i].plan);
        served->placed[i].plan = NULL;
    }
    weir_model_free(served->model);
    served->model = NULL;
}

// On the thread that adds the model. The books are the loop's: what is always there is charged by
// the command that adds it.
weir_status_t weir__ledger_add(
    weir_scheduler_t *scheduler, weir__served_t *served, uint64_t begin_ns)
{
    uint64_t most = scheduler->options.memory_bytes;
    count_bytes(scheduler, served);
    served->reload_ns = weir_now_ns() - begin_ns;
    if (most && served->charge_bytes > most)
        return WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED,
            "%s@%s takes %llu bytes, all models together may take %llu (memory_bytes)",
            served->name, served->version, (unsigned long long)served->charge_bytes,
            (unsigned long long)most);
    if (!served->path)
        return NULL;
    WEIR_TRY(weir__loader_start(scheduler));
    weir__ledger_unload(scheduler, served);
    atomic_store(&served->residency, WEIR__COLD);
    return NULL;
}

void weir__ledger_charge(weir_scheduler_t *scheduler, weir__served_t *served)
{
    if (served->path)
        return;
    charge(scheduler, served->charge_bytes);
    weir__observe_set(&served->series->memory_bytes, served->charge_bytes);
    if (scheduler->options.memory_bytes && scheduler->memory_used > scheduler->options.memory_bytes)
        weir__loop_log(scheduler, WEIR_LOG_WARNING, 0,
            "%s@%s: models that are always there take %llu bytes, more than memory_bytes",
            served->name, served->version, (unsigned long long)scheduler->memory_used);
}

void weir__ledger_seat(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    if (instance->placed->instance_count <= instance->served->instances_min)
        return;
    instance->charge_bytes = instance->served->seat_bytes;
    charge(scheduler, instance->charge_bytes);
}

void weir__ledger_unseat(weir_scheduler_t *scheduler, uint64_t bytes)
{
    discharge(scheduler, bytes);
}

uint64_t weir__ledger_remove(weir_scheduler_t *scheduler, const weir__served_t *served)
{
    bool charged = !served->path || atomic_load(&served->residency) == WEIR__RESIDENT;
    uint64_t bytes = charged ? served->charge_bytes : 0;
    scheduler->memory_leaving += bytes;
    return bytes;
}

void weir__ledger_freed(weir_scheduler_t *scheduler, uint64_t bytes)
{
    scheduler->memory_leaving -= bytes;
    discharge(scheduler, bytes);
}
