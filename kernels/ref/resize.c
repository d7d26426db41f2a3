// kernels/ref/resize.c: Resize, any number of axes.
//
// Source: ONNX operator Resize-19, and its reference implementation for what the text leaves open:
// resizing is separable, each axis has a table of taps (offset and weight) per output coordinate;
// taps outside the input read its edge, or with exclude_outside count as 0 and the rest is scaled
// to sum 1; antialias stretches linear and cubic by 1 / scale when shrinking. align_corners uses
// the fractional length scale * length. tf_crop_and_resize is not offered.
#include "kernels/ref/internal.h"

// One axis: output coordinate o reads offsets[o * count + t] with weights[o * count + t].
typedef struct taps {
    int64_t length, count;
    int64_t *offsets; // strides multiplied in
    double *weights;
} taps_t;

static int resizes(
    const weir_kr_resize_params_t *params, uint32_t rank, uint32_t axis, int64_t *out_at)
{
    if (params->axis_count == 0) {
        *out_at = axis;
        return 1;
    }
    for (uint32_t i = 0; i < params->axis_count; i++)
        if (weir__kr_axis(params->axes[i], rank) == (int64_t)axis) {
            *out_at = i;
            return 1;
        }
    return 0;
}

// The scale of every axis, from scales (input 1), or from sizes (input 2) and the policy.
static int axis_scales(const weir_kr_call_t *call, double *out_scales)
{
    const weir_kr_resize_params_t *params = &call->params->resize;
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    int by_scales = weir__kr_present(call, 1) && call->inputs[1].element_count > 0;
    int64_t wanted = params->axis_count ? params->axis_count : x->rank;
    if (x->rank != y->rank || (by_scales && call->inputs[1].dtype != WEIR_KR_F32) ||
        (!by_scales && !weir__kr_present(call, 2)) ||
        weir__kr_count(&call->inputs[by_scales ? 1 : 2]) != wanted)
        return WEIR_KR_FAIL(call, "Resize: one scale or size per resized axis is needed");
    double common = 0;
    for (uint32_t d = 0; d < x->rank; d++) {
        int64_t at;
        out_scales[d] = 1.0;
        if (!resizes(params, x->rank, d, &at)) {
            if (x->dims[d] != y->dims[d])
                return WEIR_KR_FAIL(call, "Resize: axis %u is not among the axes", d);
            continue;
        }
        out_scales[d] = by_scales
                            ? (double)((const float *)call->inputs[1].data)[at]
                            : (double)weir__kr_index(&call->inputs[2], at) / (double)x->dims[d];
        if (x->dims[d] == 0 && y->dims[d] > 0)
            return WEIR_KR_FAIL(call, "Resize: axis %u is empty", d);
        if (y->dims[d] > 0 && (!(out_scales[d] > 0) || isinf(out_scales[d])))
            return WEIR_KR_FAIL(call, "Resize: the scale of axis %u is not positive", d);
        int larger = out_scales[d] > common;
        if (common == 0 || larger == (params->policy == WEIR_KR_POLICY_NOT_SMALLER))
            common = out_scales[d];
    }
    for (uint32_t d = 0; d < x->rank && !by_scales && params->policy != WEIR_KR_POLICY_STRETCH;
         d++) {
        int64_t at;
        if (resizes(params, x->rank, d, &at))
            out_scales[d] = common;
    }
    return WEIR_KR_OK;
}

// Where output coordinate o of an axis lies in the input.
static double source_of(int32_t mode, int64_t o, double scale, int64_t in, int64_t out)
{
    double length = scale * (double)in, at = (double)o;
    switch (mode) {
    case WEIR_KR_COORDINATE_ALIGN_CORNERS:
        return length == 1 ? 0.0 : at * (double)(in - 1) / (length - 1);
    case WEIR_KR_COORDINATE_ASYMMETRIC:
        return at / scale;
    case WEIR_KR_COORDINATE_PYTORCH_HALF_PIXEL:
        return length > 1 ? (at + 0.5) / scale - 0.5 : 0.0;
    case WEIR_KR_COORDINATE_HALF_PIXEL_SYMMETRIC:
        return (double)in / 2 * (1 - (double)out / length) + (at + 0.5) / scale - 0.5;
    default:
        return (at + 0.5) / scale - 0.5;
    }
}

