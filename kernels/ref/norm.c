// kernels/ref/norm.c: BatchNormalization, LayerNormalization, InstanceNormalization,
// LpNormalization, LRN, Softmax, LogSoftmax.
//
// Source: ONNX operators BatchNormalization-15 (inference), LayerNormalization-17,
// InstanceNormalization-22, LpNormalization-22, LRN-13, Softmax-13, LogSoftmax-13. Everything in
// double, rounded once.
#include "kernels/ref/internal.h"

// x as [outer, length, inner] around an axis.
typedef struct line {
    int64_t outer, length, inner;
} line_t;

typedef struct layer {
    int64_t rows, length;
    int is_plain; // scale and bias have exactly the normalized elements
    int64_t scale_strides[WEIR_KR_RANK_MAX], bias_strides[WEIR_KR_RANK_MAX];
} layer_t;

// Where a broadcast operand lies for element i of x.
static int64_t layer_offset(const weir_kr_tensor_t *x, const int64_t *strides, int64_t i)
{
    int64_t c[WEIR_KR_RANK_MAX], offset = 0;
    weir__kr_unravel(i, x->dims, x->rank, c);
    for (uint32_t d = 0; d < x->rank; d++)
        offset += c[d] * strides[d];
    return offset;
}

static void store_moment(const weir_kr_tensor_t *y, int64_t i, double v)
{
    if (y->dtype == WEIR_KR_F32)
        ((float *)y->data)[i] = (float)v;
    else if (y->dtype == WEIR_KR_F64)
        ((double *)y->data)[i] = v;
    else if (y->dtype == WEIR_KR_F16)
        ((uint16_t *)y->data)[i] = weir_kr_f16_from_double(v);
    else
        ((uint16_t *)y->data)[i] = weir_kr_bf16_from_double(v);
}

#define WEIR_KR_BODY "kernels/ref/norm_body.inc"
#include "kernels/ref/each_float.inc"

static void channel_range(const weir_kr_call_t *call, int64_t *out_begin, int64_t *out_end)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    weir__kr_range(
        call, weir__kr_product(x->dims, 0, x->rank < 2 ? x->rank : 2), 1, out_begin, out_end);
}

static int per_channel(const weir_kr_call_t *call, uint32_t first, uint32_t end)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t channels = x->rank > 1 ? x->dims[1] : 1;
    for (uint32_t i = first; i < end; i++)
        if (weir__kr_count(&call->inputs[i]) != channels)
            return WEIR_KR_FAIL(call, "input %u needs one element per channel", i);
    return WEIR_KR_OK;
}

// y = (x - mean[c]) / sqrt(var[c] + epsilon) * scale[c] + bias[c].
int weir_k_batch_norm__ref(const weir_kr_call_t *call)
{
    int64_t begin, end;
    int code = per_channel(call, 1, 5);
    if (code != WEIR_KR_OK)
        return code;
    channel_range(call, &begin, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(batch_norm, call, begin, end)
    default:
        return WEIR_KR_FAIL(call, "BatchNormalization: unknown element type");
    }
}

// The same with mean and variance of each channel of each image.
int weir_k_instance_norm__ref(const weir_kr_call_t *call)
{
    int64_t begin, end;
    if (call->inputs[0].rank < 2)
        return WEIR_KR_FAIL(call, "InstanceNormalization: rank 2 or more is needed");
    int code = per_channel(call, 1, 3);
    if (code != WEIR_KR_OK)
        return code;
    channel_range(call, &begin, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(instance_norm, call, begin, end)
    default:
        return WEIR_KR_FAIL(call, "InstanceNormalization: unknown element type");
    }
}

static int64_t layer_block(int64_t length)
{
    return weir__kr_max(WEIR_KR_BLOCK / weir__kr_max(length, 1), 1);
}

static int64_t rows_before(const weir_kr_call_t *call, int64_t *out_length)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t axis = weir__kr_axis(call->params->axis.axis, x->rank);
    if (axis < 0)
        axis = x->rank;
    *out_length = weir__kr_product(x->dims, (uint32_t)axis, x->rank);
    return weir__kr_product(x->dims, 0, (uint32_t)axis);
}

void weir_kr_plan_layer_norm(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    int64_t length, rows = rows_before(call, &length);
    out_plan->task_count = weir__kr_blocks(rows, layer_block(length));
    out_plan->scratch_bytes = 0;
}

