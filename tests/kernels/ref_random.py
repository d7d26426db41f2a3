"""The reference kernels against ONNX Runtime on random shapes and attributes.

What: single-node models with seeded random shapes (odd, 1, and now and then 0), attributes and values; outputs are
      compared with ONNX Runtime's (or, where that has a defect or no kernel, the onnx package's reference
      evaluator's), computed in f32 from values that the element type under test holds exactly. Integers are equal.
Used by check_ref.py.
"""
import collections

import ml_dtypes
import numpy as np
import onnxruntime as ort
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from ref_node import run_onnx_node

OPSET = 20
F32 = np.float32


def floats(r, *shape):
    return r.standard_normal(shape).astype(F32)


def i64(values):
    return np.array(values, dtype=np.int64)


def pick(r, *values):
    return values[r.integers(len(values))]


def window(r, rank, largest=4):
    return {
        "kernel_shape": [int(r.integers(1, largest)) for _ in range(rank)],
        "strides": [int(r.integers(1, 4)) for _ in range(rank)],
        "dilations": [int(r.integers(1, 3)) for _ in range(rank)],
    }


def pads(r, w):
    auto = pick(r, "NOTSET", "NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID")
    if auto == "NOTSET":
        w["pads"] = [int(r.integers(0, w["kernel_shape"][i % len(w["kernel_shape"])]))
                     for i in range(2 * len(w["kernel_shape"]))]
    else:
        w["auto_pad"] = auto
        if auto.startswith("SAME"):
            w["dilations"] = [1] * len(w["kernel_shape"])
    return w


def conv(r):
    rank, group = int(r.integers(1, 4)), int(r.integers(1, 4))
    w = pads(r, window(r, rank))
    ci, co = int(r.integers(1, 4)), int(r.integers(1, 4))
    space = [int(r.integers(7, 14)) for _ in range(rank)]
    inputs = [floats(r, pick(r, 1, 2), group * ci, *space),
              floats(r, group * co, ci, *w["kernel_shape"])]
    if r.integers(2):
        inputs.append(floats(r, group * co))
    return "Conv", {**w, "group": group}, inputs, 1


def conv_transpose(r):
    rank, group = int(r.integers(1, 4)), int(r.integers(1, 4))
    w = window(r, rank)
    w["pads"] = [int(r.integers(0, w["kernel_shape"][i % rank])) for i in range(2 * rank)]
    if r.integers(2):
        w["output_padding"] = [int(r.integers(0, s)) for s in w["strides"]]
    if r.integers(4) == 0:
        w.pop("pads")
        w.pop("output_padding", None)
        w["auto_pad"] = pick(r, "SAME_UPPER", "SAME_LOWER", "VALID")
        w["dilations"] = [1] * rank
    ci, co = int(r.integers(1, 4)), int(r.integers(1, 4))
    space = [int(r.integers(4, 8)) for _ in range(rank)]
    inputs = [floats(r, pick(r, 1, 2), group * ci, *space),
              floats(r, group * ci, co, *w["kernel_shape"])]
    if r.integers(2):
        inputs.append(floats(r, group * co))
    return "ConvTranspose", {**w, "group": group}, inputs, 1


def pool_window(r, rank):
    w = pads(r, window(r, rank))
    if w.get("auto_pad", "").startswith("SAME"):
        # ONNX Runtime's pools let SAME padding become negative when a stride exceeds the kernel; its own
        # convolutions, and weir, stop at 0.
        w["strides"] = [min(s, k) for s, k in zip(w["strides"], w["kernel_shape"])]
    return w


def max_pool(r):
    rank = int(r.integers(1, 4))
    w = pool_window(r, rank)
    w["ceil_mode"] = int(r.integers(2)) if "pads" in w else 0
    x = floats(r, pick(r, 1, 2), 3, *[int(r.integers(7, 14)) for _ in range(rank)])
    return "MaxPool", w, [x], pick(r, 1, 2)


def average_pool(r):
    rank = int(r.integers(1, 4))
    w = pool_window(r, rank)
    w["ceil_mode"] = int(r.integers(2)) if "pads" in w else 0
    w["count_include_pad"] = int(r.integers(2))
    x = floats(r, pick(r, 1, 2), 3, *[int(r.integers(7, 14)) for _ in range(rank)])
    return "AveragePool", w, [x], 1


