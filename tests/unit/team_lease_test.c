// tests/unit/team_lease_test.c: leases run every task once, jobs run once each, no worker is lost.
//
// Labels: threads
// Timeout: 120
#include "engine/base/clock.h"
#include "engine/base/team.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define TASKS 300

typedef struct count {
    atomic_uint runs[TASKS];
    atomic_uint most_worker;
    weir_code_t code_at; // the task that fails gives this
    uint64_t fail_at;
} count_t;

static weir_code_t count_tasks(void *user, uint32_t worker, uint64_t first, uint64_t count)
{
    count_t *counted = user;
    unsigned most = atomic_load(&counted->most_worker);
    while (most < worker && !atomic_compare_exchange_weak(&counted->most_worker, &most, worker)) {
    }
    for (uint64_t i = first; i < first + count; i++) {
        atomic_fetch_add(&counted->runs[i], 1);
        if (counted->code_at && i == counted->fail_at)
            return counted->code_at;
    }
    return WEIR_OK;
}

static uint64_t spin_ns; // of all teams

static weir__team_t *new_team(weir__heap_t *heap, uint32_t threads)
{
    weir__team_t *team;
    weir__heap_init(heap, NULL, 0);
    assert_null(weir__team_create(heap, threads, NULL, spin_ns, &team));
    assert_int_equal(weir__team_threads(team), threads);
    return team;
}

// Goal:   each task of each phase runs exactly once, and a phase has ended when the call returns.
// Method: many phases of different sizes on one lease, as a run makes them, on 1 to 4 threads.
static void phases_run_each_task_once(void **state)
{
    (void)state;
    for (uint32_t threads = 1; threads <= 4; threads++) {
        weir__heap_t heap;
        weir__team_t *team = new_team(&heap, threads);
        weir__lease_t lease;
        static count_t count;
        weir__lease_begin(team, 0, &lease);
        assert_true(lease.worker_count <= threads - 1);
        for (uint64_t phase = 0; phase < 400; phase++) {
            uint64_t tasks = phase * 7 % TASKS;
            memset(&count, 0, sizeof count);
            assert_int_equal(weir__lease_run(&lease, tasks, count_tasks, &count), WEIR_OK);
            for (uint64_t i = 0; i < TASKS; i++)
                assert_int_equal(atomic_load(&count.runs[i]), i < tasks);
            assert_true(atomic_load(&count.most_worker) < threads);
        }
        weir__lease_end(&lease);
        weir__team_free(team);
        assert_int_equal(atomic_load(&heap.now_bytes), 0);
    }
}

// Goal:   a failing task's code comes back, and the next phase starts clean.
static void a_failure_ends_its_phase_only(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, 3);
    weir__lease_t lease;
    static count_t count;
    weir__lease_begin(team, 0, &lease);
    for (int round = 0; round < 50; round++) {
        memset(&count, 0, sizeof count);
        count.code_at = WEIR_DATA_LOSS;
        count.fail_at = (uint64_t)round;
        assert_int_equal(weir__lease_run(&lease, TASKS, count_tasks, &count), WEIR_DATA_LOSS);
        for (uint64_t i = 0; i < TASKS; i++)
            assert_true(atomic_load(&count.runs[i]) <= 1);
        memset(&count, 0, sizeof count);
        assert_int_equal(weir__lease_run(&lease, TASKS, count_tasks, &count), WEIR_OK);
        for (uint64_t i = 0; i < TASKS; i++)
            assert_int_equal(atomic_load(&count.runs[i]), 1);
    }
    weir__lease_end(&lease);
    weir__team_free(team);
}

