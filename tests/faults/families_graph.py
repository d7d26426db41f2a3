"""Families of malformed models: the file is sound, the graph in it is not."""

from cases import INVALID, LIMIT, OK, UNSUPPORTED, Case, family
from families_file import one_node, relu
from wire import *  # pylint: disable=wildcard-import,unused-wildcard-import

X = [value("x", [2, 3])]
Y = [value("y")]


def chain(pairs, outputs=("y",), constants=(), inputs=None):
    """Relu nodes from (input, output) pairs."""
    return model(graph([node("Relu", [a], [b]) for a, b in pairs], X if inputs is None else inputs,
                       [value(name) for name in outputs], constants))


@family
def cycles():
    # Order does not matter, so what looks backwards is no cycle.
    yield Case(chain([("b", "y"), ("a", "b"), ("x", "a")]), OK)
    for length in range(1, 9):
        ring = [(f"n{i}", f"n{(i + 1) % length}") for i in range(length)]
        yield Case(chain(ring + [("n0", "y")]), INVALID)
        yield Case(chain(ring + [("x", "y")]), INVALID)  # not needed by any output
    body = graph([node("Add", ["x", "z"], ["t"])], [], [value("t")])
    yield Case(model(graph([node("If", ["c"], ["z"], a_graph("then_branch", body),
                                 a_graph("else_branch", body)), node("Relu", ["z"], ["y"])],
                           X + [value("c", [], BOOL)], Y)), INVALID)
    yield Case(chain([(f"n{i}", f"n{i + 1}") for i in range(5000)] + [("n5000", "n0"), ("x", "y")]), INVALID)
    yield Case(model(graph([node("Add", ["y", "x"], ["y"])], X, Y)), INVALID)


@family
def duplicates():
    yield Case(chain([("x", "a"), ("a", "y")]), OK)
    w = floats("w", [1], [1.0])
    yield Case(chain([("x", "y"), ("x", "y")]), INVALID)
    yield Case(chain([("x", "a"), ("a", "y"), ("x", "a")]), INVALID)
    yield Case(chain([("x", "x")]), INVALID)
    yield Case(chain([("w", "w")], constants=[w]), INVALID)
    yield Case(chain([("x", "y")], constants=[w, w]), INVALID)
    yield Case(chain([("x", "y")], inputs=X + X), INVALID)
    yield Case(chain([("x", "w")], ("w",), constants=[w]), INVALID)
    yield Case(model(graph([node("Split", ["x"], ["y", "y"], a_int("axis", 1), a_int("num_outputs", 2))],
                           X, Y), [opset(18)]), INVALID)
    yield Case(model(graph([node("Relu", ["x"], ["y"], a_int("a", 1), a_int("a", 2))], X, Y)), INVALID)
    twice = function("F", ["p"], ["q"], [node("Relu", ["p"], ["q"])])
    call = graph([node("F", ["x"], ["y"], domain="f")], X, Y)
    yield Case(model(call, [opset(17), opset(1, "f")], [twice, twice]), INVALID)
    inside = function("F", ["p"], ["q"], [node("Relu", ["p"], ["q"]), node("Relu", ["p"], ["q"])])
    yield Case(model(call, [opset(17), opset(1, "f")], [inside]), INVALID)
    same = function("F", ["p", "p"], ["q"], [node("Relu", ["p"], ["q"])])
    yield Case(model(call, [opset(17), opset(1, "f")], [same]), INVALID)


@family
def missing():
    yield Case(chain([("x", "y")]), OK)
    for pairs in ([("nothing", "y")], [("x", "a")], [("a", "y"), ("b", "a")], [("", "y")]):
        yield Case(chain(pairs), INVALID)
    yield Case(model(graph([node("Relu", ["x"], [""])], X, Y)), INVALID)
    yield Case(model(graph([node("Relu", ["x"], [])], X, Y)), INVALID)
    yield Case(model(graph([node("Relu", ["x"], ["y"])], [field(2, b"")], Y)), INVALID)
    yield Case(model(graph([node("Relu", ["x"], ["y"])], X, [field(2, b"")])), INVALID)
    yield Case(model(graph([node("Relu", ["x"], ["y"])], X, [value("")])), INVALID)
    yield Case(model(graph([node("Relu", ["x"], ["y"])], [value("")], Y)), INVALID)
    yield Case(model(graph([node("Relu", ["x"], ["y"])], X, Y, [tensor("", [1], FLOAT, b"\0" * 4)])), INVALID)
    yield Case(model(graph([node("Relu", ["x"], ["y"])], [value("x", dtype=None)], Y)), INVALID)
    yield Case(model(graph([], X, Y)), INVALID)
    # A graph that gives nothing is of no use, and no error either: a branch may be one.
    yield Case(model(graph([node("Relu", ["x"], ["y"])], X, [])), OK)
    yield Case(model(b""), OK)
    yield Case(model(graph([node("Reshape", ["x", "s"], ["y"])], X, Y)), INVALID)


