// engine/cache/blob.c: one blob, one file: header, bytes, trailer.
//
//   0     header_t: magic, version, key, size, checksums of the bytes and of the header, boot
//   4096  the bytes, so that a mapping of them is page-aligned
//   ...   trailer_t at the next multiple of 64: magic and key again; the end of the file
//
// A reader checks size, header and trailer: what a process that dies or a full disk leaves behind
// lacks one of them. Nothing is synced, so after a power cut all three can be there and bytes
// between them be zeros. Only a new boot can show that: the header says in which boot the bytes
// were last known to be right, and the first reader of a later boot reads all of them.
#include "engine/cache/store.h"

#include "engine/base/size.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x31626f6c62726577ull // "werblob1"
#define VERSION 2u
#define DATA_OFFSET 4096u
#define NAME_BYTES 64
#define IN_MEMORY_BYTES_MAX (32ull << 20) // of what is made in memory first and then written

typedef struct header {
    uint64_t magic;
    uint32_t version;
    uint32_t data_offset;
    weir__hash_t key;
    uint64_t bytes;
    uint64_t data_checksum;
    uint64_t header_checksum; // of everything before it
    uint64_t boot;            // outside of the checksum: changes when a later boot finds all well
} header_t;

typedef struct trailer {
    uint64_t magic;
    weir__hash_t key;
    uint64_t header_checksum;
} trailer_t;

static void name_of(weir__hash_t key, char out_name[NAME_BYTES])
{
    char hex[33];
    weir__hash_hex(key, hex);
    snprintf(out_name, NAME_BYTES, "%s" WEIR__CACHE_SUFFIX, hex);
}

static bool file_size(uint64_t bytes, uint64_t *out_trailer_offset, uint64_t *out_bytes)
{
    return weir__add_u64(bytes, DATA_OFFSET, out_bytes) &&
           weir__align_u64(*out_bytes, 64, out_trailer_offset) &&
           weir__add_u64(*out_trailer_offset, sizeof(trailer_t), out_bytes) &&
           *out_bytes <= INT64_MAX;
}

static header_t make_header(
    const weir__cache_t *cache, weir__hash_t key, uint64_t bytes, uint64_t checksum)
{
    header_t header = {.magic = MAGIC,
        .version = VERSION,
        .data_offset = DATA_OFFSET,
        .key = key,
        .bytes = bytes,
        .data_checksum = checksum,
        .boot = cache->boot};
    header.header_checksum = weir__hash64(&header, offsetof(header_t, header_checksum), 0);
    return header;
}

// Why a mapped file is not the blob `key`; NULL when it is.
static const char *flaw(const char *map, uint64_t map_bytes, weir__hash_t key)
{
    header_t header;
    trailer_t trailer;
    uint64_t trailer_offset, bytes;
    if (map_bytes < DATA_OFFSET + sizeof trailer)
        return "it is too short";
    memcpy(&header, map, sizeof header);
    if (header.magic != MAGIC)
        return "it is no cache file";
    if (header.version != VERSION || header.data_offset != DATA_OFFSET)
        return "it was made by another version";
    if (header.header_checksum != weir__hash64(&header, offsetof(header_t, header_checksum), 0))
        return "its header is damaged";
    if (header.key.low != key.low || header.key.high != key.high)
        return "it holds something else";
    if (!file_size(header.bytes, &trailer_offset, &bytes) || bytes != map_bytes)
        return "its size is wrong";
    memcpy(&trailer, map + trailer_offset, sizeof trailer);
    if (trailer.magic != MAGIC || trailer.key.low != key.low || trailer.key.high != key.high ||
        trailer.header_checksum != header.header_checksum)
        return "it was not written to its end";
    return NULL;
}

