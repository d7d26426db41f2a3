// engine/conform/format.c: between row-major and WEIR_FORMAT_NCHW16C, by the header's formula.
#include "engine/conform/kit.h"

#include <string.h>

static uint64_t channel_blocks(const weir_tensor_t *tensor)
{
    return (uint64_t)WEIR_DIV_UP(tensor->dims[1], 16);
}

uint64_t weir__kit_blocked_bytes(const weir_tensor_t *tensor)
{
    return (uint64_t)tensor->dims[0] * channel_blocks(tensor) * 16 * (uint64_t)tensor->dims[2] *
           (uint64_t)tensor->dims[3] * weir_dtype_bytes(tensor->dtype);
}

// Of element `plane` of channel c of image n.
static uint64_t blocked_at(const weir_tensor_t *tensor, uint64_t n, uint64_t c, uint64_t plane)
{
    uint64_t planes = (uint64_t)tensor->dims[2] * (uint64_t)tensor->dims[3];
    return ((n * channel_blocks(tensor) + c / 16) * planes + plane) * 16 + c % 16;
}

void weir__kit_to_blocked(const weir_tensor_t *from, void *to)
{
    uint64_t planes = (uint64_t)from->dims[2] * (uint64_t)from->dims[3];
    uint64_t channels = (uint64_t)from->dims[1], width = weir_dtype_bytes(from->dtype);
    memset(to, 0, weir__kit_blocked_bytes(from));
    for (uint64_t i = 0; i < from->element_count; i++)
        memcpy(
            (char *)to +
                blocked_at(from, i / planes / channels, i / planes % channels, i % planes) * width,
            (const char *)from->data + i * width, width);
}

bool weir__kit_from_blocked(const weir_tensor_t *from, void *to)
{
    static const uint8_t zero[8];
    uint64_t planes = (uint64_t)from->dims[2] * (uint64_t)from->dims[3];
    uint64_t channels = (uint64_t)from->dims[1], width = weir_dtype_bytes(from->dtype);
    bool is_filled = true;
    for (uint64_t n = 0; n < (uint64_t)from->dims[0]; n++)
        for (uint64_t c = 0; c < channel_blocks(from) * 16; c++)
            for (uint64_t p = 0; p < planes; p++) {
                const char *element = (const char *)from->data + blocked_at(from, n, c, p) * width;
                if (c < channels)
                    memcpy((char *)to + ((n * channels + c) * planes + p) * width, element, width);
                else
                    is_filled &= memcmp(element, zero, width) == 0;
            }
    return is_filled;
}
