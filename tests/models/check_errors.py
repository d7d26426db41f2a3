"""Golden error texts: what the command says when something is wrong with a file, an input, an option or a device.

What: builds small models and inputs, one with each mistake, runs the command on them, and compares its one line
      of error with tests/models/errors.golden (--update rewrites that file; read the difference before keeping it).
Why:  an error text is part of the interface: it must name the file, node or input, and say what to do. That is
      asserted for each text on its own, whatever the golden file holds.
Must not: compare anything that differs between machines (paths are relative, times and addresses never appear).
"""
import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "models" / "errors.golden"
CODES = ("INVALID_ARGUMENT NOT_FOUND UNSUPPORTED LIMIT RESOURCE_EXHAUSTED INFEASIBLE DEADLINE_EXCEEDED CANCELLED "
         "UNAVAILABLE DRAINING DEVICE_LOST DATA_LOSS INTERNAL").split()
# A text says what to do, or what would have been right, when it holds one of these.
REMEDY = re.compile(r"\b(give|check|use|did you mean|expected|convert|save|write|choose|add|lists?|export|put|fetch|"
                    r"leave it out|takes|needs a value)\b")


def graph_model(nodes=None, opset=17, initializers=None, outputs=None):
    """y/out:0 = Relu(x @ weight + table[ids]) with x f32[batch, 4] and ids i64[batch]; parts can be replaced."""
    rng = np.random.default_rng(5)
    nodes = nodes or [
        helper.make_node("MatMul", ["x", "weight"], ["h"], name="project"),
        helper.make_node("Gather", ["table", "ids"], ["rows"], name="look_up"),
        helper.make_node("Add", ["h", "rows"], ["sum"], name="shift"),
        helper.make_node("Relu", ["sum"], ["y/out:0"], name="squash"),
    ]
    if initializers is None:
        initializers = [numpy_helper.from_array(rng.normal(size=(4, 3)).astype(np.float32), "weight"),
                        numpy_helper.from_array(rng.normal(size=(10, 3)).astype(np.float32), "table")]
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4]),
         helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])],
        outputs or [helper.make_tensor_value_info("y/out:0", TensorProto.FLOAT, ["batch", 3])],
        initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8,
                             producer_name="check_errors")


def one_node(op, inputs, name, domain="", **attributes):
    """The small model with its last node replaced by one of the given operator."""
    model = graph_model()
    nodes = list(model.graph.node)[:-1]
    nodes.append(helper.make_node(op, inputs, ["y/out:0"], name=name, domain=domain, **attributes))
    changed = graph_model(nodes)
    if domain:
        changed.opset_import.append(helper.make_opsetid(domain, 1))
    return changed


def external_model(location):
    """The small model with its weight in a file of its own, which is not there."""
    model = graph_model()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "48")):
        entry = weight.external_data.add()
        entry.key, entry.value = key, value
    return model


def short_weight():
    """The small model with a weight that has fewer bytes than its dims say."""
    model = graph_model()
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-4]
    return model


def cyclic():
    nodes = list(graph_model().graph.node)
    nodes[0].input[0] = "sum"
    return graph_model(nodes)