// Goal:   max_threads is kept, and what one lease has another cannot get.
static void leases_share_nothing(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, 4);
    weir__lease_t one, two, three;
    weir__lease_begin(team, 1, &one);
    assert_int_equal(one.worker_count, 0);
    weir__lease_begin(team, 3, &two);
    // A worker that was just started is parked in a moment; none is claimed twice.
    assert_int_equal(two.worker_count, 2);
    // Two callers and two workers: as many as the team is meant for.
    weir__lease_begin(team, 0, &three);
    assert_int_equal(three.worker_count, 0);
    static count_t a, b;
    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    assert_int_equal(weir__lease_run(&two, TASKS, count_tasks, &a), WEIR_OK);
    assert_int_equal(weir__lease_run(&three, TASKS, count_tasks, &b), WEIR_OK);
    for (int i = 0; i < TASKS; i++)
        assert_true(atomic_load(&a.runs[i]) == 1 && atomic_load(&b.runs[i]) == 1);
    weir__lease_end(&one);
    weir__lease_end(&three);
    weir__lease_end(&two);
    weir__team_free(team);
}

// ---- Jobs --------------------------------------------------------------------------------------

#define JOBS 500

typedef struct piece {
    weir__job_t job;
    weir__team_t *team;
    atomic_uint runs;
    unsigned again; // posts itself so often
    atomic_uint *finished;
} piece_t;

static void run_piece(weir__job_t *job)
{
    piece_t *piece = (piece_t *)(void *)job; // its first member
    atomic_fetch_add(&piece->runs, 1);
    if (piece->again) {
        piece->again--;
        weir__team_post(piece->team, job);
        return;
    }
    atomic_fetch_add(piece->finished, 1);
}

typedef struct poster {
    weir__team_t *team;
    piece_t pieces[JOBS];
    atomic_uint finished;
    bool leases; // makes runs of its own in between
} poster_t;

static void *post_all(void *user)
{
    poster_t *poster = user;
    static _Thread_local count_t count;
    for (unsigned i = 0; i < JOBS; i++) {
        poster->pieces[i] = (piece_t){.job = {.run = run_piece},
            .team = poster->team,
            .again = i % 3,
            .finished = &poster->finished};
        weir__team_post(poster->team, &poster->pieces[i].job);
        if (!poster->leases || i % 20)
            continue;
        weir__lease_t lease;
        weir__lease_begin(poster->team, 0, &lease);
        memset(&count, 0, sizeof count);
        if (weir__lease_run(&lease, TASKS, count_tasks, &count) != WEIR_OK)
            return "a phase failed";
        weir__lease_end(&lease);
        for (int t = 0; t < TASKS; t++)
            if (atomic_load(&count.runs[t]) != 1)
                return "a task did not run once";
    }
    // No time is waited for: were a job or a worker lost, the test's timeout would say so.
    while (atomic_load(&poster->finished) < JOBS)
        sched_yield();
    return NULL;
}

static void post_from_threads(uint32_t threads, bool leases)
{
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, threads);
    static poster_t posters[3];
    pthread_t handles[3];
    for (int i = 0; i < 3; i++) {
        posters[i].team = team;
        posters[i].leases = leases;
        atomic_store(&posters[i].finished, 0);
        assert_int_equal(pthread_create(&handles[i], NULL, post_all, &posters[i]), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *problem;
        pthread_join(handles[i], &problem);
        if (problem)
            fail_msg("%s", (const char *)problem);
        for (unsigned p = 0; p < JOBS; p++)
            assert_int_equal(atomic_load(&posters[i].pieces[p].runs), 1 + p % 3);
    }
    weir__team_free(team); // returns: every worker is parked again
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
}

// Goal:   jobs posted from several threads, and from jobs, all run, once per post.
static void jobs_run_once(void **state)
{
    (void)state;
    post_from_threads(1, false);
    post_from_threads(3, false);
}

typedef struct lingering {
    weir__job_t job; // first
    atomic_uint finished;
    atomic_uint pauses;
} lingering_t;

static void run_lingering(weir__job_t *job)
{
    lingering_t *lingering = (lingering_t *)(void *)job;
    volatile unsigned pauses = atomic_load(&lingering->pauses);
    atomic_fetch_add(&lingering->finished, 1);
    while (pauses)
        pauses = pauses - 1;
}

