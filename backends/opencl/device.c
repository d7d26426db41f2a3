// backends/opencl/device.c: an open device: its context, what it can do, its end, its clock.
//
// Nothing here runs on a device's behalf but a command queue of its own, for mapping, compiling and
// telling the time.
#include "backends/opencl/opencl.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define PATIENCE_MS 60000 // with what must end before memory goes
#define PATIENCE_MS_MAX (UINT64_C(1) << 40)
#define ANSWER_NS 1000000000u // a marker of its own that takes longer is behind work, not lost
#define SPIN_NS 500000u       // what takes longer is slept for
#define NAP_NS_MAX 1000000u   // seen so late at most, and no later than a 16th of what it took

weir_cl_device_t *weir_cl_device(weir_handle_t handle)
{
    return (weir_cl_device_t *)(uintptr_t)handle;
}

uint64_t weir_cl_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

// ---- Errors -------------------------------------------------------------------------------------

const char *weir_cl_error_name(cl_int error)
{
    static const struct {
        cl_int error;
        const char *name;
    } names[] = {
        {CL_DEVICE_NOT_FOUND, "CL_DEVICE_NOT_FOUND"},
        {CL_DEVICE_NOT_AVAILABLE, "CL_DEVICE_NOT_AVAILABLE"},
        {CL_COMPILER_NOT_AVAILABLE, "CL_COMPILER_NOT_AVAILABLE"},
        {CL_MEM_OBJECT_ALLOCATION_FAILURE, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
        {CL_OUT_OF_RESOURCES, "CL_OUT_OF_RESOURCES"},
        {CL_OUT_OF_HOST_MEMORY, "CL_OUT_OF_HOST_MEMORY"},
        {CL_BUILD_PROGRAM_FAILURE, "CL_BUILD_PROGRAM_FAILURE"},
        {CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST,
            "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST"},
        {CL_DEVICE_PARTITION_FAILED, "CL_DEVICE_PARTITION_FAILED"},
        {CL_INVALID_VALUE, "CL_INVALID_VALUE"},
        {CL_INVALID_BINARY, "CL_INVALID_BINARY"},
        {CL_INVALID_BUFFER_SIZE, "CL_INVALID_BUFFER_SIZE"},
        {CL_INVALID_COMMAND_QUEUE, "CL_INVALID_COMMAND_QUEUE"},
        {CL_INVALID_CONTEXT, "CL_INVALID_CONTEXT"},
        {CL_INVALID_KERNEL_ARGS, "CL_INVALID_KERNEL_ARGS"},
        {CL_INVALID_KERNEL_NAME, "CL_INVALID_KERNEL_NAME"},
        {CL_INVALID_ARG_INDEX, "CL_INVALID_ARG_INDEX"},
        {CL_INVALID_ARG_SIZE, "CL_INVALID_ARG_SIZE"},
        {CL_INVALID_ARG_VALUE, "CL_INVALID_ARG_VALUE"},
        {CL_INVALID_WORK_GROUP_SIZE, "CL_INVALID_WORK_GROUP_SIZE"},
        {CL_INVALID_GLOBAL_WORK_SIZE, "CL_INVALID_GLOBAL_WORK_SIZE"},
        {-1001, "CL_PLATFORM_NOT_FOUND_KHR"},
        {WEIR_CL_HANGS, "it does not end"},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].error == error)
            return names[i].name;
    return "an OpenCL error";
}

static bool means_lost(cl_int error)
{
    return error == CL_DEVICE_NOT_AVAILABLE || error == CL_INVALID_CONTEXT ||
           error == CL_INVALID_COMMAND_QUEUE || error == CL_OUT_OF_RESOURCES ||
           error == WEIR_CL_HANGS;
}

weir_code_t weir_cl_event_code(weir_cl_device_t *device, cl_int error)
{
    if (error == CL_MEM_OBJECT_ALLOCATION_FAILURE || error == CL_OUT_OF_HOST_MEMORY ||
        error == CL_INVALID_BUFFER_SIZE)
        return WEIR_RESOURCE_EXHAUSTED;
    if (!means_lost(error))
        return WEIR_INTERNAL;
    atomic_store(&device->is_lost, true);
    return WEIR_DEVICE_LOST;
}

