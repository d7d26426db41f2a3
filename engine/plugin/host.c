// engine/plugin/host.c: the services that a plugin gets from the engine (weir_host_t).
#include "engine/plugin/registry.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static weir__host_t *host_of(const weir_host_t *abi)
{
    return (weir__host_t *)(uintptr_t)abi; // abi is its first member
}

static void *host_alloc(const weir_host_t *abi, uint64_t bytes)
{
    return weir__heap_alloc(host_of(abi)->registry->heap, bytes);
}

static void host_free(const weir_host_t *abi, void *memory)
{
    weir__heap_free(host_of(abi)->registry->heap, memory);
}

static weir_code_t host_fail(const weir_host_t *abi, weir_code_t code, const char *format, ...)
{
    weir__host_t *host = host_of(abi);
    pthread_t self = pthread_self();
    pthread_mutex_lock(&host->lock);
    uint32_t slot = 0;
    for (uint32_t i = 0; i < WEIR__FAIL_SLOTS; i++) {
        if (host->failures[i].used && pthread_equal(host->failures[i].thread, self)) {
            slot = i;
            break;
        }
        if (!host->failures[i].used)
            slot = i;
    }
    host->failures[slot].used = true;
    host->failures[slot].thread = self;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(host->failures[slot].text, sizeof host->failures[slot].text, format, arguments);
    va_end(arguments);
    pthread_mutex_unlock(&host->lock);
    return code;
}

void weir__host_take_failure(weir__host_t *host, char *out_text, size_t bytes)
{
    pthread_t self = pthread_self();
    out_text[0] = '\0';
    pthread_mutex_lock(&host->lock);
    for (uint32_t i = 0; i < WEIR__FAIL_SLOTS; i++)
        if (host->failures[i].used && pthread_equal(host->failures[i].thread, self)) {
            snprintf(out_text, bytes, "%s", host->failures[i].text);
            host->failures[i].used = false;
        }
    pthread_mutex_unlock(&host->lock);
}

static void host_log(const weir_host_t *abi, int32_t level, const char *text)
{
    weir_log_level_t known = level < 0   ? WEIR_LOG_ERROR
                             : level > 3 ? WEIR_LOG_DEBUG
                                         : (weir_log_level_t)level;
    weir__log(host_of(abi)->registry->log, known, "plugin", "%s", text);
}

typedef struct each {
    weir_code_t (*body)(void *user, uint64_t i);
    void *user;
} each_t;

static weir_code_t run_each(void *user, uint32_t worker, uint64_t first, uint64_t count)
{
    (void)worker;
    const each_t *each = user;
    weir_code_t code = WEIR_OK;
    for (uint64_t i = first; i < first + count && code == WEIR_OK; i++)
        code = each->body(each->user, i);
    return code;
}

static weir_code_t host_parallel_for(
    const weir_host_t *abi, uint64_t count, weir_code_t (*body)(void *user, uint64_t i), void *user)
{
    weir__lease_t lease;
    each_t each = {.body = body, .user = user};
    weir__lease_begin(host_of(abi)->registry->team, 0, &lease);
    weir_code_t code = weir__lease_run(&lease, count, run_each, &each);
    weir__lease_end(&lease);
    return code;
}

// What the text says of the option `name`, for an entry: the plugin's table of options is not known
// yet, nor its name but by its file.
static const char *early_option(weir__host_t *host, const char *name)
{
    const weir__plugin_t *plugin = (const weir__plugin_t *)host; // its first member
    const char *value = NULL;
    size_t value_length = 0, length = strlen(plugin->name), name_length = strlen(name);
    for (const char *text = host->registry->option_text; text && *text;) {
        size_t entry = strcspn(text, ",");
        if (entry > length + name_length + 1 && strncmp(text, plugin->name, length) == 0 &&
            text[length] == '.' && strncmp(text + length + 1, name, name_length) == 0 &&
            text[length + 1 + name_length] == '=') {
            value = text + length + name_length + 2;
            value_length = entry - length - name_length - 2;
        }
        text += entry + (text[entry] == ',');
    }
    return value ? weir__zone_string(&host->registry->zone, value, value_length) : NULL;
}

static const char *host_option(const weir_host_t *abi, const char *name)
{
    if (!host_of(abi)->options)
        return early_option(host_of(abi), name);
    for (const char *const *option = host_of(abi)->options; option && *option; option += 2)
        if (strcmp(option[0], name) == 0)
            return option[1];
    return NULL;
}

typedef struct helper {
    weir__host_t *host;
    pthread_t thread;
    void (*body)(void *user);
    void *user;
} helper_t;

