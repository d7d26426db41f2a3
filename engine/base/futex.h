// engine/base/futex.h: sleeping until a 32-bit word changes (Linux futex(2)).
#ifndef WEIR_BASE_FUTEX_H
#define WEIR_BASE_FUTEX_H

#include <stdatomic.h>
#include <stdint.h>

// Returns when *word != expected, when woken, at the deadline (of weir__now_ns(); 0: none), or
// spuriously.
void weir__futex_wait(atomic_uint *word, unsigned expected, uint64_t deadline_ns);
void weir__futex_wake(atomic_uint *word, int count);

#endif
