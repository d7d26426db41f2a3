#!/usr/bin/env python3
"""weir compare names the node whose kernel was made wrong, for faults planted in the chaos device.

Goal:   of ten nodes in PP-OCR's recogniser and MiniLM, drawn by a seed, one at a time gives a wrong bit on the
        chaos device; `weir compare --device chaos,ref` must name that node as the first that differs, and
        nothing where nothing is planted.
Method: the chaos device runs the CPU plugin's kernels and turns one high bit of one element of the node's
        output (its schedule says at which). The reference is the CPU itself, so nothing else can differ.
Must not: accept a node near the planted one, or pass over a fault that the device made and nobody noticed.

usage: check_planted.py [--count N] [--seed N]
"""

import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys

import support
from support import fetch

COMMAND = pathlib.Path(os.environ.get("WEIR_COMMAND", support.ROOT / "build" / "release" / "bin" / "weir"))
MODELS = {
    "ppocr-rec": ["--dim", "p2o.DynamicDimension.0=1", "--dim", "x:2=48", "--dim", "p2o.DynamicDimension.1=64"],
    "minilm": ["--dim", "batch=2", "--dim", "sequence=9"],
}


def compare(model, fault):
    """What weir compare says, as JSON, and how it ended."""
    plugins = COMMAND.parents[1] / "lib" / "weir-test" / "weir_chaos.so"
    environment = {**os.environ, "WEIR_PLUGIN_PATH": str(plugins)}
    options = ["--option", f"chaos.faults={fault}"] if fault else []
    done = subprocess.run(
        [COMMAND, "compare", fetch.model_path(model), "--device", "chaos,ref", "--reference", "cpu,ref", "--json",
         "--verbose", *options, *MODELS[model]],
        env=environment, capture_output=True, text=True, timeout=300, check=False)
    if not done.stdout:
        raise SystemExit(f"{model}, {fault}: {done.stderr}")
    return json.loads(done.stdout), done.returncode, done.stderr


def hits_of(fault, error):
    """How often the device made that fault, as it says in the log when it ends."""
    found = re.search(re.escape(f"chaos: fault {fault} hit ") + r"(\d+) of", error)
    if not found:
        raise SystemExit(f"{fault}: the device does not say how often: {error}")
    return int(found.group(1))


def on_device(model):
    """Names of the nodes that the device runs, each for itself: no other name holds it."""
    said, code, error = compare(model, None)
    if code:
        raise SystemExit(f"{model}: nothing is planted, yet: {error}")
    names = [value["node"] for value in said["values"] if value.get("node")]
    alone = [n for n in names if n and sum(n in other for other in set(names)) == 1]
    return alone, len(names)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10, help="of faults")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    fetch.ensure(sorted(MODELS))
    dice, passed, failed = random.Random(arguments.seed), 0, 0
    names = {}
    for model in MODELS:
        names[model], count = on_device(model)
        print(f"{model}: {count} values, nothing differs")
        passed += 1
    planted = 0
    while planted < arguments.count and any(names.values()):
        model = sorted(MODELS)[planted % len(MODELS)]
        node = names[model].pop(dice.randrange(len(names[model])))
        fault = f"run:wrong={node}:*"
        said, code, error = compare(model, fault)
        first = (said["first"] or {}).get("node")
        if hits_of(fault, error) == 0:
            continue  # the host runs it: shape arithmetic, a view
        planted += 1
        good = code == 1 and first == node and f'"{node}"' in error
        print(f"{'ok  ' if good else 'FAIL'} {model}: planted in {node}, said {first}: {error.strip()[-160:]}",
              flush=True)
        passed, failed = passed + good, failed + (not good)
    print(f"planted: {passed} passed, {failed + (planted < arguments.count)} failed")
    return failed != 0 or planted < arguments.count


if __name__ == "__main__":
    sys.exit(main())
