// What a run gave: values, times, files.
#ifndef WEIR_CLI_OUTPUTS_H
#define WEIR_CLI_OUTPUTS_H

#include "engine/cli/chain.h"
#include "engine/cli/filenames.h"
#include "engine/cli/inputs.h"

typedef struct weir__cli_outputs {
    uint32_t count;
    weir_port_t *ports;          // [count]
    weir_value_t *values;        // [count]: views into the session
    const char *folder;          // where they were saved; NULL: nowhere
    weir__cli_filename_t *files; // [count]
    uint64_t run_count;
    uint64_t *run_ns; // [run_count]
} weir__cli_outputs_t;

// Room for the outputs of a model and the times of run_count runs.
// Owns: weir__cli_outputs_free(), also after a failure.
weir_code_t weir__cli_outputs_make(const weir_model_t *model, uint64_t run_count,
    weir__cli_outputs_t *out_outputs, weir__cli_fault_t *fault);
void weir__cli_outputs_free(weir__cli_outputs_t *outputs);

// Writes each output into the folder, which exists.
weir_code_t weir__cli_outputs_save(
    weir__cli_outputs_t *outputs, const char *folder, weir__cli_fault_t *fault);

// Everything about the runs on stdout.
void weir__cli_outputs_text(const char *path, const weir__cli_chain_t *chain,
    const weir__cli_inputs_t *inputs, const weir__cli_outputs_t *outputs);
void weir__cli_outputs_json(const char *path, const weir__cli_chain_t *chain,
    const weir__cli_inputs_t *inputs, const weir__cli_outputs_t *outputs);

#endif
