// engine/plan/plan.h: graph -> immutable plan: who runs each node, what is fused, which weights are
// packed.
//
// A plan has symbolic dims; exec/ makes a specialization of it for concrete ones.
#ifndef WEIR_PLAN_PLAN_H
#define WEIR_PLAN_PLAN_H

#include "engine/base/map.h"
#include "engine/plan/model.h"
#include "engine/plugin/device.h"
#include <weir/plan.h>

typedef struct weir__plan_region weir__plan_region_t;

typedef struct weir__candidate {
    weir__device_t *device;
    const weir_kernel_t *kernel; // NULL: the device claimed the node itself
} weir__candidate_t;

typedef struct weir__packed {
    uint32_t format;   // 0: as it is
    weir__view_t view; // the plan's: nodes that want the same constant in the same way share it
} weir__packed_t;

typedef struct weir__plan_node {
    const weir__node_t *anchor;    // its rule gives the shape; NULL: a Pointwise group
    const char *op;                // "MatMul", "Pointwise"
    weir__candidate_t choice;      // kernel NULL: If, a view, or a member of a slice
    weir__candidate_t *candidates; // of a node whose rank only a run tells: tried in this order
    uint32_t candidate_count;
    uint32_t input_count, output_count;
    uint32_t *inputs;  // value numbers; the anchor's first, then the operands of the expressions
    uint32_t *outputs; // value numbers; WEIR__NONE: not wanted
    weir_expression_t *body, *prologue, *epilogue;
    weir__packed_t *packed; // [input_count] or NULL
    weir__plan_region_t *regions[2];
    uint32_t slice;    // of a device with programs; UINT32_MAX: none
    bool is_shape;     // arithmetic on sizes: done while specializing, where that is possible
    const char *label; // "node a+b (MatMul)", for messages
    const char *origins, *fused, *why;
} weir__plan_node_t;

struct weir__plan_region {
    weir__plan_node_t *nodes; // in order of execution
    uint32_t node_count;
    const weir__region_t *source;
};

// A device with programs that the plan uses.
typedef struct weir__plan_device {
    weir__opened_t *opened;
    bool own_memory, stepwise; // as weir__device_t says
    weir__made_t *constants;   // what its slices read of the model, in its memory
    uint64_t constant_bytes;
} weir__plan_device_t;

#define WEIR__PLAN_DEVICES_MAX 32
#define WEIR__NOT_RESIDENT UINT64_MAX

// Consecutive nodes that one device runs by one launch. Nodes between first and last that are no
// members are shape arithmetic or views.
typedef struct weir__plan_slice {
    weir__device_t *device;
    uint32_t plan_device; // its number among plan->devices
    const weir__plan_region_t *region;
    uint32_t first, last;  // node numbers in the region, inclusive
    weir__made_t *program; // NULL: the device runs node by node
    bool owns_constants;   // the program has copies of its own
    uint32_t replay;       // WEIR_REPLAY_*
    // Its shape as the ABI wants it: tensor t is value values[t]; member m is region node
    // members[m].
    uint32_t *values;
    const weir__packed_t **packed; // [value_count] NULL: the value as it is
    uint64_t *residents;           // [value_count] where a constant lies in the device's memory
    uint32_t value_count;
    uint32_t *members;
    uint32_t member_count;
    uint32_t **member_inputs, **member_outputs; // tensor numbers
    uint32_t *inputs, *outputs;                 // tensor numbers
    uint32_t input_count, output_count;
    const char *origins; // of all members, joined by '+'
} weir__plan_slice_t;

// A value of the graph in another format than row-major; its number is graph->value_count + its
// place.
typedef struct weir__own_value {
    uint32_t original;
    uint32_t format;
} weir__own_value_t;

struct weir_plan {
    atomic_uint references;
    weir_model_t *model;
    weir__runtime_t *runtime;
    weir__zone_t zone;
    weir__plan_region_t main;
    weir__own_value_t *own_values;
    uint32_t own_count, own_capacity;
    weir__plan_slice_t *slices;
    uint32_t slice_count, slice_capacity;
    bool is_bf16; // the precision asked for
    weir__plan_device_t devices[WEIR__PLAN_DEVICES_MAX];
    uint32_t device_count;
    uint8_t edges[WEIR__PLAN_DEVICES_MAX][WEIR__PLAN_DEVICES_MAX]; // [to][from] WEIR_EDGE_*
    // Who reads each value in the end, after fusion: plan nodes, region outputs, control flow.
    uint32_t *reader_counts; // [weir__plan_value_count()]
    // Who may read each value: plan nodes of all regions, region outputs. [graph->value_count]
    uint32_t *use_counts;
    bool *size_known;            // [graph->value_count] follows from dims and constants alone
    weir__plan_node_t **listing; // all nodes, outer before inner, for weir_plan_node()
    uint32_t *listing_depths;
    uint32_t listing_count;
    weir__map_t pack_names; // key in hex -> place in packs
    weir__view_t *packs;
    uint32_t pack_count, pack_capacity;
    struct weir__placement *placement; // place.h
    const weir__device_t *refuser;     // whose compile() said UNSUPPORTED: the plan is not finished
    weir_plan_info_t info;
    struct weir__spec_cache *specs; // exec/ keeps its specializations here
    void (*specs_free)(struct weir__spec_cache *specs);
};

weir_status_t weir__plan_create(
    weir_model_t *model, const weir_plan_options_t *options, weir_plan_t **out_plan);
void weir__plan_free(weir_plan_t *plan); // whatever the count of references says

