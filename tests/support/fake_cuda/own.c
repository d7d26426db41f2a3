// tests/support/fake_cuda/own.c: the own kernels, run by the emulator.
#include "tests/support/emulator/emulator.h"
#include "tests/support/fake_cuda/driver.h"

#include <stdio.h>
#include <stdlib.h>

bool fake_own_find(const char *name, fake_kernel_t *out_kernel)
{
    out_kernel->own = weir_emulator_find(name);
    return out_kernel->own != NULL;
}

void fake_own_run(const fake_kernel_t *kernel, const void *params, const uint32_t grid[3],
    const uint32_t block[3])
{
    char error[200];
    if (block[1] == 1 && block[2] == 1 &&
        weir_emulator_launch(kernel->own, params, grid, block[0], (uint32_t)fake_world.seed, error,
            sizeof error) == 0)
        return;
    // The plugin launched something that no device would run: nothing of the test holds any more.
    (void)fprintf(stderr, "fake cuda: %s: %s\n", kernel->name, error);
    abort();
}
