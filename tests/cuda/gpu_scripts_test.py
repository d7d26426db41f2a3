#!/usr/bin/env python3
"""What benchmarks/gpu.sh leans on and no GPU is needed for: what counts as done, as an error, as a row to keep.

usage: gpu_scripts_test.py
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import types
import unittest

GPU = pathlib.Path(__file__).resolve().parents[2] / "benchmarks" / "gpu"
sys.path.insert(0, str(GPU))
sys.dont_write_bytecode = True
for name in ("numpy", "models"):  # nothing here computes
    sys.modules[name] = types.ModuleType(name)
import accuracy  # noqa: E402
import peers  # noqa: E402
import stamp  # noqa: E402

LOADED = "info plugin: cuda:0: driver for CUDA 13.0; NVRTC 13.0; cuBLASLt 13.1.0; cuDNN 9.1.0"
REPLAYED = "info plugin: cuda:0: a graph was launched 12 times"


class Scripts(unittest.TestCase):
    def test_own_kernels_are_errors(self):
        self.assertEqual(accuracy.unlike_asked([LOADED], "", False), [])
        said = "info plugin: cuda:0: own kernel: cudnnBackendFinalize: CUDNN_STATUS_BAD_PARAM"
        self.assertEqual(accuracy.unlike_asked([LOADED, said], "", False), [said])

    def test_libraries_are_loaded(self):
        lines = ["cuda:0: driver for CUDA 13.0; cuBLASLt 13.1.0; cuDNN is not there: no file"]
        self.assertEqual(accuracy.unlike_asked(lines, "", False), ["cuDNN is not loaded"])
        lines.append("cuda:0: own kernel: cuDNN: option cudnn=none leaves it out")
        self.assertEqual(accuracy.unlike_asked(lines, "cuda.graphs=0,cuda.cudnn=none", False), [])

    def test_graphs_are_launched(self):
        refused = "cuda:0: a graph of 7 commands is refused: cuStreamEndCapture: invalid"
        self.assertEqual(accuracy.unlike_asked([LOADED, REPLAYED], "", True), [])
        self.assertEqual(accuracy.unlike_asked([LOADED, refused], "", True), ["no graph was launched", refused])
        self.assertEqual(accuracy.unlike_asked([LOADED, REPLAYED, refused], "", True), [])

    def test_rows_are_of_these_sources_and_have_weir(self):
        good = {"case": "a", "ms": {"weir": 1.0}, "stamp": "s"}
        old, failed = {**good, "stamp": "r"}, {**good, "ms": {"torch eager": 1.0}}
        self.assertEqual(peers.kept([good, old, failed, {"case": "b", "ms": {"weir": 1.0}}], "s"), [good])

    def test_stamp_follows_sources(self):
        with tempfile.TemporaryDirectory() as kept:
            root = pathlib.Path(kept)
            (root / "engine").mkdir()
            (root / "CMakeLists.txt").write_text("a")
            (root / "engine" / "a.c").write_text("a")
            first = stamp.stamp(root)
            (root / "engine" / "__pycache__").mkdir()
            (root / "engine" / "__pycache__" / "a.pyc").write_text("a")
            self.assertEqual(stamp.stamp(root), first)
            (root / "engine" / "a.c").write_text("b")
            self.assertNotEqual(stamp.stamp(root), first)

    def test_a_stage_has_the_stamp(self):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
            log.write('{"left": 3}\n{"left": 2}\nkilled\n')
            log.flush()
            said = subprocess.run([sys.executable, GPU / "result.py", "stage", "peers", "partial", "124", log.name],
                                  env={**os.environ, "GPU_STAMP": "abc"}, capture_output=True, text=True, check=True)
        self.assertIn('"stamp": "abc"', said.stdout)
        self.assertIn('"left": 2', said.stdout)


if __name__ == "__main__":
    unittest.main()
