#!/usr/bin/env python3
"""`weir inspect --limits` shows every limit that the public header has, with the defaults that hold.

usage: limits_shown.py WEIR
"""

import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]


def shown(weir, *options):
    return subprocess.run([weir, "inspect", "--limits", *options], capture_output=True, check=True, text=True).stdout


def main():
    header = (ROOT / "engine/include/weir/limits.h").read_text(encoding="utf-8")
    struct = header[header.index("typedef struct weir_limits {"):header.index("} weir_limits_t;")]
    declared = set(re.findall(r"uint\d+_t (\w+);", struct)) - {"size"}
    source = (ROOT / "engine/api/limits.c").read_text(encoding="utf-8")
    filled = set(re.findall(r"FILL\((\w+)\);", source))
    values = json.loads(shown(sys.argv[1], "--json"))
    rows = dict(line.split()[:2] for line in shown(sys.argv[1]).splitlines()[1:])
    wrong = [f"{name}: not everywhere" for name in declared ^ set(values) | declared ^ set(rows) | declared ^ filled]
    wrong += [f"{name}: {rows[name]} in the text, {values[name]} in JSON"
              for name in set(rows) & set(values) if int(rows[name]) != values[name]]
    # Each default once more, as a person reads it in the source.
    for name, text in re.findall(r"\.(\w+) = ([0-9]+ \* GiB|[0-9]+|[0-9]+ull),", source):
        number = int(re.match(r"\d+", text).group()) << (30 if "GiB" in text else 0)
        if values.get(name) != number:
            wrong.append(f"{name}: {values.get(name)} is shown, {number} is the default")
    print("\n".join(wrong + [f"{len(values)} limits shown"]))
    return 1 if wrong or not values else 0


if __name__ == "__main__":
    sys.exit(main())
