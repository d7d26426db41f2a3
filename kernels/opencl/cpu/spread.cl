// ConvTranspose in f32 for CPUs, two spatial dims, one group, over blocked images: one work-item
// computes ROWS pixels of one output row, SX apart, for a block of 16 output channels; all of them
// are reached by the same taps. A work-group is one work-item.
//
// Weights: [block][ky][kx][input channel, whole blocks][16]. An output at y is reached by the taps
// with y + pad_top = iy * SY + ky * DY.
//
// global size: [rows * SX * tiles, blocks, images]
WEIR_KERNEL(weir_blocks_spread)(WEIR_GO, WEIR_INPUT(float, images), WEIR_INPUT(float, weights),
    WEIR_TENSOR(float, y), long height, long width, long out_height, long out_width, long chunks,
    long pad_top, long pad_left FINISH_PARAMETERS)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_CONST_POINTER(float, weights);
    WEIR_POINTER(float, y);
    FINISH_POINTERS
    const long tiles = ((out_width + SX - 1) / SX + ROWS - 1) / ROWS;
    const long tile = (long)get_global_id(0) % tiles, line = (long)get_global_id(0) / tiles;
    const long oy = line / SX, ox = line % SX + tile * ROWS * SX;
    const long block = (long)get_global_id(1), blocks = (long)get_global_size(1);
    const long image = (long)get_global_id(2);
    __global const float *x = images + image * chunks * height * width * 16;
    __global const float *w = weights + block * KH * KW * chunks * 256;
    float16 sum[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
        sum[i] = (float16)(0.0f);
    for (int ky = 0; ky < KH; ky++) {
        const long down = oy + pad_top - ky * DY, iy = down / SY;
        if (down < 0 || down % SY || iy >= height)
            continue;
        for (int kx = 0; kx < KW; kx++) {
            // What lies left of the image is a whole number of steps away all the same.
            const long right = ox + pad_left - kx * DX + (long)KW * DX * SX;
            const long ix = right / SX - (long)KW * DX;
            if (right % SX)
                continue;
            for (long chunk = 0; chunk < chunks; chunk++) {
                __global const float *from = x + ((chunk * height + iy) * width + ix) * 16;
                __global const float *v = w + ((ky * KW + kx) * chunks + chunk) * 256;
                if (ix >= 0 && ix + ROWS <= width) {
#pragma unroll 4
                    for (int c = 0; c < 16; c++) {
                        const float16 one = vload16(c, v);
#pragma unroll
                        for (int i = 0; i < ROWS; i++)
                            sum[i] = fma((float16)(from[i * 16 + c]), one, sum[i]);
                    }
                } else {
#pragma unroll
                    for (int i = 0; i < ROWS; i++)
                        if (ix + i >= 0 && ix + i < width)
                            for (int c = 0; c < 16; c++)
                                sum[i] = fma((float16)(from[i * 16 + c]), vload16(c, v), sum[i]);
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
        if (ox + i * SX >= out_width)
            continue;
        const size_t at =
            (size_t)(((image * blocks + block) * out_height + oy) * out_width + ox + i * SX) * 16;
        const float16 result = FINISH16(sum[i], at, (size_t)image, (size_t)(block * 16));
        vstore16(FILL == 16 ? result : select((float16)(0.0f), result, filled), 0, y + at);
    }
}
