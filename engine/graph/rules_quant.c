// engine/graph/rules_quant.c: islands of int8 without a float in between.
//
// A quantiser writes DequantizeLinear -> operator -> QuantizeLinear around everything (QDQ). Here a
// convolution or product of such becomes QLinearConv or QLinearMatMul, an addition behind one and
// the Relu behind that become part of it, and what only moves elements loses both ends. A sum in
// f32 of dequantised numbers, and the integer sum that takes its place, differ by rounding: a
// result may be one step off. Scales and zero points must be constants.
#include "engine/graph/rewrite.h"

#include <math.h>
#include <string.h>

// A quantised tensor: its bytes, and how they are meant.
typedef struct quantised {
    uint32_t value, scale, zero; // values
    const weir__node_t *node;    // the DequantizeLinear or QuantizeLinear
} quantised_t;

// One scale and one zero point of u8 or i8 for the whole tensor, both constants.
static bool read_params(const weir__rewrite_t *rewrite, const weir__node_t *node, quantised_t *out)
{
    *out = (quantised_t){.value = weir__rewrite_input(rewrite, node, 0),
        .scale = weir__rewrite_input(rewrite, node, 1),
        .zero = weir__rewrite_input(rewrite, node, 2),
        .node = node};
    const weir__tensor_t *scale = weir__rewrite_constant(rewrite, out->scale);
    const weir__tensor_t *zero = weir__rewrite_constant(rewrite, out->zero);
    return scale && zero && scale->count == 1 && zero->count == 1 && scale->dtype == WEIR_F32 &&
           (zero->dtype & (WEIR_U8 | WEIR_I8)) && weir__tensor_float(scale, 0) > 0;
}

// What `value` is dequantised from.
static bool read_dequantised(const weir__rewrite_t *rewrite, uint32_t value, quantised_t *out)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, "DequantizeLinear");
    return node && read_params(rewrite, node, out);
}

static bool same_params(const weir__rewrite_t *rewrite, const quantised_t *a, const quantised_t *b)
{
    const weir__tensor_t *a_scale = weir__rewrite_constant(rewrite, a->scale);
    const weir__tensor_t *b_scale = weir__rewrite_constant(rewrite, b->scale);
    const weir__tensor_t *a_zero = weir__rewrite_constant(rewrite, a->zero);
    const weir__tensor_t *b_zero = weir__rewrite_constant(rewrite, b->zero);
    return a_zero->dtype == b_zero->dtype && memcmp(a_zero->data, b_zero->data, 1) == 0 &&
           memcmp(a_scale->data, b_scale->data, sizeof(float)) == 0;
}

static bool all_zero(const weir__tensor_t *tensor)
{
    const unsigned char *bytes = tensor->data;
    for (uint64_t i = 0; i < tensor->bytes; i++)
        if (bytes[i])
            return false;
    return true;
}

// Weights of i8, around 0, with one scale or one for each of `channels` along `axis`.
static bool read_weights(const weir__rewrite_t *rewrite, uint32_t value, int64_t axis,
    int64_t channels, quantised_t *out)
{
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, "DequantizeLinear");
    if (!node)
        return false;
    *out = (quantised_t){.value = weir__rewrite_input(rewrite, node, 0),
        .scale = weir__rewrite_input(rewrite, node, 1),
        .zero = weir__rewrite_input(rewrite, node, 2),
        .node = node};
    const weir__tensor_t *bytes = weir__rewrite_constant(rewrite, out->value);
    const weir__tensor_t *scale = weir__rewrite_constant(rewrite, out->scale);
    const weir__tensor_t *zero = weir__rewrite_constant(rewrite, out->zero);
    if (!bytes || !scale || !zero || bytes->dtype != WEIR_I8 || scale->dtype != WEIR_F32 ||
        !all_zero(zero) || zero->count != scale->count)
        return false;
    int64_t at = weir__node_int(node, "axis", 1);
    at += at < 0 ? bytes->rank : 0;
    return scale->count == 1 || (at == axis && (int64_t)scale->count == channels);
}

