// tests/support/emulator/table.c: the bodies of kernels/cuda, compiled as C, by name.
#include <string.h>

#include "kernels/cuda/bodies.cuh"
#include "tests/support/emulator/emulator.h"

#define WEIR_CUDA_KERNEL(name, params, shared, threads, syncs)                                     \
    static void name##_run(const void *p, void *s)                                                 \
    {                                                                                              \
        name##_body((const params *)p, (shared *)s);                                               \
    }
#include "kernels/cuda/kernels.inc"
#undef WEIR_CUDA_KERNEL

static const weir_emulator_kernel_t table[] = {
#define WEIR_CUDA_KERNEL(name, params, shared, threads, syncs)                                     \
    {#name, sizeof(params), sizeof(shared), threads, syncs, name##_run},
#include "kernels/cuda/kernels.inc"
#undef WEIR_CUDA_KERNEL
};

const weir_emulator_kernel_t *weir_emulator_kernel(uint32_t index)
{
    return index < sizeof table / sizeof table[0] ? &table[index] : NULL;
}

const weir_emulator_kernel_t *weir_emulator_find(const char *name)
{
    for (uint32_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}
