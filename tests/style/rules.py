"""The rules that need nothing but the text of the tree. Each takes {path: text} and yields findings.

RULES, at the end, is the list that check.py runs and that selftest.py shows bad trees to. Rules that need
a compiler, a formatter or built objects are in tools.py.
"""

import hashlib
import re

from tree import Finding, bare_code, is_c, is_library, numbered

# ---------------------------------------------------------------------------------------------
# Who may include whom: docs/architecture.md, "Folders". Arrows are transitive.
# ---------------------------------------------------------------------------------------------

ENGINE_ARROWS = {
    "base": [],
    "graph": ["base"],
    "onnx": ["base", "graph"],
    "plugin": ["base"],
    "cache": ["base"],
    "plan": ["graph", "plugin", "cache"],
    "exec": ["plan", "plugin"],
    "api": ["base", "graph", "onnx", "plugin", "cache", "plan", "exec"],
    "conform": ["plugin"],
    "cli": ["conform"],
}

# Public headers that are the words everything speaks in; base implements status, log and allocator.
VOCABULARY = {"plugin.h", "status.h", "log.h", "limits.h", "engine.h"}

LIBC = set("""assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign
    stdarg stdatomic stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar
    wctype dirent dlfcn fcntl glob poll pthread sched semaphore spawn strings unistd cpuid link ftw
    getopt libgen regex malloc elf ucontext""".split())
LIBC_FOLDERS = ("sys/", "linux/", "arpa/", "netinet/")
# Headers from elsewhere, and the only folders that may see them.
FOREIGN = {
    r"xxhash\.h|xxh3\.h": ["engine/base/"],
    # base and exec: the spin hint and the floating-point control word, no vectors.
    r".*intrin\.h|arm_.*\.h": ["kernels/cpu/", "benchmarks/kernels/", "engine/base/", "engine/exec/",
                                "engine/cli/rates"],
    r"cmocka\.h": ["tests/"],
    r"hwloc.*": ["scheduler/topology/"],
    r"uv\.h|uv/.*": ["scheduler/loop/", "tests/scheduler/loop_", "docs/examples/embed_libuv.c"],
    r"cuda.*|cublas.*|cudnn.*|nvrtc.*|nvml.*|nvtx3/.*": [
        "backends/cuda/", "kernels/cuda/", "tests/cuda/", "tests/support/fake_cuda/"],
    r"CL/.*": ["backends/opencl/", "kernels/opencl/", "tests/opencl/", "tests/cuda/print_"],
}


def _reachable(folder):
    seen, todo = set(), [folder]
    while todo:
        here = todo.pop()
        if here not in seen:
            seen.add(here)
            todo += ENGINE_ARROWS[here]
    return seen


def _engine_may(path, target):
    folder = path.split("/")[1]
    if folder not in ENGINE_ARROWS:
        return False
    if folder == "cli":
        return target.startswith(("engine/cli/", "engine/conform/"))
    if folder in ("api", "conform") and target == "backends/ref/ref_plugin.h":
        return True
    parts = target.split("/")
    return parts[0] == "engine" and parts[1] in _reachable(folder)


def _may_include(path, target):
    """May `path` include the file `target` of the tree (public headers apart)?"""
    parts = path.split("/")
    if parts[0] == "engine":
        return _engine_may(path, target)
    if parts[0] == "backends":
        # print: expressions as source, shared by the plugins that compile at run time.
        return target.startswith((f"backends/{parts[1]}/", f"kernels/{parts[1]}/", "backends/print/"))
    if parts[0] == "kernels":
        return target.startswith("kernels/")
    if parts[0] == "scheduler":
        return target.startswith("scheduler/") or parts[1] == "cli" and target.startswith("engine/cli/")
    if parts[0] == "benchmarks":
        return target.startswith(("benchmarks/", "kernels/", "tests/kernels/", "tests/support/"))
    if parts[0] == "docs":
        return False  # examples are for readers to copy: public headers only
    return parts[0] == "tests"


def _may_include_public(path, header):
    """May `path` include <weir/header>?"""
    parts = path.split("/")
    if parts[0] == "kernels":
        return False
    if parts[0] == "backends":
        return header == "plugin.h"
    if path == "engine/include/weir/plugin.h":
        return False
    if parts[0] == "engine" and parts[1] == "base":
        return header in VOCABULARY
    return True


