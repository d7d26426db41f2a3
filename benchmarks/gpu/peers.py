#!/usr/bin/env python3
"""MiniLM and ResNet-50 on torch (eager, compile(max-autotune), CUDA graphs), JAX and weir, in turns.

What:   all run the same configuration with the same seeded weights (models.py) on the same inputs, f32 with
        TF32 off, and bf16, where the others store in bf16 and weir rounds the operands of products of f32
        (convolutions: to TF32). weir comes first, alone; then each of the others as it is ready, in turns with weir, so
        that neither has the GPU's best minute: "weir_beside" is weir's figure in those turns, which a ratio is made
        with. A figure is the median of the rounds' medians. Inputs and outputs are on the device for the others; weir
        is timed from host memory to host memory, which costs it the copies.
Why:    bars are given beside these peers, on the same GPU in the same run.
        What weir makes in the background at a shape's first runs is waited for: a figure says how it is served.
Limits: a runner that is not there, or does not start, is named with its reason. With --dry-run weir runs on the
        CPU and small models, and what torch or JAX lack is listed.

        Each case has a process of its own: one that crashes, or does not end (LIMIT_S), is a reason in its row, and
        the next one follows. What has no time left goes on at the next call with the same ROWS, cases that were
        tried least first: exit code 75; 1 if this call has added nothing, or weir itself has no figure somewhere.
        Of earlier rows those of these sources (GPU_STAMP) are kept. The JSON so far is said after each figure: a call
        that is killed has the last one. What takes long to be made ready (torch.compile) comes when every case has the
        rest.

usage: peers.py FOLDER --json ROWS [--seconds N] [--dry-run]      (--case, --pass, --before: of its own processes)
"""

import argparse
import faulthandler
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

import models
import numpy as np
from stamp import kept

# (model, batch, sequence, kind), what says most first.
CASES = (("minilm", 1, 128, "f32"), ("resnet50", 1, 0, "f32"), ("minilm", 1, 128, "bf16"),
         ("minilm", 32, 128, "bf16"), ("minilm", 32, 128, "f32"), ("resnet50", 32, 0, "f32"),
         ("resnet50", 1, 0, "bf16"), ("resnet50", 32, 0, "bf16"))
TINY = (("minilm-tiny", 2, 16, "f32"), ("resnet-tiny", 2, 0, "f32"))
ROUNDS, SECONDS = 5, 0.4  # of one runner in one round
# Of one figure with all that it needs; what is compiled by a search takes longer.
LIMIT_S, LONG_LIMIT_S = 90, 150
PAUSE_S = 3.0  # between looks at whether weir has what it makes in the background


# ---- torch -----------------------------------------------------------------------------------------


