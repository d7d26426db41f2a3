// scheduler/loop/run.c: batches: packed, started, and their answers copied out.
//
// All of it on the loop but for note_end(), which an engine thread calls. A batch has the
// instance's buffers to itself: a request that ended early (cancel, deadline) only loses its
// answer, and no device ever sees a caller's memory.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

const weir_value_t *weir__slot_input(const weir__slot_t *slot, uint32_t index)
{
    const weir_value_t *kept = slot->state ? weir__state_input(slot->state, index) : NULL;
    return kept ? kept : &slot->inputs[index];
}

// ---- A batch leaves ----------------------------------------------------------------------------

bool weir__buffer_reserve(weir__buffer_t *buffer, uint64_t bytes)
{
    if (bytes <= buffer->capacity)
        return true;
    if (bytes > SIZE_MAX / 2)
        return false;
    // Aligned for vectors; the old contents are not needed.
    size_t capacity = ((size_t)bytes + 63) & ~(size_t)63;
    void *data = aligned_alloc(64, capacity);
    if (!data)
        return false;
    free(buffer->data);
    buffer->data = data;
    buffer->capacity = capacity;
    return true;
}

// Dims are those of the first request with `run_rows` rows; they fit the limits, since each was
// checked, but their product times the rows may not.
bool weir__run_input(weir__instance_t *instance, uint32_t index, const weir_value_t *first)
{
    weir_value_t *batch = &instance->inputs[index];
    weir__pack_dims(instance->served, index, first, instance->run_rows, batch);
    uint64_t count = weir_value_count(batch);
    size_t element_bytes = weir_dtype_bytes(batch->dtype);
    if (count > UINT64_MAX / 8 ||
        !weir__ledger_buffer(instance->served, &instance->buffers[index], count * element_bytes))
        return false;
    batch->data = instance->buffers[index].data;
    batch->capacity_bytes = count * element_bytes;
    return true;
}

static weir_status_t pack(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    if (weir__stage_take(scheduler, instance))
        return NULL;
    for (uint32_t i = 0; i < served->input_count; i++) {
        uint32_t row = 0;
        for (uint32_t t = 0; t < instance->ticket_count; t++) {
            weir__slot_t *slot = &scheduler->slots[(uint32_t)instance->tickets[t]];
            const weir_value_t *input = weir__slot_input(slot, i);
            if (t == 0 && !weir__run_input(instance, i, input))
                return weir__loop_no_memory();
            if (t == 0 || served->input_axes[i] != WEIR_AXIS_NONE)
                weir__pack_rows(served, i, input, slot->rows, row, &instance->inputs[i]);
            slot->first_row = row;
            row += slot->rows;
        }
        // Rows that fill the batch up are the first one's again: whatever a model does with them,
        // it has done with values that make sense.
        weir__slot_t *slot = &scheduler->slots[(uint32_t)instance->tickets[0]];
        while (served->input_axes[i] != WEIR_AXIS_NONE && row < instance->run_rows) {
            weir_value_t one = *weir__slot_input(slot, i);
            if (served->max_batch > 1)
                one.dims[served->input_axes[i]] = 1;
            weir__pack_rows(served, i, &one, 1, row++, &instance->inputs[i]);
        }
    }
    return NULL;
}

// On an engine thread.
static void note_end(void *user_data, weir_status_t status)
{
    weir__instance_t *instance = user_data;
    weir_scheduler_t *scheduler = instance->scheduler;
    atomic_fetch_add(&scheduler->posters, 1);
    instance->status = status;
    instance->ended_ns = weir_now_ns();
    // An instance is in the ring once at most, and the ring holds all of them.
    (void)weir__ring_put(&scheduler->ended, instance->index);
    atomic_fetch_add(&scheduler->ended_count, 1);
    if (atomic_load(&scheduler->closing))
        weir__loop_futex_wake(&scheduler->ended_count);
    else
        weir__wake(scheduler);
    atomic_fetch_sub(&scheduler->posters, 1);
}

// When the last of the requests gives up; 0 where one never does.
static uint64_t latest_deadline(const weir_scheduler_t *scheduler, const weir__instance_t *it)
{
    uint64_t latest = 0;
    for (uint32_t t = 0; t < it->ticket_count; t++) {
        uint64_t deadline_ns = scheduler->slots[(uint32_t)it->tickets[t]].deadline_ns;
        if (!deadline_ns)
            return 0;
        latest = WEIR_MAX(latest, deadline_ns);
    }
    return latest;
}

