// Element types as the command sees them. It must not call the library, so that the tests need no
// engine.
#include "engine/cli/dtype.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

size_t weir__cli_dtype_bytes(weir_dtype_t dtype)
{
    const bool is_one = (dtype & (dtype - 1)) == 0; // a set of several has no size
    return is_one ? weir_dtype_bytes(dtype) : 0;
}

bool weir__cli_dtype_is_float(weir_dtype_t dtype)
{
    return dtype == WEIR_F32 || dtype == WEIR_F64 || dtype == WEIR_F16 || dtype == WEIR_BF16;
}

float weir__cli_f16_to_f32(uint16_t half)
{
    const uint32_t exponent = (half >> 10) & 31u;
    const uint32_t fraction = half & 1023u;
    float value;
    if (exponent == 31)
        value = fraction ? NAN : INFINITY;
    else if (exponent == 0)
        value = ldexpf((float)fraction, -24);
    else
        value = ldexpf((float)(fraction | 1024u), (int)exponent - 25);
    return half & 0x8000u ? -value : value;
}

uint16_t weir__cli_f32_to_f16(float value)
{
    const uint16_t sign = signbit(value) ? 0x8000u : 0;
    const float size = fabsf(value);
    if (isnan(value))
        return (uint16_t)(sign | 0x7e00u);
    if (size >= 65520.0f) // half way between the largest half and the next power
        return (uint16_t)(sign | 0x7c00u);
    if (size < 0x1p-14f) // a multiple of 2^-24; rounding up to 1024 of them is the first normal
        return (uint16_t)(sign | (uint32_t)lrintf(size * 0x1p24f));
    int exponent = 0;
    const float fraction = frexpf(size, &exponent); // size = fraction * 2^exponent, in [0.5, 1)
    const uint32_t digits = (uint32_t)lrintf(fraction * 2048.0f); // 1024 ... 2048
    return (uint16_t)(sign | (((uint32_t)(exponent + 13) << 10) + digits));
}

float weir__cli_bf16_to_f32(uint16_t half)
{
    const uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

uint16_t weir__cli_f32_to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    if (isnan(value))
        return (uint16_t)((bits >> 16) | 0x40u);
    return (uint16_t)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

bool weir__cli_dtype_size(
    weir_dtype_t dtype, uint32_t rank, const int64_t *dims, uint64_t *out_bytes)
{
    uint64_t bytes = weir__cli_dtype_bytes(dtype);
    bool is_empty = false;
    for (uint32_t i = 0; i < rank; i++) {
        if (dims[i] < 0)
            return false;
        is_empty = is_empty || dims[i] == 0;
    }
    for (uint32_t i = 0; i < rank && !is_empty; i++) {
        if (__builtin_mul_overflow(bytes, (uint64_t)dims[i], &bytes))
            return false;
    }
    if (bytes > (uint64_t)PTRDIFF_MAX)
        return false;
    *out_bytes = is_empty ? 0 : bytes;
    return true;
}

// The bytes of one element; memcpy because data from a file may lie anywhere.
#define WEIR__CLI_GET(type, name)                                                                  \
    type name;                                                                                     \
    memcpy(&name, (const char *)data + index * sizeof(name), sizeof(name))

static int64_t get_signed(weir_dtype_t dtype, const void *data, uint64_t index)
{
    switch (dtype) {
    case WEIR_I8: {
        WEIR__CLI_GET(int8_t, value);
        return value;
    }
    case WEIR_I16: {
        WEIR__CLI_GET(int16_t, value);
        return value;
    }
    case WEIR_I32: {
        WEIR__CLI_GET(int32_t, value);
        return value;
    }
    default: {
        WEIR__CLI_GET(int64_t, value);
        return value;
    }
    }
}

static uint64_t get_unsigned(weir_dtype_t dtype, const void *data, uint64_t index)
{
    switch (dtype) {
    case WEIR_BOOL:
    case WEIR_U8: {
        WEIR__CLI_GET(uint8_t, value);
        return value;
    }
    case WEIR_F16:
    case WEIR_BF16:
    case WEIR_U16: {
        WEIR__CLI_GET(uint16_t, value);
        return value;
    }
    case WEIR_U32: {
        WEIR__CLI_GET(uint32_t, value);
        return value;
    }
    default: {
        WEIR__CLI_GET(uint64_t, value);
        return value;
    }
    }
}

static bool is_signed(weir_dtype_t dtype)
{
    return dtype == WEIR_I8 || dtype == WEIR_I16 || dtype == WEIR_I32 || dtype == WEIR_I64;
}

double weir__cli_dtype_get(weir_dtype_t dtype, const void *data, uint64_t index)
{
    if (dtype == WEIR_F32) {
        WEIR__CLI_GET(float, value);
        return (double)value;
    }
    if (dtype == WEIR_F64) {
        WEIR__CLI_GET(double, value);
        return value;
    }
    if (dtype == WEIR_F16)
        return (double)weir__cli_f16_to_f32((uint16_t)get_unsigned(dtype, data, index));
    if (dtype == WEIR_BF16)
        return (double)weir__cli_bf16_to_f32((uint16_t)get_unsigned(dtype, data, index));
    if (is_signed(dtype))
        return (double)get_signed(dtype, data, index);
    return (double)get_unsigned(dtype, data, index);
}

const char *weir__cli_dtype_text(
    weir_dtype_t dtype, const void *data, uint64_t index, int digits, char *text, size_t text_bytes)
{
    if (weir__cli_dtype_is_float(dtype))
        (void)snprintf(text, text_bytes, "%.*g", digits, weir__cli_dtype_get(dtype, data, index));
    else if (is_signed(dtype))
        (void)snprintf(text, text_bytes, "%" PRId64, get_signed(dtype, data, index));
    else
        (void)snprintf(text, text_bytes, "%" PRIu64, get_unsigned(dtype, data, index));
    return text;
}
