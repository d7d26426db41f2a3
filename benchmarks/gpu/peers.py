#!/usr/bin/env python3
"""MiniLM and ResNet-50 on torch (eager, compile(max-autotune), CUDA graphs), JAX and weir, in turns.

What:   all run the same configuration with the same seeded weights (models.py) on the same inputs, f32 with
        TF32 off, and bf16, where the others store in bf16 and weir rounds the operands of products of f32
        (convolutions: to TF32). Rounds go around all runners, so that none has the GPU's best minute; the figure is
        the median of the rounds' medians. Inputs and outputs are on the device for the others; weir is timed
        from host memory to host memory, which costs it the copies.
Why:    bars are given beside these peers, on the same GPU in the same run.
Limits: a runner that is not there, or does not start, is named with its reason. With --dry-run weir runs on the
        CPU and small models, and what torch or JAX lack is listed.

        What has no time left goes on at the next call with the same ROWS: exit code 75. Of earlier rows those
        are kept that weir has a figure in and that are of these sources (GPU_STAMP). The JSON so far is said
        after each case: a call that is killed has the last one.

usage: peers.py FOLDER --json ROWS [--seconds N] [--dry-run]
"""

import argparse
import json
import os
import pathlib
import statistics
import time

import models
import numpy as np

# (model, batch, sequence, kind), what says most first.
CASES = (("minilm", 1, 128, "f32"), ("resnet50", 1, 0, "f32"), ("minilm", 1, 128, "bf16"),
         ("minilm", 32, 128, "bf16"), ("minilm", 32, 128, "f32"), ("resnet50", 32, 0, "f32"),
         ("resnet50", 1, 0, "bf16"), ("resnet50", 32, 0, "bf16"))
TINY = (("minilm-tiny", 2, 16, "f32"), ("resnet-tiny", 2, 0, "f32"))
ROUNDS, SECONDS = 5, 0.4  # of one runner in one round


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


def torch_runners(name, feeds, kind):
    """{runner: call}, each of which ends when the device has."""
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

    compiled = torch.compile(forward, mode="max-autotune")
    stream = torch.cuda.Stream()
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            forward(*given)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        forward(*given)
    return {"torch eager": timed(lambda: forward(*given)), "torch compile": timed(lambda: compiled(*given)),
            "torch CUDA graph": timed(graph.replay)}


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


def make_runners(folder, name, feeds, kind, device):
    runners, missing = {}, {}
    makers = {"torch": lambda: torch_runners(name, feeds, kind),
              "JAX": lambda: {"JAX jit": jax_runner(name, feeds, kind)},
              "weir": lambda: {"weir": weir_runner(folder, name, feeds, kind, device)}}
    for label, maker in makers.items():
        try:
            runners.update(maker())
        except Exception as error:  # whatever a library of somebody's raises is its reason
            missing[label] = f"{type(error).__name__}: {error}"[:300]
    for label in list(runners):
        try:
            for _ in range(3):
                runners[label]()
        except Exception as error:
            missing[label] = f"{type(error).__name__}: {error}"[:300]
            del runners[label]
    return runners, missing


def median_ms(call, seconds):
    times, until = [], time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < until:
        begin = time.perf_counter()
        call()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def kept(rows, stamp):
    return [row for row in rows if "weir" in row["ms"] and row.get("stamp", "") == stamp]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--json", type=pathlib.Path, required=True)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--dry-run", action="store_true")
    args = parser.parse_args()
    until, longest, left = time.perf_counter() + args.seconds, 0.0, 0
    rounds, seconds, device = (2, 0.05, "cpu") if args.dry_run else (ROUNDS, SECONDS, "cuda")
    stamp, rows = os.environ.get("GPU_STAMP", ""), []
    if args.json.exists():  # goes on where it was cut off
        rows = kept(json.loads(args.json.read_text()), stamp)

    def say():
        print(json.dumps({"device": device, "left": left, "rows": rows}), flush=True)

    say()
    for name, batch, sequence, kind in TINY if args.dry_run else CASES:
        case = f"{name} {kind} batch {batch}" + (f" x {sequence}" if sequence else "")
        if any(row["case"] == case for row in rows):
            continue
        begin = time.perf_counter()
        if begin + longest > until:
            left += 1
            continue
        feeds = models.inputs(name, batch, sequence)
        runners, missing = make_runners(args.folder, name, feeds, kind, device)
        found = {label: [] for label in runners}
        for turn in range(rounds):
            order = list(runners) if turn % 2 == 0 else list(runners)[::-1]
            for label in order:
                found[label].append(median_ms(runners[label], seconds))
        ms = {label: statistics.median(values) for label, values in found.items()}
        rows.append({"case": case, "ms": ms, "missing": missing, "stamp": stamp})
        args.json.write_text(json.dumps(rows))
        print(case, {label: round(value, 3) for label, value in ms.items()}, missing, flush=True)
        say()
        longest = max(longest, time.perf_counter() - begin)
    say()
    if not all("weir" in row["ms"] for row in rows):
        return 1
    return 75 if left else 0


if __name__ == "__main__":
    raise SystemExit(main())
