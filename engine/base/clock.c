// engine/base/clock.c: see clock.h.
#include "engine/base/clock.h"

#include <time.h>

uint64_t weir__now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000ull + (uint64_t)now.tv_nsec;
}
