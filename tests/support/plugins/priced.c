// tests/support/plugins/priced.c: a Relu that says what it costs. Built under several names and
// prices, for tests of who is then chosen.
#include <weir/plugin.h>

static weir_code_t relu_supports(const weir_node_t *node, weir_support_t *out_support)
{
    (void)node;
    out_support->cost_ns = PRICED_NS;
    return WEIR_OK;
}

static weir_code_t relu_run(const weir_task_t *task)
{
    const float *x = task->inputs[0].data;
    float *y = task->outputs[0].data;
    for (uint64_t i = 0; i < task->outputs[0].element_count; i++)
        y[i] = x[i] > 0 ? x[i] : 0;
    return WEIR_OK;
}

static const weir_kernel_t kernels[] = {{.head = WEIR_HEAD(weir_kernel_t),
    .op = "Relu",
    .revision = 1,
    .dtypes = WEIR_F32,
    .supports = relu_supports,
    .run = relu_run}};

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = PRICED_NAME,
    .version = "0.1.0",
    .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
