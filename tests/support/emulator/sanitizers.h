// tests/support/emulator/sanitizers.h: tells the sanitizers that the stack changes.
//
// AddressSanitizer and ThreadSanitizer follow stacks and must be told of each switch between
// fibers; without them all of this is nothing.
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
    void *thread; // ThreadSanitizer's own
} fiber_notes_t;

#if defined(FIBERS_ASAN)
void __sanitizer_start_switch_fiber(void **fake_stack_save, const void *bottom, size_t size);
void __sanitizer_finish_switch_fiber(
    void *fake_stack_save, const void **bottom_old, size_t *size_old);
#elif defined(FIBERS_TSAN)
void *__tsan_get_current_fiber(void);
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

static inline void fiber_self(fiber_notes_t *notes)
{
    *notes = (fiber_notes_t){NULL, NULL, 0, NULL};
#if defined(FIBERS_TSAN)
    notes->thread = __tsan_get_current_fiber();
#endif
}

static inline void fiber_new(fiber_notes_t *notes, const void *stack, size_t stack_bytes)
{
    *notes = (fiber_notes_t){NULL, stack, stack_bytes, NULL};
#if defined(FIBERS_TSAN)
    notes->thread = __tsan_create_fiber(0);
#endif
}

static inline void fiber_end(fiber_notes_t *notes)
{
#if defined(FIBERS_TSAN)
    __tsan_destroy_fiber(notes->thread);
#else
    (void)notes;
#endif
}

// Just before the switch; for good: `from` never comes back.
static inline void fiber_leave(fiber_notes_t *from, const fiber_notes_t *to, int for_good)
{
#if defined(FIBERS_ASAN)
    __sanitizer_start_switch_fiber(for_good ? NULL : &from->fake, to->stack, to->stack_bytes);
#elif defined(FIBERS_TSAN)
    (void)from;
    (void)for_good;
    __tsan_switch_to_fiber(to->thread, 0);
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
