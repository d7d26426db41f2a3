// A convolution with few output pixels: the weights stream past the pixels, 32 output channels
// side by side, instead of the pixels past the weights.
//
// The same chain for every output element as in conv.c, beginning with the bias, over ascending
// (channel, ky, kx): which of the two ways computes it changes no bit. Weights are packed in panels
// (weir_k_pack_t: columns are output channels), one matrix a group.
#ifndef WEIR_BACKENDS_CPU_CONV_FEW_H
#define WEIR_BACKENDS_CPU_CONV_FEW_H

#include "backends/cpu/conv_shape.h"

// Output pixels of an image, at most: rows of one GEMM tile.
#define WEIR_CPU_FEW_PIXELS WEIR_K_TILE_ROWS
// Output channels of a task: whole panels.
#define WEIR_CPU_FEW_CHANNELS 128u

// Is it one for this way, whatever its sizes are?
int weir_cpu_few_takes(const weir_cpu_conv_shape_t *shape);

// Bytes of scratch that run() needs.
uint64_t weir_cpu_few_scratch_bytes(const weir_cpu_conv_shape_t *shape);

// Tasks of one group of one image.
uint64_t weir_cpu_few_tasks(const weir_cpu_conv_shape_t *shape);

// Output channels [part * WEIR_CPU_FEW_CHANNELS, ...) of one group of one image: all their pixels
// at y. x, panels, bias (or NULL) and y belong to that group.
void weir_cpu_few_run(const weir_cpu_conv_shape_t *shape, const weir_k_table_t *kernels,
    uint64_t part, const float *x, const float *panels, const float *bias, float *y,
    float *scratch);

#endif
