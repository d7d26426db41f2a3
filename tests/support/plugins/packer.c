// tests/support/plugins/packer.c: a MatMul whose constant is packed, and a test that looks on.
//
// The packed form is negative, so that a product with bytes that were not packed is wrong. Before
// each packing the hook is asked, on the thread that packs; what it does not return WEIR_OK for,
// fails.
#include <weir/plugin.h>

#define FORMAT_NEGATIVE (WEIR_FORMAT_OWN + 3u)

typedef weir_code_t packer_hook_t(void);
WEIR_PLUGIN_EXPORT void packer_set_hook(packer_hook_t *hook);
static packer_hook_t *hook;

void packer_set_hook(packer_hook_t *new_hook)
{
    hook = new_hook;
}

static weir_code_t pack_query(const weir_node_t *node, uint32_t input, weir_packing_t *out_packing)
{
    if (input == 1) {
        out_packing->format = FORMAT_NEGATIVE;
        out_packing->bytes = node->inputs[1].bytes;
    }
    return WEIR_OK;
}

static weir_code_t pack(const weir_node_t *node, uint32_t input, void *to, uint64_t bytes)
{
    const weir_code_t code = hook ? hook() : WEIR_OK;
    const float *from = node->inputs[input].data;
    for (uint64_t i = 0; code == WEIR_OK && i < bytes / sizeof(float); i++)
        ((float *)to)[i] = -from[i];
    return code;
}

static weir_code_t run(const weir_task_t *task)
{
    const weir_tensor_t *x = &task->inputs[0], *w = &task->inputs[1];
    const float sign = w->format == FORMAT_NEGATIVE ? -1 : 1;
    const int64_t depth = w->dims[0], columns = w->dims[1];
    float *y = task->outputs[0].data;
    for (int64_t i = 0; i < (int64_t)task->outputs[0].element_count; i++) {
        y[i] = 0;
        for (int64_t k = 0; k < depth; k++)
            y[i] += sign * ((const float *)x->data)[i / columns * depth + k] *
                    ((const float *)w->data)[k * columns + i % columns];
    }
    return WEIR_OK;
}

static const weir_kernel_t kernels[] = {{.head = WEIR_HEAD(weir_kernel_t),
    .op = "MatMul",
    .revision = 1,
    .dtypes = WEIR_F32,
    .pack_query = pack_query,
    .pack = pack,
    .run = run}};

static const weir_plugin_t plugin = {.head = WEIR_PLUGIN_HEAD,
    .name = "packer",
    .version = "0.1.0",
    .build = "1",
    .kernels = WEIR_ARRAY(kernels)};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    (void)host;
    return &plugin;
}
