// `weir topology`: the machine as a tree, and where threads, feeders and staging memory belong on
// it.
//
// It must not decide anything: scheduler/topology does.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/cli/command.h"
#include "engine/cli/json.h"
#include "engine/cli/text.h"
#include "scheduler/topology/topology.h"

typedef struct topology_options {
    const char *xml;
    const char *quota;
    bool is_json;
} topology_options_t;

#define FIELD(name) .field = offsetof(topology_options_t, name)
static const weir__cli_option_t rows[] = {
    {.name = "--xml",
        .value_name = "FILE",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(xml),
        .help = "another machine, as `lstopo FILE.xml` writes it there"},
    {.name = "--quota",
        .value_name = "CPUS",
        .kind = WEIR__CLI_OPTION_TEXT,
        FIELD(quota),
        .help = "decides as if a container allowed so many CPUs, as in 1.5"},
    {.name = "--json", FIELD(is_json), .help = "one JSON object"},
};
#undef FIELD
static const weir__cli_syntax_t syntax = {
    .command = "topology",
    .arguments = "",
    .purpose = "Shows what the machine is made of and where the scheduler's threads belong on it.",
    .notes =
        "A team is threads that compute together on one request: one for each L3 cache, one\n"
        "thread for each core. A feeder is the thread that keeps a device busy; staging is the\n"
        "pinned memory that its inputs and outputs go through.\n"
        "CPUs that this process may not use (affinity mask, cpuset) are in the tree only.",
    .options = rows,
    .option_count = sizeof(rows) / sizeof(rows[0]),
};

// ---- Words
// ------------------------------------------------------------------------------------------

typedef struct cpus_text {
    char text[512];
} cpus_text_t;

static bool is_in(const weir__topology_t *it, uint32_t cpu, uint32_t group, uint32_t kind)
{
    const weir__topology_core_t *core = &it->cores[it->cpus[cpu].core];
    return core->group == group && core->kind == kind;
}

// The CPUs of a group that are of a kind, and how many cores they are of. "" when there are none.
static cpus_text_t cpus_of(const weir__topology_t *it, uint32_t group, uint32_t kind,
    bool only_allowed, uint32_t *out_core_count)
{
    cpus_text_t out = {.text = ""};
    uint32_t *cpus = calloc((size_t)it->cpu_count + 1, sizeof(*cpus));
    uint32_t count = 0, last = WEIR__TOPOLOGY_NONE;
    *out_core_count = 0;
    for (uint32_t i = 0; cpus && i < it->cpu_count; i++) {
        if (!is_in(it, i, group, kind) || (only_allowed && !it->cpus[i].is_allowed))
            continue;
        cpus[count++] = it->cpus[i].os_index;
        *out_core_count += it->cpus[i].core != last;
        last = it->cpus[i].core;
    }
    if (cpus)
        (void)weir__topology_cpus_text(cpus, count, out.text, sizeof(out.text));
    free(cpus);
    return out;
}

static uint32_t allowed_count(const weir__topology_t *it)
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < it->cpu_count; i++)
        count += it->cpus[i].is_allowed;
    return count;
}

static const char *plural(uint32_t count)
{
    return count == 1 ? "" : "s";
}

// "L3 2", or "cores 2" of a group without a cache of its own.
static cpus_text_t group_name(const weir__topology_t *it, uint32_t group)
{
    cpus_text_t out;
    (void)snprintf(
        out.text, sizeof(out.text), "%s %u", it->groups[group].cache_bytes ? "L3" : "cores", group);
    return out;
}

// ---- The tree
// ---------------------------------------------------------------------------------------

static void print_group(const weir__topology_t *it, uint32_t group)
{
    const uint64_t bytes = it->groups[group].cache_bytes;
    (void)printf("    %-8s %s", group_name(it, group).text,
        bytes ? weir__cli_text_bytes(bytes).text : "no cache of their own");
    for (uint32_t kind = 0; kind < it->kind_count; kind++) {
        uint32_t core_count = 0, allowed = 0;
        const cpus_text_t cpus = cpus_of(it, group, kind, false, &core_count);
        const cpus_text_t ours = cpus_of(it, group, kind, true, &allowed);
        if (!core_count)
            continue;
        (void)printf("  %u %score%s: CPUs %s", core_count, kind ? "weaker " : "",
            plural(core_count), cpus.text);
        if (strcmp(ours.text, cpus.text) != 0)
            (void)printf(" (ours: %s)", *ours.text ? ours.text : "none");
    }
    (void)putchar('\n');
}

