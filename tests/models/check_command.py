"""The command `weir` on a small model: values, files, JSON, help, and what it leaves behind when it is stopped.

What: runs the command as a user does and compares with numpy. Made-up inputs are made again here, from the
      description in engine/cli/random.h.
Why:  the command is what people and scripts meet first; check_errors.py has its mistakes, this has its work.
Must not: look into the engine; the numbers of other models are check_models.py's.
"""
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import tempfile
import time
import unittest

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from check_errors import ROOT, graph_model  # noqa: E402  pylint: disable=wrong-import-position

COMMAND = pathlib.Path(os.environ.get("WEIR_COMMAND", ROOT / "build" / "release" / "bin" / "weir")).resolve()
MASK = (1 << 64) - 1


def words(seed, name, count):
    """The generator of engine/cli/random.h."""
    state = 0xcbf29ce484222325
    for byte in name.encode():
        state = (state ^ byte) * 0x100000001b3 & MASK
    state ^= seed
    for i in range(count):
        z = state + (i + 1) * 0x9e3779b97f4a7c15 & MASK
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9 & MASK
        z = (z ^ z >> 27) * 0x94d049bb133111eb & MASK
        yield z ^ z >> 31


def made_up_f32(seed, name, shape):
    values = [(sum(w >> s & 0xffff for s in (0, 16, 32, 48)) - 131070) / 131072
              for w in words(seed, name, int(np.prod(shape)))]
    return np.array(values, np.float32).reshape(shape)


def made_up_i64(seed, name, shape):
    return np.array([w >> 63 for w in words(seed, name, int(np.prod(shape)))], np.int64).reshape(shape)


def expected(x, ids):
    weight, table = (numpy_helper.to_array(t) for t in graph_model().graph.initializer)
    return np.maximum(x.astype(np.float64) @ weight + table[ids], 0)


