// kernels/cuda/norm_body.cuh: for one type of floating point; included by norm.cuh.

// exp(x - max) / sum of it, or its logarithm. Three passes over a line that the caches hold.
WEIR_DEVICE void WEIR_BODY(softmax)(const weir_cuda_line_params_t *p, weir_cuda_partials_t *shared)
{
    const uint32_t line = WEIR_BLOCK_X;
    const uint64_t first =
        (uint64_t)(line / p->inner) * p->length * p->inner + line % p->inner;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + first;
    WEIR_STORED *y = (WEIR_STORED *)p->y + first;
    float greatest = WEIR_NEGATIVE_INFINITY, sum = 0.0f;
    for (uint32_t i = WEIR_THREAD; i < p->length; i += WEIR_THREADS)
        greatest = fmaxf(greatest, WEIR_GET(x, (uint64_t)i * p->inner));
    greatest = weir_block_max(greatest, shared);
    for (uint32_t i = WEIR_THREAD; i < p->length; i += WEIR_THREADS)
        sum += expf(WEIR_GET(x, (uint64_t)i * p->inner) - greatest);
    sum = weir_block_sum(sum, shared);
    const float shift = logf(sum);
    for (uint32_t i = WEIR_THREAD; i < p->length; i += WEIR_THREADS) {
        const float v = WEIR_GET(x, (uint64_t)i * p->inner) - greatest;
        WEIR_PUT(y, (uint64_t)i * p->inner, p->mode ? v - shift : expf(v) / sum);
    }
}

// x / norm, or 0 where the norm is.
WEIR_DEVICE void WEIR_BODY(lp_norm)(const weir_cuda_line_params_t *p, weir_cuda_partials_t *shared)
{
    const uint32_t line = WEIR_BLOCK_X;
    const uint64_t first =
        (uint64_t)(line / p->inner) * p->length * p->inner + line % p->inner;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + first;
    WEIR_STORED *y = (WEIR_STORED *)p->y + first;
    float norm = 0.0f;
    for (uint32_t i = WEIR_THREAD; i < p->length; i += WEIR_THREADS) {
        const float v = WEIR_GET(x, (uint64_t)i * p->inner);
        norm += p->mode == 1 ? fabsf(v) : v * v;
    }
    norm = weir_block_sum(norm, shared);
    norm = p->mode == 1 ? norm : sqrtf(norm);
    for (uint32_t i = WEIR_THREAD; i < p->length; i += WEIR_THREADS) {
        const uint64_t at = (uint64_t)i * p->inner;
        WEIR_PUT(y, at, norm == 0.0f ? 0.0f : WEIR_GET(x, at) / norm);
    }
}

// The same by one thread for one line: where elements of a line do not lie side by side, those of
// neighbouring lines do.
WEIR_DEVICE void WEIR_BODY(softmax_each)(
    const weir_cuda_line_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t line = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    (void)shared;
    if (line >= p->lines)
        return;
    const uint64_t first =
        (uint64_t)(line / p->inner) * p->length * p->inner + line % p->inner;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + first;
    WEIR_STORED *y = (WEIR_STORED *)p->y + first;
    float greatest = WEIR_NEGATIVE_INFINITY, sum = 0.0f;
    for (uint32_t i = 0; i < p->length; i++)
        greatest = fmaxf(greatest, WEIR_GET(x, (uint64_t)i * p->inner));
    for (uint32_t i = 0; i < p->length; i++)
        sum += expf(WEIR_GET(x, (uint64_t)i * p->inner) - greatest);
    const float shift = logf(sum);
    for (uint32_t i = 0; i < p->length; i++) {
        const float v = WEIR_GET(x, (uint64_t)i * p->inner) - greatest;
        WEIR_PUT(y, (uint64_t)i * p->inner, p->mode ? v - shift : expf(v) / sum);
    }
}

WEIR_DEVICE void WEIR_BODY(lp_norm_each)(
    const weir_cuda_line_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t line = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    (void)shared;
    if (line >= p->lines)
        return;
    const uint64_t first =
        (uint64_t)(line / p->inner) * p->length * p->inner + line % p->inner;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + first;
    WEIR_STORED *y = (WEIR_STORED *)p->y + first;
    float norm = 0.0f;
    for (uint32_t i = 0; i < p->length; i++) {
        const float v = WEIR_GET(x, (uint64_t)i * p->inner);
        norm += p->mode == 1 ? fabsf(v) : v * v;
    }
    norm = p->mode == 1 ? norm : sqrtf(norm);
    for (uint32_t i = 0; i < p->length; i++) {
        const uint64_t at = (uint64_t)i * p->inner;
        WEIR_PUT(y, at, norm == 0.0f ? 0.0f : WEIR_GET(x, at) / norm);
    }
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
