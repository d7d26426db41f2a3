// weir/plan.h: a model placed on devices: fused, packed, compiled. Immutable and reference counted.
#ifndef WEIR_PLAN_H
#define WEIR_PLAN_H

#include <weir/model.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_plan weir_plan_t;

typedef struct weir_plan_options {
    uint32_t size; // sizeof(weir_plan_options_t)
    // 1: a node that none of `devices` can run is an error instead of running on "ref". Exactly
    // one device named is always required. Arithmetic on sizes, control flow and what depends on
    // data for its size run on the host all the same.
    uint32_t require_devices;
    const char *devices; // in order of preference, "cuda,cpu"; NULL: the engine's order
    // "NODE=DEVICE;NODE=DEVICE": the nodes of the plan that stand for these ONNX nodes, with what
    // is fused with them, run on these of the devices. NULL: none is placed by request.
    const char *placement;
    // "f32" (NULL), or "bf16": kernels that round the f32 operands of products to bf16, where a
    // device has them (the CPU: with AVX512-BF16 or AMX); sums, and everything else, stay f32.
    // Results differ from f32's by about 2^-8 of what is summed, and may differ from one
    // instruction set to another; they depend on neither threads nor batch.
    const char *precision;
} weir_plan_options_t;

// Decides where each node runs, fuses, packs the weights. Sessions of one plan share all of it.
// A node goes where it, the copies to and from there and the launches together cost least; unless
// it is known what it costs on each device (they say so, or it was measured: weir/profile.h), the
// caller's order decides which of them is the fastest. What is fused on one device never runs in
// parts on two of them. docs/decisions/placement.md has the rules.
// options: NULL for the best devices there are.
// Owns:    *out_plan is one reference, the caller's; the plan keeps the model alive.
// Threads: any.
// Errors:  NOT_FOUND (a device or plugin that is not there, a node in `placement` that is not),
//          INVALID_ARGUMENT (`placement`, `precision`), UNSUPPORTED (a node that no device can run,
//          or not the one that it is placed on, by its ONNX name), RESOURCE_EXHAUSTED, LIMIT.
WEIR_API WEIR_MUST_USE weir_status_t weir_plan_create(
    weir_model_t *model, const weir_plan_options_t *options, weir_plan_t **out_plan);

// One more reference. Threads: any. Errors: none.
WEIR_API void weir_plan_retain(weir_plan_t *plan);

// One reference less; NULL is allowed. Threads: any. Errors: none.
WEIR_API void weir_plan_free(weir_plan_t *plan);

// The model of a plan. Owns: no reference is given. Threads: any. Errors: none.
WEIR_API weir_model_t *weir_plan_model(const weir_plan_t *plan);

// A node of the plan, in the order of execution.
typedef struct weir_plan_node {
    uint32_t size;        // sizeof(weir_plan_node_t), set by the caller
    uint32_t depth;       // 0: main graph; 1: inside an If …
    const char *op;       // "MatMul", "Pointwise" …
    const char *origins;  // ONNX node names, joined by '+'
    const char *device;   // "cpu"
    const char *kernel;   // the kernel's name
    const char *fused;    // "Add+Gelu" as epilogue or body; "" when nothing is
    const char *why;      // why devices preferred to this one did not take it; "" when none is
    uint64_t cost_ns;     // of a run at nominal sizes, as it was placed by; 0: never asked for
    uint32_t cost_source; // WEIR_COST_*
    // Equal numbers are placed as one (several nodes, where a kernel refused to fuse all of it);
    // UINT32_MAX: not placed by cost, but kept on the host.
    uint32_t group;
    uint32_t is_requested; // 1: by weir_plan_options_t.placement
    uint32_t slice;        // equal numbers are one launch; UINT32_MAX: no launch
} weir_plan_node_t;

// Where a cost comes from.
enum {
    WEIR_COST_NONE = 0,
    WEIR_COST_ESTIMATED = 1, // from the amount of work and the kind of device
    WEIR_COST_CLAIMED = 2,   // the device says so
    WEIR_COST_MEASURED = 3,  // see weir_session_learn()
};

// Fills *out_node and returns 1; 0 past the last node.
// Owns: strings live as long as the plan. Threads: any. Errors: none.
WEIR_API int weir_plan_node(const weir_plan_t *plan, uint32_t index, weir_plan_node_t *out_node);

// What a device has to do with a node.
typedef struct weir_plan_candidate {
    uint32_t size;        // sizeof(weir_plan_candidate_t), set by the caller
    uint32_t is_chosen;   // 1: the node runs there
    const char *device;   // "cpu"
    const char *reason;   // why it cannot run the node; "" when it can
    uint64_t cost_ns;     // what it would cost there, at nominal sizes; 0 when it cannot
    uint32_t cost_source; // WEIR_COST_*
    uint32_t is_last;     // 1: it was considered only where no other device can
} weir_plan_candidate_t;

// Fills *out_candidate with device `index` of those that were asked about node `node`, in the order
// of preference, and returns 1; 0 past the last one, and for what is not placed by cost (views,
// sizes, control flow, and nodes whose rank only a run tells).
// Nominal sizes: 1 for an open first axis of an input, 128 for other open sizes.
// Owns: strings live as long as the plan. Threads: any. Errors: none.
WEIR_API int weir_plan_candidate(
    const weir_plan_t *plan, uint32_t node, uint32_t index, weir_plan_candidate_t *out_candidate);

// What a node reads.
typedef struct weir_plan_input {
    uint32_t size;     // sizeof(weir_plan_input_t), set by the caller
    uint32_t producer; // the node of the plan that makes it; UINT32_MAX: none does
    const char *value; // its name in the file; "": the input is absent
    uint32_t is_constant;
    uint32_t reserved;
} weir_plan_input_t;

// Fills *out_input with input `index` of node `node` and returns 1; 0 past the last one.
// Owns: strings live as long as the plan. Threads: any. Errors: none.
WEIR_API int weir_plan_input(
    const weir_plan_t *plan, uint32_t node, uint32_t index, weir_plan_input_t *out_input);

// A tensor that is made on one device and read on another.
typedef struct weir_plan_cut {
    uint32_t size; // sizeof(weir_plan_cut_t), set by the caller
    uint32_t reserved;
    const char *value; // its name in the file
    const char *from;  // a device; "host": an input, or what the engine itself made
    const char *to;    // a device; "host": an output, or what the engine itself reads
    uint64_t bytes;    // at nominal sizes
    uint64_t cost_ns;  // of the copy; 0: both work in the same memory
} weir_plan_cut_t;

// Fills *out_cut with cut `index` and returns 1; 0 past the last one.
// Owns: strings live as long as the plan. Threads: any. Errors: none.
WEIR_API int weir_plan_cut(const weir_plan_t *plan, uint32_t index, weir_plan_cut_t *out_cut);

typedef struct weir_plan_info {
    uint32_t size; // sizeof(weir_plan_info_t), set by the caller
    uint32_t node_count;
    uint32_t ref_node_count; // of those, how many run on the plain C device
    uint32_t reserved;
    uint64_t packed_bytes;        // weights packed for this plan
    uint64_t packed_cached_bytes; // of those, found in the cache
    uint64_t create_ns;
    uint64_t resident_bytes;       // constants in the memory of devices
    uint32_t program_count;        // slices that devices compiled, or loaded
    uint32_t program_cached_count; // of those, loaded out of the cache
} weir_plan_info_t;

// Threads: any. Errors: none.
WEIR_API void weir_plan_describe(const weir_plan_t *plan, weir_plan_info_t *out_info);

#ifdef __cplusplus
}
#endif
#endif
