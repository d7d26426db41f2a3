// Goal:   the CPU kernels that are neither maps nor products, each on every ISA of this machine:
//         right within the budget of its row in kernels.inc, and the same bits on all ISAs.
// Method: sizes from 1 to past a tile, rows further apart than they are long, NaN, infinities and
//         denormals among the numbers, a fence behind what is written. The truth is the definition
//         in cpu.h, in double; where that says "one chain", bit by bit. A row of kernels.inc that
//         no test here or in cpu_test.c has run fails.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/cpu_rows.h"

const weir_k_table_t *tables[3];
size_t table_count;

// -----------------------------------------------------------------------------------------
// Numbers

static uint32_t random_state = 5;
uint32_t random_bits(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

// Numbers between -1 and 1, and some that the kind adds.
void fill(float *to, size_t count, kind_t kind)
{
    static const float denormals[] = {1e-40f, -3e-42f, 1.4e-45f, -0.0f};
    for (size_t i = 0; i < count; i++) {
        to[i] = (float)random_bits() / 8388608.0f - 1.0f;
        if (random_bits() % 11)
            continue;
        if (kind == KIND_DENORMAL)
            to[i] = denormals[random_bits() % 4];
        else if (kind == KIND_INFINITE)
            to[i] = random_bits() % 2 ? INFINITY : -INFINITY;
        else if (kind == KIND_NAN)
            to[i] = NAN;
    }
}

int same(float a, float b)
{
    return (isnan(a) && isnan(b)) || memcmp(&a, &b, sizeof(a)) == 0;
}

void expect_near(const char *what, size_t i, float got, double expected, double allowed)
{
    const int fits = isnan(expected)   ? isnan(got)
                     : isinf(expected) ? (double)got == expected
                                       : fabs((double)got - expected) <= allowed + 0x1p-149;
    if (!fits)
        fail_msg("%s: element %zu is %.9g, not %.9g", what, i, (double)got, expected);
}

void expect_same(const char *what, const float *a, const float *b, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (!same(a[i], b[i]))
            fail_msg("%s: element %zu is %a and %a", what, i, (double)a[i], (double)b[i]);
}

// Each test says which kernels it has run.
static const char *const names[] = {
#define WEIR_KERNEL(family, kernel, inputs, in, out, budget) #family "/" #kernel,
#include "kernels/cpu/kernels.inc"
};
static uint8_t has_run[sizeof(names) / sizeof(names[0])];

void ran(const char *kernel)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!strcmp(strchr(names[i], '/') + 1, kernel)) {
            has_run[i] = 1;
            return;
        }
    fail_msg("there is no kernel %s", kernel);
}

// -----------------------------------------------------------------------------------------
// Folds

typedef struct fold {
    const char *name;
    size_t row, columns; // in a table
    int kind;            // + sum, a of magnitudes, s of squares, > greatest, < least
} fold_t;

static const fold_t folds[] = {
    {"sum", offsetof(weir_k_table_t, fold_sum_f32), offsetof(weir_k_table_t, fold_columns_sum_f32),
        '+'},
    {"abs", offsetof(weir_k_table_t, fold_abs_f32), offsetof(weir_k_table_t, fold_columns_abs_f32),
        'a'},
    {"square", offsetof(weir_k_table_t, fold_square_f32),
        offsetof(weir_k_table_t, fold_columns_square_f32), 's'},
    {"max", offsetof(weir_k_table_t, fold_max_f32), offsetof(weir_k_table_t, fold_columns_max_f32),
        '>'},
    {"min", offsetof(weir_k_table_t, fold_min_f32), offsetof(weir_k_table_t, fold_columns_min_f32),
        '<'},
};

static double fold_of(const fold_t *fold, size_t count, const float *x, double *out_magnitude)
{
    double result = fold->kind == '>' ? -INFINITY : fold->kind == '<' ? INFINITY : 0;
    *out_magnitude = 0;
    for (size_t i = 0; i < count; i++) {
        const double e = (double)x[i];
        const double part = fold->kind == 'a' ? fabs(e) : fold->kind == 's' ? e * e : e;
        if (fold->kind == '>' || fold->kind == '<')
            result = isnan(e) || isnan(result)             ? NAN
                     : (fold->kind == '>') == (e > result) ? (e == result ? result : e)
                                                           : result;
        else
            result += part;
        *out_magnitude += fabs(part);
    }
    if (fold->kind == '>' || fold->kind == '<')
        *out_magnitude = 0;
    return result;
}

