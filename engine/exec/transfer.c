// engine/exec/transfer.c: values on their way between the host and the memory of devices.
//
// A copy to the host is part of the launch that makes the value, however much later somebody turns
// out to need it, so that it is under way as early as it can be; the wait stands right before the
// first step that reads it. What a device is given it does in order, so nothing else is waited for.
// Each copy has a place of its own in the staging memory: it is read and written by the host while
// other copies are under way.
#include "engine/exec/maker.h"

#include "engine/base/size.h"

#define ALIGNMENT 64

static weir_status_t staged_slot(
    weir__maker_t *maker, uint32_t lane, const weir__slot_t *like, weir__slot_t **out_slot)
{
    weir__need_t *need = &maker->spec->needs[lane];
    weir__slot_t *slot = weir__maker_new_slot(maker, WEIR__SLOT_STAGED, &like->type, like->format);
    if (!slot)
        return weir__status_no_memory();
    slot->lane = lane;
    slot->offset = need->staging_bytes;
    slot->placed = true;
    uint64_t end;
    if (!weir__add_u64(slot->offset, slot->bytes, &end) ||
        !weir__align_u64(end, ALIGNMENT, &need->staging_bytes))
        return weir__status_no_memory();
    *out_slot = slot;
    return NULL;
}

static weir__copy_t *new_copy(
    weir__maker_t *maker, weir__slot_t *from, weir__slot_t *to, weir__slot_t *source)
{
    weir__copy_t *copy = weir__zone_alloc(&maker->spec->zone, sizeof *copy);
    if (copy)
        *copy = (weir__copy_t){.from = from, .to = to, .source = source};
    return copy;
}

weir_status_t weir__maker_copy_step(weir__maker_t *maker, uint32_t lane, weir__copy_t *copies)
{
    if (!copies)
        return NULL;
    weir__step_t *step = weir__maker_new_step(maker, WEIR__STEP_COPY);
    if (!step)
        return weir__status_no_memory();
    step->lane = lane;
    step->copies = copies;
    maker->spec->needs[lane].used = true;
    return NULL;
}

// ---- Waiting -----------------------------------------------------------------------------------

// target: a step of this specialization, or UINT32_MAX: what its parents gave the device.
static weir_status_t wait_for(weir__maker_t *maker, uint32_t lane, uint32_t target)
{
    int64_t wanted = target == UINT32_MAX ? 0 : (int64_t)target + 1;
    if (maker->awaited[lane] >= wanted)
        return NULL;
    weir__step_t *step = weir__maker_new_step(maker, WEIR__STEP_WAIT);
    if (!step)
        return weir__status_no_memory();
    step->lane = lane;
    step->target = target;
    maker->awaited[lane] = wanted;
    return NULL;
}

static weir_status_t wait_for_slot(weir__maker_t *maker, uint32_t lane, const weir__slot_t *root)
{
    return wait_for(maker, lane, root->depth == maker->spec->depth ? root->made_by : UINT32_MAX);
}

weir_status_t weir__maker_wait_for_all(weir__maker_t *maker)
{
    weir__spec_t *spec = maker->spec;
    for (uint32_t lane = 0; lane < maker->plan->device_count; lane++) {
        uint32_t last = UINT32_MAX; // what the device was given last
        for (uint32_t s = 0; s < spec->step_count; s++)
            if (spec->steps[s].kind != WEIR__STEP_KERNEL &&
                spec->steps[s].kind != WEIR__STEP_WAIT && spec->steps[s].lane == lane)
                last = s;
        if (spec->needs[lane].used && maker->plan->devices[lane].own_memory)
            WEIR_TRY(wait_for(maker, lane, last));
    }
    return NULL;
}

// ---- To the host -------------------------------------------------------------------------------

static weir_status_t download(
    weir__maker_t *maker, uint32_t value, weir__slot_t *from, weir__slot_t **out_slot)
{
    weir__spec_t *spec = maker->spec;
    uint32_t lane = from->place - 1;
    WEIR_TRY(staged_slot(maker, lane, from, out_slot));
    weir__copy_t *copy = new_copy(maker, from, *out_slot, NULL);
    if (!copy)
        return weir__status_no_memory();
    weir__maker_set_copy(maker, WEIR__HOST, value, *out_slot);
    if (from->root->depth != spec->depth) {
        (*out_slot)->made_by = spec->step_count;
        return weir__maker_copy_step(maker, lane, copy);
    }
    weir__step_t *launch = &spec->steps[from->root->made_by];
    (*out_slot)->made_by = from->root->made_by;
    copy->next = launch->copies;
    launch->copies = copy;
    return NULL;
}

