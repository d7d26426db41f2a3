// engine/api/engine.c: the engine: what it owns, in which order it comes and goes.
#include "engine/api/objects.h"

#include "backends/ref/ref_plugin.h"
#include "engine/base/clock.h"
#include "engine/base/quota.h"
#include "engine/exec/recorder.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void retain(weir__runtime_t *runtime)
{
    atomic_fetch_add_explicit(&((weir_engine_t *)runtime)->references, 1, memory_order_relaxed);
}

// Artifacts that a plugin had open and never gave back. No plugin runs any more.
static void close_blobs(weir_engine_t *engine)
{
    for (uint32_t i = 0; i < WEIR__BLOBS_MAX; i++)
        if (engine->blobs[i]) {
            weir__cache_view_release(engine->blobs[i]);
            weir__heap_free(&engine->runtime.heap, engine->blobs[i]);
        }
}

static void release(weir__runtime_t *runtime)
{
    weir_engine_t *engine = (weir_engine_t *)runtime; // its first member
    if (atomic_fetch_sub_explicit(&engine->references, 1, memory_order_acq_rel) != 1)
        return;
    // Threads first, then devices (after which nothing writes any more), then what they wrote to.
    weir__timer_free(&runtime->timer);
    weir__recorder_free(runtime->recorder);
    for (uint32_t i = 0; i < runtime->team_count; i++)
        weir__team_free(runtime->teams[i]);
    weir__heap_free(&runtime->heap, runtime->teams);
    weir__devices_close(&runtime->registry);
    weir__quarantine_sweep(runtime, true);
    weir__registry_free(&runtime->registry);
    close_blobs(engine);
    pthread_mutex_destroy(&runtime->quarantine_lock);
    weir__timelines_free(&runtime->timelines);
    weir__cache_close(runtime->cache);
    free(engine);
}

static weir_code_t blob_get(
    void *user, weir__hash_t key, const void **out_data, uint64_t *out_bytes)
{
    weir__runtime_t *runtime = user;
    weir__view_t *view = weir__heap_calloc(&runtime->heap, 1, sizeof *view);
    if (!view)
        return WEIR_RESOURCE_EXHAUSTED;
    if (!weir__cache_get(runtime->cache, key, view)) {
        weir__heap_free(&runtime->heap, view);
        return WEIR_NOT_FOUND;
    }
    *out_data = view->data;
    *out_bytes = view->bytes;
    pthread_mutex_lock(&runtime->registry.lock);
    weir_engine_t *engine = (weir_engine_t *)runtime;
    for (uint32_t i = 0; i < WEIR__BLOBS_MAX; i++)
        if (!engine->blobs[i]) {
            engine->blobs[i] = view;
            view = NULL;
            break;
        }
    pthread_mutex_unlock(&runtime->registry.lock);
    if (!view)
        return WEIR_OK;
    weir__cache_view_release(view);
    weir__heap_free(&runtime->heap, view);
    return WEIR_LIMIT;
}

static weir_code_t blob_put(void *user, weir__hash_t key, const void *data, uint64_t bytes)
{
    weir__runtime_t *runtime = user;
    weir__view_t view;
    weir_status_t status =
        weir__cache_put_data(runtime->cache, &runtime->heap, key, data, bytes, &view);
    weir_code_t code = weir_status_code(status);
    weir_status_free(status);
    if (code == WEIR_OK)
        weir__cache_view_release(&view);
    return code;
}

static void blob_release(void *user, const void *data)
{
    weir__runtime_t *runtime = user;
    weir_engine_t *engine = user;
    weir__view_t *view = NULL;
    pthread_mutex_lock(&runtime->registry.lock);
    for (uint32_t i = 0; i < WEIR__BLOBS_MAX && !view; i++)
        if (engine->blobs[i] && engine->blobs[i]->data == data) {
            view = engine->blobs[i];
            engine->blobs[i] = NULL;
        }
    pthread_mutex_unlock(&runtime->registry.lock);
    if (!view)
        return;
    weir__cache_view_release(view);
    weir__heap_free(&runtime->heap, view);
}

