// weir/engine.h: the engine owns the machine: plugins, threads, memory accounting, caches.
#ifndef WEIR_ENGINE_H
#define WEIR_ENGINE_H

#include <weir/limits.h>
#include <weir/log.h>
#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_engine weir_engine_t;

// Where memory comes from. Both are called from any thread. alloc returns memory aligned to
// `alignment` (a power of two) or NULL; free gets what alloc returned.
typedef struct weir_allocator {
    void *user_data;
    void *(*alloc)(void *user_data, size_t bytes, size_t alignment);
    void (*free)(void *user_data, void *memory);
} weir_allocator_t;

// Threads that compute together, near each other: on the cores of one L3 cache, say.
typedef struct weir_team_options {
    const char *cpus;  // where they may run, "0-3,8"
    uint32_t threads;  // 0: as many as these CPUs, and as a quota leaves after the teams before it
    uint32_t reserved; // 0
} weir_team_options_t;

#define WEIR_TEAMS_MAX 256

// Where a plugin's helper threads of one device belong: near it.
typedef struct weir_feeder_options {
    const char *pci;  // the device's address, "0000:41:00.0"
    const char *cpus; // "11"
} weir_feeder_options_t;

typedef struct weir_engine_options {
    uint32_t size; // sizeof(weir_engine_options_t)
    // Threads that compute, the caller of weir_session_run() included. 0: as many as this process
    // may use (affinity mask and cgroup quota).
    uint32_t threads;
    // Folders and plugin files, colon-separated, searched before the installed ones.
    // NULL: the environment's WEIR_PLUGIN_PATH. Never the working directory unless it says so.
    const char *plugin_path;
    // Where packed weights are kept between processes. NULL: the environment's WEIR_CACHE_DIR, else
    // weir/ below XDG_CACHE_HOME or ~/.cache. "": no cache.
    const char *cache_dir;
    const char
        *plugin_options; // "cpu.isa=avx2,cpu.x=1"; NULL: none. An unknown option is an error.
    const weir_limits_t *limits;       // NULL: defaults
    const weir_allocator_t *allocator; // NULL: the C library
    weir_log_fn log;                   // NULL: silent
    void *log_user_data;
    weir_log_level_t log_level; // the most talkative level passed on; 0: errors only
    // CPUs that the team may run on, "0-3,8". NULL: those of the calling thread's affinity mask.
    // With `threads` 0 their number is the number of threads.
    const char *cpus;
    // Threads of the team look for work so long before they sleep. Waking one that sleeps takes 2
    // to 50 us; while it looks, a CPU is busy. 0: they sleep at once, but look
    // for up to 100 us after a run of several threads while nobody else wants the CPU.
    uint64_t spin_ns;
    // A team for each of these instead of one for all; `threads` and `cpus` are then 0 and NULL. A
    // run has the threads of its session's team; plans and packed weights are everybody's. NULL:
    // one team. weir/topology.h has those that suit a machine with several L3 caches.
    const weir_team_options_t *teams;
    uint32_t team_count; // at most WEIR_TEAMS_MAX
    uint32_t feeder_count;
    // What cache_dir may hold. When an engine first makes something that is not there, what was not
    // used for the longest time is removed beyond that, and what nobody used for 30 days in any
    // case; not what an engine uses that is there now, which counts for at most half. What was used
    // within a day may take four times that while the disk has room. An engine that finds all it
    // needs removes nothing. A model takes about 2.5 times its weights; a warning says what one
    // that does not fit needs: it may be prepared anew at a later start. 0: 2 GiB.
    uint64_t cache_bytes;
    // Threads that a plugin starts while one of these devices is opened are bound there; those of
    // other devices run where the process may. NULL: none.
    const weir_feeder_options_t *feeders; // [feeder_count]
} weir_engine_options_t;

// Loads the plugins found, starts the worker teams.
// options: NULL for defaults that suit this machine.
// Owns:    the caller frees the engine after every object made from it.
// Threads: any.
// Errors:  INVALID_ARGUMENT (options), NOT_FOUND (a CPU that this process may not use),
//          RESOURCE_EXHAUSTED. A plugin that cannot work is not an error: see
//          weir_device_describe().
WEIR_API WEIR_MUST_USE weir_status_t weir_engine_create(
    const weir_engine_options_t *options, weir_engine_t **out_engine);

