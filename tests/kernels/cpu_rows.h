// What cpu_rows_test.c and cpu_rows_blocks.c, one program, share: numbers, comparisons, the tables.
#ifndef WEIR_TESTS_KERNELS_CPU_ROWS_H
#define WEIR_TESTS_KERNELS_CPU_ROWS_H

#include <stddef.h>
#include <stdint.h>

#include "kernels/cpu/cpu.h"

#define MOST 150u // past two times 64 accumulators and a vector
#define ROW (MOST + 13u)
#define ROWS 7u
#define FENCE 77.0f

// Those that this machine can run.
extern const weir_k_table_t *tables[3];
extern size_t table_count;
#define FOR_ALL_TABLES(t) for (size_t t = 0; t < table_count; t++)

typedef enum kind { KIND_PLAIN, KIND_DENORMAL, KIND_INFINITE, KIND_NAN, KIND_COUNT } kind_t;

uint32_t random_bits(void);
// Numbers between -1 and 1, and some that the kind adds.
void fill(float *to, size_t count, kind_t kind);
// Equal bits, or both NaN.
int same(float a, float b);
void expect_near(const char *what, size_t i, float got, double expected, double allowed);
void expect_same(const char *what, const float *a, const float *b, size_t count);
// The test has run this kernel.
void ran(const char *kernel);

void convolutions_are_one_chain(void **state);
void winograd_inputs_are_their_matrices(void **state);
void winograd_outputs_are_their_matrices(void **state);
void winograd_rows_are_their_matrices(void **state);
void depthwise_planes_are_chains(void **state);
void windows_over_blocks(void **state);
void pools_over_everything(void **state);
void channels_go_into_blocks_and_back(void **state);

#endif
