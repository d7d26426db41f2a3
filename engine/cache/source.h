// engine/cache/source.h: what the files that make a weir__source_t share.
#ifndef WEIR_CACHE_SOURCE_H
#define WEIR_CACHE_SOURCE_H

#include "engine/cache/file.h"
#include "engine/cache/store.h"

// 1 and 2 were the same with what is known of the bytes before them.
enum { WEIR__CACHE_KEY_SOURCE = 3, WEIR__CACHE_KEY_CONSTANTS = 4 };

// A key of its own for each kind of blob.
weir__hash_t weir__cache_key(weir__hash_t what, uint64_t kind);

#endif
