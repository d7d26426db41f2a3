#!/usr/bin/env python3
"""Mutants of real models: each ends by itself, in bounded time and memory, whatever the damage.

Goal:   docs/SECURITY.md's promise on files that are nearly right, where most of the code is reached.
Method: faults_mutants damages six real models, the same way on every machine, and takes each mutant
        through load, plan, session and run; a crash, a hang, a leak or an INTERNAL is a failure.
Must not: need a network beyond what fetching the models needs.

usage: check_mutants.py [--count N] [--first N] [--quick] [--build FOLDER] [MODEL...]
"""

import argparse
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks" / "models"))

import fetch  # noqa: E402  pylint: disable=wrong-import-position

# model -> dims of its first input: small ones, so that a run costs little
MODELS = {
    "magika": "",
    "silero": "1x576",
    "ppocr-cls": "1x3x48x192",
    "ppocr-rec": "1x3x48x64",
    "ppocr-det": "1x3x64x64",
    "light-shufflenet": "",
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1700, help="mutants of each model")
    parser.add_argument("--first", type=int, default=0, help="number of the first one")
    parser.add_argument("--quick", action="store_true", help="50 of each")
    parser.add_argument("--build", default="build/release")
    parser.add_argument("models", nargs="*", default=list(MODELS), metavar="MODEL")
    options = parser.parse_args()
    paths = [str(fetch.model_path(name)) + (MODELS[name] and "=" + MODELS[name])
             for name in options.models]
    count = 50 if options.quick else options.count
    driver = ROOT / options.build / "bin" / "faults_mutants"
    done = subprocess.run([driver, str(count), str(options.first), *paths], check=False)
    failed = int(done.returncode != 0)
    print(f"{count * len(paths)} mutants of {len(paths)} models")
    print(f"mutants: {1 - failed} passed, {failed} failed")
    return failed


if __name__ == "__main__":
    sys.exit(main())
