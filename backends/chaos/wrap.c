// backends/chaos/wrap.c: the plugin whose kernels the device runs.
//
// It is loaded as an engine loads one and gets a host of its own, which hands its calls on. Its
// options are ours too: they are listed after our own, and a value goes to both. What must not
// happen here: two copies of a kernel's meaning. Everything but run() is published as it is.
#include "backends/chaos/chaos.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// ---- Its host -----------------------------------------------------------------------------------

static const weir_host_t *outer_of(const weir_host_t *inner)
{
    return ((const weir_chaos_inner_t *)(const void *)inner)->outer;
}

static void *inner_alloc(const weir_host_t *host, uint64_t bytes)
{
    return outer_of(host)->alloc(outer_of(host), bytes);
}

static void inner_free(const weir_host_t *host, void *memory)
{
    outer_of(host)->free(outer_of(host), memory);
}

static weir_code_t inner_fail(const weir_host_t *host, weir_code_t code, const char *format, ...)
{
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return outer_of(host)->fail(outer_of(host), code, "%s", text);
}

static void inner_log(const weir_host_t *host, int32_t level, const char *text)
{
    outer_of(host)->log(outer_of(host), level, text);
}

static weir_code_t inner_parallel_for(const weir_host_t *host, uint64_t count,
    weir_code_t (*body)(void *user, uint64_t i), void *user)
{
    return outer_of(host)->parallel_for(outer_of(host), count, body, user);
}

static const char *inner_option(const weir_host_t *host, const char *name)
{
    return outer_of(host)->option(outer_of(host), name);
}

static weir_code_t inner_thread_start(const weir_host_t *host, const char *name,
    void (*body)(void *user), void *user, void **out_thread)
{
    return outer_of(host)->thread_start(outer_of(host), name, body, user, out_thread);
}

static void inner_thread_join(const weir_host_t *host, void *thread)
{
    outer_of(host)->thread_join(outer_of(host), thread);
}

static weir_code_t inner_timeline_signal(const weir_host_t *host, uint64_t timeline, uint64_t value)
{
    return outer_of(host)->timeline_signal(outer_of(host), timeline, value);
}

static weir_code_t inner_timeline_fail(
    const weir_host_t *host, uint64_t timeline, weir_code_t code, const char *text)
{
    return outer_of(host)->timeline_fail(outer_of(host), timeline, code, text);
}

static weir_code_t inner_blob_get(
    const weir_host_t *host, const char *key, const void **out_data, uint64_t *out_bytes)
{
    return outer_of(host)->blob_get(outer_of(host), key, out_data, out_bytes);
}

static weir_code_t inner_blob_put(
    const weir_host_t *host, const char *key, const void *data, uint64_t bytes)
{
    return outer_of(host)->blob_put(outer_of(host), key, data, bytes);
}

static void inner_blob_release(const weir_host_t *host, const void *data)
{
    outer_of(host)->blob_release(outer_of(host), data);
}

static void inner_trace(const weir_host_t *host, const weir_trace_record_t *records, uint32_t count)
{
    if (outer_of(host)->trace)
        outer_of(host)->trace(outer_of(host), records, count);
}

static const char *inner_plugin_dir(const weir_host_t *host)
{
    return outer_of(host)->plugin_dir(outer_of(host));
}

static void fill_inner(weir_chaos_state_t *state)
{
    state->inner.outer = state->host;
    state->inner.abi = (weir_host_t){.head = WEIR_HEAD(weir_host_t),
        .engine = state->host->engine,
        .alloc = inner_alloc,
        .free = inner_free,
        .fail = inner_fail,
        .log = inner_log,
        .parallel_for = inner_parallel_for,
        .option = inner_option,
        .thread_start = inner_thread_start,
        .thread_join = inner_thread_join,
        .timeline_signal = inner_timeline_signal,
        .timeline_fail = inner_timeline_fail,
        .blob_get = inner_blob_get,
        .blob_put = inner_blob_put,
        .blob_release = inner_blob_release,
        .trace = inner_trace,
        .plugin_dir = inner_plugin_dir,
        .state = &state->inner.plugin_state};
}

// ---- Loading it ---------------------------------------------------------------------------------

