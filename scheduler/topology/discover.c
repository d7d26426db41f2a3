// scheduler/topology/discover.c: hwloc's objects become the plain struct of topology.h.
//
// It must not decide anything, and it is the only file that includes hwloc.
#include <errno.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/engine.h>

#include "scheduler/topology/topology.h"

// What PCI calls them: display controllers, co-processors, processing accelerators.
enum { CLASS_DISPLAY = 0x03, CLASS_COPROCESSOR = 0x0b40, CLASS_ACCELERATOR = 0x12 };

void weir__topology_free(weir__topology_t *topology)
{
    free(topology->cpus);
    free(topology->cores);
    free(topology->groups);
    free(topology->nodes);
    free(topology->packages);
    free(topology->devices);
    *topology = (weir__topology_t){0};
}

static weir_code_t load(const weir__topology_source_t *source, hwloc_topology_t *out_machine)
{
    hwloc_topology_t machine;
    if (hwloc_topology_init(&machine) != 0)
        return WEIR_RESOURCE_EXHAUSTED;
    weir_code_t code = WEIR_OK;
    if (source && source->xml && access(source->xml, R_OK) != 0)
        code = errno == ENOENT ? WEIR_NOT_FOUND : WEIR_INVALID_ARGUMENT;
    else if (source && source->xml && hwloc_topology_set_xml(machine, source->xml) != 0)
        code = WEIR_INVALID_ARGUMENT;
    else if (source && source->synthetic &&
             hwloc_topology_set_synthetic(machine, source->synthetic) != 0)
        code = WEIR_INVALID_ARGUMENT;
    // All of it is read, also what this process may not use: the tree shows both.
    if (code == WEIR_OK &&
        (hwloc_topology_set_flags(machine, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) != 0 ||
            hwloc_topology_set_io_types_filter(machine, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) != 0 ||
            hwloc_topology_load(machine) != 0))
        code = WEIR_INVALID_ARGUMENT;
    if (code != WEIR_OK)
        hwloc_topology_destroy(machine);
    else
        *out_machine = machine;
    return code;
}

static uint32_t count_of(hwloc_topology_t machine, hwloc_obj_type_t type)
{
    const int count = hwloc_get_nbobjs_by_type(machine, type);
    return count > 0 ? (uint32_t)count : 0;
}

static weir_code_t allocate(hwloc_topology_t machine, weir__topology_t *out)
{
    uint32_t pci_count = 0;
    for (hwloc_obj_t at = NULL; (at = hwloc_get_next_pcidev(machine, at)) != NULL;)
        pci_count++;
    out->cpu_count = count_of(machine, HWLOC_OBJ_PU);
    out->node_count = count_of(machine, HWLOC_OBJ_NUMANODE);
    out->package_count = count_of(machine, HWLOC_OBJ_PACKAGE);
    // Never more groups than caches and nodes; one more of each, so that no array is empty.
    const size_t groups = (size_t)count_of(machine, HWLOC_OBJ_L3CACHE) + out->node_count + 1;
    out->cpus = calloc((size_t)out->cpu_count + 1, sizeof(*out->cpus));
    out->cores = calloc((size_t)out->cpu_count + 1, sizeof(*out->cores));
    out->groups = calloc(groups, sizeof(*out->groups));
    out->nodes = calloc((size_t)out->node_count + 1, sizeof(*out->nodes));
    out->packages = calloc((size_t)out->package_count + 1, sizeof(*out->packages));
    out->devices = calloc((size_t)pci_count + 1, sizeof(*out->devices));
    return out->cpus && out->cores && out->groups && out->nodes && out->packages && out->devices
               ? WEIR_OK
               : WEIR_RESOURCE_EXHAUSTED;
}

static void copy_text(const char *text, char *out, size_t out_bytes)
{
    (void)snprintf(out, out_bytes, "%s", text ? text : "");
}

