// engine/exec/bind.c: a specialization's tensors at the addresses of one session.
#include "engine/exec/session.h"

#include "engine/base/size.h"
#include <string.h>

void *weir__slot_data(
    const weir_session_t *session, const weir__slot_t *slot, const weir_value_t *inputs)
{
    const weir__slot_t *root = slot->root;
    const weir__made_t *staging;
    switch (root->kind) {
    case WEIR__SLOT_ARENA:
        return root->place == WEIR__HOST ? session->arena + root->offset + slot->shift : NULL;
    case WEIR__SLOT_STAGED:
        staging = session->lanes->lanes[root->lane].staging[root->depth].memory;
        return staging ? (char *)staging->pointer + root->offset : NULL;
    case WEIR__SLOT_INPUT:
        return inputs ? inputs[slot->root->input].data : NULL;
    case WEIR__SLOT_CONSTANT:
        return (void *)(uintptr_t)slot->data;
    case WEIR__SLOT_ABSENT:
        break;
    }
    return NULL;
}

// The same for a device: an address, or a place in a buffer of its own.
static weir_binding_t slot_binding(const weir_session_t *session, const weir__slot_t *slot)
{
    if (!slot)
        return (weir_binding_t){.bytes = 0};
    const weir__slot_t *root = slot->root;
    const weir__lanes_t *lanes = session->lanes;
    if (root->kind == WEIR__SLOT_STAGED)
        return weir__made_binding(
            lanes->lanes[root->lane].staging[root->depth].memory, root->offset, slot->bytes);
    if (root->place == WEIR__HOST)
        return (weir_binding_t){
            .pointer = weir__slot_data(session, slot, NULL), .bytes = slot->bytes};
    const weir__lane_t *lane = &lanes->lanes[root->place - 1];
    if (root->kind == WEIR__SLOT_ARENA)
        return weir__made_binding(lane->arena[root->depth].memory, root->offset, slot->bytes);
    if (root->offset == WEIR__NOT_RESIDENT) // the program has a copy of its own
        return (weir_binding_t){.bytes = 0};
    return weir__made_binding(
        session->plan->devices[root->place - 1].constants, root->offset, slot->bytes);
}

// Where a copy in `lane` starts: perhaps in the memory of another device.
static weir_binding_t source_binding(
    const weir_session_t *session, uint32_t lane, const weir__slot_t *from)
{
    uint32_t peer = from->root->place - 1;
    if (from->root->place == WEIR__HOST || peer == lane ||
        session->plan->edges[lane][peer] != WEIR_EDGE_IMPORT)
        return slot_binding(session, from);
    return weir__made_binding(weir__lane_imported(session->lanes, lane, peer, from->root->depth),
        from->root->offset, from->bytes);
}

// Of a launch: the memory that its nodes work in beside their tensors.
static weir_binding_t scratch_binding(
    const weir_session_t *session, const weir__spec_t *spec, const weir__step_t *step)
{
    const weir__lane_t *lane = &session->lanes->lanes[step->lane];
    if (lane->own_memory)
        return weir__made_binding(
            lane->arena[spec->depth].memory, step->shared_offset, step->shared_bytes);
    if (!step->shared_bytes)
        return (weir_binding_t){.bytes = 0};
    return (weir_binding_t){
        .pointer = session->arena + step->shared_offset, .bytes = step->shared_bytes};
}

static void withdraw_replays(weir_session_t *session, const weir__bound_t *bound)
{
    for (uint32_t i = 0; bound->replays && i < bound->spec->launch_count; i++)
        weir__replay_withdraw(session->runtime->recorder, &bound->replays[i]);
}

void weir__withdraw_replays(weir_session_t *session)
{
    for (uint32_t i = 0; i < session->bound_count; i++)
        withdraw_replays(session, &session->bounds[i]);
    for (uint32_t i = 0; i < WEIR__CHAIN_MAX; i++)
        withdraw_replays(session, &session->children[i]);
}

// Is there less memory on a device than the specialization needs?
static bool moves(const weir_session_t *session, const weir__spec_t *spec)
{
    for (uint32_t i = 0; session->lanes && i < session->lanes->count; i++) {
        const weir__lane_t *lane = &session->lanes->lanes[i];
        if (spec->needs[i].arena_bytes > lane->arena[spec->depth].bytes ||
            spec->needs[i].staging_bytes > lane->staging[spec->depth].bytes)
            return true;
    }
    return false;
}

