// backends/opencl/flight.c: what was given to a queue, until it has ended.
//
// A flight ends with a marker behind its commands. The driver's callback says so, on a thread of
// the driver's; callbacks may come out of order, so what has ended is landed in the queue's order:
// times are handed on, signals given, the flight goes back to the pool.
#include "backends/opencl/opencl.h"

#include <string.h>

const weir_timeline_point_t *weir_cl_flight_signals(const weir_cl_flight_t *flight)
{
    return flight->more_signals ? flight->more_signals : flight->signals;
}

// ---- Pool ---------------------------------------------------------------------------------------

// The one with the least room of those that have enough, so that what has warmed up stays warm;
// else any. Under the device's lock.
static weir_cl_flight_t *best_of_pool(weir_cl_queue_t *queue, uint32_t room)
{
    weir_cl_flight_t **best = &queue->pool;
    for (weir_cl_flight_t **at = &queue->pool; *at; at = &(*at)->next)
        if ((*at)->event_room >= room &&
            ((*best)->event_room < room || (*at)->event_room < (*best)->event_room))
            best = at;
    weir_cl_flight_t *flight = *best;
    if (flight)
        *best = flight->next;
    return flight;
}

static weir_cl_flight_t *take(weir_cl_queue_t *queue, uint32_t room)
{
    weir_cl_device_t *device = queue->device;
    const weir_host_t *host = device->host;
    pthread_mutex_lock(&device->lock);
    weir_cl_flight_t *flight = best_of_pool(queue, room);
    uint32_t slot = queue->slot_count;
    if (!flight && slot < WEIR_CL_ERROR_SLOTS)
        queue->slot_count++;
    pthread_mutex_unlock(&device->lock);
    if (flight)
        return flight;
    if (slot == WEIR_CL_ERROR_SLOTS) {
        (void)host->fail(host, WEIR_RESOURCE_EXHAUSTED,
            "%u pieces of work are in the queue and none has ended", WEIR_CL_ERROR_SLOTS);
        return NULL;
    }
    flight = host->alloc(host, sizeof *flight);
    if (!flight)
        return NULL; // the slot is lost with it; there are enough
    *flight = (weir_cl_flight_t){.queue = queue, .slot = slot};
    return flight;
}

static void put_back(weir_cl_flight_t *flight)
{
    flight->next = flight->queue->pool;
    flight->queue->pool = flight;
}

// What is of this flight only.
static void clean(weir_cl_flight_t *flight)
{
    const weir_host_t *host = flight->queue->device->host;
    if (flight->event)
        (void)clReleaseEvent(flight->event);
    for (uint32_t i = 0; i < flight->event_count; i++)
        (void)clReleaseEvent(flight->events[i]);
    if (flight->more_signals)
        host->free(host, flight->more_signals);
    flight->event = NULL;
    flight->event_count = 0;
    flight->more_signals = NULL;
    flight->specialization = NULL;
    flight->reads_error = flight->has_ended = flight->is_profiled = false;
    flight->code = WEIR_OK;
}

// Room for the events of so many commands. false: no memory.
static bool reserve(weir_cl_flight_t *flight, uint32_t room)
{
    const weir_host_t *host = flight->queue->device->host;
    if (room <= flight->event_room)
        return true;
    host->free(host, flight->events);
    host->free(host, flight->nodes);
    flight->events = host->alloc(host, room * sizeof *flight->events);
    flight->nodes = host->alloc(host, room * sizeof *flight->nodes);
    flight->event_room = flight->events && flight->nodes ? room : 0;
    return flight->event_room != 0;
}

weir_cl_flight_t *weir_cl_flight_new(weir_cl_queue_t *queue, uint32_t wait_count,
    uint32_t command_count, const weir_timeline_point_t *signals, uint32_t signal_count)
{
    const weir_host_t *host = queue->device->host;
    const uint32_t room = command_count + WEIR_DIV_UP(wait_count, WEIR_CL_WAITS_MAX);
    weir_cl_flight_t *flight = take(queue, room);
    if (!flight)
        return NULL;
    flight->signal_count = signal_count;
    if (signal_count > WEIR_CL_SIGNALS_MAX)
        flight->more_signals = host->alloc(host, signal_count * sizeof *signals);
    if (reserve(flight, room) && (signal_count <= WEIR_CL_SIGNALS_MAX || flight->more_signals)) {
        if (signal_count)
            memcpy(flight->more_signals ? flight->more_signals : flight->signals, signals,
                signal_count * sizeof *signals);
        return flight;
    }
    weir_cl_flight_drop(flight);
    return NULL;
}