@family
def input_counts():
    yield Case(one_node("Clip", ["x", "", ""]), OK)
    for op, inputs in (("Relu", []), ("Relu", ["x", "x"]), ("Relu", ["x"] * 100), ("Add", ["x"]),
                       ("Add", ["x", "x", "x"]), ("MatMul", ["x"]), ("MatMul", []), ("Where", ["x", "x"]),
                       ("Gather", ["x"]), ("Concat", []), ("Slice", ["x"]), ("Reshape", ["x"]),
                       ("Conv", ["x"]), ("Gemm", ["x"]), ("Sum", []), ("Max", []), ("LSTM", ["x"]),
                       ("BatchNormalization", ["x"]), ("Relu", [""]), ("Add", ["x", ""]),
                       ("Add", ["", "x"]), ("Gather", ["", "x"]), ("Transpose", []), ("Softmax", []),
                       ("If", []), ("Range", ["x"]), ("Pad", ["x"]), ("Tile", ["x"]), ("Expand", ["x"])):
        attributes = [a_int("axis", 0)] if op == "Concat" else []
        yield Case(one_node(op, inputs, *attributes), INVALID)
    for outputs in ([], ["y", "z"], ["y", "z", "w"], ["y"] + [""] * 40):
        surplus = model(graph([node("Relu", ["x"], outputs)], X, Y))
        yield Case(surplus, INVALID if outputs[1:2] != [""] else OK)


@family
def shape_contradictions():
    yield Case(one_node("MatMul", ["x", "w"], constants=[floats("w", [3, 2], [0.0] * 6)]), OK)
    for op, dims in (("MatMul", [2, 2]), ("MatMul", [4]), ("Add", [4]), ("Add", [3, 3]), ("Mul", [5, 1, 2]),
                     ("Gemm", [2, 2]), ("Gemm", [3]), ("Sub", [2, 2]), ("Div", [7]), ("Pow", [2]),
                     ("PRelu", [4]), ("Min", [4, 3]), ("Greater", [2, 4])):
        count = 1
        for dim in dims:
            count *= dim
        yield Case(one_node(op, ["x", "w"], constants=[floats("w", dims, [1.0] * count)]), INVALID)
    for sizes in ([4], [7, -1], [-1, -1], [-2], [-1, 4], [2 ** 40, -1], [0, 0, 7], [2 ** 62, 4]):
        yield Case(one_node("Reshape", ["x", "s"], constants=[ints("s", sizes)]), INVALID)
    for sizes in ([4], [3, 3], [2, 4], [2, 3, 5], [-1]):
        yield Case(one_node("Expand", ["x", "s"], constants=[ints("s", sizes)]), INVALID)
    # Files often declare outputs otherwise than they come out; only what comes out counts.
    for dims in ([2, 4], [3], [2], [2, 3, 1]):
        yield Case(one_node("Relu", ["x"], out=dims), OK)
    yield Case(one_node("Concat", ["x", "w"], a_int("axis", 0), constants=[floats("w", [2], [1.0] * 2)]), INVALID)
    yield Case(one_node("Concat", ["x", "w"], a_int("axis", 0),
                        constants=[floats("w", [1, 2], [1.0] * 2)]), INVALID)


