// backends/print/preamble.c: the types and functions that printed expressions use.
//
// Why one text for three languages: what is written once is wrong nowhere or everywhere, and the C
// form is compared with kernels/ref. A template is printed once per element type; `@` in it is the
// type's name. What languages say differently are macros, defined first.
// Formulas are those of kernels/ref/pointwise.c, in the result's own precision instead of double;
// where that would cancel (GELU, HARD_SWISH), in a form that does not.
// Not: no formula that only one language has, but for conversions of f16 where CUDA has one.
#include "backends/print/print.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define INTEGERS                                                                                   \
    (WEIR_I8 | WEIR_I16 | WEIR_I32 | WEIR_I64 | WEIR_U8 | WEIR_U16 | WEIR_U32 | WEIR_U64 |         \
        WEIR_BOOL)

// What C and CUDA C++ have in common.
static const char c_types[] = //
    "#define W_M_f32(name) name##f\n"
    "#define W_M_f64(name) name\n"
    "typedef float w_f32;\n"
    "typedef signed char w_i8;\n"
    "typedef short w_i16;\n"
    "typedef int w_i32;\n"
    "typedef long long w_i64;\n"
    "typedef unsigned char w_u8, w_bool;\n"
    "typedef unsigned short w_u16, w_f16, w_bf16;\n"
    "typedef unsigned int w_u32;\n"
    "typedef unsigned long long w_u64;\n"
    "typedef double w_f64;\n";

static const char opencl_head[] = //
    "#pragma OPENCL FP_CONTRACT OFF\n"
    "#define W_FN static inline\n"
    "#define W_M_f32(name) name\n"
    "#define W_M_f64(name) name\n"
    "typedef float w_f32;\n"
    "typedef char w_i8;\n"
    "typedef short w_i16;\n"
    "typedef int w_i32;\n"
    "typedef long w_i64;\n"
    "typedef uchar w_u8, w_bool;\n"
    "typedef ushort w_u16, w_f16, w_bf16;\n"
    "typedef uint w_u32;\n"
    "typedef ulong w_u64;\n";

static const char opencl_f64[] = //
    "#pragma OPENCL EXTENSION cl_khr_fp64 : enable\n"
    "typedef double w_f64;\n";

// Conversions of 16-bit floating point, round to nearest, ties to even.
static const char halves[] = //
    "#define W_K_f32(c) ((w_f32)(c##f))\n"
    "#define W_K_f64(c) ((w_f64)(c))\n"
    "W_FN w_f32 w_bits_f32(w_u32 b) { union { w_u32 i; w_f32 f; } u; u.i = b; return u.f; }\n"
    "W_FN w_u32 w_f32_bits(w_f32 x) { union { w_u32 i; w_f32 f; } u; u.f = x; return u.i; }\n"
    "W_FN w_f32 w_bf16_value(w_bf16 h) { return w_bits_f32((w_u32)h << 16); }\n"
    "W_FN w_bf16 w_bf16_bits(w_f32 x) {\n"
    "    w_u32 u = w_f32_bits(x);\n"
    "    if ((u & 0x7fffffffu) > 0x7f800000u) return (w_bf16)((u >> 16) | 0x40u);\n"
    "    return (w_bf16)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);\n"
    "}\n";

static const char soft_f16[] = //
    "W_FN w_f32 w_f16_value(w_f16 h) {\n"
    "    w_u32 s = (w_u32)(h & 0x8000) << 16, e = (h >> 10) & 31u, m = h & 1023u;\n"
    "    if (e == 31u) return w_bits_f32(s | 0x7f800000u | (m << 13));\n"
    "    if (e == 0u) return w_bits_f32(s | w_f32_bits((w_f32)m * 5.9604644775390625e-8f));\n"
    "    return w_bits_f32(s | ((e + 112u) << 23) | (m << 13));\n"
    "}\n"
    "W_FN w_f16 w_f16_bits(w_f32 x) {\n"
    "    w_u32 u = w_f32_bits(x), s = (u >> 16) & 0x8000u, a = u & 0x7fffffffu;\n"
    "    if (a > 0x7f800000u) return (w_f16)(s | 0x7e00u);\n"
    "    if (a >= 0x477ff000u) return (w_f16)(s | 0x7c00u);\n"
    "    if (a < 0x38800000u)\n"
    "        return (w_f16)(s | (w_u32)W_M_f32(rint)(w_bits_f32(a) * 16777216.0f));\n"
    "    return (w_f16)(s | ((a + 0xfffu + ((a >> 13) & 1u) - 0x38000000u) >> 13));\n"
    "}\n";

