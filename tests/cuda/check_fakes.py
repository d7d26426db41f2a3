#!/usr/bin/env python3
"""MiniLM and ResNet-50 wholly on the CUDA plugin over the fakes, beside the CPU plugin.

What:  with seeded weights (benchmarks/gpu/models.py), enough runs for graphs to be recorded and replayed; no
       node may run elsewhere. A small ResNet too, whose shapes are odd. Then the same with cuBLASLt and cuDNN
       left out, which is the own kernels' part.
Why:   it is the proof of the plugin's control flow that a machine without a GPU can give. It says nothing of one.

usage: check_fakes.py [BUILD]
"""

import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
OWN = "cuda.cublaslt=none,cuda.cudnn=none"
# (model, dims, options, repeats, relative tolerance)
CASES = (
    ("minilm-tiny", {"batch": 3, "sequence": 7}, "", 14, 1e-4),
    ("minilm-tiny", {"batch": 3, "sequence": 7}, OWN, 14, 1e-4),
    ("resnet-tiny", {"batch": 2}, "", 14, 1e-4),
    ("resnet-tiny", {"batch": 2}, OWN, 1, 1e-4),
    ("minilm", {"batch": 1, "sequence": 16}, "", 12, 1e-3),
    ("resnet50", {"batch": 1}, "", 1, 1e-3),
)


def run(command, env):
    done = subprocess.run(command, capture_output=True, text=True, env=env, timeout=900)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def check(weir, env, folder, case):
    import numpy as np

    name, dims, option, repeats, tolerance = case
    model = folder / f"{name}.onnx"
    common = ["--random", "3"] + [part for k, v in dims.items() for part in ("--dim", f"{k}={v}")]
    answers = {}
    for device in ("cpu", "cuda"):
        kept = folder / f"{name}-{device}"
        command = [weir, "run", model, *common, "--device", device, "--output", kept]
        if device == "cuda":
            command += ["--repeat", str(repeats)] + (["--option", option] if option else [])
        run(command, env)
        answers[device] = np.load(next(kept.glob("*.npy")))
    share = np.abs(answers["cuda"] - answers["cpu"]).max() / np.abs(answers["cpu"]).max()
    nodes = [line for line in run([weir, "explain", model, "--device", "cuda"], env).splitlines()]
    launches = next(line.split() for line in nodes if line.startswith("cuda "))
    good = share <= tolerance
    print(f"{name:12} {option or 'all libraries':40} {launches[1]:>4} nodes, {launches[2]} launches, "
          f"off by {share:.1e} of at most {tolerance:.0e}{'' if good else '  WRONG'}", flush=True)
    return good


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "release")
    if not (build / "lib" / "weir" / "weir_cuda.so").exists():
        print("there is no weir_cuda.so: it is built where there is a CUDA toolkit")
        return 1
    with tempfile.TemporaryDirectory() as above:
        folder = pathlib.Path(above)
        env = {**os.environ, "LD_LIBRARY_PATH": str(build / "lib" / "fake_cuda"), "WEIR_CACHE_DIR": f"{above}/cache"}
        run([sys.executable, ROOT / "benchmarks" / "gpu" / "models.py", folder], env)
        good = sum(check(build / "bin" / "weir", env, folder, case) for case in CASES)
    print(f"models over the fakes: {good} passed, {len(CASES) - good} failed")
    return 0 if good == len(CASES) else 1


if __name__ == "__main__":
    sys.exit(main())
