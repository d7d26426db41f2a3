// backends/cuda/op_pointwise.c: "Pointwise" nodes: an expression, one generated kernel.
#include "backends/cuda/op_common.h"

static weir_code_t supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!node->body || node->prologue || node->epilogue)
        return weir_cuda_refuse(out_support, "a Pointwise node has a body and nothing else");
    return weir_cuda_expression_supports(node, node->body, out_support);
}

static weir_code_t build(const weir_node_t *node, weir_cuda_build_t *out_build)
{
    return weir_cuda_expression_build(node, node->body, 0, out_build);
}

static weir_code_t plan(const weir_node_t *node, weir_cuda_recipe_t *recipe)
{
    return weir_cuda_expression_plan(node, node->body, 0, (weir_cuda_place_t){0}, recipe);
}

static const weir_cuda_row_t rows[] = {
    {.kernel = {.head = {sizeof(weir_kernel_t), WEIR_KERNEL_INPLACE},
         .op = "Pointwise",
         .name = "cuda_pointwise",
         .revision = 1,
         .supports = supports},
        .build = build,
        .plan = plan,
        .always_builds = true},
};

const weir_cuda_family_t weir_cuda_family_pointwise = {rows, 1};
