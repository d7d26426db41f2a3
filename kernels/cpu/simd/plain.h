// "Vectors" of one float in plain C: the floor that runs anywhere, and the meaning of each v_ name.
//
// fmaf() is one rounding here as in the vector ISAs, so the bodies give the same bits on all of
// them; where the machine has no FMA instruction that is slow, and right. No state.
#ifndef WEIR_KERNELS_CPU_SIMD_PLAIN_H
#define WEIR_KERNELS_CPU_SIMD_PLAIN_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WEIR_ISA(name) name##__plain
#define V_WIDTH 1

typedef float v_t;
typedef int32_t vi_t;
typedef uint32_t vm_t; // all bits or none

static inline vi_t v_bits(v_t a)
{
    vi_t bits;
    memcpy(&bits, &a, sizeof(bits));
    return bits;
}
static inline v_t vi_float(vi_t a)
{
    v_t x;
    memcpy(&x, &a, sizeof(x));
    return x;
}
static inline v_t v_load(const float *p)
{
    return *p;
}
static inline void v_store(float *p, v_t x)
{
    *p = x;
}
static inline v_t v_load_n(const float *p, size_t n)
{
    return n ? *p : 0.0f;
}
static inline void v_store_n(float *p, v_t x, size_t n)
{
    if (n)
        *p = x;
}
// Lanes [begin, end); what lies at p in those, 0 elsewhere. Nothing else is read.
typedef int v_lanes_t;
static inline v_lanes_t v_between(int64_t begin, int64_t end)
{
    return begin <= 0 && end > 0;
}
static inline v_t v_load_lanes(const float *p, v_lanes_t lanes)
{
    return lanes ? *p : 0.0f;
}
// Every second lane of a and b side by side, from the first or the second on.
static inline v_t v_evens(v_t a, v_t b)
{
    (void)b;
    return a;
}
static inline v_t v_odds(v_t a, v_t b)
{
    (void)a;
    return b;
}
static inline v_t v_set1(float x)
{
    return x;
}
static inline v_t v_add(v_t a, v_t b)
{
    return a + b;
}
static inline v_t v_sub(v_t a, v_t b)
{
    return a - b;
}
static inline v_t v_mul(v_t a, v_t b)
{
    return a * b;
}
static inline v_t v_div(v_t a, v_t b)
{
    return a / b;
}
static inline v_t v_sqrt(v_t a)
{
    return sqrtf(a);
}
static inline v_t v_fma(v_t a, v_t b, v_t c)
{
    return fmaf(a, b, c);
}
// As the instructions have it: b wherever the comparison is false (a NaN, zeros of both signs).
static inline v_t v_min2(v_t a, v_t b)
{
    return a < b ? a : b;
}
static inline v_t v_max2(v_t a, v_t b)
{
    return a > b ? a : b;
}
static inline v_t v_and(v_t a, v_t b)
{
    return vi_float(v_bits(a) & v_bits(b));
}
static inline v_t v_or(v_t a, v_t b)
{
    return vi_float(v_bits(a) | v_bits(b));
}
static inline v_t v_xor(v_t a, v_t b)
{
    return vi_float(v_bits(a) ^ v_bits(b));
}
static inline v_t v_nearest(v_t a) // ties to even
{
    return nearbyintf(a);
}
static inline v_t v_floor(v_t a)
{
    return floorf(a);
}
static inline v_t v_ceil(v_t a)
{
    return ceilf(a);
}
static inline vm_t v_lt(v_t a, v_t b)
{
    return a < b ? UINT32_MAX : 0;
}
static inline vm_t v_le(v_t a, v_t b)
{
    return a <= b ? UINT32_MAX : 0;
}
static inline vm_t v_eq(v_t a, v_t b)
{
    return a == b ? UINT32_MAX : 0;
}
static inline vm_t v_isnan(v_t a)
{
    return a != a ? UINT32_MAX : 0;
}
static inline vm_t vm_not(vm_t a)
{
    return ~a;
}
static inline v_t v_select(vm_t m, v_t a, v_t b)
{
    return m ? a : b;
}
static inline void vm_store(uint32_t *p, vm_t m)
{
    *p = m;
}
static inline vm_t vm_load(const uint32_t *p)
{
    return *p;
}
// Of an integral a; NaN and what does not fit give INT32_MIN, as the instructions have it.
static inline vi_t v_to_int(v_t a)
{
    return a >= -2147483648.0f && a < 2147483648.0f ? (vi_t)nearbyintf(a) : INT32_MIN;
}
static inline v_t vi_to_float(vi_t a)
{
    return (float)a;
}
static inline vi_t vi_set1(int32_t a)
{
    return a;
}
static inline vi_t vi_add(vi_t a, vi_t b)
{
    return (vi_t)((uint32_t)a + (uint32_t)b);
}
static inline vi_t vi_sub(vi_t a, vi_t b)
{
    return (vi_t)((uint32_t)a - (uint32_t)b);
}
static inline vi_t vi_and(vi_t a, vi_t b)
{
    return a & b;
}
static inline vi_t vi_shift_left(vi_t a, unsigned count)
{
    return (vi_t)((uint32_t)a << count);
}
static inline vi_t vi_shift_right(vi_t a, unsigned count) // keeps the sign
{
    return a >> count;
}

static inline void v_transpose(v_t *rows) // a square of V_WIDTH by V_WIDTH
{
    (void)rows;
}

#endif
