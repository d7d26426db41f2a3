// engine/base/team.c: see team.h.
//
// A worker is PARKED (asleep on its own futex word), LOOKING (about to, but it still looks at that
// word), CLAIMED (a lease fills in what it shall do; AWAITING: the worker sleeps until it has),
// LEASED (has to come), SERVING (works for that lease) or RUNNING (drains the job queue). Others
// only move it from PARKED or LOOKING to CLAIMED or RUNNING, and back from LEASED, all by
// compare-and-swap, so that a worker is never promised twice.
//
// Nobody waits for a worker that has not come: a phase waits for those that are inside it, and the
// end of a lease takes its claim on the others back. A thread that was asleep may need 50 us to
// come, and on a busy machine far longer.
#include "engine/base/team.h"

#include "engine/base/clock.h"
#include "engine/base/float_mode.h"
#include "engine/base/futex.h"
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined(__x86_64__)
#include <immintrin.h>
#define RELAX() _mm_pause()
#else
#define RELAX() ((void)0)
#endif

// A worker that waits for the next phase of a lease spins so long; then it offers its CPU to others
// in between, and sleeps as soon as one of them takes it.
#define SPIN_NS 50000u
#define OFFER_NS 2000000u
// So long a worker looks for the next lease after one: waking it costs 50 us, more than most
// phases.
#define LOOK_NS 100000u
// An offer that takes so long was taken; for a while nobody spins beyond SPIN_NS then, because who
// gave its CPU away is the last to have it back.
#define TAKEN_NS 20000u
#define CROWDED_NS 50000000u

enum { PARKED = 0, LOOKING, CLAIMED, AWAITING, LEASED, SERVING, RUNNING, STOPPED };

typedef struct worker {
    _Alignas(64) atomic_uint state;
    weir__lease_t *lease; // while LEASED
    uint32_t lane;        // its number within the lease
    weir__team_t *team;
    pthread_t thread;
} worker_t;

struct weir__team {
    weir__heap_t *heap;
    uint32_t worker_count;
    uint64_t spin_ns;
    worker_t *workers;
    pthread_mutex_t queue_lock;
    weir__job_t *queue_head, *queue_tail;
    atomic_uint queued;
    _Alignas(64) atomic_uint computing; // threads of all leases, callers included
    atomic_uint left_out;               // of those, who is left out of phases
    atomic_uint_fast64_t crowded_ns;    // somebody else wanted a CPU until then, as far as known
};

uint32_t weir__team_threads(const weir__team_t *team)
{
    return team->worker_count;
}

// Reads "0-3,8" into a set.
static weir_status_t parse_cpus(const char *cpus, cpu_set_t *out_set)
{
    CPU_ZERO(out_set);
    for (const char *at = cpus; *at;) {
        char *end;
        unsigned long first = strtoul(at, &end, 10), last = first;
        bool read = end != at;
        if (read && *end == '-') {
            at = end + 1;
            last = strtoul(at, &end, 10);
            read = end != at;
        }
        if (!read || (*end && *end != ',') || last < first || last >= CPU_SETSIZE)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT,
                "CPUs \"%s\": write numbers and ranges below %d, as in \"0-3,8\"", cpus,
                CPU_SETSIZE);
        for (unsigned long cpu = first; cpu <= last; cpu++)
            CPU_SET(cpu, out_set);
        at = end + (*end == ',');
    }
    return NULL;
}

weir_status_t weir__cpu_count(const char *cpus, uint32_t *out_count)
{
    cpu_set_t allowed, wanted, both;
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0)
        CPU_ZERO(&allowed);
    wanted = allowed;
    if (cpus) {
        WEIR_TRY(parse_cpus(cpus, &wanted));
        CPU_AND(&both, &wanted, &allowed);
        if (!CPU_COUNT(&wanted) || !CPU_EQUAL(&both, &wanted))
            return WEIR_ERR(WEIR_NOT_FOUND,
                "CPUs \"%s\": this process may not run on all of them; see taskset -p or the "
                "cgroup",
                cpus);
    }
    uint32_t count = (uint32_t)CPU_COUNT(&wanted);
    *out_count = count ? count : 1;
    return NULL;
}

void weir__cpus_bind(pthread_t thread, const char *cpus)
{
    cpu_set_t set;
    weir_status_t status = parse_cpus(cpus, &set);
    if (!status)
        pthread_setaffinity_np(thread, sizeof set, &set);
    weir_status_free(status);
}

// ---- Leases --------------------------------------------------------------------------------

