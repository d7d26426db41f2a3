// engine/graph/rules_activation.c: Gelu, HardSwish, HardSigmoid, Relu from what exporters spelled
// out.
//
// A product is matched as a whole, whatever the order of its factors and where its numbers stand.
// Only f32 (and narrower) values are touched; the result differs from the spelled-out one by
// rounding alone.
#include "engine/graph/rewrite.h"

#include <float.h>
#include <math.h>

// A product of numbers, powers of `x` and powers of `mark`.
typedef struct product {
    uint32_t x, mark;
    double number;
    uint32_t x_power, mark_power;
} product_t;

#define PRODUCT_DEPTH 4

// Multiplies `value` into the product; false: it has another factor. Depth is bounded.
static bool multiply(
    const weir__rewrite_t *rewrite, uint32_t value, product_t *product, uint32_t depth)
{
    double number;
    if (value == product->x || value == product->mark) {
        product->x_power += value == product->x;
        product->mark_power += value == product->mark;
        return true;
    }
    if (weir__rewrite_scalar(rewrite, value, &number)) {
        product->number *= number;
        return true;
    }
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    if (!node || depth == 0 || node->input_count != 2)
        return false;
    uint32_t a = weir__rewrite_input(rewrite, node, 0), b = weir__rewrite_input(rewrite, node, 1);
    if (weir__rewrite_is(node, "Mul"))
        return multiply(rewrite, a, product, depth - 1) && multiply(rewrite, b, product, depth - 1);
    if (weir__rewrite_is(node, "Div") && weir__rewrite_scalar(rewrite, b, &number)) {
        product->number /= number;
        return multiply(rewrite, a, product, depth - 1);
    }
    if (weir__rewrite_is(node, "Pow") && a == product->x &&
        weir__rewrite_scalar(rewrite, b, &number) && (number == 2 || number == 3)) {
        product->x_power += (uint32_t)number;
        return true;
    }
    return false;
}

static bool is_product(const weir__rewrite_t *rewrite, uint32_t value, uint32_t x, uint32_t mark,
    double number, uint32_t x_power, uint32_t mark_power)
{
    product_t product = {.x = x, .mark = mark, .number = 1};
    return multiply(rewrite, value, &product, PRODUCT_DEPTH) && product.x_power == x_power &&
           product.mark_power == mark_power && fabs(product.number - number) <= 2e-6 * fabs(number);
}

// Whether `root`'s output has the dtype and the shape of x, so that no constant widened it.
static bool fits(const weir__rewrite_t *rewrite, uint32_t root, uint32_t x)
{
    const weir__type_t *type = weir__rewrite_type(rewrite, x);
    uint32_t y = rewrite->graph->nodes[root].outputs[0];
    return type->dtype & (WEIR_F32 | WEIR_F16 | WEIR_BF16) &&
           weir__type_equal(type, weir__rewrite_type(rewrite, y));
}

// A factor of a product of at most three levels that a node of operator `op` makes; WEIR__NONE:
// none. The search stops at the first one.
static uint32_t find_factor(
    const weir__rewrite_t *rewrite, uint32_t value, const char *op, uint32_t depth)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    if (!node)
        return WEIR__NONE;
    if (weir__rewrite_is(node, op))
        return value;
    if (depth == 0 || (!weir__rewrite_is(node, "Mul") && !weir__rewrite_is(node, "Div")))
        return WEIR__NONE;
    uint32_t found = find_factor(rewrite, weir__rewrite_input(rewrite, node, 0), op, depth - 1);
    if (found != WEIR__NONE || weir__rewrite_is(node, "Div"))
        return found;
    return find_factor(rewrite, weir__rewrite_input(rewrite, node, 1), op, depth - 1);
}

// value = number + v: v.
static uint32_t added_to(const weir__rewrite_t *rewrite, uint32_t value, double number)
{
    const weir__node_t *add = weir__rewrite_producer(rewrite, value, "Add");
    for (uint32_t i = 0; add && i < 2; i++)
        if (weir__rewrite_is_number(rewrite, weir__rewrite_input(rewrite, add, i), number))
            return weir__rewrite_input(rewrite, add, 1 - i);
    return WEIR__NONE;
}