// ---- Steps of making one (each a file) ----------------------------------------------------------

// A device that took nodes and could not compile them after all: another plan is made without it.
typedef struct weir__refusal {
    const weir__device_t *device;
    weir_status_t status;
} weir__refusal_t;

typedef struct weir__device_list {
    weir__device_t *devices[32];
    uint32_t count;
    bool required;               // the last resort is not in the list
    const char *placement;       // as weir_plan_options_t has it
    weir__opened_t *entered[32]; // devices with programs: not closed while the plan is made
    uint32_t entered_count;
    weir__refusal_t refusals[32];
    uint32_t refusal_count;
} weir__device_list_t;

// Why the device is not asked about nodes any more; NULL: it is.
const char *weir__plan_refusal(const weir__device_list_t *list, const weir__device_t *device);

// place.c: makes plan nodes of a region (and of regions in it), each with its choice.
weir_status_t weir__plan_place(weir_plan_t *plan, const weir__region_t *source,
    const weir__device_list_t *devices, weir__plan_region_t *out_region);
// fuse.c: joins elementwise nodes into Pointwise groups and epilogues, where the chosen kernels
// take them.
weir_status_t weir__plan_fuse(weir_plan_t *plan, weir__plan_region_t *region);
// format.c: chooses the format of each activation and puts Reorder nodes where it changes.
weir_status_t weir__plan_format(weir_plan_t *plan, weir__plan_region_t *region);
// slice.c: collects neighbours on one device into slices and compiles them.
weir_status_t weir__plan_slice(weir_plan_t *plan, weir__plan_region_t *region);
// slice_view.c: numbers the tensors of a slice and finds its borders.
weir_status_t weir__slice_number(weir_plan_t *plan, weir__plan_slice_t *slice);
// Builds what a plugin sees of a slice in `zone`. tensor() fills in tensor t of the slice.
typedef void (*weir__slice_tensor_fn)(
    void *user, const weir__plan_slice_t *slice, uint32_t t, weir_tensor_t *out_tensor);
weir_status_t weir__slice_view(weir__zone_t *zone, const weir__plan_slice_t *slice,
    weir__slice_tensor_fn tensor, void *user, weir_slice_t **out_view);
// The constant that tensor t of a slice is, packed or as it is; false: it is none.
bool weir__slice_constant(const weir_plan_t *plan, const weir__plan_slice_t *slice, uint32_t t,
    const void **out_data, uint64_t *out_bytes);
// upload.c: brings the constants of all slices to the devices with memory of their own.
weir_status_t weir__plan_upload(weir_plan_t *plan);
// pack.c: lays constants out as the chosen kernels want them, through the cache.
weir_status_t weir__plan_pack(weir_plan_t *plan, weir__plan_region_t *region);
void weir__plan_unpack(weir_plan_t *plan);
// Warns when the model takes more than the cache may hold: then it drives others out, and they it.
void weir__plan_warn_of_cache(const weir_plan_t *plan);
// What names a constant's content, the same in every process that loads the model.
weir__hash_t weir__plan_hash_constant(const weir_model_t *model, const weir__value_t *value);
// artifact.c: the program of a slice, out of the cache or compiled and then kept there.
weir_status_t weir__plan_compile(weir_plan_t *plan, const weir__plan_slice_t *slice,
    const weir_slice_t *view, weir_handle_t *out_program);

// May the plan use this kernel, by its precision?
static inline bool weir__plan_allows(const weir_plan_t *plan, const weir_kernel_t *kernel)
{
    return plan->is_bf16 || !(kernel->head.flags & WEIR_KERNEL_BF16);
}

// The graph's value behind a number, and the format of the number's own form.
static inline uint32_t weir__plan_original(const weir_plan_t *plan, uint32_t value)
{
    uint32_t count = plan->model->graph->value_count;
    return value < count || value == WEIR__NONE ? value : plan->own_values[value - count].original;
}
static inline uint32_t weir__plan_format_of(const weir_plan_t *plan, uint32_t value)
{
    uint32_t count = plan->model->graph->value_count;
    return value < count || value == WEIR__NONE ? WEIR_FORMAT_ROW_MAJOR
                                                : plan->own_values[value - count].format;
}
static inline uint32_t weir__plan_value_count(const weir_plan_t *plan)
{
    return plan->model->graph->value_count + plan->own_count;
}
// Bytes of a tensor of concrete dims in a format; false: they do not fit.
bool weir__format_bytes(
    uint32_t format, const int64_t *dims, uint32_t rank, weir_dtype_t dtype, uint64_t *out_bytes);

// ---- Node views (view.c) ----------------------------------------------------------------------

// Fills a plugin's tensor from a value of the graph (types may be symbolic). value WEIR__NONE:
// absent. The tensor borrows the value's dims. false: the rank is not known.
bool weir__view_tensor(const weir_plan_t *plan, uint32_t value, weir_tensor_t *out_tensor);
// Fills a plugin's node (tensors [input_count + output_count] are the caller's). false: an unknown
// rank.
bool weir__view_node(const weir_plan_t *plan, const weir__plan_node_t *node, weir_tensor_t *tensors,
    weir_node_t *out_node);
// Everything of the view but the tensors.
void weir__view_head(const weir__plan_node_t *node, weir_node_t *out_node);

// One instruction for an elementwise node, e.g. Add -> LOAD 0, LOAD 1, ADD. false: no memory.
bool weir__expression_of_node(weir__zone_t *zone, const weir__graph_t *graph,
    const weir__node_t *node, weir_expression_t **out_expression);

#endif
