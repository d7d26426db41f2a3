// tests/support/fake_cuda/module.c: the fake driver: modules and launches.
//
// An image is a shared object that the fake NVRTC made, or anything else: then it stands for the
// own kernels, whose bodies the emulator has.
#define _GNU_SOURCE
#include "tests/support/fake_cuda/driver.h"

#include <dlfcn.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define KERNELS_MAX 64

typedef struct module {
    void *library; // NULL: the own kernels
    int file;      // of the library
    fake_kernel_t kernels[KERNELS_MAX];
    uint32_t kernel_count;
} module_t;

// What a launch keeps of itself.
typedef struct launch {
    fake_kernel_t kernel;
    uint32_t grid[3], block[3];
    _Alignas(16) unsigned char params[];
} launch_t;

// An x86-64 shared object says how long it is: its section headers come last.
static size_t object_bytes(const void *image)
{
    Elf64_Ehdr head;
    memcpy(&head, image, sizeof head);
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_type != ET_DYN ||
        head.e_machine != EM_X86_64)
        return 0;
    return head.e_shoff + (size_t)head.e_shnum * head.e_shentsize;
}

// The file stays open as long as the library: the loader knows libraries by their path.
static void *load_object(const void *image, size_t bytes, int *out_file)
{
    char path[64];
    int file = memfd_create("fake cubin", MFD_CLOEXEC);
    if (file < 0 || write(file, image, bytes) != (ssize_t)bytes)
        abort();
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        (void)close(file);
    *out_file = file;
    return library;
}

CUresult cuModuleLoadData(CUmodule *out_module, const void *image)
{
    FAKE_CONTEXT_CALL();
    CUresult result = fake_no_capture();
    size_t bytes = object_bytes(image);
    if (result != CUDA_SUCCESS)
        return result;
    module_t *module = calloc(1, sizeof *module);
    if (!module)
        return CUDA_ERROR_OUT_OF_MEMORY;
    if (bytes && !(module->library = load_object(image, bytes, &module->file))) {
        free(module);
        return CUDA_ERROR_INVALID_IMAGE;
    }
    fake_lock();
    fake_world.alive++;
    fake_unlock();
    *out_module = (CUmodule)module;
    return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule handle)
{
    FAKE_FREES();
    FAKE_FREEING_CONTEXT(handle)
    module_t *module = (module_t *)handle;
    fake_lock();
    fake_wait(context, NULL);
    fake_world.alive--;
    fake_unlock();
    if (module->library) {
        (void)dlclose(module->library);
        (void)close(module->file);
    }
    free(module);
    return (CUresult)fault;
}

static bool find_generated(const module_t *module, const char *name, fake_kernel_t *out_kernel)
{
    char symbol[160];
    (void)snprintf(symbol, sizeof symbol, "weir_fake_run_%s", name);
    void *run = dlsym(module->library, symbol);
    memcpy(&out_kernel->run_generated, &run, sizeof run);
    return run != NULL;
}

CUresult cuModuleGetFunction(CUfunction *out_function, CUmodule handle, const char *name)
{
    FAKE_CONTEXT_CALL();
    module_t *module = (module_t *)handle;
    CUresult result = CUDA_ERROR_NOT_FOUND;
    fake_lock();
    for (uint32_t i = 0; i < module->kernel_count; i++)
        if (strcmp(module->kernels[i].name, name) == 0) {
            *out_function = (CUfunction)&module->kernels[i];
            result = CUDA_SUCCESS;
        }
    if (result != CUDA_SUCCESS) {
        if (module->kernel_count == KERNELS_MAX)
            abort();
        fake_kernel_t *kernel = &module->kernels[module->kernel_count];
        (void)snprintf(kernel->name, sizeof kernel->name, "%s", name);
        if (module->library ? find_generated(module, name, kernel) : fake_own_find(name, kernel)) {
            module->kernel_count++;
            *out_function = (CUfunction)kernel;
            result = CUDA_SUCCESS;
        }
    }
    fake_unlock();
    return result;
}

static void run_launch(const void *data)
{
    const launch_t *launch = data;
    if (launch->kernel.run_generated)
        launch->kernel.run_generated(launch->params, launch->grid, launch->block);
    else
        fake_own_run(&launch->kernel, launch->params, launch->grid, launch->block);
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
    unsigned block_x, unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream stream,
    void **params, void **extra)
{
    FAKE_CONTEXT_CALL();
    const fake_kernel_t *kernel = (const fake_kernel_t *)function;
    if (params || !extra || extra[0] != CU_LAUNCH_PARAM_BUFFER_POINTER ||
        extra[2] != CU_LAUNCH_PARAM_BUFFER_SIZE || extra[4] != CU_LAUNCH_PARAM_END)
        return CUDA_ERROR_INVALID_VALUE;
    if (!grid_x || !grid_y || !grid_z || grid_y > 65535 || grid_z > 65535 || !block_x || !block_y ||
        !block_z || block_x * block_y * block_z > 1024 || shared_bytes > 49152)
        return CUDA_ERROR_INVALID_VALUE;
    size_t bytes = *(const size_t *)extra[3];
    launch_t *launch = calloc(1, sizeof *launch + bytes);
    if (!launch)
        return CUDA_ERROR_OUT_OF_MEMORY;
    launch->kernel = *kernel;
    memcpy(launch->grid, (uint32_t[3]){grid_x, grid_y, grid_z}, sizeof launch->grid);
    memcpy(launch->block, (uint32_t[3]){block_x, block_y, block_z}, sizeof launch->block);
    memcpy(launch->params, extra[1], bytes);
    int result = fake_cuda_enqueue(stream, run_launch, launch, sizeof *launch + bytes);
    free(launch);
    return (CUresult)result;
}
