#!/usr/bin/env python3
"""The operator tests that come with ONNX, through weir.

Goal:   what weir computes is what the standard says; what it cannot do it says. Cases that passed
        once go on passing (expected.txt only grows).
Method: each case of onnx.backend.test runs in a child process, many per child; the parent notices a
        crash or a hang, names the case, and goes on with the next one in a new child.
        pass: every output as expected. unsupported: refused as UNSUPPORTED. Everything else fails:
        a wrong answer, a crash, a hang, a valid model or input called invalid.
Must not: count a case as passed for any other reason than its answers.

usage: check_node_tests.py [--kind KIND]... [--filter TEXT] [--engine weir|ort]
                           [--device NAME] [--update] [--verbose] [--json]
"""

import argparse
import collections
import json
import os
import pathlib
import select
import signal
import sys
import threading

import numpy as np
import onnx
from onnx import numpy_helper

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXPECTED = pathlib.Path(__file__).resolve().parent / "expected.txt"
KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted")
CASE_SECONDS = 60.0


# ---------------------------------------------------------------------------------------------
# Cases
# ---------------------------------------------------------------------------------------------


class Case:
    """One model with its inputs and expected outputs."""

    def __init__(self, kind, test):
        self.name, self.test, self.kind = f"{kind}/{test.name}", test, kind
        nodes = self.model().graph.node
        self.operator = nodes[0].op_type if len(nodes) == 1 else "(several nodes)"

    def model(self):
        if self.test.model is not None:
            return self.test.model
        return onnx.load(os.path.join(self.test.model_dir, "model.onnx"))

    def data(self):
        """[(inputs, outputs)]; a value is an array, or None for what is no tensor."""
        model = self.model()
        if self.test.data_sets is not None:
            return [([plain(v) for v in i], [plain(v) for v in o]) for i, o in self.test.data_sets]
        found = []
        for folder in sorted(pathlib.Path(self.test.model_dir).glob("test_data_set_*")):
            found.append(
                tuple(
                    [
                        read_value(folder / f"{side}_{index}.pb", info)
                        for index, info in enumerate(infos)
                        if (folder / f"{side}_{index}.pb").exists()
                    ]
                    for side, infos in (
                        ("input", model.graph.input),
                        ("output", model.graph.output),
                    )
                )
            )
        return found


def plain(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return (
        np.asarray(value) if isinstance(value, (np.ndarray, np.generic, int, float, bool)) else None
    )


def read_value(path, info):
    if not info.type.HasField("tensor_type"):
        return None
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return numpy_helper.to_array(tensor)


def load_cases():
    """Every case there is, ordered by kind and name."""
    from onnx.backend.test.loader import load_model_tests  # pylint: disable=import-outside-toplevel

    found = []
    for kind in KINDS:
        # Some operators are defined with a warning (overflow on purpose); it is not ours to show.
        with np.errstate(all="ignore"):
            tests = sorted(load_model_tests(kind=kind), key=lambda t: t.name)
        found += [Case(kind, t) for t in tests if t.model is not None or t.model_dir]
    return found


# ---------------------------------------------------------------------------------------------
# One case
# ---------------------------------------------------------------------------------------------


class Unsupported(Exception):
    """A clean refusal."""


def run_weir(model, inputs, device):
    import weir  # pylint: disable=import-outside-toplevel

    try:
        session = weir.InferenceSession(
            model.SerializeToString(), threads=1, devices=[device, "ref"] if device else None
        )
        ports = session.get_inputs()
        if any(value is None for value in inputs):
            raise RuntimeError("an input that is no tensor was accepted")
        feeds = dict(zip([port.name for port in ports], inputs, strict=True))
        return session.run(None, feeds)
    except weir.Error as error:
        if error.code == "UNSUPPORTED":
            raise Unsupported(str(error)) from error
        raise


def run_ort(model, inputs, device):
    import onnxruntime  # pylint: disable=import-outside-toplevel
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # pylint: disable=import-outside-toplevel

    del device
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, ["CPUExecutionProvider"]
        )
        if any(value is None for value in inputs):
            raise Unsupported("no tensor")
        return session.run(
            None, dict(zip([i.name for i in session.get_inputs()], inputs, strict=True))
        )
    except (
        state.NotImplemented,
        state.InvalidGraph,
        state.Fail,
        state.InvalidArgument,
        state.RuntimeException,
    ) as e:
        raise Unsupported(str(e)) from e


