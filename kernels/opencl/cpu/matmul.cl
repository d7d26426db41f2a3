// C = A B in f32 for CPUs: one work-item computes ROWS x 32 elements of C, a work-group is one
// work-item. No local memory and no barrier.
//
// B lies in panels of 32 columns, [column / 32][k][32], the last one filled up with zeros; A as it
// lies, at any distance from row to row and from k to k. Each element is one ascending chain of
// fused multiply-adds over k. Rows past the end are other rows once more; they and columns past the
// end are not stored. FINISH16 and FINISH1 are what follows the product: backends/opencl/op_finish.c prints them.
//
// global size: [ceil(m / ROWS), ceil(n / 32), batches]

// Where matrix `batch` lies: four batch dims (with ONE_BATCH_DIM the last alone), the outermost any
// size, distances s in elements.
static inline size_t weir_batch(
    size_t batch, long d1, long d2, long d3, long s0, long s1, long s2, long s3)
{
#ifdef ONE_BATCH_DIM
    return batch * (size_t)s3;
#else
    if (batch == 0)
        return 0;
    const size_t r3 = batch / (size_t)d3, r2 = r3 / (size_t)d2, r1 = r2 / (size_t)d1;
    return r1 * (size_t)s0 + r2 % (size_t)d1 * (size_t)s1 + r3 % (size_t)d2 * (size_t)s2 +
           batch % (size_t)d3 * (size_t)s3;
#endif
}

WEIR_KERNEL(weir_matmul)(WEIR_GO, WEIR_INPUT(float, left), WEIR_INPUT(float, right),
    WEIR_TENSOR(float, c), long m, long n, long k, long a_row, long a_k, long d1, long d2, long d3,
    long a0, long a1, long a2, long a3, long b0, long b1, long b2, long b3 FINISH_PARAMETERS)
{
    WEIR_START
    WEIR_CONST_POINTER(float, left);
    WEIR_CONST_POINTER(float, right);
    WEIR_POINTER(float, c);
    FINISH_POINTERS
    const long row = (long)get_global_id(0) * ROWS;
    const long column = (long)get_global_id(1) * 32;
    const size_t batch = get_global_id(2);
    __global const float *x[ROWS];
    float16 sum[ROWS][2];
    __global const float *a = left + weir_batch(batch, d1, d2, d3, a0, a1, a2, a3);
    __global const float *b =
        right + weir_batch(batch, d1, d2, d3, b0, b1, b2, b3) + (size_t)column * (size_t)k;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        x[i] = a + min(row + i, m - 1) * a_row;
        sum[i][0] = sum[i][1] = (float16)(0.0f);
    }
    for (long j = 0; j < k; j++) {
        const float16 v0 = vload16(0, b), v1 = vload16(1, b);
        b += 32;
#pragma unroll
        for (int i = 0; i < ROWS; i++) {
            const float16 v = (float16)(x[i][j * a_k]);
            sum[i][0] = fma(v, v0, sum[i][0]);
            sum[i][1] = fma(v, v1, sum[i][1]);
        }
    }
    const long left_columns = n - column;
#pragma unroll
    for (int i = 0; i < ROWS; i++) {
        if (row + i >= m)
            break;
        const size_t line = batch * (size_t)m + (size_t)(row + i);
        const size_t at = line * (size_t)n + (size_t)column;
#pragma unroll
        for (int h = 0; h < 2; h++) {
            const size_t from = at + (size_t)h * 16;
            if (left_columns >= h * 16 + 16) {
                vstore16(FINISH16(sum[i][h], from, line, (size_t)column + h * 16), 0, c + from);
            } else {
                float rest[16];
                vstore16(sum[i][h], 0, rest);
                for (long j = 0; j < left_columns - h * 16; j++)
                    c[from + j] = FINISH1(rest[j], from + j, line, (size_t)(column + h * 16 + j));
            }
        }
    }
}
