// engine/exec/slots.c: slots of values, in whatever place they lie.
#include "engine/exec/maker.h"

#include "engine/base/size.h"
#include <stddef.h>
#include <string.h>

static void fill_slot(
    weir__slot_t *slot, weir__slot_kind_t kind, const weir__type_t *type, uint32_t format)
{
    memset(slot, 0, offsetof(weir__slot_t, type));
    slot->kind = kind;
    slot->type.dtype = type->dtype;
    slot->type.rank = type->rank;
    if (type->rank > 0)
        memcpy(slot->type.dims, type->dims, (size_t)type->rank * sizeof type->dims[0]);
    slot->format = format;
    slot->root = slot;
    slot->made_by = UINT32_MAX;
    slot->first_step = UINT32_MAX;
    if (!weir__dims_count(type->dims, (uint32_t)type->rank, &slot->count) ||
        !weir__format_bytes(format, type->dims, (uint32_t)type->rank, type->dtype, &slot->bytes))
        slot->bytes = UINT64_MAX; // refused where its size is checked
}

weir__slot_t *weir__maker_new_slot(
    weir__maker_t *maker, weir__slot_kind_t kind, const weir__type_t *type, uint32_t format)
{
    weir__slot_t *slot = weir__zone_raw(&maker->spec->zone, sizeof *slot); // fill_slot() sets it
    if (!slot)
        return NULL;
    fill_slot(slot, kind, type, format);
    slot->depth = maker->spec->depth;
    return slot;
}

bool weir__slots_of_constants(
    const weir__graph_t *graph, weir__zone_t *zone, weir__slot_t **out_slots)
{
    for (uint32_t i = 0; i < graph->value_count; i++) {
        const weir__tensor_t *constant = graph->values[i].constant;
        if (!constant)
            continue;
        weir__type_t type = {.dtype = constant->dtype, .rank = (int32_t)constant->rank};
        memcpy(type.dims, constant->dims, constant->rank * sizeof type.dims[0]);
        out_slots[i] = weir__zone_alloc(zone, sizeof *out_slots[i]);
        if (!out_slots[i])
            return false;
        fill_slot(out_slots[i], WEIR__SLOT_CONSTANT, &type, 0);
        out_slots[i]->data = constant->data;
        out_slots[i]->known = constant;
    }
    return true;
}

weir__slot_t *weir__maker_slot_of(weir__maker_t *maker, uint32_t value)
{
    return maker->spec->slot_of_value[value];
}

weir_status_t weir__maker_no_slot(const weir__maker_t *maker, uint32_t value, const char *label)
{
    uint32_t original = weir__plan_original(maker->plan, value);
    return WEIR_ERR(
        WEIR_INTERNAL, "%s: value \"%s\" was not made", label, maker->graph->values[original].name);
}

weir__slot_t *weir__maker_alias(
    weir__maker_t *maker, const weir__slot_t *input, const weir__type_t *type, uint32_t format)
{
    weir__slot_t *slot = weir__maker_new_slot(maker, input->kind, type, format);
    if (slot) {
        slot->root = input->root;
        slot->shift = input->shift;
        slot->place = input->place;
        slot->depth = input->depth;
        slot->lane = input->lane;
        slot->data = input->data;
        slot->input = input->input;
    }
    return slot;
}

weir__slot_t *weir__maker_copy_in(const weir__maker_t *maker, uint32_t place, uint32_t value)
{
    uint64_t count = weir__plan_value_count(maker->plan);
    return maker->spec->copies ? maker->spec->copies[place * count + value] : NULL;
}

void weir__maker_set_copy(weir__maker_t *maker, uint32_t place, uint32_t value, weir__slot_t *slot)
{
    uint64_t count = weir__plan_value_count(maker->plan);
    maker->spec->copies[place * count + value] = slot;
}

weir_tensor_t weir__slot_tensor(const weir__slot_t *slot)
{
    if (!slot)
        return (weir_tensor_t){.dtype = 0};
    return (weir_tensor_t){.data = (void *)(uintptr_t)slot->data,
        .bytes = slot->bytes,
        .element_count = slot->count,
        .dims = slot->type.dims,
        .dtype = slot->type.dtype,
        .rank = (uint32_t)slot->type.rank,
        .format = slot->format,
        .flags = slot->kind == WEIR__SLOT_CONSTANT ? WEIR_TENSOR_CONSTANT : 0};
}
