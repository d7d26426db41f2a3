// kernels/opencl/common/pointwise.cl: an expression for each element of a tensor.
//
// The operator prints in front of this: WEIR_PARAMETERS and WEIR_POINTERS (operands x0 …, outputs
// y0 …, sizes n0 … of the groups of dims), WEIR_ROW(row) (where the row lies in each operand: a0 …),
// WEIR_INNER (the last size), and WEIR_EACH1, which makes element i of the row that begins at `at`;
// WEIR_EACH16, if there is one, makes sixteen.
//
// cpu: a work-item makes `chunk` elements of each of row_chunk rows. gpu: one element; `rows` is the
// count of all.
WEIR_KERNEL(weir_pointwise)(
    WEIR_GO WEIR_PARAMETERS, const long rows, const long row_chunk, const long chunk)
{
    WEIR_START
    WEIR_POINTERS
#ifdef WEIR_FAMILY_GPU
    const long element = (long)get_global_id(0);
    if (element >= rows)
        return;
    const long row = element / WEIR_INNER, i = element % WEIR_INNER, at = element - i;
    WEIR_ROW(row)
    WEIR_EACH1
#else
    const long first = (long)get_global_id(1) * chunk, end = min(first + chunk, (long)WEIR_INNER);
    const long last_row = min((long)(get_global_id(0) + 1) * row_chunk, rows);
    for (long row = (long)get_global_id(0) * row_chunk; row < last_row; row++) {
        const long at = row * WEIR_INNER;
        WEIR_ROW(row)
        long i = first;
#ifdef WEIR_EACH16
        for (; i + 16 <= end; i += 16)
            WEIR_EACH16
#endif
        for (; i < end; i++)
            WEIR_EACH1
    }
#endif
}
