// kernels/ref/pointwise.c: the interpreter that defines every elementwise operator.
//
// What: runs an expression (weir/plugin.h, "Expressions") for each element of output 0's shape.
// How:  a block of elements at a time; every value is a row of cells in scratch, a double for
// floating
//       point, an int64_t for the rest. Each floating-point instruction is computed in double and
//       rounded once: to f32 for F32, F16 and BF16 (these two are rounded to their type when
//       stored, and by CAST), not at all for F64. Since double has more than twice f32's digits +
//       2, + - * / and sqrt give f32's own correctly rounded result. Integers wrap to their width
//       after each step.
// Not:  ANCHOR. The reference kernels are no anchors; fused nodes are defined by their unfused
// form.
#include "kernels/ref/pointwise.h"

#include <stdio.h>

#define BLOCK 256

typedef union cell {
    double f;
    int64_t i;
} cell_t;

// ---------------------------------------------------------------------------------------------
// The rules of expressions
// ---------------------------------------------------------------------------------------------

enum {
    KIND_NONE,
    KIND_FLOAT,
    KIND_SAME,
    KIND_LOGIC,
    KIND_ISNAN,
    KIND_CAST,
    KIND_COMPARE,
    KIND_POW,
    KIND_SELECT
};

typedef struct rule {
    uint8_t kind;
    uint8_t arity;
} rule_t;

static rule_t rule_of(uint32_t opcode)
{
    switch (opcode) {
    case WEIR_KR_OP_IDENTITY:
    case WEIR_KR_OP_NEG:
    case WEIR_KR_OP_ABS:
    case WEIR_KR_OP_SIGN:
    case WEIR_KR_OP_RELU:
        return (rule_t){KIND_SAME, 1};
    case WEIR_KR_OP_NOT:
        return (rule_t){KIND_LOGIC, 1};
    case WEIR_KR_OP_ISNAN:
        return (rule_t){KIND_ISNAN, 1};
    case WEIR_KR_OP_CAST:
        return (rule_t){KIND_CAST, 1};
    case WEIR_KR_OP_POW:
        return (rule_t){KIND_POW, 2};
    case WEIR_KR_OP_AND:
    case WEIR_KR_OP_OR:
    case WEIR_KR_OP_XOR:
        return (rule_t){KIND_LOGIC, 2};
    case WEIR_KR_OP_EQ:
    case WEIR_KR_OP_LT:
    case WEIR_KR_OP_LE:
    case WEIR_KR_OP_GT:
    case WEIR_KR_OP_GE:
        return (rule_t){KIND_COMPARE, 2};
    case WEIR_KR_OP_SELECT:
        return (rule_t){KIND_SELECT, 3};
    case WEIR_KR_OP_CLAMP:
        return (rule_t){KIND_SAME, 3};
    default:
        break;
    }
    if (opcode >= WEIR_KR_OP_RECIPROCAL && opcode <= WEIR_KR_OP_ELU)
        return (rule_t){KIND_FLOAT, 1};
    if (opcode >= WEIR_KR_OP_ADD && opcode <= WEIR_KR_OP_PRELU)
        return (rule_t){KIND_SAME, 2};
    return (rule_t){KIND_NONE, 0};
}

static int types_fit(
    const weir_kr_instruction_t *at, rule_t rule, uint32_t a, uint32_t b, uint32_t c)
{
    switch (rule.kind) {
    case KIND_FLOAT:
        return (at->dtype & WEIR_KR_FLOATS) && a == at->dtype;
    case KIND_SAME:
        return a == at->dtype && (rule.arity < 2 || b == at->dtype) &&
               (rule.arity < 3 || c == at->dtype);
    case KIND_LOGIC:
        return at->dtype == WEIR_KR_BOOL && a == WEIR_KR_BOOL &&
               (rule.arity < 2 || b == WEIR_KR_BOOL);
    case KIND_ISNAN:
        return at->dtype == WEIR_KR_BOOL && (a & WEIR_KR_FLOATS);
    case KIND_COMPARE:
        return at->dtype == WEIR_KR_BOOL && a == b;
    case KIND_POW:
        return a == at->dtype;
    case KIND_SELECT:
        return a == WEIR_KR_BOOL && b == at->dtype && c == at->dtype;
    default:
        return 1;
    }
}

