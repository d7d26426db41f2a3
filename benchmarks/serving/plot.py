#!/usr/bin/env python3
"""Draws what `weir load` wrote: answers over time, latency over time, distribution of latencies.

    benchmarks/serving/plot.py LOAD.json PICTURE.png

It is also built into the command, which runs it for --plot. Exit code 3: matplotlib is not installed. It needs
nothing else beside the standard library, and computes nothing that is not in the file.
"""

import json
import sys


def draw(data, pyplot):
    figure, (traffic, latency, spread) = pyplot.subplots(3, 1, figsize=(8, 9), constrained_layout=True)
    width = data["bucket_s"]
    buckets = data["buckets"]
    times = [(i + 0.5) * width for i in range(len(buckets))]
    parts = [("in_slo", "in time", "#2a7f3f"), ("other", "too late, failed", "#c0392b"),
             ("refused", "refused, dropped", "#b8b8b8")]
    traffic.stackplot(times, *([bucket[key] / width for bucket in buckets] for key, _, _ in parts),
                      labels=[label for _, label, _ in parts], colors=[color for _, _, color in parts])
    traffic.plot(times, [bucket["offered"] / width for bucket in buckets], color="black", lw=0.8, label="offered")
    traffic.set_ylabel("requests/s")
    traffic.legend(loc="lower right", fontsize="small")
    for key, label in (("p50_ms", "p50"), ("p99_ms", "p99")):
        latency.plot(times, [bucket[key] or None for bucket in buckets], label=label)
    latency.set_ylabel("latency, ms")
    latency.set_xlabel("s")
    curve = data["latency_ms"]
    if curve:
        spread.plot(curve, [100 * i / (len(curve) - 1) for i in range(len(curve))])
        spread.set_xscale("log")
    spread.set_ylabel("% of answers")
    spread.set_xlabel("latency, ms")
    if data["slo_ms"]:
        latency.axhline(data["slo_ms"], color="#c0392b", ls=":", label="SLO")
        spread.axvline(data["slo_ms"], color="#c0392b", ls=":")
    latency.set_ylim(bottom=0)
    latency.legend(loc="upper right", fontsize="small")
    names = ", ".join(model["name"] for model in data["models"])
    figure.suptitle(f"{names}: {data['scenario']}, {data['offered_qps']:.5g} offered/s, "
                    f"{data['in_slo_qps']:.5g}/s in time, batches of {data['mean_batch']:.3g}", fontsize="medium")
    return figure


def main():
    if len(sys.argv) != 3:
        print("usage: plot.py LOAD.json PICTURE.png", file=sys.stderr)
        return 2
    try:
        import matplotlib
    except ImportError:
        return 3
    matplotlib.use("Agg")
    from matplotlib import pyplot
    with open(sys.argv[1], encoding="utf-8") as file:
        data = json.load(file)
    draw(data, pyplot).savefig(sys.argv[2], dpi=120)
    return 0


if __name__ == "__main__":
    sys.exit(main())