def two_dims():
    """y = a + b with dims that must agree, which no name says: made up as 1, they do not agree with a given 3."""
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
             for name, dims in (("a", ["n", 4]), ("b", ["m", 3]), ("y", None))]
    nodes = [helper.make_node("Concat", ["a", "b"], ["y"], name="join", axis=1)]
    return helper.make_model(helper.make_graph(nodes, "two", ports[:2], ports[2:]),
                             opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_files(folder):
    """All models and inputs of the cases."""
    good = graph_model().SerializeToString()
    models = {
        "good.onnx": good,
        "truncated.onnx": good[:len(good) * 6 // 10],
        "empty.onnx": b"",
        "text.onnx": b"This is no model but a letter to one.\n" * 20,
        "unknown_operator.onnx": one_node("Frobnicate", ["sum"], "mystery").SerializeToString(),
        "unknown_domain.onnx": one_node("Relu", ["sum"], "foreign", "com.example").SerializeToString(),
        "undefined_tensor.onnx": one_node("Add", ["sum", "nowhere"], "dangling").SerializeToString(),
        "too_few_inputs.onnx": one_node("MatMul", ["sum"], "half").SerializeToString(),
        "bad_attribute.onnx": one_node("Softmax", ["sum"], "soft", axis=7).SerializeToString(),
        "bad_shapes.onnx": one_node("MatMul", ["sum", "weight"], "mismatch").SerializeToString(),
        "two_dims.onnx": two_dims().SerializeToString(),
        "cycle.onnx": cyclic().SerializeToString(),
        "future.onnx": graph_model(opset=999).SerializeToString(),
        "short_weight.onnx": short_weight().SerializeToString(),
        "no_external.onnx": external_model("weights.bin").SerializeToString(),
        "escape.onnx": external_model("../weights.bin").SerializeToString(),
    }
    for name, data in models.items():
        (folder / name).write_bytes(data)
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    arrays = {"x": x, "ids": np.array([1, 2], np.int64), "x_f64": x.astype(np.float64),
              "x_wide": np.zeros((2, 5), np.float32),
              "x_flat": x.ravel(), "ids_three": np.array([1, 2, 3], np.int64), "ids_far": np.array([1, 99], np.int64),
              "x_fortran": np.asfortranarray(x), "x_complex": x.astype(np.complex64)}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    whole = (folder / "x.npy").read_bytes()
    (folder / "x_cut.npy").write_bytes(whole[:-1])
    (folder / "x_text.npy").write_bytes(b"1, 2, 3\n")
    (folder / "a_folder").mkdir()
    (folder / "a_file").write_bytes(b"")


INPUTS = "--input x=x.npy --input ids=ids.npy"
# name: (arguments, exit code, words that the text must hold: the file, node or input, and what is wrong with it)
CASES = {
    "missing file": (f"run nothing.onnx {INPUTS}", 1, ["nothing.onnx"]),
    "folder instead of file": (f"run a_folder {INPUTS}", 1, ["a_folder"]),
    "empty file": (f"run empty.onnx {INPUTS}", 1, ["empty.onnx"]),
    "truncated file": (f"run truncated.onnx {INPUTS}", 1, ["truncated.onnx"]),
    "not an ONNX file": (f"run text.onnx {INPUTS}", 1, ["text.onnx"]),
    "unknown operator": (f"run unknown_operator.onnx {INPUTS}", 1, ["unknown_operator.onnx", "mystery", "Frobnicate"]),
    "unknown domain": (f"run unknown_domain.onnx {INPUTS}", 1, ["unknown_domain.onnx", "foreign", "com.example"]),
    "undefined tensor": (f"run undefined_tensor.onnx {INPUTS}", 1, ["undefined_tensor.onnx", "dangling", "nowhere"]),
    "too few inputs of a node": (f"run too_few_inputs.onnx {INPUTS}", 1, ["too_few_inputs.onnx", "half", "MatMul"]),
    "attribute out of range": (f"run bad_attribute.onnx {INPUTS}", 1, ["bad_attribute.onnx", "soft", "axis"]),
    "shapes of a node": (f"run bad_shapes.onnx {INPUTS}", 1, ["bad_shapes.onnx", "mismatch", "MatMul"]),
    "cycle": (f"run cycle.onnx {INPUTS}", 1, ["cycle.onnx", "project|shift"]),
    "opset from the future": (f"run future.onnx {INPUTS}", 1, ["future.onnx", "999"]),
    "short weight": (f"run short_weight.onnx {INPUTS}", 1, ["short_weight.onnx", "weight"]),
    "missing external data": (f"run no_external.onnx {INPUTS}", 1, ["no_external.onnx", "weights.bin"]),
    "external data outside": (f"run escape.onnx {INPUTS}", 1, ["escape.onnx", "weights.bin"]),
    "missing input": ("run good.onnx --input x=x.npy", 1, ["good.onnx", "ids", "--input ids="]),
    "unknown input": (f"run good.onnx {INPUTS} --input idx=ids.npy", 1, ["good.onnx", "idx", '"ids"']),
    "input twice": (f"run good.onnx {INPUTS} --input x=x.npy", 2, ["x"]),
    "input without a file": ("run good.onnx --input x.npy", 2, ["x.npy", "NAME=FILE.npy"]),
    "wrong dtype": ("run good.onnx --input x=x_f64.npy --input ids=ids.npy", 1, ["good.onnx", '"x"', "f64", "f32"]),
    "wrong shape": ("run good.onnx --input x=x_wide.npy --input ids=ids.npy", 1, ["good.onnx", '"x"', "5", "4"]),
    "wrong rank": ("run good.onnx --input x=x_flat.npy --input ids=ids.npy", 1, ["good.onnx", '"x"', "8"]),
    "dims that disagree": ("run good.onnx --input x=x.npy --input ids=ids_three.npy", 1,
                           ["good.onnx", '"ids"', "batch", "3", "2"]),
    "index out of range": ("run good.onnx --input x=x.npy --input ids=ids_far.npy --device ref", 1, ["look_up", "99"]),
    "missing npy": ("run good.onnx --input x=none.npy --input ids=ids.npy", 1, ["none.npy"]),
    "cut npy": ("run good.onnx --input x=x_cut.npy --input ids=ids.npy", 1, ["x_cut.npy", "31", "32"]),
    "not an npy": ("run good.onnx --input x=x_text.npy --input ids=ids.npy", 1, ["x_text.npy"]),
    "Fortran order": ("run good.onnx --input x=x_fortran.npy --input ids=ids.npy", 1,
                      ["x_fortran.npy", "ascontiguousarray"]),
    "dtype of npy": ("run good.onnx --input x=x_complex.npy --input ids=ids.npy", 1, ["x_complex.npy", "<c8"]),
    "unknown dim": ("run good.onnx --random 1 --dim bacth=2", 1, ["good.onnx", "bacth", '"batch"']),
    "dim against a file": ("run good.onnx --random 1 --input x=x.npy --dim batch=3", 2,
                           ["--dim batch=3", "x.npy", '"x"', "2"]),
    "axis against a file": ("run good.onnx --random 1 --input x=x.npy --dim x:0=3", 2, ["--dim x:0=3", "x.npy", "2"]),
    "made-up input too large": ("run good.onnx --random 1 --dim batch=8000000000", 1, ["good.onnx", '"x"', "smaller"]),
    "made-up input that overflows": ("run good.onnx --random 1 --dim batch=9000000000000000000", 1,
                                     ["good.onnx", '"x"', "smaller"]),
    "shapes from a guessed dim": ("run two_dims.onnx --random 1 --dim n=3", 1, ["join", "count as 1: m;"]),
    "device, with a guessed dim": ("run good.onnx --random 1 --device cuda", 1, ["cuda"]),
    "output, with a guessed dim": ("run good.onnx --random 1 --output a_file", 1, ["a_file"]),
    "absent device": (f"run good.onnx {INPUTS} --device cuda", 1, ["cuda"]),
    "absent plugin": (f"run good.onnx {INPUTS} --device mine,cpu", 1, ["mine"]),
    "output is a file": (f"run good.onnx {INPUTS} --output a_file", 1, ["a_file"]),
    "output below nothing": (f"run good.onnx {INPUTS} --output none/out", 1, ["none/out"]),
    "unknown option": (f"run good.onnx {INPUTS} --devise cpu", 2, ["--devise", "--device"]),
    "option without a value": ("run good.onnx --threads", 2, ["--threads"]),
    "not a number": ("run good.onnx --random seven", 2, ["--random", "seven"]),
    "unknown command": ("rum good.onnx", 2, ["rum", '"run"']),
    "no command": ("", 2, ["command"]),
    "no model": ("run --random 1", 2, ["MODEL"]),
    "two models": ("run good.onnx truncated.onnx", 2, ["truncated.onnx"]),
    "inspect of a missing file": ("inspect nothing.onnx", 1, ["nothing.onnx"]),
    "device without plan": ("inspect good.onnx --device cpu", 2, ["--device", "--plan"]),
    "help of an unknown command": ("help inspct", 2, ["inspct", '"inspect"']),
}


def problems_of(text, words):
    """What an error text lacks, beyond what the golden file says about it."""
    problems = []
    match = re.fullmatch(r"weir: ([A-Z_]+): (.+)", text)
    if not match or match[1] not in CODES:
        return [f"is not one line `weir: CODE: text`: {text!r}"]
    if match[1] == "INTERNAL":
        problems.append("calls a user's mistake INTERNAL")
    for word in words:
        if not any(part in match[2] for part in word.split("|")):
            problems.append(f"does not say {word!r}")
    if not REMEDY.search(match[2]):
        problems.append("does not say what to do")
    return problems


def test_of_this_test():
    """Texts that lack something are noticed, so that this check can fail."""
    for name, (_, _, words) in CASES.items():
        whole = "weir: NOT_FOUND: " + " ".join(words).replace("|", " ") + ": give another"
        assert not problems_of(whole, words), name
        assert problems_of(whole.replace("NOT_FOUND", "OOPS"), words), name
        assert problems_of(whole + "\n", words), name
        assert problems_of("weir: NOT_FOUND: no; give another", words), name


def run_case(command, folder, arguments):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WEIR_")}
    environment.update(WEIR_CACHE_DIR="", LC_ALL="C", LD_LIBRARY_PATH=str(folder / "lib"))
    return subprocess.run([command, *arguments.split()], cwd=folder, env=environment, capture_output=True, text=True,
                          errors="replace", timeout=60, check=False)


def read_golden():
    golden = {}
    if GOLDEN.exists():
        for line in GOLDEN.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                name, _, text = line.partition(" | ")
                golden[name] = text
    return golden


def write_golden(texts):
    lines = ["# The command's error texts: case | text. tests/models/check_errors.py --update writes this file."]
    lines += [f"{name} | {text}" for name, text in texts.items()]
    GOLDEN.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weir", default=ROOT / "build" / "release" / "bin" / "weir", type=pathlib.Path)
    parser.add_argument("--update", action="store_true", help="rewrite the golden texts")
    options = parser.parse_args()
    test_of_this_test()
    if not options.weir.exists():
        sys.exit(f"check_errors.py: {options.weir} is not there; ./run build makes it")
    command = options.weir.resolve()
    golden, texts, failed = read_golden(), {}, 0
    with tempfile.TemporaryDirectory(prefix="weir-errors-") as name:
        folder = pathlib.Path(name)
        write_files(folder)
        # The library with the CPU's plugin alone: what else was built, or finds its driver here, is not in the texts.
        (folder / "lib" / "weir").mkdir(parents=True)
        libraries = command.parents[1] / "lib"
        shutil.copy(libraries / "weir" / "weir_cpu.so", folder / "lib" / "weir")
        for library in libraries.glob("libweir*.so.0"):
            shutil.copy(library, folder / "lib")
        control = run_case(command, folder, f"run good.onnx {INPUTS}")
        if control.returncode != 0:
            sys.exit(f"check_errors.py: the model without a mistake fails: {control.stderr}")
        before = sorted(p.name for p in folder.iterdir())
        for case, (arguments, exit_code, words) in CASES.items():
            result = run_case(command, folder, arguments)
            texts[case] = text = result.stderr.removesuffix("\n")
            problems = problems_of(text, words)
            if result.returncode != exit_code:
                problems.append(f"exit code {result.returncode}, expected {exit_code}")
            if result.stdout:
                problems.append(f"prints a result: {result.stdout[:80]!r}")
            if str(folder) in text:
                problems.append("names a path that was not given")
            if not options.update and golden.get(case) != text:
                problems.append(f"differs from the golden text:\n    - {golden.get(case)}\n    + {text}")
            failed += bool(problems)
            if problems:
                print(f"{case}: weir {arguments}\n    {text}")
            for problem in problems:
                print(f"  {problem}")
        after = sorted(p.name for p in folder.iterdir())
        if before != after:
            failed += 1
            print(f"files were left behind: {set(after) - set(before)}")
    if not options.update and set(golden) - set(CASES):
        failed += 1
        print(f"the golden file has texts of no case: {set(golden) - set(CASES)}")
    if options.update:
        write_golden(texts)
    print(f"error texts: {len(CASES)} cases, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
