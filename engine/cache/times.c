// engine/cache/times.c: the table of measured times and its file.
//
// The table is sorted by key and class, so that finding is a binary search and the file is the
// table as it is. Must not trust a byte of the file that its checksum does not cover.
#include "engine/cache/times.h"

#include "engine/cache/store.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAGIC 0x3173656d69747277ull // "wrtimes1", little-endian
#define FILE_NAME "times"

typedef struct header {
    uint64_t magic;
    uint64_t count;
    uint64_t checksum; // of the entries
    uint64_t reserved;
} header_t;

struct weir__times {
    weir__cache_t *cache;
    weir__heap_t *heap;
    weir__time_t *entries; // sorted by key and class
    bool *is_new;          // [capacity] noted since it was opened or saved
    uint32_t count, capacity;
    uint64_t stamp; // the largest there is
};

// ---- The table ---------------------------------------------------------------------------------

static int compare(const weir__time_t *a, weir__hash_t key, uint32_t size_class)
{
    if (a->key.high != key.high)
        return a->key.high < key.high ? -1 : 1;
    if (a->key.low != key.low)
        return a->key.low < key.low ? -1 : 1;
    return a->size_class < size_class ? -1 : a->size_class > size_class;
}

// The first entry that is not before this key and class.
static uint32_t lower_bound(const weir__times_t *times, weir__hash_t key, uint32_t size_class)
{
    uint32_t first = 0, end = times->count;
    while (first < end) {
        uint32_t middle = first + (end - first) / 2;
        if (compare(&times->entries[middle], key, size_class) < 0)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

uint32_t weir__times_count(const weir__times_t *times)
{
    return times->count;
}

const weir__time_t *weir__times_find(
    const weir__times_t *times, weir__hash_t key, uint32_t size_class)
{
    if (!times)
        return NULL;
    uint32_t at = lower_bound(times, key, size_class);
    return at < times->count && compare(&times->entries[at], key, size_class) == 0
               ? &times->entries[at]
               : NULL;
}

const weir__time_t *weir__times_of(const weir__times_t *times, weir__hash_t key, uint32_t index)
{
    if (!times)
        return NULL;
    uint32_t at = lower_bound(times, key, 0);
    if (index >= times->count - at)
        return NULL;
    const weir__time_t *entry = &times->entries[at + index];
    return entry->key.low == key.low && entry->key.high == key.high ? entry : NULL;
}

static weir_status_t reserve(weir__times_t *times, uint32_t count)
{
    if (count <= times->capacity)
        return NULL;
    uint32_t capacity = WEIR_MAX(count, times->capacity * 2);
    weir__time_t *entries =
        weir__heap_realloc(times->heap, times->entries, (uint64_t)capacity * sizeof *entries);
    if (!entries)
        return weir__status_no_memory();
    times->entries = entries;
    bool *is_new = weir__heap_realloc(times->heap, times->is_new, capacity * sizeof *is_new);
    if (!is_new)
        return weir__status_no_memory();
    times->is_new = is_new;
    times->capacity = capacity;
    return NULL;
}

// Makes room for the least recently measured entry to be another one.
static void drop_oldest(weir__times_t *times)
{
    uint32_t oldest = 0;
    for (uint32_t i = 1; i < times->count; i++)
        if (times->entries[i].stamp < times->entries[oldest].stamp)
            oldest = i;
    uint32_t behind = times->count - oldest - 1;
    memmove(&times->entries[oldest], &times->entries[oldest + 1], behind * sizeof *times->entries);
    memmove(&times->is_new[oldest], &times->is_new[oldest + 1], behind * sizeof *times->is_new);
    times->count--;
}

// The entry of this key and class, made when there is none (then its count is 0).
static weir_status_t take(
    weir__times_t *times, weir__hash_t key, uint32_t size_class, uint32_t *out_at)
{
    uint32_t at = lower_bound(times, key, size_class);
    *out_at = at;
    if (at < times->count && compare(&times->entries[at], key, size_class) == 0)
        return NULL;
    if (times->count == WEIR__TIMES_MAX) {
        drop_oldest(times);
        at = *out_at = lower_bound(times, key, size_class);
    }
    WEIR_TRY(reserve(times, times->count + 1));
    uint32_t behind = times->count - at;
    memmove(&times->entries[at + 1], &times->entries[at], behind * sizeof *times->entries);
    memmove(&times->is_new[at + 1], &times->is_new[at], behind * sizeof *times->is_new);
    times->count++;
    times->entries[at] = (weir__time_t){.key = key, .size_class = size_class};
    times->is_new[at] = false;
    return NULL;
}

weir_status_t weir__times_note(
    weir__times_t *times, weir__hash_t key, uint32_t size_class, uint64_t ns)
{
    uint32_t at;
    WEIR_TRY(take(times, key, size_class, &at));
    weir__time_t *entry = &times->entries[at];
    if (!entry->count || ns < entry->ns)
        entry->ns = ns;
    else
        entry->ns += (ns - entry->ns) / 4;
    entry->count += entry->count < UINT32_MAX;
    entry->stamp = times->stamp + 1;
    times->is_new[at] = true;
    return NULL;
}

// ---- The file ----------------------------------------------------------------------------------

static bool is_sorted(const weir__time_t *entries, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++)
        if (compare(&entries[i - 1], entries[i].key, entries[i].size_class) >= 0)
            return false;
    return true;
}

static bool read_all(int file, void *destination, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t got = read(file, (char *)destination + done, bytes - done);
        if (got <= 0 && !(got < 0 && errno == EINTR))
            return false;
        done += got > 0 ? (uint64_t)got : 0;
    }
    return true;
}

