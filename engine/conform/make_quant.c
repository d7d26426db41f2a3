// engine/conform/make_quant.c: nodes of quantised operators, docs/operators.md.
//
// Scales and zero points are constants, as quantisers write them; bytes use all of their range.
#include "engine/conform/kit.h"

static int64_t pick(weir__kit_case_t *c, int64_t low, int64_t high)
{
    return weir__kit_between(c->random, low, high);
}

static weir_dtype_t pick_bytes(weir__kit_case_t *c)
{
    return weir__kit_chance(c->random, 50) ? WEIR_U8 : WEIR_I8;
}

// A tensor with all values of its type.
static weir_tensor_t *bytes(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    weir_tensor_t *tensor = weir__kit_input(c, dtype, rank, dims);
    const double low = dtype == WEIR_I8 ? -128 : dtype == WEIR_I32 ? -5000 : 0;
    weir__kit_fill(c, tensor, low, dtype == WEIR_I32 ? 5000 : low + 255);
    return tensor;
}

// A scale and a zero point of `dtype`; of `channels` elements each if that is not 0. around_zero:
// the zero point is 0.
static void params(
    weir__kit_case_t *c, weir_dtype_t dtype, int64_t channels, double largest, bool around_zero)
{
    weir_tensor_t *scale = weir__kit_input(c, WEIR_F32, channels ? 1 : 0, &channels);
    weir__kit_fill(c, scale, largest / 10, largest);
    scale->flags = WEIR_TENSOR_CONSTANT;
    weir_tensor_t *zero = bytes(c, dtype, channels ? 1 : 0, &channels);
    if (around_zero)
        weir__kit_fill(c, zero, 0, 0);
    zero->flags = WEIR_TENSOR_CONSTANT;
}

static bool make_linear(weir__kit_case_t *c, weir_dtype_t dtype, bool is_quantizing)
{
    int64_t dims[4];
    const uint32_t rank = (uint32_t)pick(c, 0, 4);
    for (uint32_t i = 0; i < rank; i++)
        dims[i] = weir__kit_chance(c->random, 3) ? 0 : pick(c, 1, 21);
    const int64_t axis = rank ? pick(c, 0, rank - 1) : 0;
    const bool is_by_channel = rank && dims[axis] && weir__kit_chance(c->random, 20);
    const weir_dtype_t to = is_quantizing ? pick_bytes(c) : dtype;
    if (is_quantizing)
        weir__kit_input(c, dtype, rank, dims);
    else
        bytes(c, dtype, rank, dims);
    params(c, to, is_by_channel ? dims[axis] : 0, 0.1, dtype == WEIR_I32);
    weir__kit_attribute_int(c, "axis", axis);
    weir__kit_output(c, is_quantizing ? to : WEIR_F32, rank, dims);
    return true;
}

static bool make_dynamic(weir__kit_case_t *c, weir_dtype_t dtype)
{
    int64_t dims[2] = {pick(c, 0, 40), pick(c, 1, weir__kit_chance(c->random, 20) ? 3000 : 60)};
    weir__kit_input(c, dtype, 2, dims);
    weir__kit_output(c, WEIR_U8, 2, dims);
    weir__kit_output(c, WEIR_F32, 0, NULL);
    weir__kit_output(c, WEIR_U8, 0, NULL);
    return true;
}

// A weight matrix or kernel of i8: most often constant.
static void weights(weir__kit_case_t *c, uint32_t rank, const int64_t *dims)
{
    weir_tensor_t *tensor = bytes(c, WEIR_I8, rank, dims);
    if (weir__kit_chance(c->random, 80))
        tensor->flags = WEIR_TENSOR_CONSTANT;
}

