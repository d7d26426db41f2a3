// engine/graph/infer_conv.c: sizes of convolutions and pools.
//
// All are floor((dim * factor + offset) / divisor) of each spatial axis, so a stride-1 "same"
// convolution keeps its symbol. After OK with numbers every window touches at least one element of
// the input.
#include "engine/graph/infer.h"

#include "engine/base/size.h"
#include <string.h>

#define SPATIAL_MAX (WEIR_RANK_MAX - 2)

typedef struct window {
    uint32_t axes; // spatial axes
    int64_t kernel[SPATIAL_MAX];
    int64_t stride[SPATIAL_MAX];
    int64_t dilation[SPATIAL_MAX];
    int64_t extent[SPATIAL_MAX]; // (kernel - 1) * dilation + 1; a symbol when the kernel is one
    int64_t before[SPATIAL_MAX], after[SPATIAL_MAX];
    int64_t output_padding[SPATIAL_MAX];
    bool same, valid;
} window_t;

// Copies an attribute of `count` numbers in [low, INT32_MAX]; absent or empty: all `otherwise`.
static weir_status_t read_ints(const weir__infer_t *infer, const char *name, uint32_t count,
    int64_t low, int64_t otherwise, int64_t *out)
{
    const weir_attribute_t *attribute = weir__node_attribute(infer->node, name);
    bool absent = !attribute || attribute->count == 0;
    if (!absent && attribute->count != count)
        return WEIR__BAD("%s has %u numbers, %u are needed", name, attribute->count, count);
    for (uint32_t i = 0; i < count; i++) {
        out[i] = absent ? otherwise : attribute->ints[i];
        if (out[i] < low || out[i] > INT32_MAX)
            return WEIR__BAD("%s[%u] is %lld", name, i, (long long)out[i]);
    }
    return NULL;
}

// kernel: the sizes that the weights say, or NULL (pools).
static weir_status_t read_window(
    const weir__infer_t *infer, const int64_t *kernel, window_t *window)
{
    int32_t rank = infer->inputs[0]->rank;
    if (rank < 3)
        return WEIR__BAD("its input has rank %d, at least 3 is needed", rank);
    uint32_t axes = (uint32_t)rank - 2;
    window->axes = axes;
    const weir_attribute_t *sizes = weir__node_attribute(infer->node, "kernel_shape");
    if (!kernel && (!sizes || sizes->count == 0))
        return WEIR__BAD("kernel_shape is missing");
    WEIR_TRY(read_ints(infer, "kernel_shape", axes, 1, 1, window->kernel));
    for (uint32_t i = 0; i < axes && kernel; i++) {
        if (sizes && sizes->count && kernel[i] >= 0 && kernel[i] != window->kernel[i])
            return WEIR__BAD("kernel_shape[%u] is %lld, but the weights have %lld", i,
                (long long)window->kernel[i], (long long)kernel[i]);
        if (!sizes || sizes->count == 0)
            window->kernel[i] = kernel[i];
        if (window->kernel[i] == 0 || window->kernel[i] > INT32_MAX)
            return WEIR__BAD("the weights have size %lld in a spatial axis", (long long)kernel[i]);
    }
    WEIR_TRY(read_ints(infer, "strides", axes, 1, 1, window->stride));
    WEIR_TRY(read_ints(infer, "dilations", axes, 1, 1, window->dilation));
    int64_t pads[2 * SPATIAL_MAX];
    WEIR_TRY(read_ints(infer, "pads", 2 * axes, 0, 0, pads));
    const weir_attribute_t *how = weir__node_attribute(infer->node, "auto_pad");
    const char *text = how && how->s ? how->s : "NOTSET";
    window->same = strcmp(text, "SAME_UPPER") == 0 || strcmp(text, "SAME_LOWER") == 0;
    window->valid = strcmp(text, "VALID") == 0;
    if (!window->same && !window->valid && strcmp(text, "NOTSET") != 0 && text[0])
        return WEIR__BAD("auto_pad %s is not known", text);
    for (uint32_t i = 0; i < axes; i++) {
        window->before[i] = window->valid || window->same ? 0 : pads[i];
        window->after[i] = window->valid || window->same ? 0 : pads[axes + i];
        WEIR_TRY(weir__infer_affine(infer, window->kernel[i], window->dilation[i],
            1 - window->dilation[i], 1, &window->extent[i]));
    }
    return NULL;
}

