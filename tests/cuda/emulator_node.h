// tests/cuda/emulator_node.h: nodes for tests of the CUDA operators, built, run and judged.
//
// A node is run twice: by kernels/ref, and by what the operator's plan() asks for, whose kernels
// the emulator runs. Outputs have a fence behind them. Generated kernels and products of libraries
// are none of this: the facts say that there are none.
#ifndef WEIR_TESTS_CUDA_EMULATOR_NODE_H
#define WEIR_TESTS_CUDA_EMULATOR_NODE_H

#include <weir/plugin.h>

#define NODE_TENSORS 12
#define NODE_ATTRIBUTES 8

typedef struct node_tensor {
    int64_t dims[8];
    unsigned char *memory;
    unsigned char *expected; // of an output
} node_tensor_t;

typedef struct test_node {
    weir_node_t node;
    weir_tensor_t inputs[NODE_TENSORS], outputs[NODE_TENSORS];
    node_tensor_t input_memory[NODE_TENSORS], output_memory[NODE_TENSORS];
    weir_attribute_t attributes[NODE_ATTRIBUTES];
    uint32_t seed;
    int has_conv; // there is a library that convolves: the reference stands for it
} test_node_t;

void node_new(test_node_t *n, const char *op, uint32_t seed);
void node_free(test_node_t *n);
// An input of random elements: floats in [-1, 1), integers small. rank dims follow.
void *node_input(test_node_t *n, weir_dtype_t dtype, uint32_t rank, ...);
// One of I64 whose contents are known.
void node_values(test_node_t *n, uint32_t count, ...);
void node_absent(test_node_t *n);
void node_output(test_node_t *n, weir_dtype_t dtype, uint32_t rank, ...);
void node_int(test_node_t *n, const char *name, int64_t value);
void node_float(test_node_t *n, const char *name, double value);
void node_string(test_node_t *n, const char *name, const char *value);
// The array stays the caller's.
void node_ints(test_node_t *n, const char *name, const int64_t *values, uint32_t count);
// Sets element i of a tensor of floats.
void node_set(weir_dtype_t dtype, void *memory, uint64_t i, float value);

// Runs it both ways, under several orders of threads, and fails the test where they differ by more
// than a rounding of the dtype and `slack`. Frees the node.
void node_check(test_node_t *n, double slack);
// Runs the operator alone. Returns the word that kernels report errors in.
uint32_t node_run(test_node_t *n, uint32_t order);
// Was this entry launched by any of the nodes so far?
int node_has_run(const char *entry);

#endif
