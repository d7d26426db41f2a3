// Blobs: kept between openings, mapped and aligned; what is damaged is made again; nothing fails a
// load. Labels: threads
#include "tests/unit/cache_folder.h"
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

static const weir__hash_t key = {1, 2};

// Goal: a blob outlives the cache that made it, byte for byte; other keys find nothing.
static void blob_outlives_the_cache(void **state)
{
    folder_t *folder = *state;
    struct stat stat_of;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t view;
    put_blob(folder, cache, key, "packed weights");
    weir__cache_close(cache);
    cache = open_cache(folder);
    assert_true(get_is(cache, key, "packed weights"));
    assert_false(weir__cache_get(cache, (weir__hash_t){1, 3}, &view));
    put_blob(folder, cache, key, "others");
    assert_true(get_is(cache, key, "others"));
    assert_int_equal(cache_files(folder, 0, NULL), 1);
    assert_int_equal(stat(folder->cache_path, &stat_of), 0);
    assert_int_equal(stat_of.st_mode & 0777, 0700);
    put_blob(folder, cache, (weir__hash_t){5, 5}, "");
    assert_true(get_is(cache, (weir__hash_t){5, 5}, ""));
    assert_int_equal(folder->warnings, 0);
    weir__cache_close(cache);
}

// Goal: a view stays as it is when its file is replaced or removed, and when the cache is closed.
static void view_outlives_its_file(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t view;
    char path[700];
    assert_null(weir__cache_put_data(cache, &folder->heap, key, "first", 5, &view));
    put_blob(folder, cache, key, "second");
    cache_files(folder, 0, path);
    assert_int_equal(unlink(path), 0);
    weir__cache_close(cache);
    assert_memory_equal(view.data, "first", 5);
    weir__cache_view_release(&view);
}

static void damage(const char *path, long offset, size_t new_size)
{
    if (new_size) {
        assert_int_equal(truncate(path, (off_t)new_size), 0);
        return;
    }
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    assert_int_equal(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
    int byte = fgetc(file);
    assert_int_equal(fseek(file, offset, offset < 0 ? SEEK_END : SEEK_SET), 0);
    fputc(byte ^ 0x55, file);
    fclose(file);
}

// Goal: whatever happened to a file, it is ignored with a warning, and then made again.
static void blob_that_is_damaged_is_ignored(void **state)
{
    folder_t *folder = *state;
    static const struct {
        long offset;
        size_t size;
        const char *why;
    } cases[] = {
        {0, 0, "no cache file"},
        {8, 0, "another version"},
        {20, 0, "header is damaged"},
        {32, 0, "header is damaged"},
        {-1, 0, "not written to its end"},
        {-32, 0, "not written to its end"},
        {0, 4000, "too short"},
        {0, 1, "too short"},
        {0, 4200, "size is wrong"},
        {0, 9000, "size is wrong"},
    };
    weir__cache_t *cache = open_cache(folder);
    char path[700], *text = malloc(1001);
    memset(text, 'x', 1000);
    text[1000] = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        weir__view_t view;
        put_blob(folder, cache, key, text);
        cache_files(folder, 0, path);
        damage(path, cases[i].offset, cases[i].size);
        folder->warnings = 0;
        assert_false(weir__cache_get(cache, key, &view));
        assert_int_equal(folder->warnings, 1);
        if (!strstr(folder->warning, cases[i].why))
            fail_msg("case %zu: %s", i, folder->warning);
        put_blob(folder, cache, key, text);
        assert_true(get_is(cache, key, text));
    }
    free(text);
    weir__cache_close(cache);
}

// Goal: a blob under another's name is not taken for it, and one that is no file is not opened.
static void blob_of_another_key_is_ignored(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t view;
    char first[700], second[700];
    put_blob(folder, cache, key, "mine");
    cache_files(folder, 0, first);
    put_blob(folder, cache, (weir__hash_t){7, 7}, "other");
    cache_files(folder, 0, second);
    if (strcmp(first, second) == 0)
        cache_files(folder, 1, second);
    assert_int_equal(rename(second, first), 0);
    assert_false(weir__cache_get(cache, key, &view));
    assert_non_null(strstr(folder->warning, "something else"));
    assert_int_equal(unlink(first), 0);
    assert_int_equal(symlink("/etc/hostname", first), 0);
    assert_false(weir__cache_get(cache, key, &view));
    assert_int_equal(unlink(first), 0);
    assert_int_equal(mkfifo(first, 0600), 0);
    assert_false(weir__cache_get(cache, key, &view));
    weir__cache_close(cache);
}

