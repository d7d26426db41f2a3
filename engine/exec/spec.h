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
    WEIR__SLOT_ARENA,    // offset in the session's arena, or in that of a device
    WEIR__SLOT_CONSTANT, // data of the model, of the plan, or worked out while specializing
    WEIR__SLOT_INPUT,    // the caller's memory
    WEIR__SLOT_STAGED, // offset in the staging memory of a device, which the host reads and writes
} weir__slot_kind_t;

#define WEIR__HOST 0u // a place; place k + 1 is the memory of plan->devices[k]

// Where one value of the graph lies, and what is known of it. A value that a device with memory of
// its own makes, or reads, has a slot for each place where it is needed.
typedef struct weir__slot {
    weir__slot_kind_t kind;
    uint32_t format;
    uint64_t count, bytes;
    struct weir__slot *root; // whose memory it shares; itself when it has its own
    uint64_t shift;          // where in it, in bytes: of a part that a Concat joins
    uint32_t place;
    uint32_t depth;                 // of the specialization that made it: which segment it is in
    uint32_t lane;                  // of a STAGED one: the device
    uint32_t made_by;               // of a root: the step after which a device has made it
    uint64_t offset;                // of a root in an arena, of a device's constant in their buffer
    const void *data;               // of a CONSTANT on the host
    uint32_t input;                 // of an INPUT
    const weir__tensor_t *known;    // its contents, when they are known while specializing
    uint32_t first_step, last_step; // of a root: when its memory is in use
    uint32_t last_member;           // in its last step, when that is a launch: the last to read it
    bool pinned;                    // of a root: in use until the end
    bool placed;
    weir__type_t type; // concrete; last, so that dims past the rank are never touched
} weir__slot_t;

typedef enum weir__step_kind {
    WEIR__STEP_KERNEL, // a kernel on host memory
    WEIR__STEP_LAUNCH, // a slice on a device, and copies of what it made to the host
    WEIR__STEP_COPY,   // copies to (or, of what a parent made, from) a device
    WEIR__STEP_WAIT,   // until a device has done what it was given up to some step
} weir__step_kind_t;

// One tensor on its way. To a device: `source` is copied into `from`, which is staged, at once.
typedef struct weir__copy {
    struct weir__copy *next;
    weir__slot_t *from, *to;
    weir__slot_t *source; // NULL: `from` is in the memory of a device
} weir__copy_t;

// One node of a launch on a device that runs node by node.
typedef struct weir__launch_part {
    const weir_slice_node_t *node;
    weir__made_t *state;    // of the kernel's prepare(); NULL: none
    uint32_t first_binding; // among those of the step
} weir__launch_part_t;

typedef struct weir__step {
    weir__step_kind_t kind;
    const weir__plan_node_t *node; // of a KERNEL
    const weir_kernel_t *kernel;
    weir__plugin_t *plugin;
    void *state;
    weir_node_t view;     // concrete dims, no data but constants'
    weir__slot_t **slots; // of view.inputs, then of view.outputs; of a launch: per binding
    uint32_t slot_count;
    uint32_t first_tensor;                // where its tensors (bindings) start in a session's table
    uint32_t wide_phases;                 // bit p: phase p is worth more than one thread
    uint64_t scratch_bytes;               // per worker
    uint64_t shared_bytes, shared_offset; // of a launch: its scratch
    // Of the others.
    uint32_t lane; // the device
    const weir__plan_slice_t *slice;
    const weir_slice_t *slice_view;
    weir__made_t *specialization; // NULL: `parts` say what runs
    weir__launch_part_t *parts;   // [slice_view->node_count]
    uint32_t launch;              // its number among the launches
    weir__copy_t *copies;         // of a launch: made on demand of later steps
    uint32_t first_region, region_count;
    uint32_t target; // of a WAIT: a step of this specialization; UINT32_MAX: all of its parents
    uint64_t point;  // how many operations the device has been given after it; of a WAIT: awaited
    weir_tasks_t tasks;
} weir__step_t;

#define WEIR__FRAMES_MAX 40

