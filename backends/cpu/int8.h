// What the int8 kernels of the plugin share. Bytes are u8 or i8; inside the kernels all are u8: i8
// comes and goes with its top bit turned (`flip`), and its zero points are 128 more.
#ifndef WEIR_BACKENDS_CPU_INT8_H
#define WEIR_BACKENDS_CPU_INT8_H

#include "backends/cpu/common.h"
#include "backends/cpu/low.h"

static inline int weir_cpu_is_bytes(const weir_tensor_t *tensor)
{
    return tensor->dtype == WEIR_U8 || tensor->dtype == WEIR_I8;
}

static inline unsigned char weir_cpu_flip(const weir_tensor_t *tensor)
{
    return tensor->dtype == WEIR_I8 ? 0x80 : 0;
}

// Bytes of rank 4 in blocked format, the channels known.
int weir_cpu_is_bytes_blocked(const weir_tensor_t *tensor);

// Are inputs `input` and `input` + 1 a scale and a zero point, constants, of one element each; of
// one or `channels` each; and, in the second, all zeros?
int weir_cpu_has_scale(const weir_node_t *node, uint32_t input);
int weir_cpu_has_scales_of_weights(const weir_node_t *node, uint32_t input, int64_t channels);

// Element `channel`, or the only one, of a scale.
float weir_cpu_scale(const weir_node_t *node, uint32_t input, uint64_t channel);
// A zero point of one element as the kernels want it: that of u8.
int32_t weir_cpu_zero(const weir_node_t *node, uint32_t input);

// The sums of whole panels of packed weights ([panel][chunk][16][32][4]), one for each output.
void weir_cpu_i8_sums(const unsigned char *packed, uint64_t panels, uint64_t chunks, int32_t *out);

// What turns sums into bytes, for `outputs` outputs rounded up to whole panels: zero points, the
// bias (an input, or 0) and scales of x, weights and y. `sums` as above.
typedef struct weir_cpu_requant_inputs {
    uint32_t x_scale, w_scale, y_scale, bias; // inputs; zero points follow the scales
} weir_cpu_requant_inputs_t;
void weir_cpu_requant_init(const weir_node_t *node, const weir_cpu_requant_inputs_t *inputs,
    uint64_t outputs, const int32_t *sums, int32_t *out_bias, float *out_scale);

// Writes 0 to what fills up the last block of `pixels` pixels.
void weir_cpu_bytes_clear(unsigned char *block, uint64_t pixels, uint64_t channels);

#endif
