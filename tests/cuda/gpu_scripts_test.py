#!/usr/bin/env python3
"""What benchmarks/gpu.sh leans on and no GPU is needed for: what counts as done, as an error, as a row to keep.

usage: gpu_scripts_test.py
"""

import contextlib
import io
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import types
import unittest
import unittest.mock

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
[ "$shard" = 2/3 ] && [ -n "$SLOW" ] && printf '{"groups": [{"name": "a", "outcome": "pass", "what": ""}' && sleep 600
[ "$shard" = 3/3 ] && [ -n "$BAD" ] &&
    printf '{"groups": [{"name": "b", "outcome": "failed", "what": "wrong {1}, ["}]}' && exit 1
printf '{"groups": [{"name": "a", "outcome": "pass", "what": ""}]}'
'''


# Stages whose names are in the folder $STATE: the file has the exit code, and what is said; other files are "ok".
STAGE = '''#!/usr/bin/env python3
import os, pathlib, sys
name, state = pathlib.Path(sys.argv[0]).stem, pathlib.Path(os.environ["STATE"])
with open(state / "calls", "a") as calls:
    calls.write(name + "\\n")
code, said = (state / name).read_text().split(" ", 1) if (state / name).exists() else (0, '{"added": 1}')
print(said)
sys.exit(int(code))
'''

# It says which tool it was asked for, and that BAD finds something.
SANITIZER = '''case "$*" in *--tool*) ;; *) exit 0 ;; esac
echo "$2" >>"$STATE/calls"
[ "$2" != "$BAD" ]
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

    def test_rows_are_of_these_sources(self):
        good = {"case": "a", "ms": {"weir": 1.0}, "stamp": "s"}
        self.assertEqual(peers.kept([good, {**good, "stamp": "r"}, {"case": "b", "ms": {"weir": 1.0}}], "s"), [good])
        good = {"model": "a", "mode": "f32", "wrong": ["off"], "stamp": "s"}
        self.assertEqual(accuracy.kept([good, {**good, "stamp": "r"}], "s"), [good])

    def test_what_has_no_row_comes_before_what_failed(self):
        rows = [{"model": "a", "mode": "f32", "wrong": ["off"]}, {"model": "b", "mode": "f32", "wrong": []}]
        found = accuracy.in_order([("a",), ("b",)], [("f32",), ("tf32",)], rows)
        self.assertEqual(found, [(("a",), ("tf32",)), (("b",), ("tf32",)), (("a",), ("f32",))])

    def test_a_command_that_crashes_or_hangs_is_a_reason(self):
        with self.assertRaisesRegex(accuracy.Failed, "exit code 3: why"):
            accuracy.ended(["sh", "-c", "echo why >&2; exit 3"])
        with unittest.mock.patch.object(accuracy, "LIMIT_S", 0.2), self.assertRaisesRegex(accuracy.Failed, "not ended"):
            accuracy.ended(["sleep", "600"])
        args = types.SimpleNamespace(option=[], device="cuda", weir="no such command", folder=pathlib.Path("."))
        accuracy.models.inputs = lambda *_: {}
        row, _ = accuracy.row_of(args, accuracy.Answers(args), ("m", 1, 0), accuracy.MODES[0])
        self.assertRegex(row["wrong"][0], "no such command")

    def test_more_runs_until_a_graph_is_launched(self):
        asked = []

        def ask(count):
            asked.append(count)
            return None, [REPLAYED] if count >= self.enough else []

        for self.enough, wanted in ((0, [40]), (300, [40, 400]), (1e9, [40, 400, 4000, 40000, 400000])):
            asked.clear()
            accuracy.repeated(ask, 40, True)
            self.assertEqual(asked, wanted)
        with unittest.mock.patch.object(accuracy, "ENOUGH_S", 0):
            asked.clear()
            accuracy.repeated(ask, 40, True)
            self.assertEqual(asked, [40])

    def models(self, file, bad):
        """Exit code, what was said last, the models asked for in order; those in `bad` have an error."""
        asked, said = [], io.StringIO()

        def row_of(_args, _answers, case, mode):
            asked.append(case[0])
            wrong = ["crashed"] if case[0] in bad else []
            return {"model": case[0], "mode": mode[0], "error": None, "bound": 1, "wrong": wrong}, []

        with unittest.mock.patch.object(accuracy, "row_of", row_of), contextlib.redirect_stdout(said), \
                unittest.mock.patch.object(sys, "argv", ["a", "weir", ".", "--device", "cpu", "--json", str(file)]):
            code = accuracy.main()
        return code, json.loads(said.getvalue().splitlines()[-1]), asked

    def test_a_bad_case_hides_no_other(self):
        with tempfile.TemporaryDirectory() as kept:
            file, names = pathlib.Path(kept) / "rows.json", [case[0] for case in accuracy.CASES]
            code, data, asked = self.models(file, names[:1])
            self.assertEqual((code, data["bad"], data["left"], asked), (1, 1, 0, names))
            code, data, asked = self.models(file, ())
            self.assertEqual((code, data["bad"], data["added"], asked), (0, 0, 1, names[:1]))

    def shards(self, folder, seconds="120", **environment):
        script = folder / "weir"
        script.write_text(WEIR)
        script.chmod(0o700)
        command = [sys.executable, GPU / "operators.py", script, "plugin.so", folder / "kept", "--names", "(", "--jobs",
                   "2", "--shards", "3", "--seed", "1", "--seconds", seconds]
        env = {**os.environ, "GPU_STAMP": "s", "CALLS": str(folder / "calls"), "SLOW": "", "BAD": "", **environment}
        (folder / "calls").write_text("")
        done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=150)
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), (folder / "calls").read_text().split()

    def test_shards_go_on_where_time_ended(self):
        with tempfile.TemporaryDirectory() as kept:
            folder = pathlib.Path(kept)
            code, data, calls = self.shards(folder, seconds="20", SLOW="1")
            self.assertEqual((code, data["left"] + data["added"]), (75, 4))
            code, data, calls = self.shards(folder, seconds="5", SLOW="1")
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

    def test_a_device_that_hangs_is_an_error_and_then_the_last(self):
        with tempfile.TemporaryDirectory() as kept:
            folder = pathlib.Path(kept)
            folder.joinpath("device.part").write_text("")
            asked = []

            def go(names, _command, _folder, _jobs, until, _stamp):
                asked.append((names, until))
                return 0, names if names == ["device"] else [], []

            said = io.StringIO()
            argv = ["o", "weir", "plugin", kept, "--names", "(", "--shards", "1", "--seconds", "1000"]
            with unittest.mock.patch.object(operators, "go", go), contextlib.redirect_stdout(said), \
                    unittest.mock.patch.object(sys, "argv", argv):
                code = operators.main()
            data = json.loads(said.getvalue().splitlines()[-1])
            self.assertEqual(([names for names, _ in asked], code), ([["1-of-1"], ["device"]], 1))
            self.assertEqual((data["left"], data["failed"]), (0, ["shard device: not ended after 90 s"]))

    CASE = ("a", 1, 0, "f32")

    def turns(self, file, labels, fails=()):
        def runner(label, *_):
            if label in fails:
                raise RuntimeError("not there")
            asked.append(label)
            return lambda: None

        asked, table = [], peers.Table(file, "cuda", "s", (self.CASE,))
        peers.models.inputs = lambda *_: {}
        peers.runner_of, peers.weir_runner = runner, lambda *_: runner("weir")
        with contextlib.redirect_stdout(io.StringIO()):
            peers.fill(table, table.row(self.CASE), labels, None, self.CASE, 2, 0, 0)
        return asked, table

    def test_weir_is_measured_first_and_beside_each_peer(self):
        with tempfile.TemporaryDirectory() as kept:
            file = pathlib.Path(kept) / "rows.json"
            asked, table = self.turns(file, ("torch eager", "JAX jit"), fails=("JAX jit",))
            row = json.loads(file.read_text())[0]
            self.assertEqual((asked, table.added(), table.left()), (["weir", "torch eager"], 3, 2))
            self.assertEqual((set(row["ms"]), set(row["weir_beside"])), ({"weir", "torch eager"}, {"torch eager"}))
            self.assertEqual(set(row["missing"]), {"JAX jit"})
            asked, table = self.turns(file, ("torch eager", "torch compile"))
            self.assertEqual((asked, table.added(), len(table.rows)), (["weir", "torch compile"], 1, 1))

    def test_a_peer_that_crashes_is_a_reason_and_the_next_follows(self):
        labels = ("torch eager", "JAX jit")
        with tempfile.TemporaryDirectory() as kept:
            table = peers.Table(pathlib.Path(kept) / "rows.json", "cuda", "s", (self.CASE,))

            def run(_command, timeout):
                inside = peers.Table(table.file, "cuda", "s", (self.CASE,), 0)
                row = inside.row(self.CASE)
                row["ms"]["weir"] = 1.0
                if "torch eager" in row["missing"]:
                    row["ms"]["JAX jit"] = 2.0
                else:
                    row["trying"] = "torch eager"
                inside.save()
                return types.SimpleNamespace(returncode=0 if "JAX jit" in row["ms"] else -11)

            with contextlib.redirect_stdout(io.StringIO()), unittest.mock.patch.object(peers.subprocess, "run", run):
                peers.do_case(table, self.CASE, labels, [], peers.time.perf_counter() + 600)
            row = table.row(self.CASE)
            self.assertRegex(row["missing"].pop("torch eager"), "-11")
            self.assertEqual((row["ms"], row["missing"], row["tried"]), ({"weir": 1.0, "JAX jit": 2.0}, {}, 2))

    def test_weir_is_timed_when_its_times_have_settled(self):
        for figures, pause, wanted in ((iter([9, 5, 4.9]), 60, True), (itertools.cycle([1, 2]), 0.01, False)):
            with unittest.mock.patch.object(peers, "median_ms", lambda *_: next(figures)), \
                    unittest.mock.patch.object(peers.time, "sleep", lambda _: None):
                self.assertEqual(peers.is_settled(lambda: None, pause), wanted)

    def result(self, name, status, text):
        with tempfile.NamedTemporaryFile("w", suffix=".log") as log:
            log.write(text)
            log.flush()
            said = subprocess.run([sys.executable, GPU / "result.py", "stage", name, status, "75", log.name],
                                  capture_output=True, text=True, check=True)
        found = json.loads(said.stdout)
        return found["status"], found["whole"]

    def test_a_part_that_nothing_was_added_to_has_failed(self):
        for text, wanted in (('{"added": 1}', ("partial", False)), ('{"added": 0}', ("failed", True)),
                             ("", ("failed", True)), ('{"bad": 1}', ("failed", True)),
                             ('{"bad": 1, "added": 1, "left": 0}', ("failed", True)),
                             ('{"bad": 1, "added": 1, "left": 2}', ("failed", False))):
            self.assertEqual(self.result("peers", "partial", text), wanted)
        self.assertEqual(self.result("build", "partial", ""), ("partial", False))

    def stages(self, folder, wanted, seconds="540", **stages):
        """gpu.sh in a tree of its own, over what says of stages as it is told: exit code, what ran in order, text."""
        root, state = folder / "root", folder / "state"
        scripts, bins = root / "benchmarks" / "gpu", root / "build" / "gpu" / "build" / "bin"
        for made in (scripts, bins, state):
            made.mkdir(parents=True, exist_ok=True)
        (root / "CMakeLists.txt").write_text("")
        shutil.copy(GPU.parent / "gpu.sh", root / "benchmarks")
        for name in ("result.py", "stamp.py", "packages.py"):
            shutil.copy(GPU / name, scripts)
        for name in ("operators", "accuracy", "peers", "models", "device"):
            (scripts / f"{name}.py").write_text(STAGE)
        for file, text in ((bins / "weir", ""), (state / "cc", ""), (state / "nvidia-smi", "echo 9.0\n"),
                           (state / "cmake", "sleep ${BUILD_S:-0}\n"), (state / "compute-sanitizer", SANITIZER)):
            file.write_text("#!/bin/sh\n" + text)
            file.chmod(0o700)
        for name in ("operators", "accuracy", "peers", "calls"):
            (state / name).unlink(missing_ok=True)
        environment = {name: text for name, text in stages.items() if name.isupper()}
        for name in set(stages) - set(environment):
            (state / name).write_text(stages[name])
        env = {**os.environ, "STATE": str(state), "CC": str(state / "cc"), "CPATH": "", "GPU_COMMIT": "c",
               "PATH": f"{state}:{pathlib.Path(sys.executable).parent}:{os.environ['PATH']}", **environment}
        done = subprocess.run(["bash", root / "benchmarks" / "gpu.sh", "--stages", wanted, "--seconds", seconds],
                              env=env, capture_output=True, text=True, timeout=150)
        calls = (state / "calls").read_text().split() if (state / "calls").exists() else []
        return done.returncode, [name for name in calls if name not in ("models", "device")], done.stdout

    def test_what_failed_is_done_again_after_all_others(self):
        with tempfile.TemporaryDirectory() as kept:
            def call(**stages):
                return self.stages(pathlib.Path(kept), "operators,models,peers", **stages)[:2]

            failed, part = '1 {"failed": ["x"], "left": 0, "added": 3}', '75 {"left": 1, "added": 1}'
            self.assertEqual(call(operators=failed, accuracy=part), (3, ["operators", "accuracy", "peers"]))
            self.assertEqual(call(operators=failed), (1, ["accuracy", "operators"]))
            self.assertEqual(call(operators='77 {"why": "not here"}'), (0, ["operators"]))
            self.assertEqual(call(operators='1 {"failed": ["x"], "left": 2, "added": 1}'), (3, ["operators"]))
            self.assertEqual(call(), (0, ["operators"]))
            self.assertEqual(call(), (0, []))

    def test_the_sanitizer_keeps_what_has_passed(self):
        with tempfile.TemporaryDirectory() as kept:
            code, calls, _ = self.stages(pathlib.Path(kept), "sanitizer", BAD="memcheck")
            self.assertEqual((code, calls), (1, ["memcheck", "memcheck", "racecheck", "racecheck"]))
            data = json.loads((pathlib.Path(kept) / "root/build/gpu/sanitizer.json").read_text())["data"]
            self.assertEqual((data["left"], len(data["failed"]), data["passed"]),
                             (0, 2, "minilm-tiny-racecheck resnet-tiny-racecheck"))
            code, calls, _ = self.stages(pathlib.Path(kept), "sanitizer")
            self.assertEqual((code, calls), (0, ["memcheck", "memcheck"]))

    def test_what_cannot_go_on_is_not_begun_at_the_end(self):
        with tempfile.TemporaryDirectory() as kept:
            # cmake is called twice: 16 s are left.
            code, _, said = self.stages(pathlib.Path(kept), "load", seconds="34", BUILD_S="9")
            self.assertEqual(code, 3)
            self.assertIn("load: no time left", said)

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
