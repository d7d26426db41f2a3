// What the command needs to know about element types: sizes, half floats, single elements as text.
#ifndef WEIR_CLI_DTYPE_H
#define WEIR_CLI_DTYPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/plugin.h>

// Bytes of one element; 0 for what is no plain number (strings, several bits, none).
size_t weir__cli_dtype_bytes(weir_dtype_t dtype);
bool weir__cli_dtype_is_float(weir_dtype_t dtype);

float weir__cli_f16_to_f32(uint16_t half);
uint16_t weir__cli_f32_to_f16(float value); // to nearest, ties to even
float weir__cli_bf16_to_f32(uint16_t half);
uint16_t weir__cli_f32_to_bf16(float value); // to nearest, ties to even

// Bytes of `rank` dims of this type. False when a dim is negative or the product does not fit.
bool weir__cli_dtype_size(
    weir_dtype_t dtype, uint32_t rank, const int64_t *dims, uint64_t *out_bytes);

// Element `index` as a double; inexact for integers over 2^53.
double weir__cli_dtype_get(weir_dtype_t dtype, const void *data, uint64_t index);

// Element `index` as text: integers exactly, floats with `digits` digits. Returns `text`.
const char *weir__cli_dtype_text(weir_dtype_t dtype, const void *data, uint64_t index, int digits,
    char *text, size_t text_bytes);

#endif
