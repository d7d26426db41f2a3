// tests/unit/graph_rules_test.c: folding and each rewrite rule: what it matches, and near misses
// that it must leave alone.
#include "tests/unit/graph_support.h"

#include "engine/base/status.h"

#define X() INPUT("x", WEIR_F32, 2, 3, 8)

// ---- Folding ----------------------------------------------------------------------------------

static void fold_chain(void **state)
{
    (void)state;
    uint32_t x = X(), four = OP("Mul", scalar(2), scalar(2)), two = OP("Sqrt", four);
    uint32_t y = OP("Mul", x, OP("Add", two, scalar(1)));
    output(y);
    simplify();
    assert_int_equal(node_count(NULL), 1);
    const weir__tensor_t *three = graph->values[producer(y)->inputs[1]].constant;
    assert_float_equal(((const float *)three->data)[0], 3, 0);
    assert_int_equal(tally("fold"), 3);
}

// Goal:   a node over the limit is left for the run, one at the limit is folded.
static void fold_limits(void **state)
{
    (void)state;
    uint32_t a = RAMP(0, 1, 16), b = RAMP(0, 1, 17), y = OP("Sqrt", a), z = OP("Sqrt", b);
    output(y), output(z);
    graph->limits.fold_node_bytes = 64;
    simplify();
    assert_non_null(graph->values[y].constant);
    assert_null(graph->values[z].constant);
    assert_int_equal(graph->folded_bytes, 64);
}

static void fold_total_limit(void **state)
{
    (void)state;
    uint32_t y = OP("Sqrt", RAMP(0, 1, 16)), z = OP("Sqrt", RAMP(1, 1, 16));
    output(y), output(z);
    graph->limits.fold_total_bytes = 127;
    simplify();
    assert_non_null(graph->values[y].constant);
    assert_null(graph->values[z].constant);
}

// Goal:   an operator that the evaluator cannot do is tried once and left alone.
static void fold_unsupported_once(void **state)
{
    (void)state;
    uint32_t calls = 0, y = OP("Exp", scalar(1));
    output(y);
    prepare();
    OK(weir__graph_simplify(graph, evaluate, &calls));
    assert_int_equal(calls, 1);
    assert_non_null(producer(y));
}

// Goal:   Shape -> Gather -> Concat becomes a constant when the sizes are known, without the
// evaluator.
static void fold_shapes(void **state)
{
    (void)state;
    uint32_t x = X(), shape = OP("Shape", x);
    uint32_t last = OP("Gather", shape, CONST_INTS(2));
    uint32_t sizes =
        op_in(&graph->main, "Concat", ATTRIBUTES(INT_ATTR("axis", 0)), VALUES(CONST_INTS(6), last));
    uint32_t y = OP("Reshape", x, sizes);
    output(y);
    prepare();
    OK(weir__graph_simplify(graph, NULL, NULL));
    assert_int_equal(node_count(NULL), 1);
    DIMS(y, 6, 8);
}

static uint32_t make_if(uint32_t condition, uint32_t x)
{
    uint32_t node, y;
    weir__region_t **regions = weir__zone_array(&graph->zone, 2, sizeof *regions);
    OK(weir__graph_add_value(graph, "y", &y));
    OK(weir__graph_add_node(
        graph, &graph->main, weir__op_find("If", 1), &condition, 1, &y, 1, NULL, 0, "if", &node));
    for (int i = 0; i < 2; i++) {
        OK(weir__graph_add_region(graph, &graph->main, &regions[i]));
        OK(weir__graph_add_output(
            graph, regions[i], op_in(regions[i], i ? "Neg" : "Abs", NULL, 0, VALUES(x))));
    }
    graph->nodes[node].regions = regions;
    graph->nodes[node].region_count = 2;
    return y;
}

