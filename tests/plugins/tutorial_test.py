#!/usr/bin/env python3
"""Follows docs/plugins.md to the letter, in an empty folder, against an install tree.

    tests/plugins/tutorial_test.py BUILD_DIR

A block ```c NAME is written to the file NAME; of a block ```sh the lines after "$ " are run and the others are
what must be printed, in order: "..." as one character (the ellipsis) stands for any text, and alone on a line for any
lines. A command must succeed unless its output is shown to end with an error of weir's. The folder sees the installed
headers and command and nothing of the source tree.
"""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ANY = "\u2026"


def blocks(text):
    """(language, name or None, lines) of each fenced block."""
    for match in re.finditer(r"^```(\w+)(?: (\S+))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield match.group(1), match.group(2), match.group(3).splitlines()


def steps(lines):
    """(command, expected lines) of a shell block."""
    found = []
    for line in lines:
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def pattern_of(expected):
    parts = []
    for line in expected:
        if line == ANY:
            parts.append(r"(?:.*\n)*")
        else:
            parts.append(".*".join(re.escape(piece) for piece in line.split(ANY)) + r"\n")
    return "".join(parts)


def run_block(folder, environment, lines):
    """One shell for the block, so that what it exports stays. Returns the environment after it."""
    count = 0
    for command, expected in steps(lines):
        script = f"{command}\ncode=$?\nenv -0 > .environment\nexit $code"
        done = subprocess.run(["sh", "-c", script], cwd=folder, env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120, check=False)
        text = done.stdout
        may_fail = any(line.startswith("weir: ") for line in expected)
        assert (done.returncode != 0) == may_fail, f"$ {command}\n{text}(exit code {done.returncode})"
        assert re.fullmatch(pattern_of(expected), text), (
            f"$ {command}\nprints\n{text}and the page says\n" + "\n".join(expected))
        pairs = (folder / ".environment").read_text().split("\0")
        environment.update(pair.split("=", 1) for pair in pairs if "=" in pair)
        count += 1
    return count


def check_example(prefix, folder):
    """The page promises: under 300 lines, one header of weir, no warnings."""
    source = prefix / "share/weir/example.c"
    text = source.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 300, f"example.c has {len(text.splitlines())} lines"
    included = re.findall(r"#include (\S+)", text)
    assert [name for name in included if "weir" in name] == ["<weir/plugin.h>"], included
    for standard in ("c11", "c17"):
        subprocess.run(["cc", f"-std={standard}", "-shared", "-fPIC", "-O2", "-Wall", "-Wextra", "-Wpedantic",
                        "-Werror", "-I", f"{prefix}/include", str(source), "-o", "warned.so"], cwd=folder, check=True)


def main():
    build = Path(sys.argv[1]).resolve()
    page = (ROOT / "docs/plugins.md").read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        prefix, folder = Path(name).resolve() / "prefix", Path(name).resolve() / "empty"
        folder.mkdir()
        subprocess.run(["cmake", "--install", str(build), "--prefix", str(prefix)], check=True,
                       stdout=subprocess.DEVNULL)
        environment = {"PREFIX": str(prefix), "PATH": f"{prefix}/bin:{os.environ['PATH']}", "HOME": str(folder),
                       "WEIR_CACHE_DIR": str(folder / "cache")}
        files = commands = 0
        for language, file, lines in blocks(page):
            if file:
                (folder / file).write_text("\n".join(lines) + "\n", encoding="utf-8")
                files += 1
            elif language == "sh":
                commands += run_block(folder, environment, lines)
        assert files and commands > 5, f"only {files} files and {commands} commands: is the page read right?"
        check_example(prefix, folder)
    print(f"tutorial: {files} files, {commands} commands, as the page says")


if __name__ == "__main__":
    main()
