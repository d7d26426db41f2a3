// kernels/cuda/norm_body.cuh: for one type of floating point; included by norm.cuh.
//
// A line is walked by `step` threads, each from `first` on: by a block, or by one thread alone, where
// elements of a line do not lie side by side but those of neighbouring lines do.

WEIR_DEVICE uint64_t WEIR_LOCAL(line_at)(const weir_cuda_line_params_t *p, uint32_t line)
{
    return (uint64_t)(line / p->inner) * p->length * p->inner + line % p->inner;
}

WEIR_DEVICE float WEIR_LOCAL(line_max)(
    const weir_cuda_line_params_t *p, const WEIR_STORED *x, uint32_t first, uint32_t step)
{
    float greatest = WEIR_NEGATIVE_INFINITY;
    for (uint32_t i = first; i < p->length; i += step)
        greatest = fmaxf(greatest, WEIR_GET(x, (uint64_t)i * p->inner));
    return greatest;
}

WEIR_DEVICE float WEIR_LOCAL(line_exp)(const weir_cuda_line_params_t *p, const WEIR_STORED *x,
    float greatest, uint32_t first, uint32_t step)
{
    float sum = 0.0f;
    for (uint32_t i = first; i < p->length; i += step)
        sum += expf(WEIR_GET(x, (uint64_t)i * p->inner) - greatest);
    return sum;
}

// exp(x - max) / sum of it, or its logarithm. Three passes over a line that the caches hold.
WEIR_DEVICE void WEIR_LOCAL(line_softmax)(const weir_cuda_line_params_t *p, const WEIR_STORED *x,
    WEIR_STORED *y, float greatest, float sum, uint32_t first, uint32_t step)
{
    const float shift = logf(sum);
    for (uint32_t i = first; i < p->length; i += step) {
        const float v = WEIR_GET(x, (uint64_t)i * p->inner) - greatest;
        WEIR_PUT(y, (uint64_t)i * p->inner, p->mode ? v - shift : expf(v) / sum);
    }
}

WEIR_DEVICE void WEIR_BODY(softmax)(const weir_cuda_line_params_t *p, weir_cuda_partials_t *shared)
{
    const uint64_t at = WEIR_LOCAL(line_at)(p, WEIR_BLOCK_X);
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + at;
    const float greatest =
        weir_block_max(WEIR_LOCAL(line_max)(p, x, WEIR_THREAD, WEIR_THREADS), shared);
    const float sum =
        weir_block_sum(WEIR_LOCAL(line_exp)(p, x, greatest, WEIR_THREAD, WEIR_THREADS), shared);
    WEIR_LOCAL(line_softmax)
    (p, x, (WEIR_STORED *)p->y + at, greatest, sum, WEIR_THREAD, WEIR_THREADS);
}

WEIR_DEVICE void WEIR_BODY(softmax_each)(
    const weir_cuda_line_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t line = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    (void)shared;
    if (line >= p->lines)
        return;
    const uint64_t at = WEIR_LOCAL(line_at)(p, line);
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + at;
    const float greatest = WEIR_LOCAL(line_max)(p, x, 0, 1);
    const float sum = WEIR_LOCAL(line_exp)(p, x, greatest, 0, 1);
    WEIR_LOCAL(line_softmax)(p, x, (WEIR_STORED *)p->y + at, greatest, sum, 0, 1);
}

WEIR_DEVICE float WEIR_LOCAL(line_norm)(
    const weir_cuda_line_params_t *p, const WEIR_STORED *x, uint32_t first, uint32_t step)
{
    float norm = 0.0f;
    for (uint32_t i = first; i < p->length; i += step) {
        const float v = WEIR_GET(x, (uint64_t)i * p->inner);
        norm += p->mode == 1 ? fabsf(v) : v * v;
    }
    return norm;
}

// x / norm, or 0 where the norm is.
WEIR_DEVICE void WEIR_LOCAL(line_scale)(const weir_cuda_line_params_t *p, const WEIR_STORED *x,
    WEIR_STORED *y, float norm, uint32_t first, uint32_t step)
{
    norm = p->mode == 1 ? norm : sqrtf(norm);
    for (uint32_t i = first; i < p->length; i += step) {
        const uint64_t at = (uint64_t)i * p->inner;
        WEIR_PUT(y, at, norm == 0.0f ? 0.0f : WEIR_GET(x, at) / norm);
    }
}

