// scheduler/loop/devices.c: instances come and go, devices are given up and come back.
//
// What the core gives up may still be written by a device that does not answer: such an instance is
// kept until its run has ended, whatever the core thinks of it, and its memory is never used again.
#include "scheduler/loop/loop.h"

void weir__device_tell_new(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__loop_device_t *device = &scheduler->devices[index];
    if (device->told)
        return;
    device->told = true;
    weir__observe_set(&device->series->state, WEIR__DEVICE_HEALTHY);
    weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                                   .device = index,
                                   .state = WEIR__DEVICE_HEALTHY,
                                   .count = device->slots});
}

void weir__seat_tell(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    served->instance_count++;
    instance->placed->instance_count++;
    instance->known = true;
    weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_ADD,
                                   .instance = instance->index,
                                   .model = served->index,
                                   .version = served->core_version,
                                   .device = instance->placed->device});
    weir__turn_feed(scheduler,
        &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_IDLE, .instance = instance->index});
}

static void forget(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    weir__served_t *served = instance->served;
    served->instance_count--;
    weir__seat_free(scheduler, instance);
    weir__served_settle(scheduler, served);
}

void weir__seat_gone(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__instance_t *instance = &scheduler->instances[index];
    instance->known = false;
    instance->placed->instance_count--;
    if (!instance->running) {
        forget(scheduler, instance);
        return;
    }
    instance->gone = true;
    scheduler->devices[instance->placed->device].held_count++;
    weir__run_stop(scheduler, index);
}

void weir__device_released(weir_scheduler_t *scheduler, weir__instance_t *instance)
{
    scheduler->devices[instance->placed->device].held_count--;
    scheduler->chores = true;
    forget(scheduler, instance);
}

void weir__device_changed(weir_scheduler_t *scheduler, const weir__core_action_t *action)
{
    static const char *const words[] = {"absent", "healthy", "suspect: a batch takes too long",
        "quarantined: a batch never ended, its requests run elsewhere",
        "on probation: one request at a time", "lost"};
    weir__loop_device_t *device = &scheduler->devices[action->device];
    device->state = action->state;
    weir__observe_set(&device->series->state, action->state);
    weir__loop_log(scheduler,
        action->state == WEIR__DEVICE_HEALTHY ? WEIR_LOG_INFO : WEIR_LOG_WARNING, 0,
        "device \"%s\" is %s", device->name, words[action->state]);
    scheduler->chores = true;
}

// ---- What takes more than one step -------------------------------------------------------------

static bool add_instance(
    weir_scheduler_t *scheduler, weir__served_t *served, weir__placed_t *placed)
{
    weir__instance_t *instance;
    weir_status_t status = weir__seat_create(scheduler, served, placed, &instance);
    if (status) {
        weir__loop_log(scheduler, WEIR_LOG_WARNING, 0, "%s@%s: no further instance: %s",
            served->name, served->version, weir_status_text(status));
        weir_status_free(status);
        return false;
    }
    weir__seat_tell(scheduler, instance);
    return true;
}

static bool takes_instances(const weir_scheduler_t *scheduler, const weir__placed_t *placed)
{
    weir__device_state_t state = scheduler->devices[placed->device].state;
    return state != WEIR__DEVICE_LOST && state != WEIR__DEVICE_QUARANTINED;
}

// One more, on the device that has fewest.
static void scale_up(weir_scheduler_t *scheduler, weir__served_t *served)
{
    if (atomic_load(&served->residency) != WEIR__RESIDENT)
        return;
    weir__placed_t *best = NULL;
    for (uint32_t p = 0; p < served->placed_count; p++) {
        weir__placed_t *placed = &served->placed[p];
        if (takes_instances(scheduler, placed) && placed->instance_count < served->instances_max &&
            (!best || placed->instance_count < best->instance_count))
            best = placed;
    }
    if (best)
        (void)add_instance(scheduler, served, best);
}

// Nothing that was given up works there any more: the device may show that it is right again.
static void bring_back(weir_scheduler_t *scheduler, uint32_t index)
{
    weir__loop_device_t *device = &scheduler->devices[index];
    device->state = WEIR__DEVICE_PROBATION;
    weir__turn_feed(scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_DEVICE_STATE,
                                   .device = index,
                                   .state = WEIR__DEVICE_PROBATION,
                                   .count = device->slots});
    for (uint32_t m = 0; m < scheduler->options.models; m++) {
        weir__served_t *served = &scheduler->models[m];
        if (!served->in_core || atomic_load(&served->state) != WEIR__SERVED_SERVING ||
            atomic_load(&served->residency) != WEIR__RESIDENT)
            continue;
        for (uint32_t p = 0; p < served->placed_count; p++)
            while (served->placed[p].device == index &&
                   served->placed[p].instance_count < served->instances_min &&
                   add_instance(scheduler, served, &served->placed[p]))
                ;
    }
}

void weir__chores(weir_scheduler_t *scheduler)
{
    scheduler->chores = false;
    for (uint32_t i = 0; i < scheduler->limits.instance_count; i++) {
        weir__instance_t *instance = &scheduler->instances[i];
        if (!instance->wants_down)
            continue;
        instance->wants_down = false;
        weir__turn_feed(
            scheduler, &(weir__core_event_t){.kind = WEIR__EVENT_INSTANCE_REMOVE, .instance = i});
    }
    pthread_mutex_lock(&scheduler->lock);
    uint32_t device_count = scheduler->device_count;
    pthread_mutex_unlock(&scheduler->lock);
    for (uint32_t d = 0; d < device_count; d++)
        if (scheduler->devices[d].state == WEIR__DEVICE_QUARANTINED &&
            !scheduler->devices[d].held_count)
            bring_back(scheduler, d);
    for (uint32_t m = 0; m < scheduler->options.models; m++) {
        weir__served_t *served = &scheduler->models[m];
        if (!served->in_core)
            continue;
        if (served->wants_up) {
            served->wants_up = false;
            scale_up(scheduler, served);
        }
        weir__served_settle(scheduler, served);
    }
    if (scheduler->loads_waiting)
        weir__ledger_retry(scheduler);
}
