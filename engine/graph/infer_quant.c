// engine/graph/infer_quant.c: shapes and dtypes of the quantised operators.
//
// Scales are f32; a scale or zero point of one element holds for the whole tensor, a vector for one
// axis of it.
#include "engine/graph/infer.h"

#define BYTES (WEIR_U8 | WEIR_I8)

// Whether `type` is one element, or one for each of `count`.
static bool fits(const weir__type_t *type, int64_t count)
{
    if (!type || type->rank == 0)
        return true;
    return type->rank == 1 &&
           (type->dims[0] < 0 || type->dims[0] == 1 || count < 0 || type->dims[0] == count);
}

// A scale and, if it is there, its zero point of a dtype in `zeros`, for `count` channels.
static weir_status_t check_scale(
    const weir__infer_t *infer, uint32_t scale, weir_dtype_t zeros, int64_t count)
{
    const weir__type_t *scale_type = weir__infer_input(infer, scale);
    const weir__type_t *zero_type = weir__infer_input(infer, scale + 1);
    if (scale_type && (scale_type->dtype & (WEIR_F16 | WEIR_BF16)))
        return WEIR_ERR(WEIR_UNSUPPORTED, "its scales are not f32");
    if (zero_type && (zero_type->dtype & (WEIR_I16 | WEIR_U16)))
        return WEIR_ERR(WEIR_UNSUPPORTED, "it quantises to 16 bits");
    WEIR_TRY(weir__infer_check(infer, scale, WEIR_F32, 1));
    WEIR_TRY(weir__infer_check(infer, scale + 1, zeros, 1));
    if (!fits(weir__infer_input(infer, scale), count) ||
        !fits(weir__infer_input(infer, scale + 1), count))
        return WEIR__BAD("input %u has neither one element nor one for each channel", scale);
    return NULL;
}

// Both quantising operators: the axis, then the scale.
static weir_status_t check_linear(weir__infer_t *infer, weir_dtype_t zeros)
{
    const weir__type_t *x = infer->inputs[0], *scale = infer->inputs[1];
    int64_t axis = weir__node_int(infer->node, "axis", 1), count = 1;
    if (weir__node_int(infer->node, "block_size", 0) != 0)
        return WEIR_ERR(WEIR_UNSUPPORTED, "block_size is not 0");
    if (scale->rank == 1 && scale->dims[0] != 1) {
        uint32_t at;
        WEIR_TRY(weir__infer_axis(axis, x->rank, &at));
        count = x->dims[at];
    }
    WEIR_TRY(check_scale(infer, 1, zeros, count));
    weir__infer_same_shape(infer);
    return NULL;
}

weir_status_t weir__infer_quantize(weir__infer_t *infer)
{
    const weir__type_t *zero = weir__infer_input(infer, 2);
    int64_t dtype = weir__node_int(infer->node, "output_dtype", 0); // ONNX's numbers
    if (dtype != 0 && dtype != 2 && dtype != 3)
        return WEIR_ERR(
            WEIR_UNSUPPORTED, "output_dtype %lld is neither uint8 nor int8", (long long)dtype);
    infer->outputs[0].dtype = zero ? zero->dtype : dtype == 3 ? WEIR_I8 : WEIR_U8;
    return check_linear(infer, BYTES);
}

weir_status_t weir__infer_dequantize(weir__infer_t *infer)
{
    if (infer->inputs[0]->dtype & (WEIR_I16 | WEIR_U16))
        return WEIR_ERR(WEIR_UNSUPPORTED, "its input has 16 bits");
    return check_linear(infer, infer->inputs[0]->dtype);
}

weir_status_t weir__infer_dynamic_quantize(weir__infer_t *infer)
{
    for (uint32_t i = 1; i < infer->output_count; i++) {
        infer->outputs[i].dtype = i == 1 ? WEIR_F32 : WEIR_U8;
        infer->outputs[i].rank = 0;
    }
    infer->outputs[0].dtype = WEIR_U8;
    weir__infer_same_shape(infer);
    return NULL;
}