static void if_inlined(void **state)
{
    (void)state;
    for (uint8_t condition = 0; condition < 2; condition++) {
        another_graph();
        uint32_t c, x = X();
        OK(weir__graph_add_constant(graph, "c", WEIR_BOOL, 0, NULL, &condition, true, &c));
        uint32_t y = make_if(c, x);
        output(y);
        output(OP("Exp", y));
        simplify();
        assert_int_equal(node_count("If"), 0);
        assert_int_equal(node_count(condition ? "Abs" : "Neg"), 1);
        assert_int_equal(node_count(NULL), 2);
        assert_non_null(producer(y));
    }
}

static void if_kept(void **state)
{
    (void)state;
    uint32_t c = INPUT("c", WEIR_BOOL, 1), y = make_if(c, X());
    output(y);
    simplify();
    assert_int_equal(node_count("If"), 1);
    DIMS(y, 2, 3, 8);
}

static void dead_removed(void **state)
{
    (void)state;
    uint32_t x = X();
    OP("Exp", OP("Log", x));
    output(OP("Abs", x));
    simplify();
    assert_int_equal(node_count(NULL), 1);
    assert_int_equal(graph->main.input_count, 1);
}

static void share_equal_nodes(void **state)
{
    (void)state;
    uint32_t x = X(), z = INPUT("z", WEIR_F32, 2, 3, 8);
    uint32_t a = OP("Exp", OP("Add", x, z)), b = OP("Exp", OP("Add", z, x));
    uint32_t c = OP("Exp", OP("Sub", x, z)), d = OP("Exp", OP("Sub", z, x));
    uint32_t y = OP("Max", OP("Mul", a, b), OP("Mul", c, d));
    output(y);
    simplify();
    assert_int_equal(node_count("Add"), 1); // either order
    assert_int_equal(node_count("Sub"), 2); // these two differ
    assert_int_equal(node_count("Exp"), 3);
}

// ---- Views and no-ops -------------------------------------------------------------------------

static void no_ops_go(void **state)
{
    (void)state;
    uint32_t x = X();
    uint32_t y = OP("Identity", OP("Mul", OP("Identity", x), scalar(1)));
    y = op_in(&graph->main, "Transpose", ATTRIBUTES(INTS_ATTR("perm", 0, 1, 2)), VALUES(y));
    y = op_in(&graph->main, "Cast", ATTRIBUTES(INT_ATTR("to", WEIR_F32)), VALUES(y));
    y = OP("Reshape", y, CONST_INTS(2, 3, 8));
    y = OP("Squeeze", OP("Unsqueeze", y, CONST_INTS(1)), CONST_INTS(1));
    y = OP("Slice", y, CONST_INTS(0), CONST_INTS(INT64_MAX), CONST_INTS(1));
    output(OP("Exp", y));
    simplify();
    assert_int_equal(node_count(NULL), 1);
}

static void no_ops_near_misses(void **state)
{
    (void)state;
    uint32_t x = X();
    output(OP("Add", x, scalar(0)));                       // loses the sign of -0
    output(OP("Div", scalar(1), x));                       // 1 / x
    output(OP("Mul", x, ramp(1, 0, 4, INTS(1, 1, 1, 1)))); // one more axis
    output(OP("Slice", x, CONST_INTS(-1), CONST_INTS(INT64_MIN), CONST_INTS(0), CONST_INTS(-1)));
    output(OP("Pow", scalar(1), x));
    simplify();
    assert_int_equal(node_count(NULL), 5);
}

// Goal:   the model's outputs keep their names when what makes them is a no-op; an input stays an
// input.
static void no_op_outputs(void **state)
{
    (void)state;
    uint32_t x = X(), y = OP("Identity", OP("Exp", x)), z = OP("Identity", x);
    output(y), output(z);
    simplify();
    assert_string_equal(producer(y)->op->name, "Exp");
    assert_string_equal(producer(z)->op->name, "Identity");
    assert_int_equal(node_count(NULL), 2);
}

