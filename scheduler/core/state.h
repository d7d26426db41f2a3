// scheduler/core/state.h: what the core remembers, and the functions that its files share.
//
// Everything is an index into an array that was sized at the start; WEIR__NONE is no index. What
// must not be here: a pointer into memory that is not the core's.
#ifndef WEIR_SCHEDULER_CORE_STATE_H
#define WEIR_SCHEDULER_CORE_STATE_H

#include "scheduler/core/core.h"
#include "scheduler/core/curve.h"
#include "scheduler/core/mutant.h"

#define WEIR__NONE UINT32_MAX
#define WEIR__PRIORITY_COUNT 8u

typedef enum weir__request_state {
    WEIR__REQUEST_FREE,
    WEIR__REQUEST_QUEUED,
    WEIR__REQUEST_RUNNING
} weir__request_state_t;

typedef struct weir__request {
    uint64_t deadline_ns;
    uint64_t order_ns; // the deadline, or arrival + patience
    uint64_t sequence; // of arrivals
    uint64_t bytes;
    uint64_t charged_ns; // to its tenant and flow when it left
    uint32_t generation; // the last one that was used
    uint32_t rows;
    uint32_t flow;
    uint32_t child, next,
        prev;          // in a heap; prev is the left sibling, or the parent of the first child
    uint32_t instance; // while it runs
    uint8_t state;
    uint8_t alone; // its batch failed: it runs by itself now
    uint8_t lost_count;
    uint8_t once;
} weir__request_t;

// Requests of one tenant and priority in one lane whose deadlines are about as tight: their fair
// share is one.
typedef struct weir__flow {
    uint64_t account_ns;
    uint64_t left_out;  // the batch that does not take it
    uint64_t newest_ns; // the latest deadline so far
    uint32_t lane;      // WEIR__NONE: unused
    uint32_t tenant;
    uint32_t priority;
    uint32_t tightness;     // log2 of the time left at arrival, in quarters; 0: no deadline
    uint32_t next;          // in its lane
    uint32_t heap;          // queued, earliest deadline first
    uint32_t last;          // the request put last; it may have left meanwhile
    uint32_t queued_rows;   // in the heap
    uint32_t request_count; // accepted and not ended
} weir__flow_t;

// Requests that may be stacked.
typedef struct weir__lane {
    uint64_t account_ns;
    uint64_t due_ns;      // when it wants to be looked at
    uint64_t gap_ns;      // between rows that arrive, smoothed; 0: unknown
    uint64_t arrived_ns;  // the last one
    uint64_t pressed_ns;  // when it last could not take or keep everything
    uint64_t learned_ns;  // when a batch of it last ended well
    uint64_t stranded_ns; // since when no instance could run it; WEIR__CORE_NEVER: one can
    uint32_t model;       // WEIR__NONE: unused
    uint32_t dtype, shape;
    uint32_t next_in_bucket;
    uint32_t flow;         // first of its flows
    uint32_t alone;        // heap of requests that run by themselves
    uint32_t queued_rows;  // in the flows' heaps
    uint32_t queued_count; // with those that run alone
    uint32_t request_count;
    uint32_t batch_count;  // that run, or are not settled
    uint32_t active_index; // in core->active, while something is queued
} weir__lane_t;

typedef struct weir__model {
    uint64_t pressure_ns; // since when the predicted delay is too long; WEIR__CORE_NEVER: it isn't
    uint32_t model, version;
    uint32_t batch_rows;
    uint32_t keep_count; // instances that stay however idle
    uint32_t instance_count;
    uint32_t idle_count;
    uint32_t parallel_count; // batches at a time on devices that work
    uint32_t instance;       // first of its instances
    uint32_t request_count;
    uint8_t used, removed;
} weir__model_t;

typedef enum weir__instance_state {
    WEIR__INSTANCE_ABSENT,
    WEIR__INSTANCE_LIVE,
    WEIR__INSTANCE_LEAVING, // goes after its batch
    WEIR__INSTANCE_DEAD     // its device is gone; goes when its requests are settled
} weir__instance_state_t;

typedef enum weir__batch_state {
    WEIR__BATCH_NONE,
    WEIR__BATCH_RUNNING,
    WEIR__BATCH_ENDED_WELL,
    WEIR__BATCH_FAILED,
    WEIR__BATCH_LOST
} weir__batch_state_t;