// `wraps` is a path, or the name of a plugin beside this one or in the folder of those installed.
static void *open_wrapped(const weir_host_t *host, const char *wraps)
{
    char path[768];
    if (strchr(wraps, '/'))
        return dlopen(wraps, RTLD_NOW | RTLD_LOCAL);
    const char *folder = host->plugin_dir(host);
    snprintf(path, sizeof path, "%s/weir_%s.so", folder, wraps);
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (library)
        return library;
    snprintf(path, sizeof path, "%s/../weir/weir_%s.so", folder, wraps);
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

static weir_code_t shake_hands(weir_chaos_state_t *state, const char *wraps)
{
    const weir_host_t *host = state->host;
    void *library = open_wrapped(host, wraps);
    if (!library) {
        const char *why = dlerror();
        return host->fail(host, WEIR_NOT_FOUND, "option wraps=%s: cannot be loaded: %s", wraps,
            why ? why : "unknown error");
    }
    weir_plugin_entry_t entry;
    void *symbol = dlsym(library, "weir_plugin_v0");
    memcpy(&entry, &symbol, sizeof entry);
    const weir_plugin_t *theirs = entry ? entry(&state->inner.abi) : NULL;
    if (!theirs)
        return host->fail(host, WEIR_UNAVAILABLE, "option wraps=%s: it gives no table", wraps);
    if (theirs->head.header_hash != WEIR_PLUGIN_HEADER_HASH)
        return host->fail(
            host, WEIR_UNAVAILABLE, "option wraps=%s: built from another weir/plugin.h", wraps);
    memcpy(&state->wrapped, theirs, WEIR_MIN((size_t)theirs->head.size, sizeof state->wrapped));
    if (!state->wrapped.name || !state->wrapped.kernels.count)
        return host->fail(host, WEIR_UNAVAILABLE, "option wraps=%s: it has no kernels", wraps);
    return WEIR_OK;
}

// Is `op` among the words of `list`, with '|' between?
static bool is_listed(const char *list, const char *op)
{
    size_t length = strlen(op);
    while (list && *list) {
        size_t word = strcspn(list, "|");
        if (word == length && strncmp(list, op, word) == 0)
            return true;
        list += word + (list[word] == '|');
    }
    return false;
}

// The table, less the operators of option `refuse`; kernels of a device's memory are left out too.
static weir_code_t copy_kernels(weir_chaos_state_t *state)
{
    const weir_host_t *host = state->host;
    const weir_array_t *theirs = &state->wrapped.kernels;
    const char *refused = host->option(host, "refuse");
    state->kernels = host->alloc(host, theirs->count * sizeof *state->kernels);
    state->published = host->alloc(host, theirs->count * sizeof *state->published);
    if (!state->kernels || !state->published)
        return WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < theirs->count; i++) {
        const char *from = (const char *)theirs->data + (size_t)i * theirs->stride;
        weir_kernel_t kernel = {.head = WEIR_HEAD(weir_kernel_t)};
        memcpy(&kernel, from, WEIR_MIN((size_t)theirs->stride, sizeof kernel));
        kernel.head.size = sizeof kernel;
        if (!kernel.run || is_listed(refused, kernel.op))
            continue;
        if (!kernel.name)
            kernel.name = kernel.op;
        state->kernels[state->kernel_count] = kernel;
        kernel.run = NULL;
        state->published[state->kernel_count++] = kernel;
    }
    return WEIR_OK;
}

weir_code_t weir_chaos_wrap(weir_chaos_state_t *state)
{
    const char *wraps = state->host->option(state->host, "wraps");
    fill_inner(state);
    weir_code_t code = shake_hands(state, wraps && *wraps ? wraps : "cpu");
    return code == WEIR_OK ? copy_kernels(state) : code;
}

// ---- Kernels ------------------------------------------------------------------------------------

uint32_t weir_chaos_kernel_number(const weir_chaos_state_t *state, const weir_kernel_t *kernel)
{
    for (uint32_t i = 0; i < state->kernel_count; i++) {
        const weir_kernel_t *mine = &state->published[i];
        if (strcmp(mine->op, kernel->op) == 0 && strcmp(mine->name, kernel->name) == 0 &&
            mine->supports == kernel->supports && mine->prepare == kernel->prepare &&
            mine->tasks == kernel->tasks && mine->input_formats == kernel->input_formats &&
            mine->output_formats == kernel->output_formats && mine->pack == kernel->pack)
            return i;
    }
    return WEIR_CHAOS_NONE;
}

static bool takes_row_major(uint32_t formats)
{
    return !formats || (formats & WEIR_FORMAT_BIT(WEIR_FORMAT_ROW_MAJOR));
}

uint32_t weir_chaos_kernel_for(
    const weir_chaos_state_t *state, const weir_node_t *node, weir_support_t *out_support)
{
    weir_node_t view = *node;
    weir_dtype_t dtype = view.input_count    ? view.inputs[0].dtype
                         : view.output_count ? view.outputs[0].dtype
                                             : 0;
    snprintf(out_support->reason, sizeof out_support->reason, "%s has no such operator",
        state->wrapped.name);
    for (uint32_t i = 0; i < state->kernel_count; i++) {
        const weir_kernel_t *kernel = &state->kernels[i];
        bool by_body = view.body && strcmp(kernel->op, "Pointwise") == 0;
        // What rounds to bf16 is for plans of that precision, which claims are not told.
        if ((!by_body && strcmp(kernel->op, node->op) != 0) ||
            (kernel->head.flags & WEIR_KERNEL_BF16) ||
            (kernel->dtypes && !(kernel->dtypes & dtype)) ||
            !takes_row_major(kernel->input_formats) || !takes_row_major(kernel->output_formats))
            continue;
        view.op = kernel->op;
        if (!kernel->supports || kernel->supports(&view, out_support) == WEIR_OK)
            return i;
    }
    return WEIR_CHAOS_NONE;
}