// A batch that is alone on its team has all of it; those that run there together share it.
static uint32_t share_of_team(const weir_scheduler_t *scheduler, const weir__instance_t *instance)
{
    uint32_t team = weir__seat_team(instance), running = scheduler->team_running[team];
    if (!team || running < 2)
        return 0;
    uint32_t share = weir_engine_team_threads(scheduler->engine, team - 1) / running;
    return WEIR_MAX(share, 1u);
}

static weir_status_t start(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    WEIR_TRY(pack(scheduler, instance));
    uint32_t shape = scheduler->slots[(uint32_t)instance->tickets[0]].shape;
    instance->unseen = shape != instance->seen_shape || instance->run_rows > instance->seen_rows;
    instance->seen_shape = shape;
    instance->seen_rows = instance->run_rows;
    instance->run_ns = scheduler->spans ? weir_now_ns() : instance->started_ns;
    if (instance->stopped) {
        // A flag that was raised stays raised.
        weir_cancel_t *cancel;
        WEIR_TRY(weir_cancel_create(&cancel));
        weir_cancel_free(instance->cancel);
        instance->cancel = cancel;
        instance->stopped = false;
    }
    for (uint32_t i = 0; i < served->output_count; i++)
        instance->outputs[i] = weir_view();
    weir_run_options_t options = {.size = sizeof options,
        .deadline_ns = latest_deadline(scheduler, instance),
        .cancel = instance->cancel,
        .request_id = instance->batch,
        .threads = share_of_team(scheduler, instance)};
    return weir_session_start(instance->session, &options, served->input_count, instance->inputs,
        served->output_count, instance->outputs, note_end, instance);
}

static uint32_t left_of(weir__core_why_t why)
{
    switch (why) {
    case WEIR__DISPATCH_FULL:
        return WEIR_LEFT_FULL;
    case WEIR__DISPATCH_LATEST_START:
        return WEIR_LEFT_LATEST_START;
    case WEIR__DISPATCH_RERUN:
        return WEIR_LEFT_RERUN;
    case WEIR__DISPATCH_PROBE:
        return WEIR_LEFT_PROBE;
    case WEIR__DISPATCH_DRAIN:
        return WEIR_LEFT_DRAIN;
    default:
        return WEIR_LEFT_IDLE;
    }
}

void weir__run_dispatch(weir_scheduler_t *scheduler, const weir__core_action_t *action)
{
    weir__instance_t *instance = &scheduler->instances[action->instance];
    weir__served_t *served = instance->served;
    instance->batch = action->batch;
    instance->why = action->why;
    instance->rows = action->rows;
    instance->run_rows = weir__shape_round(action->rows, served->max_batch);
    instance->ticket_count = (uint32_t)weir__core_batch(
        scheduler->core, action->instance, instance->tickets, served->max_batch);
    served->running_count += instance->ticket_count;
    served->batch_count++;
    weir__served_gauges(served);
    instance->started_ns = weir_now_ns();
    instance->running = true;
    scheduler->running_count++;
    scheduler->team_running[weir__seat_team(instance)]++;
    weir__loop_device_t *device = &scheduler->devices[instance->placed->device];
    weir__observe_set(&device->series->running, ++device->running_count);
    for (uint32_t t = 0; t < instance->ticket_count; t++) {
        weir__slot_t *slot = &scheduler->slots[(uint32_t)instance->tickets[t]];
        slot->batch = action->batch;
        slot->instance = action->instance;
        slot->batch_rows = action->rows;
        slot->started_ns = instance->started_ns;
        slot->run_ns = slot->ended_ns = 0;
        slot->left = left_of(action->why);
        slot->receipt = &instance->placed->receipt;
        slot->own = NULL;
    }
    weir_status_t status = start(scheduler, instance);
    if (status) // as if it had run and failed: the core decides what becomes of its requests
        note_end(instance, status);
}

void weir__run_stop(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__instance_t *instance = &scheduler->instances[index];
    if (!instance->running)
        return;
    instance->stopped = true;
    weir_cancel_trigger(instance->cancel);
}

// ---- A batch has ended -------------------------------------------------------------------------

// Does the ticket still wait for this batch?
static bool waits(
    const weir_scheduler_t *scheduler, const weir__instance_t *instance, uint64_t ticket)
{
    uint32_t index = (uint32_t)ticket;
    const weir__slot_t *slot = &scheduler->slots[index];
    return weir__slot_ticket(scheduler, index) == ticket && slot->phase == WEIR__SLOT_CORE &&
           slot->batch == instance->batch && slot->instance == instance->index;
}

