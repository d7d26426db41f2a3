#!/usr/bin/env python3
"""A row's answer has the same bits alone and at any place of a batch, on 1 thread and on 2, and
in whatever order tasks run.

Goal:   rows of MiniLM, Magika, PP-OCR's recogniser (equal widths) and ResNet-50 give the same bytes
        at batch 1 and in batches of 2 to 16; a padded sentence of MiniLM gives the bytes of that
        row alone at the padded length. Kernels whose tasks run in random order, other each time,
        give the bytes of those whose tasks run as the engine likes.
Method: every row runs alone on 1 thread; then batches of every size, with the rows in seeded
        orders, on 1 thread and on 2, so that rows meet different neighbours at different places.
        Rows that differ must differ in their answers too, and an answer with its last bit flipped
        must be noticed: otherwise this check could not fail. The random order is that of a plugin
        that hands out the CPU's kernels with their tasks shuffled (tests/support/plugins).
Must not: allow a tolerance.

usage: check_same_bits.py [--model NAME]... [--quick] [--device NAME]
       --quick: fewer batch sizes.
"""

import argparse
import pathlib
import sys
import time

import numpy as np

import support
from support import fetch

ROWS = 16
THREADS = (1, 2)
SIZES = tuple(range(2, ROWS + 1))
QUICK_SIZES = {"resnet50": (3,), "ppocr-rec": (2, 5), "minilm": (2, 7, 16), "magika": (2, 7, 16)}


def rows_of(name):
    """ROWS rows, as one feed whose arrays have the rows along axis 0."""
    if name == "minilm":
        return support.encode((support.SENTENCES * 2)[:ROWS])
    if name == "magika":
        return {"bytes": support.file_bytes(ROWS, 11)}
    if name == "ppocr-rec":
        return {"x": support.text_lines(ROWS, 12, 48, 200)}
    return {"gpu_0/data_0": support.images(ROWS, 13)}


def distinct(feed):
    """The feed without rows that it already has."""
    keys = [b"".join(value[i].tobytes() for value in feed.values()) for i in range(ROWS)]
    first = [keys.index(key) == i for i, key in enumerate(keys)]
    return {name: value[first] for name, value in feed.items()}


def pick(feed, rows):
    return {name: value[rows] for name, value in feed.items()}


def answer_bytes(answer, row):
    return b"".join(answer[name][row].tobytes() for name in sorted(answer))


def flipped(answer):
    """The same answer with one bit of its first number flipped."""
    bits = bytearray(answer)
    bits[0] ^= 1
    return bytes(bits)


def shuffled_session(model):
    """A session that runs the tasks of every kernel of the CPU in random order."""
    folder = pathlib.Path(support.ROOT) / "build/release/lib/test/shuffled"
    session = support.Weir(model, "shuffled", 2, plugin_path=str(folder))
    used = {node["device"] for node in session.session.plan_nodes()}
    if "shuffled" not in used or "cpu" in used:
        sys.exit(f"check_same_bits.py: {model} was to run shuffled, and runs on {sorted(used)}")
    return session


def check_model(name, sizes, device):
    """(comparisons made, failures)"""
    model = str(fetch.model_path(name))
    feed = distinct(rows_of(name))
    count = len(next(iter(feed.values())))
    sessions = {threads: support.Weir(model, device, threads) for threads in THREADS}
    if not device:
        sessions["2 shuffled"] = shuffled_session(model)
    alone = [answer_bytes(sessions[1].run(pick(feed, [row])), 0) for row in range(count)]
    failures = []
    if len(set(alone)) != count:
        failures.append("different rows give equal answers: nothing could be noticed")
    made = noticed = 0
    rng = np.random.default_rng(14)
    for threads, session in sessions.items():
        for row in range(count):
            made += 1
            if answer_bytes(session.run(pick(feed, [row])), 0) != alone[row]:
                failures.append(f"row {row} alone has other bits on {threads} threads")
        for size in sizes:
            # Each row once at least, in fresh company; the same row may be there twice.
            order = np.concatenate([rng.permutation(count), rng.integers(0, count, size)])
            for start in range(0, count, size):
                rows = order[start : start + size]
                answer = session.run(pick(feed, rows))
                for place, row in enumerate(rows):
                    made += 1
                    got = answer_bytes(answer, place)
                    noticed += flipped(got) != alone[row]
                    if got != alone[row]:
                        failures.append(
                            f"row {row} at place {place} of {size} on {threads} threads has other "
                            f"bits than alone"
                        )
    if not noticed:
        failures.append("a flipped bit went unnoticed")
    return made, failures


def check_padding(device):
    """(comparisons made, failures): sentences of MiniLM in a batch as long as its longest."""
    model = str(fetch.model_path("minilm"))
    together = support.encode(support.SENTENCES)
    length = together["input_ids"].shape[1]
    failures, made = [], 0
    for threads in THREADS:
        session = support.Weir(model, device, threads)
        batch = session.run(together)
        for row, sentence in enumerate(support.SENTENCES):
            made += 1
            alone = session.run(support.encode([sentence], length))
            if answer_bytes(batch, row) != answer_bytes(alone, 0):
                failures.append(f"sentence {row} padded to {length} on {threads} threads")
    return made, failures


def main():
    parser = argparse.ArgumentParser(description="A row's bits, alone and in company.")
    parser.add_argument("--model", action="append", choices=list(QUICK_SIZES), metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="fewer batch sizes")
    parser.add_argument("--device", help="the device that runs every node, as in `weir devices`")
    arguments = parser.parse_args()
    names = arguments.model or list(QUICK_SIZES)
    try:
        fetch.ensure(names)
    except fetch.FetchError as error:
        sys.exit(f"check_same_bits.py: {error}")
    failed = 0
    for name in names:
        start = time.monotonic()
        made, failures = check_model(
            name, QUICK_SIZES[name] if arguments.quick else SIZES, arguments.device
        )
        if name == "minilm":
            more, wrong = check_padding(arguments.device)
            made, failures = made + more, failures + wrong
        failed += bool(failures)
        state = "ok" if not failures else f"FAILED, {len(failures)} differ"
        print(f"{name:12} {made:5} rows compared {time.monotonic() - start:6.1f} s  {state}")
        for failure in failures[:10]:
            print(f"      {failure}")
        sys.stdout.flush()
    print(f"same bits: {len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
