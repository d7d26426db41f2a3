// engine/cache/cache.c: the folder: finding it, making it, and keeping it from growing for ever.
#include "engine/cache/store.h"

#include "engine/base/size.h"
#include "engine/cache/file.h"
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
    bool is_held;
} entry_t;

typedef struct trimming {
    weir__cache_t *cache;
    int folder; // a descriptor of its own: to it what this cache holds is held, too
    int64_t now_s;
    bool has_clock;
    entry_t *entries;
    size_t count, capacity;
} trimming_t;

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

// Does a cache use it, this one or another, of this process or of another one?
static bool is_held(const trimming_t *it, const char *name)
{
    struct flock lock = lock_of(name, F_WRLCK);
    return fcntl(it->folder, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
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

static void drop_if_dead(const trimming_t *it, const char *name, const struct stat *stat)
{
    if (it->now_s - stat->st_mtim.tv_sec > TEMPORARY_LIFE_S)
        unlinkat(it->folder, name, 0);
}

static int64_t used_ns(const struct stat *stat)
{
    return weir__timespec_ns(stat->st_mtim);
}

// Whole seconds, so that the file has the very time that its entry has.
static void use_now(const trimming_t *it, entry_t *entry)
{
    const struct timespec now = {.tv_sec = (time_t)it->now_s};
    entry->used_ns = it->now_s * 1000000000ll;
    (void)utimensat(
        it->folder, entry->name, (const struct timespec[2]){now, now}, AT_SYMLINK_NOFOLLOW);
}

// false: no memory.
static bool add_blob(trimming_t *it, const char *name, const struct stat *stat)
{
    if (it->count == it->capacity) {
        size_t larger = it->capacity ? it->capacity * 2 : 64;
        entry_t *more =
            weir__heap_realloc(it->cache->heap, it->entries, larger * sizeof *it->entries);
        if (!more)
            return false;
        it->entries = more;
        it->capacity = larger;
    }
    entry_t *entry = &it->entries[it->count++];
    memcpy(entry->name, name, strlen(name) + 1);
    entry->bytes = (uint64_t)stat->st_size;
    entry->used_ns = used_ns(stat);
    entry->is_held = is_held(it, name);
    // What is in use now was used now, also for who looks when its user is gone; what a machine
    // without a clock wrote ages from the first time that one with a clock looks.
    if (it->has_clock && (entry->is_held || stat->st_mtim.tv_sec < EARLIEST_S))
        use_now(it, entry);
    return true;
}

// The blobs of the folder. Fewer than all when memory runs out: then less is trimmed.
static void list_blobs(trimming_t *it, DIR *list)
{
    for (struct dirent *item; (item = readdir(list));) {
        struct stat stat;
        bool temporary =
            strncmp(item->d_name, WEIR__CACHE_TEMPORARY, strlen(WEIR__CACHE_TEMPORARY)) == 0;
        bool blob = !temporary && ends_with(item->d_name, WEIR__CACHE_SUFFIX) &&
                    strlen(item->d_name) < sizeof it->entries->name;
        if ((!blob && !temporary) ||
            fstatat(it->folder, item->d_name, &stat, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(stat.st_mode))
            continue;
        if (temporary)
            drop_if_dead(it, item->d_name, &stat);
        else if (!add_blob(it, item->d_name, &stat))
            break;
    }
}

// What the folder may hold of blobs that were used lately.
static uint64_t recent_limit(const trimming_t *it)
{
    struct statvfs disk;
    const uint64_t limit_bytes = it->cache->limit_bytes;
    uint64_t most, left;
    if (!weir__mul_u64(limit_bytes, WEIR__CACHE_RECENT_TIMES, &most))
        most = UINT64_MAX;
    bool known =
        fstatvfs(it->folder, &disk) == 0 && weir__mul_u64(disk.f_bavail, disk.f_frsize, &left);
    return known && left >= limit_bytes ? most : limit_bytes;
}

// What counts against the limit. What is held stays whatever is removed, so that it counts for at
// most half: a large model in use must not drive out all others, in vain.
static uint64_t counted_bytes(const trimming_t *it)
{
    const uint64_t held_most = it->cache->limit_bytes / 2;
    uint64_t held = 0, others = 0;
    for (size_t i = 0; i < it->count; i++)
        *(it->entries[i].is_held ? &held : &others) += it->entries[i].bytes;
    return others + (held < held_most ? held : held_most);
}

// Not what somebody took up after it was listed. Between the last look and the removal is a moment
// left: who takes it up then keeps its mapping, and the next start makes the blob again.
static bool remove_blob(const trimming_t *it, const entry_t *entry)
{
    struct stat stat;
    return !entry->is_held && !is_held(it, entry->name) &&
           fstatat(it->folder, entry->name, &stat, AT_SYMLINK_NOFOLLOW) == 0 &&
           used_ns(&stat) == entry->used_ns && unlinkat(it->folder, entry->name, 0) == 0;
}

// The oldest go first, until the rest fits and none is left that nobody used for long. Without a
// clock their order is all that is known: none is too old, and none was used lately.
static uint64_t remove_oldest(trimming_t *it)
{
    const int64_t expired_ns =
        it->has_clock ? (it->now_s - WEIR__CACHE_UNUSED_S) * 1000000000ll : INT64_MIN;
    const int64_t recent_ns =
        it->has_clock ? (it->now_s - WEIR__CACHE_RECENT_S) * 1000000000ll : INT64_MAX;
    const uint64_t recent_bytes = recent_limit(it), bytes = counted_bytes(it);
    uint64_t removed = 0;
    if (it->count)
        qsort(it->entries, it->count, sizeof *it->entries, by_age);
    for (size_t i = 0; i < it->count; i++) {
        const entry_t *entry = &it->entries[i];
        uint64_t most = entry->used_ns >= recent_ns ? recent_bytes : it->cache->limit_bytes;
        if (bytes - removed <= most && entry->used_ns >= expired_ns)
            break;
        if (remove_blob(it, entry))
            removed += entry->bytes;
    }
    return removed;
}

void weir__cache_trim(weir__cache_t *cache)
{
    if (!cache || !atomic_load_explicit(&cache->has_grown, memory_order_relaxed) ||
        atomic_exchange_explicit(&cache->is_trimmed, true, memory_order_relaxed))
        return;
    const int64_t now_s = (int64_t)time(NULL);
    trimming_t it = {.cache = cache, .now_s = now_s, .has_clock = now_s >= EARLIEST_S};
    it.folder = openat(cache->folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = it.folder < 0 ? NULL : fdopendir(it.folder);
    if (!list) {
        if (it.folder >= 0)
            close(it.folder);
        return;
    }
    list_blobs(&it, list);
    uint64_t removed = remove_oldest(&it);
    closedir(list);
    weir__heap_free(cache->heap, it.entries);
    if (removed)
        weir__log(cache->log, WEIR_LOG_INFO, "cache",
            "removed %" PRIu64 " bytes not used lately from %s", removed, cache->dir);
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
    return NULL;
}

void weir__cache_close(weir__cache_t *cache)
{
    if (!cache)
        return;
    weir__cache_trim(cache);
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
