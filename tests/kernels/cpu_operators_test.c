// Goal:   pools, reductions, movement, Resize, ConvTranspose, LRN, LSTM, softmax of weir_cpu.so
// give
//         what the reference kernels define, with the same bits on every ISA and in any order of
//         their tasks, allocate nothing in run(), and write nothing past their outputs.
// Method: each case is a node of random numbers, some of them NaN and infinities; the truth is
//         kernels/ref, which computes in double. An operator that is refused fails its case.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "backends/ref/ref_plugin.h"
#include "tests/kernels/cpu_host.h"

#define ISA_COUNT 3
#define FENCE 64u
static const char *const isa_names[ISA_COUNT] = {"plain", "avx2", "avx512"};
static cpu_host_t hosts[ISA_COUNT];
static const weir_plugin_t *plugins[ISA_COUNT]; // NULL: not on this machine

static uint32_t random_state = 11;
static uint32_t random_bits(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

// One node, the memory behind it, and what it shall give.
typedef struct op {
    weir_node_t node;
    weir_tensor_t inputs[8], outputs[4];
    int64_t dims[12][8];
    weir_attribute_t attributes[12];
    void *memory[24];
    uint32_t tensor_count, memory_count;
} op_t;

static op_t op;

static void op_begin(const char *name)
{
    memset(&op, 0, sizeof(op));
    op.node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = name,
        .origin = "test",
        .revision = 1,
        .inputs = op.inputs,
        .outputs = op.outputs,
        .attributes = op.attributes};
}

static void *op_memory(size_t bytes)
{
    return op.memory[op.memory_count++] = test_malloc(bytes + 1);
}

#define DIMS(...)                                                                                  \
    (const int64_t[])                                                                              \
    {                                                                                              \
        __VA_ARGS__, -1                                                                            \
    }

// dims end with -1. The memory ends with a fence.
static weir_tensor_t tensor_of(weir_dtype_t dtype, const int64_t *dims)
{
    weir_tensor_t tensor = {.dtype = dtype, .element_count = 1};
    int64_t *own = op.dims[op.tensor_count++];
    while (dims[tensor.rank] >= 0) {
        own[tensor.rank] = dims[tensor.rank];
        tensor.element_count *= (uint64_t)dims[tensor.rank++];
    }
    tensor.dims = own;
    tensor.bytes = tensor.element_count * weir_dtype_bytes(dtype);
    tensor.data = op_memory(tensor.bytes + FENCE);
    memset(tensor.data, 0x5a, tensor.bytes + FENCE);
    return tensor;
}

// special: every 37th number is a NaN or an infinity.
static void op_f32(const int64_t *dims, int special)
{
    weir_tensor_t *tensor = &op.inputs[op.node.input_count++];
    *tensor = tensor_of(WEIR_F32, dims);
    float *data = tensor->data;
    static const float specials[] = {NAN, INFINITY, -INFINITY};
    for (uint64_t i = 0; i < tensor->element_count; i++)
        data[i] = special && random_bits() % 37 == 0 ? specials[random_bits() % 3]
                                                     : (float)random_bits() / 8388608.0f - 1.0f;
}

static void op_any(weir_dtype_t dtype, const int64_t *dims)
{
    weir_tensor_t *tensor = &op.inputs[op.node.input_count++];
    *tensor = tensor_of(dtype, dims);
    for (uint64_t i = 0; i < tensor->bytes; i++)
        ((unsigned char *)tensor->data)[i] = (unsigned char)random_bits();
}

static void op_i64(const int64_t *values, uint32_t count, int is_constant)
{
    weir_tensor_t *tensor = &op.inputs[op.node.input_count++];
    *tensor = tensor_of(WEIR_I64, DIMS(count));
    memcpy(tensor->data, values, count * sizeof(*values));
    tensor->flags = is_constant ? WEIR_TENSOR_CONSTANT : 0;
}
#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof((a)[0])))
#define NUMBERS(...)                                                                               \
    (const int64_t[]){__VA_ARGS__}, (uint32_t)(sizeof((const int64_t[]){__VA_ARGS__}) / 8)

static void op_absent(void)
{
    op.node.input_count++;
}

static void op_output(weir_dtype_t dtype, const int64_t *dims)
{
    op.outputs[op.node.output_count++] = tensor_of(dtype, dims);
}