static const char cuda_f16[] = //
    "W_FN w_f32 w_f16_value(w_f16 h) {\n"
    "    w_f32 x; asm(\"cvt.f32.f16 %0, %1;\" : \"=f\"(x) : \"h\"(h)); return x;\n"
    "}\n"
    "W_FN w_f16 w_f16_bits(w_f32 x) {\n"
    "    w_f16 h; asm(\"cvt.rn.f16.f32 %0, %1;\" : \"=h\"(h) : \"f\"(x)); return h;\n"
    "}\n";

static const char rounded[] = //
    "W_FN w_f32 w_round_f16(w_f32 x) { return w_f16_value(w_f16_bits(x)); }\n"
    "W_FN w_f32 w_round_bf16(w_f32 x) { return w_bf16_value(w_bf16_bits(x)); }\n"
    // To f32 with the last bit set if anything was lost: a second rounding then does no harm.
    "W_FN w_f32 w_odd_u64(w_u64 m) {\n"
    "    w_f32 scale = 1.0f;\n"
    "    while (m >> 24) { m = (m >> 1) | (m & 1u); scale *= 2.0f; }\n"
    "    return (w_f32)m * scale;\n"
    "}\n"
    "W_FN w_f32 w_odd_i64(w_i64 v) {\n"
    "    return v < 0 ? -w_odd_u64(0u - (w_u64)v) : w_odd_u64((w_u64)v);\n"
    "}\n";

static const char odd_f64[] = //
    "W_FN w_f32 w_odd_f64(w_f64 d) {\n"
    "    w_f32 x = (w_f32)d;\n"
    "    w_u32 u = w_f32_bits(x);\n"
    "    if (!(d == d) || (w_f64)x == d) return x;\n"
    "    if (W_M_f64(fabs)((w_f64)x) > W_M_f64(fabs)(d)) u -= 1u;\n"
    "    return w_bits_f32(u | 1u);\n"
    "}\n";

