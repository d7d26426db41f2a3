// backends/opencl/op_line.c: ArgMax, ArgMin, LpNormalization: lines along one axis.
#include "backends/opencl/op_host.h"

#include <string.h>

static bool is_max(const weir_node_t *node)
{
    return strcmp(node->op, "ArgMax") == 0;
}

weir_code_t weir_cl_arg_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!(node->inputs[0].dtype & (WEIR_F32 | WEIR_I32 | WEIR_I64)))
        return weir_cl_no(out_support, "f32, i32 and i64");
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_arg_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_cl_define(builder, "IS_MAX", is_max(node));
    weir_cl_define_type(builder, "V", node->inputs[0].dtype);
    weir_cl_kernel(builder, "common/line", "weir_arg", "ttllill", weir_cl_simple_group(builder));
    return WEIR_OK;
}

static weir_code_t plan_lines(const weir_node_t *node, const weir_cl_built_t *built,
    int64_t otherwise, int64_t number, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    int64_t axis = weir_cl_axis(weir_node_int(node, "axis", otherwise), x->rank);
    if (axis < 0)
        return WEIR_INVALID_ARGUMENT;
    int64_t length = x->dims[axis], inner = weir_cl_product(x->dims, (uint32_t)axis + 1, x->rank);
    int64_t rows = weir_cl_product(x->dims, 0, (uint32_t)axis) * inner;
    weir_cl_spread_t spread = weir_cl_spread_results(built->facts, rows, length);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, length);
    weir_cl_arg_i64(dispatch, inner);
    weir_cl_arg_i32(dispatch, number);
    weir_cl_arg_i64(dispatch, spread.rows);
    weir_cl_arg_i64(dispatch, spread.chunk);
    return WEIR_OK;
}

weir_code_t weir_cl_arg_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return plan_lines(node, built, 0, weir_node_int(node, "select_last_index", 0) != 0, recipe);
}

weir_code_t weir_cl_lp_norm_supports(const weir_node_t *node, weir_support_t *out_support)
{
    int64_t p = weir_node_int(node, "p", 2);
    if (p != 1 && p != 2)
        return weir_cl_no(out_support, "p is 1 or 2");
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_lp_norm_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    (void)node;
    weir_cl_kernel(
        builder, "common/line", "weir_lp_norm", "ttllill", weir_cl_simple_group(builder));
    return WEIR_OK;
}

weir_code_t weir_cl_lp_norm_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    return plan_lines(node, built, -1, weir_node_int(node, "p", 2), recipe);
}
