// scheduler/topology: what four kinds of machines give, and what a container may use.
//
// The machines are hwloc's XML (topologies/, written by make.py), so the decisions are the same
// wherever the test runs; one test reads the machine it runs on.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <sched.h>
#include <weir/topology.h>

#include "scheduler/topology/topology.h"

typedef struct machine {
    weir__topology_t topology;
    weir__placement_t placement;
} machine_t;

static void read_xml(const char *name, machine_t *out)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "tests/scheduler/topologies/%s", name);
    const weir__topology_source_t source = {.xml = path};
    assert_int_equal(weir__topology_read(&source, &out->topology), WEIR_OK);
}

static void read_synthetic(const char *text, machine_t *out)
{
    const weir__topology_source_t source = {.synthetic = text};
    assert_int_equal(weir__topology_read(&source, &out->topology), WEIR_OK);
}

static void place(machine_t *it)
{
    assert_int_equal(weir__topology_place(&it->topology, &it->placement), WEIR_OK);
}

static void release(machine_t *it)
{
    weir__placement_free(&it->placement);
    weir__topology_free(&it->topology);
}

static void expect_team(machine_t *it, uint32_t index, const char *cpus, uint32_t threads)
{
    char text[512];
    assert_true(index < it->placement.team_count);
    weir__team_t *team = &it->placement.teams[index];
    assert_string_equal(
        weir__topology_cpus_text(team->cpus, team->cpu_count, text, sizeof(text)), cpus);
    assert_int_equal(team->thread_count, threads);
}

static void allow_only(machine_t *it, uint32_t first, uint32_t last)
{
    for (uint32_t i = 0; i < it->topology.cpu_count; i++) {
        const uint32_t at = it->topology.cpus[i].os_index;
        it->topology.cpus[i].is_allowed = at >= first && at <= last;
    }
}

// ---- Teams
// ------------------------------------------------------------------------------------------

// Goal:   2 sockets x 4 L3 x 8 cores are eight teams of eight, none across an L3.
// Method: the XML, and the same machine from hwloc's own description.
static void two_sockets(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        machine_t it = {0};
        if (i == 0)
            read_xml("sockets.xml", &it);
        else
            read_synthetic("pack:2 [numa(memory=256GB)] l3:4(size=32MB) core:8 pu:1", &it);
        assert_int_equal(it.topology.package_count, 2);
        assert_int_equal(it.topology.node_count, 2);
        assert_int_equal(it.topology.group_count, 8);
        assert_int_equal(it.topology.core_count, 64);
        place(&it);
        assert_int_equal(it.placement.team_count, 8);
        assert_int_equal(it.placement.thread_count, 64);
        expect_team(&it, 0, "0-7", 8);
        expect_team(&it, 5, "40-47", 8);
        for (uint32_t t = 0; t < 8; t++) {
            const weir__topology_group_t *group = &it.topology.groups[it.placement.teams[t].group];
            assert_int_equal(group->node, t / 4);
            assert_int_equal(group->package, t / 4);
            assert_true(group->cache_bytes > 0);
        }
        release(&it);
    }
}

// Goal: an affinity mask across L3 caches gives teams of what is left in each; the larger one
// first.
static void mask(void **state)
{
    (void)state;
    machine_t it = {0};
    read_xml("sockets.xml", &it);
    allow_only(&it, 5, 18); // 3 cores, 8 cores, 3 cores
    place(&it);
    assert_int_equal(it.placement.team_count, 3);
    expect_team(&it, 0, "8-15", 8);
    expect_team(&it, 1, "5-7", 3);
    expect_team(&it, 2, "16-18", 3);
    release(&it);

    read_xml("sockets.xml", &it);
    allow_only(&it, 1, 0); // none
    assert_int_equal(weir__topology_place(&it.topology, &it.placement), WEIR_INVALID_ARGUMENT);
    release(&it);
}

// Goal: no two threads of a team are on one core.
static void hardware_threads(void **state)
{
    (void)state;
    machine_t it = {0};
    read_synthetic("pack:1 [numa] l3:2 core:4 pu:2", &it);
    place(&it);
    assert_int_equal(it.placement.team_count, 2);
    expect_team(&it, 0, "0,2,4,6", 4);
    expect_team(&it, 1, "8,10,12,14", 4);
    release(&it);

    read_synthetic("pack:1 [numa] l3:2 core:4 pu:2", &it);
    allow_only(&it, 3, 4); // the second thread of one core, the first of the next
    place(&it);
    assert_int_equal(it.placement.team_count, 1);
    expect_team(&it, 0, "3-4", 2);
    release(&it);
}

