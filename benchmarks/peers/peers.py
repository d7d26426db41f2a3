#!/usr/bin/env python3
"""weir beside ONNX Runtime and OpenVINO on the real models, carefully.

What:   every engine is a resident process of its own (worker.py); they take turns of 50 to 200 ms in ABBA
        or BAAB order, drawn by lot. The figure is the median of the paired ratios, the peer's time over
        ours, with a 95 % bootstrap interval; above 1 weir is faster. weir against a second weir is the
        control: its interval should hold 1. The score of a case is the ratio to the better peer; a case
        that weir cannot run, or gets wrong, scores 0.1.
Why:    a shared machine changes by the second; pairs and ratios do not care.
Limits: through each engine's Python package, with inputs and outputs bound beforehand; equal threads; of
        ONNX Runtime's two ways to wait the faster one counts. All rest before each turn, because threads
        that spin go on for a while. Turns during which the machine below us took time away, or its clock
        changed, are dropped and counted. Nothing here is a hardware counter.

usage: peers.py [--threads N]... [--pairs N] [--quick] [--peers NAME,NAME] [--json FILE] [--plot FILE.png]
                [--html FILE] [--floor R] [--least R] [CASE]...
"""

import argparse
import datetime
import json
import math
import os
import pathlib
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT / "benchmarks" / "models")]

import fetch  # noqa: E402  pylint: disable=wrong-import-position
from cases import CASES  # noqa: E402  pylint: disable=wrong-import-position

# Before each turn. ONNX Runtime's threads, where they spin, go on for 16 ms or more after its last run, and
# would take a processor from whoever comes next.
QUIET_S = 0.04
DRIFT = 0.10  # a turn whose yardstick is further from the median is dropped
WRONG = 5e-4  # of the largest value of an output


