// tests/support/emulator/emulator.h: runs the own CUDA kernels on the host.
//
// What: compiles the bodies of kernels/cuda unchanged, as C, and runs them block after block. The
//       threads of a block that meet (barriers, shuffles) are fibers; which of those that can go on
//       does is drawn at random, and it runs until it must wait. So a barrier that is missing is a
//       race that some order loses. Shared memory and parameters are blocks of their own exact size
//       (AddressSanitizer sees one byte too many), shared memory is full of NaN at first.
// Not:  no timing, no memory model, no warp divergence: what is right here can still be wrong on a
//       device in those ways. Blocks run one after another.
#ifndef WEIR_TESTS_SUPPORT_EMULATOR_EMULATOR_H
#define WEIR_TESTS_SUPPORT_EMULATOR_EMULATOR_H

#include <stddef.h>
#include <stdint.h>

typedef struct weir_emulator_kernel {
    const char *name;
    uint32_t params_bytes, shared_bytes;
    uint32_t threads; // a block has at most
    uint32_t syncs;   // its threads meet
    void (*body)(const void *params, void *shared);
} weir_emulator_kernel_t;

// A kernel of kernels/cuda/kernels.inc; NULL: none of that name.
const weir_emulator_kernel_t *weir_emulator_find(const char *name);
// Number `index` of the table; NULL: past its end.
const weir_emulator_kernel_t *weir_emulator_kernel(uint32_t index);

// Runs all blocks on the calling thread. grid: x, y, z; threads: of a block. 0, or not: error then
// says why (a launch that a device refuses, threads that wait for each other, a kernel that meets
// and does not say so). Any number of threads may be in here.
int weir_emulator_launch(const weir_emulator_kernel_t *kernel, const void *params,
    const uint32_t grid[3], uint32_t threads, uint32_t seed, char *error, size_t error_bytes);

#endif
