// Shared by the tests of the kernels in blocked format: tensors that lie both ways, nodes, and runs
// on every ISA in several orders. Each program includes it once and calls blocked_open() first.
#ifndef WEIR_TESTS_KERNELS_CPU_BLOCKED_H
#define WEIR_TESTS_KERNELS_CPU_BLOCKED_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/kernels/cpu_host.h"

// In how many orders the tasks run: with sanitizers all of them would take minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define ORDERS 2u
#else
#define ORDERS 4u
#endif

#define ISA_COUNT 3
static const char *const isa_names[ISA_COUNT] = {"plain", "avx2", "avx512"};
static cpu_host_t hosts[ISA_COUNT];
static const weir_plugin_t *plugins[ISA_COUNT]; // NULL: not on this machine

static uint32_t random_state = 11;
static inline float random_float(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(random_state >> 8) / 8388608.0f - 1.0f;
}

// A tensor of four dims: its values row-major, and in blocks as the kernels see it.
typedef struct lot {
    int64_t dims[4];
    size_t count, blocked_count;
    float *rows, *blocks;
} lot_t;

static inline size_t place(const lot_t *lot, int64_t n, int64_t c, int64_t h, int64_t w)
{
    const int64_t blocks = (lot->dims[1] + 15) / 16;
    return (
        size_t)(((n * blocks + c / 16) * lot->dims[2] * lot->dims[3] + h * lot->dims[3] + w) * 16 +
                c % 16);
}

static inline size_t row_place(const lot_t *lot, int64_t n, int64_t c, int64_t h, int64_t w)
{
    return (size_t)(((n * lot->dims[1] + c) * lot->dims[2] + h) * lot->dims[3] + w);
}

#define FOR_ALL(lot)                                                                               \
    for (int64_t n = 0; n < (lot)->dims[0]; n++)                                                   \
        for (int64_t c = 0; c < (lot)->dims[1]; c++)                                               \
            for (int64_t row = 0; row < (lot)->dims[2]; row++)                                     \
                for (int64_t col = 0; col < (lot)->dims[3]; col++)

static inline void lot_block(lot_t *lot)
{
    memset(lot->blocks, 0, lot->blocked_count * sizeof(float));
    FOR_ALL(lot)
    lot->blocks[place(lot, n, c, row, col)] = lot->rows[row_place(lot, n, c, row, col)];
}

static inline lot_t lot_new(int64_t images, int64_t channels, int64_t height, int64_t width)
{
    lot_t lot = {.dims = {images, channels, height, width}};
    lot.count = (size_t)(images * channels * height * width);
    lot.blocked_count = (size_t)(images * ((channels + 15) / 16) * 16 * height * width);
    lot.rows = test_malloc((lot.count + 1) * sizeof(float));
    lot.blocks = test_malloc((lot.blocked_count + 1) * sizeof(float));
    for (size_t i = 0; i < lot.count; i++)
        lot.rows[i] = random_float();
    lot_block(&lot);
    lot.rows[lot.count] = lot.blocks[lot.blocked_count] = 77.0f; // a fence
    return lot;
}

static inline void lot_free(lot_t *lot)
{
    assert_true(lot->rows[lot->count] == 77.0f && lot->blocks[lot->blocked_count] == 77.0f);
    test_free(lot->rows);
    test_free(lot->blocks);
}

static inline weir_tensor_t tensor_rows(const lot_t *lot, uint32_t flags)
{
    return (weir_tensor_t){.data = lot->rows,
        .bytes = lot->count * sizeof(float),
        .element_count = lot->count,
        .dims = lot->dims,
        .dtype = WEIR_F32,
        .rank = 4,
        .flags = flags};
}

static inline weir_tensor_t tensor_blocks(const lot_t *lot)
{
    weir_tensor_t tensor = tensor_rows(lot, 0);
    tensor.data = lot->blocks;
    tensor.bytes = lot->blocked_count * sizeof(float);
    tensor.format = WEIR_FORMAT_NCHW16C;
    return tensor;
}

// The last dims of a tensor as one of fewer dims.
static inline weir_tensor_t tensor_last(const lot_t *lot, uint32_t rank, uint32_t flags)
{
    weir_tensor_t tensor = tensor_rows(lot, flags);
    tensor.rank = rank;
    tensor.dims = lot->dims + 4 - rank;
    return tensor;
}

typedef struct bench {
    weir_node_t node;
    weir_tensor_t inputs[8], output;
    weir_attribute_t attributes[12];
    weir_expression_t expression;
} bench_t;

