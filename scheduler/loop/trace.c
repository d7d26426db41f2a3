// scheduler/loop/trace.c: what the core was told and when, to be replayed by the simulator.
//
// A file of records of one size after a head, in this machine's byte order: the core is integers,
// so the same events at the same times give the same actions; their hash is in the record.
#include "scheduler/loop/trace.h"

#include "scheduler/loop/loop.h"

#include <errno.h>
#include <string.h>

weir_status_t weir__trace_open(weir_scheduler_t *scheduler)
{
    const char *path = scheduler->options.trace_path;
    if (!path)
        return NULL;
    scheduler->trace = fopen(path, "wbe");
    weir__trace_head_t head = {.magic = WEIR__TRACE_MAGIC,
        .record_bytes = sizeof(weir__trace_record_t),
        .limits = scheduler->limits};
    if (!scheduler->trace || fwrite(&head, sizeof head, 1, scheduler->trace) != 1)
        return WEIR_FAIL(WEIR_NOT_FOUND, "trace_path \"%s\": %s", path, strerror(errno));
    return NULL;
}

void weir__trace_close(weir_scheduler_t *scheduler)
{
    if (scheduler->trace && fclose(scheduler->trace) != 0)
        weir__loop_log(scheduler, WEIR_LOG_WARNING, 0, "trace_path \"%s\": %s",
            scheduler->options.trace_path, strerror(errno));
    scheduler->trace = NULL;
}

void weir__trace_step(weir_scheduler_t *scheduler, const weir__core_event_t *event, uint64_t now_ns,
    weir_code_t code, const weir__core_action_t *actions, size_t action_count)
{
    weir__trace_record_t record;
    memset(&record, 0, sizeof record); // padding too: the same run gives the same file
    record.now_ns = now_ns;
    record.event = *event;
    record.action_count = action_count;
    record.hash = weir__trace_hash(code, actions, action_count);
    if (fwrite(&record, sizeof record, 1, scheduler->trace) != 1) {
        weir__loop_log(scheduler, WEIR_LOG_WARNING, 0, "trace_path \"%s\": %s; it ends here",
            scheduler->options.trace_path, strerror(errno));
        weir__trace_close(scheduler);
    }
}