// For a child, which grows it in the middle of a run, the arena keeps what is in it.
static weir_status_t grow_memory(weir_session_t *session, const weir__spec_t *spec)
{
    weir__heap_t *heap = &session->runtime->heap;
    if (spec->arena_bytes > session->arena_bytes || !session->arena) {
        uint64_t bytes = WEIR_MAX(spec->arena_bytes, 64);
        char *arena = weir__heap_alloc(heap, bytes);
        if (!arena)
            return WEIR_ERR(WEIR_RESOURCE_EXHAUSTED,
                "no memory for the session's arena of %llu bytes: send smaller inputs or raise "
                "limits.peak_bytes",
                (unsigned long long)bytes);
        if (session->arena_bytes && spec->depth)
            memcpy(arena, session->arena, session->arena_bytes);
        weir__heap_free(heap, session->arena);
        session->arena = arena;
        session->arena_bytes = bytes;
        session->epoch++;
    }
    bool changed = false;
    weir_status_t status = NULL;
    if (moves(session, spec))
        weir__withdraw_replays(session);
    for (uint32_t i = 0; session->lanes && i < session->lanes->count && !status; i++)
        status = weir__lane_grow(session->lanes, i, spec->depth, &spec->needs[i], &changed);
    session->epoch += changed; // also when only a part of it was there to be had
    if (status)
        return status;
    uint64_t scratch;
    if (!weir__mul_u64(spec->scratch_bytes, session->threads, &scratch))
        return weir__status_no_memory();
    if (scratch > session->scratch_bytes) {
        // The old block stays until there is a new one: shapes that were bound before still run.
        char *grown = weir__heap_alloc(heap, scratch);
        if (!grown)
            return weir__status_no_memory();
        weir__heap_free(heap, session->scratch);
        session->scratch = grown;
        session->scratch_bytes = scratch;
    }
    session->info.arena_bytes = session->arena_bytes + session->scratch_bytes;
    return NULL;
}

static uint32_t count_inputs(const weir__spec_t *spec)
{
    uint32_t count = 0;
    for (uint32_t s = 0; s < spec->step_count; s++)
        for (uint32_t i = 0; i < spec->steps[s].slot_count; i++)
            count +=
                spec->steps[s].slots[i] && spec->steps[s].slots[i]->root->kind == WEIR__SLOT_INPUT;
    return count;
}

static void fill_kernel(weir_session_t *session, weir__bound_t *bound, const weir__step_t *step)
{
    for (uint32_t i = 0; i < step->slot_count; i++) {
        const weir__slot_t *slot = step->slots[i];
        uint32_t at = step->first_tensor + i;
        const weir_tensor_t *view = i < step->view.input_count
                                        ? &step->view.inputs[i]
                                        : &step->view.outputs[i - step->view.input_count];
        bound->tensors[at] = *view;
        if (slot && !view->data)
            bound->tensors[at].data = weir__slot_data(session, slot, NULL);
        if (slot && slot->root->kind == WEIR__SLOT_INPUT)
            bound->patches[bound->patch_count++] =
                (weir__patch_t){.tensor = at, .input = slot->root->input};
    }
}

static void fill_device(weir_session_t *session, weir__bound_t *bound, const weir__step_t *step)
{
    for (uint32_t i = 0; i < step->slot_count; i++)
        bound->bindings[step->first_tensor + i] = slot_binding(session, step->slots[i]);
    if (step->kind == WEIR__STEP_LAUNCH)
        bound->bindings[step->first_tensor + step->slot_count] =
            scratch_binding(session, bound->spec, step);
    uint32_t region = step->first_region;
    for (const weir__copy_t *copy = step->copies; copy; copy = copy->next)
        if (copy->to->bytes)
            bound->regions[region++] =
                (weir_copy_region_t){.from = source_binding(session, step->lane, copy->from),
                    .to = slot_binding(session, copy->to)};
}

