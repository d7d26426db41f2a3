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
    const weir__cache_t *cache, weir__hash_t key, const void *data, uint64_t bytes)
{
    header_t header = {.magic = MAGIC,
        .version = VERSION,
        .data_offset = DATA_OFFSET,
        .key = key,
        .bytes = bytes,
        .data_checksum = weir__hash64(data, bytes, 0),
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

bool weir__cache_get(weir__cache_t *cache, weir__hash_t key, weir__view_t *out_view)
{
    char name[NAME_BYTES];
    struct stat stat;
    *out_view = (weir__view_t){0};
    if (!weir__cache_is_on(cache))
        return false;
    name_of(key, name);
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
    if (why)
        weir__log(cache->log, WEIR_LOG_WARNING, "cache", "%s/%s is ignored (%s) and made again",
            cache->dir, name, why);
    else
        futimens(file, NULL); // its last use, for trimming
    close(file);
    return !why;
}

// ---- Writing ---------------------------------------------------------------------------------

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
        *out_view = (weir__view_t){
            .data = memory, .bytes = bytes, .block = memory, .block_bytes = bytes, .heap = heap};
    return status;
}

// A new file of that size, all of it really there, mapped for writing. Returns an errno.
static int map_new_file(
    const weir__cache_t *cache, const char *temporary, uint64_t bytes, char **out_map)
{
    int error;
    int file =
        openat(cache->folder, temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return errno;
    // Writing through a mapping to a disk that is full would be a signal; this makes it an error.
    do
        error = posix_fallocate(file, 0, (off_t)bytes);
    while (error == EINTR);
    if (!error) {
        *out_map = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        error = *out_map == MAP_FAILED ? errno : 0;
    }
    close(file);
    if (error)
        unlinkat(cache->folder, temporary, 0);
    return error;
}

static void finish_file(weir__cache_t *cache, const char *temporary, weir__hash_t key, char *map,
    uint64_t bytes, uint64_t trailer_offset)
{
    char name[NAME_BYTES];
    header_t header = make_header(cache, key, map + DATA_OFFSET, bytes);
    trailer_t trailer = {.magic = MAGIC, .key = key, .header_checksum = header.header_checksum};
    memcpy(map, &header, sizeof header);
    memcpy(map + trailer_offset, &trailer, sizeof trailer);
    name_of(key, name);
    if (renameat(cache->folder, temporary, cache->folder, name) == 0)
        return;
    weir__log(cache->log, WEIR_LOG_WARNING, "cache", "%s/%s cannot be made: %s", cache->dir, name,
        strerror(errno));
    unlinkat(
        cache->folder, temporary, 0); // the mapping keeps it for as long as this process needs it
}

weir_status_t weir__cache_put(weir__cache_t *cache, weir__heap_t *heap, weir__hash_t key,
    uint64_t bytes, weir__fill_fn fill, void *user, weir__view_t *out_view)
{
    char temporary[NAME_BYTES], *map = NULL;
    uint64_t trailer_offset, total;
    *out_view = (weir__view_t){0};
    if (!weir__cache_is_on(cache) || !file_size(bytes, &trailer_offset, &total))
        return put_in_memory(heap, bytes, fill, user, out_view);
    uint64_t count = atomic_fetch_add_explicit(&cache->temporary_count, 1, memory_order_relaxed);
    snprintf(temporary, sizeof temporary, WEIR__CACHE_TEMPORARY "%ld-%" PRIxPTR "-%" PRIu64,
        (long)getpid(), (uintptr_t)cache, count);
    int error = map_new_file(cache, temporary, total, &map);
    if (error) {
        weir__log(cache->log, WEIR_LOG_WARNING, "cache",
            "%s cannot be written (%s): %" PRIu64 " bytes are kept in memory", cache->dir,
            strerror(error), bytes);
        return put_in_memory(heap, bytes, fill, user, out_view);
    }
    weir_status_t status = fill(user, map + DATA_OFFSET, bytes);
    if (status) {
        munmap(map, total);
        unlinkat(cache->folder, temporary, 0);
        return status;
    }
    finish_file(cache, temporary, key, map, bytes, trailer_offset);
    mprotect(map, total, PROT_READ);
    set_mapped(out_view, map, total, bytes);
    return NULL;
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
    return weir__cache_put(cache, heap, key, bytes, fill_copy, (void *)(uintptr_t)data, out_view);
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
    if (!view->mapped)
        return true;
    header_t header;
    memcpy(&header, view->block, sizeof header);
    return header.data_checksum == weir__hash64(view->data, view->bytes, 0);
}
