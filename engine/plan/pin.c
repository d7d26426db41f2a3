// engine/plan/pin.c: placement by request, "origin=device;origin=device".
//
// A pin names an ONNX node, as origins do; it holds the whole unit with that node. Must not guess:
// a pin that cannot be met is an error.
#include "engine/plan/place.h"

#include <string.h>

static weir_status_t find_device(
    const weir__placer_t *placer, const char *name, size_t length, uint32_t *out_device)
{
    const weir__placement_t *placement = placer->placement;
    weir__device_t *device;
    WEIR_TRY(weir__registry_device(&placer->plan->runtime->registry, name, length, &device));
    for (uint32_t d = 0; d < placement->device_count; d++)
        if (placement->devices[d] == device) {
            *out_device = d;
            return NULL;
        }
    return WEIR_ERR(WEIR_INVALID_ARGUMENT,
        "placement: device \"%s\" is not among the devices of this plan; add it to them",
        device->name);
}

static weir_status_t read_pin(weir__placer_t *placer, const char *text, size_t length)
{
    size_t equals = length;
    while (equals > 0 && text[equals - 1] != '=') // names of nodes may hold one, devices do not
        equals--;
    if (equals < 2 || equals == length)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "placement: \"%.*s\" is not NODE=DEVICE",
            (int)WEIR_MIN(length, 200), text);
    weir__pin_t *pin = &placer->pins[placer->pin_count];
    pin->origin = weir__zone_string(&placer->plan->zone, text, equals - 1);
    if (!pin->origin)
        return weir__status_no_memory();
    WEIR_TRY(find_device(placer, text + equals, length - equals, &pin->device));
    uint32_t other;
    if (weir__map_get(&placer->pin_names, pin->origin, &other))
        return WEIR_ERR(
            WEIR_INVALID_ARGUMENT, "placement: node \"%s\" is placed twice", pin->origin);
    return weir__map_put(&placer->pin_names, pin->origin, placer->pin_count++)
               ? NULL
               : weir__status_no_memory();
}

weir_status_t weir__pins_read(weir__placer_t *placer, const char *text)
{
    uint32_t most = 1;
    for (const char *at = text; at && *at; at++)
        most += *at == ';';
    placer->pins = weir__zone_array(&placer->plan->zone, most, sizeof *placer->pins);
    if (!placer->pins)
        return weir__status_no_memory();
    while (text && *text) {
        size_t length = strcspn(text, ";");
        if (length)
            WEIR_TRY(read_pin(placer, text, length));
        text += length + (text[length] == ';');
    }
    return NULL;
}

weir_status_t weir__pins_find(
    weir__placer_t *placer, const uint32_t *nodes, uint32_t count, uint32_t *out_device)
{
    const weir__pin_t *found = NULL;
    *out_device = UINT32_MAX;
    for (uint32_t n = 0; n < count && placer->pin_count; n++) {
        const weir__node_t *node = &placer->plan->model->graph->nodes[nodes[n]];
        for (uint32_t i = 0; i < node->origin_count; i++) {
            uint32_t number;
            if (!weir__map_get(&placer->pin_names, node->origins[i], &number))
                continue;
            weir__pin_t *pin = &placer->pins[number];
            pin->is_used = true;
            if (found && found->device != pin->device)
                return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                    "placement: nodes \"%s\" and \"%s\" are fused, so they cannot run on %s and "
                    "%s; place one of them",
                    found->origin, pin->origin, placer->placement->devices[found->device]->name,
                    placer->placement->devices[pin->device]->name);
            found = pin;
        }
    }
    if (found)
        *out_device = found->device;
    return NULL;
}

weir_status_t weir__pins_check(const weir__placer_t *placer)
{
    for (uint32_t i = 0; i < placer->pin_count; i++)
        if (!placer->pins[i].is_used)
            return WEIR_ERR(WEIR_NOT_FOUND,
                "placement: nothing that a device runs stands for node \"%s\": there is no node of "
                "that name, or it was folded away, is a view, arithmetic on sizes or control flow "
                "(weir explain shows the nodes)",
                placer->pins[i].origin);
    return NULL;
}
