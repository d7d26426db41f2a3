// scheduler/topology/place.c: the decisions; see topology.h for the rules. Nothing here looks at
// the machine it runs on.
#include <stdio.h>
#include <stdlib.h>

#include "scheduler/topology/topology.h"

// A team gives cores to feeders down to three quarters of what it had.
enum { KEPT_NUMERATOR = 3, KEPT_DENOMINATOR = 4 };

void weir__placement_free(weir__placement_t *placement)
{
    for (uint32_t i = 0; placement->teams && i < placement->team_count; i++)
        free(placement->teams[i].cpus);
    free(placement->teams);
    free(placement->feeders);
    *placement = (weir__placement_t){0};
}

// The first allowed CPU of each core, by core; WEIR__TOPOLOGY_NONE where none is allowed. NULL: no
// memory.
static uint32_t *first_cpus(const weir__topology_t *topology)
{
    uint32_t *first = malloc(((size_t)topology->core_count + 1) * sizeof(*first));
    for (uint32_t i = 0; first && i < topology->core_count; i++)
        first[i] = WEIR__TOPOLOGY_NONE;
    for (uint32_t i = 0; first && i < topology->cpu_count; i++) {
        const weir__topology_cpu_t *cpu = &topology->cpus[i];
        if (cpu->is_allowed && first[cpu->core] == WEIR__TOPOLOGY_NONE)
            first[cpu->core] = i;
    }
    return first;
}

static int compare_teams(const void *left, const void *right)
{
    const weir__team_t *a = left, *b = right;
    if (a->kind != b->kind)
        return a->kind < b->kind ? -1 : 1;
    if (a->cpu_count != b->cpu_count)
        return a->cpu_count > b->cpu_count ? -1 : 1;
    return a->group < b->group ? -1 : a->group > b->group;
}

static weir_code_t gather_team(const weir__topology_t *topology, const uint32_t *first,
    uint32_t group, uint32_t kind, weir__placement_t *out)
{
    weir__team_t *team = &out->teams[out->team_count];
    *team = (weir__team_t){.group = group, .kind = kind};
    for (int pass = 0; pass < 2; pass++) {
        uint32_t count = 0;
        for (uint32_t i = 0; i < topology->core_count; i++) {
            const weir__topology_core_t *core = &topology->cores[i];
            if (core->group != group || core->kind != kind || first[i] == WEIR__TOPOLOGY_NONE)
                continue;
            if (pass)
                team->cpus[count] = topology->cpus[first[i]].os_index;
            count++;
        }
        if (count == 0)
            return WEIR_OK;
        if (!pass && !(team->cpus = calloc(count, sizeof(*team->cpus))))
            return WEIR_RESOURCE_EXHAUSTED;
        team->cpu_count = count;
    }
    out->team_count++;
    return WEIR_OK;
}

static weir_code_t gather_teams(
    const weir__topology_t *topology, const uint32_t *first, weir__placement_t *out)
{
    const size_t most = (size_t)topology->group_count * topology->kind_count;
    out->teams = calloc(most + 1, sizeof(*out->teams));
    if (!out->teams)
        return WEIR_RESOURCE_EXHAUSTED;
    weir_code_t code = WEIR_OK;
    for (uint32_t group = 0; group < topology->group_count && code == WEIR_OK; group++)
        for (uint32_t kind = 0; kind < topology->kind_count && code == WEIR_OK; kind++)
            code = gather_team(topology, first, group, kind, out);
    if (code == WEIR_OK && out->team_count == 0)
        return WEIR_INVALID_ARGUMENT;
    qsort(out->teams, out->team_count, sizeof(*out->teams), compare_teams);
    return code;
}

// ---- Feeders
// ----------------------------------------------------------------------------------------

static bool is_of_node(const weir__topology_t *topology, uint32_t core, uint32_t node)
{
    return node == WEIR__TOPOLOGY_NONE ||
           topology->groups[topology->cores[core].group].node == node;
}