static int64_t nearest_of(int32_t mode, double x, int64_t in)
{
    double at;
    switch (mode) {
    case WEIR_KR_NEAREST_FLOOR:
        at = floor(x);
        break;
    case WEIR_KR_NEAREST_CEIL:
        at = ceil(x);
        break;
    case WEIR_KR_NEAREST_ROUND_PREFER_CEIL:
        at = floor(x + 0.5);
        break;
    default:
        at = ceil(x - 0.5);
        break;
    }
    if (!(at > 0))
        return 0;
    return at >= (double)in ? in - 1 : (int64_t)at;
}

// The kernel functions at distance x: a triangle, and Keys' cubic (R. Keys, Cubic convolution
// interpolation for digital image processing, 1981) with free coefficient a.
static double weight_of(int32_t mode, double x, double a)
{
    x = fabs(x);
    if (mode == WEIR_KR_RESIZE_LINEAR)
        return x < 1 ? 1 - x : 0.0;
    if (x <= 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0.0;
}

// Half the taps that a kernel stretched by 1 / shrink reaches.
static int64_t reach_of(int32_t mode, double shrink)
{
    return (int64_t)ceil((mode == WEIR_KR_RESIZE_CUBIC ? 2.0 : 1.0) / shrink);
}

// The most taps that axis d can need, from its dims alone: a scale that gives `out` elements is at
// least about out / in; twice that is allowed for rounded sizes.
static int64_t most_taps(const weir_kr_resize_params_t *params, int64_t in, int64_t out)
{
    double shrink = 1.0;
    if (params->antialias && out > 0 && in > 0)
        shrink = fmin(1.0, (double)out / (2.0 * (double)in));
    return 2 * reach_of(params->mode, shrink);
}

static int fill_axis(
    const weir_kr_call_t *call, uint32_t d, double scale, int64_t stride, taps_t *axis)
{
    const weir_kr_resize_params_t *params = &call->params->resize;
    int64_t in = call->inputs[0].dims[d], out = axis->length;
    if (scale == 1.0 && in == out) {
        axis->count = 1;
        for (int64_t o = 0; o < out; o++) {
            axis->offsets[o] = o * stride;
            axis->weights[o] = 1.0;
        }
        return WEIR_KR_OK;
    }
    double shrink = params->antialias ? fmin(scale, 1.0) : 1.0;
    if ((params->mode == WEIR_KR_RESIZE_CUBIC ? 2.0 : 1.0) / shrink > (double)(axis->count / 2))
        return WEIR_KR_FAIL(call, "Resize: the scale of axis %u does not fit the output", d);
    int64_t reach = reach_of(params->mode, shrink);
    axis->count = 2 * reach;
    for (int64_t o = 0; o < out; o++) {
        double x = source_of(params->coordinates, o, scale, in, out), sum = 0;
        // A scale that does not fit could point anywhere: nothing beyond one length outside
        // matters.
        x = fmin(fmax(x, -(double)(in + reach)), (double)(2 * in + reach));
        int64_t first = (int64_t)floor(x) - reach + 1;
        int64_t *offsets = axis->offsets + o * axis->count;
        double *weights = axis->weights + o * axis->count;
        for (int64_t t = 0; t < axis->count; t++) {
            int64_t i = first + t;
            weights[t] = weight_of(params->mode, ((double)i - x) * shrink, params->cubic_coeff_a);
            if (params->exclude_outside && (i < 0 || i >= in))
                weights[t] = 0;
            sum += weights[t];
            offsets[t] = weir__kr_min(weir__kr_max(i, 0), in - 1) * stride;
        }
        for (int64_t t = 0; t < axis->count && sum != 0; t++)
            if (params->antialias || params->exclude_outside)
                weights[t] /= sum;
    }
    return WEIR_KR_OK;
}

static int64_t row_block(const weir_kr_tensor_t *y)
{
    return weir__kr_max(WEIR_KR_BLOCK / weir__kr_max(y->rank ? y->dims[y->rank - 1] : 1, 1), 1);
}

void weir_kr_plan_resize(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    if (call->params->resize.mode == WEIR_KR_RESIZE_NEAREST || y->rank == 0 || x->rank != y->rank) {
        weir_kr_plan_mapped(call, out_plan);
        return;
    }
    int64_t rows = weir__kr_product(y->dims, 0, y->rank - 1), entries = 0;
    for (uint32_t d = 0; d < y->rank; d++)
        entries += y->dims[d] * most_taps(&call->params->resize, x->dims[d], y->dims[d]);
    out_plan->task_count = weir__kr_blocks(rows, row_block(y));
    out_plan->scratch_bytes = (uint64_t)(entries * 2 + y->dims[y->rank - 1]) * 8;
}

static int nearest(const weir_kr_call_t *call, const double *scales)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    const weir_kr_resize_params_t *params = &call->params->resize;
    int64_t strides[WEIR_KR_RANK_MAX], *map = call->scratch, begin, end;
    weir__kr_strides(x->dims, x->rank, strides);
    for (uint32_t d = 0; d < y->rank; d++)
        for (int64_t o = 0; o < y->dims[d]; o++) {
            double at = source_of(params->coordinates, o, scales[d], x->dims[d], y->dims[d]);
            int same = scales[d] == 1.0 && x->dims[d] == y->dims[d];
            *map++ = (same ? o : nearest_of(params->nearest, at, x->dims[d])) * strides[d];
        }
    weir__kr_mapped_range(call, &begin, &end);
    weir__kr_copy_mapped(x->data, call->scratch, NULL, y->data, y->dims, y->rank,
        weir_kr_dtype_bytes(x->dtype), begin, end);
    return WEIR_KR_OK;
}

