// backends/opencl/op_conv.c: Conv in f32 over row-major images, one or two spatial dims.
//
// cpu: the columns that the weights are multiplied by are made by a dispatch of their own, in
// panels, and multiplied by the kernel of MatMul. gpu: one kernel that takes them from the images.
// With one input channel a group both use a kernel of an element each. Blocked images:
// op_blocked.c.
#include "backends/opencl/op_kernels.h"

#define NOTE_ROWS 0

static weir_cl_view_t view_of(const weir_node_t *node)
{
    return (weir_cl_view_t){.column_axes = node->outputs[0].rank - 2};
}

static weir_code_t conv_supports(
    const weir_node_t *node, uint32_t args, weir_support_t *out_support)
{
    weir_cl_window_t window;
    const char *wrong = weir_cl_window_read(node, &window);
    if (wrong)
        return weir_cl_no(out_support, "%s", wrong);
    if (window.channels < 0)
        return weir_cl_no(out_support, "the channels are not known");
    return weir_cl_finish_supports(node, view_of(node), args, out_support);
}

weir_code_t weir_cl_conv_cpu_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return conv_supports(node, 19, out_support);
}

weir_code_t weir_cl_conv_gpu_supports(const weir_node_t *node, weir_support_t *out_support)
{
    return conv_supports(node, 15, out_support);
}

weir_code_t weir_cl_depthwise_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const weir_code_t code = conv_supports(node, 14, out_support);
    if (code == WEIR_OK && node->inputs[1].dims[1] != 1)
        return weir_cl_no(out_support, "takes one input channel a group only");
    return code;
}

static weir_code_t conv_read(const weir_node_t *node, weir_cl_window_t *out_window)
{
    if (weir_cl_window_read(node, out_window) ||
        out_window->channels != node->inputs[1].dims[1] * out_window->groups)
        return WEIR_INVALID_ARGUMENT;
    return WEIR_OK;
}

