// weir/scheduler.h: requests under traffic, in process: batching, deadlines, fairness, overload.
//
// For a server that has its own threads and its own RPC layer. Any thread submits requests; the
// scheduler stacks those that may be stacked, runs them on the engine's devices and calls back,
// exactly once for each request that it accepted. Link libweir_scheduler beside libweir.
//
// The words: a *model* here is a name and a version under which requests find a weir_model_t. An
// *instance* runs one batch at a time. A *ticket* names an accepted request. Why the scheduler
// decides as it does: docs/scheduler.md; how to embed it: docs/embedding.md.
#ifndef WEIR_SCHEDULER_H
#define WEIR_SCHEDULER_H

#include <weir/session.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_scheduler weir_scheduler_t;

// An accepted request: generation << 32 | index. 0 is none. A ticket is never used again, so a
// stale one does no harm anywhere.
typedef uint64_t weir_ticket_t;

// ---------------------------------------------------------------------------------------------
// The scheduler
// ---------------------------------------------------------------------------------------------

// Whose thread the loop is. Nothing computes on it: it copies rows, decides and calls back.
typedef enum weir_loop {
    WEIR_LOOP_OWN = 0,      // the scheduler starts a thread
    WEIR_LOOP_BORROWED = 1, // the embedder's uv_loop_t; weir never calls uv_run() on it
    WEIR_LOOP_POLLED = 2,   // the embedder waits for weir_scheduler_fd(), weir_scheduler_poll()s
} weir_loop_t;

// A party that shares the devices: requests name it by its index.
typedef struct weir_tenant {
    const char *name;  // for the metrics
    uint32_t weight;   // its share of the devices' time beside the others'; 0 is 1
    uint32_t reserved; // 0
} weir_tenant_t;

typedef struct weir_scheduler_options {
    uint32_t size;         // sizeof(weir_scheduler_options_t)
    uint32_t loop;         // weir_loop_t
    void *uv_loop;         // BORROWED: a uv_loop_t *, which outlives the scheduler
    uint32_t requests;     // accepted and not ended, at most; 0: 4096
    uint32_t models;       // (name, version) pairs at a time, at most; 0: 256
    uint64_t queue_bytes;  // of the inputs of accepted requests, at most; 0: 1 GiB
    uint64_t memory_bytes; // of models, see weir_serving_options_t.path; 0: no bound
    // OWN: the loop looks for work so long before it sleeps, and weir_wait() for its answer; 0:
    // they sleep at once. The engine's option of the same name is for the threads that compute.
    uint64_t spin_ns;
    const weir_tenant_t *tenants; // NULL: one, "default"
    uint32_t tenant_count;
    uint32_t shapes;        // different shapes of rows in use at a time, at most; 0: 1024
    const char *trace_path; // what the loop tells the decision core, to replay; NULL: nothing
    weir_log_fn log;        // NULL: silent
    void *log_user_data;
    weir_log_level_t log_level; // the most talkative level passed on; 0: errors only
    uint32_t spans; // of so many requests, the last, weir_scheduler_spans() knows the way; 0: none
} weir_scheduler_options_t;

// Makes a scheduler without models.
// options: NULL for the defaults. All its memory for requests is taken here.
// Owns:    strings and arrays are copied; the engine outlives the scheduler.
// Threads: any; BORROWED: the thread of the uv loop.
// Errors:  INVALID_ARGUMENT (options), RESOURCE_EXHAUSTED (memory, descriptors, threads),
//          NOT_FOUND (trace_path).
WEIR_API WEIR_MUST_USE weir_status_t weir_scheduler_create(weir_engine_t *engine,
    const weir_scheduler_options_t *options, weir_scheduler_t **out_scheduler);

