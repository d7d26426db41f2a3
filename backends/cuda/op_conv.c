// backends/cuda/op_conv.c: Conv over one or two axes: cuDNN and a step for bias and Relu behind it,
// or the own kernels, which do both themselves, where it is missing.
#include "backends/cuda/op_common.h"

#include <string.h>

#define THREADS 256

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    const uint32_t rank = node->inputs[0].rank;
    if (rank < 3 || rank > 4)
        return weir_cuda_refuse(out_support, "windows over one or two axes only");
    if (node->inputs[1].dtype != node->inputs[0].dtype)
        return weir_cuda_refuse(out_support, "operands of several types");
    if (weir_cuda_owns(node, 2) && node->inputs[2].dtype != node->inputs[0].dtype)
        return weir_cuda_refuse(out_support, "a bias of another type");
    return weir_cuda_anchor_supports(node, out_support);
}

// Of what an epilogue may be, the own bias apart, Relu is all that a convolution does itself.
static weir_cuda_fusion_t fusion_of(const weir_node_t *node)
{
    return weir_cuda_fusion(node, false, false);
}

static weir_code_t supports_bf16(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->inputs[0].dtype != WEIR_F32)
        return weir_cuda_refuse(out_support, "it rounds f32 only");
    return supports(node, out_support);
}

static weir_code_t build(const weir_node_t *node, weir_cuda_build_t *out_build)
{
    const weir_cuda_fusion_t fusion = fusion_of(node);
    return weir_cuda_anchor_build(node, &fusion, out_build);
}

// y = finish(y + bias), where there is anything to do.
static weir_code_t finish_in_place(const weir_node_t *node, const weir_cuda_fusion_t *fusion,
    weir_cuda_place_t at, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[3] = WEIR_CUDA_ENTRIES_FLOAT("finish");
    const weir_tensor_t *y = &node->outputs[0];
    const weir_cuda_finish_params_t params = {.count = (uint32_t)y->element_count,
        .finish = fusion->has_relu ? WEIR_CUDA_FINISH_RELU : WEIR_CUDA_FINISH_NONE,
        .inner = weir_cuda_divide_by((uint32_t)weir_cuda_product(y, 2, y->rank)),
        .channels = weir_cuda_divide_by((uint32_t)y->dims[1])};
    if (!weir_cuda_owns(node, 2) && !fusion->has_relu)
        return WEIR_OK;
    weir_cuda_kernel_step_t *step =
        weir_cuda_launch_each(recipe, weir_cuda_entry_float(entries, node->inputs[0].dtype),
            WEIR_DIV_UP(params.count, (uint32_t)WEIR_CUDA_FINISH_EACH), &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_finish_params_t, y), at);
    if (weir_cuda_owns(node, 2))
        weir_cuda_step_pointer(
            step, WEIR_CUDA_AT(weir_cuda_finish_params_t, bias), weir_cuda_input(2));
    return WEIR_OK;
}

static weir_code_t plan_library(const weir_node_t *node, const weir_cuda_window_t *window,
    const weir_cuda_fusion_t *fusion, weir_cuda_place_t to, weir_cuda_recipe_t *recipe)
{
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1], *y = &node->outputs[0];
    weir_cuda_conv_t conv = {.dtype = x->dtype,
        .precision = recipe->precision,
        .spatial_rank = x->rank - 2,
        .groups = (uint32_t)weir_node_int(node, "group", 1),
        .x = weir_cuda_input(0),
        .w = weir_cuda_input(1),
        .y = to};
    memcpy(conv.x_dims, x->dims, x->rank * sizeof *x->dims);
    memcpy(conv.w_dims, w->dims, w->rank * sizeof *w->dims);
    memcpy(conv.y_dims, y->dims, y->rank * sizeof *y->dims);
    const int64_t before[2] = {window->pad_top, window->pad_left};
    const int64_t after[2] = {window->pad_bottom, window->pad_right};
    const int64_t strides[2] = {window->stride_height, window->stride_width};
    const int64_t dilations[2] = {window->dilation_height, window->dilation_width};
    for (uint32_t d = 0; d < conv.spatial_rank; d++) {
        const uint32_t side = d + 2 - conv.spatial_rank;
        conv.pads_before[d] = before[side];
        conv.pads_after[d] = after[side];
        conv.strides[d] = strides[side];
        conv.dilations[d] = dilations[side];
    }
    const weir_code_t code = weir_cuda_recipe_conv(recipe, &conv);
    return code == WEIR_OK ? finish_in_place(node, fusion, to, recipe) : code;
}

