"""Families of malformed models: attributes, axes, indices and sizes of single operators."""

from cases import INVALID, OK, UNSUPPORTED, Case, family
from families_file import one_node
from wire import *  # pylint: disable=wildcard-import,unused-wildcard-import

X = [value("x", [2, 3])]
Y = [value("y")]
IMAGE = [value("x", [1, 4, 5, 5])]


def image_node(op, *attributes, inputs=("x",), constants=()):
    return model(graph([node(op, list(inputs), ["y"], *attributes)], IMAGE, Y, constants))


def conv(*attributes, weight=(4, 4, 3, 3)):
    count = 1
    for dim in weight:
        count *= dim
    return image_node("Conv", *attributes, inputs=("x", "w"), constants=[
        tensor("w", weight, FLOAT, bytes(4 * max(count, 0)))])


@family
def axes():
    yield Case(one_node("Softmax", ["x"], a_int("axis", -2)), OK)
    for op in ("Softmax", "Concat", "Gather", "ArgMax", "LogSoftmax", "Flatten", "Split", "LayerNormalization",
               "GatherElements", "LpNormalization"):
        more = {"Gather": ["x", "i"], "GatherElements": ["x", "i"], "LayerNormalization": ["x", "w"]}
        constants = [tensor("i", [1, 1], INT64, bytes(8)), floats("w", [3], [1.0] * 3)]
        for axis in (3, -4, 2 ** 31, -2 ** 31, 2 ** 63 - 1, -2 ** 63, 2 ** 32):
            body = model(graph([node(op, more.get(op, ["x"]), ["y"], a_int("axis", axis))], X, Y, constants))
            yield Case(body, INVALID)
    for op in ("ReduceSum", "Squeeze", "Unsqueeze"):
        for axis in ([5], [-6], [0, 0], [2 ** 40], [-2 ** 63], [2 ** 63 - 1], [0, -2] if op != "Unsqueeze"
                     else [0, -4]):
            yield Case(one_node(op, ["x", "a"], constants=[ints("a", axis)]), INVALID)
    for perm in ([0], [0, 0], [0, 2], [1, 0, 2], [-3, 0], [2 ** 32, 1], [0, 1, 1]):
        yield Case(one_node("Transpose", ["x"], a_ints("perm", perm)), INVALID)
    yield Case(one_node("Squeeze", ["x", "a"], constants=[ints("a", [0])]), INVALID)  # its size is 2


@family
def attributes():
    yield Case(conv(a_ints("pads", [1, 1, 1, 1])), OK)
    for name, numbers in (("strides", [0, 0]), ("strides", [-1, 1]), ("strides", [1]), ("strides", [1, 1, 1]),
                          ("dilations", [0, 1]), ("dilations", [-1, -1]), ("dilations", [2 ** 40, 1]),
                          ("dilations", [2 ** 62, 2 ** 62]), ("pads", [-9, 0, 0, 0]), ("pads", [1]),
                          ("pads", [2 ** 63 - 1] * 4), ("pads", [2 ** 62] * 4), ("kernel_shape", [2, 2]),
                          ("kernel_shape", [3]), ("kernel_shape", [0, 0]), ("kernel_shape", [-3, -3])):
        yield Case(conv(a_ints(name, numbers)), INVALID)
    for group in (0, -1, 3, 5, 2 ** 31, 2 ** 63 - 1, 2):
        yield Case(conv(a_int("group", group)), INVALID)
    for weight in ((4, 4, 3), (4, 4), (4, 3, 3, 3), (0, 4, 3, 3), (4, 4, 0, 3), (4, 4, 9, 9), (4, 4, 3, 3, 3)):
        yield Case(conv(weight=weight), "INVALID_ARGUMENT OK" if 0 in weight else INVALID)
    yield Case(conv(a_text("auto_pad", "NOSUCH")), INVALID)
    for op in ("MaxPool", "AveragePool"):
        for kernel in ([], [0, 0], [-1, 2], [2], [2, 2, 2], [2 ** 62, 2 ** 62], [100, 100]):
            yield Case(image_node(op, a_ints("kernel_shape", kernel)), INVALID)
        yield Case(image_node(op), INVALID)
        yield Case(image_node(op, a_ints("kernel_shape", [2, 2]), a_ints("strides", [0, 1])), INVALID)
    for size in (0, -1, -2 ** 63):
        yield Case(image_node("LRN", a_int("size", size)), INVALID)
    for to in (0, -1, 2 ** 31, 2 ** 63 - 1, 100):
        yield Case(one_node("Cast", ["x"], a_int("to", to)), "INVALID_ARGUMENT UNSUPPORTED")
    for to in (8, 14, 15, 17):
        yield Case(one_node("Cast", ["x"], a_int("to", to)), UNSUPPORTED)
    yield Case(one_node("Cast", ["x"]), INVALID)
    yield Case(one_node("Relu", ["x"], a_int("alpha", 1)), INVALID)


