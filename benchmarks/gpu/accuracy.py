#!/usr/bin/env python3
"""The models' answers on a device beside those of the CPU plugin, for each precision of the CUDA plugin.

What:   f32 (strict), and again with graphs; tf32 and f16 by the plugin's option; bf16 as the plan's precision. For
        each the plan is read: every node that computes must be on the device, products and convolutions by the
        kernels of that precision and of no other. cuBLASLt and cuDNN must be loaded, unless --option leaves them
        out, and whatever the plugin says it does by an own kernel in their place is an error. With graphs one
        must have been recorded and launched; more runs are made until it was, up to a bound of time and of runs.
Bounds: the largest difference, as a share of the largest value of the answer. Strict f32 must agree as two
        orders of summing do; the others as their mantissas say. Where products are all that is rounded, the
        answer must not be that of f32 either: then the precision was not what was asked for.
        A run that crashes, or does not end, is a row with an error as any other, and the next one follows.
Result: the last line is JSON, said after each row; exit code 1 if anything of this does not hold. With --json
        rows are kept there for the same sources (GPU_STAMP): those without an error are not done again, those with
        one are after all that have no row yet. What has no time left goes on at the next call: exit code 75.

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
from stamp import kept

# (name, precision of the plan, options, repeats, bound)
MODES = (("f32", "f32", "cuda.graphs=0", 1, 2e-4), ("f32 graphs", "f32", "", 40, 2e-4),
         ("tf32", "f32", "cuda.precision=tf32,cuda.graphs=0", 1, 5e-3),
         ("f16", "f32", "cuda.precision=f16,cuda.graphs=0", 1, 1e-2), ("bf16", "bf16", "cuda.graphs=0", 1, 5e-2))
CASES = (("minilm-tiny", 2, 9), ("resnet-tiny", 2, 0), ("minilm", 2, 32), ("resnet50", 1, 0))
HOST = ("engine", "host")  # arithmetic on sizes, and nodes that only say where memory lies
PRODUCTS = ("MatMul", "Gemm", "Conv")
LIBRARIES = ("cuBLASLt", "cuDNN")
# Until a graph has been launched: so many runs, or a command that took so long.
REPEATS_MAX, ENOUGH_S = 400000, 20
LIMIT_S = 60  # of one command


class Failed(Exception):
    """A command that did not end as it should; its reason."""


def ended(command):
    """What a command has said, as subprocess has it."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"not ended after {error.timeout:.0f} s") from error
    except OSError as error:
        raise Failed(str(error)) from error
    if done.returncode:
        last = " | ".join(done.stderr.strip().splitlines()[-3:])
        raise Failed(f"exit code {done.returncode}: {last}"[:400])
    return done


def answer(weir, model, feeds, options):
    """The array, and what the plugin said."""
    with tempfile.TemporaryDirectory() as kept:
        command = [weir, "run", str(model), "--output", kept, "--verbose", *options]
        for port, array in feeds.items():
            file = pathlib.Path(kept) / f"in-{port}.npy"
            np.save(file, array)
            command += ["--input", f"{port}={file}"]
        done = ended(command)
        found = [path for path in pathlib.Path(kept).glob("*.npy") if not path.name.startswith("in-")]
        if not found:
            raise Failed("no answer was written")
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
    """What of a plan is not as it was asked for; a process of its own opens the device for it."""
    done = ended([sys.executable, __file__, "--misplaced", str(model), device, precision, options])
    return json.loads(done.stdout.splitlines()[-1])


def nodes_misplaced(model, device, precision, options):
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


def in_order(cases, modes, rows):
    """(case, mode) that have no row without an error: first those that have none at all, each mode by all models."""
    found = {(row["model"], row["mode"]): row["wrong"] for row in rows}
    pairs = [(case, mode) for mode in modes for case in cases if found.get((case[0], mode[0]), True)]
    return sorted(pairs, key=lambda pair: (pair[0][0], pair[1][0]) in found)


