"""Families of models: operators in the forms that they had in older opsets, sound and bent, and fields
that few files have."""

import struct

from cases import INVALID, OK, UNSUPPORTED, Case, family
from wire import *  # pylint: disable=wildcard-import,unused-wildcard-import

BFLOAT16 = 16
YES = tensor("m", [], BOOL, b"\1")
NO = tensor("m", [], BOOL, b"\0")
WEIGHTS = floats("w", [2, 2, 3], [0.5] * 12)


def old(version, op, *attributes, inputs=("x",), outputs=("y",), dims=(2, 3), dtype=FLOAT, constants=(),
        more_inputs=(), before=(), after=()):
    """One node of that opset; x is of `dims`. before, after: further nodes."""
    body = graph([*before, node(op, list(inputs), list(outputs), *attributes), *after],
                 [value("x", list(dims), dtype), *more_inputs], [value(n) for n in outputs if n][:1] or [value("x")],
                 constants)
    return model(body, [opset(version)])


def late(name):
    """A value whose element type is not known yet when a node reads it: its node comes later."""
    return {"inputs": (name,), "after": [node("Relu", ["x"], [name])]}


NONSENSE = a_int("nonsense", 1)


@family
def old_clip():
    yield Case(old(7, "Clip", a_float("min", -1.0), a_float("max", 0.25)), OK)
    for number in (1e10, -1e10, float("inf"), float("nan"), 6e-8, 1.5 / 2 ** 24, 2.5 / 2 ** 24, 1.7 / 2 ** 24, 1e-30):
        for dtype in (FLOAT16, DOUBLE, BFLOAT16):
            yield Case(old(10, "Clip", a_float("max", number), dtype=dtype), "OK UNSUPPORTED")
    yield Case(old(7, "Clip", a_float("min", 0.0), **late("late")), OK)
    yield Case(old(7, "Clip", a_float("min", 0.0), dtype=INT32), UNSUPPORTED)
    for wrong in (a_int("min", 0), a_text("max", "1"), NONSENSE):
        yield Case(old(7, "Clip", wrong), INVALID)
    yield Case(old(7, "Clip", inputs=("x", "x")), INVALID)
    low, high = floats("l", [], [-1.0]), floats("h", [], [1.0])
    for names in (("x",), ("x", "l"), ("x", "", "h"), ("x", "l", "h")):
        yield Case(old(13, "Clip", inputs=names, constants=[low, high]), OK)
    whole = [tensor("l", [], INT32, b"\0" * 4), tensor("h", [], INT32, b"\3" + b"\0" * 3)]
    for names in (("x", "l"), ("x", "", "h")):
        yield Case(old(13, "Clip", inputs=names, constants=whole, dtype=INT32), OK)
    yield Case(old(13, "Clip", inputs=("late", "bound"), after=[node("Relu", ["x"], ["late"]),
                                                                node("Relu", ["l"], ["bound"])], constants=[low]), OK)
    yield Case(old(13, "Clip", inputs=("x", "bound"), after=[node("Relu", ["l"], ["bound"])], constants=[low]), OK)
    yield Case(old(13, "Clip", inputs=("x", "l", "h", "h"), constants=[low, high]), INVALID)
    yield Case(old(13, "Clip", NONSENSE), INVALID)
    yield Case(old(13, "Clip", outputs=()), INVALID)
    yield Case(old(13, "Clip", outputs=("",)), INVALID)
    yield Case(old(13, "Clip", outputs=("y", "z")), INVALID)
    yield Case(old(13, "Clip", inputs=("", "l"), constants=[low]), INVALID)


@family
def old_chains():
    yield Case(old(8, "Mean", inputs=("x", "x", "x")), OK)
    for op in ("Sum", "Max", "Min", "Mean"):
        for count in (1, 2, 5):
            yield Case(old(13, op, inputs=("x",) * count), OK)
        yield Case(old(13, op, NONSENSE), INVALID)
        yield Case(old(13, op, outputs=()), INVALID)
        yield Case(old(13, op, outputs=("y", "z")), INVALID)
        yield Case(old(13, op, inputs=()), INVALID)
        yield Case(old(13, op, inputs=("x", "", "x")), INVALID)
    yield Case(old(13, "Mean", inputs=("x", "x"), dtype=INT32), UNSUPPORTED)
    yield Case(old(13, "Mean", inputs=("late", "x"), after=[node("Relu", ["x"], ["late"])]), OK)


