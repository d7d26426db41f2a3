// Reading models: tensors, inputs, scopes, functions, limits; and that no damaged file does harm.
// Timeout: 120
#include "tests/unit/onnx_builder.h"

static const message_t none = {0};

// x [2] + w -> y, with `tensor` as an initialiser.
static message_t model_with(message_t tensor)
{
    message_t graph = {0};
    put_text(&graph, 2, "g");
    put_message(&graph, 5, tensor);
    add_input(&graph, "x", 1, "2");
    add_node(&graph, "Identity", "n", "x", "y", none);
    add_output(&graph, "y");
    return make_model(graph, 15);
}

static const weir__tensor_t *constant_of(const loaded_t *loaded, const char *name)
{
    if (loaded->status)
        fail_msg("%s", weir_status_text(loaded->status));
    const weir__tensor_t *constant = loaded->graph->values[value_of(loaded->graph, name)].constant;
    assert_non_null(constant);
    return constant;
}

// ---- Tensors ---------------------------------------------------------------------------------

// Goal: bytes that lie in the file as memory wants them are not copied.
static void read_borrows_raw_data(void **state)
{
    (void)state;
    const float values[] = {1.0f, -2.0f};
    const int64_t dims[] = {2};
    loaded_t loaded;
    message_t packed = tensor_head("w", 1, 1, dims);
    put_bytes(&packed, 4, values, sizeof values);
    for (int i = 0; i < 2; i++) {
        load(&loaded, model_with(i ? packed : raw_tensor("w", 1, 1, dims, values, sizeof values)));
        const weir__tensor_t *constant = constant_of(&loaded, "w");
        const uint8_t *data = constant->data;
        assert_true(data > loaded.model.data && data < loaded.model.data + loaded.model.count);
        assert_memory_equal(data, values, sizeof values);
        assert_int_equal(constant->bytes, 8);
        unload(&loaded);
    }
}

// Goal: numbers encoded one by one come out in the tensor's dtype, negative ones and halves too.
static void read_decodes_typed_fields(void **state)
{
    (void)state;
    static const struct {
        int64_t type;
        uint32_t field;
        int64_t numbers[2];
        weir_dtype_t dtype;
        uint8_t bytes[16];
        size_t byte_count;
    } cases[] = {
        {6, 5, {-2, 70000}, WEIR_I32, {0xfe, 0xff, 0xff, 0xff, 0x70, 0x11, 1, 0}, 8},
        {3, 5, {-2, 127}, WEIR_I8, {0xfe, 0x7f}, 2},
        {2, 5, {255, 1}, WEIR_U8, {0xff, 1}, 2},
        {5, 5, {-300, 300}, WEIR_I16, {0xd4, 0xfe, 0x2c, 0x01}, 4},
        {9, 5, {1, 0}, WEIR_BOOL, {1, 0}, 2},
        {10, 5, {0x3c00, 0xc000}, WEIR_F16, {0, 0x3c, 0, 0xc0}, 4},
        {16, 5, {0x3f80, 0xbf80}, WEIR_BF16, {0x80, 0x3f, 0x80, 0xbf}, 4},
        {7, 7, {-1, 5}, WEIR_I64, {255, 255, 255, 255, 255, 255, 255, 255, 5}, 16},
        {12, 11, {4000000000, 1}, WEIR_U32, {0, 0x28, 0x6b, 0xee, 1, 0, 0, 0}, 8},
        {13, 11, {-1, 2}, WEIR_U64, {255, 255, 255, 255, 255, 255, 255, 255, 2}, 16},
    };
    const int64_t dims[] = {2};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        for (int packed = 0; packed < 2; packed++) {
            message_t tensor = tensor_head("w", cases[i].type, 1, dims), run = {0};
            for (int j = 0; j < 2; j++)
                if (packed)
                    put_varint(&run, (uint64_t)cases[i].numbers[j]);
                else
                    put_int(&tensor, cases[i].field, cases[i].numbers[j]);
            if (packed)
                put_message(&tensor, cases[i].field, run);
            loaded_t loaded;
            load(&loaded, model_with(tensor));
            const weir__tensor_t *constant = constant_of(&loaded, "w");
            assert_int_equal(constant->dtype, cases[i].dtype);
            assert_int_equal(constant->bytes, cases[i].byte_count);
            assert_memory_equal(constant->data, cases[i].bytes, cases[i].byte_count);
            unload(&loaded);
        }
}