def resize(r):
    mode = pick(r, "nearest", "linear", "cubic")
    a = {"mode": mode, "coordinate_transformation_mode": pick(
        r, "half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric")}
    x = floats(r, 1, 2, int(r.integers(2, 9)), int(r.integers(2, 9)))
    if mode == "nearest":
        a["nearest_mode"] = pick(r, "round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    if mode == "cubic":
        a["exclude_outside"] = int(r.integers(2))
    if mode != "nearest" and r.integers(3) == 0:
        a["antialias"] = 1
    # Where the reference evaluator itself leaves the text: pytorch_half_pixel to length 1 reads at -0.5, not
    # 0; half_pixel_symmetric with a fractional length takes the wrong neighbour where it hits a pixel.
    least = 2 if a["coordinate_transformation_mode"] == "pytorch_half_pixel" else 1
    if least == 2 or a["coordinate_transformation_mode"] == "half_pixel_symmetric" or r.integers(2):
        sizes = [1, 2, int(r.integers(least, 17)), int(r.integers(least, 17))]
        return "Resize", a, [x, None, None, i64(sizes)], 1
    # Powers of two: exact in any precision, so that `nearest` has no ties decided by rounding.
    scales = np.array([1, 1, pick(r, 0.5, 1, 2, 4), pick(r, 0.5, 1, 2, 4)], dtype=F32)
    return "Resize", a, [x, None, scales], 1


def lstm(r):
    direction = pick(r, "forward", "reverse", "bidirectional")
    d, h, i = 2 if direction == "bidirectional" else 1, int(r.integers(1, 9)), int(r.integers(1, 7))
    s, b = int(r.integers(1, 6)), int(r.integers(1, 4))
    inputs = [floats(r, s, b, i), floats(r, d, 4 * h, i), floats(r, d, 4 * h, h)]
    inputs.append(floats(r, d, 8 * h) if r.integers(2) else None)
    inputs.append(r.integers(1, s + 1, b).astype(np.int32) if r.integers(2) else None)
    inputs.append(floats(r, d, b, h) if r.integers(2) else None)
    inputs.append(floats(r, d, b, h) if r.integers(2) else None)
    inputs.append(floats(r, d, 3 * h) if r.integers(2) else None)
    a = {"direction": direction, "hidden_size": h}
    if r.integers(3) == 0:
        a["clip"] = 0.75
    return "LSTM", a, inputs, 3


def slice_(r):
    x = floats(r, *[int(r.integers(0, 7)) for _ in range(4)])
    axes = r.permutation(4)[:int(r.integers(1, 5))]
    starts, ends = r.integers(-9, 9, len(axes)), r.integers(-9, 9, len(axes))
    steps = [pick(r, 1, 1, 2, 3, -1, -2) for _ in axes]
    return "Slice", {}, [x, i64(starts), i64(ends), i64(axes - 4 * r.integers(2)), i64(steps)], 1


def pad(r):
    mode = pick(r, "constant", "reflect", "edge", "wrap")
    x = floats(r, *[int(r.integers(4, 7)) for _ in range(3)])
    low = -1 if mode == "constant" else 0
    amounts = r.integers(low, 4, 6)
    inputs = [x, i64(amounts)]
    if mode == "constant" and r.integers(2):
        inputs.append(np.array(1.5, F32))
    return "Pad", {"mode": mode}, inputs, 1


def reduction(r):
    op = pick(r, "Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp")
    x = floats(r, *[int(r.integers(1, 6)) for _ in range(4)])
    if op == "LogSum":
        x = np.abs(x) + F32(0.1)
    axes = r.permutation(4)[:int(r.integers(0, 5))]
    return "Reduce" + op, {"keepdims": int(r.integers(2))}, [x, i64(axes - 4 * r.integers(2))], 1


def arg(r):
    x = r.integers(0, 4, [int(r.integers(1, 6)) for _ in range(3)]).astype(F32)
    return pick(r, "ArgMax", "ArgMin"), {"axis": int(r.integers(-3, 3)), "keepdims": int(r.integers(2)),
                                         "select_last_index": int(r.integers(2))}, [x], 1


def lrn(r):
    return "LRN", {"size": int(r.integers(1, 4)) * 2 - 1, "alpha": 0.3, "beta": 0.6, "bias": 1.5}, [
        floats(r, 2, int(r.integers(1, 9)), 3, 4)], 1


def layer_norm(r):
    x, axis = floats(r, 2, 3, 4, 5), int(r.integers(0, 4))
    inputs = [x, floats(r, *x.shape[axis:])]
    if r.integers(2):
        inputs.append(floats(r, *x.shape[axis:]))
    return "LayerNormalization", {"axis": axis - pick(r, 0, 4), "epsilon": 1e-3}, inputs, 1


def instance_norm(r):
    c = int(r.integers(1, 5))
    return "InstanceNormalization", {"epsilon": 1e-3}, [
        floats(r, 2, c, 5, 3), floats(r, c), floats(r, c)], 1


def batch_norm(r):
    c = int(r.integers(1, 5))
    return "BatchNormalization", {"epsilon": 1e-3}, [
        floats(r, 2, c, 5, 3), floats(r, c), floats(r, c), floats(r, c), np.abs(floats(r, c))], 1


def matmul(r):
    m, n, k = (int(r.integers(1, 80)) for _ in range(3))
    a, b = pick(r, ((2, 3, m, k), (3, k, n)), ((m, k), (2, k, n)), ((k,), (2, k, n)), ((3, m, k), (k,)),
                ((2, 1, m, k), (1, 3, k, n)), ((m, k), (k, n)), ((k,), (k,)))
    return "MatMul", {}, [floats(r, *a), floats(r, *b)], 1


def gemm(r):
    m, n, k = (int(r.integers(1, 90)) for _ in range(3))
    ta, tb = int(r.integers(2)), int(r.integers(2))
    inputs = [floats(r, k, m) if ta else floats(r, m, k), floats(r, n, k) if tb else floats(r, k, n)]
    c = pick(r, None, (m, n), (n,), (m, 1), (1,))
    if c:
        inputs.append(floats(r, *c))
    return "Gemm", {"alpha": 0.5, "beta": 1.5, "transA": ta, "transB": tb}, inputs, 1


def softmax(r):
    return pick(r, "Softmax", "LogSoftmax"), {"axis": int(r.integers(-3, 3))}, [
        10 * floats(r, *[int(r.integers(1, 9)) for _ in range(3)])], 1


def cum_sum(r):
    return "CumSum", {"exclusive": int(r.integers(2)), "reverse": int(r.integers(2))}, [
        floats(r, 3, 4, 5), np.array(r.integers(-3, 3))], 1


def gather(r):
    x, axis = floats(r, 4, 5, 6), int(r.integers(-3, 3))
    shape = pick(r, (), (3,), (2, 2), (0,))
    return "Gather", {"axis": axis}, [x, np.array(r.integers(-4, 4, shape), dtype=np.int64)], 1


def gather_elements(r):
    x, axis = floats(r, 4, 5, 6), int(r.integers(-3, 3))
    return "GatherElements", {"axis": axis}, [x, r.integers(-4, 4, (3, 4, 2)).astype(np.int64)], 1


def gather_nd(r):
    b = int(r.integers(0, 2))
    indices = r.integers(-3, 3, (4, 3, int(r.integers(1, 3)))).astype(np.int64)
    return "GatherND", {"batch_dims": b}, [floats(r, 4, 3, 5), indices], 1


def transpose(r):
    rank = int(r.integers(1, 6))
    return "Transpose", {"perm": [int(p) for p in r.permutation(rank)]}, [
        floats(r, *[int(r.integers(1, 6)) for _ in range(rank)])], 1


def tile(r):
    return "Tile", {}, [floats(r, 3, 1, 4), i64(r.integers(0, 4, 3))], 1


def expand(r):
    return "Expand", {}, [floats(r, 3, 1, 4), i64(pick(r, (2, 3, 5, 4), (3, 2, 4), (1,), (0, 3, 1, 4)))], 1


def split(r):
    parts = int(r.integers(1, 4))
    return "Split", {"axis": int(r.integers(-3, 3)), "num_outputs": parts}, [floats(r, 7, 8, 9)], parts


def concat(r):
    axis = int(r.integers(-3, 3))
    shapes = [[3, 4, 2] for _ in range(int(r.integers(1, 4)))]
    for s in shapes:
        s[axis] = int(r.integers(0, 5))
    return "Concat", {"axis": axis}, [floats(r, *s) for s in shapes], 1


def lp_norm(r):
    return "LpNormalization", {"axis": int(r.integers(-3, 3)), "p": pick(r, 1, 2)}, [floats(r, 3, 4, 5)], 1


MAKERS = [conv, conv, conv_transpose, conv_transpose, max_pool, max_pool, average_pool, average_pool, resize,
          resize, resize, lstm, lstm, slice_, slice_, pad, pad, reduction, reduction, arg, lrn, layer_norm,
          instance_norm, batch_norm, matmul, gemm, softmax, cum_sum, gather, gather_elements, gather_nd,
          transpose, tile, expand, split, concat, lp_norm]

# Element types, each with its tolerance: of the largest magnitude.
VARIANTS = [(F32, 2e-5), (F32, 2e-5), (np.float64, 2e-5), (np.float16, 1e-3), (ml_dtypes.bfloat16, 8e-3)]

SUMS = {"MatMul", "Gemm", "Conv", "ConvTranspose", "ReduceSum", "ReduceMean", "CumSum"}

# What ONNX Runtime computes otherwise than the operator's text.
BY_REFERENCE = {"Resize"}


def truth(model, op, feeds):
    if op in BY_REFERENCE:
        return ReferenceEvaluator(model).run(None, feeds)
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, feeds)


