// engine/conform/make_pointwise.c: elementwise nodes, by name and as expressions.
//
// Programs are random, over what loses little: no power, no division by something near zero, and
// comparisons of loaded values only, so that a unit of the last place cannot choose the other
// branch.
#include "engine/conform/kit.h"

#include <math.h>
#include <string.h>

static void finish(weir__kit_case_t *c, uint32_t which, weir_expression_t *expression,
    uint32_t count, uint32_t first, uint32_t operands)
{
    c->results[which][0] = (uint16_t)(count - 1);
    *expression = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = c->code[which],
        .instruction_count = count,
        .first_operand = first,
        .operand_count = operands,
        .output_count = 1,
        .outputs = c->results[which]};
}

// The body of an operator that has a name: loads, then its opcode.
static void named_body(
    weir__kit_case_t *c, weir_opcode_t opcode, weir_dtype_t result, const float *imm)
{
    uint32_t count = c->node.input_count;
    for (uint32_t i = 0; i < count; i++)
        c->code[0][i] = (weir_instruction_t){
            .opcode = WEIR_OP_LOAD, .dtype = c->inputs[i].dtype, .a = (uint16_t)i};
    c->code[0][count] = (weir_instruction_t){.opcode = opcode,
        .dtype = result,
        .b = count > 1 ? 1 : 0,
        .c = count > 2 ? 2 : 0,
        .imm = {imm[0], imm[1]}};
    finish(c, 0, &c->body, count + 1, 0, count);
    c->is_expression = true;
}

static void pointwise_dims(weir__kit_case_t *c, uint32_t *out_rank, int64_t *out_dims)
{
    *out_rank = (uint32_t)weir__kit_below(c->random, 5);
    if (weir__kit_chance(c->random, 15)) { // enough for several tasks
        *out_rank = 2;
        out_dims[0] = weir__kit_between(c->random, 30, 70);
        out_dims[1] = weir__kit_between(c->random, 200, 700);
        return;
    }
    weir__kit_dims(c, *out_rank, out_dims);
}

static weir_dtype_t any_dtype(weir__kit_case_t *c)
{
    return 1u << weir__kit_below(c->random, 13);
}

bool weir__kit_make_unary(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    uint32_t rank;
    int64_t dims[WEIR_RANK_MAX];
    float imm[2] = {0, 0};
    weir_dtype_t result = argument == WEIR_OP_ISNAN ? WEIR_BOOL : dtype;
    pointwise_dims(c, &rank, dims);
    if (strcmp(c->node.op, "Reorder") == 0) {
        rank = 4;
        weir__kit_dims(c, rank, dims);
    }
    weir_tensor_t *x = weir__kit_input(c, dtype, rank, dims);
    if (argument == WEIR_OP_SQRT || argument == WEIR_OP_LOG || argument == WEIR_OP_RECIPROCAL)
        weir__kit_fill(c, x, 0.1, 9);
    if (argument == WEIR_OP_FLOOR || argument == WEIR_OP_CEIL || argument == WEIR_OP_ROUND)
        for (uint64_t i = 0; i < x->element_count; i += 3) // halves, where rounding differs
            weir__kit_set(x->data, dtype, i, (double)weir__kit_between(c->random, -9, 9) / 2);
    if (argument == WEIR_OP_CAST) {
        result = any_dtype(c);
        if (weir__kit_chance(c->random, 30))
            weir__kit_fill(c, x, -300, 300);
        weir__kit_attribute_int(c, "to", result);
    }
    if (argument == WEIR_OP_LEAKY_RELU || argument == WEIR_OP_ELU ||
        argument == WEIR_OP_HARD_SIGMOID) {
        imm[0] = (float)weir__kit_real(c->random, 0.05, 1);
        weir__kit_attribute_float(c, "alpha", (double)imm[0]);
    }
    if (argument == WEIR_OP_HARD_SIGMOID) {
        imm[1] = 0.5f;
        weir__kit_attribute_float(c, "beta", 0.5);
    }
    weir__kit_output(c, result, rank, dims);
    named_body(c, argument, result, imm);
    return true;
}

// dims as an operand may have them: some axes 1, leading ones gone.
static void operand_dims(
    weir__kit_case_t *c, uint32_t rank, const int64_t *dims, uint32_t *out_rank, int64_t *out_dims)
{
    uint32_t cut =
        weir__kit_chance(c->random, 30) ? (uint32_t)weir__kit_below(c->random, rank + 1) : 0;
    bool is_broadcast = weir__kit_chance(c->random, 50);
    *out_rank = rank - cut;
    for (uint32_t i = cut; i < rank; i++)
        out_dims[i - cut] = is_broadcast && weir__kit_chance(c->random, 40) ? 1 : dims[i];
}

static weir_tensor_t *operand(
    weir__kit_case_t *c, weir_dtype_t dtype, uint32_t rank, const int64_t *dims)
{
    uint32_t its_rank;
    int64_t its_dims[WEIR_RANK_MAX];
    operand_dims(c, rank, dims, &its_rank, its_dims);
    return weir__kit_input(c, dtype, its_rank, its_dims);
}