// Of the factors of `value`, the one that is 1 + op(argument); also the argument. Looks at every
// factor down to two levels, so that another sum among them does not hide it.
static uint32_t find_one_plus(const weir__rewrite_t *rewrite, uint32_t value, const char *op,
    uint32_t depth, uint32_t *out_argument)
{
    uint32_t inner = added_to(rewrite, value, 1);
    const weir__node_t *function = weir__rewrite_producer(rewrite, inner, op);
    if (function) {
        *out_argument = weir__rewrite_input(rewrite, function, 0);
        return value;
    }
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    if (!node || depth == 0 || (!weir__rewrite_is(node, "Mul") && !weir__rewrite_is(node, "Div")))
        return WEIR__NONE;
    uint32_t found = WEIR__NONE;
    for (uint32_t i = 0; i < 2 && found == WEIR__NONE; i++)
        found = find_one_plus(
            rewrite, weir__rewrite_input(rewrite, node, i), op, depth - 1, out_argument);
    return found;
}

static weir_status_t become(weir__rewrite_t *rewrite, uint32_t root, const char *op, uint32_t x,
    uint32_t absorbed_value, const weir_attribute_t *attributes, uint32_t attribute_count,
    bool *out_done)
{
    const weir__node_t *absorbed = weir__rewrite_producer(rewrite, absorbed_value, NULL);
    *out_done = true;
    return weir__rewrite_node(rewrite, root, op, &x, 1, attributes, attribute_count, &absorbed, 1);
}

// x * 0.5 * (1 + erf(x / sqrt(2)))
weir_status_t weir__rule_gelu(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    uint32_t y = rewrite->graph->nodes[root].outputs[0], argument;
    uint32_t sum = find_one_plus(rewrite, y, "Erf", 2, &argument);
    const weir__node_t *inner =
        sum == WEIR__NONE ? NULL : weir__rewrite_producer(rewrite, argument, NULL);
    for (uint32_t i = 0; inner && i < 2 && inner->input_count == 2; i++) {
        uint32_t x = weir__rewrite_input(rewrite, inner, i);
        if (fits(rewrite, root, x) &&
            is_product(rewrite, argument, x, WEIR__NONE, 0.70710678118654752, 1, 0) &&
            is_product(rewrite, y, x, sum, 0.5, 1, 1))
            return become(rewrite, root, "Gelu", x, argument, NULL, 0, out_done);
    }
    return NULL;
}

// x * 0.5 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
weir_status_t weir__rule_gelu_tanh(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    uint32_t y = rewrite->graph->nodes[root].outputs[0], argument;
    uint32_t sum = find_one_plus(rewrite, y, "Tanh", 2, &argument);
    uint32_t cubic = sum == WEIR__NONE ? sum : find_factor(rewrite, argument, "Add", 2);
    if (cubic == WEIR__NONE ||
        !is_product(rewrite, argument, WEIR__NONE - 1, cubic, 0.79788456080286536, 0, 1))
        return NULL;
    const weir__node_t *add = weir__rewrite_producer(rewrite, cubic, "Add");
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t x = weir__rewrite_input(rewrite, add, i);
        uint32_t third = weir__rewrite_input(rewrite, add, 1 - i);
        if (fits(rewrite, root, x) && is_product(rewrite, third, x, WEIR__NONE, 0.044715, 3, 0) &&
            is_product(rewrite, y, x, sum, 0.5, 1, 1))
            return become(rewrite, root, "GeluTanh", x, argument, NULL, 0, out_done);
    }
    return NULL;
}

// value = min(max(x + 3, 0), 6): x.
static uint32_t clipped(const weir__rewrite_t *rewrite, uint32_t value)
{
    const weir__node_t *clip = weir__rewrite_producer(rewrite, value, "Clip");
    if (!clip || !weir__rewrite_is_number(rewrite, weir__rewrite_input(rewrite, clip, 1), 0) ||
        !weir__rewrite_is_number(rewrite, weir__rewrite_input(rewrite, clip, 2), 6))
        return WEIR__NONE;
    return added_to(rewrite, weir__rewrite_input(rewrite, clip, 0), 3);
}

weir_status_t weir__rule_hard_sigmoid(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    uint32_t y = rewrite->graph->nodes[root].outputs[0];
    uint32_t clip = find_factor(rewrite, y, "Clip", 1), x = clipped(rewrite, clip);
    if (x == WEIR__NONE || !fits(rewrite, root, x) ||
        !is_product(rewrite, y, WEIR__NONE - 1, clip, 1.0 / 6, 0, 1))
        return NULL;
    weir_attribute_t attributes[2] = {
        {.name = "alpha", .type = WEIR_ATTR_FLOAT, .f = (double)(float)(1.0 / 6)},
        {.name = "beta", .type = WEIR_ATTR_FLOAT, .f = 0.5}};
    return become(rewrite, root, "HardSigmoid", x, clip, attributes, 2, out_done);
}