// Where the header says in which boot the bytes were last known to be right.
#define BOOT_OFFSET 56

static uint64_t boot_of(const char *path)
{
    uint64_t boot = 0;
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    assert_int_equal(fseek(file, BOOT_OFFSET, SEEK_SET), 0);
    assert_int_equal(fread(&boot, sizeof boot, 1, file), 1);
    fclose(file);
    return boot;
}

// Goal: what an earlier boot wrote is read once: kept and marked when it is whole, else ignored.
// Method: the mark of the boot is changed, and a page in the middle is zeroed as a power cut does.
static void blob_of_an_earlier_boot_is_checked(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t view;
    char path[700], *text = malloc(20001);
    assert_non_null(text);
    memset(text, 'x', 20000);
    text[20000] = 0;
    put_blob(folder, cache, key, text);
    cache_files(folder, 0, path);
    const uint64_t boot = boot_of(path);
    damage(path, BOOT_OFFSET, 0);
    assert_true(boot_of(path) != boot);
    assert_true(get_is(cache, key, text));
    assert_true(boot_of(path) == boot);
    assert_int_equal(folder->warnings, 0);

    FILE *file = fopen(path, "r+b");
    static const char zeros[4096];
    assert_non_null(file);
    assert_int_equal(fseek(file, 8192, SEEK_SET), 0);
    assert_int_equal(fwrite(zeros, 1, sizeof zeros, file), sizeof zeros);
    fclose(file);
    damage(path, BOOT_OFFSET, 0);
    assert_false(weir__cache_get(cache, key, &view));
    assert_int_equal(folder->warnings, 1);
    assert_non_null(strstr(folder->warning, "bytes are damaged"));
    assert_true(boot_of(path) != boot);
    put_blob(folder, cache, key, text);
    assert_true(get_is(cache, key, text));
    assert_true(boot_of(path) == boot);
    free(text);
    weir__cache_close(cache);
}

// Goal: a changed byte in the middle is found when all of it is checked (a get in the same boot
// does not).
static void verify_reads_all_of_it(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t view;
    char path[700];
    put_blob(folder, cache, key, "0123456789");
    cache_files(folder, 0, path);
    damage(path, 4096 + 3, 0);
    assert_true(weir__cache_get(cache, key, &view));
    assert_false(weir__cache_view_verify(&view));
    weir__cache_view_release(&view);
    weir__cache_close(cache);
}

static weir_status_t refuse(void *user, void *destination, uint64_t bytes)
{
    (void)user;
    (void)destination;
    return WEIR_ERR(WEIR_UNSUPPORTED, "%u bytes", (unsigned)bytes);
}

// Goal: a writer that fails leaves nothing behind, on disk or in memory.
static void put_leaves_nothing_when_it_fails(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t view;
    expect_failure(weir__cache_put(cache, &folder->heap, key, 9, refuse, NULL, &view),
        WEIR_UNSUPPORTED, "9 bytes");
    assert_int_equal(cache_files(folder, 0, NULL), 0);
    expect_failure(weir__cache_put(NULL, &folder->heap, key, 9, refuse, NULL, &view),
        WEIR_UNSUPPORTED, "9 bytes");
    weir__cache_close(cache);
}

// ---- Poured blobs
// -----------------------------------------------------------------------------------------

// 1 MB and a bit, in every way that a sink takes bytes.
#define POURED_BYTES 1000003u

typedef struct poured {
    unsigned char bytes[POURED_BYTES];
    weir__hash_t digest;
    int calls;
    uint64_t missing_bytes;
} poured_t;

static weir_status_t pour_pieces(void *user, weir__sink_t *sink)
{
    poured_t *poured = user;
    uint64_t end = POURED_BYTES - 300 - poured->missing_bytes, done = 0, piece;
    poured->calls++;
    for (uint64_t size = 1; done < end; size = size * 7 % 600011 + 1) {
        uint64_t wanted = size < end - done ? size : end - done;
        if (size % 2) {
            weir__sink_put(sink, poured->bytes + done, wanted);
            piece = wanted;
        } else {
            void *room = weir__sink_room(sink, wanted, &piece);
            assert_in_range(piece, 1, wanted);
            memcpy(room, poured->bytes + done, (size_t)piece);
            weir__sink_took(sink, piece);
        }
        done += piece;
    }
    poured->digest = weir__sink_digest(sink);
    weir__sink_zeros(sink, 300);
    return NULL;
}

