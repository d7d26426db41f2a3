// File names from output names. A name is any bytes and must not choose a folder, hide a file's
// type or overwrite a sibling.
#include "engine/cli/filenames.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { STEM_BYTES_MAX = 200 };

static bool is_kept(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '.' || c == '+' || c == '-';
}

static bool is_taken(const weir__cli_filename_t *files, size_t count, const char *file)
{
    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(files[i].text, file) == 0)
            return true;
    }
    return false;
}

void weir__cli_filenames_make(
    size_t count, const char *const *names, weir__cli_filename_t *out_files)
{
    for (size_t i = 0; i < count; i++) {
        char stem[STEM_BYTES_MAX + 1];
        size_t bytes = 0;
        for (; names[i][bytes] && bytes < STEM_BYTES_MAX; bytes++)
            stem[bytes] = is_kept(names[i][bytes]) ? names[i][bytes] : '_';
        stem[bytes] = '\0';
        char *file = out_files[i].text;
        (void)snprintf(file, sizeof(out_files[i].text), "%s.npy", *stem ? stem : "_");
        for (size_t n = 2; is_taken(out_files, i, file); n++)
            (void)snprintf(file, sizeof(out_files[i].text), "%s.%zu.npy", *stem ? stem : "_", n);
    }
}
