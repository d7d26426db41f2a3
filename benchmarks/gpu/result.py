#!/usr/bin/env python3
"""Results of benchmarks/gpu.sh: one JSON object for each stage, and a summary of all.

usage: result.py stage NAME STATUS RC LOG     the object of a stage: the last JSON line of its log is "data"; it is
                                              "whole" if another call would not find more that was not tried yet
       result.py summary FOLDER               Markdown of what is there
"""

import json
import os
import pathlib
import sys

STAGES = "device build smoke operators models sanitizer ceilings peers load profile opencl".split()


def last_object(text):
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                continue
    return {}


def stage(name, status, code, log):
    text = pathlib.Path(log).read_text(errors="replace")
    data = last_object(text)
    # A part that has an error in it, or that a call has added nothing to, is no part of a good result. What is
    # compiled goes on without a count of it.
    is_bad = data.get("bad") or data.get("failed") or not data.get("added")
    if status == "partial" and name != "build" and is_bad:
        status = "failed"
    is_whole = status != "partial" and not (status == "failed" and data.get("left") and data.get("added"))
    tail = [] if status == "ok" else text.splitlines()[-15:]
    known = {"stage": name, "status": status, "whole": is_whole, "rc": int(code),
             "stamp": os.environ.get("GPU_STAMP", "")}
    print(json.dumps({**known, "data": data, "tail": tail}, indent=1))


def summary(folder):
    rows = []
    for name in STAGES:
        file = pathlib.Path(folder) / f"{name}.json"
        rows.append(json.loads(file.read_text()) if file.exists() else {"stage": name, "status": "not run", "data": {}})
    device = rows[0]["data"]
    print(f"# CUDA plugin: {device.get('name', 'no GPU')}\n")
    changed = " with changes" if device.get("dirty") else ""
    commit = device.get("commit") or "UNKNOWN (set GPU_COMMIT)"
    sources = f"commit {commit}{changed}, sources {device.get('stamp') or '?'}"
    print(f"{sources}, driver {device.get('driver', '-')}, `benchmarks/gpu.sh`\n")
    if not device.get("has_gpu"):
        print("There was no GPU: nothing below ran on one.\n")
    print("| stage | status | what |\n|---|---|---|")
    for row in rows:
        plain = (str, int, float, bool)
        data = {k: v for k, v in row["data"].items() if isinstance(v, plain) or k in ("groups", "failed")}
        text = ", ".join(f"{k} {v}" for k, v in list(data.items())[:8])
        print(f"| {row['stage']} | {row['status']} | {text[:300]} |")
    peers = next(row for row in rows if row["stage"] == "peers")["data"]
    if peers.get("rows"):
        names = sorted({runner for row in peers["rows"] for runner in row["ms"]})
        print("\n| case | " + " | ".join(names) + " |\n|---|" + "---|" * len(names))
        for row in peers["rows"]:
            beside = row.get("weir_beside", {})
            cells = [f"{row['ms'][n]:.3f} ms" + (f" (weir {beside[n]:.3f})" if n in beside else "")
                     if row["ms"].get(n) else "-" for n in names]
            print(f"| {row['case']} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    {"stage": stage, "summary": summary}[sys.argv[1]](*sys.argv[2:])