@family
def attribute_types():
    yield Case(one_node("LeakyRelu", ["x"], a_float("alpha", 0.1)), OK)
    for wrong in (a_int("alpha", 1), a_text("alpha", "1"), a_ints("alpha", [1]), a_tensor("alpha", b""),
                  a_graph("alpha", b"")):
        yield Case(one_node("LeakyRelu", ["x"], wrong), INVALID)
    for wrong in (a_float("axis", 1.0), a_text("axis", "1"), a_ints("axis", [1]), a_graph("axis", b"")):
        yield Case(one_node("Softmax", ["x"], wrong), INVALID)
    for wrong in (a_int("perm", 1), a_float("perm", 1.0), a_text("perm", "10")):
        yield Case(one_node("Transpose", ["x"], wrong), INVALID)
    for kind in (9, 10, 11, 12, 13, 14, 99, 2 ** 31, 2 ** 63):  # tensors, graphs, sparse ones, nothing known
        wrong = field(1, "axis") + field(3, 1) + field(20, kind)
        yield Case(one_node("Softmax", ["x"], wrong), INVALID)
    for content in (b"", b"\xff", field(1, 3), tensor("", [2], FLOAT, b"\0" * 4), tensor("", [2], 8)):
        yield Case(model(graph([node("Constant", [], ["y"], a_tensor("value", content))], X, Y)),
                   "INVALID_ARGUMENT UNSUPPORTED")
    yield Case(model(graph([node("Constant", [], ["y"])], X, Y)), INVALID)
    yield Case(one_node("ConstantOfShape", ["s"], a_tensor("value", floats("", [2], [1.0, 2.0])),
                        constants=[ints("s", [2])]), INVALID)


@family
def element_types():
    yield Case(one_node("Add", ["x", "w"], constants=[floats("w", [3], [1.0] * 3)]), OK)
    for op in ("Add", "Sub", "Mul", "Div", "MatMul", "Min", "Max", "Less", "Equal", "Concat", "PRelu"):
        attribute_list = [a_int("axis", 0)] if op == "Concat" else []
        constants = [tensor("w", [3, 3], INT64, bytes(72))]
        yield Case(one_node(op, ["x", "w"], *attribute_list, constants=constants), INVALID)
    for op in ("And", "Or", "Xor", "Not"):
        yield Case(one_node(op, ["x"] if op == "Not" else ["x", "x"]), INVALID)
    for op in ("Exp", "Sqrt", "Softmax", "Tanh", "Erf", "Floor"):
        body = model(graph([node(op, ["x"], ["y"])], [value("x", [2, 3], BOOL)], Y))
        yield Case(body, INVALID)
    for op, inputs in (("Gather", ["x", "x"]), ("Reshape", ["x", "x"]), ("Where", ["x", "x", "x"]),
                       ("Slice", ["x", "x", "x"]), ("Expand", ["x", "x"]), ("Tile", ["x", "x"]),
                       ("GatherND", ["x", "x"]), ("ConstantOfShape", ["x"])):
        yield Case(one_node(op, inputs), INVALID)