// F32, F64 and vectors of F32. Conditions are ints or vectors of them: | and &, never || and &&.
static const char floats[] = //
    "W_FN w_@ w_neg_@(w_@ x) { return -x; }\n"
    "W_FN w_@ w_abs_@(w_@ x) { return W_M_@(fabs)(x); }\n"
    "W_FN w_@ w_sign_@(w_@ x) {\n"
    "    return x > W_K_@(0.0) ? W_K_@(1.0) : x < W_K_@(0.0) ? W_K_@(-1.0) : x;\n"
    "}\n"
    "W_FN w_@ w_reciprocal_@(w_@ x) { return W_K_@(1.0) / x; }\n"
    "W_FN w_@ w_sqrt_@(w_@ x) { return W_M_@(sqrt)(x); }\n"
    "W_FN w_@ w_exp_@(w_@ x) { return W_M_@(exp)(x); }\n"
    "W_FN w_@ w_log_@(w_@ x) { return W_M_@(log)(x); }\n"
    "W_FN w_@ w_erf_@(w_@ x) { return W_M_@(erf)(x); }\n"
    "W_FN w_@ w_sin_@(w_@ x) { return W_M_@(sin)(x); }\n"
    "W_FN w_@ w_cos_@(w_@ x) { return W_M_@(cos)(x); }\n"
    "W_FN w_@ w_tanh_@(w_@ x) { return W_M_@(tanh)(x); }\n"
    "W_FN w_@ w_sigmoid_@(w_@ x) {\n"
    "    w_@ e = W_M_@(exp)(-W_M_@(fabs)(x));\n"
    "    return (x >= W_K_@(0.0) ? W_K_@(1.0) : e) / (W_K_@(1.0) + e);\n"
    "}\n"
    "W_FN w_@ w_softplus_@(w_@ x) {\n"
    "    return W_M_@(log1p)(W_M_@(exp)(-W_M_@(fabs)(x))) + (x < W_K_@(0.0) ? W_K_@(0.0) : x);\n"
    "}\n"
    "W_FN w_@ w_relu_@(w_@ x) { return x < W_K_@(0.0) ? W_K_@(0.0) : x; }\n"
    "W_FN w_@ w_floor_@(w_@ x) { return W_M_@(floor)(x); }\n"
    "W_FN w_@ w_ceil_@(w_@ x) { return W_M_@(ceil)(x); }\n"
    "W_FN w_@ w_round_@(w_@ x) { return W_M_@(rint)(x); }\n"
    "W_FN w_@ w_min_@(w_@ x, w_@ y) { return (x < y) | (x != x) ? x : y; }\n"
    "W_FN w_@ w_max_@(w_@ x, w_@ y) { return (x > y) | (x != x) ? x : y; }\n"
    "W_FN w_@ w_clamp_@(w_@ x, w_@ a, w_@ b) {\n"
    "    w_@ y = w_min_@(w_max_@(x, a), b);\n"
    "    return a != a ? a : y;\n"
    "}\n"
    // 1 + erf(y) cancels below 0; erfc(-y) does not.
    "W_FN w_@ w_gelu_@(w_@ x) {\n"
    "    return W_K_@(0.5) * x * W_M_@(erfc)(x * W_K_@(-0.70710678118654752440));\n"
    "}\n"
    // 0.5 (1 + tanh(u)) = sigmoid(2 u).
    "W_FN w_@ w_gelu_tanh_@(w_@ x) {\n"
    "    w_@ u = W_K_@(1.59576912160573071176) * (x + W_K_@(0.044715) * x * x * x);\n"
    "    return x * w_sigmoid_@(u);\n"
    "}\n"
    "W_FN w_@ w_hard_sigmoid_@(w_@ x, w_@ p, w_@ q) {\n"
    "    return w_clamp_@(W_M_@(fma)(p, x, q), W_K_@(0.0), W_K_@(1.0));\n"
    "}\n"
    "W_FN w_@ w_hard_swish_@(w_@ x) {\n"
    "    return x * (w_clamp_@(x + W_K_@(3.0), W_K_@(0.0), W_K_@(6.0)) / W_K_@(6.0));\n"
    "}\n"
    "W_FN w_@ w_leaky_relu_@(w_@ x, w_@ p) { return x < W_K_@(0.0) ? p * x : x; }\n"
    "W_FN w_@ w_elu_@(w_@ x, w_@ p) { return x < W_K_@(0.0) ? p * W_M_@(expm1)(x) : x; }\n"
    "W_FN w_@ w_add_@(w_@ x, w_@ y) { return x + y; }\n"
    "W_FN w_@ w_sub_@(w_@ x, w_@ y) { return x - y; }\n"
    "W_FN w_@ w_mul_@(w_@ x, w_@ y) { return x * y; }\n"
    "W_FN w_@ w_div_@(w_@ x, w_@ y) { return x / y; }\n"
    "W_FN w_@ w_pow_@(w_@ x, w_@ y) { return W_M_@(pow)(x, y); }\n"
    "W_FN w_@ w_fmod_@(w_@ x, w_@ y) { return W_M_@(fmod)(x, y); }\n"
    "W_FN w_@ w_mod_@(w_@ x, w_@ y) {\n"
    "    w_@ r = W_M_@(fmod)(x, y);\n"
    "    return (r != W_K_@(0.0)) & ((r < W_K_@(0.0)) != (y < W_K_@(0.0))) ? r + y : r;\n"
    "}\n"
    "W_FN w_@ w_prelu_@(w_@ x, w_@ y) { return x < W_K_@(0.0) ? x * y : x; }\n";

