// backends/opencl/op_reorder.c: Reorder: f32 of rank 4 between row-major and blocks of 16 channels.
#include "backends/opencl/op_host.h"

#define PIECE 256 // elements of a plane, whose sixteen channels stay in the first cache

weir_code_t weir_cl_reorder_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    bool there = x->format == WEIR_FORMAT_ROW_MAJOR && y->format == WEIR_FORMAT_NCHW16C;
    bool back = x->format == WEIR_FORMAT_NCHW16C && y->format == WEIR_FORMAT_ROW_MAJOR;
    if (x->rank != 4 || (!there && !back))
        return weir_cl_no(out_support, "between row-major and blocks of 16 channels only");
    return WEIR_OK;
}

weir_code_t weir_cl_reorder_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_cl_define(builder, "TO_BLOCKS", node->outputs[0].format == WEIR_FORMAT_NCHW16C);
    weir_cl_kernel(
        builder, "common/reorder", "weir_reorder", "ttllllll", weir_cl_simple_group(builder));
    return WEIR_OK;
}

weir_code_t weir_cl_reorder_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const int64_t *dims = node->inputs[0].dims;
    int64_t blocks = WEIR_DIV_UP(dims[1], 16), plane = dims[2] * dims[3];
    int64_t pieces = WEIR_DIV_UP(plane, PIECE);
    bool is_gpu = built->facts->family == WEIR_CL_FAMILY_GPU;
    weir_cl_spread_t spread = is_gpu ? weir_cl_spread(built->facts, dims[0] * blocks * plane, 16)
                                     : weir_cl_spread(built->facts, dims[0] * blocks * pieces,
                                           WEIR_MIN(plane, PIECE) * 16);
    weir_cl_dispatch_t *dispatch = weir_cl_dispatch(recipe, 0, spread.groups, 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, dims[1]);
    weir_cl_arg_i64(dispatch, blocks);
    weir_cl_arg_i64(dispatch, plane);
    weir_cl_arg_i64(dispatch, PIECE);
    weir_cl_arg_i64(dispatch, spread.rows);
    weir_cl_arg_i64(dispatch, spread.chunk);
    return WEIR_OK;
}
