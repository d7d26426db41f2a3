// The two ends of Winograd's convolution, as cpu_rows_test.c checks the other kernels: see there.
// The matrices are spelled out once more, in double, from the paper.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/cpu_rows.h"

enum { SIDE = 6, OUT = 4, X_ROW = SIDE * 16 + 32, V_STEP = 48, Y_ROW = OUT * 16 + 16 };

static const double to_input[SIDE][SIDE] = {{4, 0, -5, 0, 1, 0}, {0, -4, -4, 1, 1, 0},
    {0, 4, -4, -1, 1, 0}, {0, -2, -1, 2, 1, 0}, {0, 2, -1, -2, 1, 0}, {0, 4, 0, -5, 0, 1}};
static const double to_output[OUT][SIDE] = {
    {1, 1, 1, 1, 1, 0}, {0, 1, -1, 2, -2, 0}, {0, 1, 1, 4, 4, 0}, {0, 1, -1, 8, -8, 1}};

// Element (i, j) of m d m^T, and the same with the sizes of all its terms.
static double sandwich(const double (*m)[SIDE], const float *d, size_t row, size_t column, size_t i,
    size_t j, double *out_magnitude)
{
    double sum = 0;
    *out_magnitude = 0;
    for (size_t a = 0; a < SIDE; a++)
        for (size_t b = 0; b < SIDE; b++) {
            const double term = m[i][a] * (double)d[a * row + b * column] * m[j][b];
            sum += term;
            *out_magnitude += fabs(term);
        }
    return sum;
}

void winograd_inputs_are_their_matrices(void **state)
{
    (void)state;
    static float x[SIDE * X_ROW], v[3][SIDE * SIDE * V_STEP];
    ran("winograd_in_f32_x16");
    for (kind_t kind = 0; kind < KIND_COUNT; kind++)
        for (int turn = 0; turn < 20; turn++) {
            fill(x, SIDE * X_ROW, kind);
            FOR_ALL_TABLES(t)
            {
                for (size_t i = 0; i < SIDE * SIDE * V_STEP; i++)
                    v[t][i] = FENCE;
                tables[t]->winograd_in_f32_x16(x, X_ROW, v[t], V_STEP);
                expect_same("winograd in", v[0], v[t], SIDE * SIDE * V_STEP);
            }
            for (size_t i = 0; i < SIDE * SIDE; i++) {
                assert_true(v[0][i * V_STEP + 16] == FENCE);
                for (size_t lane = 0; lane < 16 && kind < KIND_INFINITE; lane++) {
                    double size;
                    const double sum =
                        sandwich(to_input, x + lane, X_ROW, 16, i / SIDE, i % SIDE, &size);
                    expect_near("winograd in", i, v[0][i * V_STEP + lane], sum, 8 * 0x1p-24 * size);
                }
            }
        }
}

static double finished(const weir_k_finish_t *finish, double sum, size_t lane, size_t place)
{
    if (!finish)
        return sum;
    sum += finish->bias ? (double)finish->bias[lane] : 0;
    sum += finish->add ? (double)finish->add[place] : 0;
    return finish->activation == WEIR_K_RELU ? fmax(sum, 0) : sum;
}

