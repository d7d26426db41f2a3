// tests/support/count_malloc.h: how often this program asks the C library for memory.
//
// Replaces malloc and its kin of the program that includes it (in one file only); under a
// sanitizer, which has replaced them already, COUNTS_MALLOC is 0 and nothing is counted.
#ifndef WEIR_TESTS_SUPPORT_COUNT_MALLOC_H
#define WEIR_TESTS_SUPPORT_COUNT_MALLOC_H

#include <stdatomic.h>
#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS_MALLOC 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define COUNTS_MALLOC 0
#endif
#endif
#if !defined(COUNTS_MALLOC)
#define COUNTS_MALLOC 1
#endif

static atomic_long mallocs;

#if COUNTS_MALLOC
// glibc's own, under the names that it keeps for this.
void *__libc_malloc(size_t bytes);
void *__libc_calloc(size_t count, size_t bytes);
void *__libc_realloc(void *memory, size_t bytes);
void *__libc_memalign(size_t alignment, size_t bytes);

void *malloc(size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_malloc(bytes);
}

void *calloc(size_t count, size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_calloc(count, bytes);
}

void *realloc(void *memory, size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_realloc(memory, bytes);
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    atomic_fetch_add(&mallocs, 1);
    return __libc_memalign(alignment, bytes);
}
#endif

#endif
