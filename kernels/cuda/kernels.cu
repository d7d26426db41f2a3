// kernels/cuda/kernels.cu: the own kernels, one entry for each row of kernels.inc.
//
// The parameters are read where the launch put them (__grid_constant__), so that an index that only
// a thread knows costs no copy of them. Built into the plugin's fatbin; nothing else is in here.
#include "kernels/cuda/bodies.cuh"

#define WEIR_CUDA_KERNEL(name, params, shared, threads, syncs)                                     \
    extern "C" __global__ void __launch_bounds__(threads) name(const __grid_constant__ params p)   \
    {                                                                                              \
        __shared__ __align__(16) shared block;                                                     \
        name##_body(&p, &block);                                                                   \
    }
#include "kernels/cuda/kernels.inc"
