// backends/opencl/op_host.h: supports(), build() and plan() of the pointwise and movement
// operators, as rows_host.inc names them.
#ifndef WEIR_BACKENDS_OPENCL_OP_HOST_H
#define WEIR_BACKENDS_OPENCL_OP_HOST_H

#include "backends/opencl/recipe.h"

#define WEIR_CL_HOST_DECLARE(name)                                                                 \
    weir_code_t weir_cl_##name##_supports(const weir_node_t *node, weir_support_t *out_support);   \
    weir_code_t weir_cl_##name##_build(const weir_node_t *node, weir_cl_builder_t *builder);       \
    weir_code_t weir_cl_##name##_plan(                                                             \
        const weir_node_t *node, const weir_cl_built_t *built, weir_cl_recipe_t *recipe);

WEIR_CL_HOST_DECLARE(pointwise)

#endif
