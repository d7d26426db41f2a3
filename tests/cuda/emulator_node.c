// tests/cuda/emulator_node.c: see emulator_node.h.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "backends/cuda/recipe.h"
#include "kernels/ref/ref.h"
#include "tests/cuda/emulator_node.h"
#include "tests/kernels/ref_host.h"
#include "tests/support/emulator/emulator.h"

#define FENCE 64
#define ORDERS 2
#define FLOATS (WEIR_F32 | WEIR_F16 | WEIR_BF16)

// ---------------------------------------------------------------------------------------------
// Building
// ---------------------------------------------------------------------------------------------

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

void node_set(weir_dtype_t dtype, void *memory, uint64_t i, float value)
{
    if (dtype == WEIR_F32)
        ((float *)memory)[i] = value;
    else if (dtype == WEIR_F16)
        ((uint16_t *)memory)[i] = weir_kr_f16_from_double((double)value);
    else
        ((uint16_t *)memory)[i] = weir_kr_bf16_from_double((double)value);
}

static double get(weir_dtype_t dtype, const void *memory, uint64_t i)
{
    if (dtype == WEIR_F32)
        return (double)((const float *)memory)[i];
    return dtype == WEIR_F16 ? weir_kr_f16_to_double(((const uint16_t *)memory)[i])
                             : weir_kr_bf16_to_double(((const uint16_t *)memory)[i]);
}

void node_new(test_node_t *n, const char *op, uint32_t seed)
{
    memset(n, 0, sizeof *n);
    n->seed = seed * 2654435761u + 1;
    n->node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = op,
        .origin = "",
        .revision = 1,
        .inputs = n->inputs,
        .outputs = n->outputs,
        .attributes = n->attributes};
}

void node_free(test_node_t *n)
{
    for (uint32_t i = 0; i < NODE_TENSORS; i++) {
        free(n->input_memory[i].memory);
        free(n->output_memory[i].memory);
        free(n->output_memory[i].expected);
    }
}

// Inputs are exactly as large as they say; whoever reads past them meets AddressSanitizer.
static void fill(weir_tensor_t *tensor, node_tensor_t *memory, weir_dtype_t dtype, uint32_t rank,
    va_list dims, size_t fence)
{
    uint64_t count = 1;
    for (uint32_t d = 0; d < rank; d++) {
        memory->dims[d] = va_arg(dims, int);
        count *= (uint64_t)memory->dims[d];
    }
    const uint64_t bytes = count * weir_dtype_bytes(dtype);
    memory->memory = malloc(bytes + fence + !bytes);
    assert_non_null(memory->memory);
    memset(memory->memory, 0xa5, bytes + fence);
    *tensor = (weir_tensor_t){.data = memory->memory,
        .bytes = bytes,
        .element_count = count,
        .dims = memory->dims,
        .dtype = dtype,
        .rank = rank};
}

void *node_input(test_node_t *n, weir_dtype_t dtype, uint32_t rank, ...)
{
    const uint32_t i = n->node.input_count++;
    va_list dims;
    va_start(dims, rank);
    fill(&n->inputs[i], &n->input_memory[i], dtype, rank, dims, 0);
    va_end(dims);
    unsigned char *memory = n->input_memory[i].memory;
    for (uint64_t e = 0; e < n->inputs[i].element_count; e++) {
        const uint32_t random = next(&n->seed);
        const size_t bytes = weir_dtype_bytes(dtype);
        const uint64_t wide = (uint64_t)random * 0x9e3779b97f4a7c15ull;
        if (dtype & FLOATS)
            node_set(dtype, memory, e, (float)random / 8388608.0f - 1.0f);
        else
            memcpy(memory + e * bytes, &wide, bytes);
    }
    return memory;
}

void node_values(test_node_t *n, uint32_t count, ...)
{
    const uint32_t i = n->node.input_count++;
    node_tensor_t *memory = &n->input_memory[i];
    va_list values;
    memory->dims[0] = count;
    memory->memory = malloc(count * sizeof(int64_t) + 1);
    assert_non_null(memory->memory);
    va_start(values, count);
    for (uint32_t e = 0; e < count; e++)
        ((int64_t *)(void *)memory->memory)[e] = va_arg(values, int);
    va_end(values);
    n->inputs[i] = (weir_tensor_t){.data = memory->memory,
        .bytes = count * sizeof(int64_t),
        .element_count = count,
        .dims = memory->dims,
        .dtype = WEIR_I64,
        .rank = 1,
        .flags = WEIR_TENSOR_CONSTANT};
}

void node_absent(test_node_t *n)
{
    n->node.input_count++;
}

