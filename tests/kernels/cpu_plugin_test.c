// Goal:   weir_cpu.so, opened as a stranger's plugin, computes each of its operators right, with
// the same
//         bits on every ISA, in any order of its tasks, alone or in a batch, and allocates nothing
//         in run().
// Method: nodes built by hand, run under a minimal host; every result against double by plain
// loops.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/kernels/cpu_host.h"

#define ISA_COUNT 3
static const char *const isa_names[ISA_COUNT] = {"plain", "avx2", "avx512"};
static cpu_host_t hosts[ISA_COUNT];
static const weir_plugin_t *plugins[ISA_COUNT]; // NULL: not on this machine

static uint32_t random_state = 7;
static float random_float(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (float)(random_state >> 8) / 8388608.0f - 1.0f;
}

static float *floats(size_t count)
{
    float *data = test_malloc((count + 1) * sizeof(*data));
    for (size_t i = 0; i < count; i++)
        data[i] = random_float();
    data[count] = 77.0f; // a fence: no kernel may write it
    return data;
}

// A node of at most 8 inputs and 4 outputs, and the memory of its results.
typedef struct bench {
    weir_node_t node;
    weir_tensor_t inputs[8], outputs[4];
    int64_t dims[12][6];
    weir_attribute_t attributes[8];
    uint32_t tensor_count;
} bench_t;

static void bench_init(bench_t *bench, const char *op)
{
    memset(bench, 0, sizeof(*bench));
    bench->node = (weir_node_t){.head = WEIR_HEAD(weir_node_t),
        .op = op,
        .origin = "test",
        .revision = 1,
        .inputs = bench->inputs,
        .outputs = bench->outputs,
        .attributes = bench->attributes};
}

// dims end with -1.
static weir_tensor_t tensor_of(bench_t *bench, weir_dtype_t dtype, void *data, const int64_t *dims)
{
    weir_tensor_t tensor = {.data = data, .dtype = dtype, .element_count = 1};
    int64_t *own = bench->dims[bench->tensor_count++];
    while (dims[tensor.rank] >= 0) {
        own[tensor.rank] = dims[tensor.rank];
        tensor.element_count *= (uint64_t)dims[tensor.rank++];
    }
    tensor.dims = own;
    tensor.bytes = tensor.element_count * weir_dtype_bytes(dtype);
    return tensor;
}

#define DIMS(...)                                                                                  \
    (const int64_t[])                                                                              \
    {                                                                                              \
        __VA_ARGS__, -1                                                                            \
    }

static weir_tensor_t *input_add(bench_t *bench, weir_dtype_t dtype, void *data, const int64_t *dims)
{
    weir_tensor_t *tensor = &bench->inputs[bench->node.input_count++];
    *tensor = tensor_of(bench, dtype, data, dims);
    return tensor;
}

static void output_add(bench_t *bench, weir_dtype_t dtype, void *data, const int64_t *dims)
{
    bench->outputs[bench->node.output_count++] = tensor_of(bench, dtype, data, dims);
}

static void attribute_add(bench_t *bench, weir_attribute_t attribute)
{
    bench->attributes[bench->node.attribute_count++] = attribute;
}

static void int_add(bench_t *bench, const char *name, int64_t value)
{
    attribute_add(bench, (weir_attribute_t){.name = name, .type = WEIR_ATTR_INT, .i = value});
}

static void ints_add(bench_t *bench, const char *name, const int64_t *values, uint32_t count)
{
    attribute_add(bench,
        (weir_attribute_t){.name = name, .type = WEIR_ATTR_INTS, .count = count, .ints = values});
}

// Runs the node on one ISA in one order.
static void bench_run(const bench_t *bench, int isa, uint64_t order)
{
    cpu_host_t *host = &hosts[isa];
    cpu_prepared_t prepared;
    const weir_kernel_t *kernel = cpu_host_kernel(plugins[isa], bench->node.op);
    assert_non_null(kernel);
    const weir_code_t code = cpu_host_prepare(host, kernel, &bench->node, &prepared);
    if (code != WEIR_OK)
        fail_msg("%s: %s", bench->node.op, host->message);
    assert_int_equal(cpu_host_run(&prepared, order), WEIR_OK);
    cpu_host_release(&prepared);
    assert_int_equal(host->fault_count, 0);
    assert_int_equal(host->live_count, 0);
}

// Runs the node on every ISA and in several orders, always from the same inputs; output 0 and the
// others end with the bits of the first run, which every other run must give too.
static void bench_run_all(bench_t *bench)
{
    unsigned char *first[4] = {NULL};
    for (int isa = 0; isa < ISA_COUNT; isa++)
        for (uint64_t order = 0; order < 4 && plugins[isa]; order++) {
            for (uint32_t j = 0; j < bench->node.output_count; j++)
                memset(bench->outputs[j].data, 0xff, bench->outputs[j].bytes);
            bench_run(bench, isa, order * 5);
            for (uint32_t j = 0; j < bench->node.output_count; j++) {
                const weir_tensor_t *output = &bench->outputs[j];
                if (!first[j]) {
                    first[j] = test_malloc(output->bytes + 1);
                    memcpy(first[j], output->data, output->bytes);
                } else if (memcmp(first[j], output->data, output->bytes)) {
                    fail_msg("%s: output %u has other bits on %s in order %u", bench->node.op, j,
                        isa_names[isa], (unsigned)order);
                }
            }
        }
    for (uint32_t j = 0; j < bench->node.output_count; j++)
        test_free(first[j]);
}

