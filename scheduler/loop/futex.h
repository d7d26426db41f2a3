// scheduler/loop/futex.h: sleeping until a number changes; for weir_wait() and the end of the loop.
#ifndef WEIR_SCHEDULER_FUTEX_H
#define WEIR_SCHEDULER_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Sleeps while *word is `value`, at most until `deadline_ns` of CLOCK_MONOTONIC (0: as long as it
// takes). May return early.
static inline void weir__loop_futex_wait(atomic_uint *word, unsigned value, uint64_t deadline_ns)
{
    struct timespec until = {.tv_sec = (time_t)(deadline_ns / 1000000000u),
        .tv_nsec = (long)(deadline_ns % 1000000000u)};
    // WAIT_BITSET takes an absolute time, WAIT a relative one.
    (void)syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, value, deadline_ns ? &until : NULL,
        NULL, FUTEX_BITSET_MATCH_ANY);
}

static inline void weir__loop_futex_wake(atomic_uint *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

#endif
