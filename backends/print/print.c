// backends/print/print.c: an expression as statements, one for each instruction.
//
// What: chooses the preamble's function for an opcode and its element types. See print.h.
// Not:  no formulas; those are in preamble.c.
#include "backends/print/print.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FLOATS (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16)
#define IN_F32 (WEIR_F32 | WEIR_F16 | WEIR_BF16)
#define WIDE_INTEGERS (WEIR_I32 | WEIR_I64 | WEIR_U32 | WEIR_U64)

typedef struct opcode {
    weir_opcode_t opcode;
    uint8_t arity;
    uint8_t imm_count;
    const char *name; // of the function; NULL: handled on its own
} opcode_t;

static const opcode_t opcodes[] = {{WEIR_OP_LOAD, 0, 0, NULL}, {WEIR_OP_ANCHOR, 0, 0, NULL},
    {WEIR_OP_CONST, 0, 0, NULL}, {WEIR_OP_IDENTITY, 1, 0, NULL}, {WEIR_OP_NEG, 1, 0, "neg"},
    {WEIR_OP_ABS, 1, 0, "abs"}, {WEIR_OP_SIGN, 1, 0, "sign"},
    {WEIR_OP_RECIPROCAL, 1, 0, "reciprocal"}, {WEIR_OP_SQRT, 1, 0, "sqrt"},
    {WEIR_OP_EXP, 1, 0, "exp"}, {WEIR_OP_LOG, 1, 0, "log"}, {WEIR_OP_ERF, 1, 0, "erf"},
    {WEIR_OP_SIN, 1, 0, "sin"}, {WEIR_OP_COS, 1, 0, "cos"}, {WEIR_OP_TANH, 1, 0, "tanh"},
    {WEIR_OP_SIGMOID, 1, 0, "sigmoid"}, {WEIR_OP_SOFTPLUS, 1, 0, "softplus"},
    {WEIR_OP_RELU, 1, 0, "relu"}, {WEIR_OP_FLOOR, 1, 0, "floor"}, {WEIR_OP_CEIL, 1, 0, "ceil"},
    {WEIR_OP_ROUND, 1, 0, "round"}, {WEIR_OP_NOT, 1, 0, NULL}, {WEIR_OP_ISNAN, 1, 0, NULL},
    {WEIR_OP_CAST, 1, 0, NULL}, {WEIR_OP_GELU, 1, 0, "gelu"},
    {WEIR_OP_GELU_TANH, 1, 0, "gelu_tanh"}, {WEIR_OP_HARD_SIGMOID, 1, 2, "hard_sigmoid"},
    {WEIR_OP_HARD_SWISH, 1, 0, "hard_swish"}, {WEIR_OP_LEAKY_RELU, 1, 1, "leaky_relu"},
    {WEIR_OP_ELU, 1, 1, "elu"}, {WEIR_OP_ADD, 2, 0, "add"}, {WEIR_OP_SUB, 2, 0, "sub"},
    {WEIR_OP_MUL, 2, 0, "mul"}, {WEIR_OP_DIV, 2, 0, "div"}, {WEIR_OP_POW, 2, 0, NULL},
    {WEIR_OP_MOD, 2, 0, "mod"}, {WEIR_OP_FMOD, 2, 0, "fmod"}, {WEIR_OP_MIN, 2, 0, "min"},
    {WEIR_OP_MAX, 2, 0, "max"}, {WEIR_OP_AND, 2, 0, NULL}, {WEIR_OP_OR, 2, 0, NULL},
    {WEIR_OP_XOR, 2, 0, NULL}, {WEIR_OP_EQ, 2, 0, NULL}, {WEIR_OP_LT, 2, 0, NULL},
    {WEIR_OP_LE, 2, 0, NULL}, {WEIR_OP_GT, 2, 0, NULL}, {WEIR_OP_GE, 2, 0, NULL},
    {WEIR_OP_PRELU, 2, 0, "prelu"}, {WEIR_OP_SELECT, 3, 0, NULL}, {WEIR_OP_CLAMP, 3, 0, "clamp"}};

