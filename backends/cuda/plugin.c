// backends/cuda/plugin.c: the plugin's face: options, the table of kernels, probe.
//
// The kernels are the rows of the operators' files, less those that need NVRTC where it is missing.
// Nothing is kept outside the state of one engine. Must not create a context: open() does.
#include "backends/cuda/cuda.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER(name_, default_, min_, max_, doc_)                                                  \
    {                                                                                              \
        .head = WEIR_HEAD(weir_option_t), .name = name_, .default_value = default_, .doc = doc_,   \
        .type = WEIR_OPTION_INT, .min = min_, .max = max_                                          \
    }
#define TEXT(name_, default_, doc_)                                                                \
    {                                                                                              \
        .head = WEIR_HEAD(weir_option_t), .name = name_, .default_value = default_, .doc = doc_,   \
        .type = WEIR_OPTION_STRING                                                                 \
    }
#define SWITCH(name_, default_, doc_)                                                              \
    {                                                                                              \
        .head = WEIR_HEAD(weir_option_t), .name = name_, .default_value = default_, .doc = doc_,   \
        .type = WEIR_OPTION_BOOL                                                                   \
    }

static const weir_option_t options[] = {
    TEXT(
        "precision", "f32", "what products of f32 may round to: f32, tf32, f16 (bf16: the plan's)"),
    NUMBER("budget_mib", "0", 0, 1 << 24, "device memory that it may take; 0: what there is"),
    NUMBER("keep_mib", "1024", 0, 1 << 24, "freed device memory that is kept for the next buffer"),
    NUMBER("chunk_mib", "16", 2, 4096, "the unit in which device memory is mapped"),
    SWITCH("mapping", "1", "0: buffers are whole allocations, not mapped from chunks"),
    NUMBER("graphs", "256", 0, 4096, "CUDA graphs that are kept; the least recently used one goes"),
    SWITCH("peer", "0", "1: tensors go between GPUs without the host where they reach each other"),
    SWITCH("nvtx", "1", "0: no NVTX ranges around launches"),
    TEXT("driver", "auto", "the file of the driver, or none"),
    TEXT("nvrtc", "auto", "the file of NVRTC, or none"),
    TEXT("cublaslt", "auto", "the file of cuBLASLt, or none: products run on the own kernel"),
    TEXT("cudnn", "auto", "the file of cuDNN, or none: convolutions run on the own kernel"),
    TEXT("cupti", "none", "the file of CUPTI, or auto: its version is reported"),
};

// ---- Options ------------------------------------------------------------------------------------

