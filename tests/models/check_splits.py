#!/usr/bin/env python3
"""Models split over the CPU and the chaos device at random answer with the bytes of the CPU alone.

Goal:   MiniLM, PP-OCR's detector and ResNet-50, each at 20 seeded random placements (--quick: 7), give
        the bytes that the CPU alone gives; every group that is asked for on the device runs there.
Method: the plan says which nodes are placed as one; each such group gets a device by a seeded coin, from
        rare pieces to long slices, as weir_plan_options_t.placement. The device has memory of its own and
        answers later; by seed it is of level 1 or 2, alone or one of two with edges of each kind between them.
        What ran there is what the device recorded of a profiled run, node by node, not what the plan says. A device
        that flips one bit in a node must be noticed, and all placements of a model must differ: otherwise this
        check could not fail.
Must not: allow a tolerance.

usage: check_splits.py [--model NAME]... [--quick] [--seed N]
"""

import argparse
import ctypes
import pathlib
import random
import sys

import support
from support import fetch

MODELS = ("minilm", "ppocr-det", "resnet50")
# (options, devices beside the CPU)
FORMS = (
    ("chaos.level=2", 1),
    ("chaos.level=1", 1),
    ("chaos.level=2,chaos.delay_us=200,chaos.jitter_us=200", 1),
    ("chaos.level=2,chaos.devices=2,chaos.edge=staged", 2),
    ("chaos.level=2,chaos.devices=2,chaos.edge=native", 2),
    ("chaos.level=2,chaos.devices=2,chaos.edge=import", 2),
)
# Nothing is fused there and all is row-major. A convolution is then another algorithm of the CPU's, with other bits.
CLAIMING = ("chaos.level=2,chaos.claim=1", 1)


def plugins():
    from weir import _library  # pylint: disable=import-outside-toplevel

    folder = pathlib.Path(_library.lib.path).resolve().parent
    return f"{folder}/weir-test/weir_chaos.so:{folder}/weir/weir_cpu.so"


def session_of(path, **options):
    import weir  # pylint: disable=import-outside-toplevel

    return weir.InferenceSession(path, plugin_path=plugins(), threads=2, **options)


def bytes_of(session, feed):
    return b"".join(value.tobytes() for value in session.run(None, feed))


def records_of(session, feed):
    """{(device, origins)} of what the devices themselves recorded of a run."""
    # pylint: disable=import-outside-toplevel,protected-access
    from weir import _library as c
    from weir import session as module

    keep, found = [], set()
    inputs = session._make_inputs(feed, keep)
    options = module._sized(c.RunOptions)
    options.profile_level = 1
    with session._borrowed() as handle:
        for _ in range(2):  # the first makes room for the records of the second
            session._run_on(handle, options, inputs)
        assert not c.lib.weir_session_profile_dropped(handle), "there was no room for all records"
        node, step = module._sized(c.ProfileNode), module._sized(c.ProfileStep)
        index = 0
        while c.lib.weir_session_profile_node(handle, index, ctypes.byref(node)):
            assert c.lib.weir_session_profile(handle, node.step, ctypes.byref(step))
            found.add((step.device.decode(), node.origins.decode()))
            index += 1
    return found


def notices_a_bit(path, feed, devices, placement, options, wanted_bytes):
    """Does a device that once flips one bit of a node's output change the answer?"""
    session = session_of(path, devices=devices, placement=placement,
                         plugin_options=f"{options},chaos.faults=run:wrong:*")
    return bytes_of(session, feed) != wanted_bytes


def groups_of(session):
    """{group: origins} of the nodes that placement chose for."""
    found = {}
    for node in session.plan_nodes():
        if node["group"] != 0xFFFFFFFF:
            found.setdefault(node["group"], []).append(node["origins"].split("+")[0])
    return found


def place(groups, devices, seed):
    """A device for each group: runs of neighbours whose mean length differs from seed to seed."""
    dice = random.Random(seed)
    stay = dice.choice((0.5, 0.8, 0.95))
    device, placement, wanted = dice.choice(devices), {}, {}
    for group, origins in sorted(groups.items()):
        if dice.random() > stay:
            device = dice.choice([other for other in devices if other != device])
        placement[origins[0]] = wanted[group] = device
    return placement, wanted


def check_model(name, seeds):
    path = str(fetch.model_path(name))
    feed = support.named(support.feeds(name, quick=True)[0], support.onnx.load(path, load_external_data=False))
    alone = session_of(path, devices=["cpu"])
    wanted_bytes = bytes_of(alone, feed)
    groups = groups_of(session_of(path, devices=["cpu", "chaos"]))
    forms = FORMS + ((CLAIMING,) if name == "minilm" else ())
    seen, asked, native, failed, unnoticed = set(), 0, 0, 0, 0
    for seed in seeds:
        options, count = forms[seed % len(forms)]
        devices = ["cpu", "chaos", "chaos:1"][:count + 1]
        placement, wanted = place(groups, devices, seed)
        session = session_of(path, devices=devices, placement=placement, plugin_options=options)
        seen.add(tuple(placement.items()))
        nodes = [node for node in session.plan_nodes() if node["group"] in wanted]
        mine = [node for node in nodes if wanted[node["group"]] != "cpu"]
        asked += len(mine)
        ran = records_of(session, feed)
        native += sum((wanted[node["group"]], node["origins"]) in ran for node in mine)
        if mine and not notices_a_bit(path, feed, devices, placement, options, wanted_bytes):
            unnoticed += 1
            print(f"{name}, seed {seed} ({options}): wrong bits are not noticed")
        for run in range(2):
            if bytes_of(session, feed) != wanted_bytes:
                failed += 1
                print(f"{name}, seed {seed} ({options}), run {run}: other bytes")
    print(f"{name}: {len(seen)} placements of {len(groups)} groups, {failed} runs with other bytes; "
          f"{native} of {asked} nodes asked of the device ran there; "
          f"wrong bits were not noticed {unnoticed} times")
    return failed == 0 and unnoticed == 0 and len(seen) == len(seeds) and native >= 0.95 * asked and asked > 0


def main():
    parser = argparse.ArgumentParser(usage=__doc__.split("usage: ")[1])
    parser.add_argument("--model", action="append", choices=MODELS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    count = 7 if options.quick else 20
    passed = [check_model(name, range(options.seed, options.seed + count)) for name in options.model or MODELS]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
