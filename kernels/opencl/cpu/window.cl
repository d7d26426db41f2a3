// Depthwise convolution, MaxPool and AveragePool in f32 for CPUs, over blocked images: one
// work-item computes ROWS pixels of one output row of one block of 16 channels.
//
// CONV: y = sum of x * weights, [block][ky][kx][16]. MAX: NaN is kept. AVERAGE: of the taps inside,
// or with COUNT_PADS of those inside the padded image, which ends at end_y and end_x.
//
// global size: [rows of tiles, blocks, images]

#if defined(MAX)
#define START (float16)(-INFINITY)
#define WEIR_STEP(s, v, w) select(s, v, isgreater(v, s) | isnan(v))
#elif defined(AVERAGE)
#define START (float16)(0.0f)
#define WEIR_STEP(s, v, w) ((s) + (v))
#else
#define START (float16)(0.0f)
#define WEIR_STEP(s, v, w) fma(v, w, s)
#endif

WEIR_KERNEL(weir_blocks_window)(WEIR_GO, WEIR_INPUT(float, images), WEIR_INPUT(float, weights),
    WEIR_TENSOR(float, y), long height, long width, long out_height, long out_width, long pad_top,
    long pad_left, long end_y, long end_x FINISH_PARAMETERS)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, y);
    FINISH_POINTERS
    const long tiles = (out_width + ROWS - 1) / ROWS;
    const long oy = (long)get_global_id(0) / tiles, wanted = (long)get_global_id(0) % tiles * ROWS;
    const long ox = max(min(wanted, out_width - ROWS), 0L);
    const long block = (long)get_global_id(1), blocks = (long)get_global_size(1);
    const long image = (long)get_global_id(2), plane = image * blocks + block;
    const long ix = ox * SX - pad_left, iy = oy * SY - pad_top;
    const int inside = ix >= 0 && ix + (ROWS - 1) * SX + (KW - 1) * DX < width;
    float16 sum[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        sum[i] = START;
    __global const float *x = images + plane * height * width * 16;
#ifdef CONV
    __global const float *taps = (__global const float *)((__global const uchar *)weights_base + weights_at) +
                                 block * KH * KW * 16;
#endif
    for (int ky = 0; ky < KH; ky++) {
        const long row = iy + ky * DY;
        if (row < 0 || row >= height)
            continue;
#pragma unroll
        for (int kx = 0; kx < KW; kx++) {
            __global const float *from = x + (row * width + ix + kx * DX) * 16;
#ifdef CONV
            const float16 w = vload16(ky * KW + kx, taps);
#endif
            if (inside) {
#pragma unroll
                for (int i = 0; i < ROWS; i++)
                    sum[i] = WEIR_STEP(sum[i], vload16(i * SX, from), w);
            } else {
#pragma unroll
                for (int i = 0; i < ROWS; i++) {
                    const long column = ix + kx * DX + i * SX;
                    if (column >= 0 && column < width)
                        sum[i] = WEIR_STEP(sum[i], vload16(i * SX, from), w);
                }
            }
        }
    }
    // clang-format off
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // clang-format on
    const int16 filled = lane < (int16)(block + 1 == blocks ? FILL : 16);
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        if (ox + i < wanted || ox + i >= out_width)
            continue;
#ifdef AVERAGE
        int rows = 0, columns = 0;
        for (int ky = 0; ky < KH; ky++)
            rows += iy + ky * DY >= -(COUNT_PADS ? pad_top : 0) && iy + ky * DY < end_y;
        for (int kx = 0; kx < KW; kx++)
            columns += ix + i * SX + kx * DX >= -(COUNT_PADS ? pad_left : 0) && ix + i * SX + kx * DX < end_x;
        sum[i] /= (float16)((float)(rows * columns));
#endif
        const size_t at = (size_t)((plane * out_height + oy) * out_width + ox + i) * 16;
        const float16 result = FINISH16(sum[i], at, (size_t)image, (size_t)(block * 16));
        vstore16(FILL == 16 ? result : select((float16)(0.0f), result, filled), 0, y + at);
    }
}
