// tests/unit/cpus_test.c: which CPUs an engine's team may run on.
#include "engine/base/team.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void expect_refused(const char *cpus, weir_code_t code)
{
    uint32_t count = 77;
    weir_status_t status = weir__cpu_count(cpus, &count);
    assert_int_equal(weir_status_code(status), code);
    assert_non_null(strstr(weir_status_message(status), cpus));
    assert_int_equal(count, 77);
    weir_status_free(status);
}

// Goal: lists are read as taskset reads them; what is no list or no CPU of ours is refused with the
// list.
static void lists_are_read(void **state)
{
    (void)state;
    uint32_t all, one;
    assert_null(weir__cpu_count(NULL, &all));
    assert_true(all >= 1);
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &set))
        cpu++;
    char text[80];
    snprintf(text, sizeof text, "%zu,%zu-%zu", cpu, cpu, cpu);
    assert_null(weir__cpu_count(text, &one));
    assert_int_equal(one, 1);
    expect_refused("x", WEIR_INVALID_ARGUMENT);
    expect_refused("1-", WEIR_INVALID_ARGUMENT);
    expect_refused("3-1", WEIR_INVALID_ARGUMENT);
    expect_refused("0;1", WEIR_INVALID_ARGUMENT);
    expect_refused("0-99999999999", WEIR_INVALID_ARGUMENT);
    expect_refused("1023", WEIR_NOT_FOUND);
}

static void note_mask(weir__job_t *job)
{
    struct {
        weir__job_t job;
        atomic_uint done;
        cpu_set_t set;
    } *note = (void *)job;
    sched_getaffinity(0, sizeof note->set, &note->set);
    atomic_store(&note->done, 1);
}

// Goal:   workers run where they were told to.
// Method: a job reads its thread's mask.
static void workers_are_bound(void **state)
{
    (void)state;
    struct {
        weir__job_t job;
        atomic_uint done;
        cpu_set_t set;
    } note = {.job.run = note_mask};
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    size_t cpu = CPU_SETSIZE - 1;
    while (!CPU_ISSET(cpu, &set))
        cpu--;
    char text[32];
    snprintf(text, sizeof text, "%zu", cpu);
    weir__heap_t heap;
    weir__heap_init(&heap, NULL, 0);
    weir__team_t *team;
    assert_null(weir__team_create(&heap, 1, text, 0, &team));
    weir__team_post(team, &note.job);
    while (!atomic_load(&note.done))
        sched_yield();
    assert_int_equal(CPU_COUNT(&note.set), 1);
    assert_true(CPU_ISSET(cpu, &note.set));
    weir__team_free(team);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_are_read),
        cmocka_unit_test(workers_are_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
