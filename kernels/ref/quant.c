// kernels/ref/quant.c: quantised operators.
//
// Source: ONNX operators QuantizeLinear-21, DequantizeLinear-21, DynamicQuantizeLinear-11,
// MatMulInteger-10, ConvInteger-10, QLinearMatMul-10 and QLinearConv-10. Products and sums are
// exact in 64 bits and wrap to 32 at the end; what a sum becomes is computed in f32 in one order,
// which fast kernels keep, so that their bits are these.
#include "kernels/ref/window.h"

// Element i of a tensor of integers; an absent one is 0.
static int64_t at(const weir_kr_call_t *call, uint32_t input, int64_t i)
{
    if (!weir__kr_present(call, input))
        return 0;
    const weir_kr_tensor_t *t = &call->inputs[input];
    switch (t->dtype) {
    case WEIR_KR_U8:
        return ((const uint8_t *)t->data)[i];
    case WEIR_KR_I8:
        return ((const int8_t *)t->data)[i];
    default:
        return ((const int32_t *)t->data)[i];
    }
}

// The same of a parameter: one element for all, or one for each channel.
static int64_t parameter(const weir_kr_call_t *call, uint32_t input, int64_t channel)
{
    return at(call, input,
        weir__kr_present(call, input) && weir__kr_count(&call->inputs[input]) > 1 ? channel : 0);
}

static float scale_at(const weir_kr_call_t *call, uint32_t input, int64_t channel)
{
    const weir_kr_tensor_t *t = &call->inputs[input];
    return ((const float *)t->data)[weir__kr_count(t) > 1 ? channel : 0];
}

// Every parameter has one element, or `channels`; absent ones may be absent.
static int check_parameters(
    const weir_kr_call_t *call, uint32_t first, uint32_t end, int64_t channels)
{
    for (uint32_t i = first; i < end; i++)
        if (weir__kr_present(call, i) && weir__kr_count(&call->inputs[i]) != 1 &&
            weir__kr_count(&call->inputs[i]) != channels)
            return WEIR_KR_FAIL(call, "input %u has %lld elements, not 1 or %lld", i,
                (long long)weir__kr_count(&call->inputs[i]), (long long)channels);
    return WEIR_KR_OK;
}

// Rounds to nearest even, keeps within [low, high] around `zero`, NaN is 0. The result without the
// zero point.
static float rounded(float value, uint32_t dtype, int64_t zero)
{
    const float low = (float)((dtype == WEIR_KR_I8 ? -128 : 0) - zero);
    const float high = low + 255.0f;
    if (value != value)
        return 0;
    value = value < low ? low : value > high ? high : value;
    return rintf(value);
}

static void put(const weir_kr_tensor_t *y, int64_t i, int64_t value)
{
    ((uint8_t *)y->data)[i] = (uint8_t)value;
}

// Which channel element i of input 0 belongs to.
static int channels_of(const weir_kr_call_t *call, int64_t *out_count, int64_t *out_inner)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    const int64_t axis = weir__kr_axis(call->params->axis.axis, x->rank);
    *out_count = *out_inner = 1;
    if (weir__kr_count(&call->inputs[1]) == 1)
        return check_parameters(call, 1, call->input_count, 1);
    if (axis < 0)
        return WEIR_KR_FAIL(call, "axis is out of range");
    *out_count = x->dims[axis];
    *out_inner = weir__kr_product(x->dims, (uint32_t)axis + 1, x->rank);
    return check_parameters(call, 1, call->input_count, *out_count);
}

// y = saturate(round(x / scale) + zero).
int weir_k_quantize__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    int64_t begin, end, count, inner;
    const int code = channels_of(call, &count, &inner);
    if (code != WEIR_KR_OK)
        return code;
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t channel = i / inner % count, zero = parameter(call, 2, channel);
        const float value = ((const float *)x->data)[i] / scale_at(call, 1, channel);
        put(y, i, (int64_t)rounded(value, y->dtype, zero) + zero);
    }
    return WEIR_KR_OK;
}

// y = (x - zero) * scale.
int weir_k_dequantize__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *y = &call->outputs[0];
    int64_t begin, end, count, inner;
    const int code = channels_of(call, &count, &inner);
    if (code != WEIR_KR_OK)
        return code;
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    for (int64_t i = begin; i < end; i++) {
        const int64_t channel = i / inner % count;
        ((float *)y->data)[i] =
            (float)(at(call, 0, i) - parameter(call, 2, channel)) * scale_at(call, 1, channel);
    }
    return WEIR_KR_OK;
}

