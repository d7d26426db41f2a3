// scheduler/loop/turn.c: what the loop does when it is awake: events to the core, its actions done.
//
// The actions of a step are done in two passes: first what lets devices work (batches leave, runs
// stop), then the answers, whose callbacks may take their time. A callback may submit and cancel:
// those go through the ring, never straight into the core.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

#define ARRIVALS_AT_ONCE 128 // between two looks at runs that have ended
#define ENDED_AT_ONCE 16     // between two looks at what was submitted
#define ARRIVALS_AT_A_TIME 16
#define PASSES_MAX 64 // before other users of the thread have their turn

// ---- Answers -----------------------------------------------------------------------------------

static void describe(const weir__slot_t *slot, weir_event_t *event)
{
    if (!slot->receipt) {
        memset(&event->receipt, 0, sizeof event->receipt);
        const weir__served_t *served = slot->served;
        memcpy(event->receipt.model, served->name, sizeof event->receipt.model);
        memcpy(event->receipt.version, served->version, sizeof event->receipt.version);
        memcpy(event->receipt.digest, served->info.digest, sizeof event->receipt.digest);
        return;
    }
    event->receipt = *slot->receipt;
    event->receipt.batch_id = slot->batch;
    event->receipt.batch_size = slot->batch_rows;
    event->receipt.left = slot->left;
    event->receipt.queue_ns =
        slot->started_ns > slot->submitted_ns ? slot->started_ns - slot->submitted_ns : 0;
    event->receipt.compute_ns = slot->compute_ns;
}

static void note_end(weir_scheduler_t *scheduler, const weir__slot_t *slot, weir__core_why_t why)
{
    weir__served_t *served = slot->served;
    weir__observe_series_t *tenant = scheduler->tenants[slot->tenant];
    if (why < WEIR__FINAL_DONE) {
        weir__observe_refused(WEIR__OBSERVE_LOOP, served->series, why);
        weir__observe_refused(WEIR__OBSERVE_LOOP, tenant, why);
        return;
    }
    uint64_t queue_ns = slot->batch ? slot->started_ns - slot->submitted_ns : UINT64_MAX;
    // The loop's clock may be some requests older than this one.
    uint64_t request_ns =
        scheduler->now_ns > slot->submitted_ns ? scheduler->now_ns - slot->submitted_ns : 0;
    weir__observe_ended(WEIR__OBSERVE_LOOP, served->series, why, queue_ns, request_ns);
    weir__observe_ended(WEIR__OBSERVE_LOOP, tenant, why, queue_ns, request_ns);
}

// What the slot held on to; its own fields stay readable until it is given back.
static void let_go(weir_scheduler_t *scheduler, weir__slot_t *slot, bool well)
{
    if (slot->shape != WEIR__NO_INDEX)
        weir__shape_release(scheduler, slot->shape);
    if (slot->state) {
        if (slot->phase != WEIR__SLOT_HELD)
            weir__state_leave(scheduler, slot->state, well);
        weir__state_release(slot->state);
    }
    scheduler->answer_bytes += slot->bytes;
}

static void keep(weir_scheduler_t *scheduler, weir__answer_t *answer)
{
    atomic_uint *done = &scheduler->slots[answer->slot].done;
    scheduler->kept[answer->slot] = answer->event;
    if (atomic_exchange(done, WEIR__DONE_YES) == WEIR__DONE_AWAITED)
        weir__loop_futex_wake(done);
}

// Tells the answers that were made. What they share with other threads (bytes, counts, free slots,
// the model's pins) is written once for all of them, before anybody is called: those cache lines
// are the submitters' most of the time.
static void tell(weir_scheduler_t *scheduler)
{
    uint32_t count = scheduler->answer_count;
    weir__served_t *served = scheduler->answer_served;
    if (!count)
        return;
    atomic_fetch_sub_explicit(
        &scheduler->queue_bytes, scheduler->answer_bytes, memory_order_relaxed);
    atomic_fetch_add_explicit(&scheduler->finals, count, memory_order_relaxed);
    served->in_loop -= count;
    weir__served_gauges(served);
    atomic_fetch_sub(&scheduler->in_flight, count);
    weir__slots_give(scheduler, scheduler->answers, count);
    scheduler->answer_count = 0;
    scheduler->answer_bytes = 0;
    for (uint32_t i = 0; i < count; i++) {
        weir__answer_t *answer = &scheduler->answers[i];
        if (answer->callback)
            answer->callback(&answer->event, answer->user_data);
        else
            keep(scheduler, answer);
    }
    weir__served_unpin_many(served, count);
    weir__served_settle(scheduler, served);
    if (scheduler->loads_waiting && !served->in_loop)
        scheduler->chores = true; // it may be evicted now
}

