// engine/plugin/registry.h: the plugins of one engine and the devices they offer.
//
// Loading, the handshake, host services. Plugins are never unloaded: their code may be running when
// an engine goes, and a second engine may use them.
#ifndef WEIR_PLUGIN_REGISTRY_H
#define WEIR_PLUGIN_REGISTRY_H

#include "engine/base/hash.h"
#include "engine/base/heap.h"
#include "engine/base/log.h"
#include "engine/base/status.h"
#include "engine/base/team.h"
#include "engine/base/timeline.h"
#include "engine/base/zone.h"
#include "engine/plugin/trace.h"
#include <stdbool.h>

struct weir__registry;

// The artifact cache as plugins see it; NULL functions: no cache. (The engine fills it in: plugin/
// does not know cache/.)
typedef struct weir__blobs {
    void *user;
    weir_code_t (*get)(void *user, weir__hash_t key, const void **out_data, uint64_t *out_bytes);
    weir_code_t (*put)(void *user, weir__hash_t key, const void *data, uint64_t bytes);
    void (*release)(void *user, const void *data);
} weir__blobs_t;

#define WEIR__FAIL_SLOTS (WEIR__LEASE_MAX + 1) // threads of one phase, or of packing

// What a plugin gets as its weir_host_t (the first member).
typedef struct weir__host {
    weir_host_t abi;
    struct weir__registry *registry;
    const char *directory;
    const char *const *options; // name, value, name, value …, NULL; NULL: not applied yet
    void *plugin_state;         // abi.state points here
    atomic_uint threads;        // helper threads running
    // While a device is opened that has a feeder: by whom, and where its threads belong.
    _Atomic(const char *) feeder_cpus;
    atomic_ulong feeder_opener;
    pthread_mutex_t lock;
    struct {
        pthread_t thread;
        bool used;
        char text[256];
    } failures[WEIR__FAIL_SLOTS]; // what each thread's call said last
} weir__host_t;

typedef struct weir__plugin {
    weir__host_t host;
    weir_plugin_t abi;            // copied by size
    weir_device_table_t device;   // copied by size; all NULL: L0 only
    const weir_kernel_t *kernels; // [kernel_count] copied by size
    uint32_t kernel_count;
    struct weir__operator *operators; // [operator_count], see operators.h
    uint32_t operator_count;
    char path[512];   // "": linked in
    char reason[256]; // what probe() said, or why it is not usable
    bool introduced;  // its entry gave a table of this header: it is shut down, used or not
    bool starved;     // there was no memory for its tables
    char name[32];
    bool usable;
} weir__plugin_t;

typedef struct weir__opened weir__opened_t; // device.h

typedef struct weir__device {
    char name[64]; // "cpu", "async", "async:1"
    weir__plugin_t *plugin;
    bool usable;
    bool programs;   // runs slices; otherwise the engine runs the plugin's kernels on host memory
    bool own_memory; // of one with programs: tensors are copied there and back
    bool stepwise;   // of one with programs: by execute(), node by node (L1); otherwise by launch()
    bool on_request; // no plan uses it unless it names it
    char pci[16];    // "": unknown
    uint32_t index;  // in the plugin
    weir_handle_t handle;   // of `opened`, while plans are made; 0: not open
    weir__opened_t *opened; // on first use; under registry.opening
    bool reopening;
    char arch[32];
    char text[256];
} weir__device_t;

// Where threads of the device at a PCI address belong.
typedef struct weir__feeder {
    struct weir__feeder *next;
    const char *pci, *cpus;
} weir__feeder_t;

typedef struct weir__registry {
    weir__heap_t *heap;
    const weir__log_t *log;
    weir__team_t *team;
    weir__timelines_t *timelines;
    weir__blobs_t blobs;
    weir__zone_t zone;
    weir__plugin_t **plugins;
    uint32_t plugin_count, plugin_capacity;
    weir__device_t *devices; // in order of preference; ref is the last usable one
    uint32_t device_count, device_capacity;
    weir__feeder_t *feeders;
    const char *option_text; // as the user wrote it; for entries, which come before it is checked
    const char *const *options;
    pthread_mutex_t lock;
    pthread_mutex_t opening; // devices
    weir__traces_t traces;
} weir__registry_t;

typedef const weir_plugin_t *(*weir__plugin_entry_t)(const weir_host_t *host);

void weir__registry_init(weir__registry_t *registry, weir__heap_t *heap, const weir__log_t *log,
    weir__team_t *team, weir__timelines_t *timelines);
// Notes where a device's helper threads belong; texts are copied. Before any device is opened.
weir_status_t weir__registry_add_feeder(
    weir__registry_t *registry, const char *pci, const char *cpus);
// Adds the plugin that is linked in, then all of `search_path` (folders and files, ':' between) and
// the installed folder. options: "cpu.isa=avx2,…" or NULL. A plugin that cannot be used is kept
// with the reason; a bad or unknown option is an error.
weir_status_t weir__registry_load(weir__registry_t *registry, weir__plugin_entry_t linked_in,
    const char *search_path, const char *options);
// Calls shutdown() of every plugin that gave its table, frees all but the code. Devices are closed.
void weir__registry_free(weir__registry_t *registry);

// The usable device of that name ("cuda" and "cuda:0" are the same). NOT_FOUND or UNAVAILABLE say
// what to do.
weir_status_t weir__registry_device(
    weir__registry_t *registry, const char *name, size_t name_length, weir__device_t **out_device);
// A status for a plugin's call that returned `code`, with what it said through host->fail().
weir_status_t weir__plugin_status(weir__plugin_t *plugin, weir_code_t code, const char *call);

// Notes that the plugin cannot be used, and why.
void weir__plugin_refuse(weir__plugin_t *plugin, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
// Copies a struct of the other side: min(their size, ours), the rest zero; never half a pointer.
// false: theirs holds nothing but a head.
bool weir__plugin_copy_sized(void *to, size_t to_bytes, const void *from, size_t from_bytes);

// Fills in the services of `host` (host.c).
void weir__host_init(weir__host_t *host, weir__registry_t *registry, const char *directory);
void weir__host_free(weir__host_t *host);
// What the calling thread said last through fail(), "" if nothing; forgets it.
void weir__host_take_failure(weir__host_t *host, char *out_text, size_t bytes);

#endif
