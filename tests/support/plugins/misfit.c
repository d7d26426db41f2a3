// tests/support/plugins/misfit.c: plugins that must be refused, one for each MISFIT_*.
//
// Each has one thing wrong and is otherwise whole, so that the reason given is for that thing.
#include <weir/plugin.h>

#if !defined(MISFIT_KERNEL) && !defined(MISFIT_MEMORY)
static weir_code_t run(const weir_task_t *task)
{
    (void)task;
    return WEIR_INTERNAL;
}
#endif

static const weir_kernel_t kernels[] = {{.head = WEIR_HEAD(weir_kernel_t),
    .op = "Relu",
    .revision = 1,
    .dtypes = WEIR_F32,
#if !defined(MISFIT_KERNEL) && !defined(MISFIT_MEMORY)
    .run = run
#endif
}};

static const weir_option_t options[] = {
    {.head = WEIR_HEAD(weir_option_t),
        .name = "count",
        .default_value = "1",
        .type = WEIR_OPTION_INT,
        .min = 1,
        .max = 9},
    {.head = WEIR_HEAD(weir_option_t),
#if !defined(MISFIT_OPTION)
        .name = "second",
#endif
        .type = WEIR_OPTION_BOOL},
};

#if defined(MISFIT_PROBE)
static weir_code_t probe(const weir_host_t *host, weir_support_t *out_support)
{
    static const char reason[] = "needs a machine with three suns";
    (void)host;
    for (unsigned i = 0; i < sizeof reason; i++)
        out_support->reason[i] = reason[i];
    return WEIR_UNAVAILABLE;
}
#endif

#if defined(MISFIT_MEMORY)
static weir_code_t enumerate(const weir_host_t *host, uint32_t index, weir_device_info_t *out_info)
{
    (void)host;
    out_info->name[0] = 'X';
    return index ? WEIR_NOT_FOUND : WEIR_OK;
}

static const weir_device_table_t device = {
    .head = WEIR_HEAD(weir_device_table_t), .enumerate = enumerate};
#endif

static void shut_down(const weir_host_t *host)
{
    host->log(host, 2, "misfit: goodbye");
}

static const weir_plugin_t plugin = {
#if defined(MISFIT_HASH)
    .head = {sizeof(weir_plugin_t), 0, WEIR_PLUGIN_HEADER_HASH ^ 1},
#else
    .head = WEIR_PLUGIN_HEAD,
#endif
#if defined(MISFIT_NAME)
    .name = "Bad-Name",
#elif defined(MISFIT_LONG)
    .name = "a_name_of_thirty_two_characters_",
#elif defined(MISFIT_TWIN)
    .name = "ref",
#else
    .name = "misfit",
#endif
    .version = "0.0.1",
#if defined(MISFIT_NOWHERE)
    .kernels = {0, 3, sizeof(weir_kernel_t)},
#elif defined(MISFIT_STRIDE)
    .kernels = {kernels, 1, sizeof(weir_kernel_t) - 8},
#else
    .kernels = WEIR_ARRAY(kernels),
#endif
    .options = WEIR_ARRAY(options),
    .shutdown = shut_down,
#if defined(MISFIT_PROBE)
    .probe = probe,
#endif
#if defined(MISFIT_MEMORY)
    .device = &device,
#endif
};

#if defined(MISFIT_SYMBOL)
#define weir_plugin_v0 weir_plugin_of_the_future
#endif
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);
WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
#if defined(MISFIT_REASON)
    host->fail(host, WEIR_UNAVAILABLE, "no luck on day %d", 7);
    return 0;
#elif defined(MISFIT_SILENT)
    (void)host;
    return 0;
#else
    (void)host;
    return &plugin;
#endif
}
