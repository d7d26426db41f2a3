// scheduler/observe/sink.c: see sink.h.
#include "scheduler/observe/sink.h"

#include <stdarg.h>
#include <stdio.h>

void weir__observe_put(weir__observe_sink_t *sink, const char *format, ...)
{
    char text[1024];
    va_list arguments;
    if (sink->is_ended)
        return;
    va_start(arguments, format);
    const int bytes = vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    if (bytes > 0 && (size_t)bytes < sizeof(text))
        sink->is_ended = sink->write(sink->user_data, text, (size_t)bytes) != 0;
}
