// engine/plan/view.c: nodes of the graph as plugins see them. Copies nothing: tensors borrow dims
// and data.
#include "engine/plan/plan.h"

#include "engine/base/size.h"
#include <string.h>

bool weir__format_bytes(
    uint32_t format, const int64_t *dims, uint32_t rank, weir_dtype_t dtype, uint64_t *out_bytes)
{
    if (format != WEIR_FORMAT_NCHW16C)
        return weir__tensor_bytes(dims, rank, dtype, out_bytes);
    int64_t padded[4] = {dims[0], 0, dims[2], dims[3]};
    if (!weir__add_i64(dims[1], 15, &padded[1]))
        return false;
    padded[1] = padded[1] / 16 * 16;
    return weir__tensor_bytes(padded, 4, dtype, out_bytes);
}

bool weir__view_tensor(const weir_plan_t *plan, uint32_t value, weir_tensor_t *out_tensor)
{
    memset(out_tensor, 0, sizeof *out_tensor);
    if (value == WEIR__NONE)
        return true;
    const weir__value_t *source = &plan->model->graph->values[weir__plan_original(plan, value)];
    out_tensor->dtype = source->type.dtype;
    out_tensor->format = weir__plan_format_of(plan, value);
    if (source->constant) {
        const weir__tensor_t *constant = source->constant;
        out_tensor->data = (void *)(uintptr_t)constant->data;
        out_tensor->bytes = constant->bytes;
        out_tensor->element_count = constant->count;
        out_tensor->rank = constant->rank;
        out_tensor->dims = constant->dims;
        out_tensor->flags = WEIR_TENSOR_CONSTANT;
        return true;
    }
    if (source->type.rank < 0)
        return false;
    out_tensor->rank = (uint32_t)source->type.rank;
    out_tensor->dims = source->type.dims;
    uint64_t count;
    if (weir__dims_count(source->type.dims, out_tensor->rank, &count) &&
        weir__format_bytes(out_tensor->format, source->type.dims, out_tensor->rank,
            out_tensor->dtype, &out_tensor->bytes))
        out_tensor->element_count = count;
    return true;
}

void weir__view_head(const weir__plan_node_t *node, weir_node_t *out_node)
{
    *out_node = (weir_node_t){
        .head = WEIR_HEAD(weir_node_t),
        .op = node->op,
        .origin = node->origins,
        .revision = 1,
        .input_count = node->input_count,
        .output_count = node->output_count,
        .body = node->body,
        .prologue = node->prologue,
        .epilogue = node->epilogue,
    };
    if (node->anchor) {
        out_node->revision = node->anchor->op->revision;
        out_node->attributes = node->anchor->attributes;
        out_node->attribute_count = node->anchor->attribute_count;
    }
}

bool weir__view_node(const weir_plan_t *plan, const weir__plan_node_t *node, weir_tensor_t *tensors,
    weir_node_t *out_node)
{
    weir__view_head(node, out_node);
    out_node->inputs = tensors;
    out_node->outputs = tensors + node->input_count;
    bool known = true;
    for (uint32_t i = 0; i < node->input_count; i++)
        known &= weir__view_tensor(plan, node->inputs[i], &tensors[i]);
    for (uint32_t i = 0; i < node->output_count; i++)
        known &= weir__view_tensor(plan, node->outputs[i], &tensors[node->input_count + i]);
    return known;
}

// Immediates and variants that an operator's attributes stand for.
static void set_attributes(const weir__node_t *node, weir_instruction_t *instruction)
{
    const weir_attribute_t *alpha = weir__node_attribute(node, "alpha");
    const weir_attribute_t *beta = weir__node_attribute(node, "beta");
    instruction->imm[0] = alpha ? (float)alpha->f : 0;
    instruction->imm[1] = beta ? (float)beta->f : 0;
    if (instruction->opcode == WEIR_OP_MOD && weir__node_int(node, "fmod", 0))
        instruction->opcode = WEIR_OP_FMOD;
    if (instruction->opcode == WEIR_OP_CAST)
        instruction->dtype = (weir_dtype_t)weir__node_int(node, "to", WEIR_F32);
}

bool weir__expression_of_node(weir__zone_t *zone, const weir__graph_t *graph,
    const weir__node_t *node, weir_expression_t **out_expression)
{
    uint32_t operands = node->input_count;
    weir_expression_t *expression = weir__zone_alloc(zone, sizeof *expression);
    weir_instruction_t *code = weir__zone_array(zone, operands + 1u, sizeof *code);
    uint16_t *outputs = weir__zone_array(zone, 1, sizeof *outputs);
    if (!expression || !code || !outputs)
        return false;
    for (uint32_t i = 0; i < operands; i++)
        code[i] = (weir_instruction_t){.opcode = WEIR_OP_LOAD,
            .dtype = graph->values[node->inputs[i]].type.dtype,
            .a = (uint16_t)i};
    code[operands] = (weir_instruction_t){.opcode = node->op->opcode,
        .dtype = graph->values[node->outputs[0]].type.dtype,
        .a = 0,
        .b = 1,
        .c = 2};
    if (operands < 3)
        code[operands].c = 0;
    if (operands < 2)
        code[operands].b = 0;
    set_attributes(node, &code[operands]);
    outputs[0] = (uint16_t)operands;
    *expression = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = code,
        .instruction_count = operands + 1,
        .operand_count = operands,
        .output_count = 1,
        .outputs = outputs};
    *out_expression = expression;
    return true;
}
