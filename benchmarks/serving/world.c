// An engine, a scheduler and a model made byte by byte; clocks, gates, placement; see serving.h.
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "benchmarks/models/chain.h"
#include "benchmarks/serving/serving.h"

enum { SECOND_NS = 1000000000 };

void serving_need(weir_status_t status)
{
    if (!status)
        return;
    (void)fprintf(stderr, "%s\n", weir_status_text(status));
    exit(1);
}

// ---- Worlds
// -----------------------------------------------------------------------------------------

void serving_open(serving_world_t *world, const char *op, int node_count, const char *plugins,
    const weir_scheduler_options_t *scheduling, const weir_serving_options_t *serving)
{
    static chain_bytes_t bytes;
    const weir_engine_options_t engine = {.size = sizeof(engine),
        .threads = 2,
        .cache_dir = "",
        .plugin_path = plugins,
        .spin_ns = scheduling ? scheduling->spin_ns : 0};
    *world = (serving_world_t){0};
    chain_make(op, node_count, 0, SERVING_COLUMNS, &bytes);
    serving_need(weir_engine_create(&engine, &world->engine));
    serving_need(
        weir_model_load_bytes(world->engine, bytes.bytes, bytes.count, NULL, &world->model));
    const weir_plan_options_t plan = {
        .size = sizeof(plan), .require_devices = plugins != NULL, .devices = serving->devices};
    serving_need(weir_plan_create(world->model, &plan, &world->plan));
    serving_need(weir_session_create(world->plan, NULL, &world->session));
    serving_need(weir_scheduler_create(world->engine, scheduling, &world->scheduler));
    serving_need(weir_scheduler_add(world->scheduler, "m", "1", world->model, serving));
}

void serving_close(serving_world_t *world)
{
    weir_scheduler_free(world->scheduler);
    weir_session_free(world->session);
    weir_plan_free(world->plan);
    weir_model_free(world->model);
    weir_engine_free(world->engine);
}

// ---- Placement
// --------------------------------------------------------------------------------------

static const cpu_set_t *all_cpus(void)
{
    static cpu_set_t all;
    static bool is_known;
    if (!is_known && sched_getaffinity(0, sizeof(all), &all) == 0)
        is_known = true;
    return &all;
}

bool serving_has_two(void)
{
    return CPU_COUNT(all_cpus()) > 1;
}

void serving_pin(serving_place_t place)
{
    cpu_set_t set = *all_cpus();
    size_t at = 0;
    for (int skip = place == SERVING_SECOND; at + 1 < CPU_SETSIZE; at++)
        if (CPU_ISSET(at, &set) && skip-- == 0)
            break;
    if (place != SERVING_ALL) {
        CPU_ZERO(&set);
        CPU_SET(at, &set);
    }
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        perror("sched_setaffinity");
}

// ---- Clocks
// -----------------------------------------------------------------------------------------

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec at;
    (void)clock_gettime(clock, &at);
    return (uint64_t)at.tv_sec * SECOND_NS + (uint64_t)at.tv_nsec;
}

uint64_t serving_now_ns(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t serving_cpu_ns(void)
{
    return clock_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void serving_sleep_until(uint64_t at_ns)
{
    const struct timespec at = {
        .tv_sec = (time_t)(at_ns / SECOND_NS), .tv_nsec = (long)(at_ns % SECOND_NS)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) == EINTR) {
    }
}

static int compare(const void *left, const void *right)
{
    const uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return a < b ? -1 : a > b;
}

uint64_t serving_percentile(uint64_t *values, size_t count, uint32_t permille)
{
    if (!count)
        return 0;
    qsort(values, count, sizeof(*values), compare);
    const size_t rank = (count * permille + 999) / 1000;
    return values[rank ? rank - 1 : 0];
}

// ---- Gates
// ------------------------------------------------------------------------------------------

void serving_gate_open(serving_gate_t *gate)
{
    atomic_store(&gate->value, 1);
    (void)syscall(SYS_futex, &gate->value, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

void serving_gate_wait(serving_gate_t *gate)
{
    while (atomic_exchange(&gate->value, 0) == 0)
        (void)syscall(SYS_futex, &gate->value, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
}
