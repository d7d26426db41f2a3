// engine/exec/spec.h: specializations: a plan's decisions for one tuple of concrete dims.
//
// Shape arithmetic is evaluated here, branches whose condition follows from dims are taken here,
// offsets in the arena are assigned and kernels prepared. Where a size or a condition depends on
// data, the specialization ends: its run reads the value and goes on with a *child* made for that
// value, which lays its tensors out behind its parent's. Immutable once made (children apart),
// shared by all sessions.
#ifndef WEIR_EXEC_SPEC_H
#define WEIR_EXEC_SPEC_H

#include "engine/plan/plan.h"
#include <weir/value.h>

typedef enum weir__slot_kind {
    WEIR__SLOT_ABSENT,   // an optional tensor that is not there
    WEIR__SLOT_ARENA,    // offset in the session's arena
    WEIR__SLOT_CONSTANT, // data of the model, of the plan, or worked out while specializing
    WEIR__SLOT_INPUT,    // the caller's memory
} weir__slot_kind_t;

// Where one value of the graph lies, and what is known of it.
typedef struct weir__slot {
    weir__slot_kind_t kind;
    weir__type_t type; // concrete
    uint32_t format;
    uint64_t count, bytes;
    struct weir__slot *root;        // whose memory it shares; itself when it has its own
    uint64_t offset;                // of a root in the arena
    const void *data;               // of a CONSTANT
    uint32_t input;                 // of an INPUT
    const weir__tensor_t *known;    // its contents, when they are known while specializing
    uint32_t first_step, last_step; // of a root: when its memory is in use
    bool pinned;                    // of a root: in use until the end
    bool placed;
} weir__slot_t;

typedef struct weir__step {
    const weir__plan_node_t *node; // NULL: a launch
    const weir_kernel_t *kernel;
    weir__plugin_t *plugin;
    void *state;
    weir_node_t view;     // concrete dims, no data but constants'
    weir__slot_t **slots; // of view.inputs, then of view.outputs; of a launch: per tensor
    uint32_t slot_count;
    uint32_t first_tensor; // where its tensors (bindings) start in a session's table
    weir_tasks_t tasks;
    uint32_t wide_phases;   // bit p: phase p is worth more than one thread
    uint64_t scratch_bytes; // per worker
    uint64_t shared_bytes, shared_offset;
    const weir__plan_slice_t *slice; // of a launch
    const weir_slice_t *slice_view;
    weir_handle_t specialization;
} weir__step_t;

#define WEIR__FRAMES_MAX 40

typedef struct weir__frame {
    const weir__plan_region_t *region;
    uint32_t next;                  // node that comes next
    const weir__plan_node_t *owner; // the If that opened it; NULL: the main graph
} weir__frame_t;

typedef struct weir__spec weir__spec_t;

struct weir__spec {
    atomic_uint references;
    weir_plan_t *plan;
    weir__zone_t zone;
    int64_t *key; // input ranks and dims; of a child: the bytes that were read
    uint64_t key_bytes;
    weir__slot_t **slot_of_value; // [weir__plan_value_count()]; NULL: not made yet
    weir__step_t *steps;
    uint32_t step_count, step_capacity;
    uint32_t tensor_count; // entries a session's table needs
    uint32_t binding_count;
    uint64_t arena_bytes;
    uint64_t scratch_bytes; // per worker
    // Where it ended: complete, or waiting for the contents of some values.
    bool complete;
    weir__frame_t frames[WEIR__FRAMES_MAX];
    uint32_t frame_count;
    uint32_t waits[32];
    uint32_t wait_count;
    weir__spec_t *children; // under the cache's lock; newest first
    uint32_t child_count;
    weir__spec_t *next; // in the cache's list, or among its parent's children
};

// Makes the specialization for these inputs (checked against the model already).
weir_status_t weir__spec_create(
    weir_plan_t *plan, const weir_value_t *inputs, weir__spec_t **out_spec);
// Goes on where `parent` ended; contents[i] are the bytes of value parent->waits[i].
weir_status_t weir__spec_create_child(
    weir__spec_t *parent, const void *const *contents, weir__spec_t **out_spec);
void weir__spec_retain(weir__spec_t *spec);
void weir__spec_release(weir__spec_t *spec); // NULL is allowed

// layout.c: assigns arena offsets to the slots of the steps.
weir_status_t weir__spec_layout(weir__spec_t *spec);

// ---- The plan's cache of specializations (spec_cache.c)
// --------------------------------------------

// The specialization for these inputs or, with a parent, for these contents, found or made; one
// reference. *out_made says which.
weir_status_t weir__spec_get(weir_plan_t *plan, const weir_value_t *inputs, weir__spec_t *parent,
    const void *const *contents, weir__spec_t **out_spec, bool *out_made);
uint32_t weir__spec_cache_count(weir_plan_t *plan);
weir_status_t weir__spec_cache_create(weir_plan_t *plan);
// Does the specialization fit these inputs?
bool weir__spec_fits(const weir__spec_t *spec, const weir_value_t *inputs);

#endif
