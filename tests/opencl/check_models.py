#!/usr/bin/env python3
"""Every real model on the OpenCL device: ONNX Runtime's answers, and where the work was done.

    tests/opencl/check_models.py [--quick] [--model NAME]... [--build DIR]

Answers: the rule of tests/models/check_models.py, exchanged channels included, with --device opencl. Where:
of the models in WHOLE no node that computes may be anywhere else (what only works on sizes stays with the
engine); for each model how many nodes ran there, and their share of a run's time, are printed.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/models"))
sys.path.insert(0, str(ROOT / "benchmarks/models"))

import fetch  # pylint: disable=wrong-import-position

WHOLE = ("ppocr-det", "ppocr-rec", "ppocr-cls", "minilm", "resnet50", "squeezenet")
DIMS = {
    "minilm": ["--dim", "batch=1", "--dim", "sequence=64"],
    "ppocr-det": ["--dim", "x:0=1", "--dim", "x:2=320", "--dim", "x:3=320"],
    "ppocr-rec": ["--dim", "x:0=1", "--dim", "x:2=48", "--dim", "x:3=320"],
    "ppocr-cls": ["--dim", "x:0=1", "--dim", "x:2=48", "--dim", "x:3=192"],
}


def weir(build, *arguments):
    done = subprocess.run([build / "bin/weir", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return json.loads(done.stdout)


def where(build, name):
    """(nodes on the device, nodes of the engine alone, [others], share of the time or None)"""
    path = str(fetch.model_path(name))
    nodes = weir(build, "explain", path, "--device", "opencl", "--json")["nodes"]
    on_device = [n for n in nodes if n["device"] == "opencl"]
    sizes = [n for n in nodes if n["device"] == "engine"]
    others = [n for n in nodes if n["device"] not in ("opencl", "engine")]
    share = None
    if name in DIMS or name in ("resnet50", "squeezenet"):
        dims = DIMS.get(name, ["--dim", "N=1"])
        profile = weir(build, "profile", path, "--device", "opencl", "--json", "--runs", "3", *dims)
        share = sum(d["share"] for d in profile["devices"] if d["name"] == "opencl")
    return len(on_device), len(sizes), others, share


def check_places(build, names):
    failed = 0
    for name in names:
        try:
            count, sizes, others, share = where(build, name)
        except RuntimeError as error:
            print(f"{name:18} FAILED: {error}", flush=True)
            failed += 1
            continue
        elsewhere = ", ".join(f"{n['op']} on {n['device']}" for n in others)
        wrong = name in WHOLE and bool(others)
        failed += wrong
        time = "" if share is None else f"; {share:.1%} of the time"
        print(
            f"{name:18} {count} nodes on opencl{time}; {sizes} on sizes and views alone"
            f"{'; elsewhere: ' + elsewhere if elsewhere else ''}{'  FAILED' if wrong else ''}",
            flush=True,
        )
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smaller models and fewer swaps")
    parser.add_argument("--model", action="append", choices=list(fetch.MODELS))
    parser.add_argument("--build", type=Path, default=ROOT / "build/release")
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    # Python's weir, which the import loads, is of the same build as the command.
    os.environ["WEIR_LIBRARY"] = str(build / "lib/libweir.so")
    import check_models  # pylint: disable=import-outside-toplevel

    names = arguments.model or (check_models.QUICK if arguments.quick else list(fetch.MODELS))
    fetch.ensure(names)
    failed = check_places(build, names)
    print(f"places: {len(names) - failed} passed, {failed} failed", flush=True)
    sys.argv = ["check_models.py", "--device", "opencl"] + ["--quick"] * arguments.quick
    for name in names:
        sys.argv += ["--model", name]
    return check_models.main() or (1 if failed else 0)


if __name__ == "__main__":
    sys.exit(main())