// The one place where a request that was accepted ends; tell() follows.
static void make_answer(weir_scheduler_t *scheduler, uint32_t index, weir_code_t code,
    weir__core_why_t why, weir_status_t status, uint64_t retry_ns)
{
    weir__slot_t *slot = &scheduler->slots[index];
    if (scheduler->answer_count == WEIR__ANSWERS ||
        (scheduler->answer_count && scheduler->answer_served != slot->served))
        tell(scheduler);
    scheduler->answer_served = slot->served;
    weir__answer_t *answer = &scheduler->answers[scheduler->answer_count++];
    answer->callback = slot->callback;
    answer->user_data = slot->user_data;
    answer->slot = index;
    weir_event_t *event = &answer->event;
    event->kind = WEIR_EVENT_FINAL;
    event->output_count = slot->served->output_count;
    event->ticket = weir__slot_ticket(scheduler, index);
    event->outputs = slot->outputs;
    event->retry_after_ns = retry_ns;
    event->request_id = slot->request_id;
    if (code == WEIR_OK)
        event->status = slot->own;
    else
        event->status = status ? status : weir__loop_status(code, why);
    describe(slot, event);
    if (!event->status && slot->served->tap)
        weir__tap_take(slot->served->tap, slot, event);
    note_end(scheduler, slot, why);
    weir__span_t span;
    if (scheduler->spans)
        weir__loop_span(scheduler, slot, why, &span);
    let_go(scheduler, slot, !event->status);
    slot->phase = slot->callback ? WEIR__SLOT_FREE : WEIR__SLOT_ENDED;
    // The run's own status dies with its batch; weir_wait() gives it to its caller.
    if (!slot->callback && event->status && event->status == scheduler->ending_status)
        scheduler->ending_status = NULL;
    if (!scheduler->spans)
        return;
    tell(scheduler); // by itself: the span ends when its callback returns
    span.returned_ns = weir_now_ns();
    weir__spans_note(scheduler->spans, &span);
}

void weir__turn_final(weir_scheduler_t *scheduler, uint32_t index, weir_code_t code,
    weir__core_why_t why, weir_status_t status, uint64_t retry_ns)
{
    make_answer(scheduler, index, code, why, status, retry_ns);
    tell(scheduler);
}

// ---- The core ----------------------------------------------------------------------------------

static void act(weir_scheduler_t *scheduler, const weir__core_action_t *action)
{
    switch (action->kind) {
    case WEIR__ACTION_DISPATCH:
        weir__run_dispatch(scheduler, action);
        break;
    case WEIR__ACTION_STOP:
        weir__run_stop(scheduler, action->instance);
        break;
    case WEIR__ACTION_SET_TIMER:
        scheduler->timer_ns = action->time_ns;
        break;
    case WEIR__ACTION_DEVICE:
        weir__device_changed(scheduler, action);
        break;
    case WEIR__ACTION_GONE:
        weir__seat_gone(scheduler, action->instance);
        break;
    case WEIR__ACTION_SCALE_UP:
        scheduler->models[action->model].wants_up = true;
        scheduler->chores = true;
        break;
    case WEIR__ACTION_SCALE_DOWN:
        scheduler->instances[action->instance].wants_down = true;
        scheduler->chores = true;
        break;
    case WEIR__ACTION_DRAINED:
        scheduler->drained = true;
        break;
    default:
        break;
    }
}

