// scheduler/loop/loop.h: what the loop's files share.
//
// Threads. Submitters take a free slot, fill it, put its index into a ring and wake the loop.
// Engine threads put the number of an instance whose run has ended. The loop's thread owns
// everything else: it tells the decision core what has happened and does what the core says.
// Models are added and removed by other threads under `lock`, and reach the loop as commands.
//
// What must not be here: libuv (wake.c has it), a decision (scheduler/core has them).
#ifndef WEIR_SCHEDULER_LOOP_H
#define WEIR_SCHEDULER_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <weir/scheduler.h>

#include "scheduler/core/core.h"
#include "scheduler/loop/futex.h"
#include "scheduler/observe/observe.h"
#include "scheduler/observe/spans.h"
#include "scheduler/loop/ring.h"
#include "scheduler/loop/trace.h"

#define WEIR__NAME_BYTES 64
#define WEIR__VERSION_BYTES 32
#define WEIR__LABELS_MAX 64
#define WEIR__INLINE_MAX 4     // sessions per model for runs on the submitter's thread
#define WEIR__SHARED_BYTES 256 // of inputs without rows, in the key of what may be stacked
#define WEIR__PLACED_MAX 8     // devices of one model
#define WEIR__ACTIONS WEIR__TRACE_ACTIONS
#define WEIR__ANSWERS 16u   // FINALs that are accounted for together
#define WEIR__INPUTS_MAX 64 // of a model that is served
#define WEIR__NO_INDEX UINT32_MAX

#define WEIR__TEXT_OF(x) #x
#define WEIR__LINE_OF(x) WEIR__TEXT_OF(x)
#define WEIR_FAIL(code, ...)                                                                       \
    weir_status_make((code), __FILE__ ":" WEIR__LINE_OF(__LINE__), __VA_ARGS__)

typedef struct weir__served weir__served_t;
typedef struct weir__instance weir__instance_t;

// ---- A request (submit.c fills it, the loop owns it from the ring on) --------------------------

typedef enum weir__slot_phase {
    WEIR__SLOT_FREE,
    WEIR__SLOT_HELD,    // waits for the request before it of its state
    WEIR__SLOT_LOADING, // waits for its model
    WEIR__SLOT_CORE,    // the core has it
    WEIR__SLOT_ENDED    // its FINAL waits for weir_wait()
} weir__slot_phase_t;

// Of a futex: has the FINAL been kept?
typedef enum weir__done {
    WEIR__DONE_NOT,
    WEIR__DONE_YES,
    WEIR__DONE_AWAITED // not, and somebody sleeps until it is
} weir__done_t;

// Two cache lines that go from the submitter to the loop and back, and two that stay with the loop.
typedef struct weir__slot {
    _Alignas(64) atomic_uint generation; // of its ticket, or of the next one
    atomic_uint next_free;
    atomic_uint cancelled; // the generation that weir_cancel() was called for
    atomic_uint done;      // weir__done_t
    atomic_uint waitable;  // submitted without a callback
    uint32_t rows;
    weir__served_t *served; // pinned
    const weir_value_t *inputs;
    weir_value_t *outputs;
    weir_event_fn callback;
    void *user_data;
    weir_state_t *state;
    uint64_t submitted_ns, deadline_ns, bytes, request_id;
    uint32_t tenant, priority;
    _Alignas(64) uint32_t phase;
    uint32_t shape; // of the table
    uint32_t next_held;
    uint32_t left;       // weir_left_t
    uint32_t batch_rows; // of the batch it ran in
    uint32_t instance;
    uint32_t first_row;
    uint32_t stage_row;
    uint64_t stage_epoch;          // in which it was packed ahead, at that row; 0: not
    const weir_receipt_t *receipt; // of where it ran; NULL: it never did
    uint64_t batch;
    uint64_t started_ns;
    uint64_t run_ns, ended_ns; // of the run that answered; for spans
    uint64_t compute_ns;
    weir_status_t own; // what became of this row in a batch that went well
} weir__slot_t;

// ---- What may be stacked (shapes.c) ------------------------------------------------------------

typedef struct weir__shape {
    weir__served_t *served; // NULL: unused
    uint64_t hash;
    uint64_t used;      // when last, counted in requests
    uint32_t users;     // requests
    uint32_t id;        // what the core knows it by
    uint32_t next;      // in its bucket
    uint32_t key_count; // of words
    uint32_t key_capacity;
    int64_t *key;
} weir__shape_t;

