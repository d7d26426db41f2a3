// engine/cache/file.c: see file.h.
#include "engine/cache/file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_NS 20000000ll // two ticks of the slowest kernel clock (100 Hz)
#define READ_BYTES_MAX (1ull << 30)
#define NAME_BYTES_MAX 255

// O_NONBLOCK: a pipe must not hold us; it means nothing to regular files.
#define OPEN_FLAGS (O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

weir_status_t weir__file_identity(int file, weir__identity_t *out_identity)
{
    struct stat stat;
    if (fstat(file, &stat) != 0)
        return WEIR_ERR(WEIR_DATA_LOSS, "the file cannot be examined: %s", strerror(errno));
    if (!S_ISREG(stat.st_mode))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it is not a regular file; give the path of one");
    *out_identity = (weir__identity_t){
        .device = (uint64_t)stat.st_dev,
        .inode = (uint64_t)stat.st_ino,
        .bytes = (uint64_t)stat.st_size,
        .modified_ns = weir__timespec_ns(stat.st_mtim),
        .changed_ns = weir__timespec_ns(stat.st_ctim),
    };
    return NULL;
}

bool weir__identity_equal(const weir__identity_t *a, const weir__identity_t *b)
{
    return a->device == b->device && a->inode == b->inode && a->bytes == b->bytes &&
           a->modified_ns == b->modified_ns && a->changed_ns == b->changed_ns;
}

weir_status_t weir__file_settle(int file, weir__identity_t *out_identity)
{
    struct timespec now;
    WEIR_TRY(weir__file_identity(file, out_identity));
    clock_gettime(CLOCK_REALTIME, &now);
    int64_t age_ns = weir__timespec_ns(now) - out_identity->changed_ns;
    if (age_ns < 0 || age_ns >= SETTLE_NS)
        return NULL;
    struct timespec pause = {.tv_nsec = (long)(SETTLE_NS - age_ns)};
    nanosleep(&pause, NULL);
    return weir__file_identity(file, out_identity);
}

weir_status_t weir__file_read(int file, uint64_t offset, void *destination, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes;) {
        uint64_t rest = bytes - done;
        size_t piece = (size_t)(rest < READ_BYTES_MAX ? rest : READ_BYTES_MAX);
        ssize_t got = pread(file, (char *)destination + done, piece, (off_t)(offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return WEIR_ERR(WEIR_DATA_LOSS, "reading failed at byte %" PRIu64 ": %s", offset + done,
                strerror(errno));
        if (got == 0)
            return WEIR_ERR(WEIR_DATA_LOSS,
                "the file became shorter while it was read (it ends at byte %" PRIu64
                "): try again when nobody writes it",
                offset + done);
        done += (uint64_t)got;
    }
    return NULL;
}

// ---- Below a folder --------------------------------------------------------------------------

static weir_status_t check_path(const char *path)
{
    if (path[0] == '/')
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "an absolute path is not allowed");
    for (const char *part = path;;) {
        size_t length = strcspn(part, "/");
        if (length == 0 || length > NAME_BYTES_MAX)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it is not a path of a file");
        if (length == 2 && part[0] == '.' && part[1] == '.')
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "\"..\" is not allowed: data must lie in the model's folder");
        if (!part[length])
            return NULL;
        part += length + 1;
    }
}

// One component at a time, never through a link. Returns -errno.
static int walk_to(int folder, const char *path)
{
    int at = folder;
    for (;;) {
        char name[NAME_BYTES_MAX + 1];
        size_t length = strcspn(path, "/");
        bool last = !path[length];
        memcpy(name, path, length);
        name[length] = 0;
        int flags = last ? OPEN_FLAGS | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        int next = openat(at, name, flags);
        int error = errno;
        if (at != folder)
            close(at);
        if (next < 0)
            return -error;
        if (last)
            return next;
        at = next;
        path += length + 1;
    }
}

static int open_below(int folder, const char *path, bool walk)
{
    if (!walk) {
        struct open_how how = {.flags = OPEN_FLAGS,
            .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS};
        long file = syscall(SYS_openat2, folder, path, &how, sizeof how);
        if (file >= 0)
            return (int)file;
        // ENOSYS: an old kernel. EPERM: a sandbox that does not know the call.
        if (errno != ENOSYS && errno != EPERM && errno != EAGAIN)
            return -errno;
    }
    return walk_to(folder, path);
}

weir_status_t weir__file_open_beneath(int folder, const char *path, bool walk, int *out_file)
{
    weir__identity_t identity;
    WEIR_TRY(check_path(path));
    int file = open_below(folder, path, walk);
    if (file == -ELOOP || file == -EXDEV || file == -ENOTDIR)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "it leads through a symbolic link or out of the "
                                               "model's folder; put the file itself there");
    if (file == -ENOENT)
        return WEIR_ERR(
            WEIR_NOT_FOUND, "there is no such file in the model's folder; put it there");
    if (file < 0)
        return WEIR_ERR(WEIR_NOT_FOUND, "it cannot be opened: %s", strerror(-file));
    weir_status_t status = weir__file_identity(file, &identity);
    if (status)
        close(file);
    else
        *out_file = file;
    return status;
}
