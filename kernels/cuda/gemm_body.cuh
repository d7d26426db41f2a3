// kernels/cuda/gemm_body.cuh: for one type of floating point; included by gemm.cuh.

// A tile of 64 (rows of op(a), or columns of op(b)) by 16 (k) of a matrix into shared memory; what
// is past its ends is 0. along_k: k is the direction in which neighbours lie.
WEIR_DEVICE void WEIR_LOCAL(gemm_load)(const WEIR_STORED *from, uint64_t step, int along_k,
    uint32_t first, uint32_t end, uint32_t k, uint32_t k_end, float to[][WEIR_CUDA_TILE + 4])
{
    WEIR_UNROLL
    for (uint32_t j = 0; j < 4; j++) {
        const uint32_t at_k = along_k ? WEIR_THREAD % 16 : WEIR_THREAD / 64 + 4 * j;
        const uint32_t at = along_k ? WEIR_THREAD / 16 + 16 * j : WEIR_THREAD % 64;
        const int is_inside = first + at < end && k + at_k < k_end;
        const uint64_t offset =
            along_k ? (first + at) * step + k + at_k : (k + at_k) * step + first + at;
        to[at_k][at] = is_inside ? WEIR_GET(from, offset) : 0.0f;
    }
}

WEIR_DEVICE void WEIR_BODY(gemm)(const weir_cuda_gemm_params_t *p, weir_cuda_gemm_shared_t *shared)
{
    // Rows, of which there may be many more, on the side of the grid that is longer.
    const uint32_t row = WEIR_BLOCK_X * WEIR_CUDA_TILE, column = WEIR_BLOCK_Y * WEIR_CUDA_TILE;
    const uint32_t piece_row = row + WEIR_THREAD / 16 * WEIR_GEMM_EACH;
    const uint32_t piece_column = column + WEIR_THREAD % 16 * WEIR_GEMM_EACH;
    for (uint32_t batch = WEIR_BLOCK_Z; batch < p->batch; batch += WEIR_BLOCKS_Z) {
        const WEIR_STORED *a = (const WEIR_STORED *)p->a, *b = (const WEIR_STORED *)p->b;
        const WEIR_STORED *c = (const WEIR_STORED *)p->c, *bias = (const WEIR_STORED *)p->bias;
        WEIR_STORED *d = (WEIR_STORED *)p->d + batch * p->d_stride;
        float acc[WEIR_GEMM_EACH][WEIR_GEMM_EACH];
        uint32_t rest = batch;
        for (uint32_t axis = p->batch_rank; axis-- > 0;) {
            uint32_t at;
            rest = weir_divide(rest, p->batch_dims[axis], &at);
            a += at * p->a_strides[axis];
            b += at * p->b_strides[axis];
        }
        weir_gemm_clear(acc);
        for (uint32_t k = 0; k < p->k; k += WEIR_CUDA_TILE_K) {
            WEIR_LOCAL(gemm_load)(a, p->lda, !p->transpose_a, row, p->m, k, p->k, shared->a);
            WEIR_LOCAL(gemm_load)(b, p->ldb, p->transpose_b != 0, column, p->n, k, p->k, shared->b);
            WEIR_SYNC();
            weir_gemm_step(shared, acc);
            WEIR_SYNC();
        }
        WEIR_UNROLL
        for (uint32_t i = 0; i < WEIR_GEMM_EACH; i++)
            WEIR_UNROLL
            for (uint32_t j = 0; j < WEIR_GEMM_EACH; j++) {
                const uint32_t r = piece_row + i, at = piece_column + j;
                if (r >= p->m || at >= p->n)
                    continue;
                float value = p->alpha * acc[i][j];
                if (c)
                    value += p->beta *
                             WEIR_GET(c, batch * p->c_stride + r * p->c_row + at * p->c_column);
                if (bias)
                    value += WEIR_GET(bias, at);
                WEIR_PUT(d, r * p->ldd + at, weir_finish(value, p->finish));
            }
    }
}

