// `weir bench MODEL...`: latency, creation, new shapes, memory, one model after the other.
//
// It must not print a figure of a model before that model is done: an error is then the only line.
#include <stdio.h>
#include <string.h>

#include <weir/weir.h>

#include "engine/cli/bench.h"
#include "engine/cli/command.h"

#define FIELD(name) .field = offsetof(weir__cli_bench_options_t, name)
static const weir__cli_option_t rows[] = {
    WEIR__CLI_SUBJECT_ROWS(weir__cli_bench_options_t, WEIR__CLI_DEVICE_HELP, WEIR__CLI_RANDOM_HELP,
        "the size of an open dim, by its name or as INPUT:AXIS; with --random-shapes\n"
        "NAME=A..B or NAME=A..B/STEP (default: 1..64)",
        "one JSON object on one line for each model"),
    {.name = "--seconds",
        .value_name = "S",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(seconds),
        .least = 1,
        .most = 86400,
        .help = "how long to run each model (default: 5), after a tenth of it to warm up"},
    {.name = "--runs",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(runs),
        .least = 1,
        .most = 1 << 22,
        .help = "at most so many runs"},
    {.name = "--random-shapes",
        FIELD(is_random_shapes),
        .help = "every run has another shape; shows what a new shape costs and whether memory\n"
                "grows"},
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "bench",
    .arguments = "MODEL...",
    .purpose = "Measures how fast models run, how fast they are ready, and what memory they take.",
    .notes =
        "A model is made ready twice, with an empty cache and with what that left; the cache is a\n"
        "temporary folder. The times of creation leave out the engine itself (plugins, threads),\n"
        "which is shown beside them.\n"
        "Example: weir bench minilm.onnx --dim batch=1 --dim sequence=128 --seconds 10 --json",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = 1024,
    .argument_field = offsetof(weir__cli_bench_options_t, models),
};

static weir_code_t check(const weir__cli_bench_options_t *options, weir__cli_fault_t *fault)
{
    if (options->is_random_shapes && options->subject.inputs.count)
        return weir__cli_fault_usage(
            fault, "--random-shapes makes up all inputs: leave out --input");
    return WEIR_OK;
}

static weir_code_t bench(
    const weir__cli_bench_options_t *options, const char *model, weir__cli_fault_t *fault)
{
    weir__cli_chain_t chain = {0};
    weir__cli_inputs_t inputs = {0};
    weir__cli_bench_t figures = {0};
    const weir_code_t code = weir__cli_bench_make(options, model, &chain, &inputs, &figures, fault);
    if (code == WEIR_OK && options->subject.is_json)
        weir__cli_bench_json(options, &chain, &inputs, &figures);
    else if (code == WEIR_OK)
        weir__cli_bench_text(options, &chain, &figures);
    (void)fflush(stdout); // the next model may take long
    weir__cli_inputs_guessed(&inputs, code);
    weir__cli_bench_free(&figures);
    weir__cli_inputs_free(&inputs);
    weir__cli_chain_close(&chain);
    return code;
}

weir_code_t weir__cli_bench(int argc, char **argv, weir__cli_fault_t *fault)
{
    weir__cli_bench_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    code = check(&options, fault);
    for (size_t i = 0; i < options.models.count && code == WEIR_OK; i++)
        code = bench(&options, options.models.items[i], fault);
    weir__cli_options_free(&syntax, &options);
    return code;
}
