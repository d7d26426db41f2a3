// engine/exec/bind.c: a specialization's tensors at the addresses of one session.
#include "engine/exec/session.h"

#include "engine/base/size.h"
#include <string.h>

void *weir__slot_data(
    const weir_session_t *session, const weir__slot_t *slot, const weir_value_t *inputs)
{
    switch (slot->root->kind) {
    case WEIR__SLOT_ARENA:
        return session->arena + slot->root->offset;
    case WEIR__SLOT_INPUT:
        return inputs ? inputs[slot->root->input].data : NULL;
    case WEIR__SLOT_CONSTANT:
        return (void *)(uintptr_t)slot->data;
    case WEIR__SLOT_ABSENT:
        break;
    }
    return NULL;
}

// The arena keeps what is in it: a child grows it in the middle of a run.
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
        if (session->arena_bytes)
            memcpy(arena, session->arena, session->arena_bytes);
        weir__heap_free(heap, session->arena);
        session->arena = arena;
        session->arena_bytes = bytes;
    }
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

static void fill(weir_session_t *session, weir__bound_t *bound)
{
    bound->arena = session->arena;
    bound->patch_count = 0;
    for (uint32_t s = 0; s < bound->spec->step_count; s++) {
        const weir__step_t *step = &bound->spec->steps[s];
        for (uint32_t i = 0; i < step->slot_count; i++) {
            const weir__slot_t *slot = step->slots[i];
            uint32_t at = step->first_tensor + i;
            if (step->slice) {
                bound->bindings[at] = (weir_binding_t){
                    .pointer = weir__slot_data(session, slot, NULL), .bytes = slot->bytes};
                continue;
            }
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
    if (!bound->tensors || !bound->bindings || !bound->patches)
        return weir__status_no_memory();
    fill(session, bound);
    return NULL;
}

void weir__unbind(weir_session_t *session, weir__bound_t *bound)
{
    weir__heap_t *heap = &session->runtime->heap;
    weir__heap_free(heap, bound->tensors);
    weir__heap_free(heap, bound->bindings);
    weir__heap_free(heap, bound->patches);
    weir__spec_release(bound->spec);
    memset(bound, 0, sizeof *bound);
}

void weir__bind_inputs(weir_session_t *session, weir__bound_t *bound, const weir_value_t *inputs)
{
    if (bound->arena != session->arena) // another shape made the arena grow
        fill(session, bound);
    for (uint32_t i = 0; i < bound->patch_count; i++)
        bound->tensors[bound->patches[i].tensor].data = inputs[bound->patches[i].input].data;
}
