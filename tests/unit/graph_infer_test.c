// tests/unit/graph_infer_test.c: inference by family, on symbols at load and on numbers at run
// time.
#include "tests/unit/graph_support.h"

#include "engine/base/status.h"

#define IS_SYMBOL(value, axis) assert_true(graph->values[value].type.dims[axis] < 0)

static void check(weir_code_t code, const char *text, int line)
{
    OK(weir__graph_verify(graph));
    refused_at(weir__graph_infer(graph), code, text, line);
}
#define INFER_REFUSED(text) check(WEIR_INVALID_ARGUMENT, text, __LINE__)

static int64_t dim(uint32_t value, uint32_t axis)
{
    return graph->values[value].type.dims[axis];
}

// ---- Elementwise ------------------------------------------------------------------------------

static void pointwise_broadcast(void **state)
{
    (void)state;
    int64_t n = sym("n"), m = sym("m");
    uint32_t a = INPUT("a", WEIR_F32, n, 1, 4), b = INPUT("b", WEIR_F32, 3, 1),
             c = INPUT("c", WEIR_F32, m, 1, 4);
    uint32_t ab = OP("Add", a, b), ac = OP("Mul", a, c), ca = OP("Max", c, a);
    uint32_t less = OP("Less", a, b), five = OP("Add", a, INPUT("f", WEIR_F32, 5, 1, 1));
    output(ab), output(ac), output(ca), output(less), output(five);
    prepare();
    DIMS(ab, n, 3, 4);
    IS_SYMBOL(ac, 0);
    assert_true(dim(ac, 0) != n && dim(ac, 0) != m);
    assert_int_equal(dim(ac, 0), dim(ca, 0)); // the same computation, the same symbol
    assert_int_equal(graph->values[less].type.dtype, WEIR_BOOL);
    DIMS(five, 5, 1, 4);
}

static void pointwise_refuses_shapes(void **state)
{
    (void)state;
    output(OP("Add", INPUT("a", WEIR_F32, 2, 3), INPUT("b", WEIR_F32, 4)));
    INFER_REFUSED("shapes do not broadcast: f32 [2, 3] and f32 [4]");
}

static void pointwise_refuses_dtypes(void **state)
{
    (void)state;
    output(OP("Add", INPUT("a", WEIR_F32, 2), INPUT("b", WEIR_I64, 2)));
    INFER_REFUSED("(Add): input 0 is f32, but input 1 is i64");
}

static void pointwise_refuses_dtype(void **state)
{
    (void)state;
    output(OP("Sqrt", INPUT("a", WEIR_I64, 2)));
    INFER_REFUSED("input 0 cannot be i64");
}

static void pointwise_where_and_cast(void **state)
{
    (void)state;
    uint32_t c = INPUT("c", WEIR_BOOL, 2, 1), a = INPUT("a", WEIR_I64, 3);
    uint32_t y = OP("Where", c, a, INPUT("b", WEIR_I64, 1));
    uint32_t z = op_in(&graph->main, "Cast", ATTRIBUTES(INT_ATTR("to", WEIR_F16)), VALUES(y));
    output(z);
    prepare();
    DIMS(y, 2, 3);
    assert_int_equal(graph->values[y].type.dtype, WEIR_I64);
    assert_int_equal(graph->values[z].type.dtype, WEIR_F16);
}

static void pointwise_prelu(void **state)
{
    (void)state;
    output(OP("PRelu", INPUT("a", WEIR_F32, 3), INPUT("b", WEIR_F32, 2, 3)));
    INFER_REFUSED("does not broadcast to the input");
}

// ---- Shapes -----------------------------------------------------------------------------------

