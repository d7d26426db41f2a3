// engine/graph/rules_view.c: operators that do nothing, and chains of those that only rename axes.
#include "engine/graph/rewrite.h"

#include <string.h>

// Whether an input of integers is constant and all `number`; absent counts as well.
static bool all_ints(
    const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t input, int64_t number)
{
    uint32_t value = weir__rewrite_input(rewrite, node, input);
    if (value == WEIR__NONE)
        return true;
    const weir__tensor_t *tensor = weir__rewrite_constant(rewrite, value);
    if (!tensor || !(tensor->dtype & (WEIR_I32 | WEIR_I64)) || tensor->count > 64)
        return false;
    for (uint64_t i = 0; i < tensor->count; i++)
        if (weir__tensor_int(tensor, i) != number)
            return false;
    return true;
}

// x * 1, x / 1, x - 0 and x ^ 1 give x bit for bit (x + 0 does not: it loses the sign of -0).
static bool is_neutral(const weir__rewrite_t *rewrite, const weir__node_t *node, uint32_t input)
{
    const weir__tensor_t *tensor =
        weir__rewrite_constant(rewrite, weir__rewrite_input(rewrite, node, input));
    if (!tensor || tensor->count != 1)
        return false;
    bool integer = !(tensor->dtype & (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16));
    double number = weir__tensor_float(tensor, 0);
    switch (node->op->opcode) {
    case WEIR_OP_MUL:
        return number == 1;
    case WEIR_OP_DIV:
    case WEIR_OP_POW:
        return number == 1 && input == 1;
    case WEIR_OP_SUB:
        return number == 0 && !__builtin_signbit(number) && input == 1;
    case WEIR_OP_ADD:
        return number == 0 && integer;
    default:
        return false;
    }
}

// Which input the node passes on unchanged; WEIR__NONE: it does something.
static uint32_t passed_input(const weir__rewrite_t *rewrite, const weir__node_t *node)
{
    if (weir__rewrite_is(node, "Identity"))
        return 0;
    if (node->input_count == 0)
        return WEIR__NONE;
    const weir__type_t *y = weir__rewrite_type(rewrite, node->outputs[0]);
    for (uint32_t i = 0; i < 2 && i < node->input_count; i++) {
        uint32_t value = weir__rewrite_input(rewrite, node, i);
        if (node->op->flags & WEIR__OP_ELEMENTWISE && value != WEIR__NONE &&
            weir__type_equal(weir__rewrite_type(rewrite, value), y) && node->input_count == 2 &&
            is_neutral(rewrite, node, 1 - i))
            return i;
    }
    uint32_t x = weir__rewrite_input(rewrite, node, 0);
    if (x == WEIR__NONE || !weir__type_equal(weir__rewrite_type(rewrite, x), y))
        return WEIR__NONE;
    bool passes = node->op->flags & WEIR__OP_VIEW || weir__rewrite_is(node, "Cast") ||
                  weir__rewrite_is(node, "Expand") ||
                  (weir__rewrite_is(node, "Concat") && node->input_count == 1) ||
                  (weir__rewrite_is(node, "Slice") && all_ints(rewrite, node, 4, 1)) ||
                  (weir__rewrite_is(node, "Pad") && all_ints(rewrite, node, 1, 0)) ||
                  (weir__rewrite_is(node, "Tile") && all_ints(rewrite, node, 1, 1));
    if (weir__rewrite_is(node, "Transpose")) {
        const weir_attribute_t *perm = weir__node_attribute(node, "perm");
        passes = perm && perm->count;
        for (uint32_t i = 0; passes && i < perm->count; i++)
            passes = perm->ints[i] == (int64_t)i;
    }
    return passes ? 0 : WEIR__NONE;
}

weir_status_t weir__rule_no_op(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    uint32_t input = passed_input(rewrite, node);
    if (input != WEIR__NONE)
        *out_done = weir__rewrite_replace(
            rewrite, node, node->outputs[0], weir__rewrite_input(rewrite, node, input));
    return NULL;
}

