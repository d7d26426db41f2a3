// tests/support/fake_cuda/context.c: the fake driver: devices and contexts.
#include "tests/support/fake_cuda/driver.h"

#include <stdio.h>
#include <string.h>

#define STACK_MAX 8

static _Thread_local fake_context_t *stack[STACK_MAX];
static _Thread_local uint32_t depth;

fake_context_t *fake_context_now(void)
{
    return depth ? stack[depth - 1] : NULL;
}

void __lsan_ignore_object(const void *memory) __attribute__((weak));

void fake_lose(const void *memory)
{
    if (__lsan_ignore_object)
        __lsan_ignore_object(memory);
}

void fake_cuda_embed(int device)
{
    depth = device < 0 ? 0 : 1;
    if (depth)
        stack[0] = &fake_world.contexts[device];
}

int fake_cuda_embedded(void)
{
    return depth == 1 ? (int)(stack[0] - fake_world.contexts) : -1;
}

CUresult cuInit(unsigned flags)
{
    FAKE_CALL();
    if (flags)
        return CUDA_ERROR_INVALID_VALUE;
    return fake_world.device_count ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version)
{
    FAKE_CALL();
    *version = 13000;
    return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult error, const char **name)
{
    static const struct {
        CUresult result;
        const char *name;
    } names[] = {
        {CUDA_SUCCESS, "CUDA_SUCCESS"},
        {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
        {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
        {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
        {CUDA_ERROR_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE"},
        {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
        {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
        {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
    };
    FAKE_CALL();
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].result == error) {
            *name = names[i].name;
            return CUDA_SUCCESS;
        }
    *name = NULL;
    return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuDeviceGetCount(int *count)
{
    FAKE_CALL();
    *count = (int)fake_world.device_count;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal)
{
    FAKE_CALL();
    if (ordinal < 0 || (uint32_t)ordinal >= fake_world.device_count)
        return CUDA_ERROR_INVALID_DEVICE;
    *device = ordinal;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int length, CUdevice device)
{
    FAKE_CALL();
    (void)snprintf(name, (size_t)length, "a fake of device %d", device);
    return CUDA_SUCCESS;
}

CUresult cuDeviceTotalMem(size_t *bytes, CUdevice device)
{
    FAKE_CALL();
    (void)device;
    *bytes = fake_world.memory_bytes;
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid *uuid, CUdevice device)
{
    FAKE_CALL();
    memset(uuid, 0, sizeof *uuid);
    uuid->bytes[0] = (char)(device + 1);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *name, int length, CUdevice device)
{
    FAKE_CALL();
    (void)snprintf(name, (size_t)length, "0000:%02x:00.0", device + 1);
    return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device)
{
    FAKE_CALL();
    (void)device;
    switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
        *value = (int)fake_world.arch / 10;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
        *value = (int)fake_world.arch % 10;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
        *value = 4;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
        *value = 49152;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
        *value = 1024;
        return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED:
        *value = 1;
        return CUDA_SUCCESS;
    default:
        return CUDA_ERROR_INVALID_VALUE;
    }
}

CUresult cuDeviceCanAccessPeer(int *can, CUdevice device, CUdevice peer)
{
    FAKE_CALL();
    *can = device != peer;
    return CUDA_SUCCESS;
}

// ---- Contexts -----------------------------------------------------------------------------------

CUresult cuDevicePrimaryCtxRetain(CUcontext *out_context, CUdevice device)
{
    FAKE_CALL();
    fake_lock();
    fake_context_t *context = &fake_world.contexts[device];
    context->device = (uint32_t)device;
    context->references++;
    *out_context = (CUcontext)context;
    fake_unlock();
    return CUDA_SUCCESS;
}

// The last reference takes the context with it, a spoiled one, too.
CUresult cuDevicePrimaryCtxRelease(CUdevice device)
{
    FAKE_FREES();
    fake_lock();
    fake_context_t *context = &fake_world.contexts[device];
    CUresult result = context->references ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
    if (context->references && --context->references == 0) {
        context->error = CUDA_SUCCESS;
        context->used_bytes = 0;
    }
    fake_unlock();
    return fault ? (CUresult)fault : result;
}

// A spoiled context may be pushed: what is then asked of it fails.
CUresult cuCtxPushCurrent(CUcontext context)
{
    FAKE_CALL();
    fake_context_t *pushed = (fake_context_t *)context;
    if (!pushed || !pushed->references || depth == STACK_MAX)
        return CUDA_ERROR_INVALID_CONTEXT;
    stack[depth++] = pushed;
    return CUDA_SUCCESS;
}

CUresult cuCtxPopCurrent(CUcontext *out_context)
{
    FAKE_FREES();
    if (!depth)
        return CUDA_ERROR_INVALID_CONTEXT;
    *out_context = (CUcontext)stack[--depth];
    return (CUresult)fault;
}

CUresult cuCtxSynchronize(void)
{
    FAKE_CONTEXT_CALL();
    CUresult result = fake_no_capture();
    if (result != CUDA_SUCCESS)
        return result;
    fake_lock();
    fake_wait(context, NULL);
    result = context->error;
    fake_unlock();
    return result;
}
