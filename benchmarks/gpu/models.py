#!/usr/bin/env python3
"""MiniLM-L6 and ResNet-50 from their configurations, with weights from seeds: as ONNX, and as arrays.

What: weights(NAME) -> {name: array}; main writes the ONNX files, by a writer of its own, because a machine
      with a GPU need not have the onnx package. The same arrays go into torch and JAX (peers.py).
Must not: download anything. The numbers mean nothing; their sizes and their spread are those of the real ones.

usage: models.py FOLDER [NAME...]      what is there already is kept
"""

import pathlib
import sys

import numpy as np

BERT = {"minilm": dict(layers=6, hidden=384, heads=12, inner=1536, words=30522),
        "minilm-tiny": dict(layers=1, hidden=32, heads=2, inner=64, words=50)}
# Blocks of each stage, channels of the first, size of the image.
RESNET = {"resnet50": dict(blocks=(3, 4, 6, 3), width=64, size=224, classes=1000),
          "resnet-tiny": dict(blocks=(1, 1), width=8, size=32, classes=10)}


def bert_weights(layers, hidden, heads, inner, words):
    rng = np.random.default_rng(1)

    def matrix(*shape):
        return (rng.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)

    def vector(size, middle=0.0):
        return (middle + 0.1 * rng.standard_normal(size)).astype(np.float32)

    found = {"words": 10 * matrix(words, hidden), "positions": matrix(512, hidden)}
    found.update(norm_scale=vector(hidden, 1), norm_bias=vector(hidden))
    for i in range(layers):
        for name in "qkvo":
            found[f"{i}.{name}"], found[f"{i}.{name}_bias"] = matrix(hidden, hidden), vector(hidden)
        found[f"{i}.up"], found[f"{i}.up_bias"] = matrix(hidden, inner), vector(inner)
        found[f"{i}.down"], found[f"{i}.down_bias"] = matrix(inner, hidden), vector(hidden)
        for name in ("mid", "end"):
            found[f"{i}.{name}_scale"], found[f"{i}.{name}_bias"] = vector(hidden, 1), vector(hidden)
    return found


def resnet_layout(blocks, width, size, classes):
    """(name, inputs, outputs, window, stride) of each convolution, in order of making."""
    rows = [("stem", 3, width, 7, 2)]
    channels = width
    for stage, count in enumerate(blocks):
        narrow = width << stage
        for block in range(count):
            stride = 2 if stage and not block else 1
            name = f"{stage}.{block}"
            rows += [(f"{name}.a", channels, narrow, 1, 1), (f"{name}.b", narrow, narrow, 3, stride),
                     (f"{name}.c", narrow, 4 * narrow, 1, 1)]
            if not block:
                rows.append((f"{name}.skip", channels, 4 * narrow, 1, stride))
            channels = 4 * narrow
    return rows, channels


def resnet_weights(**config):
    rng = np.random.default_rng(2)
    rows, channels = resnet_layout(**config)
    found = {}
    for name, inputs, outputs, window, _ in rows:
        scale = np.sqrt((0.3 if name.endswith(".c") else 2.0) / (inputs * window * window))
        found[name] = (scale * rng.standard_normal((outputs, inputs, window, window))).astype(np.float32)
        found[f"{name}_bias"] = (0.1 * rng.standard_normal(outputs)).astype(np.float32)
    found["head"] = (rng.standard_normal((channels, config["classes"])) / np.sqrt(channels)).astype(np.float32)
    found["head_bias"] = np.zeros(config["classes"], np.float32)
    return found


def weights(name):
    return bert_weights(**BERT[name]) if name in BERT else resnet_weights(**RESNET[name])


def inputs(name, batch, sequence=128):
    rng = np.random.default_rng(7)
    if name in BERT:
        ids = rng.integers(0, BERT[name]["words"], (batch, sequence))
        return {"input_ids": ids, "attention_mask": np.ones((batch, sequence), np.int64)}
    size = RESNET[name]["size"]
    return {"image": rng.standard_normal((batch, 3, size, size)).astype(np.float32)}


# ---- ONNX ------------------------------------------------------------------------------------------


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes(out + bytes([value]))


def number(field, value):
    return varint(field << 3) + varint(value)


