// backends/cuda/device.c: devices: listing, opening and closing them, their clock, edges between
// them.
//
// open() retains the primary context, which other libraries of the process share, and starts the
// reaper. close() ends when the context does nothing more. A context that a sticky error spoiled is
// made anew only when the last user of it lets go: a device that is opened again before that says
// so.
#include "backends/cuda/cuda.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

weir_cuda_device_t *weir_cuda_device(weir_handle_t handle)
{
    return (weir_cuda_device_t *)(uintptr_t)handle;
}

uint64_t weir_cuda_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

// ---- Listing ------------------------------------------------------------------------------------

// The driver's results before there is a device to blame.
static weir_code_t refuse(weir_cuda_state_t *state, CUresult result, const char *call)
{
    const char *name = NULL;
    char text[WEIR_REASON_BYTES];
    (void)state->driver.cuGetErrorName(result, &name);
    // Nobody asks why a list of devices ends.
    snprintf(text, sizeof text, "cuda: %s: %s (%d)", call, name ? name : "", (int)result);
    state->host->log(state->host, 1, text);
    return state->host->fail(state->host,
        result == CUDA_ERROR_OUT_OF_MEMORY ? WEIR_RESOURCE_EXHAUSTED : WEIR_UNAVAILABLE,
        "%s: %s (%d)", call, name ? name : "", (int)result);
}

static weir_code_t start(weir_cuda_state_t *state, uint32_t index)
{
    const weir_host_t *host = state->host;
    char reason[WEIR_REASON_BYTES] = "";
    if (!weir_cuda_configure(state, reason))
        return host->fail(host, WEIR_INVALID_ARGUMENT, "%s", reason);
    if (weir_cuda_driver_start(state) != WEIR_OK)
        return host->fail(
            host, WEIR_UNAVAILABLE, "%s", state->libraries[WEIR_CUDA_LIBRARY_DRIVER].reason);
    return index < state->device_count ? WEIR_OK : WEIR_NOT_FOUND;
}

static int attribute_of(
    const weir_cuda_state_t *state, CUdevice number, CUdevice_attribute attribute)
{
    int value = 0;
    return state->driver.cuDeviceGetAttribute(&value, attribute, number) == CUDA_SUCCESS ? value
                                                                                         : 0;
}

static uint32_t arch_of(const weir_cuda_state_t *state, CUdevice number)
{
    int major = attribute_of(state, number, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR);
    int minor = attribute_of(state, number, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR);
    return (uint32_t)(major * 10 + minor);
}

weir_code_t weir_cuda_enumerate(
    const weir_host_t *host, uint32_t index, weir_device_info_t *out_info)
{
    weir_cuda_state_t *state = weir_cuda_state(host);
    const weir_cuda_driver_t *driver = &state->driver;
    CUdevice number;
    CUuuid uuid;
    size_t bytes = 0;
    weir_code_t code = start(state, index);
    if (code != WEIR_OK)
        return code;
    CUresult result = driver->cuDeviceGet(&number, (int)index);
    if (result != CUDA_SUCCESS)
        return refuse(state, result, "cuDeviceGet");
    result = driver->cuDeviceGetName(out_info->name, sizeof out_info->name, number);
    if (result != CUDA_SUCCESS)
        return refuse(state, result, "cuDeviceGetName");
    result = driver->cuDeviceTotalMem(&bytes, number);
    if (result != CUDA_SUCCESS)
        return refuse(state, result, "cuDeviceTotalMem");
    // What only informs may be missing.
    if (driver->cuDeviceGetUuid(&uuid, number) == CUDA_SUCCESS)
        memcpy(out_info->uuid, uuid.bytes, sizeof out_info->uuid);
    (void)driver->cuDeviceGetPCIBusId(out_info->pci, sizeof out_info->pci, number);
    snprintf(out_info->arch, sizeof out_info->arch, "sm_%u", arch_of(state, number));
    out_info->numa_node = -1;
    out_info->memory_bytes = bytes;
    return WEIR_OK;
}

// ---- Opening ------------------------------------------------------------------------------------

static void find_peers(weir_cuda_device_t *device)
{
    weir_cuda_state_t *state = device->state;
    for (uint32_t i = 0; state->uses_peers && i < state->device_count; i++) {
        int can = 0;
        CUdevice number;
        if (i != device->index && state->driver.cuDeviceGet(&number, (int)i) == CUDA_SUCCESS &&
            state->driver.cuDeviceCanAccessPeer(&can, number, device->number) == CUDA_SUCCESS &&
            can)
            device->peers |= 1u << i;
    }
}

static void learn_facts(weir_cuda_device_t *device)
{
    weir_cuda_state_t *state = device->state;
    weir_cuda_facts_t *facts = &device->facts;
    CUdevice number = device->number;
    facts->arch = arch_of(state, number);
    facts->multiprocessor_count =
        (uint32_t)attribute_of(state, number, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT);
    facts->shared_bytes =
        (uint32_t)attribute_of(state, number, CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK);
    facts->threads_per_block =
        (uint32_t)attribute_of(state, number, CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK);
    facts->precision = state->precision;
    facts->has_compiler = state->libraries[WEIR_CUDA_LIBRARY_NVRTC].handle != NULL;
    facts->has_matmul = device->matmuls != NULL;
    facts->has_conv = device->convs != NULL;
}

