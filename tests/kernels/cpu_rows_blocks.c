// The kernels over blocks of 16 channels, as cpu_rows_test.c checks the others: see there.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kernels/cpu_rows.h"

static float activate(const weir_k_finish_t *finish, float sum)
{
    if (isnan(sum))
        return sum;
    if (finish->activation == WEIR_K_RELU)
        sum = sum > 0 ? sum : 0.0f;
    if (finish->activation == WEIR_K_CLAMP)
        sum = sum < finish->low ? finish->low : sum > finish->high ? finish->high : sum;
    if (finish->activation == WEIR_K_HARD_SWISH) {
        const float part = sum * (1.0f / 6.0f) + 0.5f;
        sum *= part < 0 ? 0 : part > 1 ? 1 : part;
    }
    if (finish->has_scale)
        sum *= finish->scale;
    if (finish->has_shift)
        sum += finish->shift;
    return sum;
}

static const weir_k_finish_t *finish_of(
    int which, const float *bias, const float *add, weir_k_finish_t *out_finish)
{
    *out_finish = (weir_k_finish_t){.bias = which & 1 ? bias : NULL,
        .add = which & 2 ? add : NULL,
        .low = -0.4f,
        .high = 0.6f,
        .activation = which / 4 % 4,
        .has_scale = which % 3 == 1,
        .has_shift = which % 5 > 2,
        .scale = 1.3f,
        .shift = -0.2f};
    return which == 0 ? NULL : out_finish;
}

void convolutions_are_one_chain(void **state)
{
    (void)state;
    enum { PIXELS = 19, BLOCKS = 4, TAPS = 3, SPREAD = 45 };
    static float x[2 * PIXELS * SPREAD + 400], weights[2 * 2 * TAPS * 16 * BLOCKS * 16];
    static float y[3][BLOCKS * (PIXELS + 2) * 16], add[BLOCKS * (PIXELS + 2) * 16];
    static float before[BLOCKS * (PIXELS + 2) * 16], bias[BLOCKS * 16];
    static const uint32_t tap_at[TAPS] = {0, 16, 112};
    uint32_t at[PIXELS];
    ran("conv_f32_x16");
    for (size_t p = 0; p < PIXELS; p++)
        at[p] = (uint32_t)(p * SPREAD);
    fill(before, sizeof(before) / sizeof(float), KIND_PLAIN);
    for (kind_t kind = 0; kind < KIND_COUNT; kind++)
        for (size_t pixels = 1; pixels <= PIXELS; pixels++)
            for (size_t blocks = 1; blocks <= BLOCKS; blocks++)
                for (int which = 0; which < 16; which++) {
                    weir_k_finish_t finish;
                    const size_t inner = which % 3 == 0 ? 1 : which % 3 == 1 ? 16 : 5;
                    const weir_k_conv_block_t block = {.pixels = pixels,
                        .blocks = blocks,
                        .chunks = inner == 1 ? 1 : 2,
                        .taps = TAPS,
                        .inner = inner,
                        .x = x,
                        .at = at,
                        .tap_at = tap_at,
                        .x_chunk = PIXELS * SPREAD,
                        .weights = weights,
                        .y_block = (PIXELS + 2) * 16,
                        .y_pixel = 16,
                        .finish = finish_of(which, bias, add, &finish),
                        .resume = which % 2};
                    fill(x, sizeof(x) / sizeof(float), kind);
                    fill(weights, sizeof(weights) / sizeof(float) / 2, KIND_DENORMAL);
                    fill(add, sizeof(add) / sizeof(float), kind);
                    fill(bias, BLOCKS * 16, KIND_PLAIN);
                    FOR_ALL_TABLES(t)
                    {
                        weir_k_conv_block_t one = block;
                        memcpy(y[t], before, sizeof(before));
                        one.y = y[t];
                        tables[t]->conv_f32_x16(&one);
                        expect_same("conv", y[0], y[t], sizeof(before) / sizeof(float));
                    }
                    for (size_t b = 0; b < BLOCKS; b++)
                        for (size_t p = 0; p < PIXELS + 2; p++)
                            for (size_t l = 0; l < 16; l++) {
                                const size_t place = (b * (PIXELS + 2) + p) * 16 + l;
                                float sum = b < blocks && p < pixels && !block.resume
                                                ? 0.0f
                                                : before[place];
                                const int is_made = b < blocks && p < pixels;
                                const float *w = weights + b * 16 + l;
                                for (size_t c = 0; is_made && c < block.chunks; c++)
                                    for (size_t tap = 0; tap < TAPS; tap++)
                                        for (size_t i = 0; i < inner; i++, w += blocks * 16)
                                            sum =
                                                fmaf(x[at[p] + c * block.x_chunk + tap_at[tap] + i],
                                                    *w, sum);
                                if (is_made && block.finish) {
                                    sum += finish.bias ? bias[b * 16 + l] : 0.0f;
                                    sum += finish.add ? add[place] : 0.0f;
                                    sum = activate(&finish, sum);
                                }
                                if (!(y[0][place] == sum || same(y[0][place], sum)))
                                    fail_msg("conv %zux%zu, finish %d: %a, not %a", pixels, blocks,
                                        which, (double)y[0][place], (double)sum);
                            }
                }
}

