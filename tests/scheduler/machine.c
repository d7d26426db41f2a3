// tests/scheduler/machine.c: devices that take time, hang, fail, go and come back.
#include "tests/scheduler/world.h"

static void send_device(world_t *world, uint32_t device, weir__device_state_t state)
{
    world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                          .device = device,
                          .state = state,
                          .count = world->scenario->devices[device].slot_count});
}

void machine_add(world_t *world, uint32_t model, uint32_t version, uint32_t device)
{
    weir__device_state_t state = world->devices[device].state;
    if (state == WEIR__DEVICE_LOST || state == WEIR__DEVICE_QUARANTINED)
        return;
    for (uint32_t i = 0; i < SIM_INSTANCE_MAX; i++) {
        world_instance_t *it = &world->instances[i];
        if (it->here)
            continue;
        *it = (world_instance_t){.model = model, .version = version, .device = device, .here = 1};
        world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_ADD,
                              .instance = i,
                              .model = model,
                              .version = version,
                              .device = device,
                              .count = i % 3});
        world_at(world, world->now_ns + SIM_MS, WORLD_IDLE, i, 0);
        return;
    }
}

static void add_everywhere(world_t *world, uint32_t model, uint32_t version)
{
    for (uint32_t d = 0; d < world->scenario->device_count; d++)
        for (uint32_t i = 0; i < world->scenario->devices[d].instances; i++)
            machine_add(world, model, version, d);
}

static void add_model(world_t *world, uint32_t model, uint32_t version)
{
    world->versions[model] = version;
    world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_MODEL_ADD,
                          .model = model,
                          .version = version,
                          .rows = world->scenario->models[model].batch_rows,
                          .count = 1});
    add_everywhere(world, model, version);
}

void machine_start(world_t *world)
{
    const sim_scenario_t *scenario = world->scenario;
    for (uint32_t d = 0; d < scenario->device_count; d++) {
        world->devices[d].percent = scenario->devices[d].percent;
        world->devices[d].state = WEIR__DEVICE_HEALTHY;
        send_device(world, d, WEIR__DEVICE_HEALTHY);
    }
    for (uint32_t t = 0; t < scenario->tenant_count; t++)
        world_send(
            world, &(weir__core_event_t){
                       .kind = WEIR__EVENT_TENANT, .tenant = t, .count = scenario->weights[t]});
    world->count_max = scenario->count_max;
    world->bytes_max = scenario->bytes_max;
    world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_LIMITS,
                          .count = scenario->count_max,
                          .bytes = scenario->bytes_max});
    for (uint32_t m = 0; m < scenario->model_count; m++)
        add_model(world, m, scenario->models[m].version);
}

static uint64_t service_ns(world_t *world, const world_instance_t *it)
{
    const sim_model_t *model = &world->scenario->models[it->model];
    const sim_device_t *device = &world->scenario->devices[it->device];
    uint32_t rows =
        world->scenario->row_steps ? weir__core_row_step(it->rows, model->batch_rows) : it->rows;
    uint64_t base = model->fixed_ns + model->row_ns * rows;
    uint32_t jitter = sim_random_below(&world->random, 2 * device->jitter_permille + 1);
    base = base * world->devices[it->device].percent / 100;
    return base * (1000 - device->jitter_permille + jitter) / 1000 + 1;
}

void machine_dispatch(world_t *world, const weir__core_action_t *action)
{
    if (world->result->failure[0])
        return;
    world_instance_t *it = &world->instances[action->instance];
    world_device_t *device = &world->devices[it->device];
    it->batch = action->batch;
    it->started_ns = world->now_ns;
    it->rows = action->rows;
    it->idle = 0;
    it->running = 1;
    it->fails = it->rows_wrong = 0;
    device->running_count++;
    world->result->batches++;
    world->result->batch_rows += action->rows;
    if (device->hang_next) {
        device->hang_next = 0;
        // Half of those that hang are only very late.
        if (sim_random_below(&world->random, 2))
            world_at(
                world, world->now_ns + 3000 * SIM_MS, WORLD_STALE, action->instance, it->batch);
        else
            world_at(world, world->now_ns + 130 * SIM_MS, WORLD_END, action->instance, it->batch);
        return;
    }
    if (device->fail_next && it->count > 1) {
        device->fail_next = 0;
        it->fails = 1;
    } else if (device->rows_next && it->rows > 1) {
        device->rows_next = 0;
        it->rows_wrong = 1;
    }
    for (uint32_t i = 0; i < it->count; i++)
        if (world->tickets[(uint32_t)it->tickets[i]].poison)
            it->fails = 1;
    world_at(world, world->now_ns + service_ns(world, it), WORLD_END, action->instance, it->batch);
}

static int is_mine(const world_t *world, const world_instance_t *it, uint32_t i)
{
    const ticket_t *ticket = &world->tickets[(uint32_t)it->tickets[i]];
    return ticket->state == TICKET_RUNNING && ticket->batch == it->batch;
}

// The rows of a batch wait again, each by itself where `alone`.
static void requeue(world_t *world, world_instance_t *it, int alone)
{
    for (uint32_t i = 0; i < it->count; i++) {
        ticket_t *ticket = &world->tickets[(uint32_t)it->tickets[i]];
        if (!is_mine(world, it, i))
            continue;
        ticket->state = TICKET_QUEUED;
        ticket->since_ns = world->now_ns;
        if (alone && it->count == 1)
            ticket->failed_alone = 1;
        else if (alone)
            ticket->failed_in_batch = 1;
        else
            ticket->lost_count++;
        if (ticket->failed_in_batch)
            world->keys[ticket->key].alone_count++;
        else
            world->keys[ticket->key].queued_rows += ticket->rows;
    }
}