// Ends every request that is left with DRAINING (callbacks are made from here in BORROWED and
// POLLED, from the loop's thread in OWN), stops what runs at its next operator, waits for it, frees
// everything. NULL is allowed.
// BORROWED: the last handles are closed by the next turn of the embedder's loop, which must still
// be made.
// Threads: the loop's in BORROWED and POLLED; any but the loop's in OWN. No other call on this
//          scheduler may be under way or follow.
// Errors:  none.
WEIR_API void weir_scheduler_free(weir_scheduler_t *scheduler);

// POLLED: readable when weir_scheduler_poll() has something to do; for epoll, poll, asio.
// -1 in the other two. Threads: any. Errors: none.
WEIR_API int weir_scheduler_fd(const weir_scheduler_t *scheduler);

// POLLED: does what there is to do, callbacks included, and never waits. Call it once after
// creating, whenever the descriptor is readable, and as often as you like.
// Threads: one at a time. Errors: none.
WEIR_API void weir_scheduler_poll(weir_scheduler_t *scheduler);

typedef void (*weir_drained_fn)(void *user_data);

// Takes no more requests (they get DRAINING) and ends what is left at `deadline_ns` of
// weir_now_ns() (0: never, everything runs to its end). `drained` is called from the loop when
// nothing is left; it must not free the scheduler, whose turn goes on after it. Final: a scheduler
// that drains can only be freed.
// drained: NULL: the call waits instead; in POLLED it polls.
// Threads: any; with `drained` NULL not the loop's in OWN and BORROWED, the poller's in POLLED, and
//          never from a callback.
// Errors:  INVALID_ARGUMENT (it would wait for itself), UNAVAILABLE (drains already).
WEIR_API WEIR_MUST_USE weir_status_t weir_drain(
    weir_scheduler_t *scheduler, uint64_t deadline_ns, weir_drained_fn drained, void *user_data);

// ---------------------------------------------------------------------------------------------
// Models
// ---------------------------------------------------------------------------------------------

typedef enum weir_batching {
    WEIR_BATCHING_AUTO = 0, // rows alone and stacked are compared, bit by bit, before it is used
    WEIR_BATCHING_ON = 1,   // rows are independent: the embedder says so
    WEIR_BATCHING_OFF = 2,  // one request at a time
} weir_batching_t;

#define WEIR_AXIS_AUTO (-1) // 0 where that axis is free (dims[0] of the port is -1), else NONE
#define WEIR_AXIS_NONE (-2) // has no rows: requests are stacked only when they agree in its bytes

// Lengths that may differ within a batch: axis `axis` of input `input` is filled with `value` up to
// the next of 1, 2, 3, 4, 6, 8, 12, 16, 24 …, or `length_max` where that is less: by its own length
// alone, so that an answer's bits do not depend on what it was stacked with. It is only done where
// declared: the model must not let the filling change a row's answer (a mask, say). Several inputs
// of the same length are declared each. Such a model's requests never run inline.
// (Ragged rows need no declaration: a request may bring any number of rows along the batch axis.)
typedef struct weir_padding {
    uint32_t input;
    uint32_t axis;
    double value;   // converted to the input's dtype
    int32_t output; // whose axis `output_axis` has the same length and is cut back; -1: none
    uint32_t output_axis;
    uint32_t length_max; // what the model takes at most; longer ones are left alone; 0: no bound
    uint32_t reserved;   // 0
} weir_padding_t;

