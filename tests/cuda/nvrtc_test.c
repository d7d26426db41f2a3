// Goal:   every expression printed as CUDA C++ compiles, and within a budget of registers.
// Method: the corpus of print_corpus.h through NVRTC, which needs no driver, to PTX and to machine
//         code of sm_90a. What the code does is tested where there is a GPU (benchmarks/gpu.sh)
//         and, for the same text as C, by print_test.c.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <nvrtc.h>

#include "backends/cuda/op_common.h"
#include "tests/cuda/print_corpus.h"
#include "tests/kernels/ref_host.h"

#define REGISTERS_MOST 64 // of a generated kernel; of 256 threads, four blocks a multiprocessor

static uint32_t registers_most;

// What ptxas says of each kernel: no spill, and not too many registers.
static void judge(char *log)
{
    for (char *at = log; (at = strstr(at, "Used ")) != NULL; at++) {
        const uint32_t registers = (uint32_t)strtoul(at + 5, NULL, 10);
        registers_most = WEIR_MAX(registers_most, registers);
        if (registers > REGISTERS_MOST)
            fail_msg("%u registers, the budget is %d", registers, REGISTERS_MOST);
    }
    for (char *at = log; (at = strstr(at, " bytes spill stores")) != NULL; at++)
        if (at[-1] != '0' || at[-2] != ' ')
            fail_msg("a generated kernel spills: %.80s", at - 20);
}

static void compile(const char *source, int is_judged)
{
    static char log[1 << 18];
    nvrtcProgram program;
    const char *options[] = {
        "--gpu-architecture=sm_90a", "--fmad=false", "--std=c++17", "--ptxas-options=-v"};
    size_t bytes = 0;
    assert_int_equal(
        nvrtcCreateProgram(&program, source, "generated.cu", 0, NULL, NULL), NVRTC_SUCCESS);
    const nvrtcResult result = nvrtcCompileProgram(program, 4, options);
    assert_int_equal(nvrtcGetProgramLogSize(program, &bytes), NVRTC_SUCCESS);
    assert_true(bytes < sizeof log);
    assert_int_equal(nvrtcGetProgramLog(program, log), NVRTC_SUCCESS);
    if (result != NVRTC_SUCCESS)
        fail_msg("%.4000s", log);
    if (is_judged) {
        assert_non_null(strstr(log, "Used "));
        judge(log);
    }
    assert_int_equal(nvrtcGetCUBINSize(program, &bytes), NVRTC_SUCCESS);
    assert_true(bytes > 0);
    assert_int_equal(nvrtcDestroyProgram(&program), NVRTC_SUCCESS);
}

static void the_corpus_compiles(void **state)
{
    (void)state;
    corpus_t corpus = corpus_make(7, 4, 1);
    for (uint32_t i = 0; i < corpus.count; i += 8) {
        const uint32_t count = WEIR_MIN(8, corpus.count - i);
        char *source = corpus_source(&corpus, WEIR_PRINT_CUDA, i, count);
        compile(source, 0);
        free(source);
    }
    print_message("%u expressions compiled for sm_90a\n", corpus.count);
    corpus_free(&corpus);
}

// ---------------------------------------------------------------------------------------------
// What the plugin generates
// ---------------------------------------------------------------------------------------------

static const int64_t dims[4][3] = {{5, 6, 7}, {1, 6, 1}, {5, 1, 7}, {1, 1, 1}};

// One source of a node whose operands broadcast in one of four ways each. The last values are its
// results; with an anchor, the operand of f32 is that.
static void generate(corpus_expression_t *e, uint32_t number, int has_anchor)
{
    static char text[1 << 18];
    weir_tensor_t inputs[1 + CORPUS_DTYPES], outputs[2];
    weir_host_t host = ref_host();
    weir_support_t support = {.head = WEIR_HEAD(weir_support_t)};
    weir_expression_t *expression = &e->expression;
    const weir_cuda_facts_t facts = {.arch = 90, .has_compiler = true};
    weir_cuda_build_t build = {
        .host = &host, .facts = &facts, .text = text, .text_bytes = sizeof text};
    for (uint32_t k = 0; k <= CORPUS_DTYPES; k++)
        inputs[k] = (weir_tensor_t){.dims = dims[k ? (number + k) % 4 : 0],
            .rank = 3,
            .dtype = k ? 1u << (k - 1) : WEIR_F32};
    expression->first_operand = 1;
    expression->output_count = 2;
    for (uint32_t j = 0; j < 2; j++) {
        e->outputs[j] = (uint16_t)(expression->instruction_count - 1 - j);
        outputs[j] =
            (weir_tensor_t){.dims = dims[0], .rank = 3, .dtype = e->code[e->outputs[j]].dtype};
    }
    if (has_anchor)
        e->code[0] = (weir_instruction_t){.opcode = WEIR_OP_ANCHOR, .dtype = WEIR_F32};
    const weir_node_t node = {.head = WEIR_HEAD(weir_node_t),
        .op = has_anchor ? "MatMul" : "Pointwise",
        .inputs = inputs,
        .outputs = outputs,
        .input_count = 1 + CORPUS_DTYPES,
        .output_count = 2,
        .body = has_anchor ? NULL : expression,
        .epilogue = has_anchor ? expression : NULL};
    if (weir_cuda_expression_supports(&node, expression, &support) != WEIR_OK)
        fail_msg("%s", support.reason);
    assert_int_equal(
        weir_cuda_expression_build(&node, expression, has_anchor ? WEIR_F32 : 0, &build), WEIR_OK);
    assert_int_equal(build.source_count, 1);
    compile(build.sources[0].source, 1);
    host.free(&host, build.sources[0].source);
}

static void generated_kernels_keep_their_budget(void **state)
{
    (void)state;
    corpus_t corpus = corpus_make(11, 0, 1);
    uint32_t count = 0;
    for (uint32_t i = 0; i < corpus.count; i += 2, count++)
        generate(&corpus.expressions[i], i, i % 4 == 2);
    print_message("%u kernels, at most %u registers, none spills\n", count, registers_most);
    corpus_free(&corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_compiles),
        cmocka_unit_test(generated_kernels_keep_their_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
