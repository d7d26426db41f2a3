// tests/cuda/print_corpus.c: see print_corpus.h.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/ref/ref.h"
#include "tests/cuda/print_corpus.h"
#include "tests/kernels/ref_host.h"

#define FLOATS (WEIR_F32 | WEIR_F64 | WEIR_F16 | WEIR_BF16)
#define HALVES (WEIR_F16 | WEIR_BF16)

static uint32_t next(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

// ---------------------------------------------------------------------------------------------
// Making expressions
// ---------------------------------------------------------------------------------------------

// What an opcode takes: result and operand types.
typedef enum kind { FLOAT_1, ANY_1, ANY_2, ANY_3, LOGIC_1, LOGIC_2, NAN_1, COMPARE, OTHER } kind_t;

static const struct {
    weir_opcode_t first, last;
    kind_t kind;
} kinds[] = {{WEIR_OP_CONST, WEIR_OP_CONST, OTHER}, {WEIR_OP_IDENTITY, WEIR_OP_SIGN, ANY_1},
    {WEIR_OP_RECIPROCAL, WEIR_OP_SOFTPLUS, FLOAT_1}, {WEIR_OP_RELU, WEIR_OP_RELU, ANY_1},
    {WEIR_OP_FLOOR, WEIR_OP_ROUND, FLOAT_1}, {WEIR_OP_NOT, WEIR_OP_NOT, LOGIC_1},
    {WEIR_OP_ISNAN, WEIR_OP_ISNAN, NAN_1}, {WEIR_OP_CAST, WEIR_OP_CAST, OTHER},
    {WEIR_OP_GELU, WEIR_OP_ELU, FLOAT_1}, {WEIR_OP_ADD, WEIR_OP_DIV, ANY_2},
    {WEIR_OP_POW, WEIR_OP_POW, OTHER}, {WEIR_OP_MOD, WEIR_OP_MAX, ANY_2},
    {WEIR_OP_AND, WEIR_OP_XOR, LOGIC_2}, {WEIR_OP_EQ, WEIR_OP_GE, COMPARE},
    {WEIR_OP_PRELU, WEIR_OP_PRELU, ANY_2}, {WEIR_OP_SELECT, WEIR_OP_SELECT, OTHER},
    {WEIR_OP_CLAMP, WEIR_OP_CLAMP, ANY_3}};

// One instruction without its operands: its types are all there is to choose.
typedef struct wish {
    weir_opcode_t opcode;
    weir_dtype_t result, a, b, c; // 0: no such operand
} wish_t;

static int is_wish(weir_opcode_t opcode, kind_t kind, weir_dtype_t x, weir_dtype_t y, wish_t *out)
{
    *out = (wish_t){opcode, x, 0, 0, 0};
    switch (kind) {
    case FLOAT_1:
        out->a = x;
        return x == y && (x & FLOATS);
    case ANY_3:
        out->c = x; // fall through
    case ANY_2:
        out->b = x; // fall through
    case ANY_1:
        out->a = x;
        return x == y;
    case LOGIC_2:
        out->b = x; // fall through
    case LOGIC_1:
        out->a = x;
        return x == WEIR_BOOL && y == WEIR_BOOL;
    case NAN_1:
        out->a = y;
        return x == WEIR_BOOL && (y & FLOATS);
    case COMPARE:
        out->a = out->b = y;
        return x == WEIR_BOOL;
    default:
        break;
    }
    if (opcode == WEIR_OP_CONST)
        return x == y;
    if (opcode == WEIR_OP_CAST)
        return out->a = y, 1;
    if (opcode == WEIR_OP_POW)
        return out->a = x, out->b = y, x != WEIR_BOOL;
    return out->a = WEIR_BOOL, out->b = out->c = x, x == y; // SELECT
}

#define WISHES_MAX 2000
static uint32_t all_wishes(wish_t *wishes, int doubles)
{
    uint32_t count = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof kinds[0]; k++)
        for (weir_opcode_t opcode = kinds[k].first; opcode <= kinds[k].last; opcode++)
            for (uint32_t x = 0; x < CORPUS_DTYPES; x++)
                for (uint32_t y = 0; y < CORPUS_DTYPES; y++) {
                    const weir_instruction_t probe[3] = {{.opcode = WEIR_OP_LOAD, .dtype = 1u << x},
                        {.opcode = WEIR_OP_LOAD, .dtype = 1u << y},
                        {.opcode = opcode, .dtype = 1u << x, .a = 0, .b = 1}};
                    const weir_expression_t alone = {.instructions = probe, .instruction_count = 3};
                    if (!doubles && (((1u << x | 1u << y) & WEIR_F64) ||
                                        (weir_print_dtypes(&alone) & WEIR_F64)))
                        continue;
                    assert_true(count < WISHES_MAX);
                    count +=
                        is_wish(opcode, kinds[k].kind, 1u << x, 1u << y, &wishes[count]) ? 1u : 0u;
                }
    return count;
}