@family
def old_casts():
    yield Case(old(15, "CastLike", inputs=("x", "w"), constants=[ints("w", [1])]), OK)
    yield Case(old(15, "CastLike", inputs=("x", "late"), after=[node("Relu", ["x"], ["late"])]), UNSUPPORTED)
    yield Case(old(15, "CastLike", inputs=("x",)), UNSUPPORTED)
    yield Case(old(15, "CastLike", NONSENSE, inputs=("x", "x")), INVALID)
    yield Case(old(13, "Cast", NONSENSE, a_int("to", FLOAT)), INVALID)
    yield Case(old(13, "Cast", a_int("to", FLOAT), inputs=("x", "x")), INVALID)
    for form, code in (("none", OK), ("tanh", OK), ("wide", INVALID), ("", INVALID)):
        yield Case(old(20, "Gelu", a_text("approximate", form)), code)
    yield Case(old(20, "Gelu"), OK)
    yield Case(old(20, "Gelu", a_int("approximate", 1)), INVALID)
    yield Case(old(20, "Gelu", NONSENSE), INVALID)
    yield Case(old(19, "Gelu"), UNSUPPORTED)
    yield Case(old(12, "Softmax", a_int("coerce", 0)), INVALID)
    yield Case(old(13, "Shape", a_int("start", 0)), INVALID)


@family
def old_training():
    yield Case(old(7, "Dropout", a_float("ratio", 0.5)), OK)
    for version in (7, 9, 10, 11):
        yield Case(old(version, "Dropout", outputs=("y", "k")), OK)
        yield Case(old(version, "Dropout", outputs=("", "k")), OK)
        yield Case(old(version, "Dropout", outputs=("y", "")), OK)
    yield Case(old(9, "Dropout", outputs=("y", "k"), dtype=INT32), UNSUPPORTED)
    yield Case(old(12, "Dropout", inputs=("x", "", "m"), outputs=("y", "k"), constants=[NO]), OK)
    for mode in (YES, tensor("m", [2], BOOL, b"\0\0"), ints("m", [0], [])):
        yield Case(old(12, "Dropout", inputs=("x", "", "m"), outputs=("y", "k"), constants=[mode]), UNSUPPORTED)
    yield Case(old(12, "Dropout", inputs=("x", "", "m"), more_inputs=[value("m", [], BOOL)]), UNSUPPORTED)
    yield Case(old(12, "Dropout", outputs=("y", "k", "l")), INVALID)
    yield Case(old(12, "Dropout", outputs=()), INVALID)
    yield Case(old(12, "Dropout", inputs=()), INVALID)
    yield Case(old(12, "Dropout", NONSENSE), INVALID)
    numbers = [floats(n, [3], [1.0] * 3) for n in "sbmv"]
    norm = {"inputs": ("x", "s", "b", "m", "v"), "constants": numbers, "dims": (2, 3, 4)}
    yield Case(old(7, "BatchNormalization", a_int("spatial", 1), **norm), OK)
    yield Case(old(7, "BatchNormalization", a_int("spatial", 0), **norm), UNSUPPORTED)
    yield Case(old(7, "BatchNormalization", a_float("spatial", 1.0), **norm), INVALID)
    yield Case(old(14, "BatchNormalization", a_int("training_mode", 1), **norm), UNSUPPORTED)
    yield Case(old(14, "BatchNormalization", a_float("training_mode", 1.0), **norm), INVALID)
    yield Case(old(14, "BatchNormalization", NONSENSE, **norm), INVALID)
    yield Case(old(9, "BatchNormalization", outputs=("y", "mean", "var"), **norm), OK)
    yield Case(old(9, "BatchNormalization", outputs=(), **norm), INVALID)


