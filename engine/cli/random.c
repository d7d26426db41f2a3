// Seeded inputs; random.h describes the generator. It must stay as described: recorded results
// depend on it.
#include "engine/cli/random.h"

#include <string.h>

#include "engine/cli/dtype.h"

static uint64_t start_of(uint64_t seed, const char *name)
{
    uint64_t hash = 0xcbf29ce484222325u;
    for (; *name; name++)
        hash = (hash ^ (unsigned char)*name) * 0x100000001b3u;
    return seed ^ hash;
}

static uint64_t word_at(uint64_t state, uint64_t index)
{
    uint64_t z = state + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

uint64_t weir__cli_random_word(uint64_t seed, const char *name, uint64_t index)
{
    return word_at(start_of(seed, name), index);
}

static float bell(uint64_t word)
{
    const uint64_t sum =
        (word & 0xffff) + (word >> 16 & 0xffff) + (word >> 32 & 0xffff) + (word >> 48);
    return ((float)sum - 131070.0f) / 131072.0f;
}

void weir__cli_random_fill(
    uint64_t seed, const char *name, weir_dtype_t dtype, uint64_t count, void *data)
{
    const uint64_t state = start_of(seed, name);
    const size_t bytes = weir__cli_dtype_bytes(dtype);
    char *at = data;
    for (uint64_t i = 0; i < count; i++, at += bytes) {
        const uint64_t word = word_at(state, i);
        const float real = bell(word);
        const double wide = (double)real;
        const uint16_t half =
            dtype == WEIR_F16 ? weir__cli_f32_to_f16(real) : weir__cli_f32_to_bf16(real);
        const uint64_t bit =
            word >> 63; // little-endian: its first bytes are the number in any width
        const void *from = dtype == WEIR_F32                         ? (const void *)&real
                           : dtype == WEIR_F64                       ? (const void *)&wide
                           : dtype == WEIR_F16 || dtype == WEIR_BF16 ? (const void *)&half
                                                                     : (const void *)&bit;
        memcpy(at, from, bytes);
    }
}
