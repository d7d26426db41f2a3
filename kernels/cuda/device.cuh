// kernels/cuda/device.cuh: the few words that kernel bodies are written in.
//
// What: nvcc reads a body as CUDA C++, a C compiler as C17, where threads are emulated
//       (kernels/cuda/emulated.h). So bodies keep to what both languages share, and say
//       WEIR_THREAD and WEIR_SYNC() instead of threadIdx.x and __syncthreads().
// Not:  a body declares no shared memory; it gets a struct of its own type (kernels.inc).
#ifndef WEIR_KERNELS_CUDA_DEVICE_CUH
#define WEIR_KERNELS_CUDA_DEVICE_CUH

#include "kernels/cuda/params.h"

typedef float weir_f32_t;
typedef uint16_t weir_f16_t;
typedef uint16_t weir_bf16_t;

#ifdef __CUDACC__

#define WEIR_DEVICE static __device__ __forceinline__
#define WEIR_UNROLL _Pragma("unroll")
#define WEIR_UNROLL_4 _Pragma("unroll 4")
#define WEIR_ALIGNED(bytes) __attribute__((aligned(bytes)))
#define WEIR_THREAD threadIdx.x
#define WEIR_THREADS blockDim.x
#define WEIR_BLOCK_X blockIdx.x
#define WEIR_BLOCK_Y blockIdx.y
#define WEIR_BLOCK_Z blockIdx.z
#define WEIR_BLOCKS_Z gridDim.z
#define WEIR_SYNC() __syncthreads()
#define WEIR_SYNC_WARP() __syncwarp()

WEIR_DEVICE float weir_shuffle_xor(float value, uint32_t mask)
{
    return __shfl_xor_sync(0xffffffffu, value, (int)mask);
}

WEIR_DEVICE uint32_t weir_high(uint32_t a, uint32_t b)
{
    return __umulhi(a, b);
}

WEIR_DEVICE void weir_report(uint32_t *word, uint32_t bits)
{
    atomicOr(word, bits);
}

WEIR_DEVICE float weir_f16_value(weir_f16_t bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

WEIR_DEVICE weir_f16_t weir_f16_bits(float value)
{
    weir_f16_t bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}

WEIR_DEVICE float weir_bf16_value(weir_bf16_t bits)
{
    return __uint_as_float((uint32_t)bits << 16);
}

WEIR_DEVICE weir_bf16_t weir_bf16_bits(float value)
{
    const uint32_t u = __float_as_uint(value);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (weir_bf16_t)((u >> 16) | 0x40u);
    return (weir_bf16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

#else
#include "kernels/cuda/emulated.h"
#endif

#define WEIR_NEGATIVE_INFINITY (-INFINITY)

// Elements by type, computed in float.
WEIR_DEVICE float weir_get_f32(const weir_f32_t *p, uint64_t i)
{
    return p[i];
}

WEIR_DEVICE void weir_put_f32(weir_f32_t *p, uint64_t i, float value)
{
    p[i] = value;
}

WEIR_DEVICE float weir_get_f16(const weir_f16_t *p, uint64_t i)
{
    return weir_f16_value(p[i]);
}

WEIR_DEVICE void weir_put_f16(weir_f16_t *p, uint64_t i, float value)
{
    p[i] = weir_f16_bits(value);
}

WEIR_DEVICE float weir_get_bf16(const weir_bf16_t *p, uint64_t i)
{
    return weir_bf16_value(p[i]);
}

WEIR_DEVICE void weir_put_bf16(weir_bf16_t *p, uint64_t i, float value)
{
    p[i] = weir_bf16_bits(value);
}

// n / divisor and n % divisor of an n below 2^31.
WEIR_DEVICE uint32_t weir_divide(uint32_t n, weir_cuda_divider_t by, uint32_t *out_rest)
{
    const uint32_t quotient = (weir_high(n, by.magic) + n) >> by.shift;
    *out_rest = n - quotient * by.divisor;
    return quotient;
}

// ---- Over a block -------------------------------------------------------------------------------

// A block has whole warps, at most 32.
typedef struct weir_cuda_partials {
    float of_warp[32];
} weir_cuda_partials_t;

typedef struct weir_cuda_nothing {
    char unused;
} weir_cuda_nothing_t;

WEIR_DEVICE float weir_warp_sum(float value)
{
    for (uint32_t mask = 16; mask; mask >>= 1)
        value += weir_shuffle_xor(value, mask);
    return value;
}

// The greatest that is a number: what is no number shows in the sum that follows.
WEIR_DEVICE float weir_warp_max(float value)
{
    for (uint32_t mask = 16; mask; mask >>= 1)
        value = fmaxf(value, weir_shuffle_xor(value, mask));
    return value;
}

// Every thread gets the result. The partials may be used again at once.
WEIR_DEVICE float weir_block_sum(float value, weir_cuda_partials_t *partials)
{
    const uint32_t lane = WEIR_THREAD % 32, warp = WEIR_THREAD / 32, warps = WEIR_THREADS / 32;
    value = weir_warp_sum(value);
    if (lane == 0)
        partials->of_warp[warp] = value;
    WEIR_SYNC();
    value = weir_warp_sum(lane < warps ? partials->of_warp[lane] : 0.0f);
    WEIR_SYNC();
    return value;
}

WEIR_DEVICE float weir_block_max(float value, weir_cuda_partials_t *partials)
{
    const uint32_t lane = WEIR_THREAD % 32, warp = WEIR_THREAD / 32, warps = WEIR_THREADS / 32;
    value = weir_warp_max(value);
    if (lane == 0)
        partials->of_warp[warp] = value;
    WEIR_SYNC();
    value = weir_warp_max(lane < warps ? partials->of_warp[lane] : WEIR_NEGATIVE_INFINITY);
    WEIR_SYNC();
    return value;
}

WEIR_DEVICE float weir_finish(float value, uint32_t finish)
{
    if (finish == WEIR_CUDA_FINISH_RELU)
        return value < 0.0f ? 0.0f : value;
    if (finish == WEIR_CUDA_FINISH_GELU_TANH) {
        const float u = 1.5957691216057308f * (value + 0.044715f * value * value * value);
        return value / (1.0f + expf(-u));
    }
    return value;
}

// ---- Names by element type ----------------------------------------------------------------------

#define WEIR_JOIN_(a, b, c) a##b##c
#define WEIR_JOIN(a, b, c) WEIR_JOIN_(a, b, c)
// Inside a file that each_float.cuh includes, T is f32, f16 or bf16.
#define WEIR_BODY(stem) WEIR_JOIN(weir_k_##stem##_, T, _body)
#define WEIR_LOCAL(stem) WEIR_JOIN(weir__##stem##_, T, )
#define WEIR_STORED WEIR_JOIN(weir_, T, _t)
#define WEIR_GET WEIR_JOIN(weir_get_, T, )
#define WEIR_PUT WEIR_JOIN(weir_put_, T, )

#endif