void weir_cl_flight_drop(weir_cl_flight_t *flight)
{
    weir_cl_device_t *device = flight->queue->device;
    clean(flight);
    pthread_mutex_lock(&device->lock);
    put_back(flight);
    pthread_mutex_unlock(&device->lock);
}

cl_event *weir_cl_flight_event(weir_cl_flight_t *flight)
{
    return &flight->events[flight->event_count];
}

void weir_cl_flight_flown(weir_cl_flight_t *flight, uint32_t node)
{
    flight->nodes[flight->event_count++] = node;
}

void weir_cl_flights_free(weir_cl_queue_t *queue)
{
    const weir_host_t *host = queue->device->host;
    while (queue->pool) {
        weir_cl_flight_t *flight = queue->pool;
        queue->pool = flight->next;
        host->free(host, flight->events);
        host->free(host, flight->nodes);
        host->free(host, flight);
    }
}

// ---- Landing ------------------------------------------------------------------------------------

#define RECORDS_MAX 32

// Dispatches of one node become one record.
static void hand_on_times(const weir_cl_flight_t *flight)
{
    const weir_host_t *host = flight->queue->device->host;
    weir_trace_record_t records[RECORDS_MAX];
    uint32_t count = 0;
    for (uint32_t i = 0; i < flight->event_count; i++) {
        cl_ulong start = 0, end = 0;
        if (flight->nodes[i] == WEIR_CL_NO_NODE ||
            clGetEventProfilingInfo(flight->events[i], CL_PROFILING_COMMAND_START, sizeof start,
                &start, NULL) != CL_SUCCESS ||
            clGetEventProfilingInfo(
                flight->events[i], CL_PROFILING_COMMAND_END, sizeof end, &end, NULL) != CL_SUCCESS)
            continue;
        if (count && records[count - 1].node == flight->nodes[i]) {
            records[count - 1].end_ns = end;
            continue;
        }
        if (count == RECORDS_MAX) {
            host->trace(host, records, count);
            count = 0;
        }
        records[count++] = (weir_trace_record_t){.head = WEIR_HEAD(weir_trace_record_t),
            .launch_id = flight->launch_id,
            .node = flight->nodes[i],
            .start_ns = start,
            .end_ns = end};
    }
    if (count)
        host->trace(host, records, count);
}

// How its commands ended. A marker of an in-order queue need not tell: the first that failed does.
static cl_int status_of(const weir_cl_flight_t *flight)
{
    for (uint32_t i = 0; i < flight->event_count; i++) {
        cl_int status = CL_COMPLETE;
        if (clGetEventInfo(flight->events[i], CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status,
                &status, NULL) == CL_SUCCESS &&
            status < 0)
            return status;
    }
    return flight->status;
}

static void fail_all(const weir_cl_flight_t *flight, weir_code_t code, const char *text)
{
    const weir_host_t *host = flight->queue->device->host;
    const weir_timeline_point_t *signals = weir_cl_flight_signals(flight);
    for (uint32_t i = 0; i < flight->signal_count; i++)
        (void)host->timeline_fail(host, signals[i].timeline, code, text);
}

static void land(weir_cl_flight_t *flight)
{
    weir_cl_device_t *device = flight->queue->device;
    weir_code_t code = flight->code;
    const char *text = flight->code == WEIR_OK ? "" : flight->text;
    flight->status = status_of(flight);
    if (flight->status < 0) { // asked even of a launch that was refused: the device may be lost
        const weir_code_t told = weir_cl_event_code(device, flight->status);
        if (code == WEIR_OK) {
            code = told;
            text = weir_cl_error_name(flight->status);
        }
    }
    if (atomic_load(&device->is_lost)) {
        code = WEIR_DEVICE_LOST;
        text = "the device was lost";
    } else if (code == WEIR_OK && flight->reads_error && flight->error_word) {
        code = WEIR_INVALID_ARGUMENT;
        text = "an index is out of range, or an integer is divided by 0";
    }
    // A copy says nothing about the word; a launch that failed may have written it.
    if (flight->reads_error)
        flight->is_dirty = flight->error_word || flight->status < 0;
    if (flight->is_profiled && code == WEIR_OK)
        hand_on_times(flight);
    if (code == WEIR_OK)
        weir_signal_all(device->host, weir_cl_flight_signals(flight), flight->signal_count);
    else
        fail_all(flight, code, text);
}