RUNNERS = {"weir": run_weir, "ort": run_ort}


def bits(array):
    """bfloat16 and float8 as numpy can compare them."""
    if (
        array.dtype.kind == "V"
        or array.dtype.name in ("bfloat16",)
        or array.dtype.name.startswith("float8")
    ):
        return array.astype(np.float32)
    return array


def difference(got, want, rtol, atol):
    """What is wrong with an output, or None."""
    if want.dtype.name == "bfloat16" and got.dtype == np.uint16:
        got = got.view(want.dtype)
    if got.shape != want.shape:
        return f"shape {list(got.shape)}, expected {list(want.shape)}"
    if got.dtype != want.dtype and not (got.dtype.kind in "OUS" and want.dtype.kind in "OUS"):
        return f"dtype {got.dtype}, expected {want.dtype}"
    # The cases' tolerance is below one unit in the last place of the half formats, and a graph of
    # several nodes rounds more than once: two units.
    rtol = max(rtol, {"bfloat16": 2**-6, "float16": 2**-9}.get(want.dtype.name, 0))
    got, want = bits(got), bits(want)
    if want.dtype.kind in "OUSb":
        return None if np.array_equal(got, want) else "values differ"
    with np.errstate(all="ignore"):
        if np.allclose(got, want, rtol=rtol, atol=atol, equal_nan=True):
            return None
        error = np.abs(got.astype(np.float64) - want.astype(np.float64))
    return (
        f"values differ by up to {np.nanmax(error):.3g}"
        if np.isfinite(error).any()
        else "NaN or Inf differ"
    )


def run_case(case, runner, device):
    """(verdict, text)"""
    try:
        for inputs, outputs in case.data():
            got = runner(case.model(), inputs, device)
            if len(got) != len(outputs):
                return "fail", f"{len(got)} outputs, expected {len(outputs)}"
            for index, (a, b) in enumerate(zip(got, outputs)):
                wrong = (
                    "no tensor came out"
                    if b is None
                    else difference(np.asarray(a), b, case.test.rtol, case.test.atol)
                )
                if wrong:
                    return "fail", f"output {index}: {wrong}"
    except Unsupported as error:
        return "unsupported", str(error)
    except Exception as error:  # pylint: disable=broad-except
        # Any other exception is a failure of this case, told with its text.
        return "fail", f"{type(error).__name__}: {error}"
    return "pass", ""


# ---------------------------------------------------------------------------------------------
# Children
# ---------------------------------------------------------------------------------------------


def child(cases, runner, device, writer):
    """Runs cases until it has no more, or dies. One line of JSON per case."""
    with os.fdopen(writer, "w", buffering=1) as stream:
        for case in cases:
            stream.write(json.dumps(run_case(case, runner, device)) + "\n")


def run_all(cases, runner, device, seconds=CASE_SECONDS):
    """(verdict, text) for each case, in order."""
    results = []
    while len(results) < len(cases):
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:
            os.close(reader)
            code = 1
            try:
                child(cases[len(results) :], runner, device, writer)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        os.close(writer)
        hung = collect(reader, process, results, seconds)
        os.close(reader)
        status = os.waitpid(process, 0)[1]
        if len(results) < len(cases):
            if hung:
                text = f"no answer in {seconds:g} s"
            elif os.WIFSIGNALED(status):
                text = f"crash: {signal.Signals(os.WTERMSIG(status)).name}"
            else:
                text = f"the process ended with {os.WEXITSTATUS(status)}"
            results.append(("fail", text))
    return results


def collect(reader, process, results, seconds):
    """Reads verdicts until the child ends. True: it was killed, for one took too long."""
    pending = b""
    while True:
        if not select.select([reader], [], [], seconds)[0]:
            os.kill(process, signal.SIGKILL)
            return True
        block = os.read(reader, 1 << 16)
        if not block:
            return False
        *lines, pending = (pending + block).split(b"\n")
        results.extend(tuple(json.loads(line)) for line in lines)