@family
def branches():
    def if_model(then_branch, else_branch, outputs=("y",), condition=None):
        attributes = [a_graph(name, body) for name, body in
                      (("then_branch", then_branch), ("else_branch", else_branch)) if body is not None]
        return model(graph([node("If", ["c"], list(outputs), *attributes)],
                           X + [condition or value("c", [], BOOL)], Y))

    one = graph([node("Relu", ["x"], ["a"])], [], [value("a")], name="one")
    two = graph([node("Relu", ["x"], ["a"]), node("Abs", ["x"], ["b"])], [], [value("a"), value("b")])
    none = graph([], [], [])
    yield Case(if_model(one, one), OK)
    for pair in ((None, one), (one, None), (None, None), (one, two), (two, one), (none, none), (two, two),
                 (one, none)):
        yield Case(if_model(*pair), INVALID)
    takes = graph([node("Relu", ["p"], ["a"])], [value("p", [2, 3])], [value("a")])
    yield Case(if_model(takes, takes), INVALID)
    yield Case(if_model(one, graph([node("Relu", ["nowhere"], ["a"])], [], [value("a")])), INVALID)
    yield Case(if_model(one, graph([node("Relu", ["x"], ["x"])], [], [value("x")])), INVALID)
    yield Case(if_model(one, graph([node("Relu", ["y"], ["a"])], [], [value("a")])), INVALID)
    yield Case(if_model(one, graph([node("Cast", ["x"], ["a"], a_int("to", INT64))], [], [value("a")])), INVALID)
    yield Case(if_model(one, one, condition=value("c", [], FLOAT)), INVALID)
    yield Case(if_model(one, one, condition=value("c", [2], BOOL)), INVALID)
    yield Case(if_model(b"\x0a\xff\xff", one), INVALID)
    # A name of a branch is not seen outside of it.
    outside = graph([node("If", ["c"], ["z"], a_graph("then_branch", one), a_graph("else_branch", one)),
                     node("Relu", ["a"], ["y"])], X + [value("c", [], BOOL)], Y)
    yield Case(model(outside), INVALID)


def _nested(depth, leaf):
    body = leaf
    for level in range(depth):
        body = graph([node("If", ["c"], [f"t{level}"], a_graph("then_branch", body),
                           a_graph("else_branch", leaf))], [], [value(f"t{level}")])
    return body


@family
def deep_branches():
    leaf = graph([node("Relu", ["x"], ["a"])], [], [value("a")])

    def nested(depth):
        return model(graph([node("If", ["c"], ["y"], a_graph("then_branch", _nested(depth - 1, leaf)),
                                 a_graph("else_branch", leaf))], X + [value("c", [], BOOL)], Y))

    yield Case(nested(30), OK)
    for depth in (33, 34, 35, 40, 50, 64, 100, 200, 400, 800, 1500):
        yield Case(nested(depth), LIMIT)


@family
def deep_messages():
    yield Case(relu(), OK)
    # Nested so deep that a reader that calls itself would leave its stack.
    for depth in (120, 500, 1000, 2000, 3000, 4000):
        body = b""
        for _ in range(depth):
            body = field(1, field(4, "If") + field(5, field(1, "then_branch") + field(6, body) + field(20, 5)))
        yield Case(model(body), "LIMIT INVALID_ARGUMENT")
        deep = b""
        for _ in range(depth):
            deep = field(7, deep)  # a field that the graph does not know: skipped, never opened
        yield Case(model(graph([node("Relu", ["x"], ["y"])], X, Y, more=deep)), OK)


@family
def functions():
    def with_functions(bodies, first="F0", opsets=(opset(17), opset(1, "f"))):
        return model(graph([node(first, ["x"], ["y"], domain="f")], X, Y), opsets, bodies)

    def calls(name, *others):
        nodes, last = [], "p"
        for i, other in enumerate(others):
            nodes.append(node(other, [last], [f"v{i}"], domain="f"))
            last = f"v{i}"
        return function(name, ["p"], [last], nodes)

    leaf = function("L", ["p"], ["q"], [node("Relu", ["p"], ["q"])])
    yield Case(with_functions([leaf], "L"), OK)
    yield Case(with_functions([calls("F0", "F0")]), LIMIT)
    yield Case(with_functions([calls("F0", "F1"), calls("F1", "F0")]), LIMIT)
    yield Case(with_functions([calls("F0", "F1"), calls("F1", "F2"), calls("F2", "F0")]), LIMIT)
    yield Case(with_functions([calls("F0", "F1")]), UNSUPPORTED)
    for length in (33, 40, 100, 300):  # one calls the next
        row = [calls(f"F{i}", f"F{i + 1}") for i in range(length)]
        yield Case(with_functions(row + [function(f"F{length}", ["p"], ["q"], [node("Relu", ["p"], ["q"])])]),
                   LIMIT)
    for width in (2, 3, 10, 50):  # each calls the next that often: nodes grow like a power
        row = [calls(f"F{i}", *([f"F{i + 1}"] * width)) for i in range(28)]
        yield Case(with_functions(row + [function("F28", ["p"], ["q"], [node("Relu", ["p"], ["q"])])]), LIMIT)
    yield Case(with_functions([function("F0", ["p"], ["q"], [])]), INVALID)
    yield Case(with_functions([function("F0", [], ["q"], [node("Relu", ["p"], ["q"])])]), INVALID)
    yield Case(with_functions([function("F0", ["p"], [], [node("Relu", ["p"], ["q"])])]), INVALID)
    yield Case(with_functions([function("F0", ["p"], ["q"], [node("Relu", ["x"], ["q"])])]), INVALID)
    yield Case(with_functions([function("F0", ["p"], ["q"], [node("Relu", ["p"], ["q"])], opsets=[])]),
               "UNSUPPORTED INVALID_ARGUMENT")
    yield Case(with_functions([b"\xff\xff"]), INVALID)


