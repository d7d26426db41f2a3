// The inputs of one run: from files, the rest from a seed.
#ifndef WEIR_CLI_INPUTS_H
#define WEIR_CLI_INPUTS_H

#include <weir/model.h>
#include <weir/value.h>

#include "engine/cli/fault.h"
#include "engine/cli/options.h"

typedef struct weir__cli_inputs_wanted {
    const char *model_path;        // for messages
    weir__cli_option_list_t files; // "NAME=FILE.npy"
    weir__cli_option_list_t dims;  // "NAME=N", NAME being a symbolic dim or INPUT:AXIS
    weir__cli_option_count_t seed;
} weir__cli_inputs_wanted_t;

typedef struct weir__cli_inputs {
    uint32_t count;
    weir_port_t *ports;   // [count]
    weir_value_t *values; // [count]; data of each is ours
    const char **files;   // [count]; NULL: from the seed
    // Names of open dims that nothing set and that count as 1, "batch, sequence"; "" when there are
    // none.
    char guessed_dims[512];
} weir__cli_inputs_t;

// Makes all inputs of a model. Dims that nothing sets count as 1 and are named in guessed_dims.
// Owns: weir__cli_inputs_free(), also after a failure.
weir_code_t weir__cli_inputs_make(const weir_model_t *model,
    const weir__cli_inputs_wanted_t *wanted, weir__cli_inputs_t *out_inputs,
    weir__cli_fault_t *fault);

// Says once, on stderr, which dims were guessed, unless the command failed.
void weir__cli_inputs_guessed(const weir__cli_inputs_t *inputs, weir_code_t code);

// For the code of a run on these inputs, and of nothing else: when it refused their shapes, the
// fault's line says which dims were guessed. Returns `code`.
weir_code_t weir__cli_inputs_blame(
    const weir__cli_inputs_t *inputs, weir_code_t code, weir__cli_fault_t *fault);

void weir__cli_inputs_free(weir__cli_inputs_t *inputs);

#endif