def includes(files):
    """Includes follow the arrows of docs/architecture.md; paths start at the root of the tree."""
    for path, text in files.items():
        if not is_c(path):
            continue
        for line, row in numbered(text):
            match = re.match(r'\s*#\s*include\s+(?:<([^>]+)>|"([^"]+)")', row)
            if not match:
                continue
            angled, quoted = match.groups()
            problem = None
            if quoted is not None:
                if quoted not in files:
                    problem = f'"{quoted}" is no path from the root of the tree'
                elif quoted.startswith("engine/include/"):
                    problem = f"public headers are included as <weir/...>, not \"{quoted}\""
                elif path.startswith("engine/include/") or not _may_include(path, quoted):
                    problem = f'this folder must not include "{quoted}"'
            elif angled.startswith("weir/"):
                if not _may_include_public(path, angled[5:]):
                    problem = f"this folder must not include <{angled}>"
            else:
                problem = _foreign_problem(path, angled)
            if problem:
                yield Finding(path, line, "includes", problem)


def _foreign_problem(path, header):
    if path == "engine/include/weir/plugin.h" and header not in ("stddef.h", "stdint.h"):
        return f"plugin.h stands alone: <stddef.h> and <stdint.h>, not <{header}>"
    for pattern, folders in FOREIGN.items():
        if re.fullmatch(pattern, header):
            return None if path.startswith(tuple(folders)) else f"<{header}> belongs to {', '.join(folders)}"
    if header.endswith(".h") and (header[:-2] in LIBC or header.startswith(LIBC_FOLDERS)):
        return None
    return f"<{header}> is not of the C library: a new dependency needs a page in docs/decisions and a row here"


# ---------------------------------------------------------------------------------------------
# Sizes and shapes of files
# ---------------------------------------------------------------------------------------------

CODE_ENDS = (".c", ".h", ".inc", ".py", ".cmake", ".sh")


def _is_code(path):
    return path.endswith(CODE_ENDS) or path.endswith("CMakeLists.txt") or path in ("run", ".ci/run")


def file_length(files):
    """A file has at most 800 lines."""
    for path, text in files.items():
        count = text.count("\n")
        if _is_code(path) and count > 800:
            yield Finding(path, count, "file-length", f"{count} lines; at most 800, about 300 is usual")


def columns(files):
    """A line of code has at most 100 columns (scripts and CMake: 120)."""
    for path, text in files.items():
        if not _is_code(path):
            continue
        limit = 100 if is_c(path) else 120
        for line, row in numbered(text):
            if len(row) > limit:
                yield Finding(path, line, "columns", f"{len(row)} columns; at most {limit}")


def function_length(files):
    """A function has at most 70 lines, outside kernels and tables."""
    for path, text in files.items():
        if not is_c(path) or path.startswith("kernels/"):
            continue
        begin = None
        for line, row in numbered(bare_code(text)):
            if row == "{":
                begin = line
            elif row.startswith("}") and begin is not None:
                if row == "}" and line - begin - 1 > 70:
                    length = line - begin - 1
                    yield Finding(path, begin, "function-length", f"{length} lines; at most 70")
                begin = None


def whitespace(files):
    """No tabs in code, no blanks at ends of lines, one newline at the end."""
    for path, text in files.items():
        if not (_is_code(path) or path.endswith((".md", ".txt"))) or not text:
            continue
        for line, row in numbered(text):
            if row != row.rstrip():
                yield Finding(path, line, "whitespace", "blanks at the end of the line")
            if "\t" in row and is_c(path):
                yield Finding(path, line, "whitespace", "a tab")
        if not text.endswith("\n") or text.endswith("\n\n"):
            yield Finding(path, text.count("\n"), "whitespace", "the file ends with one newline")


def head_comment(files):
    """A file of code begins with a comment: what, why, and what it must not do."""
    for path, text in files.items():
        if not _is_code(path) or not text.strip() or path.endswith("/__init__.py"):
            continue
        rows = [row for row in text.split("\n") if row.strip()]
        if rows[0].startswith("#!"):
            rows = rows[1:]
        first = rows[0].strip() if rows else ""
        starts = ("//", "/*") if is_c(path) else ("#", '"""', 'r"""')
        if not first.startswith(starts) or re.match(r"#\s*(include|define|pragma|if)", first) and is_c(path):
            yield Finding(path, 1, "head-comment", "begin with a comment that says what the file is for")


