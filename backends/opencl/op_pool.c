// backends/opencl/op_pool.c: MaxPool, AveragePool, ConvTranspose and LRN in f32 over row-major
// images, an element for each work-item, and the global pools. Blocked images: op_blocked.c.
#include <string.h>

#include "backends/opencl/op_kernels.h"

static weir_cl_view_t view_of(const weir_node_t *node)
{
    return (weir_cl_view_t){.column_axes = node->outputs[0].rank - 2};
}

static bool is_f32(const weir_node_t *node)
{
    return node->input_count > 0 && node->output_count > 0 && !node->prologue &&
           node->inputs[0].dtype == WEIR_F32 && node->outputs[0].dtype == WEIR_F32 &&
           !node->inputs[0].strides;
}

// A dispatch of one work-item for each of `count` elements.
static weir_cl_dispatch_t *dispatch_elements(weir_cl_recipe_t *recipe, int64_t count)
{
    return weir_cl_dispatch(recipe, 0, (uint64_t)weir_cl_div_up(count, WEIR_CL_ITEMS), 1, 1);
}

// ---------------------------------------------------------------------------------------------
// Pools
// ---------------------------------------------------------------------------------------------

weir_code_t weir_cl_pool_supports(const weir_node_t *node, weir_support_t *out_support)
{
    weir_cl_window_t window;
    if (!is_f32(node))
        return weir_cl_no(out_support, "takes f32 only");
    if (node->epilogue)
        return weir_cl_no(out_support, "takes no epilogue");
    if (node->output_count > 1 && node->outputs[1].dtype != 0)
        return weir_cl_no(out_support, "does not give the indices of maxima");
    const char *wrong = weir_cl_window_read(node, &window);
    return wrong ? weir_cl_no(out_support, "%s", wrong) : WEIR_OK;
}

weir_code_t weir_cl_pool_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window))
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "%s: no window", node->op);
    const weir_code_t code = weir_cl_finish_build(
        node, view_of(node), WEIR_CL_WANTS_1, "tttlllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_define(builder, node->op[0] == 'M' ? "MAX" : "AVERAGE", 1);
    weir_cl_define(builder, "COUNT_PADS", weir_node_int(node, "count_include_pad", 0) != 0);
    weir_cl_window_define(&window, builder);
    weir_cl_kernel(
        builder, "common/window", "weir_window", arguments, (uint32_t[3]){WEIR_CL_ITEMS, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_pool_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    (void)built;
    if (weir_cl_window_read(node, &window))
        return WEIR_INVALID_ARGUMENT;
    const bool counts_pads = weir_node_int(node, "count_include_pad", 0) != 0;
    const int64_t count = (int64_t)node->outputs[0].element_count;
    weir_cl_dispatch_t *dispatch = dispatch_elements(recipe, count);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 0); // there are no weights
    weir_cl_arg_output(dispatch, node, 0);
    const int64_t sizes[] = {count, 1, 1, window.height, window.width, window.out_height,
        window.out_width, window.pad_top, window.pad_left,
        counts_pads ? window.end_y : window.height, counts_pads ? window.end_x : window.width};
    WEIR_CL_SIZES(dispatch, sizes);
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// ConvTranspose
// ---------------------------------------------------------------------------------------------

const char *weir_cl_deconv_read(const weir_node_t *node, weir_cl_window_t *out_window)
{
    const char *wrong = weir_cl_window_read(node, out_window);
    const weir_attribute_t *shape = weir_node_attribute(node, "output_shape");
    const char *mode = weir_cl_string(node, "auto_pad");
    if (!wrong && ((shape && shape->count > 0) || (mode[0] && strcmp(mode, "NOTSET") != 0)))
        return "takes neither output_shape nor auto_pad";
    return !wrong && out_window->channels < 0 ? "the channels are not known" : wrong;
}

weir_code_t weir_cl_deconv_supports(const weir_node_t *node, weir_support_t *out_support)
{
    weir_cl_window_t window;
    const char *wrong = weir_cl_deconv_read(node, &window);
    if (wrong)
        return weir_cl_no(out_support, "%s", wrong);
    return weir_cl_finish_supports(node, view_of(node), 14, out_support);
}

weir_code_t weir_cl_deconv_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window))
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "%s: no window", node->op);
    const weir_code_t code = weir_cl_finish_build(
        node, view_of(node), WEIR_CL_WANTS_1, "tttllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_define(builder, "SPREAD", 1);
    weir_cl_window_define(&window, builder);
    weir_cl_kernel(
        builder, "common/window", "weir_spread", arguments, (uint32_t[3]){WEIR_CL_ITEMS, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_deconv_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    if (weir_cl_window_read(node, &window) || window.channels % window.groups ||
        window.channels != node->inputs[1].dims[0] ||
        window.outputs != node->inputs[1].dims[1] * window.groups)
        return WEIR_INVALID_ARGUMENT;
    const int64_t count = (int64_t)node->outputs[0].element_count;
    weir_cl_dispatch_t *dispatch = dispatch_elements(recipe, count);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 1);
    weir_cl_arg_output(dispatch, node, 0);
    const int64_t sizes[] = {count, window.groups, window.channels / window.groups,
        window.outputs / window.groups, window.height, window.width, window.out_height,
        window.out_width, window.pad_top, window.pad_left};
    WEIR_CL_SIZES(dispatch, sizes);
    weir_cl_finish_args(node, view_of(node), built, dispatch);
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// LRN
// ---------------------------------------------------------------------------------------------

weir_code_t weir_cl_lrn_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const int64_t size = weir_node_int(node, "size", 0);
    if (!is_f32(node) || node->epilogue)
        return weir_cl_no(out_support, "takes f32 only");
    if (node->inputs[0].rank < 3 || size < 1 || size > 1 << 20)
        return weir_cl_no(out_support, "takes images and sizes from 1 on");
    return WEIR_OK;
}

weir_code_t weir_cl_lrn_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    const int64_t size = weir_node_int(node, "size", 1);
    weir_cl_define(builder, "AROUND", 1);
    weir_cl_define(builder, "BEFORE", (size - 1) / 2);
    weir_cl_define(builder, "AFTER", size / 2);
    weir_cl_kernel(
        builder, "common/window", "weir_lrn", "ttlllfff", (uint32_t[3]){WEIR_CL_ITEMS, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_lrn_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    (void)built;
    weir_cl_dispatch_t *dispatch = dispatch_elements(recipe, (int64_t)x->element_count);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, (int64_t)x->element_count);
    weir_cl_arg_i64(dispatch, x->dims[1]);
    weir_cl_arg_i64(dispatch, weir_cl_sizes(x, 2, x->rank));
    const double size = (double)weir_node_int(node, "size", 1);
    weir_cl_arg_f32(dispatch, (float)(weir_node_float(node, "alpha", 1e-4) / size));
    weir_cl_arg_f32(dispatch, (float)weir_node_float(node, "beta", 0.75));
    weir_cl_arg_f32(dispatch, (float)weir_node_float(node, "bias", 1.0));
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// Global pools
// ---------------------------------------------------------------------------------------------

static bool is_maximum(const weir_node_t *node)
{
    return strcmp(node->op, "GlobalMaxPool") == 0;
}

weir_code_t weir_cl_global_pool_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!is_f32(node) || node->epilogue)
        return weir_cl_no(out_support, "takes f32 only");
    return node->inputs[0].rank < 3 ? weir_cl_no(out_support, "takes images only") : WEIR_OK;
}

