// `weir explain MODEL`: where each node would run, at what cost, and why not elsewhere.
//
// It makes a plan and runs nothing. It must not judge: what it shows is what the plan was made by.
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

#include "engine/cli/command.h"
#include "engine/cli/explain.h"
#include "engine/cli/subject.h"

typedef struct explain_options {
    const char *model;
    const char *devices;
    const char *placement;
    const char *precision;
    const char *dot;
    weir__cli_option_count_t threads, cache_bytes;
    bool is_json;
    const char *plugin_options;
    bool is_verbose;
} explain_options_t;

#define FIELD(name) .field = offsetof(explain_options_t, name)
static const weir__cli_option_t rows[] = {
    WEIR__CLI_ROW_DEVICE(explain_options_t, devices, WEIR__CLI_DEVICE_HELP),
    WEIR__CLI_ROW_PLACE(explain_options_t, placement),
    WEIR__CLI_ROW_PRECISION(explain_options_t, precision),
    WEIR__CLI_ROW_OPTION(explain_options_t, plugin_options),
    {.name = "--dot",
        .value_name = "FILE",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(dot),
        .help = "draws the plan for graphviz: dot -Tsvg FILE"},
    WEIR__CLI_ROW_THREADS(explain_options_t, threads),
    WEIR__CLI_ROW_CACHE_BYTES(explain_options_t, cache_bytes),
    {.name = "--json", FIELD(is_json), .help = "one JSON object"},
    WEIR__CLI_ROW_VERBOSE(explain_options_t, is_verbose),
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "explain",
    .arguments = "MODEL",
    .purpose = "Shows where each node would run, at what cost, and why not elsewhere.",
    .notes =
        "Costs are those of a run with 1 for an open first axis of an input and 128 for other\n"
        "open sizes: measured (weir profile keeps times), claimed by the device, or estimated.\n"
        "Example: weir explain model.onnx --device mine,cpu --dot plan.dot",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = 1,
    .argument_field = offsetof(explain_options_t, model),
};

static weir_code_t explain(
    const explain_options_t *options, weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    const weir__cli_chain_options_t how = {.threads = options->threads.value,
        .devices = options->devices,
        .placement = options->placement,
        .precision = options->precision,
        .plugin_options = options->plugin_options,
        .cache_bytes = options->cache_bytes.value,
        .is_verbose = options->is_verbose};
    weir_code_t code = weir__cli_chain_engine(chain, &how, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_model(chain, options->model, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_plan(chain, &how, fault);
    if (code == WEIR_OK && options->dot)
        code = weir__cli_explain_dot(options->dot, options->model, chain->plan, fault);
    if (code != WEIR_OK)
        return code;
    if (options->is_json)
        weir__cli_explain_json(options->model, chain->plan);
    else
        weir__cli_explain_text(options->model, chain->plan);
    return WEIR_OK;
}

weir_code_t weir__cli_explain(int argc, char **argv, weir__cli_fault_t *fault)
{
    explain_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    weir__cli_chain_t chain = {0};
    code = explain(&options, &chain, fault);
    weir__cli_chain_close(&chain);
    weir__cli_options_free(&syntax, &options);
    return code;
}
