// Model files: read once, never again, and never trusted to stay as they are; constants gathered
// and aligned.
//
// pread() is defined here, so the library linked into this program reads through it: reads are
// counted, and a file can be changed in the middle of one.
#include "engine/cache/file.h"
#include "tests/unit/cache_folder.h"
#include <sys/syscall.h>

static int read_count;
static void (*during_read)(void); // called once, before the first read

ssize_t pread(int file, void *memory, size_t bytes, off_t offset)
{
    void (*hook)(void) = during_read;
    during_read = NULL;
    read_count++;
    if (hook)
        hook();
    return syscall(SYS_pread64, file, memory, bytes, offset);
}

static int setup(void **state)
{
    read_count = 0;
    during_read = NULL;
    return folder_setup(state);
}

static weir__source_t *load(folder_t *folder, weir__cache_t *cache, const char *name)
{
    weir__source_t *source = NULL;
    weir_status_t status = weir__cache_load_source(
        cache, &folder->heap, &folder->limits, in_model(folder, name), &source);
    if (status)
        fail_msg("%s", weir_status_text(status));
    return source;
}

static void expect_load_error(
    folder_t *folder, weir__cache_t *cache, const char *name, weir_code_t code, const char *text)
{
    weir__source_t *source = NULL;
    expect_failure(weir__cache_load_source(
                       cache, &folder->heap, &folder->limits, in_model(folder, name), &source),
        code, text);
}

static void expect_bytes(const weir__source_t *source, const char *text)
{
    assert_int_equal(source->byte_count, strlen(text));
    assert_memory_equal(source->bytes, text, strlen(text));
    assert_int_equal((uintptr_t)source->bytes % 64, 0);
    weir__hash_t digest = weir__hash128(text, strlen(text));
    assert_true(digest.low == source->digest.low && digest.high == source->digest.high);
}

// Goal: the second load reads nothing, in another process as well; content and digest are the same.
static void source_is_read_once(void **state)
{
    folder_t *folder = *state;
    write_at(in_model(folder, "m.onnx"), "the model", 9);
    for (int i = 0; i < 3; i++) {
        weir__cache_t *cache = open_cache(folder);
        weir__source_t *source = load(folder, cache, "m.onnx");
        expect_bytes(source, "the model");
        assert_int_equal(source->from_cache, i > 0);
        assert_int_equal(read_count, 1);
        weir__source_free(source);
        weir__cache_close(cache);
    }
}

// Goal: overwriting, truncating or removing the file changes nothing for who has loaded it, and the
// next load sees the new content.
static void source_is_a_copy(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *caches[] = {NULL, open_cache(folder)};
    for (int i = 0; i < 2; i++) {
        write_at(in_model(folder, "m.onnx"), "the first", 9);
        weir__source_t *first = load(folder, caches[i], "m.onnx");
        write_at(in_model(folder, "m.onnx"), "the other", 9);
        weir__source_t *other = load(folder, caches[i], "m.onnx");
        assert_int_equal(truncate(in_model(folder, "m.onnx"), 0), 0);
        expect_bytes(first, "the first");
        expect_bytes(other, "the other");
        assert_false(other->from_cache);
        weir__source_t *empty = load(folder, caches[i], "m.onnx");
        expect_bytes(empty, "");
        weir__source_free(first);
        weir__source_free(other);
        weir__source_free(empty);
    }
    weir__cache_close(caches[1]);
}

static char changing[700];

static void shrink(void)
{
    if (truncate(changing, 3) != 0)
        abort();
}

static void grow(void)
{
    if (truncate(changing, 300) != 0)
        abort();
}

static void rewrite(void)
{
    write_at(changing, "123456789", 9);
}

