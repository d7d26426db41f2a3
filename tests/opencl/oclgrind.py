"""The OpenCL kernels under Oclgrind: no access out of bounds, no data race, no wrong call.

What: check_graphs.py's tiny graphs, in both families, with every access of every kernel checked.
Not:  its search for uninitialized values. It does not see what the host writes through mapped
      memory, and takes every input for uninitialized.

usage: oclgrind.py [SEED]
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main():
    if not shutil.which("oclgrind"):
        print("oclgrind is not installed (Debian: oclgrind)")
        return 1
    seed = sys.argv[1] if len(sys.argv) > 1 else "1"
    failed = 0
    for family in ("cpu", "gpu"):
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder) / "log"
            command = ["oclgrind", "--data-races", "--check-api", "--log", str(log)]
            command += [sys.executable, str(HERE / "check_graphs.py"), "--tiny", "--quick"]
            # Another driver's device, or no graph at all, would be clean as well.
            command += ["--family", family, "--seed", seed]
            command += ["--option", "platform=Oclgrind", "--driver", "Oclgrind"]
            # The binaries of other drivers and of other runs are nothing to it.
            environment = dict(os.environ, XDG_CACHE_HOME=folder)
            status = subprocess.run(command, env=environment, check=False).returncode
            told = log.read_text(errors="replace").strip() if log.exists() else ""
            lines = [line for line in told.splitlines() if "warning" not in line and line.strip()]
            if lines:
                print("\n".join(lines[:40]))
            is_clean = status == 0 and not lines
            failed += not is_clean
            print(f"oclgrind, family {family}: {'clean' if is_clean else 'not clean'}")
    print(f"oclgrind: {2 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
