// tests/support/fake_cuda/memory.c: the fake driver: memory. Chunks are files in memory, mapped to
// reserved addresses, so that what is not mapped, or may not be touched, cannot be.
#define _GNU_SOURCE
#include "tests/support/fake_cuda/driver.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define GRAIN (64u << 10)
#define BLOCKS_MAX 8192

typedef struct block {
    uintptr_t address;
    uint64_t bytes;
    fake_context_t *context; // whose memory it takes; NULL: the host's
    bool is_range;           // reserved addresses
} block_t;

static block_t blocks[BLOCKS_MAX];

static block_t *find(uintptr_t address)
{
    for (uint32_t i = 0; i < BLOCKS_MAX; i++)
        if (blocks[i].bytes && address >= blocks[i].address &&
            address < blocks[i].address + blocks[i].bytes)
            return &blocks[i];
    return NULL;
}

static block_t *note(uintptr_t address, uint64_t bytes, fake_context_t *context)
{
    for (uint32_t i = 0; i < BLOCKS_MAX; i++)
        if (!blocks[i].bytes) {
            blocks[i] = (block_t){.address = address, .bytes = bytes, .context = context};
            fake_world.alive++;
            return &blocks[i];
        }
    abort();
}

static void forget(block_t *block)
{
    if (block->context)
        block->context->used_bytes -= block->bytes;
    *block = (block_t){.bytes = 0};
    fake_world.alive--;
}

void fake_memory_forget(void)
{
    memset(blocks, 0, sizeof blocks);
}

bool fake_is_known(CUdeviceptr address)
{
    return find((uintptr_t)address) != NULL;
}

static CUresult book(fake_context_t *context, uint64_t bytes)
{
    if (bytes > fake_world.memory_bytes - context->used_bytes)
        return CUDA_ERROR_OUT_OF_MEMORY;
    context->used_bytes += bytes;
    return CUDA_SUCCESS;
}

// ---- Whole allocations --------------------------------------------------------------------------

CUresult cuMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    FAKE_CONTEXT_CALL();
    fake_lock();
    *total_bytes = fake_world.memory_bytes;
    *free_bytes = fake_world.memory_bytes - context->used_bytes;
    fake_unlock();
    return CUDA_SUCCESS;
}

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes)
{
    FAKE_CONTEXT_CALL();
    CUresult result = fake_no_capture();
    if (result != CUDA_SUCCESS || !bytes)
        return bytes ? result : CUDA_ERROR_INVALID_VALUE;
    fake_lock();
    result = book(context, bytes);
    void *memory = NULL;
    if (result == CUDA_SUCCESS && posix_memalign(&memory, 256, bytes) != 0)
        abort();
    if (memory) {
        memset(memory, 0xa5, bytes);
        note((uintptr_t)memory, bytes, context);
        *address = (CUdeviceptr)(uintptr_t)memory;
    }
    fake_unlock();
    return result;
}

// As the real one: waits for what the context does.
CUresult cuMemFree(CUdeviceptr address)
{
    FAKE_FREES();
    FAKE_FREEING_CONTEXT((void *)(uintptr_t)address)
    fake_lock();
    fake_wait(context, NULL);
    block_t *block = find((uintptr_t)address);
    bool is_there = block && block->address == (uintptr_t)address && block->context == context;
    if (is_there)
        forget(block);
    fake_unlock();
    if (!is_there)
        return CUDA_ERROR_INVALID_VALUE;
    free((void *)(uintptr_t)address);
    return (CUresult)fault;
}

CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned flags)
{
    FAKE_CONTEXT_CALL();
    (void)flags;
    if (posix_memalign(memory, 4096, bytes) != 0)
        return CUDA_ERROR_OUT_OF_MEMORY;
    memset(*memory, 0xa5, bytes);
    fake_lock();
    note((uintptr_t)*memory, bytes, NULL);
    fake_unlock();
    return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *memory)
{
    FAKE_FREES();
    FAKE_FREEING_CONTEXT(memory)
    fake_lock();
    fake_wait(context, NULL);
    block_t *block = find((uintptr_t)memory);
    if (block)
        forget(block);
    fake_unlock();
    if (!block)
        return CUDA_ERROR_INVALID_VALUE;
    free(memory);
    return (CUresult)fault;
}

CUresult cuMemHostRegister(void *memory, size_t bytes, unsigned flags)
{
    FAKE_CONTEXT_CALL();
    (void)flags;
    fake_lock();
    bool is_known = find((uintptr_t)memory) != NULL;
    if (!is_known)
        note((uintptr_t)memory, bytes, NULL);
    fake_unlock();
    return is_known ? CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED : CUDA_SUCCESS;
}