// Goal: a file that changes while it is read is refused, and nothing of it is kept.
static void source_that_changes_is_refused(void **state)
{
    folder_t *folder = *state;
    void (*const changes[])(void) = {shrink, grow, rewrite};
    weir__cache_t *caches[] = {NULL, open_cache(folder)};
    snprintf(changing, sizeof changing, "%s", in_model(folder, "m.onnx"));
    for (int i = 0; i < 6; i++) {
        write_at(changing, "the model", 9);
        during_read = changes[i / 2];
        expect_load_error(folder, caches[i % 2], "m.onnx", WEIR_DATA_LOSS, "while it was read");
    }
    assert_int_equal(cache_files(folder, 0, NULL), 0);
    weir__cache_close(caches[1]);
}

// Goal: what is no model file is refused, and a pipe does not hold the load.
static void source_must_be_a_file(void **state)
{
    folder_t *folder = *state;
    assert_int_equal(mkfifo(in_model(folder, "pipe"), 0600), 0);
    expect_load_error(folder, NULL, "absent", WEIR_NOT_FOUND, "absent cannot be opened");
    expect_load_error(folder, NULL, ".", WEIR_INVALID_ARGUMENT, "not a regular file");
    expect_load_error(folder, NULL, "pipe", WEIR_INVALID_ARGUMENT, "not a regular file");
    write_at(in_model(folder, "m.onnx"), "the model", 9);
    folder->limits.file_bytes = 8;
    expect_load_error(folder, NULL, "m.onnx", WEIR_LIMIT, "over the limit file_bytes (8)");
    weir__source_t *source;
    expect_failure(weir__cache_copy_source(&folder->heap, &folder->limits, "the model", 9, &source),
        WEIR_LIMIT, "file_bytes (8)");
}

// Goal: a damaged copy in the cache is read again from the file.
static void source_that_is_damaged_is_read_again(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    char path[700];
    write_at(in_model(folder, "m.onnx"), "the model", 9);
    weir__source_free(load(folder, cache, "m.onnx"));
    assert_int_equal(cache_files(folder, 0, path), 1);
    write_at(path, "rubbish", 7);
    weir__source_t *source = load(folder, cache, "m.onnx");
    expect_bytes(source, "the model");
    assert_false(source->from_cache);
    assert_int_equal(folder->warnings, 1);
    weir__source_free(source);
    weir__cache_close(cache);
}

// ---- Sealing ---------------------------------------------------------------------------------

static weir_status_t seal_one(weir__source_t *source, const char *location, uint64_t offset,
    uint64_t bytes, const void **data)
{
    weir__seal_item_t item = {
        .data = data, .bytes = bytes, .name = "w", .location = location, .offset = offset};
    return weir__cache_seal(source, &item, 1);
}

// Goal: constants in the file come to lie at multiples of 64, and the file's copy goes when none is
// left. A second start gets the same without copying. Method: with a cache three times, and without
// one.
static void seal_aligns_constants(void **state)
{
    folder_t *folder = *state;
    write_at(in_model(folder, "m.onnx"), "0123456789abcdef", 16);
    for (int i = 0; i < 4; i++) {
        weir__cache_t *cache = i == 3 ? NULL : open_cache(folder);
        weir__source_t *source = load(folder, cache, "m.onnx");
        weir__hash_t digest = source->digest;
        const char *bytes = source->bytes;
        const void *first = bytes + 3, *second = bytes + 10, *elsewhere = "kept", *nothing = NULL;
        const void *kept = elsewhere;
        weir__seal_item_t items[] = {{.data = &first, .bytes = 4, .name = "a"},
            {.data = &kept, .bytes = 4, .name = "b"}, {.data = &second, .bytes = 6, .name = "c"},
            {.data = &nothing, .bytes = 0, .name = "d"}};
        assert_null(weir__cache_seal(source, items, 4));
        assert_null(source->bytes);
        assert_memory_equal(first, "3456", 4);
        assert_memory_equal(second, "abcdef", 6);
        assert_int_equal((uintptr_t)first % 64, 0);
        assert_int_equal((uintptr_t)second % 64, 0);
        assert_ptr_equal(kept, elsewhere);
        assert_null(nothing);
        assert_true(source->digest.low == digest.low);
        assert_int_equal(cache_files(folder, 0, NULL), 2);
        assert_int_equal(source->constants.mapped, i < 3);
        weir__source_free(source);
        weir__cache_close(cache);
    }
    assert_int_equal(read_count, 2);
}

