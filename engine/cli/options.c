// The parser of command lines. It must not print errors nor know any command.
#include "engine/cli/options.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/near.h"

bool weir__cli_options_number(const char *text, uint64_t least, uint64_t most, uint64_t *out_number)
{
    uint64_t number = 0;
    if (*text == '\0')
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        if (__builtin_mul_overflow(number, (uint64_t)10, &number) ||
            __builtin_add_overflow(number, (uint64_t)(*text - '0'), &number))
            return false;
    }
    if (number < least || number > most)
        return false;
    *out_number = number;
    return true;
}

static void *field_of(const weir__cli_option_t *option, void *values)
{
    return (char *)values + option->field;
}

// The row whose name is the first `bytes` bytes of `name`; NULL when there is none.
static const weir__cli_option_t *find(
    const weir__cli_syntax_t *syntax, const char *name, size_t bytes)
{
    for (size_t i = 0; i < syntax->option_count; i++) {
        const weir__cli_option_t *option = &syntax->options[i];
        if (strlen(option->name) == bytes && memcmp(option->name, name, bytes) == 0)
            return option;
    }
    return NULL;
}

static weir__cli_parse_t unknown_option(
    const weir__cli_syntax_t *syntax, const char *argument, size_t bytes, weir__cli_fault_t *fault)
{
    char name[64];
    if (bytes >= sizeof(name))
        bytes = sizeof(name) - 1;
    memcpy(name, argument, bytes);
    name[bytes] = '\0';
    weir__cli_near_t near = weir__cli_near_start(name);
    for (size_t i = 0; i < syntax->option_count; i++)
        weir__cli_near_offer(&near, syntax->options[i].name);
    weir__cli_near_offer(&near, "--help");
    if (near.best)
        weir__cli_fault_usage(fault,
            "unknown option %s, did you mean %s? (weir %s --help lists all)", name, near.best,
            syntax->command);
    else
        weir__cli_fault_usage(fault, "unknown option %s of weir %s: weir %s --help lists all", name,
            syntax->command, syntax->command);
    return WEIR__CLI_PARSE_WRONG;
}

static weir__cli_parse_t append(
    weir__cli_option_list_t *list, const char *item, weir__cli_fault_t *fault)
{
    const char **items = realloc(list->items, (list->count + 1) * sizeof(*items));
    if (!items) {
        weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for the command line");
        return WEIR__CLI_PARSE_WRONG;
    }
    items[list->count++] = item;
    list->items = items;
    return WEIR__CLI_PARSE_OK;
}

static weir__cli_parse_t store(
    const weir__cli_option_t *option, const char *value, void *values, weir__cli_fault_t *fault)
{
    void *field = field_of(option, values);
    weir__cli_option_count_t *count = field;
    switch (option->kind) {
    case WEIR__CLI_OPTION_FLAG:
        *(bool *)field = true;
        return WEIR__CLI_PARSE_OK;
    case WEIR__CLI_OPTION_LIST:
        return append(field, value, fault);
    case WEIR__CLI_OPTION_TEXT:
        if (*(const char **)field) {
            weir__cli_fault_usage(fault, "option %s is given twice: give it once", option->name);
            return WEIR__CLI_PARSE_WRONG;
        }
        *(const char **)field = value;
        return WEIR__CLI_PARSE_OK;
    case WEIR__CLI_OPTION_COUNT:
        break;
    }
    if (!weir__cli_options_number(value, option->least, option->most, &count->value)) {
        weir__cli_fault_usage(fault,
            "option %s takes a whole number from %" PRIu64 " to %" PRIu64 ", not \"%s\"",
            option->name, option->least, option->most, value);
        return WEIR__CLI_PARSE_WRONG;
    }
    count->is_set = true;
    return WEIR__CLI_PARSE_OK;
}