CUresult cuMemHostUnregister(void *memory)
{
    FAKE_FREES();
    FAKE_FREEING_CONTEXT(NULL)
    fake_lock();
    fake_wait(context, NULL);
    block_t *block = find((uintptr_t)memory);
    if (block)
        forget(block);
    fake_unlock();
    return fault ? (CUresult)fault : block ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

// ---- Mapped memory ------------------------------------------------------------------------------

CUresult cuMemGetAllocationGranularity(
    size_t *grain, const CUmemAllocationProp *properties, CUmemAllocationGranularity_flags option)
{
    FAKE_CALL();
    (void)properties;
    (void)option;
    *grain = GRAIN;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr *address, size_t bytes, size_t alignment,
    CUdeviceptr wanted, unsigned long long flags)
{
    FAKE_CONTEXT_CALL();
    // 0 or a power of two, by the documentation.
    if (wanted || flags || bytes % GRAIN || (alignment & (alignment - 1)))
        return CUDA_ERROR_INVALID_VALUE;
    void *range = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (range == MAP_FAILED)
        return CUDA_ERROR_OUT_OF_MEMORY;
    fake_lock();
    note((uintptr_t)range, bytes, NULL)->is_range = true;
    fake_unlock();
    *address = (CUdeviceptr)(uintptr_t)range;
    return CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes)
{
    FAKE_FREES();
    FAKE_FREEING_CONTEXT(NULL)
    fake_lock();
    block_t *block = find((uintptr_t)address);
    bool is_there = context && block && block->is_range && block->bytes == bytes;
    if (is_there)
        forget(block);
    fake_unlock();
    if (!is_there)
        return CUDA_ERROR_INVALID_VALUE;
    (void)munmap((void *)(uintptr_t)address, bytes);
    return (CUresult)fault;
}

// A handle is a file and what it holds.
CUresult cuMemCreate(CUmemGenericAllocationHandle *handle, size_t bytes,
    const CUmemAllocationProp *properties, unsigned long long flags)
{
    FAKE_CONTEXT_CALL();
    if (flags || bytes % GRAIN || properties->location.id != (int)context->device)
        return CUDA_ERROR_INVALID_VALUE;
    fake_lock();
    CUresult result = book(context, bytes);
    fake_unlock();
    if (result != CUDA_SUCCESS)
        return result;
    int file = memfd_create("fake cuda", MFD_CLOEXEC);
    if (file < 0 || ftruncate(file, (off_t)bytes) != 0)
        abort();
    fake_lock();
    fake_world.alive++;
    fake_unlock();
    *handle = (uint64_t)file << 40 | (uint64_t)context->device << 36 | bytes;
    return CUDA_SUCCESS;
}

CUresult cuMemRelease(CUmemGenericAllocationHandle handle)
{
    FAKE_FREES();
    uint64_t bytes = handle & ((1ull << 36) - 1);
    fake_lock();
    fake_context_t *context = &fake_world.contexts[handle >> 36 & 15];
    context->used_bytes -= context->used_bytes < bytes ? context->used_bytes : bytes;
    fake_world.alive--;
    fake_unlock();
    (void)close((int)(handle >> 40));
    return (CUresult)fault;
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset,
    CUmemGenericAllocationHandle handle, unsigned long long flags)
{
    FAKE_CONTEXT_CALL();
    if (flags || offset || !fake_is_known(address))
        return CUDA_ERROR_INVALID_VALUE;
    void *at = mmap((void *)(uintptr_t)address, bytes, PROT_NONE, MAP_SHARED | MAP_FIXED,
        (int)(handle >> 40), 0);
    return at == MAP_FAILED ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes)
{
    FAKE_FREES();
    FAKE_FREEING_CONTEXT(NULL)
    fake_lock();
    fake_wait(context, NULL);
    fake_unlock();
    void *at = mmap((void *)(uintptr_t)address, bytes, PROT_NONE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
    return fault ? (CUresult)fault : at == MAP_FAILED ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuMemSetAccess(
    CUdeviceptr address, size_t bytes, const CUmemAccessDesc *access, size_t count)
{
    FAKE_CONTEXT_CALL();
    if (!count || access->flags != CU_MEM_ACCESS_FLAGS_PROT_READWRITE)
        return CUDA_ERROR_INVALID_VALUE;
    return mprotect((void *)(uintptr_t)address, bytes, PROT_READ | PROT_WRITE)
               ? CUDA_ERROR_INVALID_VALUE
               : CUDA_SUCCESS;
}

// ---- Copies -------------------------------------------------------------------------------------

typedef struct copy {
    CUdeviceptr to, from;
    size_t bytes;
} copy_t;

static void run_copy(const void *data)
{
    const copy_t *copy = data;
    memmove((void *)(uintptr_t)copy->to, (const void *)(uintptr_t)copy->from, copy->bytes);
}

static CUresult add_copy(
    fake_context_t *context, CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    copy_t copy = {to, from, bytes};
    fake_task_t *task = fake_task_new(FAKE_RUN, &copy, sizeof copy);
    if (task)
        task->run = run_copy;
    fake_lock();
    CUresult result = fake_task_add(stream, task);
    // Memory that the driver does not know may go when the call returns.
    if (result == CUDA_SUCCESS && (!fake_is_known(to) || !fake_is_known(from)))
        fake_wait(context, (fake_stream_t *)stream);
    fake_unlock();
    return result;
}

CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream)
{
    FAKE_CONTEXT_CALL();
    return add_copy(context, to, from, bytes, stream);
}

CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
    CUcontext from_context, size_t bytes, CUstream stream)
{
    FAKE_CONTEXT_CALL();
    if (to_context == from_context)
        return CUDA_ERROR_INVALID_VALUE;
    return add_copy(context, to, from, bytes, stream);
}
