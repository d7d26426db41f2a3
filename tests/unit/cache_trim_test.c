// Trimming of the cache's folder: what goes, what stays, and when.
#include "tests/unit/cache_folder.h"
#include <time.h>

static const weir__hash_t key = {1, 2};

static weir_status_t give_up(void *user, weir__sink_t *sink)
{
    (void)user;
    (void)sink;
    return WEIR_ERR(WEIR_UNSUPPORTED, "no more");
}

// Opens a cache that may hold so many bytes and begins to write to it, so that closing trims; of
// what it writes nothing stays.
static void trim_to(folder_t *folder, uint64_t bytes)
{
    weir__cache_t *cache;
    weir__view_t view;
    assert_null(weir__cache_open(&folder->heap, &folder->log, folder->cache_path, bytes, &cache));
    expect_failure(weir__cache_pour(cache, &folder->heap, key, 1, give_up, NULL, &view),
        WEIR_UNSUPPORTED, "no more");
    weir__cache_close(cache);
}

// Goal: what was not used for the longest time is removed, until the rest fits.
static void trimming_removes_the_oldest(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    char path[700];
    for (uint64_t i = 0; i < 4; i++)
        put_blob(folder, cache, (weir__hash_t){i, i}, "blob");
    weir__cache_close(cache);
    // Blob i was last used 9 - i days ago.
    const time_t now = time(NULL);
    for (int i = 0; i < 4; i++) {
        cache_files(folder, i, path);
        const char *name = strrchr(path, '/') + 1;
        char hex[33];
        for (uint64_t j = 0; j < 4; j++) {
            weir__hash_hex((weir__hash_t){j, j}, hex);
            const time_t used = now - (time_t)(9 - j) * 86400;
            struct timespec times[2] = {{.tv_sec = used}, {.tv_sec = used}};
            if (strncmp(name, hex, 32) == 0)
                assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
        }
    }
    trim_to(folder, 3 * 4500);
    cache = open_cache(folder);
    assert_false(get_is(cache, (weir__hash_t){0, 0}, "blob"));
    assert_true(get_is(cache, (weir__hash_t){1, 1}, "blob")); // now the one used last
    weir__cache_close(cache);
    trim_to(folder, 4500);
    assert_int_equal(cache_files(folder, 0, NULL), 1);
    cache = open_cache(folder);
    assert_true(get_is(cache, (weir__hash_t){1, 1}, "blob"));
    weir__cache_close(cache);
}

// Sets when all files of the cache were last used.
static void used_at(folder_t *folder, time_t seconds)
{
    char path[700];
    const struct timespec used = {.tv_sec = seconds};
    for (int i = cache_files(folder, 0, NULL); i-- > 0;) {
        cache_files(folder, i, path);
        assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){used, used}, 0), 0);
    }
}

// Goal: what was used today stays beyond the limit, up to four times of it.
static void trimming_keeps_what_was_used_today(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    for (uint64_t i = 0; i < 8; i++)
        put_blob(folder, cache, (weir__hash_t){i, i}, "blob");
    weir__cache_close(cache);
    used_at(folder, time(NULL) - 3600);
    trim_to(folder, 4500);
    assert_int_equal(cache_files(folder, 0, NULL), 4);
    used_at(folder, time(NULL) - 2 * 86400);
    trim_to(folder, 4500);
    assert_int_equal(cache_files(folder, 0, NULL), 1);
}

static bool has_locks(const folder_t *folder)
{
    struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1};
    int file = open(folder->path, O_RDONLY | O_DIRECTORY);
    bool has = fcntl(file, F_OFD_SETLK, &lock) == 0;
    close(file);
    return has;
}

// Goal: what a cache that is open has handed out is not removed, however old and large it is, and
// counts as used while it is open; once it is closed it is removed like any other. Where the system
// has no such locks it is removed at once.
static void trimming_keeps_what_another_uses(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *server = open_cache(folder);
    for (uint64_t i = 0; i < 3; i++)
        put_blob(folder, server, (weir__hash_t){i, i}, "blob");
    weir__cache_close(server);
    server = open_cache(folder);
    put_blob(folder, server, (weir__hash_t){3, 3}, "made");
    assert_true(get_is(server, (weir__hash_t){1, 1}, "blob"));
    used_at(folder, time(NULL) - WEIR__CACHE_UNUSED_S - 10);
    const int kept = has_locks(folder) ? 2 : 0;
    trim_to(folder, 1);
    assert_int_equal(cache_files(folder, 0, NULL), kept);
    weir__cache_close(server);
    trim_to(folder, 0);
    assert_int_equal(cache_files(folder, 0, NULL), kept);
    trim_to(folder, 1);
    assert_int_equal(cache_files(folder, 0, NULL), 0);
}

