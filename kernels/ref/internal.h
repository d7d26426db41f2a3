// kernels/ref/internal.h: what the reference kernels share among themselves.
//
// Small index arithmetic and the typed loops' dispatch. Not for files outside kernels/ref.
#ifndef WEIR_KERNELS_REF_INTERNAL_H
#define WEIR_KERNELS_REF_INTERNAL_H

#include "kernels/ref/ref.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

// Elements that one task of an elementwise kernel or a copy handles.
#define WEIR_KR_BLOCK 32768

// Writes why the call fails.
void weir__kr_say(const weir_kr_call_t *call, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// The same, with the value WEIR_KR_INVALID: a macro, so that the compiler sees it is not OK.
#define WEIR_KR_FAIL(call, ...) (weir__kr_say((call), __VA_ARGS__), WEIR_KR_INVALID)

static inline int64_t weir__kr_min(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t weir__kr_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t weir__kr_count(const weir_kr_tensor_t *t)
{
    return (int64_t)t->element_count;
}

static inline int64_t weir__kr_product(const int64_t *dims, uint32_t first, uint32_t end)
{
    int64_t product = 1;
    for (uint32_t i = first; i < end; i++)
        product *= dims[i];
    return product;
}

static inline int weir__kr_present(const weir_kr_call_t *call, uint32_t input)
{
    return input < call->input_count && call->inputs[input].dtype != 0;
}

static inline int weir__kr_wanted(const weir_kr_call_t *call, uint32_t output)
{
    return output < call->output_count && call->outputs[output].dtype != 0;
}

// Element i of an I32 or I64 tensor.
static inline int64_t weir__kr_index(const weir_kr_tensor_t *t, int64_t i)
{
    return t->dtype == WEIR_KR_I32 ? ((const int32_t *)t->data)[i] : ((const int64_t *)t->data)[i];
}

// axis counted from the front; -1 when it is out of range.
static inline int64_t weir__kr_axis(int64_t axis, uint32_t rank)
{
    if (axis < 0)
        axis += rank;
    return axis >= 0 && axis < (int64_t)rank ? axis : -1;
}

// Row-major strides in elements.
static inline void weir__kr_strides(const int64_t *dims, uint32_t rank, int64_t *out_strides)
{
    int64_t stride = 1;
    for (uint32_t i = rank; i-- > 0;) {
        out_strides[i] = stride;
        stride *= dims[i];
    }
}

// The coordinates of element `index` of a non-empty shape.
static inline void weir__kr_unravel(
    int64_t index, const int64_t *dims, uint32_t rank, int64_t *out_coordinates)
{
    for (uint32_t i = rank; i-- > 0;) {
        out_coordinates[i] = index % dims[i];
        index /= dims[i];
    }
}

// The element range [out_begin, out_end) of the call's tasks, of `total` elements in blocks of
// `block`.
static inline void weir__kr_range(
    const weir_kr_call_t *call, int64_t total, int64_t block, int64_t *out_begin, int64_t *out_end)
{
    *out_begin = weir__kr_min((int64_t)call->first * block, total);
    *out_end = weir__kr_min((int64_t)(call->first + call->count) * block, total);
}

static inline uint64_t weir__kr_blocks(int64_t total, int64_t block)
{
    return total <= block ? 1 : (uint64_t)((total + block - 1) / block);
}

// Copies elements [begin, end) of a row-major destination from a source whose element for
// coordinates c is base + sum c[i] * strides[i]. Strides may be 0 or negative.
void weir__kr_copy_strided(const void *source, int64_t base, const int64_t *strides,
    void *destination, const int64_t *dims, uint32_t rank, uint32_t element_bytes, int64_t begin,
    int64_t end);

// Strides that read `from` as if broadcast (numpy) to dims. 0 when it does not broadcast.
int weir__kr_broadcast(
    const weir_kr_tensor_t *from, const int64_t *dims, uint32_t rank, int64_t *out_strides);

// The same copy, but by tables: coordinate o of axis d reads at map[d][o] (strides multiplied in),
// and any map value < 0 gives `fill` (element_bytes of it). The maps lie one after the other.
void weir__kr_copy_mapped(const void *source, const int64_t *maps, const void *fill,
    void *destination, const int64_t *dims, uint32_t rank, uint32_t element_bytes, int64_t begin,
    int64_t end);
void weir__kr_mapped_range(const weir_kr_call_t *call, int64_t *out_begin, int64_t *out_end);

// Typed dispatch: calls function_<type>(args) for the dtype and leaves the caller with its value.
#define WEIR_KR_FLOAT_CASES(function, ...)                                                         \
    case WEIR_KR_F32:                                                                              \
        return function##_f32(__VA_ARGS__);                                                        \
    case WEIR_KR_F64:                                                                              \
        return function##_f64(__VA_ARGS__);                                                        \
    case WEIR_KR_F16:                                                                              \
        return function##_f16(__VA_ARGS__);                                                        \
    case WEIR_KR_BF16:                                                                             \
        return function##_bf16(__VA_ARGS__);
#define WEIR_KR_INT_CASES(function, ...)                                                           \
    case WEIR_KR_I8:                                                                               \
        return function##_i8(__VA_ARGS__);                                                         \
    case WEIR_KR_I16:                                                                              \
        return function##_i16(__VA_ARGS__);                                                        \
    case WEIR_KR_I32:                                                                              \
        return function##_i32(__VA_ARGS__);                                                        \
    case WEIR_KR_I64:                                                                              \
        return function##_i64(__VA_ARGS__);                                                        \
    case WEIR_KR_BOOL:                                                                             \
    case WEIR_KR_U8:                                                                               \
        return function##_u8(__VA_ARGS__);                                                         \
    case WEIR_KR_U16:                                                                              \
        return function##_u16(__VA_ARGS__);                                                        \
    case WEIR_KR_U32:                                                                              \
        return function##_u32(__VA_ARGS__);                                                        \
    case WEIR_KR_U64:                                                                              \
        return function##_u64(__VA_ARGS__);

#endif
