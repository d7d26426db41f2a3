// backends/cuda/op_epilogue.c: what follows a product: a bias, an addend and Relu in the product
// itself where that is all, else a generated kernel over its result.
#include "backends/cuda/op_common.h"

#include <string.h>

// An operand that is read once for each column: [..., 1, n].
static bool is_columns(const weir_tensor_t *operand, const weir_tensor_t *output)
{
    if (!operand->rank || operand->rank > output->rank || operand->dtype != output->dtype ||
        operand->dims[operand->rank - 1] != output->dims[output->rank - 1])
        return false;
    for (uint32_t d = 0; d + 1 < operand->rank; d++)
        if (operand->dims[d] != 1)
            return false;
    return true;
}

// One instruction more on top of value `top`. false: the product cannot do it.
static bool take(const weir_node_t *node, const weir_instruction_t *at, uint32_t top,
    weir_cuda_fusion_t *fusion, bool takes_bias, bool takes_addend)
{
    const weir_expression_t *epilogue = node->epilogue;
    const weir_tensor_t *output = &node->outputs[0];
    if (at->dtype != output->dtype || fusion->has_relu)
        return false;
    if (at->opcode == WEIR_OP_RELU && at->a == top)
        return fusion->has_relu = true;
    if (at->opcode != WEIR_OP_ADD || (at->a == top) == (at->b == top))
        return false;
    const weir_instruction_t *other = &epilogue->instructions[at->a == top ? at->b : at->a];
    if (other->opcode != WEIR_OP_LOAD)
        return false;
    const uint32_t input = epilogue->first_operand + other->a;
    const weir_tensor_t *operand = &node->inputs[input];
    // The whole result first: with dims that are 1 it may look like columns, never the reverse.
    if (takes_addend && !fusion->has_addend && weir_cuda_same_dims(operand, output)) {
        fusion->addend = input;
        return fusion->has_addend = true;
    }
    if (takes_bias && !fusion->has_bias && is_columns(operand, output)) {
        fusion->bias = input;
        return fusion->has_bias = true;
    }
    return false;
}

weir_cuda_fusion_t weir_cuda_fusion(const weir_node_t *node, bool takes_bias, bool takes_addend)
{
    const weir_expression_t *epilogue = node->epilogue;
    weir_cuda_fusion_t fusion = {.is_whole = true};
    uint32_t top = UINT32_MAX;
    if (!epilogue)
        return fusion;
    for (uint32_t i = 0; i < epilogue->instruction_count && fusion.is_whole; i++) {
        const weir_instruction_t *at = &epilogue->instructions[i];
        if (at->opcode == WEIR_OP_LOAD)
            continue;
        if (at->opcode == WEIR_OP_ANCHOR && top == UINT32_MAX)
            fusion.is_whole = at->dtype == node->outputs[0].dtype;
        else
            fusion.is_whole = take(node, at, top, &fusion, takes_bias, takes_addend);
        top = i;
    }
    fusion.is_whole = fusion.is_whole && epilogue->output_count == 1 && top == epilogue->outputs[0];
    if (!fusion.is_whole)
        return (weir_cuda_fusion_t){0};
    return fusion;
}

weir_cuda_place_t weir_cuda_anchor_place(
    const weir_node_t *node, const weir_cuda_fusion_t *fusion, weir_cuda_recipe_t *recipe)
{
    const weir_tensor_t *output = &node->outputs[0];
    if (fusion->is_whole || output->dtype == node->inputs[0].dtype)
        return weir_cuda_output(0);
    return weir_cuda_scratch(weir_cuda_recipe_scratch(
        recipe, output->element_count * weir_dtype_bytes(node->inputs[0].dtype)));
}

weir_code_t weir_cuda_anchor_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (!(node->inputs[0].dtype & WEIR_CUDA_FLOATS))
        return weir_cuda_refuse(out_support, "only f32, f16 and bf16");
    if (node->prologue)
        return weir_cuda_refuse(out_support, "it takes no prologue");
    if (!node->epilogue) {
        if (node->outputs[0].dtype != node->inputs[0].dtype)
            return weir_cuda_refuse(out_support, "a result of another type");
        return WEIR_OK;
    }
    for (uint32_t i = 0; i < node->epilogue->instruction_count; i++)
        if (node->epilogue->instructions[i].opcode == WEIR_OP_ANCHOR &&
            node->epilogue->instructions[i].dtype != node->inputs[0].dtype)
            return weir_cuda_refuse(out_support, "an anchor of another type");
    return weir_cuda_expression_supports(node, node->epilogue, out_support);
}

weir_code_t weir_cuda_anchor_build(
    const weir_node_t *node, const weir_cuda_fusion_t *fusion, weir_cuda_build_t *build)
{
    if (fusion->is_whole)
        return WEIR_OK;
    return weir_cuda_expression_build(node, node->epilogue, node->inputs[0].dtype, build);
}

weir_code_t weir_cuda_anchor_end(const weir_node_t *node, const weir_cuda_fusion_t *fusion,
    weir_cuda_place_t at, weir_cuda_recipe_t *recipe)
{
    if (fusion->is_whole)
        return WEIR_OK;
    return weir_cuda_expression_plan(node, node->epilogue, 0, at, recipe);
}
