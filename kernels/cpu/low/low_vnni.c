// The products of low.h with vdpbf16ps and vpdpbusd: tiles of 12 rows by 32 columns, 24
// accumulators, 2 vectors of B, 1 broadcast of 4 bytes of A.
#include <immintrin.h>

#include "kernels/cpu/low/low.h"

// The sums live in registers only if every index into them is a constant.
#if defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 12")
#endif
#define FOR_EACH(i, count) UNROLL for (int i = 0; i < (count); i++)

#define TILE_ROWS 12

// One tile; `rows` is known when compiled. dot: sum + the products of 4 bytes of a and b.
#define TILE_BODY(vector_t, zero, dot)                                                             \
    vector_t sum[TILE_ROWS][2];                                                                    \
    FOR_EACH(i, rows)                                                                              \
    {                                                                                              \
        sum[i][0] = sum[i][1] = zero;                                                              \
    }                                                                                              \
    for (size_t chunk = 0; chunk < block->chunks; chunk++) {                                       \
        const unsigned char *a = first + block->at[chunk];                                         \
        for (size_t k = 0; k < 16; k++, b += 128) {                                                \
            const __m512i left = _mm512_loadu_si512(b), right = _mm512_loadu_si512(b + 64);        \
            FOR_EACH(i, rows)                                                                      \
            {                                                                                      \
                int four;                                                                          \
                __builtin_memcpy(&four, a + (size_t)i * WEIR_K_CHUNK_BYTES + k * 4, 4);            \
                const __m512i value = _mm512_set1_epi32(four);                                     \
                sum[i][0] = dot(sum[i][0], value, left);                                           \
                sum[i][1] = dot(sum[i][1], value, right);                                          \
            }                                                                                      \
        }                                                                                          \
    }

#define DOT_BF16(sum, a, b) _mm512_dpbf16_ps(sum, (__m512bh)(a), (__m512bh)(b))
#define DOT_U8S8(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)

static inline __attribute__((always_inline)) void tile_bf16(const int rows,
    const weir_k_chunks_block_t *block, const unsigned char *first, const unsigned char *b, void *c)
{
    TILE_BODY(__m512, _mm512_setzero_ps(), DOT_BF16)
    FOR_EACH(i, rows)
    {
        _mm512_storeu_ps((float *)c + (size_t)i * block->c_row, sum[i][0]);
        _mm512_storeu_ps((float *)c + (size_t)i * block->c_row + 16, sum[i][1]);
    }
}

static inline __attribute__((always_inline)) void tile_u8s8(const int rows,
    const weir_k_chunks_block_t *block, const unsigned char *first, const unsigned char *b, void *c)
{
    TILE_BODY(__m512i, _mm512_setzero_si512(), DOT_U8S8)
    FOR_EACH(i, rows)
    {
        _mm512_storeu_si512((int32_t *)c + (size_t)i * block->c_row, sum[i][0]);
        _mm512_storeu_si512((int32_t *)c + (size_t)i * block->c_row + 16, sum[i][1]);
    }
}

typedef void tile_t(const weir_k_chunks_block_t *block, const unsigned char *first,
    const unsigned char *b, void *c);

#define TILE(kind, rows)                                                                           \
    static void tile_##kind##_##rows(const weir_k_chunks_block_t *block,                           \
        const unsigned char *first, const unsigned char *b, void *c)                               \
    {                                                                                              \
        tile_##kind(rows, block, first, b, c);                                                     \
    }
#define TILES(kind)                                                                                \
    TILE(kind, 1)                                                                                  \
    TILE(kind, 2)                                                                                  \
    TILE(kind, 3)                                                                                  \
    TILE(kind, 4)                                                                                  \
    TILE(kind, 5)                                                                                  \
    TILE(kind, 6)                                                                                  \
    TILE(kind, 7)                                                                                  \
    TILE(kind, 8)                                                                                  \
    TILE(kind, 9)                                                                                  \
    TILE(kind, 10)                                                                                 \
    TILE(kind, 11)                                                                                 \
    TILE(kind, 12)                                                                                 \
    static tile_t *const tiles_##kind[TILE_ROWS] = {tile_##kind##_1, tile_##kind##_2,              \
        tile_##kind##_3, tile_##kind##_4, tile_##kind##_5, tile_##kind##_6, tile_##kind##_7,       \
        tile_##kind##_8, tile_##kind##_9, tile_##kind##_10, tile_##kind##_11, tile_##kind##_12};
TILES(bf16)
TILES(u8s8)

// Rows [first, first + rows) of one panel. Elements of C are 4 bytes in both kinds.
static void group(const weir_k_chunks_block_t *block, tile_t *const *tiles, size_t panel,
    size_t first, size_t rows, size_t at)
{
    for (size_t row = 0; row < rows; row += TILE_ROWS) {
        const size_t left = rows - row;
        tiles[(left < TILE_ROWS ? left : TILE_ROWS) - 1](block,
            block->a + (first + row) * WEIR_K_CHUNK_BYTES, block->b + panel * block->b_panel,
            (unsigned char *)block->c + (at + row * block->c_row) * 4);
    }
}

// Passed on, B stays in L1 and A streams; kept, 12 rows of A stay.
static void chunks(const weir_k_chunks_block_t *block, tile_t *const *tiles)
{
    const size_t most = block->done ? WEIR_K_CHUNK_GROUP / TILE_ROWS * TILE_ROWS : TILE_ROWS;
    for (size_t panel = 0; block->done && panel < block->panels; panel++)
        for (size_t row = 0; row < block->rows; row += most) {
            const size_t rows = block->rows - row < most ? block->rows - row : most;
            group(block, tiles, panel, row, rows, 0);
            block->done(block->user, panel, row, rows);
        }
    for (size_t row = 0; !block->done && row < block->rows; row += most)
        for (size_t panel = 0; panel < block->panels; panel++)
            group(block, tiles, panel, row, block->rows - row < most ? block->rows - row : most,
                panel * block->c_panel + row * block->c_row);
}

static void chunks_bf16(const weir_k_chunks_block_t *block)
{
    chunks(block, tiles_bf16);
}

static void chunks_u8s8(const weir_k_chunks_block_t *block)
{
    chunks(block, tiles_u8s8);
}
#define WEIR_LOW_OWN_PRODUCTS

#define WEIR_LOW_AVX512
#define WEIR_LOW(name) name##__vnni
#define WEIR_LOW_NAME "AVX-512 bf16 and VNNI"
#include "kernels/cpu/low/low_body.inc"