static weir_status_t refuse_to_pour(void *user, weir__sink_t *sink)
{
    poured_t *poured = user;
    weir__sink_put(sink, poured->bytes, 500);
    return WEIR_ERR(WEIR_UNSUPPORTED, "no more");
}

static poured_t *poured_new(void)
{
    poured_t *poured = test_calloc(1, sizeof *poured);
    uint32_t word = 1;
    for (uint32_t i = 0; i < POURED_BYTES - 300; i++) {
        word = word * 1664525u + 1013904223u;
        poured->bytes[i] = (unsigned char)(word >> 24);
    }
    return poured;
}

// Goal: however bytes are poured, the blob has them, its checksum fits, and the digest is that of
// one piece; in a file, in memory, and in memory after a file that could not be written.
static void bytes_are_poured(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    poured_t *poured = poured_new();
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    const weir__hash_t digest = weir__hash128(poured->bytes, POURED_BYTES - 300);
    for (int way = 0; way < 3; way++) {
        const struct rlimit limit = {way == 2 ? 300000 : before.rlim_cur, before.rlim_max};
        weir__view_t view;
        poured->calls = 0;
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        weir_status_t status = weir__cache_pour(
            way == 1 ? NULL : cache, &folder->heap, key, POURED_BYTES, pour_pieces, poured, &view);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_null(status);
        assert_int_equal(view.mapped, way == 0);
        assert_int_equal(poured->calls, way == 2 ? 2 : 1);
        assert_int_equal(view.bytes, POURED_BYTES);
        assert_memory_equal(view.data, poured->bytes, POURED_BYTES);
        assert_true(weir__cache_view_verify(&view));
        assert_memory_equal(&poured->digest, &digest, sizeof digest);
        weir__cache_view_release(&view);
    }
    assert_int_equal(folder->warnings, 1);
    weir__cache_close(cache);
    test_free(poured);
}

// Goal: a pour that stops, or gives too little, is an error and leaves nothing.
static void pour_leaves_nothing_when_it_fails(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    poured_t *poured = poured_new();
    weir__view_t view;
    for (int on = 0; on < 2; on++) {
        expect_failure(weir__cache_pour(on ? cache : NULL, &folder->heap, key, POURED_BYTES,
                           refuse_to_pour, poured, &view),
            WEIR_UNSUPPORTED, "no more");
        poured->missing_bytes = 5;
        expect_failure(weir__cache_pour(on ? cache : NULL, &folder->heap, key, POURED_BYTES,
                           pour_pieces, poured, &view),
            WEIR_INTERNAL, "lacks 5 bytes");
        assert_int_equal(cache_files(folder, 0, NULL), 0);
    }
    weir__cache_close(cache);
    test_free(poured);
}

static weir_status_t fill_counting(void *user, void *destination, uint64_t bytes)
{
    (void)user;
    for (uint64_t i = 0; i < bytes / 8; i++)
        memcpy((char *)destination + i * 8, &i, 8);
    return NULL;
}

// Goal: what is too large to be held twice is made in its file, and read from there.
static void large_blob_is_made_in_its_file(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    const uint64_t bytes = 40u << 20;
    weir__view_t view;
    const uint64_t held = atomic_load(&folder->heap.now_bytes);
    assert_null(weir__cache_put(cache, &folder->heap, key, bytes, fill_counting, NULL, &view));
    assert_true(atomic_load(&folder->heap.peak_bytes) - held < bytes);
    for (int again = 0; again < 2; again++) {
        uint64_t last;
        assert_true(view.mapped);
        assert_int_equal(view.bytes, bytes);
        memcpy(&last, (const char *)view.data + bytes - 8, 8);
        assert_int_equal(last, bytes / 8 - 1);
        assert_true(weir__cache_view_verify(&view));
        weir__cache_view_release(&view);
        if (!again)
            assert_true(weir__cache_get(cache, key, &view));
    }
    expect_failure(weir__cache_put(cache, &folder->heap, key, bytes, refuse, NULL, &view),
        WEIR_UNSUPPORTED, "bytes");
    assert_int_equal(cache_files(folder, 0, NULL), 1);
    // So is a small one when there is no memory to make it in.
    folder->heap.limit_bytes = atomic_load(&folder->heap.now_bytes) + 1000;
    assert_null(weir__cache_put(cache, &folder->heap, key, 8000, fill_counting, NULL, &view));
    assert_true(view.mapped);
    assert_memory_equal((const char *)view.data + 7992, &(const uint64_t){999}, sizeof(uint64_t));
    weir__cache_view_release(&view);
    folder->heap.limit_bytes = 0;
    weir__cache_close(cache);
}

