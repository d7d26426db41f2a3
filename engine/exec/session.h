// engine/exec/session.h: a session: a plan, an arena, the shapes it ran last, and one resumable
// run.
#ifndef WEIR_EXEC_SESSION_H
#define WEIR_EXEC_SESSION_H

#include "engine/base/timer.h"
#include "engine/exec/recorder.h"
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
    uint64_t hash;            // of a root: weir__spec_hash() of its inputs
    uint64_t epoch;           // the session's memory that its pointers were made for
    weir_tensor_t *tensors;   // [spec->tensor_count]
    weir_binding_t *bindings; // [spec->binding_count]
    weir__patch_t *patches;   // tensors that are the caller's inputs
    uint32_t patch_count;
    weir_copy_region_t *regions; // [spec->region_count]
    weir__replay_t *replays;     // [spec->launch_count]
    uint64_t last_run;           // of a child: the number of the run that used it last
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
    weir__trace_sink_t *sink; // for what devices record; NULL: there is none
} weir__profile_t;

// ---- A session's part of a device (lane.c) -----------------------------------------------------

#define WEIR__BOUND_MAX 16 // shapes a session keeps ready: the batch sizes of one row shape
#define WEIR__CHAIN_MAX 32 // data-dependent points one run may pass

typedef struct weir__segment {
    weir__made_t *memory;
    uint64_t bytes;
} weir__segment_t;

// One moment in the device's time and in ours; zeros: it has no clock.
typedef struct weir__clocks {
    uint64_t device_ns, host_ns;
} weir__clocks_t;

// Memory in segments: one for each specialization of a run's chain, so that a child never moves
// what its parents have under way.
typedef struct weir__lane {
    weir__opened_t *opened;
    bool own_memory;
    bool is_given_up;  // it cannot be told any more whether the device still works for it
    weir__hung_t hung; // in quarantine: it has not answered
    weir__watch_t watch;
    weir__made_t *queue;
    uint64_t timeline; // 0: there was no memory for a new one; then value > 0: it may still work
    uint64_t value;    // last one handed to the device; larger than reached: it still works
    uint64_t base;     // where the specialization that runs began
    weir__clocks_t clocks[2]; // at both ends of the last profiled run
    weir__segment_t arena[WEIR__CHAIN_MAX], staging[WEIR__CHAIN_MAX];
} weir__lane_t;

// The arena of one lane as another one's device sees it.
typedef struct weir__import {
    struct weir__import *next;
    uint32_t to, from, depth; // lanes; the segment
    weir__made_t *memory;
} weir__import_t;

// All of a session's lanes with what devices can reach of its memory, in one block that can outlive
// it.
typedef struct weir__lanes {
    struct weir__lanes *next; // in quarantine
    const void *owner;        // the plan
    void *arena;
    weir__import_t *imports;
    uint32_t count;
    weir__lane_t lanes[];
} weir__lanes_t;

weir_status_t weir__lanes_create(const weir_plan_t *plan, weir__lanes_t **out_lanes);
// Frees them with `arena`, at once or when the devices have answered. NULL: only the arena.
void weir__lanes_free(weir__runtime_t *runtime, weir__lanes_t *lanes, void *arena);
// Enters all devices for a run. Errors: DEVICE_LOST.
weir_status_t weir__lanes_enter(weir__lanes_t *lanes);
void weir__lanes_leave(weir__lanes_t *lanes);
// Has the device answered all that it was given? A lane that failed has not: what comes after what
// failed may be under way.
bool weir__lane_is_idle(weir__runtime_t *runtime, const weir__lane_t *lane);
bool weir__lane_has_failed(weir__runtime_t *runtime, const weir__lane_t *lane);
// A new timeline, after the old one failed; what the device was given before comes before it, so
// that the lane becomes idle a little later. The device is entered.
void weir__lane_renew(weir__runtime_t *runtime, weir__lane_t *lane);
// For a run that meets a lane that is not idle.
weir_status_t weir__lane_unanswered_status(const weir__lane_t *lane);
// Room for the specialization; *out_changed: pointers into what was there are void.
weir_status_t weir__lane_grow(weir__lanes_t *lanes, uint32_t lane, uint32_t depth,
    const weir__need_t *need, bool *out_changed);
