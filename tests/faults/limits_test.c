// tests/faults/limits_test.c: every limit of weir_limits_t at its edge.
//
// Goal:   one below a limit passes, one above is refused, and the refusal names the limit.
// Method: for each limit a model whose need is known; loading (and running) it under rising values
// of
//         that one limit must change from refused to right exactly at the need. Where the need is
//         an amount of memory that only the engine knows, the edge is searched for, and on both
//         sides of it the same is asked.
#include "tests/unit/onnx_builder.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weir/weir.h>

#define FIELD(name) #name, offsetof(weir_limits_t, name), sizeof(((weir_limits_t *)0)->name)

typedef struct row {
    const char *name;
    size_t offset, bytes;
    message_t (*make)(void);
    uint64_t need;    // 0: searched for
    weir_code_t code; // of the refusal
    bool is_folding;  // not refused: nothing is folded
} row_t;

typedef struct end {
    weir_code_t code;
    char text[400];
    uint64_t folded_bytes;
} end_t;

static char folder[] = P_tmpdir "/weir-limits-XXXXXX";

static void set_limit(weir_limits_t *limits, const row_t *row, uint64_t value)
{
    uint32_t narrow = (uint32_t)value;
    *limits = (weir_limits_t){.size = sizeof *limits};
    if (row->bytes == sizeof narrow)
        memcpy((char *)limits + row->offset, &narrow, sizeof narrow);
    else
        memcpy((char *)limits + row->offset, &value, sizeof value);
}

static weir_status_t run_once(weir_model_t *model)
{
    float data[8] = {0};
    int64_t dims[] = {2};
    weir_plan_t *plan = NULL;
    weir_session_t *session = NULL;
    weir_value_t input = weir_tensor(WEIR_F32, data, 1, dims), output = weir_view();
    weir_status_t status = weir_plan_create(model, NULL, &plan);
    if (!status)
        status = weir_session_create(plan, NULL, &session);
    if (!status)
        status = weir_session_run(session, NULL, 1, &input, 1, &output);
    weir_session_free(session);
    weir_plan_free(plan);
    return status;
}

// Loads and runs the model with one limit set.
static void try_limit(const row_t *row, message_t model, uint64_t value, end_t *out_end)
{
    char path[128];
    weir_limits_t limits;
    weir_engine_t *engine = NULL;
    weir_model_t *loaded = NULL;
    set_limit(&limits, row, value);
    weir_engine_options_t options = {
        .size = sizeof options, .threads = 1, .cache_dir = "", .limits = &limits};
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(model.data, 1, model.count, file), model.count);
    assert_int_equal(fclose(file), 0);
    *out_end = (end_t){.code = WEIR_OK};
    weir_status_t status = weir_engine_create(&options, &engine);
    if (!status)
        status = weir_model_load(engine, path, NULL, &loaded);
    if (loaded) {
        weir_model_info_t info = {.size = sizeof info};
        weir_model_describe(loaded, &info);
        out_end->folded_bytes = info.folded_bytes;
    }
    if (!status)
        status = run_once(loaded);
    out_end->code = weir_status_code(status);
    snprintf(out_end->text, sizeof out_end->text, "%s", weir_status_text(status));
    weir_status_free(status);
    weir_model_free(loaded);
    weir_engine_free(engine);
}

static bool passes(const row_t *row, message_t model, uint64_t value)
{
    end_t end;
    try_limit(row, model, value, &end);
    if (row->is_folding) {
        assert_int_equal(end.code, WEIR_OK);
        return end.folded_bytes > 0;
    }
    if (end.code == WEIR_OK)
        return true;
    if (end.code != row->code || !strstr(end.text, row->name))
        fail_msg("%s = %llu: %s", row->name, (unsigned long long)value, end.text);
    return false;
}

// The least value that passes, in (low, high].
static uint64_t search(const row_t *row, message_t model, uint64_t low, uint64_t high)
{
    while (high - low > 1) {
        uint64_t middle = low + (high - low) / 2;
        if (passes(row, model, middle))
            high = middle;
        else
            low = middle;
    }
    return high;
}

