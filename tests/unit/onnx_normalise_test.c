// Every operator and opset has one form after reading: the table's own order, and each rule.
#include "engine/onnx/normalise.h"
#include "tests/unit/onnx_builder.h"
#include <float.h>
#include <math.h>

static const message_t none = {0};

// One node over inputs x (f32), i (i64), b (bool), n (no shape), and weights w [4,3,3,3], r
// [1,8,2].
static message_t model_of(
    int64_t opset, const char *op, const char *inputs, const char *outputs, message_t attributes)
{
    static const float zeros[108];
    const int64_t w[] = {4, 3, 3, 3}, r[] = {1, 8, 2}, empty[] = {0};
    const float two[] = {2, 2}, half[] = {1, 0.5f}, mixed[] = {2, 0.5f};
    const uint8_t no = 0, yes = 1;
    message_t graph = {0};
    add_input(&graph, "x", 1, "1,3,8,8");
    add_input(&graph, "i", 7, "2");
    add_input(&graph, "b", 9, "2");
    put_message(&graph, 5, raw_tensor("w", 1, 4, w, zeros, sizeof zeros));
    put_message(&graph, 5, raw_tensor("r", 1, 3, r, zeros, 64));
    put_message(&graph, 5, raw_tensor("none", 1, 1, empty, zeros, 0));
    put_message(&graph, 5, raw_tensor("no", 9, 0, NULL, &no, 1));
    put_message(&graph, 5, raw_tensor("yes", 9, 0, NULL, &yes, 1));
    put_message(&graph, 5, raw_tensor("six", 1, 0, NULL, two, 4));
    add_floats(&graph, "two", 2, two);
    add_floats(&graph, "half", 2, half);
    add_floats(&graph, "mixed", 2, mixed);
    add_node(&graph, op, "n", inputs, outputs, attributes);
    return make_model(graph, opset);
}

static void load_node(loaded_t *loaded, int64_t opset, const char *op, const char *inputs,
    const char *outputs, message_t attributes)
{
    load(loaded, model_of(opset, op, inputs, outputs, attributes));
    if (loaded->status)
        fail_msg("%s", weir_status_text(loaded->status));
}

// The only node, which must be `op`.
static const weir__node_t *single(const loaded_t *loaded, const char *op)
{
    assert_int_equal(loaded->graph->main.node_count, 1);
    const weir__node_t *node = &loaded->graph->nodes[0];
    assert_string_equal(node->op->name, op);
    return node;
}

static void expect_ints(const weir__node_t *node, const char *name, uint32_t count, int64_t first)
{
    const weir_attribute_t *attribute = weir__node_attribute(node, name);
    assert_non_null(attribute);
    assert_int_equal(attribute->type, WEIR_ATTR_INTS);
    assert_int_equal(attribute->count, count);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(attribute->ints[i], first);
}

static void expect_vector(
    const loaded_t *loaded, const weir__node_t *node, uint32_t input, int64_t first, uint64_t count)
{
    const weir__tensor_t *tensor = constant_input(loaded->graph, node, input);
    assert_int_equal(tensor->dtype, WEIR_I64);
    assert_int_equal(tensor->rank, 1);
    assert_int_equal(tensor->count, count);
    int64_t number; // the file's bytes lie where they lie
    memcpy(&number, tensor->data, sizeof number);
    assert_int_equal(number, first);
}

static double scalar_input(const loaded_t *loaded, const weir__node_t *node, uint32_t input)
{
    const weir__tensor_t *tensor = constant_input(loaded->graph, node, input);
    assert_int_equal(tensor->dtype, WEIR_F32);
    assert_int_equal(tensor->count, 1);
    float number;
    memcpy(&number, tensor->data, sizeof number);
    return (double)number;
}

