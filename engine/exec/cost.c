// engine/exec/cost.c: bytes and floating-point operations of a step, by a small table of operators.
//
// The counts are those of the direct algorithm, so that kernels which do less arithmetic show a
// higher rate. It must not be used to choose kernels or layouts: that is the plugins' business.
#include "engine/exec/cost.h"

#include <string.h>

// ---- Arithmetic that stays at the end of its range
// ------------------------------------------------

static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t result;
    return __builtin_mul_overflow(a, b, &result) ? UINT64_MAX : result;
}

static uint64_t sum(uint64_t a, uint64_t b)
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
        count = product(count, dim(tensor, i));
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
    uint64_t flop = product(2, products);
    return has_bias(node) ? sum(flop, node->outputs[0].element_count) : flop;
}

static uint64_t matmul_flop(const weir_node_t *node)
{
    const weir_tensor_t *a = input(node, 0);
    uint64_t depth = a->rank ? dim(a, a->rank - 1) : 0;
    return product(2, product(node->outputs[0].element_count, depth));
}

static uint64_t gemm_flop(const weir_node_t *node)
{
    uint64_t depth = dim(input(node, 0), weir_node_int(node, "transA", 0) ? 0 : 1);
    return biased(node, product(node->outputs[0].element_count, depth));
}

static uint64_t conv_flop(const weir_node_t *node)
{
    return biased(node, product(node->outputs[0].element_count, per_row(input(node, 1))));
}

static uint64_t conv_transpose_flop(const weir_node_t *node)
{
    return biased(node, product(input(node, 0)->element_count, per_row(input(node, 1))));
}

// X is [steps, batch, inputs] (or batch first), W [directions, 4 hidden, inputs], R [.., ..,
// hidden].
static uint64_t lstm_flop(const weir_node_t *node)
{
    const weir_tensor_t *x = input(node, 0), *w = input(node, 1), *r = input(node, 2);
    uint64_t cells = product(dim(x, 0), dim(x, 1));
    uint64_t gates = product(dim(w, 0), dim(w, 1));
    return product(2, product(cells, product(gates, sum(dim(w, 2), dim(r, 2)))));
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
};

static uint64_t expression_flop(const weir_expression_t *expression, uint64_t element_count)
{
    uint64_t instructions = 0;
    for (uint32_t i = 0; expression && i < expression->instruction_count; i++)
        instructions += expression->instructions[i].opcode >= WEIR_OP_IDENTITY;
    return product(instructions, element_count);
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
        cost.bytes = sum(cost.bytes, node->outputs[i].bytes);
    uint64_t most = picks(node->op) ? cost.bytes : UINT64_MAX;
    for (uint32_t i = 0; i < node->input_count; i++)
        cost.bytes =
            sum(cost.bytes, i ? node->inputs[i].bytes : WEIR_MIN(node->inputs[i].bytes, most));
    uint64_t count = node->output_count ? node->outputs[0].element_count : 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0] && node->output_count; i++)
        if (strcmp(node->op, table[i].op) == 0)
            cost.flop = table[i].flop(node);
    cost.flop = sum(cost.flop, expression_flop(node->body, count));
    cost.flop = sum(cost.flop, expression_flop(node->epilogue, count));
    cost.flop = sum(cost.flop, expression_flop(node->prologue, input(node, 0)->element_count));
    return cost;
}

weir__cost_t weir__step_cost(const weir__step_t *step)
{
    if (!step->slice)
        return weir__node_cost(&step->view);
    weir__cost_t cost = {0};
    for (uint32_t i = 0; i < step->slice_view->node_count; i++)
        cost.flop = sum(cost.flop, weir__node_cost(&step->slice_view->nodes[i].node).flop);
    // What stays inside the device is its own business.
    const weir_slice_t *view = step->slice_view;
    for (uint32_t i = 0; i < view->input_count; i++)
        cost.bytes = sum(cost.bytes, view->tensors[view->inputs[i]].bytes);
    for (uint32_t i = 0; i < view->output_count; i++)
        cost.bytes = sum(cost.bytes, view->tensors[view->outputs[i]].bytes);
    for (uint32_t i = 0; i < view->tensor_count; i++)
        if (view->tensors[i].flags & WEIR_TENSOR_CONSTANT)
            cost.bytes = sum(cost.bytes, view->tensors[i].bytes);
    return cost;
}

// ---- Is it worth a second thread?
// ----------------------------------------------------------------

#define SHARE_NS 6000 // about 20,000 cycles: what handing over a share may cost, a few times over

uint32_t weir__step_wide_phases(const weir__step_t *step)
{
    uint32_t wide = 0;
    uint64_t guess = UINT64_MAX; // of all phases together, for kernels that say nothing
    for (uint32_t p = 0; p < step->tasks.phase_count; p++) {
        uint64_t total = product(step->tasks.task_count[p], step->tasks.task_cost_ns[p]);
        if (!step->tasks.task_cost_ns[p]) {
            // Plain C at about one operation and four bytes a nanosecond.
            if (guess == UINT64_MAX) {
                weir__cost_t cost = weir__node_cost(&step->view);
                guess = sum(cost.flop, cost.bytes / 4);
            }
            total = guess;
        }
        if (step->tasks.task_count[p] > 1 && total >= 2 * SHARE_NS)
            wide |= 1u << p;
    }
    return wide;
}
