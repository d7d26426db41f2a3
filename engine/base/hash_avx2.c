// engine/base/hash_avx2.c: see hash_avx2.h. Compiled for AVX2, so nothing else may lie here.
#include "engine/base/hash_avx2.h"

#if defined(WEIR__HASH_AVX2)

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t weir__hash64_avx2(const void *data, uint64_t bytes, uint64_t seed)
{
    return XXH3_64bits_withSeed(data, (size_t)bytes, seed);
}

weir__hash_t weir__hash128_avx2(const void *data, uint64_t bytes)
{
    XXH128_hash_t hash = XXH3_128bits(data, (size_t)bytes);
    return (weir__hash_t){.low = hash.low64, .high = hash.high64};
}

void weir__hash_stream_add_avx2(weir__hash_stream_t *stream, const void *data, uint64_t bytes)
{
    XXH3_128bits_update((XXH3_state_t *)(void *)stream->state, data, (size_t)bytes);
}

#endif
