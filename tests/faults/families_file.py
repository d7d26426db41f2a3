"""Families of malformed models: what is wrong is the file, its encoding or what lies beside it."""

import os
import random
import struct

from cases import INVALID, LIMIT, NOT_FOUND, OK, UNSUPPORTED, Case, family
from wire import *  # pylint: disable=wildcard-import,unused-wildcard-import


def small_graph():
    """Every kind of field that a sound file may hold: used to cut and bend."""
    constants = [floats("w", [2, 3], [1, 2, 3, 4, 5, 6]), tensor("b", [3], FLOAT,
                 more=field(4, pack("f", [1, 2, 3]))), ints("shape", [3, -1])]
    nodes = [node("MatMul", ["x", "w"], ["y"], name="matmul"),
             node("Add", ["y", "b"], ["z"], name="add"),
             node("LeakyRelu", ["z"], ["r"], a_float("alpha", 0.5), name="leaky"),
             node("Reshape", ["r", "shape"], ["s"], a_int("allowzero", 0), name="reshape"),
             node("Transpose", ["s"], ["t"], a_ints("perm", [1, 0]), name="transpose")]
    return graph(nodes, [value("x", ["n", 2])], [value("t", None)], constants)


def small_model():
    return model(small_graph())


def one_node(op, inputs, *attributes, constants=(), out=None, **options):
    """A model of one node x -> y with further constant inputs."""
    return model(graph([node(op, inputs, ["y"], *attributes)], [value("x", [2, 3])],
                       [value("y", out)], constants), **options)


def relu(**options):
    return one_node("Relu", ["x"], **options)


@family
def truncated():
    whole = small_model()
    yield Case(whole, OK)
    # The graph is the last field: wherever the file ends inside it, its length is not there.
    for length in list(range(1, len(whole), 3)):
        yield Case(whole[:length], INVALID)


@family
def lengths_beyond_the_end():
    yield Case(small_model(), OK)
    huge = [2 ** 31, 2 ** 32, 2 ** 62, 2 ** 63 - 1, 2 ** 63, 2 ** 64 - 1, 10 ** 6]
    for length in huge:
        yield Case(field(1, 8) + field(8, opset(17)) + tag(7, 2) + varint(length) + b"\0" * 8, INVALID)
        inner = tag(1, 2) + varint(length) + b"\x0a\x01x"
        yield Case(model(inner), INVALID)                                  # of a node
        yield Case(model(graph([tag(4, 2) + varint(length)], [], [])), INVALID)  # of its operator
        broken = field(1, 2) + field(2, FLOAT) + field(8, "w") + tag(9, 2) + varint(length)
        yield Case(model(graph([], [], [], [broken])), INVALID)            # of raw_data
        broken = field(1, "x") + tag(2, 2) + varint(length)
        yield Case(model(graph([], [broken], [])), INVALID)                # of a type


@family
def wire_types():
    yield Case(small_model() + field(1000, 5) + field(1001, "unknown") + tag(1002, 5) + b"abcd"
               + tag(1003, 1) + b"abcdefgh", OK)
    body = small_model()
    for wire_type in (3, 4, 6, 7):
        yield Case(body + tag(1000, wire_type) + b"\1", INVALID)
        yield Case(tag(7, wire_type) + body, INVALID)
    for number, wire_type in ((7, 0), (7, 5), (8, 0), (25, 1)):
        junk = varint(3) if wire_type == 0 else b"abcdefgh"[:4 if wire_type == 5 else 8]
        yield Case(body + tag(number, wire_type) + junk, INVALID)
    for number, junk in ((1, 1), (5, 2), (11, 3), (12, 4)):
        yield Case(model(small_graph() + tag(number, 0) + varint(junk)), INVALID)
    yield Case(body + tag(0, 0) + b"\1", INVALID)
    yield Case(body + tag(0, 2) + b"\0", INVALID)
    yield Case(body + b"\xff" * 9 + b"\x7f", INVALID)
    yield Case(body + b"\x80" * 11 + b"\1", INVALID)
    yield Case(body + b"\x80", INVALID)
    yield Case(body + tag(1000, 1) + b"abc", INVALID)
    yield Case(body + tag(1000, 5) + b"abc", INVALID)
    yield Case(body + varint((1 << 29) << 3), INVALID)