// One line of what there is, for --verbose.
static void say_libraries(weir_cuda_device_t *device)
{
    char text[512];
    size_t at = (size_t)snprintf(text, sizeof text, "cuda:%u:", device->index);
    pthread_mutex_lock(&device->state->lock);
    (void)weir_cuda_library(device->state, WEIR_CUDA_LIBRARY_CUPTI);
    for (uint32_t i = 0; i < WEIR_CUDA_LIBRARY_COUNT; i++) {
        const weir_cuda_library_t *library = &device->state->libraries[i];
        const char *said = library->handle ? library->version : library->reason;
        if (said[0] && at < sizeof text)
            at += (size_t)snprintf(text + at, sizeof text - at, "%s %s", i ? ";" : "", said);
    }
    pthread_mutex_unlock(&device->state->lock);
    device->host->log(device->host, 2, text);
}

// What is made with the context current.
static weir_code_t furnish(weir_cuda_device_t *device)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    // A context that an earlier error spoiled says so here.
    weir_code_t code = weir_cuda_check(device, driver->cuCtxSynchronize(), "cuCtxSynchronize");
    if (code != WEIR_OK)
        return code;
    weir_cuda_pool_open(device);
    device->matmuls = weir_cuda_matmuls_open(device);
    device->convs = weir_cuda_convs_open(device);
    find_peers(device);
    learn_facts(device);
    if (!device->facts.arch)
        return device->host->fail(
            device->host, WEIR_UNAVAILABLE, "the driver does not say what the device can do");
    say_libraries(device);
    weir_cuda_choices_open(device);
    return device->host->thread_start(
        device->host, "weir-cuda", weir_cuda_reaper_main, device, &device->thread);
}

static void unfurnish(weir_cuda_device_t *device)
{
    const weir_host_t *host = device->host;
    const weir_cuda_driver_t *driver = &device->state->driver;
    const bool is_in = weir_cuda_enter_to_free(device);
    // Nothing touches memory any more after this: a device may be lost with work under way.
    (void)driver->cuCtxSynchronize();
    while (device->queues) {
        weir_cuda_queue_t *queue = device->queues;
        device->queues = queue->next;
        weir_cuda_queue_free(queue);
    }
    weir_cuda_recordings_close(device);
    weir_cuda_choices_close(device);
    weir_cuda_convs_close(device->convs);
    weir_cuda_matmuls_close(device->matmuls);
    weir_cuda_modules_close(device);
    weir_cuda_memory_close(device);
    weir_cuda_pool_close(device);
    if (is_in)
        weir_cuda_leave(device);
    (void)driver->cuDevicePrimaryCtxRelease(device->number);
    pthread_mutex_destroy(&device->ready_lock);
    pthread_mutex_destroy(&device->module_lock);
    pthread_cond_destroy(&device->changed);
    pthread_mutex_destroy(&device->lock);
    host->free(host, device);
}

weir_code_t weir_cuda_open(const weir_host_t *host, uint32_t index, weir_handle_t *out_device)
{
    weir_cuda_state_t *state = weir_cuda_state(host);
    weir_code_t code = start(state, index);
    if (code == WEIR_NOT_FOUND)
        return host->fail(host, code, "there are %u devices", state->device_count);
    if (code != WEIR_OK)
        return code;
    weir_cuda_device_t *device = host->alloc(host, sizeof *device);
    if (!device)
        return host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a device");
    memset(device, 0, sizeof *device);
    device->state = state;
    device->host = host;
    device->index = index;
    CUresult result = state->driver.cuDeviceGet(&device->number, (int)index);
    const char *call = "cuDeviceGet";
    if (result == CUDA_SUCCESS) {
        call = "cuDevicePrimaryCtxRetain";
        result = state->driver.cuDevicePrimaryCtxRetain(&device->context, device->number);
    }
    if (result != CUDA_SUCCESS) {
        host->free(host, device);
        return refuse(state, result, call);
    }
    (void)state->driver.cuDeviceGetName(device->name, sizeof device->name, device->number);
    pthread_mutex_init(&device->lock, NULL);
    pthread_mutex_init(&device->module_lock, NULL);
    pthread_mutex_init(&device->ready_lock, NULL);
    pthread_cond_init(&device->changed, NULL);
    code = weir_cuda_enter(device);
    if (code == WEIR_OK) {
        code = furnish(device);
        weir_cuda_leave(device);
    }
    if (code != WEIR_OK) {
        unfurnish(device);
        return code == WEIR_DEVICE_LOST ? WEIR_UNAVAILABLE : code;
    }
    *out_device = (weir_handle_t)(uintptr_t)device;
    return WEIR_OK;
}

void weir_cuda_close(weir_handle_t handle)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    pthread_mutex_lock(&device->lock);
    device->is_stopping = true;
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
    device->host->thread_join(device->host, device->thread);
    unfurnish(device);
}

// ---- Clock and edges ----------------------------------------------------------------------------

// Records carry the host's clock (reaper.c), so that one moment is the same in both.
weir_code_t weir_cuda_clock(weir_handle_t handle, uint64_t *out_device_ns, uint64_t *out_host_ns)
{
    (void)handle;
    *out_device_ns = *out_host_ns = weir_cuda_now_ns();
    return WEIR_OK;
}

weir_code_t weir_cuda_edge(weir_handle_t handle, weir_handle_t peer_handle, weir_edge_t *out_edge)
{
    weir_cuda_device_t *device = weir_cuda_device(handle);
    const weir_cuda_device_t *peer = weir_cuda_device(peer_handle);
    // Nothing has been measured: speeds are unknown.
    out_edge->kind = peer && peer != device && (peer->peers >> device->index & 1)
                         ? WEIR_EDGE_NATIVE
                         : WEIR_EDGE_STAGED;
    return WEIR_OK;
}
