// tests/cuda/fake_engine.h: the whole engine with the CUDA plugin over the fakes, and a small model
// that needs all of them: a convolution, a product, generated kernels, own kernels.
#ifndef WEIR_TESTS_CUDA_FAKE_ENGINE_H
#define WEIR_TESTS_CUDA_FAKE_ENGINE_H

#include "tests/support/fake_cuda/fake.h"
#include "tests/unit/engine_world.h"

#define FAKE_SIDE 6
#define FAKE_CLASSES 5

// relu(conv(x)) averaged over the picture, a product with a bias, gelu by hand, softmax.
static inline message_t fake_graph(void)
{
    static const int64_t w_dims[] = {4, 2, 3, 3}, v_dims[] = {4, FAKE_CLASSES}, flat[] = {-1, 4};
    float w[72], b[4], v[4 * FAKE_CLASSES], c[FAKE_CLASSES];
    message_t graph = {0}, window = {0}, axis = {0};
    fill_floats(w, 72, 1);
    fill_floats(b, 4, 2);
    fill_floats(v, 4 * FAKE_CLASSES, 3);
    fill_floats(c, FAKE_CLASSES, 4);
    add_input(&graph, "x", 1, "N,2,6,6");
    put_message(&graph, 5, raw_tensor("w", 1, 4, w_dims, w, sizeof w));
    put_message(&graph, 5, raw_tensor("v", 1, 2, v_dims, v, sizeof v));
    add_floats(&graph, "b", 4, b);
    add_floats(&graph, "c", FAKE_CLASSES, c);
    add_int64s(&graph, "flat", 2, flat);
    attribute_ints(&window, "pads", 4, (int64_t[]){1, 1, 1, 1});
    attribute_int(&axis, "axis", -1);
    add_node(&graph, "Conv", "conv", "x,w,b", "p", window);
    add_node(&graph, "HardSwish", "act", "p", "q", (message_t){0});
    add_node(&graph, "GlobalAveragePool", "mean", "q", "r", (message_t){0});
    add_node(&graph, "Reshape", "flatten", "r,flat", "s", (message_t){0});
    add_node(&graph, "MatMul", "product", "s,v", "t", (message_t){0});
    add_node(&graph, "Add", "bias", "t,c", "u", (message_t){0});
    add_node(&graph, "Tanh", "tanh", "u", "h", (message_t){0});
    add_node(&graph, "Softmax", "soft", "h", "y", axis);
    add_output(&graph, "y");
    return graph;
}

// devices: of the plan; NULL: only the engine and the model are made.
static inline weir_status_t fake_start(
    world_t *world, message_t graph, const char *devices, const char *plugin_options)
{
    const world_options_t options = {
        .plugin_path = WEIR_FAKE_PLUGINS, .plugin_options = plugin_options};
    message_t bytes = make_model(graph, 17);
    weir_status_t status = world_engine(world, &options);
    if (!status)
        status = weir_model_load_bytes(world->engine, bytes.data, bytes.count, NULL, &world->model);
    free(bytes.data);
    if (!status && devices)
        status = world_plan(world, devices);
    if (!status && devices)
        status = weir_session_create(world->plan, NULL, &world->session);
    return status;
}

// The answers of the CPU for a batch of `rows` from `seed`.
static inline void fake_input(float *x, int64_t rows, uint64_t seed)
{
    fill_floats(x, (size_t)rows * 2 * FAKE_SIDE * FAKE_SIDE, seed);
}

static inline weir_value_t fake_value(float *x, int64_t rows)
{
    const int64_t dims[] = {rows, 2, FAKE_SIDE, FAKE_SIDE};
    return weir_tensor(WEIR_F32, x, 4, dims);
}

static inline bool fake_is_near(const weir_value_t *value, const float *wanted, size_t count)
{
    const float *found = value->data;
    if (value->dtype != WEIR_F32 || weir_value_count(value) != count)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!(fabsf(found[i] - wanted[i]) <= 1e-5f))
            return false;
    return true;
}

#endif
