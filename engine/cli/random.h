// Inputs from a seed: the same values on every machine, easy to make again elsewhere.
//
// The generator, so that a test in any language can repeat it: the state of an input is
// seed XOR fnv1a64(name of the input); word i (from 0) is splitmix64 of it, i.e.
// mix(state + (i + 1) * 0x9e3779b97f4a7c15) with Steele, Lea and Flood's mix (2014). Element i of
//   float types: s = the sum of the four 16-bit parts of word i, (s - 131070) / 131072: a bell
//   within
//                (-1, 1), standard deviation 0.29, exact in f32, rounded to nearest even for f16
//                and bf16;
//   integers, bool: the top bit of word i. Small, because most integers of models are indices.
#ifndef WEIR_CLI_RANDOM_H
#define WEIR_CLI_RANDOM_H

#include <stdint.h>
#include <weir/value.h>

// Word `index` of the input called `name`.
uint64_t weir__cli_random_word(uint64_t seed, const char *name, uint64_t index);

// Fills count elements of a dtype that weir__cli_dtype_bytes() knows.
void weir__cli_random_fill(
    uint64_t seed, const char *name, weir_dtype_t dtype, uint64_t count, void *data);

#endif
