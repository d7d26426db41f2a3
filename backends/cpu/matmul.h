// What MatMul and Gemm in f32 and in bf16 share.
#ifndef WEIR_BACKENDS_CPU_MATMUL_H
#define WEIR_BACKENDS_CPU_MATMUL_H

#include "backends/cpu/anchor.h"

int weir_cpu_matmul_is_gemm(const weir_node_t *node);

// Does anything follow the product: an epilogue, or a Gemm's alpha and C?
int weir_cpu_matmul_has_program(const weir_node_t *node);

// alpha A B + beta C, then the epilogue; `memory` as weir_cpu_program_bytes() asks for it.
void weir_cpu_matmul_program(weir_cpu_program_t *program, void *memory,
    const weir_k_table_t *kernels, const weir_node_t *node);

#endif
