// What Linux says of the processor and of this process; see machine.h.
#include "engine/cli/machine.h"

#include <errno.h>
#include <ftw.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const wanted[] = {"sse4_2", "fma", "f16c", "avx", "avx2", "avx512f", "avx512bw",
    "avx512dq", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16", "avx_vnni", "amx_tile",
    "amx_int8", "amx_bf16"};

// Keeps of a list of flags those that are wanted, in the order of the table.
static void keep_flags(char *line, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        const size_t bytes = strlen(wanted[i]);
        for (const char *at = line; (at = strstr(at, wanted[i])) != NULL; at += bytes) {
            const char after = at[bytes];
            if (at[-1] != ' ' || (after != ' ' && after != '\n' && after != '\0'))
                continue;
            const int put =
                snprintf(out + used, out_bytes - used, "%s%s", used ? " " : "", wanted[i]);
            used += (size_t)put < out_bytes - used ? (size_t)put : 0;
            break;
        }
    }
}

void weir__cli_machine_read(weir__cli_machine_t *out_machine)
{
    *out_machine = (weir__cli_machine_t){.cpu = "unknown"};
    FILE *file = fopen("/proc/cpuinfo", "re");
    char *line = NULL;
    size_t capacity = 0;
    while (file && getline(&line, &capacity, file) > 0 && *line != '\n') { // the first processor
        char *colon = strchr(line, ':');
        if (!colon)
            continue;
        if (strncmp(line, "model name", 10) == 0)
            (void)snprintf(out_machine->cpu, sizeof(out_machine->cpu), "%.*s",
                (int)strcspn(colon + 2, "\n"), colon + 2);
        else if (strncmp(line, "flags", 5) == 0)
            keep_flags(colon + 1, out_machine->flags, sizeof(out_machine->flags));
    }
    free(line);
    if (file)
        (void)fclose(file);
}

uint64_t weir__cli_machine_anonymous_bytes(void)
{
    unsigned long long kib = 0;
    char line[256];
    (void)malloc_trim(0);
    FILE *file = fopen("/proc/self/smaps_rollup", "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Anonymous: %llu kB", &kib) == 1)
            break;
    }
    if (file)
        (void)fclose(file);
    return (uint64_t)kib * 1024;
}

int weir__cli_machine_folder_make(char *path, size_t path_bytes)
{
    const char *parent = getenv("TMPDIR");
    const int bytes =
        snprintf(path, path_bytes, "%s/weir-XXXXXX", parent && *parent ? parent : P_tmpdir);
    if (bytes < 0 || (size_t)bytes >= path_bytes)
        return ENAMETOOLONG;
    return mkdtemp(path) ? 0 : errno;
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(path);
}

void weir__cli_machine_folder_remove(const char *path)
{
    // Depth first and never through a link: what is removed was made by this process.
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}
