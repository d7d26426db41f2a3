// tests/unit/graph_attention_test.c: Attention: what the rules make of spelled-out forms, near
// misses that they must leave alone, and the shapes of the operator.
#include "tests/unit/graph_support.h"

#include "engine/base/status.h"

#define PERM(x, ...)                                                                               \
    op_in(&graph->main, "Transpose", ATTRIBUTES(INTS_ATTR("perm", __VA_ARGS__)), VALUES(x))

static uint32_t softmax(uint32_t x, int64_t axis)
{
    weir_attribute_t attributes[2] = {INT_ATTR("axis", axis), INT_ATTR("coerce", 0)};
    return op_in(&graph->main, "Softmax", attributes, 2, VALUES(x));
}

static uint32_t bhsd(const char *name, int64_t length, int64_t width)
{
    return INPUT(name, WEIR_F32, 2, 3, length, width);
}

// The pieces of most tests: [B, H, S, D] with S = 5, T = 7, D = 4, Dv = 6.
#define PIECES()                                                                                   \
    uint32_t q = bhsd("q", 5, 4), k = bhsd("k", 7, 4), v = bhsd("v", 7, 6);                        \
    uint32_t scores = OP("MatMul", q, PERM(k, 0, 1, 3, 2))

static const char *text_of(const weir__node_t *node, const char *name)
{
    return weir__node_attribute(node, name)->s;
}

static double scale_of(const weir__node_t *node)
{
    return weir__node_attribute(node, "scale")->f;
}

// y is an Attention, and the only node.
static const weir__node_t *alone(uint32_t y)
{
    output(y);
    simplify();
    assert_int_equal(node_count(NULL), 1);
    assert_int_equal(node_count("Attention"), 1);
    return producer(y);
}

static void kept(uint32_t y)
{
    output(y);
    simplify();
    assert_int_equal(node_count("Attention"), 0);
    assert_int_equal(node_count("Softmax"), 1);
}

static void plain(void **state)
{
    (void)state;
    PIECES();
    uint32_t y = OP("MatMul", softmax(scores, 3), v);
    const weir__node_t *node = alone(y);
    DIMS(y, 2, 3, 5, 6);
    assert_int_equal(node->input_count, 3);
    assert_int_equal(node->inputs[0], q);
    assert_int_equal(node->inputs[1], k);
    assert_int_equal(node->inputs[2], v);
    assert_string_equal(text_of(node, "q_layout"), "bhsd");
    assert_string_equal(text_of(node, "k_layout"), "bhsd");
    assert_string_equal(text_of(node, "y_layout"), "bhsd");
    assert_float_equal(scale_of(node), 1, 0);
    assert_int_equal(tally("attention"), 1);
}

// Goal:   a scale is found wherever it stands, and several are multiplied.
static void scales(void **state)
{
    (void)state;
    for (int which = 0; which < 5; which++) {
        another_graph();
        uint32_t q = bhsd("q", 5, 4), k = bhsd("k", 7, 4), v = bhsd("v", 7, 6);
        uint32_t kt =
            which == 1 ? PERM(OP("Mul", scalar(0.5f), k), 0, 1, 3, 2) : PERM(k, 0, 1, 3, 2);
        uint32_t scores = OP("MatMul", which == 0 || which == 4 ? OP("Div", q, scalar(2)) : q,
            which == 4 ? OP("Mul", kt, scalar(4)) : kt);
        scores = which == 2 ? OP("Mul", scores, scalar(0.5f)) : scores;
        scores = which == 3 ? OP("Div", scores, scalar(2)) : scores;
        const weir__node_t *node = alone(OP("MatMul", softmax(scores, -1), v));
        assert_float_equal(scale_of(node), which == 4 ? 2 : 0.5, 0);
        assert_int_equal(node->inputs[0], q);
        assert_int_equal(node->inputs[1], k);
    }
}