// One output of a window in one lane, by the definition.
static float window_at(const weir_k_window_row_t *r, char kind, size_t pixel, size_t lane)
{
    float value = kind == 'm' ? -INFINITY : 0.0f;
    size_t counted = 0;
    for (size_t row = 0; row < r->rows; row++)
        for (size_t tap = 0; tap < r->taps; tap++) {
            const int64_t column = (int64_t)pixel * r->stride - r->pad + (int64_t)tap * r->dilation;
            counted += row == 0 && column >= r->count_begin && column < r->count_end;
            if (column < 0 || column >= r->width)
                continue;
            const float e = r->x[row * r->x_row + (size_t)column * 16 + lane];
            if (kind == 'm')
                value = isnan(value) || isnan(e) ? NAN : fmaxf(value, e);
            else if (kind == 'd')
                value = fmaf(e, r->weights[row * r->weight_row + tap * 16 + lane], value);
            else
                value += e;
        }
    return kind == 'a' ? value / (float)(counted * r->count_rows) : value;
}

void windows_over_blocks(void **state)
{
    (void)state;
    enum { WIDTH = 40, TALL = 3, PIXELS = 23 };
    static float x[TALL * (WIDTH + 3) * 16], weights[TALL * 8 * 16], add[PIXELS * 16], bias[16];
    static float y[3][(PIXELS + 1) * 16];
    ran("depthwise_f32_x16");
    ran("maxpool_f32_x16");
    ran("averagepool_f32_x16");
    for (kind_t kind = 0; kind < KIND_COUNT; kind++)
        for (size_t pixels = 1; pixels <= PIXELS; pixels++)
            for (int64_t shape = 0; shape < 8; shape++)
                for (int which = 0; which < 3; which++) {
                    weir_k_finish_t finish;
                    const weir_k_window_row_t row = {.pixels = pixels,
                        .rows = 1 + (size_t)shape % TALL,
                        .taps = 1 + (size_t)shape % 5,
                        .x = x,
                        .x_row = (WIDTH + 3) * 16,
                        .width = WIDTH - shape,
                        .stride = 1 + shape % 2,
                        .dilation = 1 + shape / 4,
                        .pad = shape % 5,
                        .weights = weights,
                        .weight_row = 8 * 16,
                        .finish = finish_of((int)shape + (pixels % 2 ? 8 : 0), bias, add, &finish),
                        .count_begin = shape % 3 ? -shape % 5 : 0,
                        .count_end = WIDTH + 20,
                        .count_rows = 2};
                    fill(x, sizeof(x) / sizeof(float), kind);
                    fill(weights, sizeof(weights) / sizeof(float), KIND_DENORMAL);
                    fill(add, PIXELS * 16, kind);
                    fill(bias, 16, KIND_PLAIN);
                    FOR_ALL_TABLES(t)
                    {
                        weir_k_window_row_t one = row;
                        one.y = y[t];
                        y[t][pixels * 16] = FENCE;
                        if (which == 0)
                            tables[t]->depthwise_f32_x16(&one);
                        else if (which == 1)
                            tables[t]->maxpool_f32_x16(&one);
                        else
                            tables[t]->averagepool_f32_x16(&one);
                        assert_true(y[t][pixels * 16] == FENCE);
                        expect_same("window16", y[0], y[t], pixels * 16);
                    }
                    for (size_t i = 0; i < pixels * 16; i++) {
                        float expected = window_at(&row, "dma"[which], i / 16, i % 16);
                        if (which == 0 && row.finish) {
                            expected += finish.bias ? bias[i % 16] : 0.0f;
                            expected += finish.add ? add[i] : 0.0f;
                            expected = activate(&finish, expected);
                        }
                        if (!(y[0][i] == expected || same(y[0][i], expected)))
                            fail_msg("window16 %d, shape %d: %a, not %a", which, (int)shape,
                                (double)y[0][i], (double)expected);
                    }
                }
}

