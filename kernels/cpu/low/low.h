// Kernels in bf16 and int8: products over chunks of 64 bytes, and what goes before and after them.
//
// One table for each instruction set that has its own way of multiplying. In int8 all of them give
// the same bits; in bf16 the order in which the products of a pair, or of a chunk, are summed is
// the instruction's, so bits differ from one table to another. Within one table an output depends
// on nothing but its own row and column: one ascending chain over the chunks.
// Must not choose a table: backends/cpu/low.c does.
#ifndef WEIR_KERNELS_CPU_LOW_LOW_H
#define WEIR_KERNELS_CPU_LOW_LOW_H

#include "kernels/cpu/cpu.h"

// A chunk of one row: 32 bf16 or 64 bytes.
#define WEIR_K_CHUNK_BYTES 64u
#define WEIR_K_CHUNK_BF16 32u
#define WEIR_K_CHUNK_U8 64u
// Rows of A are read in groups: what fills up the last group must be readable, and counts nothing.
#define WEIR_K_CHUNK_ROWS 16u
// A chunk of a panel of 32 columns: 16 groups of k, of 4 bytes for each column.
#define WEIR_K_CHUNK_PANEL_BYTES 2048u

// C[rows][32 * panels] = A B, in f32 (bf16) or i32 (u8 times s8, exact).
//   A's chunk c of row r lies at a + at[c] + 64 * r, 64-byte aligned.
//   B's chunk c of panel p lies at b + p * b_panel + c * 2048: [16][32][4 bytes].
//   C's element (r, 32 p + j) lies at c[p * c_panel + r * c_row + j].
// With `done` C is only passed on: some rows at a time, at most 64, lie at c[i * c_row + j] while
// done(user, panel, first row, rows) takes them, panel after panel, rows ascending.
#define WEIR_K_CHUNK_GROUP 64u
typedef struct weir_k_chunks_block {
    size_t rows, panels, chunks;
    const unsigned char *a;
    const uint32_t *at; // [chunks] bytes
    const unsigned char *b;
    size_t b_panel; // bytes
    void *c;
    size_t c_row, c_panel;                                           // elements
    void (*done)(void *user, size_t panel, size_t row, size_t rows); // or NULL
    void *user;
} weir_k_chunks_block_t;
typedef void weir_k_chunks_t(const weir_k_chunks_block_t *block);

// to[row * 64]: 32 bf16, rounded to nearest even (a NaN stays one), of row `row` < count: lanes
// [0, low_lanes) from low[row * step], then, from lane 16 on, [0, high_lanes) from high[row *
// step]; the others are 0.
typedef void weir_k_bf16_rows_t(size_t count, const float *low, size_t low_lanes, const float *high,
    size_t high_lanes, size_t step, void *to);

// One block of 16 channels after a product: y[p * 16 + l] = the finish of c[p * c_row + l]; see
// weir_k_finish_t. NULL: a copy.
typedef void weir_k_finish16_t(
    size_t pixels, const float *c, size_t c_row, const weir_k_finish_t *finish, float *y);

// to[row * 64]: bytes of row `row` < count: lanes [16 b, 16 b + 16) from parts[b][row * step], 0
// where parts[b] is NULL, each exclusive-or `flip` (0x80 makes i8 what u8 would be, 128 more).
typedef void weir_k_u8_rows_t(
    size_t count, const unsigned char *const parts[4], size_t step, unsigned char flip, void *to);

// What an integer sum becomes, for 16 channels: docs/operators.md, QLinearConv. Bytes that are i8
// come and go with `flip`, and their zero points are 128 more.
typedef struct weir_k_requant {
    const int32_t *bias; // [16] zero points taken into account
    const float *scale;  // [16] of a sum, in steps of the product
    float low, high;     // the product's ends, without its zero point
    float zero;          // added last: the result's
    unsigned char flip;  // of the result
    unsigned char add_flip;
    int relu;
    const unsigned char *add; // as y lies, or NULL: then the rest says nothing
    float step, add_step, add_zero, out_step;
    float out_low, out_high;
} weir_k_requant_t;
// y[p * 16 + l] of c[p * c_row + l].
typedef void weir_k_requant16_t(size_t pixels, const int32_t *c, size_t c_row,
    const weir_k_requant_t *requant, unsigned char *y);

// y = saturate(round(x / scale) + zero), and back; flip as above.
typedef void weir_k_quantize_t(
    size_t count, const float *x, float scale, float zero, unsigned char flip, unsigned char *y);
typedef void weir_k_dequantize_t(
    size_t count, const unsigned char *x, float scale, float zero, unsigned char flip, float *y);

// The greatest of `count` rows of 16 bytes, as u8 after `flip`.
typedef void weir_k_max16_t(
    size_t count, const unsigned char *const *rows, unsigned char flip, unsigned char *y);

// out[0]: the least of x and 0; out[1]: the greatest. A NaN counts as 0.
typedef void weir_k_range_t(size_t count, const float *x, float out[2]);

typedef struct weir_k_low_table {
    const char *name; // "AMX", "AVX-512 bf16 and VNNI", "AVX-512", "AVX2", "plain C"
    weir_k_chunks_t *chunks_bf16, *chunks_u8s8;
    weir_k_bf16_rows_t *bf16_rows;
    weir_k_finish16_t *finish_f32_x16;
    weir_k_u8_rows_t *u8_rows;
    weir_k_requant16_t *requant_u8_x16;
    weir_k_quantize_t *quantize_u8;
    weir_k_dequantize_t *dequantize_u8;
    weir_k_max16_t *max_u8_x16;
    weir_k_range_t *range_f32;
} weir_k_low_table_t;

// amx: AMX-TILE, AMX-BF16, AMX-INT8 (and the kernel's leave to use them) beside what vnni needs:
// AVX512-BF16 and AVX512-VNNI beside AVX-512. The others as in cpu.h.
extern const weir_k_low_table_t weir_k_low_table__amx, weir_k_low_table__vnni,
    weir_k_low_table__avx512, weir_k_low_table__avx2, weir_k_low_table__plain;

#endif