static void op_int(const char *name, int64_t value)
{
    op.attributes[op.node.attribute_count++] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_INT, .i = value};
}

static void op_float(const char *name, double value)
{
    op.attributes[op.node.attribute_count++] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_FLOAT, .f = value};
}

static void op_string(const char *name, const char *value)
{
    op.attributes[op.node.attribute_count++] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_STRING, .s = value};
}

static void op_ints(const char *name, const int64_t *values, uint32_t count)
{
    int64_t *own = op_memory(count * sizeof(*own));
    memcpy(own, values, count * sizeof(*own));
    op.attributes[op.node.attribute_count++] =
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_INTS, .count = count, .ints = own};
}

static void run_on(int isa, uint64_t order)
{
    cpu_prepared_t prepared;
    const weir_kernel_t *kernel = cpu_host_kernel(plugins[isa], op.node.op);
    assert_non_null(kernel);
    const weir_code_t code = cpu_host_prepare(&hosts[isa], kernel, &op.node, &prepared);
    if (code != WEIR_OK)
        fail_msg("%s: %s", op.node.op, hosts[isa].message);
    assert_int_equal(cpu_host_run(&prepared, order), WEIR_OK);
    cpu_host_release(&prepared);
    assert_int_equal(hosts[isa].fault_count, 0);
    assert_int_equal(hosts[isa].live_count, 0);
}

static int both_nan(const weir_tensor_t *tensor, const void *a, const void *b, uint64_t i)
{
    return tensor->dtype == WEIR_F32 && isnan(((const float *)a)[i]) &&
           isnan(((const float *)b)[i]);
}

static void assert_same_bits(const weir_tensor_t *tensor, const void *first, const char *isa)
{
    const size_t bytes = weir_dtype_bytes(tensor->dtype);
    for (uint64_t i = 0; i < tensor->element_count; i++)
        if (memcmp(
                (const char *)first + i * bytes, (const char *)tensor->data + i * bytes, bytes) &&
            !both_nan(tensor, first, tensor->data, i))
            fail_msg("%s: element %u has other bits on %s", op.node.op, (unsigned)i, isa);
    for (uint32_t i = 0; i < FENCE; i++)
        assert_int_equal(((const unsigned char *)tensor->data)[tensor->bytes + i], 0x5a);
}

static void assert_truth(const weir_tensor_t *tensor, const void *truth, double tolerance)
{
    for (uint64_t i = 0; i < tensor->element_count && tensor->dtype == WEIR_F32; i++) {
        const float got = ((const float *)tensor->data)[i], want = ((const float *)truth)[i];
        const int equal = got == want || (isnan(got) && isnan(want));
        if (!equal &&
            !(fabs((double)got - (double)want) <= tolerance * fmax(1.0, fabs((double)want))))
            fail_msg("%s: element %u is %.9g, not %.9g", op.node.op, (unsigned)i, (double)got,
                (double)want);
    }
    if (tensor->dtype != WEIR_F32)
        assert_memory_equal(tensor->data, truth, tensor->bytes);
}

// Runs the node everywhere and in several orders; tolerance 0: equal to the reference.
static void op_check(double tolerance)
{
    void *truth[4] = {NULL}, *first[4] = {NULL};
    char error[256] = "";
    if (weir_ref_run(&hosts[0].host, &op.node, error, sizeof(error)) != WEIR_OK)
        fail_msg("the reference: %s: %s", op.node.op, error);
    for (uint32_t j = 0; j < op.node.output_count; j++) {
        truth[j] = op_memory(op.outputs[j].bytes);
        first[j] = op_memory(op.outputs[j].bytes);
        memcpy(truth[j], op.outputs[j].data, op.outputs[j].bytes);
    }
    int runs = 0;
    for (int isa = 0; isa < ISA_COUNT; isa++)
        for (uint64_t order = 0; order < 3 && plugins[isa]; order++, runs++) {
            for (uint32_t j = 0; j < op.node.output_count; j++)
                memset(op.outputs[j].data, 0xee, op.outputs[j].bytes);
            run_on(isa, order * 7);
            for (uint32_t j = 0; j < op.node.output_count; j++) {
                if (runs == 0) {
                    memcpy(first[j], op.outputs[j].data, op.outputs[j].bytes);
                    assert_truth(&op.outputs[j], truth[j], tolerance);
                }
                assert_same_bits(&op.outputs[j], first[j], isa_names[isa]);
            }
        }
    for (uint32_t i = 0; i < op.memory_count; i++)
        test_free(op.memory[i]);
}

