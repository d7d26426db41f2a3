// tests/unit/cache_times_test.c: measured times outlive the process, and nothing that happens to
// their file does more harm than to lose them.
#include "tests/unit/cache_folder.h"

#include "engine/cache/times.h"
#include <sys/wait.h>

static weir__hash_t key_of(uint64_t number)
{
    return (weir__hash_t){.low = number * 0x9e3779b97f4a7c15ull, .high = number % 7};
}

typedef struct store {
    weir__cache_t *cache;
    weir__times_t *times;
} store_t;

static store_t open_store(folder_t *folder)
{
    store_t store;
    assert_null(weir__cache_open(&folder->heap, &folder->log, folder->cache_path, 0, &store.cache));
    assert_null(weir__times_open(store.cache, &folder->heap, &store.times));
    return store;
}

static void close_store(store_t *store)
{
    weir__times_close(store->times);
    weir__cache_close(store->cache);
}

static void expect_time(const store_t *store, uint64_t number, uint32_t size_class, uint64_t ns)
{
    const weir__time_t *time = weir__times_find(store->times, key_of(number), size_class);
    if (!ns)
        assert_null(time);
    else
        assert_true(time && time->ns == ns);
}

static void note(store_t *store, uint64_t number, uint32_t size_class, uint64_t ns)
{
    assert_null(weir__times_note(store->times, key_of(number), size_class, ns));
}

// Goal:   what is noted is found again by key and class, in another process's place too; a smaller
//         time counts at once, a larger one slowly.
static void times_are_kept(void **state)
{
    folder_t *folder = *state;
    store_t store = open_store(folder);
    assert_int_equal(weir__times_count(store.times), 0);
    for (uint64_t i = 1; i <= 100; i++)
        note(&store, i * 37 % 101, 5, 1000 + i);
    note(&store, 3, 9, 77);
    note(&store, 4, 5, 8);
    note(&store, 4, 5, 88);
    expect_time(&store, 4, 5, 28);
    note(&store, 4, 5, 10);
    assert_null(weir__times_save(store.times));
    close_store(&store);
    store = open_store(folder);
    assert_int_equal(weir__times_count(store.times), 101);
    for (uint64_t i = 1; i <= 100; i++)
        expect_time(&store, i * 37 % 101, 5, i * 37 % 101 == 4 ? 10 : 1000 + i);
    expect_time(&store, 3, 9, 77);
    expect_time(&store, 3, 6, 0);
    expect_time(&store, 200, 5, 0);
    assert_int_equal(weir__times_of(store.times, key_of(3), 0)->size_class, 5);
    assert_int_equal(weir__times_of(store.times, key_of(3), 1)->size_class, 9);
    assert_null(weir__times_of(store.times, key_of(3), 2));
    close_store(&store);
    assert_int_equal(folder->warnings, 0);
    assert_int_equal(atomic_load(&folder->heap.now_bytes), 0);
}

// Goal:   a file of which any byte is wrong counts as empty, and the next save makes a good one.
// Method: every byte of it flipped in turn, and every shorter length.
static void damage_is_forgotten(void **state)
{
    folder_t *folder = *state;
    char path[300];
    uint8_t good[1024], bad[1024];
    store_t store = open_store(folder);
    for (uint64_t i = 1; i <= 4; i++)
        note(&store, i, 2, i);
    assert_null(weir__times_save(store.times));
    snprintf(path, sizeof path, "%s/times", folder->cache_path);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t bytes = fread(good, 1, sizeof good, file);
    fclose(file);
    assert_true(bytes > 100 && bytes < sizeof good);
    for (size_t i = 0; i < 2 * bytes; i++) {
        size_t length = i < bytes ? bytes : i - bytes;
        memcpy(bad, good, bytes);
        bad[i % bytes] ^= 0x10;
        file = fopen(path, "wb");
        assert_int_equal(fwrite(i < bytes ? bad : good, 1, length, file), length);
        fclose(file);
        weir__times_t *times;
        assert_null(weir__times_open(store.cache, &folder->heap, &times));
        // The header has eight bytes that nobody reads.
        bool whole = i >= 24 && i < 32;
        assert_int_equal(weir__times_count(times), whole ? 4 : 0);
        weir__times_close(times);
    }
    note(&store, 9, 2, 9);
    assert_null(weir__times_save(store.times));
    close_store(&store);
    store = open_store(folder);
    assert_int_equal(weir__times_count(store.times), 5);
    close_store(&store);
}

