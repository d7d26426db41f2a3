"""How fast the OpenCL plugin is beside weir_cpu on the same cores: PoCL against hand-written code.

What: chains of products and of ResNet-50's convolutions, and whole models, on both devices in one
      process, in turns (ABBA), so that a shared machine's drift hits both. A figure is the median
      over the turns of (time on the CPU plugin) / (time on OpenCL): 1 is as fast, 0.5 half as fast.
      Then: what creating MiniLM takes in a new process whose binaries are in the cache.
Must not: judge by a single run. With --check the exit code is 1 below the bars (0.9 for products,
      0.7 for convolutions, 0.6 for models, 0.5 s).

usage: opencl.py [--turns N] [--only TEXT] [--json FILE] [--check] [--cpu-time]
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
from onnx import TensorProto, helper, numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "engine" / "python"), str(ROOT / "benchmarks" / "models")]

import fetch  # noqa: E402  pylint: disable=wrong-import-position
import weir  # noqa: E402  pylint: disable=wrong-import-position

BARS = {"product": 0.9, "convolution": 0.7, "model": 0.6}
START_SECONDS = 0.5
CHAIN = 4
LONG_CHAIN = 12  # of convolutions: what goes in and out is then little beside them


def chain(dims, links):
    """A model of nodes one after the other; a link is (operator, shape of its constant, attributes)."""
    rng = np.random.default_rng(1)
    nodes, constants, value = [], [], "x"
    for index, (op, shape, attributes) in enumerate(links):
        fan = shape[0] if op == "MatMul" else int(np.prod(shape[1:]))
        weights = (rng.standard_normal(shape) * fan**-0.5).astype(np.float32)
        constants.append(numpy_helper.from_array(weights, f"w{index}"))
        nodes.append(helper.make_node(op, [value, f"w{index}"], [f"v{index}"], **attributes))
        value = f"v{index}"
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)
    result = helper.make_tensor_value_info(value, TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "chain", [source], [result], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model.SerializeToString(), {"x": rng.standard_normal(dims).astype(np.float32)}


def products():
    for n in (512, 1024, 2048):
        model, feed = chain([n, n], [("MatMul", [n, n], {})] * CHAIN)
        yield "product", f"MatMul {n}x{n}x{n}", model, feed, 2.0 * n**3 * CHAIN


def convolutions():
    """The shapes that ResNet-50's time goes to, the same one several times over."""
    for c, size in ((64, 56), (128, 28), (256, 14), (512, 7)):
        same = {"kernel_shape": [3, 3], "pads": [1] * 4}
        model, feed = chain([1, c, size, size], [("Conv", [c, c, 3, 3], same)] * LONG_CHAIN)
        flop = 2.0 * size * size * c * c * 9 * LONG_CHAIN
        yield "convolution", f"Conv 3x3 {c}x{size}x{size}", model, feed, flop
        wide = [("Conv", [c, 4 * c, 1, 1], {}), ("Conv", [4 * c, c, 1, 1], {})] * (LONG_CHAIN // 2)
        model, feed = chain([1, 4 * c, size, size], wide)
        flop = 2.0 * size * size * c * 4 * c * LONG_CHAIN
        yield "convolution", f"Conv 1x1 {4 * c}x{size}x{size} to {c} and back", model, feed, flop


def models():
    rng = np.random.default_rng(2)
    image = rng.standard_normal((1, 3, 224, 224)).astype(np.float32)
    page = rng.standard_normal((1, 3, 640, 640)).astype(np.float32)
    tokens = rng.integers(1000, 20000, (8, 128))
    text = {
        "input_ids": tokens,
        "attention_mask": np.ones_like(tokens),
        "token_type_ids": np.zeros_like(tokens),
    }
    yield "model", "ResNet-50", str(fetch.model_path("resnet50")), image, 0
    yield "model", "PP-OCR det 640x640", str(fetch.model_path("ppocr-det")), page, 0
    yield "model", "MiniLM 8x128", str(fetch.model_path("minilm")), text, 0


def seconds(session, feed, runs, clock=time.perf_counter):
    begin = clock()
    for _ in range(runs):
        session.run(None, feed)
    return (clock() - begin) / runs


def measure(model, feed, turns, clock):
    sessions = {
        "opencl": weir.InferenceSession(model, devices=["opencl"]),
        "cpu": weir.InferenceSession(model, devices=["cpu"]),
    }
    if not isinstance(feed, dict):
        feed = {sessions["cpu"].get_inputs()[0].name: feed}
    results = {name: session.run(None, feed)[0] for name, session in sessions.items()}
    size = float(np.abs(results["cpu"]).max())
    if not float(np.abs(results["opencl"] - results["cpu"]).max()) <= 1e-3 * size:
        raise SystemExit("the devices' results differ: nothing of this is worth timing")
    runs = max(1, int(0.05 / min(seconds(s, feed, 2) for s in sessions.values())))
    times = {"opencl": [], "cpu": []}
    for turn in range(turns):
        for name in ("opencl", "cpu") if turn % 2 else ("cpu", "opencl"):
            times[name].append(seconds(sessions[name], feed, runs, clock))
    ratio = statistics.median(c / o for c, o in zip(times["cpu"], times["opencl"]))
    return ratio, statistics.median(times["opencl"]), statistics.median(times["cpu"])


def start_seconds():
    """How long a new process needs to create MiniLM, the second of two with one cache."""
    program = (
        "import sys,time; sys.path.insert(0, sys.argv[1]); import weir\n"
        "engine = weir.Engine(cache_dir=sys.argv[3]); begin = time.perf_counter()\n"
        "weir.InferenceSession(sys.argv[2], devices=['opencl', 'cpu'], engine=engine)\n"
        "print(time.perf_counter() - begin)\n"
    )
    path = str(fetch.model_path("minilm"))
    with tempfile.TemporaryDirectory() as cache:
        environment = dict(os.environ, POCL_CACHE_DIR=str(pathlib.Path(cache) / "pocl"))
        command = [sys.executable, "-c", program, str(ROOT / "engine" / "python"), path, cache]
        taken = [
            float(subprocess.run(command, env=environment, check=True, stdout=-1).stdout)
            for _ in range(3)
        ]
    return taken[0], min(taken[1:])


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--only", default="")
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true")
    parser.add_argument(
        "--cpu-time",
        action="store_true",
        help="processor time instead of time: for a machine that others use",
    )
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    lines, below = [], 0
    print(f"{'':44} {'OpenCL':>10} {'cpu':>10} {'cpu / OpenCL':>13}  bar")
    for source in (products, convolutions, models):
        for kind, name, model, feed, flop in source():
            if given.only not in name:
                continue
            ratio, opencl, cpu = measure(model, feed, given.turns, clock)
            below += ratio < BARS[kind]
            speed = f"  {flop / opencl / 1e9:.0f} and {flop / cpu / 1e9:.0f} GFLOP/s" if flop else ""
            print(
                f"{name:44} {opencl * 1e3:7.2f} ms {cpu * 1e3:7.2f} ms {ratio:13.2f}"
                f"  {BARS[kind]}{speed}",
                flush=True,
            )
            lines.append(
                {"name": name, "kind": kind, "opencl_s": opencl, "cpu_s": cpu, "ratio": ratio}
            )
    if given.only in "MiniLM start":
        first, second = start_seconds()
        below += second > START_SECONDS
        print(f"MiniLM created in {first:.2f} s, with its binaries cached in {second:.2f} s")
        lines.append({"name": "start", "first_s": first, "cached_s": second})
    if given.json:
        pathlib.Path(given.json).write_text(
            "".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8"
        )
    if below:
        print(f"{below} below the bar")
    return 1 if below and given.check else 0


if __name__ == "__main__":
    sys.exit(main())