static int refuse(char *reason, uint32_t reason_bytes, uint32_t instruction, const char *why)
{
    if (reason && reason_bytes)
        (void)snprintf(reason, reason_bytes, "expression value %u: %s", instruction, why);
    return WEIR_KR_INVALID;
}

int weir_kr_expression_check(const weir_kr_expression_t *body, const weir_kr_tensor_t *inputs,
    uint32_t input_count, const weir_kr_tensor_t *outputs, uint32_t output_count, char *reason,
    uint32_t reason_bytes)
{
    if (!body || body->instruction_count == 0 || body->instruction_count > WEIR_KR_EXPRESSION_MAX ||
        body->operand_count > WEIR_KR_OPERANDS_MAX || body->first_operand > input_count ||
        body->operand_count > input_count - body->first_operand || body->output_count == 0 ||
        body->output_count != output_count)
        return refuse(reason, reason_bytes, 0, "the counts of the expression are out of range");
    for (uint32_t i = 0; i < body->instruction_count; i++) {
        const weir_kr_instruction_t *at = &body->instructions[i], *all = body->instructions;
        if (at->dtype == 0 || (at->dtype & ~WEIR_KR_ANY) || (at->dtype & (at->dtype - 1)))
            return refuse(reason, reason_bytes, i, "unknown element type");
        if (at->opcode == WEIR_KR_OP_CONST)
            continue;
        if (at->opcode == WEIR_KR_OP_LOAD) {
            if (at->a >= body->operand_count ||
                inputs[body->first_operand + at->a].dtype != at->dtype)
                return refuse(reason, reason_bytes, i, "no such operand, or another element type");
            continue;
        }
        rule_t rule = rule_of(at->opcode);
        if (rule.kind == KIND_NONE)
            return refuse(reason, reason_bytes, i, "the reference kernels do not know this opcode");
        if (at->a >= i || (rule.arity >= 2 && at->b >= i) || (rule.arity >= 3 && at->c >= i))
            return refuse(reason, reason_bytes, i, "uses a value that is not defined before it");
        if (!types_fit(at, rule, all[at->a].dtype, rule.arity >= 2 ? all[at->b].dtype : 0,
                rule.arity >= 3 ? all[at->c].dtype : 0))
            return refuse(reason, reason_bytes, i, "element types do not fit the opcode");
    }
    for (uint32_t j = 0; j < body->output_count; j++)
        if (body->outputs[j] >= body->instruction_count ||
            (outputs[j].dtype && outputs[j].dtype != body->instructions[body->outputs[j]].dtype))
            return refuse(reason, reason_bytes, body->outputs[j], "does not fit its output");
    return WEIR_KR_OK;
}

// ---------------------------------------------------------------------------------------------
// Scalars
// ---------------------------------------------------------------------------------------------

static int64_t wrap(int64_t v, uint32_t dtype)
{
    switch (dtype) {
    case WEIR_KR_I8:
        return (int8_t)v;
    case WEIR_KR_I16:
        return (int16_t)v;
    case WEIR_KR_I32:
        return (int32_t)v;
    case WEIR_KR_U8:
        return (uint8_t)v;
    case WEIR_KR_U16:
        return (uint16_t)v;
    case WEIR_KR_U32:
        return (uint32_t)v;
    case WEIR_KR_BOOL:
        return v != 0;
    default:
        return v;
    }
}

