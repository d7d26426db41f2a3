// scheduler/observe/spans.h: when each request was where, as trace events for Perfetto.
//
// The format is that of `weir profile --trace`. A request is a slice on a lane of the process
// "requests", with its parts inside: queued, packed, run, scatter, callback. A batch is a slice on
// its instance's track of the process "devices". An arrow leads from a request's packing through
// its batch to its callback: one flow id each.
//
// The last `capacity` requests are kept. It is for looking closely, not for always: a note takes a
// mutex, which only the writing of a trace contends for. Whoever wants none has no weir__spans_t.
#ifndef WEIR_SCHEDULER_SPANS_H
#define WEIR_SCHEDULER_SPANS_H

#include "scheduler/observe/observe.h"

// Times are of one monotonic clock, in order; the first 0 says that the rest did not happen, except
// that `final_ns` and `returned_ns` always do.
typedef struct weir__span {
    uint64_t request_id;
    uint64_t batch; // 0: it never ran, or inline
    uint64_t submitted_ns;
    uint64_t packing_ns; // it left the queue
    uint64_t started_ns; // the run
    uint64_t ended_ns;
    uint64_t final_ns;    // scattered; the callback is called
    uint64_t returned_ns; // from the callback
    uint32_t instance;
    uint32_t batch_rows;
    weir__core_why_t left; // WEIR__DISPATCH_..., or NONE
    weir__core_why_t why;  // WEIR__FINAL_...
    char model[48];        // "minilm@1.2.0"
    char device[32];
} weir__span_t;

typedef struct weir__spans weir__spans_t;

// Room for `capacity` requests, at least 1, taken at once. RESOURCE_EXHAUSTED.
weir_code_t weir__spans_create(uint32_t capacity, weir__spans_t **out_spans);
void weir__spans_free(weir__spans_t *spans); // NULL is allowed

// Keeps a copy. Allocates nothing. Threads: any.
void weir__spans_note(weir__spans_t *spans, const weir__span_t *span);

// Writes the kept requests as one JSON document, times in microseconds from the first submission.
// Requests of which more than 256 overlap are left out; "otherData" says how many.
// Threads: any. Errors: RESOURCE_EXHAUSTED, CANCELLED (`write` ended it).
weir_code_t weir__spans_write(weir__spans_t *spans, weir__observe_write_fn write, void *user_data);

// "full", "done" …: the word that the metrics and the traces have for a reason; "" for none.
const char *weir__observe_why_name(weir__core_why_t why);

#endif
