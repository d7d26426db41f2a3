// scheduler/core/core.h: the decision core of the scheduler: step(state, event, now) -> actions.
//
// It decides which request is taken or refused, which rows leave together, when and to where, and
// how each request ends. It is a pure function of its state, the event and the time it is told, in
// integers only, so that a simulator with a virtual clock drives it as the real loop does and every
// trace replays bit for bit.
//
// What must not be here: a clock, a thread, a file, an allocation, a floating-point number, a
// tensor. The core knows tickets and numbers; whoever drives it owns buffers, runs batches and
// calls people back.
#ifndef WEIR_SCHEDULER_CORE_H
#define WEIR_SCHEDULER_CORE_H

#include <stddef.h>
#include <stdint.h>
#include <weir/plugin.h>

// "No deadline", and "no timer".
#define WEIR__CORE_NEVER UINT64_MAX
// The fewest actions that a caller's array must hold.
#define WEIR__CORE_ACTION_COUNT_MIN 8u
// The greatest batch_rows: curves have a point for each power of two up to here.
#define WEIR__CORE_BATCH_ROWS_MAX 1024u
// Teams of threads that instances may share, the one that is none included.
#define WEIR__CORE_TEAM_COUNT 257u

// Everything that the core may use is sized here, once. All counts are at least 1.
typedef struct weir__core_limits {
    uint32_t request_count;  // accepted and not ended, running ones included
    uint32_t model_count;    // (model, version) pairs
    uint32_t lane_count;     // (model, version, dtype, shape class) that are in use at a time
    uint32_t flow_count;     // (lane, tenant, priority, kind of deadline) that are in use at a time
    uint32_t instance_count; // may run one batch each
    uint32_t device_count;
    uint32_t tenant_count;
    uint32_t batch_rows;          // the greatest of any model
    uint64_t queue_bytes;         // of accepted requests
    uint64_t ageing_ns;           // one step of priority is worth so much waiting
    uint64_t patience_ns;         // a request without deadline is ordered as if it had this one
    uint64_t stranded_ns;         // how long requests wait for a model that has no instance left
    uint64_t watchdog_min_ns;     // no batch is suspect before
    uint64_t watchdog_unknown_ns; // the same where nothing is known yet
    uint64_t timer_margin_ns;     // how late the driver's timers may be
    uint64_t scale_up_ns;         // pressure for so long asks for an instance
    uint64_t scale_down_ns;       // idleness for so long gives one back
    uint64_t retry_ns;            // the advice where nothing better is known
    uint32_t row_steps; // not 0: the driver fills batches up to weir__core_row_step() rows
} weir__core_limits_t;

typedef enum weir__core_event_kind {
    WEIR__EVENT_ARRIVAL,       // ticket, model.., tenant, priority, rows, bytes, deadline_ns, once
    WEIR__EVENT_CANCEL,        // ticket; a stale one is ignored
    WEIR__EVENT_TIMER,         // the time of the last SET_TIMER has come; early ones do no harm
    WEIR__EVENT_INSTANCE_IDLE, // instance: may take a batch
    WEIR__EVENT_BATCH_DONE,    // batch, code, rows: how many came out; a stale one is ignored
    WEIR__EVENT_DEVICE_STATE,  // device, state; count: how many batches at a time (first time only)
    WEIR__EVENT_MODEL_ADD,    // model, version, rows: the greatest batch (1: never stacked), count:
                              // instances to keep
    WEIR__EVENT_MODEL_REMOVE, // model, version: takes no more; what was taken still runs
    WEIR__EVENT_INSTANCE_ADD, // instance, model, version, device, count: loading; INSTANCE_IDLE
                              // follows. count: the team whose threads it shares; 0: nobody's
    WEIR__EVENT_INSTANCE_REMOVE, // instance: now if idle, else after its batch
    WEIR__EVENT_TENANT,          // tenant, count: its weight
    WEIR__EVENT_LIMITS,          // count and bytes of the queue, at most those of the start
    WEIR__EVENT_SAMPLE,          // model.., device, rows, elapsed_ns: of a probe
    WEIR__EVENT_CURVE, // model.., device, rows, elapsed_ns, count, once: a point that was kept, its
                       // mean, the tail, was it seen? From the least on, before any sample
    WEIR__EVENT_DRAIN  // deadline_ns: takes no more; ends what is left then
} weir__core_event_kind_t;

