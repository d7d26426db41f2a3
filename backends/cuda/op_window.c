// backends/cuda/op_window.c: the windows of convolutions and pools, as numbers.
//
// Source: ONNX operators Conv-22, MaxPool-22, AveragePool-22 (auto_pad, pads, strides, dilations).
#include "backends/cuda/op_common.h"

#include <string.h>

typedef struct side {
    int64_t in, out, kernel, stride, dilation, before, after;
} side_t;

static side_t side_of(const weir_node_t *node, uint32_t axis, uint32_t axes)
{
    const bool is_conv = strcmp(node->op, "Conv") == 0;
    const char *mode = weir_cuda_string(node, "auto_pad");
    side_t side = {.in = node->inputs[0].dims[2 + axis],
        .out = node->outputs[0].dims[2 + axis],
        .kernel = is_conv ? node->inputs[1].dims[2 + axis]
                          : weir_cuda_ints(node, "kernel_shape", axis, 0),
        .stride = weir_cuda_ints(node, "strides", axis, 1),
        .dilation = weir_cuda_ints(node, "dilations", axis, 1)};
    if (strncmp(mode, "SAME", 4) == 0) {
        const int64_t reach = (side.kernel - 1) * side.dilation + 1;
        const int64_t total = WEIR_MAX((side.out - 1) * side.stride + reach - side.in, 0);
        side.before = strcmp(mode, "SAME_UPPER") == 0 ? total / 2 : total - total / 2;
        side.after = total - side.before;
    } else if (strcmp(mode, "VALID") != 0) {
        side.before = weir_cuda_ints(node, "pads", axis, 0);
        side.after = weir_cuda_ints(node, "pads", axis + axes, 0);
    }
    return side;
}

// Everything stays well inside 32 bits: positions are sums and products of these.
static bool fits(const side_t *side)
{
    const int64_t limit = 1 << 24;
    return side->kernel >= 1 && side->stride >= 1 && side->dilation >= 1 && side->in >= 0 &&
           side->kernel < limit && side->stride < limit && side->dilation < limit &&
           side->in < limit && side->out < limit && side->before > -limit && side->before < limit &&
           side->after > -limit && side->after < limit &&
           side->kernel * side->dilation < limit * 16 && side->out * side->stride < limit * 16;
}

weir_code_t weir_cuda_window(
    const weir_node_t *node, const weir_cuda_recipe_t *recipe, weir_cuda_window_t *out_window)
{
    const uint32_t axes = node->inputs[0].rank - 2;
    side_t height = {1, 1, 1, 1, 1, 0, 0};
    const side_t width = side_of(node, axes - 1, axes);
    if (axes == 2)
        height = side_of(node, 0, axes);
    if (!fits(&height) || !fits(&width))
        return weir_cuda_cannot(recipe, node, WEIR_INVALID_ARGUMENT,
            "kernel, strides, dilations or pads make no sense");
    *out_window = (weir_cuda_window_t){.in_height = (int32_t)height.in,
        .in_width = (int32_t)width.in,
        .out_height = (int32_t)height.out,
        .out_width = (int32_t)width.out,
        .kernel_height = (int32_t)height.kernel,
        .kernel_width = (int32_t)width.kernel,
        .stride_height = (int32_t)height.stride,
        .stride_width = (int32_t)width.stride,
        .dilation_height = (int32_t)height.dilation,
        .dilation_width = (int32_t)width.dilation,
        .pad_top = (int32_t)height.before,
        .pad_left = (int32_t)width.before,
        .pad_bottom = (int32_t)height.after,
        .pad_right = (int32_t)width.after};
    return WEIR_OK;
}
