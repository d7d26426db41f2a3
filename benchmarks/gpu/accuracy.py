#!/usr/bin/env python3
"""The models' answers on a device beside those of the CPU plugin, for each precision of the CUDA plugin.

What:   f32 (strict), and again with graphs; tf32 and f16 by the plugin's option; bf16 as the plan's precision. For
        each the plan is read: every node that computes must be on the device, products and convolutions by the
        kernels of that precision and of no other. cuBLASLt and cuDNN must be loaded, unless --option leaves them
        out, and whatever the plugin says it does by an own kernel in their place is an error. With graphs one
        must have been recorded and launched; more runs are made until it was, up to a bound.
Bounds: the largest difference, as a share of the largest value of the answer. Strict f32 must agree as two
        orders of summing do; the others as their mantissas say. Where products are all that is rounded, the
        answer must not be that of f32 either: then the precision was not what was asked for.
Result: the last line is JSON, said after each row; exit code 1 if anything of this does not hold. With --json
        rows without an error are kept there and not done again for the same sources (GPU_STAMP); what has no time
        left goes on at the next call: exit code 75.

usage: accuracy.py WEIR FOLDER [--device NAME] [--cases A,B] [--option O=V] [--json ROWS] [--seconds N]
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import models
import numpy as np

# (name, precision of the plan, options, repeats, bound)
MODES = (("f32", "f32", "cuda.graphs=0", 1, 2e-4), ("f32 graphs", "f32", "", 40, 2e-4),
         ("tf32", "f32", "cuda.precision=tf32,cuda.graphs=0", 1, 5e-3),
         ("f16", "f32", "cuda.precision=f16,cuda.graphs=0", 1, 1e-2), ("bf16", "bf16", "cuda.graphs=0", 1, 5e-2))
CASES = (("minilm-tiny", 2, 9), ("resnet-tiny", 2, 0), ("minilm", 2, 32), ("resnet50", 1, 0))
HOST = ("engine", "host")  # arithmetic on sizes, and nodes that only say where memory lies
PRODUCTS = ("MatMul", "Gemm", "Conv")
LIBRARIES = ("cuBLASLt", "cuDNN")
REPEATS_MAX = 4000  # until a graph has been launched


def answer(weir, model, feeds, options):
    """The array, and what the plugin said."""
    with tempfile.TemporaryDirectory() as kept:
        command = [weir, "run", str(model), "--output", kept, "--verbose", *options]
        for port, array in feeds.items():
            file = pathlib.Path(kept) / f"in-{port}.npy"
            np.save(file, array)
            command += ["--input", f"{port}={file}"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)}: {done.stderr}")
        found = [path for path in pathlib.Path(kept).glob("*.npy") if not path.name.startswith("in-")]
        return np.load(found[0]), [line for line in done.stderr.splitlines() if "cuda:" in line]


def unlike_asked(lines, options, wants_graphs):
    """What the plugin says (lines of its log) that is not as it was asked for."""
    wrong = [line for line in lines if "own kernel" in line and "leaves it out" not in line]
    if wants_graphs and not was_replayed(lines):
        wrong += ["no graph was launched", *(line for line in lines if "a graph of" in line)]
    for library in LIBRARIES:
        is_left_out = f"cuda.{library.lower()}=none" in options
        if not is_left_out and not any(re.search(rf"{library} \d+\.", line) for line in lines):
            wrong.append(f"{library} is not loaded")
    return wrong


def was_replayed(lines):
    return any(int(count) > 0 for line in lines for count in re.findall(r"a graph was launched (\d+) times", line))


def misplaced(model, device, precision, options):
    """What of a plan is not as it was asked for."""
    import weir

    session = weir.InferenceSession(model, devices=[device], precision=precision, plugin_options=options or None)
    wrong = []
    for node in session.plan_nodes():
        op, where, kernel = (node[key] or "" for key in ("op", "device", "kernel"))
        if where != device and where not in HOST and not where.startswith(device + ":"):
            wrong.append(f"{op} runs on {where}")
        elif device == "cuda" and op in PRODUCTS and kernel.endswith("_bf16") != (precision == "bf16"):
            wrong.append(f"{op} by {kernel} in a plan of {precision}")
    return sorted(set(wrong))


def options_of(args, precision, extra):
    """The plugin's options, and those of the command with them."""
    chosen = ",".join(filter(None, args.option + ([extra] if args.device == "cuda" else [])))
    return chosen, ["--device", args.device, "--precision", precision] + (["--option", chosen] if chosen else [])


