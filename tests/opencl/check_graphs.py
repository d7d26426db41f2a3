"""Small random graphs on the OpenCL device, in both families, against ONNX Runtime.

What: anchors (Conv of every kind, ConvTranspose, pools, MatMul, Gemm, norms, Softmax) followed by
      what fuses into them (bias, activations, residuals, factors of a channel), at odd sizes: the
      paths that one node alone never takes (epilogues, blocked formats, packed constants).
Why:  weir conform asks a device for single row-major nodes; these are what models are made of.
Must not: let another device step in. Only "opencl" is named, so a node that it refuses is an error.

usage: check_graphs.py [--quick] [--tiny] [--family cpu|gpu] [--seed N] [--only TEXT]
                       [--driver TEXT] [--keep FILE]
"""

import argparse
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "python"))

RTOL, ATOL = 1e-4, 1e-5


class Sizes:  # pylint: disable=too-few-public-methods
    """How large graphs are: for a simulator that checks every access, tiny."""

    tiny = False

    @classmethod
    def of(cls, rng, usual, tiny):
        return int(rng.choice(tiny if cls.tiny else usual))


class Graph:
    """A model that grows node by node; `value` is its newest result."""

    def __init__(self, rng, dims, symbolic=()):
        self.rng = rng
        self.nodes, self.constants, self.inputs, self.feed = [], [], [], {}
        self.shapes = {}
        self.value = self.input(dims, symbolic)

    def name(self, prefix="v"):
        return f"{prefix}{len(self.nodes)}_{len(self.constants)}_{len(self.inputs)}"

    def input(self, dims, symbolic=()):
        name = self.name("x")
        shown = [f"d{name}{i}" if i in symbolic else d for i, d in enumerate(dims)]
        self.inputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shown))
        self.feed[name] = self.rng.standard_normal(dims).astype(np.float32)
        return name

    def constant(self, dims, scale=1.0, dtype=np.float32):
        data = dims
        if not isinstance(dims, np.ndarray):
            data = (self.rng.standard_normal(dims) * scale).astype(dtype)
        name = self.name("c")
        self.constants.append(numpy_helper.from_array(data, name))
        return name

    def add(self, op, inputs, **attributes):
        name = self.name()
        self.nodes.append(helper.make_node(op, inputs, [name], **attributes))
        self.value = name
        return name

    def model(self):
        output = helper.make_tensor_value_info(self.value, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "g", self.inputs, [output], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        return model.SerializeToString()


def activation(g, rng):
    """What often follows an anchor."""
    kind = rng.integers(0, 7)
    x = g.value
    if kind == 0:
        g.add("Relu", [x])
    elif kind == 1:
        half, root = g.constant(np.array(0.5, np.float32)), g.constant(np.array(2**0.5, np.float32))
        one = g.constant(np.array(1.0, np.float32))
        erf = g.add("Erf", [g.add("Div", [x, root])])
        g.add("Mul", [g.add("Mul", [x, half]), g.add("Add", [erf, one])])
    elif kind == 2:
        g.add("HardSwish", [x])
    elif kind == 3:
        g.add("LeakyRelu", [x], alpha=0.1)
    elif kind == 4:
        g.add("Mul", [x, g.add("Sigmoid", [x])])
    elif kind == 5:
        low, high = np.array(-0.5, np.float32), np.array(1.5, np.float32)
        g.add("Clip", [x, g.constant(low), g.constant(high)])
    else:
        g.add("Tanh", [x])


def conv(g, rng, channels, outputs, kernel, group=1, transposed=False, **attributes):
    dims = [channels, outputs // group] if transposed else [outputs, channels // group]
    fan = channels // group * int(np.prod(kernel))
    inputs = [g.value, g.constant(dims + list(kernel), fan**-0.5)]
    if rng.integers(2):
        inputs.append(g.constant([outputs]))
    op = "ConvTranspose" if transposed else "Conv"
    return g.add(op, inputs, kernel_shape=list(kernel), group=group, **attributes)


def conv_chain(rng):
    """Conv after Conv, so that tensors stay in blocks: residual, factor of a channel, pool."""
    images = int(rng.integers(1, 3))
    channels = [Sizes.of(rng, [3, 8, 16, 17, 24, 33, 40, 48, 80], [2, 16, 17]) for _ in range(3)]
    height, width = Sizes.of(rng, range(5, 24), [4, 5]), Sizes.of(rng, range(5, 30), [3, 9])
    symbolic = (2, 3) if rng.integers(2) else ()
    g = Graph(rng, [images, channels[0], height, width], symbolic)
    size = int(rng.choice([1, 3, 5]))
    stride = int(rng.integers(1, 3))
    conv(
        g, rng, channels[0], channels[1], (size, size), pads=[size // 2] * 4, strides=[stride] * 2
    )
    activation(g, rng)
    residual = g.value
    kind = rng.integers(0, 4)
    if kind == 0:
        conv(g, rng, channels[1], channels[1], (3, 3), group=channels[1], pads=[1] * 4)
    elif kind == 1:
        conv(g, rng, channels[1], channels[1], (3, 3), pads=[2] * 4, dilations=[2, 2])
    elif kind == 2:
        conv(g, rng, channels[1], channels[1], (1, 3), pads=[0, 1, 0, 1])
    else:
        conv(g, rng, channels[1], channels[1], (1, 1))
    if rng.integers(2):
        g.add("Add", [g.value, residual])
        activation(g, rng)
    if rng.integers(2):  # squeeze and excite
        before = g.value
        g.add("GlobalAveragePool", [before])
        conv(g, rng, channels[1], channels[1], (1, 1))
        g.add("HardSigmoid", [g.value], alpha=0.2, beta=0.5)
        g.add("Mul", [before, g.value])
    if rng.integers(2):
        op = str(rng.choice(["MaxPool", "AveragePool"]))
        g.add(op, [g.value], kernel_shape=[3, 2], strides=[1, 2], pads=[1, 0, 1, 1])
    conv(g, rng, channels[1], channels[2], (1, 1))
    g.add("Mul", [g.value, g.constant([1, channels[2], 1, 1])])
    activation(g, rng)
    if rng.integers(2):
        conv(g, rng, channels[2], Sizes.of(rng, [20], [5]), (2, 2), transposed=True, strides=[2, 2])
        activation(g, rng)
    if rng.integers(2):
        g.add("GlobalMaxPool", [g.value])
    return g


def conv_large(rng):
    """Large enough for Winograd's way."""
    channels = [Sizes.of(rng, [32, 40, 48, 64], [32, 33]) for _ in range(2)]
    height, width = Sizes.of(rng, range(24, 40), [24]), Sizes.of(rng, range(24, 40), [25])
    g = Graph(rng, [int(rng.integers(1, 3)), channels[0], height, width])
    conv(g, rng, channels[0], channels[1], (3, 3), pads=[int(p) for p in rng.integers(0, 3, 4)])
    activation(g, rng)
    before = g.value
    conv(g, rng, channels[1], channels[1], (3, 3), pads=[1] * 4)
    g.add("Add", [g.value, before])
    activation(g, rng)
    return g


def conv_grouped(rng):
    channels, groups = Sizes.of(rng, [32, 64, 12], [32, 4]), 2
    g = Graph(rng, [2, channels, Sizes.of(rng, [9], [3]), Sizes.of(rng, [11], [4])])
    conv(g, rng, channels, channels, (3, 3), group=groups, pads=[1] * 4)
    activation(g, rng)
    conv(g, rng, channels, channels * 2, (3, 3), group=channels, strides=[2, 2])
    activation(g, rng)
    return g


def conv_line(rng):
    channels, length = Sizes.of(rng, [3, 16, 30], [3]), Sizes.of(rng, range(9, 70), [9])
    g = Graph(rng, [2, channels, length], (2,) if rng.integers(2) else ())
    conv(g, rng, channels, 20, (5,), pads=[2, 2], strides=[int(rng.integers(1, 3))])
    activation(g, rng)
    conv(g, rng, 20, 24, (3,), transposed=True, strides=[2], pads=[1, 0])
    g.add("Add", [g.value, g.constant([1, 24, 1])])
    return g


def matmul(rng):
    """A product and what it is followed by, in the shapes that operands have."""
    k = Sizes.of(rng, range(1, 90), [3, 17])
    n = Sizes.of(rng, [1, 7, 16, 32, 33, 64, 100], [1, 16, 33])
    batch = [[], [3], [2, 3]][int(rng.integers(0, 3))]
    m = Sizes.of(rng, range(1, 40), [1, 9])
    symbolic = tuple(range(len(batch) + 1)) if rng.integers(2) else ()
    g = Graph(rng, batch + [m, k], symbolic)
    kind = rng.integers(0, 4)
    if kind == 0:
        right = g.constant([k, n], k**-0.5)
    elif kind == 1:
        right = g.constant([3, k, n] if len(batch) == 1 else [k, n], k**-0.5)
    elif kind == 2:
        right = g.input([k, n])
    else:
        right = g.input((batch[-1:] if batch else []) + [k, n])
    g.add("MatMul", [g.value, right])
    for _ in range(int(rng.integers(0, 4))):
        kind = rng.integers(0, 6)
        if kind == 0:
            g.add("Add", [g.value, g.constant([n])])
        elif kind == 1:
            g.add("Mul", [g.value, g.constant([m, 1])])
        elif kind == 2:
            g.add("Add", [g.value, g.input(batch + [m, n])])
        elif kind == 3 and batch:
            g.add("Sub", [g.value, g.constant(batch[-1:] + [1, 1])])
        elif kind == 4:
            g.add("Add", [g.value, g.constant([m, n])])
        else:
            activation(g, rng)
    return g


def gemm(rng):
    m, k, n = (Sizes.of(rng, range(1, 50), [1, 9, 18]) for _ in range(3))
    across, down = int(rng.integers(2)), int(rng.integers(2))
    g = Graph(rng, [k, m] if down else [m, k])
    inputs = [g.value, g.constant([n, k] if across else [k, n], k**-0.5)]
    if rng.integers(2):
        inputs.append(g.constant([[n], [m, 1], [m, n], [1]][int(rng.integers(0, 4))]))
    g.add("Gemm", inputs, alpha=0.5, beta=2.0, transA=down, transB=across)
    activation(g, rng)
    return g


def norms(rng):
    dims = [2, Sizes.of(rng, range(1, 20), [3]), Sizes.of(rng, range(1, 70), [17, 5])]
    g = Graph(rng, dims, (0, 1))
    size = dims[2]
    g.add("LayerNormalization", [g.value, g.constant([size]), g.constant([size])], axis=-1)
    g.add("Softmax", [g.value], axis=int(rng.integers(0, 3)))
    g.add("InstanceNormalization", [g.value, g.constant([dims[1]]), g.constant([dims[1]])])
    return g


def attention(rng):
    """As exporters spell it out."""
    batch, heads, depth = 2, int(rng.integers(1, 4)), Sizes.of(rng, [8, 16, 32, 40], [8])
    rows, width = Sizes.of(rng, range(1, 50), [9]), heads * depth
    g = Graph(rng, [batch, rows, width], (0, 1))
    x = g.value
    shape = g.constant(np.array([0, 0, heads, depth], np.int64))
    parts = []
    for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        g.add("MatMul", [x, g.constant([width, width], width**-0.5)])
        g.add("Reshape", [g.value, shape])
        parts.append(g.add("Transpose", [g.value], perm=perm))
    g.add("MatMul", parts[:2])
    g.add("Div", [g.value, g.constant(np.array(depth**0.5, np.float32))])
    if rng.integers(2):
        g.add("Add", [g.value, g.input([batch, 1, 1, rows], (0, 3))])
    g.add("Softmax", [g.value], axis=-1)
    g.add("MatMul", [g.value, parts[2]])
    g.add("Transpose", [g.value], perm=[0, 2, 1, 3])
    g.add("Reshape", [g.value, g.constant(np.array([0, 0, width], np.int64))])
    return g


def pools(rng):
    g = Graph(rng, [2, 5, Sizes.of(rng, [13], [5]), Sizes.of(rng, [11], [4])])
    op = str(rng.choice(["MaxPool", "AveragePool"]))
    extra = {"count_include_pad": 1} if op == "AveragePool" and rng.integers(2) else {}
    g.add(op, [g.value], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], ceil_mode=1, **extra)
    g.add("LRN", [g.value], size=3, alpha=0.01, beta=0.75, bias=1.0)
    return g


def moves(rng):
    """What only moves elements, one after the other."""
    dims = [2, Sizes.of(rng, [3, 6], [3]), Sizes.of(rng, range(4, 20), [4]), Sizes.of(rng, [5, 21], [5])]
    g = Graph(rng, dims, (0, 2) if rng.integers(2) else ())

    def ints(*values):
        return g.constant(np.array(values, np.int64))

    g.add("Transpose", [g.value], perm=[int(p) for p in rng.permutation(4)])
    g.add("Slice", [g.value, ints(-1, 1), ints(-100, 100), ints(1, 2), ints(-1, 1)])
    mode = str(rng.choice(["constant", "edge", "reflect"]))
    g.add("Pad", [g.value, ints(0, 1, 0, 0, 0, 0, 0, 1)], mode=mode)
    g.add("Concat", [g.value, g.value], axis=1)
    g.add("Tile", [g.value, ints(1, 1, 2, 1)])
    g.add("Gather", [g.value, ints(1, 0, -1)], axis=0)
    g.add("Expand", [g.add("ReduceMax", [g.value], axes=[1], keepdims=1), ints(3, 2, 1, 1)])
    g.add("Add", [g.value, g.constant([1])])
    first = g.name("s")
    g.nodes.append(helper.make_node("Split", [g.value], [first, g.name("t")], axis=1))
    picked = g.constant(np.array([[[[0, 1]]]], np.int64))
    g.add("GatherElements", [first, picked], axis=3)
    scales = g.constant(np.array([1, 1, 3, 1.5], np.float32))
    linear = bool(rng.integers(2))
    g.add("Resize", [g.value, "", scales], mode="linear" if linear else "nearest")
    return g


def resizes(rng):
    """Images of channels that stay in blocks between two convolutions."""
    channels = Sizes.of(rng, [16, 20], [17])
    g = Graph(rng, [1, channels, Sizes.of(rng, [7], [3]), Sizes.of(rng, [9], [4])])
    conv(g, rng, channels, channels, (1, 1))
    scales = g.constant(np.array([1, 1, 2, 2], np.float32))
    mode = str(rng.choice(["nearest", "linear"]))
    g.add("Resize", [g.value, "", scales], mode=mode)
    conv(g, rng, channels, 16, (3, 3), pads=[1] * 4)
    return g


def sums(rng):
    """Reductions over the last, the first and the middle axes, and what else goes along a line."""
    dims = [Sizes.of(rng, [7], [3]), Sizes.of(rng, [40], [5]), Sizes.of(rng, [33], [4])]
    g = Graph(rng, dims, (0,))
    x = g.value
    op = str(rng.choice(["ReduceL1", "ReduceL2", "ReduceMean", "ReduceLogSumExp", "ReduceProd"]))
    parts = [g.add(op, [x], axes=[axis], keepdims=1) for axis in (0, 1, 2)]
    g.add("LpNormalization", [x], axis=1, p=int(rng.integers(1, 3)))
    for part in parts:
        g.add("Add", [g.value, part])
    where = g.add("ArgMax", [g.value], axis=int(rng.integers(0, 3)), keepdims=1)
    scaled = g.add("Mul", [x, g.add("Cast", [where], to=TensorProto.FLOAT)])
    filled = g.add("ConstantOfShape", [g.add("Shape", [x])])
    g.add("Where", [g.add("Greater", [x, filled]), scaled, x])
    return g


def lstm(rng):
    """Both directions, with and without each of what is optional, for any of the three outputs."""
    steps, batch = Sizes.of(rng, [1, 9], [2]), Sizes.of(rng, [1, 3], [2])
    size, hidden = Sizes.of(rng, [5, 33], [3]), Sizes.of(rng, [4, 17, 40], [3, 17])
    direction = str(rng.choice(["forward", "reverse", "bidirectional"]))
    count = 2 if direction == "bidirectional" else 1
    g = Graph(rng, [steps, batch, size], (0, 1))
    weights = [g.constant([count, 4 * hidden, k], k**-0.5) for k in (size, hidden)]
    inputs = [g.value, *weights]
    inputs.append(g.constant([count, 8 * hidden]) if rng.integers(2) else "")
    inputs.append("")  # sequence_lens, which the device does not take
    inputs += [g.constant([count, batch, hidden]) if rng.integers(2) else "" for _ in range(2)]
    wanted = int(rng.integers(1, 8))
    names = [g.name(p) if wanted >> i & 1 else "" for i, p in enumerate("yhc")]
    g.nodes.append(
        helper.make_node("LSTM", inputs, names, direction=direction, hidden_size=hidden)
    )
    parts = [name for name in names if name]
    if names[0]:
        parts[0] = g.add("ReduceSum", [names[0], g.constant(np.array([0], np.int64))], keepdims=0)
    g.value = parts[0]
    for name in parts[1:]:
        g.add("Add", [g.value, name])
    return g


MAKERS = [moves, resizes, sums, lstm, conv_chain, conv_large, matmul, conv_grouped, conv_line, gemm]
MAKERS += [attention, norms, pools]


def worst(got, wanted):
    """How far off, as a share of what is allowed; infinity: NaN or another shape."""
    if got.shape != wanted.shape or np.isnan(got).any() != np.isnan(wanted).any():
        return np.inf
    if got.size == 0:
        return 0.0
    size = max(float(np.sqrt(np.mean(wanted.astype(np.float64) ** 2))), 1e-3)
    allowed = ATOL + RTOL * np.maximum(np.abs(wanted), size)
    return float(np.max(np.abs(got - wanted) / allowed))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two graphs of each kind")
    parser.add_argument("--tiny", action="store_true", help="tiny ones, for a simulator")
    parser.add_argument("--family", choices=["cpu", "gpu"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds whose name holds this")
    parser.add_argument("--option", default="", help="another option of the plugin: zero_copy=0")
    parser.add_argument("--driver", default="", help="fail unless the device's name holds this")
    parser.add_argument("--keep", help="where to write the model that fails first")
    given = parser.parse_args()
    Sizes.tiny = given.tiny
    import onnxruntime  # pylint: disable=import-outside-toplevel
    import weir  # pylint: disable=import-outside-toplevel

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    passed = failed = 0
    for family in [given.family] if given.family else ["cpu", "gpu"]:
        wanted = f"opencl.family={family}"
        if given.option:
            wanted += f",opencl.{given.option}"
        engine = weir.Engine(plugin_options=wanted)
        found = [
            d["text"] for d in engine.devices() if d["name"].startswith("opencl") and d["usable"]
        ]
        if not found or given.driver not in found[0]:
            print(f"no OpenCL device, or another one: nothing was compared ({found})")
            return 1 if given.driver else 0
        for maker in [m for m in MAKERS if given.only in m.__name__]:
            if given.tiny and family == "gpu" and maker is conv_large:
                continue  # has no way of its own there, and is not tiny
            for case in range(2 if given.quick else 12):
                rng = np.random.default_rng([given.seed, case, len(maker.__name__)])
                g = maker(rng)
                model = g.model()
                truth = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
                wanted = truth.run(None, g.feed)[0]
                try:
                    session = weir.InferenceSession(model, devices=["opencl"], engine=engine)
                    off = worst(session.run(None, g.feed)[0], wanted)
                    text = f"off by {off:.2f} of what is allowed"
                except weir.Error as error:
                    off, text = np.inf, str(error)
                if off <= 1:
                    passed += 1
                    continue
                failed += 1
                print(f"{family} {maker.__name__} {case}: {text}")
                if given.keep and failed == 1:
                    onnx.save_model(onnx.load_from_string(model), given.keep)
                    np.savez(given.keep + ".npz", **g.feed)
    print(f"OpenCL graphs: {passed} passed, {failed} failed")
    return 1 if failed or (given.driver and not passed) else 0


if __name__ == "__main__":
    sys.exit(main())
