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
static weir_code_t fake_load(world_t *world, const char *options, char reason[WEIR_REASON_BYTES])
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

#endif
