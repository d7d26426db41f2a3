// scheduler/loop/ledger.c: many models under one bound of memory: who is resident, who is evicted.
//
// A model that was given by path is loaded by a request that needs it. Its memory is reserved
// before that, and where there is not enough the least valuable models go: reload time x rate of
// requests / bytes, never one in use. (The idea: GreedyDual-Size-Frequency, L. Cherkasova, 1998.)
// What goes is in the books until it has been freed, so they are never below what is held; models
// that wait for memory get it in the order in which they asked. One that would not fit if all
// others went that can go is refused: nobody waits behind it, and nothing is evicted for it.
//
// A model's charge is its weights and its least instances with their buffers. What comes besides is
// counted as it does: instances above those, buffers and arenas that grow with the shapes that are
// met. If that is more than there is, models go; and what a model took is its charge the next time.
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

static void note(const weir__served_t *served)
{
    uint64_t bytes = atomic_load(&served->charge_bytes) + atomic_load(&served->grown_bytes);
    weir__observe_set(&served->series->memory_bytes, bytes);
}

static bool is_over(const weir_scheduler_t *scheduler)
{
    uint64_t most = scheduler->options.memory_bytes;
    return most && scheduler->memory_used - scheduler->memory_leaving > most;
}

// A model takes more, or less: modulo 2^64.
static void book(weir_scheduler_t *scheduler, const weir__served_t *served, uint64_t more)
{
    if (!served->path) { // it is always there
        scheduler->memory_fixed += more;
        if (scheduler->loads_waiting) // one of them may never fit now, or fit again
            scheduler->chores = true;
    }
    charge(scheduler, more);
    note(served);
}

// The model's charge becomes another one while it is in the books.
static void recharge(weir_scheduler_t *scheduler, weir__served_t *served, uint64_t more)
{
    atomic_fetch_add(&served->charge_bytes, more);
    book(scheduler, served, more);
    if (is_over(scheduler))
        scheduler->memory_over = scheduler->chores = true;
}

// It takes more than it was charged with, or less again.
static void grow(weir_scheduler_t *scheduler, weir__served_t *served, uint64_t more)
{
    if (!more)
        return;
    atomic_fetch_add(&served->grown_bytes, more);
    book(scheduler, served, more);
    if ((int64_t)more > 0 && is_over(scheduler))
        scheduler->memory_over = scheduler->chores = true;
}

static double decayed(const weir__served_t *served, uint64_t now_ns)
{
    // The loop's clock may be some requests older than the last one of these.
    uint64_t past_ns = now_ns > served->rate_ns ? now_ns - served->rate_ns : 0;
    double halves = (double)past_ns / RATE_HALF_NS;
    double rate = served->rate;
    for (; halves >= 1 && rate > 0; halves -= 1)
        rate /= 2;
    return rate * (1 - halves / 2); // straight between the halves: exact enough to compare
}

static double worth(const weir__served_t *served, uint64_t now_ns)
{
    return decayed(served, now_ns) * (double)served->reload_ns /
           (double)WEIR_MAX(atomic_load(&served->charge_bytes), 1u);
}

static uint64_t buffers_beyond(const weir__served_t *served)
{
    return served->buffer_bytes > served->charged_bytes
               ? served->buffer_bytes - served->charged_bytes
               : 0;
}

// How much each of its seats has taken, at most.
static void measure_seats(const weir_scheduler_t *scheduler, const weir__served_t *served,
    uint64_t out_bytes[WEIR__PLACED_MAX])
{
    for (uint32_t p = 0; p < WEIR__PLACED_MAX; p++)
        out_bytes[p] = served->booked[p].seat_bytes;
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
        const weir__instance_t *instance = &scheduler->instances[i];
        if (instance->served != served || !instance->known)
            continue;
        uint64_t *bytes = &out_bytes[instance->placed - served->placed];
        *bytes = WEIR_MAX(*bytes, instance->known_bytes);
    }
}

// What it had grown to is reserved the next time, where there can be so much. It is not in the
// books.
static void learn_charge(const weir_scheduler_t *scheduler, weir__served_t *served,
    uint64_t buffers, const uint64_t seats[WEIR__PLACED_MAX])
{
    uint64_t most = scheduler->options.memory_bytes, more = buffers;
    for (uint32_t p = 0; p < WEIR__PLACED_MAX; p++)
        more += (seats[p] - served->booked[p].seat_bytes) * served->booked[p].seat_count;
    if (most && atomic_load(&served->charge_bytes) + more + scheduler->memory_fixed > most)
        return;
    atomic_fetch_add(&served->charge_bytes, more);
    served->charged_bytes += buffers;
    for (uint32_t p = 0; p < WEIR__PLACED_MAX; p++)
        served->booked[p].seat_bytes = seats[p];
}