// Writes into the header that the bytes are right in this boot. When it fails, the next reader
// checks them again. The name may be another file's by now: then there is nothing to mark.
static void mark_boot(const weir__cache_t *cache, const char *name, const struct stat *of_file)
{
    struct stat stat;
    int file = openat(cache->folder, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return;
    if (fstat(file, &stat) == 0 && stat.st_dev == of_file->st_dev &&
        stat.st_ino == of_file->st_ino) {
        ssize_t written =
            pwrite(file, &cache->boot, sizeof cache->boot, (off_t)offsetof(header_t, boot));
        (void)written;
    }
    close(file);
}

// Bytes that an earlier boot wrote may never have reached the disk: they are read once in each
// boot.
static const char *flaw_since_boot(
    const weir__cache_t *cache, const char *map, const char *name, const struct stat *of_file)
{
    header_t header;
    memcpy(&header, map, sizeof header);
    if (header.boot == cache->boot)
        return NULL;
    if (header.data_checksum != weir__hash64(map + DATA_OFFSET, header.bytes, 0))
        return "its bytes are damaged";
    mark_boot(cache, name, of_file);
    return NULL;
}

static void set_mapped(weir__view_t *view, char *map, uint64_t map_bytes, uint64_t bytes)
{
    *view = (weir__view_t){.data = map + DATA_OFFSET,
        .bytes = bytes,
        .mapped = true,
        .block = map,
        .block_bytes = map_bytes};
}

// false: out_why says what is wrong with the file; NULL: there is none.
static bool find(
    const weir__cache_t *cache, weir__hash_t key, weir__view_t *out_view, const char **out_why)
{
    char name[NAME_BYTES];
    struct stat stat;
    *out_view = (weir__view_t){0};
    *out_why = NULL;
    name_of(key, name);
    weir__cache_hold(cache, name);
    int file = openat(cache->folder, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return false;
    const char *why = "it is no file";
    if (fstat(file, &stat) == 0 && S_ISREG(stat.st_mode)) {
        uint64_t bytes = (uint64_t)stat.st_size;
        char *map = bytes ? mmap(NULL, bytes, PROT_READ, MAP_SHARED, file, 0) : MAP_FAILED;
        why = "it cannot be mapped";
        if (map != MAP_FAILED) {
            why = flaw(map, bytes, key);
            if (!why)
                why = flaw_since_boot(cache, map, name, &stat);
            if (why)
                munmap(map, bytes);
            else
                set_mapped(out_view, map, bytes, ((const header_t *)(const void *)map)->bytes);
        }
    }
    if (!why)
        futimens(file, NULL); // its last use, for trimming
    close(file);
    *out_why = why;
    return !why;
}

bool weir__cache_get(weir__cache_t *cache, weir__hash_t key, weir__view_t *out_view)
{
    char name[NAME_BYTES];
    const char *why;
    *out_view = (weir__view_t){0};
    if (!weir__cache_is_on(cache))
        return false;
    bool found = find(cache, key, out_view, &why);
    if (why) {
        name_of(key, name);
        weir__log(cache->log, WEIR_LOG_WARNING, "cache", "%s/%s is ignored (%s) and made again",
            cache->dir, name, why);
    }
    return found;
}

// ---- Writing ---------------------------------------------------------------------------------

static void set_memory(weir__view_t *view, weir__heap_t *heap, void *memory, uint64_t bytes)
{
    *view = (weir__view_t){
        .data = memory, .bytes = bytes, .block = memory, .block_bytes = bytes, .heap = heap};
}

static weir_status_t put_in_memory(
    weir__heap_t *heap, uint64_t bytes, weir__fill_fn fill, void *user, weir__view_t *out_view)
{
    void *memory = weir__heap_alloc(heap, bytes);
    if (!memory)
        return weir__status_no_memory();
    weir_status_t status = fill(user, memory, bytes);
    if (status)
        weir__heap_free(heap, memory);
    else
        set_memory(out_view, heap, memory, bytes);
    return status;
}

static weir_status_t pour_in_memory(
    weir__heap_t *heap, uint64_t bytes, weir__pour_fn pour, void *user, weir__view_t *out_view)
{
    weir__sink_t sink = {.file = -1, .left = bytes, .capacity = bytes};
    sink.buffer = weir__heap_alloc(heap, bytes);
    if (!sink.buffer)
        return weir__status_no_memory();
    weir_status_t status = pour(user, &sink);
    if (!status && sink.left)
        status = WEIR_ERR(WEIR_INTERNAL, "a blob lacks %" PRIu64 " bytes", sink.left);
    if (status)
        weir__heap_free(heap, sink.buffer);
    else
        set_memory(out_view, heap, sink.buffer, bytes);
    return status;
}

// A file that is being written under a name of its own.
typedef struct new_file {
    char name[NAME_BYTES];
    int file;
    uint64_t bytes, trailer_offset, file_bytes;
} new_file_t;

// Returns an errno.
static int open_new(weir__cache_t *cache, uint64_t bytes, new_file_t *out_new)
{
    uint64_t count = atomic_fetch_add_explicit(&cache->temporary_count, 1, memory_order_relaxed);
    atomic_store_explicit(&cache->has_grown, true, memory_order_relaxed);
    out_new->bytes = bytes;
    if (!file_size(bytes, &out_new->trailer_offset, &out_new->file_bytes))
        return EFBIG;
    snprintf(out_new->name, sizeof out_new->name, WEIR__CACHE_TEMPORARY "%ld-%" PRIxPTR "-%" PRIu64,
        (long)getpid(), (uintptr_t)cache, count);
    out_new->file = openat(
        cache->folder, out_new->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return out_new->file < 0 ? errno : 0;
}

static void drop_new(const weir__cache_t *cache, const new_file_t *new)
{
    close(new->file);
    unlinkat(cache->folder, new->name, 0);
}

static uint64_t checksum_of(const weir__view_t *view)
{
    header_t header;
    memcpy(&header, view->block, sizeof header);
    return header.data_checksum;
}

// Another process made the same blob meanwhile: then its pages are used, not a second copy of them.
static bool share_theirs(
    const weir__cache_t *cache, const new_file_t *new, weir__hash_t key, weir__view_t *inout_view)
{
    weir__view_t theirs;
    const char *why;
    if (!find(cache, key, &theirs, &why))
        return false;
    if (theirs.bytes != inout_view->bytes || checksum_of(&theirs) != checksum_of(inout_view) ||
        !weir__cache_view_verify(&theirs)) { // it may be here again because theirs is damaged
        weir__cache_view_release(&theirs);
        return false;
    }
    weir__cache_view_release(inout_view);
    *inout_view = theirs;
    drop_new(cache, new);
    return true;
}

// Header and trailer, once all bytes are there; then the file gets its real name and is mapped.
// Returns an errno; the file is then gone.
static int finish_new(const weir__cache_t *cache, const new_file_t *new, weir__hash_t key,
    uint64_t checksum, weir__view_t *out_view)
{
    char name[NAME_BYTES];
    header_t header = make_header(cache, key, new->bytes, checksum);
    trailer_t trailer = {.magic = MAGIC, .key = key, .header_checksum = header.header_checksum};
    int error = weir__sink_write(new->file, &trailer, sizeof trailer, new->trailer_offset);
    if (!error)
        error = weir__sink_write(new->file, &header, sizeof header, 0);
    void *map = MAP_FAILED;
    if (!error) {
        map = mmap(NULL, new->file_bytes, PROT_READ, MAP_SHARED, new->file, 0);
        error = map == MAP_FAILED ? errno : 0;
    }
    if (error) {
        drop_new(cache, new);
        return error;
    }
    set_mapped(out_view, map, new->file_bytes, new->bytes);
    name_of(key, name);
    weir__cache_hold(cache, name);
    bool named = renameat2(cache->folder, new->name, cache->folder, name, RENAME_NOREPLACE) == 0;
    if (!named && errno == EEXIST && share_theirs(cache, new, key, out_view))
        return 0;
    // Not every file system can keep what is there; then the last one's file stays.
    if (named || renameat(cache->folder, new->name, cache->folder, name) == 0) {
        close(new->file);
        return 0;
    }
    weir__log(cache->log, WEIR_LOG_WARNING, "cache", "%s/%s cannot be made: %s", cache->dir, name,
        strerror(errno));
    drop_new(cache, new); // the mapping keeps it for as long as this process needs it
    return 0;
}

static void warn_unwritten(const weir__cache_t *cache, int error, uint64_t bytes)
{
    weir__log(cache->log, WEIR_LOG_WARNING, "cache",
        "%s cannot be written (%s): %" PRIu64 " bytes are kept in memory", cache->dir,
        strerror(error), bytes);
}

// Returns an errno, or sets *out_status to what `pour` returned.
static int pour_in_file(weir__cache_t *cache, const new_file_t *new, weir__hash_t key,
    weir__sink_t *sink, weir__pour_fn pour, void *user, weir_status_t *out_status,
    weir__view_t *out_view)
{
    sink->file = new->file;
    sink->offset = DATA_OFFSET;
    sink->left = new->bytes;
    weir__hash_stream_begin(&sink->hash);
    *out_status = pour(user, sink);
    int error = *out_status ? 0 : weir__sink_flush(sink);
    if (*out_status || error)
        drop_new(cache, new);
    else
        error = finish_new(cache, new, key, weir__hash_stream_64(&sink->hash), out_view);
    return error;
}

weir_status_t weir__cache_pour(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    uint64_t bytes, weir__pour_fn pour, void *user, weir__view_t *out_view)
{
    new_file_t new;
    *out_view = (weir__view_t){0};
    if (!weir__cache_is_on(cache))
        return pour_in_memory(heap, bytes, pour, user, out_view);
    weir__sink_t sink = {.capacity = WEIR__SINK_BUFFER_BYTES};
    sink.buffer = weir__heap_alloc(heap, sink.capacity);
    if (!sink.buffer)
        return weir__status_no_memory();
    weir_status_t status = NULL;
    int error = open_new(cache, bytes, &new);
    if (!error)
        error = pour_in_file(cache, &new, key, &sink, pour, user, &status, out_view);
    weir__heap_free(heap, sink.buffer);
    if (!error)
        return status;
    warn_unwritten(cache, error, bytes);
    return pour_in_memory(heap, bytes, pour, user, out_view);
}

// Bytes that are all there into a file. Returns an errno.
static int store(weir__cache_t *cache, weir__hash_t key, const void *data, uint64_t bytes,
    weir__view_t *out_view)
{
    new_file_t new;
    int error = open_new(cache, bytes, &new);
    if (error)
        return error;
    weir__sink_t sink = {.file = new.file, .offset = DATA_OFFSET, .left = bytes};
    weir__hash_stream_begin(&sink.hash);
    weir__sink_put(&sink, data, bytes);
    error = weir__sink_flush(&sink);
    if (!error)
        return finish_new(cache, &new, key, weir__hash_stream_64(&sink.hash), out_view);
    drop_new(cache, &new);
    return error;
}

// What is too large to be held twice, or finds no memory, is made in the file itself. Returns an
// errno, or sets *out_status to what `fill` returned.
static int fill_file(weir__cache_t *cache, weir__hash_t key, uint64_t bytes, weir__fill_fn fill,
    void *user, weir_status_t *out_status, weir__view_t *out_view)
{
    new_file_t new;
    char *map = MAP_FAILED;
    int error = open_new(cache, bytes, &new);
    if (error)
        return error;
    // Writing through a mapping to a disk that is full would be a signal; this makes it an error.
    do
        error = posix_fallocate(new.file, 0, (off_t) new.file_bytes);
    while (error == EINTR);
    if (!error) {
        map = mmap(NULL, new.file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, new.file, 0);
        error = map == MAP_FAILED ? errno : 0;
    }
    if (!error)
        *out_status = fill(user, map + DATA_OFFSET, bytes);
    if (error || *out_status)
        drop_new(cache, &new);
    else
        error = finish_new(cache, &new, key, weir__hash64(map + DATA_OFFSET, bytes, 0), out_view);
    if (map != MAP_FAILED)
        munmap(map, new.file_bytes);
    return error;
}

// Made in memory that is there, then written; when that fails, the memory is the blob.
static weir_status_t fill_and_store(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    weir__scratch_t *scratch, uint64_t bytes, weir__fill_fn fill, void *user,
    weir__view_t *out_view)
{
    weir_status_t status = fill(user, scratch->memory, bytes);
    int error = status ? 0 : store(cache, key, scratch->memory, bytes, out_view);
    if (!error)
        return status;
    warn_unwritten(cache, error, bytes);
    // The block is of the largest blob so far: one that is much smaller does not keep it.
    void *own = scratch->bytes / 2 > bytes ? weir__heap_alloc(heap, bytes) : NULL;
    if (own) {
        memcpy(own, scratch->memory, (size_t)bytes);
        set_memory(out_view, heap, own, bytes);
        return NULL;
    }
    set_memory(out_view, heap, scratch->memory, bytes);
    *scratch = (weir__scratch_t){0};
    return NULL;
}

static bool grow_scratch(weir__heap_t *heap, weir__scratch_t *scratch, uint64_t bytes)
{
    if (scratch->memory && scratch->bytes >= bytes)
        return true;
    weir__heap_free(heap, scratch->memory);
    *scratch = (weir__scratch_t){.memory = weir__heap_alloc(heap, bytes), .bytes = bytes};
    return scratch->memory != NULL;
}

weir_status_t weir__cache_put_by(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    uint64_t bytes, weir__fill_fn fill, void *user, weir__scratch_t *scratch,
    weir__view_t *out_view)
{
    *out_view = (weir__view_t){0};
    if (!weir__cache_is_on(cache))
        return put_in_memory(heap, bytes, fill, user, out_view);
    if (bytes <= IN_MEMORY_BYTES_MAX && grow_scratch(heap, scratch, bytes))
        return fill_and_store(cache, heap, key, scratch, bytes, fill, user, out_view);
    weir_status_t status = NULL;
    int error = fill_file(cache, key, bytes, fill, user, &status, out_view);
    if (!error)
        return status;
    warn_unwritten(cache, error, bytes);
    return put_in_memory(heap, bytes, fill, user, out_view);
}

weir_status_t weir__cache_put(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    uint64_t bytes, weir__fill_fn fill, void *user, weir__view_t *out_view)
{
    weir__scratch_t scratch = {0};
    weir_status_t status =
        weir__cache_put_by(cache, heap, key, bytes, fill, user, &scratch, out_view);
    weir__heap_free(heap, scratch.memory);
    return status;
}

static weir_status_t fill_copy(void *user, void *destination, uint64_t bytes)
{
    if (bytes)
        memcpy(destination, user, (size_t)bytes);
    return NULL;
}

weir_status_t weir__cache_put_data(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    const void *data, uint64_t bytes, weir__view_t *out_view)
{
    *out_view = (weir__view_t){0};
    if (weir__cache_is_on(cache)) {
        int error = store(cache, key, data, bytes, out_view);
        if (!error)
            return NULL;
        warn_unwritten(cache, error, bytes);
    }
    return put_in_memory(heap, bytes, fill_copy, (void *)(uintptr_t)data, out_view);
}

void weir__cache_view_release(weir__view_t *view)
{
    if (view->mapped)
        munmap(view->block, view->block_bytes);
    else if (view->block)
        weir__heap_free(view->heap, view->block);
    *view = (weir__view_t){0};
}

bool weir__cache_view_verify(const weir__view_t *view)
{
    return !view->mapped || checksum_of(view) == weir__hash64(view->data, view->bytes, 0);
}