// Goal: single floats (as proto2 writers may leave them) are gathered.
static void read_gathers_single_floats(void **state)
{
    (void)state;
    const int64_t dims[] = {3};
    message_t tensor = tensor_head("w", 1, 1, dims);
    const float values[] = {1.0f, 2.0f, 3.0f};
    put_float(&tensor, 4, values[0]);
    put_bytes(&tensor, 4, &values[1], 8);
    loaded_t loaded;
    load(&loaded, model_with(tensor));
    assert_memory_equal(constant_of(&loaded, "w")->data, values, sizeof values);
    unload(&loaded);
}

// Goal: a scalar, and a tensor without elements.
static void read_accepts_scalar_and_empty(void **state)
{
    (void)state;
    const float value = 4.0f;
    const int64_t zero[] = {0, 3};
    loaded_t loaded;
    load(&loaded, model_with(raw_tensor("w", 1, 0, NULL, &value, 4)));
    assert_int_equal(constant_of(&loaded, "w")->rank, 0);
    assert_int_equal(constant_of(&loaded, "w")->count, 1);
    unload(&loaded);
    load(&loaded, model_with(tensor_head("w", 1, 2, zero)));
    assert_int_equal(constant_of(&loaded, "w")->count, 0);
    unload(&loaded);
}

// Goal: dims and dtype must account for exactly the bytes given.
static void read_refuses_wrong_tensors(void **state)
{
    (void)state;
    const int64_t dims[] = {2}, negative[] = {-2}, huge[] = {INT64_MAX, INT64_MAX},
                  big[] = {1 << 20};
    const uint8_t bytes[] = {0, 1, 2, 3, 4, 5, 6, 7};
    message_t few = tensor_head("w", 6, 1, dims), segments = tensor_head("w", 1, 1, dims);
    put_int(&few, 5, 1);
    put_bytes(&segments, 3, "", 0);
    expect_error(model_with(raw_tensor("w", 1, 1, dims, bytes, 7)), WEIR_INVALID_ARGUMENT,
        "tensor w: its raw_data has 7 bytes, but dims and type need 8");
    expect_error(
        model_with(few), WEIR_INVALID_ARGUMENT, "tensor w: it has 1 elements, but its dims need 2");
    expect_error(model_with(raw_tensor("w", 1, 1, negative, bytes, 4)), WEIR_INVALID_ARGUMENT,
        "dims are negative or too large");
    expect_error(model_with(raw_tensor("w", 1, 2, huge, bytes, 4)), WEIR_INVALID_ARGUMENT,
        "dims are negative or too large");
    expect_error(model_with(raw_tensor("w", 1, 1, big, bytes, 4)), WEIR_LIMIT,
        "over the limit tensor_bytes (1048576)");
    expect_error(model_with(raw_tensor("w", 9, 1, dims, bytes + 1, 2)), WEIR_INVALID_ARGUMENT,
        "element 1 of a boolean tensor is 2");
    expect_error(model_with(segments), WEIR_UNSUPPORTED, "segments");
    expect_error(model_with(raw_tensor("w", 8, 1, dims, bytes, 0)), WEIR_UNSUPPORTED,
        "tensor w: element type STRING is not supported");
    expect_error(model_with(raw_tensor("w", 21, 1, dims, bytes, 1)), WEIR_UNSUPPORTED, "UINT4");
    expect_error(
        model_with(raw_tensor("w", 99, 1, dims, bytes, 1)), WEIR_UNSUPPORTED, "element type 99");
    expect_error(
        model_with(raw_tensor("", 1, 1, dims, bytes, 8)), WEIR_INVALID_ARGUMENT, "has no name");
}

static message_t external_tensor(const char *location, const char *offset, const char *length)
{
    const int64_t dims[] = {2};
    const char *keys[] = {"location", "offset", "length"}, *values[] = {location, offset, length};
    message_t tensor = tensor_head("w", 1, 1, dims);
    put_int(&tensor, 14, 1);
    for (int i = 0; i < 3; i++) {
        message_t entry = {0};
        if (!values[i])
            continue;
        put_text(&entry, 1, keys[i]);
        put_text(&entry, 2, values[i]);
        put_message(&tensor, 13, entry);
    }
    return tensor;
}

