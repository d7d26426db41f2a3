// What went wrong in the command itself, for its one line of error.
//
// Why not weir_status_t: only the library can make one. Functions of the command return a
// weir_code_t and fill a fault; the status of a library call is taken over into one. Nothing here
// prints.
#ifndef WEIR_CLI_FAULT_H
#define WEIR_CLI_FAULT_H

#include <stdbool.h>
#include <weir/status.h>

typedef struct weir__cli_fault {
    weir_code_t code;
    bool is_usage;   // a mistake in the command line: exit code 2 instead of 1
    char text[2048]; // "what, where, what to do", without the code
} weir__cli_fault_t;

// Fills the fault and returns `code`.
weir_code_t weir__cli_fault_set(weir__cli_fault_t *fault, weir_code_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

// A mistake in the command line. Returns INVALID_ARGUMENT.
weir_code_t weir__cli_fault_usage(weir__cli_fault_t *fault, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

// The code that fits an errno.
weir_code_t weir__cli_fault_errno_code(int error);

#endif