void node_output(test_node_t *n, weir_dtype_t dtype, uint32_t rank, ...)
{
    const uint32_t i = n->node.output_count++;
    va_list dims;
    va_start(dims, rank);
    fill(&n->outputs[i], &n->output_memory[i], dtype, rank, dims, FENCE);
    va_end(dims);
    n->output_memory[i].expected = malloc(n->outputs[i].bytes + 1);
    assert_non_null(n->output_memory[i].expected);
}

static weir_attribute_t *attribute(test_node_t *n, const char *name, uint32_t type)
{
    weir_attribute_t *at = &n->attributes[n->node.attribute_count++];
    assert_true(n->node.attribute_count <= NODE_ATTRIBUTES);
    at->name = name;
    at->type = type;
    return at;
}

void node_int(test_node_t *n, const char *name, int64_t value)
{
    attribute(n, name, WEIR_ATTR_INT)->i = value;
}

void node_float(test_node_t *n, const char *name, double value)
{
    attribute(n, name, WEIR_ATTR_FLOAT)->f = value;
}

void node_string(test_node_t *n, const char *name, const char *value)
{
    attribute(n, name, WEIR_ATTR_STRING)->s = value;
}

void node_ints(test_node_t *n, const char *name, const int64_t *values, uint32_t count)
{
    weir_attribute_t *at = attribute(n, name, WEIR_ATTR_INTS);
    at->ints = values;
    at->count = count;
}

// ---------------------------------------------------------------------------------------------
// Running
// ---------------------------------------------------------------------------------------------

static char last_text[256];

static weir_code_t note_failure(const weir_host_t *host, weir_code_t code, const char *format, ...)
{
    va_list arguments;
    (void)host;
    va_start(arguments, format);
    (void)vsnprintf(last_text, sizeof last_text, format, arguments);
    va_end(arguments);
    return code;
}

static const weir_cuda_row_t *find_row(const char *op)
{
    static const weir_cuda_family_t *const families[] = {
#define WEIR_CUDA_FAMILY(name) &weir_cuda_family_##name,
#include "backends/cuda/families.inc"
#undef WEIR_CUDA_FAMILY
    };
    for (size_t f = 0; f < sizeof families / sizeof families[0]; f++)
        for (uint32_t r = 0; r < families[f]->count; r++)
            if (strcmp(families[f]->rows[r].kernel.op, op) == 0 &&
                !(families[f]->rows[r].kernel.head.flags & WEIR_KERNEL_BF16))
                return &families[f]->rows[r];
    fail_msg("no row for %s", op);
    return NULL;
}

static struct {
    const char *name;
} ran[256];
static uint32_t ran_count;

int node_has_run(const char *entry)
{
    for (uint32_t i = 0; i < ran_count; i++)
        if (strcmp(ran[i].name, entry) == 0)
            return 1;
    return 0;
}

static void *address(
    const test_node_t *n, const weir_cuda_place_t *place, unsigned char *scratch, uint32_t *error)
{
    switch (place->kind) {
    case WEIR_CUDA_INPUT:
        return (unsigned char *)n->inputs[place->index].data + place->offset;
    case WEIR_CUDA_OUTPUT:
        return n->output_memory[place->index].memory + place->offset;
    case WEIR_CUDA_SCRATCH:
        return scratch + place->offset;
    case WEIR_CUDA_ERROR:
        return error;
    default:
        return NULL;
    }
}

static void run_kernel(const test_node_t *n, weir_cuda_kernel_step_t *step, unsigned char *scratch,
    uint32_t *error, uint32_t order)
{
    char text[200];
    const uint32_t grid[3] = {step->grid.x, step->grid.y, step->grid.z};
    const weir_emulator_kernel_t *kernel = step->entry ? weir_emulator_find(step->entry) : NULL;
    if (!kernel)
        fail_msg(
            "%s: no kernel %s", n->node.op, step->entry ? step->entry : "that is not generated");
    assert_int_equal(kernel->params_bytes, step->params_bytes);
    assert_true(step->pointer_count <= WEIR_CUDA_POINTERS_MAX);
    for (uint32_t i = 0; i < step->pointer_count; i++) {
        void *pointer = address(n, &step->pointers[i].place, scratch, error);
        memcpy((char *)step->params + step->pointers[i].at, &pointer, sizeof pointer);
    }
    if (weir_emulator_launch(kernel, step->params, grid, step->block.x, order, text, sizeof text))
        fail_msg("%s: %s", n->node.op, text);
    if (!node_has_run(kernel->name) && ran_count < sizeof ran / sizeof ran[0])
        ran[ran_count++].name = kernel->name;
}

