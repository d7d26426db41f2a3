// What the kernels of the blocked format (WEIR_FORMAT_NCHW16C) share: where elements lie, which
// operands an expression may have there, and what follows a sum.
//
// A tensor of C channels has ceil(C / 16) blocks; what fills up the last one is 0, and whoever
// writes a tensor writes those zeros. Expressions see the dims [N, blocks, H, W, 16].
#ifndef WEIR_BACKENDS_CPU_BLOCKED_H
#define WEIR_BACKENDS_CPU_BLOCKED_H

#include "backends/cpu/expression.h"

#define WEIR_CPU_BLOCKED_RANK 5

// Constants: [channel block][H][W][16] of a broadcast operand or a bias, the weights of a Conv, of
// a depthwise Conv ([block][tap][16]) and of a ConvTranspose (those of a 1x1 Conv for each tap).
#define WEIR_CPU_FORMAT_CHANNELS (WEIR_FORMAT_OWN + 16u)
#define WEIR_CPU_FORMAT_CONV (WEIR_FORMAT_OWN + 17u)
#define WEIR_CPU_FORMAT_DEPTHWISE (WEIR_FORMAT_OWN + 18u)
#define WEIR_CPU_FORMAT_SPREAD (WEIR_FORMAT_OWN + 19u)
// The weights of a Conv whose input is row-major.
#define WEIR_CPU_FORMAT_FIRST (WEIR_FORMAT_OWN + 20u)
// Weights transformed for Winograd's F(4x4, 3x3), and along a row for F(4, 3) and F(2, 5).
#define WEIR_CPU_FORMAT_WINOGRAD (WEIR_FORMAT_OWN + 21u)
#define WEIR_CPU_FORMAT_WINOGRAD_ROW (WEIR_FORMAT_OWN + 22u)

static inline uint64_t weir_cpu_blocks(uint64_t channels)
{
    return WEIR_DIV_UP(channels, WEIR_K_BLOCK);
}

// Blocks of output channels that one call of the kernel takes, and into how many such calls
// `blocks` go; the first block of each: they are as equal as can be.
#define WEIR_CPU_QUAD 4u

static inline uint64_t weir_cpu_quads(uint64_t blocks)
{
    return WEIR_DIV_UP(blocks, WEIR_CPU_QUAD);
}

static inline uint64_t weir_cpu_quad_begin(uint64_t blocks, uint64_t quad)
{
    return blocks * quad / weir_cpu_quads(blocks);
}

// f32, rank 4, in blocked format, its channels known.
int weir_cpu_is_blocked(const weir_tensor_t *tensor);

// Can input `input` be an operand of an expression whose result is the node's blocked output 0?
weir_code_t weir_cpu_blocked_operand(
    const weir_node_t *node, uint32_t input, weir_support_t *out_support);
// The same of all operands of an expression, which has one f32 output.
weir_code_t weir_cpu_blocked_expression(
    const weir_node_t *node, const weir_expression_t *expression, weir_support_t *out_support);

// Packs constants with a value for each channel: operands of `expression` and, if bias_input is not
// 0, a bias. pack_query leaves other inputs alone.
void weir_cpu_blocked_pack_query(const weir_node_t *node, const weir_expression_t *expression,
    uint32_t bias_input, uint32_t input, weir_packing_t *out_packing);
weir_code_t weir_cpu_blocked_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes);
// The pack_query() of what has a bias and an epilogue: those as above, weights (input 1) as told.
weir_code_t weir_cpu_finish_pack_query(const weir_node_t *node, uint32_t input,
    uint32_t weights_format, uint64_t weights_bytes, weir_packing_t *out_packing);

// Writes 0 to what fills up the last block of `pixels` pixels.
void weir_cpu_blocked_clear(float *block, uint64_t pixels, uint64_t channels);

// Begins a program whose loads follow the blocked format.
void weir_cpu_blocked_begin(weir_cpu_program_t *program, weir_cpu_room_t room,
    const weir_k_table_t *kernels, const weir_tensor_t *output);

// What follows a sum in a Conv: a bias, and an epilogue that either the kernel itself applies (one
// residual, then one activation, then a factor and a term of one element each) or a program.
typedef struct weir_cpu_finish {
    uint32_t bias_input, add_input; // 0: none
    weir_k_finish_t kernel;         // but for bias and add
    uint32_t is_needed;             // of the kernel
    uint32_t has_program;
    uint64_t channels, out_blocks, pixels; // of the output
    weir_cpu_program_t program;
} weir_cpu_finish_t;

// What a Conv-like node must be for weir_cpu_finish_init().
weir_code_t weir_cpu_finish_supports(
    const weir_node_t *node, uint32_t own_inputs, weir_support_t *out_support);
// Memory that finish_init() needs, and must keep, for this node's epilogue.
uint64_t weir_cpu_finish_bytes(const weir_node_t *node);
// NULL, or what is wrong.
const char *weir_cpu_finish_init(weir_cpu_finish_t *finish, void *memory,
    const weir_k_table_t *kernels, const weir_node_t *node);
// For the kernel: what follows the sums of blocks from `block` (of all images) on, beginning at
// element `offset` of the output. NULL: nothing.
const weir_k_finish_t *weir_cpu_finish_of(const weir_cpu_finish_t *finish, const weir_task_t *task,
    uint64_t block, uint64_t offset, weir_k_finish_t *out_finish);
// After the kernel: pixels [first, first + count) of one block of all images.
void weir_cpu_finish_apply(const weir_cpu_finish_t *finish, const weir_task_t *task,
    weir_cpu_interpreter_t *interpreter, uint64_t block, uint64_t first, uint64_t count);

#endif
