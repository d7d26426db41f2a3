// kernels/cuda/pool.cuh: max and average pools; a thread for one element of the result.
#include "kernels/cuda/device.cuh"

#define WEIR_EACH "kernels/cuda/pool_body.cuh"
#include "kernels/cuda/each_float.cuh"