// Goal: where external data lies is kept for the loader; nonsense is refused.
static void read_notes_external_data(void **state)
{
    (void)state;
    loaded_t loaded;
    load(&loaded, model_with(external_tensor("data/w.bin", "4096", "8")));
    const weir__tensor_t *constant = constant_of(&loaded, "w");
    assert_null(constant->data);
    assert_string_equal(constant->external->location, "data/w.bin");
    assert_int_equal(constant->external->offset, 4096);
    assert_int_equal(constant->external->length, 8);
    unload(&loaded);
    load(&loaded, model_with(external_tensor("w.bin", NULL, NULL)));
    assert_int_equal(constant_of(&loaded, "w")->external->length, 8);
    unload(&loaded);
    expect_error(
        model_with(external_tensor(NULL, "0", NULL)), WEIR_INVALID_ARGUMENT, "no location");
    expect_error(model_with(external_tensor("w", "-1", NULL)), WEIR_INVALID_ARGUMENT,
        "offset \"-1\" is not a size");
    expect_error(model_with(external_tensor("w", "99999999999999999999", NULL)),
        WEIR_INVALID_ARGUMENT, "is not a size");
    expect_error(model_with(external_tensor("w", NULL, "9")), WEIR_INVALID_ARGUMENT,
        "external data has 9 bytes, but dims and type need 8");
}

// Goal: a sparse initialiser is refused by name of the thing, not as damage.
static void read_refuses_sparse(void **state)
{
    (void)state;
    message_t graph = {0};
    put_bytes(&graph, 15, "", 0);
    expect_error(make_model(graph, 15), WEIR_UNSUPPORTED, "sparse initialiser");
}

// ---- Inputs, outputs, names --------------------------------------------------------------------

// Goal: sizes, names of sizes, and sizes that are each their own.
static void read_types_of_inputs(void **state)
{
    (void)state;
    message_t graph = {0};
    loaded_t loaded;
    add_input(&graph, "x", 1, "3,batch,?,-1");
    add_input(&graph, "z", 7, "batch,?,0");
    add_input(&graph, "u", 11, NULL);
    add_node(&graph, "Identity", "n", "x", "y", none);
    add_output(&graph, "y");
    load(&loaded, make_model(graph, 15));
    const weir__type_t *x = &loaded.graph->values[value_of(loaded.graph, "x")].type;
    const weir__type_t *z = &loaded.graph->values[value_of(loaded.graph, "z")].type;
    const weir__type_t *u = &loaded.graph->values[value_of(loaded.graph, "u")].type;
    assert_int_equal(loaded.graph->main.input_count, 3);
    assert_int_equal(x->dtype, WEIR_F32);
    assert_int_equal(z->dtype, WEIR_I64);
    assert_int_equal(x->rank, 4);
    assert_int_equal(x->dims[0], 3);
    assert_true(x->dims[1] < 0);
    assert_int_equal(x->dims[1], z->dims[0]);
    assert_string_equal(loaded.graph->symbols.names[-1 - x->dims[1]], "batch");
    const int64_t own[] = {x->dims[2], x->dims[3], z->dims[1], z->dims[2], x->dims[1]};
    for (int i = 0; i < 5; i++)
        for (int j = 0; j < i; j++)
            assert_int_not_equal(own[i], own[j]);
    assert_int_equal(u->rank, -1);
    unload(&loaded);
}

// Goal: what old files list among the inputs, too, is a constant.
static void read_drops_initialisers_from_inputs(void **state)
{
    (void)state;
    const float w[] = {1, 2};
    message_t graph = {0};
    loaded_t loaded;
    add_input(&graph, "w", 1, "2");
    add_input(&graph, "x", 1, "2");
    add_node(&graph, "Add", "n", "x,w", "y", none);
    add_output(&graph, "y");
    add_floats(&graph, "w", 2, w);
    load(&loaded, make_model(graph, 9));
    assert_null(loaded.status);
    assert_int_equal(loaded.graph->main.input_count, 1);
    assert_int_equal(loaded.graph->main.inputs[0], value_of(loaded.graph, "x"));
    assert_int_equal(loaded.info.file_node_count, 1);
    assert_int_equal(loaded.info.opset, 9);
    assert_int_equal(loaded.info.ir_version, 8);
    assert_string_equal(loaded.info.producer, "by hand");
    unload(&loaded);
}

