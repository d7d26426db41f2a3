// Goal:   what a product says before dims are known (it needs no generated kernel) holds for all
//         dims that the symbols can stand for; and the step of the library does what the epilogue
//         says, with the right operands.
// Method: random chains of bias, addend, Relu and other operations over symbolic dims, then over
//         dims drawn for the symbols, ones often. Plans are read, not run.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cuda/op_common.h"
#include "tests/kernels/ref_host.h"

#define ROUNDS 20000

static uint32_t state_of_random = 9;
static uint32_t below(uint32_t n)
{
    state_of_random = state_of_random * 1664525u + 1013904223u;
    return (state_of_random >> 8) % n;
}

// A MatMul of [s, k] and [k, n] with an epilogue of a few steps.
typedef struct chain {
    weir_instruction_t code[16];
    weir_expression_t epilogue;
    uint16_t output;
    int64_t dims[8][2];
    weir_tensor_t inputs[8], outputs[1];
    weir_node_t node;
} chain_t;

enum { SYMBOL_S = -1, SYMBOL_N = -2, K = 3 };

static weir_tensor_t tensor_of(int64_t *dims, uint32_t rank)
{
    uint64_t count = 1;
    for (uint32_t d = 0; d < rank; d++)
        count *= dims[d] < 0 ? 0 : (uint64_t)dims[d];
    return (weir_tensor_t){.dims = dims, .rank = rank, .dtype = WEIR_F32, .element_count = count};
}

static void add_step(chain_t *c, uint32_t *top)
{
    // Whole, a row, a row without its axis, a column, one element.
    static const int64_t shapes[5][2] = {
        {SYMBOL_S, SYMBOL_N}, {1, SYMBOL_N}, {SYMBOL_N, 0}, {SYMBOL_S, 1}, {1, 1}};
    weir_expression_t *e = &c->epilogue;
    const uint32_t kind = below(6);
    weir_instruction_t *at = &c->code[e->instruction_count];
    if (kind < 4 && e->operand_count < 4) {
        const uint32_t shape = below(5), input = 2 + e->operand_count;
        memcpy(c->dims[input], shapes[shape], sizeof shapes[shape]);
        c->inputs[input] = tensor_of(c->dims[input], shape == 2 ? 1 : 2);
        c->node.input_count++;
        at[0] = (weir_instruction_t){
            .opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = (uint16_t)e->operand_count++};
        const uint16_t load = (uint16_t)e->instruction_count++, value = (uint16_t)*top;
        const int flips = below(2) == 0;
        at[1] = (weir_instruction_t){.opcode = below(8) ? WEIR_OP_ADD : WEIR_OP_MUL,
            .dtype = WEIR_F32,
            .a = flips ? load : value,
            .b = flips ? value : load};
    } else {
        at[0] = (weir_instruction_t){.opcode = below(4) ? WEIR_OP_RELU : WEIR_OP_GELU,
            .dtype = WEIR_F32,
            .a = (uint16_t)*top};
    }
    *top = e->instruction_count++;
}

static void draw(chain_t *c)
{
    uint32_t top = 0;
    *c = (chain_t){.dims = {{SYMBOL_S, K}, {K, SYMBOL_N}}};
    c->code[0] = (weir_instruction_t){.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32};
    c->epilogue = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = c->code,
        .instruction_count = 1,
        .first_operand = 2,
        .output_count = 1,
        .outputs = &c->output};
    c->node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = "MatMul",
        .input_count = 2,
        .output_count = 1,
        .inputs = c->inputs,
        .outputs = c->outputs,
        .epilogue = &c->epilogue};
    for (uint32_t steps = below(5); steps > 0; steps--)
        add_step(c, &top);
    c->output = (uint16_t)top;
    c->dims[7][0] = SYMBOL_S;
    c->dims[7][1] = SYMBOL_N;
    c->inputs[0] = tensor_of(c->dims[0], 2);
    c->inputs[1] = tensor_of(c->dims[1], 2);
    c->outputs[0] = tensor_of(c->dims[7], 2);
}

