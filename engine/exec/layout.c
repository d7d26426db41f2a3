// engine/exec/layout.c: offsets in the arena for the steps of a specialization.
//
// One pass in execution order over a list of free blocks, best fit: what a step writes is placed,
// what nobody reads after it is given back. An output takes over its input's memory where the
// kernel allows it. A specialization that is not complete keeps all it made, because what comes
// later may read any of it.
#include "engine/exec/spec.h"

#include "engine/base/size.h"
#include <string.h>

#define ALIGNMENT 64

typedef struct block {
    uint64_t offset, bytes;
} block_t;

typedef struct layout {
    weir__spec_t *spec;
    block_t *blocks; // free ones, by offset; none touches another
    uint32_t block_count, block_capacity;
} layout_t;

static void remove_block(layout_t *layout, uint32_t at)
{
    layout->block_count--;
    memmove(&layout->blocks[at], &layout->blocks[at + 1],
        (layout->block_count - at) * sizeof *layout->blocks);
}

static bool insert_block(layout_t *layout, uint32_t at, block_t block)
{
    if (layout->block_count == layout->block_capacity) {
        uint32_t capacity = layout->block_capacity ? layout->block_capacity * 2 : 64;
        block_t *blocks = weir__heap_realloc(
            &layout->spec->plan->runtime->heap, layout->blocks, capacity * sizeof *blocks);
        if (!blocks)
            return false;
        layout->blocks = blocks;
        layout->block_capacity = capacity;
    }
    memmove(&layout->blocks[at + 1], &layout->blocks[at],
        (layout->block_count - at) * sizeof *layout->blocks);
    layout->blocks[at] = block;
    layout->block_count++;
    return true;
}

// The smallest free block that fits, or the end of the arena. false: it would not fit in 64 bits.
static bool take(layout_t *layout, uint64_t bytes, uint64_t *out_offset)
{
    uint32_t best = UINT32_MAX;
    if (!weir__align_u64(WEIR_MAX(bytes, 1), ALIGNMENT, &bytes))
        return false;
    for (uint32_t i = 0; i < layout->block_count; i++)
        if (layout->blocks[i].bytes >= bytes &&
            (best == UINT32_MAX || layout->blocks[i].bytes < layout->blocks[best].bytes))
            best = i;
    if (best == UINT32_MAX) {
        // A free block at the very end is used as the beginning of the new room.
        uint64_t end = layout->spec->arena_bytes;
        block_t *last = layout->block_count ? &layout->blocks[layout->block_count - 1] : NULL;
        bool grows = last && last->offset + last->bytes == end;
        *out_offset = grows ? last->offset : end;
        if (grows)
            layout->block_count--;
        return weir__add_u64(*out_offset, bytes, &layout->spec->arena_bytes);
    }
    *out_offset = layout->blocks[best].offset;
    layout->blocks[best].offset += bytes;
    layout->blocks[best].bytes -= bytes;
    if (!layout->blocks[best].bytes)
        remove_block(layout, best);
    return true;
}

static bool give_back(layout_t *layout, uint64_t offset, uint64_t bytes)
{
    if (!weir__align_u64(WEIR_MAX(bytes, 1), ALIGNMENT, &bytes))
        return false;
    uint32_t at = 0;
    while (at < layout->block_count && layout->blocks[at].offset < offset)
        at++;
    block_t *before = at ? &layout->blocks[at - 1] : NULL;
    block_t *after = at < layout->block_count ? &layout->blocks[at] : NULL;
    bool joins_before = before && before->offset + before->bytes == offset;
    bool joins_after = after && offset + bytes == after->offset;
    if (joins_before) {
        before->bytes += bytes + (joins_after ? after->bytes : 0);
        if (joins_after)
            remove_block(layout, at);
    } else if (joins_after) {
        after->offset = offset;
        after->bytes += bytes;
    } else {
        return insert_block(layout, at, (block_t){.offset = offset, .bytes = bytes});
    }
    return true;
}

// ---- Lifetimes
// -------------------------------------------------------------------------------------

// The root whose memory a slot needs in this specialization's part of the arena; NULL: none.
static weir__slot_t *own_root(const weir__slot_t *slot)
{
    return slot && slot->root->kind == WEIR__SLOT_ARENA && !slot->root->placed ? slot->root : NULL;
}