typedef struct weir_serving_options {
    uint32_t size;          // sizeof(weir_serving_options_t)
    uint32_t max_batch;     // rows that leave together, at most; 0: 32; at most 1024
    uint32_t batching;      // weir_batching_t
    uint32_t instances_min; // per device; 0: 1
    uint32_t instances_max; // per device, under traffic; 0: instances_min, and where the host
                            // computes one on each of the engine's teams
    uint32_t threads;       // of its team for one batch, at most; 0: all, or its share of it while
                            // other batches run there
    // "cuda,cpu": a plan for each; one that is away now is used when it is back. NULL: one plan,
    // the engine's order.
    const char *devices;
    uint64_t deadline_ns;       // from the submission, of requests that have none; 0: none
    const int32_t *input_axes;  // the axis of rows of each input, or WEIR_AXIS_*; NULL: all AUTO
    const int32_t *output_axes; // of each output
    const weir_padding_t *paddings;
    uint32_t padding_count;
    uint32_t warm_rows;         // runs at 1, 2, 4 … so many rows teach what batches cost, and one
                                // at each size between is the slow first one (with `path` at
                                // max_batch only: that plan is freed at once); 0: none (learned
                                // under traffic, and kept in the cache's folder for the next
                                // process), UINT32_MAX: max_batch
    const char *label;          // "stable": selectable as name@stable; taken from another version
    const char *path;           // with `model` NULL: loaded when needed, see weir_scheduler_add()
    const weir_value_t *sample; // one row of each input: for the check and the warm-up; NULL: made
                                // up from the declared shapes
    const char *precision;      // of its plans, see weir_plan_options_t; NULL: f32
} weir_serving_options_t;

// Serves a model under a name and a version ("1.2.0": numbers; or any text without '@'). Makes its
// plans and instances, checks that rows are independent (AUTO; a model that fails runs one request
// at a time, and the log says so), warms up; requests are taken from the return on.
// model:   NULL with options->path: it is loaded by a request that needs it (which waits), and may
//          be evicted when memory_bytes are short: lowest (reload time x rate / bytes) first, never
//          one in use. Where models that are always there leave too little for it, its requests end
//          with RESOURCE_EXHAUSTED and the numbers.
// options: NULL for the defaults.
// Owns:    the scheduler keeps references; options are copied.
// Threads: any. It computes on the calling thread and on the team, for as long as that takes.
// Errors:  INVALID_ARGUMENT (name, version, options; the version is served already), those of
//          weir_model_load(), weir_plan_create() and weir_session_run(), RESOURCE_EXHAUSTED
//          (`models`, memory).
WEIR_API WEIR_MUST_USE weir_status_t weir_scheduler_add(weir_scheduler_t *scheduler,
    const char *name, const char *version, weir_model_t *model,
    const weir_serving_options_t *options);

// Takes no more requests for this version; what was accepted still runs. Returns at once; memory
// goes when the last request has ended and no state or tap keeps the version.
// Threads: any. Errors: NOT_FOUND.
WEIR_API WEIR_MUST_USE weir_status_t weir_scheduler_remove(
    weir_scheduler_t *scheduler, const char *name, const char *version);

// Moves a label to a version, in one step for everybody who submits.
// Threads: any. Errors: NOT_FOUND (the version), RESOURCE_EXHAUSTED (64 labels at most, ever),
//          INVALID_ARGUMENT (a label begins with a letter and has at most 31 bytes).
WEIR_API WEIR_MUST_USE weir_status_t weir_scheduler_label(
    weir_scheduler_t *scheduler, const char *name, const char *version, const char *label);

typedef struct weir_served {
    uint32_t size;      // sizeof(weir_served_t), set by the caller
    uint32_t max_batch; // 1: not batched
    char name[64];
    char version[32];
    char digest[40];    // of the model, as weir_model_describe() gives it; "" while not loaded
    char batching[160]; // "rows are independent", or why they are not stacked
    uint32_t resident;  // 0: given by path and not loaded now
    uint32_t instances;
    uint64_t memory_bytes; // that it is charged with, or would be
} weir_served_t;

// The `index`-th model that is served; 0 past the last one, else 1. Threads: any. Errors: none.
WEIR_API int weir_scheduler_served(
    weir_scheduler_t *scheduler, uint32_t index, weir_served_t *out_served);

// ---------------------------------------------------------------------------------------------
// State that is kept between requests
// ---------------------------------------------------------------------------------------------

typedef struct weir_state weir_state_t;

typedef struct weir_state_pair {
    const char *input;
    const char *output; // is the next request's `input`
} weir_state_pair_t;

