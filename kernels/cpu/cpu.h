// The CPU kernels: plain C signatures, one table an ISA. kernels.inc lists them.
//
// Kernels know no engine type, allocate nothing, keep nothing and are re-entrant. They do not
// choose an ISA: whoever calls asks the machine first (backends/cpu/isa.c) and never uses a table
// it lacks.
#ifndef WEIR_KERNELS_CPU_CPU_H
#define WEIR_KERNELS_CPU_CPU_H

#include <stddef.h>
#include <stdint.h>

// A map kernel works on whole groups of this many elements: `count` is a multiple of it.
#define WEIR_K_LANES 16
// Rows and columns of a GEMM tile, and the columns of a packed panel.
#define WEIR_K_TILE_ROWS 12
#define WEIR_K_PANEL 32
// Channels of a block.
#define WEIR_K_BLOCK 16

typedef struct weir_k_immediates {
    float f[2];
} weir_k_immediates_t;

// out[i] = op(a[i], b[i], c[i]) for i in [0, count). Unused inputs may be NULL. No alignment. `out`
// may be an input, if their elements are of one size; no other overlap.
typedef void weir_k_map_t(size_t count, const void *a, const void *b, const void *c, void *out,
    const weir_k_immediates_t *immediates);

// C[rows][columns] = A[rows][k] B[k][columns], or C += the same when `resume`: then the chain of
// fused multiply-adds of every element goes on from C where an earlier call left it. One
// ascending-k chain an element, whatever rows, columns and their neighbours are. Distances are in
// floats.
//   A's element (i, kk) lies at a[i * a_row + kk * a_k].
//   B's element (kk, j) lies at b[(j / 32) * b_panel + kk * b_k + j % 32]; panels are whole: all 32
//   columns can be read. They need no alignment (64 bytes is faster).
typedef struct weir_k_gemm_block {
    size_t rows, columns, k;
    const float *a;
    size_t a_row, a_k;
    const float *b;
    size_t b_panel, b_k;
    float *c;
    size_t c_row;
    const float *start; // [rows] where the chains begin; NULL: at 0. Not looked at when resumed
    int resume;
} weir_k_gemm_block_t;
typedef void weir_k_gemm_t(const weir_k_gemm_block_t *block);

// A matrix of k rows and n columns, element (kk, j) at from[kk * from_k + j * from_column], into
// panels: to[(j / 32) * k * 32 + kk * 32 + j % 32]. Columns from n on are zero in the last panel.
typedef void weir_k_pack_t(
    size_t k, size_t n, const float *from, size_t from_k, size_t from_column, float *to);

// One row of a depthwise convolution, `count` outputs: the chain over the taps, in their order, of
// fused multiply-adds of weights[t] and rows[t][i].
typedef void weir_k_depthwise_t(
    size_t count, size_t tap_count, const float *weights, const float *const *rows, float *out);

// A depthwise convolution of one plane, all its outputs, 3x3 taps, stride 1 or 2: the chain begins
// with `start` and runs over the taps, in their order, whose row lies in the plane; columns outside
// are zeros.
typedef struct weir_k_depthwise_plane_block {
    const float *x;
    int64_t height, width, out_height, out_width, pad_top, pad_left, stride;
    const float *weights;
    float start;
    float *y;
} weir_k_depthwise_plane_block_t;
typedef void weir_k_depthwise_plane_t(const weir_k_depthwise_plane_block_t *plane);

// What follows a sum in the blocked kernels: sum + bias[channel] + add, then the activation, then
// the result times scale and plus shift, if it has them. bias and add may be NULL; add lies as y
// does. A CLAMP is min(max(sum, low), high), a HARD_SWISH as the map of that name; NaN stays NaN.
enum { WEIR_K_NO_ACTIVATION = 0, WEIR_K_RELU, WEIR_K_CLAMP, WEIR_K_HARD_SWISH };
typedef struct weir_k_finish {
    const float *bias; // of this call's first channel; whole blocks
    const float *add;
    float low, high;
    int activation;
    int has_scale, has_shift;
    float scale, shift;
} weir_k_finish_t;