def include_guards(files):
    """A header has an include guard, named after it."""
    for path, text in files.items():
        if not path.endswith(".h"):
            continue
        rows = [row for row in bare_code(text).split("\n") if row.strip()]
        opened = re.match(r"#ifndef (WEIR_\w*H_?)$", rows[0].strip()) if rows else None
        if not opened or len(rows) < 3 or rows[1].strip() != f"#define {opened.group(1)}":
            yield Finding(path, 1, "include-guards", "begin with #ifndef WEIR_..._H and its #define")


# ---------------------------------------------------------------------------------------------
# Words and calls
# ---------------------------------------------------------------------------------------------

# Spelled in two parts, so that this file does not break its own rule.
BAD_WORDS = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "X" + "XX", "HA" + "CK"]) + r")\b")
MACHINE_PATHS = re.compile(r"(?:^|(?<=[\s\"'`(=:]))/(?:home|root|mnt|Users|work|tm" + r"p)/[\w.-]+")
REGISTRIES = re.compile(r"\b(py" + r"pi\.org|pythonhosted\.org|deb\.debian\.org|registry\.npmjs)")


def words(files):
    """No notes to self, no path of somebody's machine, no registry's host."""
    for path, text in files.items():
        if path == "LICENSE":
            continue
        for line, row in numbered(text):
            for pattern, what in (
                    (BAD_WORDS, "do it, or decide in docs/decisions not to"),
                    (MACHINE_PATHS, "a path of one machine"),
                    (REGISTRIES, "a registry's host: its ordinary client knows it")):
                match = pattern.search(row)
                if match:
                    yield Finding(path, line, "words", f'"{match.group(0)}": {what}')


# What ends or surprises the embedder's process, or can't be used safely. Called, not merely named.
FORBIDDEN_CALLS = {
    "abort": "return a status", "exit": "return a status", "_exit": "return a status",
    "_Exit": "return a status", "quick_exit": "return a status", "atexit": "libraries keep no exit handlers",
    "system": "libraries start no shell", "popen": "libraries start no shell", "fork": "libraries do not fork",
    "signal": "signals are the embedder's", "sigaction": "signals are the embedder's",
    "raise": "signals are the embedder's", "setlocale": "the locale is the embedder's",
    "setenv": "the environment is the embedder's", "putenv": "the environment is the embedder's",
    "chdir": "the working directory is the embedder's", "umask": "the umask is the embedder's",
    "printf": "libraries never print", "vprintf": "libraries never print", "puts": "libraries never print",
    "putchar": "libraries never print", "perror": "libraries never print",
    "assert": "input is answered with a status",
    "gets": "unbounded", "strcpy": "unbounded", "strcat": "unbounded", "sprintf": "unbounded",
    "vsprintf": "unbounded", "alloca": "unbounded", "strtok": "not re-entrant", "rand": "not re-entrant",
    "srand": "not re-entrant", "localtime": "not re-entrant", "gmtime": "not re-entrant",
}
_CALL = re.compile(r"(?<![\w.>])(" + "|".join(FORBIDDEN_CALLS) + r")\s*\(")
_STANDARD_STREAM = re.compile(r"\b(stdout|stderr|stdin)\b")


def calls(files):
    """Libraries never print, abort, exit, install handlers or use the C library's traps."""
    for path, text in files.items():
        if not is_library(path):
            continue
        for line, row in numbered(bare_code(text)):
            for match in _CALL.finditer(row):
                name = match.group(1)
                yield Finding(path, line, "calls", f"{name}(): {FORBIDDEN_CALLS[name]}")
            match = _STANDARD_STREAM.search(row)
            if match:
                yield Finding(path, line, "calls", f"{match.group(1)}: libraries never print")


def sleeps(files):
    """A test waits for a condition or uses the virtual clock; it never sleeps."""
    sleep = re.compile(r"(?<!\w)(?:time\.)?(u|nano|clock_nano)?sleep\s*\(")
    for path, text in files.items():
        if path.startswith("tests/style/") or not path.startswith("tests/"):
            continue
        if path.endswith((".c", ".h", ".py")):
            code = bare_code(text) if is_c(path) else text
            for line, row in numbered(code):
                if sleep.search(row):
                    yield Finding(path, line, "sleeps", "a test that sleeps is slow or wrong, often both")