// Output size of spatial axis `i` of a convolution or pool.
static weir_status_t slide(
    const weir__infer_t *infer, const window_t *window, uint32_t i, bool ceiling, int64_t *out)
{
    int64_t dim = infer->inputs[0]->dims[i + 2], stride = window->stride[i];
    int64_t extent = window->extent[i], pads = window->before[i] + window->after[i];
    if (dim == 0)
        return WEIR__BAD("spatial axis %u of its input is empty", i);
    if (window->same)
        return weir__infer_affine(infer, dim, 1, stride - 1, stride, out);
    if (extent < 0)
        return weir__infer_symbol(
            infer, "window", (int64_t[]){dim, pads, extent, stride, ceiling}, 5, out);
    if (dim < 0 && ceiling && stride > 1)
        return weir__infer_symbol(infer, "ceiling",
            (int64_t[]){dim, window->before[i], window->after[i], extent, stride}, 5, out);
    int64_t padded = 0;
    if (dim > 0 && !weir__add_i64(dim, pads, &padded))
        return WEIR__BAD("a size overflows");
    if (dim > 0 && padded < extent)
        return WEIR__BAD("the kernel covers %lld in spatial axis %u, the padded input has %lld",
            (long long)extent, i, (long long)padded);
    int64_t up = ceiling ? stride - 1 : 0;
    WEIR_TRY(weir__infer_affine(infer, dim, 1, pads - extent + stride + up, stride, out));
    // With ceil_mode the last window must start on the input or the padding before it.
    if (dim > 0 && ceiling && (*out - 1) * stride >= dim + window->before[i])
        (*out)--;
    return NULL;
}

static weir_status_t check_bias(const weir__infer_t *infer, int64_t channels)
{
    const weir__type_t *bias = weir__infer_input(infer, 2);
    if (!bias)
        return NULL;
    WEIR_TRY(weir__infer_check_rank(infer, 2, "the bias", 1));
    return weir__infer_unify(
        "numbers of output channels and biases", channels, bias->dims[0], &channels);
}

weir_status_t weir__infer_conv(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0], *w = infer->inputs[1];
    weir__type_t *y = &infer->outputs[0];
    window_t window;
    if (w->rank != x->rank)
        return WEIR__BAD("the input %s and the weights %s differ in rank", WEIR__TEXT(infer, x),
            WEIR__TEXT(infer, w));
    WEIR_TRY(read_window(infer, w->dims + 2, &window));
    int64_t group = weir__node_int(infer->node, "group", 1), channels;
    if (group < 1 || group > INT32_MAX)
        return WEIR__BAD("group is %lld", (long long)group);
    WEIR_TRY(weir__infer_product(infer, (int64_t[]){w->dims[1], group}, 2, &channels));
    if (channels >= 0 && x->dims[1] >= 0 && channels != x->dims[1])
        return WEIR__BAD("the input %s has %lld channels, the weights %s in %lld groups need %lld",
            WEIR__TEXT(infer, x), (long long)x->dims[1], WEIR__TEXT(infer, w), (long long)group,
            (long long)channels);
    if (w->dims[0] >= 0 && w->dims[0] % group)
        return WEIR__BAD("%lld output channels cannot be divided into %lld groups",
            (long long)w->dims[0], (long long)group);
    WEIR_TRY(check_bias(infer, w->dims[0]));
    y->rank = x->rank;
    y->dims[0] = x->dims[0];
    y->dims[1] = w->dims[0];
    for (uint32_t i = 0; i < window.axes; i++)
        WEIR_TRY(slide(infer, &window, i, false, &y->dims[i + 2]));
    return NULL;
}

