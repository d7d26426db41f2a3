// kernels/opencl/common/gather.cl: Gather and GatherElements. T: an unsigned type as large as an
// element, I: int or long. An index out of range is a failure, never a read.
//
// cpu: a work-item makes `chunk` rows; gpu: one element, and `rows` counts those.

// y[o, i, r] = x[o, indices[i], r]; rows are the pairs (o, i).
WEIR_KERNEL(weir_gather)(WEIR_GO, WEIR_INPUT(T, x), WEIR_INPUT(I, indices), WEIR_TENSOR(T, y),
    WEIR_ERROR, const long picks, const long dim, const long inner, const long rows,
    const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(T, x);
    WEIR_CONST_POINTER(I, indices);
    WEIR_POINTER(T, y);
#ifdef WEIR_FAMILY_GPU
    const long element = (long)get_global_id(0);
    if (element >= rows)
        return;
    const long row = element / inner, first = element % inner, end = first + 1;
#else
    const long first = 0, end = inner, last = min((long)(get_global_id(0) + 1) * chunk, rows);
    for (long row = (long)get_global_id(0) * chunk; row < last; row++)
#endif
    {
        long index = (long)indices[row % picks];
        if (index < -dim || index >= dim) {
            WEIR_FAIL(1);
            index = 0;
        }
        index += index < 0 ? dim : 0;
        if (dim) {
            __global const T *const from = x + (row / picks * dim + index) * inner;
            for (long i = first; i < end; i++)
                y[row * inner + i] = from[i];
        }
    }
}

// y[…, i, …] = x[…, indices[…, i, …], …] along one axis; all other dims of indices are at most those
// of x. Up to 8 dims; n: of indices and y, xs: distances in x, 0 along the axis.
#define WEIR_PLACE(d)                                                                              \
    at += rest % n##d * xs##d;                                                                     \
    rest /= n##d;
WEIR_KERNEL(weir_gather_elements)(WEIR_GO, WEIR_INPUT(T, x), WEIR_INPUT(I, indices),
    WEIR_TENSOR(T, y), WEIR_ERROR, const long n0, const long n1, const long n2, const long n3,
    const long n4, const long n5, const long n6, const long n7, const long xs0, const long xs1,
    const long xs2, const long xs3, const long xs4, const long xs5, const long xs6, const long xs7,
    const long dim, const long stride, const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(T, x);
    WEIR_CONST_POINTER(I, indices);
    WEIR_POINTER(T, y);
#ifdef WEIR_FAMILY_GPU
    const long element = (long)get_global_id(0);
    if (element >= rows)
        return;
#else
    const long last = min((long)(get_global_id(0) + 1) * chunk, rows);
    for (long element = (long)get_global_id(0) * chunk; element < last; element++)
#endif
    {
        long rest = element, at = 0, index = (long)indices[element];
        WEIR_PLACE(7)
        WEIR_PLACE(6)
        WEIR_PLACE(5)
        WEIR_PLACE(4)
        WEIR_PLACE(3)
        WEIR_PLACE(2)
        WEIR_PLACE(1)
        WEIR_PLACE(0)
        if (index < -dim || index >= dim) {
            WEIR_FAIL(1);
            index = 0;
        }
        index += index < 0 ? dim : 0;
        if (dim)
            y[element] = x[at + index * stride];
    }
}
