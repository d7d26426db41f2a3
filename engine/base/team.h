// engine/base/team.h: the worker team: every thread that computes, but for callers of a blocking
// run.
//
// Two uses. A *lease* takes idle workers for the length of a run and hands them the tasks of one
// phase after another: no lock, workers are claimed by compare-and-swap, and none free means that
// the caller works alone, with the same bits. A *job* is a piece of work queued for whichever
// worker comes first: the steps of runs that were started without waiting.
//
// Leases do not claim workers beyond the team's number of threads: a run that begins while others
// compute gets fewer, and those that have some already leave out of their phases meanwhile as many
// as it takes, together.
//
// Workers spin inside a lease, for a short bounded time after one, and where it was asked for, as
// long as that says after their last work; otherwise they sleep. Beyond 50 us in a row, and after a
// lease, they spin only while nobody else wants the CPU.
#ifndef WEIR_BASE_TEAM_H
#define WEIR_BASE_TEAM_H

#include "engine/base/heap.h"
#include "engine/base/status.h"
#include <pthread.h>

typedef struct weir__team weir__team_t;

// CPUs of the affinity mask, at least 1; what a quota leaves of them is quota.h's business. With a
// list, "0-3,8": those of it. Errors: INVALID_ARGUMENT (the list), NOT_FOUND (a CPU that this
// process may not use).
weir_status_t weir__cpu_count(const char *cpus, uint32_t *out_count);

// Binds a thread to CPUs, a list that weir__cpu_count() has accepted. It stays where it may run
// when that fails: the CPUs may have gone since.
void weir__cpus_bind(pthread_t thread, const char *cpus);

// threads: how many compute at once; as many workers are started (a blocking caller is one of
// `threads` while it runs, a queued job runs on a worker).
// cpus: where they may run; NULL: where the calling thread may.
// spin_ns: how long they look for more before they sleep; 0: not at all.
weir_status_t weir__team_create(weir__heap_t *heap, uint32_t threads, const char *cpus,
    uint64_t spin_ns, weir__team_t **out_team);
void weir__team_free(weir__team_t *team); // no lease and no job may be left
uint32_t weir__team_threads(const weir__team_t *team);

// ---- Jobs ----

typedef struct weir__job {
    struct weir__job *next;
    void (*run)(struct weir__job *job);
} weir__job_t;

// The job is the caller's and stays until `run` is called; it may be posted again from there. Any
// thread.
void weir__team_post(weir__team_t *team, weir__job_t *job);

// ---- Leases ----

#define WEIR__LEASE_MAX 63 // workers one run can have

// What one thread of a lease has of a phase, and the others help with in the end.
typedef struct weir__lease_part {
    _Alignas(64) atomic_uint_fast64_t next;
    uint64_t end;
} weir__lease_part_t;

typedef struct weir__lease {
    weir__team_t *team;
    uint32_t worker_count;             // without the caller
    uint32_t workers[WEIR__LEASE_MAX]; // their numbers in the team
    // One phase. Written by the caller before `epoch` is raised.
    weir_code_t (*body)(void *user, uint32_t worker, uint64_t first, uint64_t count);
    void *user;
    // Workers 1 to this take part. Atomic: who comes too late may look at it while the next phase
    // is set up.
    atomic_uint helper_count;
    uint32_t left_out; // workers that gave their CPU to another run, for its last phase
    atomic_uint epoch;
    atomic_uint sleepers;
    atomic_uint inside;  // workers in the open phase
    atomic_uint serving; // workers that have yet to leave, once it is over
    atomic_uint failed;  // the first code that was not OK
    weir__lease_part_t parts[WEIR__LEASE_MAX + 1];
} weir__lease_t;

// Claims up to max_threads - 1 idle workers, and no more than all leases of the team may have.
// max_threads 0: all of the team.
void weir__lease_begin(weir__team_t *team, uint32_t max_threads, weir__lease_t *out_lease);
void weir__lease_end(weir__lease_t *lease);

// Runs body over [0, task_count) on the caller (worker 0) and the lease's workers (1 …). Each has a
// part in order, so that the next phase finds in its cache what this one left there, and takes it
// in pieces that get smaller; who is done helps the others.
// Returns when all have ended: OK, or one of the codes that a body returned (the other tasks may be
// skipped then).
weir_code_t weir__lease_run(weir__lease_t *lease, uint64_t task_count,
    weir_code_t (*body)(void *user, uint32_t worker, uint64_t first, uint64_t count), void *user);

#endif
