// scheduler/loop/futex.h: sleeping until a number changes, and looking for it a little before; for
// weir_wait(), the loop and its end.
#ifndef WEIR_SCHEDULER_FUTEX_H
#define WEIR_SCHEDULER_FUTEX_H

#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <weir/weir.h>

// A bounded spin: while (not there yet && weir__spin(&spin)).
typedef struct weir__spin {
    uint64_t now_ns, until_ns; // now: at the last look
} weir__spin_t;

static inline weir__spin_t weir__spin_begin(uint64_t spin_ns)
{
    uint64_t now_ns = spin_ns ? weir_now_ns() : 0;
    return (weir__spin_t){.now_ns = now_ns, .until_ns = now_ns + spin_ns};
}

// false: it has been long enough. Whoever is looked for may need this CPU, so it is offered at each
// look: where there are more who look than CPUs, each look without it is one that others wait for.
static inline bool weir__spin(weir__spin_t *spin)
{
    if (!spin->until_ns)
        return false;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
    (void)sched_yield();
    spin->now_ns = weir_now_ns();
    return spin->now_ns < spin->until_ns;
}

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
