// engine/base/status.c: statuses. Uses the C library's malloc on purpose: an error must be able to
// say "the engine's allocator has nothing left".
#include "engine/base/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A constant one ends with its head: look at head_of() before anything else.
struct weir_status {
    weir_status_constant_t head;
    char *text; // head.text, of one that was made
    char source[64];
};

static const weir_status_constant_t *head_of(weir_status_t status)
{
    return (const weir_status_constant_t *)(const void *)status;
}

static const char *const code_names[] = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNSUPPORTED",
    "LIMIT", "RESOURCE_EXHAUSTED", "INFEASIBLE", "DEADLINE_EXCEEDED", "CANCELLED", "UNAVAILABLE",
    "DRAINING", "DEVICE_LOST", "DATA_LOSS", "INTERNAL"};

const char *weir_code_name(weir_code_t code)
{
    if (code < 0 || (size_t)code >= sizeof code_names / sizeof code_names[0])
        return "INTERNAL";
    return code_names[code];
}

static const weir_status_constant_t static_statuses[] = {
    WEIR_STATUS_CONSTANT(WEIR_RESOURCE_EXHAUSTED, "RESOURCE_EXHAUSTED",
        "no memory left: raise the limit peak_bytes, or free models and sessions"),
    WEIR_STATUS_CONSTANT(WEIR_CANCELLED, "CANCELLED", "the run was cancelled by its caller"),
    WEIR_STATUS_CONSTANT(WEIR_DEADLINE_EXCEEDED, "DEADLINE_EXCEEDED",
        "the run passed its deadline and was stopped: allow more time or send smaller inputs"),
    WEIR_STATUS_CONSTANT(WEIR_UNAVAILABLE, "UNAVAILABLE",
        "the session cannot run now: a run is under way, or a device never answered an earlier "
        "one; "
        "use another session"),
};

weir_status_t weir_status_constant(const weir_status_constant_t *constant)
{
    return (weir_status_t)(uintptr_t)constant;
}

weir_status_t weir__status_static(weir_code_t code)
{
    for (size_t i = 0; i < sizeof static_statuses / sizeof static_statuses[0]; i++)
        if (static_statuses[i].code == code)
            return weir_status_constant(&static_statuses[i]);
    return weir_status_constant(&static_statuses[0]);
}

weir_status_t weir__status_no_memory(void)
{
    return weir__status_static(WEIR_RESOURCE_EXHAUSTED);
}

weir_status_t weir__status_make_v(
    weir_code_t code, const char *file, int line, const char *format, va_list arguments)
{
    va_list copy;
    va_copy(copy, arguments);
    int length = vsnprintf(NULL, 0, format, copy);
    va_end(copy);
    // A plugin may return what nobody knows; a failure that says OK would be taken for one.
    if (code <= WEIR_OK || code > WEIR_INTERNAL)
        code = WEIR_INTERNAL;
    const char *name = weir_code_name(code);
    size_t prefix = strlen("weir: : ") + strlen(name);
    struct weir_status *status = calloc(1, sizeof *status);
    char *text = length < 0 ? NULL : malloc(prefix + (size_t)length + 1);
    if (!status || !text) {
        free(status);
        free(text);
        return weir__status_no_memory();
    }
    snprintf(text, prefix + 1, "weir: %s: ", name);
    vsnprintf(text + prefix, (size_t)length + 1, format, arguments);
    const char *base = strrchr(file, '/');
    status->text = text;
    status->head = (weir_status_constant_t){
        .code = code, .text = text, .message_offset = prefix, .source = status->source};
    if (line)
        snprintf(status->source, sizeof status->source, "%s:%d", base ? base + 1 : file, line);
    else
        snprintf(status->source, sizeof status->source, "%s", base ? base + 1 : file);
    return status;
}

weir_status_t weir__status_make(
    weir_code_t code, const char *file, int line, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    weir_status_t status = weir__status_make_v(code, file, line, format, arguments);
    va_end(arguments);
    return status;
}

weir_status_t weir_status_make(weir_code_t code, const char *source, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    weir_status_t status = weir__status_make_v(code, source, 0, format, arguments);
    va_end(arguments);
    return status;
}

weir_status_t weir__status_prefix(weir_status_t status, const char *format, ...)
{
    if (!status || head_of(status)->is_constant)
        return status;
    va_list arguments, copy;
    va_start(arguments, format);
    va_copy(copy, arguments);
    int length = vsnprintf(NULL, 0, format, copy);
    va_end(copy);
    size_t offset = status->head.message_offset;
    size_t bytes = strlen(status->text) + (size_t)(length < 0 ? 0 : length) + 3;
    char *text = length < 0 ? NULL : malloc(bytes);
    if (text) {
        memcpy(text, status->text, offset);
        vsnprintf(text + offset, (size_t)length + 1, format, arguments);
        size_t at = offset + (size_t)length;
        snprintf(text + at, bytes - at, ": %s", status->text + offset);
        free(status->text);
        status->text = text;
        status->head.text = text;
    }
    va_end(arguments);
    return status;
}

weir_status_t weir__status_advise(weir_status_t status, const char *advice)
{
    if (!status || head_of(status)->is_constant)
        return status;
    size_t length = strlen(status->text), bytes = length + strlen(advice) + 3;
    char *text = realloc(status->text, bytes);
    if (text) {
        snprintf(text + length, bytes - length, "; %s", advice);
        status->text = text;
        status->head.text = text;
    }
    return status;
}

weir_code_t weir_status_code(weir_status_t status)
{
    return status ? head_of(status)->code : WEIR_OK;
}

const char *weir_status_text(weir_status_t status)
{
    return status ? head_of(status)->text : "weir: OK";
}

const char *weir_status_message(weir_status_t status)
{
    return status ? head_of(status)->text + head_of(status)->message_offset : "";
}

const char *weir_status_source(weir_status_t status)
{
    return status ? head_of(status)->source : "";
}

void weir_status_free(weir_status_t status)
{
    if (!status || head_of(status)->is_constant)
        return;
    free(status->text);
    free(status);
}