static void answer(weir_scheduler_t *scheduler, const weir__core_action_t *action)
{
    if (action->kind != WEIR__ACTION_FINAL && action->kind != WEIR__ACTION_REFUSE)
        return;
    weir_status_t status = NULL;
    if (action->kind == WEIR__ACTION_FINAL && action->batch == scheduler->ending_batch &&
        action->code == weir_status_code(scheduler->ending_status))
        status = scheduler->ending_status;
    make_answer(scheduler, (uint32_t)action->ticket, action->code, action->why, status,
        action->kind == WEIR__ACTION_REFUSE ? action->time_ns : 0);
}

weir_code_t weir__turn_feed(weir_scheduler_t *scheduler, const weir__core_event_t *event)
{
    size_t count = 0;
    weir_code_t code = weir__core_step(
        scheduler->core, event, scheduler->now_ns, scheduler->actions, WEIR__ACTIONS, &count);
    weir__observe_add(WEIR__OBSERVE_LOOP, &scheduler->observe->scheduler.steps, 1);
    if (scheduler->trace)
        weir__trace_step(scheduler, event, scheduler->now_ns, code, scheduler->actions, count);
    if (code != WEIR_OK)
        weir__loop_log(scheduler, WEIR_LOG_ERROR, 0, "the core refuses event %d: %s",
            (int)event->kind, weir_code_name(code));
    if (count == 1 && scheduler->actions[0].kind == WEIR__ACTION_ADMIT) {
        scheduler->stages_wanted |= scheduler->running_count > 0;
        return code; // as most arrivals end
    }
    for (size_t i = 0; i < count; i++)
        act(scheduler, &scheduler->actions[i]);
    for (size_t i = 0; i < count; i++)
        answer(scheduler, &scheduler->actions[i]);
    tell(scheduler);
    return code;
}

// ---- What came ---------------------------------------------------------------------------------

static bool is_cancelled(const weir__slot_t *slot)
{
    return atomic_load(&slot->cancelled) ==
           atomic_load_explicit(&slot->generation, memory_order_relaxed);
}

void weir__turn_arrive(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__slot_t *slot = &scheduler->slots[index];
    weir__served_t *served = slot->served;
    slot->phase = WEIR__SLOT_CORE;
    served->held_count--;
    // A cancel may have been faster than its request.
    if (is_cancelled(slot)) {
        weir__turn_final(scheduler, index, WEIR_CANCELLED, WEIR__FINAL_CANCELLED, NULL, 0);
        return;
    }
    if (!served->in_core) { // there was no memory for it, nor for the key of its requests
        weir__turn_final(scheduler, index, WEIR_NOT_FOUND, WEIR__REFUSE_MODEL, NULL, 0);
        return;
    }
    const weir_value_t *inputs[WEIR__INPUTS_MAX];
    for (uint32_t i = 0; i < served->input_count; i++)
        inputs[i] = weir__slot_input(slot, i);
    slot->shape = weir__shape_again(scheduler, served, inputs);
    if (slot->shape == WEIR__NO_INDEX) {
        uint64_t hash;
        uint32_t key_count = weir__shape_key(served, inputs, scheduler->key, &hash);
        slot->shape = weir__shape_get(scheduler, served, hash, scheduler->key, key_count);
    }
    if (slot->shape == WEIR__NO_INDEX) {
        weir__turn_final(scheduler, index, WEIR_RESOURCE_EXHAUSTED, WEIR__REFUSE_LANES, NULL,
            scheduler->limits.retry_ns);
        return;
    }
    weir__turn_feed(
        scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_ARRIVAL,
                       .ticket = weir__slot_ticket(scheduler, index),
                       .model = served->index,
                       .version = served->core_version,
                       .shape = scheduler->shapes[slot->shape].id,
                       .tenant = slot->tenant,
                       .priority = slot->priority,
                       .rows = slot->rows,
                       .bytes = slot->bytes,
                       .deadline_ns = slot->deadline_ns ? slot->deadline_ns : WEIR__CORE_NEVER,
                       .once = slot->state != NULL});
}

