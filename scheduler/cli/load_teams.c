// weir load: the teams of its engine: those that were asked for, else those that suit the machine.
//
// It must not decide: scheduler/topology does.
#include <stdlib.h>
#include <string.h>
#include <weir/topology.h>

#include "engine/cli/command.h"
#include "scheduler/cli/load.h"

void weir__load_teams_free(weir__load_teams_t *teams)
{
    weir_topology_free(teams->topology);
    free(teams->own);
    free(teams->text);
    *teams = (weir__load_teams_t){0};
}

// "0-3;4-7", in place.
static weir_code_t split(weir__load_teams_t *out, weir__cli_fault_t *fault)
{
    char *rest = NULL;
    for (char *cpus = strtok_r(out->text, ";", &rest); cpus; cpus = strtok_r(NULL, ";", &rest)) {
        if (out->count == WEIR_TEAMS_MAX)
            return weir__cli_fault_usage(fault, "--teams: at most %d teams", WEIR_TEAMS_MAX);
        out->own[out->count++] = (weir_team_options_t){.cpus = cpus};
    }
    return out->count ? WEIR_OK
                      : weir__cli_fault_usage(fault, "--teams: write CPUs, as in \"0-3;4-7\"");
}

weir_code_t weir__load_teams_find(
    const weir__load_options_t *options, weir__load_teams_t *out_teams, weir__cli_fault_t *fault)
{
    weir__load_teams_t *out = out_teams;
    *out = (weir__load_teams_t){0};
    if (options->teams && options->threads.is_set)
        return weir__cli_fault_usage(
            fault, "--teams and --threads: a team has a thread for each of its CPUs");
    if (options->threads.is_set)
        return WEIR_OK;
    if (!options->teams) { // a machine that cannot be read has one team
        weir_status_free(weir_topology_create(NULL, &out->topology));
        if (out->topology) {
            out->teams = weir_topology_teams(out->topology, &out->count);
            out->feeders = weir_topology_feeders(out->topology, &out->feeder_count);
        }
        return WEIR_OK;
    }
    out->text = strdup(options->teams);
    out->own = calloc(WEIR_TEAMS_MAX, sizeof(*out->own));
    out->teams = out->own;
    if (!out->text || !out->own)
        return weir__cli_fault_set(fault, WEIR_RESOURCE_EXHAUSTED, "no memory for teams");
    return split(out, fault);
}
