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

#include "tests/cuda/print_corpus.h"

static size_t compile(const char *source, const char *arch)
{
    nvrtcProgram program;
    char option[64];
    (void)snprintf(option, sizeof option, "--gpu-architecture=%s", arch);
    const char *options[] = {option, "--fmad=false"};
    size_t bytes = 0;
    assert_int_equal(
        nvrtcCreateProgram(&program, source, "corpus.cu", 0, NULL, NULL), NVRTC_SUCCESS);
    if (nvrtcCompileProgram(program, 2, options) != NVRTC_SUCCESS) {
        static char log[65536];
        if (nvrtcGetProgramLogSize(program, &bytes) == NVRTC_SUCCESS && bytes < sizeof log)
            (void)nvrtcGetProgramLog(program, log);
        fail_msg("%.4000s", log);
    }
    assert_int_equal(nvrtcGetCUBINSize(program, &bytes), NVRTC_SUCCESS);
    assert_int_equal(nvrtcDestroyProgram(&program), NVRTC_SUCCESS);
    return bytes;
}

static void the_corpus_compiles(void **state)
{
    (void)state;
    corpus_t corpus = corpus_make(7, 4, 1);
    uint32_t compiled = 0;
    for (uint32_t i = 0; i < corpus.count; i += 8) {
        const uint32_t count = WEIR_MIN(8, corpus.count - i);
        char *source = corpus_source(&corpus, WEIR_PRINT_CUDA, i, count);
        assert_true(compile(source, "sm_90a") > 0);
        free(source);
        compiled += count;
    }
    assert_int_equal(compiled, corpus.count);
    print_message("%u expressions compiled for sm_90a\n", compiled);
    corpus_free(&corpus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_corpus_compiles)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
