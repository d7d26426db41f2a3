// tests/unit/custom_operator_test.c: operators that a plugin declares, from the file to the result,
// and plugins that lie about them. The plugin is tests/support/plugins/custom.c.
#include "tests/unit/engine_world.h"

#define CUSTOM WEIR_TEST_PLUGINS "/custom"

static const message_t none;

// A model of the main domain and of test.custom in `version` (0: it is not imported).
static message_t custom_model(message_t graph, int64_t version)
{
    message_t model = {0};
    put_int(&model, 1, 8);
    add_opset(&model, 8, "", 17);
    if (version)
        add_opset(&model, 8, "test.custom", version);
    put_message(&model, 7, graph);
    return model;
}

static void add_custom(
    message_t *graph, const char *op, const char *inputs, const char *outputs, message_t attributes)
{
    message_t node = make_node(op, "node", inputs, outputs, attributes);
    put_text(&node, 7, "test.custom");
    put_message(graph, 1, node);
}

static weir_status_t open_world(
    world_t *world, message_t graph, int64_t version, const char *devices, const char *options)
{
    message_t bytes = custom_model(graph, version);
    weir_model_options_t model = {.size = sizeof model};
    weir_status_t status =
        world_engine(world, &(world_options_t){.plugin_path = CUSTOM, .plugin_options = options});
    if (!status)
        status =
            weir_model_load_bytes(world->engine, bytes.data, bytes.count, &model, &world->model);
    if (!status)
        status = world_plan(world, devices);
    if (!status)
        status = weir_session_create(world->plan, NULL, &world->session);
    free(bytes.data);
    return status;
}

// One node "x" -> "y" of f32 [N] or of the dims that are given.
static message_t one(const char *op, const char *dims)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, dims);
    add_custom(&graph, op, "x", "y", none);
    add_output(&graph, "y");
    return graph;
}

static void expect_load(
    message_t graph, int64_t version, const char *options, weir_code_t code, const char *text)
{
    world_t world;
    expect_status(open_world(&world, graph, version, "custom,ref", options), code, text);
    world_close(&world);
}

// ---- What works --------------------------------------------------------------------------------

// Goal:   defaults are filled in, inputs that are left out are absent, an output that nobody names
//         is not asked for; nodes of ONNX before and behind work as ever.
static void defaults_and_absent_inputs(void **state)
{
    (void)state;
    world_t world;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N");
    add_node(&graph, "Neg", "neg", "x", "n", none);
    add_custom(&graph, "Tell", "n", "t,facts", none);
    add_node(&graph, "Relu", "relu", "t", "y", none);
    add_output(&graph, "y");
    add_port(&graph, 12, "facts", 7, NULL);
    expect_ok(open_world(&world, graph, 1, "custom,ref", NULL));
    float x[3] = {-1, 2, 0};
    weir_value_t in = weir_f32(x, 1, 3), out[2];
    world_run(&world, 1, &in, 2, out);
    const float expected[3] = {3, 0, 1};
    assert_memory_equal(out[0].data, expected, sizeof expected);
    const int64_t facts[7] = {3, 0, 0, 'p', 2, 4, 5};
    assert_memory_equal(out[1].data, facts, sizeof facts);
    assert_non_null(strstr(world_listing(&world, false), "test.custom::Tell@custom"));
    world_close(&world);
}

// Goal:   attributes of the file arrive, an input is left out in the middle.
static void attributes_of_the_file(void **state)
{
    (void)state;
    world_t world;
    message_t graph = {0}, attributes = {0};
    const int64_t axes[] = {7};
    attribute_ints(&attributes, "axes", 1, axes);
    attribute_text(&attributes, "mode", "quiet");
    attribute_int(&attributes, "factor", -3);
    attribute_floats(&attributes, "weights", 0, NULL);
    add_input(&graph, "x", 1, "2");
    add_custom(&graph, "Tell", "x,,x", "y,facts", attributes);
    add_output(&graph, "y");
    add_port(&graph, 12, "facts", 7, NULL);
    expect_ok(open_world(&world, graph, 1, "custom,ref", NULL));
    float x[2] = {1, 2};
    weir_value_t in = weir_f32(x, 1, 2), out[2];
    world_run(&world, 1, &in, 2, out);
    const float expected[2] = {-1.5f, -3.5f};
    assert_memory_equal(out[0].data, expected, sizeof expected);
    const int64_t facts[7] = {3, 0, 1, 'q', 1, 7, 5};
    assert_memory_equal(out[1].data, facts, sizeof facts);
    world_close(&world);
}