static bool is_taken(const weir__placement_t *placement, uint32_t feeder_count, uint32_t os_index)
{
    for (uint32_t i = 0; i < feeder_count; i++)
        if (placement->feeders[i].cpu == os_index)
            return true;
    return false;
}

// A hardware thread of a core whose first one is a team's; WEIR__TOPOLOGY_NONE: there is none left.
static uint32_t take_sibling(const weir__topology_t *topology, const uint32_t *first,
    const weir__placement_t *placement, uint32_t feeder_count, uint32_t node)
{
    for (uint32_t i = 0; i < topology->cpu_count; i++) {
        const weir__topology_cpu_t *cpu = &topology->cpus[i];
        if (cpu->is_allowed && first[cpu->core] != i && is_of_node(topology, cpu->core, node) &&
            !is_taken(placement, feeder_count, cpu->os_index))
            return cpu->os_index;
    }
    return WEIR__TOPOLOGY_NONE;
}

static bool is_team_of_node(
    const weir__topology_t *topology, const weir__team_t *team, uint32_t node)
{
    return node == WEIR__TOPOLOGY_NONE || topology->groups[team->group].node == node;
}

// The last core of the largest team of the node, if the team can spare it. whole: cores that teams
// had.
static uint32_t take_core(const weir__topology_t *topology, const uint32_t *whole,
    weir__placement_t *placement, uint32_t node)
{
    weir__team_t *from = NULL;
    for (uint32_t i = 0; i < placement->team_count; i++) {
        weir__team_t *team = &placement->teams[i];
        if (is_team_of_node(topology, team, node) &&
            (uint64_t)(team->cpu_count - 1) * KEPT_DENOMINATOR >=
                (uint64_t)whole[i] * KEPT_NUMERATOR &&
            (!from || team->cpu_count > from->cpu_count))
            from = team;
    }
    return from ? from->cpus[--from->cpu_count] : WEIR__TOPOLOGY_NONE;
}

// A CPU of a team of the node; feeders are dealt around.
static uint32_t share_cpu(const weir__topology_t *topology, const weir__placement_t *placement,
    uint32_t feeder_index, uint32_t node)
{
    uint32_t count = 0;
    for (int pass = 0; pass < 2; pass++) {
        uint32_t at = 0;
        for (uint32_t i = 0; i < placement->team_count; i++) {
            const weir__team_t *team = &placement->teams[i];
            if (!is_team_of_node(topology, team, node))
                continue;
            for (uint32_t j = team->cpu_count; j > 0; j--, at++)
                if (pass && at == feeder_index % count)
                    return team->cpus[j - 1];
        }
        if (at == 0)
            return WEIR__TOPOLOGY_NONE;
        count = at;
    }
    return WEIR__TOPOLOGY_NONE;
}

static uint32_t node_of_cpu(const weir__topology_t *topology, uint32_t os_index)
{
    for (uint32_t i = 0; i < topology->cpu_count; i++)
        if (topology->cpus[i].os_index == os_index)
            return topology->groups[topology->cores[topology->cpus[i].core].group].node;
    return WEIR__TOPOLOGY_NONE;
}

// The first of two nodes, else of all, whose memory may be used.
static uint32_t allowed_node(const weir__topology_t *topology, uint32_t first, uint32_t second)
{
    if (first != WEIR__TOPOLOGY_NONE && topology->nodes[first].is_allowed)
        return first;
    if (second != WEIR__TOPOLOGY_NONE && topology->nodes[second].is_allowed)
        return second;
    for (uint32_t i = 0; i < topology->node_count; i++)
        if (topology->nodes[i].is_allowed)
            return i;
    return WEIR__TOPOLOGY_NONE;
}