// Goal: a hash of pieces is that of the whole, at every length where the formula changes.
static void hashes_do_not_depend_on_pieces(void **state)
{
    (void)state;
    poured_t *poured = poured_new();
    for (uint64_t bytes = 0; bytes < 1100; bytes += bytes < 300 ? 1 : 37) {
        weir__hash_stream_t stream;
        weir__hash_stream_begin(&stream);
        for (uint64_t done = 0, piece = 1; done < bytes; done += piece, piece = piece * 3 % 101) {
            piece = piece < bytes - done ? piece : bytes - done;
            weir__hash_stream_add(&stream, poured->bytes + done, piece);
        }
        const weir__hash_t whole = weir__hash128(poured->bytes, bytes);
        const weir__hash_t pieces = weir__hash_stream_128(&stream);
        assert_memory_equal(&whole, &pieces, sizeof whole);
        assert_int_equal(weir__hash64(poured->bytes, bytes, 0), weir__hash_stream_64(&stream));
    }
    test_free(poured);
}

// Goal: without a folder everything works in memory, with one warning when one was wanted.
static void cache_works_without_a_folder(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache;
    weir__view_t view;
    char blocked[600];
    snprintf(blocked, sizeof blocked, "%s/file/cache", folder->path);
    write_at(in_model(folder, "../file"), "", 0);
    const char *dirs[] = {"", blocked};
    for (int i = 0; i < 2; i++) {
        assert_null(weir__cache_open(&folder->heap, &folder->log, dirs[i], 0, &cache));
        assert_false(weir__cache_is_on(cache));
        assert_int_equal(folder->warnings, i);
        assert_null(weir__cache_put_data(cache, &folder->heap, key, "abc", 3, &view));
        assert_false(view.mapped);
        assert_int_equal((uintptr_t)view.data % 64, 0);
        assert_memory_equal(view.data, "abc", 3);
        weir__cache_view_release(&view);
        assert_false(weir__cache_get(cache, key, &view));
        weir__cache_close(cache);
    }
}

// Goal: a folder that anybody may write to is not trusted.
static void cache_refuses_an_open_folder(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache;
    assert_int_equal(mkdir(folder->cache_path, 0700), 0);
    assert_int_equal(chmod(folder->cache_path, 0777), 0);
    assert_null(weir__cache_open(&folder->heap, &folder->log, folder->cache_path, 0, &cache));
    assert_false(weir__cache_is_on(cache));
    assert_non_null(strstr(folder->warning, "others may write"));
    weir__cache_close(cache);
}

