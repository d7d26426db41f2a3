// backends/opencl/op_gather.c: Gather and GatherElements. Data-dependent: the error word says that
// an index was out of range.
#include "backends/opencl/op_host.h"

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!(node->inputs[1].dtype & (WEIR_I32 | WEIR_I64)))
        return weir_cl_no(out_support, "indices are i32 or i64");
    return weir_cl_is_plain(node, out_support);
}

static void define_types(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_cl_define_size(builder, node->inputs[0].dtype);
    weir_cl_define_type(builder, "I", node->inputs[1].dtype);
}

weir_code_t weir_cl_gather_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, out_support);
}

weir_code_t weir_cl_gather_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    define_types(node, builder);
    weir_cl_kernel(
        builder, "common/gather", "weir_gather", "tttelllll", weir_cl_simple_group(builder));
    return WEIR_OK;
}

weir_code_t weir_cl_gather_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    int64_t axis = weir_cl_axis(weir_node_int(node, "axis", 0), x->rank);
    if (axis < 0)
        return WEIR_INVALID_ARGUMENT;
    int64_t picks = (int64_t)node->inputs[1].element_count;
    int64_t inner = weir_cl_product(x->dims, (uint32_t)axis + 1, x->rank);
    int64_t rows = weir_cl_product(x->dims, 0, (uint32_t)axis) * picks;
    weir_cl_spread_t spread = weir_cl_spread(built->facts, rows, inner);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 1);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_error(dispatch);
    weir_cl_arg_i64(dispatch, picks);
    weir_cl_arg_i64(dispatch, x->dims[axis]);
    weir_cl_arg_i64(dispatch, inner);
    weir_cl_arg_i64(dispatch, spread.rows);
    weir_cl_arg_i64(dispatch, spread.chunk);
    return WEIR_OK;
}

weir_code_t weir_cl_gather_elements_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return supports(node, out_support);
}

weir_code_t weir_cl_gather_elements_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    define_types(node, builder);
    weir_cl_kernel(builder, "common/gather", "weir_gather_elements",
        "ttte"
        "llllllll"
        "llllllll"
        "llll",
        weir_cl_simple_group(builder));
    return WEIR_OK;
}

weir_code_t weir_cl_gather_elements_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    int64_t axis = weir_cl_axis(weir_node_int(node, "axis", 0), x->rank);
    int64_t strides[WEIR_RANK_MAX];
    uint32_t missing = WEIR_CL_AXES_MAX - x->rank;
    if (axis < 0)
        return WEIR_INVALID_ARGUMENT;
    weir_cl_strides(x->dims, x->rank, strides);
    weir_cl_spread_t spread = weir_cl_spread(built->facts, (int64_t)y->element_count, 1);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 1);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_error(dispatch);
    for (uint32_t d = 0; d < WEIR_CL_AXES_MAX; d++)
        weir_cl_arg_i64(dispatch, d < missing ? 1 : y->dims[d - missing]);
    for (uint32_t d = 0; d < WEIR_CL_AXES_MAX; d++)
        weir_cl_arg_i64(
            dispatch, d < missing || d - missing == (uint32_t)axis ? 0 : strides[d - missing]);
    weir_cl_arg_i64(dispatch, x->dims[axis]);
    weir_cl_arg_i64(dispatch, strides[axis]);
    weir_cl_arg_i64(dispatch, spread.rows);
    weir_cl_arg_i64(dispatch, spread.chunk);
    return WEIR_OK;
}
