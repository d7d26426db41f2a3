#!/usr/bin/env python3
"""`weir conform` of a plugin of a GPU in shards side by side: each group starts a process, which takes seconds there.

What:   groups of the device itself run first and alone, because they read how much memory the GPU has left, for a
        minute and a half at most (and last where an earlier call has tried them without success); then
        shards of all other groups (those whose name holds --names), so many at a time. Output goes straight into files.
        A shard without a failure is done for these sources (GPU_STAMP) and this file; the next call does the others.
Result: the last line is JSON; exit code 75: some are left, 1: a group failed, or no shard was ended in this call.

usage: operators.py WEIR PLUGIN FOLDER --names TEXT [--seconds N] [--jobs N] [--shards N] [--seed N]
"""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

SHARDS = 48
DEVICE, DEVICE_S = "device", 90  # the shard of the groups that run alone, and how long it may take


def groups_of(text):
    """The groups in what a run has said: all of them, or if it was cut off those that can be read."""
    try:
        return json.loads(text)["groups"]
    except ValueError:
        found = []
    for part in re.findall(r'\{"name": .*?"outcome": .*?\}(?=,|\]|$)', text):
        try:
            found.append(json.loads(part))
        except ValueError:
            continue
    return found


def read(file):
    """The object of a run that came to its end; None: it did not."""
    try:
        return json.loads(file.read_text(errors="replace"))
    except (OSError, ValueError):
        return None


def is_done(file, stamp):
    kept = read(file)
    return bool(kept) and kept.get("stamp") == stamp


class Shard:
    def __init__(self, name, command, folder):
        self.name, self.part, self.file = name, folder / f"{name}.part", folder / f"{name}.json"
        self.file.unlink(missing_ok=True)
        with open(self.part, "w") as out, open(folder / f"{name}.log", "w") as log:
            # A session of its own: its children are ended with it.
            self.process = subprocess.Popen(command, stdout=out, stderr=log, start_new_session=True)
        self.log = folder / f"{name}.log"

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()

    def failures(self, is_ended):
        found = [f"{group['name']}: {group['what']}" for group in groups_of(self.part.read_text(errors="replace"))
                 if group["outcome"] not in ("pass", "unsupported")]
        if is_ended and read(self.part) is None:
            last = self.log.read_text(errors="replace").splitlines()[-1:]
            found.append(f"shard {self.name}: ended with {self.process.returncode} {' '.join(last)}")
        return found

    def keep(self, stamp):
        self.file.write_text(json.dumps({"stamp": stamp, **read(self.part)}))


def go(names, command, folder, jobs, until, stamp):
    """Runs them, `jobs` at a time. Returns how many were kept, those that are left, and what failed."""
    waiting, running, kept, left, failed = list(names), [], 0, [], []
    try:
        while waiting or running:
            while waiting and len(running) < jobs and time.monotonic() < until:
                running.append(Shard(waiting[0], command(waiting.pop(0)), folder))
            for shard in [shard for shard in running if shard.process.poll() is not None]:
                running.remove(shard)
                wrong = shard.failures(True)
                failed += wrong
                if not wrong:
                    shard.keep(stamp)
                    kept += 1
            if time.monotonic() >= until:
                left = waiting + [shard.name for shard in running]
                for shard in running:
                    shard.kill()
                    failed += shard.failures(False)
                return kept, left, failed
            time.sleep(0.05)
    finally:
        for shard in running:
            shard.kill()
    return kept, left, failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("weir")
    parser.add_argument("plugin")
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--names", required=True)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--jobs", type=int, default=max(2, min(12, os.cpu_count() or 1)))
    parser.add_argument("--shards", type=int, default=SHARDS)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))  # and those that run are ended
    until, stamp = time.monotonic() + args.seconds, os.environ.get("GPU_STAMP", "")
    args.folder.mkdir(parents=True, exist_ok=True)

    def command(name):
        which = (["--filter", "device:"] if name == DEVICE
                 else ["--filter", args.names, "--shard", name.replace("-of-", "/")])
        return [args.weir, "conform", args.plugin, "--json", "--seed", str(args.seed), *which]

    names = [DEVICE] + [f"{i + 1}-of-{args.shards}" for i in range(args.shards)]
    todo = [name for name in names if not is_done(args.folder / f"{name}.json", stamp)]
    alone, others = [name for name in todo if name == DEVICE], [name for name in todo if name != DEVICE]

    def do_alone():
        limit = time.monotonic() + DEVICE_S
        kept, left, failed = go(alone, command, args.folder, 1, min(until, limit), stamp)
        if left and limit <= until:
            left, failed = [], failed + [f"shard {DEVICE}: not ended after {DEVICE_S} s"]
        return kept, left, failed

    def do_others():
        return go(others, command, args.folder, args.jobs, until, stamp)

    # One that has been tried without success takes nobody else's time.
    was_tried = alone and (args.folder / f"{DEVICE}.part").exists()
    parts = [do() for do in ((do_others, do_alone) if was_tried else (do_alone, do_others))]
    added, left, failed = (sum((part[i] for part in parts), start) for i, start in ((0, 0), (1, []), (2, [])))
    count = {}
    for name in names:
        for group in (read(args.folder / f"{name}.json") or {}).get("groups", []):
            count[group["outcome"]] = count.get(group["outcome"], 0) + 1
    print("\n".join(failed))
    print(json.dumps({"seed": args.seed, "shards": len(names), "left": len(left), "added": added, "groups": count,
                      "failed": failed}))
    if failed or (left and not added) or not count.get("pass"):
        return 1
    return 75 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