static void assert_near(double got, double expected, double allowed, const char *what)
{
    if (!(fabs(got - expected) <= allowed))
        fail_msg("%s: %.9g, not %.9g", what, got, expected);
}

// -----------------------------------------------------------------------------------------
// MatMul

// [batch][m][k] times [k][n], B constant or not.
static void check_matmul(int64_t batch, int64_t m, int64_t k, int64_t n, int is_constant)
{
    bench_t bench;
    bench_init(&bench, "MatMul");
    float *a = floats((size_t)(batch * m * k)), *b = floats((size_t)(k * n));
    float *c = floats((size_t)(batch * m * n));
    input_add(&bench, WEIR_F32, a, DIMS(batch, m, k));
    input_add(&bench, WEIR_F32, b, DIMS(k, n))->flags = is_constant ? WEIR_TENSOR_CONSTANT : 0;
    output_add(&bench, WEIR_F32, c, DIMS(batch, m, n));
    bench_run_all(&bench);
    for (int64_t i = 0; i < batch * m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t x = 0; x < k; x++)
                sum += (double)a[i * k + x] * (double)b[x * n + j];
            assert_near((double)c[i * n + j], sum, 1e-6 * (double)(k + 1), "MatMul");
        }
    assert_true(c[batch * m * n] == 77.0f);
    // A row alone has the bits it has in the batch.
    float *one = floats((size_t)n);
    for (int64_t i = 0; i < batch * m; i += 5) {
        bench_t alone;
        bench_init(&alone, "MatMul");
        input_add(&alone, WEIR_F32, a + i * k, DIMS(k));
        alone.inputs[alone.node.input_count++] = bench.inputs[1];
        output_add(&alone, WEIR_F32, one, DIMS(n));
        bench_run(&alone, 0, 0);
        assert_memory_equal(one, c + i * n, (size_t)n * sizeof(float));
    }
    test_free(one);
    test_free(a);
    test_free(b);
    test_free(c);
}

static void matmul_is_right_and_same(void **state)
{
    (void)state;
    static const int64_t sizes[][4] = {{1, 1, 1, 1}, {1, 12, 32, 32}, {1, 13, 33, 33},
        {2, 7, 5, 70}, {3, 30, 300, 65}, {1, 5, 513, 40}, {1, 25, 1024, 48}, {1, 260, 20, 530},
        {1, 3, 0, 4}, {0, 3, 4, 5}, {2, 130, 70, 300}};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        for (int is_constant = 0; is_constant < 2; is_constant++)
            check_matmul(sizes[i][0], sizes[i][1], sizes[i][2], sizes[i][3], is_constant);
}

static void matmul_broadcasts_batches(void **state)
{
    (void)state;
    enum { M = 9, K = 11, N = 37 };
    bench_t bench;
    bench_init(&bench, "MatMul");
    float *a = floats(2 * 1 * 3 * M * K), *b = floats(4 * 1 * K * N),
          *c = floats(2 * 4 * 3 * M * N);
    input_add(&bench, WEIR_F32, a, DIMS(2, 1, 3, M, K));
    input_add(&bench, WEIR_F32, b, DIMS(4, 1, K, N));
    output_add(&bench, WEIR_F32, c, DIMS(2, 4, 3, M, N));
    bench_run_all(&bench);
    for (int64_t x = 0; x < 2; x++)
        for (int64_t y = 0; y < 4; y++)
            for (int64_t z = 0; z < 3; z++)
                for (int64_t i = 0; i < M; i++)
                    for (int64_t j = 0; j < N; j++) {
                        double sum = 0;
                        for (int64_t k = 0; k < K; k++)
                            sum += (double)a[((x * 3 + z) * M + i) * K + k] *
                                   (double)b[(y * K + k) * N + j];
                        const float got = c[(((x * 4 + y) * 3 + z) * M + i) * N + j];
                        assert_near((double)got, sum, 1e-5, "batched MatMul");
                    }
    test_free(a);
    test_free(b);
    test_free(c);
}