static bool make_matmul(weir__kit_case_t *c, weir_dtype_t dtype, bool is_integer)
{
    const int64_t m = pick(c, 0, 70), k = pick(c, 1, 140), n = pick(c, 1, 80);
    const int64_t transposed = is_integer ? 0 : pick(c, 0, 1);
    const int64_t b[2] = {transposed ? n : k, transposed ? k : n};
    const bool by_channel = weir__kit_chance(c->random, 50);
    bytes(c, dtype, 2, (int64_t[]){m, k});
    if (is_integer) {
        weights(c, 2, b);
        if (weir__kit_chance(c->random, 70))
            bytes(c, dtype, 0, NULL);
        weir__kit_output(c, WEIR_I32, 2, (int64_t[]){m, n});
        return true;
    }
    params(c, dtype, 0, 0.1, false);
    weights(c, 2, b);
    params(c, WEIR_I8, by_channel ? n : 0, 0.02, weir__kit_chance(c->random, 90));
    const weir_dtype_t to = pick_bytes(c);
    params(c, to, 0, 5, false);
    if (weir__kit_chance(c->random, 60))
        bytes(c, WEIR_I32, 1, &n)->flags = WEIR_TENSOR_CONSTANT;
    weir__kit_attribute_int(c, "transB", transposed);
    weir__kit_output(c, to, 2, (int64_t[]){m, n});
    return true;
}

static bool make_conv(weir__kit_case_t *c, weir_dtype_t dtype, bool is_integer)
{
    int64_t x[4] = {pick(c, 1, 2), pick(c, 1, weir__kit_chance(c->random, 60) ? 5 : 80)};
    int64_t w[4] = {pick(c, 1, 40), x[1]}, y[4] = {x[0], w[0]};
    int64_t strides[2], dilations[2], pads[4];
    for (uint32_t i = 0; i < 2; i++) {
        w[2 + i] = pick(c, 1, weir__kit_chance(c->random, 20) ? 7 : 3);
        strides[i] = pick(c, 1, 3);
        dilations[i] = weir__kit_chance(c->random, 70) ? 1 : pick(c, 2, 3);
        pads[i] = pick(c, 0, w[2 + i] - 1);
        pads[2 + i] = pick(c, 0, w[2 + i] - 1);
        const int64_t reach = (w[2 + i] - 1) * dilations[i] + 1;
        x[2 + i] = pick(c, WEIR_MAX(1, reach - pads[i] - pads[2 + i]), reach + 14);
        y[2 + i] = (x[2 + i] + pads[i] + pads[2 + i] - reach) / strides[i] + 1;
    }
    weir__kit_attribute_text(c, "auto_pad", "NOTSET");
    weir__kit_attribute_int(c, "group", 1);
    weir__kit_attribute_ints(c, "kernel_shape", 2, &w[2]);
    weir__kit_attribute_ints(c, "strides", 2, strides);
    weir__kit_attribute_ints(c, "dilations", 2, dilations);
    weir__kit_attribute_ints(c, "pads", 4, pads);
    bytes(c, dtype, 4, x);
    if (is_integer) {
        weights(c, 4, w);
        weir__kit_output(c, WEIR_I32, 4, y);
        return true;
    }
    params(c, dtype, 0, 0.1, false);
    weights(c, 4, w);
    params(c, WEIR_I8, weir__kit_chance(c->random, 70) ? w[0] : 0, 0.02, true);
    const weir_dtype_t product = pick_bytes(c), sum = pick_bytes(c);
    const bool is_added = weir__kit_chance(c->random, 40);
    params(c, product, 0, 5, false);
    if (weir__kit_chance(c->random, 60))
        bytes(c, WEIR_I32, 1, &w[0])->flags = WEIR_TENSOR_CONSTANT;
    else
        weir__kit_input_absent(c);
    if (is_added) {
        bytes(c, product, 4, y);
        params(c, product, 0, 5, false);
        params(c, sum, 0, 8, false);
    }
    weir__kit_attribute_int(c, "relu", pick(c, 0, 1));
    weir__kit_output(c, is_added ? sum : product, 4, y);
    return true;
}

bool weir__kit_make_quant(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    switch (argument) {
    case WEIR__KIT_QUANTIZE:
    case WEIR__KIT_DEQUANTIZE:
        return make_linear(c, dtype, argument == WEIR__KIT_QUANTIZE);
    case WEIR__KIT_DYNAMIC_QUANTIZE:
        return make_dynamic(c, dtype);
    case WEIR__KIT_MATMUL_INTEGER:
    case WEIR__KIT_QLINEAR_MATMUL:
        return make_matmul(c, dtype, argument == WEIR__KIT_MATMUL_INTEGER);
    default:
        return make_conv(c, dtype, argument == WEIR__KIT_CONV_INTEGER);
    }
}