typedef enum weir__device_state {
    WEIR__DEVICE_ABSENT,
    WEIR__DEVICE_HEALTHY,
    WEIR__DEVICE_SUSPECT,     // a batch is over its budget: nothing new goes there
    WEIR__DEVICE_QUARANTINED, // twice over: its requests run elsewhere, its instances are gone
    WEIR__DEVICE_PROBATION,   // back, one request at a time until some have been right
    WEIR__DEVICE_LOST
} weir__device_state_t;

typedef struct weir__core_event {
    weir__core_event_kind_t kind;
    uint64_t ticket; // generation << 32 | index, made by the driver: an index is used again only
                     // after its FINAL, with another generation; generation 0 is none
    uint64_t batch;
    uint64_t deadline_ns; // absolute, or WEIR__CORE_NEVER
    uint64_t bytes;
    uint64_t elapsed_ns;
    uint32_t model;
    uint32_t version;
    uint32_t dtype; // with `shape` the key of what may be stacked
    uint32_t shape;
    uint32_t tenant;
    uint32_t priority; // 0 is the most urgent
    uint32_t rows;
    uint32_t count;
    uint32_t instance;
    uint32_t device;
    weir__device_state_t state;
    weir_code_t code;
    uint32_t idle; // not 0: the instance may take the next batch at once, without an INSTANCE_IDLE
    uint32_t once; // not 0: must never be executed twice (it changes state that is kept)
} weir__core_event_t;

typedef enum weir__core_action_kind {
    WEIR__ACTION_ADMIT,      // ticket
    WEIR__ACTION_REFUSE,     // ticket, code, why, time_ns: retry after (0: no use)
    WEIR__ACTION_DISPATCH,   // batch, instance, device, rows, count, why; weir__core_batch() names
                             // the tickets
    WEIR__ACTION_STOP,       // batch, instance: nobody waits for it any more
    WEIR__ACTION_FINAL,      // ticket, code, why, batch (0: never ran)
    WEIR__ACTION_SET_TIMER,  // time_ns replaces the timer before; WEIR__CORE_NEVER: none
    WEIR__ACTION_DEVICE,     // device, state: what the core thinks of it now
    WEIR__ACTION_GONE,       // instance: it may be freed; lost ones only when their device lets go
    WEIR__ACTION_SCALE_UP,   // model, version: one more instance would help
    WEIR__ACTION_SCALE_DOWN, // instance: one less would do; INSTANCE_REMOVE answers
    WEIR__ACTION_DRAINED
} weir__core_action_kind_t;

typedef enum weir__core_why {
    WEIR__WHY_NONE,
    WEIR__REFUSE_TICKET,     // in use, or no ticket
    WEIR__REFUSE_REQUEST,    // rows, tenant or priority that can't be
    WEIR__REFUSE_MODEL,      // no such version
    WEIR__REFUSE_EXPIRED,    // the deadline has passed
    WEIR__REFUSE_INFEASIBLE, // it would pass before an answer
    WEIR__REFUSE_COUNT,      // the queue is full
    WEIR__REFUSE_BYTES,      // the queue is full
    WEIR__REFUSE_TENANT,     // this tenant's part of it is
    WEIR__REFUSE_LANES,      // too many shapes or flows at a time
    WEIR__REFUSE_NO_INSTANCE,
    WEIR__REFUSE_DRAINING,
    WEIR__DISPATCH_FULL,
    WEIR__DISPATCH_LATEST_START, // later would miss the earliest deadline
    WEIR__DISPATCH_IDLE,         // waiting for more rows gains nothing
    WEIR__DISPATCH_RERUN,        // alone, after its batch failed
    WEIR__DISPATCH_PROBE,        // one request, to a device in probation
    WEIR__DISPATCH_DRAIN,
    WEIR__FINAL_DONE,
    WEIR__FINAL_FAILED,          // alone, or must not run twice
    WEIR__FINAL_EXPIRED_QUEUED,  // the deadline came while it waited
    WEIR__FINAL_EXPIRED_RUNNING, // while it ran
    WEIR__FINAL_DROPPED,         // could not make its deadline any more, so it was not run
    WEIR__FINAL_CANCELLED,
    WEIR__FINAL_LOST,     // its device was lost, a second time or for a request that runs once
    WEIR__FINAL_STRANDED, // no instance came back
    WEIR__FINAL_DRAINED,  // the drain's deadline
    WEIR__WHY_COUNT
} weir__core_why_t;