// How large all segments are together. NULL: 0.
uint64_t weir__lanes_bytes(const weir__lanes_t *lanes);
// Makes the arena of lane `from` known to the device of lane `to`, if it is not.
weir_status_t weir__lane_import(weir__lanes_t *lanes, uint32_t to, uint32_t from, uint32_t depth);
// What that gave; NULL: nothing was imported.
const weir__made_t *weir__lane_imported(
    const weir__lanes_t *lanes, uint32_t to, uint32_t from, uint32_t depth);
// Frees lanes whose devices have answered; all of them when no device is left.
void weir__quarantine_sweep(weir__runtime_t *runtime, bool all);

// ---- What runs give to devices (launch.c) ------------------------------------------------------

weir_status_t weir__session_launch(
    weir_session_t *session, weir__bound_t *bound, const weir__step_t *step);
weir_status_t weir__session_copy(
    weir_session_t *session, weir__bound_t *bound, const weir__step_t *step);
// What came of all that was given to a lane up to now.
weir_status_t weir__session_result(weir_session_t *session, weir__lane_t *lane);

// ---- The session -------------------------------------------------------------------------------

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
    bool waiting;       // next_step is a launch, or a wait, that is under way
    weir__lane_t *lane; // waits until this one reaches `value`
    uint64_t value;
    weir_status_t failure_status; // of a run that waits for devices only to end
    weir_status_t status;
    uint32_t threads; // that may work on it
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
    uint32_t threads; // that may work on a run
    atomic_uint busy;
    char *arena;
    uint64_t arena_bytes;
    uint64_t epoch; // changes with every address of what it works in
    char *scratch;
    uint64_t scratch_bytes;                // in all
    weir__bound_t bounds[WEIR__BOUND_MAX]; // roots, most recently used first
    uint32_t bound_count;
    weir__bound_t children[WEIR__CHAIN_MAX]; // spec NULL: an empty place
    weir__lanes_t *lanes;                    // one per device of the plan; NULL: it uses none
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
// Before memory of devices goes: no launch of the session is being recorded when this returns.
void weir__withdraw_replays(weir_session_t *session);
// Points the tensors that are the caller's inputs at them; and all at the memory there is now.
weir_status_t weir__bind_inputs(
    weir_session_t *session, weir__bound_t *bound, const weir_value_t *inputs);
// Where a slot's bytes lie for the host in this run; NULL: in the memory of a device.
void *weir__slot_data(
    const weir_session_t *session, const weir__slot_t *slot, const weir_value_t *inputs);

// profile.c: room for so many steps more, so that a step that is noted allocates nothing.
weir_status_t weir__profile_reserve(weir_session_t *session, uint32_t step_count);

// device_profile.c: what devices say of a profiled run. At its beginning (0) and end (1).
void weir__profile_clocks(weir_session_t *session, uint32_t end);
// The id of a launch made now.
uint64_t weir__profile_launch_id(const weir_session_t *session);
// What a device said of one node of a launch, in our time. false: there are not so many records.
typedef struct weir__profile_record {
    uint32_t step; // of the profile
    uint32_t node; // of the launch
    uint64_t start_ns, duration_ns;
} weir__profile_record_t;
bool weir__profile_record(
    const weir_session_t *session, uint32_t index, weir__profile_record_t *out_record);

// run.c: makes steps until the run ends (true: run.status says how) or waits for a device (false:
// another thread may already be going on with it, so it must not be touched).
bool weir__run_advance(weir_session_t *session);
// Before a run begins: waits until the devices have ended what an earlier run left to them. As
// weir__run_advance(), but true means that the run can begin if run.status is NULL.
bool weir__run_settle(weir_session_t *session);
// Notes how far each device is where a specialization begins.
void weir__run_mark_lanes(weir_session_t *session);
// Sleeps until a blocking run that waits can go on, at most until its deadline.
void weir__run_wait(weir_session_t *session);

#endif
