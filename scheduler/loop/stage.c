// scheduler/loop/stage.c: rows of the next batch are packed while one runs.
//
// A model has one set of input buffers more than instances. When the loop has nothing else to do it
// asks the core who is likely to leave next and packs those there, a request at a time. A batch
// that leaves takes that set and gives its own for it; rows that were packed ahead stay where they
// are, the others are put into the gaps. Which rows leave is decided when they do, as without it: a
// guess that was wrong costs a copy, never an answer.
//
// It must not touch buffers that an instance has: one that was given up may still be written to.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

// Positions in a batch, for the greatest that there is.
typedef struct places {
    uint64_t bits[WEIR__CORE_BATCH_ROWS_MAX / 64];
} places_t;

static bool is_taken(const places_t *places, uint32_t row)
{
    return places->bits[row / 64] >> row % 64 & 1;
}

static void take(places_t *places, uint32_t first, uint32_t count)
{
    for (uint32_t row = first; row < first + count; row++)
        places->bits[row / 64] |= (uint64_t)1 << row % 64;
}

// Rows of a batch lie one after another, whatever its size. Inputs without rows are in the key of
// what may be stacked, but it is not worth the while to tell them apart here.
static bool can_stage(const weir__served_t *served)
{
    if (served->max_batch > WEIR__CORE_BATCH_ROWS_MAX)
        return false;
    for (uint32_t i = 0; i < served->input_count && served->max_batch > 1; i++)
        if (served->input_axes[i] != 0)
            return false;
    return served->input_count > 0;
}

void weir__stage_clear(weir__served_t *served)
{
    weir__stage_t *stage = &served->stage;
    uint64_t bytes = 0;
    for (uint32_t i = 0; stage->buffers && i < served->input_count; i++) {
        bytes += stage->buffers[i].capacity;
        free(stage->buffers[i].data);
    }
    weir__ledger_unbuffer(served, bytes);
    free(stage->buffers);
    *stage = (weir__stage_t){.instance = WEIR__NO_INDEX};
}

// ---- Ahead -------------------------------------------------------------------------------------

// Makes the set one for rows of this shape. false: no memory, which is no harm.
static bool open_stage(
    weir_scheduler_t *scheduler, weir__served_t *served, const weir__slot_t *slot)
{
    weir__stage_t *stage = &served->stage;
    if (!stage->buffers)
        stage->buffers = calloc(served->input_count, sizeof *stage->buffers);
    if (!stage->buffers)
        return false;
    for (uint32_t i = 0; i < served->input_count; i++) {
        weir_value_t batch;
        weir__pack_dims(served, i, weir__slot_input(slot, i), served->max_batch, &batch);
        uint64_t count = weir_value_count(&batch);
        if (count > UINT64_MAX / 8 ||
            !weir__ledger_buffer(served, &stage->buffers[i], count * weir_dtype_bytes(batch.dtype)))
            return false;
    }
    stage->epoch = ++scheduler->stage_epochs;
    stage->shape_id = scheduler->shapes[slot->shape].id;
    stage->rows = 0;
    return true;
}

static void pack_ahead(weir__served_t *served, weir__slot_t *slot)
{
    weir__stage_t *stage = &served->stage;
    for (uint32_t i = 0; i < served->input_count; i++) {
        weir_value_t batch;
        weir__pack_dims(served, i, weir__slot_input(slot, i), served->max_batch, &batch);
        batch.data = stage->buffers[i].data;
        weir__pack_rows(served, i, weir__slot_input(slot, i), slot->rows, stage->rows, &batch);
    }
    slot->stage_epoch = stage->epoch;
    slot->stage_row = stage->rows;
    stage->rows += slot->rows;
}

static bool is_more_to_do(weir_scheduler_t *scheduler)
{
    return !weir__ring_is_empty(&scheduler->submitted) || !weir__ring_is_empty(&scheduler->ended);
}

// Packs the requests of a model that are likely to leave next. false: something else came.
static bool stage_model(weir_scheduler_t *scheduler, weir__served_t *served)
{
    weir__stage_t *stage = &served->stage;
    uint64_t tickets[WEIR__STAGE_LOOKS];
    size_t count = weir__core_next(
        scheduler->core, stage->instance, tickets, WEIR_MIN(served->max_batch, WEIR__STAGE_LOOKS));
    uint32_t rows = 0;
    for (size_t i = 0; i < count; i++) {
        weir__slot_t *slot = &scheduler->slots[(uint32_t)tickets[i]];
        rows += slot->rows;
        if (slot->served != served || rows > served->max_batch)
            break; // another model has the instance now; of the batch after
        if (stage->epoch && slot->stage_epoch == stage->epoch)
            continue;
        if ((!stage->epoch || stage->shape_id != scheduler->shapes[slot->shape].id) &&
            !open_stage(scheduler, served, slot))
            break;
        if (slot->rows > served->max_batch - stage->rows)
            break;
        pack_ahead(served, slot);
        if (is_more_to_do(scheduler))
            return false;
    }
    return true;
}

