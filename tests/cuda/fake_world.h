// tests/cuda/fake_world.h: the smallest engine around weir_cuda.so, over the fakes, which this test
// links: the plugin finds them loaded under the real libraries' names.
#ifndef WEIR_TESTS_CUDA_FAKE_WORLD_H
#define WEIR_TESTS_CUDA_FAKE_WORLD_H

#include <weir/plugin.h>

static void fake_furnish(weir_host_t *host);
#define WORLD_FURNISH(host) fake_furnish(host)
#include "tests/plugins/chaos_world.h"
#include "tests/support/fake_cuda/fake.h"

// Results of the driver, cuBLASLt and cuDNN that tests inject (cuda.h, cublasLt.h and cudnn_graph.h
// say them by name; a test of a plugin's face includes neither).
enum {
    FAKE_INVALID_VALUE = 1,
    FAKE_OUT_OF_MEMORY = 2,
    FAKE_ILLEGAL_ADDRESS = 700,
    FAKE_CUBLAS_ALLOC_FAILED = 3,
    FAKE_CUBLAS_EXECUTION_FAILED = 13,
    FAKE_CUBLAS_INTERNAL_ERROR = 14,
    FAKE_CUDNN_HOST_ALLOCATION_FAILED = 4003,
    FAKE_CUDNN_EXECUTION_FAILED = 5000,
    FAKE_NVRTC_COMPILATION = 6,
};

// A cache of blobs in memory.
#define FAKE_BLOBS 64
typedef struct fake_blob {
    char key[256];
    void *data;
    uint64_t bytes;
} fake_blob_t;

typedef struct fake_cache {
    pthread_mutex_t lock;
    fake_blob_t blobs[FAKE_BLOBS];
    uint32_t count, puts, hits;
} fake_cache_t;

static fake_cache_t fake_cache = {.lock = PTHREAD_MUTEX_INITIALIZER};

static weir_code_t fake_blob_get(
    const weir_host_t *host, const char *key, const void **out_data, uint64_t *out_bytes)
{
    (void)host;
    weir_code_t code = WEIR_NOT_FOUND;
    pthread_mutex_lock(&fake_cache.lock);
    for (uint32_t i = 0; i < fake_cache.count; i++)
        if (strcmp(fake_cache.blobs[i].key, key) == 0) {
            *out_data = fake_cache.blobs[i].data;
            *out_bytes = fake_cache.blobs[i].bytes;
            fake_cache.hits++;
            code = WEIR_OK;
        }
    pthread_mutex_unlock(&fake_cache.lock);
    return code;
}

static weir_code_t fake_blob_put(
    const weir_host_t *host, const char *key, const void *data, uint64_t bytes)
{
    (void)host;
    pthread_mutex_lock(&fake_cache.lock);
    fake_blob_t *blob = NULL;
    for (uint32_t i = 0; i < fake_cache.count && !blob; i++)
        if (strcmp(fake_cache.blobs[i].key, key) == 0)
            blob = &fake_cache.blobs[i];
    if (!blob) {
        assert_true(fake_cache.count < FAKE_BLOBS);
        blob = &fake_cache.blobs[fake_cache.count++];
    }
    free(blob->data);
    snprintf(blob->key, sizeof blob->key, "%s", key);
    blob->data = malloc(bytes);
    memcpy(blob->data, data, bytes);
    blob->bytes = bytes;
    fake_cache.puts++;
    pthread_mutex_unlock(&fake_cache.lock);
    return WEIR_OK;
}

static void fake_blob_release(const weir_host_t *host, const void *data)
{
    (void)host;
    (void)data;
}

static void fake_cache_clear(void)
{
    for (uint32_t i = 0; i < fake_cache.count; i++)
        free(fake_cache.blobs[i].data);
    memset(fake_cache.blobs, 0, sizeof fake_cache.blobs);
    fake_cache.count = fake_cache.puts = fake_cache.hits = 0;
}

static weir_code_t fake_parallel_for(const weir_host_t *host, uint64_t count,
    weir_code_t (*body)(void *user, uint64_t i), void *user)
{
    (void)host;
    weir_code_t code = WEIR_OK;
    for (uint64_t i = 0; i < count && code == WEIR_OK; i++)
        code = body(user, i);
    return code;
}

static void fake_furnish(weir_host_t *host)
{
    host->blob_get = fake_blob_get;
    host->blob_put = fake_blob_put;
    host->blob_release = fake_blob_release;
    host->parallel_for = fake_parallel_for;
}

// Loads the plugin and asks it whether it can work.
static inline weir_code_t fake_load(
    world_t *world, const char *options, char reason[WEIR_REASON_BYTES])
{
    weir_support_t answer = {.head = WEIR_HEAD(weir_support_t)};
    assert_non_null(world_load(world, options));
    weir_code_t code = world->plugin->probe(&world->host, &answer);
    memcpy(reason, answer.reason, sizeof answer.reason);
    return code;
}

// Closes it: nothing may be left, here or in the driver.
static void fake_close(world_t *world)
{
    world_close(world);
    assert_int_equal(fake_cuda_alive(), 0);
}

static void fake_expect(weir_code_t code, weir_code_t wanted, const world_t *world)
{
    if (code != wanted)
        fail_msg("code %d, expected %d: %s", code, wanted, world->failure);
}

#define FAKE_MIB (1ull << 20)

static inline weir_handle_t fake_take(world_t *world, uint32_t kind, uint64_t bytes)
{
    weir_handle_t buffer = 0;
    fake_expect(world->table->alloc(world->device, kind, bytes, &buffer), WEIR_OK, world);
    return buffer;
}

static inline void fake_give(world_t *world, weir_handle_t buffer)
{
    world->table->free(world->device, buffer);
}

// A copy up, around and down again.
static inline void fake_expect_holds(
    world_t *world, weir_handle_t buffer, uint64_t offset, uint64_t value)
{
    weir_handle_t staging = fake_take(world, WEIR_MEMORY_PINNED, 4096);
    void *mapped;
    assert_int_equal(world->table->map(world->device, staging, &mapped), WEIR_OK);
    uint64_t *words = mapped;
    words[0] = value;
    words[1] = 0;
    weir_copy_region_t up = {
        {.buffer = staging, .bytes = 8}, {.buffer = buffer, .offset = offset, .bytes = 8}};
    weir_copy_region_t down = {up.to, {.buffer = staging, .offset = 8, .bytes = 8}};
    weir_timeline_point_t done = {2, value};
    assert_int_equal(world->table->copy(world->queue, &up, 1, NULL, 0, NULL, 0), WEIR_OK);
    assert_int_equal(world->table->copy(world->queue, &down, 1, NULL, 0, &done, 1), WEIR_OK);
    assert_int_equal(world_wait(world, 2, value), WEIR_OK);
    assert_true(words[1] == value);
    world->table->unmap(world->device, staging);
    fake_give(world, staging);
}

// A release, on a thread of its own: it waits for what is under way.
typedef struct fake_releasing {
    world_t *world;
    weir_handle_t specialization;
    atomic_bool has_ended;
} fake_releasing_t;

static inline void *fake_release_main(void *user)
{
    fake_releasing_t *releasing = user;
    releasing->world->table->specialization_release(releasing->specialization);
    atomic_store(&releasing->has_ended, true);
    return NULL;
}

#endif
