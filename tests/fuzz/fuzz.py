#!/usr/bin/env python3
"""Runs every fuzz target for a while, and shows that each finds a defect that was planted in it.

usage: fuzz.py BUILD [TARGET...] [--seconds N] [--keep FOLDER]
BUILD: the preset `fuzz`. Findings and new inputs go to FOLDER (default: BUILD/fuzz).
"""

import argparse
import pathlib
import re
import subprocess
import sys

CORPUS = pathlib.Path(__file__).resolve().parent / "corpus"
TARGETS = {"reader": "model", "validator": "model", "plan": "model", "run": "model", "handshake": "handshake"}
PLANTED_SECONDS = 60


def fuzz(program, corpus, folder, seconds):
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        [program, f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=2048",
         "-print_final_stats=1", f"-artifact_prefix={folder}/", folder, corpus],
        capture_output=True, check=False)
    return done.returncode, done.stderr.decode("utf-8", "replace")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET")
    options = parser.parse_intermixed_args()
    keep = options.keep or options.build / "fuzz"
    passed = failed = 0
    for name in options.targets:
        corpus = CORPUS / TARGETS[name]
        _, text = fuzz(options.build / f"bin/fuzz_{name}_planted", corpus, keep / f"{name}_planted", PLANTED_SECONDS)
        found = "heap-buffer-overflow" in text and "fuzz_plant" in text
        print(f"{name}: the planted read out of bounds was {'found' if found else 'NOT found'}", flush=True)
        code, text = fuzz(options.build / f"bin/fuzz_{name}", corpus, keep / name, options.seconds)
        runs = re.search(r"number_of_executed_units: (\d+)", text)
        print(f"{name}: {runs.group(1) if runs else '?'} executions in {options.seconds} s, "
              f"{'nothing found' if code == 0 else 'a finding'}", flush=True)
        if code:
            print(text[-4000:])
        passed += found + (code == 0)
        failed += (not found) + (code != 0)
    print(f"fuzz: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