// Some value of this type defined before: there always is one, the operand.
static uint16_t pick(const corpus_expression_t *e, uint32_t count, weir_dtype_t dtype, uint32_t *at)
{
    for (;;) {
        const uint32_t i = next(at) % count;
        if (e->code[i].dtype == dtype)
            return (uint16_t)i;
    }
}

static void grant(corpus_expression_t *e, const wish_t *wish, uint32_t *state)
{
    static const float imms[] = {0.5f, -1.25f, 0.1f, 3.0f, INFINITY, NAN, 1e-3f, 70000.0f};
    const uint32_t count = e->expression.instruction_count++;
    weir_instruction_t *at = &e->code[count];
    *at = (weir_instruction_t){.opcode = wish->opcode, .dtype = wish->result};
    at->a = wish->a ? pick(e, count, wish->a, state) : 0;
    at->b = wish->b ? pick(e, count, wish->b, state) : 0;
    at->c = wish->c ? pick(e, count, wish->c, state) : 0;
    at->imm[0] = imms[next(state) % (wish->opcode == WEIR_OP_CONST ? 8 : 4)];
    at->imm[1] = imms[next(state) % 4];
    at->integer = (int64_t)((uint64_t)next(state) << (next(state) % 50)) - 3;
    e->outputs[count] = (uint16_t)count;
    e->expression.output_count = e->expression.instruction_count;
}

corpus_t corpus_make(uint32_t seed, uint32_t extra, int doubles)
{
    static wish_t wishes[WISHES_MAX];
    const uint32_t wish_count = all_wishes(wishes, doubles);
    const uint32_t each = CORPUS_VALUES - CORPUS_DTYPES;
    corpus_t corpus = {NULL, (wish_count + each - 1) / each + extra};
    corpus.expressions = calloc(corpus.count, sizeof *corpus.expressions);
    assert_non_null(corpus.expressions);
    for (uint32_t i = 0, granted = 0; i < corpus.count; i++) {
        corpus_expression_t *e = &corpus.expressions[i];
        e->expression = (weir_expression_t){.head = WEIR_HEAD(weir_expression_t),
            .instructions = e->code,
            .outputs = e->outputs,
            .operand_count = CORPUS_DTYPES};
        for (uint32_t k = 0; k < CORPUS_DTYPES; k++) {
            const wish_t load = {WEIR_OP_LOAD, 1u << k, 0, 0, 0};
            if (!doubles && 1u << k == WEIR_F64)
                continue;
            grant(e, &load, &seed);
            e->code[e->expression.instruction_count - 1].a = (uint16_t)k;
        }
        while (e->expression.instruction_count < CORPUS_VALUES)
            grant(e, &wishes[granted < wish_count ? granted++ : next(&seed) % wish_count], &seed);
    }
    return corpus;
}

void corpus_free(corpus_t *corpus)
{
    free(corpus->expressions);
    corpus->expressions = NULL;
}

// ---------------------------------------------------------------------------------------------
// Source
// ---------------------------------------------------------------------------------------------

static const char *memory_type(weir_dtype_t dtype)
{
    return weir_print_dtype(dtype);
}

static const char *value_type(weir_dtype_t dtype)
{
    return dtype & HALVES ? "f32" : weir_print_dtype(dtype);
}