static void gemm_takes_alpha_beta_and_transposes(void **state)
{
    (void)state;
    enum { M = 29, K = 300, N = 45 };
    for (int turn = 0; turn < 16; turn++) {
        const int turn_a = turn & 1, turn_b = turn >> 1 & 1, full_c = turn >> 2 & 1;
        bench_t bench;
        bench_init(&bench, "Gemm");
        float *a = floats(M * K), *b = floats(K * N), *c = floats(M * N), *y = floats(M * N);
        input_add(&bench, WEIR_F32, a, turn_a ? DIMS(K, M) : DIMS(M, K));
        input_add(&bench, WEIR_F32, b, turn_b ? DIMS(N, K) : DIMS(K, N))->flags =
            turn & 8 ? WEIR_TENSOR_CONSTANT : 0;
        input_add(&bench, WEIR_F32, c, full_c ? DIMS(M, N) : DIMS(N));
        output_add(&bench, WEIR_F32, y, DIMS(M, N));
        const double alpha = full_c ? 0.75 : 1.0, beta = turn & 8 ? 1.0 : -2.5;
        attribute_add(
            &bench, (weir_attribute_t){.name = "alpha", .type = WEIR_ATTR_FLOAT, .f = alpha});
        attribute_add(
            &bench, (weir_attribute_t){.name = "beta", .type = WEIR_ATTR_FLOAT, .f = beta});
        int_add(&bench, "transA", turn_a);
        int_add(&bench, "transB", turn_b);
        bench_run_all(&bench);
        for (int64_t i = 0; i < M; i++)
            for (int64_t j = 0; j < N; j++) {
                double sum = 0;
                for (int64_t k = 0; k < K; k++)
                    sum += (double)a[turn_a ? k * M + i : i * K + k] *
                           (double)b[turn_b ? j * K + k : k * N + j];
                sum = alpha * sum + beta * (double)c[full_c ? i * N + j : j];
                assert_near((double)y[i * N + j], sum, 1e-4, "Gemm");
            }
        test_free(a);
        test_free(b);
        test_free(c);
        test_free(y);
    }
}

// -----------------------------------------------------------------------------------------
// expressions

#define LOAD(k, type)                                                                              \
    {                                                                                              \
        .opcode = WEIR_OP_LOAD, .dtype = (type), .a = (k)                                          \
    }
#define DO(op, type, ...)                                                                          \
    {                                                                                              \
        .opcode = WEIR_OP_##op, .dtype = (type), __VA_ARGS__                                       \
    }

static weir_expression_t expression_of(const weir_instruction_t *instructions, uint32_t count,
    uint32_t first_operand, uint32_t operand_count, const uint16_t *outputs, uint32_t output_count)
{
    return (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
        .instructions = instructions,
        .instruction_count = count,
        .first_operand = first_operand,
        .operand_count = operand_count,
        .output_count = output_count,
        .outputs = outputs};
}
#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof((a)[0])))

static void matmul_applies_its_epilogue(void **state)
{
    (void)state;
    // y0 = relu(A B + bias) + residual, y1 = A B * column, y2 = y1 < residual
    static const weir_instruction_t program[] = {DO(ANCHOR, WEIR_F32), LOAD(0, WEIR_F32),
        DO(ADD, WEIR_F32, .a = 0, .b = 1), DO(RELU, WEIR_F32, .a = 2), LOAD(1, WEIR_F32),
        DO(ADD, WEIR_F32, .a = 3, .b = 4), LOAD(2, WEIR_F32), DO(MUL, WEIR_F32, .a = 0, .b = 6),
        DO(LT, WEIR_BOOL, .a = 7, .b = 4)};
    static const uint16_t outputs[] = {5, 7, 8};
    for (int turn = 0; turn < 4; turn++) {
        const int64_t m = turn < 2 ? 31 : 250, n = turn % 2 ? 300 : 600, k = turn < 2 ? 600 : 20;
        bench_t bench;
        bench_init(&bench, "MatMul");
        float *a = floats((size_t)(m * k)), *b = floats((size_t)(k * n)), *bias = floats((size_t)n);
        float *residual = floats((size_t)(m * n)), *column = floats((size_t)m);
        float *y0 = floats((size_t)(m * n)), *y1 = floats((size_t)(m * n));
        unsigned char *y2 = test_malloc((size_t)(m * n));
        input_add(&bench, WEIR_F32, a, DIMS(m, k));
        input_add(&bench, WEIR_F32, b, DIMS(k, n))->flags = WEIR_TENSOR_CONSTANT;
        input_add(&bench, WEIR_F32, bias, DIMS(n));
        input_add(&bench, WEIR_F32, residual, DIMS(m, n));
        input_add(&bench, WEIR_F32, column, DIMS(m, 1));
        output_add(&bench, WEIR_F32, y0, DIMS(m, n));
        output_add(&bench, WEIR_F32, y1, DIMS(m, n));
        output_add(&bench, WEIR_BOOL, y2, DIMS(m, n));
        const weir_expression_t epilogue = expression_of(program, COUNT(program), 2, 3, outputs, 3);
        bench.node.epilogue = &epilogue;
        bench_run_all(&bench);
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < n; j++) {
                double sum = 0;
                for (int64_t x = 0; x < k; x++)
                    sum += (double)a[i * k + x] * (double)b[x * n + j];
                const double relu = fmax(0, sum + (double)bias[j]);
                assert_near((double)y0[i * n + j], relu + (double)residual[i * n + j], 1e-4, "y0");
                assert_near((double)y1[i * n + j], sum * (double)column[i], 1e-4, "y1");
                assert_int_equal(y2[i * n + j], y1[i * n + j] < residual[i * n + j]);
            }
        test_free(a);
        test_free(b);
        test_free(bias);
        test_free(residual);
        test_free(column);
        test_free(y0);
        test_free(y1);
        test_free(y2);
    }
}