// The node that is nearest to an object: the first of those that are local to it.
static uint32_t node_of(hwloc_topology_t machine, hwloc_const_nodeset_t nodeset)
{
    const int os_index = nodeset ? hwloc_bitmap_first(nodeset) : -1;
    const hwloc_obj_t node =
        os_index < 0 ? NULL : hwloc_get_numanode_obj_by_os_index(machine, (unsigned)os_index);
    return node ? node->logical_index : WEIR__TOPOLOGY_NONE;
}

static void read_places(hwloc_topology_t machine, weir__topology_t *out)
{
    for (uint32_t i = 0; i < out->node_count; i++) {
        const hwloc_obj_t node = hwloc_get_obj_by_type(machine, HWLOC_OBJ_NUMANODE, i);
        out->nodes[i] = (weir__topology_node_t){.os_index = node->os_index,
            .memory_bytes = node->attr->numanode.local_memory,
            .is_allowed =
                hwloc_bitmap_isset(hwloc_topology_get_allowed_nodeset(machine), node->os_index)};
    }
    for (uint32_t i = 0; i < out->package_count; i++) {
        const hwloc_obj_t package = hwloc_get_obj_by_type(machine, HWLOC_OBJ_PACKAGE, i);
        copy_text(hwloc_obj_get_info_by_name(package, "CPUModel"), out->packages[i].name,
            sizeof(out->packages[i].name));
    }
}

// Kinds of cores count from the strongest; one kind where the machine does not rank them.
static uint32_t kind_of(hwloc_topology_t machine, hwloc_const_cpuset_t cpus, uint32_t kind_count)
{
    const int kind = kind_count > 1 ? hwloc_cpukinds_get_by_cpuset(machine, cpus, 0) : -1;
    return kind < 0 ? 0 : kind_count - 1 - (uint32_t)kind;
}

static uint32_t ranked_kinds(hwloc_topology_t machine)
{
    const int count = hwloc_cpukinds_get_nr(machine, 0);
    for (int i = 0; i < count; i++) {
        int efficiency = -1;
        if (hwloc_cpukinds_get_info(machine, (unsigned)i, NULL, &efficiency, NULL, NULL, 0) != 0 ||
            efficiency < 0)
            return 1;
    }
    return count > 0 ? (uint32_t)count : 1;
}

// The group of a CPU, made when it is the first of it. Cores of one group are neighbours in hwloc's
// order, except those that share a node only, so all are looked at.
static uint32_t group_of(hwloc_topology_t machine, hwloc_obj_t cpu, const uint32_t *caches,
    weir__topology_t *out, uint32_t *out_cache)
{
    const hwloc_obj_t cache = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_L3CACHE, cpu);
    const hwloc_obj_t package = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_PACKAGE, cpu);
    const weir__topology_group_t group = {.node = node_of(machine, cpu->nodeset),
        .package = package ? package->logical_index : WEIR__TOPOLOGY_NONE,
        .cache_bytes = cache ? cache->attr->cache.size : 0};
    *out_cache = cache ? cache->logical_index : WEIR__TOPOLOGY_NONE;
    for (uint32_t i = 0; i < out->group_count; i++)
        if (caches[i] == *out_cache && (cache || out->groups[i].node == group.node))
            return i;
    out->groups[out->group_count] = group;
    return out->group_count++;
}