static void print_device(const weir__topology_device_t *device)
{
    char safe[sizeof(device->name)];
    (void)printf(
        "    %s  %s\n", device->address, weir__cli_text_safe(device->name, safe, sizeof(safe)));
}

// A node with its groups of one package; nothing when it has none there.
static bool print_node(const weir__topology_t *it, uint32_t node, uint32_t package)
{
    bool is_open = false;
    for (uint32_t i = 0; i < it->group_count; i++) {
        if (it->groups[i].node != node || it->groups[i].package != package)
            continue;
        if (!is_open && node != WEIR__TOPOLOGY_NONE)
            (void)printf("  node %-3u %s\n", it->nodes[node].os_index,
                weir__cli_text_bytes(it->nodes[node].memory_bytes).text);
        is_open = true;
        print_group(it, i);
    }
    for (uint32_t i = 0; i < it->device_count && is_open && node != WEIR__TOPOLOGY_NONE; i++)
        if (it->devices[i].node == node)
            print_device(&it->devices[i]);
    return is_open;
}

static void print_package(const weir__topology_t *it, uint32_t package)
{
    char safe[sizeof(it->packages[0].name)];
    if (package != WEIR__TOPOLOGY_NONE)
        (void)printf("package %u  %s\n", package,
            weir__cli_text_safe(it->packages[package].name, safe, sizeof(safe)));
    for (uint32_t i = 0; i < it->node_count; i++)
        (void)print_node(it, i, package);
    (void)print_node(it, WEIR__TOPOLOGY_NONE, package);
}

static bool has_cpus(const weir__topology_t *it, uint32_t node)
{
    for (uint32_t i = 0; i < it->group_count; i++)
        if (it->groups[i].node == node)
            return true;
    return false;
}

static void print_tree(const weir__topology_t *it)
{
    const uint32_t allowed = allowed_count(it);
    (void)printf("%u package%s, %u node%s, %u group%s of cores, %u core%s, %u CPU%s",
        it->package_count, plural(it->package_count), it->node_count, plural(it->node_count),
        it->group_count, plural(it->group_count), it->core_count, plural(it->core_count),
        it->cpu_count, plural(it->cpu_count));
    if (allowed != it->cpu_count)
        (void)printf("; this process may use %u", allowed);
    if (it->quota_milli)
        (void)printf("; a quota of %g", (double)it->quota_milli / 1000);
    (void)putchar('\n');
    for (uint32_t i = 0; i < it->package_count; i++)
        print_package(it, i);
    print_package(it, WEIR__TOPOLOGY_NONE);
    for (uint32_t i = 0; i < it->node_count; i++)
        if (!has_cpus(it, i))
            (void)printf("node %u  %s, no CPUs\n", it->nodes[i].os_index,
                weir__cli_text_bytes(it->nodes[i].memory_bytes).text);
    for (uint32_t i = 0; i < it->device_count; i++)
        if (it->devices[i].node == WEIR__TOPOLOGY_NONE)
            print_device(&it->devices[i]);
}

