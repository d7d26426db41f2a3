// kernels/opencl/common/reduce.cl: Reduce* over any axes: each output is a walk over up to four
// groups of axes that go (r, the last innermost), from a place among up to four that stay (k).
//
// KIND: 0 sum, 1 mean, 2 max, 3 min, 4 product, 5 sum of magnitudes, 6 root of the sum of squares, 7
// sum of squares, 8 log of the sum, 9 log of the sum of exponentials. V: the type. Sums of floats
// carry what rounding took from them (Neumaier, 1974), so that their length does not matter.
//
// cpu: a work-item makes `chunk` outputs; gpu: one.
#if IS_FLOAT
#define IS_NAN(v) ((v) != (v))
#else
#define IS_NAN(v) 0
#endif
#define IS_SUM (KIND == 0 || KIND == 1 || KIND >= 5)

#if KIND == 2
#define START LOWEST
#elif KIND == 3
#define START HIGHEST
#elif KIND == 4
#define START 1
#else
#define START 0
#endif

static inline V weir_term(V v)
{
#if KIND == 5
    return v > 0 ? v : (V)(0 - v);
#elif KIND == 6 || KIND == 7
    return v * v;
#else
    return v;
#endif
}

static inline void weir_take(V v, V *acc, V *lost)
{
#if KIND == 2
    *acc = v > *acc || IS_NAN(v) ? v : *acc;
#elif KIND == 3
    *acc = v < *acc || IS_NAN(v) ? v : *acc;
#elif KIND == 4
    *acc *= v;
#elif IS_FLOAT
    const V sum = *acc + v;
    *lost += fabs(*acc) >= fabs(v) ? (*acc - sum) + v : (v - sum) + *acc;
    *acc = sum;
#else
    *acc += v;
#endif
}

// Of an infinite sum nothing is lost.
static inline V weir_end(V acc, V lost, V count, V shift)
{
#if IS_FLOAT && IS_SUM
    acc = isfinite(acc) && isfinite(lost) ? acc + lost : acc;
#endif
#if KIND == 1
    return acc / count;
#elif KIND == 6
    return (V)sqrt(acc);
#elif KIND == 8
    return (V)log(acc);
#elif KIND == 9
    return count == 0 ? -INFINITY : isfinite(shift) ? shift + log(acc) : shift;
#else
    return acc;
#endif
}

#define WEIR_WALK(STATEMENT)                                                                       \
    for (long i0 = 0; i0 < r0; i0++)                                                               \
        for (long i1 = 0; i1 < r1; i1++)                                                           \
            for (long i2 = 0; i2 < r2; i2++) {                                                     \
                __global const V *const line = from + i0 * rs0 + i1 * rs1 + i2 * rs2;              \
                for (long i3 = 0; i3 < r3; i3++) {                                                 \
                    const V v = line[i3 * rs3];                                                    \
                    STATEMENT                                                                      \
                }                                                                                  \
            }

WEIR_KERNEL(weir_reduce)(WEIR_GO, WEIR_INPUT(V, x), WEIR_TENSOR(V, y), const long k0, const long k1,
    const long k2, const long k3, const long ks0, const long ks1, const long ks2, const long ks3,
    const long r0, const long r1, const long r2, const long r3, const long rs0, const long rs1,
    const long rs2, const long rs3, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(V, x);
    WEIR_POINTER(V, y);
    const V count = (V)(r0 * r1 * r2 * r3);
#ifdef WEIR_FAMILY_GPU
    const long row = (long)get_global_id(0);
    if (row >= rows)
        return;
#else
    const long end = min((long)(get_global_id(0) + 1) * chunk, rows);
    for (long row = (long)get_global_id(0) * chunk; row < end; row++)
#endif
    {
        const long j3 = row % k3, q3 = row / k3, j2 = q3 % k2, q2 = q3 / k2, j1 = q2 % k1;
        __global const V *const from = x + q2 / k1 * ks0 + j1 * ks1 + j2 * ks2 + j3 * ks3;
        V acc = START, lost = 0, shift = 0;
#if KIND == 9
        shift = LOWEST;
        WEIR_WALK(shift = v > shift || IS_NAN(v) ? v : shift;)
        if (isfinite(shift))
            WEIR_WALK(weir_take(exp(v - shift), &acc, &lost);)
#else
        WEIR_WALK(weir_take(weir_term(v), &acc, &lost);)
#endif
        y[row] = weir_end(acc, lost, count, shift);
    }
}