static void pointwise_broadcasts_every_way(void **state)
{
    (void)state;
    // x[2][3][L] + row[L] * channel[3][1] - scalar + constant, and x > row as BOOL
    static const weir_instruction_t program[] = {LOAD(0, WEIR_F32), LOAD(1, WEIR_F32),
        LOAD(2, WEIR_F32), LOAD(3, WEIR_F32), DO(CONST, WEIR_F32, .imm = {0.5f}),
        DO(MUL, WEIR_F32, .a = 1, .b = 2), DO(ADD, WEIR_F32, .a = 0, .b = 5),
        DO(GT, WEIR_BOOL, .a = 0, .b = 1), DO(SUB, WEIR_F32, .a = 6, .b = 3),
        DO(ADD, WEIR_F32, .a = 8, .b = 4)};
    static const uint16_t outputs[] = {9, 7};
    static const int64_t lengths[] = {1, 3, 15, 16, 17, 100, 511, 512, 513, 5000};
    for (size_t l = 0; l < COUNT(lengths); l++) {
        const int64_t length = lengths[l];
        bench_t bench;
        bench_init(&bench, "Pointwise");
        float *x = floats((size_t)(6 * length)), *row = floats((size_t)length),
              *channel = floats(3);
        float *scalar = floats(1), *y = floats((size_t)(6 * length));
        uint8_t *greater = test_malloc((size_t)(6 * length));
        input_add(&bench, WEIR_F32, x, DIMS(2, 3, length));
        input_add(&bench, WEIR_F32, row, DIMS(length));
        input_add(&bench, WEIR_F32, channel, DIMS(3, 1));
        input_add(&bench, WEIR_F32, scalar, DIMS(1));
        output_add(&bench, WEIR_F32, y, DIMS(2, 3, length));
        output_add(&bench, WEIR_BOOL, greater, DIMS(2, 3, length));
        const weir_expression_t body = expression_of(program, COUNT(program), 0, 4, outputs, 2);
        bench.node.body = &body;
        bench_run_all(&bench);
        for (int64_t i = 0; i < 6 * length; i++) {
            const float product = row[i % length] * channel[i / length % 3];
            assert_true(y[i] == x[i] + product - scalar[0] + 0.5f);
            assert_int_equal(greater[i], x[i] > row[i % length]);
        }
        assert_true(y[6 * length] == 77.0f);
        test_free(x);
        test_free(row);
        test_free(channel);
        test_free(scalar);
        test_free(y);
        test_free(greater);
    }
}

static void pointwise_mixes_types(void **state)
{
    (void)state;
    // mask = !(ids == 3) & keep; y = mask ? float(ids) : x; wide = ids + 1
    static const weir_instruction_t program[] = {LOAD(0, WEIR_I64), LOAD(1, WEIR_BOOL),
        LOAD(2, WEIR_F32), DO(CONST, WEIR_I64, .integer = 3), DO(EQ, WEIR_BOOL, .a = 0, .b = 3),
        DO(NOT, WEIR_BOOL, .a = 4), DO(AND, WEIR_BOOL, .a = 5, .b = 1), DO(CAST, WEIR_F32, .a = 0),
        DO(SELECT, WEIR_F32, .a = 6, .b = 7, .c = 2), DO(CONST, WEIR_I64, .integer = 1),
        DO(ADD, WEIR_I64, .a = 0, .b = 9), DO(CAST, WEIR_I32, .a = 10)};
    static const uint16_t outputs[] = {8, 10, 11, 6};
    enum { N = 1030 };
    static int64_t ids[N], wide[N];
    static int32_t narrow[N];
    static uint8_t keep[N], mask[N];
    float *x = floats(N), *y = floats(N);
    for (int i = 0; i < N; i++) {
        ids[i] = i % 7;
        keep[i] = i % 3 != 0;
    }
    bench_t bench;
    bench_init(&bench, "Pointwise");
    input_add(&bench, WEIR_I64, ids, DIMS(N));
    input_add(&bench, WEIR_BOOL, keep, DIMS(N));
    input_add(&bench, WEIR_F32, x, DIMS(N));
    output_add(&bench, WEIR_F32, y, DIMS(N));
    output_add(&bench, WEIR_I64, wide, DIMS(N));
    output_add(&bench, WEIR_I32, narrow, DIMS(N));
    output_add(&bench, WEIR_BOOL, mask, DIMS(N));
    const weir_expression_t body = expression_of(program, COUNT(program), 0, 3, outputs, 4);
    bench.node.body = &body;
    bench_run_all(&bench);
    for (int i = 0; i < N; i++) {
        const int kept = i % 7 != 3 && i % 3 != 0;
        assert_int_equal(mask[i], kept);
        assert_true(y[i] == (kept ? (float)(i % 7) : x[i]));
        assert_int_equal(wide[i], i % 7 + 1);
        assert_int_equal(narrow[i], i % 7 + 1);
    }
    test_free(x);
    test_free(y);
}

