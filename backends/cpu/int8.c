// See int8.h.
#include "backends/cpu/int8.h"

#include <string.h>

int weir_cpu_is_bytes_blocked(const weir_tensor_t *tensor)
{
    return weir_cpu_is_bytes(tensor) && tensor->rank == 4 &&
           tensor->format == WEIR_FORMAT_NCHW16C && tensor->dims[1] >= 1;
}

int weir_cpu_has_scale(const weir_node_t *node, uint32_t input)
{
    if (input + 1 >= node->input_count)
        return 0;
    const weir_tensor_t *scale = &node->inputs[input], *zero = &node->inputs[input + 1];
    return scale->dtype == WEIR_F32 && weir_cpu_is_bytes(zero) && weir_cpu_is_constant(scale) &&
           weir_cpu_is_constant(zero) && scale->element_count == 1 && zero->element_count == 1;
}

int weir_cpu_has_scales_of_weights(const weir_node_t *node, uint32_t input, int64_t channels)
{
    if (input + 1 >= node->input_count)
        return 0;
    const weir_tensor_t *scale = &node->inputs[input], *zero = &node->inputs[input + 1];
    if (scale->dtype != WEIR_F32 || zero->dtype != WEIR_I8 || !weir_cpu_is_constant(scale) ||
        !weir_cpu_is_constant(zero) ||
        (scale->element_count != 1 && (int64_t)scale->element_count != channels))
        return 0;
    for (uint64_t i = 0; i < zero->element_count; i++)
        if (((const signed char *)zero->data)[i])
            return 0;
    return 1;
}

float weir_cpu_scale(const weir_node_t *node, uint32_t input, uint64_t channel)
{
    const weir_tensor_t *scale = &node->inputs[input];
    return ((const float *)scale->data)[scale->element_count == 1 ? 0 : channel];
}

int32_t weir_cpu_zero(const weir_node_t *node, uint32_t input)
{
    const weir_tensor_t *zero = &node->inputs[input];
    return zero->dtype == WEIR_I8 ? *(const signed char *)zero->data + 128
                                  : *(const unsigned char *)zero->data;
}

void weir_cpu_i8_sums(const unsigned char *packed, uint64_t panels, uint64_t chunks, int32_t *out)
{
    for (uint64_t panel = 0; panel < panels; panel++, out += WEIR_K_PANEL) {
        memset(out, 0, WEIR_K_PANEL * sizeof(*out));
        for (uint64_t i = 0; i < chunks * WEIR_K_CHUNK_PANEL_BYTES; i++)
            out[i / 4 % WEIR_K_PANEL] += (signed char)*packed++;
    }
}

void weir_cpu_requant_init(const weir_node_t *node, const weir_cpu_requant_inputs_t *inputs,
    uint64_t outputs, const int32_t *sums, int32_t *out_bias, float *out_scale)
{
    const uint64_t padded = weir_cpu_round_up(outputs, WEIR_K_PANEL);
    const int32_t *bias =
        inputs->bias && weir_cpu_has(node, inputs->bias) ? node->inputs[inputs->bias].data : NULL;
    const uint64_t bias_step = bias && node->inputs[inputs->bias].element_count > 1 ? 1 : 0;
    const uint32_t x_zero = (uint32_t)weir_cpu_zero(node, inputs->x_scale + 1);
    const float x_scale = weir_cpu_scale(node, inputs->x_scale, 0);
    const float y_scale = weir_cpu_scale(node, inputs->y_scale, 0);
    for (uint64_t i = 0; i < padded; i++) {
        out_bias[i] = 0;
        out_scale[i] = 0;
        if (i >= outputs)
            continue;
        // Sums wrap, as the operators say.
        out_bias[i] =
            (int32_t)((bias ? (uint32_t)bias[i * bias_step] : 0u) - x_zero * (uint32_t)sums[i]);
        out_scale[i] = x_scale * weir_cpu_scale(node, inputs->w_scale, i) / y_scale;
    }
}

void weir_cpu_bytes_clear(unsigned char *block, uint64_t pixels, uint64_t channels)
{
    const uint64_t used = channels % WEIR_K_BLOCK;
    for (uint64_t p = 0; used && p < pixels; p++)
        memset(block + p * WEIR_K_BLOCK + used, 0, WEIR_K_BLOCK - used);
}
