// tests/unit/timeline_timer_test.c: what devices signal and what deadlines ring.
//
// Labels: threads
#include "engine/base/clock.h"
#include "engine/base/timeline.h"
#include "engine/base/timer.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

typedef struct sleeper {
    weir__waiter_t waiter; // first
    atomic_uint woken;
} sleeper_t;

static void wake_sleeper(weir__waiter_t *waiter)
{
    atomic_fetch_add(&((sleeper_t *)(void *)waiter)->woken, 1);
}

static void timelines_begin(weir__timelines_t *timelines, weir__heap_t *heap)
{
    weir__heap_init(heap, NULL, 0);
    weir__timelines_init(timelines, heap);
}

static void timelines_end(weir__timelines_t *timelines, weir__heap_t *heap)
{
    weir__timelines_free(timelines);
    assert_int_equal(atomic_load(&heap->now_bytes), 0);
}

// Goal:   a waiter is woken once, at its value or beyond it, and not before.
static void waiters_are_woken_once(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__timelines_t timelines;
    uint64_t handle;
    sleeper_t sleeper = {.waiter.wake = wake_sleeper};
    timelines_begin(&timelines, &heap);
    assert_null(weir__timeline_create(&timelines, &handle));
    assert_true(weir__timeline_reached(&timelines, handle, 0, NULL));
    assert_false(weir__timeline_reached(&timelines, handle, 3, &sleeper.waiter));
    assert_int_equal(weir__timeline_signal(&timelines, handle, 2), WEIR_OK);
    assert_int_equal(atomic_load(&sleeper.woken), 0);
    assert_int_equal(weir__timeline_signal(&timelines, handle, 5), WEIR_OK);
    assert_int_equal(atomic_load(&sleeper.woken), 1);
    // Twice, and backwards: neither wakes anybody, nor changes the value.
    assert_int_equal(weir__timeline_signal(&timelines, handle, 5), WEIR_INVALID_ARGUMENT);
    assert_int_equal(weir__timeline_signal(&timelines, handle, 4), WEIR_INVALID_ARGUMENT);
    assert_int_equal(atomic_load(&sleeper.woken), 1);
    assert_true(weir__timeline_reached(&timelines, handle, 5, &sleeper.waiter));
    assert_false(weir__timeline_reached(&timelines, handle, 6, NULL));
    timelines_end(&timelines, &heap);
}

// Goal:   a failure reaches the waiter, is told to everybody who asks, and the first one stays.
static void failures_are_sticky(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__timelines_t timelines;
    uint64_t handle;
    const char *text;
    sleeper_t sleeper = {.waiter.wake = wake_sleeper};
    timelines_begin(&timelines, &heap);
    assert_null(weir__timeline_create(&timelines, &handle));
    assert_int_equal(weir__timeline_status(&timelines, handle, &text), WEIR_OK);
    assert_string_equal(text, "");
    assert_false(weir__timeline_reached(&timelines, handle, 9, &sleeper.waiter));
    assert_int_equal(weir__timeline_fail(&timelines, handle, WEIR_DEVICE_LOST, "gone"), WEIR_OK);
    assert_int_equal(atomic_load(&sleeper.woken), 1);
    (void)weir__timeline_fail(&timelines, handle, WEIR_INTERNAL, "later");
    (void)weir__timeline_signal(&timelines, handle, 20);
    assert_int_equal(weir__timeline_status(&timelines, handle, &text), WEIR_DEVICE_LOST);
    assert_string_equal(text, "gone");
    assert_true(weir__timeline_reached(&timelines, handle, UINT64_MAX, &sleeper.waiter));
    assert_int_equal(atomic_load(&sleeper.woken), 1);
    // A failure that says OK is one all the same.
    assert_null(weir__timeline_create(&timelines, &handle));
    assert_int_equal(weir__timeline_fail(&timelines, handle, WEIR_OK, NULL), WEIR_OK);
    assert_int_equal(weir__timeline_status(&timelines, handle, &text), WEIR_INTERNAL);
    timelines_end(&timelines, &heap);
}

