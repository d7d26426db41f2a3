// kernels/cuda/emulated.h: the words of device.cuh where a C compiler reads the bodies.
//
// Who runs them (tests/support/emulator) says which thread is running, and lets the threads of a
// block meet at barriers and shuffles. Nothing of this is in the plugin.
#ifndef WEIR_KERNELS_CUDA_EMULATED_H
#define WEIR_KERNELS_CUDA_EMULATED_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

typedef struct weir_emulated {
    uint32_t thread, threads; // of the block; blocks have one axis
    uint32_t block_x, block_y, block_z, blocks_z;
} weir_emulated_t;

// The thread that is running, on this thread of the host.
extern _Thread_local weir_emulated_t weir_emulated;

void weir_emulated_sync(void);      // all threads of the block
void weir_emulated_sync_warp(void); // all 32 threads of the warp
float weir_emulated_shuffle_xor(float value, uint32_t mask);
void weir_emulated_report(uint32_t *word, uint32_t bits);
float weir_emulated_f16_value(uint16_t bits);
uint16_t weir_emulated_f16_bits(float value);
float weir_emulated_bf16_value(uint16_t bits);
uint16_t weir_emulated_bf16_bits(float value);

#define WEIR_DEVICE static inline
#define WEIR_UNROLL
#define WEIR_UNROLL_4
#define WEIR_ALIGNED(bytes) __attribute__((aligned(bytes)))
#define WEIR_THREAD weir_emulated.thread
#define WEIR_THREADS weir_emulated.threads
#define WEIR_BLOCK_X weir_emulated.block_x
#define WEIR_BLOCK_Y weir_emulated.block_y
#define WEIR_BLOCK_Z weir_emulated.block_z
#define WEIR_BLOCKS_Z weir_emulated.blocks_z
#define WEIR_SYNC() weir_emulated_sync()
#define WEIR_SYNC_WARP() weir_emulated_sync_warp()

#define weir_shuffle_xor weir_emulated_shuffle_xor
#define weir_report weir_emulated_report
#define weir_f16_value weir_emulated_f16_value
#define weir_f16_bits weir_emulated_f16_bits
#define weir_bf16_value weir_emulated_bf16_value
#define weir_bf16_bits weir_emulated_bf16_bits

static inline uint32_t weir_high(uint32_t a, uint32_t b)
{
    return (uint32_t)((uint64_t)a * b >> 32);
}

#endif