// Goal: strong and weak cores of one L3 are two teams, the strong one first.
static void hybrid(void **state)
{
    (void)state;
    machine_t it = {0};
    read_xml("hybrid.xml", &it);
    assert_int_equal(it.topology.kind_count, 2);
    assert_int_equal(it.topology.group_count, 1);
    place(&it);
    assert_int_equal(it.placement.team_count, 2);
    expect_team(&it, 0, "0,2,4,6,8,10,12,14", 8);
    expect_team(&it, 1, "16-23", 8);
    assert_int_equal(it.placement.teams[0].kind, 0);
    assert_int_equal(it.placement.teams[1].kind, 1);
    // The display's feeder takes a second hardware thread: no team loses a core.
    assert_int_equal(it.topology.device_count, 1);
    assert_int_equal(it.placement.feeders[0].cpu, 1);
    assert_false(it.placement.feeders[0].is_shared);
    release(&it);
}

// Goal:   an embedder gets the teams as an engine takes them: of another machine by its XML, of
// this
//         one within its mask; an engine made of them has their threads.
static void teams_for_an_engine(void **state)
{
    (void)state;
    weir_topology_t *topology = NULL;
    uint32_t count = 0;
    assert_null(weir_topology_create("tests/scheduler/topologies/gpus.xml", &topology));
    const weir_team_options_t *teams = weir_topology_teams(topology, &count);
    assert_int_equal(count, 2);
    assert_string_equal(teams[0].cpus, "0-9");
    assert_string_equal(teams[1].cpus, "12-21");
    assert_int_equal(teams[1].threads, 0); // one for each
    const weir_feeder_options_t *feeders = weir_topology_feeders(topology, &count);
    assert_int_equal(count, 4);
    assert_string_equal(feeders[0].pci, "0000:18:00.0");
    assert_string_equal(feeders[0].cpus, "11");
    assert_string_equal(feeders[3].cpus, "22");
    weir_topology_free(topology);

    weir_status_t status = weir_topology_create("no/such.xml", &topology);
    assert_int_equal(weir_status_code(status), WEIR_NOT_FOUND);
    assert_non_null(strstr(weir_status_message(status), "no/such.xml"));
    weir_status_free(status);

    machine_t here = {0};
    assert_int_equal(weir__topology_read(NULL, &here.topology), WEIR_OK);
    place(&here);
    weir_engine_t *engine = NULL;
    const weir_engine_options_t options = {
        .size = sizeof(options), .plugin_path = "", .cache_dir = ""};
    assert_null(weir_topology_engine(&options, &engine));
    assert_int_equal(weir_engine_threads(engine), here.placement.thread_count);
    for (uint32_t i = 0; i < here.placement.team_count; i++)
        assert_int_equal(weir_engine_team_threads(engine, i), here.placement.teams[i].thread_count);
    assert_int_equal(weir_engine_team_threads(engine, here.placement.team_count), 0);
    weir_engine_free(engine);
    release(&here);

    // Whoever says how many gets so many.
    weir_engine_options_t own = options;
    own.threads = 3;
    assert_null(weir_topology_engine(&own, &engine));
    assert_int_equal(weir_engine_team_threads(engine, 0), 3);
    weir_engine_free(engine);
}

// Goal: where there is no L3, cores that share a node are a team.
static void no_cache(void **state)
{
    (void)state;
    machine_t it = {0};
    read_synthetic("pack:2 [numa] core:4 pu:1", &it);
    place(&it);
    assert_int_equal(it.topology.group_count, 2);
    assert_int_equal(it.topology.groups[1].cache_bytes, 0);
    expect_team(&it, 0, "0-3", 4);
    expect_team(&it, 1, "4-7", 4);
    release(&it);
}

// ---- Quotas
// -----------------------------------------------------------------------------------------

// Goal: a container with 1.5 CPUs computes with one thread, wherever in its L3; with 12.9 of 64,
// whole
//       teams come first.
static void quota(void **state)
{
    (void)state;
    static const struct {
        uint64_t milli;
        uint32_t teams, threads, last_threads;
    } cases[] = {{1500, 1, 1, 1}, {300, 1, 1, 1}, {2000, 1, 2, 2}, {8000, 1, 8, 8},
        {12900, 2, 12, 4}, {64000, 8, 64, 8}, {100000, 8, 64, 8}, {0, 8, 64, 8}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        machine_t it = {0};
        read_xml("sockets.xml", &it);
        it.topology.quota_milli = cases[i].milli;
        place(&it);
        assert_int_equal(it.placement.team_count, cases[i].teams);
        assert_int_equal(it.placement.thread_count, cases[i].threads);
        assert_int_equal(
            it.placement.teams[cases[i].teams - 1].thread_count, cases[i].last_threads);
        expect_team(&it, 0, "0-7", it.placement.teams[0].thread_count); // they may move within it
        release(&it);
    }
}

