// engine/plugin/trace.c: see trace.h.
#include "engine/plugin/trace.h"

// An id: 1, the sink (6 bits), a number of the run (33 bits), the step (24 bits). Ids of callers do
// not meet these: what is not profiled is not traced.
#define STEP_BITS 24
#define RUN_BITS 33
#define STEP_MASK ((1ull << STEP_BITS) - 1)
#define RUN_MASK ((1ull << RUN_BITS) - 1)

void weir__traces_free(weir__traces_t *traces)
{
    for (uint32_t i = 0; i < WEIR__TRACE_SINKS; i++)
        weir__heap_free(traces->heap, atomic_load(&traces->sinks[i]));
}

static weir__trace_sink_t *make(weir__traces_t *traces, uint32_t number)
{
    weir__trace_sink_t *none = NULL;
    weir__trace_sink_t *sink = weir__heap_calloc(traces->heap, 1, sizeof *sink);
    if (!sink)
        return NULL;
    sink->number = number;
    atomic_store(&sink->is_taken, 1);
    if (atomic_compare_exchange_strong(&traces->sinks[number], &none, sink))
        return sink;
    weir__heap_free(traces->heap, sink); // somebody was faster
    return NULL;
}

weir__trace_sink_t *weir__trace_take(weir__traces_t *traces)
{
    for (uint32_t i = 0; i < WEIR__TRACE_SINKS; i++) {
        weir__trace_sink_t *sink = atomic_load(&traces->sinks[i]);
        if (!sink && (sink = make(traces, i)) != NULL)
            return sink;
        if (sink && !atomic_exchange(&sink->is_taken, 1))
            return sink;
    }
    return NULL;
}

void weir__trace_give(weir__trace_sink_t *sink)
{
    if (sink)
        atomic_store(&sink->is_taken, 0);
}

void weir__trace_begin(weir__trace_sink_t *sink)
{
    uint64_t run = atomic_load(&sink->run);
    atomic_store(&sink->run, run == RUN_MASK ? 1 : run + 1); // late ones of the last run go nowhere
    uint32_t used = atomic_load(&sink->count);
    for (uint32_t i = 0; i < WEIR_MIN(used, (uint32_t)WEIR__TRACE_RECORDS); i++)
        atomic_store_explicit(&sink->entries[i].launch_id, 0, memory_order_relaxed);
    atomic_store(&sink->count, 0);
}

uint64_t weir__trace_id(const weir__trace_sink_t *sink, uint32_t step)
{
    uint64_t run = atomic_load_explicit(&sink->run, memory_order_relaxed);
    return 1ull << 63 | (uint64_t)sink->number << (STEP_BITS + RUN_BITS) | run << STEP_BITS |
           (step & STEP_MASK);
}

bool weir__trace_step(const weir__trace_sink_t *sink, uint64_t id, uint32_t *out_step)
{
    *out_step = (uint32_t)(id & STEP_MASK);
    return id == weir__trace_id(sink, *out_step);
}

void weir__trace_put(weir__traces_t *traces, const weir_trace_record_t *records, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const weir_trace_record_t *record = &records[i];
        uint32_t number = (uint32_t)(record->launch_id >> (STEP_BITS + RUN_BITS)) & 63, step;
        weir__trace_sink_t *sink = atomic_load(&traces->sinks[number]);
        if (!sink || !weir__trace_step(sink, record->launch_id, &step))
            continue;
        uint32_t at = atomic_fetch_add(&sink->count, 1);
        if (at >= WEIR__TRACE_RECORDS)
            continue;
        weir__trace_entry_t *entry = &sink->entries[at];
        atomic_store_explicit(&entry->start_ns, record->start_ns, memory_order_relaxed);
        atomic_store_explicit(&entry->end_ns, record->end_ns, memory_order_relaxed);
        atomic_store_explicit(&entry->node, record->node, memory_order_relaxed);
        atomic_store_explicit(&entry->launch_id, record->launch_id, memory_order_release);
    }
}