void machine_end(world_t *world, uint32_t instance, uint64_t batch)
{
    world_instance_t *it = &world->instances[instance];
    if (!it->here || it->batch != batch || !it->running || it->dead)
        return;
    it->running = 0;
    world->devices[it->device].running_count--;
    uint64_t took = world->now_ns - it->started_ns;
    for (uint32_t i = 0; i < it->count; i++) {
        ticket_t *ticket = &world->tickets[(uint32_t)it->tickets[i]];
        if (!is_mine(world, it, i))
            continue;
        ticket->done = !it->fails && !it->rows_wrong;
        world->result->tenant_ns[ticket->tenant] += took * ticket->rows / it->rows;
    }
    if (it->fails || it->rows_wrong)
        requeue(world, it, 1);
    // Mostly it can go on at once, or says so in a second event; now and then it has to clean up
    // first.
    uint32_t when = world->scenario->honest ? 15 : sim_random_below(&world->random, 16);
    it->idle = when > 2;
    world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_BATCH_DONE,
                          .batch = batch,
                          .code = it->fails ? WEIR_INTERNAL : WEIR_OK,
                          .rows = it->rows - it->rows_wrong,
                          .idle = it->idle});
    if (when == 0)
        world_at(world, world->now_ns + 20000, WORLD_IDLE, instance, 0);
    else if (when <= 2)
        world_at(world, world->now_ns, WORLD_IDLE, instance, 0);
}

void machine_gone(world_t *world, uint32_t instance)
{
    world_instance_t *it = &world->instances[instance];
    if (!it->here || (it->running && !it->dead))
        world_fail(world, "an instance that runs is gone", instance);
    it->here = 0;
}

static void give_up(world_t *world, uint32_t device)
{
    world->devices[device].running_count = 0;
    for (uint32_t i = 0; i < SIM_INSTANCE_MAX; i++) {
        world_instance_t *it = &world->instances[i];
        if (!it->here || it->device != device)
            continue;
        if (it->running) {
            requeue(world, it, 0);
            if (sim_random_below(&world->random, 2))
                world_at(world, world->now_ns + 5 * SIM_MS, WORLD_STALE, i, it->batch);
        }
        it->dead = 1;
        it->idle = 0;
    }
}

static void plan_return(world_t *world, uint32_t device)
{
    if (world->devices[device].back_planned)
        return;
    world->devices[device].back_planned = 1;
    uint64_t after = sim_random_between(&world->random, 20, 400) * SIM_MS;
    if (sim_random_below(&world->random, 8) == 0)
        after += 5000 * SIM_MS; // so long that nobody waits for it
    world_at(world, world->now_ns + after, WORLD_BACK, device, 0);
}

void machine_device(world_t *world, uint32_t device, weir__device_state_t state)
{
    world->devices[device].state = state;
    if (state != WEIR__DEVICE_QUARANTINED)
        return;
    give_up(world, device);
    plan_return(world, device);
}

void machine_back(world_t *world, uint32_t device)
{
    world_device_t *it = &world->devices[device];
    it->back_planned = 0;
    if (it->state != WEIR__DEVICE_LOST && it->state != WEIR__DEVICE_QUARANTINED)
        return;
    it->state = WEIR__DEVICE_PROBATION;
    it->hang_next = it->fail_next = it->rows_next = 0;
    send_device(world, device, WEIR__DEVICE_PROBATION);
    for (uint32_t m = 0; m < world->scenario->model_count; m++)
        for (uint32_t i = 0; i < world->scenario->devices[device].instances; i++)
            machine_add(world, m, world->versions[m], device);
}

void machine_fault(world_t *world, const sim_fault_t *fault)
{
    world_device_t *device = &world->devices[fault->device % SIM_DEVICE_MAX];
    world->result->faults[fault->kind]++;
    switch (fault->kind) {
    case SIM_FAULT_SLOW:
        device->percent = fault->value;
        break;
    case SIM_FAULT_HANG:
        device->hang_next = 1;
        break;
    case SIM_FAULT_FAIL:
        device->fail_next = 1;
        break;
    case SIM_FAULT_ROWS:
        device->rows_next = 1;
        break;
    case SIM_FAULT_LOST:
        if (device->state == WEIR__DEVICE_LOST || device->state == WEIR__DEVICE_QUARANTINED)
            break;
        device->state = WEIR__DEVICE_LOST;
        give_up(world, fault->device);
        send_device(world, fault->device, WEIR__DEVICE_LOST);
        plan_return(world, fault->device);
        break;
    case SIM_FAULT_SWAP: {
        uint32_t model = fault->device % world->scenario->model_count;
        uint32_t old = world->versions[model];
        add_model(world, model, old + 1);
        world_send(world, &(weir__core_event_t){
                              .kind = WEIR__EVENT_MODEL_REMOVE, .model = model, .version = old});
        break;
    }
    case SIM_FAULT_SHRINK:
        world->count_max = fault->value;
        world_send(world,
            &(weir__core_event_t){
                .kind = WEIR__EVENT_LIMITS, .count = fault->value, .bytes = world->bytes_max});
        break;
    case SIM_FAULT_KIND_COUNT:
        break;
    }
}