// W_U_@: unsigned, at least as wide as an int. W_W_@: wraps to the type. W_L_@: is it below 0?
static const char integers[] = //
    "W_FN w_@ w_neg_@(w_@ x) { return W_W_@((W_U_@)0 - (W_U_@)x); }\n"
    "W_FN w_@ w_abs_@(w_@ x) { return W_L_@(x) ? w_neg_@(x) : x; }\n"
    "W_FN w_@ w_sign_@(w_@ x) { return W_L_@(x) ? W_W_@(-1) : W_W_@(x != 0); }\n"
    "W_FN w_@ w_relu_@(w_@ x) { return W_L_@(x) ? (w_@)0 : x; }\n"
    "W_FN w_@ w_add_@(w_@ x, w_@ y) { return W_W_@((W_U_@)x + (W_U_@)y); }\n"
    "W_FN w_@ w_sub_@(w_@ x, w_@ y) { return W_W_@((W_U_@)x - (W_U_@)y); }\n"
    "W_FN w_@ w_mul_@(w_@ x, w_@ y) { return W_W_@((W_U_@)x * (W_U_@)y); }\n"
    "W_FN w_@ w_div_@(w_@ x, w_@ y) {\n"
    "    if (y == 0) return 0;\n"
    "    return W_L_@(y) && y == (w_@)-1 ? w_neg_@(x) : W_W_@(x / y);\n"
    "}\n"
    "W_FN w_@ w_fmod_@(w_@ x, w_@ y) {\n"
    "    return y == 0 || (W_L_@(y) && y == (w_@)-1) ? (w_@)0 : W_W_@(x % y);\n"
    "}\n"
    "W_FN w_@ w_mod_@(w_@ x, w_@ y) {\n"
    "    w_@ r = w_fmod_@(x, y);\n"
    "    return r != 0 && W_L_@(r) != W_L_@(y) ? W_W_@(r + y) : r;\n"
    "}\n"
    "W_FN w_@ w_min_@(w_@ x, w_@ y) { return x < y ? x : y; }\n"
    "W_FN w_@ w_max_@(w_@ x, w_@ y) { return x < y ? y : x; }\n"
    "W_FN w_@ w_clamp_@(w_@ x, w_@ a, w_@ b) { return w_min_@(w_max_@(x, a), b); }\n"
    "W_FN w_@ w_prelu_@(w_@ x, w_@ y) { return W_L_@(x) ? w_mul_@(x, y) : x; }\n"
    "W_FN w_@ w_pow_@(w_@ x, w_i64 y, int is_unsigned) {\n"
    "    W_U_@ r = 1, b = (W_U_@)x;\n"
    "    w_u64 e = (w_u64)y;\n"
    "    if (y < 0 && !is_unsigned)\n"
    "        return (w_i64)x == 1 ? (w_@)1 : (w_i64)x == -1 ? W_W_@((y & 1) ? -1 : 1) : (w_@)0;\n"
    "    for (; e; e >>= 1) { if (e & 1u) r *= b; b *= b; }\n"
    "    return W_W_@(r);\n"
    "}\n";

typedef struct integer {
    weir_dtype_t dtype;
    int is_signed;
    const char *wide;      // W_U_@
    const char *low, *end; // powers of two: the smallest value, and one past the largest
    const char *lowest, *highest;
} integer_t;

static const integer_t table[] = {
    {WEIR_I8, 1, "w_u32", "-128.0", "128.0", "-128", "127"},
    {WEIR_I16, 1, "w_u32", "-32768.0", "32768.0", "-32768", "32767"},
    {WEIR_I32, 1, "w_u32", "-2147483648.0", "2147483648.0", "(-2147483647 - 1)", "2147483647"},
    {WEIR_I64, 1, "w_u64", "-9223372036854775808.0", "9223372036854775808.0",
        "0x8000000000000000ul", "0x7ffffffffffffffful"},
    {WEIR_U8, 0, "w_u32", "0.0", "256.0", "0", "255"},
    {WEIR_U16, 0, "w_u32", "0.0", "65536.0", "0", "65535"},
    {WEIR_U32, 0, "w_u32", "0.0", "4294967296.0", "0", "0xffffffffu"},
    {WEIR_U64, 0, "w_u64", "0.0", "18446744073709551616.0", "0", "0xfffffffffffffffful"},
};

