"""The OpenCL kernels under Oclgrind: no access out of bounds, no data race, no wrong call.

What: check_graphs.py's tiny graphs, in both families, with every access of every kernel checked. With
      the seed that is not given each kernel of the family's sources must have run; another seed
      draws other graphs, and need not reach all.
Not:  its search for uninitialized values. It does not see what the host writes through mapped
      memory, and takes every input for uninitialized.

usage: oclgrind.py [SEED]
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
KERNELS = HERE.parents[1] / "kernels" / "opencl"


def kernels_of(family):
    """The names of all kernels that a family has."""
    texts = [p.read_text() for folder in ("common", family) for p in (KERNELS / folder).glob("*.cl")]
    found = [name for text in texts for name in re.findall(r"^WEIR_KERNEL\((\w+)\)", text, re.M)]
    # Oclgrind tells kernels by their names alone.
    twice = sorted({name for name in found if found.count(name) > 1})
    if not found or twice:
        raise SystemExit(f"{KERNELS}, family {family}: {len(found)} kernels, named twice: {twice}")
    # Images in blocks are the cpu family's alone.
    return set(found) - ({"weir_reorder"} if family == "gpu" else set())


def kernels_run(text):
    """Of those that Oclgrind counted instructions of: what touched memory, which a launch that only
    makes the driver compile does not."""
    parts = re.split(r"^Instructions executed for kernel '(\w+)':$", text, flags=re.M)
    stores = re.compile(r"store global|call _Z\d+vstore")
    return {name for name, counts in zip(parts[1::2], parts[2::2]) if stores.search(counts)}


def main():
    if not shutil.which("oclgrind"):
        print("oclgrind is not installed (Debian: oclgrind)")
        return 1
    seed = sys.argv[1] if len(sys.argv) > 1 else "1"
    failed = 0
    for family in ("cpu", "gpu"):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            command = ["oclgrind", "--data-races", "--check-api", "--inst-counts", "--log", str(log)]
            command += [sys.executable, str(HERE / "check_graphs.py"), "--tiny", "--quick"]
            # Another driver's device, or no graph at all, would be clean as well.
            command += ["--family", family, "--seed", seed]
            command += ["--option", "platform=Oclgrind", "--driver", "Oclgrind"]
            # The binaries of other drivers and of other runs are nothing to it.
            environment = dict(os.environ, WEIR_CACHE_DIR=folder)
            done = subprocess.run(command, env=environment, check=False, stdout=-1, text=True)
            missing = sorted(kernels_of(family) - kernels_run(done.stdout))
            said = [line for line in done.stdout.splitlines() if line.startswith(("OpenCL", family))]
            print("\n".join(said))
            if missing:
                print(f"never run: {', '.join(missing)}")
            told = log.read_text(errors="replace").strip() if log.exists() else ""
            lines = [line for line in told.splitlines() if "warning" not in line and line.strip()]
            if lines:
                print("\n".join(lines[:40]))
            is_whole = not missing or len(sys.argv) > 1
            is_clean = done.returncode == 0 and not lines and is_whole
            failed += not is_clean
            print(f"oclgrind, family {family}: {'clean' if is_clean else 'not clean'}")
    print(f"oclgrind: {2 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