static void receive(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__slot_t *slot = &scheduler->slots[index];
    slot->served->in_loop++;
    weir__served_gauges(slot->served);
    slot->shape = WEIR__NO_INDEX;
    slot->receipt = NULL;
    slot->own = NULL;
    slot->batch = slot->compute_ns = slot->stage_epoch = 0;
    slot->phase = WEIR__SLOT_HELD;
    slot->served->held_count++;
    if (slot->deadline_ns && slot->deadline_ns < scheduler->held_due_ns &&
        (slot->state || slot->served->path))
        scheduler->held_due_ns = slot->deadline_ns;
    if ((!slot->state || weir__state_enter(scheduler, slot->state, index)) &&
        weir__ledger_enter(scheduler, index))
        weir__turn_arrive(scheduler, index);
}

// Ends a request that the core does not know.
static void end_held(
    weir_scheduler_t *scheduler, uint32_t index, weir_code_t code, weir__core_why_t why)
{
    weir__slot_t *slot = &scheduler->slots[index];
    if (slot->phase == WEIR__SLOT_HELD)
        weir__state_drop(scheduler, slot->state, index);
    else
        weir__ledger_drop(scheduler, index);
    slot->served->held_count--;
    weir__turn_final(scheduler, index, code, why, NULL, 0);
}

static bool is_held(const weir__slot_t *slot)
{
    return slot->phase == WEIR__SLOT_HELD || slot->phase == WEIR__SLOT_LOADING;
}

static void cancel(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__slot_t *slot = &scheduler->slots[index];
    if (!is_cancelled(slot))
        return;
    if (slot->phase == WEIR__SLOT_CORE)
        weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_CANCEL,
                                       .ticket = weir__slot_ticket(scheduler, index)});
    else if (is_held(slot))
        end_held(scheduler, index, WEIR_CANCELLED, WEIR__FINAL_CANCELLED);
}

// Deadlines of requests that the core does not know; `all`: they end whatever theirs is.
static void expire_held(weir_scheduler_t *scheduler, bool all)
{
    uint64_t now_ns = scheduler->now_ns = weir_now_ns();
    if (scheduler->drain_due_ns <= now_ns) {
        scheduler->drain_due_ns = WEIR__CORE_NEVER;
        all = true;
    }
    scheduler->held_due_ns = scheduler->drain_due_ns;
    for (uint32_t i = 0; i < scheduler->options.requests; i++) {
        const weir__slot_t *slot = &scheduler->slots[i];
        if (!is_held(slot) || (!all && !slot->deadline_ns))
            continue;
        if (all)
            end_held(scheduler, i, WEIR_DRAINING, WEIR__FINAL_DRAINED);
        else if (slot->deadline_ns <= now_ns)
            end_held(scheduler, i, WEIR_DEADLINE_EXCEEDED, WEIR__FINAL_EXPIRED_QUEUED);
        else if (slot->deadline_ns < scheduler->held_due_ns)
            scheduler->held_due_ns = slot->deadline_ns;
    }
}

// ---- Commands ----------------------------------------------------------------------------------

// What was kept first, then what was measured now.
static void learn(weir_scheduler_t *scheduler, const weir__command_t *command, bool kept)
{
    for (uint32_t i = 0; i < command->sample_count; i++) {
        const weir__sample_t *sample = &command->samples[i];
        if (kept != (sample->tail != 0))
            continue;
        uint32_t shape = weir__shape_get(
            scheduler, command->served, sample->hash, sample->key, sample->key_count);
        if (shape == WEIR__NO_INDEX)
            return;
        weir__turn_feed(
            scheduler, &(weir__core_event_t){.kind = kept ? WEIR__EVENT_CURVE : WEIR__EVENT_SAMPLE,
                           .count = sample->tail,
                           .once = sample->seen,
                           .model = command->served->index,
                           .version = command->served->core_version,
                           .shape = scheduler->shapes[shape].id,
                           .device = command->served->placed[sample->placed].device,
                           .rows = sample->rows,
                           .elapsed_ns = sample->elapsed_ns});
        weir__shape_release(scheduler, shape);
    }
}

