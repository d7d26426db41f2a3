// A matrix of k x n into panels of 32 columns, [n / 32][k][32], filled up with zeros. The matrix
// lies at any distance from row to row and from column to column. Moves floats, computes none.
//
// global size: [ceil(k / 64), ceil(n / 32), matrices]; matrix i begins at begin + i / split * outer +
// i % split * inner.
WEIR_KERNEL(weir_pack)(WEIR_GO, WEIR_INPUT(float, x), WEIR_TENSOR(float, y), long k, long n,
    long from_k, long from_column, long split, long outer, long inner, long begin)
{
    WEIR_START
    WEIR_CONST_POINTER(float, x);
    WEIR_POINTER(float, y);
    const long first = (long)get_global_id(0) * 64, panel = (long)get_global_id(1);
    const long matrix = (long)get_global_id(2);
    __global const float *from = x + begin + matrix / split * outer + matrix % split * inner + panel * 32 * from_column;
    __global float *to = y + ((matrix * (long)get_global_size(1) + panel) * k + first) * 32;
    for (long row = first; row < min(first + 64, k); row++, to += 32) {
        __global const float *line = from + row * from_k;
        if (from_column == 1 && panel * 32 + 32 <= n) {
            vstore16(vload16(0, line), 0, to);
            vstore16(vload16(1, line), 1, to);
            continue;
        }
        for (long j = 0; j < 32; j++)
            to[j] = panel * 32 + j < n ? line[j * from_column] : 0.0f;
    }
}