def torch_bert(torch, w, layers, hidden, heads, inner, words):
    f = torch.nn.functional

    def norm(x, scale, bias):
        return f.layer_norm(x, (hidden,), w[scale], w[bias], 1e-12)

    def split(x):
        return x.view(x.shape[0], x.shape[1], heads, hidden // heads).transpose(1, 2)

    def forward(ids, mask):
        x = w["words"][ids] + w["positions"][: ids.shape[1]]
        x = norm(x, "norm_scale", "norm_bias")
        add = ((1 - mask.to(x.dtype)) * -10000)[:, None, None, :]
        for i in range(layers):
            q, k, v = (split(x @ w[f"{i}.{n}"] + w[f"{i}.{n}_bias"]) for n in "qkv")
            mixed = f.scaled_dot_product_attention(q, k, v, add.expand(-1, heads, ids.shape[1], -1))
            mixed = mixed.transpose(1, 2).reshape(x.shape)
            x = norm(mixed @ w[f"{i}.o"] + w[f"{i}.o_bias"] + x, f"{i}.mid_scale", f"{i}.mid_bias")
            up = f.gelu(x @ w[f"{i}.up"] + w[f"{i}.up_bias"])
            x = norm(up @ w[f"{i}.down"] + w[f"{i}.down_bias"] + x, f"{i}.end_scale", f"{i}.end_bias")
        return x

    return forward


def torch_resnet(torch, w, **config):
    f = torch.nn.functional
    shapes = {name: (window, stride) for name, _, _, window, stride in models.resnet_layout(**config)[0]}

    def conv(x, name):
        window, stride = shapes[name]
        return f.conv2d(x, w[name], w[f"{name}_bias"], stride, window // 2)

    def forward(image):
        x = f.max_pool2d(f.relu(conv(image, "stem")), 3, 2, 1)
        for stage, count in enumerate(config["blocks"]):
            for i in range(count):
                name = f"{stage}.{i}"
                skip = conv(x, f"{name}.skip") if not i else x
                y = f.relu(conv(f.relu(conv(x, f"{name}.a")), f"{name}.b"))
                x = f.relu(conv(y, f"{name}.c") + skip)
        return x.mean((2, 3)) @ w["head"] + w["head_bias"]

    return forward


def torch_runner(label, name, feeds, kind):
    """A call, which ends when the device has."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    if not torch.cuda.is_available():
        raise RuntimeError("torch sees no GPU")
    dtype = torch.bfloat16 if kind == "bf16" else torch.float32

    def up(array):
        moved = torch.from_numpy(np.ascontiguousarray(array)).cuda()
        return moved.to(dtype) if moved.is_floating_point() else moved

    w = {key: up(array) for key, array in models.weights(name).items()}
    given = [up(array) for array in feeds.values()]
    make, config = (torch_bert, models.BERT) if name in models.BERT else (torch_resnet, models.RESNET)
    forward = make(torch, w, **config[name])

    def timed(call):
        def run():
            with torch.no_grad():
                out = call()
            torch.cuda.synchronize()
            return out

        return run

    if label == "torch eager":
        return timed(lambda: forward(*given))
    if label == "torch compile":
        compiled = torch.compile(forward, mode="max-autotune")
        return timed(lambda: compiled(*given))
    stream = torch.cuda.Stream()
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            forward(*given)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        forward(*given)
    return timed(graph.replay)


# ---- JAX -------------------------------------------------------------------------------------------


def jax_runner(name, feeds, kind):
    import jax
    import jax.numpy as jnp

    if jax.default_backend() != "gpu":
        raise RuntimeError("JAX sees no GPU")
    dtype = jnp.bfloat16 if kind == "bf16" else jnp.float32
    jax.config.update("jax_default_matmul_precision", "highest" if kind == "f32" else "default")
    w = {key: jnp.asarray(array, dtype) for key, array in models.weights(name).items()}
    given = [jnp.asarray(a, dtype) if a.dtype == np.float32 else jnp.asarray(a) for a in feeds.values()]

    def norm(x, scale, bias):
        mean = x.mean(-1, keepdims=True)
        return (x - mean) / jnp.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + 1e-12) * scale + bias

    def bert(w, ids, mask):
        c = models.BERT[name]
        x = norm(w["words"][ids] + w["positions"][: ids.shape[1]], w["norm_scale"], w["norm_bias"])
        add = ((1 - mask.astype(dtype)) * -10000)[:, None, None, :]
        for i in range(c["layers"]):
            q, k, v = ((x @ w[f"{i}.{n}"] + w[f"{i}.{n}_bias"]).reshape(*ids.shape, c["heads"], -1) for n in "qkv")
            scores = jnp.einsum("bshd,bthd->bhst", q, k) / np.sqrt(q.shape[-1]).astype(np.float32) + add
            mixed = jnp.einsum("bhst,bthd->bshd", jax.nn.softmax(scores, -1).astype(dtype), v).reshape(x.shape)
            x = norm(mixed @ w[f"{i}.o"] + w[f"{i}.o_bias"] + x, w[f"{i}.mid_scale"], w[f"{i}.mid_bias"])
            up = jax.nn.gelu(x @ w[f"{i}.up"] + w[f"{i}.up_bias"], approximate=False)
            x = norm(up @ w[f"{i}.down"] + w[f"{i}.down_bias"] + x, w[f"{i}.end_scale"], w[f"{i}.end_bias"])
        return x

    def resnet(w, image):
        config = models.RESNET[name]
        shapes = {row[0]: row[3:] for row in models.resnet_layout(**config)[0]}

        def conv(x, key):
            window, stride = shapes[key]
            y = jax.lax.conv_general_dilated(x, w[key], (stride, stride), [(window // 2, window // 2)] * 2)
            return y + w[f"{key}_bias"][None, :, None, None]

        x = jax.nn.relu(conv(image, "stem"))
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 3, 3), (1, 1, 2, 2),
                                  ((0, 0), (0, 0), (1, 1), (1, 1)))
        for stage, count in enumerate(config["blocks"]):
            for i in range(count):
                key = f"{stage}.{i}"
                skip = conv(x, f"{key}.skip") if not i else x
                y = jax.nn.relu(conv(jax.nn.relu(conv(x, f"{key}.a")), f"{key}.b"))
                x = jax.nn.relu(conv(y, f"{key}.c") + skip)
        return x.mean((2, 3)) @ w["head"] + w["head_bias"]

    call = jax.jit(bert if name in models.BERT else resnet)
    return lambda: call(w, *given).block_until_ready()


# ---- weir, and the turns ---------------------------------------------------------------------------


def weir_runner(folder, name, feeds, kind, device):
    import weir

    session = weir.InferenceSession(folder / f"{name}.onnx", devices=device, precision=kind)
    return session.bind(feeds).run


def is_settled(call, pause):
    """Runs it until two medians with a pause before each are alike; False if none were in ten pauses.

    A shape is recorded in the background after some runs; until then its convolutions have other kernels."""
    for _ in range(12):
        call()
    before, until = None, time.perf_counter() + 10 * pause
    while time.perf_counter() + pause <= until:
        time.sleep(pause)
        now = median_ms(call, 0)
        if before is not None and abs(now - before) <= 0.1 * max(now, before):
            return True
        before = now
    return False


# All cases get the first, then all the second.
PASSES = (("torch eager", "torch CUDA graph", "JAX jit"), ("torch compile",))


def runner_of(label, name, feeds, kind):
    return jax_runner(name, feeds, kind) if label == "JAX jit" else torch_runner(label, name, feeds, kind)


def ready(make):
    """(call, None) after some warm-up, or (None, why there is none)."""
    try:
        call = make()
        for _ in range(3):
            call()
        return call, None
    except Exception as error:  # whatever a library of somebody's raises is its reason
        return None, f"{type(error).__name__}: {error}"[:300]


def median_ms(call, seconds):
    times, until = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def count_of(rows):
    """What has been found out: figures, and reasons why a peer has none."""
    return sum(len(row["ms"]) + len(set(row["missing"]) - {"weir"}) for row in rows)


def in_turns(calls, rounds, seconds):
    """The figure of each."""
    found = [[] for _ in calls]
    for turn in range(rounds):
        order = range(len(calls)) if turn % 2 == 0 else reversed(range(len(calls)))
        for i in order:
            found[i].append(median_ms(calls[i], seconds))
    return [statistics.median(values) for values in found]


def is_open(row, labels):
    """The peers that the row says nothing of yet."""
    return [label for label in labels if label not in row["ms"] and label not in row["missing"]]


class Table:
    """The rows, and the file that they are in after each figure."""

    def __init__(self, file, device, stamp, cases, before=None):
        self.file, self.device, self.stamp, self.cases = file, device, stamp, cases
        self.rows = []
        self.read()
        self.before = count_of(self.rows) if before is None else before

    def read(self):
        if self.file.exists():
            self.rows = kept(json.loads(self.file.read_text()), self.stamp)

    def row(self, case):
        name, batch, sequence, kind = case
        title = f"{name} {kind} batch {batch}" + (f" x {sequence}" if sequence else "")
        found = [row for row in self.rows if row["case"] == title]
        if not found:
            found = [{"case": title, "ms": {}, "weir_beside": {}, "missing": {}, "tried": 0, "stamp": self.stamp}]
            self.rows += found
        return found[0]

    def added(self):
        return count_of(self.rows) - self.before

    def left(self):
        """Figures that nothing is known of yet."""
        rows = [row for row in map(self.row, self.cases) if "weir" not in row["missing"]]
        labels = ("weir", *(label for peers in PASSES for label in peers))
        return sum(len(is_open(row, labels)) for row in rows)

    def save(self):
        made = self.file.with_suffix(".new")
        made.write_text(json.dumps(self.rows))
        made.rename(self.file)

    def say(self):
        self.save()
        print(json.dumps({"device": self.device, "left": self.left(), "added": self.added(), "rows": self.rows}),
              flush=True)

    def begin(self, row, label):
        """The file says what is tried, so that who comes after a crash knows; what does not end is ended."""
        row["trying"] = label
        self.save()
        limit = LONG_LIMIT_S if label in PASSES[-1] else LIMIT_S
        faulthandler.dump_traceback_later(limit, exit=True)

    def end(self, row, label):
        """The row has a figure more, or a reason why there is none."""
        faulthandler.cancel_dump_traceback_later()
        del row["trying"]
        print(row["case"], label, row["ms"].get(label), row["weir_beside"].get(label), row["missing"].get(label))
        self.say()


def fill(table, row, labels, folder, case, rounds, seconds, pause):
    """weir's own figure if the row has none, then those of `labels` that it lacks."""
    name, batch, sequence, kind = case
    feeds = models.inputs(name, batch, sequence)
    table.begin(row, "weir")
    weir, why = ready(lambda: weir_runner(folder, name, feeds, kind, table.device))
    if weir:
        is_steady = is_settled(weir, pause)
        if "weir" not in row["ms"]:
            row["ms"]["weir"], row["is_steady"] = in_turns([weir], rounds, seconds)[0], is_steady
    else:
        row["missing"]["weir"] = why
    table.end(row, "weir")
    for label in is_open(row, labels) if weir else ():
        table.begin(row, label)
        call, why = ready(lambda: runner_of(label, name, feeds, kind))
        if call:
            row["weir_beside"][label], row["ms"][label] = in_turns([weir, call], rounds, seconds)
        else:
            row["missing"][label] = why
        table.end(row, label)


def do_case(table, case, labels, command, until):
    """Processes that fill the row, until it is full, or weir fails, or time is over."""
    while "weir" not in table.row(case)["missing"] and is_open(table.row(case), ("weir", *labels)):
        if time.perf_counter() + 5 > until:
            return
        table.row(case)["tried"] += 1
        table.say()
        try:
            code = subprocess.run(command, timeout=until - time.perf_counter()).returncode
        except subprocess.TimeoutExpired:
            code = None  # its time was over: nothing is wrong with it
        table.read()
        row = table.row(case)
        label = row.pop("trying", None)
        if code and label:
            why = f"its process ended with {code}, or it took longer than its limit"
            row["missing"][label] = why
        elif code and is_open(row, ("weir", *labels)):
            row["missing"]["weir"] = f"the process of this case ended with {code}"
        table.say()
        if code is None:
            return


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--case", type=int)
    parser.add_argument("--pass", type=int, dest="turn")
    parser.add_argument("--before", type=int)
    args = parser.parse_args()
    rounds, seconds, pause, device = (2, 0.05, 0, "cpu") if args.dry_run else (ROUNDS, SECONDS, PAUSE_S, "cuda")
    cases, until = TINY if args.dry_run else CASES, time.perf_counter() + args.seconds
    table = Table(args.json, device, os.environ.get("GPU_STAMP", ""), cases, args.before)
    if args.case is not None:
        case = cases[args.case]
        fill(table, table.row(case), PASSES[args.turn], args.folder, case, rounds, seconds, pause)
        return 0
    for row in table.rows:
        row["missing"].pop("weir", None)  # it is tried again
        row.pop("trying", None)
    table.say()
    for turn, labels in enumerate(PASSES):
        for case in sorted(cases, key=lambda case: table.row(case)["tried"]):
            command = [sys.executable, __file__, str(args.folder), "--json", str(args.json), "--case",
                       str(cases.index(case)), "--pass", str(turn), "--before", str(table.before)]
            do_case(table, case, labels, command + ["--dry-run"] * args.dry_run, until)
    table.say()
    if any("weir" in row["missing"] for row in table.rows) or (table.left() and not table.added()):
        return 1
    return 75 if table.left() else 0


if __name__ == "__main__":
    raise SystemExit(main())
