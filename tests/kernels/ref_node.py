"""Runs ONNX nodes on the reference backend through ref_probe.so.

What: builds weir_node_t structs with ctypes from an ONNX NodeProto (attributes normalised as docs/operators.md
      says) and numpy arrays, and runs them by shuffled tasks and at once; both must agree in bytes.
Not:  an importer: what it does not know it skips (Unknown), and says so.
"""
import ctypes as c

import ml_dtypes
import numpy as np
import onnx

DTYPES = {
    np.dtype(np.float32): 1 << 0, np.dtype(np.float64): 1 << 1, np.dtype(np.float16): 1 << 2,
    np.dtype(ml_dtypes.bfloat16): 1 << 3,
    np.dtype(np.int8): 1 << 4, np.dtype(np.int16): 1 << 5, np.dtype(np.int32): 1 << 6,
    np.dtype(np.int64): 1 << 7, np.dtype(np.uint8): 1 << 8, np.dtype(np.uint16): 1 << 9,
    np.dtype(np.uint32): 1 << 10, np.dtype(np.uint64): 1 << 11, np.dtype(np.bool_): 1 << 12,
}
BOOL = 1 << 12


class Unknown(Exception):
    """Not expressible here; the message says what."""


class Tensor(c.Structure):
    _fields_ = [("data", c.c_void_p), ("bytes", c.c_uint64), ("element_count", c.c_uint64),
                ("dims", c.c_void_p), ("strides", c.c_void_p), ("dtype", c.c_uint32),
                ("rank", c.c_uint32), ("format", c.c_uint32), ("flags", c.c_uint32)]


class Attribute(c.Structure):
    _fields_ = [("name", c.c_char_p), ("type", c.c_uint32), ("count", c.c_uint32), ("i", c.c_int64),
                ("f", c.c_double), ("s", c.c_char_p), ("ints", c.c_void_p), ("floats", c.c_void_p)]


class Instruction(c.Structure):
    _fields_ = [("opcode", c.c_uint32), ("dtype", c.c_uint32), ("a", c.c_uint16), ("b", c.c_uint16),
                ("c", c.c_uint16), ("reserved", c.c_uint16), ("integer", c.c_int64),
                ("imm", c.c_float * 2)]


class Expression(c.Structure):
    _fields_ = [("size", c.c_uint32), ("flags", c.c_uint32), ("instructions", c.c_void_p),
                ("instruction_count", c.c_uint32), ("first_operand", c.c_uint32),
                ("operand_count", c.c_uint32), ("output_count", c.c_uint32), ("outputs", c.c_void_p)]


class Node(c.Structure):
    _fields_ = [("size", c.c_uint32), ("flags", c.c_uint32), ("op", c.c_char_p),
                ("origin", c.c_char_p), ("revision", c.c_uint32), ("input_count", c.c_uint32),
                ("output_count", c.c_uint32), ("attribute_count", c.c_uint32),
                ("inputs", c.c_void_p), ("outputs", c.c_void_p), ("attributes", c.c_void_p),
                ("body", c.c_void_p), ("prologue", c.c_void_p), ("epilogue", c.c_void_p)]


def _tensor(array, keep):
    if array is None:
        return Tensor()
    dims = np.array(array.shape, dtype=np.int64)
    keep += [array, dims]
    if array.dtype not in DTYPES:
        raise Unknown(f"element type {array.dtype}")
    return Tensor(array.ctypes.data, array.nbytes, array.size, dims.ctypes.data, None,
                  DTYPES[array.dtype], array.ndim, 0, 0)


def _attribute(name, value, keep):
    a = Attribute(name=name.encode(), count=1)
    if isinstance(value, (bool, int, np.integer)):
        a.type, a.i = 1, int(value)
    elif isinstance(value, float):
        a.type, a.f = 2, value
    elif isinstance(value, (str, bytes)):
        a.type, a.s = 3, value.encode() if isinstance(value, str) else value
    else:
        ints = np.array(list(value), dtype=np.int64)
        keep.append(ints)
        a.type, a.count, a.ints = 4, ints.size, ints.ctypes.data
    return a


