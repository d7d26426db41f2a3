#!/usr/bin/env python3
"""One engine with one model, resident, that runs when it is told to. peers.py talks to it.

What:  loads the model (timed), then reads a JSON object a line on stdin and answers with one:
       {"do": "turn", "seconds": S}   the times of its runs and what the machine did meanwhile
       {"do": "outputs", "path": P}   the outputs, as P.npz
       {"do": "memory"}               anonymous and file memory that the engine added
Why:   a process for each engine, so that none has the other's threads, heap or cache beside it.
Must not: do anything between turns: it waits on stdin.

usage: worker.py ENGINE CASE MODEL THREADS
"""

import json
import os
import pathlib
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "engine" / "python"), str(pathlib.Path(__file__).resolve().parent)]

from cases import CASES  # noqa: E402  pylint: disable=wrong-import-position


class Weir:
    """weir, through its Python package."""

    def __init__(self, path, threads):
        import weir  # pylint: disable=import-outside-toplevel

        self.version = weir.__version__
        self.session = weir.InferenceSession(path, threads=threads)
        self.names = [port.name for port in self.session.get_inputs()]

    def bind(self, feed):
        self.bound = self.session.bind(feed)
        return self.bound.run

    def outputs(self):
        return self.bound.outputs()


class OnnxRuntime:
    """ONNX Runtime with inputs and outputs bound; its spinning on or off."""

    spin = "0"

    def __init__(self, path, threads):
        import onnxruntime  # pylint: disable=import-outside-toplevel

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", self.spin)
        self.version = onnxruntime.__version__
        self.session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        self.names = [port.name for port in self.session.get_inputs()]

    def bind(self, feed):
        self.binding = self.session.io_binding()
        for name, array in feed.items():
            self.binding.bind_cpu_input(name, array)
        for port in self.session.get_outputs():
            self.binding.bind_output(port.name)
        return lambda: self.session.run_with_iobinding(self.binding)

    def outputs(self):
        return self.binding.copy_outputs_to_cpu()


class OnnxRuntimeSpinning(OnnxRuntime):
    """The same, its threads spinning as they do unless told otherwise."""

    spin = "1"


class OpenVino:
    """OpenVINO on its CPU plugin: f32, one stream, for latency."""

    def __init__(self, path, threads):
        import openvino  # pylint: disable=import-outside-toplevel

        self.ov = openvino
        self.version = openvino.__version__.split("-")[0]
        model = openvino.Core().compile_model(path, "CPU", {
            "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": "1", "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": str(threads)})
        precision = str(model.get_property("INFERENCE_PRECISION_HINT"))
        if "float32" not in precision and "f32" not in precision:
            raise RuntimeError(f"computes in {precision}, not f32")
        self.model = model
        self.request = model.create_infer_request()
        self.names = [port.any_name for port in model.inputs]

    def bind(self, feed):
        self.tensors = {name: self.ov.Tensor(array, shared_memory=True) for name, array in feed.items()}
        for name, tensor in self.tensors.items():
            self.request.set_tensor(name, tensor)
        return self.request.infer

    def outputs(self):
        return [np.array(self.request.get_tensor(port).data) for port in self.model.outputs]


ENGINES = {"weir": Weir, "onnxruntime": OnnxRuntime, "onnxruntime-spin": OnnxRuntimeSpinning,
           "openvino": OpenVino}


def memory():
    """(anonymous, file) bytes of this process that are resident."""
    fields = {}
    with open("/proc/self/smaps_rollup", encoding="ascii") as file:
        for line in file:
            words = line.split()
            if len(words) == 3 and words[2] == "kB":
                fields[words[0]] = int(words[1]) * 1024
    return fields["Anonymous:"], fields["Rss:"] - fields["Anonymous:"]


def stolen():
    """Seconds that the machine below us gave to others, of all processors."""
    with open("/proc/stat", encoding="ascii") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def yardstick():
    """Nanoseconds of a fixed piece of work: what the clock makes of it shows drift."""
    start = time.perf_counter_ns()
    total = 0
    for i in range(20000):
        total += i
    return time.perf_counter_ns() - start


def turn(run, seconds):
    steal, times = stolen(), []
    end = time.perf_counter_ns() + int(seconds * 1e9)
    start = time.perf_counter_ns()
    while start < end or not times:
        run()
        now = time.perf_counter_ns()
        times.append(now - start)
        start = now
    return {"ns": times, "stolen_s": stolen() - steal, "yardstick_ns": yardstick()}


def main():
    engine_name, case, path, threads = sys.argv[1:5]
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not look like an answer
    before = memory()
    start = time.perf_counter_ns()
    try:
        engine = ENGINES[engine_name](path, int(threads))
        created = time.perf_counter_ns() - start
        feed = {key or engine.names[0]: np.require(value, requirements=["C"])
                for key, value in CASES[case][1]().items()}
        run = engine.bind(feed)
        run()
    except Exception as error:  # pylint: disable=broad-exception-caught
        print(json.dumps({"error": f"{type(error).__name__}: {error}"[:500]}), file=answers, flush=True)
        return
    first = time.perf_counter_ns() - start - created
    print(json.dumps({"version": engine.version, "create_ns": created, "first_run_ns": first}),
          file=answers, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        answer = {}
        if request["do"] == "turn":
            answer = turn(run, request["seconds"])
        elif request["do"] == "outputs":
            np.savez(request["path"], *[np.asarray(a) for a in engine.outputs()])
        elif request["do"] == "memory":
            now = memory()
            answer = {"anonymous_bytes": now[0] - before[0], "file_bytes": now[1] - before[1]}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
