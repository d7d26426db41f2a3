// Comparing tensors element by element; see differ.h.
#include "engine/cli/differ.h"

#include <math.h>
#include <string.h>

#include "engine/cli/dtype.h"

static bool same_type(const weir_value_t *a, const weir_value_t *b)
{
    return a->dtype == b->dtype && a->rank == b->rank &&
           memcmp(a->dims, b->dims, a->rank * sizeof(a->dims[0])) == 0;
}

// The root of the mean square of what is finite: what a sum in such a tensor is rounded by.
static double scale_of(const weir_value_t *value, uint64_t count)
{
    double sum = 0;
    uint64_t finite_count = 0;
    for (uint64_t i = 0; i < count; i++) {
        const double element = weir__cli_dtype_get(value->dtype, value->data, i);
        if (!isfinite(element))
            continue;
        sum += element * element;
        finite_count++;
    }
    return finite_count ? sqrt(sum / (double)finite_count) : 0;
}

weir__cli_difference_t weir__cli_differ(
    const weir_value_t *want, const weir_value_t *got, const weir__cli_tolerance_t *tolerance)
{
    weir__cli_difference_t found = {0};
    const size_t bytes = weir__cli_dtype_bytes(want->dtype);
    found.is_comparable = same_type(want, got) && bytes;
    if (!found.is_comparable) {
        found.is_different = !same_type(want, got);
        found.error = found.share = found.is_different ? INFINITY : 0;
        return found;
    }
    const bool is_float = weir__cli_dtype_is_float(want->dtype);
    const uint64_t count = weir_value_count(want);
    const double scale = is_float ? scale_of(want, count) : 0;
    for (uint64_t i = 0; i < count; i++) {
        // Equal bytes are equal, whatever they stand for; most are.
        if (memcmp((const char *)want->data + i * bytes, (const char *)got->data + i * bytes,
                bytes) == 0)
            continue;
        const double a = weir__cli_dtype_get(want->dtype, want->data, i);
        const double b = weir__cli_dtype_get(got->dtype, got->data, i);
        if (is_float && (a == b || (isnan(a) && isnan(b))))
            continue;
        double error = fabs(b - a);
        if (isnan(error))
            error = INFINITY;
        const double size = fmax(fabs(a), scale);
        const double allowed = is_float ? tolerance->absolute + tolerance->relative * size : 0;
        // An infinity allows nothing: it is either there or not.
        const double share = isinf(error) || allowed <= 0 ? INFINITY : error / allowed;
        found.error = fmax(found.error, error);
        if (share > found.share || found.share == 0) {
            found.share = share;
            found.index = i;
            found.want = a;
            found.got = b;
        }
    }
    found.is_different = found.share > 1;
    return found;
}