static void add_kernel(
    weir_print_t *out, const corpus_expression_t *e, weir_print_dialect_t dialect, uint32_t number)
{
    static const char *const heads[] = {
        "void corpus_%u(const char *in, char *out, int n) {\n  for (int i = 0; i < n; i++) {\n",
        "__kernel void corpus_%u(__global const char *in, __global char *out, int n) {\n"
        "  int i = (int)get_global_id(0);\n  if (i < n) {\n",
        "extern \"C\" __global__ void corpus_%u(const char *in, char *out, int n) {\n"
        "  int i = (int)(blockIdx.x * blockDim.x + threadIdx.x);\n  if (i < n) {\n"};
    const char *space = dialect == WEIR_PRINT_OPENCL ? "__global " : "";
    static char loads[CORPUS_DTYPES][80], stores[CORPUS_VALUES][80], fault[80];
    const char *load_texts[CORPUS_DTYPES], *store_texts[CORPUS_VALUES];
    const uint32_t count = e->expression.instruction_count;
    for (uint32_t k = 0; k < CORPUS_DTYPES; k++) {
        (void)snprintf(loads[k], sizeof loads[k], "((%sconst w_%s *)(in + %llu))[i]", space,
            memory_type(1u << k), (unsigned long long)(k * CORPUS_CELL));
        load_texts[k] = loads[k];
    }
    for (uint32_t j = 0; j < count; j++) {
        (void)snprintf(stores[j], sizeof stores[j], "((%sw_%s *)(out + %llu))[i]", space,
            memory_type(e->code[j].dtype), (unsigned long long)((CORPUS_VALUES + j) * CORPUS_CELL));
        store_texts[j] = stores[j];
    }
    (void)snprintf(fault, sizeof fault, "((%sw_i32 *)(out + %llu))[i] = 1;", space,
        (unsigned long long)(2 * CORPUS_VALUES * CORPUS_CELL));
    const weir_print_body_t body = {.expression = &e->expression,
        .dialect = dialect,
        .loads = load_texts,
        .stores = store_texts,
        .fault = fault};
    switch (dialect) {
    case WEIR_PRINT_C:
        weir_print_add(out, "void corpus_%u(const char *in, char *out, int n);\n", number);
        weir_print_add(out, heads[0], number);
        break;
    case WEIR_PRINT_OPENCL:
        weir_print_add(out, heads[1], number);
        break;
    default:
        weir_print_add(out, heads[2], number);
        break;
    }
    weir_print_statements(out, &body);
    for (uint32_t j = 0; j < count; j++)
        weir_print_add(out, "    ((%sw_%s *)(out + %llu))[i] = v%u;\n", space,
            value_type(e->code[j].dtype), (unsigned long long)(j * CORPUS_CELL), j);
    weir_print_add(out, "  }\n}\n");
}

char *corpus_source(
    const corpus_t *corpus, weir_print_dialect_t dialect, uint32_t first, uint32_t count)
{
    weir_print_t out = {NULL, 0, 0};
    for (;;) { // the first time to see how long it is
        weir_dtype_t dtypes = 0;
        out.length = 0;
        for (uint32_t i = first; i < first + count; i++)
            dtypes |= weir_print_dtypes(&corpus->expressions[i].expression);
        weir_print_preamble(&out, dialect, dtypes, 1);
        for (uint32_t i = first; i < first + count; i++)
            add_kernel(&out, &corpus->expressions[i], dialect, i);
        if (out.text) {
            assert_true(out.length < out.room);
            return out.text;
        }
        out.room = out.length + 1;
        out.text = malloc(out.room);
        assert_non_null(out.text);
    }
}

// ---------------------------------------------------------------------------------------------
// Operands
// ---------------------------------------------------------------------------------------------

static double some_float(uint32_t *state)
{
    static const double edges[] = {0.0, -0.0, INFINITY, -INFINITY, NAN, 1e-40, -3e-42, 127.5, 128.0,
        -128.5, 255.9, 32768.0, 65520.0, 65519.9, 2147483648.0, -2147483904.0, 4294967296.0, 9.3e18,
        -9.3e18, 1.9e19, 1e30, 0.5, 1.5, 2.5, -0.5, 1.0, -1.0, 2.0, 6e-8, -2e-8, 100.0,
        1.00390625000001, 1.00048828125001, -3.0117187500001};
    const uint32_t how = next(state) % 8;
    const double unit = (double)next(state) / 8388608.0 - 1.0;
    if (how < 2)
        return edges[next(state) % (sizeof edges / sizeof edges[0])];
    return how < 6 ? unit * 4 : how == 6 ? unit * 40 : unit * 1000;
}