class Worker:
    """A resident engine; `error` says why there is none."""

    def __init__(self, engine, case, threads, cache):
        environment = dict(os.environ, WEIR_CACHE_DIR=cache)
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py"), engine, case, str(fetch.model_path(CASES[case][0])),
             str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env=environment)
        self.engine, self.turns, self.dropped = engine, [], 0
        self.start = self.read()
        self.error = self.start.get("error")

    def read(self):
        line = self.process.stdout.readline()
        return json.loads(line) if line else {"error": f"{self.engine} ended by itself"}

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.read()
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer

    def turn(self, seconds):
        time.sleep(QUIET_S)
        answer = self.ask(do="turn", seconds=seconds)
        self.turns += answer["ns"]
        return answer

    def outputs(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "outputs.npz"
            self.ask(do="outputs", path=str(path))
            with np.load(path) as file:
                return [file[name] for name in file.files]

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def interval(ratios):
    """The median of the ratios and its 95 % interval, by 2,000 resamples."""
    draw = np.random.default_rng(1).choice(ratios, (2000, len(ratios)))
    low, high = np.percentile(np.median(draw, axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def pair_up(ours, peer, pairs, seconds, lot):
    """Ratios of `pairs` pairs of turns, the odd ones left out."""
    found, yards = [], []
    for _ in range(pairs):
        order = (ours, peer, peer, ours) if lot.random() < 0.5 else (peer, ours, ours, peer)
        turns = [(worker, worker.turn(seconds)) for worker in order]
        times = {id(worker): [] for worker in (ours, peer)}
        for worker, answer in turns:
            times[id(worker)].append(statistics.median(answer["ns"]))
        yards += [answer["yardstick_ns"] for _, answer in turns]
        found.append((sum(times[id(peer)]) / sum(times[id(ours)]),
                      sum(answer["stolen_s"] for _, answer in turns),
                      [answer["yardstick_ns"] for _, answer in turns]))
    usual = statistics.median(yards)
    kept = [ratio for ratio, stolen, yard in found
            if stolen < 0.02 and all(abs(y / usual - 1) < DRIFT for y in yard)]
    dropped = len(found) - len(kept)
    if len(kept) < max(4, pairs // 3):  # too few are left to stand for anything: all of them, and say so
        kept = [ratio for ratio, *_ in found]
    return kept, dropped


def summary(worker):
    ns = sorted(worker.turns)
    at = lambda share: ns[min(len(ns) - 1, int(share * len(ns)))] / 1e6  # noqa: E731
    return {"version": worker.start["version"], "runs": len(ns), "min_ms": ns[0] / 1e6, "p50_ms": at(0.5),
            "p99_ms": at(0.99), "create_ms": worker.start["create_ns"] / 1e6,
            "first_run_ms": worker.start["first_run_ns"] / 1e6, **worker.ask(do="memory")}


def error_of(got, wanted):
    """The largest difference, as a part of the largest value."""
    if len(got) != len(wanted) or any(a.shape != b.shape for a, b in zip(got, wanted)):
        return math.inf
    return max((float(np.max(np.abs(a.astype(np.float64) - b)) / max(float(np.max(np.abs(b))), 1e-30))
                for a, b in zip(got, wanted) if a.size), default=0.0)


def faster_waiting(workers, seconds):
    """Of ONNX Runtime's two ways to wait the one with the faster turns; the other is closed."""
    both = [w for w in workers if w.engine.startswith("onnxruntime")]
    if len(both) < 2:
        return workers
    times = {id(w): [] for w in both}
    for i in range(6):
        for w in both if i % 2 else both[::-1]:
            times[id(w)].append(statistics.median(w.turn(seconds)["ns"]))
    slower = max(both, key=lambda w: statistics.median(times[id(w)]))
    slower.close()
    return [w for w in workers if w is not slower]


def measure(case, threads, arguments, lot):
    """One case: a dict for the JSON lines."""
    result = {"case": case, "threads": threads, "peers": {}, "score": 0.1}
    with tempfile.TemporaryDirectory() as cache:
        ours = Worker("weir", case, threads, cache)
        peers = [Worker(name, case, threads, cache) for name in arguments.engines]
        for peer in [p for p in peers if p.error]:
            result["peers"][peer.engine] = {"error": peer.error}
            peers.remove(peer)
            peer.close()
        if ours.error or not peers:
            result["error"] = ours.error or "no peer runs it"
            result["score"] = 0.1 if ours.error else None
            for worker in [ours, *peers]:
                worker.close()
            return result
        again = Worker("weir", case, threads, cache)  # finds the cache filled
        once = max(statistics.median(w.turn(0.2)["ns"]) for w in [ours, *peers]) / 1e9
        seconds = min(max(arguments.turn, 3 * once), 0.2)
        peers = faster_waiting(peers, seconds)
        wanted = peers[0].outputs()
        result["error_of_largest"] = error_of(ours.outputs(), wanted)
        for worker in [ours, again, *peers]:
            worker.turns = []
        for peer in [*peers, again]:
            ratios, dropped = pair_up(ours, peer, arguments.pairs, seconds, lot)
            ratio, low, high = interval(ratios)
            row = {**summary(peer), "ratio": ratio, "low": low, "high": high, "dropped": dropped}
            if peer is again:
                result["control"] = row
            else:
                row["error_of_largest"] = error_of(peer.outputs(), wanted)
                result["peers"][peer.engine] = row
        result["weir"] = summary(ours)
        result["weir"]["create_cached_ms"] = again.start["create_ns"] / 1e6
        if result["error_of_largest"] <= WRONG:
            result["score"] = min(row["ratio"] for row in result["peers"].values() if "ratio" in row)
        for worker in [ours, again, *peers]:
            worker.close()
    return result


def machine():
    model, flags = "", ""
    with open("/proc/cpuinfo", encoding="ascii") as file:
        for line in file:
            key, _, value = line.partition(":")
            model = value.strip() if key.strip() == "model name" and not model else model
            flags = value if key.strip() == "flags" and not flags else flags
    wanted = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True,
                            capture_output=True, check=False).stdout.strip()
    return {"cpu": model, "flags": [f for f in wanted if f in flags.split()], "commit": commit,
            "kernel": platform.release(), "python": platform.python_version(),
            "date": datetime.date.today().isoformat(), "cpus": len(os.sched_getaffinity(0))}


def text_of(row):
    if row is None:
        return "not asked"
    return f"{row['ratio']:5.2f} [{row['low']:.2f}, {row['high']:.2f}]" if "ratio" in row else "does not load"


def print_result(result):
    if "weir" not in result:
        print(f"{result['case']:19s} {result['error']}", flush=True)
        return
    peers = {name.split("-")[0]: row for name, row in result["peers"].items()}
    print(f"{result['case']:19s} {result['weir']['p50_ms']:9.3f}  "
          f"{text_of(peers.get('onnxruntime')):20s} {text_of(peers.get('openvino')):20s} "
          f"{text_of(result['control']):20s} {result['score']:5.2f} {result['error_of_largest']:8.0e}",
          flush=True)


def geometric_mean(results):
    scores = [r["score"] for r in results if r["score"]]
    return math.exp(statistics.fmean(math.log(s) for s in scores)) if scores else 0.0


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", help="the beginning of its name; none: all")
    parser.add_argument("--threads", type=int, action="append", help="once for each number (2 and 1)")
    parser.add_argument("--pairs", type=int, default=30, help="of turns, for each peer (30)")
    parser.add_argument("--turn", type=float, default=0.05, help="seconds of a turn, at least (0.05)")
    parser.add_argument("--quick", action="store_true", help="8 pairs of 20 ms: a floor, not a result")
    parser.add_argument("--peers", default="onnxruntime,openvino", help="which (both)")
    parser.add_argument("--json", type=pathlib.Path, help="append a line for each case")
    parser.add_argument("--plot", type=pathlib.Path, help="draw the ratios")
    parser.add_argument("--html", type=pathlib.Path, help="one page that needs nothing else")
    parser.add_argument("--floor", type=float, default=0, help="fail below this geometric mean")
    parser.add_argument("--least", type=float, default=0, help="fail when a case is below this")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.pairs, arguments.turn = 8, 0.02
    wanted = arguments.peers.split(",")
    known = {"onnxruntime": ["onnxruntime", "onnxruntime-spin"], "openvino": ["openvino"]}
    if any(name not in known for name in wanted):
        parser.error(f"--peers takes {' and '.join(known)}")
    arguments.engines = [engine for name in wanted for engine in known[name]]
    arguments.names = [n for n in CASES
                       if not arguments.case or any(n.startswith(c) for c in arguments.case)]
    if not arguments.names:
        parser.error(f"no case begins with that; there are: {', '.join(CASES)}")
    return arguments


def main():
    arguments = parse()
    fetch.ensure(sorted({CASES[n][0] for n in arguments.names}))
    threads_all = arguments.threads or [2, 1]
    turns = 4 * arguments.pairs * (len(arguments.peers.split(",")) + 1)
    minutes = len(arguments.names) * len(threads_all) * (turns * (max(arguments.turn, 0.1) + QUIET_S) + 5) / 60
    print(f"{len(arguments.names)} cases, {len(threads_all)} numbers of threads: about {minutes:.0f} minutes")
    where, everything, passed, failed = machine(), [], 0, 0
    print(f"{where['cpu']}, {where['cpus']} CPUs, {' '.join(where['flags'])}; weir at {where['commit']}")
    begin, done = time.monotonic(), 0
    for threads in threads_all:
        print(f"\n{threads} thread{'s' * (threads > 1)}: ms of weir; a peer's time over ours, with 95 % interval\n"
              f"{'case':19s} {'weir ms':>9s}  {'ONNX Runtime':20s} {'OpenVINO':20s} {'control':20s} "
              f"{'score':>5s} {'error':>8s}")
        results = []
        for name in arguments.names:
            result = {**measure(name, threads, arguments, random.Random(f"{name} {threads}")), "machine": where}
            results.append(result)
            print_result(result)
            if arguments.json:
                with arguments.json.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(result) + "\n")
            done += 1
            if sys.stderr.isatty():
                left = (time.monotonic() - begin) / done * (len(arguments.names) * len(threads_all) - done)
                print(f"\r{left / 60:.0f} minutes left \r", end="", file=sys.stderr, flush=True)
        mean = geometric_mean(results)
        least = min((r["score"] for r in results if r["score"]), default=0.0)
        print(f"{'geometric mean':19s} {mean:5.2f}   smallest {least:.2f}")
        bad = mean < arguments.floor or least < arguments.least
        passed, failed = passed + (not bad), failed + bad
        everything += results
    if arguments.plot or arguments.html:
        import report  # pylint: disable=import-outside-toplevel

        report.write(everything, arguments.plot, arguments.html)
    print(f"peers: {passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