@family
def indices():
    def gather(indices, op="Gather", dims=None, run=False, **more):
        count = len(indices)
        inputs = [*X, value("i", [count], INT64)] if run else X
        constants = [] if run else [ints("i", indices, dims)]
        return model(graph([node(op, ["x", "i"], ["y"], a_int("axis", 0))], inputs, Y, constants))

    yield Case(gather([0, 1, -1, -2]), OK)
    for index in (2, 3, -3, 2 ** 31, -2 ** 31, 2 ** 32, 2 ** 62, -2 ** 62, 2 ** 63 - 1, -2 ** 63):
        yield Case(gather([0, index]), INVALID)
        yield Case(gather([0, index], "GatherElements", [1, 2]), INVALID)
        nd = model(graph([node("GatherND", ["x", "i"], ["y"])], X, Y, [ints("i", [index, 0])]))
        yield Case(nd, INVALID)
    for fill in (2, -3, 2 ** 40, -2 ** 63, 2 ** 63 - 1):
        yield Case(gather([0, 0], run=True), INVALID, fill=fill)
        nd = model(graph([node("GatherND", ["x", "i"], ["y"])], [*X, value("i", [1, 1], INT64)], Y))
        yield Case(nd, INVALID, fill=fill)
        elements = model(graph([node("GatherElements", ["x", "i"], ["y"])], [*X, value("i", [1, 1], INT64)], Y))
        yield Case(elements, INVALID, fill=fill)
    for dims in ([3], [1, 3], [0, 3]):  # tuples longer than what they index
        nd = model(graph([node("GatherND", ["x", "i"], ["y"])], X, Y,
                         [tensor("i", dims, INT64, bytes(24 if 0 not in dims else 0))]))
        yield Case(nd, INVALID)
    empty = model(graph([node("Gather", ["x", "i"], ["y"])], [value("x", [0, 3])], Y, [ints("i", [0])]))
    yield Case(empty, INVALID, dims="0x3")


@family
def slices():
    def slice_of(*lists):
        names = ["starts", "ends", "axes", "steps"][:len(lists)]
        return one_node("Slice", ["x", *names], constants=[ints(n, v) for n, v in zip(names, lists)])

    # Starts and ends beyond the ends are cut off, so that all of these are right.
    yield Case(slice_of([-2 ** 63], [2 ** 63 - 1], [1], [1]), OK)
    yield Case(slice_of([2 ** 63 - 1], [-2 ** 63], [1], [-1]), OK)
    yield Case(slice_of([0], [3], [1], [2 ** 63 - 1]), OK)
    for lists in (([0], [1], [0], [0]), ([2], [-9], [1], [-2 ** 63]),
                  ([0, 0], [1], [0, 1]), ([0], [1], [2]), ([0], [1], [-3]),
                  ([0, 0], [1, 1], [0, 0]), ([0], [1, 1]), ([0], [1], [0], [1, 1]), ([0] * 3, [1] * 3),
                  ([0], [1], [2 ** 40]), ([0], [1], [-2 ** 63]), ([0] * 40, [1] * 40)):
        yield Case(slice_of(*lists), INVALID)
    for splits in ([3, 3], [-1, 4], [1], [2, 2], [2 ** 62, 2 ** 62], [1, 1, 1]):
        body = graph([node("Split", ["x", "s"], ["y", "z"], a_int("axis", 1))], X, Y, [ints("s", splits)])
        yield Case(model(body), INVALID)
    for count in (0, -1, 3, 2 ** 40):
        body = graph([node("Split", ["x"], ["y", "z"], a_int("axis", 1), a_int("num_outputs", count))], X, Y)
        yield Case(model(body, [opset(18)]), INVALID)