// ---- Models (served.c, build.c) ----------------------------------------------------------------

typedef enum weir__served_state {
    WEIR__SERVED_EMPTY,
    WEIR__SERVED_ADDING,
    WEIR__SERVED_SERVING,
    WEIR__SERVED_REMOVED
} weir__served_state_t;

typedef enum weir__residency { WEIR__RESIDENT, WEIR__COLD, WEIR__LOADING } weir__residency_t;

// A plan of a model on a device.
typedef struct weir__placed {
    weir_plan_t *plan;
    uint32_t device;  // of the scheduler
    uint32_t threads; // for one batch, at most; 0: its team's
    uint32_t instances_max;
    bool on_host; // its batches are computed by the teams' threads
    uint32_t instance_count, making_count;
    uint32_t failure_count; // of what the loader was to make for it, in a row
    uint64_t retry_ns;      // when it is to try again
    bool planning;          // the loader makes another plan
    bool missing;           // its device was away when the model was added
    weir_receipt_t receipt; // what all its answers have in common
} weir__placed_t;

// What of a plan is in its model's charge.
typedef struct weir__booked {
    uint64_t weight_bytes; // packed, and on its device
    uint64_t seat_bytes;   // of one instance, the most that one took
    uint32_t seat_count;
} weir__booked_t;

typedef struct weir__inline {
    atomic_uint busy;
    atomic_uint hung;    // it is busy with a run that was given up
    uint32_t hang_count; // in a row; whoever has it
    weir_session_t *session;
} weir__inline_t;

typedef enum weir__inline_ban {
    WEIR__INLINE_ALLOWED,
    WEIR__INLINE_NEVER, // there are no sessions for it, or they are of a device that is gone
    WEIR__INLINE_HUNG   // a run was given up: allowed again when the device has answered others
} weir__inline_ban_t;

// A dim that the request sets and that has the same name as an earlier one.
typedef struct weir__same_dim {
    uint32_t input, axis, first_input, first_axis;
} weir__same_dim_t;

typedef struct weir__buffer {
    void *data;
    size_t capacity;
} weir__buffer_t;

// Rows that are packed ahead of their batch (stage.c).
typedef struct weir__stage {
    weir__buffer_t *buffers; // [input_count], each for max_batch rows; NULL: none so far
    uint64_t epoch;          // which slots' rows are in them; 0: none
    uint32_t shape_id;
    uint32_t rows;
    uint32_t instance; // that ran the last batch: its lane is looked at
} weir__stage_t;

struct weir__served {
    atomic_uint state;
    atomic_uint pins; // requests, states, taps, and submitters who just look
    weir_scheduler_t *scheduler;
    atomic_uint label;
    atomic_uint_fast64_t name_hash;
    atomic_uint tapped;
    atomic_uint no_inline;          // weir__inline_ban_t
    atomic_uint inline_watched;     // that device may hang
    atomic_uint_fast64_t inline_ns; // the longest run there
    uint32_t index;
    uint32_t core_version; // which use of this place it is
    char name[WEIR__NAME_BYTES];
    char version[WEIR__VERSION_BYTES];
    uint32_t numbers[3]; // of the version
    bool numbered;
    weir_model_t *model;
    weir_model_info_t info;
    uint32_t input_count, output_count;
    weir_port_t *inputs, *outputs;
    int32_t *input_axes, *output_axes; // WEIR_AXIS_NONE where there are no rows
    weir_padding_t *paddings;
    uint32_t padding_count;
    weir__same_dim_t *same_dims;
    uint32_t same_dim_count;
    uint32_t max_batch; // 1: not stacked
    uint32_t instances_max, instances_min;
    bool spreads; // to an instance on each team, where it computes on host memory
    uint64_t deadline_ns;
    char batching[160];
    char *names;     // of the ports
    char *devices;   // as the options say; NULL: the engine's order
    char *precision; // of the plans; NULL: f32
    uint32_t threads;
    // Of a model that is loaded when needed (ledger.c).
    char *path; // NULL: it is always there
    atomic_uint residency;
    atomic_uint_fast64_t charge_bytes; // what is reserved for it
    atomic_uint_fast64_t grown_bytes;  // what it took besides, since: the loop's, and who lists
    uint64_t reload_ns;
    uint64_t buffer_bytes;  // of its batches and the next one; the loop's
    uint64_t charged_bytes; // of the charge, for those
    weir__booked_t booked[WEIR__PLACED_MAX];
    weir__placed_t placed[WEIR__PLACED_MAX];
    uint32_t placed_count;
    weir__inline_t inlines[WEIR__INLINE_MAX];
    weir_tap_t *tap; // the loop's
    weir__observe_series_t *series;
    // The loop's.
    uint32_t in_loop;       // requests
    uint32_t held_count;    // of those, not yet told to the core
    uint32_t running_count; // requests in batches that run
    uint32_t batch_count;   // those batches
    uint32_t instance_count;
    uint32_t good_count; // batches that its first device has answered since a run there hung
    uint32_t last_shape; // of the request before, of the table
    weir__stage_t stage;
    uint32_t first_waiting, last_waiting; // requests, while it is not resident
    double rate;                          // of requests, decaying
    uint64_t rate_ns;                     // when it was that
    uint32_t making_count;                // instances that the loader makes
    uint64_t wants_load_order;
    bool in_core, wants_up, wants_load;
};