WEIR_DEVICE void WEIR_BODY(lp_norm)(const weir_cuda_line_params_t *p, weir_cuda_partials_t *shared)
{
    const uint64_t at = WEIR_LOCAL(line_at)(p, WEIR_BLOCK_X);
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + at;
    const float norm =
        weir_block_sum(WEIR_LOCAL(line_norm)(p, x, WEIR_THREAD, WEIR_THREADS), shared);
    WEIR_LOCAL(line_scale)(p, x, (WEIR_STORED *)p->y + at, norm, WEIR_THREAD, WEIR_THREADS);
}

WEIR_DEVICE void WEIR_BODY(lp_norm_each)(
    const weir_cuda_line_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t line = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    (void)shared;
    if (line >= p->lines)
        return;
    const uint64_t at = WEIR_LOCAL(line_at)(p, line);
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + at;
    WEIR_LOCAL(line_scale)
    (p, x, (WEIR_STORED *)p->y + at, WEIR_LOCAL(line_norm)(p, x, 0, 1), 0, 1);
}

// What a thread keeps of its line in registers; the rest, of lines longer than 8 times the block,
// is read again.
#define WEIR_KEPT 8

WEIR_DEVICE void WEIR_BODY(layer_norm)(
    const weir_cuda_layer_norm_params_t *p, weir_cuda_partials_t *shared)
{
    const uint64_t first = (uint64_t)WEIR_BLOCK_X * p->length;
    const uint32_t past = WEIR_KEPT * WEIR_THREADS;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + first;
    const WEIR_STORED *scale = (const WEIR_STORED *)p->scale;
    const WEIR_STORED *bias = (const WEIR_STORED *)p->bias;
    WEIR_STORED *y = (WEIR_STORED *)p->y + first;
    float kept[WEIR_KEPT], sum = 0.0f, squares = 0.0f;
    WEIR_UNROLL
    for (uint32_t j = 0; j < WEIR_KEPT; j++) {
        const uint32_t i = WEIR_THREAD + j * WEIR_THREADS;
        kept[j] = i < p->length ? WEIR_GET(x, i) : 0.0f;
        sum += kept[j];
    }
    for (uint32_t i = WEIR_THREAD + past; i < p->length; i += WEIR_THREADS)
        sum += WEIR_GET(x, i);
    const float mean = weir_block_sum(sum, shared) / (float)p->length;
    WEIR_UNROLL
    for (uint32_t j = 0; j < WEIR_KEPT; j++) {
        const float off = WEIR_THREAD + j * WEIR_THREADS < p->length ? kept[j] - mean : 0.0f;
        squares += off * off;
    }
    for (uint32_t i = WEIR_THREAD + past; i < p->length; i += WEIR_THREADS) {
        const float off = WEIR_GET(x, i) - mean;
        squares += off * off;
    }
    const float variance = weir_block_sum(squares, shared) / (float)p->length;
    const float inverse = 1.0f / sqrtf(variance + p->epsilon);
    WEIR_UNROLL
    for (uint32_t j = 0; j < WEIR_KEPT; j++) {
        const uint32_t i = WEIR_THREAD + j * WEIR_THREADS;
        if (i < p->length)
            WEIR_PUT(y, i,
                (kept[j] - mean) * inverse * WEIR_GET(scale, i) +
                    (bias ? WEIR_GET(bias, i) : 0.0f));
    }
    for (uint32_t i = WEIR_THREAD + past; i < p->length; i += WEIR_THREADS)
        WEIR_PUT(y, i,
            (WEIR_GET(x, i) - mean) * inverse * WEIR_GET(scale, i) +
                (bias ? WEIR_GET(bias, i) : 0.0f));
    if (WEIR_THREAD == 0 && p->mean)
        p->mean[WEIR_BLOCK_X] = mean;
    if (WEIR_THREAD == 0 && p->inverse)
        p->inverse[WEIR_BLOCK_X] = inverse;
}

#undef WEIR_KEPT
