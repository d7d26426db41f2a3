// backends/opencl/plugin.c: the plugin's face: options, table, state.
//
// Which kernels the table has depends on the family, an option that the entry reads; both tables
// are constant, and the state that holds the face goes with the engine.
#include "backends/opencl/opencl.h"

#include "backends/opencl/operators.h"
#include <stdarg.h>
#include <stdio.h>
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

static const weir_option_t options[] = {
    TEXT("platform", "", "devices whose platform or name holds this text; empty: all"),
    TEXT("type", "any", "any, gpu or cpu devices"),
    TEXT("family", "auto", "the kernels: cpu, gpu, or auto, which is by the first device"),
    NUMBER("sub_devices", "0", 0, WEIR_CL_DEVICES_MAX,
        "so many equal parts of the first device are the devices; 0 and 1: devices are whole"),
    NUMBER(
        "threads", "0", 0, 4096, "of a driver that runs on the CPU (PoCL); 0: as many as it may"),
    TEXT("pocl_cache", "", "the folder where PoCL keeps what it compiles; empty: weir's cache"),
    TEXT("zero_copy", "auto", "1: buffers lie in host memory; 0: they do not; auto: as it is"),
    NUMBER("binaries", "1", 0, 1, "0: what the driver compiles is not kept in weir's cache"),
    NUMBER("tune", "1", 0, 1, "0: tiles are not tried out, known ones are taken"),
    TEXT("break_build", "", "for tests: sources whose name holds this text do not build"),
    NUMBER("lose_after", "0", 0, INT64_MAX,
        "for tests: the device is lost with this launch, once; 0: never"),
    NUMBER("lose_device", "0", 0, WEIR_CL_DEVICES_MAX - 1, "for tests: which device that is"),
    NUMBER("patience_ms", "60000", 1, INT32_MAX,
        "so long is waited for work to end, before its memory goes; then the device is lost"),
};

static const weir_device_table_t device_table = {
    .head = WEIR_HEAD(weir_device_table_t),
    .enumerate = weir_cl_enumerate,
    .open = weir_cl_open,
    .close = weir_cl_close,
    .alloc = weir_cl_alloc,
    .free = weir_cl_free,
    .map = weir_cl_map,
    .unmap = weir_cl_unmap,
    .wrap_host = weir_cl_wrap_host,
    .queue_create = weir_cl_queue_create,
    .queue_destroy = weir_cl_queue_destroy,
    .copy = weir_cl_copy,
    .wait_idle = weir_cl_wait_idle,
    .memory_info = weir_cl_memory_info,
    .edge = weir_cl_edge,
    .compile = weir_cl_compile,
    .program_release = weir_cl_program_release,
    .program_info = weir_cl_program_info,
    .program_save = weir_cl_program_save,
    .artifact_check = weir_cl_artifact_check,
    .program_load = weir_cl_program_load,
    .specialize = weir_cl_specialize,
    .specialization_release = weir_cl_specialization_release,
    .launch = weir_cl_launch,
    .clock = weir_cl_clock,
};

weir_code_t weir_cl_no(weir_support_t *out_support, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(out_support->reason, sizeof out_support->reason, format, arguments);
    va_end(arguments);
    return WEIR_UNSUPPORTED;
}

// The family that the option names, or that suits the first device.
static bool choose_family(weir_cl_state_t *state)
{
    const char *family = weir_cl_option(state->host, "family", "auto");
    state->family = strcmp(family, "gpu") == 0 ? WEIR_CL_FAMILY_GPU : WEIR_CL_FAMILY_CPU;
    if (strcmp(family, "cpu") == 0 || strcmp(family, "gpu") == 0)
        return true;
    if (strcmp(family, "auto") != 0)
        return false;
    weir_cl_list(state, false);
    if (state->count && !state->devices[0].is_cpu)
        state->family = WEIR_CL_FAMILY_GPU;
    return true;
}

static void weir_cl_shutdown(const weir_host_t *host)
{
    weir_cl_state_t *state = *host->state;
    if (!state)
        return;
    pthread_mutex_destroy(&state->lock);
    *host->state = NULL;
    host->free(host, state);
}

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    weir_cl_state_t *state = host->alloc(host, sizeof *state);
    if (!state) {
        (void)host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for the plugin's state");
        return NULL;
    }
    memset(state, 0, sizeof *state);
    state->host = host;
    pthread_mutex_init(&state->lock, NULL);
    *host->state = state;
    if (!choose_family(state)) {
        (void)host->fail(host, WEIR_INVALID_ARGUMENT, "opencl.family is cpu, gpu or auto");
        weir_cl_shutdown(host);
        return NULL;
    }
    uint32_t count;
    const weir_cl_operator_t *rows = weir_cl_operators(state->family, &count);
    state->plugin = (weir_plugin_t){
        .head = WEIR_PLUGIN_HEAD,
        .name = "opencl",
        .vendor = "weir",
        .version = WEIR_VERSION,
        .build = WEIR_CL_BUILD,
        .options = WEIR_ARRAY(options),
        .kernels = {rows, count, (uint32_t)sizeof rows[0]},
        .device = &device_table,
        .probe = weir_cl_probe,
        .shutdown = weir_cl_shutdown,
    };
    return &state->plugin;
}
