#!/usr/bin/env python3
"""A run whose shape has been seen allocates nothing and takes no lock; an idle engine costs nothing.

Goal:   MiniLM, PP-OCR detection and Silero: no allocation and no lock in 50 runs, 0.0 % CPU when idle, four
        callers with four sessions add no thread and get right answers.
Method: build/release/bin/steady interposes the C library's allocator and locks. That it can fail is shown
        by a run whose inputs do not fit, which it must report.

usage: check_steady.py [--quick]
"""

import pathlib
import subprocess
import sys

import support
from support import fetch

CASES = [
    ("minilm", ["input_ids:i64:1,16", "attention_mask:i64:1,16", "token_type_ids:i64:1,16"]),
    ("ppocr-det", ["x:f32:1,3,96,96"]),
    ("silero", ["input:f32:1,576", "state:f32:2,1,128", "sr:i64:"]),
]


def main():
    if sys.argv[1:] not in ([], ["--quick"]):
        print(__doc__)
        return 2
    program = pathlib.Path(support.ROOT) / "build/release/bin/steady"
    fetch.ensure([name for name, _ in CASES])
    passed = failed = 0
    for name, inputs in CASES:
        path = fetch.model_path(name)
        result = subprocess.run([program, path, *inputs], capture_output=True, text=True, check=False)
        print(f"{name}\n{result.stdout}{result.stderr}", end="")
        passed, failed = passed + (result.returncode == 0), failed + (result.returncode != 0)
    result = subprocess.run([program, fetch.model_path("silero"), "x:f32:1,2"], capture_output=True, text=True,
                            check=False)
    refused = result.returncode == 2 and "INVALID_ARGUMENT" in result.stderr
    passed, failed = passed + refused, failed + (not refused)
    print(f"steady: {passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
