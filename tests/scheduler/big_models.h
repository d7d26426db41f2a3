// tests/scheduler/big_models.h: models of some megabytes, many of them, each with weights of its
// own, and requests for them.
//
// y = x w with a number of the model's own on w's diagonal, so that an answer says which model
// gave it.
#ifndef WEIR_TEST_BIG_MODELS_H
#define WEIR_TEST_BIG_MODELS_H

#include "tests/scheduler/loop_calls.h"

#include <dirent.h>
#include <sched.h>

#define BIG_SIDE_MAX 1536

typedef struct big_call {
    call_t call;
    float x[BIG_SIDE_MAX], y[BIG_SIDE_MAX];
    uint32_t model;
} big_call_t;

static inline void big_path(uint32_t model, char *path, size_t bytes)
{
    snprintf(path, bytes, WEIR_TEST_PLUGINS "/big_%u.onnx", model);
}

static inline void big_write(uint32_t model, uint32_t side, float scale)
{
    const int64_t dims[] = {side, side};
    float *w = calloc((size_t)side * side, sizeof *w);
    char path[512];
    message_t graph = {0};
    assert_non_null(w);
    for (uint32_t i = 0; i < side; i++)
        w[(size_t)i * side + i] = scale;
    snprintf(path, sizeof path, "N,%u", side);
    add_input(&graph, "x", 1, path);
    put_message(&graph, 5, raw_tensor("w", 1, 2, dims, w, (size_t)side * side * sizeof *w));
    add_node(&graph, "MatMul", "product", "x,w", "y", (message_t){0});
    add_port(&graph, 12, "y", 1, path);
    message_t bytes = make_model(graph, 17);
    big_path(model, path, sizeof path);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(bytes.count, fwrite(bytes.data, 1, bytes.count, file));
    fclose(file);
    free(bytes.data);
    free(w);
}

// Adds m0, m1 … by their paths. What each of them takes: they are alike.
static inline uint64_t big_add(world_t *world, uint32_t first, uint32_t end)
{
    weir_served_t served = {.size = sizeof served};
    char name[16], path[512];
    for (uint32_t m = first; m < end; m++) {
        snprintf(name, sizeof name, "m%u", m);
        big_path(m, path, sizeof path);
        expect_ok(weir_scheduler_add(world->scheduler, name, "1", NULL,
            &(weir_serving_options_t){
                .size = sizeof(weir_serving_options_t), .max_batch = 4, .path = path}));
    }
    assert_int_equal(1, weir_scheduler_served(world->scheduler, 0, &served));
    return served.memory_bytes;
}

static inline void big_submit(world_t *world, big_call_t *big, uint32_t side, uint32_t model)
{
    char name[16];
    memset(big, 0, sizeof *big);
    snprintf(name, sizeof name, "m%u", model);
    big->model = model;
    big->x[model] = 3;
    big->call.in = weir_f32(big->x, 2, 1, side);
    big->call.out = weir_f32_out(big->y, side);
    weir_request_t request = {.size = sizeof request,
        .model = name,
        .inputs = &big->call.in,
        .outputs = &big->call.out,
        .input_count = 1,
        .output_count = 1};
    expect_ok(weir_submit(world->scheduler, &request, &big->call.ticket, NULL, NULL));
}

// The scale of model m is m + 1.
static inline void big_answer(world_t *world, big_call_t *big)
{
    expect_ok(weir_wait(world->scheduler, big->call.ticket, 0, NULL));
    assert_true(big->y[big->model] == 3 * (float)(big->model + 1));
}

static inline uint32_t big_threads(void)
{
    DIR *folder = opendir("/proc/self/task");
    uint32_t count = 0;
    assert_non_null(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static inline uint64_t big_books(world_t *world)
{
    weir_scheduler_info_t info = {.size = sizeof info};
    weir_scheduler_describe(world->scheduler, &info);
    return info.memory_bytes;
}

// How many are resident, when the books say no more than that: what is being loaded is in them, and
// an eviction until its memory is free.
static inline uint32_t big_settle(world_t *world, uint32_t *out_instances)
{
    uint32_t resident;
    uint64_t bytes;
    do {
        weir_served_t served = {.size = sizeof served};
        resident = *out_instances = 0;
        bytes = 0;
        for (uint32_t m = 0; weir_scheduler_served(world->scheduler, m, &served); m++) {
            resident += served.resident;
            *out_instances += served.instances;
            bytes += served.resident ? served.memory_bytes : 0;
        }
    } while (big_books(world) != bytes);
    return resident;
}

// Until the last of what was removed, given back or evicted is out of the books.
static inline void big_await_books(world_t *world, uint64_t bytes)
{
    while (big_books(world) != bytes)
        sched_yield();
}

// Zipf: model k as often as 1 / (k + 1).
static inline uint32_t big_draw(uint64_t *random, uint32_t models)
{
    double sum = 0, at;
    for (uint32_t k = 0; k < models; k++)
        sum += 1.0 / (k + 1);
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    at = (double)(*random >> 11) / (double)((uint64_t)1 << 53) * sum;
    for (uint32_t k = 0; k < models; k++)
        if ((at -= 1.0 / (k + 1)) < 0)
            return k;
    return models - 1;
}

#endif
