"""The rules that need a tool: clang-format, the compilers, binutils on a finished build.

Each takes paths and yields findings; a tool that this machine lacks makes a rule raise Missing, which
check.py reports as not run, never as passed.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tree import Finding, bare_code, is_c


class Missing(Exception):
    """The tool or the build that a rule needs is not there."""


def _tool(*names):
    for name in names:
        if shutil.which(name):
            return name
    raise Missing(f"{' or '.join(names)} is not installed")


def _output(command, **options):
    return subprocess.run(command, capture_output=True, text=True, errors="replace", **options)


def formatter():
    """clang-format of version 14: others format differently."""
    for name in ("clang-format-14", "clang-format"):
        if shutil.which(name) and " version 14." in _output([name, "--version"]).stdout:
            return name
    raise Missing("clang-format 14 is not installed")


def format_rule(root, paths):
    """clang-format decides how C looks."""
    tool = formatter()
    sources = [path for path in paths if is_c(path)]
    if not sources:
        return
    result = _output([tool, "--dry-run", "--ferror-limit=1", "--style=file", *sources], cwd=root)
    told = set()
    for match in re.finditer(r"^(\S+?):(\d+):\d+: (?:warning|error):", result.stderr, re.MULTILINE):
        path, line = match.group(1), int(match.group(2))
        if path not in told:
            told.add(path)
            yield Finding(path, line, "format", "clang-format -i it")


def stands_alone(root, paths):
    """Every public header compiles alone, as C11 and as C++17, without a warning."""
    compilers = [(_tool("gcc", "cc", "clang"), "c", "c11"), (_tool("g++", "c++", "clang++"), "c++", "c++17")]
    for path in paths:
        if not re.match(r"\w+/include/weir/\w+\.h$", path):
            continue
        header = path.split("include/")[1]
        for compiler, language, standard in compilers:
            result = _output(
                [compiler, f"-x{language}", f"-std={standard}", "-Wall", "-Wextra", "-Wpedantic", "-Werror",
                 "-Iengine/include", "-Ischeduler/include", "-fsyntax-only", "-"],
                cwd=root, input=f"#include <{header}>\n#include <{header}>\nint weir_none;\n")
            if result.returncode != 0:
                errors = [row for row in result.stderr.split("\n") if "error" in row]
                yield Finding(path, 1, "stands-alone", f"{standard}: {errors[0] if errors else result.stderr}")


# ---------------------------------------------------------------------------------------------
# What was built
# ---------------------------------------------------------------------------------------------

LIBRARY_FOLDERS = re.compile(r"^(engine/(?!cli/|conform/)|backends/|kernels/|scheduler/(?!cli/))")


def objects_of(build):
    """(path below the build's folder, object file) of every library source."""
    for found in sorted(Path(build).rglob("*.o")):
        path = found.relative_to(build).as_posix()
        if LIBRARY_FOLDERS.match(path):
            yield path, found


def _symbols(found):
    """(name, section, is global) of each object or function that an object file defines."""
    for row in _output(["objdump", "-t", str(found)]).stdout.split("\n"):
        match = re.match(r"[0-9a-f]+ (.{7}) (\S+)\t[0-9a-f]+ (?:\.\w+ )?(\S+)$", row)
        if match and (match.group(1)[6] in "OF" or match.group(2).startswith((".tbss", ".tdata"))):
            if match.group(3) != match.group(2):  # a section has a symbol too
                yield match.group(3), match.group(2), match.group(1)[0] in "gu"
        elif match and match.group(2) == "*COM*":
            yield match.group(3), "*COM*", True


MUTABLE = re.compile(r"^(\.data(?!\.rel\.ro)|\.bss|\.tdata|\.tbss|\*COM\*)")


# The table through which NVTX's header finds the tool that listens: the header defines it.
OF_HEADERS = ("nvtxGlobals_v3", "InitializeInjectionNvtx2_fnptr")


def globals_rule(build, allowed=OF_HEADERS):
    """Libraries have no variable that outlives a call: no static, no global, no thread-local one."""
    _tool("objdump")
    seen = False
    for path, found in objects_of(build):
        seen = True
        for name, section, _ in _symbols(found):
            if MUTABLE.match(section) and name not in allowed:
                yield Finding(path, 1, "globals", f"{name} is mutable ({section})")
    if not seen:
        raise Missing(f"no objects below {build}: ./run build")


def names_rule(build):
    """What an object shows to others is called weir_..."""
    _tool("objdump")
    for path, found in objects_of(build):
        for name, _, is_global in _symbols(found):
            if is_global and not name.startswith("weir_"):
                yield Finding(path, 1, "names", f"{name} is visible to other files: static, or weir_...")


def declared(files):
    """The public functions, as the headers declare them."""
    names = set()
    for path, text in files.items():
        if re.match(r"engine/include/weir/\w+\.h$", path):
            code = bare_code(text)
            code = re.sub(r"^\s*#.*?(?<!\\)$", "", code, flags=re.MULTILINE | re.DOTALL)
            names |= set(re.findall(r"WEIR_API\b[^;{}]*?\b(weir_\w+)\s*\(", code))
    return names


def _dynamic(library, flag):
    rows = _output(["nm", "-D", flag, str(library)]).stdout.split("\n")
    return {row.split()[-1].split("@")[0] for row in rows if row.strip()}


LOADERS = {"lib/weir/weir_opencl.so": "libOpenCL.so.1"}  # docs/decisions/opencl.md
NEEDED = re.compile(r"(libc|libm|libdl|libpthread|ld-linux-[\w-]+)\.so\.\d+$")
ENDS_PROCESS = {
    "abort", "exit", "_exit", "system", "signal", "sigaction", "printf", "puts", "putchar", "perror", "stdout",
    "stderr", "__assert_fail", "__printf_chk", "__fprintf_chk", "popen", "execl", "execlp", "execle", "execv",
    "execve", "execvp", "execvpe", "fexecve", "posix_spawn", "posix_spawnp", "fork", "vfork", "raise", "kill",
    "quick_exit", "atexit", "on_exit", "longjmp", "__longjmp_chk", "alarm", "setitimer",
}


def _linked(library, path):
    for row in _output(["objdump", "-p", str(library)]).stdout.split("\n"):
        match = re.match(r"\s+NEEDED\s+(\S+)", row)
        if match and not NEEDED.match(match.group(1)) and match.group(1) != LOADERS.get(path):
            yield Finding(path, 1, "exports", f"links {match.group(1)}: the C library only")
    for name in sorted(_dynamic(library, "--undefined-only") & ENDS_PROCESS):
        yield Finding(path, 1, "exports", f"uses {name}: libraries never print and never end a process")


def exports_rule(build, files):
    """libweir.so exports what its headers declare, plugins weir_plugin_v0; both link the C library only."""
    _tool("nm")
    library = Path(build) / "lib/libweir.so"
    if not library.exists():
        raise Missing(f"no {library}: ./run build")
    exported, public = _dynamic(library, "--defined-only"), declared(files)
    for name in sorted(exported - public):
        yield Finding("lib/libweir.so", 1, "exports", f"exports {name}, which no public header declares")
    for name in sorted(public - exported):
        yield Finding("lib/libweir.so", 1, "exports", f"lacks {name}, which a public header declares")
    yield from _linked(library, "lib/libweir.so")
    for plugin in sorted((Path(build) / "lib/weir").glob("*.so")):
        path = f"lib/weir/{plugin.name}"
        exported = _dynamic(plugin, "--defined-only")
        if exported != {"weir_plugin_v0"}:
            yield Finding(path, 1, "exports", f"exports {', '.join(sorted(exported))}; weir_plugin_v0 only")
        for name in sorted(_dynamic(plugin, "--undefined-only")):
            if name.startswith("weir_"):
                yield Finding(path, 1, "exports", f"uses {name} of the engine: a plugin links nothing of weir")
        yield from _linked(plugin, path)


def compiled(folder, path, source):
    """Compiles `source` to folder/path.o; for the self-tests."""
    target = Path(folder) / f"{path}.o"
    target.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([_tool("gcc", "cc", "clang"), "-xc", "-fPIC", "-c", "-o", str(target), "-"],
                   input=source, text=True, check=True)
    return target


def shared(folder, path, source, *options):
    """Links `source` to the shared library folder/path; for the self-tests."""
    target = Path(folder) / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", suffix=".c") as file:
        file.write(source)
        file.flush()
        subprocess.run([_tool("gcc", "cc", "clang"), "-shared", "-fPIC", "-w", "-o", str(target), file.name,
                        *options], check=True)
    return target