// How the command is after this time at the latest: above CL_COMPLETE, it has not ended.
static cl_int status_after(cl_command_queue commands, cl_event event, uint64_t patience_ns)
{
    const uint64_t begin = weir_cl_now_ns();
    cl_int status = CL_QUEUED;
    cl_int error = clFlush(commands);
    while (error == CL_SUCCESS) {
        error =
            clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL);
        const uint64_t taken = weir_cl_now_ns() - begin;
        if (error != CL_SUCCESS || status <= CL_COMPLETE || taken >= patience_ns)
            break;
        const struct timespec nap = {.tv_nsec = (long)WEIR_MIN(taken / 16, NAP_NS_MAX)};
        if (taken < SPIN_NS)
            (void)sched_yield();
        else
            (void)nanosleep(&nap, NULL);
    }
    return error == CL_SUCCESS ? status : error;
}

cl_int weir_cl_wait(weir_cl_device_t *device, cl_command_queue commands, cl_event event)
{
    // In the device's own queue a driver may compile for seconds.
    const bool is_own = commands == device->commands;
    const uint64_t least_ms = is_own ? PATIENCE_MS : 0;
    pthread_mutex_lock(&device->lock);
    const uint64_t patience_ns =
        device->is_hung ? 0 : WEIR_MAX(device->patience_ms, least_ms) * 1000000;
    pthread_mutex_unlock(&device->lock);
    const cl_int status = status_after(commands, event, patience_ns);
    if (status == CL_COMPLETE) // to have seen that is no point of synchronization; this call is
        return clWaitForEvents(1, &event);
    if (status < CL_COMPLETE)
        return status;
    pthread_mutex_lock(&device->lock);
    device->is_hung = true;
    device->is_stuck = device->is_stuck || is_own;
    pthread_mutex_unlock(&device->lock);
    atomic_store(&device->is_lost, true);
    return WEIR_CL_HANGS;
}

// Does a command of the device's own end well, or has it still to wait for its turn?
static bool answers(weir_cl_device_t *device)
{
    cl_event event;
    if (!device->commands ||
        clEnqueueMarkerWithWaitList(device->commands, 0, NULL, &event) != CL_SUCCESS)
        return false;
    const cl_int status = status_after(device->commands, event, ANSWER_NS);
    (void)clReleaseEvent(event);
    return status >= CL_COMPLETE;
}

weir_code_t weir_cl_explain(
    weir_cl_device_t *device, cl_int error, const char *call, char out_text[WEIR_CL_SAID_BYTES])
{
    // A call says so of one kernel that wants too much, and of a device that is gone.
    const bool goes_on = error == CL_OUT_OF_RESOURCES && answers(device);
    snprintf(out_text, WEIR_CL_SAID_BYTES, "%.60s: %s (%d)%s", call, weir_cl_error_name(error),
        error, goes_on ? ", and the device goes on" : "");
    return goes_on ? WEIR_RESOURCE_EXHAUSTED : weir_cl_event_code(device, error);
}

weir_code_t weir_cl_failure(weir_cl_device_t *device, cl_int error, const char *call)
{
    char text[WEIR_CL_SAID_BYTES];
    const weir_code_t code = weir_cl_explain(device, error, call, text);
    return device->host->fail(device->host, code, "%s", text);
}

weir_code_t weir_cl_refusal(weir_cl_device_t *device, cl_int error, const char *what)
{
    char text[WEIR_CL_SAID_BYTES];
    const weir_code_t code = weir_cl_explain(device, error, what, text);
    const bool is_tight =
        error == CL_OUT_OF_HOST_MEMORY || error == CL_MEM_OBJECT_ALLOCATION_FAILURE;
    if (code == WEIR_DEVICE_LOST || is_tight)
        return device->host->fail(device->host, code, "%s", text);
    return device->host->fail(device->host, WEIR_UNSUPPORTED, "the driver does not take %s", text);
}