@family
def not_a_model():
    yield Case(small_model(), OK)
    for junk in (b"", b"\0", b"\0" * 4096, b"PK\3\4" + b"\0" * 100, b"\x89PNG\r\n\x1a\n" + b"\1" * 64,
                 b"%PDF-1.7\n" + b"x" * 100, b"hello world\n" * 20, b"\xff" * 300,
                 b"{\"model\": 1}", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
                 field(1, 8), field(8, opset(17)), field(1, 8) + field(8, opset(17))):
        yield Case(junk, INVALID)
    noise = random.Random(7)
    for length in (10, 100, 1000, 10000, 100000):
        yield Case(noise.randbytes(length), INVALID)


def _fifo(path):
    os.mkfifo(path)


def _socket_less_folder(path):
    os.mkdir(path)


@family
def not_a_file():
    yield Case(small_model(), OK)
    # What is opened is a regular file or refused; a device or a pipe is never read.
    for path in ("/dev/zero", "/dev/urandom", "/dev/null", "/dev/full", "/dev/tty", "/proc/self/mem",
                 "{folder}", "/", "{folder}/fifo", "/proc/self/fd"):
        yield Case(None, "INVALID_ARGUMENT NOT_FOUND", path=path, files={"fifo": _fifo})
    for path in ("", "{folder}/nothing", "{folder}/nothing/here", "{folder}/" + "a" * 300,
                 "/" + "b/" * 3000, "{folder}/0.onnx/x", "{folder}/\x01\x02"):
        yield Case(None, NOT_FOUND, path=path)


@family
def names():
    yield Case(small_model(), OK)
    for bad in (b"a\0b", b"\0", b"x\0" * 20):
        for make in (lambda n: model(graph([node("Relu", [n], ["y"])], [value("x", [2])], [])),
                     lambda n: model(graph([node("Relu", ["x"], [n])], [value("x", [2])], [])),
                     lambda n: model(graph([], [value(n, [2])], [value("x", [2])])),
                     lambda n: model(graph([node(n, ["x"], ["y"])], [value("x", [2])], []))):
            yield Case(make(bad), INVALID)
    for length in (4097, 5000, 65536, 1 << 20):
        name = "n" * length
        yield Case(model(graph([node("Relu", ["x"], ["y"], name=name)], [value("x", [2])],
                               [value("y")])), LIMIT)
        yield Case(model(graph([node("Relu", [name], ["y"])], [value(name, [2])],
                               [value("y")])), LIMIT)
        yield Case(model(graph([node("Relu", ["x"], ["y"], a_int(name, 1))], [value("x", [2])],
                               [value("y")])), LIMIT)


@family
def versions():
    yield Case(relu(), OK)
    for version in (0, 1, 5, 6, 29, 1000, 2 ** 31, 2 ** 63 - 1, -1, -2 ** 63):
        yield Case(relu(opsets=[opset(version)]), "UNSUPPORTED INVALID_ARGUMENT")
    yield Case(relu(opsets=[]), "UNSUPPORTED INVALID_ARGUMENT")
    yield Case(relu(opsets=[opset(17, "com.example")]), "UNSUPPORTED INVALID_ARGUMENT")
    yield Case(relu(opsets=[opset(17), opset(18)]), INVALID)
    yield Case(relu(opsets=[opset(17), opset(18, "ai.onnx")]), INVALID)