static void rows_fold(void **state)
{
    (void)state;
    static float x[MOST];
    for (size_t f = 0; f < sizeof(folds) / sizeof(folds[0]); f++) {
        char name[32];
        snprintf(name, sizeof(name), "fold_%s_f32", folds[f].name);
        ran(name);
        for (size_t count = 0; count <= MOST; count++)
            for (kind_t kind = 0; kind < KIND_COUNT; kind++) {
                double magnitude;
                float first = 0;
                fill(x, count, kind);
                const double expected = fold_of(&folds[f], count, x, &magnitude);
                FOR_ALL_TABLES(t)
                {
                    weir_k_fold_t *kernel;
                    memcpy(&kernel, (const char *)tables[t] + folds[f].row, sizeof(kernel));
                    const float got = kernel(count, x);
                    expect_near(name, count, got, expected, (double)count * 0x1p-24 * magnitude);
                    first = t ? first : got;
                    expect_same(name, &first, &got, 1);
                }
            }
    }
}

// A column has the bits of a row with the same numbers.
static void columns_fold_as_rows(void **state)
{
    (void)state;
    static const size_t counts[] = {0, 1, 2, 7, 63, 64, 65, 130};
    static float x[130 * 83], row[130], out[71];
    for (size_t f = 0; f < sizeof(folds) / sizeof(folds[0]); f++) {
        char name[32];
        snprintf(name, sizeof(name), "fold_columns_%s_f32", folds[f].name);
        ran(name);
        for (kind_t kind = 0; kind < KIND_COUNT; kind++) {
            fill(x, sizeof(x) / sizeof(x[0]), kind);
            for (size_t c = 0; c < sizeof(counts) / sizeof(counts[0]); c++)
                for (size_t columns = 1; columns <= 70; columns += columns < 34 ? 1 : 9)
                    FOR_ALL_TABLES(t)
                    {
                        weir_k_fold_columns_t *kernel;
                        weir_k_fold_t *by_row;
                        memcpy(&kernel, (const char *)tables[t] + folds[f].columns, sizeof(kernel));
                        memcpy(&by_row, (const char *)tables[0] + folds[f].row, sizeof(by_row));
                        out[columns] = FENCE;
                        kernel(counts[c], columns, x, 83, out);
                        assert_true(out[columns] == FENCE);
                        for (size_t j = 0; j < columns; j++) {
                            for (size_t i = 0; i < counts[c]; i++)
                                row[i] = x[i * 83 + j];
                            const float expected = by_row(counts[c], row);
                            expect_same(name, &expected, &out[j], 1);
                        }
                    }
        }
    }
}

// -----------------------------------------------------------------------------------------
// Rows of functions

static void log_softmaxes(void **state)
{
    (void)state;
    static float x[MOST], out[3][MOST + 1];
    ran("log_softmax_f32");
    for (size_t count = 1; count <= MOST; count++)
        for (kind_t kind = 0; kind < KIND_COUNT; kind++) {
            double greatest = -INFINITY, sum = 0;
            int has_nan = 0;
            fill(x, count, kind == KIND_INFINITE ? KIND_PLAIN : kind);
            for (size_t i = 0; i < count; i++) {
                x[i] *= 20.0f;
                if (kind == KIND_INFINITE && i % 9 == 4)
                    x[i] = -INFINITY;
                has_nan |= isnan(x[i]);
                greatest = fmax(greatest, (double)x[i]);
            }
            for (size_t i = 0; i < count; i++)
                sum += exp((double)x[i] - greatest);
            FOR_ALL_TABLES(t)
            {
                out[t][count] = FENCE;
                tables[t]->log_softmax_f32(count, x, out[t]);
                assert_true(out[t][count] == FENCE);
                for (size_t i = 0; i < count; i++) {
                    const double expected = has_nan ? NAN : (double)x[i] - greatest - log(sum);
                    expect_near("log_softmax", i, out[t][i], expected,
                        64 * 0x1p-24 * fmax(1, fabs(expected)));
                }
                expect_same("log_softmax", out[0], out[t], count);
            }
        }
}

