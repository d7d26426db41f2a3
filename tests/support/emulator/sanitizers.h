// tests/support/emulator/sanitizers.h: tells the sanitizers that the stack changes.
//
// AddressSanitizer follows stacks and must be told of each switch between fibers; without it all of
// this is nothing. ThreadSanitizer is told nothing: fibers of its own take it an mmap() of 772 KB
// each, a thread of a kernel is a fiber, and they take turns on one thread of the host. What it
// follows is how deep calls are, and every fiber returns from all that it calls; only fiber_main()
// does not, which is therefore none of its business.
#ifndef WEIR_TESTS_SUPPORT_EMULATOR_SANITIZERS_H
#define WEIR_TESTS_SUPPORT_EMULATOR_SANITIZERS_H

#include <stddef.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define FIBERS_ASAN 1
#elif __has_feature(thread_sanitizer)
#define FIBERS_TSAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define FIBERS_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define FIBERS_TSAN 1
#endif

typedef struct fiber_notes {
    void *fake; // AddressSanitizer's own
    const void *stack;
    size_t stack_bytes;
} fiber_notes_t;

#if defined(FIBERS_ASAN)
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(
    void *fake_stack_save, const void **bottom_old, size_t *size_old);
#endif
#if defined(FIBERS_TSAN)
#define FIBERS_NOT_FOLLOWED __attribute__((no_sanitize("thread")))
#else
#define FIBERS_NOT_FOLLOWED
#endif

static inline void fiber_new(fiber_notes_t *notes, const void *stack, size_t stack_bytes)
{
    *notes = (fiber_notes_t){NULL, stack, stack_bytes};
}

// Just before the switch; for good: `from` never comes back.
static inline void fiber_leave(fiber_notes_t *from, const fiber_notes_t *to, int for_good)
{
#if defined(FIBERS_ASAN)
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->fake, to->stack, to->stack_bytes);
#else
    (void)from;
    (void)to;
    (void)for_good;
#endif
}

// Just after it, on the new stack. The first fiber learns the scheduler's own stack here.
static inline void fiber_arrive(fiber_notes_t *self, fiber_notes_t *from)
{
#if defined(FIBERS_ASAN)
    const void *stack;
    size_t bytes;
    __sanitizer_finish_switch_fiber(self->fake, &stack, &bytes);
    if (from) {
        from->stack = stack;
        from->stack_bytes = bytes;
    }
#else
    (void)self;
    (void)from;
#endif
}

#endif
