// scheduler/observe/sink.h: formatted pieces of text for a receiver, between the files that write
// texts. Nothing outside this folder includes it.
#ifndef WEIR_SCHEDULER_SINK_H
#define WEIR_SCHEDULER_SINK_H

#include <stdbool.h>

#include "scheduler/observe/observe.h"

typedef struct weir__observe_sink {
    weir__observe_write_fn write;
    void *user_data;
    bool is_ended; // by the receiver: nothing more is written
} weir__observe_sink_t;

// One piece, at most 1023 bytes; a longer one is left out. It allocates nothing.
void weir__observe_put(weir__observe_sink_t *sink, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
