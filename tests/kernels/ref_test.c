// tests/kernels/ref_test.c: the reference kernels through their plugin table.
//
// What: hand-written expectations for what scripts against other engines cannot show: NaN and
// infinities,
//       empty tensors, integer wrap, half rounding, refusals, and data that must not be trusted.
// Not:  broad agreement with the operators' text; check_ref.py does that on thousands of nodes.
#include "kernels/ref/ref.h"
#include "tests/kernels/ref_host.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

// ---------------------------------------------------------------------------------------------
// Nodes
// ---------------------------------------------------------------------------------------------

#define DIMS(...) ((const int64_t[]){__VA_ARGS__})
#define T(type, array, ...)                                                                        \
    tensor(type, array, DIMS(__VA_ARGS__), sizeof(DIMS(__VA_ARGS__)) / sizeof(int64_t))
#define SCALAR(type, pointer) tensor(type, pointer, NULL, 0)
#define ABSENT ((weir_tensor_t){0})
#define COUNT(a) ((uint32_t)(sizeof(a) / sizeof((a)[0])))

static weir_tensor_t tensor(
    weir_dtype_t dtype, const void *data, const int64_t *dims, uint32_t rank)
{
    uint64_t count = 1;
    for (uint32_t i = 0; i < rank; i++)
        count *= (uint64_t)dims[i];
    return (weir_tensor_t){.data = (void *)(uintptr_t)data,
        .bytes = count * weir_dtype_bytes(dtype),
        .element_count = count,
        .dims = dims,
        .dtype = dtype,
        .rank = rank};
}

static weir_attribute_t attribute_int(const char *name, int64_t i)
{
    return (weir_attribute_t){.name = name, .type = WEIR_ATTR_INT, .count = 1, .i = i};
}

static weir_attribute_t attribute_string(const char *name, const char *s)
{
    return (weir_attribute_t){.name = name, .type = WEIR_ATTR_STRING, .count = 1, .s = s};
}

static char error[200];

// Runs the node by shuffled single tasks, then at once; both must end alike.
static weir_code_t run_node(const weir_node_t *node)
{
    weir_host_t host = ref_host();
    error[0] = 0;
    weir_code_t by_tasks = ref_host_run_tasks(node, 7, error, sizeof error);
    weir_code_t at_once = weir_ref_run(&host, node, error, sizeof error);
    assert_int_equal(by_tasks, at_once);
    if (at_once != WEIR_OK)
        assert_true(strlen(error) > 5);
    return at_once;
}

static weir_code_t run(const char *op, const weir_tensor_t *inputs, uint32_t input_count,
    weir_tensor_t output, const weir_attribute_t *attributes, uint32_t attribute_count)
{
    weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = op,
        .revision = 1,
        .input_count = input_count,
        .output_count = 1,
        .attribute_count = attribute_count,
        .inputs = inputs,
        .outputs = &output,
        .attributes = attributes};
    return run_node(&node);
}

// One expression over up to three operands of the output's shape or scalars.
static weir_code_t run_expression(const weir_instruction_t *code, uint32_t count,
    const weir_tensor_t *inputs, uint32_t input_count, weir_tensor_t output)
{
    const uint16_t last = (uint16_t)(count - 1);
    weir_expression_t body = {WEIR_HEAD(weir_expression_t), code, count, 0, input_count, 1, &last};
    weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = "Pointwise",
        .revision = 1,
        .input_count = input_count,
        .output_count = 1,
        .inputs = inputs,
        .outputs = &output,
        .body = &body};
    return run_node(&node);
}

static weir_code_t run_unary(weir_opcode_t opcode, weir_tensor_t x, weir_tensor_t y)
{
    const weir_instruction_t code[] = {
        {.opcode = WEIR_OP_LOAD, .dtype = x.dtype}, {.opcode = opcode, .dtype = y.dtype}};
    return run_expression(code, 2, &x, 1, y);
}

