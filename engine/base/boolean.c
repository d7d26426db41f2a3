// engine/base/boolean.c: see boolean.h.
#include "engine/base/boolean.h"

#include <inttypes.h>

weir_status_t weir__boolean_check(const uint8_t *data, uint64_t bytes)
{
    for (uint64_t i = 0; i < bytes; i++)
        if (data[i] > 1)
            return WEIR_ERR(
                WEIR_INVALID_ARGUMENT, "element %" PRIu64 " of a boolean tensor is %u", i, data[i]);
    return NULL;
}