// ---- Models: x [2] -> y, with a known need ------------------------------------------------------

static message_t finish(message_t graph, const char *output)
{
    message_t model = {0};
    add_input(&graph, "x", 1, "2");
    add_output(&graph, output);
    put_int(&model, 1, 8);
    add_opset(&model, 8, "", 17);
    put_message(&model, 7, graph);
    return model;
}

static message_t chain(int count)
{
    message_t graph = {0};
    char from[16] = "x", to[16];
    for (int i = 0; i < count; i++) {
        snprintf(to, sizeof to, "v%d", i);
        add_node(&graph, "Relu", "", from, to, (message_t){0});
        memcpy(from, to, sizeof from);
    }
    return finish(graph, from);
}

static message_t five_nodes(void) // and six values
{
    return chain(5);
}

static message_t rank_five(void)
{
    message_t graph = {0};
    const float number = 1;
    put_message(&graph, 5, raw_tensor("w", 1, 5, (int64_t[]){1, 1, 1, 1, 1}, &number, 4));
    add_node(&graph, "Add", "", "x,w", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t three_constants(void)
{
    message_t graph = {0};
    const float numbers[2] = {1, 2};
    add_floats(&graph, "a", 2, numbers);
    add_floats(&graph, "b", 2, numbers);
    add_floats(&graph, "c", 2, numbers);
    add_node(&graph, "Sum", "", "x,a,b,c", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t four_attributes(void)
{
    message_t graph = {0}, attributes = {0};
    attribute_float(&attributes, "alpha", 1);
    attribute_float(&attributes, "beta", 1);
    attribute_int(&attributes, "transA", 0);
    attribute_int(&attributes, "transB", 0);
    const float numbers[4] = {1, 2, 3, 4};
    put_message(&graph, 5, raw_tensor("a", 1, 2, (int64_t[]){2, 2}, numbers, 16));
    add_node(&graph, "Gemm", "", "a,a", "m", attributes);
    add_node(&graph, "MatMul", "", "m,x", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t long_name(void)
{
    message_t graph = {0};
    add_node(&graph, "Relu", "twenty-three characters", "x", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t large_tensor(void) // 64 bytes
{
    message_t graph = {0};
    const float numbers[16] = {0};
    put_message(&graph, 5, raw_tensor("w", 1, 2, (int64_t[]){8, 2}, numbers, 64));
    add_node(&graph, "Mul", "", "x,w", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t branches(int depth)
{
    message_t graph = {0}, attributes = {0}, inner = {0};
    add_node(&inner, "Relu", "", "x", "leaf", (message_t){0});
    add_output(&inner, "leaf");
    for (int i = 1; i < depth; i++) {
        char name[16];
        message_t outer = {0}, branch = {0};
        snprintf(name, sizeof name, "o%d", i);
        add_node(&branch, "Abs", "", "x", "other", (message_t){0});
        add_output(&branch, "other");
        attributes = (message_t){0};
        attribute_graph(&attributes, "then_branch", inner);
        attribute_graph(&attributes, "else_branch", branch);
        add_node(&outer, "If", "", "c", name, attributes);
        add_output(&outer, name);
        inner = outer;
    }
    message_t branch = {0};
    attributes = (message_t){0};
    add_node(&branch, "Abs", "", "x", "other", (message_t){0});
    add_output(&branch, "other");
    attribute_graph(&attributes, "then_branch", inner);
    attribute_graph(&attributes, "else_branch", branch);
    add_node(&graph, "ReduceMax", "", "x", "most", (message_t){0});
    add_node(&graph, "Equal", "", "most,most", "same", (message_t){0});
    add_int64s(&graph, "scalar", 0, NULL);
    add_node(&graph, "Reshape", "", "same,scalar", "c", (message_t){0});
    add_node(&graph, "If", "", "c", "y", attributes);
    return finish(graph, "y");
}

static message_t three_deep(void)
{
    return branches(3);
}

static message_t folds(void) // two nodes of 16 bytes each
{
    message_t graph = {0};
    const float numbers[4] = {1, 2, 3, 4};
    put_message(&graph, 5, raw_tensor("a", 1, 2, (int64_t[]){2, 2}, numbers, 16));
    add_node(&graph, "Exp", "", "a", "e", (message_t){0});
    add_node(&graph, "MatMul", "", "e,x", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t function_calls(void) // two calls of three nodes
{
    message_t model = {0}, graph = {0}, function = {0};
    put_text(&function, 1, "F");
    put_text(&function, 4, "p");
    put_text(&function, 5, "q");
    put_message(&function, 7, make_node("Relu", "", "p", "a", (message_t){0}));
    put_message(&function, 7, make_node("Abs", "", "a", "b", (message_t){0}));
    put_message(&function, 7, make_node("Neg", "", "b", "q", (message_t){0}));
    add_opset(&function, 9, "", 17);
    put_text(&function, 10, "f");
    for (int i = 0; i < 2; i++) {
        message_t call = make_node("F", "", i ? "m" : "x", i ? "y" : "m", (message_t){0});
        put_text(&call, 7, "f");
        put_message(&graph, 1, call);
    }
    add_input(&graph, "x", 1, "2");
    add_output(&graph, "y");
    put_int(&model, 1, 8);
    add_opset(&model, 8, "", 17);
    add_opset(&model, 8, "f", 1);
    put_message(&model, 7, graph);
    put_message(&model, 25, function);
    return model;
}

static message_t external(void) // 2 tensors of 8 bytes
{
    message_t graph = {0};
    for (int i = 0; i < 2; i++) {
        message_t tensor = tensor_head(i ? "b" : "a", 1, 1, (int64_t[]){2}), entry = {0};
        put_text(&entry, 1, "location");
        put_text(&entry, 2, "data.bin");
        put_message(&tensor, 13, entry);
        put_int(&tensor, 14, 1);
        put_message(&graph, 5, tensor);
    }
    add_node(&graph, "Sum", "", "x,a,b", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t wide(void) // one node of 8 inputs
{
    message_t graph = {0};
    add_node(&graph, "Sum", "", "x,x,x,x,x,x,x,x", "y", (message_t){0});
    return finish(graph, "y");
}

static message_t grows(void) // a run needs more than its input
{
    message_t graph = {0};
    add_int64s(&graph, "times", 1, (int64_t[]){1000});
    add_node(&graph, "Tile", "", "x,times", "t", (message_t){0});
    add_node(&graph, "Softmax", "", "t", "y", (message_t){0});
    return finish(graph, "y");
}

// The messages that a sound model of no sub-graphs is made of: model, graph, input, type, tensor,
// shape, dim.
#define WIRE_DEPTH 7

static const row_t rows[] = {
    {FIELD(rank), rank_five, 5, WEIR_LIMIT, false},
    {FIELD(file_bytes), five_nodes, 0, WEIR_LIMIT, false},
    {FIELD(external_bytes), external, 16, WEIR_LIMIT, false},
    {FIELD(nodes), five_nodes, 5, WEIR_LIMIT, false},
    {FIELD(values), five_nodes, 6, WEIR_LIMIT, false},
    {FIELD(initializers), three_constants, 3, WEIR_LIMIT, false},
    {FIELD(attributes), four_attributes, 4, WEIR_LIMIT, false},
    {FIELD(name_bytes), long_name, 23, WEIR_LIMIT, false},
    {FIELD(tensor_bytes), large_tensor, 64, WEIR_LIMIT, false},
    {FIELD(subgraph_depth), three_deep, 3, WEIR_LIMIT, false},
    {FIELD(wire_depth), five_nodes, WIRE_DEPTH, WEIR_LIMIT, false},
    {FIELD(fold_node_bytes), folds, 16, WEIR_LIMIT, true},
    {FIELD(fold_total_bytes), folds, 16, WEIR_LIMIT, true},
    {FIELD(graph_bytes), three_constants, 0, WEIR_LIMIT, false},
    {FIELD(peak_bytes), three_constants, 0, WEIR_RESOURCE_EXHAUSTED, false},
    {FIELD(arena_bytes), grows, 0, WEIR_LIMIT, false},
    {FIELD(function_nodes), function_calls, 6, WEIR_LIMIT, false},
    {FIELD(operands), wide, 8, WEIR_LIMIT, false},
};
#define ROW_COUNT (sizeof rows / sizeof rows[0])

// ---- Tests ------------------------------------------------------------------------------------

static void limits_at_their_edges(void **state)
{
    (void)state;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const row_t *row = &rows[i];
        message_t model = row->make();
        uint64_t need = row->need;
        if (row->offset == offsetof(weir_limits_t, file_bytes))
            need = model.count;
        if (!need)
            need = search(row, model, 1, 1u << 26);
        print_message("%s: %llu passes, %llu does not\n", row->name, (unsigned long long)need,
            (unsigned long long)need - 1);
        assert_true(need > 1);
        assert_true(passes(row, model, need));
        assert_true(passes(row, model, need + 1));
        assert_true(passes(row, model, 0)); // the default
        assert_false(passes(row, model, need - 1));
        assert_false(passes(row, model, 1));
        free(model.data);
    }
}

// Time has no edge that can be met: less than any load takes, and more.
static void load_time(void **state)
{
    (void)state;
    static const row_t row = {FIELD(load_ns), five_nodes, 0, WEIR_LIMIT, false};
    message_t model = row.make();
    assert_false(passes(&row, model, 1));
    assert_true(passes(&row, model, 3600000000000u));
    free(model.data);
}

// A field that is added to weir_limits_t and not to the table above fails here.
static void every_limit_has_a_row(void **state)
{
    (void)state;
    size_t bytes = sizeof(uint32_t) /* size */ + sizeof(uint64_t) /* load_ns */;
    for (size_t i = 0; i < ROW_COUNT; i++)
        bytes += rows[i].bytes;
    assert_int_equal(bytes, sizeof(weir_limits_t));
}

// No limit is without end, and nobody sees another's: a struct of an older program sets what it
// has.
static void defaults_are_finite(void **state)
{
    (void)state;
    weir_limits_t limits;
    weir_limits_default(&limits);
    for (size_t i = 0; i < ROW_COUNT; i++) {
        uint64_t value = 0;
        memcpy(&value, (char *)&limits + rows[i].offset, rows[i].bytes);
        assert_in_range(value, 1, 1ull << 41);
    }
    static const row_t row = {FIELD(nodes), five_nodes, 5, WEIR_LIMIT, false};
    message_t model = row.make();
    weir_engine_t *engine;
    weir_model_t *loaded;
    limits = (weir_limits_t){.size = offsetof(weir_limits_t, nodes), .nodes = 1};
    weir_engine_options_t options = {
        .size = sizeof options, .threads = 1, .cache_dir = "", .limits = &limits};
    assert_null(weir_engine_create(&options, &engine));
    assert_null(weir_model_load_bytes(engine, model.data, model.count, NULL, &loaded));
    weir_model_free(loaded);
    weir_engine_free(engine);
    free(model.data);
}

static int make_folder(void **state)
{
    (void)state;
    char path[128];
    const float data[2] = {1, 2};
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/data.bin", folder);
    FILE *file = fopen(path, "wb");
    return file && fwrite(data, sizeof data, 1, file) == 1 && fclose(file) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/data.bin", folder);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.onnx", folder);
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_at_their_edges),
        cmocka_unit_test(load_time),
        cmocka_unit_test(every_limit_has_a_row),
        cmocka_unit_test(defaults_are_finite),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