static uint64_t some_integer(uint32_t *state)
{
    static const uint64_t edges[] = {0, 1, 2, 3, (uint64_t)-1, (uint64_t)-2, 0x7f, 0x80, 0x7fff,
        0x8000, 0x7fffffff, 0x80000000u, 0x7fffffffffffffffu, 0x8000000000000000u, 0x1000001,
        0xff8000ff00001u, 0x1010000000001u, 0x40400001u, 0x80400000000001u};
    if (next(state) % 2)
        return edges[next(state) % (sizeof edges / sizeof edges[0])];
    const uint64_t wide = (uint64_t)next(state) << 40 ^ (uint64_t)next(state) << 20 ^ next(state);
    return next(state) % 2 ? wide : wide % 40 - 20;
}

static void put(weir_dtype_t dtype, void *to, uint32_t i, uint32_t *state)
{
    const double f = some_float(state);
    const uint64_t n = some_integer(state);
    const float single = (float)f;
    const uint16_t half =
        dtype == WEIR_F16 ? weir_kr_f16_from_double(f) : weir_kr_bf16_from_double(f);
    const uint8_t truth = (uint8_t)((n & 1) * 3); // any byte that is not 0 is true
    const void *from = dtype == WEIR_F32    ? (const void *)&single
                       : dtype == WEIR_F64  ? (const void *)&f
                       : dtype & HALVES     ? (const void *)&half
                       : dtype == WEIR_BOOL ? (const void *)&truth
                                            : (const void *)&n;
    const size_t bytes = weir_dtype_bytes(dtype);
    memcpy((unsigned char *)to + i * bytes, from, bytes); // little-endian: low bytes first
}

void corpus_operands(const corpus_t *corpus, uint32_t number, unsigned char *in)
{
    uint32_t state = number * 977u + corpus->count;
    memset(in, 0, CORPUS_IN_BYTES);
    for (uint32_t k = 0; k < CORPUS_DTYPES; k++)
        for (uint32_t i = 0; i < CORPUS_ELEMENTS; i++)
            put(1u << k, in + k * CORPUS_CELL, i, &state);
}

// ---------------------------------------------------------------------------------------------
// Judging
// ---------------------------------------------------------------------------------------------

static double as_double(weir_dtype_t dtype, const void *data, uint32_t i)
{
    float single;
    double wide;
    switch (dtype) {
    case WEIR_F16:
        return weir_kr_f16_to_double(((const uint16_t *)data)[i]);
    case WEIR_BF16:
        return weir_kr_bf16_to_double(((const uint16_t *)data)[i]);
    case WEIR_F32:
        memcpy(&single, (const char *)data + i * 4u, 4);
        return (double)single;
    default:
        memcpy(&wide, (const char *)data + i * 8u, 8);
        return wide;
    }
}

static int divides(const weir_instruction_t *at)
{
    return !(at->dtype & FLOATS) &&
           (at->opcode == WEIR_OP_DIV || at->opcode == WEIR_OP_MOD || at->opcode == WEIR_OP_FMOD);
}

static int is_zero(weir_dtype_t dtype, const unsigned char *data, uint32_t i)
{
    for (uint32_t b = 0; b < weir_dtype_bytes(dtype); b++)
        if (data[i * weir_dtype_bytes(dtype) + b])
            return 0;
    return 1;
}

