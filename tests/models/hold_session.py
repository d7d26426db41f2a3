#!/usr/bin/env python3
"""One process with one session, which says how much memory it has; check_budgets.py starts some of them.

What: answers each line of stdin, `create`, `run` or `memory`, with a line of JSON: anonymous and proportional
      bytes of the process, and the session's arena.
Why:  what a process has of its own, and what the next one adds, can be read only where nothing else was done.
Must not: import what it does not need: memory that was freed before would hide what is taken then.

usage: hold_session.py MODEL CACHE_DIR
"""

import ctypes
import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "engine/python"))

import weir  # noqa: E402  pylint: disable=wrong-import-position
from weir import _library as c  # noqa: E402  pylint: disable=wrong-import-position

SHAPE = (1, 64)


def memory(session):
    """What /proc says of this process, and the arena that its session has."""
    ctypes.CDLL(None).malloc_trim(0)
    sizes = {"arena": 0}
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        for line in file:
            name, size = line.split()[:2]
            if name in ("Anonymous:", "Pss:"):
                sizes[name[:-1].lower()] = int(size) * 1024
    if session:
        info = c.SessionInfo(size=ctypes.sizeof(c.SessionInfo))
        for handle in session._idle:  # pylint: disable=protected-access
            c.lib.weir_session_describe(handle, ctypes.byref(info))
            sizes["arena"] += info.arena_bytes
    return sizes


def main():
    model, cache_dir = sys.argv[1:]
    session = None
    for line in sys.stdin:
        if line.strip() == "create":
            session = weir.InferenceSession(model, cache_dir=cache_dir)
        elif line.strip() == "run":
            session.run(None, {port.name: np.ones(SHAPE, np.int64) for port in session.get_inputs()})
        print(json.dumps(memory(session)), flush=True)


if __name__ == "__main__":
    main()