// -----------------------------------------------------------------------------------------
// pools and reductions

static int64_t pooled(int64_t in, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation)
{
    return (in + 2 * pad - (kernel - 1) * dilation - 1) / stride + 1;
}

static void check_pool(const char *name, const int64_t *x, int64_t kernel, int64_t stride,
    int64_t pad, int64_t dilation, int counts_pads)
{
    op_begin(name);
    op_f32(x, 1);
    op_output(WEIR_F32, DIMS(x[0], x[1], pooled(x[2], kernel, stride, pad, dilation),
                            pooled(x[3], kernel, stride, pad, dilation)));
    op_ints("kernel_shape", NUMBERS(kernel, kernel));
    op_ints("strides", NUMBERS(stride, stride));
    op_ints("pads", NUMBERS(pad, pad, pad, pad));
    op_ints("dilations", NUMBERS(dilation, dilation));
    op_int("count_include_pad", counts_pads);
    op_check(2e-6);
}

static void pools_are_right_and_same(void **state)
{
    (void)state;
    static const int64_t images[][5] = {
        {1, 1, 7, 7, -1}, {2, 3, 17, 35, -1}, {1, 40, 23, 16, -1}, {1, 2, 9, 130, -1}};
    for (size_t i = 0; i < COUNT(images); i++)
        for (int64_t kernel = 1; kernel <= 5; kernel++)
            for (int64_t stride = 1; stride <= 3; stride++)
                for (int64_t pad = 0; pad <= (kernel > 1); pad++) {
                    check_pool("MaxPool", images[i], kernel, stride, pad, 1, 0);
                    if (kernel < 4)
                        check_pool("MaxPool", images[i], kernel, stride, pad, 2, 0);
                    check_pool("AveragePool", images[i], kernel, stride, pad, 1, pad == 1);
                    check_pool("AveragePool", images[i], kernel, stride, pad, 1, 0);
                }
}

static void pools_take_one_dim_and_automatic_pads(void **state)
{
    (void)state;
    static const char *const modes[] = {"SAME_UPPER", "SAME_LOWER"};
    for (int mode = 0; mode < 2; mode++) {
        op_begin(mode ? "AveragePool" : "MaxPool");
        op_f32(DIMS(2, 3, 50), 1);
        op_output(WEIR_F32, DIMS(2, 3, 17));
        op_ints("kernel_shape", NUMBERS(4));
        op_ints("strides", NUMBERS(3));
        op_string("auto_pad", modes[mode]);
        op_check(1e-6);
        // ceil_mode: the last windows hang over the end.
        op_begin(mode ? "AveragePool" : "MaxPool");
        op_f32(DIMS(1, 2, 8, 8), 0);
        op_output(WEIR_F32, DIMS(1, 2, 4, 4));
        op_ints("kernel_shape", NUMBERS(3, 3));
        op_ints("strides", NUMBERS(2, 2));
        op_int("ceil_mode", 1);
        op_check(1e-6);
    }
}

static void reductions_are_right_and_same(void **state)
{
    (void)state;
    static const char *const names[] = {"ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin",
        "ReduceL1", "ReduceL2", "ReduceSumSquare"};
    static const int64_t lengths[] = {1, 2, 15, 17, 63, 64, 65, 200, 1030};
    for (size_t n = 0; n < COUNT(names); n++)
        for (size_t l = 0; l < COUNT(lengths); l++)
            for (int special = 0; special < 2; special++) {
                const int64_t length = lengths[l];
                op_begin(names[n]); // rows
                op_f32(DIMS(5, 3, length), special);
                op_i64(NUMBERS(-1), 1);
                op_output(WEIR_F32, DIMS(5, 3));
                op_int("keepdims", 0);
                op_check(1e-4);
                op_begin(names[n]); // columns, 259 of them: more than one block
                op_f32(DIMS(2, length, 7, 37), special);
                op_i64(NUMBERS(1), 1);
                op_output(WEIR_F32, DIMS(2, 1, 7, 37));
                op_int("keepdims", 1);
                op_check(1e-4);
            }
    op_begin("ReduceMean"); // all axes
    op_f32(DIMS(3, 50), 0);
    op_output(WEIR_F32, DIMS(1, 1));
    op_int("keepdims", 1);
    op_check(1e-6);
}