// A bias in steps of x's scale times the weights': what quantisers make. WEIR__NONE: there is none.
static bool read_bias(const weir__rewrite_t *rewrite, uint32_t value, const quantised_t *x,
    const quantised_t *w, int64_t channels, uint32_t *out_bias)
{
    *out_bias = WEIR__NONE;
    if (value == WEIR__NONE)
        return true;
    const weir__node_t *node = weir__rewrite_producer(rewrite, value, "DequantizeLinear");
    if (!node)
        return false;
    *out_bias = weir__rewrite_input(rewrite, node, 0);
    const weir__tensor_t *bias = weir__rewrite_constant(rewrite, *out_bias);
    const weir__tensor_t *scale =
        weir__rewrite_constant(rewrite, weir__rewrite_input(rewrite, node, 1));
    const uint32_t zero_value = weir__rewrite_input(rewrite, node, 2);
    const weir__tensor_t *zero = weir__rewrite_constant(rewrite, zero_value);
    if (!bias || !scale || bias->dtype != WEIR_I32 || bias->rank != 1 ||
        (int64_t)bias->count != channels || scale->dtype != WEIR_F32 ||
        (zero_value != WEIR__NONE && (!zero || !all_zero(zero))) ||
        (scale->count != 1 && scale->count != bias->count))
        return false;
    const weir__tensor_t *x_scale = weir__rewrite_constant(rewrite, x->scale);
    const weir__tensor_t *w_scale = weir__rewrite_constant(rewrite, w->scale);
    for (int64_t c = 0; c < channels; c++) {
        const double step = weir__tensor_float(x_scale, 0) *
                            weir__tensor_float(w_scale, w_scale->count == 1 ? 0 : (uint64_t)c);
        const double is = weir__tensor_float(scale, scale->count == 1 ? 0 : (uint64_t)c);
        if (fabs(is - step) > 1e-5 * fabs(step))
            return false;
    }
    return true;
}

// What the root quantises: the value before a Relu that nobody else reads, if there is one.
static uint32_t before_relu(const weir__rewrite_t *rewrite, uint32_t value, bool *out_relu)
{
    const weir__node_t *relu = weir__rewrite_producer(rewrite, value, "Relu");
    *out_relu = relu && rewrite->uses[value] == 1;
    return *out_relu ? weir__rewrite_input(rewrite, relu, 0) : value;
}

// QuantizeLinear(DequantizeLinear(x)) in the same steps is x.
weir_status_t weir__rule_quant_cancel(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    const weir__node_t *node = &rewrite->graph->nodes[root];
    quantised_t x, y;
    if (read_params(rewrite, node, &y) && read_dequantised(rewrite, y.value, &x) &&
        same_params(rewrite, &x, &y))
        *out_done = weir__rewrite_replace(rewrite, node, node->outputs[0], x.value);
    return NULL;
}

// Operators that only move or choose elements work on bytes as well.
weir_status_t weir__rule_quant_move(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    static const char *const movers[] = {
        "MaxPool", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"};
    quantised_t x, y;
    if (!read_params(rewrite, &rewrite->graph->nodes[root], &y) || rewrite->uses[y.value] != 1)
        return NULL;
    const weir__node_t *mover = weir__rewrite_producer(rewrite, y.value, NULL);
    bool moves = false;
    for (size_t i = 0; mover && i < sizeof movers / sizeof movers[0]; i++)
        moves |= weir__rewrite_is(mover, movers[i]);
    if (!moves || mover->input_count > 2 ||
        !read_dequantised(rewrite, weir__rewrite_input(rewrite, mover, 0), &x) ||
        !same_params(rewrite, &x, &y))
        return NULL;
    uint32_t inputs[2] = {x.value, weir__rewrite_input(rewrite, mover, 1)};
    *out_done = true;
    return weir__rewrite_node(rewrite, root, mover->op->name, inputs, mover->input_count,
        mover->attributes, mover->attribute_count, &mover, 1);
}

// The attributes of a Conv, and whether a Relu follows.
static uint32_t conv_attributes(
    const weir__node_t *conv, bool relu, weir_attribute_t *out, uint32_t most)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < conv->attribute_count && count + 1 < most; i++)
        if (strcmp(conv->attributes[i].name, "relu") != 0)
            out[count++] = conv->attributes[i];
    out[count++] = (weir_attribute_t){.name = "relu", .type = WEIR_ATTR_INT, .i = relu};
    return count;
}