static uint64_t number_option(const weir_host_t *host, const char *name, uint64_t otherwise)
{
    const char *text = host->option(host, name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static bool read_precision(weir_cuda_state_t *state, char *out_reason)
{
    static const struct {
        const char *name;
        weir_cuda_precision_t precision;
    } known[] = {{"f32", WEIR_CUDA_F32}, {"tf32", WEIR_CUDA_TF32}, {"f16", WEIR_CUDA_F16}};
    const char *text = state->host->option(state->host, "precision");
    for (uint32_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!text || !*text || strcmp(text, known[i].name) == 0) {
            state->precision = known[i].precision;
            return true;
        }
    snprintf(out_reason, WEIR_REASON_BYTES,
        "option precision=%.40s: expected f32, tf32, f16 (bf16 is a plan's)", text);
    return false;
}

bool weir_cuda_configure(weir_cuda_state_t *state, char *out_reason)
{
    const weir_host_t *host = state->host;
    pthread_mutex_lock(&state->lock);
    bool is_good = true;
    if (!state->is_configured) {
        state->budget_bytes = number_option(host, "budget_mib", 0) << 20;
        state->keep_bytes = number_option(host, "keep_mib", 1024) << 20;
        state->chunk_bytes = number_option(host, "chunk_mib", 16) << 20;
        state->graphs_max = (uint32_t)number_option(host, "graphs", 256);
        state->uses_mapping = number_option(host, "mapping", 1) != 0;
        state->uses_peers = number_option(host, "peer", 0) != 0;
        state->uses_nvtx = number_option(host, "nvtx", 1) != 0;
        is_good = read_precision(state, out_reason);
        state->is_configured = is_good;
    }
    pthread_mutex_unlock(&state->lock);
    return is_good;
}

// ---- The table ----------------------------------------------------------------------------------

weir_cuda_state_t *weir_cuda_state(const weir_host_t *host)
{
    return *host->state;
}

const weir_cuda_row_t *weir_cuda_row(const weir_cuda_state_t *state, const weir_kernel_t *kernel)
{
    for (uint32_t i = 0; i < state->kernel_count; i++)
        if (strcmp(state->kernels[i].name, kernel->name) == 0)
            return state->rows[i];
    return NULL;
}

static weir_code_t probe(const weir_host_t *host, weir_support_t *out_support)
{
    weir_cuda_state_t *state = weir_cuda_state(host);
    if (!weir_cuda_configure(state, out_support->reason))
        return WEIR_UNAVAILABLE;
    weir_code_t code = weir_cuda_driver_start(state);
    const weir_cuda_library_t *driver = &state->libraries[WEIR_CUDA_LIBRARY_DRIVER];
    if (code != WEIR_OK) {
        snprintf(out_support->reason, sizeof out_support->reason, "%s", driver->reason);
        return code;
    }
    snprintf(out_support->reason, sizeof out_support->reason, "%u GPU%s, %s, %.80s",
        state->device_count, state->device_count == 1 ? "" : "s", driver->version,
        state->libraries[WEIR_CUDA_LIBRARY_NVRTC].handle
            ? state->libraries[WEIR_CUDA_LIBRARY_NVRTC].version
            : state->libraries[WEIR_CUDA_LIBRARY_NVRTC].reason);
    return WEIR_OK;
}

static void state_free(weir_cuda_state_t *state)
{
    const weir_host_t *host = state->host;
    *host->state = NULL;
    for (uint32_t i = 0; i < WEIR_CUDA_LIBRARY_COUNT; i++)
        if (state->libraries[i].handle)
            dlclose(state->libraries[i].handle);
    pthread_mutex_destroy(&state->lock);
    host->free(host, state->compiler);
    host->free(host, state->kernels);
    host->free(host, state->rows);
    host->free(host, state);
}

static void shutdown(const weir_host_t *host)
{
    weir_cuda_state_t *state = weir_cuda_state(host);
    if (state)
        state_free(state);
}

static const weir_cuda_family_t *const families[] = {
#define WEIR_CUDA_FAMILY(name) &weir_cuda_family_##name,
#include "backends/cuda/families.inc"
#undef WEIR_CUDA_FAMILY
    NULL,
};

static bool fill_kernels(weir_cuda_state_t *state)
{
    const weir_host_t *host = state->host;
    // Without a driver the table says all that the plugin knows: nobody will ask for it.
    bool has_driver = weir_cuda_library(state, WEIR_CUDA_LIBRARY_DRIVER) != NULL;
    bool compiles = !has_driver || weir_cuda_compiler_there(state);
    uint32_t count = 0;
    for (uint32_t f = 0; families[f]; f++)
        count += families[f]->count;
    state->kernels = host->alloc(host, (count + 1) * sizeof *state->kernels);
    state->rows = host->alloc(host, (count + 1) * sizeof(weir_cuda_row_t *));
    if (!state->kernels || !state->rows)
        return false;
    for (uint32_t f = 0; families[f]; f++)
        for (uint32_t i = 0; i < families[f]->count; i++) {
            const weir_cuda_row_t *row = &families[f]->rows[i];
            if (row->always_builds && !compiles)
                continue;
            state->rows[state->kernel_count] = row;
            state->kernels[state->kernel_count] = row->kernel;
            if (!compiles)
                state->kernels[state->kernel_count].head.flags &=
                    ~(WEIR_KERNEL_EPILOGUE | WEIR_KERNEL_PROLOGUE);
            state->kernel_count++;
        }
    return true;
}

static const weir_device_table_t device_table = {
    .head = WEIR_HEAD(weir_device_table_t),
    .enumerate = weir_cuda_enumerate,
    .open = weir_cuda_open,
    .close = weir_cuda_close,
    .alloc = weir_cuda_alloc,
    .free = weir_cuda_free,
    .map = weir_cuda_map,
    .unmap = weir_cuda_unmap,
    .wrap_host = weir_cuda_wrap_host,
    .queue_create = weir_cuda_queue_create,
    .queue_destroy = weir_cuda_queue_destroy,
    .copy = weir_cuda_copy,
    .wait_idle = weir_cuda_wait_idle,
    .memory_info = weir_cuda_memory_info,
    .edge = weir_cuda_edge,
    .compile = weir_cuda_compile,
    .program_release = weir_cuda_program_release,
    .program_info = weir_cuda_program_info,
    .program_save = weir_cuda_program_save,
    .artifact_check = weir_cuda_artifact_check,
    .program_load = weir_cuda_program_load,
    .specialize = weir_cuda_specialize,
    .specialization_release = weir_cuda_specialization_release,
    .record = weir_cuda_record,
    .recording_release = weir_cuda_recording_release,
    .launch = weir_cuda_launch,
    .clock = weir_cuda_clock,
};

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    if (!host->state) {
        host->fail(host, WEIR_UNSUPPORTED, "this host has no room for the plugin's state");
        return NULL;
    }
    if (*host->state)
        return &weir_cuda_state(host)->plugin;
    weir_cuda_state_t *state = host->alloc(host, sizeof *state);
    if (!state) {
        host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for the plugin's state");
        return NULL;
    }
    memset(state, 0, sizeof *state);
    state->host = host;
    *host->state = state;
    pthread_mutex_init(&state->lock, NULL);
    if (!fill_kernels(state)) {
        host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for the plugin's kernels");
        state_free(state);
        return NULL;
    }
    state->plugin = (weir_plugin_t){.head = WEIR_PLUGIN_HEAD,
        .name = "cuda",
        .vendor = "weir",
        .version = WEIR_VERSION,
        .build = WEIR_CUDA_BUILD,
        .options = WEIR_ARRAY(options),
        .kernels = {state->kernels, state->kernel_count, sizeof(weir_kernel_t)},
        .device = &device_table,
        .probe = probe,
        .shutdown = shutdown};
    return &state->plugin;
}
