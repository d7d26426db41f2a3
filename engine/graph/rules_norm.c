// engine/graph/rules_norm.c: LayerNormalization from its spelled-out forms, and old Softmax's axis.
#include "engine/graph/rewrite.h"

#include <string.h>

// ReduceMean over the last axes with keepdims: which value it reads and where the axes start.
static bool mean_of_last(
    const weir__rewrite_t *rewrite, uint32_t value, uint32_t *out_x, uint32_t *out_axis)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, "ReduceMean");
    if (!node || weir__node_int(node, "keepdims", 1) == 0)
        return false;
    uint32_t x = weir__rewrite_input(rewrite, node, 0),
             axes = weir__rewrite_input(rewrite, node, 1);
    int32_t rank = weir__rewrite_type(rewrite, x)->rank;
    const weir__tensor_t *constant = weir__rewrite_constant(rewrite, axes);
    if (rank < 1 || !constant || constant->count < 1 || constant->count > (uint64_t)rank)
        return false;
    uint32_t mask = 0, count = (uint32_t)constant->count;
    for (uint32_t i = 0; i < count; i++) {
        int64_t axis = weir__tensor_int(constant, i);
        axis += axis < 0 ? rank : 0;
        if (axis < 0 || axis >= rank)
            return false;
        mask |= 1u << axis;
    }
    *out_x = x;
    *out_axis = (uint32_t)rank - count;
    return mask == ((1u << rank) - 1) - ((1u << *out_axis) - 1);
}

// value = x - mean(x): which x and axis.
static bool centred(
    const weir__rewrite_t *rewrite, uint32_t value, uint32_t *out_x, uint32_t *out_axis)
{
    const weir__node_t *sub = weir__rewrite_producer(rewrite, value, "Sub");
    uint32_t x;
    if (!sub || !mean_of_last(rewrite, weir__rewrite_input(rewrite, sub, 1), &x, out_axis))
        return false;
    *out_x = x;
    return weir__rewrite_input(rewrite, sub, 0) == x;
}

// value = v ^ 2, however spelled.
static bool square_of(const weir__rewrite_t *rewrite, uint32_t value, uint32_t *out_base)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    if (!node || node->input_count != 2)
        return false;
    *out_base = weir__rewrite_input(rewrite, node, 0);
    if (weir__rewrite_is(node, "Mul"))
        return weir__rewrite_input(rewrite, node, 1) == *out_base;
    return weir__rewrite_is(node, "Pow") &&
           weir__rewrite_is_number(rewrite, weir__rewrite_input(rewrite, node, 1), 2);
}

// value = sqrt(v) (or v ^ 0.5).
static bool root_of(const weir__rewrite_t *rewrite, uint32_t value, uint32_t *out_base)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    if (!node || node->input_count == 0)
        return false;
    *out_base = weir__rewrite_input(rewrite, node, 0);
    return weir__rewrite_is(node, "Sqrt") ||
           (weir__rewrite_is(node, "Pow") &&
               weir__rewrite_is_number(rewrite, weir__rewrite_input(rewrite, node, 1), 0.5));
}

// value = 1 / sqrt(v), however spelled.
static bool inverse_root_of(const weir__rewrite_t *rewrite, uint32_t value, uint32_t *out_base)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, NULL);
    if (!node || node->input_count == 0)
        return false;
    uint32_t first = weir__rewrite_input(rewrite, node, 0);
    uint32_t second = weir__rewrite_input(rewrite, node, 1);
    if (weir__rewrite_is(node, "Reciprocal"))
        return root_of(rewrite, first, out_base);
    if (weir__rewrite_is(node, "Div"))
        return weir__rewrite_is_number(rewrite, first, 1) && root_of(rewrite, second, out_base);
    *out_base = first;
    return weir__rewrite_is(node, "Pow") && weir__rewrite_is_number(rewrite, second, -0.5);
}