static weir_code_t run_binary(
    weir_opcode_t opcode, weir_tensor_t a, weir_tensor_t b, weir_tensor_t y)
{
    const weir_instruction_t code[] = {{.opcode = WEIR_OP_LOAD, .dtype = a.dtype},
        {.opcode = WEIR_OP_LOAD, .dtype = b.dtype, .a = 1},
        {.opcode = opcode, .dtype = y.dtype, .a = 0, .b = 1}};
    const weir_tensor_t inputs[] = {a, b};
    return run_expression(code, 3, inputs, 2, y);
}

static void assert_floats(const float *got, const float *expected, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (isnan(expected[i]))
            assert_true(isnan(got[i]));
        else
            assert_true(got[i] == expected[i] && signbit(got[i]) == signbit(expected[i]));
    }
}

// ---------------------------------------------------------------------------------------------
// Expressions
// ---------------------------------------------------------------------------------------------

// Goal:   NaN propagates and infinities and signed zeros come out as plugin.h says.
// Method: opcodes where a naive formula goes wrong, on the values where it does.
static void expression_special_values(void **state)
{
    (void)state;
    const float x[] = {NAN, INFINITY, -INFINITY, -0.0f, 0.0f}, one = 1.0f, nan_value = NAN;
    float y[5];
    weir_tensor_t in = T(WEIR_F32, x, 5), out = T(WEIR_F32, y, 5), scalar = SCALAR(WEIR_F32, &one);
    assert_int_equal(run_unary(WEIR_OP_RELU, in, out), WEIR_OK);
    assert_floats(y, (const float[]){NAN, INFINITY, 0, -0.0f, 0}, 5);
    assert_int_equal(run_unary(WEIR_OP_SIGMOID, in, out), WEIR_OK);
    assert_floats(y, (const float[]){NAN, 1, 0, 0.5f, 0.5f}, 5);
    assert_int_equal(run_unary(WEIR_OP_SOFTPLUS, in, out), WEIR_OK);
    assert_floats(y, (const float[]){NAN, INFINITY, 0, 0.69314718f, 0.69314718f}, 5);
    assert_int_equal(run_unary(WEIR_OP_SIGN, in, out), WEIR_OK);
    assert_floats(y, (const float[]){NAN, 1, -1, -0.0f, 0}, 5);
    assert_int_equal(run_binary(WEIR_OP_MAX, in, scalar, out), WEIR_OK);
    assert_floats(y, (const float[]){NAN, INFINITY, 1, 1, 1}, 5);
    assert_int_equal(run_binary(WEIR_OP_MIN, scalar, in, out), WEIR_OK);
    assert_floats(y, (const float[]){NAN, 1, -INFINITY, -0.0f, 0}, 5);
    assert_int_equal(
        run_binary(WEIR_OP_MIN, T(WEIR_F32, x, 5), SCALAR(WEIR_F32, &nan_value), out), WEIR_OK);
    assert_floats(y, (const float[]){NAN, NAN, NAN, NAN, NAN}, 5);
    uint8_t flags[5];
    assert_int_equal(run_unary(WEIR_OP_ISNAN, in, T(WEIR_BOOL, flags, 5)), WEIR_OK);
    assert_memory_equal(flags, ((const uint8_t[]){1, 0, 0, 0, 0}), 5);
    assert_int_equal(run_binary(WEIR_OP_LE, in, scalar, T(WEIR_BOOL, flags, 5)), WEIR_OK);
    assert_memory_equal(flags, ((const uint8_t[]){0, 0, 1, 1, 1}), 5);
    const float halves[] = {0.5f, 1.5f, 2.5f, -0.5f, -1.5f};
    assert_int_equal(run_unary(WEIR_OP_ROUND, T(WEIR_F32, halves, 5), out), WEIR_OK);
    assert_floats(y, (const float[]){0, 2, 2, -0.0f, -2}, 5);
}

