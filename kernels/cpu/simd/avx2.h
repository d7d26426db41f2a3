// Vectors of 8 floats on AVX2 with FMA, under the names that the *_body.inc files speak.
//
// Each v_ function is one lane-wise IEEE operation, so that a body gives the same bits on every
// ISA. No reciprocal estimates, no state. See simd/plain.h for what each name means lane by lane.
#ifndef WEIR_KERNELS_CPU_SIMD_AVX2_H
#define WEIR_KERNELS_CPU_SIMD_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define WEIR_ISA(name) name##__avx2
#define V_WIDTH 8

typedef __m256 v_t;
typedef __m256i vi_t;
typedef __m256 vm_t; // all bits of a lane, or none

static inline __m256i v_tail_mask(size_t n)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
static inline v_t v_load(const float *p)
{
    return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, v_t x)
{
    _mm256_storeu_ps(p, x);
}
static inline v_t v_load_n(const float *p, size_t n)
{
    return _mm256_maskload_ps(p, v_tail_mask(n));
}
static inline void v_store_n(float *p, v_t x, size_t n)
{
    _mm256_maskstore_ps(p, v_tail_mask(n), x);
}
typedef __m256i v_lanes_t;
static inline v_lanes_t v_between(int64_t begin, int64_t end)
{
    const size_t low = begin <= 0 ? 0 : begin >= 8 ? 8 : (size_t)begin;
    const size_t high = end <= 0 ? 0 : end >= 8 ? 8 : (size_t)end;
    return _mm256_andnot_si256(v_tail_mask(low), v_tail_mask(high));
}
static inline v_t v_load_lanes(const float *p, v_lanes_t lanes)
{
    return _mm256_maskload_ps(p, lanes);
}
static inline v_t v_evens(v_t a, v_t b)
{
    const __m256i pairs = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
    return _mm256_castsi256_ps(_mm256_permute4x64_epi64(pairs, 0xd8));
}
static inline v_t v_odds(v_t a, v_t b)
{
    const __m256i pairs = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
    return _mm256_castsi256_ps(_mm256_permute4x64_epi64(pairs, 0xd8));
}
static inline v_t v_set1(float x)
{
    return _mm256_set1_ps(x);
}
static inline v_t v_add(v_t a, v_t b)
{
    return _mm256_add_ps(a, b);
}
static inline v_t v_sub(v_t a, v_t b)
{
    return _mm256_sub_ps(a, b);
}
static inline v_t v_mul(v_t a, v_t b)
{
    return _mm256_mul_ps(a, b);
}
static inline v_t v_div(v_t a, v_t b)
{
    return _mm256_div_ps(a, b);
}
static inline v_t v_sqrt(v_t a)
{
    return _mm256_sqrt_ps(a);
}
static inline v_t v_fma(v_t a, v_t b, v_t c)
{
    return _mm256_fmadd_ps(a, b, c);
}
static inline v_t v_min2(v_t a, v_t b)
{
    return _mm256_min_ps(a, b);
}
static inline v_t v_max2(v_t a, v_t b)
{
    return _mm256_max_ps(a, b);
}
static inline v_t v_and(v_t a, v_t b)
{
    return _mm256_and_ps(a, b);
}
static inline v_t v_or(v_t a, v_t b)
{
    return _mm256_or_ps(a, b);
}
static inline v_t v_xor(v_t a, v_t b)
{
    return _mm256_xor_ps(a, b);
}
static inline v_t v_nearest(v_t a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline v_t v_floor(v_t a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
static inline v_t v_ceil(v_t a)
{
    return _mm256_round_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
}
static inline vm_t v_lt(v_t a, v_t b)
{
    return _mm256_cmp_ps(a, b, _CMP_LT_OQ);
}
static inline vm_t v_le(v_t a, v_t b)
{
    return _mm256_cmp_ps(a, b, _CMP_LE_OQ);
}
static inline vm_t v_eq(v_t a, v_t b)
{
    return _mm256_cmp_ps(a, b, _CMP_EQ_OQ);
}
static inline vm_t v_isnan(v_t a)
{
    return _mm256_cmp_ps(a, a, _CMP_UNORD_Q);
}
static inline vm_t vm_not(vm_t a)
{
    return _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1)));
}
static inline v_t v_select(vm_t m, v_t a, v_t b)
{
    return _mm256_blendv_ps(b, a, m);
}
static inline void vm_store(uint32_t *p, vm_t m)
{
    _mm256_storeu_ps((float *)p, m);
}
static inline vm_t vm_load(const uint32_t *p)
{
    return _mm256_loadu_ps((const float *)p);
}
static inline vi_t v_bits(v_t a)
{
    return _mm256_castps_si256(a);
}
static inline v_t vi_float(vi_t a)
{
    return _mm256_castsi256_ps(a);
}
static inline vi_t v_to_int(v_t a)
{
    return _mm256_cvtps_epi32(a);
}
static inline v_t vi_to_float(vi_t a)
{
    return _mm256_cvtepi32_ps(a);
}
static inline vi_t vi_set1(int32_t a)
{
    return _mm256_set1_epi32(a);
}
static inline vi_t vi_add(vi_t a, vi_t b)
{
    return _mm256_add_epi32(a, b);
}
static inline vi_t vi_sub(vi_t a, vi_t b)
{
    return _mm256_sub_epi32(a, b);
}
static inline vi_t vi_and(vi_t a, vi_t b)
{
    return _mm256_and_si256(a, b);
}
static inline vi_t vi_shift_left(vi_t a, unsigned count)
{
    return _mm256_slli_epi32(a, (int)count);
}
static inline vi_t vi_shift_right(vi_t a, unsigned count) // keeps the sign
{
    return _mm256_srai_epi32(a, (int)count);
}

static inline void v_transpose(v_t *rows)
{
    v_t pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        quads[i] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        quads[i + 1] = _mm256_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        quads[i + 2] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        quads[i + 3] = _mm256_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x20);
        rows[i + 4] = _mm256_permute2f128_ps(quads[i], quads[i + 4], 0x31);
    }
}

#endif
