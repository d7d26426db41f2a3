#!/usr/bin/env python3
"""Is the layout of <weir/plugin.h> the committed one?

    tests/plugins/layout_test.py [--write]

Reads every struct and every enumerator from the header, writes a small program that prints their sizes, offsets
and values, and compares what that prints, compiled as C11 and as C++17, with layout.txt. From version 1 on a
line of layout.txt may only be added; until then --write makes it anew.
"""

import difflib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADER = ROOT / "engine/include/weir/plugin.h"
COMMITTED = ROOT / "tests/plugins/layout.txt"
PROGRAM = """#include <weir/plugin.h>
#include <stdio.h>
#define STRUCT(type) (void)printf("%s %zu\\n", #type, sizeof(type));
#define FIELD(type, field) (void)printf("    %s %zu %zu\\n", #field, offsetof(type, field), sizeof(((type *)0)->field));
#define VALUE(name) (void)printf("%s %llu\\n", #name, (unsigned long long)(name));
int main(void)
{
LINES
    return 0;
}
"""


def bare(text):
    return re.sub(r"//[^\n]*", "", text)


def field_names(body):
    for declaration in body.split(";"):
        declaration = " ".join(declaration.split())
        if not declaration:
            continue
        pointer = re.search(r"\(\*(\w+)\)\(", declaration)
        if pointer:
            yield pointer.group(1)
            continue
        for piece in declaration.split(","):
            yield re.search(r"(\w+)(\[[^\]]*\])?$", piece.strip()).group(1)


def structs(text):
    """(type, fields) of each struct that is defined."""
    for match in re.finditer(r"(?:typedef )?struct (\w+) \{(.*?)\n\}\s*(\w*);", text, re.DOTALL):
        yield f"struct {match.group(1)}", list(field_names(match.group(2)))


def values(text):
    for match in re.finditer(r"enum \{(.*?)\}", text, re.DOTALL):
        yield from re.findall(r"\b(WEIR_\w+)\b(?=\s*(?:=|,|$))", match.group(1))
    for name in re.findall(r"^#define (WEIR_\w+)[ \\\n]+\(?[0-9]", text, re.MULTILINE):
        if name != "WEIR_PLUGIN_HEADER_HASH":  # of the text, not of the layout
            yield name


def dump():
    text = bare(HEADER.read_text(encoding="utf-8"))
    found = list(structs(text))
    lines = [f"STRUCT({name})" + "".join(f" FIELD({name}, {field})" for field in fields) for name, fields in found]
    lines += [f"VALUE({name})" for name in values(text)]
    assert len(found) == len(re.findall(r"struct \w+ \{", text)) > 20 and len(lines) > 100, "misread the header"
    printed = {}
    with tempfile.TemporaryDirectory() as folder:
        for compiler, standard, end in (("cc", "c11", "c"), ("c++", "c++17", "cpp")):
            source, program = Path(folder) / f"layout.{end}", Path(folder) / f"layout_{end}"
            source.write_text(PROGRAM.replace("LINES", "\n".join(lines)))
            subprocess.run([compiler, f"-std={standard}", "-Wall", "-Wextra", "-Werror", "-I",
                            str(ROOT / "engine/include"), str(source), "-o", str(program)], check=True)
            printed[standard] = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    assert printed["c11"] == printed["c++17"], "C and C++ disagree on the layout"
    return printed["c11"]


def main():
    now = dump()
    if sys.argv[1:] == ["--write"]:
        COMMITTED.write_text(now)
    committed = COMMITTED.read_text()
    if now != committed:
        print("".join(difflib.unified_diff(committed.splitlines(True), now.splitlines(True), "layout.txt", "now")))
        print("layout: plugin.h is laid out otherwise; on purpose? layout_test.py --write, and say so in the commit")
        return 1
    print(f"layout: {len(committed.splitlines())} lines as committed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