// Takes the option at argv[*index] and, if it has one, its value; moves *index past both.
static weir__cli_parse_t take_option(const weir__cli_syntax_t *syntax, int argc, char **argv,
    int *index, void *values, weir__cli_fault_t *fault)
{
    const char *argument = argv[(*index)++];
    const size_t bytes = strcspn(argument, "=");
    const weir__cli_option_t *option = find(syntax, argument, bytes);
    if (!option)
        return unknown_option(syntax, argument, bytes, fault);
    const char *value = argument[bytes] == '=' ? argument + bytes + 1 : NULL;
    if (option->kind == WEIR__CLI_OPTION_FLAG) {
        if (value) {
            weir__cli_fault_usage(
                fault, "option %s takes no value: leave out \"=%s\"", option->name, value);
            return WEIR__CLI_PARSE_WRONG;
        }
    } else if (!value) {
        if (*index >= argc || strncmp(argv[*index], "--", 2) == 0) {
            weir__cli_fault_usage(fault, "option %s needs a value: %s %s", option->name,
                option->name, option->value_name);
            return WEIR__CLI_PARSE_WRONG;
        }
        value = argv[(*index)++];
    }
    return store(option, value, values, fault);
}

weir__cli_parse_t weir__cli_options_parse(
    const weir__cli_syntax_t *syntax, int argc, char **argv, void *values, weir__cli_fault_t *fault)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
            return WEIR__CLI_PARSE_HELP;
    }
    uint32_t argument_count = 0;
    bool options_ended = false;
    for (int i = 0; i < argc;) {
        if (!options_ended && strcmp(argv[i], "--") == 0) {
            options_ended = true;
            i++;
        } else if (!options_ended && argv[i][0] == '-' && argv[i][1] != '\0') {
            const weir__cli_parse_t result = take_option(syntax, argc, argv, &i, values, fault);
            if (result != WEIR__CLI_PARSE_OK)
                return result;
        } else if (argument_count < syntax->argument_most) {
            void *field = (char *)values + syntax->argument_field;
            if (syntax->argument_most == 1)
                *(const char **)field = argv[i];
            else if (append(field, argv[i], fault) != WEIR__CLI_PARSE_OK)
                return WEIR__CLI_PARSE_WRONG;
            argument_count++;
            i++;
        } else {
            weir__cli_fault_usage(fault,
                "\"%s\" is one argument too many: leave it out, weir %s%s%s", argv[i],
                syntax->command, *syntax->arguments ? " " : "", syntax->arguments);
            return WEIR__CLI_PARSE_WRONG;
        }
    }
    if (argument_count < syntax->argument_least) {
        weir__cli_fault_usage(fault,
            "%s is missing: give it, weir %s %s (weir %s --help says more)", syntax->arguments,
            syntax->command, syntax->arguments, syntax->command);
        return WEIR__CLI_PARSE_WRONG;
    }
    return WEIR__CLI_PARSE_OK;
}

static void free_list(weir__cli_option_list_t *list)
{
    free(list->items);
    *list = (weir__cli_option_list_t){0};
}

void weir__cli_options_free(const weir__cli_syntax_t *syntax, void *values)
{
    if (syntax->argument_most > 1)
        free_list((void *)((char *)values + syntax->argument_field));
    for (size_t i = 0; i < syntax->option_count; i++) {
        if (syntax->options[i].kind == WEIR__CLI_OPTION_LIST)
            free_list(field_of(&syntax->options[i], values));
    }
}

static void help_row(
    FILE *out, const char *name, const char *value_name, const char *help, int width)
{
    char left[80];
    (void)snprintf(
        left, sizeof(left), "%s%s%s", name, value_name ? " " : "", value_name ? value_name : "");
    (void)fprintf(out, "  %-*s  ", width, left);
    for (; *help; help++) {
        (void)fputc(*help, out);
        if (*help == '\n')
            (void)fprintf(out, "%*s", width + 4, "");
    }
    (void)fputc('\n', out);
}

void weir__cli_options_help(const weir__cli_syntax_t *syntax, FILE *out)
{
    (void)fprintf(out, "weir %s%s%s [options]\n%s\n\n", syntax->command,
        *syntax->arguments ? " " : "", syntax->arguments, syntax->purpose);
    size_t width = strlen("--help");
    for (size_t i = 0; i < syntax->option_count; i++) {
        const weir__cli_option_t *option = &syntax->options[i];
        const size_t value_bytes = option->value_name ? 1 + strlen(option->value_name) : 0;
        const size_t bytes = strlen(option->name) + value_bytes;
        width = bytes > width ? bytes : width;
    }
    for (size_t i = 0; i < syntax->option_count; i++) {
        const weir__cli_option_t *option = &syntax->options[i];
        help_row(out, option->name, option->value_name, option->help, (int)width);
    }
    help_row(out, "--help", NULL, "this text", (int)width);
    if (syntax->notes)
        (void)fprintf(out, "\n%s\n", syntax->notes);
}