// x * HardSigmoid(x; 1/6, 1/2), or x * clip(x + 3, 0, 6) / 6 in any order.
weir_status_t weir__rule_hard_swish(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    uint32_t y = rewrite->graph->nodes[root].outputs[0];
    uint32_t gate = find_factor(rewrite, y, "HardSigmoid", 1);
    if (gate != WEIR__NONE) {
        const weir__node_t *node = weir__rewrite_producer(rewrite, gate, "HardSigmoid");
        const weir_attribute_t *alpha = weir__node_attribute(node, "alpha");
        const weir_attribute_t *beta = weir__node_attribute(node, "beta");
        uint32_t x = weir__rewrite_input(rewrite, node, 0);
        if (alpha && beta && fabs(alpha->f - 1.0 / 6) < 1e-6 && beta->f == 0.5 &&
            fits(rewrite, root, x) && is_product(rewrite, y, x, gate, 1, 1, 1))
            return become(rewrite, root, "HardSwish", x, gate, NULL, 0, out_done);
        return NULL;
    }
    uint32_t clip = find_factor(rewrite, y, "Clip", 2), x = clipped(rewrite, clip);
    if (x == WEIR__NONE || !fits(rewrite, root, x) ||
        !is_product(rewrite, y, x, clip, 1.0 / 6, 1, 1))
        return NULL;
    return become(rewrite, root, "HardSwish", x, clip, NULL, 0, out_done);
}

// clip(x, 0, infinity). Old files say FLT_MAX for "no upper bound".
weir_status_t weir__rule_relu(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    uint32_t x = weir__rewrite_input(rewrite, node, 0);
    double low, high;
    if (!weir__rewrite_scalar(rewrite, weir__rewrite_input(rewrite, node, 1), &low) ||
        !weir__rewrite_scalar(rewrite, weir__rewrite_input(rewrite, node, 2), &high) || low != 0 ||
        high < (double)FLT_MAX || !fits(rewrite, root, x) ||
        weir__rewrite_type(rewrite, x)->dtype != WEIR_F32)
        return NULL;
    *out_done = true;
    return weir__rewrite_node(rewrite, root, "Relu", &x, 1, NULL, 0, NULL, 0);
}

weir_status_t weir__rule_square(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    uint32_t x = weir__rewrite_input(rewrite, node, 0);
    double power;
    if (!weir__rewrite_scalar(rewrite, weir__rewrite_input(rewrite, node, 1), &power) ||
        power != 2 || !fits(rewrite, root, x))
        return NULL;
    *out_done = true;
    return weir__rewrite_node(rewrite, root, "Mul", (uint32_t[]){x, x}, 2, NULL, 0, NULL, 0);
}

// Base and exponent get one type, which is the only form that kernels meet: the base's, unless that
// would cut the exponent's fraction off.
weir_status_t weir__rule_pow_cast(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    const weir_dtype_t floats = WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16;
    uint32_t x = weir__rewrite_input(rewrite, node, 0);
    uint32_t exponent = weir__rewrite_input(rewrite, node, 1), cast, power;
    weir__type_t base_type = *weir__rewrite_type(rewrite, x);
    weir__type_t exponent_type = *weir__rewrite_type(rewrite, exponent);
    weir__type_t type = *weir__rewrite_type(rewrite, node->outputs[0]);
    if (!base_type.dtype || !exponent_type.dtype || base_type.dtype == exponent_type.dtype)
        return NULL;
    weir_attribute_t to = {.name = "to", .type = WEIR_ATTR_INT, .i = (int64_t)base_type.dtype};
    *out_done = true;
    if (base_type.dtype & floats || !(exponent_type.dtype & floats)) {
        exponent_type.dtype = base_type.dtype;
        WEIR_TRY(
            weir__rewrite_add(rewrite, root, "Cast", &exponent, 1, &to, 1, &exponent_type, &cast));
        return weir__rewrite_node(rewrite, root, "Pow", (uint32_t[]){x, cast}, 2, NULL, 0, NULL, 0);
    }
    weir_attribute_t wide = {
        .name = "to", .type = WEIR_ATTR_INT, .i = (int64_t)exponent_type.dtype};
    base_type.dtype = type.dtype = exponent_type.dtype;
    WEIR_TRY(weir__rewrite_add(rewrite, root, "Cast", &x, 1, &wide, 1, &base_type, &cast));
    WEIR_TRY(weir__rewrite_add(
        rewrite, root, "Pow", (uint32_t[]){cast, exponent}, 2, NULL, 0, &type, &power));
    return weir__rewrite_node(rewrite, root, "Cast", &power, 1, &to, 1, NULL, 0);
}
