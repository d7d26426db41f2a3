// engine/cache/source.c: a model file, read once.
//
// Its content is a blob under the identity of the user's file (device, inode, size, times), so a
// second load opens the user's file only to learn its identity. The digest, which costs a pass over
// the bytes, lies behind them in the blob.
#include "engine/cache/source.h"

#include "engine/base/size.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

// Behind the content, at a multiple of 64.
typedef struct suffix {
    weir__identity_t identity;
    weir__hash_t digest;
} suffix_t;

#define ALIGNMENT 64u
#define SUFFIX_BYTES 64u
_Static_assert(sizeof(suffix_t) <= SUFFIX_BYTES, "");

weir__hash_t weir__cache_key(weir__hash_t what, uint64_t kind)
{
    return weir__hash_join(what, (weir__hash_t){kind, ~kind});
}

// Of the blob for so many bytes of content. false: too large.
static bool blob_bytes(uint64_t content_bytes, uint64_t *out_bytes)
{
    return weir__align_u64(content_bytes, ALIGNMENT, out_bytes) &&
           weir__add_u64(*out_bytes, SUFFIX_BYTES, out_bytes);
}

static void set_bytes(weir__source_t *source, const suffix_t *suffix)
{
    source->bytes = source->file.data;
    source->byte_count = suffix->identity.bytes;
    source->content = source->digest = suffix->digest;
}

static bool find(
    weir__source_t *source, const weir__identity_t *identity, weir__hash_t key, uint64_t bytes)
{
    suffix_t suffix;
    if (!weir__cache_get(source->cache, key, &source->file))
        return false;
    bool same = source->file.bytes == bytes;
    if (same) {
        memcpy(&suffix, (const char *)source->file.data + bytes - SUFFIX_BYTES, sizeof suffix);
        same = weir__identity_equal(&suffix.identity, identity);
    }
    if (same) {
        set_bytes(source, &suffix);
        source->from_cache = true;
    } else {
        weir__cache_view_release(&source->file);
    }
    return same;
}

static void put_suffix(weir__sink_t *sink, const suffix_t *suffix)
{
    weir__sink_zeros(sink, (ALIGNMENT - suffix->identity.bytes % ALIGNMENT) % ALIGNMENT);
    weir__sink_put(sink, suffix, sizeof *suffix);
    weir__sink_zeros(sink, SUFFIX_BYTES - sizeof *suffix);
}

typedef struct reading {
    int file;
    suffix_t suffix;
} reading_t;

static weir_status_t pour_file(void *user, weir__sink_t *sink)
{
    reading_t *reading = user;
    weir__identity_t after;
    const uint64_t bytes = reading->suffix.identity.bytes;
    for (uint64_t done = 0, piece; done < bytes; done += piece) {
        void *room = weir__sink_room(sink, bytes - done, &piece);
        WEIR_TRY(weir__file_read(reading->file, done, room, piece));
        weir__sink_took(sink, piece);
    }
    WEIR_TRY(weir__file_identity(reading->file, &after));
    if (!weir__identity_equal(&after, &reading->suffix.identity))
        return WEIR_ERR(WEIR_DATA_LOSS,
            "the file was changed while it was read: try again when nobody writes it");
    reading->suffix.digest = weir__sink_digest(sink);
    put_suffix(sink, &reading->suffix);
    return NULL;
}

static weir_status_t take_content(weir__source_t *source, int file)
{
    reading_t reading = {.file = file};
    weir__identity_t *identity = &reading.suffix.identity;
    uint64_t bytes;
    WEIR_TRY(weir__file_settle(file, identity));
    if (identity->bytes > source->limits.file_bytes)
        return WEIR_ERR(WEIR_LIMIT,
            "the file has %" PRIu64 " bytes, over the limit file_bytes (%" PRIu64 ")",
            identity->bytes, source->limits.file_bytes);
    weir__hash_t key =
        weir__cache_key(weir__hash128(identity, sizeof *identity), WEIR__CACHE_KEY_SOURCE);
    if (!blob_bytes(identity->bytes, &bytes))
        return weir__status_no_memory();
    if (find(source, identity, key, bytes))
        return NULL;
    WEIR_TRY(weir__cache_pour(
        source->cache, source->heap, key, bytes, pour_file, &reading, &source->file));
    set_bytes(source, &reading.suffix);
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
    suffix_t suffix;
} copying_t;

static weir_status_t pour_memory(void *user, weir__sink_t *sink)
{
    copying_t *copying = user;
    weir__sink_put(sink, copying->bytes, copying->suffix.identity.bytes);
    copying->suffix.digest = weir__sink_digest(sink);
    put_suffix(sink, &copying->suffix);
    return NULL;
}

weir_status_t weir__cache_copy_source(weir__heap_t *heap, const weir_limits_t *limits,
    const void *bytes, uint64_t byte_count, weir__source_t **out_source)
{
    weir__source_t *source;
    copying_t copying = {.bytes = bytes, .suffix.identity.bytes = byte_count};
    uint64_t total;
    if (byte_count > limits->file_bytes || !blob_bytes(byte_count, &total))
        return WEIR_ERR(WEIR_LIMIT,
            "the model has %" PRIu64 " bytes, over the limit file_bytes (%" PRIu64 ")", byte_count,
            limits->file_bytes);
    WEIR_TRY(make_source(NULL, heap, limits, &source));
    weir_status_t status = weir__cache_pour(
        NULL, heap, (weir__hash_t){0}, total, pour_memory, &copying, &source->file);
    if (status) {
        weir__source_free(source);
        return status;
    }
    set_bytes(source, &copying.suffix);
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
