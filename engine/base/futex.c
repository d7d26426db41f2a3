// engine/base/futex.c: see futex.h.
#include "engine/base/futex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void weir__futex_wait(atomic_uint *word, unsigned expected, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
        .tv_nsec = (long)(deadline_ns % 1000000000u)};
    // WAIT_BITSET takes an absolute time of the monotonic clock, which is what deadlines are.
    syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline_ns ? &until : NULL, NULL,
        FUTEX_BITSET_MATCH_ANY);
}

void weir__futex_wake(atomic_uint *word, int count)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}
