#!/usr/bin/env python3
"""Four sessions run by four threads on two cores: what they do together, beside the best other setting.

Goal:   the total throughput of four callers with a session each is at least 0.95 of the best of one
        and two callers on the same engine, and of two and four callers on an engine of one thread,
        where every caller computes alone.
Method: MiniLM of 64 tokens; rounds of all settings in turns, in random order; for each other setting
        the median of the ratios of a round, of which the smallest counts (the ratio to the best of a
        round would be to the luckiest). On a machine that does something else it says little.
That it can fail: --floor 1.5 must.

usage: sessions.py [--floor R] [--rounds N] [--seconds S] [--threads N]
"""

import argparse
import pathlib
import random
import statistics
import sys
import threading
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "benchmarks" / "models"), str(ROOT / "engine" / "python")]

import fetch  # noqa: E402  pylint: disable=wrong-import-position
import weir  # noqa: E402  pylint: disable=wrong-import-position

CALLERS = (1, 2, 4)
ALONE = (2, 4)  # of an engine of one thread


def throughput(sessions, feed, seconds):
    """Runs a second, of all sessions together, each by a thread of its own."""
    counts = [0] * len(sessions)
    stop = time.monotonic() + seconds

    def call(index):
        while time.monotonic() < stop:
            sessions[index].run(None, feed)
            counts[index] += 1

    start = time.monotonic()
    threads = [threading.Thread(target=call, args=(index,)) for index in range(len(sessions))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.monotonic() - start)


def main():
    parser = argparse.ArgumentParser(description="Four sessions by four threads.")
    parser.add_argument("--floor", type=float, default=0.95)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    try:
        fetch.ensure(["minilm"])
    except fetch.FetchError as error:
        sys.exit(f"sessions.py: {error}")
    ids = np.full((1, 64), 2023, np.int64)
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    model = str(fetch.model_path("minilm"))
    sessions = {threads: [weir.InferenceSession(model, threads=threads) for _ in range(max(CALLERS))]
                for threads in {arguments.threads, 1}}
    for session in sum(sessions.values(), []):
        session.run(None, feed)
    four = (max(CALLERS), arguments.threads)
    settings = list(dict.fromkeys([(callers, arguments.threads) for callers in CALLERS] +
                                  [(callers, 1) for callers in ALONE]))
    rates = {setting: [] for setting in settings}
    for _ in range(arguments.rounds):
        for setting in random.sample(settings, len(settings)):
            callers, threads = setting
            rates[setting].append(throughput(sessions[threads][:callers], feed, arguments.seconds))
    for setting in settings:
        print(f"{setting[0]} callers, engine of {setting[1]} threads: {statistics.median(rates[setting]):7.1f} runs/s")
    ratio = min(statistics.median(ours / theirs for ours, theirs in zip(rates[four], rates[setting]))
                for setting in settings if setting != four)
    good = ratio >= arguments.floor
    print(f"four, beside the best of the others: {ratio:.3f} (at least {arguments.floor:g})")
    print(f"sessions: {int(good)} passed, {int(not good)} failed")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