static void add(weir_scheduler_t *scheduler, const weir__command_t *command)
{
    weir__served_t *served = command->served;
    uint32_t capacity = weir__shape_key_capacity(served);
    if (capacity > scheduler->key_capacity) {
        int64_t *grown = realloc(scheduler->key, capacity * sizeof *grown);
        if (!grown) { // its requests are told that there is no such model
            weir__loop_log(scheduler, WEIR_LOG_ERROR, 0, "%s@%s: no memory left", served->name,
                served->version);
            return;
        }
        scheduler->key = grown;
        scheduler->key_capacity = capacity;
    }
    served->in_core = true;
    weir__ledger_charge(scheduler, served);
    for (uint32_t p = 0; p < served->placed_count; p++)
        weir__device_tell_new(scheduler, &served->placed[p]);
    weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_MODEL_ADD,
                                   .model = served->index,
                                   .version = served->core_version,
                                   .rows = served->max_batch,
                                   .count = served->instances_min * served->placed_count});
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++)
        if (scheduler->instances[i].served == served)
            (void)weir__seat_tell(scheduler, &scheduler->instances[i]);
    learn(scheduler, command, true);
    learn(scheduler, command, false);
}

static void carry_out(weir_scheduler_t *scheduler, weir__command_t *command)
{
    weir__served_t *served = command->served;
    switch (command->kind) {
    case WEIR__COMMAND_ADD:
        add(scheduler, command);
        break;
    case WEIR__COMMAND_REMOVE:
        weir__curves_keep(scheduler, served, false);
        weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_MODEL_REMOVE,
                                       .model = served->index,
                                       .version = served->core_version});
        weir__served_settle(scheduler, served);
        break;
    case WEIR__COMMAND_TAP:
        served->tap = command->tap;
        break;
    case WEIR__COMMAND_UNTAP:
        weir__tap_close(command->tap);
        break;
    case WEIR__COMMAND_DRAIN:
        scheduler->drain_asked = true;
        scheduler->drained_fn = command->drained;
        scheduler->drained_user_data = command->user_data;
        weir__turn_feed(scheduler,
            &(weir__core_event_t){.kind = WEIR__EVENT_DRAIN, .deadline_ns = command->deadline_ns});
        break;
    }
}

static void finish_command(weir_scheduler_t *scheduler, weir__command_t *command)
{
    scheduler->now_ns = weir_now_ns();
    carry_out(scheduler, command);
    for (uint32_t i = 0; i < command->sample_count; i++)
        free(command->samples[i].key);
    free(command->samples);
    free(command);
}

// What takes something away has its turn when the requests that were accepted before have had
// theirs.
static bool is_due(const weir_scheduler_t *scheduler, const weir__command_t *command)
{
    if (command->kind != WEIR__COMMAND_REMOVE && command->kind != WEIR__COMMAND_DRAIN)
        return true;
    // Every request that the loop has got has a pin: what is more is of somebody who found the
    // model before it was removed and is not here yet, or of a state or a tap that keeps it.
    if (command->kind == WEIR__COMMAND_REMOVE)
        return atomic_load(&command->served->pins) <= command->served->in_loop &&
               command->served->held_count == 0;
    if ((ptrdiff_t)(scheduler->submitted.head - command->after) < 0)
        return false;
    // A core that drains lets nothing in: not those either that were accepted and are held here.
    for (uint32_t m = 0; m < atomic_load(&scheduler->model_high); m++)
        if (scheduler->models[m].held_count)
            return false;
    return true;
}

// A drain that waits for requests that are held here: they end by its deadline, too.
static void note_drain(weir_scheduler_t *scheduler, const weir__command_t *command)
{
    if (command->kind != WEIR__COMMAND_DRAIN)
        return;
    scheduler->drain_due_ns = command->deadline_ns;
    scheduler->held_due_ns = WEIR_MIN(scheduler->held_due_ns, command->deadline_ns);
}

static void take_later(weir_scheduler_t *scheduler)
{
    for (weir__command_t **link = &scheduler->later; *link;) {
        weir__command_t *command = *link;
        if (!is_due(scheduler, command)) {
            link = &command->next;
            continue;
        }
        *link = command->next;
        finish_command(scheduler, command);
    }
}

