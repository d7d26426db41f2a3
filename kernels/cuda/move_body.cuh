// kernels/cuda/move_body.cuh: copies of elements of one size; included by move.cuh, T is b1 to b16.

WEIR_DEVICE void WEIR_BODY(copy)(const weir_cuda_copy_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t i = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    uint32_t rest = i, c;
    int64_t from = p->x_first, to = p->y_first;
    (void)shared;
    if (i >= p->count)
        return;
    for (uint32_t axis = p->rank - 1; axis > 0; axis--) {
        rest = weir_divide(rest, p->dims[axis], &c);
        from += c * p->x_strides[axis];
        to += c * p->y_strides[axis];
    }
    from += rest * p->x_strides[0];
    to += rest * p->y_strides[0];
    ((WEIR_STORED *)p->y)[to] = ((const WEIR_STORED *)p->x)[from];
}

// Where coordinate c of a padded axis reads in [0, length), or -1. A reflection has a period of
// 2 (length - 1): the edge itself is not doubled.
WEIR_DEVICE int32_t WEIR_LOCAL(pad_source)(int32_t c, int32_t length, uint32_t mode)
{
    if (c >= 0 && c < length)
        return c;
    if (mode == WEIR_CUDA_PAD_CONSTANT || length == 0)
        return -1;
    if (mode == WEIR_CUDA_PAD_EDGE)
        return c < 0 ? 0 : length - 1;
    const int32_t period = mode == WEIR_CUDA_PAD_WRAP ? length
                           : length > 1               ? 2 * (length - 1)
                                                      : 1;
    int32_t phase = c % period;
    if (phase < 0)
        phase += period;
    return phase < length ? phase : period - phase;
}

WEIR_DEVICE void WEIR_BODY(pad)(const weir_cuda_pad_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t i = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    uint32_t rest = i;
    int64_t from = p->x_first;
    int is_inside = 1;
    (void)shared;
    if (i >= p->count)
        return;
    for (uint32_t axis = p->rank; axis-- > 0;) {
        uint32_t c;
        rest = weir_divide(rest, p->dims[axis], &c);
        const int32_t at = WEIR_LOCAL(pad_source)(
            (int32_t)c - p->shifts[axis], p->lengths[axis], p->mode);
        is_inside &= at >= 0;
        from += at * p->x_strides[axis];
    }
    if (is_inside) {
        ((WEIR_STORED *)p->y)[i] = ((const WEIR_STORED *)p->x)[from];
    } else if (p->value) {
        ((WEIR_STORED *)p->y)[i] = *(const WEIR_STORED *)p->value;
    } else {
        for (uint32_t b = 0; b < sizeof(WEIR_STORED); b++)
            ((uint8_t *)p->y)[(uint64_t)i * sizeof(WEIR_STORED) + b] = 0;
    }
}

WEIR_DEVICE void WEIR_BODY(gather)(const weir_cuda_gather_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t i = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    uint32_t inner, j;
    (void)shared;
    if (i >= p->count)
        return;
    const uint32_t outer = weir_divide(weir_divide(i, p->inner, &inner), p->index_count, &j);
    int64_t index = p->is_i64 ? ((const int64_t *)p->indices)[j]
                              : (int64_t)((const int32_t *)p->indices)[j];
    if (index < 0)
        index += p->axis_dim;
    if (index < 0 || index >= (int64_t)p->axis_dim) {
        weir_report(p->error, 1u);
        return;
    }
    const uint64_t row = (uint64_t)outer * p->axis_dim + (uint64_t)index;
    ((WEIR_STORED *)p->y)[i] = ((const WEIR_STORED *)p->x)[row * p->inner.divisor + inner];
}
