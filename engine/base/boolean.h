// engine/base/boolean.h: booleans out of a file are bytes that only may be 0 and 1.
#ifndef WEIR_BASE_BOOLEAN_H
#define WEIR_BASE_BOOLEAN_H

#include "engine/base/status.h"

// Errors: INVALID_ARGUMENT (the first byte that is neither, by its place).
weir_status_t weir__boolean_check(const uint8_t *data, uint64_t bytes);

#endif