static void take_commands(weir_scheduler_t *scheduler)
{
    if (!atomic_load_explicit(&scheduler->commands_waiting, memory_order_acquire))
        return;
    pthread_mutex_lock(&scheduler->lock);
    weir__command_t *command = scheduler->commands;
    scheduler->commands = NULL;
    scheduler->commands_end = &scheduler->commands;
    atomic_store(&scheduler->commands_waiting, 0);
    pthread_mutex_unlock(&scheduler->lock);
    weir__command_t **end = &scheduler->later;
    while (*end)
        end = &(*end)->next;
    while (command) {
        weir__command_t *next = command->next;
        command->next = NULL;
        if (is_due(scheduler, command)) {
            finish_command(scheduler, command);
        } else {
            note_drain(scheduler, command);
            *end = command;
            end = &command->next;
        }
        command = next;
    }
}

// ---- A turn ------------------------------------------------------------------------------------

static bool take_ended(weir_scheduler_t *scheduler)
{
    uint64_t instance;
    uint32_t count = 0;
    for (; count < ENDED_AT_ONCE && weir__ring_take(&scheduler->ended, &instance); count++) {
        scheduler->now_ns = weir_now_ns();
        weir__run_ended(scheduler, (uint32_t)instance);
    }
    return count > 0;
}

// A request was written by another CPU: it is on its way here while others are looked at.
static void prefetch_submitted(weir_scheduler_t *scheduler)
{
    uint64_t value;
    if (weir__ring_peek(&scheduler->submitted, 3, &value)) {
        const weir__slot_t *slot = &scheduler->slots[value >> 1];
        __builtin_prefetch(slot);
        __builtin_prefetch((const char *)slot + 64);
    }
    // Not of a cancel: its slot may be another's by now.
    if (weir__ring_peek(&scheduler->submitted, 1, &value) && !(value & 1))
        __builtin_prefetch(scheduler->slots[value >> 1].inputs);
}

static bool take_submitted(weir_scheduler_t *scheduler)
{
    // The tail first, then the commands: the models of all requests up to here are known then.
    size_t tail = weir__ring_tail(&scheduler->submitted);
    take_commands(scheduler);
    uint64_t value;
    uint32_t count = 0;
    while (count < ARRIVALS_AT_ONCE && scheduler->submitted.head != tail &&
           weir__ring_take(&scheduler->submitted, &value)) {
        // Reading the clock costs as much as an arrival: requests that come together came now.
        if (count++ % ARRIVALS_AT_A_TIME == 0)
            scheduler->now_ns = weir_now_ns();
        prefetch_submitted(scheduler);
        if (value & 1)
            cancel(scheduler, (uint32_t)(value >> 1));
        else
            receive(scheduler, (uint32_t)(value >> 1));
    }
    if (scheduler->later)
        take_later(scheduler);
    return count > 0;
}

static bool go_on_with_states(weir_scheduler_t *scheduler)
{
    bool worked = false;
    for (uint32_t index; (index = weir__state_next(scheduler)) != WEIR__NO_INDEX; worked = true)
        if (weir__ledger_enter(scheduler, index))
            weir__turn_arrive(scheduler, index);
    return worked;
}

static void tell_drained(weir_scheduler_t *scheduler)
{
    if (!scheduler->drain_asked || !scheduler->drained || atomic_load(&scheduler->in_flight))
        return;
    scheduler->drain_asked = false;
    atomic_store(&scheduler->drained_told, 1);
    weir__loop_futex_wake(&scheduler->drained_told);
    if (scheduler->drained_fn)
        scheduler->drained_fn(scheduler->drained_user_data);
}

