#!/usr/bin/env python3
"""Every real model against ONNX Runtime, by a rule that is shown to be able to fail.

Goal:   weir's answers on real models are ONNX Runtime's: before a final Softmax (Sigmoid)
        max|a - b| <= 5e-4 max|b|; elsewhere |a - b| <= 1e-4 + 1e-3 |b|. MiniLM's two
        sentences score 0.7553 +- 0.0005, and its rows do not depend on their neighbours.
Method: several inputs and batch sizes per model; then two channels of the first, a middle and the
        last weight layer are exchanged in the model that is tested, and the rule must notice each
        time.
Must not: be believed where a swap goes unnoticed: that is a failure too.

usage: check_models.py [--model NAME]... [--quick] [--device NAME] [--engine weir|ort] [--json]
       --quick: the smaller models and fewer swaps. --engine ort-plain: checks this
       check without weir.
"""

import argparse
import gc
import json
import sys
import time

import numpy as np
import onnx

import support
from support import fetch

BIG = ("alexnet", "zfnet", "vgg19", "densenet121", "inception-v1", "inception-v2")
QUICK = [n for n in fetch.MODELS if n not in BIG and not n.startswith("light-")] + [
    "light-squeezenet"
]
QUICK_SWAPS = ("magika", "ppocr-rec", "ppocr-cls", "silero", "squeezenet", "shufflenet")
HAS_LOGITS = ("densenet121",)  # ends in the values that a Softmax would follow


class Row:
    """What was found on one model."""

    def __init__(self, name):
        self.name, self.cases, self.seconds = name, 0, 0.0
        self.error = self.share = 0.0
        self.logit_error = self.logit_share = None  # None: the model has no such values
        self.swaps, self.failures, self.notes = [], [], []

    def note(self, logits, error, share):
        if logits:
            self.logit_error = max(self.logit_error or 0.0, error)
            self.logit_share = max(self.logit_share or 0.0, share)
        else:
            self.error, self.share = max(self.error, error), max(self.share, share)

    def as_dict(self):
        return {
            "model": self.name,
            "cases": self.cases,
            "largest_error_before_softmax": self.logit_error,
            "share_of_allowed_before_softmax": self.logit_share,
            "largest_error": self.error,
            "share_of_allowed": self.share,
            "swaps": self.swaps,
            "failures": self.failures,
            "notes": self.notes,
            "seconds": round(self.seconds, 2),
        }


def differences(got, want, logits_name):
    """[(output, by the rule before a Softmax?, right, error, share of allowed)]"""
    found = []
    for name in want:
        logits = name == logits_name
        right, error, share = support.compare(got[name], want[name], logits)
        found.append((name, logits, right, error, share))
    return found


def check_swaps(row, model, logits, feed, want, engine, device):
    for where, layer, edited in support.swaps(model):
        edited_bytes = edited.SerializeToString()
        del edited
        got = engine(edited_bytes, device).run(feed)
        found = differences(got, want, logits)
        noticed = any(not right for _, _, right, _, _ in found)
        row.swaps.append(
            {
                "where": where,
                "layer": layer,
                "noticed": noticed,
                "times_allowed": max(share for *_, share in found),
            }
        )
        if not noticed:
            row.failures.append(f"channels exchanged in the {where} layer ({layer}) go unnoticed")
        gc.collect()


def check_model(name, engine, device, quick, swapping):
    row = Row(name)
    start = time.monotonic()
    model = onnx.load(fetch.model_path(name))
    logits = support.add_logits(model) if not name.startswith("light-") else None
    if name in HAS_LOGITS:
        logits = model.graph.output[0].name
    feeds = [support.named(feed, model) for feed in support.feeds(name, quick)]
    # Unedited models go in by path, as users give them.
    whole = model.SerializeToString() if logits else str(fetch.model_path(name))
    reference = support.Ort(whole)
    wants = [reference.run(feed) for feed in feeds]
    del reference
    try:
        tested = engine(whole, device)
        for index, (feed, want) in enumerate(zip(feeds, wants)):
            shapes = ", ".join(f"{key} {list(value.shape)}" for key, value in feed.items())
            for output, before, right, error, share in differences(tested.run(feed), want, logits):
                row.note(before, error, share)
                if not right:
                    row.failures.append(
                        f"input {index} ({shapes}): {output}: error {error:.3g}, "
                        f"{share:.3g} times what is allowed"
                    )
            row.cases += 1
        del tested, whole
        if name == "minilm":
            check_sentences(row, engine, device)
        if swapping:
            check_swaps(row, model, logits, feeds[0], wants[0], engine, device)
    except Exception as error:  # pylint: disable=broad-except
        # Anything an engine raises is that model's failure; the other models still have their turn.
        row.failures.append(f"{type(error).__name__}: {error}")
    row.seconds = time.monotonic() - start
    return row