def kept(rows, stamp):
    return [row for row in rows if not row["wrong"] and row.get("stamp", "") == stamp]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weir")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--cases", default="")
    parser.add_argument("--option", action="append", default=[])
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=1e9)
    args = parser.parse_args()
    until, longest, stamp = time.monotonic() + args.seconds, 0.0, os.environ.get("GPU_STAMP", "")
    rows, left, added, said = [], 0, 0, set()
    if args.json and args.json.exists():
        rows = kept(json.loads(args.json.read_text()), stamp)

    def say():
        bad = sum(bool(row["wrong"]) for row in rows)
        print(json.dumps({"device": args.device, "bad": bad, "left": left, "added": added, "said": sorted(said),
                          "rows": rows}), flush=True)
        return bad

    for name, batch, sequence in CASES:
        if args.cases and name not in args.cases.split(","):
            continue
        modes = [mode for mode in (MODES if args.device == "cuda" else MODES[:1])
                 if not any((row["model"], row["mode"]) == (name, mode[0]) for row in rows)]
        if not modes:
            continue
        if time.monotonic() + longest > until:
            left += len(modes)
            continue
        feeds = models.inputs(name, batch, sequence)
        model, strict = args.folder / f"{name}.onnx", None
        wanted, _ = answer(args.weir, model, feeds, ["--device", "cpu"])
        for mode, precision, extra, repeats, bound in modes:
            begin = time.monotonic()
            if begin + longest > until:
                left += 1
                continue
            chosen, options = options_of(args, precision, extra)
            found, lines = answer(args.weir, model, feeds, options + ["--repeat", str(repeats)])
            wants_graphs = args.device == "cuda" and repeats > 1
            while wants_graphs and not was_replayed(lines) and repeats * 10 <= REPEATS_MAX:
                repeats *= 10  # it is recorded in the background, however long that takes
                found, lines = answer(args.weir, model, feeds, options + ["--repeat", str(repeats)])
            share = float(np.abs(found - wanted).max() / np.abs(wanted).max())
            wrong = misplaced(model, args.device, precision, chosen)
            if args.device == "cuda":
                wrong += unlike_asked(lines, chosen, wants_graphs)
            said |= {line for line in lines if "driver for" in line}
            if not share <= bound:
                wrong.append(f"off by {share:.2e}, at most {bound:.0e}")
            if name in models.BERT and mode in ("tf32", "f16", "bf16"):
                if strict is None:
                    strict, _ = answer(args.weir, model, feeds, options_of(args, *MODES[0][1:3])[1])
                if np.array_equal(found, strict):
                    wrong.append(f"{mode} gives the very answer of f32")
            elif mode == "f32":
                strict = found
            rows.append({"model": name, "mode": mode, "error": share, "bound": bound, "wrong": wrong, "stamp": stamp})
            added += 1
            if args.json:
                args.json.write_text(json.dumps(rows))
            print(f"{name:12} {mode:10} {share:.2e} of at most {bound:.0e} {'; '.join(wrong)}", flush=True)
            say()
            longest = max(longest, time.monotonic() - begin)
    bad = say()
    if bad or not rows or (left and not added):
        return 1
    return 75 if left else 0


if __name__ == "__main__":
    sys.exit(main())
