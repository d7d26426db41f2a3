// backends/opencl/op_kernels.h: build(), plan(), supports() and packing of the operators that
// compute (MatMul, Conv, …), as rows_kernels_cpu.inc and rows_kernels_gpu.inc name them.
#ifndef WEIR_BACKENDS_OPENCL_OP_KERNELS_H
#define WEIR_BACKENDS_OPENCL_OP_KERNELS_H

#include "backends/opencl/recipe.h"

#endif