// On the loop. Its instances are idle, since no batch of it runs.
static bool evict(weir_scheduler_t *scheduler, weir__served_t *served)
{
    weir__job_t *job = calloc(1, sizeof *job);
    if (!job)
        return false;
    uint64_t buffers = buffers_beyond(served), seats[WEIR__PLACED_MAX];
    measure_seats(scheduler, served, seats);
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
    job->freed_bytes = atomic_load(&served->charge_bytes);
    scheduler->memory_leaving += job->freed_bytes;
    weir__stage_clear(served);
    atomic_store(&served->residency, WEIR__COLD);
    weir__observe_set(&served->series->memory_bytes, 0);
    weir__loop_log(scheduler, WEIR_LOG_INFO, 0, "%s@%s is evicted: %llu bytes", served->name,
        served->version, (unsigned long long)job->freed_bytes);
    learn_charge(scheduler, served, buffers, seats);
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
    uint64_t most = scheduler->options.memory_bytes, needed = atomic_load(&served->charge_bytes);
    while (most && scheduler->memory_used - scheduler->memory_leaving + needed > most) {
        weir__served_t *victim = least_worth(scheduler);
        if (!victim || !evict(scheduler, victim))
            return false;
    }
    if (most && scheduler->memory_used + needed > most)
        return false; // what is on its way out will be enough
    charge(scheduler, needed);
    return true;
}

void weir__ledger_make_room(weir_scheduler_t *scheduler)
{
    scheduler->memory_over = false;
    while (is_over(scheduler)) {
        weir__served_t *victim = least_worth(scheduler);
        if (!victim || !evict(scheduler, victim)) {
            // All that is there is in use, or stays.
            weir__loop_log(scheduler, WEIR_LOG_WARNING, 0,
                "models take %llu bytes, more than memory_bytes (%llu)",
                (unsigned long long)scheduler->memory_used,
                (unsigned long long)scheduler->options.memory_bytes);
            return;
        }
    }
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

// Not even with everything gone that can go?
static bool never_fits(const weir_scheduler_t *scheduler, const weir__served_t *served)
{
    uint64_t most = scheduler->options.memory_bytes, needed = atomic_load(&served->charge_bytes);
    return most && (needed > most || scheduler->memory_fixed > most - needed);
}

static void refuse_waiting(weir_scheduler_t *scheduler, weir__served_t *served)
{
    while (served->first_waiting != WEIR__NO_INDEX) {
        uint32_t index = served->first_waiting;
        bool is_callers = !scheduler->slots[index].callback; // weir_wait() hands it over
        weir_status_t status = WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED,
            "%s@%s takes %llu bytes; of %llu (memory_bytes) models that are always there take %llu",
            served->name, served->version, (unsigned long long)atomic_load(&served->charge_bytes),
            (unsigned long long)scheduler->options.memory_bytes,
            (unsigned long long)scheduler->memory_fixed);
        weir__ledger_drop(scheduler, index);
        served->held_count--;
        weir__turn_final(
            scheduler, index, WEIR_RESOURCE_EXHAUSTED, WEIR__REFUSE_NO_INSTANCE, status, 0);
        if (!is_callers)
            weir_status_free(status);
    }
}

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
    if (atomic_load(&served->residency) != WEIR__COLD || served->wants_load)
        return false;
    if (never_fits(scheduler, served)) {
        refuse_waiting(scheduler, served);
    } else if (scheduler->loads_waiting || !begin_load(scheduler, served)) {
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
        bool fits = !never_fits(scheduler, served);
        bool wanted = served->first_waiting != WEIR__NO_INDEX;
        if (wanted && fits && !begin_load(scheduler, served))
            return;
        weir__ledger_forget(scheduler, served);
        if (wanted && !fits) // models that are always there came meanwhile
            refuse_waiting(scheduler, served);
    }
}

