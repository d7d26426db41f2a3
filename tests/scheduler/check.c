// tests/scheduler/check.c: the world's own books; every action of the core has to agree with them.
//
// Exactly one answer for each arrival and one FINAL for each accepted ticket; nothing answered
// late; batches that nothing is mixed in and that fit; bounds held; nothing run more often than it
// may be; and nobody waits while somebody who could serve him is idle.
#include "tests/scheduler/world.h"

// Log-linear: 64 to an octave.
static uint32_t bucket_of(uint64_t ns)
{
    uint32_t octave = 0;
    for (; ns >= 128; ns /= 2)
        octave++;
    return octave * 64 + (uint32_t)ns;
}

uint64_t sim_percentile(const sim_result_t *result, uint32_t stream, uint32_t permille)
{
    const uint64_t *counts = result->latencies[stream];
    uint64_t all = 0, seen = 0;
    for (uint32_t i = 0; i < SIM_BUCKET_COUNT; i++)
        all += counts[i];
    for (uint32_t i = 0; i < SIM_BUCKET_COUNT; i++) {
        seen += counts[i];
        if (seen && seen * 1000 >= all * permille)
            return i < 128 ? i : (uint64_t)(i % 64 + 65) << (i / 64 - 1);
    }
    return 0;
}

static void admitted(world_t *world, ticket_t *ticket)
{
    if (world->draining)
        world_fail(world, "taken during the drain", 0);
    if (world->accepted_count >= world->count_max)
        world_fail(world, "more than the queue may hold", world->accepted_count);
    if (world->accepted_bytes + ticket->bytes > world->bytes_max)
        world_fail(world, "more bytes than the queue may hold", world->accepted_bytes);
    ticket->state = TICKET_QUEUED;
    world->accepted_count++;
    world->accepted_bytes += ticket->bytes;
    world->keys[ticket->key].queued_rows += ticket->rows;
}

static void answered(world_t *world, const weir__core_action_t *action)
{
    if (action->ticket != world->offered_ticket || !world->offered_ticket)
        world_fail(world, "an answer to no arrival", action->ticket);
    world->offered_answered++;
    if (action->kind == WEIR__ACTION_REFUSE) {
        world->result->counts[action->why]++;
        if (action->code == WEIR_OK)
            world_fail(world, "refused without a code", action->why);
        return;
    }
    ticket_t *ticket = &world->tickets[(uint32_t)action->ticket];
    if (ticket->state != TICKET_OFFERED || ticket->generation != action->ticket >> 32)
        world_fail(world, "a spoilt request was taken", action->ticket);
    else
        admitted(world, ticket);
}

static int may_end(const world_t *world, const ticket_t *ticket, const weir__core_action_t *action)
{
    int late = ticket->deadline_ns <= world->now_ns;
    switch (action->why) {
    case WEIR__FINAL_DONE:
        return action->code == WEIR_OK && ticket->state == TICKET_RUNNING && ticket->done &&
               !late && action->batch == ticket->batch;
    case WEIR__FINAL_FAILED:
        return action->code == WEIR_INTERNAL &&
               (ticket->failed_alone || (ticket->once && ticket->failed_in_batch));
    case WEIR__FINAL_EXPIRED_QUEUED:
    case WEIR__FINAL_EXPIRED_RUNNING:
        return action->code == WEIR_DEADLINE_EXCEEDED && late;
    case WEIR__FINAL_DROPPED:
        return action->code == WEIR_DEADLINE_EXCEEDED && ticket->state == TICKET_QUEUED && !late;
    case WEIR__FINAL_CANCELLED:
        return action->code == WEIR_CANCELLED && action->ticket == world->cancel_ticket;
    case WEIR__FINAL_LOST:
        return action->code == WEIR_DEVICE_LOST &&
               (ticket->lost_count > 1 || (ticket->once && ticket->lost_count));
    case WEIR__FINAL_STRANDED:
        return action->code == WEIR_UNAVAILABLE;
    case WEIR__FINAL_DRAINED:
        return action->code == WEIR_DRAINING && world->now_ns >= world->drain_end_ns &&
               world->draining;
    default:
        return 0;
    }
}