// Runs `rule` on the operands alone: those inputs of the node that f32's operator has.
static weir_status_t as_float(weir__infer_t *infer, weir__infer_rule_t *rule,
    const uint32_t *numbers, uint32_t count, weir_dtype_t dtype)
{
    const weir__type_t *inputs[3];
    weir__infer_t operands = *infer;
    for (uint32_t i = 0; i < count; i++)
        inputs[i] = weir__infer_input(infer, numbers[i]);
    operands.inputs = inputs;
    operands.input_count = count;
    operands.out_shapes = NULL;
    infer->outputs[0].dtype = dtype;
    WEIR_TRY(weir__infer_check(infer, numbers[1], BYTES, WEIR_RANK_MAX));
    return rule(&operands);
}

weir_status_t weir__infer_matmul_integer(weir__infer_t *infer)
{
    WEIR_TRY(weir__infer_check(infer, 2, BYTES, WEIR_RANK_MAX));
    WEIR_TRY(weir__infer_check(infer, 3, BYTES, WEIR_RANK_MAX));
    return as_float(infer, weir__infer_matmul, (uint32_t[]){0, 1}, 2, WEIR_I32);
}

weir_status_t weir__infer_conv_integer(weir__infer_t *infer)
{
    WEIR_TRY(weir__infer_check(infer, 2, BYTES, 1));
    WEIR_TRY(weir__infer_check(infer, 3, BYTES, 1));
    return as_float(infer, weir__infer_conv, (uint32_t[]){0, 1}, 2, WEIR_I32);
}

weir_status_t weir__infer_qlinear_matmul(weir__infer_t *infer)
{
    const weir__type_t *b = infer->inputs[3];
    bool transposed = weir__node_int(infer->node, "transB", 0) != 0;
    if (b->rank < 1)
        return WEIR__BAD("B is a scalar");
    int64_t columns = b->dims[transposed ? 0 : b->rank - 1];
    WEIR_TRY(check_scale(infer, 1, BYTES, 1));
    WEIR_TRY(check_scale(infer, 4, BYTES, columns));
    WEIR_TRY(check_scale(infer, 6, BYTES, 1));
    WEIR_TRY(weir__infer_check(infer, 8, WEIR_I32, 1));
    if (!fits(weir__infer_input(infer, 8), columns))
        return WEIR__BAD("the bias does not fit the columns");
    return as_float(infer, transposed ? weir__infer_gemm : weir__infer_matmul, (uint32_t[]){0, 3},
        2, infer->inputs[7]->dtype);
}

weir_status_t weir__infer_qlinear_conv(weir__infer_t *infer)
{
    const weir__type_t *w = infer->inputs[3], *added = weir__infer_input(infer, 9);
    const bool is_added = added != NULL;
    WEIR_TRY(check_scale(infer, 1, BYTES, 1));
    WEIR_TRY(check_scale(infer, 4, BYTES, w->rank > 0 ? w->dims[0] : 1));
    WEIR_TRY(check_scale(infer, 6, BYTES, 1));
    WEIR_TRY(weir__infer_check(infer, 8, WEIR_I32, 1));
    for (uint32_t i = 10; i < 14; i++)
        if (is_added != (weir__infer_input(infer, i) != NULL))
            return WEIR__BAD("inputs 9 to 13 are not there together");
    if (is_added) {
        WEIR_TRY(weir__infer_check(infer, 9, BYTES, WEIR_RANK_MAX));
        WEIR_TRY(check_scale(infer, 10, BYTES, 1));
        WEIR_TRY(check_scale(infer, 12, BYTES, 1));
    }
    WEIR_TRY(as_float(infer, weir__infer_conv, (uint32_t[]){0, 3, 8}, 3,
        infer->inputs[is_added ? 13 : 7]->dtype));
    const weir__type_t *y = &infer->outputs[0];
    if (is_added && added->rank != y->rank)
        return WEIR__BAD("what is added has another rank than the product");
    for (int32_t d = 0; is_added && d < y->rank; d++) {
        int64_t dim;
        WEIR_TRY(
            weir__infer_unify("sizes of product and addend", y->dims[d], added->dims[d], &dim));
    }
    return NULL;
}
