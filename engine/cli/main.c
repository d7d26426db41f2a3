// The command `weir`: finds the command in the table, prints its error as one line, chooses the
// exit code (0 done, 1 failed, 2 mistyped).
//
// It must not know what any command does.
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/cli/command.h"
#include "engine/cli/near.h"
#include "engine/cli/text.h"

#define WEIR_COMMAND(name, run, help) {#name, run, help},
static const weir__cli_command_t commands[] = {
#include "engine/cli/commands.inc"
};
#undef WEIR_COMMAND

enum { COMMAND_COUNT = sizeof(commands) / sizeof(commands[0]) };

size_t weir__cli_commands(const weir__cli_command_t **out_commands)
{
    *out_commands = commands;
    return COMMAND_COUNT;
}

bool weir__cli_begin(const weir__cli_syntax_t *syntax, int argc, char **argv, void *values,
    weir__cli_fault_t *fault, weir_code_t *out_code)
{
    switch (weir__cli_options_parse(syntax, argc, argv, values, fault)) {
    case WEIR__CLI_PARSE_OK:
        return true;
    case WEIR__CLI_PARSE_HELP:
        weir__cli_options_help(syntax, stdout);
        *out_code = WEIR_OK;
        break;
    case WEIR__CLI_PARSE_WRONG:
        *out_code = fault->code;
        break;
    }
    weir__cli_options_free(syntax, values);
    return false;
}

static weir_code_t run_command(int argc, char **argv, weir__cli_fault_t *fault)
{
    if (argc < 2)
        return weir__cli_fault_usage(fault, "a command is missing: weir help lists them");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return weir__cli_help(0, argv + 2, fault);
    if (strcmp(argv[1], "--version") == 0)
        return weir__cli_version(0, argv + 2, fault);
    weir__cli_near_t near = weir__cli_near_start(argv[1]);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(argv[1], commands[i].name) == 0)
            return commands[i].run(argc - 2, argv + 2, fault);
        weir__cli_near_offer(&near, commands[i].name);
    }
    return weir__cli_fault_usage(fault,
        "unknown command \"%s\"%s%s%s: weir help lists the commands", argv[1],
        near.best ? ", did you mean \"" : "", near.best ? near.best : "", near.best ? "\"?" : "");
}

int main(int argc, char **argv)
{
    weir__cli_fault_t fault = {.code = WEIR_OK};
    weir_code_t code = run_command(argc, argv, &fault);
    // What was printed is a result too: it must not be lost on a full disk without a word.
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && code == WEIR_OK)
        code = weir__cli_fault_set(&fault, weir__cli_fault_errno_code(errno ? errno : EIO),
            "the result cannot be written to standard output: %s; send it elsewhere",
            strerror(errno ? errno : EIO));
    if (code == WEIR_OK)
        return WEIR__CLI_EXIT_OK;
    char safe[sizeof(fault.text)];
    (void)fprintf(stderr, "weir: %s: %s\n", weir_code_name(code),
        weir__cli_text_safe(fault.text, safe, sizeof(safe)));
    return fault.is_usage ? WEIR__CLI_EXIT_USAGE : WEIR__CLI_EXIT_FAILED;
}