static void pointwise_works_in_place_and_on_strides(void **state)
{
    (void)state;
    // y0 = x + t, y1 = x * t, with y0 in the memory of x; t is a transposed view.
    static const weir_instruction_t program[] = {LOAD(0, WEIR_F32), LOAD(1, WEIR_F32),
        DO(ADD, WEIR_F32, .a = 0, .b = 1), DO(IDENTITY, WEIR_F32, .a = 0),
        DO(MUL, WEIR_F32, .a = 3, .b = 1)};
    static const uint16_t orders[2][2] = {{2, 4}, {4, 0}};
    enum { R = 37, C = 53 };
    static const int64_t strides[2] = {1, R};
    for (int isa = 0; isa < ISA_COUNT; isa++)
        for (int turn = 0; turn < 2 && plugins[isa]; turn++) {
            float *x = floats(R * C), *t = floats(R * C), *kept = floats(R * C), *y = floats(R * C);
            memcpy(kept, x, R * C * sizeof(float));
            bench_t bench;
            bench_init(&bench, "Pointwise");
            input_add(&bench, WEIR_F32, x, DIMS(R, C));
            input_add(&bench, WEIR_F32, t, DIMS(R, C))->strides = strides;
            output_add(&bench, WEIR_F32, x, DIMS(R, C));
            output_add(&bench, WEIR_F32, y, DIMS(R, C));
            const weir_expression_t body =
                expression_of(program, COUNT(program), 0, 2, orders[turn], 2);
            bench.node.body = &body;
            bench_run(&bench, isa, 3);
            for (int64_t i = 0; i < R * C; i++) {
                const float other = t[i % C * R + i / C];
                assert_true(x[i] == (turn ? kept[i] * other : kept[i] + other));
                assert_true(y[i] == (turn ? kept[i] : kept[i] * other));
            }
            test_free(x);
            test_free(t);
            test_free(kept);
            test_free(y);
        }
}

// As many live values as an expression can have.
static void pointwise_takes_the_longest_expression(void **state)
{
    (void)state;
    static weir_instruction_t program[WEIR_EXPRESSION_MAX];
    enum { N = 700, LOADS = 32 };
    for (uint16_t i = 0; i < LOADS; i++)
        program[i] = (weir_instruction_t){.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = i % 3};
    for (uint16_t i = LOADS; i < WEIR_EXPRESSION_MAX; i++)
        program[i] = (weir_instruction_t){.opcode = WEIR_OP_ADD,
            .dtype = WEIR_F32,
            .a = i == LOADS ? 0 : (uint16_t)(i - 1),
            .b = (uint16_t)(i - LOADS)};
    const uint16_t outputs[] = {WEIR_EXPRESSION_MAX - 1};
    float *x[3] = {floats(N), floats(N), floats(1)}, *y = floats(N);
    bench_t bench;
    bench_init(&bench, "Pointwise");
    input_add(&bench, WEIR_F32, x[0], DIMS(N));
    input_add(&bench, WEIR_F32, x[1], DIMS(N));
    input_add(&bench, WEIR_F32, x[2], DIMS(1));
    output_add(&bench, WEIR_F32, y, DIMS(N));
    const weir_expression_t body = expression_of(program, WEIR_EXPRESSION_MAX, 0, 3, outputs, 1);
    bench.node.body = &body;
    bench_run_all(&bench);
    for (int i = 0; i < N; i++) {
        float sum = x[0][i];
        for (int step = 0; step < WEIR_EXPRESSION_MAX - LOADS; step++)
            sum += x[step % 3][step % 3 == 2 ? 0 : i];
        assert_true(y[i] == sum);
    }
    for (int i = 0; i < 3; i++)
        test_free(x[i]);
    test_free(y);
}

// -----------------------------------------------------------------------------------------
// Conv

typedef struct conv_case {
    int64_t images, groups, group_inputs, group_outputs, height, width, kernel_y, kernel_x;
    int64_t strides[2], dilations[2], pads[4]; // top, left, bottom, right
    const char *auto_pad;
    int is_flat; // one spatial dim
} conv_case_t;

