// kernels/opencl/sources.h: the kernels' texts, as the build embeds them (cmake/weir_embed.cmake).
#ifndef WEIR_KERNELS_OPENCL_SOURCES_H
#define WEIR_KERNELS_OPENCL_SOURCES_H

#include <stddef.h>

typedef struct weir_cl_embedded {
    const char *name; // "cpu/matmul" is kernels/opencl/cpu/matmul.cl
    const char *text;
} weir_cl_embedded_t;

extern const weir_cl_embedded_t weir_cl_embedded_sources[];
extern const size_t weir_cl_embedded_count;

#endif