// The reference's result of one instruction over operands as they were. Divisors of 0 become 1.
static void reference(const weir_instruction_t *code, const weir_instruction_t *at,
    const unsigned char *out, void *result)
{
    static _Alignas(64) unsigned char copies[3][CORPUS_CELL];
    const uint16_t from[3] = {at->a, at->b, at->c};
    const int arity = at->opcode == WEIR_OP_CONST   ? 0
                      : at->opcode < WEIR_OP_ADD    ? 1
                      : at->opcode < WEIR_OP_SELECT ? 2
                                                    : 3;
    weir_instruction_t program[4];
    weir_tensor_t inputs[3], output;
    const int64_t dims[1] = {CORPUS_ELEMENTS};
    for (int k = 0; k < arity; k++) {
        weir_dtype_t dtype = code[from[k]].dtype;
        dtype = dtype & HALVES ? WEIR_F32 : dtype;
        memcpy(copies[k], out + from[k] * CORPUS_CELL, CORPUS_CELL);
        for (uint32_t i = 0; k == 1 && divides(at) && i < CORPUS_ELEMENTS; i++)
            if (is_zero(dtype, copies[k], i))
                copies[k][i * weir_dtype_bytes(dtype)] = 1;
        program[k] = (weir_instruction_t){.opcode = WEIR_OP_LOAD, .dtype = dtype, .a = (uint16_t)k};
        inputs[k] = (weir_tensor_t){.data = copies[k],
            .bytes = CORPUS_CELL,
            .dims = dims,
            .element_count = CORPUS_ELEMENTS,
            .dtype = dtype,
            .rank = 1};
    }
    program[arity] = *at;
    program[arity].a = 0;
    program[arity].b = 1;
    program[arity].c = 2;
    if ((at->dtype & HALVES) && at->opcode != WEIR_OP_CAST && at->opcode != WEIR_OP_CONST)
        program[arity].dtype = WEIR_F32; // as it is computed
    output = (weir_tensor_t){.data = result,
        .bytes = CORPUS_CELL,
        .dims = dims,
        .element_count = CORPUS_ELEMENTS,
        .dtype = program[arity].dtype,
        .rank = 1};
    const uint16_t last = (uint16_t)arity;
    const weir_expression_t body = {.head = WEIR_HEAD(weir_expression_t),
        .instructions = program,
        .instruction_count = (uint32_t)arity + 1,
        .operand_count = (uint32_t)arity,
        .output_count = 1,
        .outputs = &last};
    const weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = "Pointwise",
        .origin = "",
        .inputs = inputs,
        .outputs = &output,
        .input_count = (uint32_t)arity,
        .output_count = 1,
        .body = &body};
    char error[160] = "";
    if (ref_host_run_tasks(&node, 1, error, sizeof error) != WEIR_OK)
        fail_msg("the reference refuses opcode %u: %s", at->opcode, error);
}

// Is the formula another one than the reference's, or a function of the language's library?
static int is_library(weir_opcode_t opcode)
{
    return (opcode >= WEIR_OP_EXP && opcode <= WEIR_OP_SOFTPLUS) ||
           (opcode >= WEIR_OP_GELU && opcode <= WEIR_OP_HARD_SWISH) || opcode == WEIR_OP_ELU ||
           opcode == WEIR_OP_POW;
}

static void check_float(const corpus_expression_t *e, const weir_instruction_t *at, uint32_t i,
    const unsigned char *out, const void *expected, double ulp)
{
    const weir_dtype_t stored =
        at->dtype & HALVES && (at->opcode == WEIR_OP_CAST || at->opcode == WEIR_OP_CONST)
            ? at->dtype
        : at->dtype & HALVES ? WEIR_F32
                             : at->dtype;
    const weir_dtype_t computed = at->dtype & HALVES ? WEIR_F32 : at->dtype;
    const uint32_t index = (uint32_t)(at - e->code);
    const double want = as_double(stored, expected, i);
    const double got = as_double(computed, out + index * CORPUS_CELL, i);
    const double step = computed == WEIR_F64 ? 0x1p-52 : 0x1p-23;
    double allowed = 0;
    if (is_library(at->opcode)) {
        const weir_dtype_t from = e->code[at->a].dtype;
        allowed = ulp * step * fabs(want) + 0x1p-126;
        if ((from & FLOATS) && isfinite(want)) {
            const double x =
                as_double(from & HALVES ? WEIR_F32 : from, out + at->a * CORPUS_CELL, i);
            if (at->opcode != WEIR_OP_POW && isfinite(x)) // steep far from 0, but tiny there
                allowed += 2 * step * WEIR_MIN(fabs(x), 8);
        }
    }
    const int fits = isnan(want)   ? isnan(got)
                     : isinf(want) ? got == want
                                   : fabs(got - want) <= allowed;
    if (!fits)
        fail_msg("value %u (opcode %u, %s), element %u: %.17g, not %.17g", index, at->opcode,
            weir_print_dtype(at->dtype), i, got, want);
}

