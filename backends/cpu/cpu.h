// What the files of the weir_cpu plugin share: the choice of an ISA, and the rows of its kernel
// table.
//
// The plugin has no mutable globals: the ISA is an option of the engine that loads it, so every
// kernel asks for its table in prepare() and keeps it in its state.
#ifndef WEIR_BACKENDS_CPU_CPU_H
#define WEIR_BACKENDS_CPU_CPU_H

#include <weir/plugin.h>

#include "kernels/cpu/cpu.h"

// How the plugin lays out constants. Both are the same on every ISA.
#define WEIR_CPU_FORMAT_PANELS (WEIR_FORMAT_OWN + 1u) // weir_k_pack_t, one matrix after the other
#define WEIR_CPU_FORMAT_ROWS (WEIR_FORMAT_OWN + 2u)   // 12 rows side by side: [rows / 12][k][12]

// K of one cache block: 12 rows of A (18 KiB) stay in the L1 cache while panels of B stream by.
#define WEIR_CPU_BLOCK_K 384u
#define WEIR_CPU_BLOCK_COLUMNS 512u

// The kernels for this host's option "isa" on this machine; NULL when it asks for what is not
// there.
const weir_k_table_t *weir_cpu_isa_table(const weir_host_t *host);

// The calls of one kernel; plugin.c puts them into the table. They share weir_cpu_release().
#define WEIR_CPU_DECLARE(kernel)                                                                   \
    weir_code_t weir_cpu_##kernel##_supports(                                                      \
        const weir_node_t *node, weir_support_t *out_support);                                     \
    weir_code_t weir_cpu_##kernel##_prepare(                                                       \
        const weir_host_t *host, const weir_node_t *node, weir_prepared_t *out_prepared);          \
    void weir_cpu_##kernel##_tasks(const weir_node_t *node, void *state, weir_tasks_t *out_tasks); \
    weir_code_t weir_cpu_##kernel##_run(const weir_task_t *task);
WEIR_CPU_DECLARE(pointwise)
WEIR_CPU_DECLARE(matmul) // MatMul and Gemm
WEIR_CPU_DECLARE(bf16_matmul)
WEIR_CPU_DECLARE(conv)
WEIR_CPU_DECLARE(attention)
WEIR_CPU_DECLARE(rows)   // Softmax, LogSoftmax and LayerNormalization
WEIR_CPU_DECLARE(pool)   // MaxPool and AveragePool
WEIR_CPU_DECLARE(reduce) // and the global pools, and LpNormalization
WEIR_CPU_DECLARE(arg)    // ArgMax and ArgMin
WEIR_CPU_DECLARE(join)   // Concat and Split
WEIR_CPU_DECLARE(move)   // Transpose, Slice, Expand and Tile
WEIR_CPU_DECLARE(fill)   // ConstantOfShape
WEIR_CPU_DECLARE(gather)
WEIR_CPU_DECLARE(pad)
WEIR_CPU_DECLARE(resize)
WEIR_CPU_DECLARE(deconv) // ConvTranspose
WEIR_CPU_DECLARE(lrn)
WEIR_CPU_DECLARE(lstm)
// In blocked format: blocked.h.
WEIR_CPU_DECLARE(blocked_conv)
WEIR_CPU_DECLARE(blocked_winograd)
WEIR_CPU_DECLARE(blocked_winograd_row)
WEIR_CPU_DECLARE(bf16_conv)
// int8.h.
WEIR_CPU_DECLARE(int8_conv)   // QLinearConv
WEIR_CPU_DECLARE(int8_matmul) // QLinearMatMul and MatMulInteger
WEIR_CPU_DECLARE(bytes_reorder)
WEIR_CPU_DECLARE(bytes_pool)     // MaxPool
WEIR_CPU_DECLARE(dynamic)        // DynamicQuantizeLinear
WEIR_CPU_DECLARE(linear)         // QuantizeLinear and DequantizeLinear
WEIR_CPU_DECLARE(blocked_window) // depthwise Conv, MaxPool and AveragePool
WEIR_CPU_DECLARE(blocked_spread) // ConvTranspose
WEIR_CPU_DECLARE(blocked_pointwise)
WEIR_CPU_DECLARE(blocked_global) // GlobalMaxPool and GlobalAveragePool
WEIR_CPU_DECLARE(blocked_concat)
WEIR_CPU_DECLARE(blocked_resize)
WEIR_CPU_DECLARE(reorder)
// A row-major input with few channels, a window per channel, a window that picks or averages.
weir_code_t weir_cpu_first_conv_supports(const weir_node_t *node, weir_support_t *out_support);
weir_code_t weir_cpu_int8_rows_supports(const weir_node_t *node, weir_support_t *out_support);
weir_code_t weir_cpu_int8_first_supports(const weir_node_t *node, weir_support_t *out_support);
weir_code_t weir_cpu_bf16_first_supports(const weir_node_t *node, weir_support_t *out_support);
weir_code_t weir_cpu_blocked_depthwise_supports(
    const weir_node_t *node, weir_support_t *out_support);
weir_code_t weir_cpu_blocked_pool_supports(const weir_node_t *node, weir_support_t *out_support);

// How a kernel's constants are packed.
#define WEIR_CPU_DECLARE_PACK(kernel)                                                              \
    weir_code_t weir_cpu_##kernel##_pack_query(                                                    \
        const weir_node_t *node, uint32_t input, weir_packing_t *out_packing);                     \
    weir_code_t weir_cpu_##kernel##_pack(                                                          \
        const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes);
WEIR_CPU_DECLARE_PACK(bf16_matmul)
WEIR_CPU_DECLARE_PACK(bf16_conv)
WEIR_CPU_DECLARE_PACK(int8_conv)
WEIR_CPU_DECLARE_PACK(int8_matmul)
WEIR_CPU_DECLARE_PACK(blocked_conv)
WEIR_CPU_DECLARE_PACK(blocked_winograd)
WEIR_CPU_DECLARE_PACK(blocked_winograd_row)
WEIR_CPU_DECLARE_PACK(blocked_depthwise)
WEIR_CPU_DECLARE_PACK(blocked_spread)
WEIR_CPU_DECLARE_PACK(blocked_pointwise)
WEIR_CPU_DECLARE_PACK(lstm)

weir_code_t weir_cpu_matmul_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing);
weir_code_t weir_cpu_matmul_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes);
weir_code_t weir_cpu_conv_pack_query(
    const weir_node_t *node, uint32_t input, weir_packing_t *out_packing);
weir_code_t weir_cpu_conv_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes);

void weir_cpu_release(const weir_host_t *host, void *state);

// A "no" with a reason.
weir_code_t weir_cpu_refuse(weir_support_t *out_support, const char *reason);

static inline uint64_t weir_cpu_min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t weir_cpu_round_up(uint64_t a, uint64_t multiple)
{
    return (a + multiple - 1) / multiple * multiple;
}

#endif
