#!/usr/bin/env python3
"""Where Python's packages have headers and libraries of CUDA (nvidia-cudnn, nvidia-cublas and so on).

Why: a machine with PyTorch has them there, and often nowhere else.

usage: packages.py include|lib     folders that are there, joined by ";" (include) or ":" (lib)
"""

import pathlib
import sys


def main():
    kind = sys.argv[1]
    found = []
    for above in dict.fromkeys(sys.path):
        for folder in sorted(pathlib.Path(above or ".").glob(f"nvidia/*/{kind}")):
            if folder.is_dir() and str(folder) not in found:
                found.append(str(folder))
    print((";" if kind == "include" else ":").join(found))


if __name__ == "__main__":
    main()
