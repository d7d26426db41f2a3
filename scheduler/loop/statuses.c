// scheduler/loop/statuses.c: how requests fail: constants, so that a failure allocates nothing.
#include "scheduler/loop/loop.h"

typedef struct said {
    weir_code_t code;
    weir__core_why_t why; // WEIR__WHY_NONE: any
    weir_status_constant_t status;
} said_t;

#define SAID(code_, why, message)                                                                  \
    {                                                                                              \
        WEIR_##code_, WEIR__##why, WEIR_STATUS_CONSTANT(WEIR_##code_, #code_, message)             \
    }

static const said_t table[] = {
    SAID(RESOURCE_EXHAUSTED, REFUSE_COUNT,
        "the queue is full: try again after retry_after_ns, or allow more `requests`"),
    SAID(RESOURCE_EXHAUSTED, REFUSE_BYTES,
        "the queue holds as many bytes as it may: try again after retry_after_ns, or allow more "
        "queue_bytes"),
    SAID(RESOURCE_EXHAUSTED, REFUSE_TENANT,
        "this tenant's part of the queue is full: try again after retry_after_ns"),
    SAID(RESOURCE_EXHAUSTED, REFUSE_LANES,
        "too many different shapes are in flight: try again after retry_after_ns, or allow more "
        "`shapes`"),
    SAID(INVALID_ARGUMENT, REFUSE_TICKET, "the ticket is in use"),
    SAID(INVALID_ARGUMENT, REFUSE_REQUEST,
        "more rows than the model's max_batch, no such tenant, or a priority above 7"),
    SAID(NOT_FOUND, REFUSE_MODEL, "the model's version was removed"),
    SAID(DEADLINE_EXCEEDED, REFUSE_EXPIRED, "the deadline had passed when the request came"),
    SAID(INFEASIBLE, REFUSE_INFEASIBLE,
        "it would have ended after its deadline, so it was not run: allow more time, or come "
        "again after retry_after_ns"),
    SAID(INFEASIBLE, FINAL_DROPPED,
        "it could not be answered before its deadline any more, so it was not run"),
    SAID(UNAVAILABLE, REFUSE_NO_INSTANCE,
        "no device that works has an instance of this model now: try again after "
        "retry_after_ns"),
    SAID(UNAVAILABLE, REFUSE_MODEL, "the model could not be loaded: the log says why"),
    SAID(UNAVAILABLE, FINAL_STRANDED,
        "its devices were lost, and none came back in time: try again later"),
    SAID(DRAINING, REFUSE_DRAINING, "the scheduler is shutting down and takes nothing new"),
    SAID(DRAINING, FINAL_DRAINED, "the scheduler shut down before the request ended"),
    SAID(DEADLINE_EXCEEDED, FINAL_EXPIRED_QUEUED, "the deadline came while the request waited"),
    SAID(DEADLINE_EXCEEDED, FINAL_EXPIRED_RUNNING, "the deadline came while the request ran"),
    SAID(CANCELLED, FINAL_CANCELLED, "the request was cancelled by its caller"),
    SAID(DEVICE_LOST, FINAL_LOST,
        "its device was lost while it ran, and it must not or could not run again"),
    SAID(INVALID_ARGUMENT, WHY_NONE, "the request was refused by its run"),
    SAID(RESOURCE_EXHAUSTED, WHY_NONE, "no memory left for the run"),
    SAID(DEADLINE_EXCEEDED, WHY_NONE, "the run was stopped at its deadline"),
    SAID(CANCELLED, WHY_NONE, "the run was cancelled"),
    SAID(UNAVAILABLE, WHY_NONE, "its session could not run: a device never answered"),
    SAID(DEVICE_LOST, WHY_NONE, "its device was lost"),
    SAID(INTERNAL, WHY_NONE, "the run failed, or gave other rows than it was given"),
};

static const weir_status_constant_t no_memory = WEIR_STATUS_CONSTANT(
    WEIR_RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED", "no memory left for the scheduler");
static const weir_status_constant_t capacity =
    WEIR_STATUS_CONSTANT(WEIR_RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED",
        "an output's buffer is too small: the dims of the request's outputs say what is needed");

weir_status_t weir__loop_status(weir_code_t code, weir__core_why_t why)
{
    const said_t *general = &table[sizeof table / sizeof table[0] - 1];
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (table[i].code != code)
            continue;
        if (table[i].why == why)
            return weir_status_constant(&table[i].status);
        if (table[i].why == WEIR__WHY_NONE)
            general = &table[i];
    }
    return weir_status_constant(&general->status);
}

weir_status_t weir__loop_no_memory(void)
{
    return weir_status_constant(&no_memory);
}

weir_status_t weir__loop_capacity(void)
{
    return weir_status_constant(&capacity);
}