// The shape that the inputs have together.
static void output_of(weir__kit_case_t *c, weir_dtype_t dtype)
{
    uint32_t rank = 0;
    int64_t dims[WEIR_RANK_MAX];
    for (uint32_t i = 0; i < c->node.input_count; i++)
        rank = WEIR_MAX(rank, c->inputs[i].rank);
    for (uint32_t d = 0; d < rank; d++)
        dims[d] = 1;
    for (uint32_t i = 0; i < c->node.input_count; i++)
        for (uint32_t d = 0; d < c->inputs[i].rank; d++)
            if (c->inputs[i].dims[d] != 1)
                dims[d + rank - c->inputs[i].rank] = c->inputs[i].dims[d];
    weir__kit_output(c, dtype, rank, dims);
}

bool weir__kit_make_binary(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    uint32_t rank;
    int64_t dims[WEIR_RANK_MAX];
    const float none[2] = {0, 0};
    bool is_float = (dtype & WEIR__KIT_FLOATS) != 0;
    bool is_relation = argument >= WEIR_OP_EQ && argument <= WEIR_OP_GE;
    pointwise_dims(c, &rank, dims);
    weir_tensor_t *a = operand(c, dtype, rank, dims), *b = operand(c, dtype, rank, dims);
    bool divides = argument == WEIR_OP_DIV || argument == WEIR_OP_MOD;
    if (divides && (is_float || !weir__kit_chance(c->random, 4)))
        weir__kit_fill(c, b, is_float ? 0.5 : 1, 9);
    if (argument == WEIR_OP_POW) {
        weir__kit_fill(c, a, is_float ? 0.2 : 0, is_float ? 4 : 3);
        weir__kit_fill(c, b, is_float ? -2 : 0, 3);
    }
    if (is_relation || argument == WEIR_OP_MIN || argument == WEIR_OP_MAX) // equal ones too
        for (uint64_t i = 0; i < WEIR_MIN(a->element_count, b->element_count); i += 2) {
            weir__kit_set(a->data, dtype, i, 1);
            weir__kit_set(b->data, dtype, i, 1);
        }
    if (argument == WEIR_OP_MOD)
        weir__kit_attribute_int(c, "fmod", is_float);
    output_of(c, is_relation ? WEIR_BOOL : dtype);
    named_body(c, argument == WEIR_OP_MOD && is_float ? WEIR_OP_FMOD : argument,
        c->outputs[0].dtype, none);
    return true;
}

bool weir__kit_make_ternary(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    uint32_t rank;
    int64_t dims[WEIR_RANK_MAX];
    const float none[2] = {0, 0};
    pointwise_dims(c, &rank, dims);
    if (argument == WEIR_OP_CLAMP) {
        weir__kit_input(c, dtype, rank, dims);
        weir_tensor_t *low = weir__kit_input(c, dtype, 0, NULL);
        weir_tensor_t *high = weir__kit_input(c, dtype, 0, NULL);
        weir__kit_set(low->data, dtype, 0, dtype & WEIR__KIT_UNSIGNED ? 0 : -1);
        weir__kit_set(high->data, dtype, 0, dtype == WEIR_BOOL ? 1 : 2);
        low->flags = high->flags = weir__kit_chance(c->random, 70) ? WEIR_TENSOR_CONSTANT : 0;
        weir__kit_output(c, dtype, rank, dims);
    } else {
        operand(c, WEIR_BOOL, rank, dims);
        operand(c, dtype, rank, dims);
        operand(c, dtype, rank, dims);
        output_of(c, dtype);
    }
    named_body(c, argument, dtype, none);
    return true;
}

// ---- Programs
// ------------------------------------------------------------------------------------

static const weir_opcode_t float_unary[] = {WEIR_OP_NEG, WEIR_OP_ABS, WEIR_OP_RELU, WEIR_OP_TANH,
    WEIR_OP_SIGMOID, WEIR_OP_ERF, WEIR_OP_HARD_SIGMOID, WEIR_OP_HARD_SWISH, WEIR_OP_LEAKY_RELU,
    WEIR_OP_GELU, WEIR_OP_GELU_TANH, WEIR_OP_SOFTPLUS, WEIR_OP_IDENTITY, WEIR_OP_ELU};
static const weir_opcode_t whole_unary[] = {WEIR_OP_NEG, WEIR_OP_ABS, WEIR_OP_IDENTITY};
static const weir_opcode_t binary[] = {
    WEIR_OP_ADD, WEIR_OP_SUB, WEIR_OP_MUL, WEIR_OP_MIN, WEIR_OP_MAX};