static const opcode_t *find(weir_opcode_t opcode)
{
    for (size_t i = 0; i < sizeof opcodes / sizeof opcodes[0]; i++)
        if (opcodes[i].opcode == opcode)
            return &opcodes[i];
    return NULL;
}

// The type that a value of this dtype is computed in.
static weir_dtype_t computed(weir_dtype_t dtype)
{
    return dtype & IN_F32 ? WEIR_F32 : dtype;
}

// Does x ^ y go through double? Integers to a fractional power, and exponents that f32 would round.
static int power_is_double(weir_dtype_t base, weir_dtype_t exponent)
{
    if (base & FLOATS)
        return ((base | exponent) & (WEIR_F64 | WIDE_INTEGERS)) != 0;
    return (exponent & FLOATS) != 0;
}

weir_dtype_t weir_print_dtypes(const weir_expression_t *expression)
{
    const weir_instruction_t *all = expression->instructions;
    weir_dtype_t dtypes = 0;
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        dtypes |= all[i].dtype;
        if (all[i].opcode == WEIR_OP_POW &&
            power_is_double(all[all[i].a].dtype, all[all[i].b].dtype))
            dtypes |= WEIR_F64;
    }
    return dtypes;
}

static const char *refuse_lanes(const weir_instruction_t *at)
{
    switch (at->opcode) {
    case WEIR_OP_CAST:
        return "no vector form of casts";
    case WEIR_OP_LOAD:
    case WEIR_OP_ANCHOR:
    case WEIR_OP_CONST:
        return at->dtype == WEIR_F32 ? NULL : "vectors are of f32 alone";
    default:
        return at->dtype & (WEIR_F32 | WEIR_BOOL) ? NULL : "vectors are of f32 alone";
    }
}

weir_code_t weir_print_can(
    const weir_expression_t *expression, uint32_t lanes, const char **out_reason)
{
    const weir_instruction_t *all = expression->instructions;
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        const weir_instruction_t *at = &all[i];
        const opcode_t *row = find(at->opcode);
        *out_reason = "an opcode that the printer does not know";
        if (!row)
            return WEIR_UNSUPPORTED;
        *out_reason = "a value that is used before it is defined";
        if ((row->arity > 0 && at->a >= i) || (row->arity > 1 && at->b >= i) ||
            (row->arity > 2 && at->c >= i) ||
            (at->opcode == WEIR_OP_LOAD && at->a >= expression->operand_count))
            return WEIR_INVALID_ARGUMENT;
        *out_reason = "no powers of bool";
        if (at->opcode == WEIR_OP_POW && at->dtype == WEIR_BOOL)
            return WEIR_UNSUPPORTED;
        if (lanes > 1 && (*out_reason = refuse_lanes(at)) != NULL)
            return WEIR_UNSUPPORTED;
    }
    *out_reason = NULL;
    return WEIR_OK;
}

// ---------------------------------------------------------------------------------------------
// One instruction
// ---------------------------------------------------------------------------------------------

typedef struct printer {
    weir_print_t *out;
    const weir_print_body_t *body;
    const char *prefix;
    char suffix[16]; // "" or "x16"
} printer_t;

static void add_real(const printer_t *p, double value, weir_dtype_t dtype)
{
    const char *name = weir_print_dtype(computed(dtype));
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    if (!isfinite(value))
        weir_print_add(p->out, "((w_%s%s)w_bits_f32(0x%08xu))", name, p->suffix, bits);
    else
        weir_print_add(p->out, "((w_%s%s)(%a%s))", name, p->suffix, value,
            computed(dtype) == WEIR_F32 ? "f" : "");
}