typedef struct weir_state_options {
    uint32_t size; // sizeof(weir_state_options_t)
    uint32_t pair_count;
    const weir_state_pair_t *pairs;
    const weir_value_t *initial; // [pair_count]; NULL: zeros of the declared dims (free ones are 1)
} weir_state_options_t;

// State of one stream (a voice detector's memory, a recurrent network's): tensors that the
// scheduler keeps between the stream's requests. A request with a state leaves the paired inputs
// and outputs out: their places in its arrays have dtype 0 and are not touched. Requests of one
// state run one after another, in the order of submission, and each is executed at most once: where
// another would run again after a loss, it fails. The state moves on only with a FINAL that is OK.
// model:   a selector; the version found is kept for the life of the state.
// Owns:    the caller frees it. Threads: any.
// Errors:  NOT_FOUND (model, input, output), INVALID_ARGUMENT (dims or dtypes differ; free dims
//          without `initial`), RESOURCE_EXHAUSTED.
WEIR_API WEIR_MUST_USE weir_status_t weir_state_create(weir_scheduler_t *scheduler,
    const char *model, const weir_state_options_t *options, weir_state_t **out_state);

// Back to the initial values. Threads: any, while no request of the state is in flight.
// Errors: UNAVAILABLE (one is).
WEIR_API WEIR_MUST_USE weir_status_t weir_state_reset(weir_state_t *state);

// NULL is allowed. Requests in flight end as usual. Threads: any, before the scheduler is freed.
// Errors: none.
WEIR_API void weir_state_free(weir_state_t *state);

// ---------------------------------------------------------------------------------------------
// Requests
// ---------------------------------------------------------------------------------------------

#define WEIR_REQUEST_INLINE 1u // may run on the thread that submits, when nothing is in flight

typedef struct weir_request {
    uint32_t size;  // sizeof(weir_request_t)
    uint32_t flags; // WEIR_REQUEST_*
    // "name" (the highest version), "name@1.2.0", "name@^1" (the highest 1.x.y), "name@stable" (a
    // label).
    const char *model;
    const weir_value_t *inputs; // [input_count], as the model declares them
    weir_value_t *outputs;      // [output_count]; dims are filled in, and data of callers' buffers
    uint32_t input_count;
    uint32_t output_count;
    uint64_t deadline_ns; // of weir_now_ns(); 0: the model's default, or none
    uint32_t tenant;      // index of the scheduler's tenants
    uint32_t priority;    // 0 (most urgent) to 7: each step is worth 50 ms of waiting
    weir_state_t *state;  // NULL: none
    uint64_t request_id;  // for the log, traces and the tap
    // Written by weir_submit() when it refuses with RESOURCE_EXHAUSTED or UNAVAILABLE: try again
    // after so long.
    uint64_t retry_after_ns;
} weir_request_t;

typedef enum weir_event_kind {
    WEIR_EVENT_FINAL = 0,
    WEIR_EVENT_PARTIAL = 1, // of models that stream; none does yet
} weir_event_kind_t;

// Why a request's batch left when it did.
typedef enum weir_left {
    WEIR_LEFT_NEVER = 0, // it never ran
    WEIR_LEFT_FULL,
    WEIR_LEFT_LATEST_START, // later would have missed the earliest deadline
    WEIR_LEFT_IDLE,         // waiting for more rows would have gained nothing
    WEIR_LEFT_RERUN,        // alone, after its batch had failed
    WEIR_LEFT_PROBE,        // to a device on probation
    WEIR_LEFT_DRAIN,
    WEIR_LEFT_INLINE, // on the thread that submitted it
} weir_left_t;

