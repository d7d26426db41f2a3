// scheduler/loop/state.c: tensors that are kept between the requests of one stream.
//
// Two sets: the one that the next request reads, and the one that the running request's outputs are
// copied to. They change places when a request ends well, and only then. Requests of one state are
// let into the core one at a time; the others wait in a list here, in order.
#include "scheduler/loop/loop.h"

#include <stdlib.h>
#include <string.h>

typedef struct pair {
    uint32_t input, output; // of the model
    weir_value_t now, next, initial;
    uint64_t bytes;
} pair_t;

struct weir_state {
    weir_scheduler_t *scheduler;
    weir__served_t *served; // pinned
    atomic_uint references; // the embedder's and one for each request
    atomic_uint in_flight;
    pair_t *pairs;
    uint32_t pair_count;
    // The loop's.
    bool busy;
    uint32_t first, last; // requests that wait
    weir_state_t *next_ready;
    bool is_ready;
};

static const weir_status_constant_t mismatch =
    WEIR_STATUS_CONSTANT(WEIR_INVALID_ARGUMENT, "INVALID_ARGUMENT",
        "the run's new state has other dims than the state had: it was not moved on");

weir_status_t weir__state_mismatch(void)
{
    return weir_status_constant(&mismatch);
}

const weir_value_t *weir__state_input(const weir_state_t *state, uint32_t index)
{
    for (uint32_t i = 0; i < state->pair_count; i++)
        if (state->pairs[i].input == index)
            return &state->pairs[i].now;
    return NULL;
}

const weir_value_t *weir__state_like(const weir_state_t *state, uint32_t index)
{
    for (uint32_t i = 0; i < state->pair_count; i++)
        if (state->pairs[i].input == index)
            return &state->pairs[i].initial;
    return NULL;
}

weir_value_t *weir__state_output(weir_state_t *state, uint32_t index)
{
    for (uint32_t i = 0; i < state->pair_count; i++)
        if (state->pairs[i].output == index)
            return &state->pairs[i].next;
    return NULL;
}

weir__served_t *weir__state_served(const weir_state_t *state)
{
    return state->served;
}

void weir__state_retain(weir_state_t *state)
{
    atomic_fetch_add(&state->references, 1);
    atomic_fetch_add(&state->in_flight, 1);
}

static void drop_reference(weir_state_t *state)
{
    if (atomic_fetch_sub(&state->references, 1) != 1)
        return;
    for (uint32_t i = 0; i < state->pair_count; i++) {
        free(state->pairs[i].now.data);
        free(state->pairs[i].next.data);
        free(state->pairs[i].initial.data);
    }
    free(state->pairs);
    if (state->served)
        weir__served_unpin(state->served);
    free(state);
}

void weir__state_release(weir_state_t *state)
{
    atomic_fetch_sub(&state->in_flight, 1);
    drop_reference(state);
}

void weir_state_free(weir_state_t *state)
{
    if (state)
        drop_reference(state);
}

weir_status_t weir_state_reset(weir_state_t *state)
{
    if (atomic_load(&state->in_flight))
        return WEIR_FAIL(
            WEIR_UNAVAILABLE, "a request of the state is in flight: reset it after its FINAL");
    for (uint32_t i = 0; i < state->pair_count; i++)
        memcpy(
            state->pairs[i].now.data, state->pairs[i].initial.data, (size_t)state->pairs[i].bytes);
    return NULL;
}

// ---- Making one --------------------------------------------------------------------------------

static weir_status_t find_port(
    const weir__served_t *served, const char *name, bool is_input, uint32_t *out_index)
{
    const weir_port_t *ports = is_input ? served->inputs : served->outputs;
    uint32_t count = is_input ? served->input_count : served->output_count;
    for (uint32_t i = 0; name && i < count; i++)
        if (strcmp(ports[i].name, name) == 0) {
            *out_index = i;
            return NULL;
        }
    return WEIR_FAIL(WEIR_NOT_FOUND, "%s@%s has no %s \"%s\"", served->name, served->version,
        is_input ? "input" : "output", name ? name : "");
}

// `pairs`: those before it are made.
static weir_status_t make_pair(const weir__served_t *served, const weir_state_pair_t *names,
    const weir_value_t *initial, const pair_t *pairs, pair_t *pair)
{
    WEIR_TRY(find_port(served, names->input, true, &pair->input));
    WEIR_TRY(find_port(served, names->output, false, &pair->output));
    for (const pair_t *before = pairs; before < pair; before++)
        if (before->input == pair->input || before->output == pair->output)
            return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
                "the pair of \"%s\" and \"%s\": a tensor belongs to one pair of a state",
                names->input, names->output);
    const weir_port_t *port = &served->inputs[pair->input];
    if (port->dtype != served->outputs[pair->output].dtype)
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT, "\"%s\" is %s and \"%s\" is %s: no state",
            names->input, weir_dtype_name(port->dtype), names->output,
            weir_dtype_name(served->outputs[pair->output].dtype));
    weir_value_t value = {.dtype = port->dtype};
    if (initial) {
        value = *initial;
    } else {
        value.rank = port->rank < 0 ? 0 : (uint32_t)port->rank;
        for (uint32_t d = 0; d < value.rank; d++)
            value.dims[d] = port->dims[d] < 0 ? 1 : port->dims[d];
    }
    uint64_t count = value.rank > WEIR_RANK_MAX ? UINT64_MAX : weir_value_count(&value);
    size_t element_bytes = weir_dtype_bytes(value.dtype);
    if (value.dtype != port->dtype || count > UINT32_MAX ||
        (initial && (!initial->data || initial->capacity_bytes < count * element_bytes)))
        return WEIR_FAIL(WEIR_INVALID_ARGUMENT,
            "the initial value of \"%s\" does not fit it, or is not there", names->input);
    pair->bytes = count * element_bytes;
    pair->now = pair->next = pair->initial = value;
    pair->now.capacity_bytes = pair->next.capacity_bytes = pair->initial.capacity_bytes =
        pair->bytes;
    pair->now.data = calloc(1, (size_t)pair->bytes + 1);
    pair->next.data = calloc(1, (size_t)pair->bytes + 1);
    pair->initial.data = calloc(1, (size_t)pair->bytes + 1);
    if (!pair->now.data || !pair->next.data || !pair->initial.data)
        return weir__loop_no_memory();
    if (initial) {
        memcpy(pair->initial.data, initial->data, (size_t)pair->bytes);
        memcpy(pair->now.data, initial->data, (size_t)pair->bytes);
    }
    return NULL;
}