void weir__ledger_loaded(weir_scheduler_t *scheduler, weir__served_t *served, weir_status_t status)
{
    if (status) {
        weir__loop_log(scheduler, WEIR_LOG_ERROR, 0, "%s@%s could not be loaded: %s", served->name,
            served->version, weir_status_text(status));
        discharge(scheduler, atomic_load(&served->charge_bytes));
        atomic_store(&served->residency, WEIR__COLD);
    } else {
        atomic_store(&served->residency, WEIR__RESIDENT);
        weir__observe_add(WEIR__OBSERVE_LOOP, &served->series->loads, 1);
        note(served);
        for (uint32_t p = 0; p < served->placed_count; p++) // a device may be there that was not
            weir__ledger_planned(scheduler, served, &served->placed[p]);
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

// Between two runs of it.
static uint64_t session_bytes(const weir_session_t *session)
{
    weir_session_info_t info = {.size = sizeof info};
    weir_session_describe(session, &info);
    return info.arena_bytes + info.device_bytes;
}

static uint64_t weight_bytes(const weir_plan_t *plan)
{
    weir_plan_info_t info = {.size = sizeof info};
    weir_plan_describe(plan, &info);
    return info.packed_bytes + info.resident_bytes;
}

// The instances of a plan; each needs as much as the one that was tried.
static void count_seats(weir_scheduler_t *scheduler, const weir__served_t *served,
    const weir__placed_t *placed, weir__booked_t *booked)
{
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
        const weir__instance_t *instance = &scheduler->instances[i];
        if (instance->served != served || instance->placed != placed)
            continue;
        booked->seat_bytes = WEIR_MAX(booked->seat_bytes, session_bytes(instance->session));
        booked->seat_count++;
    }
}

// Of one batch of the most rows; 0 where the model leaves dims open.
static uint64_t batch_bytes(const weir__served_t *served)
{
    uint64_t sum = 0;
    for (uint32_t i = 0; i < served->input_count; i++) {
        const weir_port_t *port = &served->inputs[i];
        uint64_t bytes = weir_dtype_bytes(port->dtype);
        for (int32_t d = 0; d < port->rank; d++) {
            bool is_rows = served->max_batch > 1 && d == served->input_axes[i];
            uint64_t dim = is_rows ? served->max_batch : (uint64_t)port->dims[d];
            if ((!is_rows && port->dims[d] < 0) || (dim && bytes > UINT32_MAX / dim))
                return 0;
            bytes *= dim;
        }
        sum += (bytes + 63) & ~(uint64_t)63;
    }
    return sum;
}

// The model's constants, and what its plans have packed of them and put on devices, in mapped files
// of the cache too. Not what the engine holds more than before: others are built at the same time.
static void count_bytes(weir_scheduler_t *scheduler, weir__served_t *served)
{
    uint64_t bytes = served->info.parameter_bytes;
    uint32_t batches = 1; // the next one
    for (uint32_t p = 0; p < served->placed_count; p++) {
        const weir__placed_t *placed = &served->placed[p];
        weir__booked_t *booked = &served->booked[p];
        *booked = (weir__booked_t){0};
        if (!placed->plan)
            continue;
        booked->weight_bytes = weight_bytes(placed->plan);
        count_seats(scheduler, served, placed, booked);
        uint32_t inlines = p || served->path ? 0 : WEIR__INLINE_MAX;
        bytes += booked->weight_bytes + booked->seat_bytes * (booked->seat_count + inlines);
        batches += booked->seat_count;
    }
    served->charged_bytes = batches * batch_bytes(served);
    atomic_store(&served->charge_bytes, bytes + served->charged_bytes);
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
    weir_scheduler_t *scheduler, weir__served_t *served, uint64_t build_ns)
{
    uint64_t most = scheduler->options.memory_bytes;
    count_bytes(scheduler, served);
    served->reload_ns = build_ns;
    uint64_t needed = atomic_load(&served->charge_bytes);
    if (most && needed > most)
        return WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED,
            "%s@%s takes %llu bytes, all models together may take %llu (memory_bytes)",
            served->name, served->version, (unsigned long long)needed, (unsigned long long)most);
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
    book(scheduler, served, atomic_load(&served->charge_bytes));
    if (scheduler->options.memory_bytes && scheduler->memory_used > scheduler->options.memory_bytes)
        weir__loop_log(scheduler, WEIR_LOG_WARNING, 0,
            "%s@%s: models that are always there take %llu bytes, more than memory_bytes",
            served->name, served->version, (unsigned long long)scheduler->memory_used);
}

// What one more instance will take when it has run what the others have.
static uint64_t expected_bytes(
    const weir_scheduler_t *scheduler, const weir__served_t *served, const weir__placed_t *placed)
{
    uint64_t most = served->booked[placed - served->placed].seat_bytes;
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
        const weir__instance_t *instance = &scheduler->instances[i];
        if (instance->served == served && instance->placed == placed && instance->known)
            most = WEIR_MAX(most, instance->known_bytes);
    }
    return most;
}

