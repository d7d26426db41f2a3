// backends/cuda/op_common.h: what the files of operators (op_*.c) share.
//
// Small questions to a node, axes brought into fewest, launches of the fatbin's kernels, and
// expressions as generated kernels. Nothing here knows a device or a library; see recipe.h.
#ifndef WEIR_BACKENDS_CUDA_OP_COMMON_H
#define WEIR_BACKENDS_CUDA_OP_COMMON_H

#include "backends/cuda/recipe.h"
#include "kernels/cuda/params.h"

#include <stdbool.h>
#include <stddef.h>

#define WEIR_CUDA_FLOATS (WEIR_F32 | WEIR_F16 | WEIR_BF16) // what kernels of floating point take
#define WEIR_CUDA_COUNT_MAX 0x7fffffffll                   // elements that a kernel can count

// ---- Questions ----------------------------------------------------------------------------------

// UNSUPPORTED, with a reason.
weir_code_t weir_cuda_refuse(weir_support_t *out_support, const char *reason);
// The same while a recipe is made, where the reason is the text of the failure.
weir_code_t weir_cuda_cannot(const weir_cuda_recipe_t *recipe, const weir_node_t *node,
    weir_code_t code, const char *reason);
bool weir_cuda_has(const weir_node_t *node, uint32_t input);
bool weir_cuda_wants(const weir_node_t *node, uint32_t output);
// The same of an input that is the operator's own, no operand of the epilogue.
bool weir_cuda_owns(const weir_node_t *node, uint32_t input);
// Are its contents there whenever a recipe is made? So is what is absent.
bool weir_cuda_is_known(const weir_node_t *node, uint32_t input);
// Equal dtype, rank and dims, symbols included.
bool weir_cuda_same_dims(const weir_tensor_t *a, const weir_tensor_t *b);
// An axis counted from the front; -1 out of range.
int32_t weir_cuda_axis(int64_t axis, uint32_t rank);
int64_t weir_cuda_product(const weir_tensor_t *tensor, uint32_t first, uint32_t end);
const char *weir_cuda_string(const weir_node_t *node, const char *name);
int64_t weir_cuda_ints(const weir_node_t *node, const char *name, uint32_t i, int64_t otherwise);
// Element i of an I32 or I64 tensor whose contents are known.
int64_t weir_cuda_value(const weir_tensor_t *tensor, uint64_t i);
// OK if every tensor of the node has at most WEIR_CUDA_COUNT_MAX elements.
weir_code_t weir_cuda_check_counts(const weir_cuda_recipe_t *recipe, const weir_node_t *node);

// ---- Axes ---------------------------------------------------------------------------------------

#define WEIR_CUDA_WALKS_MAX (WEIR_OPERANDS_MAX + 1)

// Some dims, and how tensors walk along them: strides in elements.
typedef struct weir_cuda_axes {
    uint32_t rank, walk_count;
    int64_t dims[2 * WEIR_RANK_MAX];
    int64_t strides[WEIR_CUDA_WALKS_MAX][2 * WEIR_RANK_MAX];
} weir_cuda_axes_t;

// The strides of a row-major tensor.
void weir_cuda_strides(const weir_tensor_t *tensor, int64_t *out_strides);
// One more walk: a tensor that broadcasts to the last axes.rank dims. false: it does not.
bool weir_cuda_axes_broadcast(weir_cuda_axes_t *axes, const weir_tensor_t *tensor);
// Leaves out axes of one element and joins those that all walks take in one stride. At least one is
// left.
void weir_cuda_axes_merge(weir_cuda_axes_t *axes);

// ---- Launches of the fatbin ---------------------------------------------------------------------

// Of an entry for each size of element (1, 2, 4, 8, 16), or for each of WEIR_CUDA_FLOATS.
#define WEIR_CUDA_ENTRIES_BYTES(stem)                                                              \
    {                                                                                              \
        "weir_k_" stem "_b1", "weir_k_" stem "_b2", "weir_k_" stem "_b4", "weir_k_" stem "_b8",    \
            "weir_k_" stem "_b16"                                                                  \
    }
#define WEIR_CUDA_ENTRIES_FLOAT(stem)                                                              \
    {                                                                                              \
        "weir_k_" stem "_f32", "weir_k_" stem "_f16", "weir_k_" stem "_bf16"                       \
    }
