// tests/cuda/print_corpus.h: expressions of every opcode at every element type, their source in
// each language of backends/print, and whether what that source computed is right.
//
// Each expression begins with one operand of each element type. A kernel gets its operands in one
// buffer and leaves every value, as it was computed, and every value as it is stored in memory, in
// another; so each instruction is judged alone, from the operands that it really had, and an error
// of one cannot hide or excuse that of the next.
#ifndef WEIR_TESTS_CUDA_PRINT_CORPUS_H
#define WEIR_TESTS_CUDA_PRINT_CORPUS_H

#include "backends/print/print.h"

#define CORPUS_ELEMENTS 96
#define CORPUS_CELL ((uint64_t)CORPUS_ELEMENTS * 8) // bytes of one value in a buffer
#define CORPUS_DTYPES 13
#define CORPUS_VALUES 48
#define CORPUS_IN_BYTES (CORPUS_DTYPES * CORPUS_CELL)
#define CORPUS_OUT_BYTES ((2 * CORPUS_VALUES + 1) * CORPUS_CELL)

typedef struct corpus_expression {
    weir_instruction_t code[CORPUS_VALUES];
    uint16_t outputs[CORPUS_VALUES];
    weir_expression_t expression;
} corpus_expression_t;

typedef struct corpus {
    corpus_expression_t *expressions;
    uint32_t count;
} corpus_t;

// Every (opcode, element type) and every pair of CAST and POW at least once, then `extra` random
// expressions. Doubles are left out without `doubles`.
corpus_t corpus_make(uint32_t seed, uint32_t extra, int doubles);
void corpus_free(corpus_t *corpus);

// One source with a kernel "corpus_N" for each expression in [first, first + count). Freed by the
// caller.
char *corpus_source(
    const corpus_t *corpus, weir_print_dialect_t dialect, uint32_t first, uint32_t count);

// Operands for expression `number`: edges and random values.
void corpus_operands(const corpus_t *corpus, uint32_t number, unsigned char *in);

// Fails the test at the first wrong value. ulp: what the language's library may err by.
void corpus_check(const corpus_t *corpus, uint32_t number, const unsigned char *in,
    const unsigned char *out, double ulp);

#endif
