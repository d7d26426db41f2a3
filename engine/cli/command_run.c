// `weir run MODEL`: inputs, one or more runs, outputs.
//
// It must not print anything before the runs have succeeded: an error is then the only line.
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <weir/weir.h>

#include "engine/cli/command.h"
#include "engine/cli/npy.h"
#include "engine/cli/outputs.h"
#include "engine/cli/subject.h"
#include "engine/cli/text.h"

typedef struct run_options {
    const char *model;
    weir__cli_subject_t subject;
    const char *folder;
    weir__cli_option_count_t deadline_ms;
    weir__cli_option_count_t repeat;
} run_options_t;

#define FIELD(name) .field = offsetof(run_options_t, name)
static const weir__cli_option_t rows[] = {
    WEIR__CLI_SUBJECT_ROWS(run_options_t,
        WEIR__CLI_DEVICE_HELP ";\none alone must run all, what none of several can do runs on ref",
        "makes up the other inputs: floats within (-1, 1), integers 0 or 1;\n"
        "the same seed gives the same values on every machine",
        WEIR__CLI_DIM_HELP "\n(default: what the files say, else 1)", "one JSON object"),
    {.name = "--output",
        .value_name = "FOLDER",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(folder),
        .help = "keeps each output as FOLDER/NAME.npy; characters of the name outside\n"
                "A-Za-z0-9_.+- become _; bf16 is kept as f32"},
    {.name = "--deadline-ms",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(deadline_ms),
        .least = 1,
        .most = 1000000000,
        .help = "ends a run that takes longer, as an error"},
    {.name = "--repeat",
        .value_name = "N",
        .kind = WEIR__CLI_OPTION_COUNT,
        FIELD(repeat),
        .least = 1,
        .most = 1000000,
        .help = "runs N times on the same inputs; shows the times of the later ones"},
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "run",
    .arguments = "MODEL",
    .purpose = "Runs an ONNX model and shows each output with a summary of its values.",
    .notes =
        "Example: weir run minilm.onnx --random 1 --dim batch=2 --dim sequence=16 --output out",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
    .argument_least = 1,
    .argument_most = 1,
    .argument_field = offsetof(run_options_t, model),
};

// Made before the run, so that a long run is not lost on a mistyped folder.
static weir_code_t make_folder(const char *folder, weir__cli_fault_t *fault)
{
    struct stat info;
    if (!folder || mkdir(folder, 0777) == 0)
        return WEIR_OK;
    const int error = errno;
    if (error == EEXIST && stat(folder, &info) == 0 && S_ISDIR(info.st_mode))
        return WEIR_OK;
    return weir__cli_fault_set(fault, weir__cli_fault_errno_code(error),
        "the folder %s cannot be made: %s; choose another one with --output", folder,
        error == EEXIST ? "it is a file" : strerror(error));
}

static weir_code_t run_all(const run_options_t *options, const weir__cli_chain_t *chain,
    const weir__cli_inputs_t *inputs, weir__cli_outputs_t *outputs, weir__cli_fault_t *fault)
{
    weir_code_t code = WEIR_OK;
    for (uint64_t i = 0; i < outputs->run_count && code == WEIR_OK; i++) {
        for (uint32_t j = 0; j < outputs->count; j++)
            outputs->values[j] = weir_view();
        const uint64_t start_ns = weir_now_ns();
        const weir_run_options_t how = {.size = sizeof(how),
            .deadline_ns =
                options->deadline_ms.is_set ? start_ns + options->deadline_ms.value * WEIR_MS : 0};
        code = weir__cli_chain_take(weir_session_run(chain->session, &how, inputs->count,
                                        inputs->values, outputs->count, outputs->values),
            fault);
        outputs->run_ns[i] = weir_now_ns() - start_ns;
    }
    // The model is valid and the shapes are right, so what a node refuses is a value.
    const size_t used = strlen(fault->text);
    if (code == WEIR_INVALID_ARGUMENT && strncmp(fault->text, "node ", strlen("node ")) == 0)
        (void)snprintf(fault->text + used, sizeof(fault->text) - used,
            "; check the values of the inputs of %s", options->model);
    return weir__cli_inputs_blame(inputs, code, fault);
}

static weir_code_t run_model(const run_options_t *options, weir__cli_chain_t *chain,
    weir__cli_inputs_t *inputs, weir__cli_outputs_t *outputs, weir__cli_fault_t *fault)
{
    const weir__cli_chain_options_t how = weir__cli_subject_chain(&options->subject);
    weir__cli_inputs_wanted_t wanted = weir__cli_subject_inputs(&options->subject, options->model);
    wanted.seed = options->subject.seed; // without --random nothing is made up
    weir_code_t code = weir__cli_chain_engine(chain, &how, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_model(chain, options->model, fault);
    if (code == WEIR_OK)
        code = weir__cli_inputs_make(chain->model, &wanted, inputs, fault);
    if (code == WEIR_OK)
        code = make_folder(options->folder, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_plan(chain, &how, fault);
    if (code == WEIR_OK)
        code = weir__cli_chain_session(chain, fault);
    if (code == WEIR_OK)
        code = weir__cli_outputs_make(
            chain->model, options->repeat.is_set ? options->repeat.value : 1, outputs, fault);
    if (code == WEIR_OK)
        code = run_all(options, chain, inputs, outputs, fault);
    if (code == WEIR_OK && options->folder)
        code = weir__cli_outputs_save(outputs, options->folder, fault);
    if (code == WEIR_OK && options->subject.is_json)
        weir__cli_outputs_json(options->model, chain, inputs, outputs);
    else if (code == WEIR_OK)
        weir__cli_outputs_text(options->model, chain, inputs, outputs);
    return code;
}

weir_code_t weir__cli_run(int argc, char **argv, weir__cli_fault_t *fault)
{
    run_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    weir__cli_chain_t chain = {0};
    weir__cli_inputs_t inputs = {0};
    weir__cli_outputs_t outputs = {0};
    code = run_model(&options, &chain, &inputs, &outputs, fault);
    weir__cli_inputs_guessed(&inputs, code);
    weir__cli_outputs_free(&outputs);
    weir__cli_inputs_free(&inputs);
    weir__cli_chain_close(&chain);
    weir__cli_options_free(&syntax, &options);
    return code;
}
