// tests/support/plugins/picky.c: a device that takes some fusions and refuses others.
//
// MatMul takes Relu behind it and nothing else. Softmax takes an expression in front of it.
// Pointwise takes sums, products and Relu. All of it f32 and written to be read, not to be fast.
// Must not be right by chance: its results are compared with those of the plain C device.
#include <weir/plugin.h>

#include <math.h>
#include <stdbool.h>
#include <stdio.h>

// ---- Expressions -------------------------------------------------------------------------------

static bool known_opcode(weir_opcode_t opcode)
{
    return opcode == WEIR_OP_LOAD || opcode == WEIR_OP_ANCHOR || opcode == WEIR_OP_ADD ||
           opcode == WEIR_OP_MUL || opcode == WEIR_OP_RELU;
}

// How an operand is read: 0: one element, 1: like the result, 2: a row for all, -1: not at all.
static int kind_of(const weir_tensor_t *operand, const weir_tensor_t *result)
{
    bool single = true, same = operand->rank == result->rank;
    for (uint32_t d = 0; d < operand->rank; d++) {
        single &= operand->dims[d] == 1;
        same &= d < result->rank && operand->dims[d] == result->dims[d];
    }
    if (same)
        return 1;
    if (single)
        return 0;
    return operand->rank == 1 && result->rank && operand->dims[0] == result->dims[result->rank - 1]
               ? 2
               : -1;
}

static bool takes(
    const weir_node_t *node, const weir_expression_t *expression, const weir_tensor_t *result)
{
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        const weir_instruction_t *at = &expression->instructions[i];
        if (!known_opcode(at->opcode) || at->dtype != WEIR_F32)
            return false;
        if (at->opcode == WEIR_OP_LOAD &&
            kind_of(&node->inputs[expression->first_operand + at->a], result) < 0)
            return false;
    }
    return true;
}

static float evaluate(const weir_task_t *task, const weir_expression_t *expression,
    const weir_tensor_t *result, uint64_t index, float anchor)
{
    float values[WEIR_EXPRESSION_MAX];
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        const weir_instruction_t *at = &expression->instructions[i];
        if (at->opcode == WEIR_OP_LOAD) {
            const weir_tensor_t *operand = &task->inputs[expression->first_operand + at->a];
            int kind = kind_of(operand, result);
            uint64_t width = (uint64_t)(result->rank ? result->dims[result->rank - 1] : 1);
            values[i] = ((const float *)operand->data)[kind == 1   ? index
                                                       : kind == 2 ? index % width
                                                                   : 0];
        } else if (at->opcode == WEIR_OP_ANCHOR) {
            values[i] = anchor;
        } else if (at->opcode == WEIR_OP_ADD) {
            values[i] = values[at->a] + values[at->b];
        } else if (at->opcode == WEIR_OP_MUL) {
            values[i] = values[at->a] * values[at->b];
        } else {
            values[i] = values[at->a] > 0 ? values[at->a] : 0;
        }
    }
    return values[expression->outputs[0]];
}

// ---- Kernels -----------------------------------------------------------------------------------

static weir_code_t matmul_supports(const weir_node_t *node, weir_support_t *out_support)
{
    const char *reason = NULL;
    if (node->inputs[0].rank != 2 || node->inputs[1].rank != 2 || node->prologue)
        reason = "takes matrices only";
    for (uint32_t i = 0; node->epilogue && i < node->epilogue->instruction_count; i++)
        if (node->epilogue->instructions[i].opcode != WEIR_OP_ANCHOR &&
            node->epilogue->instructions[i].opcode != WEIR_OP_RELU)
            reason = "takes only Relu behind it";
    if (reason)
        snprintf(out_support->reason, sizeof out_support->reason, "%s", reason);
    return reason ? WEIR_UNSUPPORTED : WEIR_OK;
}