weir_code_t weir_cl_enter(weir_cl_device_t *device)
{
    return atomic_load(&device->is_lost)
               ? device->host->fail(device->host, WEIR_DEVICE_LOST, "the device was lost before")
               : WEIR_OK;
}

// ---- What it can do -----------------------------------------------------------------------------

static void learn(weir_cl_device_t *device)
{
    const weir_host_t *host = device->host;
    char name[128] = "", driver[64] = "", platform[64] = "";
    cl_uint units = 1;
    size_t group = 1;
    cl_ulong local = 0, memory = 0, allocation = 0;
    cl_device_type type = 0;
    cl_device_fp_config single = 0;
    cl_bool is_unified = CL_FALSE;
#define ASK(what, value) (void)clGetDeviceInfo(device->id, what, sizeof value, &value, NULL)
#define ASK_TEXT(what, value) (void)clGetDeviceInfo(device->id, what, sizeof value - 1, value, NULL)
    ASK(CL_DEVICE_MAX_COMPUTE_UNITS, units);
    ASK(CL_DEVICE_MAX_WORK_GROUP_SIZE, group);
    ASK(CL_DEVICE_LOCAL_MEM_SIZE, local);
    ASK(CL_DEVICE_GLOBAL_MEM_SIZE, memory);
    ASK(CL_DEVICE_MAX_MEM_ALLOC_SIZE, allocation);
    ASK(CL_DEVICE_TYPE, type);
    ASK(CL_DEVICE_SINGLE_FP_CONFIG, single);
    ASK(CL_DEVICE_HOST_UNIFIED_MEMORY, is_unified);
    ASK_TEXT(CL_DEVICE_NAME, name);
    ASK_TEXT(CL_DRIVER_VERSION, driver);
#undef ASK
#undef ASK_TEXT
    (void)clGetPlatformInfo(
        device->platform, CL_PLATFORM_VERSION, sizeof platform - 1, platform, NULL);
    device->facts = (weir_cl_facts_t){.family = device->state->family,
        .compute_units = WEIR_MAX(units, 1u),
        .group_max = (uint32_t)group,
        .local_bytes = local,
        .is_cpu = (type & CL_DEVICE_TYPE_CPU) != 0};
    const char *zero_copy = weir_cl_option(host, "zero_copy", "auto");
    device->is_unified =
        strcmp(zero_copy, "auto") == 0 ? is_unified == CL_TRUE : strcmp(zero_copy, "1") == 0;
    device->has_exact_division = (single & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT) != 0;
    device->keeps_binaries = weir_cl_number(host, "binaries", 1) != 0;
    device->memory_bytes = memory;
    device->buffer_bytes_max = allocation;
    snprintf(device->stamp, sizeof device->stamp, "%.60s|%.40s|%.50s", name, driver, platform);
}

// ---- Opening and closing ------------------------------------------------------------------------