void weir__stage_fill(weir_scheduler_t *scheduler)
{
    uint32_t high = atomic_load_explicit(&scheduler->model_high, memory_order_relaxed);
    scheduler->stages_wanted = false;
    for (uint32_t m = 0; m < high && !scheduler->stages_wanted; m++) {
        weir__served_t *served = &scheduler->models[m];
        if (served->batch_count && served->in_loop > served->running_count && can_stage(served))
            scheduler->stages_wanted = !stage_model(scheduler, served);
    }
}

// ---- A batch leaves ----------------------------------------------------------------------------

// Keeps those in their places that were packed within the batch; how many rows that are.
static uint32_t keep(
    weir_scheduler_t *scheduler, const weir__instance_t *instance, uint64_t epoch, places_t *places)
{
    uint32_t kept = 0;
    for (uint32_t t = 0; t < instance->ticket_count; t++) {
        weir__slot_t *slot = &scheduler->slots[(uint32_t)instance->tickets[t]];
        if (slot->stage_epoch != epoch || slot->stage_row + slot->rows > instance->run_rows) {
            slot->stage_epoch = 0;
            continue;
        }
        slot->first_row = slot->stage_row;
        take(places, slot->first_row, slot->rows);
        kept += slot->rows;
    }
    return kept;
}

// The first gap for so many rows; WEIR__NO_INDEX: there is none.
static uint32_t gap_for(const places_t *places, uint32_t rows, uint32_t run_rows)
{
    uint32_t length = 0;
    for (uint32_t row = 0; row < run_rows; row++) {
        length = is_taken(places, row) ? 0 : length + 1;
        if (length == rows)
            return row + 1 - rows;
    }
    return WEIR__NO_INDEX;
}

// Places for those that were not kept. false: the gaps are too small for one of them.
static bool find_gaps(
    weir_scheduler_t *scheduler, const weir__instance_t *instance, places_t *places)
{
    for (uint32_t t = 0; t < instance->ticket_count; t++) {
        weir__slot_t *slot = &scheduler->slots[(uint32_t)instance->tickets[t]];
        if (slot->stage_epoch)
            continue;
        uint32_t first = gap_for(places, slot->rows, instance->run_rows);
        if (first == WEIR__NO_INDEX)
            return false;
        slot->first_row = first;
        take(places, first, slot->rows);
    }
    return true;
}

static void fill_gaps(
    weir_scheduler_t *scheduler, weir__instance_t *instance, uint32_t input, const places_t *places)
{
    weir__served_t *served = instance->served;
    weir_value_t *batch = &instance->inputs[input];
    for (uint32_t t = 0; t < instance->ticket_count; t++) {
        const weir__slot_t *slot = &scheduler->slots[(uint32_t)instance->tickets[t]];
        if (!slot->stage_epoch)
            weir__pack_rows(
                served, input, weir__slot_input(slot, input), slot->rows, slot->first_row, batch);
    }
    // As in a batch that was packed at once: the first one's row again.
    weir_value_t one = *weir__slot_input(&scheduler->slots[(uint32_t)instance->tickets[0]], input);
    if (served->max_batch > 1)
        one.dims[0] = 1;
    for (uint32_t row = 0; row < instance->run_rows; row++)
        if (!is_taken(places, row))
            weir__pack_rows(served, input, &one, 1, row, batch);
}

bool weir__stage_take(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    weir__stage_t *stage = &served->stage;
    const weir__slot_t *first = &scheduler->slots[(uint32_t)instance->tickets[0]];
    stage->instance = instance->index;
    scheduler->stages_wanted |= served->in_loop > served->running_count;
    if (!stage->epoch || stage->shape_id != scheduler->shapes[first->shape].id)
        return false;
    places_t places = {{0}};
    uint32_t kept = keep(scheduler, instance, stage->epoch, &places);
    bool fits = kept && find_gaps(scheduler, instance, &places);
    stage->epoch = 0;
    stage->rows = 0;
    if (!fits)
        return false;
    weir__buffer_t *own = instance->buffers;
    instance->buffers = stage->buffers;
    stage->buffers = own;
    for (uint32_t i = 0; i < served->input_count; i++) {
        if (!weir__run_input(instance, i, weir__slot_input(first, i)))
            return false;
        fill_gaps(scheduler, instance, i, &places);
    }
    weir__observe_add(
        WEIR__OBSERVE_LOOP, &served->series->parts[WEIR__OBSERVE_LOOP].ahead_rows, kept);
    return true;
}