// QuantizeLinear(Relu?(Conv(DequantizeLinear ...))).
weir_status_t weir__rule_quant_conv(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    quantised_t x, y, w;
    bool relu;
    uint32_t bias;
    if (!read_params(rewrite, &rewrite->graph->nodes[root], &y))
        return NULL;
    const uint32_t sum = before_relu(rewrite, y.value, &relu);
    const weir__node_t *conv = weir__rewrite_producer(rewrite, sum, "Conv");
    if (!conv || rewrite->uses[sum] != 1 || weir__node_int(conv, "group", 1) != 1)
        return NULL;
    const uint32_t weights = weir__rewrite_input(rewrite, conv, 1);
    const weir__type_t *type = weir__rewrite_type(rewrite, weights);
    if (type->rank != 4 || type->dims[0] < 1 ||
        !read_dequantised(rewrite, weir__rewrite_input(rewrite, conv, 0), &x) ||
        !read_weights(rewrite, weights, 0, type->dims[0], &w) ||
        !read_bias(rewrite, weir__rewrite_input(rewrite, conv, 2), &x, &w, type->dims[0], &bias))
        return NULL;
    weir_attribute_t attributes[16];
    const uint32_t count = conv_attributes(conv, relu, attributes, 16);
    const uint32_t inputs[9] = {
        x.value, x.scale, x.zero, w.value, w.scale, w.zero, y.scale, y.zero, bias};
    const weir__node_t *absorbed[3] = {
        x.node, conv, relu ? weir__rewrite_producer(rewrite, y.value, "Relu") : NULL};
    *out_done = true;
    return weir__rewrite_node(rewrite, root, "QLinearConv", inputs, bias == WEIR__NONE ? 8 : 9,
        attributes, count, absorbed, 3);
}

// A QLinearConv without an addend or a Relu, whose result nothing but `value` is made from.
static const weir__node_t *plain_conv(
    const weir__rewrite_t *rewrite, uint32_t value, const quantised_t *made)
{
    const weir__node_t *conv = weir__rewrite_producer(rewrite, made->value, "QLinearConv");
    quantised_t own;
    if (!conv || rewrite->uses[value] != 1 || rewrite->uses[made->value] != 1 ||
        conv->input_count > 9 || weir__node_int(conv, "relu", 0))
        return NULL;
    own = (quantised_t){.scale = weir__rewrite_input(rewrite, conv, 6),
        .zero = weir__rewrite_input(rewrite, conv, 7)};
    const weir__tensor_t *scale = weir__rewrite_constant(rewrite, own.scale);
    const weir__tensor_t *zero = weir__rewrite_constant(rewrite, own.zero);
    return scale && zero && scale->count == 1 && zero->count == 1 &&
                   same_params(rewrite, &own, made)
               ? conv
               : NULL;
}

