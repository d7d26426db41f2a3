// tests/scheduler/sim.h: a world for the decision core: traffic, devices and faults under a virtual
// clock.
//
// The world knows nothing of the core's memory: it sends events, does what the actions say, and
// keeps its own books (check.c), which every action has to agree with. Everything follows from a
// scenario and a seed.
#ifndef WEIR_TESTS_SCHEDULER_SIM_H
#define WEIR_TESTS_SCHEDULER_SIM_H

#include "scheduler/core/core.h"
#include "tests/scheduler/random.h"

#define SIM_STREAM_MAX 8
#define SIM_MODEL_MAX 4
#define SIM_DEVICE_MAX 4
#define SIM_INSTANCE_MAX 24
#define SIM_FAULT_MAX 12
#define SIM_TENANT_MAX 4
#define SIM_KEY_MAX 256 // (model, version, dtype, shape) for the check of progress
#define SIM_SHAPE_MAX 16
#define SIM_REQUEST_MAX 2048
#define SIM_BATCH_MAX 64
#define SIM_BUCKET_COUNT 4096 // of latencies
#define SIM_TIME_MAX 256      // buckets of time
#define SIM_MS 1000000ull

typedef struct sim_stream {
    uint32_t model, version, dtype, shape_count;
    uint32_t tenant, priority;
    uint32_t rows_max;
    uint32_t burst;  // arrivals at a time
    uint64_t slo_ns; // 0: no deadline
    uint64_t gap_ns; // mean, between bursts
    uint32_t once_permille, cancel_permille, poison_permille, bad_permille;
} sim_stream_t;

typedef struct sim_model {
    uint32_t batch_rows;
    uint32_t version;
    uint64_t fixed_ns, row_ns; // on a device of speed 100
} sim_model_t;

typedef struct sim_device {
    uint32_t slot_count;
    uint32_t percent; // of time that a batch takes; 200 is half as fast
    uint32_t jitter_permille;
    uint32_t instances; // of each model
} sim_device_t;

typedef enum sim_fault_kind {
    SIM_FAULT_SLOW,   // value: percent
    SIM_FAULT_HANG,   // the next batch never ends, or long after
    SIM_FAULT_FAIL,   // the next batch of several requests fails
    SIM_FAULT_ROWS,   // the next batch gives a row too few
    SIM_FAULT_LOST,   // and comes back after a while
    SIM_FAULT_SWAP,   // model `device` gets a new version; the old one goes
    SIM_FAULT_SHRINK, // the queue's bounds
    SIM_FAULT_KIND_COUNT
} sim_fault_kind_t;

typedef struct sim_fault {
    sim_fault_kind_t kind;
    uint64_t at_ns;   // at this time, or
    uint32_t at_step; // after so many steps
    uint32_t device;
    uint32_t value;
} sim_fault_t;

typedef struct sim_scenario {
    uint64_t seed;
    uint32_t step_count; // then no more arrivals
    uint64_t end_ns;     // or after this time
    uint32_t stream_count, model_count, device_count, tenant_count, fault_count;
    sim_stream_t streams[SIM_STREAM_MAX];
    sim_model_t models[SIM_MODEL_MAX];
    sim_device_t devices[SIM_DEVICE_MAX];
    sim_fault_t faults[SIM_FAULT_MAX];
    uint32_t weights[SIM_TENANT_MAX];
    uint32_t count_max; // of the queue
    uint64_t bytes_max;
    uint32_t lane_count, flow_count;
    uint32_t action_capacity;
    uint64_t drain_ns;  // how long the drain may take
    uint32_t row_steps; // not 0: batches are filled up to steps, and the core knows it
    int fair;           // tenants are alike and overload it: their times must be too
    int honest;         // steady: hardly anything that is run may end late
    uint64_t warm_ns;   // results count from here
    uint64_t bucket_ns; // for results over time; 0: none
} sim_scenario_t;

typedef struct sim_result {
    uint64_t hash; // of all actions
    uint64_t steps;
    uint64_t counts[WEIR__WHY_COUNT];
    uint64_t faults[SIM_FAULT_KIND_COUNT];
    uint64_t accepted, ended, offered, stale_sent;
    uint64_t in_time[SIM_STREAM_MAX], offered_by[SIM_STREAM_MAX]; // after warm_ns, by arrival
    uint64_t tenant_ns[SIM_TENANT_MAX];                           // device time
    uint64_t latencies[SIM_STREAM_MAX][SIM_BUCKET_COUNT];         // in time; log-linear
    uint64_t in_time_over[SIM_TIME_MAX];                          // by bucket of time
    uint64_t batches, batch_rows;
    uint64_t replay_ns; // how long the core alone took for the same events
    char failure[160];  // empty: all invariants held
} sim_result_t;

// Runs a scenario to its end. `replay`: the recorded events go through a second core, whose actions
// must be the same. Returns 0, or 1 with result->failure.
int sim_run(const sim_scenario_t *scenario, int replay, sim_result_t *result);

// A scenario of many kinds of trouble; the same for the same seed.
void sim_scenario_from_seed(uint64_t seed, sim_scenario_t *scenario);

// Which latency p per thousand of a stream's answers had at most.
uint64_t sim_percentile(const sim_result_t *result, uint32_t stream, uint32_t permille);

#endif