static const conv_case_t conv_cases[] = {
    {1, 1, 3, 16, 20, 23, 3, 3, {1, 1}, {1, 1}, {1, 1, 1, 1}, "NOTSET", 0},
    {2, 1, 40, 29, 9, 11, 3, 3, {2, 2}, {1, 1}, {1, 0, 1, 2}, "NOTSET", 0},
    {1, 1, 70, 13, 14, 14, 1, 1, {1, 1}, {1, 1}, {0, 0, 0, 0}, "NOTSET", 0},
    {1, 1, 5, 12, 33, 40, 7, 7, {2, 2}, {1, 1}, {3, 3, 3, 3}, "NOTSET", 0},
    {1, 3, 4, 5, 10, 12, 3, 2, {1, 2}, {2, 1}, {2, 1, 2, 0}, "NOTSET", 0},
    {1, 1, 60, 200, 6, 7, 3, 3, {1, 1}, {1, 1}, {1, 1, 1, 1}, "NOTSET", 0},
    {1, 5, 1, 1, 9, 70, 5, 5, {1, 1}, {1, 1}, {2, 2, 2, 2}, "NOTSET", 0},
    {2, 8, 1, 1, 17, 19, 3, 3, {1, 1}, {1, 1}, {1, 1, 1, 1}, "NOTSET", 0},
    {1, 6, 1, 2, 16, 90, 5, 3, {2, 3}, {1, 2}, {2, 2, 2, 2}, "NOTSET", 0},
    {1, 1, 4, 6, 13, 10, 3, 4, {2, 2}, {1, 1}, {0, 0, 0, 0}, "SAME_UPPER", 0},
    {1, 1, 4, 6, 13, 10, 3, 4, {2, 2}, {1, 1}, {9, 9, 9, 9}, "SAME_LOWER", 0},
    {1, 1, 4, 6, 13, 10, 3, 4, {1, 1}, {1, 1}, {9, 9, 9, 9}, "VALID", 0},
    {2, 1, 20, 24, 1, 101, 1, 5, {0, 2}, {0, 3}, {0, 4, 0, 4}, "NOTSET", 1},
    {1, 7, 1, 1, 1, 50, 1, 3, {0, 1}, {0, 1}, {0, 2, 0, 0}, "NOTSET", 1},
    // Few pixels: as they lie, with pads, dilated in groups, one alone.
    {2, 1, 1, 258, 1, 40, 1, 16, {0, 8}, {0, 1}, {0, 0, 0, 0}, "NOTSET", 1},
    {2, 1, 30, 70, 1, 4, 1, 3, {0, 1}, {0, 1}, {0, 1, 0, 1}, "NOTSET", 1},
    {1, 3, 5, 33, 1, 23, 1, 4, {0, 2}, {0, 3}, {0, 5, 0, 2}, "NOTSET", 1},
    {1, 1, 300, 130, 1, 1, 1, 3, {0, 1}, {0, 1}, {0, 1, 0, 1}, "NOTSET", 1},
    {3, 1, 128, 1, 1, 1, 1, 1, {0, 1}, {0, 1}, {0, 0, 0, 0}, "NOTSET", 1},
};

static void conv_out(const conv_case_t *c, int axis, int64_t *out, int64_t *pad)
{
    const int64_t in = axis ? c->width : c->height, kernel = axis ? c->kernel_x : c->kernel_y;
    const int64_t stride = c->strides[axis], reach = (kernel - 1) * c->dilations[axis] + 1;
    *pad = c->pads[axis];
    if (c->is_flat && axis == 0) {
        *out = 1;
    } else if (c->auto_pad[0] == 'S') {
        *out = (in + stride - 1) / stride;
        const int64_t all = (*out - 1) * stride + reach - in;
        *pad = all < 0 ? 0 : c->auto_pad[5] == 'U' ? all / 2 : all - all / 2;
    } else if (c->auto_pad[0] == 'V') {
        *pad = 0;
        *out = (in - reach) / stride + 1;
    } else {
        *out = (in + c->pads[axis] + c->pads[axis + 2] - reach) / stride + 1;
    }
}

static double conv_at(const conv_case_t *c, const float *x, const float *w, int64_t image,
    int64_t channel, int64_t y, int64_t column, const int64_t *pad)
{
    double sum = 0;
    const int64_t group = channel / c->group_outputs;
    for (int64_t in = 0; in < c->group_inputs; in++)
        for (int64_t ky = 0; ky < c->kernel_y; ky++)
            for (int64_t kx = 0; kx < c->kernel_x; kx++) {
                const int64_t in_y = y * c->strides[0] - pad[0] + ky * c->dilations[0];
                const int64_t in_x = column * c->strides[1] - pad[1] + kx * c->dilations[1];
                if (in_y < 0 || in_y >= c->height || in_x < 0 || in_x >= c->width)
                    continue;
                const int64_t plane = (image * c->groups + group) * c->group_inputs + in;
                const int64_t tap =
                    ((channel * c->group_inputs + in) * c->kernel_y + ky) * c->kernel_x + kx;
                sum += (double)x[(plane * c->height + in_y) * c->width + in_x] * (double)w[tap];
            }
    return sum;
}