static void settle(chain_t *c, int64_t s, int64_t n)
{
    for (uint32_t i = 0; i < 8; i++)
        for (uint32_t d = 0; d < 2; d++)
            c->dims[i][d] = c->dims[i][d] == SYMBOL_S   ? s
                            : c->dims[i][d] == SYMBOL_N ? n
                                                        : c->dims[i][d];
    for (uint32_t i = 0; i < c->node.input_count; i++)
        c->inputs[i] = tensor_of(c->dims[i], c->inputs[i].rank);
    c->outputs[0] = tensor_of(c->dims[7], 2);
}

static const weir_cuda_row_t *matmul_row(void)
{
    const weir_cuda_row_t *row = weir_cuda_family_matmul.rows;
    while (row->kernel.head.flags & WEIR_KERNEL_BF16)
        row++;
    return row;
}

// What the chain computes of one anchor of 100, each operand a number of its own; and what the
// step of the library would.
static void compare(const chain_t *c, const weir_cuda_matmul_t *matmul)
{
    double values[16] = {100};
    double by_step = 100;
    for (uint32_t i = 1; i < c->epilogue.instruction_count; i++) {
        const weir_instruction_t *at = &c->code[i];
        values[i] = at->opcode == WEIR_OP_LOAD  ? -70.0 - 17.0 * at->a
                    : at->opcode == WEIR_OP_ADD ? values[at->a] + values[at->b]
                    : values[at->a] < 0         ? 0
                                                : values[at->a];
    }
    const int has_bias = matmul->epilogue == WEIR_CUDA_EPILOGUE_BIAS ||
                         matmul->epilogue == WEIR_CUDA_EPILOGUE_BIAS_RELU;
    const int has_relu = matmul->epilogue == WEIR_CUDA_EPILOGUE_RELU ||
                         matmul->epilogue == WEIR_CUDA_EPILOGUE_BIAS_RELU;
    if (matmul->beta > 0)
        by_step += -70.0 - 17.0 * (matmul->c.index - 2.0);
    if (has_bias)
        by_step += -70.0 - 17.0 * (matmul->bias.index - 2.0);
    if (has_relu && by_step < 0)
        by_step = 0;
    assert_true(by_step >= values[c->output] && by_step <= values[c->output]);
}

static void fusions_hold_for_all_dims(void **state)
{
    static const weir_cuda_facts_t facts = {.arch = 90, .has_matmul = true, .has_compiler = true};
    static weir_cuda_recipe_t recipe;
    uint32_t whole = 0, generated = 0;
    weir_host_t host = ref_host();
    (void)state;
    for (uint32_t round = 0; round < ROUNDS; round++) {
        weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
        chain_t c;
        draw(&c);
        assert_int_equal(matmul_row()->kernel.supports(&c.node, &support), WEIR_OK);
        const weir_cuda_fusion_t early = weir_cuda_fusion(&c.node, true, true);
        settle(&c, 1 + (int64_t)below(3), 1 + (int64_t)below(3));
        memset(&recipe, 0, sizeof recipe);
        weir_cuda_recipe_begin(&recipe, &host, &facts, matmul_row());
        assert_int_equal(matmul_row()->plan(&c.node, &recipe), WEIR_OK);
        assert_int_equal(recipe.steps[0].kind, WEIR_CUDA_STEP_MATMUL);
        if (early.is_whole) // nothing was generated, so nothing may be launched
            assert_int_equal(recipe.step_count, 1);
        if (recipe.step_count == 1) {
            compare(&c, &recipe.steps[0].matmul);
            whole++;
        } else {
            assert_int_equal(recipe.step_count, 2);
            assert_int_equal(recipe.steps[0].matmul.epilogue, WEIR_CUDA_EPILOGUE_NONE);
            assert_null(recipe.steps[1].kernel.entry);
            generated++;
        }
    }
    assert_true(whole > ROUNDS / 10 && generated > ROUNDS / 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fusions_hold_for_all_dims)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