@family
def domains():
    yield Case(relu(), OK)
    for domain in ("com.microsoft", "ai.onnx.ml", "ai.onnx.training", "f", "x" * 100, "ai.onnx ", "AI.ONNX",
                   "\x7f", "ai.onnx.preview", "é"):
        body = model(graph([node("Relu", ["x"], ["y"], domain=domain)], [value("x", [2])],
                           [value("y")]), [opset(17), opset(1, domain)])
        yield Case(body, UNSUPPORTED)
    for op in ("", "relu", "Relu ", "NoSuchOperator", "Relu" * 100):
        yield Case(one_node(op, ["x"]), INVALID if op == "" else UNSUPPORTED)


@family
def tensor_sizes():
    def with_constant(constant):
        return model(graph([node("Add", ["x", "w"], ["y"])], [value("x", [1])], [value("y")], [constant]))

    yield Case(with_constant(floats("w", [2], [1, 2])), OK)
    for dims, size in (([2], 7), ([2], 9), ([2], 0), ([3], 8), ([0], 4), ([2, 2], 8), ([], 0), ([], 8)):
        yield Case(with_constant(tensor("w", dims, FLOAT, b"\0" * size)), INVALID)
    for dims in ([-1], [-2], [2, -1], [-1, -1], [-2 ** 63], [2 ** 63 - 1, 2], [2 ** 32, 2 ** 32],
                 [2 ** 62], [3, 2 ** 61], [2 ** 20] * 4, [0, -1], [-1, 0]):
        yield Case(with_constant(tensor("w", dims, FLOAT, b"")), INVALID)
        yield Case(with_constant(tensor("w", dims, FLOAT)), INVALID)
    yield Case(with_constant(tensor("w", [2 ** 40], FLOAT, b"")), LIMIT)
    yield Case(with_constant(tensor("w", [2 ** 40], FLOAT)), LIMIT)
    yield Case(with_constant(tensor("w", [1] * 17, FLOAT, b"\0" * 4)), LIMIT)
    yield Case(with_constant(tensor("w", [1] * 1000, FLOAT, b"\0" * 4)), LIMIT)
    packed = field(1, b"\1" * 100000) + field(2, FLOAT) + field(8, "w") + field(9, b"\0" * 4)
    yield Case(with_constant(packed), LIMIT)
    # Fewer and more elements than the dims say, in each field that can hold them.
    for number, dtype, one in ((4, FLOAT, b"\0" * 4), (5, INT32, b"\1"), (7, INT64, b"\1"),
                               (10, DOUBLE, b"\0" * 8)):
        for count in (0, 1, 3):
            yield Case(with_constant(tensor("w", [2], dtype, more=field(number, one * count))), INVALID)
    yield Case(with_constant(tensor("w", [2], FLOAT, more=field(4, b"\0" * 7))), INVALID)
    yield Case(with_constant(tensor("w", [2], INT64, more=field(7, b"\x80\x80"))), INVALID)


@family
def tensor_types():
    def with_type(dtype, raw=b"\0" * 8):
        return model(graph([node("Identity", ["w"], ["y"])], [value("x", [1])], [value("y")],
                           [tensor("w", [1], dtype, raw)]))

    yield Case(with_type(INT64), OK)
    for dtype in (8, 14, 15, 17, 18, 19, 20, 21, 22, 23, 24):
        yield Case(with_type(dtype), UNSUPPORTED)
    for dtype in (27, 100, 2 ** 31 - 1, 2 ** 31):
        yield Case(with_type(dtype), UNSUPPORTED)
    for dtype in (0, -1, -2 ** 31, -2 ** 63):
        yield Case(with_type(dtype), INVALID)
    for raw in (b"\2", b"\xff", b"\x80"):
        yield Case(with_type(BOOL, raw), INVALID)
    for dtype in (8, 14, 17, 99):
        yield Case(model(graph([node("Identity", ["x"], ["y"])], [value("x", [1], dtype)],
                               [value("y")])), UNSUPPORTED)
    for kind in (4, 5, 7, 8, 9):
        odd = field(1, "x") + field(2, field(kind, b""))
        yield Case(model(graph([node("Identity", ["x"], ["y"])], [odd], [value("y")])), UNSUPPORTED)
    yield Case(model(graph([], [value("x", [1])], [value("x", [1])], more=field(15, b""))), UNSUPPORTED)
    yield Case(model(graph([], [value("x", [1])], [value("x", [1])],
                           [tensor("w", [1], FLOAT, more=field(3, b""))])), UNSUPPORTED)


