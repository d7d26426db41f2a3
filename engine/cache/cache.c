// engine/cache/cache.c: the folder: finding it, making it, and keeping it from growing for ever.
#include "engine/cache/store.h"

#include "engine/base/size.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

// A temporary file older than this belongs to a process that died.
#define TEMPORARY_LIFE_S 3600

// Blobs cannot be older than this (the first day of 2025): a machine without a clock wrote them.
#define EARLIEST_S 1735689600ll

// Listing a folder takes 2 us a blob, so that one of many is listed only when it has changed, or a
// day later.
#define MARKER ".weir-trimmed"
#define MARKER_MAGIC 0x316d697274726577ull // "wertrim1"
#define MARKED_LEAST 256                   // blobs
#define LOOK_AGAIN_S 86400

void weir__cache_default_dir(char *out_path, size_t capacity)
{
    const char *own = secure_getenv("WEIR_CACHE_DIR");
    const char *xdg = secure_getenv("XDG_CACHE_HOME");
    const char *home = secure_getenv("HOME");
    int length = 0;
    out_path[0] = 0;
    if (own)
        length = snprintf(out_path, capacity, "%s", own);
    else if (xdg && xdg[0] == '/')
        length = snprintf(out_path, capacity, "%s/weir", xdg);
    else if (home && home[0] == '/')
        length = snprintf(out_path, capacity, "%s/.cache/weir", home);
    if (length < 0 || (size_t)length >= capacity)
        out_path[0] = 0;
}

// mkdir -p with 0700. Returns 0 or an errno.
static int make_folders(const char *dir)
{
    char path[PATH_MAX];
    size_t length = strlen(dir);
    memcpy(path, dir, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != 0)
            continue;
        char kept = path[i];
        path[i] = 0;
        if (mkdir(path, 0700) != 0 && errno != EEXIST && errno != EISDIR && errno != EROFS)
            return errno;
        path[i] = kept;
    }
    return 0;
}

// A descriptor of the folder, or -1 and why.
static int open_folder(const char *dir, char *why, size_t why_bytes)
{
    struct stat stat;
    int error = make_folders(dir);
    int folder = error ? -1 : open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (folder < 0) {
        snprintf(why, why_bytes, "%s", strerror(error ? error : errno));
        return -1;
    }
    // What we map, we trust: nobody else may write here.
    bool ours = fstat(folder, &stat) == 0 && (stat.st_uid == geteuid() || stat.st_uid == 0) &&
                !(stat.st_mode & S_IWOTH);
    if (ours)
        return folder;
    snprintf(why, why_bytes, "it belongs to another user, or others may write to it");
    close(folder);
    return -1;
}

// Which start of the machine this is; 0 when it cannot be told. Then no blob counts as one of an
// earlier start, unless that one could be told.
static uint64_t read_boot(void)
{
    char id[64];
    int file = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t bytes = read(file, id, sizeof id);
    close(file);
    return bytes > 0 ? weir__hash64(id, (uint64_t)bytes, 0) : 0;
}

// ---- Trimming --------------------------------------------------------------------------------

typedef struct entry {
    char name[64];
    uint64_t bytes;
    int64_t used_ns;
} entry_t;

// A blob's lock is one byte of the folder's own, at a place that its name gives: one descriptor
// holds any number of them. Two names at one place only keep each other.
static struct flock lock_of(const char *name, short type)
{
    return (struct flock){.l_type = type,
        .l_whence = SEEK_SET,
        .l_start = (off_t)(weir__hash64(name, strlen(name), 0) >> 2),
        .l_len = 1};
}

void weir__cache_hold(const weir__cache_t *cache, const char *name)
{
    struct flock lock = lock_of(name, F_RDLCK);
    (void)fcntl(cache->folder, F_OFD_SETLK, &lock);
}

// Does another cache, of this process or of another one, use it?
static bool is_held(const weir__cache_t *cache, const char *name)
{
    struct flock lock = lock_of(name, F_WRLCK);
    return fcntl(cache->folder, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

static int by_age(const void *a, const void *b)
{
    const entry_t *x = a, *y = b;
    return x->used_ns < y->used_ns ? -1 : x->used_ns > y->used_ns;
}

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), tail = strlen(end);
    return length > tail && strcmp(text + length - tail, end) == 0;
}

