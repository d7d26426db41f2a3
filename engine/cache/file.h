// engine/cache/file.h: opening and reading files that belong to somebody else.
//
// They may be anything and may change at any time: what is checked is checked on the descriptor.
#ifndef WEIR_CACHE_FILE_H
#define WEIR_CACHE_FILE_H

#include "engine/base/status.h"
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

static inline int64_t weir__timespec_ns(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000ll + time.tv_nsec;
}

// What makes a file the same file with the same content.
typedef struct weir__identity {
    uint64_t device, inode, bytes;
    int64_t modified_ns, changed_ns;
} weir__identity_t;

// The identity of an open regular file. Errors: INVALID_ARGUMENT (not a regular file), DATA_LOSS.
weir_status_t weir__file_identity(int file, weir__identity_t *out_identity);
bool weir__identity_equal(const weir__identity_t *a, const weir__identity_t *b);

// Waits, 20 ms at most, until a file changed just now would show the next change in its times:
// these have the grain of the kernel's clock tick.
weir_status_t weir__file_settle(int file, weir__identity_t *out_identity);

// Reads exactly these bytes. Errors: DATA_LOSS.
weir_status_t weir__file_read(int file, uint64_t offset, void *destination, uint64_t bytes);

// Opens a regular file below `folder`. No "..", no absolute path, no symbolic link on the way.
// walk: do not use openat2 (which is what happens by itself where the kernel has none).
// Errors: INVALID_ARGUMENT, NOT_FOUND.
weir_status_t weir__file_open_beneath(int folder, const char *path, bool walk, int *out_file);

#endif