// ---- Instances (run.c) -------------------------------------------------------------------------

struct weir__instance {
    _Atomic(weir__served_t *) served; // NULL: unused; the rest is whose that takes it
    weir_scheduler_t *scheduler;
    uint32_t index;
    atomic_uint team; // of the engine's, while it is used
    // From here on zero while it is unused.
    weir__placed_t *placed;
    weir_session_t *session;
    weir_cancel_t *cancel;
    bool running;
    bool gone;               // the core has given it up: freed when its run has ended
    bool known;              // to the core
    bool stopped;            // `cancel` was raised
    bool wants_down;         // to be given back
    weir__buffer_t *buffers; // [input_count]
    weir_value_t *inputs, *outputs;
    uint64_t charge_bytes;          // of it, what is not in the model's charge
    uint64_t known_bytes;           // of its session, as the books have it
    uint32_t seen_shape, seen_rows; // of batches since it was looked at: larger ones take more
    bool unseen;                    // this batch is one of those
    uint64_t *tickets;              // of the batch
    uint32_t ticket_count;
    uint32_t rows, run_rows; // of requests; with the filling
    uint64_t batch;
    uint64_t started_ns, ended_ns;
    uint64_t run_ns; // when packing was over
    weir__core_why_t why;
    weir_status_t status; // of the run
};

// ---- The scheduler -----------------------------------------------------------------------------

typedef struct weir__loop_device {
    char name[32];
    weir__device_state_t state;
    uint32_t slots;      // batches at a time
    uint32_t held_count; // given-up instances whose runs have not ended
    bool told;           // the core knows it
    bool returning;      // the loader opens it again
    uint64_t retry_ns;   // when that is tried again; 0: at once
    uint32_t running_count;
    weir__observe_series_t *series;
} weir__loop_device_t;

typedef enum weir__command_kind {
    WEIR__COMMAND_ADD,    // served
    WEIR__COMMAND_REMOVE, // served
    WEIR__COMMAND_DRAIN,  // deadline_ns, drained
    WEIR__COMMAND_TAP,    // served, tap
    WEIR__COMMAND_UNTAP   // tap: frees it
} weir__command_kind_t;

// A probe of the warm-up, or what was kept of another process, for the core's curves.
typedef struct weir__sample {
    uint32_t placed, rows;
    uint64_t elapsed_ns;
    uint32_t tail; // not 0: a point of a curve that was kept, as weir__core_curve_t has it
    uint32_t seen; // was it part of a sample there?
    uint64_t hash; // of the shape, with its key
    uint32_t key_count;
    int64_t *key;
} weir__sample_t;

typedef struct weir__command {
    struct weir__command *next;
    weir__command_kind_t kind;
    weir__served_t *served;
    weir_tap_t *tap;
    size_t after; // DRAIN: requests that were put before this are taken first
    uint64_t deadline_ns;
    weir_drained_fn drained;
    void *user_data;
    uint32_t sample_count;
    weir__sample_t *samples;
} weir__command_t;

// A FINAL that is about to be told.
typedef struct weir__answer {
    weir_event_t event;
    weir_event_fn callback;
    void *user_data;
    uint32_t slot;
} weir__answer_t;

typedef struct weir__loader weir__loader_t; // ledger.c: the thread that loads and frees models
typedef struct weir__wake weir__wake_t;     // wake.c: libuv's handles, the loop's thread

