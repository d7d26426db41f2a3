"""Shows every rule small trees that break it, and one that keeps it: a rule that can't fail is a defect.

A case is (rule, the tree, True when the rule must object). Bad words and paths are put together here, so
that this file keeps the rules that it tests.
"""

import tempfile
from pathlib import Path

import rules
import tools

# A tree of headers that the include cases refer to.
HEADERS = {path: "" for path in (
    "engine/base/size.h", "engine/graph/graph.h", "engine/onnx/wire.h", "engine/plan/plan.h", "engine/exec/run.h",
    "engine/cli/table.h", "backends/ref/ref_plugin.h", "backends/cpu/cpu.h", "kernels/ref/ref.h", "kernels/cpu/gemm.h",
    "engine/include/weir/plugin.h", "tests/support/support.h", "backends/print/print.h",
)}


def _includes(path, what, bad):
    return ("includes", {**HEADERS, path: f"#include {what}\n"}, bad)


def _code(rule, text, bad, path="engine/base/a.c"):
    return (rule, {path: text}, bad)


def _long(lines):
    return "void f(void)\n{\n" + "    g();\n" * lines + "}\n"


_API = "// {}\nWEIR_API void weir_x(void);\n"
_HASHED = "// plugin.h\n#define WEIR_PLUGIN_HEADER_HASH 0x{}ull\nint a;\n"