@family
def zero_sizes():
    """A dim of size zero: either it has a meaning or it is refused; it never divides."""
    def over(op, dims, *attributes, inputs=("x",), constants=()):
        return model(graph([node(op, list(inputs), ["y"], *attributes)], [value("x", ["n", *dims[1:]])], Y,
                           constants))

    def made_up(dims):
        return "x".join(str(d) for d in dims)

    empty = [0, 3]
    for op in ("Relu", "Softmax", "ReduceSum", "Transpose", "Shape", "Flatten", "LogSoftmax", "ReduceProd"):
        yield Case(over(op, empty), OK, dims=made_up(empty))
    for op in ("ArgMax", "ArgMin"):
        yield Case(over(op, empty, a_int("axis", 0)), INVALID, dims=made_up(empty))
    for op in ("ReduceMax", "ReduceMin", "ReduceMean"):
        yield Case(over(op, empty), "OK INVALID_ARGUMENT", dims=made_up(empty))
    yield Case(over("Reshape", empty, inputs=("x", "s"), constants=[ints("s", [3, 1])]), INVALID,
               dims=made_up(empty))
    for op in ("GlobalAveragePool", "GlobalMaxPool", "MaxPool", "AveragePool", "InstanceNormalization", "LRN"):
        more = [a_ints("kernel_shape", [2, 2])] if op in ("MaxPool", "AveragePool") else []
        more += [a_int("size", 3)] if op == "LRN" else []
        constants = [floats("s", [4], [1.0] * 4)] if op == "InstanceNormalization" else []
        inputs = ("x", "s", "s") if constants else ("x",)
        for dims in ([0, 4, 5, 5], [1, 4, 0, 5]):
            body = model(graph([node(op, list(inputs), ["y"], *more)], [value("x", ["a", 4, "b", 5])], Y, constants))
            yield Case(body, "OK INVALID_ARGUMENT", dims=made_up(dims))
    for weight in ([3, 0], [0, 3]):
        body = model(graph([node("MatMul", ["x", "w"], ["y"])], [value("x", ["n", weight[0]])] if weight[0] else
                           [value("x", ["n", "k"])], Y, [tensor("w", weight, FLOAT, b"")]))
        yield Case(body, OK, dims=f"2x{weight[0]}")
    yield Case(one_node("Reshape", ["x", "s"], a_int("allowzero", 1), constants=[ints("s", [0, -1])]), INVALID)


@family
def inputs_of_a_run():
    """The model is right, what it is run on is not."""
    body = model(graph([node("MatMul", ["x", "w"], ["y"])], [value("x", ["n", 3])], Y,
                       [floats("w", [3, 2], [1.0] * 6)]))
    yield Case(body, OK, dims="4x3")
    for dims in ("4x4", "4", "4x3x1", "3x4x3", "4x0", "4x2", "4x1x3", "4x3x3x3", "2x", "1x1x1x1x1x1x3"):
        yield Case(body, INVALID, dims="!" + dims)
    # Sizes computed by the model out of what it is given.
    for op, code, sizes in (("Reshape", INVALID, (-2, 7, 2 ** 40, -2 ** 63, 2 ** 63 - 1)),
                            ("Expand", "INVALID_ARGUMENT LIMIT", (-1, 2 ** 40, 2 ** 62, -2 ** 63, 2 ** 63 - 1)),
                            ("Tile", "INVALID_ARGUMENT LIMIT", (-1, 2 ** 40, 2 ** 62, -2 ** 63, 2 ** 63 - 1)),
                            ("ConstantOfShape", "INVALID_ARGUMENT LIMIT", (-1, 2 ** 40, 2 ** 62, 2 ** 63 - 1))):
        for size in sizes:
            inputs = ["s"] if op == "ConstantOfShape" else ["x", "s"]
            given = [value("x", [1, 3]), value("s", [2], INT64)]
            yield Case(model(graph([node(op, inputs, ["y"])], given, Y)), code, fill=size)