static void ended(world_t *world, const weir__core_action_t *action)
{
    uint32_t slot = (uint32_t)action->ticket;
    ticket_t *ticket = &world->tickets[slot < SIM_REQUEST_MAX ? slot : 0];
    if (slot >= SIM_REQUEST_MAX || ticket->state < TICKET_QUEUED ||
        ticket->generation != action->ticket >> 32) {
        world_fail(world, "FINAL of a ticket that is not open", action->ticket);
        return;
    }
    if (ticket->deadline_ns < world->now_ns)
        world_fail(world, "FINAL after the deadline", world->now_ns - ticket->deadline_ns);
    if (!may_end(world, ticket, action))
        world_fail(world, "FINAL for a reason that is none", action->why);
    if (ticket->state == TICKET_QUEUED) {
        world_key_t *key = &world->keys[ticket->key];
        if (ticket->failed_in_batch)
            key->alone_count--;
        else
            key->queued_rows -= ticket->rows;
    }
    sim_result_t *result = world->result;
    uint64_t arrived = ticket->arrived_ns;
    if (action->why == WEIR__FINAL_DONE && arrived >= world->scenario->warm_ns &&
        world->now_ns <= world->scenario->end_ns) {
        result->in_time[ticket->stream]++;
        result->latencies[ticket->stream][bucket_of(world->now_ns - arrived) % SIM_BUCKET_COUNT]++;
        if (world->scenario->bucket_ns && world->now_ns / world->scenario->bucket_ns < SIM_TIME_MAX)
            result->in_time_over[world->now_ns / world->scenario->bucket_ns]++;
    }
    result->counts[action->why]++;
    result->ended++;
    world->accepted_count--;
    world->accepted_bytes -= ticket->bytes;
    ticket->state = TICKET_FREE;
    world->free_tickets[world->free_count++] = slot;
}

static void dispatched_row(world_t *world, const world_instance_t *it, const ticket_t *first,
    ticket_t *ticket, const weir__core_action_t *action)
{
    if (ticket->state != TICKET_QUEUED)
        world_fail(world, "a row that does not wait", ticket->state);
    if (ticket->model != it->model || ticket->version != it->version)
        world_fail(world, "a row of another model or version", ticket->version);
    if (ticket->dtype != first->dtype || ticket->shape != first->shape)
        world_fail(world, "rows that must not be stacked", ticket->shape);
    if (ticket->deadline_ns <= world->now_ns)
        world_fail(world, "started after its deadline", world->now_ns - ticket->deadline_ns);
    if (ticket->failed_alone || ticket->lost_count > 1 || (ticket->once && ticket->run_count))
        world_fail(world, "run more often than it may be", ticket->run_count);
    if (ticket->failed_in_batch && action->count != 1)
        world_fail(world, "not alone after a failure", action->count);
    if (ticket->failed_in_batch)
        world->keys[ticket->key].alone_count--;
    else
        world->keys[ticket->key].queued_rows -= ticket->rows;
    ticket->state = TICKET_RUNNING;
    ticket->batch = action->batch;
    ticket->run_count++;
}

