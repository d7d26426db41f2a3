// `weir inspect MODEL`: what a model is and what weir made of it.
#include <inttypes.h>
#include <stdio.h>

#include <weir/weir.h>

#include "engine/cli/chain.h"
#include "engine/cli/command.h"
#include "engine/cli/inspect.h"
#include "engine/cli/subject.h"

typedef struct inspect_options {
    const char *model;
    const char *devices;
    weir__cli_option_count_t threads, cache_bytes;
    bool is_plan;
    bool is_limits;
    bool is_json;
    bool is_verbose;
} inspect_options_t;

#define FIELD(name) .field = offsetof(inspect_options_t, name)
static const weir__cli_option_t rows[] = {
    {.name = "--plan", FIELD(is_plan), .help = "also where each node runs, and on which kernel"},
    WEIR__CLI_ROW_DEVICE(inspect_options_t, devices,
        "devices for --plan, the preferred one first (weir devices lists them)"),
    WEIR__CLI_ROW_THREADS(inspect_options_t, threads),
    WEIR__CLI_ROW_CACHE_BYTES(inspect_options_t, cache_bytes),
    {.name = "--limits",
        FIELD(is_limits),
        .help = "what a model may cost before it is refused; needs no MODEL"},
    {.name = "--json", FIELD(is_json), .help = "one JSON object"},
    WEIR__CLI_ROW_VERBOSE(inspect_options_t, is_verbose),
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "inspect",
    .arguments = "MODEL",
    .purpose =
        "Shows the inputs, outputs, operators and memory of a model, and what simplifying did.",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 0,
    .argument_most = 1,
    .argument_field = offsetof(inspect_options_t, model),
};

static weir_code_t inspect(
    const inspect_options_t *options, weir__cli_chain_t *chain, weir__cli_fault_t *fault)
{
    const weir__cli_chain_options_t how = {.threads = options->threads.value,
        .devices = options->devices,
        .cache_bytes = options->cache_bytes.value,
        .is_verbose = options->is_verbose};
    weir_code_t code = weir__cli_chain_engine(chain, &how, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_model(chain, options->model, fault);
    if (code == WEIR_OK && options->is_plan)
        code = weir__cli_chain_plan(chain, &how, fault);
    if (code != WEIR_OK)
        return code;
    if (options->is_json)
        return weir__cli_inspect_json(options->model, chain, fault);
    return weir__cli_inspect_text(options->model, chain, fault);
}

weir_code_t weir__cli_inspect(int argc, char **argv, weir__cli_fault_t *fault)
{
    inspect_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    if (options.is_limits && options.model)
        return weir__cli_fault_usage(
            fault, "--limits shows what holds for every model: leave MODEL away");
    if (options.is_limits) {
        weir__cli_inspect_limits(options.is_json);
        return WEIR_OK;
    }
    if (!options.model)
        return weir__cli_fault_usage(
            fault, "MODEL is missing: give it, weir inspect MODEL (weir inspect --help says more)");
    if (options.devices && !options.is_plan)
        return weir__cli_fault_usage(fault, "--device says where a plan runs: add --plan");
    weir__cli_chain_t chain = {0};
    code = inspect(&options, &chain, fault);
    weir__cli_chain_close(&chain);
    return code;
}
