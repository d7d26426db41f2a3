// Goal:   expressions printed as OpenCL C mean what kernels/ref says, and with lanes the same as
//         without.
// Method: the corpus of print_corpus.h and expressions of F32 in vectors of 16, compiled and run by
//         the first OpenCL device. Without one (no loader's platform, none of its devices) there is
//         nothing to test, which is said.
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/cuda/print_corpus.h"

#define EXPRESSIONS 6 // a program takes PoCL seconds to compile: part of the corpus

typedef struct device {
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    int has_doubles;
} device_t;

static int setup(void **state)
{
    static device_t device;
    cl_platform_id platforms[8];
    cl_uint count = 0;
    cl_int code = CL_SUCCESS;
    *state = NULL;
    if (clGetPlatformIDs(8, platforms, &count) != CL_SUCCESS)
        return 0;
    for (cl_uint i = 0; i < count && i < 8 && !*state; i++) {
        char extensions[4096] = "";
        if (clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, &device.id, NULL) != CL_SUCCESS)
            continue;
        (void)clGetDeviceInfo(device.id, CL_DEVICE_EXTENSIONS, sizeof extensions, extensions, NULL);
        device.has_doubles = strstr(extensions, "cl_khr_fp64") != NULL;
        device.context = clCreateContext(NULL, 1, &device.id, NULL, NULL, &code);
        assert_int_equal(code, CL_SUCCESS);
        device.queue = clCreateCommandQueue(device.context, device.id, 0, &code);
        assert_int_equal(code, CL_SUCCESS);
        *state = &device;
    }
    if (!*state)
        print_message("no OpenCL device: nothing is tested\n");
    return 0;
}

static int teardown(void **state)
{
    device_t *device = *state;
    if (device) {
        clReleaseCommandQueue(device->queue);
        clReleaseContext(device->context);
    }
    return 0;
}