static void masks(void **state)
{
    (void)state;
    PIECES();
    uint32_t mask = INPUT("mask", WEIR_F32, 2, 1, 1, 7);
    scores = OP("Add", mask, OP("Div", scores, scalar(4)));
    const weir__node_t *node = alone(OP("MatMul", softmax(scores, 3), v));
    assert_int_equal(node->input_count, 4);
    assert_int_equal(node->inputs[3], mask);
    assert_float_equal(scale_of(node), 0.25, 0);
}

// Goal:   what is scaled after the mask was added scales the mask.
static void mask_before_scale(void **state)
{
    (void)state;
    PIECES();
    uint32_t mask = INPUT("mask", WEIR_F32, 7), y;
    scores = OP("Mul", OP("Add", OP("Mul", scores, scalar(3)), mask), scalar(0.5f));
    output(y = OP("MatMul", softmax(scores, 3), v));
    simplify();
    assert_int_equal(node_count(NULL), 2);
    assert_string_equal(producer(y)->op->name, "Attention");
    assert_float_equal(scale_of(producer(y)), 1.5, 0);
    const weir__node_t *mul = producer(producer(y)->inputs[3]);
    assert_string_equal(mul->op->name, "Mul");
    assert_int_equal(mul->inputs[0], mask);
    assert_float_equal(element(graph->values[mul->inputs[1]].constant, 0), 0.5, 0);
}

// Goal:   Transposes of heads vanish, into inputs and output.
static void transposes(void **state)
{
    (void)state;
    uint32_t q = INPUT("q", WEIR_F32, 2, 5, 3, 4), k = INPUT("k", WEIR_F32, 2, 7, 3, 4),
             v = INPUT("v", WEIR_F32, 2, 7, 3, 6);
    uint32_t scores = OP("MatMul", PERM(q, 0, 2, 1, 3), PERM(k, 0, 2, 3, 1));
    uint32_t y = OP("MatMul", softmax(scores, 3), PERM(v, 0, 2, 1, 3));
    uint32_t z = PERM(y, 0, 2, 1, 3);
    const weir__node_t *node = alone(z);
    DIMS(z, 2, 5, 3, 6);
    assert_int_equal(node->inputs[1], k);
    assert_string_equal(text_of(node, "q_layout"), "bshd");
    assert_string_equal(text_of(node, "k_layout"), "bshd");
    assert_string_equal(text_of(node, "v_layout"), "bshd");
    assert_string_equal(text_of(node, "y_layout"), "bshd");
}

// Goal:   an output that is read twice, or whose rows would fall apart, keeps its Transpose.
static void output_transpose_near_misses(void **state)
{
    (void)state;
    PIECES();
    uint32_t y = OP("MatMul", softmax(scores, 3), v);
    output(y), output(PERM(y, 0, 2, 1, 3));
    uint32_t q2 = bhsd("q2", 5, 4);
    uint32_t other = OP("MatMul", softmax(OP("MatMul", q2, PERM(k, 0, 1, 3, 2)), 3), v);
    output(PERM(other, 0, 1, 3, 2));
    simplify();
    assert_int_equal(node_count("Attention"), 2);
    assert_int_equal(node_count("Transpose"), 2);
}