// Goal: a folder without room is a warning and a blob in memory. Method: a limit on the size of
// files.
static void put_falls_back_when_the_disk_is_full(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t view;
    const char text[20000] = "large";
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = (struct rlimit){16384, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    weir_status_t status =
        weir__cache_put_data(cache, &folder->heap, key, text, sizeof text, &view);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_null(status);
    assert_false(view.mapped);
    assert_memory_equal(view.data, text, sizeof text);
    weir__cache_view_release(&view);
    assert_int_equal(folder->warnings, 1);
    assert_non_null(strstr(folder->warning, "kept in memory"));
    assert_int_equal(cache_files(folder, 0, NULL), 0);
    weir__cache_close(cache);
}

// Goal: of a block that is used again and again, a small blob does not keep the whole when the disk
// is full.
static void small_blob_does_not_keep_a_large_block(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__view_t large, small;
    weir__scratch_t scratch = {0};
    struct rlimit before, none;
    assert_null(weir__cache_put_by(
        cache, &folder->heap, key, 4u << 20, fill_counting, NULL, &scratch, &large));
    assert_true(large.mapped);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){1, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    weir_status_t status = weir__cache_put_by(
        cache, &folder->heap, (weir__hash_t){7, 7}, 256, fill_counting, NULL, &scratch, &small);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_null(status);
    assert_false(small.mapped);
    assert_int_equal(small.block_bytes, 256);
    assert_non_null(scratch.memory);
    weir__heap_free(&folder->heap, scratch.memory);
    assert_true(atomic_load(&folder->heap.now_bytes) < 64u << 10);
    weir__cache_view_release(&small);
    weir__cache_view_release(&large);
    weir__cache_close(cache);
}

// Goal: who makes a blob that another has made meanwhile uses the other's file; unless that one is
// damaged, or holds something else.
static void second_writer_uses_the_first_file(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    struct stat first, second;
    char path[700];
    put_blob(folder, cache, key, "blob");
    cache_files(folder, 0, path);
    assert_int_equal(stat(path, &first), 0);
    put_blob(folder, cache, key, "blob");
    assert_int_equal(stat(path, &second), 0);
    assert_int_equal(first.st_ino, second.st_ino);
    damage(path, 4096, 0);
    put_blob(folder, cache, key, "blob");
    assert_true(get_is(cache, key, "blob"));
    put_blob(folder, cache, key, "blub");
    assert_true(get_is(cache, key, "blub"));
    assert_int_equal(cache_files(folder, 0, NULL), 1);
    assert_int_equal(folder->warnings, 0);
    weir__cache_close(cache);
}

typedef struct worker {
    folder_t *folder;
    weir__cache_t *cache;
    int failures;
} worker_t;

static void *work(void *user)
{
    worker_t *worker = user;
    for (uint64_t i = 0; i < 50; i++) {
        weir__view_t view;
        weir__hash_t at = {i % 5, 9};
        uint64_t bytes[64];
        for (int j = 0; j < 64; j++)
            bytes[j] = i % 5;
        if (!weir__cache_get(worker->cache, at, &view)) {
            weir_status_t status = weir__cache_put_data(
                worker->cache, &worker->folder->heap, at, bytes, sizeof bytes, &view);
            worker->failures += status != NULL;
            weir_status_free(status);
        }
        worker->failures +=
            view.bytes != sizeof bytes || memcmp(view.data, bytes, sizeof bytes) != 0;
        weir__cache_view_release(&view);
    }
    return NULL;
}

// Goal: threads that make the same blobs at once all see whole ones.
static void blobs_from_many_threads(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    pthread_t threads[4];
    worker_t workers[4];
    for (int i = 0; i < 4; i++) {
        workers[i] = (worker_t){folder, cache, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
    }
    assert_int_equal(cache_files(folder, 0, NULL), 5);
    assert_int_equal(folder->warnings, 0);
    weir__cache_close(cache);
}

// Goal: the default folder follows the environment.
static void default_dir_follows_the_environment(void **state)
{
    (void)state;
    char path[300], longer[4];
    setenv("WEIR_CACHE_DIR", "/a/b", 1);
    weir__cache_default_dir(path, sizeof path);
    assert_string_equal(path, "/a/b");
    setenv("WEIR_CACHE_DIR", "", 1);
    weir__cache_default_dir(path, sizeof path);
    assert_string_equal(path, "");
    unsetenv("WEIR_CACHE_DIR");
    setenv("XDG_CACHE_HOME", "/x", 1);
    weir__cache_default_dir(path, sizeof path);
    assert_string_equal(path, "/x/weir");
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", "/h", 1);
    weir__cache_default_dir(path, sizeof path);
    assert_string_equal(path, "/h/.cache/weir");
    weir__cache_default_dir(longer, sizeof longer);
    assert_string_equal(longer, "");
    unsetenv("HOME");
    weir__cache_default_dir(path, sizeof path);
    assert_string_equal(path, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, folder_setup, folder_teardown)

int main(void)
{
    signal(SIGXFSZ, SIG_IGN);
    const struct CMUnitTest tests[] = {
        TEST(blob_outlives_the_cache),
        TEST(view_outlives_its_file),
        TEST(blob_that_is_damaged_is_ignored),
        TEST(blob_of_another_key_is_ignored),
        TEST(blob_of_an_earlier_boot_is_checked),
        TEST(verify_reads_all_of_it),
        TEST(put_leaves_nothing_when_it_fails),
        TEST(bytes_are_poured),
        TEST(pour_leaves_nothing_when_it_fails),
        TEST(large_blob_is_made_in_its_file),
        TEST(hashes_do_not_depend_on_pieces),
        TEST(cache_works_without_a_folder),
        TEST(cache_refuses_an_open_folder),
        TEST(put_falls_back_when_the_disk_is_full),
        TEST(small_blob_does_not_keep_a_large_block),
        TEST(second_writer_uses_the_first_file),
        TEST(blobs_from_many_threads),
        TEST(default_dir_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
