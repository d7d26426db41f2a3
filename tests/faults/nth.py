#!/usr/bin/env python3
"""Writes three small models and has every allocation and system call of their lives fail: see nth.c.

usage: nth.py DRIVER
"""

import pathlib
import struct
import subprocess
import sys
import tempfile

from wire import *  # pylint: disable=wildcard-import,unused-wildcard-import

LEAST_POINTS = 2000


def layers():
    """Dense layers with weights beside the file."""
    nodes, last = [], "x"
    for i in range(28):
        nodes += [node("MatMul", [last, f"w{i}"], [f"a{i}"]), node("Add", [f"a{i}", "b"], [f"c{i}"]),
                  node("LayerNormalization", [f"c{i}", "b"], [f"n{i}"]), node("Gelu", [f"n{i}"], [f"d{i}"])]
        last = f"d{i}"
    nodes.append(node("Softmax", [last], ["y"], a_int("axis", -1)))
    constants = [external(f"w{i}", [8, 8], "w.bin", offset=8 * i, length=256) for i in range(28)]
    constants.append(floats("b", [8], [0.5] * 8))
    return model(graph(nodes, [value("x", ["n", 8])], [value("y")], constants), [opset(20)])


def image():
    """What a small vision model consists of."""
    nodes, last = [], "x"
    for i in range(20):
        nodes += [node("Conv", [last, f"w{min(i, 1)}"], [f"a{i}"], a_ints("pads", [1, 1, 1, 1])),
                  node("BatchNormalization", [f"a{i}", "s", "s", "s", "s"], [f"b{i}"]),
                  node("Relu", [f"b{i}"], [f"c{i}"])]
        last = f"c{i}"
    nodes += [node("MaxPool", [last], ["d"], a_ints("kernel_shape", [2, 2]), a_ints("strides", [2, 2])),
             node("Resize", ["d", "", "scales"], ["e"]), node("Transpose", ["e"], ["f"], a_ints("perm", [0, 2, 3, 1])),
             node("ReduceMean", ["f"], ["y"], a_ints("axes", [1, 2]))]
    constants = [floats("w0", [4, 3, 3, 3], [0.1] * 108), floats("w1", [4, 4, 3, 3], [0.1] * 144),
                 floats("s", [4], [1.0] * 4),
                 floats("scales", [4], [1, 1, 2, 2])]
    return model(graph(nodes, [value("x", [1, 3, 8, 8])], [value("y")], constants))


def shapes():
    """Branches, a function, arithmetic on shapes, indices."""
    then = graph([node("Gather", ["x", "i"], ["t"])], [], [value("t")])
    other = graph([node("Abs", ["x"], ["o"])], [], [value("o")])
    body = [node("Shape", ["p"], ["q0"]), node("Concat", ["q0", "one"], ["q1"], a_int("axis", 0)),
            node("Reshape", ["p", "q1"], ["q"])]
    body.insert(0, node("Constant", [], ["one"], a_tensor("value", ints("", [1]))))
    nodes = [node("ReduceSum", ["x"], ["sum"], a_int("keepdims", 0)), node("Greater", ["sum", "zero"], ["c"])]
    last = []
    for i in range(4):
        nodes += [node("If", ["c"], [f"z{i}"], a_graph("then_branch", then), a_graph("else_branch", other)),
                  node("F", [f"z{i}"], [f"v{i}"], domain="f")]
        last.append(f"v{i}")
    nodes.append(node("Concat", last, ["y"], a_int("axis", 0)))
    return model(graph(nodes, [value("x", ["n", "m"])], [value("y")], [ints("i", [0, 0]), floats("zero", [], [0.0])]),
                 [opset(17), opset(1, "f")], [function("F", ["p"], ["q"], body)])


def main():
    with tempfile.TemporaryDirectory(prefix="weir-nth-") as root:
        folder = pathlib.Path(root)
        (folder / "cache").mkdir(mode=0o700)
        (folder / "w.bin").write_bytes(struct.pack("<512f", *[i / 64 for i in range(512)]))
        paths = []
        for make in (layers, image, shapes):
            paths.append(str(folder / f"{make.__name__}.onnx"))
            pathlib.Path(paths[-1]).write_bytes(make())
        done = subprocess.run([sys.argv[1], str(folder / "cache"), *paths], capture_output=True, check=False)
    text = done.stdout.decode("utf-8", "replace")
    print(text, done.stderr.decode("utf-8", "replace"), sep="")
    last = text.strip().rsplit("\n", 1)[-1]
    enough = last.split(" points")[0].isdigit() and int(last.split(" ")[0]) >= LEAST_POINTS
    if not enough:
        print(f"fewer than {LEAST_POINTS} points")
    return 0 if enough and done.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