static void transposes_merge(void **state)
{
    (void)state;
    uint32_t x = X();
    uint32_t a =
        op_in(&graph->main, "Transpose", ATTRIBUTES(INTS_ATTR("perm", 1, 2, 0)), VALUES(x));
    uint32_t b =
        op_in(&graph->main, "Transpose", ATTRIBUTES(INTS_ATTR("perm", 1, 0, 2)), VALUES(a));
    uint32_t c =
        op_in(&graph->main, "Transpose", ATTRIBUTES(INTS_ATTR("perm", 2, 0, 1)), VALUES(a));
    output(b), output(OP("Exp", c));
    simplify();
    assert_int_equal(node_count("Transpose"), 1); // the second pair is the identity
    const weir_attribute_t *perm = weir__node_attribute(producer(b), "perm");
    assert_memory_equal(perm->ints, INTS(2, 1, 0), 3 * sizeof(int64_t));
    DIMS(b, 8, 3, 2);
}

static void reshapes_merge(void **state)
{
    (void)state;
    uint32_t x = X(), y = OP("Reshape", OP("Reshape", x, CONST_INTS(6, 8)), CONST_INTS(3, -1));
    uint32_t z = OP("Reshape", OP("Reshape", x, CONST_INTS(4, 12)), CONST_INTS(0, 2, 6));
    output(y), output(z);
    simplify();
    assert_int_equal(node_count("Reshape"), 3); // z's 0 refers to the first Reshape
    DIMS(y, 3, 16);
    DIMS(z, 4, 2, 6);
}

// ---- Convolutions and batch norm --------------------------------------------------------------

static uint32_t conv(uint32_t x, uint32_t w, uint32_t b)
{
    uint32_t inputs[3] = {x, w, b};
    return op_in(&graph->main, "Conv", NULL, 0, inputs, b == WEIR__NONE ? 2 : 3);
}

static uint32_t batch_norm(uint32_t x, int64_t channels)
{
    return op_in(&graph->main, "BatchNormalization", ATTRIBUTES(FLOAT_ATTR("epsilon", 0.5)),
        VALUES(x, RAMP(1, 1, channels), RAMP(2, 1, channels), RAMP(3, 1, channels),
            RAMP(3.5f, 0, channels)));
}

static const float *input_data(uint32_t value, uint32_t input)
{
    return graph->values[producer(value)->inputs[input]].constant->data;
}

static void conv_takes_batch_norm(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 1, 2, 5, 5);
    uint32_t y = batch_norm(conv(x, RAMP(1, 1, 2, 2, 1, 1), RAMP(1, 1, 2)), 2);
    output(y);
    simplify();
    assert_int_equal(node_count(NULL), 1);
    assert_int_equal(tally("conv-batch-norm"), 1);
    // var + eps = 4, scale = {1, 2} / 2, shift = {2 - 3 / 2, 3 - 4}
    assert_float_equal(input_data(y, 1)[0], 0.5, 0);
    assert_float_equal(input_data(y, 1)[3], 4, 0);
    assert_float_equal(input_data(y, 2)[0], 1 * 0.5 + 0.5, 0);
    assert_float_equal(input_data(y, 2)[1], 2 * 1 - 1, 0);
    assert_int_equal(producer(y)->origin_count, 2);
}

static void conv_transpose_takes_batch_norm(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 1, 4, 5, 5);
    // Two groups of two output channels: [4, 2, 1, 1].
    uint32_t t = op_in(&graph->main, "ConvTranspose", ATTRIBUTES(INT_ATTR("group", 2)),
        VALUES(x, RAMP(1, 0, 4, 2, 1, 1)));
    uint32_t y = OP("Mul", t, RAMP(10, 1, 4, 1, 1));
    output(y);
    simplify();
    assert_int_equal(tally("conv-scale"), 1);
    const float expected[] = {10, 11, 10, 11, 12, 13, 12, 13};
    assert_memory_equal(input_data(y, 1), expected, sizeof expected);
}