static void find_lifetimes(weir__spec_t *spec)
{
    for (uint32_t s = 0; s < spec->step_count; s++)
        for (uint32_t i = 0; i < spec->steps[s].slot_count; i++) {
            weir__slot_t *root = own_root(spec->steps[s].slots[i]);
            if (!root)
                continue;
            root->first_step = WEIR_MIN(root->first_step, s);
            root->last_step = s;
            root->pinned |= !spec->complete;
        }
    const weir__region_t *main = &spec->plan->model->graph->main;
    for (uint32_t i = 0; spec->complete && i < main->output_count; i++) {
        weir__slot_t *root = own_root(spec->slot_of_value[main->outputs[i]]);
        if (root)
            root->pinned = true;
    }
}

// ---- In place
// --------------------------------------------------------------------------------------

// The input whose memory output 0 of a step may take over; NULL: none.
static weir__slot_t *find_in_place(const weir__spec_t *spec, uint32_t number)
{
    const weir__step_t *step = &spec->steps[number];
    if (!step->kernel || !(step->kernel->head.flags & WEIR_KERNEL_INPLACE) ||
        step->view.output_count != 1)
        return NULL;
    const weir__slot_t *output = step->slots[step->view.input_count];
    uint32_t inputs =
        step->view.body ? step->view.input_count : WEIR_MIN(step->view.input_count, 1u);
    for (uint32_t i = 0; i < inputs; i++) {
        weir__slot_t *input = step->slots[i];
        if (!input || input->root->kind != WEIR__SLOT_ARENA || input->root->pinned ||
            input->root->last_step != number || input->root->first_step == UINT32_MAX ||
            input->bytes != input->root->bytes || input->bytes != output->bytes ||
            input->type.rank != output->type.rank ||
            memcmp(input->type.dims, output->type.dims,
                (size_t)input->type.rank * sizeof input->type.dims[0]) != 0)
            continue;
        uint32_t uses = 0;
        for (uint32_t j = 0; j < step->view.input_count; j++)
            uses += step->slots[j] && step->slots[j]->root == input->root;
        if (uses == 1)
            return input->root;
    }
    return NULL;
}

// ---- The pass
// --------------------------------------------------------------------------------------

static bool place_step(layout_t *layout, uint32_t number)
{
    weir__step_t *step = &layout->spec->steps[number];
    weir__slot_t *reused = find_in_place(layout->spec, number);
    bool placed = true;
    for (uint32_t i = 0; i < step->slot_count && placed; i++) {
        weir__slot_t *root = own_root(step->slots[i]);
        if (!root)
            continue;
        if (reused && i == step->view.input_count) {
            root->offset = reused->offset;
            reused->first_step = UINT32_MAX; // its memory is no longer its own to give back
        } else {
            placed = take(layout, root->bytes, &root->offset);
        }
        root->placed = true;
    }
    if (step->shared_bytes && placed)
        placed = take(layout, step->shared_bytes, &step->shared_offset) &&
                 give_back(layout, step->shared_offset, step->shared_bytes);
    for (uint32_t i = 0; i < step->slot_count && placed; i++) {
        weir__slot_t *root = step->slots[i] ? step->slots[i]->root : NULL;
        if (!root || root->kind != WEIR__SLOT_ARENA || root->pinned || root->last_step != number ||
            root->first_step == UINT32_MAX)
            continue;
        placed = give_back(layout, root->offset, root->bytes);
        root->first_step = UINT32_MAX; // given back once, however many slots share it
    }
    return placed;
}

weir_status_t weir__spec_layout(weir__spec_t *spec)
{
    layout_t layout = {.spec = spec};
    weir__runtime_t *runtime = spec->plan->runtime;
    find_lifetimes(spec);
    bool placed = true;
    const weir__region_t *main = &spec->plan->model->graph->main;
    for (uint32_t i = 0; i < main->input_count && placed; i++) {
        weir__slot_t *root = own_root(spec->slot_of_value[main->inputs[i]]);
        if (root) // copied in for the whole run
            placed = root->placed = take(&layout, root->bytes, &root->offset);
    }
    for (uint32_t s = 0; s < spec->step_count && placed; s++)
        placed = place_step(&layout, s);
    weir__heap_free(&runtime->heap, layout.blocks);
    if (!placed)
        return weir__status_no_memory();
    if (spec->arena_bytes > runtime->limits.arena_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "a run of these shapes needs an arena of %llu bytes, more than limits.arena_bytes "
            "(%llu)",
            (unsigned long long)spec->arena_bytes, (unsigned long long)runtime->limits.arena_bytes);
    return NULL;
}
