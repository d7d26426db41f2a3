// kernels/cuda/reduce.cuh: reductions over any axes.
//
// reduce_line: a block for one element of the result, its threads over the reduced axes; for few
// results or long reductions. reduce_each: a thread for one element, all of it; for short
// reductions and for axes that do not lie closest together (neighbouring threads then read
// neighbouring elements).
#include "kernels/cuda/device.cuh"

#define WEIR_EACH "kernels/cuda/reduce_body.cuh"
#include "kernels/cuda/each_float.cuh"