// Goal: the table is sorted, its ranges do not overlap, and what it names exists.
static void table_is_consistent(void **state)
{
    (void)state;
    uint32_t count;
    const weir__norm_row_t *table = weir__norm_table(&count);
    for (uint32_t i = 0; i < count; i++) {
        assert_non_null(weir__op_find(table[i].target, 1));
        assert_true(table[i].first <= table[i].last);
        assert_true(table[i].attribute_count <= WEIR__NORM_ATTRIBUTES_MAX);
        if (!i)
            continue;
        int order = strcmp(table[i - 1].name, table[i].name);
        if (order > 0 || (order == 0 && table[i - 1].last >= table[i].first))
            fail_msg("%s is out of order", table[i].name);
    }
}

// Goal: every operator of the table (and so of docs/operators.md) can come out of a file.
static void table_reaches_every_operator(void **state)
{
    (void)state;
    static const char *const by_rule[] = {"Attention", "GeluTanh", "If", "Constant"};
    uint32_t count, ops;
    const weir__norm_row_t *table = weir__norm_table(&count);
    const weir__op_t *op = weir__op_table(&ops);
    for (uint32_t i = 0; i < ops; i++) {
        bool found = false;
        for (uint32_t j = 0; j < count; j++)
            found |= strcmp(table[j].target, op[i].name) == 0;
        for (size_t j = 0; j < sizeof by_rule / sizeof by_rule[0]; j++)
            found |= strcmp(by_rule[j], op[i].name) == 0;
        if (!found)
            fail_msg("no ONNX operator becomes %s", op[i].name);
    }
}

// Goal: defaults are there, unknown and wrong attributes are refused.
static void attributes_are_filled_and_checked(void **state)
{
    (void)state;
    loaded_t loaded;
    message_t wrong = {0}, unknown = {0}, twice = {0};
    load_node(&loaded, 9, "LeakyRelu", "x", "y", none);
    assert_true(weir__node_attribute(single(&loaded, "LeakyRelu"), "alpha")->f == (double)0.01f);
    unload(&loaded);
    load_node(&loaded, 15, "Gemm", "x,x", "y", none);
    assert_true(weir__node_attribute(single(&loaded, "Gemm"), "beta")->f == 1.0);
    assert_int_equal(weir__node_int(single(&loaded, "Gemm"), "transB", 7), 0);
    unload(&loaded);
    attribute_int(&wrong, "alpha", 1);
    expect_error(model_of(15, "LeakyRelu", "x", "y", wrong), WEIR_INVALID_ARGUMENT,
        "node n (LeakyRelu): attribute alpha must be a number");
    attribute_int(&unknown, "broadcast", 1);
    expect_error(model_of(15, "Add", "x,x", "y", unknown), WEIR_INVALID_ARGUMENT,
        "Add has no attribute \"broadcast\" in opset 15");
    attribute_int(&twice, "axis", 1);
    attribute_int(&twice, "axis", 2);
    expect_error(model_of(15, "Concat", "x,x", "y", twice), WEIR_INVALID_ARGUMENT, "given twice");
    expect_error(
        model_of(15, "Concat", "x,x", "y", none), WEIR_INVALID_ARGUMENT, "axis is missing");
}

// Goal: what used to be attributes arrives as constant inputs.
static void axes_become_inputs(void **state)
{
    (void)state;
    static const char *const ops[] = {
        "Squeeze", "Unsqueeze", "ReduceSum", "ReduceMean", "ReduceL2"};
    const int64_t axes[] = {2, 3};
    for (size_t i = 0; i < sizeof ops / sizeof ops[0]; i++) {
        message_t attributes = {0};
        loaded_t loaded;
        attribute_ints(&attributes, "axes", 2, axes);
        load_node(&loaded, 11, ops[i], "x", "y", attributes);
        const weir__node_t *node = single(&loaded, ops[i]);
        assert_int_equal(node->input_count, 2);
        expect_vector(&loaded, node, 1, 2, 2);
        if (strncmp(ops[i], "Reduce", 6) == 0) {
            assert_int_equal(weir__node_int(node, "keepdims", 7), 1);
            assert_int_equal(weir__node_int(node, "noop_with_empty_axes", 7), 0);
        }
        unload(&loaded);
    }
    loaded_t loaded;
    load_node(&loaded, 11, "ReduceSum", "x", "y", none);
    assert_int_equal(single(&loaded, "ReduceSum")->input_count, 1);
    unload(&loaded);
    load_node(&loaded, 13, "ReduceSum", "x,i", "y", none);
    assert_int_equal(single(&loaded, "ReduceSum")->input_count, 2);
    unload(&loaded);
    expect_error(
        model_of(11, "Unsqueeze", "x", "y", none), WEIR_INVALID_ARGUMENT, "axes is missing");
    expect_error(model_of(11, "ReduceSum", "x,i", "y", none), WEIR_INVALID_ARGUMENT,
        "it has 2 inputs; ReduceSum takes 1 in opset 11");
}