// Goal:   a float becomes an integer by truncation and saturation, NaN becomes 0, bool is != 0.
static void expression_cast_saturates(void **state)
{
    (void)state;
    const float x[] = {NAN, 1e30f, -1e30f, -1.9f, 300.7f};
    weir_tensor_t in = T(WEIR_F32, x, 5);
    int8_t i8[5];
    uint8_t u8[5];
    int64_t i64[5];
    uint64_t u64[5];
    assert_int_equal(run_unary(WEIR_OP_CAST, in, T(WEIR_I8, i8, 5)), WEIR_OK);
    assert_memory_equal(i8, ((const int8_t[]){0, 127, -128, -1, 127}), 5);
    assert_int_equal(run_unary(WEIR_OP_CAST, in, T(WEIR_U8, u8, 5)), WEIR_OK);
    assert_memory_equal(u8, ((const uint8_t[]){0, 255, 0, 0, 255}), 5);
    assert_int_equal(run_unary(WEIR_OP_CAST, in, T(WEIR_I64, i64, 5)), WEIR_OK);
    assert_memory_equal(i64, ((const int64_t[]){0, INT64_MAX, INT64_MIN, -1, 300}), sizeof i64);
    assert_int_equal(run_unary(WEIR_OP_CAST, in, T(WEIR_U64, u64, 5)), WEIR_OK);
    assert_memory_equal(u64, ((const uint64_t[]){0, UINT64_MAX, 0, 0, 300}), sizeof u64);
    assert_int_equal(run_unary(WEIR_OP_CAST, in, T(WEIR_BOOL, u8, 5)), WEIR_OK);
    assert_memory_equal(u8, ((const uint8_t[]){1, 1, 1, 1, 1}), 5);
    const int64_t wide[] = {256 + 7, -1};
    assert_int_equal(run_unary(WEIR_OP_CAST, T(WEIR_I64, wide, 2), T(WEIR_U8, u8, 2)), WEIR_OK);
    assert_memory_equal(u8, ((const uint8_t[]){7, 255}), 2);
}

// Goal:   integers wrap, the smallest / -1 does not trap, MOD and FMOD have their signs, / 0 is an
// error.
static void expression_integers(void **state)
{
    (void)state;
    const int32_t a[] = {INT32_MAX, INT32_MIN, -7, 7}, b[] = {1, -1, 3, -3}, zero = 0;
    int32_t y[4];
    weir_tensor_t x = T(WEIR_I32, a, 4), z = T(WEIR_I32, b, 4), out = T(WEIR_I32, y, 4);
    assert_int_equal(run_binary(WEIR_OP_ADD, x, z, out), WEIR_OK);
    assert_memory_equal(y, ((const int32_t[]){INT32_MIN, INT32_MAX, -4, 4}), sizeof y);
    assert_int_equal(run_binary(WEIR_OP_DIV, x, z, out), WEIR_OK);
    assert_memory_equal(y, ((const int32_t[]){INT32_MAX, INT32_MIN, -2, -2}), sizeof y);
    assert_int_equal(run_binary(WEIR_OP_MOD, x, z, out), WEIR_OK);
    assert_memory_equal(y, ((const int32_t[]){0, 0, 2, -2}), sizeof y);
    assert_int_equal(run_binary(WEIR_OP_FMOD, x, z, out), WEIR_OK);
    assert_memory_equal(y, ((const int32_t[]){0, 0, -1, 1}), sizeof y);
    assert_int_equal(
        run_binary(WEIR_OP_DIV, x, SCALAR(WEIR_I32, &zero), out), WEIR_INVALID_ARGUMENT);
    const int64_t least[] = {INT64_MIN}, minus[] = {-1};
    int64_t quotient = 0;
    assert_int_equal(run_binary(WEIR_OP_DIV, T(WEIR_I64, least, 1), T(WEIR_I64, minus, 1),
                         T(WEIR_I64, &quotient, 1)),
        WEIR_OK);
    assert_int_equal(quotient, INT64_MIN);
    const uint64_t large[] = {UINT64_MAX, 1};
    const uint64_t small[] = {2, 2};
    uint64_t top[2];
    assert_int_equal(
        run_binary(WEIR_OP_MAX, T(WEIR_U64, large, 2), T(WEIR_U64, small, 2), T(WEIR_U64, top, 2)),
        WEIR_OK);
    assert_memory_equal(top, ((const uint64_t[]){UINT64_MAX, 2}), sizeof top);
}