// Goal:   the newest revision not above the version that the file imports; sizes that only a run
//         knows; the rule is asked again for each shape.
static void revisions_and_open_sizes(void **state)
{
    (void)state;
    for (int64_t version = 1; version <= 4; version++) {
        world_t world;
        expect_ok(open_world(&world, one("Half", "N,M"), version, "custom,ref", NULL));
        float x[8] = {0, 1, 2, 3, 4, 5, 6, 7};
        float first = version < 3 ? 0 : 1;
        for (int64_t rows = 1; rows <= 2; rows++) {
            weir_value_t in = weir_f32(x, 2, rows, 4 / rows), out;
            world_run(&world, 1, &in, 1, &out);
            assert_int_equal(out.dims[0], rows);
            assert_int_equal(out.dims[1], 2 / rows);
            float second = rows == 1 ? 1 : 2;
            first = version < 3 ? 0 : 2.0f / (float)rows;
            assert_true(((float *)out.data)[0] == first);
            assert_true(((float *)out.data)[1] == first + second);
        }
        weir_value_t odd = weir_f32(x, 2, 2, 3), out = weir_view();
        expect_status(weir_session_run(world.session, NULL, 1, &odd, 1, &out),
            WEIR_INVALID_ARGUMENT, "...Half cannot halve an odd number");
        world_close(&world);
    }
}

// Goal:   sizes that only a run knows are the same only when all that they follow from is: the same
//         question about other tensors of equal sizes, but not with another attribute.
static void open_sizes_that_are_equal(void **state)
{
    (void)state;
    world_t world;
    message_t graph = {0}, half = {0}, quarter = {0}, other = {0};
    attribute_float(&half, "ratio", 0.5f);
    attribute_float(&quarter, "ratio", 0.25f);
    add_input(&graph, "x", 1, "N");
    add_custom(&graph, "Share", "x", "h", half);
    add_custom(&graph, "Share", "x", "q", quarter);
    add_node(&graph, "Shape", "shape", "h", "s", none);
    add_node(&graph, "Expand", "expand", "q,s", "y", none); // would vanish if q were as long as h
    add_output(&graph, "y");
    expect_ok(open_world(&world, graph, 1, "custom,ref", NULL));
    float x[4] = {5, 6, 7, 8};
    weir_value_t in = weir_f32(x, 1, 4), out;
    world_run(&world, 1, &in, 1, &out);
    assert_int_equal(out.dims[0], 2);
    assert_true(((float *)out.data)[0] == 5 && ((float *)out.data)[1] == 5);
    world_close(&world);
    graph = half = (message_t){0};
    attribute_float(&half, "ratio", 0.5f);
    attribute_float(&other, "ratio", 0.5f);
    add_input(&graph, "x", 1, "N");
    add_node(&graph, "Neg", "neg", "x", "n", none);
    add_custom(&graph, "Share", "x", "h", half);
    add_custom(&graph, "Share", "n", "m", other);
    add_node(&graph, "Shape", "shape", "h", "s", none);
    add_node(&graph, "Expand", "expand", "m,s", "e", none); // vanishes: m is as long as h
    add_node(&graph, "Neg", "last", "e", "y", none);
    add_output(&graph, "y");
    expect_ok(open_world(&world, graph, 1, "custom,ref", NULL));
    assert_null(strstr(world_listing(&world, true), "Expand"));
    world_close(&world);
}

// Goal:   equal nodes are one, nodes that differ in an attribute are two; nothing is folded,
// because
//         nothing but the plugin can compute it.
static void shared_but_not_folded(void **state)
{
    (void)state;
    world_t world;
    message_t graph = {0}, attributes = {0};
    const float values[4] = {1, 2, 3, 4};
    attribute_int(&attributes, "factor", 5);
    add_floats(&graph, "c", 4, values);
    add_custom(&graph, "Half", "c", "h", none);
    add_custom(&graph, "Tell", "h", "a", none);
    add_custom(&graph, "Tell", "h", "b", none);
    add_custom(&graph, "Tell", "h", "d", attributes);
    add_node(&graph, "Add", "add", "a,b", "ab", none);
    add_node(&graph, "Add", "sum", "ab,d", "y", none);
    add_output(&graph, "y");
    expect_ok(open_world(&world, graph, 1, "custom,ref", NULL));
    weir_model_info_t info = {.size = sizeof info};
    weir_model_describe(world.model, &info);
    assert_int_equal(info.folded_bytes, 0);
    const char *listing = world_listing(&world, false);
    uint32_t count = 0;
    for (const char *at = listing; (at = strstr(at, "::Tell")) != NULL; at++)
        count++;
    assert_int_equal(count, 2);
    weir_value_t out;
    world_run(&world, 0, NULL, 1, &out);
    assert_true(((float *)out.data)[0] == 2 * 3 + 6);
    assert_true(((float *)out.data)[1] == 2 * 5 + 11);
    world_close(&world);
}

// ---- What is refused ---------------------------------------------------------------------------