static void CL_CALLBACK has_ended(cl_event event, cl_int status, void *user)
{
    weir_cl_flight_t *ended = user;
    weir_cl_queue_t *queue = ended->queue;
    weir_cl_device_t *device = queue->device;
    (void)event;
    pthread_mutex_lock(&device->lock);
    if (device->is_abandoned) { // nobody waits for it, and the host is gone
        pthread_mutex_unlock(&device->lock);
        return;
    }
    ended->has_ended = true;
    ended->status = status;
    bool is_mine = !queue->is_landing;
    queue->is_landing = true;
    while (is_mine && !device->is_abandoned && queue->first && queue->first->has_ended) {
        weir_cl_flight_t *flight = queue->first;
        weir_cl_specialization_t *specialization = flight->specialization;
        queue->first = flight->next;
        if (!queue->first)
            queue->last = &queue->first;
        pthread_mutex_unlock(&device->lock);
        land(flight);
        clean(flight);
        pthread_mutex_lock(&device->lock);
        put_back(flight);
        device->flying--;
        queue->flying--;
        if (specialization)
            specialization->flying--;
        pthread_cond_broadcast(&device->landed);
    }
    if (is_mine) {
        queue->is_landing = false;
        pthread_cond_broadcast(&device->landed);
    }
    pthread_mutex_unlock(&device->lock);
}

// Gives the flight an event that ends last of its commands. false: it has none.
static bool mark(weir_cl_flight_t *flight, cl_int error, const char *call)
{
    weir_cl_queue_t *queue = flight->queue;
    if (error == CL_SUCCESS) {
        call = "clEnqueueMarkerWithWaitList";
        error = clEnqueueMarkerWithWaitList(queue->commands, 0, NULL, &flight->event);
    }
    if (error == CL_SUCCESS)
        return true;
    flight->event = NULL;
    flight->code = weir_cl_explain(queue->device, error, call, flight->text);
    if (!flight->event_count)
        return false;
    flight->event = flight->events[flight->event_count - 1];
    (void)clRetainEvent(flight->event);
    return true;
}

weir_code_t weir_cl_flight_start(weir_cl_flight_t *flight, cl_int error, const char *call)
{
    weir_cl_queue_t *queue = flight->queue;
    weir_cl_device_t *device = queue->device;
    if (!mark(flight, error, call)) {
        weir_code_t code = device->host->fail(device->host, flight->code, "%s", flight->text);
        weir_cl_flight_drop(flight);
        return code;
    }
    // Its own reference: the flight may have landed before this function ends.
    cl_event event = flight->event;
    (void)clRetainEvent(event);
    pthread_mutex_lock(&device->lock);
    flight->next = NULL;
    *queue->last = flight;
    queue->last = &flight->next;
    device->flying++;
    queue->flying++;
    if (flight->specialization)
        flight->specialization->flying++;
    pthread_mutex_unlock(&device->lock);
    // On a device that is gone it need never land: who waits is told now, and a failure stays.
    if (flight->code == WEIR_DEVICE_LOST)
        fail_all(flight, flight->code, flight->text);
    error = clSetEventCallback(event, CL_COMPLETE, has_ended, flight);
    (void)clFlush(queue->commands);
    if (error != CL_SUCCESS) { // nobody will say so; what hangs stays in the air
        const cl_int status = weir_cl_wait(device, queue->commands, event);
        if (status == WEIR_CL_HANGS)
            fail_all(flight, WEIR_DEVICE_LOST, weir_cl_error_name(status));
        else
            has_ended(event, status, flight);
    }
    (void)clReleaseEvent(event);
    return WEIR_OK;
}