// scale and zero so that 0 and all of x are in reach of u8; then QuantizeLinear.
int weir_k_dynamic_quantize__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    const float *from = x->data;
    float low = 0, high = 0;
    for (int64_t i = 0; i < weir__kr_count(x); i++) {
        low = from[i] < low ? from[i] : low;
        high = from[i] > high ? from[i] : high;
    }
    const float scale = high == low ? 1.0f : (high - low) / 255.0f;
    const int64_t zero = (int64_t)rounded((0.0f - low) / scale, WEIR_KR_U8, 0);
    for (int64_t i = 0; i < weir__kr_count(x); i++)
        put(y, i, (int64_t)rounded(from[i] / scale, WEIR_KR_U8, zero) + zero);
    if (weir__kr_wanted(call, 1))
        *(float *)call->outputs[1].data = scale;
    if (weir__kr_wanted(call, 2))
        *(uint8_t *)call->outputs[2].data = (uint8_t)zero;
    return WEIR_KR_OK;
}

// ---- Products ----------------------------------------------------------------------------------

// C[batch][m][n] of A and B by numpy's rule.
typedef struct product {
    int64_t m, n, k, batch;
    int64_t b_k, b_n; // distances in B
    uint32_t batch_rank;
    int64_t batch_dims[WEIR_KR_RANK_MAX];
    int64_t a_steps[WEIR_KR_RANK_MAX], b_steps[WEIR_KR_RANK_MAX]; // in matrices
} product_t;

static int product_of(
    const weir_kr_call_t *call, uint32_t b_input, int transposed, product_t *out_product)
{
    const weir_kr_tensor_t *a = &call->inputs[0], *b = &call->inputs[b_input];
    product_t p = {.m = 1, .n = 1, .batch = 1};
    if (a->rank < 1 || b->rank < 1 || (transposed && b->rank != 2))
        return WEIR_KR_FAIL(call, "a scalar cannot be multiplied");
    p.k = a->dims[a->rank - 1];
    p.m = a->rank > 1 ? a->dims[a->rank - 2] : 1;
    const int64_t rows = b->dims[b->rank > 1 ? b->rank - 2 : 0];
    p.n = b->rank > 1 ? b->dims[b->rank - 1] : 1;
    p.b_k = p.n;
    p.b_n = 1;
    if (transposed) {
        p.b_k = 1;
        p.b_n = p.n;
    }
    if ((transposed ? p.n : rows) != p.k)
        return WEIR_KR_FAIL(call, "inner dims differ");
    if (transposed)
        p.n = rows;
    const weir_kr_tensor_t *y = &call->outputs[0];
    const uint32_t matrix = (a->rank > 1 ? 1u : 0u) + (b->rank > 1 ? 1u : 0u);
    p.batch_rank = y->rank - matrix;
    int64_t a_step = 1, b_step = 1;
    for (uint32_t i = 0; i < p.batch_rank; i++) {
        const uint32_t d = p.batch_rank - 1 - i;
        const int64_t a_dim = i + 2 < a->rank ? a->dims[a->rank - 3 - i] : 1;
        const int64_t b_dim = i + 2 < b->rank ? b->dims[b->rank - 3 - i] : 1;
        p.batch_dims[d] = y->dims[d];
        p.a_steps[d] = a_dim == 1 ? 0 : a_step;
        p.b_steps[d] = b_dim == 1 ? 0 : b_step;
        p.batch *= y->dims[d];
        a_step *= a_dim;
        b_step *= b_dim;
    }
    *out_product = p;
    return WEIR_KR_OK;
}

// The sum of (a - a's zero) (b - b's zero) for element (matrix, i, j).
static int64_t dot(const weir_kr_call_t *call, const product_t *p, uint32_t b_input,
    uint32_t a_zero, uint32_t b_zero, int64_t matrix, int64_t i, int64_t j)
{
    int64_t place[WEIR_KR_RANK_MAX], a_matrix = 0, b_matrix = 0, sum = 0;
    weir__kr_unravel(matrix, p->batch_dims, p->batch_rank, place);
    for (uint32_t d = 0; d < p->batch_rank; d++) {
        a_matrix += place[d] * p->a_steps[d];
        b_matrix += place[d] * p->b_steps[d];
    }
    const int64_t of_a = parameter(call, a_zero, i), of_b = parameter(call, b_zero, j);
    for (int64_t k = 0; k < p->k; k++)
        sum += (at(call, 0, (a_matrix * p->m + i) * p->k + k) - of_a) *
               (at(call, b_input, b_matrix * p->k * p->n + k * p->b_k + j * p->b_n) - of_b);
    return sum;
}