// How many threads compute in leases beyond those that the team is meant for.
static uint32_t excess(const weir__team_t *team)
{
    uint32_t computing = atomic_load_explicit(&team->computing, memory_order_relaxed);
    return computing - WEIR_MIN(computing, team->worker_count);
}

// How many of its workers the lease leaves out of its next phase. All leases together leave out as
// many as there are too many.
static uint32_t leave_out(weir__lease_t *lease)
{
    weir__team_t *team = lease->team;
    uint32_t all = atomic_load_explicit(&team->left_out, memory_order_relaxed), own;
    do {
        uint32_t over = excess(team), others = all - lease->left_out;
        own = WEIR_MIN(over - WEIR_MIN(over, others), lease->worker_count);
        if (own == lease->left_out)
            return own;
    } while (!atomic_compare_exchange_weak_explicit(&team->left_out, &all,
        all - lease->left_out + own, memory_order_relaxed, memory_order_relaxed));
    lease->left_out = own;
    return own;
}

// Offers this CPU to whoever waits for it. false: nobody does, as far as can be told. covered: how
// many of the threads that are too many have another's CPU. *now_ns: the time some microseconds
// ago; it is brought up to date.
static bool is_wanted(weir__team_t *team, uint32_t covered, uint64_t *now_ns)
{
    uint64_t before_ns = *now_ns;
    sched_yield();
    *now_ns = weir__now_ns();
    bool taken = *now_ns - before_ns > TAKEN_NS;
    if (taken)
        atomic_store_explicit(&team->crowded_ns, *now_ns + CROWDED_NS, memory_order_relaxed);
    return taken || excess(team) > covered;
}

static bool is_crowded(const weir__team_t *team, uint64_t now_ns)
{
    return now_ns < atomic_load_explicit(&team->crowded_ns, memory_order_relaxed);
}

// Takes half of what is left of a lane's part of the phase: its first piece is large, the last ones
// are single tasks. 0: nothing is left.
static uint64_t take_tasks(weir__lease_part_t *part, uint64_t *out_first)
{
    uint64_t next = atomic_load_explicit(&part->next, memory_order_relaxed), count;
    do {
        if (next >= part->end)
            return 0;
        count = WEIR_MAX((part->end - next) / 2, 1);
    } while (!atomic_compare_exchange_weak_explicit(
        &part->next, &next, next + count, memory_order_relaxed, memory_order_relaxed));
    *out_first = next;
    return count;
}

// Its own part, then those of the others.
static void work_on_phase(weir__lease_t *lease, uint32_t lane)
{
    const uint32_t lane_count =
        atomic_load_explicit(&lease->helper_count, memory_order_relaxed) + 1;
    for (uint32_t i = 0; i < lane_count; i++) {
        weir__lease_part_t *part = &lease->parts[(lane + i) % lane_count];
        for (uint64_t first, count; (count = take_tasks(part, &first)) > 0;) {
            if (atomic_load_explicit(&lease->failed, memory_order_relaxed) != WEIR_OK)
                return;
            weir_code_t code = lease->body(lease->user, lane, first, count);
            unsigned none = WEIR_OK;
            if (code != WEIR_OK)
                atomic_compare_exchange_strong(&lease->failed, &none, (unsigned)code);
        }
    }
}

static bool takes_part(const worker_t *worker)
{
    return worker->lane <= atomic_load_explicit(&worker->lease->helper_count, memory_order_relaxed);
}

// For so many of the threads that are too many this worker need not make room: those that are left
// out of phases have. One of these has to.
static uint32_t covered(const worker_t *worker)
{
    return takes_part(worker) ? atomic_load_explicit(&worker->team->left_out, memory_order_relaxed)
                              : 0;
}

// Waits until its lease's epoch differs from `seen`: a spin, then sleep. Returns the new epoch.
static unsigned await_epoch(const worker_t *worker, unsigned seen)
{
    weir__lease_t *lease = worker->lease;
    uint64_t now_ns = weir__now_ns(), spun_ns = now_ns + SPIN_NS;
    uint64_t until_ns = is_crowded(lease->team, now_ns) ? spun_ns : now_ns + OFFER_NS;
    for (bool wanted = false; !wanted && now_ns < until_ns;) {
        for (int i = 0; i < 64; i++) {
            unsigned epoch = atomic_load_explicit(&lease->epoch, memory_order_acquire);
            if (epoch != seen)
                return epoch;
            RELAX();
        }
        if (now_ns >= spun_ns)
            wanted = is_wanted(lease->team, covered(worker), &now_ns);
        else
            now_ns = weir__now_ns();
    }
    unsigned epoch;
    atomic_fetch_add(&lease->sleepers, 1);
    while ((epoch = atomic_load(&lease->epoch)) == seen)
        weir__futex_wait(&lease->epoch, seen, 0);
    atomic_fetch_sub(&lease->sleepers, 1);
    return epoch;
}

