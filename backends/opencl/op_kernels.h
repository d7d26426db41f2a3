// backends/opencl/op_kernels.h: build(), plan(), supports() and packing of the operators that
// compute (MatMul, Conv, …), as rows_kernels_cpu.inc and rows_kernels_gpu.inc name them, and what
// their files share: what follows an anchor's sum (op_finish.c) and the numbers of a window
// (op_window.c).
#ifndef WEIR_BACKENDS_OPENCL_OP_KERNELS_H
#define WEIR_BACKENDS_OPENCL_OP_KERNELS_H

#include "backends/opencl/recipe.h"

// How constants are laid out. Names of layouts: they are part of the cache's keys.
enum {
    WEIR_CL_FORMAT_PANELS = WEIR_FORMAT_OWN + 0x10, // [matrix][column / 32][k][32]
    WEIR_CL_FORMAT_CHANNELS,                        // one a channel, filled up to a multiple of 16
    WEIR_CL_FORMAT_DEPTHWISE,                       // [block][ky][kx][16]
    WEIR_CL_FORMAT_SPREAD,                          // [block][ky][kx][inputs, whole blocks][16]
    WEIR_CL_FORMAT_WINOGRAD,                        // [point][panel][inputs, whole blocks][32]
    WEIR_CL_FORMAT_CONV = WEIR_FORMAT_OWN + 0x20,  // + blocks in a quad: kernels/opencl/cpu/conv.cl
    WEIR_CL_FORMAT_FIRST = WEIR_FORMAT_OWN + 0x28, // + the same, with chunks of one channel
};

#define WEIR_CL_ITEMS 64 // work-items of a kernel that needs nothing else

static inline int64_t weir_cl_div_up(int64_t a, int64_t b)
{
    return (a + b - 1) / b;
}

static inline int64_t weir_cl_blocks(int64_t channels)
{
    return weir_cl_div_up(channels, 16);
}

static inline bool weir_cl_is_constant(const weir_tensor_t *tensor)
{
    return (tensor->flags & WEIR_TENSOR_CONSTANT) != 0;
}

static inline bool weir_cl_is_blocked(const weir_tensor_t *tensor)
{
    return tensor->format == WEIR_FORMAT_NCHW16C && tensor->rank == 4 &&
           tensor->dtype == WEIR_F32 && tensor->dims[1] >= 0 && !tensor->strides;
}

// The product of dims [first, end).
int64_t weir_cl_sizes(const weir_tensor_t *tensor, uint32_t first, uint32_t end);
// Element i of a list of integers, or `otherwise`.
int64_t weir_cl_ints(const weir_node_t *node, const char *name, uint32_t i, int64_t otherwise);
const char *weir_cl_string(const weir_node_t *node, const char *name);

// A list of sizes, all of them arguments of the dispatch.
void weir_cl_args_i64(weir_cl_dispatch_t *dispatch, const int64_t *values, size_t count);
#define WEIR_CL_SIZES(dispatch, values)                                                            \
    weir_cl_args_i64(dispatch, values, sizeof(values) / sizeof((values)[0]))

// ---- What follows the sum -----------------------------------------------------------------------

// How a kernel sees its output. Lines and columns, row-major: the last `column_axes` dims are one
// line's columns. BLOCKED: NCHW16C; the line is the image, the column the first of 16 channels.
typedef struct weir_cl_view {
    bool is_blocked;
    uint32_t column_axes;
} weir_cl_view_t;

#define WEIR_CL_WANTS_16 1u   // the kernel uses FINISH16
#define WEIR_CL_WANTS_1 2u    // the kernel uses FINISH1
#define WEIR_CL_NOTE_FINISH 4 // the first note that is op_finish.c's

// Inputs that are the operator's own: those before the operands of the epilogue.
uint32_t weir_cl_own_inputs(const weir_node_t *node);
static inline bool weir_cl_has(const weir_node_t *node, uint32_t input)
{
    return input < weir_cl_own_inputs(node) && node->inputs[input].dtype != 0;
}
// Are inputs and output f32, is input 2 (a bias, or Gemm's C) of a shape that is taken, and what
// follows? args: how many arguments the kernel has before those of op_finish.c.
weir_code_t weir_cl_finish_supports(
    const weir_node_t *node, weir_cl_view_t view, uint32_t args, weir_support_t *out_support);
// Says the macros FINISH_PARAMETERS, FINISH_POINTERS, FINISH16 and FINISH1, and notes how operands
// are found. out_arguments[room]: the letters of the kernel's arguments, `own` and those added.
weir_code_t weir_cl_finish_build(const weir_node_t *node, weir_cl_view_t view, uint32_t wants,
    const char *own, char out_arguments[WEIR_CL_ARGS_MAX + 1], weir_cl_builder_t *builder);
void weir_cl_finish_args(const weir_node_t *node, weir_cl_view_t view, const weir_cl_built_t *built,
    weir_cl_dispatch_t *dispatch);
// Packs what has channels for a blocked kernel.
void weir_cl_finish_pack_query(
    const weir_node_t *node, weir_cl_view_t view, uint32_t input, weir_packing_t *out_packing);