@family
def old_windows():
    window = {"inputs": ("x", "w"), "dims": (1, 2, 8)}
    fixed, given = {"constants": [WEIGHTS], **window}, {"more_inputs": [value("w", [2, 2, 3])], **window}
    yield Case(old(11, "Conv", **fixed), OK)
    for more in ((), (a_ints("strides", [2]),), (a_ints("dilations", [2]),), (a_ints("pads", [1, 1]),),
                 (a_ints("kernel_shape", [3]),)):
        yield Case(old(11, "Conv", *more, **given), OK)
        yield Case(old(11, "ConvTranspose", *more, **given), OK)
    yield Case(old(11, "Conv", NONSENSE, **fixed), INVALID)
    yield Case(old(11, "Conv", inputs=("x", ""), dims=(1, 2, 8)), INVALID)
    yield Case(old(11, "Conv", inputs=("x", "w"), constants=[floats("w", [2], [1.0, 1.0])]), INVALID)
    for op in ("MaxPool", "AveragePool"):
        yield Case(old(8, op, a_ints("kernel_shape", [2]), dims=(1, 2, 8)), OK)
        yield Case(old(8, op, a_ints("kernel_shape", [2]), NONSENSE, dims=(1, 2, 8)), INVALID)
        yield Case(old(8, op, dims=(1, 2, 8)), INVALID)
    weights = [floats("w", [1, 16, 3], [0.1] * 48), floats("r", [1, 16, 4], [0.1] * 64)]
    cell = {"inputs": ("x", "w", "r"), "dims": (5, 2, 3), "constants": weights}
    yield Case(old(7, "LSTM", **cell), OK)
    yield Case(old(7, "LSTM", a_int("hidden_size", 4), **cell), OK)
    yield Case(old(7, "LSTM", NONSENSE, **cell), INVALID)
    flat = {**cell, "constants": [weights[0], floats("r", [64], [0.1] * 64)]}
    yield Case(old(7, "LSTM", **flat), INVALID)
    yield Case(old(7, "LSTM", inputs=("x", "w"), dims=(5, 2, 3), constants=weights), INVALID)
    names = field(1, "activations") + fields(9, ["Sigmoid", "tanh", "Tanh"]) + field(20, 8)
    yield Case(old(7, "LSTM", names, **cell), OK)
    names = field(1, "activations") + fields(9, ["Relu"]) + field(20, 8)
    yield Case(old(7, "LSTM", names, **cell), UNSUPPORTED)


@family
def old_axes():
    yield Case(old(11, "Squeeze", a_ints("axes", [0]), dims=(1, 3)), OK)
    yield Case(old(11, "Unsqueeze", a_ints("axes", [0])), OK)
    yield Case(old(11, "Unsqueeze"), INVALID)
    for op in ("Squeeze", "Unsqueeze", "ReduceSum", "ReduceMax"):
        yield Case(old(11, op, a_int("axes", 0), dims=(1, 3)), INVALID)
        yield Case(old(11, op, a_ints("axes", [0]), NONSENSE, dims=(1, 3)), INVALID)
        yield Case(old(11, op, a_ints("axes", [0]), inputs=("x", "x"), dims=(1, 3)), INVALID)
        yield Case(old(11, op, field(1, "axes"), dims=(1, 3)), "OK INVALID_ARGUMENT")  # empty, of no type
    yield Case(old(11, "Split", a_ints("split", [1, 2]), a_int("axis", 1), outputs=("y", "z")), OK)
    yield Case(old(11, "Split", a_int("split", 1), outputs=("y", "z")), INVALID)
    yield Case(old(11, "Split", inputs=("x", "x"), outputs=("y", "z")), INVALID)
    yield Case(old(11, "Split", NONSENSE, outputs=("y", "z")), INVALID)
    yield Case(old(18, "Split", a_int("num_outputs", 2), outputs=("y", "z")), OK)
    yield Case(old(18, "Split", a_int("num_outputs", 3), outputs=("y", "z")), INVALID)
    starts, ends = a_ints("starts", [0]), a_ints("ends", [1])
    yield Case(old(9, "Slice", starts, ends), OK)
    yield Case(old(9, "Slice", starts, ends, a_ints("axes", [1])), OK)
    yield Case(old(9, "Slice", starts), INVALID)
    yield Case(old(9, "Slice", ends), INVALID)
    yield Case(old(9, "Slice", starts, ends, a_int("axes", 1)), INVALID)
    yield Case(old(9, "Slice", starts, ends, NONSENSE), INVALID)
    yield Case(old(9, "Slice", starts, ends, inputs=("x", "x")), INVALID)


