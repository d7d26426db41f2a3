// The most that one core of this machine can do: products in f32, bf16 and int8, its clock,
// reading.
//
// Measured once, in less than two seconds, and kept in a small file of the cache's folder; measured
// again on another processor. Plain loops of this command's own, whatever plugins there are. What
// the machine has no instructions for, or what cannot be measured, is 0.
#ifndef WEIR_CLI_RATES_H
#define WEIR_CLI_RATES_H

#include <stdbool.h>
#include <stdint.h>

typedef struct weir__cli_rates {
    double f32_gflops;      // fused multiply-adds, 2 each
    double bf16_gflops;     // products of bf16, sums in f32
    double int8_gops;       // products of bytes, sums in i32
    double clock_ghz;       // while one integer addition waits for the one before
    double cache_gb_per_s;  // reading what fits the last level of cache, and not the one before
    double memory_gb_per_s; // reading what does not fit it
    char products[64];      // the instructions: "AVX-512, AMX"
} weir__cli_rates_t;

// What was kept for this processor, or what is measured now and kept.
void weir__cli_rates_get(weir__cli_rates_t *out_rates);

// The least time in which `threads` cores compute so many flop, in the precision that the kernel's
// name tells, or, where there are none, read so many bytes from the last level of cache. 0: not
// known.
double weir__cli_rates_least_ns(const weir__cli_rates_t *rates, uint32_t threads,
    const char *kernel, uint64_t flop, uint64_t bytes);

#endif