int weir_k_matmul_integer__ref(const weir_kr_call_t *call)
{
    product_t p;
    int code = product_of(call, 1, 0, &p);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 2, call->input_count < 3 ? call->input_count : 3, p.m);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 3, call->input_count, p.n);
    if (code != WEIR_KR_OK)
        return code;
    int32_t *y = call->outputs[0].data;
    for (int64_t matrix = 0; matrix < p.batch; matrix++)
        for (int64_t i = 0; i < p.m; i++)
            for (int64_t j = 0; j < p.n; j++)
                *y++ = (int32_t)dot(call, &p, 1, 2, 3, matrix, i, j);
    return WEIR_KR_OK;
}

// What a sum becomes: its share of the result's step, rounded, without the zero point.
static float requantised(
    const weir_kr_call_t *call, int64_t sum, uint32_t weights_scale, int64_t channel)
{
    const float scale =
        scale_at(call, 1, 0) * scale_at(call, weights_scale, channel) / scale_at(call, 6, 0);
    return rounded((float)(int32_t)sum * scale, call->inputs[7].dtype, at(call, 7, 0));
}

int weir_k_qlinear_matmul__ref(const weir_kr_call_t *call)
{
    product_t p;
    int code = product_of(call, 3, call->params->axis.trans_b != 0, &p);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 1, 3, 1);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 4, 6, p.n);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 6, 8, 1);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 8, call->input_count, p.n);
    if (code != WEIR_KR_OK)
        return code;
    int64_t to = 0;
    for (int64_t matrix = 0; matrix < p.batch; matrix++)
        for (int64_t i = 0; i < p.m; i++)
            for (int64_t j = 0; j < p.n; j++) {
                const int64_t sum = dot(call, &p, 3, 2, 5, matrix, i, j) + parameter(call, 8, j);
                put(&call->outputs[0], to++,
                    (int64_t)requantised(call, sum, 4, j) + at(call, 7, 0));
            }
    return WEIR_KR_OK;
}

// ---- Convolutions ------------------------------------------------------------------------------

typedef struct conv {
    weir_kr_window_t window;
    uint32_t weights, x_zero, w_zero; // inputs
    int64_t images, inputs, outputs, group_in, group_out;
} conv_t;

static int conv_of(
    const weir_kr_call_t *call, uint32_t weights, uint32_t x_zero, uint32_t w_zero, conv_t *out)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *w = &call->inputs[weights];
    const weir_kr_tensor_t *y = &call->outputs[0];
    const int64_t group = call->params->window.group;
    if (x->rank < 3 || w->rank != x->rank || y->rank != x->rank)
        return WEIR_KR_FAIL(call, "a convolution needs [batch, channel, spatial...]");
    if (group < 1 || w->dims[0] % group != 0 || w->dims[1] * group != x->dims[1] ||
        y->dims[0] != x->dims[0] || y->dims[1] != w->dims[0])
        return WEIR_KR_FAIL(call, "the weights do not fit the channels");
    *out = (conv_t){.weights = weights,
        .x_zero = x_zero,
        .w_zero = w_zero,
        .images = x->dims[0],
        .inputs = x->dims[1],
        .outputs = w->dims[0],
        .group_in = w->dims[1],
        .group_out = w->dims[0] / group};
    const int code = check_parameters(call, x_zero, x_zero + 1, 1);
    if (code != WEIR_KR_OK)
        return code;
    return weir__kr_window(call, w->dims + 2, &out->window);
}