weir_code_t weir_cl_global_pool_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_cl_define(builder, is_maximum(node) ? "MAXIMUM" : "MEAN", 1);
    if (weir_cl_facts(builder)->family == WEIR_CL_FAMILY_CPU)
        weir_cl_kernel(builder, "cpu/planes", "weir_planes", "ttll", (uint32_t[3]){1, 1, 1});
    else
        weir_cl_kernel(
            builder, "gpu/rows", "weir_softmax", "ttll", (uint32_t[3]){WEIR_CL_ITEMS, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_global_pool_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    (void)built;
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)weir_cl_sizes(x, 0, 2), 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, weir_cl_sizes(x, 2, x->rank));
    weir_cl_arg_i64(dispatch, 1);
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_global_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!is_f32(node) || node->epilogue || !weir_cl_is_blocked(&node->inputs[0]) ||
        !weir_cl_is_blocked(&node->outputs[0]) || node->inputs[0].dims[1] < 1)
        return weir_cl_no(out_support, "takes f32 in blocks only");
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_global_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    weir_cl_define(builder, is_maximum(node) ? "MAXIMUM" : "MEAN", 1);
    weir_cl_define(builder, "BLOCKED", 1);
    weir_cl_define(builder, "FILL", (node->inputs[0].dims[1] - 1) % 16 + 1);
    weir_cl_kernel(builder, "cpu/planes", "weir_planes", "ttll", (uint32_t[3]){1, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_blocked_global_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0];
    const int64_t blocks = weir_cl_blocks(x->dims[1]);
    (void)built;
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)(x->dims[0] * blocks), 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_output(dispatch, node, 0);
    weir_cl_arg_i64(dispatch, weir_cl_sizes(x, 2, 4));
    weir_cl_arg_i64(dispatch, blocks);
    return WEIR_OK;
}
