// kernels/opencl/common/fill.cl: ConstantOfShape: every element is the value. T: an unsigned type as
// large as an element.
WEIR_KERNEL(weir_fill)(
    WEIR_GO, WEIR_INPUT(T, value), WEIR_TENSOR(T, y), const long rows, const long chunk)
{
    WEIR_START
    WEIR_CONST_POINTER(T, value);
    WEIR_POINTER(T, y);
#ifdef WEIR_FAMILY_GPU
    const long first = (long)get_global_id(0), end = min(first + 1, rows);
#else
    const long first = (long)get_global_id(0) * chunk, end = min(first + chunk, rows);
#endif
    for (long i = first; i < end; i++)
        y[i] = *value;
}
