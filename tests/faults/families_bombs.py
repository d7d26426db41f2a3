"""Families of malformed models: small files that ask for much time or memory."""

from cases import LIMIT, OK, UNSUPPORTED, Case, family
from families_file import one_node
from families_operator import X, Y, image_node
from wire import *  # pylint: disable=wildcard-import,unused-wildcard-import


@family
def bombs():
    """Small files that ask for much: refused before the memory is taken."""
    shape_of = [ints("s", [2 ** 30])]
    yield Case(one_node("Expand", ["w", "s"], constants=[floats("w", [1], [1.0]), ints("s", [1024])]), OK)
    for op, inputs, constants in (
            ("ConstantOfShape", ["s"], shape_of), ("Expand", ["w", "s"], shape_of),
            ("Tile", ["w", "s"], shape_of), ("Range", ["zero", "end", "one"], []),
            ("Pad", ["w", "pads"], [])):
        body = one_node(op, inputs, constants=[
            *constants, floats("w", [1], [1.0]), ints("zero", [0], []), ints("end", [2 ** 30], []),
            ints("one", [1], []), ints("pads", [0, 2 ** 30])])
        yield Case(body, LIMIT)
    for count in (12, 40, 60, 63, 100):  # each twice as long as the one before
        nodes = [node("Concat", [f"w{i}", f"w{i}"], [f"w{i + 1}"], a_int("axis", 0)) for i in range(count)]
        body = graph([*nodes, node("Identity", [f"w{count}"], ["y"])], X, Y, [floats("w0", [4096], [1.0] * 4096)])
        yield Case(model(body), "LIMIT INVALID_ARGUMENT")
    for count in (3, 6, 20):  # outer products: each squares the elements
        nodes = [node("Mul", [f"w{i}", f"u{i}"], [f"p{i}"]) for i in range(count)]
        for i in range(count):
            nodes += [node("Reshape", [f"p{i}", "row"], [f"w{i + 1}"]),
                      node("Reshape", [f"p{i}", "column"], [f"u{i + 1}"])]
        body = graph([*nodes, node("Identity", [f"w{count}"], ["y"])], X, Y, [
            floats("w0", [1, 64], [1.0] * 64), floats("u0", [64, 1], [1.0] * 64), ints("row", [1, -1]),
            ints("column", [-1, 1])])
        yield Case(model(body), "LIMIT INVALID_ARGUMENT")
    # Much arithmetic on little data, at load.
    square = tensor("m", [128, 128], FLOAT, bytes(4 * 128 * 128))
    nodes = [node("MatMul", [f"m{i}" if i else "m", "m"], [f"m{i + 1}"]) for i in range(60)]
    yield Case(model(graph([*nodes, node("Identity", ["m60"], ["y"])], X, Y, [square])), OK)
    big = image_node("Conv", a_ints("pads", [2 ** 14] * 4), inputs=("x", "w"),
                     constants=[tensor("w", [4, 4, 3, 3], FLOAT, bytes(576))])
    yield Case(big, LIMIT)
    yield Case(image_node("Upsample", a_text("mode", "nearest"), inputs=("x", "s"),
                          constants=[floats("s", [4], [1, 1, 2000, 2000])]), UNSUPPORTED)
    yield Case(image_node("MaxPool", a_ints("kernel_shape", [30000, 30000]), a_ints("pads", [29999] * 4)),
               "LIMIT INVALID_ARGUMENT")