weir_code_t weir_cl_conv_cpu_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (conv_read(node, &window) != WEIR_OK)
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "Conv: the dims do not fit");
    weir_cl_window_define(&window, builder);
    weir_cl_kernel(builder, "cpu/columns", "weir_columns", "ttlllllll", (uint32_t[3]){1, 1, 1});
    const weir_code_t code = weir_cl_finish_build(node, view_of(node),
        WEIR_CL_WANTS_16 | WEIR_CL_WANTS_1, "tttllllllllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_define(builder, "ROWS", weir_cl_matmul_rows(builder));
    weir_cl_note(builder, NOTE_ROWS, weir_cl_matmul_rows(builder));
    weir_cl_kernel(builder, "cpu/matmul", "weir_matmul", arguments, (uint32_t[3]){1, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_conv_cpu_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    const weir_code_t code = conv_read(node, &window);
    if (code != WEIR_OK)
        return code;
    const int64_t inputs = window.channels / window.groups, m = window.outputs / window.groups;
    const int64_t k = inputs * window.kernel_y * window.kernel_x;
    const int64_t n = window.out_height * window.out_width, panels = weir_cl_div_up(n, 32);
    const int64_t batches = window.images * window.groups;
    if (m == 0 || n == 0)
        return WEIR_OK;
    recipe->scratch_bytes = (uint64_t)(batches * panels * 32 * k) * sizeof(float);
    weir_cl_dispatch_t *columns = weir_cl_dispatch(
        recipe, 0, (uint64_t)weir_cl_div_up(k, 16), (uint64_t)panels, (uint64_t)batches);
    weir_cl_arg_input(columns, node, 0);
    weir_cl_arg_scratch(columns, 0);
    const int64_t sizes[] = {inputs, window.height, window.width, window.out_height,
        window.out_width, window.pad_top, window.pad_left};
    WEIR_CL_SIZES(columns, sizes);
    weir_cl_dispatch_t *product = weir_cl_dispatch(recipe, 1,
        (uint64_t)weir_cl_div_up(m, built->notes[NOTE_ROWS]), (uint64_t)panels, (uint64_t)batches);
    weir_cl_arg_input(product, node, 1);
    weir_cl_arg_scratch(product, 0);
    weir_cl_arg_output(product, node, 0);
    // The last batch dim are the groups, the first the images.
    const int64_t floats = panels * 32 * k;
    const int64_t product_sizes[] = {
        m, n, k, k, 1, 1, 1, window.groups, 0, 0, 0, m * k, window.groups * floats, 0, 0, floats};
    WEIR_CL_SIZES(product, product_sizes);
    weir_cl_finish_args(node, view_of(node), built, product);
    return WEIR_OK;
}

weir_code_t weir_cl_conv_gpu_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (conv_read(node, &window) != WEIR_OK)
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "Conv: the dims do not fit");
    const weir_code_t code = weir_cl_finish_build(
        node, view_of(node), WEIR_CL_WANTS_1, "tttllllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_define(builder, "CONV", 1);
    weir_cl_window_define(&window, builder);
    weir_cl_kernel(builder, "gpu/matmul", "weir_matmul", arguments, (uint32_t[3]){16, 16, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_conv_gpu_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    const weir_code_t code = conv_read(node, &window);
    if (code != WEIR_OK)
        return code;
    const int64_t inputs = window.channels / window.groups, m = window.outputs / window.groups;
    const int64_t k = inputs * window.kernel_y * window.kernel_x;
    const int64_t n = window.out_height * window.out_width;
    weir_cl_dispatch_t *product = weir_cl_dispatch(recipe, 0, (uint64_t)weir_cl_div_up(n, 64),
        (uint64_t)weir_cl_div_up(m, 64), (uint64_t)(window.images * window.groups));
    weir_cl_arg_input(product, node, 1);
    weir_cl_arg_input(product, node, 0);
    weir_cl_arg_output(product, node, 0);
    const int64_t sizes[] = {m, n, k, k, 1, window.groups, inputs, window.height, window.width,
        window.out_width, window.pad_top, window.pad_left};
    WEIR_CL_SIZES(product, sizes);
    weir_cl_finish_args(node, view_of(node), built, product);
    return WEIR_OK;
}

weir_code_t weir_cl_depthwise_build(const weir_node_t *node, weir_cl_builder_t *builder)
{
    char arguments[WEIR_CL_ARGS_MAX + 1];
    weir_cl_window_t window;
    if (conv_read(node, &window) != WEIR_OK)
        return weir_cl_build_fails(builder, WEIR_INVALID_ARGUMENT, "Conv: the dims do not fit");
    const weir_code_t code = weir_cl_finish_build(
        node, view_of(node), WEIR_CL_WANTS_1, "tttlllllllllll", arguments, builder);
    if (code != WEIR_OK)
        return code;
    weir_cl_define(builder, "CONV", 1);
    weir_cl_window_define(&window, builder);
    weir_cl_kernel(
        builder, "common/window", "weir_window", arguments, (uint32_t[3]){WEIR_CL_ITEMS, 1, 1});
    return WEIR_OK;
}

weir_code_t weir_cl_depthwise_plan(
    const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe)
{
    weir_cl_window_t window;
    const weir_code_t code = conv_read(node, &window);
    if (code != WEIR_OK)
        return code;
    const int64_t count = (int64_t)node->outputs[0].element_count;
    weir_cl_dispatch_t *dispatch =
        weir_cl_dispatch(recipe, 0, (uint64_t)weir_cl_div_up(count, WEIR_CL_ITEMS), 1, 1);
    weir_cl_arg_input(dispatch, node, 0);
    weir_cl_arg_input(dispatch, node, 1);
    weir_cl_arg_output(dispatch, node, 0);
    const int64_t sizes[] = {count, window.groups, window.outputs / window.groups, window.height,
        window.width, window.out_height, window.out_width, window.pad_top, window.pad_left,
        window.end_y, window.end_x};
    WEIR_CL_SIZES(dispatch, sizes);
    weir_cl_finish_args(node, view_of(node), built, dispatch);
    return WEIR_OK;
}
