// Vectors of 16 floats on AVX-512 (F, BW, DQ, VL), under the names that the *_body.inc files speak.
//
// Each v_ function is one lane-wise IEEE operation, so that a body gives the same bits on every
// ISA. No reciprocal estimates, no instruction that only this ISA has, no state. See simd/plain.h
// for what each name means lane by lane.
#ifndef WEIR_KERNELS_CPU_SIMD_AVX512_H
#define WEIR_KERNELS_CPU_SIMD_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#define WEIR_ISA(name) name##__avx512
#define V_WIDTH 16

typedef __m512 v_t;
typedef __m512i vi_t;
typedef __mmask16 vm_t;

static inline vm_t v_tail_mask(size_t n)
{
    return (vm_t)((1u << n) - 1u);
}
static inline v_t v_load(const float *p)
{
    return _mm512_loadu_ps(p);
}
static inline void v_store(float *p, v_t x)
{
    _mm512_storeu_ps(p, x);
}
static inline v_t v_load_n(const float *p, size_t n)
{
    return _mm512_maskz_loadu_ps(v_tail_mask(n), p);
}
static inline void v_store_n(float *p, v_t x, size_t n)
{
    _mm512_mask_storeu_ps(p, v_tail_mask(n), x);
}
typedef vm_t v_lanes_t;
static inline v_lanes_t v_between(int64_t begin, int64_t end)
{
    const unsigned low = begin <= 0 ? 0 : begin >= 16 ? 16 : (unsigned)begin;
    const unsigned high = end <= 0 ? 0 : end >= 16 ? 16 : (unsigned)end;
    return (vm_t)(((1u << high) - 1u) & ~((1u << low) - 1u));
}
static inline v_t v_load_lanes(const float *p, v_lanes_t lanes)
{
    return _mm512_maskz_loadu_ps(lanes, p);
}
static inline v_t v_evens(v_t a, v_t b)
{
    const __m512i lanes =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    return _mm512_permutex2var_ps(a, lanes, b);
}
static inline v_t v_odds(v_t a, v_t b)
{
    const __m512i lanes =
        _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_ps(a, lanes, b);
}
static inline v_t v_set1(float x)
{
    return _mm512_set1_ps(x);
}
static inline v_t v_add(v_t a, v_t b)
{
    return _mm512_add_ps(a, b);
}
static inline v_t v_sub(v_t a, v_t b)
{
    return _mm512_sub_ps(a, b);
}
static inline v_t v_mul(v_t a, v_t b)
{
    return _mm512_mul_ps(a, b);
}
static inline v_t v_div(v_t a, v_t b)
{
    return _mm512_div_ps(a, b);
}
static inline v_t v_sqrt(v_t a)
{
    return _mm512_sqrt_ps(a);
}
static inline v_t v_fma(v_t a, v_t b, v_t c)
{
    return _mm512_fmadd_ps(a, b, c);
}
static inline v_t v_min2(v_t a, v_t b)
{
    return _mm512_min_ps(a, b);
}
static inline v_t v_max2(v_t a, v_t b)
{
    return _mm512_max_ps(a, b);
}
static inline v_t v_and(v_t a, v_t b)
{
    return _mm512_and_ps(a, b);
}
static inline v_t v_or(v_t a, v_t b)
{
    return _mm512_or_ps(a, b);
}
static inline v_t v_xor(v_t a, v_t b)
{
    return _mm512_xor_ps(a, b);
}
static inline v_t v_nearest(v_t a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
static inline v_t v_floor(v_t a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
static inline v_t v_ceil(v_t a)
{
    return _mm512_roundscale_ps(a, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC);
}
static inline vm_t v_lt(v_t a, v_t b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ);
}
static inline vm_t v_le(v_t a, v_t b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_LE_OQ);
}
static inline vm_t v_eq(v_t a, v_t b)
{
    return _mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ);
}
static inline vm_t v_isnan(v_t a)
{
    return _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q);
}
static inline vm_t vm_not(vm_t a)
{
    return (vm_t)~a;
}
static inline v_t v_select(vm_t m, v_t a, v_t b)
{
    return _mm512_mask_blend_ps(m, b, a);
}
static inline void vm_store(uint32_t *p, vm_t m)
{
    _mm512_storeu_si512(p, _mm512_movm_epi32(m));
}
static inline vm_t vm_load(const uint32_t *p)
{
    return _mm512_movepi32_mask(_mm512_loadu_si512(p));
}
static inline vi_t v_bits(v_t a)
{
    return _mm512_castps_si512(a);
}
static inline v_t vi_float(vi_t a)
{
    return _mm512_castsi512_ps(a);
}
static inline vi_t v_to_int(v_t a)
{
    return _mm512_cvtps_epi32(a);
}
static inline v_t vi_to_float(vi_t a)
{
    return _mm512_cvtepi32_ps(a);
}
static inline vi_t vi_set1(int32_t a)
{
    return _mm512_set1_epi32(a);
}
static inline vi_t vi_add(vi_t a, vi_t b)
{
    return _mm512_add_epi32(a, b);
}
static inline vi_t vi_sub(vi_t a, vi_t b)
{
    return _mm512_sub_epi32(a, b);
}
static inline vi_t vi_and(vi_t a, vi_t b)
{
    return _mm512_and_si512(a, b);
}
static inline vi_t vi_shift_left(vi_t a, unsigned count)
{
    return _mm512_slli_epi32(a, count);
}
static inline vi_t vi_shift_right(vi_t a, unsigned count) // keeps the sign
{
    return _mm512_srai_epi32(a, count);
}

static inline void v_transpose(v_t *rows)
{
    v_t pairs[16], quads[16], halves[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_ps(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_ps(rows[i], rows[i + 1]);
    }
    // quads[4 g + j]: column 4 l + j of rows 4 g to 4 g + 3 in 128-bit lane l.
    for (int i = 0; i < 16; i += 4) {
        quads[i] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0x44);
        quads[i + 1] = _mm512_shuffle_ps(pairs[i], pairs[i + 2], 0xee);
        quads[i + 2] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0x44);
        quads[i + 3] = _mm512_shuffle_ps(pairs[i + 1], pairs[i + 3], 0xee);
    }
    for (int j = 0; j < 4; j++) {
        halves[j] = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0x88);
        halves[4 + j] = _mm512_shuffle_f32x4(quads[j], quads[4 + j], 0xdd);
        halves[8 + j] = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0x88);
        halves[12 + j] = _mm512_shuffle_f32x4(quads[8 + j], quads[12 + j], 0xdd);
    }
    for (int j = 0; j < 4; j++) {
        rows[j] = _mm512_shuffle_f32x4(halves[j], halves[8 + j], 0x88);
        rows[8 + j] = _mm512_shuffle_f32x4(halves[j], halves[8 + j], 0xdd);
        rows[4 + j] = _mm512_shuffle_f32x4(halves[4 + j], halves[12 + j], 0x88);
        rows[12 + j] = _mm512_shuffle_f32x4(halves[4 + j], halves[12 + j], 0xdd);
    }
}

#endif
