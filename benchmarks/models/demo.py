#!/usr/bin/env python3
"""The demo: types of this project's own files, sentences ranked by meaning, and what it all takes.

What: compiles docs/examples/file_type.c against the library of the build and runs it on files of
      this tree (Magika through the C API); ranks sentences with MiniLM through the Python package;
      times both models.
Why:  the main job on real input, by one command, on a machine that has only just been set up.
Must not: print an answer that was not computed here and now; --check compares with what is on
      record.

usage: demo.py [--build DIR] [--check]
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "engine" / "python"))

import fetch  # noqa: E402  pylint: disable=wrong-import-position

# Files of this tree, and what each is: Magika's answer is on record by its own implementation.
FILES = {
    "LICENSE": "txt",
    "run": "shell",
    "CMakeLists.txt": "cmake",
    "CMakePresets.json": "json",
    ".gitignore": "ignorefile",
    "docs/operators.md": "markdown",
    "docs/examples/file_type.c": "c",
    "engine/include/weir/weir.h": "c",
    "engine/python/weir/session.py": "python",
    "benchmarks/models/fetch.py": "python",
}

QUERY = "How do I make my model answer faster?"
SENTENCES = (
    "Packing the weights once at load makes every later run cheaper.",
    "Neural networks can be sped up by fusing operators.",
    "A larger batch trades latency for throughput.",
    "The river was dammed to drive the mill.",
    "Bread dough should rest for an hour.",
    "The museum is closed on Mondays.",
)
PAIR = ("A man is eating food.", "A man is eating a piece of bread.")
PAIR_COSINE = 0.7553


def title(text):
    print(f"\n{text}\n{'-' * len(text)}", flush=True)


def compile_example(build, folder):
    """docs/examples/file_type.c as a reader would compile it."""
    program = pathlib.Path(folder) / "file_type"
    libraries = build / "lib"
    command = [
        os.environ.get("CC", "cc"),
        "-O2",
        f"-I{ROOT / 'engine' / 'include'}",
        str(ROOT / "docs" / "examples" / "file_type.c"),
        f"-L{libraries}",
        f"-Wl,-rpath,{libraries}",
        "-lweir",
        "-o",
        str(program),
    ]
    subprocess.run(command, check=True)
    return program


def identify_files(build):
    """Part one; returns what differs from the record."""
    title("1. What type have these files?  (Magika, docs/examples/file_type.c, C API)")
    with tempfile.TemporaryDirectory() as folder:
        program = compile_example(build, folder)
        # Two files that are no text: the program itself and the model that answers.
        shutil.copyfile(fetch.model_path("magika"), pathlib.Path(folder) / "model.onnx")
        wanted = dict(FILES) | {str(program): "elf", f"{folder}/model.onnx": "onnx"}
        command = [
            str(program),
            str(fetch.model_path("magika")),
            str(fetch.file_path("magika", "config.min.json")),
        ]
        result = subprocess.run(
            command + list(wanted), cwd=ROOT, capture_output=True, text=True, check=False
        )
        sys.stderr.write(result.stderr)
        text = re.sub(f"{re.escape(folder)}/(\\S+) *", lambda m: f"{m[1]:44} ", result.stdout)
    print(f"{'file':44} {'type':14} score\n{text}", end="")
    found = {line.split()[0]: line.split()[1] for line in text.splitlines()}
    shown = {name.replace(folder + "/", ""): kind for name, kind in wanted.items()}
    wrong = [
        f"{name}: {found.get(name)}, expected {kind}"
        for name, kind in shown.items()
        if found.get(name) != kind
    ]
    return wrong + ([f"file_type ended with {result.returncode}"] if result.returncode else [])


def encode(sentences):
    """Sentences as MiniLM's inputs."""
    import numpy as np  # pylint: disable=import-outside-toplevel
    from tokenizers import Tokenizer  # pylint: disable=import-outside-toplevel

    tokens = Tokenizer.from_file(str(fetch.file_path("minilm", "tokenizer.json")))
    tokens.no_truncation()
    tokens.enable_padding()
    rows = tokens.encode_batch(list(sentences))
    return {
        "input_ids": np.array([r.ids for r in rows], np.int64),
        "attention_mask": np.array([r.attention_mask for r in rows], np.int64),
        "token_type_ids": np.array([r.type_ids for r in rows], np.int64),
    }


def rank_sentences():
    """Part two; returns what differs from the record."""
    import weir  # pylint: disable=import-outside-toplevel

    title("2. Which sentence is closest in meaning?  (MiniLM, Python package)")
    session = weir.InferenceSession(fetch.model_path("minilm"))
    (vectors,) = session.run(None, encode((QUERY, *SENTENCES)))
    print(f'query: "{QUERY}"')
    for score, sentence in sorted(zip(vectors[1:] @ vectors[0], SENTENCES), reverse=True):
        print(f"{score:8.3f}  {sentence}")
    (pair,) = session.run(None, encode(PAIR))
    cosine = float(pair[0] @ pair[1])
    print(f'"{PAIR[0]}" and "{PAIR[1]}": {cosine:.4f}  (the model\'s authors: {PAIR_COSINE})')
    return (
        []
        if abs(cosine - PAIR_COSINE) <= 0.0005
        else [f"cosine {cosine:.5f}, expected {PAIR_COSINE}"]
    )