static void conv_takes_scale_and_shift(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 1, 2, 5, 5);
    uint32_t y = conv(x, RAMP(1, 1, 2, 2, 1, 1), WEIR__NONE);
    y = OP("Add", RAMP(1, 1, 1, 2, 1, 1), OP("Mul", y, scalar(3)));
    output(y);
    simplify();
    assert_int_equal(node_count(NULL), 1);
    assert_float_equal(input_data(y, 1)[3], 12, 0);
    assert_float_equal(input_data(y, 2)[1], 2, 0);
}

static void conv_near_misses(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 1, 2, 5, 5), w = INPUT("w", WEIR_F32, 2, 2, 1, 1);
    uint32_t a = conv(x, RAMP(1, 1, 2, 2, 1, 1), WEIR__NONE);
    output(OP("Mul", a, scalar(3))), output(a);           // read twice
    output(OP("Mul", conv(x, w, WEIR__NONE), scalar(3))); // weights are not constant
    output(
        OP("Add", conv(x, RAMP(2, 1, 2, 2, 1, 1), WEIR__NONE), RAMP(1, 1, 5))); // along the width
    output(OP("Mul", conv(x, RAMP(3, 1, 2, 2, 1, 1), WEIR__NONE), RAMP(1, 1, 2, 1, 1, 1)));
    simplify();
    assert_int_equal(node_count("Conv"), 4);
    assert_int_equal(node_count("Mul"), 3);
    assert_int_equal(node_count("Add"), 1);
}

// Goal:   a batch norm spelled as BatchNormalization, Mul, Add behind a Concat becomes one Mul and
// one Add.
static void batch_norm_spelled(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 1, 2, 5, 5);
    uint32_t y = OP("Add", OP("Mul", batch_norm(x, 2), RAMP(2, 0, 2, 1, 1)), RAMP(5, 0, 2, 1, 1));
    output(y);
    simplify();
    assert_int_equal(node_count(NULL), 2);
    assert_int_equal(tally("batch-norm-scale"), 1);
    assert_int_equal(tally("batch-norm-shift"), 1);
    assert_int_equal(tally("batch-norm-affine"), 1);
    assert_string_equal(producer(y)->op->name, "Add");
    assert_float_equal(input_data(y, 1)[0], (2 - 1.5) * 2 + 5, 1e-6);
    assert_float_equal(input_data(producer(y)->inputs[0], 1)[1], 2, 1e-6);
}

// ---- Norms ------------------------------------------------------------------------------------

typedef enum { DIVIDE, RECIPROCAL, ONE_OVER } spelling_t;

static uint32_t mean(uint32_t x, uint32_t axes)
{
    return op_in(&graph->main, "ReduceMean", ATTRIBUTES(INT_ATTR("keepdims", 1)), VALUES(x, axes));
}

static uint32_t layer_norm(uint32_t x, uint32_t axes, spelling_t spelling, bool pow, bool again)
{
    uint32_t centre = OP("Sub", x, mean(x, axes));
    uint32_t other = again ? OP("Sub", x, mean(x, axes)) : centre;
    uint32_t squares = pow ? OP("Pow", other, scalar(2)) : OP("Mul", other, other);
    uint32_t root = OP("Sqrt", OP("Add", scalar(1e-5f), mean(squares, axes)));
    if (spelling == DIVIDE)
        return OP("Div", centre, root);
    return OP("Mul", spelling == RECIPROCAL ? OP("Reciprocal", root) : OP("Div", scalar(1), root),
        centre);
}

