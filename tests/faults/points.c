// tests/faults/points.c: see points.h.
//
// Under a sanitizer malloc belongs to it, so there memory fails through the engine's own allocator
// (points_alloc) and only system calls are interposed.
#include "tests/faults/points.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define INTERPOSED __attribute__((visibility("default")))

static atomic_int armed_kind = -1;
static atomic_bool armed_onwards;
static _Atomic uint64_t armed_nth, seen;
static atomic_llong live;
static const char *_Atomic failed_name = "";

void points_begin(point_kind_t kind, uint64_t nth, bool onwards)
{
    atomic_store(&seen, 0);
    atomic_store(&armed_nth, nth);
    atomic_store(&armed_onwards, onwards);
    atomic_store(&failed_name, "");
    atomic_store(&armed_kind, (int)kind);
}

uint64_t points_end(void)
{
    atomic_store(&armed_kind, -1);
    return atomic_load(&seen);
}

const char *points_failed(void)
{
    return atomic_load(&failed_name);
}

int64_t points_live_blocks(void)
{
    return atomic_load(&live);
}

static bool fails(point_kind_t kind, const char *name)
{
    if (atomic_load(&armed_kind) != (int)kind)
        return false;
    uint64_t number = atomic_fetch_add(&seen, 1) + 1, nth = atomic_load(&armed_nth);
    if (!nth || number < nth || (number > nth && !atomic_load(&armed_onwards)))
        return false;
    if (number == nth)
        atomic_store(&failed_name, name);
    errno = kind == POINT_MEMORY ? ENOMEM : EIO;
    return true;
}

// ---- Memory -----------------------------------------------------------------------------------

#ifndef WEIR_FAULTS_SANITIZED
static void *counted(void *memory)
{
    if (memory)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return memory;
}

INTERPOSED void *malloc(size_t bytes)
{
    return fails(POINT_MEMORY, "malloc") ? NULL : counted(__libc_malloc(bytes));
}
INTERPOSED void *calloc(size_t count, size_t bytes)
{
    return fails(POINT_MEMORY, "calloc") ? NULL : counted(__libc_calloc(count, bytes));
}
INTERPOSED void *realloc(void *memory, size_t bytes)
{
    if (fails(POINT_MEMORY, "realloc"))
        return NULL;
    void *moved = __libc_realloc(memory, bytes);
    return memory ? moved : counted(moved);
}
INTERPOSED void *aligned_alloc(size_t alignment, size_t bytes)
{
    return fails(POINT_MEMORY, "aligned_alloc") ? NULL : counted(__libc_memalign(alignment, bytes));
}
INTERPOSED void *memalign(size_t alignment, size_t bytes)
{
    return fails(POINT_MEMORY, "memalign") ? NULL : counted(__libc_memalign(alignment, bytes));
}
INTERPOSED int posix_memalign(void **out_memory, size_t alignment, size_t bytes)
{
    if (fails(POINT_MEMORY, "posix_memalign"))
        return ENOMEM;
    *out_memory = counted(__libc_memalign(alignment, bytes));
    return *out_memory ? 0 : ENOMEM;
}
INTERPOSED void free(void *memory)
{
    if (memory)
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    __libc_free(memory);
}
#endif

