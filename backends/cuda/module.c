// backends/cuda/module.c: kernels on the device: those of the embedded fatbin, and generated ones.
//
// The fatbin is loaded with the first program, whole; a generated image once for each source,
// however many programs use it. Must not unload what a launch under way may still run: programs are
// released after their launches have ended.
#include "backends/cuda/cuda.h"
#include "kernels/cuda/fatbin.h"

#include <string.h>

static const char *const entries[] = {
#define WEIR_CUDA_KERNEL(name, params, shared, threads, syncs) #name,
#include "kernels/cuda/kernels.inc"
#undef WEIR_CUDA_KERNEL
};
#define ENTRIES (sizeof entries / sizeof entries[0])

// Under the lock.
static weir_code_t load_entries(weir_cuda_device_t *device, CUfunction *functions)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    weir_code_t code = WEIR_OK;
    if (!device->fatbin)
        code =
            weir_cuda_check(device, driver->cuModuleLoadData(&device->fatbin, weir_k_cuda_fatbin),
                "cuModuleLoadData of the own kernels");
    for (uint32_t i = 0; i < ENTRIES && code == WEIR_OK; i++)
        code = weir_cuda_check(device,
            driver->cuModuleGetFunction(&functions[i], device->fatbin, entries[i]), entries[i]);
    return code;
}

weir_code_t weir_cuda_modules_prepare(weir_cuda_device_t *device)
{
    const weir_host_t *host = device->host;
    weir_code_t code = WEIR_OK;
    pthread_mutex_lock(&device->module_lock);
    if (!device->entries) {
        CUfunction *functions = host->alloc(host, sizeof *functions * ENTRIES);
        code = functions ? load_entries(device, functions)
                         : host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for kernels");
        if (code == WEIR_OK)
            device->entries = functions;
        else
            host->free(host, functions);
    }
    pthread_mutex_unlock(&device->module_lock);
    return code;
}

CUfunction weir_cuda_module_entry(const weir_cuda_device_t *device, const char *entry)
{
    for (uint32_t i = 0; i < ENTRIES; i++)
        if (strcmp(entries[i], entry) == 0)
            return device->entries[i];
    return NULL;
}

// Under the lock.
static weir_cuda_module_t *find(weir_cuda_device_t *device, const uint64_t hash[2])
{
    weir_cuda_module_t *module = device->modules;
    while (module && (module->hash[0] != hash[0] || module->hash[1] != hash[1]))
        module = module->next;
    if (module)
        module->users++;
    return module;
}

weir_cuda_module_t *weir_cuda_module_find(weir_cuda_device_t *device, const uint64_t hash[2])
{
    pthread_mutex_lock(&device->module_lock);
    weir_cuda_module_t *module = find(device, hash);
    pthread_mutex_unlock(&device->module_lock);
    return module;
}

static weir_code_t load(
    weir_cuda_device_t *device, const char *entry, const void *image, weir_cuda_module_t *module)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    weir_code_t code = weir_cuda_check(
        device, driver->cuModuleLoadData(&module->module, image), "cuModuleLoadData");
    if (code != WEIR_OK)
        return code;
    code = weir_cuda_check(
        device, driver->cuModuleGetFunction(&module->function, module->module, entry), entry);
    if (code != WEIR_OK)
        (void)driver->cuModuleUnload(module->module);
    return code;
}

weir_code_t weir_cuda_module_load(weir_cuda_device_t *device, const uint64_t hash[2],
    const char *entry, const void *image, weir_cuda_module_t **out_module)
{
    const weir_host_t *host = device->host;
    weir_code_t code = WEIR_OK;
    pthread_mutex_lock(&device->module_lock);
    weir_cuda_module_t *module = find(device, hash);
    if (!module) {
        module = host->alloc(host, sizeof *module);
        if (module) {
            *module = (weir_cuda_module_t){
                .next = device->modules, .hash = {hash[0], hash[1]}, .users = 1};
            code = load(device, entry, image, module);
        } else {
            code = host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for a module");
        }
        if (code == WEIR_OK) {
            device->modules = module;
        } else {
            host->free(host, module);
            module = NULL;
        }
    }
    pthread_mutex_unlock(&device->module_lock);
    *out_module = module;
    return code;
}

void weir_cuda_module_release(weir_cuda_device_t *device, weir_cuda_module_t *module)
{
    if (!module)
        return;
    pthread_mutex_lock(&device->module_lock);
    if (--module->users == 0) {
        weir_cuda_module_t **link = &device->modules;
        while (*link != module)
            link = &(*link)->next;
        *link = module->next;
        (void)device->state->driver.cuModuleUnload(module->module);
        device->host->free(device->host, module);
    }
    pthread_mutex_unlock(&device->module_lock);
}

void weir_cuda_modules_close(weir_cuda_device_t *device)
{
    const weir_cuda_driver_t *driver = &device->state->driver;
    while (device->modules) {
        weir_cuda_module_t *module = device->modules;
        device->modules = module->next;
        (void)driver->cuModuleUnload(module->module);
        device->host->free(device->host, module);
    }
    device->host->free(device->host, device->entries);
    device->entries = NULL;
    if (device->fatbin)
        (void)driver->cuModuleUnload(device->fatbin);
    device->fatbin = NULL;
}