static void layer_norm_spellings(void **state)
{
    (void)state;
    for (int i = 0; i < 12; i++) {
        another_graph();
        uint32_t x = X(), axes = i & 1 ? CONST_INTS(-1) : CONST_INTS(1, 2);
        uint32_t y = layer_norm(x, axes, (spelling_t)(i % 3), i & 2, i & 4);
        uint32_t scale = i & 1 ? RAMP(1, 1, 8) : RAMP(1, 1, 1, 3, 8);
        uint32_t bias = i & 1 ? RAMP(2, 1, 8) : RAMP(2, 1, 3, 8);
        y = OP("Add", bias, OP("Mul", y, scale));
        output(y);
        simplify();
        assert_int_equal(node_count(NULL), 1);
        const weir__node_t *node = producer(y);
        assert_string_equal(node->op->name, "LayerNormalization");
        assert_int_equal(weir__node_int(node, "axis", 0), i & 1 ? 2 : 1);
        assert_float_equal(weir__node_attribute(node, "epsilon")->f, 1e-5, 1e-9);
        assert_float_equal(input_data(y, 1)[2], 3, 0);
        assert_float_equal(input_data(y, 2)[2], 4, 0);
    }
}

static void layer_norm_near_misses(void **state)
{
    (void)state;
    uint32_t x = X(), z = INPUT("z", WEIR_F32, 2, 3, 8);
    output(layer_norm(x, CONST_INTS(1), DIVIDE, true, false)); // not the last axis
    // The variance is that of another value.
    uint32_t axes = CONST_INTS(2), centre = OP("Sub", x, mean(x, axes));
    uint32_t foreign = OP("Sub", z, mean(z, axes));
    uint32_t variance = mean(OP("Mul", foreign, foreign), axes);
    output(OP("Div", centre, OP("Sqrt", OP("Add", variance, scalar(1e-5f)))));
    // No root.
    uint32_t own = mean(OP("Mul", centre, centre), axes);
    output(OP("Div", centre, OP("Add", own, scalar(1e-5f))));
    // A cube is no square.
    uint32_t cubes = mean(OP("Pow", centre, scalar(3)), axes);
    output(OP("Div", centre, OP("Sqrt", OP("Add", cubes, scalar(1e-5f)))));
    simplify();
    assert_int_equal(node_count("LayerNormalization"), 0);
    assert_int_equal(tally("layer-norm"), 0);
}

// Goal:   a scale that is read along another axis, or a value read twice, is not taken in.
static void layer_norm_scale_near_misses(void **state)
{
    (void)state;
    uint32_t y = layer_norm(X(), CONST_INTS(2), DIVIDE, true, false);
    output(OP("Mul", y, RAMP(1, 1, 3, 1)));
    uint32_t z = layer_norm(INPUT("z", WEIR_F32, 2, 8, 8), CONST_INTS(2), DIVIDE, true, false);
    output(OP("Mul", z, RAMP(1, 1, 8)));
    output(z);
    simplify();
    assert_int_equal(node_count("LayerNormalization"), 2);
    assert_int_equal(node_count("Mul"), 2);
}

static void softmax_axis(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2, 5, 1, 1), z = INPUT("z", WEIR_F32, 2, 5, 7);
    uint32_t a = op_in(
        &graph->main, "Softmax", ATTRIBUTES(INT_ATTR("axis", 1), INT_ATTR("coerce", 1)), VALUES(x));
    uint32_t b = op_in(
        &graph->main, "Softmax", ATTRIBUTES(INT_ATTR("axis", 1), INT_ATTR("coerce", 1)), VALUES(z));
    output(a), output(b);
    simplify();
    assert_int_equal(weir__node_int(producer(a), "coerce", -1), 0);
    assert_int_equal(weir__node_int(producer(a), "axis", -1), 1);
    assert_int_equal(weir__node_int(producer(b), "coerce", -1), 1);
}

// ---- Activations ------------------------------------------------------------------------------