// A fold has the same bits along a row as down a column of the same numbers.
static void rows_and_columns_fold_alike(void **state)
{
    (void)state;
    enum { LENGTH = 333 };
    float in[LENGTH], wide[LENGTH * 2], row, column[2];
    for (int i = 0; i < LENGTH; i++)
        wide[2 * i] = wide[2 * i + 1] = in[i] = (float)random_bits() / 8388608.0f - 1.0f;
    const weir_kernel_t *kernel = cpu_host_kernel(plugins[0], "ReduceSum");
    for (int turn = 0; turn < 2; turn++) {
        op_begin("ReduceSum");
        op_f32(turn ? DIMS(LENGTH, 2) : DIMS(LENGTH, 1), 0);
        memcpy(op.inputs[0].data, turn ? wide : in, op.inputs[0].bytes);
        op_i64(NUMBERS(0), 1);
        op_output(WEIR_F32, turn ? DIMS(1, 2) : DIMS(1, 1));
        op_int("keepdims", 1);
        cpu_prepared_t prepared;
        assert_int_equal(cpu_host_prepare(&hosts[0], kernel, &op.node, &prepared), WEIR_OK);
        assert_int_equal(cpu_host_run(&prepared, 0), WEIR_OK);
        memcpy(turn ? column : &row, op.outputs[0].data, op.outputs[0].bytes);
        cpu_host_release(&prepared);
        for (uint32_t i = 0; i < op.memory_count; i++)
            test_free(op.memory[i]);
    }
    assert_memory_equal(&row, &column[0], sizeof(row));
    assert_memory_equal(&row, &column[1], sizeof(row));
}

static void global_pools_and_norms(void **state)
{
    (void)state;
    for (int64_t width = 1; width < 140; width += 23) {
        op_begin("GlobalAveragePool");
        op_f32(DIMS(2, 5, 3, width), 1);
        op_output(WEIR_F32, DIMS(2, 5, 1, 1));
        op_check(1e-6);
        op_begin("GlobalMaxPool");
        op_f32(DIMS(2, 5, 3, width), 1);
        op_output(WEIR_F32, DIMS(2, 5, 1, 1));
        op_check(0);
        for (int64_t p = 1; p <= 2; p++) {
            op_begin("LpNormalization");
            op_f32(DIMS(4, width), 0);
            memset(op.inputs[0].data, 0, (size_t)width * sizeof(float)); // a row of zeros stays one
            op_output(WEIR_F32, DIMS(4, width));
            op_int("axis", -1);
            op_int("p", p);
            op_check(1e-6);
        }
        for (int64_t axis = 0; axis < 3; axis++) {
            op_begin(axis % 2 ? "LogSoftmax" : "Softmax");
            op_f32(DIMS(4, width, 3), 0);
            op_output(WEIR_F32, DIMS(4, width, 3));
            op_int("axis", axis);
            op_int("coerce", 0);
            op_check(5e-6);
            op_begin(axis % 2 ? "Softmax" : "LogSoftmax");
            op_f32(DIMS(4, width, 3), 0);
            op_output(WEIR_F32, DIMS(4, width, 3));
            op_int("axis", axis);
            op_int("coerce", 1);
            op_check(5e-6);
        }
    }
    static const double betas[] = {0.75, 0.5, 0.61};
    for (size_t i = 0; i < COUNT(betas); i++) {
        op_begin("LRN");
        op_f32(DIMS(2, 9, 5, 47), 0);
        op_output(WEIR_F32, DIMS(2, 9, 5, 47));
        op_int("size", 4 + (int64_t)i);
        op_float("alpha", 0.3);
        op_float("beta", betas[i]);
        op_float("bias", 1.5);
        op_check(2e-6);
    }
}