static bool write_all(int file, const void *data, uint64_t bytes)
{
    for (uint64_t done = 0; done < bytes;) {
        ssize_t put = write(file, (const char *)data + done, bytes - done);
        if (put < 0 && errno != EINTR)
            return false;
        done += put > 0 ? (uint64_t)put : 0;
    }
    return true;
}

// The entries of an open file into memory of the heap; NULL when it holds none that are whole.
static weir__time_t *read_entries(weir__heap_t *heap, int file, uint32_t *out_count)
{
    header_t header;
    struct stat stat;
    if (fstat(file, &stat) != 0 || !S_ISREG(stat.st_mode) ||
        !read_all(file, &header, sizeof header) || header.magic != MAGIC ||
        header.count > WEIR__TIMES_MAX ||
        (uint64_t)stat.st_size != sizeof header + header.count * sizeof(weir__time_t))
        return NULL;
    uint64_t bytes = header.count * sizeof(weir__time_t);
    weir__time_t *entries = weir__heap_alloc(heap, bytes);
    if (entries && read_all(file, entries, bytes) &&
        weir__hash64(entries, bytes, MAGIC) == header.checksum &&
        is_sorted(entries, header.count)) {
        *out_count = (uint32_t)header.count;
        return entries;
    }
    weir__heap_free(heap, entries);
    return NULL;
}

// Takes in what the file holds and the table does not know better.
static weir_status_t merge_file(weir__times_t *times)
{
    int file = openat(times->cache->folder, FILE_NAME, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file < 0)
        return NULL;
    uint32_t count = 0;
    weir__time_t *entries = read_entries(times->heap, file, &count);
    close(file);
    weir_status_t status = reserve(times, WEIR_MIN(times->count + count, WEIR__TIMES_MAX));
    for (uint32_t i = 0; i < count && !status; i++) {
        uint32_t at;
        status = take(times, entries[i].key, entries[i].size_class, &at);
        if (!status && !times->is_new[at])
            times->entries[at] = entries[i];
        times->stamp = WEIR_MAX(times->stamp, entries[i].stamp);
    }
    weir__heap_free(times->heap, entries);
    return status;
}

weir_status_t weir__times_open(weir__cache_t *cache, weir__heap_t *heap, weir__times_t **out_times)
{
    weir__times_t *times = weir__heap_calloc(heap, 1, sizeof *times);
    if (!times)
        return weir__status_no_memory();
    times->cache = cache;
    times->heap = heap;
    weir_status_t status = weir__cache_is_on(cache) ? merge_file(times) : NULL;
    if (status) {
        weir__times_close(times);
        return status;
    }
    *out_times = times;
    return NULL;
}

void weir__times_close(weir__times_t *times)
{
    if (!times)
        return;
    weir__heap_free(times->heap, times->is_new);
    weir__heap_free(times->heap, times->entries);
    weir__heap_free(times->heap, times);
}

// Writes the table beside the old file and puts it in its place. Returns 0 or an errno.
static int write_file(const weir__times_t *times)
{
    char temporary[64];
    weir__cache_t *cache = times->cache;
    snprintf(temporary, sizeof temporary, "%s%s-%ld-%llu", WEIR__CACHE_TEMPORARY, FILE_NAME,
        (long)getpid(), (unsigned long long)atomic_fetch_add(&cache->temporary_count, 1));
    int file = openat(
        cache->folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0)
        return errno;
    uint64_t bytes = (uint64_t)times->count * sizeof *times->entries;
    header_t header = {.magic = MAGIC,
        .count = times->count,
        .checksum = weir__hash64(times->entries, bytes, MAGIC)};
    bool written =
        write_all(file, &header, sizeof header) && write_all(file, times->entries, bytes);
    int error = written ? 0 : errno;
    if (close(file) != 0 && !error)
        error = errno;
    if (!error && renameat(cache->folder, temporary, cache->folder, FILE_NAME) != 0)
        error = errno;
    if (error)
        unlinkat(cache->folder, temporary, 0);
    return error;
}

weir_status_t weir__times_save(weir__times_t *times)
{
    bool any = false;
    for (uint32_t i = 0; i < times->count; i++)
        any |= times->is_new[i];
    if (!any || !weir__cache_is_on(times->cache))
        return NULL;
    WEIR_TRY(merge_file(times));
    times->stamp++;
    for (uint32_t i = 0; i < times->count; i++)
        if (times->is_new[i])
            times->entries[i].stamp = times->stamp;
    int error = write_file(times);
    if (error)
        weir__log(times->cache->log, WEIR_LOG_WARNING, "cache",
            "measured times are not kept in %s: %s", times->cache->dir, strerror(error));
    else
        memset(times->is_new, 0, times->count * sizeof *times->is_new);
    return NULL;
}
