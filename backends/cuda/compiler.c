// backends/cuda/compiler.c: NVRTC: source in, an image for one architecture out.
//
// For a device that this NVRTC does not know yet the image is PTX of the newest architecture before
// it that it knows, which the driver compiles when it loads it.
//
// NVRTC works without a device and on any thread, so that sources of a program are compiled side by
// side. Products and sums are not fused (fmad): expressions round as the reference does, and such
// kernels wait for memory anyway.
#include "backends/cuda/cuda.h"

#include <nvrtc.h>
#include <stdio.h>
#include <string.h>

#define ARCHS_MAX 64

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
    __typeof__(nvrtcGetPTXSize) *ptx_size;
    __typeof__(nvrtcGetPTX) *ptx;
    __typeof__(nvrtcGetNumSupportedArchs) *arch_number;
    __typeof__(nvrtcGetSupportedArchs) *arch_list;
    int archs[ARCHS_MAX]; // 90: sm_90
    int arch_count;
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
    {"nvrtcGetPTXSize", offsetof(compiler_t, ptx_size)},
    {"nvrtcGetPTX", offsetof(compiler_t, ptx)},
    {"nvrtcGetNumSupportedArchs", offsetof(compiler_t, arch_number)},
    {"nvrtcGetSupportedArchs", offsetof(compiler_t, arch_list)},
};

static bool learn_archs(compiler_t *compiler)
{
    int count = 0;
    if (compiler->arch_number(&count) != NVRTC_SUCCESS || count < 1 || count > ARCHS_MAX)
        return false;
    compiler->arch_count = count;
    return compiler->arch_list(compiler->archs) == NVRTC_SUCCESS;
}

// What to compile for; false: it knows nothing that this device could run.
static bool find_target(const compiler_t *compiler, uint32_t arch, char out_flag[40], bool *out_ptx)
{
    int best = 0;
    for (int i = 0; i < compiler->arch_count; i++)
        if (compiler->archs[i] <= (int)arch && compiler->archs[i] > best)
            best = compiler->archs[i];
    *out_ptx = best != (int)arch;
    snprintf(out_flag, 40, "--gpu-architecture=%s_%d", *out_ptx ? "compute" : "sm", best);
    return best > 0;
}

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
    if (!compiler || !library->handle || compiler->version(&major, &minor) != NVRTC_SUCCESS ||
        !learn_archs(compiler)) {
        if (library->handle) // else the reason is said: what is missing
            weir_cuda_library_drop(state, WEIR_CUDA_LIBRARY_NVRTC,
                "NVRTC does not say its version and what it compiles for");
        state->host->free(state->host, compiler);
        return false;
    }
    snprintf(library->version, sizeof library->version, "NVRTC %d.%d", major, minor);
    state->compiler = compiler;
    return true;
}

static const char *name_of(const compiler_t *compiler, nvrtcResult result)
{
    const char *name = compiler->error_string(result);
    return name ? name : "a result without a name";
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
        name_of(compiler, result), cut);
    return result == NVRTC_ERROR_OUT_OF_MEMORY ? WEIR_RESOURCE_EXHAUSTED : WEIR_INTERNAL;
}

weir_code_t weir_cuda_compile_source(weir_cuda_state_t *state, uint32_t arch, const char *source,
    const char *entry, void **out_image, uint64_t *out_bytes, char out_reason[WEIR_CUDA_SAID_BYTES])
{
    const compiler_t *compiler = state->compiler;
    const weir_host_t *host = state->host;
    char target[40];
    bool is_ptx;
    if (!find_target(compiler, arch, target, &is_ptx)) {
        snprintf(
            out_reason, WEIR_CUDA_SAID_BYTES, "NVRTC compiles for nothing that sm_%u runs", arch);
        return WEIR_UNSUPPORTED;
    }
    const char *const flags[] = {target, "--std=c++17", "--fmad=false"};
    nvrtcProgram program = NULL;
    size_t bytes = 0;
    void *image = NULL;
    nvrtcResult result = compiler->create(&program, source, entry, 0, NULL, NULL);
    if (result != NVRTC_SUCCESS) {
        snprintf(
            out_reason, WEIR_CUDA_SAID_BYTES, "nvrtcCreateProgram: %s", name_of(compiler, result));
        return WEIR_INTERNAL;
    }
    result = compiler->compile(program, 3, flags);
    if (result == NVRTC_SUCCESS)
        result = (is_ptx ? compiler->ptx_size : compiler->image_size)(program, &bytes);
    if (result == NVRTC_SUCCESS && !(image = host->alloc(host, bytes)))
        result = NVRTC_ERROR_OUT_OF_MEMORY;
    if (result == NVRTC_SUCCESS)
        result = (is_ptx ? compiler->ptx : compiler->image)(program, image);
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