const char *weir_cuda_entry_bytes(const char *const entries[5], uint32_t element_bytes);
const char *weir_cuda_entry_float(const char *const entries[3], weir_dtype_t dtype);

// A row whose kernel is of revision 1 and generates nothing.
#define WEIR_CUDA_ROW(operator, kernel_name, can, make)                                            \
    {                                                                                              \
        .kernel = {.head = {sizeof(weir_kernel_t), 0},                                             \
            .op = operator,                                                                        \
            .name = kernel_name,                                                                   \
            .revision = 1,                                                                         \
            .supports = can},                                                                      \
        .plan = make                                                                               \
    }

// A pointer of a kernel's parameters by its field, and a launch of `entry`.
#define WEIR_CUDA_AT(type, field) ((uint32_t)offsetof(type, field))
// One thread for each of `count` elements, 256 a block.
weir_cuda_kernel_step_t *weir_cuda_launch_each(weir_cuda_recipe_t *recipe, const char *entry,
    uint64_t count, const void *params, uint32_t params_bytes);
// `blocks` blocks of `threads`.
weir_cuda_kernel_step_t *weir_cuda_launch_blocks(weir_cuda_recipe_t *recipe, const char *entry,
    uint64_t blocks, uint32_t threads, const void *params, uint32_t params_bytes);

// y[walk 1] = x[walk 0] over axes (merged here). x_first, y_first: in elements. Nothing if there is
// no element.
weir_code_t weir_cuda_copy_axes(weir_cuda_recipe_t *recipe, const weir_node_t *node,
    weir_cuda_axes_t *axes, uint32_t element_bytes, weir_cuda_place_t x, int64_t x_first,
    weir_cuda_place_t y, int64_t y_first);

// ---- Expressions (op_expression.c) --------------------------------------------------------------

// Can a generated kernel compute it? anchor: the dtype of WEIR_OP_ANCHOR; 0: there is none.
weir_code_t weir_cuda_expression_supports(
    const weir_node_t *node, const weir_expression_t *expression, weir_support_t *out_support);
// The node's next source.
weir_code_t weir_cuda_expression_build(const weir_node_t *node, const weir_expression_t *expression,
    weir_dtype_t anchor, weir_cuda_build_t *build);
// Its launch: source number `source`; the anchor's result lies, whole, at `at`.
weir_code_t weir_cuda_expression_plan(const weir_node_t *node, const weir_expression_t *expression,
    uint32_t source, weir_cuda_place_t at, weir_cuda_recipe_t *recipe);

// ---- Epilogues of products (op_epilogue.c) ------------------------------------------------------

// What a product can do itself: (result + bias[column] + addend) and Relu, in this order.
typedef struct weir_cuda_fusion {
    bool is_whole; // that is all that the epilogue does (or there is none)
    bool has_bias, has_addend, has_relu;
    uint32_t bias, addend; // inputs of the node
} weir_cuda_fusion_t;

// max_bias, max_addend: 0 if the product has one of its own already. A node that has symbolic dims
// still does everything with dims that it did with symbols.
weir_cuda_fusion_t weir_cuda_fusion(const weir_node_t *node, bool takes_bias, bool takes_addend);
// The result of the product, before what must be generated: the output itself if it can hold it,
// else scratch.
weir_cuda_place_t weir_cuda_anchor_place(
    const weir_node_t *node, const weir_cuda_fusion_t *fusion, weir_cuda_recipe_t *recipe);
// supports(), build() and the end of plan() of such a node.
weir_code_t weir_cuda_anchor_supports(const weir_node_t *node, weir_support_t *out_support);
weir_code_t weir_cuda_anchor_build(
    const weir_node_t *node, const weir_cuda_fusion_t *fusion, weir_cuda_build_t *build);
weir_code_t weir_cuda_anchor_end(const weir_node_t *node, const weir_cuda_fusion_t *fusion,
    weir_cuda_place_t at, weir_cuda_recipe_t *recipe);

// ---- Windows (op_window.c) ----------------------------------------------------------------------

// The windows of Conv and pools over one or two axes, with concrete dims.
weir_code_t weir_cuda_window(
    const weir_node_t *node, const weir_cuda_recipe_t *recipe, weir_cuda_window_t *out_window);

#endif
