// backends/opencl/op_fill.c: ConstantOfShape.
#include "backends/opencl/op_host.h"

weir_code_t weir_cl_constant_of_shape_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!weir_cl_is_there(node, 1))
        return weir_cl_no(out_support, "the value is missing");
    return weir_cl_is_plain(node, out_support);
}

weir_code_t weir_cl_constant_of_shape_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_cl_define_size(builder, node->outputs[0].dtype);
    weir_cl_kernel(builder, "common/fill", "weir_fill", "ttll", weir_cl_simple_group(builder));
    return WEIR_OK;
}

weir_code_t weir_cl_constant_of_shape_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_spread_t spread =
        weir_cl_spread(built->facts, (int64_t)node->outputs[0].element_count, 1);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(dispatch, node, 1);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, spread.rows);
    weir_cl_arg_i64(dispatch, spread.chunk);
    return WEIR_OK;
}
