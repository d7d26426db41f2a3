#!/usr/bin/env python3
"""Which sources these are: a hash of all that a result on a GPU depends on, with or without git.

What:   paths and contents of the files below SOURCES, results and compiled Python left out.
Why:    a stage that is done, and a row of the peers, is so for one state of the sources.

usage: stamp.py [ROOT]
"""

import hashlib
import pathlib
import sys

SOURCES = ("CMakeLists.txt", "backends", "benchmarks", "cmake", "engine", "kernels")
LEFT_OUT = ("__pycache__", "results")


def stamp(root):
    total = hashlib.sha256()
    for name in SOURCES:
        top = root / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            inside = path.relative_to(root)
            if path.is_file() and not set(inside.parts) & set(LEFT_OUT):
                total.update(f"{inside}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()[:16]


def kept(rows, wanted):
    """Of rows with a stamp each, those of these sources."""
    return [row for row in rows if row.get("stamp", "") == wanted]


if __name__ == "__main__":
    print(stamp(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(__file__).parents[2]).resolve()))