// Goal:   Q, K and V cut out of one projection: by Slice and Squeeze, and by Gather.
static void packed(void **state)
{
    (void)state;
    for (int gather = 0; gather < 2; gather++) {
        another_graph();
        uint32_t x = INPUT("x", WEIR_F32, sym("b"), sym("s"), 3, 8, 15);
        uint32_t turned = PERM(x, 2, 0, 3, 1, 4), part[3], index;
        for (int64_t i = 0; i < 3; i++) {
            OK(weir__graph_add_constant(graph, NULL, WEIR_I64, 0, NULL, &i, true, &index));
            uint32_t slice = gather ? 0
                                    : OP("Slice", turned, CONST_INTS(i), CONST_INTS(i + 1),
                                          CONST_INTS(0), CONST_INTS(1));
            part[i] = gather ? OP("Gather", turned, index) : OP("Squeeze", slice, CONST_INTS(0));
        }
        uint32_t scores =
            OP("MatMul", OP("Mul", part[0], scalar(0.25f)), PERM(part[1], 0, 1, 3, 2));
        const weir__node_t *node =
            alone(PERM(OP("MatMul", softmax(scores, 3), part[2]), 0, 2, 1, 3));
        for (uint32_t i = 0; i < 3; i++)
            assert_int_equal(node->inputs[i], x);
        assert_string_equal(text_of(node, "v_layout"), "bsphd");
        assert_string_equal(text_of(node, "y_layout"), "bshd");
        assert_int_equal(weir__node_int(node, "q_part", 9), 0);
        assert_int_equal(weir__node_int(node, "k_part", 9), 1);
        assert_int_equal(weir__node_int(node, "v_part", 9), 2);
        assert_float_equal(scale_of(node), 0.25, 0);
    }
}

// Goal:   a cut of two parts, or one at a place that is not known to exist, stays a cut.
static void packed_near_misses(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, sym("n"), 2, 3, 7, 4), q = bhsd("q", 5, 4);
    uint32_t slice = OP("Slice", x, CONST_INTS(1), CONST_INTS(2), CONST_INTS(0), CONST_INTS(1));
    uint32_t k = OP("Squeeze", slice, CONST_INTS(0));
    uint32_t y = OP("MatMul", softmax(OP("MatMul", q, PERM(k, 0, 1, 3, 2)), 3), bhsd("v", 7, 6));
    output(y);
    simplify();
    assert_int_equal(node_count("Attention"), 1);
    assert_int_equal(node_count("Slice"), 1);
    assert_string_equal(text_of(producer(y), "k_layout"), "bhsd");
}

static void two_and_three_axes(void **state)
{
    (void)state;
    uint32_t q = INPUT("q", WEIR_F32, 5, 4), k = INPUT("k", WEIR_F32, 4, 7),
             v = INPUT("v", WEIR_F32, 7, 6), q3 = INPUT("q3", WEIR_F32, 3, 5, 4),
             k3 = INPUT("k3", WEIR_F32, 3, 7, 4), v3 = INPUT("v3", WEIR_F32, 3, 7, 6);
    uint32_t y = OP("MatMul", softmax(OP("MatMul", q, k), 1), v);
    uint32_t y3 = OP("MatMul", softmax(OP("MatMul", q3, PERM(k3, 0, 2, 1)), -1), v3);
    output(y), output(y3);
    simplify();
    assert_int_equal(node_count(NULL), 2);
    DIMS(y, 5, 6);
    DIMS(y3, 3, 5, 6);
    assert_string_equal(text_of(producer(y), "k_layout"), "ds");
    assert_string_equal(text_of(producer(y3), "k_layout"), "hsd");
}

// ---- Near misses ------------------------------------------------------------------------------

static void another_axis(void **state)
{
    (void)state;
    PIECES();
    kept(OP("MatMul", softmax(scores, 2), v));
}

static void coerced(void **state)
{
    (void)state;
    PIECES();
    weir_attribute_t attributes[2] = {INT_ATTR("axis", 2), INT_ATTR("coerce", 1)};
    kept(OP("MatMul", op_in(&graph->main, "Softmax", attributes, 2, VALUES(scores)), v));
}

// Goal:   probabilities, or scores, that somebody else reads have to exist.
static void read_twice(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        another_graph();
        PIECES();
        uint32_t scaled = OP("Mul", scores, scalar(0.5f)), p = softmax(scaled, 3);
        output(which == 0 ? p : OP("Exp", which == 1 ? scaled : scores));
        kept(OP("MatMul", p, v));
    }
}