const char *weir_print_dtype(weir_dtype_t dtype)
{
    static const char names[][5] = {
        "f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "bool"};
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (dtype == 1u << i)
            return names[i];
    return "none";
}

void weir_print_add(weir_print_t *print, const char *format, ...)
{
    const int is_full = print->length >= print->room;
    va_list arguments;
    va_start(arguments, format);
    const int count = vsnprintf(is_full ? NULL : print->text + print->length,
        is_full ? 0 : (size_t)(print->room - print->length), format, arguments);
    va_end(arguments);
    if (count > 0)
        print->length += (uint64_t)count;
}

// The template with each @ replaced.
static void add_template(weir_print_t *print, const char *text, const char *name)
{
    while (*text) {
        const size_t run = strcspn(text, "@");
        weir_print_add(print, "%.*s", (int)run, text);
        text += run;
        if (*text) {
            weir_print_add(print, "%s", name);
            text++;
        }
    }
}

static void add_integer(weir_print_t *print, const integer_t *row, weir_dtype_t dtypes)
{
    const char *name = weir_print_dtype(row->dtype);
    weir_print_add(
        print, "#define W_U_%s %s\n#define W_W_%s(x) ((w_%s)(x))\n", name, row->wide, name, name);
    weir_print_add(print, "#define W_L_%s(x) %s\n", name, row->is_signed ? "((x) < 0)" : "0");
    add_template(print, integers, name);
    for (uint32_t i = 0; i < 2; i++) {
        const weir_dtype_t from = i ? WEIR_F64 : WEIR_F32;
        const char *source = weir_print_dtype(from);
        if (i && !(dtypes & WEIR_F64))
            continue;
        weir_print_add(print,
            "W_FN w_%s w_%s_to_%s(w_%s x) {\n"
            "    if (!(x == x)) return 0;\n"
            "    if (x >= W_K_%s(%s)) return (w_%s)%s;\n"
            "    return x <= W_K_%s(%s) ? (w_%s)%s : (w_%s)x;\n}\n",
            name, source, name, source, source, row->end, name, row->highest, source, row->low,
            name, row->lowest, name);
    }
}

void weir_print_preamble(
    weir_print_t *print, weir_print_dialect_t dialect, weir_dtype_t dtypes, uint32_t lanes)
{
    if (dialect == WEIR_PRINT_C)
        weir_print_add(print, "#include <math.h>\n#define W_FN static inline\n");
    else if (dialect == WEIR_PRINT_CUDA)
        weir_print_add(print, "#define W_FN static __device__ __forceinline__\n");
    weir_print_add(print, "%s", dialect == WEIR_PRINT_OPENCL ? opencl_head : c_types);
    if (dialect == WEIR_PRINT_OPENCL && (dtypes & WEIR_F64))
        weir_print_add(print, "%s", opencl_f64);
    weir_print_add(print, "%s", halves);
    // The fakes of the tests compile CUDA sources for the host.
    if (dialect == WEIR_PRINT_CUDA)
        weir_print_add(print, "#ifdef __CUDA_ARCH__\n%s#else\n%s#endif\n", cuda_f16, soft_f16);
    else
        weir_print_add(print, "%s", soft_f16);
    weir_print_add(print, "%s", rounded);
    add_template(print, floats, "f32");
    if (dtypes & WEIR_F64) {
        weir_print_add(print, "%s", odd_f64);
        add_template(print, floats, "f64");
    }
    for (uint32_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (dtypes & table[i].dtype & INTEGERS)
            add_integer(print, &table[i], dtypes);
    if (dtypes & WEIR_BOOL) {
        weir_print_add(print, "#define W_U_bool w_u32\n#define W_W_bool(x) ((w_bool)((x) != 0))\n"
                              "#define W_L_bool(x) 0\n");
        add_template(print, integers, "bool");
    }
    if (lanes > 1) {
        char name[16];
        (void)snprintf(name, sizeof name, "f32x%u", lanes);
        weir_print_add(
            print, "typedef float%u w_%s;\ntypedef int%u w_boolx%u;\n", lanes, name, lanes, lanes);
        weir_print_add(print, "#define W_M_%s(name) name\n#define W_K_%s(c) ((w_%s)(c##f))\n", name,
            name, name);
        add_template(print, floats, name);
    }
}