void check_dispatch(world_t *world, const weir__core_action_t *action)
{
    world->result->counts[action->why]++;
    world_instance_t *it = &world->instances[action->instance % SIM_INSTANCE_MAX];
    world_device_t *device = &world->devices[it->device];
    if (action->instance >= SIM_INSTANCE_MAX || !it->here || !it->idle || it->running || it->dead) {
        world_fail(world, "dispatched to an instance that is not idle", action->instance);
        return;
    }
    if (device->running_count >= world->scenario->devices[it->device].slot_count)
        world_fail(world, "more batches than the device takes", device->running_count);
    if (device->state != WEIR__DEVICE_HEALTHY && (device->running_count || action->count != 1))
        world_fail(world, "more than one request for a device on probation", action->count);
    it->count =
        (uint32_t)weir__core_batch(world->core, action->instance, it->tickets, SIM_BATCH_MAX);
    if (it->count != action->count || it->count == 0) {
        world_fail(world, "the batch has another number of tickets", it->count);
        return;
    }
    uint32_t rows = 0;
    const ticket_t *first = &world->tickets[(uint32_t)it->tickets[0]];
    for (uint32_t i = 0; i < it->count; i++) {
        ticket_t *ticket = &world->tickets[(uint32_t)it->tickets[i]];
        if (ticket->generation != it->tickets[i] >> 32)
            world_fail(world, "a stale ticket runs", it->tickets[i]);
        rows += ticket->rows;
        dispatched_row(world, it, first, ticket, action);
    }
    if (rows != action->rows || rows > world->scenario->models[it->model].batch_rows)
        world_fail(world, "the batch has a wrong size", rows);
}

void check_action(world_t *world, const weir__core_action_t *action)
{
    switch (action->kind) {
    case WEIR__ACTION_ADMIT:
    case WEIR__ACTION_REFUSE:
        answered(world, action);
        break;
    case WEIR__ACTION_FINAL:
        ended(world, action);
        break;
    case WEIR__ACTION_DISPATCH:
        check_dispatch(world, action);
        break;
    default:
        break;
    }
}

static int could_run(const world_t *world, uint32_t model, uint32_t version)
{
    for (uint32_t i = 0; i < SIM_INSTANCE_MAX; i++) {
        const world_instance_t *it = &world->instances[i];
        const world_device_t *device = &world->devices[it->device];
        if (it->here && it->idle && !it->running && !it->dead && it->model == model &&
            it->version == version && device->state == WEIR__DEVICE_HEALTHY &&
            device->running_count < world->scenario->devices[it->device].slot_count)
            return 1;
    }
    return 0;
}

// Called where the core says that it has nothing more to do now.
void check_progress(world_t *world)
{
    if (world->result->steps % 8 == 0) {
        for (uint32_t i = 0; i < world->key_count; i++) {
            const world_key_t *key = &world->keys[i];
            if (key->queued_rows >= world->scenario->models[key->model].batch_rows &&
                could_run(world, key->model, key->version))
                world_fail(world, "a full batch waits beside an idle instance", key->queued_rows);
        }
    }
    if (world->result->steps % 512)
        return;
    for (uint32_t i = 0; i < SIM_REQUEST_MAX; i++) {
        const ticket_t *ticket = &world->tickets[i];
        if (ticket->state < TICKET_QUEUED)
            continue;
        if (ticket->deadline_ns < world->now_ns)
            world_fail(world, "a deadline has passed without a word", i);
        uint64_t waited = world->now_ns - ticket->since_ns;
        if (ticket->state == TICKET_QUEUED && waited > 2000 * SIM_MS &&
            could_run(world, ticket->model, ticket->version))
            world_fail(world, "a request waits beside an idle instance", waited);
    }
}

// When the traffic ends.
void check_end(world_t *world)
{
    const sim_scenario_t *scenario = world->scenario;
    const uint64_t *counts = world->result->counts;
    if (scenario->honest &&
        counts[WEIR__FINAL_EXPIRED_RUNNING] * 10 > counts[WEIR__FINAL_DONE] + 200)
        world_fail(world, "much is run that ends too late", counts[WEIR__FINAL_EXPIRED_RUNNING]);
    for (uint32_t t = 1; scenario->fair && t < scenario->tenant_count; t++) {
        uint64_t first = world->result->tenant_ns[0] / scenario->weights[0];
        uint64_t here = world->result->tenant_ns[t] / scenario->weights[t];
        if (first * 2 > here * 3 || here * 2 > first * 3)
            world_fail(world, "a tenant has less than its share", here * 100 / (first + 1));
    }
}
