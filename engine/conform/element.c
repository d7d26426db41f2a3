// engine/conform/element.c: elements of every dtype as doubles.
//
// Integers beyond 2^53 lose bits here: comparing them is memcmp's business, not this file's.
#include "engine/conform/kit.h"

#include <math.h>
#include <string.h>

const char *weir__kit_dtype_name(weir_dtype_t dtype)
{
    static const char *const names[] = {"f32", "f64", "f16", "bf16", "i8", "i16", "i32", "i64",
        "u8", "u16", "u32", "u64", "bool", "string"};
    for (uint32_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (dtype == 1u << i)
            return names[i];
    return "-";
}

double weir__kit_epsilon(weir_dtype_t dtype)
{
    switch (dtype) {
    case WEIR_F64:
        return 0x1p-52;
    case WEIR_F16:
        return 0x1p-10;
    case WEIR_BF16:
        return 0x1p-7;
    default:
        return 0x1p-23;
    }
}

static double half_get(uint16_t bits)
{
    int exponent = (bits >> 10) & 31;
    double fraction = bits & 1023;
    double magnitude = exponent == 31  ? (fraction != 0 ? (double)NAN : (double)INFINITY)
                       : exponent == 0 ? ldexp(fraction, -24)
                                       : ldexp(fraction + 1024, exponent - 25);
    return bits & 0x8000 ? -magnitude : magnitude;
}

// To nearest, ties to even.
static uint16_t half_set(double value)
{
    uint16_t sign = signbit(value) ? 0x8000 : 0;
    double magnitude = fabs(value);
    if (isnan(value))
        return (uint16_t)(sign | 0x7e00);
    if (magnitude >= 65520)
        return (uint16_t)(sign | 0x7c00);
    if (magnitude < 0x1p-14)
        return (uint16_t)(sign | (uint16_t)nearbyint(ldexp(magnitude, 24)));
    int exponent;
    double steps = nearbyint(ldexp(frexp(magnitude, &exponent), 11)); // 1024 to 2048
    return (uint16_t)(sign | (uint16_t)((exponent + 13) * 1024 + (int)steps));
}

static uint16_t brain_set(double value)
{
    float single = (float)value;
    uint32_t bits;
    memcpy(&bits, &single, sizeof bits);
    if (isnan(value))
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

#define GET(type)                                                                                  \
    {                                                                                              \
        type v;                                                                                    \
        memcpy(&v, (const char *)data + i * sizeof v, sizeof v);                                   \
        return (double)v;                                                                          \
    }

double weir__kit_get(const void *data, weir_dtype_t dtype, uint64_t i)
{
    uint16_t bits;
    uint32_t wide;
    float single;
    switch (dtype) {
    case WEIR_F32:
        GET(float)
    case WEIR_F64:
        GET(double)
    case WEIR_F16:
        memcpy(&bits, (const char *)data + i * 2, 2);
        return half_get(bits);
    case WEIR_BF16:
        memcpy(&bits, (const char *)data + i * 2, 2);
        wide = (uint32_t)bits << 16;
        memcpy(&single, &wide, sizeof single);
        return (double)single;
    case WEIR_I8:
        GET(int8_t)
    case WEIR_I16:
        GET(int16_t)
    case WEIR_I32:
        GET(int32_t)
    case WEIR_I64:
        GET(int64_t)
    case WEIR_U16:
        GET(uint16_t)
    case WEIR_U32:
        GET(uint32_t)
    case WEIR_U64:
        GET(uint64_t)
    default:
        GET(uint8_t)
    }
}

#define SET(type)                                                                                  \
    {                                                                                              \
        type v = (type)value;                                                                      \
        memcpy((char *)data + i * sizeof v, &v, sizeof v);                                         \
        return;                                                                                    \
    }

void weir__kit_set(void *data, weir_dtype_t dtype, uint64_t i, double value)
{
    uint16_t bits;
    switch (dtype) {
    case WEIR_F32:
        SET(float)
    case WEIR_F64:
        SET(double)
    case WEIR_F16:
        bits = half_set(value);
        memcpy((char *)data + i * 2, &bits, 2);
        return;
    case WEIR_BF16:
        bits = brain_set(value);
        memcpy((char *)data + i * 2, &bits, 2);
        return;
    case WEIR_I8:
        SET(int8_t)
    case WEIR_I16:
        SET(int16_t)
    case WEIR_I32:
        SET(int32_t)
    case WEIR_I64:
        SET(int64_t)
    case WEIR_U16:
        SET(uint16_t)
    case WEIR_U32:
        SET(uint32_t)
    case WEIR_U64:
        SET(uint64_t)
    default:
        SET(uint8_t)
    }
}