static void extremes_are_found_where_they_are(void **state)
{
    (void)state;
    static const int64_t lengths[] = {1, 2, 15, 16, 17, 70, 1000};
    for (size_t i = 0; i < COUNT(lengths); i++)
        for (int turn = 0; turn < 8; turn++) {
            op_begin(turn & 1 ? "ArgMin" : "ArgMax");
            op_f32(DIMS(30, lengths[i]), turn >> 1 & 1);
            // Few different numbers: there are equals to choose among.
            for (uint64_t e = 0; e < op.inputs[0].element_count; e++)
                ((float *)op.inputs[0].data)[e] = rintf(((float *)op.inputs[0].data)[e] * 4);
            op_output(WEIR_I64, DIMS(30));
            op_int("axis", 1);
            op_int("keepdims", 0);
            op_int("select_last_index", turn >> 2);
            op_check(0);
        }
}

// relu(a) + b before a LayerNormalization or a Softmax, as its prologue, gives the bits of the same
// computed apart.
static void prologues_are_applied_before_rows(void **state)
{
    (void)state;
    static const weir_instruction_t program[] = {{.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32},
        {.opcode = WEIR_OP_RELU, .dtype = WEIR_F32, .a = 0},
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 1},
        {.opcode = WEIR_OP_ADD, .dtype = WEIR_F32, .a = 1, .b = 2}};
    static const uint16_t outputs[] = {3};
    static const int64_t widths[] = {1, 16, 50, 384, 700};
    for (size_t w = 0; w < COUNT(widths); w++)
        for (int softmax = 0; softmax < 2; softmax++) {
            const uint64_t width = (uint64_t)widths[w];
            op_begin(softmax ? "Softmax" : "LayerNormalization");
            op_f32(DIMS(9, widths[w]), 0);
            if (!softmax)
                op_f32(DIMS(widths[w]), 0); // scale, and no bias
            op_int("axis", -1);
            op_float("epsilon", 1e-5);
            op_output(WEIR_F32, DIMS(9, widths[w]));
            const weir_expression_t prologue = {.head = WEIR_HEAD(weir_expression_t),
                .instructions = program,
                .instruction_count = COUNT(program),
                .first_operand = op.node.input_count,
                .operand_count = 2,
                .output_count = 1,
                .outputs = outputs};
            op_f32(DIMS(9, widths[w]), 0); // operand 0, which the anchor stands for
            op_f32(DIMS(widths[w]), 0);
            const float *row = op.inputs[op.node.input_count - 1].data;
            float *x = op.inputs[0].data, *y = op.outputs[0].data;
            for (int isa = 0; isa < ISA_COUNT; isa++) {
                float before[9 * 700], expected[9 * 700];
                if (!plugins[isa])
                    continue;
                memcpy(before, x, 9 * width * sizeof(*x));
                op.node.prologue = &prologue;
                run_on(isa, 3);
                memcpy(expected, y, 9 * width * sizeof(*y));
                for (uint64_t i = 0; i < 9 * width; i++)
                    x[i] = (x[i] > 0 ? x[i] : 0.0f) + row[i % width];
                op.node.prologue = NULL;
                op.node.input_count -= 2;
                run_on(isa, 0);
                op.node.input_count += 2;
                assert_memory_equal(expected, y, 9 * width * sizeof(*y));
                memcpy(x, before, 9 * width * sizeof(*x));
            }
            for (uint32_t i = 0; i < op.memory_count; i++)
                test_free(op.memory[i]);
        }
}

// -----------------------------------------------------------------------------------------
// movement

static const weir_dtype_t some_dtypes[] = {WEIR_F32, WEIR_I64, WEIR_U8, WEIR_F16};

static void check_transpose(weir_dtype_t dtype, const int64_t *dims, const int64_t *perm)
{
    int64_t out[5] = {-1, -1, -1, -1, -1};
    for (int d = 0; d < 4; d++)
        out[d] = dims[perm[d]];
    op_begin("Transpose");
    op_any(dtype, dims);
    op_output(dtype, out);
    op_ints("perm", perm, 4);
    op_check(0);
}

static void transposes_move_every_element(void **state)
{
    (void)state;
    static const int64_t shapes[][5] = {{2, 3, 4, 5, -1}, {1, 128, 12, 32, -1}, {1, 33, 1, 70, -1},
        {2, 17, 19, 16, -1}, {1, 4, 60, 49, -1}, {2, 0, 3, 4, -1}};
    for (size_t s = 0; s < COUNT(shapes); s++)
        for (int64_t code = 0; code < 256; code++) {
            const int64_t perm[4] = {code & 3, code >> 2 & 3, code >> 4 & 3, code >> 6};
            int64_t seen = 0;
            for (int d = 0; d < 4; d++)
                seen |= 1 << perm[d];
            if (seen == 15)
                check_transpose(some_dtypes[(size_t)code % COUNT(some_dtypes)], shapes[s], perm);
        }
}

