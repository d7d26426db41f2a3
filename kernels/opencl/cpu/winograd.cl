// The two ends of a 3x3 convolution by Winograd's F(4x4, 3x3) in f32 for CPUs, over blocked images
// (Lavin and Gray, "Fast algorithms for convolutional neural networks", 2015): an output of 4 x 4
// comes from 6 x 6 inputs by 36 products instead of 144. Between the ends lie 36 products of
// matrices, [tiles][channels] by packed weights: matmul.cl.
//
// A work-item is a tile of 16 channels. Tiles are numbered image by image, row by row.
//
// global size: [tiles of an image, blocks, images]

#ifdef TILES_IN
// to[i * 6 + j] = the transform of the six from + k * step.
#define WEIR_IN(d0, d1, d2, d3, d4, d5, OUT)                                                       \
    OUT(0, 4.0f * d0 - 5.0f * d2 + d4)                                                             \
    OUT(1, (d3 + d4) - 4.0f * (d1 + d2))                                                           \
    OUT(2, (d4 - d3) + 4.0f * (d1 - d2))                                                           \
    OUT(3, (d4 - d2) + 2.0f * (d3 - d1))                                                           \
    OUT(4, (d4 - d2) - 2.0f * (d3 - d1))                                                           \
    OUT(5, 4.0f * d1 - 5.0f * d3 + d5)

WEIR_KERNEL(weir_tiles_in)(WEIR_GO, WEIR_INPUT(float, images), WEIR_TENSOR(float, tiles),
    long height, long width, long tiles_x, long pad_top, long pad_left)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_POINTER(float, tiles);
    const long tile = (long)get_global_id(0), block = (long)get_global_id(1);
    const long blocks = (long)get_global_size(1), image = (long)get_global_id(2);
    const long top = tile / tiles_x * 4 - pad_top, left = tile % tiles_x * 4 - pad_left;
    const long all = (long)get_global_size(0) * (long)get_global_size(2);
    __global const float *x = images + (image * blocks + block) * height * width * 16;
    __global float *to =
        tiles + ((image * (long)get_global_size(0) + tile) * blocks + block) * 16;
    const int whole = left >= 0 && left + 6 <= width && top >= 0 && top + 6 <= height;
    float16 half_way[6][6];
#pragma unroll
    for (int j = 0; j < 6; j++) {
        const long column = left + j;
        float16 d[6];
        if (whole) {
#pragma unroll
            for (int i = 0; i < 6; i++)
                d[i] = vload16((top + i) * width + column, x);
        } else {
#pragma unroll
            for (int i = 0; i < 6; i++) {
                const long row = top + i;
                const int inside = column >= 0 && column < width && row >= 0 && row < height;
                d[i] = inside ? vload16(row * width + column, x) : (float16)(0.0f);
            }
        }
#define WEIR_KEEP(i, v) half_way[i][j] = v;
        WEIR_IN(d[0], d[1], d[2], d[3], d[4], d[5], WEIR_KEEP)
    }
#pragma unroll
    for (int i = 0; i < 6; i++) {
        const float16 d0 = half_way[i][0], d1 = half_way[i][1], d2 = half_way[i][2];
        const float16 d3 = half_way[i][3], d4 = half_way[i][4], d5 = half_way[i][5];
#define WEIR_STORE(j, v) vstore16(v, 0, to + (i * 6 + j) * all * blocks * 16);
        WEIR_IN(d0, d1, d2, d3, d4, d5, WEIR_STORE)
    }
}
#else
#define WEIR_OUT(m0, m1, m2, m3, m4, m5, OUT)                                                      \
    {                                                                                              \
        const float16 s = m1 + m2, t = m3 + m4, u = m1 - m2, v = m3 - m4;                          \
        OUT(0, m0 + s + t)                                                                         \
        OUT(1, u + 2.0f * v)                                                                       \
        OUT(2, s + 4.0f * t)                                                                       \
        OUT(3, u + 8.0f * v + m5)                                                                  \
    }

WEIR_KERNEL(weir_tiles_out)(WEIR_GO, WEIR_INPUT(float, tiles), WEIR_TENSOR(float, results),
    long out_height, long out_width, long tiles_x FINISH_PARAMETERS)
{
    WEIR_START
    WEIR_CONST_POINTER(float, tiles);
    WEIR_POINTER(float, results);
    FINISH_POINTERS
    const long tile = (long)get_global_id(0), block = (long)get_global_id(1);
    const long blocks = (long)get_global_size(1), image = (long)get_global_id(2);
    const long top = tile / tiles_x * 4, left = tile % tiles_x * 4;
    const long all = (long)get_global_size(0) * (long)get_global_size(2);
    __global const float *from =
        tiles + ((image * (long)get_global_size(0) + tile) * blocks + block) * 16;
    __global float *y = results + (image * blocks + block) * out_height * out_width * 16;
    // clang-format off
    const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // clang-format on
    const int16 filled = lane < (int16)(block + 1 == blocks ? FILL : 16);
    float16 half_way[4][6];
#pragma unroll
    for (int j = 0; j < 6; j++) {
        float16 m[6];
#pragma unroll
        for (int i = 0; i < 6; i++)
            m[i] = vload16(0, from + (i * 6 + j) * all * blocks * 16);
#define WEIR_KEEP(i, v) half_way[i][j] = v;
        WEIR_OUT(m[0], m[1], m[2], m[3], m[4], m[5], WEIR_KEEP)
    }
    for (int i = 0; i < min(out_height - top, 4L); i++) {
        const float16 m0 = half_way[i][0], m1 = half_way[i][1], m2 = half_way[i][2];
        const float16 m3 = half_way[i][3], m4 = half_way[i][4], m5 = half_way[i][5];
        float16 line[4];
#define WEIR_LINE(j, v) line[j] = v;
        WEIR_OUT(m0, m1, m2, m3, m4, m5, WEIR_LINE)
        for (int j = 0; j < min(out_width - left, 4L); j++) {
            const long pixel = (top + i) * out_width + left + j;
            const float16 result = FINISH16(line[j],
                (size_t)(((image * blocks + block) * out_height * out_width + pixel) * 16),
                (size_t)image, (size_t)(block * 16));
            vstore16(FILL == 16 ? result : select((float16)(0.0f), result, filled), pixel, y);
        }
    }
}
#endif
