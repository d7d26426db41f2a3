#!/usr/bin/env python3
"""Gives the classic CNNs of the onnx package weights that mean something.

What: the "light" files fill every weight with 0.02, so that their output is one constant whatever
      the input. This script draws seeded He-scaled weights, measures what each layer makes of
      real-looking images (batch-norm statistics, or the bias and scale of layers without batch
      norm), varies those statistics, scales the classifier so that its outputs spread, and makes
      the batch symbolic. Weights become plain initializers.
Why:  a comparison on a model counts only if it can fail.
Must not: change the structure of a network: nodes other than the makers of constants stay as they
      are.

usage: reweight.py LIGHT.onnx OUT.onnx
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

CALIBRATION_IMAGES = 6
LOGIT_DEVIATION = 3.0


def images(count, seed, height=224, width=224, channels=3):
    """Real-looking images: light from one side, a few edges and blobs, fine grain; mean 0,
    deviation 1.
    """
    out = np.empty((count, channels, height, width), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
    for index in range(count):
        rng = np.random.default_rng((seed, index))
        image = rng.normal(size=(channels, 1, 1)) * 0.5 + sum(
            rng.normal(size=(channels, 1, 1)) * part for part in (x, y)
        )
        for _ in range(6):
            cx, cy, size = rng.uniform(0, 1), rng.uniform(0, 1), rng.uniform(0.03, 0.3)
            colour = rng.normal(size=(channels, 1, 1))
            if rng.uniform() < 0.5:
                image = image + colour * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / size**2)
            else:
                image = np.where((np.abs(x - cx) < size) & (np.abs(y - cy) < size), colour, image)
        wave = np.sin((x * rng.normal() + y * rng.normal()) * rng.uniform(20, 90))
        image = image + 0.3 * wave * rng.normal(size=(channels, 1, 1))
        image = image + rng.normal(size=(channels, height, width)) * 0.1
        out[index] = (image - image.mean()) / image.std()
    return out


class Network:
    """A light model whose parameters are held as arrays."""

    def __init__(self, path):
        self.model = onnx.load(path)
        self.graph = self.model.graph
        self.rng = np.random.default_rng(list(pathlib.Path(path).stem.encode()))
        self.initial = {i.name: numpy_helper.to_array(i) for i in self.graph.initializer}
        self.makers = {n.output[0]: n for n in self.graph.node}
        self.users = {}
        for node in self.graph.node:
            for name in node.input:
                self.users.setdefault(name, []).append(node)
        self.arrays = {}  # parameter name -> array
        self.statistic = {}  # output of a layer -> the parameters that its statistics decide
        self.dead = set()  # outputs of nodes that only made constants

    def shape_of(self, name):
        """Shape of a parameter as the file spells it, or None when the value is no constant."""
        if name in self.initial:
            return tuple(self.initial[name].shape)
        node = self.makers.get(name)
        if node and node.op_type == "ConstantOfShape":
            self.dead.add(name)
            return tuple(int(d) for d in self.initial[node.input[0]])
        if node and node.op_type == "Reshape" and self.shape_of(node.input[0]) is not None:
            self.dead.add(name)
            return tuple(int(d) for d in self.initial[node.input[1]])
        return None

    def replace(self, node, position, array):
        name = f"{node.output[0]}.{position}"
        self.arrays[name] = np.ascontiguousarray(array, np.float32)
        node.input[position] = name
        return name

    def draw(self):
        """Draws every parameter; statistics are still neutral."""
        weighted = [n for n in self.graph.node if n.op_type in ("Conv", "Gemm")]
        for node in self.graph.node:
            if node.op_type in ("Conv", "Gemm"):
                self.draw_layer(node, last=node is weighted[-1])
            elif node.op_type == "BatchNormalization":
                count = self.shape_of(node.input[1])
                for position in range(1, 5):
                    self.shape_of(node.input[position])
                self.replace(node, 1, self.rng.uniform(0.7, 1.3, count))
                self.replace(node, 2, self.rng.normal(0, 0.3, count))
                mean = self.replace(node, 3, np.zeros(count))
                variance = self.replace(node, 4, np.ones(count))
                self.statistic[node.output[0]] = ("norm", mean, variance, None)
            elif node.op_type == "Unsqueeze" and self.shape_of(node.input[0]) is not None:
                user = self.users[node.output[0]][0]
                count = self.shape_of(node.input[0])
                array = (
                    self.rng.uniform(0.7, 1.3, count)
                    if user.op_type == "Mul"
                    else self.rng.normal(0, 0.3, count)
                )
                self.replace(node, 0, array)

    def draw_layer(self, node, last):
        shape = self.shape_of(node.input[1])
        fan_in = shape[1] if node.op_type == "Gemm" else int(np.prod(shape[1:]))
        if node.op_type == "Gemm":
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            if not attributes.get("transB") or attributes.get("transA"):
                raise SystemExit(f"{node.output[0]}: expected a Gemm with transB")
        weights = self.rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / fan_in))
        weight = self.replace(node, 1, weights)
        normed = any(u.op_type == "BatchNormalization" for u in self.users.get(node.output[0], []))
        if len(node.input) > 2:  # without a bias a batch norm follows, if after a Concat
            count = self.shape_of(node.input[2])
            bias = self.replace(node, 2, np.zeros(count))
            if not normed:
                self.statistic[node.output[0]] = (
                    "last" if last else node.op_type,
                    weight,
                    bias,
                    shape[0],
                )

    def make_batch_symbolic(self):
        for value in list(self.graph.input) + list(self.graph.output):
            dims = value.type.tensor_type.shape.dim
            if value.name not in self.initial:
                dims[0].ClearField("dim_value")
                dims[0].dim_param = "N"
        for node in self.graph.node:
            if node.op_type == "Reshape" and node.output[0] not in self.dead:
                shape = self.initial[node.input[1]].copy()
                if shape[0] != 1:
                    raise SystemExit(
                        f"{node.output[0]}: Reshape to {shape.tolist()} has no leading 1"
                    )
                shape[0] = 0
                self.arrays[f"{node.output[0]}.1"] = shape
                node.input[1] = f"{node.output[0]}.1"

    def model_of(self, nodes, outputs=None):
        graph = helper.make_graph(
            nodes,
            self.graph.name,
            [i for i in self.graph.input if i.name not in self.initial],
            outputs or list(self.graph.output),
            [numpy_helper.from_array(array, name) for name, array in self.arrays.items()],
        )
        model = helper.make_model(
            graph, opset_imports=self.model.opset_import, producer_name="weir reweight.py"
        )
        model.ir_version = 8
        return model

    def live_nodes(self):
        return [
            n
            for n in self.graph.node
            if not (n.op_type in ("ConstantOfShape", "Reshape") and n.output[0] in self.dead)
        ]

    def gain_and_shift(self, kind, count):
        """What a layer without batch norm is scaled to; seeded per call order."""
        if kind == "last":
            return np.full(count, LOGIT_DEVIATION, np.float32), self.rng.normal(
                0, 0.5, count
            ).astype(np.float32)
        return (
            self.rng.uniform(0.7, 1.3, count).astype(np.float32),
            self.rng.normal(0.1, 0.3, count).astype(np.float32),
        )

    def calibrate(self):
        """One pass in which every layer is normalised by its own statistics, which are then written
        down.
        """
        nodes, outputs, extra = [], [], {}

        def add(kind, inputs, output, **attributes):
            nodes.append(helper.make_node(kind, inputs, [output], **attributes))
            return output

        def constant(name, array):
            extra[name] = np.ascontiguousarray(array, np.float32)
            return name

        targets = {}
        for node in self.live_nodes():
            out = node.output[0]
            if out not in self.statistic:
                nodes.append(node)
                continue
            kind, first, second, count = self.statistic[out]
            if kind == "norm":
                x, scale, bias = (
                    node.input[0],
                    self.arrays[node.input[1]],
                    self.arrays[node.input[2]],
                )
                rank, own = 4, True
            else:
                copy = onnx.NodeProto()
                copy.CopyFrom(node)
                copy.output[0] = x = f"{out}.raw"
                nodes.append(copy)
                scale, bias = self.gain_and_shift(kind, count)
                rank, own = (
                    (2 if node.op_type == "Gemm" else 4),
                    node.op_type == "Conv" and kind != "last",
                )
            axes, shape = ([0, 2, 3], (-1, 1, 1)) if rank == 4 else ([0], (-1,))
            targets[out] = (scale, bias)
            mean = add("ReduceMean", [x], f"{out}.mean", axes=axes, keepdims=1)
            centred = add("Sub", [x, mean], f"{out}.centred")
            square = add("Mul", [centred, centred], f"{out}.square")
            # Few samples: one deviation for all channels of a fully connected layer.
            variance = add(
                "ReduceMean",
                [square],
                f"{out}.variance",
                axes=axes if own else list(range(rank)),
                keepdims=1,
            )
            floor = add(
                "Add", [variance, constant(f"{out}.floor", np.float32(1e-5))], f"{out}.floored"
            )
            y = add("Div", [centred, add("Sqrt", [floor], f"{out}.deviation")], f"{out}.unit")
            y = add("Mul", [y, constant(f"{out}.scale", scale.reshape(shape))], f"{out}.scaled")
            add("Add", [y, constant(f"{out}.bias", bias.reshape(shape))], out)
            outputs += [f"{out}.mean", f"{out}.variance"]
        model = self.model_of(nodes, [helper.make_tensor_value_info(o, 1, None) for o in outputs])
        model.graph.initializer.extend(numpy_helper.from_array(a, n) for n, a in extra.items())
        results = session(model).run(None, {self.input_name(): images(CALIBRATION_IMAGES, 1)})
        found = dict(zip(outputs, results))
        for out, (kind, first, second, count) in self.statistic.items():
            mean, variance = found[f"{out}.mean"].reshape(-1), found[f"{out}.variance"].reshape(-1)
            if kind == "norm":
                # Off by some, as statistics of training data are on other data.
                self.arrays[first] = (
                    mean + self.rng.normal(0, 0.1, mean.shape) * np.sqrt(variance)
                ).astype(np.float32)
                self.arrays[second] = (
                    variance * self.rng.uniform(0.8, 1.25, variance.shape)
                ).astype(np.float32)
            else:
                scale, bias = targets[out]
                factor = np.broadcast_to(scale / np.sqrt(variance + 1e-5), mean.shape).astype(
                    np.float32
                )
                weight = self.arrays[first]
                self.arrays[first] = weight * factor.reshape((-1,) + (1,) * (weight.ndim - 1))
                self.arrays[second] = bias - mean * factor

    def input_name(self):
        return next(i.name for i in self.graph.input if i.name not in self.initial)


def session(model):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, ["CPUExecutionProvider"]
    )


def check_spread(model, name):
    """Refuses a network whose outputs hardly depend on its input, or whose batch does not work."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    makers = {n.output[0]: n for n in copy.graph.node}
    last = makers[copy.graph.output[0].name]
    logits = last.input[0] if last.op_type == "Softmax" else last.output[0]
    del copy.graph.output[:]
    copy.graph.output.append(helper.make_tensor_value_info(logits, 1, None))
    engine = session(copy)
    (value,) = engine.run(None, {name: images(4, 2)})
    value = value.reshape(4, -1)
    largest = float(np.abs(value).max())
    spread = float(value.std(axis=0).mean())
    if (
        not np.isfinite(value).all()
        or spread < 0.02 * largest
        or len(set(value.argmax(axis=1))) < 2
    ):
        raise SystemExit(
            f"outputs hardly depend on the input: spread {spread:.3g} of {largest:.3g}, "
            f"classes {value.argmax(axis=1).tolist()}"
        )
    (alone,) = engine.run(None, {name: images(4, 2)[:1]})
    if np.abs(alone.reshape(-1) - value[0]).max() > 1e-3 * largest:
        raise SystemExit("a row of a batch differs from the same row alone")
    return spread, largest


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: reweight.py LIGHT.onnx OUT.onnx")
    network = Network(sys.argv[1])
    network.draw()
    network.make_batch_symbolic()
    network.calibrate()
    model = network.model_of(network.live_nodes())
    onnx.checker.check_model(model)
    spread, largest = check_spread(model, network.input_name())
    pathlib.Path(sys.argv[2]).write_bytes(model.SerializeToString())
    count = sum(a.size for a in network.arrays.values())
    print(
        f"{count / 1e6:.1f} M parameters; outputs up to {largest:.3g}, spread {spread:.3g} over "
        f"inputs"
    )


if __name__ == "__main__":
    main()
