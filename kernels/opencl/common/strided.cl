// kernels/opencl/common/strided.cl: y[y0 + sum i_d ys_d] = x[x0 + sum i_d xs_d] for all i below n_d,
// in up to 8 dims, the last one innermost. T: an unsigned type as large as an element.
//
// cpu: a work-item copies `chunk` runs of the innermost dim; `rows` is how many runs there are.
// gpu: one element; `rows` is how many there are.
#define WEIR_STEP(d)                                                                               \
    if (++i##d < n##d) {                                                                           \
        x += xs##d;                                                                                \
        y += ys##d;                                                                                \
        continue;                                                                                  \
    }                                                                                              \
    i##d = 0;                                                                                      \
    x -= (n##d - 1) * xs##d;                                                                       \
    y -= (n##d - 1) * ys##d;
#define WEIR_PLACE(d)                                                                              \
    long i##d = rest % n##d;                                                                       \
    rest /= n##d;                                                                                  \
    x += i##d * xs##d;                                                                             \
    y += i##d * ys##d;

WEIR_KERNEL(weir_strided)(WEIR_GO, WEIR_INPUT(T, from), WEIR_TENSOR(T, to), const long n0,
    const long n1, const long n2, const long n3, const long n4, const long n5, const long n6,
    const long n7, const long xs0, const long xs1, const long xs2, const long xs3, const long xs4,
    const long xs5, const long xs6, const long xs7, const long ys0, const long ys1, const long ys2,
    const long ys3, const long ys4, const long ys5, const long ys6, const long ys7, const long x0,
    const long y0, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(T, from);
    WEIR_POINTER(T, to);
    long x = x0, y = y0;
#ifdef WEIR_FAMILY_GPU
    long rest = (long)get_global_id(0);
    if (rest >= rows)
        return;
    WEIR_PLACE(7)
    WEIR_PLACE(6)
    WEIR_PLACE(5)
    WEIR_PLACE(4)
    WEIR_PLACE(3)
    WEIR_PLACE(2)
    WEIR_PLACE(1)
    WEIR_PLACE(0)
    to[y] = from[x];
#else
    long rest = (long)get_global_id(0) * chunk;
    const long count = min(chunk, rows - rest);
    WEIR_PLACE(6)
    WEIR_PLACE(5)
    WEIR_PLACE(4)
    WEIR_PLACE(3)
    WEIR_PLACE(2)
    WEIR_PLACE(1)
    WEIR_PLACE(0)
    for (long row = 0; row < count; row++) {
        if (xs7 == 1 && ys7 == 1)
            for (long i = 0; i < n7; i++)
                to[y + i] = from[x + i];
        else
            for (long i = 0; i < n7; i++)
                to[y + i * ys7] = from[x + i * xs7];
        WEIR_STEP(6)
        WEIR_STEP(5)
        WEIR_STEP(4)
        WEIR_STEP(3)
        WEIR_STEP(2)
        WEIR_STEP(1)
        WEIR_STEP(0)
    }
#endif
}