// Goal:   a job that is posted at the moment when the only worker goes to sleep is run.
// Method: a job says that it ran a little before it ends, each time a little longer, and is posted
//         again at once: some of those posts meet the worker on its way. A lost job never runs:
//         the timeout tells.
static void jobs_meet_a_worker_going_to_sleep(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, 1);
    static lingering_t lingering;
    atomic_store(&lingering.finished, 0);
    lingering.job.run = run_lingering;
    for (unsigned round = 1; round <= 40000; round++) {
        atomic_store(&lingering.pauses, round % 400);
        weir__team_post(team, &lingering.job);
        for (unsigned spins = 1; atomic_load(&lingering.finished) < round; spins++)
            if (spins % 1024 == 0)
                sched_yield();
    }
    assert_int_equal(atomic_load(&lingering.finished), 40000);
    weir__team_free(team);
}

// Goal:   the same while leases come and go: a job that finds all workers leased is not lost.
static void jobs_and_leases_together(void **state)
{
    (void)state;
    post_from_threads(2, true);
    post_from_threads(4, true);
}

// Goal:   a team of many that did nothing, or only a little, comes and goes without hanging.
static void teams_come_and_go(void **state)
{
    (void)state;
    for (uint32_t round = 0; round < 40; round++) {
        weir__heap_t heap;
        weir__team_t *team = new_team(&heap, 1 + round % 5);
        weir__lease_t lease;
        weir__lease_begin(team, 0, &lease);
        weir__lease_end(&lease);
        weir__team_free(team);
        assert_int_equal(atomic_load(&heap.now_bytes), 0);
    }
    weir__heap_t heap;
    weir__team_t *team;
    weir__heap_init(&heap, NULL, 100);
    weir_status_t status = weir__team_create(&heap, 2, NULL, 0, &team);
    assert_int_equal(weir_status_code(status), WEIR_RESOURCE_EXHAUSTED);
    weir_status_free(status);
    assert_int_equal(atomic_load(&heap.now_bytes), 0);
}

static weir_code_t wait_for_company(void *user, uint32_t worker, uint64_t first, uint64_t count)
{
    atomic_uint *company = user;
    (void)first;
    (void)count;
    if (worker)
        atomic_store(company, 1);
    while (!atomic_load(company))
        sched_yield();
    return WEIR_OK;
}

// Goal:   a worker that was claimed does come, for the first phase and after it slept through one.
// Method: the caller's task ends only when another thread has taken one; a phase without company,
// long
//         enough for the worker to fall asleep, lies in between.
static void workers_come(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, 2);
    weir__lease_t lease;
    weir__lease_begin(team, 0, &lease);
    assert_int_equal(lease.worker_count, 1);
    for (int round = 0; round < 20; round++) {
        atomic_uint company = 0;
        assert_int_equal(weir__lease_run(&lease, 2, wait_for_company, &company), WEIR_OK);
        for (uint64_t until = weir__now_ns() + 200000; weir__now_ns() < until;) {
        }
    }
    weir__lease_end(&lease);
    weir__team_free(team);
}

// Goal:   a lease leaves its worker out while another run needs its CPU, and has it back
// afterwards.
static void leases_make_room_for_others(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, 2);
    weir__lease_t first, second;
    weir__lease_begin(team, 0, &first);
    assert_int_equal(first.worker_count, 1);
    for (int round = 0; round < 20; round++) {
        static count_t count;
        weir__lease_begin(team, 0, &second);
        assert_int_equal(second.worker_count, 0);
        memset(&count, 0, sizeof count);
        assert_int_equal(weir__lease_run(&first, TASKS, count_tasks, &count), WEIR_OK);
        for (int i = 0; i < TASKS; i++)
            assert_int_equal(atomic_load(&count.runs[i]), 1);
        assert_int_equal(atomic_load(&count.most_worker), 0);
        weir__lease_end(&second);
        atomic_uint company = 0;
        assert_int_equal(weir__lease_run(&first, 2, wait_for_company, &company), WEIR_OK);
    }
    weir__lease_end(&first);
    weir__team_free(team);
}