// Goal:   the table is bounded, and what was measured longest ago goes first.
static void the_oldest_goes(void **state)
{
    folder_t *folder = *state;
    store_t store = open_store(folder);
    for (uint64_t i = 1; i <= 10; i++)
        note(&store, i, 1, i);
    assert_null(weir__times_save(store.times));
    for (uint64_t i = 11; i <= WEIR__TIMES_MAX + 5; i++)
        note(&store, i, 1, i);
    assert_int_equal(weir__times_count(store.times), WEIR__TIMES_MAX);
    assert_null(weir__times_save(store.times));
    close_store(&store);
    store = open_store(folder);
    assert_int_equal(weir__times_count(store.times), WEIR__TIMES_MAX);
    uint32_t old = 0;
    for (uint64_t i = 1; i <= 10; i++)
        old += weir__times_find(store.times, key_of(i), 1) != NULL;
    assert_int_equal(old, 5);
    expect_time(&store, WEIR__TIMES_MAX + 5, 1, WEIR__TIMES_MAX + 5);
    close_store(&store);
}

// Goal:   writers that take turns lose nothing of each other; ones at the same time leave a whole
//         file.
static void many_writers(void **state)
{
    folder_t *folder = *state;
    store_t first = open_store(folder), second = open_store(folder);
    note(&first, 1, 1, 100);
    note(&second, 2, 1, 200);
    assert_null(weir__times_save(first.times));
    assert_null(weir__times_save(second.times));
    expect_time(&second, 1, 1, 100);
    close_store(&first);
    close_store(&second);
    for (uint64_t child = 1; child <= 4; child++)
        if (fork() == 0) {
            store_t store = open_store(folder);
            for (uint64_t i = 0; i < 200; i++) {
                if (weir__times_note(store.times, key_of(child * 1000 + i), 1, i + 1) ||
                    weir__times_save(store.times))
                    _exit(1);
            }
            _exit(folder->warnings ? 2 : 0);
        }
    for (int child = 0; child < 4; child++) {
        int status;
        wait(&status);
        assert_int_equal(status, 0);
    }
    store_t store = open_store(folder);
    expect_time(&store, 1, 1, 100);
    assert_true(weir__times_count(store.times) >= 202);
    close_store(&store);
    assert_int_equal(folder->warnings, 0);
}

// Goal:   without a folder, or with one that cannot be written, nothing fails.
static void nowhere_to_write(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache;
    weir__times_t *times;
    assert_null(weir__cache_open(&folder->heap, &folder->log, "", 0, &cache));
    assert_null(weir__times_open(cache, &folder->heap, &times));
    assert_null(weir__times_note(times, key_of(1), 1, 5));
    assert_null(weir__times_save(times));
    assert_int_equal(weir__times_find(times, key_of(1), 1)->ns, 5);
    assert_null(weir__times_find(NULL, key_of(1), 1));
    weir__times_close(times);
    weir__cache_close(cache);
    // A folder where the file should be: even root cannot rename onto it.
    char path[300];
    store_t store = open_store(folder);
    snprintf(path, sizeof path, "%s/times", folder->cache_path);
    assert_int_equal(mkdir(path, 0700), 0);
    note(&store, 1, 1, 5);
    assert_null(weir__times_save(store.times));
    assert_int_equal(folder->warnings, 1);
    assert_non_null(strstr(folder->warning, "measured times are not kept in"));
    close_store(&store);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(times_are_kept, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(damage_is_forgotten, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(the_oldest_goes, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(many_writers, folder_setup, folder_teardown),
        cmocka_unit_test_setup_teardown(nowhere_to_write, folder_setup, folder_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
