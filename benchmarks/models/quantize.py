"""Quantizes an ONNX model with onnxruntime's own quantizer, for tests and benchmarks of int8.

    quantize.py static MODEL.onnx OUT.onnx    QDQ: u8 activations, s8 weights per channel
    quantize.py dynamic MODEL.onnx OUT.onnx   DynamicQuantizeLinear and MatMulInteger, s8 weights

A static model is calibrated with a few inputs made up from a fixed seed: good enough for speed and
for comparing engines with each other, not for accuracy on real data.
"""

import argparse
import os
import sys
import tempfile

import numpy as np
import onnx
from onnx import TensorProto, version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quant_pre_process,
    quantize_dynamic,
    quantize_static,
)

CALIBRATION_INPUTS = 4


class MadeUp(CalibrationDataReader):
    """A few standard normal inputs, open dims as 1."""

    def __init__(self, model):
        random = np.random.default_rng(7)
        constant = {tensor.name for tensor in model.graph.initializer}
        inputs = [value for value in model.graph.input if value.name not in constant]
        self.feeds = iter(
            [
                {value.name: self.array(random, value) for value in inputs}
                for _ in range(CALIBRATION_INPUTS)
            ]
        )

    @staticmethod
    def array(random, value):
        kind = value.type.tensor_type
        if kind.elem_type != TensorProto.FLOAT:
            raise SystemExit(f"input {value.name!r} is not float: nothing to calibrate with")
        dims = [dim.dim_value or 1 for dim in kind.shape.dim]
        return random.standard_normal(dims).astype(np.float32)

    def get_next(self):
        return next(self.feeds, None)


def prepared(path, folder):
    """The model in an opset with per-channel QuantizeLinear, its batch norms folded."""
    model = onnx.load(path)
    for node in model.graph.node:  # the quantizer knows Add, not Sum
        if node.op_type == "Sum" and len(node.input) == 2:
            node.op_type = "Add"
    if model.opset_import[0].version < 13:
        model = version_converter.convert_version(model, 13)
    upgraded, ready = os.path.join(folder, "upgraded.onnx"), os.path.join(folder, "ready.onnx")
    onnx.save(model, upgraded)
    quant_pre_process(upgraded, ready, skip_symbolic_shape=True)
    return ready


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("kind", choices=["static", "dynamic"])
    parser.add_argument("model")
    parser.add_argument("out")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if arguments.kind == "dynamic":
            quantize_dynamic(arguments.model, arguments.out, weight_type=QuantType.QInt8)
            return 0
        ready = prepared(arguments.model, folder)
        quantize_static(
            ready,
            arguments.out,
            MadeUp(onnx.load(ready)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
