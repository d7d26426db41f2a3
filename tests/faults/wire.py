"""ONNX files written byte by byte, so that wrong ones can be written, too.

Messages are bytes; a message is a run of fields. Nothing here checks anything, and nothing is shared
with weir's reader or with the onnx package, both of which would refuse what the tests need.
Field numbers are those of onnx.proto.
"""

import struct

FLOAT, UINT8, INT8, INT32, INT64, STRING, BOOL, FLOAT16, DOUBLE = 1, 2, 3, 6, 7, 8, 9, 10, 11
COMPLEX64 = 14


def varint(value):
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number, wire_type):
    return varint(number << 3 | wire_type)


def field(number, value):
    """int: a varint; float: 4 bytes; bytes or str: with their length."""
    if isinstance(value, int):
        return tag(number, 0) + varint(value)
    if isinstance(value, float):
        return tag(number, 5) + struct.pack("<f", value)
    if isinstance(value, str):
        value = value.encode()
    return tag(number, 2) + varint(len(value)) + value


def fields(number, values):
    return b"".join(field(number, value) for value in values)


def pack(kind, values):
    return struct.pack(f"<{len(values)}{kind}", *values)


# ---- Tensors and types ------------------------------------------------------------------------

def tensor(name, dims, dtype=FLOAT, raw=None, more=b""):
    body = fields(1, dims) + field(2, dtype) + field(8, name)
    return body + (b"" if raw is None else field(9, raw)) + more


def floats(name, dims, values):
    return tensor(name, dims, FLOAT, pack("f", values))


def ints(name, values, dims=None):
    return tensor(name, [len(values)] if dims is None else dims, INT64, pack("q", values))


def external(name, dims, location, dtype=FLOAT, offset=None, length=None):
    entries = [("location", location), ("offset", offset), ("length", length)]
    body = b"".join(field(13, field(1, key) + field(2, str(value)))
                    for key, value in entries if value is not None)
    return tensor(name, dims, dtype, more=body + field(14, 1))


def shape(dims):
    return fields(1, [field(2, dim) if isinstance(dim, str) else field(1, dim) for dim in dims])


def value(name, dims=None, dtype=FLOAT):
    """dims None: the rank is not told; dtype None: no type at all."""
    if dtype is None:
        return field(1, name)
    body = field(1, dtype) + (b"" if dims is None else field(2, shape(dims)))
    return field(1, name) + field(2, field(1, body))


# ---- Attributes -------------------------------------------------------------------------------

def attribute(name, number, content, kind):
    return field(1, name) + field(number, content) + field(20, kind)


def a_int(name, number):
    return attribute(name, 3, number, 2)


def a_float(name, number):
    return attribute(name, 2, float(number), 1)


def a_text(name, text):
    return attribute(name, 4, text, 3)


def a_ints(name, numbers):
    return field(1, name) + fields(8, numbers) + field(20, 7)


def a_tensor(name, content):
    return attribute(name, 5, content, 4)


def a_graph(name, content):
    return attribute(name, 6, content, 5)


# ---- Nodes, graphs, models --------------------------------------------------------------------

def node(op, inputs, outputs, *attributes, domain="", name="", more=b""):
    return (fields(1, inputs) + fields(2, outputs) + (field(3, name) if name else b"") + field(4, op)
            + fields(5, attributes) + (field(7, domain) if domain else b"") + more)


def graph(nodes, inputs, outputs, constants=(), name="g", more=b""):
    return (fields(1, nodes) + field(2, name) + fields(5, constants) + fields(11, inputs)
            + fields(12, outputs) + more)


def opset(version, domain=""):
    return (field(1, domain) if domain else b"") + field(2, version)


def function(name, inputs, outputs, nodes, domain="f", opsets=(opset(17), opset(1, "f"))):
    return (field(1, name) + fields(4, inputs) + fields(5, outputs) + fields(7, nodes)
            + fields(9, opsets) + field(10, domain))


def model(content, opsets=(opset(17),), functions=(), ir=8, more=b""):
    """The graph comes last, so that a file that is cut short loses a part of it."""
    return (field(1, ir) + fields(8, opsets) + fields(25, functions) + more
            + field(7, content))