// Goal:   Shape -> Gather -> Mul -> Concat -> Reshape keeps every size that can be told.
static void shape_arithmetic(void **state)
{
    (void)state;
    int64_t n = sym("n"), h = sym("h");
    uint32_t x = INPUT("x", WEIR_F32, n, 6, h, 5), shape = OP("Shape", x);
    uint32_t batch = OP("Gather", shape, CONST_INTS(0)),
             height = OP("Gather", shape, CONST_INTS(-2));
    uint32_t twice = OP("Mul", height, CONST_INTS(2));
    uint32_t sizes = op_in(&graph->main, "Concat", ATTRIBUTES(INT_ATTR("axis", 0)),
        VALUES(batch, CONST_INTS(3, 5), twice));
    uint32_t y = OP("Reshape", x, sizes);
    uint32_t rest = op_in(
        &graph->main, "Concat", ATTRIBUTES(INT_ATTR("axis", 0)), VALUES(batch, CONST_INTS(-1)));
    uint32_t z = OP("Reshape", x, rest), back = OP("Reshape", z, shape);
    output(y), output(z), output(back);
    prepare();
    assert_int_equal(dim(y, 0), n);
    DIMS(y, n, 3, 5, dim(y, 3));
    IS_SYMBOL(y, 3);
    assert_true(dim(y, 3) != h);
    IS_SYMBOL(z, 1);
    DIMS(back, n, 6, h, 5);
}

static void shape_reshape(void **state)
{
    (void)state;
    int64_t n = sym("n"), s = sym("s");
    uint32_t x = INPUT("x", WEIR_F32, n, s, 12);
    uint32_t heads = OP("Reshape", x, CONST_INTS(0, 0, 3, -1)),
             flat = OP("Reshape", x, CONST_INTS(-1, 12));
    uint32_t again = OP("Reshape", x, CONST_INTS(-1, 6)), all = OP("Reshape", x, CONST_INTS(-1));
    uint32_t odd = OP("Reshape", x, CONST_INTS(-1, 5)), same = OP("Reshape", x, CONST_INTS(-1, 5));
    output(heads), output(flat), output(again), output(all), output(odd), output(same);
    prepare();
    DIMS(heads, n, s, 3, 4);
    IS_SYMBOL(flat, 0);
    assert_true(dim(flat, 0) != dim(again, 0) && dim(all, 0) != dim(flat, 0));
    assert_int_equal(dim(odd, 0), dim(same, 0));
}

static void shape_reshape_refuses(void **state)
{
    (void)state;
    output(OP("Reshape", INPUT("x", WEIR_F32, 2, 3), CONST_INTS(4, -1)));
    INFER_REFUSED("6 elements cannot be divided by 4");
    another_graph();
    output(OP("Reshape", INPUT("x", WEIR_F32, 2, 3), CONST_INTS(7)));
    INFER_REFUSED("f32 [2, 3] has 6 elements, the new shape f32 [7] has 7");
    another_graph();
    output(OP("Reshape", INPUT("x", WEIR_F32, 2, 3), CONST_INTS(-1, -1)));
    INFER_REFUSED("size 1 of the new shape is -1");
    another_graph();
    output(OP("Reshape", INPUT("x", WEIR_F32, 0, 3), CONST_INTS(0, -1)));
    INFER_REFUSED("another size is 0");
}

static void shape_squeeze(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 1, 4), y = OP("Squeeze", x, CONST_INTS(-2));
    uint32_t z = OP("Unsqueeze", y, CONST_INTS(0, -1)), unknown = OP("Squeeze", x);
    output(z), output(unknown);
    prepare();
    DIMS(y, n, 4);
    DIMS(z, 1, n, 4, 1);
    assert_int_equal(graph->values[unknown].type.rank, -1);
    another_graph();
    output(OP("Squeeze", INPUT("x", WEIR_F32, 2, 3), CONST_INTS(1)));
    INFER_REFUSED("axis 1 of f32 [2, 3] is not of size 1");
}

static void shape_expand_where_equal(void **state)
{
    (void)state;
    // How an exporter spells expand(-1, 4, -1): the -1 are replaced by ones.
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 1, 5), sizes = CONST_INTS(-1, 4, -1);
    uint32_t ones = OP("ConstantOfShape", OP("Shape", sizes), CONST_INTS(1));
    uint32_t y = OP("Expand", x, OP("Where", OP("Equal", sizes, CONST_INTS(-1)), ones, sizes));
    output(y);
    prepare();
    DIMS(y, n, 4, 5);
}

