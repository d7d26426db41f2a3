// tests/support/plugins/bell.c: a MatMul that says when it runs, for tests that act at that moment.
//
// A test opens this file too and gives a function: it is called from inside the kernel, on its
// thread. One listener at a time, set while no run is under way.
#include <weir/plugin.h>

static void (*ring)(void *user);
static void *listener;

WEIR_PLUGIN_EXPORT void weir_bell_listen(void (*function)(void *user), void *user);
WEIR_PLUGIN_EXPORT void weir_bell_listen(void (*function)(void *user), void *user)
{
    ring = function;
    listener = user;
}

static weir_code_t matmul_supports(const weir_node_t *node, weir_support_t *out_support)
{
    (void)out_support;
    return node->inputs[0].rank == 2 && node->inputs[1].rank == 2 ? WEIR_OK : WEIR_UNSUPPORTED;
}

static weir_code_t matmul_run(const weir_task_t *task)
{
    const weir_tensor_t *a = &task->inputs[0], *b = &task->inputs[1], *y = &task->outputs[0];
    uint64_t rows = (uint64_t)a->dims[0], inner = (uint64_t)a->dims[1],
             width = (uint64_t)b->dims[1];
    if (ring)
        ring(listener);
    for (uint64_t i = 0; i < rows; i++)
        for (uint64_t j = 0; j < width; j++) {
            float sum = 0;
            for (uint64_t k = 0; k < inner; k++)
                sum += ((const float *)a->data)[i * inner + k] *
                       ((const float *)b->data)[k * width + j];
            ((float *)y->data)[i * width + j] = sum;
        }
    return WEIR_OK;
}

static const weir_kernel_t kernels[] = {{.head = WEIR_HEAD(weir_kernel_t),
    .op = "MatMul",
    .revision = 1,
    .dtypes = WEIR_F32,
    .supports = matmul_supports,
    .run = matmul_run}};

static const weir_plugin_t plugin = {
    .head = WEIR_PLUGIN_HEAD, .name = "bell", .version = "0.1.0", .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
