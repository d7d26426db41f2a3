// backends/cuda/op_norm.c: softmax and norms along a line of elements.
#include "backends/cuda/op_common.h"

#include <string.h>

#define SHORT 8 // a line that one thread takes

static uint32_t threads_for(uint64_t length)
{
    return length <= 64 ? 64 : length <= 512 ? 128 : 256;
}

// ---------------------------------------------------------------------------------------------
// Lines along one axis
// ---------------------------------------------------------------------------------------------

static weir_code_t line_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!(node->inputs[0].dtype & WEIR_CUDA_FLOATS))
        return weir_cuda_refuse(out_support, "only f32, f16 and bf16");
    if (node->prologue || node->epilogue)
        return weir_cuda_refuse(out_support, "it takes no expression");
    return WEIR_OK;
}

static weir_code_t line_plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    static const char *const softmax[3] = WEIR_CUDA_ENTRIES_FLOAT("softmax");
    static const char *const lp_norm[3] = WEIR_CUDA_ENTRIES_FLOAT("lp_norm");
    static const char *const softmax_each[3] = WEIR_CUDA_ENTRIES_FLOAT("softmax_each");
    static const char *const lp_norm_each[3] = WEIR_CUDA_ENTRIES_FLOAT("lp_norm_each");
    const weir_tensor_t *x = &node->inputs[0];
    const bool is_norm = strcmp(node->op, "LpNormalization") == 0;
    const bool is_log = strcmp(node->op, "LogSoftmax") == 0;
    const int32_t axis = weir_cuda_axis(weir_node_int(node, "axis", -1), x->rank);
    weir_cuda_line_params_t params = {.lines = 1,
        .length = 1,
        .inner = 1,
        .mode = is_norm ? (uint32_t)weir_node_int(node, "p", 2) : is_log};
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code != WEIR_OK)
        return code;
    if (axis < 0 && x->rank)
        return weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT, "no such axis");
    if (x->rank) {
        // Before opset 13: everything from the axis on is one line.
        const bool coerces = weir_node_int(node, "coerce", 0) != 0;
        const uint32_t at = (uint32_t)axis, end = coerces ? x->rank : at + 1;
        params.length = (uint32_t)weir_cuda_product(x, at, end);
        params.inner = (uint32_t)weir_cuda_product(x, end, x->rank);
        params.lines = (uint32_t)weir_cuda_product(x, 0, at) * params.inner;
    }
    const bool is_each = params.inner > 1 || params.length < SHORT;
    const char *const *entries =
        is_each ? (is_norm ? lp_norm_each : softmax_each) : (is_norm ? lp_norm : softmax);
    const char *entry = weir_cuda_entry_float(entries, x->dtype);
    weir_cuda_kernel_step_t *step =
        is_each ? weir_cuda_launch_each(recipe, entry, params.lines, &params, sizeof params)
                : weir_cuda_launch_blocks(recipe, entry, params.lines, threads_for(params.length),
                      &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_line_params_t, x), weir_cuda_input(0));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_line_params_t, y), weir_cuda_output(0));
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// LayerNormalization
// ---------------------------------------------------------------------------------------------

// Is it the axes of x from `axis` on, and nothing else?
static bool is_plain(const weir_tensor_t *x, uint32_t axis, const weir_tensor_t *operand)
{
    const uint32_t rank = x->rank - axis;
    return operand->dtype == x->dtype && operand->rank == rank &&
           memcmp(operand->dims, x->dims + axis, rank * sizeof *x->dims) == 0;
}

static weir_code_t layer_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_tensor_t *x = &node->inputs[0];
    const weir_code_t code = line_supports(node, out_support);
    const int32_t axis = weir_cuda_axis(weir_node_int(node, "axis", -1), x->rank);
    if (code != WEIR_OK)
        return code;
    if (axis < 0)
        return weir_cuda_refuse(out_support, "no such axis");
    if (!is_plain(x, (uint32_t)axis, &node->inputs[1]) ||
        (weir_cuda_has(node, 2) && !is_plain(x, (uint32_t)axis, &node->inputs[2])))
        return weir_cuda_refuse(out_support, "scale and bias that broadcast");
    for (uint32_t i = 1; i < 3; i++)
        if (weir_cuda_wants(node, i) && node->outputs[i].dtype != WEIR_F32)
            return weir_cuda_refuse(out_support, "mean and deviation in f32 only");
    return WEIR_OK;
}

static weir_code_t layer_plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[3] = WEIR_CUDA_ENTRIES_FLOAT("layer_norm");
    const weir_tensor_t *x = &node->inputs[0];
    const uint32_t axis = (uint32_t)weir_cuda_axis(weir_node_int(node, "axis", -1), x->rank);
    const weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code != WEIR_OK)
        return code;
    weir_cuda_layer_norm_params_t params = {.rows = (uint32_t)weir_cuda_product(x, 0, axis),
        .length = (uint32_t)weir_cuda_product(x, axis, x->rank),
        .epsilon = (float)weir_node_float(node, "epsilon", 1e-5)};
    weir_cuda_kernel_step_t *step =
        weir_cuda_launch_blocks(recipe, weir_cuda_entry_float(entries, x->dtype), params.rows,
            threads_for(params.length), &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    const uint32_t in_at[3] = {WEIR_CUDA_AT(weir_cuda_layer_norm_params_t, x),
        WEIR_CUDA_AT(weir_cuda_layer_norm_params_t, scale),
        WEIR_CUDA_AT(weir_cuda_layer_norm_params_t, bias)};
    const uint32_t out_at[3] = {WEIR_CUDA_AT(weir_cuda_layer_norm_params_t, y),
        WEIR_CUDA_AT(weir_cuda_layer_norm_params_t, mean),
        WEIR_CUDA_AT(weir_cuda_layer_norm_params_t, inverse)};
    for (uint32_t i = 0; i < 3; i++) {
        if (weir_cuda_has(node, i))
            weir_cuda_step_pointer(step, in_at[i], weir_cuda_input(i));
        if (weir_cuda_wants(node, i))
            weir_cuda_step_pointer(step, out_at[i], weir_cuda_output(i));
    }
    return WEIR_OK;
}

static const weir_cuda_row_t rows[] = {
    WEIR_CUDA_ROW("Softmax", "cuda_softmax", line_supports, line_plan),
    WEIR_CUDA_ROW("LogSoftmax", "cuda_log_softmax", line_supports, line_plan),
    WEIR_CUDA_ROW("LpNormalization", "cuda_lp_norm", line_supports, line_plan),
    WEIR_CUDA_ROW("LayerNormalization", "cuda_layer_norm", layer_supports, layer_plan),
};

const weir_cuda_family_t weir_cuda_family_norm = {rows, sizeof rows / sizeof rows[0]};
