// The numbers of a convolution with one or two spatial dims; one dim is a height of 1.
#ifndef WEIR_BACKENDS_CPU_CONV_SHAPE_H
#define WEIR_BACKENDS_CPU_CONV_SHAPE_H

#include "backends/cpu/cpu.h"

typedef struct weir_cpu_conv_shape {
    uint64_t images, groups;
    uint64_t group_inputs, group_outputs; // channels of one group
    int64_t height, width, out_height, out_width, kernel_height, kernel_width;
    int64_t stride_y, stride_x, dilation_y, dilation_x;
    int64_t pad_top, pad_left;
} weir_cpu_conv_shape_t;

// Value i of an INTS attribute, or `otherwise`.
int64_t weir_cpu_attribute_at(
    const weir_node_t *node, const char *name, uint32_t i, int64_t otherwise);

// What comes before the first element along one spatial axis, of a Conv or a pool.
int64_t weir_cpu_pad_begin(const weir_node_t *node, uint32_t axis, int64_t in, int64_t out,
    int64_t kernel, int64_t stride, int64_t dilation);

// NULL, or why the attributes and dims make no sense. Dims of X and Y must be known.
const char *weir_cpu_conv_shape(const weir_node_t *node, weir_cpu_conv_shape_t *out_shape);
// The same for a prepare(): what is wrong is the failure's text.
weir_code_t weir_cpu_conv_shape_read(
    const weir_host_t *host, const weir_node_t *node, weir_cpu_conv_shape_t *out_shape);

// Rows [first_k, first_k + count_k) and columns (output pixels) [first, first + columns) of the
// matrix that makes the convolution of one group of one image a product, as panels of 32 columns:
// to[(j / 32) * count_k * 32 + kk * 32 + j % 32]; columns past the end are zero. `x` is the group's
// input.
void weir_cpu_conv_columns(const weir_cpu_conv_shape_t *shape, const float *x, uint64_t first_k,
    uint64_t count_k, uint64_t first, uint64_t columns, float *to);

// One input plane with its padding, its columns sorted by their remainder mod stride_x, so that
// what one tap reads for neighbouring outputs lies dense.
typedef struct weir_cpu_conv_plane {
    int64_t rows, phase_columns;
} weir_cpu_conv_plane_t;
weir_cpu_conv_plane_t weir_cpu_conv_plane(const weir_cpu_conv_shape_t *shape);
// What is padding in `to` must be zero before: it is not written.
void weir_cpu_conv_plane_fill(
    const weir_cpu_conv_shape_t *shape, const weir_k_table_t *kernels, const float *x, float *to);

// to[i] = from[i] for i in [0, count): for rows so short that a call of memcpy would cost more.
void weir_cpu_floats_copy(const float *from, int64_t count, float *to);

#endif