// Promises an idle worker, if it is one. out_asleep: it has to be woken.
static bool claim(worker_t *worker, unsigned to, bool *out_asleep)
{
    unsigned state = atomic_load(&worker->state);
    while (state == PARKED || state == LOOKING)
        if (atomic_compare_exchange_weak(&worker->state, &state, to)) {
            *out_asleep = state == PARKED;
            return true;
        }
    return false;
}

// An epoch is odd while a phase is open and even between phases.
#define LEASE_OVER UINT32_MAX
#define EPOCH_MASK 0x7fffffffu

static void serve_lease(worker_t *worker)
{
    weir__lease_t *lease = worker->lease;
    unsigned seen = 0;
    while ((seen = await_epoch(worker, seen)) != LEASE_OVER) {
        // Who is left out must not be waited for. The number of helpers may be the next phase's
        // already: then this one is closed, and the epoch is another.
        if (!(seen & 1) || !takes_part(worker))
            continue;
        // Sequentially consistent, as is the caller's "close, then look who is inside": either the
        // caller waits for this worker, or the worker sees that it is too late.
        atomic_fetch_add(&lease->inside, 1);
        if (atomic_load(&lease->epoch) == seen && takes_part(worker))
            work_on_phase(lease, worker->lane);
        atomic_fetch_sub_explicit(&lease->inside, 1, memory_order_release);
    }
    // After this the lease may be gone.
    atomic_fetch_sub_explicit(&lease->serving, 1, memory_order_release);
}

void weir__lease_begin(weir__team_t *team, uint32_t max_threads, weir__lease_t *out_lease)
{
    weir__lease_t *lease = out_lease;
    memset(lease, 0, offsetof(weir__lease_t, parts)); // those are written at each phase
    lease->team = team;
    // One more thread than there are CPUs would make the others wait for it at each phase's end.
    uint32_t others = atomic_fetch_add(&team->computing, 1);
    uint32_t room = team->worker_count - WEIR_MIN(others + 1, team->worker_count);
    uint32_t want = WEIR_MIN(max_threads ? max_threads - 1 : room, room);
    want = WEIR_MIN(want, (uint32_t)WEIR__LEASE_MAX);
    // Nobody is left out before the first phase.
    atomic_store_explicit(&lease->helper_count, want, memory_order_relaxed);
    for (uint32_t i = 0; i < team->worker_count && lease->worker_count < want; i++) {
        worker_t *worker = &team->workers[i];
        bool asleep;
        if (!claim(worker, CLAIMED, &asleep))
            continue;
        worker->lease = lease;
        worker->lane = ++lease->worker_count;
        lease->workers[lease->worker_count - 1] = i;
        if (atomic_exchange(&worker->state, LEASED) == AWAITING || asleep)
            weir__futex_wake(&worker->state, 1);
    }
    atomic_fetch_add(&team->computing, lease->worker_count);
}

static void set_epoch(weir__lease_t *lease, unsigned epoch)
{
    atomic_store(&lease->epoch, epoch);
    if (atomic_load(&lease->sleepers))
        weir__futex_wake(&lease->epoch, (int)lease->worker_count);
}

static void await_none(atomic_uint *count)
{
    for (unsigned spins = 0; atomic_load(count); spins++) {
        RELAX();
        // A worker that lost its CPU must get it back even when there are more threads than CPUs.
        if (spins % 4096 == 4095)
            sched_yield();
    }
}

// A job that was posted while the worker was no use to it must not be forgotten.
static void look_again(worker_t *worker)
{
    bool asleep;
    if (atomic_load(&worker->team->queued) && claim(worker, RUNNING, &asleep) && asleep)
        weir__futex_wake(&worker->state, 1);
}

