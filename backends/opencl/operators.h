// backends/opencl/operators.h: the functions that the rows name (rows_*.inc), and the tables.
#ifndef WEIR_BACKENDS_OPENCL_OPERATORS_H
#define WEIR_BACKENDS_OPENCL_OPERATORS_H

#include "backends/opencl/recipe.h"

// A row: WEIR_CL_ROW("MatMul", "cl_matmul_cpu", WEIR_F32, WEIR_KERNEL_EPILOGUE, .supports = …,
// .pack_query = …, .pack = …), its build and plan after it: {…} is one initializer of
// weir_cl_operator_t.
#define WEIR_CL_KERNEL(op_, name_, dtypes_, flags_, ...)                                           \
    {                                                                                              \
        .head = {(uint32_t)sizeof(weir_kernel_t), (flags_)}, .op = (op_), .name = (name_),         \
        .revision = 1, .dtypes = (dtypes_), __VA_ARGS__                                            \
    }
#define WEIR_CL_ROW(build_, plan_, ...)                                                            \
    {                                                                                              \
        .kernel = WEIR_CL_KERNEL(__VA_ARGS__), .build = (build_), .plan = (plan_)                  \
    }

// The table of a family.
const weir_cl_operator_t *weir_cl_operators(weir_cl_family_t family, uint32_t *out_count);

#endif
