// A model, and its plan if there is one, as text or JSON on stdout.
#ifndef WEIR_CLI_INSPECT_H
#define WEIR_CLI_INSPECT_H

#include "engine/cli/chain.h"

// chain: engine and model; a plan adds the table of nodes.
weir_code_t weir__cli_inspect_text(
    const char *path, const weir__cli_chain_t *chain, weir__cli_fault_t *fault);
weir_code_t weir__cli_inspect_json(
    const char *path, const weir__cli_chain_t *chain, weir__cli_fault_t *fault);

// The limits that hold when nobody sets others. Needs no model.
void weir__cli_inspect_limits(bool is_json);

#endif
