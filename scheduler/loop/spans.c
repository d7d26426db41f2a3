// scheduler/loop/spans.c: where a request was when, for traces; only where somebody asked for them.
#include "scheduler/loop/loop.h"

static weir__core_why_t dispatch_of(uint32_t left)
{
    switch (left) {
    case WEIR_LEFT_FULL:
        return WEIR__DISPATCH_FULL;
    case WEIR_LEFT_LATEST_START:
        return WEIR__DISPATCH_LATEST_START;
    case WEIR_LEFT_IDLE:
        return WEIR__DISPATCH_IDLE;
    case WEIR_LEFT_RERUN:
        return WEIR__DISPATCH_RERUN;
    case WEIR_LEFT_PROBE:
        return WEIR__DISPATCH_PROBE;
    case WEIR_LEFT_DRAIN:
        return WEIR__DISPATCH_DRAIN;
    default:
        return WEIR__WHY_NONE;
    }
}

void weir__loop_span(const weir_scheduler_t *scheduler, const weir__slot_t *slot,
    weir__core_why_t why, weir__span_t *out_span)
{
    const weir__served_t *served = slot->served;
    *out_span = (weir__span_t){.request_id = slot->request_id,
        .batch = slot->batch,
        .submitted_ns = slot->submitted_ns,
        .final_ns = weir_now_ns(),
        .batch_rows = slot->batch_rows,
        .left = dispatch_of(slot->left),
        .why = why};
    (void)snprintf(
        out_span->model, sizeof out_span->model, "%.30s@%.16s", served->name, served->version);
    if (!slot->batch)
        return;
    const weir__instance_t *instance = &scheduler->instances[slot->instance];
    const char *device = slot->receipt ? slot->receipt->device : "";
    out_span->instance = slot->instance;
    out_span->packing_ns = slot->started_ns;
    // One that is answered before its batch has ended (cancel, deadline) was in it all the same.
    out_span->started_ns =
        slot->run_ns || instance->batch != slot->batch ? slot->run_ns : instance->run_ns;
    out_span->ended_ns = slot->ended_ns;
    (void)snprintf(out_span->device, sizeof out_span->device, "%s", device);
}

weir_status_t weir_scheduler_spans(
    weir_scheduler_t *scheduler, weir_write_fn write, void *user_data)
{
    if (!scheduler->spans)
        return WEIR_FAIL(WEIR_UNAVAILABLE,
            "no spans are kept: set `spans` in the options of weir_scheduler_create()");
    switch (weir__spans_write(scheduler->spans, write, user_data)) {
    case WEIR_OK:
        return NULL;
    case WEIR_CANCELLED:
        return WEIR_FAIL(WEIR_CANCELLED, "the receiver ended the text");
    default:
        return weir__loop_no_memory();
    }
}
