// kernels/cuda/bodies.cuh: all bodies, for whoever makes kernels of them (kernels.inc).
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/gemm.cuh"
#include "kernels/cuda/move.cuh"
#include "kernels/cuda/norm.cuh"
#include "kernels/cuda/pool.cuh"
#include "kernels/cuda/reduce.cuh"
