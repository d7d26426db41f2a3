// kernels/cuda/fatbin.h: the own kernels as nvcc made them, embedded: code for some architectures,
// PTX for later ones. The driver takes it as it is.
#ifndef WEIR_KERNELS_CUDA_FATBIN_H
#define WEIR_KERNELS_CUDA_FATBIN_H

extern const unsigned char weir_k_cuda_fatbin[] __attribute__((visibility("hidden")));

#endif
