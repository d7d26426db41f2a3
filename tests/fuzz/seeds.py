#!/usr/bin/env python3
"""Writes seeds for the fuzzers: the small models of tests/faults, sound and malformed, and noise.

usage: seeds.py FOLDER    makes FOLDER/model and FOLDER/handshake
"""

import hashlib
import pathlib
import random
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "faults"))

# pylint: disable=wrong-import-position,unused-import
import families_bombs  # noqa: E402,F401
import families_file  # noqa: E402,F401
import families_graph  # noqa: E402,F401
import families_old  # noqa: E402,F401
import families_operator  # noqa: E402,F401
import families_shape  # noqa: E402,F401
from cases import FAMILIES  # noqa: E402

MODEL_BYTES = 1500  # larger ones teach a fuzzer little
EACH = 12           # of a family, its sound sibling included


def put(folder, data):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha1(data).hexdigest()[:16]).write_bytes(data)


def main():
    root = pathlib.Path(sys.argv[1])
    for maker in FAMILIES.values():
        small = [case.data for case in maker() if case.data is not None and len(case.data) <= MODEL_BYTES]
        step = max(1, len(small) // EACH)
        for data in small[:1] + small[1::step]:
            put(root / "model", data)
    noise = random.Random(1)
    for _ in range(40):
        put(root / "handshake", bytes(noise.choice((0, 1, 4, 97, 98, 200, 255)) for _ in range(200)))


if __name__ == "__main__":
    main()
