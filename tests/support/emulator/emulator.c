// tests/support/emulator/emulator.c: blocks and threads as loops and fibers; see emulator.h.
//
// A fiber begins by setcontext() and is then left and entered by _setjmp() and _longjmp(), which
// ask nothing of the kernel. Sanitizers know swapcontext() alone.
#undef _FORTIFY_SOURCE // its longjmp() takes another stack for a mistake
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "kernels/cuda/emulated.h"
#include "kernels/ref/ref.h"
#include "tests/support/emulator/emulator.h"
#include "tests/support/emulator/sanitizers.h"

#define THREADS_MAX 1024
#define WARP 32
#define STACK_BYTES ((size_t)64 << 10)

typedef enum wait { WAIT_READY, WAIT_BLOCK, WAIT_WARP, WAIT_ENDED } wait_t;

// Where to go on.
typedef struct point {
    ucontext_t context;
    jmp_buf jump;
    int has_jump; // it was left, so jump counts
    fiber_notes_t notes;
} point_t;

typedef struct fiber {
    point_t point;
    wait_t wait;
    uint32_t shuffles; // that it took part in
} fiber_t;

// One launch on one thread of the host.
typedef struct launch {
    const weir_emulator_kernel_t *kernel;
    const void *params;
    void *shared;
    uint32_t threads;
    uint32_t random;
    char *stacks;
    fiber_t *fibers; // [threads]
    point_t scheduler;
    uint32_t *ready; // [ready_count] threads that can go on
    uint32_t ready_count, live, waiting;
    uint32_t warp_live[THREADS_MAX / WARP], warp_waiting[THREADS_MAX / WARP];
    float slots[2][THREADS_MAX]; // what lanes give each other
    int met;                     // a kernel met whose row says that it does not
} launch_t;

_Thread_local weir_emulated_t weir_emulated;
static _Thread_local launch_t *current;

static uint32_t next(launch_t *launch)
{
    launch->random = launch->random * 1664525u + 1013904223u;
    return launch->random >> 8;
}

// Goes on at `to`; comes back when somebody goes on at `from`. for_good: it never does.
FIBERS_NOT_FOLLOWED __attribute__((noinline)) static void switch_to(
    point_t *from, point_t *to, int for_good)
{
    fiber_leave(&from->notes, &to->notes, for_good);
#if defined(FIBERS_ASAN) || defined(FIBERS_TSAN)
    (void)swapcontext(&from->context, &to->context);
#else
    from->has_jump = 1;
    if (_setjmp(from->jump) == 0) {
        if (to->has_jump)
            _longjmp(to->jump, 1);
        (void)setcontext(&to->context);
    }
#endif
}

// ---------------------------------------------------------------------------------------------
// Meeting
// ---------------------------------------------------------------------------------------------

static void release(launch_t *launch, wait_t wait, uint32_t first, uint32_t end)
{
    for (uint32_t i = first; i < end; i++)
        if (launch->fibers[i].wait == wait) {
            launch->fibers[i].wait = WAIT_READY;
            launch->ready[launch->ready_count++] = i;
        }
}

// Lets go whom the last one was waited for by: one that came, or one that ended.
static void settle(launch_t *launch, uint32_t warp)
{
    const uint32_t first = warp * WARP;
    if (launch->warp_waiting[warp] && launch->warp_waiting[warp] == launch->warp_live[warp]) {
        launch->warp_waiting[warp] = 0;
        release(launch, WAIT_WARP, first, first + WARP);
    }
    if (launch->waiting && launch->waiting == launch->live) {
        launch->waiting = 0;
        release(launch, WAIT_BLOCK, 0, launch->threads);
    }
}

static void meet(wait_t wait)
{
    launch_t *launch = current;
    const uint32_t self = weir_emulated.thread;
    if (!launch->fibers) {
        launch->met = 1;
        return;
    }
    launch->fibers[self].wait = wait;
    if (wait == WAIT_WARP)
        launch->warp_waiting[self / WARP]++;
    else
        launch->waiting++;
    settle(launch, self / WARP);
    switch_to(&launch->fibers[self].point, &launch->scheduler, 0);
    fiber_arrive(&launch->fibers[self].point.notes, &launch->scheduler.notes);
}

void weir_emulated_sync(void)
{
    meet(WAIT_BLOCK);
}

void weir_emulated_sync_warp(void)
{
    meet(WAIT_WARP);
}

// Two sets of slots in turn: no lane is more than one shuffle ahead.
float weir_emulated_shuffle_xor(float value, uint32_t mask)
{
    launch_t *launch = current;
    const uint32_t self = weir_emulated.thread;
    if (!launch->fibers) {
        launch->met = 1;
        return value;
    }
    float *slots = launch->slots[launch->fibers[self].shuffles++ % 2];
    slots[self] = value;
    meet(WAIT_WARP);
    return slots[self ^ mask];
}

void weir_emulated_report(uint32_t *word, uint32_t bits)
{
    (void)__atomic_fetch_or(word, bits, __ATOMIC_RELAXED);
}

float weir_emulated_f16_value(uint16_t bits)
{
    return (float)weir_kr_f16_to_double(bits);
}

uint16_t weir_emulated_f16_bits(float value)
{
    return weir_kr_f16_from_double((double)value);
}

float weir_emulated_bf16_value(uint16_t bits)
{
    return (float)weir_kr_bf16_to_double(bits);
}