// Goal:   an L3 with more cores than a team of an engine can have threads: the engine takes the
// team.
// Method: the most that it takes, with a quota and without one; a core more than that is none.
static void more_cores_than_a_team_has_threads(void **state)
{
    (void)state;
    static const uint64_t quotas[] = {0, 80000, 64000, 63500};
    for (size_t i = 0; i < sizeof(quotas) / sizeof(quotas[0]); i++) {
        machine_t it = {0};
        read_synthetic("pack:1 [numa] l3:1(size=32MB) core:96 pu:1", &it);
        it.topology.quota_milli = quotas[i];
        place(&it);
        assert_int_equal(it.placement.team_count, 1);
        assert_int_equal(it.placement.thread_count, i < 3 ? 64 : 63);
        expect_team(&it, 0, "0-95", i < 3 ? 64 : 63); // they may move within it
        release(&it);
    }
}

static void write_file(const char *root, const char *path, const char *text)
{
    char full[512];
    (void)snprintf(full, sizeof(full), "%s%s", root, path);
    for (char *at = full + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
        *at = '\0';
        (void)mkdir(full, 0700);
        *at = '/';
    }
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

typedef struct fake_file {
    const char *path, *text;
} fake_file_t;

static uint64_t quota_of(const fake_file_t *files)
{
    char root[] = P_tmpdir "/weir-topology-XXXXXX", command[64];
    assert_non_null(mkdtemp(root));
    for (; files->path; files++)
        write_file(root, files->path, files->text);
    const uint64_t milli = weir_quota_read(root);
    (void)snprintf(command, sizeof(command), "rm -r %s", root);
    assert_int_equal(system(command), 0);
    return milli;
}

#define MOUNT2 "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n"
#define MOUNT1 "31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"

// Goal:   the least quota of the own cgroup and those above it, of both versions; none is none.
// Method: trees of files as kernels show them.
static void cgroups(void **state)
{
    (void)state;
    const char *max = "/sys/fs/cgroup/a/b/cpu.max", *above = "/sys/fs/cgroup/a/cpu.max";
    const char *own = "/proc/self/cgroup", *mounts = "/proc/self/mountinfo";
    // v2: the own one, the one above, none.
    assert_int_equal(quota_of((fake_file_t[]){{own, "0::/a/b\n"}, {mounts, MOUNT2},
                         {max, "150000 100000\n"}, {above, "max 100000\n"}, {0}}),
        1500);
    assert_int_equal(quota_of((fake_file_t[]){{own, "0::/a/b\n"}, {mounts, MOUNT2},
                         {max, "800000 100000\n"}, {above, "50000 20000\n"}, {0}}),
        2500);
    assert_int_equal(quota_of((fake_file_t[]){{own, "0::/a/b\n"}, {mounts, MOUNT2},
                         {max, "max 100000\n"}, {above, "max 100000\n"}, {0}}),
        0);
    // A container: its path is the host's, its mount the own cgroup.
    assert_int_equal(quota_of((fake_file_t[]){{own, "0::/system.slice/x.scope\n"}, {mounts, MOUNT2},
                         {"/sys/fs/cgroup/cpu.max", "150000 100000\n"}, {0}}),
        1500);
    // v1, beside a named hierarchy and a v2 without the controller.
    assert_int_equal(
        quota_of((fake_file_t[]){{own, "12:name=systemd:/c\n4:cpu,cpuacct:/c\n0::/c\n"},
            {mounts, MOUNT1 "32 24 0:26 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"},
            {"/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us", "75000\n"},
            {"/sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us", "50000\n"},
            {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"},
            {"/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"}, {0}}),
        1500);
    // Nothing there, and nonsense.
    assert_int_equal(quota_of((fake_file_t[]){{own, "0::/\n"}, {0}}), 0);
    assert_int_equal(quota_of((fake_file_t[]){{own, "::\n\n:"}, {mounts, "x\n - \n" MOUNT2},
                         {"/sys/fs/cgroup/cpu.max", "150000\n"}, {0}}),
        0);
}

// ---- Devices
// ----------------------------------------------------------------------------------------

// Goal: four GPUs on two nodes: each has a feeder on a core of its own, near it, and its staging
//       memory there; the teams keep three quarters.
static void four_gpus(void **state)
{
    (void)state;
    machine_t it = {0};
    read_xml("gpus.xml", &it);
    assert_int_equal(it.topology.device_count, 4);
    assert_string_equal(it.topology.devices[2].address, "0000:9a:00.0");
    assert_string_equal(it.topology.devices[2].name, "NVIDIA Corporation GH100 [H100 SXM5 80GB]");
    place(&it);
    assert_int_equal(it.placement.team_count, 2);
    expect_team(&it, 0, "0-9", 10);
    expect_team(&it, 1, "12-21", 10);
    static const uint32_t cpus[] = {11, 10, 23, 22};
    for (uint32_t i = 0; i < 4; i++) {
        const weir__feeder_t *feeder = &it.placement.feeders[i];
        assert_int_equal(it.topology.devices[i].node, i / 2);
        assert_int_equal(feeder->cpu, cpus[i]);
        assert_int_equal(feeder->staging_node, i / 2);
        assert_true(feeder->is_near);
        assert_false(feeder->is_shared);
    }
    release(&it);
}

// Goal: feeders of a node whose CPUs are not allowed go elsewhere and say so, the memory stays
// near; a
//       small team shares its cores.
static void far_gpus(void **state)
{
    (void)state;
    machine_t it = {0};
    read_xml("gpus.xml", &it);
    allow_only(&it, 0, 1);
    place(&it);
    expect_team(&it, 0, "0-1", 2);
    for (uint32_t i = 0; i < 4; i++) {
        const weir__feeder_t *feeder = &it.placement.feeders[i];
        assert_true(feeder->is_shared);
        assert_int_equal(feeder->is_near, i < 2);
        assert_int_equal(feeder->cpu, i % 2 ? 0 : 1);
        assert_int_equal(feeder->staging_node, i / 2);
    }
    release(&it);

    // Where the machine does not say: any CPU, memory beside it.
    read_xml("gpus.xml", &it);
    it.topology.devices[0].node = WEIR__TOPOLOGY_NONE;
    it.topology.nodes[1].is_allowed = false;
    place(&it);
    assert_false(it.placement.feeders[0].is_near);
    assert_int_equal(it.placement.feeders[0].staging_node, 0);
    assert_int_equal(it.placement.feeders[2].staging_node, 0);
    release(&it);
}

// ---- This machine, and files that are none
// ---------------------------------------------------------

// Goal: on the machine of the test the allowed CPUs are those of the affinity mask.
static void this_machine(void **state)
{
    (void)state;
    machine_t it = {0};
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof(set), &set), 0);
    assert_int_equal(weir__topology_read(NULL, &it.topology), WEIR_OK);
    uint32_t allowed = 0;
    for (uint32_t i = 0; i < it.topology.cpu_count; i++) {
        assert_int_equal(
            it.topology.cpus[i].is_allowed, CPU_ISSET(it.topology.cpus[i].os_index, &set) != 0);
        allowed += it.topology.cpus[i].is_allowed;
    }
    assert_int_equal(allowed, CPU_COUNT(&set));
    place(&it);
    assert_true(it.placement.thread_count >= 1 && it.placement.thread_count <= allowed);
    release(&it);
}