// First near the device, then anywhere.
static void place_feeder(const weir__topology_t *topology, const uint32_t *first,
    const uint32_t *whole, weir__placement_t *placement, uint32_t index)
{
    weir__feeder_t *feeder = &placement->feeders[index];
    const uint32_t wanted = topology->devices[index].node;
    const uint32_t nodes[] = {wanted, WEIR__TOPOLOGY_NONE};
    feeder->cpu = WEIR__TOPOLOGY_NONE;
    for (size_t i = 0; i < 2 && feeder->cpu == WEIR__TOPOLOGY_NONE; i++) {
        feeder->is_shared = false;
        feeder->cpu = take_sibling(topology, first, placement, index, nodes[i]);
        if (feeder->cpu == WEIR__TOPOLOGY_NONE)
            feeder->cpu = take_core(topology, whole, placement, nodes[i]);
        if (feeder->cpu == WEIR__TOPOLOGY_NONE) {
            feeder->cpu = share_cpu(topology, placement, index, nodes[i]);
            feeder->is_shared = true;
        }
    }
    const uint32_t node = node_of_cpu(topology, feeder->cpu);
    feeder->is_near = wanted != WEIR__TOPOLOGY_NONE && node == wanted;
    feeder->staging_node = allowed_node(topology, wanted, node);
}

static weir_code_t place_feeders(
    const weir__topology_t *topology, const uint32_t *first, weir__placement_t *out)
{
    out->feeders = calloc((size_t)topology->device_count + 1, sizeof(*out->feeders));
    uint32_t *whole = calloc((size_t)out->team_count + 1, sizeof(*whole));
    const weir_code_t code = out->feeders && whole ? WEIR_OK : WEIR_RESOURCE_EXHAUSTED;
    for (uint32_t i = 0; i < out->team_count && code == WEIR_OK; i++)
        whole[i] = out->teams[i].cpu_count;
    for (uint32_t i = 0; i < topology->device_count && code == WEIR_OK; i++)
        place_feeder(topology, first, whole, out, i);
    free(whole);
    return code;
}

// ---- Threads
// ----------------------------------------------------------------------------------------

static void share_threads(uint64_t quota_milli, weir__placement_t *out)
{
    uint64_t left = quota_milli ? quota_milli / 1000 : UINT64_MAX;
    left = left ? left : 1;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < out->team_count; i++) {
        weir__team_t *team = &out->teams[i];
        const uint32_t most = WEIR_MIN(team->cpu_count, WEIR__TEAM_THREADS_MAX);
        team->thread_count = left < most ? (uint32_t)left : most;
        left -= team->thread_count;
        out->thread_count += team->thread_count;
        if (team->thread_count)
            kept = i + 1;
        else
            free(team->cpus);
    }
    out->team_count = kept; // those behind have no thread
}

weir_code_t weir__topology_place(const weir__topology_t *topology, weir__placement_t *out_placement)
{
    *out_placement = (weir__placement_t){0};
    uint32_t *first = first_cpus(topology);
    weir_code_t code =
        first ? gather_teams(topology, first, out_placement) : WEIR_RESOURCE_EXHAUSTED;
    if (code == WEIR_OK)
        code = place_feeders(topology, first, out_placement);
    free(first);
    if (code == WEIR_OK)
        share_threads(topology->quota_milli, out_placement);
    else
        weir__placement_free(out_placement);
    return code;
}

// ---- Text
// -------------------------------------------------------------------------------------------

static int compare_cpus(const void *left, const void *right)
{
    const uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return a < b ? -1 : a > b;
}

char *weir__topology_cpus_text(uint32_t *cpus, uint32_t count, char *out, size_t out_bytes)
{
    qsort(cpus, count, sizeof(*cpus), compare_cpus);
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < count;) {
        uint32_t end = i;
        while (end + 1 < count && cpus[end + 1] == cpus[end] + 1)
            end++;
        const int bytes =
            end > i ? snprintf(out + used, out_bytes - used, "%s%u-%u", used ? "," : "", cpus[i],
                          cpus[end])
                    : snprintf(out + used, out_bytes - used, "%s%u", used ? "," : "", cpus[i]);
        if (bytes < 0 || (size_t)bytes >= out_bytes - used) {
            out[used] = '\0'; // whole ranges only
            break;
        }
        used += (size_t)bytes;
        i = end + 1;
    }
    return out;
}