typedef struct weir__instance {
    uint64_t batch; // the id of the one that runs
    uint64_t started_ns;
    uint64_t expected_ns; // when it should end
    uint64_t budget_ns;   // how long it may take
    uint64_t deadline_ns; // the earliest of its requests
    uint64_t due_ns;      // of watchdog, deadline and idleness
    uint64_t idle_since_ns;
    uint32_t model, device;
    uint32_t team; // whose threads it shares with others; 0: nobody's
    uint32_t next; // of its model
    uint32_t lane;
    uint32_t rows;
    uint32_t started_count; // requests that it began with
    uint32_t member_count;  // entries of members[], WEIR__NONE for those that ended early
    uint32_t waiting_count; // members that have not ended
    weir_code_t code;
    uint8_t state, batch_state, idle, asked_down;
    uint8_t settling; // its batch or itself has come to an end that is not yet told
} weir__instance_t;

typedef struct weir__device {
    uint32_t slot_count, busy_count;
    uint32_t right_count; // in probation
    uint8_t state;
    uint8_t told; // the state that the driver knows
} weir__device_t;

typedef struct weir__tenant {
    uint64_t account_ns;
    uint64_t flow_level_ns;                   // where a flow of it that was idle comes in
    uint64_t lowest_ns[WEIR__PRIORITY_COUNT]; // scratch of fair.c
    uint32_t weight;
    uint32_t request_count, queued_count;
} weir__tenant_t;

struct weir__core {
    weir__core_limits_t limits;
    weir__request_t *requests;
    weir__flow_t *flows;
    weir__lane_t *lanes;
    weir__curve_t *curves; // [lane][device]
    uint32_t *buckets;     // lanes by key
    uint32_t *active;      // lanes with something queued
    weir__model_t *models;
    weir__instance_t *instances;
    uint32_t *members; // [instance][limits.batch_rows]
    weir__device_t *devices;
    weir__tenant_t *tenants;
    uint32_t team_busy[WEIR__CORE_TEAM_COUNT]; // batches that run on each
    uint32_t bucket_count, active_count;
    uint32_t last_lane; // of the arrival before
    uint32_t count_max; // of the queue now
    uint64_t bytes_max;
    uint32_t request_count;
    uint64_t bytes;
    uint64_t batch_sequence;
    uint64_t arrival_sequence;
    uint64_t tenant_level_ns, lane_level_ns; // where what was idle comes in
    uint64_t now_ns;
    uint64_t timer_ns;  // set at the driver
    uint64_t wanted_ns; // what it should be
    uint64_t drain_ns;
    uint32_t settling_count; // instances with something to settle
    uint32_t removed_count;  // models that are on their way out
    uint32_t look_lane;      // the one lane that may have become ready
    uint8_t draining, drained_told;
    uint8_t look_all;             // any lane may have
    uint8_t more;                 // the actions were full
    uint8_t sweep;                // time has come for something
    uint8_t untold;               // a device has changed
    weir__core_action_t *actions; // the caller's, during a step
    size_t action_count, action_capacity;
};

// step.c: a place for one more action, or NULL when there is none (then core->more is set). One is
// kept free.
weir__core_action_t *weir__core_emit(weir__core_t *core, weir__core_action_kind_t kind);
// Wants a look at `when_ns`.
void weir__core_want(weir__core_t *core, uint64_t when_ns);

// queue.c
// near: a request in this heap that is likely to go before this one, or WEIR__NONE.
void weir__heap_push(weir__core_t *core, uint32_t *root, uint32_t request, uint32_t near);
void weir__heap_remove(weir__core_t *core, uint32_t *root, uint32_t request);
void weir__queue_put(weir__core_t *core, uint32_t request);  // also again, after a loss
void weir__queue_take(weir__core_t *core, uint32_t request); // out of the queue, not yet ended
// Ends a request that waits or runs. Returns 0 when there is no room for the action: nothing
// changed.
int weir__queue_end(weir__core_t *core, uint32_t request, weir_code_t code, weir__core_why_t why);
// The request of a ticket, or WEIR__NONE when it is stale.
uint32_t weir__queue_find(const weir__core_t *core, uint64_t ticket);

// lane.c: WEIR__NONE when there is no place.
uint32_t weir__lane_get(weir__core_t *core, uint32_t model, uint32_t dtype, uint32_t shape);
uint32_t weir__lane_find(const weir__core_t *core, uint32_t model, uint32_t dtype, uint32_t shape);
uint32_t weir__flow_get(weir__core_t *core, uint32_t lane, uint32_t tenant, uint32_t priority,
    uint64_t deadline_ns, uint64_t now_ns);
