// kernels/cuda/move.cuh: what moves elements and computes nothing; by element size.
//
// One thread for one element of the result (copy, pad, gather) or a tile of 32 x 32 (transpose,
// through shared memory, so that both sides are read and written in rows).
#include "kernels/cuda/device.cuh"

typedef uint8_t weir_b1_t;
typedef uint16_t weir_b2_t;
typedef uint32_t weir_b4_t;
typedef struct weir_b8 {
    uint32_t word[2];
} weir_b8_t WEIR_ALIGNED(8);
typedef struct weir_b16 {
    uint32_t word[4];
} weir_b16_t WEIR_ALIGNED(16);

#define T b1
#include "kernels/cuda/move_body.cuh"
#undef T
#define T b2
#include "kernels/cuda/move_body.cuh"
#undef T
#define T b4
#include "kernels/cuda/move_body.cuh"
#undef T
#define T b8
#include "kernels/cuda/move_body.cuh"
#undef T
#define T b16
#include "kernels/cuda/move_body.cuh"
#undef T

// ---- Transpose ----------------------------------------------------------------------------------

#define WEIR_TRANSPOSE_TILE 32
#define WEIR_TRANSPOSE_ROWS 8 // threads of a block: 32 x 8

typedef struct weir_cuda_transpose_shared {
    uint32_t tile[WEIR_TRANSPOSE_TILE][WEIR_TRANSPOSE_TILE + 1]; // 33: no two rows in one bank
} weir_cuda_transpose_shared_t;

WEIR_DEVICE void weir_k_transpose_b4_body(
    const weir_cuda_transpose_params_t *p, weir_cuda_transpose_shared_t *shared)
{
    const uint32_t column_tiles = (p->columns + WEIR_TRANSPOSE_TILE - 1) / WEIR_TRANSPOSE_TILE;
    const uint32_t column = WEIR_BLOCK_X % column_tiles * WEIR_TRANSPOSE_TILE;
    const uint32_t row = WEIR_BLOCK_X / column_tiles * WEIR_TRANSPOSE_TILE;
    const uint32_t x = WEIR_THREAD % WEIR_TRANSPOSE_TILE, y = WEIR_THREAD / WEIR_TRANSPOSE_TILE;
    for (uint32_t b = WEIR_BLOCK_Z; b < p->batch; b += WEIR_BLOCKS_Z) {
        const uint64_t first = (uint64_t)b * p->rows * p->columns;
        const uint32_t *from = (const uint32_t *)p->x + first;
        uint32_t *to = (uint32_t *)p->y + first;
        for (uint32_t i = y; i < WEIR_TRANSPOSE_TILE; i += WEIR_TRANSPOSE_ROWS)
            if (row + i < p->rows && column + x < p->columns)
                shared->tile[i][x] = from[(uint64_t)(row + i) * p->columns + column + x];
        WEIR_SYNC();
        for (uint32_t i = y; i < WEIR_TRANSPOSE_TILE; i += WEIR_TRANSPOSE_ROWS)
            if (column + i < p->columns && row + x < p->rows)
                to[(uint64_t)(column + i) * p->rows + row + x] = shared->tile[x][i];
        WEIR_SYNC();
    }
}