// Goal: a constant that is aligned in a mapped file stays where it is; in memory it moves, so that
// the file's buffer can go.
static void seal_keeps_aligned_constants(void **state)
{
    folder_t *folder = *state;
    write_at(in_model(folder, "m.onnx"), "0123456789abcdef", 16);
    weir__cache_t *caches[] = {NULL, open_cache(folder)};
    for (int i = 0; i < 2; i++) {
        weir__source_t *source = load(folder, caches[i], "m.onnx");
        const void *data = source->bytes, *before = data;
        assert_null(seal_one(source, NULL, 0, 8, &data));
        assert_memory_equal(data, "01234567", 8);
        assert_int_equal(data == before, i);
        assert_int_equal(source->bytes != NULL, i);
        weir__source_free(source);
    }
    weir__cache_close(caches[1]);
}

// Goal: external data is read once, found again while the file is the same, read anew when it
// changed, and part of the digest.
static void seal_takes_external_data(void **state)
{
    folder_t *folder = *state;
    weir__cache_t *cache = open_cache(folder);
    weir__hash_t digests[3];
    static const int reads[] = {2, 2, 3};
    assert_int_equal(mkdir(in_model(folder, "data"), 0700), 0);
    write_at(in_model(folder, "m.onnx"), "model", 5);
    write_at(in_model(folder, "data/w.bin"), "____weights", 11);
    for (int i = 0; i < 3; i++) {
        const void *data = NULL;
        if (i == 2)
            write_at(in_model(folder, "data/w.bin"), "____WEIGHTS", 11);
        weir__source_t *source = load(folder, cache, "m.onnx");
        weir__hash_t content = source->digest;
        assert_null(seal_one(source, "data/w.bin", 4, 7, &data));
        assert_memory_equal(data, i < 2 ? "weights" : "WEIGHTS", 7);
        assert_int_equal(read_count, reads[i]);
        assert_int_equal(source->external_byte_count, 7);
        assert_true(content.low != source->digest.low);
        digests[i] = source->digest;
        weir__source_free(source);
    }
    assert_true(digests[0].low == digests[1].low && digests[0].high == digests[1].high);
    assert_true(digests[0].low != digests[2].low);
    weir__cache_close(cache);
}

// Goal: data of many tensors in one file and in several is each in its place.
static void seal_takes_many_external_tensors(void **state)
{
    folder_t *folder = *state;
    write_at(in_model(folder, "m.onnx"), "model", 5);
    write_at(in_model(folder, "a.bin"), "aaabbb", 6);
    write_at(in_model(folder, "b.bin"), "ccc", 3);
    weir__source_t *source = load(folder, NULL, "m.onnx");
    const void *data[3] = {0};
    const weir__seal_item_t items[] = {
        {.data = &data[0], .bytes = 3, .name = "x", .location = "a.bin"},
        {.data = &data[1], .bytes = 3, .name = "y", .location = "a.bin", .offset = 3},
        {.data = &data[2], .bytes = 3, .name = "z", .location = "b.bin"}};
    assert_null(weir__cache_seal(source, items, 3));
    assert_memory_equal(data[0], "aaa", 3);
    assert_memory_equal(data[1], "bbb", 3);
    assert_memory_equal(data[2], "ccc", 3);
    weir__source_free(source);
}

static void expect_seal_error(folder_t *folder, const char *location, uint64_t offset,
    uint64_t bytes, weir_code_t code, const char *text)
{
    const void *data = NULL;
    weir__source_t *source = load(folder, NULL, "m.onnx");
    expect_failure(seal_one(source, location, offset, bytes, &data), code, text);
    assert_null(data);
    weir__source_free(source);
}