@family
def old_pads():
    pads = a_ints("pads", [0, 1, 1, 0])
    yield Case(old(9, "Pad", pads), OK)
    for number in (1.5, -1.5, 0.0, float("nan")):
        yield Case(old(9, "Pad", pads, a_float("value", number)), OK)
    yield Case(old(9, "Pad", pads, a_float("value", 1.0), dtype=INT32), UNSUPPORTED)
    yield Case(old(9, "Pad", pads, a_int("value", 1)), INVALID)
    yield Case(old(9, "Pad", pads, NONSENSE), INVALID)
    yield Case(old(9, "Pad", pads, inputs=("x", "x")), INVALID)
    yield Case(old(9, "Pad"), INVALID)
    yield Case(old(9, "Pad", a_int("pads", 1)), INVALID)
    filled = {"inputs": ("s",), "constants": [ints("s", [2])]}
    yield Case(old(9, "ConstantOfShape", **filled), OK)
    yield Case(old(9, "ConstantOfShape", a_tensor("value", ints("", [5])), **filled), OK)
    yield Case(old(9, "ConstantOfShape", a_int("value", 1), **filled), INVALID)
    yield Case(old(9, "ConstantOfShape", a_tensor("value", b"\xff"), **filled), INVALID)
    yield Case(old(9, "ConstantOfShape", a_tensor("value", ints("", [5, 6])), **filled), INVALID)
    yield Case(old(9, "ConstantOfShape", NONSENSE, **filled), INVALID)
    yield Case(old(9, "ConstantOfShape", inputs=("s", "s"), constants=filled["constants"]), INVALID)


@family
def old_resizes():
    image = {"dims": (1, 1, 4, 4)}
    up = field(1, "scales") + fields(7, [1.0, 1.0, 2.0, 2.0]) + field(20, 6)
    yield Case(old(7, "Upsample", up, **image), OK)
    yield Case(old(7, "Upsample", **image), INVALID)
    yield Case(old(7, "Upsample", a_ints("scales", [1, 1, 2, 2]), **image), INVALID)
    yield Case(old(7, "Upsample", up, inputs=("x", "x"), **image), INVALID)
    yield Case(old(7, "Upsample", up, NONSENSE, **image), INVALID)
    yield Case(old(9, "Upsample", **image), INVALID)

    def scales(*numbers, name="s"):
        return {"constants": [floats(name, [len(numbers)], numbers)], **image}

    def resize(version, *attributes, inputs=("x", "s"), **more):
        return old(version, "Resize", *attributes, inputs=inputs, **more)

    yield Case(old(9, "Upsample", inputs=("x", "s"), **scales(1, 1, 2, 2)), OK)
    yield Case(resize(10, **scales(1, 1, 2, 2)), OK)
    yield Case(resize(10, **scales(1, 1, 0.5, 0.5)), OK)
    yield Case(resize(10, **scales(1, 1, 2, 0.5)), UNSUPPORTED)
    yield Case(resize(10, NONSENSE, **scales(1, 1, 2, 2)), INVALID)
    yield Case(resize(10, inputs=("x",), **image), UNSUPPORTED)
    free = {"more_inputs": [value("s", [4])], **image}
    yield Case(resize(10, **free), UNSUPPORTED)
    yield Case(resize(10, a_text("mode", "linear"), **free), INVALID)  # a size of 4 times 0.5 ... of 1
    wide = {"constants": [tensor("s", [4], DOUBLE, struct.pack("<4d", 1, 1, 2, 2))], **image}
    yield Case(resize(10, **wide), UNSUPPORTED)
    outside = {"constants": [external("s", [4], "data.bin")], **image}
    yield Case(resize(10, **outside), UNSUPPORTED, files={"data.bin": struct.pack("<4f", 1, 1, 2, 2)})
    none = floats("none", [0], [])
    sizes = ints("z", [1, 1, 8, 8])
    three = {"constants": [none, sizes, floats("s", [4], [1, 1, 2, 2])], **image}
    for names, code in ((("x", "", "s"), OK), (("x", "none", "none", "z"), OK), (("x", "", "s", "z"), OK),
                        (("x", "", "", "z"), OK), (("x", "none", "none"), INVALID), (("x",), INVALID),
                        (("x", "", "s", "", "z"), INVALID)):
        yield Case(resize(11, inputs=names, **three), code)
    yield Case(resize(13, a_text("coordinate_transformation_mode", "tf_crop_and_resize"), inputs=("x", "", "s"),
                      **three), UNSUPPORTED)
    yield Case(resize(13, NONSENSE, inputs=("x", "", "s"), **three), INVALID)


