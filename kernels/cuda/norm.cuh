// kernels/cuda/norm.cuh: softmax and norms along a line; a block takes one line, or a
// thread does (…_each).
#include "kernels/cuda/device.cuh"

#define WEIR_EACH "kernels/cuda/norm_body.cuh"
#include "kernels/cuda/each_float.cuh"