// Frees the engine; models, plans and sessions hold references, so the last one of those frees it.
// NULL is allowed. Threads: any. Errors: none.
WEIR_API void weir_engine_free(weir_engine_t *engine);

typedef struct weir_device_description {
    uint32_t size; // sizeof(weir_device_description_t), set by the caller
    uint32_t usable;
    char name[64];    // "cpu", "ref", "async:0"
    char version[32]; // of the plugin
    char text[256];   // what it is, or why it is not usable
    char path[512];   // of the plugin file; "" for what is linked in
} weir_device_description_t;

// Devices in the order in which plans prefer them, then those that cannot be used, with the reason.
// Threads: any. Errors: none.
WEIR_API uint32_t weir_device_count(const weir_engine_t *engine);

// Describes device `index`. Threads: any. Errors: NOT_FOUND past the last one.
WEIR_API WEIR_MUST_USE weir_status_t weir_device_describe(
    const weir_engine_t *engine, uint32_t index, weir_device_description_t *out_description);

// Closes the device `name` once its runs have ended and opens it anew, after it was lost (or to
// make it start afresh). Runs that are under way on it end with DEVICE_LOST; plans made before
// refuse to run on it from now on, so make new ones. Threads: any; blocks, so not from a
// weir_done_fn. Errors:  NOT_FOUND, INVALID_ARGUMENT (a device on host memory is never lost),
// UNAVAILABLE (it is
//          being reopened), or why it cannot be opened: it then stays lost.
WEIR_API WEIR_MUST_USE weir_status_t weir_device_reopen(weir_engine_t *engine, const char *name);

// Threads that compute, of all teams, the caller's included. Threads: any. Errors: none.
WEIR_API uint32_t weir_engine_threads(const weir_engine_t *engine);

// Threads of team `team`; 0 past the last one. Threads: any. Errors: none.
WEIR_API uint32_t weir_engine_team_threads(const weir_engine_t *engine, uint32_t team);

// Thousandths of a CPU that this process may use in the long run, by the control groups (v1 and
// v2) that it is in and those above them; 0: no quota. It caps the numbers of threads that are not
// given. root: "", or a folder in which to find /proc and /sys instead. Reads files.
// Threads: any. Errors: none, what cannot be read is no quota.
WEIR_API uint64_t weir_quota_read(const char *root);

// Bytes that the engine holds now and held at most, packed weights in mapped cache files not
// included. Threads: any. Errors: none.
WEIR_API void weir_engine_memory(
    const weir_engine_t *engine, uint64_t *out_now_bytes, uint64_t *out_peak_bytes);

// Keeps a note of the caller's in the cache's folder, for this program's next process or another
// one: something that was learned and can be learned again. It takes the place of an older one of
// this name. The cache forgets what was not used for the longest time.
// name:    a text that nobody else uses, with the versions of whatever makes the note useless.
// Threads: any.
// Errors:  INVALID_ARGUMENT, LIMIT (more than 16 MiB), UNAVAILABLE (there is no folder, or it
//          cannot be written), RESOURCE_EXHAUSTED.
WEIR_API WEIR_MUST_USE weir_status_t weir_engine_keep_note(
    weir_engine_t *engine, const char *name, const void *data, uint64_t bytes);

// Reads a note. *out_bytes: its size, also where that is more than `capacity`.
// It was whole when it was written; who may write to the folder may have written another.
// Threads: any.
// Errors:  INVALID_ARGUMENT, NOT_FOUND, RESOURCE_EXHAUSTED (capacity).
WEIR_API WEIR_MUST_USE weir_status_t weir_engine_read_note(
    weir_engine_t *engine, const char *name, void *data, uint64_t capacity, uint64_t *out_bytes);

// Nanoseconds of the monotonic clock that deadlines are given in. Threads: any. Errors: none.
WEIR_API uint64_t weir_now_ns(void);
#define WEIR_MS 1000000ull

// "0.1.0". Owns: a static string. Threads: any. Errors: none.
WEIR_API const char *weir_version(void);

#ifdef __cplusplus
}
#endif
#endif
