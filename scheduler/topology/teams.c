// scheduler/topology/teams.c: the decisions as an engine takes them (weir/topology.h).
//
// It must not decide: place.c does.
#include <stdlib.h>
#include <string.h>
#include <weir/topology.h>

#include "scheduler/topology/topology.h"

#define CPU_TEXT_BYTES 12 // of one number with its comma

struct weir_topology {
    weir__topology_t machine;
    weir__placement_t placement;
    weir_team_options_t *teams;     // [placement.team_count], whose texts are its own
    weir_feeder_options_t *feeders; // [machine.device_count], and theirs
};

void weir_topology_free(weir_topology_t *topology)
{
    if (!topology)
        return;
    for (uint32_t i = 0; topology->teams && i < topology->placement.team_count; i++)
        free((char *)(uintptr_t)topology->teams[i].cpus);
    for (uint32_t i = 0; topology->feeders && i < topology->machine.device_count; i++)
        free((char *)(uintptr_t)topology->feeders[i].cpus);
    free(topology->teams);
    free(topology->feeders);
    weir__placement_free(&topology->placement);
    weir__topology_free(&topology->machine);
    free(topology);
}

static weir_code_t write_teams(weir_topology_t *topology)
{
    weir__placement_t *placement = &topology->placement;
    topology->teams = calloc((size_t)placement->team_count + 1, sizeof(*topology->teams));
    if (!topology->teams)
        return WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < placement->team_count; i++) {
        weir__team_t *team = &placement->teams[i];
        const size_t bytes = (size_t)team->cpu_count * CPU_TEXT_BYTES + 1;
        char *text = malloc(bytes);
        if (!text)
            return WEIR_RESOURCE_EXHAUSTED;
        topology->teams[i] = (weir_team_options_t){
            .cpus = weir__topology_cpus_text(team->cpus, team->cpu_count, text, bytes),
            .threads = team->thread_count < team->cpu_count ? team->thread_count : 0};
    }
    return WEIR_OK;
}

static weir_code_t write_feeders(weir_topology_t *topology)
{
    const uint32_t count = topology->machine.device_count;
    topology->feeders = calloc((size_t)count + 1, sizeof(*topology->feeders));
    for (uint32_t i = 0; topology->feeders && i < count; i++) {
        char *text = malloc(CPU_TEXT_BYTES + 1);
        if (!text)
            return WEIR_RESOURCE_EXHAUSTED;
        topology->feeders[i] = (weir_feeder_options_t){.pci = topology->machine.devices[i].address,
            .cpus = weir__topology_cpus_text(
                &topology->placement.feeders[i].cpu, 1, text, CPU_TEXT_BYTES + 1)};
    }
    return topology->feeders ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
}

weir_status_t weir_topology_create(const char *xml, weir_topology_t **out_topology)
{
    weir_topology_t *topology = calloc(1, sizeof(*topology));
    const weir__topology_source_t source = {.xml = xml};
    const char *what = "cannot be read";
    weir_code_t code =
        topology ? weir__topology_read(&source, &topology->machine) : WEIR_RESOURCE_EXHAUSTED;
    if (code == WEIR_OK) {
        what = "has no CPU that may be used";
        code = weir__topology_place(&topology->machine, &topology->placement);
    }
    if (code == WEIR_OK)
        code = write_teams(topology);
    if (code == WEIR_OK)
        code = write_feeders(topology);
    if (code == WEIR_OK) {
        *out_topology = topology;
        return NULL;
    }
    weir_topology_free(topology);
    return weir_status_make(code, __FILE__, "%s %s", xml ? xml : "this machine",
        code == WEIR_RESOURCE_EXHAUSTED ? "takes more memory than there is" : what);
}

const weir_team_options_t *weir_topology_teams(const weir_topology_t *topology, uint32_t *out_count)
{
    *out_count = topology->placement.team_count;
    return topology->teams;
}

const weir_feeder_options_t *weir_topology_feeders(
    const weir_topology_t *topology, uint32_t *out_count)
{
    *out_count = topology->machine.device_count;
    return topology->feeders;
}

weir_status_t weir_topology_engine(const weir_engine_options_t *options, weir_engine_t **out_engine)
{
    weir_engine_options_t known = {.size = sizeof(known)};
    if (options)
        memcpy(&known, options, WEIR_MIN(options->size, sizeof(known)));
    known.size = sizeof(known);
    weir_topology_t *topology = NULL;
    if (!known.teams && !known.team_count && !known.threads && !known.cpus) {
        weir_status_free(weir_topology_create(NULL, &topology));
        if (topology)
            known.teams = weir_topology_teams(topology, &known.team_count);
        if (topology && !known.feeders)
            known.feeders = weir_topology_feeders(topology, &known.feeder_count);
    }
    weir_status_t status = weir_engine_create(&known, out_engine);
    weir_topology_free(topology);
    return status;
}
