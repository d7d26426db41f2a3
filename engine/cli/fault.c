// Faults of the command: a code and one line of text. It must not call the library, so that the
// tests of the parsers need no engine.
#include "engine/cli/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void fill(weir__cli_fault_t *fault, weir_code_t code, const char *format, va_list arguments)
{
    fault->code = code;
    fault->is_usage = false;
    (void)vsnprintf(fault->text, sizeof(fault->text), format, arguments);
}

weir_code_t weir__cli_fault_set(weir__cli_fault_t *fault, weir_code_t code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(fault, code, format, arguments);
    va_end(arguments);
    return code;
}

weir_code_t weir__cli_fault_usage(weir__cli_fault_t *fault, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fill(fault, WEIR_INVALID_ARGUMENT, format, arguments);
    va_end(arguments);
    fault->is_usage = true;
    return WEIR_INVALID_ARGUMENT;
}

weir_code_t weir__cli_fault_errno_code(int error)
{
    switch (error) {
    case ENOENT:
        return WEIR_NOT_FOUND;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
        return WEIR_RESOURCE_EXHAUSTED;
    case EIO:
        return WEIR_DATA_LOSS;
    default: // a folder where a file should be, no permission, a name that is too long
        return WEIR_INVALID_ARGUMENT;
    }
}
