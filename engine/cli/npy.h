// NumPy's .npy files: read within bounds, written whole or not at all.
//
// Source: NumPy's numpy.lib.format, versions 1.0 to 3.0. Little-endian, C order, plain numbers;
// anything else is refused with what to type in Python instead. A file is hostile until it is
// checked.
#ifndef WEIR_CLI_NPY_H
#define WEIR_CLI_NPY_H

#include <stddef.h>
#include <stdint.h>
#include <weir/value.h>

#include "engine/cli/fault.h"

enum { WEIR__CLI_NPY_HEADER_BYTES_MAX = 65536 };

typedef struct weir__cli_npy_header {
    weir_dtype_t dtype;
    uint32_t rank;
    int64_t dims[WEIR_RANK_MAX]; // [rank], each >= 0
    uint64_t data_offset;        // in the file
    uint64_t data_bytes;
} weir__cli_npy_header_t;

// Reads the header at the start of a file of which `bytes` are the first byte_count bytes. `what`
// names the file in the fault.
weir_code_t weir__cli_npy_parse(const uint8_t *bytes, size_t byte_count, const char *what,
    weir__cli_npy_header_t *out_header, weir__cli_fault_t *fault);

// Reads a whole file. Owns: out_value->data is the caller's to free().
weir_code_t weir__cli_npy_load(const char *path, weir_value_t *out_value, weir__cli_fault_t *fault);

// Writes folder/name: under a name of its own first, then renamed, so that the file is never seen
// half written. bf16, which .npy lacks, is widened to f32 (exact).
weir_code_t weir__cli_npy_save(
    const char *folder, const char *name, const weir_value_t *value, weir__cli_fault_t *fault);

#endif
