// `weir version`.
#include <inttypes.h>
#include <stdio.h>

#include <weir/weir.h>

#include "engine/cli/command.h"
#include "engine/cli/json.h"

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "GCC " __VERSION__
#endif

typedef struct version_options {
    bool is_json;
} version_options_t;

static const weir__cli_option_t rows[] = {
    {.name = "--json", .field = offsetof(version_options_t, is_json), .help = "one JSON object"},
};
static const weir__cli_syntax_t syntax = {
    .command = "version",
    .arguments = "",
    .purpose = "Shows the version of weir and of its plugin interface.",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
};

weir_code_t weir__cli_version(int argc, char **argv, weir__cli_fault_t *fault)
{
    version_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    char hash[17];
    (void)snprintf(hash, sizeof(hash), "%016" PRIx64, (uint64_t)WEIR_PLUGIN_HEADER_HASH);
    if (options.is_json) {
        weir__cli_json_t json = {.out = stdout};
        weir__cli_json_open(&json, NULL, '{');
        weir__cli_json_text(&json, "version", weir_version());
        weir__cli_json_u64(&json, "plugin_abi", 0);
        weir__cli_json_text(&json, "plugin_header_hash", hash);
        weir__cli_json_text(&json, "compiler", COMPILER);
        weir__cli_json_close(&json, '}');
        (void)putchar('\n');
    } else {
        (void)printf("weir %s (plugin interface 0, header %s; compiled by %s)\n", weir_version(),
            hash, COMPILER);
    }
    return WEIR_OK;
}