// Goal: nodes may come in any order; the verifier sorts them.
static void read_takes_nodes_in_any_order(void **state)
{
    (void)state;
    message_t graph = {0};
    loaded_t loaded;
    add_input(&graph, "x", 1, "2");
    add_node(&graph, "Relu", "second", "h", "y", none);
    add_node(&graph, "Neg", "first", "x", "h", none);
    add_output(&graph, "y");
    load(&loaded, make_model(graph, 15));
    assert_null(loaded.status);
    assert_null(weir__graph_verify(loaded.graph));
    assert_string_equal(loaded.graph->nodes[loaded.graph->main.nodes[0]].origins[0], "first");
    unload(&loaded);
}

static message_t one_node(const char *op, const char *name, const char *inputs, const char *outputs)
{
    message_t graph = {0};
    add_input(&graph, "x", 1, "2");
    add_node(&graph, op, name, inputs, outputs, none);
    add_output(&graph, "y");
    return make_model(graph, 15);
}

// Goal: what is wrong with names, inputs and outputs is said with the names.
static void read_refuses_wrong_names(void **state)
{
    (void)state;
    message_t untyped = {0}, info = {0}, twice = {0}, sequence = {0};
    put_text(&info, 1, "x");
    put_message(&untyped, 11, info);
    expect_error(make_model(untyped, 15), WEIR_INVALID_ARGUMENT, "input x has no type");
    expect_error(one_node("Relu", "n", "q", "y"), WEIR_INVALID_ARGUMENT,
        "node n (Relu): its input 0, q, is made by no node");
    expect_error(
        one_node("Relu", "", "q", "y"), WEIR_INVALID_ARGUMENT, "node Relu#0 -> y (Relu): ");
    expect_error(
        one_node("Relu", "n", "x", "z"), WEIR_INVALID_ARGUMENT, "output y is made by no node");
    expect_error(one_node("Relu", "n", "x", "x"), WEIR_INVALID_ARGUMENT,
        "two tensors of one graph are called x");
    expect_error(one_node("Relu", "n", "x,x", "y"), WEIR_INVALID_ARGUMENT, "it has 2 inputs");
    expect_error(one_node("Relu", "n", "", "y"), WEIR_INVALID_ARGUMENT, "it has 0 inputs");
    expect_error(one_node("Relu", "n", "x", "y,z"), WEIR_INVALID_ARGUMENT, "it has 2 outputs");
    add_input(&twice, "x", 1, "2");
    add_input(&twice, "x", 1, "2");
    expect_error(make_model(twice, 15), WEIR_INVALID_ARGUMENT, "are called x");
    message_t type = {0}, port = {0};
    put_bytes(&type, 4, "", 0);
    put_text(&port, 1, "x");
    put_message(&port, 2, type);
    put_message(&sequence, 11, port);
    expect_error(make_model(sequence, 15), WEIR_UNSUPPORTED, "input: x: it is a sequence");
}

// Goal: an operator that weir does not know is named with its domain and opset.
static void read_names_unknown_operators(void **state)
{
    (void)state;
    message_t graph = {0}, node = make_node("Bar", "n", "x", "y", none), model = {0};
    put_text(&node, 7, "com.foo");
    add_input(&graph, "x", 1, "2");
    put_message(&graph, 1, node);
    add_output(&graph, "y");
    add_opset(&model, 8, "", 15);
    add_opset(&model, 8, "com.foo", 3);
    put_message(&model, 7, graph);
    expect_error(model, WEIR_UNSUPPORTED,
        "node n (Bar): operator com.foo::Bar (version 3) is of a domain that ONNX does not define");
    expect_error(one_node("Loop", "n", "x", "y"), WEIR_UNSUPPORTED,
        "operator Loop (opset 15) is not known to weir");
    expect_error(one_node("Gelu", "n", "x", "y"), WEIR_UNSUPPORTED,
        "operator Gelu needs opset 20, but the model imports opset 15");
    expect_error(one_node("Upsample", "n", "x", "y"), WEIR_UNSUPPORTED, "ended with opset 9");
}