// Goal:   a handle that is gone does nothing, also when its place was given to another timeline.
static void stale_handles_do_nothing(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__timelines_t timelines;
    uint64_t old, fresh;
    const char *text;
    timelines_begin(&timelines, &heap);
    assert_int_equal(weir__timeline_signal(&timelines, 0, 1), WEIR_NOT_FOUND);
    assert_int_equal(weir__timeline_signal(&timelines, UINT64_MAX, 1), WEIR_NOT_FOUND);
    assert_null(weir__timeline_create(&timelines, &old));
    weir__timeline_release(&timelines, old);
    assert_null(weir__timeline_create(&timelines, &fresh));
    assert_int_equal((uint32_t)old, (uint32_t)fresh); // the same place
    assert_true(old != fresh);
    assert_int_equal(weir__timeline_signal(&timelines, old, 7), WEIR_NOT_FOUND);
    assert_int_equal(
        weir__timeline_fail(&timelines, old, WEIR_DEVICE_LOST, "late"), WEIR_NOT_FOUND);
    weir__timeline_release(&timelines, old);
    assert_false(weir__timeline_reached(&timelines, fresh, 1, NULL));
    assert_int_equal(weir__timeline_status(&timelines, fresh, &text), WEIR_OK);
    assert_true(weir__timeline_reached(&timelines, old, 99, NULL));
    assert_int_equal(weir__timeline_status(&timelines, old, &text), WEIR_NOT_FOUND);
    uint64_t many[100]; // blocks never move
    for (int i = 0; i < 100; i++)
        assert_null(weir__timeline_create(&timelines, &many[i]));
    for (uint64_t i = 0; i < 100; i++)
        assert_int_equal(weir__timeline_signal(&timelines, many[i], i + 1), WEIR_OK);
    for (uint64_t i = 0; i < 100; i++) {
        assert_true(weir__timeline_reached(&timelines, many[i], i + 1, NULL));
        assert_false(weir__timeline_reached(&timelines, many[i], i + 2, NULL));
    }
    timelines_end(&timelines, &heap);
}

// ---- Taking a waiter back while it is being woken ----------------------------------------------

typedef struct duel {
    weir__timelines_t *timelines;
    uint64_t handle;
    atomic_uint round; // the signaller follows
    atomic_bool over;
} duel_t;

static void *signal_each_round(void *user)
{
    duel_t *duel = user;
    for (unsigned done = 0; !atomic_load(&duel->over);) {
        unsigned round = atomic_load(&duel->round);
        if (round == done) {
            sched_yield();
            continue;
        }
        (void)weir__timeline_signal(duel->timelines, duel->handle, round);
        done = round;
    }
    return NULL;
}

typedef struct dozer {
    weir__waiter_t waiter; // first
    atomic_uint entered, left;
} dozer_t;

static void wake_slowly(weir__waiter_t *waiter)
{
    dozer_t *dozer = (dozer_t *)(void *)waiter;
    atomic_fetch_add(&dozer->entered, 1);
    for (int i = 0; i < 20; i++)
        sched_yield();
    atomic_fetch_add(&dozer->left, 1);
}

// Goal:   after weir__timeline_disarm() returns, nobody touches the waiter any more.
// Method: each round's waiter lies on the stack of a function that returns right after.
static void one_round(duel_t *duel, unsigned round)
{
    dozer_t sleeper = {.waiter.wake = wake_slowly};
    bool reached = weir__timeline_reached(duel->timelines, duel->handle, round, &sleeper.waiter);
    atomic_store(&duel->round, round);
    for (unsigned i = 0; !reached && i < round % 64; i++)
        sched_yield();
    weir__timeline_disarm(duel->timelines, duel->handle, &sleeper.waiter);
    unsigned woken = atomic_load(&sleeper.entered);
    assert_true(woken <= 1);
    assert_int_equal(atomic_load(&sleeper.left), woken); // no call is under way
    memset((void *)&sleeper, 0xee, sizeof sleeper);      // TSan and a wild jump would tell
}