// How an answer came about.
typedef struct weir_receipt {
    char model[64];
    char version[32];
    char digest[40];      // of the model file, as weir_model_describe() gives it
    char fingerprint[24]; // of how it was computed: devices, kernels and their versions, in hex;
                          // equal ones give equal bits
    char device[32];      // "" when it never ran
    uint64_t batch_id;    // 0: never ran, or inline
    uint32_t batch_size;  // rows of all requests that ran together
    uint32_t left;        // weir_left_t
    uint64_t queue_ns;    // from the submission until the batch left
    uint64_t compute_ns;  // of the batch
} weir_receipt_t;

typedef struct weir_event {
    weir_event_kind_t kind;
    uint32_t output_count;
    weir_ticket_t ticket;
    // NULL: the outputs are there. Else DEADLINE_EXCEEDED, CANCELLED, INFEASIBLE (it would have
    // been late, so it was not run), DRAINING, UNAVAILABLE, DEVICE_LOST, RESOURCE_EXHAUSTED (an
    // output's capacity: dims say what is needed), or what the run said. Not the receiver's to free
    // in a callback; the caller's to free after weir_wait().
    weir_status_t status;
    weir_value_t *outputs;   // the request's
    uint64_t retry_after_ns; // of INFEASIBLE, RESOURCE_EXHAUSTED, UNAVAILABLE; 0: no advice
    uint64_t request_id;
    weir_receipt_t receipt;
} weir_event_t;

// Called from the loop, or from weir_submit() itself for a request that ran inline. The event dies
// with the call. It may submit, cancel and free the request's buffers; it must not block, and not
// free the scheduler.
typedef void (*weir_event_fn)(const weir_event_t *event, void *user_data);

// Hands a request over. NULL returned: accepted, and `callback` gets exactly one FINAL for it,
// possibly before the return. An error returned: refused, and nothing else will be heard of it.
// Owns:     `request` itself and its strings are read before the return. inputs, outputs and what
//           they point to stay the caller's and must live until the FINAL; outputs are undefined
//           until then. Only an inline run uses the buffers in place, else they are copied once in
//           and once out: no device touches them.
// ticket:   written before the request is published, so the callback may use it; 0 when refused.
//           NULL is allowed. An inline run has none (0).
// callback: NULL: the result waits for weir_wait(), which then must be called.
// Threads:  any, any number at a time.
// Errors:   INVALID_ARGUMENT (request, counts, dtypes, dims: what and where), NOT_FOUND (no such
//           model or version), RESOURCE_EXHAUSTED (queue full: request->retry_after_ns), DRAINING,
//           DEADLINE_EXCEEDED (it has passed already).
// Cost:     no lock, no allocation, no system call while the loop is awake.
WEIR_API WEIR_MUST_USE weir_status_t weir_submit(weir_scheduler_t *scheduler,
    weir_request_t *request, weir_ticket_t *out_ticket, weir_event_fn callback, void *user_data);

// Ends a request: its FINAL, CANCELLED, comes from the loop as soon as it hears of it, unless
// another came first. What waits never runs; what runs alone stops at its next operator.
// Idempotent; stale tickets and 0 do nothing. Threads: any. Errors: none. Cost: as weir_submit().
WEIR_API void weir_cancel(weir_scheduler_t *scheduler, weir_ticket_t ticket);

// Waits for the FINAL of a request that was submitted without a callback, at most until
// `deadline_ns` of weir_now_ns() (0: as long as it takes), and returns its status.
// out_event: the FINAL; its `status` is NULL (it is returned). NULL is allowed.
// Threads:   any but the loop's; once per ticket.
// Errors:    those of weir_event_t; NOT_FOUND (no such ticket, or one with a callback),
//            UNAVAILABLE (`deadline_ns` came first: call again), INVALID_ARGUMENT (on the loop).
WEIR_API WEIR_MUST_USE weir_status_t weir_wait(weir_scheduler_t *scheduler, weir_ticket_t ticket,
    uint64_t deadline_ns, weir_event_t *out_event);

// ---------------------------------------------------------------------------------------------
// What goes through: a tap per model, metrics
// ---------------------------------------------------------------------------------------------