// A value and what was stored of it.
static void check_stored(
    const weir_instruction_t *at, uint32_t index, const unsigned char *out, uint32_t i)
{
    const unsigned char *raw = out + index * CORPUS_CELL;
    const unsigned char *stored = out + (CORPUS_VALUES + index) * CORPUS_CELL;
    const size_t bytes = weir_dtype_bytes(at->dtype);
    if (at->dtype & HALVES) {
        const double value = as_double(WEIR_F32, raw, i);
        const double rounded = at->dtype == WEIR_F16
                                   ? weir_kr_f16_to_double(weir_kr_f16_from_double(value))
                                   : weir_kr_bf16_to_double(weir_kr_bf16_from_double(value));
        const double got = as_double(at->dtype, stored, i);
        if (isnan(value) ? !isnan(got) : got != rounded)
            fail_msg("value %u, element %u is stored as %g, not %g", index, i, got, rounded);
    } else if (memcmp(raw + i * bytes, stored + i * bytes, bytes) != 0) {
        fail_msg("value %u, element %u is stored as other bits", index, i);
    }
}

static void check_load(const weir_instruction_t *at, uint32_t index, const unsigned char *in,
    const unsigned char *out, uint32_t i)
{
    const unsigned char *from = in + at->a * CORPUS_CELL, *raw = out + index * CORPUS_CELL;
    const size_t bytes = weir_dtype_bytes(at->dtype);
    if (at->dtype & FLOATS) {
        const double want = as_double(at->dtype, from, i);
        const double got = as_double(at->dtype & HALVES ? WEIR_F32 : at->dtype, raw, i);
        if (isnan(want) ? !isnan(got) : got != want || signbit(got) != signbit(want))
            fail_msg("operand %u, element %u is read as %g, not %g", at->a, i, got, want);
    } else if (at->dtype == WEIR_BOOL ? raw[i] != (from[i] != 0)
                                      : memcmp(raw + i * bytes, from + i * bytes, bytes) != 0) {
        fail_msg("operand %u, element %u is read as something else", at->a, i);
    }
}

void corpus_check(const corpus_t *corpus, uint32_t number, const unsigned char *in,
    const unsigned char *out, double ulp)
{
    static _Alignas(64) unsigned char expected[CORPUS_CELL];
    const corpus_expression_t *e = &corpus->expressions[number];
    const int32_t *faults = (const int32_t *)(const void *)(out + 2 * CORPUS_VALUES * CORPUS_CELL);
    int zero[CORPUS_ELEMENTS] = {0};
    for (uint32_t index = 0; index < e->expression.instruction_count; index++) {
        const weir_instruction_t *at = &e->code[index];
        const size_t bytes = weir_dtype_bytes(at->dtype);
        if (at->opcode != WEIR_OP_LOAD)
            reference(e->code, at, out, expected);
        for (uint32_t i = 0; i < CORPUS_ELEMENTS; i++) {
            const unsigned char *got = out + index * CORPUS_CELL + i * bytes;
            check_stored(at, index, out, i);
            if (at->opcode == WEIR_OP_LOAD) {
                check_load(at, index, in, out, i);
                continue;
            }
            if (divides(at) && is_zero(at->dtype, out + at->b * CORPUS_CELL, i)) {
                zero[i] = 1;
                if (!is_zero(at->dtype, got, 0))
                    fail_msg("value %u, element %u: x / 0 is not 0", index, i);
                continue;
            }
            if (at->dtype & FLOATS)
                check_float(e, at, i, out, expected, ulp);
            else if (memcmp(got, expected + i * bytes, bytes) != 0)
                fail_msg("expression %u, value %u (opcode %u, %s of %s), element %u is wrong",
                    number, index, at->opcode, weir_print_dtype(at->dtype),
                    weir_print_dtype(e->code[at->a].dtype), i);
        }
    }
    for (uint32_t i = 0; i < CORPUS_ELEMENTS; i++)
        if ((faults[i] != 0) != zero[i])
            fail_msg("expression %u, element %u: a division by 0 is %s", number, i,
                zero[i] ? "not told" : "told, and was none");
}
