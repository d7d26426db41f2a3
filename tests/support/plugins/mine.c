// tests/support/plugins/mine.c: the smallest plugin: one kernel, against weir/plugin.h alone.
//
// It is what the documentation shows to a backend author, word for word, so that it keeps working.
#include <weir/plugin.h>

static weir_code_t relu_run(const weir_task_t *t)
{
    const float *x = t->inputs[0].data;
    float *y = t->outputs[0].data;
    for (uint64_t i = t->first * 4096,
                  end = WEIR_MIN(i + t->count * 4096, t->outputs[0].element_count);
         i < end; i++)
        y[i] = x[i] > 0 ? x[i] : 0;
    return WEIR_OK;
}

static void relu_tasks(const weir_node_t *n, void *state, weir_tasks_t *out)
{
    (void)state;
    out->phase_count = 1;
    out->task_count[0] = WEIR_DIV_UP(n->outputs[0].element_count, 4096);
}

static const weir_kernel_t kernels[] = {{.head = WEIR_HEAD(weir_kernel_t),
    .op = "Relu",
    .revision = 1,
    .dtypes = WEIR_F32,
    .tasks = relu_tasks,
    .run = relu_run}};

static const weir_plugin_t plugin = {
    .head = WEIR_PLUGIN_HEAD, .name = "mine", .version = "0.1.0", .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
