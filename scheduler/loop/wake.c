// scheduler/loop/wake.c: what wakes the loop: libuv's handles, the timer, the thread.
//
// uv_async_send() wakes from other threads. libuv before 1.53 promises no order between it and what
// was written before, and each call may cost a system call; so a put is followed by our own fence,
// and the call is made only while the loop says that it sleeps. Deadlines are finer than libuv's
// milliseconds: a timerfd on CLOCK_MONOTONIC, polled by the loop.
//
// What must not be here: uv_run() on a loop that is not ours; anything about requests.
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <uv.h>

#include "scheduler/loop/loop.h"

#define TURNS_MAX 8 // before libuv's other handles

// Lives until libuv has let go of the handles, which may be after the scheduler's end.
struct weir__wake {
    weir_scheduler_t *scheduler;
    uv_loop_t own;
    uv_loop_t *loop;
    uv_async_t async;
    uv_poll_t timer;
    uv_prepare_t prepare; // only with spin_ns
    int timer_fd;
    uint64_t armed_ns;
    uint32_t open_count; // handles
    uint32_t kind;
    pthread_t thread;
    atomic_bool stop; // the thread of OWN
};

static void arm(weir__wake_t *wake)
{
    uint64_t due_ns = weir__turn_due(wake->scheduler);
    if (due_ns == wake->armed_ns)
        return;
    // A timer of zero is none; what is due already fires at once.
    uint64_t at = due_ns == WEIR__CORE_NEVER ? 0 : due_ns ? due_ns : 1;
    struct itimerspec spec = {
        .it_value = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)}};
    if (timerfd_settime(wake->timer_fd, TFD_TIMER_ABSTIME, &spec, NULL) == 0)
        wake->armed_ns = due_ns;
}

// To sleep, unless something came meanwhile: that is done at once, as long as it is little; else
// libuv's other handles have their turn first.
static void rest(weir__wake_t *wake)
{
    for (uint32_t i = 0; i < TURNS_MAX; i++) {
        arm(wake);
        if (weir__turn_rest(wake->scheduler))
            return;
        weir__turn(wake->scheduler);
    }
    arm(wake);
    if (!weir__turn_rest(wake->scheduler))
        (void)uv_async_send(&wake->async);
}

static void turn(weir__wake_t *wake)
{
    weir__turn(wake->scheduler);
    if (!wake->scheduler->options.spin_ns)
        rest(wake);
}

static void on_async(uv_async_t *handle)
{
    turn(handle->data);
}

static void on_timer(uv_poll_t *handle, int status, int events)
{
    weir__wake_t *wake = handle->data;
    uint64_t count;
    (void)status;
    (void)events;
    if (read(wake->timer_fd, &count, sizeof count) == (ssize_t)sizeof count)
        wake->armed_ns = WEIR__CORE_NEVER;
    turn(wake);
}

static bool is_stopped(const weir__wake_t *wake)
{
    return atomic_load_explicit(&wake->stop, memory_order_acquire);
}

// About to sleep: looks for work a little longer, so that a request that comes soon is met without
// a system call.
static void on_prepare(uv_prepare_t *handle)
{
    weir__wake_t *wake = handle->data;
    weir_scheduler_t *scheduler = wake->scheduler;
    weir__spin_t spin = weir__spin_begin(scheduler->options.spin_ns);
    do {
        if (!weir__turn_is_wanted(scheduler) && weir__turn_due(scheduler) > spin.now_ns)
            continue;
        weir__turn(scheduler);
        spin = weir__spin_begin(scheduler->options.spin_ns);
    } while (!is_stopped(wake) && weir__spin(&spin));
    rest(wake);
}

void weir__wake(weir_scheduler_t *scheduler)
{
    // With the fence in weir__turn_rest(): either the loop sees what was put, or we see it asleep.
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&scheduler->sleeping, memory_order_relaxed) &&
        atomic_exchange(&scheduler->sleeping, 0))
        (void)uv_async_send(&scheduler->wake->async);
}

// ---- Opening -----------------------------------------------------------------------------------

static weir_status_t failed(const char *what, int error)
{
    return WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED, "%s: %s", what, uv_strerror(error));
}

static weir_status_t open_handles(weir__wake_t *wake)
{
    int error = uv_async_init(wake->loop, &wake->async, on_async);
    if (error)
        return failed("uv_async_init", error);
    wake->open_count++;
    wake->async.data = wake;
    error = uv_poll_init(wake->loop, &wake->timer, wake->timer_fd);
    if (error)
        return failed("uv_poll_init", error);
    wake->open_count++;
    wake->timer.data = wake;
    error = uv_poll_start(&wake->timer, UV_READABLE, on_timer);
    if (error)
        return failed("uv_poll_start", error);
    if (!wake->scheduler->options.spin_ns)
        return NULL;
    (void)uv_prepare_init(wake->loop, &wake->prepare); // neither of these two can fail
    wake->open_count++;
    wake->prepare.data = wake;
    (void)uv_prepare_start(&wake->prepare, on_prepare);
    return NULL;
}

