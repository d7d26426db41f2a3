// backends/opencl/op_resize.h: what a Resize node says, in numbers (op_resize.c), and the nearest
// form of it (op_mapped.c).
#ifndef WEIR_BACKENDS_OPENCL_OP_RESIZE_H
#define WEIR_BACKENDS_OPENCL_OP_RESIZE_H

#include "backends/opencl/op_host.h"

typedef struct weir_cl_resize {
    // 0 half_pixel, 1 align_corners, 2 asymmetric, 3 pytorch_half_pixel, 4 half_pixel_symmetric.
    int64_t coordinates;
    int64_t rounding; // 0 round_prefer_floor, 1 floor, 2 ceil, 3 round_prefer_ceil
    double scales[WEIR_RANK_MAX];
    int64_t bits[WEIR_RANK_MAX]; // of the scales
    bool stays[WEIR_RANK_MAX];   // the axis does not change
} weir_cl_resize_t;

weir_code_t weir_cl_nearest_build(const weir_node_t *node, weir_cl_builder_t *builder);
weir_code_t weir_cl_nearest_plan(const weir_node_t *node, const weir_cl_built_t *built,
    const weir_cl_resize_t *resize, weir_cl_recipe_t *recipe);

#endif
