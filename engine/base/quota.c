// engine/base/quota.c: how much CPU time the cgroups of this process allow.
//
// v2: cpu.max, "150000 100000"; v1: cpu.cfs_quota_us and cpu.cfs_period_us. The least of the own
// cgroup and all above it counts. In a container the path in /proc/self/cgroup is often the host's
// and not below the mount; then the mount's top is the own cgroup.
//
// It must not fail: what cannot be read allows everything.
#include "engine/base/quota.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH_BYTES = 4096 };

// The first line of a file without its newline. Returns false when there is none.
static bool read_line(const char *path, char *out, size_t out_bytes)
{
    FILE *file = fopen(path, "re");
    const bool is_read = file && fgets(out, (int)out_bytes, file);
    if (file)
        (void)fclose(file);
    if (is_read)
        out[strcspn(out, "\n")] = '\0';
    return is_read;
}

static uint64_t milli_of(int64_t quota_us, int64_t period_us)
{
    if (quota_us <= 0 || period_us <= 0 || quota_us > INT64_MAX / 1000)
        return 0;
    const int64_t milli = quota_us * 1000 / period_us;
    return milli ? (uint64_t)milli : 1;
}

// What one cgroup's folder says; 0: nothing.
static uint64_t quota_in(const char *folder)
{
    char path[PATH_BYTES + 32], line[128];
    (void)snprintf(path, sizeof(path), "%s/cpu.max", folder);
    int64_t quota = 0, period = 0;
    if (read_line(path, line, sizeof(line)))
        return sscanf(line, "%" SCNd64 " %" SCNd64, &quota, &period) == 2 ? milli_of(quota, period)
                                                                          : 0; // "max 100000"
    (void)snprintf(path, sizeof(path), "%s/cpu.cfs_quota_us", folder);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNd64, &quota) != 1)
        return 0;
    (void)snprintf(path, sizeof(path), "%s/cpu.cfs_period_us", folder);
    if (!read_line(path, line, sizeof(line)) || sscanf(line, "%" SCNd64, &period) != 1)
        return 0;
    return milli_of(quota, period);
}

static uint64_t lesser(uint64_t a, uint64_t b)
{
    return !a || (b && b < a) ? b : a;
}

// The least from mount/path up to the mount.
static uint64_t quota_along(const char *mount, const char *path)
{
    char folder[PATH_BYTES];
    const int bytes = snprintf(folder, sizeof(folder), "%s%s", mount, path);
    const size_t top = strlen(mount);
    uint64_t least = 0;
    if (bytes < 0 || (size_t)bytes >= sizeof(folder))
        return quota_in(mount);
    for (;;) {
        least = lesser(least, quota_in(folder));
        char *slash = strrchr(folder, '/');
        if (strlen(folder) <= top || !slash)
            return least;
        *slash = '\0';
    }
}

// Is `word` one of a list with commas?
static bool lists(const char *list, const char *word)
{
    const size_t bytes = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',')) {
        at += *at == ',';
        if (strncmp(at, word, bytes) == 0 && (at[bytes] == ',' || at[bytes] == '\0'))
            return true;
    }
    return false;
}

// The path of the own cgroup: of the hierarchy with the controller `cpu` (v1), or of the unified
// one.
static bool own_path(const char *root, bool is_v2, char *out, size_t out_bytes)
{
    char path[PATH_BYTES], line[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "re");
    bool is_found = false;
    while (file && !is_found && fgets(line, sizeof(line), file)) { // "4:cpu,cpuacct:/user.slice"
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *where = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!where)
            continue;
        *where++ = '\0';
        controllers++;
        if (is_v2 ? *controllers != '\0' : !lists(controllers, "cpu"))
            continue;
        is_found = true;
        (void)snprintf(out, out_bytes, "%s", strcmp(where, "/") == 0 ? "" : where);
    }
    if (file)
        (void)fclose(file);
    return is_found;
}

uint64_t weir__quota_milli(const char *root)
{
    char path[PATH_BYTES], line[PATH_BYTES], mount[PATH_BYTES], own[PATH_BYTES];
    (void)snprintf(path, sizeof(path), "%s/proc/self/mountinfo", root);
    FILE *file = fopen(path, "re");
    uint64_t least = 0;
    while (file && fgets(line, sizeof(line), file)) {
        // 36 35 98:0 /root /mount/point options - type source super,options
        char point[2048], *tail = strstr(line, " - ");
        char type[64], super[2048];
        if (!tail || sscanf(line, "%*s %*s %*s %*s %2047s", point) != 1 ||
            sscanf(tail + 3, "%63s %*s %2047s", type, super) != 2)
            continue;
        const bool is_v2 = strcmp(type, "cgroup2") == 0;
        if (!is_v2 && (strcmp(type, "cgroup") != 0 || !lists(super, "cpu")))
            continue;
        const int bytes = snprintf(mount, sizeof(mount), "%s%s", root, point);
        if (bytes < 0 || (size_t)bytes >= sizeof(mount))
            continue;
        const bool has_own = own_path(root, is_v2, own, sizeof(own));
        least = lesser(least, quota_along(mount, has_own ? own : ""));
    }
    if (file)
        (void)fclose(file);
    return least;
}
