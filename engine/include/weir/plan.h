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
    // 1: a node that none of `devices` can run is an error instead of running on "ref".
    uint32_t require_devices;
    const char *devices; // in order of preference, "cuda,cpu"; NULL: the engine's order
} weir_plan_options_t;

// Decides where each node runs, fuses, packs the weights. Sessions of one plan share all of it.
// options: NULL for the best devices there are.
// Owns:    *out_plan is one reference, the caller's; the plan keeps the model alive.
// Threads: any.
// Errors:  NOT_FOUND (a device or plugin that is not there), UNSUPPORTED (a node that no device can
// run, by
//          its ONNX name), RESOURCE_EXHAUSTED, LIMIT.
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
    uint32_t size;       // sizeof(weir_plan_node_t), set by the caller
    uint32_t depth;      // 0: main graph; 1: inside an If …
    const char *op;      // "MatMul", "Pointwise" …
    const char *origins; // ONNX node names, joined by '+'
    const char *device;  // "cpu"
    const char *kernel;  // the kernel's name
    const char *fused;   // "Add+Gelu" as epilogue or body; "" when nothing is
    const char *why;     // why devices preferred to this one did not take it; "" when none is
} weir_plan_node_t;

// Fills *out_node and returns 1; 0 past the last node.
// Owns: strings live as long as the plan. Threads: any. Errors: none.
WEIR_API int weir_plan_node(const weir_plan_t *plan, uint32_t index, weir_plan_node_t *out_node);

typedef struct weir_plan_info {
    uint32_t size; // sizeof(weir_plan_info_t), set by the caller
    uint32_t node_count;
    uint32_t ref_node_count; // of those, how many run on the plain C device
    uint32_t reserved;
    uint64_t packed_bytes;        // weights packed for this plan
    uint64_t packed_cached_bytes; // of those, found in the cache
    uint64_t create_ns;
} weir_plan_info_t;

// Threads: any. Errors: none.
WEIR_API void weir_plan_describe(const weir_plan_t *plan, weir_plan_info_t *out_info);

#ifdef __cplusplus
}
#endif
#endif
