// engine/exec/session.h: a session: a plan, an arena, the shapes it ran last, and one resumable
// run.
#ifndef WEIR_EXEC_SESSION_H
#define WEIR_EXEC_SESSION_H

#include "engine/base/timer.h"
#include "engine/exec/spec.h"
#include <weir/session.h>

// ---- Cancel flags (cancel.c)
// -------------------------------------------------------------------------

typedef struct weir__cancel_link {
    struct weir__cancel_link *next, **from;
    void (*wake)(struct weir__cancel_link *link); // under the flag's lock: short, must not block
} weir__cancel_link_t;

bool weir__cancel_is_set(const weir_cancel_t *cancel); // NULL: false
void weir__cancel_link(weir_cancel_t *cancel, weir__cancel_link_t *link);
// After it returns `wake` will not be called any more (but may have been).
void weir__cancel_unlink(weir_cancel_t *cancel, weir__cancel_link_t *link);

// ---- A specialization bound to the session's memory (bind.c)
// -----------------------------------------

typedef struct weir__patch {
    uint32_t tensor;
    uint32_t input;
} weir__patch_t;

typedef struct weir__bound {
    weir__spec_t *spec;       // one reference
    char *arena;              // the base its pointers were made for
    weir_tensor_t *tensors;   // [spec->tensor_count]
    weir_binding_t *bindings; // [spec->binding_count]
    weir__patch_t *patches;   // tensors that are the caller's inputs
    uint32_t patch_count;
    uint64_t last_run; // of a child: the number of the run that used it last
} weir__bound_t;

// ---- What a profiled run notes (run.c, profile.c)
// -------------------------------------------------------

typedef struct weir__profiled {
    const weir__step_t *step; // of a specialization that a bound of this session holds
    uint64_t start_ns, end_ns;
} weir__profiled_t;

typedef struct weir__profile {
    bool on; // the last run was profiled
    weir__profiled_t *steps;
    uint32_t count, capacity;
    uint64_t start_ns, end_ns;
} weir__profile_t;

// ---- The session
// -------------------------------------------------------------------------------------

#define WEIR__BOUND_MAX 4  // shapes a session keeps ready
#define WEIR__CHAIN_MAX 32 // data-dependent points one run may pass

typedef struct weir__run {
    weir_run_options_t options;
    const weir_value_t *inputs;
    weir_value_t *outputs;
    weir_done_fn done;
    void *user_data;
    bool blocking;
    // The cursor.
    weir__bound_t *chain[WEIR__CHAIN_MAX]; // the root, then the children that data led to
    uint32_t chain_length;
    uint32_t next_step;
    uint32_t steps_done;
    bool launched; // next_step is a launch that is under way
    weir_status_t status;
    // Suspension (run.c).
    atomic_uint state;
    atomic_uint signal; // futex of a blocking run
    weir__team_t *team;
    weir__job_t job;
    weir__waiter_t waiter;
    weir__alarm_t alarm;
    weir__cancel_link_t cancel_link;
    bool alarm_set, cancel_linked;
    // The first task that fails says why.
    atomic_uint failure_taken;
    char failure[WEIR_REASON_BYTES];
} weir__run_t;

struct weir_session {
    weir_plan_t *plan;
    weir__runtime_t *runtime;
    uint32_t threads;
    atomic_uint busy;
    char *arena;
    uint64_t arena_bytes;
    char *scratch;
    uint64_t scratch_bytes;                // in all
    weir__bound_t bounds[WEIR__BOUND_MAX]; // roots, most recently used first
    uint32_t bound_count;
    weir__bound_t children[WEIR__CHAIN_MAX]; // spec NULL: an empty place
    uint64_t timeline;                       // 0: not made yet
    uint64_t timeline_value; // last one handed to a device; larger than reached: it still works
    weir__run_t run;
    weir__profile_t profile;
    weir_session_info_t info;
};

// check.c: are these values what the model wants? Errors name input, dims found and dims expected.
weir_status_t weir__check_inputs(
    const weir_model_t *model, size_t count, const weir_value_t *inputs);

// bind.c: makes `bound` for spec (whose reference it takes over) at the session's memory, growing
// it first.
weir_status_t weir__bind(weir_session_t *session, weir__spec_t *spec, weir__bound_t *bound);
void weir__unbind(weir_session_t *session, weir__bound_t *bound);
// Points the tensors that are the caller's inputs at them.
void weir__bind_inputs(weir_session_t *session, weir__bound_t *bound, const weir_value_t *inputs);
// Where a slot's bytes lie in this run.
void *weir__slot_data(
    const weir_session_t *session, const weir__slot_t *slot, const weir_value_t *inputs);

// profile.c: room for so many steps more, so that a step that is noted allocates nothing.
weir_status_t weir__profile_reserve(weir_session_t *session, uint32_t step_count);

// run.c: makes steps until the run ends (true: run.status says how) or waits for a device (false:
// another thread may already be going on with it, so it must not be touched).
bool weir__run_advance(weir_session_t *session);
// Sleeps until a blocking run that waits can go on, at most until its deadline.
void weir__run_wait(weir_session_t *session);

// Does a device still work for an earlier run of this session?
bool weir__session_is_quarantined(weir_session_t *session);

// ---- Memory that a device which has not answered may still write (quarantine.c)
// ----------------------

typedef struct weir__quarantined {
    struct weir__quarantined *next;
    void *memory;
    uint64_t timeline, value;
} weir__quarantined_t;

// Keeps `memory` until the timeline reaches the value.
void weir__quarantine_add(weir__runtime_t *runtime, weir__quarantined_t *record);
// Frees what has been answered; all of it when no device is left.
void weir__quarantine_sweep(weir__runtime_t *runtime, bool all);

#endif
