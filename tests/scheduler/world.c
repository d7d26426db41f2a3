// tests/scheduler/world.c: the virtual clock: events in order of time, each through the core, its
// actions done.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/scheduler/world.h"

#define ACTION_MAX 512

int world_fail(world_t *world, const char *text, uint64_t number)
{
    if (!world->result->failure[0])
        snprintf(world->result->failure, sizeof world->result->failure,
            "seed %llu, step %llu, %llu ns: %s (%llu)", (unsigned long long)world->scenario->seed,
            (unsigned long long)world->result->steps, (unsigned long long)world->now_ns, text,
            (unsigned long long)number);
    return 1;
}

static int earlier(const world_event_t *a, const world_event_t *b)
{
    return a->time_ns != b->time_ns ? a->time_ns < b->time_ns : a->sequence < b->sequence;
}

void world_at(world_t *world, uint64_t time_ns, world_kind_t kind, uint32_t a, uint64_t batch)
{
    if (world->heap_count == world->heap_capacity) {
        size_t capacity = world->heap_capacity ? world->heap_capacity * 2 : 256;
        world_event_t *grown = realloc(world->heap, capacity * sizeof *grown);
        if (!grown) {
            world_fail(world, "no memory", capacity);
            return;
        }
        world->heap = grown;
        world->heap_capacity = capacity;
    }
    size_t i = world->heap_count++;
    world_event_t event = {time_ns, world->sequence++, batch, kind, a};
    for (; i && earlier(&event, &world->heap[(i - 1) / 2]); i = (i - 1) / 2)
        world->heap[i] = world->heap[(i - 1) / 2];
    world->heap[i] = event;
}

static world_event_t take_first(world_t *world)
{
    world_event_t first = world->heap[0], last = world->heap[--world->heap_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= world->heap_count)
            break;
        if (child + 1 < world->heap_count && earlier(&world->heap[child + 1], &world->heap[child]))
            child++;
        if (!earlier(&world->heap[child], &last))
            break;
        world->heap[i] = world->heap[child];
        i = child;
    }
    world->heap[i] = last;
    return first;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
    hash = (hash ^ value) * 0x100000001B3u;
    return hash ^ hash >> 29;
}

uint64_t world_hash(uint64_t hash, const weir__core_action_t *action)
{
    hash = mix(hash, (uint64_t)action->kind << 32 | (uint64_t)action->why);
    hash = mix(hash, (uint64_t)action->code << 32 | (uint64_t)action->state);
    hash = mix(mix(mix(hash, action->ticket), action->batch), action->time_ns);
    hash = mix(hash, (uint64_t)action->instance << 32 | action->device);
    return mix(mix(hash, (uint64_t)action->model << 32 | action->version),
        (uint64_t)action->rows << 32 | action->count);
}

static void record(world_t *world, const weir__core_event_t *event)
{
    if (world->event_count == world->event_capacity) {
        size_t capacity = world->event_capacity ? world->event_capacity * 2 : 4096;
        weir__core_event_t *events = realloc(world->events, capacity * sizeof *events);
        if (events)
            world->events = events;
        uint64_t *times = realloc(world->event_times, capacity * sizeof *times);
        if (times)
            world->event_times = times;
        if (!events || !times) {
            world_fail(world, "no memory", capacity);
            return;
        }
        world->event_capacity = capacity;
    }
    world->events[world->event_count] = *event;
    world->event_times[world->event_count++] = world->now_ns;
}

// The part of an action that changes the world.
static void perform(world_t *world, const weir__core_action_t *action)
{
    switch (action->kind) {
    case WEIR__ACTION_SET_TIMER:
        world->timer_ns = action->time_ns < world->now_ns ? world->now_ns : action->time_ns;
        break;
    case WEIR__ACTION_DISPATCH:
        machine_dispatch(world, action);
        break;
    case WEIR__ACTION_DEVICE:
        machine_device(world, action->device, action->state);
        break;
    case WEIR__ACTION_GONE:
        machine_gone(world, action->instance);
        break;
    case WEIR__ACTION_DRAINED:
        world->drained++;
        break;
    default:
        break;
    }
}

