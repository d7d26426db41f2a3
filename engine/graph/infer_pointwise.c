// engine/graph/infer_pointwise.c: shapes of elementwise operators, and sizes travelling through
// them.
//
// Integer arithmetic on shape values is what an exporter wrote to compute a Reshape's or Resize's
// sizes; it is followed as far as the elements are numbers or products of sizes.
#include "engine/graph/infer.h"

#include "engine/base/size.h"
#include <string.h>

weir_status_t weir__infer_unary(weir__infer_t *infer)
{
    weir__infer_same_shape(infer);
    if (infer->node->op->opcode == WEIR_OP_IDENTITY)
        weir__infer_pass_ints(infer);
    return NULL;
}

weir_status_t weir__infer_cast(weir__infer_t *infer)
{
    weir_dtype_t to = infer->outputs[0].dtype;
    if (to == 0 || (to & (to - 1)) || to >= WEIR_STRING)
        return WEIR__BAD("`to` is no type that can be cast to");
    weir__infer_same_shape(infer);
    // Narrowing could change a number, so only the widening casts and those to the same type pass
    // it on.
    if (infer->inputs[0]->dtype == to ||
        ((infer->inputs[0]->dtype & (WEIR_I32 | WEIR_I64)) && to == WEIR_I64))
        weir__infer_pass_ints(infer);
    if (infer->inputs[0]->dtype == WEIR_I64 && to == WEIR_I32) {
        weir__infer_pass_ints(infer);
        weir__shape_value_t *out = infer->out_shapes;
        for (uint32_t i = 0; out && i < out->count; i++)
            if (out->elements[i] != (int32_t)out->elements[i])
                out->count = 0;
    }
    return NULL;
}

typedef struct element {
    int64_t value;
    bool symbolic;
} element_t;

// a - b and a / b of sizes; false: not known.
static weir_status_t sub_or_div(const weir__infer_t *infer, weir_opcode_t opcode, element_t a,
    element_t b, element_t *out, bool *out_known)
{
    *out_known = false;
    if (opcode == WEIR_OP_SUB) {
        if (a.symbolic && b.symbolic && a.value == b.value) {
            *out = (element_t){0, false};
            *out_known = true;
        } else if (a.symbolic && !b.symbolic && b.value != INT64_MIN) {
            *out_known = true;
            out->symbolic = true;
            return weir__infer_affine(infer, a.value, 1, -b.value, 1, &out->value);
        }
        return NULL;
    }
    if (a.symbolic && !b.symbolic && b.value > 0) {
        *out_known = true;
        out->symbolic = true;
        return weir__infer_affine(infer, a.value, 1, 0, b.value, &out->value);
    }
    return NULL;
}

// One element of a shape value when at least one operand is a symbol.
static weir_status_t symbolic_element(const weir__infer_t *infer, weir_opcode_t opcode, element_t a,
    element_t b, element_t *out, bool *out_known)
{
    *out_known = false;
    if (opcode == WEIR_OP_SUB || opcode == WEIR_OP_DIV)
        return sub_or_div(infer, opcode, a, b, out, out_known);
    if (opcode == WEIR_OP_EQ) {
        // A size is never negative, and equal to itself; otherwise nothing is known.
        bool same = a.symbolic && b.symbolic && a.value == b.value;
        bool never = (!a.symbolic && a.value < 0) || (!b.symbolic && b.value < 0);
        *out = (element_t){same, false};
        *out_known = same || never;
        return NULL;
    }
    if (!a.symbolic) { // commutative from here on
        element_t swapped = a;
        a = b;
        b = swapped;
    }
    if (opcode == WEIR_OP_ADD && !b.symbolic) {
        *out_known = out->symbolic = true;
        return weir__infer_affine(infer, a.value, 1, b.value, 1, &out->value);
    }
    if (opcode == WEIR_OP_MUL && (b.symbolic || b.value >= 0)) {
        *out_known = true;
        WEIR_TRY(weir__infer_product(infer, (int64_t[]){a.value, b.value}, 2, &out->value));
        out->symbolic = out->value < 0;
        return NULL;
    }
    if ((opcode == WEIR_OP_MIN || opcode == WEIR_OP_MAX) && b.symbolic && a.value == b.value) {
        *out = a;
        *out_known = true;
    }
    return NULL;
}

static bool number_element(weir_opcode_t opcode, int64_t a, int64_t b, int64_t *out)
{
    switch (opcode) {
    case WEIR_OP_ADD:
        return weir__add_i64(a, b, out);
    case WEIR_OP_SUB:
        return b != INT64_MIN && weir__add_i64(a, -b, out);
    case WEIR_OP_MUL:
        return weir__mul_i64(a, b, out);
    case WEIR_OP_DIV:
        if (b == 0 || (a == INT64_MIN && b == -1))
            return false;
        *out = a / b;
        return true;
    case WEIR_OP_MIN:
        *out = WEIR_MIN(a, b);
        return true;
    case WEIR_OP_MAX:
        *out = WEIR_MAX(a, b);
        return true;
    case WEIR_OP_EQ:
        *out = a == b;
        return true;
    default:
        return false;
    }
}

static bool stretches(const weir__ints_t *ints, uint32_t count)
{
    return ints->count == count || ints->count == 1;
}

static element_t element_of(const weir__ints_t *ints, uint32_t index)
{
    uint32_t i = ints->count == 1 ? 0 : index;
    return (element_t){weir__ints_at(ints, i), weir__ints_symbolic(ints, i)};
}

