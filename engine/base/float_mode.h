// engine/base/float_mode.h: the floating point environment that all of weir computes in.
//
// Round to nearest, denormals kept, nothing trapped. A caller may have set its thread otherwise
// (-ffast-math does so at start-up), and the same model must give the same bits for everybody: so
// each way into the engine that computes (load, plan, run) puts itself between the two calls.
// Must not be left entered when control goes back to the caller.
#ifndef WEIR_BASE_FLOAT_MODE_H
#define WEIR_BASE_FLOAT_MODE_H

#if defined(__x86_64__)
#include <immintrin.h>

// Returns what has to be restored.
static inline unsigned weir__float_enter(void)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(0x1f80);
    return before;
}

static inline void weir__float_leave(unsigned before)
{
    _mm_setcsr(before);
}
#else
static inline unsigned weir__float_enter(void)
{
    return 0;
}

static inline void weir__float_leave(unsigned before)
{
    (void)before;
}
#endif

#endif
