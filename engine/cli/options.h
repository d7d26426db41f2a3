// Table-driven command lines: each command is one syntax, each option one row.
//
// The table is the parser, the help text and the list of near misses, so that the three can't
// differ. Values are kept as text or numbers; what they mean is the command's business.
#ifndef WEIR_CLI_OPTIONS_H
#define WEIR_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "engine/cli/fault.h"

typedef enum weir__cli_option_kind {
    WEIR__CLI_OPTION_FLAG,  // field: bool
    WEIR__CLI_OPTION_TEXT,  // field: const char *; given twice is an error
    WEIR__CLI_OPTION_COUNT, // field: weir__cli_option_count_t, within [least, most]
    WEIR__CLI_OPTION_LIST,  // field: weir__cli_option_list_t, one item each time it is given
} weir__cli_option_kind_t;

typedef struct weir__cli_option_count {
    uint64_t value;
    bool is_set;
} weir__cli_option_count_t;

typedef struct weir__cli_option_list {
    const char **items; // point into argv
    size_t count;
} weir__cli_option_list_t;

typedef struct weir__cli_option {
    const char *name;       // "--device"
    const char *value_name; // "NAME[,NAME]"; NULL for flags
    weir__cli_option_kind_t kind;
    size_t field; // offsetof in the command's own struct
    uint64_t least, most;
    const char *help; // may hold line breaks
} weir__cli_option_t;

typedef struct weir__cli_syntax {
    const char *command;
    const char *arguments; // "MODEL"; "" for none
    const char *purpose;   // one sentence
    const char *notes;     // more for --help; NULL: none
    const weir__cli_option_t *options;
    size_t option_count;
    uint32_t argument_least, argument_most;
    // most 1: const char *, stays NULL when absent; more: weir__cli_option_list_t.
    size_t argument_field;
} weir__cli_syntax_t;

typedef enum weir__cli_parse {
    WEIR__CLI_PARSE_OK,
    WEIR__CLI_PARSE_HELP, // --help was given; nothing else was checked
    WEIR__CLI_PARSE_WRONG // the fault says what
} weir__cli_parse_t;

// Fills `values` (zeroed by the caller) from argv[0 .. argc), which starts after the command's
// name. Owns: the lists are the caller's whatever the result: weir__cli_options_free().
weir__cli_parse_t weir__cli_options_parse(const weir__cli_syntax_t *syntax, int argc, char **argv,
    void *values, weir__cli_fault_t *fault);

// Frees what weir__cli_options_parse() allocated.
void weir__cli_options_free(const weir__cli_syntax_t *syntax, void *values);

// Writes the help of one command.
void weir__cli_options_help(const weir__cli_syntax_t *syntax, FILE *out);

// A decimal number and nothing else. Returns false when it is none or out of [least, most].
bool weir__cli_options_number(
    const char *text, uint64_t least, uint64_t most, uint64_t *out_number);

#endif
