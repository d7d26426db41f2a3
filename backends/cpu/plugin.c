// The weir_cpu plugin: level L0, kernels for host memory with AVX-512, AVX2 or plain C.
//
// It sees of weir nothing but <weir/plugin.h>, and starts no thread. What each kernel takes stands
// in its own file's supports(); everything else is left to the next plugin.
#include <stdio.h>

#include "backends/cpu/cpu.h"

weir_code_t weir_cpu_refuse(weir_support_t *out_support, const char *reason)
{
    snprintf(out_support->reason, sizeof(out_support->reason), "%s", reason);
    return WEIR_UNSUPPORTED;
}

static weir_code_t plugin_probe(const weir_host_t *host, weir_support_t *out_support)
{
    const weir_k_table_t *table = weir_cpu_isa_table(host);
    if (!table) {
        weir_cpu_refuse(out_support, "option isa: this machine lacks it, or there is no such ISA");
        return WEIR_UNAVAILABLE;
    }
    snprintf(out_support->reason, sizeof(out_support->reason), "%s", table->name);
    return WEIR_OK;
}

static const weir_option_t plugin_options[] = {
    {
        .head = WEIR_HEAD(weir_option_t),
        .name = "isa",
        .default_value = "auto",
        .doc = "instruction set of the kernels: auto, avx512, avx2 or plain",
        .type = WEIR_OPTION_STRING,
    },
};

void weir_cpu_release(const weir_host_t *host, void *state)
{
    host->free(host, state);
}

#define KERNEL_CALLS(kernel)                                                                       \
    .supports = weir_cpu_##kernel##_supports, .prepare = weir_cpu_##kernel##_prepare,              \
    .release = weir_cpu_release, .tasks = weir_cpu_##kernel##_tasks,                               \
    .run = weir_cpu_##kernel##_run
#define KERNEL_PACKS(kernel)                                                                       \
    .pack_query = weir_cpu_##kernel##_pack_query, .pack = weir_cpu_##kernel##_pack
#define KERNEL_HEAD(kernel_flags)                                                                  \
    {                                                                                              \
        (uint32_t)sizeof(weir_kernel_t), (kernel_flags)                                            \
    }

static const weir_kernel_t plugin_kernels[] = {
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_STRIDES | WEIR_KERNEL_INPLACE),
        .op = "Pointwise",
        .name = "cpu.pointwise",
        .revision = 1,
        KERNEL_CALLS(pointwise),
    },
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_EPILOGUE),
        .op = "MatMul",
        .name = "cpu.matmul_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(matmul),
        KERNEL_PACKS(matmul),
    },
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_EPILOGUE),
        .op = "Gemm",
        .name = "cpu.gemm_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(matmul),
        KERNEL_PACKS(matmul),
    },
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_EPILOGUE),
        .op = "Conv",
        .name = "cpu.conv_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(conv),
        KERNEL_PACKS(conv),
    },
    {
        .head = KERNEL_HEAD(0),
        .op = "Softmax",
        .name = "cpu.softmax_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(rows),
    },
    {
        .head = KERNEL_HEAD(0),
        .op = "LayerNormalization",
        .name = "cpu.layernorm_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(rows),
    },
};

static const weir_plugin_t plugin = {
    .head = WEIR_PLUGIN_HEAD,
    .name = "cpu",
    .vendor = "weir",
    .version = WEIR_VERSION,
    .build = WEIR_CPU_BUILD,
    .options = WEIR_ARRAY(plugin_options),
    .kernels = WEIR_ARRAY(plugin_kernels),
    .probe = plugin_probe,
};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    if (weir_cpu_isa_table(host))
        return &plugin;
    host->fail(host, WEIR_UNAVAILABLE,
        "option isa of plugin cpu: this machine lacks it, or there is no such ISA (auto, avx512, "
        "avx2, plain)");
    return NULL;
}