static void disarm_races_with_signals(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__timelines_t timelines;
    duel_t duel = {.timelines = &timelines};
    pthread_t thread;
    timelines_begin(&timelines, &heap);
    assert_null(weir__timeline_create(&timelines, &duel.handle));
    assert_int_equal(pthread_create(&thread, NULL, signal_each_round, &duel), 0);
    for (unsigned round = 1; round <= 3000; round++)
        one_round(&duel, round);
    atomic_store(&duel.over, true);
    pthread_join(thread, NULL);
    timelines_end(&timelines, &heap);
}

// ---- Timers ------------------------------------------------------------------------------------

typedef struct bell {
    weir__alarm_t alarm; // first
    atomic_uint *counter;
    atomic_uint rang_as; // 1 …: which in order; 0: not yet
} bell_t;

static void ring_bell(weir__alarm_t *alarm)
{
    bell_t *bell = (bell_t *)(void *)alarm;
    atomic_store(&bell->rang_as, atomic_fetch_add(bell->counter, 1) + 1);
}

// Goal:   alarms ring in the order of their deadlines, not of their setting; a cleared one does
//         not; none rings early.
static void alarms_ring_in_order(void **state)
{
    (void)state;
    static const uint64_t delays_ms[] = {30, 5, 20, 5, 60000, 10};
    static const unsigned order[] = {5, 1, 4, 2, 0, 3};
    weir__timer_t timer;
    atomic_uint counter = 0;
    bell_t bells[6];
    weir__timer_init(&timer);
    uint64_t start_ns = weir__now_ns();
    for (int i = 0; i < 6; i++) {
        memset(&bells[i], 0, sizeof bells[i]);
        bells[i].alarm.ring = ring_bell;
        bells[i].alarm.deadline_ns = start_ns + delays_ms[i] * 1000000;
        bells[i].counter = &counter;
        assert_null(weir__timer_set(&timer, &bells[i].alarm));
    }
    weir__timer_clear(&timer, &bells[4].alarm);
    weir__timer_clear(&timer, &bells[4].alarm);
    while (atomic_load(&counter) < 5)
        sched_yield();
    assert_true(weir__now_ns() - start_ns >= 30 * 1000000);
    for (int i = 0; i < 6; i++)
        assert_int_equal(atomic_load(&bells[i].rang_as), order[i]);
    // One that is set again, in the past, rings at once.
    atomic_store(&bells[1].rang_as, 0);
    assert_null(weir__timer_set(&timer, &bells[1].alarm));
    while (!atomic_load(&bells[1].rang_as))
        sched_yield();
    weir__timer_clear(&timer, &bells[1].alarm);
    weir__timer_free(&timer);
}

// Goal:   a timer that never rang, or that still has alarms, can go.
static void timers_come_and_go(void **state)
{
    (void)state;
    weir__timer_t timer;
    atomic_uint counter = 0;
    weir__timer_init(&timer);
    weir__timer_free(&timer);
    for (int i = 0; i < 20; i++) {
        bell_t bell = {.counter = &counter};
        bell.alarm.ring = ring_bell;
        bell.alarm.deadline_ns = weir__now_ns() + 3600000000000ull;
        weir__timer_init(&timer);
        assert_null(weir__timer_set(&timer, &bell.alarm));
        if (i % 2)
            weir__timer_clear(&timer, &bell.alarm);
        weir__timer_free(&timer);
    }
    assert_int_equal(atomic_load(&counter), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waiters_are_woken_once),
        cmocka_unit_test(failures_are_sticky),
        cmocka_unit_test(stale_handles_do_nothing),
        cmocka_unit_test(disarm_races_with_signals),
        cmocka_unit_test(alarms_ring_in_order),
        cmocka_unit_test(timers_come_and_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