static void parts_join_and_part(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(some_dtypes); i++) {
        const weir_dtype_t dtype = some_dtypes[i];
        for (int64_t axis = -3; axis < 3; axis++) {
            const int64_t at = axis < 0 ? axis + 3 : axis;
            int64_t parts[3][4] = {{3, 50, 41, -1}, {3, 50, 41, -1}, {3, 50, 41, -1}};
            int64_t whole[4] = {3, 50, 41, -1};
            parts[1][at] = 7;
            parts[2][at] = 0;
            whole[at] += 7;
            op_begin("Concat");
            for (int p = 0; p < 3; p++)
                op_any(dtype, parts[p]);
            op_output(dtype, whole);
            op_int("axis", axis);
            op_check(0);
            op_begin("Split");
            op_any(dtype, whole);
            op_i64(NUMBERS(parts[0][at], parts[1][at], 0), 1);
            for (int p = 0; p < 3; p++)
                op_output(dtype, parts[p]);
            op_int("axis", axis);
            op_check(0);
        }
        op_begin("Concat"); // one long row: tasks cut through parts
        op_any(dtype, DIMS(1, 300000));
        op_any(dtype, DIMS(1, 123457));
        op_output(dtype, DIMS(1, 423457));
        op_int("axis", 1);
        op_check(0);
    }
}

static void slices_start_where_they_are_told(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(some_dtypes); i++)
        for (int is_constant = 0; is_constant < 2; is_constant++) {
            const weir_dtype_t dtype = some_dtypes[i];
            op_begin("Slice");
            op_any(dtype, DIMS(4, 20, 30));
            op_i64(NUMBERS(1, -1, 100), is_constant);
            op_i64(NUMBERS(3, -100, -31), is_constant);
            op_i64(NUMBERS(0, 1, -1), is_constant);
            op_i64(NUMBERS(1, -3, -2), is_constant);
            op_output(dtype, DIMS(2, 7, 15));
            op_check(0);
            op_begin("Slice");
            op_any(dtype, DIMS(4, 20, 30));
            op_i64(NUMBERS(2), is_constant);
            op_i64(NUMBERS(INT64_MAX), is_constant);
            op_absent();
            op_absent();
            op_output(dtype, DIMS(2, 20, 30));
            op_check(0);
        }
}

static void expansions_and_tiles_repeat(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(some_dtypes); i++) {
        const weir_dtype_t dtype = some_dtypes[i];
        op_begin("Expand");
        op_any(dtype, DIMS(5, 1, 7, 1));
        op_i64(NUMBERS(2, 5, 3, 7, 70), 1);
        op_output(dtype, DIMS(2, 5, 3, 7, 70));
        op_check(0);
        op_begin("Expand");
        op_any(dtype, DIMS(1));
        op_i64(NUMBERS(300, 200), 1);
        op_output(dtype, DIMS(300, 200));
        op_check(0);
        op_begin("ConstantOfShape"); // less than one unit; several, and a part of one
        op_i64(NUMBERS(3, 5), 1);
        op_any(dtype, DIMS(1));
        op_output(dtype, DIMS(3, 5));
        op_check(0);
        op_begin("ConstantOfShape");
        op_i64(NUMBERS(7, 300, 50), 0);
        op_any(dtype, DIMS(1));
        op_output(dtype, DIMS(7, 300, 50));
        op_check(0);
        op_begin("Tile");
        op_any(dtype, DIMS(3, 4, 5));
        op_i64(NUMBERS(2, 1, 30), 1);
        op_output(dtype, DIMS(6, 4, 150));
        op_check(0);
    }
}

