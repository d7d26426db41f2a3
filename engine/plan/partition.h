// engine/plan/partition.h: which place each unit of work runs at, so that work, copies and launches
// together cost least. Numbers alone: it knows neither nodes nor devices.
#ifndef WEIR_PLAN_PARTITION_H
#define WEIR_PLAN_PARTITION_H

#include "engine/base/heap.h"
#include "engine/base/status.h"
#include <stdbool.h>

#define WEIR__CANNOT UINT64_MAX // the cost of a unit at a place that cannot run it
#define WEIR__MEMORIES_MAX 33   // the host's, which is 0, and one of each device

// What a copy costs from one memory to another: latency_ns + bytes * 1000 / bytes_per_us.
typedef struct weir__link {
    uint64_t latency_ns;
    uint64_t bytes_per_us; // 0: nothing has to be copied, and the latency is 0
} weir__link_t;

typedef struct weir__flow {
    uint32_t maker;        // a unit; UINT32_MAX: it lies in host memory from the start
    uint32_t first_reader; // in problem->readers
    uint32_t reader_count;
    bool host_reads; // also somebody on the host
    uint64_t bytes;
} weir__flow_t;

typedef struct weir__problem {
    uint32_t unit_count, place_count;
    const uint64_t *costs;     // [unit_count][place_count] ns; WEIR__CANNOT
    const bool *breaks;        // [unit_count] no launch goes on from the unit before
    const uint64_t *launch_ns; // [place_count] of each run of neighbours at that place
    const uint32_t *memories;  // [place_count] where a place has its tensors
    const weir__link_t (*links)[WEIR__MEMORIES_MAX]; // [from][to]
    const weir__flow_t *flows;
    const uint32_t *readers; // units
    uint32_t flow_count, reader_count;
} weir__problem_t;

uint64_t weir__link_ns(const weir__link_t *link, uint64_t bytes);

// What an assignment costs; UINT64_MAX when a unit is where it cannot run.
uint64_t weir__partition_cost(const weir__problem_t *problem, const uint32_t *places);

// Fills out_places[unit_count]. Each unit has a place that can run it. Deterministic; of equal
// choices the first place wins. Not always the best there is: see docs/decisions/placement.md.
// Errors: RESOURCE_EXHAUSTED.
weir_status_t weir__partition(
    weir__heap_t *heap, const weir__problem_t *problem, uint32_t *out_places);

#endif