// Winograd's F(4x4, 3x3), one tile of one block: 6 x 6 pixels at x, rows x_row apart, become 36
// vectors of 16 at v, v_step apart; 36 vectors of sums at m become rows x columns (at most 4 x 4)
// pixels at y, with what follows a sum. Distances are in floats.
typedef void weir_k_winograd_in_t(const float *x, size_t x_row, float *v, size_t v_step);
typedef void weir_k_winograd_out_t(const float *m, size_t m_step, float *y, size_t y_row,
    size_t rows, size_t columns, const weir_k_finish_t *finish);

// The same along a row: F(4, 3) and F(2, 5). 6 pixels at x, the next tile's x_tile floats behind
// them, become a vector of 16 in each of 6 matrices v_step apart; sums of 6 matrices become `step`
// (4 or 2) pixels each, `pixels` of them in all, side by side.
typedef void weir_k_winograd_row_in_t(
    size_t tiles, const float *x, size_t x_tile, float *v, size_t v_step);
typedef void weir_k_winograd_row_out_t(size_t pixels, size_t step, const float *m, size_t m_step,
    float *y, const weir_k_finish_t *finish);

// Some pixels of 1 to 4 blocks of 16 output channels of a convolution. Distances are in floats.
//   x: element i of `inner` of tap t of chunk c of pixel p lies at
//      x[at[p] + c * x_chunk + tap_at[t] + i].
//   weights: [chunks][taps][inner][blocks][16].
//   y: lane l of block b of pixel p lies at y[b * y_block + p * y_pixel + l].
// One chain of fused multiply-adds over ascending (chunk, tap, i) for each element; with `resume`
// it goes on from y. finish, if there is one, follows. An inner of 1 needs chunks of 1. Weights
// behind those of this call, as many again, are fetched for the next.
typedef struct weir_k_conv_block {
    size_t pixels, blocks, chunks, taps, inner;
    const float *x;
    const uint32_t *at, *tap_at;
    size_t x_chunk;
    const float *weights;
    float *y;
    size_t y_block, y_pixel;
    const weir_k_finish_t *finish;
    int resume;
} weir_k_conv_block_t;
typedef void weir_k_conv_t(const weir_k_conv_block_t *block);

// One row of `pixels` outputs of a window operator, one block of 16 channels. Column c of tap row r
// lies at x[r * x_row + c * 16]; columns outside [0, width) are left out. Output p begins at column
// p * stride - pad. depthwise: weights lie at weights[r * weight_row + tap * 16]. averagepool: the
// divisor is count_rows times the taps whose column lies in [count_begin, count_end).
typedef struct weir_k_window_row {
    size_t pixels, rows, taps;
    const float *x;
    size_t x_row;
    int64_t width, stride, dilation, pad;
    const float *weights;
    size_t weight_row;
    float *y;
    const weir_k_finish_t *finish; // of depthwise
    int64_t count_begin, count_end;
    size_t count_rows;
} weir_k_window_row_t;
typedef void weir_k_window16_t(const weir_k_window_row_t *row);

// The mean or the greatest of `count` pixels of one block: pixel i goes to chain i mod 8, the
// chains in a fixed tree.
typedef void weir_k_pool16_t(size_t count, const float *x, float *y);

// Row-major channels, at distance x_channel, to one block of 16 and back. What fills up the block
// is 0.
typedef void weir_k_block_t(
    size_t pixels, size_t channels, const float *x, size_t x_channel, float *y);
typedef void weir_k_unblock_t(
    size_t pixels, size_t channels, const float *x, float *y, size_t y_channel);

// y = exp(x - max) / sum over `count` elements. Element i is added to accumulator i mod 64, the
// accumulators in a fixed tree. A row with a NaN is NaN throughout. Its error grows by one unit in
// the last place for each 1 that x lies below max: the difference is rounded.
typedef void weir_k_softmax_t(size_t count, const float *x, float *y);

// The softmax inside attention, up to its division: x = exp(score - max) in place, where score is
// x * scale + mask[i * mask_step] by one fused multiply-add (mask NULL: x * scale); mask_step is 0
// or 1. What lies more than 87 below max becomes 0. Returns the sum, in softmax's order; it is NaN
// if a score is, or none is above -inf.
typedef float weir_k_attend_t(
    size_t count, float scale, const float *mask, size_t mask_step, float *x);