// Goal: "ai.onnx" is the default domain.
static void read_knows_the_default_domain(void **state)
{
    (void)state;
    message_t graph = {0}, node = make_node("Relu", "n", "x", "y", none), model = {0};
    loaded_t loaded;
    put_text(&node, 7, "ai.onnx");
    add_input(&graph, "x", 1, "2");
    put_message(&graph, 1, node);
    add_output(&graph, "y");
    add_opset(&model, 8, "ai.onnx", 15);
    put_message(&model, 7, graph);
    load(&loaded, model);
    assert_null(loaded.status);
    assert_int_equal(loaded.info.opset, 15);
    unload(&loaded);
}

// Goal: models of other opsets, and things that are no models.
static void read_refuses_other_files(void **state)
{
    (void)state;
    message_t graph = {0}, text = {0}, empty = {0}, two = {0};
    add_input(&graph, "x", 1, "2");
    message_t copy = {0};
    put_bytes(&copy, 11, "\n\001x", 3);
    expect_error(make_model(copy, 6), WEIR_UNSUPPORTED, "opset 6 is not supported");
    expect_error(make_model(graph, 29), WEIR_UNSUPPORTED, "opset 29 is not supported");
    for (const char *at = "this is not a model"; *at; at++)
        put_byte(&text, (unsigned)*at);
    expect_error(text, WEIR_INVALID_ARGUMENT, "");
    expect_error(empty, WEIR_INVALID_ARGUMENT, "it has no graph: this is not an ONNX model");
    put_bytes(&two, 7, "", 0);
    put_bytes(&two, 7, "", 0);
    expect_error(two, WEIR_INVALID_ARGUMENT, "second graph");
}

// ---- Branches and functions --------------------------------------------------------------------

// A branch: out = op(input).
static message_t branch(const char *op, const char *input, const char *output)
{
    message_t graph = {0};
    add_node(&graph, op, op, input, output, none);
    add_output(&graph, output);
    return graph;
}

static message_t if_model(message_t then_branch, message_t else_branch)
{
    message_t graph = {0}, attributes = {0};
    add_input(&graph, "c", 9, "");
    add_input(&graph, "x", 1, "2");
    attribute_graph(&attributes, "then_branch", then_branch);
    attribute_graph(&attributes, "else_branch", else_branch);
    add_node(&graph, "Neg", "before", "x", "h", none);
    add_node(&graph, "If", "choice", "c", "y", attributes);
    add_node(&graph, "Relu", "after", "y", "z", none);
    add_output(&graph, "z");
    return make_model(graph, 15);
}

// Goal: branches become regions, see the names around them, and hide them by their own.
static void read_makes_regions_of_branches(void **state)
{
    (void)state;
    loaded_t loaded;
    message_t shadow = {0};
    add_node(&shadow, "Exp", "e", "x", "h", none); // an h of its own
    add_node(&shadow, "Sqrt", "s", "h", "o", none);
    add_output(&shadow, "o");
    load(&loaded, if_model(branch("Tanh", "h", "o"), shadow));
    assert_null(loaded.status);
    const weir__graph_t *graph = loaded.graph;
    const weir__node_t *choice = maker_of(graph, "y");
    assert_int_equal(choice->region_count, 2);
    assert_int_equal(graph->main.node_count, 3);
    assert_int_equal(choice->regions[0]->node_count, 1);
    assert_int_equal(choice->regions[1]->node_count, 2);
    const weir__node_t *tanh = &graph->nodes[choice->regions[0]->nodes[0]];
    assert_string_equal(tanh->op->name, "Tanh");
    assert_string_equal(graph->nodes[graph->values[tanh->inputs[0]].producer].op->name, "Neg");
    const weir__node_t *root = &graph->nodes[choice->regions[1]->nodes[1]];
    assert_string_equal(graph->nodes[graph->values[root->inputs[0]].producer].op->name, "Exp");
    assert_int_equal(loaded.info.file_node_count, 6);
    assert_null(weir__graph_verify(loaded.graph));
    unload(&loaded);
}