// Goal: Slice-1, Split-2, Pad-2.
static void slice_split_pad_become_inputs(void **state)
{
    (void)state;
    const int64_t starts[] = {1}, ends[] = {5}, parts[] = {1, 2}, pads[] = {0, 0, 1, 1, 0, 0, 1, 1};
    message_t slice = {0}, split = {0}, pad = {0}, zero = {0}, count = {0};
    loaded_t loaded;
    attribute_ints(&slice, "starts", 1, starts);
    attribute_ints(&slice, "ends", 1, ends);
    load_node(&loaded, 9, "Slice", "x", "y", slice);
    assert_int_equal(single(&loaded, "Slice")->input_count, 3);
    expect_vector(&loaded, &loaded.graph->nodes[0], 1, 1, 1);
    expect_vector(&loaded, &loaded.graph->nodes[0], 2, 5, 1);
    unload(&loaded);
    attribute_ints(&split, "split", 2, parts);
    attribute_int(&split, "axis", 1);
    load_node(&loaded, 11, "Split", "x", "y,z", split);
    expect_vector(&loaded, single(&loaded, "Split"), 1, 1, 2);
    assert_int_equal(weir__node_int(&loaded.graph->nodes[0], "axis", 7), 1);
    unload(&loaded);
    attribute_int(&count, "num_outputs", 3);
    expect_error(model_of(18, "Split", "x", "y,z", count), WEIR_INVALID_ARGUMENT,
        "num_outputs is 3, but it has 2 outputs");
    attribute_ints(&pad, "pads", 8, pads);
    attribute_float(&pad, "value", 1.5f);
    load_node(&loaded, 9, "Pad", "x", "y", pad);
    expect_vector(&loaded, single(&loaded, "Pad"), 1, 0, 8);
    assert_true(scalar_input(&loaded, &loaded.graph->nodes[0], 2) == 1.5);
    assert_string_equal(weir__node_attribute(&loaded.graph->nodes[0], "mode")->s, "constant");
    unload(&loaded);
    attribute_ints(&zero, "pads", 8, pads);
    load_node(&loaded, 9, "Pad", "x", "y", zero);
    assert_int_equal(single(&loaded, "Pad")->input_count, 2);
    unload(&loaded);
}

// Goal: Clip has both bounds, of the right dtype, whichever version and bounds there were.
static void clip_has_both_bounds(void **state)
{
    (void)state;
    message_t both = {0}, low = {0};
    loaded_t loaded;
    attribute_float(&both, "min", -1.0f);
    attribute_float(&both, "max", 6.0f);
    load_node(&loaded, 9, "Clip", "x", "y", both);
    assert_true(scalar_input(&loaded, single(&loaded, "Clip"), 1) == -1.0);
    assert_true(scalar_input(&loaded, &loaded.graph->nodes[0], 2) == 6.0);
    unload(&loaded);
    attribute_float(&low, "min", 0.0f);
    load_node(&loaded, 9, "Clip", "x", "y", low);
    assert_true(scalar_input(&loaded, single(&loaded, "Clip"), 2) == (double)FLT_MAX);
    unload(&loaded);
    load_node(&loaded, 13, "Clip", "x,,six", "y", none);
    assert_true(scalar_input(&loaded, single(&loaded, "Clip"), 1) == -(double)INFINITY);
    unload(&loaded);
    load_node(&loaded, 13, "Clip", "x,six", "y", none);
    assert_true(scalar_input(&loaded, single(&loaded, "Clip"), 2) == (double)INFINITY);
    unload(&loaded);
    load_node(&loaded, 13, "Clip", "i,i", "y", none);
    assert_int_equal(single(&loaded, "Max")->input_count, 2);
    unload(&loaded);
    load_node(&loaded, 13, "Clip", "i,,i", "y", none);
    assert_int_equal(single(&loaded, "Min")->input_count, 2);
    unload(&loaded);
    load_node(&loaded, 13, "Clip", "x,,", "y", none);
    assert_int_equal(single(&loaded, "Identity")->input_count, 1);
    unload(&loaded);
}

