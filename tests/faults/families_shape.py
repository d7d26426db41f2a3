"""Families of models that compute sizes out of sizes: known, open, zero, negative and overflowing ones."""

from cases import OK, Case, family
from wire import *  # pylint: disable=wildcard-import,unused-wildcard-import

ANY = "OK INVALID_ARGUMENT LIMIT UNSUPPORTED"
BIG = (0, 1, -1, 2, 3, 7, 2 ** 31, -2 ** 31, 2 ** 62, 2 ** 63 - 1, -2 ** 63)
Y = [value("y")]


def sized(nodes, constants=(), dims=("n", "m")):
    """x [n, m]; `nodes` compute "size", one number or a few; y is filled to that size."""
    before = [node("Shape", ["x"], ["shape"]), node("Gather", ["shape", "first"], ["n"]),
              node("Gather", ["shape", "second"], ["m"])]
    after = [node("ConstantOfShape", ["size"], ["y"])]
    given = [ints("first", [0]), ints("second", [1]), *constants]
    return model(graph([*before, *nodes, *after], [value("x", list(dims))], Y, given))


@family
def sizes_by_arithmetic():
    yield Case(sized([node("Mul", ["n", "m"], ["size"])]), OK, dims="2x3")
    for op in ("Add", "Sub", "Mul", "Div", "Mod", "Min", "Max", "Pow"):
        for number in BIG:
            constant = [ints("c", [number])]
            yield Case(sized([node(op, ["n", "c"], ["size"])], constant), ANY, dims="2x3")
            yield Case(sized([node(op, ["c", "n"], ["size"])], constant), ANY, dims="2x3")
            yield Case(sized([node(op, ["n", "c"], ["size"])], constant, (4, 5)), ANY)
        yield Case(sized([node(op, ["n", "m"], ["size"])]), ANY, dims="2x3")
        yield Case(sized([node(op, ["n", "n"], ["size"])]), ANY, dims="2x3")
        yield Case(sized([node(op, ["n", "m"], ["p"]), node(op, ["p", "m"], ["size"])], (), (4, 5)), ANY)
    for op in ("Neg", "Abs", "Sign", "Identity", "Relu"):
        yield Case(sized([node(op, ["n"], ["size"])]), ANY, dims="2x3")
        yield Case(sized([node(op, ["n"], ["size"])], (), (4, 5)), ANY)


@family
def sizes_by_choice():
    yield Case(sized([node("Concat", ["n", "m"], ["size"], a_int("axis", 0))]), OK, dims="2x3")
    for op in ("Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"):
        for number in BIG:
            for dims in (("n", "m"), (2, 3)):
                body = sized([node(op, ["n", "c"], ["b"]), node("Where", ["b", "n", "c"], ["size"])],
                             [ints("c", [number])], dims)
                yield Case(body, ANY, dims="2x3")
    for to in (INT32, INT64, BOOL, FLOAT, DOUBLE, INT8):
        for dims in (("n", "m"), (2, 3), (300, 2)):
            body = sized([node("Cast", ["n"], ["k"], a_int("to", to)), node("Cast", ["k"], ["size"], a_int("to",
                      INT64))],
                         (), dims)
            yield Case(body, ANY, dims="2x3")
    for op in ("And", "Or", "Xor"):
        body = sized([node("Equal", ["n", "m"], ["b"]), node(op, ["b", "b"], ["c"]), node("Not", ["c"], ["d"]),
                      node("Where", ["d", "n", "m"], ["size"])])
        yield Case(body, ANY, dims="2x3")
    for least, most in ((0, 5), (5, 0), (-2 ** 63, 2 ** 63 - 1)):
        body = sized([node("Clip", ["n", "least", "most"], ["size"])],
                     [ints("least", [least], []), ints("most", [most], [])])
        yield Case(body, ANY, dims="2x3")


