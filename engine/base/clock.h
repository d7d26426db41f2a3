// engine/base/clock.h: the monotonic clock that deadlines are measured with.
#ifndef WEIR_BASE_CLOCK_H
#define WEIR_BASE_CLOCK_H

#include <stdint.h>

uint64_t weir__now_ns(void);

#endif