static weir_code_t read_cpus(
    hwloc_topology_t machine, hwloc_const_cpuset_t allowed, weir__topology_t *out)
{
    uint32_t *caches = calloc((size_t)count_of(machine, HWLOC_OBJ_L3CACHE) + out->node_count + 1,
        sizeof(*caches)); // of each group; NONE: it shares a node only
    if (!caches)
        return WEIR_RESOURCE_EXHAUSTED;
    out->kind_count = ranked_kinds(machine);
    hwloc_obj_t last = NULL;
    for (uint32_t i = 0; i < out->cpu_count; i++) {
        const hwloc_obj_t cpu = hwloc_get_obj_by_type(machine, HWLOC_OBJ_PU, i);
        const hwloc_obj_t core = hwloc_get_ancestor_obj_by_type(machine, HWLOC_OBJ_CORE, cpu);
        if (i == 0 || !core || core != last) {
            uint32_t cache = WEIR__TOPOLOGY_NONE;
            const uint32_t group = group_of(machine, cpu, caches, out, &cache);
            caches[group] = cache;
            out->cores[out->core_count++] = (weir__topology_core_t){
                .group = group, .kind = kind_of(machine, cpu->cpuset, out->kind_count)};
        }
        last = core;
        out->cpus[i] = (weir__topology_cpu_t){.os_index = cpu->os_index,
            .core = out->core_count - 1,
            .is_allowed = hwloc_bitmap_isset(allowed, cpu->os_index)};
    }
    free(caches);
    return WEIR_OK;
}

static void read_devices(hwloc_topology_t machine, weir__topology_t *out)
{
    for (hwloc_obj_t at = NULL; (at = hwloc_get_next_pcidev(machine, at)) != NULL;) {
        const struct hwloc_pcidev_attr_s *pci = &at->attr->pcidev;
        const uint32_t base = pci->class_id >> 8;
        if (base != CLASS_DISPLAY && base != CLASS_ACCELERATOR &&
            pci->class_id != CLASS_COPROCESSOR)
            continue;
        weir__topology_device_t *device = &out->devices[out->device_count++];
        const hwloc_obj_t near = hwloc_get_non_io_ancestor_obj(machine, at);
        (void)snprintf(device->address, sizeof(device->address), "%04x:%02x:%02x.%x", pci->domain,
            pci->bus, pci->dev, pci->func);
        const char *vendor = hwloc_obj_get_info_by_name(at, "PCIVendor");
        const char *name = hwloc_obj_get_info_by_name(at, "PCIDevice");
        (void)snprintf(device->name, sizeof(device->name), "%s%s%s", vendor ? vendor : "",
            vendor && name ? " " : "", name ? name : "");
        // Below the whole of a machine with several nodes: it does not say.
        device->node = near && near->type == HWLOC_OBJ_MACHINE && out->node_count > 1
                           ? WEIR__TOPOLOGY_NONE
                           : node_of(machine, near ? near->nodeset : NULL);
    }
}

static weir_code_t convert(hwloc_topology_t machine, bool is_this, weir__topology_t *out)
{
    hwloc_bitmap_t allowed = hwloc_bitmap_dup(hwloc_topology_get_allowed_cpuset(machine));
    hwloc_bitmap_t mask = hwloc_bitmap_alloc();
    weir_code_t code = allowed && mask ? allocate(machine, out) : WEIR_RESOURCE_EXHAUSTED;
    if (code == WEIR_OK && is_this && hwloc_get_cpubind(machine, mask, HWLOC_CPUBIND_THREAD) == 0)
        (void)hwloc_bitmap_and(allowed, allowed, mask);
    if (code == WEIR_OK) {
        read_places(machine, out);
        code = read_cpus(machine, allowed, out);
    }
    if (code == WEIR_OK)
        read_devices(machine, out);
    hwloc_bitmap_free(allowed);
    hwloc_bitmap_free(mask);
    return code;
}

weir_code_t weir__topology_read(
    const weir__topology_source_t *source, weir__topology_t *out_topology)
{
    const bool is_this = !source || (!source->xml && !source->synthetic);
    *out_topology = (weir__topology_t){0};
    hwloc_topology_t machine;
    weir_code_t code = load(source, &machine);
    if (code != WEIR_OK)
        return code;
    code = convert(machine, is_this, out_topology);
    hwloc_topology_destroy(machine);
    if (code == WEIR_OK && is_this)
        out_topology->quota_milli = weir_quota_read("");
    if (code != WEIR_OK)
        weir__topology_free(out_topology);
    return code;
}
