// C = A B in f32 for GPUs: a work-group of 16 x 16 computes 64 x 64 elements of C, each work-item 4
// x 4, over tiles of 16 of k in local memory.
//
// A and B lie at any distance from row to row and from k to k. With CONV B is what a convolution
// multiplies its weights by, taken from row-major images: rows (channel, ky, kx) of one group, a
// column for each output pixel; KH KW SY SX DY DX are the attributes. Each element is one ascending
// chain of fused multiply-adds over k. FINISH1 is what follows the product:
// backends/opencl/op_finish.c prints it.
//
// groups: [ceil(n / 64), ceil(m / 64), batches]

#define TILE 64
#define DEPTH 16

#ifndef CONV
// Where matrix `batch` lies: four batch dims, the outermost any size, distances s in elements.
static inline size_t weir_batch(
    size_t batch, long d1, long d2, long d3, long s0, long s1, long s2, long s3)
{
    const size_t e1 = (size_t)max(d1, 1L), e2 = (size_t)max(d2, 1L), e3 = (size_t)max(d3, 1L);
    const size_t r3 = batch / e3, r2 = r3 / e2, r1 = r2 / e1;
    return r1 * (size_t)s0 + r2 % e1 * (size_t)s1 + r3 % e2 * (size_t)s2 + batch % e3 * (size_t)s3;
}
#endif

WEIR_KERNEL(weir_matmul)(WEIR_GO, WEIR_INPUT(float, left), WEIR_INPUT(float, right),
    WEIR_TENSOR(float, c), long m, long n, long k, long a_row, long a_k,
#ifdef CONV
    long groups, long channels, long height, long width, long out_width, long pad_top,
    long pad_left FINISH_PARAMETERS)
#else
    long b_k, long b_column, long d1, long d2, long d3, long a0, long a1, long a2, long a3, long b0,
    long b1, long b2, long b3 FINISH_PARAMETERS)
#endif
{
    WEIR_CONST_POINTER(float, left);
    WEIR_CONST_POINTER(float, right);
    WEIR_POINTER(float, c);
    FINISH_POINTERS
    __local float tile_a[DEPTH][TILE + 1], tile_b[DEPTH][TILE];
    const int lx = (int)get_local_id(0), ly = (int)get_local_id(1), item = ly * 16 + lx;
    const long column = (long)get_group_id(0) * TILE, row = (long)get_group_id(1) * TILE;
    const size_t batch = get_group_id(2);
    const long rows = weir_go ? m : 0, columns = weir_go ? n : 0, depth = weir_go ? k : 0;
    const long own_column = column + item % TILE; // the column of B that this work-item fetches
#ifdef CONV
    const long group = (long)batch % max(groups, 1L), line = max(out_width, 1L);
    __global const float *a = left + group * m * k;
    __global const float *b = right + (long)batch * channels * height * width;
    const long iy = own_column / line * SY - pad_top, ix = own_column % line * SX - pad_left;
#else
    __global const float *a = left + weir_batch(batch, d1, d2, d3, a0, a1, a2, a3);
    __global const float *b = right + weir_batch(batch, d1, d2, d3, b0, b1, b2, b3);
#endif
    float sum[4][4];
#pragma unroll
    for (int i = 0; i < 4; i++)
#pragma unroll
        for (int j = 0; j < 4; j++)
            sum[i][j] = 0.0f;
    for (long k0 = 0; k0 < depth; k0 += DEPTH) {
#pragma unroll
        for (int e = 0; e < 4; e++) {
            const int index = item + e * 256;
            const long a_at = k0 + index % DEPTH, a_line = row + index / DEPTH;
            tile_a[index % DEPTH][index / DEPTH] =
                a_line < rows && a_at < depth ? a[a_line * a_row + a_at * a_k] : 0.0f;
            const long b_at = k0 + index / TILE;
            int inside = own_column < columns && b_at < depth;
#ifdef CONV
            const long y = iy + b_at / KW % KH * DY, x = ix + b_at % KW * DX;
            inside = inside && y >= 0 && y < height && x >= 0 && x < width;
            const long b_offset = (b_at / (KW * KH) * height + y) * width + x;
#else
            const long b_offset = b_at * b_k + own_column * b_column;
#endif
            tile_b[index / TILE][index % TILE] = inside ? b[b_offset] : 0.0f;
        }
        barrier(CLK_LOCAL_MEM_FENCE);
        for (int t = 0; t < DEPTH; t++) {
            float v[4];
#pragma unroll
            for (int j = 0; j < 4; j++)
                v[j] = tile_b[t][lx + j * 16];
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const float one = tile_a[t][ly + i * 16];
#pragma unroll
                for (int j = 0; j < 4; j++)
                    sum[i][j] = fma(one, v[j], sum[i][j]);
            }
        }
        barrier(CLK_LOCAL_MEM_FENCE);
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            const long y = row + ly + i * 16, x = column + lx + j * 16;
            if (y < rows && x < columns) {
                const size_t of_rows = batch * (size_t)m + (size_t)y;
                const size_t at = of_rows * (size_t)n + (size_t)x;
                c[at] = FINISH1(sum[i][j], at, of_rows, (size_t)x);
            }
        }
    }
}
