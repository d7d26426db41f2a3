// kernels/cuda/reduce_body.cuh: for one type of floating point; included by reduce.cuh.

WEIR_DEVICE uint64_t WEIR_LOCAL(offset)(
    uint32_t i, uint32_t rank, const weir_cuda_divider_t *dims, const int64_t *strides)
{
    uint64_t offset = 0;
    for (uint32_t axis = rank; axis-- > 0;) {
        uint32_t c;
        i = weir_divide(i, dims[axis], &c);
        offset += c * (uint64_t)strides[axis];
    }
    return offset;
}

WEIR_DEVICE float WEIR_LOCAL(start)(uint32_t kind)
{
    return kind == WEIR_CUDA_REDUCE_MAX   ? WEIR_NEGATIVE_INFINITY
           : kind == WEIR_CUDA_REDUCE_MIN ? INFINITY
           : kind == WEIR_CUDA_REDUCE_PROD ? 1.0f
                                           : 0.0f;
}

// One more element, or another thread's result, into a running value. NaN stays.
WEIR_DEVICE float WEIR_LOCAL(combine)(uint32_t kind, float so_far, float v)
{
    switch (kind) {
    case WEIR_CUDA_REDUCE_MAX:
        return v > so_far || v != v ? v : so_far;
    case WEIR_CUDA_REDUCE_MIN:
        return v < so_far || v != v ? v : so_far;
    case WEIR_CUDA_REDUCE_PROD:
        return so_far * v;
    default:
        return so_far + v;
    }
}

WEIR_DEVICE float WEIR_LOCAL(taken)(uint32_t kind, float v)
{
    switch (kind) {
    case WEIR_CUDA_REDUCE_L1:
        return fabsf(v);
    case WEIR_CUDA_REDUCE_L2:
    case WEIR_CUDA_REDUCE_SUM_SQUARE:
        return v * v;
    default:
        return v;
    }
}

WEIR_DEVICE float WEIR_LOCAL(finished)(uint32_t kind, float v, uint32_t count)
{
    switch (kind) {
    case WEIR_CUDA_REDUCE_MEAN:
        return v / (float)count;
    case WEIR_CUDA_REDUCE_L2:
        return sqrtf(v);
    case WEIR_CUDA_REDUCE_LOG_SUM:
        return logf(v);
    default:
        return v;
    }
}

// Elements first, first + step, … of one result.
WEIR_DEVICE float WEIR_LOCAL(fold)(const weir_cuda_reduce_params_t *p, const WEIR_STORED *x,
    uint32_t kind, uint32_t first, uint32_t step)
{
    float value = WEIR_LOCAL(start)(kind);
    for (uint32_t i = first; i < p->reduced_count; i += step)
        value = WEIR_LOCAL(combine)(kind, value,
            WEIR_LOCAL(taken)(kind,
                WEIR_GET(x, WEIR_LOCAL(offset)(
                                i, p->reduced_rank, p->reduced, p->reduced_strides))));
    return value;
}

// The sum of exp(v - shift) over the same elements.
WEIR_DEVICE float WEIR_LOCAL(fold_exp)(const weir_cuda_reduce_params_t *p, const WEIR_STORED *x,
    float shift, uint32_t first, uint32_t step)
{
    float sum = 0.0f;
    for (uint32_t i = first; i < p->reduced_count; i += step)
        sum += expf(WEIR_GET(x, WEIR_LOCAL(offset)(
                                    i, p->reduced_rank, p->reduced, p->reduced_strides)) -
                    shift);
    return sum;
}

WEIR_DEVICE float WEIR_LOCAL(block_combine)(
    uint32_t kind, float value, weir_cuda_partials_t *partials)
{
    const uint32_t lane = WEIR_THREAD % 32, warps = WEIR_THREADS / 32;
    for (uint32_t mask = 16; mask; mask >>= 1)
        value = WEIR_LOCAL(combine)(kind, value, weir_shuffle_xor(value, mask));
    if (lane == 0)
        partials->of_warp[WEIR_THREAD / 32] = value;
    WEIR_SYNC();
    value = lane < warps ? partials->of_warp[lane] : WEIR_LOCAL(start)(kind);
    for (uint32_t mask = 16; mask; mask >>= 1)
        value = WEIR_LOCAL(combine)(kind, value, weir_shuffle_xor(value, mask));
    WEIR_SYNC();
    return value;
}

// m + log(sum of exp(v - m)), m the greatest: no overflow.
WEIR_DEVICE float WEIR_LOCAL(log_sum)(float greatest, float sum)
{
    const int is_plain = greatest - greatest == 0.0f; // neither infinite nor NaN
    return is_plain ? greatest + logf(sum) : greatest;
}

WEIR_DEVICE void WEIR_BODY(reduce_line)(
    const weir_cuda_reduce_params_t *p, weir_cuda_partials_t *shared)
{
    const uint32_t o = WEIR_BLOCK_X;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x +
                           WEIR_LOCAL(offset)(o, p->kept_rank, p->kept, p->kept_strides);
    const uint32_t kind =
        p->kind == WEIR_CUDA_REDUCE_LOG_SUM_EXP ? (uint32_t)WEIR_CUDA_REDUCE_MAX : p->kind;
    float value = WEIR_LOCAL(fold)(p, x, kind, WEIR_THREAD, WEIR_THREADS);
    value = WEIR_LOCAL(block_combine)(kind, value, shared);
    if (p->kind == WEIR_CUDA_REDUCE_LOG_SUM_EXP) {
        const float sum = WEIR_LOCAL(fold_exp)(p, x, value, WEIR_THREAD, WEIR_THREADS);
        value = WEIR_LOCAL(log_sum)(value, weir_block_sum(sum, shared));
    }
    if (WEIR_THREAD == 0)
        WEIR_PUT((WEIR_STORED *)p->y, o, WEIR_LOCAL(finished)(p->kind, value, p->reduced_count));
}

WEIR_DEVICE void WEIR_BODY(reduce_each)(
    const weir_cuda_reduce_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t o = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    (void)shared;
    if (o >= p->kept_count)
        return;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x +
                           WEIR_LOCAL(offset)(o, p->kept_rank, p->kept, p->kept_strides);
    const uint32_t kind =
        p->kind == WEIR_CUDA_REDUCE_LOG_SUM_EXP ? (uint32_t)WEIR_CUDA_REDUCE_MAX : p->kind;
    float value = WEIR_LOCAL(fold)(p, x, kind, 0, 1);
    if (p->kind == WEIR_CUDA_REDUCE_LOG_SUM_EXP)
        value = WEIR_LOCAL(log_sum)(value, WEIR_LOCAL(fold_exp)(p, x, value, 0, 1));
    WEIR_PUT((WEIR_STORED *)p->y, o, WEIR_LOCAL(finished)(p->kind, value, p->reduced_count));
}