// Goal: a process that was stopped after a month finds all that it used when it starts again, also
// after it has made something; when that is trimmed for, the rest goes, and not what it holds
// itself.
static void start_that_finds_all_removes_nothing(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    for (uint64_t i = 0; i < 3; i++)
        put_blob(folder, cache, (weir__hash_t){i, i}, "blob");
    weir__cache_close(cache);
    used_at(folder, time(NULL) - WEIR__CACHE_UNUSED_S - 10);
    assert_null(weir__cache_open(&folder->heap, &folder->log, folder->cache_path, 1, &cache));
    assert_true(get_is(cache, (weir__hash_t){0, 0}, "blob"));
    assert_true(get_is(cache, (weir__hash_t){1, 1}, "blob"));
    weir__cache_trim(cache);
    assert_int_equal(cache_files(folder, 0, NULL), 3);
    weir__cache_close(cache);
    used_at(folder, time(NULL) - WEIR__CACHE_UNUSED_S - 10);
    assert_null(weir__cache_open(&folder->heap, &folder->log, folder->cache_path, 1, &cache));
    put_blob(folder, cache, (weir__hash_t){3, 3}, "made");
    assert_true(get_is(cache, (weir__hash_t){0, 0}, "blob"));
    assert_true(get_is(cache, (weir__hash_t){1, 1}, "blob"));
    weir__cache_trim(cache);
    assert_int_equal(cache_files(folder, 0, NULL), has_locks(folder) ? 3 : 1);
    assert_true(get_is(cache, (weir__hash_t){3, 3}, "made"));
    assert_false(get_is(cache, (weir__hash_t){2, 2}, "blob"));
    weir__cache_close(cache);
}

// Goal: what is held, and more than the limit, leaves half of the limit to the rest.
static void large_model_in_use_leaves_room(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    if (!has_locks(folder)) {
        weir__cache_close(cache);
        skip();
    }
    for (uint64_t i = 0; i < 5; i++)
        put_blob(folder, cache, (weir__hash_t){i, i}, "blob");
    weir__cache_close(cache);
    cache = open_cache(folder);
    for (uint64_t i = 5; i < 13; i++)
        put_blob(folder, cache, (weir__hash_t){i, i}, "blob");
    used_at(folder, time(NULL) - 2 * 86400);
    trim_to(folder, 2 * 3 * 4500);
    assert_int_equal(cache_files(folder, 0, NULL), 8 + 3);
    weir__cache_close(cache);
}

// Goal: blobs that a machine without a clock wrote are not taken for old ones; from then on they
// age.
static void trimming_dates_what_has_no_date(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    struct stat stat_now;
    char path[700];
    put_blob(folder, cache, key, "blob");
    weir__cache_close(cache);
    used_at(folder, 60);
    const time_t before = time(NULL);
    trim_to(folder, 0);
    assert_int_equal(cache_files(folder, 0, path), 1);
    assert_int_equal(stat(path, &stat_now), 0);
    assert_true(stat_now.st_mtim.tv_sec >= before);
}

// Goal: what nobody used for a month goes, though there is room.
static void trimming_removes_what_nobody_uses(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    char path[700];
    put_blob(folder, cache, (weir__hash_t){1, 1}, "old");
    cache_files(folder, 0, path);
    put_blob(folder, cache, (weir__hash_t){2, 2}, "new");
    weir__cache_close(cache);
    const struct timespec used = {.tv_sec = time(NULL) - WEIR__CACHE_UNUSED_S - 10};
    assert_int_equal(utimensat(AT_FDCWD, path, (struct timespec[2]){used, used}, 0), 0);
    trim_to(folder, 0);
    assert_int_equal(cache_files(folder, 0, NULL), 1);
    cache = open_cache(folder);
    assert_true(get_is(cache, (weir__hash_t){2, 2}, "new"));
    weir__cache_close(cache);
}

// Goal: strange files in the folder are left alone.
static void trimming_leaves_strangers_alone(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__cache_close(cache);
    write_at(in_model(folder, "../cache/notes.txt"), "mine", 4);
    trim_to(folder, 1);
    assert_int_equal(cache_files(folder, 0, NULL), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(trimming_removes_the_oldest),
        TEST(trimming_keeps_what_was_used_today),
        TEST(trimming_keeps_what_another_uses),
        TEST(start_that_finds_all_removes_nothing),
        TEST(large_model_in_use_leaves_room),
        TEST(trimming_dates_what_has_no_date),
        TEST(trimming_removes_what_nobody_uses),
        TEST(trimming_leaves_strangers_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
