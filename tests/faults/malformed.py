#!/usr/bin/env python3
"""Malformed models: each is refused with the right code, quickly and without taking much memory.

Goal:   docs/SECURITY.md's promise, over families of wrong models; the first case of each family is a
        sound sibling, so that a family cannot pass because everything is refused.
Method: writes the models of families_*.py into a temporary folder and lets faults_driver take each
        through load, plan, session and run, on the best devices and again on ref.
Must not: need anything but Python's own library; models are the same bytes on each run.

usage: malformed.py DRIVER [--family NAME] [--timed] [--verbose]
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import families_bombs  # noqa: F401  pylint: disable=unused-import
import families_file  # noqa: F401  pylint: disable=unused-import
import families_graph  # noqa: F401  pylint: disable=unused-import
import families_old  # noqa: F401  pylint: disable=unused-import
import families_operator  # noqa: F401  pylint: disable=unused-import
import families_shape  # noqa: F401  pylint: disable=unused-import
from cases import FAMILIES, OK

MEMORY_BYTES = 32 << 20  # over the file's size
TIME_US = 50_000         # --timed: a plain build on a machine that is not busy
LEAST_FAMILIES, LEAST_CASES = 20, 10


def write(folder, name, content):
    path = folder / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content)


def lay_out(root, cases):
    """Writes each case into a folder of its own; returns the driver's list."""
    rows = []
    for number, case in enumerate(cases):
        folder = root / str(number) / "model"
        folder.mkdir(parents=True)
        beside = dict(case.files)
        for name in [name for name in beside if name.startswith("outside")]:
            write(folder.parent, name, beside.pop(name))
        for name, content in beside.items():
            write(folder, name, content)
        path = case.path.format(folder=folder)
        if case.data is not None:
            path = str(folder / "m.onnx")
            write(folder, "m.onnx", case.data.replace(b"{folder}", str(folder).encode()))
        rows.append(f"{path}\t{case.fill % (1 << 64)}\t{case.dims.strip('!')}\n")
    (root / "list").write_text("".join(rows))
    return root / "list"


def judge(case, fields, timed):
    """What is wrong with how a case ended; None: nothing."""
    _, code, stage, took_us, taken, on_ref, text = fields
    size = len(case.data or b"") + sum(len(c) for c in case.files.values() if isinstance(c, bytes))
    if code not in case.code.split():
        return f"{code} at {stage} instead of {case.code}: {text}"
    if on_ref != code and stage in ("plan", "session", "run"):
        return f"{code}, but {on_ref} on ref: {text}"
    if text.startswith("LEAK"):
        return text
    if code != OK and not text.strip():
        return f"{code} without a message"
    if int(taken) > MEMORY_BYTES + size:
        return f"took {int(taken) / 2**20:.1f} MiB: {code} {text}"
    if timed and int(took_us) > TIME_US:
        return f"took {int(took_us) / 1000:.1f} ms: {code} {text}"
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("driver")
    parser.add_argument("--family", choices=sorted(FAMILIES))
    parser.add_argument("--timed", action="store_true")
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    wanted = [options.family] if options.family else list(FAMILIES)
    failed = total = 0
    slowest = most = 0
    for name in wanted:
        cases = list(FAMILIES[name]())
        with tempfile.TemporaryDirectory(prefix="weir-malformed-") as root:
            listed = lay_out(pathlib.Path(root), cases)
            done = subprocess.run([options.driver, str(listed)], capture_output=True, check=False)
        rows = {int(row.split("\t", 1)[0]): row.split("\t")
                for row in done.stdout.decode("utf-8", "replace").splitlines() if row.count("\t") == 6}
        wrong = []
        for number, case in enumerate(cases):
            problem = judge(case, rows[number], options.timed) if number in rows else "no answer"
            if problem:
                wrong.append(f"  case {number}: {problem}")
            elif options.verbose:
                print(f"  case {number}: {' '.join(rows[number][1:3])}: {rows[number][6]}")
        if len(cases) <= LEAST_CASES or OK not in cases[0].code.split():
            wrong.append(f"  {len(cases)} cases, the first expected {cases[0].code}: no sound family")
        if len(cases) in rows or done.returncode:
            wrong.append(f"  at the end: {rows.get(len(cases), done.returncode)}")
        if wrong and done.stderr:
            wrong.append(done.stderr.decode("utf-8", "replace")[-3000:])
        took = max(int(row[3]) for row in rows.values()) if rows else 0
        taken = max(int(row[4]) for row in rows.values()) if rows else 0
        slowest, most = max(slowest, took), max(most, taken)
        print(f"{name}: {len(cases)} cases, {len(wrong)} wrong; at most {took / 1000:.1f} ms, "
              f"{taken / 2**20:.1f} MiB")
        print("\n".join(wrong), end="\n" if wrong else "")
        failed += bool(wrong)
        total += len(cases)
    print(f"{len(wanted)} families, {total} models; slowest {slowest / 1000:.1f} ms, "
          f"most memory {most / 2**20:.1f} MiB")
    if not options.family and len(wanted) < LEAST_FAMILIES:
        failed += 1
    print(f"malformed: {len(wanted) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
