// weir/profile.h: where the time of a run went, step by step.
//
// Set profile_level of weir_run_options_t, run, ask. A step is one call of a kernel (after fusion),
// or one launch of a device; views and arithmetic on sizes cost no step. The times are those of the
// monotonic clock; nothing is estimated but flop, which follow from the shapes.
#ifndef WEIR_PROFILE_H
#define WEIR_PROFILE_H

#include <weir/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_profile_run {
    uint32_t size;        // sizeof(weir_profile_run_t), set by the caller
    uint32_t step_count;  // of the last run; 0 when it was not profiled
    uint64_t start_ns;    // of weir_now_ns(), before inputs were checked
    uint64_t duration_ns; // until the outputs were written
} weir_profile_run_t;

// The last run as a whole. Threads: between runs of this session. Errors: none.
WEIR_API void weir_session_profile_run(const weir_session_t *session, weir_profile_run_t *out_run);

typedef struct weir_profile_step {
    uint32_t size; // sizeof(weir_profile_step_t), set by the caller
    uint32_t reserved;
    const char *op;       // "MatMul", "Pointwise"; "Program" for a launch
    const char *origins;  // ONNX node names, joined by '+'
    const char *device;   // "cpu"
    const char *kernel;   // the kernel's name
    const char *fused;    // "Add+Gelu" as epilogue or body; "" when nothing is
    uint64_t start_ns;    // of weir_now_ns()
    uint64_t duration_ns; // of a launch: until the device had answered
    // Of the operands it can read or write: inputs, constants as they are packed, outputs. A tensor
    // that is picked from (Gather, Slice) counts with as many bytes as are taken.
    uint64_t bytes;
    // Of the direct algorithm: 2 per multiply-add of MatMul, Gemm, Conv (padding included),
    // ConvTranspose and LSTM; 1 per element for each instruction of an expression and for a bias; 0
    // elsewhere.
    uint64_t flop;
    char shape[128]; // of output 0: "f32[1, 16, 384]"
} weir_profile_step_t;

// Fills *out_step with step `index` of the last run, in order of execution, and returns 1; 0 past
// the last one, or when that run was not profiled. A run that failed shows the steps that ended.
// Owns:    strings live until the session runs again or is freed.
// Threads: between runs of this session. Errors: none.
// Cost:    nothing is kept but two times per step; the rest is worked out here.
WEIR_API int weir_session_profile(
    const weir_session_t *session, uint32_t index, weir_profile_step_t *out_step);

// Keeps the times of the last run, which was profiled, in the cache's folder: later plans place
// nodes by them instead of by estimates. A time belongs to the operators with their attributes and
// types, to about as much work (sizes within a factor of 1.5) and to the device and build of the
// plugin that did it. Of several runs the fastest counts most. Of devices with memory of their own
// their own records count (weir_session_profile_node()).
// Threads: between runs of this session. Blocks on a small file.
// Errors:  INVALID_ARGUMENT (the last run was not profiled), RESOURCE_EXHAUSTED. A file that cannot
//          be written is a warning of the log.
WEIR_API WEIR_MUST_USE weir_status_t weir_session_learn(const weir_session_t *session);

// What a device did inside a launch, as it says itself.
typedef struct weir_profile_node {
    uint32_t size;       // sizeof(weir_profile_node_t), set by the caller
    uint32_t step;       // of weir_session_profile(): the launch
    const char *op;      // "MatMul"
    const char *origins; // ONNX node names, joined by '+'
    uint64_t start_ns;   // of weir_now_ns(); the device's clock is read at both ends of the run
    uint64_t duration_ns;
} weir_profile_node_t;

// Fills *out_node with record `index` of the last run, as they came, and returns 1; 0 past the last
// one, when that run was not profiled, or when its devices record nothing.
// Owns, threads, errors: as weir_session_profile().
// Cost:    grows with `index`.
WEIR_API int weir_session_profile_node(
    const weir_session_t *session, uint32_t index, weir_profile_node_t *out_node);

// Records of the last run for which there was no room. Threads: between runs of this session.
// Errors: none.
WEIR_API uint32_t weir_session_profile_dropped(const weir_session_t *session);

#ifdef __cplusplus
}
#endif
#endif
