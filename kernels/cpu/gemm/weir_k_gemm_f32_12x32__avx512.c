// C = A B in tiles of 12 rows by 32 columns for AVX-512: 24 accumulators, 2 vectors of B, 1
// broadcast of A. Few rows take several panels at once, so that there are enough chains to hide the
// latency of an FMA.
//
// Contract: weir_k_gemm_t in cpu.h. Each element of C is one chain of fused multiply-adds over
// ascending k; what else a tile holds never changes it. B is always read in whole panels, C only
// where it is.
#include <immintrin.h>

#include "kernels/cpu/cpu.h"

extern weir_k_gemm_t weir_k_gemm_f32_12x32__avx512;

// The sums live in registers only if every index into them is a constant.
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif
#define FOR_EACH(i, count) UNROLL for (int i = 0; i < (count); i++)

// One tile of `rows` rows and `vectors` vectors of 16 columns, both known when compiled. last: the
// mask of the last vector. Panels begin every second vector.
static inline __attribute__((always_inline)) void tile(const int rows, const int vectors,
    const weir_k_gemm_block_t *block, const float *a, const float *b, const float *start, float *c,
    __mmask16 last)
{
    __m512 sum[12][8];
    const size_t a_row = block->a_row, a_k = block->a_k, c_row = block->c_row;
    const size_t b_k = block->b_k, b_panel = block->b_panel;
    FOR_EACH(i, rows)
    {
        FOR_EACH(v, vectors)
        {
            const __mmask16 mask = v == vectors - 1 ? last : (__mmask16)0xffff;
            sum[i][v] = block->resume ? _mm512_maskz_loadu_ps(mask, c + (size_t)i * c_row + v * 16)
                        : start       ? _mm512_set1_ps(start[i])
                                      : _mm512_setzero_ps();
        }
    }
    // C comes while the sums are made, so that storing them does not wait.
    if (!block->resume) {
        FOR_EACH(i, rows)
        {
            FOR_EACH(v, vectors)
            {
                _mm_prefetch((const char *)(c + (size_t)i * c_row + v * 16), _MM_HINT_T0);
            }
        }
    }
    // Rows in threes: one pointer and two multiples of the distance reach each of three.
    const float *a0 = a, *a3 = rows > 3 ? a + 3 * a_row : a;
    const float *a6 = rows > 6 ? a + 6 * a_row : a, *a9 = rows > 9 ? a + 9 * a_row : a;
    for (size_t k = 0; k < block->k; k++) {
        // 16 rows of the panel ahead; past its end this is only a hint. As numbers: no such pointer
        // exists.
        if (vectors == 2) {
            const uintptr_t ahead = (uintptr_t)b + 16 * b_k * sizeof(*b);
            _mm_prefetch((const char *)ahead, _MM_HINT_T0);
            _mm_prefetch((const char *)(ahead + 64), _MM_HINT_T0);
        }
        __m512 column[8];
        FOR_EACH(v, vectors)
        {
            column[v] = _mm512_loadu_ps(b + (size_t)(v / 2) * b_panel + (v % 2) * 16);
        }
        FOR_EACH(i, rows)
        {
            const float *base = i < 3 ? a0 : i < 6 ? a3 : i < 9 ? a6 : a9;
            const __m512 value = _mm512_set1_ps(base[(size_t)(i % 3) * a_row]);
            FOR_EACH(v, vectors)
            {
                sum[i][v] = _mm512_fmadd_ps(value, column[v], sum[i][v]);
            }
        }
        a0 += a_k;
        a3 += a_k;
        a6 += a_k;
        a9 += a_k;
        b += b_k;
    }
    FOR_EACH(i, rows)
    {
        FOR_EACH(v, vectors)
        {
            const __mmask16 mask = v == vectors - 1 ? last : (__mmask16)0xffff;
            _mm512_mask_storeu_ps(c + (size_t)i * c_row + v * 16, mask, sum[i][v]);
        }
    }
}

typedef void tile_t(const weir_k_gemm_block_t *block, const float *a, const float *b,
    const float *start, float *c, __mmask16 last);

#define TILE(rows, vectors)                                                                        \
    static void tile_##rows##x##vectors(const weir_k_gemm_block_t *block, const float *a,          \
        const float *b, const float *start, float *c, __mmask16 last)                              \
    {                                                                                              \
        tile(rows, vectors, block, a, b, start, c, last);                                          \
    }
#define TILES(rows) TILE(rows, 1) TILE(rows, 2)
TILES(1)
TILES(2)
TILES(3)
TILES(4)
TILES(5)
TILES(6)
TILES(7)
TILES(8)
TILES(9)
TILES(10)
TILES(11)
TILES(12)
TILE(1, 8)
TILE(2, 8)
TILE(3, 4)
TILE(4, 4)
TILE(5, 4)
TILE(6, 4)

static tile_t *const tiles_narrow[12] = {tile_1x1, tile_2x1, tile_3x1, tile_4x1, tile_5x1, tile_6x1,
    tile_7x1, tile_8x1, tile_9x1, tile_10x1, tile_11x1, tile_12x1};
static tile_t *const tiles[12] = {tile_1x2, tile_2x2, tile_3x2, tile_4x2, tile_5x2, tile_6x2,
    tile_7x2, tile_8x2, tile_9x2, tile_10x2, tile_11x2, tile_12x2};
static tile_t *const tiles_wide[6] = {tile_1x8, tile_2x8, tile_3x4, tile_4x4, tile_5x4, tile_6x4};

void weir_k_gemm_f32_12x32__avx512(const weir_k_gemm_block_t *block)
{
    for (size_t i = 0; i < block->rows; i += WEIR_K_TILE_ROWS) {
        const size_t left = block->rows - i;
        const size_t rows = left < WEIR_K_TILE_ROWS ? left : WEIR_K_TILE_ROWS;
        const float *a = block->a + i * block->a_row;
        const float *start = block->start ? block->start + i : NULL;
        float *c = block->c + i * block->c_row;
        size_t j = 0;
        if (rows <= 6)
            for (const size_t wide = rows <= 2 ? 128 : 64; j + wide <= block->columns; j += wide)
                tiles_wide[rows - 1](
                    block, a, block->b + j / WEIR_K_PANEL * block->b_panel, start, c + j, 0xffff);
        for (; j < block->columns; j += WEIR_K_PANEL) {
            const size_t columns = block->columns - j;
            const float *b = block->b + j / WEIR_K_PANEL * block->b_panel;
            if (columns <= 16)
                tiles_narrow[rows - 1](block, a, b, start, c + j, (__mmask16)((1u << columns) - 1));
            else if (columns < WEIR_K_PANEL)
                tiles[rows - 1](block, a, b, start, c + j, (__mmask16)((1u << (columns - 16)) - 1));
            else
                tiles[rows - 1](block, a, b, start, c + j, 0xffff);
        }
    }
}