void weir__lease_end(weir__lease_t *lease)
{
    atomic_fetch_sub(&lease->team->computing, lease->worker_count + 1);
    if (lease->left_out)
        atomic_fetch_sub_explicit(&lease->team->left_out, lease->left_out, memory_order_relaxed);
    if (!lease->worker_count)
        return;
    // Workers that have not come yet need not come any more. Before the epoch says that it is over:
    // later they could be another lease's already.
    uint32_t serving = lease->worker_count;
    for (uint32_t i = 0; i < lease->worker_count; i++) {
        worker_t *worker = &lease->team->workers[lease->workers[i]];
        unsigned leased = LEASED;
        if (!atomic_compare_exchange_strong(&worker->state, &leased, PARKED))
            continue;
        look_again(worker);
        serving--;
    }
    if (!serving)
        return;
    atomic_store_explicit(&lease->serving, serving, memory_order_relaxed);
    set_epoch(lease, LEASE_OVER);
    await_none(&lease->serving);
}

weir_code_t weir__lease_run(weir__lease_t *lease, uint64_t task_count,
    weir_code_t (*body)(void *user, uint32_t worker, uint64_t first, uint64_t count), void *user)
{
    // Runs that began since then have a CPU each, too.
    uint32_t helper_count = lease->worker_count - leave_out(lease);
    atomic_store_explicit(&lease->helper_count, helper_count, memory_order_relaxed);
    if (!helper_count || task_count < 2)
        return task_count ? body(user, 0, 0, task_count) : WEIR_OK;
    lease->body = body;
    lease->user = user;
    atomic_store_explicit(&lease->failed, WEIR_OK, memory_order_relaxed);
    // About equal parts, without a product that could overflow.
    uint64_t share = task_count / (helper_count + 1), rest = task_count % (helper_count + 1);
    for (uint64_t lane = 0, first = 0; lane <= helper_count; lane++) {
        atomic_store_explicit(&lease->parts[lane].next, first, memory_order_relaxed);
        first += share + (lane < rest);
        lease->parts[lane].end = first;
    }
    unsigned epoch = atomic_load_explicit(&lease->epoch, memory_order_relaxed);
    set_epoch(lease, (epoch + 1) & EPOCH_MASK);
    work_on_phase(lease, 0);
    // Nothing is left to take: who comes from now on comes too late and is not waited for.
    atomic_store(&lease->epoch, (epoch + 2) & EPOCH_MASK);
    await_none(&lease->inside);
    return (weir_code_t)atomic_load_explicit(&lease->failed, memory_order_relaxed);
}

// ---- Jobs ----------------------------------------------------------------------------------

static weir__job_t *take_job(weir__team_t *team)
{
    if (!atomic_load(&team->queued))
        return NULL;
    pthread_mutex_lock(&team->queue_lock);
    weir__job_t *job = team->queue_head;
    if (job) {
        team->queue_head = job->next;
        if (!team->queue_head)
            team->queue_tail = NULL;
        atomic_fetch_sub(&team->queued, 1);
    }
    pthread_mutex_unlock(&team->queue_lock);
    return job;
}

// Claims one that is awake, else one that sleeps: it is returned, to be woken.
static worker_t *claim_one(weir__team_t *team)
{
    bool asleep = false;
    for (uint32_t i = 0; i < team->worker_count; i++) {
        unsigned looking = LOOKING;
        if (atomic_compare_exchange_strong(&team->workers[i].state, &looking, RUNNING))
            return NULL;
    }
    for (uint32_t i = 0; i < team->worker_count; i++)
        if (claim(&team->workers[i], RUNNING, &asleep))
            return asleep ? &team->workers[i] : NULL;
    return NULL;
}

void weir__team_post(weir__team_t *team, weir__job_t *job)
{
    job->next = NULL;
    pthread_mutex_lock(&team->queue_lock);
    if (team->queue_tail)
        team->queue_tail->next = job;
    else
        team->queue_head = job;
    team->queue_tail = job;
    // Sequentially consistent, as is the worker's "park, then look again": one of the two sees the
    // other.
    atomic_fetch_add(&team->queued, 1);
    // Under the lock: once the job can be taken it may end, and the team with it. Woken without it:
    // whoever is woken wants it at once, and would sleep again. The one that is claimed is asleep
    // until then, and where it is not, the kernel only looks for sleepers at an address.
    worker_t *asleep = claim_one(team);
    pthread_mutex_unlock(&team->queue_lock);
    if (asleep)
        weir__futex_wake(&asleep->state, 1);
}

static void drain_jobs(worker_t *worker)
{
    for (weir__job_t *job; (job = take_job(worker->team)) != NULL;)
        job->run(job);
}