typedef struct weir__core_action {
    weir__core_action_kind_t kind;
    weir__core_why_t why;
    weir_code_t code;
    weir__device_state_t state;
    uint64_t ticket;
    uint64_t batch;
    uint64_t time_ns;
    uint32_t instance;
    uint32_t device;
    uint32_t model;
    uint32_t version;
    uint32_t rows;
    uint32_t count;
} weir__core_action_t;

// What is known of a lane's costs on a device.
#define WEIR__CORE_CURVE_POINTS 11 // 1, 2, 4 .. 1024 rows
typedef struct weir__core_curve {
    uint64_t mean_ns[WEIR__CORE_CURVE_POINTS];
    uint32_t tail;     // p95 over mean, in 1/1024
    uint32_t seen_log; // bit i: point i was part of a sample
} weir__core_curve_t;

typedef struct weir__core weir__core_t;

// Values for a server of middling size; times as docs/scheduler.md explains them.
weir__core_limits_t weir__core_limits_default(void);

// The least of 1, 2, 3, 4, 6, 8, 12, 16, 18, 20 … 32, 36 … 64 that is not below `count`, and above
// those of 72, 80 … 128 where `most` is at most 128, else of 96, 128, 192 …; `most` where that
// would be above it. What a driver runs such a batch as, so that at most 32 shapes are ever met,
// and yet less than an eighth of one of more than 16 rows is for nothing, or less than a third.
uint32_t weir__core_row_step(uint32_t count, uint32_t most);

// How much memory a core with these limits takes. INVALID_ARGUMENT: a count of 0 or above what
// indices hold.
weir_code_t weir__core_size(const weir__core_limits_t *limits, size_t *out_bytes);

// Makes a core in `memory` (aligned as malloc aligns, and at least weir__core_size() long), which
// stays the caller's and needs no clean-up.
weir_code_t weir__core_init(
    void *memory, size_t bytes, const weir__core_limits_t *limits, weir__core_t **out_core);

// Decides. `now_ns` never falls. Writes at most `capacity` (>= WEIR__CORE_ACTION_COUNT_MIN)
// actions; what does not fit is done by the next step, for which a timer of `now_ns` is set.
// INVALID_ARGUMENT: the event names something that is not there; nothing has changed then, except
// that time went on. Cost: no allocation; an arrival at a busy model is O(flows of its lane).
weir_code_t weir__core_step(weir__core_t *core, const weir__core_event_t *event, uint64_t now_ns,
    weir__core_action_t *actions, size_t capacity, size_t *out_count);

// The tickets of the batch that was dispatched to an instance; read them before the next step.
// Returns how many there are, at most `capacity`.
size_t weir__core_batch(
    const weir__core_t *core, uint32_t instance, uint64_t *out_tickets, size_t capacity);

// Tickets that wait where those came from that the instance runs, those that are likely to leave
// next first: a guess, for a driver that prepares batches. Returns how many, at most `capacity`.
size_t weir__core_next(
    const weir__core_t *core, uint32_t instance, uint64_t *out_tickets, size_t capacity);

// What has been learned of a lane on a device, to be kept. Returns 0 where that is nothing.
int weir__core_curve(const weir__core_t *core, uint32_t model, uint32_t version, uint32_t dtype,
    uint32_t shape, uint32_t device, weir__core_curve_t *out_curve);

#endif
