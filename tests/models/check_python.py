#!/usr/bin/env python3
"""The Python package: structs as in the headers, and what a caller meets.

Goal:   engine/python mirrors the C headers field by field; run() is right from many threads, its
        errors help.
Method: a C program compiled here prints sizeof and offsetof of every field; small models made here
        are run.
Must not: need any model from outside.

usage: check_python.py [--structs-only]
"""

import ctypes
import gc
import importlib.util
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import types
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "engine" / "python" / "weir"
HEADERS = ROOT / "engine" / "include"


def library_declarations():
    """_library.py without the library being loaded: its declarations alone."""
    source = (PACKAGE / "_library.py").read_text().replace("\nlib = load()\n", "\n")
    module = types.ModuleType("weir_declarations")
    module.__file__ = str(PACKAGE / "_library.py")
    exec(compile(source, module.__file__, "exec"), module.__dict__)  # pylint: disable=exec-used
    return module


def c_layout(structs):
    """{(struct, field or ""): number} as the C compiler sees it."""
    lines = [
        "#include <stddef.h>",
        "#include <stdio.h>",
        "#include <weir/weir.h>",
        "int main(void) {",
    ]
    for name, struct in structs.items():
        lines.append(f'printf("{name}  %zu\\n", sizeof({name}));')
        for field, *_ in struct._fields_:
            lines.append(
                f'printf("{name} {field} %zu %zu\\n", offsetof({name}, {field}), sizeof((({name} '
                f"*)0)->{field}));"
            )
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as folder:
        source, program = pathlib.Path(folder) / "layout.c", pathlib.Path(folder) / "layout"
        source.write_text("\n".join(lines))
        subprocess.run(
            ["cc", "-std=c17", f"-I{HEADERS}", str(source), "-o", str(program)], check=True
        )
        text = subprocess.run([str(program)], check=True, capture_output=True, text=True).stdout
    layout = {}
    for line in text.splitlines():
        name, field, *numbers = line.split(" ")
        layout[name, field] = tuple(map(int, filter(None, numbers)))
    return layout


def compare_layout(structs, layout):
    """Differences between ctypes and C, as texts."""
    found = []
    for name, struct in structs.items():
        if (ctypes.sizeof(struct),) != layout[name, ""]:
            found.append(f"{name}: {ctypes.sizeof(struct)} bytes, C has {layout[name, ''][0]}")
        for field, *_ in struct._fields_:
            own = getattr(struct, field)
            if (own.offset, own.size) != layout[name, field]:
                found.append(
                    f"{name}.{field}: at {own.offset} of {own.size}, C has {layout[name, field]}"
                )
    return found


def header_text():
    return "\n".join(
        re.sub(r"//.*", "", path.read_text())
        for path in sorted((HEADERS / "weir").glob("*.h"))
        if path.name != "plugin.h"
    )


class Declarations(unittest.TestCase):
    def setUp(self):
        self.declared = library_declarations()

    def test_structs_are_those_of_c(self):
        self.assertEqual([], compare_layout(self.declared.STRUCTS, c_layout(self.declared.STRUCTS)))

    def test_every_struct_of_the_headers_is_declared(self):
        names = set(re.findall(r"}\s*(weir_\w+_t);", header_text())) - {
            "weir_placement_t",
            "weir_log_level_t",
        }
        self.assertEqual(names, set(self.declared.STRUCTS))

    def test_a_moved_field_is_noticed(self):
        layout = c_layout({"weir_value_t": self.declared.Value})

        class Swapped(ctypes.Structure):
            _fields_ = [self.declared.Value._fields_[i] for i in (1, 0, 2, 3, 4, 5, 6)]

        self.assertEqual(2, len(compare_layout({"weir_value_t": Swapped}, layout)))

    def test_fields_are_all_there(self):
        # The last field plus padding reaches the end, so a field missing at the end shows as a
        # wrong size;
        # one missing inside as a wrong offset. What remains is two fields of C in one of Python.
        for name, struct in self.declared.STRUCTS.items():
            short = name[:-2]
            body = re.search(
                r"typedef struct " + short + r"\s*{(.*?)}\s*" + name, header_text(), re.S
            ).group(1)
            declarations = [d for d in body.split(";") if d.strip()]
            self.assertEqual(len(declarations), len(struct._fields_), name)

    def test_functions_have_the_right_number_of_arguments(self):
        text = header_text()
        for name, (_, arguments) in self.declared.FUNCTIONS.items():
            found = re.search(r"\b" + name + r"\s*\(([^;]*)\);", text)
            self.assertIsNotNone(found, name)
            inside = found.group(1).strip()
            self.assertEqual(0 if inside == "void" else inside.count(",") + 1, len(arguments), name)


def load_package():
    sys.path.insert(0, str(ROOT / "engine" / "python"))
    import weir  # pylint: disable=import-outside-toplevel

    return weir