static void scale_is_no_scalar(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        another_graph();
        PIECES();
        uint32_t by = which == 0 ? RAMP(1, 1, 7) : which == 1 ? INPUT("s", WEIR_F32, 1) : scalar(0);
        kept(OP("MatMul", softmax(OP("Mul", scores, by), 3), v));
    }
    another_graph();
    PIECES();
    kept(OP("MatMul", softmax(OP("Div", scalar(1), scores), 3), v));
}

// Goal:   a vector that scales Q stays before the node.
static void vector_at_q(void **state)
{
    (void)state;
    uint32_t q = bhsd("q", 5, 4), k = bhsd("k", 7, 4), v = bhsd("v", 7, 6);
    uint32_t scores = OP("MatMul", OP("Mul", q, RAMP(1, 1, 4)), PERM(k, 0, 1, 3, 2));
    output(OP("MatMul", softmax(scores, 3), v));
    simplify();
    assert_int_equal(node_count("Attention"), 1);
    assert_int_equal(node_count("Mul"), 1);
}

static void mask_near_misses(void **state)
{
    (void)state;
    for (int which = 0; which < 3; which++) {
        another_graph();
        PIECES();
        uint32_t c = INPUT("c", WEIR_BOOL, 5, 7), mask = INPUT("mask", WEIR_F32, 5, 7);
        if (which == 0) // not an addition
            scores = OP("Where", c, scores, scalar(-1e9f));
        if (which == 1) // two of them
            scores = OP("Add", OP("Add", scores, mask), INPUT("bias", WEIR_F32, 3, 5, 7));
        if (which == 2) // subtracted
            scores = OP("Sub", mask, scores);
        kept(OP("MatMul", softmax(scores, 3), v));
    }
    // Makes the scores larger.
    another_graph();
    uint32_t q = INPUT("q", WEIR_F32, 1, 3, 5, 4), k = INPUT("k", WEIR_F32, 1, 3, 4, 7);
    uint32_t scores = OP("Add", OP("MatMul", q, k), INPUT("mask", WEIR_F32, 2, 1, 1, 7));
    kept(OP("MatMul", softmax(scores, 3), bhsd("v", 7, 6)));
}

// Goal:   heads that MatMul would broadcast, weights instead of K or V, a product on the other
//         side: all left to MatMul.
static void operands_near_misses(void **state)
{
    (void)state;
    for (int which = 0; which < 4; which++) {
        another_graph();
        uint32_t q = bhsd("q", 7, 4);
        uint32_t k = which == 0   ? INPUT("k", WEIR_F32, 2, 1, 4, 7)
                     : which == 1 ? RAMP(0, 1, 2, 3, 4, 7)
                                  : INPUT("k", WEIR_F32, 2, 3, 4, 7);
        uint32_t v = which == 2 ? RAMP(0, 1, 2, 3, 7, 7) : bhsd("v", 7, 7);
        uint32_t p = softmax(OP("MatMul", q, k), 3);
        kept(which == 3 ? OP("MatMul", v, p) : OP("MatMul", p, v));
    }
}

static void other_dtype(void **state)
{
    (void)state;
    uint32_t q = INPUT("q", WEIR_F16, 5, 4), k = INPUT("k", WEIR_F16, 4, 7),
             v = INPUT("v", WEIR_F16, 7, 6);
    kept(OP("MatMul", softmax(OP("MatMul", q, k), 1), v));
}

// ---- Shapes -----------------------------------------------------------------------------------

static uint32_t attention(
    const char *q_layout, const char *y_layout, int64_t part, uint32_t q, uint32_t k, uint32_t mask)
{
    weir_attribute_t attributes[8] = {FLOAT_ATTR("scale", 1), TEXT_ATTR("q_layout", q_layout),
        TEXT_ATTR("k_layout", "bhsd"), TEXT_ATTR("v_layout", "bhsd"),
        TEXT_ATTR("y_layout", y_layout), INT_ATTR("q_part", part), INT_ATTR("k_part", 0),
        INT_ATTR("v_part", 0)};
    uint32_t inputs[4] = {q, k, k, mask}, y;
    output(y = op_in(&graph->main, "Attention", attributes, 8, inputs, mask == WEIR__NONE ? 3 : 4));
    return y;
}