// Looks for a while before it sleeps: for the team's spin_ns, and for `free_ns` while nobody else
// wants the CPU. What it is claimed for in the meantime is seen in its state.
static void look(worker_t *worker, uint64_t free_ns)
{
    unsigned state = PARKED;
    uint64_t now_ns = weir__now_ns();
    uint64_t until_ns = now_ns + worker->team->spin_ns;
    uint64_t free_until_ns = is_crowded(worker->team, now_ns) ? now_ns : now_ns + free_ns;
    if (now_ns >= until_ns && now_ns >= free_until_ns)
        return;
    if (!atomic_compare_exchange_strong(&worker->state, &state, LOOKING))
        return;
    for (unsigned looks = 1; atomic_load(&worker->state) == LOOKING; looks++) {
        RELAX();
        if (looks % 8)
            continue;
        if (is_wanted(worker->team, 0, &now_ns))
            free_until_ns = now_ns;
        state = LOOKING;
        if (now_ns >= until_ns && now_ns >= free_until_ns &&
            atomic_compare_exchange_strong(&worker->state, &state, PARKED))
            return;
    }
}

static void *worker_main(void *argument)
{
    worker_t *worker = argument;
    bool worked = false, served = false;
    (void)weir__float_enter(); // for good: this thread is the engine's own
    for (;;) {
        if (worked)
            look(worker, served ? LOOK_NS : 0);
        worked = served = false;
        unsigned state = atomic_load(&worker->state);
        if (state == STOPPED)
            return NULL;
        if (state == PARKED || state == AWAITING) {
            weir__futex_wait(&worker->state, state, 0);
            continue;
        }
        if (state == CLAIMED) {
            (void)atomic_compare_exchange_strong(&worker->state, &state, AWAITING);
            continue;
        }
        if (state == LEASED) {
            // The lease may end at this moment and take its claim back.
            if (!atomic_compare_exchange_strong(&worker->state, &state, SERVING))
                continue;
            serve_lease(worker);
            served = true;
        }
        drain_jobs(worker);
        worked = true;
        atomic_store(&worker->state, PARKED);
        // A job posted between the drain and the park found no parked worker.
        look_again(worker);
    }
}

static void stop_workers(weir__team_t *team, uint32_t started)
{
    // Whoever posted the last job may still be inside: it leaves before the memory goes.
    pthread_mutex_lock(&team->queue_lock);
    pthread_mutex_unlock(&team->queue_lock);
    for (uint32_t i = 0; i < started; i++) {
        bool asleep;
        // A worker that is just going back to sleep is PARKED in a moment.
        while (!claim(&team->workers[i], STOPPED, &asleep))
            sched_yield();
        weir__futex_wake(&team->workers[i].state, 1);
        pthread_join(team->workers[i].thread, NULL);
    }
}

weir_status_t weir__team_create(weir__heap_t *heap, uint32_t threads, const char *cpus,
    uint64_t spin_ns, weir__team_t **out_team)
{
    cpu_set_t set;
    if (cpus)
        WEIR_TRY(parse_cpus(cpus, &set));
    weir__team_t *team = weir__heap_calloc(heap, 1, sizeof *team);
    worker_t *workers = weir__heap_calloc(heap, threads, sizeof *workers);
    if (!team || !workers) {
        weir__heap_free(heap, team);
        weir__heap_free(heap, workers);
        return weir__status_no_memory();
    }
    team->heap = heap;
    team->workers = workers;
    team->worker_count = threads;
    team->spin_ns = spin_ns;
    pthread_mutex_init(&team->queue_lock, NULL);
    for (uint32_t i = 0; i < threads; i++) {
        workers[i].team = team;
        int error = pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]);
        if (!error) {
            char name[16];
            snprintf(name, sizeof name, "weir-%u", i);
            pthread_setname_np(workers[i].thread, name);
            if (cpus) // on all CPUs of the set, so that a busy neighbour on one of them is evaded
                pthread_setaffinity_np(workers[i].thread, sizeof set, &set);
            continue;
        }
        stop_workers(team, i);
        pthread_mutex_destroy(&team->queue_lock);
        weir__heap_free(heap, workers);
        weir__heap_free(heap, team);
        return WEIR_ERR(WEIR_RESOURCE_EXHAUSTED,
            "worker thread %u of %u could not be started: %s; ask for fewer threads", i + 1,
            threads, strerror(error));
    }
    *out_team = team;
    return NULL;
}

void weir__team_free(weir__team_t *team)
{
    if (!team)
        return;
    stop_workers(team, team->worker_count);
    pthread_mutex_destroy(&team->queue_lock);
    weir__heap_free(team->heap, team->workers);
    weir__heap_free(team->heap, team);
}