static weir_code_t matmul_run(const weir_task_t *task)
{
    const weir_tensor_t *a = &task->inputs[0], *b = &task->inputs[1], *y = &task->outputs[0];
    uint64_t rows = (uint64_t)a->dims[0], inner = (uint64_t)a->dims[1],
             width = (uint64_t)b->dims[1];
    for (uint64_t i = 0; i < rows; i++)
        for (uint64_t j = 0; j < width; j++) {
            float sum = 0;
            for (uint64_t k = 0; k < inner; k++)
                sum += ((const float *)a->data)[i * inner + k] *
                       ((const float *)b->data)[k * width + j];
            if (task->node->epilogue)
                sum = evaluate(task, task->node->epilogue, y, i * width + j, sum);
            ((float *)y->data)[i * width + j] = sum;
        }
    return WEIR_OK;
}

static weir_code_t softmax_supports(const weir_node_t *node, weir_support_t *out_support)
{
    int64_t rank = (int64_t)node->inputs[0].rank, axis = weir_node_int(node, "axis", -1);
    bool fits = rank == 2 && (axis == -1 || axis == rank - 1) && !node->epilogue;
    if (fits && node->prologue)
        fits = takes(node, node->prologue, &node->inputs[0]);
    if (!fits)
        snprintf(out_support->reason, sizeof out_support->reason, "takes rows of matrices only");
    return fits ? WEIR_OK : WEIR_UNSUPPORTED;
}

static weir_code_t softmax_run(const weir_task_t *task)
{
    const weir_tensor_t *x = &task->inputs[0];
    float *y = task->outputs[0].data;
    uint64_t width = (uint64_t)x->dims[1];
    for (uint64_t row = 0; row < (uint64_t)x->dims[0]; row++) {
        float largest = -INFINITY, sum = 0;
        for (uint64_t i = row * width; i < (row + 1) * width; i++) {
            float value = ((const float *)x->data)[i];
            y[i] = task->node->prologue ? evaluate(task, task->node->prologue, x, i, value) : value;
            largest = y[i] > largest ? y[i] : largest;
        }
        for (uint64_t i = row * width; i < (row + 1) * width; i++)
            sum += y[i] = expf(y[i] - largest);
        for (uint64_t i = row * width; i < (row + 1) * width; i++)
            y[i] /= sum;
    }
    return WEIR_OK;
}

static weir_code_t pointwise_supports(const weir_node_t *node, weir_support_t *out_support)
{
    if (node->body && takes(node, node->body, &node->outputs[0]))
        return WEIR_OK;
    snprintf(out_support->reason, sizeof out_support->reason, "takes sums, products and Relu only");
    return WEIR_UNSUPPORTED;
}

static weir_code_t pointwise_run(const weir_task_t *task)
{
    const weir_tensor_t *y = &task->outputs[0];
    for (uint64_t i = 0; i < y->element_count; i++)
        ((float *)y->data)[i] = evaluate(task, task->node->body, y, i, 0);
    return WEIR_OK;
}

static const weir_kernel_t kernels[] = {
    {.head = {sizeof(weir_kernel_t), WEIR_KERNEL_EPILOGUE},
        .op = "MatMul",
        .revision = 1,
        .dtypes = WEIR_F32,
        .supports = matmul_supports,
        .run = matmul_run},
    {.head = {sizeof(weir_kernel_t), WEIR_KERNEL_PROLOGUE},
        .op = "Softmax",
        .revision = 1,
        .dtypes = WEIR_F32,
        .supports = softmax_supports,
        .run = softmax_run},
    {.head = WEIR_HEAD(weir_kernel_t),
        .op = "Pointwise",
        .revision = 1,
        .dtypes = WEIR_F32,
        .supports = pointwise_supports,
        .run = pointwise_run},
};

// ---- The plugin --------------------------------------------------------------------------------

static const weir_option_t options[] = {
    {.head = WEIR_HEAD(weir_option_t),
        .name = "tile",
        .default_value = "4",
        .doc = "has no effect",
        .type = WEIR_OPTION_INT,
        .min = 1,
        .max = 64},
    {.head = WEIR_HEAD(weir_option_t),
        .name = "exact",
        .default_value = "1",
        .doc = "has no effect",
        .type = WEIR_OPTION_BOOL},
};

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = "picky",
    .vendor = "weir",
    .version = "0.1.0",
    .build = "test",
    .options = WEIR_ARRAY(options),
    .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