static void check_conv(const conv_case_t *c, int is_constant)
{
    static const weir_instruction_t program[] = {DO(ANCHOR, WEIR_F32), DO(RELU, WEIR_F32, .a = 0)};
    static const uint16_t outputs[] = {1};
    int64_t out[2], pad[2], flat_pads[2] = {c->pads[1], c->pads[3]};
    conv_out(c, 0, &out[0], &pad[0]);
    conv_out(c, 1, &out[1], &pad[1]);
    const int64_t channels = c->groups * c->group_outputs, inputs = c->groups * c->group_inputs;
    float *x = floats((size_t)(c->images * inputs * c->height * c->width));
    float *w = floats((size_t)(channels * c->group_inputs * c->kernel_y * c->kernel_x));
    float *bias = floats((size_t)channels);
    const int64_t out_count = c->images * channels * out[0] * out[1];
    float *y = floats((size_t)out_count);
    bench_t bench;
    bench_init(&bench, "Conv");
    if (c->is_flat) {
        input_add(&bench, WEIR_F32, x, DIMS(c->images, inputs, c->width));
        input_add(&bench, WEIR_F32, w, DIMS(channels, c->group_inputs, c->kernel_x));
    } else {
        input_add(&bench, WEIR_F32, x, DIMS(c->images, inputs, c->height, c->width));
        input_add(&bench, WEIR_F32, w, DIMS(channels, c->group_inputs, c->kernel_y, c->kernel_x));
    }
    bench.inputs[1].flags = is_constant ? WEIR_TENSOR_CONSTANT : 0;
    input_add(&bench, WEIR_F32, bias, DIMS(channels));
    output_add(&bench, WEIR_F32, y,
        c->is_flat ? DIMS(c->images, channels, out[1]) : DIMS(c->images, channels, out[0], out[1]));
    int_add(&bench, "group", c->groups);
    ints_add(&bench, "strides", c->strides + c->is_flat, c->is_flat ? 1 : 2);
    ints_add(&bench, "dilations", c->dilations + c->is_flat, c->is_flat ? 1 : 2);
    ints_add(&bench, "pads", c->is_flat ? flat_pads : c->pads, c->is_flat ? 2 : 4);
    attribute_add(
        &bench, (weir_attribute_t){.name = "auto_pad", .type = WEIR_ATTR_STRING, .s = c->auto_pad});
    const weir_expression_t epilogue = expression_of(program, 2, 3, 0, outputs, 1);
    bench.node.epilogue = is_constant ? &epilogue : NULL;
    bench_run_all(&bench);
    for (int64_t i = 0; i < out_count; i++) {
        const int64_t column = i % out[1], row = i / out[1] % out[0];
        const int64_t channel = i / out[1] / out[0] % channels,
                      image = i / out[1] / out[0] / channels;
        double expected =
            conv_at(c, x, w, image, channel, row, column, pad) + (double)bias[channel];
        if (is_constant)
            expected = fmax(0, expected);
        assert_near((double)y[i], expected, 1e-4, "Conv");
    }
    assert_true(y[out_count] == 77.0f);
    test_free(x);
    test_free(w);
    test_free(bias);
    test_free(y);
}

static void conv_is_right_and_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(conv_cases); i++)
        for (int is_constant = 0; is_constant < 2; is_constant++)
            check_conv(&conv_cases[i], is_constant);
}

// -----------------------------------------------------------------------------------------
// rows

static void softmax_and_layernorm_run_by_rows(void **state)
{
    (void)state;
    enum { R = 60, C = 77 };
    float *x = floats(R * C), *y = floats(R * C), *scale = floats(C), *mean = floats(R);
    bench_t bench;
    bench_init(&bench, "Softmax");
    input_add(&bench, WEIR_F32, x, DIMS(6, 10, 7, 11));
    output_add(&bench, WEIR_F32, y, DIMS(6, 10, 7, 11));
    int_add(&bench, "axis", 2);
    int_add(&bench, "coerce", 1); // rows of 7 * 11
    bench_run_all(&bench);
    for (int i = 0; i < R * C; i++) {
        double sum = 0;
        for (int j = 0; j < C; j++)
            sum += exp((double)x[i / C * C + j] - (double)x[i]);
        assert_near((double)y[i], 1 / sum, 1e-6, "Softmax");
    }
    bench_init(&bench, "LayerNormalization");
    input_add(&bench, WEIR_F32, x, DIMS(R, C));
    input_add(&bench, WEIR_F32, scale, DIMS(C));
    bench.node.input_count = 3; // the bias is absent
    output_add(&bench, WEIR_F32, y, DIMS(R, C));
    output_add(&bench, WEIR_F32, mean, DIMS(R, 1));
    int_add(&bench, "axis", -1);
    attribute_add(
        &bench, (weir_attribute_t){.name = "epsilon", .type = WEIR_ATTR_FLOAT, .f = 0.01});
    bench_run_all(&bench);
    for (int i = 0; i < R * C; i++) {
        const float *row = x + i / C * C;
        double average = 0, variance = 0;
        for (int j = 0; j < C; j++)
            average += (double)row[j] / C;
        for (int j = 0; j < C; j++)
            variance += ((double)row[j] - average) * ((double)row[j] - average) / C;
        const double expected =
            ((double)x[i] - average) / sqrt(variance + 0.01) * (double)scale[i % C];
        assert_near((double)y[i], expected, 1e-5, "LayerNormalization");
        assert_near((double)mean[i / C], average, 1e-6, "mean");
    }
    test_free(x);
    test_free(y);
    test_free(scale);
    test_free(mean);
}