// variance + epsilon, the variance being that of x over the axes from `axis` on.
static bool variance_of(
    const weir__rewrite_t *rewrite, uint32_t value, uint32_t x, uint32_t axis, double *out_epsilon)
{
    const weir__node_t *add = weir__rewrite_producer(rewrite, value, "Add");
    for (uint32_t i = 0; add && i < 2; i++) {
        uint32_t squares, centre, found_x, found_axis, square_axis;
        if (weir__rewrite_scalar(rewrite, weir__rewrite_input(rewrite, add, i), out_epsilon) &&
            mean_of_last(
                rewrite, weir__rewrite_input(rewrite, add, 1 - i), &squares, &square_axis) &&
            square_of(rewrite, squares, &centre) &&
            centred(rewrite, centre, &found_x, &found_axis) && found_x == x && found_axis == axis &&
            square_axis == axis)
            return true;
    }
    return false;
}

static weir_status_t make_layer_norm(weir__rewrite_t *rewrite, uint32_t root, uint32_t x,
    uint32_t axis, double epsilon, const weir__node_t *centre, bool *out_done)
{
    const weir__type_t *type = weir__rewrite_type(rewrite, x);
    uint32_t count = (uint32_t)type->rank - axis, centre_number, ones;
    int64_t dims[WEIR_RANK_MAX];
    uint64_t size = 1;
    float *data;
    for (uint32_t i = 0; i < count; i++) {
        dims[i] = type->dims[axis + i];
        if (dims[i] < 1 || __builtin_mul_overflow(size, (uint64_t)dims[i], &size))
            return NULL;
    }
    if (type->dtype != WEIR_F32)
        return NULL;
    centre_number = (uint32_t)(centre - rewrite->graph->nodes);
    WEIR_TRY(weir__rewrite_constant_new(rewrite, count, dims, &ones, &data));
    if (!data)
        return NULL;
    for (uint64_t i = 0; i < size; i++)
        data[i] = 1;
    weir_attribute_t attributes[2] = {{.name = "axis", .type = WEIR_ATTR_INT, .i = (int64_t)axis},
        {.name = "epsilon", .type = WEIR_ATTR_FLOAT, .f = epsilon}};
    const weir__node_t *absorbed = &rewrite->graph->nodes[centre_number];
    *out_done = true;
    return weir__rewrite_node(
        rewrite, root, "LayerNormalization", (uint32_t[]){x, ones}, 2, attributes, 2, &absorbed, 1);
}

// (x - mean) / sqrt(var + eps), or times 1 / sqrt. Scale and bias are taken in by the next two
// rules.
weir_status_t weir__rule_layer_norm(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    bool divides = weir__rewrite_is(node, "Div");
    for (uint32_t i = 0; i < (divides ? 1u : 2u); i++) {
        uint32_t centre = weir__rewrite_input(rewrite, node, i), x, axis, sum;
        uint32_t other = weir__rewrite_input(rewrite, node, 1 - i);
        double epsilon;
        if (!centred(rewrite, centre, &x, &axis) ||
            !(divides ? root_of(rewrite, other, &sum) : inverse_root_of(rewrite, other, &sum)) ||
            !variance_of(rewrite, sum, x, axis, &epsilon) || epsilon < 0)
            continue;
        return make_layer_norm(rewrite, root, x, axis, epsilon,
            weir__rewrite_producer(rewrite, centre, "Sub"), out_done);
    }
    return NULL;
}

