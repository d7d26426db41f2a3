// backends/opencl/op_window.c: the numbers of a window that moves over images (Conv, pools,
// ConvTranspose), from a node. Checks what kernels rely on; computes nothing else.
#include <string.h>

#include "backends/opencl/op_kernels.h"

int64_t weir_cl_sizes(const weir_tensor_t *tensor, uint32_t first, uint32_t end)
{
    int64_t product = 1;
    for (uint32_t d = first; d < end; d++)
        product *= tensor->dims[d];
    return product;
}

int64_t weir_cl_ints(const weir_node_t *node, const char *name, uint32_t i, int64_t otherwise)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_INTS && i < attribute->count
               ? attribute->ints[i]
               : otherwise;
}

const char *weir_cl_string(const weir_node_t *node, const char *name)
{
    const weir_attribute_t *attribute = weir_node_attribute(node, name);
    return attribute && attribute->type == WEIR_ATTR_STRING && attribute->s ? attribute->s : "";
}

void weir_cl_args_i64(weir_cl_dispatch_t *dispatch, const int64_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        weir_cl_arg_i64(dispatch, values[i]);
}

typedef struct axis {
    int64_t in, out, kernel, stride, dilation, begin, end;
} axis_t;

// Spatial axis `i` of `axes`.
static axis_t axis_read(const weir_node_t *node, uint32_t i, uint32_t axes)
{
    const bool is_pool = node->op[0] == 'M' || node->op[0] == 'A';
    axis_t axis = {.in = node->inputs[0].dims[i + 2],
        .out = node->outputs[0].dims[i + 2],
        .kernel = is_pool ? weir_cl_ints(node, "kernel_shape", i, 0) : node->inputs[1].dims[i + 2],
        .stride = weir_cl_ints(node, "strides", i, 1),
        .dilation = weir_cl_ints(node, "dilations", i, 1)};
    const char *mode = weir_cl_string(node, "auto_pad");
    const int64_t reach = (axis.kernel - 1) * axis.dilation + 1;
    int64_t after = 0;
    if (!strncmp(mode, "SAME", 4)) {
        const int64_t all = WEIR_MAX((axis.out - 1) * axis.stride + reach - axis.in, 0);
        axis.begin = !strcmp(mode, "SAME_UPPER") ? all / 2 : all - all / 2;
        after = all - axis.begin;
    } else if (strcmp(mode, "VALID") != 0) {
        axis.begin = weir_cl_ints(node, "pads", i, 0);
        after = weir_cl_ints(node, "pads", i + axes, 0);
    }
    axis.end = axis.in + after;
    return axis;
}

const char *weir_cl_window_read(const weir_node_t *node, weir_cl_window_t *out_window)
{
    const weir_tensor_t *x = &node->inputs[0], *y = &node->outputs[0];
    const bool is_pool = node->op[0] == 'M' || node->op[0] == 'A';
    if (node->input_count < (is_pool ? 1u : 2u) || node->output_count < 1)
        return "inputs are missing";
    if (x->rank < 3 || x->rank > 4 || y->rank != x->rank ||
        (!is_pool && node->inputs[1].rank != x->rank))
        return "takes one or two spatial dims only";
    const uint32_t axes = x->rank - 2;
    axis_t vertical = {.in = 1, .out = 1, .kernel = 1, .stride = 1, .dilation = 1, .end = 1};
    if (axes == 2)
        vertical = axis_read(node, 0, axes);
    const axis_t across = axis_read(node, axes - 1, axes);
    if (vertical.kernel < 1 || across.kernel < 1 || vertical.kernel > 1 << 15 ||
        across.kernel > 1 << 15)
        return "the window's size is not known, or too large";
    if (vertical.stride < 1 || across.stride < 1 || vertical.dilation < 1 || across.dilation < 1 ||
        vertical.stride > 1 << 20 || across.stride > 1 << 20 || vertical.dilation > 1 << 20 ||
        across.dilation > 1 << 20)
        return "a stride or a dilation that is not taken";
    for (uint32_t i = 0; i < 2 * axes; i++)
        if (weir_cl_ints(node, "pads", i, 0) < 0)
            return "takes no negative pads";
    const int64_t groups = weir_node_int(node, "group", 1);
    *out_window = (weir_cl_window_t){.images = x->dims[0],
        .channels = x->dims[1],
        .outputs = y->dims[1],
        .groups = groups,
        .height = vertical.in,
        .width = across.in,
        .out_height = vertical.out,
        .out_width = across.out,
        .kernel_y = vertical.kernel,
        .kernel_x = across.kernel,
        .stride_y = vertical.stride,
        .stride_x = across.stride,
        .dilation_y = vertical.dilation,
        .dilation_x = across.dilation,
        .pad_top = vertical.begin,
        .pad_left = across.begin,
        .end_y = vertical.end,
        .end_x = across.end};
    const weir_tensor_t *w = &node->inputs[1];
    if (!is_pool && (groups < 1 || w->dims[0] < 0 || w->dims[1] < 0 || w->dims[0] % groups))
        return "the channels do not fit the groups";
    return NULL;
}

void weir_cl_window_define(const weir_cl_window_t *window, weir_cl_builder_t *builder)
{
    weir_cl_define(builder, "KH", window->kernel_y);
    weir_cl_define(builder, "KW", window->kernel_x);
    weir_cl_define(builder, "SY", window->stride_y);
    weir_cl_define(builder, "SX", window->stride_x);
    weir_cl_define(builder, "DY", window->dilation_y);
    weir_cl_define(builder, "DX", window->dilation_x);
}

bool weir_cl_window_is_point(const weir_node_t *node, const weir_cl_window_t *window)
{
    bool has_pads = false;
    for (uint32_t i = 0; i < 4; i++)
        has_pads |= weir_cl_ints(node, "pads", i, 0) != 0;
    const char *mode = weir_cl_string(node, "auto_pad");
    return window->kernel_y == 1 && window->kernel_x == 1 && window->stride_y == 1 &&
           window->stride_x == 1 && (!has_pads || !strcmp(mode, "VALID") || mode[0] == 'S');
}

void weir_cl_window_flatten(weir_cl_window_t *window)
{
    const bool is_known = window->height >= 0 && window->width >= 0;
    window->width = is_known ? window->height * window->width : -1;
    window->out_width = window->width;
    window->height = window->out_height = 1;
}