// The permutation of a Transpose whose input has a known rank.
static bool permutation(
    const weir__rewrite_t *rewrite, const weir__node_t *node, int64_t *out, uint32_t *out_rank)
{
    const weir_attribute_t *perm = weir__node_attribute(node, "perm");
    int32_t rank = weir__rewrite_type(rewrite, weir__rewrite_input(rewrite, node, 0))->rank;
    if (rank < 0)
        return false;
    for (int32_t i = 0; i < rank; i++) {
        out[i] = perm && perm->count ? perm->ints[i] : rank - 1 - i;
        out[i] += out[i] < 0 ? rank : 0;
    }
    *out_rank = (uint32_t)rank;
    return true;
}

weir_status_t weir__rule_transposes(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *outer = &rewrite->graph->nodes[root];
    uint32_t middle = weir__rewrite_input(rewrite, outer, 0), rank, same;
    const weir__node_t *inner = weir__rewrite_producer(rewrite, middle, "Transpose");
    int64_t first[WEIR_RANK_MAX], second[WEIR_RANK_MAX], both[WEIR_RANK_MAX];
    if (!inner || !permutation(rewrite, inner, first, &rank) ||
        !permutation(rewrite, outer, second, &same) || same != rank)
        return NULL;
    for (uint32_t i = 0; i < rank; i++)
        both[i] = first[second[i]];
    weir_attribute_t perm = {.name = "perm", .type = WEIR_ATTR_INTS, .count = rank, .ints = both};
    uint32_t x = weir__rewrite_input(rewrite, inner, 0);
    *out_done = true;
    return weir__rewrite_node(rewrite, root, "Transpose", &x, 1, &perm, 1, &inner, 1);
}

// The node that makes `value` when it only gives its input another shape.
static const weir__node_t *view_of(const weir__rewrite_t *rewrite, uint32_t value)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    return node && node->op->flags & WEIR__OP_VIEW ? node : NULL;
}

// A view of a view that has the first one's input shape again: Unsqueeze and Squeeze, Flatten and
// back.
weir_status_t weir__rule_views_cancel(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *outer = &rewrite->graph->nodes[root];
    if (!(outer->op->flags & WEIR__OP_VIEW))
        return NULL;
    const weir__node_t *inner = view_of(rewrite, weir__rewrite_input(rewrite, outer, 0));
    if (!inner)
        return NULL;
    uint32_t x = weir__rewrite_input(rewrite, inner, 0);
    if (weir__type_equal(
            weir__rewrite_type(rewrite, x), weir__rewrite_type(rewrite, outer->outputs[0])))
        *out_done = weir__rewrite_replace(rewrite, outer, outer->outputs[0], x);
    return NULL;
}

// A Reshape of a view reads the view's input, when its sizes do not refer to the view's.
weir_status_t weir__rule_views(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *outer = &rewrite->graph->nodes[root];
    const weir__node_t *inner = view_of(rewrite, weir__rewrite_input(rewrite, outer, 0));
    uint32_t sizes = weir__rewrite_input(rewrite, outer, 1);
    const weir__tensor_t *constant = weir__rewrite_constant(rewrite, sizes);
    if (!inner || !constant || constant->dtype != WEIR_I64)
        return NULL;
    bool allow_zero = weir__node_int(outer, "allowzero", 0) != 0;
    for (uint64_t i = 0; i < constant->count; i++)
        if (weir__tensor_int(constant, i) == 0 && !allow_zero)
            return NULL;
    uint32_t inputs[2] = {weir__rewrite_input(rewrite, inner, 0), sizes};
    *out_done = true;
    return weir__rewrite_node(
        rewrite, root, "Reshape", inputs, 2, outer->attributes, outer->attribute_count, &inner, 1);
}