// Rows in, rows out: an output that has not as many places per row for each row is wrong.
static bool rows_fit(const weir__instance_t *instance)
{
    const weir__served_t *served = instance->served;
    if (served->max_batch == 1)
        return true;
    for (uint32_t i = 0; i < served->output_count; i++) {
        const weir_value_t *output = &instance->outputs[i];
        int32_t axis = served->output_axes[i];
        if (axis >= (int32_t)output->rank || output->dims[axis] == 0 ||
            output->dims[axis] % instance->run_rows != 0)
            return false;
    }
    return true;
}

static void copy_out(weir__instance_t *instance, weir__slot_t *slot)
{
    weir__served_t *served = instance->served;
    const weir_value_t *inputs[WEIR__INPUTS_MAX];
    for (uint32_t i = 0; i < served->input_count; i++)
        inputs[i] = weir__slot_input(slot, i);
    slot->compute_ns = instance->ended_ns - instance->started_ns;
    slot->run_ns = instance->run_ns;
    slot->ended_ns = instance->ended_ns;
    for (uint32_t i = 0; i < served->output_count; i++) {
        weir_value_t *output = &slot->outputs[i];
        weir_value_t *kept = slot->state ? weir__state_output(slot->state, i) : NULL;
        if (!weir__pack_out(served, i, &instance->outputs[i], instance->run_rows, slot->first_row,
                slot->rows, inputs, kept ? kept : output))
            slot->own = kept ? weir__state_mismatch() : weir__loop_capacity();
        else if (kept && !weir__state_fits(slot->state, i))
            slot->own = weir__state_mismatch();
    }
}

static void note_batch(weir_scheduler_t *scheduler, const weir__instance_t *instance)
{
    weir__loop_device_t *device = &scheduler->devices[instance->placed->device];
    uint64_t compute_ns = instance->ended_ns - instance->started_ns;
    instance->served->running_count -= instance->ticket_count;
    instance->served->batch_count--;
    weir__served_gauges(instance->served);
    weir__observe_set(&device->series->running, --device->running_count);
    weir__observe_batch(
        WEIR__OBSERVE_LOOP, instance->served->series, instance->why, instance->rows, compute_ns);
    weir__observe_batch(
        WEIR__OBSERVE_LOOP, device->series, instance->why, instance->rows, compute_ns);
    atomic_fetch_add_explicit(&scheduler->batches, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&scheduler->batch_rows, instance->rows, memory_order_relaxed);
}

void weir__run_ended(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__instance_t *instance = &scheduler->instances[index];
    weir_status_t status = instance->status;
    instance->running = false;
    scheduler->running_count--;
    scheduler->team_running[weir__seat_team(instance)]--;
    weir_code_t code = weir_status_code(status);
    bool fits = !status && rows_fit(instance);
    if (fits && !instance->gone)
        for (uint32_t t = 0; t < instance->ticket_count; t++)
            if (waits(scheduler, instance, instance->tickets[t]))
                copy_out(instance, &scheduler->slots[(uint32_t)instance->tickets[t]]);
    if (instance->unseen)
        weir__ledger_ran(scheduler, instance);
    if (fits && instance->placed == instance->served->placed)
        weir__inline_note_good(instance->served);
    if (status)
        weir__loop_log(scheduler, WEIR_LOG_WARNING, instance->batch, "%s@%s: a batch of %u: %s",
            instance->served->name, instance->served->version, instance->rows,
            weir_status_text(status));
    note_batch(scheduler, instance);
    if (instance->gone) { // frees the status too
        weir__device_released(scheduler, instance);
        return;
    }
    uint32_t device = instance->placed->device;
    scheduler->ending_batch = instance->batch;
    scheduler->ending_status = status;
    instance->status = NULL;
    // UNAVAILABLE: an earlier run there was given up (a deadline, a cancel) and never ended. A
    // batch that fails at once would make such a device look idle, and draw all there is to do.
    if (code == WEIR_DEVICE_LOST || code == WEIR_UNAVAILABLE)
        weir__device_lost(scheduler, device,
            code == WEIR_DEVICE_LOST ? WEIR__DEVICE_LOST : WEIR__DEVICE_QUARANTINED);
    else
        weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_BATCH_DONE,
                                       .batch = instance->batch,
                                       .instance = index,
                                       .code = code,
                                       .rows = fits ? instance->rows : 0,
                                       .elapsed_ns = instance->ended_ns - instance->started_ns,
                                       .idle = 1});
    weir_status_free(scheduler->ending_status);
    scheduler->ending_batch = 0;
    scheduler->ending_status = NULL;
}
