// tests/fuzz/replay.c: calls a fuzz target with the bytes of files, without clang's fuzzer.
//
// usage: replay_TARGET FOLDER...
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

static int replay(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (!file)
        return -1;
    fseek(file, 0, SEEK_END);
    long bytes = ftell(file);
    rewind(file);
    uint8_t *data = bytes < 0 ? NULL : malloc((size_t)bytes + (bytes == 0));
    int done = data && fread(data, 1, (size_t)bytes, file) == (size_t)bytes;
    fclose(file);
    if (done)
        LLVMFuzzerTestOneInput(data, (size_t)bytes);
    free(data);
    return done ? 0 : -1;
}

int main(int argc, char **argv)
{
    unsigned count = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        DIR *folder = opendir(argv[i]);
        for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
            if (entry->d_name[0] == '.')
                continue;
            failed += replay(argv[i], entry->d_name) != 0;
            count++;
        }
        if (folder)
            closedir(folder);
    }
    printf("%u inputs, %u could not be read\n", count, failed);
    return count && !failed ? 0 : 1;
}