// -----------------------------------------------------------------------------------------
// refusals

static void refused(bench_t *bench, const char *reason)
{
    weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
    const weir_kernel_t *kernel = cpu_host_kernel(plugins[0], bench->node.op);
    assert_int_equal(kernel->supports(&bench->node, &support), WEIR_UNSUPPORTED);
    if (!strstr(support.reason, reason))
        fail_msg("the reason \"%s\" does not say \"%s\"", support.reason, reason);
}

static void what_it_does_not_take_has_a_reason(void **state)
{
    (void)state;
    static const weir_instruction_t division[] = {
        LOAD(0, WEIR_I64), LOAD(1, WEIR_I64), DO(DIV, WEIR_I64, .a = 0, .b = 1)};
    static const weir_instruction_t half[] = {LOAD(0, WEIR_F16), DO(RELU, WEIR_F16, .a = 0)};
    static const weir_instruction_t forward[] = {LOAD(0, WEIR_F32), DO(RELU, WEIR_F32, .a = 1)};
    static const uint16_t outputs[] = {2, 1};
    bench_t bench;
    bench_init(&bench, "Pointwise");
    input_add(&bench, WEIR_I64, NULL, DIMS(4));
    input_add(&bench, WEIR_I64, NULL, DIMS(4));
    output_add(&bench, WEIR_I64, NULL, DIMS(4));
    weir_expression_t body = expression_of(division, 3, 0, 2, outputs, 1);
    bench.node.body = &body;
    refused(&bench, "no kernel");
    body = expression_of(half, 2, 0, 1, outputs + 1, 1);
    refused(&bench, "dtype");
    body = expression_of(forward, 2, 0, 1, outputs + 1, 1);
    bench.inputs[0].dtype = WEIR_F32;
    refused(&bench, "malformed");
    bench_init(&bench, "LpNormalization");
    input_add(&bench, WEIR_F32, NULL, DIMS(4, 5));
    output_add(&bench, WEIR_F32, NULL, DIMS(4, 5));
    int_add(&bench, "axis", 0);
    refused(&bench, "axis");
    bench_init(&bench, "MatMul");
    input_add(&bench, WEIR_F64, NULL, DIMS(4, 5));
    input_add(&bench, WEIR_F64, NULL, DIMS(5, 4));
    output_add(&bench, WEIR_F64, NULL, DIMS(4, 4));
    refused(&bench, "f32");
    bench_init(&bench, "Conv");
    input_add(&bench, WEIR_F32, NULL, DIMS(1, 1, 4, 4, 4));
    input_add(&bench, WEIR_F32, NULL, DIMS(1, 1, 2, 2, 2));
    output_add(&bench, WEIR_F32, NULL, DIMS(1, 1, 3, 3, 3));
    refused(&bench, "spatial");
}

static void an_isa_that_is_not_there_is_refused(void **state)
{
    (void)state;
    cpu_host_t host;
    cpu_host_init(&host, "sse9");
    assert_null(cpu_host_open(&host, WEIR_CPU_PLUGIN));
    assert_non_null(strstr(host.message, "isa"));
    for (int isa = 0; isa < ISA_COUNT; isa++) {
        weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
        static const char *const told[ISA_COUNT] = {"plain C", "AVX2", "AVX-512"};
        if (!plugins[isa])
            continue;
        assert_int_equal(plugins[isa]->probe(&hosts[isa].host, &support), WEIR_OK);
        // What bf16 and int8 take may follow.
        const size_t length = strlen(told[isa]);
        assert_memory_equal(support.reason, told[isa], length);
        assert_true(support.reason[length] == '\0' || support.reason[length] == ';');
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
        cmocka_unit_test(matmul_is_right_and_same),
        cmocka_unit_test(matmul_broadcasts_batches),
        cmocka_unit_test(gemm_takes_alpha_beta_and_transposes),
        cmocka_unit_test(matmul_applies_its_epilogue),
        cmocka_unit_test(pointwise_broadcasts_every_way),
        cmocka_unit_test(pointwise_mixes_types),
        cmocka_unit_test(pointwise_works_in_place_and_on_strides),
        cmocka_unit_test(pointwise_takes_the_longest_expression),
        cmocka_unit_test(conv_is_right_and_same),
        cmocka_unit_test(softmax_and_layernorm_run_by_rows),
        cmocka_unit_test(what_it_does_not_take_has_a_reason),
        cmocka_unit_test(an_isa_that_is_not_there_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