// Truncates and saturates; NaN is 0.
static int64_t float_to_int(double v, uint32_t dtype)
{
    static const struct {
        uint32_t dtype;
        int64_t low, high;
    } ends[] = {{WEIR_KR_I8, INT8_MIN, INT8_MAX}, {WEIR_KR_I16, INT16_MIN, INT16_MAX},
        {WEIR_KR_I32, INT32_MIN, INT32_MAX}, {WEIR_KR_U8, 0, UINT8_MAX},
        {WEIR_KR_U16, 0, UINT16_MAX}, {WEIR_KR_U32, 0, UINT32_MAX}};
    if (dtype == WEIR_KR_BOOL)
        return v != 0; // NaN too: it is not 0
    if (isnan(v))
        return 0;
    if (dtype == WEIR_KR_U64) {
        if (v <= -1.0)
            return 0;
        return v >= 0x1p64 ? (int64_t)UINT64_MAX : (int64_t)(uint64_t)v;
    }
    if (v >= 0x1p63 || v < -0x1p63) {
        v = v < 0 ? -0x1p63 : 0x1p62;
        if (dtype == WEIR_KR_I64)
            return v < 0 ? INT64_MIN : INT64_MAX;
    }
    int64_t whole = (int64_t)v;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ends[i].dtype == dtype)
            return weir__kr_min(weir__kr_max(whole, ends[i].low), ends[i].high);
    return whole;
}

static double int_to_float(int64_t v, uint32_t from, uint32_t to)
{
    if (to == WEIR_KR_F64)
        return from == WEIR_KR_U64 ? (double)(uint64_t)v : (double)v;
    if (to == WEIR_KR_F32)
        return from == WEIR_KR_U64 ? (double)(float)(uint64_t)v : (double)(float)v;
    // Half types overflow or are exact long before a double rounds, but for BF16's huge range: its
    // 8 digits of a 64-bit integer tie only when the double conversion is exact.
    double wide = from == WEIR_KR_U64 ? (double)(uint64_t)v : (double)v;
    return to == WEIR_KR_F16 ? weir_kr_f16_to_double(weir_kr_f16_from_double(wide))
                             : weir_kr_bf16_to_double(weir_kr_bf16_from_double(wide));
}

static double round_float(double v, uint32_t dtype)
{
    return dtype == WEIR_KR_F64 ? v : (double)(float)v;
}

static double cast_float(double v, uint32_t dtype)
{
    if (dtype == WEIR_KR_F16)
        return weir_kr_f16_to_double(weir_kr_f16_from_double(v));
    if (dtype == WEIR_KR_BF16)
        return weir_kr_bf16_to_double(weir_kr_bf16_from_double(v));
    return round_float(v, dtype);
}

// x^y in wrapping integers; a negative exponent gives the truncated quotient 1 / x^|y|.
static int64_t int_pow(int64_t x, int64_t y, int is_unsigned_exponent)
{
    if (y < 0 && !is_unsigned_exponent) {
        if (x == 1)
            return 1;
        return x == -1 ? ((y & 1) ? -1 : 1) : 0;
    }
    int64_t result = 1;
    for (uint64_t e = (uint64_t)y; e; e >>= 1) {
        if (e & 1)
            result *= x;
        x *= x;
    }
    return result;
}

static double sign_of(double x)
{
    return x > 0 ? 1.0 : x < 0 ? -1.0 : x; // NaN and the zeros stay
}

