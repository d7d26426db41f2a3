// File names for the outputs of a model.
#ifndef WEIR_CLI_FILENAMES_H
#define WEIR_CLI_FILENAMES_H

#include <stddef.h>

typedef struct weir__cli_filename {
    char text[256];
} weir__cli_filename_t;

// Fills out_files[i] with "NAME.npy" of names[i]: characters outside A-Za-z0-9_.+- become '_', a
// name over 200 bytes is cut. When two would be the same (also on a file system that folds case),
// the later ones get ".2", ".3" ... before ".npy".
void weir__cli_filenames_make(
    size_t count, const char *const *names, weir__cli_filename_t *out_files);

#endif