@family
def rare_fields():
    """Fields that few files have, in every form that they may have."""
    long_varint = b"\xff" * 10 + b"\1"

    def constant(content, outputs=("w",)):
        return model(graph([node("Constant", [], list(outputs), content), node("Identity", ["w"], ["y"])],
                           [value("x", [1])], [value("y")]))

    def stored(content):
        return model(graph([node("Identity", ["w"], ["y"])], [value("x", [1])], [value("y")], [content]))

    yield Case(stored(tensor("w", [2], DOUBLE, more=field(10, struct.pack("<2d", 1, 2)))), OK)
    yield Case(stored(tensor("w", [2], DOUBLE, more=fields(10, [struct.pack("<d", 1), struct.pack("<d", 2)]))), OK)
    yield Case(stored(tensor("w", [2], DOUBLE, more=tag(10, 1) + b"\0" * 8 + tag(10, 1) + b"\1" * 8)), OK)
    yield Case(stored(tensor("w", [2], FLOAT, more=field(4, 1.0) + field(4, b"\0" * 4))), OK)
    yield Case(stored(tensor("w", [3], BOOL, more=field(5, b"\0\1\2"))), OK)
    yield Case(stored(tensor("w", [150], INT64, more=field(7, b"\1" * 150))), OK)
    yield Case(stored(tensor("w", [2], FLOAT16, more=field(5, varint(0x3c00) * 2))), OK)
    yield Case(stored(field(1, long_varint) + field(2, FLOAT) + field(8, "w") + field(9, b"\0" * 4)), INVALID)
    yield Case(stored(tensor("w", [1], INT64, more=field(7, long_varint))), INVALID)
    for content, code in ((a_int("value_int", 3), OK), (a_float("value_float", 3.0), OK),
                          (a_ints("value_ints", [3]), OK), (a_float("value_int", 3.0), UNSUPPORTED),
                          (a_int("value_float", 3), UNSUPPORTED), (a_int("value_ints", 3), UNSUPPORTED),
                          (a_int("value_floats", 3), UNSUPPORTED), (a_int("value", 3), UNSUPPORTED),
                          (field(1, "value_floats") + fields(7, [1.0, 2.0]) + field(20, 6), OK),
                          (field(1, "value_floats") + field(7, pack("f", [1, 2])) + field(20, 6), OK),
                          (field(1, "value_floats") + field(7, b"\0" * 5) + field(20, 6), INVALID),
                          (field(1, "value_ints") + field(8, b"\1\2\3"), OK),
                          (field(1, "value_ints") + field(8, b"\1\x80") + field(20, 7), INVALID),
                          (field(1, "value_ints") + field(8, long_varint) + field(20, 7), INVALID)):
        yield Case(constant(content), code)
    yield Case(constant(a_int("value_int", 3), ("w", "v")), INVALID)
    both = model(graph([node("Constant", [], ["w"], a_int("value_int", 3)), node("Identity", ["w"], ["y"])],
                       [value("x", [1])], [value("y")], [floats("w", [1], [1.0])]))
    yield Case(both, INVALID)
    # A reference to an attribute of a function, where there is none.
    stray = field(1, "axis") + field(3, 0) + field(20, 2) + field(21, "axis")
    yield Case(model(graph([node("Softmax", ["x"], ["y"], stray)], [value("x", [2])], [value("y")])),
               "OK INVALID_ARGUMENT")
    for dims, given, code in ((["n", "n"], "2x2", OK), (["n", "n"], "2x3", INVALID), (["n", "m"], "2x3", OK),
                              (["n", 3], "2x4", INVALID)):
        body = model(graph([node("Relu", ["x"], ["y"])], [value("x", dims)], [value("y")]))
        yield Case(body, code, dims=given)