static void pads_fill_every_mode(void **state)
{
    (void)state;
    static const char *const modes[] = {"constant", "reflect", "edge", "wrap"};
    for (size_t i = 0; i < COUNT(some_dtypes); i++)
        for (size_t mode = 0; mode < COUNT(modes); mode++) {
            op_begin("Pad");
            op_any(some_dtypes[i], DIMS(3, 4, 25));
            op_i64(NUMBERS(1, 0, 3, 2, 3, 20), mode % 2);
            op_output(some_dtypes[i], DIMS(6, 7, 48));
            op_string("mode", modes[mode]);
            op_check(0);
            op_begin("Pad"); // of some axes, with a value, and a negative pad
            op_any(some_dtypes[i], DIMS(3, 4, 25));
            op_i64(NUMBERS(-2, 1, 4, 0), 1);
            op_any(some_dtypes[i], DIMS(1));
            op_i64(NUMBERS(-1, 0), 1);
            op_output(some_dtypes[i], DIMS(4, 4, 27));
            op_string("mode", "constant");
            op_check(0);
        }
}

static void gathers_pick_rows_and_check_indices(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(some_dtypes); i++)
        for (int64_t axis = 0; axis < 3; axis++) {
            int64_t out[5] = {6, 7, 8, -1, -1};
            for (int64_t d = 4; d > axis + 1; d--)
                out[d] = d < 4 ? (d == 3 ? 8 : 7) : -1;
            out[axis] = 2;
            out[axis + 1] = 3;
            op_begin("Gather");
            op_any(some_dtypes[i], DIMS(6, 7, 8));
            op_i64(NUMBERS(0, -1, 3, 5, 2, -6), 0);
            op.dims[1][0] = 2;
            op.dims[1][1] = 3;
            op.inputs[1].rank = 2;
            op_output(some_dtypes[i], out);
            op_int("axis", axis);
            op_check(0);
        }
    static const int64_t wrong[] = {6, -7, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < COUNT(wrong); i++) {
        op_begin("Gather");
        op_any(WEIR_F32, DIMS(6, 7));
        op_i64(NUMBERS(0, wrong[i]), 0);
        op_output(WEIR_F32, DIMS(2, 7));
        op_int("axis", 0);
        cpu_prepared_t prepared;
        const weir_kernel_t *kernel = cpu_host_kernel(plugins[0], "Gather");
        assert_int_equal(cpu_host_prepare(&hosts[0], kernel, &op.node, &prepared), WEIR_OK);
        assert_int_equal(cpu_host_run(&prepared, 0), WEIR_INVALID_ARGUMENT);
        cpu_host_release(&prepared);
        for (uint32_t m = 0; m < op.memory_count; m++)
            test_free(op.memory[m]);
    }
}

// -----------------------------------------------------------------------------------------
// Resize, ConvTranspose, LSTM

static void check_resize(const char *mode, const char *coordinates, const char *nearest,
    const float *scales, int64_t height, int64_t width)
{
    op_begin("Resize");
    op_f32(DIMS(2, 3, 9, 14), 0);
    if (scales) {
        op_f32(DIMS(4), 0);
        memcpy(op.inputs[1].data, scales, 4 * sizeof(float));
        op.inputs[1].flags = WEIR_TENSOR_CONSTANT;
    } else {
        op_absent();
        op_i64(NUMBERS(2, 3, height, width), 0);
    }
    op_output(WEIR_F32, DIMS(2, 3, height, width));
    op_string("mode", mode);
    op_string("coordinate_transformation_mode", coordinates);
    op_string("nearest_mode", nearest);
    op_string("keep_aspect_ratio_policy", "stretch");
    op_check(strcmp(mode, "linear") ? 0 : 1e-5);
}

static void resizes_are_right_and_same(void **state)
{
    (void)state;
    static const char *const coordinates[] = {
        "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"};
    static const char *const nearest[] = {
        "floor", "ceil", "round_prefer_floor", "round_prefer_ceil"};
    static const float scales[][4] = {
        {1, 1, 2, 2}, {1, 1, 1.5f, 2.5f}, {1, 1, 0.5f, 0.25f}, {1, 1, 1, 4}};
    for (size_t c = 0; c < COUNT(coordinates); c++)
        for (size_t s = 0; s <= COUNT(scales); s++) {
            const float *scale = s < COUNT(scales) ? scales[s] : NULL;
            const int64_t height = scale ? (int64_t)(9 * scale[2]) : 20;
            const int64_t width = scale ? (int64_t)(14 * scale[3]) : 1;
            for (size_t n = 0; n < COUNT(nearest); n++)
                check_resize("nearest", coordinates[c], nearest[n], scale, height, width);
            check_resize("linear", coordinates[c], "floor", scale, height, width);
        }
}