// Goal: any number of operands becomes a chain in their order.
static void variadics_become_chains(void **state)
{
    (void)state;
    static const char *const ops[][2] = {{"Sum", "Add"}, {"Max", "Max"}, {"Min", "Min"}};
    loaded_t loaded;
    for (size_t i = 0; i < 3; i++) {
        load_node(&loaded, 13, ops[i][0], "x,six,two", "y", none);
        assert_int_equal(loaded.graph->main.node_count, 2);
        const weir__node_t *last = maker_of(loaded.graph, "y");
        assert_string_equal(last->op->name, ops[i][1]);
        assert_int_equal(last->inputs[1], value_of(loaded.graph, "two"));
        const weir__node_t *first =
            &loaded.graph->nodes[loaded.graph->values[last->inputs[0]].producer];
        assert_int_equal(first->inputs[0], value_of(loaded.graph, "x"));
        assert_int_equal(first->inputs[1], value_of(loaded.graph, "six"));
        unload(&loaded);
        load_node(&loaded, 13, ops[i][0], "x", "y", none);
        single(&loaded, "Identity");
        unload(&loaded);
        expect_error(model_of(13, ops[i][0], "", "y", none), WEIR_INVALID_ARGUMENT, "inputs");
    }
    load_node(&loaded, 13, "Mean", "x,six,two", "y", none);
    assert_int_equal(loaded.graph->main.node_count, 3);
    const weir__node_t *divide = maker_of(loaded.graph, "y");
    assert_string_equal(divide->op->name, "Div");
    assert_true(scalar_input(&loaded, divide, 1) == 3.0);
    unload(&loaded);
}

// Goal: windows have strides, dilations, pads and a kernel shape.
static void windows_are_filled_in(void **state)
{
    (void)state;
    const int64_t kernel[] = {2, 2};
    message_t pool = {0};
    loaded_t loaded;
    load_node(&loaded, 11, "Conv", "x,w", "y", none);
    const weir__node_t *conv = single(&loaded, "Conv");
    expect_ints(conv, "kernel_shape", 2, 3);
    expect_ints(conv, "strides", 2, 1);
    expect_ints(conv, "dilations", 2, 1);
    expect_ints(conv, "pads", 4, 0);
    assert_string_equal(weir__node_attribute(conv, "auto_pad")->s, "NOTSET");
    unload(&loaded);
    attribute_ints(&pool, "kernel_shape", 2, kernel);
    load_node(&loaded, 8, "MaxPool", "x", "y", pool);
    expect_ints(single(&loaded, "MaxPool"), "pads", 4, 0);
    expect_ints(&loaded.graph->nodes[0], "strides", 2, 1);
    unload(&loaded);
    expect_error(model_of(9, "AveragePool", "x", "y", none), WEIR_INVALID_ARGUMENT,
        "attribute kernel_shape is missing");
}

// Goal: Softmax says which of the two rules it means.
static void softmax_keeps_its_rule(void **state)
{
    (void)state;
    loaded_t loaded;
    load_node(&loaded, 11, "Softmax", "x", "y", none);
    assert_int_equal(weir__node_int(single(&loaded, "Softmax"), "coerce", 7), 1);
    assert_int_equal(weir__node_int(&loaded.graph->nodes[0], "axis", 7), 1);
    unload(&loaded);
    load_node(&loaded, 13, "LogSoftmax", "x", "y", none);
    assert_int_equal(weir__node_int(single(&loaded, "LogSoftmax"), "coerce", 7), 0);
    assert_int_equal(weir__node_int(&loaded.graph->nodes[0], "axis", 7), -1);
    unload(&loaded);
}