@family
def rare_functions():
    relu = node("Relu", ["p"], ["q"])

    def calling(bodies, inputs=("x",), outputs=("y",), *attributes, domain="f", op="F", opsets=None):
        return model(graph([node(op, list(inputs), list(outputs), *attributes, domain=domain),
                            node("Identity", ["x"], ["z"])], [value("x", [2]), value("c", [], BOOL)],
                           [value(n) for n in ("z", *outputs) if n]),
                     opsets or [opset(17), opset(1, "f")], bodies)

    two = function("F", ["p"], ["q", "r"], [relu, node("Abs", ["p"], ["r"])])
    yield Case(calling([two], outputs=("y", "v")), OK)
    yield Case(calling([two], outputs=("", "v")), OK)
    yield Case(calling([two], outputs=("y",)), OK)
    yield Case(calling([two], outputs=("y", "v", "t")), INVALID)
    yield Case(calling([two], inputs=("x", "x")), INVALID)
    # One of ONNX's own domain stands before the operator of that name.
    own = function("Relu", ["p"], ["q"], [node("Neg", ["p"], ["q"])], domain="ai.onnx", opsets=[opset(17)])
    yield Case(calling([own], domain="", op="Relu"), OK)
    yield Case(calling([own, own], domain="", op="Relu"), INVALID)
    many = function("F", ["p"], ["q"], [relu], opsets=[opset(17)] + [opset(1, f"d{i}") for i in range(256)])
    yield Case(calling([many]), INVALID)
    # An If in a function, whose branches see the function's values.
    branch = graph([node("Relu", ["p"], ["a"])], [], [value("a")])
    choice = node("If", ["d"], ["q"], a_graph("then_branch", branch), a_graph("else_branch", branch))
    yield Case(calling([function("F", ["p", "d"], ["q"], [choice])], inputs=("x", "c")), OK)
    absent = graph([], [], [value("d")])
    choice = node("If", ["c0"], ["q"], a_graph("then_branch", absent), a_graph("else_branch", absent))
    yield Case(calling([function("F", ["p", "c0", "d"], ["q"], [choice])], inputs=("x", "c")), INVALID)
    yield Case(calling([function("F", ["p", "d"], ["d"], [relu])]), INVALID)      # an input that is absent
    yield Case(calling([function("F", ["p"], ["p"], [relu])]), OK)                # one that is there
    yield Case(calling([function("F", ["p"], ["nothing"], [relu])]), INVALID)
    # Attributes: given, defaulted, given with none to give it to.
    slope = field(1, "alpha") + field(20, 1) + field(21, "slope")
    body = function("F", ["p"], ["q"], [node("LeakyRelu", ["p"], ["q"], slope)])
    yield Case(calling([body], ("x",), ("y",), a_float("slope", 0.5)), OK)
    yield Case(calling([body + field(6, "slope")]), OK)
    yield Case(calling([body + field(11, a_float("slope", 0.25))]), OK)
    yield Case(calling([body + field(11, b"\xff")]), INVALID)
    yield Case(calling([body], ("x",), ("y",), a_int("slope", 1)), INVALID)
