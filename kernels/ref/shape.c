// kernels/ref/shape.c: Shape, Size, Reshape and its kin, ConstantOfShape, Range.
//
// Source: ONNX operators Shape-25, Size-25, Reshape-25, Flatten-25, Squeeze-25, Unsqueeze-25,
// ConstantOfShape-25, Range-11. Reshape, Flatten, Squeeze and Unsqueeze are a copy: the dims are
// the engine's.
#include "kernels/ref/internal.h"

// y[i] = dims[start + i], start and end counted from the back when negative, then clamped.
int weir_k_shape__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    int64_t rank = x->rank;
    int64_t start = call->params->axis.start, end = call->params->axis.end;
    if (start < 0)
        start = weir__kr_max(start + rank, 0);
    if (end < 0)
        end += rank;
    end = weir__kr_min(end, rank);
    int64_t count = weir__kr_max(end - start, 0);
    if (count != weir__kr_count(y))
        return WEIR_KR_FAIL(call, "Shape: %lld dims, but the output holds %lld", (long long)count,
            (long long)weir__kr_count(y));
    for (int64_t i = 0; i < count; i++)
        ((int64_t *)y->data)[i] = x->dims[start + i];
    return WEIR_KR_OK;
}

// y = the product of the dims.
int weir_k_size__ref(const weir_kr_call_t *call)
{
    *(int64_t *)call->outputs[0].data = weir__kr_count(&call->inputs[0]);
    return WEIR_KR_OK;
}

// y = x, element by element in row-major order.
int weir_k_copy__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    if (x->element_count != y->element_count)
        return WEIR_KR_FAIL(call, "the input has %lld elements, the requested shape %lld",
            (long long)weir__kr_count(x), (long long)weir__kr_count(y));
    int64_t begin, end, bytes = weir_kr_dtype_bytes(x->dtype);
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    if (begin < end && x->data != y->data)
        memcpy((char *)y->data + begin * bytes, (const char *)x->data + begin * bytes,
            (size_t)((end - begin) * bytes));
    return WEIR_KR_OK;
}

// y = value everywhere.
int weir_k_constant_of_shape__ref(const weir_kr_call_t *call)
{
    const weir_kr_tensor_t *value = &call->inputs[1], *y = &call->outputs[0];
    if (value->dtype != y->dtype || value->element_count != 1)
        return WEIR_KR_FAIL(
            call, "ConstantOfShape: the value is not one element of the output's type");
    int64_t begin, end;
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    int64_t count = weir__kr_count(y), stride = 0;
    weir__kr_copy_strided(
        value->data, 0, &stride, y->data, &count, 1, weir_kr_dtype_bytes(y->dtype), begin, end);
    return WEIR_KR_OK;
}

// The body of Range: y[i] = start + i * delta, of max(0, ceil((limit - start) / delta)) elements.
#define WEIR_KR_BODY "kernels/ref/range_body.inc"
#include "kernels/ref/each_float.inc"
#include "kernels/ref/each_int.inc"

int weir_k_range__ref(const weir_kr_call_t *call)
{
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(range, call)
        WEIR_KR_INT_CASES(range, call)
    default:
        return WEIR_KR_FAIL(call, "Range: unknown element type");
    }
}
