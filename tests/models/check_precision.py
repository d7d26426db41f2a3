#!/usr/bin/env python3
"""bf16 and int8: right within a stated bound, the same bits whatever stands beside them, and how much faster.

Goal:   bf16 (precision="bf16") is as far from f32 as rounding the operands of products explains, and no
        farther; int8 models differ from ONNX Runtime by no more than its own two ways of running them differ.
        A row has the same bits alone, in a batch, with 1 thread and with 2. bf16 takes at most 1/1.8 of
        the time of f32 on MiniLM 8x128 and ResNet-50; int8 ResNet-50 at most 1/2.2, and less than
        ONNX Runtime's.
Method: ONNX Runtime on the same graph, with Cast to bfloat16 and back before each product, shows what
        rounding alone does. Quantised models are made by onnxruntime's quantizer. Times: sessions of one
        process in turn, medians of ratios.
That it can fail: bf16 must differ from f32, and by more than f32's own tolerance.

usage: check_precision.py [--quick]     quick: small models, no times
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, version_converter

import support
from support import fetch

QUANTIZE = support.ROOT / "benchmarks" / "models" / "quantize.py"


class Count:
    passed = failed = 0

    def check(self, what, good, said=""):
        self.passed, self.failed = self.passed + bool(good), self.failed + (not good)
        print(f"{what:66s} {said} {'ok' if good else 'BAD'}", flush=True)


def session(model, precision="f32", threads=0):
    import weir  # pylint: disable=import-outside-toplevel

    return weir.InferenceSession(model, precision=precision, threads=threads)


def has_bf16():
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    return "avx512_bf16" in flags and "avx512_vnni" in flags


def rounded(array):
    """To bfloat16, ties to even, as float32."""
    bits = array.astype(np.float32).view(np.uint32)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return bits.astype(np.uint32).view(np.float32)


def with_rounded_operands(model):
    """The graph with both operands of each product rounded: constants here, the others by Casts."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if max(opset.version for opset in copy.opset_import if opset.domain in ("", "ai.onnx")) < 13:
        copy = version_converter.convert_version(copy, 13)  # the first with Cast to bfloat16
    constants = {i.name: i for i in copy.graph.initializer}
    nodes, seen = [], set()
    for node in copy.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in constants:
            name = node.input[1]
            if name not in seen:
                seen.add(name)
                array = numpy_helper.to_array(constants[name]).copy()
                constants[name].CopyFrom(numpy_helper.from_array(rounded(array), name))
            low, high = node.output[0] + "/low", node.output[0] + "/high"
            nodes.append(helper.make_node("Cast", [node.input[0]], [low], to=TensorProto.BFLOAT16))
            nodes.append(helper.make_node("Cast", [low], [high], to=TensorProto.FLOAT))
            node.input[0] = high
        nodes.append(node)
    del copy.graph.node[:]
    copy.graph.node.extend(nodes)
    return copy


def distance(got, want):
    """Root mean square of the difference, as a part of that of the values."""
    got, want = got.astype(np.float64), want.astype(np.float64)
    return float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2)))


def check_bf16(count, name, feed):
    """An output before the last Softmax, where there is one."""
    model = onnx.load(str(fetch.model_path(name)))
    feed = support.named(feed, model)
    logits = support.add_logits(model) or model.graph.output[0].name
    plain, lower = session(model.SerializeToString()), session(model.SerializeToString(), "bf16")
    (f32,), (bf16,) = plain.run([logits], feed), lower.run([logits], feed)
    (rounding,) = [support.Ort(with_rounded_operands(model).SerializeToString()).run(feed)[logits]]
    ours, theirs = distance(bf16, f32), distance(rounding, f32)
    if not has_bf16():
        count.check(f"{name}: bf16 without instructions for it is f32", np.array_equal(bf16, f32))
        return
    count.check(f"{name}: bf16 is off by what rounding operands explains", 0 < ours <= 1.5 * theirs,
                f"{ours:.4f} of the values, rounding alone {theirs:.4f}")
    count.check(f"{name}: it is not f32", ours > support.LOGIT_TOLERANCE / 4)


def check_same_bits(count, what, model, precision, feeds):
    """feeds: one input each of several rows."""
    alone = session(model, precision, threads=1)
    two = session(model, precision, threads=2)
    batch = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
    rows = [alone.run(None, feed)[0] for feed in feeds]
    count.check(f"{what}: a row's bits alone, in a batch, 1 and 2 threads",
                np.array_equal(np.concatenate(rows), two.run(None, batch)[0])
                and np.array_equal(alone.run(None, batch)[0], two.run(None, batch)[0]))