static void transposed_convolutions_are_right_and_same(void **state)
{
    (void)state;
    // in, out channels of a group, groups, kernel, height, width
    static const int64_t sizes[][6] = {{1, 1, 1, 2, 1, 1}, {24, 24, 1, 2, 11, 13},
        {3, 2, 2, 3, 8, 40}, {300, 1, 1, 2, 4, 5}, {5, 4, 1, 1, 3, 700}, {2, 3, 1, 4, 33, 600}};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (int has_bias = 0; has_bias < 2; has_bias++) {
            const int64_t *s = sizes[i], k = s[3];
            op_begin("ConvTranspose");
            op_f32(DIMS(2, s[0] * s[2], s[4], s[5]), 0);
            op_f32(DIMS(s[0] * s[2], s[1], k, k), 0);
            if (has_bias)
                op_f32(DIMS(s[1] * s[2]), 0);
            op_output(WEIR_F32, DIMS(2, s[1] * s[2], s[4] * k, s[5] * k));
            op_ints("strides", NUMBERS(k, k));
            op_ints("kernel_shape", NUMBERS(k, k));
            op_int("group", s[2]);
            op_check(2e-5);
        }
}

static void lstms_are_right_and_same(void **state)
{
    (void)state;
    static const char *const directions[] = {"forward", "reverse", "bidirectional"};
    static const int64_t sizes[][4] = {
        {1, 1, 1, 1}, {1, 1, 128, 128}, {4, 3, 7, 5}, {29, 2, 40, 65}};
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (int d = 0; d < 3; d++)
            for (int is_full = 0; is_full < 2; is_full++) {
                const int64_t *s = sizes[i], ways = d == 2 ? 2 : 1;
                op_begin("LSTM");
                op_f32(DIMS(s[0], s[1], s[2]), 0);
                op_f32(DIMS(ways, 4 * s[3], s[2]), 0);
                op_f32(DIMS(ways, 4 * s[3], s[3]), 0);
                for (uint64_t e = 0; e < op.inputs[1].element_count; e++)
                    ((float *)op.inputs[1].data)[e] *= 0.25f;
                for (uint64_t e = 0; e < op.inputs[2].element_count; e++)
                    ((float *)op.inputs[2].data)[e] *= 0.25f;
                if (is_full) {
                    op.inputs[1].flags = op.inputs[2].flags = WEIR_TENSOR_CONSTANT; // packed
                    op_f32(DIMS(ways, 8 * s[3]), 0);
                    op_absent();
                    op_f32(DIMS(ways, s[1], s[3]), 0);
                    op_f32(DIMS(ways, s[1], s[3]), 0);
                }
                op_output(WEIR_F32, DIMS(s[0], ways, s[1], s[3]));
                op_output(WEIR_F32, DIMS(ways, s[1], s[3]));
                op_output(WEIR_F32, DIMS(ways, s[1], s[3]));
                op_int("hidden_size", s[3]);
                op_string("direction", directions[d]);
                op_check(2e-5);
            }
}

int main(void)
{
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        cpu_host_init(&hosts[isa], isa_names[isa]);
        plugins[isa] = cpu_host_open(&hosts[isa], WEIR_CPU_PLUGIN);
        if (!plugins[isa])
            printf("%s: %s\n", isa_names[isa], hosts[isa].message);
    }
    if (!plugins[0])
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_are_right_and_same),
        cmocka_unit_test(pools_take_one_dim_and_automatic_pads),
        cmocka_unit_test(reductions_are_right_and_same),
        cmocka_unit_test(rows_and_columns_fold_alike),
        cmocka_unit_test(global_pools_and_norms),
        cmocka_unit_test(extremes_are_found_where_they_are),
        cmocka_unit_test(prologues_are_applied_before_rows),
        cmocka_unit_test(transposes_move_every_element),
        cmocka_unit_test(parts_join_and_part),
        cmocka_unit_test(slices_start_where_they_are_told),
        cmocka_unit_test(expansions_and_tiles_repeat),
        cmocka_unit_test(pads_fill_every_mode),
        cmocka_unit_test(gathers_pick_rows_and_check_indices),
        cmocka_unit_test(resizes_are_right_and_same),
        cmocka_unit_test(transposed_convolutions_are_right_and_same),
        cmocka_unit_test(lstms_are_right_and_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