static double modulo(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

static double sigmoid(double x)
{
    return x >= 0 ? 1.0 / (1.0 + exp(-x)) : exp(x) / (1.0 + exp(x));
}

static double clamp_double(double x, double low, double high)
{
    double at_least = x > low || isnan(x) ? x : low;
    return at_least < high || isnan(at_least) ? at_least : high;
}

static double gelu_tanh(double x)
{
    const double root_2_over_pi = 0.79788456080286535588;
    return 0.5 * x * (1.0 + tanh(root_2_over_pi * (x + 0.044715 * x * x * x)));
}

// ---------------------------------------------------------------------------------------------
// Instructions over a block
// ---------------------------------------------------------------------------------------------

#define EACH_FLOAT(expression)                                                                     \
    for (int64_t i = 0; i < n; i++) {                                                              \
        double x = a[i].f;                                                                         \
        r[i].f = (expression);                                                                     \
    }                                                                                              \
    break

static void unary_float(const weir_kr_instruction_t *at, const cell_t *a, cell_t *r, int64_t n)
{
    const double p = (double)at->imm[0], q = (double)at->imm[1];
    switch (at->opcode) {
    case WEIR_KR_OP_NEG:
        EACH_FLOAT(-x);
    case WEIR_KR_OP_ABS:
        EACH_FLOAT(fabs(x));
    case WEIR_KR_OP_SIGN:
        EACH_FLOAT(sign_of(x));
    case WEIR_KR_OP_RECIPROCAL:
        EACH_FLOAT(1.0 / x);
    case WEIR_KR_OP_SQRT:
        EACH_FLOAT(sqrt(x));
    case WEIR_KR_OP_EXP:
        EACH_FLOAT(exp(x));
    case WEIR_KR_OP_LOG:
        EACH_FLOAT(log(x));
    case WEIR_KR_OP_ERF:
        EACH_FLOAT(erf(x));
    case WEIR_KR_OP_SIN:
        EACH_FLOAT(sin(x));
    case WEIR_KR_OP_COS:
        EACH_FLOAT(cos(x));
    case WEIR_KR_OP_TANH:
        EACH_FLOAT(tanh(x));
    case WEIR_KR_OP_SIGMOID:
        EACH_FLOAT(sigmoid(x));
    case WEIR_KR_OP_SOFTPLUS:
        EACH_FLOAT(log1p(exp(-fabs(x))) + (x > 0 || isnan(x) ? x : 0.0));
    case WEIR_KR_OP_RELU:
        EACH_FLOAT(x < 0 ? 0.0 : x);
    case WEIR_KR_OP_FLOOR:
        EACH_FLOAT(floor(x));
    case WEIR_KR_OP_CEIL:
        EACH_FLOAT(ceil(x));
    case WEIR_KR_OP_ROUND:
        EACH_FLOAT(nearbyint(x));
    case WEIR_KR_OP_GELU:
        EACH_FLOAT(0.5 * x * (1.0 + erf(x * 0.70710678118654752440)));
    case WEIR_KR_OP_GELU_TANH:
        EACH_FLOAT(gelu_tanh(x));
    case WEIR_KR_OP_HARD_SIGMOID:
        EACH_FLOAT(clamp_double(p * x + q, 0.0, 1.0));
    case WEIR_KR_OP_HARD_SWISH:
        EACH_FLOAT(x * clamp_double(x / 6.0 + 0.5, 0.0, 1.0));
    case WEIR_KR_OP_LEAKY_RELU:
        EACH_FLOAT(x < 0 ? p * x : x);
    case WEIR_KR_OP_ELU:
        EACH_FLOAT(x < 0 ? p * expm1(x) : x);
    default: // IDENTITY
        EACH_FLOAT(x);
    }
    if (at->dtype != WEIR_KR_F64)
        for (int64_t i = 0; i < n; i++)
            r[i].f = (double)(float)r[i].f;
}

#define EACH_FLOAT_2(expression)                                                                   \
    for (int64_t i = 0; i < n; i++) {                                                              \
        double x = a[i].f, y = b[i].f;                                                             \
        r[i].f = (expression);                                                                     \
    }                                                                                              \
    break

static void binary_float(
    const weir_kr_instruction_t *at, const cell_t *a, const cell_t *b, cell_t *r, int64_t n)
{
    switch (at->opcode) {
    case WEIR_KR_OP_ADD:
        EACH_FLOAT_2(x + y);
    case WEIR_KR_OP_SUB:
        EACH_FLOAT_2(x - y);
    case WEIR_KR_OP_MUL:
        EACH_FLOAT_2(x * y);
    case WEIR_KR_OP_DIV:
        EACH_FLOAT_2(x / y);
    case WEIR_KR_OP_POW:
        EACH_FLOAT_2(pow(x, y));
    case WEIR_KR_OP_MOD:
        EACH_FLOAT_2(modulo(x, y));
    case WEIR_KR_OP_FMOD:
        EACH_FLOAT_2(fmod(x, y));
    case WEIR_KR_OP_MIN:
        EACH_FLOAT_2(x < y || isnan(x) ? x : y);
    case WEIR_KR_OP_MAX:
        EACH_FLOAT_2(x > y || isnan(x) ? x : y);
    default: // PRELU
        EACH_FLOAT_2(x < 0 ? x * y : x);
    }
    if (at->dtype != WEIR_KR_F64)
        for (int64_t i = 0; i < n; i++)
            r[i].f = (double)(float)r[i].f;
}

static int less(int64_t x, int64_t y, int is_unsigned)
{
    return is_unsigned ? (uint64_t)x < (uint64_t)y : x < y;
}

static int64_t divide(int64_t x, int64_t y, int is_unsigned)
{
    if (is_unsigned)
        return (int64_t)((uint64_t)x / (uint64_t)y);
    return y == -1 ? -x : x / y; // the smallest integer / -1 wraps instead of trapping
}

static int64_t remainder_of(int64_t x, int64_t y, int is_unsigned, int sign_of_divisor)
{
    if (is_unsigned)
        return (int64_t)((uint64_t)x % (uint64_t)y);
    int64_t r = y == -1 ? 0 : x % y;
    return sign_of_divisor && r != 0 && (r < 0) != (y < 0) ? r + y : r;
}

static int64_t unary_int(const weir_kr_instruction_t *at, int64_t x, int is_unsigned)
{
    switch (at->opcode) {
    case WEIR_KR_OP_NEG:
        return -x;
    case WEIR_KR_OP_ABS:
        return !is_unsigned && x < 0 ? -x : x;
    case WEIR_KR_OP_SIGN:
        return is_unsigned ? x != 0 : (x > 0) - (x < 0);
    case WEIR_KR_OP_RELU:
        return !is_unsigned && x < 0 ? 0 : x;
    default: // IDENTITY
        return x;
    }
}

static int64_t binary_int(const weir_kr_instruction_t *at, int64_t x, int64_t y, int is_unsigned)
{
    switch (at->opcode) {
    case WEIR_KR_OP_ADD:
        return x + y;
    case WEIR_KR_OP_SUB:
        return x - y;
    case WEIR_KR_OP_MUL:
        return x * y;
    case WEIR_KR_OP_DIV:
        return divide(x, y, is_unsigned);
    case WEIR_KR_OP_MOD:
        return remainder_of(x, y, is_unsigned, 1);
    case WEIR_KR_OP_FMOD:
        return remainder_of(x, y, is_unsigned, 0);
    case WEIR_KR_OP_MIN:
        return less(x, y, is_unsigned) ? x : y;
    case WEIR_KR_OP_MAX:
        return less(x, y, is_unsigned) ? y : x;
    case WEIR_KR_OP_PRELU:
        return !is_unsigned && x < 0 ? x * y : x;
    case WEIR_KR_OP_AND:
        return x && y;
    case WEIR_KR_OP_OR:
        return x || y;
    default: // XOR
        return !x != !y;
    }
}

static int compare(uint32_t opcode, int is_equal, int is_less, int is_greater)
{
    switch (opcode) {
    case WEIR_KR_OP_EQ:
        return is_equal;
    case WEIR_KR_OP_LT:
        return is_less;
    case WEIR_KR_OP_LE:
        return is_less || is_equal;
    case WEIR_KR_OP_GT:
        return is_greater;
    default: // GE
        return is_greater || is_equal;
    }
}

static void cast(uint32_t from, uint32_t to, const cell_t *a, cell_t *r, int64_t n)
{
    int from_float = (from & WEIR_KR_FLOATS) != 0, to_float = (to & WEIR_KR_FLOATS) != 0;
    for (int64_t i = 0; i < n; i++) {
        if (from_float && to_float)
            r[i].f = cast_float(a[i].f, to);
        else if (from_float)
            r[i].i = float_to_int(a[i].f, to);
        else if (to_float)
            r[i].f = int_to_float(a[i].i, from, to);
        else
            r[i].i = wrap(a[i].i, to);
    }
}

// Base and exponent may be of any two types; the result has the base's.
static void power(const weir_kr_instruction_t *at, uint32_t exponent_dtype, const cell_t *a,
    const cell_t *b, cell_t *r, int64_t n)
{
    int base_float = (at->dtype & WEIR_KR_FLOATS) != 0;
    int exponent_float = (exponent_dtype & WEIR_KR_FLOATS) != 0;
    for (int64_t i = 0; i < n; i++) {
        if (!base_float && !exponent_float) {
            r[i].i = wrap(int_pow(a[i].i, b[i].i, exponent_dtype == WEIR_KR_U64), at->dtype);
            continue;
        }
        double x = base_float ? a[i].f : int_to_float(a[i].i, at->dtype, WEIR_KR_F64);
        double y = exponent_float ? b[i].f : int_to_float(b[i].i, exponent_dtype, WEIR_KR_F64);
        if (base_float)
            r[i].f = round_float(pow(x, y), at->dtype);
        else
            r[i].i = float_to_int(pow(x, y), at->dtype);
    }
}

static int ternary(const weir_kr_instruction_t *at, const cell_t *a, const cell_t *b,
    const cell_t *c, cell_t *r, int64_t n)
{
    int is_float = (at->dtype & WEIR_KR_FLOATS) != 0, is_unsigned = at->dtype == WEIR_KR_U64;
    for (int64_t i = 0; i < n; i++) {
        if (at->opcode == WEIR_KR_OP_SELECT) {
            r[i] = a[i].i ? b[i] : c[i];
        } else if (is_float) {
            r[i].f = isnan(b[i].f)   ? b[i].f
                     : isnan(c[i].f) ? c[i].f
                                     : clamp_double(a[i].f, b[i].f, c[i].f);
        } else {
            int64_t at_least = less(a[i].i, b[i].i, is_unsigned) ? b[i].i : a[i].i;
            r[i].i = less(at_least, c[i].i, is_unsigned) ? at_least : c[i].i;
        }
    }
    return WEIR_KR_OK;
}

// Runs one instruction that is no leaf over n elements. Operand types were checked.
static int step(const weir_kr_call_t *call, const weir_kr_instruction_t *at, cell_t *cells,
    int64_t block, cell_t *r, int64_t n)
{
    const weir_kr_instruction_t *all = call->body->instructions;
    const cell_t *a = cells + at->a * block, *b = cells + at->b * block, *c = cells + at->c * block;
    uint32_t from = all[at->a].dtype;
    int a_float = (from & WEIR_KR_FLOATS) != 0, is_unsigned = from == WEIR_KR_U64;
    rule_t rule = rule_of(at->opcode);
    if (rule.arity == 3)
        return ternary(at, a, b, c, r, n);
    if (rule.kind == KIND_CAST) {
        cast(from, at->dtype, a, r, n);
    } else if (rule.kind == KIND_POW) {
        if (a_float && (all[at->b].dtype & WEIR_KR_FLOATS))
            binary_float(at, a, b, r, n);
        else
            power(at, all[at->b].dtype, a, b, r, n);
    } else if (rule.kind == KIND_ISNAN) {
        for (int64_t i = 0; i < n; i++)
            r[i].i = isnan(a[i].f) != 0;
    } else if (at->opcode == WEIR_KR_OP_NOT) {
        for (int64_t i = 0; i < n; i++)
            r[i].i = !a[i].i;
    } else if (rule.kind == KIND_COMPARE) {
        for (int64_t i = 0; i < n; i++)
            r[i].i = a_float
                         ? compare(at->opcode, a[i].f == b[i].f, a[i].f<b[i].f, a[i].f> b[i].f)
                         : compare(at->opcode, a[i].i == b[i].i, less(a[i].i, b[i].i, is_unsigned),
                               less(b[i].i, a[i].i, is_unsigned));
    } else if (rule.arity == 1) {
        if (a_float) {
            unary_float(at, a, r, n);
            return WEIR_KR_OK;
        }
        for (int64_t i = 0; i < n; i++)
            r[i].i = wrap(unary_int(at, a[i].i, is_unsigned), at->dtype);
    } else if (a_float) {
        binary_float(at, a, b, r, n);
    } else {
        int divides = at->opcode == WEIR_KR_OP_DIV || at->opcode == WEIR_KR_OP_MOD ||
                      at->opcode == WEIR_KR_OP_FMOD;
        for (int64_t i = 0; i < n; i++) {
            if (divides && b[i].i == 0)
                return WEIR_KR_FAIL(call, "integer division by zero");
            r[i].i = wrap(binary_int(at, a[i].i, b[i].i, is_unsigned), at->dtype);
        }
    }
    return WEIR_KR_OK;
}

// ---------------------------------------------------------------------------------------------
// Memory
// ---------------------------------------------------------------------------------------------

#define LOAD_LOOP(type, field, value)                                                              \
    for (int64_t i = 0; i < n; i++) {                                                              \
        type v = ((const type *)source)[(at + i * stride)];                                        \
        r[i].field = (value);                                                                      \
    }                                                                                              \
    break

static void load_run(
    uint32_t dtype, const void *source, int64_t at, int64_t stride, cell_t *r, int64_t n)
{
    switch (dtype) {
    case WEIR_KR_F32:
        LOAD_LOOP(float, f, (double)v);
    case WEIR_KR_F64:
        LOAD_LOOP(double, f, v);
    case WEIR_KR_F16:
        LOAD_LOOP(uint16_t, f, weir_kr_f16_to_double(v));
    case WEIR_KR_BF16:
        LOAD_LOOP(uint16_t, f, weir_kr_bf16_to_double(v));
    case WEIR_KR_I8:
        LOAD_LOOP(int8_t, i, v);
    case WEIR_KR_I16:
        LOAD_LOOP(int16_t, i, v);
    case WEIR_KR_I32:
        LOAD_LOOP(int32_t, i, v);
    case WEIR_KR_BOOL:
        LOAD_LOOP(uint8_t, i, v != 0);
    case WEIR_KR_U8:
        LOAD_LOOP(uint8_t, i, v);
    case WEIR_KR_U16:
        LOAD_LOOP(uint16_t, i, v);
    case WEIR_KR_U32:
        LOAD_LOOP(uint32_t, i, v);
    default: // I64 and U64: the same bits
        LOAD_LOOP(int64_t, i, v);
    }
}

#define STORE_LOOP(type, value)                                                                    \
    for (int64_t i = 0; i < n; i++)                                                                \
        ((type *)destination)[at + i] = (type)(value);                                             \
    break

static void store_run(uint32_t dtype, void *destination, int64_t at, const cell_t *r, int64_t n)
{
    switch (dtype) {
    case WEIR_KR_F32:
        STORE_LOOP(float, r[i].f);
    case WEIR_KR_F64:
        STORE_LOOP(double, r[i].f);
    case WEIR_KR_F16:
        STORE_LOOP(uint16_t, weir_kr_f16_from_double(r[i].f));
    case WEIR_KR_BF16:
        STORE_LOOP(uint16_t, weir_kr_bf16_from_double(r[i].f));
    case WEIR_KR_I8:
    case WEIR_KR_U8:
    case WEIR_KR_BOOL:
        STORE_LOOP(uint8_t, r[i].i);
    case WEIR_KR_I16:
    case WEIR_KR_U16:
        STORE_LOOP(uint16_t, r[i].i);
    case WEIR_KR_I32:
    case WEIR_KR_U32:
        STORE_LOOP(uint32_t, r[i].i);
    default:
        STORE_LOOP(int64_t, r[i].i);
    }
}

// How an operand is read: as it lies, one element for all, or by strides.
typedef struct operand {
    const weir_kr_tensor_t *tensor;
    int64_t strides[WEIR_KR_RANK_MAX];
    int is_plain;
} operand_t;

static void load(
    const operand_t *operand, const weir_kr_tensor_t *y, int64_t begin, int64_t n, cell_t *r)
{
    const weir_kr_tensor_t *t = operand->tensor;
    if (operand->is_plain || t->element_count == 1) {
        load_run(t->dtype, t->data, operand->is_plain ? begin : 0, operand->is_plain, r, n);
        return;
    }
    int64_t c[WEIR_KR_RANK_MAX], inner = y->dims[y->rank - 1], done = 0;
    weir__kr_unravel(begin, y->dims, y->rank, c);
    while (done < n) {
        int64_t offset = 0, run = weir__kr_min(inner - c[y->rank - 1], n - done);
        for (uint32_t d = 0; d < y->rank; d++)
            offset += c[d] * operand->strides[d];
        load_run(t->dtype, t->data, offset, operand->strides[y->rank - 1], r + done, run);
        done += run;
        c[y->rank - 1] = 0;
        for (uint32_t d = y->rank - 1; d-- > 0;) {
            if (++c[d] < y->dims[d])
                break;
            c[d] = 0;
        }
    }
}

static int64_t block_of(const weir_kr_call_t *call)
{
    return weir__kr_max(weir__kr_min(weir__kr_count(&call->outputs[0]), BLOCK), 1);
}

void weir_kr_plan_pointwise(const weir_kr_call_t *call, weir_kr_plan_t *out_plan)
{
    weir_kr_plan_elements(call, out_plan);
    out_plan->scratch_bytes =
        call->body->instruction_count * (uint64_t)block_of(call) * sizeof(cell_t);
}

// One block: all loads happen before the first store, so that an output may lie on an operand.
static int run_block(
    const weir_kr_call_t *call, const operand_t *operands, int64_t block, int64_t begin, int64_t n)
{
    const weir_kr_expression_t *body = call->body;
    cell_t *cells = call->scratch;
    for (uint32_t i = 0; i < body->instruction_count; i++) {
        const weir_kr_instruction_t *at = &body->instructions[i];
        cell_t *r = cells + i * block;
        if (at->opcode == WEIR_KR_OP_LOAD) {
            load(&operands[at->a], &call->outputs[0], begin, n, r);
        } else if (at->opcode == WEIR_KR_OP_CONST) {
            for (int64_t e = 0; e < n; e++) {
                if (at->dtype & WEIR_KR_FLOATS)
                    r[e].f = cast_float((double)at->imm[0], at->dtype);
                else
                    r[e].i = wrap(at->integer, at->dtype);
            }
        } else {
            int code = step(call, at, cells, block, r, n);
            if (code != WEIR_KR_OK)
                return code;
        }
    }
    for (uint32_t j = 0; j < body->output_count; j++)
        if (call->outputs[j].dtype)
            store_run(call->outputs[j].dtype, call->outputs[j].data, begin,
                cells + body->outputs[j] * block, n);
    return WEIR_KR_OK;
}

int weir_k_pointwise__ref(const weir_kr_call_t *call)
{
    const weir_kr_expression_t *body = call->body;
    const weir_kr_tensor_t *y = &call->outputs[0];
    operand_t operands[WEIR_KR_OPERANDS_MAX];
    for (uint32_t j = 1; j < body->output_count; j++)
        if (call->outputs[j].dtype && call->outputs[j].element_count != y->element_count)
            return WEIR_KR_FAIL(call, "the outputs of an expression differ in shape");
    for (uint32_t k = 0; k < body->operand_count; k++) {
        operand_t *operand = &operands[k];
        operand->tensor = &call->inputs[body->first_operand + k];
        if (!weir__kr_broadcast(operand->tensor, y->dims, y->rank, operand->strides))
            return WEIR_KR_FAIL(call, "operand %u does not broadcast to the output", k);
        operand->is_plain = operand->tensor->element_count == y->element_count;
    }
    int64_t begin, end, block = block_of(call);
    weir__kr_range(call, weir__kr_count(y), WEIR_KR_BLOCK, &begin, &end);
    for (; begin < end; begin += block) {
        int code = run_block(call, operands, block, begin, weir__kr_min(block, end - begin));
        if (code != WEIR_KR_OK)
            return code;
    }
    return WEIR_KR_OK;
}
