// The weir_cpu plugin: level L0, kernels for host memory with AVX-512, AVX2 or plain C.
//
// It sees of weir nothing but <weir/plugin.h>, and starts no thread. What each kernel takes stands
// in its own file's supports(); everything else is left to the next plugin.
#include <stdio.h>
#include <string.h>

#include "backends/cpu/cpu.h"
#include "backends/cpu/low.h"

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
    const weir_k_low_table_t *low = weir_cpu_low_table(host);
    snprintf(out_support->reason, sizeof(out_support->reason), "%s%s%s", table->name,
        strcmp(low->name, table->name) ? "; bf16 and int8: " : "",
        strcmp(low->name, table->name) ? low->name : "");
    return WEIR_OK;
}

static const weir_option_t plugin_options[] = {
    {
        .head = WEIR_HEAD(weir_option_t),
        .name = "isa",
        .default_value = "auto",
        .doc = "instruction set of the kernels: auto (AMX too, in bf16 and int8), avx512, avx2 or "
               "plain",
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

// An operator without epilogue, prologue or packed constants.
#define KERNEL_PLAIN(operator, kernel_name, taken, kernel)                                         \
    {                                                                                              \
        .head = KERNEL_HEAD(0), .op = (operator), .name = (kernel_name), .revision = 1,            \
        .dtypes = (taken), KERNEL_CALLS(kernel)                                                    \
    }

#define BYTES (WEIR_U8 | WEIR_I8)
#define ROW_MAJOR WEIR_FORMAT_BIT(WEIR_FORMAT_ROW_MAJOR)
#define BLOCKS WEIR_FORMAT_BIT(WEIR_FORMAT_NCHW16C)
// An operator in blocked format.
#define KERNEL_BLOCKED(operator, kernel_name, kernel_flags, asked, kernel)                         \
    .head = KERNEL_HEAD(kernel_flags), .op = (operator), .name = (kernel_name), .revision = 1,     \
    .output_formats = BLOCKS, .supports = weir_cpu_##asked##_supports,                             \
    .prepare = weir_cpu_##kernel##_prepare, .release = weir_cpu_release,                           \
    .tasks = weir_cpu_##kernel##_tasks, .run = weir_cpu_##kernel##_run

static const weir_kernel_t plugin_kernels[] = {
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_STRIDES | WEIR_KERNEL_INPLACE),
        .op = "Pointwise",
        .name = "cpu.pointwise",
        .revision = 1,
        KERNEL_CALLS(pointwise),
    },
    // In plans of that precision these are asked first.
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BF16),
        .op = "MatMul",
        .name = "cpu.matmul_bf16",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(bf16_matmul),
        KERNEL_PACKS(bf16_matmul),
    },
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BF16),
        .op = "Gemm",
        .name = "cpu.gemm_bf16",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(bf16_matmul),
        KERNEL_PACKS(bf16_matmul),
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
        .head = KERNEL_HEAD(WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_PACKS_ALONE),
        .op = "Conv",
        .name = "cpu.conv_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(conv),
        KERNEL_PACKS(conv),
    },
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_EPILOGUE),
        .op = "ConvTranspose",
        .name = "cpu.deconv_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(deconv),
    },
    KERNEL_PLAIN("Attention", "cpu.attention_f32", WEIR_F32, attention),
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_PROLOGUE),
        .op = "Softmax",
        .name = "cpu.softmax_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(rows),
    },
    KERNEL_PLAIN("LogSoftmax", "cpu.log_softmax_f32", WEIR_F32, rows),
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_PROLOGUE),
        .op = "LayerNormalization",
        .name = "cpu.layernorm_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(rows),
    },
    KERNEL_PLAIN("MaxPool", "cpu.max_pool_f32", WEIR_F32, pool),
    KERNEL_PLAIN("AveragePool", "cpu.average_pool_f32", WEIR_F32, pool),
    KERNEL_PLAIN("GlobalMaxPool", "cpu.global_max_pool_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("GlobalAveragePool", "cpu.global_average_pool_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ReduceSum", "cpu.reduce_sum_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ReduceMean", "cpu.reduce_mean_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ReduceMax", "cpu.reduce_max_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ReduceMin", "cpu.reduce_min_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ReduceL1", "cpu.reduce_l1_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ReduceL2", "cpu.reduce_l2_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ReduceSumSquare", "cpu.reduce_sum_square_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("LpNormalization", "cpu.lp_normalization_f32", WEIR_F32, reduce),
    KERNEL_PLAIN("ArgMax", "cpu.arg_max_f32", WEIR_F32, arg),
    KERNEL_PLAIN("ArgMin", "cpu.arg_min_f32", WEIR_F32, arg),
    KERNEL_PLAIN("LRN", "cpu.lrn_f32", WEIR_F32, lrn),
    {
        .head = KERNEL_HEAD(WEIR_KERNEL_PACKS_ALONE),
        .op = "LSTM",
        .name = "cpu.lstm_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(lstm),
        KERNEL_PACKS(lstm),
    },
    KERNEL_PLAIN("Concat", "cpu.concat", 0, join),
    KERNEL_PLAIN("Split", "cpu.split", 0, join),
    KERNEL_PLAIN("Transpose", "cpu.transpose", 0, move),
    KERNEL_PLAIN("Slice", "cpu.slice", 0, move),
    KERNEL_PLAIN("Expand", "cpu.expand", 0, move),
    KERNEL_PLAIN("Tile", "cpu.tile", 0, move),
    KERNEL_PLAIN("ConstantOfShape", "cpu.constant_of_shape", 0, fill),
    KERNEL_PLAIN("Gather", "cpu.gather", 0, gather),
    KERNEL_PLAIN("Pad", "cpu.pad", 0, pad),
    KERNEL_PLAIN("Resize", "cpu.resize", 0, resize),
    // Convs ask for the format, the others take it when their inputs come in it.
    {
        KERNEL_BLOCKED("Conv", "cpu.conv_bf16_first",
            WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BLOCKED | WEIR_KERNEL_BF16, bf16_first, bf16_conv),
        .input_formats = ROW_MAJOR,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(bf16_conv),
    },
    {
        KERNEL_BLOCKED("Conv", "cpu.conv_f32_first", WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BLOCKED,
            first_conv, blocked_conv),
        .input_formats = ROW_MAJOR,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(blocked_conv),
    },
    {
        KERNEL_BLOCKED("Conv", "cpu.conv_bf16",
            WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BLOCKED | WEIR_KERNEL_BF16, bf16_conv, bf16_conv),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(bf16_conv),
    },
    {
        KERNEL_BLOCKED("Conv", "cpu.conv_f32_winograd", WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BLOCKED,
            blocked_winograd, blocked_winograd),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(blocked_winograd),
    },
    {
        KERNEL_BLOCKED("Conv", "cpu.conv_f32_winograd_row",
            WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BLOCKED, blocked_winograd_row, blocked_winograd_row),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(blocked_winograd_row),
    },
    {
        KERNEL_BLOCKED("Conv", "cpu.conv_f32_blocked", WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_BLOCKED,
            blocked_conv, blocked_conv),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(blocked_conv),
    },
    {
        KERNEL_BLOCKED("Conv", "cpu.depthwise_f32_blocked", WEIR_KERNEL_EPILOGUE, blocked_depthwise,
            blocked_window),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(blocked_depthwise),
    },
    {
        KERNEL_BLOCKED("ConvTranspose", "cpu.deconv_f32_blocked", WEIR_KERNEL_EPILOGUE,
            blocked_spread, blocked_spread),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
        KERNEL_PACKS(blocked_spread),
    },
    {
        KERNEL_BLOCKED("Pointwise", "cpu.pointwise_blocked", WEIR_KERNEL_INPLACE, blocked_pointwise,
            blocked_pointwise),
        .input_formats = BLOCKS,
        KERNEL_PACKS(blocked_pointwise),
    },
    {
        KERNEL_BLOCKED("MaxPool", "cpu.max_pool_f32_blocked", 0, blocked_pool, blocked_window),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
    },
    {
        KERNEL_BLOCKED(
            "AveragePool", "cpu.average_pool_f32_blocked", 0, blocked_pool, blocked_window),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
    },
    {
        KERNEL_BLOCKED(
            "GlobalMaxPool", "cpu.global_max_pool_f32_blocked", 0, blocked_global, blocked_global),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
    },
    {
        KERNEL_BLOCKED("GlobalAveragePool", "cpu.global_average_pool_f32_blocked", 0,
            blocked_global, blocked_global),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
    },
    {
        KERNEL_BLOCKED("Concat", "cpu.concat_f32_blocked", 0, blocked_concat, blocked_concat),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
    },
    {
        KERNEL_BLOCKED("Resize", "cpu.resize_f32_blocked", 0, blocked_resize, blocked_resize),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
    },
    {
        .head = KERNEL_HEAD(0),
        .op = "Reorder",
        .name = "cpu.reorder_f32",
        .revision = 1,
        .dtypes = WEIR_F32,
        KERNEL_CALLS(reorder),
        .input_formats = ROW_MAJOR | BLOCKS,
        .output_formats = ROW_MAJOR | BLOCKS,
    },
    // Bytes.
    {
        .head = KERNEL_HEAD(0),
        .op = "Reorder",
        .name = "cpu.reorder_bytes",
        .revision = 1,
        .dtypes = BYTES,
        KERNEL_CALLS(bytes_reorder),
        .input_formats = ROW_MAJOR | BLOCKS,
        .output_formats = ROW_MAJOR | BLOCKS,
    },
    {
        .head = KERNEL_HEAD(0),
        .op = "QLinearConv",
        .name = "cpu.conv_int8_rows",
        .revision = 1,
        .dtypes = BYTES,
        .supports = weir_cpu_int8_rows_supports,
        .prepare = weir_cpu_int8_conv_prepare,
        .release = weir_cpu_release,
        .tasks = weir_cpu_int8_conv_tasks,
        .run = weir_cpu_int8_conv_run,
        KERNEL_PACKS(int8_conv),
    },
    {
        KERNEL_BLOCKED(
            "QLinearConv", "cpu.conv_int8_first", WEIR_KERNEL_BLOCKED, int8_first, int8_conv),
        .input_formats = ROW_MAJOR,
        .dtypes = BYTES,
        KERNEL_PACKS(int8_conv),
    },
    {
        KERNEL_BLOCKED("QLinearConv", "cpu.conv_int8", WEIR_KERNEL_BLOCKED, int8_conv, int8_conv),
        .input_formats = BLOCKS,
        .dtypes = BYTES,
        KERNEL_PACKS(int8_conv),
    },
    {
        KERNEL_BLOCKED("MaxPool", "cpu.max_pool_bytes", 0, bytes_pool, bytes_pool),
        .input_formats = BLOCKS,
        .dtypes = BYTES,
    },
    {
        KERNEL_BLOCKED("DequantizeLinear", "cpu.dequantize_blocked", 0, linear, linear),
        .input_formats = BLOCKS,
        .dtypes = BYTES,
    },
    {
        KERNEL_BLOCKED("QuantizeLinear", "cpu.quantize_blocked", 0, linear, linear),
        .input_formats = BLOCKS,
        .dtypes = WEIR_F32,
    },
    KERNEL_PLAIN("MaxPool", "cpu.max_pool_bytes_rows", BYTES, bytes_pool),
    KERNEL_PLAIN("DynamicQuantizeLinear", "cpu.dynamic_quantize", WEIR_F32, dynamic),
    KERNEL_PLAIN("DequantizeLinear", "cpu.dequantize", BYTES, linear),
    KERNEL_PLAIN("QuantizeLinear", "cpu.quantize", WEIR_F32, linear),
    {
        .head = KERNEL_HEAD(0),
        .op = "QLinearMatMul",
        .name = "cpu.matmul_int8",
        .revision = 1,
        .dtypes = BYTES,
        KERNEL_CALLS(int8_matmul),
        KERNEL_PACKS(int8_matmul),
    },
    {
        .head = KERNEL_HEAD(0),
        .op = "MatMulInteger",
        .name = "cpu.matmul_integer",
        .revision = 1,
        .dtypes = BYTES,
        KERNEL_CALLS(int8_matmul),
        KERNEL_PACKS(int8_matmul),
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
