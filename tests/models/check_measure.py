"""The commands that measure, and profile() in Python: their figures add up, and compare finds a planted difference.

What: weir profile, bench and compare on a small model whose flop are known; a plugin with a Relu that is wrong in one
      element (tests/support/plugins/wrong.c) is what compare must find.
Why:  a measurement that is wrong is worse than none.
Must not: demand that anything be fast; times are only held against each other.
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = pathlib.Path(os.environ.get("WEIR_COMMAND", ROOT / "build" / "release" / "bin" / "weir")).resolve()
WRONG = COMMAND.parent.parent / "lib" / "test" / "wrong"
SIZE, CHANNELS, CLASSES = 48, 16, 10


def known_model():
    """Conv 3x3 with a bias, Relu, another Conv without, Gemm with a bias, MatMul, Softmax; batch open."""
    rng = np.random.default_rng(3)
    shape = lambda *dims: rng.normal(size=dims).astype(np.float32) / 8  # noqa: E731
    pads = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    constants = {"w1": shape(CHANNELS, 3, 3, 3), "b1": shape(CHANNELS), "w2": shape(CHANNELS, CHANNELS // 2, 3, 3),
                 "w3": shape(64, CHANNELS), "b3": shape(64), "w4": shape(64, CLASSES)}
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c1"], name="first", **pads),
        helper.make_node("Relu", ["c1"], ["r1"], name="squash"),
        helper.make_node("Conv", ["r1", "w2"], ["c2"], name="second", group=2, **pads),
        helper.make_node("GlobalAveragePool", ["c2"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "w3", "b3"], ["g"], name="dense", transB=1),
        helper.make_node("MatMul", ["g", "w4"], ["m"], name="classes"),
        helper.make_node("Softmax", ["m"], ["y"], name="last", axis=1),
    ]
    graph = helper.make_graph(
        nodes, "known", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def known_flop(batch):
    """2 per multiply-add of each product, 1 per element of a bias and of Relu."""
    pixels = batch * CHANNELS * SIZE * SIZE
    conv = 2 * pixels * 3 * 9 + pixels, pixels, 2 * pixels * (CHANNELS // 2) * 9
    return sum(conv) + 2 * batch * CHANNELS * 64 + batch * 64 + 2 * batch * 64 * CLASSES


class Measure(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not COMMAND.exists():
            raise AssertionError(f"{COMMAND} is not there; ./run build makes it")
        cls.holder = tempfile.TemporaryDirectory(prefix="weir-measure-")
        cls.folder = pathlib.Path(cls.holder.name)
        (cls.folder / "temporary").mkdir()
        onnx.save(known_model(), cls.folder / "known.onnx")

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def weir(self, arguments, code=0, **environment):
        kept = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
        kept.update(WEIR_CACHE_DIR="", LC_ALL="C", TMPDIR=str(self.folder / "temporary"), **environment)
        done = subprocess.run([COMMAND, *arguments.split()], cwd=self.folder, env=kept, capture_output=True, text=True,
                              timeout=120, check=False)
        self.assertEqual(code, done.returncode, done.stderr)
        return done

    def test_profile_adds_up(self):
        for device in ("cpu", "ref"):
            arguments = f"profile known.onnx --dim batch=3 --device {device} --sort order --json"
            said = json.loads(self.weir(arguments).stdout)
            steps = said["steps"]
            self.assertEqual(list(range(len(steps))), [s["index"] for s in steps])
            self.assertEqual(said["step_count"], len(steps))
            self.assertAlmostEqual(1, sum(s["share"] for s in steps), 4)
            self.assertEqual(said["steps_ns"], sum(s["time_ns"] for s in steps))
            self.assertEqual(known_flop(3), said["flop"])
            for group in ("operators", "devices", "kernels"):
                for key in ("time_ns", "flop", "bytes"):
                    self.assertEqual(sum(s[key] for s in steps), sum(t[key] for t in said[group]))
                self.assertEqual(len(steps), sum(t["step_count"] for t in said[group]))
            on_ref = sum(s["share"] for s in steps if s["device"] == "ref")
            self.assertAlmostEqual(on_ref, said["ref_share"], 4)
            if device == "ref":
                self.assertAlmostEqual(1, said["ref_share"], 4)
            names = "+".join(s["origins"] for s in steps).split("+")
            for name in ("first", "second", "pool", "dense", "classes", "last"):
                self.assertEqual(1, names.count(name), names)

    def test_flop_of_one_product(self):
        said = json.loads(self.weir("profile known.onnx --dim batch=2 --device ref --json").stdout)
        by_name = {s["origins"]: s for s in said["steps"]}
        self.assertEqual(2 * 2 * 64 * CLASSES, by_name["classes"]["flop"])
        self.assertEqual(2 * 2 * CHANNELS * SIZE * SIZE * (CHANNELS // 2) * 9, by_name["second"]["flop"])
        self.assertEqual("f32[2, 10]", by_name["classes"]["shape"])
        self.assertEqual(4 * (2 * 64 + 64 * CLASSES + 2 * CLASSES), by_name["classes"]["bytes"])

    def test_profile_as_text(self):
        self.assertNotEqual("", self.weir("profile known.onnx").stderr)  # a dim was guessed
        text = self.weir("profile known.onnx --dim batch=1 --top 2").stdout
        self.assertIn("--top", text)
        for word in ("GFLOP/s", "operator", "device", "Softmax", "on ref"):
            self.assertIn(word, text)
        self.weir("profile known.onnx --sort size", code=2)

    def check_trace(self, path, runs):
        with open(path, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]
        spans = [e for e in events if e["ph"] == "X"]
        whole = [e for e in spans if e["cat"] == "run"]
        steps = [e for e in spans if e["cat"] == "step"]
        self.assertEqual(runs, len(whole))
        self.assertEqual(0, len(steps) % runs)
        ratios, count = [], len(steps) // runs
        for number, run in enumerate(whole):
            inside = steps[number * count:(number + 1) * count]
            for step in inside:
                self.assertGreaterEqual(step["ts"], run["ts"])
                self.assertLessEqual(step["ts"] + step["dur"], run["ts"] + run["dur"] + 1e-3)
            ratios.append(sum(s["dur"] for s in inside) / run["dur"])
        # The times of the steps are the time of the run, but for a fifth at most.
        self.assertTrue(0.8 < statistics.median(ratios) <= 1, ratios)
        lanes = {e["args"]["name"] for e in events if e["ph"] == "M"}
        self.assertTrue({s["args"]["device"] for s in steps} < lanes)
        return count

    def test_trace(self):
        said = json.loads(self.weir("profile known.onnx --dim batch=4 --runs 9 --trace t.json --json").stdout)
        self.assertEqual(said["step_count"], self.check_trace(self.folder / "t.json", 9))
        done = self.weir("profile known.onnx --dim batch=1 --trace nowhere/t.json", code=1)
        self.assertIn("nowhere/t.json", done.stderr)

    def test_profile_in_python(self):
        library = COMMAND.parent.parent / "lib" / "libweir.so"
        os.environ.setdefault("WEIR_LIBRARY", str(library))
        sys.path.insert(0, str(ROOT / "engine" / "python"))
        import weir  # pylint: disable=import-outside-toplevel
        session = weir.InferenceSession(str(self.folder / "known.onnx"), cache_dir="")
        x = np.random.default_rng(1).normal(size=(4, 3, SIZE, SIZE)).astype(np.float32)
        profile = session.profile(None, {"x": x}, runs=7)
        self.assertEqual(7, profile.runs)
        self.assertEqual(known_flop(4), sum(row["flop"] for row in profile.steps))
        self.assertAlmostEqual(1, sum(row["share"] for row in profile.steps), 6)
        self.assertEqual(profile.steps_ns, sum(profile.totals("op").values()))
        self.assertEqual(3, len(profile.top(2).splitlines()))
        profile.save(self.folder / "python.json")
        self.assertEqual(len(profile.steps), self.check_trace(self.folder / "python.json", 7))
        with self.assertRaises(weir.Error):
            session.profile(["nothing"], {"x": x})

    def test_bench(self):
        done = self.weir("bench known.onnx known.onnx --dim batch=2 --seconds 1 --runs 60 --threads 1 --json")
        first, second = map(json.loads, done.stdout.splitlines())
        for said in (first, second):
            self.assertEqual([{"name": "x", "dtype": "f32", "dims": [2, 3, SIZE, SIZE]}], said["inputs"])
            self.assertEqual((1, "f32", known_flop(2)), (said["threads"], said["precision"], said["flop"]))
            self.assertTrue(1 <= said["run_count"] <= 60)
            self.assertTrue(0 < said["min_ns"] <= said["p50_ns"] <= said["p90_ns"] <= said["p99_ns"])
            rate = said["run_count"] / said["seconds"]
            self.assertAlmostEqual(rate, said["runs_per_s"], delta=rate / 100)
            self.assertGreaterEqual(said["seconds"] * 1e9, said["run_count"] * said["min_ns"])
            self.assertTrue(0 <= said["ref_share"] <= 1)
            for when in ("created", "cached"):
                times = said[when]
                self.assertEqual(times["create_ns"], times["load_ns"] + times["plan_ns"] + times["session_ns"])
                self.assertGreater(times["first_run_ns"], 0)
            self.assertGreater(said["memory"]["engine_bytes"], said["memory"]["session_bytes"])
            self.assertLessEqual(said["memory"]["engine_bytes"], said["memory"]["engine_peak_bytes"])
            for key in ("cpu", "version", "commit", "digest"):
                self.assertNotEqual("", said[key])
            self.assertRegex(said["commit"], "^([0-9a-f]{7,40}(-dirty)?|unknown)$")
        self.assertEqual([], os.listdir(self.folder / "temporary"))  # the caches are gone
        text = self.weir("bench known.onnx --dim batch=2 --seconds 1 --runs 5").stdout
        for word in ("p50", "created", "cached", "memory", "ref"):
            self.assertIn(word, text)
        self.assertIn("INVALID_ARGUMENT", self.weir("bench known.onnx --precision f8", code=1).stderr)
        lower = json.loads(self.weir("bench known.onnx --precision bf16 --seconds 1 --runs 3 --json").stdout)
        self.assertEqual("bf16", lower["precision"])

    def test_bench_of_random_shapes(self):
        done = self.weir("bench known.onnx --random-shapes --dim batch=2..9/3 --seconds 20 --runs 40 --json")
        said = json.loads(done.stdout)
        shapes = said["random_shapes"]
        self.assertEqual([{"dim": "batch", "least": 2, "most": 9, "step": 3}], shapes["ranges"])
        self.assertEqual(3, shapes["new_shape_count"])  # 2, 5, 8: the session keeps four ready
        self.assertEqual(40, said["run_count"])
        self.assertTrue(0 < shapes["specialize_p50_ns"] <= shapes["specialize_p99_ns"])
        self.assertIn(said["inputs"][0]["dims"][0], (2, 5, 8))
        for wrong in ("batch=9..2", "batch=x", "bach=1..2"):
            self.weir(f"bench known.onnx --random-shapes --dim {wrong}", code=1 if wrong[0:4] == "bach" else 2)

    def test_compare_of_equals(self):
        said = json.loads(self.weir("compare known.onnx --device cpu --dim batch=2 --json").stdout)
        self.assertEqual((0, None), (said["different_count"], said["first"]))
        self.assertEqual(["c1", "r1", "c2", "p", "f", "g", "m", "y", "y"], [v["output"] for v in said["values"]])
        self.assertEqual([False] * 8 + [True], [v["fused"] for v in said["values"]])

    def test_compare_finds_the_wrong_node(self):
        self.assertTrue((WRONG / "weir_wrong.so").exists(), f"{WRONG}/weir_wrong.so: the tests' plugins are not built")
        arguments = "compare known.onnx --device wrong,cpu --dim batch=2"
        done = self.weir(f"{arguments} --json", code=1, WEIR_PLUGIN_PATH=str(WRONG))
        said = json.loads(done.stdout)
        first = said["first"]
        self.assertEqual(("squash", "Relu", "r1", 5), tuple(first[k] for k in ("node", "op", "output", "index")))
        self.assertAlmostEqual(0.25, first["got"] - first["want"], 4)
        self.assertAlmostEqual(0.25, first["error"], 4)
        self.assertFalse(said["values"][0]["differs"])
        self.assertGreaterEqual(said["different_count"], 2)  # what it feeds differs too
        self.assertIn('first at node "squash" (Relu), output "r1"', done.stderr)
        text = self.weir(arguments, code=1, WEIR_PLUGIN_PATH=str(WRONG)).stdout
        self.assertRegex(text, r"(?m)^squash +Relu +wrong:Relu +r1 ")
        self.weir(f"{arguments} --atol 0.5", WEIR_PLUGIN_PATH=str(WRONG))
        self.weir(f"{arguments} --atol much", code=2, WEIR_PLUGIN_PATH=str(WRONG))


if __name__ == "__main__":
    unittest.main()
