// engine/plugin/trace.h: records of when devices did what, for runs that are profiled.
//
// A profiled session holds a *sink*; the ids of its launches name sink, run and step, so that what
// a device records finds its run from any thread without a lock. A sink never moves and is never
// freed before the engine: a record that comes too late finds another run there, or none, and is
// dropped. So is what there is no room for, and that is counted.
#ifndef WEIR_PLUGIN_TRACE_H
#define WEIR_PLUGIN_TRACE_H

#include "engine/base/heap.h"
#include <stdbool.h>
#include <weir/plugin.h>

#define WEIR__TRACE_SINKS 64
#define WEIR__TRACE_RECORDS 8192 // of one run

typedef struct weir__trace_entry {
    atomic_uint_fast64_t launch_id; // 0: being written; set last
    // Atomic only for a record that comes while the sink goes to another run: it is then nobody's.
    atomic_uint_fast64_t start_ns, end_ns; // of the device's clock
    atomic_uint node;
} weir__trace_entry_t;

typedef struct weir__trace_sink {
    atomic_uint is_taken;
    uint32_t number;
    atomic_uint_fast64_t run; // what an id has above its step; 0: no run is profiled
    atomic_uint count;        // of records that came, those dropped included
    weir__trace_entry_t entries[WEIR__TRACE_RECORDS];
} weir__trace_sink_t;

typedef struct weir__traces {
    weir__heap_t *heap;
    _Atomic(weir__trace_sink_t *) sinks[WEIR__TRACE_SINKS];
} weir__traces_t;

void weir__traces_free(weir__traces_t *traces);
// A sink for a session; NULL: none is left, or no memory.
weir__trace_sink_t *weir__trace_take(weir__traces_t *traces);
void weir__trace_give(weir__trace_sink_t *sink); // NULL is allowed
// Empties the sink for a run.
void weir__trace_begin(weir__trace_sink_t *sink);
// The id of a launch by step `step` of the run.
uint64_t weir__trace_id(const weir__trace_sink_t *sink, uint32_t step);
// Is this an id of the sink's run? Then *out_step is its step.
bool weir__trace_step(const weir__trace_sink_t *sink, uint64_t id, uint32_t *out_step);
// What host->trace() does.
void weir__trace_put(weir__traces_t *traces, const weir_trace_record_t *records, uint32_t count);

#endif