static void add_constant(const printer_t *p, const weir_instruction_t *at)
{
    const char *name = weir_print_dtype(at->dtype);
    if (at->dtype & (WEIR_F16 | WEIR_BF16)) {
        weir_print_add(p->out, "w_round_%s(", name);
        add_real(p, (double)at->imm[0], WEIR_F32);
        weir_print_add(p->out, ")");
    } else if (at->dtype & FLOATS) {
        add_real(p, (double)at->imm[0], at->dtype);
    } else if (at->dtype == WEIR_BOOL) {
        weir_print_add(p->out, "%d", at->integer != 0);
    } else {
        weir_print_add(p->out, "(w_%s)0x%llxul", name, (unsigned long long)at->integer);
    }
}

static void add_cast(const printer_t *p, weir_dtype_t from, weir_dtype_t to, uint32_t a)
{
    weir_print_t *out = p->out;
    const char *v = p->prefix, *target = weir_print_dtype(to);
    const int is_half = (to & (WEIR_F16 | WEIR_BF16)) != 0;
    if (to == WEIR_BOOL)
        weir_print_add(out, "(w_bool)(%s%u != 0)", v, a);
    else if (is_half && (from & (WEIR_F64 | WIDE_INTEGERS)))
        weir_print_add(out, "w_round_%s(w_odd_%s(%s%u))", target,
            from == WEIR_F64               ? "f64"
            : from & (WEIR_U32 | WEIR_U64) ? "u64"
                                           : "i64",
            v, a);
    else if (is_half)
        weir_print_add(out, "w_round_%s((w_f32)%s%u)", target, v, a);
    else if ((from & FLOATS) && !(to & FLOATS))
        weir_print_add(out, "w_%s_to_%s(%s%u)", weir_print_dtype(computed(from)), target, v, a);
    else
        weir_print_add(out, "(w_%s)%s%u", target, v, a);
}

static void add_power(const printer_t *p, const weir_instruction_t *at)
{
    const weir_instruction_t *all = p->body->expression->instructions;
    const weir_dtype_t base = all[at->a].dtype, exponent = all[at->b].dtype;
    const char *v = p->prefix, *name = weir_print_dtype(computed(base));
    weir_print_t *out = p->out;
    if (!((base | exponent) & FLOATS))
        weir_print_add(
            out, "w_pow_%s(%s%u, (w_i64)%s%u, %d)", name, v, at->a, v, at->b, exponent == WEIR_U64);
    else if (!(base & FLOATS))
        weir_print_add(
            out, "w_f64_to_%s(w_pow_f64((w_f64)%s%u, (w_f64)%s%u))", name, v, at->a, v, at->b);
    else if (power_is_double(base, exponent))
        weir_print_add(out, "(w_%s)w_pow_f64((w_f64)%s%u, (w_f64)%s%u)", name, v, at->a, v, at->b);
    else
        weir_print_add(out, "w_pow_%s%s(%s%u, (w_%s%s)%s%u)", name, p->suffix, v, at->a, name,
            p->suffix, v, at->b);
}

static void add_call(const printer_t *p, const weir_instruction_t *at, const opcode_t *row)
{
    const uint16_t operands[3] = {at->a, at->b, at->c};
    weir_print_add(
        p->out, "w_%s_%s%s(", row->name, weir_print_dtype(computed(at->dtype)), p->suffix);
    for (uint32_t i = 0; i < row->arity; i++)
        weir_print_add(p->out, "%s%s%u", i ? ", " : "", p->prefix, operands[i]);
    for (uint32_t i = 0; i < row->imm_count; i++) {
        weir_print_add(p->out, ", ");
        add_real(p, (double)at->imm[i], at->dtype);
    }
    weir_print_add(p->out, ")");
}

static void add_load(const printer_t *p, const weir_instruction_t *at)
{
    const char *text = p->body->loads[at->a];
    if (at->dtype & (WEIR_F16 | WEIR_BF16))
        weir_print_add(p->out, "w_%s_value(%s)", weir_print_dtype(at->dtype), text);
    else if (at->dtype == WEIR_BOOL)
        weir_print_add(p->out, "(w_bool)((%s) != 0)", text);
    else
        weir_print_add(p->out, "%s", text);
}

