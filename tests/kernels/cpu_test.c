// Goal:   every CPU kernel, on every ISA of this machine, gives what its row in kernels.inc
// promises. Method: each is compared with a plain formula in long double, over sizes around its
// tile, special values
//         and wide random ones; then with the other ISAs, with itself in pieces and at other
//         places, by bytes (any NaN counts as equal to any). A row without a reference here fails.
#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/cpu.h"

typedef enum element { ELEMENT_F32, ELEMENT_I32, ELEMENT_I64, ELEMENT_MASK } element_t;
typedef enum measure { MEASURE_ULP, MEASURE_ABS, MEASURE_SUM } measure_t;

// What a row says, and where its kernel lies in a table.
typedef struct row {
    const char *family, *name;
    int inputs;
    element_t in, out;
    measure_t measure;
    double budget;
    size_t offset;
} row_t;

#define ULP(n) MEASURE_ULP, n
#define ABS(n) MEASURE_ABS, n
#define SUM(n) MEASURE_SUM, n
static const row_t rows[] = {
#define WEIR_KERNEL(family, kernel, inputs, in, out, budget)                                       \
    {#family, #kernel, inputs, ELEMENT_##in, ELEMENT_##out, budget,                                \
        offsetof(weir_k_table_t, kernel)},
#include "kernels/cpu/kernels.inc"
};

static const weir_k_table_t *tables[3];
static size_t table_count;

static uint32_t random_state = 1;
static uint32_t random_bits(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static float random_near(float span)
{
    return ((float)(random_bits() >> 8) / 8388608.0f - 1.0f) * span;
}

static void fill_near(float *to, size_t count)
{
    for (size_t i = 0; i < count; i++)
        to[i] = random_near(1.0f);
}

static float float_of(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

// Equal bits, or both NaN.
static int same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof(a)) == 0;
}

static void assert_same(const float *a, const float *b, size_t count, const char *what)
{
    for (size_t i = 0; i < count; i++)
        if (!same(a[i], b[i]))
            fail_msg("%s: element %zu is %a and %a", what, i, (double)a[i], (double)b[i]);
}

// -----------------------------------------------------------------------------------------
// references

typedef long double number_t;
static const weir_k_immediates_t immediates = {{0.2f, 0.45f}};
#define FIRST ((number_t)immediates.f[0])
#define SECOND ((number_t)immediates.f[1])

typedef number_t reference_t(number_t a, number_t b, number_t c);
#define REFERENCE(name, expression)                                                                \
    static number_t ref_##name(number_t a, number_t b, number_t c)                                 \
    {                                                                                              \
        (void)a;                                                                                   \
        (void)b;                                                                                   \
        (void)c;                                                                                   \
        return (number_t)(expression);                                                             \
    }
#define WRAP(a) ((uint64_t)(int64_t)(a))