class Answers:
    """What the CPU plugin says of a model, and strict f32 on the device; each is asked for once."""

    def __init__(self, args):
        self.args, self.known = args, {}

    def get(self, case, options):
        key = (case, tuple(options))
        if key not in self.known:
            model = self.args.folder / f"{case[0]}.onnx"
            self.known[key] = answer(self.args.weir, model, models.inputs(*case), options)[0]
        return self.known[key]

    def wanted(self, case):
        return self.get(case, ["--device", "cpu"])

    def strict(self, case):
        return self.get(case, options_of(self.args, *MODES[0][1:3])[1])


def repeated(ask, repeats, wants_graph):
    """ask(repeats), with more of them while a graph that is wanted was not launched: it is recorded in the
    background, however long that takes."""
    while True:
        begin = time.monotonic()
        found, lines = ask(repeats)
        took = time.monotonic() - begin
        if not wants_graph or was_replayed(lines) or took >= ENOUGH_S or repeats >= REPEATS_MAX:
            return found, lines
        # Not so many that the command's limit is what ends it.
        repeats = min(int(repeats * min(10, 2 * ENOUGH_S / max(took, 1e-3))), REPEATS_MAX)


def row_of(args, answers, case, mode):
    """One row, and what the plugin said."""
    name, (mode, precision, extra, repeats, bound) = case[0], mode
    model, share, wrong, lines = args.folder / f"{name}.onnx", None, [], []
    try:
        chosen, options = options_of(args, precision, extra)
        feeds, wanted = models.inputs(*case), answers.wanted(case)
        wants_graph = args.device == "cuda" and repeats > 1

        def ask(count):
            return answer(args.weir, model, feeds, options + ["--repeat", str(count)])

        found, lines = repeated(ask, repeats, wants_graph)
        share = float(np.abs(found - wanted).max() / np.abs(wanted).max())
        if not share <= bound:
            wrong.append(f"off by {share:.2e}, at most {bound:.0e}")
        if args.device == "cuda":
            wrong += unlike_asked(lines, chosen, wants_graph)
        if name in models.BERT and mode in ("tf32", "f16", "bf16") and np.array_equal(found, answers.strict(case)):
            wrong.append(f"{mode} gives the very answer of f32")
        wrong += misplaced(model, args.device, precision, chosen)
    except (Failed, OSError, ValueError) as error:  # an array that cannot be read or has another shape is wrong, too
        wrong.append(str(error))
    return {"model": name, "mode": mode, "error": share, "bound": bound, "wrong": wrong}, lines


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
    rows, added, said, answers = [], 0, set(), Answers(args)
    if args.json and args.json.exists():
        rows = kept(json.loads(args.json.read_text()), stamp)
    cases = [case for case in CASES if not args.cases or case[0] in args.cases.split(",")]
    modes = MODES if args.device == "cuda" else MODES[:1]

    def say():
        bad, left = sum(bool(row["wrong"]) for row in rows), len(cases) * len(modes) - len(rows)
        print(json.dumps({"device": args.device, "bad": bad, "left": left, "added": added, "said": sorted(said),
                          "rows": rows}), flush=True)
        return bad, left

    say()
    for case, mode in in_order(cases, modes, rows):
        begin = time.monotonic()
        if begin + longest > until:
            break
        row, lines = row_of(args, answers, case, mode)
        said |= {line for line in lines if "driver for" in line}
        rows = [other for other in rows if (other["model"], other["mode"]) != (row["model"], row["mode"])]
        rows.append({**row, "stamp": stamp})
        added += 1
        if args.json:
            args.json.write_text(json.dumps(rows))
        print(f"{row['model']:12} {row['mode']:10} {row['error']} of at most {row['bound']:.0e} "
              f"{'; '.join(row['wrong'])}", flush=True)
        say()
        if not row["wrong"]:  # one that did not end says nothing of the next
            longest = max(longest, time.monotonic() - begin)
    bad, left = say()
    if bad or not rows or (left and not added):
        return 1
    return 75 if left else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--misplaced"]:
        print(json.dumps(nodes_misplaced(*sys.argv[2:])))
        sys.exit(0)
    sys.exit(main())
