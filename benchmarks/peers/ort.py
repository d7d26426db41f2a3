#!/usr/bin/env python3
"""weir beside ONNX Runtime on the real models, equal threads, in one process, in turns.

What:  for each case of the table the two engines run in turns A B B A, the figure is the median of the
       paired ratios (ONNX Runtime's time / ours: above 1 we are faster), beside both medians. The answers
       are compared once, so that no wrong answer is timed.
Why:   a floor that a change must not fall through. The careful comparison (processes of their own, an A/A
       control, intervals) is a benchmark of its own.
Limits: both engines' threads live in one process; ONNX Runtime's spinning is off, because it would take
       the cores from the other's turn. On a shared machine only the ratios mean something.

usage: ort.py [--threads N]... [--seconds S] [--floor R] [--least R] [--json FILE] [CASE]...
"""

import argparse
import json
import math
import pathlib
import statistics
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "models"), str(ROOT / "engine" / "python")]

import fetch  # noqa: E402  pylint: disable=wrong-import-position
from cases import CASES  # noqa: E402  pylint: disable=wrong-import-position


def peers(model, threads):
    import onnxruntime  # pylint: disable=import-outside-toplevel
    import weir  # pylint: disable=import-outside-toplevel

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    theirs = onnxruntime.InferenceSession(str(model), options, ["CPUExecutionProvider"])
    return theirs, weir.InferenceSession(str(model), threads=threads)


def timed(session, feed):
    start = time.perf_counter()
    session.run(None, feed)
    return time.perf_counter() - start


def measure(name, threads, seconds):
    model, feed = CASES[name]
    theirs, ours = peers(fetch.model_path(model), threads)
    feed = {key or theirs.get_inputs()[0].name: value for key, value in feed().items()}
    wanted, got = theirs.run(None, feed), ours.run(None, feed)
    error = max(float(np.max(np.abs(a - b)) / max(float(np.max(np.abs(b))), 1e-30))
                for a, b in zip(got, wanted))
    if not error < 5e-3:
        raise SystemExit(f"{name}: the answers differ by {error:.1e} of the largest value")
    pairs, end = [], time.perf_counter() + seconds
    while len(pairs) < 4 or time.perf_counter() < end:
        a1, b1, b2, a2 = (timed(s, feed) for s in (theirs, ours, ours, theirs))
        pairs.append((a1 + a2, b1 + b2))
    return {
        "case": name, "threads": threads, "error": error, "pairs": len(pairs),
        "ort_ms": statistics.median(a for a, _ in pairs) * 500,
        "weir_ms": statistics.median(b for _, b in pairs) * 500,
        "ratio": statistics.median(a / b for a, b in pairs),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*")
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=3, help="for each case")
    parser.add_argument("--floor", type=float, help="fail below this geometric mean")
    parser.add_argument("--least", type=float, help="fail when any case is below this ratio")
    parser.add_argument("--json", type=pathlib.Path, help="append one line for each case")
    arguments = parser.parse_args()
    names = [n for n in CASES if not arguments.case or any(n.startswith(c) for c in arguments.case)]
    fetch.ensure(sorted({CASES[n][0] for n in names}))
    passed = failed = 0
    for threads in arguments.threads or [2, 1]:
        print(f"{threads} thread{'s' * (threads > 1)}: ms per run, median of pairs\n"
              f"{'case':20s} {'ORT':>9s} {'weir':>9s} {'ratio':>6s} {'error':>8s}")
        results = []
        for name in names:
            result = measure(name, threads, arguments.seconds)
            results.append(result)
            print(f"{name:20s} {result['ort_ms']:9.2f} {result['weir_ms']:9.2f} {result['ratio']:6.2f} "
                  f"{result['error']:8.0e}", flush=True)
            if arguments.json:
                with arguments.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
        mean = math.exp(statistics.fmean(math.log(r["ratio"]) for r in results))
        least = min(r["ratio"] for r in results)
        print(f"{'geometric mean':40s} {mean:6.2f}\n{'smallest':40s} {least:6.2f}")
        bad = mean < (arguments.floor or 0) or least < (arguments.least or 0)
        passed, failed = passed + (not bad), failed + bad
    print(f"speed: {passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
