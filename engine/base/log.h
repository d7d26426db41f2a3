// engine/base/log.h: the log as the engine's parts see it.
#ifndef WEIR_BASE_LOG_H
#define WEIR_BASE_LOG_H

#include <weir/log.h>

typedef struct weir__log {
    weir_log_fn sink; // NULL: silent
    void *user_data;
    weir_log_level_t level;
} weir__log_t;

// Formats into a fixed buffer (cut at 1 KiB), allocates nothing. log NULL: silent.
void weir__log(const weir__log_t *log, weir_log_level_t level, const char *module,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

#endif