void *points_alloc(size_t bytes, size_t alignment)
{
#ifdef WEIR_FAULTS_SANITIZED
    if (fails(POINT_MEMORY, "alloc"))
        return NULL;
#endif
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

// ---- System calls -----------------------------------------------------------------------------

// What is interposed below, as the C library (or a sanitizer) has it.
#define REAL(type, name) ((type)dlsym(RTLD_NEXT, name))

typedef long syscall_fn(long number, ...);
typedef int open_fn(const char *path, int flags, ...);
typedef int openat_fn(int folder, const char *path, int flags, ...);
typedef ssize_t read_fn(int file, void *data, size_t bytes);
typedef ssize_t pread_fn(int file, void *data, size_t bytes, off_t offset);
typedef ssize_t pwrite_fn(int file, const void *data, size_t bytes, off_t offset);
typedef void *mmap_fn(void *at, size_t bytes, int protection, int flags, int file, off_t offset);
typedef int fallocate_fn(int file, off_t offset, off_t bytes);
typedef int renameat_fn(int from_folder, const char *from, int to_folder, const char *to);
typedef int renameat2_fn(
    int from_folder, const char *from, int to_folder, const char *to, unsigned flags);
typedef int fstat_fn(int file, struct stat *out_stat);
typedef int mkdir_fn(const char *path, mode_t mode);
typedef int create_fn(
    pthread_t *out_thread, const pthread_attr_t *options, void *(*run)(void *), void *user);
typedef void *dlopen_fn(const char *path, int flags);

static mode_t mode_of(int flags, va_list arguments)
{
    return flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
}

INTERPOSED long syscall(long number, ...)
{
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_openat2 && fails(POINT_SYSTEM, "openat2"))
        return -1;
    return REAL(syscall_fn *, "syscall")(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
INTERPOSED int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return fails(POINT_SYSTEM, "open") ? -1 : REAL(open_fn *, "open")(path, flags, mode);
}
INTERPOSED int openat(int folder, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    return fails(POINT_SYSTEM, "openat") ? -1
                                         : REAL(openat_fn *, "openat")(folder, path, flags, mode);
}
INTERPOSED ssize_t read(int file, void *data, size_t bytes)
{
    return fails(POINT_SYSTEM, "read") ? -1 : REAL(read_fn *, "read")(file, data, bytes);
}
INTERPOSED ssize_t pread(int file, void *data, size_t bytes, off_t offset)
{
    return fails(POINT_SYSTEM, "pread") ? -1 : REAL(pread_fn *, "pread")(file, data, bytes, offset);
}
INTERPOSED ssize_t pwrite(int file, const void *data, size_t bytes, off_t offset)
{
    if (fails(POINT_SYSTEM, "pwrite"))
        return -1;
    return REAL(pwrite_fn *, "pwrite")(file, data, bytes, offset);
}
INTERPOSED void *mmap(void *at, size_t bytes, int protection, int flags, int file, off_t offset)
{
    if (fails(POINT_SYSTEM, "mmap"))
        return MAP_FAILED;
    return REAL(mmap_fn *, "mmap")(at, bytes, protection, flags, file, offset);
}
INTERPOSED int posix_fallocate(int file, off_t offset, off_t bytes)
{
    if (fails(POINT_SYSTEM, "posix_fallocate"))
        return ENOSPC;
    return REAL(fallocate_fn *, "posix_fallocate")(file, offset, bytes);
}
INTERPOSED int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    if (fails(POINT_SYSTEM, "renameat"))
        return -1;
    return REAL(renameat_fn *, "renameat")(from_folder, from, to_folder, to);
}
INTERPOSED int renameat2(
    int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    if (fails(POINT_SYSTEM, "renameat2"))
        return -1;
    return REAL(renameat2_fn *, "renameat2")(from_folder, from, to_folder, to, flags);
}
INTERPOSED int fstat(int file, struct stat *out_stat)
{
    return fails(POINT_SYSTEM, "fstat") ? -1 : REAL(fstat_fn *, "fstat")(file, out_stat);
}
INTERPOSED int mkdir(const char *path, mode_t mode)
{
    return fails(POINT_SYSTEM, "mkdir") ? -1 : REAL(mkdir_fn *, "mkdir")(path, mode);
}
INTERPOSED int pthread_create(
    pthread_t *out_thread, const pthread_attr_t *options, void *(*run)(void *), void *user)
{
    if (fails(POINT_SYSTEM, "pthread_create"))
        return EAGAIN;
    return REAL(create_fn *, "pthread_create")(out_thread, options, run, user);
}
INTERPOSED void *dlopen(const char *path, int flags)
{
    // A path that is not there: dlerror() then has something to say, as after a true failure.
    if (fails(POINT_SYSTEM, "dlopen"))
        path = "/nonexistent/plugin.so";
    return REAL(dlopen_fn *, "dlopen")(path, flags);
}