static cl_program compile(const device_t *device, const char *source)
{
    cl_int code;
    cl_program program = clCreateProgramWithSource(device->context, 1, &source, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    if (clBuildProgram(program, 1, &device->id, "-cl-std=CL1.2", NULL, NULL) != CL_SUCCESS) {
        static char log[8192];
        (void)clGetProgramBuildInfo(
            program, device->id, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
        fail_msg("%.4000s", log);
    }
    return program;
}

static void run(const device_t *device, cl_program program, const char *name, const void *in,
    size_t in_bytes, void *out, size_t out_bytes, int count)
{
    cl_int code;
    const size_t global = (size_t)count, local = 1;
    cl_kernel kernel = clCreateKernel(program, name, &code);
    assert_int_equal(code, CL_SUCCESS);
    cl_mem x = clCreateBuffer(device->context, CL_MEM_READ_ONLY, in_bytes, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    cl_mem y = clCreateBuffer(device->context, CL_MEM_READ_WRITE, out_bytes, NULL, &code);
    assert_int_equal(code, CL_SUCCESS);
    code = clEnqueueWriteBuffer(device->queue, x, CL_TRUE, 0, in_bytes, in, 0, NULL, NULL);
    assert_int_equal(code, CL_SUCCESS);
    code = clEnqueueWriteBuffer(device->queue, y, CL_TRUE, 0, out_bytes, out, 0, NULL, NULL);
    assert_int_equal(code, CL_SUCCESS);
    assert_int_equal(clSetKernelArg(kernel, 0, sizeof x, &x), CL_SUCCESS);
    assert_int_equal(clSetKernelArg(kernel, 1, sizeof y, &y), CL_SUCCESS);
    assert_int_equal(clSetKernelArg(kernel, 2, sizeof count, &count), CL_SUCCESS);
    code = clEnqueueNDRangeKernel(device->queue, kernel, 1, NULL, &global, &local, 0, NULL, NULL);
    assert_int_equal(code, CL_SUCCESS);
    code = clEnqueueReadBuffer(device->queue, y, CL_TRUE, 0, out_bytes, out, 0, NULL, NULL);
    assert_int_equal(code, CL_SUCCESS);
    clReleaseMemObject(x);
    clReleaseMemObject(y);
    clReleaseKernel(kernel);
}

static void opencl_is_the_reference(void **state)
{
    static _Alignas(64) unsigned char in[CORPUS_IN_BYTES], out[CORPUS_OUT_BYTES];
    const device_t *device = *state;
    if (!device)
        skip();
    corpus_t corpus = corpus_make(7, 0, device->has_doubles);
    const uint32_t stride = WEIR_MAX(corpus.count / EXPRESSIONS, 1);
    uint32_t done = 0;
    for (uint32_t i = 0; i < corpus.count; i += stride, done++) {
        char name[32];
        char *source = corpus_source(&corpus, WEIR_PRINT_OPENCL, i, 1);
        cl_program program = compile(device, source);
        free(source);
        (void)snprintf(name, sizeof name, "corpus_%u", i);
        memset(out, 0, sizeof out);
        corpus_operands(&corpus, i, in);
        run(device, program, name, in, sizeof in, out, sizeof out, CORPUS_ELEMENTS);
        corpus_check(&corpus, i, in, out, 24);
        clReleaseProgram(program);
    }
    corpus_free(&corpus);
    assert_true(done >= EXPRESSIONS);
    print_message("%u expressions\n", done);
}

// ---------------------------------------------------------------------------------------------
// Lanes
// ---------------------------------------------------------------------------------------------

// Each opcode that has a vector form, over two operands and what came before.
static uint32_t lanes_expression(weir_instruction_t *code)
{
    uint32_t count = 0;
    uint16_t truth = 0;
    code[count++] = (weir_instruction_t){.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 0};
    code[count++] = (weir_instruction_t){.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32, .a = 1};
    code[count++] =
        (weir_instruction_t){.opcode = WEIR_OP_CONST, .dtype = WEIR_F32, .imm = {0.75f, 0}};
    for (weir_opcode_t opcode = WEIR_OP_IDENTITY; opcode <= WEIR_OP_CLAMP; opcode++) {
        const int is_logic = opcode == WEIR_OP_NOT || opcode == WEIR_OP_ISNAN ||
                             (opcode >= WEIR_OP_AND && opcode <= WEIR_OP_GE);
        const int takes_logic =
            opcode == WEIR_OP_NOT || (opcode >= WEIR_OP_AND && opcode <= WEIR_OP_XOR);
        if (opcode == WEIR_OP_CAST || (opcode > WEIR_OP_ELU && opcode < WEIR_OP_ADD) ||
            (opcode > WEIR_OP_PRELU && opcode < WEIR_OP_SELECT))
            continue;
        // A value that was never compared is no operand of logic.
        if (takes_logic && !truth) {
            code[count] =
                (weir_instruction_t){.opcode = WEIR_OP_LT, .dtype = WEIR_BOOL, .a = 0, .b = 1};
            truth = (uint16_t)count++;
        }
        code[count] = (weir_instruction_t){.opcode = opcode,
            .dtype = is_logic ? WEIR_BOOL : WEIR_F32,
            .a = takes_logic || opcode == WEIR_OP_SELECT ? truth : 0,
            .b = takes_logic ? truth : 1,
            .c = 2,
            .imm = {0.3f, 0.4f}};
        count++;
    }
    return count;
}

#define GROUPS 6
#define ELEMENTS (GROUPS * 16)

static void add_lanes_kernel(weir_print_t *out, const weir_expression_t *expression, uint32_t lanes)
{
    static const char *const scalars[] = {"in[i]", "in[i + 96]"};
    static const char *const vectors[] = {"vload16(i, in)", "vload16(i + 6, in)"};
    const weir_print_body_t body = {.expression = expression,
        .dialect = WEIR_PRINT_OPENCL,
        .lanes = lanes,
        .prefix = "u",
        .loads = lanes > 1 ? vectors : scalars};
    weir_print_add(out,
        "__kernel void %s(__global const float *in, __global float *out, int n) {\n"
        "    int i = (int)get_global_id(0);\n",
        lanes > 1 ? "vector" : "scalar");
    weir_print_statements(out, &body);
    for (uint32_t i = 0; i < expression->instruction_count; i++)
        weir_print_add(out,
            lanes == 1 ? "    out[%u * 96 + i] = u%u;\n"
            : expression->instructions[i].dtype == WEIR_BOOL
                ? "    vstore16(-convert_float16(u%2$u), i, out + %1$u * 96);\n"
                : "    vstore16(u%2$u, i, out + %1$u * 96);\n",
            i, i);
    weir_print_add(out, "}\n");
}

static char *lanes_source(const weir_expression_t *expression)
{
    weir_print_t out = {NULL, 0, 0};
    for (;;) {
        out.length = 0;
        weir_print_preamble(&out, WEIR_PRINT_OPENCL, weir_print_dtypes(expression), 16);
        add_lanes_kernel(&out, expression, 1);
        add_lanes_kernel(&out, expression, 16);
        if (out.text)
            return out.text;
        out.room = out.length + 1;
        out.text = malloc(out.room);
        assert_non_null(out.text);
    }
}

static void lanes_are_elements(void **state)
{
    static float in[2 * ELEMENTS], one[64][ELEMENTS], many[64][ELEMENTS];
    static weir_instruction_t code[64];
    const device_t *device = *state;
    if (!device)
        skip();
    const weir_expression_t expression = {.head = WEIR_HEAD(weir_expression_t),
        .instructions = code,
        .instruction_count = lanes_expression(code),
        .operand_count = 2};
    const char *reason;
    assert_int_equal(weir_print_can(&expression, 16, &reason), WEIR_OK);
    for (uint32_t i = 0; i < 2 * ELEMENTS; i++)
        in[i] = i % 17 == 5 ? NAN : i % 19 == 7 ? 0.0f : ((float)(i * 37 % 101) - 50) / 8;
    char *source = lanes_source(&expression);
    cl_program program = compile(device, source);
    free(source);
    run(device, program, "scalar", in, sizeof in, one, sizeof one, ELEMENTS);
    run(device, program, "vector", in, sizeof in, many, sizeof many, GROUPS);
    for (uint32_t v = 0; v < expression.instruction_count; v++)
        for (uint32_t i = 0; i < ELEMENTS; i++) {
            const float a = one[v][i], b = many[v][i];
            const int fits = isnan(a)   ? isnan(b)
                             : isinf(a) ? a == b
                                        : fabsf(a - b) <= 2e-6f * fabsf(a);
            if (!fits)
                fail_msg("opcode %u, element %u: %.9g alone, %.9g in a vector", code[v].opcode, i,
                    (double)a, (double)b);
        }
    clReleaseProgram(program);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opencl_is_the_reference),
        cmocka_unit_test(lanes_are_elements),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
