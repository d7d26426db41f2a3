// backends/opencl/op_host.h: supports(), build() and plan() of the pointwise and movement
// operators, as rows_host.inc names them, and what they share.
#ifndef WEIR_BACKENDS_OPENCL_OP_HOST_H
#define WEIR_BACKENDS_OPENCL_OP_HOST_H

#include "backends/opencl/recipe.h"

#define WEIR_CL_HOST_SUPPORTS(name)                                                                \
    weir_code_t weir_cl_##name##_supports(const weir_node_t *node, weir_support_t *out_support);
#define WEIR_CL_HOST_PLAN(name)                                                                    \
    weir_code_t weir_cl_##name##_plan(                                                             \
        const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe);
#define WEIR_CL_HOST_DECLARE(name)                                                                 \
    WEIR_CL_HOST_SUPPORTS(name)                                                                    \
    weir_code_t weir_cl_##name##_build(const weir_node_t *node, weir_cl_builder_t *builder);       \
    WEIR_CL_HOST_PLAN(name)

WEIR_CL_HOST_DECLARE(pointwise)
// All that is one copy, or one for each part: Transpose, Slice, Expand, Concat, Split.
weir_code_t weir_cl_move_build(const weir_node_t *node, weir_cl_builder_t *builder);
WEIR_CL_HOST_PLAN(transpose)
WEIR_CL_HOST_SUPPORTS(slice)
WEIR_CL_HOST_PLAN(slice)
WEIR_CL_HOST_PLAN(expand)
WEIR_CL_HOST_SUPPORTS(concat)
WEIR_CL_HOST_PLAN(concat)
WEIR_CL_HOST_SUPPORTS(split)
WEIR_CL_HOST_PLAN(split)
WEIR_CL_HOST_DECLARE(tile)
WEIR_CL_HOST_DECLARE(pad)
WEIR_CL_HOST_DECLARE(resize)
WEIR_CL_HOST_DECLARE(gather)
WEIR_CL_HOST_DECLARE(gather_elements)
WEIR_CL_HOST_DECLARE(reduce)
WEIR_CL_HOST_DECLARE(arg)
WEIR_CL_HOST_DECLARE(lp_norm)
WEIR_CL_HOST_DECLARE(constant_of_shape)
WEIR_CL_HOST_DECLARE(reorder)

// ---- Common (op_common.c) -----------------------------------------------------------------------

#define WEIR_CL_AXES_MAX 8  // of an N-dimensional walk
#define WEIR_CL_GROUP 128u  // work-items of the gpu family's simple kernels
#define WEIR_CL_CHUNK 8192u // elements that one work-item of the cpu family makes, about

// An axis as it is written, in [0, rank); -1: out of range.
int64_t weir_cl_axis(int64_t axis, uint32_t rank);
int64_t weir_cl_product(const int64_t *dims, uint32_t first, uint32_t end);
// Element i of a constant i32 or i64 tensor.
int64_t weir_cl_integer(const weir_tensor_t *tensor, uint64_t i);
bool weir_cl_is_known(const weir_tensor_t *tensor); // constant, or absent
bool weir_cl_is_there(const weir_node_t *node, uint32_t input);
// A row-major node: no formats, no expressions, rank at most WEIR_CL_AXES_MAX. Otherwise the "no".
weir_code_t weir_cl_is_plain(const weir_node_t *node, weir_support_t *out_support);
// "#define T uint": an unsigned type as large as the elements. "#define V float": the type itself.
void weir_cl_define_size(weir_cl_builder_t *builder, weir_dtype_t dtype);
void weir_cl_define_type(weir_cl_builder_t *builder, const char *name, weir_dtype_t dtype);
// The work-group of simple kernels: one work-item, or WEIR_CL_GROUP.
const uint32_t *weir_cl_simple_group(const weir_cl_builder_t *builder);

// How `rows` pieces of `inner` elements are shared out: the gpu family takes an element each, the
// cpu family `chunk` rows.
typedef struct weir_cl_spread {
    uint64_t groups;
    int64_t rows, chunk;
} weir_cl_spread_t;
weir_cl_spread_t weir_cl_spread(const weir_cl_facts_t *facts, int64_t rows, int64_t inner);
// The same where a row of `cost` elements is one result: a work-item of the gpu family makes it
// all.
weir_cl_spread_t weir_cl_spread_results(const weir_cl_facts_t *facts, int64_t rows, int64_t cost);

// A copy of elements: y[y0 + sum i_d ys_d] = x[x0 + sum i_d xs_d] for all i below dims. Of the
// source common/strided, entry weir_strided.
typedef struct weir_cl_walk {
    uint32_t rank;
    int64_t dims[WEIR_RANK_MAX], x_strides[WEIR_RANK_MAX], y_strides[WEIR_RANK_MAX];
    int64_t x_first, y_first;
} weir_cl_walk_t;
void weir_cl_strides(const int64_t *dims, uint32_t rank, int64_t *out_strides);
void weir_cl_walk_build(weir_cl_builder_t *builder, weir_dtype_t dtype);
// x and y: numbers of the node's inputs and outputs. Joins dims; UNSUPPORTED: too many are left.
weir_code_t weir_cl_walk_plan(const weir_node_t *node, const weir_cl_built_t *built,
    const weir_cl_walk_t *walk, uint32_t input, uint32_t output, weir_cl_recipe_t *recipe);

#endif