// Goal:   each use of an operator that its declaration does not allow is named.
static void uses_that_are_refused(void **state)
{
    (void)state;
    message_t graph = {0}, attributes = {0};
    attribute_int(&attributes, "speed", 1);
    add_input(&graph, "x", 1, "2");
    add_custom(&graph, "Tell", "x", "y", attributes);
    add_output(&graph, "y");
    expect_load(graph, 1, NULL, WEIR_INVALID_ARGUMENT,
        "...node node (Tell): test.custom::Tell has no attribute \"speed\" in its revision 1");
    graph = attributes = (message_t){0};
    attribute_text(&attributes, "factor", "two");
    add_input(&graph, "x", 1, "2");
    add_custom(&graph, "Tell", "x", "y", attributes);
    add_output(&graph, "y");
    expect_load(graph, 1, NULL, WEIR_INVALID_ARGUMENT,
        "...attribute factor must be an integer, but its type in the file is 3");
    graph = attributes = (message_t){0};
    attribute_int(&attributes, "factor", 1);
    attribute_int(&attributes, "factor", 1);
    add_input(&graph, "x", 1, "2");
    add_custom(&graph, "Tell", "x", "y", attributes);
    add_output(&graph, "y");
    expect_load(graph, 1, NULL, WEIR_INVALID_ARGUMENT, "...attribute factor is given twice");
    graph = (message_t){0};
    add_input(&graph, "x", 1, "2");
    add_custom(&graph, "Half", "x,x", "y", none);
    add_output(&graph, "y");
    expect_load(graph, 1, NULL, WEIR_INVALID_ARGUMENT,
        "...it has 2 inputs; test.custom::Half takes 1 to 1");
    graph = (message_t){0};
    add_input(&graph, "x", 1, "2");
    add_custom(&graph, "Half", "x", "y,z", none);
    add_output(&graph, "y");
    expect_load(
        graph, 1, NULL, WEIR_INVALID_ARGUMENT, "...it has 2 outputs; test.custom::Half makes 1");
    graph = (message_t){0};
    add_input(&graph, "x", 1, "2");
    add_custom(&graph, "Tell", ",x", "y", none);
    add_output(&graph, "y");
    expect_load(graph, 1, NULL, WEIR_INVALID_ARGUMENT, "...its input 0 is missing");
    expect_load(one("Half", "3"), 1, NULL, WEIR_INVALID_ARGUMENT,
        "...node node (test.custom::Half): Half cannot halve an odd number");
    expect_load(one("Half", NULL), 1, NULL, WEIR_UNSUPPORTED,
        "...node node (test.custom::Half): the rank of its input 0, x, is not known");
    expect_load(one("Half", "2"), 0, NULL, WEIR_INVALID_ARGUMENT,
        "...the model does not import the operator set \"test.custom\" of test.custom::Half");
    expect_load(one("Late", "2"), 4, NULL, WEIR_UNSUPPORTED,
        "...operator test.custom::Late needs version 5 of test.custom, but the model imports "
        "version 4");
}

// Goal:   an operator that nobody defines, or that no device has, says what to do.
static void operators_without_a_home(void **state)
{
    (void)state;
    expect_load(one("Lost", "2"), 1, NULL, WEIR_UNSUPPORTED,
        "...operator test.custom::Lost (version 1) is not ONNX's, and no plugin that is loaded "
        "defines it: load one that does (WEIR_PLUGIN_PATH; `weir devices` says what is loaded)");
    expect_load(one("Orphan", "2"), 1, NULL, WEIR_UNSUPPORTED,
        "...node node (test.custom::Orphan): no device can run it (custom: has no kernel for "
        "test.custom::Orphan; ref: has no kernel for test.custom::Orphan); only a plugin that has "
        "a kernel for it can "
        "(WEIR_PLUGIN_PATH, weir devices)");
}

// ---- Liars -------------------------------------------------------------------------------------

#define BLAMED "...plugin \"custom\": infer() of test.custom::Liar "

// Goal:   what infer() says of a graph is checked: a lie is an error that names the plugin.
static void lies_at_load(void **state)
{
    (void)state;
    static const struct {
        const char *lie, *text;
        weir_code_t code;
    } lies[] = {
        {"rank", BLAMED "gives output 0 the rank 17", WEIR_INTERNAL},
        {"ranks", BLAMED "gives output 0 the rank 4294967295", WEIR_INTERNAL},
        {"size", BLAMED "gives output 0 the size -4711", WEIR_INTERNAL},
        {"two", BLAMED "gives output 0 a dtype that is not one of weir's: bits 129", WEIR_INTERNAL},
        {"none", BLAMED "gives output 0 a dtype that is not one of weir's: bits 0", WEIR_INTERNAL},
        {"string", BLAMED "gives output 0 a dtype that is not one of weir's: bits 8192",
            WEIR_INTERNAL},
        {"high", BLAMED "gives output 0 a dtype that is not one of weir's: bits 2147483648",
            WEIR_INTERNAL},
        {"code", BLAMED "refuses it (code 4711) and says not why", WEIR_INTERNAL},
        {"silent", BLAMED "refuses it (code 1) and says not why", WEIR_INVALID_ARGUMENT},
        {"unsupported", "...node node (test.custom::Liar): not on a Sunday", WEIR_UNSUPPORTED},
        {"huge",
            "...output 0, f32 [4611686018427387903, 4611686018427387903], has more than "
            "tensor_bytes",
            WEIR_LIMIT},
    };
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        char option[64];
        snprintf(option, sizeof option, "custom.lie=%s", lies[i].lie);
        expect_load(one("Liar", "N"), 1, option, lies[i].code, lies[i].text);
    }
}

