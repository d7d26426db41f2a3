#!/usr/bin/env python3
"""Writes the MiniLM-L6 sentence encoder as ONNX, the way PyTorch's exporter spells it.

What: 6 transformer layers (hidden 384, 12 heads), Gelu by Erf, layer normalisation by primitives,
      mean pooling with the mask, L2 norm. input_ids, attention_mask, token_type_ids: int64 [batch,
      sequence]; sentence_embedding: float [batch, 384]. Opset 17.
Why:  the package carries only weights, and engines meet transformers in exactly this spelling:
      recognising layer normalisation, Gelu and attention in it is part of what is tested.
Must not: simplify the graph: that is the engine's work.

usage: minilm.py FOLDER OUT.onnx     FOLDER holds model.safetensors
"""

import math
import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import load_file

HIDDEN, HEADS, LAYERS, POSITIONS = 384, 12, 6, 512


class Writer:
    """Collects nodes and initializers; every method returns the name of a value."""

    def __init__(self, weights):
        self.weights = weights
        self.nodes = []
        self.initializers = {}

    def constant(self, array, name=None):
        array = np.ascontiguousarray(array) if np.ndim(array) else np.asarray(array)
        name = name or f"const_{len(self.initializers)}"
        if name not in self.initializers:
            self.initializers[name] = numpy_helper.from_array(array, name)
        return name

    def weight(self, name, transpose=False):
        array = self.weights[name].astype(np.float32)
        return self.constant(array.T if transpose else array, name)

    def f32(self, value):
        return self.constant(np.float32(value), f"f32_{value}")

    def i64(self, *values):
        return self.constant(np.array(values, np.int64), "i64_" + "_".join(map(str, values)))

    def op(self, kind, *inputs, scope="", **attributes):
        name = f"{scope}/{kind}_{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, list(inputs), [f"{name}_output_0"], name=name, **attributes)
        )
        return self.nodes[-1].output[0]

    def linear(self, x, name):
        y = self.op("MatMul", x, self.weight(f"{name}.weight", transpose=True), scope=f"/{name}")
        return self.op("Add", self.weight(f"{name}.bias"), y, scope=f"/{name}")

    def layer_norm(self, x, name):
        scope = f"/{name}"
        mean = self.op("ReduceMean", x, scope=scope, axes=[-1], keepdims=1)
        centred = self.op("Sub", x, mean, scope=scope)
        square = self.op("Pow", centred, self.f32(2.0), scope=scope)
        variance = self.op("ReduceMean", square, scope=scope, axes=[-1], keepdims=1)
        deviation = self.op(
            "Sqrt", self.op("Add", variance, self.f32(1e-12), scope=scope), scope=scope
        )
        y = self.op("Div", centred, deviation, scope=scope)
        y = self.op("Mul", y, self.weight(f"{name}.weight"), scope=scope)
        return self.op("Add", y, self.weight(f"{name}.bias"), scope=scope)

    def gelu(self, x, name):
        scope = f"/{name}"
        erf = self.op("Erf", self.op("Div", x, self.f32(math.sqrt(2)), scope=scope), scope=scope)
        y = self.op("Mul", x, self.op("Add", erf, self.f32(1.0), scope=scope), scope=scope)
        return self.op("Mul", y, self.f32(0.5), scope=scope)

    def heads(self, x, name):
        return self.op("Reshape", x, self.i64(0, 0, HEADS, HIDDEN // HEADS), scope=f"/{name}")


def embeddings(w):
    words = w.op(
        "Gather", w.weight("embeddings.word_embeddings.weight"), "input_ids", scope="/embeddings"
    )
    types = w.op(
        "Gather",
        w.weight("embeddings.token_type_embeddings.weight"),
        "token_type_ids",
        scope="/embeddings",
    )
    shape = w.op("Shape", "input_ids", scope="/embeddings")
    length = w.op("Gather", shape, w.constant(np.int64(1), "one"), scope="/embeddings", axis=0)
    end = w.op("Unsqueeze", length, w.i64(0), scope="/embeddings")
    ids = w.constant(np.arange(POSITIONS, dtype=np.int64)[None], "embeddings.position_ids")
    ids = w.op("Slice", ids, w.i64(0), end, w.i64(1), w.i64(1), scope="/embeddings")
    positions = w.op(
        "Gather", w.weight("embeddings.position_embeddings.weight"), ids, scope="/embeddings"
    )
    x = w.op("Add", w.op("Add", words, types, scope="/embeddings"), positions, scope="/embeddings")
    return w.layer_norm(x, "embeddings.LayerNorm")


def additive_mask(w):
    mask = w.op("Unsqueeze", w.op("Unsqueeze", "attention_mask", w.i64(1)), w.i64(2))
    mask = w.op("Cast", mask, to=TensorProto.FLOAT)
    return w.op("Mul", w.op("Sub", w.f32(1.0), mask), w.f32(-10000.0))


def layer(w, x, mask, index):
    name = f"encoder.layer.{index}"
    own = f"{name}.attention.self"
    query, key, value = (
        w.heads(w.linear(x, f"{own}.{part}"), own) for part in ("query", "key", "value")
    )
    query = w.op("Transpose", query, scope=f"/{own}", perm=[0, 2, 1, 3])
    key = w.op("Transpose", key, scope=f"/{own}", perm=[0, 2, 3, 1])
    value = w.op("Transpose", value, scope=f"/{own}", perm=[0, 2, 1, 3])
    scores = w.op("MatMul", query, key, scope=f"/{own}")
    scores = w.op("Div", scores, w.f32(math.sqrt(HIDDEN // HEADS)), scope=f"/{own}")
    scores = w.op("Add", scores, mask, scope=f"/{own}")
    context = w.op(
        "MatMul", w.op("Softmax", scores, scope=f"/{own}", axis=-1), value, scope=f"/{own}"
    )
    context = w.op("Transpose", context, scope=f"/{own}", perm=[0, 2, 1, 3])
    context = w.op("Reshape", context, w.i64(0, 0, HIDDEN), scope=f"/{own}")
    out = w.linear(context, f"{name}.attention.output.dense")
    x = w.layer_norm(w.op("Add", out, x, scope=f"/{name}"), f"{name}.attention.output.LayerNorm")
    inner = w.gelu(w.linear(x, f"{name}.intermediate.dense"), f"{name}.intermediate")
    out = w.linear(inner, f"{name}.output.dense")
    return w.layer_norm(w.op("Add", out, x, scope=f"/{name}"), f"{name}.output.LayerNorm")


def pooling(w, x):
    mask = w.op("Unsqueeze", "attention_mask", w.i64(-1), scope="/pooling")
    mask = w.op("Expand", mask, w.op("Shape", x, scope="/pooling"), scope="/pooling")
    mask = w.op("Cast", mask, scope="/pooling", to=TensorProto.FLOAT)
    total = w.op(
        "ReduceSum", w.op("Mul", x, mask, scope="/pooling"), w.i64(1), scope="/pooling", keepdims=0
    )
    count = w.op("ReduceSum", mask, w.i64(1), scope="/pooling", keepdims=0)
    mean = w.op("Div", total, w.op("Clip", count, w.f32(1e-9), scope="/pooling"), scope="/pooling")
    return w.op("LpNormalization", mean, scope="/normalize", axis=1, p=2)


def build(weights):
    """The model, from the tensors of the safetensors file."""
    w = Writer(weights)
    x = embeddings(w)
    mask = additive_mask(w)
    for index in range(LAYERS):
        x = layer(w, x, mask, index)
    w.nodes.append(
        helper.make_node("Identity", [pooling(w, x)], ["sentence_embedding"], name="/output")
    )
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    outputs = [
        helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["batch", HIDDEN])
    ]
    graph = helper.make_graph(w.nodes, "MiniLM-L6", inputs, outputs, list(w.initializers.values()))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="weir minilm.py"
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: minilm.py FOLDER OUT.onnx")
    model = build(load_file(pathlib.Path(sys.argv[1]) / "model.safetensors"))
    pathlib.Path(sys.argv[2]).write_bytes(model.SerializeToString())
    print(f"{len(model.graph.node)} nodes, {len(model.graph.initializer)} constants")


if __name__ == "__main__":
    main()