static void shape_range_tile(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 3);
    int64_t zero = 0, one = 1, seven = 7, minus = -3;
    uint32_t c[4];
    const int64_t *numbers[4] = {&zero, &one, &seven, &minus};
    for (int i = 0; i < 4; i++)
        OK(weir__graph_add_constant(graph, NULL, WEIR_I64, 0, NULL, numbers[i], true, &c[i]));
    uint32_t up = OP("Range", c[0], OP("Gather", OP("Shape", x), c[0]), c[1]);
    uint32_t down = OP("Range", c[2], c[0], c[3]), tiled = OP("Tile", x, CONST_INTS(2, 4));
    uint32_t fraction = OP("Range", scalar(0), scalar(1), scalar(0.3f));
    output(up), output(down), output(tiled), output(fraction);
    prepare();
    DIMS(up, n);
    DIMS(down, 3); // 7, 4, 1
    assert_int_equal(graph->values[down].shape->elements[2], 1);
    assert_int_equal(dim(tiled, 1), 12);
    IS_SYMBOL(tiled, 0);
    DIMS(fraction, 4);
}

// ---- Movement ---------------------------------------------------------------------------------

static void move_slice(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 10);
    uint32_t a = OP("Slice", x, CONST_INTS(1), CONST_INTS(-1), CONST_INTS(1), CONST_INTS(3));
    uint32_t b =
        OP("Slice", x, CONST_INTS(-1), CONST_INTS(INT64_MIN), CONST_INTS(-1), CONST_INTS(-4));
    uint32_t c = OP("Slice", x, CONST_INTS(0), CONST_INTS(INT64_MAX), CONST_INTS(0));
    uint32_t d = OP("Slice", x, CONST_INTS(0), CONST_INTS(4), CONST_INTS(0));
    uint32_t e = OP("Slice", x, CONST_INTS(8), CONST_INTS(3), CONST_INTS(1));
    output(a), output(b), output(c), output(d), output(e);
    prepare();
    DIMS(a, n, 3);
    DIMS(b, n, 3);
    DIMS(c, n, 10);
    IS_SYMBOL(d, 0);
    assert_true(dim(d, 0) != n);
    DIMS(e, n, 0);
}

static void move_concat_split(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 4), z = INPUT("z", WEIR_F32, 7, 5), node, parts[3];
    uint32_t wide = op_in(&graph->main, "Concat", ATTRIBUTES(INT_ATTR("axis", -1)), VALUES(x, z));
    for (int i = 0; i < 3; i++)
        OK(weir__graph_add_value(graph, "part", &parts[i]));
    OK(weir__graph_add_node(graph, &graph->main, weir__op_find("Split", 1), &wide, 1, parts, 3,
        ATTRIBUTES(INT_ATTR("axis", 1)), "s", &node));
    output(parts[2]);
    prepare();
    DIMS(wide, 7, 9);
    DIMS(parts[0], 7, 3);
    another_graph();
    output(op_in(&graph->main, "Concat", ATTRIBUTES(INT_ATTR("axis", 0)),
        VALUES(INPUT("a", WEIR_F32, 1, 2), INPUT("b", WEIR_F32, 1, 3))));
    INFER_REFUSED("input 0 and input 1 differ in axis 1");
}

static void move_gather_pad_transpose(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 4, 6), at = INPUT("at", WEIR_I64, 2, 3);
    uint32_t a = op_in(&graph->main, "Gather", ATTRIBUTES(INT_ATTR("axis", -2)), VALUES(x, at));
    uint32_t b = OP("Pad", x, CONST_INTS(0, 1, -2, 0, 2, 0)), c = OP("Transpose", x);
    uint32_t d = OP("GatherND", x, INPUT("nd", WEIR_I64, 5, 2));
    output(a), output(b), output(c), output(d);
    prepare();
    DIMS(a, n, 2, 3, 6);
    DIMS(b, n, 7, 4);
    DIMS(c, 6, 4, n);
    DIMS(d, 5, 6);
    another_graph();
    output(op_in(&graph->main, "Transpose", ATTRIBUTES(INTS_ATTR("perm", 0, 0)),
        VALUES(INPUT("x", WEIR_F32, 2, 3))));
    INFER_REFUSED("perm names axis 0 twice");
    another_graph();
    output(op_in(&graph->main, "Pad", ATTRIBUTES(TEXT_ATTR("mode", "reflect")),
        VALUES(INPUT("x", WEIR_F32, 2), CONST_INTS(2, 0))));
    INFER_REFUSED("cannot be reflected");
}

// ---- Convolutions -----------------------------------------------------------------------------