#define WEIR_KR_BODY "kernels/ref/resize_body.inc"
#include "kernels/ref/each_float.inc"
#include "kernels/ref/each_int.inc"

int weir_k_resize__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    double scales[WEIR_KR_RANK_MAX];
    int64_t strides[WEIR_KR_RANK_MAX], begin, end;
    int code = axis_scales(call, scales);
    if (code != WEIR_KR_OK || y->element_count == 0)
        return code;
    if (call->params->resize.mode == WEIR_KR_RESIZE_NEAREST || y->rank == 0)
        return nearest(call, scales);
    taps_t taps[WEIR_KR_RANK_MAX];
    int64_t *numbers = call->scratch;
    weir__kr_strides(x->dims, x->rank, strides);
    for (uint32_t d = 0; d < y->rank; d++) {
        int64_t most = most_taps(&call->params->resize, x->dims[d], y->dims[d]);
        taps[d] = (taps_t){.length = y->dims[d],
            .count = most,
            .offsets = numbers,
            .weights = (double *)(void *)(numbers + y->dims[d] * most)};
        numbers += 2 * y->dims[d] * most;
        code = fill_axis(call, d, scales[d], strides[d], &taps[d]);
        if (code != WEIR_KR_OK)
            return code;
    }
    double *acc = (double *)(void *)numbers;
    weir__kr_range(call, weir__kr_product(y->dims, 0, y->rank - 1), row_block(y), &begin, &end);
    switch (x->dtype) {
        WEIR_KR_FLOAT_CASES(interpolate, call, taps, acc, begin, end)
        WEIR_KR_INT_CASES(interpolate, call, taps, acc, begin, end)
    default:
        return WEIR_KR_FAIL(call, "Resize: unknown element type");
    }
}