static void *helper_main(void *argument)
{
    helper_t *helper = argument;
    helper->body(helper->user);
    return NULL;
}

static weir_code_t host_thread_start(const weir_host_t *abi, const char *name,
    void (*body)(void *user), void *user, void **out_thread)
{
    weir__host_t *host = host_of(abi);
    helper_t *helper = host_alloc(abi, sizeof *helper);
    if (!helper)
        return WEIR_RESOURCE_EXHAUSTED;
    *helper = (helper_t){.host = host, .body = body, .user = user};
    if (pthread_create(&helper->thread, NULL, helper_main, helper)) {
        host_free(abi, helper);
        return WEIR_RESOURCE_EXHAUSTED;
    }
    char text[16];
    snprintf(text, sizeof text, "%s", name ? name : "weir-plugin");
    pthread_setname_np(helper->thread, text);
    const char *cpus = atomic_load(&host->feeder_cpus);
    if (cpus && atomic_load(&host->feeder_opener) == (unsigned long)pthread_self())
        weir__cpus_bind(helper->thread, cpus);
    atomic_fetch_add(&host->threads, 1);
    *out_thread = helper;
    return WEIR_OK;
}

static void host_thread_join(const weir_host_t *abi, void *thread)
{
    helper_t *helper = thread;
    if (!helper)
        return;
    pthread_join(helper->thread, NULL);
    atomic_fetch_sub(&helper->host->threads, 1);
    host_free(abi, helper);
}

static weir_code_t host_timeline_signal(const weir_host_t *abi, uint64_t timeline, uint64_t value)
{
    return weir__timeline_signal(host_of(abi)->registry->timelines, timeline, value);
}

static weir_code_t host_timeline_fail(
    const weir_host_t *abi, uint64_t timeline, weir_code_t code, const char *text)
{
    return weir__timeline_fail(host_of(abi)->registry->timelines, timeline, code, text);
}

// A plugin's key is its own: another plugin, or another build of it, never meets what it stored.
static weir__hash_t scoped_key(const weir_host_t *abi, const char *key)
{
    const weir__plugin_t *plugin = (const weir__plugin_t *)host_of(abi); // its first member
    const char *build = plugin->abi.build ? plugin->abi.build : "";
    weir__hash_t scope = weir__hash_join(
        weir__hash128(plugin->name, strlen(plugin->name)), weir__hash128(build, strlen(build)));
    return weir__hash_join(scope, weir__hash128(key, strlen(key)));
}

static weir_code_t host_blob_get(
    const weir_host_t *abi, const char *key, const void **out_data, uint64_t *out_bytes)
{
    const weir__blobs_t *blobs = &host_of(abi)->registry->blobs;
    return blobs->get ? blobs->get(blobs->user, scoped_key(abi, key), out_data, out_bytes)
                      : WEIR_NOT_FOUND;
}

static weir_code_t host_blob_put(
    const weir_host_t *abi, const char *key, const void *data, uint64_t bytes)
{
    const weir__blobs_t *blobs = &host_of(abi)->registry->blobs;
    return blobs->put ? blobs->put(blobs->user, scoped_key(abi, key), data, bytes)
                      : WEIR_UNAVAILABLE;
}

static void host_blob_release(const weir_host_t *abi, const void *data)
{
    const weir__blobs_t *blobs = &host_of(abi)->registry->blobs;
    if (blobs->release)
        blobs->release(blobs->user, data);
}

static void host_trace(const weir_host_t *abi, const weir_trace_record_t *records, uint32_t count)
{
    weir__trace_put(&host_of(abi)->registry->traces, records, count);
}

static const char *host_plugin_dir(const weir_host_t *abi)
{
    return host_of(abi)->directory;
}

void weir__host_init(weir__host_t *host, weir__registry_t *registry, const char *directory)
{
    host->registry = registry;
    host->directory = directory;
    pthread_mutex_init(&host->lock, NULL);
    host->abi = (weir_host_t){
        .head = WEIR_HEAD(weir_host_t),
        .alloc = host_alloc,
        .free = host_free,
        .fail = host_fail,
        .log = host_log,
        .parallel_for = host_parallel_for,
        .option = host_option,
        .thread_start = host_thread_start,
        .thread_join = host_thread_join,
        .timeline_signal = host_timeline_signal,
        .timeline_fail = host_timeline_fail,
        .blob_get = host_blob_get,
        .blob_put = host_blob_put,
        .blob_release = host_blob_release,
        .trace = host_trace,
        .plugin_dir = host_plugin_dir,
        .state = &host->plugin_state,
    };
}

void weir__host_free(weir__host_t *host)
{
    pthread_mutex_destroy(&host->lock);
}