struct weir_scheduler {
    weir_engine_t *engine;
    uint32_t team_count; // of the engine
    weir_scheduler_options_t options;
    weir__core_limits_t limits;
    weir__wake_t *wake;
    // Shared with submitters and engine threads.
    _Alignas(64) atomic_uint_fast64_t free_head; // tag << 32 | index + 1
    _Alignas(64) atomic_uint sleeping;           // the loop sleeps, or is about to
    atomic_uint draining;
    atomic_uint scan_cancels; // the ring was full for one
    atomic_uint commands_waiting;
    _Alignas(64) atomic_uint_fast64_t queue_bytes;
    atomic_uint in_flight;               // accepted and not ended
    _Alignas(64) weir__ring_t submitted; // index << 1 | is a cancel
    weir__ring_t ended;                  // instance
    atomic_uint ended_count;             // a futex for the end of the loop
    atomic_uint posters;                 // engine threads inside `done`
    atomic_uint closing;
    atomic_uint drained_told; // a futex
    atomic_uint_fast64_t refused, finals, inline_runs, batches, batch_rows;
    weir__observe_t *observe;
    weir__spans_t *spans;             // NULL: nobody asked for them
    weir__observe_series_t **tenants; // [limits.tenant_count]
    weir__slot_t *slots;
    weir_event_t *kept;       // [requests]: FINALs for weir_wait()
    weir__served_t *models;   // [options.models]
    atomic_uint model_high;   // models[] in use are below
    atomic_uint served_moves; // models and labels that came to a place
    atomic_uint unpinned;     // a model that was removed has a pin less
    // Under `lock`.
    weir__loader_t *loader;
    atomic_uint_fast64_t memory_bytes; // memory_used, for whoever asks
    pthread_mutex_t lock;
    weir__command_t *commands, **commands_end;
    char (*labels)[WEIR__VERSION_BYTES]; // [WEIR__LABELS_MAX], only ever added to
    atomic_uint label_count;
    weir__loop_device_t devices[WEIR__PLACED_MAX * 2];
    uint32_t device_count;
    weir__served_t nobody;       // of instances that are being made
    weir__instance_t *instances; // [limits.instance_count]
    uint32_t core_versions;
    // The loop's.
    void *core_memory;
    weir__core_t *core;
    weir__core_action_t *actions; // [WEIR__ACTIONS]
    weir__answer_t *answers;      // [WEIR__ANSWERS], of one model
    uint32_t answer_count;
    uint64_t answer_bytes; // of their inputs
    weir__served_t *answer_served;
    weir__shape_t *shapes;
    uint32_t *shape_buckets;
    uint32_t shape_bucket_count, shape_ids;
    uint64_t shape_uses;
    int64_t *key; // scratch
    uint32_t key_capacity;
    uint64_t now_ns, timer_ns;
    atomic_ulong thread;         // whoever runs the loop, while it does; 0: nobody
    uint64_t ending_batch;       // whose FINALs are being made,
    weir_status_t ending_status; // and how it ended
    // The earliest deadline of requests that the core does not know, or when the chores have
    // something to try again: they say so each time.
    uint64_t held_due_ns;
    uint64_t drain_due_ns;   // of a drain that waits for those
    uint64_t memory_used;    // reserved for models,
    uint64_t memory_fixed;   // of that, for those that are always there, as they have grown,
    uint64_t memory_leaving; // of that, what is being freed
    uint64_t load_orders;
    uint32_t loads_waiting;
    weir_state_t *ready_states;                // whose next request may go on
    weir__command_t *later;                    // commands that wait for requests before them
    uint32_t running_count;                    // instances
    uint32_t team_running[WEIR_TEAMS_MAX + 1]; // of those, on each team, by weir__seat_team()
    uint64_t stage_epochs;
    bool chores, drained, drain_asked;
    bool stages_wanted; // something may be packed ahead
    bool memory_over;   // what is there has grown over the bound
    weir_drained_fn drained_fn;
    void *drained_user_data;
    FILE *trace;
};