static void drop_if_dead(const weir__cache_t *cache, const char *name, const struct stat *stat)
{
    if (time(NULL) - stat->st_mtim.tv_sec > TEMPORARY_LIFE_S)
        unlinkat(cache->folder, name, 0);
}

// The blobs of the folder. Fewer than all when memory runs out: then less is trimmed.
static entry_t *list_blobs(
    weir__cache_t *cache, DIR *folder, size_t *out_count, uint64_t *out_bytes)
{
    entry_t *entries = NULL;
    size_t count = 0, capacity = 0;
    for (struct dirent *item; (item = readdir(folder));) {
        struct stat stat;
        bool temporary =
            strncmp(item->d_name, WEIR__CACHE_TEMPORARY, strlen(WEIR__CACHE_TEMPORARY)) == 0;
        bool blob = !temporary && ends_with(item->d_name, WEIR__CACHE_SUFFIX) &&
                    strlen(item->d_name) < sizeof entries->name;
        if ((!blob && !temporary) ||
            fstatat(cache->folder, item->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(stat.st_mode))
            continue;
        if (temporary) {
            drop_if_dead(cache, item->d_name, &stat);
            continue;
        }
        if (count == capacity) {
            size_t larger = capacity ? capacity * 2 : 64;
            entry_t *more = weir__heap_realloc(cache->heap, entries, larger * sizeof *entries);
            if (!more)
                break;
            entries = more;
            capacity = larger;
        }
        entry_t *entry = &entries[count++];
        memcpy(entry->name, item->d_name, strlen(item->d_name) + 1);
        entry->bytes = (uint64_t)stat.st_size;
        entry->used_ns = (int64_t)stat.st_mtim.tv_sec * 1000000000ll + stat.st_mtim.tv_nsec;
        if (stat.st_mtim.tv_sec < EARLIEST_S)
            entry->used_ns = (int64_t)time(NULL) * 1000000000ll;
        *out_bytes += entry->bytes;
    }
    *out_count = count;
    return entries;
}

// What the folder was when a listing of it found nothing to remove. Not synced and not locked: one
// that is lost or wrong costs a listing, or puts one off for a day.
typedef struct marker {
    uint64_t magic, limit_bytes;
    int64_t changed_ns; // the folder's own time: a new blob changes it
    int64_t looked_s;
} marker_t;

static int64_t changed_ns(const weir__cache_t *cache)
{
    struct stat stat;
    return fstat(cache->folder, &stat) == 0
               ? (int64_t)stat.st_mtim.tv_sec * 1000000000ll + stat.st_mtim.tv_nsec
               : -1;
}

static bool is_settled(const weir__cache_t *cache, uint64_t limit_bytes)
{
    marker_t marker = {0};
    int file = openat(cache->folder, MARKER, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (file < 0)
        return false;
    bool whole = read(file, &marker, sizeof marker) == (ssize_t)sizeof marker;
    close(file);
    int64_t age_s = (int64_t)time(NULL) - marker.looked_s;
    return whole && marker.magic == MARKER_MAGIC && marker.limit_bytes == limit_bytes &&
           marker.changed_ns == changed_ns(cache) && age_s >= 0 && age_s < LOOK_AGAIN_S;
}

static void mark(const weir__cache_t *cache, uint64_t limit_bytes, int64_t changed)
{
    const marker_t marker = {.magic = MARKER_MAGIC,
        .limit_bytes = limit_bytes,
        .changed_ns = changed,
        .looked_s = (int64_t)time(NULL)};
    int file = openat(
        cache->folder, MARKER, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (file < 0)
        return;
    ssize_t written = pwrite(file, &marker, sizeof marker, 0);
    (void)written;
    close(file);
}

// What the folder may hold of blobs that were used lately.
static uint64_t recent_limit(const weir__cache_t *cache, uint64_t limit_bytes)
{
    struct statvfs disk;
    uint64_t most, left;
    if (!weir__mul_u64(limit_bytes, WEIR__CACHE_RECENT_TIMES, &most))
        most = UINT64_MAX;
    bool known =
        fstatvfs(cache->folder, &disk) == 0 && weir__mul_u64(disk.f_bavail, disk.f_frsize, &left);
    return known && left >= limit_bytes ? most : limit_bytes;
}

// The oldest go first, until the rest fits and none is left that nobody used for long.
static uint64_t remove_oldest(
    weir__cache_t *cache, entry_t *entries, size_t count, uint64_t bytes, uint64_t limit_bytes)
{
    const int64_t now_s = (int64_t)time(NULL);
    const int64_t expired_ns = (now_s - WEIR__CACHE_UNUSED_S) * 1000000000ll;
    const int64_t recent_ns = (now_s - WEIR__CACHE_RECENT_S) * 1000000000ll;
    const uint64_t recent_bytes = recent_limit(cache, limit_bytes);
    uint64_t removed = 0;
    bool any = bytes > limit_bytes;
    for (size_t i = 0; i < count && !any; i++)
        any = entries[i].used_ns < expired_ns;
    if (any)
        qsort(entries, count, sizeof *entries, by_age);
    for (size_t i = 0; any && i < count; i++) {
        uint64_t most = entries[i].used_ns >= recent_ns ? recent_bytes : limit_bytes;
        if (bytes - removed <= most && entries[i].used_ns >= expired_ns)
            break;
        if (!is_held(cache, entries[i].name) && unlinkat(cache->folder, entries[i].name, 0) == 0)
            removed += entries[i].bytes;
    }
    return removed;
}

static void trim(weir__cache_t *cache, uint64_t limit_bytes)
{
    uint64_t bytes = 0;
    size_t count = 0;
    if (is_settled(cache, limit_bytes))
        return;
    int64_t changed = changed_ns(cache);
    int copy = fcntl(cache->folder, F_DUPFD_CLOEXEC, 0);
    DIR *folder = copy < 0 ? NULL : fdopendir(copy);
    if (!folder) {
        if (copy >= 0)
            close(copy);
        return;
    }
    entry_t *entries = list_blobs(cache, folder, &count, &bytes);
    closedir(folder);
    uint64_t removed = remove_oldest(cache, entries, count, bytes, limit_bytes);
    weir__heap_free(cache->heap, entries);
    if (removed)
        weir__log(cache->log, WEIR_LOG_INFO, "cache",
            "removed %" PRIu64 " bytes not used lately from %s", removed, cache->dir);
    else if (count >= MARKED_LEAST)
        mark(cache, limit_bytes, changed);
}

// ---- Open and close --------------------------------------------------------------------------

weir_status_t weir__cache_open(weir__heap_t *heap, const weir__log_t *log, const char *dir,
    uint64_t bytes, weir__cache_t **out_cache)
{
    weir__cache_t *cache = weir__heap_calloc(heap, 1, sizeof *cache);
    char why[128];
    if (!cache)
        return weir__status_no_memory();
    cache->heap = heap;
    cache->log = log;
    cache->folder = -1;
    *out_cache = cache;
    if (!dir)
        weir__cache_default_dir(cache->dir, sizeof cache->dir);
    else if (strlen(dir) < sizeof cache->dir)
        memcpy(cache->dir, dir, strlen(dir) + 1);
    if (!cache->dir[0])
        return NULL;
    cache->folder = open_folder(cache->dir, why, sizeof why);
    if (cache->folder < 0) {
        weir__log(log, WEIR_LOG_WARNING, "cache",
            "%s cannot be used (%s): nothing is kept between starts; set WEIR_CACHE_DIR",
            cache->dir, why);
        cache->dir[0] = 0;
        return NULL;
    }
    cache->boot = read_boot();
    cache->limit_bytes = bytes ? bytes : WEIR__CACHE_BYTES_DEFAULT;
    trim(cache, cache->limit_bytes);
    return NULL;
}

void weir__cache_close(weir__cache_t *cache)
{
    if (!cache)
        return;
    if (cache->folder >= 0)
        close(cache->folder);
    weir__heap_free(cache->heap, cache);
}

bool weir__cache_is_on(const weir__cache_t *cache)
{
    return cache && cache->folder >= 0;
}

uint64_t weir__cache_limit(const weir__cache_t *cache)
{
    return weir__cache_is_on(cache) ? cache->limit_bytes : 0;
}

const char *weir__cache_dir(const weir__cache_t *cache)
{
    return cache ? cache->dir : "";
}
