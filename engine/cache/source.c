// engine/cache/source.c: a model file, read once.
//
// Its content is a blob under the identity of the user's file (device, inode, size, times), so a
// second load opens the user's file only to learn its identity. The digest, which costs a pass over
// the bytes, lies before them in the blob.
#include "engine/cache/source.h"

#include "engine/base/size.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

typedef struct prefix {
    weir__identity_t identity;
    weir__hash_t digest;
} prefix_t;

#define PREFIX_BYTES 64u // keeps the file's first byte 64-byte aligned
_Static_assert(sizeof(prefix_t) <= PREFIX_BYTES, "");

weir__hash_t weir__cache_key(weir__hash_t what, uint64_t kind)
{
    return weir__hash_join(what, (weir__hash_t){kind, ~kind});
}

static void set_bytes(weir__source_t *source, const prefix_t *prefix)
{
    source->bytes = (const char *)source->file.data + PREFIX_BYTES;
    source->byte_count = source->file.bytes - PREFIX_BYTES;
    source->content = source->digest = prefix->digest;
}

static bool find(weir__source_t *source, const weir__identity_t *identity, weir__hash_t key)
{
    prefix_t prefix;
    if (!weir__cache_get(source->cache, key, &source->file))
        return false;
    bool same = source->file.bytes == identity->bytes + PREFIX_BYTES;
    if (same) {
        memcpy(&prefix, source->file.data, sizeof prefix);
        same = weir__identity_equal(&prefix.identity, identity);
    }
    if (same) {
        set_bytes(source, &prefix);
        source->from_cache = true;
    } else {
        weir__cache_view_release(&source->file);
    }
    return same;
}

typedef struct reading {
    int file;
    prefix_t prefix;
} reading_t;

static weir_status_t fill_from_file(void *user, void *destination, uint64_t bytes)
{
    reading_t *reading = user;
    weir__identity_t after;
    char *content = (char *)destination + PREFIX_BYTES;
    WEIR_TRY(weir__file_read(reading->file, 0, content, bytes - PREFIX_BYTES));
    WEIR_TRY(weir__file_identity(reading->file, &after));
    if (!weir__identity_equal(&after, &reading->prefix.identity))
        return WEIR_ERR(WEIR_DATA_LOSS,
            "the file was changed while it was read: try again when nobody writes it");
    reading->prefix.digest = weir__hash128(content, bytes - PREFIX_BYTES);
    memset(destination, 0, PREFIX_BYTES);
    memcpy(destination, &reading->prefix, sizeof reading->prefix);
    return NULL;
}

static weir_status_t take_content(weir__source_t *source, int file)
{
    reading_t reading = {.file = file};
    weir__identity_t *identity = &reading.prefix.identity;
    uint64_t bytes;
    WEIR_TRY(weir__file_settle(file, identity));
    if (identity->bytes > source->limits.file_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "the file has %" PRIu64 " bytes, over the limit file_bytes (%" PRIu64 ")",
            identity->bytes, source->limits.file_bytes);
    weir__hash_t key =
        weir__cache_key(weir__hash128(identity, sizeof *identity), WEIR__CACHE_KEY_SOURCE);
    if (find(source, identity, key))
        return NULL;
    if (!weir__add_u64(identity->bytes, PREFIX_BYTES, &bytes))
        return weir__status_no_memory();
    WEIR_TRY(weir__cache_put(
        source->cache, source->heap, key, bytes, fill_from_file, &reading, &source->file));
    set_bytes(source, &reading.prefix);
    return NULL;
}

// A descriptor of the folder that a path lies in. -1: external data will not be found, and says so.
static int open_folder_of(const char *path)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (!slash)
        return open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    size_t length = slash == path ? 1 : (size_t)(slash - path);
    if (length >= sizeof folder) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(folder, path, length);
    folder[length] = 0;
    return open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
}

static weir_status_t make_source(weir__cache_t *cache, weir__heap_t *heap,
    const weir_limits_t *limits, weir__source_t **out_source)
{
    weir__source_t *source = weir__heap_calloc(heap, 1, sizeof *source);
    if (!source)
        return weir__status_no_memory();
    source->cache = cache;
    source->heap = heap;
    source->limits = *limits;
    source->folder = -1;
    *out_source = source;
    return NULL;
}

weir_status_t weir__cache_load_source(weir__cache_t *cache, weir__heap_t *heap,
    const weir_limits_t *limits, const char *path, weir__source_t **out_source)
{
    weir__source_t *source;
    // O_NONBLOCK: a pipe of that name must not hold us.
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (file < 0)
        return WEIR_ERR(
            WEIR_NOT_FOUND, "%s cannot be opened: %s; check the path", path, strerror(errno));
    weir_status_t status = make_source(cache, heap, limits, &source);
    if (!status) {
        status = take_content(source, file);
        source->folder = open_folder_of(path);
        source->folder_error = source->folder < 0 ? errno : 0;
        if (status)
            weir__source_free(source);
        else
            *out_source = source;
    }
    close(file);
    return weir__status_prefix(status, "%s", path);
}

typedef struct copying {
    const void *bytes;
    prefix_t prefix;
} copying_t;

static weir_status_t fill_from_memory(void *user, void *destination, uint64_t bytes)
{
    copying_t *copying = user;
    char *content = (char *)destination + PREFIX_BYTES;
    if (bytes > PREFIX_BYTES)
        memcpy(content, copying->bytes, (size_t)(bytes - PREFIX_BYTES));
    copying->prefix.digest = weir__hash128(content, bytes - PREFIX_BYTES);
    return NULL;
}

weir_status_t weir__cache_copy_source(weir__heap_t *heap, const weir_limits_t *limits,
    const void *bytes, uint64_t byte_count, weir__source_t **out_source)
{
    weir__source_t *source;
    copying_t copying = {.bytes = bytes};
    uint64_t total;
    if (byte_count > limits->file_bytes || !weir__add_u64(byte_count, PREFIX_BYTES, &total))
        return WEIR_ERR(WEIR_LIMIT,
            "the model has %" PRIu64 " bytes, over the limit file_bytes (%" PRIu64 ")", byte_count,
            limits->file_bytes);
    WEIR_TRY(make_source(NULL, heap, limits, &source));
    weir_status_t status = weir__cache_put(
        NULL, heap, (weir__hash_t){0}, total, fill_from_memory, &copying, &source->file);
    if (status) {
        weir__source_free(source);
        return status;
    }
    set_bytes(source, &copying.prefix);
    *out_source = source;
    return NULL;
}

void weir__source_free(weir__source_t *source)
{
    if (!source)
        return;
    weir__cache_view_release(&source->file);
    weir__cache_view_release(&source->constants);
    if (source->folder >= 0)
        close(source->folder);
    weir__heap_free(source->heap, source);
}
