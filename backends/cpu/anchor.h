// What MatMul, Gemm and Conv share: the epilogue of an anchor, and blocks of rows of A.
#ifndef WEIR_BACKENDS_CPU_ANCHOR_H
#define WEIR_BACKENDS_CPU_ANCHOR_H

#include "backends/cpu/expression.h"

// Floats from one row of a copied block to the next: 16 off a power of two, so that 12 rows do not
// meet in one set of the L1 cache.
#define WEIR_CPU_COPY_ROW (WEIR_CPU_BLOCK_K + 16u)
#define WEIR_CPU_COPY_BYTES (WEIR_K_TILE_ROWS * WEIR_CPU_COPY_ROW * 4u)

// f32 inputs and outputs, and an epilogue that the interpreter takes. own_inputs: those before the
// expression's operands.
weir_code_t weir_cpu_anchor_supports(
    const weir_node_t *node, uint32_t own_inputs, weir_support_t *out_support);

// What the node has before any operand of its epilogue.
uint32_t weir_cpu_anchor_inputs(const weir_node_t *node);

// Ends a program that begins with what the anchor itself adds (value `result`), with the node's
// epilogue.
void weir_cpu_anchor_end(weir_cpu_program_t *program, const weir_node_t *node, uint16_t result);

// Applies a program to rows x columns of an output matrix whose row is `row_elements` long; the
// first element's linear index is `first`.
void weir_cpu_anchor_apply(weir_cpu_interpreter_t *interpreter, uint64_t first, uint64_t rows,
    uint64_t columns, uint64_t row_elements);

#endif
