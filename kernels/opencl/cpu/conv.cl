// Convolution in f32 for CPUs, two spatial dims, direct: one work-item computes ROWS pixels of one
// output row for BLOCKS blocks of 16 output channels; a work-group is one work-item.
//
// x is blocked, or with FIRST row-major; y is blocked (NCHW16C). Weights:
// [group][quad][chunk][ky][kx][input channel][BLOCKS * 16], where a quad is BLOCKS blocks (of the
// last one those past the end are zeros) and a chunk 16 input channels (with FIRST one; of the last
// chunk TAIL, if TAIL is not 0). Behind them lie 16 zeros, which stand for pixels outside.
// KH KW SY SX DY DX are the attributes, FILL the output channels in the last block (16: all).
//
// global size: [rows of tiles, quads of a group, images * groups]

#ifdef FIRST
#define CHUNK 1
#define PIXEL 1
#else
#define CHUNK 16
#define PIXEL 16
#endif

// One tap of COUNT input channels; AT(i) is where pixel i is read.
#define WEIR_TAP(COUNT, AT)                                                                        \
    _Pragma("unroll 4") for (int c = 0; c < (COUNT); c++)                                          \
    {                                                                                              \
        float16 v[BLOCKS];                                                                         \
        _Pragma("unroll") for (int h = 0; h < BLOCKS; h++) v[h] = vload16(h, w);                   \
        w += BLOCKS * 16;                                                                          \
        _Pragma("unroll") for (int i = 0; i < ROWS; i++)                                           \
        {                                                                                          \
            const float16 one = (float16)(AT(i));                                                  \
            _Pragma("unroll") for (int h = 0; h < BLOCKS; h++) sum[i][h] =                         \
                fma(one, v[h], sum[i][h]);                                                         \
        }                                                                                          \
    }
#define WEIR_INSIDE(i) from[(i) * SX * PIXEL + c]
#define WEIR_ANYWHERE(i) at[i][c]

#define WEIR_CHUNK(COUNT)                                                                          \
    for (int ky = 0; ky < KH; ky++) {                                                              \
        const long iy = oy * SY - pad_top + ky * DY;                                               \
        if (iy < 0 || iy >= height) {                                                              \
            w += KW * (COUNT) * BLOCKS * 16;                                                       \
            continue;                                                                              \
        }                                                                                          \
        for (int kx = 0; kx < KW; kx++) {                                                          \
            __global const float *from = x + (iy * width + ix + kx * DX) * PIXEL;                  \
            if (inside) {                                                                          \
                WEIR_TAP(COUNT, WEIR_INSIDE)                                                       \
            } else {                                                                               \
                __global const float *at[ROWS];                                                    \
                _Pragma("unroll") for (int i = 0; i < ROWS; i++)                                   \
                {                                                                                  \
                    const long column = ix + kx * DX + i * SX;                                     \
                    at[i] = column >= 0 && column < width ? from + i * SX * PIXEL : zeros;         \
                }                                                                                  \
                WEIR_TAP(COUNT, WEIR_ANYWHERE)                                                     \
            }                                                                                      \
        }                                                                                          \
    }

WEIR_KERNEL(weir_conv)(WEIR_GO, WEIR_INPUT(float, images), WEIR_INPUT(float, weights),
    WEIR_TENSOR(float, y), long height, long width, long out_height, long out_width, long chunks,
    long blocks, long groups, long quad_weights, long zeros_at, long pad_top,
    long pad_left FINISH_PARAMETERS)
{
    WEIR_START
    WEIR_CONST_POINTER(float, images);
    WEIR_CONST_POINTER(float, weights);
    WEIR_POINTER(float, y);
    FINISH_POINTERS
    const long tiles = (out_width + ROWS - 1) / ROWS;
    const long oy = (long)get_global_id(0) / tiles, wanted = (long)get_global_id(0) % tiles * ROWS;
    // The last tile of a row begins early enough to be whole; what its neighbour stores, it leaves.
    const long ox = max(min(wanted, out_width - ROWS), 0L);
    const long group = (long)get_global_id(2), quad = (long)get_global_id(1);
    const long ix = ox * SX - pad_left;
    const int inside = ix >= 0 && ix + (ROWS - 1) * SX + (KW - 1) * DX < width;
    const long planes = chunks + (TAIL > 0 && CHUNK > 1 ? 1 : 0);
    __global const float *zeros = weights + zeros_at;
    __global const float *w =
        weights + (group % groups * (long)get_global_size(1) + quad) * quad_weights;
    float16 sum[ROWS][BLOCKS];
#pragma unroll
    for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int h = 0; h < BLOCKS; h++)
            sum[i][h] = (float16)(0.0f);
    __global const float *x = images + group * planes * height * width * PIXEL;
    for (long chunk = 0; chunk < chunks; chunk++) {
        WEIR_CHUNK(CHUNK)
        x += height * width * PIXEL;
    }
#if TAIL > 0
    WEIR_CHUNK(TAIL)
#endif
#pragma unroll
    for (int h = 0; h < BLOCKS; h++) {
        const long block = quad * BLOCKS + h;
        if (block >= blocks)
            break;
        const long plane = group * blocks + block;
        // clang-format off
        const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        // clang-format on
        const int16 filled = lane < (int16)(block + 1 == blocks ? FILL : 16);
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            if (ox + i < wanted || ox + i >= out_width)
                continue;
            const size_t at = (size_t)((plane * out_height + oy) * out_width + ox + i) * 16;
            const float16 result = FINISH16(sum[i][h], at, (size_t)(group / groups),
                (size_t)((group % groups * blocks + block) * 16));
            vstore16(FILL == 16 ? result : select((float16)(0.0f), result, filled), 0, y + at);
        }
    }
}
