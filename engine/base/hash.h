// engine/base/hash.h: content hashing (XXH3, https://xxhash.com). Not cryptographic.
#ifndef WEIR_BASE_HASH_H
#define WEIR_BASE_HASH_H

#include <stdint.h>

typedef struct weir__hash {
    uint64_t low, high;
} weir__hash_t;

uint64_t weir__hash64(const void *data, uint64_t bytes, uint64_t seed);
weir__hash_t weir__hash128(const void *data, uint64_t bytes);
// Hash of a pair; for building keys from parts.
weir__hash_t weir__hash_join(weir__hash_t a, weir__hash_t b);
void weir__hash_hex(weir__hash_t hash, char out_text[33]);

#endif
