#!/usr/bin/env python3
"""Writes the machines of this folder as hwloc's XML: two sockets, four GPUs, hybrid cores.

    tests/scheduler/topologies/make.py

The files are committed; this says what is in them and writes them again. It needs Python's standard library only
and reads no machine.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import quoteattr

sys.dont_write_bytecode = True


class Machine:
    """Objects of hwloc's XML, version 2.0; numbers of CPUs, nodes and objects are dealt in order."""

    def __init__(self):
        self.rows, self.ids, self.cpus, self.cores, self.nodes = [], 0, 0, 0, 0

    def open(self, indent, kind, cpus, nodes, **more):
        self.ids += 1
        attributes = {"type": kind, **more}
        if cpus is not None:
            for name, value in (("cpuset", cpus), ("complete_cpuset", cpus), ("nodeset", nodes),
                                ("complete_nodeset", nodes)):
                attributes[name] = f"0x{sum(1 << bit for bit in value):08x}"
            if kind == "Machine":
                attributes |= {"allowed_cpuset": attributes["cpuset"], "allowed_nodeset": attributes["nodeset"]}
        attributes["gp_index"] = self.ids
        text = " ".join(f"{name}={quoteattr(str(value))}" for name, value in attributes.items())
        self.rows.append(f"{' ' * indent}<object {text}>")

    def close(self, indent):
        self.rows.append(f"{' ' * indent}</object>")

    def info(self, indent, name, value):
        self.rows.append(f"{' ' * indent}<info name={quoteattr(name)} value={quoteattr(value)}/>")

    def core(self, indent, threads, node):
        cpus = range(self.cpus, self.cpus + threads)
        self.open(indent, "Core", cpus, [node], os_index=self.cores)
        for cpu in cpus:
            self.open(indent + 1, "PU", [cpu], [node], os_index=cpu)
            self.close(indent + 1)
        self.close(indent)
        self.cores += 1
        self.cpus += threads

    def cache(self, indent, cores, node, megabytes):
        """cores: hardware threads of each."""
        cpus = range(self.cpus, self.cpus + sum(cores))
        self.open(indent, "L3Cache", cpus, [node], cache_size=megabytes << 20, depth=3, cache_linesize=64,
                  cache_associativity=16, cache_type=0)
        for threads in cores:
            self.core(indent + 1, threads, node)
        self.close(indent)

    def gpus(self, indent, buses, name):
        self.open(indent, "Bridge", None, None, bridge_type="0-1", depth=0,
                  bridge_pci=f"0000:[{buses[0]:02x}-{buses[-1]:02x}]")
        for bus in buses:
            self.open(indent + 1, "PCIDev", None, None, pci_busid=f"0000:{bus:02x}:00.0",
                      pci_type="0302 [10de:2330] [10de:16c1] a1", pci_link_speed="0.0")
            self.info(indent + 2, "PCIVendor", "NVIDIA Corporation")
            self.info(indent + 2, "PCIDevice", name)
            self.close(indent + 1)
        self.close(indent)

    def package(self, caches, megabytes, gigabytes, model, buses=()):
        node, cpus = self.nodes, range(self.cpus, self.cpus + sum(map(sum, caches)))
        self.open(2, "Package", cpus, [node], os_index=node)
        self.info(3, "CPUModel", model)
        self.open(3, "NUMANode", cpus, [node], os_index=node, local_memory=gigabytes << 30)
        self.close(3)
        for cores in caches:
            self.cache(3, cores, node, megabytes)
        if buses:
            self.gpus(3, buses, "GH100 [H100 SXM5 80GB]")
        self.close(2)
        self.nodes += 1

    def write(self, path, kinds=()):
        """kinds: (CPUs, efficiency, name), the weakest first."""
        body, self.rows = self.rows, []
        self.open(1, "Machine", range(self.cpus), range(self.nodes), os_index=0)
        self.rows += body
        self.close(1)
        for cpus, efficiency, name in kinds:
            mask = f"0x{sum(1 << cpu for cpu in cpus):08x}"
            self.rows.append(f' <cpukind cpuset="{mask}" forced_efficiency="{efficiency}">')
            self.info(2, "CoreType", name)
            self.rows.append(" </cpukind>")
        head = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE topology SYSTEM "hwloc2.dtd">\n'
        path.write_text(head + '<topology version="2.0">\n' + "\n".join(self.rows) + "\n</topology>\n")


def main():
    here = Path(__file__).parent
    machine = Machine()
    for _ in range(2):
        machine.package([[1] * 8] * 4, 32, 256, "Two sockets, four L3 each")
    machine.write(here / "sockets.xml")

    machine = Machine()
    machine.package([[1] * 12], 60, 512, "Two sockets, two GPUs at each", (0x18, 0x2a))
    machine.package([[1] * 12], 60, 512, "Two sockets, two GPUs at each", (0x9a, 0xab))
    machine.write(here / "gpus.xml")

    machine = Machine()
    machine.package([[2] * 8 + [1] * 8], 36, 64, "Eight strong cores, eight weak ones", (0x01,))
    machine.write(here / "hybrid.xml", [(range(16, 24), 0, "IntelAtom"), (range(16), 1, "IntelCore")])


if __name__ == "__main__":
    main()
