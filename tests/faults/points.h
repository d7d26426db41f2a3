// tests/faults/points.h: places where memory or a system call can fail, counted and made to fail.
//
// The C library's functions are interposed: this program's symbols come before libc's for libweir
// and its plugins, too. A point is one call of one of them between points_begin() and points_end().
#ifndef WEIR_FAULTS_POINTS_H
#define WEIR_FAULTS_POINTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum point_kind {
    POINT_MEMORY, // malloc, calloc, realloc, aligned_alloc
    POINT_SYSTEM, // open, openat, openat2, read, pread, mmap, posix_fallocate, renameat, renameat2,
                  // fstat, mkdir, pthread_create, dlopen
} point_kind_t;

// From now on calls of that kind are counted. The `nth` (from 1) fails, and all after it when
// `onwards`; 0: none fails.
void points_begin(point_kind_t kind, uint64_t nth, bool onwards);

// Counts no more. Returns how many points there were.
uint64_t points_end(void);

// What the point that failed first was: "malloc", "openat" ...; "" when none did.
const char *points_failed(void);

// Blocks of memory that were taken and not given back, since the program began. Always 0 where a
// sanitizer owns the allocator: it looks for leaks itself.
int64_t points_live_blocks(void);

// Memory as an engine's allocator gives it. A point of its own where a sanitizer owns malloc.
void *points_alloc(size_t bytes, size_t alignment);

// The C library's own, under malloc and the like.
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);
void __libc_free(void *memory);

#endif