@family
def unsupported_control():
    yield Case(relu(), OK)
    body = graph([node("Identity", ["c0"], ["c1"])], [value("i", [], INT64), value("c0", [], BOOL)],
                 [value("c1", [], BOOL)])
    trips = [ints("m", [2 ** 62], []), tensor("t", [], BOOL, b"\1")]
    yield Case(model(graph([node("Loop", ["m", "t"], [], a_graph("body", body)), node("Relu", ["x"], ["y"])],
                           X, Y, trips)), UNSUPPORTED)
    for op in ("Loop", "Scan", "SequenceMap", "SequenceAt", "SequenceEmpty", "SplitToSequence", "StringNormalizer",
               "RandomNormal", "Optional", "TfIdfVectorizer", "ConcatFromSequence", "Bernoulli"):
        yield Case(one_node(op, ["x"]), UNSUPPORTED)


@family
def many():
    """More of a thing than anybody needs: refused, or done in time that grows with the file."""
    yield Case(chain([("x", "n0")] + [(f"n{i}", f"n{i + 1}") for i in range(20)] + [("n20", "y")]), OK)
    attributes = [a_int(f"a{i}", i) for i in range(1001)]
    yield Case(one_node("Relu", ["x"], *attributes), LIMIT)
    yield Case(one_node("Relu", ["x"], *([a_int("a", 1)] * 5000)), LIMIT)
    yield Case(one_node("Concat", ["x"] * 70000, a_int("axis", 0)), LIMIT)
    yield Case(one_node("Sum", ["x"] * 70000), LIMIT)
    yield Case(one_node("Sum", ["x"] * 8000), OK)
    yield Case(model(graph([node("Split", ["x"], [f"o{i}" for i in range(70000)])], X, [value("o1")])),
               LIMIT)
    yield Case(chain([("x", "y")] + [("x", f"n{i}") for i in range(3000)]), OK)
    # Nodes that simplifying merges one by one.
    turned = [node("Transpose", [f"t{i}" if i else "x"], [f"t{i + 1}"]) for i in range(1200)]
    yield Case(model(graph(turned, X, [value("t1200")])), OK)
    yield Case(chain([("x", "y")], ["y"] * 3000), "OK INVALID_ARGUMENT LIMIT")
    yield Case(chain([("x", "y")], inputs=[value(f"i{i}", [1]) for i in range(3000)] + X), OK)
    yield Case(chain([("x", "y")], inputs=X + [value(f"i{i}", [1]) for i in range(8192)]), LIMIT)
    named = [value(f"i{i}", [f"n{i}_{d}" for d in range(16)]) for i in range(500)]
    yield Case(chain([("x", "y")], inputs=X + named), OK)
    yield Case(chain([("x", "y")], ["y"] * 8193), LIMIT)
    yield Case(model(graph([node("Relu", ["x"], ["y"])], X, Y), [opset(17)] * 3000), INVALID)
    yield Case(one_node("Transpose", ["x"], a_ints("perm", range(100000))), INVALID)
    yield Case(one_node("Reshape", ["x", "s"], constants=[ints("s", [1] * 100000)]), "LIMIT INVALID_ARGUMENT")
