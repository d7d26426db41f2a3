// engine/base/log.c: see log.h.
#include "engine/base/log.h"

#include <stdarg.h>
#include <stdio.h>

void weir__log(
    const weir__log_t *log, weir_log_level_t level, const char *module, const char *format, ...)
{
    if (!log || !log->sink || level > log->level)
        return;
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    log->sink(log->user_data, level, module, 0, text);
}
