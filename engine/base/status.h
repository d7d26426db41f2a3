// engine/base/status.h: making and annotating statuses. The public half is weir/status.h.
#ifndef WEIR_BASE_STATUS_H
#define WEIR_BASE_STATUS_H

#include <stdarg.h>
#include <weir/status.h>

#if defined(__GNUC__)
#define WEIR__PRINTF(format_index, first_index)                                                    \
    __attribute__((format(printf, format_index, first_index)))
#define WEIR__NEVER_NULL __attribute__((returns_nonnull))
#else
#define WEIR__PRINTF(format_index, first_index)
#define WEIR__NEVER_NULL
#endif

// A new status; never NULL: when there is no memory left it is a static RESOURCE_EXHAUSTED one.
weir_status_t weir__status_make(weir_code_t code, const char *file, int line, const char *format,
    ...) WEIR__PRINTF(4, 5) WEIR__NEVER_NULL;
weir_status_t weir__status_make_v(
    weir_code_t code, const char *file, int line, const char *format, va_list arguments);

// Puts "context: " before the message, as errors travel up ("node Conv_3 (Conv): ..."). Returns its
// argument; NULL stays NULL; when there is no memory the message stays as it was.
weir_status_t weir__status_prefix(weir_status_t status, const char *format, ...) WEIR__PRINTF(2, 3);

// Puts "; advice" behind the message: what the reader can do. Otherwise as weir__status_prefix().
weir_status_t weir__status_advise(weir_status_t status, const char *advice);

// The static status for "no memory"; for paths that must not allocate.
weir_status_t weir__status_no_memory(void);

// Static statuses (no allocation) for the request path: CANCELLED, DEADLINE_EXCEEDED, UNAVAILABLE.
weir_status_t weir__status_static(weir_code_t code);

#define WEIR_ERR(code, ...) weir__status_make((code), __FILE__, __LINE__, __VA_ARGS__)

// `goto label` with `status` set when the expression fails.
#define WEIR_TRY_GOTO(status, label, expression)                                                   \
    do {                                                                                           \
        (status) = (expression);                                                                   \
        if (status)                                                                                \
            goto label;                                                                            \
    } while (0)

#endif