@family
def ranges():
    def range_of(start, limit, delta, kind="q", dtype=INT64):
        return model(graph([node("Range", ["a", "b", "c"], ["y"])], X, Y,
                           [tensor(n, [], dtype, pack(kind, [v])) for n, v in
                            (("a", start), ("b", limit), ("c", delta))]))

    yield Case(range_of(0, 10, 3), OK)
    yield Case(range_of(2 ** 63 - 1, -2 ** 63, 1), OK)  # empty
    yield Case(range_of(-2 ** 63, 2 ** 63 - 1, 2 ** 60 + 1), OK)  # steps that no int64 can hold
    yield Case(range_of(0, 10, 0), INVALID)
    yield Case(range_of(0.0, 10.0, 0.0, "f", FLOAT), INVALID)
    for start, limit, delta in ((0, 2 ** 62, 1), (-2 ** 63, 2 ** 63 - 1, 1), (2 ** 63 - 1, -2 ** 63, -1),
                                (0, 2 ** 40, 1), (0, -2 ** 50, -1)):
        yield Case(range_of(start, limit, delta), "LIMIT INVALID_ARGUMENT")
    nan, inf = float("nan"), float("inf")
    for start, limit, delta in ((0, inf, 1), (nan, 1, 1), (0, nan, 1), (0, 1, nan), (0, 1e30, 1e-30), (-inf, 0, 1)):
        yield Case(range_of(float(start), float(limit), float(delta), "f", FLOAT),
                   "LIMIT INVALID_ARGUMENT OK" if delta != delta or start != start or limit != limit
                   else "LIMIT INVALID_ARGUMENT")


@family
def resizes():
    def resize(scales=None, sizes=None, *more):
        constants = [floats("scales", [len(scales)], scales)] if scales is not None else []
        constants += [ints("sizes", sizes)] if sizes is not None else []
        inputs = ["x", "", "scales" if scales is not None else "", *(["sizes"] if sizes is not None else [])]
        return image_node("Resize", *more, inputs=inputs, constants=constants)

    yield Case(resize([1, 1, 2, 2]), OK)
    nan, inf = float("nan"), float("inf")
    for scales in ([1, 1], [1, 1, 0, 1], [1, 1, -1, 1], [1, 1, nan, 1], [1, 1, inf, 1], [1] * 5, [1, 1, -inf, 1]):
        yield Case(resize(scales), INVALID)
    for scales in ([1, 1, 1e30, 1], [1e9, 1e9, 1e9, 1e9]):
        yield Case(resize(scales), "INVALID_ARGUMENT LIMIT")
    for sizes in ([1, 4, -1, 5], [1, 4, 5], [1, 4, 5, 5, 5], [1, 4, -2 ** 63, 5]):
        yield Case(resize(None, sizes), INVALID)
    for sizes in ([1, 4, 2 ** 40, 5], [1, 4, 2 ** 62, 5], [1, 4, 2 ** 63 - 1, 2 ** 63 - 1]):
        yield Case(resize(None, sizes), "INVALID_ARGUMENT LIMIT")
    yield Case(resize(), INVALID)
    yield Case(resize([1, 1, 2, 2], [1, 4, 10, 10]), OK)  # sizes hold
    yield Case(resize([1, 1, 2, 2], None, a_text("mode", "nosuch")), "INVALID_ARGUMENT UNSUPPORTED")


@family
def paddings():
    def pad(pads, *more, constants=()):
        return one_node("Pad", ["x", "p"], *more, constants=[ints("p", pads), *constants])

    yield Case(pad([1, 1, 1, 1]), OK)
    for pads in ([1], [1, 1, 1], [1] * 5, [-3, 0, 0, 0], [-2, 0, -2, 0], [0, -2 ** 63, 0, 0]):
        yield Case(pad(pads), INVALID)
    for pads in ([2 ** 40, 0, 0, 0], [2 ** 62, 0, 2 ** 62, 0], [2 ** 63 - 1] * 4, [0, 0, 0, 2 ** 63 - 1]):
        yield Case(pad(pads), "INVALID_ARGUMENT LIMIT")
    yield Case(pad([3, 0, 0, 0], a_text("mode", "reflect")), INVALID)
    yield Case(pad([1, 0, 0, 0], a_text("mode", "nosuch")), "INVALID_ARGUMENT UNSUPPORTED")
    yield Case(pad([2 ** 40, 0, 0, 0], a_text("mode", "reflect")), "INVALID_ARGUMENT LIMIT")
