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

// Either hash of bytes that come piece by piece; however they are cut, it is that of all of them in
// one piece.
typedef struct weir__hash_stream {
    _Alignas(64) unsigned char state[640];
} weir__hash_stream_t;

void weir__hash_stream_begin(weir__hash_stream_t *stream);
void weir__hash_stream_add(weir__hash_stream_t *stream, const void *data, uint64_t bytes);
// Of what came so far; more may come.
uint64_t weir__hash_stream_64(const weir__hash_stream_t *stream); // as with seed 0
weir__hash_t weir__hash_stream_128(const weir__hash_stream_t *stream);

void weir__hash_hex(weir__hash_t hash, char out_text[33]);

#endif