static void conv_sizes(void **state)
{
    (void)state;
    int64_t n = sym("n"), h = sym("h");
    uint32_t x = INPUT("x", WEIR_F32, n, 4, h, 9), w = INPUT("w", WEIR_F32, 8, 2, 3, 3);
    uint32_t same = op_in(&graph->main, "Conv",
        ATTRIBUTES(INT_ATTR("group", 2), INTS_ATTR("pads", 1, 1, 1, 1)), VALUES(x, w));
    uint32_t half = op_in(&graph->main, "Conv",
        ATTRIBUTES(INT_ATTR("group", 2), INTS_ATTR("pads", 1, 1, 1, 1), INTS_ATTR("strides", 2, 2)),
        VALUES(x, w));
    uint32_t automatic = op_in(&graph->main, "Conv",
        ATTRIBUTES(
            INT_ATTR("group", 2), TEXT_ATTR("auto_pad", "SAME_UPPER"), INTS_ATTR("strides", 2, 2)),
        VALUES(x, w));
    uint32_t up = op_in(&graph->main, "ConvTranspose", ATTRIBUTES(INTS_ATTR("strides", 2, 2)),
        VALUES(x, INPUT("v", WEIR_F32, 4, 3, 2, 2)));
    uint32_t pool = op_in(&graph->main, "MaxPool",
        ATTRIBUTES(
            INTS_ATTR("kernel_shape", 2, 2), INTS_ATTR("strides", 2, 2), INT_ATTR("ceil_mode", 1)),
        VALUES(x));
    uint32_t global = OP("GlobalAveragePool", x);
    output(same), output(half), output(automatic), output(up), output(pool), output(global);
    prepare();
    DIMS(same, n, 8, h, 9);
    DIMS(half, n, 8, dim(half, 2), 5);
    // ceil(h / 2) in both spellings
    assert_int_equal(dim(half, 2), dim(automatic, 2));
    DIMS(up, n, 3, dim(up, 2), 18);
    assert_int_equal(dim(pool, 3), 5);
    DIMS(global, n, 4, 1, 1);
}

static void conv_refuses(void **state)
{
    (void)state;
    output(OP("Conv", INPUT("x", WEIR_F32, 1, 4, 5, 5), INPUT("w", WEIR_F32, 8, 3, 3, 3)));
    INFER_REFUSED("has 4 channels");
    another_graph();
    output(OP("Conv", INPUT("x", WEIR_F32, 1, 4, 2, 5), INPUT("w", WEIR_F32, 8, 4, 3, 3)));
    INFER_REFUSED("the kernel covers 3 in spatial axis 0, the padded input has 2");
    another_graph();
    output(op_in(&graph->main, "Conv", ATTRIBUTES(INTS_ATTR("strides", 0, 1)),
        VALUES(INPUT("x", WEIR_F32, 1, 4, 5, 5), INPUT("w", WEIR_F32, 8, 4, 3, 3))));
    INFER_REFUSED("strides[0] is 0");
    another_graph();
    output(OP("Conv", INPUT("x", WEIR_F32, 1, 4, 5, 5), INPUT("w", WEIR_F32, 8, 4, 3, 3),
        INPUT("b", WEIR_F32, 7)));
    INFER_REFUSED("differ: 8 and 7");
    another_graph();
    output(op_in(&graph->main, "MaxPool",
        ATTRIBUTES(INTS_ATTR("kernel_shape", 2), INTS_ATTR("pads", 2, 0)),
        VALUES(INPUT("x", WEIR_F32, 1, 4, 5))));
    INFER_REFUSED("in the padding");
}

// ---- The rest ---------------------------------------------------------------------------------

static void matmul_sizes(void **state)
{
    (void)state;
    int64_t n = sym("n"), s = sym("s");
    uint32_t a = INPUT("a", WEIR_F32, n, 4, s, 8), b = INPUT("b", WEIR_F32, 4, 8, s),
             v = INPUT("v", WEIR_F32, 8);
    uint32_t ab = OP("MatMul", a, b), av = OP("MatMul", a, v), vv = OP("MatMul", v, v);
    uint32_t g = op_in(&graph->main, "Gemm", ATTRIBUTES(INT_ATTR("transB", 1)),
        VALUES(INPUT("p", WEIR_F32, n, 8), INPUT("q", WEIR_F32, 3, 8), INPUT("r", WEIR_F32, 3)));
    output(ab), output(av), output(vv), output(g);
    prepare();
    DIMS(ab, n, 4, s, s);
    DIMS(av, n, 4, s);
    assert_int_equal(graph->values[vv].type.rank, 0);
    DIMS(g, n, 3);
}

