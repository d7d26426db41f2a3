// backends/opencl/op_lstm.c: LSTM in f32 with the default activations (docs/operators.md).
//
// A work-group for each row of the batch and direction. Peepholes, clip, sequence_lens,
// input_forget and layout 1 are left to the next device.
#include <string.h>

#include "backends/opencl/op_kernels.h"

enum { X, W, R, B, LENGTHS, FIRST_H, FIRST_C, PEEPHOLES };

static bool has_input(const weir_node_t *node, uint32_t input)
{
    return input < node->input_count && node->inputs[input].dtype != 0;
}

static bool has_output(const weir_node_t *node, uint32_t output)
{
    return output < node->output_count && node->outputs[output].dtype != 0;
}

weir_code_t weir_cl_lstm_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->prologue || node->epilogue || node->input_count < 3)
        return weir_cl_no(out_support, "takes no program");
    if (has_input(node, LENGTHS) || has_input(node, PEEPHOLES))
        return weir_cl_no(out_support, "takes neither sequence_lens nor peepholes");
    for (uint32_t i = 0; i < node->input_count; i++)
        if (has_input(node, i) && (node->inputs[i].dtype != WEIR_F32 || node->inputs[i].strides))
            return weir_cl_no(out_support, "takes f32 only");
    if (weir_node_int(node, "layout", 0) || weir_node_int(node, "input_forget", 0) ||
        weir_node_float(node, "clip", 0.0) > 0)
        return weir_cl_no(out_support, "takes neither layout 1, input_forget nor clip");
    if (node->inputs[X].rank != 3 || node->inputs[W].rank != 3 || node->inputs[R].rank != 3)
        return weir_cl_no(out_support, "X, W and R are not of rank 3");
    return WEIR_OK;
}

weir_code_t weir_cl_lstm_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    static const struct {
        uint32_t number;
        bool is_output;
        const char *name;
    } parts[] = {{B, false, "HAS_BIAS"}, {FIRST_H, false, "HAS_H"}, {FIRST_C, false, "HAS_C"},
        {0, true, "WANTS_Y"}, {1, true, "WANTS_H"}, {2, true, "WANTS_C"}};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i].is_output ? has_output(node, parts[i].number)
                               : has_input(node, parts[i].number))
            weir_cl_define(builder, parts[i].name, 1);
    const bool is_gpu = weir_cl_facts(builder)->family == WEIR_CL_FAMILY_GPU;
    weir_cl_kernel(builder, "common/lstm", "weir_lstm", "ttttttttttllli",
        (uint32_t[3]){is_gpu ? WEIR_CL_ITEMS : 1, 1, 1});
    return WEIR_OK;
}

static bool fits(const weir_tensor_t *tensors, uint32_t count, uint32_t i, int64_t elements)
{
    return i >= count || tensors[i].dtype == 0 || tensors[i].element_count == (uint64_t)elements;
}

weir_code_t weir_cl_lstm_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[X];
    const int64_t directions = node->inputs[W].dims[0], hidden = node->inputs[R].dims[2];
    const int64_t length = x->dims[0], batch = x->dims[1], input = x->dims[2];
    const int64_t states = directions * batch * hidden;
    const uint32_t in = node->input_count, out = node->output_count;
    const char *direction = weir_cl_string(node, "direction");
    (void)built;
    if (directions != (strcmp(direction, "bidirectional") == 0 ? 2 : 1) ||
        !fits(node->inputs, in, W, directions * 4 * hidden * input) ||
        !fits(node->inputs, in, R, directions * 4 * hidden * hidden) ||
        !fits(node->inputs, in, B, directions * 8 * hidden) ||
        !fits(node->inputs, in, FIRST_H, states) || !fits(node->inputs, in, FIRST_C, states) ||
        !fits(node->outputs, out, 0, length * states) || !fits(node->outputs, out, 1, states) ||
        !fits(node->outputs, out, 2, states))
        return WEIR_INVALID_ARGUMENT;
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)(hidden ? batch : 0), (uint64_t)directions, 1);
    recipe->scratch_bytes = (uint64_t)weir_cl_div_up(states * 6, 16) * 64;
    for (uint32_t i = X; i <= R; i++)
        weir_cl_arg_input(dispatch, node, i);
    static const uint32_t optional[] = {B, FIRST_H, FIRST_C};
    for (uint32_t i = 0; i < 3; i++)
        if (has_input(node, optional[i]))
            weir_cl_arg_input(dispatch, node, optional[i]);
        else
            weir_cl_arg_none(dispatch);
    for (uint32_t i = 0; i < 3; i++)
        if (has_output(node, i))
            weir_cl_arg_output(dispatch, node, i);
        else
            weir_cl_arg_none(dispatch);
    weir_cl_arg_scratch(dispatch, 0);
    weir_cl_arg_i64(dispatch, length);
    weir_cl_arg_i64(dispatch, input);
    weir_cl_arg_i64(dispatch, hidden);
    weir_cl_arg_i32(dispatch, strcmp(direction, "reverse") == 0);
    return WEIR_OK;
}
