#!/usr/bin/env python3
"""Does weir_opencl.so keep the rules of <weir/plugin.h>, with both families of kernels?

    tests/opencl/conform_test.py BUILD_DIR [--all] [--cases N]

A few groups, two cases each, for CI: drivers compile each case anew, which takes a second. --all: every group
of `weir conform` (half an hour). Exit code 77: no OpenCL device here, which is what a run on it says.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from reasons_test import relu_model

FEW = [
    "device:", "Pointwise (cl.pointwise) f32 on the device", "Concat (cl.concat) f32 on",
    "Gather (cl.gather) f32 on", "ReduceSum (cl.reduce_sum) f32 on", "Resize (cl.resize) f32 on",
    "MatMul (", "Softmax (",
]


# What is not the default here: discrete memory, whose buffers the host does not see.
OTHERWISE = [("zero_copy=0", "device:"), ("zero_copy=0", "Transpose (cl.transpose) f32 on")]
# Two devices that are called the same, as PoCL makes them.
TWINS = {"POCL_DEVICES": "pthread pthread"}
POCL = "opencl.platform=Portable"


def conform(build, option, more, env):
    command = [
        build / "bin/weir", "conform", build / "lib/weir/weir_opencl.so", "--timeout", "300",
        "--option", option, *more,
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()


def runs_on(build, device, folder, env, *options):
    """Does a model run there? None: there is no such device."""
    model = Path(folder) / "relu.onnx"
    model.write_bytes(relu_model())
    command = [build / "bin/weir", "run", model, "--random", "1", "--dim", "n=5", "--device", device]
    command += [part for option in options for part in ("--option", option)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    text = (done.stdout + done.stderr).strip()
    if done.returncode:
        print(f"{device} {' '.join(options)}: {text}")
    return None if done.returncode and "UNAVAILABLE" in text else done.returncode == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--cases", type=int, default=2)
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    failed = passed = 0
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "WEIR_CACHE_DIR": folder}
        is_there = runs_on(build, "opencl", folder, env)
        if is_there is None:
            print("skipped")
            return 77
        failed += not is_there
        few = ["--cases", str(arguments.cases), "--filter"]
        runs = [(option, [*few, text], env) for option, text in OTHERWISE]
        on_pocl = runs_on(build, "opencl", folder, env, POCL)
        if on_pocl is None:
            print("two devices that are called the same: left out, there is no PoCL")
        else:
            failed += not on_pocl
            if not runs_on(build, "opencl:1", folder, env | TWINS, POCL):
                print("two devices that are called the same: there is one only")
                failed += 1
            runs.append(("platform=Portable", [*few, "device: opening"], env | TWINS))
        for family in ("family=cpu", "family=gpu"):
            groups = [[]] if arguments.all else [[*few, text] for text in FEW]
            runs += [(family, more, env) for more in groups]
        for option, more, settings in runs:
            code, lines = conform(build, option, more, settings)
            totals = next((l for l in reversed(lines) if " passed, " in l), "nothing ran")
            print(f"{option}  {more[-1] if more else 'all groups'}: {totals}", flush=True)
            failed += code != 0 or totals.startswith("0 passed")
            passed += code == 0
            if code:
                print("\n".join(f"    {l}" for l in lines if not l.endswith(("pass", "unsupported"))))
    print(f"opencl conform: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
