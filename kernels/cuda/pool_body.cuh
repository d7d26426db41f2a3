// kernels/cuda/pool_body.cuh: for one type of floating point; included by pool.cuh.

WEIR_DEVICE void WEIR_BODY(pool)(const weir_cuda_pool_params_t *p, weir_cuda_nothing_t *shared)
{
    const weir_cuda_window_t *w = &p->window;
    const uint32_t i = WEIR_BLOCK_X * WEIR_THREADS + WEIR_THREAD;
    uint32_t column, row;
    (void)shared;
    if (i >= p->count)
        return;
    const uint32_t plane = weir_divide(weir_divide(i, p->out_width, &column), p->out_height, &row);
    const uint64_t first = (uint64_t)plane * (uint32_t)w->in_height * (uint32_t)w->in_width;
    const WEIR_STORED *x = (const WEIR_STORED *)p->x + first;
    const int32_t top = (int32_t)row * w->stride_height - w->pad_top;
    const int32_t left = (int32_t)column * w->stride_width - w->pad_left;
    float greatest = WEIR_NEGATIVE_INFINITY, sum = 0.0f;
    int32_t counted = 0, at_row = 0, at_column = 0, found = 0;
    for (int32_t ky = 0; ky < w->kernel_height; ky++) {
        const int32_t y = top + ky * w->dilation_height;
        for (int32_t kx = 0; kx < w->kernel_width; kx++) {
            const int32_t c = left + kx * w->dilation_width;
            const int is_inside = y >= 0 && y < w->in_height && c >= 0 && c < w->in_width;
            counted += is_inside || (p->count_include_pad && y < w->in_height + w->pad_bottom &&
                                        c < w->in_width + w->pad_right);
            if (!is_inside)
                continue;
            const float v = WEIR_GET(x, (uint64_t)y * (uint32_t)w->in_width + (uint32_t)c);
            sum += v;
            // The first of equals; a NaN beats all.
            if (!found || v > greatest || (v != v && greatest == greatest)) {
                greatest = v;
                at_row = y;
                at_column = c;
            }
            found = 1;
        }
    }
    WEIR_PUT((WEIR_STORED *)p->y, i, p->is_average ? sum / (float)counted : greatest);
    if (p->indices)
        p->indices[i] = (int64_t)first + (p->column_major ? at_column * w->in_height + at_row
                                                          : at_row * w->in_width + at_column);
}
