"""What the checks on real models share: inputs that look real, engines, the rule, swaps.

What: feeds(model) makes seeded inputs; Ort and Weir run a model; compare() is the rule of equality;
      swaps() are edits of one weight layer that a comparison must notice.
Why:  each check says only what is particular to it.
Must not: decide whether a check passes.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "models"), str(ROOT / "engine" / "python")]

import fetch  # noqa: E402  pylint: disable=wrong-import-position
from reweight import images  # noqa: E402  pylint: disable=wrong-import-position

# Values before a final Softmax (Sigmoid): relative to the largest. Elsewhere: element by element.
LOGIT_TOLERANCE = 5e-4
RTOL, ATOL = 1e-3, 1e-4

SENTENCES = [
    "A man is eating food.",
    "A man is eating a piece of bread.",
    "A monkey is playing drums.",
    "The engine folds constants at load, under a budget that the caller can set.",
    "Rivers carry sand to the sea.",
    "Someone in a gorilla costume is playing a set of drums.",
    "Two men pushed carts through the woods.",
    "No.",
]


class Ort:
    """ONNX Runtime: the reference."""

    name = "ONNX Runtime"
    optimise = True

    def __init__(self, model, device=None, threads=0):
        import onnxruntime  # pylint: disable=import-outside-toplevel

        del device
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        if not self.optimise:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self.session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, feed):
        return dict(zip(self.outputs, self.session.run(None, feed)))


class Weir:
    """weir, through its Python package."""

    name = "weir"

    def __init__(self, model, device=None, threads=0, plugin_path=None):
        import weir  # pylint: disable=import-outside-toplevel

        self.session = weir.InferenceSession(
            model,
            threads=threads,
            devices=[device] if device else None,
            plugin_path=plugin_path,
        )
        self.outputs = [o.name for o in self.session.get_outputs()]

    def run(self, feed):
        return dict(zip(self.outputs, self.session.run(None, feed)))


class PlainOrt(Ort):
    """ONNX Runtime without its optimiser: shows what the order of sums alone makes of it."""

    name = "ONNX Runtime, unoptimised"
    optimise = False


ENGINES = {"weir": Weir, "ort": Ort, "ort-plain": PlainOrt}


# ---------------------------------------------------------------------------------------------
# Inputs
# ---------------------------------------------------------------------------------------------


def tokenizer():
    from tokenizers import Tokenizer  # pylint: disable=import-outside-toplevel

    found = Tokenizer.from_file(str(fetch.file_path("minilm", "tokenizer.json")))
    found.no_truncation()
    return found


def encode(sentences, length=None):
    """MiniLM's three inputs for some sentences, padded to the longest or to `length`."""
    tokens = tokenizer()
    tokens.enable_padding(length=length)
    rows = tokens.encode_batch(list(sentences))
    pick = lambda field: np.array([getattr(row, field) for row in rows], np.int64)  # noqa: E731
    return {
        "input_ids": pick("ids"),
        "attention_mask": pick("attention_mask"),
        "token_type_ids": pick("type_ids"),
    }