// A LayerNormalization without bias that only the root reads, and the root's other input, a
// constant of the shape that a scale or bias has.
static const weir__node_t *norm_and_constant(const weir__rewrite_t *rewrite,
    const weir__node_t *root, uint32_t *out_constant, const weir__tensor_t **out_scale)
{
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t value = weir__rewrite_input(rewrite, root, i);
        *out_constant = weir__rewrite_input(rewrite, root, 1 - i);
        const weir__node_t *norm = weir__rewrite_producer(rewrite, value, "LayerNormalization");
        const weir__tensor_t *constant = weir__rewrite_constant(rewrite, *out_constant);
        if (!norm || rewrite->uses[value] != 1 || !constant ||
            weir__rewrite_input(rewrite, norm, 2) != WEIR__NONE || constant->dtype != WEIR_F32)
            continue;
        bool only = true;
        for (uint32_t j = 1; j < norm->output_count; j++)
            only &= norm->outputs[j] == WEIR__NONE;
        *out_scale = weir__rewrite_constant(rewrite, weir__rewrite_input(rewrite, norm, 1));
        if (!only || !*out_scale || (*out_scale)->dtype != WEIR_F32 ||
            constant->count != (*out_scale)->count || constant->rank < (*out_scale)->rank ||
            (int32_t)constant->rank > weir__rewrite_type(rewrite, value)->rank)
            continue;
        uint32_t extra = constant->rank - (*out_scale)->rank;
        bool fits = true;
        for (uint32_t d = 0; d < constant->rank; d++)
            fits &= constant->dims[d] == (d < extra ? 1 : (*out_scale)->dims[d - extra]);
        if (fits)
            return norm;
    }
    return NULL;
}

weir_status_t weir__rule_layer_norm_scale(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__tensor_t *scale;
    uint32_t other, value;
    const weir__node_t *norm =
        norm_and_constant(rewrite, &rewrite->graph->nodes[root], &other, &scale);
    if (!norm)
        return NULL;
    uint32_t number = (uint32_t)(norm - rewrite->graph->nodes);
    uint32_t x = weir__rewrite_input(rewrite, norm, 0);
    const weir__tensor_t *constant = weir__rewrite_constant(rewrite, other);
    float *data;
    WEIR_TRY(weir__rewrite_constant_new(rewrite, scale->rank, scale->dims, &value, &data));
    if (!data)
        return NULL;
    for (uint64_t i = 0; i < scale->count; i++)
        data[i] = (float)(weir__tensor_float(scale, i) * weir__tensor_float(constant, i));
    norm = &rewrite->graph->nodes[number];
    *out_done = true;
    return weir__rewrite_node(rewrite, root, "LayerNormalization", (uint32_t[]){x, value}, 2,
        norm->attributes, norm->attribute_count, &norm, 1);
}

weir_status_t weir__rule_layer_norm_shift(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__tensor_t *scale;
    uint32_t other, value;
    const weir__node_t *norm =
        norm_and_constant(rewrite, &rewrite->graph->nodes[root], &other, &scale);
    if (!norm)
        return NULL;
    uint32_t number = (uint32_t)(norm - rewrite->graph->nodes);
    uint32_t inputs[3] = {
        weir__rewrite_input(rewrite, norm, 0), weir__rewrite_input(rewrite, norm, 1)};
    WEIR_TRY(weir__rewrite_constant_view(
        rewrite, weir__rewrite_constant(rewrite, other), scale->rank, scale->dims, &value));
    inputs[2] = value;
    norm = &rewrite->graph->nodes[number];
    *out_done = true;
    return weir__rewrite_node(rewrite, root, "LayerNormalization", inputs, 3, norm->attributes,
        norm->attribute_count, &norm, 1);
}

// Before opset 13 Softmax ran over all axes from `axis` on. Where at most one of them is longer
// than 1, that is the same as running over that one.
weir_status_t weir__rule_softmax_axis(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    uint32_t x = weir__rewrite_input(rewrite, node, 0);
    const weir__type_t *type = weir__rewrite_type(rewrite, x);
    if (weir__node_int(node, "coerce", 0) == 0 || type->rank < 1)
        return NULL;
    int64_t axis = weir__node_int(node, "axis", 1), longer = -1;
    axis += axis < 0 ? type->rank : 0;
    for (int64_t i = axis; i < type->rank; i++) {
        if (type->dims[i] == 1)
            continue;
        if (longer >= 0)
            return NULL;
        longer = i;
    }
    weir_attribute_t attributes[2] = {
        {.name = "axis", .type = WEIR_ATTR_INT, .i = longer < 0 ? axis : longer},
        {.name = "coerce", .type = WEIR_ATTR_INT, .i = 0}};
    *out_done = true;
    return weir__rewrite_node(rewrite, root, node->op->name, &x, 1, attributes, 2, NULL, 0);
}