void winograd_outputs_are_their_matrices(void **state)
{
    (void)state;
    static float m[SIDE * SIDE * V_STEP], y[3][OUT * Y_ROW], add[OUT * Y_ROW], bias[16];
    ran("winograd_out_f32_x16");
    fill(bias, 16, KIND_PLAIN);
    fill(add, OUT * Y_ROW, KIND_PLAIN);
    for (kind_t kind = 0; kind < KIND_COUNT; kind++)
        for (size_t size = 0; size < OUT * OUT; size++)
            for (int which = 0; which < 5; which++) {
                const weir_k_finish_t last = {.bias = which & 1 ? bias : NULL,
                    .add = which & 2 ? add : NULL,
                    .activation = which & 1 ? WEIR_K_RELU : WEIR_K_NO_ACTIVATION};
                const weir_k_finish_t *finish = which < 4 ? &last : NULL;
                const size_t rows = size / OUT + 1, columns = size % OUT + 1;
                fill(m, SIDE * SIDE * V_STEP, kind);
                FOR_ALL_TABLES(t)
                {
                    for (size_t i = 0; i < OUT * Y_ROW; i++)
                        y[t][i] = FENCE;
                    tables[t]->winograd_out_f32_x16(m, V_STEP, y[t], Y_ROW, rows, columns, finish);
                    expect_same("winograd out", y[0], y[t], OUT * Y_ROW);
                }
                for (size_t i = 0; i < OUT * Y_ROW; i++) {
                    const size_t row = i / Y_ROW, column = i % Y_ROW / 16, lane = i % 16;
                    if (row >= rows || column >= columns) {
                        assert_true(y[0][i] == FENCE);
                        continue;
                    }
                    double terms;
                    const double sum =
                        sandwich(to_output, m + lane, SIDE * V_STEP, V_STEP, row, column, &terms);
                    if (kind < KIND_INFINITE)
                        expect_near("winograd out", i, y[0][i], finished(finish, sum, lane, i),
                            8 * 0x1p-24 * (terms + 2));
                }
            }
}

// Along rows: the tap that is a row of the matrix alone; two outputs of six points, or four.
void winograd_rows_are_their_matrices(void **state)
{
    (void)state;
    enum { TILES = 5, X_TILE = 2 * 16 };
    static float x[(TILES - 1) * X_TILE + SIDE * 16], v[3][SIDE * TILES * 16],
        y[3][TILES * OUT * 16];
    ran("winograd_row_in_f32_x16");
    ran("winograd_row_out_f32_x16");
    for (kind_t kind = 0; kind < KIND_COUNT; kind++)
        for (size_t step = 2; step <= 4; step += 2)
            for (size_t pixels = 1; pixels <= TILES * step; pixels++) {
                fill(x, sizeof(x) / sizeof(float), kind);
                FOR_ALL_TABLES(t)
                {
                    for (size_t i = 0; i < TILES * OUT * 16; i++)
                        y[t][i] = FENCE;
                    tables[t]->winograd_row_in_f32_x16(TILES, x, X_TILE, v[t], TILES * 16);
                    expect_same("row in", v[0], v[t], SIDE * TILES * 16);
                    tables[t]->winograd_row_out_f32_x16(pixels, step, v[t], TILES * 16, y[t], NULL);
                    expect_same("row out", y[0], y[t], TILES * OUT * 16);
                }
                for (size_t i = 0; i < SIDE * TILES * 16 && kind < KIND_INFINITE; i++) {
                    const size_t matrix = i / 16 / TILES, tile = i / 16 % TILES, lane = i % 16;
                    double sum = 0, size = 0;
                    for (size_t j = 0; j < SIDE; j++) {
                        const double term =
                            to_input[matrix][j] * (double)x[tile * X_TILE + j * 16 + lane];
                        sum += term;
                        size += fabs(term);
                    }
                    expect_near("row in", i, v[0][i], sum, 8 * 0x1p-24 * size);
                }
                for (size_t i = 0; i < TILES * OUT * 16; i++) {
                    const size_t pixel = i / 16, row = pixel % step;
                    if (pixel >= pixels) {
                        assert_true(y[0][i] == FENCE);
                        continue;
                    }
                    double sum = 0, size = 0;
                    for (size_t j = 0; j < SIDE && kind < KIND_INFINITE; j++) {
                        const double factor =
                            j < SIDE - 1 ? to_output[row][j] : (double)(row + 1 == step);
                        const double term =
                            factor * (double)v[0][(j * TILES + pixel / step) * 16 + i % 16];
                        sum += term;
                        size += fabs(term);
                    }
                    if (kind < KIND_INFINITE)
                        expect_near("row out", i, y[0][i], sum, 8 * 0x1p-24 * size);
                }
            }
}