typedef struct weir_tap weir_tap_t;

typedef struct weir_tap_options {
    uint32_t size;  // sizeof(weir_tap_options_t)
    uint32_t every; // one request in so many; 0: each
    uint32_t count; // samples that wait for the consumer, at most; 0: 64
    uint32_t reserved;
    uint64_t bytes; // of one sample's tensors, at most; larger ones are dropped; 0: 1 MiB
} weir_tap_options_t;

typedef struct weir_tap_sample {
    uint64_t request_id;
    weir_ticket_t ticket;
    uint64_t ended_ns; // of weir_now_ns()
    weir_receipt_t receipt;
    uint32_t input_count;
    uint32_t output_count;
    const weir_value_t *inputs; // copies
    const weir_value_t *outputs;
} weir_tap_sample_t;

// Copies sampled requests of a model, with their answers, for a consumer off the hot path:
// shadowing, drift, feedback. Only requests that end OK are sampled. While a tap is open its
// model's requests do not run inline.
// model:   a selector; the version found is kept.
// Owns:    the caller frees it; all its memory is taken here. Threads: any.
// Errors:  NOT_FOUND, UNAVAILABLE (the model has a tap), RESOURCE_EXHAUSTED.
WEIR_API WEIR_MUST_USE weir_status_t weir_tap_open(weir_scheduler_t *scheduler, const char *model,
    const weir_tap_options_t *options, weir_tap_t **out_tap);

// The oldest sample, valid until the next call; 0 when there is none, else 1. Never waits.
// Threads: one at a time per tap. Errors: none.
WEIR_API int weir_tap_next(weir_tap_t *tap, weir_tap_sample_t *out_sample);

// Samples that were dropped since the tap was opened: the consumer was slow, or they were too
// large. Threads: any. Errors: none.
WEIR_API uint64_t weir_tap_dropped(const weir_tap_t *tap);

// NULL is allowed. Threads: that of weir_tap_next(); before the scheduler is freed. Errors: none.
WEIR_API void weir_tap_free(weir_tap_t *tap);

// Takes the next piece of a text; not 0 ends it.
typedef int (*weir_write_fn)(void *user_data, const char *text, size_t bytes);

// Counters, gauges and histograms as Prometheus' text format 0.0.4; docs/metrics.md names them.
// Threads: any, `write` on the caller's. Errors: CANCELLED (`write` ended it).
WEIR_API WEIR_MUST_USE weir_status_t weir_scheduler_metrics(
    weir_scheduler_t *scheduler, weir_write_fn write, void *user_data);

// When each of the last requests was where, as trace events for Perfetto and Chrome's tracing page,
// in the format of `weir profile --trace`: queued, packed, run, scatter, callback, and the batches
// that they were in. Inline runs, which have no such parts, are left out. Threads: any, `write` on
// the caller's. Errors: UNAVAILABLE (options->spans was 0), CANCELLED
// (`write` ended it), RESOURCE_EXHAUSTED.
WEIR_API WEIR_MUST_USE weir_status_t weir_scheduler_spans(
    weir_scheduler_t *scheduler, weir_write_fn write, void *user_data);

// Figures for a glance; the metrics have them in detail.
typedef struct weir_scheduler_info {
    uint32_t size;       // sizeof(weir_scheduler_info_t), set by the caller
    uint32_t in_flight;  // accepted and not ended
    uint64_t accepted;   // since the creation
    uint64_t refused;    // by weir_submit()
    uint64_t ended;      // FINALs
    uint64_t batches;    // that ran
    uint64_t batch_rows; // in them
    uint64_t inline_runs;
    uint64_t memory_bytes; // that models are charged with
} weir_scheduler_info_t;

// Threads: any. Errors: none.
WEIR_API void weir_scheduler_describe(
    const weir_scheduler_t *scheduler, weir_scheduler_info_t *out_info);

#ifdef __cplusplus
}
#endif
#endif
