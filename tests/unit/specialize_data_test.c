// tests/unit/specialize_data_test.c: what a specialization works out by itself, and where it has to
// wait for data.
#include "tests/unit/engine_world.h"

// ---- Arithmetic on sizes -----------------------------------------------------------------------

// y = Relu(x) reshaped to [n * m, 1, k] by Shape -> Gather -> Mul -> Concat -> Reshape.
static message_t make_shape_arithmetic(void)
{
    static const int64_t zero = 0, one = 1, two = 2;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,M,K");
    add_int64s(&graph, "i0", 1, &zero);
    add_int64s(&graph, "i1", 1, &one);
    add_int64s(&graph, "i2", 1, &two);
    add_node(&graph, "Relu", "relu", "x", "r", (message_t){0});
    add_node(&graph, "Shape", "shape", "r", "s", (message_t){0});
    add_node(&graph, "Gather", "n", "s,i0", "n", (message_t){0});
    add_node(&graph, "Gather", "m", "s,i1", "m", (message_t){0});
    add_node(&graph, "Gather", "k", "s,i2", "k", (message_t){0});
    add_node(&graph, "Mul", "nm", "n,m", "nm", (message_t){0});
    message_t axis = {0};
    attribute_int(&axis, "axis", 0);
    add_node(&graph, "Concat", "dims", "nm,i1,k", "d", axis);
    add_node(&graph, "Reshape", "reshape", "r,d", "y", (message_t){0});
    add_output(&graph, "y");
    return graph;
}

// Goal:   arithmetic on sizes leaves no step: one kernel runs, whatever the shape.
static void sizes_leave_no_steps(void **state)
{
    (void)state;
    for (int keep = 0; keep < 2; keep++) {
        world_t world;
        world_options_t options = {.keep_as_is = keep == 1};
        world_open(&world, make_shape_arithmetic(), &options);
        for (int64_t n = 1; n <= 3; n++) {
            float x[3 * 4 * 5];
            fill_floats(x, 60, (uint64_t)n);
            weir_value_t in[] = {weir_f32(x, 3, n, 4, 5)}, out[1];
            world_run(&world, 1, in, 1, out);
            expect_dims(out, 3, (const int64_t[]){n * 4, 1, 5});
            for (int64_t i = 0; i < n * 20; i++)
                assert_true(((float *)out->data)[i] == (x[i] > 0 ? x[i] : 0));
            assert_int_equal(world_info(&world).step_count, 1);
        }
        world_close(&world);
    }
}

// ---- If ----------------------------------------------------------------------------------------

// A branch that gives op(x, ...) as its output.
static message_t make_branch(const char *op, const char *inputs, const char *output)
{
    message_t branch = {0};
    char name[64];
    snprintf(name, sizeof name, "in_%s", output);
    add_node(&branch, op, name, inputs, output, (message_t){0});
    add_output(&branch, output);
    return branch;
}

static void add_if(message_t *graph, const char *condition, message_t then, message_t other)
{
    message_t attributes = {0};
    attribute_graph(&attributes, "then_branch", then);
    attribute_graph(&attributes, "else_branch", other);
    add_node(graph, "If", "if", condition, "z", attributes);
}

// Goal:   a condition that follows from dims is decided while specializing: one step, no waiting.
static void if_by_dims(void **state)
{
    (void)state;
    static const int64_t zero = 0, four = 4;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N");
    add_int64s(&graph, "i0", 1, &zero);
    add_int64s(&graph, "i4", 1, &four);
    add_node(&graph, "Shape", "shape", "x", "s", (message_t){0});
    add_node(&graph, "Gather", "n", "s,i0", "n", (message_t){0});
    add_node(&graph, "Less", "less", "n,i4", "c", (message_t){0});
    add_if(&graph, "c", make_branch("Neg", "x", "a"), make_branch("Abs", "x", "b"));
    add_output(&graph, "z");
    world_t world;
    world_open(&world, graph, NULL);
    for (int64_t n = 1; n <= 8; n++) {
        float x[8];
        fill_floats(x, 8, (uint64_t)n);
        weir_value_t in[] = {weir_f32(x, 1, n)}, out[1];
        world_run(&world, 1, in, 1, out);
        expect_dims(out, 1, &n);
        for (int64_t i = 0; i < n; i++)
            assert_true(((float *)out->data)[i] == (n < 4 ? -x[i] : fabsf(x[i])));
        assert_int_equal(world_info(&world).step_count, 1);
    }
    world_close(&world);
}

