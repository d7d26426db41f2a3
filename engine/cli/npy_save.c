// Writer of .npy files. It must not leave a half-written file behind, whatever ends the process:
// the data goes to a file without a name, which gets one when it is whole. Where the file system
// has no such files, it goes to a hidden name that is removed on failure.
#define _GNU_SOURCE // O_TMPFILE
#include "engine/cli/npy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/cli/dtype.h"

enum { HEADER_BYTES = 512 }; // rank 16 of 19 digits each, and the words around them

typedef struct saving {
    int folder_fd;
    int fd;
    bool is_named; // `temporary` exists
    char temporary[32];
} saving_t;

static const char *descr_of(weir_dtype_t dtype)
{
    switch (dtype) {
    case WEIR_F32:
    case WEIR_BF16:
        return "<f4";
    case WEIR_F64:
        return "<f8";
    case WEIR_F16:
        return "<f2";
    case WEIR_I8:
        return "|i1";
    case WEIR_I16:
        return "<i2";
    case WEIR_I32:
        return "<i4";
    case WEIR_I64:
        return "<i8";
    case WEIR_U8:
        return "|u1";
    case WEIR_U16:
        return "<u2";
    case WEIR_U32:
        return "<u4";
    case WEIR_U64:
        return "<u8";
    case WEIR_BOOL:
        return "|b1";
    default:
        return NULL;
    }
}

// Version 1.0, padded with blanks to a multiple of 64 bytes as numpy does. Returns its size.
static size_t make_header(const weir_value_t *value, char header[HEADER_BYTES])
{
    char dict[HEADER_BYTES - 16];
    size_t used = (size_t)snprintf(dict, sizeof(dict),
        "{'descr': '%s', 'fortran_order': False, 'shape': (", descr_of(value->dtype));
    for (uint32_t i = 0; i < value->rank; i++)
        used += (size_t)snprintf(dict + used, sizeof(dict) - used, "%" PRId64 "%s", value->dims[i],
            i + 1 < value->rank ? ", "
            : value->rank == 1  ? ","
                                : "");
    used += (size_t)snprintf(dict + used, sizeof(dict) - used, "), }");
    const size_t total = (10 + used + 1 + 63) / 64 * 64;
    memset(header, ' ', HEADER_BYTES);
    memcpy(header, "\x93NUMPY\x01", 8); // the terminating zero is the minor version
    header[8] = (char)((total - 10) & 255);
    header[9] = (char)((total - 10) >> 8);
    memcpy(header + 10, dict, used);
    header[total - 1] = '\n';
    return total;
}

// Returns false with errno set.
static bool write_all(int fd, const void *memory, uint64_t bytes)
{
    const char *at = memory;
    while (bytes > 0) {
        const ssize_t put = write(fd, at, (size_t)WEIR_MIN(bytes, (uint64_t)1 << 30));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        at += put;
        bytes -= (uint64_t)put;
    }
    return true;
}

static bool write_value(int fd, const weir_value_t *value, uint64_t bytes)
{
    char header[HEADER_BYTES];
    if (!write_all(fd, header, make_header(value, header)))
        return false;
    if (value->dtype != WEIR_BF16)
        return write_all(fd, value->data, bytes);
    float wide[1024];
    const uint64_t count = bytes / 2;
    for (uint64_t i = 0; i < count;) {
        const uint64_t part = WEIR_MIN(count - i, (uint64_t)1024);
        for (uint64_t j = 0; j < part; j++)
            wide[j] = (float)weir__cli_dtype_get(WEIR_BF16, value->data, i + j);
        if (!write_all(fd, wide, part * sizeof(float)))
            return false;
        i += part;
    }
    return true;
}

static bool open_temporary(saving_t *saving)
{
    // A name is given to a nameless file by way of /proc.
    if (access("/proc/self/fd", X_OK) == 0) {
        saving->fd = openat(saving->folder_fd, ".", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);
        if (saving->fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
            return saving->fd >= 0;
    }
    saving->fd =
        openat(saving->folder_fd, saving->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
    saving->is_named = saving->fd >= 0;
    return saving->is_named;
}

// Makes the temporary file appear as `name`, in place of what had that name.
static bool publish(saving_t *saving, const char *name)
{
    if (!saving->is_named) {
        char link[40];
        (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", saving->fd);
        if (linkat(AT_FDCWD, link, saving->folder_fd, saving->temporary, AT_SYMLINK_FOLLOW) != 0)
            return false;
        saving->is_named = true;
    }
    // Some file systems report only now that there was no space.
    const int fd = saving->fd;
    saving->fd = -1;
    if (close(fd) != 0)
        return false;
    if (renameat(saving->folder_fd, saving->temporary, saving->folder_fd, name) != 0)
        return false;
    saving->is_named = false;
    return true;
}

weir_code_t weir__cli_npy_save(
    const char *folder, const char *name, const weir_value_t *value, weir__cli_fault_t *fault)
{
    uint64_t bytes = 0;
    if (!descr_of(value->dtype) || value->rank > WEIR_RANK_MAX ||
        !weir__cli_dtype_size(value->dtype, value->rank, value->dims, &bytes))
        return weir__cli_fault_set(fault, WEIR_UNSUPPORTED,
            "%s/%s: a value of this type cannot be kept in an .npy file; leave out --output",
            folder, name);
    saving_t saving = {.folder_fd = -1, .fd = -1};
    (void)snprintf(saving.temporary, sizeof(saving.temporary), ".weir-%ld.tmp", (long)getpid());
    saving.folder_fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const bool is_done = saving.folder_fd >= 0 && open_temporary(&saving) &&
                         write_value(saving.fd, value, bytes) && publish(&saving, name);
    const int error = errno;
    if (saving.fd >= 0)
        (void)close(saving.fd);
    if (saving.is_named)
        (void)unlinkat(saving.folder_fd, saving.temporary, 0);
    if (saving.folder_fd >= 0)
        (void)close(saving.folder_fd);
    if (is_done)
        return WEIR_OK;
    const weir_code_t code = weir__cli_fault_errno_code(error);
    return weir__cli_fault_set(fault, code,
        "%s/%s cannot be written: %s; %schoose another folder with --output", folder, name,
        strerror(error), code == WEIR_RESOURCE_EXHAUSTED ? "free some space or " : "");
}
