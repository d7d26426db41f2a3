// MaxPool, AveragePool and ConvTranspose in f32 over row-major images of two spatial dims, and LRN:
// one work-item computes one element. Either family; no local memory, no barrier.
//
// KH KW SY SX DY DX are the attributes. MAX keeps NaN. AVERAGE: of the taps inside, or with
// COUNT_PADS of those inside the padded image, which ends at end_y and end_x. SPREAD: the taps that
// reach output (y, x) are those with y + pad_top = iy * SY + ky * DY. AROUND: x / (bias + alpha *
// the sum of the squares of the channels from BEFORE before to AFTER behind) ^ beta.
//
// groups: [ceil(elements / WEIR_LX), 1, 1]

#if defined(AROUND)
WEIR_KERNEL(weir_lrn)
(WEIR_GO, WEIR_INPUT(float, images), WEIR_TENSOR(float, results), long count, long channels,
    long pixels, float alpha, float beta, float bias)
{
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, results);
    const long i = (long)get_global_id(0);
    if (!weir_go || i >= count)
        return;
    const long channel = i / pixels % channels;
    const long first = max(channel - BEFORE, 0L), last = min(channel + AFTER, channels - 1);
    float sum = 0.0f;
    for (long c = first; c <= last; c++) {
        const float v = images[i + (c - channel) * pixels];
        sum = fma(v, v, sum);
    }
    results[i] = images[i] / pow(bias + alpha * sum, beta);
}
#elif defined(SPREAD)
WEIR_KERNEL(weir_spread)
(WEIR_GO, WEIR_INPUT(float, images), WEIR_INPUT(float, weights), WEIR_TENSOR(float, results),
    long count, long groups, long inputs, long outputs, long height, long width, long out_height,
    long out_width, long pad_top, long pad_left FINISH_PARAMETERS)
{
    WEIR_CONST_POINTER(float, images);
    WEIR_CONST_POINTER(float, weights);
    WEIR_POINTER(float, results);
    FINISH_POINTERS
    const long i = (long)get_global_id(0);
    if (!weir_go || i >= count)
        return;
    const long pixels = out_height * out_width, pixel = i % pixels, plane = i / pixels;
    const long oy = pixel / out_width + pad_top, ox = pixel % out_width + pad_left;
    const long output = plane % outputs, group = plane / outputs; // group: of all images
    __global const float *x = images + group * inputs * height * width;
    __global const float *w =
        weights + (group % groups * inputs * outputs + output) * (long)(KH * KW);
    float sum = 0.0f;
    for (long channel = 0; channel < inputs; channel++) {
        for (int ky = 0; ky < KH; ky++) {
            const long y = oy - ky * DY, iy = y / SY;
            if (y < 0 || y % SY || iy >= height)
                continue;
            for (int kx = 0; kx < KW; kx++) {
                const long at = ox - kx * DX, ix = at / SX;
                if (at < 0 || at % SX || ix >= width)
                    continue;
                sum = fma(x[iy * width + ix], w[ky * KW + kx], sum);
            }
        }
        x += height * width;
        w += outputs * (long)(KH * KW);
    }
    results[i] = FINISH1(sum, (size_t)i, (size_t)plane, (size_t)pixel);
}
#else
WEIR_KERNEL(weir_window)
(WEIR_GO, WEIR_INPUT(float, images), WEIR_INPUT(float, weights), WEIR_TENSOR(float, results),
    long count, long groups, long outputs, long height, long width, long out_height, long out_width,
    long pad_top, long pad_left, long end_y, long end_x FINISH_PARAMETERS)
{
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, results);
    FINISH_POINTERS
    const long i = (long)get_global_id(0);
    if (!weir_go || i >= count)
        return;
    const long pixels = out_height * out_width, pixel = i % pixels, plane = i / pixels;
    const long iy = pixel / out_width * SY - pad_top, ix = pixel % out_width * SX - pad_left;
    __global const float *x = images + plane / outputs * height * width;
#if defined(MAX)
    float sum = -INFINITY;
#else
    float sum = 0.0f;
#endif
#if defined(CONV)
    WEIR_CONST_POINTER(float, weights);
    __global const float *w = weights + plane % (groups * outputs) * (long)(KH * KW);
#elif defined(AVERAGE)
    int rows = 0, columns = 0;
#endif
    for (int ky = 0; ky < KH; ky++) {
        const long y = iy + ky * DY;
#if defined(AVERAGE)
        rows += y >= -(COUNT_PADS ? pad_top : 0) && y < end_y;
#endif
        if (y < 0 || y >= height)
            continue;
        for (int kx = 0; kx < KW; kx++) {
            const long at = ix + kx * DX;
            if (at < 0 || at >= width)
                continue;
            const float v = x[y * width + at];
#if defined(MAX)
            sum = v > sum || v != v ? v : sum;
#elif defined(CONV)
            sum = fma(v, w[ky * KW + kx], sum);
#else
            sum += v;
#endif
        }
    }
#if defined(AVERAGE)
    for (int kx = 0; kx < KW; kx++)
        columns += ix + kx * DX >= -(COUNT_PADS ? pad_left : 0) && ix + kx * DX < end_x;
    sum /= (float)(rows * columns);
#endif
    results[i] = FINISH1(sum, (size_t)i, (size_t)plane, (size_t)pixel);
}
#endif