// Goal: Cast says weir's dtype; CastLike is a Cast where the dtype is known.
static void casts_name_a_dtype(void **state)
{
    (void)state;
    message_t to = {0}, text = {0};
    loaded_t loaded;
    attribute_int(&to, "to", 7);
    load_node(&loaded, 13, "Cast", "x", "y", to);
    assert_int_equal(weir__node_int(single(&loaded, "Cast"), "to", 7), WEIR_I64);
    unload(&loaded);
    load_node(&loaded, 15, "CastLike", "x,i", "y", none);
    assert_int_equal(weir__node_int(single(&loaded, "Cast"), "to", 7), WEIR_I64);
    unload(&loaded);
    attribute_int(&text, "to", 8);
    expect_error(model_of(13, "Cast", "x", "y", text), WEIR_UNSUPPORTED,
        "attribute to: element type STRING");
}

// Goal: Gelu's two forms.
static void gelu_has_two_forms(void **state)
{
    (void)state;
    message_t tanh = {0}, other = {0};
    loaded_t loaded;
    load_node(&loaded, 20, "Gelu", "x", "y", none);
    single(&loaded, "Gelu");
    unload(&loaded);
    attribute_text(&tanh, "approximate", "tanh");
    load_node(&loaded, 20, "Gelu", "x", "y", tanh);
    assert_int_equal(single(&loaded, "GeluTanh")->attribute_count, 0);
    unload(&loaded);
    attribute_text(&other, "approximate", "fast");
    expect_error(model_of(20, "Gelu", "x", "y", other), WEIR_INVALID_ARGUMENT, "fast");
}

// Goal: Dropout does nothing, its mask is true everywhere, and training is refused.
static void dropout_drops_nothing(void **state)
{
    (void)state;
    loaded_t loaded;
    load_node(&loaded, 12, "Dropout", "x", "y", none);
    single(&loaded, "Identity");
    unload(&loaded);
    load_node(&loaded, 12, "Dropout", "x,,no", "y,mask", none);
    const weir__node_t *mask = maker_of(loaded.graph, "mask");
    assert_string_equal(mask->op->name, "ConstantOfShape");
    assert_int_equal(constant_input(loaded.graph, mask, 1)->dtype, WEIR_BOOL);
    assert_int_equal(*(const uint8_t *)constant_input(loaded.graph, mask, 1)->data, 1);
    unload(&loaded);
    expect_error(model_of(12, "Dropout", "x,,yes", "y", none), WEIR_UNSUPPORTED, "training_mode");
    expect_error(model_of(12, "Dropout", "x,,b", "y", none), WEIR_UNSUPPORTED, "training_mode");
}

// Goal: BatchNormalization in its inference form only.
static void batch_norm_is_for_inference(void **state)
{
    (void)state;
    message_t spatial = {0}, training = {0};
    loaded_t loaded;
    load_node(&loaded, 9, "BatchNormalization", "x,two,two,two,two", "y", none);
    assert_int_equal(single(&loaded, "BatchNormalization")->attribute_count, 1);
    unload(&loaded);
    attribute_int(&spatial, "spatial", 0);
    expect_error(model_of(7, "BatchNormalization", "x,two,two,two,two", "y", spatial),
        WEIR_UNSUPPORTED, "spatial");
    attribute_int(&training, "training_mode", 1);
    expect_error(model_of(15, "BatchNormalization", "x,two,two,two,two", "y", training),
        WEIR_UNSUPPORTED, "training_mode");
}

