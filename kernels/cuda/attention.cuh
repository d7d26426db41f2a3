// kernels/cuda/attention.cuh: softmax(Q K^T scale + mask) V for short sequences.
//
// A block takes 16 rows of one head past the keys, 32 at a time; the softmax is kept up as it goes
// (Milakov and Gimelshein, "Online normalizer calculation for softmax", 2018; Dao et al.,
// "FlashAttention", 2022), so scores never reach memory. Warp w has rows w, w + 4, w + 8, w + 12;
// a lane is a key while scores are computed and a column of V while they are summed up. Tensors
// may lie in any order of axes.
#include "kernels/cuda/device.cuh"

#define WEIR_ATTENTION_COLUMNS 32
#define WEIR_ATTENTION_WARPS 4
#define WEIR_ATTENTION_EACH (WEIR_CUDA_ATTENTION_ROWS / WEIR_ATTENTION_WARPS)
#define WEIR_ATTENTION_PARTS (WEIR_CUDA_ATTENTION_DEPTH_MAX / 32)

typedef struct weir_cuda_attention_shared {
    float q[WEIR_CUDA_ATTENTION_ROWS][WEIR_CUDA_ATTENTION_DEPTH_MAX];
    // K, then V. One more: lanes read down a column.
    float kv[WEIR_ATTENTION_COLUMNS][WEIR_CUDA_ATTENTION_DEPTH_MAX + 1];
    float weights[WEIR_CUDA_ATTENTION_ROWS][WEIR_ATTENTION_COLUMNS];
} weir_cuda_attention_shared_t;

#define WEIR_EACH "kernels/cuda/attention_body.cuh"
#include "kernels/cuda/each_float.cuh"
