// engine/plan/cost.c: bytes and floating-point operations of a node, by a small table of operators.
//
// The counts are those of the direct algorithm, so that kernels which do less arithmetic show a
// higher rate. It must not be used to choose kernels or layouts: that is the plugins' business.
#include "engine/plan/cost.h"

#include <stdbool.h>
#include <string.h>

// ---- Arithmetic that stays at the end of its range
// ------------------------------------------------

uint64_t weir__cost_product(uint64_t a, uint64_t b)
{
    uint64_t result;
    return __builtin_mul_overflow(a, b, &result) ? UINT64_MAX : result;
}

uint64_t weir__cost_sum(uint64_t a, uint64_t b)
{
    uint64_t result;
    return __builtin_add_overflow(a, b, &result) ? UINT64_MAX : result;
}

static uint64_t dim(const weir_tensor_t *tensor, uint32_t axis)
{
    return axis < tensor->rank && tensor->dims[axis] > 0 ? (uint64_t)tensor->dims[axis] : 0;
}

// Elements of one entry along axis 0: of a convolution's weights, those of one output channel.
static uint64_t per_row(const weir_tensor_t *tensor)
{
    uint64_t count = 1;
    for (uint32_t i = 1; i < tensor->rank; i++)
        count = weir__cost_product(count, dim(tensor, i));
    return count;
}

// ---- Operators
// ------------------------------------------------------------------------------------

static const weir_tensor_t *input(const weir_node_t *node, uint32_t index)
{
    static const weir_tensor_t absent = {.dtype = 0};
    return index < node->input_count ? &node->inputs[index] : &absent;
}

// Operands of an expression come behind the anchor's inputs; a bias is one of those.
static bool has_bias(const weir_node_t *node)
{
    uint32_t own = node->input_count;
    if (node->epilogue && node->epilogue->operand_count)
        own = WEIR_MIN(own, node->epilogue->first_operand);
    if (node->prologue && node->prologue->operand_count)
        own = WEIR_MIN(own, node->prologue->first_operand);
    return own > 2 && node->inputs[2].dtype;
}

static uint64_t biased(const weir_node_t *node, uint64_t products)
{
    uint64_t flop = weir__cost_product(2, products);
    return has_bias(node) ? weir__cost_sum(flop, node->outputs[0].element_count) : flop;
}

static uint64_t matmul_flop(const weir_node_t *node)
{
    const weir_tensor_t *a = input(node, 0);
    uint64_t depth = a->rank ? dim(a, a->rank - 1) : 0;
    return weir__cost_product(2, weir__cost_product(node->outputs[0].element_count, depth));
}

static uint64_t gemm_flop(const weir_node_t *node)
{
    uint64_t depth = dim(input(node, 0), weir_node_int(node, "transA", 0) ? 0 : 1);
    return biased(node, weir__cost_product(node->outputs[0].element_count, depth));
}

static uint64_t conv_flop(const weir_node_t *node)
{
    return biased(
        node, weir__cost_product(node->outputs[0].element_count, per_row(input(node, 1))));
}

static uint64_t integer_conv_flop(const weir_node_t *node)
{
    return weir__cost_product(
        2, weir__cost_product(node->outputs[0].element_count, per_row(input(node, 1))));
}

// The weights of a quantised operator are input 3.
static uint64_t quantised_conv_flop(const weir_node_t *node)
{
    return weir__cost_product(
        2, weir__cost_product(node->outputs[0].element_count, per_row(input(node, 3))));
}

static uint64_t conv_transpose_flop(const weir_node_t *node)
{
    return biased(node, weir__cost_product(input(node, 0)->element_count, per_row(input(node, 1))));
}

// X is [steps, batch, inputs] (or batch first), W [directions, 4 hidden, inputs], R [.., ..,
// hidden].
static uint64_t lstm_flop(const weir_node_t *node)
{
    const weir_tensor_t *x = input(node, 0), *w = input(node, 1), *r = input(node, 2);
    uint64_t cells = weir__cost_product(dim(x, 0), dim(x, 1));
    uint64_t gates = weir__cost_product(dim(w, 0), dim(w, 1));
    return weir__cost_product(2,
        weir__cost_product(cells, weir__cost_product(gates, weir__cost_sum(dim(w, 2), dim(r, 2)))));
}

static const struct {
    const char *op;
    uint64_t (*flop)(const weir_node_t *node);
} table[] = {
    {"MatMul", matmul_flop},
    {"Gemm", gemm_flop},
    {"Conv", conv_flop},
    {"ConvTranspose", conv_transpose_flop},
    {"LSTM", lstm_flop},
    {"MatMulInteger", matmul_flop},
    {"QLinearMatMul", matmul_flop},
    {"ConvInteger", integer_conv_flop},
    {"QLinearConv", quantised_conv_flop},
};

static uint64_t expression_flop(const weir_expression_t *expression, uint64_t element_count)
{
    uint64_t instructions = 0;
    for (uint32_t i = 0; expression && i < expression->instruction_count; i++)
        instructions += expression->instructions[i].opcode >= WEIR_OP_IDENTITY;
    return weir__cost_product(instructions, element_count);
}

// Operators that take only as much of input 0 as they give out.
static bool picks(const char *op)
{
    static const char *const names[] = {"Gather", "GatherElements", "GatherND", "Slice"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(op, names[i]) == 0)
            return true;
    return false;
}

weir__cost_t weir__node_cost(const weir_node_t *node)
{
    weir__cost_t cost = {0};
    for (uint32_t i = 0; i < node->output_count; i++)
        cost.bytes = weir__cost_sum(cost.bytes, node->outputs[i].bytes);
    uint64_t most = picks(node->op) ? cost.bytes : UINT64_MAX;
    for (uint32_t i = 0; i < node->input_count; i++)
        cost.bytes = weir__cost_sum(
            cost.bytes, i ? node->inputs[i].bytes : WEIR_MIN(node->inputs[i].bytes, most));
    uint64_t count = node->output_count ? node->outputs[0].element_count : 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0] && node->output_count; i++)
        if (strcmp(node->op, table[i].op) == 0)
            cost.flop = table[i].flop(node);
    cost.flop = weir__cost_sum(cost.flop, expression_flop(node->body, count));
    cost.flop = weir__cost_sum(cost.flop, expression_flop(node->epilogue, count));
    cost.flop =
        weir__cost_sum(cost.flop, expression_flop(node->prologue, input(node, 0)->element_count));
    return cost;
}