// Goal:   broadcasting by numpy's rule, several blocks, on the operand's own memory.
// Method: [3, 1, 301] + [2, 1] against plain loops; then y written over an operand of equal shape.
static void expression_broadcast_in_place(void **state)
{
    (void)state;
    static float a[3 * 301], b[2] = {10, 20}, y[3 * 2 * 301];
    for (int i = 0; i < 3 * 301; i++)
        a[i] = (float)i;
    assert_int_equal(run_binary(WEIR_OP_ADD, T(WEIR_F32, a, 3, 1, 301), T(WEIR_F32, b, 2, 1),
                         T(WEIR_F32, y, 3, 2, 301)),
        WEIR_OK);
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 2; j++)
            for (int k = 0; k < 301; k++)
                assert_true(y[(i * 2 + j) * 301 + k] == a[i * 301 + k] + b[j]);
    const weir_instruction_t code[] = {
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32}, {.opcode = WEIR_OP_NEG, .dtype = WEIR_F32}};
    const weir_tensor_t in = T(WEIR_F32, y, 1806);
    assert_int_equal(run_expression(code, 2, &in, 1, in), WEIR_OK); // twice: by tasks and at once
    for (int i = 0; i < 301; i++)
        assert_true(y[i] == (float)i + 10);
}

// Goal:   an expression that makes no sense is refused with a reason, not run.
static void expression_refusals(void **state)
{
    (void)state;
    const float x[] = {1, 2};
    float y[2];
    const weir_tensor_t in = T(WEIR_F32, x, 2), out = T(WEIR_F32, y, 2);
    const weir_instruction_t load = {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32};
    const weir_instruction_t bad[] = {{.opcode = WEIR_OP_NEG, .dtype = WEIR_F32, .a = 1},
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 1},
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_I32, .a = 0},
        {.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32}, {.opcode = 63, .dtype = WEIR_F32},
        {.opcode = WEIR_OP_NEG, .dtype = WEIR_F64}, {.opcode = WEIR_OP_NOT, .dtype = WEIR_BOOL},
        {.opcode = WEIR_OP_SQRT, .dtype = WEIR_I32}, {.opcode = WEIR_OP_NEG, .dtype = 3}};
    for (uint32_t i = 0; i < COUNT(bad); i++) {
        const weir_instruction_t code[] = {load, bad[i]};
        assert_int_equal(run_expression(code, 2, &in, 1, out), WEIR_UNSUPPORTED);
    }
    const float wrong[] = {1, 2, 3};
    assert_int_equal(
        run_binary(WEIR_OP_ADD, in, T(WEIR_F32, wrong, 3), out), WEIR_INVALID_ARGUMENT);
}

// Goal:   every finite half survives the way to double and back; rounding is to nearest even.
static void half_conversions(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 0x10000; bits++) {
        double f16 = weir_kr_f16_to_double((uint16_t)bits);
        double bf16 = weir_kr_bf16_to_double((uint16_t)bits);
        if (!isnan(f16))
            assert_int_equal(weir_kr_f16_from_double(f16), bits);
        if (!isnan(bf16))
            assert_int_equal(weir_kr_bf16_from_double(bf16), bits);
    }
    assert_int_equal(weir_kr_f16_from_double(65519.99), 0x7bff);
    assert_int_equal(weir_kr_f16_from_double(65520.0), 0x7c00);
    assert_int_equal(weir_kr_f16_from_double(0x1p-25), 0);
    assert_int_equal(weir_kr_f16_from_double(0x1.8p-25), 1);
    assert_int_equal(weir_kr_f16_from_double(1.0 + 0x1p-11), 0x3c00);
    assert_int_equal(weir_kr_f16_from_double(1.0 + 0x3p-11), 0x3c02);
    assert_int_equal(weir_kr_bf16_from_double(1.0 + 0x1p-8), 0x3f80);
    assert_int_equal(weir_kr_bf16_from_double(1.0 + 0x3p-8), 0x3f82);
    assert_int_equal(weir_kr_bf16_from_double(3.4e38), 0x7f80);
    assert_int_equal(weir_kr_bf16_from_double(-1e300), 0xff80);
    assert_int_equal(weir_kr_f16_from_double(NAN) & 0x7fff, 0x7e00);
}