def block(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor(name, array):
    kind = {np.dtype(np.float32): 1, np.dtype(np.int64): 7}[array.dtype]
    dims = b"".join(number(1, d) for d in array.shape)
    return dims + number(2, kind) + block(8, name) + block(9, array.tobytes())


def attribute(name, value):
    head = block(1, name)
    if isinstance(value, float):
        return block(5, head + varint(2 << 3 | 5) + np.float32(value).tobytes() + number(20, 1))
    if isinstance(value, int):
        return block(5, head + number(3, value) + number(20, 2))
    return block(5, head + b"".join(number(8, v) for v in value) + number(20, 7))


class Graph:
    """Nodes and constants; every method returns the name of a value."""

    def __init__(self):
        self.nodes, self.constants, self.ports = b"", {}, b""

    def constant(self, array, name=None):
        array = np.asarray(array)
        name = name or f"c{len(self.constants)}"
        self.constants[name] = np.ascontiguousarray(array).reshape(array.shape)
        return name

    def node(self, op, *names, **attributes):
        out = f"v{len(self.nodes)}"
        parts = b"".join(block(1, n) for n in names) + block(2, out) + block(3, f"{op}_{out}") + block(4, op)
        self.nodes += block(1, parts + b"".join(attribute(k, v) for k, v in attributes.items()))
        return out

    def port(self, field, name, kind, dims):
        shape = b"".join(block(1, number(1, d) if isinstance(d, int) else block(2, d)) for d in dims)
        self.ports += block(field, block(1, name) + block(2, block(1, number(1, kind) + block(2, shape))))

    def save(self, path):
        graph = self.nodes + block(2, "seeded") + self.ports
        graph += b"".join(block(5, tensor(name, array)) for name, array in self.constants.items())
        opset = block(8, block(1, "") + number(2, 17))
        pathlib.Path(path).write_bytes(number(1, 8) + block(7, graph) + opset)


def bert_onnx(path, layers, hidden, heads, inner, words):
    found, g = bert_weights(layers, hidden, heads, inner, words), Graph()
    w = {name: g.constant(array, name) for name, array in found.items()}
    for name in ("input_ids", "attention_mask"):
        g.port(11, name, 7, ("batch", "sequence"))
    one = g.constant(np.float32(1))
    length = g.node("Gather", g.node("Shape", "input_ids"), g.constant(np.array([1], np.int64)), axis=0)
    ends = g.constant(np.array([0], np.int64))
    positions = g.node("Slice", w["positions"], ends, length, ends)
    x = g.node("Add", g.node("Gather", w["words"], "input_ids", axis=0), positions)
    x = g.node("LayerNormalization", x, w["norm_scale"], w["norm_bias"], axis=-1, epsilon=1e-12)
    mask = g.node("Unsqueeze", "attention_mask", g.constant(np.array([1, 2], np.int64)))
    mask = g.node("Mul", g.node("Sub", one, g.node("Cast", mask, to=1)), g.constant(np.float32(-10000)))
    split = g.constant(np.array([0, 0, heads, hidden // heads], np.int64))
    join = g.constant(np.array([0, 0, hidden], np.int64))
    scale = g.constant(np.float32(1 / np.sqrt(hidden // heads)))
    root, half = g.constant(np.float32(np.sqrt(2))), g.constant(np.float32(0.5))

    def dense(x, i, name):
        return g.node("Add", g.node("MatMul", x, w[f"{i}.{name}"]), w[f"{i}.{name}_bias"])

    for i in range(layers):
        q, k, v = (g.node("Transpose", g.node("Reshape", dense(x, i, n), split), perm=p)
                   for n, p in (("q", (0, 2, 1, 3)), ("k", (0, 2, 3, 1)), ("v", (0, 2, 1, 3))))
        scores = g.node("Add", g.node("Mul", g.node("MatMul", q, k), scale), mask)
        mixed = g.node("MatMul", g.node("Softmax", scores, axis=-1), v)
        mixed = g.node("Reshape", g.node("Transpose", mixed, perm=(0, 2, 1, 3)), join)
        x = g.node("LayerNormalization", g.node("Add", dense(mixed, i, "o"), x), w[f"{i}.mid_scale"],
                   w[f"{i}.mid_bias"], axis=-1, epsilon=1e-12)
        up = dense(x, i, "up")
        bell = g.node("Add", g.node("Erf", g.node("Div", up, root)), one)
        up = g.node("Mul", g.node("Mul", up, bell), half)
        x = g.node("LayerNormalization", g.node("Add", dense(up, i, "down"), x), w[f"{i}.end_scale"],
                   w[f"{i}.end_bias"], axis=-1, epsilon=1e-12)
    y = g.node("Identity", x)
    g.port(12, y, 1, ("batch", "sequence", hidden))
    g.save(path)


def resnet_onnx(path, **config):
    found, g = resnet_weights(**config), Graph()
    rows, _ = resnet_layout(**config)
    shapes = {name: (window, stride) for name, _, _, window, stride in rows}
    w = {name: g.constant(array, name) for name, array in found.items()}
    g.port(11, "image", 1, ("batch", 3, config["size"], config["size"]))

    def conv(x, name):
        window, stride = shapes[name]
        return g.node("Conv", x, w[name], w[f"{name}_bias"], kernel_shape=(window, window),
                      strides=(stride, stride), pads=(window // 2,) * 4)

    x = g.node("Relu", conv("image", "stem"))
    x = g.node("MaxPool", x, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    for stage, count in enumerate(config["blocks"]):
        for i in range(count):
            name = f"{stage}.{i}"
            skip = conv(x, f"{name}.skip") if not i else x
            y = g.node("Relu", conv(g.node("Relu", conv(x, f"{name}.a")), f"{name}.b"))
            x = g.node("Relu", g.node("Add", conv(y, f"{name}.c"), skip))
    x = g.node("Flatten", g.node("GlobalAveragePool", x), axis=1)
    y = g.node("Add", g.node("MatMul", x, w["head"]), w["head_bias"])
    g.port(12, y, 1, ("batch", config["classes"]))
    g.save(path)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[2:] or [*BERT, *RESNET]:
        file, made = folder / f"{name}.onnx", folder / f"{name}.new"
        if file.exists():
            continue
        if name in BERT:
            bert_onnx(made, **BERT[name])
        else:
            resnet_onnx(made, **RESNET[name])
        made.rename(file)


if __name__ == "__main__":
    main()