def one(probe, r, seed):
    op, attributes, inputs, outputs = MAKERS[int(r.integers(len(MAKERS)))](r)
    dtype, tolerance = VARIANTS[int(r.integers(len(VARIANTS)))]
    # The values that the other types can hold; the truth computes with them in f32.
    inputs = [i if i is None or i.dtype != F32 else i.astype(dtype).astype(F32) for i in inputs]
    names = [f"i{k}" if i is not None else "" for k, i in enumerate(inputs)]
    node = helper.make_node(op, names, [f"o{k}" for k in range(outputs)], **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(i.dtype), i.shape)
                      for n, i in zip(names, inputs) if n],
        [helper.make_tensor_value_info(f"o{k}", TensorProto.INT64 if op.startswith("Arg") or (
            op == "MaxPool" and k == 1) else TensorProto.FLOAT, None) for k in range(outputs)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
    what = f"{op} {np.dtype(dtype)} {attributes} {[None if i is None else i.shape for i in inputs]}"
    try:
        expected = truth(model, op, {n: i for n, i in zip(names, inputs) if n})
    except Exception as why:  # the truth refuses the random case: not ours to judge
        return op, f"no truth: {str(why)[:100]}", what
    expected = [np.asarray(e) for e in expected]
    if op in ("Slice", "Pad", "Resize"):
        what += f" {[i.tolist() for i in inputs[1:] if i is not None]}"
    of_type = [i if i is None or i.dtype != F32 or (op == "Resize" and k > 0) else i.astype(dtype)
               for k, i in enumerate(inputs)]
    try:
        got = run_onnx_node(probe, node, OPSET, of_type,
                            [e.astype(dtype) if e.dtype == F32 else e for e in expected], seed)
    except RuntimeError as why:
        return op, f"FAIL {why}", what
    for g, e in zip(got, expected):
        if e.dtype == F32:
            # f16's smallest subnormal; what f32 sums of cancelling terms around 1 lose in the truth.
            least = 6e-8 if dtype == np.float16 else 3e-6 if op in SUMS else 1e-30
            scale = float(np.max(np.abs(e[np.isfinite(e)]), initial=0.0))
            good = np.allclose(g.astype(F32), e, rtol=0, atol=tolerance * scale + least, equal_nan=True)
        else:
            good = np.array_equal(g, e)
        if not good:
            return op, f"FAIL values: {g.ravel()[:6]} expected {e.ravel()[:6]}", what
    return op, "", what


def run_all(probe, rounds, seed):
    """Returns (passed, failed)."""
    r = np.random.default_rng(seed)
    passed, failed, without = collections.Counter(), 0, collections.Counter()
    for k in range(rounds):
        op, why, what = one(probe, r, k)
        if why.startswith("no truth"):
            without[op + " " + why] += 1
        elif why:
            failed += 1
            if failed <= 40:
                print(f"{why}\n     {what}")
        else:
            passed[op] += 1
    for why, count in without.most_common(5):
        print(f"     {count} x {why}")
    total = sum(passed.values())
    print(f"random nodes: {total} passed, {failed} failed, {sum(without.values())} without truth")
    if total < rounds * 9 // 10 or len(passed) < min(30, rounds // 20):
        print("FAIL the truth refuses too many of the random nodes")
        failed += 1
    return total, failed
