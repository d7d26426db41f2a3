// backends/cuda/error.c: what the driver says, as codes of the engine, and lost devices.
//
// A sticky error is one after which nothing is to be had from the context, by the driver's own
// description of its results; it loses the device. Must not try to repair one: the engine closes
// the device and may open it again.
#include "backends/cuda/cuda.h"

#include <stdio.h>

bool weir_cuda_is_sticky(CUresult result)
{
    switch (result) {
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_FAILED:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case CUDA_ERROR_CONTAINED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_DEINITIALIZED:
    case CUDA_ERROR_DEVICE_UNAVAILABLE:
    case CUDA_ERROR_EXTERNAL_DEVICE:
    case CUDA_ERROR_UNKNOWN:
        return true;
    default:
        return false;
    }
}

static weir_code_t code_of(CUresult result)
{
    switch (result) {
    case CUDA_SUCCESS:
        return WEIR_OK;
    case CUDA_ERROR_OUT_OF_MEMORY:
        return WEIR_RESOURCE_EXHAUSTED;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_SYSTEM_NOT_READY:
    case CUDA_ERROR_SYSTEM_DRIVER_MISMATCH:
        return WEIR_UNAVAILABLE;
    case CUDA_ERROR_NOT_SUPPORTED:
    case CUDA_ERROR_NO_BINARY_FOR_GPU:
    case CUDA_ERROR_UNSUPPORTED_PTX_VERSION:
        return WEIR_UNSUPPORTED;
    default:
        return weir_cuda_is_sticky(result) ? WEIR_DEVICE_LOST : WEIR_INTERNAL;
    }
}

// The text of a failure is the engine's from here on; a launch that fails half-way needs it once
// more, when what it had enqueued has ended.
weir_code_t weir_cuda_fail(weir_cuda_device_t *device, weir_code_t code, const char *text)
{
    pthread_mutex_lock(&device->lock);
    snprintf(device->failed_text, sizeof device->failed_text, "%s", text);
    device->failed_by = pthread_self();
    pthread_mutex_unlock(&device->lock);
    return device->host->fail(device->host, code, "%s", text);
}

void weir_cuda_failed_text(weir_cuda_device_t *device, char *out_text, size_t bytes)
{
    pthread_mutex_lock(&device->lock);
    const bool is_ours = pthread_equal(device->failed_by, pthread_self());
    snprintf(out_text, bytes, "%s",
        is_ours ? device->failed_text : "a call failed behind others that had been enqueued");
    pthread_mutex_unlock(&device->lock);
}

weir_code_t weir_cuda_check(weir_cuda_device_t *device, CUresult result, const char *call)
{
    if (result == CUDA_SUCCESS)
        return WEIR_OK;
    const char *name = NULL;
    char text[WEIR_REASON_BYTES];
    if (device->state->driver.cuGetErrorName(result, &name) != CUDA_SUCCESS || !name)
        name = "an error that the driver does not name";
    weir_code_t code = code_of(result);
    snprintf(text, sizeof text, "%s: %s", call, name);
    if (code == WEIR_DEVICE_LOST)
        weir_cuda_lose(device, text);
    snprintf(text, sizeof text, "%s: %s (%d)", call, name, (int)result);
    return weir_cuda_fail(device, code, text);
}

void weir_cuda_lose(weir_cuda_device_t *device, const char *why)
{
    pthread_mutex_lock(&device->lock);
    if (!atomic_load(&device->is_lost)) {
        snprintf(device->lost_text, sizeof device->lost_text, "%s", why);
        atomic_store(&device->is_lost, true);
    }
    pthread_cond_broadcast(&device->changed);
    pthread_mutex_unlock(&device->lock);
}

weir_code_t weir_cuda_stay_own(weir_cuda_device_t *device, const char *why)
{
    char text[WEIR_REASON_BYTES + 32];
    snprintf(text, sizeof text, "cuda:%u: own kernel: %s", device->index, why);
    device->host->log(device->host, 2, text);
    return weir_cuda_fail(device, WEIR_UNSUPPORTED, why);
}

weir_code_t weir_cuda_library_failed(weir_cuda_device_t *device, weir_cuda_asked_t asked,
    weir_code_t code, const char *call, const char *said)
{
    char text[WEIR_REASON_BYTES];
    snprintf(text, sizeof text, "%s: %s", call, said ? said : "a status without a name");
    if (asked == WEIR_CUDA_ASKED_CAPTURE) {
        code = WEIR_UNSUPPORTED; // nothing has run: launches enqueue as before
    } else if (asked == WEIR_CUDA_ASKED_PLAN &&
               (code == WEIR_INTERNAL || code == WEIR_UNSUPPORTED)) {
        return weir_cuda_stay_own(device, text);
    } else if (code == WEIR_DEVICE_LOST) {
        weir_cuda_lose(device, text);
    }
    return weir_cuda_fail(device, code, text);
}

weir_code_t weir_cuda_enter(weir_cuda_device_t *device)
{
    if (atomic_load(&device->is_lost)) {
        char text[WEIR_REASON_BYTES];
        pthread_mutex_lock(&device->lock);
        snprintf(text, sizeof text, "%s", device->lost_text);
        pthread_mutex_unlock(&device->lock);
        return device->host->fail(device->host, WEIR_DEVICE_LOST, "%s", text);
    }
    return weir_cuda_check(
        device, device->state->driver.cuCtxPushCurrent(device->context), "cuCtxPushCurrent");
}

bool weir_cuda_enter_to_free(weir_cuda_device_t *device)
{
    return device->state->driver.cuCtxPushCurrent(device->context) == CUDA_SUCCESS;
}

void weir_cuda_leave(weir_cuda_device_t *device)
{
    CUcontext ours;
    (void)device->state->driver.cuCtxPopCurrent(&ours);
}