def time_child(name, device):
    """Loads, plans and runs a model in this process; prints the times as JSON."""
    import weir  # pylint: disable=import-outside-toplevel

    if name == "minilm":
        feed = encode(SENTENCES[:1])
    else:
        import numpy as np  # pylint: disable=import-outside-toplevel

        text = (ROOT / "LICENSE").read_bytes()
        feed = {
            "bytes": np.frombuffer(text[:4096].lstrip()[:1024] + text[-1024:], np.uint8)[
                None
            ].astype(np.int32)
        }
    session = weir.InferenceSession(fetch.model_path(name), devices=[device] if device else None)
    times = []
    # At least five runs, then as many as fit into two seconds.
    while len(times) < 6 or (sum(times) < 2 and len(times) < 200):
        start = time.perf_counter()
        session.run(None, feed)
        times.append(time.perf_counter() - start)
    print(
        json.dumps(
            {
                "load_ms": session.model_info()["load_ns"] / 1e6,
                "from_cache": session.model_info()["from_cache"],
                "plan_ms": session.plan_info()["create_ns"] / 1e6,
                "nodes": session.plan_info()["node_count"],
                "threads": session.engine.threads,
                "first_ms": times[0] * 1e3,
                "run_ms": statistics.median(times[1:]) * 1e3,
            }
        )
    )


def time_models():
    """Part three: each model in two processes, the first with an empty cache of packed weights."""
    title("3. What does it take?  (milliseconds; each line a process of its own)")
    print(f"{'model':8} {'cache':8} {'load':>8} {'plan':>8} {'first run':>10} {'run':>8}   of")
    for name, what in (("magika", "one file"), ("minilm", "one sentence of 14 words")):
        with tempfile.TemporaryDirectory() as folder:
            for cache in ("empty", "filled"):
                text = subprocess.run(
                    [sys.executable, __file__, "--time", name],
                    check=True,
                    capture_output=True,
                    text=True,
                    env=os.environ | {"WEIR_CACHE_DIR": folder},
                ).stdout
                row = json.loads(text)
                print(
                    f"{name:8} {cache:8} {row['load_ms']:8.1f} {row['plan_ms']:8.1f} "
                    f"{row['first_ms']:10.1f} "
                    f"{row['run_ms']:8.2f}   {what}, {row['nodes']} nodes, {row['threads']} "
                    f"threads",
                    flush=True,
                )


def send_requests(build):
    """Part four: the same sentence from many callers, one by one and through the batcher.

    Returns what is not as it should be: answers are compared byte for byte with that of a run alone.
    """
    title("4. And under traffic?  (MiniLM, 16 tokens a request; in time: within 1 s)")
    print(f"{'':34} {'answers/s':>9} {'in time/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'rows a batch':>13}")
    wrong = []
    ways = (("single", "one by one"), ("multi", "eight at a time"), ("offline", "a burst, as many as there are"))
    for scenario, what in ways:
        command = [build / "bin" / "weir", "load", fetch.model_path("minilm"), "--scenario", scenario,
                   "--slo-ms", "1000", "--seconds", "2", "--dim", "batch=1", "--dim", "sequence=16", "--json", "-"]
        row = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        seconds = row["seconds"]
        print(f"{what:34} {row['completed'] / seconds:9.0f} {row['in_slo'] / seconds:9.0f} {row['p50_ms']:8.1f} "
              f"{row['p99_ms']:8.1f} {row['mean_batch']:13.1f}", flush=True)
        if row["wrong"] or row["errors"]:
            wrong.append(f"{what}: {row['wrong']} wrong answers, {row['errors']} errors")
    return wrong


def main():
    parser = argparse.ArgumentParser(description="The demo of weir.")
    parser.add_argument(
        "--build", default=str(ROOT / "build" / "release"), help="the build folder that is shown"
    )
    parser.add_argument(
        "--check", action="store_true", help="fail where an answer is not the one on record"
    )
    parser.add_argument("--time", choices=["magika", "minilm"], help=argparse.SUPPRESS)
    parser.add_argument("--device", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    build = pathlib.Path(arguments.build).resolve()
    os.environ.setdefault("WEIR_LIBRARY", str(build / "lib" / "libweir.so"))
    if arguments.time:
        time_child(arguments.time, arguments.device)
        return 0
    if not (build / "lib" / "libweir.so").exists():
        sys.exit(f"demo.py: {build} has no lib/libweir.so; `./run build` makes it")
    try:
        fetch.ensure(["magika", "minilm"])
        wrong = identify_files(build) + rank_sentences()
        time_models()
        wrong += send_requests(build)
    except fetch.FetchError as error:
        sys.exit(f"demo.py: {error}")
    except subprocess.CalledProcessError as error:
        sys.stderr.write(error.stderr or "")
        sys.exit(f"demo.py: {pathlib.Path(error.cmd[0]).name} ended with {error.returncode}")
    for text in wrong:
        print(f"not as on record: {text}")
    return 1 if wrong and arguments.check else 0


if __name__ == "__main__":
    sys.exit(main())