// What the library does: the convolution alone.
static void run_conv(const test_node_t *n, const weir_cuda_conv_t *conv, unsigned char *scratch)
{
    char error[160] = "";
    weir_tensor_t output = n->outputs[0];
    weir_node_t plain = n->node;
    plain.input_count = 2;
    plain.outputs = &output;
    output.data = address(n, &conv->y, scratch, NULL);
    if (ref_host_run_tasks(&plain, 1, error, sizeof error) != WEIR_OK)
        fail_msg("%s: the reference refuses: %s", n->node.op, error);
}

uint32_t node_run(test_node_t *n, uint32_t order)
{
    const weir_cuda_facts_t facts = {.arch = 90,
        .multiprocessor_count = 4,
        .shared_bytes = 49152,
        .threads_per_block = 1024,
        .has_conv = n->has_conv != 0};
    static weir_cuda_recipe_t recipe;
    weir_host_t host = ref_host();
    weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
    const weir_cuda_row_t *row = find_row(n->node.op);
    uint32_t error = 0;
    host.fail = note_failure;
    memset(&recipe, 0, sizeof recipe);
    weir_cuda_recipe_begin(&recipe, &host, &facts, row);
    if (row->kernel.supports(&n->node, &support) != WEIR_OK)
        fail_msg("%s: %s", n->node.op, support.reason);
    if (row->plan(&n->node, &recipe) != WEIR_OK)
        fail_msg("%s: %s", n->node.op, last_text);
    unsigned char *scratch = malloc(recipe.scratch_bytes + 1);
    assert_non_null(scratch);
    for (uint32_t s = 0; s < recipe.step_count; s++) {
        weir_cuda_step_t *step = &recipe.steps[s];
        if (step->kind == WEIR_CUDA_STEP_KERNEL)
            run_kernel(n, &step->kernel, scratch, &error, order);
        else if (step->kind == WEIR_CUDA_STEP_COPY)
            memcpy(address(n, &step->copy.to, scratch, &error),
                address(n, &step->copy.from, scratch, &error), step->copy.bytes);
        else if (step->kind == WEIR_CUDA_STEP_CONV && n->has_conv)
            run_conv(n, &step->conv, scratch);
        else
            fail_msg("%s: a step of a library that is not there", n->node.op);
    }
    free(scratch);
    return error;
}

// ---------------------------------------------------------------------------------------------
// Judging
// ---------------------------------------------------------------------------------------------

static void judge(const test_node_t *n, uint32_t output, double slack, uint32_t order)
{
    const weir_tensor_t *tensor = &n->outputs[output];
    const node_tensor_t *memory = &n->output_memory[output];
    const weir_dtype_t dtype = tensor->dtype;
    const size_t bytes = weir_dtype_bytes(dtype);
    const double unit = dtype == WEIR_F32 ? 0x1p-22 : dtype == WEIR_F16 ? 0x1p-10 : 0x1p-7;
    for (uint64_t i = 0; i < tensor->element_count; i++) {
        if (!(dtype & FLOATS)) {
            if (memcmp(memory->memory + i * bytes, memory->expected + i * bytes, bytes) != 0)
                fail_msg("%s: element %zu of output %u is another (order %u)", n->node.op,
                    (size_t)i, output, order);
            continue;
        }
        const double got = get(dtype, memory->memory, i), want = get(dtype, memory->expected, i);
        const int fits = isnan(want)   ? isnan(got)
                         : isinf(want) ? got == want
                                       : fabs(got - want) <= unit * fabs(want) + slack;
        if (!fits)
            fail_msg("%s: element %zu of output %u is %.9g, not %.9g (order %u)", n->node.op,
                (size_t)i, output, got, want, order);
    }
    for (uint32_t i = 0; i < FENCE; i++)
        if (memory->memory[tensor->bytes + i] != 0xa5)
            fail_msg("%s: writes past the end of output %u", n->node.op, output);
}

void node_check(test_node_t *n, double slack)
{
    char error[160] = "";
    for (uint32_t o = 0; o < n->node.output_count; o++)
        n->outputs[o].data = n->output_memory[o].expected;
    if (ref_host_run_tasks(&n->node, 1, error, sizeof error) != WEIR_OK)
        fail_msg("%s: the reference refuses: %s", n->node.op, error);
    for (uint32_t order = 1; order <= ORDERS; order++) {
        for (uint32_t o = 0; o < n->node.output_count; o++) {
            n->outputs[o].data = n->output_memory[o].memory;
            memset(n->output_memory[o].memory, 0xa5, n->outputs[o].bytes);
        }
        if (node_run(n, order * 7919) != 0)
            fail_msg("%s: an error is reported", n->node.op);
        for (uint32_t o = 0; o < n->node.output_count; o++)
            if (n->outputs[o].dtype)
                judge(n, o, slack, order);
    }
    node_free(n);
}
