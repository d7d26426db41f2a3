// kernels/opencl/common/line.cl: ArgMax, ArgMin and LpNormalization: a tensor seen as [outer,
// length, inner], lines along the middle. V: the type.
//
// cpu: a work-item takes `chunk` lines; gpu: one.
#ifdef WEIR_FAMILY_GPU
#define WEIR_LINES                                                                                 \
    const long o = (long)get_global_id(0);                                                         \
    if (o >= rows)                                                                                 \
        return;
#else
#define WEIR_LINES                                                                                 \
    const long end = min((long)(get_global_id(0) + 1) * chunk, rows);                              \
    for (long o = (long)get_global_id(0) * chunk; o < end; o++)
#endif

#ifdef IS_MAX
// The first of the greatest (smallest), or the last; a NaN is greater (smaller) than all.
WEIR_KERNEL(weir_arg)(WEIR_GO, WEIR_INPUT(V, x), WEIR_TENSOR(long, y), const long length,
    const long inner, const int last, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(V, x);
    WEIR_POINTER(long, y);
    WEIR_LINES
    {
        __global const V *const line = x + o / inner * length * inner + o % inner;
        V best = line[0];
        long at = 0;
        for (long i = 1; i < length; i++) {
            const V v = line[i * inner];
            const int is_nan = v != v, was_nan = best != best;
            const int better = !was_nan && (is_nan || (IS_MAX ? v > best : v < best));
            if (better || (last && (v == best || (is_nan && was_nan)))) {
                best = v;
                at = i;
            }
        }
        y[o] = at;
    }
}
#else
// x / (sum |x|^p)^(1/p), p 1 or 2; lines of zeros stay.
WEIR_KERNEL(weir_lp_norm)(WEIR_GO, WEIR_INPUT(float, x), WEIR_TENSOR(float, y), const long length,
    const long inner, const int p, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(float, x);
    WEIR_POINTER(float, y);
    WEIR_LINES
    {
        const long start = o / inner * length * inner + o % inner;
        // Squares of what is small or large would leave the range: the largest is 1 first.
        float top = 0, sum = 0, lost = 0;
        for (long i = 0; i < length; i++) {
            const float v = fabs(x[start + i * inner]);
            top = v > top || v != v ? v : top;
        }
        const float scale = top > 0 && isfinite(top) ? top : 1;
        for (long i = 0; i < length; i++) {
            const float v = fabs(x[start + i * inner]) / scale, term = p == 1 ? v : v * v;
            const float next = sum + term;
            lost += sum >= term ? (sum - next) + term : (term - next) + sum;
            sum = next;
        }
        sum = isfinite(sum) && isfinite(lost) ? sum + lost : sum;
        const float norm = p == 1 ? sum : sqrt(sum);
        for (long i = 0; i < length; i++) {
            const long at = start + i * inner;
            y[at] = norm == 0 ? 0 : x[at] / scale / norm;
        }
    }
}
#endif