uint16_t weir_emulated_bf16_bits(float value)
{
    return weir_kr_bf16_from_double((double)value);
}

// ---------------------------------------------------------------------------------------------
// Blocks
// ---------------------------------------------------------------------------------------------

FIBERS_NOT_FOLLOWED static void fiber_main(void)
{
    launch_t *launch = current;
    const uint32_t self = weir_emulated.thread, warp = self / WARP;
    fiber_arrive(&launch->fibers[self].point.notes, &launch->scheduler.notes);
    launch->kernel->body(launch->params, launch->shared);
    launch->fibers[self].wait = WAIT_ENDED;
    launch->live--;
    launch->warp_live[warp]--;
    settle(launch, warp);
    switch_to(&launch->fibers[self].point, &launch->scheduler, 1);
}

static void fiber_ready(launch_t *launch, uint32_t thread)
{
    fiber_t *fiber = &launch->fibers[thread];
    char *stack = launch->stacks + thread * STACK_BYTES;
    fiber->wait = WAIT_READY;
    fiber->shuffles = 0;
    fiber->point.has_jump = 0;
    fiber_new(&fiber->point.notes, stack, STACK_BYTES);
    launch->ready[launch->ready_count++] = thread;
    launch->warp_live[thread / WARP] = WARP;
    launch->warp_waiting[thread / WARP] = 0;
    (void)getcontext(&fiber->point.context);
    fiber->point.context.uc_stack.ss_sp = stack;
    fiber->point.context.uc_stack.ss_size = STACK_BYTES;
    fiber->point.context.uc_link = NULL;
    makecontext(&fiber->point.context, fiber_main, 0);
}

// 0: threads wait for each other.
static int run_fibers(launch_t *launch)
{
    launch->live = launch->threads;
    launch->waiting = launch->ready_count = 0;
    for (uint32_t i = 0; i < launch->threads; i++)
        fiber_ready(launch, i);
    while (launch->ready_count) {
        const uint32_t draw = next(launch) % launch->ready_count;
        const uint32_t thread = launch->ready[draw];
        launch->ready[draw] = launch->ready[--launch->ready_count];
        weir_emulated.thread = thread;
        switch_to(&launch->scheduler, &launch->fibers[thread].point, 0);
        fiber_arrive(&launch->scheduler.notes, NULL);
    }
    return launch->live == 0;
}

static const char *run_block(launch_t *launch)
{
    memset(launch->shared, 0xff, launch->kernel->shared_bytes);
    if (launch->kernel->syncs)
        return run_fibers(launch) ? NULL : "its threads wait for each other";
    for (uint32_t i = 0; i < launch->threads; i++) {
        weir_emulated.thread = i;
        launch->kernel->body(launch->params, launch->shared);
    }
    return launch->met ? "its threads meet, and its row says that they do not" : NULL;
}

static const char *run_blocks(launch_t *launch, const uint32_t grid[3])
{
    const char *wrong = NULL;
    weir_emulated.threads = launch->threads;
    weir_emulated.blocks_z = grid[2];
    for (uint32_t z = 0; z < grid[2] && !wrong; z++)
        for (uint32_t y = 0; y < grid[1] && !wrong; y++)
            for (uint32_t x = 0; x < grid[0] && !wrong; x++) {
                weir_emulated.block_x = x;
                weir_emulated.block_y = y;
                weir_emulated.block_z = z;
                wrong = run_block(launch);
            }
    return wrong;
}

static const char *refuse(
    const weir_emulator_kernel_t *kernel, const uint32_t grid[3], uint32_t threads)
{
    if (!grid[0] || !grid[1] || !grid[2] || grid[0] > 0x7fffffffu || grid[1] > 65535 ||
        grid[2] > 65535)
        return "no grid that a device takes";
    if (!threads || threads > kernel->threads || (kernel->syncs && threads % WARP != 0))
        return "no number of threads that it takes";
    return NULL;
}

int weir_emulator_launch(const weir_emulator_kernel_t *kernel, const void *params,
    const uint32_t grid[3], uint32_t threads, uint32_t seed, char *error, size_t error_bytes)
{
    const char *wrong = refuse(kernel, grid, threads);
    launch_t launch = {.kernel = kernel, .threads = threads, .random = seed};
    if (!wrong) {
        void *copy = malloc(kernel->params_bytes);
        launch.shared = malloc(kernel->shared_bytes);
        if (kernel->syncs) {
            launch.stacks = malloc(threads * STACK_BYTES);
            launch.fibers = calloc(threads, sizeof *launch.fibers);
            launch.ready = calloc(threads, sizeof *launch.ready);
        }
        if (!copy || !launch.shared ||
            (kernel->syncs && (!launch.stacks || !launch.fibers || !launch.ready))) {
            wrong = "no memory";
        } else {
            memcpy(copy, params, kernel->params_bytes);
            launch.params = copy;
            fiber_new(&launch.scheduler.notes, NULL, 0);
            current = &launch;
            wrong = run_blocks(&launch, grid);
            current = NULL;
        }
        free(copy);
        free(launch.shared);
        free(launch.stacks);
        free(launch.fibers);
        free(launch.ready);
    }
    if (wrong && error_bytes)
        (void)snprintf(error, error_bytes, "%s: %s", kernel->name, wrong);
    return wrong ? -1 : 0;
}
