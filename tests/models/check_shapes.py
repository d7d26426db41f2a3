#!/usr/bin/env python3
"""One session, a hundred random shapes: right each time.

Goal:   a plan that meets new shapes all the time (more than it keeps) never answers with another
        shape's numbers, and a shape that comes back is as right as it was.
Method: 100 random widths of PP-OCR rec and 100 random (batch, length) of MiniLM through one session
        each, every answer held against ONNX Runtime; every tenth run repeats an earlier shape with
        new values and every answer to a repeated input is compared byte for byte.
Must not: compare with what weir itself said, except for the repeated bytes.

usage: check_shapes.py [--count N] [--device NAME] [--engine weir|ort] [--seed N]
"""

import argparse
import sys
import time

import numpy as np
import onnx

import support
from support import fetch


def minilm_feed(rng, batch, length):
    """Ids of real words, rows of different length (at least 2: its begin and end)."""
    lengths = rng.integers(2, length + 1, batch)
    lengths[int(rng.integers(batch))] = length
    mask = (np.arange(length)[None] < lengths[:, None]).astype(np.int64)
    ids = rng.integers(1996, 28000, (batch, length)) * mask
    ids[:, 0] = 101
    ids[np.arange(batch), lengths - 1] = 102
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


def shapes(rng, name, count):
    """The shapes of a check: random, every tenth one seen before."""
    found = []
    for index in range(count):
        if index % 10 == 9:
            found.append(found[int(rng.integers(len(found)))])
        elif name == "ppocr-rec":
            found.append((1 if rng.uniform() < 0.8 else 2, int(rng.integers(16, 420))))
        else:
            length = int(np.exp(rng.uniform(np.log(3), np.log(160))))
            found.append((int(rng.integers(1, max(2, min(9, 400 // length)))), length))
    return found


def feed_of(rng, name, shape):
    if name == "ppocr-rec":
        return {"x": support.text_lines(shape[0], int(rng.integers(1 << 30)), 48, shape[1])}
    return minilm_feed(rng, *shape)


def check(name, arguments):
    rng = np.random.default_rng(arguments.seed)
    model = onnx.load(fetch.model_path(name))
    logits = support.add_logits(model)
    whole = model.SerializeToString() if logits else str(fetch.model_path(name))
    reference = support.Ort(whole)
    tested = support.ENGINES[arguments.engine](whole, arguments.device)
    asked = shapes(rng, name, arguments.count)
    worst, wrong, start, first = 0.0, [], time.monotonic(), None
    for index, shape in enumerate(asked):
        feed = feed_of(rng, name, shape)
        got, want = tested.run(feed), reference.run(feed)
        for output in want:
            right, _, share = support.compare(got[output], want[output], output == logits)
            worst = max(worst, share)
            if not right:
                wrong.append(
                    f"run {index}, shape {list(shape)}: {output}: {share:.3g} times what is allowed"
                )
        if first is None:
            first = (feed, got)
    again = tested.run(first[0])
    for output, value in first[1].items():
        if value.tobytes() != again[output].tobytes():
            wrong.append(f"the first input, run again at the end: {output} differs")
    # A shape's answer must not pass for another's, else 100 right answers would say little.
    other = reference.run(feed_of(rng, name, asked[0]))
    blind = all(
        support.compare(first[1][output], other[output], output == logits)[0] for output in other
    )
    if blind:
        wrong.append(
            "answers to different inputs of one shape pass as equal: the comparison cannot fail"
        )
    print(
        f"{name}: {arguments.count} runs, {len(set(asked))} shapes, largest error {worst:.2%} of "
        f"what is allowed, "
        f"{time.monotonic() - start:.1f} s, {'ok' if not wrong else f'{len(wrong)} WRONG'}",
        flush=True,
    )
    for text in wrong[:20]:
        print(f"      {text}")
    return not wrong


def main():
    parser = argparse.ArgumentParser(description="One session, many random shapes.")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--device")
    parser.add_argument("--engine", choices=list(support.ENGINES), default="weir")
    parser.add_argument("--seed", type=int, default=20)
    arguments = parser.parse_args()
    names = ("ppocr-rec", "minilm")
    try:
        fetch.ensure(names)
    except fetch.FetchError as error:
        sys.exit(f"check_shapes.py: {error}")
    passed = sum([check(name, arguments) for name in names])
    print(f"shapes: {passed} passed, {len(names) - passed} failed")
    return 0 if passed == len(names) else 1


if __name__ == "__main__":
    sys.exit(main())
