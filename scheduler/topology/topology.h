// scheduler/topology/topology.h: what a machine is made of, and who should sit where on it.
//
// Two halves: discovery (discover.c, the only file that knows hwloc; the engine says what a
// container may use) fills a plain struct, and a pure function decides on it (place.c). So that the
// decisions can be tested on machines that are not here: synthetic ones, and others' as XML.
//
// It must not bind or start anything: it says where things belong.
#ifndef WEIR_SCHEDULER_TOPOLOGY_H
#define WEIR_SCHEDULER_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weir/plugin.h>

#define WEIR__TOPOLOGY_NONE UINT32_MAX

// A CPU as the operating system counts them (a hardware thread).
typedef struct weir__topology_cpu {
    uint32_t os_index;
    uint32_t core;
    bool is_allowed; // by the affinity mask and the cgroup's cpuset
} weir__topology_cpu_t;

typedef struct weir__topology_core {
    uint32_t group;
    uint32_t kind; // 0: the strongest kind there is
} weir__topology_core_t;

// Cores that share their last level of cache; where there is none, those of a NUMA node.
typedef struct weir__topology_group {
    uint32_t node;
    uint32_t package;
    uint64_t cache_bytes; // 0: the cores share a node only
} weir__topology_group_t;

typedef struct weir__topology_node {
    uint32_t os_index;
    uint64_t memory_bytes;
    bool is_allowed;
} weir__topology_node_t;

typedef struct weir__topology_package {
    char name[128]; // "AMD EPYC 9R14"; "" when unknown
} weir__topology_package_t;

// A GPU or another accelerator on PCI.
typedef struct weir__topology_device {
    char address[32]; // "0000:41:00.0"
    char name[128];   // "NVIDIA Corporation GH100"; "" when unknown
    uint32_t node;    // WEIR__TOPOLOGY_NONE: the machine does not say where
} weir__topology_device_t;

// Counted arrays; members name each other by index into them. CPUs, cores and groups are in hwloc's
// logical order: neighbours are near each other.
typedef struct weir__topology {
    uint32_t cpu_count, core_count, group_count, node_count, package_count, device_count;
    uint32_t kind_count;  // 1 on machines that are not hybrid
    uint64_t quota_milli; // thousandths of CPUs that the cgroup allows; 0: no quota
    weir__topology_cpu_t *cpus;
    weir__topology_core_t *cores;
    weir__topology_group_t *groups;
    weir__topology_node_t *nodes;
    weir__topology_package_t *packages;
    weir__topology_device_t *devices;
} weir__topology_t;

typedef struct weir__topology_source {
    const char *xml;       // a file as hwloc's lstopo writes it; NULL: this machine
    const char *synthetic; // or a description as hwloc takes it, "pack:2 l3:4 core:8 pu:1"
} weir__topology_source_t;

// Reads a machine. source: NULL for this one, whose affinity mask and quota then count; of others
// all CPUs are allowed. Owns: weir__topology_free(). Threads: any; for this machine the mask is
// that of the calling thread. Errors: NOT_FOUND (no such file), INVALID_ARGUMENT (not a topology),
// RESOURCE_EXHAUSTED.
weir_code_t weir__topology_read(
    const weir__topology_source_t *source, weir__topology_t *out_topology);
// Frees the arrays; a zeroed struct is allowed.
void weir__topology_free(weir__topology_t *topology);

// ---- Decisions

#define WEIR__TEAM_THREADS_MAX 64u // as many as a team of an engine can have

// Threads that compute together on one request, near each other.
typedef struct weir__team {
    uint32_t group;
    uint32_t kind;
    uint32_t thread_count; // below cpu_count where a quota or WEIR__TEAM_THREADS_MAX says so
    uint32_t cpu_count;
    uint32_t *cpus; // [cpu_count] os_index: one for each core, so that no two share one
} weir__team_t;

// The thread that feeds a device, and its pinned memory.
typedef struct weir__feeder {
    uint32_t cpu;          // os_index
    uint32_t staging_node; // index into nodes, where staging memory belongs; NONE: none is allowed
    bool is_near;          // the CPU is of the device's node
    bool is_shared;        // the CPU is also one of a team
} weir__feeder_t;

typedef struct weir__placement {
    uint32_t team_count;
    uint32_t thread_count;   // of all teams
    weir__team_t *teams;     // the ones to use first come first
    weir__feeder_t *feeders; // [device_count of the topology]
} weir__placement_t;

// Decides. It is a pure function of the struct.
// Teams:   one for each group and kind of core, of its allowed cores, one CPU each: a second
//          hardware thread adds nothing to a core that multiplies all the time, and kinds in one
//          team would wait for the slowest. Strongest kind first, then larger teams.
// Quota:   whole CPUs of it are threads, at least one; they fill teams from the front. Rounding up
//          would have all threads stopped together at the end of each period of 100 ms. What is
//          left over is the loop's and the feeders'.
// Feeders: near the device: the second hardware thread of a core if there is one, else a core that
//          its team gives up while three quarters stay, else a CPU shared with a team. Staging
//          memory on the device's node; if that is unknown or not allowed, on the feeder's.
// Owns:    weir__placement_free(). Errors: RESOURCE_EXHAUSTED, INVALID_ARGUMENT (no CPU is
// allowed).
weir_code_t weir__topology_place(
    const weir__topology_t *topology, weir__placement_t *out_placement);
// Frees the arrays; a zeroed struct is allowed.
void weir__placement_free(weir__placement_t *placement);

// Writes CPUs as "0-3,8"; sorts them first. Cut at out_bytes. Returns `out`.
char *weir__topology_cpus_text(uint32_t *cpus, uint32_t count, char *out, size_t out_bytes);

#endif