// Events that answer actions go out after all of the step's actions are done.
static void answer(world_t *world, const weir__core_action_t *actions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (actions[i].kind == WEIR__ACTION_SCALE_UP && !world->stopped)
            machine_add(world, actions[i].model, actions[i].version,
                sim_random_below(&world->random, world->scenario->device_count));
        if (actions[i].kind == WEIR__ACTION_SCALE_DOWN)
            world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_REMOVE,
                                  .instance = actions[i].instance});
    }
}

void world_send(world_t *world, const weir__core_event_t *event)
{
    weir__core_action_t actions[ACTION_MAX];
    size_t count = 0;
    if (world->result->failure[0])
        return;
    record(world, event);
    if (event->kind == WEIR__EVENT_TIMER)
        world->timer_ns = WEIR__CORE_NEVER;
    world->cancel_ticket = event->kind == WEIR__EVENT_CANCEL ? event->ticket : 0;
    world->offered_ticket = event->kind == WEIR__EVENT_ARRIVAL ? event->ticket : 0;
    world->offered_answered = 0;
    weir__core_step(
        world->core, event, world->now_ns, actions, world->scenario->action_capacity, &count);
    world->result->steps++;
    for (size_t i = 0; i < count; i++) {
        world->result->hash = world_hash(world->result->hash, &actions[i]);
        check_action(world, &actions[i]);
        perform(world, &actions[i]);
    }
    if (event->kind == WEIR__EVENT_ARRIVAL && world->offered_answered != 1)
        world_fail(world, "an arrival was answered so often", (uint64_t)world->offered_answered);
    answer(world, actions, count);
}

static void handle(world_t *world, const world_event_t *event)
{
    switch (event->kind) {
    case WORLD_ARRIVAL:
        traffic_arrive(world, event->a);
        break;
    case WORLD_END:
        machine_end(world, event->a, event->batch);
        break;
    case WORLD_STALE:
        if (world->instances[event->a].running &&
            world->instances[event->a].batch == event->batch && !world->instances[event->a].dead) {
            machine_end(world, event->a, event->batch); // nobody has given it up so far
            break;
        }
        world->result->stale_sent++;
        world_send(world, &(weir__core_event_t){
                              .kind = WEIR__EVENT_BATCH_DONE, .batch = event->batch, .rows = 1});
        break;
    case WORLD_IDLE:
        if (world->instances[event->a].here && !world->instances[event->a].running &&
            !world->instances[event->a].dead) {
            world->instances[event->a].idle = 1;
            world_send(world,
                &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_IDLE, .instance = event->a});
        }
        break;
    case WORLD_CANCEL:
        traffic_cancel(world, event->batch);
        break;
    case WORLD_BACK:
        machine_back(world, event->a);
        break;
    case WORLD_DRAINED_AT:
        if (world->accepted_count)
            world_fail(world, "the drain's deadline left requests", world->accepted_count);
        break;
    }
}

static void stop(world_t *world)
{
    const sim_scenario_t *scenario = world->scenario;
    world->stopped = 1;
    check_end(world);
    if (scenario->drain_ns == 0)
        return;
    world->draining = 1;
    world->drain_end_ns = world->now_ns + scenario->drain_ns;
    world_send(world,
        &(weir__core_event_t){.kind = WEIR__EVENT_DRAIN, .deadline_ns = world->drain_end_ns});
    world_at(world, world->drain_end_ns + 1, WORLD_DRAINED_AT, 0, 0);
    for (uint32_t i = 0; i < scenario->stream_count; i++)
        traffic_arrive(world, i); // all of them are refused
}

static int is_due(const world_t *world)
{
    if (world->fault_next == world->scenario->fault_count)
        return 0;
    const sim_fault_t *fault = &world->scenario->faults[world->fault_next];
    return fault->at_ns ? fault->at_ns <= world->now_ns : fault->at_step <= world->result->steps;
}

