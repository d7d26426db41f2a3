#!/usr/bin/env python3
"""Compiles the own CUDA kernels and holds them to their budget of registers, spills and shared memory.

Goal:   every kernel of kernels/cuda compiles for each architecture, and none costs more than
        kernels/cuda/budget.txt allows: what an edit adds is seen here, not on a GPU.
Method: nvcc with ptxas -v for each architecture alone; a machine with a toolkit is enough. In CTest for
        sm_90a and PTX, by `./run check cuda-archs` for all.
Must not: say anything of speed.

usage: archs.py --nvcc NVCC [--archs sm_90a,compute_80] [--write]
  --write   makes the budget of what the kernels cost now, over these architectures
"""

import argparse
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUDGET = ROOT / "kernels" / "cuda" / "budget.txt"
HEAD = """# The most that each own CUDA kernel may cost on any architecture that it is compiled for. tests/cuda/archs.py
# checks it, and writes it: archs.py --nvcc NVCC --archs ... --write
# kernel  registers  spilled bytes  shared bytes
"""
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(\w+)'")
SPILL = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def compile_for(nvcc, arch, folder):
    """{kernel: (registers, spilled, shared)}; of PTX nothing is known but that it compiles."""
    virtual = re.sub(r"^[a-z]+_", "compute_", arch)
    run = subprocess.run(
        [nvcc, "--fatbin", "-std=c++17", "-O3", f"-I{ROOT}", "-gencode", f"arch={virtual},code={arch}",
         "-Xptxas", "-v", "-o", str(folder / f"{arch}.fatbin"), str(ROOT / "kernels/cuda/kernels.cu")],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if run.returncode:
        sys.exit(f"{arch}: {run.stdout}")
    costs, name = {}, None
    for row in run.stdout.split("\n"):
        if found := ENTRY.search(row):
            name, spilled = found.group(1), 0
        elif found := SPILL.search(row):
            spilled = int(found.group(1)) + int(found.group(2))
        elif (found := USED.search(row)) and name:
            shared = SHARED.search(row)
            costs[name] = (int(found.group(1)), spilled, int(shared.group(1)) if shared else 0)
            name = None
    return costs


def read_budget():
    rows = [row.split() for row in BUDGET.read_text().split("\n") if row and not row.startswith("#")]
    return {row[0]: tuple(int(each) for each in row[1:]) for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--nvcc", required=True)
    parser.add_argument("--archs", default="sm_90a,compute_80")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    most, wrong = {}, 0
    budget = {} if options.write else read_budget()
    with tempfile.TemporaryDirectory(prefix="weir-archs-") as folder:
        for arch in options.archs.split(","):
            costs = compile_for(options.nvcc, arch, pathlib.Path(folder))
            if arch.startswith("sm_") and not costs:
                sys.exit(f"{arch}: ptxas says nothing of any kernel")
            print(f"{arch}: {len(costs)} kernels" if costs else f"{arch}: compiles", flush=True)
            for name, cost in costs.items():
                most[name] = tuple(max(pair) for pair in zip(cost, most.get(name, (0, 0, 0))))
                if not options.write and any(a > b for a, b in zip(cost, budget.get(name, (0, 0, 0)))):
                    print(f"{arch}: {name} costs {cost} (registers, spilled bytes, shared bytes), "
                          f"its budget is {budget.get(name)}")
                    wrong += 1
    if options.write:
        BUDGET.write_text(HEAD + "".join(f"{name} {a} {b} {c}\n" for name, (a, b, c) in sorted(most.items())))
        return 0
    for name in budget.keys() - most.keys():
        print(f"{name} has a budget and is no kernel")
        wrong += 1
    print(f"{len(most)} kernels, {wrong} over budget, {sum(1 for cost in most.values() if cost[1])} spill")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