static void gelu_spellings(void **state)
{
    (void)state;
    for (int i = 0; i < 8; i++) {
        another_graph();
        uint32_t x = OP("Mul", X(), INPUT("z", WEIR_F32, 2, 3, 8)); // a product itself
        uint32_t erf = OP(
            "Erf", i & 1 ? OP("Div", x, scalar(1.41421356f)) : OP("Mul", scalar(0.70710678f), x));
        uint32_t sum = i & 2 ? OP("Add", erf, scalar(1)) : OP("Add", scalar(1), erf);
        uint32_t y = i & 4 ? OP("Mul", OP("Mul", x, scalar(0.5f)), sum)
                           : OP("Mul", scalar(0.5f), OP("Mul", sum, x));
        output(y);
        simplify();
        assert_int_equal(tally("gelu"), 1);
        assert_int_equal(node_count(NULL), 2);
    }
}

static void gelu_near_misses(void **state)
{
    (void)state;
    uint32_t x = X(), z = INPUT("z", WEIR_F32, 2, 3, 8);
    uint32_t sum = OP("Add", OP("Erf", OP("Div", x, scalar(1.41421356f))), scalar(1));
    output(OP("Mul", OP("Mul", x, scalar(0.6f)), sum)); // not a half
    output(OP("Mul", OP("Mul", z, scalar(0.5f)), sum)); // erf of another value
    uint32_t two = OP("Add", OP("Erf", OP("Div", x, scalar(1.5f))), scalar(1));
    output(OP("Mul", OP("Mul", x, scalar(0.5f)), two)); // not the root of 2
    output(OP("Mul", x, sum));                          // no half
    simplify();
    assert_int_equal(node_count("Gelu"), 0);
}

static void gelu_tanh(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        another_graph();
        uint32_t x = X();
        uint32_t cube = i & 1 ? OP("Pow", x, scalar(3)) : OP("Mul", x, OP("Mul", x, x));
        uint32_t inner = OP("Add", OP("Mul", cube, scalar(0.044715f)), x);
        float factor = i & 2 ? 0.7978845608f : 0.9f;
        uint32_t tanh_ = OP("Tanh", OP("Mul", inner, scalar(factor)));
        output(OP("Mul", OP("Mul", scalar(0.5f), x), OP("Add", scalar(1), tanh_)));
        simplify();
        assert_int_equal(node_count("GeluTanh"), i & 2 ? 1 : 0);
        assert_int_equal(node_count(NULL) == 1, (i & 2) != 0);
    }
}

static uint32_t clip3(uint32_t x, float shift, float low, float high)
{
    return OP("Clip", OP("Add", x, scalar(shift)), scalar(low), scalar(high));
}

static void hard_swish_spellings(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++) {
        another_graph();
        uint32_t x = X(), clip = clip3(x, 3, 0, 6), sixth = scalar(1.0f / 6), y;
        weir_attribute_t hard[2] = {FLOAT_ATTR("alpha", 1.0f / 6), FLOAT_ATTR("beta", 0.5)};
        if (i == 0)
            y = OP("Div", OP("Mul", x, clip), scalar(6));
        else if (i == 1)
            y = OP("Mul", OP("Div", clip, scalar(6)), x);
        else if (i == 2)
            y = OP("Mul", OP("Mul", clip, x), sixth);
        else if (i == 3)
            y = OP("Mul", x, OP("Mul", sixth, clip));
        else if (i == 4)
            y = OP("Mul", op_in(&graph->main, "HardSigmoid", hard, 2, VALUES(x)), x);
        else
            y = OP("Mul", clip, OP("Div", x, scalar(6)));
        output(y);
        simplify();
        assert_int_equal(node_count("HardSwish"), 1);
        assert_int_equal(node_count(NULL), 1);
    }
}