static void matmul_refuses(void **state)
{
    (void)state;
    output(OP("MatMul", INPUT("A", WEIR_F32, 2, 3), INPUT("B", WEIR_F32, 4, 5)));
    INFER_REFUSED("inner dims differ: A f32 [2, 3] and B f32 [4, 5]");
}

static void reduce_sizes(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 4, 6);
    uint32_t kept = OP("ReduceMax", x, CONST_INTS(-1)), all = OP("ReduceSum", x);
    uint32_t gone = op_in(&graph->main, "ReduceMean", ATTRIBUTES(INT_ATTR("keepdims", 0)),
        VALUES(x, CONST_INTS(0, 2)));
    uint32_t noop = op_in(
        &graph->main, "ReduceSum", ATTRIBUTES(INT_ATTR("noop_with_empty_axes", 1)), VALUES(x));
    uint32_t best = op_in(&graph->main, "ArgMax",
        ATTRIBUTES(INT_ATTR("axis", 1), INT_ATTR("keepdims", 0)), VALUES(x));
    output(kept), output(all), output(gone), output(noop), output(best);
    prepare();
    DIMS(kept, n, 4, 1);
    DIMS(all, 1, 1, 1);
    DIMS(gone, 4);
    DIMS(noop, n, 4, 6);
    DIMS(best, n, 6);
    assert_int_equal(graph->values[best].type.dtype, WEIR_I64);
    another_graph();
    output(OP("ReduceSum", INPUT("x", WEIR_F32, 2, 3), CONST_INTS(2)));
    INFER_REFUSED("axis 2 is outside of rank 2");
}

static void lstm_sizes(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t inputs[3] = {INPUT("x", WEIR_F32, 7, n, 5), INPUT("w", WEIR_F32, 2, 12, 5),
        INPUT("r", WEIR_F32, 2, 12, 3)};
    uint32_t outputs[3] = {0}, node;
    for (int i = 0; i < 3; i++)
        OK(weir__graph_add_value(graph, "o", &outputs[i]));
    OK(weir__graph_add_node(graph, &graph->main, weir__op_find("LSTM", 1), inputs, 3, outputs, 3,
        ATTRIBUTES(TEXT_ATTR("direction", "bidirectional"), INT_ATTR("hidden_size", 3)), "l",
        &node));
    output(outputs[0]), output(outputs[2]);
    prepare();
    DIMS(outputs[0], 7, 2, n, 3);
    DIMS(outputs[2], 2, n, 3);
    graph->values[inputs[1]].type.dims[1] = 11;
    INFER_REFUSED("W is f32 [2, 11, 5], f32 [2, 12, 5] is needed");
}

static void resize_sizes(void **state)
{
    (void)state;
    int64_t n = sym("n"), h = sym("h");
    uint32_t x = INPUT("x", WEIR_F32, n, 3, h, 10), node, y, z;
    float scales[] = {1, 1, 2, 0.7f};
    uint32_t s, inputs[3];
    OK(weir__graph_add_constant(graph, NULL, WEIR_F32, 1, INTS(4), scales, true, &s));
    y = OP("Resize", x, s);
    OK(weir__graph_add_value(graph, "z", &z));
    inputs[0] = x, inputs[1] = WEIR__NONE, inputs[2] = CONST_INTS(5, 20);
    OK(weir__graph_add_node(graph, &graph->main, weir__op_find("Resize", 1), inputs, 3, &z, 1,
        ATTRIBUTES(INTS_ATTR("axes", 2, 3), TEXT_ATTR("mode", "linear")), "r", &node));
    output(y), output(z);
    prepare();
    DIMS(y, n, 3, dim(y, 2), 7);
    IS_SYMBOL(y, 2);
    DIMS(z, n, 3, 5, 20);
}

static void norm_refuses(void **state)
{
    (void)state;
    output(op_in(&graph->main, "LayerNormalization", ATTRIBUTES(INT_ATTR("axis", -1)),
        VALUES(INPUT("x", WEIR_F32, 2, 8), INPUT("s", WEIR_F32, 7))));
    INFER_REFUSED("scale is f32 [7]");
    another_graph();
    uint32_t c = INPUT("c", WEIR_F32, 3);
    output(OP("BatchNormalization", INPUT("x", WEIR_F32, 2, 4, 5), c, c, c, c));
    INFER_REFUSED("one number per channel");
}

