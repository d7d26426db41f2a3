// kernels/ref/reduce.c: Reduce*, ArgMax, ArgMin, CumSum.
//
// Source: ONNX operators Reduce*-18/20, ArgMax-13, ArgMin-13, CumSum-14. Sums run over the reduced
// elements in row-major order. Nothing to reduce gives the neutral element: 0, 1, the ends of the
// type. With no axes and noop_with_empty_axes every element is its own set (so ReduceL1 still takes
// |x|).
#include "kernels/ref/internal.h"

enum {
    REDUCE_SUM,
    REDUCE_MEAN,
    REDUCE_MAX,
    REDUCE_MIN,
    REDUCE_PROD,
    REDUCE_L1,
    REDUCE_L2,
    REDUCE_SUM_SQUARE,
    REDUCE_LOG_SUM,
    REDUCE_LOG_SUM_EXP
};

// The axes of x, split into those that stay and those that go.
typedef struct reduction {
    uint32_t kept_rank, reduced_rank;
    int64_t kept_dims[WEIR_KR_RANK_MAX], kept_strides[WEIR_KR_RANK_MAX];
    int64_t reduced_dims[WEIR_KR_RANK_MAX], reduced_strides[WEIR_KR_RANK_MAX];
    int64_t kept_count, reduced_count;
} reduction_t;

// x as [outer, length, inner] around one axis.
typedef struct line {
    int64_t outer, length, inner;
} line_t;

static int reduction_of(const weir_kr_call_t *call, reduction_t *out)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t axis_count = weir__kr_present(call, 1) ? weir__kr_count(&call->inputs[1]) : 0;
    int64_t strides[WEIR_KR_RANK_MAX];
    uint32_t going = 0;
    if (axis_count == 0 && !call->params->axis.noop_with_empty_axes)
        going = (1u << x->rank) - 1;
    for (int64_t i = 0; i < axis_count; i++) {
        int64_t axis = weir__kr_axis(weir__kr_index(&call->inputs[1], i), x->rank);
        if (axis < 0)
            return WEIR_KR_FAIL(call, "axis %lld is out of range for rank %u",
                (long long)weir__kr_index(&call->inputs[1], i), x->rank);
        going |= 1u << axis;
    }
    weir__kr_strides(x->dims, x->rank, strides);
    *out = (reduction_t){.kept_count = 1, .reduced_count = 1};
    for (uint32_t d = 0; d < x->rank; d++) {
        if (going & (1u << d)) {
            out->reduced_dims[out->reduced_rank] = x->dims[d];
            out->reduced_strides[out->reduced_rank++] = strides[d];
            out->reduced_count *= x->dims[d];
        } else {
            out->kept_dims[out->kept_rank] = x->dims[d];
            out->kept_strides[out->kept_rank++] = strides[d];
            out->kept_count *= x->dims[d];
        }
    }
    if (out->kept_count != weir__kr_count(&call->outputs[0]))
        return WEIR_KR_FAIL(call, "the axes leave %lld elements, the output has %lld",
            (long long)out->kept_count, (long long)weir__kr_count(&call->outputs[0]));
    return WEIR_KR_OK;
}

static int64_t reduce_block(const weir_kr_call_t *call)
{
    int64_t outputs = weir__kr_max(weir__kr_count(&call->outputs[0]), 1);
    int64_t each = weir__kr_max(weir__kr_count(&call->inputs[0]) / outputs, 1);
    return weir__kr_max(WEIR_KR_BLOCK / each, 1);
}

void weir_kr_plan_reduce(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    out_plan->task_count = weir__kr_blocks(weir__kr_count(&call->outputs[0]), reduce_block(call));
    out_plan->scratch_bytes = 0;
}

#define WEIR_KR_BODY "kernels/ref/reduce_body.inc"
#include "kernels/ref/each_float.inc"
#include "kernels/ref/each_int.inc"

static int reduce(const weir_kr_call_t *call, int kind)
{
    reduction_t r;
    int64_t begin, end;
    int code = reduction_of(call, &r);
    if (code != WEIR_KR_OK)
        return code;
    weir__kr_range(call, r.kept_count, reduce_block(call), &begin, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(reduce, call, &r, kind, begin, end)
        WEIR_KR_INT_CASES(reduce, call, &r, kind, begin, end)
    default:
        return WEIR_KR_FAIL(call, "unknown element type");
    }
}

int weir_k_reduce_sum__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_SUM);
}

// Integers: the quotient truncates.
int weir_k_reduce_mean__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_MEAN);
}

int weir_k_reduce_max__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_MAX);
}

int weir_k_reduce_min__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_MIN);
}

int weir_k_reduce_prod__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_PROD);
}

int weir_k_reduce_l1__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_L1);
}

int weir_k_reduce_l2__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_L2);
}

int weir_k_reduce_sum_square__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_SUM_SQUARE);
}

int weir_k_reduce_log_sum__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_LOG_SUM);
}

int weir_k_reduce_log_sum_exp__ref(const weir_kr_call_t *call)
{
    return reduce(call, REDUCE_LOG_SUM_EXP);
}

static int line_of(const weir_kr_call_t *call, int64_t wanted, line_t *out)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t axis = weir__kr_axis(wanted, x->rank);
    if (axis < 0)
        return WEIR_KR_FAIL(
            call, "axis %lld is out of range for rank %u", (long long)wanted, x->rank);
    *out = (line_t){weir__kr_product(x->dims, 0, (uint32_t)axis), x->dims[axis],
        weir__kr_product(x->dims, (uint32_t)axis + 1, x->rank)};
    return WEIR_KR_OK;
}

static int arg(const weir_kr_call_t *call, int is_max)
{
    line_t line;
    int64_t begin, end;
    int code = line_of(call, call->params->axis.axis, &line);
    if (code != WEIR_KR_OK)
        return code;
    int64_t outputs = weir__kr_count(&call->outputs[0]);
    if (outputs != line.outer * line.inner || (outputs > 0 && line.length == 0))
        return WEIR_KR_FAIL(call, "nothing to choose from, or the output does not fit");
    weir__kr_range(call, outputs, WEIR_KR_BLOCK, &begin, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(arg, call, &line, is_max, begin, end)
        WEIR_KR_INT_CASES(arg, call, &line, is_max, begin, end)
    default:
        return WEIR_KR_FAIL(call, "unknown element type");
    }
}

// y = where the greatest element along axis is, the first (or last) of equals; a NaN is the
// greatest.
int weir_k_arg_max__ref(const weir_kr_call_t *call)
{
    return arg(call, 1);
}

// The same for the smallest; a NaN is the smallest.
int weir_k_arg_min__ref(const weir_kr_call_t *call)
{
    return arg(call, 0);
}

// y[i] = x[0] + ... + x[i] along the axis that input 1 names; exclusive leaves x[i] out, reverse
// starts at the other end.
int weir_k_cum_sum__ref(const weir_kr_call_t *call)
{
    line_t line;
    if (call->inputs[1].element_count != 1)
        return WEIR_KR_FAIL(call, "CumSum: axis must be one number");
    int code = line_of(call, weir__kr_index(&call->inputs[1], 0), &line);
    if (code != WEIR_KR_OK)
        return code;
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(cum_sum, call, &line)
        WEIR_KR_INT_CASES(cum_sum, call, &line)
    default:
        return WEIR_KR_FAIL(call, "CumSum: unknown element type");
    }
}
