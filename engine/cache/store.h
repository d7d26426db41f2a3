// engine/cache/store.h: the cache's own struct, for the files of engine/cache.
#ifndef WEIR_CACHE_STORE_H
#define WEIR_CACHE_STORE_H

#include "engine/cache/cache.h"
#include <limits.h>
#include <stdatomic.h>

struct weir__cache {
    weir__heap_t *heap;
    const weir__log_t *log;
    int folder; // -1: off
    uint64_t limit_bytes;
    uint64_t boot; // which start of the machine this is, hashed; 0: unknown
    atomic_uint_fast64_t temporary_count;
    atomic_bool has_grown, is_trimmed;
    char dir[PATH_MAX];
};

// Where a blob's bytes go while it is made: a file, by way of a buffer that stays in the
// second-level cache, or memory.
struct weir__sink {
    int file;        // -1: memory
    int error;       // of writing: what comes after it is dropped
    uint64_t offset; // in the file, of the buffer's first byte
    uint64_t left;   // bytes still to come
    char *buffer;    // NULL, for a file: what is put is in one piece
    uint64_t capacity, used;
    weir__hash_stream_t hash; // of a file's bytes
};

#define WEIR__SINK_BUFFER_BYTES (256u << 10)

// Writes what is still in the buffer. Returns an errno; EIO also when bytes are missing.
int weir__sink_flush(weir__sink_t *sink);
// All of these bytes at that place of a file. Returns an errno.
int weir__sink_write(int file, const void *data, uint64_t bytes, uint64_t offset);

// Says to other processes that this one uses the blob of that file name, until the cache is closed:
// they do not remove it. Called before the blob is looked for, so that nobody removes what was just
// found. Where the file system has no such locks they may, and the next start makes it again.
void weir__cache_hold(const weir__cache_t *cache, const char *name);

#define WEIR__CACHE_SUFFIX ".weir"
#define WEIR__CACHE_TEMPORARY ".weir-new-"

#endif