// Goal: no location leads out of the model's folder, or to anything but a regular file long enough.
static void seal_stays_in_the_folder(void **state)
{
    folder_t *folder = *state;
    write_at(in_model(folder, "m.onnx"), "model", 5);
    write_at(in_model(folder, "w.bin"), "weights", 7);
    write_at(in_model(folder, "../secret"), "secret", 6);
    assert_int_equal(symlink("../secret", in_model(folder, "link")), 0);
    assert_int_equal(symlink("..", in_model(folder, "up")), 0);
    assert_int_equal(symlink("w.bin", in_model(folder, "inner")), 0);
    assert_int_equal(mkfifo(in_model(folder, "pipe"), 0600), 0);
    assert_int_equal(mkdir(in_model(folder, "dir"), 0700), 0);
    static const struct {
        const char *location;
        weir_code_t code;
        const char *text;
    } cases[] = {
        {"../secret", WEIR_INVALID_ARGUMENT, "\"..\" is not allowed"},
        {"dir/../../secret", WEIR_INVALID_ARGUMENT, "\"..\" is not allowed"},
        {"/etc/hostname", WEIR_INVALID_ARGUMENT, "absolute path"},
        {"", WEIR_INVALID_ARGUMENT, "not a path"},
        {"dir//x", WEIR_INVALID_ARGUMENT, "not a path"},
        {"w.bin/", WEIR_INVALID_ARGUMENT, "not a path"},
        {"link", WEIR_INVALID_ARGUMENT, "symbolic link"},
        {"up/secret", WEIR_INVALID_ARGUMENT, "symbolic link"},
        {"inner", WEIR_INVALID_ARGUMENT, "symbolic link"},
        {"w.bin/x", WEIR_INVALID_ARGUMENT, ""},
        {"pipe", WEIR_INVALID_ARGUMENT, "not a regular file"},
        {"dir", WEIR_INVALID_ARGUMENT, "not a regular file"},
        {"absent", WEIR_NOT_FOUND, "no such file"},
        {"dir/absent", WEIR_NOT_FOUND, "no such file"},
    };
    int root = open(folder->model_path, O_PATH | O_DIRECTORY | O_CLOEXEC), file;
    assert_true(root >= 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_seal_error(folder, cases[i].location, 0, 1, cases[i].code, cases[i].text);
        expect_seal_error(
            folder, cases[i].location, 0, 1, cases[i].code, "tensor w: external file ");
        // The way for kernels without openat2 says the same.
        expect_failure(weir__file_open_beneath(root, cases[i].location, true, &file), cases[i].code,
            cases[i].text);
    }
    assert_null(weir__file_open_beneath(root, "w.bin", true, &file));
    close(file);
    write_at(in_model(folder, "dir/deep"), "x", 1);
    assert_null(weir__file_open_beneath(root, "dir/deep", true, &file));
    close(file);
    assert_null(weir__file_open_beneath(root, "./dir/deep", false, &file));
    close(file);
    close(root);
    expect_seal_error(folder, "w.bin", 3, 5, WEIR_INVALID_ARGUMENT,
        "5 bytes at offset 3 are wanted, but the file has 7 bytes");
    expect_seal_error(folder, "w.bin", UINT64_MAX, 2, WEIR_INVALID_ARGUMENT, "are wanted");
    expect_seal_error(
        folder, "w.bin", (uint64_t)INT64_MAX + 5, 2, WEIR_INVALID_ARGUMENT, "are wanted");
    folder->limits.external_bytes = 6;
    expect_seal_error(folder, "w.bin", 0, 7, WEIR_LIMIT, "external_bytes (6)");
}