// Goal:   what infer() says in a run must be what it said at load; the session works on with the
//         next shape's error, and nothing is left behind.
static void lies_in_a_run(void **state)
{
    (void)state;
    static const struct {
        const char *lie, *text;
        weir_code_t code;
    } lies[] = {
        {"later dtype", BLAMED "gives output 0 another dtype in a run than at load: bits 128",
            WEIR_INTERNAL},
        {"later rank", BLAMED "gives output 0 another rank in a run than at load: 2",
            WEIR_INTERNAL},
        {"later size", BLAMED "gives output 0 another size in a run than at load: 3",
            WEIR_INTERNAL},
        {"later symbol", BLAMED "gives output 0 the size -1", WEIR_INTERNAL},
        {"open",
            "...plugin \"custom\" leaves dim 0 of output 0 of test.custom::Liar open; sizes must "
            "follow from the inputs' when a run begins",
            WEIR_UNSUPPORTED},
    };
    float x[4] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        char option[64];
        world_t world;
        snprintf(option, sizeof option, "custom.lie=%s", lies[i].lie);
        expect_ok(open_world(&world, one("Liar", "N"), 1, "custom,ref", option));
        for (int again = 0; again < 2; again++) {
            weir_value_t in = weir_f32(x, 1, 2), out = weir_view();
            expect_status(
                weir_session_run(world.session, NULL, 1, &in, 1, &out), lies[i].code, lies[i].text);
        }
        world_close(&world);
    }
    world_t world;
    expect_ok(open_world(&world, one("Liar", "N"), 1, "custom,ref", NULL));
    weir_value_t in = weir_f32(x, 1, 4), out;
    world_run(&world, 1, &in, 1, &out);
    assert_memory_equal(out.data, x, sizeof x);
    world_close(&world);
}

// ---- Memory ------------------------------------------------------------------------------------

// Goal:   whichever allocation fails while plugins and a model with such operators are loaded,
//         planned and run, that is RESOURCE_EXHAUSTED, nothing is left, and the last try works.
static void no_memory(void **state)
{
    (void)state;
    message_t graph = {0};
    add_input(&graph, "x", 1, "N,4");
    add_custom(&graph, "Half", "x", "h", none);
    add_custom(&graph, "Tell", "h", "y,facts", none);
    add_output(&graph, "y");
    message_t bytes = custom_model(graph, 1);
    weir_model_options_t options = {.size = sizeof options};
    bool done = false;
    long tries = 0;
    for (; !done && tries < 10000; tries++) {
        world_t world;
        expect_ok(world_engine(&world, &(world_options_t){.plugin_path = CUSTOM}));
        atomic_store(&world.failing_in, tries + 1);
        weir_status_t status =
            weir_model_load_bytes(world.engine, bytes.data, bytes.count, &options, &world.model);
        if (!status)
            status = world_plan(&world, "custom,ref");
        if (!status)
            status = weir_session_create(world.plan, NULL, &world.session);
        float x[4] = {1, 2, 3, 4};
        weir_value_t in = weir_f32(x, 2, (int64_t)1, (int64_t)4), out = weir_view();
        if (!status)
            status = weir_session_run(world.session, NULL, 1, &in, 1, &out);
        done = !status;
        if (status && weir_status_code(status) != WEIR_RESOURCE_EXHAUSTED)
            fail_msg("allocation %ld: %s", tries + 1, weir_status_text(status));
        if (done)
            assert_true(((float *)out.data)[0] == 2 * 1 + 1);
        weir_status_free(status);
        world_close(&world);
    }
    assert_true(done && tries > 40);
    free(bytes.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_absent_inputs),
        cmocka_unit_test(attributes_of_the_file),
        cmocka_unit_test(revisions_and_open_sizes),
        cmocka_unit_test(open_sizes_that_are_equal),
        cmocka_unit_test(shared_but_not_folded),
        cmocka_unit_test(uses_that_are_refused),
        cmocka_unit_test(operators_without_a_home),
        cmocka_unit_test(lies_at_load),
        cmocka_unit_test(lies_in_a_run),
        cmocka_unit_test(no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
