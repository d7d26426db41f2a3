// weir/value.h: tensors that go into a run and come out of it.
#ifndef WEIR_VALUE_H
#define WEIR_VALUE_H

#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum weir_placement {
    WEIR_PLACE_CALLER = 0, // `data` is the caller's buffer of capacity_bytes
    WEIR_PLACE_VIEW =
        1, // output only: `data` is set to the session's memory, valid until its next run
} weir_placement_t;

// A dense row-major tensor in host memory. A plain struct: nothing to create, nothing to free.
typedef struct weir_value {
    void *data;
    uint64_t capacity_bytes; // of `data`
    weir_dtype_t dtype;      // exactly one WEIR_* dtype bit
    uint32_t rank;
    uint32_t placement; // weir_placement_t
    uint32_t reserved;
    int64_t dims[WEIR_RANK_MAX]; // [rank]
} weir_value_t;

// An input of any dtype. dims: [rank]. capacity_bytes is computed from dims (0 when they overflow
// or are negative: the run then refuses the value). rank > WEIR_RANK_MAX is kept and refused
// likewise. Owns: nothing; data outlives the run. Threads: any. Errors: none, a bad value is
// refused by the run.
WEIR_API weir_value_t weir_tensor(
    weir_dtype_t dtype, const void *data, uint32_t rank, const int64_t *dims);

// An output into the caller's buffer. Threads: any. Errors: none.
WEIR_API weir_value_t weir_output(weir_dtype_t dtype, void *data, uint64_t capacity_bytes);

// An output as a view into the session's memory: dtype, rank, dims and data are filled in by the
// run. Threads: any. Errors: none.
WEIR_API weir_value_t weir_view(void);

// Product of dims; 0 for a zero dim. Threads: any. Errors: none (an overflow gives UINT64_MAX).
WEIR_API uint64_t weir_value_count(const weir_value_t *value);

// "f32", "i64", "bool" …; "?" for anything that is not one dtype. Threads: any. Errors: none.
WEIR_API const char *weir_dtype_name(weir_dtype_t dtype);

// rank first, then dims: weir_i64(ids, 2, 1, 4) is [1, 4]; weir_i64(&rate, 0) is a scalar.
#ifndef __cplusplus
#define WEIR_TENSOR_OF(dtype, data, ...)                                                           \
    weir_tensor((dtype), (data), (uint32_t)((const int64_t[]){__VA_ARGS__})[0],                    \
        &((const int64_t[]){__VA_ARGS__, 0})[1])
#define weir_f32(data, ...) WEIR_TENSOR_OF(WEIR_F32, data, __VA_ARGS__)
#define weir_i32(data, ...) WEIR_TENSOR_OF(WEIR_I32, data, __VA_ARGS__)
#define weir_i64(data, ...) WEIR_TENSOR_OF(WEIR_I64, data, __VA_ARGS__)
#define weir_u8(data, ...) WEIR_TENSOR_OF(WEIR_U8, data, __VA_ARGS__)
#endif
// count: elements the buffer can hold.
#define weir_f32_out(data, count) weir_output(WEIR_F32, (data), (uint64_t)(count)*4)
#define weir_i64_out(data, count) weir_output(WEIR_I64, (data), (uint64_t)(count)*8)

#ifdef __cplusplus
}
#endif
#endif