class Command(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not COMMAND.exists():
            raise AssertionError(f"{COMMAND} is not there; ./run build makes it")
        cls.holder = tempfile.TemporaryDirectory(prefix="weir-command-")
        cls.folder = pathlib.Path(cls.holder.name)
        onnx.save(graph_model(), cls.folder / "good.onnx")
        cls.x = np.random.default_rng(2).normal(size=(5, 4)).astype(np.float32)
        cls.ids = np.array([9, 0, 3, 3, 1], np.int64)
        np.save(cls.folder / "x.npy", cls.x)
        np.save(cls.folder / "ids.npy", cls.ids)

    @classmethod
    def tearDownClass(cls):
        cls.holder.cleanup()

    def setUp(self):
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
        self.environment.update(WEIR_CACHE_DIR="", LC_ALL="C")

    def weir(self, arguments, **more):
        return subprocess.run([COMMAND, *arguments.split()], cwd=self.folder, env=self.environment,
                              stdout=more.pop("stdout", subprocess.PIPE), stderr=subprocess.PIPE, text=True,
                              timeout=60, check=False, **more)

    def result(self, arguments):
        done = self.weir(arguments)
        self.assertEqual(0, done.returncode, done.stderr)
        return done

    def test_files_in_and_out(self):
        done = self.result("run good.onnx --input x=x.npy --input ids=ids.npy --output out --threads 1")
        y = np.load(self.folder / "out" / "y_out_0.npy")
        self.assertEqual((np.float32, (5, 3)), (y.dtype, y.shape))
        np.testing.assert_allclose(y, expected(self.x, self.ids), rtol=1e-5, atol=1e-6)
        self.assertEqual(["y_out_0.npy"], os.listdir(self.folder / "out"))
        self.assertRegex(done.stdout, r"(?m)^output +y/out:0 +f32\[5, 3\] +min \S+  max \S+ at \d+  mean \S+  first")
        self.assertIn("wrote   out/y_out_0.npy\n", done.stdout)
        self.assertEqual("", done.stderr)

    def test_json_says_what_numpy_says(self):
        done = self.result("run good.onnx --input x=x.npy --input ids=ids.npy --json --repeat 4 --deadline-ms 60000")
        said = json.loads(done.stdout)
        y = expected(self.x, self.ids)
        output, = said["outputs"]
        self.assertEqual(("y/out:0", "f32", [5, 3], 15), tuple(output[k] for k in ("name", "dtype", "dims", "count")))
        for key, value in (("min", y.min()), ("max", y.max()), ("mean", y.mean()), ("max_index", y.argmax())):
            self.assertAlmostEqual(float(value), output[key], 5)
        np.testing.assert_allclose(output["first"], y.ravel()[:6], rtol=1e-5, atol=1e-6)
        self.assertEqual(["x", "ids"], [i["name"] for i in said["inputs"]])
        self.assertEqual(3, said["later_run_count"])
        self.assertGreater(said["first_run_ns"], 0)
        self.assertLessEqual(said["later_run_least_ns"], said["later_run_median_ns"])

    def test_made_up_inputs_are_those_described(self):
        self.result("run good.onnx --random 42 --dim batch=6 --output made")
        y = np.load(self.folder / "made" / "y_out_0.npy")
        np.testing.assert_allclose(y, expected(made_up_f32(42, "x", (6, 4)), made_up_i64(42, "ids", (6,))),
                                   rtol=1e-5, atol=1e-6)
        self.result("run good.onnx --random 43 --dim batch=6 --output made_other")
        other = np.load(self.folder / "made_other" / "y_out_0.npy")
        self.assertFalse(np.array_equal(y, other))

    def test_open_dims(self):
        done = self.result("run good.onnx --random 1 --json")
        self.assertIn("batch; --dim NAME=N", done.stderr)
        self.assertEqual([1, 3], json.loads(done.stdout)["outputs"][0]["dims"])
        done = self.result("run good.onnx --random 1 --input ids=ids.npy --json")
        self.assertEqual("", done.stderr)
        self.assertEqual([5, 3], json.loads(done.stdout)["outputs"][0]["dims"])
        done = self.result("run good.onnx --random 1 --dim x:0=2 --dim ids:0=2 --json")
        self.assertEqual([2, 3], json.loads(done.stdout)["outputs"][0]["dims"])

    def test_devices_agree(self):
        listed = json.loads(self.result("devices --json").stdout)["devices"]
        usable = [d["name"] for d in listed if d["usable"]]
        self.assertIn("ref", usable)
        for name in usable:
            self.result(f"run good.onnx --input x=x.npy --input ids=ids.npy --device {name} --output on_{name}")
            y = np.load(self.folder / f"on_{name}" / "y_out_0.npy")
            np.testing.assert_allclose(y, expected(self.x, self.ids), rtol=1e-5, atol=1e-6)
        text = self.result("devices").stdout
        for device in listed:
            self.assertIn(device["name"], text)

    def test_inspect(self):
        said = json.loads(self.result("inspect good.onnx --plan --device ref --json").stdout)
        self.assertEqual([{"name": "x", "dtype": "f32", "dims": ["batch", 4]},
                          {"name": "ids", "dtype": "i64", "dims": ["batch"]}], said["inputs"])
        self.assertEqual(["y/out:0"], [o["name"] for o in said["outputs"]])
        self.assertEqual((17, 8, 4), (said["opset"], said["ir_version"], said["file_node_count"]))
        self.assertIn("check_errors", said["producer"])
        self.assertEqual((self.folder / "good.onnx").stat().st_size, said["file_bytes"])
        self.assertGreaterEqual(said["parameter_count"], 42)
        self.assertEqual(said["node_count"], sum(said["operators"].values()))
        origins = {name for node in said["plan"]["nodes"] for name in node["origins"].split("+")}
        self.assertLessEqual({"project", "look_up", "shift", "squash"}, origins)
        self.assertEqual({"ref"}, {node["device"] for node in said["plan"]["nodes"]})
        text = self.result("inspect good.onnx --plan").stdout
        for part in ("x ", "f32[batch, 4]", "y/out:0", said["digest"], "MatMul", "project", "operators", "rewrites"):
            self.assertIn(part, text)

    def test_help_and_version(self):
        listed = self.result("help").stdout
        self.assertEqual(listed, self.result("--help").stdout)
        for command in ("run", "inspect", "devices", "version", "help"):
            self.assertIn(f"  {command}", listed)
            self.assertEqual(self.result(f"{command} --help").stdout, self.result(f"help {command}").stdout)
        version = json.loads(self.result("version --json").stdout)["version"]
        self.assertRegex(version, r"^\d+\.\d+\.\d+$")
        self.assertIn(version, self.result("version").stdout)

    def test_result_that_cannot_be_printed_is_an_error(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full here")
        with open("/dev/full", "w", encoding="utf-8") as full:
            done = self.weir("devices", stdout=full)
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr, r"^weir: RESOURCE_EXHAUSTED: .*standard output.*\n$")

    def test_full_disk_names_the_file_and_leaves_nothing(self):
        def small_disk():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (64, 64))

        done = self.weir("run good.onnx --random 1 --dim batch=100 --output full", preexec_fn=small_disk)
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr, r"^weir: RESOURCE_EXHAUSTED: full/y_out_0.npy cannot be written: "
                                      r"File too large; .*\n$")
        self.assertEqual([], os.listdir(self.folder / "full"))

    def test_interrupt_ends_it_and_leaves_nothing(self):
        arguments = "run good.onnx --random 1 --dim batch=2000 --repeat 1000000 --output cut".split()
        process = subprocess.Popen([COMMAND, *arguments], cwd=self.folder, env=self.environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 30
        while not (self.folder / "cut").exists() and time.monotonic() < deadline:  # made before the runs
            try:
                process.wait(0.01)
                break
            except subprocess.TimeoutExpired:
                pass
        self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
        self.assertEqual((-signal.SIGINT, b""), (process.returncode, out))
        self.assertEqual([], os.listdir(self.folder / "cut"))

    def test_deadline_is_an_error(self):
        wide = 1200
        nodes = [helper.make_node("MatMul", ["x" if i == 0 else f"h{i}", "x"], [f"h{i + 1}"], name=f"power_{i}")
                 for i in range(20)]
        graph = helper.make_graph(nodes, "slow", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [wide, wide])],
                                  [helper.make_tensor_value_info("h20", TensorProto.FLOAT, [wide, wide])])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
                  self.folder / "slow.onnx")
        done = self.weir("run slow.onnx --random 1 --deadline-ms 1 --output late")
        self.assertEqual(1, done.returncode)
        self.assertRegex(done.stderr, r"^weir: DEADLINE_EXCEEDED: .+\n$")
        self.assertEqual("", done.stdout)
        self.assertEqual([], os.listdir(self.folder / "late"))

    def test_hostile_names_do_not_reach_the_terminal(self):
        model = graph_model()
        name = "x\x1b[2J\n/../ü"
        model.graph.input[0].name = name
        model.graph.node[0].input[0] = name
        onnx.save(model, self.folder / "hostile.onnx")
        done = self.weir("inspect hostile.onnx")
        self.assertNotIn("\x1b", done.stdout + done.stderr)
        if done.returncode == 0:
            self.assertEqual(name, json.loads(self.result("inspect hostile.onnx --json").stdout)["inputs"][0]["name"])


if __name__ == "__main__":
    unittest.main(verbosity=1)
