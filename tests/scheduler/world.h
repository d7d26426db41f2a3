// tests/scheduler/world.h: the insides of the simulator, shared by its files.
#ifndef WEIR_TESTS_SCHEDULER_WORLD_H
#define WEIR_TESTS_SCHEDULER_WORLD_H

#include <stddef.h>

#include "tests/scheduler/sim.h"

typedef enum world_kind {
    WORLD_ARRIVAL,   // a: stream
    WORLD_END,       // a: instance, batch
    WORLD_STALE,     // batch: a late answer of a batch that was given up
    WORLD_IDLE,      // a: instance
    WORLD_CANCEL,    // batch: ticket
    WORLD_BACK,      // a: device
    WORLD_DRAINED_AT // a check that the drain is over
} world_kind_t;

typedef struct world_event {
    uint64_t time_ns;
    uint64_t sequence;
    uint64_t batch;
    world_kind_t kind;
    uint32_t a;
} world_event_t;

typedef enum ticket_state {
    TICKET_FREE,
    TICKET_OFFERED,
    TICKET_QUEUED,
    TICKET_RUNNING
} ticket_state_t;

// What the world knows of a request.
typedef struct ticket {
    uint64_t deadline_ns, arrived_ns, since_ns, batch, bytes;
    uint32_t generation;
    uint32_t model, version, dtype, shape, tenant, stream, rows, key;
    uint32_t run_count, lost_count;
    uint8_t state, once, poison, cancel_sent, failed_in_batch, failed_alone, done;
} ticket_t;

typedef struct world_instance {
    uint64_t batch;
    uint64_t started_ns;
    uint32_t model, version, device;
    uint32_t count, rows;
    uint64_t tickets[SIM_BATCH_MAX];
    uint8_t here, idle, running, dead, fails, rows_wrong;
} world_instance_t;

typedef struct world_device {
    weir__device_state_t state; // as the core sees it
    uint32_t percent;
    uint32_t running_count;
    uint8_t hang_next, fail_next, rows_next, back_planned;
} world_device_t;

typedef struct world_key {
    uint32_t model, version, dtype, shape;
    uint32_t queued_rows, alone_count;
} world_key_t;

typedef struct world {
    const sim_scenario_t *scenario;
    sim_result_t *result;
    sim_random_t random;
    weir__core_t *core;
    void *memory;
    uint64_t now_ns, timer_ns, sequence;
    world_event_t *heap;
    size_t heap_count, heap_capacity;
    ticket_t tickets[SIM_REQUEST_MAX];
    uint32_t free_tickets[SIM_REQUEST_MAX];
    uint32_t free_count;
    uint32_t accepted_count;
    uint64_t accepted_bytes;
    uint32_t count_max;
    uint64_t bytes_max;
    world_instance_t instances[SIM_INSTANCE_MAX];
    world_device_t devices[SIM_DEVICE_MAX];
    uint32_t versions[SIM_MODEL_MAX];
    world_key_t keys[SIM_KEY_MAX];
    uint32_t key_count;
    uint32_t fault_next;
    int stopped, draining, drained;
    uint64_t drain_end_ns;
    // What this step may answer.
    uint64_t offered_ticket;
    uint64_t cancel_ticket;
    int offered_answered;
    // The recording.
    weir__core_event_t *events;
    uint64_t *event_times;
    size_t event_count, event_capacity;
    weir__core_limits_t limits;
} world_t;

// world.c
void world_send(world_t *world, const weir__core_event_t *event);
void world_at(world_t *world, uint64_t time_ns, world_kind_t kind, uint32_t a, uint64_t batch);
int world_fail(world_t *world, const char *text, uint64_t number); // returns 1
uint64_t world_hash(uint64_t hash, const weir__core_action_t *action);

// machine.c: devices, batches, faults.
void machine_start(world_t *world);
void machine_dispatch(world_t *world, const weir__core_action_t *action);
void machine_gone(world_t *world, uint32_t instance);
void machine_device(world_t *world, uint32_t device, weir__device_state_t state);
void machine_end(world_t *world, uint32_t instance, uint64_t batch);
void machine_back(world_t *world, uint32_t device);
void machine_fault(world_t *world, const sim_fault_t *fault);
void machine_add(world_t *world, uint32_t model, uint32_t version, uint32_t device);

// traffic.c
void traffic_arrive(world_t *world, uint32_t stream);
void traffic_cancel(world_t *world, uint64_t ticket);

// check.c: the books.
void check_action(world_t *world, const weir__core_action_t *action);
void check_dispatch(world_t *world, const weir__core_action_t *action);
void check_progress(world_t *world);
void check_end(world_t *world);

#endif
