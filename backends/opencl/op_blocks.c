// backends/opencl/op_blocks.c: Pointwise, and Resize to whole multiples by the nearest element, in
// f32 over images in blocks of 16 channels, for the cpu family. No sums: those are in op_blocked.c.
#include <string.h>

#include "backends/opencl/op_kernels.h"

#define PIXELS 256 // of one work-item

static const weir_cl_view_t view = {.is_blocked = true};

weir_code_t weir_cl_blocked_pointwise_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!node->body || node->epilogue || !weir_cl_is_blocked(&node->outputs[0]) ||
        node->outputs[0].dims[1] < 1)
        return weir_cl_no(out_support, "gives one f32 output in blocks only");
    return weir_cl_finish_supports(node, view, 2, out_support);
}

weir_code_t weir_cl_blocked_pointwise_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    weir_cl_finish_pack_query(node, view, input, out_packing);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_pointwise_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes)
{
    return weir_cl_finish_pack(node, input, destination, bytes);
}

weir_code_t weir_cl_blocked_pointwise_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    const weir_code_t code =
        weir_cl_finish_build(node, view, WEIR_CL_WANTS_16, "tl", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_define(builder, "PIXELS", PIXELS);
    weir_cl_define(builder, "FILL", (node->outputs[0].dims[1] - 1) % 16 + 1);
    weir_cl_kernel(
        builder, "cpu/blocks", "weir_blocks_pointwise", arguments, (uint32_t[3]){1, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_pointwise_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *y = &node->outputs[0];
    const int64_t pixels = weir_cl_sizes(y, 2, 4);
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)weir_cl_div_up(pixels, PIXELS),
            (uint64_t)weir_cl_blocks(y->dims[1]), (uint64_t)y->dims[0]);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, pixels);
    weir_cl_finish_args(node, view, built, dispatch);
    return WEIR_OK;
}

// The whole factor along `axis`; 0: it is none.
static int64_t factor_of(const weir_node_t *node, uint32_t axis)
{
    float scale;
    if (node->inputs[1].element_count != 4 || node->inputs[1].dtype != WEIR_F32 ||
        !node->inputs[1].data)
        return 0;
    memcpy(&scale, (const char *)node->inputs[1].data + axis * sizeof scale, sizeof scale);
    return scale >= 1.0f && scale <= 1024.0f && scale == (float)(int64_t)scale ? (int64_t)scale : 0;
}

weir_code_t weir_cl_blocked_resize_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->input_count < 2 || !weir_cl_is_blocked(&node->inputs[0]) ||
        !weir_cl_is_blocked(&node->outputs[0]))
        return weir_cl_no(out_support, "takes and gives blocks only");
    const weir_attribute_t *axes = weir_node_attribute(node, "axes");
    if (strcmp(weir_cl_string(node, "mode"), "nearest") != 0 || (axes && axes->count > 0) ||
        !weir_cl_is_constant(&node->inputs[1]) || factor_of(node, 0) != 1 ||
        factor_of(node, 1) != 1 || factor_of(node, 2) == 0 || factor_of(node, 3) == 0)
        return weir_cl_no(out_support, "takes the nearest element and whole factors only");
    const char *place = weir_cl_string(node, "coordinate_transformation_mode");
    const char *nearest = weir_cl_string(node, "nearest_mode");
    const bool floors = !strcmp(place, "asymmetric") && !strcmp(nearest, "floor");
    // The middle of an output lies less than half an element from the middle of its input.
    const bool rounds = !strcmp(place, "half_pixel") && !strncmp(nearest, "round", 5);
    return floors || rounds ? WEIR_OK : weir_cl_no(out_support, "takes asymmetric floor only");
}

weir_code_t weir_cl_blocked_resize_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    (void)node;
    weir_cl_define(builder, "RESIZE", 1);
    weir_cl_kernel(builder, "cpu/blocks", "weir_blocks_resize", "ttllll", (uint32_t[3]){1, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_resize_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    (void)built;
    const int64_t times_y = factor_of(node, 2), times_x = factor_of(node, 3);
    if (y->dims[2] != x->dims[2] * times_y || y->dims[3] != x->dims[3] * times_x)
        return WEIR_INVALID_ARGUMENT;
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)(x->dims[3] ? y->dims[2] : 0),
            (uint64_t)weir_cl_blocks(x->dims[1]), (uint64_t)x->dims[0]);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    const int64_t sizes[] = {x->dims[2], x->dims[3], times_y, times_x};
    WEIR_CL_SIZES(dispatch, sizes);
    return WEIR_OK;
}
