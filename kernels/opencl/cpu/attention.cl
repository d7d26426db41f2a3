// softmax(scale Q K^T + mask) V in f32 for CPUs: one work-item takes every get_global_size(0)-th
// tile of ROWS rows of a head, and keeps their scores in its part of the scratch. No barrier.
//
// K and V come packed by pack.cl: for each head of each batch k in panels [t / 32][d][32], v in
// panels [d / 32][t][32]. Q and Y as they lie: steps in elements for batch, head and row, and for
// Q's element. Panels of K past the end are zeros; their scores are left out.
//
// global size: [work-items, 1, 1]; scores: ROWS * score_row floats each.

static inline float weir_sum16(float16 v)
{
    const float8 a = v.lo + v.hi;
    const float4 b = a.lo + a.hi;
    const float2 c = b.lo + b.hi;
    return c.x + c.y;
}

static inline float weir_max16(float16 v)
{
    const float8 a = fmax(v.lo, v.hi);
    const float4 b = fmax(a.lo, a.hi);
    const float2 c = fmax(b.lo, b.hi);
    return fmax(c.x, c.y);
}

#define WEIR_TILE(COUNT, AT)                                                                       \
    _Pragma("unroll") for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = (float16)(0.0f);      \
    for (long j = 0; j < (COUNT); j++, b += 32) {                                                  \
        const float16 v0 = vload16(0, b), v1 = vload16(1, b);                                      \
        _Pragma("unroll") for (int i = 0; i < ROWS; i++)                                           \
        {                                                                                          \
            const float16 v = (float16)(AT);                                                       \
            sum[i][0] = fma(v, v0, sum[i][0]);                                                     \
            sum[i][1] = fma(v, v1, sum[i][1]);                                                     \
        }                                                                                          \
    }

WEIR_KERNEL(weir_attention)
(WEIR_GO, WEIR_INPUT(float, queries), WEIR_INPUT(float, keys), WEIR_INPUT(float, values),
    WEIR_INPUT(float, masks), WEIR_TENSOR(float, results), WEIR_TENSOR(float, scratch), long units,
    long heads, long rows, long terms, long depth, long width, long score_row, float scale,
    long q_first, long q_b, long q_h, long q_s, long q_d, long y_b, long y_h, long y_s, long m_b,
    long m_h, long m_s, long m_t)
{
    WEIR_START
    WEIR_CONST_POINTER(float, queries);
    WEIR_CONST_POINTER(float, keys);
    WEIR_CONST_POINTER(float, values);
    WEIR_POINTER(float, results);
    WEIR_POINTER(float, scratch);
    const long tiles = (rows + ROWS - 1) / ROWS, panels = (terms + 31) / 32;
    __global float *scores = scratch + (long)get_global_id(0) * ROWS * score_row;
    for (long unit = (long)get_global_id(0); unit < units; unit += (long)get_global_size(0)) {
        const long head = unit / tiles, row = unit % tiles * ROWS;
        const long in_batch = head % heads, batch = head / heads;
        __global const float *q[ROWS];
        float16 sum[ROWS][2];
        float total[ROWS];
#pragma unroll
        for (int i = 0; i < ROWS; i++)
            q[i] = queries + q_first + batch * q_b + in_batch * q_h + min(row + i, rows - 1) * q_s;
        for (long panel = 0; panel < panels; panel++) {
            __global const float *b = keys + (head * panels + panel) * depth * 32;
            WEIR_TILE(depth, q[i][j * q_d])
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                vstore16(sum[i][0] * scale, panel * 2, scores + i * score_row);
                vstore16(sum[i][1] * scale, panel * 2 + 1, scores + i * score_row);
            }
        }
        for (int i = 0; i < ROWS; i++) {
            __global float *s = scores + i * score_row;
#ifdef HAS_MASK
            WEIR_CONST_POINTER(float, masks);
            __global const float *mask =
                masks + batch * m_b + in_batch * m_h + min(row + i, rows - 1) * m_s;
            long k = 0;
            if (m_t == 1)
                for (; k + 16 <= terms; k += 16)
                    vstore16(vload16(0, s + k) + vload16(0, mask + k), 0, s + k);
            for (; k < terms; k++)
                s[k] += mask[k * m_t];
#endif
            for (long t = terms; t < panels * 32; t++)
                s[t] = -INFINITY;
            float16 most16 = (float16)(-INFINITY), sums = (float16)(0.0f);
            for (long t = 0; t < panels * 2; t++)
                most16 = fmax(most16, vload16(t, s));
            const float most = weir_max16(most16);
            for (long t = 0; t < panels * 2; t++) {
                const float16 v = exp(vload16(t, s) - most);
                sums += v;
                vstore16(v, t, s);
            }
            total[i] = terms ? weir_sum16(sums) : 1.0f;
        }
        for (long column = 0; column < width; column += 32) {
            const long left = width - column;
            __global const float *b =
                values + (head * ((width + 31) / 32) + column / 32) * terms * 32;
            __global float *y =
                results + batch * y_b + in_batch * y_h + row * y_s + column;
            WEIR_TILE(terms, scores[i * score_row + j])
#pragma unroll
            for (int i = 0; i < ROWS; i++) {
                if (row + i >= rows)
                    break;
                sum[i][0] /= total[i];
                sum[i][1] /= total[i];
                if (left >= 32) {
                    vstore16(sum[i][0], 0, y + i * y_s);
                    vstore16(sum[i][1], 1, y + i * y_s);
                } else {
                    float rest[32];
                    vstore16(sum[i][0], 0, rest);
                    vstore16(sum[i][1], 1, rest);
                    for (long j = 0; j < left; j++)
                        y[i * y_s + j] = rest[j];
                }
            }
        }
    }
}