static inline void bench_init(bench_t *bench, const char *op)
{
    memset(bench, 0, sizeof(*bench));
    bench->node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = op,
        .origin = "test",
        .revision = 1,
        .inputs = bench->inputs,
        .outputs = &bench->output,
        .output_count = 1,
        .attributes = bench->attributes};
}

static inline void input_add(bench_t *bench, weir_tensor_t tensor)
{
    bench->inputs[bench->node.input_count++] = tensor;
}

static inline void ints_add(bench_t *bench, const char *name, const int64_t *values, uint32_t count)
{
    bench->attributes[bench->node.attribute_count++] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_INTS, .count = count, .ints = values};
}

static inline void int_add(bench_t *bench, const char *name, int64_t value)
{
    bench->attributes[bench->node.attribute_count++] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_INT, .i = value};
}

static inline void string_add(bench_t *bench, const char *name, const char *value)
{
    bench->attributes[bench->node.attribute_count++] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_STRING, .s = value};
}

static inline const weir_kernel_t *kernel_named(int isa, const char *name)
{
    for (uint32_t i = 0; i < plugins[isa]->kernels.count; i++) {
        const unsigned char *at = plugins[isa]->kernels.data;
        const weir_kernel_t *kernel = (const void *)(at + (size_t)i * plugins[isa]->kernels.stride);
        if (!strcmp(kernel->name, name))
            return kernel;
    }
    fail_msg("no kernel %s", name);
    return NULL;
}

// Runs the node on every ISA in four orders of its tasks, into the same bits.
static inline void bench_run(bench_t *bench, const char *name)
{
    float *first = NULL;
    for (int isa = 0; isa < ISA_COUNT; isa++)
        for (uint64_t order = 0; order < ORDERS && plugins[isa]; order++) {
            cpu_prepared_t prepared;
            cpu_host_t *host = &hosts[isa];
            memset(bench->output.data, 0xff, bench->output.bytes);
            const weir_kernel_t *kernel = kernel_named(isa, name);
            if (cpu_host_prepare(host, kernel, &bench->node, &prepared) != WEIR_OK)
                fail_msg("%s: %s", name, host->message);
            assert_int_equal(cpu_host_run(&prepared, order * 5), WEIR_OK);
            cpu_host_release(&prepared);
            assert_int_equal(host->fault_count, 0);
            assert_int_equal(host->live_count, 0);
            if (!first) {
                first = test_malloc(bench->output.bytes + 1);
                memcpy(first, bench->output.data, bench->output.bytes);
            } else if (memcmp(first, bench->output.data, bench->output.bytes)) {
                fail_msg("%s: other bits on %s in order %u", name, isa_names[isa], (unsigned)order);
            }
        }
    test_free(first);
}

static inline int bench_refused(bench_t *bench, const char *name)
{
    weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
    for (int isa = 0; isa < ISA_COUNT; isa++)
        if (plugins[isa])
            return kernel_named(isa, name)->supports(&bench->node, &support) != WEIR_OK &&
                   support.reason[0] != '\0';
    return 0;
}

// The blocks of `got` against the rows that were expected, and its zeros.
static inline void assert_blocks(
    const lot_t *got, const double *expected, double allowed, const char *what)
{
    FOR_ALL(got)
    {
        const double e = expected[row_place(got, n, c, row, col)];
        const double g = (double)got->blocks[place(got, n, c, row, col)];
        if (!(fabs(g - e) <= allowed) && !(isnan(g) && isnan(e)))
            fail_msg("%s: %.9g at %d,%d,%d,%d, not %.9g", what, g, (int)n, (int)c, (int)row,
                (int)col, e);
    }
    const int64_t padded = (got->dims[1] + 15) / 16 * 16;
    for (int64_t n = 0; n < got->dims[0]; n++)
        for (int64_t c = got->dims[1]; c < padded; c++)
            for (int64_t h = 0; h < got->dims[2]; h++)
                for (int64_t w = 0; w < got->dims[3]; w++)
                    if (got->blocks[place(got, n, c, h, w)] != 0.0f)
                        fail_msg("%s: channel %d, which is none, is not 0", what, (int)c);
}

// Both of two strides, all of four pads.
#define SAME(v)                                                                                    \
    {                                                                                              \
        v, v                                                                                       \
    }
#define PADS(v)                                                                                    \
    {                                                                                              \
        v, v, v, v                                                                                 \
    }

// Opens the plugin once for each ISA; 0: none can be had.
static inline int blocked_open(void)
{
    int opened = 0;
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        cpu_host_init(&hosts[isa], isa_names[isa]);
        plugins[isa] = cpu_host_open(&hosts[isa], WEIR_CPU_PLUGIN);
        opened += plugins[isa] != NULL;
    }
    return opened;
}

#endif