// y = (x - mean) * inverse deviation * scale + bias over `count` elements, variance from the
// centred values, sums as in softmax. bias, out_mean and out_inverse may be NULL. y may be x.
typedef void weir_k_layernorm_t(size_t count, float epsilon, const float *x, const float *scale,
    const float *bias, float *y, float *out_mean, float *out_inverse);

// A window slides along a row: out[i] = the taps rows[t][i], t ascending, put together: the
// greatest (NaN if one is), or their sum. divisors: NULL, or the sum is divided by divisors[i] *
// scale.
typedef void weir_k_window_t(size_t count, size_t tap_count, const float *const *rows,
    const float *divisors, float scale, float *out);

// Sorts a row by remainders: row[i] goes to to[p % stride * phase_columns + p / stride], where p is
// i + pad. What lies at phase_columns or beyond in its phase is left out.
typedef void weir_k_phases_t(
    size_t count, size_t stride, size_t pad, size_t phase_columns, const float *row, float *to);

// The reverse for whole rows: to[i * ways + w] = rows[w][i] for i in [0, count).
typedef void weir_k_interleave_t(size_t count, size_t ways, const float *const *rows, float *to);

// One number from `count`. Sums: as in softmax below. Nothing gives 0, or -inf (max), or inf (min).
typedef float weir_k_fold_t(size_t count, const float *x);

// The same down each of `columns` columns, element (i, j) at x[i * x_row + j], with the bits that
// fold gives for that column.
typedef void weir_k_fold_columns_t(
    size_t count, size_t columns, const float *x, size_t x_row, float *out);

// One LSTM step for `count` cells: gates holds i, o, f, g, `count` floats each, before their
// functions. c and h become those of the next step.
typedef void weir_k_lstm_cell_t(size_t count, const float *gates, float *c, float *h);

// out[i] = x[i] / (bias + alpha * the sum of the squares of rows[t][i])^beta, t ascending. beta
// 0.75 takes square roots, any other exp and log.
typedef void weir_k_lrn_t(size_t count, size_t tap_count, const float *const *rows, const float *x,
    float alpha, float beta, float bias, float *out);

// out[i] = a[i] + (b[i] - a[i]) * weight, and the same with elements of one row picked by index and
// a weight each: out[i] = x[low[i]] + (x[high[i]] - x[low[i]]) * weights[i].
typedef void weir_k_blend_t(size_t count, const float *a, const float *b, float weight, float *out);
typedef void weir_k_blend_picked_t(size_t count, const float *x, const int32_t *low,
    const int32_t *high, const float *weights, float *out);

// y[i] = x[i] / divisor.
typedef void weir_k_divide_t(size_t count, const float *x, float divisor, float *y);

// Elements of 1, 2, 4 or 8 bytes that move from one strided place to another. Units are numbered
// over the outer dims (the last one fastest) and then over chunks of `rows`; within a unit up to
// chunk_rows rows of `columns` elements move. Distances are in elements and may be 0 or negative.
#define WEIR_K_COPY_RANK 14
typedef struct weir_k_copy_shape {
    uint32_t element_bytes, outer_rank;
    uint64_t outer[WEIR_K_COPY_RANK];
    int64_t from_outer[WEIR_K_COPY_RANK], to_outer[WEIR_K_COPY_RANK];
    uint64_t rows, chunk_rows, columns;
    int64_t from_row, to_row, from_column, to_column;
} weir_k_copy_shape_t;
typedef void weir_k_copy_t(
    const weir_k_copy_shape_t *shape, uint64_t first, uint64_t count, const void *from, void *to);

typedef struct weir_k_table {
    const char *name; // "AVX-512", "AVX2", "plain C"
#define WEIR_KERNEL(family, kernel, inputs, in, out, budget) weir_k_##family##_t *kernel;
#include "kernels/cpu/kernels.inc"
} weir_k_table_t;

// What each needs: AVX512F, BW, DQ, VL and FMA; AVX2 and FMA; nothing.
extern const weir_k_table_t weir_k_table__avx512, weir_k_table__avx2, weir_k_table__plain;

#endif