// Goal:   an unknown rank travels and does not stop the load.
static void unknown_rank(void **state)
{
    (void)state;
    uint32_t x = INPUT("x", WEIR_F32, 2, 3), shape = INPUT("s", WEIR_I64, sym("k"));
    uint32_t y = OP("Relu", OP("Reshape", x, shape)), z = OP("Reshape", x, INPUT("t", WEIR_I64, 3));
    output(y), output(z);
    prepare();
    assert_int_equal(graph->values[y].type.rank, -1);
    assert_int_equal(graph->values[y].type.dtype, WEIR_F32);
    assert_int_equal(graph->values[z].type.rank, 3);
    IS_SYMBOL(z, 1);
}

// Goal:   at run time nothing is allocated, numbers come out, and what cannot be told is an error.
static void concrete(void **state)
{
    (void)state;
    int64_t n = sym("n");
    uint32_t x = INPUT("x", WEIR_F32, n, 12), shape = INPUT("s", WEIR_I64, 3),
             y = OP("Reshape", x, shape);
    output(y);
    prepare();
    const weir__type_t types[2] = {{.dtype = WEIR_F32, .rank = 2, .dims = {5, 12}},
        {.dtype = WEIR_I64, .rank = 1, .dims = {3}}};
    int64_t dims[1] = {3}, sizes[3] = {5, -1, 4};
    const weir__tensor_t tensor = {
        .dtype = WEIR_I64, .rank = 1, .dims = dims, .count = 3, .bytes = 24, .data = sizes};
    const weir__type_t *inputs[2] = {&types[0], &types[1]};
    const weir__tensor_t *values[2] = {NULL, &tensor}, *nothing[2] = {NULL, NULL};
    weir__type_t out;
    weir__infer_t infer = {.node = producer(y),
        .input_count = 2,
        .output_count = 1,
        .inputs = inputs,
        .values = values,
        .outputs = &out};
    uint64_t before = atomic_load(&test_heap.now_bytes), used = graph->zone.used_bytes;
    OK(weir__infer_node(&infer));
    assert_int_equal(atomic_load(&test_heap.now_bytes), before);
    assert_int_equal(graph->zone.used_bytes, used);
    assert_int_equal(out.rank, 3);
    assert_memory_equal(out.dims, INTS(5, 3, 4), 3 * sizeof(int64_t));
    infer.values = nothing;
    REFUSED(weir__infer_node(&infer), WEIR_INVALID_ARGUMENT, "not known");
}

// Goal:   a tensor larger than allowed is refused before anyone takes memory for it.
static void too_large(void **state)
{
    (void)state;
    graph->limits.tensor_bytes = 1000;
    output(OP("Expand", INPUT("x", WEIR_F32, 1), CONST_INTS(251)));
    OK(weir__graph_verify(graph));
    REFUSED(weir__graph_infer(graph), WEIR_LIMIT, "tensor_bytes");
    another_graph();
    output(OP("Expand", INPUT("x", WEIR_F32, 1), CONST_INTS(INT64_MAX, INT64_MAX)));
    OK(weir__graph_verify(graph));
    REFUSED(weir__graph_infer(graph), WEIR_LIMIT, "tensor_bytes");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, graph_setup, graph_teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {TEST(pointwise_broadcast), TEST(pointwise_refuses_shapes),
        TEST(pointwise_refuses_dtypes), TEST(pointwise_refuses_dtype),
        TEST(pointwise_where_and_cast), TEST(pointwise_prelu), TEST(shape_arithmetic),
        TEST(shape_reshape), TEST(shape_reshape_refuses), TEST(shape_squeeze),
        TEST(shape_expand_where_equal), TEST(shape_range_tile), TEST(move_slice),
        TEST(move_concat_split), TEST(move_gather_pad_transpose), TEST(conv_sizes),
        TEST(conv_refuses), TEST(matmul_sizes), TEST(matmul_refuses), TEST(reduce_sizes),
        TEST(lstm_sizes), TEST(resize_sizes), TEST(norm_refuses), TEST(unknown_rank),
        TEST(concrete), TEST(too_large)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