weir_code_t weir_cl_finish_pack(
    const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes);

// ---- Windows ------------------------------------------------------------------------------------

// One or two spatial dims, as two. While a plan is made sizes may be symbols (negative), and pads
// that depend on them are not known.
typedef struct weir_cl_window {
    int64_t images, channels, outputs, groups; // channels and outputs: of all groups
    int64_t height, width, out_height, out_width;
    int64_t kernel_y, kernel_x, stride_y, stride_x, dilation_y, dilation_x;
    int64_t pad_top, pad_left, end_y, end_x; // end: of the padded input
} weir_cl_window_t;

// NULL, or why not. Pools take the window's size from kernel_shape, others from input 1.
const char *weir_cl_window_read(const weir_node_t *node, weir_cl_window_t *out_window);
// KH KW SY SX DY DX.
void weir_cl_window_define(const weir_cl_window_t *window, weir_cl_builder_t *builder);
// 1 x 1, no step, no pads: then pixels stand for themselves and an image is one long row.
bool weir_cl_window_is_point(const weir_node_t *node, const weir_cl_window_t *window);
void weir_cl_window_flatten(weir_cl_window_t *window);

// As weir_cl_window_read(), of a ConvTranspose that says its own pads.
const char *weir_cl_deconv_read(const weir_node_t *node, weir_cl_window_t *out_window);

// ---- Rows ---------------------------------------------------------------------------------------

#define WEIR_CL_DECLARE(name)                                                                      \
    weir_code_t weir_cl_##name##_supports(const weir_node_t *node, weir_support_t *out_support);   \
    weir_code_t weir_cl_##name##_build(const weir_node_t *node, weir_cl_builder_t *builder);       \
    weir_code_t weir_cl_##name##_plan(                                                             \
        const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe);
#define WEIR_CL_DECLARE_PACK(name)                                                                 \
    weir_code_t weir_cl_##name##_pack_query(                                                       \
        const weir_node_t *node, uint32_t input, weir_packing_t *out_packing);                     \
    weir_code_t weir_cl_##name##_pack(                                                             \
        const weir_node_t *node, uint32_t input, void *destination, uint64_t bytes);
// A row: the operator, the kernel's name, the functions' name, its flags, and one or more of what
// follows: how its constants are packed, and in which formats its activations lie.
#define WEIR_CL_COMPUTES(op_, name_, function_, flags_, ...)                                       \
    WEIR_CL_ROW(weir_cl_##function_##_build, weir_cl_##function_##_plan, op_, name_, WEIR_F32,     \
        (flags_), .supports = weir_cl_##function_##_supports, __VA_ARGS__)
#define WEIR_CL_PACKS(name) .pack_query = weir_cl_##name##_pack_query, .pack = weir_cl_##name##_pack
#define WEIR_CL_UNPACKED .pack_query = NULL
#define WEIR_CL_GIVES_BLOCKS .output_formats = WEIR_FORMAT_BIT(WEIR_FORMAT_NCHW16C)
#define WEIR_CL_BLOCKS .input_formats = WEIR_FORMAT_BIT(WEIR_FORMAT_NCHW16C), WEIR_CL_GIVES_BLOCKS

WEIR_CL_DECLARE(matmul_cpu) // MatMul and Gemm
WEIR_CL_DECLARE_PACK(matmul_cpu)
WEIR_CL_DECLARE(matmul_gpu)
WEIR_CL_DECLARE(conv_cpu) // row-major: any group but of one channel
WEIR_CL_DECLARE(conv_gpu)
WEIR_CL_DECLARE(depthwise) // row-major, one input channel a group
WEIR_CL_DECLARE(pool)      // MaxPool and AveragePool
WEIR_CL_DECLARE(deconv)    // ConvTranspose
WEIR_CL_DECLARE(lrn)
WEIR_CL_DECLARE(lstm)
WEIR_CL_DECLARE(softmax) // and LogSoftmax
WEIR_CL_DECLARE(layer_norm)
WEIR_CL_DECLARE(instance_norm)
WEIR_CL_DECLARE(global_pool)
WEIR_CL_DECLARE(attention)
// In blocks of 16 channels, for CPUs.
WEIR_CL_DECLARE(blocked_conv)
WEIR_CL_DECLARE_PACK(blocked_conv)
WEIR_CL_DECLARE(winograd)
WEIR_CL_DECLARE_PACK(winograd)
WEIR_CL_DECLARE(first_conv) // a row-major input of few channels
WEIR_CL_DECLARE(blocked_depthwise)
WEIR_CL_DECLARE_PACK(blocked_depthwise)
WEIR_CL_DECLARE(blocked_pool)
WEIR_CL_DECLARE(blocked_global)
WEIR_CL_DECLARE(blocked_pointwise)
WEIR_CL_DECLARE_PACK(blocked_pointwise)
WEIR_CL_DECLARE(blocked_resize)
WEIR_CL_DECLARE(blocked_deconv)
WEIR_CL_DECLARE_PACK(blocked_deconv)

#endif
