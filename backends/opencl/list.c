// backends/opencl/list.c: the list of devices: all of all platforms, or those that options pick,
// or equal parts of the first.
//
// GPUs come first. A device that is a CPU is used only when somebody names it: weir_cpu.so runs on
// the same cores, and faster. The list is made when somebody needs it and never changes.
#include "backends/opencl/opencl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define PLATFORMS_MAX 16
#define SEEN_MAX 128

// The identities of all devices that there are, whether options want them or not: the same device
// is the same with other options.
typedef struct seen {
    uint8_t uuids[SEEN_MAX][16];
    uint32_t count;
} seen_t;

const char *weir_cl_option(const weir_host_t *host, const char *name, const char *otherwise)
{
    const char *text = host->option(host, name);
    return text && *text ? text : otherwise;
}

uint64_t weir_cl_number(const weir_host_t *host, const char *name, uint64_t otherwise)
{
    const char *text = host->option(host, name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static weir_cl_state_t *state_of(const weir_host_t *host)
{
    return *host->state;
}

// ---- One device ---------------------------------------------------------------------------------

static void info_text(cl_device_id id, cl_device_info what, char *out_text, size_t bytes)
{
    out_text[0] = '\0';
    if (clGetDeviceInfo(id, what, bytes, out_text, NULL) != CL_SUCCESS)
        out_text[0] = '\0';
    out_text[bytes - 1] = '\0';
}

// The name of a device without what drivers put around it.
static void describe(weir_cl_listed_t *listed, cl_device_type type)
{
    char name[256], platform[128] = "", version[64];
    cl_ulong bytes = 0;
    uint64_t hash[2] = {0, 0};
    info_text(listed->id, CL_DEVICE_NAME, name, sizeof name);
    info_text(listed->id, CL_DRIVER_VERSION, version, sizeof version);
    (void)clGetPlatformInfo(listed->platform, CL_PLATFORM_NAME, sizeof platform, platform, NULL);
    platform[sizeof platform - 1] = '\0';
    const char *maker = strcmp(platform, "Portable Computing Language") == 0 ? "PoCL" : platform;
    snprintf(listed->name, sizeof listed->name, "%.20s: %.40s", maker, name);
    (void)clGetDeviceInfo(listed->id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof bytes, &bytes, NULL);
    listed->memory_bytes = bytes;
    listed->is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0;
    weir_cl_hash(name, strlen(name), hash);
    weir_cl_hash(version, strlen(version), hash);
    snprintf(listed->arch, sizeof listed->arch, "cl-%016llx", (unsigned long long)hash[0]);
    memcpy(listed->uuid, hash, sizeof listed->uuid);
}

#define UUID_KHR 0x106A // of cl_khr_device_uuid: CL_DEVICE_UUID_KHR, which older headers lack

// Who it is: the driver's word, where it has one. Otherwise name and driver, and which of several
// that are called the same, in the driver's order.
static void identify(seen_t *seen, weir_cl_listed_t *listed)
{
    uint8_t uuid[16], none[16] = {0};
    size_t bytes = 0;
    char extensions[8192];
    info_text(listed->id, CL_DEVICE_EXTENSIONS, extensions, sizeof extensions);
    if (strstr(extensions, "cl_khr_device_uuid") &&
        clGetDeviceInfo(listed->id, UUID_KHR, sizeof uuid, uuid, &bytes) == CL_SUCCESS &&
        bytes == sizeof uuid && memcmp(uuid, none, sizeof uuid) != 0)
        memcpy(listed->uuid, uuid, sizeof uuid);
    for (uint32_t i = 0; i < seen->count; i++)
        if (memcmp(seen->uuids[i], listed->uuid, sizeof listed->uuid) == 0) {
            uint64_t hash[2];
            memcpy(hash, listed->uuid, sizeof hash);
            weir_cl_hash(&i, sizeof i, hash);
            memcpy(listed->uuid, hash, sizeof hash);
        }
    if (seen->count < SEEN_MAX)
        memcpy(seen->uuids[seen->count++], listed->uuid, sizeof listed->uuid);
}

// What the kernels and the host need of it: OpenCL 1.2, and 64-bit integers, which an embedded
// profile may lack.
static bool is_able(cl_device_id id)
{
    char version[512], profile[64];
    info_text(id, CL_DEVICE_VERSION, version, sizeof version);
    info_text(id, CL_DEVICE_PROFILE, profile, sizeof profile);
    if (strncmp(version, "OpenCL ", 7) != 0 || strcmp(profile, "FULL_PROFILE") != 0)
        return false;
    char *dot = NULL;
    unsigned long major = strtoul(version + 7, &dot, 10);
    return major > 1 || (major == 1 && *dot == '.' && strtoul(dot + 1, NULL, 10) >= 2);
}

// By the name that is shown, or by what it is made of, of which it shows a part.
static bool is_named(const weir_cl_listed_t *listed, const char *text)
{
    char name[256] = "", platform[256] = "";
    if (listed->id) {
        info_text(listed->id, CL_DEVICE_NAME, name, sizeof name);
        (void)clGetPlatformInfo(
            listed->platform, CL_PLATFORM_NAME, sizeof platform - 1, platform, NULL);
    }
    return strcasestr(listed->name, text) || strcasestr(name, text) || strcasestr(platform, text);
}

static bool is_wanted(const weir_cl_state_t *state, const weir_cl_listed_t *listed)
{
    const char *platform = weir_cl_option(state->host, "platform", "");
    const char *type = weir_cl_option(state->host, "type", "any");
    if (strcmp(type, listed->is_cpu ? "gpu" : "cpu") == 0)
        return false;
    return !*platform || is_named(listed, platform);
}

// ---- Parts --------------------------------------------------------------------------------------

// The list becomes equal parts of its first device.
static void divide(weir_cl_state_t *state)
{
    uint64_t parts = weir_cl_number(state->host, "sub_devices", 0);
    if (parts < 2 || !state->count)
        return;
    weir_cl_listed_t whole = state->devices[0];
    parts = WEIR_MIN(parts, WEIR_CL_DEVICES_MAX);
    for (uint32_t i = 0; i < parts; i++) {
        state->devices[i] = whole;
        state->devices[i].part = i;
        state->devices[i].part_count = (uint32_t)parts;
        state->devices[i].uuid[15] = (uint8_t)(whole.uuid[15] + i);
        snprintf(state->devices[i].name, sizeof whole.name, "%.52s %u/%u", whole.name, i + 1,
            (unsigned)parts);
    }
    state->count = (uint32_t)parts;
}

// ---- The list -----------------------------------------------------------------------------------

static void list_platform(
    weir_cl_state_t *state, cl_platform_id platform, bool are_cpus, seen_t *seen)
{
    cl_device_id ids[WEIR_CL_DEVICES_MAX];
    cl_uint count = 0;
    if (clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, WEIR_CL_DEVICES_MAX, ids, &count) !=
        CL_SUCCESS)
        return;
    for (cl_uint i = 0; i < WEIR_MIN(count, WEIR_CL_DEVICES_MAX); i++) {
        cl_device_type type = 0;
        cl_bool is_usable = CL_FALSE, has_compiler = CL_FALSE;
        (void)clGetDeviceInfo(ids[i], CL_DEVICE_TYPE, sizeof type, &type, NULL);
        (void)clGetDeviceInfo(ids[i], CL_DEVICE_AVAILABLE, sizeof is_usable, &is_usable, NULL);
        (void)clGetDeviceInfo(
            ids[i], CL_DEVICE_COMPILER_AVAILABLE, sizeof has_compiler, &has_compiler, NULL);
        if (((type & CL_DEVICE_TYPE_CPU) != 0) != are_cpus || (type & CL_DEVICE_TYPE_CUSTOM) ||
            !is_usable || !has_compiler || !is_able(ids[i]) || state->count == WEIR_CL_DEVICES_MAX)
            continue;
        weir_cl_listed_t *listed = &state->devices[state->count];
        *listed = (weir_cl_listed_t){.platform = platform, .id = ids[i]};
        describe(listed, type);
        identify(seen, listed);
        state->count += is_wanted(state, listed);
    }
}

static void ask_driver(weir_cl_state_t *state)
{
    cl_platform_id platforms[PLATFORMS_MAX];
    cl_uint count = 0;
    seen_t seen = {.count = 0};
    state->count = 0;
    state->is_asked = true;
    cl_int error = weir_cl_platforms(state->host, platforms, PLATFORMS_MAX, &count);
    if (error != CL_SUCCESS || !count) {
        weir_cl_vendor_reason(true, state->reason, sizeof state->reason);
        return;
    }
    for (int are_cpus = 0; are_cpus < 2; are_cpus++)
        for (cl_uint i = 0; i < WEIR_MIN(count, PLATFORMS_MAX); i++)
            list_platform(state, platforms[i], are_cpus != 0, &seen);
    if (!state->count)
        snprintf(state->reason, sizeof state->reason,
            "no device of %u OpenCL platforms is available, has a compiler, OpenCL 1.2 with its "
            "full profile, and is what opencl.platform and .type want",
            (unsigned)count);
    divide(state);
}

// PoCL's device, without PoCL. What only the driver knows is told by open().
static void list_pocl(weir_cl_state_t *state)
{
    weir_cl_listed_t *listed = &state->devices[0];
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    *listed = (weir_cl_listed_t){.is_cpu = true};
    snprintf(listed->name, sizeof listed->name, "PoCL: the CPU as an OpenCL device");
    snprintf(listed->arch, sizeof listed->arch, "pocl");
    memcpy(listed->uuid, "weir-opencl-cpu", 15);
    listed->memory_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    state->count = is_wanted(state, listed);
    if (!state->count)
        snprintf(state->reason, sizeof state->reason,
            "PoCL's device, the only one, is none that opencl.type wants");
    divide(state);
}

void weir_cl_list(weir_cl_state_t *state, bool need_driver)
{
    pthread_mutex_lock(&state->lock);
    weir_cl_vendors_t vendors = WEIR_CL_VENDORS_OTHER;
    if (!state->is_listed && !need_driver)
        vendors = weir_cl_vendors();
    // Only the driver knows the names that the option may mean.
    if (vendors == WEIR_CL_VENDORS_POCL && *weir_cl_option(state->host, "platform", ""))
        vendors = WEIR_CL_VENDORS_OTHER;
    if (vendors == WEIR_CL_VENDORS_POCL) {
        list_pocl(state);
    } else if (vendors == WEIR_CL_VENDORS_NONE) {
        weir_cl_vendor_reason(false, state->reason, sizeof state->reason);
    } else if (!state->is_asked && (need_driver || !state->is_listed)) {
        weir_cl_listed_t before[WEIR_CL_DEVICES_MAX];
        uint32_t count = state->is_listed ? state->count : 0;
        memcpy(before, state->devices, sizeof before);
        ask_driver(state);
        // What was listed stays as it was told: names and identities do not change.
        for (uint32_t i = 0; i < WEIR_MIN(count, state->count); i++) {
            weir_cl_listed_t *listed = &state->devices[i];
            before[i].platform = listed->platform;
            before[i].id = listed->id;
            *listed = before[i];
        }
    }
    state->is_listed = true;
    pthread_mutex_unlock(&state->lock);
}

weir_code_t weir_cl_enumerate(const weir_host_t *host, uint32_t index, weir_device_info_t *out_info)
{
    weir_cl_state_t *state = state_of(host);
    weir_cl_list(state, false);
    pthread_mutex_lock(&state->lock);
    bool is_there = index < state->count;
    weir_cl_listed_t listed = state->devices[is_there ? index : 0];
    pthread_mutex_unlock(&state->lock);
    if (!is_there)
        return WEIR_NOT_FOUND;
    out_info->head.flags = listed.is_cpu ? WEIR_DEVICE_ON_REQUEST : 0;
    memcpy(out_info->name, listed.name, sizeof out_info->name);
    memcpy(out_info->arch, listed.arch, sizeof out_info->arch);
    memcpy(out_info->uuid, listed.uuid, sizeof out_info->uuid);
    out_info->numa_node = -1;
    out_info->memory_bytes = listed.memory_bytes;
    return WEIR_OK;
}

weir_code_t weir_cl_probe(const weir_host_t *host, weir_support_t *out_support)
{
    weir_cl_state_t *state = state_of(host);
    weir_cl_list(state, false);
    snprintf(out_support->reason, sizeof out_support->reason, "%s", state->reason);
    if (!state->count)
        return WEIR_UNAVAILABLE;
    weir_cl_broken_get(host, out_support->reason, sizeof out_support->reason);
    return WEIR_OK;
}
