// Inputs and outputs of a model as text.
#ifndef WEIR_CLI_PORTS_H
#define WEIR_CLI_PORTS_H

#include <weir/model.h>

#include "engine/cli/json.h"

typedef struct weir__cli_port_text {
    char text[256];
} weir__cli_port_text_t;

// "f32[batch, 3, ?]"; "f32[...]" when the rank is not known.
weir__cli_port_text_t weir__cli_port_type(const weir_port_t *port);
// "f32[1, 3]" of a concrete tensor.
weir__cli_port_text_t weir__cli_port_concrete(
    weir_dtype_t dtype, uint32_t rank, const int64_t *dims);
// One object of the current array: name, dtype, dims (numbers, names, or null).
void weir__cli_port_json(weir__cli_json_t *json, const weir_port_t *port);

#endif