// Output size of spatial axis `i` of a transposed convolution without output_shape.
static weir_status_t spread(
    const weir__infer_t *infer, const window_t *window, uint32_t i, int64_t *out)
{
    int64_t dim = infer->inputs[0]->dims[i + 2], stride = window->stride[i];
    if (dim == 0)
        return WEIR__BAD("spatial axis %u of its input is empty", i);
    if (window->same)
        return weir__infer_affine(infer, dim, stride, 0, 1, out);
    int64_t pads = window->before[i] + window->after[i];
    if (window->extent[i] < 0)
        return weir__infer_symbol(infer, "spread",
            (int64_t[]){dim, stride, pads, window->extent[i], window->output_padding[i]}, 5, out);
    return weir__infer_affine(
        infer, dim, stride, window->output_padding[i] + window->extent[i] - pads - stride, 1, out);
}

weir_status_t weir__infer_conv_transpose(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0], *w = infer->inputs[1];
    weir__type_t *y = &infer->outputs[0];
    window_t window;
    if (w->rank != x->rank)
        return WEIR__BAD("the input %s and the weights %s differ in rank", WEIR__TEXT(infer, x),
            WEIR__TEXT(infer, w));
    WEIR_TRY(read_window(infer, w->dims + 2, &window));
    int64_t group = weir__node_int(infer->node, "group", 1), channels;
    if (group < 1 || group > INT32_MAX)
        return WEIR__BAD("group is %lld", (long long)group);
    WEIR_TRY(weir__infer_unify(
        "numbers of channels of input and weights", x->dims[1], w->dims[0], &channels));
    if (channels >= 0 && channels % group)
        return WEIR__BAD("%lld input channels cannot be divided into %lld groups",
            (long long)channels, (long long)group);
    y->rank = x->rank;
    y->dims[0] = x->dims[0];
    WEIR_TRY(weir__infer_product(infer, (int64_t[]){w->dims[1], group}, 2, &y->dims[1]));
    WEIR_TRY(check_bias(infer, y->dims[1]));
    WEIR_TRY(read_ints(infer, "output_padding", window.axes, 0, 0, window.output_padding));
    const weir_attribute_t *shape = weir__node_attribute(infer->node, "output_shape");
    bool given = shape && shape->count;
    int64_t sizes[SPATIAL_MAX];
    WEIR_TRY(read_ints(infer, "output_shape", window.axes, 1, 1, sizes));
    for (uint32_t i = 0; i < window.axes; i++) {
        WEIR_TRY(spread(infer, &window, i, &y->dims[i + 2]));
        if (given)
            y->dims[i + 2] = sizes[i];
    }
    return NULL;
}

static weir_status_t pool(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    weir__type_t *y = &infer->outputs[0];
    window_t window;
    WEIR_TRY(read_window(infer, NULL, &window));
    bool ceiling = weir__node_int(infer->node, "ceil_mode", 0) != 0;
    y->rank = x->rank;
    y->dims[0] = x->dims[0];
    y->dims[1] = x->dims[1];
    for (uint32_t i = 0; i < window.axes; i++) {
        if (window.before[i] >= window.extent[i] || window.after[i] >= window.extent[i])
            return WEIR__BAD("a window would lie in the padding of spatial axis %u alone", i);
        WEIR_TRY(slide(infer, &window, i, ceiling, &y->dims[i + 2]));
    }
    return NULL;
}

weir_status_t weir__infer_max_pool(weir__infer_t *infer)
{
    WEIR_TRY(pool(infer));
    if (weir__infer_wants(infer, 1)) {
        infer->outputs[1] = infer->outputs[0];
        infer->outputs[1].dtype = WEIR_I64;
    }
    return NULL;
}

weir_status_t weir__infer_average_pool(weir__infer_t *infer)
{
    return pool(infer);
}

weir_status_t weir__infer_global_pool(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0];
    if (x->rank < 2)
        return WEIR__BAD("its input has rank %d, at least 2 is needed", x->rank);
    weir__infer_same_shape(infer);
    for (int32_t i = 2; i < x->rank; i++) {
        if (x->dims[i] == 0)
            return WEIR__BAD("axis %d of its input is empty", i);
        infer->outputs[0].dims[i] = 1;
    }
    return NULL;
}