void pools_over_everything(void **state)
{
    (void)state;
    static float x[70 * 16], y[3][17];
    ran("maxall_f32_x16");
    ran("averageall_f32_x16");
    for (size_t count = 1; count <= 70; count++)
        for (kind_t kind = 0; kind < KIND_COUNT; kind++)
            for (int is_max = 0; is_max < 2; is_max++) {
                fill(x, count * 16, kind);
                FOR_ALL_TABLES(t)
                {
                    y[t][16] = FENCE;
                    (is_max ? tables[t]->maxall_f32_x16 : tables[t]->averageall_f32_x16)(
                        count, x, y[t]);
                    assert_true(y[t][16] == FENCE);
                    expect_same("pool16", y[0], y[t], 16);
                }
                for (size_t l = 0; l < 16; l++) {
                    double sum = 0, magnitude = 0, greatest = -INFINITY;
                    for (size_t i = 0; i < count; i++) {
                        const double e = (double)x[i * 16 + l];
                        sum += e;
                        magnitude += fabs(e);
                        greatest = isnan(e) || isnan(greatest) ? NAN : fmax(greatest, e);
                    }
                    expect_near("pool16", l, y[0][l], is_max ? greatest : sum / (double)count,
                        is_max ? 0 : 0x1p-24 * (magnitude + 1));
                }
            }
}

void channels_go_into_blocks_and_back(void **state)
{
    (void)state;
    static float x[16 * ROW], y[70 * 16 + 1], back[16 * ROW + 1];
    ran("block_f32_x16");
    ran("unblock_f32_x16");
    for (size_t pixels = 1; pixels <= 70; pixels++)
        for (size_t channels = 1; channels <= 16; channels++)
            FOR_ALL_TABLES(t)
            {
                fill(x, 16 * ROW, (kind_t)(pixels % KIND_COUNT));
                y[pixels * 16] = FENCE;
                tables[t]->block_f32_x16(pixels, channels, x, ROW, y);
                assert_true(y[pixels * 16] == FENCE);
                for (size_t i = 0; i < pixels * 16; i++)
                    assert_true(same(y[i], i % 16 < channels ? x[i % 16 * ROW + i / 16] : 0.0f));
                for (size_t i = 0; i <= 16 * ROW; i++)
                    back[i] = FENCE;
                tables[t]->unblock_f32_x16(pixels, channels, y, back, ROW);
                for (size_t i = 0; i < 16 * ROW; i++)
                    assert_true(
                        same(back[i], i / ROW < channels && i % ROW < pixels ? x[i] : FENCE));
            }
}

// Planes of all small sizes, against the chain spelled out; nothing outside of a plane is read, for
// it lies at the end of its memory.
void depthwise_planes_are_chains(void **state)
{
    (void)state;
    enum { MOST_SIDE = 37 };
    static float x[MOST_SIDE * MOST_SIDE], weights[9], y[3][MOST_SIDE * MOST_SIDE + 1];
    ran("depthwise_3x3_f32");
    for (kind_t kind = 0; kind < KIND_COUNT; kind++)
        for (int64_t height = 1; height <= 9; height += 2)
            for (int64_t width = 1; width <= MOST_SIDE; width++)
                for (int64_t pad = 0; pad < 3; pad++)
                    for (int64_t stride = 1; stride <= 2; stride++) {
                        weir_k_depthwise_plane_block_t plane = {.height = height,
                            .width = width,
                            .out_height = (height + 2 * pad - 3) / stride + 1,
                            .out_width = (width + 2 * pad - 3) / stride + 1,
                            .pad_top = pad,
                            .pad_left = pad,
                            .stride = stride,
                            .weights = weights,
                            .start = 0.25f,
                            .x = x + MOST_SIDE * MOST_SIDE - height * width};
                        if (height + 2 * pad < 3 || width + 2 * pad < 3 ||
                            plane.out_width > MOST_SIDE)
                            continue;
                        const size_t count = (size_t)(plane.out_height * plane.out_width);
                        fill(x, MOST_SIDE * MOST_SIDE, kind);
                        fill(weights, 9, KIND_DENORMAL);
                        FOR_ALL_TABLES(t)
                        {
                            plane.y = y[t];
                            y[t][count] = FENCE;
                            tables[t]->depthwise_3x3_f32(&plane);
                            assert_true(y[t][count] == FENCE);
                            expect_same("plane", y[0], y[t], count);
                        }
                        for (size_t i = 0; i < count; i++) {
                            const int64_t row = (int64_t)i / plane.out_width * stride - pad;
                            const int64_t column = (int64_t)i % plane.out_width * stride - pad;
                            float sum = plane.start;
                            for (int64_t ky = 0; ky < 3; ky++)
                                for (int64_t kx = 0; kx < 3; kx++)
                                    if (row + ky >= 0 && row + ky < height && column + kx >= 0 &&
                                        column + kx < width)
                                        sum = fmaf(weights[ky * 3 + kx],
                                            plane.x[(row + ky) * width + column + kx], sum);
                            if (!(y[0][i] == sum || same(y[0][i], sum)))
                                fail_msg("plane %zu: %a, not %a", i, (double)y[0][i], (double)sum);
                        }
                    }
}