// What cpu_test.c leaves: a NaN or an infinity makes the whole row one, denormals are numbers.
static void layernorms_of_strange_rows(void **state)
{
    (void)state;
    static float x[MOST], scale[MOST], out[3][MOST + 1];
    ran("layernorm_f32");
    fill(scale, MOST, KIND_DENORMAL);
    for (size_t count = 2; count <= MOST; count++)
        for (kind_t kind = KIND_DENORMAL; kind < KIND_COUNT; kind++) {
            double mean = 0, variance = 0;
            fill(x, count, kind);
            for (size_t i = 0; i < count; i++)
                mean += (double)x[i] / (double)count;
            for (size_t i = 0; i < count; i++)
                variance += ((double)x[i] - mean) * ((double)x[i] - mean) / (double)count;
            FOR_ALL_TABLES(t)
            {
                out[t][count] = FENCE;
                tables[t]->layernorm_f32(count, 1e-5f, x, scale, NULL, out[t], NULL, NULL);
                assert_true(out[t][count] == FENCE);
                for (size_t i = 0; i < count && isfinite(variance); i++)
                    expect_near("layernorm", i, out[t][i],
                        ((double)x[i] - mean) / sqrt(variance + 1e-5) * (double)scale[i],
                        64 * 0x1p-24);
                for (size_t i = 0; i < count && isnan(mean); i++)
                    assert_true(isnan(out[t][i]));
                expect_same("layernorm", out[0], out[t], count);
            }
        }
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static void lstm_cells(void **state)
{
    (void)state;
    static float gates[4 * MOST], c_before[MOST], c[3][MOST + 1], h[3][MOST + 1];
    ran("lstm_cell_f32");
    for (size_t count = 1; count <= 70; count++)
        for (kind_t kind = 0; kind < KIND_COUNT; kind++) {
            fill(gates, 4 * count, kind);
            fill(c_before, count, kind == KIND_DENORMAL ? kind : KIND_PLAIN);
            FOR_ALL_TABLES(t)
            {
                memcpy(c[t], c_before, count * sizeof(float));
                c[t][count] = h[t][count] = FENCE;
                tables[t]->lstm_cell_f32(count, gates, c[t], h[t]);
                assert_true(c[t][count] == FENCE && h[t][count] == FENCE);
                for (size_t j = 0; j < count; j++) {
                    const double in = sigmoid((double)gates[j]);
                    const double out = sigmoid((double)gates[count + j]);
                    const double forget = sigmoid((double)gates[2 * count + j]);
                    const double next =
                        forget * (double)c_before[j] + in * tanh((double)gates[3 * count + j]);
                    expect_near("lstm c", j, c[t][j], next, 16 * 0x1p-24);
                    expect_near("lstm h", j, h[t][j], out * tanh(next), 16 * 0x1p-24);
                }
                expect_same("lstm c", c[0], c[t], count);
                expect_same("lstm h", h[0], h[t], count);
            }
        }
}

static void lrn_divides_by_its_neighbours(void **state)
{
    (void)state;
    static float data[ROWS][ROW], out[3][MOST + 1];
    const float *rows[ROWS];
    ran("lrn_f32");
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = data[i];
    for (size_t count = 1; count <= 70; count++)
        for (kind_t kind = 0; kind < KIND_COUNT; kind++)
            for (size_t taps = 1; taps <= ROWS; taps += 3) {
                const float beta = count % 2 ? 0.75f : 0.6f;
                fill(&data[0][0], ROWS * ROW, kind);
                FOR_ALL_TABLES(t)
                {
                    out[t][count] = FENCE;
                    tables[t]->lrn_f32(count, taps, rows, data[0], 0.3f, beta, 1.5f, out[t]);
                    assert_true(out[t][count] == FENCE);
                    for (size_t i = 0; i < count; i++) {
                        double sum = 0;
                        for (size_t tap = 0; tap < taps; tap++)
                            sum += (double)data[tap][i] * (double)data[tap][i];
                        const double expected =
                            (double)data[0][i] / pow(1.5 + (double)0.3f * sum, (double)beta);
                        expect_near("lrn", i, out[t][i], expected, 32 * 0x1p-23 * fabs(expected));
                    }
                    expect_same("lrn", out[0], out[t], count);
                }
            }
}

static void blends_and_quotients(void **state)
{
    (void)state;
    static float a[MOST], b[MOST], weights[MOST], out[3][MOST + 1];
    static int32_t low[MOST], high[MOST];
    ran("blend_f32");
    ran("blend_picked_f32");
    ran("divide_f32");
    for (size_t count = 1; count <= 70; count++)
        for (kind_t kind = 0; kind < KIND_COUNT; kind++) {
            fill(a, count, kind);
            fill(b, count, kind);
            for (size_t i = 0; i < count; i++) {
                low[i] = (int32_t)(random_bits() % count);
                high[i] = (int32_t)(random_bits() % count);
                weights[i] = (float)(random_bits() % 1000) / 1000.0f;
            }
            for (int which = 0; which < 3; which++)
                FOR_ALL_TABLES(t)
                {
                    out[t][count] = FENCE;
                    if (which == 0)
                        tables[t]->blend_f32(count, a, b, 0.3f, out[t]);
                    else if (which == 1)
                        tables[t]->blend_picked_f32(count, a, low, high, weights, out[t]);
                    else
                        tables[t]->divide_f32(count, a, -3.7f, out[t]);
                    assert_true(out[t][count] == FENCE);
                    for (size_t i = 0; i < count; i++) {
                        const double from = (double)(which == 1 ? a[low[i]] : a[i]);
                        const double to = (double)(which == 1 ? a[high[i]] : b[i]);
                        const double weight = which == 1 ? (double)weights[i] : (double)0.3f;
                        const double expected =
                            which == 2 ? from / (double)-3.7f : from + (to - from) * weight;
                        expect_near("blend", i, out[t][i], expected, 4 * 0x1p-24 * 2);
                        if (which == 2)
                            assert_true(same(out[t][i], a[i] / -3.7f));
                    }
                    expect_same("blend", out[0], out[t], count);
                }
        }
}

// -----------------------------------------------------------------------------------------
// Windows over rows, and what only moves

static void windows_slide(void **state)
{
    (void)state;
    static float data[ROWS][ROW], divisors[MOST], out[3][MOST + 1];
    const float *rows[ROWS];
    ran("window_max_f32");
    ran("window_sum_f32");
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = data[i] + i; // not aligned alike
    for (size_t i = 0; i < MOST; i++)
        divisors[i] = (float)(1 + i % 5);
    for (size_t count = 1; count <= 70; count++)
        for (kind_t kind = 0; kind < KIND_COUNT; kind++)
            for (size_t taps = 1; taps <= ROWS; taps += 2)
                for (int which = 0; which < 3; which++) {
                    fill(&data[0][0], ROWS * ROW, kind);
                    FOR_ALL_TABLES(t)
                    {
                        out[t][count] = FENCE;
                        if (which == 0)
                            tables[t]->window_max_f32(count, taps, rows, NULL, 0, out[t]);
                        else
                            tables[t]->window_sum_f32(
                                count, taps, rows, which == 1 ? NULL : divisors, 3.0f, out[t]);
                        assert_true(out[t][count] == FENCE);
                        for (size_t i = 0; i < count; i++) {
                            float greatest = rows[0][i], sum = rows[0][i];
                            for (size_t tap = 1; tap < taps; tap++) {
                                const float e = rows[tap][i];
                                greatest = isnan(greatest) || isnan(e) ? NAN : fmaxf(greatest, e);
                                sum += e;
                            }
                            if (which == 2)
                                sum /= divisors[i] * 3.0f;
                            // Not bits: either zero may be the greatest.
                            if (which == 0)
                                expect_near("window_max", i, out[t][i], (double)greatest, 0);
                            else
                                assert_true(same(out[t][i], sum));
                        }
                        expect_same("window", out[0], out[t], count);
                    }
                }
}

static void rows_are_sorted_and_woven(void **state)
{
    (void)state;
    static float data[ROWS][ROW], to[ROWS * ROW + 1];
    const float *rows[ROWS];
    ran("phases_f32");
    ran("interleave_f32");
    fill(&data[0][0], ROWS * ROW, KIND_NAN);
    for (size_t i = 0; i < ROWS; i++)
        rows[i] = data[i];
    for (size_t count = 1; count <= 70; count++)
        for (size_t stride = 1; stride <= 5; stride++)
            FOR_ALL_TABLES(t)
            {
                for (size_t pad = 0; pad < 6; pad++) {
                    const size_t columns = (count + pad) / stride + (count % 3 == 0);
                    for (size_t i = 0; i < ROWS * ROW; i++)
                        to[i] = FENCE;
                    tables[t]->phases_f32(count, stride, pad, columns, data[0], to);
                    for (size_t phase = 0; phase < stride; phase++)
                        for (size_t column = 0; column < columns; column++) {
                            const size_t place = column * stride + phase;
                            const int is_inside = place >= pad && place - pad < count;
                            assert_true(same(to[phase * columns + column],
                                is_inside ? data[0][place - pad] : FENCE));
                        }
                    assert_true(to[stride * columns] == FENCE);
                }
                to[count * stride] = FENCE;
                tables[t]->interleave_f32(count, stride, rows, to);
                for (size_t i = 0; i < count * stride; i++)
                    assert_true(same(to[i], data[i % stride][i / stride]));
                assert_true(to[count * stride] == FENCE);
            }
}

// Elements of every size, rows and columns at any distance, forwards and backwards.
static void elements_are_copied(void **state)
{
    (void)state;
    enum { SPAN = 40 * 40 };
    static unsigned char from[8 * 2 * SPAN], to[8 * 2 * SPAN];
    static const int64_t steps[][4] = {// from_row, from_column, to_row, to_column
        {40, 1, 37, 1}, {1, 40, 37, 1}, {0, 0, 33, 1}, {40, 0, 33, 1}, {-40, -1, 33, 1},
        {1, 40, 1, 40}, {-1, 2, 35, 1}};
    ran("copy_any");
    for (size_t i = 0; i < sizeof(from); i++)
        from[i] = (unsigned char)random_bits();
    for (uint32_t bytes = 1; bytes <= 8; bytes *= 2)
        for (size_t s = 0; s < sizeof(steps) / sizeof(steps[0]); s++)
            for (size_t size = 1; size <= 33; size++)
                FOR_ALL_TABLES(t)
                {
                    const weir_k_copy_shape_t shape = {.element_bytes = bytes,
                        .outer_rank = 1,
                        .outer = {2},
                        .from_outer = {3},
                        .to_outer = {SPAN},
                        .rows = 34 - size,
                        .chunk_rows = 5,
                        .columns = size,
                        .from_row = steps[s][0],
                        .to_row = steps[s][2],
                        .from_column = steps[s][1],
                        .to_column = steps[s][3]};
                    const unsigned char *first = from + (size_t)SPAN * bytes;
                    memset(to, 0xee, sizeof(to));
                    tables[t]->copy_any(&shape, 0, 2 * ((shape.rows + 4) / 5), first, to);
                    size_t written = 0;
                    for (int64_t o = 0; o < 2; o++)
                        for (int64_t r = 0; r < (int64_t)shape.rows; r++)
                            for (int64_t c = 0; c < (int64_t)size; c++, written += bytes)
                                assert_memory_equal(
                                    to +
                                        (o * SPAN + r * shape.to_row + c * shape.to_column) * bytes,
                                    first + (o * 3 + r * shape.from_row + c * shape.from_column) *
                                                bytes,
                                    bytes);
                    size_t touched = 0;
                    for (size_t i = 0; i < sizeof(to); i++)
                        touched += to[i] != 0xee;
                    assert_true(touched <= written);
                }
}

// -----------------------------------------------------------------------------------------
// What cpu_test.c and attention_test.c check in full gets its strange numbers here

static void chains_keep_strange_numbers(void **state)
{
    (void)state;
    static float data[9][ROW], out[MOST + 1], weights[9];
    const float *rows[9];
    ran("depthwise_f32");
    for (size_t tap = 0; tap < 9; tap++)
        rows[tap] = data[tap] + tap;
    for (size_t count = 1; count <= MOST; count++)
        for (kind_t kind = KIND_DENORMAL; kind < KIND_COUNT; kind++) {
            fill(&data[0][0], 9 * ROW, kind);
            fill(weights, 9, KIND_DENORMAL);
            FOR_ALL_TABLES(t)
            {
                out[count] = FENCE;
                tables[t]->depthwise_f32(count, 9, weights, rows, out);
                assert_true(out[count] == FENCE);
                for (size_t i = 0; i < count; i++) {
                    float chain = 0.0f;
                    for (size_t tap = 0; tap < 9; tap++)
                        chain = fmaf(weights[tap], rows[tap][i], chain);
                    assert_true(same(out[i], chain));
                }
            }
        }
}

static void softmaxes_of_strange_rows(void **state)
{
    (void)state;
    static float x[MOST], y[3][MOST + 1];
    ran("softmax_f32");
    ran("attend_f32");
    for (size_t count = 1; count <= MOST; count++)
        for (kind_t kind = KIND_DENORMAL; kind < KIND_COUNT; kind++) {
            int has_nan = 0, is_wild = 0;
            float sums[3];
            fill(x, count, kind);
            for (size_t i = 0; i < count; i++) {
                has_nan |= isnan(x[i]);
                is_wild |= x[i] == INFINITY; // inf - inf: what is NaN is not said
            }
            FOR_ALL_TABLES(t)
            {
                y[t][count] = FENCE;
                tables[t]->softmax_f32(count, x, y[t]);
                assert_true(y[t][count] == FENCE);
                double sum = 0;
                for (size_t i = 0; i < count; i++) {
                    assert_true(!has_nan || isnan(y[t][i]));
                    sum += (double)y[t][i];
                }
                if (!has_nan && !is_wild && isfinite(x[0]))
                    assert_true(fabs(sum - 1) < 1e-5);
                expect_same("softmax", y[0], y[t], count);
            }
            FOR_ALL_TABLES(t)
            {
                memcpy(y[t], x, count * sizeof(float));
                y[t][count] = FENCE;
                sums[t] = tables[t]->attend_f32(count, 0.5f, NULL, 0, y[t]);
                assert_true(y[t][count] == FENCE);
                assert_true(!has_nan || isnan(sums[t]));
                assert_true(same(sums[0], sums[t]));
            }
        }
}

// Panels of matrices whose rows are further apart than they are long.
static void panels_of_padded_matrices(void **state)
{
    (void)state;
    enum { K = 37 };
    static float from[100 * 100], to[K * 96 + 1];
    ran("pack_f32_x32");
    ran("gemm_f32_12x32"); // in full in cpu_test.c
    fill(from, sizeof(from) / sizeof(float), KIND_NAN);
    for (size_t n = 1; n <= 65; n++)
        for (int turned = 0; turned < 2; turned++)
            FOR_ALL_TABLES(t)
            {
                const size_t k_step = turned ? 1 : 83, column_step = turned ? 83 : 1;
                const size_t floats = (n + 31) / 32 * 32 * K;
                to[floats] = FENCE;
                tables[t]->pack_f32_x32(K, n, from, k_step, column_step, to);
                assert_true(to[floats] == FENCE);
                for (size_t i = 0; i < floats; i++) {
                    const size_t j = i / (K * 32) * 32 + i % 32, k = i / 32 % K;
                    assert_true(same(to[i], j < n ? from[k * k_step + j * column_step] : 0.0f));
                }
            }
}

static void no_kernel_is_left_out(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (!has_run[i] && strncmp(names[i], "map/", 4) != 0)
            fail_msg("no test here runs %s", names[i]);
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
        cmocka_unit_test(rows_fold), cmocka_unit_test(columns_fold_as_rows),
        cmocka_unit_test(log_softmaxes), cmocka_unit_test(layernorms_of_strange_rows),
        cmocka_unit_test(lstm_cells), cmocka_unit_test(lrn_divides_by_its_neighbours),
        cmocka_unit_test(blends_and_quotients), cmocka_unit_test(windows_slide),
        cmocka_unit_test(rows_are_sorted_and_woven), cmocka_unit_test(elements_are_copied),
        cmocka_unit_test(convolutions_are_one_chain), cmocka_unit_test(depthwise_planes_are_chains),
        cmocka_unit_test(windows_over_blocks), cmocka_unit_test(winograd_inputs_are_their_matrices),
        cmocka_unit_test(winograd_outputs_are_their_matrices),
        cmocka_unit_test(winograd_rows_are_their_matrices), cmocka_unit_test(pools_over_everything),
        cmocka_unit_test(channels_go_into_blocks_and_back),
        cmocka_unit_test(chains_keep_strange_numbers), cmocka_unit_test(softmaxes_of_strange_rows),
        cmocka_unit_test(panels_of_padded_matrices),
        cmocka_unit_test(no_kernel_is_left_out), // the last one
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
