#!/usr/bin/env python3
"""The style test: the part of the house style that a machine can check.

    tests/style/check.py [--build DIR] [--fix] [RULE...]

Every rule is first shown a small tree that breaks it (selftest.py): a rule that finds nothing there fails.
--build DIR also checks the objects and libraries of that build. --fix writes the plugin header's hash and
formats the C files (with RULE: only what plugin-hash or format names), then checks. The last line is
"style: N passed, N failed"; exit code 1 on a failure.
It needs Python's standard library only and changes nothing without --fix.
"""

import argparse
import subprocess
import sys
from pathlib import Path

sys.dont_write_bytecode = True

import rules
import selftest
import tools
import tree

ROOT = Path(__file__).resolve().parents[2]
EXCEPTIONS = "tests/style/exceptions.txt"


def read_exceptions(files):
    """{(rule, path): line number}"""
    found = {}
    for line, row in tree.numbered(files.get(EXCEPTIONS, "")):
        row = row.split("#")[0].split("|")[0].split()
        if len(row) == 2:
            found[tuple(row)] = line
    return found


def fix(files, only):
    """Writes what has one right answer. Formats before hashing: formatting changes the hash."""
    sources = [path for path in files if tree.is_c(path)]
    if sources and (not only or "format" in only):
        subprocess.run([tools.formatter(), "-i", "--style=file", *sources], cwd=ROOT, check=True)
    header = ROOT / rules.PLUGIN_HEADER
    if header.exists() and (not only or "plugin-hash" in only):
        text = header.read_text()
        line = f"#define WEIR_PLUGIN_HEADER_HASH 0x{rules.header_hash(text)}ull"
        header.write_text(rules.HASH_LINE.sub(line, text, count=1))


def all_rules(files, build):
    """{name: a call that gives findings}"""
    found = {rule.__name__.replace("_", "-"): (lambda rule=rule: list(rule(files))) for rule in rules.RULES}
    paths = sorted(files)
    found["format"] = lambda: list(tools.format_rule(ROOT, paths))
    found["stands-alone"] = lambda: list(tools.stands_alone(ROOT, paths))
    if build:
        found["globals"] = lambda: list(tools.globals_rule(build))
        found["names"] = lambda: list(tools.names_rule(build))
        found["exports"] = lambda: list(tools.exports_rule(build, files))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", metavar="DIR", help="a finished build to check too")
    parser.add_argument("--fix", action="store_true", help="format, and write the plugin header's hash")
    parser.add_argument("rules", nargs="*", metavar="RULE", help="only these rules")
    options = parser.parse_args()

    files = tree.read(ROOT)
    if options.fix:
        fix(files, options.rules)
        files = tree.read(ROOT)

    passed, failed = selftest.run()
    exceptions, used = read_exceptions(files), set()
    every = all_rules(files, options.build)
    for name in options.rules:
        if name not in every:
            parser.error(f"no rule {name}; there are: {', '.join(every)}")
    for name in options.rules or every:
        try:
            findings = every[name]()
        except tools.Missing as missing:
            print(f"{name}: not run: {missing}")
            failed += 1
            continue
        kept = []
        for finding in findings:
            if (name, finding.path) in exceptions:
                used.add((name, finding.path))
            else:
                kept.append(finding)
        for finding in kept:
            print(finding)
        passed, failed = passed + (not kept), failed + bool(kept)
    if not options.rules:
        stale = sorted((line, key) for key, line in exceptions.items() if key not in used and key[0] in every)
        for line, (rule, path) in stale:
            print(f"{EXCEPTIONS}:{line}: exceptions: {path} keeps the rule {rule} now: delete the line")
        passed, failed = passed + (not stale), failed + bool(stale)
    print(f"style: {passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