def empty_like(array):
    """An output buffer full of a pattern, with guards that `check_guards` looks at."""
    raw = np.full(array.nbytes + 128, 0xA5, dtype=np.uint8)
    return raw, raw[64:64 + array.nbytes].view(array.dtype).reshape(array.shape)


class Probe:
    def __init__(self, path):
        self.lib = c.CDLL(path)
        self.lib.probe_run.argtypes = [c.c_void_p, c.c_char_p, c.c_uint32]
        self.lib.probe_run_tasks.argtypes = [c.c_void_p, c.c_uint64, c.c_char_p, c.c_uint32]

    def run(self, op, inputs, expected, attributes, body=None, seed=1):
        """Outputs shaped like `expected` (None: absent); raises RuntimeError(text) on a failure."""
        results = []
        for shuffled in (False, True):
            keep = []
            buffers = [None if e is None else empty_like(e) for e in expected]
            ins = (Tensor * max(len(inputs), 1))(*[_tensor(
                None if i is None else np.ascontiguousarray(i).reshape(i.shape), keep) for i in inputs])
            outs = (Tensor * len(expected))(*[
                _tensor(None if b is None else b[1], keep) for b in buffers])
            attrs = (Attribute * max(len(attributes), 1))(*[
                _attribute(k, v, keep) for k, v in attributes.items()])
            node = Node(size=c.sizeof(Node), op=op.encode(), revision=1, input_count=len(inputs),
                        output_count=len(expected), attribute_count=len(attributes),
                        inputs=c.addressof(ins), outputs=c.addressof(outs),
                        attributes=c.addressof(attrs))
            if body:
                code = (Instruction * len(body))(*body)
                which = np.array([len(body) - 1], dtype=np.uint16)
                expression = Expression(c.sizeof(Expression), 0, c.addressof(code), len(body), 0,
                                        len(inputs), 1, which.ctypes.data)
                node.body = c.addressof(expression)
            text = c.create_string_buffer(200)
            if shuffled:
                rc = self.lib.probe_run_tasks(c.addressof(node), seed, text, 200)
            else:
                rc = self.lib.probe_run(c.addressof(node), text, 200)
            if rc != 0:
                raise RuntimeError(f"code {rc}: {text.value.decode()}")
            for b in buffers:
                if b is not None and not ((b[0][:64] == 0xA5).all() and (b[0][-64:] == 0xA5).all()):
                    raise RuntimeError("wrote outside its output")
            results.append([None if b is None else b[1] for b in buffers])
        for one, other in zip(*results):
            if one is not None and one.tobytes() != other.tobytes():
                raise RuntimeError("shuffled tasks give other bytes than one call")
        return results[0]


# ---------------------------------------------------------------------------------------------
# ONNX nodes
# ---------------------------------------------------------------------------------------------

UNARY = {"Identity": 16, "Neg": 17, "Abs": 18, "Sign": 19, "Reciprocal": 20, "Sqrt": 21, "Exp": 22,
         "Log": 23, "Erf": 24, "Sin": 25, "Cos": 26, "Tanh": 27, "Sigmoid": 28, "Softplus": 29,
         "Relu": 30, "Floor": 31, "Ceil": 32, "Round": 33, "Not": 34, "IsNaN": 35, "Cast": 36,
         "Gelu": 37, "HardSigmoid": 39, "HardSwish": 40, "LeakyRelu": 41, "Elu": 42}
BINARY = {"Add": 64, "Sub": 65, "Mul": 66, "Div": 67, "Pow": 68, "Mod": 69, "Min": 71, "Max": 72,
          "And": 73, "Or": 74, "Xor": 75, "Equal": 76, "Less": 77, "LessOrEqual": 78, "Greater": 79,
          "GreaterOrEqual": 80, "PRelu": 81, "Where": 96, "Clip": 97}