@family
def sizes_by_movement():
    yield Case(sized([node("Slice", ["shape", "a", "b"], ["size"])], [ints("a", [0]), ints("b", [1])]), OK,
              dims="2x3")
    for start in (0, 1, -1, -2, 5, -2 ** 63):
        for end in (0, 1, 2, -1, 2 ** 63 - 1):
            for step in (1, -1, 2, -2 ** 62):
                constants = [ints("a", [start]), ints("b", [end]), ints("axes", [0]), ints("s", [step])]
                for dims in (("n", "m"), (2, 3)):
                    yield Case(sized([node("Slice", ["shape", "a", "b", "axes", "s"], ["size"])], constants, dims),
                               ANY, dims="2x3")
    for index in ([0], [1], [-1], [2], [0, 1, 0], []):
        yield Case(sized([node("Gather", ["shape", "i"], ["size"])], [ints("i", index)]), ANY, dims="2x3")
        yield Case(sized([node("GatherElements", ["shape", "i"], ["size"])], [ints("i", index)]), ANY, dims="2x3")
    for times in (0, 1, 2, 40, -1):
        yield Case(sized([node("Tile", ["n", "t"], ["size"])], [ints("t", [times])]), ANY, dims="2x3")
        yield Case(sized([node("Expand", ["n", "t"], ["size"])], [ints("t", [times])]), ANY, dims="2x3")
        yield Case(sized([node("Pad", ["n", "t"], ["size"])], [ints("t", [times, 0])]), ANY, dims="2x3")
    chain = [node("Unsqueeze", ["n", "z"], ["u"]), node("Squeeze", ["u", "z"], ["v"]), node("Reshape", ["v",
              "one"], ["w"]),
             node("Flatten", ["w"], ["f"], a_int("axis", 0)), node("Squeeze", ["f", "z"], ["size"])]
    yield Case(sized(chain, [ints("z", [0]), ints("one", [-1])]), ANY, dims="2x3")
    parts = [node("Split", ["shape"], ["p", "q"], a_int("axis", 0)), node("Concat", ["q", "p"], ["size"],
              a_int("axis", 0))]
    yield Case(sized(parts), ANY, dims="2x3")


@family
def sizes_by_reduction():
    yield Case(sized([node("ReduceProd", ["shape"], ["size"], a_int("keepdims", 1))]), OK, dims="2x3")
    for op in ("ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceMean", "ReduceL1", "ReduceSumSquare",
              "ArgMax"):
        for keep in (0, 1, 5, -1):
            for dims in (("n", "m"), (2, 3), (2 ** 20, 2 ** 20)):
                body = sized([node(op, ["shape"], ["r"], a_int("keepdims", keep)), node("Reshape", ["r", "one"],
                          ["size"])],
                             [ints("one", [1])], dims)
                yield Case(body, ANY, dims="2x3")
    for exclusive in (0, 1):
        body = sized([node("CumSum", ["shape", "axis"], ["size"], a_int("exclusive", exclusive))], [ints("axis",
                  [0], [])])
        yield Case(body, ANY, dims="2x3")
    for start in (-3, -1, 0, 1, 2, 9):
        body = model(graph([node("Shape", ["x"], ["size"], a_int("start", start), a_int("end", start + 1)),
                            node("ConstantOfShape", ["size"], ["y"])], [value("x", ["n", "m"])], Y))
        yield Case(body, ANY, dims="2x3")


@family
def reductions():
    def reduce(op, axes, keep=1, noop=0, dims=(2, 3), known=True):
        attributes = [a_int("keepdims", keep), a_int("noop_with_empty_axes", noop)]
        inputs = [value("x", list(dims))] + ([] if known else [value("a", [len(axes)], INT64)])
        body = graph([node(op, ["x", "a"], ["y"], *attributes)], inputs, Y, [ints("a", axes)] if known else [])
        return model(body, [opset(18)])

    yield Case(reduce("ReduceSum", [0]), OK)
    for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
              "ReduceLogSum",
               "ReduceLogSumExp", "ReduceSumSquare"):
        for axes in ([0], [1], [0, 1], [], [-1], [-3], [2], [0, 0]):
            yield Case(reduce(op, axes, 0), ANY)
            yield Case(reduce(op, axes, 1, 1), ANY)
            yield Case(reduce(op, axes, 1, 0, ("n", "m"), False), ANY, fill=len(axes) % 2, dims="2x3")
