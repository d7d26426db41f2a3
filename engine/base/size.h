// engine/base/size.h: checked arithmetic on sizes. A raw * on dims does not pass review.
#ifndef WEIR_BASE_SIZE_H
#define WEIR_BASE_SIZE_H

#include <stdbool.h>
#include <stdint.h>
#include <weir/plugin.h>

// Each returns false on overflow and leaves *out undefined.
static inline bool weir__add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool weir__mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool weir__add_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}
static inline bool weir__mul_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}
// alignment: a power of two.
static inline bool weir__align_u64(uint64_t value, uint64_t alignment, uint64_t *out)
{
    uint64_t up;
    if (__builtin_add_overflow(value, alignment - 1, &up))
        return false;
    *out = up & ~(alignment - 1);
    return true;
}

// Product of dims; false when a dim is negative or the product does not fit.
static inline bool weir__dims_count(const int64_t *dims, uint32_t rank, uint64_t *out_count)
{
    uint64_t count = 1;
    bool zero = false;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return false;
        zero |= dims[i] == 0;
    }
    // A zero dim makes the whole empty, however large its neighbours are.
    for (uint32_t i = 0; i < rank && !zero; i++)
        if (__builtin_mul_overflow(count, (uint64_t)dims[i], &count))
            return false;
    *out_count = zero ? 0 : count;
    return count <= INT64_MAX;
}

// count * sizeof(dtype); false when it does not fit in an int64.
static inline bool weir__tensor_bytes(
    const int64_t *dims, uint32_t rank, weir_dtype_t dtype, uint64_t *out_bytes)
{
    uint64_t count;
    return weir__dims_count(dims, rank, &count) &&
           weir__mul_u64(count, weir_dtype_bytes(dtype), out_bytes) && *out_bytes <= INT64_MAX;
}

#endif
