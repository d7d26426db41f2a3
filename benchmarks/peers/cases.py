"""The cases that engines are compared on: a real model and an input of fixed size each.

What: CASES, name -> (model as benchmarks/models/fetch.py knows it, inputs). An input named None is the
      model's first.
Must not: know any engine.
"""

import numpy as np


def floats(*shape):
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def tokens(batch, length):
    ids = np.random.default_rng(7).integers(1000, 20000, (batch, length))
    ones = np.ones((batch, length), np.int64)
    return {"input_ids": ids, "attention_mask": ones, "token_type_ids": 0 * ones}


def image():
    return {None: floats(1, 3, 224, 224)}


def speech():
    return {"input": floats(1, 576), "state": np.zeros((2, 1, 128), np.float32), "sr": np.array(16000)}


def file_bytes():
    return {None: np.random.default_rng(7).integers(0, 256, (1, 2048)).astype(np.int32)}


CASES = {
    "minilm 1x16": ("minilm", lambda: tokens(1, 16)),
    "minilm 1x128": ("minilm", lambda: tokens(1, 128)),
    "minilm 8x128": ("minilm", lambda: tokens(8, 128)),
    "resnet50": ("resnet50", image),
    "vgg19": ("vgg19", image),
    "densenet121": ("densenet121", image),
    "inception-v2": ("inception-v2", image),
    "squeezenet": ("squeezenet", image),
    "shufflenet": ("shufflenet", image),
    "ppocr-det 640x640": ("ppocr-det", lambda: {None: floats(1, 3, 640, 640)}),
    "ppocr-rec 1x48x320": ("ppocr-rec", lambda: {None: floats(1, 3, 48, 320)}),
    "ppocr-rec 6x48x320": ("ppocr-rec", lambda: {None: floats(6, 3, 48, 320)}),
    "ppocr-cls 48x192": ("ppocr-cls", lambda: {None: floats(1, 3, 48, 192)}),
    "silero": ("silero", speech),
    "magika 2048": ("magika", file_bytes),
}