// The clock is read where there is something to do, and once for all the rest.
static bool pass(weir_scheduler_t *scheduler)
{
    bool worked = take_ended(scheduler);
    worked |= take_submitted(scheduler);
    scheduler->now_ns = weir_now_ns();
    worked |= go_on_with_states(scheduler);
    worked |= weir__loader_take(scheduler);
    if (scheduler->held_due_ns <= scheduler->now_ns) {
        expire_held(scheduler, false);
        // A command may have waited for those, and something may be due to be tried again.
        worked = scheduler->chores = true;
    }
    if (atomic_load_explicit(&scheduler->scan_cancels, memory_order_relaxed) &&
        atomic_exchange(&scheduler->scan_cancels, 0))
        for (uint32_t i = 0; i < scheduler->options.requests; i++)
            cancel(scheduler, i);
    if (scheduler->timer_ns <= scheduler->now_ns) {
        scheduler->timer_ns = WEIR__CORE_NEVER;
        weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_TIMER});
        worked = true;
    }
    if (atomic_load_explicit(&scheduler->unpinned, memory_order_relaxed) &&
        atomic_exchange(&scheduler->unpinned, 0))
        worked = scheduler->chores = true; // and a command may be due
    if (scheduler->chores)
        weir__chores(scheduler);
    return worked;
}

// What is now, as gauges.
static void note_now(weir_scheduler_t *scheduler)
{
    weir__observe_scheduler_t *it = &scheduler->observe->scheduler;
    weir__observe_add(WEIR__OBSERVE_LOOP, &it->wakeups, 1);
    weir__observe_set(&it->in_flight, atomic_load(&scheduler->in_flight));
    weir__observe_set(&it->queue_bytes, atomic_load(&scheduler->queue_bytes));
}

void weir__turn(weir_scheduler_t *scheduler)
{
    atomic_store_explicit(&scheduler->sleeping, 0, memory_order_relaxed);
    atomic_store_explicit(&scheduler->thread, (unsigned long)pthread_self(), memory_order_relaxed);
    for (uint32_t i = 0; i < PASSES_MAX; i++) {
        // What follows from it: mostly nothing that a further pass would find.
        if (pass(scheduler) &&
            (weir__turn_is_wanted(scheduler) || scheduler->later || scheduler->chores ||
                weir__turn_due(scheduler) <= scheduler->now_ns))
            continue;
        if (scheduler->stages_wanted)
            weir__stage_fill(scheduler);
        if (!scheduler->stages_wanted)
            break;
    }
    note_now(scheduler);
    tell_drained(scheduler);
}

bool weir__turn_is_wanted(weir_scheduler_t *scheduler)
{
    return !weir__ring_is_empty(&scheduler->submitted) || !weir__ring_is_empty(&scheduler->ended) ||
           atomic_load(&scheduler->commands_waiting) || atomic_load(&scheduler->scan_cancels) ||
           atomic_load(&scheduler->unpinned) || scheduler->ready_states ||
           weir__loader_has_done(scheduler);
}

bool weir__turn_rest(weir_scheduler_t *scheduler)
{
    // A put that does not see `sleeping` comes before this fence, and is seen here.
    atomic_store_explicit(&scheduler->sleeping, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
    bool rest = !weir__turn_is_wanted(scheduler);
    if (!rest)
        atomic_store(&scheduler->sleeping, 0);
    return rest;
}

void weir__turn_shut_down(weir_scheduler_t *scheduler)
{
    for (uint32_t m = 0; m < atomic_load(&scheduler->model_high); m++)
        weir__curves_keep(scheduler, &scheduler->models[m], true);
    atomic_store(&scheduler->closing, 1);
    atomic_store(&scheduler->draining, 1);
    weir__turn(scheduler);
    // A drain that waits for who is held is told to the core first: this one's deadline counts.
    expire_held(scheduler, true);
    weir__turn(scheduler);
    weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_DRAIN, .deadline_ns = 1});
    // What runs has been stopped; without work of its own the thread waits for it.
    while (atomic_load(&scheduler->in_flight) || scheduler->running_count) {
        unsigned seen = atomic_load(&scheduler->ended_count);
        expire_held(scheduler, true); // also what only now came out of the ring
        weir__turn(scheduler);
        if ((atomic_load(&scheduler->in_flight) || scheduler->running_count) &&
            weir__turn_rest(scheduler))
            weir__loop_futex_wait(&scheduler->ended_count, seen, weir_now_ns() + 10 * WEIR_MS);
    }
    weir__turn(scheduler);
    while (atomic_load(&scheduler->posters)) // the last ones are on their way out of note_end()
        ;
}
