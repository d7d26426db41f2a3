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

// An artifact that grows. Of a program_save() that only asks for the size it is kept until the
// next, since a driver's binary may grow between the two: PoCL adds what it compiles at a launch.
typedef struct image {
    weir_cl_device_t *device;
    uint8_t *data;
    uint64_t bytes, room;
    uint64_t count;
} image_t;

static bool append(image_t *image, const void *data, uint64_t bytes)
{
    const weir_host_t *host = image->device->host;
    if (bytes > image->room - image->bytes) {
        uint64_t room = WEIR_MAX(image->room * 2, image->bytes + bytes);
        uint8_t *grown = host->alloc(host, room);
        if (!grown)
            return false;
        if (image->bytes)
            memcpy(grown, image->data, image->bytes);
        host->free(host, image->data);
        image->data = grown;
        image->room = room;
    }
    if (data)
        memcpy(image->data + image->bytes, data, bytes);
    else
        memset(image->data + image->bytes, 0, bytes);
    image->bytes += bytes;
    return true;
}

static weir_code_t count_source(void *user, weir_cl_source_t *source)
{
    image_t *image = user;
    (void)source;
    image->count++;
    return WEIR_OK;
}

static weir_code_t save_source(void *user, weir_cl_source_t *source)
{
    image_t *image = user;
    const weir_host_t *host = image->device->host;
    void *data;
    uint64_t bytes;
    weir_code_t code = weir_cl_source_binary(image->device, source->program, &data, &bytes);
    if (code != WEIR_OK)
        return code;
    entry_t entry = {{source->hash[0], source->hash[1]}, image->bytes, bytes};
    memcpy(image->data + sizeof(head_t) + image->count++ * sizeof entry, &entry, sizeof entry);
    if (!append(image, data, bytes))
        code = WEIR_RESOURCE_EXHAUSTED;
    host->free(host, data);
    return code;
}

// out_image->data is the caller's, also after a failure.
static weir_code_t make_image(const weir_cl_program_t *program, image_t *out_image)
{
    weir_cl_device_t *device = program->device;
    *out_image = (image_t){.device = device};
    if (device->keeps_binaries)
        (void)each_source(program, count_source, out_image);
    head_t head = {.magic = MAGIC, .count = out_image->count};
    if (!append(out_image, NULL, sizeof head + head.count * sizeof(entry_t)))
        return WEIR_RESOURCE_EXHAUSTED;
    out_image->count = 0;
    weir_code_t code =
        device->keeps_binaries ? each_source(program, save_source, out_image) : WEIR_OK;
    head.bytes = out_image->bytes;
    stamp_of(device, head.stamp);
    memcpy(out_image->data, &head, sizeof head);
    checksum_of(out_image->data, head.bytes, head.checksum);
    memcpy(out_image->data, &head, sizeof head);
    return code;
}

// What an earlier call left; NULL: nothing.
static void *exchange(weir_cl_program_t *program, void *image, uint64_t *inout_bytes)
{
    weir_cl_device_t *device = program->device;
    pthread_mutex_lock(&device->lock);
    void *before = program->image;
    uint64_t bytes = program->image_bytes;
    program->image = image;
    program->image_bytes = *inout_bytes;
    pthread_mutex_unlock(&device->lock);
    *inout_bytes = bytes;
    return before;
}

weir_code_t weir_cl_program_save(weir_handle_t handle, void *destination, uint64_t *inout_bytes)
{
    weir_cl_program_t *program = weir_cl_program(handle);
    weir_cl_device_t *device = program->device;
    const weir_host_t *host = device->host;
    const uint64_t room = *inout_bytes;
    uint64_t bytes = 0;
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    void *data = destination ? exchange(program, NULL, &bytes) : NULL;
    if (!data) {
        image_t image;
        code = make_image(program, &image);
        data = image.data;
        bytes = image.bytes;
    }
    *inout_bytes = bytes;
    if (code == WEIR_OK && destination && bytes <= room) {
        memcpy(destination, data, bytes);
    } else if (code == WEIR_OK) {
        data = exchange(program, data, &bytes);
        if (destination)
            code = host->fail(
                host, WEIR_RESOURCE_EXHAUSTED, "room for %llu bytes", (unsigned long long)room);
    }
    host->free(host, data);
    return code;
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
