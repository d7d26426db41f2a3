// tests/faults/nth.c: every allocation and every system call of a whole life fails in its turn.
//
// Goal:   engine, model, plan, session, run and release stand any single failure and any failure
// that
//         lasts: the call ends with a clean error or as if nothing had been, nothing leaks, no
//         descriptor stays open, and the next life is right.
// Method: one clean life counts the points (points.h); then each fails once, and in a second pass
// from
//         there on. A life has a cold cache, two threads, external data and every plugin there is.
//
// usage: faults_nth CACHE_FOLDER MODEL...
#include "tests/faults/points.h"
#include "tests/faults/subject.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void *alloc(void *user_data, size_t bytes, size_t alignment)
{
    (void)user_data;
    return points_alloc(bytes, alignment);
}

static void release(void *user_data, void *memory)
{
    (void)user_data;
    free(memory);
}

// Without memory of its own: used where memory is being counted.
static void empty_folder(const char *path)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.')
            unlinkat(dirfd(folder), entry->d_name, 0);
    if (folder)
        closedir(folder);
}

static int open_files(void)
{
    int count = 0;
    for (int file = 0; file < 256; file++)
        count += fcntl(file, F_GETFD) != -1;
    return count;
}

typedef struct life {
    const char *cache, *model;
    outcome_t outcome;
    uint64_t ref_sum; // of the outputs on the plain C device, which may run what lost its plugin
} life_t;

static void live(life_t *life)
{
    weir_engine_t *engine = NULL;
    weir_allocator_t allocator = {.alloc = alloc, .free = release};
    weir_engine_options_t options = {
        .size = sizeof options, .threads = 2, .cache_dir = life->cache, .allocator = &allocator};
    weir_cancel_t *cancel = NULL;
    subject_t subject = {.path = life->model};
    life->outcome = (outcome_t){.stage = "engine"};
    weir_status_t status = weir_engine_create(&options, &engine);
    life->outcome.code = weir_status_code(status);
    snprintf(life->outcome.text, sizeof life->outcome.text, "%s", weir_status_message(status));
    weir_status_free(status);
    if (!status)
        subject_run(engine, &subject, &life->outcome);
    // The same engine again: a warm cache, another device, a flag to cancel by.
    if (life->outcome.code == WEIR_OK) {
        outcome_t again;
        subject.devices = "ref";
        subject_run(engine, &subject, &again);
        life->ref_sum = again.output_sum;
        if (again.code != WEIR_OK)
            life->outcome = again;
    }
    if (life->outcome.code == WEIR_OK) {
        status = weir_cancel_create(&cancel);
        life->outcome.code = weir_status_code(status);
        weir_status_free(status);
        weir_cancel_free(cancel);
    }
    weir_engine_free(engine);
}

// An error must be one that says what was missing, never one that blames the model or weir.
static bool is_clean(weir_code_t code)
{
    return code == WEIR_OK || code == WEIR_RESOURCE_EXHAUSTED || code == WEIR_NOT_FOUND ||
           code == WEIR_DATA_LOSS || code == WEIR_UNAVAILABLE;
}

typedef struct counts {
    uint64_t points, ok, refused, wrong;
} counts_t;

static bool try_point(life_t *life, point_kind_t kind, uint64_t nth, bool onwards,
    const life_t *right, counts_t *counts)
{
    empty_folder(life->cache);
    int files = open_files();
    int64_t blocks = points_live_blocks();
    points_begin(kind, nth, onwards);
    live(life);
    points_end();
    const char *what = NULL;
    if (!is_clean(life->outcome.code))
        what = "the error is not a clean one";
    else if (life->outcome.code == WEIR_OK &&
             life->outcome.output_sum != right->outcome.output_sum &&
             life->outcome.output_sum != right->ref_sum)
        what = "the answer is another one";
    else if (points_live_blocks() != blocks)
        what = "memory is left";
    else if (open_files() != files)
        what = "a descriptor is left";
    counts->points++;
    counts->ok += life->outcome.code == WEIR_OK;
    counts->refused += life->outcome.code != WEIR_OK;
    if (what) {
        counts->wrong++;
        printf("  %s fails %s, point %llu: %s (%lld blocks): %s at %s: %s\n", points_failed(),
            onwards ? "from there on" : "once", (unsigned long long)nth, what,
            (long long)(points_live_blocks() - blocks), weir_code_name(life->outcome.code),
            life->outcome.stage, life->outcome.text);
    }
    return !what;
}

static bool all_points(life_t *life, point_kind_t kind, const life_t *right, counts_t *counts)
{
    empty_folder(life->cache);
    points_begin(kind, 0, false);
    live(life);
    uint64_t total = points_end();
    for (int onwards = 0; onwards < 2; onwards++) {
        for (uint64_t nth = 1; nth <= total; nth++) {
            try_point(life, kind, nth, onwards, right, counts);
            // The next life; every few points, as it costs as much as the point itself.
            if (nth % 8 && nth != total)
                continue;
            live(life);
            if (life->outcome.code != WEIR_OK ||
                life->outcome.output_sum != right->outcome.output_sum) {
                counts->wrong++;
                printf("  after point %llu the next run is wrong: %s\n", (unsigned long long)nth,
                    life->outcome.text);
            }
        }
    }
    return total > 0;
}

int main(int argc, char **argv)
{
    counts_t all = {0};
    if (argc < 3) {
        fprintf(stderr, "usage: faults_nth CACHE_FOLDER MODEL...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        life_t life = {.cache = argv[1], .model = argv[i]};
        for (int warm = 0; warm < 2; warm++)
            live(&life); // what the C library allocates once and keeps
        life_t right = life;
        if (right.outcome.code != WEIR_OK || !right.outcome.output_bytes) {
            fprintf(stderr, "%s: %s\n", argv[i], right.outcome.text);
            return 2;
        }
        static const char *const names[] = {"allocations", "system calls"};
        for (int kind = POINT_MEMORY; kind <= POINT_SYSTEM; kind++) {
            counts_t counts = {0};
            if (!all_points(&life, (point_kind_t)kind, &right, &counts))
                counts.wrong++;
            printf("%s, %s: %llu points: %llu went well all the same, %llu refused, %llu wrong\n",
                strrchr(argv[i], '/') ? strrchr(argv[i], '/') + 1 : argv[i], names[kind],
                (unsigned long long)counts.points, (unsigned long long)counts.ok,
                (unsigned long long)counts.refused, (unsigned long long)counts.wrong);
            fflush(stdout);
            all.points += counts.points;
            all.wrong += counts.wrong;
        }
    }
    printf(
        "%llu points, %llu wrong\n", (unsigned long long)all.points, (unsigned long long)all.wrong);
    return all.wrong ? 1 : 0;
}
