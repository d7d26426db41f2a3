#!/usr/bin/env python3
"""Whatever is wrong with OpenCL, `weir devices` says what, and the rest works.

    tests/opencl/reasons_test.py BUILD_DIR

No loader, no driver, a vendor file that names nothing, an option that is none, a kernel that does not build
(by the option break_build): in each case the reason is looked for, and a model runs on the CPU. The last case
needs PoCL and is left out, with a line, where there is none.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

def relu_model():
    """y = relu(x), x f32[n]: the 63 bytes of docs/plugins.md."""
    graph = (
        b"\n\x0c\n\x01x\x12\x01y\"\x04Relu\x12\x01gZ\x10\n\x01x\x12\x0b\n\x09\x08\x01\x12\x05\n\x03"
        b"\x12\x01nb\x10\n\x01y\x12\x0b\n\x09\x08\x01\x12\x05\n\x03\x12\x01n"
    )
    return b"\x08\x08:" + bytes([len(graph)]) + graph + b"B\x04\n\x00\x10\x15"


class World:
    """A folder of its own: caches, vendor files, a model."""

    def __init__(self, build, folder):
        self.weir, self.folder = build / "bin/weir", Path(folder)
        self.plugin = build / "lib/weir/weir_opencl.so"
        self.model = self.folder / "relu.onnx"
        self.model.write_bytes(relu_model())
        self.failures = []

    def run(self, *arguments, **settings):
        env = {**os.environ, "WEIR_CACHE_DIR": str(self.folder / "cache"), **settings}
        done = subprocess.run(
            [self.weir, *arguments], env=env, capture_output=True, text=True, timeout=120, check=False
        )
        return done.returncode, done.stdout + done.stderr

    def infer(self, *arguments, **settings):
        return self.run("run", self.model, "--random", "1", "--dim", "n=5", *arguments, **settings)

    def expect(self, what, found, *wanted):
        missing = [text for text in wanted if text not in found]
        print(f"{what:32} {'ok' if not missing else 'FAILED'}")
        for text in missing:
            self.failures.append(f"{what}: {text!r} is not in\n{found}")

    def expect_reason(self, what, *wanted, **settings):
        self.expect(what, self.run("devices", **settings)[1], *wanted)
        code, text = self.infer(**settings)
        self.expect(what + ", the CPU", f"exit {code}\n{text}", "exit 0", "output  y  f32[5]")


def vendors(world, name, files):
    folder = world.folder / name
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_text(content, encoding="utf-8")
    return str(folder)


def main():
    build = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as folder:
        world = World(build, folder)
        # The loader is a library that the plugin names: a copy that names another one.
        lone = world.folder / "weir_opencl.so"
        lone.write_bytes(world.plugin.read_bytes().replace(b"libOpenCL.so.1", b"libOpenCL.no.1"))
        lone.chmod(0o644)
        world.expect_reason("no loader", "libOpenCL.no.1: cannot open", WEIR_PLUGIN_PATH=str(lone))
        world.expect_reason(
            "no driver", "no .icd file of use in", OCL_ICD_VENDORS=vendors(world, "none", {})
        )
        bad = vendors(world, "bad", {"bad.icd": "libno-such-driver.so.1\n"})
        world.expect_reason(
            "a vendor file that names nothing", "finds no platform", "bad.icd: libno-such-driver.so.1",
            OCL_ICD_VENDORS=bad,
        )
        code, text = world.infer("--device", "opencl", OCL_ICD_VENDORS=bad)
        world.expect("named all the same", f"exit {code}\n{text}", "UNAVAILABLE", "bad.icd")
        code, text = world.infer("--option", "opencl.family=tpu")
        world.expect("no such family", text, "opencl.family is cpu, gpu or auto")
        code, text = world.infer("--device", "opencl")
        if code and "UNAVAILABLE" in text:
            print(f"a kernel that does not build     left out: no device here\n{text}")
        else:
            world.expect("on the device", f"exit {code}\n{text}", "exit 0")
            code, text = world.infer("--device", "opencl", "--option", "opencl.platform=no-such")
            world.expect("no such platform", f"exit {code}\n{text}", "UNAVAILABLE", "opencl.platform and")
            shutil.rmtree(world.folder / "cache")
            code, text = world.infer("--device", "opencl", "--option", "opencl.break_build=pointwise")
            world.expect("a kernel that does not build", text, "does not build common/pointwise",
                         "broken by the option break_build")
            world.expect_reason("seen later", "does not build common/pointwise")
            code, text = world.infer("--device", "opencl")
            world.expect("mended", f"exit {code}\n{text}", "exit 0")
            world.expect("forgotten", "gone" if "does not build" not in world.run("devices")[1] else "",
                         "gone")
        for failure in world.failures:
            print(failure)
        return 1 if world.failures else 0


if __name__ == "__main__":
    sys.exit(main())