// Goal:   two leases give one CPU to a third run, not one each.
// Method: the phase of the second ends only when its worker has come.
static void leases_make_room_together(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, 4);
    weir__lease_t first, second, third, fourth;
    weir__lease_begin(team, 2, &first);
    weir__lease_begin(team, 2, &second);
    assert_int_equal(first.worker_count + second.worker_count, 2);
    for (int round = 0; round < 20; round++) {
        static count_t count;
        atomic_uint company = 0, back = 0;
        weir__lease_begin(team, 1, &third);
        memset(&count, 0, sizeof count);
        assert_int_equal(weir__lease_run(&first, TASKS, count_tasks, &count), WEIR_OK);
        assert_int_equal(first.left_out, 1);
        assert_int_equal(atomic_load(&count.most_worker), 0);
        assert_int_equal(weir__lease_run(&second, 2, wait_for_company, &company), WEIR_OK);
        assert_int_equal(second.left_out, 0);
        weir__lease_end(&third);
        assert_int_equal(weir__lease_run(&first, 2, wait_for_company, &back), WEIR_OK);
        assert_int_equal(first.left_out, 0);
    }
    // What a lease leaves out ends with it: the next excess is the other one's.
    static count_t count;
    weir__lease_begin(team, 1, &third);
    assert_int_equal(weir__lease_run(&first, TASKS, count_tasks, &count), WEIR_OK);
    assert_int_equal(first.left_out, 1);
    weir__lease_end(&first);
    weir__lease_begin(team, 1, &first);
    weir__lease_begin(team, 1, &fourth);
    memset(&count, 0, sizeof count);
    assert_int_equal(weir__lease_run(&second, TASKS, count_tasks, &count), WEIR_OK);
    assert_int_equal(second.left_out, 1);
    assert_int_equal(atomic_load(&count.most_worker), 0);
    weir__lease_end(&first);
    weir__lease_end(&second);
    weir__lease_end(&third);
    weir__lease_end(&fourth);
    weir__team_free(team);
}

// Goal:   a lease that is over before its workers have come gives them back.
// Method: many leases that run nothing, then a phase that needs the worker.
static void leases_need_not_wait_for_workers(void **state)
{
    (void)state;
    weir__heap_t heap;
    weir__team_t *team = new_team(&heap, 2);
    for (int round = 0; round < 2000; round++) {
        weir__lease_t lease;
        weir__lease_begin(team, 0, &lease);
        weir__lease_end(&lease);
    }
    weir__lease_t lease;
    atomic_uint company = 0;
    do {
        weir__lease_begin(team, 0, &lease);
        if (!lease.worker_count)
            weir__lease_end(&lease); // the worker is on its way back
    } while (!lease.worker_count);
    assert_int_equal(weir__lease_run(&lease, 2, wait_for_company, &company), WEIR_OK);
    weir__lease_end(&lease);
    weir__team_free(team);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(phases_run_each_task_once),
        cmocka_unit_test(a_failure_ends_its_phase_only),
        cmocka_unit_test(leases_share_nothing),
        cmocka_unit_test(jobs_run_once),
        cmocka_unit_test(jobs_meet_a_worker_going_to_sleep),
        cmocka_unit_test(jobs_and_leases_together),
        cmocka_unit_test(teams_come_and_go),
        cmocka_unit_test(workers_come),
        cmocka_unit_test(leases_make_room_for_others),
        cmocka_unit_test(leases_make_room_together),
        cmocka_unit_test(leases_need_not_wait_for_workers),
    };
    int failed = cmocka_run_group_tests_name("workers that sleep", tests, NULL, NULL);
    spin_ns = 20000;
    return failed + cmocka_run_group_tests_name("workers that look first", tests, NULL, NULL);
}
