#!/usr/bin/env python3
"""The models' answers on a device beside those of the CPU plugin, for each precision of the CUDA plugin.

Bounds: the largest difference, as a share of the largest value of the answer. Strict f32 must agree as two
orders of summing do; the others as their mantissas say. The last line is JSON; exit code 1 if one is over.

usage: accuracy.py WEIR FOLDER [--device NAME]
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import models
import numpy as np

BOUNDS = {"f32": 2e-4, "tf32": 5e-3, "bf16": 5e-2, "f16": 1e-2}
CASES = (("minilm-tiny", 2, 9), ("resnet-tiny", 2, 0), ("minilm", 2, 32), ("resnet50", 1, 0))


def answer(weir, folder, name, feeds, options):
    with tempfile.TemporaryDirectory() as kept:
        command = [weir, "run", str(folder / f"{name}.onnx"), "--output", kept, *options]
        for port, array in feeds.items():
            file = pathlib.Path(kept) / f"in-{port}.npy"
            np.save(file, array)
            command += ["--input", f"{port}={file}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        found = [path for path in pathlib.Path(kept).glob("*.npy") if not path.name.startswith("in-")]
        return np.load(found[0])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weir")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cases", default="")
    parser.add_argument("--option", action="append", default=[])
    args = parser.parse_args()
    rows, over = [], 0
    for name, batch, sequence in CASES:
        if args.cases and name not in args.cases.split(","):
            continue
        feeds = models.inputs(name, batch, sequence)
        wanted = answer(args.weir, args.folder, name, feeds, ["--device", "cpu"])
        for precision, bound in BOUNDS.items():
            options = ["--device", args.device]
            for option in args.option + ([f"cuda.precision={precision}"] if args.device == "cuda" else []):
                options += ["--option", option]
            if args.device == "cpu" and precision != "f32":
                continue
            found = answer(args.weir, args.folder, name, feeds, options)
            share = float(np.abs(found - wanted).max() / np.abs(wanted).max())
            over += not share <= bound
            rows.append({"model": name, "precision": precision, "error": share, "bound": bound})
            print(f"{name:12} {precision:5} {share:.2e} of at most {bound:.0e}")
    print(json.dumps({"device": args.device, "over": over, "rows": rows}))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