weir_status_t weir__maker_host_slot(
    weir__maker_t *maker, uint32_t value, const char *label, weir__slot_t **out_slot)
{
    weir__slot_t *slot = weir__maker_slot_of(maker, value);
    if (!slot)
        return weir__maker_no_slot(maker, value, label);
    *out_slot = slot;
    if (slot->place == WEIR__HOST)
        return NULL;
    *out_slot = weir__maker_copy_in(maker, WEIR__HOST, value);
    if (!*out_slot)
        WEIR_TRY(download(maker, value, slot, out_slot));
    return wait_for_slot(maker, slot->place - 1, (*out_slot)->root);
}

// ---- To a device -------------------------------------------------------------------------------

// From the memory of another device, without the host. The copy is in another queue than what works
// there, so that the memory it reads must not be used again in this run.
static weir_status_t copy_from_peer(weir__maker_t *maker, uint32_t value, uint32_t lane,
    weir__slot_t *from, weir__copy_t **inout_copies, weir__slot_t **out_slot)
{
    WEIR_TRY(wait_for_slot(maker, from->place - 1, from->root));
    *out_slot = weir__maker_new_slot(maker, WEIR__SLOT_ARENA, &from->type, from->format);
    weir__copy_t *copy = *out_slot ? new_copy(maker, from, *out_slot, NULL) : NULL;
    if (!copy)
        return weir__status_no_memory();
    (*out_slot)->place = lane + 1;
    weir__maker_set_copy(maker, lane + 1, value, *out_slot);
    if (from->root->depth == maker->spec->depth)
        from->root->pinned = true;
    copy->next = *inout_copies;
    *inout_copies = copy;
    return NULL;
}

weir_status_t weir__maker_device_slot(weir__maker_t *maker, uint32_t value, uint32_t lane,
    weir__copy_t **inout_copies, weir__slot_t **out_slot)
{
    const char *name = maker->plan->devices[lane].opened->device->name;
    weir__slot_t *slot = weir__maker_slot_of(maker, value), *source, *staged;
    if (!slot)
        return weir__maker_no_slot(maker, value, name);
    *out_slot = slot->place == lane + 1 ? slot : weir__maker_copy_in(maker, lane + 1, value);
    if (*out_slot)
        return NULL;
    if (slot->place != WEIR__HOST && maker->plan->edges[lane][slot->place - 1] != WEIR_EDGE_STAGED)
        return copy_from_peer(maker, value, lane, slot, inout_copies, out_slot);
    WEIR_TRY(weir__maker_host_slot(maker, value, name, &source));
    WEIR_TRY(staged_slot(maker, lane, source, &staged));
    *out_slot = weir__maker_new_slot(maker, WEIR__SLOT_ARENA, &source->type, source->format);
    weir__copy_t *copy = *out_slot ? new_copy(maker, staged, *out_slot, source) : NULL;
    if (!copy)
        return weir__status_no_memory();
    (*out_slot)->place = lane + 1;
    weir__maker_set_copy(maker, lane + 1, value, *out_slot);
    copy->next = *inout_copies;
    *inout_copies = copy;
    return NULL;
}

// ---- Numbers -----------------------------------------------------------------------------------

static void number_copies(weir__spec_t *spec, weir__step_t *step)
{
    step->first_region = spec->region_count;
    for (const weir__copy_t *copy = step->copies; copy; copy = copy->next)
        step->region_count += copy->to->bytes > 0;
    spec->region_count += step->region_count;
    spec->needs[step->lane].points += step->region_count > 0;
}

void weir__maker_number(weir__maker_t *maker)
{
    weir__spec_t *spec = maker->spec;
    for (uint32_t s = 0; s < spec->step_count; s++) {
        weir__step_t *step = &spec->steps[s];
        if (step->kind == WEIR__STEP_KERNEL)
            continue;
        if (step->kind == WEIR__STEP_WAIT) {
            step->point = step->target == UINT32_MAX ? 0 : spec->steps[step->target].point;
            continue;
        }
        if (step->kind == WEIR__STEP_LAUNCH)
            spec->needs[step->lane].points += step->parts ? step->slice_view->node_count : 1;
        number_copies(spec, step);
        step->point = spec->needs[step->lane].points;
    }
}
