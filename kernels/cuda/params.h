// kernels/cuda/params.h: what the own CUDA kernels take.
//
// One struct for each kernel, passed by value: the same layout on the host (C) and on the device
// (CUDA C++). Counts and dims are below 2^31; whoever fills them has checked that. Strides, where a
// type is 64 bits wide, are in elements and may be 0; those of copies may be negative.
// Not: no pointer to a pointer, and no meaning that a kernel alone knows.
#ifndef WEIR_KERNELS_CUDA_PARAMS_H
#define WEIR_KERNELS_CUDA_PARAMS_H

#include <stdint.h>

#define WEIR_CUDA_AXES_MAX 8

// Division by a number that is known before the launch, n < 2^31: Granlund and Montgomery,
// "Division by invariant integers using multiplication", 1994.
typedef struct weir_cuda_divider {
    uint32_t divisor, magic, shift;
} weir_cuda_divider_t;

static inline weir_cuda_divider_t weir_cuda_divide_by(uint32_t divisor)
{
    weir_cuda_divider_t d = {divisor, 0, 0};
    while (d.shift < 31 && (1u << d.shift) < divisor)
        d.shift++;
    d.magic = (uint32_t)(((((uint64_t)1 << d.shift) - divisor) << 32) / divisor + 1);
    return d;
}

// y[y_first + sum c[i] y_strides[i]] = x[x_first + sum c[i] x_strides[i]] for all c below dims; the
// last axis is the fastest. Transpose, Expand, Slice, Concat, Split.
typedef struct weir_cuda_copy_params {
    const void *x;
    void *y;
    int64_t x_first, y_first;
    uint32_t count, rank; // rank >= 1
    weir_cuda_divider_t dims[WEIR_CUDA_AXES_MAX];
    int64_t x_strides[WEIR_CUDA_AXES_MAX], y_strides[WEIR_CUDA_AXES_MAX];
} weir_cuda_copy_params_t;

// y[batch, columns, rows] from x[batch, rows, columns].
typedef struct weir_cuda_transpose_params {
    const void *x;
    void *y;
    uint32_t batch, rows, columns;
} weir_cuda_transpose_params_t;

enum { WEIR_CUDA_PAD_CONSTANT, WEIR_CUDA_PAD_REFLECT, WEIR_CUDA_PAD_EDGE, WEIR_CUDA_PAD_WRAP };

typedef struct weir_cuda_pad_params {
    const void *x, *value; // value: one element; NULL: zero bytes
    void *y;
    uint32_t count, rank, mode;
    weir_cuda_divider_t dims[WEIR_CUDA_AXES_MAX]; // of y
    // Of x after cuts: where it begins in x, how long it is, and where it begins in y.
    int64_t x_first;
    int32_t lengths[WEIR_CUDA_AXES_MAX], shifts[WEIR_CUDA_AXES_MAX];
    int64_t x_strides[WEIR_CUDA_AXES_MAX];
} weir_cuda_pad_params_t;

// y[o, j, i] = x[o, indices[j], i], in units of the kernel's element size.
typedef struct weir_cuda_gather_params {
    const void *x, *indices;
    void *y;
    uint32_t *error;
    uint32_t count; // of y
    weir_cuda_divider_t inner, index_count;
    uint32_t axis_dim, is_i64;
} weir_cuda_gather_params_t;

enum {
    WEIR_CUDA_REDUCE_SUM,
    WEIR_CUDA_REDUCE_MEAN,
    WEIR_CUDA_REDUCE_MAX,
    WEIR_CUDA_REDUCE_MIN,
    WEIR_CUDA_REDUCE_PROD,
    WEIR_CUDA_REDUCE_L1,
    WEIR_CUDA_REDUCE_L2,
    WEIR_CUDA_REDUCE_SUM_SQUARE,
    WEIR_CUDA_REDUCE_LOG_SUM,
    WEIR_CUDA_REDUCE_LOG_SUM_EXP
};

// y[o] over the reduced axes of x; a rank of 0 is one element.
typedef struct weir_cuda_reduce_params {
    const void *x;
    void *y;
    uint32_t kind;
    uint32_t kept_count, reduced_count, kept_rank, reduced_rank;
    weir_cuda_divider_t kept[WEIR_CUDA_AXES_MAX], reduced[WEIR_CUDA_AXES_MAX];
    int64_t kept_strides[WEIR_CUDA_AXES_MAX], reduced_strides[WEIR_CUDA_AXES_MAX];
} weir_cuda_reduce_params_t;