static void print_placement(const weir__topology_t *it, weir__placement_t *placement)
{
    (void)printf("\n%u thread%s in %u team%s\n", placement->thread_count,
        plural(placement->thread_count), placement->team_count, plural(placement->team_count));
    for (uint32_t i = 0; i < placement->team_count; i++) {
        weir__team_t *team = &placement->teams[i];
        char cpus[512];
        (void)printf("  team %-3u %u thread%s on CPUs %s  (%s%s)\n", i, team->thread_count,
            plural(team->thread_count),
            weir__topology_cpus_text(team->cpus, team->cpu_count, cpus, sizeof(cpus)),
            group_name(it, team->group).text, team->kind ? ", weaker cores" : "");
    }
    for (uint32_t i = 0; i < it->device_count; i++) {
        const weir__feeder_t *feeder = &placement->feeders[i];
        (void)printf("  %s  feeder on CPU %u, %s%s", it->devices[i].address, feeder->cpu,
            feeder->is_shared ? "shared with a team" : "its own",
            feeder->is_near                              ? ", near it"
            : it->devices[i].node == WEIR__TOPOLOGY_NONE ? ""
                                                         : ", far from it");
        if (feeder->staging_node != WEIR__TOPOLOGY_NONE)
            (void)printf("; staging on node %u", it->nodes[feeder->staging_node].os_index);
        (void)putchar('\n');
    }
}

// ---- JSON
// -------------------------------------------------------------------------------------------

// An index or an os_index; null for none.
static void put_index(weir__cli_json_t *json, const char *key, uint32_t index)
{
    if (index == WEIR__TOPOLOGY_NONE)
        weir__cli_json_text(json, key, NULL);
    else
        weir__cli_json_u64(json, key, index);
}

static void put_node(
    weir__cli_json_t *json, const char *key, const weir__topology_t *it, uint32_t node)
{
    put_index(json, key, node == WEIR__TOPOLOGY_NONE ? node : it->nodes[node].os_index);
}