// Goal: external data that changes while it is read is refused.
static void seal_refuses_changing_data(void **state)
{
    folder_t *folder = *state;
    void (*const changes[])(void) = {shrink, grow};
    weir__cache_t *cache = open_cache(folder);
    write_at(in_model(folder, "m.onnx"), "model", 5);
    for (int i = 0; i < 2; i++) {
        const void *data = NULL;
        write_at(in_model(folder, "w.bin"), "weights", 7);
        snprintf(changing, sizeof changing, "%s", in_model(folder, "w.bin"));
        weir__source_t *source = load(folder, cache, "m.onnx");
        during_read = changes[i];
        expect_failure(seal_one(source, "w.bin", 0, 7, &data), WEIR_DATA_LOSS, "while it was read");
        weir__source_free(source);
    }
    assert_int_equal(cache_files(folder, 0, NULL), 1);
    weir__cache_close(cache);
}

// Goal: external booleans are 0 or 1, and a model from memory has no folder.
static void seal_checks_the_rest(void **state)
{
    folder_t *folder = *state;
    const void *data = NULL;
    write_at(in_model(folder, "m.onnx"), "model", 5);
    write_at(in_model(folder, "w.bin"), "\0\1\2", 3);
    weir__source_t *source = load(folder, NULL, "m.onnx");
    weir__seal_item_t item = {
        .data = &data, .bytes = 3, .name = "w", .location = "w.bin", .is_boolean = true};
    expect_failure(weir__cache_seal(source, &item, 1), WEIR_INVALID_ARGUMENT,
        "element 2 of a boolean tensor is 2");
    weir__source_free(source);
    assert_null(weir__cache_copy_source(&folder->heap, &folder->limits, "model", 5, &source));
    expect_bytes(source, "model");
    expect_failure(weir__cache_seal(source, &item, 1), WEIR_INVALID_ARGUMENT, "from memory");
    weir__source_free(source);
}

static uint64_t allocations_left;

static void *failing_alloc(void *user, size_t bytes, size_t alignment)
{
    (void)user;
    if (!allocations_left)
        return NULL;
    allocations_left--;
    return aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment);
}

static void failing_free(void *user, void *memory)
{
    (void)user;
    free(memory);
}

// Goal: out of memory anywhere is a status, and nothing leaks. Method: the n-th allocation fails,
// for all n.
static void source_survives_no_memory(void **state)
{
    folder_t *folder = *state;
    const weir_allocator_t allocator = {NULL, failing_alloc, failing_free};
    write_at(in_model(folder, "m.onnx"), "0123456789abcdef", 16);
    for (int with_cache = 0; with_cache < 2; with_cache++) {
        bool done = false;
        for (uint64_t n = 0; !done; n++) {
            weir__heap_t heap;
            weir__cache_t *cache = NULL;
            weir__source_t *source = NULL;
            allocations_left = n;
            weir__heap_init(&heap, &allocator, 0);
            weir_status_t status =
                weir__cache_open(&heap, NULL, with_cache ? folder->cache_path : "", 0, &cache);
            if (!status)
                status = weir__cache_load_source(
                    cache, &heap, &folder->limits, in_model(folder, "m.onnx"), &source);
            if (!status) {
                const void *data = (const char *)source->bytes + 1;
                status = seal_one(source, NULL, 0, 4, &data);
            }
            done = !status;
            if (status)
                assert_int_equal(weir_status_code(status), WEIR_RESOURCE_EXHAUSTED);
            weir_status_free(status);
            weir__source_free(source);
            weir__cache_close(cache);
            assert_int_equal(atomic_load(&heap.now_bytes), 0);
            assert_true(n < 100);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, folder_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(source_is_read_once),
        TEST(source_is_a_copy),
        TEST(source_that_changes_is_refused),
        TEST(source_must_be_a_file),
        TEST(source_that_is_damaged_is_read_again),
        TEST(seal_aligns_constants),
        TEST(seal_keeps_aligned_constants),
        TEST(seal_takes_external_data),
        TEST(seal_takes_many_external_tensors),
        TEST(seal_stays_in_the_folder),
        TEST(seal_refuses_changing_data),
        TEST(seal_checks_the_rest),
        TEST(source_survives_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
