// backends/opencl/vendor.c: which drivers the ICD loader will find, and asking it.
//
// Loading a driver is dear (PoCL brings a compiler of 100 MB and a pool of threads), and an engine
// lists all devices when it is created, also one that uses none of ours. So where every vendor file
// names PoCL, which is the CPU once more, the list is made without asking. Settings of PoCL that
// the user did not make hold for the first call of the loader only and leave the environment as it
// was.
#include "backends/opencl/opencl.h"

#include <dirent.h>
#include <dlfcn.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define VENDORS_MAX 64
#define VENDOR_FOLDER "/etc/OpenCL/vendors"

// ---- The vendor files ---------------------------------------------------------------------------

static bool ends_with(const char *text, const char *end)
{
    size_t length = strlen(text), wanted = strlen(end);
    return length >= wanted && strcmp(text + length - wanted, end) == 0;
}

// The first line of a vendor file: the library it names.
static bool read_library(const char *path, char *out_library, size_t bytes)
{
    FILE *file = fopen(path, "r");
    out_library[0] = '\0';
    if (!file)
        return false;
    if (fgets(out_library, (int)bytes, file))
        out_library[strcspn(out_library, " \t\r\n")] = '\0';
    fclose(file);
    return out_library[0] != '\0';
}

static const char *vendor_folder(void)
{
    const char *own = getenv("OCL_ICD_VENDORS");
    return own && *own ? own : VENDOR_FOLDER;
}

// Calls each(user, file, library) for the vendor files that name a library; returns how many there
// are. A setting may name one file instead of a folder.
static uint32_t each_vendor(
    void (*each)(void *user, const char *file, const char *library), void *user)
{
    const char *folder = vendor_folder();
    char path[1024], library[256];
    uint32_t count = 0;
    DIR *directory = opendir(folder);
    if (!directory) {
        if (ends_with(folder, ".icd") && read_library(folder, library, sizeof library))
            each(user, folder, library), count++;
        return count;
    }
    for (struct dirent *entry; count < VENDORS_MAX && (entry = readdir(directory)) != NULL;) {
        if (!ends_with(entry->d_name, ".icd"))
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (!read_library(path, library, sizeof library))
            continue;
        each(user, entry->d_name, library);
        count++;
    }
    closedir(directory);
    return count;
}

// ---- Is it PoCL alone? --------------------------------------------------------------------------

// Is the library where the dynamic linker looks first? Whatever else there is, it is asked then.
static bool is_installed(const char *library)
{
    static const char *const folders[] = {
        "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"};
    char path[512];
    if (strchr(library, '/'))
        return access(library, R_OK) == 0;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folders[i], library);
        if (access(path, R_OK) == 0)
            return true;
    }
    return false;
}

typedef struct seen {
    bool has_pocl, has_other;
} seen_t;

static void look(void *user, const char *file, const char *library)
{
    seen_t *seen = user;
    (void)file;
    bool is_pocl = strstr(library, "libpocl") && is_installed(library);
    seen->has_pocl = seen->has_pocl || is_pocl;
    seen->has_other = seen->has_other || !is_pocl;
}

weir_cl_vendors_t weir_cl_vendors(void)
{
    static const char *const settings[] = {
        "POCL_DEVICES", "OCL_ICD_FILENAMES", "OPENCL_VENDOR_PATH", "OPENCL_LAYERS"};
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (getenv(settings[i]))
            return WEIR_CL_VENDORS_OTHER;
    seen_t seen = {false, false};
    (void)each_vendor(look, &seen);
    return seen.has_other  ? WEIR_CL_VENDORS_OTHER
           : seen.has_pocl ? WEIR_CL_VENDORS_POCL
                           : WEIR_CL_VENDORS_NONE;
}

// ---- Why there is nothing -----------------------------------------------------------------------

typedef struct story {
    char *text;
    size_t bytes;
} story_t;

static void tell(void *user, const char *file, const char *library)
{
    story_t *story = user;
    size_t used = strlen(story->text);
    if (used + 8 > story->bytes)
        return;
    void *handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
    const char *why = handle ? "it loads, but offers no platform" : dlerror();
    snprintf(story->text + used, story->bytes - used, "; %s: %s", file, why ? why : "unknown");
    if (handle)
        dlclose(handle);
}

void weir_cl_vendor_reason(bool has_files, char *out_reason, size_t bytes)
{
    story_t story = {out_reason, bytes};
    snprintf(out_reason, bytes, "the OpenCL loader finds no platform in %s", vendor_folder());
    if (!has_files || !each_vendor(tell, &story))
        snprintf(out_reason, bytes,
            "the OpenCL loader finds no driver: no .icd file of use in %s (Debian: "
            "pocl-opencl-icd)",
            vendor_folder());
}

// ---- Asking the loader --------------------------------------------------------------------------

// CPUs that this process may use: its affinity and its cgroup's quota, rounded up.
static uint32_t usable_cpus(void)
{
    cpu_set_t set;
    long quota = 0, period = 0;
    uint32_t count = sched_getaffinity(0, sizeof set, &set) == 0 ? (uint32_t)CPU_COUNT(&set) : 1;
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (file && fscanf(file, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0)
        count = WEIR_MIN(count, (uint32_t)WEIR_DIV_UP(quota, period));
    if (file)
        fclose(file);
    return WEIR_MAX(count, 1u);
}

// Sets a variable that is not set; true: it must be taken back.
static bool lend(const char *name, const char *value)
{
    return value[0] && !getenv(name) && setenv(name, value, 0) == 0;
}

cl_int weir_cl_platforms(
    const weir_host_t *host, cl_platform_id *out_platforms, cl_uint room, cl_uint *out_count)
{
    char threads[24], cache[1024];
    const char *home = getenv("HOME"), *caches = getenv("XDG_CACHE_HOME");
    uint64_t wanted = weir_cl_number(host, "threads", 0);
    snprintf(
        threads, sizeof threads, "%llu", (unsigned long long)(wanted ? wanted : usable_cpus()));
    snprintf(cache, sizeof cache, "%s", weir_cl_option(host, "pocl_cache", ""));
    if (!cache[0] && caches && *caches)
        snprintf(cache, sizeof cache, "%s/weir/pocl", caches);
    else if (!cache[0] && home && *home)
        snprintf(cache, sizeof cache, "%s/.cache/weir/pocl", home);
    bool has_threads = lend("POCL_MAX_PTHREAD_COUNT", threads);
    bool has_cache = lend("POCL_CACHE_DIR", cache);
    cl_int error = clGetPlatformIDs(room, out_platforms, out_count);
    for (cl_uint i = 0; error == CL_SUCCESS && i < WEIR_MIN(*out_count, room); i++) {
        cl_uint devices = 0; // some set themselves up when they are asked for devices
        (void)clGetDeviceIDs(out_platforms[i], CL_DEVICE_TYPE_ALL, 0, NULL, &devices);
    }
    if (has_threads)
        unsetenv("POCL_MAX_PTHREAD_COUNT");
    if (has_cache)
        unsetenv("POCL_CACHE_DIR");
    return error;
}