static void bad_files(void **state)
{
    (void)state;
    weir__topology_t it;
    assert_int_equal(
        weir__topology_read(
            &(weir__topology_source_t){.xml = "tests/scheduler/topologies/none.xml"}, &it),
        WEIR_NOT_FOUND);
    assert_int_equal(
        weir__topology_read(
            &(weir__topology_source_t){.xml = "tests/scheduler/topologies/make.py"}, &it),
        WEIR_INVALID_ARGUMENT);
    assert_int_equal(weir__topology_read(&(weir__topology_source_t){.synthetic = "pack:0"}, &it),
        WEIR_INVALID_ARGUMENT);
}

static void cpu_lists(void **state)
{
    (void)state;
    char text[16];
    uint32_t cpus[] = {9, 1, 0, 2, 5, 8};
    assert_string_equal(weir__topology_cpus_text(cpus, 6, text, sizeof(text)), "0-2,5,8-9");
    assert_string_equal(weir__topology_cpus_text(cpus, 6, text, 6), "0-2,5"); // whole ranges only
    assert_string_equal(weir__topology_cpus_text(cpus, 0, text, sizeof(text)), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_sockets),
        cmocka_unit_test(mask),
        cmocka_unit_test(hardware_threads),
        cmocka_unit_test(hybrid),
        cmocka_unit_test(no_cache),
        cmocka_unit_test(teams_for_an_engine),
        cmocka_unit_test(quota),
        cmocka_unit_test(more_cores_than_a_team_has_threads),
        cmocka_unit_test(cgroups),
        cmocka_unit_test(four_gpus),
        cmocka_unit_test(far_gpus),
        cmocka_unit_test(this_machine),
        cmocka_unit_test(bad_files),
        cmocka_unit_test(cpu_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
