// backends/cuda/select.c: what was chosen for products and convolutions, kept from run to run.
//
// One file for each device, driver and version of the libraries (the cache's key says so), of
// records that carry a checksum each. It only grows: a later record of a key counts, reading ends
// at the first that is damaged. Written when programs go, never inside a request.
#include "backends/cuda/cuda.h"

#include <stdio.h>
#include <string.h>

typedef struct weir_cuda_choice {
    uint64_t key[2];
    uint8_t choice[WEIR_CUDA_CHOICE_BYTES];
    uint64_t checksum;
} choice_t;

static uint64_t checksum_of(const choice_t *record)
{
    uint64_t hash[2];
    weir_cuda_hash(1, record, offsetof(choice_t, checksum), hash);
    return hash[0] ^ hash[1];
}

static void cache_key(const weir_cuda_device_t *device, char *out_key, size_t bytes)
{
    const weir_cuda_library_t *libraries = device->state->libraries;
    snprintf(out_key, bytes, "choices 1, %s, sm_%u, %s, %s, %s", device->name, device->facts.arch,
        libraries[WEIR_CUDA_LIBRARY_DRIVER].version, libraries[WEIR_CUDA_LIBRARY_CUBLASLT].version,
        libraries[WEIR_CUDA_LIBRARY_CUDNN].version);
}

static bool append(weir_cuda_choices_t *choices, const choice_t *record)
{
    const weir_host_t *host = choices->device->host;
    if (choices->count == choices->capacity) {
        uint32_t capacity = choices->capacity ? choices->capacity * 2 : 64;
        choice_t *grown = host->alloc(host, capacity * sizeof *grown);
        if (!grown)
            return false;
        if (choices->count)
            memcpy(grown, choices->list, choices->count * sizeof *grown);
        host->free(host, choices->list);
        choices->list = grown;
        choices->capacity = capacity;
    }
    choices->list[choices->count++] = *record;
    return true;
}

void weir_cuda_choices_open(weir_cuda_device_t *device)
{
    const weir_host_t *host = device->host;
    weir_cuda_choices_t *choices = &device->choices;
    const void *data;
    uint64_t bytes;
    char key[256];
    choices->device = device;
    pthread_mutex_init(&choices->lock, NULL);
    cache_key(device, key, sizeof key);
    if (host->blob_get(host, key, &data, &bytes) != WEIR_OK)
        return;
    for (uint64_t at = 0; bytes - at >= sizeof(choice_t); at += sizeof(choice_t)) {
        choice_t record;
        memcpy(&record, (const char *)data + at, sizeof record);
        if (record.checksum != checksum_of(&record) || !append(choices, &record))
            break;
    }
    choices->saved_count = choices->count;
    host->blob_release(host, data);
}

void weir_cuda_choices_save(weir_cuda_device_t *device)
{
    const weir_host_t *host = device->host;
    weir_cuda_choices_t *choices = &device->choices;
    char key[256];
    cache_key(device, key, sizeof key);
    pthread_mutex_lock(&choices->lock);
    uint32_t count = choices->count;
    choice_t *copy = NULL;
    if (count > choices->saved_count)
        copy = host->alloc(host, count * sizeof *copy);
    if (copy) {
        memcpy(copy, choices->list, count * sizeof *copy);
        choices->saved_count = count;
    }
    pthread_mutex_unlock(&choices->lock);
    if (copy) // what cannot be kept is chosen again
        (void)host->blob_put(host, key, copy, count * sizeof *copy);
    host->free(host, copy);
}

void weir_cuda_choices_close(weir_cuda_device_t *device)
{
    if (!device->choices.device) // it was never opened
        return;
    weir_cuda_choices_save(device);
    device->host->free(device->host, device->choices.list);
    pthread_mutex_destroy(&device->choices.lock);
}

bool weir_cuda_choice_get(weir_cuda_device_t *device, const void *key, uint64_t key_bytes,
    uint8_t out_choice[WEIR_CUDA_CHOICE_BYTES])
{
    weir_cuda_choices_t *choices = &device->choices;
    uint64_t hash[2];
    bool is_there = false;
    weir_cuda_hash(0, key, key_bytes, hash);
    pthread_mutex_lock(&choices->lock);
    for (uint32_t i = choices->count; i-- > 0 && !is_there;) {
        is_there = choices->list[i].key[0] == hash[0] && choices->list[i].key[1] == hash[1];
        if (is_there)
            memcpy(out_choice, choices->list[i].choice, WEIR_CUDA_CHOICE_BYTES);
    }
    pthread_mutex_unlock(&choices->lock);
    return is_there;
}

void weir_cuda_choice_put(weir_cuda_device_t *device, const void *key, uint64_t key_bytes,
    const uint8_t choice[WEIR_CUDA_CHOICE_BYTES])
{
    choice_t record = {.checksum = 0};
    weir_cuda_hash(0, key, key_bytes, record.key);
    memcpy(record.choice, choice, sizeof record.choice);
    record.checksum = checksum_of(&record);
    pthread_mutex_lock(&device->choices.lock);
    (void)append(&device->choices, &record); // without memory it is chosen again
    pthread_mutex_unlock(&device->choices.lock);
}