// Memory of other devices that copies read.
static weir_status_t import_peers(weir_session_t *session, const weir__spec_t *spec)
{
    for (uint32_t s = 0; s < spec->step_count; s++)
        for (const weir__copy_t *copy = spec->steps[s].copies; copy; copy = copy->next) {
            const weir__slot_t *root = copy->from->root;
            uint32_t lane = spec->steps[s].lane;
            if (root->place != WEIR__HOST && root->place - 1 != lane &&
                spec->plan->edges[lane][root->place - 1] == WEIR_EDGE_IMPORT)
                WEIR_TRY(weir__lane_import(session->lanes, lane, root->place - 1, root->depth));
        }
    return NULL;
}

static weir_status_t fill(weir_session_t *session, weir__bound_t *bound)
{
    WEIR_TRY(import_peers(session, bound->spec));
    bound->epoch = session->epoch;
    bound->patch_count = 0;
    for (uint32_t s = 0; s < bound->spec->step_count; s++)
        if (bound->spec->steps[s].kind == WEIR__STEP_KERNEL)
            fill_kernel(session, bound, &bound->spec->steps[s]);
        else
            fill_device(session, bound, &bound->spec->steps[s]);
    return NULL;
}

// What a device that replays launches needs to have them recorded.
static weir_status_t make_replays(weir_session_t *session, weir__bound_t *bound)
{
    weir__heap_t *heap = &session->runtime->heap;
    const weir__spec_t *spec = bound->spec;
    bound->replays = weir__heap_calloc(heap, spec->launch_count, sizeof *bound->replays);
    if (!bound->replays)
        return weir__status_no_memory();
    for (uint32_t s = 0; s < spec->step_count; s++) {
        const weir__step_t *step = &spec->steps[s];
        if (step->kind != WEIR__STEP_LAUNCH || step->parts ||
            step->slice->replay == WEIR_REPLAY_NONE || !step->plugin->device.record)
            continue;
        weir__replay_t *replay = &bound->replays[step->launch];
        replay->opened = session->lanes->lanes[step->lane].opened;
        replay->specialization = weir__made_handle(step->specialization);
        replay->binding_count = step->slot_count + 1;
        replay->bindings = weir__heap_calloc(heap, replay->binding_count, sizeof *replay->bindings);
        if (!replay->bindings)
            return weir__status_no_memory();
    }
    return NULL;
}

weir_status_t weir__bind(weir_session_t *session, weir__spec_t *spec, weir__bound_t *bound)
{
    weir__heap_t *heap = &session->runtime->heap;
    memset(bound, 0, sizeof *bound);
    bound->spec = spec;
    WEIR_TRY(grow_memory(session, spec));
    bound->tensors = weir__heap_calloc(heap, spec->tensor_count, sizeof *bound->tensors);
    bound->bindings = weir__heap_calloc(heap, spec->binding_count, sizeof *bound->bindings);
    bound->patches = weir__heap_calloc(heap, count_inputs(spec), sizeof *bound->patches);
    bound->regions = weir__heap_calloc(heap, spec->region_count, sizeof *bound->regions);
    if (!bound->tensors || !bound->bindings || !bound->patches || !bound->regions)
        return weir__status_no_memory();
    WEIR_TRY(make_replays(session, bound));
    return fill(session, bound);
}

void weir__unbind(weir_session_t *session, weir__bound_t *bound)
{
    weir__heap_t *heap = &session->runtime->heap;
    for (uint32_t i = 0; bound->replays && i < bound->spec->launch_count; i++)
        weir__replay_end(session->runtime->recorder, &bound->replays[i]);
    weir__heap_free(heap, bound->replays);
    weir__heap_free(heap, bound->tensors);
    weir__heap_free(heap, bound->bindings);
    weir__heap_free(heap, bound->patches);
    weir__heap_free(heap, bound->regions);
    weir__spec_release(bound->spec);
    memset(bound, 0, sizeof *bound);
}

weir_status_t weir__bind_inputs(
    weir_session_t *session, weir__bound_t *bound, const weir_value_t *inputs)
{
    if (bound->epoch != session->epoch) // another shape made the memory grow
        WEIR_TRY(fill(session, bound));
    for (uint32_t i = 0; i < bound->patch_count; i++)
        bound->tensors[bound->patches[i].tensor].data = inputs[bound->patches[i].input].data;
    return NULL;
}
