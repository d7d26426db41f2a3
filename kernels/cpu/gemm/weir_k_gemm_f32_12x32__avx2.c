// C = A B for AVX2 with FMA: tiles of 6 rows by 16 columns (12 accumulators, 2 vectors of B, 1
// broadcast), four of which make one of the 12 x 32 that the panels are packed for.
//
// Contract: weir_k_gemm_t in cpu.h. Each element of C is one chain of fused multiply-adds over
// ascending k, the same bits as every other ISA. B is always read in whole panels, C only where it
// is.
#include <immintrin.h>

#include "kernels/cpu/cpu.h"

extern weir_k_gemm_t weir_k_gemm_f32_12x32__avx2;

static inline __m256i lane_mask(size_t columns)
{
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)(columns > 8 ? 8 : columns)), lane);
}

// `rows` is known when compiled; columns: 1 to 16 of C.
static inline __attribute__((always_inline)) void tile(const int rows,
    const weir_k_gemm_block_t *block, const float *a, const float *b, const float *start, float *c,
    size_t columns)
{
    __m256 sum[6][2];
    const size_t a_row = block->a_row, a_k = block->a_k, c_row = block->c_row;
    const __m256i mask[2] = {lane_mask(columns), lane_mask(columns > 8 ? columns - 8 : 0)};
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            sum[i][v] = block->resume ? _mm256_maskload_ps(c + (size_t)i * c_row + v * 8, mask[v])
                        : start       ? _mm256_set1_ps(start[i])
                                      : _mm256_setzero_ps();
    const float *a0 = a, *a3 = rows > 3 ? a + 3 * a_row : a;
    for (size_t k = 0; k < block->k; k++) {
        const __m256 low = _mm256_loadu_ps(b), high = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
        for (int i = 0; i < rows; i++) {
            const __m256 value = _mm256_broadcast_ss((i < 3 ? a0 : a3) + (size_t)(i % 3) * a_row);
            sum[i][0] = _mm256_fmadd_ps(value, low, sum[i][0]);
            sum[i][1] = _mm256_fmadd_ps(value, high, sum[i][1]);
        }
        a0 += a_k;
        a3 += a_k;
        b += block->b_k;
    }
#pragma GCC unroll 6
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            _mm256_maskstore_ps(c + (size_t)i * c_row + v * 8, mask[v], sum[i][v]);
}

typedef void tile_t(const weir_k_gemm_block_t *block, const float *a, const float *b,
    const float *start, float *c, size_t columns);

#define TILE(rows)                                                                                 \
    static void tile_##rows(const weir_k_gemm_block_t *block, const float *a, const float *b,      \
        const float *start, float *c, size_t columns)                                              \
    {                                                                                              \
        tile(rows, block, a, b, start, c, columns);                                                \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
TILE(5)
TILE(6)

static tile_t *const tiles[6] = {tile_1, tile_2, tile_3, tile_4, tile_5, tile_6};

void weir_k_gemm_f32_12x32__avx2(const weir_k_gemm_block_t *block)
{
    for (size_t i = 0; i < block->rows; i += 6) {
        const size_t rows = block->rows - i < 6 ? block->rows - i : 6;
        const float *a = block->a + i * block->a_row;
        const float *start = block->start ? block->start + i : NULL;
        float *c = block->c + i * block->c_row;
        for (size_t j = 0; j < block->columns; j += 16) {
            const size_t columns = block->columns - j < 16 ? block->columns - j : 16;
            const float *b = block->b + j / WEIR_K_PANEL * block->b_panel + j % WEIR_K_PANEL;
            tiles[rows - 1](block, a, b, start, c + j, columns);
        }
    }
}
