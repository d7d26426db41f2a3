// weir/session.h: runs of a plan. A session is a plan, an arena and the last few shapes it has
// seen.
#ifndef WEIR_SESSION_H
#define WEIR_SESSION_H

#include <weir/plan.h>
#include <weir/value.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_session weir_session_t;
typedef struct weir_cancel weir_cancel_t;

typedef struct weir_session_options {
    uint32_t size;    // sizeof(weir_session_options_t)
    uint32_t threads; // at most this many of the team work on one run; 0: all
    // Of the engine's teams, which one works on its runs (besides the thread that calls
    // weir_session_run()). A run that was started touches the session's memory first on that
    // team, so that it lies near it.
    uint32_t team;
    uint32_t reserved; // 0
} weir_session_options_t;

// options: NULL for the defaults. Cheap: a pool of sessions is normal.
// Owns:    the session keeps the plan alive; the caller frees it.
// Threads: any.
// Errors:  RESOURCE_EXHAUSTED, NOT_FOUND (no such team).
WEIR_API WEIR_MUST_USE weir_status_t weir_session_create(
    weir_plan_t *plan, const weir_session_options_t *options, weir_session_t **out_session);

// Frees a session; NULL is allowed. A run that was started must have ended (its `done` been
// called). Threads: any. Errors: none.
WEIR_API void weir_session_free(weir_session_t *session);

// A flag that ends runs. May be shared by several runs and outlives them; reset by making a new
// one. Threads: any. Errors: RESOURCE_EXHAUSTED.
WEIR_API WEIR_MUST_USE weir_status_t weir_cancel_create(weir_cancel_t **out_cancel);
// Runs that were given the flag end CANCELLED before their next operator. Idempotent. Threads: any.
// Errors: none.
WEIR_API void weir_cancel_trigger(weir_cancel_t *cancel);
// NULL is allowed. Threads: any. Errors: none.
WEIR_API void weir_cancel_free(weir_cancel_t *cancel);

typedef struct weir_run_options {
    uint32_t size;          // sizeof(weir_run_options_t)
    uint32_t profile_level; // 0: none; 1: the time of each step, see weir/profile.h
    uint64_t deadline_ns;   // of weir_now_ns(); 0: none
    weir_cancel_t *cancel;  // NULL: none
    uint64_t request_id;    // for the log
    uint32_t threads;       // at most this many work on this run; 0: as many as on the session's
    uint32_t reserved;      // 0
} weir_run_options_t;

// Runs once and waits. The same as weir_session_start() followed by a wait.
// Shapes:  inputs[i] as the model declares them; dims may differ from run to run.
// Outputs: outputs[i] says where to put the value: a caller's buffer with its capacity, or a view
// into the
//          session's memory (valid until the next run). dtype and dims are filled in.
// Owns:    nothing changes hands; inputs outlive the call.
// Threads: one run at a time per session; sessions are independent.
// Errors:  INVALID_ARGUMENT (shape, dtype, count), RESOURCE_EXHAUSTED (capacity: dims say what is
// needed),
//          DEADLINE_EXCEEDED, CANCELLED, DEVICE_LOST, UNAVAILABLE (a run is under way, or the
//          session was given up because a device never answered). Outputs are then undefined.
// Cost:    no allocation once the shape has been seen; no lock.
WEIR_API WEIR_MUST_USE weir_status_t weir_session_run(weir_session_t *session,
    const weir_run_options_t *options, size_t input_count, const weir_value_t *inputs,
    size_t output_count, weir_value_t *outputs);

// Called once per started run, on the thread that made its last step; must not block. `status` is
// the callee's to free. It may free the session or start its next run, but must not free the last
// object of an engine: that would wait for the very thread that it is called on.
typedef void (*weir_done_fn)(void *user_data, weir_status_t status);

// Starts a run and returns at once; the engine's team makes its steps. When it returns an error
// `done` is not called; when it returns NULL `done` is called exactly once, possibly before the
// return. Owns:    inputs, outputs (the structs and their data) and options->cancel outlive the
// run. Threads, errors: as weir_session_run().
WEIR_API WEIR_MUST_USE weir_status_t weir_session_start(weir_session_t *session,
    const weir_run_options_t *options, size_t input_count, const weir_value_t *inputs,
    size_t output_count, weir_value_t *outputs, weir_done_fn done, void *user_data);

typedef struct weir_session_info {
    uint32_t size;                 // sizeof(weir_session_info_t), set by the caller
    uint32_t specialization_count; // shapes that the plan holds now
    uint64_t arena_bytes;
    uint64_t run_count;
    uint64_t specialize_count; // runs that met a shape which the plan did not hold
    uint64_t specialize_ns;    // time spent on those, without the runs themselves
    uint64_t step_count;       // kernels run in the last run, and launches
    uint64_t device_bytes;     // of memory of devices, and of what they share with the host
} weir_session_info_t;

// Threads: between runs of this session. Errors: none.
WEIR_API void weir_session_describe(const weir_session_t *session, weir_session_info_t *out_info);

#ifdef __cplusplus
}
#endif
#endif