static weir_code_t plan_own(const weir_node_t *node, const weir_cuda_window_t *window,
    const weir_cuda_fusion_t *fusion, weir_cuda_place_t to, weir_cuda_recipe_t *recipe)
{
    static const char *const entries[3] = WEIR_CUDA_ENTRIES_FLOAT("conv");
    static const char *const depthwise[3] = WEIR_CUDA_ENTRIES_FLOAT("depthwise");
    const weir_tensor_t *x = &node->inputs[0], *w = &node->inputs[1];
    const uint32_t groups = (uint32_t)weir_node_int(node, "group", 1);
    const uint32_t pixels = (uint32_t)window->out_height * (uint32_t)window->out_width;
    weir_cuda_conv_params_t params = {.n = (uint32_t)x->dims[0],
        .groups = groups,
        .in_channels = (uint32_t)w->dims[1],
        .out_channels = (uint32_t)w->dims[0] / groups,
        .finish = fusion->has_relu ? WEIR_CUDA_FINISH_RELU : WEIR_CUDA_FINISH_NONE,
        .out_width = weir_cuda_divide_by((uint32_t)window->out_width),
        .out_height = weir_cuda_divide_by((uint32_t)window->out_height),
        .kernel_width = weir_cuda_divide_by((uint32_t)window->kernel_width),
        .kernel_height = weir_cuda_divide_by((uint32_t)window->kernel_height),
        .channels = weir_cuda_divide_by((uint32_t)w->dims[0]),
        .window = *window};
    const bool is_depthwise = params.in_channels == 1 && groups > 1;
    const weir_cuda_dim3_t grid = {WEIR_DIV_UP(pixels, (uint32_t)WEIR_CUDA_TILE),
        WEIR_DIV_UP(params.out_channels, (uint32_t)WEIR_CUDA_TILE),
        WEIR_MIN(params.n * groups, 65535u)};
    weir_cuda_kernel_step_t *step =
        is_depthwise ? weir_cuda_launch_each(recipe, weir_cuda_entry_float(depthwise, x->dtype),
                           node->outputs[0].element_count, &params, sizeof params)
                     : weir_cuda_recipe_kernel(recipe, weir_cuda_entry_float(entries, x->dtype), 0,
                           grid, (weir_cuda_dim3_t){THREADS, 1, 1}, 0, &params, sizeof params);
    if (!step)
        return WEIR_INTERNAL;
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_conv_params_t, x), weir_cuda_input(0));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_conv_params_t, w), weir_cuda_input(1));
    weir_cuda_step_pointer(step, WEIR_CUDA_AT(weir_cuda_conv_params_t, y), to);
    if (weir_cuda_owns(node, 2))
        weir_cuda_step_pointer(
            step, WEIR_CUDA_AT(weir_cuda_conv_params_t, bias), weir_cuda_input(2));
    return WEIR_OK;
}

static weir_code_t plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    const weir_cuda_fusion_t fusion = fusion_of(node);
    weir_cuda_window_t window;
    weir_code_t code = weir_cuda_check_counts(recipe, node);
    if (code == WEIR_OK)
        code = weir_cuda_window(node, recipe, &window);
    if (code != WEIR_OK)
        return code;
    const weir_cuda_place_t to = weir_cuda_anchor_place(node, &fusion, recipe);
    // The library takes no empty sum and no negative pads.
    const bool is_plain = node->inputs[0].element_count && node->inputs[1].element_count &&
                          window.pad_top >= 0 && window.pad_left >= 0 && window.pad_bottom >= 0 &&
                          window.pad_right >= 0;
    if (recipe->facts->has_conv && is_plain)
        code = plan_library(node, &window, &fusion, to, recipe);
    else
        code = plan_own(node, &window, &fusion, to, recipe);
    return code == WEIR_OK ? weir_cuda_anchor_end(node, &fusion, to, recipe) : code;
}

#define ROW(kernel_name, extra_flags, can)                                                         \
    {                                                                                              \
        .kernel = {.head = {sizeof(weir_kernel_t), WEIR_KERNEL_EPILOGUE | (extra_flags)},          \
            .op = "Conv",                                                                          \
            .name = kernel_name,                                                                   \
            .revision = 1,                                                                         \
            .supports = can},                                                                      \
        .build = build, .plan = plan                                                               \
    }

static const weir_cuda_row_t rows[] = {
    ROW("cuda_conv_bf16", WEIR_KERNEL_BF16, supports_bf16),
    ROW("cuda_conv", 0, supports),
};

const weir_cuda_family_t weir_cuda_family_conv = {rows, sizeof rows / sizeof rows[0]};