TEXT_CASES = [
    _includes("engine/graph/a.c", '"engine/base/size.h"', False),
    _includes("engine/base/a.c", '"engine/graph/graph.h"', True),
    _includes("engine/graph/a.c", '"engine/onnx/wire.h"', True),
    _includes("engine/exec/a.c", '"engine/base/size.h"', False),  # through plan, graph
    _includes("engine/exec/a.c", '"engine/graph/graph.h"', False),
    _includes("engine/plan/a.c", '"engine/exec/run.h"', True),
    _includes("engine/plan/a.c", '"backends/ref/ref_plugin.h"', True),
    _includes("engine/api/a.c", '"backends/ref/ref_plugin.h"', False),
    _includes("engine/api/a.c", '"kernels/ref/ref.h"', True),
    _includes("engine/cli/a.c", '"engine/cli/table.h"', False),
    _includes("engine/cli/a.c", '"engine/base/size.h"', True),
    _includes("engine/base/a.c", "<weir/session.h>", True),
    _includes("engine/base/a.c", "<weir/status.h>", False),
    _includes("engine/base/a.c", "<openssl/sha.h>", True),
    _includes("engine/base/a.c", "<xxhash.h>", False),
    _includes("engine/graph/a.c", "<xxhash.h>", True),
    _includes("engine/base/a.c", '"engine/base/none.h"', True),
    _includes("engine/base/a.c", '"size.h"', True),
    _includes("engine/base/a.c", '"engine/include/weir/plugin.h"', True),
    _includes("engine/include/weir/plugin.h", "<string.h>", True),
    _includes("engine/include/weir/plugin.h", "<stdint.h>", False),
    _includes("engine/include/weir/x.h", '"engine/base/size.h"', True),
    _includes("backends/cpu/a.c", '"engine/base/size.h"', True),
    _includes("backends/cpu/a.c", '"kernels/cpu/gemm.h"', False),
    _includes("backends/cpu/a.c", '"kernels/ref/ref.h"', True),
    _includes("backends/cpu/a.c", '"backends/print/print.h"', False),
    _includes("backends/cpu/a.c", '"backends/ref/ref_plugin.h"', True),
    _includes("backends/print/a.c", '"backends/cpu/cpu.h"', True),
    _includes("backends/cpu/a.c", "<weir/plugin.h>", False),
    _includes("backends/cpu/a.c", "<weir/status.h>", True),
    _includes("kernels/cpu/a.c", "<weir/plugin.h>", True),
    _includes("kernels/cpu/a.c", '"backends/cpu/cpu.h"', True),
    _includes("kernels/cpu/a.c", "<immintrin.h>", False),
    _includes("kernels/ref/a.c", "<immintrin.h>", True),
    _includes("docs/examples/a.c", '"engine/base/size.h"', True),
    _includes("docs/examples/a.c", "<weir/weir.h>", False),
    _includes("tests/unit/a.c", '"engine/base/size.h"', False),
    _code("file-length", "x\n" * 801, True),
    _code("file-length", "x\n" * 800, False),
    _code("columns", "x" * 101 + "\n", True),
    _code("columns", "x" * 100 + "\n", False),
    _code("columns", "x" * 121 + "\n", True, "a.py"),
    _code("function-length", _long(71), True),
    _code("function-length", _long(70), False),
    _code("function-length", _long(71), False, "kernels/ref/a.c"),
    _code("whitespace", "int a; \n", True),
    _code("whitespace", "\tint a;\n", True),
    _code("whitespace", "int a;", True),
    _code("whitespace", "int a;\n\n", True),
    _code("whitespace", "int a;\n", False),
    _code("head-comment", "#include <stdio.h>\n", True),
    _code("head-comment", "// What.\n#include <stdio.h>\n", False),
    _code("head-comment", "#!/bin/sh\nset -e\n", True, "a.sh"),
    _code("head-comment", "#!/bin/sh\n# What.\nset -e\n", False, "a.sh"),
    _code("head-comment", "import os\n", True, "a.py"),
    _code("include-guards", "// What.\nint a;\n", True, "engine/base/a.h"),
    _code("include-guards", "// W.\n#ifndef WEIR_A_H\n#define WEIR_B_H\n#endif\n", True, "engine/base/a.h"),
    _code("include-guards", "// W.\n#ifndef WEIR_A_H\n#define WEIR_A_H\n#endif\n", False, "engine/base/a.h"),
    _code("words", "// TO" + "DO later\n", True),
    _code("words", "// FIX" + "ME\n", True, "docs/a.md"),
    _code("words", "open(\"/ho" + "me/me/x\");\n", True),
    _code("words", "cp a /tm" + "p/a\n", True, "run"),
    _code("words", "see https://py" + "pi.org/x\n", True, "docs/a.md"),
    _code("words", "// todos, and/or hacks; /usr/lib\n", False),
    _code("calls", "void f(void)\n{\n    abort();\n}\n", True),
    _code("calls", "    exit (1);\n", True, "kernels/ref/a.c"),
    _code("calls", "    fprintf(stderr, \"x\");\n", True, "backends/cpu/a.c"),
    _code("calls", "    printf(\"x\");\n", True),
    _code("calls", "    assert(n > 0);\n", True),
    _code("calls", "    printf(\"x\");\n", False, "engine/cli/a.c"),
    _code("calls", "    // abort()\n    host->signal(\"exit(1)\");\n", False),
    _code("calls", "    snprintf(a, 2, \"\"); static_assert(1, \"\");\n", False),
    _code("sleeps", "    usleep(10);\n", True, "tests/unit/a.c"),
    _code("sleeps", "    nanosleep(&t, 0);\n", True, "tests/support/a.c"),
    _code("sleeps", "time.sleep(1)\n", True, "tests/models/a.py"),
    _code("sleeps", "    usleep(10);\n", False, "benchmarks/a.c"),
    _code("sleeps", "    // sleep(1)\n    asleep(1);\n", False, "tests/unit/a.c"),
    _code("back-doors", "extern int weir_x(void);\n", True),
    _code("back-doors", "extern weir_k_t weir_x;\n", True),
    _code("back-doors", "extern weir_k_t weir_x;\n\nvoid weir_x(int n)\n{\n}\n", False),
    _code("back-doors", "extern \"C\" {\n", False),
    _code("public-comments", _API.format("Threads: any. Errors: none."), False, "engine/include/weir/a.h"),
    _code("public-comments", _API.format("Threads: any."), True, "engine/include/weir/a.h"),
    _code("public-comments", _API.format("Errors: none."), True, "engine/include/weir/a.h"),
    _code("public-comments", "WEIR_API void weir_x(void);\n", True, "engine/include/weir/a.h"),
    _code("plugin-hash", _HASHED.format("0" * 16), True, rules.PLUGIN_HEADER),
    _code("plugin-hash", _HASHED.format(rules.header_hash(_HASHED.format("0" * 16))), False, rules.PLUGIN_HEADER),
    _code("plugin-hash", "int a;\n", True, rules.PLUGIN_HEADER),
    ("doc-links", {"docs/a.md": "[b](b.md)\n"}, True),
    ("decision-pages", {"docs/decisions/README.md": "", "docs/decisions/a.md": ""}, True),
    ("decision-pages", {"docs/decisions/README.md": "[a](a.md)", "docs/decisions/a.md": ""}, False),
    ("doc-links", {"a.c": "// see docs/none.md\n"}, True),
    ("doc-links", {"docs/a.md": "[b](../c/b.md#x) [c](https://example.org)\n", "c/b.md": ""}, False),
]


