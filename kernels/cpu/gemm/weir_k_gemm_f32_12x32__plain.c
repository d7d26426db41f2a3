// C = A B in plain C: the floor. fmaf() keeps it at the bits of the vector ISAs, and slow where the
// machine has no FMA instruction.
//
// Contract: weir_k_gemm_t in cpu.h.
#include <math.h>

#include "kernels/cpu/cpu.h"

extern weir_k_gemm_t weir_k_gemm_f32_12x32__plain;

void weir_k_gemm_f32_12x32__plain(const weir_k_gemm_block_t *block)
{
    for (size_t i = 0; i < block->rows; i++)
        for (size_t j = 0; j < block->columns; j += WEIR_K_PANEL) {
            const size_t left = block->columns - j;
            const size_t columns = left < WEIR_K_PANEL ? left : WEIR_K_PANEL;
            const float *a = block->a + i * block->a_row;
            const float *b = block->b + j / WEIR_K_PANEL * block->b_panel;
            float *c = block->c + i * block->c_row + j;
            float sum[WEIR_K_PANEL];
            for (size_t x = 0; x < columns; x++)
                sum[x] = block->resume ? c[x] : block->start ? block->start[i] : 0.0f;
            for (size_t k = 0; k < block->k; k++)
                for (size_t x = 0; x < columns; x++)
                    sum[x] = fmaf(a[k * block->a_k], b[k * block->b_k + x], sum[x]);
            for (size_t x = 0; x < columns; x++)
                c[x] = sum[x];
        }
}