// Goal:   a condition that is data takes the right branch each time, also when the branches give
//         different shapes, and what comes after the If follows.
// Method: both branches by turns, and at random shapes, on one session.
static void if_by_data(void **state)
{
    (void)state;
    message_t graph = {0};
    add_input(&graph, "c", 9, "");
    add_input(&graph, "x", 1, "N,3");
    message_t axis = {0}, branch = {0};
    attribute_int(&axis, "axis", 0);
    add_node(&branch, "Concat", "twice", "x,x", "b", axis);
    add_output(&branch, "b");
    add_if(&graph, "c", make_branch("Neg", "x", "a"), branch);
    add_node(&graph, "Exp", "after", "z", "y", (message_t){0});
    add_output(&graph, "y");
    add_output(&graph, "z");
    world_t world;
    world_open(&world, graph, NULL);
    for (int round = 0; round < 60; round++) {
        uint8_t condition = (uint8_t)(round % 2 ^ (round / 20 & 1));
        int64_t n = 1 + round % 3;
        float x[9];
        fill_floats(x, 9, (uint64_t)round);
        weir_value_t in[] = {weir_tensor(WEIR_BOOL, &condition, 0, NULL), weir_f32(x, 2, n, 3)};
        weir_value_t out[2];
        world_run(&world, 2, in, 2, out);
        expect_dims(&out[1], 2, (const int64_t[]){condition ? n : 2 * n, 3});
        expect_dims(&out[0], 2, out[1].dims);
        for (int64_t i = 0; i < (condition ? n : 2 * n) * 3; i++) {
            float z = condition ? -x[i] : x[i % (n * 3)];
            assert_true(((float *)out[1].data)[i] == z);
            assert_true(fabsf(((float *)out[0].data)[i] - expf(z)) <= 1e-6f * expf(z));
        }
    }
    world_close(&world);
}

// ---- Sizes that are data -----------------------------------------------------------------------

// y = Neg(v) above v, of v = Reshape(Relu(x), shape): the shape is an input. A value that was laid
// over another by mistake shows.
static message_t make_reshape_by_input(void)
{
    message_t graph = {0}, axis = {0};
    add_input(&graph, "x", 1, "12");
    add_input(&graph, "shape", 7, "2");
    add_node(&graph, "Relu", "relu", "x", "r", (message_t){0});
    add_node(&graph, "Reshape", "reshape", "r,shape", "v", (message_t){0});
    attribute_int(&axis, "axis", 0);
    add_node(&graph, "Neg", "neg", "v", "m", (message_t){0});
    add_node(&graph, "Concat", "both", "m,v", "y", axis);
    add_output(&graph, "y");
    return graph;
}

