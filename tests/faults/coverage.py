#!/usr/bin/env python3
"""Branch coverage of what stands between a hostile file and the rest: reader, validator, limits.

Runs the tests of BUILD (the preset `coverage`) that reach them, adds up gcov's counts and prints them, a
line for each part and one for each file; fails below --least.

usage: coverage.py BUILD [--least PERCENT] [--lines]
"""

import argparse
import gzip
import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = {
    "reader": ["engine/onnx/wire.c", "engine/onnx/node.c", "engine/onnx/tensor.c", "engine/onnx/scope.c",
               "engine/onnx/call.c", "engine/onnx/reader.c"],
    "validator": ["engine/graph/verify.c", "engine/graph/graph.c", "engine/graph/infer.c",
                  "engine/graph/infer_graph.c", "engine/graph/infer_shape.c", "engine/graph/infer_move.c",
                  "engine/graph/infer_conv.c", "engine/graph/infer_matmul.c", "engine/graph/infer_misc.c",
                  "engine/graph/infer_pointwise.c", "engine/graph/infer_reduce.c",
                  "engine/graph/infer_attention.c"],
    "normaliser": ["engine/onnx/normalise.c", "engine/onnx/normalise_math.c", "engine/onnx/normalise_shape.c",
                   "engine/onnx/normalise_custom.c"],
    "limits": ["engine/api/limits.c", "engine/base/size.h", "engine/base/zone.c", "engine/base/heap.c"],
}
TESTS = ("^(onnx_|graph_|limits$|malformed$|nth_|cache_|heap_zone|map_status|specialize_data|session_runs|rules$|"
         "custom_operator|fuzz_corpus_[vr])")


def gcov(build):
    """{source: {line: [taken or not, for each branch]}} over all objects of the engine."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for notes in sorted((build / "engine").rglob("*.gcda")):
            subprocess.run(["gcov", "--json-format", "--branch-probabilities", str(notes)], cwd=folder,
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for report in pathlib.Path(folder).glob("*.gcov.json.gz"):
                for file in json.loads(gzip.open(report).read())["files"]:
                    lines = found.setdefault(file["file"].removeprefix(str(ROOT) + "/"), {})
                    for line in file["lines"]:
                        taken = [branch["count"] > 0 for branch in line["branches"]]
                        before = lines.get((line["line_number"], line.get("function_name")), [False] * len(taken))
                        lines[line["line_number"], line.get("function_name")] = [
                            a or b for a, b in zip(taken, before)] if len(before) == len(taken) else taken
                report.unlink()
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--least", type=float, default=95.0, help="percent of the branches of each part")
    parser.add_argument("--lines", action="store_true", help="show the lines with branches never taken")
    options = parser.parse_args()
    options.build = options.build.resolve()  # gcov runs elsewhere
    for old in options.build.rglob("*.gcda"):
        old.unlink()
    tests = subprocess.run(["ctest", "--test-dir", str(options.build), "-R", TESTS, "-j2", "--no-tests=error",
                            "--output-on-failure"], check=False, capture_output=True, text=True)
    found = gcov(options.build)
    failed = 0
    if tests.returncode:
        print(tests.stdout[-4000:])
        failed += 1
    for part, files in PARTS.items():
        taken = total = 0
        rows = []
        for file in files:
            branches = [b for line in found.get(file, {}).values() for b in line]
            taken, total = taken + sum(branches), total + len(branches)
            rows.append(f"  {file}: {sum(branches)} of {len(branches)}")
            if options.lines:
                missed = sorted({line[0] for line, b in found.get(file, {}).items() if not all(b)})
                rows.append(f"    never: {missed}")
        percent = 100.0 * taken / total if total else 0.0
        print(f"{part}: {percent:.1f} % of {total} branches")
        print("\n".join(rows))
        failed += percent < options.least
    print(f"coverage: {len(PARTS) + 1 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
