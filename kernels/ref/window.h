// kernels/ref/window.h: the sliding windows of convolutions and pools.
//
// Decodes strides, dilations and pads to concrete numbers for concrete dims, auto_pad included.
// Source: ONNX operators Conv-22, MaxPool-22, AveragePool-22, ConvTranspose-22 (their auto_pad and
// pads).
#ifndef WEIR_KERNELS_REF_WINDOW_H
#define WEIR_KERNELS_REF_WINDOW_H

#include "kernels/ref/internal.h"

typedef struct weir_kr_window {
    uint32_t rank; // of the spatial axes
    const int64_t *in, *out;
    int64_t kernel[WEIR_KR_RANK_MAX], stride[WEIR_KR_RANK_MAX], dilation[WEIR_KR_RANK_MAX];
    int64_t begin[WEIR_KR_RANK_MAX], end[WEIR_KR_RANK_MAX]; // pads
    int64_t kernel_count, in_count, out_count;
} weir_kr_window_t;

// kernel: NULL takes params' kernel; else (a convolution) the dims of W. WEIR_KR_OK or INVALID.
int weir__kr_window(
    const weir_kr_call_t *call, const int64_t *kernel, weir_kr_window_t *out_window);

#endif
