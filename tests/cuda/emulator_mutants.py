#!/usr/bin/env python3
"""Shows that the emulator finds defects in the own CUDA kernels: each mutant is one edit of a body.

Goal:   a wrong index, a missing barrier, a tail one too long, a wrong mask, a wrong stride, planted in
        kernels/cuda, each make the emulator's test fail; unmutated it passes.
Method: the bodies are copied to a temporary folder, edited there and compiled in front of the tree's; the
        test's other objects are built once. The text an edit replaces must be in its file exactly once, so a
        mutant that the code has outgrown is noticed, not skipped. Run by CTest.
Must not: touch the tree that it was started from.

usage: emulator_mutants.py --cc COMPILER --objects FILE... [--keep FOLDER]
"""

import argparse
import pathlib
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels" / "cuda"
FLAGS = ["-std=gnu17", "-D_GNU_SOURCE=", "-O1", "-ffp-contract=off"]

# name, test that must fail, file, text, replacement
MUTANTS = [
    ("index", "pools", "pool_body.cuh",
     "const uint64_t first = (uint64_t)plane * (uint32_t)w->in_height * (uint32_t)w->in_width;",
     "const uint64_t first = (uint64_t)plane * (uint32_t)w->in_height * (uint32_t)w->out_width;"),
    ("barrier", "batches", "gemm_body.cuh",
     "            WEIR_LOCAL(gemm_load)(b, p->ldb, p->transpose_b != 0, column, p->n, k, p->k, shared->b);\n"
     "            WEIR_SYNC();\n",
     "            WEIR_LOCAL(gemm_load)(b, p->ldb, p->transpose_b != 0, column, p->n, k, p->k, shared->b);\n"),
    ("barrier-behind", "attentions", "attention_body.cuh",
     "            }\n        }\n        WEIR_SYNC();\n    }\n    // Of no key",
     "            }\n        }\n    }\n    // Of no key"),
    ("tail", "norms", "norm_body.cuh",
     "for (uint32_t i = WEIR_THREAD + past; i < p->length; i += WEIR_THREADS)\n        sum +=",
     "for (uint32_t i = WEIR_THREAD + past; i <= p->length; i += WEIR_THREADS)\n        sum +="),
    ("mask", "attentions", "attention_body.cuh",
     "mask, mask_first + row * p->mask_row + (t + lane) * p->mask_column",
     "mask, mask_first + row * p->mask_row + lane * p->mask_column"),
    ("stride", "reductions", "reduce_body.cuh",
     "for (uint32_t i = first; i < p->reduced_count; i += step)\n        value =",
     "for (uint32_t i = first; i < p->reduced_count; i += 32)\n        value ="),
    ("shuffle", "softmaxes", "device.cuh",
     "    for (uint32_t mask = 16; mask; mask >>= 1)\n        value += weir_shuffle_xor(value, mask);",
     "    for (uint32_t mask = 8; mask; mask >>= 1)\n        value += weir_shuffle_xor(value, mask);"),
]


def build(options, folder, name, edits):
    """The test with these edits; the path of the program."""
    place = folder / name
    (place / "kernels").mkdir(parents=True)
    shutil.copytree(KERNELS, place / "kernels" / "cuda")
    for path, text, replacement in edits:
        file = place / "kernels" / "cuda" / path
        body = file.read_text()
        if body.count(text) != 1:
            sys.exit(f"{name}: its text is {body.count(text)} times in {path}; the mutant needs an edit")
        file.write_text(body.replace(text, replacement))
    program = place / "test"
    subprocess.run(
        [options.cc, *FLAGS, f"-I{place}", f"-I{ROOT}", "-c", str(ROOT / "tests/support/emulator/table.c"),
         "-o", str(place / "table.o")], check=True)
    # table.o in front of the archive: its own table is not pulled in.
    subprocess.run([options.cc, "-o", str(program), str(place / "table.o"), *options.objects, "-lcmocka", "-lm"],
                   check=True)
    return program


def passes(program, test):
    run = subprocess.run([str(program), test], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                         timeout=200, check=False)
    ran = f"[ RUN      ] {test}" in run.stdout
    if not ran:
        sys.exit(f"{program}: there is no test {test}:\n{run.stdout}")
    return run.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cc", required=True)
    parser.add_argument("--objects", nargs="+", required=True)
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    folder = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="weir-mutants-"))
    missed = []
    try:
        plain = build(options, folder, "plain", [])
        for test in sorted({mutant[1] for mutant in MUTANTS}):
            if not passes(plain, test):
                sys.exit(f"{test} fails without any mutant")
        for name, test, path, text, replacement in MUTANTS:
            found = not passes(build(options, folder, name, [(path, text, replacement)]), test)
            print(f"{name}: {'found by ' + test if found else 'MISSED by ' + test}", flush=True)
            if not found:
                missed.append(name)
    finally:
        if not options.keep:
            shutil.rmtree(folder)
    print(f"{len(MUTANTS) - len(missed)} of {len(MUTANTS)} mutants found")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
