// tests/unit/struct_heads_test.c: what the engine hands to plugins begins with its size, and what a
// plugin is to fill in is zero, so that a plugin of another version finds its way. The plugins are
// tests/support/plugins/heads.c.
#include "tests/unit/engine_world.h"

#include <dlfcn.h>

static const message_t none;

// x [N, 3] -> MatMul with a constant -> Relu -> test.heads::Op -> y
static message_t make_bytes(void)
{
    static const float weights[6] = {1, -2, 3, -4, 5, -6};
    static const int64_t dims[2] = {3, 2};
    message_t graph = {0}, model = {0};
    add_input(&graph, "x", 1, "N,3");
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, weights, sizeof weights));
    add_node(&graph, "MatMul", "matmul", "x,w", "a", none);
    add_node(&graph, "Relu", "relu", "a", "b", none);
    message_t node = make_node("Op", "op", "b", "y", none);
    put_text(&node, 7, "test.heads");
    put_message(&graph, 1, node);
    add_output(&graph, "y");
    put_int(&model, 1, 8);
    add_opset(&model, 8, "", 17);
    add_opset(&model, 8, "test.heads", 1);
    put_message(&model, 7, graph);
    return model;
}

// Runs the model twice on the device `name`; then everything in `expected` (";" behind each) was
// seen, and nothing was wrong.
static void run_on(const char *name, const char *expected)
{
    char path[512], devices[64];
    world_t world;
    snprintf(path, sizeof path, WEIR_TEST_PLUGINS "/heads/weir_%s.so", name);
    snprintf(devices, sizeof devices, "%s,ref", name);
    message_t bytes = make_bytes();
    weir_model_options_t model = {.size = sizeof model};
    expect_ok(world_engine(&world, &(world_options_t){.plugin_path = path}));
    expect_ok(weir_model_load_bytes(world.engine, bytes.data, bytes.count, &model, &world.model));
    expect_ok(world_plan(&world, devices));
    expect_ok(weir_session_create(world.plan, NULL, &world.session));
    free(bytes.data);
    for (int64_t rows = 1; rows <= 2; rows++) {
        float x[6] = {1, 1, 1, -1, 0, 1};
        weir_value_t in = weir_f32(x, 2, rows, 3), out;
        world_run(&world, 1, &in, 1, &out);
        const float result[4] = {10, 1, 5, 1};
        assert_memory_equal(out.data, result, (size_t)rows * 2 * sizeof(float));
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_NOLOAD), *symbol = dlsym(handle, "heads_report");
    void (*report)(const char **, const char **);
    assert_non_null(symbol);
    memcpy(&report, &symbol, sizeof report);
    const char *seen, *wrong;
    report(&seen, &wrong);
    assert_string_equal(wrong, "");
    for (const char *at = expected; *at; at += strcspn(at, ";") + 1) {
        char one[64];
        snprintf(one, sizeof one, "%.*s;", (int)strcspn(at, ";"), at);
        if (!strstr(seen, one))
            fail_msg("%s was not seen, only %s", one, seen);
    }
    dlclose(handle);
    world_close(&world);
}

#define KERNEL_STRUCTS                                                                             \
    "weir_host_t;weir_node_t;weir_support_t;weir_packing_t;weir_device_info_t;weir_kernel_t;"      \
    "weir_edge_t;"

// Goal: a device of level L1.
static void heads_of_l1(void **state)
{
    (void)state;
    run_on("heads1", KERNEL_STRUCTS "weir_prepared_t;weir_execution_t;");
}

// Goal: a device of level L2 that runs the kernels of its plugin's table.
static void heads_of_l2(void **state)
{
    (void)state;
    run_on("heads2",
        KERNEL_STRUCTS "weir_slice_t;weir_program_info_t;weir_specialized_t;weir_launch_t;");
}

// Goal: a device of level L2 that claims.
static void heads_of_claims(void **state)
{
    (void)state;
    run_on("heads3",
        "weir_host_t;weir_slice_t;weir_claim_t;weir_edge_t;weir_program_info_t;weir_specialized_t;"
        "weir_launch_t;");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_of_l1),
        cmocka_unit_test(heads_of_l2),
        cmocka_unit_test(heads_of_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
