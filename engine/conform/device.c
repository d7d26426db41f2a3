// engine/conform/device.c: opening a device, buffers, copies: each call watched for what it must
// not do.
#include "engine/conform/device.h"

#include <string.h>

#define GROWN 64
#define POISON 0x5A

bool weir__kit_device_expect(weir__kit_device_t *device, weir_code_t code, const char *call)
{
    if (code == WEIR_OK)
        return true;
    return weir__kit_fail(
        device->subject, "%s failed (%d): %s", call, code, device->subject->host.failure);
}

static bool enumerate(weir__kit_subject_t *subject, uint32_t index, weir_device_info_t *out_info,
    weir_code_t *out_code)
{
    struct {
        weir_device_info_t value;
        uint8_t beyond[GROWN];
    } info;
    memset(&info, POISON, sizeof info);
    memset(&info.value, 0, sizeof info.value);
    info.value.head.size = sizeof info.value;
    *out_code = subject->device.enumerate(&subject->host.abi, index, &info.value);
    for (uint32_t i = 0; i < GROWN; i++)
        if (info.beyond[i] != POISON)
            return weir__kit_fail(subject, "enumerate() wrote past the end of weir_device_info_t");
    if (!memchr(info.value.name, 0, sizeof info.value.name) ||
        !memchr(info.value.arch, 0, sizeof info.value.arch) ||
        !memchr(info.value.pci, 0, sizeof info.value.pci))
        return weir__kit_fail(subject, "enumerate() gave a text without an end");
    *out_info = info.value;
    return true;
}

bool weir__kit_device_open(weir__kit_subject_t *subject, weir__kit_device_t *out_device)
{
    weir__kit_device_t *device = out_device;
    weir_code_t code;
    *device = (weir__kit_device_t){.subject = subject, .table = &subject->device};
    if (!enumerate(subject, 0, &device->info, &code))
        return false;
    if (code != WEIR_OK)
        return weir__kit_fail(
            subject, "enumerate() of device 0 failed (%d): %s", code, subject->host.failure);
    device->own_memory = !(device->info.head.flags & WEIR_DEVICE_HOST_MEMORY);
    if (!weir__kit_device_expect(
            device, device->table->open(&subject->host.abi, 0, &device->handle), "open()"))
        return false;
    if (device->table->queue_create &&
        !weir__kit_device_expect(
            device, device->table->queue_create(device->handle, &device->queue), "queue_create()"))
        return false;
    device->timeline = weir__kit_timeline_new(&subject->host);
    if (!device->timeline)
        return weir__kit_fail(subject, "the kit has no timelines left");
    weir_handle_t buffer = 0;
    device->has_pinned =
        device->own_memory && device->table->map &&
        device->table->alloc(device->handle, WEIR_MEMORY_PINNED, 64, &buffer) == WEIR_OK;
    if (device->has_pinned)
        device->table->free(device->handle, buffer);
    return true;
}

void weir__kit_device_close(weir__kit_device_t *device)
{
    weir_code_t code;
    if (!device->handle)
        return;
    if (device->timeline)
        (void)weir__kit_timeline_wait(device->subject, device->timeline, &code);
    if (device->table->queue_destroy)
        device->table->queue_destroy(device->handle, device->queue);
    device->table->close(device->handle);
    device->handle = 0;
}

bool weir__kit_device_alloc(
    weir__kit_device_t *device, uint32_t memory, uint64_t bytes, weir_handle_t *out_buffer)
{
    weir_code_t code = device->table->alloc(device->handle, memory, WEIR_MAX(bytes, 1), out_buffer);
    if (code == WEIR_OK && !*out_buffer)
        return weir__kit_fail(device->subject, "alloc() said yes and gave no buffer");
    return weir__kit_device_expect(device, code, "alloc()");
}

static bool copy(weir__kit_device_t *device, const weir_copy_region_t *region)
{
    weir_timeline_point_t signal =
        weir__kit_timeline_next(&device->subject->host, device->timeline);
    weir_code_t code = device->table->copy(device->queue, region, 1, NULL, 0, &signal, 1);
    if (code != WEIR_OK) {
        weir__kit_timeline_take_back(&device->subject->host, device->timeline);
        return weir__kit_device_expect(device, code, "copy()");
    }
    return weir__kit_timeline_wait(device->subject, device->timeline, &code) &&
           weir__kit_device_expect(device, code, "a copy");
}

// The host's end of a copy: a pinned buffer, or plain memory where the device has none.
typedef struct staging {
    weir_binding_t binding;
    uint8_t *data;
    weir__kit_block_t block;
} staging_t;

static bool stage(weir__kit_device_t *device, uint64_t bytes, staging_t *out_staging)
{
    staging_t *staging = out_staging;
    memset(staging, 0, sizeof *staging);
    if (!device->has_pinned) {
        staging->block = weir__kit_block(bytes, "the host's end of a copy", true);
        staging->data = staging->block.data;
        staging->binding = (weir_binding_t){.pointer = staging->data, .bytes = bytes};
        return staging->block.map || weir__kit_fail(device->subject, "the kit has no memory");
    }
    void *data = NULL;
    if (!weir__kit_device_alloc(device, WEIR_MEMORY_PINNED, bytes, &staging->binding.buffer))
        return false;
    if (!weir__kit_device_expect(
            device, device->table->map(device->handle, staging->binding.buffer, &data), "map()"))
        return false;
    staging->data = data;
    staging->binding.bytes = bytes;
    return true;
}

static bool unstage(weir__kit_device_t *device, staging_t *staging)
{
    if (staging->binding.buffer) {
        device->table->unmap(device->handle, staging->binding.buffer);
        device->table->free(device->handle, staging->binding.buffer);
        return true;
    }
    bool is_sound = weir__kit_block_is_sound(&staging->block);
    weir__kit_block_free(&staging->block);
    return is_sound ||
           weir__kit_fail(device->subject, "copy() wrote outside the host's end of a copy");
}

bool weir__kit_device_write(weir__kit_device_t *device, weir_handle_t buffer, uint64_t offset,
    const void *data, uint64_t bytes)
{
    staging_t staging;
    if (!bytes)
        return true;
    if (!stage(device, bytes, &staging))
        return false;
    memcpy(staging.data, data, bytes);
    weir_copy_region_t region = {
        .from = staging.binding, .to = {.buffer = buffer, .offset = offset, .bytes = bytes}};
    return copy(device, &region) && unstage(device, &staging);
}

bool weir__kit_device_read(
    weir__kit_device_t *device, weir_handle_t buffer, uint64_t offset, void *data, uint64_t bytes)
{
    staging_t staging;
    if (!bytes)
        return true;
    if (!stage(device, bytes, &staging))
        return false;
    memset(staging.data, 0xEE, bytes);
    weir_copy_region_t region = {
        .from = {.buffer = buffer, .offset = offset, .bytes = bytes}, .to = staging.binding};
    if (!copy(device, &region))
        return false;
    memcpy(data, staging.data, bytes);
    return unstage(device, &staging);
}