// y = (x - mean) / sqrt(var + epsilon) * scale + bias over the axes from `axis` on; outputs 1 and 2
// are mean and 1 / sqrt(var + epsilon).
int weir_k_layer_norm__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int has_bias = weir__kr_present(call, 2);
    layer_t layer;
    layer.rows = rows_before(call, &layer.length);
    if (weir__kr_axis(call->params->axis.axis, x->rank) < 0 ||
        !weir__kr_broadcast(&call->inputs[1], x->dims, x->rank, layer.scale_strides) ||
        (has_bias && !weir__kr_broadcast(&call->inputs[2], x->dims, x->rank, layer.bias_strides)))
        return WEIR_KR_FAIL(call, "LayerNormalization: axis, scale or bias does not fit the input");
    if (!has_bias)
        memset(layer.bias_strides, 0, sizeof layer.bias_strides);
    uint32_t normalized = x->rank - (uint32_t)weir__kr_axis(call->params->axis.axis, x->rank);
    layer.is_plain = weir__kr_count(&call->inputs[1]) == layer.length &&
                     call->inputs[1].rank <= normalized &&
                     (!has_bias || (weir__kr_count(&call->inputs[2]) == layer.length &&
                                       call->inputs[2].rank <= normalized));
    for (uint32_t i = 1; i < 3; i++)
        if (weir__kr_wanted(call, i) && (weir__kr_count(&call->outputs[i]) != layer.rows ||
                                            !(call->outputs[i].dtype & WEIR_KR_FLOATS)))
            return WEIR_KR_FAIL(call, "LayerNormalization: output %u does not fit", i);
    int64_t begin, end;
    weir__kr_range(call, layer.rows, layer_block(layer.length), &begin, &end);
    switch (x->dtype) {
        WEIR_KR_FLOAT_CASES(layer_norm, call, &layer, begin, end)
    default:
        return WEIR_KR_FAIL(call, "LayerNormalization: unknown element type");
    }
}

static int line_of(const weir_kr_call_t *call, line_t *out)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t axis = weir__kr_axis(call->params->axis.axis, x->rank);
    if (axis < 0 && x->rank > 0)
        return WEIR_KR_FAIL(call, "axis %lld is out of range for rank %u",
            (long long)call->params->axis.axis, x->rank);
    if (x->rank == 0) { // a scalar is a line of one
        *out = (line_t){1, 1, 1};
        return WEIR_KR_OK;
    }
    *out = (line_t){weir__kr_product(x->dims, 0, (uint32_t)axis), x->dims[axis],
        weir__kr_product(x->dims, (uint32_t)axis + 1, x->rank)};
    return WEIR_KR_OK;
}

// y = x / (sum |x|^p)^(1/p) along axis; 0 where the norm is 0.
int weir_k_lp_norm__ref(const weir_kr_call_t *call)
{
    line_t line;
    int code = line_of(call, &line);
    if (code != WEIR_KR_OK)
        return code;
    int64_t p = call->params->axis.p;
    if (p != 1 && p != 2)
        return WEIR_KR_FAIL(call, "LpNormalization: p must be 1 or 2");
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(lp_norm, call, &line, p)
    default:
        return WEIR_KR_FAIL(call, "LpNormalization: unknown element type");
    }
}

// y = x / (bias + alpha / size * sum of squares over channels c - (size-1)/2 .. c + size/2)^beta.
int weir_k_lrn__ref(const weir_kr_call_t *call)
{
    int64_t begin, end;
    if (call->inputs[0].rank < 2 || call->params->axis.size < 1)
        return WEIR_KR_FAIL(call, "LRN: rank 2 or more and size 1 or more are needed");
    channel_range(call, &begin, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(lrn, call, begin, end)
    default:
        return WEIR_KR_FAIL(call, "LRN: unknown element type");
    }
}

// coerce: everything from axis on is one line.
static int softmax_line(const weir_kr_call_t *call, line_t *out)
{
    int code = line_of(call, out);
    if (code == WEIR_KR_OK && call->params->axis.coerce)
        *out = (line_t){out->outer, out->length * out->inner, 1};
    return code;
}

void weir_kr_plan_softmax(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    line_t line;
    weir_kr_call_t silent = *call;
    silent.error_bytes = 0;
    *out_plan = (weir_kr_plan_t){1, 0};
    if (softmax_line(&silent, &line) != WEIR_KR_OK)
        return;
    out_plan->task_count = weir__kr_blocks(line.outer * line.inner, layer_block(line.length));
    out_plan->scratch_bytes = (uint64_t)line.length * sizeof(double);
}

static int softmax(const weir_kr_call_t *call, int is_log)
{
    line_t line;
    int64_t begin, end;
    int code = softmax_line(call, &line);
    if (code != WEIR_KR_OK)
        return code;
    weir__kr_range(call, line.outer * line.inner, layer_block(line.length), &begin, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(softmax, call, &line, is_log, begin, end)
    default:
        return WEIR_KR_FAIL(call, "unknown element type");
    }
}

// y = exp(x - max) / sum(exp(x - max)) along axis.
int weir_k_softmax__ref(const weir_kr_call_t *call)
{
    return softmax(call, 0);
}

// y = x - max - log(sum(exp(x - max))) along axis.
int weir_k_log_softmax__ref(const weir_kr_call_t *call)
{
    return softmax(call, 1);
}