PLAIN = {"Shape", "Size", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Concat", "Split",
         "Slice", "Gather", "GatherElements", "GatherND", "Expand", "Tile", "Pad", "ConstantOfShape",
         "Range", "Resize", "MatMul", "Gemm", "Conv", "ConvTranspose", "MaxPool", "AveragePool",
         "GlobalAveragePool", "GlobalMaxPool", "BatchNormalization", "LayerNormalization",
         "InstanceNormalization", "LpNormalization", "LRN", "Softmax", "LogSoftmax", "ReduceSum",
         "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2",
         "ReduceSumSquare", "ReduceLogSum", "ReduceLogSumExp", "ArgMax", "ArgMin", "CumSum", "LSTM"}


def attributes_of(node, opset):
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    found = {}
    for name, a in schema.attributes.items():
        if a.default_value.type:
            found[name] = onnx.helper.get_attribute_value(a.default_value)
    for a in node.attribute:
        found[a.name] = onnx.helper.get_attribute_value(a)
    return {k: (v.decode() if isinstance(v, bytes) else v) for k, v in found.items()}


def _pointwise(op, attributes, inputs, expected):
    out = DTYPES.get(expected[0].dtype)
    if out is None or any(i is None or i.dtype not in DTYPES for i in inputs):
        raise Unknown("element type")
    body = [Instruction(opcode=1, dtype=DTYPES[i.dtype], a=k) for k, i in enumerate(inputs)]
    last = Instruction(dtype=out, a=0, b=min(1, len(inputs) - 1), c=min(2, len(inputs) - 1))
    last.opcode = UNARY[op] if op in UNARY else BINARY[op]
    if op == "Gelu" and attributes.get("approximate") == "tanh":
        last.opcode = 38
    if op == "Mod" and attributes.get("fmod"):
        last.opcode = 70
    last.imm[0], last.imm[1] = attributes.get("alpha", 0.0), attributes.get("beta", 0.0)
    if op == "Round" and inputs[0].dtype == np.float16:
        raise Unknown("f16")
    return body + [last]


def run_onnx_node(probe, node, opset, inputs, expected, seed=1):
    """inputs: arrays or None, expected: arrays or None (absent)."""
    op, attributes = node.op_type, attributes_of(node, opset)
    if op in ("Min", "Max") and len(inputs) != 2 or op == "Clip" and (
            len(inputs) != 3 or any(i is None for i in inputs)):
        raise Unknown("normalised away")
    if op in UNARY or op in BINARY:
        body = _pointwise(op, attributes, inputs, expected)
        return probe.run("Pointwise", inputs, expected, {}, body, seed)
    if op not in PLAIN:
        raise Unknown(f"operator {op}")
    inputs = list(inputs)
    if op in ("Squeeze", "Unsqueeze") and "axes" in attributes or op == "Split" and "split" in attributes:
        raise Unknown("old form")
    if op == "Slice" and len(inputs) == 1 or op == "Pad" and "pads" in attributes:
        raise Unknown("old form")
    if op.startswith("Reduce") and "axes" in attributes:
        inputs.append(np.array(attributes.pop("axes"), dtype=np.int64))
    if op == "ConstantOfShape":
        value = attributes.pop("value", None)
        inputs.append(np.zeros(1, np.float32) if value is None else onnx.numpy_helper.to_array(value))
    if op == "Resize":
        if opset < 13 or attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
            raise Unknown("roi")
        inputs = [inputs[0]] + inputs[2:]
    if op in ("Softmax", "LogSoftmax") and opset < 13:
        attributes["coerce"] = 1
    if op == "LSTM" and ("activations" in attributes):
        raise Unknown("activations")
    if op == "BatchNormalization" and (attributes.get("training_mode") or len(expected) > 1):
        raise Unknown("training")
    for name in ("stash_type", "activations", "activation_alpha", "activation_beta"):
        attributes.pop(name, None)
    return probe.run(op, inputs, expected, attributes, None, seed)