# ---- External data ----------------------------------------------------------------------------

def _external_model(location, dims=(2,), **options):
    return model(graph([node("Add", ["x", "w"], ["y"])], [value("x", [2])], [value("y")],
                       [external("w", list(dims), location, **options)]))


def _link(target):
    return lambda path: os.symlink(target, path)


@family
def external_escapes():
    data = struct.pack("<2f", 1, 2)
    yield Case(_external_model("data.bin"), OK, files={"data.bin": data})
    outside = {"outside.bin": data}
    for location in ("../outside.bin", "../../etc/passwd", "a/../../outside.bin", "/etc/passwd",
                     "{folder}/data.bin", "/dev/zero", "/proc/self/mem", "//etc/passwd", "..",
                     "../" * 40 + "etc/passwd", "./../outside.bin", "a/b/../../../outside.bin"):
        yield Case(_external_model(location, offset=0, length=8), "INVALID_ARGUMENT NOT_FOUND",
                   files={"data.bin": data, "a": _socket_less_folder})
    for target in ("/etc/passwd", "../outside.bin", "/dev/zero", "loop", "data.bin"):
        yield Case(_external_model("loop"), "INVALID_ARGUMENT NOT_FOUND",
                   files={"loop": _link(target), "data.bin": data, **outside})
    for target in ("..", "/", "/dev", "/proc/self"):
        yield Case(_external_model("folder/zero"), "INVALID_ARGUMENT NOT_FOUND",
                   files={"folder": _link(target)})
    for location in ("", ".", "folder", "fifo", "nothing", "x" * 300, "file/x", "\x01", "~", "$HOME"):
        yield Case(_external_model(location), "INVALID_ARGUMENT NOT_FOUND",
                   files={"fifo": _fifo, "folder": _socket_less_folder, "file": data})


@family
def external_sizes():
    data = struct.pack("<4f", 1, 2, 3, 4)
    beside = {"data.bin": data}
    yield Case(_external_model("data.bin", offset=8, length=8), OK, files=beside)
    for offset in (9, 12, 16, 17, 2 ** 31, 2 ** 32, 2 ** 62, 2 ** 63 - 8, 2 ** 63 - 1, 2 ** 63, 2 ** 64 - 8,
                   2 ** 64 - 1):
        yield Case(_external_model("data.bin", offset=offset, length=8), "INVALID_ARGUMENT DATA_LOSS",
                   files=beside)
        yield Case(_external_model("data.bin", offset=offset), "INVALID_ARGUMENT DATA_LOSS", files=beside)
    for length in (0, 1, 7, 9, 16, 2 ** 63, 2 ** 64 - 1):
        yield Case(_external_model("data.bin", length=length), INVALID, files=beside)
    for text in ("-1", "abc", "0x8", " 8", "8 ", "1e3", str(2 ** 64), "9" * 100, "+8", "8\n"):
        yield Case(_external_model("data.bin", offset=text), INVALID, files=beside)
        yield Case(_external_model("data.bin", length=text), INVALID, files=beside)
    yield Case(_external_model("data.bin", [2 ** 32]), "INVALID_ARGUMENT DATA_LOSS", files=beside)
    yield Case(_external_model("data.bin", [2 ** 50]), LIMIT, files=beside)
    yield Case(_external_model("data.bin"), "INVALID_ARGUMENT DATA_LOSS", files={"data.bin": b""})