typedef struct weir__frame {
    const weir__plan_region_t *region;
    uint32_t next;                  // node that comes next
    const weir__plan_node_t *owner; // the If that opened it; NULL: the main graph
} weir__frame_t;

// What a specialization needs of one device.
typedef struct weir__need {
    uint64_t arena_bytes, staging_bytes; // in segments of its own, beside those of its parents
    uint64_t points;                     // operations that it is given
    bool used;                           // by it or its parents
} weir__need_t;

typedef struct weir__spec weir__spec_t;

struct weir__spec {
    atomic_uint references;
    weir_plan_t *plan;
    weir__zone_t zone;
    int64_t *key; // input ranks and dims; of a child: the bytes that were read
    uint64_t key_bytes;
    uint32_t depth;               // how many parents it has
    weir__slot_t **slot_of_value; // [weir__plan_value_count()]; NULL: not made yet
    // Copies of values in other places: [place * weir__plan_value_count() + value]; NULL: the plan
    // uses no device with memory of its own.
    weir__slot_t **copies;
    weir__step_t *steps;
    uint32_t step_count, step_capacity;
    uint32_t tensor_count; // entries a session's table needs
    uint32_t binding_count;
    uint32_t region_count;
    uint32_t launch_count;
    uint64_t arena_bytes;
    uint64_t scratch_bytes; // per worker
    weir__need_t *needs;    // [plan->device_count]
    // Where it ended: complete, or waiting for the contents of some values.
    bool complete;
    weir__frame_t frames[WEIR__FRAMES_MAX];
    uint32_t frame_count;
    uint32_t waits[32];
    uint32_t wait_count;
    weir__spec_t *children; // under the cache's lock; newest first
    uint32_t child_count;
    weir__spec_t *next; // among its parent's children
};

// Makes the specialization for these inputs (checked against the model already).
weir_status_t weir__spec_create(
    weir_plan_t *plan, const weir_value_t *inputs, weir__spec_t **out_spec);
// Goes on where `parent` ended; contents[i] are the bytes of value parent->waits[i].
weir_status_t weir__spec_create_child(
    weir__spec_t *parent, const void *const *contents, weir__spec_t **out_spec);
void weir__spec_retain(weir__spec_t *spec);
void weir__spec_release(weir__spec_t *spec); // NULL is allowed

// The slot in which the host finds a value that it may read now.
static inline weir__slot_t *weir__spec_host_slot(const weir__spec_t *spec, uint32_t value)
{
    weir__slot_t *slot = spec->slot_of_value[value];
    return slot->place == WEIR__HOST ? slot : spec->copies[value];
}

// join.c: lets kernels write what a Concat joins where it belongs.
void weir__spec_join(weir__spec_t *spec);

// layout.c: assigns arena offsets to the slots of the steps.
weir_status_t weir__spec_layout(weir__spec_t *spec);

// ---- The plan's cache of specializations (spec_cache.c)
// --------------------------------------------

// The specialization for these inputs or, with a parent, for these contents, found or made; one
// reference. *out_made says which.
weir_status_t weir__spec_get(weir_plan_t *plan, const weir_value_t *inputs, weir__spec_t *parent,
    const void *const *contents, weir__spec_t **out_spec, bool *out_made);
uint32_t weir__spec_cache_count(weir_plan_t *plan);
// The memory of a specialization that was dropped is what the next one is made in.
void weir__spec_zone_begin(weir_plan_t *plan, weir__zone_t *zone);
void weir__spec_zone_end(weir_plan_t *plan, weir__zone_t *zone);
weir_status_t weir__spec_cache_create(weir_plan_t *plan);
// What all specializations begin with: slots of the constants, which none of them writes to.
// [weir__plan_value_count()]
weir__slot_t *const *weir__spec_constants(const weir_plan_t *plan);
// slots.c. false: no memory.
bool weir__slots_of_constants(
    const weir__graph_t *graph, weir__zone_t *zone, weir__slot_t **out_slots);
// Of the dims that a specialization is found by.
uint64_t weir__spec_hash(const weir_plan_t *plan, const weir_value_t *inputs);
// Does the specialization fit these inputs?
bool weir__spec_fits(const weir__spec_t *spec, const weir_value_t *inputs);

#endif
