// backends/opencl/artifact.c: a program's binaries, as the engine keeps them.
//
// An artifact is a head, entries (hash of the text, place) and the binaries. Its checksum is over
// all of it; its stamp names the device and the driver that made it.
#include "backends/opencl/opencl.h"

#include <string.h>

#define MAGIC 0x5745495243413031u

typedef struct head {
    uint64_t magic;
    uint64_t checksum[2]; // of what follows
    uint64_t bytes;       // of the whole
    uint64_t count;
    uint64_t stamp[2];
} head_t;

typedef struct entry {
    uint64_t hash[2];
    uint64_t offset, bytes;
} entry_t;

static void stamp_of(const weir_cl_device_t *device, uint64_t out_stamp[2])
{
    out_stamp[0] = out_stamp[1] = 7;
    weir_cl_hash(device->stamp, strlen(device->stamp), out_stamp);
    weir_cl_hash(WEIR_CL_BUILD, strlen(WEIR_CL_BUILD), out_stamp);
}

static void checksum_of(const void *data, uint64_t bytes, uint64_t out_checksum[2])
{
    const uint64_t first = offsetof(head_t, bytes);
    out_checksum[0] = out_checksum[1] = 3;
    weir_cl_hash((const uint8_t *)data + first, bytes - first, out_checksum);
}

// ---- Saving -------------------------------------------------------------------------------------

// Calls each() for the sources of a program, each once.
static weir_code_t each_source(const weir_cl_program_t *program,
    weir_code_t (*each)(void *user, weir_cl_source_t *source), void *user)
{
    for (uint32_t m = 0; m < program->member_count; m++)
        for (uint32_t k = 0; k < program->members[m].kernel_count; k++) {
            weir_cl_source_t *source = program->members[m].kernels[k].source;
            bool is_known = false;
            for (uint32_t n = 0; n <= m && !is_known; n++)
                for (uint32_t j = 0; j < (n == m ? k : program->members[n].kernel_count); j++)
                    is_known = is_known || program->members[n].kernels[j].source == source;
            weir_code_t code = is_known ? WEIR_OK : each(user, source);
            if (code != WEIR_OK)
                return code;
        }
    return WEIR_OK;
}

typedef struct saving {
    weir_cl_device_t *device;
    uint8_t *to;          // NULL: only counted
    uint64_t room, bytes; // so many were needed so far
    uint64_t count, index;
} saving_t;

static weir_code_t count_source(void *user, weir_cl_source_t *source)
{
    saving_t *saving = user;
    (void)source;
    saving->count += saving->device->keeps_binaries;
    return WEIR_OK;
}

static weir_code_t save_source(void *user, weir_cl_source_t *source)
{
    saving_t *saving = user;
    const weir_host_t *host = saving->device->host;
    void *data;
    uint64_t bytes, index = saving->index++, offset = saving->bytes;
    if (!saving->device->keeps_binaries)
        return WEIR_OK;
    weir_code_t code = weir_cl_source_binary(saving->device, source->program, &data, &bytes);
    if (code != WEIR_OK)
        return code;
    saving->bytes += bytes;
    if (saving->to && saving->bytes <= saving->room) {
        entry_t entry = {{source->hash[0], source->hash[1]}, offset, bytes};
        memcpy(saving->to + sizeof(head_t) + index * sizeof entry, &entry, sizeof entry);
        memcpy(saving->to + offset, data, bytes);
    }
    host->free(host, data);
    return WEIR_OK;
}

weir_code_t weir_cl_program_save(weir_handle_t handle, void *destination, uint64_t *inout_bytes)
{
    weir_cl_program_t *program = weir_cl_program(handle);
    weir_cl_device_t *device = program->device;
    saving_t saving = {.device = device, .to = destination, .room = *inout_bytes};
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    (void)each_source(program, count_source, &saving);
    saving.bytes = sizeof(head_t) + saving.count * sizeof(entry_t);
    if (destination && saving.room < saving.bytes)
        saving.to = NULL;
    code = each_source(program, save_source, &saving);
    *inout_bytes = saving.bytes;
    if (code != WEIR_OK || !destination)
        return code;
    if (saving.bytes > saving.room)
        return device->host->fail(device->host, WEIR_RESOURCE_EXHAUSTED, "room for %llu bytes",
            (unsigned long long)saving.room);
    head_t head = {.magic = MAGIC, .bytes = saving.bytes, .count = saving.count};
    stamp_of(device, head.stamp);
    memcpy(destination, &head, sizeof head);
    checksum_of(destination, saving.bytes, head.checksum);
    memcpy(destination, &head, sizeof head);
    return WEIR_OK;
}

// ---- Loading ------------------------------------------------------------------------------------

weir_code_t weir_cl_artifact_check(weir_handle_t handle, const void *data, uint64_t bytes)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    const weir_host_t *host = device->host;
    head_t head;
    uint64_t checksum[2], stamp[2];
    if (bytes < sizeof head)
        return host->fail(host, WEIR_DATA_LOSS, "no artifact of this plugin");
    memcpy(&head, data, sizeof head);
    if (head.magic != MAGIC || head.bytes != bytes)
        return host->fail(host, WEIR_DATA_LOSS, "no artifact of this plugin");
    checksum_of(data, bytes, checksum);
    if (memcmp(checksum, head.checksum, sizeof checksum) != 0 ||
        head.count > (bytes - sizeof head) / sizeof(entry_t))
        return host->fail(host, WEIR_DATA_LOSS, "a damaged artifact");
    stamp_of(device, stamp);
    if (memcmp(stamp, head.stamp, sizeof stamp) != 0)
        return host->fail(host, WEIR_UNSUPPORTED, "an artifact of another device, driver or build");
    return WEIR_OK;
}

bool weir_cl_artifact_find(const weir_cl_binaries_t *binaries, const uint64_t hash[2],
    const void **out_data, uint64_t *out_bytes)
{
    const uint8_t *data = binaries->data;
    head_t head;
    memcpy(&head, data, sizeof head);
    for (uint64_t i = 0; i < head.count; i++) {
        entry_t entry;
        memcpy(&entry, data + sizeof head + i * sizeof entry, sizeof entry);
        if (entry.hash[0] != hash[0] || entry.hash[1] != hash[1] ||
            entry.offset > binaries->bytes || entry.bytes > binaries->bytes - entry.offset)
            continue;
        *out_data = data + entry.offset;
        *out_bytes = entry.bytes;
        return true;
    }
    return false;
}

weir_code_t weir_cl_program_load(weir_handle_t handle, const weir_slice_t *slice, const void *data,
    uint64_t bytes, weir_handle_t *out_program)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    weir_cl_binaries_t binaries = {data, bytes};
    weir_code_t code = weir_cl_enter(device);
    if (code == WEIR_OK)
        code = weir_cl_artifact_check(handle, data, bytes);
    return code == WEIR_OK ? weir_cl_program_make(device, slice, &binaries, out_program) : code;
}
