// weir/status.h: how a call ended.
//
// weir_status_t is a pointer; NULL is success, so success is one test. A failure carries a code, a
// message that says what, where and what to do, and the source line that made it.
#ifndef WEIR_STATUS_H
#define WEIR_STATUS_H

#include <weir/plugin.h>

#if defined(__GNUC__)
#define WEIR_API __attribute__((visibility("default")))
#define WEIR_MUST_USE __attribute__((warn_unused_result))
#else
#define WEIR_API
#define WEIR_MUST_USE
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_status *weir_status_t;

// The code of a status; WEIR_OK for NULL. Threads: any. Errors: none.
WEIR_API weir_code_t weir_status_code(weir_status_t status);

// One line for a person: "weir: CODE: message". "weir: OK" for NULL.
// Owns: the text lives as long as the status. Threads: any. Errors: none.
WEIR_API const char *weir_status_text(weir_status_t status);

// The message alone, without "weir: CODE: ". Owns: lives as long as the status. Threads: any.
// Errors: none.
WEIR_API const char *weir_status_message(weir_status_t status);

// Where in weir's source the status was made, "file.c:123"; for bug reports.
// Owns: lives as long as the status. Threads: any. Errors: none.
WEIR_API const char *weir_status_source(weir_status_t status);

// Frees a status; NULL is allowed. Threads: any, once per status. Errors: none.
WEIR_API void weir_status_free(weir_status_t status);

// A failure that is a constant of the program, for paths that must not allocate. Its address is a
// weir_status_t: weir_status_constant(). weir_status_free() leaves it alone.
typedef struct weir_status_constant {
    weir_code_t code;
    uint32_t is_constant;    // 1
    const char *text;        // "weir: CODE: message"
    uint64_t message_offset; // of "message" in it
    const char *source;      // "file.c:123"
} weir_status_constant_t;
#define WEIR_STATUS_CONSTANT(code, name, message)                                                  \
    {                                                                                              \
        (code), 1, "weir: " name ": " message, sizeof("weir: " name ": ") - 1, __FILE__            \
    }

// For libraries on top of weir. Owns: `constant` outlives every use of the status. Threads: any.
// Errors: none.
WEIR_API weir_status_t weir_status_constant(const weir_status_constant_t *constant);

// A new failure, as weir makes its own; the same libraries need it. source: "file.c:123".
// Owns: the caller frees it; texts are copied. Threads: any. Errors: never NULL: without memory it
// is a constant RESOURCE_EXHAUSTED.
WEIR_API weir_status_t weir_status_make(
    weir_code_t code, const char *source, const char *format, ...);

// "INVALID_ARGUMENT" and so on; "INTERNAL" for a code that this version does not know.
// Owns: a static string. Threads: any. Errors: none.
WEIR_API const char *weir_code_name(weir_code_t code);

// Returns from the calling function with the status of `expression` when that failed.
#define WEIR_TRY(expression)                                                                       \
    do {                                                                                           \
        weir_status_t weir_try_status_ = (expression);                                             \
        if (weir_try_status_)                                                                      \
            return weir_try_status_;                                                               \
    } while (0)

#ifdef __cplusplus
}
#endif
#endif