def _text_cases():
    by_name = {rule.__name__.replace("_", "-"): rule for rule in rules.RULES}
    covered = {False: set(), True: set()}
    for number, (name, files, bad) in enumerate(TEXT_CASES):
        covered[bad].add(name)
        yield f"{name} case {number}", bool(list(by_name[name](files))) == bad
    for name in by_name:
        yield f"{name} has a bad case", name in covered[True]
        yield f"{name} has a good case", name in covered[False]


def _tool_cases(folder):
    root, build = Path(folder) / "root", Path(folder) / "build"
    include = root / "engine/include/weir"
    include.mkdir(parents=True)
    (root / ".clang-format").write_text("BasedOnStyle: LLVM\n")
    (root / "good.c").write_text("int a;\n")
    (root / "bad.c").write_text("int   a ;\n")
    yield "format good", not list(tools.format_rule(root, ["good.c"]))
    yield "format bad", [f.path for f in tools.format_rule(root, ["good.c", "bad.c"])] == ["bad.c"]

    (include / "good.h").write_text("#ifndef G\n#define G\n#include <stdint.h>\nuint8_t a(void);\n#endif\n")
    (include / "bad.h").write_text("#ifndef B\n#define B\nuint8_t a(void);\n#endif\n")
    (include / "c_only.h").write_text("#ifndef C\n#define C\nint new(void);\n#endif\n")
    yield "stands-alone good", not list(tools.stands_alone(root, ["engine/include/weir/good.h"]))
    yield "stands-alone bad", len(list(tools.stands_alone(root, ["engine/include/weir/bad.h"]))) == 2
    yield "stands-alone C only", len(list(tools.stands_alone(root, ["engine/include/weir/c_only.h"]))) == 1

    for name, source, bad in (
            ("constant",
             "int f(void);\nstatic int (*const table[])(void) = {f};\nvoid *weir_t(void) { return (void *)table; }",
             False),
            ("static", "int weir_f(void)\n{\n    static int n;\n    return n++;\n}", True),
            ("global", "int weir_n = 3;", True),
            ("thread", "_Thread_local int weir_n;", True)):
        where = build / name
        tools.compiled(where, f"engine/base/{name}.c", source)
        yield f"globals {name}", bool(list(tools.globals_rule(where))) == bad
    tools.compiled(build / "names", "kernels/ref/a.c", "int helper(void) { return 1; }\nint weir_f(void) { return 1; }")
    yield "names", [f.text.split()[0] for f in tools.names_rule(build / "names")] == ["helper"]

    yield from _export_cases(build)


def _export_cases(build):
    header = {"engine/include/weir/a.h": "WEIR_API int weir_a(\n    int n);\nint weir_b(void);\n"}
    good = "int weir_a(int n) { return n; }"
    plugin = "int weir_plugin_v0(void) { return 1; }"
    for name, library, module, bad in (
            ("good", good, plugin, False),
            ("one too many", good + "int weir__b(void) { return 1; }", plugin, True),
            ("one too few", "static int none;", plugin, True),
            ("aborts", "void abort(void); int weir_a(int n) { if (n) abort(); return n; }", plugin, True),
            ("plugin shows more", good, plugin + "int weir_x;", True),
            ("plugin reaches in", good, "int weir_a(int); int weir_plugin_v0(void) { return weir_a(1); }", True)):
        where = build / name.replace(" ", "_")
        tools.shared(where, "lib/libweir.so", library)
        tools.shared(where, "lib/weir/weir_x.so", module)
        yield f"exports {name}", bool(list(tools.exports_rule(where, header))) == bad
    where = build / "links"
    other = tools.shared(where, "lib/libother.so", "int other(void) { return 1; }")
    tools.shared(where, "lib/libweir.so", "int other(void); int weir_a(int n) { return n + other(); }", str(other))
    yield "exports links", any("links" in f.text for f in tools.exports_rule(where, header))


def run():
    """(passed, failed); names what failed."""
    results = list(_text_cases())
    try:
        with tempfile.TemporaryDirectory() as folder:
            results += list(_tool_cases(folder))
    except tools.Missing as missing:
        print(f"self-test: not run: {missing}")
        results.append(("tools", False))
    for name, good in results:
        if not good:
            print(f"self-test: FAILED: {name}")
    failed = sum(not good for _, good in results)
    return len(results) - failed, failed