static void check_reshapes(const char *devices, const char *plugins)
{
    static const int64_t shapes[][2] = {{3, 4}, {2, 6}, {-1, 2}, {12, 1}, {1, 12}}, rank = 2;
    world_t world;
    world_options_t options = {.devices = devices, .plugin_path = plugins};
    world_open(&world, make_reshape_by_input(), &options);
    float x[12];
    for (int round = 0; round < 40; round++) {
        fill_floats(x, 12, (uint64_t)round);
        const int64_t *shape = shapes[round % 5];
        weir_value_t in[] = {weir_f32(x, 1, 12), weir_tensor(WEIR_I64, shape, 1, &rank)}, out[1];
        world_run(&world, 2, in, 1, out);
        assert_int_equal(out->rank, rank);
        assert_int_equal(weir_value_count(out), 24);
        assert_int_equal(out->dims[1], shape[1]);
        for (int i = 0; i < 24; i++) {
            float v = x[i % 12] > 0 ? x[i % 12] : 0;
            assert_true(((float *)out->data)[i] == (i < 12 ? -v : v));
        }
    }
    // What does not fit is the caller's mistake, named, and the session goes on.
    int64_t wrong[] = {5, 5};
    weir_value_t in[] = {weir_f32(x, 1, 12), weir_tensor(WEIR_I64, wrong, 1, &rank)}, out[1];
    out[0] = weir_view();
    expect_status(weir_session_run(world.session, NULL, 2, in, 1, out), WEIR_INVALID_ARGUMENT,
        "...node reshape (Reshape)");
    int64_t right[] = {6, 2};
    in[1].data = right;
    world_run(&world, 2, in, 1, out);
    expect_dims(out, 2, (const int64_t[]){12, 2});
    world_close(&world);
}

// Goal:   a shape that is an input's contents is read in each run.
static void reshape_by_data(void **state)
{
    (void)state;
    check_reshapes("ref", NULL);
}

// Goal:   the same in the middle of what a device with programs takes: the launch is cut there.
static void reshape_by_data_on_a_device(void **state)
{
    (void)state;
    check_reshapes("async,ref", WEIR_TEST_PLUGINS);
}

// Several points in a row, each from the one before: n -> Range -> sums its size -> ...
static message_t make_chain_of_sizes(void)
{
    static const int64_t zero = 0, one = 1, minus = -1;
    message_t graph = {0}, fill = {0}, keep = {0};
    add_input(&graph, "n", 7, "");
    put_message(&graph, 5, raw_tensor("zero", 7, 0, NULL, &zero, 8));
    put_message(&graph, 5, raw_tensor("one", 7, 0, NULL, &one, 8));
    add_int64s(&graph, "flat", 1, &minus);
    // a = [0 .. n), total = sum a; b = ConstantOfShape([total]) filled with 2; c = Expand(a, [2,
    // n])
    add_node(&graph, "Range", "range", "zero,n,one", "a", (message_t){0});
    attribute_int(&keep, "keepdims", 0);
    add_node(&graph, "ReduceSum", "sum", "a", "total", keep);
    add_node(&graph, "Reshape", "flat", "total,flat", "t1", (message_t){0});
    attribute_tensor(&fill, "value", raw_tensor("", 1, 1, &one, &(float){2}, 4));
    add_node(&graph, "ConstantOfShape", "fill", "t1", "b", fill);
    add_node(&graph, "Shape", "size", "b", "bs", (message_t){0});
    message_t axis = {0};
    attribute_int(&axis, "axis", 0);
    add_node(&graph, "Concat", "pair", "t1,t1", "tt", axis);
    add_node(&graph, "Expand", "wide", "b,tt", "w", (message_t){0});
    add_output(&graph, "a");
    add_output(&graph, "bs");
    add_output(&graph, "w");
    return graph;
}

// Goal:   data-dependent sizes in a row, each led to by the one before, in any order of sizes.
static void sizes_in_a_row(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, make_chain_of_sizes(), NULL);
    for (uint64_t round = 0; round < 80; round++) {
        // Also more sizes than are kept, and back to the first.
        int64_t n = (int64_t)(round < 40 ? round % 4 : round * 7 % 23), total = n * (n - 1) / 2;
        weir_value_t in[] = {weir_tensor(WEIR_I64, &n, 0, NULL)}, out[3];
        world_run(&world, 1, in, 3, out);
        expect_dims(&out[0], 1, &n);
        for (int64_t i = 0; i < n; i++)
            assert_int_equal(((int64_t *)out[0].data)[i], i);
        assert_int_equal(((int64_t *)out[1].data)[0], total);
        expect_dims(&out[2], 2, (const int64_t[]){total, total});
        for (int64_t i = 0; i < total * total; i++)
            assert_true(((float *)out[2].data)[i] == 2);
    }
    world_close(&world);
}