uint32_t weir__model_find(const weir__core_t *core, uint32_t model, uint32_t version);
void weir__lane_forget_model(weir__core_t *core, uint32_t model);

// fair.c
void weir__fair_enter(
    weir__core_t *core, uint32_t flow); // before the first request of a flow is put
void weir__fair_charge(weir__core_t *core, uint32_t request, uint64_t cost_ns);
void weir__fair_correct(weir__core_t *core, uint32_t request, uint64_t cost_ns);
// The flow of a lane whose head goes next, or WEIR__NONE.
uint32_t weir__fair_flow(weir__core_t *core, uint32_t lane, uint64_t burst_ns);
uint64_t weir__fair_lane_account(const weir__core_t *core, uint32_t lane);

// admit.c
weir_code_t weir__admit(weir__core_t *core, const weir__core_event_t *event);

// place.c: where a batch of a lane could go.
weir__curve_t *weir__place_curve(const weir__core_t *core, uint32_t lane, uint32_t device);
// The best for so many rows of those whose devices work; one of unknown costs when there is none.
const weir__curve_t *weir__place_best_curve(const weir__core_t *core, uint32_t lane, uint32_t rows);
void weir__place_recount(weir__core_t *core);
// How long until an instance of the model should be free.
uint64_t weir__place_residual(const weir__core_t *core, uint32_t model);
// The idle instance that should end such a batch first, or WEIR__NONE: there is none, or waiting
// for a faster one is better (then *out_wait_ns says until when; else it is WEIR__CORE_NEVER).
uint32_t weir__place_choose(const weir__core_t *core, uint32_t lane, uint32_t rows,
    uint32_t *out_usable_count, uint64_t *out_wait_ns);
// An idle instance on a device in probation that has nothing to do, or WEIR__NONE.
uint32_t weir__place_probation(const weir__core_t *core, uint32_t lane);
// Has nothing been learned for so long that predictions are not to be believed?
int weir__place_stale(const weir__core_t *core, uint32_t lane);

// expire.c
uint64_t weir__expire_next(const weir__core_t *core, uint32_t lane); // earliest deadline that waits
void weir__expire_sweep(weir__core_t *core);                         // all that time alone changes

// decide.c: may a batch of this lane leave now? Returns the reason, or WEIR__WHY_NONE.
weir__core_why_t weir__decide(weir__core_t *core, uint32_t lane, uint32_t *out_instance);

// trim.c
// Drops heads of a flow that can't be in time in a batch of `rows`. Where less waits than `share`,
// only those go that could not even make it alone, or that would make the batch so small that more
// is lost than they. Returns 0 when the flow has nothing left, or when nothing more can be told.
typedef struct weir__trim {
    const weir__curve_t *curve;
    uint64_t start_ns; // when the batch leaves
    uint32_t rows, share;
    uint32_t most; // how many at a time
    int stale;     // predictions are not to be believed
} weir__trim_t;
int weir__trim(weir__core_t *core, uint32_t flow, const weir__trim_t *trim);
uint32_t weir__trim_share(const weir__core_t *core, uint32_t lane, uint32_t batch_rows);
int weir__trim_room(weir__core_t *core); // for a FINAL, and a DISPATCH after it

// batch.c
void weir__batch_dispatch(weir__core_t *core);
void weir__batch_forget(
    weir__core_t *core, uint32_t request); // a member that ended before its batch

// settle.c
weir_code_t weir__settle_done(weir__core_t *core, const weir__core_event_t *event);
void weir__settle_mark(weir__core_t *core, uint32_t instance);
void weir__settle(weir__core_t *core);

// device.c
weir_code_t weir__device_event(weir__core_t *core, const weir__core_event_t *event);
void weir__device_tell(weir__core_t *core); // what has changed, before what follows from it
void weir__device_watch(weir__core_t *core, uint32_t instance);
void weir__device_right(weir__core_t *core, uint32_t device); // a batch came back right

// instance.c
weir_code_t weir__instance_event(weir__core_t *core, const weir__core_event_t *event);
void weir__instance_set_idle(weir__core_t *core, uint32_t instance, int idle);
void weir__instance_free(weir__core_t *core, uint32_t instance);

// config.c
weir_code_t weir__config_event(weir__core_t *core, const weir__core_event_t *event);
void weir__config_forget(weir__core_t *core); // models that were removed and have nothing left

#endif