static void hard_swish_near_misses(void **state)
{
    (void)state;
    uint32_t x = X(), z = INPUT("z", WEIR_F32, 2, 3, 8);
    weir_attribute_t hard[2] = {FLOAT_ATTR("alpha", 0.2), FLOAT_ATTR("beta", 0.5)};
    output(OP("Div", OP("Mul", x, clip3(x, 3, 0, 5)), scalar(6)));
    output(OP("Div", OP("Mul", x, clip3(x, 2, 0, 6)), scalar(6)));
    output(OP("Div", OP("Mul", x, clip3(x, 3, 0, 6)), scalar(5)));
    output(OP("Div", OP("Mul", z, clip3(x, 3, 0, 6)), scalar(6)));
    output(OP("Mul", op_in(&graph->main, "HardSigmoid", hard, 2, VALUES(x)), x));
    output(OP("Div", scalar(6), OP("Mul", x, clip3(x, 3, 0, 6))));
    simplify();
    assert_int_equal(node_count("HardSwish"), 0);
}

static void hard_sigmoid(void **state)
{
    (void)state;
    uint32_t y = OP("Div", clip3(X(), 3, 0, 6), scalar(6));
    output(y);
    simplify();
    assert_int_equal(node_count(NULL), 1);
    assert_float_equal(weir__node_attribute(producer(y), "alpha")->f, 1.0 / 6, 1e-7);
}

static void clip_relu(void **state)
{
    (void)state;
    uint32_t x = X();
    output(OP("Clip", x, scalar(0), scalar(INFINITY)));
    output(OP("Clip", x, scalar(0), scalar(6)));
    output(OP("Clip", x, scalar(-1), scalar(INFINITY)));
    simplify();
    assert_int_equal(node_count("Relu"), 1);
    assert_int_equal(node_count("Clip"), 2);
}

static void pow_types(void **state)
{
    (void)state;
    uint32_t x = X(), i = INPUT("i", WEIR_I64, 3, 8), y = OP("Pow", x, i), z = OP("Pow", i, x);
    output(y), output(z), output(OP("Pow", x, scalar(2)));
    simplify();
    assert_int_equal(node_count("Cast"), 2); // one of i, shared, and one back to i64
    assert_int_equal(node_count("Mul"), 1);
    assert_int_equal(graph->values[y].type.dtype, WEIR_F32);
    assert_int_equal(graph->values[z].type.dtype, WEIR_I64);
}

static void attributes_filled(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 1, 2, 5, 5);
    uint32_t y = conv(x, RAMP(1, 1, 2, 2, 3, 3), WEIR__NONE), t = OP("Transpose", x);
    uint32_t s = op_in(&graph->main, "Softmax", ATTRIBUTES(INT_ATTR("axis", -2)), VALUES(x));
    output(y), output(t), output(s);
    simplify();
    assert_int_equal(weir__node_attribute(producer(y), "kernel_shape")->ints[1], 3);
    assert_int_equal(weir__node_attribute(producer(y), "pads")->count, 4);
    assert_int_equal(weir__node_attribute(producer(t), "perm")->ints[0], 3);
    assert_int_equal(weir__node_int(producer(s), "axis", 0), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, graph_setup, graph_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {TEST(fold_chain), TEST(fold_limits), TEST(fold_total_limit),
        TEST(fold_unsupported_once), TEST(fold_shapes), TEST(if_inlined), TEST(if_kept),
        TEST(dead_removed), TEST(share_equal_nodes), TEST(no_ops_go), TEST(no_ops_near_misses),
        TEST(no_op_outputs), TEST(transposes_merge), TEST(reshapes_merge),
        TEST(conv_takes_batch_norm), TEST(conv_transpose_takes_batch_norm),
        TEST(conv_takes_scale_and_shift), TEST(conv_near_misses), TEST(batch_norm_spelled),
        TEST(layer_norm_spellings), TEST(layer_norm_near_misses),
        TEST(layer_norm_scale_near_misses), TEST(softmax_axis), TEST(gelu_spellings),
        TEST(gelu_near_misses), TEST(gelu_tanh), TEST(hard_swish_spellings),
        TEST(hard_swish_near_misses), TEST(hard_sigmoid), TEST(clip_relu), TEST(pow_types),
        TEST(attributes_filled)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