// Goal: ConstantOfShape has its value as an input of one element.
static void constant_of_shape_has_a_value(void **state)
{
    (void)state;
    const int64_t one[] = {1}, seven = 7, pair[] = {2};
    const int64_t numbers[] = {1, 2};
    message_t value = {0}, two = {0};
    loaded_t loaded;
    load_node(&loaded, 9, "ConstantOfShape", "i", "y", none);
    assert_true(scalar_input(&loaded, single(&loaded, "ConstantOfShape"), 1) == 0.0);
    unload(&loaded);
    attribute_tensor(&value, "value", raw_tensor("", 7, 1, one, &seven, 8));
    load_node(&loaded, 9, "ConstantOfShape", "i", "y", value);
    expect_vector(&loaded, single(&loaded, "ConstantOfShape"), 1, 7, 1);
    unload(&loaded);
    attribute_tensor(&two, "value", raw_tensor("", 7, 1, pair, numbers, 16));
    expect_error(model_of(9, "ConstantOfShape", "i", "y", two), WEIR_INVALID_ARGUMENT,
        "attribute value must have one element");
}

static void expect_resize(const loaded_t *loaded, const char *transformation, const char *nearest)
{
    const weir__node_t *node = single(loaded, "Resize");
    assert_string_equal(
        weir__node_attribute(node, "coordinate_transformation_mode")->s, transformation);
    assert_string_equal(weir__node_attribute(node, "nearest_mode")->s, nearest);
}

// Goal: Upsample and all Resizes say the same attributes, and exactly one of scales and sizes.
static void resize_has_one_form(void **state)
{
    (void)state;
    const float scales[] = {1, 1, 2, 2};
    message_t seven = {0}, crop = {0}, linear = {0};
    loaded_t loaded;
    attribute_floats(&seven, "scales", 4, scales);
    load_node(&loaded, 7, "Upsample", "x", "y", seven);
    expect_resize(&loaded, "asymmetric", "floor");
    assert_int_equal(constant_input(loaded.graph, &loaded.graph->nodes[0], 1)->count, 4);
    unload(&loaded);
    load_node(&loaded, 9, "Upsample", "x,two", "y", none);
    expect_resize(&loaded, "asymmetric", "floor");
    unload(&loaded);
    load_node(&loaded, 10, "Resize", "x,two", "y", none);
    expect_resize(&loaded, "asymmetric", "floor");
    unload(&loaded);
    load_node(&loaded, 10, "Resize", "x,half", "y", none);
    expect_resize(&loaded, "asymmetric", "ceil");
    unload(&loaded);
    expect_error(model_of(10, "Resize", "x,mixed", "y", none), WEIR_UNSUPPORTED, "grows one axis");
    expect_error(model_of(10, "Resize", "x,x", "y", none), WEIR_UNSUPPORTED, "not constant");
    attribute_text(&linear, "mode", "linear");
    load_node(&loaded, 10, "Resize", "x,x", "y", linear);
    unload(&loaded);
    load_node(&loaded, 11, "Resize", "x,none,two", "y", none);
    expect_resize(&loaded, "half_pixel", "round_prefer_floor");
    assert_int_equal(loaded.graph->nodes[0].input_count, 2);
    unload(&loaded);
    load_node(&loaded, 11, "Resize", "x,none,none,i", "y", none);
    assert_int_equal(single(&loaded, "Resize")->input_count, 3);
    assert_int_equal(loaded.graph->nodes[0].inputs[1], WEIR__NONE);
    assert_int_equal(loaded.graph->nodes[0].inputs[2], value_of(loaded.graph, "i"));
    unload(&loaded);
    expect_error(model_of(13, "Resize", "x,none,none", "y", none), WEIR_INVALID_ARGUMENT,
        "neither scales nor sizes");
    attribute_text(&crop, "coordinate_transformation_mode", "tf_crop_and_resize");
    expect_error(model_of(13, "Resize", "x,two,two", "y", crop), WEIR_UNSUPPORTED, "tf_crop");
}

