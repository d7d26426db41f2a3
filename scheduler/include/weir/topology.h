// weir/topology.h: which threads belong together on this machine: one team for each L3 cache.
//
// For embedders: weir_topology_engine() in the place of weir_engine_create(). How it is decided:
// docs/topology.md; `weir topology` shows it. Link libweir_scheduler beside libweir.
#ifndef WEIR_TOPOLOGY_H
#define WEIR_TOPOLOGY_H

#include <weir/engine.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct weir_topology weir_topology_t;

// Reads a machine and decides who sits where: cores, caches and PCI by hwloc, within the calling
// thread's affinity mask and the control groups' quota.
// xml:     a machine's description as `lstopo FILE.xml` writes it there, all of whose CPUs may be
//          used; NULL: this machine.
// Owns:    the caller frees it. Threads: any. Cost: some milliseconds.
// Errors:  NOT_FOUND (no such file), INVALID_ARGUMENT (it is no machine; no CPU may be used),
//          RESOURCE_EXHAUSTED.
WEIR_API WEIR_MUST_USE weir_status_t weir_topology_create(
    const char *xml, weir_topology_t **out_topology);

// NULL is allowed. Threads: any. Errors: none.
WEIR_API void weir_topology_free(weir_topology_t *topology);

// Its teams, for `teams` and `team_count` of weir_engine_options_t: the strongest cores first, then
// the larger ones; one thread for each core, fewer where a quota says so.
// Owns: they live as long as the topology. Threads: any. Errors: none.
WEIR_API const weir_team_options_t *weir_topology_teams(
    const weir_topology_t *topology, uint32_t *out_count);

// Where the helper threads of its PCI devices belong, for `feeders` and `feeder_count`.
// Owns: they live as long as the topology. Threads: any. Errors: none.
WEIR_API const weir_feeder_options_t *weir_topology_feeders(
    const weir_topology_t *topology, uint32_t *out_count);

// weir_engine_create() with the teams and feeders of this machine. Options that say themselves what
// computes (teams, threads or cpus) are taken as they are, and so is a machine that cannot be read.
// Owns, threads, errors: as weir_engine_create().
WEIR_API WEIR_MUST_USE weir_status_t weir_topology_engine(
    const weir_engine_options_t *options, weir_engine_t **out_engine);

#ifdef __cplusplus
}
#endif
#endif
