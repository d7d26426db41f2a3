// What the bf16 and int8 kernels of the plugin share: the choice of their table, and how their
// constants lie.
#ifndef WEIR_BACKENDS_CPU_LOW_H
#define WEIR_BACKENDS_CPU_LOW_H

#include <string.h>

#include "backends/cpu/cpu.h"
#include "kernels/cpu/low/low.h"

// Weights in chunks (low.h of the kernels): [panel][chunk][16][32][4 bytes]; of a Conv the chunks
// are (32 or 64 input channels, tap) in that order. The same on every ISA.
#define WEIR_CPU_FORMAT_BF16 (WEIR_FORMAT_OWN + 32u)
#define WEIR_CPU_FORMAT_BF16_CONV (WEIR_FORMAT_OWN + 33u)
#define WEIR_CPU_FORMAT_BF16_FIRST (WEIR_FORMAT_OWN + 34u)
// The same in i8, with the sum of each output's weights behind them (i32, whole panels).
#define WEIR_CPU_FORMAT_I8 (WEIR_FORMAT_OWN + 35u)
#define WEIR_CPU_FORMAT_I8_CONV (WEIR_FORMAT_OWN + 36u)
#define WEIR_CPU_FORMAT_I8_FIRST (WEIR_FORMAT_OWN + 37u)

// The low precision kernels that go with weir_cpu_isa_table() on this machine; option isa "auto"
// alone takes AMX. NULL as there.
const weir_k_low_table_t *weir_cpu_low_table(const weir_host_t *host);

// Are there instructions for products in bf16? Without them f32 is both faster and better.
int weir_cpu_has_bf16(void);

// Rounds to bf16, the same everywhere: weights are packed on one machine and read on another.
static inline uint16_t weir_cpu_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

#endif
