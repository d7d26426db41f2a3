// kernels/opencl/common/prelude.cl: stands in front of every source.
//
// A tensor is a buffer and a byte offset: all tensors of a run lie in a few large buffers. WEIR_GO
// is 0 for a launch that only makes the driver compile (drivers do at the first launch), which must
// not touch memory: a kernel without barriers begins with WEIR_START, one with barriers, in front of
// which a return is asking for trouble, has nothing to do then.
//
// WEIR_LX, WEIR_LY, WEIR_LZ (the work-group) and WEIR_FAMILY_GPU or WEIR_FAMILY_CPU are defined
// before this.
#pragma OPENCL FP_CONTRACT OFF

#ifdef cl_khr_fp64
#pragma OPENCL EXTENSION cl_khr_fp64 : enable
#endif

#define WEIR_KERNEL(name)                                                                          \
    __kernel __attribute__((reqd_work_group_size(WEIR_LX, WEIR_LY, WEIR_LZ))) void name
#define WEIR_GO const int weir_go
#define WEIR_START                                                                                 \
    if (!weir_go)                                                                                  \
        return;
// Parameters: a tensor, and one that is only read and that nothing written here overlaps.
#define WEIR_TENSOR(type, name) __global type *name##_base, const ulong name##_at
#define WEIR_INPUT(type, name) __global const type *restrict name##_base, const ulong name##_at
// The first statement about each: a pointer of that name.
#define WEIR_POINTER(type, name)                                                                   \
    __global type *const name = (__global type *)((__global uchar *)name##_base + name##_at)
#define WEIR_CONST_POINTER(type, name)                                                             \
    __global const type *const name =                                                              \
        (__global const type *)((__global const uchar *)name##_base + name##_at)
// Errors that only data tell: an index out of range, a divisor of 0. 1 is INVALID_ARGUMENT.
#define WEIR_ERROR __global int *weir_error_base, const ulong weir_error_at
#define WEIR_FAIL(code)                                                                            \
    (*(__global int *)((__global uchar *)weir_error_base + weir_error_at) = (code))