// The sum for output position `p` of channel `o` of image `n`; padding is the zero point.
static int64_t conv_dot(
    const weir_kr_call_t *call, const conv_t *conv, int64_t n, int64_t o, int64_t p)
{
    const weir_kr_window_t *w = &conv->window;
    int64_t base[WEIR_KR_RANK_MAX], tap[WEIR_KR_RANK_MAX], sum = 0;
    weir__kr_unravel(p, w->out, w->rank, base);
    const int64_t x_zero = parameter(call, conv->x_zero, 0);
    const int64_t w_zero = parameter(call, conv->w_zero, o);
    const int64_t first = o / conv->group_out * conv->group_in;
    for (int64_t k = 0; k < w->kernel_count; k++) {
        int64_t offset = 0;
        weir__kr_unravel(k, w->kernel, w->rank, tap);
        for (uint32_t d = 0; d < w->rank && offset >= 0; d++) {
            const int64_t i = base[d] * w->stride[d] - w->begin[d] + tap[d] * w->dilation[d];
            offset = i < 0 || i >= w->in[d] ? -1 : offset * w->in[d] + i;
        }
        for (int64_t c = 0; c < conv->group_in && offset >= 0; c++)
            sum +=
                (at(call, 0, ((n * conv->inputs + first + c) * w->in_count) + offset) - x_zero) *
                (at(call, conv->weights, (o * conv->group_in + c) * w->kernel_count + k) - w_zero);
    }
    return sum;
}

// y[n, o, p] for every task's share of (n, o); element(sum, index, channel) stores one.
typedef void store_t(const weir_kr_call_t *call, int64_t sum, int64_t index, int64_t channel);
static int conv_run(const weir_kr_call_t *call, const conv_t *conv, store_t *store)
{
    weir_kr_plan_t plan;
    weir_kr_plan_channels(call, &plan);
    const int64_t planes = conv->images * conv->outputs, tasks = (int64_t)plan.task_count;
    int64_t begin, end;
    weir__kr_range(call, planes, (planes + tasks - 1) / tasks, &begin, &end);
    for (int64_t plane = begin; plane < end; plane++)
        for (int64_t p = 0; p < conv->window.out_count; p++) {
            const int64_t n = plane / conv->outputs, o = plane % conv->outputs;
            store(call, conv_dot(call, conv, n, o, p), plane * conv->window.out_count + p, o);
        }
    return WEIR_KR_OK;
}

static void store_integer(const weir_kr_call_t *call, int64_t sum, int64_t index, int64_t channel)
{
    (void)channel;
    ((int32_t *)call->outputs[0].data)[index] = (int32_t)sum;
}

int weir_k_conv_integer__ref(const weir_kr_call_t *call)
{
    conv_t conv;
    int code = conv_of(call, 1, 2, 3, &conv);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 3, call->input_count, conv.outputs);
    return code == WEIR_KR_OK ? conv_run(call, &conv, store_integer) : code;
}

// The sum in steps of Y; then, if there is an addend, both in f32, added, and in steps of Z.
static void store_qlinear(const weir_kr_call_t *call, int64_t sum, int64_t index, int64_t channel)
{
    const weir_kr_tensor_t *y = &call->outputs[0];
    const int relu = call->params->window.relu != 0;
    float value = requantised(call, sum + parameter(call, 8, channel), 4, channel);
    if (!weir__kr_present(call, 9)) {
        value = relu && value < 0 ? 0 : value;
        put(y, index, (int64_t)value + at(call, 7, 0));
        return;
    }
    float both = value * scale_at(call, 6, 0);
    both += (float)(at(call, 9, index) - at(call, 11, 0)) * scale_at(call, 10, 0);
    both = relu && both < 0 ? 0 : both;
    both /= scale_at(call, 12, 0);
    put(y, index, (int64_t)rounded(both, y->dtype, at(call, 13, 0)) + at(call, 13, 0));
}

int weir_k_qlinear_conv__ref(const weir_kr_call_t *call)
{
    conv_t conv;
    int code = conv_of(call, 3, 2, 5, &conv);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 1, 3, 1);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 4, 6, conv.outputs);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 6, 8, 1);
    if (code == WEIR_KR_OK)
        code = check_parameters(call, 8, weir__kr_present(call, 8) ? 9 : 8, conv.outputs);
    if (code == WEIR_KR_OK && weir__kr_present(call, 9)) {
        if (call->input_count < 14 ||
            weir__kr_count(&call->inputs[9]) != weir__kr_count(&call->outputs[0]))
            return WEIR_KR_FAIL(call, "what is added does not fit the product");
        code = check_parameters(call, 10, 14, 1);
    }
    return code == WEIR_KR_OK ? conv_run(call, &conv, store_qlinear) : code;
}