def file_bytes(count, seed):
    """What Magika sees of files: texts of this repository, and bytes of no meaning."""
    rng = np.random.default_rng(seed)
    sources = sorted(p for p in (ROOT / "engine" / "include" / "weir").glob("*.h")) + [
        ROOT / "LICENSE",
        ROOT / "run",
    ]
    rows = []
    for index in range(count):
        if index % 3 == 2:
            text = rng.integers(0, 256, 5000, dtype=np.uint8).tobytes()
        else:
            text = sources[int(rng.integers(len(sources)))].read_bytes()
            text = text[int(rng.integers(max(1, len(text) // 2))) :]
        head, tail = text[:4096].lstrip()[:1024], text[-4096:].rstrip()[-1024:]
        rows.append(
            list(head) + [256] * (1024 - len(head)) + [256] * (1024 - len(tail)) + list(tail)
        )
    return np.array(rows, np.int32)


def text_lines(count, seed, height, width):
    """Something like lines of print: dark strokes on a light ground that is not quite even."""
    out = images(count, seed, height, width) * 0.1 + 0.7
    for index in range(count):
        rng = np.random.default_rng((seed, index, 7))
        x = 4
        while x < width - 6:
            for _ in range(int(rng.integers(2, 5))):
                y0, y1 = sorted(rng.integers(height // 5, height * 4 // 5, 2))
                dx, thick = int(rng.integers(0, max(2, height // 3))), int(rng.integers(2, 5))
                if rng.uniform() < 0.5:
                    out[index, :, y0 : y1 + 2, x + dx : x + dx + thick] = -0.8
                else:
                    out[index, :, y0 : y0 + thick, x : x + dx + thick] = -0.8
            x += int(rng.integers(height // 3, height // 2 + 2))
    return np.clip(out, -1, 1).astype(np.float32)


def speech(batch, seed, samples=576):
    """A voice-like tone with overtones, then noise."""
    rng = np.random.default_rng(seed)
    time = np.arange(samples) / 16000
    pitch = rng.uniform(90, 240, (batch, 1))
    wave = sum(
        np.sin(2 * np.pi * pitch * k * time + rng.uniform(0, 6, (batch, 1))) / k
        for k in range(1, 12)
    )
    return (
        0.1 * wave * rng.uniform(0.1, 1.5, (batch, 1)) + 0.01 * rng.normal(size=(batch, samples))
    ).astype(np.float32)


def silero_feed(batch, seed):
    rng = np.random.default_rng(seed)
    return {
        "input": speech(batch, seed),
        "sr": np.array(16000, np.int64),
        "state": np.tanh(rng.normal(size=(2, batch, 128)) * 0.5).astype(np.float32),
    }


def feeds(name, quick=False):
    """Inputs of several sizes for a model."""
    if name == "magika":
        return [{"bytes": file_bytes(count, seed)} for count, seed in ((1, 1), (3, 2), (7, 3))]
    if name == "minilm":
        return [encode(SENTENCES[:1]), encode(SENTENCES), encode(SENTENCES[1:3], 64)]
    if name == "ppocr-det":
        sizes = [(1, 64, 96), (2, 96, 160)] + ([] if quick else [(1, 320, 480)])
        return [{"x": text_lines(n, h + w, h, w)} for n, h, w in sizes]
    if name == "ppocr-rec":
        sizes = [(1, 160), (2, 97)] + ([] if quick else [(1, 320), (3, 48)])
        return [{"x": text_lines(n, w, 48, w)} for n, w in sizes]
    if name == "ppocr-cls":
        return [{"x": text_lines(n, 5 + n, 48, 192)} for n in (1, 3)]
    if name == "silero":
        still = silero_feed(1, 9)
        still["state"] = np.zeros_like(still["state"])
        return [still, silero_feed(1, 1), silero_feed(3, 2)]
    if name.startswith("light-"):
        return [{None: images(1, 3)}]
    return [{None: images(1, 3)}] + (
        [] if quick else [{None: images(2 if name in ("vgg19", "zfnet") else 3, 4)}]
    )


def named(feed, model):
    """The feed with None replaced by the name of the only input."""
    if None not in feed:
        return feed
    constants = {i.name for i in model.graph.initializer}
    return {next(i.name for i in model.graph.input if i.name not in constants): feed[None]}


# ---------------------------------------------------------------------------------------------
# The rule
# ---------------------------------------------------------------------------------------------


def compare(got, want, logits):
    """(right, largest error, that error as a share of what is allowed). logits: the rule before a
    Softmax.
    """
    if got.shape != want.shape or got.dtype != want.dtype:
        return False, float("inf"), float("inf")
    if want.size == 0:
        return True, 0.0, 0.0
    error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    if logits:
        largest = float(np.abs(want).max())
        worst = float(error.max()) / max(largest, 1e-30)
        share = worst / LOGIT_TOLERANCE
    else:
        worst = float(error.max())
        share = float((error / (ATOL + RTOL * np.abs(want.astype(np.float64)))).max())
    return bool(share <= 1.0), worst, share  # NaN is never right


def add_logits(model):
    """Adds the tensor before a final Softmax or Sigmoid as an output; returns its name, or None."""
    makers = {name: node for node in model.graph.node for name in node.output}
    name = model.graph.output[0].name
    node = makers[name]
    while (
        node.op_type in ("Identity", "Reshape", "Squeeze", "Unsqueeze") and node.input[0] in makers
    ):
        node = makers[node.input[0]]
    if node.op_type in ("Softmax", "Sigmoid"):
        logits = node.input[0]
    elif (
        node.op_type == "Div" and makers[node.input[0]].op_type == "Exp"
    ):  # spelled out: Exp(x - max) / sum
        logits = makers[makers[node.input[0]].input[0]].input[0]
    else:
        return None
    model.graph.output.append(helper.make_tensor_value_info(logits, 1, None))
    return logits


# ---------------------------------------------------------------------------------------------
# Swaps
# ---------------------------------------------------------------------------------------------

# operator -> (which input holds the weights, along which axis its output channels lie)
CHANNELS = {"Conv": (1, 0), "ConvTranspose": (1, 1), "MatMul": (1, -1), "LSTM": (1, 1)}


def all_graphs(graph):
    """A graph and, recursively, those in its nodes' attributes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from all_graphs(attribute.g)


def constants_of(model):
    """name -> TensorProto, wherever the model keeps it."""
    found = {}
    for graph in all_graphs(model.graph):
        found.update({i.name: i for i in graph.initializer})
        for node in graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                found[node.output[0]] = node.attribute[0].t
    return found


def weight_layers(model):
    """[(node, name of its weights, axis of output channels)] in the order of the file."""
    constants = constants_of(model)
    layers = []
    for graph in all_graphs(model.graph):
        for node in graph.node:
            if node.op_type == "Gemm":
                transposed = any(a.name == "transB" and a.i for a in node.attribute)
                position, axis = 1, 0 if transposed else 1
            elif node.op_type in CHANNELS:
                position, axis = CHANNELS[node.op_type]
            else:
                continue
            tensor = constants.get(node.input[position])
            if (
                tensor is not None
                and len(tensor.dims) > 1
                and tensor.dims[axis] > 1
                and tensor.data_type == 1
            ):
                layers.append((node, node.input[position], axis))
    return layers


def swap(model, name, axis):
    """A copy of the model with two output channels of one weight exchanged: the heaviest and the
    one least like it.
    """
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    tensor = constants_of(copy)[name]
    array = numpy_helper.to_array(tensor).copy()
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1).astype(np.float64)
    first = int(np.argmax((rows**2).sum(axis=1)))
    second = int(np.argmax(((rows - rows[first]) ** 2).sum(axis=1)))
    index = np.arange(array.shape[axis])
    index[[first, second]] = second, first
    array = np.take(array, index, axis=axis)
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return copy


def swaps(model):
    """(where, layer, edited model) for the first, a middle and the last weight layer."""
    layers = weight_layers(model)
    for where, index in (("first", 0), ("middle", len(layers) // 2), ("last", len(layers) - 1)):
        node, name, axis = layers[index]
        yield where, f"{node.op_type} {node.name or name}", swap(model, name, axis)