def check_sentences(row, engine, device):
    """MiniLM's own promises: the authors' cosine, rows that do not depend on their neighbours."""
    session = engine(str(fetch.model_path("minilm")), device)

    def embed(feed):
        return session.run(feed)["sentence_embedding"]

    pair = embed(support.encode(support.SENTENCES[:2])).astype(np.float64)
    cosine = float(pair[0] @ pair[1])
    row.notes.append(f"cosine of the two sentences: {cosine:.4f}")
    if not abs(cosine - 0.7553) <= 0.0005:
        row.failures.append(f"cosine of the two sentences is {cosine:.5f}, expected 0.7553")
    together = support.encode(support.SENTENCES)
    batch, length = embed(together), together["input_ids"].shape[1]
    worst = 0.0
    for index, sentence in enumerate(support.SENTENCES):
        if embed(support.encode([sentence], length))[0].tobytes() != batch[index].tobytes():
            row.failures.append(f"row {index} of a batch differs in bytes from the same row alone")
        worst = max(worst, float(np.abs(embed(support.encode([sentence]))[0] - batch[index]).max()))
    row.notes.append(f"padded against unpadded rows: {worst:.1e}")
    if not worst <= 1e-5:
        row.failures.append(f"a padded row differs by {worst:.3g} from the unpadded one")


def print_row(row):
    before = f"{'-':>9} {'-':>6}"
    if row.logit_error is not None:
        before = f"{row.logit_error:9.1e} {row.logit_share:6.1%}"
    noticed = sum(s["noticed"] for s in row.swaps)
    swapped = f"{noticed}/{len(row.swaps)}" if row.swaps else "-"
    least = f"x{min(s['times_allowed'] for s in row.swaps):.0f}" if row.swaps else ""
    print(
        f"{row.name:18} {row.cases:5} {before} {row.error:10.1e} {row.share:6.1%} {swapped:>6} "
        f"{least:>7} "
        f"{row.seconds:7.1f} s  {'ok' if not row.failures else 'FAILED'}",
        flush=True,
    )
    for failure in row.notes + row.failures:
        print(f"      {failure}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Every real model against ONNX Runtime.")
    parser.add_argument(
        "--model",
        action="append",
        metavar="NAME",
        choices=list(fetch.MODELS),
        help="may be repeated",
    )
    parser.add_argument("--quick", action="store_true", help="the smaller models and fewer swaps")
    parser.add_argument("--device", help="the device that runs every node, as in `weir devices`")
    parser.add_argument("--engine", choices=list(support.ENGINES), default="weir")
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON per model instead of the table"
    )
    arguments = parser.parse_args()
    names = arguments.model or (QUICK if arguments.quick else list(fetch.MODELS))
    try:
        fetch.ensure(names)
    except fetch.FetchError as error:
        sys.exit(f"check_models.py: {error}")
    engine = support.ENGINES[arguments.engine]
    if not arguments.json:
        print(f"{engine.name} against ONNX Runtime")
        print(
            f"{'model':18} {'cases':>5} {'logits':>9} {'of max':>6} {'elsewhere':>10} "
            f"{'of max':>6} {'swaps':>6} "
            f"{'weakest':>7} {'time':>9}"
        )
    failed = 0
    for name in names:
        swapping = not name.startswith("light-") and (
            not arguments.quick or bool(arguments.model) or name in QUICK_SWAPS
        )
        row = check_model(name, engine, arguments.device, arguments.quick, swapping)
        failed += bool(row.failures)
        if arguments.json:
            print(json.dumps(row.as_dict()), flush=True)
        else:
            print_row(row)
        gc.collect()
    if not arguments.json:
        print(f"models: {len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