// QuantizeLinear(Relu?(Add(DequantizeLinear(QLinearConv), DequantizeLinear(other)))).
weir_status_t weir__rule_quant_conv_add(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    quantised_t y, sides[2];
    bool relu;
    if (!read_params(rewrite, &rewrite->graph->nodes[root], &y))
        return NULL;
    const uint32_t sum = before_relu(rewrite, y.value, &relu);
    const weir__node_t *add = weir__rewrite_producer(rewrite, sum, "Add"), *conv = NULL;
    uint32_t side = 0;
    if (!add || rewrite->uses[sum] != 1)
        return NULL;
    for (uint32_t i = 0; i < 2; i++)
        if (!read_dequantised(rewrite, weir__rewrite_input(rewrite, add, i), &sides[i]))
            return NULL;
    for (uint32_t i = 0; i < 2 && !conv; i++) {
        conv = plain_conv(rewrite, weir__rewrite_input(rewrite, add, i), &sides[i]);
        side = i;
    }
    const quantised_t *other = &sides[1 - side];
    if (!conv ||
        !weir__type_equal(weir__rewrite_type(rewrite, sum),
            weir__rewrite_type(rewrite, weir__rewrite_input(rewrite, add, 1 - side))) ||
        !weir__type_equal(weir__rewrite_type(rewrite, sum),
            weir__rewrite_type(rewrite, weir__rewrite_input(rewrite, add, side))))
        return NULL;
    weir_attribute_t attributes[16];
    const uint32_t count = conv_attributes(conv, relu, attributes, 16);
    uint32_t inputs[14];
    for (uint32_t i = 0; i < 9; i++)
        inputs[i] = weir__rewrite_input(rewrite, conv, i);
    inputs[9] = other->value;
    inputs[10] = other->scale;
    inputs[11] = other->zero;
    inputs[12] = y.scale;
    inputs[13] = y.zero;
    const weir__node_t *absorbed[3] = {
        conv, add, relu ? weir__rewrite_producer(rewrite, y.value, "Relu") : NULL};
    *out_done = true;
    return weir__rewrite_node(
        rewrite, root, "QLinearConv", inputs, 14, attributes, count, absorbed, 3);
}

// QuantizeLinear(MatMul(...)) and QuantizeLinear(Gemm(...)) with constant weights.
weir_status_t weir__rule_quant_matmul(weir__rewrite_t *rewrite, uint32_t root, bool *out_done)
{
    quantised_t x, y, w;
    uint32_t bias;
    if (!read_params(rewrite, &rewrite->graph->nodes[root], &y) || rewrite->uses[y.value] != 1)
        return NULL;
    const weir__node_t *product = weir__rewrite_producer(rewrite, y.value, NULL);
    if (!product || (!weir__rewrite_is(product, "MatMul") && !weir__rewrite_is(product, "Gemm")) ||
        weir__node_int(product, "transA", 0))
        return NULL;
    const weir_attribute_t *alpha = weir__node_attribute(product, "alpha");
    const weir_attribute_t *beta = weir__node_attribute(product, "beta");
    if ((alpha && alpha->f != 1) || (beta && beta->f != 1))
        return NULL;
    const int64_t transposed = weir__node_int(product, "transB", 0) != 0;
    const uint32_t weights = weir__rewrite_input(rewrite, product, 1);
    const weir__type_t *type = weir__rewrite_type(rewrite, weights);
    const int64_t axis = transposed ? 0 : 1;
    if (type->rank != 2 || type->dims[axis] < 1 ||
        !read_dequantised(rewrite, weir__rewrite_input(rewrite, product, 0), &x) ||
        !read_weights(rewrite, weights, axis, type->dims[axis], &w) ||
        !read_bias(
            rewrite, weir__rewrite_input(rewrite, product, 2), &x, &w, type->dims[axis], &bias))
        return NULL;
    const weir_attribute_t attribute = {.name = "transB", .type = WEIR_ATTR_INT, .i = transposed};
    const uint32_t inputs[9] = {
        x.value, x.scale, x.zero, w.value, w.scale, w.zero, y.scale, y.zero, bias};
    const weir__node_t *absorbed[2] = {x.node, product};
    *out_done = true;
    return weir__rewrite_node(rewrite, root, "QLinearMatMul", inputs, bias == WEIR__NONE ? 8 : 9,
        &attribute, 1, absorbed, 2);
}