bool weir__ledger_reserve_seat(weir_scheduler_t *scheduler, const weir__served_t *served,
    const weir__placed_t *placed, uint64_t *out_bytes)
{
    uint64_t most = scheduler->options.memory_bytes;
    uint32_t count = placed->instance_count + placed->making_count;
    *out_bytes = 0;
    if (count < served->booked[placed - served->placed].seat_count)
        return true;
    uint64_t bytes = expected_bytes(scheduler, served, placed);
    // Nobody is evicted for a second instance, nor has it a place before models that wait.
    if (count >= served->instances_min && most &&
        (scheduler->loads_waiting || scheduler->memory_used + bytes > most))
        return false;
    charge(scheduler, bytes);
    *out_bytes = bytes;
    return true;
}

// The seats of a plan are alike: what one of them takes besides is its own.
void weir__ledger_seat(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    const weir__placed_t *placed = instance->placed;
    weir__booked_t *booked = &served->booked[placed - served->placed];
    uint64_t bytes = session_bytes(instance->session);
    bool is_further = placed->instance_count > served->instances_min;
    if (is_further)
        bytes = WEIR_MAX(bytes, expected_bytes(scheduler, served, placed));
    if (!booked->seat_count && !booked->seat_bytes)
        booked->seat_bytes = bytes;
    instance->known_bytes = WEIR_MAX(bytes, booked->seat_bytes);
    instance->charge_bytes = instance->known_bytes - booked->seat_bytes;
    grow(scheduler, served, instance->charge_bytes);
    if (placed->instance_count <= booked->seat_count)
        return;
    if (is_further) {
        grow(scheduler, served, booked->seat_bytes);
        return;
    }
    booked->seat_count++; // its device was away when the model was added
    recharge(scheduler, served, booked->seat_bytes);
}

void weir__ledger_leave(weir__instance_t *instance)
{
    const weir__placed_t *placed = instance->placed;
    const weir__booked_t *booked = &instance->served->booked[placed - instance->served->placed];
    if (placed->instance_count > booked->seat_count)
        instance->charge_bytes += booked->seat_bytes;
}

void weir__ledger_unseat(weir_scheduler_t *scheduler, uint64_t bytes)
{
    discharge(scheduler, bytes);
}

void weir__ledger_free_seat(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    uint64_t bytes = instance->charge_bytes, buffers = 0;
    for (uint32_t i = 0; i < served->input_count; i++)
        buffers += instance->buffers[i].capacity;
    weir__seat_free(instance);
    grow(scheduler, served, 0 - bytes);
    weir__ledger_unbuffer(served, buffers);
}

void weir__ledger_planned(
    weir_scheduler_t *scheduler, weir__served_t *served, const weir__placed_t *placed)
{
    weir__booked_t *booked = &served->booked[placed - served->placed];
    if (!placed->plan)
        return;
    uint64_t bytes = weight_bytes(placed->plan), before = booked->weight_bytes;
    booked->weight_bytes = bytes;
    if (bytes != before)
        recharge(scheduler, served, bytes - before);
}

void weir__ledger_ran(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    uint64_t bytes = session_bytes(instance->session);
    if (bytes <= instance->known_bytes)
        return;
    uint64_t more = bytes - instance->known_bytes;
    instance->known_bytes = bytes;
    instance->charge_bytes += more;
    grow(scheduler, instance->served, more);
}

bool weir__ledger_buffer(weir__served_t *served, weir__buffer_t *buffer, uint64_t bytes)
{
    if (bytes <= buffer->capacity)
        return true;
    uint64_t beyond = buffers_beyond(served), before = buffer->capacity;
    bool is_there = weir__buffer_reserve(buffer, bytes);
    served->buffer_bytes += buffer->capacity - before;
    grow(served->scheduler, served, buffers_beyond(served) - beyond);
    return is_there;
}

void weir__ledger_unbuffer(weir__served_t *served, uint64_t bytes)
{
    uint64_t beyond = buffers_beyond(served);
    served->buffer_bytes -= bytes;
    grow(served->scheduler, served, buffers_beyond(served) - beyond);
}

uint64_t weir__ledger_remove(weir_scheduler_t *scheduler, const weir__served_t *served)
{
    bool charged = !served->path || atomic_load(&served->residency) == WEIR__RESIDENT;
    uint64_t bytes = charged ? atomic_load(&served->charge_bytes) : 0;
    scheduler->memory_leaving += bytes;
    scheduler->memory_fixed -= served->path ? 0 : bytes;
    return bytes;
}

void weir__ledger_freed(weir_scheduler_t *scheduler, uint64_t bytes)
{
    scheduler->memory_leaving -= bytes;
    discharge(scheduler, bytes);
}