static void shapes(void **state)
{
    (void)state;
    int64_t b = sym("b"), s = sym("s");
    uint32_t q = INPUT("q", WEIR_F32, b, s, 3, 3, 4), k = INPUT("k", WEIR_F32, b, 3, 7, 4);
    uint32_t y = attention("bsphd", "sbhd", 2, q, k, INPUT("m", WEIR_F32, s, 1));
    prepare();
    DIMS(y, s, b, 3, 4);
}

static void shapes_refused(void **state)
{
    (void)state;
    static const struct {
        const char *q_layout, *y_layout;
        int64_t part, heads, width;
        int64_t mask;
        const char *text;
    } cases[] = {
        {"bshx", "bshd", 0, 3, 4, 7, "q_layout"},
        {"bshh", "bshd", 0, 3, 4, 7, "q_layout"},
        {"bshd", "bshp", 0, 3, 4, 7, "y_layout"},
        {"bshd", "bhsdb", 0, 3, 4, 7, "y_layout"},
        {"shd", "bshd", 0, 3, 4, 7, "rank"},
        {"bphsd", "bshd", 0, 3, 4, 7, "rank"},
        {"pshd", "bshd", 2, 3, 4, 7, "q_part"},
        {"pshd", "bshd", -1, 3, 4, 7, "q_part"},
        {"bshd", "bshd", 0, 2, 4, 7, "heads"},
        {"bshd", "bshd", 0, 3, 5, 7, "widths"},
        {"bshd", "bshd", 0, 3, 4, 5, "mask"},
        {"bshd", "bsd", 0, 3, 4, 7, "leaves out"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        another_graph();
        uint32_t q = INPUT("q", WEIR_F32, 2, 5, cases[i].heads, cases[i].width);
        uint32_t k = INPUT("k", WEIR_F32, 2, 3, 7, 4);
        attention(cases[i].q_layout, cases[i].y_layout, cases[i].part, q, k,
            INPUT("m", WEIR_F32, cases[i].mask));
        OK(weir__graph_verify(graph));
        REFUSED(weir__graph_infer(graph), WEIR_INVALID_ARGUMENT, cases[i].text);
    }
}

// Goal:   broadcasting what went into a size once more gives that size again, so that a mask of the
//         length of the ids fits scores of the length of the ids and positions.
static void broadcast_absorbs(void **state)
{
    (void)state;
    int64_t n = sym("n"), m = sym("m");
    uint32_t a = INPUT("a", WEIR_F32, n), b = INPUT("b", WEIR_F32, m);
    uint32_t ab = OP("Add", a, b), aba = OP("Add", ab, a), bab = OP("Mul", b, ab);
    uint32_t c = OP("Add", ab, INPUT("c", WEIR_F32, sym("k")));
    output(aba), output(bab), output(c);
    prepare();
    int64_t both = graph->values[ab].type.dims[0];
    assert_true(both != n && both != m);
    DIMS(aba, both);
    DIMS(bab, both);
    assert_true(graph->values[c].type.dims[0] != both);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, graph_setup, graph_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {TEST(plain), TEST(scales), TEST(masks),
        TEST(mask_before_scale), TEST(transposes), TEST(output_transpose_near_misses), TEST(packed),
        TEST(packed_near_misses), TEST(two_and_three_axes), TEST(another_axis), TEST(coerced),
        TEST(read_twice), TEST(scale_is_no_scalar), TEST(vector_at_q), TEST(mask_near_misses),
        TEST(operands_near_misses), TEST(other_dtype), TEST(shapes), TEST(shapes_refused),
        TEST(broadcast_absorbs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
