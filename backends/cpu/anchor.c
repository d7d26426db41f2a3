// The epilogue of an anchor: a program over the ranges of the output that the anchor has just
// finished.
#include "backends/cpu/anchor.h"

uint32_t weir_cpu_anchor_inputs(const weir_node_t *node)
{
    return node->epilogue && node->epilogue->operand_count
               ? WEIR_MIN(node->epilogue->first_operand, node->input_count)
               : node->input_count;
}

weir_code_t weir_cpu_anchor_supports(
    const weir_node_t *node, uint32_t own_inputs, weir_support_t *out_support)
{
    if (node->prologue)
        return weir_cpu_refuse(out_support, "takes no prologue");
    const uint32_t own = WEIR_MIN(weir_cpu_anchor_inputs(node), own_inputs);
    if (own < 2 || node->output_count == 0)
        return weir_cpu_refuse(out_support, "inputs are missing");
    for (uint32_t i = 0; i < own; i++)
        if (node->inputs[i].dtype != WEIR_F32 && (i < 2 || node->inputs[i].dtype != 0))
            return weir_cpu_refuse(out_support, "takes f32 only");
    if (node->epilogue)
        return weir_cpu_expression_supports(node, node->epilogue, 1, out_support);
    if (node->output_count != 1 || node->outputs[0].dtype != WEIR_F32)
        return weir_cpu_refuse(out_support, "gives one f32 output only");
    return WEIR_OK;
}

void weir_cpu_anchor_end(weir_cpu_program_t *program, const weir_node_t *node, uint16_t result)
{
    if (node->epilogue)
        weir_cpu_program_append(program, node, node->epilogue, result);
    else
        weir_cpu_program_output(program, result);
    weir_cpu_program_end(program);
}

void weir_cpu_anchor_apply(weir_cpu_interpreter_t *interpreter, uint64_t first, uint64_t rows,
    uint64_t columns, uint64_t row_elements)
{
    if (columns == row_elements) {
        weir_cpu_interpreter_run(interpreter, first, rows * columns);
        return;
    }
    weir_cpu_interpreter_rows(interpreter, first, rows, columns, row_elements);
}
