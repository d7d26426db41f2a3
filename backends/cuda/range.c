// backends/cuda/range.c: NVTX ranges around launches. Without a tool that listens they are a test
// of a pointer. The header loads what the tool says by itself; nothing is linked.
#include "backends/cuda/cuda.h"

#include <nvtx3/nvToolsExt.h>

void weir_cuda_range_push(const weir_cuda_device_t *device, const char *name)
{
    if (device->state->uses_nvtx)
        (void)nvtxRangePushA(name);
}

void weir_cuda_range_pop(const weir_cuda_device_t *device)
{
    if (device->state->uses_nvtx)
        (void)nvtxRangePop();
}
