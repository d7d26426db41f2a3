// kernels/ref/pointwise.h: is an expression well formed?
//
// The interpreter trusts what this has let through; backends/ref asks it in supports(). It looks at
// types and numbers only, never at data.
#ifndef WEIR_KERNELS_REF_POINTWISE_H
#define WEIR_KERNELS_REF_POINTWISE_H

#include "kernels/ref/internal.h"

#define WEIR_KR_EXPRESSION_MAX 64
#define WEIR_KR_OPERANDS_MAX 16

// WEIR_KR_OK, or WEIR_KR_INVALID with a few words in reason.
int weir_kr_expression_check(const weir_kr_expression_t *body, const weir_kr_tensor_t *inputs,
    uint32_t input_count, const weir_kr_tensor_t *outputs, uint32_t output_count, char *reason,
    uint32_t reason_bytes);

#endif
