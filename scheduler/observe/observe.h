// scheduler/observe/observe.h: what the scheduler counts: per model, device and tenant, and of
// itself.
//
// The loop owns pointers to series, made when a model, device or tenant is added, and notes events
// in them with the inline functions below: some relaxed additions, no lock, no allocation. Any
// other thread (a submitter that is refused, an inline run) notes with WEIR__OBSERVE_ANY. Text for
// Prometheus is made from the same memory at any time by any thread: docs/metrics.md names it all.
//
// It must not know buffers, sessions or clocks: it is told numbers.
//
// Where to note what:
//   refused request      weir__observe_refused() on model and tenant; on scheduler.unmatched where
//                        no model was found
//   batch has ended      weir__observe_batch() on model and device
//   request has ended    weir__observe_ended() on model and tenant
//   request's whole way  weir__spans_note() of spans.h, where somebody asked for a trace
//   anything that is now weir__observe_set() on a gauge, by the loop
#ifndef WEIR_SCHEDULER_OBSERVE_H
#define WEIR_SCHEDULER_OBSERVE_H

#include <stdbool.h>
#include <stddef.h>

#include "scheduler/core/core.h"
#include "scheduler/observe/histogram.h"

typedef _Atomic uint64_t weir__observe_gauge_t;

// What one kind of writer has noted. Counters only grow.
typedef struct weir__observe_part {
    weir__observe_counter_t why[WEIR__WHY_COUNT]; // refusals, batches and ends, by reason
    weir__observe_counter_t rows;                 // that batches held
    weir__observe_counter_t ahead_rows;           // of those, packed while another one ran
    weir__observe_counter_t device_ns;            // that batches took
    weir__observe_counter_t inline_count;         // requests that ran on their caller's thread
    weir__histogram_t batch_rows;
    weir__histogram_t queue_ns;   // from the submission to the batch's start
    weir__histogram_t compute_ns; // of a batch
    weir__histogram_t request_ns; // from the submission to the FINAL
} weir__observe_part_t;

typedef enum weir__observe_kind {
    WEIR__OBSERVE_MODEL,
    WEIR__OBSERVE_DEVICE,
    WEIR__OBSERVE_TENANT,
    WEIR__OBSERVE_KINDS
} weir__observe_kind_t;

// One model's version, one device or one tenant.
typedef struct weir__observe_series {
    weir__observe_part_t parts[WEIR__OBSERVE_WRITERS];
    weir__observe_gauge_t queued;       // model: requests that wait
    weir__observe_gauge_t running;      // batches that run (model, device)
    weir__observe_gauge_t instances;    // model
    weir__observe_gauge_t memory_bytes; // model: weights and arenas that are resident
    weir__observe_gauge_t state;        // device: weir__device_state_t
    weir__observe_counter_t loads;      // model: how often it became resident
    weir__observe_counter_t tap_dropped;
    struct weir__observe_series *next, *next_removed;
    bool is_hidden; // from the text, under the registry's mutex
    char *name;
    char *version; // models; else NULL
    weir__observe_kind_t kind;
} weir__observe_series_t;

// Of the scheduler itself.
typedef struct weir__observe_scheduler {
    weir__observe_counter_t submitted[WEIR__OBSERVE_WRITERS]; // before any refusal
    weir__observe_counter_t unmatched[WEIR__WHY_COUNT];       // refused without a model; any thread
    weir__observe_counter_t wakeups;                          // of the loop
    weir__observe_counter_t steps;                            // of the decision core
    weir__observe_gauge_t queue_bytes;
    weir__observe_gauge_t in_flight;
    weir__observe_gauge_t memory_bytes; // the ledger: what is reserved
} weir__observe_scheduler_t;

typedef struct weir__observe {
    weir__observe_scheduler_t scheduler;
    struct weir__observe_registry *registry; // the series; observe.c
} weir__observe_t;

// Makes an empty one. RESOURCE_EXHAUSTED. Owns: weir__observe_free(), which also frees all series.
weir_code_t weir__observe_create(weir__observe_t **out_observe);
void weir__observe_free(weir__observe_t *observe);

// A new series; version: of a model, else NULL. It takes the place of one of the same name, which
// may still be noted in but is not shown any more (a version that is added again while requests of
// the old one end). NULL: no memory. Threads: any; the series may be noted in by the loop at once.
weir__observe_series_t *weir__observe_add_series(
    weir__observe_t *observe, weir__observe_kind_t kind, const char *name, const char *version);
// Frees a series; NULL is allowed. Nobody notes in it any more. Threads: any.
void weir__observe_remove_series(weir__observe_t *observe, weir__observe_series_t *series);

// A request was refused.
static inline void weir__observe_refused(
    weir__observe_writer_t writer, weir__observe_series_t *series, weir__core_why_t why)
{
    weir__observe_add(writer, &series->parts[writer].why[why], 1);
}

// A batch has ended. why: WEIR__DISPATCH_...
static inline void weir__observe_batch(weir__observe_writer_t writer,
    weir__observe_series_t *series, weir__core_why_t why, uint32_t rows, uint64_t compute_ns)
{
    weir__observe_part_t *part = &series->parts[writer];
    weir__observe_add(writer, &part->why[why], 1);
    weir__observe_add(writer, &part->rows, rows);
    weir__observe_add(writer, &part->device_ns, compute_ns);
    weir__histogram_note(writer, &part->batch_rows, rows);
    weir__histogram_note(writer, &part->compute_ns, compute_ns);
}

// An accepted request has ended. why: WEIR__FINAL_...; queue_ns: UINT64_MAX when it never ran.
static inline void weir__observe_ended(weir__observe_writer_t writer,
    weir__observe_series_t *series, weir__core_why_t why, uint64_t queue_ns, uint64_t request_ns)
{
    weir__observe_part_t *part = &series->parts[writer];
    weir__observe_add(writer, &part->why[why], 1);
    if (queue_ns != UINT64_MAX)
        weir__histogram_note(writer, &part->queue_ns, queue_ns);
    weir__histogram_note(writer, &part->request_ns, request_ns);
}

// A gauge is written by the loop alone.
static inline void weir__observe_set(weir__observe_gauge_t *gauge, uint64_t value)
{
    atomic_store_explicit(gauge, value, memory_order_relaxed);
}

// Takes the next piece of the text; not 0 ends it.
typedef int (*weir__observe_write_fn)(void *user_data, const char *text, size_t bytes);

// Writes everything in Prometheus' text format 0.0.4. buckets_per_octave: how many `le` bounds from
// one power of two to the next: 1, 2, 4, 8 or 16 (others: 1). Allocates nothing; the pieces are at
// most some hundred bytes long.
// Threads: any; nobody waits for `write`.
// Errors:  CANCELLED when `write` ended it.
weir_code_t weir__observe_text(weir__observe_t *observe, uint32_t buckets_per_octave,
    weir__observe_write_fn write, void *user_data);

#endif
