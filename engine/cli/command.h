// The commands of weir. commands.inc is the table; a command is one file and one row.
#ifndef WEIR_CLI_COMMAND_H
#define WEIR_CLI_COMMAND_H

#include "engine/cli/fault.h"
#include "engine/cli/options.h"

enum { WEIR__CLI_EXIT_OK = 0, WEIR__CLI_EXIT_FAILED = 1, WEIR__CLI_EXIT_USAGE = 2 };

// Runs a command on the arguments after its name. Prints its result on stdout, notes on stderr, but
// no error: that is what the fault is for.
typedef weir_code_t (*weir__cli_command_fn)(int argc, char **argv, weir__cli_fault_t *fault);

typedef struct weir__cli_command {
    const char *name;
    weir__cli_command_fn run;
    const char *help;
} weir__cli_command_t;

#define WEIR_COMMAND(name, run, help)                                                              \
    weir_code_t run(int argc, char **argv, weir__cli_fault_t *fault);
#include "engine/cli/commands.inc"
#undef WEIR_COMMAND

// The rows of commands.inc, in its order. Returns their count.
size_t weir__cli_commands(const weir__cli_command_t **out_commands);

// Parses, or prints the help. Returns true when the command shall go on; else *out_code is its
// result.
bool weir__cli_begin(const weir__cli_syntax_t *syntax, int argc, char **argv, void *values,
    weir__cli_fault_t *fault, weir_code_t *out_code);

#endif