def tiny_model(kind="Add", dtype=1, shape=("n", 3), outputs=1):
    from onnx import helper  # pylint: disable=import-outside-toplevel

    nodes = [helper.make_node("Add", ["x", "y"], ["z"], name="sum")]
    results = [helper.make_tensor_value_info("z", dtype, shape)]
    if outputs == 2:
        nodes.append(helper.make_node("Mul", ["x", "y"], ["p"], name="product"))
        results.append(helper.make_tensor_value_info("p", dtype, shape))
    if kind != "Add":
        nodes[0] = helper.make_node(kind, ["x", "y"], ["z"], name="odd")
    graph = helper.make_graph(
        nodes, "tiny", [helper.make_tensor_value_info(n, dtype, shape) for n in "xy"], results
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString()


class Package(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import numpy  # pylint: disable=import-outside-toplevel

        cls.np, cls.weir = numpy, load_package()

    def refused(self, code, *words):
        test = self

        class Context:
            def __enter__(self):
                return self

            def __exit__(self, kind, error, trace):
                test.assertIsNotNone(error, f"expected {code}")
                test.assertIsInstance(error, test.weir.Error)
                test.assertEqual(code, error.code, str(error))
                for word in words:
                    test.assertIn(word, str(error))
                return True

        return Context()

    def test_ports(self):
        session = self.weir.InferenceSession(tiny_model())
        port = session.get_inputs()[0]
        self.assertEqual(("x", "tensor(float)", ["n", 3]), (port.name, port.type, port.shape))
        self.assertEqual(["z"], [p.name for p in session.get_outputs()])

    def test_run_and_output_order(self):
        np = self.np
        session = self.weir.InferenceSession(tiny_model(outputs=2))
        x, y = np.arange(6, dtype=np.float32).reshape(2, 3), np.full((2, 3), 2, np.float32)
        product, total = session.run(["p", "z"], {"x": x, "y": y})
        np.testing.assert_array_equal(product, x * y)
        np.testing.assert_array_equal(total, x + y)
        (again,) = session.run(["z"], {"x": -x, "y": y})
        np.testing.assert_array_equal(
            total, x + y
        )  # an earlier result is not overwritten by a later run
        np.testing.assert_array_equal(again, y - x)

    def test_strided_and_foreign_inputs(self):
        np = self.np
        session = self.weir.InferenceSession(tiny_model())
        x = np.arange(12, dtype=np.float32).reshape(3, 4).T[:2, :]
        swapped = x.astype(">f4")
        np.testing.assert_array_equal(session.run(None, {"x": x, "y": swapped})[0], x + x)
        np.testing.assert_array_equal(
            session.run(None, {"x": [[1, 2, 3]], "y": [[1, 1, 1]]})[0], [[2, 3, 4]]
        )

    def test_scalar_and_empty(self):
        np = self.np
        session = self.weir.InferenceSession(tiny_model(shape=()))
        (result,) = session.run(None, {"x": np.float32(2), "y": np.array(3, np.float32)})
        self.assertEqual(((), 5.0), (result.shape, float(result)))
        session = self.weir.InferenceSession(tiny_model())
        (result,) = session.run(
            None, {"x": np.zeros((0, 3), np.float32), "y": np.zeros((0, 3), np.float32)}
        )
        self.assertEqual((0, 3), result.shape)

    def test_errors(self):
        np = self.np
        session = self.weir.InferenceSession(tiny_model())
        x = np.zeros((2, 3), np.float32)
        with self.refused("INVALID_ARGUMENT", "'y'"):
            session.run(None, {"x": x})
        with self.refused("INVALID_ARGUMENT", "'w'"):
            session.run(None, {"x": x, "y": x, "w": x})
        with self.refused("INVALID_ARGUMENT", "'nope'"):
            session.run(["nope"], {"x": x, "y": x})
        with self.refused("INVALID_ARGUMENT", "y"):
            session.run(None, {"x": x, "y": x.astype(np.float64)})
        with self.refused("INVALID_ARGUMENT", "y"):
            session.run(None, {"x": x, "y": np.zeros((2, 4), np.float32)})
        with self.refused("UNSUPPORTED", "'y'"):
            session.run(None, {"x": x, "y": np.array([["a"]])})
        with self.refused("NOT_FOUND", "no-such-file.onnx"):
            self.weir.InferenceSession("no-such-file.onnx")
        with self.refused("UNSUPPORTED", "Frobnicate"):
            self.weir.InferenceSession(tiny_model("Frobnicate"))
        with self.refused("INVALID_ARGUMENT"):
            self.weir.InferenceSession(b"not a model")
        with self.refused("NOT_FOUND", "nosuchdevice"):
            self.weir.InferenceSession(tiny_model(), devices=["nosuchdevice"])
        with self.refused("INVALID_ARGUMENT", "f8"):
            self.weir.InferenceSession(tiny_model(), precision="f8")
        with self.refused("LIMIT", "nodes"):
            self.weir.InferenceSession(tiny_model(outputs=2), limits={"nodes": 1})
        (result,) = session.run(None, {"x": x, "y": x})  # and the session still works
        np.testing.assert_array_equal(result, x)

    def test_cancelled_and_late(self):
        np = self.np
        session = self.weir.InferenceSession(tiny_model())
        feeds = {"x": np.ones((2, 3), np.float32), "y": np.ones((2, 3), np.float32)}
        cancel = self.weir.Cancel()
        self.assertEqual(2.0, session.run(None, feeds, cancel=cancel, deadline_ms=60000)[0][0, 0])
        cancel.trigger()
        with self.refused("CANCELLED"):
            session.run(None, feeds, cancel=cancel)
        with self.refused("DEADLINE_EXCEEDED"):
            session.run(None, feeds, deadline_ms=0)
        self.assertEqual(2.0, session.run(None, feeds)[0][0, 0])

    def test_many_threads(self):
        np = self.np
        session = self.weir.InferenceSession(tiny_model())
        wrong = []

        def work(seed):
            rng = np.random.default_rng(seed)
            for _ in range(50):
                x = rng.normal(size=(int(rng.integers(1, 200)), 3)).astype(np.float32)
                (result,) = session.run(None, {"x": x, "y": 2 * x})
                if not np.array_equal(result, x + 2 * x):
                    wrong.append(seed)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual([], wrong)

    def test_nothing_is_kept(self):
        engine = self.weir.Engine(threads=1)
        before = None
        for _ in range(5):
            session = self.weir.InferenceSession(tiny_model(), engine=engine)
            session.run(
                None,
                {
                    "x": self.np.zeros((64, 3), self.np.float32),
                    "y": self.np.zeros((64, 3), self.np.float32),
                },
            )
            del session
            gc.collect()
            now = engine.memory()[0]
            before = now if before is None else before
            self.assertLessEqual(now, before)

    def test_packed_weights_are_those_of_this_model(self):
        """One cache, one model, loaded by path and as bytes: each gets its own weights, or shares them rightly.

        The first weight lies at a multiple of 64 in the file, the second does not, so that the two ways of
        loading lay the constants out differently.
        """
        import onnx  # pylint: disable=import-outside-toplevel
        from onnx import helper, numpy_helper  # pylint: disable=import-outside-toplevel

        np, weir = self.np, self.weir
        random = np.random.default_rng(1)
        first, second = (random.standard_normal((64, 64)).astype(np.float32) for _ in "12")
        for padding in range(400):
            graph = helper.make_graph(
                [helper.make_node("MatMul", ["x", "first"], ["a"]), helper.make_node("Tanh", ["a"], ["b"]),
                 helper.make_node("MatMul", ["b", "second"], ["y"])], "g" * (padding + 1),
                [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [4, 64])],
                [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
                [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")])
            model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
            content = model.SerializeToString()
            if content.find(first.tobytes()) % 64 == 0 and content.find(second.tobytes()) % 64:
                break
        else:
            self.fail("no padding puts the weights where this test wants them")
        x = random.standard_normal((4, 64)).astype(np.float32)
        wanted = np.tanh(x @ first) @ second
        for turns in ("path", "bytes"), ("bytes", "path"):
            with tempfile.TemporaryDirectory() as folder:
                path = pathlib.Path(folder) / "model.onnx"
                path.write_bytes(content)
                for turn in (*turns, turns[0]):
                    session = weir.InferenceSession(str(path) if turn == "path" else content,
                                                    cache_dir=folder + "/cache")
                    got, = session.run(None, {"x": x})
                    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4, err_msg=f"{turns} {turn}")

    def test_devices_and_plan(self):
        names = [d["name"] for d in self.weir.devices() if d["usable"]]
        self.assertIn("ref", names)
        session = self.weir.InferenceSession(tiny_model(), devices=["ref"])
        nodes = session.plan_nodes()
        self.assertEqual({"ref"}, {node["device"] for node in nodes})
        self.assertEqual([], session.plan_cuts())
        for index, node in enumerate(nodes):
            candidate, = session.plan_candidates(index)
            self.assertEqual(("ref", 1, node["cost_ns"]),
                             tuple(candidate[key] for key in ("device", "is_chosen", "cost_ns")))
            self.assertIn("x", {i["value"] for i in session.plan_inputs(0)})
        name = nodes[0]["origins"].split("+")[0]
        placed = self.weir.InferenceSession(tiny_model(), devices=["ref"], placement={name: "ref"})
        self.assertEqual(1, placed.plan_nodes()[0]["is_requested"])
        with self.assertRaisesRegex(Exception, "no node of that name"):
            self.weir.InferenceSession(tiny_model(), devices=["ref"], placement={"nothing": "ref"})
        self.assertEqual(17, session.model_info()["opset"])


if __name__ == "__main__":
    if "--structs-only" in sys.argv:
        sys.argv.remove("--structs-only")
        del Package
    elif importlib.util.find_spec("numpy") is None:
        sys.exit(
            "check_python.py: numpy is missing; run it with the tests' Python "
            "(tests/requirements.txt)"
        )
    unittest.main(verbosity=1)