static void close_own_loop(weir__wake_t *wake)
{
    (void)uv_run(&wake->own, UV_RUN_DEFAULT); // the closing callbacks
    (void)uv_loop_close(&wake->own);
}

static void release(weir__wake_t *wake)
{
    close(wake->timer_fd);
    if (wake->kind == WEIR_LOOP_BORROWED)
        free(wake);
}

static void on_closed(uv_handle_t *handle)
{
    weir__wake_t *wake = handle->data;
    if (--wake->open_count == 0)
        release(wake);
}

static void close_handles(weir__wake_t *wake)
{
    uint32_t count = wake->open_count;
    if (count > 2)
        uv_close((uv_handle_t *)&wake->prepare, on_closed);
    if (count > 1)
        uv_close((uv_handle_t *)&wake->timer, on_closed);
    if (count > 0)
        uv_close((uv_handle_t *)&wake->async, on_closed);
    else
        release(wake);
}

static void *run_own(void *user_data)
{
    weir__wake_t *wake = user_data;
    turn(wake);
    while (!is_stopped(wake))
        (void)uv_run(wake->loop, UV_RUN_ONCE);
    weir__turn_shut_down(wake->scheduler);
    close_handles(wake);
    close_own_loop(wake);
    return NULL;
}

static weir_status_t start_thread(weir__wake_t *wake)
{
    if (wake->kind != WEIR_LOOP_OWN)
        return NULL;
    int error = pthread_create(&wake->thread, NULL, run_own, wake);
    if (error)
        return WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED, "the loop's thread: %s", strerror(error));
    (void)pthread_setname_np(wake->thread, "weir-loop");
    return NULL;
}

weir_status_t weir__wake_create(weir_scheduler_t *scheduler)
{
    weir__wake_t *wake = calloc(1, sizeof *wake);
    if (!wake)
        return weir__loop_no_memory();
    wake->scheduler = scheduler;
    wake->kind = scheduler->options.loop;
    wake->armed_ns = WEIR__CORE_NEVER;
    wake->loop = wake->kind == WEIR_LOOP_BORROWED ? scheduler->options.uv_loop : &wake->own;
    wake->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (wake->timer_fd < 0) {
        free(wake);
        return WEIR_FAIL(WEIR_RESOURCE_EXHAUSTED, "timerfd_create: %s", strerror(errno));
    }
    if (wake->kind != WEIR_LOOP_BORROWED) {
        int error = uv_loop_init(&wake->own);
        if (error) {
            close(wake->timer_fd);
            free(wake);
            return failed("uv_loop_init", error);
        }
    }
    scheduler->wake = wake;
    weir_status_t status = open_handles(wake);
    // In BORROWED the embedder may run the loop before the first request: it must know to sleep.
    if (!status && wake->kind == WEIR_LOOP_BORROWED) {
        // This is its thread, which must not wait for itself before the first turn either.
        atomic_store_explicit(
            &scheduler->thread, (unsigned long)pthread_self(), memory_order_relaxed);
        rest(wake);
    }
    if (!status)
        status = start_thread(wake);
    if (!status)
        return NULL;
    scheduler->wake = NULL;
    close_handles(wake);
    if (wake->kind != WEIR_LOOP_BORROWED) {
        close_own_loop(wake);
        free(wake);
    }
    return status;
}

void weir__wake_free(weir_scheduler_t *scheduler)
{
    weir__wake_t *wake = scheduler->wake;
    if (wake->kind == WEIR_LOOP_OWN) {
        atomic_store(&wake->stop, true);
        (void)uv_async_send(&wake->async);
        (void)pthread_join(wake->thread, NULL);
        free(wake);
        return;
    }
    weir__turn_shut_down(scheduler);
    close_handles(wake); // of a borrowed loop: its next turn frees `wake`
    if (wake->kind == WEIR_LOOP_POLLED) {
        close_own_loop(wake);
        free(wake);
    }
}

void weir__wake_poll(weir_scheduler_t *scheduler)
{
    weir__wake_t *wake = scheduler->wake;
    // From a callback of a poll there is nothing to do: that poll goes on.
    if (wake->kind != WEIR_LOOP_POLLED || weir__is_on_loop(scheduler))
        return;
    turn(wake);
    (void)uv_run(wake->loop, UV_RUN_NOWAIT);
    atomic_store_explicit(&scheduler->thread, 0, memory_order_relaxed);
}

int weir__wake_fd(const weir_scheduler_t *scheduler)
{
    weir__wake_t *wake = scheduler->wake;
    return wake->kind == WEIR_LOOP_POLLED ? uv_backend_fd(wake->loop) : -1;
}

bool weir__is_on_loop(const weir_scheduler_t *scheduler)
{
    return atomic_load_explicit(&scheduler->thread, memory_order_relaxed) ==
           (unsigned long)pthread_self();
}
