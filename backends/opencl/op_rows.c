// backends/opencl/op_rows.c: Softmax, LogSoftmax, LayerNormalization and InstanceNormalization in
// f32: a row for each work-item (cpu) or each work-group (gpu).
#include <string.h>

#include "backends/opencl/op_kernels.h"

// The source of this family and its work-group.
static const char *source_of(const weir_cl_builder_t *builder, uint32_t local[3])
{
    const bool is_cpu = weir_cl_facts(builder)->family == WEIR_CL_FAMILY_CPU;
    local[0] = is_cpu ? 1 : WEIR_CL_ITEMS;
    local[1] = local[2] = 1;
    return is_cpu ? "cpu/rows" : "gpu/rows";
}

// The first dim of a row, or -1.
static int64_t row_axis(const weir_node_t *node)
{
    const int64_t rank = node->inputs[0].rank, axis = weir_node_int(node, "axis", -1);
    const int64_t first = axis < 0 ? axis + rank : axis;
    return first >= 0 && first < rank ? first : -1;
}

static weir_code_t f32_only(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->prologue || node->epilogue)
        return weir_cl_no(out_support, "takes no program");
    if (node->input_count < 1 || node->output_count < 1)
        return weir_cl_no(out_support, "inputs are missing");
    for (uint32_t i = 0; i < node->input_count; i++)
        if (node->inputs[i].dtype != WEIR_F32 && (node->inputs[i].dtype != 0 || i < 1))
            return weir_cl_no(out_support, "takes f32 only");
    for (uint32_t j = 0; j < node->output_count; j++)
        if (node->outputs[j].dtype != WEIR_F32 && (node->outputs[j].dtype != 0 || j == 0))
            return weir_cl_no(out_support, "gives f32 only");
    return node->inputs[0].strides ? weir_cl_no(out_support, "takes dense rows only") : WEIR_OK;
}

weir_code_t weir_cl_softmax_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = f32_only(node, out_support);
    if (code == WEIR_OK && row_axis(node) < 0)
        return weir_cl_no(out_support, "the axis is not one of the input");
    return code;
}

weir_code_t weir_cl_softmax_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    uint32_t local[3];
    const char *source = source_of(builder, local);
    weir_cl_define(builder, node->op[0] == 'L' ? "LOG_SOFTMAX" : "SOFTMAX", 1);
    weir_cl_kernel(builder, source, "weir_softmax", "ttll", local);
    return WEIR_OK;
}

weir_code_t weir_cl_softmax_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    const uint32_t axis = (uint32_t)row_axis(node);
    (void)built;
    // The rule before opset 13 takes all dims from the axis on.
    const uint32_t end = weir_node_int(node, "coerce", 0) ? x->rank : axis + 1;
    const int64_t count = weir_cl_sizes(x, axis, end), inner = weir_cl_sizes(x, end, x->rank);
    const int64_t rows = count ? weir_cl_sizes(x, 0, axis) * inner : 0;
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, (uint64_t)rows, 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, count);
    weir_cl_arg_i64(dispatch, inner);
    return WEIR_OK;
}

weir_code_t weir_cl_layer_norm_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = f32_only(node, out_support);
    if (code != WEIR_OK)
        return code;
    const weir_tensor_t *x = &node->inputs[0];
    const int64_t axis = row_axis(node);
    if (axis < 0 || node->input_count < 2 || node->inputs[1].dtype != WEIR_F32)
        return weir_cl_no(out_support, "the axis is not one of the input");
    for (uint32_t i = 1; i < WEIR_MIN(node->input_count, 3u); i++) {
        const weir_tensor_t *factor = &node->inputs[i];
        if (factor->dtype == 0)
            continue;
        bool fits = (int64_t)factor->rank == (int64_t)x->rank - axis;
        for (uint32_t d = 0; fits && d < factor->rank; d++)
            fits = factor->dims[d] == x->dims[(uint32_t)axis + d];
        if (!fits)
            return weir_cl_no(out_support, "scale or bias is not of the normalised dims");
    }
    return WEIR_OK;
}

static bool has_input(const weir_node_t *node, uint32_t input)
{
    return input < node->input_count && node->inputs[input].dtype != 0;
}

static bool has_output(const weir_node_t *node, uint32_t output)
{
    return output < node->output_count && node->outputs[output].dtype != 0;
}

static weir_code_t norm_build(const weir_node_t *node, bool by_channel, weir_cl_builder_t *builder)
{
    uint32_t local[3];
    const char *source = source_of(builder, local);
    weir_cl_define(builder, "LAYER_NORM", 1);
    if (by_channel)
        weir_cl_define(builder, "BY_CHANNEL", 1);
    if (has_input(node, 2))
        weir_cl_define(builder, "HAS_BIAS", 1);
    if (has_output(node, 1))
        weir_cl_define(builder, "HAS_MEAN", 1);
    if (has_output(node, 2))
        weir_cl_define(builder, "HAS_DEVIATION", 1);
    weir_cl_kernel(builder, source, "weir_layer_norm", "ttttttllf", local);
    return WEIR_OK;
}

static void norm_plan(const weir_node_t *node, int64_t rows, int64_t count, int64_t channels,
    weir_cl_recipe_t *recipe)
{
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, (uint64_t)(count ? rows : 0), 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 1);
    // What is absent is not touched; something has to stand there.
    weir_cl_arg_input(dispatch, node, has_input(node, 2) ? 2 : 1);
    for (uint32_t j = 0; j < 3; j++)
        weir_cl_arg_output(dispatch, node, has_output(node, j) ? j : 0);
    weir_cl_arg_i64(dispatch, count);
    weir_cl_arg_i64(dispatch, channels);
    weir_cl_arg_f32(dispatch, (float)weir_node_float(node, "epsilon", 1e-5));
}

weir_code_t weir_cl_layer_norm_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return norm_build(node, false, builder);
}

weir_code_t weir_cl_layer_norm_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    const uint32_t axis = (uint32_t)row_axis(node);
    (void)built;
    norm_plan(node, weir_cl_sizes(x, 0, axis), weir_cl_sizes(x, axis, x->rank), 1, recipe);
    return WEIR_OK;
}

weir_code_t weir_cl_instance_norm_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = f32_only(node, out_support);
    if (code == WEIR_OK && (node->inputs[0].rank < 3 || node->input_count < 3))
        return weir_cl_no(out_support, "takes images only");
    return code;
}

weir_code_t weir_cl_instance_norm_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    return norm_build(node, true, builder);
}

weir_code_t weir_cl_instance_norm_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    (void)built;
    norm_plan(node, weir_cl_sizes(x, 0, 2), weir_cl_sizes(x, 2, x->rank), WEIR_MAX(x->dims[1], 1),
        recipe);
    return WEIR_OK;
}