// Three sizes that are data, each a point of its own: what is kept of them could multiply.
static message_t make_three_sizes(void)
{
    static const int64_t zero = 0, one = 1;
    message_t graph = {0};
    put_message(&graph, 5, raw_tensor("zero", 7, 0, NULL, &zero, 8));
    put_message(&graph, 5, raw_tensor("one", 7, 0, NULL, &one, 8));
    for (int i = 0; i < 3; i++) {
        char in[8], out[8], inputs[24];
        snprintf(in, sizeof in, "n%d", i);
        snprintf(out, sizeof out, "r%d", i);
        snprintf(inputs, sizeof inputs, "zero,%s,one", in);
        add_input(&graph, in, 7, "");
        add_node(&graph, "Range", in, inputs, out, (message_t){0});
        add_output(&graph, out);
    }
    return graph;
}

// Goal:   what is kept of past sizes is bounded, and every run is right whatever was dropped.
// Method: 12 x 12 x 12 combinations; memory after 500 runs is that after 2000.
static void kept_sizes_are_bounded(void **state)
{
    (void)state;
    world_t world;
    uint64_t early = 0, now, peak, random = 1;
    world_open(&world, make_three_sizes(), NULL);
    for (int round = 0; round < 2000; round++) {
        int64_t n[3];
        weir_value_t in[3], out[3];
        for (int i = 0; i < 3; i++) {
            random = random * 6364136223846793005ull + 1442695040888963407ull;
            n[i] = (int64_t)((random >> 40) % 12);
            in[i] = weir_tensor(WEIR_I64, &n[i], 0, NULL);
        }
        world_run(&world, 3, in, 3, out);
        for (int i = 0; i < 3; i++) {
            expect_dims(&out[i], 1, &n[i]);
            assert_true(!n[i] || ((int64_t *)out[i].data)[n[i] - 1] == n[i] - 1);
        }
        weir_engine_memory(world.engine, &now, &peak);
        early = round == 500 ? now : early;
    }
    assert_true(now <= early + early / 4);
    world_close(&world);
}

// Goal:   more shapes than a plan keeps: the oldest go, every run is right, the count stays at 32.
static void shapes_are_forgotten(void **state)
{
    (void)state;
    world_t world;
    world_open(&world, make_shape_arithmetic(), NULL);
    static float x[50 * 2 * 2];
    fill_floats(x, 200, 9);
    for (int round = 0; round < 3; round++)
        for (int64_t n = 1; n <= 50; n++) {
            weir_value_t in[] = {weir_f32(x, 3, n, 2, 2)}, out[1];
            world_run(&world, 1, in, 1, out);
            expect_dims(out, 3, (const int64_t[]){n * 2, 1, 2});
            assert_true(((float *)out->data)[n * 4 - 1] == (x[n * 4 - 1] > 0 ? x[n * 4 - 1] : 0));
        }
    weir_session_info_t info = world_info(&world);
    assert_int_equal(info.specialization_count, 32);
    assert_int_equal(info.run_count, 150);
    // The last few of the session cost nothing; an older one is made (or found) again.
    for (int64_t n = 50; n > 46; n--) {
        weir_value_t in[] = {weir_f32(x, 3, n, 2, 2)}, out[1];
        world_run(&world, 1, in, 1, out);
    }
    assert_int_equal(world_info(&world).specialize_count, info.specialize_count);
    weir_value_t in[] = {weir_f32(x, 3, 1, 2, 2)}, out[1];
    world_run(&world, 1, in, 1, out);
    assert_int_equal(world_info(&world).specialize_count, info.specialize_count + 1);
    world_close(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_leave_no_steps),
        cmocka_unit_test(if_by_dims),
        cmocka_unit_test(if_by_data),
        cmocka_unit_test(reshape_by_data),
        cmocka_unit_test(reshape_by_data_on_a_device),
        cmocka_unit_test(sizes_in_a_row),
        cmocka_unit_test(kept_sizes_are_bounded),
        cmocka_unit_test(shapes_are_forgotten),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
