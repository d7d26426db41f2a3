// backends/chaos/plugin.c: the plugin's face: options, table, state.
//
// The table depends on options that are read by the entry: which plugin is wrapped (`wraps`), which
// of its operators are left out (`refuse`), how far the device goes (`level`), and who says what it
// can run (`claim`). It lives until shutdown(). Nothing here is kept outside the state of one
// engine.
#include "backends/chaos/chaos.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

static const weir_option_t own_options[] = {
    TEXT("wraps", "cpu", "the plugin whose kernels it runs: a name, or a path with a slash"),
    TEXT("refuse", "", "operators that it does not take, with | between"),
    NUMBER("level", "2", 1, 2, "1: execute() of single nodes; 2: programs"),
    SWITCH("claim", "0", "1: says itself what it can run; 0: the engine asks its kernels"),
    NUMBER("devices", "1", 1, WEIR_CHAOS_DEVICES_MAX, "how many devices there are"),
    NUMBER("memory_mib", "4096", 1, 1 << 20, "the memory of one device"),
    SWITCH("pinned", "1", "0: it has no pinned memory"),
    SWITCH("host_memory", "0", "1: it works on host pointers and has no memory of its own"),
    SWITCH("own_constants", "0", "1: programs keep copies of their constants"),
    NUMBER("delay_us", "0", 0, 60000000, "microseconds from a call to the work it asks for"),
    NUMBER("jitter_us", "0", 0, 60000000, "at most so many more, by seed"),
    NUMBER("seed", "1", 0, INT64_MAX, "of the order of tasks, of jitter, of faults by chance"),
    TEXT("replay", "rebind", "how launches are recorded: none, rebind or fixed"),
    TEXT("edge", "staged", "how tensors go between its devices: staged, import or native"),
    TEXT("faults", "", "a schedule of faults: where:what:when;…"),
};

#define OWN_OPTIONS (sizeof own_options / sizeof own_options[0])

// ---- Options ------------------------------------------------------------------------------------

static uint64_t number_option(const weir_host_t *host, const char *name, uint64_t otherwise)
{
    const char *text = host->option(host, name);
    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

// The number of `text` in `words`, the first of which is the default.
static bool word_option(const weir_host_t *host, const char *name, const char *const words[3],
    uint32_t otherwise, uint32_t *out_number, char *out_reason)
{
    const char *text = host->option(host, name);
    *out_number = otherwise;
    for (uint32_t i = 0; text && *text && i < 3; i++)
        if (strcmp(text, words[i]) == 0) {
            *out_number = i;
            return true;
        }
    if (!text || !*text)
        return true;
    snprintf(out_reason, WEIR_REASON_BYTES, "option %s=%.40s: expected %s, %s or %s", name, text,
        words[0], words[1], words[2]);
    return false;
}

bool weir_chaos_configure(weir_chaos_state_t *state, char *out_reason)
{
    static const char *const replays[3] = {"none", "rebind", "fixed"};  // WEIR_REPLAY_*
    static const char *const edges[3] = {"staged", "import", "native"}; // WEIR_EDGE_*
    const weir_host_t *host = state->host;
    out_reason[0] = '\0';
    pthread_mutex_lock(&state->lock);
    bool is_good = true;
    if (!state->is_configured) {
        const char *faults = host->option(host, "faults");
        state->device_count = (uint32_t)number_option(host, "devices", 1);
        state->delay_us = (uint32_t)number_option(host, "delay_us", 0);
        state->jitter_us = (uint32_t)number_option(host, "jitter_us", 0);
        state->memory_bytes = number_option(host, "memory_mib", 4096) << 20;
        state->has_pinned = number_option(host, "pinned", 1) != 0;
        state->is_host_memory = number_option(host, "host_memory", 0) != 0;
        state->owns_constants = number_option(host, "own_constants", 0) != 0;
        state->random = number_option(host, "seed", 1) * 0x9e3779b97f4a7c15ull + 1;
        is_good = word_option(host, "replay", replays, 1, &state->replay, out_reason) &&
                  word_option(host, "edge", edges, 0, &state->edge_kind, out_reason) &&
                  weir_chaos_faults_parse(state, faults ? faults : "", out_reason);
        state->is_configured = is_good;
    }
    pthread_mutex_unlock(&state->lock);
    return is_good;
}

// ---- The table ----------------------------------------------------------------------------------

weir_chaos_state_t *weir_chaos_state(const weir_host_t *host)
{
    return *host->state;
}

static weir_code_t chaos_probe(const weir_host_t *host, weir_support_t *out_support)
{
    weir_chaos_state_t *state = weir_chaos_state(host);
    if (!weir_chaos_configure(state, out_support->reason))
        return WEIR_UNAVAILABLE;
    if (state->wrapped.probe) {
        weir_code_t code = state->wrapped.probe(&state->inner.abi, out_support);
        if (code != WEIR_OK)
            return code;
    }
    snprintf(out_support->reason, sizeof out_support->reason, "%s", state->label);
    return WEIR_OK;
}

static void state_free(weir_chaos_state_t *state)
{
    const weir_host_t *host = state->host;
    *host->state = NULL;
    pthread_cond_destroy(&state->changed);
    pthread_mutex_destroy(&state->lock);
    host->free(host, state->kernels);
    host->free(host, state->published);
    host->free(host, state->options);
    host->free(host, state);
}

static void chaos_shutdown(const weir_host_t *host)
{
    weir_chaos_state_t *state = weir_chaos_state(host);
    if (!state)
        return;
    char text[128];
    snprintf(text, sizeof text, "chaos: %llu runs, %llu copies, %llu misuses",
        (unsigned long long)atomic_load(&state->runs),
        (unsigned long long)atomic_load(&state->copies),
        (unsigned long long)atomic_load(&state->misuses));
    weir_chaos_faults_log(state);
    host->log(host, atomic_load(&state->misuses) ? 0 : 2, text);
    if (state->wrapped.shutdown)
        state->wrapped.shutdown(&state->inner.abi);
    state_free(state);
}

static void fill_table(weir_chaos_state_t *state, uint64_t level, bool claims)
{
    state->table = (weir_device_table_t){.head = WEIR_HEAD(weir_device_table_t),
        .enumerate = weir_chaos_enumerate,
        .open = weir_chaos_open,
        .close = weir_chaos_close,
        .alloc = weir_chaos_alloc,
        .free = weir_chaos_free,
        .map = weir_chaos_map,
        .unmap = weir_chaos_unmap,
        .wrap_host = weir_chaos_wrap_host,
        .queue_create = weir_chaos_queue_create,
        .queue_destroy = weir_chaos_queue_destroy,
        .copy = weir_chaos_copy,
        .execute = level == 1 ? weir_chaos_execute : NULL,
        .wait_idle = weir_chaos_wait_idle,
        .memory_info = weir_chaos_memory_info,
        .edge = weir_chaos_edge,
        .export_buffer = weir_chaos_export_buffer,
        .import_buffer = weir_chaos_import_buffer,
        .claim = claims ? weir_chaos_claim : NULL,
        .clock = weir_chaos_clock};
    if (level == 1)
        return;
    state->table.compile = weir_chaos_compile;
    state->table.program_release = weir_chaos_program_release;
    state->table.program_info = weir_chaos_program_info;
    state->table.program_save = weir_chaos_program_save;
    state->table.artifact_check = weir_chaos_artifact_check;
    state->table.program_load = weir_chaos_program_load;
    state->table.specialize = weir_chaos_specialize;
    state->table.specialization_release = weir_chaos_specialization_release;
    state->table.record = weir_chaos_record;
    state->table.recording_release = weir_chaos_recording_release;
    state->table.launch = weir_chaos_launch;
}

// Our options and then the wrapped plugin's, so that they can be set through us.
static bool fill_options(weir_chaos_state_t *state)
{
    const weir_host_t *host = state->host;
    const weir_array_t *theirs = &state->wrapped.options;
    uint32_t count = (uint32_t)OWN_OPTIONS;
    state->options = host->alloc(host, (OWN_OPTIONS + theirs->count) * sizeof(weir_option_t));
    if (!state->options)
        return false;
    memcpy(state->options, own_options, sizeof own_options);
    for (uint32_t i = 0; i < theirs->count; i++) {
        weir_option_t option = {.head = WEIR_HEAD(weir_option_t)};
        const char *from = (const char *)theirs->data + (size_t)i * theirs->stride;
        memcpy(&option, from, WEIR_MIN((size_t)theirs->stride, sizeof option));
        option.head.size = sizeof option;
        state->options[count++] = option;
    }
    state->plugin.options = (weir_array_t){state->options, count, sizeof(weir_option_t)};
    return true;
}

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host);

