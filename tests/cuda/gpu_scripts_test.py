#!/usr/bin/env python3
"""What benchmarks/gpu.sh leans on and no GPU is needed for: what counts as done, as an error, as a row to keep.

usage: gpu_scripts_test.py
"""

import contextlib
import io
import json
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
import operators  # noqa: E402
import peers  # noqa: E402
import stamp  # noqa: E402

LOADED = "info plugin: cuda:0: driver for CUDA 13.0; NVRTC 13.0; cuBLASLt 13.1.0; cuDNN 9.1.0"
REPLAYED = "info plugin: cuda:0: a graph was launched 12 times"

# A weir whose shard 2 of 3 does not end, whose shard 3 fails if BAD is set, and that counts its calls.
WEIR = '''#!/bin/sh
case "$*" in *--shard*) shard="${*##*--shard }" ;; *) shard=0/0 ;; esac
echo "$shard" >>"$CALLS"
[ "$shard" = 2/3 ] && [ -n "$SLOW" ] && printf '{"groups": [{"name": "a", "outcome": "pass", "what": ""}' && sleep 60
[ "$shard" = 3/3 ] && [ -n "$BAD" ] &&
    printf '{"groups": [{"name": "b", "outcome": "failed", "what": "wrong {1}, ["}]}' && exit 1
printf '{"groups": [{"name": "a", "outcome": "pass", "what": ""}]}'
'''


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

    def test_rows_of_accuracy_are_kept_without_errors(self):
        good = {"model": "a", "mode": "f32", "wrong": [], "stamp": "s"}
        self.assertEqual(accuracy.kept([good, {**good, "wrong": ["off"]}, {**good, "stamp": "r"}], "s"), [good])

    def shards(self, folder, seconds="60", **environment):
        script = folder / "weir"
        script.write_text(WEIR)
        script.chmod(0o700)
        command = [sys.executable, GPU / "operators.py", script, "plugin.so", folder / "kept", "--names", "(", "--jobs",
                   "2", "--shards", "3", "--seed", "1", "--seconds", seconds]
        env = {**os.environ, "GPU_STAMP": "s", "CALLS": str(folder / "calls"), "SLOW": "", "BAD": "", **environment}
        (folder / "calls").write_text("")
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=50)
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), (folder / "calls").read_text().split()

    def test_shards_go_on_where_time_ended(self):
        with tempfile.TemporaryDirectory() as kept:
            folder = pathlib.Path(kept)
            code, data, calls = self.shards(folder, seconds="5", SLOW="1")
            self.assertEqual((code, data["left"] + data["added"]), (75, 4))
            code, data, calls = self.shards(folder, seconds="1", SLOW="1")
            self.assertEqual((code, "2/3" in calls, "0/0" in calls), (75 if data["added"] else 1, True, False))
            code, data, calls = self.shards(folder)
            self.assertEqual((code, data["left"], data["groups"], "0/0" in calls), (0, 0, {"pass": 4}, False))
            code, data, calls = self.shards(folder, GPU_STAMP="other")
            self.assertEqual((code, len(calls)), (0, 4))

    def test_a_shard_that_fails_is_an_error(self):
        with tempfile.TemporaryDirectory() as kept:
            code, data, _ = self.shards(pathlib.Path(kept), BAD="1")
            self.assertEqual((code, data["failed"]), (1, ["b: wrong {1}, ["]))
            code, data, calls = self.shards(pathlib.Path(kept))
            self.assertEqual((code, calls), (0, ["3/3"]))

    def turns(self, file, labels, fails=()):
        def runner(label, *_):
            if label in fails:
                raise RuntimeError("not there")
            asked.append(label)
            return lambda: None

        asked, table = [], peers.Table(file, "cuda", 60, "s")
        row = table.row("a")
        peers.models.inputs = lambda *_: {}
        peers.runner_of, peers.weir_runner = runner, lambda *_: runner("weir")
        with contextlib.redirect_stdout(io.StringIO()):
            peers.fill(table, row, labels, None, ("a", 1, 0, "f32"), 2, 0)
        return asked, table

    def test_weir_is_measured_first_and_beside_each_peer(self):
        with tempfile.TemporaryDirectory() as kept:
            file = pathlib.Path(kept) / "rows.json"
            asked, table = self.turns(file, ("torch eager", "JAX jit"), fails=("JAX jit",))
            row = json.loads(file.read_text())[0]
            self.assertEqual((asked, table.added), (["weir", "torch eager"], 3))
            self.assertEqual((set(row["ms"]), set(row["weir_beside"])), ({"weir", "torch eager"}, {"torch eager"}))
            self.assertEqual(set(row["missing"]), {"JAX jit"})
            asked, table = self.turns(file, ("torch eager", "torch compile"))
            self.assertEqual((asked, table.added, len(table.rows)), (["weir", "torch compile"], 1, 1))

    def test_a_part_that_nothing_was_added_to_has_failed(self):
        for data, wanted in (({"added": 1}, "partial"), ({"added": 0}, "failed"), ({"bad": 1}, "failed")):
            with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
                log.write(json.dumps(data))
                log.flush()
                said = subprocess.run([sys.executable, GPU / "result.py", "stage", "peers", "partial", "75", log.name],
                                      capture_output=True, text=True, check=True)
            self.assertEqual(json.loads(said.stdout)["status"], wanted)

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