// Goal: what is wrong with branches.
static void read_refuses_wrong_branches(void **state)
{
    (void)state;
    message_t two = branch("Tanh", "h", "o"), with_input = branch("Tanh", "h", "o");
    add_output(&two, "h");
    add_input(&with_input, "i", 1, "2");
    expect_error(if_model(two, branch("Exp", "h", "o")), WEIR_INVALID_ARGUMENT,
        "then_branch has 2 outputs, but the node has 1");
    expect_error(if_model(with_input, branch("Exp", "h", "o")), WEIR_INVALID_ARGUMENT,
        "a branch of an If has the input i");
    expect_error(if_model(branch("Exp", "h", "o"), branch("Exp", "o", "p")), WEIR_INVALID_ARGUMENT,
        "its input 0, o, is made by no node");
    expect_error(if_model(branch("Exp", "h", "o"), none), WEIR_INVALID_ARGUMENT,
        "else_branch has 0 outputs");
}

static message_t nested_ifs(int depth)
{
    message_t inner = branch("Tanh", "h", "o");
    for (int i = 0; i < depth; i++) {
        message_t outer = {0}, attributes = {0};
        attribute_graph(&attributes, "then_branch", inner);
        attribute_graph(&attributes, "else_branch", branch("Exp", "h", "o"));
        add_node(&outer, "If", "i", "c", "o", attributes);
        add_output(&outer, "o");
        inner = outer;
    }
    return if_model(inner, branch("Exp", "h", "o"));
}

// Goal: nesting meets its limits, which one ever comes first.
static void read_limits_nesting(void **state)
{
    (void)state;
    weir_limits_t limits = test_limits();
    loaded_t loaded;
    load(&loaded, nested_ifs((int)limits.subgraph_depth - 1));
    if (loaded.status)
        fail_msg("%s", weir_status_text(loaded.status));
    unload(&loaded);
    expect_error(nested_ifs((int)limits.subgraph_depth), WEIR_LIMIT, "subgraph_depth");
    limits.wire_depth = 12;
    expect_refused(nested_ifs(4), &limits, WEIR_LIMIT, "wire_depth (12)");
}

// f(a, b) { t = LeakyRelu<alpha = @slope>(a); k = Constant<value_float = @k>; out = t + b * k; same
// = a }
static message_t make_function(const char *name, const char *calls)
{
    message_t function = {0}, leaky = {0}, constant = {0}, fallback = {0};
    put_text(&function, 1, name);
    put_text(&function, 10, "local");
    put_text(&function, 4, "a");
    put_text(&function, 4, "b");
    put_text(&function, 5, "out");
    put_text(&function, 5, "same");
    put_text(&function, 6, "slope");
    put_text(&fallback, 1, "k");
    put_int(&fallback, 20, 1);
    put_float(&fallback, 2, 3.0f);
    put_message(&function, 11, fallback);
    attribute_reference(&leaky, "alpha", 1, "slope");
    attribute_reference(&constant, "value_float", 1, "k");
    put_message(&function, 7, make_node("LeakyRelu", "leaky", "a", "t", leaky));
    put_message(&function, 7, make_node("Constant", "", "", "k", constant));
    put_message(&function, 7, make_node("Mul", "scale", "b,k", "m", none));
    put_message(&function, 7, make_node("Add", "sum", "t,m", "out", none));
    put_message(&function, 7, make_node("Identity", "keep", "a", "same", none));
    if (calls) {
        message_t inner = make_node(calls, "again", "a,b", "unused", none);
        put_text(&inner, 7, "local");
        put_message(&function, 7, inner);
    }
    add_opset(&function, 9, "", 16);
    add_opset(&function, 9, "local", 1);
    return function;
}

static message_t call_model(message_t function, const char *inputs, const char *outputs)
{
    message_t graph = {0}, attributes = {0}, model = {0};
    attribute_float(&attributes, "slope", 0.5f);
    message_t call = make_node("F", "call", inputs, outputs, attributes);
    put_text(&call, 7, "local");
    add_input(&graph, "x", 1, "2");
    put_message(&graph, 1, call);
    add_output(&graph, "y");
    add_opset(&model, 8, "", 15);
    add_opset(&model, 8, "local", 1);
    put_message(&model, 7, graph);
    put_message(&model, 25, function);
    return model;
}

