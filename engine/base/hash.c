// engine/base/hash.c: XXH3 by xxhash (header only, nothing is linked), here and in hash_avx2.c.
#include "engine/base/hash.h"
#include "engine/base/hash_avx2.h"

#define XXH_INLINE_ALL
#include <stdbool.h>
#include <stdio.h>
#include <xxhash.h>

#if defined(WEIR__HASH_AVX2)
#define LONG_BYTES 1024 // from here on vectors matter

static bool is_wide(uint64_t bytes)
{
    return bytes >= LONG_BYTES && __builtin_cpu_supports("avx2");
}
#endif

uint64_t weir__hash64(const void *data, uint64_t bytes, uint64_t seed)
{
#if defined(WEIR__HASH_AVX2)
    if (is_wide(bytes))
        return weir__hash64_avx2(data, bytes, seed);
#endif
    return XXH3_64bits_withSeed(data, (size_t)bytes, seed);
}

weir__hash_t weir__hash128(const void *data, uint64_t bytes)
{
#if defined(WEIR__HASH_AVX2)
    if (is_wide(bytes))
        return weir__hash128_avx2(data, bytes);
#endif
    XXH128_hash_t hash = XXH3_128bits(data, (size_t)bytes);
    return (weir__hash_t){.low = hash.low64, .high = hash.high64};
}

weir__hash_t weir__hash_join(weir__hash_t a, weir__hash_t b)
{
    uint64_t parts[4] = {a.low, a.high, b.low, b.high};
    return weir__hash128(parts, sizeof parts);
}

// One state gives both hashes: they differ in what is made of the accumulators in the end.
_Static_assert(sizeof(XXH3_state_t) <= sizeof(weir__hash_stream_t), "the state has outgrown it");

static XXH3_state_t *state_of(weir__hash_stream_t *stream)
{
    return (XXH3_state_t *)(void *)stream->state;
}

void weir__hash_stream_begin(weir__hash_stream_t *stream)
{
    XXH3_128bits_reset(state_of(stream));
}

void weir__hash_stream_add(weir__hash_stream_t *stream, const void *data, uint64_t bytes)
{
#if defined(WEIR__HASH_AVX2)
    if (is_wide(bytes)) {
        weir__hash_stream_add_avx2(stream, data, bytes);
        return;
    }
#endif
    if (bytes)
        XXH3_128bits_update(state_of(stream), data, (size_t)bytes);
}

uint64_t weir__hash_stream_64(const weir__hash_stream_t *stream)
{
    return XXH3_64bits_digest((const XXH3_state_t *)(const void *)stream->state);
}

weir__hash_t weir__hash_stream_128(const weir__hash_stream_t *stream)
{
    XXH128_hash_t hash = XXH3_128bits_digest((const XXH3_state_t *)(const void *)stream->state);
    return (weir__hash_t){.low = hash.low64, .high = hash.high64};
}

void weir__hash_hex(weir__hash_t hash, char out_text[33])
{
    snprintf(out_text, 33, "%016llx%016llx", (unsigned long long)hash.high,
        (unsigned long long)hash.low);
}
