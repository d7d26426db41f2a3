// engine/exec/maker.h: between the parts of making a specialization.
#ifndef WEIR_EXEC_MAKER_H
#define WEIR_EXEC_MAKER_H

#include "engine/exec/spec.h"

typedef struct weir__maker {
    weir__spec_t *spec;
    weir_plan_t *plan;
    const weir__graph_t *graph;
    // Per device: it has been waited for up to this many steps. -1: not even for what parents gave
    // it.
    int64_t awaited[WEIR__PLAN_DEVICES_MAX];
} weir__maker_t;

// ---- slots.c: where values lie -----------------------------------------------------------------

weir__slot_t *weir__maker_new_slot(
    weir__maker_t *maker, weir__slot_kind_t kind, const weir__type_t *type, uint32_t format);
// The slot of a value that a node reads, wherever it lies; NULL: see no_slot.
weir__slot_t *weir__maker_slot_of(weir__maker_t *maker, uint32_t value);
// What to say when slot_of() gave none: nothing made the value.
weir_status_t weir__maker_no_slot(const weir__maker_t *maker, uint32_t value, const char *label);
// A slot of `type` that shares the memory of `input`; NULL: no memory.
weir__slot_t *weir__maker_alias(
    weir__maker_t *maker, const weir__slot_t *input, const weir__type_t *type, uint32_t format);
// The copy of a value in a place; NULL: there is none.
weir__slot_t *weir__maker_copy_in(const weir__maker_t *maker, uint32_t place, uint32_t value);
void weir__maker_set_copy(weir__maker_t *maker, uint32_t place, uint32_t value, weir__slot_t *slot);
// Fills in a plugin's tensor; the slot stays where it is, so its dims can be borrowed.
weir_tensor_t weir__slot_tensor(const weir__slot_t *slot);

// ---- transfer.c: from place to place -----------------------------------------------------------

// The slot where the host can read the value in the step that comes next; makes it be copied and
// waited for where it lies with a device.
weir_status_t weir__maker_host_slot(
    weir__maker_t *maker, uint32_t value, const char *label, weir__slot_t **out_slot);
// The slot where device `lane` can read the value in the launch that comes next; copies that are
// needed for that are put before *inout_copies.
weir_status_t weir__maker_device_slot(weir__maker_t *maker, uint32_t value, uint32_t lane,
    weir__copy_t **inout_copies, weir__slot_t **out_slot);
// A step that makes these copies. NULL: none.
weir_status_t weir__maker_copy_step(weir__maker_t *maker, uint32_t lane, weir__copy_t *copies);
// Waits for all that the devices were given: the end of a run.
weir_status_t weir__maker_wait_for_all(weir__maker_t *maker);
// Numbers the operations of all steps; after the walk.
void weir__maker_number(weir__maker_t *maker);

// ---- steps.c: what is run ----------------------------------------------------------------------

weir__step_t *weir__maker_new_step(weir__maker_t *maker, weir__step_kind_t kind);
// slots: of the inputs, NULL for absent ones; outputs are those of the values.
weir_status_t weir__maker_kernel_step(
    weir__maker_t *maker, const weir__plan_node_t *node, weir__slot_t *const *inputs);
weir_status_t weir__maker_launch(weir__maker_t *maker, const weir__plan_slice_t *slice);

#endif