// ---------------------------------------------------------------------------------------------
// Values that must not be trusted
// ---------------------------------------------------------------------------------------------

// Goal:   an index, split, pad, repeat, length or axis that does not fit is INVALID_ARGUMENT; under
// ASan this
//         also shows that nothing is read or written outside.
static void data_is_checked(void **state)
{
    (void)state;
    const float x[6] = {0, 1, 2, 3, 4, 5};
    float y[12];
    const int64_t bad_indices[][2] = {{0, 3}, {-4, 0}, {INT64_MAX, 0}, {INT64_MIN, 0}};
    const weir_attribute_t axis[] = {attribute_int("axis", 0)};
    for (uint32_t i = 0; i < COUNT(bad_indices); i++) {
        const weir_tensor_t in[] = {T(WEIR_F32, x, 3, 2), T(WEIR_I64, bad_indices[i], 2)};
        assert_int_equal(
            run("Gather", in, 2, T(WEIR_F32, y, 2, 2), axis, 1), WEIR_INVALID_ARGUMENT);
        const weir_tensor_t same[] = {T(WEIR_F32, x, 3, 2), T(WEIR_I64, bad_indices[i], 1, 2)};
        assert_int_equal(
            run("GatherElements", same, 2, T(WEIR_F32, y, 1, 2), axis, 1), WEIR_INVALID_ARGUMENT);
        const weir_tensor_t tuple[] = {T(WEIR_F32, x, 3, 2), T(WEIR_I64, bad_indices[i], 1, 2)};
        assert_int_equal(
            run("GatherND", tuple, 2, T(WEIR_F32, y, 1), NULL, 0), WEIR_INVALID_ARGUMENT);
    }
    const int64_t ends[] = {4}, start[] = {0}, zero[] = {0}, one[] = {1};
    const weir_tensor_t too_long[] = {
        T(WEIR_F32, x, 6), T(WEIR_I64, start, 1), T(WEIR_I64, ends, 1)};
    assert_int_equal(run("Slice", too_long, 3, T(WEIR_F32, y, 5), NULL, 0), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t no_step[] = {T(WEIR_F32, x, 6), T(WEIR_I64, start, 1), T(WEIR_I64, ends, 1),
        T(WEIR_I64, zero, 1), T(WEIR_I64, zero, 1)};
    assert_int_equal(run("Slice", no_step, 5, T(WEIR_F32, y, 4), NULL, 0), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t bad_axis[] = {
        T(WEIR_F32, x, 6), T(WEIR_I64, start, 1), T(WEIR_I64, ends, 1), T(WEIR_I64, one, 1)};
    assert_int_equal(run("Slice", bad_axis, 4, T(WEIR_F32, y, 4), NULL, 0), WEIR_INVALID_ARGUMENT);
    const int64_t wild[] = {INT64_MAX, INT64_MIN}, more[] = {3, 2};
    const weir_attribute_t edge[] = {attribute_string("mode", "edge")};
    const weir_tensor_t pads[] = {T(WEIR_F32, x, 6), T(WEIR_I64, wild, 2)};
    assert_int_equal(run("Pad", pads, 2, T(WEIR_F32, y, 5), edge, 1), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t pads_more[] = {T(WEIR_F32, x, 6), T(WEIR_I64, more, 2)};
    assert_int_equal(run("Pad", pads_more, 2, T(WEIR_F32, y, 12), edge, 1), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t tile[] = {T(WEIR_F32, x, 6), T(WEIR_I64, wild, 1)};
    assert_int_equal(run("Tile", tile, 2, T(WEIR_F32, y, 12), NULL, 0), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t reduce[] = {T(WEIR_F32, x, 3, 2), T(WEIR_I64, more, 1)};
    assert_int_equal(
        run("ReduceSum", reduce, 2, T(WEIR_F32, y, 1, 1), NULL, 0), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t other[] = {T(WEIR_F32, x, 3, 2), T(WEIR_I64, one, 1)};
    assert_int_equal(
        run("ReduceSum", other, 2, T(WEIR_F32, y, 1, 2), NULL, 0), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t sum[] = {T(WEIR_F32, x, 6), T(WEIR_I64, one, 1)};
    assert_int_equal(run("CumSum", sum, 2, T(WEIR_F32, y, 6), NULL, 0), WEIR_INVALID_ARGUMENT);
    const float scale[] = {1e-30f};
    const weir_attribute_t antialias[] = {
        attribute_string("mode", "linear"), attribute_int("antialias", 1)};
    const weir_tensor_t resize[] = {T(WEIR_F32, x, 6), T(WEIR_F32, scale, 1)};
    assert_int_equal(
        run("Resize", resize, 2, T(WEIR_F32, y, 3), antialias, 2), WEIR_INVALID_ARGUMENT);
    const weir_tensor_t matmul[] = {T(WEIR_F32, x, 2, 3), T(WEIR_F32, x, 2, 3)};
    assert_int_equal(
        run("MatMul", matmul, 2, T(WEIR_F32, y, 2, 3), NULL, 0), WEIR_INVALID_ARGUMENT);
}

// Goal:   split sizes and LSTM lengths that lie are errors.
static void lengths_are_checked(void **state)
{
    (void)state;
    const float x[6] = {0, 1, 2, 3, 4, 5};
    float y[2][6] = {{0}};
    const int64_t sizes[][2] = {{4, 2}, {3, 4}, {-1, 7}};
    const weir_tensor_t parts[] = {T(WEIR_F32, y[0], 3), T(WEIR_F32, y[1], 3)};
    for (uint32_t i = 0; i < COUNT(sizes); i++) {
        const weir_tensor_t in[] = {T(WEIR_F32, x, 6), T(WEIR_I64, sizes[i], 2)};
        weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
            .op = "Split",
            .input_count = 2,
            .output_count = 2,
            .inputs = in,
            .outputs = parts};
        assert_int_equal(run_node(&node), WEIR_INVALID_ARGUMENT);
    }
    const float w[4] = {1, 1, 1, 1}, r[4] = {1, 1, 1, 1};
    const int32_t lengths[] = {3, -1};
    float h[2];
    const weir_attribute_t hidden[] = {attribute_int("hidden_size", 1)};
    for (int i = 0; i < 2; i++) {
        const weir_tensor_t in[] = {T(WEIR_F32, x, 2, 1, 1), T(WEIR_F32, w, 1, 4, 1),
            T(WEIR_F32, r, 1, 4, 1), ABSENT, T(WEIR_I32, lengths + i, 1)};
        assert_int_equal(
            run("LSTM", in, 5, T(WEIR_F32, h, 2, 1, 1, 1), hidden, 1), WEIR_INVALID_ARGUMENT);
    }
}

// ---------------------------------------------------------------------------------------------
// Empty tensors, NaN, outputs left out
// ---------------------------------------------------------------------------------------------

// Goal:   a dim of 0 anywhere ends well, and reductions of nothing give their neutral element.
static void empty_tensors(void **state)
{
    (void)state;
    float y[6] = {9, 9, 9, 9, 9, 9}, *none = NULL; // nothing needs no memory
    const weir_tensor_t product[] = {T(WEIR_F32, none, 2, 0), T(WEIR_F32, none, 0, 3)};
    assert_int_equal(run("MatMul", product, 2, T(WEIR_F32, y, 2, 3), NULL, 0), WEIR_OK);
    assert_floats(y, (const float[]){0, 0, 0, 0, 0, 0}, 6);
    const weir_tensor_t no_rows[] = {T(WEIR_F32, none, 0, 4), T(WEIR_F32, y, 4, 1)};
    assert_int_equal(run("MatMul", no_rows, 2, T(WEIR_F32, none, 0, 1), NULL, 0), WEIR_OK);
    const struct {
        const char *op;
        float expected;
    } neutral[] = {{"ReduceSum", 0}, {"ReduceProd", 1}, {"ReduceMax", -INFINITY},
        {"ReduceMin", INFINITY}, {"ReduceMean", NAN}, {"ReduceL2", 0}, {"ReduceLogSum", -INFINITY},
        {"ReduceLogSumExp", -INFINITY}};
    const int64_t axis[] = {1};
    const weir_tensor_t reduce[] = {T(WEIR_F32, none, 2, 0), T(WEIR_I64, axis, 1)};
    for (uint32_t i = 0; i < COUNT(neutral); i++) {
        assert_int_equal(run(neutral[i].op, reduce, 2, T(WEIR_F32, y, 2, 1), NULL, 0), WEIR_OK);
        assert_floats(y, (const float[]){neutral[i].expected, neutral[i].expected}, 2);
    }
    static const char *const empty_to_empty[] = {
        "Softmax", "Transpose", "Reshape", "Gather", "Tile"};
    const int64_t dims[] = {0, 3};
    for (uint32_t i = 0; i < COUNT(empty_to_empty); i++) {
        const weir_tensor_t in[] = {T(WEIR_F32, none, 0, 0), T(WEIR_I64, dims, 2)};
        uint32_t count = i < 2 ? 1 : 2;
        weir_code_t code = run(empty_to_empty[i], in, count, T(WEIR_F32, none, 0, 0), NULL, 0);
        // Gather of a non-empty index list from an axis of 0 has nothing to find, and no row to
        // fill.
        assert_true(code == WEIR_OK || (i == 3 && code == WEIR_INVALID_ARGUMENT));
    }
    const float w[1] = {1};
    const weir_tensor_t conv[] = {T(WEIR_F32, none, 0, 1, 4), T(WEIR_F32, w, 1, 1, 1)};
    assert_int_equal(run("Conv", conv, 2, T(WEIR_F32, none, 0, 1, 4), NULL, 0), WEIR_OK);
    assert_int_equal(
        run_unary(WEIR_OP_NEG, T(WEIR_F32, none, 3, 0), T(WEIR_F32, none, 3, 0)), WEIR_OK);
}

// Goal:   NaN beats every maximum, and the first NaN is where ArgMax points.
static void nan_wins(void **state)
{
    (void)state;
    const float x[] = {1, NAN, 3, NAN};
    float y[1];
    int64_t at[1];
    const weir_attribute_t kernel[] = {
        {.name = "kernel_shape", .type = WEIR_ATTR_INTS, .count = 1, .ints = (const int64_t[]){4}}};
    const weir_tensor_t in = T(WEIR_F32, x, 1, 1, 4), flat = T(WEIR_F32, x, 4);
    assert_int_equal(run("MaxPool", &in, 1, T(WEIR_F32, y, 1, 1, 1), kernel, 1), WEIR_OK);
    assert_true(isnan(y[0]));
    assert_int_equal(run("GlobalMaxPool", &in, 1, T(WEIR_F32, y, 1, 1, 1), NULL, 0), WEIR_OK);
    assert_true(isnan(y[0]));
    assert_int_equal(run("ReduceMin", &flat, 1, T(WEIR_F32, y, 1), NULL, 0), WEIR_OK);
    assert_true(isnan(y[0]));
    assert_int_equal(run("ArgMax", &flat, 1, T(WEIR_I64, at, 1), NULL, 0), WEIR_OK);
    assert_int_equal(at[0], 1);
}

// Goal:   LSTM's outputs may each be left out.
// Method: one step by hand: all gates 0 but the input's, so c = 0.5 tanh(1), h = 0.5 tanh(c).
static void lstm_by_hand(void **state)
{
    (void)state;
    const float x[] = {1}, w[] = {0, 0, 0, 1}, r[] = {0, 0, 0, 0};
    float c[1];
    const weir_tensor_t in[] = {
        T(WEIR_F32, x, 1, 1, 1), T(WEIR_F32, w, 1, 4, 1), T(WEIR_F32, r, 1, 4, 1)};
    const weir_tensor_t out[] = {ABSENT, ABSENT, T(WEIR_F32, c, 1, 1, 1)};
    const weir_attribute_t hidden[] = {attribute_int("hidden_size", 1)};
    weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = "LSTM",
        .input_count = 3,
        .output_count = 3,
        .attribute_count = 1,
        .inputs = in,
        .outputs = out,
        .attributes = hidden};
    assert_int_equal(run_node(&node), WEIR_OK);
    assert_true(c[0] == (float)(0.5 * tanh(1.0)));
}

// Goal:   sums are taken in double: what f32 would lose is there.
static void accumulates_in_double(void **state)
{
    (void)state;
    const float a[] = {1e8f, 1, -1e8f}, ones[] = {1, 1, 1};
    float y[1];
    const weir_tensor_t product[] = {T(WEIR_F32, a, 1, 3), T(WEIR_F32, ones, 3, 1)};
    assert_int_equal(run("MatMul", product, 2, T(WEIR_F32, y, 1, 1), NULL, 0), WEIR_OK);
    assert_true(y[0] == 1.0f);
    const weir_tensor_t in = T(WEIR_F32, a, 3);
    assert_int_equal(run("ReduceSum", &in, 1, T(WEIR_F32, y, 1), NULL, 0), WEIR_OK);
    assert_true(y[0] == 1.0f);
    const weir_tensor_t conv[] = {T(WEIR_F32, a, 1, 3, 1), T(WEIR_F32, ones, 1, 3, 1)};
    assert_int_equal(run("Conv", conv, 2, T(WEIR_F32, y, 1, 1, 1), NULL, 0), WEIR_OK);
    assert_true(y[0] == 1.0f);
}

// ---------------------------------------------------------------------------------------------
// The table
// ---------------------------------------------------------------------------------------------

// Goal:   every row is whole, and its operators are refused with a reason for an input that it
// cannot take.
static void table_is_whole(void **state)
{
    (void)state;
    const weir_plugin_t *plugin = weir_ref_plugin(NULL);
    assert_string_equal(plugin->name, "ref");
    assert_true(plugin->head.header_hash == WEIR_PLUGIN_HEADER_HASH);
    assert_true(plugin->kernels.count >= 49);
    const weir_kernel_t *kernels = plugin->kernels.data;
    for (uint32_t i = 0; i < plugin->kernels.count; i++) {
        const weir_kernel_t *k = &kernels[i];
        assert_true(k->head.size == sizeof *k && k->supports && k->prepare && k->tasks && k->run);
        assert_true(k->revision == 1 && k->dtypes != 0);
        for (uint32_t j = 0; j < i; j++)
            assert_string_not_equal(k->op, kernels[j].op);
        weir_tensor_t strings = {.dtype = WEIR_STRING};
        weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
            .op = k->op,
            .input_count = 1,
            .output_count = 1,
            .inputs = &strings,
            .outputs = &strings};
        weir_support_t support = {WEIR_HEAD(weir_support_t), 0, {0}};
        assert_int_equal(k->supports(&node, &support), WEIR_UNSUPPORTED);
        assert_true(strlen(support.reason) > 10);
    }
    assert_int_equal(run("NoSuchOperator", NULL, 0, ABSENT, NULL, 0), WEIR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expression_special_values),
        cmocka_unit_test(expression_cast_saturates),
        cmocka_unit_test(expression_integers),
        cmocka_unit_test(expression_broadcast_in_place),
        cmocka_unit_test(expression_refusals),
        cmocka_unit_test(half_conversions),
        cmocka_unit_test(data_is_checked),
        cmocka_unit_test(lengths_are_checked),
        cmocka_unit_test(empty_tensors),
        cmocka_unit_test(nan_wins),
        cmocka_unit_test(lstm_by_hand),
        cmocka_unit_test(accumulates_in_double),
        cmocka_unit_test(table_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