static void loop(world_t *world)
{
    const sim_scenario_t *scenario = world->scenario;
    while (!world->result->failure[0]) {
        int timer = world->timer_ns != WEIR__CORE_NEVER &&
                    (world->heap_count == 0 || world->timer_ns < world->heap[0].time_ns);
        if (!timer && world->heap_count == 0)
            break;
        if (world->stopped && world->accepted_count == 0 && (!world->draining || world->drained))
            break;
        if (timer) {
            world->now_ns = world->timer_ns;
            world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_TIMER});
        } else {
            world_event_t event = take_first(world);
            world->now_ns = event.time_ns;
            handle(world, &event);
        }
        while (!world->stopped && is_due(world))
            machine_fault(world, &scenario->faults[world->fault_next++]);
        if (!world->stopped &&
            (world->result->steps >= scenario->step_count || world->now_ns >= scenario->end_ns))
            stop(world);
        if (world->timer_ns != world->now_ns)
            check_progress(world);
        if (world->result->steps > 4ull * scenario->step_count + 100000)
            world_fail(world, "it never ends", world->accepted_count);
    }
    if (world->accepted_count)
        world_fail(world, "requests without an end", world->accepted_count);
    if (world->draining && world->drained != 1)
        world_fail(world, "DRAINED was told so often", (uint64_t)world->drained);
    world->result->accepted = world->result->ended + world->accepted_count;
}

static uint64_t real_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// The recorded events through a fresh core: the same actions, bit for bit. Also how fast the core
// is alone.
static void replay(world_t *world)
{
    weir__core_action_t actions[ACTION_MAX];
    size_t bytes = 0, count = 0;
    weir__core_t *core = NULL;
    uint64_t hash = 0;
    if (weir__core_size(&world->limits, &bytes) != WEIR_OK ||
        weir__core_init(world->memory, bytes, &world->limits, &core) != WEIR_OK) {
        world_fail(world, "no core", 0);
        return;
    }
    uint64_t begin = real_ns();
    for (size_t i = 0; i < world->event_count; i++) {
        weir__core_step(core, &world->events[i], world->event_times[i], actions,
            world->scenario->action_capacity, &count);
        for (size_t j = 0; j < count; j++)
            hash = world_hash(hash, &actions[j]);
    }
    world->result->replay_ns = real_ns() - begin;
    if (hash != world->result->hash)
        world_fail(world, "the recording replays otherwise", hash);
}

static int make_core(world_t *world)
{
    const sim_scenario_t *scenario = world->scenario;
    world->limits = weir__core_limits_default();
    world->limits.request_count = SIM_REQUEST_MAX;
    world->limits.model_count = 8;
    world->limits.lane_count = scenario->lane_count;
    world->limits.flow_count = scenario->flow_count;
    world->limits.instance_count = SIM_INSTANCE_MAX;
    world->limits.device_count = SIM_DEVICE_MAX;
    world->limits.tenant_count = SIM_TENANT_MAX;
    world->limits.batch_rows = SIM_BATCH_MAX;
    world->limits.row_steps = scenario->row_steps;
    size_t bytes = 0;
    if (weir__core_size(&world->limits, &bytes) != WEIR_OK)
        return world_fail(world, "limits", 0);
    world->memory = malloc(bytes);
    if (!world->memory)
        return world_fail(world, "no memory", bytes);
    if (weir__core_init(world->memory, bytes, &world->limits, &world->core) != WEIR_OK)
        return world_fail(world, "no core", 0);
    return 0;
}

int sim_run(const sim_scenario_t *scenario, int with_replay, sim_result_t *result)
{
    memset(result, 0, sizeof *result);
    world_t *world = calloc(1, sizeof *world);
    if (!world) {
        snprintf(result->failure, sizeof result->failure, "no memory");
        return 1;
    }
    world->scenario = scenario;
    world->result = result;
    world->random.state = scenario->seed;
    world->timer_ns = WEIR__CORE_NEVER;
    world->now_ns = 1000;
    for (uint32_t i = 0; i < SIM_REQUEST_MAX; i++)
        world->free_tickets[world->free_count++] = SIM_REQUEST_MAX - 1 - i;
    if (make_core(world) == 0) {
        machine_start(world);
        for (uint32_t i = 0; i < scenario->stream_count; i++)
            world_at(world,
                world->now_ns + sim_random_gap(&world->random, scenario->streams[i].gap_ns),
                WORLD_ARRIVAL, i, 0);
        loop(world);
        if (with_replay && !result->failure[0])
            replay(world);
    }
    free(world->memory);
    free(world->heap);
    free(world->events);
    free(world->event_times);
    free(world);
    return result->failure[0] != 0;
}
