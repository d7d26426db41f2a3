// engine/exec/layout.c: offsets in the arena for the steps of a specialization.
//
// One pass in execution order over a list of free blocks, best fit: what a step writes is placed,
// what nobody reads after it is given back. An output takes over its input's memory where the
// kernel allows it. A specialization that is not complete keeps all it made, because what comes
// later may read any of it.
//
// Each place has an arena of its own and is laid out alone. A device does what it is given in
// order, so that memory whose last reader was launched is free for the next launch; where nodes run
// one after the other inside a launch, even for the next node.
#include "engine/exec/spec.h"

#include "engine/base/size.h"
#include <string.h>

#define ALIGNMENT 64
#define DEVICE_ALIGNMENT 256

typedef struct block {
    uint64_t offset, bytes;
} block_t;

typedef struct layout {
    weir__spec_t *spec;
    uint32_t place;
    uint64_t alignment;
    uint64_t *end;   // of the arena
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
    if (!weir__align_u64(WEIR_MAX(bytes, 1), layout->alignment, &bytes))
        return false;
    for (uint32_t i = 0; i < layout->block_count; i++)
        if (layout->blocks[i].bytes >= bytes &&
            (best == UINT32_MAX || layout->blocks[i].bytes < layout->blocks[best].bytes))
            best = i;
    if (best == UINT32_MAX) {
        // A free block at the very end is used as the beginning of the new room.
        uint64_t end = *layout->end;
        block_t *last = layout->block_count ? &layout->blocks[layout->block_count - 1] : NULL;
        bool grows = last && last->offset + last->bytes == end;
        *out_offset = grows ? last->offset : end;
        if (grows)
            layout->block_count--;
        return weir__add_u64(*out_offset, bytes, layout->end);
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
    if (!weir__align_u64(WEIR_MAX(bytes, 1), layout->alignment, &bytes))
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

// The root whose memory a slot needs in this specialization's part of an arena; NULL: none.
static weir__slot_t *own_root(const weir__slot_t *slot)
{
    return slot && slot->root->kind == WEIR__SLOT_ARENA && !slot->root->placed ? slot->root : NULL;
}

static void touch(const weir__spec_t *spec, const weir__slot_t *slot, uint32_t step)
{
    weir__slot_t *root = own_root(slot);
    if (!root)
        return;
    root->first_step = WEIR_MIN(root->first_step, step);
    root->last_step = step;
    root->pinned |= !spec->complete;
}

static void find_lifetimes(weir__spec_t *spec)
{
    for (uint32_t s = 0; s < spec->step_count; s++) {
        const weir__step_t *step = &spec->steps[s];
        for (uint32_t i = 0; i < step->slot_count; i++)
            touch(spec, step->slots[i], s);
        for (const weir__copy_t *copy = step->copies; copy; copy = copy->next) {
            touch(spec, copy->from, s);
            touch(spec, copy->to, s);
            touch(spec, copy->source, s);
            if (!copy->from->root->placed)
                copy->from->root->last_member = UINT32_MAX; // copied after the last node
        }
    }
    const weir__region_t *main = &spec->plan->model->graph->main;
    for (uint32_t i = 0; spec->complete && i < main->output_count; i++) {
        weir__slot_t *root = own_root(weir__spec_host_slot(spec, main->outputs[i]));
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
    if (step->kind != WEIR__STEP_KERNEL || !(step->kernel->head.flags & WEIR_KERNEL_INPLACE) ||
        step->view.output_count != 1)
        return NULL;
    const weir__slot_t *output = step->slots[step->view.input_count];
    if (output && output->root != output) // a part of something else
        return NULL;
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

static bool take_slot(layout_t *layout, const weir__slot_t *slot)
{
    weir__slot_t *root = own_root(slot);
    if (!root || root->place != layout->place)
        return true;
    root->placed = true;
    return take(layout, root->bytes, &root->offset);
}

// Gives back what nobody reads after this step (and, within a launch, after this member).
static bool end_slot(
    layout_t *layout, const weir__slot_t *slot, uint32_t number, uint32_t last_member)
{
    weir__slot_t *root = slot ? slot->root : NULL;
    if (!root || root->kind != WEIR__SLOT_ARENA || root->place != layout->place || root->pinned ||
        root->last_step != number || root->first_step == UINT32_MAX ||
        root->last_member > last_member)
        return true;
    root->first_step = UINT32_MAX; // given back once, however many slots share it
    return give_back(layout, root->offset, root->bytes);
}

static bool end_step(layout_t *layout, uint32_t number)
{
    const weir__step_t *step = &layout->spec->steps[number];
    bool placed = true;
    for (uint32_t i = 0; i < step->slot_count && placed; i++)
        placed = end_slot(layout, step->slots[i], number, UINT32_MAX);
    for (const weir__copy_t *copy = step->copies; copy && placed; copy = copy->next)
        placed = end_slot(layout, copy->from, number, UINT32_MAX) &&
                 end_slot(layout, copy->to, number, UINT32_MAX) &&
                 end_slot(layout, copy->source, number, UINT32_MAX);
    return placed;
}

static bool place_kernel(layout_t *layout, uint32_t number)
{
    weir__step_t *step = &layout->spec->steps[number];
    weir__slot_t *reused = find_in_place(layout->spec, number);
    bool placed = true;
    for (uint32_t i = 0; i < step->slot_count && placed; i++) {
        weir__slot_t *root = own_root(step->slots[i]);
        if (reused && root && i == step->view.input_count) {
            root->offset = reused->offset;
            root->placed = true;
            reused->first_step = UINT32_MAX; // its memory is no longer its own to give back
        } else {
            placed = take_slot(layout, step->slots[i]);
        }
    }
    if (step->shared_bytes && placed)
        placed = take(layout, step->shared_bytes, &step->shared_offset) &&
                 give_back(layout, step->shared_offset, step->shared_bytes);
    return placed;
}

// The slot of a member's i-th tensor, inputs first; NULL: it is absent.
static weir__slot_t *member_slot(const weir__step_t *step, uint32_t member, uint32_t i)
{
    const weir_slice_node_t *node = &step->slice_view->nodes[member];
    if (step->parts)
        return step->slots[step->parts[member].first_binding + i];
    uint32_t t =
        i < node->node.input_count ? node->inputs[i] : node->outputs[i - node->node.input_count];
    return t == UINT32_MAX ? NULL : step->slots[t];
}

static bool place_member(layout_t *layout, uint32_t number, uint32_t member, bool in_order)
{
    const weir__step_t *step = &layout->spec->steps[number];
    const weir_node_t *node = &step->slice_view->nodes[member].node;
    uint32_t count = node->input_count + node->output_count;
    bool placed = true;
    for (uint32_t i = 0; i < count && placed; i++)
        placed = take_slot(layout, member_slot(step, member, i));
    for (uint32_t i = 0; i < count && placed && in_order; i++)
        placed = end_slot(layout, member_slot(step, member, i), number, member);
    return placed;
}

// A device that was given kernels runs them in order; one that compiles nodes may not, so that all
// its tensors are there for the whole launch.
static bool place_launch(layout_t *layout, uint32_t number)
{
    weir__step_t *step = &layout->spec->steps[number];
    const weir_slice_t *view = step->slice_view;
    bool is_here = layout->spec->plan->devices[step->lane].own_memory
                       ? layout->place == step->lane + 1
                       : layout->place == WEIR__HOST;
    bool has_scratch = is_here && step->shared_bytes, placed = true;
    if (has_scratch)
        placed = take(layout, step->shared_bytes, &step->shared_offset);
    for (uint32_t n = 0; n < view->node_count && placed && is_here; n++)
        placed = place_member(layout, number, n, step->parts || view->nodes[n].kernel);
    if (has_scratch && placed)
        placed = give_back(layout, step->shared_offset, step->shared_bytes);
    return placed;
}

static bool place_step(layout_t *layout, uint32_t number)
{
    const weir__step_t *step = &layout->spec->steps[number];
    bool placed = true;
    if (step->kind == WEIR__STEP_KERNEL)
        placed = layout->place != WEIR__HOST || place_kernel(layout, number);
    else if (step->kind == WEIR__STEP_LAUNCH)
        placed = place_launch(layout, number);
    for (const weir__copy_t *copy = step->copies; copy && placed; copy = copy->next)
        placed = take_slot(layout, copy->to);
    return placed && end_step(layout, number);
}

static weir_status_t lay_out(weir__spec_t *spec, uint32_t place, uint64_t *end)
{
    weir__runtime_t *runtime = spec->plan->runtime;
    layout_t layout = {.spec = spec,
        .place = place,
        .alignment = place == WEIR__HOST ? ALIGNMENT : DEVICE_ALIGNMENT,
        .end = end};
    bool placed = true;
    const weir__region_t *main = &spec->plan->model->graph->main;
    for (uint32_t i = 0; i < main->input_count && placed; i++)
        placed = take_slot(&layout, spec->slot_of_value[main->inputs[i]]); // for the whole run
    for (uint32_t s = 0; s < spec->step_count && placed; s++)
        placed = place_step(&layout, s);
    weir__heap_free(&runtime->heap, layout.blocks);
    if (!placed)
        return weir__status_no_memory();
    if (*end > runtime->limits.arena_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "a run of these shapes needs an arena of %llu bytes, more than limits.arena_bytes "
            "(%llu)",
            (unsigned long long)*end, (unsigned long long)runtime->limits.arena_bytes);
    return NULL;
}

weir_status_t weir__spec_layout(weir__spec_t *spec)
{
    weir__spec_join(spec);
    find_lifetimes(spec);
    WEIR_TRY(lay_out(spec, WEIR__HOST, &spec->arena_bytes));
    for (uint32_t i = 0; i < spec->plan->device_count; i++)
        if (spec->plan->devices[i].own_memory)
            WEIR_TRY(lay_out(spec, i + 1, &spec->needs[i].arena_bytes));
    return NULL;
}