// What is known of the elements of a binary operator on sizes.
static weir_status_t binary_ints(weir__infer_t *infer)
{
    weir__ints_t a, b;
    weir_opcode_t opcode = infer->node->op->opcode;
    if (!infer->out_shapes || infer->outputs[0].rank > 1 || !weir__infer_ints(infer, 0, &a) ||
        !weir__infer_ints(infer, 1, &b) || !(infer->inputs[0]->dtype & (WEIR_I32 | WEIR_I64)))
        return NULL;
    uint32_t count = WEIR_MAX(a.count, b.count);
    weir__shape_value_t *out = weir__infer_out_shape(infer, count);
    if (!out || !stretches(&a, count) || !stretches(&b, count))
        return NULL;
    out->symbol_mask = 0;
    for (uint32_t i = 0; i < count; i++) {
        element_t ea = element_of(&a, i), eb = element_of(&b, i), result = {0};
        bool known;
        if (ea.symbolic || eb.symbolic) {
            WEIR_TRY(symbolic_element(infer, opcode, ea, eb, &result, &known));
        } else {
            known = number_element(opcode, ea.value, eb.value, &result.value);
            known &= infer->inputs[0]->dtype == WEIR_I64 || result.value == (int32_t)result.value;
        }
        if (!known)
            return NULL;
        out->elements[i] = result.value;
        out->symbol_mask |= (uint32_t)result.symbolic << i;
    }
    out->count = count;
    return NULL;
}

weir_status_t weir__infer_binary(weir__infer_t *infer)
{
    WEIR_TRY(weir__infer_broadcast(
        infer->graph, infer->inputs[0], infer->inputs[1], &infer->outputs[0]));
    return binary_ints(infer);
}

weir_status_t weir__infer_pow(weir__infer_t *infer)
{
    // The file may give the exponent another type; simplify puts a Cast there, so a run never sees
    // that.
    weir_dtype_t base = infer->inputs[0]->dtype, exponent = infer->inputs[1]->dtype;
    if (!infer->graph && base != exponent)
        return WEIR__BAD(
            "input 0 is %s, but input 1 is %s", weir__dtype_name(base), weir__dtype_name(exponent));
    if (exponent == WEIR_BOOL)
        return WEIR__BAD("input 1 cannot be bool");
    return weir__infer_broadcast(
        infer->graph, infer->inputs[0], infer->inputs[1], &infer->outputs[0]);
}

weir_status_t weir__infer_prelu(weir__infer_t *infer)
{
    const weir__type_t *x = infer->inputs[0], *slope = infer->inputs[1];
    WEIR_TRY(weir__infer_broadcast(infer->graph, x, slope, &infer->outputs[0]));
    bool grows = infer->outputs[0].rank != x->rank;
    for (int32_t i = 0; !grows && i < x->rank; i++)
        grows |= x->dims[i] >= 0 && infer->outputs[0].dims[i] != x->dims[i];
    if (grows)
        return WEIR__BAD("the slope %s does not broadcast to the input %s",
            WEIR__TEXT(infer, slope), WEIR__TEXT(infer, x));
    weir__infer_same_shape(infer);
    return NULL;
}

static void where_ints(weir__infer_t *infer)
{
    weir__ints_t choice, a, b;
    if (!infer->out_shapes || infer->outputs[0].rank > 1 || !weir__infer_ints(infer, 0, &choice) ||
        !weir__infer_ints(infer, 1, &a) || !weir__infer_ints(infer, 2, &b) ||
        infer->outputs[0].dtype == WEIR_BOOL)
        return;
    uint32_t count = WEIR_MAX(choice.count, WEIR_MAX(a.count, b.count));
    weir__shape_value_t *out = weir__infer_out_shape(infer, count);
    if (!out || !stretches(&choice, count) || !stretches(&a, count) || !stretches(&b, count))
        return;
    out->symbol_mask = 0;
    for (uint32_t i = 0; i < count; i++) {
        element_t chosen = element_of(&choice, i).value ? element_of(&a, i) : element_of(&b, i);
        out->elements[i] = chosen.value;
        out->symbol_mask |= (uint32_t)chosen.symbolic << i;
    }
    out->count = count;
}

weir_status_t weir__infer_where(weir__infer_t *infer)
{
    const weir__type_t *a = infer->inputs[1], *b = infer->inputs[2];
    if (a->dtype && b->dtype && a->dtype != b->dtype)
        return WEIR__BAD("input 1 is %s, but input 2 is %s", weir__dtype_name(a->dtype),
            weir__dtype_name(b->dtype));
    weir__type_t both = {.dtype = a->dtype};
    WEIR_TRY(weir__infer_broadcast(infer->graph, a, b, &both));
    WEIR_TRY(weir__infer_broadcast(infer->graph, infer->inputs[0], &both, &infer->outputs[0]));
    where_ints(infer);
    return NULL;
}

weir_status_t weir__infer_clip(weir__infer_t *infer)
{
    for (uint32_t i = 1; i < 3; i++) {
        const weir__type_t *bound = infer->inputs[i];
        for (int32_t d = 0; d < bound->rank; d++)
            if (bound->dims[d] >= 0 && bound->dims[d] != 1)
                return WEIR__BAD("%s has shape %s, a scalar is needed", i == 1 ? "min" : "max",
                    WEIR__TEXT(infer, bound));
    }
    weir__type_t low = {0};
    WEIR_TRY(weir__infer_broadcast(infer->graph, infer->inputs[0], infer->inputs[1], &low));
    return weir__infer_broadcast(infer->graph, &low, infer->inputs[2], &infer->outputs[0]);
}