def quantised(folder, kind, name):
    out = pathlib.Path(folder) / f"{name}-{kind}.onnx"
    subprocess.run([sys.executable, str(QUANTIZE), kind, str(fetch.model_path(name)), str(out)], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return str(out)


def check_int8(count, path, feed):
    """Each quantised tensor of the model against ONNX Runtime, in steps."""
    model = onnx.load(path)
    feed = support.named(feed, model)
    steps = [node.output[0] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    for step in steps:
        model.graph.output.append(helper.make_tensor_value_info(step, TensorProto.UINT8, None))
    bytes_ = model.SerializeToString()
    fused, spelled = support.Ort(bytes_).run(feed), support.PlainOrt(bytes_).run(feed)
    ours_session = session(bytes_)
    ours = dict(zip([o.name for o in ours_session.get_outputs()], ours_session.run(None, feed)))
    noise = error = 0.0
    for step in steps:
        away = np.abs(fused[step].astype(int) - spelled[step].astype(int))
        off = np.abs(fused[step].astype(int) - ours[step].astype(int))
        noise, error = noise + float(away.mean()), error + float(off.mean())
    name = pathlib.Path(path).stem
    count.check(f"{name}: int8 within ONNX Runtime's own noise", error <= max(noise, 1e-3 * len(steps)),
                f"mean steps off {error / len(steps):.4f}, its two ways {noise / len(steps):.4f}")


def times(runs, rounds=15, seconds=0.15):
    """name -> seconds per run, in turn."""
    found = {name: [] for name in runs}
    for run in runs.values():
        run()
    order = list(runs)
    for turn in range(rounds):
        for name in order if turn % 2 else reversed(order):
            begin, done = time.perf_counter(), 0
            while time.perf_counter() - begin < seconds:
                runs[name]()
                done += 1
            found[name].append((time.perf_counter() - begin) / done)
    return {name: np.array(values) for name, values in found.items()}


def check_speed(count, what, runs, wanted):
    """wanted: name -> (faster than which, how many times)."""
    found = times(runs)
    for name, (other, least) in wanted.items():
        ratio = float(np.median(found[other] / found[name]))
        milliseconds = float(np.median(found[name])) * 1e3
        count.check(f"{what}: {name} beside {other}", ratio >= least,
                    f"{milliseconds:.2f} ms, {ratio:.2f} times (at least {least:g})")


def runner(model, feed, precision="f32"):
    ready = session(model, precision)
    return lambda: ready.run(None, feed)


def full_speed(count, int8_path):
    random = np.random.default_rng(3)
    tokens = {"input_ids": random.integers(1, 20000, (8, 128)), "attention_mask": np.ones((8, 128), np.int64),
              "token_type_ids": np.zeros((8, 128), np.int64)}
    minilm, resnet = str(fetch.model_path("minilm")), str(fetch.model_path("resnet50"))
    image = support.named({None: support.images(1, 3).astype(np.float32)}, onnx.load(resnet))
    if has_bf16():
        check_speed(count, "MiniLM 8x128", {"f32": runner(minilm, tokens), "bf16": runner(minilm, tokens, "bf16")},
                    {"bf16": ("f32", 1.8)})
    else:
        print("this machine has no bf16 instructions: its speed is not measured")
    ort = support.Ort(int8_path, threads=len(os.sched_getaffinity(0)))
    runs = {"f32": runner(resnet, image), "int8": runner(int8_path, image),
            "ONNX Runtime int8": lambda: ort.run(image)}
    wanted = {"int8": ("f32", 2.2)}
    if has_bf16():
        runs["bf16"] = runner(resnet, image, "bf16")
        wanted["bf16"] = ("f32", 1.8)
    check_speed(count, "ResNet-50", runs, wanted)
    del runs["f32"]
    check_speed(count, "ResNet-50", runs, {"int8": ("ONNX Runtime int8", 1.0)})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    count = Count()
    names = ["minilm", "squeezenet"] if quick else ["minilm", "squeezenet", "resnet50", "densenet121"]
    for name in names:
        check_bf16(count, name, support.feeds(name, quick=True)[0])
    sentences = [support.encode([text], 16) for text in support.SENTENCES[:3]]
    check_same_bits(count, "MiniLM bf16", str(fetch.model_path("minilm")), "bf16", sentences)
    image = next(i.name for i in onnx.load(str(fetch.model_path("squeezenet"))).graph.input)
    pictures = [{image: support.images(1, seed).astype(np.float32)} for seed in (3, 4)]
    check_same_bits(count, "SqueezeNet bf16", str(fetch.model_path("squeezenet")), "bf16", pictures)
    with tempfile.TemporaryDirectory() as folder:
        small = quantised(folder, "static", "squeezenet")
        check_int8(count, small, {None: support.images(1, 3).astype(np.float32)})
        check_same_bits(count, "SqueezeNet int8", small, "f32", pictures)
        if not quick:
            path = quantised(folder, "static", "resnet50")
            check_int8(count, path, {None: support.images(1, 3).astype(np.float32)})
            full_speed(count, path)
    print(f"precision: {count.passed} passed, {count.failed} failed")
    return int(count.failed > 0 or count.passed == 0)


if __name__ == "__main__":
    sys.exit(main())
