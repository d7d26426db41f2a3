// tests/unit/cache_folder.h: a folder of its own for each test of the cache, and what is found in
// it.
#ifndef WEIR_UNIT_CACHE_FOLDER_H
#define WEIR_UNIT_CACHE_FOLDER_H

#include "engine/cache/cache.h"
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct folder {
    char path[200]; // holds model/ and cache/
    char cache_path[256];
    char model_path[256];
    weir__heap_t heap;
    weir__log_t log;
    weir_limits_t limits;
    int warnings;
    char warning[512]; // the last one
} folder_t;

static inline void note_warning(
    void *user, weir_log_level_t level, const char *module, uint64_t request, const char *text)
{
    folder_t *folder = user;
    (void)module;
    (void)request;
    if (level != WEIR_LOG_WARNING)
        return;
    folder->warnings++;
    snprintf(folder->warning, sizeof folder->warning, "%s", text);
}

static inline int folder_setup(void **state)
{
    const char *base = getenv("TMPDIR");
    folder_t *folder = calloc(1, sizeof *folder);
    assert_non_null(folder);
    snprintf(folder->path, sizeof folder->path, "%s/weir-test-XXXXXX",
        base && base[0] ? base : P_tmpdir);
    assert_non_null(mkdtemp(folder->path));
    snprintf(folder->cache_path, sizeof folder->cache_path, "%s/cache", folder->path);
    snprintf(folder->model_path, sizeof folder->model_path, "%s/model", folder->path);
    assert_int_equal(mkdir(folder->model_path, 0700), 0);
    weir__heap_init(&folder->heap, NULL, 0);
    folder->log = (weir__log_t){note_warning, folder, WEIR_LOG_DEBUG};
    folder->limits = (weir_limits_t){.file_bytes = 1u << 20, .external_bytes = 1u << 20};
    *state = folder;
    return 0;
}

static inline void remove_tree(const char *path)
{
    DIR *list = opendir(path);
    for (struct dirent *item; list && (item = readdir(list));) {
        char inside[4096];
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (snprintf(inside, sizeof inside, "%s/%s", path, item->d_name) >= (int)sizeof inside)
            continue;
        if (unlink(inside) != 0)
            remove_tree(inside);
    }
    if (list)
        closedir(list);
    rmdir(path);
}

// Also: no test leaves memory behind.
static inline int folder_teardown(void **state)
{
    folder_t *folder = *state;
    assert_int_equal(atomic_load(&folder->heap.now_bytes), 0);
    remove_tree(folder->path);
    free(folder);
    return 0;
}

static inline weir__cache_t *open_cache(folder_t *folder)
{
    weir__cache_t *cache = NULL;
    assert_null(weir__cache_open(&folder->heap, &folder->log, folder->cache_path, 0, &cache));
    assert_true(weir__cache_is_on(cache));
    return cache;
}

// The full path of a file in the model's folder, in a static buffer.
static inline const char *in_model(const folder_t *folder, const char *name)
{
    static char path[700];
    snprintf(path, sizeof path, "%s/%s", folder->model_path, name);
    return path;
}

static inline void write_at(const char *path, const void *data, size_t bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, bytes, file), bytes);
    assert_int_equal(fclose(file), 0);
}

// The files of the cache: how many; the path of the one of that index goes to out_path.
static inline int cache_files(const folder_t *folder, int index, char out_path[700])
{
    int count = 0;
    DIR *list = opendir(folder->cache_path);
    for (struct dirent *item; list && (item = readdir(list));) {
        if (strcmp(item->d_name, ".") == 0 || strcmp(item->d_name, "..") == 0)
            continue;
        if (count++ == index && out_path)
            snprintf(out_path, 700, "%s/%s", folder->cache_path, item->d_name);
    }
    if (list)
        closedir(list);
    return count;
}

static inline void put_blob(
    folder_t *folder, weir__cache_t *cache, weir__hash_t at, const char *text)
{
    weir__view_t view;
    assert_null(weir__cache_put_data(cache, &folder->heap, at, text, strlen(text), &view));
    assert_true(view.mapped);
    assert_memory_equal(view.data, text, strlen(text));
    weir__cache_view_release(&view);
}

static inline bool get_is(weir__cache_t *cache, weir__hash_t at, const char *text)
{
    weir__view_t view;
    if (!weir__cache_get(cache, at, &view))
        return false;
    bool same = view.bytes == strlen(text) && memcmp(view.data, text, view.bytes) == 0 &&
                (uintptr_t)view.data % 64 == 0 && view.mapped && weir__cache_view_verify(&view);
    weir__cache_view_release(&view);
    return same;
}

static inline void expect_failure(weir_status_t status, weir_code_t code, const char *text)
{
    assert_non_null(status);
    if (weir_status_code(status) != code || !strstr(weir_status_message(status), text))
        fail_msg(
            "expected %s ... %s ..., got %s", weir_code_name(code), text, weir_status_text(status));
    weir_status_free(status);
}

#endif