WEIR_DEVICE void WEIR_BODY(conv)(const weir_cuda_conv_params_t *p, weir_cuda_gemm_shared_t *shared)
{
    const weir_cuda_window_t *w = &p->window;
    const uint32_t pixels = (uint32_t)w->out_height * (uint32_t)w->out_width;
    const uint32_t depth = p->in_channels * p->kernel_height.divisor * p->kernel_width.divisor;
    const uint32_t row = WEIR_BLOCK_Y * WEIR_CUDA_TILE, column = WEIR_BLOCK_X * WEIR_CUDA_TILE;
    const uint64_t plane = (uint64_t)(uint32_t)w->in_height * (uint32_t)w->in_width;
    // The pixel that this thread gathers windows of.
    const uint32_t pixel = column + WEIR_THREAD % 64;
    uint32_t out_column;
    const uint32_t out_row = weir_divide(pixel, p->out_width, &out_column);
    const int32_t top = (int32_t)out_row * w->stride_height - w->pad_top;
    const int32_t left = (int32_t)out_column * w->stride_width - w->pad_left;
    for (uint32_t z = WEIR_BLOCK_Z; z < p->n * p->groups; z += WEIR_BLOCKS_Z) {
        const uint32_t group = z % p->groups;
        const WEIR_STORED *x = (const WEIR_STORED *)p->x + (uint64_t)z * p->in_channels * plane;
        const WEIR_STORED *weights =
            (const WEIR_STORED *)p->w + (uint64_t)group * p->out_channels * depth;
        const WEIR_STORED *bias = (const WEIR_STORED *)p->bias;
        WEIR_STORED *y = (WEIR_STORED *)p->y + (uint64_t)z * p->out_channels * pixels;
        float acc[WEIR_GEMM_EACH][WEIR_GEMM_EACH];
        weir_gemm_clear(acc);
        for (uint32_t k = 0; k < depth; k += WEIR_CUDA_TILE_K) {
            WEIR_LOCAL(gemm_load)(weights, depth, 1, row, p->out_channels, k, depth, shared->a);
            WEIR_UNROLL
            for (uint32_t j = 0; j < 4; j++) {
                const uint32_t at_k = WEIR_THREAD / 64 + 4 * j;
                uint32_t kernel_row, kernel_column;
                const uint32_t channel = weir_divide(
                    weir_divide(k + at_k, p->kernel_width, &kernel_column), p->kernel_height,
                    &kernel_row);
                const int32_t in_row = top + (int32_t)kernel_row * w->dilation_height;
                const int32_t in_column = left + (int32_t)kernel_column * w->dilation_width;
                const int is_inside = k + at_k < depth && pixel < pixels && in_row >= 0 &&
                                      in_row < w->in_height && in_column >= 0 &&
                                      in_column < w->in_width;
                shared->b[at_k][WEIR_THREAD % 64] =
                    is_inside ? WEIR_GET(x, channel * plane +
                                                (uint64_t)in_row * (uint32_t)w->in_width +
                                                (uint32_t)in_column)
                              : 0.0f;
            }
            WEIR_SYNC();
            weir_gemm_step(shared, acc);
            WEIR_SYNC();
        }
        WEIR_UNROLL
        for (uint32_t i = 0; i < WEIR_GEMM_EACH; i++) {
            const uint32_t channel = row + WEIR_THREAD / 16 * WEIR_GEMM_EACH + i;
            if (channel >= p->out_channels)
                continue;
            const float add =
                bias ? WEIR_GET(bias, (uint64_t)group * p->out_channels + channel) : 0.0f;
            WEIR_UNROLL
            for (uint32_t j = 0; j < WEIR_GEMM_EACH; j++) {
                const uint32_t at = column + WEIR_THREAD % 16 * WEIR_GEMM_EACH + j;
                if (at < pixels)
                    WEIR_PUT(y, (uint64_t)channel * pixels + at,
                        weir_finish(acc[i][j] + add, p->finish));
            }
        }
    }
}

WEIR_DEVICE void WEIR_BODY(depthwise)(
    const weir_cuda_conv_params_t *p, weir_cuda_nothing_t *shared)
{
    const weir_cuda_window_t *w = &p->window;
    const uint32_t i = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    uint32_t column, row, channel;
    (void)shared;
    const uint32_t image = weir_divide(
        weir_divide(weir_divide(i, p->out_width, &column), p->out_height, &row), p->channels,
        &channel);
    if (image >= p->n)
        return;
    const uint64_t plane = (uint64_t)image * p->groups + channel / p->out_channels;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x +
                           plane * (uint32_t)w->in_height * (uint32_t)w->in_width;
    const WEIR_STORED *weights =
        (const WEIR_STORED *)p->w +
        (uint64_t)channel * p->kernel_height.divisor * p->kernel_width.divisor;
    const int32_t top = (int32_t)row * w->stride_height - w->pad_top;
    const int32_t left = (int32_t)column * w->stride_width - w->pad_left;
    float sum = 0.0f;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t in_row = top + ky * w->dilation_height;
        if (in_row < 0 || in_row >= w->in_height)
            continue;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t in_column = left + kx * w->dilation_width;
            if (in_column >= 0 && in_column < w->in_width)
                sum += WEIR_GET(x, (uint64_t)in_row * (uint32_t)w->in_width + (uint32_t)in_column) *
                       WEIR_GET(weights, (uint32_t)(ky * w->kernel_width + kx));
        }
    }
    if (p->bias)
        sum += WEIR_GET((const WEIR_STORED *)p->bias, channel);
    WEIR_PUT((WEIR_STORED *)p->y, i, weir_finish(sum, p->finish));
}

// Neighbouring threads take neighbouring elements, a block some rounds of them.
WEIR_DEVICE void WEIR_BODY(finish)(const weir_cuda_finish_params_t *p, weir_cuda_nothing_t *shared)
{
    const uint32_t first = WEIR_BLOCK_X * WEIR_THREADS * WEIR_CUDA_FINISH_EACH + WEIR_THREAD;
    WEIR_STORED *y = (WEIR_STORED *)p->y;
    (void)shared;
    WEIR_UNROLL
    for (uint32_t j = 0; j < WEIR_CUDA_FINISH_EACH; j++) {
        const uint32_t i = first + j * WEIR_THREADS;
        uint32_t rest, channel;
        if (i >= p->count)
            return;
        (void)weir_divide(weir_divide(i, p->inner, &rest), p->channels, &channel);
        const float add = p->bias ? WEIR_GET((const WEIR_STORED *)p->bias, channel) : 0.0f;
        WEIR_PUT(y, i, weir_finish(WEIR_GET(y, i) + add, p->finish));
    }
}
