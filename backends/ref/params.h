// backends/ref/params.h: attributes of a node -> parameters of a reference kernel.
#ifndef WEIR_BACKENDS_REF_PARAMS_H
#define WEIR_BACKENDS_REF_PARAMS_H

#include "kernels/ref/ref.h"

#include <weir/plugin.h>

// The `params` column of kernels.inc.
enum {
    WEIR_REF_PARAMS_NONE,
    WEIR_REF_PARAMS_AXIS,
    WEIR_REF_PARAMS_TRANSPOSE,
    WEIR_REF_PARAMS_PAD,
    WEIR_REF_PARAMS_RESIZE,
    WEIR_REF_PARAMS_WINDOW,
    WEIR_REF_PARAMS_LSTM,
    WEIR_REF_PARAMS_ATTENTION
};

// WEIR_UNSUPPORTED with a reason when an attribute has a value that no reference kernel knows. [A]
weir_code_t weir__ref_params(int32_t kind, const weir_node_t *node, weir_kr_params_t *out_params,
    char *reason, uint32_t reason_bytes);

#endif