REFERENCE(neg, -a)
REFERENCE(abs, fabsl(a))
REFERENCE(sign, a > 0 ? 1.0L : a < 0 ? -1.0L : a)
REFERENCE(reciprocal, 1.0L / a)
REFERENCE(sqrt, sqrtl(a))
REFERENCE(exp, expl(a))
REFERENCE(log, logl(a))
REFERENCE(erf, erfl(a))
REFERENCE(sin, sinl(a))
REFERENCE(cos, cosl(a))
REFERENCE(tanh, tanhl(a))
REFERENCE(sigmoid, 1.0L / (1.0L + expl(-a)))
REFERENCE(softplus, a > 0 ? a + log1pl(expl(-a)) : log1pl(expl(a)))
REFERENCE(relu, a < 0 ? 0.0L : a)
REFERENCE(floor, floorl(a))
REFERENCE(ceil, ceill(a))
REFERENCE(round, nearbyintl(a))
REFERENCE(gelu, 0.5L * a * erfcl(-a / sqrtl(2.0L)))
static number_t ref_gelu_tanh(number_t a, number_t b, number_t c)
{
    (void)b;
    (void)c;
    // x^3 overflows f32 to the infinity of its sign, which changes nothing: the sigmoid is 0 or 1
    // there.
    return a / (1.0L + expl(-2.0L * sqrtl(2.0L / acosl(-1.0L)) * (a + 0.044715L * a * a * a)));
}
REFERENCE(hard_sigmoid, isnan(a) ? a : fmaxl(0, fminl(1, FIRST *a + SECOND)))
REFERENCE(hard_swish, isnan(a) ? a : a *fmaxl(0, fminl(1, a / 6 + 0.5L)))
REFERENCE(leaky_relu, a < 0 ? FIRST * a : a)
REFERENCE(elu, a < 0 ? FIRST * expm1l(a) : a)
REFERENCE(isnan, isnan(a) ? -1 : 0)
REFERENCE(add, a + b)
REFERENCE(sub, a - b)
REFERENCE(mul, a *b)
REFERENCE(div, a / b)
REFERENCE(pow, pow((double)a, (double)b)) // powl() is wrong for -inf to the -2^63
static number_t ref_mod(number_t a, number_t b, number_t c)
{
    (void)c;
    const number_t r = fmodl(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}
REFERENCE(fmod, fmodl(a, b))
REFERENCE(min, isnan(a) || isnan(b) ? (number_t)NAN : fminl(a, b))
REFERENCE(max, isnan(a) || isnan(b) ? (number_t)NAN : fmaxl(a, b))
REFERENCE(prelu, a < 0 ? a * b : a)
REFERENCE(eq, a == b ? -1 : 0)
REFERENCE(lt, a < b ? -1 : 0)
REFERENCE(le, a <= b ? -1 : 0)
REFERENCE(clamp, isnan(a) || isnan(b) || isnan(c) ? (number_t)NAN : fminl(fmaxl(a, b), c))
REFERENCE(select, a != 0 ? b : c)
REFERENCE(and, (int64_t)a &(int64_t)b)
REFERENCE(or, (int64_t)a | (int64_t)b)
REFERENCE(xor, (int64_t)a ^ (int64_t)b)
REFERENCE(not, ~(int64_t)a)
REFERENCE(neg_i, (int64_t)(0 - WRAP(a)))
REFERENCE(abs_i, (int64_t)(a < 0 ? 0 - WRAP(a) : WRAP(a)))
REFERENCE(add_i, (int64_t)(WRAP(a) + WRAP(b)))
REFERENCE(sub_i, (int64_t)(WRAP(a) - WRAP(b)))
REFERENCE(mul_i, (int64_t)(WRAP(a) * WRAP(b)))
REFERENCE(to_number, a)
REFERENCE(to_mask, isnan(a) || a != 0 ? -1 : 0)
REFERENCE(from_mask, a != 0 ? 1 : 0)
REFERENCE(to_i32, isnan(a) ? 0 : truncl(fmaxl(INT32_MIN, fminl(INT32_MAX, a))))
REFERENCE(to_i64, isnan(a) ? 0 : truncl(fmaxl((number_t)INT64_MIN, fminl((number_t)INT64_MAX, a))))

// The longest prefix of a row's name decides.
static const struct {
    const char *prefix;
    reference_t *reference;
} references[] = {{"neg_f", ref_neg}, {"abs_f", ref_abs}, {"sign_f", ref_sign},
    {"reciprocal_f", ref_reciprocal}, {"sqrt_f", ref_sqrt}, {"exp_f", ref_exp}, {"log_f", ref_log},
    {"erf_f", ref_erf}, {"sin_f", ref_sin}, {"cos_f", ref_cos}, {"tanh_f", ref_tanh},
    {"sigmoid_f", ref_sigmoid}, {"softplus_f", ref_softplus}, {"relu_f", ref_relu},
    {"floor_f", ref_floor}, {"ceil_f", ref_ceil}, {"round_f", ref_round}, {"gelu_f", ref_gelu},
    {"gelu_tanh_f", ref_gelu_tanh}, {"hard_sigmoid_f", ref_hard_sigmoid},
    {"hard_swish_f", ref_hard_swish}, {"leaky_relu_f", ref_leaky_relu}, {"elu_f", ref_elu},
    {"isnan_f", ref_isnan}, {"add_f", ref_add}, {"sub_f", ref_sub}, {"mul_f", ref_mul},
    {"div_f", ref_div}, {"pow_f", ref_pow}, {"mod_f", ref_mod}, {"fmod_f", ref_fmod},
    {"min_", ref_min}, {"max_", ref_max}, {"prelu_f", ref_prelu}, {"eq_", ref_eq}, {"lt_", ref_lt},
    {"le_", ref_le}, {"clamp_f", ref_clamp}, {"select_", ref_select}, {"and_", ref_and},
    {"or_", ref_or}, {"xor_", ref_xor}, {"not_", ref_not}, {"neg_i", ref_neg_i},
    {"abs_i", ref_abs_i}, {"add_i", ref_add_i}, {"sub_i", ref_sub_i}, {"mul_i", ref_mul_i},
    {"cast_f32_i32", ref_to_i32}, {"cast_f32_i64", ref_to_i64}, {"cast_f32_mask", ref_to_mask},
    {"cast_i32_f32", ref_to_number}, {"cast_i32_i64", ref_to_number},
    {"cast_i32_mask", ref_to_mask}, {"cast_i64_f32", ref_to_number},
    {"cast_i64_i32", ref_to_number}, {"cast_i64_mask", ref_to_mask}, {"cast_mask_", ref_from_mask}};

static reference_t *reference_of(const char *name)
{
    for (size_t i = 0; i < sizeof(references) / sizeof(*references); i++)
        if (!strncmp(name, references[i].prefix, strlen(references[i].prefix)))
            return references[i].reference;
    return NULL;
}

// -----------------------------------------------------------------------------------------
// kernels

#define MAP_COUNT 4096u

static size_t element_bytes(element_t element)
{
    return element == ELEMENT_I64 ? 8 : 4;
}

static number_t element_at(const void *data, element_t element, size_t i)
{
    switch (element) {
    case ELEMENT_F32:
        return (number_t)((const float *)data)[i];
    case ELEMENT_I64:
        return (number_t)((const int64_t *)data)[i];
    case ELEMENT_I32:
        return (number_t)((const int32_t *)data)[i];
    default:
        return ((const uint32_t *)data)[i] ? -1 : 0;
    }
}

static const uint32_t special_bits[] = {0, 0x80000000u, 0x7f800000u, 0xff800000u, 0x7fc00000u,
    0xffc12345u, 1, 0x80000001u, 0x007fffffu, 0x00800000u, 0x7f7fffffu, 0xff7fffffu, 0x3f800000u,
    0xbf800000u, 0x3f000000u, 0xbf000000u, 0x40200000u, 0xc0200000u, 0x42b17218u, 0xc2cff1b5u,
    0xc2aeac50u, 0x4f000000u, 0xcf000000u, 0x5f000000u, 0xdf000000u, 0x33000000u, 0x3f6d8000u,
    0x41200000u, 0xc1200000u, 0x3f200000u, 0x40000000u, 0x40c00000u, 0xc0400000u};
#define SPECIAL_COUNT (sizeof(special_bits) / sizeof(*special_bits))

// Specials against specials first, then random: all bit patterns, and moderate numbers.
static void element_fill(void *data, element_t element, int which)
{
    for (size_t i = 0; i < MAP_COUNT; i++) {
        const size_t special = which == 0   ? i % SPECIAL_COUNT
                               : which == 1 ? i / SPECIAL_COUNT % SPECIAL_COUNT
                                            : i / 7 % SPECIAL_COUNT;
        const uint32_t bits =
            i < SPECIAL_COUNT * SPECIAL_COUNT ? special_bits[special] : random_bits();
        if (element == ELEMENT_F32)
            ((float *)data)[i] =
                i % 2 || i < 1100 ? float_of(bits) : random_near(i % 4 ? 12.0f : 1.5f);
        else if (element == ELEMENT_I64)
            ((int64_t *)data)[i] =
                i % 3 ? (int64_t)((uint64_t)bits << 32 | random_bits()) : (int32_t)bits % 100;
        else if (element == ELEMENT_I32)
            ((uint32_t *)data)[i] = i % 3 ? bits : (uint32_t)((int32_t)bits % 100);
        else
            ((uint32_t *)data)[i] = random_bits() % 2 ? UINT32_MAX : 0;
    }
}

// Units in the last place of a float near `value`.
static double ulp_of(double value)
{
    int exponent;
    frexp(value, &exponent);
    return ldexp(1.0, exponent - 24 < -149 ? -149 : exponent - 24);
}

static int float_fits(const row_t *row, float got, number_t expected)
{
    if (isnan(expected))
        return isnan(got);
    if (isinf((float)expected) || fabsl(expected) > (number_t)FLT_MAX)
        return isinf(got) ? (got > 0) == (expected > 0)
                          : fabsl(expected) < 1.000001L * (number_t)FLT_MAX && fabsf(got) > 3.4e38f;
    if (isinf(got) || isnan(got))
        return fabsl(expected) > 0.999999L * (number_t)FLT_MAX && !isnan(got);
    const double error = (double)fabsl((number_t)got - expected);
    const double unit = row->measure == MEASURE_ULP
                            ? ulp_of((double)expected)
                            : ldexp(fmax(1.0, (double)fabsl(expected)), -24);
    return error <= row->budget * unit;
}

static number_t expectation(const row_t *row, reference_t *reference, void *const *in, size_t i)
{
    number_t x[3] = {0, 0, 0};
    for (int k = 0; k < row->inputs; k++)
        x[k] = element_at(
            in[k], k == 0 && !strncmp(row->name, "select", 6) ? ELEMENT_MASK : row->in, i);
    return reference(x[0], x[1], x[2]);
}

static void check_map_element(const row_t *row, const char *isa, size_t i, void *const *in,
    const void *out, number_t expected)
{
    int fits;
    if (row->out == ELEMENT_F32)
        fits = float_fits(row, ((const float *)out)[i], expected);
    else if (row->out == ELEMENT_I64)
        fits = ((const int64_t *)out)[i] == (int64_t)expected;
    else
        fits = ((const uint32_t *)out)[i] == (uint32_t)(int64_t)expected;
    if (!fits)
        fail_msg("%s, %s: of %La, %La, %La is %La, not %La", row->name, isa,
            element_at(in[0], row->in, i), element_at(in[1], row->in, i),
            element_at(in[2], row->in, i), element_at(out, row->out, i), expected);
}

static void check_map(const row_t *row)
{
    static _Alignas(64) uint64_t data[3][MAP_COUNT], out[3][MAP_COUNT];
    reference_t *reference = reference_of(row->name);
    if (!reference)
        fail_msg("%s has no reference", row->name);
    void *in[3] = {data[0], data[1], data[2]};
    for (int k = 0; k < 3; k++)
        element_fill(in[k], k == 0 && !strncmp(row->name, "select", 6) ? ELEMENT_MASK : row->in, k);
    // gelu(-inf) is -inf * 0; its reference and that of the others agree on what NaN it is, save
    // these.
    for (size_t t = 0; t < table_count; t++) {
        weir_k_map_t *kernel;
        memcpy(&kernel, (const char *)tables[t] + row->offset, sizeof(kernel));
        kernel(MAP_COUNT, in[0], row->inputs > 1 ? in[1] : NULL, row->inputs > 2 ? in[2] : NULL,
            out[t], &immediates);
        for (size_t i = 0; i < MAP_COUNT; i++)
            check_map_element(
                row, tables[t]->name, i, in, out[t], expectation(row, reference, in, i));
        // The same, whatever the count and the place: 16 at a time from the other end, over an
        // input where their elements are of one size.
        const size_t bytes = element_bytes(row->in), out_bytes = element_bytes(row->out);
        const size_t first_bytes = !strncmp(row->name, "select", 6) ? 4 : bytes;
        for (size_t i = MAP_COUNT; i > 0; i -= WEIR_K_LANES) {
            const size_t at = i - WEIR_K_LANES;
            uint64_t piece[WEIR_K_LANES], apart[WEIR_K_LANES];
            memcpy(piece, (char *)in[0] + at * first_bytes, WEIR_K_LANES * first_bytes);
            void *made = first_bytes == out_bytes ? piece : apart;
            kernel(WEIR_K_LANES, piece, (char *)in[1] + at * bytes, (char *)in[2] + at * bytes,
                made, &immediates);
            for (size_t lane = 0; lane < WEIR_K_LANES; lane++) {
                const char *a = (const char *)made + lane * out_bytes;
                const char *b = (const char *)out[t] + (at + lane) * out_bytes;
                const int both_nan = row->out == ELEMENT_F32 &&
                                     isnan(*(const float *)(const void *)a) &&
                                     isnan(*(const float *)(const void *)b);
                if (!both_nan && memcmp(a, b, out_bytes))
                    fail_msg("%s, %s: element %zu depends on where it is", row->name,
                        tables[t]->name, at + lane);
            }
        }
        if (t > 0 && row->out == ELEMENT_F32)
            assert_same((const float *)out[0], (const float *)out[t], MAP_COUNT, row->name);
        else if (t > 0)
            assert_memory_equal(out[0], out[t], MAP_COUNT * out_bytes);
    }
}

static void map_kernels_keep_their_budgets(void **state)
{
    (void)state;
    size_t checked = 0;
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        if (!strcmp(rows[i].family, "map")) {
            check_map(&rows[i]);
            checked++;
        }
    assert_true(checked > 50);
}

// -----------------------------------------------------------------------------------------
// of GEMM

#define GEMM_ROWS 26u
#define GEMM_COLUMNS 300u
#define GEMM_K 40u
#define GEMM_C_ROW (GEMM_COLUMNS + 5)

typedef struct gemm_data {
    float a[GEMM_ROWS * (GEMM_K + 3)], b[GEMM_K * 320], c[GEMM_ROWS * GEMM_C_ROW];
    float expected[GEMM_ROWS * GEMM_C_ROW];
} gemm_data_t;

static weir_k_gemm_block_t gemm_block(gemm_data_t *data, size_t m, size_t n, size_t k)
{
    return (weir_k_gemm_block_t){.rows = m,
        .columns = n,
        .k = k,
        .a = data->a,
        .a_row = GEMM_K + 3,
        .a_k = 1,
        .b = data->b,
        .b_panel = GEMM_K * 32,
        .b_k = 32,
        .c = data->c,
        .c_row = GEMM_C_ROW};
}

static float gemm_b_at(const gemm_data_t *data, size_t k, size_t j)
{
    return data->b[j / 32 * GEMM_K * 32 + k * 32 + j % 32];
}

static void check_gemm(const weir_k_table_t *table, gemm_data_t *data, size_t m, size_t n, size_t k)
{
    for (size_t i = 0; i < GEMM_ROWS * GEMM_C_ROW; i++)
        data->c[i] = 77.0f;
    weir_k_gemm_block_t block = gemm_block(data, m, n, k);
    table->gemm_f32_12x32(&block);
    for (size_t i = 0; i < GEMM_ROWS; i++)
        for (size_t j = 0; j < GEMM_C_ROW; j++) {
            const float got = data->c[i * GEMM_C_ROW + j];
            if (i >= m || j >= n) {
                assert_true(got == 77.0f);
                continue;
            }
            double sum = 0, magnitude = 0;
            float chain = 0.0f;
            for (size_t x = 0; x < k; x++) {
                const float a = data->a[i * (GEMM_K + 3) + x], b = gemm_b_at(data, x, j);
                sum += (double)a * (double)b;
                magnitude += fabs((double)a * (double)b);
                chain = fmaf(a, b, chain);
            }
            if (!same(got, chain))
                fail_msg("gemm %zux%zux%zu, %s: element %zu,%zu is %a, the chain %a", m, n, k,
                    table->name, i, j, (double)got, (double)chain);
            if (!(fabs((double)got - sum) <= (double)(k + 1) * 0x1p-24 * magnitude) &&
                isfinite(got))
                fail_msg("gemm: element %zu,%zu is %g, not %g", i, j, (double)got, sum);
        }
    // In two pieces of k, and with A as 12 rows side by side.
    memcpy(data->expected, data->c, sizeof(data->c));
    memset(data->c, 0, sizeof(data->c));
    block.k = k / 2;
    table->gemm_f32_12x32(&block);
    block.k = k - k / 2;
    block.a += k / 2;
    block.b += k / 2 * 32;
    block.resume = 1;
    table->gemm_f32_12x32(&block);
    for (size_t i = 0; i < m; i++)
        assert_same(&data->expected[i * GEMM_C_ROW], &data->c[i * GEMM_C_ROW], n, "resumed gemm");
}

static void gemm_is_one_chain_everywhere(void **state)
{
    (void)state;
    static gemm_data_t data;
    static const size_t columns[] = {
        1, 2, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 96, 127, 128, 129, 160, 257, 300};
    static const size_t depths[] = {0, 1, 2, 7, 40};
    fill_near(data.a, sizeof(data.a) / sizeof(float));
    fill_near(data.b, sizeof(data.b) / sizeof(float));
    for (size_t t = 0; t < table_count; t++)
        for (size_t m = 1; m <= GEMM_ROWS; m++)
            for (size_t n = 0; n < sizeof(columns) / sizeof(*columns); n++)
                for (size_t k = 0; k < sizeof(depths) / sizeof(*depths); k++)
                    check_gemm(tables[t], &data, m, columns[n], depths[k]);
    // Specials go through the same chain.
    for (size_t i = 0; i < 60; i++)
        data.a[i * 7] = float_of(special_bits[i % SPECIAL_COUNT]);
    for (size_t t = 0; t < table_count; t++)
        check_gemm(tables[t], &data, 13, 65, 40);
}

static void gemm_takes_any_strides_of_a(void **state)
{
    (void)state;
    static gemm_data_t data;
    static float turned[GEMM_ROWS * GEMM_K];
    fill_near(data.a, sizeof(data.a) / sizeof(float));
    fill_near(data.b, sizeof(data.b) / sizeof(float));
    for (size_t i = 0; i < GEMM_ROWS; i++)
        for (size_t k = 0; k < GEMM_K; k++)
            turned[k * GEMM_ROWS + i] = data.a[i * (GEMM_K + 3) + k];
    for (size_t t = 0; t < table_count; t++)
        for (size_t m = 1; m <= GEMM_ROWS; m++) {
            weir_k_gemm_block_t block = gemm_block(&data, m, 70, GEMM_K);
            tables[t]->gemm_f32_12x32(&block);
            memcpy(data.expected, data.c, sizeof(data.c));
            block.a = turned;
            block.a_row = 1;
            block.a_k = GEMM_ROWS;
            tables[t]->gemm_f32_12x32(&block);
            assert_same(data.expected, data.c, m * GEMM_C_ROW, "gemm with A turned");
        }
}

static void pack_puts_every_element_in_its_panel(void **state)
{
    (void)state;
    enum { K = 21, N = 70 };
    static float from[K * N], to[K * 96];
    fill_near(from, K * N);
    for (size_t t = 0; t < table_count; t++)
        for (size_t n = 1; n <= N; n++)
            for (int turned = 0; turned < 2; turned++) {
                memset(to, 0xff, sizeof(to));
                const size_t k_step = turned ? 1 : n, column_step = turned ? K : 1;
                tables[t]->pack_f32_x32(K, n, from, k_step, column_step, to);
                for (size_t j = 0; j < (n + 31) / 32 * 32; j++)
                    for (size_t k = 0; k < K; k++) {
                        const float expected = j < n ? from[k * k_step + j * column_step] : 0.0f;
                        assert_true(to[j / 32 * K * 32 + k * 32 + j % 32] == expected);
                    }
            }
}

// -----------------------------------------------------------------------------------------
// rows

#define ROW_COUNT 200u

static void depthwise_is_one_chain_a_point(void **state)
{
    (void)state;
    static float data[9][ROW_COUNT], out[ROW_COUNT + 1], weights[9];
    const float *taps[9];
    fill_near(&data[0][0], 9 * ROW_COUNT);
    fill_near(weights, 9);
    for (size_t tap = 0; tap < 9; tap++)
        taps[tap] = data[tap];
    for (size_t t = 0; t < table_count; t++)
        for (size_t count = 1; count <= ROW_COUNT; count++) {
            out[count] = 77.0f;
            tables[t]->depthwise_f32(count, 9, weights, taps, out);
            for (size_t i = 0; i < count; i++) {
                float chain = 0.0f;
                for (size_t tap = 0; tap < 9; tap++)
                    chain = fmaf(weights[tap], data[tap][i], chain);
                assert_true(same(out[i], chain));
            }
            assert_true(out[count] == 77.0f);
        }
}

static void softmax_is_right_and_same_everywhere(void **state)
{
    (void)state;
    static float x[ROW_COUNT], out[3][ROW_COUNT + 1];
    for (size_t count = 1; count <= ROW_COUNT; count++) {
        for (size_t i = 0; i < count; i++)
            x[i] = random_near(count % 5 ? 8.0f : 60.0f);
        if (count % 7 == 3)
            x[count / 2] = -INFINITY;
        number_t largest = -INFINITY, sum = 0;
        for (size_t i = 0; i < count; i++)
            largest = fmaxl(largest, x[i]);
        for (size_t i = 0; i < count; i++)
            sum += expl(x[i] - largest);
        for (size_t t = 0; t < table_count; t++) {
            out[t][count] = 77.0f;
            tables[t]->softmax_f32(count, x, out[t]);
            assert_true(out[t][count] == 77.0f);
            for (size_t i = 0; i < count && count > 1; i++) {
                const double expected = (double)(expl(x[i] - largest) / sum);
                const double error = fabs((double)out[t][i] - expected);
                // Beside the budget: x - max is rounded before exp() sees it.
                const double rounded = (double)fabsl(x[i] - largest);
                if (!(error <= (16 + rounded) * ulp_of(expected)))
                    fail_msg("softmax of %zu: %g, not %g", count, (double)out[t][i], expected);
            }
            assert_same(out[0], out[t], count, "softmax");
        }
    }
    x[17] = NAN;
    for (size_t t = 0; t < table_count; t++) {
        tables[t]->softmax_f32(ROW_COUNT, x, out[t]);
        for (size_t i = 0; i < ROW_COUNT; i++)
            assert_true(isnan(out[t][i]));
    }
}

static void layernorm_is_right_and_same_everywhere(void **state)
{
    (void)state;
    static float x[ROW_COUNT], scale[ROW_COUNT], bias[ROW_COUNT], out[3][ROW_COUNT + 1];
    fill_near(scale, ROW_COUNT);
    fill_near(bias, ROW_COUNT);
    for (size_t count = 2; count <= ROW_COUNT; count++) {
        number_t mean = 0, variance = 0;
        for (size_t i = 0; i < count; i++) {
            x[i] = random_near(3.0f) + 1.0f;
            mean += x[i];
        }
        mean /= count;
        for (size_t i = 0; i < count; i++)
            variance += (x[i] - mean) * (x[i] - mean);
        variance /= count;
        const float *some_bias = count % 2 ? bias : NULL;
        for (size_t t = 0; t < table_count; t++) {
            float got_mean, got_inverse;
            out[t][count] = 77.0f;
            tables[t]->layernorm_f32(
                count, 1e-5f, x, scale, some_bias, out[t], &got_mean, &got_inverse);
            const number_t inverse = 1 / sqrtl(variance + 1e-5L);
            assert_true(fabsl(got_mean - mean) < 1e-6L);
            assert_true(fabsl(got_inverse - inverse) < 1e-5L * inverse);
            assert_true(out[t][count] == 77.0f);
            for (size_t i = 0; i < count; i++) {
                const number_t expected =
                    (x[i] - mean) * inverse * scale[i] + (some_bias ? bias[i] : 0.0f);
                if (!(fabsl(out[t][i] - expected) <= 64 * 0x1p-24L * fmaxl(1, fabsl(expected))))
                    fail_msg("layernorm of %zu: %g, not %Lg", count, (double)out[t][i], expected);
            }
            assert_same(out[0], out[t], count, "layernorm");
        }
        // In place.
        tables[0]->layernorm_f32(count, 1e-5f, x, scale, some_bias, x, NULL, NULL);
        assert_same(out[0], x, count, "layernorm in place");
    }
}

int main(void)
{
    tables[table_count++] = &weir_k_table__plain;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        tables[table_count++] = &weir_k_table__avx2;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        tables[table_count++] = &weir_k_table__avx512;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_kernels_keep_their_budgets),
        cmocka_unit_test(gemm_is_one_chain_everywhere),
        cmocka_unit_test(gemm_takes_any_strides_of_a),
        cmocka_unit_test(pack_puts_every_element_in_its_panel),
        cmocka_unit_test(depthwise_is_one_chain_a_point),
        cmocka_unit_test(softmax_is_right_and_same_everywhere),
        cmocka_unit_test(layernorm_is_right_and_same_everywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