// What has an operator of the language: comparisons and logic. Of vectors, true is -1.
static void add_operator(const printer_t *p, const weir_instruction_t *at)
{
    const char *v = p->prefix;
    const char *sign = NULL;
    switch (at->opcode) {
    case WEIR_OP_AND:
        sign = "&";
        break;
    case WEIR_OP_OR:
        sign = "|";
        break;
    case WEIR_OP_XOR:
        sign = "^";
        break;
    case WEIR_OP_EQ:
        sign = "==";
        break;
    case WEIR_OP_LT:
        sign = "<";
        break;
    case WEIR_OP_LE:
        sign = "<=";
        break;
    case WEIR_OP_GT:
        sign = ">";
        break;
    case WEIR_OP_GE:
        sign = ">=";
        break;
    default:
        break;
    }
    if (sign)
        weir_print_add(p->out, "(%s%u %s %s%u)", v, at->a, sign, v, at->b);
    else if (at->opcode == WEIR_OP_NOT)
        weir_print_add(p->out, "%s%s%u", p->suffix[0] ? "~" : "!", v, at->a);
    else if (at->opcode == WEIR_OP_ISNAN)
        weir_print_add(p->out, "(%s%u != %s%u)", v, at->a, v, at->a);
    else if (at->opcode == WEIR_OP_SELECT)
        weir_print_add(p->out, "%s%u ? %s%u : %s%u", v, at->a, v, at->b, v, at->c);
    else // IDENTITY
        weir_print_add(p->out, "%s%u", v, at->a);
}

static void add_value(const printer_t *p, const weir_instruction_t *at)
{
    const opcode_t *row = find(at->opcode);
    const weir_instruction_t *all = p->body->expression->instructions;
    switch (at->opcode) {
    case WEIR_OP_LOAD:
        add_load(p, at);
        break;
    case WEIR_OP_ANCHOR:
        weir_print_add(p->out, "%s", p->body->anchor ? p->body->anchor : "0");
        break;
    case WEIR_OP_CONST:
        add_constant(p, at);
        break;
    case WEIR_OP_CAST:
        add_cast(p, all[at->a].dtype, at->dtype, at->a);
        break;
    case WEIR_OP_POW:
        add_power(p, at);
        break;
    default:
        if (row && row->name)
            add_call(p, at, row);
        else
            add_operator(p, at);
        break;
    }
}

static int divides_integers(const weir_instruction_t *at)
{
    return !(at->dtype & FLOATS) &&
           (at->opcode == WEIR_OP_DIV || at->opcode == WEIR_OP_MOD || at->opcode == WEIR_OP_FMOD);
}

void weir_print_statements(weir_print_t *print, const weir_print_body_t *body)
{
    const weir_expression_t *expression = body->expression;
    const char *indent = body->indent ? body->indent : "    ";
    printer_t p = {print, body, body->prefix ? body->prefix : "v", ""};
    if (body->lanes > 1)
        (void)snprintf(p.suffix, sizeof p.suffix, "x%u", body->lanes);
    for (uint32_t i = 0; i < expression->instruction_count; i++) {
        const weir_instruction_t *at = &expression->instructions[i];
        if (body->fault && divides_integers(at))
            weir_print_add(
                print, "%sif (%s%u == 0) { %s }\n", indent, p.prefix, at->b, body->fault);
        weir_print_add(print, "%sconst w_%s%s %s%u = ", indent,
            weir_print_dtype(computed(at->dtype)), p.suffix, p.prefix, i);
        add_value(&p, at);
        weir_print_add(print, ";\n");
    }
    for (uint32_t j = 0; body->stores && j < expression->output_count; j++) {
        const uint32_t value = expression->outputs[j];
        const weir_dtype_t dtype = expression->instructions[value].dtype;
        if (!body->stores[j])
            continue;
        if (dtype & (WEIR_F16 | WEIR_BF16))
            weir_print_add(print, "%s%s = w_%s_bits(%s%u);\n", indent, body->stores[j],
                weir_print_dtype(dtype), p.prefix, value);
        else
            weir_print_add(print, "%s%s = %s%u;\n", indent, body->stores[j], p.prefix, value);
    }
}