// Goal: the LSTM's size comes from its weights, and other activations are refused.
static void lstm_is_the_plain_one(void **state)
{
    (void)state;
    static const char *const plain[] = {"sigmoid", "Tanh", "TANH"};
    static const char *const other[] = {"Sigmoid", "Relu", "Tanh"};
    message_t defaults = {0}, relu = {0};
    loaded_t loaded;
    attribute_texts(&defaults, "activations", 3, plain);
    load_node(&loaded, 14, "LSTM", "x,w,r", "y,,z", defaults);
    const weir__node_t *lstm = single(&loaded, "LSTM");
    assert_int_equal(weir__node_int(lstm, "hidden_size", 0), 2);
    assert_string_equal(weir__node_attribute(lstm, "direction")->s, "forward");
    assert_int_equal(lstm->output_count, 3);
    assert_int_equal(lstm->outputs[1], WEIR__NONE);
    unload(&loaded);
    attribute_texts(&relu, "activations", 3, other);
    expect_error(
        model_of(14, "LSTM", "x,w,r", "y", relu), WEIR_UNSUPPORTED, "activation 1 is Relu");
}

// Goal: every spelling of a Constant is a constant, and no node.
static void constants_are_no_nodes(void **state)
{
    (void)state;
    const int64_t ints[] = {4, 5};
    const float floats[] = {1, 2, 3};
    message_t lists[5] = {{0}};
    static const weir_dtype_t dtypes[] = {WEIR_F32, WEIR_F32, WEIR_I64, WEIR_I64, WEIR_I64};
    static const uint64_t counts[] = {1, 3, 1, 2, 2};
    const int64_t dims[] = {2};
    attribute_float(&lists[0], "value_float", 1.0f);
    attribute_floats(&lists[1], "value_floats", 3, floats);
    attribute_int(&lists[2], "value_int", 4);
    attribute_ints(&lists[3], "value_ints", 2, ints);
    attribute_tensor(&lists[4], "value", raw_tensor("", 7, 1, dims, ints, 16));
    for (int i = 0; i < 5; i++) {
        loaded_t loaded;
        load_node(&loaded, 13, "Constant", "", "k", lists[i]);
        assert_int_equal(loaded.graph->main.node_count, 0);
        const weir__tensor_t *constant = loaded.graph->values[value_of(loaded.graph, "k")].constant;
        assert_non_null(constant);
        assert_int_equal(constant->dtype, dtypes[i]);
        assert_int_equal(constant->count, counts[i]);
        unload(&loaded);
    }
    message_t text = {0};
    attribute_text(&text, "value_string", "no");
    expect_error(model_of(13, "Constant", "", "k", text), WEIR_UNSUPPORTED,
        "node n (Constant): a Constant with attribute value_string");
    expect_error(model_of(13, "Constant", "", "k", none), WEIR_INVALID_ARGUMENT, "one value");
}

// Goal: Shape has both ends.
static void shape_has_both_ends(void **state)
{
    (void)state;
    loaded_t loaded;
    load_node(&loaded, 13, "Shape", "x", "y", none);
    assert_int_equal(weir__node_int(single(&loaded, "Shape"), "end", 7), INT64_MAX);
    assert_int_equal(weir__node_int(&loaded.graph->nodes[0], "start", 7), 0);
    unload(&loaded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_is_consistent),
        cmocka_unit_test(table_reaches_every_operator),
        cmocka_unit_test(attributes_are_filled_and_checked),
        cmocka_unit_test(axes_become_inputs),
        cmocka_unit_test(slice_split_pad_become_inputs),
        cmocka_unit_test(clip_has_both_bounds),
        cmocka_unit_test(variadics_become_chains),
        cmocka_unit_test(windows_are_filled_in),
        cmocka_unit_test(softmax_keeps_its_rule),
        cmocka_unit_test(casts_name_a_dtype),
        cmocka_unit_test(gelu_has_two_forms),
        cmocka_unit_test(dropout_drops_nothing),
        cmocka_unit_test(batch_norm_is_for_inference),
        cmocka_unit_test(constant_of_shape_has_a_value),
        cmocka_unit_test(resize_has_one_form),
        cmocka_unit_test(lstm_is_the_plain_one),
        cmocka_unit_test(constants_are_no_nodes),
        cmocka_unit_test(shape_has_both_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