WEIR_PLUGIN_EXPORT const weir_plugin_t *weir_plugin_v0(const weir_host_t *host)
{
    if (!host->state) {
        host->fail(host, WEIR_UNSUPPORTED, "this host has no room for the plugin's state");
        return NULL;
    }
    if (*host->state)
        return &weir_chaos_state(host)->plugin;
    weir_chaos_state_t *state = host->alloc(host, sizeof *state);
    if (!state) {
        host->fail(host, WEIR_RESOURCE_EXHAUSTED, "no memory for the plugin's state");
        return NULL;
    }
    memset(state, 0, sizeof *state);
    state->host = host;
    *host->state = state;
    pthread_mutex_init(&state->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&state->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (weir_chaos_wrap(state) != WEIR_OK || !fill_options(state)) {
        state_free(state);
        return NULL;
    }
    // Programs number the kernels: which there are, and which are chosen, is part of the build.
    uint64_t digest = 0;
    for (uint32_t i = 0; i < state->kernel_count; i++) {
        const weir_kernel_t *kernel = &state->kernels[i];
        digest = weir_chaos_digest(digest, kernel->name, strlen(kernel->name));
        digest = weir_chaos_digest(digest, &kernel->head.flags, sizeof kernel->head.flags);
    }
    snprintf(state->build, sizeof state->build, "%s %016llx wraps %s %s", WEIR_CHAOS_BUILD,
        (unsigned long long)digest, state->wrapped.name,
        state->wrapped.build ? state->wrapped.build : "");
    snprintf(state->label, sizeof state->label, "a thread that runs kernels of \"%s\"",
        state->wrapped.name);
    fill_table(state, number_option(host, "level", 2), number_option(host, "claim", 0) != 0);
    weir_array_t options = state->plugin.options;
    state->plugin = (weir_plugin_t){.head = WEIR_PLUGIN_HEAD,
        .name = "chaos",
        .vendor = "weir",
        .version = WEIR_VERSION,
        .build = state->build,
        .options = options,
        .kernels = {state->published, state->kernel_count, sizeof(weir_kernel_t)},
        .device = &state->table,
        .probe = chaos_probe,
        .shutdown = chaos_shutdown,
        .operators = state->wrapped.operators};
    return &state->plugin;
}