// One of `count` equal parts of the device; the last has what does not divide.
static weir_code_t take_part(weir_cl_device_t *device, const weir_cl_listed_t *listed)
{
    const weir_host_t *host = device->host;
    cl_device_partition_property counts[WEIR_CL_DEVICES_MAX + 3];
    cl_device_id parts[WEIR_CL_DEVICES_MAX];
    cl_uint units = 0, made = 0, n = 0;
    (void)clGetDeviceInfo(listed->id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
    if (units < listed->part_count)
        return host->fail(host, WEIR_INVALID_ARGUMENT,
            "opencl.sub_devices=%u: the device has %u compute units", listed->part_count,
            (unsigned)units);
    counts[n++] = CL_DEVICE_PARTITION_BY_COUNTS;
    for (uint32_t i = 0; i < listed->part_count; i++)
        counts[n++] =
            (cl_device_partition_property)(units / listed->part_count +
                                           (i + 1 == listed->part_count ? units % listed->part_count
                                                                        : 0));
    counts[n++] = CL_DEVICE_PARTITION_BY_COUNTS_LIST_END;
    counts[n] = 0;
    cl_int error = clCreateSubDevices(listed->id, counts, WEIR_CL_DEVICES_MAX, parts, &made);
    if (error != CL_SUCCESS || made <= listed->part)
        return host->fail(host, WEIR_UNAVAILABLE, "the device cannot be divided: %s (%d)",
            weir_cl_error_name(error), error);
    for (cl_uint i = 0; i < made; i++)
        if (i != listed->part)
            (void)clReleaseDevice(parts[i]);
    device->id = parts[listed->part];
    device->is_part = true;
    return WEIR_OK;
}

static weir_code_t set_up(weir_cl_device_t *device, const weir_cl_listed_t *listed)
{
    const weir_host_t *host = device->host;
    cl_int error = CL_SUCCESS;
    device->platform = listed->platform;
    device->id = listed->id;
    if (listed->part_count) {
        weir_code_t code = take_part(device, listed);
        if (code != WEIR_OK)
            return code;
    }
    learn(device);
    const cl_context_properties properties[] = {
        CL_CONTEXT_PLATFORM, (cl_context_properties)device->platform, 0};
    device->context = clCreateContext(properties, 1, &device->id, NULL, NULL, &error);
    if (error != CL_SUCCESS)
        return host->fail(
            host, WEIR_UNAVAILABLE, "clCreateContext: %s (%d)", weir_cl_error_name(error), error);
    device->commands = weir_cl_commands_new(device, &error);
    return error == CL_SUCCESS ? WEIR_OK
                               : host->fail(host, WEIR_UNAVAILABLE, "clCreateCommandQueue: %s (%d)",
                                     weir_cl_error_name(error), error);
}

static void tear_down(weir_cl_device_t *device)
{
    if (device->commands)
        (void)clReleaseCommandQueue(device->commands);
    if (device->context)
        (void)clReleaseContext(device->context);
    if (device->is_part)
        (void)clReleaseDevice(device->id);
    pthread_cond_destroy(&device->landed);
    pthread_mutex_destroy(&device->lock);
    device->host->free(device->host, device);
}

// The Nth launch of the device that the options name loses it, once in the life of an engine.
static void plan_loss(weir_cl_device_t *device)
{
    const weir_host_t *host = device->host;
    if (weir_cl_number(host, "lose_device", 0) != device->index)
        return;
    pthread_mutex_lock(&device->state->lock);
    if (!device->state->has_lost_once)
        device->lose_after = weir_cl_number(host, "lose_after", 0);
    pthread_mutex_unlock(&device->state->lock);
}

weir_code_t weir_cl_open(const weir_host_t *host, uint32_t index, weir_handle_t *out_device)
{
    weir_cl_state_t *state = *host->state;
    weir_cl_list(state, true);
    pthread_mutex_lock(&state->lock);
    bool is_there = index < state->count && state->devices[index].id;
    weir_cl_listed_t listed = state->devices[is_there ? index : 0];
    pthread_mutex_unlock(&state->lock);
    if (!is_there)
        return host->fail(host, WEIR_UNAVAILABLE, "%s",
            state->reason[0] ? state->reason : "the driver does not have this device");
    weir_cl_device_t *device = host->alloc(host, sizeof *device);
    if (!device)
        return WEIR_RESOURCE_EXHAUSTED;
    memset(device, 0, sizeof *device);
    device->state = state;
    device->host = host;
    device->index = index;
    pthread_mutex_init(&device->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&device->landed, &attributes);
    pthread_condattr_destroy(&attributes);
    device->patience_ms =
        WEIR_MIN(weir_cl_number(host, "patience_ms", PATIENCE_MS), PATIENCE_MS_MAX);
    plan_loss(device);
    weir_code_t code = set_up(device, &listed);
    if (code != WEIR_OK) {
        tear_down(device);
        return code;
    }
    *out_device = (weir_handle_t)(uintptr_t)device;
    return WEIR_OK;
}

// ---- Waiting ------------------------------------------------------------------------------------

// Until the count, under the device's lock, is 0. What takes too long loses the device, and nobody
// waits so long for it again.
static bool settle(weir_cl_device_t *device, const uint32_t *flying)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)(device->patience_ms / 1000);
    until.tv_nsec += (long)(device->patience_ms % 1000) * 1000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    int late = 0;
    pthread_mutex_lock(&device->lock);
    while (*flying && !late)
        late = device->is_hung ? ETIMEDOUT
                               : pthread_cond_timedwait(&device->landed, &device->lock, &until);
    bool is_settled = *flying == 0;
    device->is_hung = device->is_hung || !is_settled;
    pthread_mutex_unlock(&device->lock);
    if (!is_settled)
        atomic_store(&device->is_lost, true);
    return is_settled;
}

