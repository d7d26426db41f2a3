// `weir help` and `weir help COMMAND`.
#include <stdio.h>
#include <string.h>

#include "engine/cli/command.h"
#include "engine/cli/near.h"
#include "engine/cli/text.h"

typedef struct help_options {
    const char *command;
} help_options_t;

static const weir__cli_syntax_t syntax = {
    .command = "help",
    .arguments = "[COMMAND]",
    .purpose = "Lists the commands, or shows the help of one.",
    .argument_most = 1,
    .argument_field = offsetof(help_options_t, command),
};

static void print_commands(const weir__cli_command_t *commands, size_t count)
{
    (void)puts(
        "weir COMMAND [options]: loads ONNX models and runs them on what this machine has\n");
    weir__cli_table_t table = weir__cli_table_start(2);
    for (size_t i = 0; i < count; i++) {
        weir__cli_table_add(&table, commands[i].name);
        weir__cli_table_add(&table, commands[i].help);
    }
    weir__cli_table_finish(&table, 2, stdout);
    (void)puts("\nweir COMMAND --help says more. Exit codes: 0 done, 1 failed, 2 mistyped.\n"
               "Environment: WEIR_PLUGIN_PATH (folders and files of plugins, colon-separated),\n"
               "WEIR_CACHE_DIR (where prepared weights are kept; empty: nowhere).");
}

weir_code_t weir__cli_help(int argc, char **argv, weir__cli_fault_t *fault)
{
    help_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    const weir__cli_command_t *commands = NULL;
    const size_t count = weir__cli_commands(&commands);
    if (!options.command) {
        print_commands(commands, count);
        return WEIR_OK;
    }
    char help[] = "--help";
    char *arguments[] = {help, NULL};
    weir__cli_near_t near = weir__cli_near_start(options.command);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(options.command, commands[i].name) == 0)
            return commands[i].run(1, arguments, fault);
        weir__cli_near_offer(&near, commands[i].name);
    }
    return weir__cli_fault_usage(fault,
        "unknown command \"%s\"%s%s%s: weir help lists the commands", options.command,
        near.best ? ", did you mean \"" : "", near.best ? near.best : "", near.best ? "\"?" : "");
}