static void put_groups(weir__cli_json_t *json, const weir__topology_t *it)
{
    weir__cli_json_open(json, "groups", '[');
    for (uint32_t i = 0; i < it->group_count; i++) {
        weir__cli_json_open(json, NULL, '{');
        put_index(json, "package", it->groups[i].package);
        put_node(json, "node", it, it->groups[i].node);
        weir__cli_json_u64(json, "cache_bytes", it->groups[i].cache_bytes);
        weir__cli_json_open(json, "kinds", '['); // the strongest first
        for (uint32_t kind = 0; kind < it->kind_count; kind++) {
            uint32_t core_count = 0, ours = 0;
            weir__cli_json_open(json, NULL, '{');
            weir__cli_json_text(json, "cpus", cpus_of(it, i, kind, false, &core_count).text);
            weir__cli_json_text(json, "allowed_cpus", cpus_of(it, i, kind, true, &ours).text);
            weir__cli_json_u64(json, "core_count", core_count);
            weir__cli_json_u64(json, "allowed_core_count", ours);
            weir__cli_json_close(json, '}');
        }
        weir__cli_json_close(json, ']');
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void put_teams(
    weir__cli_json_t *json, const weir__topology_t *it, weir__placement_t *placement)
{
    weir__cli_json_open(json, "teams", '[');
    for (uint32_t i = 0; i < placement->team_count; i++) {
        weir__team_t *team = &placement->teams[i];
        char cpus[4096];
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_u64(json, "threads", team->thread_count);
        weir__cli_json_text(json, "cpus",
            weir__topology_cpus_text(team->cpus, team->cpu_count, cpus, sizeof(cpus)));
        weir__cli_json_u64(json, "group", team->group);
        weir__cli_json_u64(json, "kind", team->kind);
        put_node(json, "node", it, it->groups[team->group].node);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void put_devices(
    weir__cli_json_t *json, const weir__topology_t *it, const weir__placement_t *placement)
{
    weir__cli_json_open(json, "devices", '[');
    for (uint32_t i = 0; i < it->device_count; i++) {
        const weir__feeder_t *feeder = &placement->feeders[i];
        weir__cli_json_open(json, NULL, '{');
        weir__cli_json_text(json, "address", it->devices[i].address);
        weir__cli_json_text(json, "name", it->devices[i].name);
        put_node(json, "node", it, it->devices[i].node);
        weir__cli_json_u64(json, "feeder_cpu", feeder->cpu);
        weir__cli_json_bool(json, "feeder_is_near", feeder->is_near);
        weir__cli_json_bool(json, "feeder_is_shared", feeder->is_shared);
        put_node(json, "staging_node", it, feeder->staging_node);
        weir__cli_json_close(json, '}');
    }
    weir__cli_json_close(json, ']');
}

static void print_json(const weir__topology_t *it, weir__placement_t *placement)
{
    weir__cli_json_t json = {.out = stdout};
    weir__cli_json_open(&json, NULL, '{');
    weir__cli_json_u64(&json, "cpu_count", it->cpu_count);
    weir__cli_json_u64(&json, "allowed_cpu_count", allowed_count(it));
    weir__cli_json_u64(&json, "core_count", it->core_count);
    weir__cli_json_f64(&json, "quota_cpus", (double)it->quota_milli / 1000, 9); // 0: none
    weir__cli_json_open(&json, "packages", '[');
    for (uint32_t i = 0; i < it->package_count; i++)
        weir__cli_json_text(&json, NULL, it->packages[i].name);
    weir__cli_json_close(&json, ']');
    weir__cli_json_open(&json, "nodes", '[');
    for (uint32_t i = 0; i < it->node_count; i++) {
        weir__cli_json_open(&json, NULL, '{');
        weir__cli_json_u64(&json, "index", it->nodes[i].os_index);
        weir__cli_json_u64(&json, "memory_bytes", it->nodes[i].memory_bytes);
        weir__cli_json_bool(&json, "is_allowed", it->nodes[i].is_allowed);
        weir__cli_json_close(&json, '}');
    }
    weir__cli_json_close(&json, ']');
    put_groups(&json, it);
    weir__cli_json_u64(&json, "thread_count", placement->thread_count);
    put_teams(&json, it, placement);
    put_devices(&json, it, placement);
    weir__cli_json_close(&json, '}');
    (void)putchar('\n');
}

// ---- The command
// ------------------------------------------------------------------------------------

static weir_code_t read_machine(
    const topology_options_t *options, weir__topology_t *out, weir__cli_fault_t *fault)
{
    const weir__topology_source_t source = {.xml = options->xml};
    const weir_code_t code = weir__topology_read(&source, out);
    if (code == WEIR_OK)
        return code;
    if (!options->xml)
        return weir__cli_fault_set(fault, code, "this machine's topology cannot be read");
    return weir__cli_fault_set(fault, code,
        code == WEIR_NOT_FOUND ? "%s: no such file"
                               : "%s is not a machine's XML that can be read: make one with lstopo "
                                 "(hwloc) on that machine",
        options->xml);
}

static weir_code_t read_quota(
    const topology_options_t *options, weir__topology_t *it, weir__cli_fault_t *fault)
{
    if (!options->quota)
        return WEIR_OK;
    char *end = NULL;
    const double cpus = strtod(options->quota, &end);
    if (end == options->quota || *end || !(cpus >= 0.001 && cpus <= 1e6))
        return weir__cli_fault_usage(
            fault, "--quota %s: write a number of CPUs, as in 1.5", options->quota);
    it->quota_milli = (uint64_t)(cpus * 1000 + 0.5);
    return WEIR_OK;
}

weir_code_t weir__cli_topology(int argc, char **argv, weir__cli_fault_t *fault)
{
    topology_options_t options = {0};
    weir_code_t code = WEIR_OK;
    if (!weir__cli_begin(&syntax, argc, argv, &options, fault, &code))
        return code;
    weir__topology_t topology = {0};
    weir__placement_t placement = {0};
    code = read_machine(&options, &topology, fault);
    if (code == WEIR_OK)
        code = read_quota(&options, &topology, fault);
    if (code == WEIR_OK && (code = weir__topology_place(&topology, &placement)) != WEIR_OK)
        code = weir__cli_fault_set(fault, code,
            code == WEIR_INVALID_ARGUMENT ? "no CPU of this machine may be used"
                                          : "no memory for the topology");
    if (code == WEIR_OK && options.is_json) {
        print_json(&topology, &placement);
    } else if (code == WEIR_OK) {
        print_tree(&topology);
        print_placement(&topology, &placement);
    }
    weir__placement_free(&placement);
    weir__topology_free(&topology);
    weir__cli_options_free(&syntax, &options);
    return code;
}