// Writes a program after `leaf` leaves. Returns how many instructions there are.
static uint32_t write_program(weir__kit_case_t *c, weir_instruction_t *code, weir_dtype_t dtype,
    uint32_t leaf_count, uint32_t length)
{
    bool is_float = (dtype & WEIR__KIT_FLOATS) != 0;
    uint32_t at = leaf_count, products = 0;
    code[at++] = (weir_instruction_t){.opcode = WEIR_OP_CONST,
        .dtype = dtype,
        .integer = 3,
        .imm = {(float)weir__kit_real(c->random, -1, 1), 0}};
    for (uint32_t i = 0; i < length; i++) {
        weir_instruction_t *next = &code[at];
        *next = (weir_instruction_t){.dtype = dtype, .imm = {0.25f, 0.5f}};
        next->a = (uint16_t)(i == 0 ? weir__kit_below(c->random, leaf_count) : at - 1);
        next->b = (uint16_t)weir__kit_below(c->random, at);
        if (weir__kit_chance(c->random, 45)) {
            next->b = 0;
            next->opcode = is_float ? float_unary[weir__kit_below(
                                          c->random, sizeof float_unary / sizeof float_unary[0])]
                                    : whole_unary[weir__kit_below(
                                          c->random, sizeof whole_unary / sizeof whole_unary[0])];
        } else {
            next->opcode = binary[weir__kit_below(c->random, sizeof binary / sizeof binary[0])];
            if (next->opcode == WEIR_OP_MUL && ++products > 2)
                next->opcode = WEIR_OP_MAX;
        }
        at++;
    }
    return at;
}

// One opcode with its own budget: what a program of many would hide.
static bool make_single(weir__kit_case_t *c, weir_dtype_t dtype)
{
    const weir__kit_operator_t *operator_ = weir__kit_elementwise(c->random);
    c->scale = operator_->scale;
    c->budget = (double)operator_->budget;
    c->has_specials = operator_->takes_specials && weir__kit_chance(c->random, 20);
    if (!(operator_->dtypes & dtype) || !operator_->make(c, dtype, operator_->argument))
        return false;
    c->node.attribute_count = 0;
    c->node.body = &c->body;
    return true;
}

bool weir__kit_make_program(weir__kit_case_t *c, weir_dtype_t dtype, uint32_t argument)
{
    (void)argument;
    uint32_t rank;
    int64_t dims[WEIR_RANK_MAX];
    if (weir__kit_chance(c->random, 60))
        return make_single(c, dtype);
    if (dtype == WEIR_BOOL)
        return false;
    uint32_t operands = 1 + (uint32_t)weir__kit_below(c->random, 4);
    pointwise_dims(c, &rank, dims);
    for (uint32_t i = 0; i < operands; i++) {
        if (i == 0)
            weir__kit_input(c, dtype, rank, dims);
        else
            operand(c, dtype, rank, dims);
        c->code[0][i] =
            (weir_instruction_t){.opcode = WEIR_OP_LOAD, .dtype = dtype, .a = (uint16_t)i};
    }
    output_of(c, dtype);
    uint32_t length = 1 + (uint32_t)weir__kit_below(c->random, 8);
    uint32_t count = write_program(c, c->code[0], dtype, operands, length);
    finish(c, 0, &c->body, count, 0, operands);
    c->node.body = &c->body;
    c->is_expression = true;
    if (!(dtype & (WEIR_F32 | WEIR_F64)))
        c->budget = 4; // computed wider, rounded once
    return true;
}

// What models mostly attach: an activation, or a bias. Returns how many instructions there are.
static uint32_t write_simple(
    weir__kit_case_t *c, weir_instruction_t *code, weir_dtype_t dtype, uint32_t operands)
{
    static const weir_opcode_t activations[] = {
        WEIR_OP_RELU, WEIR_OP_RELU, WEIR_OP_SIGMOID, WEIR_OP_TANH};
    code[1 + operands] = (weir_instruction_t){.dtype = dtype};
    if (operands) {
        code[1 + operands].opcode = WEIR_OP_ADD;
        code[1 + operands].b = 1;
    } else {
        code[1 + operands].opcode = activations[weir__kit_below(c->random, 4)];
    }
    return 2 + operands;
}

void weir__kit_attach(weir__kit_case_t *c, bool is_prologue)
{
    uint32_t which = is_prologue ? 2 : 1;
    const weir_tensor_t *anchor = is_prologue ? &c->inputs[0] : &c->outputs[0];
    weir_dtype_t dtype = anchor->dtype;
    bool is_simple = weir__kit_chance(c->random, 35);
    uint32_t operands = (uint32_t)weir__kit_below(c->random, is_simple ? 2 : 3);
    uint32_t first = c->node.input_count;
    weir_instruction_t *code = c->code[which];
    code[0] = (weir_instruction_t){.opcode = WEIR_OP_ANCHOR, .dtype = dtype};
    for (uint32_t i = 0; i < operands; i++) {
        operand(c, dtype, anchor->rank, anchor->dims);
        code[1 + i] =
            (weir_instruction_t){.opcode = WEIR_OP_LOAD, .dtype = dtype, .a = (uint16_t)i};
    }
    uint32_t length = 1 + (uint32_t)weir__kit_below(c->random, 4);
    uint32_t count = is_simple ? write_simple(c, code, dtype, operands)
                               : write_program(c, code, dtype, 1 + operands, length);
    finish(c, which, is_prologue ? &c->prologue : &c->epilogue, count, first, operands);
    if (is_prologue)
        c->node.prologue = &c->prologue;
    else
        c->node.epilogue = &c->epilogue;
}
