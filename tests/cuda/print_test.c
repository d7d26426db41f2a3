// Goal:   expressions printed as C mean what kernels/ref says, for every opcode at every element
//         type; what does not fit is refused; a text that does not fit its buffer says so.
// Method: a seeded corpus (print_corpus.h), compiled by the C compiler into a shared object, run
//         and judged one instruction at a time.
#include <dlfcn.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/cuda/print_corpus.h"

typedef void (*kernel_t)(const char *in, char *out, int n);

// The C compiler's answer to `source`; the folder goes with the test.
static void *compile(const char *source)
{
    char folder[] = "print_test_XXXXXX", path[64], command[256];
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/corpus.c", folder);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(source, file) >= 0);
    assert_int_equal(fclose(file), 0);
    (void)snprintf(command, sizeof command,
        "%s -std=c17 -O1 -ffp-contract=off -shared -fPIC -o %s/corpus.so %s -lm", WEIR_TEST_CC,
        folder, path);
    assert_int_equal(system(command), 0);
    (void)snprintf(path, sizeof path, "./%s/corpus.so", folder);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    (void)snprintf(command, sizeof command, "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    if (!library)
        fail_msg("%s", dlerror());
    return library;
}

static void c_is_the_reference(void **state)
{
    (void)state;
    static _Alignas(64) unsigned char in[CORPUS_IN_BYTES], out[CORPUS_OUT_BYTES];
    corpus_t corpus = corpus_make(7, 12, 1);
    char *source = corpus_source(&corpus, WEIR_PRINT_C, 0, corpus.count);
    void *library = compile(source);
    free(source);
    for (uint32_t i = 0; i < corpus.count; i++) {
        char name[32];
        kernel_t kernel;
        (void)snprintf(name, sizeof name, "corpus_%u", i);
        void *symbol = dlsym(library, name);
        assert_non_null(symbol);
        memcpy(&kernel, &symbol, sizeof kernel);
        memset(out, 0, sizeof out);
        corpus_operands(&corpus, i, in);
        kernel((const char *)in, (char *)out, CORPUS_ELEMENTS);
        corpus_check(&corpus, i, in, out, 6);
    }
    print_message("%u expressions, %u instructions\n", corpus.count,
        corpus.count * (CORPUS_VALUES - CORPUS_DTYPES));
    corpus_free(&corpus);
    assert_int_equal(dlclose(library), 0);
}

static weir_code_t can(const weir_instruction_t *code, uint32_t count, uint32_t lanes)
{
    const uint16_t last = (uint16_t)(count - 1);
    const weir_expression_t expression = {.head = WEIR_HEAD(weir_expression_t),
        .instructions = code,
        .instruction_count = count,
        .operand_count = 1,
        .output_count = 1,
        .outputs = &last};
    const char *reason;
    const weir_code_t answer = weir_print_can(&expression, lanes, &reason);
    assert_true((answer == WEIR_OK) == (reason == NULL));
    return answer;
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    weir_instruction_t code[2] = {
        {.opcode = WEIR_OP_LOAD, .dtype = WEIR_F32}, {.opcode = WEIR_OP_RELU, .dtype = WEIR_F32}};
    assert_int_equal(can(code, 2, 1), WEIR_OK);
    assert_int_equal(can(code, 2, 16), WEIR_OK);
    code[1].a = 1;
    assert_int_equal(can(code, 2, 1), WEIR_INVALID_ARGUMENT);
    code[1].a = 0;
    code[0].a = 1;
    assert_int_equal(can(code, 2, 1), WEIR_INVALID_ARGUMENT);
    code[0].a = 0;
    code[1].opcode = 1000;
    assert_int_equal(can(code, 2, 1), WEIR_UNSUPPORTED);
    code[1].opcode = WEIR_OP_CAST;
    assert_int_equal(can(code, 2, 1), WEIR_OK);
    assert_int_equal(can(code, 2, 16), WEIR_UNSUPPORTED);
    code[0].dtype = code[1].dtype = WEIR_F16;
    code[1].opcode = WEIR_OP_RELU;
    assert_int_equal(can(code, 2, 16), WEIR_UNSUPPORTED);
}

static void a_short_buffer_says_how_long(void **state)
{
    (void)state;
    char text[8] = "???????";
    weir_print_t print = {text, 6, 0};
    weir_print_add(&print, "%s", "abc");
    weir_print_add(&print, "%s", "defg");
    assert_string_equal(text, "abcde");
    assert_int_equal(print.length, 7);
    weir_print_add(&print, "h");
    assert_int_equal(print.length, 8);
    assert_string_equal(text, "abcde");
    assert_int_equal(text[6], '?');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c_is_the_reference),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(a_short_buffer_says_how_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
