"""The reference kernels against truth from outside.

What: the onnx package's node cases and random nodes against ONNX Runtime, by ref_probe.so.
Usage: check_ref.py [--quick] [--probe PATH] [--seed N]
"""
import argparse
import sys
from pathlib import Path

import ref_onnx_cases
import ref_random
from ref_node import Probe

ROOT = Path(__file__).resolve().parents[2]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="fewer random nodes")
    parser.add_argument("--probe", default=str(ROOT / "build/release/lib/ref_probe.so"))
    parser.add_argument("--seed", type=int, default=20)
    options = parser.parse_args()
    probe = Probe(options.probe)
    results = [ref_onnx_cases.run_all(probe),
               ref_random.run_all(probe, 2000 if options.quick else 20000, options.seed)]
    passed, failed = (sum(column) for column in zip(*results))
    print(f"reference kernels: {passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