// left: whole CPUs of the quota that the teams before left over. Rounded down: a thread more than
// the quota uses it up before the period ends, and then all of them stop.
static weir_status_t start_team(
    weir__runtime_t *runtime, const weir_team_options_t *options, uint64_t spin_ns, uint64_t *left)
{
    uint32_t threads;
    WEIR_TRY(weir__cpu_count(options->cpus, &threads));
    if (options->threads)
        threads = options->threads;
    else
        threads = (uint32_t)WEIR_MIN(WEIR_MIN(threads, WEIR__LEASE_MAX + 1u), WEIR_MAX(*left, 1u));
    if (threads > WEIR__LEASE_MAX + 1)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "%u threads were asked for; at most %d are possible in a team", threads,
            WEIR__LEASE_MAX + 1);
    *left -= WEIR_MIN(*left, threads);
    WEIR_TRY(weir__team_create(
        &runtime->heap, threads, options->cpus, spin_ns, &runtime->teams[runtime->team_count]));
    runtime->team_count++;
    return NULL;
}

static weir_status_t start_teams(weir__runtime_t *runtime, const weir_engine_options_t *options)
{
    weir_team_options_t whole = {.cpus = options->cpus, .threads = options->threads};
    bool several = options->teams || options->team_count;
    if (several && (!options->teams || !options->team_count || options->cpus || options->threads))
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "give teams with their number and without threads and cpus of the whole");
    if (options->team_count > WEIR_TEAMS_MAX)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT, "%u teams were asked for; at most %d are possible",
            options->team_count, WEIR_TEAMS_MAX);
    const weir_team_options_t *teams = several ? options->teams : &whole;
    uint32_t count = several ? options->team_count : 1;
    uint64_t milli = weir__quota_milli(""), left = milli ? milli / 1000 : UINT64_MAX;
    runtime->teams = weir__heap_calloc(&runtime->heap, count, sizeof *runtime->teams);
    if (!runtime->teams)
        return weir__status_no_memory();
    for (uint32_t i = 0; i < count; i++) {
        if (several && !teams[i].cpus)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "team %u has no cpus", i);
        WEIR_TRY(start_team(runtime, &teams[i], options->spin_ns, &left));
    }
    runtime->team = runtime->teams[0];
    return NULL;
}

static weir_status_t add_feeders(weir__runtime_t *runtime, const weir_engine_options_t *options)
{
    for (uint32_t i = 0; i < options->feeder_count; i++) {
        const weir_feeder_options_t *feeder = options->feeders ? &options->feeders[i] : NULL;
        uint32_t count;
        if (!feeder || !feeder->pci || !feeder->cpus)
            return WEIR_ERR(WEIR_INVALID_ARGUMENT, "feeder %u has no address or no cpus", i);
        WEIR_TRY(weir__cpu_count(feeder->cpus, &count));
        WEIR_TRY(weir__registry_add_feeder(&runtime->registry, feeder->pci, feeder->cpus));
    }
    return NULL;
}

static weir_status_t start(weir_engine_t *engine, const weir_engine_options_t *options)
{
    weir__runtime_t *runtime = &engine->runtime;
    WEIR_TRY(weir__recorder_create(&runtime->heap, &runtime->recorder));
    WEIR_TRY(start_teams(runtime, options));
    WEIR_TRY(weir__cache_open(
        &runtime->heap, &runtime->log, options->cache_dir, options->cache_bytes, &runtime->cache));
    weir__registry_init(
        &runtime->registry, &runtime->heap, &runtime->log, runtime->team, &runtime->timelines);
    engine->registry_made = true;
    WEIR_TRY(add_feeders(runtime, options));
    runtime->registry.blobs =
        (weir__blobs_t){.user = engine, .get = blob_get, .put = blob_put, .release = blob_release};
    // Not in a program with more rights than its caller: a path names code.
    const char *path =
        options->plugin_path ? options->plugin_path : secure_getenv("WEIR_PLUGIN_PATH");
    return weir__registry_load(&runtime->registry, weir_ref_plugin, path, options->plugin_options);
}

