// kernels/cuda/gemm.cuh: products and convolutions where cuBLASLt or cuDNN is missing, and what
// follows a convolution of cuDNN.
//
// A block computes a tile of 64 x 64 of the result, 16 steps of k at a time through shared memory,
// each of 256 threads a 4 x 4 piece of it in registers, k ascending. A convolution is the product
// of the weights with the windows, which are gathered as they are loaded (implicit im2col). One
// input channel a group (depthwise) is no product: a thread computes one element.
#include "kernels/cuda/device.cuh"

#define WEIR_GEMM_EACH 4 // rows and columns of a thread's piece

typedef struct weir_cuda_gemm_shared {
    float a[WEIR_CUDA_TILE_K][WEIR_CUDA_TILE + 4];
    float b[WEIR_CUDA_TILE_K][WEIR_CUDA_TILE + 4];
} weir_cuda_gemm_shared_t;

// One step: 16 of k.
WEIR_DEVICE void weir_gemm_step(
    const weir_cuda_gemm_shared_t *shared, float acc[WEIR_GEMM_EACH][WEIR_GEMM_EACH])
{
    const uint32_t row = WEIR_THREAD / 16 * WEIR_GEMM_EACH;
    const uint32_t column = WEIR_THREAD % 16 * WEIR_GEMM_EACH;
    WEIR_UNROLL
    for (uint32_t k = 0; k < WEIR_CUDA_TILE_K; k++) {
        float a[WEIR_GEMM_EACH], b[WEIR_GEMM_EACH];
        WEIR_UNROLL
        for (uint32_t i = 0; i < WEIR_GEMM_EACH; i++) {
            a[i] = shared->a[k][row + i];
            b[i] = shared->b[k][column + i];
        }
        WEIR_UNROLL
        for (uint32_t i = 0; i < WEIR_GEMM_EACH; i++)
            WEIR_UNROLL
            for (uint32_t j = 0; j < WEIR_GEMM_EACH; j++)
                acc[i][j] += a[i] * b[j];
    }
}

WEIR_DEVICE void weir_gemm_clear(float acc[WEIR_GEMM_EACH][WEIR_GEMM_EACH])
{
    WEIR_UNROLL
    for (uint32_t i = 0; i < WEIR_GEMM_EACH; i++)
        WEIR_UNROLL
        for (uint32_t j = 0; j < WEIR_GEMM_EACH; j++)
            acc[i][j] = 0.0f;
}

#define WEIR_EACH "kernels/cuda/gemm_body.cuh"
#include "kernels/cuda/each_float.cuh"
