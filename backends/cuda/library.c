// backends/cuda/library.c: libcuda.so.1, NVRTC, cuBLASLt, cuDNN and CUPTI, each by dlopen, late and
// on its own.
//
// Whatever is missing is said by name; the driver alone is needed. An option of the library's name
// says which file, or "none". Must not be asked before the driver is there: the others are large.
#include "backends/cuda/cuda.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STRING_(text) #text
#define STRING(text) STRING_(text)
// Never unloaded: they have threads, and what they run at the exit of the process must be there.
#define FLAGS (RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE)

// Which files stand for each library, newest first; CUDA's names carry its major version.
typedef struct source {
    const char *option, *name;
    const char *files[4];
} source_t;

static const source_t sources[WEIR_CUDA_LIBRARY_COUNT] = {
    {"driver", "the CUDA driver", {"libcuda.so.1"}},
    {"nvrtc", "NVRTC", {"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}},
    {"cublaslt", "cuBLASLt", {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}},
    {"cudnn", "cuDNN", {"libcudnn.so.9"}},
    {"cupti", "CUPTI", {"libcupti.so.13", "libcupti.so.12", "libcupti.so"}},
};

void weir_cuda_library_drop(
    weir_cuda_state_t *state, weir_cuda_library_id_t id, const char *format, ...)
{
    weir_cuda_library_t *library = &state->libraries[id];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(library->reason, sizeof library->reason, format, arguments);
    va_end(arguments);
    if (library->handle)
        dlclose(library->handle);
    library->handle = NULL;
}

void *weir_cuda_library(weir_cuda_state_t *state, weir_cuda_library_id_t id)
{
    weir_cuda_library_t *library = &state->libraries[id];
    const source_t *source = &sources[id];
    const char *wanted = state->host->option(state->host, source->option);
    if (library->is_tried)
        return library->handle;
    library->is_tried = true;
    if (wanted && strcmp(wanted, "none") == 0) {
        weir_cuda_library_drop(
            state, id, "%s: option %s=none leaves it out", source->name, source->option);
        return NULL;
    }
    if (wanted && *wanted && strcmp(wanted, "auto") != 0)
        library->handle = dlopen(wanted, FLAGS);
    else
        for (uint32_t i = 0; i < 4 && source->files[i] && !library->handle; i++)
            library->handle = dlopen(source->files[i], FLAGS);
    if (!library->handle) {
        const char *why = dlerror();
        weir_cuda_library_drop(state, id, "%s is not there: %.110s", source->name, why ? why : "");
    }
    return library->handle;
}

void weir_cuda_library_missed(weir_cuda_device_t *device, weir_cuda_library_id_t id)
{
    char why[WEIR_REASON_BYTES];
    pthread_mutex_lock(&device->state->lock);
    snprintf(why, sizeof why, "%s", device->state->libraries[id].reason);
    pthread_mutex_unlock(&device->state->lock);
    (void)weir_cuda_stay_own(device, why);
}

void *weir_cuda_symbol(weir_cuda_state_t *state, weir_cuda_library_id_t id, const char *name)
{
    void *symbol = state->libraries[id].handle ? dlsym(state->libraries[id].handle, name) : NULL;
    if (!symbol && state->libraries[id].handle)
        weir_cuda_library_drop(state, id, "%s is too old: it lacks %s", sources[id].name, name);
    return symbol;
}

// ---- The driver ---------------------------------------------------------------------------------

// cuEventElapsedTime has had a second version since 12.8, which does the same.
static void *driver_symbol(weir_cuda_state_t *state, const char *name)
{
    void *handle = state->libraries[WEIR_CUDA_LIBRARY_DRIVER].handle;
    void *symbol = handle ? dlsym(handle, name) : NULL;
    if (!symbol && handle && strcmp(name, "cuEventElapsedTime_v2") == 0)
        symbol = dlsym(handle, "cuEventElapsedTime");
    return symbol ? symbol : weir_cuda_symbol(state, WEIR_CUDA_LIBRARY_DRIVER, name);
}

static bool fill_driver(weir_cuda_state_t *state)
{
    void *symbol;
#define WEIR_CUDA_CALL(name)                                                                       \
    symbol = driver_symbol(state, STRING(name));                                                   \
    if (!symbol)                                                                                   \
        return false;                                                                              \
    memcpy(&state->driver.name, &symbol, sizeof symbol);
#include "backends/cuda/driver.inc"
#undef WEIR_CUDA_CALL
    return true;
}

// The driver's own words for why there is nothing to work with.
static void say_init(weir_cuda_state_t *state, CUresult result, const char *call)
{
    const char *name = NULL;
    (void)state->driver.cuGetErrorName(result, &name);
    weir_cuda_library_t *library = &state->libraries[WEIR_CUDA_LIBRARY_DRIVER];
    snprintf(library->reason, sizeof library->reason, "%s: %s (%d)%s", call,
        name ? name : "an error without a name", (int)result,
        result == CUDA_ERROR_NO_DEVICE ? ": the driver sees no GPU" : "");
}

static bool start(weir_cuda_state_t *state)
{
    weir_cuda_library_t *library = &state->libraries[WEIR_CUDA_LIBRARY_DRIVER];
    int version = 0, count = 0;
    if (!weir_cuda_library(state, WEIR_CUDA_LIBRARY_DRIVER) || !fill_driver(state))
        return false;
    CUresult result = state->driver.cuInit(0);
    const char *call = "cuInit";
    if (result == CUDA_SUCCESS) {
        call = "cuDriverGetVersion";
        result = state->driver.cuDriverGetVersion(&version);
    }
    if (result == CUDA_SUCCESS) {
        call = "cuDeviceGetCount";
        result = state->driver.cuDeviceGetCount(&count);
    }
    if (result == CUDA_SUCCESS && count <= 0)
        result = CUDA_ERROR_NO_DEVICE;
    if (result != CUDA_SUCCESS) {
        say_init(state, result, call);
        return false;
    }
    snprintf(library->version, sizeof library->version, "driver for CUDA %d.%d", version / 1000,
        version % 1000 / 10);
    state->device_count = (uint32_t)WEIR_MIN(count, WEIR_CUDA_DEVICES_MAX);
    return true;
}

weir_code_t weir_cuda_driver_start(weir_cuda_state_t *state)
{
    pthread_mutex_lock(&state->lock);
    if (!state->is_started) {
        state->is_started = true;
        state->is_usable = start(state);
    }
    bool is_usable = state->is_usable;
    pthread_mutex_unlock(&state->lock);
    return is_usable ? WEIR_OK : WEIR_UNAVAILABLE;
}