// Lines of `length` elements, `inner` apart; line l begins at (l / inner) length inner + l % inner.
typedef struct weir_cuda_line_params {
    const void *x;
    void *y;
    uint32_t lines, length, inner;
    uint32_t mode; // softmax: 1 is its logarithm; lp_norm: p
} weir_cuda_line_params_t;

// y = (x - mean) / sqrt(variance + epsilon) scale + bias, over rows of `length`.
typedef struct weir_cuda_layer_norm_params {
    const void *x, *scale, *bias; // bias: NULL, none
    void *y;
    float *mean, *inverse; // [rows] NULL: not wanted
    uint32_t rows, length;
    float epsilon;
} weir_cuda_layer_norm_params_t;

#define WEIR_CUDA_ATTENTION_ROWS 16
#define WEIR_CUDA_ATTENTION_DEPTH_MAX 128 // of D and of Dv

// Strides of an axis each, of a tensor whose place begins at `first`.
typedef struct weir_cuda_attention_place {
    uint64_t first, batch, head, row, depth;
} weir_cuda_attention_place_t;

typedef struct weir_cuda_attention_params {
    const void *q, *k, *v, *mask; // mask: NULL, none
    void *y;
    weir_cuda_attention_place_t q_at, k_at, v_at, y_at;
    uint64_t mask_batch, mask_head, mask_row, mask_column;
    uint32_t batch, heads, rows, columns, depth, value_depth;
    uint32_t row_tiles; // of WEIR_CUDA_ATTENTION_ROWS
    float scale;
} weir_cuda_attention_params_t;

// Two spatial axes; with one, height is 1.
typedef struct weir_cuda_window {
    int32_t in_height, in_width, out_height, out_width;
    int32_t kernel_height, kernel_width, stride_height, stride_width;
    int32_t dilation_height, dilation_width;
    int32_t pad_top, pad_left, pad_bottom, pad_right;
} weir_cuda_window_t;

typedef struct weir_cuda_pool_params {
    const void *x;
    void *y;
    int64_t *indices; // of a max pool; NULL: not wanted
    uint32_t count;   // of y
    weir_cuda_divider_t out_width, out_height;
    uint32_t is_average, count_include_pad, column_major;
    weir_cuda_window_t window;
} weir_cuda_pool_params_t;

enum { WEIR_CUDA_FINISH_NONE, WEIR_CUDA_FINISH_RELU, WEIR_CUDA_FINISH_GELU_TANH };

#define WEIR_CUDA_TILE 64 // rows and columns of a block's tile of the result
#define WEIR_CUDA_TILE_K 16
#define WEIR_CUDA_BATCH_AXES 4

// d = finish(alpha op(a) op(b) + beta c + bias); see weir_cuda_matmul_t of the plugin.
typedef struct weir_cuda_gemm_params {
    const void *a, *b, *c, *bias; // c, bias [n]: NULL, none
    void *d;
    uint32_t m, n, k, batch;
    uint32_t transpose_a, transpose_b, finish;
    float alpha, beta;
    uint64_t lda, ldb, ldd;
    uint64_t c_row, c_column; // 0: the same for all
    uint32_t batch_rank;
    weir_cuda_divider_t batch_dims[WEIR_CUDA_BATCH_AXES];
    uint64_t a_strides[WEIR_CUDA_BATCH_AXES], b_strides[WEIR_CUDA_BATCH_AXES];
    uint64_t c_stride, d_stride; // of a whole batch
} weir_cuda_gemm_params_t;

// x [n, groups in_channels, in_height, in_width], w [groups out_channels, in_channels,
// kernel_height, kernel_width], y [n, groups out_channels, out_height, out_width].
typedef struct weir_cuda_conv_params {
    const void *x, *w, *bias; // bias: NULL, none
    void *y;
    uint32_t n, groups, in_channels, out_channels; // channels of one group
    uint32_t finish;
    weir_cuda_divider_t out_width, out_height, kernel_width, kernel_height, channels;
    weir_cuda_window_t window;
} weir_cuda_conv_params_t;

#define WEIR_CUDA_FINISH_EACH 4 // elements of a thread

// y = finish(y + bias[channel]) in place, y [images, channels, inner].
typedef struct weir_cuda_finish_params {
    void *y;
    const void *bias; // [channels] NULL: none
    uint32_t count, finish;
    weir_cuda_divider_t inner, channels;
} weir_cuda_finish_params_t;

#endif