weir_status_t weir_state_create(weir_scheduler_t *scheduler, const char *model,
    const weir_state_options_t *options, weir_state_t **out_state)
{
    if (!options || options->size < sizeof *options || !options->pair_count || !options->pairs)
        return WEIR_FAIL(
            WEIR_INVALID_ARGUMENT, "a state has at least one pair of an input and an output");
    weir__served_t *served = weir__served_find(scheduler, model);
    if (!served)
        return weir__served_unknown(scheduler, model);
    weir_state_t *state = calloc(1, sizeof *state);
    if (!state) {
        weir__served_unpin(served);
        return weir__loop_no_memory();
    }
    state->scheduler = scheduler;
    state->served = served;
    state->first = state->last = WEIR__NO_INDEX;
    atomic_init(&state->references, 1);
    state->pairs = calloc(options->pair_count, sizeof *state->pairs);
    weir_status_t status = state->pairs ? NULL : weir__loop_no_memory();
    for (uint32_t i = 0; i < options->pair_count && !status; i++) {
        state->pair_count = i + 1;
        status = make_pair(served, &options->pairs[i],
            options->initial ? &options->initial[i] : NULL, state->pairs, &state->pairs[i]);
    }
    if (status)
        drop_reference(state);
    else
        *out_state = state;
    return status;
}

// ---- The order of its requests; the loop -------------------------------------------------------

bool weir__state_enter(weir_scheduler_t *scheduler, weir_state_t *state, uint32_t slot)
{
    // Who waits already goes first, also between the end of one and the start of the next.
    if (!state->busy && state->first == WEIR__NO_INDEX) {
        state->busy = true;
        return true;
    }
    scheduler->slots[slot].next_held = WEIR__NO_INDEX;
    if (state->first == WEIR__NO_INDEX)
        state->first = slot;
    else
        scheduler->slots[state->last].next_held = slot;
    state->last = slot;
    return false;
}

bool weir__state_fits(const weir_state_t *state, uint32_t index)
{
    for (uint32_t i = 0; i < state->pair_count; i++) {
        const weir_value_t *now = &state->pairs[i].now, *next = &state->pairs[i].next;
        if (state->pairs[i].output == index &&
            (now->rank != next->rank ||
                memcmp(now->dims, next->dims, now->rank * sizeof now->dims[0]) != 0))
            return false;
    }
    return true;
}

void weir__state_leave(weir_scheduler_t *scheduler, weir_state_t *state, bool moved)
{
    for (uint32_t i = 0; i < state->pair_count && moved; i++) {
        void *data = state->pairs[i].now.data;
        state->pairs[i].now.data = state->pairs[i].next.data;
        state->pairs[i].next.data = data;
    }
    state->busy = false;
    if (state->first == WEIR__NO_INDEX || state->is_ready)
        return;
    // The list has a reference of its own: the request that waits may be cancelled first.
    atomic_fetch_add(&state->references, 1);
    state->is_ready = true;
    state->next_ready = scheduler->ready_states;
    scheduler->ready_states = state;
}

uint32_t weir__state_next(weir_scheduler_t *scheduler)
{
    while (scheduler->ready_states) {
        weir_state_t *state = scheduler->ready_states;
        scheduler->ready_states = state->next_ready;
        state->is_ready = false;
        uint32_t slot = state->first;
        bool may = slot != WEIR__NO_INDEX && !state->busy; // cancelled, and others came
        if (may) {
            state->first = scheduler->slots[slot].next_held;
            state->busy = true;
        }
        drop_reference(state);
        if (may)
            return slot;
    }
    return WEIR__NO_INDEX;
}

void weir__state_drop(weir_scheduler_t *scheduler, weir_state_t *state, uint32_t slot)
{
    uint32_t before = WEIR__NO_INDEX, at = state->first;
    while (at != WEIR__NO_INDEX && at != slot) {
        before = at;
        at = scheduler->slots[at].next_held;
    }
    if (at == WEIR__NO_INDEX)
        return;
    uint32_t next = scheduler->slots[slot].next_held;
    if (before == WEIR__NO_INDEX)
        state->first = next;
    else
        scheduler->slots[before].next_held = next;
    if (state->last == slot)
        state->last = before;
}