weir_status_t weir_engine_create(const weir_engine_options_t *options, weir_engine_t **out_engine)
{
    weir_engine_options_t known = {.size = sizeof known};
    if (options)
        memcpy(&known, options, WEIR_MIN(options->size, sizeof known));
    weir_engine_t *engine = calloc(1, sizeof *engine);
    if (!engine)
        return weir__status_no_memory();
    weir__runtime_t *runtime = &engine->runtime;
    atomic_init(&engine->references, 1);
    weir__limits_fill(known.limits, &runtime->limits);
    weir__heap_init(&runtime->heap, known.allocator, runtime->limits.peak_bytes);
    runtime->log = (weir__log_t){
        .sink = known.log, .user_data = known.log_user_data, .level = known.log_level};
    runtime->evaluate = weir_ref_run;
    runtime->retain = retain;
    runtime->release = release;
    weir__timelines_init(&runtime->timelines, &runtime->heap);
    weir__timer_init(&runtime->timer);
    pthread_mutex_init(&runtime->quarantine_lock, NULL);
    weir_status_t status = start(engine, &known);
    if (!status) {
        *out_engine = engine;
        return NULL;
    }
    if (!engine->registry_made)
        weir__registry_init(
            &runtime->registry, &runtime->heap, &runtime->log, runtime->team, &runtime->timelines);
    release(runtime);
    return status;
}

void weir_engine_free(weir_engine_t *engine)
{
    if (engine)
        release(&engine->runtime);
}

uint32_t weir_device_count(const weir_engine_t *engine)
{
    return engine->runtime.registry.device_count;
}

weir_status_t weir_device_describe(
    const weir_engine_t *engine, uint32_t index, weir_device_description_t *out_description)
{
    const weir__registry_t *registry = &engine->runtime.registry;
    if (index >= registry->device_count)
        return WEIR_ERR(WEIR_NOT_FOUND, "device %u: there are %u", index, registry->device_count);
    const weir__device_t *device = &registry->devices[index];
    const weir__plugin_t *plugin = device->plugin;
    // Constant to the caller; others may open and lose the device meanwhile.
    pthread_mutex_t *opening = (pthread_mutex_t *)(uintptr_t)&registry->opening;
    pthread_mutex_lock(opening);
    const weir__opened_t *opened = device->opened;
    bool lost = opened && atomic_load(&opened->lost);
    pthread_mutex_unlock(opening);
    weir_device_description_t known = {
        .size = out_description->size, .usable = device->usable && !lost};
    snprintf(known.name, sizeof known.name, "%s", device->name);
    if (plugin->abi.version)
        snprintf(known.version, sizeof known.version, "%s", plugin->abi.version);
    if (lost)
        snprintf(known.text, sizeof known.text, "was lost: %s", opened->lost_text);
    else
        snprintf(
            known.text, sizeof known.text, "%s", device->text[0] ? device->text : plugin->reason);
    snprintf(known.path, sizeof known.path, "%s", plugin->path);
    memcpy(out_description, &known, WEIR_MIN(out_description->size, sizeof known));
    return NULL;
}

weir_status_t weir_device_reopen(weir_engine_t *engine, const char *name)
{
    weir__registry_t *registry = &engine->runtime.registry;
    weir__device_t *device;
    WEIR_TRY(weir__registry_device(registry, name, strlen(name), &device));
    if (!device->programs)
        return WEIR_ERR(WEIR_INVALID_ARGUMENT,
            "device \"%s\" runs on host memory: it is never lost and cannot be reopened", name);
    return weir__device_reopen(registry, device);
}

uint32_t weir_engine_threads(const weir_engine_t *engine)
{
    uint32_t threads = 0;
    for (uint32_t i = 0; i < engine->runtime.team_count; i++)
        threads += weir__team_threads(engine->runtime.teams[i]);
    return threads;
}

uint32_t weir_engine_team_threads(const weir_engine_t *engine, uint32_t team)
{
    const weir__runtime_t *runtime = &engine->runtime;
    return team < runtime->team_count ? weir__team_threads(runtime->teams[team]) : 0;
}

uint64_t weir_quota_read(const char *root)
{
    return weir__quota_milli(root);
}

void weir_engine_memory(
    const weir_engine_t *engine, uint64_t *out_now_bytes, uint64_t *out_peak_bytes)
{
    const weir__heap_t *heap = &engine->runtime.heap;
    *out_now_bytes = atomic_load_explicit(&heap->now_bytes, memory_order_relaxed);
    *out_peak_bytes = atomic_load_explicit(&heap->peak_bytes, memory_order_relaxed);
}

uint64_t weir_now_ns(void)
{
    return weir__now_ns();
}

const char *weir_version(void)
{
    return WEIR_VERSION;
}