void weir__loop_log(const weir_scheduler_t *scheduler, weir_log_level_t level, uint64_t request_id,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

// ---- statuses.c: what is said on the request path; constants -----------------------------------
weir_status_t weir__loop_status(weir_code_t code, weir__core_why_t why);
weir_status_t weir__loop_no_memory(void);
weir_status_t weir__loop_capacity(void); // an output's buffer is too small

// ---- slots.c -----------------------------------------------------------------------------------
void weir__slots_init(weir_scheduler_t *scheduler);
uint32_t weir__slot_take(weir_scheduler_t *scheduler); // WEIR__NO_INDEX: none is free
// The slots of `count` answers.
void weir__slots_give(weir_scheduler_t *scheduler, const weir__answer_t *answers, uint32_t count);
void weir__slot_give(weir_scheduler_t *scheduler, uint32_t index);
static inline weir_ticket_t weir__slot_ticket(const weir_scheduler_t *scheduler, uint32_t index)
{
    return (weir_ticket_t)atomic_load_explicit(
               &scheduler->slots[index].generation, memory_order_relaxed)
               << 32 |
           index;
}

// ---- served.c ----------------------------------------------------------------------------------
// The model of a selector, pinned: weir__served_unpin(). NULL: none.
weir__served_t *weir__served_find(weir_scheduler_t *scheduler, const char *selector);
weir_status_t weir__served_unknown(const weir_scheduler_t *scheduler, const char *selector);
void weir__served_unpin(weir__served_t *served);
void weir__served_unpin_many(weir__served_t *served, uint32_t count);
// Frees what a model that was removed has left, when nothing needs it. The loop.
void weir__served_settle(weir_scheduler_t *scheduler, weir__served_t *served);
// Frees everything that it owns.
void weir__served_clear(weir_scheduler_t *scheduler, weir__served_t *served);

static inline void weir__served_gauges(weir__served_t *served)
{
    // A request that ended while its batch runs is in the one number and not in the other.
    uint32_t running = WEIR_MIN(served->running_count, served->in_loop);
    weir__observe_set(&served->series->queued, served->in_loop - running);
    weir__observe_set(&served->series->running, served->batch_count);
    weir__observe_set(&served->series->instances, served->instance_count);
}

// ---- build.c: a served model from a weir_model_t -----------------------------------------------
weir_status_t weir__build(weir_scheduler_t *scheduler, weir__served_t *served, weir_model_t *model,
    const weir_serving_options_t *options);
// Its plans and instances: at first, and each time that it is loaded again.
weir_status_t weir__build_resident(
    weir_scheduler_t *scheduler, weir__served_t *served, weir_model_t *model);
// Takes a place for an instance of a plan and makes it. Not the loop: that takes long.
weir_status_t weir__seat_create(weir_scheduler_t *scheduler, weir__served_t *served,
    weir__placed_t *placed, weir_plan_t *plan, weir__instance_t **out_instance);
void weir__seat_free(weir__instance_t *instance);
// Whose threads compute its batches, as the core counts teams: from 1; 0: a device's.
uint32_t weir__seat_team(const weir__instance_t *instance);

// ---- probe.c: are rows independent, and what do batches cost? ----------------------------------
weir_status_t weir__probe(weir_scheduler_t *scheduler, weir__served_t *served,
    const weir_serving_options_t *options, weir__command_t *command);

// ---- shapes.c ----------------------------------------------------------------------------------
// Batches are run at weir__core_row_step() rows, so that few shapes are ever met.
uint32_t weir__shape_round(uint32_t count, uint32_t most);
// The length that an input of this one is filled up to.
int64_t weir__shape_length(const weir_padding_t *padding, int64_t length);
uint32_t weir__shape_key_capacity(const weir__served_t *served);
// The key of one request's shape; returns how many words.
uint32_t weir__shape_key(const weir__served_t *served, const weir_value_t *const *inputs,
    int64_t *out_key, uint64_t *out_hash);
uint64_t weir__shape_hash(const weir__served_t *served, const int64_t *key, uint32_t key_count);
// Could weir__shape_key() have made it? For keys from elsewhere: of the right length, at least.
bool weir__shape_key_is_whole(const weir__served_t *served, const int64_t *key, uint32_t key_count);
// The loop: finds or makes it, with one more user. WEIR__NO_INDEX: the table is full.
uint32_t weir__shape_get(weir_scheduler_t *scheduler, weir__served_t *served, uint64_t hash,
    const int64_t *key, uint32_t key_count);
void weir__shape_release(weir_scheduler_t *scheduler, uint32_t shape);
// The same for a request whose shape is that of the model's request before, which is quicker to
// see. WEIR__NO_INDEX: it is another, or that cannot be said so quickly.
uint32_t weir__shape_again(
    weir_scheduler_t *scheduler, weir__served_t *served, const weir_value_t *const *inputs);
void weir__shapes_forget(weir_scheduler_t *scheduler, weir__served_t *served);

// ---- pack.c: rows into batches and out of them -------------------------------------------------
// Dims of input `index` of a batch of `run_rows` such requests.
void weir__pack_dims(const weir__served_t *served, uint32_t index, const weir_value_t *request,
    uint32_t run_rows, weir_value_t *out_batch);
// Copies a request's rows to row `first` of the batch; what is declared to be filled is.
void weir__pack_rows(const weir__served_t *served, uint32_t index, const weir_value_t *request,
    uint32_t rows, uint32_t first, weir_value_t *batch);
// Rows [first, first + rows) of an output for the request whose inputs are these. Fills in dims.
// false: the buffer is too small.
bool weir__pack_out(const weir__served_t *served, uint32_t index, const weir_value_t *batch,
    uint32_t run_rows, uint32_t first, uint32_t rows, const weir_value_t *const *inputs,
    weir_value_t *output);

// ---- run.c -------------------------------------------------------------------------------------
// An input of a request: its own, or its state's.
const weir_value_t *weir__slot_input(const weir__slot_t *slot, uint32_t index);
void weir__run_dispatch(weir_scheduler_t *scheduler, const weir__core_action_t *action);
void weir__run_stop(weir_scheduler_t *scheduler, uint32_t instance);
// Room for so many bytes; the old contents are gone. false: no memory.
bool weir__buffer_reserve(weir__buffer_t *buffer, uint64_t bytes);
// Makes an input of a batch of rows like `first`'s. false: no memory.
bool weir__run_input(weir__instance_t *instance, uint32_t index, const weir_value_t *first);
// A run has ended: answers are copied out, the core hears of it.
void weir__run_ended(weir_scheduler_t *scheduler, uint32_t instance);

// ---- stage.c -----------------------------------------------------------------------------------
#define WEIR__STAGE_LOOKS 256u // requests that are packed ahead, at most
// Packs what is likely to leave next, until something else is to be done.
void weir__stage_fill(weir_scheduler_t *scheduler);
// Makes the inputs of a batch out of what was packed ahead. false: nothing of it was; the caller
// packs it all.
bool weir__stage_take(weir_scheduler_t *scheduler, weir__instance_t *instance);
void weir__stage_clear(weir__served_t *served);

// ---- curves.c ----------------------------------------------------------------------------------
// What was kept of a model's plans, as samples of the command that adds it. The thread that does.
void weir__curves_read(
    weir_scheduler_t *scheduler, weir__served_t *served, weir__command_t *command);
// Keeps what has been learned, by the loader, or now if `now` or that is not to be had. The loop,
// while the core knows the model.
void weir__curves_keep(weir_scheduler_t *scheduler, weir__served_t *served, bool now);

// ---- loader.c ----------------------------------------------------------------------------------
typedef enum weir__job_kind {
    WEIR__JOB_FREE,   // only what is old
    WEIR__JOB_LOAD,   // served
    WEIR__JOB_REOPEN, // device
    WEIR__JOB_PLAN,   // served, placed, model: a new plan, since the device was opened anew
    WEIR__JOB_SEAT,   // served, placed, plan: one more instance
    WEIR__JOB_NOTE    // served, note_name, note
} weir__job_kind_t;

typedef struct weir__job {
    struct weir__job *next;
    weir__job_kind_t kind;
    weir__served_t *served;
    uint32_t placed, device;
    char device_name[32];
    weir_model_t *model; // a reference, for PLAN
    weir_model_t *old_model;
    weir_plan_t *old_plans[WEIR__PLACED_MAX];
    weir_session_t *old_sessions[WEIR__INLINE_MAX];
    uint64_t freed_bytes;    // in the books until what is old is gone
    uint64_t reserved_bytes; // for SEAT, where the model's charge has no room for it
    char note_name[256];
    void *note;
    uint64_t note_bytes;
    weir_plan_t *plan;          // made; or a reference, for SEAT
    weir__instance_t *instance; // made
    weir_status_t status;
} weir__job_t;

weir_status_t weir__loader_create(weir_scheduler_t *scheduler);
weir_status_t weir__loader_start(weir_scheduler_t *scheduler); // the thread, if there is none
void weir__loader_post(weir_scheduler_t *scheduler, weir__job_t *job); // taken over
void weir__loader_free(weir_scheduler_t *scheduler);   // while there still is a loop
void weir__loader_forget(weir_scheduler_t *scheduler); // when there is none
bool weir__loader_has_done(weir_scheduler_t *scheduler);
// The loop: what follows from jobs that are done. true: there was one.
bool weir__loader_take(weir_scheduler_t *scheduler);

// ---- ledger.c ----------------------------------------------------------------------------------
// What a model costs that has just been built, which took `build_ns`; frees what is loaded again
// when needed.
weir_status_t weir__ledger_add(
    weir_scheduler_t *scheduler, weir__served_t *served, uint64_t build_ns);
// The loop, as all that follows: a model is served, and is no more.
void weir__ledger_charge(weir_scheduler_t *scheduler, weir__served_t *served);
// Room for one more instance than the model is charged with. false: there is none.
bool weir__ledger_reserve_seat(weir_scheduler_t *scheduler, const weir__served_t *served,
    const weir__placed_t *placed, uint64_t *out_bytes);
// An instance comes, and is charged with when there are more than what the model was charged with.
void weir__ledger_seat(weir_scheduler_t *scheduler, weir__instance_t *instance);
void weir__ledger_unseat(weir_scheduler_t *scheduler, uint64_t bytes); // what was reserved
// It is given up, and still counted among its plan's.
void weir__ledger_leave(weir__instance_t *instance);
// Frees an instance, and takes what it was charged with out of the books.
void weir__ledger_free_seat(weir_scheduler_t *scheduler, weir__instance_t *instance);
// A plan was made anew, or for the first time: its weights.
void weir__ledger_planned(
    weir_scheduler_t *scheduler, weir__served_t *served, const weir__placed_t *placed);
// A batch of a shape that was not met before has ended: its memory is counted.
void weir__ledger_ran(weir_scheduler_t *scheduler, weir__instance_t *instance);
// weir__buffer_reserve(), in the books; buffers that are freed.
bool weir__ledger_buffer(weir__served_t *served, weir__buffer_t *buffer, uint64_t bytes);
void weir__ledger_unbuffer(weir__served_t *served, uint64_t bytes);
// Evicts where memory_over.
void weir__ledger_make_room(weir_scheduler_t *scheduler);
// What a model is in the books with that is to be freed; weir__ledger_freed() when it has been.
uint64_t weir__ledger_remove(weir_scheduler_t *scheduler, const weir__served_t *served);
void weir__ledger_freed(weir_scheduler_t *scheduler, uint64_t bytes);
// It does not wait for memory any more.
void weir__ledger_forget(weir_scheduler_t *scheduler, weir__served_t *served);
// true: the request may go on; else it waits for its model.
bool weir__ledger_enter(weir_scheduler_t *scheduler, uint32_t slot);
void weir__ledger_drop(weir_scheduler_t *scheduler, uint32_t slot); // one that waits
// Memory may be free for who waits for it.
void weir__ledger_retry(weir_scheduler_t *scheduler);
void weir__ledger_loaded(weir_scheduler_t *scheduler, weir__served_t *served, weir_status_t status);
// Frees instances, plans and model of one that is loaded again when needed; whoever built it.
void weir__ledger_unload(weir_scheduler_t *scheduler, weir__served_t *served);

// ---- devices.c ---------------------------------------------------------------------------------
// What the core says of a device or an instance.
void weir__device_changed(weir_scheduler_t *scheduler, const weir__core_action_t *action);
void weir__seat_gone(weir_scheduler_t *scheduler, uint32_t instance);
// A run said so: LOST, or QUARANTINED where it does not answer.
void weir__device_lost(weir_scheduler_t *scheduler, uint32_t device, weir__device_state_t state);
// The run of an instance that was given up has ended.
void weir__device_released(weir_scheduler_t *scheduler, weir__instance_t *instance);
// It was opened anew, or not; a plan for it was made.
void weir__device_reopened(weir_scheduler_t *scheduler, const weir__job_t *job);
void weir__device_noted(weir_scheduler_t *scheduler, weir__job_t *job); // its curves
void weir__device_planned(weir_scheduler_t *scheduler, weir__job_t *job);
void weir__device_seated(weir_scheduler_t *scheduler, weir__job_t *job);
// Tells the core of an instance, which is idle. false: its device is away, so the instance is
// freed; the device's return brings others.
bool weir__seat_tell(weir_scheduler_t *scheduler, weir__instance_t *instance);
// Makes what is missing of a model that was loaded, on devices that are there.
void weir__device_mend(weir_scheduler_t *scheduler, weir__served_t *served);
// Tells the core of the device of a plan, if nobody has; one that was away is looked for.
void weir__device_tell_new(weir_scheduler_t *scheduler, const weir__placed_t *placed);
// What an action asked for and could not be done within its step.
void weir__chores(weir_scheduler_t *scheduler);

// ---- state.c -----------------------------------------------------------------------------------
// Its tensor for an input or output, NULL where that is not one of its pairs.
const weir_value_t *weir__state_input(const weir_state_t *state, uint32_t index);
weir_value_t *weir__state_output(weir_state_t *state, uint32_t index);
// dtype and dims of its tensor for an input; any thread.
const weir_value_t *weir__state_like(const weir_state_t *state, uint32_t index);
// Has the new tensor for an output the dims that it must have?
bool weir__state_fits(const weir_state_t *state, uint32_t index);
weir_status_t weir__state_mismatch(void);
weir__served_t *weir__state_served(const weir_state_t *state);
void weir__state_retain(weir_state_t *state);
void weir__state_release(weir_state_t *state);
// The loop. true: the request may go on; else it waits for the one before it.
bool weir__state_enter(weir_scheduler_t *scheduler, weir_state_t *state, uint32_t slot);
// The request that was let in has ended; `moved`: well, so that its outputs are the inputs now.
void weir__state_leave(weir_scheduler_t *scheduler, weir_state_t *state, bool moved);
// The next request that may go on, or WEIR__NO_INDEX.
uint32_t weir__state_next(weir_scheduler_t *scheduler);
// Takes a request that waits out.
void weir__state_drop(weir_scheduler_t *scheduler, weir_state_t *state, uint32_t slot);

// ---- tap.c -------------------------------------------------------------------------------------
// Copies a request that has ended well, if it is one of those to be sampled.
void weir__tap_close(weir_tap_t *tap); // the loop
void weir__tap_take(weir_tap_t *tap, const weir__slot_t *slot, const weir_event_t *event);

// ---- trace.c -----------------------------------------------------------------------------------
weir_status_t weir__trace_open(weir_scheduler_t *scheduler);
void weir__trace_close(weir_scheduler_t *scheduler);
void weir__trace_step(weir_scheduler_t *scheduler, const weir__core_event_t *event, uint64_t now_ns,
    weir_code_t code, const weir__core_action_t *actions, size_t action_count);

// ---- submit.c ----------------------------------------------------------------------------------
// The first device of a model has answered a batch: after some of those, runs on submitters'
// threads are allowed again. The loop.
void weir__inline_note_good(weir__served_t *served);
weir_status_t weir__submit_check(
    weir__served_t *served, const weir_request_t *request, uint32_t *out_rows, uint64_t *out_bytes);

// ---- turn.c ------------------------------------------------------------------------------------
// One event to the core at `now_ns`, which the caller has set, and all that it says.
weir_code_t weir__turn_feed(weir_scheduler_t *scheduler, const weir__core_event_t *event);
// A request that waited outside of the core goes on.
void weir__turn_arrive(weir_scheduler_t *scheduler, uint32_t index);
// When the loop wants to be awake at the latest.
static inline uint64_t weir__turn_due(const weir_scheduler_t *scheduler)
{
    return WEIR_MIN(scheduler->timer_ns, scheduler->held_due_ns);
}
// Does all there is to do.
void weir__turn(weir_scheduler_t *scheduler);
// Has anybody put something? Deadlines apart: weir__turn_due().
bool weir__turn_is_wanted(weir_scheduler_t *scheduler);
// May the loop sleep now? If not, there is more to do. Until weir__turn() it counts as asleep.
bool weir__turn_rest(weir_scheduler_t *scheduler);
void weir__turn_final(weir_scheduler_t *scheduler, uint32_t index, weir_code_t code,
    weir__core_why_t why, weir_status_t status, uint64_t retry_ns);
// Ends everything; nothing runs any more when it returns.
void weir__turn_shut_down(weir_scheduler_t *scheduler);

// ---- spans.c -----------------------------------------------------------------------------------
// What is known of a request when its callback is about to be called.
void weir__loop_span(const weir_scheduler_t *scheduler, const weir__slot_t *slot,
    weir__core_why_t why, weir__span_t *out_span);

// ---- wake.c ------------------------------------------------------------------------------------
weir_status_t weir__wake_create(weir_scheduler_t *scheduler);
void weir__wake_free(weir_scheduler_t *scheduler); // after weir__turn_shut_down(), or in its stead
void weir__wake(weir_scheduler_t *scheduler);      // after a put: any thread
void weir__wake_poll(weir_scheduler_t *scheduler);
int weir__wake_fd(const weir_scheduler_t *scheduler);
bool weir__is_on_loop(const weir_scheduler_t *scheduler);

// ---- scheduler.c -------------------------------------------------------------------------------
void weir__command_post(weir_scheduler_t *scheduler, weir__command_t *command); // taken over

#endif