// Goal: a call becomes the function's nodes, with the call's attributes and the function's
// defaults.
static void read_inlines_functions(void **state)
{
    (void)state;
    loaded_t loaded;
    load(&loaded, call_model(make_function("F", NULL), "x,x", "y,z"));
    if (loaded.status)
        fail_msg("%s", weir_status_text(loaded.status));
    const weir__graph_t *graph = loaded.graph;
    const weir__node_t *sum = maker_of(graph, "y");
    assert_string_equal(sum->op->name, "Add");
    assert_string_equal(sum->origins[0], "call/sum");
    const weir__node_t *leaky = &graph->nodes[graph->values[sum->inputs[0]].producer];
    const weir__node_t *scale = &graph->nodes[graph->values[sum->inputs[1]].producer];
    assert_true(weir__node_attribute(leaky, "alpha")->f == 0.5);
    assert_true(*(const float *)constant_input(graph, scale, 1)->data == 3.0f);
    assert_string_equal(maker_of(graph, "z")->op->name, "Identity");
    assert_null(weir__graph_verify(loaded.graph));
    unload(&loaded);
}

// Goal: calls that do not fit, and functions that call themselves.
static void read_refuses_wrong_calls(void **state)
{
    (void)state;
    weir_limits_t limits = test_limits();
    expect_error(call_model(make_function("F", NULL), "x,x,x", "y"), WEIR_INVALID_ARGUMENT,
        "the call has 3 inputs and 1 outputs, but its function has 2 and 2");
    expect_error(call_model(make_function("F", "F"), "x,x", "y"), WEIR_LIMIT,
        "functions call one another deeper than the limit subgraph_depth (8)");
    limits.nodes = 20;
    expect_refused(
        call_model(make_function("F", "F"), "x,x", "y"), &limits, WEIR_LIMIT, "limit nodes (20)");
    expect_error(call_model(make_function("G", NULL), "x,x", "y"), WEIR_UNSUPPORTED,
        "operator local::F (version 1) is of a domain");
}

// ---- Limits and damage -------------------------------------------------------------------------

static message_t chain_model(void)
{
    const float w[] = {1, 2};
    const int64_t axes[] = {0};
    message_t graph = {0}, attributes = {0}, constant = {0};
    add_floats(&graph, "w", 2, w);
    add_int64s(&graph, "axes", 1, axes);
    add_input(&graph, "x", 1, "N,2");
    attribute_int(&attributes, "axis", 1);
    attribute_float(&constant, "value_float", 2.0f);
    add_node(&graph, "Constant", "k", "", "two", constant);
    add_node(&graph, "Add", "a", "x,w", "s", none);
    add_node(&graph, "Mul", "m", "s,two", "t", none);
    add_node(&graph, "Concat", "c", "t,x", "u", attributes);
    add_node(&graph, "ReduceSum", "r", "u,axes", "v", none);
    message_t branches = {0};
    attribute_graph(&branches, "then_branch", branch("Tanh", "v", "o"));
    attribute_graph(&branches, "else_branch", branch("Exp", "v", "o"));
    add_input(&graph, "flag", 9, "");
    add_node(&graph, "If", "i", "flag", "y", branches);
    add_output(&graph, "y");
    return make_model(graph, 15);
}

// Goal: each limit is charged, and its error names it.
static void read_charges_limits(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint64_t value;
        const char *name;
    } cases[] = {
        {offsetof(weir_limits_t, nodes), 4, "nodes"},
        {offsetof(weir_limits_t, values), 3, "values"},
        {offsetof(weir_limits_t, initializers), 1, "initializers"},
        {offsetof(weir_limits_t, attributes), 1, "attributes"},
        {offsetof(weir_limits_t, name_bytes), 3, "name_bytes"},
        {offsetof(weir_limits_t, tensor_bytes), 7, "tensor_bytes"},
        {offsetof(weir_limits_t, wire_depth), 3, "wire_depth"},
        {offsetof(weir_limits_t, graph_bytes), 2000, "graph_bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir_limits_t limits = test_limits();
        memcpy((char *)&limits + cases[i].at, &cases[i].value, sizeof cases[i].value);
        expect_refused(chain_model(), &limits, WEIR_LIMIT, cases[i].name);
    }
    weir_limits_t limits = test_limits();
    limits.rank = 1;
    expect_refused(chain_model(), &limits, WEIR_LIMIT, "rank");
}

