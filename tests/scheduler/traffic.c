// tests/scheduler/traffic.c: callers: they ask, some take it back, some ask for what can't be.
#include "tests/scheduler/world.h"

static uint32_t key_of(
    world_t *world, uint32_t model, uint32_t version, uint32_t dtype, uint32_t shape)
{
    for (uint32_t i = 0; i < world->key_count; i++) {
        const world_key_t *it = &world->keys[i];
        if (it->model == model && it->version == version && it->dtype == dtype &&
            it->shape == shape)
            return i;
    }
    if (world->key_count == SIM_KEY_MAX) {
        world_fail(world, "too many keys", SIM_KEY_MAX);
        return 0;
    }
    world->keys[world->key_count] = (world_key_t){model, version, dtype, shape, 0, 0};
    return world->key_count++;
}

// One thing about a request that can't be.
static void spoil(world_t *world, weir__core_event_t *event)
{
    switch (sim_random_below(&world->random, 5)) {
    case 0:
        event->rows = sim_random_below(&world->random, 2) ? 0 : SIM_BATCH_MAX + 1;
        break;
    case 1:
        event->tenant = SIM_TENANT_MAX;
        break;
    case 2:
        event->model = 77;
        break;
    case 3:
        event->deadline_ns = world->now_ns - 1;
        break;
    default: // an index that is in use, if the one drawn is
        for (uint32_t i = 0; i < 64; i++) {
            uint32_t index = sim_random_below(&world->random, SIM_REQUEST_MAX);
            if (world->tickets[index].state < TICKET_QUEUED)
                continue;
            event->ticket = (uint64_t)(world->tickets[index].generation + 1) << 32 | index;
            break;
        }
        break;
    }
}

static void offer(world_t *world, uint32_t index)
{
    const sim_stream_t *stream = &world->scenario->streams[index];
    sim_random_t *random = &world->random;
    if (world->free_count == 0)
        return; // a driver without a free ticket refuses by itself
    uint32_t slot = world->free_tickets[--world->free_count];
    ticket_t *ticket = &world->tickets[slot];
    uint32_t version = world->versions[stream->model];
    if (version > 1 && sim_random_below(random, 16) == 0)
        version--;
    uint32_t shape = sim_random_below(random, stream->shape_count);
    uint32_t rows = sim_random_between(random, 1, stream->rows_max);
    int once = sim_random_permille(random, stream->once_permille);
    int poison = sim_random_permille(random, stream->poison_permille);
    *ticket = (ticket_t){
        .deadline_ns = stream->slo_ns ? world->now_ns + stream->slo_ns : WEIR__CORE_NEVER,
        .arrived_ns = world->now_ns,
        .since_ns = world->now_ns,
        .bytes = 1000,
        .generation = ticket->generation + 1,
        .model = stream->model,
        .version = version,
        .dtype = stream->dtype,
        .shape = shape,
        .tenant = stream->tenant,
        .stream = index,
        .rows = rows,
        .key = key_of(world, stream->model, version, stream->dtype, shape),
        .state = TICKET_OFFERED,
        .once = (uint8_t)once,
        .poison = (uint8_t)poison,
    };
    weir__core_event_t event = {
        .kind = WEIR__EVENT_ARRIVAL,
        .ticket = (uint64_t)ticket->generation << 32 | slot,
        .deadline_ns = ticket->deadline_ns,
        .bytes = ticket->bytes,
        .model = ticket->model,
        .version = version,
        .dtype = ticket->dtype,
        .shape = shape,
        .tenant = ticket->tenant,
        .priority = stream->priority,
        .rows = ticket->rows,
        .once = ticket->once,
    };
    uint64_t mine = event.ticket;
    if (sim_random_permille(random, stream->bad_permille))
        spoil(world, &event);
    if (world->now_ns >= world->scenario->warm_ns)
        world->result->offered_by[index]++;
    world->result->offered++;
    world_send(world, &event);
    if (ticket->state == TICKET_OFFERED) { // refused
        ticket->state = TICKET_FREE;
        world->free_tickets[world->free_count++] = slot;
    }
    if (sim_random_permille(random, stream->cancel_permille)) {
        uint64_t span = stream->slo_ns ? stream->slo_ns : 20 * SIM_MS;
        uint64_t after = span * sim_random_below(random, 1500) / 1000;
        world_at(world, world->now_ns + after, WORLD_CANCEL, 0, mine);
    }
}

void traffic_arrive(world_t *world, uint32_t index)
{
    const sim_stream_t *stream = &world->scenario->streams[index];
    if (world->stopped && !world->draining)
        return;
    for (uint32_t i = 0; i < stream->burst && !world->result->failure[0]; i++)
        offer(world, index);
    if (!world->stopped)
        world_at(world, world->now_ns + sim_random_gap(&world->random, stream->gap_ns) + 1,
            WORLD_ARRIVAL, index, 0);
}

void traffic_cancel(world_t *world, uint64_t ticket)
{
    world_send(world, &(weir__core_event_t){.kind = WEIR__EVENT_CANCEL, .ticket = ticket});
}