def back_doors(files):
    """What another file defines is declared in a header: no `extern` for it in a .c file."""
    for path, text in files.items():
        if not path.endswith(".c"):
            continue
        code = bare_code(text)
        for line, row in numbered(code):
            match = re.match(r'extern\b(?!\s*"")[^;(]*?(\w+)\s*[;(\[=]', row.strip())
            # A declaration before the definition holds the function to a type that a header names.
            if match and not re.search(rf"^(?!extern)[\w *]*\b{match.group(1)}\(", code, re.MULTILINE):
                yield Finding(path, line, "back-doors", f"declare {match.group(1)} in a header")


# ---------------------------------------------------------------------------------------------
# Public headers
# ---------------------------------------------------------------------------------------------

PUBLIC = re.compile(r"engine/include/weir/\w+\.h$|scheduler/include/weir/\w+\.h$")


def public_comments(files):
    """The comment of a public function says which threads may call it and which errors it gives."""
    for path, text in files.items():
        if not PUBLIC.match(path):
            continue
        rows = text.split("\n")
        for index, row in enumerate(rows):
            if not row.startswith("WEIR_API"):
                continue
            first = index
            while first > 0 and rows[first - 1].startswith("//"):
                first -= 1
            comment = " ".join(rows[first:index]).lower()
            for word in ("threads", "errors"):
                if word not in comment:
                    yield Finding(path, index + 1, "public-comments", f'the comment does not say "{word}:"')


PLUGIN_HEADER = "engine/include/weir/plugin.h"
HASH_LINE = re.compile(r"^#define WEIR_PLUGIN_HEADER_HASH 0x([0-9a-f]{16})ull$", re.MULTILINE)


def header_hash(text):
    """The first 8 bytes, in hex, of the SHA-256 of plugin.h without the line that holds them."""
    return hashlib.sha256(HASH_LINE.sub("", text, count=1).encode()).hexdigest()[:16]


def plugin_hash(files):
    """WEIR_PLUGIN_HEADER_HASH is the hash of plugin.h (check.py --fix writes it)."""
    text = files.get(PLUGIN_HEADER)
    if text is None:
        return
    match = HASH_LINE.search(text)
    if not match:
        yield Finding(PLUGIN_HEADER, 1, "plugin-hash", "no line that defines WEIR_PLUGIN_HEADER_HASH")
    elif match.group(1) != header_hash(text):
        line = text[:match.start()].count("\n") + 1
        yield Finding(PLUGIN_HEADER, line, "plugin-hash", f"is 0x{header_hash(text)}ull now: check.py --fix")


def doc_links(files):
    """A link from one page to a file of the tree leads somewhere; so does a page's name in code."""
    folders = {path.rsplit("/", 1)[0] for path in files if "/" in path}
    folders |= {folder[:cut] for folder in folders for cut in range(len(folder)) if folder[cut] == "/"}
    for path, text in files.items():
        if path.startswith("tests/style/"):
            continue
        for line, row in numbered(text):
            for target in re.findall(r"\bdocs/[\w/-]+\.md\b", row):
                if target not in files and "ONNX" not in row:  # which has a folder of that name too
                    yield Finding(path, line, "doc-links", f"{target} does not exist")
        if not path.endswith(".md"):
            continue
        base = path.split("/")[:-1]
        for line, row in numbered(text):
            for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", row):
                if re.match(r"[a-z]+:", target):
                    continue
                parts = list(base)
                for part in target.split("/"):
                    parts = parts[:-1] if part == ".." else parts + ([part] if part not in ("", ".") else [])
                if "/".join(parts) not in files and "/".join(parts) not in folders:
                    yield Finding(path, line, "doc-links", f"{target} does not exist")


def decision_pages(files):
    """Every page in docs/decisions is a row of the README there."""
    index = files.get("docs/decisions/README.md", "")
    for path in files:
        name = path.rsplit("/", 1)[-1]
        if path.startswith("docs/decisions/") and name != "README.md" and f"]({name})" not in index:
            yield Finding("docs/decisions/README.md", 1, "decision-pages", f"has no row for {name}")


RULES = [
    includes, file_length, columns, function_length, whitespace, head_comment, include_guards, words, calls,
    sleeps, back_doors, public_comments, plugin_hash, doc_links,
    decision_pages,
]