def self_test(cases):
    """What is wrong with this harness: a text, or None. Runs a case with engines that misbehave."""
    case = next(c for c in cases if c.name == "node/test_add")

    def right(model, inputs, device):
        del model, device
        return [inputs[0] + inputs[1]]

    def wrong(model, inputs, device):
        del model, device
        return [inputs[0] + inputs[1] + np.float32(0.01)]

    def crash(model, inputs, device):
        del model, inputs, device
        os.kill(os.getpid(), signal.SIGABRT)

    def hang(model, inputs, device):
        del model, inputs, device
        threading.Event().wait()

    def refuse(model, inputs, device):
        raise Unsupported("no")

    for runner, verdict, text in (
        (right, "pass", ""),
        (wrong, "fail", "differ"),
        (crash, "fail", "SIGABRT"),
        (hang, "fail", "no answer"),
        (refuse, "unsupported", "no"),
    ):
        # Twice: what comes after a crash must run as well.
        for got in run_all([case, case], runner, None, 0.3):
            if got[0] != verdict or text not in got[1]:
                return f"an engine of kind {runner.__name__} gives {got}, expected {verdict}"
    return None


# ---------------------------------------------------------------------------------------------
# Report
# ---------------------------------------------------------------------------------------------


def read_expected():
    if not EXPECTED.exists():
        return set()
    return {line for line in EXPECTED.read_text().splitlines() if line and not line.startswith("#")}


def write_expected(names):
    head = "# Cases of onnx.backend.test that pass and must go on passing; --update adds to them.\n"
    EXPECTED.write_text(head + "".join(f"{name}\n" for name in sorted(names)))


def show_table(cases, results):
    table = collections.defaultdict(collections.Counter)
    for case, (verdict, _) in zip(cases, results):
        table[case.operator][verdict] += 1
    print(f"{'operator':32} {'pass':>6} {'unsupported':>12} {'fail':>6}")
    for operator in sorted(table):
        row = table[operator]
        print(f"{operator:32} {row['pass']:6} {row['unsupported']:12} {row['fail']:6}")


def main():
    parser = argparse.ArgumentParser(description="The operator tests of ONNX, through weir.")
    parser.add_argument("--kind", action="append", choices=KINDS)
    parser.add_argument(
        "--filter", default="", metavar="TEXT", help="only cases with TEXT in their name"
    )
    parser.add_argument("--engine", choices=list(RUNNERS), default="weir")
    parser.add_argument("--device")
    parser.add_argument(
        "--update", action="store_true", help="add the cases that pass to expected.txt"
    )
    parser.add_argument("--verbose", action="store_true", help="say why each case is unsupported")
    parser.add_argument(
        "--json", action="store_true", help="one line of JSON per case instead of the table"
    )
    arguments = parser.parse_args()
    sys.path.insert(0, str(ROOT / "engine" / "python"))
    everything = load_cases()
    broken = self_test(everything)
    if broken:
        sys.exit(f"check_node_tests.py: this harness is wrong: {broken}")
    cases = [
        c for c in everything if c.kind in (arguments.kind or KINDS) and arguments.filter in c.name
    ]
    results = run_all(cases, RUNNERS[arguments.engine], arguments.device)
    counts = collections.Counter(verdict for verdict, _ in results)
    verdicts = {case.name: result for case, result in zip(cases, results)}
    lost = [name for name in sorted(read_expected() & set(verdicts)) if verdicts[name][0] != "pass"]
    passed = {name for name, (verdict, _) in verdicts.items() if verdict == "pass"}
    if arguments.json:
        for case, (verdict, text) in zip(cases, results):
            print(
                json.dumps(
                    {"case": case.name, "operator": case.operator, "verdict": verdict, "text": text}
                )
            )
    else:
        show_table(cases, results)
        for name, (verdict, text) in verdicts.items():
            if verdict == "fail" or (verdict == "unsupported" and arguments.verbose):
                print(f"{verdict}: {name}: {text[:300]}")
        for name in lost:
            print(
                f"lost: {name} passed once and is now: {verdicts[name][0]}: "
                f"{verdicts[name][1][:300]}"
            )
        new = passed - read_expected()
        if new and not arguments.update:
            print(f"{len(new)} cases pass that expected.txt does not list (--update adds them)")
        print(
            f"onnx: {counts['pass']} passed, {counts['unsupported']} unsupported, "
            f"{counts['fail']} failed, "
            f"{len(lost)} lost, of {len(cases)}"
        )
    if arguments.update and arguments.engine == "weir":
        write_expected(read_expected() | passed)
    return 1 if lost or counts["fail"] or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
