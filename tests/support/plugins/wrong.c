// tests/support/plugins/wrong.c: a Relu that is wrong in one element, for what shall find it.
//
// Element 5 of each output is 0.25 too large.
#include <weir/plugin.h>

static weir_code_t relu_run(const weir_task_t *t)
{
    const float *x = t->inputs[0].data;
    float *y = t->outputs[0].data;
    for (uint64_t i = 0; i < t->outputs[0].element_count; i++)
        y[i] = (x[i] > 0 ? x[i] : 0) + (i == 5 ? 0.25f : 0);
    return WEIR_OK;
}

static const weir_kernel_t kernels[] = {{.head = WEIR_HEAD(weir_kernel_t),
    .op = "Relu",
    .revision = 1,
    .dtypes = WEIR_F32,
    .run = relu_run}};

static const weir_plugin_t plugin = {
    .head = WEIR_PLUGIN_HEAD, .name = "wrong", .version = "0.1.0", .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
