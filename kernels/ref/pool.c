// kernels/ref/pool.c: MaxPool, AveragePool, GlobalMaxPool, GlobalAveragePool.
//
// Source: ONNX operators MaxPool-22, AveragePool-22, GlobalMaxPool-22, GlobalAveragePool-22. A task
// is one channel of one image. A window that ceil_mode lets hang over the end covers only what is
// there; with count_include_pad the divisor counts the declared padding, not what lies beyond it.
#include "kernels/ref/window.h"

static void window_start(const weir_kr_window_t *w, int64_t position, int64_t *out_start)
{
    weir__kr_unravel(position, w->out, w->rank, out_start);
    for (uint32_t d = 0; d < w->rank; d++)
        out_start[d] = out_start[d] * w->stride[d] - w->begin[d];
}

// Where kernel element k reads in the channel, or -1 outside it.
static int64_t window_offset(const weir_kr_window_t *w, const int64_t *start, int64_t k)
{
    int64_t at[WEIR_KR_RANK_MAX], offset = 0;
    weir__kr_unravel(k, w->kernel, w->rank, at);
    for (uint32_t d = 0; d < w->rank; d++) {
        int64_t i = start[d] + at[d] * w->dilation[d];
        if (i < 0 || i >= w->in[d])
            return -1;
        offset = offset * w->in[d] + i;
    }
    return offset;
}

static int in_padding(const weir_kr_window_t *w, const int64_t *start, int64_t k)
{
    int64_t at[WEIR_KR_RANK_MAX];
    weir__kr_unravel(k, w->kernel, w->rank, at);
    for (uint32_t d = 0; d < w->rank; d++) {
        int64_t i = start[d] + at[d] * w->dilation[d];
        if (i < -w->begin[d] || i >= w->in[d] + w->end[d])
            return 0;
    }
    return 1;
}

// Offset `at` of a channel, counted with the first spatial axis fastest (storage_order 1).
static int64_t column_major(const weir_kr_window_t *w, int64_t at)
{
    int64_t c[WEIR_KR_RANK_MAX], offset = 0;
    weir__kr_unravel(at, w->in, w->rank, c);
    for (uint32_t d = w->rank; d-- > 0;)
        offset = offset * w->in[d] + c[d];
    return offset;
}

// The channels of the call's tasks.
static void channel_range(const weir_kr_call_t *call, int64_t *out_first, int64_t *out_end)
{
    const weir_kr_tensor_t *x = &call->inputs[0];
    int64_t channels = x->rank >= 2 ? x->dims[0] * x->dims[1] : 0;
    weir__kr_range(call, channels, 1, out_first, out_end);
}

#define WEIR_KR_BODY "kernels/ref/pool_body.inc"
#include "kernels/ref/each_float.inc"
#include "kernels/ref/each_int.inc"

static int pool_problem(
    const weir_kr_call_t *call, weir_kr_window_t *out_window, int64_t *out_first, int64_t *out_end)
{
    const weir_kr_tensor_t *x = &call->inputs[0], *y = &call->outputs[0];
    channel_range(call, out_first, out_end);
    int code = weir__kr_window(call, NULL, out_window);
    if (code != WEIR_KR_OK)
        return code;
    if (x->dims[0] != y->dims[0] || x->dims[1] != y->dims[1])
        return WEIR_KR_FAIL(call, "a pool keeps batch and channels");
    return WEIR_KR_OK;
}

// y = the greatest element of each window; NaN wins. Indices count in the whole of x.
int weir_k_max_pool__ref(const weir_kr_call_t *call)
{
    weir_kr_window_t window;
    int64_t first, end;
    int code = pool_problem(call, &window, &first, &end);
    if (code != WEIR_KR_OK)
        return code;
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(max_pool, call, &window, first, end)
        WEIR_KR_INT_CASES(max_pool, call, &window, first, end)
    default:
        return WEIR_KR_FAIL(call, "MaxPool: unknown element type");
    }
}

// y = the mean of each window.
int weir_k_average_pool__ref(const weir_kr_call_t *call)
{
    weir_kr_window_t window;
    int64_t first, end;
    int code = pool_problem(call, &window, &first, &end);
    if (code != WEIR_KR_OK)
        return code;
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(average_pool, call, &window, first, end)
    default:
        return WEIR_KR_FAIL(call, "AveragePool: unknown element type");
    }
}

static int global_pool(const weir_kr_call_t *call, int is_max)
{
    int64_t first, end;
    channel_range(call, &first, &end);
    switch (call->inputs[0].dtype) {
        WEIR_KR_FLOAT_CASES(global_pool, call, first, end, is_max)
    default:
        return WEIR_KR_FAIL(call, "unknown element type");
    }
}

// y = the mean of each channel.
int weir_k_global_average_pool__ref(const weir_kr_call_t *call)
{
    return global_pool(call, 0);
}

// y = the greatest element of each channel; NaN wins.
int weir_k_global_max_pool__ref(const weir_kr_call_t *call)
{
    return global_pool(call, 1);
}
