// backends/cuda/compiler.c: NVRTC: source in, an image for one architecture out.
//
// NVRTC works without a device and on any thread, so that sources of a program are compiled side by
// side. Products and sums are not fused (fmad): expressions round as the reference does, and such
// kernels wait for memory anyway.
#include "backends/cuda/cuda.h"

#include <nvrtc.h>
#include <stdio.h>
#include <string.h>

typedef struct weir_cuda_compiler {
    __typeof__(nvrtcVersion) *version;
    __typeof__(nvrtcGetErrorString) *error_string;
    __typeof__(nvrtcCreateProgram) *create;
    __typeof__(nvrtcDestroyProgram) *destroy;
    __typeof__(nvrtcCompileProgram) *compile;
    __typeof__(nvrtcGetCUBINSize) *image_size;
    __typeof__(nvrtcGetCUBIN) *image;
    __typeof__(nvrtcGetProgramLogSize) *log_size;
    __typeof__(nvrtcGetProgramLog) *log;
} compiler_t;

static const struct {
    const char *name;
    size_t at;
} calls[] = {
    {"nvrtcVersion", offsetof(compiler_t, version)},
    {"nvrtcGetErrorString", offsetof(compiler_t, error_string)},
    {"nvrtcCreateProgram", offsetof(compiler_t, create)},
    {"nvrtcDestroyProgram", offsetof(compiler_t, destroy)},
    {"nvrtcCompileProgram", offsetof(compiler_t, compile)},
    {"nvrtcGetCUBINSize", offsetof(compiler_t, image_size)},
    {"nvrtcGetCUBIN", offsetof(compiler_t, image)},
    {"nvrtcGetProgramLogSize", offsetof(compiler_t, log_size)},
    {"nvrtcGetProgramLog", offsetof(compiler_t, log)},
};

bool weir_cuda_compiler_there(weir_cuda_state_t *state)
{
    weir_cuda_library_t *library = &state->libraries[WEIR_CUDA_LIBRARY_NVRTC];
    int major = 0, minor = 0;
    if (state->compiler || library->is_tried)
        return state->compiler && library->handle;
    if (!weir_cuda_library(state, WEIR_CUDA_LIBRARY_NVRTC))
        return false;
    compiler_t *compiler = state->host->alloc(state->host, sizeof *compiler);
    for (uint32_t i = 0; compiler && i < sizeof calls / sizeof calls[0]; i++) {
        void *symbol = weir_cuda_symbol(state, WEIR_CUDA_LIBRARY_NVRTC, calls[i].name);
        memcpy((char *)compiler + calls[i].at, &symbol, sizeof symbol);
    }
    if (!compiler || !library->handle || compiler->version(&major, &minor) != NVRTC_SUCCESS) {
        if (library->handle) // else the reason is said: what is missing
            weir_cuda_library_drop(
                state, WEIR_CUDA_LIBRARY_NVRTC, "NVRTC does not say its version");
        state->host->free(state->host, compiler);
        return false;
    }
    snprintf(library->version, sizeof library->version, "NVRTC %d.%d", major, minor);
    state->compiler = compiler;
    return true;
}

static weir_code_t refuse(weir_cuda_state_t *state, nvrtcProgram program, nvrtcResult result,
    const char *entry, char out_reason[WEIR_CUDA_SAID_BYTES])
{
    const compiler_t *compiler = state->compiler;
    const weir_host_t *host = state->host;
    size_t bytes = 0;
    char cut[WEIR_CUDA_SAID_BYTES / 2] = "";
    if (compiler->log_size(program, &bytes) == NVRTC_SUCCESS && bytes > 1) {
        char *text = host->alloc(host, bytes);
        if (text && compiler->log(program, text) == NVRTC_SUCCESS)
            snprintf(cut, sizeof cut, ": %s", text);
        host->free(host, text);
    }
    snprintf(out_reason, WEIR_CUDA_SAID_BYTES, "NVRTC refuses the generated kernel %s: %s%s", entry,
        compiler->error_string(result), cut);
    return result == NVRTC_ERROR_OUT_OF_MEMORY ? WEIR_RESOURCE_EXHAUSTED : WEIR_INTERNAL;
}

weir_code_t weir_cuda_compile_source(weir_cuda_state_t *state, uint32_t arch, const char *source,
    const char *entry, void **out_image, uint64_t *out_bytes, char out_reason[WEIR_CUDA_SAID_BYTES])
{
    const compiler_t *compiler = state->compiler;
    const weir_host_t *host = state->host;
    char target[40];
    snprintf(target, sizeof target, "--gpu-architecture=sm_%u", arch);
    const char *const flags[] = {target, "--std=c++17", "--fmad=false"};
    nvrtcProgram program = NULL;
    size_t bytes = 0;
    void *image = NULL;
    nvrtcResult result = compiler->create(&program, source, entry, 0, NULL, NULL);
    if (result != NVRTC_SUCCESS) {
        snprintf(out_reason, WEIR_CUDA_SAID_BYTES, "nvrtcCreateProgram: %s",
            compiler->error_string(result));
        return WEIR_INTERNAL;
    }
    result = compiler->compile(program, 3, flags);
    if (result == NVRTC_SUCCESS)
        result = compiler->image_size(program, &bytes);
    if (result == NVRTC_SUCCESS && !(image = host->alloc(host, bytes)))
        result = NVRTC_ERROR_OUT_OF_MEMORY;
    if (result == NVRTC_SUCCESS)
        result = compiler->image(program, image);
    weir_code_t code = WEIR_OK;
    if (result != NVRTC_SUCCESS) {
        code = refuse(state, program, result, entry, out_reason);
        host->free(host, image);
        image = NULL;
    }
    (void)compiler->destroy(&program);
    *out_image = image;
    *out_bytes = bytes;
    return code;
}
