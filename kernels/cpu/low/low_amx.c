// The products of low.h with the tiles of AMX: 32 rows by 32 columns in 4 tiles of sums, 2 of A and
// 2 of B. A chunk of 16 rows of A is one tile, half a chunk of a panel of B another.
//
// Each call sets the tiles up and gives them back, so that a thread carries no tile state while it
// does anything else.
#include <immintrin.h>
#include <string.h>

#include "kernels/cpu/low/low.h"

typedef struct tile_config {
    unsigned char palette, start_row, reserved[14];
    unsigned short column_bytes[16];
    unsigned char rows[16];
} tile_config_t;

static void tiles_begin(void)
{
    tile_config_t config = {.palette = 1};
    for (int i = 0; i < 8; i++) {
        config.column_bytes[i] = 64;
        config.rows[i] = 16;
    }
    _tile_loadconfig(&config);
}

// The sums' rows that are C's: the tile itself, or by way of a copy.
#define STORE(tile, to, count)                                                                     \
    do {                                                                                           \
        if ((count) >= 16) {                                                                       \
            _tile_stored(tile, to, c_row);                                                         \
        } else {                                                                                   \
            unsigned char rest[16 * 64];                                                           \
            _tile_stored(tile, rest, 64);                                                          \
            for (size_t i = 0; i < (count); i++)                                                   \
                memcpy((unsigned char *)(to) + i * c_row, rest + i * 64, 64);                      \
        }                                                                                          \
    } while (0)

// Up to 32 rows of one panel, and up to 16. Tiles 0 to 3: sums; 4 and 5: A; 6 and 7: B.
#define DEFINE_CHUNKS(kind, dot)                                                                   \
    static void rows32_##kind(const weir_k_chunks_block_t *block, size_t rows,                     \
        const unsigned char *a, const unsigned char *b, unsigned char *c)                          \
    {                                                                                              \
        const size_t c_row = block->c_row * 4;                                                     \
        _tile_zero(0);                                                                             \
        _tile_zero(1);                                                                             \
        _tile_zero(2);                                                                             \
        _tile_zero(3);                                                                             \
        for (size_t i = 0; i < block->chunks; i++, b += WEIR_K_CHUNK_PANEL_BYTES) {                \
            const unsigned char *from = a + block->at[i];                                          \
            _tile_loadd(6, b, 128);                                                                \
            _tile_loadd(4, from, 64);                                                              \
            _tile_loadd(7, b + 64, 128);                                                           \
            dot(0, 4, 6);                                                                          \
            _tile_loadd(5, from + 1024, 64);                                                       \
            dot(1, 4, 7);                                                                          \
            dot(2, 5, 6);                                                                          \
            dot(3, 5, 7);                                                                          \
        }                                                                                          \
        STORE(0, c, rows);                                                                         \
        STORE(1, c + 64, rows);                                                                    \
        STORE(2, c + 16 * c_row, rows - 16);                                                       \
        STORE(3, c + 16 * c_row + 64, rows - 16);                                                  \
    }                                                                                              \
    static void rows16_##kind(const weir_k_chunks_block_t *block, size_t rows,                     \
        const unsigned char *a, const unsigned char *b, unsigned char *c)                          \
    {                                                                                              \
        const size_t c_row = block->c_row * 4;                                                     \
        _tile_zero(0);                                                                             \
        _tile_zero(1);                                                                             \
        for (size_t i = 0; i < block->chunks; i++, b += WEIR_K_CHUNK_PANEL_BYTES) {                \
            _tile_loadd(6, b, 128);                                                                \
            _tile_loadd(4, a + block->at[i], 64);                                                  \
            _tile_loadd(7, b + 64, 128);                                                           \
            dot(0, 4, 6);                                                                          \
            dot(1, 4, 7);                                                                          \
        }                                                                                          \
        STORE(0, c, rows);                                                                         \
        STORE(1, c + 64, rows);                                                                    \
    }                                                                                              \
    static void group_##kind(const weir_k_chunks_block_t *block, size_t panel, size_t row,         \
        size_t rows, unsigned char *c)                                                             \
    {                                                                                              \
        const unsigned char *a = block->a + row * WEIR_K_CHUNK_BYTES;                              \
        const unsigned char *b = block->b + panel * block->b_panel;                                \
        if (rows > 16)                                                                             \
            rows32_##kind(block, rows, a, b, c);                                                   \
        else                                                                                       \
            rows16_##kind(block, rows, a, b, c);                                                   \
    }                                                                                              \
    static void pass_on_##kind(const weir_k_chunks_block_t *block, size_t panel, size_t first)     \
    {                                                                                              \
        const size_t left = block->rows - first;                                                   \
        const size_t rows = left < WEIR_K_CHUNK_GROUP ? left : WEIR_K_CHUNK_GROUP;                 \
        for (size_t row = 0; row < rows; row += 32)                                                \
            group_##kind(block, panel, first + row, rows - row < 32 ? rows - row : 32,             \
                (unsigned char *)block->c + row * block->c_row * 4);                               \
        block->done(block->user, panel, first, rows);                                              \
    }                                                                                              \
    static void chunks_##kind(const weir_k_chunks_block_t *block)                                  \
    {                                                                                              \
        tiles_begin();                                                                             \
        for (size_t panel = 0; block->done && panel < block->panels; panel++)                      \
            for (size_t row = 0; row < block->rows; row += WEIR_K_CHUNK_GROUP)                     \
                pass_on_##kind(block, panel, row);                                                 \
        for (size_t row = 0; !block->done && row < block->rows; row += 32)                         \
            for (size_t panel = 0; panel < block->panels; panel++)                                 \
                group_##kind(block, panel, row, block->rows - row < 32 ? block->rows - row : 32,   \
                    (unsigned char *)block->c +                                                    \
                        (panel * block->c_panel + row * block->c_row) * 4);                        \
        _tile_release();                                                                           \
    }
DEFINE_CHUNKS(bf16, _tile_dpbf16ps)
DEFINE_CHUNKS(u8s8, _tile_dpbusd)
#define WEIR_LOW_OWN_PRODUCTS

#define WEIR_LOW_AVX512
#define WEIR_LOW(name) name##__amx
#define WEIR_LOW_NAME "AMX"
#include "kernels/cpu/low/low_body.inc"