bool weir_cl_settle(weir_cl_device_t *device, const weir_cl_specialization_t *specialization)
{
    return settle(device, specialization ? &specialization->flying : &device->flying);
}

bool weir_cl_settle_queue(const weir_cl_queue_t *queue)
{
    return settle(queue->device, &queue->flying);
}

weir_code_t weir_cl_wait_idle(weir_handle_t handle)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    return weir_cl_settle(device, NULL) ? WEIR_OK
                                        : device->host->fail(device->host, WEIR_DEVICE_LOST,
                                              "what it was given did not end within %llu ms",
                                              (unsigned long long)device->patience_ms);
}

// What hangs may end at any time: its queue, its buffers and this stay as they are. First nobody
// begins to land any more, then whoever does is waited for: the lock is not held meanwhile.
static void abandon(weir_cl_device_t *device)
{
    const weir_host_t *host = device->host;
    pthread_mutex_lock(&device->lock);
    device->is_abandoned = true;
    for (weir_cl_queue_t *queue = device->queues; queue; queue = queue->next)
        while (queue->is_landing) // a moment: it calls the host
            pthread_cond_wait(&device->landed, &device->lock);
    pthread_mutex_unlock(&device->lock);
    host->log(host, 0, "a device is closed while work hangs on it: its memory is not freed");
}

void weir_cl_close(weir_handle_t handle)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    bool is_settled = weir_cl_settle(device, NULL);
    pthread_mutex_lock(&device->lock);
    is_settled = is_settled && !device->is_stuck;
    pthread_mutex_unlock(&device->lock);
    if (!is_settled) {
        abandon(device);
        return;
    }
    while (device->queues)
        weir_cl_queue_destroy(handle, (weir_handle_t)(uintptr_t)device->queues);
    weir_cl_buffers_free(device);
    tear_down(device);
}

// ---- Its clock, its edges -----------------------------------------------------------------------

// Drivers count nanoseconds from a zero of their own. A marker that ends now tells both times.
weir_code_t weir_cl_clock(weir_handle_t handle, uint64_t *out_device_ns, uint64_t *out_host_ns)
{
    weir_cl_device_t *device = weir_cl_device(handle);
    cl_event event;
    cl_ulong end = 0;
    weir_code_t code = weir_cl_enter(device);
    if (code != WEIR_OK)
        return code;
    cl_int error = clEnqueueMarkerWithWaitList(device->commands, 0, NULL, &event);
    if (error != CL_SUCCESS)
        return weir_cl_failure(device, error, "clEnqueueMarkerWithWaitList");
    error = weir_cl_wait(device, device->commands, event);
    if (error == CL_SUCCESS)
        error = clGetEventProfilingInfo(event, CL_PROFILING_COMMAND_END, sizeof end, &end, NULL);
    *out_host_ns = weir_cl_now_ns();
    *out_device_ns = end;
    (void)clReleaseEvent(event);
    return error == CL_SUCCESS ? WEIR_OK : weir_cl_failure(device, error, "the device's clock");
}

weir_code_t weir_cl_edge(weir_handle_t handle, weir_handle_t peer, weir_edge_t *out_edge)
{
    (void)handle;
    (void)peer;
    out_edge->kind = WEIR_EDGE_STAGED; // contexts are apart, so buffers are
    return WEIR_OK;
}