// A file that is cut or changed in one byte is read or refused, and nothing else.
static void read_survives(const uint8_t *data, size_t bytes)
{
    weir_limits_t limits = test_limits();
    weir__heap_t heap;
    weir__graph_t *graph;
    weir__onnx_info_t info;
    weir__heap_init(&heap, NULL, 0);
    assert_null(weir__graph_create(&heap, &limits, &graph));
    uint8_t *exact = malloc(bytes ? bytes : 1); // the address sanitizer sees a read past the end
    memcpy(exact, data, bytes);
    weir_status_t status = weir__onnx_read(exact, bytes, "m.onnx", graph, &info);
    if (!status)
        status = weir__graph_verify(graph);
    weir_status_free(status);
    weir__graph_free(graph);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
    free(exact);
}

// Goal: no truncation and no changed byte does harm. Method: all of them, under the sanitizers.
static void read_survives_damage(void **state)
{
    (void)state;
    static const uint8_t changes[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    message_t models[] = {chain_model(), call_model(make_function("F", NULL), "x,x", "y,z")};
    for (size_t m = 0; m < sizeof models / sizeof models[0]; m++) {
        message_t *model = &models[m];
        for (size_t i = 0; i <= model->count; i++)
            read_survives(model->data, i);
        for (size_t i = 0; i < model->count; i++) {
            uint8_t kept = model->data[i];
            for (size_t c = 0; c < sizeof changes; c++) {
                model->data[i] = changes[c];
                read_survives(model->data, model->count);
                model->data[i] = kept ^ (uint8_t)(1u << (c + 1));
                read_survives(model->data, model->count);
            }
            model->data[i] = kept;
        }
        free(model->data);
    }
}

typedef struct failing {
    uint64_t left;
} failing_t;

static void *failing_alloc(void *user, size_t bytes, size_t alignment)
{
    failing_t *failing = user;
    if (!failing->left)
        return NULL;
    failing->left--;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void failing_free(void *user, void *memory)
{
    (void)user;
    free(memory);
}

// Goal: out of memory anywhere is a status, and nothing leaks. Method: the n-th allocation fails,
// for all n.
static void read_survives_no_memory(void **state)
{
    (void)state;
    weir_limits_t limits = test_limits();
    message_t model = chain_model();
    bool done = false;
    for (uint64_t n = 0; !done; n++) {
        failing_t failing = {n};
        weir_allocator_t allocator = {&failing, failing_alloc, failing_free};
        weir__heap_t heap;
        weir__graph_t *graph = NULL;
        weir__onnx_info_t info;
        weir__heap_init(&heap, &allocator, 0);
        weir_status_t status = weir__graph_create(&heap, &limits, &graph);
        if (!status)
            status = weir__onnx_read(model.data, model.count, "m.onnx", graph, &info);
        done = !status;
        if (status)
            assert_int_equal(weir_status_code(status), WEIR_RESOURCE_EXHAUSTED);
        weir_status_free(status);
        weir__graph_free(graph);
        assert_int_equal(atomic_load(&heap.now_bytes), 0);
        assert_true(n < 1000);
    }
    free(model.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(read_borrows_raw_data),
        cmocka_unit_test(read_decodes_typed_fields),
        cmocka_unit_test(read_gathers_single_floats),
        cmocka_unit_test(read_accepts_scalar_and_empty),
        cmocka_unit_test(read_refuses_wrong_tensors),
        cmocka_unit_test(read_notes_external_data),
        cmocka_unit_test(read_refuses_sparse),
        cmocka_unit_test(read_types_of_inputs),
        cmocka_unit_test(read_drops_initialisers_from_inputs),
        cmocka_unit_test(read_takes_nodes_in_any_order),
        cmocka_unit_test(read_refuses_wrong_names),
        cmocka_unit_test(read_names_unknown_operators),
        cmocka_unit_test(read_knows_the_default_domain),
        cmocka_unit_test(read_refuses_other_files),
        cmocka_unit_test(read_makes_regions_of_branches),
        cmocka_unit_test(read_refuses_wrong_branches),
        cmocka_unit_test(read_limits_nesting),
        cmocka_unit_test(read_inlines_functions),
        cmocka_unit_test(read_refuses_wrong_calls),
        cmocka_unit_test(read_charges_limits),
        cmocka_unit_test(read_survives_damage),
        cmocka_unit_test(read_survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
