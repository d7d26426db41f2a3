// weir/log.h: where the library's messages go. The library itself never prints.
#ifndef WEIR_LOG_H
#define WEIR_LOG_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum weir_log_level {
    WEIR_LOG_ERROR = 0,
    WEIR_LOG_WARNING = 1,
    WEIR_LOG_INFO = 2,
    WEIR_LOG_DEBUG = 3,
} weir_log_level_t;

// Called with one line (no newline) from any thread, several at a time; must not block for long and
// must not call back into the engine. `module`: "plugin", "cache", "plan" …; request_id: 0 when
// there is none.
typedef void (*weir_log_fn)(void *user_data, weir_log_level_t level, const char *module,
    uint64_t request_id, const char *text);

#ifdef __cplusplus
}
#endif
#endif
